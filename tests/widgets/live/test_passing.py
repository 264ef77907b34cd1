"""What passes by on subjects that no stream keeps: what is seen, and that no more is claimed."""

from __future__ import annotations

import asyncio
import html
import json
import threading
from collections.abc import AsyncIterator
from typing import Any

import nats
import pandas as pd
import pytest
from nats.aio.client import Client
from varco_nats_widgets import Lab
from varco_nats_widgets.live._passing import renamed

from tests.foreign import chatter
from tests.proxy import ANSWERS, Proxy
from tests.waiting import until
from varco_nats.config import NatsEventBusSettings
from varco_nats.errors import PermissionDeniedError
from varco_nats.server import LocalNats


@pytest.fixture
async def lab(settings: NatsEventBusSettings) -> AsyncIterator[Lab]:
    opened = await asyncio.to_thread(Lab, settings)
    yield opened
    await asyncio.to_thread(opened.close)


@pytest.fixture
def core(settings: NatsEventBusSettings) -> str:
    """The first token of subjects that no other test uses."""
    return f"core-{settings.stream_name}"


async def unseen(nc: Client, subject: str, payload: bytes) -> None:
    """Publish a message, and wait until it has passed by: nats-py's `flush` does not say so."""
    seen = await nc.subscribe(subject)
    await nc.publish(subject, payload)
    await seen.next_msg(timeout=20)
    await seen.unsubscribe()


async def test_it_shows_what_passes_by_and_claims_no_more(lab: Lab, nc: Client, core: str) -> None:
    await unseen(nc, f"{core}.status.0", b"{}")
    live = await lab.aio.live(subject=f"{core}.>", stored=False)
    await chatter(nc, 4, subject=f"{core}.status")
    await live.aio.wait(4)
    frame = live.df
    assert frame.index.name == "arrival"
    assert frame.index.tolist() == [1, 2, 3, 4]
    assert frame["n"].tolist() == [0, 1, 2, 3]
    assert frame["channel"].tolist() == [f"{core}.status.0", f"{core}.status.1"] * 2
    assert frame.columns[0] == "received_at"
    assert not {"stored_at", "seq"} & {*frame.columns}
    assert frame["received_at"].is_monotonic_increasing
    assert abs(frame["received_at"].iloc[-1] - pd.Timestamp.now("UTC")) < pd.Timedelta("1min")
    assert frame.attrs["completeness"] == {
        "expected": None,
        "loaded": 4,
        "filtered": 0,
        "gaps": 0,
        "dropped": 0,
        "truncated_by": None,
        "stored": False,
        "interruptions": [],
    }
    assert repr(live) == f"LiveFrame({core}.>, passing by, not stored)"
    assert "not what a stream keeps" in live.notice
    assert "is not here" in live.notice
    assert live.state == "live"
    shown = live._repr_mimebundle_()
    assert "not stored" in shown["text/plain"]
    assert "not what a stream keeps" in shown["text/html"]
    assert "arrival" in shown["text/html"]
    await live.aio.stop()
    assert (live.state, live.interruptions) == ("stopped", 0)
    assert "that was so" not in live.notice
    live.view().close()


async def test_it_filters_and_reads_as_others_do(lab: Lab, nc: Client, core: str) -> None:
    live = await lab.aio.live(
        subject=[f"{core}.a", f"{core}.*"],  # each message is seen once
        stored=False,
        where='headers.kind == "big" and n > 1',
        headers=["kind"],
        times="ts",
        max_rows=2,
    )
    for number in range(5):
        payload = {"n": number, "ts": 1_777_890_030 + number, "received_at": "own"}
        kind = {"Kind": "small" if number == 3 else "big"}
        await nc.publish(f"{core}.a", json.dumps(payload).encode(), headers=kind)
    await live.aio.wait(2)
    await until(lambda: live.filtered == 3)
    frame = live.df
    assert frame["n"].tolist() == [2, 4]
    assert frame.index.tolist() == [3, 5]
    assert frame["headers.kind"].tolist() == ["big", "big"]
    assert frame["data.received_at"].tolist() == ["own", "own"]
    assert str(frame["ts"].dtype) == "datetime64[us, UTC]"
    await nc.publish(f"{core}.a", b'{"n": 9}', headers={"Kind": "big"})
    await live.aio.wait(3)
    assert live.df["n"].tolist() == [4, 9]
    assert (live.dropped, live.gaps) == (1, 0)


async def test_a_function_gets_the_names_of_the_frame(lab: Lab, nc: Client, core: str) -> None:
    rows: list[dict[str, Any]] = []
    live = await lab.aio.live(subject=f"{core}.x", stored=False, where=lambda row: rows.append(row))
    await nc.publish(f"{core}.x", b"\xff")
    await until(lambda: live.filtered == 1)
    assert rows[0]["arrival"] == 1
    assert "received_at" in rows[0]
    assert "stored_at" not in rows[0]


def test_names_that_are_taken_are_given_way_to() -> None:
    assert renamed(["stored_at", "n"]) == {"stored_at": "received_at"}
    assert renamed(["stored_at", "received_at", "data.received_at"]) == {
        "received_at": "data.data.received_at",
        "stored_at": "received_at",
    }


async def test_a_channel_can_be_listened_to_too(lab: Lab, nc: Client) -> None:
    live = await lab.aio.live("orders", stored=False)
    await nc.publish(lab.settings.subject_name("orders"), b'{"n": 1}')
    await live.aio.wait(1)
    assert live.df["channel"].tolist() == ["orders"]


async def test_only_what_a_stream_keeps_has_an_earlier(lab: Lab) -> None:
    for wrong, words in (
        ({"subject": "a", "stream": "s"}, "no stream="),
        ({"subject": "a", "last": "1h"}, "last= is for what a stream keeps"),
        ({"subject": "a", "start_seq": 3}, "start_seq= is for"),
        ({}, "no channel was given"),
        ({"subject": "a b"}, "white space"),
    ):
        with pytest.raises(ValueError, match=words):
            await lab.aio.live(stored=False, **wrong)


async def test_a_lost_connection_leaves_a_marked_gap(
    server: LocalNats, settings: NatsEventBusSettings, nc: Client, core: str
) -> None:
    async with Proxy(server.port) as proxy:
        through = settings.model_copy(update={"servers": proxy.url_for(server.url)})
        lab = await asyncio.to_thread(Lab, through)
        live = await lab.aio.live(subject=f"{core}.x", stored=False)
        plot = live.plot("v")
        await nc.publish(f"{core}.x", b'{"v": 1}')
        await live.aio.wait(1)
        proxy.refuse = True
        proxy.disconnect()
        await until(lambda: live.state == "reconnecting")
        assert live.interruptions == 1
        assert live.df.attrs["completeness"]["interruptions"][0]["to"] is None
        await unseen(nc, f"{core}.x", b'{"v": 2}')
        proxy.refuse = False
        await until(lambda: live.state == "live")
        await nc.publish(f"{core}.x", b'{"v": 3}')
        await live.aio.wait(2)
        assert live.df["v"].tolist() == [1, 3]
        (told,) = live.df.attrs["completeness"]["interruptions"]
        assert told["why"] == "disconnected"
        assert pd.Timestamp(told["from"]) < pd.Timestamp(told["to"])
        assert "that was so 1 time, last from" in live.notice
        (line,) = plot.lines.values()
        assert [*line.isna()] == [False, True, False]
        view = live.view()
        view.flush()
        assert "<b>interruptions 1</b>" in view.counts.value
        view.close()
        await asyncio.to_thread(lab.close)


async def test_a_pause_is_a_gap_too(lab: Lab, nc: Client, core: str) -> None:
    live = await lab.aio.live(subject=f"{core}.x", stored=False)
    await live.aio.pause()
    assert (live.state, live.interruptions) == ("paused", 1)
    await unseen(nc, f"{core}.x", b"1")
    await live.aio.resume()
    await until(lambda: live.state == "live")
    await nc.publish(f"{core}.x", b"2")
    await live.aio.wait(1)
    assert live.df["value"].tolist() == [2]
    (told,) = live.df.attrs["completeness"]["interruptions"]
    assert told["why"] == "paused"


async def test_what_comes_too_fast_is_counted(lab: Lab, nc: Client, core: str) -> None:
    count, padding = 160, "x" * 800_000
    gate = threading.Event()
    live = await lab.aio.live(
        subject=f"{core}.x", stored=False, where=lambda _: gate.wait(), max_rows=10
    )
    for number in range(count):
        payload = json.dumps({"n": number, "padding": padding}).encode()
        await nc.publish(f"{core}.x", payload)
        await nc.flush()
    await until(lambda: live._feed.tail.gaps)
    gate.set()
    await until(lambda: live.received + live.gaps == count)
    assert 0 < live.gaps < count
    assert live.df["n"].iloc[-1] == count - 1
    assert live.df.index[-1] == count
    assert f"{live.gaps:,} message" in live.notice
    assert "came too fast to be taken" in live.notice
    completeness = live.df.attrs["completeness"]
    assert (completeness["gaps"], completeness["expected"]) == (live.gaps, None)
    view = live.view()
    view.flush()
    assert f"<b>gaps {live.gaps:,}</b>" in view.counts.value
    assert live.notice in html.unescape(view.counts.value)
    view.close()


async def test_a_server_that_gives_up_on_a_slow_reader_leaves_a_marked_gap(
    settings: NatsEventBusSettings, core: str
) -> None:
    """It ends a connection that is read too slowly, and nobody knows how many were on it."""
    with LocalNats(config="max_pending: 2MB") as server:
        client = await nats.connect(server.url)
        async with Proxy(server.port) as proxy:
            through = settings.model_copy(update={"servers": proxy.url_for(server.url)})
            lab = await asyncio.to_thread(Lab, through)
            live = await lab.aio.live(subject=f"{core}.x", stored=False)
            proxy.stall(ANSWERS)
            for _ in range(100):
                await client.publish(f"{core}.x", b"x" * 500_000)
                await client.flush()
            await until(lambda: "Slow Consumer Detected" in server.log_tail(100))
            proxy.flow()
            passing = live._passing
            assert passing is not None
            await until(lambda: passing.told and passing.told[-1]["to"])  # it sees again
            await client.publish(f"{core}.x", b'{"n": 1}')
            await until(lambda: "n" in live.df and live.df["n"].iloc[-1] == 1)
            assert live.received < 100
            assert "disconnected or paused, is not here; that was so 1 time" in live.notice
            (told,) = live.df.attrs["completeness"]["interruptions"]
            assert told["why"] == "disconnected"
            await asyncio.to_thread(lab.close)
        await client.close()


async def test_a_login_that_may_not_listen_is_told_so(tmp_path: Any) -> None:
    config = (
        f'jetstream {{ store_dir: "{tmp_path}" }}\n'
        "authorization { users: [ { user: u, password: x, "
        'permissions: { subscribe: { deny: ["secret.>"] } } } ] }'
    )
    with LocalNats(config=config, token=None, jetstream=False) as server:
        login = {"user": "u", "password": "x"}
        settings = NatsEventBusSettings(servers=server.url, connect_kwargs=login)
        lab = await asyncio.to_thread(Lab, settings)
        with pytest.raises(PermissionDeniedError, match=r"subscribe to 'secret\.x'"):
            await lab.aio.live(subject="secret.x", stored=False)
        live = await lab.aio.live(subject="public.x", stored=False)
        assert live.state == "live"
        await asyncio.to_thread(lab.close)
        assert live.state == "stopped"
