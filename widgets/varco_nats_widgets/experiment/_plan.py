"""The plan of an experiment: its arguments are checked before anything is started. Pure."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypedDict
from uuid import UUID

from varco_nats.config import NatsDeliverySemantics
from varco_nats.errors import VarcoNatsError
from varco_nats_widgets.experiment._faults import SPECS, Dlq, Fault, Faults
from varco_nats_widgets.experiment._promises import Promise, handled, promise
from varco_nats_widgets.record._record import Surprise, Verdict

MAX_EVENTS = 1000
"""The most events that one experiment can publish."""

_CALM_ACK_WAIT = 10.0

_LIMITS: dict[str, tuple[float, float]] = {
    "events": (1, MAX_EVENTS),
    "ack_wait": (0.5, 30),
    "duplicate_window": (0.5, 3600),
    "max_deliver": (1, 20),
    "retry": (1, 20),
}


class ExperimentOptions(TypedDict, total=False):
    """The options of `Lab.experiment` and `Lab.compare`."""

    events: int
    at: int | None
    seed: int
    ack_wait: float | None
    max_deliver: int
    duplicate_window: float | None
    retry: int
    dlq: Dlq
    deduplicator: bool


class ExperimentError(VarcoNatsError, RuntimeError):
    """An experiment could not be carried out; nothing of it is left behind.

    Attributes:
        experiment: which experiment, in words.
        reason: what went wrong.
    """

    def __init__(self, experiment: str, reason: str) -> None:
        self.experiment = experiment
        self.reason = reason
        super().__init__(f"the experiment {experiment} could not be carried out: {reason}")


@dataclass(frozen=True, slots=True)
class Plan:
    """One experiment with all its values decided; the same plan gives the same verdict."""

    semantics: NatsDeliverySemantics
    faults: tuple[Fault, ...]
    events: int
    seed: int
    ack_wait: float
    max_deliver: int
    duplicate_window: float
    retry: int
    dlq: Dlq
    deduplicator: bool

    @property
    def title(self) -> str:
        faults = ", ".join(f"{fault.name} at {fault.at}" for fault in self.faults)
        parts = [self.semantics.value, faults or "nothing broken", f"{self.events} events"]
        return ", ".join([*parts, *self._unusual()])

    def _unusual(self) -> list[str]:
        """The options that are not as `make_plan` chooses them, as they are given to it."""
        usual = make_plan(
            self.semantics,
            [replace(fault, times=None) for fault in self.faults],
            events=self.events,
        )
        times = [f"times={fault.times}" for fault in self.faults if fault.times is not None]
        names = ("ack_wait", "duplicate_window", "max_deliver", "retry", "dlq", "deduplicator")
        values = {name: getattr(self, name) for name in names}
        texts = {n: f"{v:g}" if type(v) is float else repr(v) for n, v in values.items()}
        return times + [f"{n}={texts[n]}" for n in names if values[n] != getattr(usual, n)]

    @property
    def consumers(self) -> int:
        return max((fault.spec.consumers for fault in self.faults), default=1)

    def event_ids(self) -> list[UUID]:
        """The ids of the events, which depend on the seed only."""
        source = random.Random(f"varco experiment {self.seed}")  # noqa: S311
        return [UUID(int=source.getrandbits(128), version=4) for _ in range(self.events)]

    def fault_at(self, number: int) -> Fault | None:
        """The fault that strikes event `number`, if one does."""
        return next((fault for fault in self.faults if fault.at == number), None)

    def promises(self) -> dict[int, Promise]:
        """What is promised for each event that a fault strikes, by its number."""
        return {
            fault.at or 0: promise(
                fault,
                self.semantics,
                max_deliver=self.max_deliver,
                retry=self.retry,
                dlq=self.dlq,
                deduplicator=self.deduplicator,
            )
            for fault in self.faults
        }

    def judge(self, outcomes: Mapping[int, str]) -> Verdict:
        """Compare what was expected with `outcomes`, which are by the numbers of the events."""
        promises = {
            number: promised.kept_by(outcomes.get(number))
            for number, promised in self.promises().items()
        }
        expected = {
            number: promises[number].outcome if number in promises else handled(1)
            for number in range(1, self.events + 1)
        }
        surprises = tuple(
            Surprise(number, expected.get(number, "nothing"), outcomes.get(number, "nothing"))
            for number in sorted(expected.keys() | outcomes.keys())
            if expected.get(number) != outcomes.get(number)
        )
        return Verdict(
            dict(sorted(Counter(expected.values()).items())),
            dict(sorted(Counter(outcomes.values()).items())),
            self._sentences(promises, outcomes, surprises),
            surprises,
        )

    def _sentences(
        self,
        promises: Mapping[int, Promise],
        outcomes: Mapping[int, str],
        surprises: tuple[Surprise, ...],
    ) -> str:
        sentences = []
        for fault in self.faults:
            number = fault.at or 0
            outcome = outcomes.get(number, "nothing")
            sentence = f"{fault.description} Event {number} was {_was(outcome)}"
            if outcome == promises[number].outcome:
                sentence += f", as documented for {self.semantics.value}: {promises[number].why}."
            else:
                expected = _was(promises[number].outcome)
                sentence += f", but for {self.semantics.value} it should have been {expected}."
            sentences.append(sentence)
        others = [number for number in outcomes if number not in promises]
        wrong = [surprise for surprise in surprises if surprise.event not in promises]
        if not self.faults:
            sentences.append("Nothing was broken.")
        if wrong:
            first = ", ".join(
                f"event {surprise.event} was {_was(surprise.happened)}" for surprise in wrong[:3]
            )
            sentences.append(
                f"{len(wrong)} of the other events should have been handled once: {first}."
            )
        elif others:
            other = "other " if promises else ""
            sentences.append(
                f"The {other}event was handled once."
                if len(others) == 1
                else f"All {len(others)} {other}events were handled once."
            )
        return " ".join(sentences)


def _was(outcome: str) -> str:
    return "still pending" if outcome == "pending" else outcome


def plan_for(method: str, semantics: str, faults: Faults, options: ExperimentOptions) -> Plan:
    """`make_plan` for the lab's method of that name.

    Raises:
        TypeError: there is no such option.
        ValueError: one of them cannot be used.
    """
    known = ExperimentOptions.__annotations__
    for name in options:
        if name not in known:
            raise TypeError(f"{method}() has no option {name!r}; it has {', '.join(known)}")
    return make_plan(semantics, faults, **options)


def make_plan(
    semantics: NatsDeliverySemantics | str,
    faults: Faults = (),
    *,
    events: int = 20,
    at: int | None = None,
    seed: int = 7,
    ack_wait: float | None = None,
    max_deliver: int = 3,
    duplicate_window: float | None = None,
    retry: int = 1,
    dlq: Dlq = True,
    deduplicator: bool = False,
) -> Plan:
    """The plan that these arguments stand for; `Lab.experiment` explains them.

    Raises:
        ValueError: one of them cannot be used.
    """
    semantics = _semantics(semantics)
    _check({"events": events, "max_deliver": max_deliver, "retry": retry}, whole=True)
    _check_kinds(seed, dlq, deduplicator)
    placed = _placed(faults, events, at)
    specs = [fault.spec for fault in placed]
    if ack_wait is None:
        waits = (spec.ack_wait for spec in specs if spec.ack_wait is not None)
        ack_wait = max(waits, default=_CALM_ACK_WAIT)
    if duplicate_window is None:
        duplicate_window = min((spec.duplicate_window for spec in specs), default=120.0)
    _check({"ack_wait": ack_wait, "duplicate_window": duplicate_window})
    _check_times(placed, ack_wait, duplicate_window)
    plan = Plan(
        semantics,
        placed,
        events,
        seed,
        float(ack_wait),
        max_deliver,
        float(duplicate_window),
        retry,
        dlq,
        deduplicator,
    )
    if deduplicator and plan.consumers > 1:
        names = ", ".join(repr(fault.name) for fault in placed)
        raise ValueError(
            f"deduplicator=True: a deduplicator is in the memory of one process, but "
            f"{names} needs two consumers; choose another fault"
        )
    return plan


def _semantics(value: NatsDeliverySemantics | str) -> NatsDeliverySemantics:
    try:
        return NatsDeliverySemantics(value)
    except ValueError:
        names = ", ".join(repr(semantics.value) for semantics in NatsDeliverySemantics)
        hint = f"; {value!r} is a fault, give it as faults=" if str(value) in SPECS else ""
        raise ValueError(f"semantics={value!r}: give one of {names}{hint}") from None


def _placed(faults: Faults, events: int, at: int | None) -> tuple[Fault, ...]:
    if not isinstance(faults, Iterable | Fault):
        raise ValueError(f"faults={faults!r}: give one or several of lab.faults(), or Fault(...)")
    given = [faults] if isinstance(faults, str | Fault) else list(faults)
    found = [fault if isinstance(fault, Fault) else Fault(fault) for fault in given]
    middle = (events + 1) // 2 if at is None else at
    placed = tuple(fault.placed(middle) for fault in found if fault.name != "none")
    for fault in placed:
        if not 1 <= (fault.at or 0) <= events:
            raise ValueError(
                f"{fault.name} at event {fault.at}: give the number of an event, 1 to {events}"
            )
    twice = [number for number, count in Counter(f.at for f in placed).items() if count > 1]
    if twice:
        raise ValueError(
            f"two faults at event {twice[0]}: give each its own, "
            f"like Fault({placed[0].name!r}, at=3)"
        )
    return placed


def _check(values: Mapping[str, Any], *, whole: bool = False) -> None:
    for name, value in values.items():
        low, high = _LIMITS[name]
        fits = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
        if not fits or not low <= value <= high:
            kind = "a whole number" if whole else "a number"
            raise ValueError(f"{name}={value!r}: give {kind} from {low:g} to {high:g}")


def _check_kinds(seed: object, dlq: object, deduplicator: object) -> None:
    if not isinstance(seed, int):
        raise ValueError(f"seed={seed!r}: give a whole number")
    if not isinstance(dlq, bool) and dlq != "listen":
        raise ValueError(f"dlq={dlq!r}: give True or False, or 'listen' for the handler's own")
    if not isinstance(deduplicator, bool):
        raise ValueError(f"deduplicator={deduplicator!r}: give True or False")


def _check_times(faults: Iterable[Fault], ack_wait: float, duplicate_window: float) -> None:
    for fault in faults:
        if ack_wait < (least := fault.spec.least_ack_wait):
            raise ValueError(
                f"ack_wait={ack_wait:g}: {fault.name!r} needs longer; give {least:g} or more"
            )
        if duplicate_window > (longest := fault.spec.longest_window):
            raise ValueError(
                f"duplicate_window={duplicate_window:g}: {fault.name!r} waits for its end; give "
                f"{longest:g} or less"
            )
