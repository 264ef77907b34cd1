"""Wiring for varco's dependency injection (Providify).

`bootstrap()` returns a container that gives the started bus; `ashutdown()` stops it.
"""

from __future__ import annotations

import sys

from providify import Configuration, DIContainer, Provider

from varco_nats.bus import NatsEventBus
from varco_nats.channel import NatsChannelManagerSettings, NatsStreamManager
from varco_nats.config import NatsEventBusSettings
from varco_nats.health import NatsHealthCheck

_LOWEST = -sys.maxsize - 1  # like varco-core's own defaults, so that any other binding wins


@Configuration
class NatsConfiguration:
    """Gives settings from the environment, unless others are bound."""

    @Provider(singleton=True, priority=_LOWEST)
    def event_bus_settings(self) -> NatsEventBusSettings:
        return NatsEventBusSettings.from_env()

    @Provider(singleton=True, priority=_LOWEST)
    def channel_manager_settings(self) -> NatsChannelManagerSettings:
        return NatsChannelManagerSettings.from_env()


def bootstrap(container: DIContainer | None = None) -> DIContainer:
    """Register varco-core and this backend in `container`, or in a new container.

    Settings come from `VARCO_NATS_*` and `VARCO_NATS_ADMIN_*`, unless the container has others.
    The first `await container.aget(AbstractEventBus)` connects and starts the bus.

    Example:
        container = bootstrap()
        bus = await container.aget(AbstractEventBus)
        ...
        await container.ashutdown()
    """
    container = container or DIContainer()
    container.scan("varco_core", recursive=True)
    container.install(NatsConfiguration)
    for component in (NatsEventBus, NatsStreamManager, NatsHealthCheck):
        container.register(component)
    return container
