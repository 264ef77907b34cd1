"""Stored messages as a DataFrame. Pure: no server, no event classes."""

from varco_nats_widgets.frames._columns import column_of
from varco_nats_widgets.frames._frames import MAX_FIELDS, FrameBuilder, completeness
from varco_nats_widgets.frames._payload import COLUMNS, decode, flatten

__all__ = [
    "COLUMNS",
    "MAX_FIELDS",
    "FrameBuilder",
    "column_of",
    "completeness",
    "decode",
    "flatten",
]
