"""Targets for varco's own command line: the dead letter queue and the bus of the environment.

    varco dlq list -t varco_nats.cli:dlq
    varco dlq redrive -t varco_nats.cli:dlq -b varco_nats.cli:bus --batch

Servers and names come from `VARCO_NATS_*`; TLS and login come from `NATS_*`, as do the servers if
`VARCO_NATS_SERVERS` is not set. An event can be redriven only if its class is known:
`VARCO_NATS_IMPORTS=myapp.events,myapp.more` names the modules to import.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Awaitable, Callable

from varco_core.event.base import (
    CHANNEL_ALL,
    CHANNEL_DEFAULT,
    AbstractEventBus,
    Event,
    Subscription,
)

from varco_nats.bus import NatsEventBus
from varco_nats.config import NatsEventBusSettings
from varco_nats.connection import NatsConnectionSettings
from varco_nats.dlq import NatsDLQ
from varco_nats.errors import SettingsError

_IMPORTS = "VARCO_NATS_IMPORTS"


class PublishingBus(AbstractEventBus):
    """A bus that starts with its first `publish`, for commands that do not start it.

    It takes no subscriptions.
    """

    def __init__(self, settings: NatsEventBusSettings) -> None:
        self._bus = NatsEventBus(settings)

    async def publish(self, event: Event, *, channel: str = CHANNEL_DEFAULT) -> None:
        await self._bus.start()  # does nothing if it is started
        await self._bus.publish(event, channel=channel)

    def subscribe(
        self,
        event_type: type[Event] | str,
        handler: Callable[[Event], Awaitable[None] | None],
        *,
        channel: str = CHANNEL_ALL,
        filter: Callable[[Event], bool] | None = None,  # noqa: A002 -- the interface's name
        priority: int = 0,
    ) -> Subscription:
        raise NotImplementedError("varco_nats.cli:bus only publishes; subscribe on a NatsEventBus")

    async def stop(self) -> None:
        """Close the connection; does nothing if there is none."""
        await self._bus.stop()


def settings() -> NatsEventBusSettings:
    """The settings of this environment, with the login.

    Raises:
        SettingsError: a variable has a wrong value.
    """
    bus_settings = NatsEventBusSettings.from_env()
    kwargs = NatsConnectionSettings.from_env().to_nats_kwargs()
    return bus_settings.model_copy(
        update={"connect_kwargs": {**kwargs, **bus_settings.connect_kwargs}}
    )


def import_events() -> None:
    """Import the modules that `VARCO_NATS_IMPORTS` names, so that their event classes are known.

    Raises:
        SettingsError: a module cannot be imported.
    """
    for name in filter(None, map(str.strip, os.environ.get(_IMPORTS, "").split(","))):
        try:
            importlib.import_module(name)
        except Exception as error:  # whatever the module raises is the reason
            problem = (
                f"{_IMPORTS}: module {name!r} cannot be imported "
                f"({type(error).__name__}: {error}); check its name and PYTHONPATH"
            )
            raise SettingsError("varco_nats.cli", [problem]) from error


def dlq() -> NatsDLQ:
    """The dead letter queue, which connects when it is first used."""
    return _for_command(lambda: NatsDLQ(settings()))


def bus() -> PublishingBus:
    """A bus to publish on, which connects when it is first used."""
    return _for_command(lambda: PublishingBus(settings()))


def _for_command[T](make: Callable[[], T]) -> T:
    try:
        import_events()
        return make()
    except SettingsError as error:
        sys.exit(str(error))  # so that a command shows the message and no traceback
