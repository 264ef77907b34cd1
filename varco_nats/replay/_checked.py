"""Checks of JSON values that anybody may have written: the value as it should be, or an error."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

_MAX_SEQ = 2**63 - 1


def json_object(data: bytes) -> dict[str, Any]:
    values = json.loads(data)
    json.dumps(
        values, ensure_ascii=False
    ).encode()  # an unpaired surrogate could not be stored again or shown
    return mapping(values)


def text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a string")
    value.encode()  # an unpaired surrogate could not be stored again or shown
    return value


def whole(value: object) -> int:
    """A count or a sequence."""
    if type(value) is not int or not 0 <= value <= _MAX_SEQ:
        raise ValueError("not a count or sequence")
    return value


def number(value: object) -> float | None:
    """A number or None."""
    if value is not None and type(value) not in (int, float):
        raise TypeError("not a number")
    return None if value is None else float(value)  # type: ignore[arg-type]


def moment(value: object) -> datetime:
    moment = datetime.fromisoformat(text(value))
    if moment.tzinfo is None:
        raise ValueError("no time zone")
    return moment


def array(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError("not a list")
    return value


def mapping(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError("not an object")
    return value
