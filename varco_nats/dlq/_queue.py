"""The dead letter queue: events that no handler could process, kept on the server.

`NatsDLQ` stores, lists, leases and removes them; reading them changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime
from functools import partial
from itertools import batched
from typing import ClassVar, Self
from uuid import UUID

from varco_core.event.base import Event
from varco_core.event.dlq import AbstractDeadLetterQueue, DeadLetterEntry, DeadLetterSource
from varco_core.serialization import Serializer

from varco_nats import subjects
from varco_nats._json import FastJsonEventSerializer
from varco_nats._nats.delivery import current_delivery
from varco_nats._read_only import check_may_change
from varco_nats.config import NatsEventBusSettings, without_credentials
from varco_nats.dlq._codec import DlqNames, StoredEntry, as_utc, with_delivery
from varco_nats.dlq._push import Pusher
from varco_nats.dlq._store import DlqStore, open_store
from varco_nats.errors import (
    DeadLetterError,
    DeadLetterTooLargeError,
    NotStartedError,
    SettingsError,
)

_REMOVED_AT_ONCE = 256


class NatsDLQ(AbstractDeadLetterQueue):
    """Dead letters in a JetStream stream of their own.

    Use it after `start()` or inside `async with`; without either, it connects when it is first
    used. A handler's dead letter is stored, or its message comes again. What others push (an outbox
    relay, a job runner) waits in memory while the server is unreachable; see `push` and `stop`.
    Safe for concurrent tasks of one event loop, not for several threads.

    Args:
        settings: servers and names; read from `VARCO_NATS_*` by default.
        dlq_subject: root of the entries' subjects, default `{subject_prefix}-dlq`. It may lie under
            `{subject_prefix}.` where the stream of the events captures none of it.
        dlq_stream: the stream, default `{stream_name}-dlq`; created if `auto_create_stream`.
        dlq_durable: the consumer that `pop_batch` leases through, shared by all processes.
        serializer: how events are stored; default that of the settings, else JSON.

    Raises:
        SettingsError: a name that NATS does not take, or a `dlq_stream` that holds the events.

    Example:
        async with NatsDLQ(settings) as dlq:
            for entry in await dlq.list_entries(channel="orders"):
                print(entry.entry_id, entry.error_type, entry.error_message)
    """

    supports_random_access: ClassVar[bool] = True

    def __init__(
        self,
        settings: NatsEventBusSettings | None = None,
        *,
        dlq_subject: str | None = None,
        dlq_stream: str | None = None,
        dlq_durable: str = "__varco_dlq_relay__",
        serializer: Serializer[Event] | None = None,
    ) -> None:
        self._settings = settings if settings is not None else NatsEventBusSettings.from_env()
        names = DlqNames.of(self._settings)
        self._names = replace(
            names,
            stream=names.stream if dlq_stream is None else dlq_stream,
            root=names.root if dlq_subject is None else dlq_subject,
        )
        self._durable = dlq_durable
        _check_names(self._settings, self._names, dlq_durable)
        self._serializer = serializer or self._settings.serializer or FastJsonEventSerializer()
        self._pusher = Pusher(self._serializer, partial(self._open, "push()"), self._names.stream)
        self._store: DlqStore | None = None
        self._loop: asyncio.AbstractEventLoop | None = None  # the store and the lock live on it
        self._opening = asyncio.Lock()
        self._not_opened: Exception | None = None  # why it could not be opened the last time
        self._stopped = False

    def __repr__(self) -> str:
        servers = ",".join(without_credentials(url) for url in self._settings.to_servers_list())
        return (
            f"NatsDLQ(stream={self._names.stream!r}, subject={self._names.all_entries()!r}, "
            f"servers={servers!r})"
        )

    @property
    def settings(self) -> NatsEventBusSettings:
        """The settings that it was made with."""
        return self._settings

    @property
    def names(self) -> DlqNames:
        """The names of its stream and subjects."""
        return self._names

    @property
    def durable(self) -> str:
        """The consumer that `pop_batch` leases through."""
        return self._durable

    @property
    def waiting(self) -> int:
        """How many entries `push` keeps in memory until they can be stored."""
        return self._pusher.waiting

    @property
    def unstored(self) -> int:
        """How many pushed entries were given up and are lost; the log names each."""
        return self._pusher.unstored

    async def start(self) -> None:
        """Connect and find or create the stream; more than one call does nothing.

        Raises:
            ConnectError: no server answered or it refused the login.
            JetStreamUnavailableError: the server has no JetStream.
            StreamNotFoundError, StreamMismatchError: the stream cannot be used.
        """
        self._stopped = False
        await self._open("start()")

    async def stop(self) -> None:
        """Store what waits in memory and close the connection; more than one call does nothing.

        Waits up to `drain_timeout_seconds`; what is not stored by then is lost and logged.
        """
        await self._pusher.stop(self._settings.drain_timeout_seconds)
        self._stopped = True
        store, self._store = self._store, None
        if store is not None and self._loop is asyncio.get_running_loop():
            await store.connection.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def push(self, entry: DeadLetterEntry) -> None:
        """Store `entry`; one that is stored already is not stored again.

        While the handlers of a message run, and when the bus gives a message up, an entry without a
        concrete channel or a `source_ref` gets them from the message. Then `push` raises unless the
        entry is known to be stored, so that the message comes again (except under `at_most_once`,
        where no message does).

        Anywhere else it raises nothing, like varco's other queues: an entry that cannot be stored
        now is kept in memory (10,000 entries and 64 MiB at most) with an ERROR in the log, and is
        tried again in the background until it is stored. An entry for which there is no room, or
        which is still waiting when `stop()` ends, is lost: it is an ERROR in the log and is counted
        in `unstored`.

        An entry that is too large for the server even when compressed is stored without its event
        and payload, and its `error_message` says so. If the message would come again, this is done
        only if the stream keeps the message when it is terminated, to be found by `source_ref`.

        Raises:
            DeadLetterTooLargeError: the server takes no message that large, and does not keep
                the handled one.
            DeadLetterError: it is not known to be stored.
            ReadOnlyError: the settings say `read_only`, as for all that changes the queue.
        """
        check_may_change(self._settings, "push()")
        delivery = current_delivery.get()
        if delivery is not None and not delivery.handling:
            delivery = None
        entry = with_delivery(entry, delivery)
        if delivery is None or not delivery.comes_again:
            if self._stopped:
                self._pusher.give_up(entry, NotStartedError("NatsDLQ", "push()"))
            else:
                await self._pusher.put_or_keep(entry, delivery)
            return
        try:
            await self._pusher.put(entry, delivery)
        except DeadLetterTooLargeError:
            raise
        except Exception as error:  # a serializer may raise anything
            raise DeadLetterError(
                f"dead letter {entry.entry_id} of channel {entry.channel!r} is not known to be "
                f"stored: {str(error) or type(error).__name__}"
            ) from error

    async def pop_batch(self, *, limit: int = 10) -> list[DeadLetterEntry]:
        """Lease up to `limit` entries, oldest first; `[]` at once if there are none.

        An entry that is not acknowledged within `ack_wait_seconds` comes again, here or in
        another process. One whose event class is unknown here has `event=None` and its `payload`.

        Raises:
            ValueError: `limit` is below 1.
            DeadLetterError: the server does not answer.
        """
        if limit < 1:
            raise ValueError(f"limit must be 1 or more, not {limit}")
        check_may_change(self._settings, "pop_batch()")
        store = await self._open("pop_batch()")
        with store.errors("leased"):
            return [self._given(store, stored) for stored in await store.lease(limit)]

    async def ack(self, entry_id: UUID) -> None:
        """Remove the entry for good, popped or not; an unknown id does nothing.

        Raises:
            DeadLetterError: the server does not answer.
        """
        check_may_change(self._settings, "ack()")
        store = await self._open("ack()")
        with store.errors("removed"):
            await store.remove(entry_id)

    async def delete(self, entry_id: UUID) -> None:
        """The same as `ack`."""
        await self.ack(entry_id)

    async def count(self) -> int:
        """How many entries are stored, including those that are leased. Exact.

        Raises:
            DeadLetterError: the server does not answer.
        """
        store = await self._open("count()")
        with store.errors("counted"):
            return await store.count()

    async def count_by_channel(self) -> dict[str, int]:
        """How many entries each channel has, including those that are leased. Exact.

        Raises:
            DeadLetterError: the server does not answer.
        """
        store = await self._open("count_by_channel()")
        counts: dict[str, int] = {}
        with store.errors("counted"):
            async for subject, messages in store.subjects():
                if named := self._names.parse(subject):
                    counts[named[1]] = counts.get(named[1], 0) + messages
                    continue
                async for stored in store.scan(subject):
                    channel = stored.entry.channel
                    counts[channel] = counts.get(channel, 0) + 1
        return counts

    async def get(self, entry_id: UUID) -> DeadLetterEntry | None:
        """The entry; None if there is none. Reading changes nothing.

        Raises:
            DeadLetterError: the server does not answer.
        """
        store = await self._open("get()")
        with store.errors("read"):
            stored = await store.find(entry_id)
        return None if stored is None else self._given(store, stored)

    async def list_entries(
        self,
        *,
        limit: int = 50,
        offset: int = 0,
        channel: str | None = None,
        source: DeadLetterSource | None = None,
        tenant_id: str | None = None,
        older_than: datetime | None = None,
        newer_than: datetime | None = None,
    ) -> list[DeadLetterEntry]:
        """Entries that meet every condition, in stored order. Reading changes nothing.

        Args:
            limit: how many to return at most.
            offset: how many matching entries to skip at the start.
            older_than: only those whose `last_failed_at` is before this; UTC without a time zone.
            newer_than: only those whose `last_failed_at` is after this.

        Raises:
            ValueError: `limit` or `offset` is negative.
            DeadLetterError: the server does not answer.
        """
        if limit < 0 or offset < 0:
            raise ValueError(f"limit ({limit}) and offset ({offset}) must not be negative")
        if limit == 0:
            return []
        sources = None if source is None else [source]
        matches = _matcher(channel, sources, tenant_id, older_than, newer_than)
        store = await self._open("list_entries()")
        entries: list[DeadLetterEntry] = []
        with store.errors("listed"):
            async with aclosing(store.matching(matches, channel, offset + limit)) as found:
                async for stored in found:
                    if offset:
                        offset -= 1
                        continue
                    entries.append(self._given(store, stored))
                    if len(entries) == limit:
                        break
        return entries

    async def delete_where(
        self,
        *,
        older_than: datetime | None = None,
        source: DeadLetterSource | Sequence[DeadLetterSource] | None = None,
        channel: str | None = None,
        tenant_id: str | None = None,
        limit: int | None = None,
    ) -> int:
        """Remove the entries that meet every condition, oldest first; returns how many.

        Args:
            older_than: only those whose `last_failed_at` is before this; UTC without a time zone.
            source: one source or several.
            limit: how many to remove at most.

        Raises:
            ValueError: no predicate at all, or a negative `limit`.
            DeadLetterError: the server does not answer.
        """
        if all(condition is None for condition in (older_than, source, channel, tenant_id)):
            raise ValueError(
                "delete_where() removes nothing without a predicate: give at least one of "
                "older_than, source, channel and tenant_id"
            )
        if limit is not None and limit < 0:
            raise ValueError(f"limit must not be negative, not {limit}")
        sources = [DeadLetterSource(source)] if isinstance(source, str) else source
        matches = _matcher(channel, sources, tenant_id, older_than, None)
        check_may_change(self._settings, "delete_where()")
        store = await self._open("delete_where()")
        sequences: list[int] = []
        removed = 0
        with store.errors("removed"):
            async with aclosing(store.matching(matches, channel)) as found:
                async for stored in found:
                    if len(sequences) == limit:
                        break
                    sequences.append(stored.message.seq)
            for batch in batched(sequences, _REMOVED_AT_ONCE):
                removed += sum(await asyncio.gather(*map(store.remove_sequence, batch)))
        return removed

    def _given(self, store: DlqStore, stored: StoredEntry) -> DeadLetterEntry:
        """An entry as it is given to somebody, who may have it removed soon."""
        store.note(stored)
        return stored.with_event(self._serializer)

    async def _open(self, operation: str) -> DlqStore:
        """The store, opened if there is none on this event loop."""
        if self._stopped:
            raise NotStartedError("NatsDLQ", operation)
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._store, self._opening, self._loop = None, asyncio.Lock(), loop
        before = self._not_opened
        async with self._opening:
            if self._store is None or self._store.connection.nc.is_closed:
                if self._not_opened is not None and self._not_opened is not before:
                    raise self._not_opened  # for all who waited meanwhile, not one after another
                try:
                    store = await open_store(self._settings, self._names, self._durable)
                except Exception as error:
                    self._not_opened = error
                    raise
                if self._stopped:  # meanwhile
                    await store.connection.close()
                    raise NotStartedError("NatsDLQ", operation)
                self._store = store
            return self._store


def _matcher(
    channel: str | None,
    sources: Sequence[DeadLetterSource] | None,
    tenant_id: str | None,
    older_than: datetime | None,
    newer_than: datetime | None,
) -> Callable[[DeadLetterEntry], bool]:
    """A function that says whether an entry meets all conditions that are not None."""
    before = None if older_than is None else as_utc(older_than)
    after = None if newer_than is None else as_utc(newer_than)

    def matches(entry: DeadLetterEntry) -> bool:
        return (
            (channel is None or entry.channel == channel)
            and (sources is None or entry.source in sources)
            and (tenant_id is None or entry.tenant_id == tenant_id)
            and (before is None or entry.last_failed_at < before)
            and (after is None or entry.last_failed_at > after)
        )

    return matches


def _check_names(settings: NatsEventBusSettings, names: DlqNames, durable: str) -> None:
    problems = []
    for argument, name in (("dlq_stream", names.stream), ("dlq_durable", durable)):
        if problem := subjects.name_problem(name):
            problems.append(f"{argument}: {problem}")
    if problem := subjects.subject_problem(names.root):
        problems.append(f"dlq_subject: {problem}")
    if names.stream == settings.stream_name:
        problems.append(f"dlq_stream: {names.stream!r} is the stream of the events; name another")
    if problems:
        raise SettingsError("NatsDLQ", problems)
