"""The consumers of experiments: real services in processes of their own, which break on purpose.

Run as a script, without pandas, it waits for sockets on the one whose number it is given, and
forks a consumer for each: starting Python and importing a bus takes most of a second.

A consumer is told what to do by one line of JSON, and says what happens by lines of JSON, each
written at once: nothing that it did before it was killed is lost. Later lines to it are `go` and
`stop`. When its socket ends, its parent is gone, and it ends too.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, suppress
from typing import Any, ClassVar

from varco_core.event.base import Event, EventMiddleware
from varco_core.event.consumer import EventConsumer, listen
from varco_core.event.deduplication import InMemoryDeduplicator
from varco_core.resilience.retry import RetryPolicy

from varco_nats._nats.delivery import MessageDelivery, current_delivery
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


_to_parent = -1  # the socket of this consumer


def say(**line: Any) -> None:
    """One line to the parent, which gets it even when this process is killed right after."""
    os.write(_to_parent, json.dumps(line).encode() + b"\n")


def fault(what: str) -> None:
    """Something that was done to this process."""
    nothing = dict.fromkeys(("event_id", "event_type", "seq"))
    say(time=time.time(), kind="fault", delivery=0, error=what, **nothing)


def row(
    kind: str, delivery: MessageDelivery, event: Event, error: BaseException | None = None
) -> None:
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
            error=f"{type(error).__name__}: {error}" if isinstance(error, BaseException) else error,
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
        wanted = self._faults.get(event.number, {})
        self._die(event, delivery, "during")
        if delivery.num_delivered == 1:
            await self._linger(wanted, event)
        times = wanted.get("fail")
        if times is not None and (not times or self._calls[event.number] <= times):
            error = HandlerError(f"the handler of event {event.number} fails on purpose")
            row("failed", delivery, event, error)
            raise error
        row("handled", delivery, event)

    async def _linger(self, wanted: dict[str, Any], event: ExperimentEvent) -> None:
        await asyncio.sleep(wanted.get("sleep", 0))
        if "block" in wanted:
            fault("blocked")
            time.sleep(wanted["block"])  # noqa: ASYNC251 - what is shown is that it should not
            fault("goes on")
        if "pause" in wanted:
            self.go.clear()
            say(reached=event.number)
            await self.go.wait()

    def _die(self, event: ExperimentEvent, delivery: MessageDelivery, point: str) -> None:
        wanted = self._faults.get(event.number, {}).get("kill")
        if wanted == point and delivery.num_delivered == 1:
            fault("killed (SIGKILL)")
            say(killed=True)
            os.kill(os.getpid(), signal.SIGKILL)


def consumer_of(
    script: Script, retry: int, deduplicator: bool, dlq: NatsDLQ | None
) -> EventConsumer:
    """The consumer as a user would write it, with what the experiment asks for."""
    policy = RetryPolicy(
        max_attempts=retry, base_delay=_RETRY_SECONDS, exponential_base=1.0, jitter=False
    )
    seen = InMemoryDeduplicator() if deduplicator else None

    class Consumer(EventConsumer):
        @listen(
            ExperimentEvent,
            channel=CHANNEL,
            retry_policy=policy if retry > 1 else None,
            dlq=dlq,
            deduplicator=seen,
        )
        async def on_event(self, event: ExperimentEvent) -> None:
            await script.handle(event)

    return Consumer()


def parent_lines() -> Iterator[bytes]:
    """What the parent writes."""
    received = b""
    while data := os.read(_to_parent, 65536):
        *lines, received = (received + data).split(b"\n")
        yield from lines


def listen_to_parent(lines: Iterator[bytes], script: Script, stopping: asyncio.Event) -> None:
    """Take the parent's lines on a thread, which also ends this process when it is gone."""
    loop = asyncio.get_running_loop()

    def read() -> None:
        with suppress(OSError):
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
        own = config["dlq"] == "listen"
        bus = NatsEventBus(settings, middleware=[script], dlq=None if own else dlq)
        bus.observe(forward)
        consumer_of(
            script, config["retry"], config["deduplicator"], dlq if own else None
        ).register_to(bus)
        await stack.enter_async_context(bus)
        say(ready=True)
        await stopping.wait()
    say(stopped=True)


def serve(to_parent: int) -> None:
    """Be a consumer until told to stop; does not return."""
    global _to_parent
    _to_parent = to_parent
    say(pid=os.getpid())
    try:
        asyncio.run(main(parent_lines()))
    except BaseException as error:  # there is nobody else to tell
        with suppress(OSError):
            say(error=f"{type(error).__name__}: {error}")
    finally:
        os._exit(0)


def wait_for_sockets(control: socket.socket) -> None:
    """Fork a consumer for each socket that comes, until the parent closes `control`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupted cell cancels through the parent
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the children
    logging.disable()
    while True:
        data, sockets, _, _ = socket.recv_fds(control, 1, 1)
        if not data:
            return
        if not os.fork():  # safe: this process has one thread
            control.close()
            serve(sockets[0])
        os.close(sockets[0])


if __name__ == "__main__":
    wait_for_sockets(socket.socket(fileno=int(sys.argv[1])))
