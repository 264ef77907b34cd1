"""A record of what a bus in this process tells its observers."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Protocol, runtime_checkable

from varco_nats.config import NatsEventBusSettings
from varco_nats.observe import DeliveryEvent, Observation, Observer
from varco_nats_widgets._record_sources import Expiries, of_event
from varco_nats_widgets.record import DeliveryRecord


@runtime_checkable
class Observable(Protocol):
    """A bus that can be observed: `NatsEventBus`, or the one of a `Lab`."""

    def observe(self, observer: Observer) -> Observation: ...


def record_bus(bus: Observable, settings: NatsEventBusSettings, max_rows: int) -> DeliveryRecord:
    """What happens on `bus` from now on, until `stop()` or the record is garbage."""
    record = DeliveryRecord(
        title=f"bus {settings.durable_name}",
        duplicate_window=settings.duplicate_window_seconds,
        ack_wait=settings.ack_wait_seconds,
        semantics=settings.delivery_semantics.value,
    )
    observer = _observer(weakref.ref(record), settings.durable_name, max_rows)
    observation = bus.observe(observer)
    record.on_stop(observation.cancel)
    weakref.finalize(record, observation.cancel).atexit = False
    return record


def _observer(
    record_of: Callable[[], DeliveryRecord | None], process: str, max_rows: int
) -> Observer:
    """What must not keep its record alive."""
    expiries = Expiries()

    def observe(event: DeliveryEvent) -> None:
        record = record_of()
        if record is None or record.done:
            return
        rows = [one for row in of_event(event, process) for one in expiries.before(row)]
        record.add_bounded(rows, max_rows)

    return observe
