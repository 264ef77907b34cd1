"""`LiveFrame`: what arrives in a channel, as a DataFrame that grows."""

from varco_nats_widgets.live import _view  # noqa: F401 - it registers for the model
from varco_nats_widgets.live._feed import LiveQuery
from varco_nats_widgets.live._live import LiveFrame, live_query

__all__ = ["LiveFrame", "LiveQuery", "live_query"]
