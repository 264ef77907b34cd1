"""A bad night of the made-up shop: dead letters as its services would leave them. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from random import Random
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from varco_core.event.dlq import DeadLetterEntry

from varco_nats_widgets.sample._shop import START, shop_messages

TRACES = 10_000
"""How many different error messages there are at most; later entries repeat them."""

_NIGHT = timedelta(hours=10)
_TENANTS = ("north", "south", "wholesale")
_COUNTRIES = ("austria", "denmark", "france", "italy", "poland")


def _python(*frames: str) -> str:
    """A traceback; a frame is `file:line function: code`."""
    lines = ["Traceback (most recent call last):"]
    for frame in frames:
        place, code = frame.split(": ", 1)
        where, function = place.split(" ")
        file, line = where.split(":")
        lines += [f'  File "/srv/{file}.py", line {line}, in {function}', f"    {code}"]
    return "\n".join(lines)


def _java(*frames: str) -> str:
    return "\n".join(f"\tat {frame}" for frame in frames)


_TIMEOUT = (
    _python(
        "lib/httpx/_transports/default:101 map_httpcore_exceptions: yield",
        "lib/httpx/_transports/default:394 handle_async_request: resp = await self._pool.send(req)",
        "lib/httpcore/_async/connection_pool:256 send: raise exc from None",
    )
    + "\nhttpcore.ReadTimeout\n\n"
    + "The above exception was the direct cause of the following exception:\n\n"
    + _python(
        "shop/consumers/orders:88 on_order_placed: await self.warehouse.reserve(event.order_id)",
        "shop/clients/warehouse:41 reserve: answer = await self._http.post(path, json=body)",
        "lib/httpx/_client:1859 post: return await self.request('POST', url, json=json)",
        "lib/httpx/_client:1540 request: return await self.send(request, auth=auth)",
    )
    + "\nhttpx.ReadTimeout: POST https://wms-{digit}.shop.internal/reservations/{order} did not "
    "answer within {seconds:.3f} s (attempt {digit}, request {request})"
)
_DEADLOCK = (
    _python(
        "shop/consumers/payments:132 on_payment: await self.ledger.book(event.payment_id)",
        "shop/ledger/book:57 book: await session.execute(_BOOK, parameters)",
        "lib/sqlalchemy/ext/asyncio/session:463 execute: result = await greenlet_spawn(execute)",
        "lib/sqlalchemy/engine/base:1416 execute: return meth(self, distilled_parameters)",
        "lib/sqlalchemy/engine/default:952 do_execute: cursor.execute(statement, parameters)",
    )
    + "\nsqlalchemy.exc.OperationalError: (psycopg.errors.DeadlockDetected) deadlock detected\n"
    "DETAIL:  Process {pid} waits for ShareLock on transaction {number}; blocked by {other}.\n"
    "HINT:  See server log for query details.\n"
    'CONTEXT:  while updating tuple ({pid},{digit}) in relation "ledger"\n'
    "[SQL: CALL book(payment => %(payment)s, amount => %(amount)s)]\n"
    "[parameters: {{'payment': '{request}', 'amount': Decimal('{total}')}}]"
)
_COUNTRY = (
    "1 validation error for ShipmentLabel\ncountry\n"
    "  String should match pattern '^[A-Z]{{2}}$' [type=string_pattern_mismatch, "
    "input_value='{country}', input_type=str]"
)
_NEGATIVE = "total of order {order} is -{total}: must be 0 or more"
_REFUND = (
    "com.shop.returns.RefundRejectedException: refund {request} of {order} was rejected by "
    "acquirer, code AC0{digit}\n"
    + _java(
        "com.shop.returns.RefundService.refund(RefundService.java:214)",
        "com.shop.returns.ReturnConsumer.onReturn(ReturnConsumer.java:77)",
        "com.shop.returns.ReturnConsumer$$FastClass$$6f1c2a.invoke(<generated>)",
        "org.springframework.cglib.proxy.MethodProxy.invoke(MethodProxy.java:218)",
        "org.springframework.retry.support.RetryTemplate.doExecute(RetryTemplate.java:329)",
        "io.nats.client.impl.NatsDispatcher.run(NatsDispatcher.java:114)",
        "java.base/java.lang.Thread.run(Thread.java:1583) [thread pool-{digit}-worker-{pid}]",
    )
    + "\nCaused by: java.net.SocketException: Connection reset after {pid} ms\n"
    + _java("java.base/sun.nio.ch.NioSocketImpl.implRead(NioSocketImpl.java:318)")
    + "\n\t... 14 more"
)
_NOT_TEXT = "'utf-8' codec can't decode byte 0xc{digit} in position {pid}: invalid start byte"


class _Cause(NamedTuple):
    weight: int  # of 100 entries
    channel: str
    handler: str
    error_type: str
    message: str


_CAUSES = (
    _Cause(52, "orders", "shop.consumers.OrderConsumer.on_order_placed", "ReadTimeout", _TIMEOUT),
    _Cause(20, "payments", "shop.consumers.Ledger.on_payment", "OperationalError", _DEADLOCK),
    _Cause(14, "shipments", "shop.consumers.Labels.on_shipment", "ValidationError", _COUNTRY),
    _Cause(8, "orders", "shop.consumers.Invoicing.on_order_placed", "ValueError", _NEGATIVE),
    _Cause(4, "returns.v1", "com.shop.ReturnConsumer.onReturn", "RefundRejected", _REFUND),
    _Cause(2, "shipments", "shop.consumers.Labels.on_shipment", "UnicodeDecodeError", _NOT_TEXT),
)
_WEIGHTS = [cause.weight for cause in _CAUSES]


def failures(count: int, seed: int = 7) -> Iterator[DeadLetterEntry]:
    """`count` dead letters of one night, the same for the same seed, byte for byte.

    They have six causes, of which two have long tracebacks of Python and one of Java; three
    tenants; and four channels, of which nobody consumes `returns.v1`. Of the payloads 2 % are not
    text, 8 % have a negative `total`, and 14 % name a `country` instead of its code.

    Args:
        count: from 0; each is made when it is asked for.
        seed: chooses the orders, the ids and what the error messages say.

    Raises:
        ValueError: `count` is negative.
    """
    if count < 0:
        raise ValueError(f"count={count!r}: must be 0 or more")
    random = Random(f"varco failures {seed}")  # noqa: S311
    placed = (
        message.payload
        for message in shop_messages(seed, broken=False)
        if message.channel == "orders" and b'"shop.order.placed"' in message.payload
    )
    causes: list[tuple[_Cause, str, dict[str, Any]]] = []  # with its message and order
    for number in range(count):
        [cause] = random.choices(_CAUSES, _WEIGHTS)
        last = START + _NIGHT * ((number + random.random()) / count)
        order = msgspec.json.decode(next(placed))
        said = Random(f"{seed} {number % TRACES}")  # noqa: S311
        country = said.choice(_COUNTRIES)
        if number < TRACES:
            message = cause.message.format(
                order=order["order_id"],
                total=order["total"],
                country=country,
                digit=said.randrange(1, 10),
                pid=said.randrange(1000, 60_000),
                other=said.randrange(1000, 60_000),
                number=said.randrange(10**8),
                seconds=said.uniform(5, 30),
                request=UUID(int=said.getrandbits(128), version=4),
            )
            causes.append((cause, message, order))
        cause, message, of = causes[number % TRACES]
        order = of | {name: order[name] for name in ("event_id", "timestamp")}
        yield DeadLetterEntry(
            entry_id=UUID(int=random.getrandbits(128), version=4),
            payload=_payload(cause, order, country, said),
            channel=cause.channel,
            handler_name=cause.handler,
            error_type=cause.error_type,
            error_message=message,
            attempts=5,
            first_failed_at=last - timedelta(seconds=random.uniform(2, 90)),
            last_failed_at=last,
            source_ref=f"shop:{number + 1}",
            tenant_id=random.choice(_TENANTS),
        )


def _payload(cause: _Cause, order: dict[str, Any], country: str, random: Random) -> bytes:
    """The event that failed, with what made it fail."""
    if cause.message is _NOT_TEXT:
        return b"\x89LBL\r\n\xc3" + random.randbytes(200)
    event = {name: order[name] for name in ("event_id", "timestamp", "order_id")}
    match cause.channel:
        case "orders":
            sign = -1 if cause.message is _NEGATIVE else 1
            event = order | {"total": sign * order["total"]}
        case "payments":
            kind, amount = "shop.payment.captured", order["total"]
            payment = f"p-{order['order_id']}"
            event |= {"__event_type__": kind, "payment_id": payment, "method": "card"}
            event |= {"amount": amount}
        case "shipments":
            address = {"street": "Via Roma 7", "postcode": "10121", "city": "Torino"}
            event |= {"__event_type__": "shop.label.requested", "address": address}
            event |= {"country": country, "tracking": ""}
        case _:
            lines = [{"sku": item["sku"], "reason": "broken"} for item in order["items"]]
            event |= {"__event_type__": "shop.return.requested", "lines": lines}
    return msgspec.json.encode(event)
