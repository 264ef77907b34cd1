"""Events that tests publish."""

from __future__ import annotations

from varco_core.event.base import Event


class OrderPlaced(Event):
    __event_type__ = "order.placed"

    order_id: str
    total: float = 1.0


class OrderShipped(Event):
    __event_type__ = "order.shipped"

    order_id: str


def orders(count: int, channel: str = "orders") -> list[tuple[Event, str]]:
    """`count` orders numbered from 0, each with its channel."""
    return [(OrderPlaced(order_id=str(number)), channel) for number in range(count)]
