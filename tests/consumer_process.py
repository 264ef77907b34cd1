"""A service that consumes channel `orders`, started and killed by tests.

Prints a line for each thing it does: `ready`, then for each order `before N`, `during N`,
`after N`. `hang_at` makes it stop for ever at one of these; `stop_when` has it send itself SIGSTOP
when its first message is `received` and not acknowledged, when its first ack is `acked` and not
confirmed, or in the handler of order 1, when that is `during`.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
from collections.abc import Awaitable, Callable
from typing import Any

from varco_core.event.base import Event, EventMiddleware

from tests.events import OrderPlaced
from varco_nats.bus import NatsEventBus
from varco_nats.bus._acks import ConfirmedAcks
from varco_nats.bus._consumer import ChannelConsumer
from varco_nats.config import NatsEventBusSettings


class Announce(EventMiddleware):
    def __init__(self, hang_at: str, seconds: float, stop: bool) -> None:
        self._hang_at = hang_at
        self._seconds = seconds
        self._stop = stop

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
        if self._stop and event.order_id == "1":  # type: ignore[attr-defined]
            os.kill(os.getpid(), signal.SIGSTOP)
        await asyncio.sleep(self._seconds)


def stop_once(owner: type, method: str) -> None:
    """Have the process stop itself when `method` returns for the first time."""
    original = getattr(owner, method)
    to_do = [signal.SIGSTOP]

    def stop() -> None:
        while to_do:
            os.kill(os.getpid(), to_do.pop())

    def plain(*args: Any) -> None:
        original(*args)
        stop()

    async def waiting(*args: Any) -> Any:
        result = await original(*args)
        await asyncio.sleep(0)  # it is written by another task
        stop()
        return result

    setattr(owner, method, waiting if inspect.iscoroutinefunction(original) else plain)


async def main(config: dict[str, Any]) -> None:
    announce = Announce(
        config.get("hang_at", ""),
        config.get("seconds", 0.0),
        config.get("stop_when") == "during",
    )
    match config.get("stop_when"):
        case "received":
            stop_once(ChannelConsumer, "_receive")
        case "acked":
            stop_once(ConfirmedAcks, "_send")
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    bus = NatsEventBus(NatsEventBusSettings(**config["settings"]), middleware=[announce])
    bus.subscribe(OrderPlaced, announce.handle, channel="orders")
    async with bus:
        print("ready", flush=True)
        await stopped.wait()
    print("stopped", flush=True)
