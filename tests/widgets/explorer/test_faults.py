"""What goes wrong, and what is said about it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from nats.aio.client import Client
from varco_nats_widgets import Lab

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
