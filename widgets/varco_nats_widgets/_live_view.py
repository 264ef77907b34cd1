"""What a live frame looks like in a notebook."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import ipywidgets

from varco_nats_widgets._cells import clean, escape
from varco_nats_widgets._coalesce import Coalescer
from varco_nats_widgets._views import DataTable, TimeChart

if TYPE_CHECKING:
    from varco_nats_widgets.live import LiveFrame

_COUNTS = ("received", "rate", "filtered", "dropped", "gaps")
_WRONG = ("dropped", "gaps")  # shown in bold unless they are 0
_ERROR_LENGTH = 500

_logger = logging.getLogger("varco_nats")


class LiveView:
    """Draws `live`, at most ten times a second and only when it changed.

    Its parts are there for what builds on it: `table`, `chart`, `counts`, `toggle` (pause and
    resume), `stop`, and `box` with all of them.
    """

    def __init__(self, live: LiveFrame) -> None:
        self._live = live
        self._shown = 0  # rows ever given to the table
        self._problem: str | None = None
        self.table = DataTable(height=320, newest_first=True, follow=True)
        self.chart = TimeChart("events", "events/s", height=100)
        self.counts = ipywidgets.HTML()
        self.toggle = ipywidgets.Button(description="Pause", icon="pause")
        self.stop = ipywidgets.Button(description="Stop", icon="stop")
        self.toggle.on_click(lambda _: self._do(live.resume if live.paused else live.pause))
        self.stop.on_click(lambda _: self._do(live.stop))
        buttons = ipywidgets.HBox([self.toggle, self.stop, self.counts])
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
        self._live.unobserve(self._changed)
        self._coalescer.close()
        for widget in (self.table, self.chart, self.counts, self.toggle, self.stop, self.box):
            widget.close()

    def mimebundle(self) -> dict[str, Any]:
        """What the notebook shows: the widget; without a kernel, the newest rows as HTML."""
        self.flush()
        bundle: dict[str, Any] = self.box._repr_mimebundle_() or {}
        bundle["text/plain"] = repr(self._live)
        bundle["text/html"] = f"<p>{escape(repr(self._live))}</p>{self.table.static_html()}"
        return bundle

    def _changed(self, change: object) -> None:
        self._coalescer.trigger()

    def _draw(self) -> None:
        live = self._live
        frame, added = live.snapshot()
        new = min(added - self._shown, len(frame))
        if self._shown == 0:
            self.table.set_frame(frame)
        elif new:
            self.table.append(frame.iloc[len(frame) - new :], keep=len(frame))
        self._shown = added
        self.chart.set_series({"events": live.counts_by_second()})
        self.counts.value = self._counts_html()
        self._draw_buttons(live.state)

    def _draw_buttons(self, state: str) -> None:
        paused = state == "paused"
        self.toggle.description = "Resume" if paused else "Pause"
        self.toggle.icon = "play" if paused else "pause"
        self.toggle.disabled = self.stop.disabled = state == "stopped"

    def _counts_html(self) -> str:
        live = self._live
        pieces = [f"<b>{escape(live.state)}</b>"]
        for name in _COUNTS:
            value = getattr(live, name)
            text = f"{name} {value:,.0f}" + ("/s" if name == "rate" else "")
            pieces.append(f"<b>{text}</b>" if value and name in _WRONG else text)
        if problem := self._problem or live.error:
            pieces.append(f"<i>{escape(clean(problem, _ERROR_LENGTH))}</i>")
        return f'<span class="tex2jax_ignore mathjax_ignore">{" · ".join(pieces)}</span>'

    def _do(self, action: Callable[[], None]) -> None:
        """Do a button's work apart from the kernel's thread; what it raises is shown."""
        self._problem = None

        def work() -> None:
            try:
                action()
            except Exception as error:
                self._failed(error)
            self._coalescer.trigger()

        threading.Thread(target=work, name="live frame's button", daemon=True).start()

    def _failed(self, error: BaseException) -> None:
        _logger.warning("the view of %r failed", self._live, exc_info=error)
        self._problem = f"{type(error).__name__}: {error}"
        self.counts.value = self._counts_html()
