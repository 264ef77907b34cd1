"""A shop with messages to export."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from nats.aio.client import Client

from tests.widgets.export.helpers import Shop
from varco_nats.config import NatsEventBusSettings
from varco_nats.history import History


@pytest.fixture
async def shop(settings: NatsEventBusSettings, nc: Client) -> AsyncIterator[Shop]:
    await nc.jetstream().add_stream(
        name=settings.stream_name, subjects=[f"{settings.subject_prefix}.>"]
    )
    async with History(settings) as history:
        yield Shop(settings, nc, history)
