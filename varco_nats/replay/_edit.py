"""Changes fields of a JSON payload and nothing else. Pure.

Python reads `0.10` and writes `0.1`; here a number that was not changed keeps its original text.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any


class Literal(float):
    """A number that Python would write differently from its original text."""

    __slots__ = ("text",)

    text: str
    """The original text."""

    def __new__(cls, text: str) -> Literal:
        number = super().__new__(cls, text)
        number.text = text
        return number

    def __getnewargs__(self) -> tuple[str]:  # type: ignore[override]
        return (self.text,)


def json_object(payload: bytes) -> dict[str, Any] | None:
    """The JSON object in `payload`, None if it is something else; `rewritten` keeps its numbers."""
    try:
        value = json.loads(payload, parse_float=_number, parse_constant=Literal)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def rewritten(before: bytes, after: dict[str, Any]) -> bytes:
    """The payload with the fields of `after`; `before` itself if they are the same.

    Raises:
        ValueError, TypeError, RecursionError: `after` cannot be written as JSON, or `before` has
            a key twice in one object, which no dict can hold.
    """
    origin = json_object(before)
    text = written(_kept(after, origin))
    if origin is not None:
        if text == written(origin):
            return before
        json.loads(before, object_pairs_hook=_refuse_repeated)
    return text.encode(errors="backslashreplace")  # as JSON escapes a lone surrogate


def _number(text: str) -> float:
    number = float(text)
    return number if repr(number) == text else Literal(text)


def _kept(after: Any, before: Any) -> Any:
    """`after`, with the numbers that did not change as they were written in `before`."""
    if isinstance(before, Literal):
        unchanged = type(after) is float and repr(after) == float.__repr__(before)
        return before if unchanged else after
    if isinstance(after, dict) and isinstance(before, dict):
        return {key: _kept(value, before.get(key)) for key, value in after.items()}
    if isinstance(after, list) and isinstance(before, list):
        same = [_kept(*pair) for pair in zip(after, before, strict=False)]
        return same + after[len(same) :]
    return after


def written(value: Any) -> str:
    """`value` as `json.dumps` writes it, except for numbers with a text of their own."""
    if isinstance(value, Literal):
        return value.text
    if not _has_literal(value):  # the usual case, ten times as fast
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    if isinstance(value, dict):
        fields = (f"{_key(key)}: {written(field)}" for key, field in value.items())
        return f"{{{', '.join(fields)}}}"
    return f"[{', '.join(map(written, value))}]"


def _has_literal(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_literal, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_has_literal, value))
    return isinstance(value, Literal)


def _key(key: Any) -> str:
    return json.dumps({key: 0}, ensure_ascii=False)[1:-4]


def _refuse_repeated(pairs: list[tuple[str, Any]]) -> None:
    for key, count in Counter(key for key, _ in pairs).items():
        if count > 1:
            raise ValueError(f"it has the key {key!r} twice, and a dict can hold only one")
