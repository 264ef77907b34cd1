"""The event classes of the made-up shop of `sample`."""

from __future__ import annotations

from pydantic import BaseModel
from varco_core.event.base import Event


class Customer(BaseModel, frozen=True):
    """Who ordered; the same id has the same name and country in every order."""

    id: str
    name: str
    country: str


class Item(BaseModel, frozen=True):
    """One line of an order; `price` is for one piece, in euros."""

    sku: str
    qty: int
    price: float


class Address(BaseModel, frozen=True):
    """Where a shipment goes."""

    street: str
    postcode: str
    city: str
    country: str


class OrderPlaced(Event):
    """The first event of every order, in channel `orders`."""

    __event_type__ = "shop.order.placed"

    order_id: str
    customer: Customer
    items: tuple[Item, ...]
    total: float


class OrderCancelled(Event):
    """An order that is not shipped, in channel `orders`."""

    __event_type__ = "shop.order.cancelled"

    order_id: str
    reason: str


class PaymentCaptured(Event):
    """An order is paid, in channel `payments`."""

    __event_type__ = "shop.payment.captured"

    order_id: str
    payment_id: str
    method: str
    amount: float


class PaymentFailed(Event):
    """An attempt to pay failed, in channel `payments`."""

    __event_type__ = "shop.payment.failed"

    order_id: str
    payment_id: str
    method: str
    amount: float
    reason: str


class PaymentRefunded(Event):
    """Money goes back, in channel `payments`."""

    __event_type__ = "shop.payment.refunded"

    order_id: str
    payment_id: str
    amount: float
    reason: str


class ShipmentSent(Event):
    """A paid order left the warehouse, in channel `shipments`."""

    __event_type__ = "shop.shipment.sent"

    order_id: str
    shipment_id: str
    carrier: str
    weight_g: int
    address: Address


class ShipmentDelivered(Event):
    """A shipment arrived, in channel `shipments`."""

    __event_type__ = "shop.shipment.delivered"

    order_id: str
    shipment_id: str
    carrier: str
    signed_by: str | None


ROUTES: dict[type[Event], tuple[str, str]] = {
    event: (channel, event.event_type_name())
    for channel, events in {
        "orders": (OrderPlaced, OrderCancelled),
        "payments": (PaymentCaptured, PaymentFailed, PaymentRefunded),
        "shipments": (ShipmentSent, ShipmentDelivered),
    }.items()
    for event in events
}
"""Channel and type name of each event."""
