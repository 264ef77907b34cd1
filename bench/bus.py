"""Events per second of the bus, beside the released package and plain nats-py, on one local server.

    python bench/bus.py [--events 20000] [--rounds 3] [--against ../other-checkout] [--only consume]

Each side is a process of its own that does what it is told, so that each round measures one side
after the other; a ratio is the median of the rounds' ratios, as rates drift between rounds. The
released package lives in an environment of its own, which is made when it is not there. With
`--against`, the code of another checkout runs in that checkout's environment as well.

Each side encodes and decodes new events, with the same texts, by its default serializer; nats-py
by varco-core's. nats-py pulls 500 messages at a time and acknowledges as the semantics ask: before
the handler (`at_most_once`), after it (`at_least_once`), after it and confirmed (`exactly_once`).
The acks of the released package are never confirmed, ours are in all but `at_least_once`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import nats
from nats.errors import TimeoutError as NatsTimeoutError
from varco_core.event.base import Event
from varco_core.event.serializer import JsonEventSerializer

OURS, RELEASED, PLAIN, OTHER = "ours", "released", "nats-py", "against"
RELEASE = "3.2.0"
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

    async def publish(self, semantics: str, count: int) -> float:
        events = make_events(count)
        async with self.bus(semantics) as bus:
            started = time.perf_counter()
            for event in events:
                await bus.publish(event, channel="published")
            return time.perf_counter() - started

    async def publish_many(self, semantics: str, count: int) -> float:
        events = make_events(count)
        async with self.bus(semantics) as bus:
            started = time.perf_counter()
            await bus.publish_many([(event, "published") for event in events])
            return time.perf_counter() - started

    async def consume(self, semantics: str, count: int) -> float:
        handled = 0
        done = asyncio.Event()

        async def handle(event: Event) -> None:
            nonlocal handled
            handled += 1
            if handled == count:
                done.set()

        bus = self.bus(semantics)
        bus.subscribe(OrderPlaced, handle, channel="backlog")
        started = time.perf_counter()
        async with bus:
            await done.wait()
            return time.perf_counter() - started


class PlainSide:
    """Works with nats-py alone."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.runs = 0

    async def publish(self, semantics: str, count: int) -> float:
        events = make_events(count)
        async with await nats.connect(self.url) as nc:
            js = nc.jetstream()
            started = time.perf_counter()
            for event in events:
                await js.publish(f"{PREFIX}.published", SERIALIZER.serialize(event))
            return time.perf_counter() - started

    async def publish_many(self, semantics: str, count: int) -> float:
        events = make_events(count)
        once = semantics == "exactly_once"
        async with await nats.connect(self.url) as nc:
            js = nc.jetstream()
            started = time.perf_counter()
            acks = []
            for event in events:
                headers = {"Nats-Msg-Id": str(event.event_id)} if once else None
                data = SERIALIZER.serialize(event)
                acks.append(await js.publish_async(f"{PREFIX}.published", data, headers=headers))
            await asyncio.gather(*acks)
            return time.perf_counter() - started

    async def consume(self, semantics: str, count: int) -> float:
        handled = 0

        async def handle(event: Event) -> None:
            nonlocal handled
            handled += 1

        self.runs += 1
        async with await nats.connect(self.url) as nc:
            started = time.perf_counter()
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
            return time.perf_counter() - started


def work_as_told(side: str, url: str) -> None:
    """Read jobs from the standard input, one in a line, and answer each with its seconds."""
    worker = PlainSide(url) if side == PLAIN else BusSide(url)
    for line in sys.stdin:
        work, semantics, count = json.loads(line)
        job: Callable[[str, int], Awaitable[float]] = getattr(worker, work)
        print(json.dumps(asyncio.run(job(semantics, count))), flush=True)  # type: ignore[arg-type]


# All sides together


class Side:
    """A process that works as told."""

    def __init__(self, name: str, python: Path, url: str) -> None:
        self.name = name
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        self._process = subprocess.Popen(
            [python, __file__, "--side", name, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def rate(self, case: Case, count: int) -> float:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([case.work, case.semantics, count]) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            sys.exit(f"{self.name} failed at {case.name!r}")
        return count / float(json.loads(answer))

    def close(self) -> None:
        self._process.communicate()  # the end of its input is its end


def released_python() -> Path | None:
    """The interpreter of an environment with the released package; None if none can be made."""
    folder = Path(sys.prefix) / f"varco-nats-{RELEASE}"
    python = folder / "bin" / "python"
    wanted = [f"varco-nats=={RELEASE}", f"nats-py=={version('nats-py')}"]
    uv = shutil.which("uv")
    make = (
        [uv, "venv", "-q", "--clear", "-p", sys.executable]
        if uv
        else [sys.executable, "-m", "venv"]
    )
    install = (
        [uv, "pip", "install", "-q", "-p", python] if uv else [python, "-m", "pip", "install", "-q"]
    )
    ready = folder / "ready"
    if ready.exists():
        return python
    try:
        subprocess.run([*make, folder], check=True)
        subprocess.run([*install, *wanted], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"measuring without the released package, which cannot be installed: {error}")
        return None
    ready.touch()
    return python


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


def measure(case: Case, sides: list[Side], events: int, rounds: int, url: str) -> bool:
    """Print one row; whether it is as wanted."""
    count = max(events // case.share, 1)
    measured: list[list[float]] = []
    for _ in range(rounds):
        measured.append([])
        for side in sides:
            measured[-1].append(side.rate(case, count))
            asyncio.run(clear(url))
    row, met = "", True
    for number, side in enumerate(sides):
        row += f"{statistics.median(rates[number] for rates in measured):12,.0f}"
        if side.name != OURS:
            ratio = statistics.median(rates[0] / rates[number] for rates in measured)
            wanted = case.wanted.get(side.name)
            row += f"{ratio:8.2f}" + (f" (>= {wanted:g})" if wanted else "").ljust(9)
            met = met and ratio >= (wanted or 0)
    print(f"{case.name:28}{row}", flush=True)
    return met


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--against", type=Path, help="a checkout with a .venv, or an interpreter")
    parser.add_argument("--only", default="", help="the cases whose names begin so")
    parser.add_argument("--side", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        work_as_told(*given.side)
        return
    from varco_nats.server import LocalNats

    pythons = {OURS: Path(sys.executable), RELEASED: released_python(), PLAIN: Path(sys.executable)}
    if given.against:
        folder = given.against / ".venv" / "bin" / "python"
        pythons[OTHER] = folder if given.against.is_dir() else given.against
    sizes = [len(SERIALIZER.serialize(event)) for event in make_events(given.events)]
    with LocalNats() as server:
        print(
            f"{len(sizes):,} events of {min(sizes)} to {max(sizes)} bytes, {given.rounds} rounds, "
            f"{server!r}; a ratio is ours / theirs"
        )
        asyncio.run(fill(server.url, given.events))
        sides = [Side(name, python, server.url) for name, python in pythons.items() if python]
        heads = [f"{side.name:>12}" + " " * 17 * (side.name != OURS) for side in sides]
        print(f"{'events/s':28}{''.join(heads)}")
        try:
            cases = [case for case in CASES if case.name.startswith(given.only)]
            met = [measure(case, sides, given.events, given.rounds, server.url) for case in cases]
        finally:
            for side in sides:
                side.close()
    sys.exit(not all(met))


if __name__ == "__main__":
    main()
