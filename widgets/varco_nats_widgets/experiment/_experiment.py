"""`Experiment`: one run of a producer and consumers, with faults, and its verdict.

`Lab.experiment` and `Lab.compare` are the way in. Each experiment has a local server of its own,
a producer, and consumers in processes of their own, so that it breaks nothing of anybody else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Unpack

import pandas as pd

from varco_nats.config import NatsDeliverySemantics
from varco_nats_widgets._session.handle import Handle
from varco_nats_widgets._session.loop import LoopThread
from varco_nats_widgets._session.progress import ProgressCallback
from varco_nats_widgets.experiment._background import BackgroundRun
from varco_nats_widgets.experiment._faults import SPECS, Fault, Faults
from varco_nats_widgets.experiment._fork_server import ForkServer
from varco_nats_widgets.experiment._plan import ExperimentOptions, Plan, plan_for
from varco_nats_widgets.experiment._run import perform
from varco_nats_widgets.frames._cells import escape
from varco_nats_widgets.frames._columns import strings
from varco_nats_widgets.record import DeliveryRecord, Verdict

FAULTS: tuple[Fault, ...] = tuple(Fault(name) for name in SPECS)
"""Every fault that an experiment can have; where a fault is asked for, its name will do."""

SEMANTICS: tuple[str, ...] = tuple(semantics.value for semantics in NatsDeliverySemantics)


def fault_frame() -> pd.DataFrame:
    """The faults there are: index `fault`; columns `description`, `consumers`."""
    return pd.DataFrame(
        {
            "description": strings([fault.description for fault in FAULTS]),
            "consumers": [fault.spec.consumers for fault in FAULTS],
        },
        index=pd.Index(strings([fault.name for fault in FAULTS]), name="fault"),
    )


class Experiment(BackgroundRun):
    """One experiment: it is started, fills its record, and ends with a verdict.

    `Lab.experiment` makes one and waits for it; `start()` lets it run in the background.

    Args:
        loop: the thread to run on.
        nursery: the fork server that starts the consumers.
        plan: what to do, as `make_plan` gives it.
        owner: is kept alive as long as this.
        progress: as in `Lab.frame`.
        on_progress: called on the loop's thread with the number of events published so far.
    """

    def __init__(
        self,
        loop: LoopThread,
        nursery: ForkServer,
        plan: Plan,
        *,
        owner: object = None,
        progress: ProgressCallback | bool | None = False,
        on_progress: Callable[[int], object] | None = None,
    ) -> None:
        super().__init__(loop, plan.title, owner, progress)
        self.progress.total = plan.events
        self._fork_server = nursery
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

    async def _work(self) -> None:
        await perform(self.plan, self.record, self._fork_server, self._on_published)

    def _on_published(self, events: int) -> None:
        self.progress.done = events
        if self._on_progress is not None:
            self._on_progress(events)


def new_experiment(
    handle: Handle,
    semantics: str,
    faults: Faults,
    progress: ProgressCallback | bool | None,
    **options: Unpack[ExperimentOptions],
) -> Experiment:
    """An experiment on the session's thread, not started yet; it keeps the session open."""
    session = handle.session
    session.check_open()
    plan = plan_for("experiment", semantics, faults, options)
    experiment = Experiment(
        session.loop, session.shared(ForkServer), plan, owner=handle, progress=progress
    )
    session.readers.add(experiment)
    return experiment
