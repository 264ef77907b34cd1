"""Which dead letter an event object came from.

An event read from the dead letter queue and published again is a replay, not a producer's retry;
`publish` tells them apart by asking here.
"""

from __future__ import annotations

import weakref
from uuid import UUID

from varco_core.event.base import Event

# By identity: an equal event that a producer made itself is no replay. Outside the object, so
# that its dump, repr, hash and pickle stay as they are.
_entries: dict[int, tuple[weakref.ref[Event], UUID]] = {}


def mark(event: Event, entry_id: UUID) -> None:
    """Remember that this object came out of dead letter `entry_id`, for as long as it lives."""
    key = id(event)

    def forget(reference: weakref.ref[Event]) -> None:
        if (known := _entries.get(key)) and known[0] is reference:
            del _entries[key]

    _entries[key] = (weakref.ref(event, forget), entry_id)


def entry_of(event: Event) -> UUID | None:
    """The dead letter that this very object came from; None for any other, equal or copied."""
    known = _entries.get(id(event))
    return known[1] if known and known[0]() is event else None
