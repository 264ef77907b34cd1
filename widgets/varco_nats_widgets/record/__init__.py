"""`DeliveryRecord`: everything that happened to every message, as DataFrames."""

from varco_nats_widgets.record._record import (
    KINDS,
    DeliveryRecord,
    Dropped,
    Flow,
    Row,
    Verdict,
)

__all__ = [
    "KINDS",
    "DeliveryRecord",
    "Dropped",
    "Flow",
    "Row",
    "Verdict",
]
