"""Groups, entries and reports of dead letters as the widget's tables show them. Pure."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd

from varco_nats.dlq._codec import made_of
from varco_nats_widgets.dead_letters._index.groups import sparkline
from varco_nats_widgets.dead_letters._status import count_words
from varco_nats_widgets.dead_letters._view.failure import NO_ERROR, failure_words
from varco_nats_widgets.frames._columns import clean

_SMALL = 0.01  # a group's share of all, below which it may be put together with others
_MANY_SMALL = 5
_TIME = "%Y-%m-%d %H:%M:%S"
_PAYLOAD = "data."
_MADE_UP = re.compile(r".{8}-.{4}-8.{3}-.{4}-.{12}$")
_HALF = 0.5  # of the rows
_ENTRY_COLUMNS = {
    "last_failed_at": "failed (UTC)",
    "came_back": "came back",
    "error_type": "error type",
    "error_message": "error",
    "raw": "payload",
    "decode_error": "not readable",
    "event_type": "event type",
    "tenant_id": "tenant",
    "event_id": "event id",
}
_RUN_COLUMNS = {
    "why": "reason",
    "seq": "sequence",
    "removed": "dead letter",
    "edited": "payload changed",
    "replays": "replayed before",
    "event_type": "event type",
}
_IF_TRUE = {"removed": "removed", "edited": "yes"}
_KINDS = {"replay": "replay", "discard": "discard", "history": "replay of history"}


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
    """The columns of a frame of groups for people that have values, the most important first."""
    if not len(groups.columns):
        return groups
    columns: dict[str, Any] = {
        "count": groups["count"],
        "came back": [f"↩ {count:,}" if count else "" for count in groups["came_back"]],
        "trend": [sparkline(counts) for counts in groups["trend"]],
        "error": short_names(groups["error_type"], 1),
        # after what tells groups apart, as a note may fill the table
        **{name: groups[name].fillna("") for name in ("owner", "note") if name in groups},
        "message": groups["message"].mask(_has_no_error(groups), NO_ERROR),
        "handler": short_names(groups["handler"], 2),
        "%": (groups["share"] * 100).round(1),
        "last failed (UTC)": groups["last_seen"].dt.strftime(_TIME),
        "first failed (UTC)": groups["first_seen"].dt.strftime(_TIME),
        "channels": [clean(", ".join(names)) for names in groups["channels"]],
    }
    filled = {name: values for name, values in columns.items() if any(values)}
    return pd.DataFrame(filled, index=groups.index)


def _has_no_error(groups: pd.DataFrame) -> pd.Series[bool]:
    return (groups["error_type"] == "") & (groups["message"] == "")


def short_names(names: pd.Series[str], parts: int) -> list[str]:
    """The last parts of dotted names, where that tells them apart."""
    short = {name: ".".join(name.split(".")[-parts:]) or name for name in set(names)}
    times = Counter(short.values())
    return [short[name] if times[short[name]] == 1 else name for name in names]


def shown_entries(page: pd.DataFrame) -> pd.DataFrame:
    """The columns of a page for people: what failed, the payload, then all else.

    First comes what differs from row to row; what most rows have no value of comes last.
    """
    if not len(page.columns):
        return page
    back: list[Any] = [f"↩ {count}" if count else None for count in page["replay_count"]]
    failed = map(failure_words, page["error_type"], page["error_message"])
    shown = page.assign(
        error_type=short_names(page["error_type"], 1),
        error_message=["  ".join(filter(None, pair)) for pair in zip(back, failed, strict=True)],
        came_back=back,
    )
    differing = [name for name in ("channel",) if page[name].nunique() > 1]
    payload = [str(name) for name in page.columns if str(name).startswith(_PAYLOAD)]
    problems = [name for name in ("raw", "decode_error") if name in page.columns]
    last = ["event_type", "channel", "error_type", "handler", "tenant_id", "attempts"]
    last += ["came_back", "event_id"]
    order = ["last_failed_at", *differing, "error_message", *payload, *problems, *last]
    filled = shown.notna().mean()
    columns = sorted(dict.fromkeys(order), key=lambda name: bool(filled[name] < _HALF))
    names = {name: _ENTRY_COLUMNS.get(name, name) for name in columns}
    for name in payload:  # without its prefix, unless another column has that name
        short = name.removeprefix(_PAYLOAD)
        names[name] = name if short in names.values() or short in page.columns else short
    return shown[columns].rename(columns=names)


def shown_log(log: pd.DataFrame) -> pd.DataFrame:
    """The log for people: when, why, with which outcome, who, and what it was."""
    if not len(log.columns):
        return log
    counts = [count_words(outcome) for outcome in log["outcome"]]
    columns: dict[str, Any] = {
        "started (UTC)": log["started_at"],
        "note": log["note"],
        "outcome": [
            ": ".join(filter(None, pair)) for pair in zip(log["state"], counts, strict=True)
        ],
        "who": log["who"],
        "what": [_KINDS.get(kind, kind) for kind in log["kind"]],
        "planned": log["planned"],
        "to": [count_words(to) if isinstance(to, dict) else None for to in log["to"]],
        "came back": [f"↩ {count:,}" if count else None for count in log["came_back"]],
        "reason": log["ended_because"],
        "ended (UTC)": log["ended_at"],
        "messages/s at most": log["rate"],
        "canary": log["canary"],
        "exported to": log["exported_to"],
        "restored from": log["restored_from"],
    }
    return pd.DataFrame(columns, index=log.index)


def in_words(frame: pd.DataFrame) -> pd.DataFrame:
    """A frame of a plan, a report or a run of the log, with words instead of True and False."""
    shown = frame
    for name, yes in _IF_TRUE.items():
        if name in shown:
            words: list[Any] = [yes if value else None for value in shown[name]]
            shown = shown.assign(**{name: words})
    return shown.rename(columns=_RUN_COLUMNS)


def is_usual(report: pd.DataFrame) -> pd.Series[bool]:
    """Which rows of a report were replayed, discarded or restored, as was asked for."""
    return report["outcome"].isin(["replayed", "discarded", "restored"])


def unusual_first(frame: pd.DataFrame, usual: pd.Series[bool]) -> pd.DataFrame:
    """The rows that are not usual, then the others; the newest first in both."""
    return frame.iloc[::-1].iloc[np.argsort(usual.to_numpy()[::-1], kind="stable")]


def short_ids(entry_ids: pd.Index[Any]) -> list[str]:
    """The beginnings of ids, as long as it takes to tell them apart.

    Of ids that are made of sequences, which all begin in the same way, `#` and the sequence.
    """
    made = {name: f"#{seq}" for name in entry_ids if (seq := _sequence(name)) is not None}
    others = [name for name in entry_ids if name not in made]
    length = 8
    while length < 36 and len({name[:length] for name in others}) < len(others):
        length += 4
    return [made.get(name) or name[:length] for name in entry_ids]


def _sequence(name: str) -> int | None:
    return made_of(UUID(name)) if _MADE_UP.match(name) else None


def named(entry_ids: pd.Index[Any], short: object) -> str:
    """The id that `short_ids` shortened."""
    return str(entry_ids[short_ids(entry_ids).index(str(short))])
