"""The stored dead letters: requests to the server, on one connection."""

from __future__ import annotations

import asyncio
import re
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterator,
    Sequence,
)
from contextlib import aclosing, contextmanager, suppress
from datetime import datetime
from typing import Any
from uuid import UUID

from nats.errors import Error as NatsError
from nats.js.api import RetentionPolicy
from nats.js.errors import APIError, NoStreamResponseError, NotFoundError
from varco_core.event.dlq import DeadLetterEntry

from varco_nats._nats.client import Connection, connect, header_block, jetstream_errors
from varco_nats._nats.delivery import MessageDelivery
from varco_nats._nats.direct import StoredMessage, get_message, leader_message, no_such_message
from varco_nats._nats.error_codes import ErrorCode
from varco_nats._nats.limits import limit_reached
from varco_nats._nats.stream import covers, led_info, store_in, stream_info
from varco_nats.config import NatsEventBusSettings
from varco_nats.dlq._codec import DlqNames, StoredEntry, decode_named, made_of
from varco_nats.dlq._known import KnownSequences
from varco_nats.dlq._sequences import Sequences
from varco_nats.dlq._stream import LeasingConsumer, ensure_dlq_stream, legacy_subjects
from varco_nats.errors import (
    AuthenticationError,
    DeadLetterError,
    JetStreamUnavailableError,
    StreamMismatchError,
    StreamUnavailableError,
    VarcoNatsError,
)
from varco_nats.history._lookup import read_stored, subject_pages
from varco_nats.history._reader import read_undirected

_WRONG_LAST_SEQUENCE = (
    ErrorCode.STREAM_WRONG_LAST_SEQUENCE,
    ErrorCode.STREAM_WRONG_LAST_SEQUENCE_CONSTANT,
)
_OWN = (AuthenticationError, DeadLetterError, JetStreamUnavailableError, StreamMismatchError)
_SEQUENCE = re.compile(r"wrong last sequence: [1-9]")
_BATCH = 1000
_UUID_LENGTH = 36
_WHILE_ELECTING = (1.0, 2.0, 2.0, 2.0, 2.0)
"""Seconds to wait for each of the first answers of a cluster: a new leader does not hear what was
asked before it, and an election takes 4 to 9 s (`minElectionTimeout`, `maxElectionTimeout` in
nats-server's `raft.go`)."""
_REQUESTS_AT_ONCE = 128  # a server drops API requests that pile up
_LISTED_PER_LOOKUP = 100  # so many subjects are listed in the time in which one entry is looked up


class DlqStore:
    """The stored dead letters. Failures of NATS itself are raised as `nats.errors.Error`."""

    def __init__(
        self,
        connection: Connection,
        settings: NatsEventBusSettings,
        names: DlqNames,
        durable: str,
        created: datetime | None = None,
    ) -> None:
        self.connection = connection
        self._settings = settings
        self.names = names
        self._headers_size = len(header_block(self._only_once(UUID(int=0))))
        self._legacy = legacy_subjects(settings, names)
        self._consumer = LeasingConsumer(connection, settings, names.stream, durable)
        self._at_once = asyncio.Semaphore(_REQUESTS_AT_ONCE)
        self._known = KnownSequences(connection, names.stream, created)
        self._irregular: dict[UUID, int] = {}  # sequences of entries whose subject has no id

    @contextmanager
    def errors(self, done: str) -> Iterator[None]:
        """Turn failures of NATS into a `DeadLetterError`: dead letters could not be `done`."""
        try:
            with jetstream_errors(self.connection):
                yield
        except _OWN:
            raise
        except (NatsError, OSError, StreamUnavailableError) as error:
            raise DeadLetterError(
                f"dead letters of stream {self.names.stream!r} could not be {done}: "
                f"{str(error) or type(error).__name__}"
            ) from error

    @property
    def max_size(self) -> int:
        """Bytes of the largest entry, without its headers, which are equally long for every one."""
        return self.connection.max_payload - self._headers_size

    def _only_once(self, entry_id: UUID | str) -> dict[str, str]:
        """Headers with which the server stores an entry unless it has it."""
        return {
            "Nats-Expected-Last-Subject-Sequence": "0",
            # In any channel. Servers before 2.11 ignore this header and check the subject itself.
            "Nats-Expected-Last-Subject-Sequence-Subject": self.names.of_entry(entry_id),
        }

    async def put(
        self, entry_id: UUID, channel: str, data: bytes, subject: str | None = None
    ) -> int | None:
        """Store an entry's `data`; does nothing if the entry is stored already.

        Returns only when the server has confirmed that it is stored: by a PubAck, or by naming the
        sequence of an entry with this id.

        Args:
            subject: one that names the entry; None is that of `channel`.

        Returns:
            Its sequence; None where it was stored before, also by an attempt whose PubAck was lost.
        """
        name = str(entry_id)
        subject = subject or self.names.subject(name, channel)
        headers = self._only_once(name)
        timeout, attempts = self._settings.publish_timeout_seconds, self._settings.publish_attempts
        clock = asyncio.get_running_loop().time
        give_up_at = clock() + timeout * attempts
        attempt = 0
        while True:
            attempt += 1
            try:
                stream = self.names.stream
                stored = store_in(self.connection, stream, subject, data, headers, timeout)
                return (await stored).seq
            except (NatsError, OSError) as error:
                undecided = False
                if isinstance(error, APIError) and error.err_code not in _WRONG_LAST_SEQUENCE:
                    limit = limit_reached(error.err_code, error.description)
                    if limit is not None:
                        raise limit from error
                elif isinstance(error, APIError):
                    proven = _SEQUENCE.search(error.description or "")
                    if proven and await self._is_ours(entry_id):
                        return None
                    # The cluster has not agreed on an earlier attempt, and perhaps never will.
                    undecided = clock() < give_up_at
                if attempt >= attempts and not undecided:
                    raise
                stream_gone = isinstance(error, NoStreamResponseError)
            await asyncio.sleep(min(0.05 * 2 ** min(attempt, 9), 1.0))
            if await self.connection.wait_connected(timeout) and stream_gone:
                await ensure_dlq_stream(self.connection, self._settings, self.names)

    async def _is_ours(self, entry_id: UUID) -> bool:
        """Whether it is our stream that named the sequence of an entry, and not one elsewhere.

        An error does not say of which JetStream domain it is.
        """
        if self.connection.domain is None:
            return True
        try:
            return await self.find(entry_id) is not None
        except (NatsError, OSError, VarcoNatsError):
            return False

    async def keeps(self, delivery: MessageDelivery, source_ref: str | None) -> bool:
        """Whether the delivered message stays in its stream when it is terminated.

        As far as this connection can see: the queue may be on other servers than the message.
        """
        js = self.connection.js
        if source_ref != delivery.source_ref:
            return False
        try:
            config = (await js.stream_info(delivery.stream)).config
            if config.retention not in (None, RetentionPolicy.LIMITS):
                return False
            found = await js.get_msg(delivery.stream, delivery.seq)
        except (NatsError, OSError):
            return False
        return bool(found.data == delivery.payload)

    async def lease(self, limit: int) -> list[StoredEntry]:
        """Up to `limit` entries, which nobody else is given during the ack wait."""
        return [self._decode(message) for message in await self._consumer.fetch(limit)]

    async def count(self) -> int:
        info = await led_info(self.connection, self.names.stream)
        return int(info.state.messages)

    async def subjects(self) -> AsyncIterator[tuple[str, int]]:
        """Every subject and how many messages it has."""
        async for page in subject_pages(self.connection, self.names.stream, ">"):
            for subject, messages in page.items():
                yield subject, messages

    async def ensure(self) -> None:
        """Create the stream if it does not exist and may be created."""
        await ensure_dlq_stream(self.connection, self._settings, self.names)

    async def exists(self) -> bool:
        try:
            await self.connection.js.stream_info(self.names.stream)
        except NotFoundError:
            return False
        return True

    async def last_seq(self) -> int:
        """The sequence of the newest entry that was ever stored."""
        info = await led_info(self.connection, self.names.stream)
        return int(info.state.last_seq)

    async def existing(self, entries: Collection[UUID]) -> set[UUID]:
        """Which of these entries are in the queue. Exact."""
        with suppress(NatsError):  # the list waits for a leader, and says what is wrong
            if (found := await self._looked_up(entries)) is not None:
                return found
        missing = {str(entry_id): entry_id for entry_id in entries}
        start = len(self.names.root) + 1
        irregular = False
        async for subject, _ in self.subjects():
            if missing.pop(subject[start : start + _UUID_LENGTH], None) is None:
                irregular = irregular or self.names.parse(subject) is None
        if irregular:  # subjects that do not name the entry
            missing = {
                name: entry_id
                for name, entry_id in missing.items()
                if await self.find(entry_id) is None
            }
        return set(entries) - set(missing.values())

    async def _looked_up(self, entries: Collection[UUID]) -> set[UUID] | None:
        """The same by their subjects; None where a list of all is faster, or more exact."""
        if len(entries) * _LISTED_PER_LOOKUP > await self.count():
            return None
        if any(made_of(entry_id) is not None for entry_id in entries):
            return None
        for legacy in self._legacy:
            if await self._next_of_leader(legacy) is not None:
                return None
        subjects = map(self.names.of_entry, entries)
        found = await asyncio.gather(*map(self._next_of_leader, subjects))
        pairs = zip(entries, found, strict=True)
        return {entry_id for entry_id, message in pairs if message is not None}

    async def scan(
        self, subject: str = ">", batch: int = _BATCH, *, start: int = 1
    ) -> AsyncGenerator[StoredEntry, None]:
        """The entries stored under `subject` from sequence `start` on, oldest first."""
        async with aclosing(self._read(subject, batch, start=start)) as reading:
            async for messages in reading:
                for message in messages:
                    yield self._decode(message)

    async def pages(self, subject: str = ">") -> AsyncGenerator[Iterator[StoredEntry], None]:
        """The same for who takes them all: many at a time, while the next are on their way."""
        async with aclosing(self._read(subject, _BATCH, ahead=True)) as reading:
            async for messages in reading:
                yield map(self._decode, messages)

    def _read(
        self, subject: str, batch: int, *, start: int = 1, ahead: bool = False
    ) -> AsyncGenerator[list[StoredMessage], None]:
        return read_stored(
            self.connection,
            self.names.stream,
            subject,
            start=start,
            batch=min(batch, _BATCH),
            timeout=self._settings.publish_timeout_seconds,
            attempts=self._settings.publish_attempts,
            ahead=ahead,
            late_headers=ahead,
        )

    async def matching(
        self,
        matches: Callable[[DeadLetterEntry], bool],
        channel: str | None,
        batch: int = _BATCH,
    ) -> AsyncGenerator[StoredEntry, None]:
        """The entries for which `matches` is true, oldest first.

        Args:
            channel: the one that all of them are of; None if they may be of several.
        """
        async with aclosing(self.scan(await self.subject_to_scan(channel), batch)) as entries:
            async for stored in entries:
                if matches(stored.entry):
                    yield stored

    async def sequences(self) -> Sequences:
        """Which sequences the stream's leader has, all as of now."""
        stream = self.names.stream
        return await self._patiently(lambda wait: Sequences.of(self.connection, stream, wait))

    async def at_sequence(self, seq: int) -> StoredEntry | None:
        """What the stream's leader has at a sequence."""
        message = await self._ask_leader({"seq": seq})
        return None if message is None else self._decode(message)

    async def subject_to_scan(self, channel: str | None) -> str:
        """The narrowest subject that has every entry of `channel`."""
        if channel is None:
            return ">"
        for legacy in self._legacy:
            if await self._next(legacy) is not None:
                return ">"  # that subject does not name the channel
        return self.names.of_channel(channel)

    async def find(self, entry_id: UUID) -> StoredEntry | None:
        """The entry with this id."""
        subject = self.names.of_entry(entry_id)
        # A replica that answers a direct get may be behind; the leader is not.
        message = await self._next(subject) or await self._next_of_leader(subject)
        return self._decode(message) if message else await self._find_irregular(entry_id)

    async def remove(self, entry_id: UUID) -> None:
        """Remove the entry with this id, if there is one.

        What was noted by `note` is removed without another look. Each request is preceded by a look
        or a note over the same connection, so that it cannot be carried out on another message.
        """
        failures = 0
        while True:
            seq = await self._known.take(entry_id)
            looked = seq is None
            if seq is None:
                if (stored := await self.find(entry_id)) is None:
                    break
                seq = stored.message.seq
            try:
                if await self.remove_sequence(seq, attempts=1) or looked:
                    break
            except NatsError as error:
                failures += 1
                if isinstance(error, APIError) or failures >= self._settings.publish_attempts:
                    raise
                await self.connection.wait_connected(self._settings.publish_timeout_seconds)
        self._irregular.pop(entry_id, None)

    def note(self, stored: StoredEntry) -> None:
        """Note where an entry is that somebody is given, and may have removed soon."""
        self._known.note(stored.entry.entry_id, stored.message.seq)

    async def remove_sequence(self, seq: int, *, attempts: int | None = None) -> bool:
        """Remove one message; False if it was not there."""
        try:
            await self._api("STREAM.MSG.DELETE", {"seq": seq, "no_erase": True}, attempts)
        except APIError as error:
            if not no_such_message(error.err_code, error.description):
                raise
            return False
        return True

    def _decode(self, message: StoredMessage) -> StoredEntry:
        named = self.names.id_in(message.subject)
        stored = decode_named(message, self.names, named)
        if named is None:
            self._irregular[stored.entry.entry_id] = message.seq
        return stored

    async def _find_irregular(self, entry_id: UUID) -> StoredEntry | None:
        """The entry with this id among those whose subject does not name it."""
        seq = made_of(entry_id) or self._irregular.get(entry_id)
        if seq is not None:
            message = await self._next(">", seq) or await self._next_of_leader(">", seq)
            stored = self._decode(message) if message else None
            if stored and stored.entry.entry_id == entry_id:
                return stored
        for subject in self._legacy:
            async with aclosing(self.scan(subject)) as entries:
                async for stored in entries:
                    if stored.entry.entry_id == entry_id:
                        return stored
        return None

    async def _next(self, subject: str, start: int = 1) -> StoredMessage | None:
        """The first message of `subject` from sequence `start` on."""
        async with self._at_once:
            return await get_message(
                self.connection,
                self.names.stream,
                {"seq": start, "next_by_subj": subject},
                timeout=self._settings.publish_timeout_seconds,
                attempts=self._settings.publish_attempts,
            )

    async def _next_of_leader(self, subject: str, start: int = 1) -> StoredMessage | None:
        return await self._ask_leader({"seq": start, "next_by_subj": subject})

    async def _ask_leader(self, request: dict[str, Any]) -> StoredMessage | None:
        try:
            reply = await self._api("STREAM.MSG.GET", request)
        except NotFoundError:
            return None
        return leader_message(reply["message"])

    async def _api(
        self, request: str, body: dict[str, Any], attempts: int | None = None
    ) -> dict[str, Any]:
        """The answer to a JetStream API request about the stream, sent again if none comes."""
        name, timeout = f"{request}.{self.names.stream}", self._settings.publish_timeout_seconds
        return await self._patiently(
            lambda wait: self.connection.ask_jetstream(name, body, min(wait or timeout, timeout)),
            attempts,
        )

    async def _patiently[Answer](
        self, ask: Callable[[float | None], Awaitable[Answer]], attempts: int | None = None
    ) -> Answer:
        """The server's answer to a request, which is sent again if none comes.

        Args:
            ask: is told how many seconds to wait; None is as long as usual.
        """
        waits: list[float | None] = [None] * (attempts or self._settings.publish_attempts)
        if attempts is None and self.connection.is_clustered:
            waits = [*_WHILE_ELECTING, *waits]
        while True:
            wait = waits.pop(0)
            try:
                async with self._at_once:
                    return await ask(wait)
            except NatsError as error:
                if isinstance(error, APIError) or not waits:
                    raise
            await self.connection.wait_connected(self._settings.publish_timeout_seconds)


class ForeignStore(DlqStore):
    """Dead letters that others write: they are read and removed, and none is put there."""

    async def ensure(self) -> None:
        await stream_info(self.connection, self.names.stream)

    async def _read(
        self, subject: str, batch: int, *, start: int = 1, ahead: bool = False
    ) -> AsyncGenerator[list[StoredMessage]]:
        info = await led_info(self.connection, self.names.stream)
        reading: AsyncGenerator[Sequence[StoredMessage]]
        if info.config.allow_direct:
            reading = super()._read(subject, batch, start=start, ahead=ahead)
        else:
            kept = info.config.retention in (None, RetentionPolicy.LIMITS)
            last = int(info.state.last_seq)
            reading = read_undirected(
                self.connection, self.names.stream, subject, start, last, kept=kept, page=_BATCH
            )
        async with aclosing(reading) as messages:
            async for some in messages:
                yield [*some]

    async def existing(self, entries: Collection[UUID]) -> set[UUID]:
        by_seq = {seq: each for each in entries if (seq := made_of(each)) is not None}
        missing = (await self.sequences()).missing(set(by_seq))
        return {each for seq, each in by_seq.items() if seq not in missing}

    async def subject_to_scan(self, channel: str | None) -> str:
        return self.names.all_entries()

    async def find(self, entry_id: UUID) -> StoredEntry | None:
        seq = made_of(entry_id)
        stored = None if seq is None else await self.at_sequence(seq)
        if stored is None or stored.entry.entry_id != entry_id:
            return None
        return stored if covers(self.names.all_entries(), stored.message.subject) else None

    def _decode(self, message: StoredMessage) -> StoredEntry:
        return self.names.decode(message)


async def open_store(
    settings: NatsEventBusSettings, names: DlqNames, durable: str, *, create: bool = True
) -> DlqStore:
    """Connect, and find or create the stream.

    Args:
        create: False leaves it to the first `put` to create the stream.

    Raises:
        ConnectError, JetStreamUnavailableError: there is no server, or it stores nothing.
        StreamNotFoundError, StreamMismatchError: the stream cannot be used.
    """
    connection = await connect(settings, name=f"varco-dlq {names.stream}")
    try:
        if names.is_foreign:
            store = ForeignStore(connection, settings, names, durable)
            await store.ensure()
            return store
        created = await ensure_dlq_stream(connection, settings, names, create=create)
    except BaseException:
        await connection.close()
        raise
    return DlqStore(connection, settings, names, durable, created)
