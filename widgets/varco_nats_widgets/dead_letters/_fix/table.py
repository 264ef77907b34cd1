"""The difference that a fix makes, summed up over many entries. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from uuid import UUID

import pandas as pd

from varco_nats_widgets.dead_letters._edit import PayloadEdit
from varco_nats_widgets.dead_letters._fix.entry import Fixed

_COLUMNS = ["entries", "refused", "why", "example"]


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
        frame = pd.DataFrame(values, index=index, columns=_COLUMNS)
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
