"""What a live frame looks like in a notebook."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

import ipywidgets

from varco_nats_widgets._ui.controls import scaled
from varco_nats_widgets._ui.model_view import DrawPart, ModelView, view_of
from varco_nats_widgets._ui.views import DataTable, TimeChart
from varco_nats_widgets.frames._cells import clean, escape
from varco_nats_widgets.frames._column_order import ColumnOrder
from varco_nats_widgets.live._live import LiveFrame

_ERROR_LENGTH = 500
_ARRIVING = "arriving"


@view_of.register(LiveFrame)
class LiveView(ModelView[LiveFrame]):
    """Draws a live frame, which goes on when its view is closed.

    Its parts are there for what builds on it: `table`, `chart`, `counts`, `toggle` (pause and
    resume), `stop`, and `box` with all of them.
    """

    gone = "this live frame is gone; make a new one with lab.live()"

    def __init__(self, live: LiveFrame) -> None:
        super().__init__(live)
        self._shown = 0  # rows ever given to the table
        self._order = ColumnOrder()
        self.table = DataTable(height=320, newest_first=True, follow=True, hide_empty=True)
        self.chart = TimeChart(_ARRIVING, "events/s", height=100)
        self.counts = ipywidgets.HTML()
        self.toggle = self._button("Pause", "pause", _toggle)
        self.stop = self._button("Stop", "stop", LiveFrame.stop)
        buttons = ipywidgets.HBox(
            [self.toggle, self.stop, self.counts], layout={"align_items": "center"}
        )
        self._begin(ipywidgets.VBox([buttons, self.chart, self.table]))

    def static_html(self, text: str) -> str:
        """The counts, a picture of the rate and the newest rows."""
        head = f"<p>{escape(text)}</p><p>{self.counts.value}</p>"
        return f"{head}{self.chart.static_html()}{self.table.static_html()}"

    def _is_settled(self) -> bool:
        return self.model.state in ("paused", "stopped")

    def _parts(self) -> Iterable[DrawPart]:
        return (self._draw_live,)

    def _draw_live(self, _: object) -> None:
        live = self.model
        frame, added = live.snapshot()
        new = min(added - self._shown, len(frame))
        if new or not self.table.columns:
            columns = self._order.of(frame, keep=True)
            if columns != self.table.columns:
                self.table.columns = columns
        if self._shown == 0:
            self.table.set_frame(frame)
        elif new:
            self.table.append(frame.iloc[len(frame) - new :], keep=len(frame))
        self._shown = added
        self.chart.set_series({_ARRIVING: live.counts_by_second()})
        paused = live.state == "paused"
        self.toggle.description = "Resume" if paused else "Pause"
        self.toggle.icon = "play" if paused else "pause"
        self.toggle.disabled = self.stop.disabled = live.state == "stopped"

    def _show_problem(self) -> None:
        self.counts.value = _counts_html(self.model, self.problem)

    def _button(self, label: str, icon: str, action: Callable[[LiveFrame], None]) -> Any:
        # wide enough for "Resume", so that nothing moves, also where there is little room
        layout = {"width": scaled("92px"), "flex": "none"}
        made = ipywidgets.Button(description=label, icon=icon, layout=layout)
        made.on_click(lambda _: self._start(action))
        return made

    def _start(self, action: Callable[[LiveFrame], None]) -> None:
        """Do a button's work apart from the kernel's thread; what it raises is shown."""
        live = self.model

        def work() -> None:
            try:
                self._note("button", None)
                action(live)
            except Exception as error:
                self._note("button", error)
            self.redraw()

        threading.Thread(target=work, name="live frame's button", daemon=True).start()


def _counts_html(live: LiveFrame, problem: str) -> str:
    pieces = [f"<b>{escape(live.state)}</b>", *["read-only"] * live.read_only]
    pieces += [f"received {live.received:,}"]
    pieces += [f"rate {live.rate:,.0f}/s", f"filtered {live.filtered:,}"]
    known = [("dropped", live.dropped), ("gaps", live.gaps)]
    if live.interruptions:
        known.append(("interruptions", live.interruptions))
    for name, count in known:
        text = f"{name} {count:,}"
        pieces.append(f"<b>{text}</b>" if count else text)
    pieces += [
        f"<i>{escape(clean(text, _ERROR_LENGTH))}</i>"
        for text in (live.notice, problem or live.error)
        if text
    ]
    return f'<span class="tex2jax_ignore mathjax_ignore">{" · ".join(pieces)}</span>'


def _toggle(live: LiveFrame) -> None:
    (live.resume if live.paused else live.pause)()
