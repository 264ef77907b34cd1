"""`DeliveryRecord`: everything that happened to every message, as DataFrames."""

from varco_nats_widgets.record._eviction import Dropped
from varco_nats_widgets.record._frames import Flow
from varco_nats_widgets.record._record import DeliveryRecord, Verdict
from varco_nats_widgets.record._rows import KINDS, Row

__all__ = ["KINDS", "DeliveryRecord", "Dropped", "Flow", "Row", "Verdict"]
