"""The other side of `bench/frames.py`: natsrpy (a client in Rust), msgspec and pandas.

It runs in an environment of its own, which `frames.py` makes, and is given a url, a subject and a
count. It prints how long the frame took.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pandas as pd
from natsrpy import Nats
from natsrpy.js import AckPolicy, PullConsumerConfig

FETCH = 5000


def flat(event: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in event.items():
        if type(value) is dict:
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value
    return found


async def load(url: str, subject: str, count: int) -> pd.DataFrame:
    parts = urlsplit(url)
    nats = Nats([f"{parts.hostname}:{parts.port}"], token=parts.username)
    await nats.startup()
    stream = await (await nats.jetstream()).streams.get("varco-events")
    name = f"rust-{time.time_ns()}"
    consumer = await stream.consumers.create(
        PullConsumerConfig(
            name=name, ack_policy=AckPolicy.NONE, filter_subject=subject, memory_storage=True
        )
    )
    decoder = msgspec.json.Decoder()
    seqs: list[int] = []
    events: list[dict[str, Any]] = []
    while len(events) < count:
        for message in await consumer.fetch(FETCH, timeout=10, expires=5):
            seqs.append(message.stream_sequence)
            events.append(decoder.decode(message.payload))
    if any(type(value) is dict for value in events[0].values()):
        events = list(map(flat, events))
    frame = pd.DataFrame(events, index=pd.Index(seqs, name="seq"))
    frame["timestamp"] = pd.to_datetime(frame["timestamp"], format="ISO8601", utc=True)
    await nats.shutdown()
    return frame


def main(url: str, subject: str, count: int, warm: str, warm_count: int) -> None:
    asyncio.run(load(url, warm, warm_count))
    before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    started, worked = time.perf_counter(), time.process_time()
    frame = asyncio.run(load(url, subject, count))
    seconds, work = time.perf_counter() - started, time.process_time() - worked
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    size = int(frame.memory_usage(deep=True).sum())
    assert len(frame) == count
    print(
        json.dumps(
            {"rate": count / seconds, "cpu": work / count * 1e6, "peak": peak, "frame": size}
        )
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4], int(sys.argv[5]))
