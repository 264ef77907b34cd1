"""What the panels of the dead letters' view have in common."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import ipywidgets

from varco_nats_widgets._session.background import advice_of, describe_error
from varco_nats_widgets._ui.controls import button, caption, dropdown, row, scaled, text_html
from varco_nats_widgets._ui.model_view import ModelView
from varco_nats_widgets.dead_letters._dead_letters import DeadLetters
from varco_nats_widgets.dead_letters._view.words import in_widget, run_words
from varco_nats_widgets.dead_letters._worker import DeadLettersWorker, Which

type Work = Callable[[], Coroutine[Any, Any, None]]


class Panel:
    """A part of the view with buttons, and with a message beside them about what they do.

    Args:
        view: the view that it is a part of.
        worker: does the work of the dead letters.
    """

    def __init__(self, view: ModelView[DeadLetters], worker: DeadLettersWorker) -> None:
        self._view = view
        self._worker = worker
        self.message = caption("")

    @property
    def _model(self) -> DeadLetters:
        return self._view.model

    def _button(self, label: str, icon: str, tooltip: str, work: Work) -> Any:
        """A button that has `work` done in the background."""
        return button(label, icon, tooltip, lambda: self._worker.start(work))

    def say(self, text: str, *, is_problem: bool = False) -> None:
        shown = text_html(text)
        self.message.value = f'<span class="varco-problem">{shown}</span>' if is_problem else shown

    async def _do[T](
        self, doing: str, action: Coroutine[Any, Any, T], words: Callable[[T], str] = lambda _: ""
    ) -> T:
        """Await `action`, and say that it goes on, then its result or what went wrong."""
        self.say(f"{doing} …")
        try:
            result = await action
        except asyncio.CancelledError:
            self.say(f"{doing} was stopped")
            raise
        except Exception as error:
            self.say(in_widget(describe_error(error), advice_of(error)), is_problem=True)
            raise
        self.say(words(result))
        return result


class WhichEntries:
    """Asks which entries are meant. A choice never grows to more entries by itself."""

    def __init__(self) -> None:
        self.control = dropdown("Entries", [("choose …", "")], "330px", "52px")
        self._offered: set[str] = set()

    @property
    def entries(self) -> Which | None:
        """What is chosen; None if nothing is."""
        value: Which | str = self.control.value
        return value or None  # type: ignore[return-value]

    def count(self, model: DeadLetters) -> int:
        """How many entries that are."""
        counts = {"selected": len(model.selected_ids), "groups": model.page_total}
        counts["matching"] = model.matching
        return counts.get(self.control.value, 0)

    def draw(self, model: DeadLetters) -> None:
        """Offer what there is."""
        rows, groups = len(model.selected_ids), len(model.chosen_groups)
        options = [("choose …", "")]
        if rows:
            options.append((f"{rows:,} selected row{'s' if rows != 1 else ''}", "selected"))
        if groups:
            of = f"the {groups} chosen groups" if groups > 1 else "the chosen group"
            options.append((f"{model.page_total:,} of {of}", "groups"))
        options.append((f"all {model.matching:,} that match the filter", "matching"))
        there = {"selected": rows > 1, "groups": groups > 0}  # a click selects a row
        offered = {name for name, is_there in there.items() if is_there}
        value = self._value([value for _, value in options], offered - self._offered)
        self._offered = offered
        if tuple(options) != tuple(self.control.options):
            self.control.options = options
        if self.control.value != value:
            self.control.value = value

    def _value(self, values: Sequence[str], fresh: set[str]) -> str:
        before: str = self.control.value
        if "selected" in fresh and before in ("", "groups"):
            return "selected"
        if "groups" in fresh and not before:
            return "groups"
        return before if before in values else ""


class RunBar:
    """The progress of a run or a discard, with buttons that pause and end it."""

    def __init__(self, view: ModelView[DeadLetters]) -> None:
        self.bar = ipywidgets.IntProgress(layout={"width": scaled("160px")})
        self.bar.tooltip = "Progress of the run"
        self.phase = caption("")
        self.pause = ipywidgets.ToggleButton(
            description="Pause", icon="pause", tooltip="Do nothing more until this is released"
        )
        on_pause = view.on_user_change(lambda on: (view.model.pause if on else view.model.resume)())
        self.pause.observe(on_pause, "value")
        self.cancel = button(
            "Cancel",
            "stop",
            "End the run; entries that it did not reach stay in the queue",
            lambda: view.model.cancel(),
        )
        self.box = row(self.bar, self.phase, self.pause, self.cancel)

    def draw(self, model: DeadLetters) -> None:
        self.bar.max, self.bar.value = max(model.run_progress[2], 1), model.run_progress[1]
        words = run_words(model.run_progress, model.run_outcomes, model.seconds_left)
        self.phase.value = text_html(words)
        self.pause.value = model.paused
        self.box.layout.display = None if model.running else "none"
