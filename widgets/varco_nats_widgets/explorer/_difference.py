"""What differs between two messages, place by place. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from varco_nats_widgets.frames._cells import format_cell
from varco_nats_widgets.frames._message import Message

_MAX_ROWS = 500
_MAX_DEPTH = 60
_NUMBERS = (int, float)


@dataclass(frozen=True)
class Changed:
    """One place that differs."""

    path: str
    """Such as `customer.address[0].city`; of a header, `headers.NAME`."""
    before: Any = None
    after: Any = None
    is_new: bool = False
    """Whether it was not there before."""
    is_gone: bool = False
    """Whether it is not there any more."""

    @property
    def by(self) -> int | float | None:
        """How much a number has grown; None where one of them is no number."""
        if type(self.before) in _NUMBERS and type(self.after) in _NUMBERS:
            grown = self.after - self.before
            # as people write it: 20.3 - 20.1 is 0.2
            return float(f"{grown:.12g}") if isinstance(grown, float) else grown
        return None


@dataclass(frozen=True)
class Difference:
    """What differs between a message and one before it."""

    before: Message
    after: Message
    changed: tuple[Changed, ...] = field(repr=False)
    """The places that differ, at most 500."""
    same: int
    """How many values are the same."""
    left_out: int = 0
    """How many places differ beyond those."""

    def __repr__(self) -> str:
        return (
            f"Difference(#{self.before.seq} to #{self.after.seq}: "
            f"{len(self.changed) + self.left_out:,} changed, {self.same:,} the same)"
        )

    @property
    def frame(self) -> pd.DataFrame:
        """The same as a table: index `path`, columns `before`, `after`, `by`."""
        columns = {
            name: pd.Series([getattr(row, name) for row in self.changed], dtype=object)
            for name in ("before", "after", "by")
        }
        frame = pd.DataFrame(columns)
        frame.index = pd.Index([row.path for row in self.changed], name="path", dtype="str")
        return frame

    def texts(self) -> list[list[str]]:
        """The rows as text: path, before, after and how much a number has grown."""
        return [
            [
                row.path,
                "" if row.is_new else _text(row.before),
                "" if row.is_gone else _text(row.after),
                "" if row.by is None else f"{row.by:+,}",
            ]
            for row in self.changed
        ]


def difference(before: Message, after: Message) -> Difference:
    """What differs in the payloads and headers of two messages."""
    found: list[Changed] = []
    same = left_out = 0
    for changed in (
        *_compared(_content(before), _content(after), "", 0),
        *_compared(dict(before.headers), dict(after.headers), "headers", 0),
    ):
        if changed is None:
            same += 1
        elif len(found) < _MAX_ROWS:
            found.append(changed)
        else:
            left_out += 1
    return Difference(before, after, tuple(found), same, left_out)


def _content(message: Message) -> Any:
    """What is compared of a payload: its value, its text, or its bytes."""
    if message.problem is None:
        return message.payload
    return message.data.decode() if message.is_text else message.data


def _compared(before: Any, after: Any, path: str, depth: int) -> Iterator[Changed | None]:
    """Each place that differs, and None for each value that is the same."""
    if depth < _MAX_DEPTH and isinstance(before, dict) and isinstance(after, dict):
        for name in dict.fromkeys((*before, *after)):
            place = f"{path}.{name}" if path else str(name)
            if name not in before:
                yield Changed(place, after=after[name], is_new=True)
            elif name not in after:
                yield Changed(place, before=before[name], is_gone=True)
            else:
                yield from _compared(before[name], after[name], place, depth + 1)
    elif depth < _MAX_DEPTH and isinstance(before, list) and isinstance(after, list):
        for index in range(max(len(before), len(after))):
            place = f"{path}[{index}]"
            if index >= len(before):
                yield Changed(place, after=after[index], is_new=True)
            elif index >= len(after):
                yield Changed(place, before=before[index], is_gone=True)
            else:
                yield from _compared(before[index], after[index], place, depth + 1)
    elif type(before) is type(after) and before == after:
        yield None
    else:
        yield Changed(path or "payload", before, after)


def _text(value: object) -> str:
    return "null" if value is None else format_cell(value)
