"""What a user may write for a time, a duration, a channel or an event type. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypedDict

import pandas as pd
from varco_core.event.base import Event

from varco_nats.subjects import name_problem, subject_problem

Moment = datetime | timedelta | str
"""A time with its zone, how long ago, or either as text: `2026-05-01 10:00`, `10m`."""

EventType = str | type[Event]

MAX_BYTES = 1024**3
"""Bytes of payload that a frame is made of at most, unless told otherwise."""

_DURATION = re.compile(r"(\s*\d+(\.\d+)?\s*(ms|s|sec|m|min|h|d|w)\s*)+")
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)")
_SECONDS = {"ms": 0.001, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}


class FrameOptions(TypedDict, total=False):
    """The keyword arguments of `Lab.frame` that say which messages."""

    last: timedelta | str | None
    since: Moment | None
    until: Moment | None
    start_seq: int | None
    end_seq: int | None
    limit: int | None
    newest_first: bool
    event_type: EventType | Iterable[EventType] | None


class LoadOptions(FrameOptions, total=False):
    """All keyword arguments of `Lab.frame` but the place."""

    headers: bool
    max_bytes: int | None


@dataclass(frozen=True, slots=True)
class FrameQuery:
    """Which messages a frame holds, in the terms of `History.select`."""

    channels: tuple[str, ...]
    """Of another `stream`: subjects, which may have wildcards."""
    since: datetime | None
    until: datetime | None
    start_seq: int | None
    end_seq: int | None
    limit: int | None
    newest_first: bool
    event_types: frozenset[str] | None
    stream: str | None = None
    """Another stream than that of the settings; empty is the one that has the subjects."""
    headers: bool = False
    max_bytes: int | None = None

    @property
    def what(self) -> str:
        """What is read, in words."""
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
    headers: bool = False,
    max_bytes: int | None = None,
) -> FrameQuery:
    """The query that the arguments of `Lab.frame` stand for.

    Raises:
        ValueError: an argument that cannot be read, or `last` together with `since`.
    """
    if last is not None and since is not None:
        raise ValueError("give last= or since=, not both: both say where the frame begins")
    for name, value in (("limit", limit), ("max_bytes", max_bytes)):
        if value is not None and value < 1:
            raise ValueError(f"{name}={value}: must be 1 or more, or None for all")
    channels = list_of_channels(channel) if stream is None and subject is None else ()
    if not channels:
        stream, channels = _place(channel, stream, subject)
    now = datetime.now(UTC)
    begin = moment("since", since, now) if last is None else now - duration("last", last)
    return FrameQuery(
        channels=channels,
        since=begin,
        until=moment("until", until, now),
        start_seq=start_seq,
        end_seq=end_seq,
        limit=limit,
        newest_first=newest_first,
        event_types=None if event_type is None else _type_names(event_type),
        stream=stream,
        headers=headers,
        max_bytes=max_bytes,
    )


def is_pattern(subject: str) -> bool:
    """Whether `subject` has a wildcard."""
    return not {"*", ">"}.isdisjoint(subject.split("."))


def list_of_channels(channel: str | Iterable[str] | None) -> tuple[str, ...]:
    """The channels that were given, one or several; raises ValueError if none was."""
    channels = (channel,) if isinstance(channel, str) else tuple(channel or ())
    if not channels:
        raise ValueError("no channel was given; lab.channels() shows those there are")
    return channels


def _place(
    channel: object, stream: str | None, subject: str | Iterable[str] | None
) -> tuple[str, tuple[str, ...]]:
    """The stream, empty if it is to be found, and the subjects."""
    if channel is not None:
        raise ValueError("give a channel, or stream= and subject=, not both")
    if stream is not None and (problem := name_problem(stream)):
        raise ValueError(f"stream={stream!r} {problem}")
    subjects = (subject,) if isinstance(subject, str) else tuple(subject or (">",))
    for one in subjects:
        tokens = one.split(".")
        plain = ["x" if token in ("*", ">") else token for token in tokens]
        problem = subject_problem(".".join(plain))
        if ">" in tokens[:-1]:
            problem = "has a '>' that is not at its end"
        if problem:
            raise ValueError(f"subject={one!r} {problem}")
    return stream or "", subjects


def duration(name: str, value: timedelta | str) -> timedelta:
    """`value`, or what `90s`, `10m`, `2h`, `1d12h` stand for.

    Raises:
        ValueError: it is none, or negative.
    """
    span = value
    if isinstance(span, str) and _DURATION.fullmatch(span):
        parts = _PART.findall(span)
        span = timedelta(seconds=sum(float(number) * _SECONDS[unit] for number, unit in parts))
    if not isinstance(span, timedelta) or span < timedelta(0):
        raise ValueError(
            f"{name}={value!r} is no duration; write '90s', '10m', '2h', '1d' or a timedelta"
        )
    return span


def moment(name: str, value: Moment | None, now: datetime) -> datetime | None:
    """`value` as a time: a duration is that long before `now`, a text without zone is UTC.

    Raises:
        ValueError: it cannot be read, or is a datetime without a time zone.
    """
    if value is None:
        return None
    if isinstance(value, timedelta) or (isinstance(value, str) and _DURATION.fullmatch(value)):
        return now - duration(name, value)
    if isinstance(value, str):
        parsed = pd.to_datetime(value, errors="coerce")
        if not isinstance(parsed, pd.Timestamp):
            raise ValueError(
                f"{name}={value!r} is no time; write '2026-05-01 10:00' (UTC), '10m' for ten "
                "minutes ago, or a datetime"
            )
        zoned = parsed.tz_localize(UTC) if parsed.tzinfo is None else parsed
        return zoned.to_pydatetime(warn=False)
    if value.utcoffset() is None:
        raise ValueError(
            f"{name}={value} has no time zone; write datetime.now(UTC), or "
            "value.astimezone() where it is local time"
        )
    if isinstance(value, pd.Timestamp):
        return value.to_pydatetime(warn=False)
    return value


def _type_names(event_type: EventType | Iterable[EventType]) -> frozenset[str]:
    if isinstance(event_type, str):
        return frozenset({event_type})
    if isinstance(event_type, type):
        return frozenset({event_type.event_type_name()})
    return frozenset(name for one in event_type for name in _type_names(one))
