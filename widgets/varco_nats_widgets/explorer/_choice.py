"""Which stream an explorer opens on, and which of its subjects are looked at. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations

import pandas as pd

from varco_nats._nats.stream import covers, overlap
from varco_nats.subjects import dead_letter_name, replay_log_name
from varco_nats_widgets._session.buckets import STREAM
from varco_nats_widgets.frames._query import is_pattern

OWN = "varco"

_MAX_SERIES = 6


def with_kinds(streams: pd.DataFrame, own: str) -> pd.DataFrame:
    """`streams`, whose `kind` also says which of them varco has made.

    Args:
        streams: as `Lab.streams` gives them.
        own: the stream of the settings.
    """
    made = {dead_letter_name(own): "dead letters", replay_log_name(own): "log of replays", own: OWN}
    kinds = [made.get(str(name), kind) for name, kind in streams["kind"].items()]
    return streams.assign(kind=pd.array(kinds, dtype="str"))


def first_look(streams: pd.DataFrame, own: str) -> str:
    """The stream to open on: that of the settings, or, where it holds nothing, the one with the
    newest message; a bucket, a store or what varco keeps beside its stream if there is no other."""
    held = streams[streams["messages"] > 0]
    if own in held.index or held.empty:
        return own
    plain = held[held["kind"] == STREAM]
    return str((held if plain.empty else plain)["last_time"].idxmax())


def apart(names: Iterable[str], known: Sequence[str]) -> tuple[str, ...]:
    """The same subjects by patterns that do not overlap, as the server takes no others.

    Args:
        names: subjects and patterns.
        known: the subjects that there are, which take the place of patterns that overlap in part.
    """
    wanted = list(dict.fromkeys(names))
    patterns = [name for name in wanted if is_pattern(name)]
    wider = [
        name
        for name in wanted
        if not any(covers(other, name) for other in patterns if other != name)
    ]
    patterns = [name for name in wider if is_pattern(name)]
    mixed = {name for pair in combinations(patterns, 2) if overlap(*pair) for name in pair}
    if not mixed:
        return tuple(wider)
    found = [s for s in known if any(covers(pattern, s) for pattern in mixed)]
    rest = [name for name in wider if name not in mixed]
    return (*rest, *(s for s in found if not matches(rest, s)))


def matches(names: Iterable[str], subject: str) -> bool:
    """Whether `subject` is among these subjects and patterns."""
    return any(name == subject or (is_pattern(name) and covers(name, subject)) for name in names)


def has_all(known: Iterable[str], chosen: Iterable[str]) -> bool:
    """Whether every subject that is chosen by its name is a known one."""
    return {name for name in chosen if not is_pattern(name)} <= set(known)


def held_by(values: pd.Series, chosen: Sequence[str]) -> pd.Series:
    """Those of `values`, which are by subject, whose subjects are chosen; all if none is."""
    if not chosen:
        return values
    plain = {name for name in chosen if not is_pattern(name)}
    patterns = [name for name in chosen if is_pattern(name)]
    subjects = values.index
    keep = [s in plain or any(covers(pattern, s) for pattern in patterns) for s in subjects]
    return values[keep]


def lines(rates: pd.Series, chosen: Sequence[str]) -> dict[str, float]:
    """The rate of each line of a chart: one for each that is chosen, or for all together."""
    few = list(chosen) or (rates.index.tolist() if len(rates) <= _MAX_SERIES else [])
    if few and len(few) <= _MAX_SERIES:
        return {name: _sum(held_by(rates, (name,))) for name in few}
    return {f"{len(chosen)} chosen" if chosen else "all": _sum(held_by(rates, chosen))}


def _sum(rates: pd.Series) -> float:
    total = rates.sum(min_count=1)
    return float("nan") if pd.isna(total) else float(total)
