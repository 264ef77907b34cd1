"""Messages that a service without a dead letter queue gave up."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any

import pytest
from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig, StreamConfig
from varco_core.event.base import Event

from tests.conftest import MakeSettings
from tests.core.helpers import entry, push
from tests.core.replay.helpers import Broken, is_, publish, stored
from tests.events import OrderPlaced
from tests.waiting import until
from varco_nats import NatsDLQ, NatsEventBus, NatsEventBusSettings
from varco_nats.errors import DeadLetterError, ReplayRefusedError
from varco_nats.replay import ExhaustedMessage, Replayer


async def exhaust(settings: NatsEventBusSettings, nc: Client, *, fail: set[str]) -> None:
    """A service that gives up after two deliveries; handles all but the orders in `fail`."""
    js = nc.jetstream()
    await js.add_consumer(
        settings.stream_name,
        ConsumerConfig(
            durable_name="plain",
            filter_subject=settings.subject_name("orders"),
            ack_policy=AckPolicy.EXPLICIT,
            max_deliver=2,
        ),
    )
    sub = await js.pull_subscribe_bind("plain", stream=settings.stream_name)
    while (info := await sub.consumer_info()).num_pending or info.num_ack_pending:
        with suppress(TimeoutError):  # the server gives up a message when it is asked for more
            for message in await sub.fetch(100, timeout=0.1):
                ok = json.loads(message.data)["order_id"] not in fail
                await (message.ack() if ok else message.nak())
    await sub.unsubscribe()


async def consumer_state(settings: NatsEventBusSettings, nc: Client) -> tuple[Any, ...]:
    info = await nc.jetstream().consumer_info(settings.stream_name, "plain")
    assert info.ack_floor is not None
    assert info.delivered is not None
    floor, delivered = info.ack_floor.stream_seq, info.delivered.stream_seq
    return floor, delivered, info.num_redelivered, info.num_ack_pending


async def test_exhausted_messages_are_found_after_the_service_went_on(
    settings: NatsEventBusSettings, dlq: NatsDLQ, replayer: Replayer, nc: Client
) -> None:
    await publish(settings, 300)
    heard: list[ExhaustedMessage] = []
    async with replayer.watch_exhausted(heard.append):
        await exhaust(settings, nc, fail={"7", "100"})
        await until(lambda: len(heard) == 2)
    assert [(message.seq, message.certain, message.num_delivered) for message in heard] == [
        (8, True, 2),
        (101, True, 2),
    ]
    # nothing there says which
    await until(lambda: is_(consumer_state(settings, nc), (300, 300, 2, 0)))

    found = await replayer.find_exhausted("orders")

    assert [message.seq for message in found] == list(range(1, 301))
    assert not any(message.certain for message in found)
    assert (found.captured_since, found.unidentified, found.truncated) == (
        None,
        {"plain": 2},
        False,
    )
    some = await replayer.find_exhausted("orders", limit=5)
    assert ([message.seq for message in some], some.truncated) == ([296, 297, 298, 299, 300], True)
    [one] = await replayer.find_exhausted("orders", start_seq=8, end_seq=8)
    assert (one.entry_id, one.event_type) == (heard[0].entry_id, "order.placed")

    await replayer.capture_exhausted()
    await replayer.capture_exhausted()  # it is there
    await publish(settings, 20)
    await exhaust(settings, nc, fail={"3"})
    await until(lambda: is_(_certain(replayer), [304]))
    before = await consumer_state(settings, nc)
    found = await replayer.find_exhausted("orders")
    # the capture knows all others
    assert [message.seq for message in found] == [*range(1, 301), 304]
    assert (found.unidentified, found.gone) == ({"plain": 2}, 0)
    assert found.captured_since is not None
    assert await consumer_state(settings, nc) == before
    await nc.jetstream().delete_msg(settings.stream_name, 304)
    assert (await replayer.find_exhausted("orders")).gone == 1
    await replayer.stop_capturing_exhausted()
    await replayer.stop_capturing_exhausted()
    assert (await replayer.find_exhausted("orders")).captured_since is None


async def test_what_is_no_advisory_costs_nothing(
    settings: NatsEventBusSettings,
    dlq: NatsDLQ,
    replayer: Replayer,
    nc: Client,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await publish(settings, 20)
    await replayer.capture_exhausted()
    sound = {
        "type": "io.nats.jetstream.advisory.v1.max_deliver",
        "consumer": "other",
        "stream_seq": 3,
        "deliveries": 2,
        "timestamp": "2026-01-01T00:00:00Z",
    }
    odd: list[object] = [
        None,
        True,
        -1,
        0,
        0.5,
        float("inf"),
        2**64,
        10**400,
        "",
        "\ud800",
        [],
        {},
        "x\ny",
    ]
    bad = [b"", b"\xff", b"null", b"[]", b"7", b'"type"', b"[" * 100_000, b'{"type": 1}']
    bad += [
        json.dumps({**sound, name: value}).encode()
        for name in sound
        if name != "type"
        for value in odd
        if not (name == "consumer" and isinstance(value, str | int | float | list | dict))
    ]
    bad += [json.dumps({**sound, "consumer": "\ud800"}).encode()]
    bad += [json.dumps({**sound, "timestamp": "2026-01-01T00:00:00"}).encode()]
    heard: list[ExhaustedMessage] = []
    subject = f"$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.{settings.stream_name}.other"
    js = nc.jetstream()
    async with replayer.watch_exhausted(heard.append):
        wrong = {(await js.publish(subject, data)).seq for data in bad}
        await exhaust(settings, nc, fail={"7"})
        await until(lambda: any(message.seq == 8 for message in heard))
    await until(lambda: is_(_certain_of(replayer, "plain"), [8]))
    found = await replayer.find_exhausted("orders")
    told = [line for line in caplog.messages if "cannot be read" in line]
    assert {int(line.split()[1]) for line in told} <= wrong
    assert len(told) == len(set(told)) > 40
    assert all(f"of stream {settings.stream_name}-exhausted cannot" in line for line in told)
    for message in found:
        assert message.seq in range(1, 21)
        await replayer.dead_letter(message)
    assert await dlq.count() == len(found)


async def _certain_of(replayer: Replayer, consumer: str) -> list[int]:
    found = await replayer.find_exhausted("orders")
    return [message.seq for message in found if message.certain and message.consumer == consumer]


async def _certain(replayer: Replayer) -> list[int]:
    return [message.seq for message in await replayer.find_exhausted("orders") if message.certain]


@pytest.mark.parametrize("audited", [False, True])
async def test_what_the_bus_gave_up_is_made_a_dead_letter_once(
    audited: bool, make_settings: MakeSettings, nc: Client
) -> None:
    settings = make_settings(max_deliver=2)
    service = Broken()
    if audited:  # a stream of somebody else keeps all advisories
        name = settings.stream_name
        subjects = [f"$JS.EVENT.ADVISORY.CONSUMER.*.{name}.>"]
        config = StreamConfig(name=f"{name}-audit", subjects=subjects, allow_direct=False)
        await nc.jetstream().add_stream(config)
    async with Replayer(settings, user="ada") as replayer, NatsEventBus(settings) as bus:
        await replayer.capture_exhausted()
        bus.subscribe(OrderPlaced, service.on_order, channel="orders")
        headers = {"Trace": "abc"}
        body = b'{"__event_type__": "order.placed", "order_id": "1", "more": 1}'
        await nc.jetstream().publish(settings.subject_name("orders"), body, headers=headers)
        await until(lambda: is_(_certain(replayer), [1]))
        names = {info.config.name for info in await nc.jetstream().streams_info()}
        assert (f"{settings.stream_name}-exhausted" in names) is not audited
        service.repaired = True
        await bus.publish(OrderPlaced(order_id="2"), channel="orders")
        await until(lambda: service.handled == ["2"])

        [one] = await replayer.find_exhausted("orders")
        assert (one.reason, one.num_delivered, one.in_queue) == ("RuntimeError", 2, False)
        for _ in range(2):  # stored once
            await replayer.dead_letter(one, note="the gateway was down")
        [again] = await replayer.find_exhausted("orders")
        assert again.in_queue
        async with NatsDLQ(settings) as dlq:
            [letter] = await dlq.list_entries()
            assert letter.error_type == "RuntimeError"
            assert "after 2 deliveries; put here by ada@" in letter.error_message
            assert letter.error_message.endswith(": the gateway was down")
            assert (letter.last_failed_at, letter.attempts) == (one.given_up_at, 2)

        await replayer.run(await replayer.plan())
        await until(lambda: service.handled == ["2", "1"])
        message = (await stored(settings))[-1]
        assert message.data == body
        assert message.headers is not None
        assert (message.headers["Trace"], message.headers["Varco-Delivery-Count"]) == ("abc", "2")
        [again] = await replayer.find_exhausted("orders")
        assert again.handled_by is not None
        assert not again.in_queue
        with pytest.raises(ReplayRefusedError, match="again=True"):
            await replayer.dead_letter(again)
        await nc.jetstream().delete_msg(settings.stream_name, 1)
        with pytest.raises(DeadLetterError, match=r"message 1 .* is no longer stored"):
            await replayer.dead_letter(one)


async def test_nothing_is_exhausted_where_the_bus_counts_deliveries(
    settings: NatsEventBusSettings, replayer: Replayer
) -> None:
    handled = asyncio.Event()

    async def handle(event: Event) -> None:
        handled.set()

    async with NatsEventBus(settings) as bus:
        bus.subscribe(OrderPlaced, handle, channel="orders")
        await bus.publish(OrderPlaced(order_id="1"), channel="orders")
        await handled.wait()
        assert not await replayer.find_exhausted("orders")


async def test_reprs_are_short(dlq: NatsDLQ, replayer: Replayer) -> None:
    await push(dlq, *map(entry, range(3)))
    plan = await replayer.plan()
    assert "replay 3 of 3" in repr(plan)
    assert repr(await replayer.run(plan, confirm="nobody")) == "ReplayReport(done: 3 replayed)"
    assert repr(replayer).startswith("Replayer(")
