"""What people write for a time or a duration: `2026-05-01 10:00`, `13:17`, `today`, `10m`. Pure.

And how a time is written for them.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta

_UNITS = {
    "ms millisecond milliseconds": 0.001,
    "s sec secs second seconds": 1,
    "m min mins minute minutes": 60,
    "h hr hrs hour hours": 3600,
    "d day days": 86400,
    "w week weeks": 604800,
}
_SECONDS = {word: seconds for words, seconds in _UNITS.items() for word in words.split()}
_DURATION = re.compile(rf"\s*(\d+(\.\d+)?\s*({'|'.join(_SECONDS)})\s*)+")
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)")
_LONGEST = timedelta(days=365_000)
_DAYS_AGO = {"today": 0, "yesterday": 1}
_CLOCK = re.compile(
    r"(?:(today|yesterday) (?:at )?)?(\d\d?:\d\d(?::\d\d(?:\.\d{1,6})?)?)(?: ?(?:Z|UTC))?", re.ASCII
)


def duration(name: str, value: timedelta | str) -> timedelta:
    """`value`, or the duration that `90s`, `10m`, `2 hours` or `1d12h` stand for.

    Raises:
        ValueError: it is not a duration, or negative.
    """
    span = value
    if isinstance(span, str) and _DURATION.fullmatch(span):
        parts = _PART.findall(span)
        seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
        span = timedelta(seconds=min(seconds, 2 * _LONGEST.total_seconds()))
    if not isinstance(span, timedelta) or not timedelta(0) <= span <= _LONGEST:
        hint = "; of a time, write since=" if isinstance(value, str) and ":" in value else ""
        raise ValueError(
            f"{name}={value!r} is not a duration; write '90s', '10m', '2h', '1d' or a "
            f"timedelta{hint}"
        )
    return span


def relative_time(text: str, now: datetime) -> datetime | None:
    """The time that `text` stands for as seen from `now`; None if it says nothing of the kind.

    It can be `now`; `today` or `yesterday`, which is when they began; a time of day in UTC, which
    is today's unless it is `yesterday 13:17`, also where that is later than `now`; or a duration,
    which means that long before `now`.
    """
    if text == "now":
        return now
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if text in _DAYS_AGO:
        return midnight - timedelta(days=_DAYS_AGO[text])
    if found := _CLOCK.fullmatch(text):
        return _at(midnight - timedelta(days=_DAYS_AGO[found[1] or "today"]), found[2])
    try:
        return now - duration("time", text)
    except ValueError:
        return None


def _at(midnight: datetime, clock: str) -> datetime | None:
    try:
        padded = clock if clock[2] == ":" else f"0{clock}"
        return datetime.combine(midnight, time.fromisoformat(padded), UTC)
    except ValueError:  # such as 25:00
        return None


def time_of(text: str, now: datetime) -> datetime | None:
    """The time that `text` stands for, in UTC unless it has an offset; None if it is not a time.

    It is what `relative_time` reads, or a time in ISO 8601, with a space too (`2026-05-01 10:00`).
    """
    if (relative := relative_time(text.strip(), now)) is not None:
        return relative
    try:
        parsed = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return parsed if parsed.tzinfo is not None else parsed.replace(tzinfo=UTC)


def moment_words(at: datetime, *, seconds: bool = False) -> str:
    """A time for people, in UTC, with its day unless that is today's: `09:12 UTC`."""
    moment = at.astimezone(UTC)
    day = "" if moment.date() == datetime.now(UTC).date() else "%Y-%m-%d "
    return f"{moment:{day}{'%H:%M:%S' if seconds else '%H:%M'} UTC}"
