"""`LiveKeyValues`: the current values of a bucket, as they change."""

from __future__ import annotations

import asyncio
import logging
import threading
import weakref
from collections.abc import Callable, Coroutine
from contextlib import aclosing, suppress
from typing import Any

import pandas as pd
import traitlets
from nats.errors import Error as NatsError

from varco_nats._nats.client import Connection
from varco_nats._nats.direct import Batch, StoredMessage
from varco_nats.errors import VarcoNatsError
from varco_nats.history._tail import Tail
from varco_nats_widgets._session.background import describe_error
from varco_nats_widgets._session.buckets import Bucket
from varco_nats_widgets._session.facts import Facts
from varco_nats_widgets._session.handle import Handle
from varco_nats_widgets._session.job import Call, InThread, Job, Twin, awaiting, blocking
from varco_nats_widgets._session.loop import LoopThread
from varco_nats_widgets._session.model import WidgetModel, end_all
from varco_nats_widgets._session.reopening import call_code
from varco_nats_widgets.stores._entries import PUT, EntryDecoding, operation_of, values_frame
from varco_nats_widgets.stores._places import newest_by_subject

_CHECK_SECONDS = 2.0  # between two looks at whether something went without a message

_logger = logging.getLogger("varco_nats")


class KeyValuesFeed:
    """Keeps the newest message of each key. Its coroutines run on the loop thread."""

    def __init__(
        self, connection: Connection, bucket: Bucket, on_change: Callable[[], None]
    ) -> None:
        self._connection = connection
        self._facts = Facts(connection)
        self._bucket = bucket
        self._pattern = f"{bucket.prefix}>"
        self._on_change = on_change
        self._lock = threading.Lock()  # guards `_newest`
        self._newest: dict[str, StoredMessage] = {}
        self._created = ""
        self._tasks: list[asyncio.Task[None]] = []
        self._progress = asyncio.Event()
        self._fatal: str | None = None
        self._stopped = False
        self.tail = Tail(connection, bucket.stream, [self._pattern], on_change=on_change)
        self.changes = 0
        self.keys = 0
        self.version = 0

    @property
    def state(self) -> str:
        return "stopped" if self._stopped else self.tail.state

    @property
    def error(self) -> str | None:
        return self._fatal or (None if self._stopped else self.tail.problem)

    def values(self) -> tuple[list[StoredMessage], int]:
        """The values that there are, and the version of them."""
        with self._lock:
            newest, version = [*self._newest.values()], self.version
        return [*filter(_has_value, newest)], version

    async def open(self) -> None:
        """Read what there is, and follow."""
        await self._read_all()
        self._tasks = [
            asyncio.create_task(self._run(self._follow()), name="live bucket"),
            asyncio.create_task(self._run(self._check()), name="live bucket's check"),
        ]

    async def stop(self) -> None:
        """End for good and delete the consumer."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._end()

    shut = stop

    async def wait(self, changes: int, timeout: float) -> None:
        """Wait until there were `changes`; raises TimeoutError."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self.changes < changes and not self._stopped:
                    await self._progress.wait()
        if self.changes < changes:
            problem = f": {self.error}" if self.error else ""
            raise TimeoutError(
                f"{self.changes} of {changes} changes came within {timeout:g} s "
                f"({self.state}{problem})"
            )

    async def _read_all(self) -> None:
        info = await self._facts.stream(self._bucket.stream)
        found, last = await newest_by_subject(self._connection, self._bucket, self._pattern)
        with self._lock:
            for subject, message in self._newest.items():
                if message.seq > last:  # it came while this was read
                    found.setdefault(subject, message)
            self._newest = found
            self.keys = sum(map(_has_value, found.values()))
            self.version += 1
        self._created = info["created"]
        self.tail.next_seq = max(self.tail.next_seq, last + 1)
        self._changed()

    async def _run(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except asyncio.CancelledError:
            self._end()
            raise
        except Exception as error:  # shown in the table; nobody awaits this task
            self._fatal = describe_error(error)
            known = isinstance(error, VarcoNatsError)
            _logger.warning("a live bucket ended: %s", self._fatal, exc_info=not known)
            self._end()

    async def _follow(self) -> None:
        async with aclosing(self.tail.batches()) as batches:
            async for batch in batches:
                self._take(batch)

    def _take(self, batch: Batch) -> None:
        with self._lock:
            for message in batch:
                before = self._newest.get(message.subject)
                if before is None or before.seq < message.seq:
                    self._newest[message.subject] = message
                    self.keys += _has_value(message) - (before is not None and _has_value(before))
            self.version += 1
        self.changes += len(batch)
        self._changed()

    async def _check(self) -> None:
        """Read all again when keys went without a message: expired, or purged from the stream."""
        while not self._stopped:
            await asyncio.sleep(_CHECK_SECONDS)
            with suppress(VarcoNatsError, NatsError):  # the tail says what is wrong
                info = await self._facts.stream(self._bucket.stream)
                state, replaced = info["state"], info["created"] != self._created
                caught_up = self.tail.next_seq > int(state["last_seq"])
                went = caught_up and int(state.get("num_subjects", 0)) != len(self._newest)
                if replaced:
                    with self._lock:
                        self._newest = {}
                if replaced or went:
                    await self._read_all()

    def _end(self) -> None:
        self._stopped = True
        self._changed()

    def _changed(self) -> None:
        progress, self._progress = self._progress, asyncio.Event()
        progress.set()
        self._on_change()


def _has_value(message: StoredMessage) -> bool:
    return operation_of(message.headers) == PUT


class LiveKeyValues(WidgetModel):
    """The current values of a bucket, renewed as they change; made by `KeyValues.live`.

    `df` has them as a DataFrame. Shown in a notebook it is a table. What expires, or is purged from
    the stream without a message, is gone from it some two seconds later. It reads on the lab's
    thread, takes nothing, and goes on when the server or the connection was away.

    `live.observe(function, "changes")` calls a function after each change, on the lab's thread.
    """

    changes = traitlets.Int(0, read_only=True)
    """Values set and keys deleted since it was made."""
    keys = traitlets.Int(0, read_only=True)
    """Keys that have a value."""
    state = traitlets.Unicode("catching up", read_only=True)
    """`catching up`, `live`, `reconnecting`, `waiting` (the bucket is gone) or `stopped`."""
    error = traitlets.Unicode(None, allow_none=True, read_only=True)
    """Why it is not live; None if nothing is wrong."""
    _version = traitlets.Int(0)

    def __init__(
        self,
        loop: LoopThread,
        connection: Connection,
        bucket: Bucket,
        decoding: EntryDecoding,
        owner: Handle | None = None,
    ) -> None:
        """Call `feed.open` on the loop thread next.

        Args:
            owner: is kept alive for as long as this is, which looks closed when it has ended.
        """
        super().__init__()
        renew_of = weakref.WeakMethod(self._renew)  # what runs must not keep alive what stops it

        def changed() -> None:
            if (renew := renew_of()) is not None:
                renew()

        self.name = bucket.name
        """The bucket's name."""
        self._owner = owner
        if owner is not None:
            self._ends_with(owner.session)
        self._loop = loop
        self._decoding = decoding
        self._made: tuple[pd.DataFrame, int] | None = None
        self._making = threading.Lock()
        self._feed = KeyValuesFeed(connection, bucket, changed)
        self._finalizer = weakref.finalize(self, end_all, loop, self._feed.stop, self._views)
        self._finalizer.atexit = False

    def __repr__(self) -> str:
        return f"LiveKeyValues({self.name!r})"

    def _code(self) -> str:
        return f"{call_code('lab.kv', self.name)}.live()"

    @property
    def feed(self) -> KeyValuesFeed:
        """What does the work; a lab that closes awaits its `shut()` on the loop thread."""
        return self._feed

    @property
    def aio(self) -> LiveKeyValuesAio:
        """The awaitable twins of `stop` and `wait`."""
        return LiveKeyValuesAio(self)

    @property
    def df(self) -> pd.DataFrame:
        """The values that there are now, with the columns of `KeyValues.frame`."""
        with self._making:
            messages, version = self._feed.values()
            if self._made is None or self._made[1] != version:
                self._made = values_frame(messages, self._decoding), version
            return self._made[0].copy(deep=False)

    @property
    def notice(self) -> str:
        """What is to be said of a mask; "" if nothing."""
        return self._decoding.notice

    @blocking
    def stop(self) -> Job[None]:
        """End it; `df` stays. Stopping twice does nothing."""
        if self._loop.is_closed:  # and this has ended with it
            return InThread(lambda: None)
        return Call(self._loop, self._feed.stop())

    @blocking
    def wait(self, changes: int = 1, timeout: float = 30.0) -> Job[None]:
        """Wait until there were `changes` since it was made.

        Raises:
            TimeoutError: there were not, after `timeout` seconds or when it was stopped.
        """
        return Call(self._loop, self._feed.wait(changes, timeout))

    def _renew(self) -> None:
        """Set the traits to what the feed has; an observer's failure is shown, not raised."""
        feed = self._feed
        values = {
            "keys": feed.keys,
            "changes": feed.changes,
            "error": feed.error,
            "state": feed.state,
            "_version": feed.version,
        }
        for name, value in values.items():
            try:
                self.set_trait(name, value)
            except Exception:
                _logger.exception("an observer of %r failed", self)


class LiveKeyValuesAio(Twin[LiveKeyValues]):
    """The methods of `LiveKeyValues`, to be awaited on any event loop."""

    stop = awaiting(LiveKeyValues.stop)
    wait = awaiting(LiveKeyValues.wait)


async def open_live(handle: Handle, bucket: Bucket, decoding: EntryDecoding) -> LiveKeyValues:
    """A live table that has begun; it keeps `handle` alive."""
    session = handle.session
    live = LiveKeyValues(session.loop, session.connection, bucket, decoding, handle)
    session.readers.add(live.feed)
    await live.feed.open()
    return live
