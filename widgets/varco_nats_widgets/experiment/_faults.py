"""The faults of experiments: what each does, and what the semantics promise under it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Literal

from varco_nats.config import NatsDeliverySemantics

AT_MOST_ONCE = NatsDeliverySemantics.AT_MOST_ONCE
EXACTLY_ONCE = NatsDeliverySemantics.EXACTLY_ONCE

_SHORT = 1.0
_LONGEST_WINDOW = 30.0

MAX_TIMES = 20
"""How often a handler can be made to raise at most."""

type Dlq = bool | Literal["listen"]
"""Whether the bus has a dead letter queue, or the handler its own, by `@listen(dlq=)`."""


@dataclass(frozen=True, slots=True)
class Spec:
    """What a fault needs."""

    description: str
    consumers: int = 1
    """Processes that share the durable."""
    times: int | None = None
    """How often the handler raises; 0 is always, None never."""
    ack_wait: float | None = None
    """Seconds, where the user did not say and the fault waits for its end or could outlast it."""
    least_ack_wait: float = 0.5
    """Seconds that it needs."""
    duplicate_window: float = 120.0
    """Seconds, where the user did not say; short likewise."""
    longest_window: float = 3600.0
    """Seconds that may be asked for."""


SPECS: dict[str, Spec] = {
    "none": Spec("Nothing is broken."),
    "kill_before_handler": Spec(
        "The consumer's process is killed before its handler runs.", ack_wait=_SHORT
    ),
    "kill_in_handler": Spec(
        "The consumer's process is killed while its handler runs.", ack_wait=_SHORT
    ),
    "kill_after_handler": Spec(
        "The consumer's process is killed when its handler is done, before it acknowledges.",
        ack_wait=_SHORT,
    ),
    "kill_one_of_two": Spec(
        "Two consumers share the durable; the one that got the message is killed in its handler.",
        consumers=2,
        ack_wait=_SHORT,
    ),
    "ack_lost": Spec("The network loses the consumer's ack, and then the connection.", ack_wait=2),
    "handler_fails_once": Spec(
        "The handler raises, and succeeds the next time.", times=1, ack_wait=2
    ),
    "handler_fails_times": Spec(
        "The handler raises several times before it succeeds.", times=2, ack_wait=2
    ),
    "handler_fails_always": Spec("The handler raises each time.", times=0, ack_wait=2),
    "slow_handler": Spec("The handler awaits for longer than ack_wait.", ack_wait=2),
    "blocking_handler": Spec(
        "The handler blocks its process for longer than ack_wait, so that it cannot report "
        "progress; a second consumer shares the durable.",
        consumers=2,
        ack_wait=_SHORT,
    ),
    "puback_lost": Spec(
        "The stream stores the event, but its PubAck is lost, so that the producer does not know."
    ),
    "duplicate_in_window": Spec("The event is published again, inside the duplicate window."),
    "duplicate_after_window": Spec(
        "The event is published again after the duplicate window.",
        duplicate_window=1.0,
        longest_window=_LONGEST_WINDOW,
    ),
    "duplicate_after_ack": Spec(
        "The event is published again inside the duplicate window, when its first copy is acked."
    ),
    "duplicate_not_refreshed": Spec(
        "The event is published twice again: inside the duplicate window, and after it has ended "
        "for the first copy, but not yet for the second.",
        duplicate_window=1.0,
        longest_window=_LONGEST_WINDOW,
    ),
    "server_killed": Spec(
        "The server is killed and restarted while the handler runs, half a second after the last "
        "ack.",
        ack_wait=5.0,
        least_ack_wait=5.0,
    ),
    "server_killed_after_ack": Spec(
        "The server is killed and restarted when it has just taken the event's ack.",
        ack_wait=_SHORT,
    ),
    "consumer_partitioned": Spec(
        "The network between the consumer and the server is cut in its handler; a second "
        "consumer shares the durable.",
        consumers=2,
        ack_wait=_SHORT,
    ),
}


@dataclass(frozen=True)
class Fault:
    """One thing that is broken on purpose, at one event.

    Args:
        name: one of `lab.faults()`.
        at: the number of the event, from 1; None is the one in the middle.
        times: for `handler_fails_times`, how often the handler raises; default 2.

    Raises:
        ValueError: there is no such fault, or a number that it cannot take.

    Example:
        lab.experiment("at_least_once", [Fault("kill_in_handler", at=5), "handler_fails_once"])
    """

    name: str
    at: int | None = None
    times: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or self.name not in SPECS:
            near = get_close_matches(str(self.name), SPECS, n=3) or list(SPECS)
            raise ValueError(
                f"there is no fault {self.name!r}; there is {', '.join(near)} (see lab.faults())"
            )
        if self.at is not None and (not isinstance(self.at, int) or self.at < 1):
            raise ValueError(f"at={self.at!r}: give the number of an event, from 1")
        if self.times is not None:
            if self.name != "handler_fails_times":
                raise ValueError(f"times= is for 'handler_fails_times', not for {self.name!r}")
            if not isinstance(self.times, int) or not 1 <= self.times <= MAX_TIMES:
                raise ValueError(f"times={self.times!r}: give a number from 1 to {MAX_TIMES}")

    @property
    def description(self) -> str:
        """What it does, in a sentence."""
        return self.spec.description

    @property
    def spec(self) -> Spec:
        return SPECS[self.name]

    @property
    def failures(self) -> int | None:
        """How often the handler raises; 0 is always, None never."""
        return self.times or self.spec.times

    def placed(self, at: int) -> Fault:
        """The same at an event, unless it has one."""
        return self if self.at is not None else replace(self, at=at)


@dataclass(frozen=True, slots=True)
class Promise:
    """What is to become of the event that a fault strikes, and why."""

    outcome: str
    why: str
    otherwise: Promise | None = None
    """What is promised as well, where a race decides."""

    def kept_by(self, outcome: str | None) -> Promise:
        """The one of the two that `outcome` keeps; this one if it keeps neither."""
        other = self.otherwise
        return other if other is not None and outcome == other.outcome else self


def handled(times: int) -> str:
    """The outcome of an event that was handled `times` times."""
    return "handled once" if times == 1 else f"handled {times} times"


_NOT_STRUCK = Promise(handled(1), "it is delivered, handled and acknowledged")
_GONE = Promise(
    "lost", "it was acknowledged before its handler ran, so that it is not delivered again"
)
_ACKED_FIRST = Promise(
    handled(1), "it was acknowledged before its handler ran, so that it is not delivered again"
)
_AGAIN = Promise(handled(1), "it was not acknowledged, so that it is delivered again")
_TWICE = Promise(
    handled(2),
    "it was handled, but the server does not know: without an ack it is delivered again",
)


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
        dlq: whether there is a dead letter queue, and whose.
        deduplicator: whether the consumer has one of varco-core's, in its memory.
    """
    most = semantics is AT_MOST_ONCE
    match fault.name:
        case "none":
            return _NOT_STRUCK
        case "kill_before_handler" | "kill_in_handler" | "kill_one_of_two":
            return _GONE if most else _AGAIN
        case "kill_after_handler" | "consumer_partitioned" | "blocking_handler":
            return _ACKED_FIRST if most else _TWICE
        case "ack_lost":
            return _of_lost_ack(semantics, deduplicator)
        case "slow_handler":
            return Promise(
                handled(1),
                _ACKED_FIRST.why if most else "its consumer reports progress while it awaits",
            )
        case "server_killed":
            return Promise(
                handled(1),
                "the stream and the acks of half a second ago are on disk, and its clients "
                "reconnect",
            )
        case "server_killed_after_ack":
            return _of_forgotten_ack(deduplicator)
        case "puback_lost":
            return _of_lost_puback(semantics, deduplicator)
        case _ if fault.failures is not None:
            return _of_failures(fault.failures, most, max_deliver, retry, dlq)
    return _of_duplicates(fault.name, semantics, deduplicator)


def _of_lost_ack(semantics: NatsDeliverySemantics, deduplicator: bool) -> Promise:
    if semantics is AT_MOST_ONCE:
        return Promise(handled(1), "its handler waits until the server has confirmed the ack")
    if semantics is EXACTLY_ONCE:
        return Promise(handled(1), "the ack is sent again until the server confirms it")
    return _skipped() if deduplicator else _TWICE


def _of_forgotten_ack(deduplicator: bool) -> Promise:
    if deduplicator:
        return Promise(handled(1), "the consumer's deduplicator skips it if it comes again")
    return Promise(
        handled(2),
        "the server writes acks to the disk some 100 ms late, and delivers again what it forgot",
        otherwise=Promise(handled(1), "this time the server had written its ack to the disk"),
    )


def _of_lost_puback(semantics: NatsDeliverySemantics, deduplicator: bool) -> Promise:
    if semantics is AT_MOST_ONCE:
        return Promise(handled(1), "the producer is told of the doubt and does not send it again")
    if semantics is EXACTLY_ONCE:
        return Promise(handled(1), "the second copy has the first one's message id and is dropped")
    if deduplicator:
        return _skipped()
    return Promise(handled(2), "the producer sends it again, and both copies are stored")


def _of_failures(times: int, most: bool, max_deliver: int, retry: int, dlq: Dlq) -> Promise:
    own = dlq == "listen"
    calls = retry if most or own else retry * max_deliver
    if times and times < calls:
        return Promise(
            handled(1),
            "the retry policy calls the handler again at once"
            if times < retry
            else "it is nak'ed, so that it is delivered again",
        )
    if own:
        return Promise(
            "dead-lettered", "the handler has a queue of its own, which takes it at once"
        )
    if most:
        return Promise("lost", "it was acknowledged before its handler ran, and the handler failed")
    if dlq:
        return Promise("dead-lettered", f"it failed in each of {max_deliver} deliveries")
    return Promise(
        "discarded", f"it failed in each of {max_deliver} deliveries, and there is no DLQ"
    )


def _of_duplicates(name: str, semantics: NatsDeliverySemantics, deduplicator: bool) -> Promise:
    sent = 3 if name == "duplicate_not_refreshed" else 2
    dropped = name != "duplicate_after_window" and semantics is EXACTLY_ONCE
    copies = sent - dropped
    if copies > 1 and deduplicator:
        return _skipped()
    if semantics is not EXACTLY_ONCE:
        return Promise(handled(copies), "without a message id the stream stores every copy")
    if name == "duplicate_not_refreshed":
        return Promise(
            handled(copies), "a copy that was dropped does not make the duplicate window longer"
        )
    if copies > 1:
        return Promise(handled(copies), "the stream forgot its message id with the window")
    return Promise(handled(1), "the stream knows its message id and drops the copy")


def _skipped() -> Promise:
    return Promise(handled(1), "the consumer's deduplicator has seen it and skips the handler")
