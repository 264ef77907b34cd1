"""Experiments: what the delivery semantics really do, on a real server, broken on purpose.

`Lab.experiment` and `Lab.compare` are the way in. Each experiment has a local server of its own,
a producer, and consumers in processes of their own, so that nothing it breaks is anybody's.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any, Self, Unpack

import pandas as pd

from varco_nats.config import NatsDeliverySemantics
from varco_nats_widgets._session.handle import Handle
from varco_nats_widgets._session.loop import LoopThread
from varco_nats_widgets._session.progress import Progress, ProgressCallback
from varco_nats_widgets.experiment._faults import SPECS, Fault
from varco_nats_widgets.experiment._nursery import Nursery
from varco_nats_widgets.experiment._plan import (
    MAX_EVENTS,
    ExperimentError,
    ExperimentOptions,
    Faults,
    Plan,
    make_plan,
    plan_for,
)
from varco_nats_widgets.experiment._run import Run
from varco_nats_widgets.frames._cells import escape
from varco_nats_widgets.frames._columns import strings
from varco_nats_widgets.record import DeliveryRecord, Verdict

__all__ = [
    "FAULTS",
    "MAX_EVENTS",
    "SEMANTICS",
    "Comparison",
    "Experiment",
    "ExperimentError",
    "ExperimentOptions",
    "Fault",
    "Faults",
    "Nursery",
    "Plan",
    "fault_frame",
    "make_plan",
    "perform",
]

FAULTS: tuple[Fault, ...] = tuple(Fault(name) for name in SPECS)
"""Everything that experiments can break; wherever a fault is asked for, its name will do."""

SEMANTICS: tuple[str, ...] = tuple(one.value for one in NatsDeliverySemantics)

_CLEAN_UP_SECONDS = 15.0


def fault_frame() -> pd.DataFrame:
    """The faults there are: index `fault`; columns `description`, `consumers`."""
    return pd.DataFrame(
        {
            "description": strings([fault.description for fault in FAULTS]),
            "consumers": [fault.spec.consumers for fault in FAULTS],
        },
        index=pd.Index(strings([fault.name for fault in FAULTS]), name="fault"),
    )


async def perform(
    plan: Plan,
    record: DeliveryRecord,
    nursery: Nursery,
    on_progress: Callable[[int], object] = lambda done: None,
) -> Verdict:
    """Carry out `plan` on this event loop; `record` is filled meanwhile, and done at the end.

    Args:
        nursery: starts the consumers; several experiments can share one.
        on_progress: called with the events published so far.

    Raises:
        ExperimentError: it could not be carried out; nothing is left behind.
    """
    try:
        await Run(plan, record, nursery, on_progress).perform()
        entries = record.ledger
        record.verdict = plan.judge(dict(zip(entries["event"], entries["outcome"], strict=True)))
        return record.verdict
    finally:
        record.finish()


class _Work:
    """Something that runs on a loop thread, in the background or waited for."""

    def __init__(
        self, loop: LoopThread, what: str, owner: object, progress: ProgressCallback | bool | None
    ) -> None:
        self.progress = Progress(f"the experiment {what}", progress)
        """`progress.done` of `progress.total` events are published."""
        self._what = what
        self._loop = loop
        self._owner = owner  # a lab that is garbage closes
        self._lock = threading.Lock()
        self._future: Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._cancelled = False

    async def _do(self) -> None:
        raise NotImplementedError

    @property
    def running(self) -> bool:
        """Whether it has been started and is not over."""
        return self._future is not None and not self._future.done()

    @property
    def cancelled(self) -> bool:
        """Whether it was ended by `cancel()`, an interrupt, or the end of its lab."""
        return self._cancelled and not self.running

    @property
    def error(self) -> BaseException | None:
        """Why it was not carried out to the end; None if that did not happen."""
        future = self._future
        return future.exception() if future is not None and future.done() else None

    def start(self) -> Self:
        """Begin in the background; starting twice does nothing.

        Raises:
            RuntimeError: its lab is closed.
        """
        self._submitted()
        return self

    def _submitted(self) -> Future[None]:
        with self._lock:
            if self._future is None:
                self._future = self._loop.submit(self._run())
            return self._future

    def wait(self, timeout: float | None = None) -> Self:
        """Start it if need be and wait until it is over; an interrupt cancels it.

        Raises:
            ExperimentError: it could not be carried out, or was cancelled.
            TimeoutError: it is not over after `timeout` seconds; it goes on.
            RuntimeError: its lab is closed, or this is the lab's own thread.
        """
        if self._loop.is_current:
            raise RuntimeError("this is the lab's own thread; await lab.aio.experiment() instead")
        future = self._submitted()
        try:
            if timeout is None:
                self.progress.wait(future)
            future.result(timeout)
        except KeyboardInterrupt:
            self.cancel()
            with suppress(Exception):
                future.result(_CLEAN_UP_SECONDS)
            raise KeyboardInterrupt(str(self.progress.stop_error())) from None
        return self

    async def wait_async(self) -> Self:
        """`wait`, to be awaited on any event loop; cancelling it cancels the experiment."""
        future = self._submitted()
        wrapped = asyncio.wrap_future(future)
        wrapped.add_done_callback(_seen)
        waiting = asyncio.shield(wrapped)
        try:
            await self.progress.wait_async(waiting)
            await waiting
        except asyncio.CancelledError:
            self.cancel()
            raise
        finally:
            if self.progress.stopped:
                self.cancel()
        return self

    def cancel(self) -> None:
        """End it. Returns at once; `running` is false when all its processes are gone."""
        if self.running:
            self._cancelled = True
            with suppress(RuntimeError):  # its lab is closed, and it has ended
                self._loop.submit(self._cancel())

    async def shut(self) -> None:
        """`cancel()`, and wait until all is gone; runs on the loop's thread."""
        self._cancelled = self._cancelled or self.running
        if self._task is not None and self.running:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        self._task = asyncio.current_task()
        try:
            if self._cancelled:
                raise asyncio.CancelledError
            await self._do()
        except asyncio.CancelledError:
            self._cancelled = True
            raise ExperimentError(self._what, "it was cancelled") from None


class Experiment(_Work):
    """One experiment: it is started, fills its record, and ends with a verdict.

    `Lab.experiment` makes one and waits for it; `start()` lets it run in the background.

    Args:
        loop: the thread to run on.
        nursery: starts the consumers.
        plan: what to do, as `make_plan` gives it.
        owner: is kept alive as long as this.
        progress: as in `Lab.frame`.
        on_progress: called on the loop's thread with the events published so far.
    """

    def __init__(
        self,
        loop: LoopThread,
        nursery: Nursery,
        plan: Plan,
        *,
        owner: object = None,
        progress: ProgressCallback | bool | None = False,
        on_progress: Callable[[int], object] | None = None,
    ) -> None:
        super().__init__(loop, plan.title, owner, progress)
        self.progress.total = plan.events
        self._nursery = nursery
        self.plan = plan
        self.record = DeliveryRecord(
            title=plan.title,
            duplicate_window=plan.duplicate_window,
            ack_wait=plan.ack_wait,
            semantics=plan.semantics.value,
        )
        """Everything that happened, filled while it runs."""
        self._on_progress = on_progress

    def __repr__(self) -> str:
        return f"Experiment({self.plan.title}: {self.state})"

    def _repr_html_(self) -> str:
        return f"<p>{escape(self.state)}</p>{self.record._repr_html_()}"

    @property
    def semantics(self) -> str:
        """`at_most_once`, `at_least_once` or `exactly_once`."""
        return self.plan.semantics.value

    @property
    def faults(self) -> tuple[Fault, ...]:
        """What is broken, each at an event."""
        return self.plan.faults

    @property
    def fault(self) -> str:
        """The names of the faults; `none` without any."""
        return ", ".join(fault.name for fault in self.plan.faults) or "none"

    @property
    def events(self) -> int:
        """How many events are published."""
        return self.plan.events

    @property
    def verdict(self) -> Verdict | None:
        """What was expected and what happened; None until it is over."""
        return self.record.verdict

    @property
    def state(self) -> str:
        """`not started`, `running`, `cancelled`, `failed`, `as promised` or `not as promised`."""
        if self._future is None:
            return "not started"
        if self.running:
            return "running"
        if self.verdict is None:
            return "cancelled" if self.cancelled else "failed"
        return "as promised" if self.verdict.holds else "not as promised"

    async def _do(self) -> None:
        await perform(self.plan, self.record, self._nursery, self._published)

    def _published(self, events: int) -> None:
        self.progress.done = events
        if self._on_progress is not None:
            self._on_progress(events)


class Comparison(_Work):
    """One fault under all three semantics, side by side.

    `Lab.compare` makes one and waits for it.

    Args:
        loop, nursery, owner, progress: as in `Experiment`.
        plan: what to do; its semantics are replaced by each.
    """

    def __init__(
        self,
        loop: LoopThread,
        nursery: Nursery,
        plan: Plan,
        *,
        owner: object = None,
        progress: ProgressCallback | bool | None = False,
    ) -> None:
        what = ", ".join(str(fault.name) for fault in plan.faults) or "none"
        super().__init__(loop, f"{what} under all semantics", owner, progress)
        self.progress.total = len(SEMANTICS) * plan.events
        self.experiments: Mapping[str, Experiment] = {
            name: Experiment(
                loop,
                nursery,
                replace(plan, semantics=NatsDeliverySemantics(name)),
                owner=owner,
                on_progress=self._published,
            )
            for name in SEMANTICS
        }
        """By semantics."""
        self._faults = what

    def __repr__(self) -> str:
        states = ", ".join(f"{name}: {one.state}" for name, one in self.experiments.items())
        return f"Comparison({self._faults}: {states})"

    def _repr_html_(self) -> str:
        frame = self.frame
        counts = frame.drop(columns=["struck", "as_promised"])
        lines = {name: frame[name] for name in ("struck", *counts.columns[counts.any()])}
        lines["verdict"] = [one.verdict.text if one.verdict else one.state for one in self._all()]
        style = "text-align:left;vertical-align:top"
        rows = (
            f"<tr><th></th>{''.join(f"<th style='{style}'>{name}</th>" for name in SEMANTICS)}</tr>"
        )
        for name, values in lines.items():
            cells = "".join(f"<td style='{style}'>{escape(str(value))}</td>" for value in values)
            rows += f"<tr><th style='{style}'>{name.replace('_', ' ')}</th>{cells}</tr>"
        return f"<table>{rows}</table>"

    @property
    def frame(self) -> pd.DataFrame:
        """What was measured: index `semantics`; columns `struck` (what became of the events that
        a fault struck), the counts of `Flow`, and `as_promised`.
        """
        rows: list[dict[str, Any]] = []
        for one in self._all():
            ledger = one.record.ledger
            at = [fault.at for fault in one.faults]
            struck = ledger.loc[ledger["event"].isin(at), "outcome"].tolist()
            holds = one.verdict.holds if one.verdict else None
            flow = asdict(one.record.flow)
            rows.append({"struck": ", ".join(struck) or None, **flow, "as_promised": holds})
        return pd.DataFrame(rows, index=pd.Index(strings(list(SEMANTICS)), name="semantics"))

    def _all(self) -> list[Experiment]:
        return list(self.experiments.values())

    def _published(self, events: int) -> None:
        self.progress.done = sum(one.progress.done for one in self._all())

    async def _do(self) -> None:
        futures = [asyncio.wrap_future(one._submitted()) for one in self._all()]
        try:
            # shielded: a cancelled future would not wait for what its experiment leaves behind
            await asyncio.gather(*(asyncio.shield(future) for future in futures))
        except BaseException:
            for one in self._all():
                one.cancel()
            await asyncio.wait(futures)
            raise
        finally:
            for future in futures:
                future.add_done_callback(_seen)


def _seen(future: asyncio.Future[None]) -> None:
    """Whoever cancelled the wait does not ask for the error, which asyncio would log."""
    if not future.cancelled():
        future.exception()


def new_experiment(
    handle: Handle,
    semantics: str,
    faults: Faults,
    progress: ProgressCallback | bool | None,
    **options: Unpack[ExperimentOptions],
) -> Experiment:
    """An experiment on the session's thread, not started; it keeps `handle` alive."""
    session = handle.session
    session.check_open()
    plan = plan_for("experiment", semantics, faults, options)
    made = Experiment(session.loop, session.shared(Nursery), plan, owner=handle, progress=progress)
    session.readers.add(made)
    return made


def new_comparison(
    handle: Handle,
    faults: Faults,
    progress: ProgressCallback | bool | None,
    **options: Unpack[ExperimentOptions],
) -> Comparison:
    """The same under all semantics, likewise."""
    session = handle.session
    session.check_open()
    plan = plan_for("compare", SEMANTICS[0], faults, options)
    made = Comparison(session.loop, session.shared(Nursery), plan, owner=handle, progress=progress)
    session.readers.add(made)
    return made
