"""A made-up shop that fills channels with realistic events: for notebooks, tests and benchmarks."""

from varco_nats_widgets.sample._sample import (
    BROKEN_KINDS,
    NotLocalServerError,
    OrderCancelled,
    OrderPlaced,
    PaymentCaptured,
    PaymentFailed,
    PaymentRefunded,
    SampleMessage,
    ShipmentDelivered,
    ShipmentSent,
    Shop,
    Traffic,
    fill,
    traffic,
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
    "fill",
    "traffic",
]
