"""Advisories: what the server says unasked about a message that a consumer delivered."""

from __future__ import annotations

import json
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

DEAD_LETTERED = "dead-lettered"
"""The reason with which the bus terminates a message that it made a dead letter of."""

GIVEN_UP = "given up"
"""The reason with which the bus terminates a message where it has no dead letter queue; the
error's type follows."""

_END = 1 << 63


class AdvisoryKind(StrEnum):
    """What happened to the message; the value is a token of the advisory's subject."""

    ACKED = "ACK"
    """Sent only for consumers that sample their acknowledgements."""
    NAKED = "MSG_NAKED"
    TERMINATED = "MSG_TERMINATED"
    MAX_DELIVERIES = "MAX_DELIVERIES"
    """It was delivered `max_deliver` times, and is not delivered again."""


_KINDS = {
    "io.nats.jetstream.metric.v1.consumer_ack": AdvisoryKind.ACKED,
    "io.nats.jetstream.advisory.v1.nak": AdvisoryKind.NAKED,
    "io.nats.jetstream.advisory.v1.terminated": AdvisoryKind.TERMINATED,
    "io.nats.jetstream.advisory.v1.max_deliver": AdvisoryKind.MAX_DELIVERIES,
}


class Advisory(NamedTuple):
    """One advisory about a message."""

    kind: AdvisoryKind
    consumer: str
    seq: int
    """The message's stream sequence."""
    deliveries: int
    time: datetime
    """When it happened, with a time zone."""
    ack_seconds: float
    """How long the acknowledgement took; 0.0 for every other kind."""
    reason: str | None
    """The reason that a service gave when it terminated the message."""


def advisory_subject(kind: AdvisoryKind, stream: str) -> str:
    """The subject of such advisories about messages of `stream`, for all of its consumers."""
    group = "METRIC" if kind is AdvisoryKind.ACKED else "ADVISORY"
    return f"$JS.EVENT.{group}.CONSUMER.{kind}.{stream}.*"


def parse_advisory(data: bytes) -> Advisory | None:
    """What an advisory says; None if it is about something else than a message.

    Raises:
        ValueError: it is not an advisory; anybody may publish on these subjects.
    """
    try:
        values = json.loads(data)
        kind = _KINDS.get(values["type"])
        if kind is None:
            return None
        consumer, reason = str(values["consumer"]), values.get("reason")
        reason = None if reason is None else str(reason)
        f"{consumer}{reason}".encode()  # an unpaired surrogate could not be stored or shown
        seq, deliveries = values["stream_seq"], values["deliveries"]
        ack_seconds = int(values.get("ack_time") or 0) / 1e9
        time = datetime.fromisoformat(values["timestamp"])
    except Exception as error:
        raise ValueError(f"not an advisory: {type(error).__name__}") from None
    numbers = type(seq) is int and type(deliveries) is int
    if not numbers or not (0 < seq < _END and 0 <= deliveries < _END) or time.tzinfo is None:
        raise ValueError("not an advisory: a number or the time is out of range")
    return Advisory(kind, consumer, seq, deliveries, time, ack_seconds, reason)
