"""Has a pull durable take over the position of a push durable, and the other way round.

The released package makes push durables, which processes cannot share and which cannot be made pull
consumers. One is replaced, so that the new durable delivers what it left: its pending messages, and
those that it never delivered. The steps survive a kill after each of them, and several processes at
once:

1. The push durable is claimed: it gets a deliver subject that only this process listens to. The
   server refuses that while anybody listens to the present one, so that neither a running service
   nor another process that does the same is disturbed; and it sends all pending messages there.
2. The new durable is created with the position in its configuration: under its own name or, where
   the push durable has that name, under a temporary one.
3. The push durable is deleted. In the second case the new durable is created again, under its own
   name, and the temporary one is deleted; who finds only a temporary one goes on from here.

To delete a consumer and to create another one of its name takes two requests, and the second waits
for the answer to the first: sent together, nats-server 2.15 carries them out side by side, and the
deletion may remove the folder of the new consumer, which then fails at its next change (10012).

Who finds a push durable and what a killed process made to replace it cannot know which of them a
service used since. Both positions hold then: what is acknowledged at either is not delivered again.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial

from nats.errors import Error as NatsError
from nats.js.api import AckPolicy, ConsumerConfig, ConsumerInfo, SequenceInfo
from nats.js.errors import APIError, NotFoundError

from varco_nats._log import logger as _logger
from varco_nats._nats.client import Connection
from varco_nats._nats.delivery import ack_fields
from varco_nats._nats.leader import with_leader
from varco_nats._nats.position import Position, starting_at
from varco_nats.errors import ConsumerInUseError, PermissionDeniedError, VarcoNatsError

TAKEN_OVER = "taken-over-by-varco-nats-kit"
"""The deliver group of these pull durables. It has no meaning for a pull consumer; a process of the
released package is told it in an error when it starts, instead of a TypeError of nats-py."""

CLAIMED, MOVED_TO, MOVED_FROM = "varco-claimed", "varco-moved-to", "varco-moved-from"
_QUIET = 1.0  # seconds without a pending message after which it is asked whether more are to come
_LONGEST = 5.0  # seconds to wait for the pending messages
_CHANGED = ("max_deliver", "max_ack_pending")  # settings of a push durable, by a claim
_AT_ONCE = 0.001  # seconds of ack wait
_ROOM = 100  # messages that a claimed durable may deliver besides its pending ones
_DELIVERIES = 3  # of each pending message, until all of them came
_NEVER = 1 << 62  # a sequence that no stream reaches


class Consumers:
    """The consumers of one stream, found and changed while it may be electing a leader.

    Args:
        wait: how long to wait for a missing leader, in seconds; see `with_leader`.
    """

    def __init__(self, connection: Connection, stream: str, wait: float | None = None) -> None:
        self.connection = connection
        self.stream = stream
        self._ask = partial(with_leader, connection, stream, wait=wait)

    async def find(self, name: str) -> ConsumerInfo | None:
        """The consumer called `name`; None if there is none."""
        try:
            return await self._ask(lambda: self.connection.js.consumer_info(self.stream, name))
        except NotFoundError:
            return None

    async def look(self, name: str) -> ConsumerInfo | None:
        """Like `find`; one that the login may not ask about counts as missing."""
        try:
            return await self.find(name)
        except PermissionDeniedError:
            return None

    async def put(self, config: ConsumerConfig) -> ConsumerInfo:
        """Create a consumer, or change it."""
        return await self._ask(lambda: self.connection.js.add_consumer(self.stream, config))

    async def change(self, config: ConsumerConfig) -> ConsumerInfo:
        """Change a durable that exists; unlike `put`, it never creates one."""
        request = {"stream_name": self.stream, "config": config.as_dict(), "action": "update"}
        api = f"CONSUMER.DURABLE.CREATE.{self.stream}.{config.durable_name}"
        answer = await self._ask(lambda: self.connection.ask_jetstream(api, request, _LONGEST))
        info: ConsumerInfo = ConsumerInfo.from_response(answer)
        return info

    async def delete(self, name: str) -> None:
        """Delete a consumer, if it is there."""

        async def ask() -> None:
            with suppress(NotFoundError):
                await self.connection.js.delete_consumer(self.stream, name)

        await self._ask(ask)


def temporary_durable(durable: str) -> str:
    """The name of the durable that stands for `durable` while one of another kind has its name."""
    return f"varco-moving-{hashlib.sha256(durable.encode()).hexdigest()[:16]}"


def is_push(info: ConsumerInfo) -> bool:
    return bool(info.config.deliver_subject)


def is_claimed(info: ConsumerInfo) -> bool:
    """Whether a process is taking it over, or was killed when it did."""
    return CLAIMED in (info.config.metadata or {})


def is_note(info: ConsumerInfo) -> bool:
    """Whether it only says where the position of the durable went that had its name."""
    return MOVED_TO in (info.config.metadata or {})


async def take_over(
    consumers: Consumers, push: ConsumerInfo, channel: str, wanted: ConsumerConfig
) -> None:
    """Replace the durable `push` by the pull durable `wanted`, which goes on at its position.

    Raises:
        ConsumerInUseError: a process listens to it, or takes it over itself.
    """
    old, new = str(push.name), str(wanted.durable_name)
    first = temporary_durable(new) if old == new else new
    async with _claimed(consumers, push, channel) as position:
        if (earlier := await consumers.look(first)) is not None:  # of a process which was killed
            position = position.after(await _position_of_pull(consumers, earlier))
            await consumers.delete(first)
        config = replace(position.start(wanted), durable_name=first, deliver_group=TAKEN_OVER)
        if old == new:
            await consumers.put(config)
            await consumers.delete(old)
            await finish(consumers, new)
        else:
            metadata = {**(config.metadata or {}), MOVED_FROM: old}
            await consumers.put(replace(config, metadata=metadata))
            await _leave_note(consumers, old, config)
    _logger.info(
        "durable %s of channel %r was a push consumer, which cannot be shared; the pull consumer "
        "%s goes on after stream sequence %d and delivers its %d pending messages again",
        old,
        channel,
        new,
        position.delivered,
        len(position.pending),
    )


async def finish(consumers: Consumers, durable: str) -> bool:
    """Give the temporary durable that stands for `durable` its name; whether there was one."""
    temporary = temporary_durable(durable)
    found = await consumers.look(temporary)
    if found is None:
        return False
    await consumers.put(replace(found.config, name=None, durable_name=durable))
    await consumers.delete(temporary)
    return True


async def tidy(consumers: Consumers, taken: ConsumerInfo) -> ConsumerInfo | None:
    """Remove what a process left that was killed when it had made the durable `taken`.

    Returns:
        The push durable that is still to be taken over: a process listens to it, or may have done
        so since; nobody has used `taken` yet.
    """
    metadata = taken.config.metadata or {}
    if MOVED_FROM in metadata:
        old = await consumers.find(metadata[MOVED_FROM])
        if old is not None and is_push(old):
            if old.push_bound or not _is_used(taken):
                return old
            await _leave_note(consumers, str(old.name), taken.config)
    elif Position.of(taken.config) is not None:
        await consumers.delete(temporary_durable(str(taken.name)))
    return None


def _is_used(pull: ConsumerInfo) -> bool:
    return bool(pull.num_waiting or (pull.delivered and pull.delivered.consumer_seq))


async def _leave_note(consumers: Consumers, old: str, taken: ConsumerConfig) -> None:
    """Replace the durable `old` by one that delivers nothing and says where its position went.

    A process of the released package would create it anew, and handle all that is stored.
    """
    note = ConsumerConfig(
        durable_name=old,
        description=f"its position was taken over by {taken.durable_name}",
        filter_subject=taken.filter_subject,
        ack_policy=AckPolicy.EXPLICIT,
        deliver_group=TAKEN_OVER,
        metadata={MOVED_TO: str(taken.durable_name)},
    )
    await consumers.delete(old)
    await consumers.put(starting_at(note, _NEVER))


async def give_back(
    consumers: Consumers, pull: ConsumerInfo, push: ConsumerConfig, channel: str
) -> None:
    """Replace the pull durable by `push`, a push durable that goes on at its position.

    Nobody may use either of them. The pull durable, or a temporary one, stays until the end.

    Raises:
        ConsumerInUseError: somebody listens to a push durable of that name.
    """
    old, new = str(pull.name), str(push.durable_name)
    position = await _position_of_pull(consumers, pull)
    left = await consumers.find(new)
    if left is not None and is_push(left):  # an upgrade or a rollback was interrupted
        async with _claimed(consumers, left, channel) as since:
            await _give(consumers, pull, push, since.after(position))
    else:
        await _give(consumers, pull, push, position, keep=old != new)


async def _give(
    consumers: Consumers,
    pull: ConsumerInfo,
    push: ConsumerConfig,
    position: Position,
    *,
    keep: bool = False,
) -> None:
    """Replace `pull` by `push` at `position`; with `keep`, `pull` says already where that is."""
    kept, new = str(pull.name), str(push.durable_name)
    if not keep:
        kept = temporary_durable(new) if kept == new else kept
        await consumers.delete(kept)
        await consumers.put(replace(position.start(pull.config), name=None, durable_name=kept))
    await consumers.delete(new)
    await _create_push(consumers, push, position)
    await consumers.delete(kept)


async def _position_of_pull(consumers: Consumers, pull: ConsumerInfo) -> Position:
    """The position of a pull durable: its pending messages are asked for."""
    nc, name, count = consumers.connection.nc, str(pull.name), pull.num_ack_pending or 0
    pending = _Pending(consumers, name)
    inbox = nc.new_inbox()
    subscription = await nc.subscribe_direct(inbox, pending.receive)
    try:
        if count:
            # they are due at once, and there is no room for others
            hurried = replace(pull.config, ack_wait=_AT_ONCE, max_ack_pending=count)
            pull = await consumers.put(hurried)
            request = {"batch": count * _DELIVERIES, "expires": int(_LONGEST * 1e9)}
            subject = f"{consumers.connection.api}.CONSUMER.MSG.NEXT.{consumers.stream}.{name}"
            await nc.publish(subject, json.dumps(request).encode(), reply=inbox)
        position = await pending.collect(pull, "")
    finally:
        with suppress(NatsError):
            await subscription.unsubscribe()
    return position.after(Position.of(pull.config) or Position(0, 0))


async def _create_push(consumers: Consumers, wanted: ConsumerConfig, position: Position) -> None:
    """Create a push durable, and acknowledge there what is acknowledged already."""
    started = starting_at(wanted, position.floor + 1)
    if position.delivered > position.floor:
        nc, durable = consumers.connection.nc, str(wanted.durable_name)
        delivered: asyncio.Queue[tuple[int, str]] = asyncio.Queue()
        inbox = nc.new_inbox()
        subscription = await nc.subscribe_direct(
            inbox,
            lambda _, reply, *__: delivered.put_nowait((int(ack_fields(reply)[3]), reply)),
        )
        room = len(position.pending) + 1  # so that hardly anything else is sent
        claim = {CLAIMED: json.dumps({name: getattr(wanted, name) for name in _CHANGED})}
        await consumers.put(
            replace(
                started, deliver_subject=inbox, max_deliver=-1, max_ack_pending=room, metadata=claim
            )
        )
        seq = 0
        while seq < position.delivered:
            try:
                async with asyncio.timeout(_QUIET):
                    seq, reply = await delivered.get()
            except TimeoutError:  # the last ones may not be stored any more
                info = await consumers.find(durable)
                if info is None or not info.num_pending:
                    break
            else:
                if position.is_acknowledged(seq):
                    await nc.request(reply, b"", _LONGEST)
        await subscription.unsubscribe()
    await consumers.put(started)


def unclaimed(config: ConsumerConfig) -> ConsumerConfig:
    """The configuration of a push durable without what a claim changed."""
    metadata = dict(config.metadata or {})
    before = metadata.pop(CLAIMED, None)
    return config if before is None else replace(config, **json.loads(before), metadata=metadata)


@asynccontextmanager
async def _claimed(
    consumers: Consumers, push: ConsumerInfo, channel: str
) -> AsyncIterator[Position]:
    """The position of `push`, while nobody else can listen to it.

    Raises:
        ConsumerInUseError: somebody listens to it.
    """
    name = str(push.name)
    if push.push_bound:
        raise ConsumerInUseError(name, channel)
    original = unclaimed(push.config)
    pending = _Pending(consumers, name)
    inbox = consumers.connection.nc.new_inbox()
    subscription = await consumers.connection.nc.subscribe_direct(
        inbox, pending.receive, queue=push.config.deliver_group or ""
    )
    try:
        claimed = await _claim(consumers, push, original, inbox, channel)
        yield await pending.collect(claimed, channel)
    except BaseException:
        with suppress(NatsError, VarcoNatsError, TimeoutError):
            await subscription.unsubscribe()
            now = await consumers.find(name)
            if now is not None and is_push(now):
                await consumers.change(original)
        raise
    with suppress(NatsError):
        await subscription.unsubscribe()


async def _claim(
    consumers: Consumers, push: ConsumerInfo, original: ConsumerConfig, inbox: str, channel: str
) -> ConsumerInfo:
    """Have all pending messages of `push` sent to `inbox`."""
    unlimited = replace(push.config, max_deliver=-1)
    before = {name: getattr(original, name) for name in _CHANGED}
    claim = replace(
        unlimited,
        deliver_subject=inbox,
        # few others are sent; and a service that uses it after an interruption is not held up
        max_ack_pending=(push.num_ack_pending or 0) + _ROOM,
        metadata={**(original.metadata or {}), CLAIMED: json.dumps(before)},
    )
    try:
        if push.config.max_deliver != -1:
            # before the subject, since with it the server gives up what was delivered that often
            await consumers.change(unlimited)
        return await consumers.change(claim)
    except APIError:
        now = await consumers.find(str(push.name))
        if now is None or not is_push(now) or now.push_bound:  # somebody was faster
            raise ConsumerInUseError(str(push.name), channel) from None
        raise


@dataclass(slots=True)
class _Pending:
    """Finds out which messages of a claimed durable are pending: they are sent here."""

    consumers: Consumers
    name: str
    _seqs: set[int] = field(default_factory=set)
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def receive(
        self, subject: str, reply: str, data: bytes, headers: Mapping[str, str] | None
    ) -> None:
        if reply.startswith("$JS.ACK."):
            self._seqs.add(int(ack_fields(reply)[3]))
            self._arrived.set()

    async def collect(self, claimed: ConsumerInfo, channel: str) -> Position:
        """The position that the durable had when it was claimed.

        Where it cannot be found out, all above the ack floor counts as not delivered.
        """
        floor, floor_count = _at(claimed.ack_floor)
        delivered, count = _at(claimed.delivered)
        try:
            async with asyncio.timeout(_LONGEST):
                pending = await self._pending(delivered, claimed.num_ack_pending or 0)
        except TimeoutError:
            pending = None
        position = None if pending is None else Position(floor, delivered, pending)
        if position is not None and position.to_metadata() is not None:
            return position
        _logger.warning(
            "durable %s of channel %r: which of the messages above stream sequence %d are "
            "acknowledged cannot be found out; up to %d are handled again",
            self.name,
            channel,
            floor,
            count - floor_count,
        )
        return Position(floor, floor)

    async def _pending(self, delivered: int, count: int) -> frozenset[int]:
        """The pending ones up to `delivered`, of which there were `count`."""
        while True:
            found = frozenset(seq for seq in self._seqs if seq <= delivered)
            if len(found) >= count:
                return found
            self._arrived.clear()
            try:
                async with asyncio.timeout(_QUIET):
                    await self._arrived.wait()
            except TimeoutError:  # some were acknowledged late, or are not stored any more
                info = await self.consumers.find(self.name)
                if info is not None and len(self._seqs) >= (info.num_ack_pending or 0):
                    return found


def _at(sequence: SequenceInfo | None) -> tuple[int, int]:
    """The sequences in the stream and in the consumer."""
    return (0, 0) if sequence is None else (sequence.stream_seq, sequence.consumer_seq)
