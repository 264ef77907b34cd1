"""The consumer of an experiment: a real service in a process of its own, which breaks on purpose.

Run as a script, so that it starts without pandas. It is told what to do by one line of JSON on
stdin, and says what happens by lines of JSON on stdout, each written at once: nothing that it did
before it was killed is lost. Later lines on stdin are `go` and `stop`; when stdin ends, its parent
is gone, and it ends too.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any, ClassVar

from varco_core.event.base import Event, EventMiddleware
from varco_core.event.consumer import EventConsumer, listen
from varco_core.event.deduplication import InMemoryDeduplicator
from varco_core.resilience.retry import RetryPolicy

from varco_nats._delivery import Delivery, current_delivery
from varco_nats.bus import NatsEventBus
from varco_nats.config import NatsEventBusSettings
from varco_nats.dlq import NatsDLQ
from varco_nats.observe import DeliveryEvent, DeliveryKind

CHANNEL = "experiment"

_RETRY_SECONDS = 0.02
_FORWARDED = {
    DeliveryKind.DELIVERED,
    DeliveryKind.ACKED,
    DeliveryKind.NAKED,
    DeliveryKind.TERMINATED,
    DeliveryKind.DEAD_LETTERED,
}


class ExperimentEvent(Event):
    """What experiments publish."""

    __event_type__: ClassVar[str] = "experiment.event"

    number: int


class HandlerError(Exception):
    """Raised by the handler on purpose."""


def say(**line: Any) -> None:
    """One line to the parent, which gets it even when this process is killed right after."""
    os.write(1, json.dumps(line).encode() + b"\n")


def row(kind: str, delivery: Delivery, event: Event, error: BaseException | None = None) -> None:
    """Something that happened in the handler."""
    say(
        time=time.time(),
        kind=kind,
        event_id=str(event.event_id),
        event_type=event.event_type_name(),
        seq=delivery.seq,
        delivery=delivery.num_delivered,
        error=None if error is None else f"{type(error).__name__}: {error}",
    )


def forward(event: DeliveryEvent) -> None:
    """What the bus tells; the handler itself tells how it ended."""
    if event.kind in _FORWARDED:
        error = event.error
        say(
            time=event.time,
            kind=event.kind.value,
            event_id=event.event_id,
            event_type=event.event_type,
            seq=event.seq,
            delivery=event.delivery_count,
            error=None if error is None else f"{type(error).__name__}: {error}",
        )


class Script(EventMiddleware):
    """Does at each event what the experiment wants.

    Args:
        faults: for the numbers of events, what is to happen: `kill` with a point (`before`,
            `during`, `after`), `fail` with how often (0 is always), `sleep` or `block` with
            seconds, `pause` to wait for the parent.
    """

    def __init__(self, faults: dict[int, dict[str, Any]]) -> None:
        self.go = asyncio.Event()
        self._faults = faults
        self._calls: Counter[int] = Counter()
        self._called = False

    async def __call__(
        self,
        event: Event,
        channel: str,
        next: Callable[[Event, str], Awaitable[None]],  # noqa: A002 - varco's signature
    ) -> None:
        assert isinstance(event, ExperimentEvent)
        delivery = current_delivery.get()
        assert delivery is not None
        self._called = False
        self._die(event, delivery, "before")
        await next(event, channel)
        if not self._called:
            row("deduplicated", delivery, event)
        self._die(event, delivery, "after")

    async def handle(self, event: ExperimentEvent) -> None:
        """The handler."""
        delivery = current_delivery.get()
        assert delivery is not None
        self._called = True
        self._calls[event.number] += 1
        fault = self._faults.get(event.number, {})
        self._die(event, delivery, "during")
        if delivery.num_delivered == 1:
            await self._linger(fault, event)
        times = fault.get("fail")
        if times is not None and (not times or self._calls[event.number] <= times):
            error = HandlerError(f"the handler of event {event.number} fails on purpose")
            row("failed", delivery, event, error)
            raise error
        row("handled", delivery, event)

    async def _linger(self, fault: dict[str, Any], event: ExperimentEvent) -> None:
        await asyncio.sleep(fault.get("sleep", 0))
        if "block" in fault:
            time.sleep(fault["block"])  # noqa: ASYNC251 - what is shown is that it should not
        if "pause" in fault:
            say(reached=event.number)
            await self.go.wait()

    def _die(self, event: ExperimentEvent, delivery: Delivery, point: str) -> None:
        wanted = self._faults.get(event.number, {}).get("kill")
        if wanted == point and delivery.num_delivered == 1:
            os.kill(os.getpid(), signal.SIGKILL)


def consumer_of(script: Script, retry: int, deduplicator: bool) -> EventConsumer:
    """The consumer as a user would write it, with what the experiment asks for."""
    policy = RetryPolicy(max_attempts=retry, base_delay=_RETRY_SECONDS, jitter=False)
    seen = InMemoryDeduplicator() if deduplicator else None

    class Consumer(EventConsumer):
        @listen(
            ExperimentEvent,
            channel=CHANNEL,
            retry_policy=policy if retry > 1 else None,
            deduplicator=seen,
        )
        async def on_event(self, event: ExperimentEvent) -> None:
            await script.handle(event)

    return Consumer()


def parent_lines() -> Iterator[bytes]:
    """What the parent writes; unbuffered, so that no lock is held when this process ends."""
    received = b""
    while data := os.read(0, 65536):
        *lines, received = (received + data).split(b"\n")
        yield from lines


def listen_to_parent(lines: Iterator[bytes], script: Script, stopping: asyncio.Event) -> None:
    """Take the parent's lines on a thread, which also ends this process when it is gone."""
    loop = asyncio.get_running_loop()

    def read() -> None:
        for line in lines:
            loop.call_soon_threadsafe(script.go.set if line == b"go" else stopping.set)
        os._exit(1)

    threading.Thread(target=read, name="parent", daemon=True).start()


async def main(lines: Iterator[bytes]) -> None:
    config: dict[str, Any] = json.loads(next(lines))
    settings = NatsEventBusSettings(**config["settings"])
    script = Script({int(number): fault for number, fault in config["faults"].items()})
    stopping = asyncio.Event()
    listen_to_parent(lines, script, stopping)
    async with AsyncExitStack() as stack:
        dlq = await stack.enter_async_context(NatsDLQ(settings)) if config["dlq"] else None
        bus = NatsEventBus(settings, middleware=[script], dlq=dlq)
        bus.observe(forward)
        consumer_of(script, config["retry"], config["deduplicator"]).register_to(bus)
        await stack.enter_async_context(bus)
        say(ready=True)
        await stopping.wait()
    say(stopped=True)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupted cell cancels through the parent
    logging.disable()
    asyncio.run(main(parent_lines()))
