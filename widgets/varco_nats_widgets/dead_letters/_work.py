"""What a `DeadLetters` does, as coroutines that run on its lab's loop thread."""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import Callable, Collection, Coroutine, Iterable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Literal, Protocol
from uuid import UUID

import pandas as pd
from nats.errors import Error as NatsError

from varco_nats.dlq._codec import StoredEntry
from varco_nats.errors import (
    ConnectError,
    DeadLetterError,
    ServerUnreachableError,
    StreamUnavailableError,
)
from varco_nats_widgets._session.background import describe_error, watch
from varco_nats_widgets.dead_letters._edit import PayloadEdit, edited
from varco_nats_widgets.dead_letters._entry import DeadLetter, event_id_of
from varco_nats_widgets.dead_letters._filter import (
    DeadLetterFilter,
    FilterOptions,
    dead_letter_filter,
    event_of,
)
from varco_nats_widgets.dead_letters._frame import DeadLetterFrameBuilder
from varco_nats_widgets.dead_letters._groups import DeadLetterIndex
from varco_nats_widgets.dead_letters._look import DeadLetterNotFoundError, DlqLook

if TYPE_CHECKING:
    from varco_nats_widgets._session.session import Session
    from varco_nats_widgets.dead_letters._reader import QueueState

Which = Literal["selected", "groups", "matching"]
"""The selected rows; the entries of the chosen groups; all that match the widget's filter."""

type Entries = Which | Iterable[UUID | str] | pd.DataFrame
"""The same, or ids, or a frame of dead letters."""

PAGE_SIZE = 200
"""Entries on a page."""

_RECONNECT_SECONDS = 2.0  # what an action waits for a lost connection
_SHOW_SECONDS = 0.5  # between two pictures of the groups while they are counted
_MAX_COPIES = 1000
_MANY = 500  # entries that are found faster by reading the whole queue
_KINDS = {"filter": "read", "refresh": "read", "retry": "read", "discard": "run"}
_KINDS |= dict.fromkeys(("choose", "newest", "newer", "older", "oldest"), "page")
_WORDS = {"plan": "planning", "export": "exporting", "run": "replaying", "discard": "discarding"}
_STOPPED = ("plan", "export", "open", "log")  # kinds that `stop` ends; reading ends by itself
_PASSING = (ConnectError, DeadLetterError, NatsError, StreamUnavailableError, TimeoutError)
"""Errors that may be over when the same is done again."""


class Model(Protocol):
    """What the work needs of a `DeadLetters`, which it sets traits of and knows no more of."""

    selected_ids: list[str]
    chosen_groups: tuple[str, ...]
    filters: dict[str, Any]
    error: str

    def set_trait(self, name: str, value: Any) -> None: ...


class Work:
    """The reading behind one `DeadLetters`; new work of one kind ends the old."""

    def __init__(self, letters: Model, session: Session, look: DlqLook, page_size: int) -> None:
        self._model = weakref.ref(letters)  # background tasks must not keep it alive
        self._session = session
        self._look = look
        self._size = page_size
        self.index = DeadLetterIndex()
        self._wanted = DeadLetterFilter()
        self._given: FilterOptions = {}
        self._groups: tuple[str, ...] = ()
        self._start = 0
        self._held = 0  # entries of the queue that the index knows of, those left out included
        self._seen_seq = 0
        self._loaded = False
        self._stopping = False
        self.edits: dict[UUID, PayloadEdit] = {}
        self._running: dict[str, asyncio.Task[Any]] = {}
        self._failed: Callable[[], Coroutine[Any, Any, Any]] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._trouble = ""
        self._following = asyncio.Lock()
        self.seen = asyncio.Event()
        """Set while somebody sees the view; on the loop thread."""
        session.readers.add(self)

    def set(self, **values: Any) -> None:
        """Set traits of the model, if there still is one."""
        model = self._model()
        if model is not None:
            for name, value in values.items():
                model.set_trait(name, value)

    # Actions

    async def act[**P, T](
        self, work: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **options: P.kwargs
    ) -> T:
        """Do `work` instead of what is done of its kind; an error is shown and raised."""
        kind = _KINDS.get(work.__name__, work.__name__)
        if kind == "run" and kind in self._running:
            raise RuntimeError("a run is under way; wait for its end, or cancel() it")
        # a task of its own: the caller's must not be cancelled by the next action
        words = _WORDS.get(work.__name__, "reading")
        task = asyncio.create_task(self._act(work, *args, **options), name=words)
        task.add_done_callback(lambda task: self._ended(kind, task))
        previous = self._running.pop(kind, None)
        self._running[kind] = task
        self._show_running()
        if previous is not None:
            previous.cancel()
        try:
            return await task
        finally:
            task.cancel()

    async def _act[**P, T](
        self, work: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **options: P.kwargs
    ) -> T:
        kind = _KINDS.get(work.__name__, work.__name__)
        self.set(error="", can_retry=False)
        if kind == "read":
            self._stopping = False
        if kind in ("read", "plan", "export"):
            self.set(progress=(0, 0))
        try:
            await self._connected()
            doing = work(*args, **options)
            # a run has connections and patience of its own
            result = await (doing if kind == "run" else self._session._reachable(doing))
            self._failed = None
            return result
        except Exception as error:
            if work.__name__ != "retry":
                passing = kind != "run" and isinstance(error, _PASSING)
                self._failed = (lambda: work(*args, **options)) if passing else None
            self.set(error=describe_error(error), can_retry=self._failed is not None)
            raise

    def _ended(self, kind: str, task: asyncio.Task[Any]) -> None:
        if self._running.get(kind) is task:
            del self._running[kind]
            self._show_running()

    def _show_running(self) -> None:
        words = [task.get_name() for task in self._running.values()]
        doing = words[-1] if words else ""
        self.set(busy=bool(words), doing=doing, running="run" in self._running)

    async def _connected(self) -> None:
        connection = self._session.connection
        if not connection.is_connected and not await connection.wait_connected(_RECONNECT_SECONDS):
            raise ServerUnreachableError(connection.servers, "the connection is lost")

    async def retry(self) -> None:
        failed = self._failed
        await (failed() if failed is not None else self.refresh())

    def stop(self) -> None:
        """End reading with what it has; from any thread."""
        self._stopping = True
        if not self._session.closed:
            self._session.loop.submit(self._stop())

    async def _stop(self) -> None:
        for kind in _STOPPED:
            await _end(self._running.get(kind))

    async def settled(self) -> None:
        """Wait until a run or a discard that was interrupted has settled what it sent."""
        if (task := self._running.get("run")) is not None:
            await asyncio.wait([task])

    def close(self) -> None:
        """End everything; from any thread."""
        if not self._session.closed:
            self._session.loop.submit(self.shut())

    async def shut(self) -> None:
        """End everything; on the loop thread."""
        for task in (*self._running.values(), self._watching):
            await _end(task)
        self.set(notice="closed; what is shown is how it was")

    # The queue and its groups

    async def filter(self, given: FilterOptions) -> None:
        self._wanted = dead_letter_filter(**given)
        self._given = given
        shown = {name: value for name, value in given.items() if value}
        self._groups, self._start = (), 0
        self.set(filters=shown, chosen_groups=())
        await self.refresh()

    async def refresh(self) -> None:
        async with self._following:
            # what a filter says of the past ("10m") is meant from now on
            self._wanted = dead_letter_filter(**self._given)
            index, reader = DeadLetterIndex(), self._look.reader
            state = await reader.state()
            total = 0 if state is None else await reader.expected(state, self._wanted)
            self.set(entries=0 if state is None else state.entries, progress=(0, total), notice="")
            done = await self._read(index, state, 1, total)
            await self._replace(index, state, done if state is None else state.entries)
            if done < total and self._stopping:
                self.set(notice=f"stopped after {done:,} of {total:,} entries")
        await self._show_page()

    async def _read(
        self, index: DeadLetterIndex, state: QueueState | None, first: int, total: int
    ) -> int:
        """Take the entries from sequence `first` on into `index`; how many were looked at."""
        done, shown = 0, 0.0
        if state is None:
            return done
        batches = self._look.reader.batches(state, self._wanted, first=first)
        async with aclosing(batches):
            async for entries in batches:
                done += len(entries)
                await asyncio.to_thread(self._take, index, entries)
                if self._stopping and total:  # not what came since, which a plan needs whole
                    break
                if total and time.monotonic() - shown > _SHOW_SECONDS:
                    self.set(progress=(done, max(done, total)))
                    await self._show_groups(index)
                    shown = time.monotonic()
        return done

    def _take(self, index: DeadLetterIndex, entries: Sequence[StoredEntry]) -> None:
        wanted = self._wanted
        index.add(stored for stored in entries if not wanted or wanted.matches(stored))

    async def _replace(self, index: DeadLetterIndex, state: QueueState | None, held: int) -> None:
        self.index, self._held, self._loaded = index, held, True
        self._seen_seq = 0 if state is None else state.last_seq
        await self._show_groups(index)

    async def _show_groups(self, index: DeadLetterIndex) -> None:
        frame = await asyncio.to_thread(index.frame)
        self.set(
            group_table=frame,
            matching=len(index),
            channels=index.channels,
            choices={"channel": index.channels, "event_type": index.event_types, **_of(frame)},
        )

    async def choose(self, groups: Sequence[str]) -> None:
        await self._ready()
        for name in groups:
            if self.index.group(name) is None:
                raise ValueError(f"group {name!r} is not among those of groups()")
        self._groups, self._start = tuple(dict.fromkeys(groups)), 0
        self.set(chosen_groups=self._groups)
        await self._show_page()

    async def _ready(self) -> None:
        reading = self._running.get("read")
        if not self._loaded and reading not in (None, asyncio.current_task()):
            await asyncio.wait([reading])
        if not self._loaded:
            await self.refresh()

    # The page

    async def older(self) -> None:
        await self._turn_to(self._start + self._size)

    async def newer(self) -> None:
        await self._turn_to(self._start - self._size)

    async def oldest(self) -> None:
        await self._turn_to(len(self.index))

    async def newest(self) -> None:
        await self._turn_to(0)

    async def _turn_to(self, start: int) -> None:
        await self._ready()
        self._start = max(start, 0)
        await self._show_page()

    async def _show_page(self) -> None:
        left = tuple(name for name in self._groups if self.index.seqs([name]))
        if left != self._groups:
            self._groups = left
            self.set(chosen_groups=left)
        seqs = self.index.seqs(self._groups or None)[::-1]
        if self._start >= len(seqs):
            self._start = max((len(seqs) - 1) // self._size * self._size, 0)
        wanted = seqs[self._start : self._start + self._size]
        frame = await asyncio.to_thread(_frame, await self._entries_at(wanted))
        self.set(page=frame, page_start=self._start, page_total=len(seqs))
        model, among = self._model(), frozenset(seqs)
        if model is not None:  # those on other pages stay selected
            model.selected_ids = [
                one for one in model.selected_ids if self.index.seq_of(as_entry_id(one)) in among
            ]

    async def _entries_at(self, seqs: Sequence[int]) -> list[StoredEntry]:
        if not seqs:
            return []
        state = await self._look.reader.state()
        return [] if state is None else await self._look.reader.at(seqs, direct=state.direct)

    # One entry

    async def open(self, entry_id: UUID) -> DeadLetter:
        stored = await self._stored(entry_id)
        letter = await self._look.whole(stored, await self._copies(stored))
        self.set(letter=letter)
        return letter

    async def _stored(self, entry_id: UUID) -> StoredEntry:
        seq = self.index.seq_of(entry_id)
        found = await self._entries_at([seq]) if seq is not None else []
        if found and found[0].entry.entry_id == entry_id:
            return found[0]
        state = await self._look.reader.state()
        stored = None if state is None else await self._look.reader.find(entry_id, state)
        if stored is None:
            raise DeadLetterNotFoundError(entry_id, self._look.names.stream)
        return stored

    async def _copies(self, of: StoredEntry) -> tuple[UUID, ...]:
        event_id = event_id_of(of)
        if event_id is None:
            return ()
        seqs = [seq for seq in self.index.may_have_event(event_id) if seq != of.message.seq]
        entries = await self._entries_at(seqs[:_MAX_COPIES])
        return tuple(one.entry.entry_id for one in entries if event_id_of(one) == event_id)

    async def edit(self, entry_id: UUID, payload: str | bytes | dict[str, Any]) -> PayloadEdit:
        stored = await self._stored(entry_id)
        edit = edited(entry_id, event_of(stored) or b"", payload)
        self._show_edits({**self.edits, entry_id: edit})
        return edit

    async def revert(self, entry_id: UUID) -> None:
        self.forget_edits([entry_id])

    def forget_edits(self, entry_ids: Iterable[UUID]) -> None:
        gone = frozenset(entry_ids)
        self._show_edits({one: edit for one, edit in self.edits.items() if one not in gone})

    def edits_of(self, entry_ids: Collection[UUID]) -> dict[UUID, PayloadEdit]:
        """The edits of those of these entries that were edited."""
        return {one: edit for one, edit in self.edits.items() if one in entry_ids}

    def _show_edits(self, edits: dict[UUID, PayloadEdit]) -> None:
        self.edits = edits
        self.set(edits={str(entry_id): edit for entry_id, edit in edits.items()})

    # Entries to work on

    async def ids_of(
        self, which: Entries | None, filters: FilterOptions, *, anew: bool = False
    ) -> list[UUID]:
        """The ids that a caller means, in the order of the queue where that says none.

        Args:
            anew: take in first what came into the queue since it was read.
        """
        wanted = dead_letter_filter(**filters)
        if filters:
            if which is not None:
                raise ValueError("give entries or a filter, not both")
            return [one.entry.entry_id for one in await self._look.stored(wanted.matches)]
        if which is None:
            raise ValueError(
                "say which entries: ids, a frame, 'selected', 'groups', 'matching', or a filter "
                "such as channel='orders'"
            )
        if isinstance(which, pd.DataFrame):
            return [as_entry_id(one) for one in which.index]
        if not isinstance(which, str):
            return [as_entry_id(one) for one in which]
        await self._ready()
        if anew and which != "selected":
            await self.catch_up()
        return self._ids_in_view(which)

    def _ids_in_view(self, which: str) -> list[UUID]:
        model = self._model()
        if which == "selected" and model is not None and model.selected_ids:
            return [UUID(one) for one in model.selected_ids]
        if which == "groups" and self._groups:
            return self.index.entry_ids(self._groups)
        if which == "matching":
            return self.index.entry_ids()
        if which in ("selected", "groups"):
            raise ValueError(f"no {'row' if which == 'selected' else 'group'} is chosen")
        raise ValueError(f"{which!r}: write 'selected', 'groups' or 'matching', or give ids")

    def basis_of(self, which: object) -> object:
        """What `which` stands for now, in terms of what is on screen; None where of nothing."""
        model = self._model()
        if model is None or not isinstance(which, str):
            return None
        filters = tuple(model.filters.items())
        shown = {"selected": tuple(model.selected_ids), "groups": (model.chosen_groups, filters)}
        return shown.get(which, filters)

    async def stored_of(
        self, entry_ids: Sequence[UUID], read: Callable[[int, int], object]
    ) -> list[StoredEntry]:
        """The entries with these ids that are in the queue; `read` is told how far it is."""
        if len(entry_ids) > _MANY:
            ids = set(entry_ids)
            return await self._look.stored(lambda stored: stored.entry.entry_id in ids, read)
        state, reader = await self._look.reader.state(), self._look.reader
        if state is None:
            return []
        found = [await reader.find(entry_id, state) for entry_id in entry_ids]
        return [stored for stored in found if stored is not None]

    # Following the queue

    def watch(self, on: bool) -> None:
        """Follow the queue in the background, or no longer; from any thread."""
        if not self._session.closed:
            self._session.loop.submit(self._watch(on))

    async def _watch(self, on: bool) -> None:
        await _end(self._watching)
        if on:
            self.seen.set()
            self._watching = asyncio.create_task(
                watch(weakref.ref(self), self.seen), name="dead letters' counts"
            )

    async def look(self) -> None:
        """Take in what came into the queue since, and forget what left it."""
        if "read" in self._running:
            return
        if not self._loaded:
            await self.act(self.refresh)
            return
        async with self._following:
            changed = await self._follow()
        if changed and not self._running.keys() & {"read", "page"}:
            await self._show_page()

    async def catch_up(self) -> None:
        """Show what a run left, at once."""
        if self._loaded:
            async with self._following:
                changed = await self._follow()
            if changed:
                await self._show_page()

    async def _follow(self) -> bool:
        reader, index = self._look.reader, self.index
        state = await reader.state()
        if state is None:
            changed = bool(len(index) or self._held)
            await self._replace(DeadLetterIndex(), None, 0)
            self.set(entries=0)
            return changed
        if state.last_seq < self._seen_seq:  # the stream was made anew
            index = DeadLetterIndex()
            self._held = self._seen_seq = 0
        came = 0
        if state.last_seq > self._seen_seq:
            seen = max(self._seen_seq, index.last_seq)  # more, where it was cancelled
            came = await self._read(index, state, seen + 1, 0)
        self._held += came
        gone = self._held != state.entries
        if gone:
            seqs = await reader.seqs()
            await asyncio.to_thread(index.keep, seqs)
            self._held = len(seqs)
        self.set(entries=state.entries)
        if came or gone:
            self.index, self._seen_seq = index, state.last_seq
            await self._show_groups(index)
        return bool(came or gone)

    def trouble(self, problem: str | None) -> None:
        """Show what keeps the background task from its work, and clear it when it is over."""
        model = self._model()
        shown, self._trouble = self._trouble, f"{problem}; trying again" if problem else ""
        if model is None or self._session.closed or shown == self._trouble:
            return
        if self._trouble or model.error == shown:
            self.set(error=self._trouble, can_retry=bool(self._trouble))


def _of(groups: pd.DataFrame) -> dict[str, dict[str, int]]:
    """How many entries each handler and each error type has."""
    counts = {name: groups.groupby(name)["count"].sum() for name in ("handler", "error_type")}
    return {name: {str(k): int(n) for k, n in found.items()} for name, found in counts.items()}


def _frame(entries: Sequence[StoredEntry]) -> pd.DataFrame:
    builder = DeadLetterFrameBuilder()
    builder.add(entries)
    return builder.build()


def as_entry_id(entry_id: object) -> UUID:
    """An entry's id as a UUID.

    Raises:
        ValueError: it is none.
    """
    if isinstance(entry_id, UUID):
        return entry_id
    try:
        return UUID(entry_id if isinstance(entry_id, str) else "")
    except ValueError:
        raise ValueError(
            f"entry_id={entry_id!r} is no entry's id; the index of frame() has them"
        ) from None


async def _end(task: asyncio.Task[Any] | None) -> None:
    if task is not None and not task.done():
        task.cancel()
        await asyncio.wait([task])
