"""What a mask hid: put back into an edited payload, or taken out of a text that quotes it. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from varco_nats.errors import VarcoNatsError

BLANK = "***"
"""What stands for a masked value without a key."""
PSEUDONYM = "masked-"
"""What stands for one with a key begins so; 16 hexadecimal digits follow."""

IS_MASK = re.compile(rf"{re.escape(BLANK)}|{PSEUDONYM}[0-9a-f]{{16}}")
"""Matches what stands for a masked value."""
_PART = 6  # so many characters of a value in a row are hidden: errors quote parts of values as well
_MAX_VALUE = 10_000  # characters of a value that are looked for in a text


class MaskedValueError(VarcoNatsError, ValueError):
    """An edited payload has a mask of which it is not known what it stands for.

    Attributes:
        field: where in the payload.
    """

    def __init__(self, field: str, mask: str) -> None:
        self.field = field
        super().__init__(
            f"{field}: {mask!r} stands for a masked value, and which it was here is not known; "
            "leave what is masked where it was, or write the value itself"
        )


def hidden(shown: Any, true: Any) -> Iterator[tuple[str, Any]]:
    """The masks in what is shown of a payload or of headers, each with the value behind it."""
    if isinstance(shown, dict) and isinstance(true, dict):
        for name, inner in shown.items():
            yield from hidden(inner, true[name])
    elif isinstance(shown, (list, tuple)) and isinstance(true, (list, tuple)):
        for pair in zip(shown, true, strict=True):
            yield from hidden(*pair)
    elif type(shown) is str and shown != true:
        yield shown, true


def restored(edited: Any, shown: Any, true: Any, known: Iterable[tuple[str, Any]] = ()) -> Any:
    """The payload that was edited as it was shown, with the true values where it still has masks.

    A pseudonym says by itself what it stands for. Blanks are alike: one is the value at the same
    place, and in a list, whose elements may have moved, only where it is certain which that is.

    Args:
        known: more pseudonyms, with the values that they stand for.

    Raises:
        MaskedValueError: a mask of which it is not known what it stands for.
    """
    found = [*known, *hidden(shown, true)]
    meant = {mask: value for mask, value in found if mask != BLANK}
    return _Restoring(meant).at(edited, shown, true, "")


class _Restoring:
    def __init__(self, meant: dict[str, Any]) -> None:
        self._meant = meant

    def at(self, edited: Any, shown: Any, true: Any, where: str) -> Any:
        """What was edited at a place, of which it is known what was shown there."""
        if isinstance(edited, dict) and isinstance(shown, dict) and isinstance(true, dict):
            return {
                name: self.at(inner, shown[name], true[name], _within(where, name))
                if name in shown
                else self._elsewhere(inner, _within(where, name))
                for name, inner in edited.items()
            }
        if isinstance(edited, list) and isinstance(shown, (list, tuple)):
            return self._elements(edited, shown, true, where)
        if type(edited) is str and edited == shown:
            return true
        return self._elsewhere(edited, where)

    def _elements(
        self, edited: list[Any], shown: Sequence[Any], true: Sequence[Any], where: str
    ) -> list[Any]:
        before, now = [_text(element) for element in shown], [_text(element) for element in edited]
        stay = len(now) == len(before) and _all_stay(edited, shown, true, before, now)
        made = []
        for index, element in enumerate(edited):
            place = f"{where}[{index}]"
            same = [true[i] for i, text in enumerate(before) if text == now[index]]
            if stay:
                made.append(self.at(element, shown[index], true[index], place))
            elif len(set(map(_text, same))) == 1:
                made.append(same[0])
            else:
                made.append(self._elsewhere(element, place))
        return made

    def _elsewhere(self, value: Any, where: str) -> Any:
        """What was edited where nothing was shown before, or where it is not known what."""
        if isinstance(value, dict):
            return {n: self._elsewhere(inner, _within(where, n)) for n, inner in value.items()}
        if isinstance(value, list):
            return [self._elsewhere(inner, f"{where}[{i}]") for i, inner in enumerate(value)]
        if type(value) is not str:
            return value
        if value in self._meant:
            return self._meant[value]
        if IS_MASK.fullmatch(value):
            raise MaskedValueError(where, value)
        return value


def _all_stay(
    edited: Sequence[Any],
    shown: Sequence[Any],
    true: Sequence[Any],
    before: Sequence[str],
    now: Sequence[str],
) -> bool:
    """Whether each element of a list is certainly the one that was at its place."""
    changed = [index for index in range(len(now)) if now[index] != before[index]]
    if any(now[index] in before for index in changed):
        return False
    return len(changed) < 2 or all(_keeps(edited[i], shown[i], true[i]) for i in changed)


def _keeps(edited: Any, shown: Any, true: Any) -> bool:
    """Whether all masks that were shown are there still."""
    if isinstance(shown, dict) and isinstance(true, dict):
        return isinstance(edited, dict) and all(
            name in edited and _keeps(edited[name], inner, true[name])
            for name, inner in shown.items()
            if any(hidden(inner, true[name]))
        )
    if isinstance(shown, (list, tuple)) and isinstance(true, (list, tuple)):
        return (
            isinstance(edited, list)
            and len(edited) == len(shown)
            and all(map(_keeps, edited, shown, true))
        )
    return bool(shown == true or edited == shown)


def without(text: str, masks: Iterable[tuple[str, Any]]) -> str:
    """`text` with the mask wherever a value stands that it hides, or six characters of one.

    Args:
        masks: as `hidden` gives them. Of those of booleans nothing is changed.
    """
    parts: dict[str, str] = {}
    for mask, value in masks:
        for form in _written(value):
            if len(form) < _PART:
                word = rf"(?<!\w){re.escape(form)}(?!\w)"
                text = re.sub(word, lambda _, mask=mask: mask, text, flags=re.IGNORECASE)  # type: ignore[misc]
                continue
            low = _lower(form[:_MAX_VALUE])
            parts |= {low[i : i + _PART]: mask for i in range(len(low) - _PART + 1)}
    return _without_parts(text, parts) if parts else text


def _without_parts(text: str, parts: dict[str, str]) -> str:
    low, made, end = _lower(text), [], 0
    start, mask = -1, ""
    for place in range(len(low) - _PART + 1):
        found = parts.get(low[place : place + _PART])
        if start >= 0 and place > end:  # what was found before ends before this
            made.append((start, end, mask))
            start = -1
        if found is not None:
            if start < 0:
                start, mask = place, found
            end = place + _PART
    if start >= 0:
        made.append((start, end, mask))
    for first, last, instead in reversed(made):
        text = text[:first] + instead + text[last:]
    return text


def _written(value: Any) -> set[str]:
    """How the values in `value` may stand in a text."""
    if isinstance(value, dict):
        return set().union(*map(_written, value.values()))
    if isinstance(value, (list, tuple)):
        return set().union(*map(_written, value))
    if value is None or isinstance(value, bool):
        return set()
    if isinstance(value, bytes):
        return {repr(value)[2:-1], value.hex(), value.decode(errors="replace")} - {""}
    if isinstance(value, (int, float)):
        return {str(value), f"{value:,}"}
    text = str(value)
    quoted = repr(text)[1:-1]
    forms = {text, quoted, quoted.replace("'", "\\'"), json.dumps(text)[1:-1]}
    return (forms | {json.dumps(text, ensure_ascii=False)[1:-1]}) - {""}


def _lower(text: str) -> str:
    """In small letters, where none of them is longer than the capital."""
    low = text.lower()
    return low if len(low) == len(text) else text


def _text(value: Any) -> str:
    try:
        return json.dumps(value, sort_keys=True, default=repr)
    except (TypeError, ValueError, RecursionError):
        return repr(value)


def _within(where: str, name: object) -> str:
    return f"{where}.{name}" if where else str(name)
