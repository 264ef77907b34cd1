"""Taking over the durables that the released package made, and giving them back."""

from __future__ import annotations

import asyncio
import json
import signal
from collections import Counter
from typing import Any

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import ConsumerConfig
from nats.js.errors import Error as JetStreamError
from varco_core.event.base import Event
from varco_core.health import HealthStatus

from tests.conftest import MakeSettings
from tests.core.dlq.test_codec import ENTRY_ID, LEGACY
from tests.core.dlq.test_released_package import make_legacy_stream
from tests.core.helpers import ALL_SEMANTICS, entry, push
from tests.events import OrderPlaced, orders
from tests.processes import Child
from tests.upgrade_process import main as die_at
from tests.waiting import until
from varco_nats._nats import position, takeover
from varco_nats.bus import NatsEventBus
from varco_nats.config import NatsDeliverySemantics, NatsEventBusSettings
from varco_nats.dlq import NatsDLQ
from varco_nats.errors import ConsumerInUseError, ConsumerMismatchError
from varco_nats.health import NatsHealthCheck
from varco_nats.server import LocalNats
from varco_nats.upgrade import DEAD_LETTERS, rollback, upgrade

COUNT = 40
WAITING = "3"
"""The order whose handler raises, so that it waits for its retry when the service stops."""
LEFT = {WAITING: 1, "new": 1}
"""What the next service must handle: no other order, and each once."""


class Released:
    """A service of the released package, as far as the server sees it."""

    def __init__(self, nc: Client, settings: NatsEventBusSettings, channel: str = "orders") -> None:
        self._js = nc.jetstream()
        self._settings = settings
        self._channel = channel
        self.handled: Counter[str] = Counter()

    async def __aenter__(self) -> Released:
        self._subscription = await self._js.subscribe(
            self._settings.subject_name(self._channel),
            stream=self._settings.stream_name,
            durable=f"{self._settings.durable_name}-{self._channel.replace('.', '_')}",
            cb=self._handle,
            manual_ack=True,
            config=ConsumerConfig(ack_wait=30, max_deliver=self._settings.max_deliver),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._subscription.unsubscribe()

    async def _handle(self, msg: Msg) -> None:
        order = json.loads(msg.data)["order_id"]
        self.handled[order] += 1
        if order == WAITING:
            await msg.nak(delay=60)
        else:
            await msg.ack_sync()


class Ours:
    """A bus of ours that counts what it handles."""

    def __init__(self, settings: NatsEventBusSettings, *channels: str) -> None:
        self.bus = NatsEventBus(settings)
        self.handled: Counter[str] = Counter()
        for channel in channels or ("orders",):
            self.bus.subscribe(OrderPlaced, self._handle, channel=channel)

    def _handle(self, event: Event) -> None:
        assert isinstance(event, OrderPlaced)
        self.handled[event.order_id] += 1

    async def handles_new(self, channel: str = "orders") -> Counter[str]:
        """What it has handled when it has handled an order that is published now."""
        await self.bus.publish(OrderPlaced(order_id="new"), channel=channel)
        await until(lambda: {WAITING, "new"} <= self.handled.keys())
        return self.handled


async def fill(settings: NatsEventBusSettings, channel: str = "orders") -> None:
    async with NatsEventBus(settings) as producer:
        await producer.publish_many(orders(COUNT, channel))


async def leave_one_waiting(
    nc: Client, settings: NatsEventBusSettings, channel: str = "orders"
) -> None:
    """Have the released package handle a backlog; one order waits for its retry."""
    await fill(settings, channel)
    async with Released(nc, settings, channel) as released:
        await until(lambda: len(released.handled) == COUNT)


# Upgrading


@pytest.mark.parametrize("semantics", ALL_SEMANTICS)
@pytest.mark.parametrize("channel", ["orders", "order_events"])
async def test_only_what_waits_for_its_retry_comes_again(
    channel: str, semantics: NatsDeliverySemantics, make_settings: MakeSettings, nc: Client
) -> None:
    settings = make_settings(delivery_semantics=semantics)
    await leave_one_waiting(nc, settings, channel)
    ours = Ours(settings, channel)
    async with ours.bus:
        assert await ours.handles_new(channel) == LEFT
        durable = settings.durable_for(channel)
        js = nc.jetstream()
        await until(
            lambda: _floor_is(js, settings.stream_name, durable, COUNT + 1)
        )  # what was acknowledged before is acknowledged on the new durable too


async def _floor_is(js: Any, stream: str, durable: str, seq: int) -> bool:
    return bool((await js.consumer_info(stream, durable)).ack_floor.stream_seq == seq)


async def test_the_next_start_handles_nothing_again(
    settings: NatsEventBusSettings, nc: Client
) -> None:
    await leave_one_waiting(nc, settings, "order_events")
    for _ in range(2):
        ours = Ours(settings, "order_events")
        async with ours.bus:
            await ours.bus.publish(OrderPlaced(order_id="new"), channel="order_events")
            await until(lambda: ours.handled["new"])  # noqa: B023
    assert ours.handled == {"new": 1}


async def test_a_name_that_two_channels_share_is_taken_over_for_the_one_it_filters(
    settings: NatsEventBusSettings, nc: Client
) -> None:
    await leave_one_waiting(nc, settings, "orders_eu")  # its durable is called svc-orders_eu
    dotted, underlined = Ours(settings, "orders.eu"), Ours(settings, "orders_eu")
    async with dotted.bus:  # so is ours for this channel
        await dotted.bus.publish_many(orders(COUNT, "orders.eu"))
        await until(lambda: len(dotted.handled) == COUNT)
        async with underlined.bus:
            assert await underlined.handles_new("orders_eu") == LEFT
    assert set(dotted.handled.values()) == {1}


async def test_a_durable_of_the_released_name_for_another_channel_is_left_alone(
    settings: NatsEventBusSettings, nc: Client
) -> None:
    await leave_one_waiting(nc, settings, "orders.eu")
    ours = Ours(settings, "orders_eu")
    async with ours.bus:
        await ours.bus.publish_many(orders(5, "orders_eu"))
        await until(lambda: len(ours.handled) == 5)
    info = await nc.jetstream().consumer_info(settings.stream_name, "svc-orders_eu")
    assert info.config.deliver_subject
    assert info.num_ack_pending == 1


async def test_a_push_durable_of_nobody_we_know_is_refused(
    settings: NatsEventBusSettings, nc: Client
) -> None:
    async with NatsEventBus(settings):
        pass
    config = ConsumerConfig(
        durable_name="svc-orders",
        filter_subject=f"{settings.subject_prefix}.other.>",
        deliver_subject="somewhere",
    )
    await nc.jetstream().add_consumer(settings.stream_name, config)
    with pytest.raises(ConsumerMismatchError, match="subject filter"):
        await Ours(settings).bus.start()


async def test_a_message_in_its_last_delivery_is_not_lost(
    make_settings: MakeSettings, nc: Client
) -> None:
    settings = make_settings(max_deliver=1)
    await leave_one_waiting(nc, settings)
    ours = Ours(settings)
    async with ours.bus:
        assert await ours.handles_new() == LEFT


async def test_a_pending_message_that_is_not_stored_any_more_is_not_waited_for(
    settings: NatsEventBusSettings, nc: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(takeover, "_QUIET", 0.1)
    await leave_one_waiting(nc, settings)
    await nc.jetstream().delete_msg(settings.stream_name, int(WAITING) + 1)
    ours = Ours(settings)
    async with ours.bus:
        await ours.bus.publish(OrderPlaced(order_id="new"), channel="orders")
        await until(lambda: ours.handled["new"])
    assert ours.handled == {"new": 1}


async def test_the_durable_of_a_queue_group_is_taken_over(
    settings: NatsEventBusSettings, nc: Client
) -> None:
    await fill(settings)
    group = await nc.jetstream().subscribe(  # not as the released package makes it
        settings.subject_name("orders"),
        queue="svc-orders",
        stream=settings.stream_name,
        manual_ack=True,
    )
    for index in range(COUNT):
        msg = await group.next_msg(timeout=60)
        if index != int(WAITING):
            await msg.ack_sync()
    await group.unsubscribe()
    ours = Ours(settings)
    async with ours.bus:
        assert await ours.handles_new() == LEFT


async def test_the_log_says_how_many_come_again_where_that_cannot_be_helped(
    settings: NatsEventBusSettings,
    nc: Client,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await leave_one_waiting(nc, settings)
    monkeypatch.setattr(position, "_MAX_TEXT", 0)  # no room for what is pending
    ours = Ours(settings)
    async with ours.bus:
        await ours.handles_new()
    again = COUNT - int(WAITING)
    assert len(ours.handled) == again + 1
    assert f"up to {again} are handled again" in caplog.text


async def test_a_durable_in_use_is_taken_over_once_it_is_free(
    settings: NatsEventBusSettings, nc: Client, caplog: pytest.LogCaptureFixture
) -> None:
    await fill(settings)
    ours = Ours(settings)
    try:
        async with Released(nc, settings) as released:
            await until(lambda: len(released.handled) == COUNT)
            await ours.bus.start()
            assert isinstance(ours.bus.consumer_errors["orders"], ConsumerInUseError)
            health = await NatsHealthCheck(settings, bus=ours.bus).check()
            assert health.status is HealthStatus.DEGRADED
            assert "stop all of its processes" in str(health.detail)
            for _ in range(3):  # it has looked again
                last = ours.bus.consumer_errors["orders"]
                await until(lambda: ours.bus.consumer_errors["orders"] is not last)  # noqa: B023
            assert caplog.text.count("is in use by a running process") == 1
        assert await ours.handles_new() == LEFT
        assert ours.bus.consumer_errors == {}
    finally:
        await ours.bus.stop()


async def test_processes_that_start_together_take_over_once(
    settings: NatsEventBusSettings, nc: Client
) -> None:
    await leave_one_waiting(nc, settings)
    services = [Ours(settings) for _ in range(4)]
    await asyncio.gather(*(service.bus.start() for service in services))
    try:
        await services[0].bus.publish(OrderPlaced(order_id="new"), channel="orders")
        await until(lambda: sum((ours.handled for ours in services), Counter()) == LEFT)
    finally:
        await asyncio.gather(*(service.bus.stop() for service in services))


@pytest.mark.parametrize("channel", ["orders", "order_events"])
async def test_the_released_package_is_told_that_its_durable_was_taken_over(
    channel: str, settings: NatsEventBusSettings, nc: Client
) -> None:
    await leave_one_waiting(nc, settings, channel)
    async with Ours(settings, channel).bus:
        pass
    with pytest.raises(JetStreamError, match="taken-over-by-varco-nats-kit"):
        await Released(nc, settings, channel).__aenter__()


# Going back


async def ours_leaves_one_waiting(settings: NatsEventBusSettings, channel: str = "orders") -> None:
    """Have a bus of ours handle a backlog; one order waits for its retry when it stops."""
    ours = Ours(settings, channel)

    def fail(event: Event) -> None:
        if event.order_id == WAITING:  # type: ignore[attr-defined]
            raise ValueError(WAITING)

    ours.bus.subscribe(OrderPlaced, fail, channel=channel)
    async with ours.bus:
        await until(lambda: len(ours.handled) == COUNT)


@pytest.mark.parametrize("channel", ["orders", "order_events"])
async def test_the_released_package_goes_on_where_ours_was(
    channel: str, make_settings: MakeSettings, nc: Client
) -> None:
    settings = make_settings(nak_delay_seconds=30)
    await fill(settings, channel)
    await ours_leaves_one_waiting(settings, channel)

    planned = await rollback(settings, dry_run=True)
    assert not planned.blocked
    assert await rollback(settings, dry_run=True) == planned  # nothing was changed
    report = await rollback(settings, dry_run=False)

    assert report.steps == planned.steps
    [step] = report.steps
    assert (step.channel, step.may_repeat) == (channel, 1)
    assert "up to 1 messages may be handled again" in repr(report)
    assert report.to_rows()[0]["durable"] == f"svc-{channel}"
    async with Released(nc, settings, channel) as released, NatsEventBus(settings) as producer:
        await producer.publish(OrderPlaced(order_id="new"), channel=channel)
        await until(lambda: {WAITING, "new"} <= released.handled.keys())
    assert released.handled == LEFT
    [info] = await nc.jetstream().consumers_info(settings.stream_name)
    assert (info.name, info.config.max_deliver) == (f"svc-{channel}", settings.max_deliver)


async def test_there_and_back_and_there_again(make_settings: MakeSettings, nc: Client) -> None:
    settings = make_settings(nak_delay_seconds=30)
    await leave_one_waiting(nc, settings)
    assert (await upgrade(settings, dry_run=False)).steps[0].may_repeat == 1
    await rollback(settings, dry_run=False)  # before any process of ours has run
    async with Released(nc, settings) as released:
        await until(lambda: released.handled)
    assert released.handled == {WAITING: 1}
    ours = Ours(settings)
    async with ours.bus:
        assert await ours.handles_new() == LEFT


async def test_nothing_is_rolled_back_while_a_process_is_at_work(
    settings: NatsEventBusSettings, nc: Client
) -> None:
    js, stream = nc.jetstream(), settings.stream_name
    ours = Ours(settings)
    async with ours.bus:
        await until(lambda: _waits(js, stream))
        report = await rollback(settings, dry_run=False)
    assert report.blocked
    assert "blocked" in repr(report)
    assert "stop" in str(report.steps[0].blocked)
    assert not (await js.consumer_info(stream, "svc-orders")).config.deliver_subject


async def _waits(js: Any, stream: str) -> bool:
    return bool((await js.consumer_info(stream, "svc-orders")).num_waiting)


async def test_two_channels_of_one_released_name_cannot_both_go_back(
    settings: NatsEventBusSettings,
) -> None:
    async with Ours(settings, "orders.eu", "orders_eu").bus:
        pass
    report = await rollback(settings, dry_run=False)
    assert [step.blocked is not None for step in report.steps] == [True, True]
    assert "only one" in repr(report)


# Dead letters


async def relayed(nc: Client, settings: NatsEventBusSettings, root: str, count: int) -> list[str]:
    """The ids of the entries that a relay of the released package is given, all of them."""
    js, stream = nc.jetstream(), f"{settings.stream_name}-dlq"
    relay = await js.pull_subscribe(root, durable="__varco_dlq_relay__", stream=stream)
    assert (await relay.consumer_info()).num_pending == count
    return [json.loads(msg.data)["entry_id"] for msg in await relay.fetch(count, timeout=20)]


async def test_dead_letters_go_back_to_the_relay_of_the_released_package(
    settings: NatsEventBusSettings, nc: Client
) -> None:
    root = f"{settings.stream_name}-own"
    async with NatsEventBus(settings), NatsDLQ(settings, dlq_subject=root) as dlq:
        pushed = await push(dlq, entry(1), entry(2))
        # where ours made the stream, what the released package pushes is stored too
        await nc.jetstream().publish(root, LEGACY)
        report = await rollback(settings, dry_run=False, dlq=dlq)
        [step] = report.steps
        assert (step.channel, step.blocked) == (DEAD_LETTERS, None)
        ids = [str(each.entry_id) for each in pushed]
        again = await rollback(settings, dry_run=False, dlq=dlq)
        assert [step.action for step in again.steps] == [""]
        assert await relayed(nc, settings, root, 3) == [*ids, str(ENTRY_ID)]


async def test_dead_letters_that_its_relay_would_remove_are_kept_from_it(
    settings: NatsEventBusSettings, nc: Client
) -> None:
    root = f"{settings.subject_prefix}-dlq"
    async with NatsEventBus(settings), NatsDLQ(settings) as dlq:
        pushed = await push(dlq, entry(1), entry(2, event=None, payload=b"raw"))
        report = await rollback(settings, dry_run=False)
        assert "cannot read 1 of them" in report.steps[0].action
        assert [each.action for each in (await rollback(settings, dry_run=True)).steps] == [""]
        await nc.jetstream().publish(root, LEGACY)
        assert await relayed(nc, settings, root, 1) == [str(ENTRY_ID)]

        await upgrade(settings, dry_run=False)
        everything = [*pushed, await dlq.get(ENTRY_ID)]
        assert await dlq.list_entries() == everything
        assert await dlq.pop_batch() == everything


async def test_an_upgrade_has_the_stream_of_dead_letters_capture_ours(
    settings: NatsEventBusSettings, nc: Client
) -> None:
    async with NatsEventBus(settings):
        await make_legacy_stream(nc, settings, f"{settings.subject_prefix}-dlq")
        [step] = (await upgrade(settings, dry_run=False)).steps
    assert "capture" in step.action
    info = await nc.jetstream().stream_info(f"{settings.stream_name}-dlq")
    assert f"{settings.subject_prefix}-dlq.>" in (info.config.subjects or [])
    assert [step.action for step in (await upgrade(settings, dry_run=False)).steps] == [""]


# Killed on the way


async def killed_at(settings: NatsEventBusSettings, way: str, channel: str, request: int) -> bool:
    """Whether it was killed before that request, and not done."""
    config = {
        "settings": settings.model_dump(mode="json"),
        "way": way,
        "channel": channel,
        "request": request,
    }
    async with Child.running(die_at, config) as child:
        return await child.ended() == -signal.SIGKILL


@pytest.mark.parametrize("channel", ["orders", "order_events"])
async def test_killed_at_any_request_of_an_upgrade(
    channel: str, make_settings: MakeSettings, nc: Client
) -> None:
    """Each with a durable of its own; the next start loses nothing and handles nothing again."""
    settings = make_settings()
    await fill(settings, channel)
    request = 0
    killed = True
    while killed:
        mine = make_settings(durable_name=f"svc{request}")
        async with Released(nc, mine, channel) as released:
            await until(lambda: len(released.handled) == COUNT)
        killed = await killed_at(mine, "forth", channel, request)
        ours = Ours(mine, channel)
        async with ours.bus:
            await until(lambda: ours.handled)  # noqa: B023
        assert ours.handled == {WAITING: 1}, f"killed before request {request}"
        for info in await nc.jetstream().consumers_info(settings.stream_name):
            assert not info.config.deliver_subject
            assert not str(info.name).startswith("varco-moving")
        request += 1
    assert request > 3


@pytest.mark.parametrize("way", ["forth", "back"])
@pytest.mark.parametrize(
    ("killed", "channel", "request_", "left"),
    [
        ("forth", "orders", 3, ["svc-orders", takeover.temporary_durable("svc-orders")]),
        ("forth", "orders", 4, [takeover.temporary_durable("svc-orders")]),
        ("forth", "order_events", 3, ["svc-order_events", "svc-order_events__0dab7bcd31"]),
        ("back", "orders", 5, ["svc-orders", takeover.temporary_durable("svc-orders")]),
    ],
)
async def test_what_the_old_service_handled_after_an_interruption_is_not_handled_again(
    killed: str,
    channel: str,
    request_: int,
    left: list[str],
    way: str,
    make_settings: MakeSettings,
    nc: Client,
) -> None:
    settings = make_settings(nak_delay_seconds=30)
    await leave_one_waiting(nc, settings, channel)
    if killed == "back":
        await upgrade(settings, dry_run=False)
    assert await killed_at(settings, killed, channel, request_)
    infos = await nc.jetstream().consumers_info(settings.stream_name)
    assert sorted(str(info.name) for info in infos) == left

    since = {f"since {number}" for number in range(5)}
    async with Released(nc, settings, channel) as released, NatsEventBus(settings) as producer:
        if left[0].startswith("svc"):
            for order in since:
                await producer.publish(OrderPlaced(order_id=order), channel=channel)
            await until(lambda: since <= released.handled.keys())
        else:  # its durable was gone, so that it makes one and begins with the first message
            await until(lambda: len(released.handled) > COUNT // 2)

    report = await (upgrade if way == "forth" else rollback)(settings, dry_run=False)
    assert not report.blocked
    if way == "forth":
        ours = Ours(settings, channel)
        async with ours.bus:
            assert await ours.handles_new(channel) == LEFT
    else:
        async with Released(nc, settings, channel) as again, NatsEventBus(settings) as producer:
            await producer.publish(OrderPlaced(order_id="new"), channel=channel)
            await until(lambda: {WAITING, "new"} <= again.handled.keys())
        assert again.handled == LEFT
    for info in await nc.jetstream().consumers_info(settings.stream_name):
        assert not str(info.name).startswith("varco-moving")
        assert bool(info.config.deliver_subject) == (way == "back")


async def test_a_rollback_undoes_what_a_killed_upgrade_changed(
    settings: NatsEventBusSettings, nc: Client
) -> None:
    await leave_one_waiting(nc, settings)
    js, stream = nc.jetstream(), settings.stream_name
    before = (await js.consumer_info(stream, "svc-orders")).config
    assert await killed_at(settings, "forth", "orders", 2)
    assert (await js.consumer_info(stream, "svc-orders")).config.max_ack_pending == 101
    await rollback(settings, dry_run=False)
    info = await js.consumer_info(stream, "svc-orders")
    assert (info.config.max_deliver, info.config.max_ack_pending) == (5, before.max_ack_pending)
    assert info.num_ack_pending == 1


async def test_a_login_that_may_ask_about_its_own_durable_only(
    settings: NatsEventBusSettings,
) -> None:
    rights = " ".join(
        f'"$JS.API.{api}"' + ","
        for api in (
            "STREAM.INFO.>",
            "CONSUMER.INFO.*.svc-orders",
            "CONSUMER.DURABLE.CREATE.*.svc-orders",
            "CONSUMER.MSG.NEXT.>",
        )
    )
    config = (
        "jetstream { }\n"
        "authorization { users: [ { user: all, password: x }, { user: few, password: x, "
        f'permissions: {{ publish: [ {rights} "$JS.ACK.>" ] }} }} ] }}'
    )
    with LocalNats(config=config, token=None) as server:
        few = settings.model_copy(
            update={"servers": server.url, "connect_kwargs": {"user": "few", "password": "x"}}
        )
        everything = few.model_copy(update={"connect_kwargs": {"user": "all", "password": "x"}})
        await fill(everything)
        ours = Ours(few)
        async with ours.bus:
            await until(lambda: len(ours.handled) == COUNT)


@pytest.mark.parametrize("channel", ["orders", "order_events"])
async def test_killed_at_any_request_of_a_rollback(
    channel: str, make_settings: MakeSettings, nc: Client
) -> None:
    """A second rollback finishes it."""
    await fill(make_settings(), channel)
    request = 0
    killed = True
    while killed:
        mine = make_settings(durable_name=f"svc{request}", nak_delay_seconds=30)
        await ours_leaves_one_waiting(mine, channel)
        killed = await killed_at(mine, "back", channel, request)
        await rollback(mine, dry_run=False)
        async with Released(nc, mine, channel) as released:
            await until(lambda: released.handled)
        assert released.handled == {WAITING: 1}, f"killed before request {request}"
        request += 1
    assert request > 3
