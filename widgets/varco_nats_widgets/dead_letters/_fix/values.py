"""Values of fields: of Python as JSON has them, as text, and as another kind of value. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from varco_nats.replay._edit import Literal, written
from varco_nats_widgets.frames._cells import clean
from varco_nats_widgets.frames._times import UNITS, YEAR_2000, YEAR_2100

SHORT = 60
"""Characters of a value in a sentence."""

_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?", re.ASCII)
_BOOLS = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}


def as_json(value: Any) -> Any:
    """A value of Python as JSON has it: times as text, decimals with their digits.

    Raises:
        ValueError: JSON has nothing for it; says what it is.
    """
    if isinstance(value, float) and not isinstance(value, Literal) and not math.isfinite(value):
        raise ValueError(f"JSON has no number {value}")
    if value is None or isinstance(value, (bool, str, int, float)):
        return value
    if isinstance(value, dict):
        if wrong := [key for key in value if not isinstance(key, str)]:
            raise ValueError(f"names of fields are texts, and {wrong[0]!r} is none")
        return {key: as_json(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(inner) for inner in value]
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, Decimal) and value.is_finite():
        return Literal(str(value))
    if isinstance(value, Enum):
        return as_json(value.value)
    if isinstance(value, UUID):
        return str(value)
    if callable(item := getattr(value, "item", None)):  # of numpy
        return as_json(item())
    raise ValueError(f"JSON has nothing for a value of type {type(value).__name__}")


def copied(value: Any) -> Any:
    """A copy of a JSON value that shares nothing which can change."""
    if type(value) is dict:
        return {key: copied(inner) for key, inner in value.items()}
    return [copied(inner) for inner in value] if type(value) is list else value


def json_text(value: Any, longest: int | None = 200) -> str:
    """A JSON value as text, cut where it is long."""
    try:
        text = written(value)
    except (TypeError, ValueError, RecursionError):
        text = str(value)
    return clean(text, longest)


def lookup_key(value: Any) -> Any:
    """The same for values that are equal in JSON: 1 and 1.0, but not True."""
    if isinstance(value, bool) or value is None:
        return type(value), value
    if isinstance(value, (int, float)):
        return float, value
    return (str, value) if isinstance(value, str) else json_text(value, None)


# To another kind


def absolute(value: Any) -> Any:
    """The absolute value of a number, with its digits as they were written.

    Raises:
        ValueError: it is none.
    """
    if isinstance(value, Literal):
        return Literal(value.text.removeprefix("-"))
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return abs(value)
    raise _not(value, "is no number")


def _to_int(value: Any) -> int:
    if isinstance(value, int):
        return int(value)
    found = _to_float(value)
    exact = Decimal(found.text if isinstance(found, Literal) else found)
    if not exact.is_finite() or exact != exact.to_integral_value():
        raise _not(value, "is no whole number")
    return int(exact)


def _to_float(value: Any) -> float:
    """A number, also one that is written as a text, with its digits as they are there."""
    if isinstance(value, float):
        return value
    text = value.strip() if isinstance(value, str) else ""
    if isinstance(value, int):
        text = str(int(value))
    if not _NUMBER.fullmatch(text) or not math.isfinite(float(text)):
        raise _not(value, "is no number")
    return Literal(text if any(sign in text for sign in ".eE") else f"{text}.0")


def _to_str(value: Any) -> str:
    """A text: numbers and booleans as JSON writes them."""
    if isinstance(value, (dict, list)):
        kind = "an object" if isinstance(value, dict) else "a list"
        raise ValueError(f"{kind} does not become a text")
    return value if isinstance(value, str) else json_text(value, None)


def _to_bool(value: Any) -> bool:
    word = value.strip().lower() if isinstance(value, str) else None
    if isinstance(value, (int, float)):
        word = {0.0: "0", 1.0: "1"}.get(float(value))
    if word not in _BOOLS:
        raise _not(value, "is neither true nor false, yes or no, 1 or 0")
    return _BOOLS[word]


def _to_datetime(value: Any) -> str:
    """A time in ISO 8601 and in UTC, of one in ISO 8601 or of a number since 1970."""
    try:
        if isinstance(value, str) and value[4:5] == "-":
            moment = datetime.fromisoformat(value.strip())
            moment = moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
        else:
            number = float(_to_float(value))
            unit = next(u for u in UNITS.values() if YEAR_2000 * u <= abs(number) < YEAR_2100 * u)
            moment = datetime.fromtimestamp(number / unit, UTC)
    except (ValueError, StopIteration, OverflowError):
        raise _not(
            value,
            "is no time: neither ISO 8601, such as 2026-05-04T10:00, nor a number since 1970",
        ) from None
    return moment.isoformat().replace("+00:00", "Z")


def _to_list(value: Any) -> list[Any]:
    """A list: of a text, what is between its commas; of another value, that one."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value if isinstance(value, list) else [value]


def _not(value: Any, what: str) -> ValueError:
    return ValueError(f"{json_text(value, SHORT)} {what}")


CONVERSIONS: dict[str, Callable[[Any], Any]] = {
    "int": _to_int,
    "float": _to_float,
    "str": _to_str,
    "bool": _to_bool,
    "datetime": _to_datetime,
    "list": _to_list,
}
"""What values are converted to; each raises ValueError where it cannot, and says why."""
