"""The canary of a run: which messages go first, and whether they came back as dead letters."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from itertools import chain, islice, zip_longest
from uuid import UUID

from varco_nats._log import logger as _logger
from varco_nats._nats.provenance import REPLAY_ID, REPLAY_OF
from varco_nats._nats.stream import all_consumers, receives
from varco_nats.bus._outcome import nak_delay
from varco_nats.config import NatsDeliverySemantics, NatsEventBusSettings
from varco_nats.dlq._store import DlqStore
from varco_nats.errors import PermissionDeniedError
from varco_nats.replay._plan import PlannedReplay, ReplayKind, ReplayPlan
from varco_nats.replay._report import Canary
from varco_nats.replay._target import PlannedTarget, first_few

CHECK_SECONDS = 0.25

_MARGIN = 1.25
_HANDLING_SECONDS = 5.0
_LONGEST_SECONDS = 300.0


def first_to_send(plan: ReplayPlan, pending: Sequence[int], count: int) -> list[int]:
    """The rows of the canary, in the order of `pending`.

    They are spread over the target channels, errors, handlers and tenants: one of each combination
    in turn, the most frequent combination first, and of each the rows that come first. Messages of
    a channel's history keep their order, so that the canary is the first of them.
    """
    count = min(count, len(pending))
    if plan.kind is ReplayKind.HISTORY:
        return list(pending[:count])
    alike: defaultdict[tuple[object, ...], list[int]] = defaultdict(list)
    for index in pending:
        alike[_combination(plan.rows[index])].append(index)
    groups = sorted(alike.values(), key=len, reverse=True)
    in_turn = chain.from_iterable(zip_longest(*(group[:count] for group in groups)))
    chosen = set(islice((index for index in in_turn if index is not None), count))
    return [index for index in pending if index in chosen]


def _combination(row: PlannedReplay) -> tuple[object, ...]:
    return row.to, row.error_type, row.handler_name, row.tenant_id


def unproven(targets: Iterable[PlannedTarget], unsettled: Collection[str]) -> list[str]:
    """What the canary of these channels does not prove, in words.

    Args:
        unsettled: channels that somebody consumes and whose messages were not settled.
    """
    said = []
    for target in targets:
        name = target.channel
        if target.is_unconsumed:
            said.append(f"the canary proves nothing for {name}: nobody consumed it")
        elif name in unsettled and target.note:
            proves = "may prove nothing" if target.unknown else "proves nothing"
            said.append(f"the canary {proves} for {name}: {target.note}")
    return first_few(said)


def seconds_to_wait(canary: Canary, settings: NatsEventBusSettings) -> float:
    """How long to watch a canary; warns where that is too short to see it come back."""
    retrying = _retrying_seconds(settings)
    wait = canary.wait_seconds
    if wait is None:
        wait = min(retrying * _MARGIN + _HANDLING_SECONDS, _LONGEST_SECONDS)
    if wait < retrying:
        _logger.warning(
            "the canary is watched for %g s, but the bus gives a message up only after %g s "
            "(max_deliver=%d, nak_delay_seconds=%g), so one that fails may come back too late",
            wait,
            retrying,
            settings.max_deliver,
            settings.nak_delay_seconds,
        )
    return wait


def _retrying_seconds(settings: NatsEventBusSettings) -> float:
    """The time between the first delivery of a message and the last; about an hour at most."""
    if settings.delivery_semantics is NatsDeliverySemantics.AT_MOST_ONCE:
        return 0.0
    total = 0.0
    for delivered in range(1, settings.max_deliver):
        total += nak_delay(settings.nak_delay_seconds, delivered, settings.ack_wait_seconds)
        if not 0 < total < 3600:
            break
    return total


class CanaryWatch:
    """Looks in the queue for the messages of one run's canary.

    Args:
        stream: where they are stored.
        after: the last sequence of the queue before they were sent.
        unconsumed: subjects that nobody consumes, so that there is nothing to wait for.
    """

    def __init__(
        self,
        store: DlqStore,
        stream: str,
        replay_id: str,
        after: int,
        unconsumed: Collection[str] = (),
    ) -> None:
        self._store = store
        self._stream = stream
        self._replay_id = replay_id
        self._after = after
        self._unconsumed = unconsumed
        self._keys: set[str] = set()
        self._source_refs: set[str] = set()
        self._last: dict[str, int] = {}
        """The last sequence on each subject."""
        self.came_back: list[UUID] = []
        self.unsettled: set[str] = set()
        """Subjects that somebody consumes and that were not settled at the last check."""

    def add(self, key: str, subject: str, seq: int) -> None:
        """Add a message of the canary, and where it is stored."""
        self._keys.add(key)
        self._source_refs.add(f"{self._stream}:{seq}")
        if subject not in self._unconsumed:
            self._last[subject] = max(seq, self._last.get(subject, 0))
            self.unsettled.add(subject)

    async def check(self) -> bool:
        """Check once; True if the result is certain: one came back, or none can come back now.

        Raises:
            nats.errors.Error, VarcoNatsError: the server did not answer.
        """
        handled = await self._all_handled()  # asked first: dead letters are stored before that
        async for stored in self._store.scan(start=self._after + 1):
            self._after = stored.message.seq
            headers = stored.headers or {}
            ours = headers.get(REPLAY_ID) == self._replay_id
            replayed = ours and headers.get(REPLAY_OF) in self._keys
            if replayed or stored.entry.source_ref in self._source_refs:
                self.came_back.append(stored.entry.entry_id)
        return handled or bool(self.came_back)

    async def _all_handled(self) -> bool:
        """Whether all durable consumers have settled the canary; each channel needs one for that,
        except those that nobody consumes."""
        if not self._last:
            return True
        try:
            consumers = await all_consumers(self._store.connection, self._stream)
        except PermissionDeniedError:
            return False
        for subject, seq in self._last.items():
            floors = [
                consumer.ack_floor.stream_seq if consumer.ack_floor else 0
                for consumer in consumers
                if consumer.config.durable_name and receives(consumer, subject)
            ]
            if floors and min(floors) >= seq:
                self.unsettled.discard(subject)
        return not self.unsettled
