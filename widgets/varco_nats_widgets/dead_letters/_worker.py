"""What a `DeadLetters` does, as coroutines that run on its lab's loop thread."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Collection, Coroutine, Iterable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal, get_args
from uuid import UUID

import pandas as pd
from nats.errors import Error as NatsError

from varco_nats.dlq._codec import StoredEntry
from varco_nats.errors import Advice, ConnectError, DeadLetterError, StreamUnavailableError
from varco_nats.replay._planner import entry_uuid
from varco_nats_widgets._session.background import advice_of
from varco_nats_widgets._session.progress import Progress
from varco_nats_widgets._session.session import Session
from varco_nats_widgets._session.worker import Action, Worker
from varco_nats_widgets.dead_letters._browser import DeadLetterBrowser
from varco_nats_widgets.dead_letters._edit import PayloadEdit, edited_event
from varco_nats_widgets.dead_letters._entry import DeadLetter
from varco_nats_widgets.dead_letters._index.filter import FilterOptions, dead_letter_filter
from varco_nats_widgets.dead_letters._index.frame import frame_of
from varco_nats_widgets.dead_letters._index.queue import DeadLettersTraits, FollowedQueue
from varco_nats_widgets.dead_letters._labels import GroupLabels, with_labels
from varco_nats_widgets.dead_letters._others import OtherRuns
from varco_nats_widgets.frames._decoding import Decoding

Which = Literal["selected", "groups", "matching"]
"""The selected rows; the entries of the chosen groups; all that match the widget's filter."""

WHICH: frozenset[str] = frozenset(get_args(Which))

type Entries = Which | Iterable[UUID | str] | pd.DataFrame
"""The same, or ids, or a frame of dead letters."""

READ = Action("read")
PAGE = Action("page")
OPEN = Action("open", stop_cancels=True)
EDIT = Action("edit")
REVERT = Action("revert")
FIX = Action("fix", "fixing", stop_cancels=True)
FIELDS = Action("fields", stop_cancels=True)
FORGET = Action("forget the plan")
PLAN = Action("plan", "planning", stop_cancels=True)
EXPORT = Action("export", "exporting", stop_cancels=True)
RUN = Action("run", "replaying", is_run=True)
DISCARD = Action("run", "discarding", is_run=True)
RESTORE = Action("run", "restoring", is_run=True)
LOG = Action("log", stop_cancels=True)

PAGE_SIZE = 200
"""Entries on a page."""

_MANY = 500  # entries that are found faster by the index


class DeadLettersWorker(Worker[DeadLettersTraits]):
    """The work behind one `DeadLetters`."""

    retried = (ConnectError, DeadLetterError, NatsError, StreamUnavailableError, TimeoutError)
    refreshing = READ

    def __init__(
        self,
        letters: DeadLettersTraits,
        session: Session,
        browser: DeadLetterBrowser,
        page_size: int,
    ) -> None:
        super().__init__(letters, session)
        self._browser = browser
        self._size = page_size
        self._queue = FollowedQueue(self.model, browser.queue)
        self._labels = GroupLabels(browser)
        self._said = 0  # labels
        self._groups: tuple[str, ...] = ()
        self._start = 0  # how many newer entries come before the page
        self.edits: dict[UUID, PayloadEdit] = {}
        self.advice: Advice | None = None
        """What the model's `error` says to do, as data."""
        self.own_runs: set[str] = set()
        """Ids of the runs that were begun here."""
        self._others = OtherRuns(session.settings, browser.names.stream)
        self._connection_callbacks = _follow_connection(weakref.ref(self), session)

    @property
    def is_foreign(self) -> bool:
        """Whether others write the queue, so that nothing is put back into it."""
        return self._browser.names.is_foreign

    @property
    def mark(self) -> str:
        """That nothing can be changed here, and what to do."""
        what_to_do = ": to replay or discard, make a Lab that is not read_only"
        return super().mark + what_to_do * self.read_only

    # Actions

    async def _prepare(self, action: Action) -> None:
        self.model.set(error="", can_retry=False, back_since=None)
        if action is READ:
            self._queue.stopping = False
        if action in (READ, PLAN, FIX, FIELDS, EXPORT):
            self.model.set(progress=(0, 0))

    def _show_failure(self, error: Exception) -> None:
        self.advice = advice_of(error)
        super()._show_failure(error)

    def _show_error(self, error: str, *, can_retry: bool) -> None:
        self.model.set(error=error, can_retry=can_retry)

    def _show_running(self) -> None:
        labels = [running.action.label for running in self._running.values()]
        self.model.set(
            busy=bool(labels),
            doing=labels[-1] if labels else "",
            running=RUN.kind in self._running,
        )

    def stop(self) -> None:
        """End reading with what it has, and the rest at once, except for a run."""
        self._queue.stopping = True
        super().stop()

    async def settled(self) -> None:
        """Wait until a run or a discard that was interrupted has settled what it sent."""
        running = self._running.get(RUN.kind)
        if running is not None and running.task is not None:
            await asyncio.wait([running.task])

    async def shut(self) -> None:
        await super().shut()
        while self._connection_callbacks:
            self._connection_callbacks.pop()()
        self.model.set(notice="closed; what is shown is how it was")

    def on_problem(self, problem: str | None) -> None:
        # a lost connection is said at once, by `lost_since`, and made again without a retry
        super().on_problem(problem if self._session.connection.is_connected else None)

    def on_connection(self, *, is_lost: bool) -> None:
        """Say that the server does not answer, or that it is back."""
        if not self._session.closed:
            now = datetime.now(UTC)
            lost, back = (now, None) if is_lost else (None, now)
            self.model.set(lost_since=lost, back_since=back)
            if not is_lost:
                self.poll_now()
            if not is_lost and self._failed is not None and self._failed[0] in (READ, PAGE):
                self.start(self._look_again, now)

    async def _look_again(self, back: datetime) -> None:
        """Do what only looks and failed for want of a server, and still say that it is back."""
        await self.retry()
        self.model.set(back_since=back)

    # The queue and its groups

    async def filter(self, given: FilterOptions) -> None:
        self._queue.set_filter(given)
        self._groups, self._start = (), 0
        shown = {name: value for name, value in given.items() if value}
        self.model.set(filters=shown, chosen_groups=())
        if not self._queue.loaded:
            await self.refresh()
            return
        await self._queue.begin_filter()
        await self._queue.show()  # at once, whatever came meanwhile
        await self._queue.follow()
        await self._show_page()

    async def refresh(self) -> None:
        await self._queue.read()
        await self._show_page()

    async def choose(self, groups: Sequence[str]) -> None:
        await self._ready()
        known = self._queue.index.group_ids()
        if unknown := [name for name in groups if name not in known]:
            raise ValueError(f"group {unknown[0]!r} is not among those of groups()")
        self._groups, self._start = tuple(dict.fromkeys(groups)), 0
        self.model.set(chosen_groups=self._groups)
        await self._show_page()

    async def _ready(self) -> None:
        """Wait until the queue was read; read it where nobody does."""
        reading = self._running.get(READ.kind)
        if not self._queue.loaded and reading is not None and reading.task is not None:
            await asyncio.wait([reading.task])
        if not self._queue.loaded:
            await self.refresh()

    async def poll(self) -> None:
        if READ.kind in self._running:
            return
        if not self._queue.loaded:
            await self.perform(READ, self.refresh)
        else:
            changed = await self._queue.follow()
            if changed and not self._running.keys() & {READ.kind, PAGE.kind}:
                await self._show_page()
        if await self._labels.try_to_read():
            self._show_labels()
        await self._show_others()

    async def _show_others(self) -> None:
        """Show the runs of others, and how many of their entries have left the queue."""
        connection, done = self._session.connection, {}
        runs = await self._others.now(connection, self.own_runs)
        if runs and self._browser.queue.is_loaded:
            index = self._queue.index
            for name, ids in (await self._others.entries_of(connection, runs)).items():
                done[name] = len(ids) - len(await asyncio.to_thread(index.seqs_of, ids))
        self.model.set(others=runs, others_done=done)

    async def catch_up(self) -> None:
        """Show what a run left, at once."""
        if self._queue.loaded and await self._queue.follow():
            await self._show_page()

    # Labels of groups

    def next_label(self) -> Action:
        """An action of its own kind: what is said next must not end what is being stored."""
        self._said += 1
        return Action(f"label {self._said}", "labelling")

    async def label(self, groups: Sequence[str], note: str | None, owner: str | None) -> None:
        await self._labels.change(groups, note, owner)
        self._show_labels()

    async def labels(self) -> pd.DataFrame:
        await self._labels.read()
        return self._show_labels()

    async def labelled(self, groups: Coroutine[Any, Any, pd.DataFrame]) -> pd.DataFrame:
        """The frame of groups, with what is said of them."""
        frame = await groups
        await self._labels.try_to_read()
        return with_labels(frame, self._labels.frame())

    def _show_labels(self) -> pd.DataFrame:
        frame = self._labels.frame()
        self.model.set(label_table=frame)
        return frame

    # The page

    async def older(self) -> None:
        await self._turn_to(self._start + self._size)

    async def newer(self) -> None:
        await self._turn_to(self._start - self._size)

    async def oldest(self) -> None:
        await self._turn_to(len(self._queue.matching))

    async def newest(self) -> None:
        await self._turn_to(0)

    async def _turn_to(self, start: int) -> None:
        await self._ready()
        self._start = max(start, 0)
        await self._show_page()

    async def _show_page(self) -> None:
        matching = self._queue.matching
        there = matching.group_ids()
        left = tuple(name for name in self._groups if name in there)
        if left != self._groups:
            self._groups = left
            self.model.set(chosen_groups=left)
        groups = self._groups or None
        seqs = matching.seqs(groups)[::-1]
        if self._start >= len(seqs):
            self._start = max((len(seqs) - 1) // self._size * self._size, 0)
        wanted = seqs[self._start : self._start + self._size].tolist()
        frame = await asyncio.to_thread(frame_of, await self._entries_at(wanted), self._decoding)
        self.model.set(page=frame, page_start=self._start, page_total=len(seqs))
        model = self.model()
        if model is not None:  # those on other pages stay selected
            before = model.selected_ids
            ids = [as_entry_id(entry_id) for entry_id in before]
            among = await asyncio.to_thread(matching.among, ids, groups)
            if model.selected_ids == before:  # else the user has chosen meanwhile
                model.selected_ids = [str(entry_id) for entry_id in among]

    async def _entries_at(self, seqs: Sequence[int]) -> list[StoredEntry]:
        if not seqs:
            return []
        reader = self._browser.reader
        return await reader.entries_at(seqs, await reader.state())

    @property
    def _decoding(self) -> Decoding:
        return self._browser.reader.decoding

    # One entry

    async def open(self, entry_id: UUID) -> DeadLetter:
        letter = await self._browser.whole(await self._browser.find(entry_id))
        self.model.set(letter=letter)
        return letter

    async def edit(self, entry_id: UUID, payload: str | bytes | dict[str, Any]) -> PayloadEdit:
        stored = await self._browser.find(entry_id)
        reader, last = self._browser.reader, self.edits.get(entry_id)
        edit = edited_event(
            reader.true(stored),
            payload,
            reader.stored_as,
            None if last is None else last.data,
        )
        self.show_edits({**self.edits, entry_id: edit})
        return edit

    def forget_edits(self, entry_ids: Iterable[UUID]) -> None:
        gone = frozenset(entry_ids)
        kept = {entry_id: edit for entry_id, edit in self.edits.items() if entry_id not in gone}
        self.show_edits(kept)

    def edits_of(self, entry_ids: Collection[UUID]) -> dict[UUID, PayloadEdit]:
        """The edits of those of these entries that were edited."""
        return {entry_id: edit for entry_id, edit in self.edits.items() if entry_id in entry_ids}

    def show_edits(self, edits: dict[UUID, PayloadEdit]) -> None:
        """Have these edits and no others."""
        self.edits = edits
        self.model.set(edits={str(entry_id): edit for entry_id, edit in edits.items()})

    # Entries to work on

    async def ids_of(
        self, which: Entries | None, filters: FilterOptions, *, anew: bool = False
    ) -> list[UUID]:
        """The ids that a caller means, in the order of the queue where that says none.

        Args:
            anew: take in first what came into the queue since it was read.
        """
        wanted = dead_letter_filter(**filters)
        if any(value is not None for value in filters.values()):
            if which is not None:
                raise ValueError("give entries or a filter, not both")
            return (await self._browser.select(wanted)).entry_ids()
        if which is None:
            raise ValueError(
                "say which entries: ids, a frame, 'selected', 'groups', 'matching', or a filter "
                "such as channel='orders'"
            )
        if not isinstance(which, str):
            ids = which.index if isinstance(which, pd.DataFrame) else which
            return [as_entry_id(entry_id) for entry_id in ids]
        await self._ready()
        if anew and which != "selected":
            await self.catch_up()
        return self._ids_in_view(which)

    def _ids_in_view(self, which: str) -> list[UUID]:
        model = self.model()
        if which == "selected" and model is not None and model.selected_ids:
            return [UUID(entry_id) for entry_id in model.selected_ids]
        if which == "groups" and self._groups:
            return self._queue.matching.entry_ids(self._groups)
        if which == "matching":
            return self._queue.matching.entry_ids()
        if which in ("selected", "groups"):
            raise ValueError(f"no {'row' if which == 'selected' else 'group'} is chosen")
        raise ValueError(f"{which!r}: write 'selected', 'groups' or 'matching', or give ids")

    def basis_of(self, which: object) -> object:
        """What `which` stands for now, in terms of what is on screen; None where of nothing."""
        model = self.model()
        if model is None or not isinstance(which, str):
            return None
        filters = tuple(model.filters.items())
        shown = {"selected": tuple(model.selected_ids), "groups": (model.chosen_groups, filters)}
        return shown.get(which, filters)

    async def go_through(
        self,
        entry_ids: Collection[UUID],
        work: Callable[[list[StoredEntry]], object],
        progress: Progress,
    ) -> None:
        """Have `work` done in a thread with the entries of these ids, a batch after the other."""
        if len(entry_ids) > _MANY:

            def on_progress(done: int, total: int) -> None:
                progress.done, progress.total = done, total
                self.model.set(progress=(done, total))

            await self._browser.go_through(entry_ids, work, on_progress)
            return
        reader = self._browser.reader
        state = await reader.state()
        found = [await reader.find(entry_id, state) for entry_id in entry_ids]
        await asyncio.to_thread(work, [stored for stored in found if stored is not None])


def as_entry_id(entry_id: UUID | str) -> UUID:
    """An entry's id as a UUID.

    Raises:
        ValueError: it is none.
    """
    try:
        return entry_uuid(entry_id)
    except ValueError:
        raise ValueError(
            f"entry_id={entry_id!r} is no entry's id; the index of frame() has them"
        ) from None


def _follow_connection(
    worker_of: weakref.ref[DeadLettersWorker], session: Session
) -> list[Callable[[], None]]:
    """Tell a worker when the connection is lost and when it is back; functions that end this."""

    def tell(*, is_lost: bool) -> None:
        if (worker := worker_of()) is not None:
            worker.on_connection(is_lost=is_lost)

    connection = session.connection
    return [
        connection.on_disconnect(partial(tell, is_lost=True)),
        connection.on_reconnect(partial(tell, is_lost=False)),
    ]
