"""The made-up shop of `sample`: what happens in it, as messages. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush
from itertools import islice
from math import inf
from random import Random
from typing import Any, NamedTuple

from varco_core.event.base import Event

from varco_nats_widgets.sample._shop_events import (
    ROUTES,
    OrderCancelled,
    OrderPlaced,
    PaymentCaptured,
    PaymentFailed,
    PaymentRefunded,
    ShipmentDelivered,
    ShipmentSent,
)

START = datetime(2026, 5, 4, 8, tzinfo=UTC)
"""When the shop opens."""

BROKEN_KINDS = ("not JSON", "not UTF-8", "empty", "array", "huge integer")
"""What is wrong with broken messages: they are cut short; are in Latin-1; have no bytes; are a
list of events; or have a number beyond 64 bits in an event that is otherwise fine."""

_BROKEN_EVERY = 40
_SECOND = 1_000_000  # times are in microseconds from START
_HOUR = 3600 * _SECOND
_ORDERS_A_DAY = 1250
_RHYTHM = [int(digit, 32) for digit in "321112469BCDCA99ACFHGC85"]  # of the hours from midnight
_MEAN_GAPS = [_HOUR * sum(_RHYTHM) / (_ORDERS_A_DAY * weight) for weight in _RHYTHM]

# the texts of these tables go into JSON as they are, so they need no escapes
_PRODUCTS = (
    ("tea-sencha", 890),
    ("tea-assam", 650),
    ("coffee-house", 1190),
    ("mug-blue", 1450),
    ("pot-glass", 3290),
    ("honey-lime", 720),
    ("kettle", 6450),
)
_FIRST = ("Ada", "Björn", "Chiara", "Dario", "Elif", "Fátima", "Grace", "Håkon", "Inês", "Jürgen")
_LATIN_1 = ("Björn", "Fátima", "Håkon", "Inês", "Jürgen")
_LAST = ("Novák", "Silva", "Rossi", "Müller", "Dubois", "Jensen", "Peeters", "Kowalski", "O'Brien")
_PLACES = (
    ("Graz", "8010", "AT"),
    ("Lyon", "69002", "FR"),
    ("Torino", "10121", "IT"),
    ("København", "1050", "DK"),
    ("Kraków", "31-001", "PL"),
)
_STREETS = ("Hauptplatz", "Rue Victor Hugo", "Via Roma", "Lindengasse", "Kirkegade", "Market Row")
_NOTES = (
    'Customer asks: "wrap it as a gift" 🎁',
    "Label printed as <b>fragile</b>, should be plain",
    "=SUM(B2:B9) does not match the till",
    "Rückruf vereinbart;\nno hurry",
)


@dataclass(frozen=True, slots=True)
class SampleMessage:
    """One message for a channel."""

    channel: str
    payload: bytes
    headers: dict[str, str] | None = None
    broken: str | None = None
    """What is wrong with the payload, one of `BROKEN_KINDS`; None if nothing is."""


class Shop:
    """A shop whose events are the same for the same seed, byte for byte.

    - Channel `orders`: `OrderPlaced`, about one a minute by day and one in ten minutes by night
      from 2026-05-04T08:00Z on, and `OrderCancelled`.
    - Channel `payments`: 92% of the orders are paid at the first attempt, 5% at the second, and 3%
      never, which cancels them; 3% are cancelled and refunded after they were paid.
    - Channel `shipments`: all other orders are sent within hours, and 98% of these are delivered
      within two days. The others are lost and refunded, and so are 4% of those delivered.
    - Channel `audit`: an event after 35% of the orders, of five types without a class, with fields
      that are missing, null or of mixed kinds; and a broken message after every 40th order, the
      `BROKEN_KINDS` in turn.

    All messages of a quarter of the orders have the headers `Source` and `Trace-Id`. Messages that
    are not broken decode with `JsonEventSerializer`, those of `audit` if you declare classes.

    Args:
        seed: chooses the shop; shops with different seeds have different order ids.
        broken: whether there are broken messages; the other messages stay the same.

    Example:
        for message in Shop(seed=7).messages(1000):
            await jetstream.publish(f"varco.{message.channel}", message.payload)
    """

    def __init__(self, seed: int = 7, *, broken: bool = True) -> None:
        self._seed = seed
        self._broken = broken

    def __repr__(self) -> str:
        return f"Shop(seed={self._seed})"

    def messages(self, count: int) -> Iterator[SampleMessage]:
        """The first `count` messages, in the order of their timestamps.

        Each is made when it is asked for, so 10 million need no more memory than a thousand.

        Raises:
            ValueError: `count` is negative.
        """
        if count < 0:
            raise ValueError(f"count={count!r}: must be 0 or more")
        return islice(shop_messages(self._seed, broken=self._broken), count)

    def orders(self, count: int) -> Iterator[SampleMessage]:
        """The messages of the first `count` orders, with all that follows from these.

        Raises:
            ValueError: `count` is below 1.
        """
        if count < 1:
            raise ValueError(f"there must be 1 order or more, not {count!r}")
        return shop_messages(self._seed, broken=self._broken, orders=count)


def shop_messages(
    seed: int,
    *,
    broken: bool = True,
    orders: int | None = None,
    clock: Callable[[int], datetime] = lambda time: START + timedelta(microseconds=time),
) -> Iterator[SampleMessage]:
    """The messages of a `Shop`, to the last of order number `orders`, or without end if None.

    Args:
        clock: gives each message its time; it is called with microseconds since `START`.
    """
    script = _Script(Random(f"varco shop {seed}"))  # noqa: S311
    until: float = 0
    while until < inf:
        more = orders is None or script.orders < orders
        until = script.next_order() if more else inf
        while script.pending and script.pending[0].time <= until:
            planned = heappop(script.pending)
            if broken or planned.broken is None:
                yield _message(planned, clock)


class _PlannedMessage(NamedTuple):
    """A message that is still to come; these sort by `time` and then by `number`, which differs."""

    time: int
    number: int
    channel: str
    type: str
    event_id: str
    fields: str
    """The event's own fields, as JSON without the braces around them."""
    headers: dict[str, str] | None
    broken: str | None


class _Order(NamedTuple):
    """What the messages of one order have in common."""

    id: str
    customer: int
    name: str
    place: tuple[str, str, str]
    total: float
    pieces: int
    headers: dict[str, str] | None


class _Script:
    """Decides what will happen, order by order.

    It draws the same random numbers whichever messages are used, and only by `random()` and
    `getrandbits()`, which give the same results in every version of Python.
    """

    def __init__(self, random: Random) -> None:
        self.pending: list[_PlannedMessage] = []  # a heap
        self.orders = 0
        self._random = random.random
        self._bits = random.getrandbits
        self._now = 0
        self._planned = 0
        self._prefix = "".join(self._pick("BCDFGHJKLMNPQRSTVWXZ") for _ in range(4))

    def next_order(self) -> int:
        """Plan one order and all that follows from it; returns when it is placed."""
        mean_gap = _MEAN_GAPS[(START.hour + self._now // _HOUR) % 24]
        self._now += 1 + int(4 * self._random() * self._random() * mean_gap)  # mostly a short gap
        self.orders += 1
        items, pieces, cents = self._items()
        number = int(self._random() * self._random() * 5000)  # some customers order more often
        order = _Order(
            id=f"{self._prefix}-{self.orders:06d}",
            customer=number,
            name=f"{_FIRST[number % len(_FIRST)]} {_LAST[number // len(_FIRST) % len(_LAST)]}",
            place=_PLACES[number % len(_PLACES)],
            total=cents / 100,
            pieces=pieces,
            headers=self._headers() if self._random() < 0.25 else None,
        )
        customer = f'"id": "C-{number:04d}", "name": "{order.name}", "country": "{order.place[2]}"'
        fields = f'"customer": {{{customer}}}, "items": [{items}], "total": {order.total}'
        self._plan(self._now, OrderPlaced, order, fields)
        self._pay(self._later(self._now, 2, 90), order)
        self._audit()
        return self._now

    def _items(self) -> tuple[str, int, int]:
        """The items of an order as JSON, how many pieces they are, and their price in cents."""
        items, pieces, cents = [], 0, 0
        for _ in range(self._pick((1, 1, 1, 1, 2, 2, 3))):
            sku, price = self._pick(_PRODUCTS)
            count = self._pick((1, 1, 2, 3))
            items.append(f'{{"sku": "{sku}", "qty": {count}, "price": {price / 100}}}')
            pieces += count
            cents += count * price
        return ", ".join(items), pieces, cents

    def _headers(self) -> dict[str, str]:
        return {"Source": self._pick(("web", "app", "till")), "Trace-Id": f"{self._bits(128):032x}"}

    def _pay(self, time: int, order: _Order) -> None:
        method = self._pick(("card", "card", "paypal", "invoice"))
        payment = f'"payment_id": "{order.id}-P1", '
        paid = f'"method": "{method}", "amount": {order.total}'
        if self._random() < 0.08:
            reason = self._pick(("card declined", "timeout", "insufficient funds"))
            self._plan(time, PaymentFailed, order, f'{payment}{paid}, "reason": "{reason}"')
            time = self._later(time, 30, 900)
            if self._random() < 0.375:
                self._plan(time, OrderCancelled, order, '"reason": "not paid"')
                return
            payment = f'"payment_id": "{order.id}-P2", '
        self._plan(time, PaymentCaptured, order, payment + paid)
        refund = f'{payment}"amount": {order.total}, "reason": '
        if self._random() < 0.03:
            time = self._later(time, 60, 1800)
            self._plan(time, OrderCancelled, order, '"reason": "customer changed their mind"')
            self._plan(self._later(time, 5, 300), PaymentRefunded, order, f'{refund}"cancelled"')
            return
        self._ship(self._later(time, 1800, 6 * 3600), order, refund)

    def _ship(self, time: int, order: _Order, refund: str) -> None:
        city, postcode, country = order.place
        shipment = f'"shipment_id": "{order.id}-S1", "carrier": "{self._pick(("dhl", "ups"))}"'
        weight = order.pieces * 350 + int(self._random() * 300)
        street = f"{self._pick(_STREETS)} {1 + order.customer % 120}"
        address = f'"street": "{street}", "postcode": "{postcode}", "city": "{city}"'
        where = f'"address": {{{address}, "country": "{country}"}}'
        self._plan(time, ShipmentSent, order, f'{shipment}, "weight_g": {weight}, {where}')
        if self._random() < 0.02:
            self._plan(self._later_hours(time, 96, 120), PaymentRefunded, order, f'{refund}"lost"')
            return
        time = self._later_hours(time, 16, 44)
        signed_by = f'"{order.name}"' if self._random() < 0.7 else "null"
        self._plan(time, ShipmentDelivered, order, f'{shipment}, "signed_by": {signed_by}')
        if self._random() < 0.04:
            time = self._later_hours(time, 24, 96)
            self._plan(time, PaymentRefunded, order, f'{refund}"returned"')

    def _audit(self) -> None:
        if self._random() < 0.35:
            self._plan_audit(*self._audit_event())
        if self.orders % _BROKEN_EVERY == 0:
            kind = BROKEN_KINDS[(self.orders // _BROKEN_EVERY - 1) % len(BROKEN_KINDS)]
            count = 2**64 + self._bits(64) if kind == "huge integer" else self.orders
            fields = {"user": self._pick(_LATIN_1), "count": count}
            self._plan_audit("import", fields, kind)

    def _audit_event(self) -> tuple[str, dict[str, Any]]:
        user = self._pick(_FIRST).lower()
        sku, cents = self._pick(_PRODUCTS)
        shelf = {"aisle": 1 + int(self._random() * 9), "row": self._pick("ABC")}
        match int(self._random() * 5):
            case 0:
                return "login", {"user": user, "ok": self._random() < 0.9}
            case 1:
                new = self._pick((cents / 100 + 1, cents // 100, None))
                return "price_changed", {"sku": sku, "old": cents / 100, "new": new}
            case 2:
                counted = {"count": int(self._random() * 200), "shelf": shelf}
                return "stock_counted", {"sku": sku, **(counted if self._random() < 0.8 else {})}
            case 3:
                value = self._pick((True, 14, "weekdays", ["AT", "FR"], shelf, {}, None))
                return "setting_changed", {"name": "delivery", "value": value, "user": user}
            case _:
                return "note", {"user": user, "text": self._pick(_NOTES), "tags": []}

    def _plan(self, time: int, event: type[Event], order: _Order, fields: str) -> None:
        channel, type_name = ROUTES[event]
        fields = f'"order_id": "{order.id}", {fields}'
        self._push(time, channel, type_name, fields, order.headers)

    def _plan_audit(self, name: str, fields: dict[str, Any], broken: str | None = None) -> None:
        time = self._later(self._now, 1, 300)
        text = json.dumps(fields, ensure_ascii=False)[1:-1]
        self._push(time, "audit", f"audit.{name}", text, None, broken)

    def _push(
        self,
        time: int,
        channel: str,
        type_name: str,
        fields: str,
        headers: dict[str, str] | None,
        broken: str | None = None,
    ) -> None:
        bits = f"{self._bits(128):032x}"
        event_id = f"{bits[:8]}-{bits[8:12]}-4{bits[13:16]}-a{bits[17:20]}-{bits[20:]}"
        self._planned += 1
        planned = _PlannedMessage(
            time, self._planned, channel, type_name, event_id, fields, headers, broken
        )
        heappush(self.pending, planned)

    def _later(self, time: int, low: int, high: int) -> int:
        """A random moment `low` to `high` seconds after `time`."""
        return time + int((low + self._random() * (high - low)) * _SECOND)

    def _later_hours(self, time: int, low: int, high: int) -> int:
        return self._later(time, low * 3600, high * 3600)

    def _pick[T](self, choices: Sequence[T]) -> T:
        return choices[int(self._random() * len(choices))]


def _message(planned: _PlannedMessage, clock: Callable[[int], datetime]) -> SampleMessage:
    timestamp = clock(planned.time).isoformat().replace("+00:00", "Z")
    text = (
        f'{{"__event_type__": "{planned.type}", "event_id": "{planned.event_id}", '
        f'"timestamp": "{timestamp}", {planned.fields}}}'
    )
    if planned.broken is None:
        return SampleMessage(planned.channel, text.encode(), planned.headers)
    payload = text.encode()
    match planned.broken:
        case "not JSON":
            payload = payload[: len(payload) // 2]
        case "not UTF-8":
            payload = text.encode("latin-1")
        case "empty":
            payload = b""
        case "array":
            payload = b"[" + payload + b"]"
    return SampleMessage(planned.channel, payload, planned.headers, planned.broken)
