"""Read what is stored in the channels, without consuming it."""

from varco_nats._nats.direct import StoredMessage
from varco_nats.history._history import ChannelSummary, History, Selection

__all__ = [
    "ChannelSummary",
    "History",
    "Selection",
    "StoredMessage",
]
