"""Finds, creates and updates the durable pull consumer of a channel."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from nats.js.api import AckPolicy, ConsumerConfig, ConsumerInfo

from varco_nats import subjects
from varco_nats._nats.client import Connection
from varco_nats._nats.position import starting_at
from varco_nats._nats.stream import check_captured
from varco_nats._nats.takeover import (
    Consumers,
    finish,
    is_claimed,
    is_note,
    is_push,
    take_over,
    temporary_durable,
    tidy,
)
from varco_nats.config import NatsEventBusSettings
from varco_nats.errors import ConsumerInUseError, ConsumerMismatchError

_OTHERS_SECONDS = 5.0  # for which another process may need to take over the same durable
_PAUSE = 0.1


async def ensure_durable(
    connection: Connection,
    settings: NatsEventBusSettings,
    channel: str,
    *,
    resume_after: int | None = None,
    wait: float | None = None,
) -> tuple[ConsumerInfo, bool]:
    """The durable pull consumer of `channel`, and whether it had to be created.

    Where only the released package's push durable of the channel is there, it is replaced and its
    position taken over. `max_deliver` on the server is unlimited: the bus counts deliveries itself,
    so that a message whose process died in its last delivery comes again instead of being dropped.

    Args:
        resume_after: stream sequence after which a consumer that has to be created starts;
            None starts at the first message.
        wait: how long to wait for a missing leader, in seconds; see `with_leader`.

    Raises:
        ChannelNotCapturedError: the stream does not capture the channel.
        ConsumerMismatchError: the durable exists for another subject or without explicit acks.
        ConsumerInUseError: it is a push consumer that a running process listens to.
        LimitReachedError: the stream has as many consumers as it may.
        StreamUnavailableError: the stream or the cluster has no leader.
    """
    await check_captured(connection, settings, channel, wait=wait)
    wanted = wanted_durable(settings, channel)
    consumers = Consumers(connection, settings.stream_name, wait)
    until = asyncio.get_running_loop().time() + _OTHERS_SECONDS
    while True:
        info = await consumers.find(str(wanted.durable_name))
        if info is not None and is_note(info):
            await consumers.delete(str(info.name))
            info = None
        if info is not None and not is_push(info):
            push = await tidy(consumers, info)
            if push is None:
                changed = _changed(info.config, wanted)
                return info if changed is None else await consumers.put(changed), False
        else:
            push = info or await _released(consumers, settings, channel, wanted)
        if push is not None:
            owner = channel_of(settings, push)
            if owner is None:
                raise _mismatch(push.config, wanted)
            try:
                await take_over(consumers, push, owner, wanted_durable(settings, owner))
            except ConsumerInUseError:
                now = await consumers.find(str(push.name))
                others = now is None or not is_push(now) or is_claimed(now)  # are taking it over
                if not others or asyncio.get_running_loop().time() > until:
                    raise
                await asyncio.sleep(_PAUSE)
        elif not await finish(consumers, str(wanted.durable_name)):
            if resume_after is not None:
                wanted = starting_at(wanted, resume_after + 1)
            return await consumers.put(wanted), True


def wanted_durable(settings: NatsEventBusSettings, channel: str) -> ConsumerConfig:
    """The durable of `channel` as it is created."""
    return ConsumerConfig(
        durable_name=settings.durable_for(channel),
        filter_subject=settings.subject_name(channel),
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=settings.ack_wait_seconds,
        max_deliver=-1,
        max_ack_pending=max(1000, settings.prefetch * 8),
    )


def channel_of(settings: NatsEventBusSettings, info: ConsumerInfo) -> str | None:
    """The channel that the consumer is the durable of, ours or that of the released package.

    None if it is somebody else's.
    """
    subject = info.config.filter_subject or ""
    channel = subjects.channel_from(settings.subject_prefix, settings.channel_prefix, subject)
    if channel is None or subjects.subject_problem(channel) is not None:
        return None
    durable = settings.durable_for(channel)
    released = subjects.released_durable(settings.durable_name, channel)
    known = info.name in (durable, released, temporary_durable(durable))
    return channel if known else None


async def _released(
    consumers: Consumers, settings: NatsEventBusSettings, channel: str, wanted: ConsumerConfig
) -> ConsumerInfo | None:
    """The released package's durable of `channel`, where it has another name than ours.

    The durable of that name may be another channel's: `orders.eu` and `orders_eu` share one.
    """
    name = subjects.released_durable(settings.durable_name, channel)
    if name is None or name == wanted.durable_name:
        return None
    info = await consumers.look(name)
    same = info is not None and info.config.filter_subject == wanted.filter_subject
    return info if info is not None and same and is_push(info) else None


def _changed(found: ConsumerConfig, wanted: ConsumerConfig) -> ConsumerConfig | None:
    """`found` with the changes that it needs; None if it needs none."""
    if found.filter_subject != wanted.filter_subject:
        raise _mismatch(found, wanted)
    if found.ack_policy != AckPolicy.EXPLICIT:
        raise ConsumerMismatchError(
            str(wanted.durable_name), "ack policy", "explicit", str(found.ack_policy)
        )
    changes = {
        name: getattr(wanted, name)
        for name in ("ack_wait", "max_deliver", "max_ack_pending")
        if getattr(found, name) != getattr(wanted, name)
    }
    return replace(found, **changes) if changes else None


def _mismatch(found: ConsumerConfig, wanted: ConsumerConfig) -> ConsumerMismatchError:
    durable = str(wanted.durable_name)
    return ConsumerMismatchError(
        durable, "subject filter", wanted.filter_subject, found.filter_subject
    )
