"""What a `DeadLetters` does with entries: plan, run, discard, export, and the log of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from uuid import UUID

import pandas as pd
from nats.js.errors import NotFoundError

from varco_nats._client import Connection
from varco_nats.config import NatsEventBusSettings
from varco_nats.dlq import NatsDLQ
from varco_nats.errors import VarcoNatsError
from varco_nats.replay import (
    Canary,
    ReplayControl,
    Replayer,
    ReplayPlan,
    ReplayProgress,
    ReplayReport,
)
from varco_nats_widgets._dlq_export import DeadLetterExport, target_of, write_entries
from varco_nats_widgets._dlq_filter import FilterOptions
from varco_nats_widgets._dlq_look import DlqLook
from varco_nats_widgets._replay_frames import log_frame, plan_frame, report_frame

if TYPE_CHECKING:
    from varco_nats._replay_plan import Transform
    from varco_nats_widgets._dlq_work import Work

__all__ = ["MANY", "ConfirmationError", "Entries", "Replaying", "Which", "replay_log"]

MANY = 100
"""Entries that a run or a discard may touch without the number being given."""

Which = Literal["selected", "groups", "matching"]
"""The selected rows; the entries of the chosen groups; all that match the widget's filter."""

type Entries = Which | Iterable[UUID | str] | pd.DataFrame
"""The same, or ids, or a frame of dead letters."""


class ConfirmationError(VarcoNatsError, ValueError):
    """A run or discard of many entries whose number was not given, or not rightly.

    Attributes:
        count: how many entries it would touch.
        given: what was given instead; None if nothing was.
    """

    def __init__(self, doing: str, count: int, given: int | None) -> None:
        self.count = count
        self.given = given
        said = "nothing was given" if given is None else f"{given:,} was given"
        super().__init__(
            f"this would {doing} {count:,} dead letters, and {said}; confirm={count} says that "
            "you know"
        )


def check_confirmed(doing: str, count: int, given: int | None) -> None:
    """Refuse what touches more than `MANY` entries, or another number than was given.

    Raises:
        ConfirmationError: it is refused.
    """
    if (given is None and count > MANY) or (given is not None and given != count):
        raise ConfirmationError(doing, count, given)


class Replaying:
    """The deciding behind one `DeadLetters`: at most one run at a time."""

    def __init__(self, work: Work, look: DlqLook, target: NatsEventBusSettings | None) -> None:
        self._work = work
        self._look = look
        self._target = target
        self._plan: ReplayPlan | None = None
        self._control: ReplayControl | None = None
        self._exported: dict[UUID, str] = {}
        self._shown = 0.0

    @asynccontextmanager
    async def _replayer(self) -> AsyncIterator[Replayer]:
        names = self._look.names
        dlq = NatsDLQ(self._look.settings, dlq_stream=names.stream, dlq_subject=names.root)
        async with Replayer(dlq, target=self._target) as replayer:
            yield replayer

    # Planning

    async def plan(
        self,
        which: Entries | None,
        filters: FilterOptions,
        *,
        to: str | None,
        transform: Transform | None,
        new_event_ids: bool,
        again: bool,
        note: str,
    ) -> ReplayPlan:
        entry_ids = await self._work.ids_of(which, filters)
        async with self._replayer() as replayer:
            plan = await replayer.plan(
                entry_ids,
                to=to or None,
                edits=self._work.edits_of(entry_ids),
                transform=transform,
                new_event_ids=new_event_ids,
                again=again,
                note=note,
            )
        self._show_plan(plan, await asyncio.to_thread(plan_frame, plan))
        return plan

    def _show_plan(self, plan: ReplayPlan | None, frame: pd.DataFrame) -> None:
        self._plan = plan
        self._work.set(planned=plan, plan_table=frame)

    async def forget_plan(self) -> None:
        self._show_plan(None, pd.DataFrame())

    # Running

    async def run(
        self,
        plan: ReplayPlan | None,
        *,
        rate: float | None,
        canary: Canary | int | None,
        confirm: int | None,
    ) -> ReplayReport:
        plan = plan or self._plan
        if plan is None:
            raise ValueError("there is no plan yet; plan() makes one")
        check_confirmed("replay", plan.to_replay, confirm)
        control = self._control = ReplayControl()
        self._work.set(paused=False, report=None, report_table=pd.DataFrame())
        try:
            async with self._replayer() as replayer:
                report = await replayer.run(
                    plan, rate=rate, canary=canary, progress=self._on_progress, control=control
                )
        finally:
            self._control = None
            self._work.set(paused=False)
        if plan is self._plan:
            await self.forget_plan()
        await self._show_report(report)
        return report

    async def _show_report(self, report: ReplayReport) -> None:
        self._work.forget_edits(row.entry_id for row in report.rows if row.removed)
        frame = await asyncio.to_thread(report_frame, report)
        self._work.set(report=report, report_table=frame)
        await self._work.catch_up()

    def _on_progress(self, progress: ReplayProgress) -> None:
        self._work.set(run_progress=(progress.phase, progress.done, progress.total))

    def pause(self) -> None:
        """Send nothing more until `resume`; from any thread."""
        if (control := self._control) is not None:
            control.pause()
            self._work.set(paused=True)

    def resume(self) -> None:
        """Go on; from any thread."""
        if (control := self._control) is not None:
            control.resume()
            self._work.set(paused=False)

    def cancel(self) -> None:
        """End the run; what was not sent stays in the queue. From any thread."""
        if (control := self._control) is not None:
            control.cancel()

    # Discarding, exporting, the log

    async def discard(
        self,
        which: Entries | None,
        filters: FilterOptions,
        *,
        exported_to: str | Path | None,
        word: str,
        confirm: int | None,
        note: str,
    ) -> ReplayReport:
        entry_ids = await self._work.ids_of(which, filters)
        if exported_to is None:
            exported_to = self._exported_to(entry_ids)
        check_confirmed("discard", len(entry_ids), confirm)
        async with self._replayer() as replayer:
            report = await replayer.discard(
                entry_ids, exported_to=exported_to, confirm=word, note=note
            )
        await self._show_report(report)
        return report

    def _exported_to(self, entry_ids: Sequence[UUID]) -> str | None:
        """The file that all of these were exported to, if there is one."""
        places = {self._exported.get(entry_id) for entry_id in entry_ids}
        return places.pop() if len(places) == 1 else None

    async def export(
        self, which: Entries | None, filters: FilterOptions, path: str | Path, overwrite: bool
    ) -> DeadLetterExport:
        target = await asyncio.to_thread(target_of, path, overwrite=overwrite)
        entries = await self._work.stored_of(await self._work.ids_of(which, filters))
        done = await asyncio.to_thread(write_entries, target, entries)
        self._exported |= {stored.entry.entry_id: str(done.path) for stored in entries}
        return done

    async def log(self) -> pd.DataFrame:
        frame = await replay_log(self._look.settings, self._look.connection, self._replayer)
        self._work.set(log_table=frame)
        return frame


async def replay_log(
    settings: NatsEventBusSettings,
    connection: Connection,
    replayer_of: Callable[[], AbstractAsyncContextManager[Replayer]],
) -> pd.DataFrame:
    """What was replayed and discarded; looking makes no stream."""
    try:
        await connection.js.stream_info(f"{settings.stream_name}-replays")
    except NotFoundError:
        return log_frame([])
    async with replayer_of() as replayer:
        return log_frame(await replayer.log())
