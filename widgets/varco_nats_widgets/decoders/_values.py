"""Values as JSON has them, of whatever kinds a format or a function gives. Pure."""

from __future__ import annotations

import base64
import dataclasses
import json
import uuid
from collections.abc import Callable, Iterable, Mapping, Set
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from typing import Any

from pydantic import BaseModel

from varco_nats.errors import CannotDecodeError

_SCALARS = frozenset({str, int, float, bool, type(None)})
_TEXT = frozenset({str})

_AS_TEXT = (
    *(Decimal, Fraction, uuid.UUID),
    *(IPv4Address, IPv6Address, IPv4Network, IPv6Network, IPv4Interface, IPv6Interface),
)

MAX_INTEGER = 1785
"""Bytes of the largest integers: Python writes no more than 4,300 digits, in JSON neither."""

KINDS: dict[type, Callable[[Any], Any]] = {}
"""What the values of a kind become that a format's library has; each format adds its own."""


def clean(text: str) -> str:
    """`text` with what UTF-8 cannot hold escaped: half a surrogate pair becomes `\\ud800`."""
    return text.encode(errors="backslashreplace").decode()


def plain(value: Any) -> Any:
    """`value` made of dicts, lists, texts, numbers, booleans and None; itself where it is already.

    | kind | becomes |
    |---|---|
    | bytes | base64 text |
    | datetime, date, time | ISO 8601 text, UTC as `Z` |
    | timedelta | seconds, as a number |
    | Decimal, Fraction, UUID, IP address or network | text |
    | enum | its value |
    | set | list, in an order that depends only on what is in it |
    | tuple and other sequences, NumPy arrays | list |
    | mappings, dataclasses, pydantic models | dict |
    | key that is no text | what its value becomes, as text |

    Integers of any size, NaN and the infinities stay what they are.

    Raises:
        CannotDecodeError: a value of another kind, or two keys of a dict that become the same text.
        RecursionError: it is nested too deep, or holds itself.
    """
    kind = type(value)
    if kind in _SCALARS:
        return value
    if kind is dict:
        if _TEXT.issuperset(map(type, value)):
            if _SCALARS.issuperset(map(type, value.values())):
                return value
            return {
                key: inner if type(inner) in _SCALARS else plain(inner)
                for key, inner in value.items()
            }
        return _with_text_keys(value)
    if kind is list:
        return value if _SCALARS.issuperset(map(type, value)) else [plain(each) for each in value]
    return _converted(value)


def _with_text_keys(value: Mapping[Any, Any]) -> dict[str, Any]:
    made = {key_of(key): plain(inner) for key, inner in value.items()}
    if len(made) < len(value):
        raise CannotDecodeError("two keys of an object are the same as text")
    return made


def key_of(key: Any) -> str:
    """The text that the key of a dict becomes."""
    if type(key) is str:
        return key
    found = plain(key)
    return found if type(found) is str else json.dumps(found)


def _converted(value: Any) -> Any:
    if type(value) in KINDS:
        return KINDS[type(value)](value)
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, str | int | float):  # subclasses
        return next(kind(value) for kind in (str, int, float) if isinstance(value, kind))
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime | date | time):
        return iso(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, _AS_TEXT):
        return str(value)
    if isinstance(value, BaseModel):
        return plain(value.model_dump())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = (field.name for field in dataclasses.fields(value))
        return {name: plain(getattr(value, name)) for name in names}
    if isinstance(value, Mapping):
        return _with_text_keys(value)
    if isinstance(value, Set):
        return sorted(map(plain, value), key=lambda each: (type(each).__name__, repr(each)))
    to_list = getattr(value, "tolist", None)  # NumPy's arrays and numbers
    if to_list is not None:
        return plain(to_list())
    if isinstance(value, Iterable):
        return [plain(each) for each in value]
    raise CannotDecodeError(f"a {type(value).__qualname__} is no value that a column can hold")


def iso(value: datetime | date | time) -> str:
    """`value` as ISO 8601 text, with `Z` for UTC."""
    text = value.isoformat()
    return text.removesuffix("+00:00") + "Z" if text.endswith("+00:00") else text


def escaped(value: Any) -> Any:
    """A plain value without texts that UTF-8 cannot hold."""
    if type(value) is str:
        return value if value.isascii() else clean(value)
    if type(value) is list:
        return [escaped(each) for each in value]
    if type(value) is dict:
        return {escaped(key): escaped(inner) for key, inner in value.items()}
    return value


def same(one: Any, other: Any) -> bool:
    """Whether two plain values are equal, kinds included; NaN is equal to NaN."""
    kind = type(one)
    if kind is not type(other):
        return False
    if kind is dict:
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if kind is list:
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other or (one != one and other != other))


def difference(found: Any, wanted: Any, where: str = "") -> str:
    """Where two plain values that are not the same differ first, and what is found there."""
    if type(found) is type(wanted) is dict and found.keys() == wanted.keys():
        name = next(name for name in found if not same(found[name], wanted[name]))
        return difference(found[name], wanted[name], f"{where}.{name}".lstrip("."))
    return f"{where or 'it'} as {json.dumps(found, ensure_ascii=False)[:80]}"


def restored(true: Any, edited: Any) -> Any:
    """`edited`, an edited `plain(true)`, with the kinds of `true` where JSON lacks them.

    Raises:
        ValueError: text that stands for a value of a kind which JSON lacks was edited to what is
            none.
    """
    shown = plain(true)
    if same(shown, edited):
        return true
    if isinstance(true, Mapping) and type(edited) is dict:
        keys = {key_of(key): key for key in true}
        return {
            keys.get(name, name): restored(true[keys[name]], inner) if name in keys else inner
            for name, inner in edited.items()
        }
    if type(true) in (list, tuple) and type(edited) is list:
        return [_restored_item(true, index, each) for index, each in enumerate(edited)]
    if type(true) in (*_SCALARS, list, tuple) or isinstance(true, Mapping):
        return edited
    return of_kind(true, edited)


def _restored_item(true: list[Any] | tuple[Any, ...], index: int, edited: Any) -> Any:
    if index < len(true) and same(plain(true[index]), edited):
        return true[index]
    for each in true:  # an item was put in or taken out before it
        if same(plain(each), edited):
            return each
    return restored(true[index], edited) if index < len(true) else edited


def of_kind(true: Any, text: Any) -> Any:
    """What `text` says, as a value of the same kind as `true`."""
    kind = type(true)
    try:
        if kind is bytes:
            return base64.b64decode(text, validate=True)
        if kind in (datetime, date, time):
            return kind.fromisoformat(text)
        if kind in _AS_TEXT:
            return kind(text)
    except (ValueError, TypeError, ArithmeticError) as error:
        raise ValueError(f"what it was edited to is no {kind.__name__}: {error}") from error
    raise ValueError(f"a {kind.__name__} can only be left as it is")
