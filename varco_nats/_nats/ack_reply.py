"""The reply subject of a delivered message, which says where it is stored and takes its ack.

`$JS.ACK.<stream>.<consumer>.<delivered>.<sequence>.<consumer sequence>.<time>.<pending>`; some
servers put domain and account before the stream and a random token at the end (ADR-15).
"""

from __future__ import annotations


def ack_fields(reply: str) -> list[str]:
    """The seven fields of `reply`; a list, as a class with names takes twice the time.

    Returns:
        stream, consumer, how often the message was delivered by now, its sequence in the stream,
        how many messages the consumer delivered up to this one, when it was stored in nanoseconds
        since 1970, and how many messages wait for the consumer behind it.
    """
    tokens = reply.split(".")
    return tokens[2:9] if len(tokens) == 9 else tokens[4:11]
