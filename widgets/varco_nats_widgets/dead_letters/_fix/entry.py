"""What the steps of a fix make of one entry: its edit, and the fields that differ. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import UUID

from varco_nats.dlq._codec import StoredEntry
from varco_nats.replay._edit import Literal
from varco_nats_widgets.dead_letters._edit import (
    InvalidPayloadError,
    PayloadEdit,
    edited_event,
    true_event,
)
from varco_nats_widgets.dead_letters._fix.masks import marked, unmasked
from varco_nats_widgets.dead_letters._fix.path import within
from varco_nats_widgets.dead_letters._fix.steps import CannotFixError, FixStep
from varco_nats_widgets.dead_letters._fix.values import copied, json_text
from varco_nats_widgets.dead_letters._index.filter import event_message
from varco_nats_widgets.frames._decoding import Decoding

MISSING = "(missing)"
"""Stands in a difference where there is no value."""
NOT_DONE = "(not done)"
"""Stands after what a step cannot be done with."""
PYTHON = "(Python)"
"""Stands for the field where lines of Python raise."""

_ABSENT: Any = object()


class Fixed(NamedTuple):
    """What the steps make of one entry."""

    entry_id: UUID
    changes: tuple[tuple[str, str, str], ...] = ()
    """The fields that differ, with their values before and after as JSON."""
    why: str = ""
    """Why it is refused, so that it has no edit; "" if it is not."""
    missing: tuple[str, ...] = ()
    """The fields of steps that it does not have."""
    edit: PayloadEdit | None = None
    """None where it does not change, or is refused."""
    is_event: bool = True
    """Whether it has an object to change."""


def shown_event(
    stored: StoredEntry, decoding: Decoding, last: PayloadEdit | None
) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """An entry's event as it is shown and as it is, with its last edit; None if it is no object.

    Args:
        stored: the entry as it is stored.
    """
    true = true_event(stored, decoding, None if last is None else last.data)
    if true is None:
        return None
    return (true if decoding.mask is None else decoding.mask.fields(true)), true


def fixed(
    stored: StoredEntry, decoding: Decoding, last: PayloadEdit | None, steps: Iterable[FixStep]
) -> Fixed:
    """What the steps make of an entry, on top of its last edit.

    The steps see what is shown: a masked value is a mask for them, which has to stay where it is.

    Args:
        stored: the entry as it is stored.
        decoding: how the messages of channels are read, under the names of these.
    """
    entry_id = stored.entry.entry_id
    events = shown_event(stored, decoding, last)
    if events is None:
        return Fixed(entry_id, is_event=False)
    shown, true = events
    if shown is not true:
        shown = marked(shown, true)
    event = copied(shown)
    headers = MappingProxyType(decoding.headers(event_message(stored).headers) or {})
    missing: list[str] = []
    try:
        for step in steps:
            if not step.apply(event, headers):
                missing.append(step.field)
        changes = tuple(differences(shown, event))
        if shown is not true:
            event = unmasked(event, shown, true)
    except CannotFixError as error:
        before = json_text(error.value) if error.field else ""
        change = (error.field or PYTHON, before, NOT_DONE)
        return Fixed(entry_id, (change,), str(error), tuple(missing))
    except RecursionError:
        return Fixed(entry_id, ((PYTHON, "", NOT_DONE),), "nested too deep", tuple(missing))
    if not changes:
        return Fixed(entry_id, missing=tuple(missing))
    try:
        edit = edited_event(stored, event, decoding, None if last is None else last.data)
    except InvalidPayloadError as error:
        return Fixed(entry_id, changes, "; ".join(error.problems), tuple(missing))
    return Fixed(entry_id, changes, "", tuple(missing), edit)


def differences(before: Any, after: Any) -> Iterator[tuple[str, str, str]]:
    """The fields that differ, each once, with their values as JSON."""
    seen: dict[tuple[str, str, str], None] = {}
    for place, old, new in _differences(before, after, ""):
        change = (place, _value_text(old), _value_text(new))
        if change not in seen:
            seen[change] = None
            yield change


def _differences(before: Any, after: Any, where: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(before, dict) and isinstance(after, dict):
        for name, old in before.items():
            if (new := after.get(name, _ABSENT)) is not old:  # as what is copied and not changed is
                yield from _differences(old, new, within(where, name))
        for name, new in after.items():
            if name not in before:
                yield within(where, name), _ABSENT, new
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for old, new in zip(before, after, strict=True):
            yield from _differences(old, new, f"{where}[]")
    elif not _same(before, after):
        yield where, before, after


def _same(before: Any, after: Any) -> bool:
    if isinstance(before, Literal) and isinstance(after, Literal):
        return before.text == after.text
    if isinstance(before, float) and isinstance(after, float):
        return float.__repr__(before) == float.__repr__(after)
    return type(before) is type(after) and bool(before == after)


def _value_text(value: Any) -> str:
    return MISSING if value is _ABSENT else json_text(value)
