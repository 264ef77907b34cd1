"""Carrying out an experiment: a server, a producer and consumers of its own, and the faults."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack, aclosing, suppress
from contextvars import ContextVar

from nats.errors import Error as NatsError

from varco_nats._nats.client import Connection, connect
from varco_nats._nats.stream import ensure_stream, event_stream_config
from varco_nats.bus import NatsEventBus
from varco_nats.config import NatsDeliverySemantics, NatsEventBusSettings
from varco_nats.errors import PublishError
from varco_nats.history._tail import Tail
from varco_nats.observe import DeliveryEvent
from varco_nats.server import LocalNats
from varco_nats_widgets.experiment._child import ConsumerProcess, Line
from varco_nats_widgets.experiment._consumer import CHANNEL, ExperimentEvent
from varco_nats_widgets.experiment._faults import Fault
from varco_nats_widgets.experiment._nursery import Nursery
from varco_nats_widgets.experiment._plan import ExperimentError, Plan
from varco_nats_widgets.experiment._proxy import Direction, FaultProxy
from varco_nats_widgets.frames._payload import decode, take_apart
from varco_nats_widgets.record import DeliveryRecord
from varco_nats_widgets.record._rows import PRODUCER, STREAM, Row
from varco_nats_widgets.record._sources import Expiries, of_event, of_line

_POLL_SECONDS = 0.02
_PACE_SECONDS = 0.01
_PUBLISH_TIMEOUT = 0.4
_CONFIRM_TIMEOUT = 0.3
_MARGIN = 0.3  # after the duplicate window; the server's clean-up may be 50 ms late
_FLUSH_SECONDS = 0.5  # the server writes a consumer's position some 100 ms after it changed
_ACK_SECONDS = 0.005  # an ack is on its way
_PATIENCE = 60.0
_PUBACK = re.compile(rb'\{"stream":"')
_ACK = re.compile(rb"PUB \$JS\.ACK\.[^\r\n]* 0\r\n")

_quiet: ContextVar[bool] = ContextVar("quiet", default=False)


class _Quiet(logging.Filter):
    """Drops what our own connections log in an experiment, where they break on purpose."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not _quiet.get()


logging.getLogger("varco_nats").addFilter(_Quiet())


class Run:
    """One experiment being carried out.

    Args:
        record: where everything goes that happens.
        nursery: starts the consumers.
        on_progress: called with the events published so far.
    """

    def __init__(
        self,
        plan: Plan,
        record: DeliveryRecord,
        nursery: Nursery,
        on_progress: Callable[[int], object],
    ) -> None:
        self._plan = plan
        self._record = record
        self._nursery = nursery
        self._on_progress = on_progress
        self._doing = "starting the server"
        self._expiries = Expiries()
        self._consumers: list[ConsumerProcess] = []
        self._proxies: dict[str, FaultProxy] = {}
        self._following: asyncio.Task[None] | None = None
        self._replacing: asyncio.Task[None] | None = None
        self._stack = AsyncExitStack()
        self._followed_to = 0
        self._told: Counter[str] = Counter()  # by consumers, by kind
        self._news = asyncio.Event()
        self._settings: NatsEventBusSettings
        self._server: LocalNats
        self._watch: Connection
        self._bus: NatsEventBus
        self._to_producer: FaultProxy
        self._tail: Tail

    async def perform(self) -> None:
        """Do it all; the record has everything then, and nothing is left behind.

        Raises:
            ExperimentError: it could not be carried out.
        """
        _quiet.set(True)
        plan = self._plan
        patience = _PATIENCE + plan.events * 0.05 + (10 + plan.max_deliver) * plan.ack_wait
        if any(fault.spec.duplicate_window < 100 for fault in plan.faults):
            patience += 2 * plan.duplicate_window
        try:
            async with asyncio.timeout(patience), self._stack:
                await self._open()
                await self._publish_all()
                await self._close()
        except TimeoutError:
            raise self._failed(f"{patience:.0f} s were not enough; it was {self._doing}") from None
        except (OSError, NatsError) as error:
            raise self._failed(f"{type(error).__name__} while {self._doing}: {error}") from error

    def _failed(self, reason: str) -> ExperimentError:
        return ExperimentError(self._plan.title, reason)

    # Setting up

    async def _open(self) -> None:
        self._server = await self._stack.enter_async_context(LocalNats())
        self._settings = self._settings_for(self._server.url)
        self._doing = "starting the consumers"
        self._watch = await connect(self._settings, name="varco-experiment")
        self._stack.push_async_callback(self._watch.close)
        await ensure_stream(self._watch, event_stream_config(self._settings), create=True)
        self._tail = Tail(
            self._watch, self._settings.stream_name, [self._settings.wildcard_subject()]
        )
        self._tail.next_seq = 1
        self._following = asyncio.create_task(self._follow(), name="experiment: the stream")
        self._following.add_done_callback(lambda _: self._news.set())
        self._stack.push_async_callback(self._end, self._following)
        self._to_producer = await self._stack.enter_async_context(FaultProxy(self._server.port))
        self._stack.push_async_callback(self._kill_consumers)
        for _ in range(self._plan.consumers):
            await self._launch()
        await self._open_producer()
        for consumer in self._consumers:
            await consumer.ready()
        self._check()

    def _settings_for(self, url: str) -> NatsEventBusSettings:
        plan = self._plan
        return NatsEventBusSettings(
            servers=url,
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
            prefetch=1,  # what waits in a struck process would come late, or to itself again
            drain_timeout_seconds=10,
            stream_replicas=1,
            auto_create_stream=True,
            connect_kwargs={},
        )

    async def _open_producer(self) -> None:
        update = {
            "servers": self._to_producer.url_for(self._server.url),
            "publish_timeout_seconds": _PUBLISH_TIMEOUT,
        }
        self._bus = NatsEventBus(self._settings.model_copy(update=update))
        self._bus.observe(self._observed)
        await self._stack.enter_async_context(self._bus)

    async def _end(self, task: asyncio.Task[None]) -> None:
        task.cancel()
        await asyncio.wait([task])

    async def _launch(self) -> ConsumerProcess:
        name = f"consumer-{len(self._consumers) + 1}"
        proxy = await self._stack.enter_async_context(FaultProxy(self._server.port))
        settings = self._settings.model_copy(update={"servers": proxy.url_for(self._server.url)})
        consumer = ConsumerProcess(name, self._said)
        self._consumers.append(consumer)
        self._proxies[name] = proxy
        plan = self._plan
        await consumer.start(
            self._nursery,
            {
                "settings": settings.model_dump(mode="json"),
                "faults": {fault.at: _orders(fault, plan.ack_wait) for fault in plan.faults},
                "retry": plan.retry,
                "dlq": plan.dlq,
                "deduplicator": plan.deduplicator,
            },
        )
        return consumer

    async def _kill_consumers(self) -> None:
        await asyncio.gather(*(consumer.kill() for consumer in self._consumers))

    # What is told

    def _observed(self, event: DeliveryEvent) -> None:
        self._record.add(of_event(event, PRODUCER, stored=False))

    def _said(self, process: str, line: Line) -> None:
        self._record.add(self._expiries.before(of_line(process, CHANNEL, line)))
        self._told[line["kind"]] += 1
        self._news.set()

    def _broke(self, process: str, what: str) -> None:
        """Record what was done to a process, which is nothing that happened to an event."""
        self._record.add([Row(time.time(), "fault", process, CHANNEL, error=what)])

    async def _follow(self) -> None:
        """Take what the stream stored from the stream itself."""
        async with aclosing(self._tail.batches()) as batches:
            async for batch in batches:
                rows = []
                for message in batch:
                    fields = take_apart(decode(message.data)[0])
                    rows.append(
                        Row(
                            message.time_ns / 1e9,
                            "stored",
                            STREAM,
                            CHANNEL,
                            fields.event_id,
                            fields.event_type,
                            message.seq,
                        )
                    )
                self._record.add(rows)
                self._followed_to = batch[-1].seq
                self._news.set()

    # Publishing

    async def _publish_all(self) -> None:
        for number, event_id in enumerate(self._plan.event_ids(), start=1):
            self._doing = f"publishing event {number}"
            event = ExperimentEvent(event_id=event_id, number=number)
            fault = self._plan.fault_at(number)
            if fault is None:
                await self._publish(event)
            else:
                await self._settled()  # so that it strikes this event only
                await self._manned(fault.spec.consumers)
                self._doing = f"at {fault.name}, event {number}"
                await self._strike(fault, event)
            self._on_progress(number)
            self._replace_killed()
            await asyncio.sleep(_PACE_SECONDS)
        self._doing = "waiting for the consumers"
        await self._settled()

    async def _publish(self, event: ExperimentEvent) -> None:
        await self._bus.publish(event, channel=CHANNEL)

    async def _strike(self, fault: Fault, event: ExperimentEvent) -> None:
        match fault.name:
            case "puback_lost":
                await self._lose_puback(event)
            case "ack_lost":
                await self._lose_ack(event)
            case "server_killed":
                await self._kill_server(event)
            case "server_killed_after_ack":
                await self._kill_server_after_ack(event)
            case "consumer_partitioned":
                await self._partition(event)
            case "blocking_handler":
                await self._publish(event)
                await self._unblocked(event)
            case name if name.startswith("kill_"):
                await self._kill_consumer(event)
            case name if name.startswith("duplicate_"):
                await self._publish_again(name, event)
            case _:
                await self._publish(event)

    async def _kill_consumer(self, event: ExperimentEvent) -> None:
        before = len(self._at_work())
        await self._publish(event)
        while len(self._at_work()) == before:
            self._check()
            await asyncio.sleep(_POLL_SECONDS)

    async def _lose_puback(self, event: ExperimentEvent) -> None:
        self._to_producer.drop(Direction.TO_CLIENT)
        publishing = asyncio.create_task(self._publish(event))
        try:
            await self._to_producer.dropped(_PUBACK)
            self._to_producer.restore()
            self._broke(PRODUCER, "PubAck lost, connection cut")
            if self._plan.semantics is NatsDeliverySemantics.AT_MOST_ONCE:
                with suppress(PublishError):  # it says that it does not know
                    await publishing
                await self._producer_connected()
            else:
                await publishing
        finally:
            publishing.cancel()

    async def _lose_ack(self, event: ExperimentEvent) -> None:
        await self._waiting_for_messages()
        proxies = {one.name: self._proxies[one.name] for one in self._at_work()}
        for proxy in proxies.values():
            proxy.drop(Direction.TO_SERVER)
        await self._publish(event)
        losing = {asyncio.create_task(proxy.dropped(_ACK)): name for name, proxy in proxies.items()}
        try:
            lost, _ = await asyncio.wait(losing, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in losing:
                task.cancel()
        for proxy in proxies.values():
            proxy.restore()
        self._broke(losing[lost.pop()], "ack lost, connection cut")
        await self._settled()

    async def _kill_server(self, event: ExperimentEvent) -> None:
        await self._publish(event)
        consumer = await self._reached(event.number)
        await asyncio.sleep(_FLUSH_SECONDS)
        await self._restart_server()
        consumer.go()

    async def _kill_server_after_ack(self, event: ExperimentEvent) -> None:
        await asyncio.sleep(_FLUSH_SECONDS)  # what came before is not forgotten
        handled, acked = self._told["handled"], self._told["acked"]
        await self._publish(event)
        while self._told["handled"] == handled or self._told["acked"] == acked:
            self._check()
            self._news.clear()
            await self._news.wait()
        await asyncio.sleep(_ACK_SECONDS)
        await self._restart_server()

    async def _restart_server(self) -> None:
        os.kill(self._server.pid, signal.SIGKILL)  # now: its guard would take its time
        self._broke(STREAM, "server killed")
        await asyncio.to_thread(self._server.kill)
        await asyncio.to_thread(self._server.restart)
        await self._producer_connected()
        self._broke(STREAM, "server back")

    async def _partition(self, event: ExperimentEvent) -> None:
        await self._publish(event)
        consumer = await self._reached(event.number)
        proxy = self._proxies[consumer.name]
        proxy.drop(Direction.TO_SERVER, Direction.TO_CLIENT)
        self._broke(consumer.name, "network cut")
        consumer.go()
        await self._settled()
        proxy.restore()
        self._broke(consumer.name, "network healed")

    async def _publish_again(self, name: str, event: ExperimentEvent) -> None:
        window = self._plan.duplicate_window
        await self._publish(event)
        stored = time.monotonic()
        if name == "duplicate_after_ack":
            await self._settled()
        if name == "duplicate_not_refreshed":
            await asyncio.sleep(window / 2)
            await self._publish(event)
        if name in ("duplicate_after_window", "duplicate_not_refreshed"):
            await asyncio.sleep(stored + window + _MARGIN - time.monotonic())
        await self._publish(event)

    # Waiting

    async def _producer_connected(self) -> None:
        connection = self._bus._connection
        assert connection is not None
        for each in (connection, self._watch):
            await each.wait_connected(_PATIENCE)

    async def _followed(self, last: int) -> None:
        """Wait until the record has what the stream stored up to sequence `last`."""
        while self._followed_to < last:
            self._check()
            self._news.clear()
            await self._news.wait()

    async def _reached(self, number: int) -> ConsumerProcess:
        """The consumer that waits in the handler of that event."""
        while True:
            self._check()
            for consumer in self._consumers:
                if consumer.reached == number:
                    return consumer
            await asyncio.sleep(_POLL_SECONDS)

    async def _settled(self) -> None:
        """Wait until every stored message is acknowledged, terminated or dead-lettered."""
        durable = self._settings.durable_for(CHANNEL)
        stream = self._settings.stream_name
        while True:
            self._check()
            self._replace_killed()
            with suppress(NatsError, TimeoutError):
                last = (await self._watch.js.stream_info(stream)).state.last_seq
                info = await self._watch.js.consumer_info(stream, durable)
                delivered = info.delivered.stream_seq if info.delivered else 0
                if not info.num_ack_pending and delivered >= last:
                    return
            await asyncio.sleep(_POLL_SECONDS)

    async def _unblocked(self, event: ExperimentEvent) -> None:
        """Wait until no handler of `event` runs: what came meanwhile would wait behind it."""
        event_id = str(event.event_id)
        while True:
            await self._settled()
            entry = self._record.ledger.loc[event_id]
            if entry["delivered"] and not entry["unfinished"]:
                return
            await asyncio.sleep(_POLL_SECONDS)

    async def _waiting_for_messages(self) -> None:
        """Wait until the consumer has asked for more."""
        durable = self._settings.durable_for(CHANNEL)
        while True:
            info = await self._watch.js.consumer_info(self._settings.stream_name, durable)
            if info.num_waiting:
                return
            await asyncio.sleep(_POLL_SECONDS)

    # Consumers that end

    def _check(self) -> None:
        """Raise what went wrong where nobody waits for it."""
        for consumer in self._consumers:
            if consumer.problem is not None:
                raise self._failed(consumer.problem)
        for task in (self._following, self._replacing):
            if task is not None and task.done():
                task.result()

    def _replace_killed(self) -> None:
        """Start another process when none is left, as an orchestrator would."""
        starting = self._replacing is not None and not self._replacing.done()
        if not starting and not self._at_work():
            self._replacing = asyncio.create_task(self._replace(), name="experiment: next consumer")

    async def _replace(self) -> None:
        consumer = await self._launch()
        self._broke(consumer.name, "started again")

    async def _manned(self, consumers: int) -> None:
        """Have that many consumers at work, also when one was killed before."""
        if self._replacing is not None:
            await self._replacing
        for _ in range(consumers - len(self._at_work())):
            await self._replace()
        for consumer in self._at_work():
            await consumer.ready()

    def _at_work(self) -> list[ConsumerProcess]:
        return [one for one in self._consumers if one.alive and not one.ending]

    async def _close(self) -> None:
        self._doing = "stopping the consumers"
        if self._replacing is not None:
            await self._replacing
        for consumer in self._at_work():
            await consumer.ready()
        await asyncio.gather(*(consumer.stop() for consumer in self._consumers))
        self._doing = "reading the stream"
        last = (await self._watch.js.stream_info(self._settings.stream_name)).state.last_seq
        await self._followed(int(last))
        self._mark_lost()

    def _mark_lost(self) -> None:
        """All is settled: what was not handled, kept or given up is lost, at its last moment."""
        ledger = self._record.ledger
        gone = ledger[ledger["outcome"].isin(["pending", "lost"])]
        self._record.add(
            Row(last.timestamp(), "lost", STREAM, CHANNEL, event_id, ExperimentEvent.__event_type__)
            for event_id, last in zip(gone.index.tolist(), gone["last_seen"], strict=True)
        )


def _orders(fault: Fault, ack_wait: float) -> dict[str, object]:
    """What the consumer is to do at the event of this fault."""
    match fault.name:
        case "kill_before_handler":
            return {"kill": "before"}
        case "kill_in_handler" | "kill_one_of_two":
            return {"kill": "during"}
        case "kill_after_handler":
            return {"kill": "after"}
        case "slow_handler":
            return {"sleep": 1.5 * ack_wait}
        case "blocking_handler":
            return {"block": 1.5 * ack_wait}
        case "server_killed" | "consumer_partitioned":
            return {"pause": True}
        case _ if fault.failures is not None:
            return {"fail": fault.failures}
    return {}
