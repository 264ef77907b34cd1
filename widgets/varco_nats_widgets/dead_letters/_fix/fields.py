"""The fields that events have, and their values: what there is to fix. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from varco_nats_widgets.dead_letters._fix.path import fields_in
from varco_nats_widgets.dead_letters._fix.values import json_text

MAX_FIELDS = 500
MAX_VALUES = 1000
"""Different values that are counted in one field."""
_LONGEST = 120  # characters of a value that is counted
_KINDS = {
    str: "text",
    bool: "boolean",
    int: "integer",
    type(None): "null",
    dict: "object",
    list: "list",
}


@dataclass(slots=True)
class _Field:
    entries: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    values: Counter[str] = field(default_factory=Counter)


class FieldCounts:
    """Counts the fields of many events, and their values."""

    def __init__(self) -> None:
        self._fields: dict[str, _Field] = {}

    def add(self, event: Mapping[str, Any]) -> None:
        """Count one event."""
        seen = set[str]()
        for name, value in fields_in(event):
            if name not in self._fields:
                if len(self._fields) >= MAX_FIELDS:
                    continue
                self._fields[name] = _Field()
            counted = self._fields[name]
            counted.entries += name not in seen
            seen.add(name)
            counted.kinds[_KINDS.get(type(value), "number")] += 1
            if isinstance(value, (dict, list)):
                continue
            text, values = json_text(value, None), counted.values
            if len(text) <= _LONGEST and (text in values or len(values) < MAX_VALUES):
                values[text] += 1

    def frame(self) -> pd.DataFrame:
        """The fields, the most frequent first; see `DeadLetters.fields`."""
        fields = dict(sorted(self._fields.items(), key=lambda each: -each[1].entries))
        columns = {
            "entries": [each.entries for each in fields.values()],
            "kinds": [", ".join(dict(each.kinds.most_common())) for each in fields.values()],
            "values": [dict(each.values.most_common()) for each in fields.values()],
        }
        return pd.DataFrame(columns, index=pd.Index([*fields], name="field", dtype="str"))
