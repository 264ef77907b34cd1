"""A record of services that run elsewhere, made without taking part in their work.

It follows the stream, listens to the server's advisories and polls the positions of the consumers.
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

from varco_nats._masks._mask import Mask
from varco_nats._nats.advisories import AdvisoryKind, advisory_subject, parse_advisory
from varco_nats._nats.client import Connection
from varco_nats._nats.direct import Batch
from varco_nats.config import NatsEventBusSettings
from varco_nats.history._lookup import Lookup
from varco_nats.history._tail import Tail
from varco_nats_widgets._session.background import describe_error
from varco_nats_widgets._session.facts import Facts
from varco_nats_widgets.frames._cells import counted
from varco_nats_widgets.record._consumer_tracker import ConsumerTracker
from varco_nats_widgets.record._record import DeliveryRecord
from varco_nats_widgets.record._rows import Row, shown_rows

_POLL_SECONDS = 0.25
_SHORT_LIVED = (
    "the stream has {} retention: messages that are acknowledged before this record reads them "
    "are missing here"
)
_PAUSES = 5  # times as long as a poll took, so that many consumers do not keep the server busy


class Watch:
    """Fills a record. Its coroutines run on the loop thread.

    Args:
        subjects: the subjects to watch, which the stream of `settings` must cover.
        silent: a remark for each subject that holds no messages, until it gets one.
        mask: hides values; None hides none.
    """

    def __init__(
        self,
        connection: Connection,
        settings: NatsEventBusSettings,
        subjects: Sequence[str],
        record: DeliveryRecord,
        max_rows: int,
        silent: Mapping[str, str],
        mask: Mask | None = None,
    ) -> None:
        self._mask = mask
        self._silent = dict(silent)
        self._connection = connection
        self._stream = settings.stream_name
        self._subjects = tuple(subjects)
        self._channel_of = settings.channel_from_subject
        self._record_of = weakref.ref(record)  # these tasks must not keep it alive
        self._max_rows = max_rows
        self._tail = Tail(connection, self._stream, subjects, on_change=self._tail_changed)
        self._facts = Facts(connection)
        self._tracker: ConsumerTracker
        self._lookup: Lookup
        self._subscriptions: list[Any] = []  # nats-py's, which are untyped
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Decide where to begin, and begin.

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
        self._tracker = ConsumerTracker(
            self._tail.next_seq, self._subjects, self._channel_of, self._max_rows, self._mask
        )
        self._tracker.reads_all = retention == "limits"
        self._lookup = self._facts.lookup(info)
        await self._poll()
        for kind in AdvisoryKind:
            subject = advisory_subject(kind, self._stream)
            self._subscriptions.append(
                await self._connection.nc.subscribe(subject, cb=self._on_advisory)
            )
        self._tasks = [
            asyncio.create_task(self._follow(), name="record: stream"),
            asyncio.create_task(self._poll_for_ever(), name="record: consumers"),
        ]

    async def shut(self) -> None:
        """End it; a second call does nothing."""
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
            record.add_bounded(shown_rows(rows, self._mask), self._max_rows)
            record.remark("redeliveries", self._tracker.remark)

    def _set_problem(self, problem: str | None) -> None:
        if (record := self._record_of()) is not None and not record.done:
            record.problem = problem

    def _tail_changed(self) -> None:
        self._set_problem(self._tail.problem)
        if self._tail.gaps and (record := self._record_of()) is not None:
            self._tracker.reads_all = False
            gaps = counted(self._tail.gaps, "message")
            record.remark("gaps", f"{gaps} left the stream before this record could read them")

    async def _follow(self) -> None:
        try:
            async with aclosing(self._tail.batches()) as batches:
                async for batch in batches:
                    self._unmark_silent(batch)
                    self._add(self._tracker.on_stored(batch))
        except Exception as error:  # nobody awaits this task
            self._set_problem(describe_error(error))

    def _unmark_silent(self, batch: Batch) -> None:
        """Remove the remarks about subjects that have got their first message."""
        if not self._silent:
            return
        subjects = self._silent.keys() & set(batch.subjects)
        for subject in subjects:
            del self._silent[subject]
        if subjects and (record := self._record_of()) is not None:
            record.remark("silent", "; ".join(self._silent.values()))

    async def _poll(self) -> None:
        infos = await self._facts.consumers(self._stream)
        self._add(self._tracker.on_consumer_info(infos, time.time()))

    async def _poll_for_ever(self) -> None:
        while True:
            begin, pause = time.monotonic(), _POLL_SECONDS
            try:
                await self._poll()
                self._set_problem(self._tail.problem)
                pause = max(pause, _PAUSES * (time.monotonic() - begin))
            except Exception as error:  # shown, and tried again
                self._set_problem(describe_error(error))
            await asyncio.sleep(pause)

    async def _on_advisory(self, message: Msg) -> None:
        try:
            advisory = parse_advisory(message.data)
        except ValueError:  # anybody may publish there
            return
        if advisory is None:
            return
        if not self._tracker.knows(advisory.seq):  # stored before this began, or not read yet
            with suppress(NatsError):
                found = await self._lookup.get({"seq": advisory.seq})
                if found is not None:
                    self._tracker.remember(found)
        self._add(self._tracker.on_advisory(advisory))
