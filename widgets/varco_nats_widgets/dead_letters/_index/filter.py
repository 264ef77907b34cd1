"""Which dead letters: what a user may ask for, whether an entry is that, and its group. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import TypedDict, Unpack

from varco_core.event.dlq import DeadLetterSource

from varco_nats._nats.direct import StoredMessage
from varco_nats.dlq._codec import StoredEntry
from varco_nats_widgets.frames._columns import clean
from varco_nats_widgets.frames._conditions import Condition
from varco_nats_widgets.frames._decoding import Decoding
from varco_nats_widgets.frames._payload import Fields
from varco_nats_widgets.frames._query import EventType, Moment, begin, moment, type_names

type Names = str | Iterable[str]
type _Times = tuple[timedelta | str | None, Moment | None, Moment | None]


class FilterOptions(TypedDict, total=False):
    """The keyword arguments that say which dead letters."""

    channel: Names | None
    error_type: Names | None
    error: str | None
    handler: Names | None
    event_type: EventType | Iterable[EventType] | None
    last: timedelta | str | None
    since: Moment | None
    until: Moment | None
    tenant_id: Names | None
    text: str | None
    source: Names | None
    group: Names | None
    condition: str | None


NOTHING_KEPT = b"{}"
"""Stands for the event of an entry that has none."""


@dataclass(frozen=True, slots=True)
class DeadLetterFilter:
    """Conditions that an entry meets all of; one that is None or empty is none."""

    channels: frozenset[str] | None = None
    error_types: frozenset[str] | None = None
    error: str = ""
    """In the error message, whatever the case."""
    handlers: frozenset[str] | None = None
    event_types: frozenset[str] | None = None
    since: datetime | None = None
    until: datetime | None = None
    tenants: frozenset[str] | None = None
    text: str = ""
    """In the error message or the payload, whatever the case."""
    sources: frozenset[str] | None = None
    groups: frozenset[str] | None = None
    condition: Condition | None = None
    """On the columns of a frame of the entries."""
    times: _Times | None = None
    """What `since` and `until` are made of, where that may depend on what time it is."""

    def __bool__(self) -> bool:
        return self != DeadLetterFilter()

    def at(self, now: datetime) -> DeadLetterFilter:
        """The same filter as it is meant at this time."""
        if self.times is None:
            return self
        last, since, until = self.times
        return replace(
            self, since=begin(last, since, now), until=moment("until", until, now), times=None
        )


def dead_letter_filter(**given: Unpack[FilterOptions]) -> DeadLetterFilter:
    """The filter that the keyword arguments stand for.

    Raises:
        TypeError: an argument that there is not; names those there are.
        ConditionError: `condition` cannot be read; says where.
        ValueError: another one that cannot be read, or `last` together with `since`.
    """
    names = FilterOptions.__annotations__.keys()
    if unknown := sorted(given.keys() - names):
        known = ", ".join(sorted(names))
        text = f"there is no filter {', '.join(unknown)}; there are {known}"
        if "stream" in unknown:
            text += "; DeadLetters.of_stream(lab, 'NAME') opens what others wrote to a stream"
        raise TypeError(text)
    sources = _names(given.get("source"))
    kinds = {str(kind) for kind in DeadLetterSource}
    if sources is not None and (wrong := sorted(sources - kinds)):
        raise ValueError(f"source={wrong[0]!r}: there are {', '.join(sorted(kinds))}")
    event_type, condition = given.get("event_type"), (given.get("condition") or "").strip()
    now, times = datetime.now(UTC), (given.get("last"), given.get("since"), given.get("until"))
    return DeadLetterFilter(
        channels=_names(given.get("channel")),
        error_types=_names(given.get("error_type")),
        error=given.get("error") or "",
        handlers=_names(given.get("handler")),
        event_types=None if not event_type else type_names(event_type),
        since=begin(given.get("last"), given.get("since"), now),
        until=moment("until", given.get("until"), now),
        tenants=_names(given.get("tenant_id")),
        text=given.get("text") or "",
        sources=sources,
        groups=_names(given.get("group")),
        condition=Condition.parse(condition) if condition else None,
        times=times if any(isinstance(time, str | timedelta) for time in times) else None,
    )


def event_of(stored: StoredEntry) -> bytes | None:
    """The bytes of the event that failed, None where none were kept."""
    return stored.entry.payload if stored.event_bytes is None else stored.event_bytes


def event_message(stored: StoredEntry) -> StoredMessage:
    """The event that failed, as a message whose subject is the channel; {} where none was kept."""
    event = event_of(stored)
    data = NOTHING_KEPT if event is None else event
    stored_as = stored.message
    channel = stored.entry.channel
    return StoredMessage(stored_as.seq, channel, stored_as.time_ns, data, stored.headers)


def event_fields(stored: StoredEntry, decoding: Decoding) -> Fields:
    """The type, id and time of the event that failed, and its payload.

    Args:
        decoding: how the messages of channels are read, under the names of these.
    """
    return decoding.fields(event_message(stored))


def group_id(handler: str, error_type: str, message: str) -> str:
    """A short name of the group of these failures; `message` is what tells their cause."""
    text = "\0".join((handler, error_type, message))
    return blake2b(text.encode(errors="surrogatepass"), digest_size=5).hexdigest()


def _names(value: Names | None) -> frozenset[str] | None:
    if value is None or value == "":
        return None
    return frozenset(map(clean, [value] if isinstance(value, str) else map(str, value))) or None


def readable(data: bytes) -> str:
    """`data` as a person reads it: JSON without escapes."""
    text = data.decode(errors="replace")
    if "\\" in text:
        try:
            return json.dumps(json.loads(text), ensure_ascii=False)
        except (ValueError, RecursionError):
            pass
    return text
