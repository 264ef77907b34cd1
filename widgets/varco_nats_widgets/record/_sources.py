"""Rows of a record, made of what a bus, a consumer's process or the stream reports. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from varco_nats._masks._mask import Mask
from varco_nats._nats.provenance import MESSAGE_ID, REPLAY_OF
from varco_nats.observe import DeliveryEvent, DeliveryKind
from varco_nats_widgets.record._rows import DEAD_LETTERS, PRODUCER, STREAM, Row, error_text

_WHO = {
    "published": PRODUCER,
    "stored": STREAM,
    "deduplicated": STREAM,
    "expired": STREAM,
    "lost": STREAM,
    "dead_lettered": DEAD_LETTERS,
    "replayed": DEAD_LETTERS,
}


class Expiries:
    """Notices deliveries whose ack_wait ended: the next one comes without a nak before it."""

    def __init__(self) -> None:
        self._naked: dict[tuple[str, int | None], int] = {}

    def before(self, row: Row) -> list[Row]:
        """`row`, and before it the expiry of the delivery before it, if there was one."""
        key = (row.channel, row.seq)
        if row.kind == "naked":
            self._naked[key] = row.delivery
        elif row.kind in ("acked", "terminated", "dead_lettered"):
            self._naked.pop(key, None)
        elif (
            row.kind == "delivered"
            and row.delivery > 1
            and self._naked.pop(key, 0) != row.delivery - 1
        ):
            expired = row._replace(kind="expired", process=STREAM, delivery=row.delivery - 1)
            return [expired, row]
        return [row]

    def forget(self, before: int) -> None:
        """Forget the messages below sequence `before`."""
        known = self._naked.items()
        self._naked = {key: n for key, n in known if key[1] is None or key[1] >= before}


def of_line(process: str, channel: str, line: Mapping[str, Any]) -> Row:
    """The row of a line that a consumer of an experiment sent."""
    process = DEAD_LETTERS if line["kind"] == "dead_lettered" else process
    error = error_text(line["error"])
    return Row(**{**line, "process": process, "channel": channel, "error": error})


def of_stored(row: Row, headers: Mapping[str, str] | None) -> list[Row]:
    """The rows of a message that was found in the stream: `row`, and whether it is a replay."""
    headers = headers or {}
    message_id = headers.get(MESSAGE_ID, "")
    row = row._replace(message_id=None if message_id == row.event_id else message_id)
    if REPLAY_OF in headers:
        return [row, row._replace(kind="replayed", process=DEAD_LETTERS)]
    return [row]


def of_event(
    event: DeliveryEvent,
    process: str,
    *,
    stored: bool = True,
    message_id: str | None = None,
    mask: Mask | None = None,
) -> list[Row]:
    """The rows of what a bus reported to an observer.

    Args:
        mask: what it hides is not told in errors.
        process: the name of the bus as a consumer in the record.
        stored: whether a PubAck makes a row `stored`; False if the stream itself is read.
        message_id: as in `Row`, of the messages that the bus publishes.
    """
    kinds: list[str]
    match event.kind:
        case DeliveryKind.SENT:
            kinds = ["published"]
        case DeliveryKind.PUBLISHED:
            kinds = ["stored"] if stored else []
        case DeliveryKind.REPLAYED:
            kinds = ["stored", "replayed"] if stored else ["replayed"]
            message_id = "replay"  # a replay's message id is never the event's own
        case DeliveryKind.UNCONFIRMED:
            kinds, process = ["failed"], PRODUCER
        case _:
            kinds = [event.kind.value]
    return [
        Row(
            event.time,
            kind,
            _WHO.get(kind, process),
            event.channel,
            event.event_id,
            event.event_type,
            event.seq,
            event.delivery_count,
            error_text(event.error, mask),
            message_id,
        )
        for kind in kinds
    ]
