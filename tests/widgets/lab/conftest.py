"""Another stream for a lab to look at."""

from __future__ import annotations

import pytest
from nats.aio.client import Client

from varco_nats.config import NatsEventBusSettings


@pytest.fixture
async def other(nc: Client, settings: NatsEventBusSettings) -> str:
    """A stream that varco did not make, with three messages."""
    name = f"{settings.stream_name}-other"
    js = nc.jetstream()
    await js.add_stream(name=name, subjects=[f"{name}.>"])
    for subject, payload in (("a.x", b'{"v": 1}'), ("b", b"plain"), ("a.y", b'{"v": 2}')):
        await js.publish(f"{name}.{subject}", payload, headers={"Kind": subject})
    return name
