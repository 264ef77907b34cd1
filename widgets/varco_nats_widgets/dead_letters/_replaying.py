"""What a `DeadLetters` does with entries: plan, run, discard, export, and the log of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Coroutine, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pandas as pd
from nats.js.errors import NotFoundError

from varco_nats._nats.client import Connection
from varco_nats.bus import NatsEventBus
from varco_nats.config import NatsEventBusSettings
from varco_nats.dlq import NatsDLQ
from varco_nats.dlq._codec import StoredEntry
from varco_nats.errors import Advice, AdviceKind, ReplayRefusedError, VarcoNatsError
from varco_nats.replay import (
    Canary,
    ReplayControl,
    Replayer,
    ReplayOutcome,
    ReplayPlan,
    ReplayProgress,
    ReplayReport,
)
from varco_nats.replay._foreign import ForeignQueue, subject_target
from varco_nats.replay._replayer import asking_to_say
from varco_nats.subjects import replay_log_name, validate_channel
from varco_nats_widgets._session.background import advice_of, describe_error
from varco_nats_widgets._session.handle import SessionOwner
from varco_nats_widgets._session.progress import Progress
from varco_nats_widgets.dead_letters._browser import DeadLetterBrowser
from varco_nats_widgets.dead_letters._edit import PayloadEdit
from varco_nats_widgets.dead_letters._export import (
    DeadLetterExport,
    Exports,
    target_of,
    write_entries,
)
from varco_nats_widgets.dead_letters._index.filter import FilterOptions
from varco_nats_widgets.dead_letters._restore import read_export
from varco_nats_widgets.dead_letters._status import outcome_words, refused_words
from varco_nats_widgets.dead_letters._worker import WHICH, DeadLettersWorker, Entries
from varco_nats_widgets.replays import log_frame, masked_plan, plan_frame, report_frame, rows_frame

if TYPE_CHECKING:
    from varco_nats.replay._plan import Transform

MANY = 100
"""Entries that a run or a discard may touch without the number being given."""

type Target = SessionOwner | NatsEventBus | NatsEventBusSettings
"""Where messages may go to."""


class ConfirmationError(VarcoNatsError, ValueError):
    """A run or discard of many entries whose number was not given, or not rightly.

    Attributes:
        count: how many entries it would touch.
        given: what was given instead; None if nothing was.
        advice: how to confirm it.
    """

    def __init__(self, doing: str, count: int, given: int | None) -> None:
        self.count = count
        self.given = given
        but = "" if given is None else f", not {given:,}"
        self.advice = Advice(
            AdviceKind.CONFIRM_COUNT, f"to confirm, give their number: confirm={count}", count
        )
        super().__init__(f"this would {doing} {count:,} dead letters{but}; {self.advice.text}")


def settings_of(target: Target | None) -> NatsEventBusSettings | None:
    """The settings of the stream that something publishes to."""
    if target is None or isinstance(target, NatsEventBusSettings):
        return target
    if isinstance(target, NatsEventBus):
        return target.config
    return target.__lab_handle__.session.settings


def check_confirmed(doing: str, count: int, given: int | None) -> None:
    """Refuse what touches more than `MANY` entries, or another number than was given.

    Raises:
        ConfirmationError: it is refused.
    """
    if (given is None and count > MANY) or (given is not None and given != count):
        raise ConfirmationError(doing, count, given)


@dataclass(frozen=True)
class _Planned:
    """The plan that is shown, and what it was made from."""

    plan: ReplayPlan
    frame: pd.DataFrame
    elsewhere: bool
    entry_ids: frozenset[UUID]
    edits: dict[UUID, PayloadEdit]
    which: object
    basis: object
    """What `which` stood for on the screen."""


class Replaying:
    """The deciding behind one `DeadLetters`: at most one run at a time."""

    def __init__(
        self,
        worker: DeadLettersWorker,
        browser: DeadLetterBrowser,
        target: NatsEventBusSettings | None,
    ) -> None:
        self._worker = worker
        self._model = worker.model
        self._browser = browser
        self._target = self._elsewhere(target)
        self._planned: _Planned | None = None  # the traits show it, see `_show_plan`
        self._made: dict[str, tuple[NatsEventBusSettings | None, dict[UUID, PayloadEdit]]] = {}
        """Of each plan that was made here, by its id, where it goes and what was edited."""
        self._control: ReplayControl | None = None
        self._running: ReplayPlan | None = None
        self._exports = Exports()
        self._sending: tuple[float, int] | None = None  # since when, and what was done by then

    def _elsewhere(self, target: NatsEventBusSettings | None) -> NatsEventBusSettings | None:
        """`target`, None if that is where the dead letters came from."""
        if target is None or self._browser.names.is_foreign:
            return target
        return None if _place(target) == _place(self._browser.settings) else target

    def _replayer(self, target: NatsEventBusSettings | None = None) -> Replayer:
        names, settings = self._browser.names, self._browser.settings
        if names.is_foreign:
            return Replayer(ForeignQueue(settings, names), target=target)
        dlq = NatsDLQ(settings, dlq_stream=names.stream, dlq_subject=names.root)
        return Replayer(dlq, target=target)

    # Planning

    async def plan(
        self,
        which: Entries | None,
        filters: FilterOptions,
        *,
        to: str | None,
        target: NatsEventBusSettings | None,
        transform: Transform | None,
        new_event_ids: bool,
        again: bool,
        note: str,
    ) -> ReplayPlan:
        target = self._target if target is None else self._elsewhere(target)
        entry_ids = await self._worker.ids_of(which, filters, anew=True)
        among, basis = frozenset(entry_ids), self._worker.basis_of(which)
        if target is None and self._browser.names.is_foreign:
            target = await self._stream_of(entry_ids, to)
        edits = self._worker.edits_of(among)
        async with self._replayer(target) as replayer:
            plan = await replayer.plan(
                entry_ids,
                to=to or None,
                edits={entry_id: edit.data for entry_id, edit in edits.items()},
                transform=transform,
                new_event_ids=new_event_ids,
                again=again,
                note=note,
            )
        plan = masked_plan(plan, self._browser.reader.stored_as)
        self._made[plan.plan_id] = target, edits
        frame = await asyncio.to_thread(plan_frame, plan)
        self._planned = _Planned(plan, frame, target is not None, among, edits, which, basis)
        self._show_plan()
        self.check_plan()
        return plan

    async def _stream_of(
        self, entry_ids: Collection[UUID], to: str | None
    ) -> NatsEventBusSettings | None:
        """The stream that captures the subjects to which these entries go; None of no entry."""
        browser = self._browser
        if to:
            validate_channel(to)
        await browser.queue.renew()
        counts = await asyncio.to_thread(browser.queue.index.channels_of, entry_ids)
        if not counts:
            return None
        if to:
            counts = {to: sum(counts.values())}
        return await subject_target(browser.connection, browser.settings, browser.names, counts)

    def check_plan(self, _: object = None) -> None:
        """Drop the plan where what it was made from has changed since; from any thread.

        Not the plan that is run, whose entries leave the queue: it ends with its run.
        """
        planned = self._planned
        if (
            planned is not None
            and planned.plan is not self._running
            and (
                self._worker.basis_of(planned.which) != planned.basis
                or self._worker.edits_of(planned.entry_ids) != planned.edits
            )
        ):
            self._drop_plan()

    def _drop_plan(self) -> None:
        self._planned = None
        self._show_plan()

    def _show_plan(self) -> None:
        """Have the traits show the plan that there is.

        Two threads may do so at once, the one for an older plan coming last; so each ends only when
        what it has shown is what there is. They hold no lock, as observers may wait for a thread.
        """
        while True:
            shown = self._planned
            if shown is None:
                self._model.set(planned=None, plan_table=pd.DataFrame(), plan_elsewhere=False)
            else:
                self._model.set(
                    plan_table=shown.frame, plan_elsewhere=shown.elsewhere, planned=shown.plan
                )
            if self._planned is shown:
                return

    async def forget_plan(self) -> None:
        self._drop_plan()

    async def edit(self, entry_id: UUID, payload: str | bytes | dict[str, Any]) -> PayloadEdit:
        self.check_not_sent([entry_id])
        edit = await self._worker.edit(entry_id, payload)
        self.check_plan()
        return edit

    async def revert(self, which: Entries | UUID | None, filters: FilterOptions) -> None:
        if isinstance(which, UUID) or (isinstance(which, str) and which not in WHICH):
            which = [which]
        entry_ids = await self._worker.ids_of(which, filters)
        self.check_not_sent(entry_ids)
        self._worker.forget_edits(entry_ids)
        self.check_plan()

    def check_not_sent(self, entry_ids: Iterable[UUID]) -> None:
        """Refuse to change what the run sends that is under way.

        Raises:
            ValueError: it sends one of these entries.
        """
        if (running := self._running) is None:
            return
        sent = {row.entry_id for row in running.rows}
        if (found := next((each for each in entry_ids if each in sent), None)) is not None:
            raise ValueError(f"a run that sends dead letter {found} is under way; cancel it first")

    # Running

    async def run(
        self,
        plan: ReplayPlan | None,
        *,
        rate: float | None,
        canary: Canary | int | None,
        confirm: int | None,
        word: str,
        progress: Progress,
    ) -> ReplayReport:
        if plan is None:
            if self._planned is None:
                raise ValueError(
                    "there is no plan yet; plan() makes one. A new choice of entries, another "
                    "filter or another edit drops the plan that was made before"
                )
            plan = self._planned.plan
        target, edits = self._made.get(plan.plan_id, (self._target, {}))
        check_confirmed("replay", plan.to_replay, confirm)
        self._running = plan

        async def run(replayer: Replayer, **steering: Any) -> ReplayReport:
            with asking_to_say("word={!r}"):
                return await replayer.run(plan, rate=rate, canary=canary, confirm=word, **steering)

        return await self._steered(run, target, edits, progress, plan.to_replay)

    async def _steered(
        self,
        run: Callable[..., Coroutine[Any, Any, ReplayReport]],
        target: NatsEventBusSettings | None,
        edits: dict[UUID, PayloadEdit] | None,
        progress: Progress,
        total: int,
        exported_to: str | Path | None = None,
    ) -> ReplayReport:
        """The report of `run(replayer, progress=…, control=…)`, which is shown.

        Args:
            edits: those that are sent; None where none is.
            exported_to: the file that has what it discards.
        """
        control = self._control = ReplayControl()
        self._sending, progress.total = None, total
        plan = self._running
        try:
            self._model.set(
                outcome="",
                paused=False,
                report=None,
                report_table=pd.DataFrame(),
                undo_file="",
                run_progress=("", 0, total),
                run_outcomes={},
                seconds_left=None,
            )
            async with self._replayer(target) as replayer:
                running = run(
                    replayer,
                    progress=lambda now: self._on_progress(now, progress),
                    control=control,
                )
                report, interrupted = await _settled(asyncio.ensure_future(running), control)
        except Exception as error:
            self._model.set(outcome=refused_words(describe_error(error), advice_of(error)))
            raise
        finally:
            self._control = self._running = None
            self._model.set(paused=False, seconds_left=None)
            self.check_plan()
        if self._planned is not None and self._planned.plan is plan:
            self._drop_plan()
        gone = {row.entry_id for row in report.rows if row.removed}
        now = self._worker.edits
        sent = now if edits is None else edits
        self._worker.forget_edits(
            entry_id
            for entry_id, edit in sent.items()
            if entry_id in gone and now.get(entry_id) == edit
        )
        frame = await asyncio.to_thread(report_frame, report)
        undone = exported_to is not None and bool(report.of(ReplayOutcome.DISCARDED))
        undone = undone and not self._browser.names.is_foreign
        self._model.set(
            report_table=frame,
            report=report,
            undo_file=str(exported_to) if undone else "",
            outcome=outcome_words(report, plan),
        )
        await self._worker.catch_up()
        if interrupted is not None:
            raise interrupted
        return report

    def _on_progress(self, now: ReplayProgress, progress: Progress) -> None:
        if (control := self._control) is not None:
            self._worker.own_runs.add(control.replay_id)
        progress.done, progress.total = now.done, now.total
        self._model.set(
            run_progress=(now.phase, now.done, now.total),
            run_outcomes={str(name): count for name, count in now.outcomes.items() if count},
            seconds_left=self._seconds_left(now),
        )

    def _seconds_left(self, now: ReplayProgress) -> float | None:
        """What the rest takes at the pace since sending began or went on."""
        time_now = time.monotonic()
        if now.phase not in ("publishing", "discarding", "restoring"):
            self._sending = None
        elif self._sending is None:
            self._sending = time_now, now.done
        elif now.done > self._sending[1]:
            began, before = self._sending
            return (now.total - now.done) * (time_now - began) / (now.done - before)
        return None

    def pause(self) -> None:
        """Send nothing more until `resume`; from any thread."""
        if (control := self._control) is not None:
            control.pause()
            self._model.set(paused=True)

    def resume(self) -> None:
        """Go on; from any thread."""
        if (control := self._control) is not None:
            control.resume()
            self._model.set(paused=False)

    def cancel(self) -> None:
        """End the run; what was not sent stays in the queue. From any thread."""
        if (control := self._control) is not None:
            control.cancel()

    # Discarding and restoring, exporting, the log

    async def discard(
        self,
        which: Entries | None,
        filters: FilterOptions,
        *,
        exported_to: str | Path | None,
        word: str,
        confirm: int | None,
        note: str,
        progress: Progress,
    ) -> ReplayReport:
        entry_ids = await self._worker.ids_of(which, filters)
        if exported_to is not None:
            await asyncio.to_thread(self._exports.check, exported_to, entry_ids)
        elif not word:
            exported_to = await asyncio.to_thread(self._exports.file_of, entry_ids)
        check_confirmed("discard", len(entry_ids), confirm)

        async def run(replayer: Replayer, **steering: Any) -> ReplayReport:
            with asking_to_say("word={!r}"):
                return await replayer.discard(
                    entry_ids, exported_to=exported_to, confirm=word, note=note, **steering
                )

        return await self._steered(run, None, None, progress, len(entry_ids), exported_to)

    async def restore(
        self,
        path: str | Path,
        among: Iterable[UUID] | None,
        *,
        again: bool,
        confirm: int | None,
        note: str,
        progress: Progress,
    ) -> ReplayReport:
        if self._browser.names.is_foreign:
            raise ReplayRefusedError(
                f"restore(): {self._browser.names.stream!r} is a queue that others write, and "
                "nothing is put there"
            )
        entries = await asyncio.to_thread(read_export, path, self._browser.names)
        ids = {entry.entry_id for entry in entries}
        await asyncio.to_thread(self._exports.check_whole, path, ids)
        if among is not None:
            wanted = dict.fromkeys(among)
            entries = [entry for entry in entries if entry.entry_id in wanted]
            if missing := wanted.keys() - {entry.entry_id for entry in entries}:
                raise ReplayRefusedError(
                    f"{len(missing):,} of {len(wanted):,} dead letters are not in {str(path)!r}, "
                    f"such as {min(missing)}; nothing was restored"
                )
        count = len({entry.entry_id for entry in entries})
        check_confirmed("restore", count, confirm)

        def run(replayer: Replayer, **steering: Any) -> Coroutine[Any, Any, ReplayReport]:
            return replayer.restore(entries, restored_from=path, again=again, note=note, **steering)

        return await self._steered(run, None, {}, progress, count)

    async def export(
        self,
        which: Entries | None,
        filters: FilterOptions,
        path: str | Path,
        overwrite: bool,
        progress: Progress,
    ) -> DeadLetterExport:
        target = await asyncio.to_thread(target_of, path, overwrite=overwrite)
        entry_ids = await self._worker.ids_of(which, filters, anew=True)
        entries: list[StoredEntry] = []
        await self._worker.go_through(entry_ids, entries.extend, progress)
        return await _finished(asyncio.to_thread(self._write, target, entries))

    def _write(self, target: Path, entries: Sequence[StoredEntry]) -> DeadLetterExport:
        is_whole = self._browser.reader.stored_as.mask is None
        done = write_entries(
            target,
            entries,
            self._browser.reader.decoding,
            headers=is_whole and self._browser.names.is_foreign,
        )
        self._exports.add(done.path, [e.entry.entry_id for e in entries], is_whole=is_whole)
        return done

    async def log(self, replay_id: str | None) -> pd.DataFrame:
        settings, connection = self._browser.settings, self._browser.connection
        frame = await replay_log(settings, connection, self._replayer, replay_id)
        if replay_id is None:
            self._model.set(log_table=frame)
        else:
            self._model.set(logged_run=replay_id, logged_rows=frame)
        return frame


async def _settled(
    running: asyncio.Future[ReplayReport], control: ReplayControl
) -> tuple[ReplayReport, asyncio.CancelledError | None]:
    """The report of a run, also where this task is cancelled: then the run ends first."""
    try:
        return await asyncio.shield(running), None
    except asyncio.CancelledError as error:
        if running.done():
            raise
        control.cancel()
        return await running, error


async def _finished[T](work: Coroutine[Any, Any, T]) -> T:
    """The result of what cannot be stopped halfway, also where this task is cancelled."""
    task = asyncio.ensure_future(work)
    while not task.done():
        with suppress(asyncio.CancelledError):
            await asyncio.shield(task)
    return task.result()


def _place(settings: NatsEventBusSettings) -> tuple[Any, ...]:
    """Where the messages of a bus are."""
    return (
        settings.to_servers_list(),
        settings.stream_name,
        settings.subject_prefix,
        settings.channel_prefix,
        settings.connect_kwargs,
    )


async def replay_log(
    settings: NatsEventBusSettings,
    connection: Connection,
    replayer_of: Callable[[], Replayer],
    replay_id: str | None,
) -> pd.DataFrame:
    """What was replayed and discarded, or each row of one run; looking makes no stream."""
    try:
        await connection.js.stream_info(replay_log_name(settings.stream_name))
    except NotFoundError:
        if replay_id is not None:
            raise LookupError(
                f"nothing was replayed yet, so there is no run {replay_id!r}"
            ) from None
        return log_frame([])
    async with replayer_of() as replayer:
        if replay_id is not None:
            return rows_frame(await replayer.log_rows(replay_id))
        return log_frame(await replayer.log())
