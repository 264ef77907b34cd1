"""Read what is stored in the channels, without consuming it."""

from varco_nats.history._history import (
    ChannelSummary,
    History,
    Selection,
    StoredMessage,
)

__all__ = [
    "ChannelSummary",
    "History",
    "Selection",
    "StoredMessage",
]
