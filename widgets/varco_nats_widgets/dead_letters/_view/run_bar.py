"""The progress of a run in the dead letters' view, with the buttons that pause and end it."""

from __future__ import annotations

import ipywidgets

from varco_nats_widgets._ui.controls import button, caption, row, scaled, text_html
from varco_nats_widgets._ui.model_view import ModelView
from varco_nats_widgets.dead_letters._dead_letters import DeadLetters
from varco_nats_widgets.dead_letters._status import run_words

_PAUSE = ("Pause", "pause", "Do nothing more until it is resumed")
_RESUME = ("Resume", "play", "Go on with the run")


class RunBar:
    """How far a run or a discard of this widget is; hidden while there is none."""

    def __init__(self, view: ModelView[DeadLetters]) -> None:
        self._view = view
        self.bar = ipywidgets.IntProgress(layout={"width": scaled("160px")})
        self.bar.tooltip = "Progress of the run"
        self.phase = caption("")
        self.pause = button(*_PAUSE, self._on_pause)
        self.pause.layout.width = scaled("92px")  # wide enough for "Resume", so that nothing moves
        self.cancel = button("Cancel", "stop", "", lambda: view.model.cancel())
        self.box = row(self.bar, self.phase, self.pause, self.cancel)

    def _on_pause(self) -> None:
        """Do what the button says, which is what was drawn."""
        model = self._view.model
        (model.pause if self.pause.description == _PAUSE[0] else model.resume)()

    def draw(self, _: object = None) -> None:
        model = self._view.model
        _, done, total = model.run_progress
        self.bar.max, self.bar.value = max(total, 1), done
        self.phase.value = text_html(run_words(model))
        said = _RESUME if model.paused else _PAUSE
        self.pause.description, self.pause.icon, self.pause.tooltip = said
        self.cancel.tooltip = (
            f"End the run; what was sent is settled, the other {total - done:,} stay in the queue"
        )
        self.box.layout.display = None if model.running else "none"
