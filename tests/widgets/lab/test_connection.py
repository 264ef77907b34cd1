"""Which server a lab uses, and servers that go away."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from varco_nats_widgets import Lab

from tests.conftest import MakeSettings
from tests.proxy import ANSWERS, Proxy
from tests.waiting import side_by_side
from tests.widgets.lab.helpers import Warehouse, orders
from varco_nats.bus import NatsEventBus
from varco_nats.config import NatsEventBusSettings
from varco_nats.errors import (
    AuthenticationError,
    JetStreamUnavailableError,
    ServerUnreachableError,
    SettingsError,
    UnknownChannelError,
)
from varco_nats.server import LocalNats

# The server goes away


async def test_a_dead_local_server_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("varco_nats_widgets._session.session._AWAY_SECONDS", 0.5)
    lab = await asyncio.to_thread(Lab)
    await lab.bus.publish_many(orders(1))
    local = lab._session._local
    assert local is not None
    await asyncio.to_thread(local.kill)

    async def check(name: str) -> None:
        with pytest.raises(ServerUnreachableError, match="local server has ended"):
            await asyncio.to_thread(calls[name])

    calls: dict[str, Callable[[], object]] = {
        "channels": lab.channels,
        "streams": lab.streams,
        "frame": lambda: lab.frame("orders"),
        "explorer": lambda: lab["orders"],
    }
    await side_by_side(check, calls)
    assert await asyncio.to_thread(lab._ipython_key_completions_) == []
    await asyncio.to_thread(local.restart)
    assert len(await lab.aio.frame("orders")) == 1
    await lab.aio.close()


async def test_a_server_that_goes_away_in_the_middle(
    settings: NatsEventBusSettings, server: LocalNats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("varco_nats_widgets._session.session._AWAY_SECONDS", 0.5)
    proxy = Proxy(server.port)
    async with proxy:
        away = settings.model_copy(update={"servers": proxy.url_for(server.url)})
        async with NatsEventBus(settings) as bus:
            await bus.publish_many(orders(*range(10)))
        lab = await asyncio.to_thread(Lab, away)
        proxy.drop(ANSWERS)
        loading = asyncio.create_task(lab.aio.frame("orders"))
        await asyncio.sleep(0.1)
    with pytest.raises(ServerUnreachableError, match="the connection is lost") as caught:
        await loading
    assert server.url not in str(caught.value)  # which has a token
    await lab.aio.close()


async def test_a_short_absence_is_waited_for(
    settings: NatsEventBusSettings, server: LocalNats
) -> None:
    async with Proxy(server.port) as proxy:
        away = settings.model_copy(update={"servers": proxy.url_for(server.url)})
        async with NatsEventBus(settings) as bus:
            await bus.publish_many(orders(*range(10)))
        lab = await asyncio.to_thread(Lab, away)
        proxy.disconnect()
        assert len(await lab.aio.frame("orders")) == 10
        await lab.aio.close()


# Connecting


def test_servers_from_the_environment(server: LocalNats, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VARCO_NATS_SERVERS", server.url)
    with Lab() as lab:
        assert repr(lab) == f"Lab(nats://127.0.0.1:{server.port})"
        assert lab._session._local is None


def test_login_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with LocalNats(token="s3cret-token") as local:
        bare = f"nats://127.0.0.1:{local.port}"
        with pytest.raises(AuthenticationError):
            Lab(bare)
        monkeypatch.setenv("NATS_TOKEN", "s3cret-token")
        with Lab(bare) as lab:
            assert "s3cret-token" not in f"{lab!r} {lab.bus!r} {lab.aio!r} {lab.settings!r}"
        with pytest.raises(AuthenticationError):  # settings are taken as they are
            Lab(NatsEventBusSettings(servers=bare))


def test_errors_leave_nothing_behind() -> None:
    with pytest.raises(ServerUnreachableError, match=r"127\.0\.0\.1:1"):
        Lab("nats://127.0.0.1:1")
    with LocalNats(jetstream=False) as local, pytest.raises(JetStreamUnavailableError):
        Lab(local.url)
    with pytest.raises(SettingsError):
        Lab("")
    with pytest.raises(TypeError, match="not int"):
        Lab(4222)  # type: ignore[arg-type]


def test_a_second_lab_beside_the_first(make_settings: MakeSettings) -> None:
    with Lab(make_settings()) as one, Lab(make_settings()) as two:
        first, second = Warehouse(), Warehouse()
        first.register_to(one.bus)
        second.register_to(two.bus)
        asyncio.run(one.bus.publish_many(orders(1, 2)))
        asyncio.run(one.bus.drain())
        asyncio.run(two.bus.drain())
        assert first.packed == second.packed == [1, 2]


def test_two_labs_on_two_servers_are_not_mixed_up(server: LocalNats) -> None:
    """Each has its own names and messages; views say which server they are of, for as long."""
    with Lab() as first:
        asyncio.run(first.bus.publish_many(orders(1, 2)))
        explorer = first.explore("orders")
        assert (explorer.server, explorer.view()._server.layout.display) == ("", "none")
        with Lab() as second, Lab(server.url) as third:
            assert [repr(lab) for lab in (first, second, third)] == [
                "Lab(local server)",
                "Lab(local server 2)",
                f"Lab(nats://127.0.0.1:{server.port})",
            ]
            asyncio.run(second.bus.publish_many(orders(7, channel="payments")))
            assert first._ipython_key_completions_() == ["orders"]
            assert second._ipython_key_completions_() == ["payments"]
            live = second.live("payments", last="1h")
            assert (explorer.server, live.server) == ("local server", "local server 2")
            explorer.view().flush()
            assert "On local server" in explorer.view()._server.value
            assert explorer.view()._server.layout.display == ""
            with pytest.raises(UnknownChannelError, match="these channels do: 'payments'"):
                second.frame("orders")
            second.close()
            assert repr(second) == "Lab(local server 2, closed)"
            assert first.frame("orders")["number"].tolist() == [1, 2]
            assert third.streams().index.name == "stream"
        assert explorer.server == ""
        with Lab(first.settings) as again:  # the same server by another way
            assert again.frame("orders")["number"].tolist() == [1, 2]
            assert explorer.server == ""
        with Lab() as other:
            assert repr(other) == "Lab(local server 2)"
        explorer.close()


def test_a_lab_by_a_context(
    server: LocalNats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "nats" / "context"
    folder.mkdir(parents=True)
    (folder / "prod.json").write_text(json.dumps({"url": server.url}))
    (tmp_path / "nats" / "context.txt").write_text("prod")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("NATS_TOKEN", "of another server")
    for name in ("prod", ""):
        with Lab(context=name, read_only=True) as lab:
            assert repr(lab) == f"Lab(nats://127.0.0.1:{server.port}, context prod, read-only)"
            assert lab.streams().index.name == "stream"
            explorer = lab.explore()
        assert "lab = Lab(context='prod', read_only=True); lab.explore(" in explorer.closed
    with pytest.raises(SettingsError, match="'pord': there is none; did you mean 'prod'"):
        Lab(context="pord")
    with pytest.raises(ValueError, match="give a server or context="):
        Lab(server.url, context="prod")
