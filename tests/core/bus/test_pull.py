"""Pull requests: what is asked for is known, whatever the server serves first."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.conftest import MakeSettings
from tests.waiting import until
from varco_nats._nats.client import Connection, connect
from varco_nats._nats.delivery import clock
from varco_nats._nats.durable import ensure_durable
from varco_nats._nats.stream import ensure_stream, event_stream_config
from varco_nats.bus._pull import PullRequests
from varco_nats.config import NatsEventBusSettings
from varco_nats.server import LocalNats


class Pulling:
    """Pull requests on the durable of channel `orders`, and what came of them."""

    def __init__(self, connection: Connection, settings: NatsEventBusSettings, size: int) -> None:
        self.connection = connection
        self.settings = settings
        self.messages = 0
        self.ended = 0
        self.requests = PullRequests(
            connection=connection,
            on_message=self._take,
            on_ended=self._end,
            on_gone=lambda reason: None,
            on_lost=lambda: None,
            handlers=1,
            smallest=size,
            largest=size,
            work_ahead=0.5,
            epoch_seconds=2,
            quiet_seconds=2,
        )

    def _take(self, *_: object) -> None:
        self.messages += 1

    def _end(self) -> None:
        self.ended += 1

    async def has_ended(self, count: int) -> None:
        await until(lambda: self.ended == count)

    def resize(self, size: int) -> None:
        """What it holds follows the speed of the handlers."""
        self.requests.smallest = self.requests.largest = size

    async def has_open(self, count: int) -> bool:
        """Whether the server has `count` requests."""
        info = await self.connection.js.consumer_info(self.settings.stream_name, "svc-orders")
        return (info.num_waiting or 0) == count

    async def publish(self, count: int) -> None:
        for _ in range(count):
            await self.connection.nc.publish(self.settings.subject_name("orders"), b"x")


@asynccontextmanager
async def pulling(settings: NatsEventBusSettings, size: int) -> AsyncIterator[Pulling]:
    connection = await connect(settings, name="test")
    await ensure_stream(connection, event_stream_config(settings), create=True)
    await ensure_durable(connection, settings, "orders")
    made = Pulling(connection, settings, size)
    made.requests.start(settings.stream_name, "svc-orders")
    try:
        yield made
    finally:
        await made.requests.stop()
        await connection.close()


async def test_request_that_was_served_before_an_older_one_is_not_waited_for(
    make_settings: MakeSettings,
) -> None:
    async with pulling(make_settings(), 100) as made:
        await made.requests.refill(0)
        await made.publish(60)
        await until(lambda: made.messages == 60)
        made.resize(70)
        await made.requests.refill(0)  # 30 more than the 40 that are open
        await until(lambda: made.has_open(2))
        await made.publish(62)  # in turn to both, until the younger one is served
        await until(lambda: made.messages == 122)
        assert made.requests._expected == 8
        await until(lambda: made.ended == 1)
        assert made.requests._expected == 0


async def test_nothing_is_asked_for_while_the_connection_is_away(
    make_settings: MakeSettings,
) -> None:
    """It would reach the server later, and messages would go where nobody takes them."""
    with LocalNats() as server:
        async with pulling(make_settings(servers=server.url), 100) as made:
            await made.requests.refill(0)
            await until(lambda: made.has_open(1))
            server.kill()
            await until(lambda: not made.connection.is_connected)
            made.requests.restart()
            await until(lambda: not made.requests.paused_for)
            await made.requests.refill(0)
            server.restart()
            await until(lambda: made.connection.is_connected)
            assert await made.has_open(0)
            await made.requests.refill(0)
            await until(lambda: made.has_open(1))


async def test_a_channel_without_messages_keeps_its_one_subscription(
    make_settings: MakeSettings,
) -> None:
    """A message still counts as delivered after the request that it answers was sent."""
    async with pulling(make_settings(), 100) as made:
        made.requests.epoch_seconds = 0.2
        began = clock()
        await made.requests.refill(0)
        [epoch] = made.requests._epochs
        for number in (1, 2, 3):
            await made.has_ended(number)
            assert made.requests.renew()
        assert made.requests._epochs == [epoch]
        assert epoch.began > began + 0.4
        await made.publish(1)
        await until(lambda: made.messages == 1)


async def test_a_quiet_channel_is_asked_for_longer_until_a_message_arrives(
    make_settings: MakeSettings,
) -> None:
    """A message that is asked for later may not count as delivered before the long request."""
    async with pulling(make_settings(), 1) as made:
        made.requests.epoch_seconds, made.requests.quiet_seconds = 0.2, 60
        await made.requests.refill(0)
        await made.has_ended(1)
        assert made.requests.renew()
        [quiet] = made.requests._epochs
        assert made.requests.due_at == quiet.ends > quiet.began + 50
        await until(lambda: clock() > quiet.began + 0.2)
        await made.publish(1)
        await until(lambda: made.messages == 1)
        asked = clock()
        await made.requests.refill(0)
        assert made.requests._epochs[0] is quiet
        assert made.requests._epochs[1].began >= asked
        assert made.requests._epochs[1].ends < asked + 0.2


async def test_a_subscription_with_an_open_request_is_not_used_anew(
    make_settings: MakeSettings,
) -> None:
    async with pulling(make_settings(), 100) as made:
        await made.requests.refill(0)
        [epoch] = made.requests._epochs
        began = epoch.began
        await made.publish(60)
        await until(lambda: made.messages == 60)
        await made.requests.refill(0)
        assert len(epoch.requests) == 2
        assert not made.requests.renew()
        assert (made.requests._epochs, epoch.began) == ([epoch], began)
