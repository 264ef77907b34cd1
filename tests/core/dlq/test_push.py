"""`NatsDLQ.push` outside handlers, where varco's callers cannot bear that it raises."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from nats.aio.client import Client
from nats.js.api import RetentionPolicy, StreamConfig
from varco_core.event.base import Event
from varco_core.event.consumer import EventConsumer, listen
from varco_core.event.dlq import DeadLetterSource
from varco_core.event.serializer import JsonEventSerializer
from varco_core.resilience.retry import RetryPolicy
from varco_core.service.outbox import OutboxEntry, OutboxRelay

from tests.conftest import MakeSettings
from tests.core.helpers import Durable, entry
from tests.core.outbox import Rows
from tests.events import OrderPlaced
from tests.waiting import until
from varco_nats._nats.delivery import MessageDelivery, current_delivery
from varco_nats.bus import NatsEventBus
from varco_nats.config import NatsDeliverySemantics, NatsEventBusSettings
from varco_nats.dlq import NatsDLQ, _push
from varco_nats.errors import DeadLetterTooLargeError, ServerUnreachableError
from varco_nats.replay import Replayer
from varco_nats.replay._plan import ReplayDecision
from varco_nats.server import LocalNats

IMPATIENT = {"publish_timeout_seconds": 0.2, "publish_attempts": 1, "drain_timeout_seconds": 0.2}


def noise(size: int) -> str:
    """Text that compresses to about half of its size."""
    return os.urandom(size // 2).hex()


def relay(rows: Rows, bus: NatsEventBus, dlq: NatsDLQ) -> OutboxRelay:
    policy = RetryPolicy(max_attempts=1, base_delay=0.01)
    return OutboxRelay(
        outbox=rows, bus=bus, poll_interval=0.01, retry_policy=policy, dlq=dlq, max_attempts=1
    )


async def test_outbox_relay_lives_on_while_the_server_is_away(
    make_settings: MakeSettings, caplog: pytest.LogCaptureFixture
) -> None:
    rows = Rows()
    with LocalNats() as server:
        settings = make_settings(servers=server.url, **IMPATIENT)
        async with NatsDLQ(settings) as dlq, NatsEventBus(settings) as bus:
            async with relay(rows, bus, dlq) as running:
                await asyncio.to_thread(server.kill)
                for number in range(8):
                    event = OrderPlaced(order_id=str(number))
                    await rows.save(OutboxEntry.from_event(event, channel="orders"))
                pushed = list(rows.rows)
                await until(lambda: not rows.rows)  # none is stuck
                assert running._task is not None
                assert not running._task.done()
                assert (dlq.waiting, dlq.unstored) == (8, 0)
                assert "cannot be stored now and is kept in memory" in caplog.text
                await asyncio.to_thread(server.restart)
                await until(lambda: dlq.waiting == 0)
                found = await dlq.list_entries(source=DeadLetterSource.OUTBOX_RELAY)
                assert {entry.source_ref for entry in found} == set(map(str, pushed))
                assert bus._publisher is not None
                bus._publisher.timeout = 60  # a busy server is not away
                event = OrderPlaced(order_id="8")
                await rows.save(OutboxEntry.from_event(event, channel="orders"))
                await until(lambda: not rows.rows)
            assert await dlq.count() == 8


async def test_outbox_row_that_no_server_takes_leaves_a_dead_letter_without_its_payload(
    settings: NatsEventBusSettings, caplog: pytest.LogCaptureFixture
) -> None:
    rows = Rows()
    async with NatsDLQ(settings) as dlq, NatsEventBus(settings) as bus, Replayer(dlq) as replayer:
        row = OutboxEntry.from_event(OrderPlaced(order_id=noise(4_000_000)), channel="orders")
        await rows.save(row)
        async with relay(rows, bus, dlq):
            await until(lambda: not rows.rows)
        [kept] = await dlq.list_entries()
        assert await dlq.get(kept.entry_id) == kept
        assert (kept.event, kept.payload) == (None, None)
        assert (kept.source_ref, kept.error_type) == (str(row.entry_id), "PayloadTooLargeError")
        assert "stored without its payload: it has 2," in kept.error_message
        [plan_row] = (await replayer.plan()).rows
        assert plan_row.decision is ReplayDecision.SKIP
        assert "without its payload" in str(plan_row.why)
    assert "is stored without its payload" in caplog.text


async def test_entry_with_an_endless_error_message_keeps_its_payload(
    settings: NatsEventBusSettings,
) -> None:
    async with NatsDLQ(settings) as dlq:
        pushed = entry(error_message=noise(4_000_000))
        await dlq.push(pushed)
        kept = await dlq.get(pushed.entry_id)
    assert kept is not None
    assert kept.event == pushed.event
    assert kept.error_message.endswith(" [3,990,000 more characters]")


async def test_what_finds_no_room_in_memory_is_counted_and_named(
    make_settings: MakeSettings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(_push, "_MAX_ENTRIES", 2)
    entries = [entry(number) for number in range(3)]
    with LocalNats() as server:
        async with NatsDLQ(make_settings(servers=server.url, **IMPATIENT)) as dlq:
            await asyncio.to_thread(server.kill)
            for each in entries:
                await dlq.push(each)
            assert (dlq.waiting, dlq.unstored) == (2, 1)
            assert f"dead letter {entries[2].entry_id} of channel 'orders' is lost" in caplog.text
            monkeypatch.setattr(_push, "_MAX_ENTRIES", 10)
            monkeypatch.setattr(_push, "_MAX_BYTES", 1000)
            await dlq.push(entries[2])
            assert (dlq.waiting, dlq.unstored) == (2, 2)
            await asyncio.to_thread(server.restart)
            await until(lambda: dlq.waiting == 0)
            assert await dlq.count() == 2


async def test_pushes_that_wait_for_one_connection_fail_with_it(
    make_settings: MakeSettings,
) -> None:
    tried = 0

    async def keep_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal tried
        tried += 1
        with suppress(ConnectionError):
            await reader.read()
        writer.close()

    async with await asyncio.start_server(keep_silent, "127.0.0.1") as silent:
        url = f"nats://127.0.0.1:{silent.sockets[0].getsockname()[1]}"
        connect_kwargs = {"connect_timeout": 0.2, "max_reconnect_attempts": 1}
        settings = make_settings(servers=url, connect_kwargs=connect_kwargs, **IMPATIENT)
        alone, many = NatsDLQ(settings), NatsDLQ(settings)
        with pytest.raises(ServerUnreachableError):
            await alone.start()
        once, tried = tried, 0
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_push.Pusher, "_run", lambda self: asyncio.sleep(0))
            await asyncio.gather(*(many.push(entry(number)) for number in range(10)))
            assert (many.waiting, tried) == (10, once)
            await many.stop()


async def test_entry_with_fields_of_other_types_raises_nothing(
    make_settings: MakeSettings, caplog: pytest.LogCaptureFixture
) -> None:
    tenant = uuid4()
    odd: list[dict[str, Any]] = [
        {"tenant_id": tenant},
        {"payload": "text", "event": None},
        {"first_failed_at": None},
    ]
    async with NatsDLQ(make_settings()) as dlq:
        for fields in odd:
            await dlq.push(replace(entry(1), entry_id=uuid4(), **fields))
        assert (dlq.unstored, dlq.waiting) == (2, 0)
        assert [each.tenant_id for each in await dlq.list_entries()] == [str(tenant)]
    assert caplog.text.count("is lost") == 2


async def test_event_is_serialized_once_for_its_dead_letter(make_settings: MakeSettings) -> None:
    class Counting(JsonEventSerializer):
        calls = 0

        def serialize(self, value: Event) -> bytes:
            self.calls += 1
            return super().serialize(value)

    serializer = Counting()
    async with NatsDLQ(make_settings(), serializer=serializer) as dlq:
        await dlq.push(entry(1))
        assert (serializer.calls, await dlq.count()) == (1, 1)


async def test_stop_stores_what_waits_or_names_what_is_lost(
    make_settings: MakeSettings, caplog: pytest.LogCaptureFixture
) -> None:
    with LocalNats() as server:
        settings = make_settings(servers=server.url, **IMPATIENT)
        dlq = NatsDLQ(settings)
        patient = NatsDLQ(settings.model_copy(update={"drain_timeout_seconds": 20}))
        await dlq.start()
        await patient.start()
        await asyncio.to_thread(server.kill)
        lost, kept = entry(1), entry(2)
        await dlq.push(lost)
        await patient.push(kept)
        assert "is lost" not in caplog.text
        await dlq.stop()
        assert f"dead letter {lost.entry_id} of channel 'orders' is lost" in caplog.text
        assert (dlq.waiting, dlq.unstored) == (0, 1)

        stopping = asyncio.create_task(patient.stop())
        await asyncio.to_thread(server.restart)
        await stopping
        assert (patient.waiting, patient.unstored) == (0, 0)
        async with NatsDLQ(settings) as again:
            assert [entry.entry_id for entry in await again.list_entries()] == [kept.entry_id]
    await dlq.push(lost)  # raises nothing
    assert dlq.unstored == 2


async def test_dead_letter_of_at_most_once_is_kept_as_its_message_never_comes_again(
    make_settings: MakeSettings,
) -> None:
    settings = make_settings(delivery_semantics=NatsDeliverySemantics.AT_MOST_ONCE)
    with LocalNats() as away:
        async with NatsDLQ(make_settings(servers=away.url, **IMPATIENT)) as dlq:

            class Consumer(EventConsumer):
                @listen(OrderPlaced, channel="orders", dlq=dlq)
                async def on_order(self, event: OrderPlaced) -> None:
                    raise ValueError("never works")

            async with NatsEventBus(settings) as bus:
                Consumer().register_to(bus)
                await asyncio.to_thread(away.kill)
                event = OrderPlaced(order_id="1")
                await bus.publish(event, channel="orders")
                await until(lambda: dlq.waiting == 1)
            await asyncio.to_thread(away.restart)
            await until(lambda: dlq.waiting == 0)
            [kept] = await dlq.list_entries()
    assert (kept.event, kept.source_ref) == (event, f"{settings.stream_name}:1")


async def test_task_that_a_handler_started_is_no_delivery_once_the_handler_is_done(
    make_settings: MakeSettings, server: LocalNats
) -> None:
    """Such as a relay or a runner that is started by the first message."""
    returned = asyncio.Event()
    tasks: list[asyncio.Task[None]] = []
    pushed = entry(source_ref=None)

    with LocalNats() as away:
        dlq = NatsDLQ(make_settings(servers=away.url, **IMPATIENT))
        await dlq.start()

        async def later() -> None:
            await returned.wait()
            await dlq.push(pushed)

        async def handler(event: Event) -> None:
            tasks.append(asyncio.create_task(later()))

        settings = make_settings()
        async with NatsEventBus(settings) as bus:
            bus.subscribe(OrderPlaced, handler, channel="orders")
            bus.observe(lambda event: returned.set() if event.kind == "acked" else None)
            await asyncio.to_thread(away.kill)
            await bus.publish(OrderPlaced(order_id="1"), channel="orders")
            await returned.wait()
            await tasks[0]  # raises nothing
        assert dlq.waiting == 1
        await asyncio.to_thread(away.restart)
        await until(lambda: dlq.waiting == 0)
        assert await dlq.get(pushed.entry_id) == pushed  # no source_ref of that message
        await dlq.stop()


class Padded(JsonEventSerializer):
    """Adds bytes that do not compress, as encryption does."""

    def serialize(self, value: Event) -> bytes:
        return super().serialize(value) + b"\0" + os.urandom(1_040_000)

    def deserialize(self, data: bytes, type_hint: type[Event] | None = None) -> Event:
        return super().deserialize(data.partition(b"\0")[0])


async def test_message_too_large_for_a_dead_letter_is_named_by_its_place(
    make_settings: MakeSettings, nc: Client
) -> None:
    settings = make_settings(max_deliver=1)
    durable = Durable(nc, settings)
    handled: list[Event] = []

    def fail_once(event: Event) -> None:
        handled.append(event)
        if len(handled) == 1:
            raise ValueError("not this one")

    async with (
        NatsDLQ(settings, serializer=Padded()) as dlq,
        NatsEventBus(settings, dlq=dlq, serializer=Padded()) as bus,
        Replayer(dlq) as replayer,
    ):
        bus.subscribe(OrderPlaced, fail_once, channel="orders")
        event = OrderPlaced(order_id="1")
        await bus.publish(event, channel="orders")
        await until(lambda: durable.is_settled(1))
        [kept] = await dlq.list_entries()
        assert (kept.event, kept.payload) == (None, None)
        assert kept.source_ref == f"{settings.stream_name}:1"
        assert kept.error_message.startswith("not this one [stored without its payload: it has 1,0")
        [row] = (await replayer.plan()).rows
        assert row.decision is ReplayDecision.SKIP
        assert row.why == (
            f"stored without its payload; give it by an edit; its source_ref is {kept.source_ref}"
        )
        # the way that the words point to
        await replayer.run(await replayer.plan_history("orders", start_seq=1, end_seq=1, live=True))
        await until(lambda: len(handled) == 2)
    assert handled[1] == event


@pytest.mark.parametrize("change", ["nothing", "retention", "payload", "sequence", "source_ref"])
async def test_message_that_its_stream_would_not_keep_is_not_left_to_it(
    change: str, settings: NatsEventBusSettings, nc: Client
) -> None:
    payload = os.urandom(1_040_000)
    retention = RetentionPolicy.WORK_QUEUE if change == "retention" else RetentionPolicy.LIMITS
    name, js = settings.stream_name, nc.jetstream()
    await js.add_stream(
        StreamConfig(name=name, subjects=[settings.wildcard_subject()], retention=retention)
    )
    await js.publish(settings.subject_name("orders"), payload)
    async with NatsDLQ(settings) as dlq:
        seq = 2 if change == "sequence" else 1
        carried = payload[1:] if change == "payload" else payload
        delivery = MessageDelivery("orders", name, seq, 1, None, "svc-orders", carried)
        pushed = entry(event=None, payload=carried)
        if change == "source_ref":
            pushed = replace(pushed, source_ref="elsewhere:1")
        token = current_delivery.set(delivery)
        try:
            if change == "nothing":
                await dlq.push(pushed)
            else:
                with pytest.raises(DeadLetterTooLargeError):
                    await dlq.push(pushed)
        finally:
            current_delivery.reset(token)
        assert await dlq.count() == (change == "nothing")
