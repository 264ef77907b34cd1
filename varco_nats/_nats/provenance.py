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
DELIVERY_COUNT = "Varco-Delivery-Count"
"""Deliveries before this replay, all told; the server counts those of a replay from 1 again."""

_CONTROL = "nats-"
_MAX_DIGITS = 10

# By identity: an equal event that a producer made itself is no replay. Outside the object, so
# that its dump, repr, hash and pickle stay as they are.
_entries: dict[int, tuple[weakref.ref[Event], dict[str, str]]] = {}


def replay_headers(
    entry_id: UUID, headers: Mapping[str, str] | None = None, num_delivered: int | None = None
) -> dict[str, str]:
    """The headers of dead letter `entry_id` published again.

    The message id is never that of the event, which would meet the original's duplicate window.

    Args:
        headers: of the message that failed.
        num_delivered: how often that was delivered, where known.
    """
    replay = {
        MESSAGE_ID: f"replay.{entry_id}",
        REPLAY_OF: str(entry_id),
        REPLAY_COUNT: str(replays_of(headers) + 1),
    }
    if num_delivered is not None:
        replay[DELIVERY_COUNT] = str(_count(headers, DELIVERY_COUNT) + num_delivered)
    return replay


def replays_of(headers: Mapping[str, str] | None) -> int:
    """How often the message with these headers had been replayed when it was stored."""
    if not headers or REPLAY_OF not in headers:
        return 0
    return max(_count(headers, REPLAY_COUNT), 1)


def _count(headers: Mapping[str, str] | None, name: str) -> int:
    """The number in a header; 0 where there is none."""
    text = (headers or {}).get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < _MAX_DIGITS else 0


def own_headers(headers: Mapping[str, str] | None) -> dict[str, str]:
    """The headers that a producer gave: none that steer the server or tell of a replay."""
    replay = (REPLAY_OF, REPLAY_ID, REPLAY_COUNT, DELIVERY_COUNT)
    return {
        name: value
        for name, value in (headers or {}).items()
        if not name.lower().startswith(_CONTROL) and name not in replay
    }


def mark(event: Event, headers: dict[str, str]) -> None:
    """Remember for as long as it lives that publishing this object is a replay.

    Args:
        headers: as `replay_headers` gives them.
    """
    key = id(event)

    def forget(reference: weakref.ref[Event]) -> None:
        if (known := _entries.get(key)) and known[0] is reference:
            del _entries[key]

    _entries[key] = (weakref.ref(event, forget), headers)


def entry_of(event: Event) -> UUID | None:
    """The dead letter that this very object came from; None for any other, equal or copied."""
    headers = headers_of(event)
    return None if headers is None else UUID(headers[REPLAY_OF])


def headers_of(event: Event) -> dict[str, str] | None:
    """The headers that make publishing this very object a replay; None if it is none."""
    known = _entries.get(id(event))
    return dict(known[1]) if known and known[0]() is event else None
