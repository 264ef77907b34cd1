"""Which columns of a table are shown, and in which order: as a user wants it. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import traitlets

_LISTS = ("order", "hidden", "pinned")
_WIDEST = 2000


class Arranged(NamedTuple):
    """The columns of a table as they are shown."""

    labels: list[str]
    """Those that are shown, the pinned ones first."""
    pinned: int
    """How many are pinned."""
    hidden: list[str]
    """Those that the user hid."""
    empty: list[str]
    """Those that have no value, shown or not."""


def arranged(
    labels: Sequence[str], arrangement: Mapping[str, Any], empty: Collection[str] = ()
) -> Arranged:
    """The columns as a user arranged them.

    Args:
        labels: all of them, in the order that they have without a user.
        arrangement: as `arrangement_of` gives it.
        empty: those without a value, which are shown only with `show_empty`.
    """
    order, hidden, pinned = (arrangement.get(name, ()) for name in _LISTS)
    placed = [label for label in order if label in set(labels)]
    placed += [label for label in labels if label not in set(placed)]
    left_out = {*hidden, *(() if arrangement.get("show_empty") else empty)}
    shown = [label for label in placed if label not in left_out]
    first = [label for label in pinned if label in set(shown)]
    rest = [label for label in shown if label not in set(first)]
    absent = set(empty)
    return Arranged(
        [*first, *rest],
        len(first),
        [label for label in placed if label in set(hidden)],
        [label for label in placed if label in absent and label not in set(hidden)],
    )


def arrangement_of(given: object) -> dict[str, Any]:
    """What arranges columns, from what a person or a browser gave.

    Args:
        given: names, for `order` alone, or a dict with any of: `order`, the columns that come
            first; `hidden`; `pinned`, which stay in sight; `widths`, in pixels by name;
            `show_empty`, whether columns without a value are shown; `sort`, the column that a page
            is sorted by, after a `-` from the highest.

    Raises:
        traitlets.TraitError: it has something else in it; says what. It is this error that leaves
            a trait as it was.
    """
    if isinstance(given, (list, tuple)):
        given = {"order": given}
    if not isinstance(given, Mapping):
        raise traitlets.TraitError(f"columns={given!r}: names of columns are expected, or a dict")
    made: dict[str, Any] = {}
    for name, value in given.items():
        if name in _LISTS and isinstance(value, (list, tuple)):
            made[name] = [*dict.fromkeys(map(str, value))]
        elif name == "widths" and isinstance(value, Mapping):
            made[name] = {str(label): _width(label, width) for label, width in value.items()}
        elif name == "show_empty":
            made[name] = bool(value)
        elif name == "sort" and isinstance(value, str):
            made[name] = value
        else:
            known = ", ".join((*_LISTS, "widths", "show_empty", "sort"))
            raise traitlets.TraitError(
                f"columns: {name}={value!r} is not understood; there are {known}"
            )
    return {name: value for name, value in made.items() if value}


def _width(label: object, width: object) -> int:
    if isinstance(width, bool) or not isinstance(width, (int, float)) or not 0 < width <= _WIDEST:
        raise traitlets.TraitError(
            f"columns: the width of {label!r} is {width!r}, not 1 to {_WIDEST} pixels"
        )
    return round(width)
