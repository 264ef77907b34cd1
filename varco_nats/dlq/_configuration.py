"""Wires a dead letter queue into varco's dependency injection."""

from __future__ import annotations

from typing import Annotated

from providify import Configuration, Disposes, InjectMeta, Provider
from varco_core.event.base import Event
from varco_core.event.dlq import AbstractDeadLetterQueue
from varco_core.serialization import Serializer

from varco_nats.config import NatsEventBusSettings
from varco_nats.dlq._queue import NatsDLQ


@Configuration
class NatsDLQConfiguration:
    """Binds `AbstractDeadLetterQueue` to one started `NatsDLQ`, stopped by `ashutdown()`.

    Settings are the container's `NatsEventBusSettings`, else those of `VARCO_NATS_*`; the
    serializer is the container's `Serializer[Event]`, else JSON.

    Example:
        await container.ainstall(NatsDLQConfiguration)
        dlq = await container.aget(AbstractDeadLetterQueue)
    """

    @Provider(singleton=True)
    async def dead_letter_queue(
        self,
        settings: Annotated[NatsEventBusSettings, InjectMeta(optional=True)],
        serializer: Annotated[Serializer[Event], InjectMeta(optional=True)],
    ) -> AbstractDeadLetterQueue:
        dlq = NatsDLQ(settings, serializer=serializer)
        await dlq.start()
        return dlq

    @Disposes(AbstractDeadLetterQueue)
    async def stop(self, dlq: AbstractDeadLetterQueue) -> None:
        if isinstance(dlq, NatsDLQ):
            await dlq.stop()
