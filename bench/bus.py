"""Events per second of the bus, beside the released package and plain nats-py, on one local server.

    python bench/bus.py [--events 20000] [--rounds 3] [--against ../other-checkout] [--only consume]

Each side is a process of its own that does what it is told, so that each round measures one side
after the other; a ratio is the median of the rounds' ratios, as rates drift between rounds. "CPU"
is the time of the side's process alone. The released package lives in an environment of its own,
which is made when it is not there. With `--against`, the code of another checkout runs in that
checkout's environment as well.

Each side encodes and decodes new events, with the same texts, by its default serializer; nats-py
by varco-core's. nats-py pulls 500 messages at a time and acknowledges as the semantics ask: before
the handler (`at_most_once`), after it (`at_least_once`), after it and confirmed (`exactly_once`).
The acks of the released package are never confirmed, ours are in all but `at_least_once`. That is
what bounds `consume, at_most_once`: an ack more for the server to answer and for this process to
read before each handler. Without it, a message whose ack was lost would be handled and come again.

Then a bus with `--channels` subscriptions starts, on channels that have no durable yet, and does
nothing for 20 s, in which its process should use next to nothing; and its bus is imported in
new processes.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import statistics
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import nats
from _sides import (
    OURS,
    RELEASED,
    Side,
    Took,
    Watch,
    add_arguments,
    interpreters,
    work_as_told,
)
from nats.errors import TimeoutError as NatsTimeoutError
from varco_core.event.base import Event
from varco_core.event.serializer import JsonEventSerializer

PLAIN = "nats-py"
IDLE_SECONDS = 20.0
WANTED_IDLE = 0.002
"""The part of a core that a bus without messages may use."""
WANTED_IMPORT = 1.0
IMPORT = (
    "import time; before = time.process_time(); from varco_nats import NatsEventBus; "
    "print(time.process_time() - before)"
)
STREAM, PREFIX = "varco-events", "varco"
SERIALIZER = JsonEventSerializer()
WORDS = """
    parcel door bell neighbour yellow fragile heavy signed left garden behind blue gate twice
    please ring after six office third floor lift broken stairs dog barks call before evening
    cold keep upright glass bottles return empty box tomorrow morning key under flower pot shop
"""


@dataclass(frozen=True)
class Case:
    name: str
    work: str
    semantics: str
    wanted: dict[str, float] = field(default_factory=dict)
    """The least ratio to another side."""
    share: int = 1
    """Which part of the events it is measured with."""


CASES = [
    Case("publish one by one", "publish", "at_least_once", {PLAIN: 0.9}, share=4),
    Case("publish_many", "publish_many", "at_least_once", {PLAIN: 1.2}),
    Case("publish_many, exactly_once", "publish_many", "exactly_once"),
    Case("consume, at_least_once", "consume", "at_least_once", {PLAIN: 1.5}),
    Case("consume, at_most_once", "consume", "at_most_once"),
    Case("consume, exactly_once", "consume", "exactly_once", {RELEASED: 0.8}),
]
START = Case("start", "start", "at_least_once", {RELEASED: 1.0})


class OrderPlaced(Event):
    __event_type__ = "order.placed"

    order_id: str
    customer: str
    total: float
    note: str


def make_events(count: int) -> list[Event]:
    """New events of some 240 to 600 bytes, the same at each call but for ids and times."""
    r, words = random.Random(count), WORDS.split()
    return [
        OrderPlaced(
            order_id=f"o-{number:08}",
            customer=f"c-{r.randrange(1000):05}",
            total=r.randrange(100, 100_000) / 100,
            note=" ".join(r.choices(words, k=r.randint(6, 60))),
        )
        for number in range(count)
    ]


# One side, in a process of its own


class BusSide:
    """Works with the `varco_nats` of its environment."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.runs = 0

    def bus(self, semantics: str):  # type: ignore[no-untyped-def] # of whichever package
        import varco_nats

        self.runs += 1
        settings = varco_nats.NatsEventBusSettings(
            servers=self.url,
            durable_name=f"bench-{os.getpid()}-{self.runs}",
            delivery_semantics=semantics,
        )
        return varco_nats.NatsEventBus(settings)

    async def publish(self, semantics: str, count: int) -> Took:
        events = make_events(count)
        async with self.bus(semantics) as bus:
            watch = Watch()
            for event in events:
                await bus.publish(event, channel="published")
            return watch.took()

    async def publish_many(self, semantics: str, count: int) -> Took:
        events = make_events(count)
        async with self.bus(semantics) as bus:
            watch = Watch()
            await bus.publish_many([(event, "published") for event in events])
            return watch.took()

    async def consume(self, semantics: str, count: int) -> Took:
        handled = 0
        done = asyncio.Event()

        async def handle(event: Event) -> None:
            nonlocal handled
            handled += 1
            if handled == count:
                done.set()

        bus = self.bus(semantics)
        bus.subscribe(OrderPlaced, handle, channel="backlog")
        watch = Watch()
        async with bus:
            await done.wait()
            return watch.took()

    async def start(self, semantics: str, count: int) -> Took:
        bus = self._subscribed(semantics, count)
        watch = Watch()
        async with bus:
            return watch.took()

    async def idle(self, semantics: str, count: int) -> Took:
        async with self._subscribed(semantics, count):
            await asyncio.sleep(2)  # what starting leaves to be done
            watch = Watch()
            await asyncio.sleep(IDLE_SECONDS)
            return watch.took()

    def _subscribed(self, semantics: str, count: int):  # type: ignore[no-untyped-def]
        bus = self.bus(semantics)
        for number in range(count):
            bus.subscribe(OrderPlaced, lambda event: None, channel=f"idle.{number}")
        return bus


class PlainSide:
    """Works with nats-py alone."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.runs = 0

    async def publish(self, semantics: str, count: int) -> Took:
        events = make_events(count)
        async with await nats.connect(self.url) as nc:
            js = nc.jetstream()
            watch = Watch()
            for event in events:
                await js.publish(f"{PREFIX}.published", SERIALIZER.serialize(event))
            return watch.took()

    async def publish_many(self, semantics: str, count: int) -> Took:
        events = make_events(count)
        once = semantics == "exactly_once"
        async with await nats.connect(self.url) as nc:
            js = nc.jetstream()
            watch = Watch()
            acks = []
            for event in events:
                headers = {"Nats-Msg-Id": str(event.event_id)} if once else None
                data = SERIALIZER.serialize(event)
                acks.append(await js.publish_async(f"{PREFIX}.published", data, headers=headers))
            await asyncio.gather(*acks)
            return watch.took()

    async def consume(self, semantics: str, count: int) -> Took:
        handled = 0

        async def handle(event: Event) -> None:
            nonlocal handled
            handled += 1

        self.runs += 1
        async with await nats.connect(self.url) as nc:
            watch = Watch()
            durable = f"plain-{os.getpid()}-{self.runs}"
            sub = await nc.jetstream().pull_subscribe(f"{PREFIX}.backlog", durable=durable)
            while handled < count:
                try:
                    messages = await sub.fetch(500, timeout=1)
                except NatsTimeoutError:
                    continue
                for message in messages:
                    if semantics == "at_most_once":
                        await message.ack()
                    await handle(SERIALIZER.deserialize(message.data))
                    if semantics == "at_least_once":
                        await message.ack()
                    elif semantics == "exactly_once":
                        await message.ack_sync()
            return watch.took()


# All sides together


async def clear(url: str) -> None:
    """Remove what a run published, and its durables."""
    async with await nats.connect(url) as nc:
        js = nc.jetstream()
        await js.purge_stream(STREAM, subject=f"{PREFIX}.published")
        for consumer in await js.consumers_info(STREAM):
            await js.delete_consumer(STREAM, consumer.name)


async def fill(url: str, events: int) -> None:
    """Make the stream, with the messages that are consumed."""
    async with await nats.connect(url) as nc:
        js = nc.jetstream()
        await js.add_stream(name=STREAM, subjects=[f"{PREFIX}.>"], allow_direct=True)
        for event in make_events(events):
            await js.publish_async(f"{PREFIX}.backlog", SERIALIZER.serialize(event))
        await js.publish_async_completed()


def measure(case: Case, sides: list[Side], count: int, rounds: int, url: str) -> bool:
    """Print one row; whether it is as wanted."""
    measured: list[list[Took]] = []
    for _ in range(rounds):
        measured.append([])
        for side in sides:
            measured[-1].append(side.do(case.work, case.semantics, count))
            asyncio.run(clear(url))
    row, met = "", True
    for number, side in enumerate(sides):
        rate = statistics.median(count / took[number].seconds for took in measured)
        cpu = statistics.median(took[number].cpu / count for took in measured)
        row += f"{rate:12,.0f} {cpu * 1e6:6,.0f}"
        if side.name != OURS:
            ratio = statistics.median(took[number].seconds / took[0].seconds for took in measured)
            wanted = case.wanted.get(side.name)
            row += f"{ratio:8.2f}" + (f" (>= {wanted:g})" if wanted else "").ljust(9)
            met = met and ratio >= (wanted or 0)
    print(f"{case.name:28}{row}", flush=True)
    return met


def print_heads(what: str, sides: list[Side]) -> None:
    heads = [f"{side.name:>12} µs CPU" + " " * 17 * (side.name != OURS) for side in sides]
    print(f"{what:28}{''.join(heads)}")


def measure_idle(sides: list[Side], channels: int, url: str) -> bool:
    """Print what an idle bus uses of a core; whether ours uses as little as wanted."""
    used = {}
    for side in sides:
        took = side.do("idle", "at_least_once", channels)
        used[side.name] = took.cpu / took.seconds
        asyncio.run(clear(url))
    row = ", ".join(f"{name} {part:.3%}" for name, part in used.items())
    print(f"{'idle, of a core':28}{row} (wanted at most {WANTED_IDLE:.1%})", flush=True)
    return used[OURS] <= WANTED_IDLE


def measure_import(pythons: dict[str, Path], times: int = 10) -> bool:
    """Print how long the import of `varco_nats` takes; whether ours is as short as wanted."""
    seconds: dict[str, list[float]] = {name: [] for name in pythons}
    for _ in range(times):
        for name, python in pythons.items():
            done = subprocess.run(
                [python, "-P", "-c", IMPORT], check=True, capture_output=True, text=True
            )
            seconds[name].append(float(done.stdout))
    row = ", ".join(
        f"{name} {statistics.median(each) * 1000:.0f} ms" for name, each in seconds.items()
    )
    ours, theirs = seconds[OURS], seconds.get(RELEASED, seconds[OURS])
    ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
    print(f"{'import varco_nats, CPU':28}{row}, {ratio:.2f} times (wanted {WANTED_IMPORT:g})")
    return ratio <= WANTED_IMPORT


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--channels", type=int, default=200)
    parser.add_argument("--only", default="", help="the cases whose names begin so")
    add_arguments(parser)
    given = parser.parse_args()
    if given.side:
        name, url = given.side
        work_as_told(PlainSide(url) if name == PLAIN else BusSide(url))
        return
    from varco_nats.server import LocalNats

    pythons = interpreters(given.against)
    sizes = [len(SERIALIZER.serialize(event)) for event in make_events(given.events)]
    met = []
    with LocalNats() as server:
        print(
            f"{len(sizes):,} events of {min(sizes)} to {max(sizes)} bytes, {given.rounds} rounds, "
            f"{server!r}; a ratio is ours / theirs"
        )
        asyncio.run(fill(server.url, given.events))
        buses = [Side(name, python, __file__, server.url) for name, python in pythons.items()]
        sides = [*buses, Side(PLAIN, Path(sys.executable), __file__, server.url)]
        print_heads("events/s", sides)
        try:
            for case in CASES:
                if case.name.startswith(given.only):
                    count = max(given.events // case.share, 1)
                    met.append(measure(case, sides, count, given.rounds, server.url))
            print_heads("subscriptions/s", buses)
            if START.name.startswith(given.only):
                met.append(measure(START, buses, given.channels, given.rounds, server.url))
            if "idle".startswith(given.only):
                met.append(measure_idle(buses, given.channels, server.url))
        finally:
            for side in sides:
                side.close()
    if "import".startswith(given.only):
        met.append(measure_import(pythons))
    sys.exit(not all(met))


if __name__ == "__main__":
    main()
