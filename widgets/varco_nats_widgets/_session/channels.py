"""The channels, streams and consumers of a server as DataFrames."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pandas as pd

from varco_nats._nats.direct import time_ns
from varco_nats._nats.stream import covers
from varco_nats.errors import PermissionDeniedError
from varco_nats_widgets._session.buckets import kind_of
from varco_nats_widgets._session.facts import Facts, Position, Recent
from varco_nats_widgets.frames._query import is_pattern

_NEVER = "0001-01-01"  # how the server writes that there is no time
_WORK: tuple[tuple[str, Any], ...] = (
    ("consumers", "Int64"),
    ("durables", "str"),
    ("lag", "Int64"),
    ("ack_pending", "Int64"),
    ("redelivered", "Int64"),
)


@dataclass(frozen=True, slots=True)
class Scope:
    """The subjects of a stream to list, and their names in the frame."""

    stream: str
    pattern: str
    name_of: Callable[[str], str | None]
    """The name of a subject; None leaves it out."""
    index: str = "channel"


async def channels_frame(facts: Facts, scope: Scope) -> pd.DataFrame:
    """One row for each channel that holds messages; `Lab.channels` has the columns."""
    info = await facts.stream(scope.stream)
    counts = await facts.subjects(scope.stream, scope.pattern)
    named = {s: name for s in counts if (name := scope.name_of(s)) is not None}
    newest = await facts.newest(info, scope.pattern, named) if named else {}
    named = {s: named[s] for s in sorted(named, key=named.__getitem__) if s in newest}
    oldest = {s: newest[s] for s in named if counts[s] == 1}
    oldest |= await facts.oldest(info, scope.pattern, [s for s in named if s not in oldest])
    # subjects that are not in `oldest` have lost their last message meanwhile
    named = {s: name for s, name in named.items() if s in oldest}
    recent = await facts.recent(info, scope.pattern)
    consumers: list[dict[str, Any]] | None = None
    with suppress(PermissionDeniedError):
        consumers = await facts.consumers(scope.stream)
    alone = len(named) == 1 and int(info["state"].get("num_subjects", 0)) == 1
    sizes = [int(info["state"]["bytes"])] if alone else [None] * len(named)
    columns: dict[str, Any] = {
        "messages": pd.array([counts[s] for s in named], dtype="int64"),
        "per_second": _rates(named, recent),
        **_work(list(named), consumers),
        "bytes": pd.array(sizes, dtype="Int64"),
        **_positions(named, oldest, newest),
    }
    index = pd.Index(list(named.values()), name=scope.index, dtype="str")
    return pd.DataFrame(columns, index=index)


def no_channels(index: str = "channel") -> pd.DataFrame:
    """The frame of `channels_frame` where there is no stream."""
    columns: dict[str, Any] = {
        "messages": pd.array([], dtype="int64"),
        "per_second": _rates({}, Recent({}, 1)),
        **_work([], []),
        "bytes": pd.array([], dtype="Int64"),
        **_positions({}, {}, {}),
    }
    return pd.DataFrame(columns, index=pd.Index([], name=index, dtype="str"))


def streams_frame(infos: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """One row for each stream; `Lab.streams` has the columns."""
    configs = [info["config"] for info in infos]
    states = [info["state"] for info in infos]

    def numbers(name: str) -> Any:
        return pd.array([int(state.get(name, 0)) for state in states], dtype="int64")

    def limits(name: str) -> Any:
        return pd.array([_limit(config.get(name)) for config in configs], dtype="Int64")

    columns: dict[str, Any] = {
        "kind": _texts(map(kind_of, configs)),
        "subjects": _texts(_subjects(config) for config in configs),
        "messages": numbers("messages"),
        "bytes": numbers("bytes"),
        "distinct_subjects": numbers("num_subjects"),
        "first_seq": numbers("first_seq"),
        "last_seq": numbers("last_seq"),
        "first_time": _times(_stored_at(state, "first") for state in states),
        "last_time": _times(_stored_at(state, "last") for state in states),
        "consumers": numbers("consumer_count"),
        "retention": _texts(config.get("retention", "limits") for config in configs),
        "storage": _texts(config.get("storage", "file") for config in configs),
        "replicas": pd.array([int(c.get("num_replicas", 1)) for c in configs], dtype="int64"),
        "max_messages": limits("max_msgs"),
        "max_messages_per_subject": limits("max_msgs_per_subject"),
        "max_bytes": limits("max_bytes"),
        "max_age": _spans(config.get("max_age") or None for config in configs),
    }
    index = pd.Index([str(config["name"]) for config in configs], name="stream", dtype="str")
    return pd.DataFrame(columns, index=index)


def consumers_frame(
    infos: Iterable[dict[str, Any]],
    name_of: Callable[[str], str],
    subject: str | None = None,
    index: str = "channel",
) -> pd.DataFrame:
    """One row for each consumer, or each of `subject`; `Lab.consumers` has the columns."""
    shown = list(infos) if subject is None else consumers_of(infos, subject)
    configs = [info["config"] for info in shown]

    def numbers(pick: Callable[[dict[str, Any]], Any]) -> Any:
        return pd.array([int(pick(info) or 0) for info in shown], dtype="int64")

    columns: dict[str, Any] = {
        index: _texts(", ".join(map(name_of, _filters(info) or [">"])) for info in shown),
        "durable": pd.array([bool(config.get("durable_name")) for config in configs], dtype=bool),
        "type": _texts("push" if c.get("deliver_subject") else "pull" for c in configs),
        "lag": numbers(lambda info: info.get("num_pending")),
        "ack_pending": numbers(lambda info: info.get("num_ack_pending")),
        "redelivered": numbers(lambda info: info.get("num_redelivered")),
        "delivered_seq": numbers(lambda info: info["delivered"].get("stream_seq")),
        "ack_floor_seq": numbers(lambda info: info["ack_floor"].get("stream_seq")),
        "last_active": _times(_last_active(info) for info in shown),
        "waiting": numbers(lambda info: info.get("num_waiting")),
        "paused": pd.array([bool(info.get("paused")) for info in shown], dtype=bool),
        "ack_policy": _texts(config.get("ack_policy", "explicit") for config in configs),
        "ack_wait": _spans(config.get("ack_wait") or None for config in configs),
        "max_deliver": pd.array([_limit(c.get("max_deliver")) for c in configs], dtype="Int64"),
    }
    names = pd.Index([str(info["name"]) for info in shown], name="consumer", dtype="str")
    return pd.DataFrame(columns, index=names)


def consumers_of(infos: Iterable[dict[str, Any]], subject: str) -> list[dict[str, Any]]:
    """The consumers that get the messages of `subject`."""
    return [info for info in infos if _covers(info, subject)]


def _positions(
    subjects: Mapping[str, str], oldest: Mapping[str, Position], newest: Mapping[str, Position]
) -> dict[str, Any]:
    return {
        "first_seq": pd.array([oldest[s][0] for s in subjects], dtype="int64"),
        "last_seq": pd.array([newest[s][0] for s in subjects], dtype="int64"),
        "first_time": _times(oldest[s][1] for s in subjects),
        "last_time": _times(newest[s][1] for s in subjects),
    }


def _rates(subjects: Iterable[str], recent: Recent | None) -> Any:
    if recent is None:
        return pd.array([None for _ in subjects], dtype="Float64")
    rates = [recent.counts.get(s, 0) / recent.seconds for s in subjects]
    return pd.array(rates, dtype="Float64")


def _work(subjects: Sequence[str], consumers: Sequence[dict[str, Any]] | None) -> dict[str, Any]:
    """How far the consumers of each subject are; missing if `consumers` is None (no permission).

    A consumer of several subjects counts for each of them, but its lag does not: the server does
    not say how much of it belongs to which subject.
    """
    if consumers is None:
        return {name: pd.array([None] * len(subjects), dtype=dtype) for name, dtype in _WORK}
    by_subject = {s: consumers_of(consumers, s) for s in subjects}
    lag: dict[str, int] = {}
    ack_pending: defaultdict[str, int] = defaultdict(int)
    redelivered: defaultdict[str, int] = defaultdict(int)
    for info in consumers:
        filters = _filters(info)
        if len(filters) != 1 or is_pattern(filters[0]):
            continue
        (subject,) = filters
        lag[subject] = max(lag.get(subject, 0), int(info.get("num_pending") or 0))
        ack_pending[subject] += int(info.get("num_ack_pending") or 0)
        redelivered[subject] += int(info.get("num_redelivered") or 0)
    return {
        "consumers": pd.array([len(by_subject[s]) for s in subjects], dtype="int64"),
        "durables": _texts(", ".join(_durables(by_subject[s])) for s in subjects),
        "lag": pd.array([lag.get(s) for s in subjects], dtype="Int64"),
        "ack_pending": pd.array([ack_pending[s] for s in subjects], dtype="int64"),
        "redelivered": pd.array([redelivered[s] for s in subjects], dtype="int64"),
    }


def _durables(infos: Iterable[dict[str, Any]]) -> list[str]:
    return [str(info["name"]) for info in infos if info["config"].get("durable_name")]


def _filters(info: dict[str, Any]) -> list[str]:
    config = info["config"]
    single = config.get("filter_subject")
    return [single] if single else list(config.get("filter_subjects") or [])


def _covers(info: dict[str, Any], subject: str) -> bool:
    filters = _filters(info)
    return not filters or any(covers(pattern, subject) for pattern in filters)


def _last_active(info: dict[str, Any]) -> int | None:
    times = [info[part].get("last_active") for part in ("delivered", "ack_floor")]
    return max((time_ns(time) for time in times if time), default=None)


def _stored_at(state: dict[str, Any], end: str) -> int | None:
    text = str(state.get(f"{end}_ts", _NEVER))
    return None if text.startswith(_NEVER) or not state.get("messages") else time_ns(text)


def _subjects(config: dict[str, Any]) -> str:
    """The subjects of a stream, and the streams that it copies."""
    sources = [config["mirror"]] if config.get("mirror") else config.get("sources") or []
    copies = [f"copy of {source['name']}" for source in sources]
    return ", ".join([*(config.get("subjects") or []), *copies])


def _limit(value: int | None) -> int | None:
    return value if value is not None and value > 0 else None


def _texts(values: Iterable[str]) -> Any:
    return pd.array(list(values), dtype="str")


def _times(values: Iterable[int | None]) -> Any:
    nanoseconds = pd.array(list(values), dtype="Int64")
    return pd.to_datetime(pd.Series(nanoseconds), unit="ns", utc=True).array


def _spans(values: Iterable[int | None]) -> Any:
    return pd.to_timedelta(pd.Series(pd.array(list(values), dtype="Int64")), unit="ns").array
