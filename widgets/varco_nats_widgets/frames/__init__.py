"""Stored messages as a DataFrame. Pure: no server, no event classes."""

from varco_nats_widgets.frames._frames import (
    COLUMNS,
    MAX_FIELDS,
    FrameBuilder,
    column_of,
    completeness,
    decode,
    flatten,
)

__all__ = [
    "COLUMNS",
    "MAX_FIELDS",
    "FrameBuilder",
    "column_of",
    "completeness",
    "decode",
    "flatten",
]
