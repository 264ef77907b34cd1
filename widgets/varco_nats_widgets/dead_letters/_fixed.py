"""What a fix makes of entries: the edit of each, and the difference over all as a table. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import UUID

import pandas as pd

from varco_nats._masks._unmask import IS_MASK
from varco_nats.dlq._codec import StoredEntry
from varco_nats_widgets.dead_letters._edit import (
    InvalidPayloadError,
    PayloadEdit,
    edited_event,
    true_event,
)
from varco_nats_widgets.dead_letters._fix import CannotFixError, FixStep, copied, json_text
from varco_nats_widgets.dead_letters._index.filter import event_message
from varco_nats_widgets.frames._condition_parser import quoted_name
from varco_nats_widgets.frames._decoding import Decoding

MISSING = "(missing)"
"""Stands in a difference where there is no value."""
NOT_DONE = "(not done)"
"""Stands after what a step cannot be done with."""
PYTHON = "(Python)"
"""Stands for the field where lines of Python raise."""

MAX_FIELDS = 500
MAX_VALUES = 1000
"""Different values that are counted in one field."""
_LONGEST = 120  # characters of a value that is counted
_KINDS = {str: "text", bool: "boolean", int: "integer", type(None): "null", dict: "object"}
_COLUMNS = ("entries", "refused", "why", "example")
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


# Masks


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


def unmasked(now: dict[str, Any], shown: dict[str, Any], true: dict[str, Any]) -> dict[str, Any]:
    """The event with the true values where masks stand, which are where they were.

    Raises:
        CannotFixError: a mask was changed, moved, removed or copied; says which.
    """
    field = _disturbed(now, shown, "") or _stray(now, shown, "")
    if field:
        raise CannotFixError(
            f"{field} has a value that is masked here, which a fix neither reads nor changes",
            field,
            "",
        )
    result: dict[str, Any] = _overlaid(now, shown, true)
    return result


def _disturbed(now: Any, shown: Any, where: str) -> str:
    """The first field whose mask is no longer what and where it was; "" if none is."""
    if isinstance(shown, _MaskText):
        return "" if now is shown else where
    if isinstance(shown, dict):
        pairs: Iterable[tuple[Any, Any]] = shown.items()
        there = isinstance(now, dict)
    elif isinstance(shown, list):
        pairs = enumerate(shown)
        there = isinstance(now, list) and len(now) == len(shown)
    else:
        return ""
    for key, inner in pairs:
        is_there = there and (isinstance(now, list) or key in now)
        if found := _disturbed(now[key] if is_there else None, inner, _within(where, key)):
            return found
    return ""


def _stray(now: Any, shown: Any, where: str) -> str:
    """The first field with a mask in it that was not there; "" if there is none."""
    if isinstance(now, dict):
        inside: Iterable[tuple[Any, Any]] = now.items()
        before = shown if isinstance(shown, dict) else {}
    elif isinstance(now, list):
        inside = enumerate(now)
        before = dict(enumerate(shown)) if isinstance(shown, list) else {}
    else:
        return where if isinstance(now, str) and now != shown and IS_MASK.search(now) else ""
    found = (_stray(inner, before.get(key), _within(where, key)) for key, inner in inside)
    return next(filter(None, found), "")


def _overlaid(now: Any, shown: Any, true: Any) -> Any:
    """The true value wherever a mask is, which is where it was."""
    if isinstance(shown, _MaskText):
        return true
    if isinstance(now, dict) and isinstance(shown, dict):
        return {
            name: _overlaid(inner, shown[name], true[name]) if name in shown else inner
            for name, inner in now.items()
        }
    if isinstance(now, list) and isinstance(shown, list) and len(now) == len(shown):
        return [_overlaid(*three) for three in zip(now, shown, true, strict=True)]
    return now


# Differences


def differences(before: Any, after: Any, where: str = "") -> Iterator[tuple[str, str, str]]:
    """The fields that differ, each once, with their values as JSON."""
    seen: dict[tuple[str, str, str], None] = {}
    for place, old, new in _differences(before, after, where):
        change = (place, _value_text(old), _value_text(new))
        if change not in seen:
            seen[change] = None
            yield change


def _differences(before: Any, after: Any, where: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(before, dict) and isinstance(after, dict):
        for name, old in before.items():
            if (new := after.get(name, _ABSENT)) is not old:  # as what is copied and not changed is
                yield from _differences(old, new, _within(where, name))
        for name, new in after.items():
            if name not in before:
                yield _within(where, name), _ABSENT, new
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for old, new in zip(before, after, strict=True):
            yield from _differences(old, new, f"{where}[]")
    elif not _same(before, after):
        yield where, before, after


def _same(before: Any, after: Any) -> bool:
    if before is after:
        return True
    if isinstance(before, float) and isinstance(after, float):
        if type(before) is type(after) is not float:
            return json_text(before, None) == json_text(after, None)
        return float.__repr__(before) == float.__repr__(after)
    return type(before) is type(after) and bool(before == after)


def _value_text(value: Any) -> str:
    return MISSING if value is _ABSENT else json_text(value)


def _within(where: str, key: Any) -> str:
    if isinstance(key, int):
        return f"{where}[{key}]"
    name = quoted_name(key) or key
    return f"{where}.{name}" if where else name


@dataclass(slots=True)
class _Row:
    entries: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    example: str = ""


class FixTable:
    """Counts what a fix does to many entries; no entry is kept but for its edit."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str, str], _Row] = {}
        self._missing: Counter[str] = Counter()
        self._counts = Counter(changed=0, unchanged=0, refused=0, unreadable=0, unchecked=0)
        self.edits: dict[UUID, PayloadEdit] = {}
        """Of the entries that change."""

    def add(self, entry: Fixed) -> None:
        """Count one entry."""
        self._missing.update(set(entry.missing))
        state = "unchanged"
        if not entry.is_event:
            state = "unreadable"
        elif entry.why:
            state = "refused"
        elif entry.edit is not None:
            state = "changed"
            self.edits[entry.entry_id] = entry.edit
            self._counts["unchecked"] += entry.edit.checked_by is None
        self._counts[state] += 1
        for change in entry.changes:
            row = self._rows.setdefault(change, _Row())
            row.entries += 1
            if not row.example or (entry.why and not row.reasons):
                row.example = str(entry.entry_id)
            if entry.why:
                row.reasons[entry.why] += 1

    def frame(self, entries: int) -> pd.DataFrame:
        """The difference, what changes in most entries first; see `DeadLetters.fix`.

        Args:
            entries: how many were asked for.
        """
        rows = sorted(self._rows.items(), key=lambda each: -each[1].entries)
        levels = [[change[level] for change, _ in rows] for level in range(3)]
        index = pd.MultiIndex.from_arrays(levels, names=["field", "before", "after"])
        values = [
            (row.entries, row.reasons.total(), _reasons(row.reasons), row.example)
            for _, row in rows
        ]
        frame = pd.DataFrame(values, index=index, columns=list(_COLUMNS))
        frame.attrs |= {"entries": entries, **self._counts}
        frame.attrs["gone"] = entries - sum(
            self._counts[state] for state in ("changed", "unchanged", "refused", "unreadable")
        )
        frame.attrs["no_such_field"] = dict(self._missing)
        return frame


def _reasons(reasons: Counter[str]) -> str:
    if not reasons:
        return ""
    [(first, _)] = reasons.most_common(1)
    more = len(reasons) - 1
    return first + (f"; and {more:,} other reason{'s' * (more > 1)}" if more else "")


# The fields that entries have


class FieldCounts:
    """Counts the fields of many events, and their values."""

    def __init__(self) -> None:
        self._entries: Counter[str] = Counter()
        self._kinds: dict[str, Counter[str]] = {}
        self._values: dict[str, Counter[str]] = {}

    def add(self, event: Mapping[str, Any]) -> None:
        """Count one event."""
        seen = set[str]()
        for name, value in _leaves(event, ""):
            if name not in self._kinds:
                if len(self._kinds) >= MAX_FIELDS:
                    continue
                self._kinds[name], self._values[name] = Counter(), Counter()
            if name not in seen:
                seen.add(name)
                self._entries[name] += 1
            self._kinds[name][_kind(value)] += 1
            if isinstance(value, (dict, list)):
                continue
            text, values = json_text(value, None), self._values[name]
            if len(text) <= _LONGEST and (text in values or len(values) < MAX_VALUES):
                values[text] += 1

    def frame(self) -> pd.DataFrame:
        """The fields, the most frequent first; see `DeadLetters.fields`."""
        names = [name for name, _ in self._entries.most_common()]
        columns: dict[str, Sequence[Any]] = {
            "entries": [self._entries[name] for name in names],
            "kinds": [", ".join(kind for kind, _ in self._kinds[n].most_common()) for n in names],
            "values": [dict(self._values[name].most_common()) for name in names],
        }
        return pd.DataFrame(columns, index=pd.Index(names, name="field", dtype="str"))


def _leaves(value: Any, where: str) -> Iterator[tuple[str, Any]]:
    """Each field and what it has; of objects and lists themselves, and then what is in them."""
    if where:
        yield where, value
    if isinstance(value, dict):
        for name, inner in value.items():
            if quoted_name(name):
                yield from _leaves(inner, _within(where, name))
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner, f"{where}[]")


def _kind(value: Any) -> str:
    return _KINDS.get(type(value), "number" if isinstance(value, float) else "list")
