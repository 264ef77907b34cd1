"""The controls of "Fix many" that say what one step of a fix does."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import ipywidgets

from varco_nats_widgets._ui.controls import close_all, dropdown, row, scaled, text_field
from varco_nats_widgets.dead_letters._fix.steps import StepOptions
from varco_nats_widgets.dead_letters._fix.values import CONVERSIONS
from varco_nats_widgets.frames._cells import clean

_ACTIONS = (
    ("map values", "map"),
    ("set to", "set"),
    ("convert to", "convert"),
    ("rename to", "rename"),
    ("remove", "remove"),
    ("absolute value", "absolute"),
    ("lines of Python", "python"),
)
_VALUES = 24  # of a field that have an input each
_OTHER = "\0"  # the choice of a field that no entry has


class StepEditor:
    """Choose a field, what is done with it, and what is needed for that.

    Args:
        on_change: called with what the user chose for the field or the action.
    """

    def __init__(self, on_change: Callable[[Any], object]) -> None:
        self._fields: Mapping[str, Any] = {}  # as they are drawn
        self._inputs: dict[str, Any] = {}  # of the values of the field, by these as JSON
        self._inputs_of: object = None
        self.field = dropdown("Field", [("choose entries first", "")], "330px", "52px")
        self.name = text_field("Name", "a field, such as customer.name", "270px", "40px")
        self.action = dropdown("Change", _ACTIONS, "220px", "56px")
        self.value = text_field("Value", "", "260px", "40px")
        self.kind = dropdown("Kind", [*CONVERSIONS], "160px", "40px")
        self.python = ipywidgets.Textarea(
            description="Python",
            placeholder="event['total'] = abs(event['total'])",
            continuous_update=False,
            layout=ipywidgets.Layout(width="auto", flex="1 1 420px", height=scaled("64px")),
            style={"description_width": scaled("52px")},
        )
        self.python.tooltip = (
            "Runs in this kernel with your own rights, once for each entry; it has event, headers, "
            "datetime, Decimal and re"
        )
        self.python.add_class("varco-editor")
        self.others = text_field("Others", "greece=GR, spain=ES", "auto", "82px", flex="1 1 270px")
        self.values = row()
        chosen = row(self.field, self.name, self.action, self.value, self.kind, self.python)
        self.rows = (chosen, self.values)
        for control in (self.field, self.action):
            control.observe(on_change, "value")

    @property
    def _chosen(self) -> str:
        """The field that is chosen or typed."""
        chosen: str = self.name.value.strip() if self._is_other else self.field.value
        return chosen

    @property
    def _is_other(self) -> bool:
        return bool(self.field.value == _OTHER)

    @property
    def asks_for_value(self) -> bool:
        """Whether something has to be typed for what is chosen to be done."""
        return self.action.value not in ("convert", "remove", "absolute")

    def step(self) -> StepOptions | None:
        """The step that the controls describe; None where its value is not typed.

        Raises:
            ValueError: what is typed cannot be read, or no field is chosen.
        """
        action, name = self.action.value, self._chosen
        is_text = self._kinds(name) == {"text"}
        text = self.value.value.strip()
        step: StepOptions | None
        if action == "python":
            return {"python": self.python.value} if self.python.value.strip() else None
        if action == "map":
            table = {
                json.loads(value): typed_value(control.value, is_text=is_text)
                for value, control in self._inputs.items()
                if control.value.strip()
            } | typed_pairs(self.others.value, is_text=is_text)
            step = {"map": {name: table}} if table else None
        elif action == "set":
            step = {"set": {name: typed_value(text, is_text=is_text)}} if text else None
        elif action == "rename":
            step = {"rename": {name: text}} if text else None
        elif action == "convert":
            step = {"convert": {name: self.kind.value}}
        else:
            step = {"remove": name} if action == "remove" else {"absolute": name}
        if step is not None and not name:
            raise ValueError("choose a field first")
        return step

    def clear(self) -> None:
        """Empty what a value was typed in."""
        for control in (self.value, self.python, self.others, *self._inputs.values()):
            control.value = ""

    def _kinds(self, name: str) -> set[str]:
        field = self._fields.get(name)
        return set() if field is None else {*field.kinds.split(", ")} - {"null"}

    def draw(self, fields: Mapping[str, Any]) -> None:
        """Offer these fields, and show the controls that go with what is chosen.

        Args:
            fields: rows of `DeadLetters.fields`, by name.
        """
        self._fields, action = fields, self.action.value
        options = [("choose …", "")]
        options += [(f"{clean(name)} ({field.entries:,})", name) for name, field in fields.items()]
        options.append(("another field …", _OTHER))
        if tuple(options) != tuple(self.field.options):
            before = self.field.value
            self.field.options = options
            if before in (value for _, value in options):
                self.field.value = before
        is_python = action == "python"
        shown = {
            self.field: not is_python,
            self.name: self._is_other and not is_python,
            self.value: action in ("set", "rename"),
            self.kind: action == "convert",
            self.python: is_python,
            self.values: action == "map" and bool(self.field.value),
        }
        for control, is_shown in shown.items():
            control.layout.display = None if is_shown else "none"
        self.value.placeholder = "the new name" if action == "rename" else "FR, 12, true, null"
        self._draw_values()

    def _draw_values(self) -> None:
        """An input for each of the most frequent values of the field."""
        name = self._chosen if self.action.value == "map" else ""
        wanted = (name, id(self._fields))
        if wanted == self._inputs_of:
            return
        self._inputs_of = wanted
        field = self._fields.get(name)
        values: dict[str, int] = {} if field is None else field[-1]
        most = [*values.items()][:_VALUES]
        self._inputs = {
            value: text_field(f"{clean(value, 40)} ({count:,})", "", "258px", "150px")
            for value, count in most
        }
        more = len(values) - len(most)
        others = "Others" if self._inputs else "Values"
        self.others.description = f"{more:,} more" if more else others
        before = self.values.children
        self.values.children = (*self._inputs.values(), self.others)
        for child in before:
            if child is not self.others:
                close_all(child)


def typed_value(text: str, *, is_text: bool) -> Any:
    """The value that somebody means: JSON if it is that, else a text.

    Args:
        is_text: whether it belongs to a field of texts, where a number is meant as text.
    """
    text = text.strip()
    try:
        value = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return text
    return text if is_text and isinstance(value, (bool, int, float)) else value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def typed_pairs(text: str, *, is_text: bool) -> dict[Any, Any]:
    """What stands for what in `france=FR, italy=IT`.

    Raises:
        ValueError: a part has no `=`; says which.
    """
    pairs = {}
    for part in filter(None, map(str.strip, text.split(","))):
        old, sign, new = part.partition("=")
        if not sign:
            raise ValueError(f"{part!r} says no new value; write {part}=…")
        pairs[typed_value(old, is_text=is_text)] = typed_value(new, is_text=is_text)
    return pairs
