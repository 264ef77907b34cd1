"""How commands print: tables for people, JSON lines for programs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import IO

_GAP = "  "


def print_rows(
    rows: Sequence[Mapping[str, object]], columns: Sequence[str], *, as_json: bool
) -> None:
    """Print rows of the same keys to stdout.

    Args:
        columns: the keys that a table has; JSON has all.
        as_json: an object in each line instead of a table.
    """
    if as_json:
        for row in rows:
            sys.stdout.write(json.dumps(row, default=_as_text) + "\n")
    else:
        table = Table(sys.stdout, columns)
        table.write([[row[column] for column in columns] for row in rows])


class Table:
    """Rows as aligned columns, written to `file` as they come.

    On a terminal there are headings, and a line ends at the right edge; in a pipe or a file there
    are the rows alone, whole. What is missing is `-`, so that each row has every column.
    """

    def __init__(self, file: IO[str], columns: Sequence[str]) -> None:
        self._file = file
        self._for_people = file.isatty()
        edge = os.get_terminal_size(file.fileno()).columns if self._for_people else 0
        self._edge = edge or None  # some terminals do not know how wide they are
        self._headings = [column.replace("_", " ").upper() for column in columns]
        self._widths = [0] * len(columns)
        self._right: list[bool] = []

    def write(self, rows: Sequence[Sequence[object]]) -> None:
        """Write `rows`, in columns at least as wide as those before."""
        if not rows:
            return
        lines = [[_cell(value) for value in row] for row in rows]
        if not self._right:
            numbers = (int, type(None))
            self._right = [
                all(isinstance(value, numbers) for value in column)
                for column in zip(*rows, strict=True)
            ]
            if self._for_people:
                lines.insert(0, self._headings)
        longest = [max(map(len, column)) for column in zip(*lines, strict=True)]
        self._widths = list(map(max, self._widths, longest))
        for line in lines:
            cells = [
                cell.rjust(width) if right else cell.ljust(width)
                for cell, width, right in zip(line, self._widths, self._right, strict=True)
            ]
            self._file.write(_GAP.join(cells).rstrip()[: self._edge] + "\n")


def _cell(value: object) -> str:
    if value is None or value in ("", {}):
        return "-"
    if isinstance(value, datetime):
        return f"{_iso(value)[:19]}Z"
    if isinstance(value, Mapping):  # counts
        return ", ".join(f"{count} {name}" for name, count in value.items())
    return plain(str(value))


def plain(text: str) -> str:
    """`text` with escapes for what a terminal would obey, or show in another place."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def _as_text(value: object) -> str:
    return _iso(value) if isinstance(value, datetime) else str(value)


def _iso(moment: datetime) -> str:
    text = moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
    return f"{text}Z"


def stored_at(time_ns: int) -> str:
    """Nanoseconds since 1970 as a time in UTC, exactly."""
    seconds, rest = divmod(time_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"
