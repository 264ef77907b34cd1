"""Storing what is pushed, in a smaller form if it is too large.

What cannot be stored at once is kept in memory and tried again until it is stored.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import replace

from varco_core.event.base import Event
from varco_core.event.dlq import DeadLetterEntry
from varco_core.serialization import Serializer

from varco_nats._log import logger as _logger
from varco_nats._nats.delivery import MessageDelivery
from varco_nats.dlq._codec import encode, with_short_message, without_payload
from varco_nats.dlq._store import DlqStore
from varco_nats.errors import DeadLetterTooLargeError

_MAX_ENTRIES = 10_000
_MAX_BYTES = 64 * 1024 * 1024
_RETRY_SECONDS = 0.5


class Pusher:
    """Stores the entries that are pushed to one queue, kept ones oldest first.

    Args:
        open_store: returns the open store, or raises.
        name: the queue's name, for the task and the log.
    """

    def __init__(
        self,
        serializer: Serializer[Event],
        open_store: Callable[[], Awaitable[DlqStore]],
        name: str,
    ) -> None:
        self._serializer = serializer
        self._open = open_store
        self._name = name
        self._waiting: deque[tuple[DeadLetterEntry, MessageDelivery | None, int]] = deque()
        self._bytes = 0
        self._stopping = False
        self._task: asyncio.Task[None] | None = None
        self.unstored = 0
        """How many entries were given up."""

    @property
    def waiting(self) -> int:
        """How many entries are kept."""
        return len(self._waiting)

    async def put_or_keep(self, entry: DeadLetterEntry, delivery: MessageDelivery | None) -> None:
        """Store an entry now, or keep it in memory until it is stored."""
        problem: object = f"{len(self._waiting):,} entries are waiting before it"
        if not self._waiting:
            try:
                await self.put(entry, delivery)
                return
            except DeadLetterTooLargeError as error:
                problem = error
            except Exception as error:
                problem = str(error) or type(error).__name__
        try:
            size = len(encode(entry, self._serializer, delivery))
        except Exception as error:  # a serializer may raise anything
            if entry.event is None:  # a field has a wrong type
                self.give_up(entry, f"{type(error).__name__}: {error}")
                return
            payload = entry.payload
            entry = without_payload(entry, f"its event cannot be serialized: {error}")
            await self.put_or_keep(replace(entry, payload=payload), delivery)
            return
        self._keep(entry, delivery, size, problem)

    async def put(self, entry: DeadLetterEntry, delivery: MessageDelivery | None) -> None:
        """Store an entry, without its payload if it is too large; raises if it is not stored."""
        store = await self._open()
        limit = store.max_size
        data = encode(entry, self._serializer, delivery, max_size=limit)
        if len(data) > limit:
            entry = with_short_message(entry)
            data = encode(entry, self._serializer, delivery, max_size=limit)
        if (size := len(data)) > limit:
            error = DeadLetterTooLargeError(entry.entry_id, entry.channel, size, limit)
            kept = delivery is not None and await store.keeps(delivery, entry.source_ref)
            if delivery is not None and delivery.comes_again and not kept:
                raise error
            found = f"{size:,} bytes when compressed, and the server takes {limit:,}"
            entry = without_payload(entry, f"it has {found}")
            data = encode(entry, self._serializer, delivery, max_size=limit)
            if len(data) > limit:
                raise error
            _logger.log(
                logging.WARNING if kept else logging.ERROR,
                "dead letter %s of channel %r is stored without its payload: it has %s; raise "
                "max_payload on the server",
                entry.entry_id,
                entry.channel,
                found,
            )
        await store.put(entry.entry_id, entry.channel, data)
        if delivery is not None and entry.source_ref == delivery.source_ref:
            delivery.dead_letter = f"{entry.error_type}: {entry.error_message}"

    def give_up(self, entry: DeadLetterEntry, why: object) -> None:
        """Log and count that an entry is lost."""
        self.unstored += 1
        _logger.error(
            "dead letter %s of channel %r is lost (%s %s; %s: %.200r): %s",
            entry.entry_id,
            entry.channel,
            entry.source,
            entry.source_ref or "without a source_ref",
            entry.error_type,
            entry.error_message,
            why,
        )

    async def stop(self, timeout: float) -> None:
        """Store what is waiting, within `timeout` seconds; log each entry that is lost."""
        task = self._task
        if task is not None and task.get_loop() is not asyncio.get_running_loop():
            task = None  # it ended with its loop
        self._stopping = True
        try:
            if task is not None:
                await asyncio.wait({task}, timeout=timeout)
        finally:
            if task is not None:
                task.cancel()
            while self._waiting:
                self.give_up(
                    self._waiting.popleft()[0], "the queue was stopped before it could be stored"
                )
            self._bytes, self._task, self._stopping = 0, None, False
        if task is not None:
            await asyncio.wait({task})

    def _keep(
        self, entry: DeadLetterEntry, delivery: MessageDelivery | None, size: int, why: object
    ) -> None:
        """Keep an entry of `size` bytes that could not be stored; without room it is given up."""
        if isinstance(why, DeadLetterTooLargeError) or self._stopping:
            self.give_up(entry, why)
        elif len(self._waiting) >= _MAX_ENTRIES or self._bytes + size > _MAX_BYTES:
            full = f"{len(self._waiting):,} entries of {self._bytes:,} bytes are waiting already"
            self.give_up(entry, f"{full}; {why}")
        else:
            self._waiting.append((entry, delivery, size))
            self._bytes += size
            _logger.error(
                "dead letter %s of channel %r cannot be stored now and is kept in memory: %s",
                entry.entry_id,
                entry.channel,
                why,
            )
            loop = asyncio.get_running_loop()
            if self._task is None or self._task.done() or self._task.get_loop() is not loop:
                self._task = loop.create_task(self._run(), name=f"store in {self._name}")

    async def _run(self) -> None:
        stored = 0
        while self._waiting:
            entry, delivery, size = self._waiting[0]
            try:
                await self.put(entry, delivery)
            except DeadLetterTooLargeError as error:
                self.give_up(entry, error)
            except Exception as error:
                _logger.debug("dead letter %s is still waiting: %s", entry.entry_id, error)
                self._waiting.rotate(-1)  # another one may succeed
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            else:
                stored += 1
            self._waiting.popleft()
            self._bytes -= size
        _logger.info(
            "%d dead letters that were kept in memory are stored in %s", stored, self._name
        )
