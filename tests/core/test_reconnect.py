"""Whatever happens to the connection, the bus gets it back and says meanwhile that it is away."""

from __future__ import annotations

import asyncio
import gc
import logging
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from nats.aio.client import Client
from nats.errors import (
    ConnectionReconnectingError,
    FlushTimeoutError,
    OutboundBufferLimitError,
)
from nats.errors import TimeoutError as NatsTimeoutError
from varco_core.event.base import Event
from varco_core.health import HealthStatus

from tests.conftest import MakeSettings
from tests.events import OrderPlaced, orders
from tests.proxy import ANSWERS, Proxy
from tests.waiting import until
from varco_nats._nats import client, nats_py
from varco_nats._nats.client import Connection, connect
from varco_nats.bus import NatsEventBus
from varco_nats.config import NatsEventBusSettings
from varco_nats.errors import (
    AuthenticationError,
    ConnectError,
    PublishError,
    ServerUnreachableError,
    SettingsError,
)
from varco_nats.health import NatsHealthCheck
from varco_nats.server import LocalCluster, LocalNats

Fault = Callable[[Connection, Proxy, pytest.MonkeyPatch], Awaitable[None]]


@pytest.fixture
def by_proxy(make_settings: MakeSettings, server: LocalNats, proxy: Proxy) -> MakeSettings:
    def make(**changes: object) -> NatsEventBusSettings:
        # what the server sends into a connection that is lost comes again after the ack wait
        quick = {
            "ping_interval_seconds": 0.3,
            "publish_timeout_seconds": 0.5,
            "ack_wait_seconds": 1,
            "connect_kwargs": {"connect_timeout": 1},
        }
        return make_settings(**{"servers": proxy.url_for(server.url), **quick, **changes})

    return make


@pytest.fixture(autouse=True)
def no_failure_is_lost(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fails a test that leaves a task's exception to asyncio, such as one of nats-py's tasks."""
    yield
    gc.collect()
    messages = [record.getMessage() for record in caplog.get_records("call")]
    assert not [message for message in messages if "never retrieved" in message]


@asynccontextmanager
async def connected(settings: NatsEventBusSettings) -> AsyncIterator[Connection]:
    connection = await connect(settings, name="test")
    try:
        yield connection
    finally:
        await connection.close()


class Lively:
    """A bus that publishes and consumes numbered orders, and its record of them."""

    def __init__(self, bus: NatsEventBus) -> None:
        self.bus = bus
        self.handled: list[str] = []
        self.acknowledged: list[str] = []
        self._number = 0
        bus.subscribe(
            OrderPlaced,
            lambda event: self.handled.append(event.order_id),  # type: ignore[attr-defined]
            channel="orders",
        )

    @property
    def connection(self) -> Connection:
        assert self.bus._connection is not None
        return self.bus._connection

    async def publish(self) -> None:
        """Publish new orders until one is acknowledged."""
        while True:
            self._number += 1
            with suppress(PublishError):
                await self.bus.publish(OrderPlaced(order_id=str(self._number)), channel="orders")
                self.acknowledged.append(str(self._number))
                return

    async def goes_on(self, timeout: float = 60) -> None:
        """Publishing works again, and all that was acknowledged is handled."""
        async with asyncio.timeout(timeout):
            await self.publish()
            await until(lambda: set(self.acknowledged) <= set(self.handled), timeout)


@asynccontextmanager
async def lively(settings: NatsEventBusSettings) -> AsyncIterator[Lively]:
    async with NatsEventBus(settings) as bus:
        running = Lively(bus)
        await running.goes_on()
        yield running


async def too_large(connection: Connection, proxy: Proxy, patch: Any) -> None:
    headers = {"Filler": "x" * 100}
    subject = f"elsewhere.{connection.nc.client_id}"
    payload = bytes(connection.max_payload)  # the headers are above the limit
    await connection.nc.publish_with_headers(subject, "", headers, payload)


async def error_of_the_server(connection: Connection, proxy: Proxy, patch: Any) -> None:
    await connection.nc._send_command(b"PUB elsewhere 999999999\r\n")
    await connection.nc._flush_pending()


async def read_loop_fails(connection: Connection, proxy: Proxy, patch: Any) -> None:
    parser = connection.nc._ps
    parse = parser.parse

    async def fail_once(data: bytes = b"") -> None:
        patch.setattr(parser, "parse", parse)
        raise LookupError("a bug of the parser")

    patch.setattr(parser, "parse", fail_once)
    with suppress(Exception):
        await connection.nc.flush(1)


async def reconnecting_fails(connection: Connection, proxy: Proxy, patch: Any) -> None:
    nc = connection.nc
    select = nc._select_next_server

    async def fail_once() -> None:
        patch.setattr(nc, "_select_next_server", select)
        raise LookupError("a bug of the reconnecting")

    patch.setattr(nc, "_select_next_server", fail_once)
    proxy.disconnect()


async def callback_fails(connection: Connection, proxy: Proxy, patch: Any) -> None:
    connection.on_disconnect(lambda: 1 / 0)  # type: ignore[arg-type]
    proxy.disconnect()


async def closed_by_nats_py(connection: Connection, proxy: Proxy, patch: Any) -> None:
    await connection.nc._close(Client.CLOSED)


async def closed_by_nats_py_while_it_is_away(
    connection: Connection, proxy: Proxy, patch: Any
) -> None:
    proxy.refuse = True
    proxy.disconnect()
    await until(lambda: not connection.is_connected)
    await connection.nc._close(Client.CLOSED)
    proxy.refuse = False


async def cut(connection: Connection, proxy: Proxy, patch: Any) -> None:
    proxy.disconnect()


async def ended_at_the_login(connection: Connection, proxy: Proxy, patch: Any) -> None:
    proxy.end_logins = True
    before = proxy.connections
    proxy.disconnect()
    await until(lambda: proxy.connections > before + 2)
    proxy.end_logins = False


async def silent_after_the_login(connection: Connection, proxy: Proxy, patch: Any) -> None:
    nc = connection.nc
    flush = nc.flush

    async def fail_once() -> None:
        patch.setattr(nc, "flush", flush)
        raise FlushTimeoutError

    patch.setattr(nc, "flush", fail_once)  # nats-py's last step after a login
    proxy.disconnect()
    before = nc.stats["reconnects"]
    await until(lambda: nc.stats["reconnects"] == before + 2)


async def black_hole(connection: Connection, proxy: Proxy, patch: Any) -> None:
    proxy.hold()


async def nothing_answers(connection: Connection, proxy: Proxy, patch: Any) -> None:
    proxy.drop(ANSWERS)
    await until(lambda: not connection.is_connected)
    before = proxy.connections
    await until(lambda: proxy.connections > before)  # it takes new ones, and is silent again
    proxy.drop()


async def late_pong(connection: Connection, proxy: Proxy, patch: Any) -> None:
    proxy.stall(ANSWERS)
    with pytest.raises(FlushTimeoutError):
        await connection.nc.flush(0.05)
    flush = asyncio.create_task(connection.nc.flush(10))
    await asyncio.sleep(0)
    proxy.flow()
    await flush


def writer_of(connection: Connection) -> Any:
    """The stream writer of nats-py's connection."""
    transport: Any = connection.nc._transport
    return transport._io_writer


def port_of(connection: Connection) -> int:
    """Of the server that it is connected to."""
    url = connection.nc.connected_url
    assert url is not None
    return url.port or 0


FAULTS: dict[Fault, str | None] = {
    too_large: "",
    error_of_the_server: "maximum payload violation",
    read_loop_fails: "a bug of the parser",
    reconnecting_fails: "",
    callback_fails: "",
    closed_by_nats_py: "connection closed",
    closed_by_nats_py_while_it_is_away: "",
    cut: "",
    ended_at_the_login: "",
    silent_after_the_login: "",
    black_hole: "no sign of life",
    nothing_answers: "no sign of life",
    late_pong: None,  # the connection is well
}


@pytest.mark.parametrize(
    ("fault", "reason"), FAULTS.items(), ids=lambda value: getattr(value, "__name__", "")
)
async def test_publishing_and_consuming_go_on(
    by_proxy: MakeSettings,
    proxy: Proxy,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    fault: Fault,
    reason: str | None,
) -> None:
    async with lively(by_proxy()) as running:
        await fault(running.connection, proxy, monkeypatch)
        if reason is not None:
            await until(lambda: "lost the connection to" in caplog.text)
        await running.goes_on()
        assert running.bus.connection_error is None
        assert running.bus.consumer_errors == {}
    lost = [record.getMessage() for record in caplog.records if "lost the" in record.getMessage()]
    assert len(lost) == (0 if reason is None else 1)
    assert all(str(reason) in line for line in lost)
    if reason is None:
        assert proxy.connections == 1


@pytest.mark.timeout(120)
async def test_all_that_is_acknowledged_through_every_fault_is_handled(
    by_proxy: MakeSettings, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with lively(by_proxy()) as running:
        connection = running.connection

        async def publish_always() -> None:
            while True:
                await running.publish()

        publishing = asyncio.create_task(publish_always())
        for fault in FAULTS:
            if fault is not late_pong:  # publishing answers its PINGs as well
                await fault(connection, proxy, monkeypatch)
            before = len(running.acknowledged)
            await until(lambda before=before: len(running.acknowledged) > before)  # type: ignore[misc]
        publishing.cancel()
        await asyncio.wait([publishing])
        await running.goes_on()


# What the bus says meanwhile


async def test_while_the_server_is_away_bus_and_health_say_so(
    by_proxy: MakeSettings, proxy: Proxy
) -> None:
    settings = by_proxy()
    bus = NatsEventBus(settings)
    health = NatsHealthCheck(settings, bus=bus)
    result = await health.check()
    assert result.status is HealthStatus.UNHEALTHY
    assert "not started" in str(result.detail)
    assert bus.connection_error is None
    bus.subscribe(OrderPlaced, lambda event: None, channel="orders")
    async with bus:
        result = await health.check()
        assert result.status is HealthStatus.HEALTHY
        assert result.latency_ms is not None
        assert "connected=True" in repr(bus)
        assert proxy.connections == 1  # it asks over the connection of the bus
        proxy.refuse = True
        proxy.disconnect()
        await until(lambda: bus.connection_error is not None)
        assert "connected=False" in repr(bus)
        error = bus.consumer_errors["orders"]
        assert isinstance(error, ServerUnreachableError)
        assert str(proxy.port) in str(error)
        result = await health.check()
        assert result.status is HealthStatus.UNHEALTHY
        assert result.latency_ms is None
        assert "no NATS server answered" in str(result.detail)
        proxy.refuse = False
        await until(lambda: bus.consumer_errors == {})
        assert (await health.check()).status is HealthStatus.HEALTHY
        assert "connected=True" in repr(bus)
    assert bus.connection_error is None
    assert "connected=False" in repr(bus)


async def test_health_of_a_bus_whose_connection_is_silent(
    by_proxy: MakeSettings, proxy: Proxy
) -> None:
    settings = by_proxy(ping_interval_seconds=60)
    async with NatsEventBus(settings) as bus:
        proxy.hold()
        result = await NatsHealthCheck(settings, bus=bus, timeout=0.2).check()
        assert result.status is HealthStatus.UNHEALTHY
        assert "did not answer within 0.2 s" in str(result.detail)
        proxy.release()


async def test_health_names_a_channel_that_cannot_be_consumed(settings: Any, nc: Client) -> None:
    js = nc.jetstream()
    async with NatsEventBus(settings) as bus:
        other = settings.durable_for("orders")
        await js.add_consumer(
            settings.stream_name, durable_name=other, filter_subject=settings.subject_name("else")
        )
        bus.subscribe(OrderPlaced, lambda event: None, channel="orders")
        await until(lambda: "orders" in bus.consumer_errors)
        result = await NatsHealthCheck(settings, bus=bus).check()
        assert result.status is HealthStatus.DEGRADED
        assert "cannot consume 'orders'" in str(result.detail)


async def test_a_login_that_is_refused_for_a_while(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nats_py, "RECONNECT_WAIT", 0.1)

    def demanding(token: str) -> str:
        return f'authorization {{ token: "{token}" }}'

    with LocalNats(config=demanding("old-t0ken"), token=None) as own:
        settings = NatsEventBusSettings(
            servers=own.url, connect_kwargs={"token": "old-t0ken"}, publish_timeout_seconds=1
        )
        async with lively(settings) as running:
            bus = running.bus
            health = NatsHealthCheck(settings, bus=bus)
            own._config = demanding("new-t0ken")
            started = time.monotonic()
            await asyncio.to_thread(own.restart)
            await until(lambda: isinstance(bus.connection_error, AuthenticationError))
            assert isinstance(bus.consumer_errors["orders"], AuthenticationError)
            assert "refused the login" in str((await health.check()).detail)
            await until(lambda: running.connection.nc._refused >= 3)
            assert time.monotonic() - started > 0.6  # it waits longer each time
            own._config = demanding("old-t0ken")
            await asyncio.to_thread(own.restart)
            await running.goes_on()
            assert (await health.check()).status is HealthStatus.HEALTHY
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len([record for record in errors if "refused the login" in record.getMessage()]) == 1
    assert "t0ken" not in caplog.text


async def test_a_login_callback_that_raises_is_asked_again(server: LocalNats) -> None:
    fail = False

    def token() -> str:
        if fail:
            raise KeyError("the vault is sealed")
        return server.url.removeprefix("nats://").partition("@")[0]

    async with Proxy(server.port) as proxy:
        settings = NatsEventBusSettings(
            servers=f"nats://127.0.0.1:{proxy.port}", connect_kwargs={"token": token}
        )
        async with connected(settings) as connection:
            fail = True
            proxy.disconnect()
            await until(lambda: "the vault is sealed" in str(connection.problem))
            fail = False
            await until(lambda: connection.is_connected)


async def test_the_end_that_a_user_asks_for_is_kept(by_proxy: MakeSettings, proxy: Proxy) -> None:
    settings = by_proxy(connect_kwargs={"allow_reconnect": False})
    async with connected(settings) as connection:
        proxy.disconnect()
        await until(lambda: connection.nc.is_closed)
        assert isinstance(connection.problem, ConnectError)


# Silence


async def test_a_paused_node_is_left_for_another(cluster: LocalCluster) -> None:
    settings = NatsEventBusSettings(
        servers=cluster.servers,
        stream_replicas=3,
        ping_interval_seconds=1,
        publish_timeout_seconds=1,
    )
    async with lively(settings) as running:
        port = port_of(running.connection)
        [paused] = [node for node in cluster.nodes if node.port == port]
        paused.pause()
        started = time.monotonic()
        await running.goes_on()
        print(f"went on after {time.monotonic() - started:.1f} s")
        assert port_of(running.connection) != port
        paused.resume()
        await running.goes_on()


@pytest.fixture
def soon_suspected(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that owes an answer is left after 1 s in place of 2."""
    monkeypatch.setattr(nats_py, "_SUSPECT_SECONDS", nats_py._SUSPECT_SECONDS / 2)
    monkeypatch.setattr(nats_py, "_LONGEST_TICK", nats_py._LONGEST_TICK / 2)


@pytest.mark.usefixtures("soon_suspected")
async def test_a_missing_puback_is_a_reason_to_ask_the_server(
    by_proxy: MakeSettings, proxy: Proxy
) -> None:
    settings = by_proxy(ping_interval_seconds=3600, publish_timeout_seconds=0.3)
    async with lively(settings) as running:
        proxy.hold()
        await running.goes_on()
        assert proxy.connections == 2


@pytest.mark.usefixtures("soon_suspected")
async def test_a_missing_puback_of_a_server_that_answers_changes_nothing(
    by_proxy: MakeSettings, proxy: Proxy, nc: Client
) -> None:
    settings = by_proxy(
        ping_interval_seconds=3600, publish_timeout_seconds=0.15, publish_attempts=1
    )
    await nc.jetstream().add_stream(
        name=settings.stream_name, subjects=[settings.wildcard_subject()], no_ack=True
    )
    async with NatsEventBus(settings) as bus:
        for _ in range(10):
            with pytest.raises(PublishError, match="no PubAck"):
                await bus.publish(OrderPlaced(order_id="1"), channel="orders")
        assert proxy.connections == 1


async def test_a_request_whose_connection_is_lost_ends_at_once(
    by_proxy: MakeSettings, proxy: Proxy
) -> None:
    async with connected(by_proxy(ping_interval_seconds=3600)) as connection:
        await connection.ask_jetstream("INFO", {}, timeout=60)  # the next one need not subscribe
        proxy.hold()
        asking = asyncio.create_task(connection.ask_jetstream("INFO", {}, timeout=3600))
        await asyncio.sleep(0)  # so that it begins, and waits for its answer
        proxy.disconnect()
        with pytest.raises(NatsTimeoutError):
            await asyncio.wait_for(asking, 20)
        proxy.release()
        await until(lambda: connection.is_connected)
        assert "memory" in await connection.ask_jetstream("INFO", {}, timeout=60)


async def test_a_process_that_stood_still_keeps_its_connection(
    by_proxy: MakeSettings, proxy: Proxy
) -> None:
    async with connected(by_proxy()) as connection:
        for _ in range(3):
            await connection.nc.flush()
            stand_still(0.8)  # a server that is silent for 0.6 s is left
        await connection.nc.flush()
        await asyncio.sleep(0.7)  # a wrong verdict would be out by now
        assert proxy.connections == 1


@pytest.mark.usefixtures("soon_suspected")
async def test_a_process_that_stood_still_when_an_answer_was_missing_keeps_its_connection(
    by_proxy: MakeSettings, proxy: Proxy
) -> None:
    async with connected(by_proxy(ping_interval_seconds=3600)) as connection:
        await connection.nc.suspect()
        stand_still(1.2)  # a server that is silent for 1 s is left
        await connection.nc.flush()
        await asyncio.sleep(0.3)  # a tick
        assert proxy.connections == 1


def stand_still(seconds: float) -> None:
    """As a handler does that blocks the event loop."""
    time.sleep(seconds)


async def test_a_busy_connection_is_kept_however_late_its_pong(
    by_proxy: MakeSettings, proxy: Proxy, nc: Client
) -> None:
    sizes = []
    async with connected(by_proxy()) as connection:
        await connection.nc.subscribe_direct(
            f"{connection.nc.client_id}.bulk", lambda _, __, data, ___: sizes.append(len(data))
        )
        await connection.nc.flush()
        proxy.answer_bytes = 4096  # 200 kB a second
        for _ in range(10):
            await nc.publish(f"{connection.nc.client_id}.bulk", bytes(20_000))
        await nc.flush()
        await until(lambda: len(sizes) == 10)
        assert proxy.connections == 1


async def test_the_setting_of_the_pings() -> None:
    for wrong in (0, -1, float("inf"), float("nan"), 4000):
        with pytest.raises(SettingsError, match="VARCO_NATS_PING_INTERVAL_SECONDS"):
            NatsEventBusSettings(ping_interval_seconds=wrong)


async def test_the_server_that_was_lost_is_tried_last(
    make_settings: MakeSettings, server: LocalNats, proxy: Proxy
) -> None:
    async with Proxy(server.port) as second:
        proxies = {proxy.port: proxy, second.port: second}
        servers = ",".join(each.url_for(server.url) for each in proxies.values())
        async with connected(make_settings(servers=servers)) as connection:
            nc = connection.nc
            for number in range(8):  # by chance it would be tried first half of the times
                lost = port_of(connection)
                proxies[lost].disconnect()
                await until(lambda number=number: nc.stats["reconnects"] > number)  # type: ignore[misc]
                assert port_of(connection) != lost


# Flushing and closing


async def test_flush_proves_that_what_was_sent_before_has_arrived(
    by_proxy: MakeSettings, proxy: Proxy
) -> None:
    sent = bytearray()
    async with connected(by_proxy()) as connection:
        proxy.on_sent = sent.extend
        await connection.nc.answer("somewhere", b"payload")
        await connection.nc.flush()
        assert b"payload" in sent.partition(b"PING")[0]


async def test_flush_never_returns_without_a_connection(
    by_proxy: MakeSettings, proxy: Proxy
) -> None:
    async with connected(by_proxy()) as connection:
        proxy.refuse = True
        proxy.disconnect()
        await until(lambda: not connection.is_connected)
        with pytest.raises(ConnectionReconnectingError):
            await connection.nc.flush()


async def test_what_is_sent_when_the_connection_was_just_lost_waits_for_the_next(
    by_proxy: MakeSettings, proxy: Proxy
) -> None:
    sent = bytearray()
    async with connected(by_proxy()) as connection:
        proxy.on_sent = sent.extend
        writer_of(connection).transport.abort()
        await asyncio.sleep(0)  # the transport knows, and the read loop not yet
        assert connection.is_connected
        with pytest.raises(ConnectionReconnectingError):
            await connection.nc.flush()
        await connection.nc.answer("somewhere", b"kept")
        await until(lambda: connection.nc.stats["reconnects"] == 1)
        await connection.nc.flush()
        assert sent.count(b"kept") == 1


async def test_what_a_silent_server_does_not_read_holds_up_nothing(
    by_proxy: MakeSettings, proxy: Proxy
) -> None:
    settings = by_proxy(publish_attempts=1)
    large = [(OrderPlaced(order_id="x" * 500_000), "orders") for _ in range(40)]
    async with lively(settings) as running:
        proxy.hold()
        proxy.refuse = True
        with pytest.raises(PublishError):
            await running.bus.publish_many(list(large))
        proxy.refuse = False
        await running.goes_on()


async def test_who_waits_to_write_to_a_silent_server_hears_that_it_is_lost(
    by_proxy: MakeSettings, proxy: Proxy
) -> None:
    async with connected(by_proxy()) as connection:
        writer = writer_of(connection)
        # as newer versions of Python do, whose writelines() makes drain() wait as well
        writer.writelines = lambda lines: writer.write(b"".join(lines))
        proxy.hold()
        proxy.refuse = True
        with pytest.raises(OutboundBufferLimitError):
            await publish_much(connection)


async def test_closing_does_not_wait_for_a_silent_server(
    by_proxy: MakeSettings, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_FLUSH_TIMEOUT", 0.3)
    connection = await connect(by_proxy(ping_interval_seconds=3600), name="test")
    proxy.hold()
    publishing = asyncio.create_task(publish_much(connection))
    publishing.add_done_callback(asyncio.Task.exception)  # it is closed meanwhile
    await until(lambda: writer_of(connection).transport.get_write_buffer_size() > 0)
    async with asyncio.timeout(30):
        await connection.close()
        await asyncio.wait([publishing])
    assert connection.nc.is_closed


async def publish_much(connection: Connection) -> None:
    for _ in range(100):
        await connection.nc.publish("somewhere", bytes(500_000))


async def test_servers_that_the_cluster_names_take_the_login_of_the_url(
    cluster: LocalCluster,
) -> None:
    settings = NatsEventBusSettings(servers=cluster.nodes[0].url)
    async with connected(settings) as connection:
        pool = connection.nc._server_pool
        await until(lambda: len(connection.nc._server_pool) == 3)
        assert len({server.uri.hostname for server in pool}) == 1
        cluster.nodes[0].kill()
        await until(lambda: connection.nc.stats["reconnects"] == 1)
        await connection.nc.flush()


# Log lines


async def test_each_record_is_one_line(
    settings: NatsEventBusSettings, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(event: Event) -> None:
        raise ValueError("first\nsecond\r\n2026-01-01 ERROR forged\x1b[2J\u2028third")

    async with NatsEventBus(settings) as bus:
        bus.subscribe(OrderPlaced, fail, channel="orders")
        await bus.publish_many(orders(1))
        await until(lambda: "second" in caplog.text)
    for record in caplog.records:
        assert not re.search(r"[\x00-\x1f\x7f\u2028]", record.getMessage())
    assert "first second 2026-01-01 ERROR forged [2J third" in caplog.text


async def test_what_is_sent_while_the_connection_ends_is_sent_after_it(
    make_settings: MakeSettings, nc: Client
) -> None:
    async with connected(make_settings()) as connection:
        received = await nc.subscribe("ending.>")
        await nc.flush()
        await connection.nc.flush()
        writer: Any = getattr(connection.nc._transport, "_io_writer", None)
        writer.transport.abort()
        for number in range(4):  # of which one comes before the read loop knows of the end
            await connection.nc.answer(f"ending.{number}")
            await asyncio.sleep(0)
        subjects = [(await received.next_msg(timeout=60)).subject for _ in range(4)]
    assert subjects == [f"ending.{number}" for number in range(4)]


async def test_half_a_message_of_the_lost_connection_does_not_disturb_the_next(
    make_settings: MakeSettings,
) -> None:
    async with connected(make_settings()) as connection:
        again = asyncio.Event()
        connection.on_reconnect(again.set)
        await connection.nc._process_op_err(ConnectionResetError("a write failed"))
        await connection.nc._ps.parse(b"MSG some.subject 1000 5000\r\nhalf")  # it was read already
        async with asyncio.timeout(9):  # a flush that finds no answer takes 10 s
            await again.wait()
            await connection.nc.flush()


async def test_what_is_no_message_ends_in_a_new_connection(make_settings: MakeSettings) -> None:
    async with connected(make_settings()) as connection:
        again = asyncio.Event()
        connection.on_reconnect(again.set)
        await connection.nc.subscribe_direct("some.subject", lambda *_: None)
        await connection.nc.flush()
        reader: Any = getattr(connection.nc._transport, "_io_reader", None)
        reader.feed_data(b"MSG some.subject one two\r\n")
        async with asyncio.timeout(20):
            await again.wait()
            await connection.nc.flush()
        assert isinstance(connection.nc.lost_because, ValueError)


async def test_a_connection_that_is_lost_while_it_subscribes_again_is_tried_again_quietly(
    by_proxy: MakeSettings,
    proxy: Proxy,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with connected(by_proxy()) as connection:
        for number in range(20):
            await connection.nc.subscribe_direct(f"some.{number}", lambda *_: None)
        log_in, lost = connection.nc._process_connect_init, 0

        async def log_in_and_lose() -> None:
            nonlocal lost
            await log_in()
            if not lost:
                lost += 1
                writer_of(connection).transport.abort()

        monkeypatch.setattr(connection.nc, "_process_connect_init", log_in_and_lose)
        proxy.disconnect()
        await until(lambda: lost == 1 and connection.is_connected and proxy.connections == 3)
        await connection.nc.flush()
    assert "socket.send() raised exception" not in caplog.text
