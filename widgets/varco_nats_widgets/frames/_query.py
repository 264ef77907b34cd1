"""Reading what users write for a time, a duration, a channel or an event type."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypedDict

import pandas as pd
from varco_core.event.base import Event

import varco_nats
from varco_nats._moments import duration, relative_time
from varco_nats.history import History, Selection
from varco_nats.history._reader import PAGE
from varco_nats.subjects import name_problem, subject_problem
from varco_nats_widgets.decoders import DecoderLike
from varco_nats_widgets.frames._columns import clean
from varco_nats_widgets.frames._headers import Headers, wanted_headers
from varco_nats_widgets.frames._payload import TAKEN
from varco_nats_widgets.frames._times import TimesFound, explained

Moment = datetime | timedelta | str
"""A time with its zone, how long ago it was, or a text: `2026-05-01 10:00`, `10m`, `today`."""

EventType = str | type[Event]

MAX_BYTES = 1024**3
"""The most bytes of payload that a frame is made of by default."""


_OURS = (str(Path(__file__).parents[1]), str(Path(varco_nats.__file__).parent))
_NO_TIMES = TAKEN - {"stored_at", "timestamp"}


class FrameOptions(TypedDict, total=False):
    """The keyword arguments that `Lab.frame` and `Lab.export` have in common."""

    last: timedelta | str | None
    since: Moment | None
    until: Moment | None
    start_seq: int | None
    end_seq: int | None
    limit: int | None
    newest_first: bool
    event_type: EventType | Iterable[EventType] | None
    times: str | Iterable[str]


class LoadOptions(FrameOptions, total=False):
    """All keyword arguments of `Lab.frame` except `stream` and `subject`."""

    headers: bool | Iterable[str]
    max_bytes: int | None
    decoder: DecoderLike | None


@dataclass(frozen=True, slots=True)
class FrameQuery:
    """Which messages a frame holds, in the terms of `History.select`."""

    channels: tuple[str, ...]
    """The channels; if `stream` is set, subjects instead, which may have wildcards."""
    since: datetime | None
    until: datetime | None
    start_seq: int | None
    end_seq: int | None
    limit: int | None
    newest_first: bool
    event_types: frozenset[str] | None
    stream: str | None = None
    """A stream other than that of the settings; "" means the stream that has the subjects."""
    headers: Headers = False
    max_bytes: int | None = None
    times: tuple[str, ...] = ()
    """The fields that become times."""

    @property
    def page(self) -> int:
        """Messages to read at once; few if few rows are wanted and every message is a row."""
        few = self.limit is not None and self.event_types is None
        return min(self.limit or PAGE, PAGE) if few else PAGE

    async def select(self, history: History) -> Selection:
        """The messages that there are now."""
        return await history.select(
            self.channels,
            since=self.since,
            until=self.until,
            start_seq=self.start_seq,
            end_seq=self.end_seq,
        )

    @property
    def what(self) -> str:
        """The channels or subjects in words, for a message to the user."""
        names = [repr(name) for name in self.channels[:3]]
        text = ", ".join(names) + (", …" if len(self.channels) > 3 else "")
        return text if not self.stream else f"{text} of stream {self.stream!r}"


def frame_query(
    channel: str | Iterable[str] | None = None,
    *,
    stream: str | None = None,
    subject: str | Iterable[str] | None = None,
    last: timedelta | str | None = None,
    since: Moment | None = None,
    until: Moment | None = None,
    start_seq: int | None = None,
    end_seq: int | None = None,
    limit: int | None = None,
    newest_first: bool = False,
    event_type: EventType | Iterable[EventType] | None = None,
    headers: bool | Iterable[str] = False,
    times: str | Iterable[str] = (),
    max_bytes: int | None = None,
) -> FrameQuery:
    """The query that the arguments of `Lab.frame` stand for.

    Raises:
        ValueError, TypeError: an argument cannot be read, or both `last` and `since` are given.
    """
    now = datetime.now(UTC)
    first = begin(last, since, now)
    channels = list_of_channels(channel) if stream is None and subject is None else ()
    if not channels:
        stream, channels = _stream_and_subjects(channel, stream, subject)
    end = moment("until", until, now)
    if first is not None and end is not None and first > end:
        start = f"since={since!r}" if last is None else f"last={last!r}"
        raise ValueError(f"{start} is later than the end, until={until!r}")
    return FrameQuery(
        channels=channels,
        since=first,
        until=end,
        start_seq=whole_number("start_seq", start_seq, 0),
        end_seq=whole_number("end_seq", end_seq, 0),
        limit=whole_number("limit", limit, 1),
        newest_first=newest_first,
        event_types=None if event_type is None else type_names(event_type),
        stream=stream,
        headers=wanted_headers(headers),
        max_bytes=whole_number("max_bytes", max_bytes, 1),
        times=fields_of_times(times),
    )


def begin(last: timedelta | str | None, since: Moment | None, now: datetime) -> datetime | None:
    """The time that `last=` or `since=` stands for; None where neither is given.

    Raises:
        ValueError: both are given, or one cannot be read.
    """
    if last is not None and since is not None:
        raise ValueError("give last= or since=, not both: each says where it begins")
    return moment("since", since, now) if last is None else now - duration("last", last)


def fields_of_times(times: str | Iterable[str]) -> tuple[str, ...]:
    """The fields that `times=` names.

    Raises:
        TypeError: it is no name and no list of some.
        ValueError: a column that it names is no field.
    """
    names = tuple(dict.fromkeys(_names("times", times)))
    for name in names:
        if name in _NO_TIMES:
            raise ValueError(f"times={name!r}: name fields of the payload; this column is none")
    return names


def whole_number(name: str, value: int | None, least: int) -> int | None:
    """`value` as an int of `least` or more; None stays None.

    Raises:
        ValueError, TypeError: `value` is something else.
    """
    if value is None:
        return None
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None:
        raise TypeError(f"{name}={value!r}: must be a whole number")
    if number < least:
        raise ValueError(f"{name}={value}: must be {least} or more")
    return number


def warn_about(frame: pd.DataFrame) -> pd.DataFrame:
    """`frame`, after a warning of what nobody can foresee: that `max_bytes` has cut it, or that
    values of `times=` are no times."""
    warn_of_times(frame.attrs.get("times", {}))
    verdict: Mapping[str, int | str | None] = frame.attrs["completeness"]
    if verdict["truncated_by"] == "max_bytes":
        warn_caller(
            f"this frame is cut by max_bytes: it has {verdict['loaded']:,} of "
            f"{verdict['expected']:,} messages; give a larger max_bytes=, a limit=, or export them"
        )
    return frame


def warn_of_times(times: Mapping[str, dict[str, Any] | None]) -> None:
    """Warn of fields of `times=` whose values are no times.

    Args:
        times: as in `frame.attrs["times"]`.
    """
    for name, found in times.items():
        if problem := explained(name, TimesFound(**found) if found is not None else None):
            warn_caller(problem)


def warn_caller(text: str) -> None:
    """Warn about the line that called into these packages, however deep in them this is."""
    warnings.warn(text, skip_file_prefixes=_OURS)


def is_pattern(subject: str) -> bool:
    """Whether `subject` has a wildcard."""
    return not {"*", ">"}.isdisjoint(subject.split("."))


def list_of_channels(channel: str | Iterable[str] | None) -> tuple[str, ...]:
    """The channels that were given, one or several; raises ValueError if none was."""
    channels = () if channel is None else _names("channel", channel)
    if not channels:
        raise ValueError("no channel was given; lab.channels() shows those there are")
    return channels


def _names(parameter: str, value: str | Iterable[str]) -> tuple[str, ...]:
    names = (value,) if isinstance(value, str) else value
    found = tuple(names) if isinstance(names, Iterable) else None
    if found is None or not all(isinstance(name, str) for name in found):
        raise TypeError(f"{parameter}={value!r}: must be a name, or several in a list")
    return found


def _stream_and_subjects(
    channel: object, stream: str | None, subject: str | Iterable[str] | None
) -> tuple[str, tuple[str, ...]]:
    """The stream, "" if it is to be found by the subjects, and the subjects."""
    if channel is not None:
        raise ValueError("give a channel, or stream= and subject=, not both")
    if stream is not None and (problem := name_problem(stream)):
        raise ValueError(f"stream={stream!r} {problem}")
    patterns = (() if subject is None else _names("subject", subject)) or (">",)
    for pattern in patterns:
        tokens = pattern.split(".")
        plain = ["x" if token in ("*", ">") else token for token in tokens]
        problem = subject_problem(".".join(plain))
        if ">" in tokens[:-1]:
            problem = "has a '>' that is not at its end"
        if problem:
            raise ValueError(f"subject={pattern!r} {problem}")
    return stream or "", patterns


def moment(name: str, value: Moment | None, now: datetime) -> datetime | None:
    """`value` as a time; a duration means that long before `now`, and `time_of` reads texts.

    Raises:
        ValueError: it cannot be read, or is a datetime without a time zone.
    """
    if value is None:
        return None
    if isinstance(value, timedelta):
        return now - duration(name, value)
    if not isinstance(value, datetime):
        parsed = time_of(value, now) if isinstance(value, str) else None
        if parsed is None:
            raise ValueError(
                f"{name}={value!r} is not a time; write '2026-05-01 10:00' (UTC), '13:17', 'today' "
                "or '10m' for ten minutes ago, or a datetime"
            )
        return parsed.to_pydatetime(warn=False)
    if value.utcoffset() is None:
        raise ValueError(
            f"{name}={value} has no time zone; write datetime.now(UTC), or "
            "value.astimezone() where it is local time"
        )
    if isinstance(value, pd.Timestamp):
        return value.to_pydatetime(warn=False)
    return value


def time_of(text: str, now: datetime) -> pd.Timestamp | None:
    """The time that `text` stands for, in UTC unless it has an offset; None if it is not a time.

    It can be a time in ISO 8601, with a space too and without its last parts
    (`2026-05-01 10:00`); `now`; `today` or `yesterday`, which is when they began; a time of
    today (`13:17`) or of yesterday (`yesterday 13:17`); or a duration, which means that long before
    `now`.
    """
    text = text.strip()
    if (relative := relative_time(text, now)) is not None:
        return pd.Timestamp(relative)
    parsed = pd.to_datetime(text, format="ISO8601", errors="coerce")
    if not isinstance(parsed, pd.Timestamp):
        return None
    return parsed.tz_localize(UTC) if parsed.tzinfo is None else parsed


def type_names(event_type: EventType | Iterable[EventType]) -> frozenset[str]:
    """The names of the types that `event_type` stands for.

    Raises:
        TypeError: it is none, and no list of some.
    """
    if isinstance(event_type, str):
        return frozenset({clean(event_type)})
    if isinstance(event_type, type) and issubclass(event_type, Event):
        return frozenset({event_type.event_type_name()})
    names: frozenset[str] = frozenset()
    if isinstance(event_type, Iterable):
        names = frozenset(name for inner in event_type for name in type_names(inner))
    if not names:
        raise TypeError(
            f"event_type={event_type!r}: must be an event class, its name, or several of them"
        )
    return names
