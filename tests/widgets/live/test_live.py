"""Live frames on a real server."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from datetime import timedelta
from typing import Any

import nats
import numpy as np
import pandas as pd
import pytest
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import StreamConfig
from varco_nats_widgets.frames import FrameBuilder
from varco_nats_widgets.frames._conditions import ConditionError
from varco_nats_widgets.frames._decoding import Decoding
from varco_nats_widgets.live import _feed, live_query
from varco_nats_widgets.live._feed import row_of

from tests.conftest import MakeSettings
from tests.events import OrderPlaced
from tests.proxy import Proxy
from tests.waiting import until
from tests.widgets.live.helpers import Host, Make, assert_whole, numbered, order, store
from varco_nats.config import NatsEventBusSettings
from varco_nats.errors import InvalidChannelError
from varco_nats.history import StoredMessage
from varco_nats.server import LocalNats

ORDERS = Decoding(lambda _: "orders")
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


async def consumers(js: JetStreamContext, settings: NatsEventBusSettings) -> list[str]:
    return [info.name for info in await js.consumers_info(settings.stream_name)]


async def gone(js: JetStreamContext, settings: NatsEventBusSettings) -> bool:
    return await consumers(js, settings) == []


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


@pytest.mark.parametrize(
    "where",
    [
        'ts > "2026-05-04 10:20:30" or ts is missing and number is present',
        lambda row: row["ts"] is None or row["ts"] > pd.Timestamp("2026-05-04T10:20:30Z"),
    ],
)
async def test_where_is_asked_about_times_as_the_frame_has_them(
    make: Make, nc: Client, settings: NatsEventBusSettings, where: Any
) -> None:
    live = make(times=["ts", "stored_at"], where=where)
    moments = [1_777_890_030, 1_777_890_031_000, "2026-05-04T10:20:32Z", "soon"]
    await store(nc, settings, [order(n, ts=ts) for n, ts in enumerate(moments)])
    await until(lambda: live.received + live.filtered == 4)
    assert live.df["number"].tolist() == [1, 2, 3]
    assert live.error is None


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
    row = row_of(StoredMessage(7, "s", 1_000_000_000, data, None), ORDERS)
    assert row == {
        "seq": 7,
        "stored_at": pd.Timestamp("1970-01-01T00:00:01Z"),
        "channel": "orders",
        "event_type": "t",
        "event_id": None,
        "timestamp": pd.Timestamp("2026-05-01T10:00:00Z"),
        "a.b": 1,
    }
    broken = row_of(StoredMessage(8, "s", 0, b"\xff", None), ORDERS)
    assert broken["raw"] == b"\xff"
    assert "not UTF-8" in broken["decode_error"]
    cloud = b'{"specversion": "1.0", "type": "t", "id": "i", "source": "s", "data": {"a": 1}}'
    envelope = row_of(StoredMessage(9, "s", 0, cloud, None), ORDERS)
    assert (envelope["event_type"], envelope["event_id"], envelope["a"]) == ("t", "i", 1)
    odd_time = cloud.replace(b'"source"', b'"time": "noon", "source"')
    for payload in [*AWKWARD, cloud, odd_time]:
        message = StoredMessage(1, "s", 0, payload, None)
        builder = FrameBuilder(lambda subject: "orders")
        builder.add([message])
        assert ["seq", *builder.build()] == list(row_of(message, ORDERS))


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
        return go_on.wait(60)

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
    make_settings: MakeSettings,
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
            proxy.disconnect()
            await publishing
        await live.aio.wait(4000)
        assert_whole(live, 4000)
        await live.aio.stop()
        await asyncio.to_thread(host.close)


async def test_goes_on_when_its_consumer_is_deleted(
    make: Make, nc: Client, js: JetStreamContext, settings: NatsEventBusSettings
) -> None:
    live = make()

    async def is_read() -> bool:
        return live.state == "live" and len(await consumers(js, settings)) == 1

    for part in range(4):
        await until(is_read)
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
    until_time = time.monotonic() + 60
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
    make: Make, nc: Client, settings: NatsEventBusSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_feed, "_RATE_SECONDS", 1.0)
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
    await until(lambda: newest() > shown)


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
    with pytest.raises(TypeError, match="where=5 is no function and no condition"):
        live_query("orders", where=5)  # type: ignore[arg-type]
    with pytest.raises(ConditionError, match="character 9"):
        live_query("orders", where="total > 5m")
    with pytest.raises(TypeError, match="headers=5: must be True, or the names"):
        live_query("orders", headers=5)  # type: ignore[arg-type]
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
