"""Plans, reports and the log of replays as DataFrames. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import pandas as pd
from msgspec import structs

from varco_nats._masks._unmask import hidden, without
from varco_nats.dlq._codec import UNREADABLE
from varco_nats.history import StoredMessage
from varco_nats.replay import LoggedRow, ReplayPlan, ReplayRecord, ReplayReport
from varco_nats.replay._plan import PlannedReplay
from varco_nats_widgets.frames._columns import column_of, objects, strings, times
from varco_nats_widgets.frames._decoding import WITHHELD, Decoding
from varco_nats_widgets.frames._payload import Fields, take_apart

__all__ = ["log_frame", "plan_frame", "report_frame", "rows_frame"]


@dataclass(frozen=True, slots=True, repr=False)
class MaskedPlan(ReplayPlan):
    """A plan of a lab with a mask: it sends true values, and its frame does not show them."""

    decoding: Decoding | None = None


def masked_plan(plan: ReplayPlan, decoding: Decoding) -> ReplayPlan:
    """The plan, whose frame shows what `decoding` shows.

    Args:
        decoding: how the messages of channels are read, under the names of these.
    """
    if decoding.mask is None:
        return plan
    return MaskedPlan(**{f.name: getattr(plan, f.name) for f in fields(plan)}, decoding=decoding)


def plan_frame(plan: ReplayPlan) -> pd.DataFrame:
    """One row for each message of a plan; index `entry_id`, or `message` if it is of history.

    `frame.attrs["targets"]` has a dict for each channel that messages go to: `channel`, `count`,
    `messages`, `consumers` (in words), `unhandled` and `warning`; see `ReplayPlan.targets`.
    """
    rows = plan.rows
    if isinstance(plan, MaskedPlan) and plan.decoding is not None:
        rows = tuple(_shown(row, plan.decoding) for row in rows)
    columns = {
        "decision": strings([str(row.decision) for row in rows]),
        "why": strings([row.why or None for row in rows]),
        "channel": strings([row.channel for row in rows]),
        "to": strings([row.to for row in rows]),
        "event_type": strings([row.event_type for row in rows]),
        "event_id": strings([row.event_id for row in rows]),
        "edited": column_of([row.edited for row in rows]),
        "replays": column_of([row.replays for row in rows]),
        "error_type": strings([row.error_type or None for row in rows]),
        "payload": objects([row.payload for row in rows]),
        "headers": objects([dict(row.headers) for row in rows]),
    }
    frame = _frame(columns, [row.key for row in rows], history=plan.kind == "history")
    frame.attrs["targets"] = [
        {
            "channel": target.channel,
            "count": target.count,
            "messages": target.messages,
            "consumers": None if target.unknown else [*map(str, target.consumers)],
            "unhandled": target.unhandled,
            "warning": target.warning or target.note,
        }
        for target in plan.targets
    ]
    return frame


def _shown(row: PlannedReplay, decoding: Decoding) -> PlannedReplay:
    """The row as it is shown."""
    message = StoredMessage(0, row.channel, 0, row.payload, row.headers)
    true, shown = decoding.true(message), decoding.decode(message)
    headers = decoding.headers(row.headers) or {}
    masks = [*hidden(headers, dict(row.headers))]
    found = Fields(None, None, None, {})
    is_event = row.error_type != UNREADABLE  # else it is a whole dead letter, as it is stored
    if true.problem is None and is_event:
        masks += hidden(shown.value, true.value)
        found = take_apart(shown.event)
    return structs.replace(
        row,
        event_id=row.event_id and found.event_id,
        event_type=row.event_type and found.event_type,
        payload=(decoding.raw(message) if is_event else WITHHELD) if row.payload else b"",
        headers=headers,
        why=without(row.why, masks),
    )


def report_frame(report: ReplayReport) -> pd.DataFrame:
    """One row for each message of a run; index `entry_id`, or `message` if it is of history."""
    rows = report.rows
    columns = {
        "outcome": strings([str(row.outcome) for row in rows]),
        "why": strings([row.why or None for row in rows]),
        "channel": strings([row.channel for row in rows]),
        "to": strings([row.to for row in rows]),
        "seq": column_of([row.seq for row in rows]),
        "removed": column_of([row.removed for row in rows]),
    }
    history = bool(rows) and all(row.entry_id is None for row in rows)
    return _frame(columns, [row.key for row in rows], history=history)


def log_frame(records: Iterable[ReplayRecord]) -> pd.DataFrame:
    """One row for each run, in the order of `Replayer.log`, newest first; index `replay_id`."""
    runs = list(records)  # not sorted by their times: they are of several clocks, which may be set
    columns = {
        "started_at": times([run.started_at for run in runs]),
        "who": strings([run.who for run in runs]),
        "kind": strings([str(run.kind) for run in runs]),
        "state": strings([str(run.state) for run in runs]),
        "outcome": objects([{str(k): v for k, v in run.outcome.items()} for run in runs]),
        "planned": column_of([_number(run.plan.get("rows")) for run in runs]),
        "to": objects([run.plan.get("to") for run in runs]),
        "note": strings([run.note or None for run in runs]),
        "ended_at": times([run.ended_at for run in runs]),
        "ended_because": strings([run.why or None for run in runs]),
        "rate": column_of([run.rate for run in runs]),
        "speed": column_of([run.speed for run in runs]),
        "canary": column_of([run.canary and run.canary.count for run in runs]),
        "came_back": column_of([len(run.came_back) for run in runs]),
        "again": column_of([run.again for run in runs]),
        "exported_to": strings([run.exported_to or None for run in runs]),
        "restored_from": strings([run.restored_from or None for run in runs]),
        "history": objects([run.history or None for run in runs]),
        "source": strings([run.source for run in runs]),
        "target": strings([run.target for run in runs]),
        "plan": objects([run.plan for run in runs]),
    }
    index = pd.Index(strings([run.replay_id for run in runs]), name="replay_id")
    return pd.DataFrame(columns, index=index, copy=False)


def rows_frame(rows: Sequence[LoggedRow]) -> pd.DataFrame:
    """One row for each message of a run in the log, with the same index as `report_frame`."""
    columns = {
        "outcome": strings([None if row.outcome is None else str(row.outcome) for row in rows]),
        "why": strings([row.why or None for row in rows]),
        "seq": column_of([row.seq for row in rows]),
        "removed": column_of([row.removed for row in rows]),
        "edited": column_of([row.edited for row in rows]),
    }
    history = bool(rows) and all(row.entry_id is None for row in rows)
    return _frame(columns, [row.key for row in rows], history=history)


def _frame(columns: dict[str, Any], keys: Sequence[str], *, history: bool) -> pd.DataFrame:
    index = pd.Index(strings(keys), name="message" if history else "entry_id")
    return pd.DataFrame(columns, index=index, copy=False)


def _number(value: Any) -> int | None:
    return value if type(value) is int else None
