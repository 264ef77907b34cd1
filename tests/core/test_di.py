"""The container: a started bus, the user's own settings, a clean shutdown."""

from __future__ import annotations

import pytest
from providify import DIContainer, Provider
from varco_core.event.base import AbstractEventBus
from varco_core.event.channel import ChannelManager
from varco_core.event.dlq import AbstractDeadLetterQueue
from varco_core.event.producer import AbstractEventProducer
from varco_core.health import HealthCheck, HealthStatus

from tests.events import OrderPlaced
from tests.waiting import until
from varco_nats.bus import NatsEventBus
from varco_nats.config import NatsEventBusSettings
from varco_nats.di import bootstrap
from varco_nats.dlq import NatsDLQ, NatsDLQConfiguration
from varco_nats.server import LocalNats


@pytest.fixture
def environment(
    monkeypatch: pytest.MonkeyPatch, server: LocalNats, settings: NatsEventBusSettings
) -> NatsEventBusSettings:
    """The variables that describe `settings`."""
    for prefix in ("VARCO_NATS_", "VARCO_NATS_ADMIN_"):
        monkeypatch.setenv(f"{prefix}SERVERS", server.url)
        monkeypatch.setenv(f"{prefix}STREAM_NAME", settings.stream_name)
        monkeypatch.setenv(f"{prefix}SUBJECT_PREFIX", settings.subject_prefix)
    monkeypatch.setenv("VARCO_NATS_DURABLE_NAME", "from-environment")
    monkeypatch.setenv("VARCO_NATS_MAX_DELIVER", "1")
    return settings


async def test_container_gives_a_started_bus_and_stops_it(
    environment: NatsEventBusSettings,
) -> None:
    container = bootstrap()
    bus: AbstractEventBus = await container.aget(AbstractEventBus)
    assert isinstance(bus, NatsEventBus)
    assert "durable='from-environment'" in repr(bus)
    await bus.publish(OrderPlaced(order_id="1"), channel="orders")
    assert await container.aget(AbstractEventBus) is bus
    producer: AbstractEventProducer = await container.aget(AbstractEventProducer)
    assert producer._bus is bus  # type: ignore[attr-defined]
    await container.ashutdown()
    assert "started=False" in repr(bus)


async def test_settings_bound_by_the_user_win(environment: NatsEventBusSettings) -> None:
    @Provider(singleton=True)
    def settings() -> NatsEventBusSettings:
        return environment

    container = DIContainer()
    container.provide(settings)
    bus: AbstractEventBus = await bootstrap(container).aget(AbstractEventBus)
    assert "durable='svc'" in repr(bus)
    await container.ashutdown()


async def test_channel_manager_and_health_check(environment: NatsEventBusSettings) -> None:
    container = bootstrap()
    manager: ChannelManager = await container.aget(ChannelManager)
    async with manager:
        await manager.declare_channel("orders")
        assert await manager.list_channels() == ["orders"]
    result = await (await container.aget(HealthCheck)).check()
    assert result.status is HealthStatus.HEALTHY
    await container.ashutdown()


async def test_installed_dlq_is_the_bus_dlq(environment: NatsEventBusSettings) -> None:
    container = bootstrap()
    await container.ainstall(NatsDLQConfiguration)
    dlq: AbstractDeadLetterQueue = await container.aget(AbstractDeadLetterQueue)
    assert isinstance(dlq, NatsDLQ)
    bus: AbstractEventBus = await container.aget(AbstractEventBus)
    bus.subscribe(OrderPlaced, lambda event: 1 / 0, channel="orders")  # type: ignore[arg-type, return-value]
    await bus.publish(OrderPlaced(order_id="1"), channel="orders")

    async def dead_lettered() -> bool:
        return await dlq.count() == 1

    await until(dead_lettered)
    await container.ashutdown()
