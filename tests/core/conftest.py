"""Fixtures for the tests of the core: what a test opens on the shared server, or has for itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import StreamConfig

from tests.memory import files_in_memory
from tests.proxy import Proxy
from varco_nats._nats.client import Connection, connect
from varco_nats.config import NatsEventBusSettings
from varco_nats.dlq import NatsDLQ
from varco_nats.server import LocalNats


@pytest.fixture
async def js(nc: Client, settings: NatsEventBusSettings) -> JetStreamContext:
    """JetStream with the stream of `settings` in it."""
    subjects = [settings.wildcard_subject()]
    context = nc.jetstream()
    await context.add_stream(
        StreamConfig(name=settings.stream_name, subjects=subjects, allow_direct=True)
    )
    return context


@pytest.fixture
async def connection(settings: NatsEventBusSettings) -> AsyncIterator[Connection]:
    opened = await connect(settings, name="test")
    yield opened
    await opened.close()


@pytest.fixture
async def dlq(settings: NatsEventBusSettings) -> AsyncIterator[NatsDLQ]:
    async with NatsDLQ(settings) as queue:
        yield queue


@pytest.fixture
async def proxy(server: LocalNats) -> AsyncIterator[Proxy]:
    """Between a client and the shared server."""
    async with Proxy(server.port) as between:
        yield between


@pytest.fixture
def own_server() -> Iterator[LocalNats]:
    """A server that the test may kill."""
    with files_in_memory():
        server = LocalNats().start()
    with server:
        yield server
