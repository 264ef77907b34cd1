"""What observing costs a bus, and how soon an event's mark is on the screen.

    python bench/observe.py                       both
    python bench/observe.py --no-browser          the cost only
    python bench/observe.py --rate 500 --seconds 20

Cost: the same events are published with `publish_many`, and a backlog of them is consumed by a
handler that does nothing, by a bus that nobody observes (twice: the difference of the two is what
the machine's noise is), by one with an observer that keeps the newest, and by one that `lab.record`
makes its frames of. Each round measures one after the other. The cost is the throughput lost where
this process bounds it: the part of the processor time of an event that observing takes, which
drifts less than rates do; the median of the rounds.

Marks: events are published and handled at `--rate` a second on the bus of a lab, whose delivery is
shown by a headless Chromium. The timeline's legend is renewed in the same stroke as its marks, so
that the moment in which it has counted n acks is the one in which the n-th event's mark is drawn.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import json
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from _page import opened
from varco_core.event.base import Event
from varco_nats_widgets import Lab
from varco_nats_widgets.record._bus import record_buses

from varco_nats.bus import NatsEventBus
from varco_nats.config import NatsEventBusSettings
from varco_nats.observe import DeliveryEvent, Observers
from varco_nats.server import LocalNats

ROOT = Path(__file__).parents[1]
WANTED_COST = 0.10
WANTED_P95_MS = 500
CHECKS = 2  # times that a message's way asks whether anybody observes
_BURST_SECONDS = 0.01
_SEEN = """() => {
    const legend = document.querySelector('.varco-lanes-legend');
    window.seen = [];
    new MutationObserver(() => {
        const keys = [...legend.children];
        const key = keys.find((item) => item.textContent.startsWith('acknowledged'));
        const acked = key?.querySelector('b');
        if (acked) window.seen.push([Date.now(), Number(acked.textContent.replaceAll(',', ''))]);
    }).observe(legend, {childList: true, characterData: true, subtree: true});
}"""


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


class Cost:
    """One server, and a bus for each measurement."""

    def __init__(self, url: str, events: list[Event]) -> None:
        self.settings = NatsEventBusSettings(servers=url)
        self.events = events
        self.buses = 0

    def watch(self, bus: NatsEventBus, how: str) -> Any:
        """What observes `bus`, as a context manager."""
        if how == "one observer":
            bus.observe(deque[DeliveryEvent](maxlen=1).append)
        if how == "lab.record":
            return nullcontext(record_buses([(bus, bus.config)], 10 * len(self.events)))
        return nullcontext()

    async def publish(self, how: str) -> tuple[float, float]:
        async with NatsEventBus(self.settings) as bus:
            with self.watch(bus, how):
                clock = Clock()
                await bus.publish_many([(event, "published") for event in self.events])
                return clock.per_event(len(self.events))

    async def consume(self, how: str) -> tuple[float, float]:
        handled = 0
        done = asyncio.Event()

        async def handle(_: Event) -> None:
            nonlocal handled
            handled += 1
            if handled == len(self.events):
                done.set()

        self.buses += 1
        settings = self.settings.model_copy(update={"durable_name": f"bench-{self.buses}"})
        bus = NatsEventBus(settings)
        with self.watch(bus, how):
            bus.subscribe(OrderPlaced, handle, channel="backlog")
            clock = Clock()
            async with bus:
                await done.wait()
                return clock.per_event(len(self.events))

    async def run(self, rounds: int) -> bool:
        async with NatsEventBus(self.settings) as bus:
            await bus.publish_many([(event, "backlog") for event in self.events])
        hows = ("nobody", "nobody again", "one observer", "lab.record")
        print(f"{'events/s':16}" + "".join(f"{how:>18}" for how in hows))
        works: dict[str, Callable[[str], Awaitable[tuple[float, float]]]]
        works = {"publish_many": self.publish, "consume": self.consume}
        most = 0.0
        for name, work in works.items():
            measured = np.array([[await work(how) for how in hows] for _ in range(rounds)])
            rates, used = np.median(measured[..., 0], axis=0), measured[..., 1]
            costs = 1 - np.median(used[:, :1] / used, axis=0)
            shown = (f"{r:,.0f} ({-c:+.0%})" for r, c in zip(rates[1:], costs[1:], strict=True))
            print(f"{name:16}{rates[0]:18,.0f}" + "".join(f"{cell:>18}" for cell in shown))
            most = max(most, costs[2])
        print(f"one observer costs at most {most:.0%} (wanted under {WANTED_COST:.0%})")
        print_idle(float(np.median(used[:, 0])))
        return most < WANTED_COST


class Clock:
    """Time and processor time since it was made."""

    def __init__(self) -> None:
        self._started = time.perf_counter(), time.process_time()

    def per_event(self, count: int) -> tuple[float, float]:
        """Events per second, and processor seconds for each."""
        elapsed, used = (
            time.perf_counter() - self._started[0],
            time.process_time() - self._started[1],
        )
        return count / elapsed, used / count


def print_idle(used: float) -> None:
    """What the question costs whether anybody observes, of `used` seconds for an event."""
    observers, count = Observers(), 1_000_000
    started = time.perf_counter()
    for _ in range(count):
        if observers.all:
            raise AssertionError
    check = (time.perf_counter() - started) / count
    print(
        f"nobody: {CHECKS} checks of {check * 1e9:.0f} ns for an event that takes "
        f"{used * 1e6:.1f} µs, {CHECKS * check / used:.1%}"
    )


def publish_steadily(lab: Lab, rate: int, seconds: float) -> str:
    """Have `lab` publish `rate` events a second; when each was acknowledged, in ms, as JSON."""
    events = make_events(int(rate * seconds))
    acked: list[float] = []
    lab.bus.observe(lambda event: event.kind == "acked" and acked.append(event.time * 1000))

    async def publish() -> None:
        started = time.perf_counter()
        sent = 0
        while sent < len(events):
            due = min(int((time.perf_counter() - started) * rate), len(events))
            await lab.bus.publish_many([(event, "orders") for event in events[sent:due]])
            sent = due
            await asyncio.sleep(_BURST_SECONDS)
        await lab.bus.drain()

    asyncio.run(publish())
    return json.dumps(acked)


async def marks(url: str, rate: int, seconds: float) -> bool:
    """Publish what a browser shows; how late its marks were."""
    from tests.waiting import until

    opening = f"""
import sys
sys.path.insert(0, {str(ROOT / "bench")!r})
from observe import Lab, OrderPlaced, publish_steadily
lab = Lab({url!r})
async def handle(event): pass
lab.bus.subscribe(OrderPlaced, handle, channel="orders")
delivery = lab.delivery(lab.bus)
delivery
"""
    running = f"""
from concurrent.futures import ThreadPoolExecutor
acked = ThreadPoolExecutor(1).submit(publish_steadily, lab, {rate}, {seconds}).result()
"""
    total = int(rate * seconds)
    async with opened(opening, running) as notebook:
        await notebook.run_cell(0)
        await notebook.page.evaluate(_SEEN)
        await notebook.run_cell(1, timeout=seconds + 60)

        async def all_seen() -> bool:
            return bool(await notebook.page.evaluate("window.seen.at(-1)?.[1]") == total)

        await until(all_seen, 30)
        seen = np.array(await notebook.page.evaluate("window.seen"))
        acked = json.loads(ast.literal_eval(await notebook.value("acked")))
    first = np.searchsorted(seen[:, 1], np.arange(1, total + 1))
    late = seen[first, 0] - np.sort(acked)
    p50, p95, worst = np.percentile(late, [50, 95, 100])
    print(f"{rate:,} events/s for {seconds:g} s, {total:,} marks in {len(seen):,} strokes")
    print(f"ack to mark: p50 {p50:.0f} ms, p95 {p95:.0f} ms (wanted < {WANTED_P95_MS}), ", end="")
    print(f"longest {worst:.0f} ms")
    return bool(p95 < WANTED_P95_MS)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rate", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--no-browser", action="store_true")
    given = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    with LocalNats() as server:
        print(f"{given.events:,} events, {given.rounds} rounds, {server!r}")
        done = asyncio.run(Cost(server.url, make_events(given.events)).run(given.rounds))
    if not given.no_browser:
        with LocalNats() as server:
            done = asyncio.run(marks(server.url, given.rate, given.seconds)) and done
    sys.exit(not done)


if __name__ == "__main__":
    main()
