"""Events per second of the bus beside plain nats-py, on one local server, in one run.

    python bench/bus.py [--events 20000] [--rounds 3]

Both sides encode and decode the same events with the same serializer; each round measures one
after the other, and the ratio is the median of the rounds' ratios, as rates drift between rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable

import nats
from nats.aio.client import Client
from nats.errors import TimeoutError as NatsTimeoutError
from varco_core.event.base import Event
from varco_core.event.serializer import JsonEventSerializer

from varco_nats.bus import NatsEventBus
from varco_nats.config import NatsEventBusSettings
from varco_nats.server import LocalNats

SERIALIZER = JsonEventSerializer()
WANTED = {"publish one by one": 0.9, "publish_many": 1.2, "consume with acks": 1.5}


class OrderPlaced(Event):
    __event_type__ = "order.placed"

    order_id: str
    customer: str
    total: float
    currency: str = "EUR"
    note: str = "left at the door, with the neighbours"


def make_events(count: int) -> list[Event]:
    return [
        OrderPlaced(order_id=f"o-{number:08}", customer=f"c-{number % 977:05}", total=number / 7)
        for number in range(count)
    ]


Work = Callable[[], Awaitable[None]]


async def rate(count: int, work: Work) -> float:
    started = time.perf_counter()
    await work()
    return count / (time.perf_counter() - started)


class Bench:
    """One server, one bus and one plain connection."""

    def __init__(self, url: str, events: list[Event]) -> None:
        self.settings = NatsEventBusSettings(servers=url, durable_name="bench")
        self.events = events
        self.few = events[: max(len(events) // 4, 1)]
        self.nc = Client()
        self.rounds = 0

    async def publish_ours(self) -> None:
        for event in self.few:
            await self.bus.publish(event, channel="one")

    async def publish_theirs(self) -> None:
        js = self.nc.jetstream()
        for event in self.few:
            await js.publish("varco.one", SERIALIZER.serialize(event))

    async def publish_many_ours(self) -> None:
        await self.bus.publish_many([(event, "many") for event in self.events])

    async def publish_many_theirs(self) -> None:
        js = self.nc.jetstream()
        futures = [
            await js.publish_async("varco.many", SERIALIZER.serialize(event))
            for event in self.events
        ]
        await asyncio.gather(*futures)

    async def consume_ours(self) -> None:
        handled = 0
        done = asyncio.Event()

        async def handle(event: Event) -> None:
            nonlocal handled
            handled += 1
            if handled == len(self.events):
                done.set()

        settings = self.settings.model_copy(update={"durable_name": f"bench-{self.rounds}"})
        async with NatsEventBus(settings) as bus:
            bus.subscribe(OrderPlaced, handle, channel="backlog")
            await done.wait()

    async def consume_theirs(self) -> None:
        handled = 0

        async def handle(event: Event) -> None:
            nonlocal handled
            handled += 1

        durable = f"plain-{self.rounds}"
        sub = await self.nc.jetstream().pull_subscribe("varco.backlog", durable=durable)
        while handled < len(self.events):
            try:
                messages = await sub.fetch(500, timeout=1)
            except NatsTimeoutError:
                continue
            for message in messages:
                await handle(SERIALIZER.deserialize(message.data))
                await message.ack()
        await sub.unsubscribe()

    async def run(self, rounds: int) -> None:
        self.nc = await nats.connect(self.settings.servers)
        cases = {
            "publish one by one": (len(self.few), self.publish_ours, self.publish_theirs),
            "publish_many": (len(self.events), self.publish_many_ours, self.publish_many_theirs),
            "consume with acks": (len(self.events), self.consume_ours, self.consume_theirs),
        }
        async with NatsEventBus(self.settings) as self.bus:
            await self.bus.publish_many([(event, "backlog") for event in self.events])
            print(f"{'events/s':20}{'varco_nats':>12}{'nats-py':>12}{'ratio':>8}{'wanted':>8}")
            for name, (count, ours, theirs) in cases.items():
                pairs = []
                for _ in range(rounds):
                    self.rounds += 1
                    pairs.append((await rate(count, ours), await rate(count, theirs)))
                our_rate, their_rate = (
                    statistics.median(side) for side in zip(*pairs, strict=True)
                )
                ratio = statistics.median(a / b for a, b in pairs)
                print(
                    f"{name:20}{our_rate:12,.0f}{their_rate:12,.0f}{ratio:8.2f}{WANTED[name]:8.1f}"
                )
        await self.nc.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    events = make_events(arguments.events)
    size = len(SERIALIZER.serialize(events[0]))
    with LocalNats() as server:
        print(f"{len(events):,} events of {size} bytes, {arguments.rounds} rounds, {server!r}")
        asyncio.run(Bench(server.url, events).run(arguments.rounds))


if __name__ == "__main__":
    main()
