"""Live frames, on a loop thread and a connection as a Lab has them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import StreamConfig
from varco_nats_widgets.live import LiveFrame

from tests.widgets.live.helpers import Host, Make
from varco_nats.config import NatsEventBusSettings


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """No test leaves a thread of a Lab, a view or a live frame behind."""
    yield
    names = ("Lab", "View", "live frame")
    deadline = time.monotonic() + 60
    while left := [t.name for t in threading.enumerate() if t.name.startswith(names)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.01)


@pytest.fixture
async def js(nc: Client, settings: NatsEventBusSettings) -> JetStreamContext:
    context = nc.jetstream()
    await context.add_stream(
        StreamConfig(name=settings.stream_name, subjects=[settings.wildcard_subject()])
    )
    return context


@pytest.fixture
def host(js: JetStreamContext, settings: NatsEventBusSettings) -> Iterator[Host]:
    opened = Host(settings)
    yield opened
    opened.close()


@pytest.fixture
def make(host: Host) -> Iterator[Make]:
    """Live frames that are stopped at the end."""
    made: list[LiveFrame] = []

    def start(channel: str = "orders", **options: Any) -> LiveFrame:
        made.append(host.live(channel, **options))
        return made[-1]

    yield start
    for live in made:
        for view in live._views:
            view.close()
        live.stop()
