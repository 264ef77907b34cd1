"""Finding, creating and updating the durable pull consumer of a channel."""

from __future__ import annotations

import logging
from dataclasses import replace

from nats.js.api import AckPolicy, ConsumerConfig, ConsumerInfo, DeliverPolicy
from nats.js.errors import NotFoundError

from varco_nats._client import Connection, jetstream_errors
from varco_nats.config import NatsEventBusSettings
from varco_nats.errors import ConsumerMismatchError

_logger = logging.getLogger("varco_nats")


async def ensure_durable(
    connection: Connection,
    settings: NatsEventBusSettings,
    channel: str,
    *,
    resume_after: int | None = None,
) -> ConsumerInfo:
    """The durable pull consumer of `channel`, created if it is not there.

    Its `max_deliver` on the server is unlimited: the bus counts deliveries itself, so that a
    message whose process died in its last delivery comes again instead of being dropped.

    Args:
        resume_after: stream sequence after which a consumer that has to be created starts;
            None is from the first message.

    Raises:
        ConsumerMismatchError: the durable exists for another subject or without explicit acks.
    """
    durable = settings.durable_for(channel)
    wanted = ConsumerConfig(
        durable_name=durable,
        filter_subject=settings.subject_name(channel),
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=settings.ack_wait_seconds,
        max_deliver=-1,
        max_ack_pending=max(1000, settings.prefetch * 8),
    )
    if resume_after is not None:
        wanted = _starting_at(wanted, resume_after + 1)
    with jetstream_errors(connection):
        try:
            info = await connection.js.consumer_info(settings.stream_name, durable)
        except NotFoundError:
            return await connection.js.add_consumer(settings.stream_name, wanted)
        if info.config.deliver_subject:
            return await _replace_push_consumer(connection, settings, info, wanted)
        return await _update(connection, settings, info, wanted)


def _starting_at(config: ConsumerConfig, seq: int) -> ConsumerConfig:
    return replace(config, deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=seq)


async def _replace_push_consumer(
    connection: Connection,
    settings: NatsEventBusSettings,
    info: ConsumerInfo,
    wanted: ConsumerConfig,
) -> ConsumerInfo:
    """Make a pull consumer of a push consumer, from its acknowledged position on."""
    durable = str(wanted.durable_name)
    acked = info.ack_floor.stream_seq if info.ack_floor else 0
    _logger.warning(
        "durable %s exists as a push consumer%s, which cannot be shared; replacing it by a pull "
        "consumer that starts after its acknowledged position, stream sequence %d",
        durable,
        " that a running service is bound to" if info.push_bound else "",
        acked,
    )
    await connection.js.delete_consumer(settings.stream_name, durable)
    return await connection.js.add_consumer(
        settings.stream_name, _starting_at(wanted, acked + 1) if acked else wanted
    )


async def _update(
    connection: Connection,
    settings: NatsEventBusSettings,
    info: ConsumerInfo,
    wanted: ConsumerConfig,
) -> ConsumerInfo:
    durable, found = str(wanted.durable_name), info.config
    if found.filter_subject != wanted.filter_subject:
        raise ConsumerMismatchError(
            durable, "subject filter", wanted.filter_subject, found.filter_subject
        )
    if found.ack_policy != AckPolicy.EXPLICIT:
        raise ConsumerMismatchError(durable, "ack policy", "explicit", str(found.ack_policy))
    changes = {
        name: getattr(wanted, name)
        for name in ("ack_wait", "max_deliver", "max_ack_pending")
        if getattr(found, name) != getattr(wanted, name)
    }
    if not changes:
        return info
    return await connection.js.add_consumer(settings.stream_name, replace(found, **changes))
