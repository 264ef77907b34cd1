"""The small parts of views: channels and values to choose from, the status bar, a line of code."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pandas as pd
import traitlets

from varco_nats_widgets._ui.controls import MAX_TEXT
from varco_nats_widgets._ui.views import BrowserWidget, static
from varco_nats_widgets.frames._cells import clean, escape


class ChannelList(BrowserWidget):
    """Streams and their channels to choose from, with how many messages each holds and gets.

    Args:
        on_sight: called with whether any browser has it in sight, whenever that changes.
        on_stream: called with the name of the stream that the user wants to look at.
    """

    _esm = static("channels.js")
    _css = static("channels.css")

    streams: Any = traitlets.List().tag(sync=True)
    """For each its name, what it is, and how many messages it holds."""
    stream = traitlets.Unicode("").tag(sync=True)
    """The one whose channels these are."""
    noun = traitlets.Unicode("channel").tag(sync=True)
    """What the names are: `channel` or `subject`."""
    names: Any = traitlets.List().tag(sync=True)
    """The channels, sorted."""
    counts: Any = traitlets.List().tag(sync=True)
    """How many messages each holds."""
    rates: Any = traitlets.List().tag(sync=True)
    """How many each gets in a second; None where that is not known."""
    chosen = traitlets.List(traitlets.Unicode()).tag(sync=True)
    """The names and patterns that are chosen; everything if it is empty."""

    def __init__(
        self, on_sight: Callable[[bool], object], on_stream: Callable[[str], object]
    ) -> None:
        self._on_sight = on_sight
        self._on_stream = on_stream
        self._in_sight: set[str] = set()  # its views that are
        super().__init__()

    def show(self, noun: str, channels: pd.DataFrame) -> None:
        """Show these channels; from any thread."""
        counts, rates = channels.get("messages", ()), channels.get("per_second", ())
        with self.hold_sync():
            self.noun = noun
            self.names = [clean(str(name), None) for name in channels.index]
            self.counts = [int(count) for count in counts]
            self.rates = [None if pd.isna(rate) else round(float(rate), 2) for rate in rates]

    def _on_message(self, message: dict[str, Any]) -> None:
        if message.get("type") == "sight":
            change = self._in_sight.add if message["seen"] else self._in_sight.discard
            change(str(message["view"]))
            self._on_sight(bool(self._in_sight))
        elif message.get("type") == "stream":
            self._on_stream(str(message["name"]))


class ChoiceList(BrowserWidget):
    """A button that opens a list of values, of which several can be chosen, with a count of each.

    Args:
        label: what the values are, such as `Tenant`.
    """

    _esm = static("choices.js")
    _css = static("choices.css")

    label = traitlets.Unicode("").tag(sync=True)
    choices: Any = traitlets.List().tag(sync=True)
    """For each value its text and how many there are of it, None where that is not known."""
    chosen = traitlets.List(traitlets.Unicode()).tag(sync=True)
    """The texts of those that are chosen; everything if it is empty."""
    disabled = traitlets.Bool(False).tag(sync=True)

    def __init__(self, label: str) -> None:
        self._values: dict[str, str] = {}
        super().__init__(label=label)

    def show(self, counts: Mapping[str, int], chosen: Iterable[str] | None) -> None:
        """Show these values, the most frequent first; from any thread.

        A value that was shown before and has no count now stays, after the others.

        Args:
            chosen: those that are chosen; None keeps the choice.
        """
        wanted = None if chosen is None else list(chosen)
        values = {*self._values.values(), *counts, *(wanted or ())}
        order = sorted(values, key=lambda value: (-counts.get(value, 0), value))
        self._values = {_choice_text(value): value for value in order}
        with self.hold_sync():
            self.choices = [[text, counts.get(value)] for text, value in self._values.items()]
            if wanted is not None:
                self.chosen = [_choice_text(value) for value in wanted]

    @property
    def values(self) -> list[str]:
        """The values that are chosen."""
        return [self._values.get(text, text) for text in self.chosen]


def _choice_text(value: str) -> str:
    return clean(value, None) or "(empty)"


class StatusBar(BrowserWidget):
    """Where the user is, how far the reading is, and what went wrong.

    Args:
        on_stop: called when the user clicks "Stop".
        on_retry: called when the user clicks "Try again".
    """

    _esm = static("status.js")
    _css = static("status.css")

    place = traitlets.Unicode("").tag(sync=True)
    progress = traitlets.Dict().tag(sync=True)
    reading = traitlets.Unicode("").tag(sync=True)
    run = traitlets.Unicode("").tag(sync=True)
    """How far a run is whose bar is elsewhere; said by screen readers now and then."""
    news = traitlets.Unicode("").tag(sync=True)
    """What happened that stays worth knowing, such as how the last run ended."""
    outcome = traitlets.Unicode("").tag(sync=True)
    """What became of something that is shown elsewhere; said by screen readers at once."""
    notice = traitlets.Unicode("").tag(sync=True)
    problem = traitlets.Unicode("").tag(sync=True)
    retry = traitlets.Bool(True).tag(sync=True)
    """Whether what went wrong can be tried again."""

    def __init__(self, on_stop: Callable[[], object], on_retry: Callable[[], object]) -> None:
        self._clicked = {"stop": on_stop, "retry": on_retry}
        super().__init__(progress={"busy": False, "done": 0, "total": 0})

    def show(
        self, place: str, reading: str, notice: str, *, busy: bool, progress: tuple[int, int]
    ) -> None:
        """Show everything but the problem; from any thread."""
        done, total = progress
        with self.hold_sync():
            self.place, self.reading, self.notice = place, reading, clean(notice, MAX_TEXT)
            self.progress = {"busy": busy, "done": done, "total": total}

    def show_problem(self, *problems: str) -> None:
        """Show the first of these that is not empty; from any thread."""
        self.problem = clean(next(filter(None, problems), ""), MAX_TEXT)

    def announce(self, text: str, *, is_end: bool) -> None:
        """Have screen readers say what is shown elsewhere; from any thread.

        Args:
            text: what is going on, or what became of it.
            is_end: whether that is all; what goes on is said now and then.
        """
        with self.hold_sync():
            self.run = "" if is_end else clean(text, MAX_TEXT)
            self.outcome = clean(text, MAX_TEXT) if is_end else ""

    def static_html(self) -> str:
        """What it says; and where something is read, that this is not the end of it."""
        done, total = self.progress["done"], self.progress["total"]
        reading = f"{self.reading} so far" if 0 < done < total else "Reading had not ended."
        busy = reading if self.progress["busy"] else ""
        said = (self.place, busy, self.news, self.notice, self.problem)
        return "".join(f"<p>{escape(text)}</p>" for text in said if text)

    def _on_message(self, message: dict[str, Any]) -> None:
        if (clicked := self._clicked.get(message.get("do", ""))) is not None:
            clicked()


class CodeLine(BrowserWidget):
    """A line of Python with a button that copies it.

    Args:
        label: what it is, for screen readers.
        empty: shown where there is none.
    """

    _esm = static("code.js")
    _css = static("code.css")

    code = traitlets.Unicode("").tag(sync=True)
    label = traitlets.Unicode("").tag(sync=True)
    empty = traitlets.Unicode("").tag(sync=True)

    def __init__(self, label: str, empty: str) -> None:
        super().__init__(label=label, empty=empty)
