"""Replaying a channel's history from a notebook: plan it, run it, with progress."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypedDict

import pandas as pd

from varco_nats.config import NatsEventBusSettings
from varco_nats.replay import ReplayControl, Replayer, ReplayPlan, ReplayProgress, ReplayReport
from varco_nats_widgets._session.handle import SessionOwner
from varco_nats_widgets._session.progress import Progress
from varco_nats_widgets._session.session import Session
from varco_nats_widgets.dead_letters._replaying import replay_log, settings_of
from varco_nats_widgets.frames._query import Moment, duration, moment

if TYPE_CHECKING:
    from varco_nats.replay._plan import Transform

__all__ = ["HistoryOptions", "plan_history", "replay_history", "replays_of"]


class HistoryOptions(TypedDict, total=False):
    """The keyword arguments that say what of a channel is replayed, and where to."""

    last: timedelta | str | None
    since: Moment | None
    until: Moment | None
    start_seq: int | None
    end_seq: int | None
    limit: int | None
    to: str | None
    target: SessionOwner | NatsEventBusSettings | None
    live: bool
    transform: Transform | None
    new_event_ids: bool
    again: bool
    note: str


async def plan_history(
    session: Session,
    channel: str,
    *,
    last: timedelta | str | None = None,
    since: Moment | None = None,
    until: Moment | None = None,
    start_seq: int | None = None,
    end_seq: int | None = None,
    limit: int | None = None,
    to: str | None = None,
    target: SessionOwner | NatsEventBusSettings | None = None,
    live: bool = False,
    transform: Transform | None = None,
    new_event_ids: bool = False,
    again: bool = False,
    note: str = "",
) -> ReplayPlan:
    """See `Lab.plan_replay`."""
    if last is not None and since is not None:
        raise ValueError("give last= or since=, not both: both say where it begins")
    now = datetime.now(UTC)
    begin = moment("since", since, now) if last is None else now - duration("last", last)
    async with _replayer(session, target) as replayer:
        return await replayer.plan_history(
            channel,
            since=begin,
            until=moment("until", until, now),
            start_seq=start_seq,
            end_seq=end_seq,
            limit=limit,
            to=to,
            live=live,
            transform=transform,
            new_event_ids=new_event_ids,
            again=again,
            note=note,
        )


async def replay_history(
    session: Session,
    source: str | ReplayPlan,
    progress: Progress,
    *,
    speed: float | None,
    rate: float | None,
    control: ReplayControl | None,
    options: HistoryOptions,
) -> ReplayReport:
    """See `Lab.replay`."""
    if isinstance(source, ReplayPlan):
        if wrong := options.keys() - {"target"}:
            raise TypeError(f"{', '.join(sorted(wrong))}: the plan has these; make another one")
        plan = source
    else:
        plan = await plan_history(session, source, **options)

    def on_progress(now: ReplayProgress) -> None:
        progress.done, progress.total = now.done, now.total

    progress.total = len(plan)
    async with _replayer(session, options.get("target")) as replayer:
        return await replayer.run(
            plan, speed=speed, rate=rate, progress=on_progress, control=control
        )


async def replays_of(session: Session, replay_id: str | None) -> pd.DataFrame:
    """See `Lab.replays`."""
    settings, connection = session.settings, session.connection
    return await replay_log(settings, connection, lambda: _replayer(session, None), replay_id)


@asynccontextmanager
async def _replayer(
    session: Session, target: SessionOwner | NatsEventBusSettings | None
) -> AsyncIterator[Replayer]:
    settings = settings_of(target)
    async with Replayer(session.settings, target=settings) as replayer:
        yield replayer
