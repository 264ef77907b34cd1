"""Dead letters that could not be stored at once: kept in memory and tried again until stored."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable

from varco_core.event.dlq import DeadLetterEntry

from varco_nats._nats.delivery import MessageDelivery
from varco_nats.errors import DeadLetterTooLargeError

_logger = logging.getLogger("varco_nats")

MAX_ENTRIES = 10_000
MAX_BYTES = 64 * 1024 * 1024
_RETRY_SECONDS = 0.5


class Backlog:
    """Stores entries in the background, oldest first, for as long as it takes.

    Args:
        store: stores an entry or raises.
        name: the queue's name, for the task and the log.
    """

    def __init__(
        self,
        store: Callable[[DeadLetterEntry, MessageDelivery | None], Awaitable[None]],
        name: str,
    ) -> None:
        self._store = store
        self._name = name
        self._waiting: deque[tuple[DeadLetterEntry, MessageDelivery | None, int]] = deque()
        self._bytes = 0
        self._stopping = False
        self._task: asyncio.Task[None] | None = None
        self.unstored = 0
        """How many entries were given up."""

    def __len__(self) -> int:
        return len(self._waiting)

    def add(
        self, entry: DeadLetterEntry, delivery: MessageDelivery | None, size: int, why: object
    ) -> None:
        """Keep an entry of `size` bytes that could not be stored; without room it is given up."""
        if isinstance(why, DeadLetterTooLargeError) or self._stopping:
            self.give_up(entry, why)
        elif len(self._waiting) >= MAX_ENTRIES or self._bytes + size > MAX_BYTES:
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

    async def _run(self) -> None:
        stored = 0
        while self._waiting:
            entry, delivery, size = self._waiting[0]
            try:
                await self._store(entry, delivery)
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
