"""A JetStream that is elsewhere: in another domain behind a leaf node, or in another account."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nats
import pytest

from tests.conftest import MakeSettings
from tests.core.helpers import Handled, entry
from tests.events import OrderPlaced
from tests.leaf_nodes import Domains, ack_settings, hub_and_leaf
from tests.waiting import until
from varco_nats import NatsDLQ, NatsEventBus, NatsStreamManager, Replayer
from varco_nats._nats.client import connect
from varco_nats.channel import NatsChannelManagerSettings
from varco_nats.config import NatsEventBusSettings
from varco_nats.errors import (
    JetStreamUnavailableError,
    PublishError,
    ReplayLogError,
    SettingsError,
    StreamUnavailableError,
)
from varco_nats.health import NatsHealthCheck
from varco_nats.history import History
from varco_nats.replay import ReplayOutcome
from varco_nats.replay._log import ReplayLog
from varco_nats.server import LocalNats

ORDER = OrderPlaced(order_id="1")


# ---- settings ----------------------------------------------------------------------------


def test_what_requests_begin_with(monkeypatch: pytest.MonkeyPatch) -> None:
    assert NatsEventBusSettings().jetstream_api() == "$JS.API"
    assert NatsEventBusSettings(jetstream_domain="hub").jetstream_api() == "$JS.hub.API"
    assert NatsEventBusSettings(jetstream_api_prefix="from.hub.").jetstream_api() == "from.hub"
    monkeypatch.setenv("VARCO_NATS_JETSTREAM_DOMAIN", "edge")
    assert NatsEventBusSettings().jetstream_api() == "$JS.edge.API"
    monkeypatch.setenv("VARCO_NATS_JETSTREAM_DOMAIN", "")
    assert NatsEventBusSettings().jetstream_api() == "$JS.API"
    monkeypatch.setenv("VARCO_NATS_ADMIN_JETSTREAM_API_PREFIX", "JS.hub")
    assert NatsChannelManagerSettings().jetstream_api() == "JS.hub"


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"jetstream_domain": "a.b"}, "jetstream_domain"),
        ({"jetstream_domain": "a b"}, "VARCO_NATS_JETSTREAM_DOMAIN"),
        ({"jetstream_api_prefix": "a.>"}, "jetstream_api_prefix"),
        ({"jetstream_api_prefix": "."}, "jetstream_api_prefix"),
        ({"jetstream_domain": "hub", "jetstream_api_prefix": "x"}, "set only one"),
    ],
)
def test_settings_that_cannot_be(values: dict[str, Any], problem: str) -> None:
    with pytest.raises(SettingsError, match=problem):
        NatsEventBusSettings(**values)


# ---- another domain ----------------------------------------------------------------------


@pytest.fixture(scope="module", params=ack_settings().items(), ids=lambda param: param[0])
def servers(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Domains]:
    _, config = request.param
    with hub_and_leaf(tmp_path_factory.mktemp("jetstream"), config) as domains:
        yield domains


@pytest.fixture
def there(servers: Domains, make_settings: MakeSettings) -> NatsEventBusSettings:
    """Settings that reach the streams of the hub through the leaf node."""
    return make_settings(servers=servers.leaf.url, jetstream_domain="hub")


async def streams_of(server: LocalNats, prefix: str) -> list[str]:
    client = await nats.connect(server.url)
    infos = await client.jetstream().streams_info()
    await client.close()
    names = sorted(str(info.config.name) for info in infos)
    return [name.removeprefix(prefix) for name in names if name.startswith(prefix)]


@pytest.mark.parametrize("semantics", ["at_most_once", "at_least_once", "exactly_once"])
async def test_a_bus_behind_a_leaf_node_uses_the_hub(
    there: NatsEventBusSettings, servers: Domains, semantics: str
) -> None:
    settings = NatsEventBusSettings(**(dict(there) | {"delivery_semantics": semantics}))
    async with NatsEventBus(settings) as bus:
        handled = Handled(bus)
        ack = await bus.publish_acked(ORDER, channel="orders")
        assert (ack.stream, ack.seq) == (settings.stream_name, 1)
        await bus.publish_many([(OrderPlaced(order_id=str(n)), "orders") for n in range(2, 50)])
        await until(lambda: handled.orders == [str(n) for n in range(1, 50)])
        health = await NatsHealthCheck(settings, bus=bus).check()
        assert health.status.value == "healthy"
    async with History(settings) as history:
        assert [message.seq async for message in history.read("orders")] == list(range(1, 50))
        assert [m.seq async for m in history.read(newest_first=True, limit=2)] == [49, 48]
    assert await streams_of(servers.hub, settings.stream_name) == [""]
    assert await streams_of(servers.leaf, settings.stream_name) == []


async def test_a_stream_of_the_leaf_node_is_not_taken_for_that_of_the_hub(
    there: NatsEventBusSettings, servers: Domains
) -> None:
    """It captures the same subjects, and may answer first."""
    client = await nats.connect(servers.leaf.url)
    js = client.jetstream()
    async with NatsEventBus(there) as bus:
        await js.add_stream(name=there.stream_name, subjects=[there.wildcard_subject()])
        errors = []
        for _ in range(5):
            try:
                await bus.publish(ORDER, channel="orders")
            except PublishError as error:
                errors.append(str(error))
        assert all("of domain 'leaf' has stored it" in error for error in errors)
        at_hub = client.jetstream(domain="hub")

        async def is_there() -> bool:
            return (await at_hub.stream_info(there.stream_name)).state.messages == 5

        await until(is_there)
    assert errors
    await js.delete_stream(there.stream_name)
    await client.close()


async def test_what_another_domain_has_stored_is_not_taken_for_stored(
    there: NatsEventBusSettings, servers: Domains
) -> None:
    """Dead letters and declarations, where only the leaf node has streams for them."""
    settings = there.model_copy(update={"publish_timeout_seconds": 1, "publish_attempts": 2})
    fields = NatsChannelManagerSettings.model_fields
    admin = NatsChannelManagerSettings(**{name: getattr(settings, name) for name in fields})
    client = await nats.connect(servers.leaf.url)
    here, at_hub = client.jetstream(), client.jetstream(domain="hub")
    async with (
        NatsEventBus(settings),
        NatsDLQ(settings) as dlq,
        NatsStreamManager(admin) as manager,
    ):
        moved = [f"{settings.stream_name}-dlq", f"{settings.stream_name}-channels"]
        for stream in moved:
            subjects = (await at_hub.stream_info(stream)).config.subjects
            await at_hub.delete_stream(stream)
            await here.add_stream(name=stream, subjects=subjects)

        pushed = entry()
        await dlq.push(pushed)
        assert dlq.waiting == 1
        with pytest.raises(StreamUnavailableError, match="of domain 'leaf' has stored it"):
            await manager.declare_channel("orders")

        for stream in moved:
            await here.delete_stream(stream)
        await until(lambda: not dlq.waiting)
        assert await dlq.list_entries() == [pushed]
    await client.close()


async def test_a_plan_that_another_domain_has_stored_is_not_taken_for_stored(
    there: NatsEventBusSettings, servers: Domains
) -> None:
    """Before it is known to be in the log, none of its messages is published."""
    settings = there.model_copy(update={"publish_attempts": 2})
    connection = await connect(settings, name="test")
    client = await nats.connect(servers.leaf.url)
    here = client.jetstream()
    log = ReplayLog(connection, settings)
    await log.ensure()
    subjects = (await connection.js.stream_info(log.stream)).config.subjects
    await connection.js.delete_stream(log.stream)
    await here.add_stream(name=log.stream, subjects=subjects)
    with pytest.raises(ReplayLogError, match="of domain 'leaf' has stored it"):
        await log.write_keys("run", [entry().entry_id])
    await here.delete_stream(log.stream)
    await client.close()
    await connection.close()


async def test_dead_letters_and_replays_behind_a_leaf_node(
    there: NatsEventBusSettings, servers: Domains
) -> None:
    failing = True

    def handle(event: object) -> None:
        handled.append(event)
        if failing:
            raise ValueError("not now")

    handled: list[object] = []
    settings = NatsEventBusSettings(**(dict(there) | {"max_deliver": 1}))
    async with NatsDLQ(settings) as dlq, NatsEventBus(settings, dlq=dlq) as bus:
        bus.subscribe(OrderPlaced, handle, channel="orders")
        await bus.publish(ORDER, channel="orders")

        async def is_dead() -> bool:
            return await dlq.count() == 1

        await until(is_dead)
        failing = False
        [found] = await dlq.list_entries()
        assert found.channel == "orders"
        assert [leased.entry_id for leased in await dlq.pop_batch()] == [found.entry_id]
        async with Replayer(dlq) as replayer:
            report = await replayer.run(await replayer.plan(), confirm="nobody")
        assert report.counts == {ReplayOutcome.REPLAYED: 1}
        await until(lambda: len(handled) == 2)
        assert await dlq.count() == 0
        await dlq.push(entry(7))
        await dlq.delete(entry(7).entry_id)
    assert await streams_of(servers.hub, settings.stream_name) == ["", "-dlq", "-replays"]
    assert await streams_of(servers.leaf, settings.stream_name) == []


async def test_channels_are_declared_in_the_domain(
    there: NatsEventBusSettings, servers: Domains
) -> None:
    admin = NatsChannelManagerSettings(
        servers=there.servers,
        stream_name=there.stream_name,
        subject_prefix=there.subject_prefix,
        jetstream_domain="hub",
    )
    async with NatsStreamManager(admin) as manager:
        await manager.declare_channel("orders")
        assert await manager.list_channels() == ["orders"]
        await manager.delete_channel("orders")
    assert await streams_of(servers.hub, there.stream_name) == ["", "-channels"]
    assert await streams_of(servers.leaf, there.stream_name) == []


async def test_a_domain_that_is_not_there(there: NatsEventBusSettings) -> None:
    settings = NatsEventBusSettings(**(dict(there) | {"jetstream_domain": "hbu"}))
    for start in (NatsEventBus(settings).start, NatsDLQ(settings).start, History(settings).start):
        with pytest.raises(JetStreamUnavailableError, match="in domain 'hbu'") as caught:
            await start()
        assert caught.value.domain == "hbu"
        assert "in domain 'leaf'" in str(caught.value)
    health = await NatsHealthCheck(settings).check()
    assert "in domain 'hbu'" in str(health.detail)


# ---- another account ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def importing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalNats]:
    """A server on which account APP, without a JetStream, imports that of account DATA."""
    folder: Path = tmp_path_factory.mktemp("jetstream")
    config = f"""
    jetstream {{ store_dir: "{folder}" }}
    accounts {{
        DATA: {{
            jetstream: enabled
            users: [ {{ user: data, password: x }} ]
            exports: [
                {{ service: "$JS.API.>", response_type: stream }}
                {{ service: "$JS.ACK.>" }}
                {{ service: "shop.>", response_type: stream }}
            ]
        }}
        APP: {{
            users: [ {{ user: app, password: x }} ]
            imports: [
                {{ service: {{ account: DATA, subject: "$JS.API.>" }}, to: "DATA.API.>" }}
                {{ service: {{ account: DATA, subject: "$JS.ACK.>" }} }}
                {{ service: {{ account: DATA, subject: "shop.>" }} }}
            ]
        }}
    }}
    """
    with LocalNats(config=config, token=None, jetstream=False) as server:
        yield server


async def test_a_jetstream_that_is_imported_under_a_prefix(
    importing: LocalNats, make_settings: MakeSettings
) -> None:
    login = {"user": "app", "password": "x"}
    settings = make_settings(
        servers=importing.url,
        connect_kwargs=login,
        jetstream_api_prefix="DATA.API",
        subject_prefix="shop",
    )
    async with NatsEventBus(settings) as bus:
        handled = Handled(bus)
        await bus.publish(ORDER, channel="orders")
        await bus.publish_many([(OrderPlaced(order_id=str(n)), "orders") for n in range(2, 50)])
        await until(lambda: handled.orders == [str(n) for n in range(1, 50)])
    async with History(settings) as history:
        assert [message.seq async for message in history.read("orders")] == list(range(1, 50))
    client = await nats.connect(importing.url, user="data", password="x")
    info = await client.jetstream().consumer_info(settings.stream_name, "svc-orders")
    assert info.ack_floor.stream_seq == 49
    await client.close()


async def test_a_prefix_under_which_nothing_is_imported(
    importing: LocalNats, make_settings: MakeSettings
) -> None:
    login = {"user": "app", "password": "x"}
    settings = make_settings(
        servers=importing.url, connect_kwargs=login, jetstream_api_prefix="OTHER.API"
    )
    with pytest.raises(JetStreamUnavailableError, match=r"prefix 'OTHER\.API'") as caught:
        await NatsEventBus(settings).start()
    assert caught.value.api_prefix == "OTHER.API"
    with pytest.raises(JetStreamUnavailableError, match="jetstream_domain"):
        await NatsEventBus(make_settings(servers=importing.url, connect_kwargs=login)).start()
