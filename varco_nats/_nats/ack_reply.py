"""The reply subject of a delivered message, which says where it is stored and is acknowledged to.

`$JS.ACK.<stream>.<consumer>.<delivered>.<sequence>.<consumer sequence>.<time>.<pending>`; some
servers put domain and account before the stream and a random token at the end (ADR-15).
"""

from __future__ import annotations

from typing import NamedTuple


class AckReply(NamedTuple):
    """Its fields, as text."""

    stream: str
    consumer: str
    delivered: str
    """How often the message was delivered by now."""
    seq: str
    """Its sequence in the stream."""
    consumer_seq: str
    """How many messages the consumer delivered before it, and itself."""
    time_ns: str
    """When it was stored, in nanoseconds since 1970."""
    pending: str
    """How many messages wait for the consumer behind it."""


def parse_ack_reply(reply: str) -> AckReply:
    """The fields of `reply`."""
    tokens = reply.split(".")
    first = 2 if len(tokens) == 9 else 4
    return AckReply._make(tokens[first : first + 7])
