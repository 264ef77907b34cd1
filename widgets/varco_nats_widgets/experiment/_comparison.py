"""`Comparison`: the same faults under all three delivery semantics, side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, Unpack

import pandas as pd

from varco_nats.config import NatsDeliverySemantics
from varco_nats_widgets._session.handle import Handle
from varco_nats_widgets._session.loop import LoopThread
from varco_nats_widgets._session.progress import ProgressCallback
from varco_nats_widgets.experiment._background import BackgroundRun
from varco_nats_widgets.experiment._experiment import SEMANTICS, Experiment
from varco_nats_widgets.experiment._faults import Faults
from varco_nats_widgets.experiment._fork_server import ForkServer
from varco_nats_widgets.experiment._plan import ExperimentOptions, Plan, plan_for
from varco_nats_widgets.frames._cells import escape
from varco_nats_widgets.frames._columns import strings


class Comparison(BackgroundRun):
    """The same faults under all three semantics, side by side.

    `Lab.compare` makes one and waits for it.

    Args:
        loop, nursery, owner, progress: as in `Experiment`.
        plan: what to do; its semantics are replaced by each.
    """

    def __init__(
        self,
        loop: LoopThread,
        nursery: ForkServer,
        plan: Plan,
        *,
        owner: object = None,
        progress: ProgressCallback | bool | None = False,
    ) -> None:
        self._faults = ", ".join(str(fault.name) for fault in plan.faults) or "none"
        super().__init__(loop, f"{self._faults} under all semantics", owner, progress)
        self.progress.total = len(SEMANTICS) * plan.events
        self.experiments: Mapping[str, Experiment] = {
            name: Experiment(
                loop,
                nursery,
                replace(plan, semantics=NatsDeliverySemantics(name)),
                owner=owner,
                on_progress=self._on_published,
            )
            for name in SEMANTICS
        }
        """By semantics."""

    def __repr__(self) -> str:
        states = (f"{name}: {experiment.state}" for name, experiment in self.experiments.items())
        return f"Comparison({self._faults}: {', '.join(states)})"

    def _repr_html_(self) -> str:
        frame = self.frame
        counts = frame.drop(columns=["struck", "as_promised"])
        lines = {name: frame[name] for name in ("struck", *counts.columns[counts.any()])}
        lines["verdict"] = [
            experiment.verdict.text if experiment.verdict else experiment.state
            for experiment in self.experiments.values()
        ]
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
        """What was measured, a row for each semantics.

        Index `semantics`; columns `struck` (the outcomes of the events that a fault struck), the
        counts of `Flow`, and `as_promised`.
        """
        rows: list[dict[str, Any]] = []
        for experiment in self.experiments.values():
            ledger = experiment.record.ledger
            numbers = [fault.at for fault in experiment.faults]
            struck = ledger.loc[ledger["event"].isin(numbers), "outcome"].tolist()
            holds = experiment.verdict.holds if experiment.verdict else None
            flow = asdict(experiment.record.flow)
            rows.append({"struck": ", ".join(struck) or None, **flow, "as_promised": holds})
        return pd.DataFrame(rows, index=pd.Index(strings(list(SEMANTICS)), name="semantics"))

    def _on_published(self, events: int) -> None:
        experiments = self.experiments.values()
        self.progress.done = sum(experiment.progress.done for experiment in experiments)

    async def _work(self) -> None:
        experiments = self.experiments.values()
        try:
            await asyncio.gather(*(experiment.wait_async() for experiment in experiments))
        except BaseException:
            await asyncio.gather(*(experiment.shut() for experiment in experiments))
            raise


def new_comparison(
    handle: Handle,
    faults: Faults,
    progress: ProgressCallback | bool | None,
    **options: Unpack[ExperimentOptions],
) -> Comparison:
    """A comparison on the session's thread, not started yet; it keeps the session open."""
    session = handle.session
    session.check_open()
    plan = plan_for("compare", SEMANTICS[0], faults, options)
    comparison = Comparison(
        session.loop, session.shared(ForkServer), plan, owner=handle, progress=progress
    )
    session.readers.add(comparison)
    return comparison
