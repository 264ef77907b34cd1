"""What the documented semantics promise for an event that a fault strikes. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from varco_nats.config import NatsDeliverySemantics
from varco_nats_widgets.experiment._faults import Dlq, Fault

AT_MOST_ONCE = NatsDeliverySemantics.AT_MOST_ONCE
EXACTLY_ONCE = NatsDeliverySemantics.EXACTLY_ONCE


@dataclass(frozen=True, slots=True)
class Promise:
    """The outcome that an event struck by a fault should have, and why."""

    outcome: str
    why: str
    otherwise: Promise | None = None
    """The other outcome that is allowed, where a race decides."""

    def kept_by(self, outcome: str | None) -> Promise:
        """This promise or the other one, whichever `outcome` keeps; this one if neither."""
        other = self.otherwise
        return other if other is not None and outcome == other.outcome else self


def handled(times: int) -> str:
    """The outcome of an event that was handled `times` times."""
    return "handled once" if times == 1 else f"handled {times} times"


_NOT_STRUCK = Promise(handled(1), "it is delivered, handled and acknowledged")
_GONE = Promise("lost", "it was acknowledged before its handler ran, so it is not delivered again")
_ACKED_FIRST = Promise(
    handled(1), "it was acknowledged before its handler ran, so it is not delivered again"
)
_AGAIN = Promise(handled(1), "it was not acknowledged, so it is delivered again")
_TWICE = Promise(
    handled(2),
    "it was handled, but the server does not know that: without an ack it delivers it again",
)
_SKIPPED = Promise(handled(1), "the consumer's deduplicator has seen it and skips the handler")


def promise(
    fault: Fault,
    semantics: NatsDeliverySemantics,
    *,
    max_deliver: int,
    retry: int,
    dlq: Dlq,
    deduplicator: bool,
) -> Promise:
    """What the documented semantics promise for the event that `fault` strikes.

    Args:
        retry: how often a `RetryPolicy` has the handler called in one delivery.
        dlq: whether there is a dead letter queue, and whose it is.
        deduplicator: whether the consumer has one of varco-core's, in its memory.
    """
    at_most_once = semantics is AT_MOST_ONCE
    match fault.name:
        case "none":
            return _NOT_STRUCK
        case "kill_before_handler" | "kill_in_handler" | "kill_one_of_two":
            return _GONE if at_most_once else _AGAIN
        case "kill_after_handler" | "consumer_partitioned" | "blocking_handler":
            return _ACKED_FIRST if at_most_once else _TWICE
        case "ack_lost":
            return _of_lost_ack(semantics, deduplicator)
        case "slow_handler":
            return Promise(
                handled(1),
                _ACKED_FIRST.why
                if at_most_once
                else "its consumer reports progress while the handler awaits",
            )
        case "server_killed":
            return Promise(
                handled(1),
                "the stream and the acks of half a second ago are on the disk, and the clients "
                "reconnect",
            )
        case "server_killed_after_ack":
            return _of_forgotten_ack(deduplicator)
        case "puback_lost":
            return _of_lost_puback(semantics, deduplicator)
        case _ if fault.failures is not None:
            return _of_failures(fault.failures, at_most_once, max_deliver, retry, dlq)
    return _of_duplicates(fault.name, semantics, deduplicator)


def _of_lost_ack(semantics: NatsDeliverySemantics, deduplicator: bool) -> Promise:
    if semantics is AT_MOST_ONCE:
        return Promise(handled(1), "its handler waits until the server has confirmed the ack")
    if semantics is EXACTLY_ONCE:
        return Promise(handled(1), "the ack is sent again until the server confirms it")
    return _SKIPPED if deduplicator else _TWICE


def _of_forgotten_ack(deduplicator: bool) -> Promise:
    if deduplicator:
        return Promise(handled(1), "the consumer's deduplicator skips it if it comes again")
    return Promise(
        handled(2),
        "the server writes an ack to the disk some 100 ms late; one that it forgot is as good as "
        "not sent",
        otherwise=Promise(handled(1), "this time the server had written its ack to the disk"),
    )


def _of_lost_puback(semantics: NatsDeliverySemantics, deduplicator: bool) -> Promise:
    if semantics is AT_MOST_ONCE:
        return Promise(handled(1), "the producer gets an error and does not send it again")
    if semantics is EXACTLY_ONCE:
        return Promise(handled(1), "the second copy has the first one's message id and is dropped")
    if deduplicator:
        return _SKIPPED
    return Promise(handled(2), "the producer sends it again, and both copies are stored")


def _of_failures(times: int, at_most_once: bool, max_deliver: int, retry: int, dlq: Dlq) -> Promise:
    own = dlq == "listen"
    calls = retry if at_most_once or own else retry * max_deliver
    if times and times < calls:
        return Promise(
            handled(1),
            "the retry policy calls the handler again at once"
            if times < retry
            else "the bus hands it back (nak), so it is delivered again",
        )
    if own:
        return Promise(
            "dead-lettered", "the handler has a queue of its own, which takes it at once"
        )
    if at_most_once:
        return Promise("lost", "it was acknowledged before its handler ran, and the handler failed")
    failed = "it failed in " + (
        "its only delivery" if max_deliver == 1 else f"each of {max_deliver} deliveries"
    )
    if dlq:
        return Promise("dead-lettered", failed)
    return Promise("discarded", f"{failed}, and there is no DLQ")


def _of_duplicates(name: str, semantics: NatsDeliverySemantics, deduplicator: bool) -> Promise:
    sent = 3 if name == "duplicate_not_refreshed" else 2
    dropped = name != "duplicate_after_window" and semantics is EXACTLY_ONCE
    copies = sent - dropped
    if copies > 1 and deduplicator:
        return _SKIPPED
    if semantics is not EXACTLY_ONCE:
        return Promise(handled(copies), "without a message id the stream stores every copy")
    if name == "duplicate_not_refreshed":
        return Promise(
            handled(copies), "a copy that is dropped does not extend the duplicate window"
        )
    if copies > 1:
        return Promise(handled(copies), "the stream forgot its message id when the window ended")
    return Promise(handled(1), "the stream knows its message id and drops the copy")
