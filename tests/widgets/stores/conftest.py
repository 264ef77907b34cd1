"""What strangers filled a server with, and labs that look at it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator

import nats
import pytest
from varco_nats_widgets import Lab

from tests.foreign import fill
from varco_nats.server import LocalNats


@pytest.fixture(scope="module")
def suffix(server: LocalNats) -> Iterator[str]:
    """What the names of `tests.foreign` end with on the shared server, for the tests of a file."""
    name = f"-{uuid.uuid4().hex[:8]}"

    async def prepare() -> None:
        client = await nats.connect(server.url)
        await fill(client, devices=3, readings=2, topics=5, suffix=name)
        await client.close()

    async def remove() -> None:
        client = await nats.connect(server.url)
        js = client.jetstream()
        for info in await js.streams_info():
            if str(info.config.name).endswith(name):
                await js.delete_stream(str(info.config.name))
        await client.close()

    asyncio.run(prepare())
    yield name
    asyncio.run(remove())


@pytest.fixture
def lab(server: LocalNats) -> Iterator[Lab]:
    with Lab(server.url) as opened:
        yield opened
