"""Finds, creates and updates the durable pull consumer of a channel."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from functools import partial

from nats.js.api import AckPolicy, ConsumerConfig, ConsumerInfo, DeliverPolicy
from nats.js.errors import NotFoundError

from varco_nats._log import logger as _logger
from varco_nats._nats.client import Connection
from varco_nats._nats.leader import with_leader
from varco_nats._nats.stream import check_captured
from varco_nats.config import NatsEventBusSettings
from varco_nats.errors import ConsumerMismatchError


async def ensure_durable(
    connection: Connection,
    settings: NatsEventBusSettings,
    channel: str,
    *,
    resume_after: int | None = None,
    wait: float | None = None,
) -> tuple[ConsumerInfo, bool]:
    """The durable pull consumer of `channel`, and whether it had to be created.

    Its `max_deliver` on the server is unlimited: the bus counts deliveries itself, so that a
    message whose process died in its last delivery comes again instead of being dropped.

    Args:
        resume_after: stream sequence after which a consumer that has to be created starts;
            None starts at the first message.
        wait: how long to wait for a missing leader, in seconds; see `with_leader`.

    Raises:
        ChannelNotCapturedError: the stream does not capture the channel.
        ConsumerMismatchError: the durable exists for another subject or without explicit acks.
        LimitReachedError: the stream has as many consumers as it may.
        StreamUnavailableError: the stream or the cluster has no leader.
    """
    await check_captured(connection, settings, channel, wait=wait)
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
    js, stream = connection.js, settings.stream_name
    ask = partial(with_leader, connection, stream, wait=wait)
    try:
        info: ConsumerInfo = await ask(lambda: js.consumer_info(stream, durable))
    except NotFoundError:
        return await ask(lambda: js.add_consumer(stream, wanted)), True
    if info.config.deliver_subject:  # a push consumer cannot be shared
        wanted = _in_place_of(info, wanted)
        await ask(lambda: _delete(connection, stream, durable))
    else:
        changed = _changed(info.config, wanted)
        if changed is None:
            return info, False
        wanted = changed
    return await ask(lambda: js.add_consumer(stream, wanted)), False


async def _delete(connection: Connection, stream: str, durable: str) -> None:
    with suppress(NotFoundError):
        await connection.js.delete_consumer(stream, durable)


def _starting_at(config: ConsumerConfig, seq: int) -> ConsumerConfig:
    return replace(config, deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=seq)


def _in_place_of(push: ConsumerInfo, wanted: ConsumerConfig) -> ConsumerConfig:
    """The pull consumer that replaces a push consumer and starts at its acknowledged position."""
    acked = push.ack_floor.stream_seq if push.ack_floor else 0
    _logger.warning(
        "durable %s exists as a push consumer%s, which cannot be shared; replacing it with a pull "
        "consumer that starts after its acknowledged position, stream sequence %d",
        wanted.durable_name,
        " that a running service is bound to" if push.push_bound else "",
        acked,
    )
    return _starting_at(wanted, acked + 1) if acked else wanted


def _changed(found: ConsumerConfig, wanted: ConsumerConfig) -> ConsumerConfig | None:
    """`found` with the changes that it needs; None if it needs none."""
    durable = str(wanted.durable_name)
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
    return replace(found, **changes) if changes else None
