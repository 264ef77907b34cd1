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
    """Small groups of the same handler and error type as one row, and the groups in each such row.

    A single cause makes many groups where its messages differ by names of customers or shops.
    """
    rows: dict[str, tuple[str, ...]] = {}
    if len(groups) <= _MANY_SMALL:
        return groups, rows
    made = []
    for _, small in groups[groups["share"] < _SMALL].groupby(["handler", "error_type"], sort=False):
        if len(small) > _MANY_SMALL:
            name = f"~{small.index[0]}"
            rows[name] = tuple(small.index)
            made.append(_merged(small, name))
    if not made:
        return groups, rows
    gone = [name for names in rows.values() for name in names]
    together = pd.concat([groups.drop(gone), *made])
    return together.sort_values("count", ascending=False, kind="stable"), rows


def _merged(groups: pd.DataFrame, name: str) -> pd.DataFrame:
    trend: list[Any] = [[sum(counts) for counts in zip(*groups["trend"], strict=True)]]
    channels: list[Any] = [sorted({channel for names in groups["channels"] for channel in names})]
    return (
        groups.iloc[:1]
        .set_axis([name])
        .assign(
            count=groups["count"].sum(),
            share=groups["share"].sum(),
            message=f"{len(groups):,} messages such as: {groups['message'].iloc[0]}",
            first_seen=groups["first_seen"].min(),
            last_seen=groups["last_seen"].max(),
            trend=trend,
            channels=channels,
            came_back=groups["came_back"].sum(),
        )
    )


def shown_groups(groups: pd.DataFrame) -> pd.DataFrame:
    """The columns of a frame of groups for people, the most important first."""
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
    short = {name: ".".join(name.split(".")[-parts:]) or name for name in set(names)}
    times = Counter(short.values())
    return [short[name] if times[short[name]] == 1 else name for name in names]


def shown_entries(page: pd.DataFrame) -> pd.DataFrame:
    """The columns of a page for people: first what came back, and what differs from row to row."""
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
    """Which rows of a report were replayed or discarded, as was asked for."""
    return report["outcome"].isin(["replayed", "discarded"])


def unusual_first(frame: pd.DataFrame, usual: pd.Series[bool]) -> pd.DataFrame:
    """The rows that are not usual, then the others; the newest first in both."""
    return frame.iloc[::-1].iloc[np.argsort(usual.to_numpy()[::-1], kind="stable")]


def short_ids(entry_ids: pd.Index[Any]) -> list[str]:
    """The beginnings of ids, as long as it takes to tell them apart."""
    length = 8
    while length < 36 and len({entry_id[:length] for entry_id in entry_ids}) < len(entry_ids):
        length += 4
    return [entry_id[:length] for entry_id in entry_ids]


def named(entry_ids: pd.Index[Any], short: object) -> str:
    """The id that `short_ids` shortened."""
    return str(entry_ids[short_ids(entry_ids).index(str(short))])
