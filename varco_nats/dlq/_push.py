"""Storing what is pushed: at once or by the backlog, and in a smaller form if it is too large."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace

from varco_core.event.base import Event
from varco_core.event.dlq import DeadLetterEntry
from varco_core.serialization import Serializer

from varco_nats._nats.delivery import MessageDelivery
from varco_nats.dlq._backlog import Backlog
from varco_nats.dlq._codec import encode, with_short_message, without_payload
from varco_nats.dlq._store import DlqStore
from varco_nats.errors import DeadLetterTooLargeError

_logger = logging.getLogger("varco_nats")


class Pusher:
    """Stores the entries that are pushed to one queue.

    Args:
        open_store: returns the open store, or raises.
        name: the queue's name, for the log.
    """

    def __init__(
        self,
        serializer: Serializer[Event],
        open_store: Callable[[], Awaitable[DlqStore]],
        name: str,
    ) -> None:
        self._serializer = serializer
        self._open = open_store
        self.backlog = Backlog(self.put, name)

    async def put_or_keep(self, entry: DeadLetterEntry, delivery: MessageDelivery | None) -> None:
        """Store an entry now, or keep it in the backlog until it is stored."""
        problem: object = f"{len(self.backlog):,} entries are waiting before it"
        if not self.backlog:
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
                self.backlog.give_up(entry, f"{type(error).__name__}: {error}")
                return
            payload = entry.payload
            entry = without_payload(entry, f"its event cannot be serialized: {error}")
            await self.put_or_keep(replace(entry, payload=payload), delivery)
            return
        self.backlog.add(entry, delivery, size, problem)

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
