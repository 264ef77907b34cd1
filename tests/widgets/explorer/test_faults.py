"""What goes wrong, and what is said about it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import nats
import pytest
from msgspec import msgpack
from nats.aio.client import Client
from varco_nats_widgets import Lab
from varco_nats_widgets.decoders import DecoderLike

from tests.proxy import ANSWERS, Proxy
from tests.waiting import until
from tests.widgets.explorer.helpers import explore, publish
from varco_nats.config import NatsEventBusSettings
from varco_nats.errors import (
    ServerUnreachableError,
    UnknownChannelError,
)
from varco_nats.server import LocalNats


async def test_unknown_channel(lab: Lab) -> None:
    await publish(lab, 1)
    with pytest.raises(UnknownChannelError, match=r"'ordrs' holds no messages; did you mean"):
        await explore(lab, "ordrs")
    explorer = await explore(lab, "orders")
    with pytest.raises(UnknownChannelError):
        await explorer.aio.select("orders", "other")
    assert "'other' holds no messages" in explorer.error
    assert explorer.chosen == ("orders",)
    with pytest.raises(ValueError, match="page_size=0"):
        await explore(lab, page_size=0)


async def test_lost_server_is_an_error_that_retry_mends(
    settings: NatsEventBusSettings, server: LocalNats, make_settings: Callable[..., Any]
) -> None:
    async with Proxy(server.port) as proxy:
        through = make_settings(servers=proxy.url_for(server.url))
        with await asyncio.to_thread(Lab, through) as lab:
            await asyncio.to_thread(lambda: lab.bus)  # the proxy runs on this loop
            await publish(lab, *range(1, 11))
            explorer = await explore(lab, "orders", page_size=3)
            proxy.drop(ANSWERS)
            proxy.disconnect()
            await until(lambda: not lab._session.connection.is_connected)
            with pytest.raises(ServerUnreachableError):
                await explorer.aio.older()
            assert "connection is lost" in explorer.error
            assert explorer.df.index.tolist() == [8, 9, 10]
            assert not explorer.busy
            proxy.restore()
            await until(lambda: lab._session.connection.is_connected)
            await until(lambda: not explorer.error)
            await explorer.aio.retry()
            assert explorer.df.index.tolist() == [5, 6, 7]
            assert not explorer.error


async def test_a_server_that_is_killed_and_comes_back_under_a_plot_and_another_decoder() -> None:
    with LocalNats() as server:
        client = await nats.connect(server.url)
        js = client.jetstream()
        await js.add_stream(name="varco-events", subjects=["varco.>"])

        async def measure(*values: int) -> None:
            for value in values:
                await js.publish("varco.telemetry", msgpack.encode({"value": value}))

        await measure(1, 2, 3)
        decoders: dict[str, DecoderLike] = {"telemetry": "msgpack"}
        with await asyncio.to_thread(Lab, server.url, decoders=decoders) as lab:
            explorer = await explore(lab, "telemetry")
            await explorer.aio.read_as(lambda data: {"size": len(data)})
            live = await lab.aio.live("telemetry", start_seq=1)
            plot = live.plot("value")
            view = plot.view()
            await until(lambda: len(plot.lines.get("value", ())) == 3)
            server.kill()
            await until(lambda: plot.state == "reconnecting")
            view.flush()
            assert plot.lines["value"].tolist() == [1, 2, 3]
            with pytest.raises(ServerUnreachableError):
                await explorer.aio.refresh()
            assert explorer.df["size"].tolist() == [8, 8, 8]
            server.restart()
            await until(lambda: client.is_connected and lab._session.connection.is_connected)
            await measure(4, 5)
            await until(lambda: len(plot.lines["value"]) == 5, 60)
            await until(lambda: plot.state == "live")
            view.flush()
            # each once, and nothing is left to be said
            assert plot.lines["value"].tolist() == [1, 2, 3, 4, 5]
            assert (plot.error, plot.notice, live.gaps) == (None, "", 0)
            await explorer.aio.retry()
            assert explorer.df["size"].tolist() == [8] * 5
            assert (explorer.error, explorer.df.columns.tolist()[5:]) == ("", ["size"])
            view.close()
            live.stop()
            explorer.close()
        await client.close()


async def test_closed_lab_is_an_error(lab: Lab) -> None:
    await publish(lab, 1)
    explorer = await explore(lab, "orders")
    explorer.watch()
    await explorer.aio.tail()
    await asyncio.to_thread(lab.close)
    with pytest.raises(RuntimeError, match="this Lab is closed"):
        await explorer.aio.older()
    explorer.stop()
    explorer.close()


async def test_messages_that_go_while_one_looks(lab: Lab, nc: Client) -> None:
    await publish(lab, *range(1, 31))
    explorer = await explore(lab, "orders", page_size=10)
    await nc.jetstream().purge_stream(lab.settings.stream_name)
    await explorer.aio.older()
    assert explorer.notice == "there is nothing older"
    await explorer.aio.refresh()
    assert len(explorer.df) == 0
    await explorer.aio.newer()
    await publish(lab, 31)
    await explorer.aio.newer()
    assert explorer.df.index.tolist() == [31]
