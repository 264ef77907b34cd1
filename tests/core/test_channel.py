"""`NatsStreamManager`: declarations that all processes see, and exact listings and deletions."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client
from providify import DIContainer, Provider
from varco_core.event.base import ChannelConfig
from varco_core.event.channel import ChannelManager

from varco_nats import channel as channel_module
from varco_nats._nats.client import Connection
from varco_nats.channel import NatsChannelManagerSettings, NatsStreamManager
from varco_nats.config import NatsEventBusSettings
from varco_nats.errors import (
    AlreadyStartedError,
    InvalidChannelError,
    JetStreamUnavailableError,
    NotStartedError,
    ServerUnreachableError,
    SettingsError,
    StreamMismatchError,
    StreamNotFoundError,
    StreamUnavailableError,
)
from varco_nats.server import LocalCluster, LocalNats

Publish = Callable[..., Awaitable[None]]

BAD_CHANNELS = ["", " ", "a b", "x.>", "x.*", ">", "a..b", ".a", "a.", "a\x00b", None, 7]


@pytest.fixture
def admin(settings: NatsEventBusSettings) -> NatsChannelManagerSettings:
    return NatsChannelManagerSettings(
        servers=settings.servers,
        stream_name=settings.stream_name,
        subject_prefix=settings.subject_prefix,
    )


@pytest.fixture
async def manager(admin: NatsChannelManagerSettings) -> AsyncIterator[NatsStreamManager]:
    async with NatsStreamManager(admin) as manager:
        yield manager


@pytest.fixture
def publish(nc: Client, admin: NatsChannelManagerSettings) -> Publish:
    """Store messages in channels, as somebody else would."""

    async def store(*channels: str, prefix: str = "") -> None:
        for channel in channels:
            await nc.jetstream().publish(f"{admin.subject_prefix}.{prefix}{channel}", b"{}")

    return store


def connection_of(manager: NatsStreamManager) -> Connection:
    assert manager._connection is not None
    return manager._connection


async def count(nc: Client, stream: str) -> int:
    return (await nc.jetstream().stream_info(stream)).state.messages


# ---- settings and lifecycle --------------------------------------------------------------


def test_settings_come_from_their_own_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VARCO_NATS_ADMIN_SERVERS", "nats://admin:1")
    monkeypatch.setenv("VARCO_NATS_ADMIN_CHANNEL_PREFIX", "dev.")
    settings = NatsChannelManagerSettings.from_env()
    assert settings.to_servers_list() == ["nats://admin:1"]
    assert settings.subject_name("orders") == "varco.dev.orders"
    with pytest.raises(SettingsError, match="VARCO_NATS_ADMIN_STREAM_REPLICAS"):
        NatsChannelManagerSettings(stream_replicas=9)


async def test_lifecycle(admin: NatsChannelManagerSettings) -> None:
    manager = NatsStreamManager(admin)
    assert isinstance(manager, ChannelManager)
    await manager.stop()
    for call in (
        manager.declare_channel("a"),
        manager.delete_channel("a"),
        manager.channel_exists("a"),
        manager.channel_has_messages("a"),
        manager.declared_config("a"),
        manager.list_channels(),
    ):
        with pytest.raises(NotStartedError):
            await call
    await manager.start()
    with pytest.raises(AlreadyStartedError) as raised:
        await manager.start()
    assert isinstance(raised.value, RuntimeError)
    assert await manager.list_channels() == []
    await manager.stop()
    await manager.stop()
    with pytest.raises(RuntimeError):
        await manager.list_channels()
    async with manager as started:
        assert started is manager
        assert await manager.list_channels() == []


async def test_two_starts_at_once_make_one_connection(admin: NatsChannelManagerSettings) -> None:
    manager = NatsStreamManager(admin)
    results = await asyncio.gather(manager.start(), manager.start(), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == [
        "AlreadyStartedError",
        "NoneType",
    ]
    await manager.stop()


async def test_stop_finishes_what_runs(admin: NatsChannelManagerSettings) -> None:
    manager = NatsStreamManager(admin)
    await manager.start()
    declaring = [asyncio.create_task(manager.declare_channel(f"c{n}")) for n in range(50)]
    asking = [asyncio.create_task(manager.channel_exists(f"d{n}")) for n in range(50)]
    await asyncio.sleep(0)
    await manager.stop()
    assert await asyncio.gather(*asking) == [False] * 50  # two requests each
    await asyncio.gather(*declaring)
    async with manager:
        assert len(await manager.list_channels()) == 50


async def test_a_container_gives_it_and_stops_it(admin: NatsChannelManagerSettings) -> None:
    container = DIContainer()
    container.provide(Provider(singleton=True)(_settings_provider(admin)))
    container.register(NatsStreamManager)
    manager: ChannelManager = await container.aget(ChannelManager)
    await manager.declare_channel("orders")
    await container.ashutdown()
    with pytest.raises(NotStartedError):
        await manager.list_channels()


def _settings_provider(
    admin: NatsChannelManagerSettings,
) -> Callable[[], NatsChannelManagerSettings]:
    def settings() -> NatsChannelManagerSettings:
        return admin

    return settings


def test_repr_shows_no_secret() -> None:
    settings = NatsChannelManagerSettings(
        servers="nats://svc:s3cret@host", connect_kwargs={"token": "s3cret"}
    )
    assert "s3cret" not in repr(settings) + str(settings) + repr(NatsStreamManager(settings))
    assert "host" in repr(NatsStreamManager(settings))


async def test_start_without_a_server_jetstream_or_these_subjects(
    admin: NatsChannelManagerSettings, nc: Client
) -> None:
    with pytest.raises(ServerUnreachableError):
        await NatsStreamManager(NatsChannelManagerSettings(servers="nats://127.0.0.1:1")).start()
    with LocalNats(jetstream=False) as server, pytest.raises(JetStreamUnavailableError):
        await NatsStreamManager(NatsChannelManagerSettings(servers=server.url)).start()
    await nc.jetstream().add_stream(name=admin.stream_name, subjects=[f"{admin.stream_name}-x.>"])
    manager = NatsStreamManager(admin)
    with pytest.raises(StreamMismatchError, match=admin.stream_name):
        await manager.start()
    await manager.stop()


# ---- declaring ---------------------------------------------------------------------------


async def test_a_declared_channel_exists_until_it_is_deleted(manager: NatsStreamManager) -> None:
    assert not await manager.channel_exists("orders")
    await manager.declare_channel("orders")
    await manager.declare_channel("orders")
    assert await manager.channel_exists("orders")
    assert not await manager.channel_has_messages("orders")
    assert await manager.list_channels() == ["orders"]
    await manager.delete_channel("orders")
    assert not await manager.channel_exists("orders")
    assert await manager.list_channels() == []
    await manager.delete_channel("orders")
    await manager.declare_channel("orders")
    assert await manager.channel_exists("orders")


async def test_the_first_declaration_stays(
    manager: NatsStreamManager, nc: Client, admin: NatsChannelManagerSettings
) -> None:
    first = ChannelConfig(num_partitions=6, retention_ms=1000, extra={"owner": "zoë"})
    assert await manager.declared_config("orders") is None
    await manager.declare_channel("orders", first)
    await manager.declare_channel("orders", ChannelConfig(num_partitions=9))
    assert await manager.declared_config("orders") == first
    info = await nc.jetstream().stream_info(admin.declarations_stream())
    assert (info.state.messages, info.state.last_seq) == (1, 1)
    assert info.config.max_msgs_per_subject == 1
    assert info.config.allow_direct


BROKEN = [
    b"",
    b"\xff\xfe",
    b"null",
    b"[]",
    b'"text"',
    b"{",
    b"[" * 100_000,
    b'{"num_partitions": "three"}',
    b'{"num_partitions": null, "extra": []}',
    b'{"extra": {"a": "\\ud800"}}',
]


@pytest.mark.parametrize("broken", BROKEN, ids=range(len(BROKEN)))
async def test_a_broken_declaration_costs_its_own_channel_only(
    manager: NatsStreamManager,
    nc: Client,
    admin: NatsChannelManagerSettings,
    caplog: pytest.LogCaptureFixture,
    broken: bytes,
) -> None:
    await manager.declare_channel("orders", ChannelConfig(num_partitions=3))
    ack = await nc.jetstream().publish(f"{admin.declarations_prefix()}.bad", broken)

    assert await manager.list_channels() == ["bad", "orders"]
    assert await manager.channel_exists("bad")
    assert await manager.declared_config("orders") == ChannelConfig(num_partitions=3)
    assert await manager.declared_config("bad") == ChannelConfig()
    [warned] = [text for text in caplog.messages if "cannot be read" in text]
    where = f"channel 'bad', message {ack.seq} of stream {admin.declarations_stream()}, cannot"
    assert where in warned
    await manager.delete_channel("bad")
    assert await manager.list_channels() == ["orders"]


async def test_a_declaration_with_unknown_fields_is_read(
    manager: NatsStreamManager, nc: Client, admin: NatsChannelManagerSettings
) -> None:
    data = b'{"num_partitions": 3, "colour": "blue"}'
    await nc.jetstream().publish(f"{admin.declarations_prefix()}.orders", data)
    assert await manager.declared_config("orders") == ChannelConfig(num_partitions=3)


async def test_a_configuration_that_is_no_json_declares_nothing(manager: NatsStreamManager) -> None:
    with pytest.raises(SettingsError, match="extra"):
        await manager.declare_channel("orders", ChannelConfig(extra={"a": object()}))
    assert not await manager.channel_exists("orders")


@pytest.mark.parametrize("channel", BAD_CHANNELS, ids=repr)
async def test_bad_channel_names_are_refused_before_anything_is_sent(
    manager: NatsStreamManager, nc: Client, admin: NatsChannelManagerSettings, channel: Any
) -> None:
    await manager.declare_channel("keep")
    sent = connection_of(manager).nc.stats["out_msgs"]
    for operation in (
        manager.declare_channel,
        manager.delete_channel,
        manager.channel_exists,
        manager.channel_has_messages,
        manager.declared_config,
    ):
        with pytest.raises(InvalidChannelError):
            await operation(channel)
    assert connection_of(manager).nc.stats["out_msgs"] == sent
    assert await manager.list_channels() == ["keep"]


async def test_a_declaration_is_seen_by_another_process(
    manager: NatsStreamManager, admin: NatsChannelManagerSettings
) -> None:
    script = f"""
import asyncio
from varco_nats import channel as channel_module
from varco_nats.channel import NatsChannelManagerSettings, NatsStreamManager

async def main():
    settings = NatsChannelManagerSettings(servers={admin.servers!r},
        stream_name={admin.stream_name!r}, subject_prefix={admin.subject_prefix!r})
    async with NatsStreamManager(settings) as manager:
        print(await manager.list_channels(), await manager.channel_exists("ours"))
        for n in range(50):
            await manager.declare_channel(f"shared.{{n:02}}")
        await manager.declare_channel("theirs")

asyncio.run(main())
"""
    await manager.declare_channel("ours")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE
    )
    shared = [f"shared.{n:02}" for n in range(50)]
    while process.returncode is None and not await manager.channel_exists(shared[0]):
        pass  # each round asks the server
    await asyncio.gather(*(manager.declare_channel(name) for name in reversed(shared)))
    output, _ = await process.communicate()
    assert output.decode().strip() == "['ours'] True"
    assert await manager.list_channels() == ["ours", *shared, "theirs"]
    assert await manager.channel_exists("theirs")


async def test_a_declaration_outlasts_a_restart_of_the_server(tmp_path: Path) -> None:
    with LocalNats(store_dir=tmp_path) as server:
        settings = NatsChannelManagerSettings(servers=server.url)
        async with NatsStreamManager(settings) as manager:
            await manager.declare_channel("orders", ChannelConfig(num_partitions=3))
        server.kill()
        server.restart()
        async with NatsStreamManager(settings) as manager:
            assert await manager.list_channels() == ["orders"]
            assert await manager.declared_config("orders") == ChannelConfig(num_partitions=3)


@pytest.mark.parametrize("same", [True, False], ids=["same channels", "different channels"])
async def test_two_managers_declare_at_once(
    admin: NatsChannelManagerSettings, nc: Client, same: bool
) -> None:
    names = [[f"c{n if same else n + 50 * who}" for n in range(50)] for who in range(2)]
    async with NatsStreamManager(admin) as one, NatsStreamManager(admin) as two:
        await asyncio.gather(
            *(one.declare_channel(name, ChannelConfig(num_partitions=1)) for name in names[0]),
            *(two.declare_channel(name, ChannelConfig(num_partitions=2)) for name in names[1]),
        )
        expected = sorted({*names[0], *names[1]})
        assert await one.list_channels() == await two.list_channels() == expected
        # one message each was ever stored: nobody's declaration was overwritten
        info = await nc.jetstream().stream_info(admin.declarations_stream())
        assert info.state.last_seq == len(expected)
        seen = [await one.declared_config(name) for name in expected]
        assert seen == [await two.declared_config(name) for name in expected]


async def test_two_managers_start_at_once(admin: NatsChannelManagerSettings) -> None:
    one, two = NatsStreamManager(admin), NatsStreamManager(admin)
    await asyncio.gather(one.start(), two.start())
    await asyncio.gather(one.stop(), two.stop())


async def test_declaring_at_once_in_a_cluster(cluster: LocalCluster) -> None:
    settings = NatsChannelManagerSettings(servers=cluster.servers, stream_replicas=3)
    async with NatsStreamManager(settings) as one, NatsStreamManager(settings) as two:
        names = [f"c{n}" for n in range(30)]
        await asyncio.gather(
            *(manager.declare_channel(name) for name in names for manager in (one, two))
        )
        assert await one.list_channels() == sorted(names)
        info = await connection_of(one).js.stream_info(settings.declarations_stream())
        assert info.state.last_seq == len(names)
        assert all([await two.channel_exists(name) for name in names])


# ---- listing and deleting ----------------------------------------------------------------


async def test_a_declaration_that_is_on_its_way_proves_nothing(
    cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """10164: another one was proposed, and the replicas have not decided."""
    monkeypatch.setattr(channel_module, "_BUSY_ATTEMPTS", 3)
    settings = NatsChannelManagerSettings(servers=cluster.servers, stream_replicas=3)
    async with NatsStreamManager(settings) as first:
        await first.declare_channel("known")
        js = connection_of(first).js
        info = await js.stream_info(settings.declarations_stream())
        assert info.cluster is not None
        others = [node for node in cluster.nodes if node._name != info.cluster.leader]
        [leader] = set(cluster.nodes) - set(others)
        alone = settings.model_copy(update={"servers": leader.url})
        async with NatsStreamManager(alone) as manager:
            for node in others:
                await asyncio.to_thread(node.pause)
            nc = connection_of(manager).nc
            subject = f"{settings.declarations_prefix()}.orders"
            expected = {"Nats-Expected-Last-Subject-Sequence": "0"}
            await nc.publish(subject, b"{}", nc.new_inbox(), expected)
            await nc.flush()
            with pytest.raises(StreamUnavailableError, match="do not agree"):
                await manager.declare_channel("orders")
            for node in others:
                await asyncio.to_thread(node.resume)
            monkeypatch.undo()
            await manager.declare_channel("orders", ChannelConfig(num_partitions=3))
            assert await manager.declared_config("orders") == ChannelConfig()


async def test_a_channel_that_carries_messages_exists_without_a_declaration(
    manager: NatsStreamManager, publish: Publish
) -> None:
    await publish("orders", "orders.eu")
    await manager.declare_channel("payments")
    assert await manager.channel_exists("orders")
    assert await manager.channel_has_messages("orders")
    assert await manager.channel_exists("payments")
    assert not await manager.channel_has_messages("payments")
    assert await manager.list_channels() == ["orders", "orders.eu", "payments"]


async def test_a_part_of_a_channel_is_no_channel(
    manager: NatsStreamManager, publish: Publish
) -> None:
    await publish("orders.eu")
    await manager.declare_channel("stock.eu")
    for name in ("orders", "stock", "orders.e", "orders.eu.x"):
        assert not await manager.channel_exists(name)
        assert not await manager.channel_has_messages(name)
    assert await manager.list_channels() == ["orders.eu", "stock.eu"]


async def test_deleting_touches_no_channel_whose_name_starts_alike(
    manager: NatsStreamManager,
    publish: Publish,
    nc: Client,
    admin: NatsChannelManagerSettings,
) -> None:
    others = ["orders.eu", "orders2", "orders_eu", "order", "my.orders"]
    await publish("orders", "orders", *others)
    for channel in ("orders", *others):
        await manager.declare_channel(channel)
    await manager.delete_channel("orders")
    assert await manager.list_channels() == sorted(others)
    assert not await manager.channel_exists("orders")
    assert await count(nc, admin.stream_name) == len(others)
    for channel in others:
        assert await manager.channel_has_messages(channel)
        assert await manager.declared_config(channel) is not None


async def test_deleting_keeps_the_consumers(
    manager: NatsStreamManager,
    publish: Publish,
    nc: Client,
    admin: NatsChannelManagerSettings,
) -> None:
    await publish("orders")
    js = nc.jetstream()
    subject = admin.subject_name("orders")
    await js.pull_subscribe(subject, durable="svc-orders", stream=admin.stream_name)
    await manager.delete_channel("orders")
    assert (await js.consumer_info(admin.stream_name, "svc-orders")).num_pending == 0


@pytest.mark.parametrize("prefix", ["dev.", "dev-", "a.dev-"])
async def test_only_channels_of_the_prefix(
    manager: NatsStreamManager,
    admin: NatsChannelManagerSettings,
    publish: Publish,
    prefix: str,
) -> None:
    mine = admin.model_copy(update={"channel_prefix": prefix})
    await publish("orders")
    await publish("orders", prefix=prefix)
    await manager.declare_channel("stock")
    async with NatsStreamManager(mine) as prefixed:
        await prefixed.declare_channel("payments")
        assert await prefixed.list_channels() == ["orders", "payments"]
        assert not await prefixed.channel_exists("stock")
        await prefixed.delete_channel("orders")
        assert await prefixed.list_channels() == ["payments"]
    assert await manager.list_channels() == sorted(["orders", f"{prefix}payments", "stock"])


async def test_channels_that_other_streams_of_the_package_use_are_not_listed(
    manager: NatsStreamManager, nc: Client, admin: NatsChannelManagerSettings
) -> None:
    await nc.jetstream().add_stream(
        name=f"{admin.stream_name}-dlq", subjects=[f"{admin.subject_prefix}-dlq.>"]
    )
    await nc.jetstream().publish(f"{admin.subject_prefix}-dlq.1.orders", b"{}")
    assert await manager.list_channels() == []


@pytest.mark.timeout(180)
async def test_more_channels_than_the_server_lists_at_once(
    manager: NatsStreamManager, nc: Client, admin: NatsChannelManagerSettings
) -> None:
    total = 100_050
    for n in range(total):
        await nc.publish(f"{admin.subject_prefix}.c{n:06}", b"")
    await nc.flush()
    async with asyncio.timeout(120):
        while await count(nc, admin.stream_name) < total:
            pass  # each round asks the server
    await manager.declare_channel("zzz")
    channels = await manager.list_channels()
    assert len(channels) == total + 1
    assert channels[0] == "c000000"
    assert channels[-2:] == [f"c{total - 1:06}", "zzz"]


async def test_a_stream_that_somebody_deleted(
    manager: NatsStreamManager, nc: Client, admin: NatsChannelManagerSettings
) -> None:
    await nc.jetstream().delete_stream(admin.declarations_stream())
    for call in (
        manager.declare_channel("a"),
        manager.delete_channel("a"),
        manager.channel_exists("a"),
        manager.declared_config("a"),
        manager.list_channels(),
    ):
        with pytest.raises(StreamNotFoundError, match=admin.declarations_stream()):
            await call
