"""The values of a bucket as they change."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest
from nats.aio.client import Client
from nats.js.api import KeyValueConfig
from varco_nats_widgets import Lab

from tests.proxy import Proxy
from tests.waiting import until
from tests.widgets.stores.helpers import new_bucket
from varco_nats.server import LocalNats


async def test_it_is_what_the_bucket_has(lab: Lab, nc: Client) -> None:
    async with new_bucket(nc, history=3) as (name, kv):
        await kv.put("a", b'{"v": 1}')
        live = await (await lab.aio.kv(name)).aio.live()
        assert (live.keys, live.changes) == (1, 0)
        assert live.df["v"].to_dict() == {"a": 1}
        await kv.put("b", b'{"v": 2}')
        await kv.put("a", b'{"v": 3}')
        await live.aio.wait(2)
        assert live.df["v"].to_dict() == {"a": 3, "b": 2}
        await kv.delete("a")
        await live.aio.wait(3)
        assert live.df["v"].to_dict() == {"b": 2}
        assert (live.keys, live.state, live.error) == (1, "live", None)
        assert repr(live) == f"LiveKeyValues({name!r})"
        await live.aio.stop()
        assert live.state == "stopped"
        with pytest.raises(TimeoutError, match="3 of 4 changes"):
            await live.aio.wait(4)
        await live.aio.stop()


async def test_what_goes_without_a_message_goes_here_too(lab: Lab, nc: Client) -> None:
    async with new_bucket(nc, ttl=2) as (name, kv):
        await kv.put("expires", b"1")
        live = await (await lab.aio.kv(name)).aio.live()
        assert live.keys == 1
        await until(lambda: live.keys == 0)
        assert live.df.empty
    async with new_bucket(nc) as (name, kv):
        for key in ("a", "b"):
            await kv.put(key, b"1")
        live = await (await lab.aio.kv(name)).aio.live()
        await nc.jetstream().purge_stream(f"KV_{name}", subject=f"$KV.{name}.a")
        await until(lambda: live.keys == 1)
        assert live.df.index.tolist() == ["b"]


async def test_a_bucket_that_is_made_anew_is_followed(lab: Lab, nc: Client) -> None:
    async with new_bucket(nc) as (name, kv):
        for key in ("a", "b"):
            await kv.put(key, b"1")
        live = await (await lab.aio.kv(name)).aio.live()
        js = nc.jetstream()
        await js.delete_key_value(name)
        await until(lambda: live.state == "waiting")
        assert "does not exist" in str(live.error)
        kv = await js.create_key_value(KeyValueConfig(bucket=name))
        for key in ("c", "d"):
            await kv.put(key, b"2")
        await until(lambda: live.df.index.tolist() == ["c", "d"])
        assert live.keys == 2
        await until(lambda: live.state == "live")


async def test_nothing_is_missed_when_the_connection_was_lost(
    server: LocalNats, nc: Client
) -> None:
    async with Proxy(server.port) as proxy, new_bucket(nc) as (name, kv):
        lab = await asyncio.to_thread(Lab, proxy.url_for(server.url))
        live = await (await lab.aio.kv(name)).aio.live()
        await kv.put("a", b"1")
        await live.aio.wait(1)
        proxy.disconnect()
        await kv.put("a", b"2")
        await kv.put("b", b"3")
        await until(lambda: live.keys == 2)
        await live.aio.wait(3)
        assert live.df["value"].to_dict() == {"a": 2, "b": 3}
        await asyncio.to_thread(lab.close)


async def test_it_is_shown_and_ends_with_what_has_it(lab: Lab, nc: Client) -> None:
    async with new_bucket(nc) as (name, kv):
        await kv.put("greeting", b"<b>hello</b>")
        live = await (await lab.aio.kv(name)).aio.live()
        shown = live._repr_mimebundle_()
        assert shown["text/plain"] == f"LiveKeyValues({name!r})"
        assert "&lt;b&gt;hello" in shown["text/html"]
        assert "application/vnd.jupyter.widget-view+json" in shown
        view = live.view()
        await kv.put("more", b"1")
        await shows_two(view)
        gone = weakref.ref(live)
        del live, shown, view
        await until(lambda: gc.collect() >= 0 and gone() is None)
        js = nc.jetstream()
        await until(lambda: _no_consumers(js, name))
        live = await (await lab.aio.kv(name)).aio.live()
        view = live.view()
        view.stop.click()
        await until(lambda: live.state == "stopped")
        await until(lambda: view.stop.disabled)
        view.close()


async def shows_two(view: Any) -> None:
    await until(lambda: "2 keys · 1 change" in view.status.value)
    await until(lambda: len(view.table.frame) == 2)


async def _no_consumers(js: object, name: str) -> bool:
    return not await js.consumers_info(f"KV_{name}")  # type: ignore[attr-defined]


async def test_it_ends_with_its_lab(server: LocalNats, nc: Client) -> None:
    async with new_bucket(nc) as (name, _):
        lab = Lab(server.url)
        live = await (await lab.aio.kv(name)).aio.live()
        await asyncio.to_thread(lab.close)
        assert live.state == "stopped"
        live.stop()
        assert not await nc.jetstream().consumers_info(f"KV_{name}")
