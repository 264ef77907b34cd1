"""A channel into a DataFrame: rows per second and memory of `lab.frame` beside other ways.

    python bench/frames.py            10,000, 100,000 and 1,000,000 events of each kind
    python bench/frames.py --quick    without the 1,000,000
    python bench/frames.py --events 50000 --rounds 3 --kind nested

Kinds: `flat` events of ten fields, `nested` ones with objects in objects, events of twenty `types`
with fields of their own, and `wide` ones of 50 fields. The other ways:

- nats-py, the obvious way (for flat events): `pull_subscribe`, `fetch(500)`, an ack for each
  message, `JsonEventSerializer` and `pd.DataFrame` of the events' `model_dump()`.
- natsrpy, a client in Rust, with msgspec and pandas, without acks: `natsrpy_frames.py`, in an
  environment of its own, which is made when it is not there.

Each measurement is a process of its own, which connects and loads a small channel first, so that
imports and the first connection count for no side; all read the same stream of the same local
server, one after the other.

CPU is that of the measured process, all threads, without the server's.

Start: the CPU time of a process from its imports to its first frame of 1,000 events, beside one
that imports pandas, ipywidgets, nats-py and varco-core's events and reads with nats-py, in turn.

Memory: "peak" is how far the process's largest resident size (`ru_maxrss`) rose above its
resident size just before the load; "frame" is `memory_usage(deep=True)` of the frame that came
out, and "ratio" the first divided by the second. Beside the frame the peak has what does not grow
with it, 12 to 30 MB: up to three pages of messages, the blocks that are being parsed, and what the
C library keeps of freed memory for each of the five threads. Below 100,000 events that is larger
than the frame, so that the ratio says little.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import resource
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from uuid import UUID

import nats
import pandas as pd
from _sides import python_with
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.api import StreamConfig
from varco_core.event.base import Event
from varco_core.event.serializer import JsonEventSerializer
from varco_nats_widgets import Lab

from varco_nats.server import LocalNats

SERIALIZER = JsonEventSerializer()
NATSRPY = "0.1.4"
_SAME = [f"{name}=={version(name)}" for name in ("msgspec", "pandas", "pyarrow")]
FLAT = "flat"
KINDS = (FLAT, "nested", "types", "wide")
TYPES = 20
WARM = 1000
WANTED_SPEED = 1.5  # of natsrpy's
WANTED_START = 1.15  # times that of the imports by hand
START_ROUNDS = 7
WANTED_MEMORY = 2.0
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


def payload(kind: str, number: int) -> bytes:
    placed = event(number)
    if kind == FLAT:
        return SERIALIZER.serialize(placed)
    head = {
        "__event_type__": f"{kind}.measured",
        "event_id": str(placed.event_id),
        "timestamp": placed.timestamp.isoformat(),
    }
    if kind == "nested":
        position = {"lat": 48 + number % 9973 / 7e4, "lon": 11 + number % 9967 / 7e4}
        firmware = {"version": f"1.{number % 7}", "channel": "stable"}
        device = {"id": f"d-{number % 997:04}", "firmware": firmware}
        body: dict[str, object] = {"device": device, "position": position, "ok": number % 50 > 0}
    elif kind == "types":
        mine = number * 7 % TYPES
        head["__event_type__"] = f"types.measured.{mine}"
        body = {"device": f"d-{number % 997:04}", "count": number, f"own_{mine}": number / 7}
        body |= {f"text_{mine}": f"text {number % 97}", f"on_{mine % 5}": number % 3 == 0}
    else:
        body = {}
        for field in range(0, 48, 4):
            body[f"count_{field}"] = number + field
            body[f"level_{field}"] = round((number * 7 + field) % 100_003 / 7, 3)
            body[f"name_{field}"] = f"name {number % 997}"
            body[f"on_{field}"] = (number + field) % 3 == 0
    return json.dumps(head | body).encode()


def channel(kind: str, size: int) -> str:
    return f"{kind}-{size}"


async def fill(url: str, kinds: list[str], sizes: list[int]) -> None:
    nc = await nats.connect(url)
    js = nc.jetstream()
    await js.add_stream(StreamConfig(name="varco-events", subjects=["varco.>"]))
    for kind, size in itertools.product(kinds, sizes):
        subject = f"varco.{channel(kind, size)}"
        for number in range(size):
            if number % 2000 == 1999 or number == size - 1:
                await js.publish(subject, payload(kind, number))  # those before it are stored too
            else:
                await nc.publish(subject, payload(kind, number))
    await nc.close()


async def load_theirs(url: str, count: int) -> pd.DataFrame:
    nc = await nats.connect(url)
    js = nc.jetstream()
    name = f"plain-{time.time_ns()}"
    sub = await js.pull_subscribe(f"varco.{channel('flat', count)}", durable=name)
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


def measure(side: str, url: str, kind: str, count: int) -> dict[str, float]:
    """Load once; for a process that does nothing else."""
    with Lab(url) as lab:

        def load(rows: int) -> pd.DataFrame:
            if side == "ours":
                return lab.frame(channel(kind, rows), max_bytes=None)
            return asyncio.run(load_theirs(url, rows))

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


def in_new_process(*arguments: str, python: str = sys.executable) -> str:
    ended = subprocess.run([python, *arguments], check=False, capture_output=True, text=True)
    if ended.returncode:
        sys.exit(f"{' '.join([python, *arguments])}\n{ended.stderr}")
    return ended.stdout


def measured(side: str, url: str, kind: str, size: int, rust: Path | None) -> dict[str, float]:
    if side == "natsrpy":
        subjects = [(f"varco.{channel(kind, rows)}", str(rows)) for rows in (size, WARM)]
        script = Path(__file__).with_name("natsrpy_frames.py")
        text = in_new_process(str(script), url, *itertools.chain(*subjects), python=str(rust))
    else:
        options = ("--url", url, "--kind", kind, "--events", str(size))
        text = in_new_process(__file__, "--measure", side, *options)
    found: dict[str, float] = json.loads(text)
    return found


def report(kinds: list[str], sizes: list[int], rounds: int, url: str) -> bool:
    """Measure and print; whether all that is wanted was met."""
    rust = python_with(f"natsrpy-{NATSRPY}", [f"natsrpy=={NATSRPY}", *_SAME])
    print(f"{'':18}{'rows/s':>11}{'CPU us/row':>12}{'peak MB':>10}{'frame MB':>10}{'ratio':>7}")
    verdicts = []
    for kind in kinds:
        rates: dict[int, float] = {}
        sides = ["ours"]
        sides += ["natsrpy"] if rust else []
        sides += ["nats-py"] if kind == FLAT else []
        for size in sizes:
            print(f"{kind}, {size:,} events")
            runs = [
                {side: measured(side, url, kind, size, rust) for side in sides}
                for _ in range(rounds)
            ]
            for side in sides:
                its = {
                    key: statistics.median(run[side][key] for run in runs) for key in runs[0][side]
                }
                ratio = its["peak"] / its["frame"]
                print(
                    f"  {side:16}{its['rate']:11,.0f}{its['cpu']:12.1f}{its['peak'] / 1e6:10,.1f}"
                    f"{its['frame'] / 1e6:10,.1f}{ratio:7.2f}",
                    flush=True,
                )
                if side == "ours":
                    rates[size] = its["rate"]
                    if size >= 100_000:
                        verdicts.append((f"{kind}, {size:,}: peak", ratio, "<=", WANTED_MEMORY))
            for side in sides[1:]:
                faster = statistics.median(run["ours"]["rate"] / run[side]["rate"] for run in runs)
                print(f"  {faster:.2f} times as fast as {side}")
                if side == "natsrpy" and size >= 100_000:
                    verdicts.append((f"{kind}, {size:,}: speed", faster, ">=", WANTED_SPEED))
        flat = rates[sizes[0]] / rates[sizes[-1]]
        verdicts.append((f"{kind}: cost per row, last / first", flat, "<=", WANTED_FLAT))
    all_met = True
    for name, value, relation, wanted in verdicts:
        met = value >= wanted if relation == ">=" else value <= wanted
        print(f"{name:38}{value:6.2f}  wanted {relation} {wanted:g}: {'met' if met else 'MISSED'}")
        all_met = all_met and met
    return all_met


_OURS_FIRST = """
from varco_nats_widgets import Lab
with Lab({url!r}) as lab:
    assert len(lab.frame({channel!r})) == {rows}
"""
_BY_HAND_FIRST = """
import asyncio, json
import ipywidgets, nats, pandas
from varco_core.event import Event
async def load():
    nc = await nats.connect({url!r})
    sub = await nc.jetstream().pull_subscribe("varco." + {channel!r})
    rows = []
    while len(rows) < {rows}:
        for message in await sub.fetch(500):
            rows.append(json.loads(message.data))
            await message.ack()
    await sub.unsubscribe()
    await nc.close()
    return pandas.DataFrame(rows)
assert len(asyncio.run(load())) == {rows}
"""


def report_start(url: str) -> bool:
    """Measure and print what it costs to come to the first frame; whether that is as wanted."""
    codes = {"ours": _OURS_FIRST, "by hand": _BY_HAND_FIRST}
    seconds: dict[str, list[float]] = {side: [] for side in codes}
    told = "import time\nprint(time.process_time())"
    for number in range(-1, START_ROUNDS):  # the first is for the disk's cache
        for side, code in codes.items():
            script = code.format(url=url, channel=channel(FLAT, WARM), rows=WARM) + told
            took = float(in_new_process("-c", script))
            if number >= 0:
                seconds[side].append(took)
    for side, its in seconds.items():
        print(f"  start, {side:10}{statistics.median(its):8.2f} s of CPU")
    ratios = [ours / theirs for ours, theirs in zip(*seconds.values(), strict=True)]
    times = statistics.median(ratios)
    met = times <= WANTED_START
    said = "met" if met else "MISSED"
    print(f"{'start, times that by hand':38}{times:6.2f}  wanted <= {WANTED_START:g}: {said}")
    return met


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, help="this size only")
    parser.add_argument("--kind", choices=KINDS, help="this kind only")
    parser.add_argument("--quick", action="store_true", help="without the 1,000,000 events")
    parser.add_argument("--rounds", type=int, default=1, help="the median of so many")
    parser.add_argument("--measure", choices=["ours", "nats-py", "fill"], help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--sizes", help=argparse.SUPPRESS)
    given = parser.parse_args()
    sizes = [10_000, 100_000] if given.quick else [10_000, 100_000, 1_000_000]
    if given.events:
        sizes = [given.events]
    kinds = [given.kind] if given.kind else [*KINDS]
    if given.measure == "fill":
        asyncio.run(fill(given.url, kinds, [int(size) for size in given.sizes.split(",")]))
    elif given.measure:
        print(json.dumps(measure(given.measure, given.url, given.kind, given.events)))
    else:
        with LocalNats() as server:
            text = ",".join(map(str, [WARM, *sizes]))
            only = ("--kind", given.kind) if given.kind else ()
            # this process stays small: a child's ru_maxrss begins with its parent's size
            filling = ("--measure", "fill", "--url", server.url, "--sizes", text)
            in_new_process(__file__, *filling, *only)
            sizes_of = ", ".join(f"{kind} {len(payload(kind, 1))}" for kind in kinds)
            print(f"bytes of an event: {sizes_of}; {server!r}")
            met = report(kinds, sizes, given.rounds, server.url)
            if FLAT in kinds:
                met = report_start(server.url) and met
        sys.exit(not met)


if __name__ == "__main__":
    main()
