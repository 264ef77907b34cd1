"""A made-up shop that fills channels with realistic events: for notebooks, tests and benchmarks."""

from varco_nats_widgets.sample._failures import failures
from varco_nats_widgets.sample._sample import (
    NotLocalServerError,
    Traffic,
    fill,
    fill_dead_letters,
    traffic,
)
from varco_nats_widgets.sample._shop import BROKEN_KINDS, SampleMessage, Shop
from varco_nats_widgets.sample._shop_events import (
    OrderCancelled,
    OrderPlaced,
    PaymentCaptured,
    PaymentFailed,
    PaymentRefunded,
    ShipmentDelivered,
    ShipmentSent,
)

__all__ = [
    "BROKEN_KINDS",
    "NotLocalServerError",
    "OrderCancelled",
    "OrderPlaced",
    "PaymentCaptured",
    "PaymentFailed",
    "PaymentRefunded",
    "SampleMessage",
    "ShipmentDelivered",
    "ShipmentSent",
    "Shop",
    "Traffic",
    "failures",
    "fill",
    "fill_dead_letters",
    "traffic",
]
