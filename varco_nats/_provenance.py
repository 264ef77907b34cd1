"""Which dead letter an event came from, and how its replay says so on the wire.

An event read from the dead letter queue and published again is a replay, not a producer's retry;
`publish` tells them apart by asking here.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from uuid import UUID

from varco_core.event.base import Event

MESSAGE_ID = "Nats-Msg-Id"
REPLAY_OF = "Varco-Replay-Of"
"""The dead letter, or `stream:sequence` of the message, that a message is the replay of."""
REPLAY_ID = "Varco-Replay-Id"
"""The run that replayed it; none where an event was published by hand."""
REPLAY_COUNT = "Varco-Replay-Count"
"""How often it was replayed by now, from 1."""

_CONTROL = "nats-"

# By identity: an equal event that a producer made itself is no replay. Outside the object, so
# that its dump, repr, hash and pickle stay as they are.
_entries: dict[int, tuple[weakref.ref[Event], UUID, int]] = {}


def replay_headers(entry_id: UUID, replays: int) -> dict[str, str]:
    """The headers of dead letter `entry_id` published again, `replays` times replayed before.

    The message id is never that of the event, which would meet the original's duplicate window.
    """
    return {
        MESSAGE_ID: f"replay.{entry_id}",
        REPLAY_OF: str(entry_id),
        REPLAY_COUNT: str(replays + 1),
    }


def replays_of(headers: Mapping[str, str] | None) -> int:
    """How often the message with these headers had been replayed when it was stored."""
    if not headers or REPLAY_OF not in headers:
        return 0
    count = headers.get(REPLAY_COUNT, "")
    return max(int(count), 1) if count.isascii() and count.isdigit() else 1


def own_headers(headers: Mapping[str, str] | None) -> dict[str, str]:
    """The headers that a producer gave: none that steer the server or tell of a replay."""
    replay = (REPLAY_OF, REPLAY_ID, REPLAY_COUNT)
    return {
        name: value
        for name, value in (headers or {}).items()
        if not name.lower().startswith(_CONTROL) and name not in replay
    }


def mark(event: Event, entry_id: UUID, replays: int = 0) -> None:
    """Remember that this object came out of dead letter `entry_id`, for as long as it lives."""
    key = id(event)

    def forget(reference: weakref.ref[Event]) -> None:
        if (known := _entries.get(key)) and known[0] is reference:
            del _entries[key]

    _entries[key] = (weakref.ref(event, forget), entry_id, replays)


def entry_of(event: Event) -> UUID | None:
    """The dead letter that this very object came from; None for any other, equal or copied."""
    known = _entries.get(id(event))
    return known[1] if known and known[0]() is event else None


def headers_of(event: Event) -> dict[str, str] | None:
    """The headers that make publishing this very object a replay; None if it is none."""
    known = _entries.get(id(event))
    return replay_headers(known[1], known[2]) if known and known[0]() is event else None
