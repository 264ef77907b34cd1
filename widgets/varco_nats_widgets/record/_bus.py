"""A record of what buses in this process report to their observers."""

from __future__ import annotations

import threading
import weakref
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Protocol, runtime_checkable

import pandas as pd
from varco_core.event.base import AbstractEventBus

from varco_nats._masks._mask import Mask
from varco_nats._nats.delivery import MessageDelivery, current_delivery
from varco_nats.config import NatsDeliverySemantics, NatsEventBusSettings
from varco_nats.observe import DeliveryEvent, DeliveryKind, Observation, Observer
from varco_nats_widgets.frames._query import list_of_channels
from varco_nats_widgets.record._record import DeliveryRecord
from varco_nats_widgets.record._rows import STREAM, Row, shown_rows
from varco_nats_widgets.record._sources import Expiries, of_event, of_stored

_MAX_REMEMBERED = 100_000  # events and messages of which is known who published them


@runtime_checkable
class Observable(Protocol):
    """A bus that can be observed: `NatsEventBus`, or the one of a `Lab`."""

    def observe(self, observer: Observer) -> Observation: ...


def sources_of(sources: object) -> tuple[list[Observable], tuple[str, ...]]:
    """The buses or the channels that a record is to be made of; one of the two is empty.

    Raises:
        TypeError: `sources` is neither of them, or contains both.
        ValueError: it is empty.
    """
    if isinstance(sources, str) or _is_bus(sources):
        sources = [sources]
    if not isinstance(sources, Iterable) or isinstance(sources, pd.DataFrame | pd.Series | bytes):
        raise TypeError(
            f"give a channel or a bus, or several of them, not {type(sources).__name__}"
        )
    given = list(sources)
    for source in given:
        if not isinstance(source, str) and not _is_bus(source):
            raise TypeError(f"{source!r} is neither a channel nor a bus")
    buses = [source for source in given if _is_bus(source)]
    if not buses:
        return [], list_of_channels(given)
    if len(buses) < len(given):
        raise TypeError("a record is of channels or of buses, not of both")
    return buses, ()


def _is_bus(source: object) -> bool:
    """Whether it is a bus that can be observed; widgets have a method `observe` as well."""
    return isinstance(source, Observable) and isinstance(source, AbstractEventBus)


def record_buses(
    buses: Sequence[tuple[Observable, NatsEventBusSettings]],
    max_rows: int,
    mask: Mask | None = None,
) -> DeliveryRecord:
    """A record of what happens on these buses, until `stop()` or until the record is garbage.

    Args:
        mask: hides values; None hides none.

    Raises:
        ValueError: they are not on one stream.
    """
    settings = [each for _, each in buses]
    streams = sorted({each.stream_name for each in settings})
    if len(streams) > 1:
        raise ValueError(
            f"a record is of buses on one stream, and these are on {', '.join(streams)}"
        )
    names = _names([each.durable_name for each in settings])
    same_semantics = len({each.delivery_semantics for each in settings}) == 1
    record = DeliveryRecord(
        title=f"bus {', '.join(names)}",
        duplicate_window=settings[0].duplicate_window_seconds,
        ack_wait=settings[0].ack_wait_seconds,
        semantics=settings[0].delivery_semantics.value if same_semantics else None,
    )
    observers = _Observers(record, max_rows, mask)
    for (bus, each), name in zip(buses, names, strict=True):
        exactly_once = each.delivery_semantics is NatsDeliverySemantics.EXACTLY_ONCE
        message_id = None if exactly_once else ""
        observation = bus.observe(observers.of(each.durable_name, name, message_id))
        record.on_stop(observation.cancel)
        weakref.finalize(record, observation.cancel).atexit = False
    return record


def _names(durables: list[str]) -> list[str]:
    """The name of each bus as a consumer in the record; all differ."""
    counts, seen = Counter(durables), Counter[str]()
    names = []
    for durable in durables:
        seen[durable] += 1
        names.append(f"{durable}-{seen[durable]}" if counts[durable] > 1 else durable)
    return names


class _Observers:
    """The observers of the buses of one record, which add to it and do not keep it alive.

    They complete what the buses report by the rows that follow from it. A message that none of the
    buses published is known from its first delivery, which also says when it was stored.
    """

    def __init__(self, record: DeliveryRecord, max_rows: int, mask: Mask | None) -> None:
        self._record_of = weakref.ref(record)
        self._mask = mask
        self._max_rows = max_rows
        self._lock = threading.Lock()  # buses may be on several threads
        self._expiries: defaultdict[str, Expiries] = defaultdict(Expiries)  # by durable
        self._sent: dict[str | None, int] = {}  # copies of each event that were not delivered yet
        self._stored: dict[int | None, bool] = {}  # by sequence: is it known from a delivery?

    def of(self, durable: str, process: str, message_id: str | None) -> Observer:
        """The observer of one bus, which the record calls `process`."""

        def observe(event: DeliveryEvent) -> None:
            record = self._record_of()
            if record is None or record.done:
                return
            rows = of_event(event, process, message_id=message_id, mask=self._mask)
            with self._lock:
                rows = self._completed(durable, event.kind, rows, current_delivery.get())
            record.add_bounded(shown_rows(rows, self._mask), self._max_rows)

        return observe

    def _completed(
        self, durable: str, kind: DeliveryKind, rows: list[Row], delivery: MessageDelivery | None
    ) -> list[Row]:
        row = rows[0]
        before = self._expiries[durable].before
        match kind:
            case DeliveryKind.SENT:
                _remember(self._sent, row.event_id, self._sent.get(row.event_id, 0) + 1)
            case DeliveryKind.DEDUPLICATED:
                self._is_own(row)
            case DeliveryKind.PUBLISHED | DeliveryKind.REPLAYED:
                if self._stored.get(row.seq):
                    return []
                if row.seq not in self._stored:
                    self._is_own(row)
                    _remember(self._stored, row.seq, False)
            case DeliveryKind.DELIVERED if delivery and row.seq not in self._stored:
                outside = not self._is_own(row)
                _remember(self._stored, row.seq, outside)
                if outside:
                    stored = row._replace(
                        time=delivery.stored_at, kind="stored", process=STREAM, delivery=0
                    )
                    return [*of_stored(stored, delivery.headers), *before(row)]
        return [completed for row in rows for completed in before(row)]

    def _is_own(self, row: Row) -> bool:
        """Whether one of the buses sent the event and its delivery is still to come."""
        remaining = self._sent.pop(row.event_id, 0) - 1
        if remaining > 0:
            self._sent[row.event_id] = remaining
        return remaining >= 0


def _remember[K, V](known: dict[K, V], key: K, value: V) -> None:
    known[key] = value
    if len(known) > _MAX_REMEMBERED:
        del known[next(iter(known))]
