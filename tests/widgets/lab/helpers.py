"""Events for the tests of this folder."""

from __future__ import annotations

import threading

from varco_core.event.base import Event
from varco_core.event.consumer import EventConsumer, listen
from varco_core.event.serializer import JsonEventSerializer
from varco_nats_widgets import Lab


class LabOrder(Event):
    number: int
    total: float = 1.0


class LabPayment(Event):
    order: int


class Backwards:
    """A serializer such as a service may have: bytes that are not JSON."""

    def serialize(self, value: Event) -> bytes:
        return JsonEventSerializer().serialize(value)[::-1]

    def deserialize(self, data: bytes, type_hint: type[Event] | None = None) -> Event:
        return JsonEventSerializer().deserialize(data[::-1])


class Warehouse(EventConsumer):
    def __init__(self) -> None:
        self.packed: list[int] = []
        self.threads: set[str] = set()

    @listen(LabOrder, channel="orders")
    async def pack(self, order: LabOrder) -> None:
        self.packed.append(order.number)
        self.threads.add(threading.current_thread().name)


def orders(*numbers: int, channel: str = "orders") -> list[tuple[Event, str]]:
    return [(LabOrder(number=number), channel) for number in numbers]


def server_pid(lab: Lab) -> int:
    local = lab._session._local
    assert local is not None
    return local.pid
