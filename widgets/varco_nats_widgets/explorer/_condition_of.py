"""Conditions that match a value that is looked at, and those that leave it out. Pure."""

from __future__ import annotations

import math
import re
from datetime import datetime
from typing import Any

import numpy as np

from varco_nats._masks._unmask import IS_MASK
from varco_nats.errors import VarcoNatsError
from varco_nats_widgets.frames._condition_fields import is_missing
from varco_nats_widgets.frames._condition_parser import Parser, quoted_name
from varco_nats_widgets.frames._condition_tests import AnyOf

_LONGEST = 200  # characters of a text that a condition has in it
_BREAK = re.compile(r"[\x00-\x1f\x7f\u0085\u2028\u2029]")  # a field of one line cannot hold these


class NoConditionError(VarcoNatsError, ValueError):
    """No condition says that a column has this value.

    Attributes:
        column: its name.
    """

    def __init__(self, column: str, reason: str) -> None:
        self.column = column
        super().__init__(f"rows cannot be filtered by this value of {column!r}: {reason}")


def condition_of(column: str, value: object, *, exclude: bool = False, masked: bool = False) -> str:
    """The condition that a row with `value` in `column` matches; or all rows but those.

    Of a text that is too long for a condition, or has several lines, it is the beginning.

    Args:
        exclude: of all rows but those.
        masked: whether values are masked where it comes from: what stands for one is refused.

    Raises:
        NoConditionError: there is none; says why.
    """
    name = _name(column)
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, (list, tuple, dict, set, frozenset, np.ndarray)):
        reason = f"it is a list or an object; write such as {name}[0] == 5 for what is in it"
        raise NoConditionError(column, reason)
    if masked and isinstance(value, str) and IS_MASK.fullmatch(value):
        raise NoConditionError(column, "it is masked")
    if is_missing(value):
        return f"{name} is {'present' if exclude else 'missing'}"
    test = f"{name} {_test(column, value)}"
    return f"not {test}" if exclude else test


def joined_to(condition: str, other: str) -> str:
    """The condition that both match; the same one where it says so already."""
    before = condition.strip()
    if not before:
        return other
    if before == other or before.endswith(f" and {other}"):
        return before
    if isinstance(Parser(before).parse(), AnyOf):
        before = f"({before})"
    return f"{before} and {other}"


def _name(column: str) -> str:
    if not (name := quoted_name(column)):
        raise NoConditionError(column, "a condition cannot name this column")
    return name


def _test(column: str, value: Any) -> str:
    if isinstance(value, bool):
        return f"== {str(value).lower()}"
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return f"== {value!r}"
    if isinstance(value, datetime):
        return f'== "{value.isoformat()}"'
    if not isinstance(value, str):
        kind = "bytes" if isinstance(value, bytes) else type(value).__name__
        raise NoConditionError(column, f"conditions compare no {kind}")
    whole = value[:_LONGEST]
    if found := _BREAK.search(whole):
        whole = whole[: found.start()]
    if not whole and value:
        raise NoConditionError(column, "it begins with a line break or the like")
    quoted = whole.replace("\\", "\\\\").replace('"', '\\"')
    return f'{"==" if whole == value else "startswith"} "{quoted}"'
