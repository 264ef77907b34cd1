from __future__ import annotations

import asyncio
import gc
import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import nats
import numpy as np
import pandas as pd
import pytest
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import StreamConfig
from varco_nats_widgets._session.loop import LoopThread
from varco_nats_widgets.frames import MAX_FIELDS, FrameBuilder
from varco_nats_widgets.live import LiveFrame, live_query
from varco_nats_widgets.live._feed import row_of
from varco_nats_widgets.live._rows import BoundedRows

from tests.events import OrderPlaced
from tests.faults import Proxy
from tests.waiting import until
from varco_nats._nats.client import Connection, connect
from varco_nats.config import NatsEventBusSettings
from varco_nats.errors import InvalidChannelError
from varco_nats.history import StoredMessage
from varco_nats.server import LocalNats

Make = Callable[..., LiveFrame]

AWKWARD: list[bytes] = [
    b"",
    b"not json",
    b"\xff\xfe",
    b"[1, 2]",
    b"null",
    b"{}",
    b'{"a": 1}',
    b'{"a": null, "b": {"c": [1], "d": {}}}',
    b'{"a": 1.5, "b": {"c": "x"}}',
    b'{"a": 9007199254740993}',
    b'{"a": 123456789012345678901234567890}',
    b'{"seq": 1, "channel": "x", "raw": true, "timestamp": "no time"}',
    b'{"timestamp": "2026-05-01T10:00:00Z", "event_id": "e", "__event_type__": "t"}',
    b'{"timestamp": 5, "event_id": 7, "__event_type__": ["t"]}',
    b'{"t": "<script>alert(1)</script>", "u": "\\ud800", "f": true}',
    b'{"f": false, "t": "=cmd()"}',
    b'{"i": 1}',
    b'{"i": 2}',
]


class Host:
    """A loop thread with a connection, as a Lab has."""

    def __init__(self, settings: NatsEventBusSettings) -> None:
        self.settings = settings
        self.loop = LoopThread("Lab(test)")
        self.connection: Connection = self.loop.run(connect(settings, name="test-live"))

    def live(self, channel: str = "orders", **options: Any) -> LiveFrame:
        live = LiveFrame(self.loop, self.connection, self.settings, live_query(channel, **options))
        self.loop.run(live.open())
        return live

    def close(self) -> None:
        self.loop.run(self.connection.close())
        self.loop.close()


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """No test leaves a thread behind."""
    yield
    names = ("Lab", "View", "live frame")
    deadline = time.monotonic() + 5
    while left := [t.name for t in threading.enumerate() if t.name.startswith(names)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.01)


@pytest.fixture
async def js(nc: Client, settings: NatsEventBusSettings) -> JetStreamContext:
    context = nc.jetstream()
    await context.add_stream(
        StreamConfig(name=settings.stream_name, subjects=[settings.wildcard_subject()])
    )
    return context


@pytest.fixture
def host(js: JetStreamContext, settings: NatsEventBusSettings) -> Iterator[Host]:
    opened = Host(settings)
    yield opened
    opened.close()


@pytest.fixture
def make(host: Host) -> Iterator[Make]:
    """Live frames that are stopped at the end."""
    made: list[LiveFrame] = []

    def start(channel: str = "orders", **options: Any) -> LiveFrame:
        made.append(host.live(channel, **options))
        return made[-1]

    yield start
    for live in made:
        for view in live._views:
            view.close()
        live.stop()


def order(number: int, kind: str = "order.placed", **fields: Any) -> bytes:
    return json.dumps({"__event_type__": kind, "number": number, **fields}).encode()


async def store(
    nc: Client, settings: NatsEventBusSettings, payloads: list[bytes], channel: str = "orders"
) -> None:
    js = nc.jetstream()
    subject = settings.subject_name(channel)
    await asyncio.gather(*[await js.publish_async(subject, data) for data in payloads])


def numbered(start: int, stop: int) -> list[bytes]:
    return [order(number) for number in range(start, stop)]


async def consumers(js: JetStreamContext, settings: NatsEventBusSettings) -> list[str]:
    return [info.name for info in await js.consumers_info(settings.stream_name)]


async def gone(js: JetStreamContext, settings: NatsEventBusSettings) -> bool:
    return await consumers(js, settings) == []


def assert_whole(live: LiveFrame, count: int) -> None:
    """Every one of `count` messages is there, once, in order."""
    assert live.df["number"].tolist() == list(range(count))
    assert live.df.index.is_monotonic_increasing
    assert live.df.index.is_unique
    assert (live.received, live.gaps, live.dropped) == (count, 0, 0)


async def test_what_arrives_from_now_on(
    make: Make, nc: Client, settings: NatsEventBusSettings
) -> None:
    await store(nc, settings, numbered(0, 5))
    live = make()
    await store(nc, settings, numbered(5, 8))
    await store(nc, settings, numbered(0, 1), channel="payments")
    await live.aio.wait(3)
    assert repr(live) == "LiveFrame(orders)"
    assert live.df["number"].tolist() == [5, 6, 7]
    assert live.df.index.tolist() == [6, 7, 8]
    assert live.df.attrs["completeness"] == {
        "expected": 3,
        "loaded": 3,
        "filtered": 0,
        "gaps": 0,
        "dropped": 0,
        "truncated_by": None,
    }
    await until(lambda: live.state == "live")
    assert (live.received, live.filtered, live.dropped, live.gaps) == (3, 0, 0, 0)
    assert live.error is None
    assert not live.paused


async def test_a_point_in_the_past_comes_first(
    make: Make, nc: Client, settings: NatsEventBusSettings
) -> None:
    await store(nc, settings, numbered(0, 5000))
    live = make(start_seq=4001)
    since = make(since="1h")
    ago = make(since=timedelta(0))
    await store(nc, settings, numbered(5000, 5010))
    await live.aio.wait(1010)
    assert live.df["number"].tolist() == list(range(4000, 5010))
    await since.aio.wait(5010)
    assert_whole(since, 5010)
    await ago.aio.wait(10)
    assert ago.df["number"].tolist() == list(range(5000, 5010))


async def test_has_the_same_rows_as_a_frame_of_the_history(
    make: Make, nc: Client, settings: NatsEventBusSettings
) -> None:
    live = make()
    for data in AWKWARD:
        await store(nc, settings, [data])
        assert live.df is not None  # parts of every size are made
    await live.aio.wait(len(AWKWARD))
    assert live.df.index.tolist() == list(range(1, len(AWKWARD) + 1))
    builder = FrameBuilder(settings.channel_from_subject)
    rows = [pd.Timestamp(time).value for time in live.df["stored_at"]]
    builder.add(
        StoredMessage(seq, settings.subject_name("orders"), rows[seq - 1], data, None)
        for seq, data in enumerate(AWKWARD, 1)
    )
    pd.testing.assert_frame_equal(live.df, builder.build())


async def test_a_frame_once_given_stays_as_it_is(
    make: Make, nc: Client, settings: NatsEventBusSettings
) -> None:
    live = make()
    assert len(live.df) == 0
    assert live.df.columns[:2].tolist() == ["stored_at", "channel"]
    await store(nc, settings, numbered(0, 3))
    await live.aio.wait(3)
    mine = live.df
    mine["new"] = 1
    mine.loc[1, "number"] = 99
    assert "new" not in live.df
    assert live.df["number"].tolist() == [0, 1, 2]
    await store(nc, settings, numbered(3, 4))
    await live.aio.wait(4)
    assert len(mine) == 3
    assert_whole(live, 4)


async def test_bounded_by_rows(make: Make, nc: Client, settings: NatsEventBusSettings) -> None:
    live = make(max_rows=1000)
    await store(nc, settings, numbered(0, 500))
    await live.aio.wait(500)
    assert live.df.attrs["completeness"]["truncated_by"] is None
    await store(nc, settings, numbered(500, 20_000))
    await live.aio.wait(20_000)
    assert live.df["number"].tolist() == list(range(19_000, 20_000))
    assert (live.received, live.dropped, live.gaps) == (20_000, 19_000, 0)
    completeness = live.df.attrs["completeness"]
    assert completeness["truncated_by"] == "max_rows"
    assert completeness["dropped"] == 19_000
    assert live._feed.rows._bytes < 1000 * 200


async def test_bounded_by_bytes(make: Make, nc: Client, settings: NatsEventBusSettings) -> None:
    live = make(max_bytes=100_000)
    await store(nc, settings, [order(n, pad="x" * 1000) for n in range(500)])
    await live.aio.wait(500)
    kept = len(live.df)
    assert 80 <= kept < 100
    assert live.df["number"].tolist() == list(range(500 - kept, 500))
    assert live.dropped == 500 - kept
    assert live.df.attrs["completeness"]["truncated_by"] == "max_bytes"
    await store(nc, settings, [order(500, pad="x" * 200_000)])  # alone larger than the bound
    await live.aio.wait(501)
    assert live.df["number"].tolist() == [500]


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"event_type": "order.shipped"}, [1, 4]),
        ({"event_type": OrderPlaced}, [0, 3]),
        ({"event_type": ["order.placed", "order.shipped"]}, [0, 1, 3, 4]),
        ({"where": lambda row: row["number"] > 2}, [3, 4, 5]),
        ({"where": lambda row: row["seq"] == 2}, [1]),
        ({"event_type": OrderPlaced, "where": lambda row: row["number"] > 2}, [3]),
    ],
)
async def test_filters(
    make: Make,
    nc: Client,
    settings: NatsEventBusSettings,
    options: dict[str, Any],
    wanted: list[int],
) -> None:
    live = make(**options)
    kinds = ["order.placed", "order.shipped", "other"] * 2
    await store(nc, settings, [order(n, kind) for n, kind in enumerate(kinds)])
    await live.aio.wait(len(wanted))
    await until(lambda: live.received + live.filtered == 6)
    assert live.df["number"].tolist() == wanted
    assert live.filtered == 6 - len(wanted)
    completeness = live.df.attrs["completeness"]
    assert completeness["expected"] == completeness["loaded"] == 6


async def test_rows_that_where_fails_on_are_kept(
    make: Make, nc: Client, settings: NatsEventBusSettings
) -> None:
    live = make(where=lambda row: row["total"] > 5)
    await store(nc, settings, [order(0, total=9), order(1), order(2, total=1), order(3, total=7)])
    await live.aio.wait(3)
    assert live.df["number"].tolist() == [0, 1, 3]
    await until(lambda: live.error is not None)
    assert live.error == "where(row) failed at seq 2: KeyError: 'total' (such rows are kept)"
    assert live.state == "live"


def test_a_row_has_the_names_of_a_frame() -> None:
    data = b'{"__event_type__": "t", "timestamp": "2026-05-01T12:00:00+02:00", "a": {"b": 1}}'
    row = row_of(StoredMessage(7, "s", 1_000_000_000, data, None), "orders")
    assert row == {
        "seq": 7,
        "stored_at": pd.Timestamp("1970-01-01T00:00:01Z"),
        "channel": "orders",
        "event_type": "t",
        "event_id": None,
        "timestamp": pd.Timestamp("2026-05-01T10:00:00Z"),
        "a.b": 1,
    }
    broken = row_of(StoredMessage(8, "s", 0, b"\xff", None), "orders")
    assert broken["raw"] == b"\xff"
    assert "not UTF-8" in broken["decode_error"]
    cloud = b'{"specversion": "1.0", "type": "t", "id": "i", "source": "s", "data": {"a": 1}}'
    envelope = row_of(StoredMessage(9, "s", 0, cloud, None), "orders")
    assert (envelope["event_type"], envelope["event_id"], envelope["a"]) == ("t", "i", 1)
    odd_time = cloud.replace(b'"source"', b'"time": "noon", "source"')
    for payload in [*AWKWARD, cloud, odd_time]:
        message = StoredMessage(1, "s", 0, payload, None)
        builder = FrameBuilder(lambda subject: "orders")
        builder.add([message])
        assert ["seq", *builder.build()] == list(row_of(message, "orders"))


async def test_pause_keeps_the_place(
    make: Make, nc: Client, js: JetStreamContext, settings: NatsEventBusSettings
) -> None:
    live = make()
    for part in range(5):
        await store(nc, settings, numbered(600 * part, 600 * part + 300))
        if part % 2:
            await live.aio.wait(600 * part + 300)  # otherwise it is paused half-way
        await live.aio.pause()
        await live.aio.pause()
        assert live.paused
        assert live.state == "paused"
        assert await consumers(js, settings) == []
        before = live.received
        await store(nc, settings, numbered(600 * part + 300, 600 * part + 600))
        assert live.received == before
        await live.aio.resume()
        await live.aio.resume()
    await live.aio.wait(3000)
    await until(lambda: live.state == "live")
    assert_whole(live, 3000)


async def test_pause_waits_for_what_is_being_decoded(
    make: Make, nc: Client, settings: NatsEventBusSettings
) -> None:
    at_work, go_on = threading.Event(), threading.Event()

    def where(row: dict[str, Any]) -> bool:
        at_work.set()
        return go_on.wait(10)

    live = make(where=where)
    await store(nc, settings, numbered(0, 100))
    await asyncio.to_thread(at_work.wait, 10)
    pausing = asyncio.create_task(live.aio.pause())
    await asyncio.sleep(0.05)
    go_on.set()
    await pausing
    await live.aio.resume()
    await live.aio.wait(100)
    assert_whole(live, 100)


async def test_stop_is_final_and_leaves_nothing(
    make: Make, nc: Client, js: JetStreamContext, settings: NatsEventBusSettings
) -> None:
    live = make()
    await until(lambda: live.state == "live")
    assert len(await consumers(js, settings)) == 1
    await store(nc, settings, numbered(0, 3))
    await live.aio.wait(3)
    waiting = asyncio.create_task(live.aio.wait(4))
    await asyncio.sleep(0.05)
    await live.aio.stop()
    assert await gone(js, settings)
    with pytest.raises(TimeoutError, match=r"3 of 4 rows arrived before it was stopped"):
        await waiting
    assert live.state == "stopped"
    assert_whole(live, 3)
    await live.aio.stop()
    await live.aio.pause()
    assert live.state == "stopped"
    with pytest.raises(RuntimeError, match="stopped; make a new one"):
        await live.aio.resume()


async def test_garbage_leaves_nothing(
    host: Host, nc: Client, js: JetStreamContext, settings: NatsEventBusSettings
) -> None:
    live = [host.live()]
    await until(lambda: live[0].state == "live")
    assert len(await consumers(js, settings)) == 1
    live.clear()
    gc.collect()
    await until(lambda: gone(js, settings))


async def test_ends_with_its_connection(
    nc: Client, js: JetStreamContext, settings: NatsEventBusSettings
) -> None:
    host = Host(settings)
    live = host.live()
    await store(nc, settings, numbered(0, 3))
    await live.aio.wait(3)
    host.loop.run(host.connection.close())
    await until(lambda: live.state == "stopped")
    assert "connection is closed" in str(live.error)
    host.loop.close()
    live.stop()
    await live.aio.stop()
    assert_whole(live, 3)


async def test_methods_are_plain_too(
    make: Make, nc: Client, settings: NatsEventBusSettings
) -> None:
    live = make()
    await store(nc, settings, numbered(0, 3))
    live.wait(3)
    live.pause()
    assert live.paused
    live.resume()
    with pytest.raises(TimeoutError, match=r"3 of 4 rows arrived within 0\.1 s"):
        live.wait(4, timeout=0.1)
    live.stop()
    public = {"pause", "resume", "stop", "wait"}
    assert {n for n in dir(live.aio) if not n.startswith("_")} == public


async def test_goes_on_after_a_killed_server() -> None:
    with LocalNats() as local:
        settings = NatsEventBusSettings(servers=local.url, stream_name="s", subject_prefix="s")
        nc = await nats.connect(local.url)
        await nc.jetstream().add_stream(name="s", subjects=["s.>"])
        host = Host(settings)
        live = host.live()
        for part in range(3):
            await store(nc, settings, numbered(300 * part, 300 * part + 300))
            await nc.close()
            await asyncio.to_thread(local.kill)
            await until(lambda: live.state == "reconnecting")
            assert live.error is not None
            await asyncio.to_thread(local.restart)
            nc = await nats.connect(local.url)
        await store(nc, settings, numbered(900, 1200))
        await live.aio.wait(1200)
        await until(lambda: live.state == "live")
        assert live.error is None
        assert_whole(live, 1200)
        await live.aio.stop()
        assert await nc.jetstream().consumers_info("s") == []
        await nc.close()
        host.close()


async def test_goes_on_after_cut_connections(
    nc: Client,
    js: JetStreamContext,
    server: LocalNats,
    make_settings: Callable[..., NatsEventBusSettings],
) -> None:
    async with Proxy(server.port) as proxy:
        settings = make_settings(servers=proxy.url_for(server.url))
        host = await asyncio.to_thread(Host, settings)
        live = await asyncio.to_thread(host.live)
        for part in range(4):
            publishing = asyncio.create_task(
                store(nc, settings, numbered(1000 * part, 1000 * part + 1000))
            )
            await live.aio.wait(1000 * part + 1)
            proxy.cut()
            await publishing
        await live.aio.wait(4000)
        assert_whole(live, 4000)
        await live.aio.stop()
        await asyncio.to_thread(host.close)


async def test_goes_on_when_its_consumer_is_deleted(
    make: Make, nc: Client, js: JetStreamContext, settings: NatsEventBusSettings
) -> None:
    live = make()
    for part in range(4):
        await until(lambda: live.state == "live")
        (name,) = await consumers(js, settings)
        await asyncio.gather(
            js.delete_consumer(settings.stream_name, name),
            store(nc, settings, numbered(500 * part, 500 * part + 500)),
        )
        await live.aio.wait(500 * part + 500)
    assert_whole(live, 2000)


async def test_a_busy_kernel_misses_nothing(
    make: Make, nc: Client, settings: NatsEventBusSettings
) -> None:
    """The main thread computes without a pause while another process's events arrive."""
    live = make()
    publishing = threading.Event()

    def publish() -> None:
        async def run() -> None:
            other = await nats.connect(settings.servers)
            for start in range(0, 4000, 400):
                await store(other, settings, numbered(start, start + 400))
            await other.close()
            publishing.set()

        asyncio.run(run())

    publisher = threading.Thread(target=publish)
    publisher.start()
    until_time = time.monotonic() + 20
    while not (publishing.is_set() and live.received == 4000):
        sum(number * number for number in range(100_000))
        assert time.monotonic() < until_time
    assert_whole(live, 4000)
    publisher.join()


async def test_waits_for_a_stream_that_is_not_there(
    nc: Client, settings: NatsEventBusSettings
) -> None:
    host = Host(settings)
    live = host.live()
    await until(lambda: live.state == "waiting")
    assert "does not exist" in str(live.error)
    await nc.jetstream().add_stream(
        StreamConfig(name=settings.stream_name, subjects=[settings.wildcard_subject()])
    )
    await store(nc, settings, numbered(0, 3))
    await live.aio.wait(3)
    await until(lambda: live.state == "live")
    assert_whole(live, 3)
    await live.aio.stop()
    host.close()


async def test_counts_what_the_stream_dropped(
    make: Make, nc: Client, js: JetStreamContext, settings: NatsEventBusSettings
) -> None:
    live = make()
    await store(nc, settings, numbered(0, 5))
    await live.aio.wait(5)
    await live.aio.pause()
    await store(nc, settings, numbered(5, 50))
    await js.purge_stream(settings.stream_name, seq=41)
    await live.aio.resume()
    await live.aio.wait(15)
    assert live.df["number"].tolist() == [0, 1, 2, 3, 4, *range(40, 50)]
    assert live.gaps == 35
    assert live.df.attrs["completeness"]["expected"] == 50


async def test_the_rate_rises_and_falls(
    make: Make, nc: Client, settings: NatsEventBusSettings
) -> None:
    live = make()
    await store(nc, settings, numbered(0, 500))
    await live.aio.wait(500)
    await until(lambda: live.rate > 80)
    times, counts = live.counts_by_second()
    assert len(times) == len(counts)
    await until(lambda: sum(live.counts_by_second()[1]) == 500)
    await until(lambda: live.rate == 0)
    chart = live.view().chart

    def newest() -> float:
        return float(np.frombuffer(chart._series[0]["times"])[-1])

    await until(lambda: len(chart._series) == 1)
    shown = newest()
    await until(lambda: newest() > shown + 1)


@pytest.mark.parametrize("end", ["pause", "stop"])
async def test_nothing_comes_any_more(
    end: str, make: Make, nc: Client, settings: NatsEventBusSettings
) -> None:
    live = make()
    await store(nc, settings, numbered(0, 20))
    await live.aio.wait(20)
    await getattr(live.aio, end)()
    assert live.rate == 0
    assert sum(live.counts_by_second()[1]) == 20  # those of a second that had not passed too


async def test_observers_see_changes_and_cannot_break_it(
    make: Make, nc: Client, settings: NatsEventBusSettings
) -> None:
    live = make()
    seen: list[int] = []
    threads: set[str] = set()

    def observer(change: Any) -> None:
        seen.append(change["new"])
        threads.add(threading.current_thread().name)
        raise ValueError("mine")

    live.observe(observer, "received")
    for number in range(3):
        await store(nc, settings, numbered(number, number + 1))
        await live.aio.wait(number + 1)
    assert_whole(live, 3)
    assert seen == sorted(set(seen))
    assert seen[-1] == 3
    assert threads == {"Lab(test)"}
    with pytest.raises(Exception, match="read-only"):
        live.received = 7


def test_arguments_that_cannot_be_used(host: Host) -> None:
    with pytest.raises(ValueError, match="max_rows=0"):
        live_query("orders", max_rows=0)
    with pytest.raises(ValueError, match="max_bytes=-1"):
        live_query("orders", max_bytes=-1)
    with pytest.raises(TypeError, match="where='total > 5' is no function"):
        live_query("orders", where="total > 5")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="max_rows='5': must be a whole number"):
        live_query("orders", max_rows="5")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a live frame is bounded"):
        live_query("orders", max_bytes=None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="last= or since="):
        live_query("orders", last="10m", since="1h")
    with pytest.raises(ValueError, match="since='yesterdayish'"):
        live_query("orders", since="yesterdayish")
    with pytest.raises(InvalidChannelError):
        host.live("orders.>")


async def test_several_channels(make: Make, nc: Client, settings: NatsEventBusSettings) -> None:
    live = make(["orders", "payments"])
    assert repr(live) == "LiveFrame(orders, payments)"
    for number, channel in enumerate(["orders", "other", "payments", "orders"]):
        await store(nc, settings, [order(number)], channel=channel)
    await live.aio.wait(3)
    assert live.df["channel"].tolist() == ["orders", "payments", "orders"]
    assert live.gaps == 0
    await until(lambda: live.view().table.columns[:2] == ["stored_at", "channel"])


# What a notebook shows


async def test_shown_it_follows(make: Make, nc: Client, settings: NatsEventBusSettings) -> None:
    live = make(max_rows=100)
    bundle = live._repr_mimebundle_()
    assert bundle["text/plain"] == "LiveFrame(orders)"
    assert "application/vnd.jupyter.widget-view+json" in bundle
    view = live.view()
    assert live._repr_mimebundle_()["text/plain"] == bundle["text/plain"]
    assert live.view() is view
    for start in range(0, 500, 50):
        await store(nc, settings, numbered(start, start + 50))
        await live.aio.wait(start + 50)
        view.flush()
    await until(lambda: view.table.frame.index.tolist() == list(range(401, 501)))
    await until(lambda: "received 500" in view.counts.value)
    assert "<b>dropped 400</b>" in view.counts.value
    assert "<b>live</b>" in view.counts.value
    assert "gaps 0" in view.counts.value


async def test_what_differs_comes_first_and_keeps_its_place(
    make: Make, nc: Client, settings: NatsEventBusSettings
) -> None:
    live = make(max_rows=2)
    table = live.view().table
    await store(nc, settings, [order(1), order(2)])
    await until(lambda: table.columns[:3] == ["stored_at", "event_type", "number"])
    assert table.columns[-2:] == ["timestamp", "event_id"]
    before = table.columns
    await store(nc, settings, [b'{"sku": "a"}', b"not JSON"])
    await until(lambda: table.frame.index.tolist() == [3, 4])
    await until(lambda: "sku" in table.columns)
    payload = [name for name in before if name not in before[:2] + before[-2:]]
    assert table.columns == [
        *before[:2],
        "decode_error",
        *payload,
        "sku",
        *before[-2:],
        "raw",
    ]


async def test_its_buttons(make: Make, nc: Client, settings: NatsEventBusSettings) -> None:
    live = make()
    view = live.view()
    assert view.toggle.description == "Pause"
    view.toggle.click()
    await until(lambda: live.paused)
    await until(lambda: view.toggle.description == "Resume")
    await store(nc, settings, numbered(0, 3))
    view.toggle.click()
    await until(lambda: view.toggle.description == "Pause")
    await live.aio.wait(3)
    assert_whole(live, 3)
    view.stop.click()
    await until(lambda: live.state == "stopped")
    await until(lambda: view.toggle.disabled and view.stop.disabled)
    view._do(LiveFrame.resume)  # as if it was clicked a moment before
    await until(lambda: "RuntimeError: this live frame is stopped" in view.counts.value)


async def test_nothing_from_an_event_is_markup(
    make: Make, nc: Client, settings: NatsEventBusSettings
) -> None:
    evil = "<img src=x onerror=alert(1)>"

    def where(row: dict[str, Any]) -> bool:
        raise ValueError(row["text"])

    live = make(where=where)
    await store(nc, settings, [order(0, kind=evil, text=evil, **{evil: 1})], channel="orders")
    await live.aio.wait(1)
    await until(lambda: live.error is not None)
    html = live._repr_mimebundle_()["text/html"]
    assert "<img" not in html
    assert "&lt;img" in html
    view = live.view()
    view.flush()
    assert "<img" not in view.counts.value
    assert "&lt;img" in view.counts.value


# The rows alone


def stored(seq: int, data: bytes) -> StoredMessage:
    return StoredMessage(seq, "v.orders", 10**18 + seq, data, None)


def new_builder() -> FrameBuilder:
    return FrameBuilder(lambda subject: subject.removeprefix("v."))


@pytest.mark.parametrize("seed", range(5))
def test_rows_are_the_newest_however_they_are_looked_at(seed: int) -> None:
    choice = random.Random(seed)
    rows = BoundedRows(new_builder, max_rows=choice.choice([1, 70, 300]), max_bytes=10**6)
    sent: list[StoredMessage] = []
    for _ in range(150):
        batch = [
            stored(len(sent) + n + 1, order(n, **{choice.choice("abc"): n}))
            for n in range(choice.choice([0, 1, 5, 40]))
        ]
        rows.add(batch)
        sent += batch
        if choice.random() < 0.5:
            frame, added = rows.snapshot()
            kept = sent[-rows._max_rows :]
            assert added == len(sent)
            assert frame.index.tolist() == [message.seq for message in kept]
            numbers = frame["number"].tolist() if sent else []
            assert numbers == [json.loads(m.data)["number"] for m in kept]
            assert rows.dropped == len(sent) - len(kept)
            assert not rows._parts


def test_rows_may_be_added_while_others_look() -> None:
    rows = BoundedRows(new_builder, max_rows=500, max_bytes=10**7)
    done = threading.Event()
    problems: list[object] = []

    def look() -> None:
        while not done.is_set():
            frame, added = rows.snapshot()
            wanted = list(range(max(added - 500, 0) + 1, added + 1))
            if frame.index.tolist() != wanted:
                problems.append((frame.index.tolist(), wanted))

    threads = [threading.Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()
    for start in range(1, 20_000, 7):
        rows.add([stored(seq, order(seq)) for seq in range(start, start + 7)])
    done.set()
    for thread in threads:
        thread.join()
    assert problems == []


def test_columns_are_bounded_too() -> None:
    rows = BoundedRows(new_builder, max_rows=1000, max_bytes=10**8)
    for seq in range(1, 16):
        data = {f"f{seq}-{n}": n for n in range(90)}
        rows.add([stored(seq, json.dumps(data).encode())])
        frame, _ = rows.snapshot()
    assert len(frame.columns) <= MAX_FIELDS + 9
    more = frame["data.more"].tolist()
    assert more[0] is None
    assert more[-1] == {f"f15-{n}": n for n in range(90)}
    assert frame["f1-5"].tolist()[0] == 5


def test_no_field_is_called_as_the_column_of_what_has_no_room() -> None:
    rows = BoundedRows(new_builder, max_rows=1000, max_bytes=10**8)
    rows.add([stored(1, b'{"data.more": "own"}')])
    rows.snapshot()
    for seq in range(2, 15):
        data: dict[str, object] = {f"f{seq}-{n}": n for n in range(90)}
        rows.add([stored(seq, json.dumps(data | {"data": {"more": seq}}).encode())])
        rows.snapshot()
    frame, _ = rows.snapshot()
    assert frame["data.data.more"].tolist() == ["own", *range(2, 15)]
    assert frame["data.more"].tolist()[-1] == {f"f14-{n}": n for n in range(90)}
