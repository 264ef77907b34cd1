"""An explorer opened on a server that strangers filled: streams, subjects, and what goes wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.aio.client import Client
from nats.js.api import StreamConfig
from varco_nats_widgets import Lab
from varco_nats_widgets._session import worker
from varco_nats_widgets.explorer import Explorer

from tests import foreign
from tests.waiting import until
from tests.widgets.explorer.helpers import assert_code_loads_the_page, explore, publish
from varco_nats.config import NatsEventBusSettings
from varco_nats.errors import StreamNotFoundError, UnknownChannelError
from varco_nats.server import LocalNats

CONFIG = """
authorization { users: [
  { user: all, password: x },
  { user: one, password: x, permissions: { publish: { allow: [
    "$JS.API.INFO", "$JS.API.STREAM.INFO.TELEMETRY", "$JS.API.CONSUMER.*.TELEMETRY.>",
    "$JS.API.CONSUMER.MSG.NEXT.TELEMETRY.*",
    "$JS.API.STREAM.MSG.GET.TELEMETRY", "$JS.API.DIRECT.GET.TELEMETRY.>", "$JS.ACK.TELEMETRY.>"
  ] } } }
] }
"""


def login(server: LocalNats, user: str = "all") -> NatsEventBusSettings:
    given: dict[str, Any] = {"user": user, "password": "x"}
    return NatsEventBusSettings(servers=server.url, connect_kwargs=given)


async def connect(server: LocalNats) -> Client:
    return await nats.connect(server.url, user="all", password="x")


@pytest.fixture(scope="module")
def strangers() -> Iterator[LocalNats]:
    """A server that nobody writes to after it was filled."""

    async def fill() -> None:
        nc = await connect(server)
        await foreign.fill(nc, devices=30, topics=400)
        await foreign.publish(nc, [("dev.rome.000.temp", b"{}", None)])  # the newest of all
        await nc.close()

    with LocalNats(config=CONFIG, token=None) as server:
        asyncio.run(fill())
        yield server


@pytest.fixture
def lab(strangers: LocalNats) -> Iterator[Lab]:
    with Lab(login(strangers)) as opened:
        yield opened


async def test_it_opens_on_the_newest_page_of_what_is_there(lab: Lab) -> None:
    explorer = await explore(lab, page_size=50)
    assert explorer.stream == "TELEMETRY"
    assert repr(explorer) == "Explorer(stream TELEMETRY)"
    assert explorer.streams["kind"].to_dict() == {
        "FILES": "stream",
        "KV_config": "key-value bucket",
        "OBJ_reports": "object store",
        "TELEMETRY": "stream",
        "TOPICS": "stream",
    }
    assert explorer.streams["messages"].loc[["TELEMETRY", "TOPICS"]].tolist() == [181, 400]
    assert explorer.channels.index.name == "subject"
    assert len(explorer.channels) == 60
    assert [*explorer.chosen] == []
    assert explorer.df.index.tolist() == [*range(132, 182)]
    assert explorer.code == "lab.frame(stream='TELEMETRY', start_seq=132, end_seq=181)"
    await assert_code_loads_the_page(explorer, lab)
    await explorer.aio.older()
    await assert_code_loads_the_page(explorer, lab)
    await explorer.aio.seek(seq=3)
    assert explorer.df.index[0] == 3
    assert (await explorer.aio.open(2)).subject == "dev.rome.000.gps"
    statistics = await explorer.aio.describe()
    assert (statistics.messages, statistics.total) == (181, 181)
    explorer.close()


async def test_subjects_are_chosen_by_patterns_and_cleared(lab: Lab, tmp_path: Path) -> None:
    explorer = await explore(lab, page_size=50)
    aio = explorer.aio
    await aio.select("dev.rome.>")
    assert [*explorer.chosen] == ["dev.rome.>"]
    assert {subject.split(".")[1] for subject in explorer.df["channel"]} == {"rome"}
    assert explorer.code.startswith("lab.frame(stream='TELEMETRY', subject='dev.rome.>', ")
    await assert_code_loads_the_page(explorer, lab)
    assert (await aio.export(tmp_path / "rome.ndjson")).rows == 61
    await aio.select("dev.*.*.temp", "dev.oslo.001.temp", "dev.lima.002.gps")
    assert [*explorer.chosen] == ["dev.*.*.temp", "dev.lima.002.gps"]
    await assert_code_loads_the_page(explorer, lab)
    await aio.select(["dev.rome.*.temp", "dev.*.000.*"])  # which the server would not take
    assert len(explorer.chosen) == 11
    assert explorer.df.index[-1] == 181
    with pytest.raises(UnknownChannelError, match=r"subject 'dev.rom' holds no messages"):
        await aio.select("dev.rom")
    assert len(explorer.chosen) == 11
    await aio.select("nothing.>")
    assert len(explorer.df) == 0
    assert explorer.code  # which finds what comes
    await aio.select()
    assert [*explorer.chosen] == []
    assert explorer.df.index.tolist() == [*range(132, 182)]
    assert (await aio.export(tmp_path / "all.ndjson")).rows == 181
    explorer.close()


async def test_another_stream_is_looked_at(lab: Lab) -> None:
    explorer = await explore(lab, page_size=50)
    aio = explorer.aio
    await aio.filter(condition="value > 0")
    await aio.select(stream="TOPICS")
    assert (explorer.stream, explorer.chosen, explorer.condition) == ("TOPICS", (), "")
    assert len(explorer.channels) == 400
    assert explorer.df.index.tolist() == [*range(351, 401)]
    await assert_code_loads_the_page(explorer, lab)
    await aio.select("topic.7.>")
    assert len(explorer.df) == 10
    for wrong in ({"stream": "TOPIC"}, {"stream": "no.such"}):
        with pytest.raises((StreamNotFoundError, ValueError)):
            await aio.select(**wrong)
        assert explorer.error
        assert (explorer.stream, len(explorer.df)) == ("TOPICS", 10)
    await aio.select("$KV.config.>", stream="KV_config")
    assert explorer.channels.index.str.startswith("$KV.config.").all()
    assert "$KV.config.motto" in explorer.df["channel"].tolist()
    explorer.close()
    named = await explore(lab, "topic.1.1", stream="TOPICS")
    assert named.df["channel"].tolist() == ["topic.1.1"]
    named.close()


async def test_the_view_shows_streams_and_switches(lab: Lab) -> None:
    explorer = await explore(lab)
    view = explorer.view()
    shown = view.channels
    await until(lambda: shown.stream == "TELEMETRY" and len(shown.names) == 60)
    assert shown.streams[:2] == [["FILES", "stream", 5], ["TELEMETRY", "stream", 181]]
    assert shown.streams[-2][1:] == ["key-value bucket", explorer.streams.messages["KV_config"]]
    assert (shown.noun, shown.names[0], shown.counts[0]) == ("subject", "dev.lima.002.gps", 3)
    await until(lambda: "TELEMETRY · all subjects · 181 of 181 messages" in view.status.place)
    shown._on_message({"type": "stream", "name": "TOPICS"})
    await until(lambda: len(shown.names) == 400 and shown.stream == "TOPICS")
    shown.chosen = ["topic.7.>", "topic.8.>"]
    await until(lambda: "TOPICS · topic.7.>, topic.8.> · 20 of 20" in view.status.place)
    shown.chosen = []
    await until(lambda: "all subjects · 200 of 400 messages" in view.status.place)
    shown._on_message({"type": "stream", "name": "gone"})
    await until(lambda: "'gone' does not exist" in view.status.problem)
    assert shown.stream == "TOPICS"
    explorer.close()


async def test_varcos_own_stream_comes_first(strangers: LocalNats) -> None:
    settings = login(strangers).model_copy(
        update={"stream_name": "own", "subject_prefix": "own", "channel_prefix": "shop-"}
    )
    nc = await connect(strangers)
    with await asyncio.to_thread(Lab, settings) as lab:
        for channel in ("orders.eu", "orders.us", "payments"):
            await publish(lab, 1, 2, channel=channel)
        explorer = await explore(lab)
        assert (explorer.stream, explorer.streams["kind"]["own"]) == ("own", "varco")
        assert explorer.df["channel"].nunique() == 3
        await assert_code_loads_the_page(explorer, lab)
        await explorer.aio.select("orders.*")
        assert explorer.df["channel"].unique().tolist() == ["orders.eu", "orders.us"]
        await assert_code_loads_the_page(explorer, lab)
        explorer.selected_seqs = [1, 3]
        assert "orders.eu" in explorer.selected_code
        await explorer.aio.tail()
        await publish(lab, 3, channel="orders.us")
        await until(lambda: explorer.df.index.tolist() == [1, 2, 3, 4, 7])
        await explorer.aio.select(stream="TOPICS")
        await explorer.aio.select("payments", stream="own")
        assert explorer.df["channel"].unique().tolist() == ["payments"]
        explorer.close()
    await nc.jetstream().delete_stream("own")
    await nc.close()


async def test_a_login_that_may_see_one_stream(strangers: LocalNats) -> None:
    with await asyncio.to_thread(Lab, login(strangers, "one")) as lab:
        explorer = await explore(lab, stream="TELEMETRY")
        assert len(explorer.df) == 181
        assert len(explorer.channels) == 60
        assert explorer.streams.empty
        assert not explorer.error
        explorer.close()
        explorer = await explore(lab)
        assert "does not let this login publish to '$JS.API.STREAM" in explorer.error
        assert "lab.explore(stream=…)" in explorer.notice
        await explorer.aio.select(stream="TELEMETRY")
        assert len(explorer.df) == 181
        assert not explorer.error
        explorer.close()


async def test_a_stream_that_is_deleted_while_it_is_shown(
    strangers: LocalNats, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_POLL_SECONDS", 0.05)
    nc = await connect(strangers)
    js = nc.jetstream()
    await js.add_stream(StreamConfig(name="SHORT", subjects=["short.>"]))
    odd = ["short.größer", "short.<b>$x$", 'short."quoted"', "short.a\\b", "short.\x01\u202e"]
    for subject in odd:
        await js.publish(subject, b"1")
    explorer = await explore(lab, stream="SHORT")
    assert explorer.channels.index.tolist() == sorted(odd)
    for subject in odd:
        await explorer.aio.select(subject)
        assert explorer.df["channel"].tolist() == [subject]
    await explorer.aio.select()
    explorer.watch()
    await until(lambda: "SHORT" in explorer.streams.index)
    await js.delete_stream("SHORT")
    await until(lambda: "'SHORT' does not exist" in explorer.error)
    with pytest.raises(StreamNotFoundError):
        await explorer.aio.newest()
    assert len(explorer.df) == 5
    assert "'SHORT' does not exist" in explorer.error
    await js.add_stream(StreamConfig(name="SHORT", subjects=["short.>"]))
    await js.publish("short.again", b"1")
    await explorer.aio.retry()
    await explorer.aio.newest()
    await until(lambda: not explorer.error)
    assert explorer.df["channel"].tolist() == ["short.again"]
    explorer.close()
    await js.delete_stream("SHORT")
    await nc.close()


async def test_a_server_that_holds_nothing_and_goes(settings: NatsEventBusSettings) -> None:
    with LocalNats() as server:
        own = settings.model_copy(update={"servers": server.url})
        with await asyncio.to_thread(Lab, own) as lab:
            explorer = await explore(lab)
            assert (len(explorer.df), len(explorer.channels), explorer.error) == (0, 0, "")
            assert explorer.stream == own.stream_name
            await explorer.aio.tail()
            await publish(lab, 1)
            await until(lambda: len(explorer.df) == 1)
            await explorer.aio.refresh()
            assert explorer.channels.index.tolist() == ["orders"]
            await explorer.aio.tail(False)
            await asyncio.to_thread(server.kill)
            lost: list[Explorer] = [explorer, await explore(lab)]
            with pytest.raises(Exception, match=r"connection is lost|unreachable|no answer"):
                await explorer.aio.newest()
            assert len(explorer.df) == 1
            assert all(each.error for each in lost)
            await asyncio.to_thread(server.start)
            await until(lambda: lab._session.connection.is_connected)
            await lost[1].aio.retry()
            assert len(lost[1].df) == 1
            for each in lost:
                each.close()
