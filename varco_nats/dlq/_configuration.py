"""Wires a dead letter queue into varco's dependency injection."""

from __future__ import annotations

from typing import Annotated

from providify import Configuration, Disposes, InjectMeta, Provider
from varco_core.event.base import Event
from varco_core.event.dlq import AbstractDeadLetterQueue
from varco_core.serialization import Serializer

from varco_nats._log import logger as _logger
from varco_nats._varco_core import PRIORITY, QUALIFIER
from varco_nats.config import NatsEventBusSettings
from varco_nats.dlq._queue import NatsDLQ
from varco_nats.errors import PermissionDeniedError, StreamNotFoundError


@Configuration
class NatsDLQConfiguration:
    """Binds `AbstractDeadLetterQueue` to one started `NatsDLQ`, stopped by `ashutdown()`.

    Settings are the container's `NatsEventBusSettings`, else those of `VARCO_NATS_*`; the
    serializer is the container's `Serializer[Event]`, else that of the settings, else JSON.
    `bootstrap()` installs it, and so does scanning `varco_nats`; install it yourself for a queue
    without a bus.

    Where its stream is missing and must not be created, or the login lacks a right, a WARNING says
    so. The bus starts all the same: what it gives up comes again until the queue can store it.

    Example:
        await container.ainstall(NatsDLQConfiguration)
        dlq = await container.aget(AbstractDeadLetterQueue)
    """

    @Provider(singleton=True, priority=PRIORITY, qualifier=QUALIFIER)
    async def dead_letter_queue(
        self,
        settings: Annotated[NatsEventBusSettings, InjectMeta(optional=True)],
        serializer: Annotated[Serializer[Event], InjectMeta(optional=True)],
    ) -> AbstractDeadLetterQueue:
        dlq = NatsDLQ(settings, serializer=serializer)
        try:
            await dlq.start()
        except (StreamNotFoundError, PermissionDeniedError) as error:
            _logger.warning("%r cannot be used: %s", dlq, error)
        return dlq

    @Disposes(AbstractDeadLetterQueue)
    async def stop(self, dlq: AbstractDeadLetterQueue) -> None:
        if isinstance(dlq, NatsDLQ):
            await dlq.stop()
