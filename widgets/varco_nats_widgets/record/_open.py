"""Beginning a live record, of channels or of buses."""

from __future__ import annotations

from collections.abc import Iterable

from varco_nats.bus import NatsEventBus
from varco_nats_widgets._session.handle import Handle
from varco_nats_widgets.record._bus import Observable, record_buses, sources_of
from varco_nats_widgets.record._record import DeliveryRecord
from varco_nats_widgets.record._watch import stop_with, watch


async def open_record(
    handle: Handle,
    sources: str | Observable | Iterable[str | Observable] | None,
    max_rows: int,
) -> DeliveryRecord:
    """A live record of channels, of all if None, which keeps the session open; or of buses."""
    session = handle.session
    buses, channels = ([], None) if sources is None else sources_of(sources)
    if buses:
        named = [
            (bus, bus.config if isinstance(bus, NatsEventBus) else session.settings)
            for bus in buses
        ]
        record = record_buses(named, max_rows)
        session.stoppables.add(record)
        return record
    silent = await session.view.silent(channels or (), None)
    record, watching = await watch(session.connection, session.settings, channels, max_rows, silent)
    session.readers.add(watching)
    stop_with(record, watching, session.loop, handle)
    return record
