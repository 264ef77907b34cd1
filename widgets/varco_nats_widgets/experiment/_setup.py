"""What an experiment runs on: a server, a producer and consumers of its own, and their record."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from contextlib import AsyncExitStack, aclosing, suppress
from contextvars import ContextVar

from nats.errors import Error as NatsError
from nats.js.api import ConsumerInfo

from varco_nats._nats.client import Connection, connect
from varco_nats._nats.stream import ensure_event_stream
from varco_nats.bus import NatsEventBus
from varco_nats.config import NatsEventBusSettings
from varco_nats.history._tail import Tail
from varco_nats.observe import DeliveryEvent
from varco_nats.server import LocalNats
from varco_nats_widgets._session.worker import end_task
from varco_nats_widgets.experiment._child import ConsumerProcess, Line
from varco_nats_widgets.experiment._consumer import CHANNEL, ExperimentEvent
from varco_nats_widgets.experiment._faults import consumer_orders
from varco_nats_widgets.experiment._fork_server import ForkServer
from varco_nats_widgets.experiment._plan import ExperimentError, Plan
from varco_nats_widgets.experiment._proxy import FaultProxy
from varco_nats_widgets.frames._payload import fields_in
from varco_nats_widgets.record import DeliveryRecord
from varco_nats_widgets.record._rows import PRODUCER, STREAM, Row
from varco_nats_widgets.record._sources import Expiries, of_event, of_line

_POLL_SECONDS = 0.02

_PUBLISH_TIMEOUT = 0.4
_CONFIRM_TIMEOUT = 0.3

_quiet: ContextVar[bool] = ContextVar("quiet", default=False)


class _Quiet(logging.Filter):
    """Drops what our own connections log in an experiment, where they break on purpose."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not _quiet.get()


logging.getLogger("varco_nats").addFilter(_Quiet())


class ExperimentSetup:
    """The server, the producer and the consumers of one experiment, which fill its record.

    Args:
        plan: what the experiment is to do.
        record: gets everything that happens.
        fork_server: starts the consumers.
        stack: ends what `open` starts.

    Attributes:
        doing: what the experiment is at, in words, for an error message.
        counts: how many lines of each kind the consumers have sent.
        changed: set when a consumer or the stream has reported something.
    """

    server: LocalNats
    producer: NatsEventBus
    producer_proxy: FaultProxy

    def __init__(
        self, plan: Plan, record: DeliveryRecord, fork_server: ForkServer, stack: AsyncExitStack
    ) -> None:
        self.plan = plan
        self.doing = "starting the server"
        self.counts: Counter[str] = Counter()
        self.changed = asyncio.Event()
        self.proxies: dict[str, FaultProxy] = {}
        """Between the server and each consumer, by its name."""
        self._record = record
        self._fork_server = fork_server
        self._stack = stack
        self._consumers: list[ConsumerProcess] = []
        self._expiries = Expiries()
        self._following: asyncio.Task[None] | None = None
        self._followed_to = 0
        self._replacing: asyncio.Task[None] | None = None
        self._settings: NatsEventBusSettings
        self._connection: Connection
        self._tail: Tail

    # Starting and ending

    async def open(self) -> None:
        """Start everything and wait until the consumers consume."""
        _quiet.set(True)
        self.server = await self._stack.enter_async_context(LocalNats())
        self._settings = self._settings_for(self.server.url)
        self.doing = "starting the consumers"
        self._connection = await connect(self._settings, name="varco-experiment")
        self._stack.push_async_callback(self._connection.close)
        await ensure_event_stream(self._connection, self._settings, create=True)
        self._tail = Tail(
            self._connection, self._settings.stream_name, [self._settings.wildcard_subject()]
        )
        self._tail.next_seq = 1
        self._following = asyncio.create_task(self._follow(), name="experiment: the stream")
        self._following.add_done_callback(lambda _: self.changed.set())
        self._stack.push_async_callback(end_task, self._following)
        self.producer_proxy = await self._stack.enter_async_context(FaultProxy(self.server.port))
        self._stack.push_async_callback(self._kill_consumers)
        for _ in range(self.plan.consumers):
            await self._launch()
        await self._open_producer()
        for consumer in self._consumers:
            await consumer.ready()
        self.check()

    def _settings_for(self, url: str) -> NatsEventBusSettings:
        plan = self.plan
        return NatsEventBusSettings(
            servers=url,
            read_only=False,  # whatever the environment says: the server is its own
            stream_name="experiment",
            subject_prefix="experiment",
            channel_prefix="",
            durable_name="service",
            delivery_semantics=plan.semantics,
            duplicate_window_seconds=plan.duplicate_window,
            ack_wait_seconds=plan.ack_wait,
            max_deliver=plan.max_deliver,
            nak_delay_seconds=0.1,
            publish_timeout_seconds=_CONFIRM_TIMEOUT,
            publish_attempts=3,
            concurrency=1,
            prefetch=1,  # a message that waits in a process with a fault would be handled late
            drain_timeout_seconds=10,
            stream_replicas=1,
            auto_create_stream=True,
            connect_kwargs={},
        )

    async def _open_producer(self) -> None:
        update = {
            "servers": self.producer_proxy.url_for(self.server.url),
            "publish_timeout_seconds": _PUBLISH_TIMEOUT,
        }
        self.producer = NatsEventBus(self._settings.model_copy(update=update))
        self.producer.observe(self._on_producer_event)
        await self._stack.enter_async_context(self.producer)

    async def _launch(self) -> ConsumerProcess:
        name = f"consumer-{len(self._consumers) + 1}"
        proxy = await self._stack.enter_async_context(FaultProxy(self.server.port))
        settings = self._settings.model_copy(update={"servers": proxy.url_for(self.server.url)})
        consumer = ConsumerProcess(name, self._on_consumer_line)
        self._consumers.append(consumer)
        self.proxies[name] = proxy
        plan = self.plan
        await consumer.start(
            self._fork_server,
            {
                "settings": settings.model_dump(mode="json"),
                "faults": {
                    fault.at: consumer_orders(fault, plan.ack_wait) for fault in plan.faults
                },
                "retry": plan.retry,
                "dlq": plan.dlq,
                "deduplicator": plan.deduplicator,
            },
        )
        return consumer

    async def _kill_consumers(self) -> None:
        await asyncio.gather(*(consumer.kill() for consumer in self._consumers))

    async def close(self) -> None:
        """Stop the consumers, and complete the record with what the stream holds."""
        self.doing = "stopping the consumers"
        if self._replacing is not None:
            await self._replacing
        for consumer in self.working():
            await consumer.ready()
        await asyncio.gather(*(consumer.stop() for consumer in self._consumers))
        self.doing = "reading the stream"
        last = await self._last_seq()
        while self._followed_to < last:
            await self.next_change()
        self._record_losses()

    def _record_losses(self) -> None:
        """Record as lost each event that is still without an outcome.

        At its last moment, which is the end of its process where that was killed in its handler.
        """
        ledger = self._record.ledger
        gone = ledger[ledger["outcome"].isin(["pending", "lost"])]
        rows = self._record.rows()
        lost = []
        for event_id, last, unfinished in gone[["last_seen", "unfinished"]].itertuples():
            time_lost = last.timestamp()
            if unfinished:
                had = {row.process for row in rows if row.event_id == event_id and row.delivery}
                faults = (row.time for row in rows if row.kind == "fault" and row.process in had)
                time_lost = min((t for t in faults if t >= time_lost), default=time_lost)
            lost.append(
                Row(time_lost, "lost", STREAM, CHANNEL, event_id, ExperimentEvent.__event_type__)
            )
        self._record.add(lost)

    # Recording

    def _on_producer_event(self, event: DeliveryEvent) -> None:
        self._record.add(of_event(event, PRODUCER, stored=False))

    def _on_consumer_line(self, process: str, line: Line) -> None:
        self._record.add(self._expiries.before(of_line(process, CHANNEL, line)))
        self.counts[line["kind"]] += 1
        self.changed.set()

    def record_fault(self, process: str, text: str) -> None:
        """Record what was done to a process; it belongs to no event."""
        self._record.add([Row(time.time(), "fault", process, CHANNEL, error=text)])

    async def _follow(self) -> None:
        """Record what the stream has stored, as the stream itself shows it."""
        async with aclosing(self._tail.batches()) as batches:
            async for batch in batches:
                rows = []
                for message in batch:
                    time_stored, seq = message.time_ns / 1e9, message.seq
                    event_type, event_id, _, _ = fields_in(message.data)
                    row = Row(time_stored, "stored", STREAM, CHANNEL, event_id, event_type, seq)
                    rows.append(row)
                self._record.add(rows)
                self._followed_to = batch[-1].seq
                self.changed.set()

    # Publishing and waiting

    async def publish(self, event: ExperimentEvent) -> None:
        await self.producer.publish(event, channel=CHANNEL)

    def was_dropped(self, event: ExperimentEvent) -> bool:
        """Whether the stream has dropped a copy of `event`."""
        return bool(self._record.ledger.loc[str(event.event_id), "deduplicated"])

    async def next_change(self) -> None:
        """Wait until a consumer or the stream reports something."""
        self.check()
        self.changed.clear()
        await self.changed.wait()

    async def next_poll(self) -> None:
        """Wait a moment, for a condition that nobody reports."""
        self.check()
        await asyncio.sleep(_POLL_SECONDS)

    async def clients_reconnected(self) -> None:
        """Wait until the producer and the experiment itself are connected."""
        while self.producer.connection_error or not self._connection.is_connected:
            await self.next_poll()

    async def waiting_in_handler(self, number: int) -> ConsumerProcess:
        """Wait until a consumer waits in its handler of event `number`, and return it."""
        while True:
            self.check()
            for consumer in self._consumers:
                if consumer.reached == number:
                    return consumer
            await asyncio.sleep(_POLL_SECONDS)

    async def settled(self) -> None:
        """Wait until every stored message is acknowledged, terminated or dead-lettered."""
        while True:
            self.check()
            self.replace_killed()
            with suppress(NatsError, TimeoutError):
                last = await self._last_seq()
                info = await self._consumer_info()
                delivered = info.delivered.stream_seq if info.delivered else 0
                if not info.num_ack_pending and delivered >= last:
                    return
            await asyncio.sleep(_POLL_SECONDS)

    async def unblocked(self, event: ExperimentEvent) -> None:
        """Wait until no handler of `event` runs, as another event would have to wait for it."""
        event_id = str(event.event_id)
        while True:
            await self.settled()
            entry = self._record.ledger.loc[event_id]
            if entry["delivered"] and not entry["unfinished"]:
                return
            await asyncio.sleep(_POLL_SECONDS)

    async def _last_seq(self) -> int:
        info = await self._connection.js.stream_info(self._settings.stream_name)
        return int(info.state.last_seq)

    async def _consumer_info(self) -> ConsumerInfo:
        durable = self._settings.durable_for(CHANNEL)
        info: ConsumerInfo = await self._connection.js.consumer_info(
            self._settings.stream_name, durable
        )
        return info

    # Consumers

    def working(self) -> list[ConsumerProcess]:
        """The consumers that run and are not about to end."""
        return [consumer for consumer in self._consumers if consumer.alive and not consumer.ending]

    def check(self) -> None:
        """Raise what went wrong in a consumer or in a background task.

        Raises:
            ExperimentError: a consumer ended that was not meant to.
        """
        for consumer in self._consumers:
            if consumer.problem is not None:
                raise ExperimentError(self.plan.title, consumer.problem)
        for task in (self._following, self._replacing):
            if task is not None and task.done():
                task.result()

    def replace_killed(self) -> None:
        """Start another process when none is left, as an orchestrator would."""
        starting = self._replacing is not None and not self._replacing.done()
        if not starting and not self.working():
            self._replacing = asyncio.create_task(self._replace(), name="experiment: next consumer")

    async def _replace(self) -> None:
        consumer = await self._launch()
        self.record_fault(consumer.name, "started again")

    async def have_consumers(self, count: int) -> None:
        """Wait until `count` consumers consume; start those that an earlier fault has killed."""
        if self._replacing is not None:
            await self._replacing
        for _ in range(count - len(self.working())):
            await self._replace()
        for consumer in self.working():
            await consumer.ready()
