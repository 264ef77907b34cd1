"""Keeps masked values where they are while the rest of an event changes. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from varco_nats._masks._unmask import IS_MASK
from varco_nats_widgets.dead_letters._fix.path import within
from varco_nats_widgets.dead_letters._fix.steps import CannotFixError


class _MaskText(str):
    """A mask at its place: another one is not the same, also where it looks the same."""

    __slots__ = ()


def marked(shown: Any, true: Any) -> Any:
    """What is shown, where each mask knows its place by being an object of its own."""
    if isinstance(shown, dict) and isinstance(true, dict):
        return {name: marked(inner, true[name]) for name, inner in shown.items()}
    if isinstance(shown, (list, tuple)) and isinstance(true, (list, tuple)):
        return [marked(*pair) for pair in zip(shown, true, strict=True)]
    return _MaskText(shown) if type(shown) is str and shown != true else shown


def unmasked(now: Any, shown: Any, true: Any, where: str = "") -> Any:
    """What is there now, with the true values where masks stand, which are where they were.

    Args:
        now: an event, or a value in one.
        shown: what it was before, as `marked` gives it.
        true: what that is.
        where: the field that has it.

    Raises:
        CannotFixError: a mask was changed, moved, removed or copied; says which.
    """
    if isinstance(shown, _MaskText):
        if now is not shown:
            raise _disturbed(where)
        return true
    if isinstance(now, str) and now != shown and IS_MASK.search(now):
        raise _disturbed(where)
    after, before, values = _members(now), _members(shown), _members(true)
    is_whole = isinstance(now, dict) or len(after) == len(before)
    for key, inner in before.items():
        if key not in after or not is_whole:
            unmasked(None, inner, values[key], within(where, key))  # it has no mask
    members = {
        key: unmasked(inner, before.get(key), values.get(key), within(where, key))
        for key, inner in after.items()
    }
    if isinstance(now, dict):
        return members
    return [*members.values()] if isinstance(now, list) else now


def _members(value: Any) -> Mapping[Any, Any]:
    """What is in an object, by name, or in a list, by position; nothing is in another value."""
    if isinstance(value, dict):
        return value
    return dict(enumerate(value)) if isinstance(value, (list, tuple)) else {}


def _disturbed(field: str) -> CannotFixError:
    return CannotFixError(
        f"{field} has a value that is masked here, which a fix neither reads nor changes",
        field,
        "",
    )
