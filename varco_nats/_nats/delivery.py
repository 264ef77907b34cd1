"""A delivered message, which code that a handler calls can ask for, and its reply subject."""

from __future__ import annotations

import hashlib
import re
import sys
import time
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from uuid import UUID, uuid5

import msgspec
from varco_core.event.base import Event

_integers = msgspec.json.Decoder(list[int]).decode
_ENTRY_NAMESPACE = UUID("6f0c3b52-6d0e-5c51-9f2b-0f6c1d2f8e11")


def clock() -> float:
    """Seconds by a clock that goes on while the process is stopped or the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if sys.platform == "linux" else time.monotonic()


def ack_fields(reply: str) -> list[str]:
    """The seven fields of the reply subject of a delivered message, which takes its ack.

    It is `$JS.ACK.<stream>.<consumer>.<delivered>.<sequence>.<consumer sequence>.<time>.<pending>`;
    some servers put domain and account before the stream and a random token at the end (ADR-15).

    Returns:
        stream, consumer, how often the message was delivered by now, its sequence in the stream,
        how many messages the consumer delivered up to this one, when it was stored in nanoseconds
        since 1970, and how many messages wait for the consumer behind it. It is a list, as a class
        with names takes twice the time.
    """
    tokens = reply.split(".")
    return tokens[2:9] if len(tokens) == 9 else tokens[4:11]


def ack_pattern(stream: str, consumer: str) -> bytes:
    """A regular expression for the part of such a reply subject that all its messages share.

    What follows are `ack_numbers`; there is no match where something else follows.
    """
    names = re.escape(f"{stream}.{consumer}".encode())
    return rb"\$JS\.ACK\.(?:[^. ]+\.[^. ]+\.)?%b\.1\.(?=\d+\.\d+\.\d+\.\d+ )" % names


def ack_numbers(rests: Sequence[bytes]) -> list[list[int]] | None:
    """The numbers of many such reply subjects, of which `rests` follow the shared parts.

    Returns:
        for all messages their sequences, consumer sequences, times and what is pending, as
        `ack_fields` gives them for a single message; None if a subject has more or less.
    """
    try:
        numbers = _integers(b"[%b]" % b",".join(rests).replace(b".", b","))
    except msgspec.DecodeError:
        return None
    if len(numbers) != 4 * len(rests):
        return None
    return [numbers[column::4] for column in range(4)]


def entry_id_of(stream: str, durable: str, seq: int, payload: bytes) -> UUID:
    """The id of the dead letter of a message, the same however often it is pushed."""
    content = hashlib.sha256(payload).hexdigest()
    return uuid5(_ENTRY_NAMESPACE, f"{stream}/{durable}/{seq}/{content}")


@dataclass(slots=True, eq=False)
class MessageDelivery:
    """One delivery of a message, and what is known of it while it is handled."""

    channel: str
    stream: str
    seq: int
    """Its stream sequence."""
    num_delivered: int
    """How often the message was delivered by now, from 1."""
    headers: Mapping[str, str] | None
    """None if it has none."""
    durable: str
    """The consumer that delivered it."""
    payload: bytes = b""
    reply: str = ""
    """The subject that takes its acknowledgement."""
    since: float = 0.0
    """The time, by `clock()`, at which the server delivered it at the earliest, or at which it was
    last reported as in progress."""
    failed_handler: str = ""
    """The name of the handler that raised, "" if none did."""
    event: Event | None = None
    """What the handlers are called with; None before that."""
    dead_letter: str | None = None
    """The error with which a handler itself stored a dead letter of the message, as
    `@listen(dlq=)` does; None if none did."""
    comes_again: bool = True
    """Whether the message is delivered again when its handlers fail."""
    handling: bool = True
    """False once its handlers have returned, although tasks that they started may go on."""

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
