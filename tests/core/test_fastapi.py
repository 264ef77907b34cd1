"""varco's FastAPI adapter on our bus: SSE, health, dead letters, outbox and jobs of a real app."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from providify import DIContainer, Provider
from varco_core.auth import AuthContext
from varco_core.event.base import AbstractEventBus
from varco_core.event.consumer import EventConsumer, listen
from varco_core.event.dlq import AbstractDeadLetterQueue, DeadLetterSource
from varco_core.event.producer import AbstractEventProducer
from varco_core.event.redrive import DlqRedriver
from varco_core.health import HealthCheck
from varco_core.job.base import Job, JobStatus
from varco_core.service.outbox import OutboxEntry, OutboxRelay
from varco_fastapi import (
    AbstractServerAuth,
    AnonymousAuth,
    InMemoryJobStore,
    JobRunner,
    VarcoLifespan,
    create_varco_app,
)
from varco_fastapi.admin.mount import mount_reliability_admin
from varco_fastapi.di import bootstrap as bootstrap_fastapi
from varco_fastapi.router.health import HealthRouter
from varco_ws.di import bind_sse_adapter
from varco_ws.sse import SSEEventBus

from tests.core.outbox import Rows
from tests.events import OrderPlaced
from tests.waiting import until
from varco_nats.bus import NatsEventBus
from varco_nats.config import NatsEventBusSettings
from varco_nats.di import bootstrap
from varco_nats.errors import AlreadyStartedError
from varco_nats.server import LocalNats

Wire = Callable[[NatsEventBusSettings], DIContainer]


class Shop(EventConsumer):
    """Handles orders while it is open."""

    def __init__(self) -> None:
        self.open = True
        self.handled: list[str] = []

    @listen(OrderPlaced, channel="orders")
    async def on_order(self, event: OrderPlaced) -> None:
        if not self.open:
            raise RuntimeError("the shop is closed")
        self.handled.append(event.order_id)


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    """Fills a container as an application does."""
    async with AsyncExitStack() as ended:

        def fill(settings: NatsEventBusSettings) -> DIContainer:
            @Provider(singleton=True)
            def bus() -> NatsEventBusSettings:
                return settings

            @Provider(singleton=True)
            def auth() -> AbstractServerAuth:
                return AnonymousAuth()

            container = DIContainer()
            ended.push_async_callback(container.ashutdown)
            container.provide(bus)
            container.provide(auth)
            bootstrap_fastapi(bootstrap(container))
            return container

        yield fill


@asynccontextmanager
async def served(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """`app` in a uvicorn on a free port of loopback, with its lifespan."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, lifespan="on", log_config=None, ws="none"))
    serving = asyncio.create_task(server.serve())
    try:
        await until(lambda: server.started or serving.done())
        [listening] = server.servers
        port = listening.sockets[0].getsockname()[1]
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            yield client
    finally:
        server.should_exit = True
        await serving


@asynccontextmanager
async def in_process(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """`app` with its lifespan, called without a network."""
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://app") as client,
    ):
        yield client


async def test_an_app_publishes_streams_to_a_browser_and_stops_its_bus(
    settings: NatsEventBusSettings, wire: Wire
) -> None:
    container = wire(settings)
    bind_sse_adapter(container, event_type=OrderPlaced, channel="orders")
    bus: AbstractEventBus = await container.aget(AbstractEventBus)
    producer: AbstractEventProducer = await container.aget(AbstractEventProducer)
    stream: SSEEventBus = container.get(SSEEventBus)
    shop = Shop()
    shop.register_to(bus)
    app: FastAPI = create_varco_app(container, routers=[])

    @app.post("/orders/{order_id}")
    async def place(order_id: str) -> None:
        await producer._produce(OrderPlaced(order_id=order_id), channel="orders")

    @app.get("/events")
    async def events() -> StreamingResponse:
        async def lines() -> AsyncIterator[str]:
            async with stream.subscribe() as connection:
                async for message in connection.stream():
                    yield message

        return StreamingResponse(lines(), media_type="text/event-stream")

    async with served(app) as client, client.stream("GET", "/events") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        await until(lambda: stream.subscriber_count == 1)
        assert (await client.post("/orders/1")).status_code == 200
        lines = response.aiter_lines()
        async with asyncio.timeout(20):
            line = await anext(lines)
        assert json.loads(line.removeprefix("data: "))["event_type"] == "order.placed"
        await until(lambda: shop.handled == ["1"])
        assert "started=True" in repr(bus)
    assert "started=False" in repr(bus)


async def test_readiness_follows_the_server(own_server: LocalNats, wire: Wire) -> None:
    settings = NatsEventBusSettings(servers=own_server.url)
    container = wire(settings)
    bus: NatsEventBus = await container.aget(NatsEventBus)
    check: HealthCheck = await container.aget(HealthCheck)
    app: FastAPI = create_varco_app(container, routers=[])
    app.include_router(HealthRouter([check], prefix="/nats").build_router())
    async with in_process(app) as client:

        async def ready() -> int:
            return (await client.get("/nats/ready")).status_code

        assert await ready() == 200
        [component] = (await client.get("/nats/")).json()["components"]
        assert component["component"] == "nats"
        assert settings.stream_name in component["detail"]
        own_server.kill()
        assert await ready() == 503
        assert (await client.get("/nats/live")).status_code == 200
        own_server.restart()

        async def is_ready() -> bool:
            return await ready() == 200 and bus.connection_error is None

        await until(is_ready)


async def test_dead_letters_are_administered_and_redriven(
    settings: NatsEventBusSettings, wire: Wire
) -> None:
    settings = settings.model_copy(update={"max_deliver": 1})
    container = wire(settings)
    bus: AbstractEventBus = await container.aget(AbstractEventBus)
    dlq: AbstractDeadLetterQueue = await container.aget(AbstractDeadLetterQueue)
    shop = Shop()
    shop.open = False
    shop.register_to(bus)
    app: FastAPI = create_varco_app(container, routers=[])

    def administrator() -> AuthContext:
        return AuthContext(user_id="root", roles=frozenset({"cross-tenant-admin"}))

    mount_reliability_admin(
        app,
        dlq=dlq,
        redriver=DlqRedriver(dlq, bus),
        acknowledge_bundled_admin=True,
        server_auth=administrator,
    )
    async with in_process(app) as client:
        for order_id in ("1", "2", "3"):
            await bus.publish(OrderPlaced(order_id=order_id), channel="orders")

        async def stats() -> dict[str, Any]:
            answer: dict[str, Any] = (await client.get("/reliability/dlq/stats")).json()
            return answer

        async def all_there() -> bool:
            return await stats() == {"count": 3, "by_channel": {"orders": 3}}

        await until(all_there)
        entries = (await client.get("/reliability/dlq/entries?channel=orders&limit=2")).json()
        assert [entry["error_message"] for entry in entries] == ["the shop is closed"] * 2
        assert (await client.get("/reliability/dlq/entries?source=job")).json() == []
        path = f"/reliability/dlq/entries/{entries[0]['entry_id']}"
        assert (await client.get(path)).json() == entries[0]
        unknown = f"/reliability/dlq/entries/{uuid.uuid4()}"
        assert (await client.get(unknown)).status_code == 404

        shop.open = True
        outcome = (await client.post(f"{path}/redrive")).json()
        assert (outcome["published"], outcome["acked"], outcome["error"]) == (True, True, None)
        await until(lambda: shop.handled == ["1"])
        path = f"/reliability/dlq/entries/{entries[1]['entry_id']}"
        assert (await client.delete(path)).json() == {"deleted": True}
        report = (await client.post("/reliability/dlq/redrive", json={"channel": "orders"})).json()
        assert (report["attempted"], report["succeeded"]) == (1, 1)
        await until(lambda: shop.handled == ["1", "3"])
        assert (await stats())["count"] == 0
        deleted = await client.delete("/reliability/dlq/entries?channel=orders")
        assert deleted.json() == {"deleted": 0}


async def test_a_lifespan_starts_the_bus_then_the_outbox_and_the_jobs(
    settings: NatsEventBusSettings, wire: Wire, caplog: pytest.LogCaptureFixture
) -> None:
    container, rows, shop, store = wire(settings), Rows(), Shop(), InMemoryJobStore()
    found: dict[str, Any] = {}

    async def resolve() -> None:
        bus: AbstractEventBus = await container.aget(AbstractEventBus)
        shop.register_to(bus)
        dlq = found["dlq"] = await container.aget(AbstractDeadLetterQueue)
        runner = found["runner"] = JobRunner(store, dlq=dlq)
        for component in (bus, OutboxRelay(outbox=rows, bus=bus, poll_interval=0.01), runner):
            lifespan.register(component)

    lifespan = VarcoLifespan(setup=resolve, shutdown=container.ashutdown)
    app = FastAPI(lifespan=lifespan)

    @app.post("/orders/{order_id}")
    async def place(order_id: str) -> None:
        event = OrderPlaced(order_id=order_id)
        await rows.save(OutboxEntry.from_event(event, channel="orders"))

    @app.post("/reports")
    async def report() -> str:
        async def fail() -> None:
            raise RuntimeError("no paper")

        job = Job(job_id=uuid.uuid4())
        await found["runner"].enqueue(job, fail())
        return str(job.job_id)

    async with in_process(app) as client:
        assert (await client.post("/orders/1")).status_code == 200
        await until(lambda: shop.handled == ["1"])
        await until(lambda: not rows.rows)
        job_id = (await client.post("/reports")).json()

        async def dead() -> bool:
            job = await store.get(uuid.UUID(job_id))
            return (
                job is not None and job.status is JobStatus.DEAD and await found["dlq"].count() == 1
            )

        await until(dead)
        [entry] = await found["dlq"].list_entries(source=DeadLetterSource.JOB)
        assert (entry.source_ref, entry.error_message) == (job_id, "no paper")
    problems = [record for record in caplog.records if record.name.startswith("varco_nats")]
    assert problems == []


def test_a_bus_that_another_event_loop_started_is_no_silent_one(
    server: LocalNats,
) -> None:
    """As an `asyncio.run()` before `uvicorn.run(app)` does it."""
    name = f"t-{uuid.uuid4().hex[:10]}"
    bus = NatsEventBus(
        NatsEventBusSettings(servers=server.url, stream_name=name, subject_prefix=name)
    )
    with asyncio.Runner() as before:
        before.run(bus.start())
        with pytest.raises(AlreadyStartedError, match="on the loop of the application"):
            asyncio.run(bus.start())
        before.run(bus.stop())
