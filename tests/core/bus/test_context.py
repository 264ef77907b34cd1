"""The context of a publisher reaches the handlers, what they publish, and dead letters."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from nats.aio.client import Client
from opentelemetry import trace
from opentelemetry.sdk.trace import Tracer, TracerProvider
from opentelemetry.trace import SpanContext, TraceFlags, TraceState
from varco_core.event.base import Event
from varco_core.event.consumer import EventConsumer, listen
from varco_core.event.dlq import AbstractDeadLetterQueue, InMemoryDeadLetterQueue
from varco_core.event.middleware import CorrelationMiddleware
from varco_core.event.redrive import DlqRedriver
from varco_core.service.tenant import current_tenant, tenant_context
from varco_core.tracing import CorrelationIdFilter, correlation_context, current_correlation_id

from tests.conftest import MakeSettings
from tests.core.helpers import ALL_SEMANTICS, entry
from tests.events import OrderPlaced, OrderShipped
from tests.waiting import until
from varco_nats._nats.delivery import MessageDelivery
from varco_nats.bus import NatsEventBus
from varco_nats.config import NatsDeliverySemantics, NatsEventBusSettings
from varco_nats.dlq import NatsDLQ
from varco_nats.dlq._codec import with_delivery
from varco_nats.replay import Replayer

NOTHING_SET = (None, None, None, 0)


@pytest.fixture
def tracer() -> Tracer:
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("tests")
    assert isinstance(tracer, Tracer)
    return tracer


@dataclass(frozen=True)
class Context:
    """What is set where it is made."""

    correlation_id: str | None
    middleware_id: str | None
    tenant_id: str | None
    span: SpanContext

    @classmethod
    def here(cls) -> Context:
        return cls(
            current_correlation_id(),
            CorrelationMiddleware.current_id(),
            current_tenant(),
            trace.get_current_span().get_span_context(),
        )

    @property
    def values(self) -> tuple[str | None, str | None, str | None, int]:
        return (self.correlation_id, self.middleware_id, self.tenant_id, self.span.span_id)


class Seen:
    """The contexts in which a bus handled orders."""

    def __init__(self, bus: NatsEventBus) -> None:
        self.contexts: list[Context] = []
        bus.subscribe(OrderPlaced, self._handle, channel="orders")

    def _handle(self, event: Event) -> None:
        self.contexts.append(Context.here())


async def stored_headers(
    nc: Client, settings: NatsEventBusSettings, seq: int
) -> Mapping[str, str] | None:
    message = await nc.jetstream().get_msg(settings.stream_name, seq)
    headers: Mapping[str, str] | None = message.headers
    return headers


async def publish(bus: NatsEventBus, event: Event) -> None:
    await bus.publish(event, channel="orders")


async def publish_acked(bus: NatsEventBus, event: Event) -> None:
    await bus.publish_acked(event, channel="orders")


async def publish_many(bus: NatsEventBus, event: Event) -> None:
    await bus.publish_many([(event, "orders")])


async def publish_many_acked(bus: NatsEventBus, event: Event) -> None:
    await bus.publish_many_acked([(event, "orders")])


@pytest.mark.parametrize("semantics", ALL_SEMANTICS)
@pytest.mark.parametrize("send", [publish, publish_acked, publish_many, publish_many_acked])
async def test_a_handler_runs_in_the_context_of_the_publisher(
    make_settings: MakeSettings,
    nc: Client,
    tracer: Tracer,
    semantics: NatsDeliverySemantics,
    send: Callable[[NatsEventBus, Event], Awaitable[None]],
) -> None:
    settings = make_settings(delivery_semantics=semantics)
    async with NatsEventBus(settings) as bus:
        seen = Seen(bus)
        with tenant_context("acme"), tracer.start_as_current_span("request") as span:
            async with correlation_context("request-1"):
                await send(bus, OrderPlaced(order_id="1"))
        await send(bus, OrderPlaced(order_id="2"))
        await until(lambda: len(seen.contexts) == 2)
    inside, outside = seen.contexts
    of_span = span.get_span_context()
    ids = f"{of_span.trace_id:032x}-{of_span.span_id:016x}"
    assert inside.values == ("request-1", "request-1", "acme", of_span.span_id)
    assert (inside.span.trace_id, inside.span.is_remote) == (of_span.trace_id, True)
    assert outside.values == NOTHING_SET
    headers = await stored_headers(nc, settings, 1)
    assert headers is not None
    headers = dict(headers)
    headers.pop("Nats-Msg-Id", None)
    assert headers == {
        "X-Correlation-ID": "request-1",
        "X-Tenant-Id": "acme",
        "traceparent": f"00-{ids}-{of_span.trace_flags:02x}",
    }
    exactly_once = semantics is NatsDeliverySemantics.EXACTLY_ONCE
    assert [*(await stored_headers(nc, settings, 2) or ())] == ["Nats-Msg-Id"] * exactly_once


async def test_what_a_handler_logs_and_publishes_carries_the_context_on(
    settings: NatsEventBusSettings,
    nc: Client,
    tracer: Tracer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Also in a task that the handler starts, and in what the bus logs of its failure."""
    caplog.handler.addFilter(CorrelationIdFilter())
    spans: list[Any] = []

    async def ship(event: Event) -> None:
        with tracer.start_as_current_span("ship") as span:
            spans.append(span)
            shipped = OrderShipped(order_id="1")
            await asyncio.create_task(bus.publish(shipped, channel="shipped"))
        if len(spans) == 1:
            raise ValueError("once more")

    async with NatsEventBus(settings) as bus:
        bus.subscribe(OrderPlaced, ship, channel="orders")
        state = TraceState([("vendor", "value")])
        parent = SpanContext(1, 2, False, TraceFlags(TraceFlags.SAMPLED), state)
        with trace.use_span(trace.NonRecordingSpan(parent)):
            async with correlation_context("request-1"):
                await bus.publish(OrderPlaced(order_id="1"), channel="orders")
        await until(lambda: len(spans) == 2)
    assert [span.parent.span_id for span in spans] == [2, 2]
    headers = await stored_headers(nc, settings, 3)
    assert headers is not None
    shipped_in = spans[1].get_span_context()
    assert headers["X-Correlation-ID"] == "request-1"
    assert headers["traceparent"].startswith(f"00-{1:032x}-{shipped_in.span_id:016x}-")
    assert headers["tracestate"] == "vendor=value"
    [failed] = [record for record in caplog.records if "failed in delivery" in record.message]
    assert failed.__dict__["correlation_id"] == "request-1"


async def test_a_message_without_context_is_not_handled_in_that_of_who_started_or_subscribed(
    settings: NatsEventBusSettings, tracer: Tracer
) -> None:
    async with AsyncExitStack() as stack:
        with tracer.start_as_current_span("startup"):
            async with correlation_context("startup"):
                bus = await stack.enter_async_context(NatsEventBus(settings))
        with tracer.start_as_current_span("request"), tenant_context("acme"):
            async with correlation_context("request"):
                seen = Seen(bus)
        await bus.publish(OrderPlaced(order_id="1"), channel="orders")
        await until(lambda: seen.contexts)
    assert [context.values for context in seen.contexts] == [NOTHING_SET]


async def test_a_bus_that_is_started_for_a_tenant_handles_in_its_context(
    settings: NatsEventBusSettings,
) -> None:
    with tenant_context("acme"):
        async with NatsEventBus(settings) as bus:
            seen = Seen(bus)
            await bus.publish(OrderPlaced(order_id="1"), channel="orders")
            with tenant_context("other"):
                await bus.publish(OrderPlaced(order_id="2"), channel="orders")
            await until(lambda: len(seen.contexts) == 2)
    assert [context.tenant_id for context in seen.contexts] == ["acme", "other"]


class OrderChanged(OrderPlaced):
    __event_type__ = "order.changed"

    correlation_id: str | None = None


async def test_an_event_that_carries_its_correlation_id_itself_as_an_outbox_publishes_it(
    settings: NatsEventBusSettings,
) -> None:
    async with NatsEventBus(settings) as bus:
        seen = Seen(bus)
        changed = OrderChanged(order_id="1", correlation_id="request-1")
        await bus.publish(changed, channel="orders")
        async with correlation_context("request-2"):
            await bus.publish(changed, channel="orders")
        await bus.publish(OrderChanged(order_id="2"), channel="orders")
        await until(lambda: len(seen.contexts) == 3)
    assert [context.correlation_id for context in seen.contexts] == ["request-1", "request-2", None]


async def test_the_id_of_varcos_middleware_is_carried(settings: NatsEventBusSettings) -> None:
    """It makes one for a message without any, and keeps that of the publisher."""
    ids: list[str | None] = []

    async def ship(event: Event) -> None:
        ids.append(CorrelationMiddleware.current_id())
        await bus.publish(OrderShipped(order_id="1"), channel="shipped")

    def note(event: Event) -> None:
        ids.append(CorrelationMiddleware.current_id())

    async with NatsEventBus(settings, middleware=[CorrelationMiddleware()]) as bus:
        bus.subscribe(OrderPlaced, ship, channel="orders")
        bus.subscribe(OrderShipped, note, channel="shipped")
        await bus.publish(OrderPlaced(order_id="1"), channel="orders")
        await until(lambda: len(ids) == 2)
        async with correlation_context("request-1"):
            await bus.publish(OrderPlaced(order_id="2"), channel="orders")
        await until(lambda: len(ids) == 4)
    assert ids[0] is not None
    assert ids == [ids[0], ids[0], "request-1", "request-1"]


@pytest.mark.parametrize("unusable", ["", "line\r\nbreak", "\ud800"])
async def test_an_id_that_no_header_can_have_keeps_no_event_from_its_channel(
    settings: NatsEventBusSettings, nc: Client, unusable: str
) -> None:
    async with NatsEventBus(settings) as bus:
        with tenant_context(unusable):
            async with correlation_context(unusable):
                await bus.publish(OrderPlaced(order_id="1"), channel="orders")
    assert await stored_headers(nc, settings, 1) is None


# Dead letters


def always_fails(event: Event) -> None:
    raise ValueError("no")


def failing_consumer(dlq: AbstractDeadLetterQueue) -> EventConsumer:
    class Shop(EventConsumer):
        @listen(OrderPlaced, channel="orders", dlq=dlq)
        def on_order(self, event: OrderPlaced) -> None:
            raise ValueError("no")

    return Shop()


@pytest.mark.parametrize("by", ["bus", "consumer", "undecodable"])
@pytest.mark.parametrize("queue", ["nats", "memory"])
async def test_a_dead_letter_has_the_tenant_of_the_publisher(
    make_settings: MakeSettings, nc: Client, by: str, queue: str
) -> None:
    settings = make_settings(max_deliver=1)
    async with AsyncExitStack() as stack:
        dlq: AbstractDeadLetterQueue = InMemoryDeadLetterQueue()
        if queue == "nats":
            dlq = await stack.enter_async_context(NatsDLQ(settings))
        bus = await stack.enter_async_context(NatsEventBus(settings, dlq=dlq))
        if by == "consumer":
            failing_consumer(dlq).register_to(bus)
        else:
            bus.subscribe(OrderPlaced, always_fails, channel="orders")
        if by == "undecodable":
            await nc.jetstream().publish(
                settings.subject_name("orders"), b"?", headers={"X-Tenant-Id": "acme"}
            )
        else:
            with tenant_context("acme"):
                await bus.publish(OrderPlaced(order_id="1"), channel="orders")
        await until(dlq.count)
        [letter] = await dlq.list_entries(tenant_id="acme")
        assert letter.tenant_id == "acme"


def test_a_dead_letter_has_the_tenant_of_its_message_where_the_handler_has_none() -> None:
    """As in a process that imports varco's tenants only when a handler has failed."""
    headers = {"X-Tenant-Id": "acme"}
    delivery = MessageDelivery("orders", "a-stream", 7, 1, headers, "svc-orders", b"{}")
    assert with_delivery(entry(), delivery).tenant_id == "acme"
    assert with_delivery(entry(tenant_id="other"), delivery).tenant_id == "other"


@pytest.mark.parametrize("replay_with", ["redriver", "replayer"])
async def test_a_replay_keeps_the_context_of_the_original(
    make_settings: MakeSettings, nc: Client, tracer: Tracer, replay_with: str
) -> None:
    """It is not that of who replays."""
    settings = make_settings(max_deliver=1)
    async with NatsDLQ(settings) as dlq, NatsEventBus(settings, dlq=dlq) as bus:
        subscription = bus.subscribe(OrderPlaced, always_fails, channel="orders")
        with tenant_context("acme"), tracer.start_as_current_span("request"):
            async with correlation_context("request-1"):
                await bus.publish(OrderPlaced(order_id="1"), channel="orders")
        await until(dlq.count)
        subscription.cancel()
        original = await stored_headers(nc, settings, 1)
        assert original is not None
        async with correlation_context("operator"):
            if replay_with == "redriver":
                await DlqRedriver(dlq, bus).redrive_batch()
            else:
                async with Replayer(settings) as replayer:
                    await replayer.run(await replayer.plan())
        replay = await stored_headers(nc, settings, 2)
        assert replay is not None
        assert {name: replay[name] for name in original} == dict(original)
        assert "traceparent" in original


def test_a_process_without_opentelemetry_and_tenants_imports_neither() -> None:
    script = """
import sys
from varco_nats._nats.context import context_of, headers_of_context, leave_request

leave_request()
with context_of({"traceparent": f"00-{1:032x}-{2:016x}-01", "X-Tenant-Id": "acme"}, None):
    print(headers_of_context(), *{"opentelemetry", "varco_core.service"} & sys.modules.keys())
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.stderr) == ("{}\n", "")
