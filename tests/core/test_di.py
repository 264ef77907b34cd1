"""The container: our classes whatever is scanned first, the application's own before them."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from nats.aio.client import Client
from nats.js.api import StreamConfig
from providify import DIContainer, Provider, Singleton
from varco_core.event.base import AbstractEventBus, Event
from varco_core.event.channel import ChannelManager
from varco_core.event.cloudevents import CloudEventsSettings, bind_cloudevents_serializer
from varco_core.event.dlq import AbstractDeadLetterQueue, InMemoryDeadLetterQueue
from varco_core.event.memory import InMemoryEventBus
from varco_core.event.producer import AbstractEventProducer
from varco_core.health import HealthCheck, HealthResult, HealthStatus
from varco_core.serialization import Serializer

from tests.events import OrderPlaced
from tests.waiting import until
from varco_nats._json import FastJsonEventSerializer
from varco_nats.bus import NatsEventBus
from varco_nats.channel import NatsChannelManagerSettings, NatsStreamManager
from varco_nats.config import NatsEventBusSettings
from varco_nats.di import bootstrap
from varco_nats.dlq import NatsDLQ, NatsDLQConfiguration
from varco_nats.health import NatsHealthCheck
from varco_nats.server import LocalNats

OURS: dict[Any, type] = {
    AbstractEventBus: NatsEventBus,
    AbstractDeadLetterQueue: NatsDLQ,
    ChannelManager: NatsStreamManager,
    HealthCheck: NatsHealthCheck,
    Serializer[Event]: FastJsonEventSerializer,
    NatsEventBusSettings: NatsEventBusSettings,
    NatsChannelManagerSettings: NatsChannelManagerSettings,
}

Step = Callable[[DIContainer], object]
STEPS: dict[str, Step] = {
    "bootstrap": bootstrap,
    "nats": lambda container: container.scan("varco_nats", recursive=True),
    "core": lambda container: container.scan("varco_core", recursive=True),
    "dlq": lambda container: container.install(NatsDLQConfiguration),
}


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


@pytest.fixture
async def container(environment: NatsEventBusSettings) -> AsyncIterator[DIContainer]:
    """The process's own, which is another one for each test."""
    async with DIContainer.scoped() as scoped, scoped:
        yield scoped


@pytest.mark.parametrize(
    "steps",
    [
        "bootstrap",
        "bootstrap bootstrap",
        "nats core",
        "core nats",
        "nats nats",
        "core bootstrap nats",
        "nats bootstrap core",
        "dlq bootstrap dlq",
    ],
)
async def test_whatever_is_scanned_first_gives_ours_once(
    container: DIContainer, steps: str
) -> None:
    for step in steps.split():
        STEPS[step](container)
    for interface, ours in OURS.items():
        given = await container.aget(interface)
        assert type(given) is ours
        assert await container.aget(interface, qualifier="nats") is given
        assert len(container.get_all_bindings(interface, qualifier="nats")) == 1


async def test_container_gives_what_is_started_and_stops_it(container: DIContainer) -> None:
    assert bootstrap() is container
    bus: AbstractEventBus = await container.aget(AbstractEventBus)
    assert "durable='from-environment'" in repr(bus)
    assert "started=True, connected=True" in repr(bus)
    await bus.publish(OrderPlaced(order_id="1"), channel="orders")
    producer: AbstractEventProducer = await container.aget(AbstractEventProducer)
    assert producer._bus is bus  # type: ignore[attr-defined]
    manager: ChannelManager = await container.aget(ChannelManager)
    await manager.declare_channel("payments")
    assert await manager.list_channels() == ["orders", "payments"]
    dlq: AbstractDeadLetterQueue = await container.aget(AbstractDeadLetterQueue)
    assert await dlq.count() == 0
    result = await (await container.aget(HealthCheck)).check()
    assert result.status is HealthStatus.HEALTHY

    await container.ashutdown()
    assert "started=False, connected=False" in repr(bus)
    assert "not started" in repr(manager)
    with pytest.raises(RuntimeError, match="NatsDLQ"):
        await dlq.count()


@Singleton
class OwnBus(InMemoryEventBus):
    """An application's."""


@Singleton
class OwnQueue(InMemoryDeadLetterQueue):
    """An application's."""


@Singleton
class OwnCheck(HealthCheck):
    """An application's."""

    @property
    def name(self) -> str:
        return "own"

    async def check(self) -> HealthResult:
        return HealthResult(HealthStatus.HEALTHY, self.name)


@Provider(singleton=True)
def own_settings() -> NatsEventBusSettings:
    return NatsEventBusSettings.from_env().model_copy(update={"durable_name": "own"})


@pytest.mark.parametrize("first", ["the application", "bootstrap"])
async def test_what_the_application_binds_wins(container: DIContainer, first: str) -> None:
    if first == "bootstrap":
        bootstrap(container)
    container.bind(AbstractEventBus, OwnBus)
    container.bind(AbstractDeadLetterQueue, OwnQueue)
    container.bind(HealthCheck, OwnCheck)
    container.provide(own_settings)
    if first != "bootstrap":
        bootstrap(container)

    assert type(await container.aget(AbstractEventBus)) is OwnBus
    queue: AbstractDeadLetterQueue = await container.aget(AbstractDeadLetterQueue)
    assert type(queue) is OwnQueue
    checks: list[HealthCheck] = await container.aget_all(HealthCheck)
    assert {type(check) for check in checks} == {OwnCheck, NatsHealthCheck}
    bus: AbstractEventBus = await container.aget(AbstractEventBus, qualifier="nats")
    assert isinstance(bus, NatsEventBus)
    assert bus.config.durable_name == "own"
    assert bus._dlq is queue
    assert isinstance(await container.aget(AbstractDeadLetterQueue, qualifier="nats"), NatsDLQ)


async def test_the_bus_dead_letters_to_the_queue_on_the_server(container: DIContainer) -> None:
    bus: AbstractEventBus = await bootstrap().aget(AbstractEventBus)
    bus.subscribe(OrderPlaced, lambda event: 1 / 0, channel="orders")  # type: ignore[arg-type, return-value]
    await bus.publish(OrderPlaced(order_id="1"), channel="orders")
    dlq: AbstractDeadLetterQueue = await container.aget(AbstractDeadLetterQueue)

    async def dead_lettered() -> bool:
        return await dlq.count() == 1

    await until(dead_lettered)
    assert isinstance(dlq, NatsDLQ)


async def test_a_bus_starts_without_a_stream_for_dead_letters_and_loses_none(
    container: DIContainer,
    environment: NatsEventBusSettings,
    nc: Client,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    js = nc.jetstream()
    await js.add_stream(
        StreamConfig(name=environment.stream_name, subjects=[environment.wildcard_subject()])
    )
    monkeypatch.setenv("VARCO_NATS_AUTO_CREATE_STREAM", "false")
    monkeypatch.setenv("VARCO_NATS_NAK_DELAY_SECONDS", "0.01")
    bus: AbstractEventBus = await bootstrap().aget(AbstractEventBus)
    [warning] = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert f"NatsDLQ(stream='{environment.stream_name}-dlq'" in warning.getMessage()
    assert "cannot be used" in warning.getMessage()

    handled = 0

    def fail(event: Event) -> None:
        nonlocal handled
        handled += 1
        raise ValueError("no")

    bus.subscribe(OrderPlaced, fail, channel="orders")
    await bus.publish(OrderPlaced(order_id="1"), channel="orders")
    await until(lambda: handled >= 3)
    async with NatsDLQ(environment):  # creates the stream
        pass
    dlq: AbstractDeadLetterQueue = await container.aget(AbstractDeadLetterQueue)

    async def dead_lettered() -> bool:
        return await dlq.count() == 1

    await until(dead_lettered)


async def test_a_serializer_of_the_application_writes_what_the_bus_sends(
    container: DIContainer, environment: NatsEventBusSettings, nc: Client
) -> None:
    bootstrap()
    bind_cloudevents_serializer(container, CloudEventsSettings(source="//shop"))
    bus: AbstractEventBus = await container.aget(AbstractEventBus)
    await bus.publish(OrderPlaced(order_id="1"), channel="orders")
    stored = await nc.jetstream().get_msg(environment.stream_name, seq=1)
    assert b'"specversion"' in (stored.data or b"")
