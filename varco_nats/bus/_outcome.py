"""What is done with a message after its handlers ran; decisions only, no I/O."""

from __future__ import annotations

from enum import Enum, auto

from varco_nats.config import NatsDeliverySemantics


class Outcome(Enum):
    """What becomes of a delivered message."""

    NOTHING = auto()
    """It was acknowledged before its handlers ran."""
    ACK = auto()
    ACK_CONFIRMED = auto()
    """Acknowledge, and have the server confirm that."""
    NAK = auto()
    """Hand it back, so that it is delivered again after a delay."""
    GIVE_UP = auto()
    """Push it to the dead letter queue, or terminate it where there is none."""


def decide(
    semantics: NatsDeliverySemantics,
    *,
    failed: bool,
    decodable: bool,
    keep_trying: bool,
    num_delivered: int,
    max_deliver: int,
) -> Outcome:
    """The outcome of one delivery, by the table in the README.

    Args:
        keep_trying: whether storing a dead letter failed, so that giving up would lose the message.
    """
    if semantics is NatsDeliverySemantics.AT_MOST_ONCE:
        return Outcome.NOTHING
    if not decodable:
        return Outcome.GIVE_UP
    if failed:
        return Outcome.NAK if keep_trying or num_delivered < max_deliver else Outcome.GIVE_UP
    if semantics is NatsDeliverySemantics.EXACTLY_ONCE:
        return Outcome.ACK_CONFIRMED
    return Outcome.ACK


def nak_delay(base: float, num_delivered: int, longest: float) -> float:
    """Seconds before a failed message is delivered again: `base`, doubled with each delivery."""
    return float(min(base * 2 ** (min(num_delivered, 32) - 1), longest))
