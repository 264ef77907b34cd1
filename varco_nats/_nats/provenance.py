"""Which dead letter an event was read from, and the headers that say so when it is replayed.

An event that is read from the dead letter queue and published again is a replay, not a producer's
retry; `publish` asks here which one it is.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from functools import lru_cache
from uuid import UUID

from varco_core.event.base import Event

MESSAGE_ID = "Nats-Msg-Id"
REPLAY_OF = "Varco-Replay-Of"
"""The id of the dead letter that a message replays, or `stream:sequence` of the message."""
REPLAY_ID = "Varco-Replay-Id"
"""The run that replayed it; missing where a program published the event by itself."""
REPLAY_COUNT = "Varco-Replay-Count"
"""How often it was replayed by now, from 1."""
DELIVERY_COUNT = "Varco-Delivery-Count"
"""All deliveries before this replay; the server counts those of a replay from 1 again."""

_CONTROL = "nats-"
_MAX_DIGITS = 10

# By identity, as an equal event of a producer is no replay; and outside of the object, so that its
# dump, repr, hash and pickle stay as they are.
_entries: dict[int, tuple[weakref.ref[Event], dict[str, str]]] = {}


def replay_headers(
    entry_id: UUID | str,
    headers: Mapping[str, str] | None = None,
    num_delivered: int | None = None,
) -> dict[str, str]:
    """The headers with which dead letter `entry_id` is published again: those that its producer
    set, and those of a replay.

    The message id is never the event's id, which the stream may know as that of the original.

    Args:
        headers: the headers of the message that failed.
        num_delivered: how often that message was delivered, where known.
    """
    name = str(entry_id)
    replay = own_headers(headers)
    replay[MESSAGE_ID] = f"replay.{name}"
    replay[REPLAY_OF] = name
    replay[REPLAY_COUNT] = str(replays_of(headers) + 1)
    if num_delivered is not None:
        replay[DELIVERY_COUNT] = str(_count(headers, DELIVERY_COUNT) + num_delivered)
    return replay


def replays_of(headers: Mapping[str, str] | None) -> int:
    """How often the message with these headers had been replayed when it was stored."""
    if not headers or REPLAY_OF not in headers:
        return 0
    return max(_count(headers, REPLAY_COUNT), 1)


def _count(headers: Mapping[str, str] | None, name: str) -> int:
    """The number in a header; 0 if there is none."""
    text = (headers or {}).get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < _MAX_DIGITS else 0


def own_headers(headers: Mapping[str, str] | None) -> dict[str, str]:
    """The headers that a producer set, without those for the server and those of a replay."""
    if not headers:
        return {}
    return {name: value for name, value in headers.items() if _is_own(name)}


@lru_cache(maxsize=1024)
def _is_own(name: str) -> bool:
    replay = (REPLAY_OF, REPLAY_ID, REPLAY_COUNT, DELIVERY_COUNT)
    return not name.lower().startswith(_CONTROL) and name not in replay


def mark(event: Event, headers: dict[str, str]) -> None:
    """Remember, for as long as the object lives, that publishing it is a replay.

    Args:
        headers: what `replay_headers` returned.
    """
    key = id(event)

    def forget(reference: weakref.ref[Event]) -> None:
        if (known := _entries.get(key)) and known[0] is reference:
            del _entries[key]

    _entries[key] = (weakref.ref(event, forget), headers)


def headers_of(event: Event) -> dict[str, str] | None:
    """The headers with which publishing this object is a replay; None if it is none.

    It is one if this very object was read from a dead letter, and not if an equal one was.
    """
    known = _entries.get(id(event))
    return dict(known[1]) if known and known[0]() is event else None
