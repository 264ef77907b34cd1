"""The awaitable twins of `Lab`'s methods."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, Unpack

import pandas as pd

from varco_nats.dlq._advisories import capture, stop_capture
from varco_nats.replay import ReplayControl, ReplayPlan, ReplayReport
from varco_nats_widgets._session.progress import Progress, ProgressCallback
from varco_nats_widgets.dead_letters import DeadLetters
from varco_nats_widgets.dead_letters._filter import FilterOptions
from varco_nats_widgets.delivery import Delivery
from varco_nats_widgets.delivery._delivery import delivery_of
from varco_nats_widgets.durability import Durability
from varco_nats_widgets.experiment import (
    Comparison,
    Experiment,
    ExperimentOptions,
    Faults,
    fault_frame,
)
from varco_nats_widgets.experiment._comparison import new_comparison
from varco_nats_widgets.experiment._experiment import new_experiment
from varco_nats_widgets.explorer import Explorer
from varco_nats_widgets.export import ExportResult, Format
from varco_nats_widgets.frames._query import (
    MAX_BYTES,
    EventType,
    FrameOptions,
    LoadOptions,
    Moment,
    frame_query,
    warn_if_cut,
)
from varco_nats_widgets.lab._bus import LabHandle
from varco_nats_widgets.lab._given_up import dead_letter, exhausted, noted
from varco_nats_widgets.lab._replay_history import (
    HistoryOptions,
    plan_history,
    replay_history,
    replays_of,
)
from varco_nats_widgets.live import LiveFrame
from varco_nats_widgets.live._live import open_live
from varco_nats_widgets.record import DeliveryRecord
from varco_nats_widgets.record._bus import Observable
from varco_nats_widgets.record._open import open_record
from varco_nats_widgets.record._rows import MAX_ROWS


class LabAio:
    """The methods of `Lab`, to be awaited on any event loop."""

    def __init__(self, handle: LabHandle) -> None:
        self._handle = handle
        self._session = handle.session

    def __repr__(self) -> str:
        return f"Lab({self._session.label}).aio"

    async def channels(self, *, stream: str | None = None) -> pd.DataFrame:
        """See `Lab.channels`."""
        return await self._session.look_async(self._session.view.channels(stream))

    async def streams(self) -> pd.DataFrame:
        """See `Lab.streams`."""
        return await self._session.look_async(self._session.view.streams())

    async def consumers(
        self, channel: str | None = None, *, stream: str | None = None
    ) -> pd.DataFrame:
        """See `Lab.consumers`."""
        return await self._session.look_async(self._session.view.consumers(channel, stream))

    async def durability(self, channel: str, *, stream: str | None = None) -> Durability:
        """See `Lab.durability`."""
        return await self._session.look_async(self._session.durability(channel, stream))

    async def frame(
        self,
        channel: str | Iterable[str] | None = None,
        *,
        stream: str | None = None,
        subject: str | Iterable[str] | None = None,
        progress: ProgressCallback | bool | None = None,
        **options: Unpack[LoadOptions],
    ) -> pd.DataFrame:
        """See `Lab.frame`. On ipykernel 7, the bar in a notebook has a button that cancels it.

        Raises:
            StoppedError: the button was clicked.
        """
        options.setdefault("max_bytes", MAX_BYTES)
        query = frame_query(channel, stream=stream, subject=subject, **options)
        shown = Progress(f"loading {query.what}", progress)
        frame = await self._session.look_async(self._session.view.frame(query, shown), shown)
        return warn_if_cut(frame)

    async def live(
        self,
        channel: str | Iterable[str] | None = None,
        *,
        stream: str | None = None,
        subject: str | Iterable[str] | None = None,
        event_type: EventType | Iterable[EventType] | None = None,
        where: Callable[[dict[str, Any]], object] | None = None,
        last: timedelta | str | None = None,
        since: Moment | None = None,
        start_seq: int | None = None,
        max_rows: int = 10_000,
        max_bytes: int = 64 * 1024**2,
    ) -> LiveFrame:
        """See `Lab.live`."""
        opening = open_live(
            self._handle,
            channel,
            stream=stream,
            subject=subject,
            event_type=event_type,
            where=where,
            last=last,
            since=since,
            start_seq=start_seq,
            max_rows=max_rows,
            max_bytes=max_bytes,
        )
        return await self._session.look_async(opening)

    async def explore(
        self, *channels: str | Iterable[str], stream: str | None = None, page_size: int = 200
    ) -> Explorer:
        """See `Lab.explore`."""
        return await asyncio.to_thread(
            Explorer, self, *channels, stream=stream, page_size=page_size
        )

    async def dead_letters(self, **filters: Unpack[FilterOptions]) -> DeadLetters:
        """What `Lab.dead_letters` gives, with its queue read."""
        letters = self._handle.dead_letters
        await letters.aio.filter(**filters)
        return letters

    async def capture_exhausted(self) -> None:
        """See `Lab.capture_exhausted`."""
        await self._session.look_async(capture(self._session.connection, self._session.settings))

    async def stop_capturing_exhausted(self) -> None:
        """See `Lab.stop_capturing_exhausted`."""
        connection, settings = self._session.connection, self._session.settings
        await self._session.look_async(stop_capture(connection, settings))

    async def exhausted(self, channel: str, *, limit: int | None = 10_000) -> pd.DataFrame:
        """See `Lab.exhausted`."""
        return noted(await self._session.look_async(exhausted(self._session, channel, limit)))

    async def dead_letter(
        self,
        rows: pd.DataFrame | Iterable[int],
        *,
        channel: str | None = None,
        note: str = "",
        again: bool = False,
    ) -> list[str]:
        """See `Lab.dead_letter`."""
        pushing = dead_letter(self._session, rows, channel, note, again)
        return await self._session.look_async(pushing)

    async def replays(self, replay_id: str | None = None) -> pd.DataFrame:
        """See `Lab.replays`."""
        return await self._session.look_async(replays_of(self._session, replay_id))

    async def plan_replay(self, channel: str, **options: Unpack[HistoryOptions]) -> ReplayPlan:
        """See `Lab.plan_replay`."""
        return await self._session.look_async(plan_history(self._session, channel, **options))

    async def replay(
        self,
        channel: str | ReplayPlan,
        *,
        speed: float | None = None,
        rate: float | None = None,
        control: ReplayControl | None = None,
        progress: ProgressCallback | bool | None = None,
        **options: Unpack[HistoryOptions],
    ) -> ReplayReport:
        """See `Lab.replay`. Where this is cancelled, what it sent is settled first."""
        shown = Progress(f"replaying {channel!r}", progress)
        running = replay_history(
            self._session,
            channel,
            shown,
            speed=speed,
            rate=rate,
            control=control,
            options=options,
        )
        return await self._session.work_async(running, shown)

    async def export(
        self,
        channel: str | Iterable[str] | None,
        path: Path | str,
        *,
        stream: str | None = None,
        subject: str | Iterable[str] | None = None,
        format: Format | None = None,  # noqa: A002 - what pandas and others call it
        partition_by: Literal["day", "hour"] | None = None,
        rows_per_file: int | None = None,
        headers: bool = False,
        overwrite: bool = False,
        progress: ProgressCallback | bool | None = None,
        **options: Unpack[FrameOptions],
    ) -> ExportResult:
        """See `Lab.export`. On ipykernel 7, the bar in a notebook has a button that cancels it.

        Raises:
            StoppedError: the button was clicked; the same call goes on from there.
        """
        query = frame_query(channel, stream=stream, subject=subject, **options)
        shown = Progress(f"exporting {query.what}", progress)
        writing = self._session.view.export(
            query,
            path,
            shown,
            format=format,
            partition_by=partition_by,
            rows_per_file=rows_per_file,
            headers=headers,
            overwrite=overwrite,
        )
        return await self._session.look_async(writing, shown)

    async def record(
        self,
        what: str | Observable | Iterable[str | Observable] | None = None,
        *,
        max_rows: int = MAX_ROWS,
    ) -> DeliveryRecord:
        """See `Lab.record`."""
        recording = open_record(self._handle, what, max_rows)
        return await self._session.look_async(recording)

    async def faults(self) -> pd.DataFrame:
        """See `Lab.faults`."""
        return fault_frame()

    async def experiment(
        self,
        semantics: str = "at_least_once",
        faults: Faults = "none",
        *,
        progress: ProgressCallback | bool | None = None,
        **options: Unpack[ExperimentOptions],
    ) -> Experiment:
        """See `Lab.experiment`."""
        experiment = new_experiment(self._handle, semantics, faults, progress, **options)
        return await experiment.wait_async()

    async def compare(
        self,
        faults: Faults = "none",
        *,
        progress: ProgressCallback | bool | None = None,
        **options: Unpack[ExperimentOptions],
    ) -> Comparison:
        """See `Lab.compare`."""
        comparison = new_comparison(self._handle, faults, progress, **options)
        return await comparison.wait_async()

    async def delivery(
        self,
        what: DeliveryRecord
        | Experiment
        | Comparison
        | str
        | Observable
        | Iterable[str | Observable]
        | None = None,
    ) -> Delivery:
        """See `Lab.delivery`."""
        return await asyncio.to_thread(delivery_of, self, what)

    async def close(self) -> None:
        """See `Lab.close`."""
        await asyncio.to_thread(self._handle.close)
