"""One thing that happened to one message, as a row. Pure."""

from __future__ import annotations

from typing import NamedTuple

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


def error_text(error: object) -> str | None:
    """The text of an exception or another reason, cut to 500 characters and valid in UTF-8."""
    if error is None:
        return None
    if not isinstance(error, BaseException):
        return clean(str(error), _MAX_ERROR)
    try:
        text = str(error)
    except Exception:  # the __str__ of somebody else's exception may do anything
        text = ""
    name = type(error).__name__
    return clean(f"{name}: {text}" if text else name, _MAX_ERROR)
