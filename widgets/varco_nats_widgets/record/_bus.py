"""A record of what buses in this process tell their observers."""

from __future__ import annotations

import threading
import weakref
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Protocol, runtime_checkable

import pandas as pd
from varco_core.event.base import AbstractEventBus

from varco_nats._nats.delivery import MessageDelivery, current_delivery
from varco_nats.config import NatsDeliverySemantics, NatsEventBusSettings
from varco_nats.observe import DeliveryEvent, DeliveryKind, Observation, Observer
from varco_nats_widgets.frames._query import list_of_channels
from varco_nats_widgets.record._record import DeliveryRecord
from varco_nats_widgets.record._rows import Row
from varco_nats_widgets.record._sources import Expiries, of_event, of_stored

_REMEMBERED = 100_000  # messages of which it is known who published them


@runtime_checkable
class Observable(Protocol):
    """A bus that can be observed: `NatsEventBus`, or the one of a `Lab`."""

    def observe(self, observer: Observer) -> Observation: ...


def sources_of(what: object) -> tuple[list[Observable], tuple[str, ...]]:
    """The buses or the channels that a record is asked of; one of both is empty.

    Raises:
        TypeError: it is neither, or both.
        ValueError: it is an empty list.
    """
    if isinstance(what, str) or _is_bus(what):
        what = [what]
    if not isinstance(what, Iterable) or isinstance(what, pd.DataFrame | pd.Series | bytes):
        raise TypeError(
            f"a channel or a bus is wanted, or several of them, not a {type(what).__name__}"
        )
    found = list(what)
    for one in found:
        if not isinstance(one, str) and not _is_bus(one):
            raise TypeError(f"{one!r} is neither a channel nor a bus")
    buses = [one for one in found if _is_bus(one)]
    if not buses:
        return [], list_of_channels(found)
    if len(buses) < len(found):
        raise TypeError("a record is of channels or of buses, not of both")
    return buses, ()


def _is_bus(one: object) -> bool:
    """Widgets can be observed as well."""
    return isinstance(one, Observable) and isinstance(one, AbstractEventBus)


def record_buses(
    buses: Sequence[tuple[Observable, NatsEventBusSettings]], max_rows: int
) -> DeliveryRecord:
    """What happens on these buses from now on, until `stop()` or the record is garbage.

    Raises:
        ValueError: they are not on one stream.
    """
    settings = [each for _, each in buses]
    streams = sorted({each.stream_name for each in settings})
    if len(streams) > 1:
        raise ValueError(f"one record is of the buses of one stream, not of {', '.join(streams)}")
    names = _names([each.durable_name for each in settings])
    alike = len({each.delivery_semantics for each in settings}) == 1
    record = DeliveryRecord(
        title=f"bus {', '.join(names)}",
        duplicate_window=settings[0].duplicate_window_seconds,
        ack_wait=settings[0].ack_wait_seconds,
        semantics=settings[0].delivery_semantics.value if alike else None,
    )
    rows_of = _Rows()
    for (bus, each), name in zip(buses, names, strict=True):
        exactly_once = each.delivery_semantics is NatsDeliverySemantics.EXACTLY_ONCE
        message_id = None if exactly_once else ""
        tell = partial(rows_of, each.durable_name)
        observer = _observer(weakref.ref(record), tell, name, message_id, max_rows)
        observation = bus.observe(observer)
        record.on_stop(observation.cancel)
        weakref.finalize(record, observation.cancel).atexit = False
    return record


def _names(durables: list[str]) -> list[str]:
    """What the record calls each bus as a consumer; no two alike."""
    counts, seen = Counter(durables), Counter[str]()
    names = []
    for durable in durables:
        seen[durable] += 1
        names.append(f"{durable}-{seen[durable]}" if counts[durable] > 1 else durable)
    return names


def _observer(
    record_of: Callable[[], DeliveryRecord | None],
    rows_of: Callable[[DeliveryKind, list[Row], MessageDelivery | None], list[Row]],
    process: str,
    message_id: str | None,
    max_rows: int,
) -> Observer:
    """What must not keep its record alive."""

    def observe(event: DeliveryEvent) -> None:
        record = record_of()
        if record is None or record.done:
            return
        told = of_event(event, process, message_id=message_id)
        record.add_bounded(rows_of(event.kind, told, current_delivery.get()), max_rows)

    return observe


class _Rows:
    """The rows that the buses of one record tell, and those that follow from them.

    A delivery tells of a message that none of them published when it was stored.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # buses may be on several threads
        self._expiries: defaultdict[str, Expiries] = defaultdict(Expiries)  # by durable
        self._sent: dict[str | None, int] = {}  # copies by event that are not delivered yet
        self._stored: dict[int | None, bool] = {}  # by sequence, whether a delivery told so

    def __call__(
        self, durable: str, kind: DeliveryKind, rows: list[Row], delivery: MessageDelivery | None
    ) -> list[Row]:
        row = rows[0]
        with self._lock:
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
                        return [*_stored(row, delivery), *before(row)]
            return [one for each in rows for one in before(each)]

    def _is_own(self, row: Row) -> bool:
        """Whether a copy of the event that one of the buses sent is still expected."""
        left = self._sent.pop(row.event_id, 0) - 1
        if left > 0:
            self._sent[row.event_id] = left
        return left >= 0


def _stored(row: Row, delivery: MessageDelivery) -> list[Row]:
    return of_stored(
        delivery.stored_at,
        row.channel,
        row.event_id,
        row.event_type,
        delivery.seq,
        delivery.headers,
    )


def _remember[K, V](known: dict[K, V], key: K, value: V) -> None:
    known[key] = value
    if len(known) > _REMEMBERED:
        del known[next(iter(known))]
