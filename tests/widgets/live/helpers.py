"""Messages for the tests of this folder."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from nats.aio.client import Client
from varco_nats_widgets._session.loop import LoopThread
from varco_nats_widgets.live import LiveFrame, live_query

from varco_nats._nats.client import Connection, connect
from varco_nats.config import NatsEventBusSettings

Make = Callable[..., LiveFrame]


class Host:
    """A loop thread with a connection, as a Lab has."""

    def __init__(self, settings: NatsEventBusSettings) -> None:
        self.settings = settings
        self.loop = LoopThread("Lab(test)")
        self.connection: Connection = self.loop.run(connect(settings, name="test-live"))

    def live(self, channel: str = "orders", **options: Any) -> LiveFrame:
        live = LiveFrame(self.loop, self.connection, self.settings, live_query(channel, **options))
        self.loop.run(live.open())
        return live

    def close(self) -> None:
        self.loop.run(self.connection.close())
        self.loop.close()


def order(number: int, kind: str = "order.placed", **fields: Any) -> bytes:
    return json.dumps({"__event_type__": kind, "number": number, **fields}).encode()


async def store(
    nc: Client, settings: NatsEventBusSettings, payloads: list[bytes], channel: str = "orders"
) -> None:
    js = nc.jetstream()
    subject = settings.subject_name(channel)
    await asyncio.gather(*[await js.publish_async(subject, data) for data in payloads])


def numbered(start: int, stop: int) -> list[bytes]:
    return [order(number) for number in range(start, stop)]


def assert_whole(live: LiveFrame, count: int) -> None:
    """Every one of `count` messages is there, once, in order."""
    assert live.df["number"].tolist() == list(range(count))
    assert live.df.index.is_monotonic_increasing
    assert live.df.index.is_unique
    assert (live.received, live.gaps, live.dropped) == (count, 0, 0)
