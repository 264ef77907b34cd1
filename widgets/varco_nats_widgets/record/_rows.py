"""One thing that happened to one message, as a row. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from varco_nats._masks._mask import Mask
from varco_nats._nats.advisories import GIVEN_UP
from varco_nats_widgets.frames._cells import clean

KINDS = (
    "published",
    "stored",
    "deduplicated",
    "delivered",
    "handled",
    "failed",
    "acked",
    "naked",
    "terminated",
    "expired",
    "dead_lettered",
    "replayed",
    "lost",
    "fault",
)
"""What can happen to a message, in the usual order. A `fault` happened to a process, the server or
the network, and belongs to no message."""

PRODUCER = "producer"
STREAM = "stream"
DEAD_LETTERS = "dead letters"

FAULT = "fault"

MAX_ROWS = 500_000
"""The rows that a live record keeps by default."""

_MAX_ERROR = 500
_WITHHELD = "(withheld: a mask is set, and this may quote a payload)"


class Row(NamedTuple):
    """One thing that happened to one message."""

    time: float
    """Seconds since the epoch, by the clock of the process that reported it."""
    kind: str
    """One of `KINDS`. `published` means that a copy was sent, `stored` that the stream took it.
    `deduplicated` is a copy that the stream dropped or, with a `delivery`, one that a consumer's
    deduplicator skipped; `failed` without a `delivery` is a copy whose PubAck did not come."""
    process: str
    """Where it happened: `producer`, `stream`, `dead letters`, or a consumer's name."""
    channel: str
    event_id: str | None = None
    event_type: str | None = None
    seq: int | None = None
    """Stream sequence; for a copy that was dropped, that of the first one."""
    delivery: int = 0
    """Which delivery, from 1; 0 for publishing."""
    error: str | None = None
    """What went wrong, in words; for a `fault` what was done."""
    message_id: str | None = None
    """The message id of a copy, by which the stream recognises duplicates; "" if it has none, and
    None if it is the event's own id."""


def shown_rows(rows: Sequence[Row], mask: Mask | None) -> Sequence[Row]:
    """The rows with what a mask hides of an event's id and type; equal ids stay equal."""
    if mask is None or not mask.hides_own:
        return rows
    return [
        row._replace(
            event_id=mask.own("event_id", row.event_id, is_identity=True),
            event_type=mask.own("event_type", row.event_type),
            message_id=mask.own("event_id", row.message_id, is_identity=True) or row.message_id,
        )
        for row in rows
    ]


def error_text(error: object, mask: Mask | None = None) -> str | None:
    """The text of an exception or another reason, cut to 500 characters and valid in UTF-8.

    Args:
        mask: where it hides values of payloads, of an exception only the class is told, and of
            another reason nothing: either may quote a payload.
    """
    if error is None:
        return None
    is_hidden = mask is not None and mask.hides_payloads
    if not isinstance(error, BaseException):
        is_own = str(error).startswith(GIVEN_UP)
        return _WITHHELD if is_hidden and not is_own else clean(str(error), _MAX_ERROR)
    if is_hidden:
        return f"{type(error).__name__} {_WITHHELD}"
    try:
        text = str(error)
    except Exception:  # the __str__ of somebody else's exception may do anything
        text = ""
    name = type(error).__name__
    return clean(f"{name}: {text}" if text else name, _MAX_ERROR)
