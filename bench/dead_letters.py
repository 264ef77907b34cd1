"""Dead letters per second, beside the released package's queue.

    python bench/dead_letters.py [--entries 20000] [--rounds 3] [--looked-at 100000]

In each round 100 workers push `--entries` dead letters, one by one each, and varco-core's
`DlqRedriver.redrive_batch` replays them, on our queue and on the released package's: each is a
process of its own, and does its work in turn with the other (see `_sides.py`). Both have each
removal confirmed by the server. Then our queue is filled again and replayed by `Replayer`, plan and
log included. A ratio is the median of the rounds' ratios, as rates drift between rounds; that of
`Replayer` is to the released package's `DlqRedriver`, which does not move as ours gets faster, and
to ours where the released package cannot be installed. "CPU" is the time of the process alone.

The dead letters are those of a bad night (`varco_nats_widgets.sample.failures`), the same for all:
long tracebacks, events of 200 to 600 bytes. Left out are the 2 % whose payload is no event, as
`DlqRedriver` leaves them in the queue.

`Replayer` is bound by the one core that its process uses: 56 µs for each of 20,000 entries. The
plan takes 31 of them (9 for parsing what is read, 9 for decoding, 9 for the rows), the run 25 (5
for building the messages, 3 for taking the answers, 4 for the outcomes and the removal, 2 for the
log; the rest is asyncio and sockets), and for some 8 it waits for the server. Entries that a plan
does not take cost only parsing and decoding. The server takes 30 on the other core: 14 for reading,
16 for storing, looking and removing. These 16 become 45 where entries that stay are between those
that are replayed, as each is then removed by a request of its own.

Then a queue of `--looked-at` entries with realistic messages (`sample.fill_dead_letters`: 10,000
different error messages, most of them tracebacks of 1,000 characters) is looked at as a notebook
does, from processes of their own. In the widget: until it has sent its first groups to the browser,
until it has all of them; each kind of filter, a group that is chosen, and Clear, each with its page
of 200 entries; the memory of the index, as it counts it and as the process grew. Half of the CPU
until all groups is taking the entries off the wire and decoding them; the rest is what filters look
in (compressed), the rows, the causes of new messages, and the pictures meanwhile. Of the events no
columns are made: a condition reads what it names from their JSON, of a nested object only what is
on the way to it, which is half of what a condition takes. As a frame:
`lab.dead_letters.frame()`; "peak" is how far the process's largest resident size rose above its
resident size just before, "frame" is `memory_usage(deep=True)` of what came out. "CPU" is the time
of that process, without the server's.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import resource
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from uuid import uuid4

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
from varco_core.event.base import Event
from varco_core.event.dlq import DeadLetterEntry
from varco_core.event.redrive import DlqRedriver

from varco_nats import NatsDLQ, NatsEventBus, NatsEventBusSettings

WANTED_BESIDE_RELEASED = 1.0
WANTED_OF_REPLAYER = 8.0
WANTED_CPU = {"first groups in the widget": 2.0, "all groups in the widget": 6.0}
WANTED_SECONDS_OF_A_FILTER = 0.3
WANTED_SECONDS_OF_FRAME = 8.0
WANTED_MEMORY = 3.0
NAMES = {"push": "push", "redrive": "DlqRedriver", "replay": "Replayer"}
NIGHT_FIELDS = (
    *("channel", "handler_name", "error_type", "error_message", "attempts", "source_ref"),
    *("tenant_id", "first_failed_at", "last_failed_at"),
)
PUSHES_AT_ONCE = 100
REDRIVEN_AT_ONCE = 500  # the released package takes at most 1,000


class OrderPlaced(Event):
    __event_type__ = "order.placed"

    order_id: str
    customer: str
    total: float
    currency: str = "EUR"
    note: str = "left at the door, with the neighbours"


def make_entries(count: int) -> list[DeadLetterEntry]:
    return [
        DeadLetterEntry(
            event=OrderPlaced(order_id=f"o-{n:08}", customer=f"c-{n % 977:05}", total=n / 7),
            channel=f"orders.{n % 4}",
            handler_name="OrderConsumer.on_order",
            error_type="TimeoutError",
            error_message=f"warehouse did not answer within {n % 30} s",
            attempts=5,
        )
        for n in range(count)
    ]


def write_night(path: Path, count: int) -> None:
    """Write the dead letters of a bad night, one a line, as JSON that each side can read."""
    from varco_nats_widgets.sample import failures

    events = (entry for entry in failures(count + count // 20 + 100) if entry.payload[:1] == b"{")
    with path.open("w") as file:
        for entry in islice(events, count):
            fields = {name: getattr(entry, name) for name in NIGHT_FIELDS}
            fields["payload"] = entry.payload.decode()
            file.write(json.dumps(fields, default=str) + "\n")


def read_night(path: Path) -> list[DeadLetterEntry]:
    """The dead letters in that file, with their events."""
    entries = []
    classes: dict[str, type[Event]] = {}
    for line in path.read_text().splitlines():
        fields = json.loads(line)
        event = json.loads(fields.pop("payload"))
        name = event.pop("__event_type__")
        if name not in classes:  # it takes any fields, as the event's own class would take its own
            body = {"__event_type__": name, "__module__": __name__}
            classes[name] = type(name, (Event,), body, extra="allow")
        for moment in ("first_failed_at", "last_failed_at"):
            fields[moment] = datetime.fromisoformat(fields[moment])
        entries.append(DeadLetterEntry(event=classes[name].model_validate(event), **fields))
    return entries


Work = Callable[[], Awaitable[object]]


async def rate(count: int, work: Work) -> float:
    started = time.perf_counter()
    await work()
    return count / (time.perf_counter() - started)


async def push_all(dlq: NatsDLQ, entries: Sequence[DeadLetterEntry]) -> None:
    """Push new copies of the entries, by many workers that push one after the other."""
    fresh = (replace(entry, entry_id=uuid4()) for entry in entries)

    async def worker() -> None:
        for entry in fresh:
            await dlq.push(entry)

    await asyncio.gather(*(worker() for _ in range(PUSHES_AT_ONCE)))


class QueueSide:
    """Works with the `varco_nats` of its environment, on a queue of its own."""

    def __init__(self, name: str, url: str) -> None:
        self._settings = NatsEventBusSettings(
            servers=url, stream_name=f"bench-{name}", subject_prefix=f"bench-{name}"
        )
        self._root = f"dead-{name}"

    async def push(self, path: str) -> Took:
        entries = read_night(Path(path))
        async with NatsDLQ(self._settings, dlq_subject=self._root) as dlq:
            watch = Watch()
            await push_all(dlq, entries)
            took = watch.took()
            assert await dlq.count() == len(entries)
        return took

    async def redrive(self, count: int) -> Took:
        async with (
            NatsDLQ(self._settings, dlq_subject=self._root) as dlq,
            NatsEventBus(self._settings) as bus,
        ):
            watch = Watch()
            redriver, left = DlqRedriver(dlq, bus), count
            while left:
                report = await redriver.redrive_batch(limit=min(left, REDRIVEN_AT_ONCE))
                assert report.succeeded, f"{report.failed} of {report.attempted} failed"
                left -= report.succeeded
            took = watch.took()
            assert await dlq.count() == 0
        return took

    async def replay(self, count: int) -> Took:
        from varco_nats import Replayer

        async with (
            NatsDLQ(self._settings, dlq_subject=self._root) as dlq,
            Replayer(dlq) as replayer,
        ):
            watch = Watch()
            report = await replayer.run(await replayer.plan(), confirm="nobody")
            took = watch.took()
            assert len(report.rows) == count, report
            assert await dlq.count() == 0, report
        return took


class Bench:
    """One server, one queue."""

    def __init__(self, url: str, entries: Sequence[DeadLetterEntry]) -> None:
        self.settings = NatsEventBusSettings(servers=url)
        self.entries = entries

    async def push(self) -> None:
        await push_all(self.dlq, self.entries)

    async def list_entries(self) -> None:
        listed = await self.dlq.list_entries(limit=len(self.entries))
        assert len(listed) == len(self.entries)

    async def count_by_channel(self) -> None:
        counts = await self.dlq.count_by_channel()
        assert sum(counts.values()) == len(self.entries)

    async def plan(self) -> None:
        assert len(await self.replayer.plan()) == len(self.entries)

    async def run(self) -> None:
        from varco_nats import Replayer

        count = len(self.entries)
        async with NatsDLQ(self.settings) as self.dlq, Replayer(self.dlq) as self.replayer:
            await self.push()
            for name, work in (
                ("list_entries", self.list_entries),
                ("count_by_channel", self.count_by_channel),
                ("plan", self.plan),
            ):
                print(f"{name:24}{await rate(count, work):12,.0f} entries/s")


def beside_released(url: str, against: Path | None, night: Path, count: int, rounds: int) -> bool:
    """Print what pushing and replaying take; whether ours is as fast as wanted."""
    sides = [Side(name, python, __file__, url) for name, python in interpreters(against).items()]
    took: dict[tuple[str, str], list[Took]] = {}
    try:
        for number in range(rounds):
            for side in sides if number % 2 else reversed(sides):
                for work, given in (("push", str(night)), ("redrive", count)):
                    took.setdefault((work, side.name), []).append(side.do(work, given))
            sides[0].do("push", str(night))
            took.setdefault(("replay", OURS), []).append(sides[0].do("replay", count))
    finally:
        for side in sides:
            side.close()

    def times(work: str, other: tuple[str, str]) -> float:
        ours = took[work, OURS]
        return statistics.median(
            b.seconds / a.seconds for a, b in zip(ours, took[other], strict=True)
        )

    met = True
    yardstick = RELEASED if ("redrive", RELEASED) in took else OURS
    for (work, name), rows in sorted(took.items()):
        said = ""
        if work == "replay":
            ratio, wanted = times(work, ("redrive", yardstick)), WANTED_OF_REPLAYER
            said = f", {ratio:.2f} times DlqRedriver, {yardstick} (wanted {wanted:g})"
            met = met and ratio >= wanted
        elif name != OURS:
            ratio = times(work, (work, name))
            said = f", ours is {ratio:.2f} times that"
            if name == RELEASED:
                said += f" (wanted {WANTED_BESIDE_RELEASED:g})"
                met = met and ratio >= WANTED_BESIDE_RELEASED
        rate = statistics.median(count / row.seconds for row in rows)
        cpu = statistics.median(row.cpu / count for row in rows)
        row = f"{f'{NAMES[work]}, {name}':24}{rate:12,.0f} entries/s, {cpu * 1e6:.0f} µs CPU each"
        print(row + said, flush=True)
    return met


class Looked(NamedTuple):
    """What a look at the queue took."""

    seconds: float
    cpu: float

    @classmethod
    def at(cls, look: Callable[[], object]) -> Looked:
        cpu, started = time.process_time(), time.perf_counter()
        look()
        return cls(time.perf_counter() - started, time.process_time() - cpu)


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def look_at_widget(url: str, count: int) -> dict[str, Any]:
    """Look at the queue in the widget; for a process that does nothing else."""
    import pandas as pd
    from varco_nats_widgets import Lab
    from varco_nats_widgets.dead_letters import _dead_letters

    _dead_letters.in_notebook = lambda: True
    with Lab(url) as lab:
        letters = lab.dead_letters
        letters.frame(limit=1000)
        groups, sent, whole = letters.view().groups, threading.Event(), threading.Event()
        groups.observe(lambda change: change["new"]["total"] and sent.set(), "_window")
        letters.observe(lambda change: change["new"] == count and whole.set(), "matching")
        before = resident()
        cpu, started = time.process_time(), time.perf_counter()
        letters()
        sent.wait()
        found: dict[str, Any] = {
            "first groups in the widget": Looked(
                time.perf_counter() - started, time.process_time() - cpu
            )
        }
        whole.wait()
        found["all groups in the widget"] = Looked(
            time.perf_counter() - started, time.process_time() - cpu
        )
        letters.newest()  # waits for the end of reading
        gc.collect()
        found["memory"] = [
            (resident() - before) / count,
            letters._browser.queue.index.nbytes / count,
        ]
        largest, handlers = letters.group_table.index[:3], letters.choices["handler"]
        since = letters.group_table["first_seen"].min() + pd.Timedelta(hours=3)
        filters: dict[str, list[dict[str, Any]]] = {
            "channel": [{"channel": name} for name in letters.channels],
            "error_type": [{"error_type": name} for name in letters.choices["error_type"]],
            "handler": [{"handler": name} for name in handlers],
            "event_type": [{"event_type": name} for name in letters.choices["event_type"]],
            "tenant_id": [{"tenant_id": name} for name in letters.choices["tenant_id"]],
            "source": [{"source": "consumer"}, {"source": "job"}],
            "group": [{"group": name} for name in largest],
            "last, since, until": [{"last": "3650d"}, {"since": since}, {"until": since}],
            "error": [{"error": text} for text in ("deadlock", "e", "wms-7", "nowhere at all")],
            "text": [{"text": text} for text in ("torino", "e", "o-1234", "nowhere at all")],
            "condition": [
                {"condition": "total > 100"},
                {"condition": 'customer.name contains "a" and total < 0'},
                {"condition": 'error_type == "ReadTimeout" and attempts == 5'},
                {"condition": 'country in ("france", "italy")'},
            ],
        }
        for name, several in filters.items():
            for given in several:
                took = Looked.at(lambda given=given: letters.filter(**given))
                found.setdefault("filters", {}).setdefault(name, []).append(took)
                cleared = Looked.at(letters.filter)
                found["filters"].setdefault("Clear", []).append(cleared)
        for name in largest:
            took = Looked.at(lambda name=name: letters.choose(name))
            found["filters"].setdefault("a group is chosen", []).append(took)
    return found


def look_at_frame(url: str, count: int) -> dict[str, Any]:
    """Load the queue as a frame; for a process that does nothing else."""
    from varco_nats_widgets import Lab

    with Lab(url) as lab:
        lab.dead_letters.frame(limit=1000)
        before, frames = resident(), []
        took = Looked.at(lambda: frames.append(lab.dead_letters.frame(progress=False)))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
        [frame] = frames
        assert len(frame) == count, len(frame)
        size = int(frame.memory_usage(deep=True).sum())
    return {"frame": took, "peak": peak, "size": size}


LOOKS = {"widget": look_at_widget, "frame": look_at_frame}


def looked_at(url: str, count: int) -> None:
    from varco_nats_widgets import Lab
    from varco_nats_widgets.sample import fill_dead_letters

    with Lab(url) as lab:
        fill_dead_letters(lab, count, force=True)
    found: dict[str, Any] = {}
    for what in LOOKS:
        command = [sys.executable, __file__, "--look", what, "--url", url]
        command += ["--looked-at", str(count)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        found |= json.loads(done.stdout)
    for name, wanted in WANTED_CPU.items():
        seconds, cpu = found[name]
        print(f"{name:28}{seconds:8.2f} s, {cpu:.2f} s of CPU (wanted under {wanted:g})")
    for name, several in found["filters"].items():
        seconds, worst = statistics.median(s for s, _ in several), max(s for s, _ in several)
        cpu = statistics.median(c for _, c in several)
        print(
            f"{name:28}{seconds:8.3f} s, {cpu:.3f} s of CPU, at worst {worst:.3f} s of "
            f"{len(several)} (wanted under {WANTED_SECONDS_OF_A_FILTER:g})"
        )
    grown, counted = found["memory"]
    print(
        f"{'memory of the index':28}{counted:8.0f} bytes an entry, the process grew by {grown:.0f}"
    )
    seconds, cpu = found["frame"]
    print(
        f"{'frame':28}{seconds:8.2f} s, {cpu:.2f} s of CPU "
        f"(wanted under {WANTED_SECONDS_OF_FRAME:g} s)"
    )
    size, peak = found["size"], found["peak"]
    print(
        f"{'memory of the frame':28}{size / 1e6:8.1f} MB, peak {peak / 1e6:.1f} MB, "
        f"{peak / size:.1f} times (wanted under {WANTED_MEMORY:g})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--entries", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--looked-at", type=int, default=100_000)
    parser.add_argument("--look", choices=LOOKS, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    add_arguments(parser)
    arguments = parser.parse_args()
    if arguments.side:
        work_as_told(QueueSide(*arguments.side))
        return
    if arguments.look:
        print(json.dumps(LOOKS[arguments.look](arguments.url, arguments.looked_at)))
        return
    from varco_nats.server import LocalNats

    count, rounds = arguments.entries, arguments.rounds
    with LocalNats() as server, TemporaryDirectory() as folder:
        print(f"{count:,} dead letters, {rounds} rounds, {server!r}")
        write_night(night := Path(folder) / "night.jsonl", count)
        met = beside_released(server.url, arguments.against, night, count, rounds)
        asyncio.run(Bench(server.url, read_night(night)).run())
    with LocalNats() as server:
        print(f"{arguments.looked_at:,} dead letters, looked at")
        looked_at(server.url, arguments.looked_at)
    sys.exit(not met)


if __name__ == "__main__":
    main()
