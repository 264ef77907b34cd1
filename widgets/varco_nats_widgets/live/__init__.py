"""`LiveFrame`: what arrives in a channel, as a DataFrame that grows."""

from varco_nats_widgets.live import _plot_view, _view  # noqa: F401 - they register for models
from varco_nats_widgets.live._feed import LiveQuery
from varco_nats_widgets.live._live import LiveFrame, live_query
from varco_nats_widgets.live._plot import LivePlot

__all__ = ["LiveFrame", "LivePlot", "LiveQuery", "live_query"]
