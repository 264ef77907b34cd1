"""The message that the running handler was given, for code that it calls."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from contextvars import ContextVar

from varco_core.event.base import Event

from varco_nats._nats.ack_reply import ack_fields


def clock() -> float:
    """Seconds by a clock that goes on while the process is stopped or the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if sys.platform == "linux" else time.monotonic()


class MessageDelivery:
    """One delivery of a message, and what is known of it while it is handled.

    Attributes:
        channel: the channel of the message.
        stream: the stream it is stored in.
        seq: its stream sequence.
        num_delivered: how often the message was delivered by now, from 1.
        headers: its headers, None if it has none.
        durable: the consumer that delivered it.
        payload: its bytes.
        reply: the subject that takes its acknowledgement.
        since: the time, by `clock()`, at which the server delivered it at the earliest, or at which
            it was last reported as in progress.
        failed_handler: the name of the handler that raised, "" if none did.
        event: what the handlers are called with; None before that.
        dead_letter: the error with which a handler itself stored a dead letter of the message, as
            `@listen(dlq=)` does; None if none did.
        comes_again: whether the message is delivered again when its handlers fail.
        handling: False once its handlers have returned, although tasks that they started may go on.
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
        """How a dead letter names the message: `stream:sequence`."""
        return f"{self.stream}:{self.seq}"

    @property
    def stored_at(self) -> float:
        """When the message was stored, in seconds since 1970, by the server's clock."""
        *_, time_ns, _ = ack_fields(self.reply)
        return int(time_ns) / 1e9


current_delivery: ContextVar[MessageDelivery | None] = ContextVar("current_delivery", default=None)
"""Set while the handlers of a delivered message run, and while observers are called for it."""
