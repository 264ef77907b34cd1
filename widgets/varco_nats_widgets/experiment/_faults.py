"""The faults of experiments, and what each of them needs. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Literal

_SHORT = 1.0
_LONGEST_WINDOW = 30.0

MAX_TIMES = 20
"""How often a handler can be made to raise, at most."""

type Dlq = bool | Literal["listen"]
"""Whether the bus has a dead letter queue; `"listen"` is one of the handler, `@listen(dlq=)`."""


@dataclass(frozen=True, slots=True)
class Spec:
    """What a fault does and needs."""

    description: str
    """A sentence; `{times}` in it stands for how often the handler raises."""
    consumers: int = 1
    """Processes that share the durable."""
    times: int | None = None
    """How often the handler raises; 0 means always, None never."""
    ack_wait: float | None = None
    """Default of `ack_wait` in seconds, for faults that wait for its end or may outlast it."""
    least_ack_wait: float = 0.5
    """The shortest `ack_wait` that can be asked for, in seconds."""
    duplicate_window: float = 120.0
    """Default of `duplicate_window` in seconds; short for faults that wait for its end."""
    longest_window: float = 3600.0
    """The longest `duplicate_window` that can be asked for, in seconds."""


SPECS: dict[str, Spec] = {
    "none": Spec("Nothing is broken."),
    "kill_before_handler": Spec(
        "The consumer's process is killed before its handler runs.", ack_wait=_SHORT
    ),
    "kill_in_handler": Spec(
        "The consumer's process is killed while its handler runs.", ack_wait=_SHORT
    ),
    "kill_after_handler": Spec(
        "The consumer's process is killed after its handler is done and before it acknowledges.",
        ack_wait=_SHORT,
    ),
    "kill_one_of_two": Spec(
        "Two consumers share the durable; the one that gets the message is killed in its handler.",
        consumers=2,
        ack_wait=_SHORT,
    ),
    "ack_lost": Spec("The network loses the consumer's ack, then the connection.", ack_wait=2),
    "handler_fails_once": Spec(
        "The handler raises the first time that it is called with the event.", times=1, ack_wait=2
    ),
    "handler_fails_times": Spec(
        "The handler raises the first {times} times that it is called with the event.",
        times=2,
        ack_wait=2,
    ),
    "handler_fails_always": Spec("The handler raises every time.", times=0, ack_wait=2),
    "slow_handler": Spec("The handler awaits for longer than ack_wait.", ack_wait=2),
    "blocking_handler": Spec(
        "The handler blocks its process for longer than ack_wait, so that it cannot report "
        "progress; a second consumer shares the durable.",
        consumers=2,
        ack_wait=_SHORT,
    ),
    "puback_lost": Spec(
        "The stream stores the event, but its PubAck is lost, so the producer does not know."
    ),
    "duplicate_in_window": Spec("The event is published again inside the duplicate window."),
    "duplicate_after_window": Spec(
        "The event is published again after the duplicate window.",
        duplicate_window=1.0,
        longest_window=_LONGEST_WINDOW,
    ),
    "duplicate_after_ack": Spec(
        "The event is published again inside the duplicate window, after its first copy was acked."
    ),
    "duplicate_not_refreshed": Spec(
        "The event is published two more times: inside the duplicate window, and after the window "
        "has ended for the first copy but would not yet have ended for the second.",
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
        "The server is killed and restarted just after it took the event's ack.",
        ack_wait=_SHORT,
    ),
    "consumer_partitioned": Spec(
        "The network between the consumer and the server is cut while its handler runs; a second "
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
        at: the number of the event, from 1; None means the event in the middle.
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
            similar = get_close_matches(str(self.name), SPECS, n=3) or list(SPECS)
            raise ValueError(
                f"there is no fault {self.name!r}; try {', '.join(similar)} (see lab.faults())"
            )
        if self.at is not None and (type(self.at) is not int or self.at < 1):
            raise ValueError(f"at={self.at!r}: give the number of an event, from 1")
        if self.times is not None:
            if self.name != "handler_fails_times":
                raise ValueError(f"times= is for 'handler_fails_times', not for {self.name!r}")
            if not isinstance(self.times, int) or not 1 <= self.times <= MAX_TIMES:
                raise ValueError(f"times={self.times!r}: give a number from 1 to {MAX_TIMES}")

    @property
    def description(self) -> str:
        """What it does, in a sentence."""
        if self.times == 1:
            return SPECS["handler_fails_once"].description
        return self.spec.description.format(times=self.failures)

    @property
    def spec(self) -> Spec:
        return SPECS[self.name]

    @property
    def failures(self) -> int | None:
        """How often the handler raises; 0 means always, None never."""
        return self.times or self.spec.times

    def placed(self, at: int) -> Fault:
        """This fault at event `at`, unless it is at an event already."""
        return self if self.at is not None else replace(self, at=at)


type Faults = str | Fault | Iterable[str | Fault]


def consumer_orders(fault: Fault, ack_wait: float) -> dict[str, object]:
    """What `_consumer.Script` is to do at the event of this fault."""
    match fault.name:
        case "kill_before_handler":
            return {"kill": "before"}
        case "kill_in_handler" | "kill_one_of_two":
            return {"kill": "during"}
        case "kill_after_handler":
            return {"kill": "after"}
        case "slow_handler":
            return {"sleep": 1.5 * ack_wait}
        case "blocking_handler":
            return {"block": 1.5 * ack_wait}
        case "server_killed" | "consumer_partitioned":
            return {"pause": True}
        case _ if fault.failures is not None:
            return {"fail": fault.failures}
    return {}
