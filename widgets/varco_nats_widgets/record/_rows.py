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
"""What can happen to a message, in the order in which it does; `fault` is what happened to a
process, the server or the network, and belongs to no message."""

PRODUCER = "producer"
STREAM = "stream"
DEAD_LETTERS = "dead letters"

FAULT = "fault"

MAX_ROWS = 500_000
"""Rows that a live record keeps, where nobody says otherwise."""

_MAX_ERROR = 500


class Row(NamedTuple):
    """One thing that happened to one message."""

    time: float
    """Seconds since the epoch, by the clock of whoever saw it."""
    kind: str
    """One of `KINDS`. `published` is one copy sent, `stored` the stream's taking it.
    `deduplicated` is a copy that the stream dropped, or with a `delivery` one that a consumer's
    deduplicator skipped; `failed` without a `delivery` is a copy whose PubAck did not come."""
    process: str
    """Who: `producer`, `stream`, `dead letters`, or a consumer's name."""
    channel: str
    event_id: str | None = None
    event_type: str | None = None
    seq: int | None = None
    """Stream sequence; of the first copy for one that was dropped."""
    delivery: int = 0
    """Which delivery, from 1; 0 for publishing."""
    error: str | None = None
    """What went wrong, in words; for `fault` what was done."""
    message_id: str | None = None
    """What the stream knows a copy by in the duplicate window; "" if by nothing, and None for the
    event's own id."""


def error_text(error: object) -> str | None:
    """What an exception or another reason says, bounded and as text that can be sent."""
    if error is None:
        return None
    if not isinstance(error, BaseException):
        return clean(str(error), _MAX_ERROR)
    try:
        said = str(error)
    except Exception:  # a foreign __str__ may do anything
        said = ""
    name = type(error).__name__
    return clean(f"{name}: {said}" if said else name, _MAX_ERROR)
