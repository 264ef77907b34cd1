"""What the plot of a live frame looks like in a notebook."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import ipywidgets
import pandas as pd

from varco_nats_widgets._ui.controls import text_html
from varco_nats_widgets._ui.model_view import DrawPart, ModelView, view_of
from varco_nats_widgets._ui.views import TimeChart
from varco_nats_widgets.frames._cells import clean, counted, escape
from varco_nats_widgets.live._plot import LivePlot

_NOTICE_LENGTH = 500


@view_of.register(LivePlot)
class LivePlotView(ModelView[LivePlot]):
    """Draws a plot.

    Its parts are there for what builds on it: `chart`, `status`, and `box` with both.
    """

    gone = "this plot is gone; make a new one with live.plot()"

    def __init__(self, plot: LivePlot) -> None:
        super().__init__(plot)
        title = plot.field if plot.by is None else f"{plot.field} by {plot.by}"
        self.chart = TimeChart(title, height=240, from_zero=False)
        self.status = ipywidgets.HTML()
        self._notice = ""
        self._begin(ipywidgets.VBox([self.chart, self.status]))

    def static_html(self, text: str) -> str:
        """A picture of the lines."""
        return f"<p>{escape(text)}</p>{self.chart.static_html()}<p>{self.status.value}</p>"

    def _is_settled(self) -> bool:
        return self.model.state in ("paused", "stopped")

    def _parts(self) -> Iterable[DrawPart]:
        return (self._draw_lines,)

    def _draw_lines(self, _: object) -> None:
        lines = self.model.read()
        self._notice = lines.notice
        self.chart.set_series({name: _points(line) for name, line in lines.series.items()})

    def _show_problem(self) -> None:
        plot = self.model
        said = (self._notice, plot.frame_notice, self.problem or plot.error)
        pieces = [plot.state, f"{counted(plot.received, 'event')} received", *filter(None, said)]
        self.status.value = text_html(clean(" · ".join(pieces), _NOTICE_LENGTH))


def _points(line: pd.Series[float]) -> tuple[Any, Any]:
    """Seconds since 1970 and values."""
    times: Any = line.index
    return times.as_unit("us").asi8 / 1e6, line.to_numpy()
