"""Whether replayed messages came back as dead letters."""

from __future__ import annotations

import logging
from collections.abc import Collection
from uuid import UUID

from nats.js.api import ConsumerInfo

from varco_nats._nats.provenance import REPLAY_ID, REPLAY_OF
from varco_nats._nats.stream import covers
from varco_nats.bus._outcome import nak_delay
from varco_nats.config import NatsDeliverySemantics, NatsEventBusSettings
from varco_nats.dlq._codec import StoredEntry
from varco_nats.dlq._store import DlqStore
from varco_nats.replay._report import Canary

LOOK_SECONDS = 0.25

_MARGIN = 1.25
_HANDLING_SECONDS = 5.0
_LONGEST_SECONDS = 300.0
_logger = logging.getLogger("varco_nats")


def seconds_to_wait(canary: Canary, settings: NatsEventBusSettings) -> float:
    """How long to look for a canary; warns where that is too short to see it come back."""
    retrying = _retrying_seconds(settings)
    wait = canary.wait_seconds
    if wait is None:
        wait = min(retrying * _MARGIN + _HANDLING_SECONDS, _LONGEST_SECONDS)
    if wait < retrying:
        _logger.warning(
            "the canary is watched for %g s, but the bus gives a message up only after %g s "
            "(max_deliver=%d, nak_delay_seconds=%g): one that fails may not be back in time",
            wait,
            retrying,
            settings.max_deliver,
            settings.nak_delay_seconds,
        )
    return wait


def _retrying_seconds(settings: NatsEventBusSettings) -> float:
    """The pauses between the first delivery of a message and the last; no more than an hour."""
    if settings.delivery_semantics is NatsDeliverySemantics.AT_MOST_ONCE:
        return 0.0
    total = 0.0
    for delivered in range(1, settings.max_deliver):
        total += nak_delay(settings.nak_delay_seconds, delivered, settings.ack_wait_seconds)
        if not 0 < total < 3600:
            break
    return total


class CanaryWatch:
    """Looks for the messages of one run's canary in the queue.

    Args:
        stream: where they are stored.
        after: sequence of the queue before they were sent.
    """

    def __init__(self, store: DlqStore, stream: str, replay_id: str, after: int) -> None:
        self._store = store
        self._stream = stream
        self._replay_id = replay_id
        self._after = after
        self._keys: set[str] = set()
        self._source_refs: set[str] = set()
        self._last: dict[str, int] = {}
        """The last sequence on each subject."""
        self.came_back: list[UUID] = []

    def add(self, key: str, subject: str, seq: int) -> None:
        """A message of the canary, and where it is stored."""
        self._keys.add(key)
        self._source_refs.add(f"{self._stream}:{seq}")
        self._last[subject] = max(seq, self._last.get(subject, 0))

    async def look(self) -> bool:
        """Look once; whether it is decided, because one is back or none can come any more.

        Raises:
            nats.errors.Error: the server cannot be asked.
        """
        handled = await self._all_handled()  # a dead letter is stored before its message is done
        async for stored in self._store.scan(start=self._after + 1):
            self._after = stored.message.seq
            if came_back(stored, self._replay_id, self._keys, self._source_refs):
                self.came_back.append(stored.entry.entry_id)
        return handled or bool(self.came_back)

    async def _all_handled(self) -> bool:
        """Whether the channels have durable consumers and all are done with the canary."""
        js, consumers = self._store.connection.js, list[ConsumerInfo]()
        while page := await js.consumers_info(self._stream, offset=len(consumers)):
            consumers += page
        for subject, seq in self._last.items():
            floors = [
                one.ack_floor.stream_seq if one.ack_floor else 0
                for one in consumers
                if one.config.durable_name and _delivers(one, subject)
            ]
            if not floors or min(floors) < seq:
                return False
        return True


def came_back(
    stored: StoredEntry, replay_id: str, sent: Collection[str], source_refs: Collection[str]
) -> bool:
    """Whether a dead letter is one of the messages that a run replayed."""
    headers = stored.headers or {}
    if headers.get(REPLAY_ID) == replay_id and headers.get(REPLAY_OF) in sent:
        return True
    return stored.entry.source_ref in source_refs


def _delivers(info: ConsumerInfo, subject: str) -> bool:
    filters = info.config.filter_subjects or [info.config.filter_subject or ">"]
    return any(covers(one, subject) for one in filters)
