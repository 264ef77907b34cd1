"""Replaying a channel's history from a notebook: plan it, run it, with progress."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypedDict, Unpack

import pandas as pd

from varco_nats.config import NatsEventBusSettings
from varco_nats.replay import ReplayControl, Replayer, ReplayPlan, ReplayProgress, ReplayReport
from varco_nats_widgets._session.handle import SessionOwner
from varco_nats_widgets._session.progress import Progress
from varco_nats_widgets._session.session import Session
from varco_nats_widgets.dead_letters._replaying import replay_log, settings_of
from varco_nats_widgets.frames._query import Moment, begin, moment
from varco_nats_widgets.replays import masked_plan

if TYPE_CHECKING:
    from varco_nats.replay._plan import Transform


class _PlanOptions(TypedDict, total=False):
    """Those that a `Replayer` takes as they are."""

    start_seq: int | None
    end_seq: int | None
    limit: int | None
    to: str | None
    live: bool
    transform: Transform | None
    new_event_ids: bool
    again: bool
    note: str


class HistoryOptions(_PlanOptions, total=False):
    """The keyword arguments that say what of a channel is replayed, and where to."""

    last: timedelta | str | None
    since: Moment | None
    until: Moment | None
    target: SessionOwner | NatsEventBusSettings | None


async def plan_history(
    session: Session,
    channel: str,
    *,
    last: timedelta | str | None = None,
    since: Moment | None = None,
    until: Moment | None = None,
    target: SessionOwner | NatsEventBusSettings | None = None,
    **options: Unpack[_PlanOptions],
) -> ReplayPlan:
    """See `Lab.plan_replay`."""
    now = datetime.now(UTC)
    first, end = begin(last, since, now), moment("until", until, now)
    async with Replayer(session.settings, target=settings_of(target)) as replayer:
        plan = await replayer.plan_history(channel, since=first, until=end, **options)
    if not plan.rows:
        await session.view.require_not_elsewhere(channel, "frame")
    return masked_plan(plan, session.decoding.of_channels())


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
    target = settings_of(options.get("target"))
    async with Replayer(session.settings, target=target) as replayer:
        return await replayer.run(
            plan, speed=speed, rate=rate, progress=on_progress, control=control
        )


async def replays_of(session: Session, replay_id: str | None) -> pd.DataFrame:
    """See `Lab.replays`."""
    settings, connection = session.settings, session.connection
    return await replay_log(settings, connection, lambda: Replayer(settings), replay_id)
