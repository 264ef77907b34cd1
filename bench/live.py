"""A live frame shown in JupyterLab under a steady stream: nothing lost, soon in `.df`, memory flat.

    python bench/live.py                          5,000 events a second for 60 s
    python bench/live.py --rate 2000 --seconds 20
    python bench/live.py --no-browser             shown to nobody

A process of its own publishes. A cell looks at `.df` about 60 times a second and notes when each
event was seen there first: latency is from before the publish to after `.df`. Above it, the frame
is shown by a headless Chromium, whose main thread tells of every task longer than 50 ms.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import nats
import numpy as np
from _page import LONG_TASKS, opened
from nats.js.api import StreamConfig
from varco_nats_widgets import Lab

from varco_nats.server import LocalNats

WANTED_P99_MS = 50
WANTED_TASK_MS = 200
WANTED_GROWTH = 0.1  # of memory, from when the frame is full to the end
ROOT = Path(__file__).parents[1]
_BURST_SECONDS = 0.01
_LOOK_SECONDS = 0.01
_SAMPLE_SECONDS = 5
FULL_SECONDS = 15


def payload(number: int) -> bytes:
    return json.dumps(
        {
            "__event_type__": "order.placed",
            "event_id": f"0d5c8a3e-0000-4000-8000-{number:012}",
            "timestamp": "2026-05-01T10:00:00.123456Z",
            "number": number,
            "sent_ns": time.time_ns(),
            "customer": f"c-{number % 977:05}",
            "total": number / 7,
            "note": "left at the door, with the neighbours",
        }
    ).encode()


async def publish(url: str, rate: int, seconds: float) -> None:
    """Publish `rate` events a second in bursts, as evenly as the clock allows."""
    nc = await nats.connect(url)
    started = time.perf_counter()
    sent, total = 0, int(rate * seconds)
    while sent < total:
        due = min(int((time.perf_counter() - started) * rate), total)
        for number in range(sent, due):
            await nc.publish("varco.orders", payload(number))
        sent = max(sent, due)
        await asyncio.sleep(_BURST_SECONDS)
    await nc.flush()
    print(f"published {sent:,} in {time.perf_counter() - started:.1f} s")
    await nc.close()


def memory_mb() -> float:
    """Resident memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def watch(live: Any, rate: int, seconds: float, url: str) -> str:
    """Have events published and look at `live.df` until all came; what was seen, as JSON."""
    total = int(rate * seconds)
    command = [sys.executable, __file__, "--publish", url]
    command += ["--rate", str(rate), "--seconds", str(seconds)]
    publisher = subprocess.Popen(command)
    latencies: list[np.ndarray] = []
    memory: list[float] = []
    seen, looking = 0, 0.0
    worked = time.process_time()
    started = sampled = time.perf_counter()
    while seen < total and time.perf_counter() < started + seconds + 30:
        time.sleep(_LOOK_SECONDS)
        before = time.perf_counter()
        frame = live.df
        now = time.time_ns()
        looking += time.perf_counter() - before
        new = frame[frame.index > seen] if len(frame) else frame
        if len(new):
            latencies.append((now - new["sent_ns"].to_numpy()) / 1e6)
            seen = int(new.index[-1])
        if time.perf_counter() - sampled > _SAMPLE_SECONDS:
            sampled = time.perf_counter()
            memory.append(memory_mb())
    elapsed = time.perf_counter() - started
    cpu = time.process_time() - worked
    publisher.wait()
    found = np.concatenate(latencies)
    seen_by = {
        "received": live.received,
        "gaps": live.gaps,
        "rows": len(found),
        "latency_ms": np.percentile(found, [50, 99, 100]).tolist(),
        "memory_mb": memory,
        "cpu": cpu / elapsed,
        "looking": looking / elapsed,
    }
    return json.dumps(seen_by)


async def shown(url: str, rate: int, seconds: float) -> tuple[dict[str, Any], list[float]]:
    """What a cell saw of a frame that a browser shows, and the page's long tasks in ms."""
    cells = (
        f"import sys\nsys.path.insert(0, {str(ROOT / 'bench')!r})\n"
        "from live import Lab, watch\n"
        f"lab = Lab({url!r})\nlive = lab.live('orders')\nlive",
        f"seen = watch(live, {rate}, {seconds}, {url!r})",
    )
    async with opened(*cells) as notebook:
        await notebook.run_cell(0)
        await notebook.page.evaluate(LONG_TASKS)
        await notebook.run_cell(1, timeout=seconds + 60)
        seen = json.loads(ast.literal_eval(await notebook.value("seen")))
        tasks = await notebook.page.evaluate("window.longTasks")
    return seen, tasks


async def run(url: str, rate: int, seconds: float, *, browser: bool) -> bool:
    nc = await nats.connect(url)
    await nc.jetstream().add_stream(StreamConfig(name="varco-events", subjects=["varco.>"]))
    await nc.close()
    tasks: list[float] = []
    if browser:
        seen, tasks = await shown(url, rate, seconds)
    else:
        with Lab(url) as lab:
            seen = json.loads(watch(lab.live("orders"), rate, seconds, url))
    p50, p99, worst = seen["latency_ms"]
    total = int(rate * seconds)
    whole = seen["received"] == seen["rows"] == total and not seen["gaps"]
    print(f"of {total:,}: received {seen['received']:,}, {seen['gaps']} gaps, ", end="")
    print(f"{seen['rows']:,} rows seen in .df, each at its first look")
    print(
        f"publish to .df: p50 {p50:.1f} ms, p99 {p99:.1f} ms (wanted < {WANTED_P99_MS}), ", end=""
    )
    print(f"longest {worst:.1f} ms")
    memory = seen["memory_mb"]
    full = min(max(1, round(FULL_SECONDS / _SAMPLE_SECONDS)), len(memory)) - 1
    growth = memory[-1] / memory[full] - 1 if memory else 0.0
    print(
        f"memory every {_SAMPLE_SECONDS} s, MB: {' '.join(f'{size:.0f}' for size in memory)}; ",
        end="",
    )
    print(f"from {FULL_SECONDS} s on {growth:+.1%} (wanted < {WANTED_GROWTH:.0%})")
    print(f"the process: {seen['cpu']:.0%} of a core; {seen['looking']:.0%} of the time in .df")
    longest = max(tasks, default=0)
    if browser:
        print(f"the page: {len(tasks)} tasks over 50 ms, longest {longest:.0f} ms ", end="")
        print(f"(wanted < {WANTED_TASK_MS})")
    quick = p99 < WANTED_P99_MS and longest < WANTED_TASK_MS
    return whole and quick and growth < WANTED_GROWTH


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rate", type=int, default=5000)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--no-browser", action="store_true")
    parser.add_argument("--publish", metavar="URL", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.publish:
        asyncio.run(publish(given.publish, given.rate, given.seconds))
        return
    sys.path.insert(0, str(ROOT))
    with LocalNats() as server:
        print(f"{given.rate:,} events/s of {len(payload(1))} bytes for {given.seconds:g} s")
        done = asyncio.run(run(server.url, given.rate, given.seconds, browser=not given.no_browser))
    sys.exit(not done)


if __name__ == "__main__":
    main()
