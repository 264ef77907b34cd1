"""A service that consumes channel `orders`, started and killed by tests.

Prints a line for each thing it does: `ready`, then for each order `before N`, `during N`,
`after N`. `hang_at` makes it stop for ever at one of these; `block` has the handler of order 1
block the process for so many seconds.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from varco_core.event.base import Event, EventMiddleware

from tests.events import OrderPlaced
from varco_nats.bus import NatsEventBus
from varco_nats.config import NatsEventBusSettings


class Announce(EventMiddleware):
    def __init__(self, hang_at: str, seconds: float, block: float) -> None:
        self._hang_at = hang_at
        self._seconds = seconds
        self._block = block

    async def say(self, stage: str, event: Event) -> None:
        print(stage, event.order_id, flush=True)  # type: ignore[attr-defined]
        if stage == self._hang_at:
            await asyncio.Event().wait()

    async def __call__(
        self,
        event: Event,
        channel: str,
        next: Callable[[Event, str], Awaitable[None]],  # noqa: A002 - varco's signature
    ) -> None:
        await self.say("before", event)
        await next(event, channel)
        await self.say("after", event)

    async def handle(self, event: Event) -> None:
        await self.say("during", event)
        if event.order_id == "1":  # type: ignore[attr-defined]
            time.sleep(self._block)  # noqa: ASYNC251
        await asyncio.sleep(self._seconds)


async def main(config: dict[str, Any]) -> None:
    announce = Announce(
        config.get("hang_at", ""), config.get("seconds", 0.0), config.get("block", 0.0)
    )
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    bus = NatsEventBus(NatsEventBusSettings(**config["settings"]), middleware=[announce])
    bus.subscribe(OrderPlaced, announce.handle, channel="orders")
    async with bus:
        print("ready", flush=True)
        await stopped.wait()
    print("stopped", flush=True)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    asyncio.run(main(json.loads(sys.argv[1])))
