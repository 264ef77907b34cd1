"""Wiring for varco's dependency injection (Providify).

`bootstrap()` fills a container, which then gives the started bus; `ashutdown()` stops it. Scanning
`varco_nats` registers the same.
"""

from __future__ import annotations

from providify import Configuration, DIContainer, Provider

from varco_nats._varco_core import PRIORITY, QUALIFIER
from varco_nats.channel import NatsChannelManagerSettings
from varco_nats.config import NatsEventBusSettings


@Configuration
class NatsConfiguration:
    """Gives settings from the environment, unless an application binds its own."""

    @Provider(singleton=True, priority=PRIORITY, qualifier=QUALIFIER)
    def event_bus_settings(self) -> NatsEventBusSettings:
        return NatsEventBusSettings.from_env()

    @Provider(singleton=True, priority=PRIORITY, qualifier=QUALIFIER)
    def channel_manager_settings(self) -> NatsChannelManagerSettings:
        return NatsChannelManagerSettings.from_env()


def bootstrap(container: DIContainer | None = None) -> DIContainer:
    """Register varco-core and this backend in `container`, by default `DIContainer.current()`.

    The container then gives, in whatever order other packages are scanned into it:

    - `AbstractEventBus`: the `NatsEventBus`, connected and started;
    - `AbstractDeadLetterQueue`: the `NatsDLQ`, started; the bus dead-letters to it;
    - `ChannelManager`: the `NatsStreamManager`, started;
    - `HealthCheck`: the `NatsHealthCheck`, which connects for each check;
    - the settings, from `VARCO_NATS_*` and `VARCO_NATS_ADMIN_*`.

    They take the place of varco-core's in-memory classes. Whatever the application binds itself,
    before or after, takes theirs; `aget(..., qualifier="nats")` still gives these. Each is made
    once, and `await container.ashutdown()` stops it. Calling this again registers nothing twice.

    Example:
        container = bootstrap()
        bus = await container.aget(AbstractEventBus)
        ...
        await container.ashutdown()
    """
    if container is None:
        container = DIContainer.current()
    for package in ("varco_core", "varco_nats"):
        container.scan(package, recursive=True)
    return container
