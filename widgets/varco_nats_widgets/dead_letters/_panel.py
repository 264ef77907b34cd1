"""What the parts of the dead letters' view are made of."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import ipywidgets

from varco_nats_widgets._session.background import describe_error
from varco_nats_widgets._ui.controls import button, caption, row, text_html
from varco_nats_widgets.dead_letters._dead_letters import DeadLetters
from varco_nats_widgets.dead_letters._words import by_hand, run_words
from varco_nats_widgets.dead_letters._worker import Which

type Asked = Callable[[Callable[[Any], object]], Callable[[Any], None]]
type Start = Callable[..., Any]

_FIELD_SECONDS = 0.2


async def fields_are_here() -> None:
    """Wait for what was typed before a click, which may come after it.

    JupyterLab sends each widget's messages over a subshell of its own, where the kernel has them.
    """
    await asyncio.sleep(_FIELD_SECONDS)


class Panel:
    """What a part that does something says of it, beside its buttons.

    Args:
        model_of: gives the dead letters.
        start: has a coroutine function of the panel, or of the model's `aio`, done.
    """

    def __init__(self, model_of: Callable[[], DeadLetters], start: Start) -> None:
        self._model_of = model_of
        self._start = start
        self.said = caption("")

    @property
    def _model(self) -> DeadLetters:
        return self._model_of()

    def say(self, text: str, *, wrong: bool = False) -> None:
        shown = text_html(text)
        self.said.value = f'<span class="varco-problem">{shown}</span>' if wrong else shown

    async def _do[T](
        self, doing: str, action: Coroutine[Any, Any, T], words: Callable[[T], str] = lambda _: ""
    ) -> T:
        """Await `action`, and say what it does, what came of it, or what went wrong."""
        self.say(f"{doing} …")
        try:
            done = await action
        except asyncio.CancelledError:
            self.say(f"{doing} was stopped")
            raise
        except Exception as error:
            self.say(by_hand(describe_error(error)), wrong=True)
            raise
        self.say(words(done))
        return done


class WhichEntries:
    """Asks for the entries that are meant. It never comes to mean more by itself."""

    def __init__(self) -> None:
        self.control = ipywidgets.Dropdown(
            description="Entries",
            options=[("choose …", "")],
            layout=ipywidgets.Layout(width="330px"),
            style={"description_width": "52px"},
        )
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
        there = {"selected": rows > 1, "groups": groups > 0}  # one row is selected by a look at it
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
    """How far a run or a discard is, with buttons that pause and end it."""

    def __init__(self, model_of: Callable[[], DeadLetters], asked: Asked) -> None:
        self.bar = ipywidgets.IntProgress(layout={"width": "160px"})
        self.bar.tooltip = "Messages of the run"
        self.phase = caption("")
        self.pause = ipywidgets.ToggleButton(
            description="Pause", icon="pause", tooltip="Do nothing more for now"
        )
        self.cancel = button("Cancel", "stop", "End the run; what was not reached stays")
        self.box = row(self.bar, self.phase, self.pause, self.cancel)
        on_pause = asked(lambda on: (model_of().pause if on else model_of().resume)())
        self.pause.observe(on_pause, "value")
        self.cancel.on_click(lambda _: model_of().cancel())

    def draw(self, model: DeadLetters) -> None:
        self.bar.max, self.bar.value = max(model.run_progress[2], 1), model.run_progress[1]
        words = run_words(model.run_progress, model.run_outcomes, model.seconds_left)
        self.phase.value = text_html(words)
        self.pause.value = model.paused
        self.box.layout.display = None if model.running else "none"
