"""Opening and walking through a large stream of a server that varco has never seen.

    python bench/explore.py                       2,000 subjects, 1,000,000 messages, 1,000 channels
    python bench/explore.py --messages 100000 --rounds 3
    python bench/explore.py --no-browser          without JupyterLab

`lab.explore()` is measured until its first page was sent to its view, and so is each step after it:
the page before, a page from a sequence and from a time, a filter that matches on the page, the
subjects below a part of the tree. Beside each, in turn, stands what the same takes with plain
nats-py: a pull consumer that acknowledges nothing, `fetch`, `json.loads` and a DataFrame.
`lab.channels()` of 1,000 channels stands beside the server's counts and a request for the last
message of each. Times are medians. The browser is measured once,
from the start of the cell to the first row that is seen; then the table and the tree of subjects
are scrolled, and each task of the page that is longer than 50 ms is counted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import nats
import pandas as pd
from _page import LONG_TASKS, opened
from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, StreamConfig
from varco_nats_widgets import Lab
from varco_nats_widgets.explorer import Explorer

from varco_nats.config import NatsEventBusSettings
from varco_nats.server import LocalNats

ROOT = Path(__file__).parents[1]
WANTED_OPEN = 1.0  # seconds
WANTED_STEP = 0.2
WANTED_CHANNELS = 0.1
SCROLLS = 60
SUBJECTS, CHANNELS, PAGE = 2_000, 1_000, 200
STREAM, OWN, UNKNOWN = "TOPICS", "varco-events", "none-yet"


def payload(number: int) -> bytes:
    reading = {"device": f"d-{number % 977:04}", "value": number % 1000 / 7, "unit": "C"}
    return json.dumps({**reading, "ts": f"2026-05-01T10:00:{number % 60:02}Z"}).encode()


async def fill(url: str, messages: int) -> None:
    nc = await nats.connect(url)
    js = nc.jetstream(publish_async_max_pending=4000)
    await js.add_stream(StreamConfig(name=STREAM, subjects=["topic.>"]))
    await js.add_stream(StreamConfig(name=OWN, subjects=["varco.>"], allow_direct=True))

    async def store(subjects: list[str]) -> None:
        for first in range(0, len(subjects), 2000):
            part = enumerate(subjects[first : first + 2000], first)
            await asyncio.gather(*[await js.publish_async(s, payload(n)) for n, s in part])

    await store([f"varco.channel-{number % CHANNELS}" for number in range(CHANNELS * 10)])
    numbers = (number % SUBJECTS for number in range(messages))
    await store([f"topic.{number % 40}.{number // 40}" for number in numbers])
    await nc.close()


class Plain:
    """The same with nats-py."""

    def __init__(self, nc: Client) -> None:
        self._js = nc.jetstream()

    async def page(self, subject: str = ">", **start: Any) -> pd.DataFrame:
        if not start:
            info = await self._js.stream_info(STREAM)
            start = {"opt_start_seq": max(info.state.last_seq - PAGE + 1, 1)}
        by_time = "opt_start_time" in start
        policy = DeliverPolicy.BY_START_TIME if by_time else DeliverPolicy.BY_START_SEQUENCE
        config = ConsumerConfig(deliver_policy=policy, ack_policy=AckPolicy.NONE, **start)
        consumer = await self._js.pull_subscribe(subject, stream=STREAM, config=config)
        found = await consumer.fetch(PAGE, timeout=10)
        await consumer.unsubscribe()
        return pd.DataFrame([json.loads(message.data) for message in found])

    async def channels(self) -> pd.DataFrame:
        info = await self._js.stream_info(OWN, subjects_filter=">")
        counts = info.state.subjects or {}
        last = await asyncio.gather(
            *(self._js.get_last_msg(OWN, subject, direct=True) for subject in counts)
        )
        return pd.DataFrame({"messages": counts.values(), "last_seq": [m.seq for m in last]})


def seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


type Took = dict[str, tuple[list[float], list[float]]]
"""What each step took of ours, and with nats-py, in seconds."""


async def walk(stranger: Lab, own: Lab, plain: Plain, messages: int, seq: int, took: Took) -> None:
    """Open an explorer and go through its steps, once."""

    async def measure(name: str, ours: Callable[[], object], theirs: Awaitable[object]) -> None:
        mine, others = took.setdefault(name, ([], []))
        mine.append(await asyncio.to_thread(seconds, ours))
        begin = time.perf_counter()
        await theirs
        others.append(time.perf_counter() - begin)

    explorers: list[Explorer] = []

    def opened() -> None:
        explorers.append(explorer := stranger.explore())
        explorer.view().flush()
        assert len(explorer.view().table.frame) == PAGE

    def shown(step: Callable[..., object], *args: Any, **options: Any) -> Callable[[], object]:
        return lambda: (step(*args, **options), view.flush())

    await measure("open", opened, plain.page())
    (explorer,) = explorers
    view = explorer.view()
    older = max(messages - 2 * PAGE + 1, 1)
    await measure("page", shown(explorer.older), plain.page(opt_start_seq=older))
    await measure("seek", shown(explorer.seek, seq=seq), plain.page(opt_start_seq=seq))
    filtering = shown(explorer.filter, condition="value >= 0")
    await measure("filter", filtering, plain.page(opt_start_seq=seq))
    await asyncio.to_thread(explorer.clear_filter)
    moment = explorer.df["stored_at"].iloc[0].floor("us").to_pydatetime()
    by_time = plain.page(opt_start_time=f"{moment:%Y-%m-%dT%H:%M:%SZ}")
    await measure("seek by time", shown(explorer.seek, time=moment), by_time)
    below = plain.page("topic.7.>", opt_start_seq=max(messages - PAGE * 40 + 1, 1))
    await measure("subjects", shown(explorer.select, "topic.7.>"), below)
    explorer.close()
    await measure("channels", own.channels, plain.channels())


async def steps(url: str, messages: int, rounds: int) -> Took:
    took: Took = {}
    nc = await nats.connect(url)
    plain, rng = Plain(nc), random.Random(7)
    unknown = NatsEventBusSettings(servers=url, stream_name=UNKNOWN, subject_prefix=UNKNOWN)
    with (
        await asyncio.to_thread(Lab, unknown) as stranger,
        await asyncio.to_thread(Lab, url) as own,
    ):
        for _ in range(rounds):
            seq = rng.randrange(1, messages - PAGE)
            await walk(stranger, own, plain, messages, seq, took)
    await nc.close()
    return took


async def in_browser(url: str) -> tuple[float, list[float]]:
    """Seconds from the start of the cell to the first row that is seen; long tasks of scrolling."""
    from playwright.async_api import expect

    cells = (
        "from varco_nats.config import NatsEventBusSettings\n"
        "from varco_nats_widgets import Lab\n"
        f"lab = Lab(NatsEventBusSettings(servers={url!r}, stream_name={UNKNOWN!r}))\n"
        "lab.explore(page_size=1)",  # what is loaded once
        "lab.explore()",
    )
    async with opened(*cells) as notebook:
        await notebook.run_cell(0)
        row = notebook.cell(1).locator(".varco-grid .varco-body .varco-row").first
        begin = time.perf_counter()
        await notebook.run_cell(1, wait=False)
        await expect(row).to_be_visible(timeout=60_000)
        spent = time.perf_counter() - begin
        await notebook.page.wait_for_timeout(2000)  # what opening does besides
        await notebook.page.evaluate(LONG_TASKS)
        for part in (row, notebook.cell(1).locator(".varco-channel-list").last):
            await part.hover()
            for step in (400, -400):
                for _ in range(SCROLLS):
                    await notebook.page.mouse.wheel(0, step)
                    await notebook.page.wait_for_timeout(16)
        tasks = await notebook.page.evaluate("window.longTasks")
    return spent, tasks


def report(took: Took) -> bool:
    wanted = {"open": WANTED_OPEN, "channels": WANTED_CHANNELS}
    done = True
    for name, (ours, theirs) in took.items():
        most = wanted.get(name, WANTED_STEP)
        median = statistics.median(ours)
        done = done and median < most
        print(
            f"{name:13} {median * 1000:7.0f} ms (wanted < {most * 1000:.0f}; longest "
            f"{max(ours) * 1000:.0f}); nats-py {statistics.median(theirs) * 1000:.0f} ms"
        )
    return done


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--no-browser", action="store_true")
    given = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    with LocalNats() as server:
        print(f"{given.messages:,} messages on {SUBJECTS:,} subjects, {CHANNELS:,} channels")
        asyncio.run(fill(server.url, given.messages))
        done = report(asyncio.run(steps(server.url, given.messages, given.rounds)))
        if not given.no_browser:
            spent, tasks = asyncio.run(in_browser(server.url))
            done = done and spent < WANTED_OPEN and not tasks
            print(f"in the browser, first row after {spent:.2f} s (wanted < {WANTED_OPEN:.0f})")
            longest = f", the longest {max(tasks):.0f} ms" if tasks else ""
            print(f"scrolling: {len(tasks)} tasks over 50 ms (wanted 0){longest}")
    sys.exit(not done)


if __name__ == "__main__":
    main()
