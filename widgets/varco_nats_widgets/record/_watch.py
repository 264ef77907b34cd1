"""A record of services that run elsewhere, made by looking on: the stream as it grows, the
server's advisories, and the positions of the consumers, which are never touched.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Any

from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from varco_nats._nats.client import Connection
from varco_nats._nats.direct import StoredMessage
from varco_nats.config import NatsEventBusSettings
from varco_nats.history._lookup import Lookup
from varco_nats.history._tail import Tail
from varco_nats_widgets._session.background import describe_error
from varco_nats_widgets._session.facts import Facts
from varco_nats_widgets._session.loop import LoopThread
from varco_nats_widgets.record._record import DeliveryRecord
from varco_nats_widgets.record._rows import Row
from varco_nats_widgets.record._watch_state import WatchState, parse_advisory

_POLL_SECONDS = 0.25
_SHORT_LIVED = (
    "the stream has {} retention: messages that are acknowledged before this record reads them "
    "are not in it"
)
_MOST_OF_THE_TIME = 5  # a server with very many consumers is not asked all the time


class Watch:
    """Fills a record. Its coroutines run on the loop thread.

    Args:
        subjects: what to watch; must be covered by the stream of `settings`.
        silent: what to say of a subject until something is stored there.
    """

    def __init__(
        self,
        connection: Connection,
        settings: NatsEventBusSettings,
        subjects: Sequence[str],
        record: DeliveryRecord,
        max_rows: int,
        silent: Mapping[str, str],
    ) -> None:
        self._silent = dict(silent)
        self._connection = connection
        self._stream = settings.stream_name
        self._subjects = tuple(subjects)
        self._channel_of = settings.channel_from_subject
        self._record_of = weakref.ref(record)  # what runs must not keep it alive
        self._max_rows = max_rows
        self._tail = Tail(connection, self._stream, subjects, on_change=self._tail_changed)
        self._facts = Facts(connection)
        self._state: WatchState
        self._lookup: Lookup
        self._subscriptions: list[Any] = []  # nats-py's, which are untyped
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Fix where to begin, and begin.

        Raises:
            StreamNotFoundError: the stream does not exist.
            nats.errors.Error, JetStreamUnavailableError: the server gave no answer.
        """
        info = await self._facts.stream(self._stream)
        retention = info["config"].get("retention", "limits")
        record = self._record_of()
        if record is not None:
            record.duplicate_window = int(info["config"].get("duplicate_window", 0)) / 1e9 or None
            if retention != "limits":
                record.remark("retention", _SHORT_LIVED.format(retention))
            record.remark("silent", "; ".join(self._silent.values()))
        await self._tail.seek()
        self._state = WatchState(
            self._tail.next_seq, self._subjects, self._channel_of, self._max_rows
        )
        self._state.reads_all = retention == "limits"
        direct = bool(info["config"].get("allow_direct"))
        self._lookup = Lookup(self._connection, self._stream, direct=direct)
        await self._poll()
        for subject in (
            f"$JS.EVENT.ADVISORY.CONSUMER.*.{self._stream}.>",
            f"$JS.EVENT.METRIC.CONSUMER.ACK.{self._stream}.>",
        ):
            self._subscriptions.append(
                await self._connection.nc.subscribe(subject, cb=self._advised)
            )
        self._tasks = [
            asyncio.create_task(self._follow(), name="record: stream"),
            asyncio.create_task(self._poll_for_ever(), name="record: consumers"),
        ]

    async def shut(self) -> None:
        """End it; more than one call does nothing."""
        tasks, self._tasks = self._tasks, []
        subscriptions, self._subscriptions = self._subscriptions, []
        for subscription in subscriptions:
            with suppress(NatsError):
                await subscription.unsubscribe()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if (record := self._record_of()) is not None:
            record.finish()

    def _add(self, rows: list[Row]) -> None:
        record = self._record_of()
        if record is not None and not record.done:
            record.add_bounded(rows, self._max_rows)
            record.remark("redeliveries", self._state.remark)

    def _trouble(self, problem: str | None) -> None:
        if (record := self._record_of()) is not None and not record.done:
            record.problem = problem

    def _tail_changed(self) -> None:
        self._trouble(self._tail.problem)
        if self._tail.gaps and (record := self._record_of()) is not None:
            self._state.reads_all = False
            record.remark("gaps", f"messages that the stream dropped unread: {self._tail.gaps:,}")

    async def _follow(self) -> None:
        try:
            async with aclosing(self._tail.batches()) as batches:
                async for batch in batches:
                    self._heard(batch)
                    self._add(self._state.stored(batch))
        except Exception as error:  # nobody awaits this task
            self._trouble(describe_error(error))

    def _heard(self, batch: list[StoredMessage]) -> None:
        """Nothing more is to be said of subjects on which something came."""
        came = self._silent.keys() & {message.subject for message in batch} if self._silent else ()
        for subject in came:
            del self._silent[subject]
        if came and (record := self._record_of()) is not None:
            record.remark("silent", "; ".join(self._silent.values()))

    async def _poll(self) -> None:
        infos = await self._facts.consumers(self._stream)
        self._add(self._state.polled(infos, time.time()))

    async def _poll_for_ever(self) -> None:
        while True:
            begin = time.monotonic()
            try:
                await self._poll()
                self._trouble(self._tail.problem)
            except Exception as error:  # shown, and tried again
                self._trouble(describe_error(error))
            took = time.monotonic() - begin
            await asyncio.sleep(max(_POLL_SECONDS, _MOST_OF_THE_TIME * took))

    async def _advised(self, message: Msg) -> None:
        advisory = parse_advisory(message.subject, message.data)
        if advisory is None:
            return
        if not self._state.knows(advisory.seq):  # stored before this began, or not read yet
            with suppress(NatsError):
                found = await self._lookup.get({"seq": advisory.seq})
                if found is not None:
                    self._state.learn(found)
        self._add(self._state.told(advisory))


async def watch(
    connection: Connection,
    settings: NatsEventBusSettings,
    channels: Sequence[str] | None,
    max_rows: int,
    silent: Mapping[str, str],
) -> tuple[DeliveryRecord, Watch]:
    """A record that is being filled, and what fills it; to be run on the loop thread.

    Args:
        silent: what to say of subjects on which nothing is stored yet.

    Raises:
        InvalidChannelError: no channel can have such a name.
        StreamNotFoundError: the stream does not exist.
    """
    subjects = [settings.wildcard_subject()]
    if channels is not None:
        subjects = [settings.subject_name(channel) for channel in channels]
    record = DeliveryRecord(
        title=", ".join(channels) if channels is not None else settings.stream_name,
        sees_handlers=False,
    )
    watching = Watch(connection, settings, subjects, record, max_rows, silent)
    try:
        await watching.open()
    except BaseException:
        await watching.shut()
        raise
    return record, watching


def stop_with(record: DeliveryRecord, watching: Watch, loop: LoopThread, owner: object) -> None:
    """Have `watching` end with its record, which keeps `owner` alive until then."""

    def stop(owner: object = owner) -> None:
        with suppress(RuntimeError):  # the lab ended first, and it with that
            if loop.is_current:
                loop.submit(watching.shut())
            else:
                loop.run(watching.shut())

    record.on_stop(stop)
    weakref.finalize(record, _release, loop, watching).atexit = False


def _release(loop: LoopThread, watching: Watch) -> None:
    with suppress(RuntimeError):
        loop.submit(watching.shut())
