"""Headers of messages as columns of a frame. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from varco_nats_widgets.frames._columns import ColumnBuilder, clean, strings
from varco_nats_widgets.frames._payload import TAKEN

HEADERS = "headers"
"""The column with the headers of each message as a dict; a single one is `headers.NAME`."""

type Headers = bool | tuple[str, ...]
"""Which headers a frame has: all in one column, or some in a column each."""


def wanted_headers(headers: bool | str | Iterable[str]) -> Headers:
    """What the argument `headers=` stands for; a name that differs by case only is the same.

    Raises:
        TypeError, ValueError: it is something else.
    """
    if isinstance(headers, bool):
        return headers
    names = [headers] if isinstance(headers, str) else headers
    found = list(names) if isinstance(names, Iterable) else [None]
    if not all(isinstance(name, str) for name in found):
        raise TypeError(f"headers={headers!r}: must be True, or the names of headers in a list")
    if "" in found:
        raise ValueError(f"headers={headers!r}: a header has a name")
    return distinct(found)


def distinct(names: Iterable[str]) -> tuple[str, ...]:
    """The names that differ by more than their case."""
    found: dict[str, str] = {}
    for name in names:
        found.setdefault(name.casefold(), name)
    return tuple(found.values())


def header_columns(headers: Headers) -> list[str]:
    """The columns of these headers."""
    if isinstance(headers, bool):
        return [HEADERS] if headers else []
    return [f"{HEADERS}.{clean(name)}" for name in headers]


def header_of(headers: Mapping[str, str] | None, name: str) -> str | None:
    """The value of a header, whatever its case; None if there is none of this name."""
    if not headers:
        return None
    if (value := headers.get(name)) is not None:
        return value
    wanted = name.casefold()
    return next((value for each, value in headers.items() if each.casefold() == wanted), None)


def header_values(headers: Mapping[str, str] | None, wanted: Headers) -> list[Any]:
    """The values of `header_columns` for a message with these headers."""
    if isinstance(wanted, bool):
        return [headers] if wanted else []
    return [header_of(headers, name) for name in wanted]


def taken_with(headers: Headers) -> frozenset[str]:
    """The columns that are not fields of the payload in a frame with these headers."""
    return _TakenByHeaders(TAKEN | {HEADERS}) if headers else TAKEN


class _TakenByHeaders(frozenset[str]):
    """Names that are taken, each `headers.NAME` too."""

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or str(name).startswith(f"{HEADERS}.")


class HeaderColumns:
    """Collects the columns of headers.

    Args:
        headers: which.
    """

    def __init__(self, headers: Headers) -> None:
        self._wanted = headers
        self._columns = {name: ColumnBuilder() for name in header_columns(headers)}

    def __bool__(self) -> bool:
        return bool(self._columns)

    def add(self, first: int, headers: Sequence[Mapping[str, str] | None]) -> None:
        """Put the headers of messages at the rows from `first` on."""
        found = [header_values(each, self._wanted) for each in headers]
        for column, values in zip(self._columns.values(), zip(*found, strict=True), strict=True):
            column.add(first, values)

    def finish(self, rows: int) -> dict[str, Any]:
        """The columns; those of single headers are of text, even if no message has them."""
        return {
            name: column.finish(rows)
            if column.has_values or name == HEADERS
            else strings([None] * rows)
            for name, column in self._columns.items()
        }
