"""The message that the running handler was given, for code that it calls."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from contextvars import ContextVar

from varco_core.event.base import Event

from varco_nats._nats.ack_reply import ack_fields


def clock() -> float:
    """Seconds by a clock that goes on while the process stands still or the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if sys.platform == "linux" else time.monotonic()


class MessageDelivery:
    """One delivered message.

    Attributes:
        channel: the channel it came on.
        stream: the stream it is stored in.
        seq: its stream sequence.
        num_delivered: which delivery this is, from 1.
        headers: its headers, None without any.
        durable: the consumer that delivered it.
        payload: its bytes.
        reply: the subject that takes its acknowledgement.
        since: since when it is this process's at the longest, by `clock()`: the server did not
            deliver it before, or was told then that it is in progress.
        failed_handler: name of the handler that raised, "" if none did.
        event: what the handlers were given; None before they were.
        dead_letter: the error with which a handler itself made a dead letter of the message, as
            `@listen(dlq=)` does; None if none did.
        comes_again: whether it is delivered again when its handlers fail.
        handling: False once its handlers have returned; a task that they started may go on.
    """

    __slots__ = (
        "channel",
        "comes_again",
        "dead_letter",
        "durable",
        "event",
        "failed_handler",
        "handling",
        "headers",
        "num_delivered",
        "payload",
        "reply",
        "seq",
        "since",
        "stream",
    )

    def __init__(
        self,
        channel: str,
        stream: str,
        seq: int,
        num_delivered: int,
        headers: Mapping[str, str] | None,
        durable: str,
        payload: bytes = b"",
        reply: str = "",
        since: float = 0.0,
    ) -> None:
        self.channel = channel
        self.stream = stream
        self.seq = seq
        self.num_delivered = num_delivered
        self.headers = headers
        self.durable = durable
        self.payload = payload
        self.reply = reply
        self.since = since
        self.failed_handler = ""
        self.event: Event | None = None
        self.dead_letter: str | None = None
        self.comes_again = True
        self.handling = True

    @property
    def source_ref(self) -> str:
        """What the message is called in a dead letter."""
        return f"{self.stream}:{self.seq}"

    @property
    def stored_at(self) -> float:
        """When it was stored, in seconds since the epoch, by the server's clock."""
        *_, time_ns, _ = ack_fields(self.reply)
        return int(time_ns) / 1e9


current_delivery: ContextVar[MessageDelivery | None] = ContextVar("current_delivery", default=None)
"""Set while the handlers of a delivered message run, and while observers are told of it."""
