"""One dead letter whole: what failed, why, its bytes, and what else there is of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from varco_nats._nats.direct import StoredMessage
from varco_nats._nats.provenance import replays_of
from varco_nats.dlq._codec import UNREADABLE, StoredEntry, first_failure
from varco_nats_widgets.dead_letters._index.filter import event_message, event_of
from varco_nats_widgets.dead_letters._index.masked import OfShownEntries
from varco_nats_widgets.frames._decoding import JSON, Decoding
from varco_nats_widgets.frames._message import is_text
from varco_nats_widgets.frames._payload import take_apart


@dataclass(frozen=True)
class DeadLetter:
    """One entry of a dead letter queue."""

    entry_id: UUID
    seq: int
    """Its sequence in the queue's stream."""
    channel: str
    """Where the event was published."""
    handler: str
    error_type: str
    error_message: str
    attempts: int
    first_failed_at: datetime | None
    """None where only the last of several failures is known."""
    last_failed_at: datetime
    source: str
    source_ref: str | None
    """The original as `stream:sequence`, where it is known."""
    original: str
    """`stored`, or why the original is not there to be looked at; "" where it is not known."""
    tenant_id: str | None
    replay_count: int
    """How often the event had been replayed when it failed."""
    num_delivered: int | None
    """Deliveries of the message that failed, where known."""
    event_type: str | None
    event_id: str | None
    timestamp: str | None
    """When the event says that it happened, as it is written there."""
    headers: Mapping[str, str]
    """Of the message that failed."""
    data: bytes = field(repr=False)
    """The event as it came; where values are masked, as JSON without them."""
    problem: str | None
    """Why that is no event, in words; None if it is one."""
    payload: Any = field(repr=False)
    """The event's JSON, whatever it is; None if it is none."""
    copies: tuple[UUID, ...]
    """Other entries of the queue with the same event id."""
    decoder: str = JSON
    """The name of the decoder that read it."""
    masked: bool = False
    """Whether the lab has a mask, so that `data` need not be as it came."""

    def __repr__(self) -> str:
        return f"DeadLetter({self.entry_id})"

    @property
    def is_text(self) -> bool:
        """Whether the event can be shown as text: UTF-8 without control characters."""
        return is_text(self.data)


def dead_letter(
    stored: StoredEntry,
    decoding: Decoding,
    original: str = "",
    copies: tuple[UUID, ...] = (),
) -> DeadLetter:
    """What a stored entry is to somebody who looks at it.

    Args:
        decoding: how the messages of channels are read, under the names of these.
        original: what became of the message that its `source_ref` names, as `original_of` says.
        copies: other entries with the same event id.
    """
    entry = stored.entry
    unreadable = entry.error_type == UNREADABLE
    event = event_of(stored)
    message = event_message(stored)
    decoded = decoding.decode(message)
    problem = decoded.problem
    if unreadable:
        problem = entry.error_message
    elif event is None:
        problem = "no event was kept with this entry"
    fields = take_apart(decoded.event)
    return DeadLetter(
        entry_id=entry.entry_id,
        seq=stored.message.seq,
        channel=entry.channel,
        handler=entry.handler_name,
        error_type=entry.error_type,
        error_message=entry.error_message,
        attempts=entry.attempts,
        first_failed_at=first_failure(entry),
        last_failed_at=entry.last_failed_at,
        source=str(entry.source),
        source_ref=entry.source_ref,
        original=original,
        tenant_id=entry.tenant_id,
        replay_count=replays_of(stored.headers),
        num_delivered=stored.num_delivered,
        event_type=fields.event_type,
        event_id=fields.event_id,
        timestamp=fields.timestamp,
        headers=decoding.headers(stored.headers) or {},
        data=b"" if event is None else decoding.raw(message),
        problem=problem,
        payload=None if event is None else decoded.value,
        copies=copies,
        decoder=decoded.decoder,
        masked=isinstance(decoding, OfShownEntries),
    )


def original_of(stored: StoredEntry, original: StoredMessage | None, decoding: Decoding) -> str:
    """What became of the message that an entry's `source_ref` names.

    Args:
        stored: as it is stored.
        original: what is stored there now; None if nothing is.
        decoding: how the messages of channels are read, under the names of these.
    """
    if original is None:
        return "no longer stored"
    if original.data == event_of(stored):
        return "stored"
    if event_of(stored) is None:  # there is nothing to compare
        return f"a message of {original.subject} is stored there"
    original = original._replace(subject=stored.entry.channel)
    there, event_id = (
        take_apart(decoding.true(message).event).event_id
        for message in (original, event_message(stored))
    )
    if event_id is not None and there == event_id:
        return "stored"
    shown = decoding.fields(original).event_id
    return f"another event is stored there now: {shown or 'one without an id'}"
