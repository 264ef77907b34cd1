"""Read what is stored in the channels, without consuming it."""

from varco_nats._nats.direct import Batch, StoredMessage
from varco_nats.history._history import ChannelSummary, History, Selection

__all__ = [
    "Batch",
    "ChannelSummary",
    "History",
    "Selection",
    "StoredMessage",
]
