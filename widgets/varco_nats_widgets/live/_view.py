"""What a live frame looks like in a notebook."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable
from typing import Any

import ipywidgets

from varco_nats_widgets._session.shown import close_all
from varco_nats_widgets._ui.coalesce import Coalescer
from varco_nats_widgets._ui.registry import view_of
from varco_nats_widgets._ui.views import DataTable, TimeChart
from varco_nats_widgets.frames._cells import clean, escape
from varco_nats_widgets.frames._column_order import ColumnOrder
from varco_nats_widgets.live._live import LiveFrame

_COUNTS = ("received", "rate", "filtered", "dropped", "gaps")
_WRONG = ("dropped", "gaps")  # shown in bold unless they are 0
_ERROR_LENGTH = 500
_ARRIVING = "arriving"

_logger = logging.getLogger("varco_nats")


@view_of.register(LiveFrame)
class LiveView:
    """Draws `live`, at most ten times a second and only when it changed; does not keep it alive.

    Its parts are there for what builds on it: `table`, `chart`, `counts`, `toggle` (pause and
    resume), `stop`, and `box` with all of them.
    """

    def __init__(self, live: LiveFrame) -> None:
        self._live = weakref.ref(live)
        self._shown = 0  # rows ever given to the table
        self._order = ColumnOrder()
        self._problem: str | None = None
        self.table = DataTable(height=320, newest_first=True, follow=True)
        self.chart = TimeChart(_ARRIVING, "events/s", height=100)
        self.counts = ipywidgets.HTML()
        self.toggle = _button("Pause", "pause")
        self.stop = _button("Stop", "stop")
        self.toggle.on_click(lambda _: self._do(_toggle))
        self.stop.on_click(lambda _: self._do(_stop))
        buttons = ipywidgets.HBox(
            [self.toggle, self.stop, self.counts], layout={"align_items": "center"}
        )
        self.box = ipywidgets.VBox([buttons, self.chart, self.table])
        self._coalescer = Coalescer(self._draw, on_error=self._failed)
        live.observe(self._changed)
        self._coalescer.trigger()

    def flush(self) -> None:
        """Draw now what changed."""
        self._coalescer.flush()
        self.table.flush()
        self.chart.flush()

    def close(self) -> None:
        """End the view; it disappears from the page, the live frame goes on."""
        if (live := self._live()) is not None:
            live.unobserve(self._changed)
        self._coalescer.close()
        close_all(self.box)

    def mimebundle(self, text: str) -> dict[str, Any]:
        """What the notebook shows: the widget; without a kernel, the newest rows as HTML."""
        self.flush()
        bundle: dict[str, Any] = self.box._repr_mimebundle_() or {}
        bundle["text/plain"] = text
        bundle["text/html"] = f"<p>{escape(text)}</p>{self.table.static_html()}"
        return bundle

    def _changed(self, change: object) -> None:
        self._coalescer.trigger()

    def _draw(self) -> None:
        live = self._live()
        if live is None:
            return
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
        self.counts.value = self._counts_html(live)
        self._draw_buttons(live.state)

    def _draw_buttons(self, state: str) -> None:
        paused = state == "paused"
        self.toggle.description = "Resume" if paused else "Pause"
        self.toggle.icon = "play" if paused else "pause"
        self.toggle.disabled = self.stop.disabled = state == "stopped"

    def _counts_html(self, live: LiveFrame) -> str:
        pieces = [f"<b>{escape(live.state)}</b>"]
        for name in _COUNTS:
            value = getattr(live, name)
            text = f"{name} {value:,.0f}" + ("/s" if name == "rate" else "")
            pieces.append(f"<b>{text}</b>" if value and name in _WRONG else text)
        if live.notice:
            pieces.append(f"<i>{escape(clean(live.notice, _ERROR_LENGTH))}</i>")
        if problem := self._problem or live.error:
            pieces.append(f"<i>{escape(clean(problem, _ERROR_LENGTH))}</i>")
        return f'<span class="tex2jax_ignore mathjax_ignore">{" · ".join(pieces)}</span>'

    def _do(self, action: Callable[[LiveFrame], None]) -> None:
        """Do a button's work apart from the kernel's thread; what it raises is shown."""
        live = self._live()
        if live is None:
            return
        self._problem = None

        def work() -> None:
            try:
                action(live)
            except Exception as error:
                self._failed(error)
            self._coalescer.trigger()

        threading.Thread(target=work, name="live frame's button", daemon=True).start()

    def _failed(self, error: BaseException) -> None:
        live = self._live()
        _logger.warning("the view of %r failed", live, exc_info=error)
        self._problem = f"{type(error).__name__}: {error}"
        if live is not None:
            self.counts.value = self._counts_html(live)


def _button(label: str, icon: str) -> Any:
    # wide enough for "Resume", so that nothing moves
    return ipywidgets.Button(description=label, icon=icon, layout={"width": "92px"})


def _stop(live: LiveFrame) -> None:
    live.stop()


def _toggle(live: LiveFrame) -> None:
    (live.resume if live.paused else live.pause)()
