"""The dead letter stream and its durable: finding and creating them, and leasing entries."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime

from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DeliverPolicy,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)
from nats.js.errors import APIError, NotFoundError

from varco_nats._log import logger as _logger
from varco_nats._nats.client import Connection
from varco_nats._nats.delivery import ack_fields
from varco_nats._nats.direct import StoredMessage
from varco_nats._nats.error_codes import ErrorCode, Status
from varco_nats._nats.inbox import until_quiet
from varco_nats._nats.leader import limit_of, with_leader
from varco_nats._nats.stream import all_consumers, covers, ensure_stream, stream_info, update_stream
from varco_nats.config import NatsEventBusSettings
from varco_nats.dlq._codec import DlqNames
from varco_nats.errors import (
    ConsumerMismatchError,
    DeadLetterError,
    StreamMismatchError,
    StreamNotFoundError,
)
from varco_nats.subjects import legacy_dead_letters

_MAX_PULL = 1000
_LATE_SECONDS = 0.25
_OTHER_CONSUMER = (  # a WorkQueue stream has one consumer for each message
    ErrorCode.CONSUMER_WQ_MULTIPLE_UNFILTERED,
    ErrorCode.CONSUMER_WQ_CONSUMER_NOT_UNIQUE,
)


def dlq_stream_config(settings: NatsEventBusSettings, names: DlqNames) -> StreamConfig:
    """The configuration of the stream that holds the dead letters."""
    return StreamConfig(
        name=names.stream,
        subjects=[names.all_entries()],
        retention=RetentionPolicy.WORK_QUEUE,
        storage=StorageType.FILE,
        num_replicas=settings.stream_replicas,
        allow_direct=True,
    )


def legacy_subjects(settings: NatsEventBusSettings, names: DlqNames) -> list[str]:
    """The subjects under which the released package stores its entries."""
    prefix, channel_prefix = settings.subject_prefix, settings.channel_prefix
    return [legacy_dead_letters(prefix, channel_prefix), names.root]


async def ensure_dlq_stream(
    connection: Connection,
    settings: NatsEventBusSettings,
    names: DlqNames,
    *,
    create: bool = True,
) -> datetime | None:
    """Find or create the stream; one that the released package created gets our subjects, too.

    One that is created here captures the root itself as well, where the released package stores.

    Args:
        create: False creates no stream; one that may be created counts as an empty one. Over a
            connection that only looks, nothing is created or changed.

    Returns:
        When the stream was created; None if there is none, or if its sequences may come to name
        other messages unnoticed: the only replica in a cluster can be killed, and lose what it had
        not written, while the connection goes to another server.

    Raises:
        StreamNotFoundError, StreamMismatchError, StreamUnavailableError,
        JetStreamUnavailableError: see `ensure_stream`.
    """

    wanted = dlq_stream_config(settings, names)
    try:
        config = (await stream_info(connection, names.stream)).config
    except StreamNotFoundError:
        wanted = replace(wanted, subjects=[names.all_entries(), names.root])
    else:
        found = list(config.subjects or [])
        legacy = legacy_subjects(settings, names)
        subjects = found
        if found and all(subject in legacy for subject in found):
            # One under the event stream's subjects would keep that stream from being created.
            ours = settings.wildcard_subject()
            kept = [subject for subject in found if not covers(ours, subject)]
            subjects = [names.all_entries(), *kept]
        if connection.read_only:
            if subjects != found:  # it is read as it is
                wanted = replace(wanted, subjects=found)
        elif not any(covers(subject, names.all_entries()) for subject in subjects):
            raise _of_other_root(settings, names, found)
        elif subjects != found or not config.allow_direct:
            config = replace(config, subjects=subjects, allow_direct=True)
            await with_leader(connection, names.stream, lambda: update_stream(connection, config))
            _logger.info("stream %s now captures %s", names.stream, ", ".join(subjects))
    may_create = settings.auto_create_stream
    creates = create and may_create and not connection.read_only
    try:
        info = await ensure_stream(connection, wanted, create=creates)
    except StreamNotFoundError:
        if create or not may_create:
            raise
        return None
    unnoticed = connection.is_clustered and (info.config.num_replicas or 1) == 1
    return None if unnoticed else info.created


def _of_other_root(
    settings: NatsEventBusSettings, names: DlqNames, found: list[str]
) -> StreamMismatchError:
    """The error for a stream whose entries are under other subjects than those of `names`."""
    root = next(iter(found), "").removesuffix(".>")
    options = f"dlq_subject={root!r}"
    if names.stream != DlqNames.of(settings).stream:
        options = f"dlq_stream={names.stream!r}, {options}"
    hint = (
        f"if its dead letters are under these, open it as NatsDLQ(settings, {options}), which "
        "DeadLetters of the widgets takes, too"
    )
    return StreamMismatchError(names.stream, "subjects", [names.all_entries()], found, hint)


@dataclass(slots=True)
class _Pulled:
    """The answers to one pull request."""

    wanted: int
    messages: list[StoredMessage] = field(default_factory=list)
    status: str | None = None
    done: asyncio.Event = field(default_factory=asyncio.Event)

    async def take(self, msg: Msg) -> None:
        if msg.reply:
            _, _, _, seq, _, time_ns, _ = ack_fields(msg.reply)
            self.messages.append(
                StoredMessage(int(seq), msg.subject, int(time_ns), msg.data, msg.headers)
            )
        else:
            self.status = (msg.headers or {}).get("Status", "")
            if self.status == Status.HEARTBEAT:  # an idle heartbeat
                return
        if self.status is not None or len(self.messages) >= self.wanted:
            self.done.set()


class LeasingConsumer:
    """The durable pull consumer that entries are leased through, shared by processes."""

    def __init__(
        self, connection: Connection, settings: NatsEventBusSettings, stream: str, durable: str
    ) -> None:
        self._connection = connection
        self._settings = settings
        self._stream = stream
        self._durable = durable
        self._ready = False

    async def fetch(self, limit: int) -> list[StoredMessage]:
        """Lease up to `limit` messages that are stored now; they come again after the ack wait.

        Raises:
            ConsumerMismatchError: the durable is a push consumer.
            DeadLetterError: the stream has another consumer, or the server does not answer.
        """
        messages: list[StoredMessage] = []
        while len(messages) < limit:
            wanted = min(limit - len(messages), _MAX_PULL)
            batch = await self._pull(wanted, {"no_wait": True})
            messages += batch
            if len(batch) < wanted:
                break
        if not messages and await self._may_have_undelivered():
            expires = int(_LATE_SECONDS * 1_000_000_000)
            messages = await self._pull(min(limit, _MAX_PULL), {"expires": expires})
        return messages

    async def _pull(self, wanted: int, options: dict[str, object]) -> list[StoredMessage]:
        timeout = self._settings.publish_timeout_seconds
        for _ in range(self._settings.publish_attempts):
            await self._ensure()
            pulled = await self._request(wanted, options, timeout)
            if pulled.messages or pulled.status not in (None, Status.NO_RESPONDERS):
                return pulled.messages
            self._ready = False  # perhaps the durable was deleted
            await self._connection.wait_connected(timeout)
        raise DeadLetterError(
            f"durable {self._durable!r} of stream {self._stream!r} does not answer; check the "
            "connection and that the stream has a leader"
        )

    async def _request(self, wanted: int, options: dict[str, object], timeout: float) -> _Pulled:
        nc, pulled = self._connection.nc, _Pulled(wanted)
        inbox = nc.new_inbox()
        subscription = await nc.subscribe(
            inbox, cb=pulled.take, pending_msgs_limit=-1, pending_bytes_limit=0
        )
        try:
            await nc.publish(
                f"{self._connection.api}.CONSUMER.MSG.NEXT.{self._stream}.{self._durable}",
                json.dumps({"batch": wanted, **options}).encode(),
                inbox,
            )
            await until_quiet(pulled.done, lambda: len(pulled.messages), timeout)
        finally:
            with suppress(NatsError):
                await subscription.unsubscribe()
        return pulled

    async def _may_have_undelivered(self) -> bool:
        """Whether a message may be stored that the consumer does not know of yet."""
        js = self._connection.js
        state = (await js.stream_info(self._stream)).state
        if not state.messages:
            return False
        delivered = (await js.consumer_info(self._stream, self._durable)).delivered
        return delivered is None or delivered.stream_seq < state.last_seq

    async def _ensure(self) -> None:
        if self._ready:
            return
        js = self._connection.js
        wanted = ConsumerConfig(
            durable_name=self._durable,
            deliver_policy=DeliverPolicy.ALL,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=self._settings.ack_wait_seconds,
            max_deliver=-1,
            max_ack_pending=-1,
        )
        try:
            found = (await js.consumer_info(self._stream, self._durable)).config
        except NotFoundError:
            same = filtered = False
        else:
            if found.deliver_subject:
                raise ConsumerMismatchError(self._durable, "kind", "pull", "push")
            if found.ack_policy != AckPolicy.EXPLICIT:
                raise ConsumerMismatchError(
                    self._durable, "ack_policy", "explicit", found.ack_policy
                )
            filtered = bool(found.filter_subject or found.filter_subjects)
            same = not filtered and all(
                getattr(found, name) == getattr(wanted, name)
                for name in ("ack_wait", "max_deliver", "max_ack_pending")
            )
        if not same:
            try:
                if filtered:  # without the filter it would not go back to what it has passed over
                    with suppress(NotFoundError):
                        await js.delete_consumer(self._stream, self._durable)
                await js.add_consumer(self._stream, wanted)
            except APIError as error:
                if error.err_code not in _OTHER_CONSUMER:
                    raise (await limit_of(self._connection, self._stream, error)) or error from None
                others = await all_consumers(self._connection, self._stream)
                names = ", ".join(str(other.name) for other in others)
                raise DeadLetterError(
                    f"stream {self._stream!r} has another consumer ({names}), and only one can "
                    "take dead letters; pass its name as dlq_durable or delete it"
                ) from None
        self._ready = True
