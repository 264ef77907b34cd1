"""What the panels of the dead letters' view have in common."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from varco_nats_widgets._session.background import advice_of, describe_error
from varco_nats_widgets._ui.controls import button, caption, dropdown, text_field, text_html
from varco_nats_widgets._ui.model_view import ModelView
from varco_nats_widgets.dead_letters._dead_letters import DeadLetters
from varco_nats_widgets.dead_letters._view.words import confirm_words, in_widget, word_and_count
from varco_nats_widgets.dead_letters._worker import DeadLettersWorker, Which

type Work = Callable[[], Coroutine[Any, Any, None]]

SAID = "(what a panel says)"
"""What has changed, beside traits, when a panel has something else to say, or its state changed."""


class Confirmation:
    """Asks for something to be typed, and says why; nothing is shown where nothing is needed."""

    def __init__(self) -> None:
        self.why = caption("")
        self.why.add_class("varco-said")
        self.field = text_field("Confirm", "", "240px", "56px")
        self.needed = ""
        """What is to be typed."""

    def draw(self, doing: str, word: str = "", count: int = 0, *, otherwise: str = "") -> None:
        """Ask for it.

        Args:
            doing, word, count: as `confirm_words` takes them.
            otherwise: what to say where nothing is to be typed.
        """
        self.needed, why = confirm_words(doing, word, count)
        self.field.placeholder = f"type {self.needed}"
        self.field.layout.display = None if self.needed else "none"
        self.why.value = text_html(why or otherwise)
        self.why.layout.display = None if why or otherwise else "none"

    def typed(self) -> tuple[str, int | None]:
        """The word and the number that were typed."""
        return word_and_count(self.field.value)


class Panel:
    """A part of the view with buttons, and with a message beside them about what they do.

    What a user does and what comes of it is kept, on whatever thread that happens, and drawn by
    `draw`, which the view calls on its drawing thread.

    Args:
        view: the view that it is a part of.
        worker: does the work of the dead letters.
    """

    def __init__(self, view: ModelView[DeadLetters], worker: DeadLettersWorker) -> None:
        self._view = view
        self._worker = worker
        self._said: tuple[str, bool, object, bool] = ("", False, None, False)
        """The text, whether it says what went wrong, what it is about, and whether it is so only
        while the server does not answer."""
        self._emptied: deque[Any] = deque()  # fields, once they are drawn
        self.message = caption("")
        self.message.add_class("varco-said")

    confirmed_beside = "the button"
    """The button beside which something is typed to confirm what it does."""
    confirm: Confirmation | None = None
    """Asks for that."""

    @property
    def _model(self) -> DeadLetters:
        return self._view.model

    def _button(self, label: str, icon: str, tooltip: str, work: Work) -> Any:
        """A button that has `work` done in the background."""
        return button(label, icon, tooltip, lambda: self._worker.start(work))

    def say(self, text: str, *, is_problem: bool = False) -> None:
        """Say this beside the buttons while it is about what is shown; from any thread."""
        is_lost = is_problem and self._model.lost_since is not None
        self._said = text, is_problem, self._shown_now(), is_lost
        self._view.redraw(SAID)

    def _empty(self, *fields: Any) -> None:
        """Empty fields and take the ticks off check boxes; from any thread."""
        self._emptied.extend(fields)
        self._view.redraw(SAID)

    def _shown_now(self) -> object:
        """What something that is said now is about."""
        return None

    def _draw_message(self, otherwise: str = "") -> None:
        """Draw what was said, or else `otherwise`; and the fields that are to be empty."""
        while self._emptied:
            field = self._emptied.popleft()
            field.value = type(field.value)()
        text, is_problem, about, is_lost = self._said
        is_over = is_lost and self._model.lost_since is None
        if not text or is_over or about != self._shown_now():
            text, is_problem = otherwise, False
        shown = text_html(text)
        self.message.value = f'<span class="varco-problem">{shown}</span>' if is_problem else shown

    async def _do[T](
        self,
        doing: str,
        action: Coroutine[Any, Any, T],
        words: Callable[[T], str] = lambda _: "",
        *,
        beside: str = "",
    ) -> T:
        """Await `action`, and say that it goes on, then its result or what went wrong."""
        self.say(f"{doing} …")
        try:
            result = await action
        except asyncio.CancelledError:
            self.say(f"{doing} was stopped")
            raise
        except Exception as error:
            asked = self.confirm.needed if self.confirm is not None and not beside else ""
            typed, beside = f'"{asked}"' if asked else "", beside or self.confirmed_beside
            why = in_widget(describe_error(error), advice_of(error), beside, typed)
            self.say(why, is_problem=True)
            raise
        self.say(words(result))
        return result


class WhichEntries:
    """Asks which entries are meant. A choice never grows to more entries by another filter.

    Args:
        on_choice: called when the user has chosen.
    """

    def __init__(self, view: ModelView[DeadLetters], on_choice: Callable[[], object]) -> None:
        self.control = dropdown("Entries", [("choose …", "")], "330px", "52px")
        self._view = view
        self._on_choice = on_choice
        self._value = ""  # which the control shows once it is drawn
        self._chosen: tuple[dict[str, Any], int] = ({}, 0)
        """The filter when that was chosen, and how many matched it last."""
        self._offered: set[str] = set()
        self.control.observe(view.on_user_change(self._choose), "value")

    def _choose(self, value: str) -> None:
        self._value = value
        self._chosen = self._view.model.filters, self._view.model.matching
        self._on_choice()

    @property
    def entries(self) -> Which | None:
        """What is chosen; None if nothing is."""
        value: Which | str = self._value
        return value or None  # type: ignore[return-value]

    def count(self, model: DeadLetters) -> int:
        """How many entries that are."""
        counts = {"selected": len(model.selected_ids), "groups": model.page_total}
        counts["matching"] = model.matching
        return counts.get(self._value, 0)

    def draw(self, model: DeadLetters) -> None:
        """Offer what there is."""
        rows, groups = len(model.selected_ids), len(model.chosen_groups)
        options = [("choose …", "")]
        if rows:
            options.append((f"{rows:,} selected row{'s' if rows != 1 else ''}", "selected"))
        if groups:
            of = f"the {groups} chosen groups" if groups > 1 else "the chosen group"
            options.append((f"{model.page_total:,} of {of}", "groups"))
        among = " that match the filter" if model.filters else ""
        options.append((f"all {model.matching:,}{among}", "matching"))
        there = {"selected": rows > 1, "groups": groups > 0}  # a click selects a row
        offered = {name for name, is_there in there.items() if is_there}
        before = self._value
        filters, matching = self._chosen
        if model.filters == filters:
            self._chosen = filters, model.matching
        has_grown = before == "matching" and model.filters != filters and model.matching > matching
        kept = "" if has_grown else before
        value = self._kept(kept, [value for _, value in options], offered - self._offered)
        self._offered = offered
        if tuple(options) != tuple(self.control.options):
            self.control.options = options
        if self.control.value != value:
            self.control.value = value
        if value != before and self._value == before:  # else the user has chosen meanwhile
            self._value = value

    def _kept(self, before: str, values: Sequence[str], fresh: set[str]) -> str:
        if "selected" in fresh and before in ("", "groups"):
            return "selected"
        if "groups" in fresh and not before:
            return "groups"
        return before if before in values else ""
