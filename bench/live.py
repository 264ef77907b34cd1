"""A displayed live frame under a steady stream: nothing lost, soon in `.df`, memory flat.

    python -m bench.live --rate 5000 --seconds 60

A process of its own publishes; this one looks at `.df` about 60 times a second
and notes when each event was seen there first. Latency is from before the publish to after `.df`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import nats
import numpy as np
from nats.js.api import StreamConfig
from varco_nats_widgets._loop import LoopThread
from varco_nats_widgets.live import LiveFrame, live_query

from varco_nats._client import connect
from varco_nats.config import NatsEventBusSettings
from varco_nats.server import LocalNats

WANTED_P99_MS = 50
_BURST_SECONDS = 0.01
_LOOK_SECONDS = 0.01
_SAMPLE_SECONDS = 5


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
            await nc.publish("live.orders", payload(number))
        sent = max(sent, due)
        await asyncio.sleep(_BURST_SECONDS)
    await nc.flush()
    print(f"published {sent:,} in {time.perf_counter() - started:.1f} s")
    await nc.close()


def memory_mb() -> float:
    """Resident memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def watch(live: LiveFrame, total: int, seconds: float) -> tuple[np.ndarray, list[float], float]:
    """Look until all came: latencies in ms, memory over time, and the share of time in `.df`."""
    latencies: list[np.ndarray] = []
    memory: list[float] = []
    seen, looking = 0, 0.0
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
    return np.concatenate(latencies), memory, looking / elapsed


def run(url: str, rate: int, seconds: float) -> bool:
    settings = NatsEventBusSettings(servers=url, stream_name="live", subject_prefix="live")
    loop = LoopThread("Lab(bench)")
    connection = loop.run(connect(settings, name="bench-live"))
    stream = StreamConfig(name="live", subjects=["live.>"])
    loop.run(connection.js.add_stream(stream))
    live = LiveFrame(loop, connection, settings, live_query("orders"))
    loop.run(live.open())
    live._repr_mimebundle_()  # displayed: the view is drawn, as for a browser
    total = int(rate * seconds)
    command = [sys.executable, "-m", "bench.live", "--publish", url]
    command += ["--rate", str(rate), "--seconds", str(seconds)]
    publisher = subprocess.Popen(command)
    cpu = time.process_time()
    latencies, memory, share = watch(live, total, seconds)
    cpu = time.process_time() - cpu
    publisher.wait()
    live.stop()
    p50, p99, worst = np.percentile(latencies, [50, 99, 100])
    lost = total - live.received
    print(f"received {live.received:,} of {total:,}: {lost} lost, {live.gaps} gaps")
    print(f"rows seen in .df at their first look: {len(latencies):,}")
    print(f"publish to .df: p50 {p50:.1f} ms, p99 {p99:.1f} ms (wanted {WANTED_P99_MS}), ", end="")
    print(f"longest {worst:.1f} ms")
    print(f"memory every {_SAMPLE_SECONDS} s, MB: {' '.join(f'{one:.0f}' for one in memory)}")
    print(f"this process: {cpu / seconds:.0%} of a core; {share:.0%} of the time in .df")
    if live._view is not None:
        live._view.close()
    loop.run(connection.close())
    loop.close()
    return lost == 0 and live.gaps == 0 and p99 < WANTED_P99_MS


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rate", type=int, default=5000)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--publish", metavar="URL", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.publish:
        asyncio.run(publish(arguments.publish, arguments.rate, arguments.seconds))
        return
    with LocalNats() as server:
        print(f"{arguments.rate:,} events/s of {len(payload(1))} bytes for {arguments.seconds:g} s")
        sys.exit(0 if run(server.url, arguments.rate, arguments.seconds) else 1)


if __name__ == "__main__":
    main()
