"""A field of a live frame as lines over time, and what cannot be drawn of it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from varco_nats_widgets.frames._cells import clean, format_cell
from varco_nats_widgets.frames._conditions import as_text
from varco_nats_widgets.frames._times import times_of

MAX_LINES = 12
"""Lines of their own; the others are drawn as one."""

OTHERS = "(others)"
_NOTHING = "(none)"
_NAME_LENGTH = 40
_EXAMPLE_LENGTH = 60


@dataclass(frozen=True, slots=True)
class Lines:
    """What there is to draw."""

    series: dict[str, pd.Series[float]] = field(default_factory=dict)
    """The values by time, for each line."""
    notice: str = ""
    """What is not drawn, and why; "" if everything is."""

    def broken(self, moments: Iterable[str]) -> Lines:
        """The same with a gap in each line that goes over one of these moments."""
        gaps = pd.Series(np.nan, index=pd.to_datetime([*moments], utc=True))
        series = {
            name: pd.concat([line, inside]).sort_index(kind="stable").rename(line.name)
            if len(inside := gaps[(gaps.index > line.index[0]) & (gaps.index < line.index[-1])])
            else line
            for name, line in self.series.items()
        }
        return Lines(series, self.notice)


def lines_of(
    frame: pd.DataFrame, name: str, by: str | None, x: str, known: Sequence[str] = ()
) -> Lines:
    """A line for each value of `by`, or a single one.

    Args:
        frame: as a live frame has it.
        name: the field of numbers to draw.
        by: the field that tells the lines apart.
        x: the column of the times: `stored_at`, or one that `times_of` reads.
        known: the lines that were drawn before; they stay as long as they have values.
    """
    if frame.empty:
        return Lines(notice="no events yet")
    for wanted in (name, x, by):
        if wanted is not None and wanted not in frame.columns:
            near = get_close_matches(wanted, map(str, frame.columns), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            return Lines(notice=f"no event has a field {wanted!r} yet{hint}")
    numbers, problem = _numbers(frame[name], name)
    times, found = times_of(frame[x])
    notices = [problem] if problem else []
    if found.wrong:
        notices.append(
            f"{found.wrong:,} of {found.wrong + sum(found.units.values()):,} values of {x!r} are "
            f"no times, such as {found.example}"
        )
    drawn = ~np.isnan(numbers) & times.notna()
    whole = pd.Series(numbers[drawn], index=times[drawn], name=name)
    if by is None or whole.empty:
        ordered = whole.sort_index(kind="stable")
        return Lines({name: ordered} if len(whole) else {}, "; ".join(notices))
    codes, names = _groups(frame[by][drawn])
    own = [each for each in known if each in names][:MAX_LINES]
    own += [each for each in names if each not in own][: MAX_LINES - len(own)]
    lines = {each: whole[codes == names.index(each)].sort_index(kind="stable") for each in own}
    if len(names) > len(own):
        rest = ~np.isin(codes, [names.index(each) for each in own])
        lines[OTHERS] = whole[rest].sort_index(kind="stable")
        notices.append(
            f"{len(own)} of {len(names):,} values of {by!r} have lines of their own; the others "
            f"are drawn as {OTHERS}"
        )
    return Lines(lines, "; ".join(notices))


def _numbers(column: pd.Series[Any], name: str) -> tuple[npt.NDArray[np.float64], str]:
    """The numbers of a column, NaN where there is none, and what the other values are."""
    if pd.api.types.is_numeric_dtype(column.dtype) and column.dtype not in ("bool", "boolean"):
        numbers = column.to_numpy(dtype=np.float64, na_value=np.nan)
        return np.where(np.isfinite(numbers), numbers, np.nan), ""
    values = column.tolist()
    numbers = np.array([_number(value) for value in values], dtype=np.float64)
    wrong = np.flatnonzero(np.isnan(numbers) & column.notna().to_numpy())
    if not len(wrong):
        return numbers, ""
    example = clean(repr(values[wrong[0]]), _EXAMPLE_LENGTH)
    present = int(column.notna().sum())
    if len(wrong) == present:
        return numbers, f"{name!r} is not a number, but such as {example}"
    return (
        numbers,
        f"{len(wrong):,} of {present:,} values of {name!r} are no numbers, such as {example}",
    )


def _number(value: object) -> float:
    if type(value) not in (int, float):
        return np.nan
    try:
        number = float(value)  # type: ignore[arg-type]
    except OverflowError:
        return np.nan
    return number if np.isfinite(number) else np.nan


def _groups(column: pd.Series[Any]) -> tuple[npt.NDArray[np.intp], list[str]]:
    """The number of each row's line, and the names of the lines in order of appearance."""
    try:
        codes, values = pd.factorize(column, use_na_sentinel=False)
    except TypeError:  # lists and dicts
        texts = column.map(as_text, na_action="ignore")
        codes, values = pd.factorize(texts, use_na_sentinel=False)
    labels = [format_cell(value, _NAME_LENGTH) or _NOTHING for value in values.tolist()]
    place: dict[str, int] = {}  # long values may look the same
    places = [place.setdefault(label, len(place)) for label in labels]
    return np.array(places, dtype=np.intp)[codes], list(place)
