"""The part of the dead letters' view where many entries are fixed at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn
from uuid import UUID

import ipywidgets
import pandas as pd

from varco_nats_widgets._ui.controls import (
    button,
    caption,
    close_all,
    dropdown,
    fields_are_here,
    row,
    scaled,
    text_field,
    text_html,
)
from varco_nats_widgets._ui.model_view import ModelView
from varco_nats_widgets._ui.views import DataTable
from varco_nats_widgets.dead_letters._dead_letters import DeadLetters
from varco_nats_widgets.dead_letters._fix.steps import StepOptions, steps_of
from varco_nats_widgets.dead_letters._fix.values import CONVERSIONS
from varco_nats_widgets.dead_letters._view.panel import Panel, WhichEntries
from varco_nats_widgets.dead_letters._view.words import entries_words
from varco_nats_widgets.dead_letters._worker import DeadLettersWorker
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
_COLUMNS = ["field", "before", "after", "entries", "refused", "why"]
_NOTHING = pd.DataFrame()
_OTHER = "\0"  # the choice of a field that no entry has


@dataclass(frozen=True, slots=True)
class _Difference:
    """The difference that is shown, and what it was made from."""

    frame: pd.DataFrame
    meant: object
    steps: tuple[StepOptions, ...]
    entry_ids: list[UUID]
    """A fix that is kept never grows to more entries than were shown."""


class FixPanel(Panel):
    """Choose entries, say step by step what changes, look at the difference, keep it.

    Args:
        is_open: whether this is what the user looks at, so that fields are worth reading.
        redraw: has `draw` called soon.
        open_entry: shows the entry of this id whole.
    """

    def __init__(
        self,
        view: ModelView[DeadLetters],
        worker: DeadLettersWorker,
        is_open: Callable[[], bool],
        redraw: Callable[[], object],
        open_entry: Callable[[str], object],
    ) -> None:
        super().__init__(view, worker)
        self._is_open = is_open
        self._redraw = redraw
        self._open_entry = open_entry
        self._fields: dict[str, Any] = {}  # the rows of `DeadLetters.fields`, by name
        self._read_for: object = None  # what was chosen when the fields were read
        self._read_state: tuple[object, str] = (None, "")  # for what, and how far reading is
        self._edits = 0  # grows when edits change
        self._inputs: dict[str, Any] = {}  # of the values of the field, by these as JSON
        self._inputs_of: object = None
        self._steps: tuple[StepOptions, ...] = ()
        self._drawn_steps: tuple[StepOptions, ...] = ()
        self._shown: _Difference | None = None
        self._drawn: pd.DataFrame | None = None  # in the table
        self._make_controls()
        for control in (self.field, self.action):
            control.observe(view.on_user_change(lambda _: redraw()), "value")

    def _make_controls(self) -> None:
        self.which = WhichEntries(self._view, self._redraw)
        self.reading = caption("")
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
        self.others = text_field("Others", "greece=GR, spain=ES", "auto", "52px", flex="1 1 240px")
        self.values = row()
        self.add = self._button("Add step", "plus", "Add this to what is done", self._add)
        self.list = ipywidgets.VBox()
        self.show = self._button(
            "Show the difference", "list", "Show what would change, and change nothing", self._show
        )
        self.keep = self._button(
            "Keep these changes", "check", "Have a replay send what is shown here", self._keep
        )
        self.undo = self._button(
            "Undo", "undo", "Put back what the last changes replaced", self._undo
        )
        self.table = DataTable(height=240, figures=("entries", "refused"), hide_empty=True)
        self.table.on_open(self._on_open)
        self.box = ipywidgets.VBox(
            [
                row(self.which.control, self.reading),
                row(self.field, self.name, self.action, self.value, self.kind, self.python),
                self.values,
                row(self.add),
                self.list,
                row(self.show, self.keep, self.undo, self.message),
                self.table,
            ]
        )

    # What the user does

    @property
    def _chosen(self) -> str:
        """The field that is chosen or typed."""
        chosen: str = self.name.value.strip() if self._is_other else self.field.value
        return chosen

    @property
    def _is_other(self) -> bool:
        return bool(self.field.value == _OTHER)

    def _typed(self) -> StepOptions | None:
        """The step that the controls describe; None where its value is not typed."""
        action, name = self.action.value, self._chosen
        is_text = self._kinds(name) == {"text"}
        text = self.value.value.strip()
        if action == "python":
            return {"python": self.python.value} if self.python.value.strip() else None
        if action == "map":
            table = {
                json.loads(value): typed_value(control.value, is_text=is_text)
                for value, control in self._inputs.items()
                if control.value.strip()
            } | typed_pairs(self.others.value, is_text=is_text)
            return {"map": {name: table}} if table else None
        if action == "set":
            return {"set": {name: typed_value(text, is_text=is_text)}} if text else None
        if action == "rename":
            return {"rename": {name: text}} if text else None
        if action == "convert":
            return {"convert": {name: self.kind.value}}
        return {"remove": name} if action == "remove" else {"absolute": name}

    def _kinds(self, name: str) -> set[str]:
        field = self._fields.get(name)
        return set() if field is None else {*field.kinds.split(", ")} - {"null"}

    async def _add(self) -> None:
        await fields_are_here()
        try:
            self._take()
        except ValueError as error:
            self.say(str(error), is_problem=True)

    def _take(self, *, needed: bool = True) -> None:
        """Add what the controls describe to the steps.

        Raises:
            ValueError: it cannot be read, or it is `needed` and nothing is typed.
        """
        asks_for_value = self.action.value not in ("convert", "remove", "absolute")
        if not needed and not asks_for_value:
            return
        step = self._typed()
        if step is None:
            if needed:
                raise ValueError("say what to do: a value is not typed yet")
            return
        if "python" not in step and not self._chosen:
            raise ValueError("choose a field first")
        steps_of(step)
        self._steps = (*self._steps, step)
        for control in (self.value, self.python, self.others, *self._inputs.values()):
            control.value = ""
        self.say("")
        self._redraw()

    def _remove(self, number: int) -> None:
        self._steps = self._steps[:number] + self._steps[number + 1 :]
        self._redraw()

    async def _show(self) -> None:
        await fields_are_here()
        try:
            self._take(needed=not self._steps)
        except ValueError as error:
            self.say(str(error), is_problem=True)
            return
        await self._do("fixing", self._difference(), difference_words)
        self._redraw()

    async def _difference(self) -> pd.DataFrame:
        meant, steps = self._meant(), self._steps
        entry_ids = await self._worker.ids_of(self.which.entries, {}, anew=True)
        frame = await self._model.aio.fix(entry_ids, steps=steps, progress=False)
        self._shown = _Difference(frame, meant, steps, entry_ids)
        return frame

    async def _keep(self) -> None:
        if (shown := self._shown) is None:
            return
        keeping = self._model.aio.fix(shown.entry_ids, keep=True, steps=shown.steps, progress=False)
        frame = await self._do("keeping", keeping, kept_words)
        self._steps = ()
        self._shown = _Difference(frame, None, (), [])
        self._redraw()

    async def _undo(self) -> None:
        words = lambda count: f"undone for {entries_words(count)}"  # noqa: E731
        await self._do("undoing", self._model.aio.undo_fix(), words)

    def _on_open(self, number: Any) -> None:
        if (shown := self._shown) is not None:
            self._open_entry(shown.frame["example"].iloc[int(number) - 1])

    def _meant(self) -> object:
        which = self.which.entries
        return which, self._worker.basis_of(which), self._edits

    # Reading the fields

    async def _read(self, meant: object) -> None:
        self._say_of_reading(meant, "reading their fields …")
        problem = "their fields were not read; choose them once more"
        try:
            fields = await self._model.aio.fields(self.which.entries, progress=False)
            problem = ""
        finally:
            self._say_of_reading(meant, problem)
        if self._read_for == meant:
            self._fields = {str(field.Index): field for field in fields.itertuples()}
            self._redraw()

    def _say_of_reading(self, meant: object, text: str) -> None:
        if self._read_for == meant:
            self._read_state = meant, text
            self._redraw()

    # Drawing

    def draw(self, changed: set[str]) -> None:
        model = self._model
        if "edits" in changed:
            self._edits += 1
        self.which.draw(model)
        meant = self._meant()
        if self._is_open() and self.which.entries and meant != self._read_for:
            self._read_for = meant
            self._worker.start(self._read, meant)
        about, text = self._read_state
        self.reading.value = text_html(text if about == self._read_for else "")
        self._draw_field()
        self._draw_values()
        self._draw_steps()
        self._draw_difference(meant)
        self._draw_message()

    def _draw_field(self) -> None:
        action = self.action.value
        fields = self._fields.items()
        options = [("choose …", "")]
        options += [(f"{clean(name)} ({field.entries:,})", name) for name, field in fields]
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

    def _draw_steps(self) -> None:
        if self._drawn_steps == self._steps:
            return
        self._drawn_steps = self._steps
        rows = []
        for number, step in enumerate(self._steps):
            [read] = steps_of(step)
            words = f"{number + 1}. {clean(read.words)}"
            remove = partial(self._remove, number)
            rows.append(
                row(caption(words), button("Remove", "times", f"Remove step {number + 1}", remove))
            )
        before, self.list.children = self.list.children, tuple(rows)
        for child in before:
            close_all(child)

    def _draw_difference(self, meant: object) -> None:
        model, shown = self._model, self._shown
        is_kept = shown is not None and not shown.steps
        is_current = shown is not None and shown.meant == meant and shown.steps == self._steps
        frame = _NOTHING
        if shown is not None and (is_current or (is_kept and not self._steps)):
            frame = shown.frame
        if self._drawn is not frame:
            self._drawn = frame
            self.table.set_frame(shown_difference(frame))
            self.table.layout.display = "none" if frame.empty else None
        is_ready = bool(self.which.entries) and model.doing != "fixing" and not model.running
        self.add.disabled = not self.which.entries
        self.show.disabled = not is_ready
        self.keep.disabled = not (is_ready and is_current and frame.attrs.get("changed"))
        self.undo.disabled = not (model.kept_fixes and model.edits) or model.running


# What is typed, and what is said


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


def difference_words(frame: pd.DataFrame) -> str:
    """What a fix would do, in a sentence."""
    counts = frame.attrs
    parts = [f"{counts['changed']:,} of {entries_words(counts['entries'])} would change"]
    return "; ".join(parts + _other_words(frame))


def kept_words(frame: pd.DataFrame) -> str:
    """What a fix did, in a sentence."""
    changed = f"{entries_words(frame.attrs['changed'])} changed"
    return f"{changed}; plan a replay to send them" + "".join(
        f"; {part}" for part in _other_words(frame)
    )


def _other_words(frame: pd.DataFrame) -> list[str]:
    """What became of the entries that do not change, and what is not known of the others."""
    counts, parts = frame.attrs, []
    if counts["refused"]:
        parts.append(f"{counts['refused']:,} cannot be fixed so, see why in the table")
    if counts["unreadable"]:
        parts.append(f"{counts['unreadable']:,} have no readable event")
    if counts["gone"]:
        parts.append(f"{counts['gone']:,} are no longer in the queue")
    parts += [f"{n:,} have no field {name}" for name, n in counts["no_such_field"].items()]
    if counts["unchecked"]:
        parts.append(f"{counts['unchecked']:,} are not checked: this kernel has no class of theirs")
    return parts


def shown_difference(frame: pd.DataFrame) -> pd.DataFrame:
    """The difference as a table of the view, its rows numbered from 1."""
    if frame.empty:
        return pd.DataFrame()
    table = frame.reset_index()[_COLUMNS]
    if not table["refused"].any():
        table = table.drop(columns=["refused", "why"])
    return table.set_axis(pd.RangeIndex(1, len(table) + 1, name="#"))
