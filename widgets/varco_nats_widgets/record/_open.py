"""Beginning a live record, of channels or of buses."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from contextlib import suppress

from varco_nats.bus import NatsEventBus
from varco_nats_widgets._session.handle import Handle
from varco_nats_widgets._session.loop import LoopThread
from varco_nats_widgets.record._bus import Observable, record_buses, sources_of
from varco_nats_widgets.record._record import DeliveryRecord
from varco_nats_widgets.record._watch import Watch


async def open_record(
    handle: Handle,
    sources: str | Observable | Iterable[str | Observable] | None,
    max_rows: int,
) -> DeliveryRecord:
    """A live record of channels, of all if None, which keeps the session open; or of buses.

    Raises:
        InvalidChannelError: a name is not valid for a channel.
        StreamNotFoundError: the stream does not exist.
    """
    session = handle.session
    settings, loop = session.settings, session.loop
    buses, channels = ([], None) if sources is None else sources_of(sources)
    if buses:
        named = [(bus, bus.config if isinstance(bus, NatsEventBus) else settings) for bus in buses]
        record = record_buses(named, max_rows, session.decoding.mask)
        session.stoppables.add(record)
        return record
    silent = await session.view.silent(channels or (), None)
    subjects = [settings.wildcard_subject()]
    if channels is not None:
        subjects = [settings.subject_name(channel) for channel in channels]
    record = DeliveryRecord(
        title=", ".join(channels) if channels is not None else settings.stream_name,
        sees_handlers=False,
    )
    watching = Watch(
        session.connection, settings, subjects, record, max_rows, silent, session.decoding.mask
    )
    try:
        await watching.open()
    except BaseException:
        await watching.shut()
        raise
    session.readers.add(watching)

    def stop(owner: Handle = handle) -> None:
        """End it with its record, which keeps the session open until then."""
        with suppress(RuntimeError):  # the lab has ended, and `watching` with it
            if loop.is_current:
                loop.submit(watching.shut())
            else:
                loop.run(watching.shut())

    record.on_stop(stop)
    weakref.finalize(record, _release, loop, watching).atexit = False
    return record


def _release(loop: LoopThread, watching: Watch) -> None:
    with suppress(RuntimeError):
        loop.submit(watching.shut())
