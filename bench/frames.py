"""A channel into a DataFrame: rows per second and memory of `lab.frame` beside the obvious way.

    python bench/frames.py            10,000, 100,000 and 1,000,000 events
    python bench/frames.py --quick    without the 1,000,000
    python bench/frames.py --events 50000 --rounds 3

The obvious way is nats-py's `pull_subscribe`, `fetch(500)`, an ack for each message,
`JsonEventSerializer` and `pd.DataFrame` of the events' `model_dump()`. Each measurement is a
process of its own, which connects and loads a small channel first, so that imports and the first
connection count for neither side; both read the same stream of the same local server, one after
the other.

CPU is that of the measured process, all threads, without the server's.

Memory: "peak" is how far the process's largest resident size (`ru_maxrss`) rose above its
resident size just before the load; "frame" is `memory_usage(deep=True)` of the frame that came
out, and "ratio" the first divided by the second. Below 100,000 events the allocator's own steps
are larger than the frame, so that the ratio says little.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import nats
import pandas as pd
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.api import StreamConfig
from varco_core.event.base import Event
from varco_core.event.serializer import JsonEventSerializer
from varco_nats_widgets import Lab

from varco_nats.server import LocalNats

SERIALIZER = JsonEventSerializer()
WARM = 1000
WANTED_SPEED = 4.0
WANTED_MEMORY = 3.0
WANTED_FLAT = 1.3
_COMMENT = {0: "leave it at the door", 1: None, 2: "ring twice"}


class OrderPlaced(Event):
    __event_type__ = "order.placed"

    order_id: str
    customer: str
    total: float
    items: int
    currency: str = "EUR"
    express: bool = False
    note: str | None = None


def event(number: int) -> OrderPlaced:
    return OrderPlaced(
        event_id=UUID(int=number * 2**64 + 7),
        timestamp=datetime.fromtimestamp(1_767_225_600 + number / 50, UTC),
        order_id=f"o-{number:08}",
        customer=f"c-{number % 9973:05}",
        total=round(number * 7 % 100_000 / 7, 2),
        items=number % 9 + 1,
        express=number % 5 == 0,
        note=_COMMENT[number % 3],
    )


async def fill(url: str, sizes: list[int]) -> None:
    nc = await nats.connect(url)
    js = nc.jetstream()
    await js.add_stream(StreamConfig(name="varco-events", subjects=["varco.>"]))
    for size in sizes:
        for first in range(0, size, 2000):
            numbers = range(first, min(first + 2000, size))
            acks = [
                await js.publish_async(f"varco.c{size}", SERIALIZER.serialize(event(number)))
                for number in numbers
            ]
            await asyncio.gather(*acks)
    await nc.close()


async def load_theirs(url: str, count: int) -> pd.DataFrame:
    nc = await nats.connect(url)
    js = nc.jetstream()
    name = f"plain-{time.time_ns()}"
    sub = await js.pull_subscribe(f"varco.c{count}", durable=name)
    events: list[Event] = []
    while len(events) < count:
        try:
            messages = await sub.fetch(500, timeout=5)
        except NatsTimeoutError:
            continue
        for message in messages:
            events.append(SERIALIZER.deserialize(message.data))
            await message.ack()
    frame = pd.DataFrame([event.model_dump() for event in events])
    await js.delete_consumer("varco-events", name)
    await nc.close()
    return frame


def measure(side: str, url: str, count: int) -> dict[str, float]:
    """Load once; for a process that does nothing else."""
    with Lab(url) as lab:

        def load(rows: int) -> pd.DataFrame:
            return lab.frame(f"c{rows}") if side == "ours" else asyncio.run(load_theirs(url, rows))

        load(WARM)
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        before = pages * resource.getpagesize()
        started, worked = time.perf_counter(), time.process_time()
        frame = load(count)
        seconds, work = time.perf_counter() - started, time.process_time() - worked
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
        assert len(frame) == count
        if side == "ours":
            assert frame.attrs["completeness"]["gaps"] == 0
        size = int(frame.memory_usage(deep=True).sum())
    return {"rate": count / seconds, "cpu": work / count * 1e6, "peak": peak, "frame": size}


def in_new_process(*arguments: str) -> str:
    command = [sys.executable, __file__, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def report(sizes: list[int], rounds: int, url: str) -> bool:
    """Measure and print; whether all that is wanted was met."""
    titles = (
        "rows/s", "nats-py", "faster", "CPU us/row", "nats-py", "peak MB", "frame MB", "ratio",
        "nats-py peak MB",
    )  # fmt: skip
    print(f"{'events':>10}" + "".join(f"{title:>{len(title) + 3}}" for title in titles))
    rates: dict[int, float] = {}
    verdicts = []
    for size in sizes:
        pairs = []
        for _ in range(rounds):
            ours, theirs = (
                json.loads(in_new_process("--measure", side, "--url", url, "--events", str(size)))
                for side in ("ours", "theirs")
            )
            pairs.append((ours, theirs))
        faster = statistics.median(a["rate"] / b["rate"] for a, b in pairs)
        mine, other = (
            {key: statistics.median(measured[key] for measured in side) for key in side[0]}
            for side in zip(*pairs, strict=True)
        )
        rates[size] = mine["rate"]
        ratio = mine["peak"] / mine["frame"]
        cells = [
            f"{mine['rate']:,.0f}", f"{other['rate']:,.0f}", f"{faster:.1f}",
            f"{mine['cpu']:.1f}", f"{other['cpu']:.1f}",
            f"{mine['peak'] / 1e6:,.1f}", f"{mine['frame'] / 1e6:,.1f}", f"{ratio:.2f}",
            f"{other['peak'] / 1e6:,.1f}",
        ]  # fmt: skip
        padded = (f"{c:>{len(title) + 3}}" for c, title in zip(cells, titles, strict=True))
        print(f"{size:10,}" + "".join(padded), flush=True)
        if size >= 100_000:
            verdicts.append((f"{size:,}: times as fast", faster, ">=", WANTED_SPEED))
            verdicts.append((f"{size:,}: peak / frame", ratio, "<=", WANTED_MEMORY))
    flat = rates[sizes[0]] / rates[sizes[-1]]
    verdicts.append((f"cost per row, {sizes[-1]:,} / {sizes[0]:,}", flat, "<=", WANTED_FLAT))
    all_met = True
    for name, value, relation, wanted in verdicts:
        met = value >= wanted if relation == ">=" else value <= wanted
        print(f"{name:38}{value:6.2f}  wanted {relation} {wanted:g}: {'met' if met else 'MISSED'}")
        all_met = all_met and met
    return all_met


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, help="this size only")
    parser.add_argument("--quick", action="store_true", help="without the 1,000,000 events")
    parser.add_argument("--rounds", type=int, default=1, help="the median of so many")
    parser.add_argument("--measure", choices=["ours", "theirs", "fill"], help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--sizes", help=argparse.SUPPRESS)
    given = parser.parse_args()
    sizes = [10_000, 100_000] if given.quick else [10_000, 100_000, 1_000_000]
    if given.events:
        sizes = [given.events]
    if given.measure == "fill":
        asyncio.run(fill(given.url, [int(size) for size in given.sizes.split(",")]))
    elif given.measure:
        print(json.dumps(measure(given.measure, given.url, given.events)))
    else:
        with LocalNats() as server:
            text = ",".join(map(str, [WARM, *sizes]))
            # this process stays small: a child's ru_maxrss begins with its parent's size
            in_new_process("--measure", "fill", "--url", server.url, "--sizes", text)
            print(f"events of {len(SERIALIZER.serialize(event(1)))} bytes, {server!r}")
            met = report(sizes, given.rounds, server.url)
        sys.exit(not met)


if __name__ == "__main__":
    main()
