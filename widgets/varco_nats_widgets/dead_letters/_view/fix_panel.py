"""The part of the dead letters' view where many entries are fixed at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

import ipywidgets
import pandas as pd

from varco_nats_widgets._ui.controls import (
    button,
    caption,
    close_all,
    fields_are_here,
    row,
    text_html,
)
from varco_nats_widgets._ui.model_view import ModelView
from varco_nats_widgets._ui.views import DataTable
from varco_nats_widgets.dead_letters._dead_letters import DeadLetters
from varco_nats_widgets.dead_letters._fix.steps import StepOptions, steps_of
from varco_nats_widgets.dead_letters._view.panel import Panel, WhichEntries
from varco_nats_widgets.dead_letters._view.step_editor import StepEditor
from varco_nats_widgets.dead_letters._view.words import entries_words
from varco_nats_widgets.dead_letters._worker import DeadLettersWorker
from varco_nats_widgets.frames._cells import clean

_COLUMNS = ["field", "before", "after", "entries", "refused", "why"]
_LEFT = {
    "refused": "cannot be fixed so, see why in the table",
    "unreadable": "have no readable event",
    "gone": "are no longer in the queue",
}
_NOTHING = pd.DataFrame()


@dataclass(frozen=True, slots=True, eq=False)
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
        self._steps: tuple[StepOptions, ...] = ()
        self._drawn_steps: tuple[StepOptions, ...] = ()
        self._shown: _Difference | None = None
        self._drawn: pd.DataFrame | None = None  # in the table
        self._make_controls()

    def _make_controls(self) -> None:
        self.which = WhichEntries(self._view, self._redraw)
        self.reading = caption("")
        self.editor = StepEditor(self._view.on_user_change(lambda _: self._redraw()))
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
        self.table = DataTable(
            height=240, figures=("entries", "refused"), hide_empty=True, label="Difference"
        )
        self.table.on_open(self._on_open)
        self.box = ipywidgets.VBox(
            [
                row(self.which.control, self.reading),
                *self.editor.rows,
                row(self.add),
                self.list,
                row(self.show, self.keep, self.undo, self.message),
                self.table,
            ]
        )

    # What the user does

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
        if not needed and not self.editor.asks_for_value:
            return
        step = self.editor.step()
        if step is None:
            if needed:
                raise ValueError("say what to do: a value is not typed yet")
            return
        steps_of(step)
        self._steps = (*self._steps, step)
        self.editor.clear()
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
        await self._do("keeping", self._kept(shown), kept_words)
        self._redraw()

    async def _kept(self, shown: _Difference) -> pd.DataFrame:
        fixing = self._model.aio.fix(shown.entry_ids, keep=True, steps=shown.steps, progress=False)
        frame = await fixing
        self._steps = ()
        self._shown = _Difference(frame, None, (), [])
        return frame

    async def _undo(self) -> None:
        words = lambda count: f"undone for {entries_words(count)}"  # noqa: E731
        await self._do("undoing", self._undone(), words)

    async def _undone(self) -> int:
        count = await self._model.aio.undo_fix()
        self._shown = None
        return count

    def _on_open(self, number: Any) -> None:
        if (shown := self._shown) is not None:
            self._open_entry(shown.frame["example"].iloc[int(number) - 1])

    def _meant(self) -> object:
        which = self.which.entries
        return which, self._worker.basis_of(which), self._edits

    def _shown_now(self) -> _Difference | None:
        """The difference, while it is of what is chosen, or was kept and is not sent yet."""
        if (shown := self._shown) is None:
            return None
        if shown.steps:
            is_true = shown.meant == self._meant() and shown.steps == self._steps
        else:
            is_true = not self._steps and bool(self._model.edits)
        return shown if is_true else None

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
        self.editor.draw(self._fields)
        self._draw_steps()
        self._draw_difference()
        self._draw_message()

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

    def _draw_difference(self) -> None:
        model, shown = self._model, self._shown_now()
        frame = _NOTHING if shown is None else shown.frame
        if self._drawn is not frame:
            self._drawn = frame
            self.table.set_frame(shown_difference(frame))
            self.table.layout.display = "none" if frame.empty else None
        is_ready = bool(self.which.entries) and model.doing != "fixing" and not model.running
        self.add.disabled = not self.which.entries
        self.show.disabled = not is_ready
        can_keep = shown is not None and shown.steps and frame.attrs.get("changed")
        self.keep.disabled = not (is_ready and can_keep)
        self.undo.disabled = not (model.kept_fixes and model.edits) or model.running


# What is said


def difference_words(frame: pd.DataFrame) -> str:
    """What a fix would do, in a sentence."""
    counts = frame.attrs
    parts = [f"{counts['changed']:,} of {entries_words(counts['entries'])} would change"]
    return "; ".join(parts + _other_words(frame))


def kept_words(frame: pd.DataFrame) -> str:
    """What a fix did, in a sentence."""
    changed = f"{entries_words(frame.attrs['changed'])} changed"
    return "; ".join([changed, "plan a replay to send them", *_other_words(frame)])


def _other_words(frame: pd.DataFrame) -> list[str]:
    """What became of the entries that do not change, and what is not known of the others."""
    counts = frame.attrs
    parts = [f"{counts[state]:,} {words}" for state, words in _LEFT.items() if counts[state]]
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
