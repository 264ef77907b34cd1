"""Groups, entries and reports of dead letters as the widget's tables show them. Pure."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd

from varco_nats_widgets.dead_letters._groups import sparkline
from varco_nats_widgets.frames._columns import clean

_SMALL = 0.01  # a group's share of all, below which it may be put together with others
_MANY_SMALL = 5
_TIME = "%Y-%m-%d %H:%M:%S"


def put_together(groups: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, tuple[str, ...]]]:
    """Many small groups of one handler and error type as one row, and the groups in each such row.

    Names of customers or shops in a message, which are not taken out, make many groups of one
    cause.
    """
    rows: dict[str, tuple[str, ...]] = {}
    if len(groups) <= _MANY_SMALL:
        return groups, rows
    made = []
    for _, some in groups[groups["share"] < _SMALL].groupby(["handler", "error_type"], sort=False):
        if len(some) > _MANY_SMALL:
            name = f"~{some.index[0]}"
            rows[name] = tuple(some.index)
            made.append(_as_one(some, name))
    if not made:
        return groups, rows
    gone = [name for names in rows.values() for name in names]
    together = pd.concat([groups.drop(gone), *made])
    return together.sort_values("count", ascending=False, kind="stable"), rows


def _as_one(some: pd.DataFrame, name: str) -> pd.DataFrame:
    trend: list[Any] = [[sum(counts) for counts in zip(*some["trend"], strict=True)]]
    channels: list[Any] = [sorted({channel for names in some["channels"] for channel in names})]
    return (
        some.iloc[:1]
        .set_axis([name])
        .assign(
            count=some["count"].sum(),
            share=some["share"].sum(),
            message=f"{len(some):,} messages such as: {some['message'].iloc[0]}",
            first_seen=some["first_seen"].min(),
            last_seen=some["last_seen"].max(),
            trend=trend,
            channels=channels,
            came_back=some["came_back"].sum(),
        )
    )


def shown_groups(groups: pd.DataFrame) -> pd.DataFrame:
    """The columns of a frame of groups as people read them, what matters most first."""
    if not len(groups.columns):
        return groups
    back = [f"↩ {count:,}" if count else "" for count in groups["came_back"]]
    columns: dict[str, Any] = {"count": groups["count"]}
    if any(back):
        columns["came back"] = back
    columns |= {
        "%": (groups["share"] * 100).round(1),
        "trend": [sparkline(counts) for counts in groups["trend"]],
        "error": short_names(groups["error_type"], 1),
        "message": groups["message"],
        "handler": short_names(groups["handler"], 2),
        "last seen": groups["last_seen"].dt.strftime(_TIME),
        "first seen": groups["first_seen"].dt.strftime(_TIME),
        "channels": [clean(", ".join(names)) for names in groups["channels"]],
    }
    return pd.DataFrame(columns, index=groups.index)


def short_names(names: pd.Series[str], parts: int) -> list[str]:
    """The last parts of dotted names, where that tells them apart."""
    short = {one: ".".join(one.split(".")[-parts:]) or one for one in set(names)}
    times = Counter(short.values())
    return [short[one] if times[short[one]] == 1 else one for one in names]


def shown_entries(page: pd.DataFrame) -> pd.DataFrame:
    """A page as people read it: what came back and what differs comes first."""
    if not len(page.columns):
        return page
    shown = page.assign(
        last_failed_at=page["last_failed_at"].dt.strftime(_TIME),
        error_type=short_names(page["error_type"], 1),
    )
    back = [f"↩ {count}" if count else "" for count in page["replay_count"]]
    if any(back):
        shown["came back"] = back
    differing = [name for name in ("channel", "error_type") if page[name].nunique() > 1]
    problems = [name for name in ("decode_error", "raw") if name in page.columns]
    payload = [str(name) for name in page.columns if str(name).startswith("data.")]
    first = [*["came back"] * any(back), "last_failed_at", *differing, "error_message"]
    first += [*problems, *payload]
    last = ("event_type", "channel", "error_type", "handler", "attempts", "tenant_id", "event_id")
    return shown[[*first, *(name for name in last if name not in first)]]


def is_usual(report: pd.DataFrame) -> pd.Series[bool]:
    """Which rows of a report came out as they should."""
    return report["outcome"].isin(["replayed", "discarded"])


def unusual_first(frame: pd.DataFrame, usual: pd.Series[bool]) -> pd.DataFrame:
    """The rows that are not as usual, then the others, the newest first in both."""
    return frame.iloc[::-1].iloc[np.argsort(usual.to_numpy()[::-1], kind="stable")]


def short_ids(entry_ids: pd.Index[Any]) -> list[str]:
    """The beginnings of ids, as long as it takes to tell them apart."""
    length = 8
    while length < 36 and len({one[:length] for one in entry_ids}) < len(entry_ids):
        length += 4
    return [one[:length] for one in entry_ids]


def named(entry_ids: pd.Index[Any], short: object) -> str:
    """The id that `short_ids` shortened."""
    return str(entry_ids[short_ids(entry_ids).index(str(short))])
