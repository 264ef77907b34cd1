"""The consumers of experiments: real services in processes of their own, which fail on purpose.

This is run as a script, by `ForkServer`, and imports no pandas. It receives sockets over the one
whose number is its argument, and forks a consumer for each of them, because starting Python and
importing a bus takes most of a second.

The first line that a consumer receives is JSON and says what to do; later ones are `go` and `stop`.
It reports what happens in lines of JSON and writes each at once, so that nothing is lost when it is
killed. When its socket is closed, its parent is gone, and it ends too.
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


class ExperimentEvent(Event):
    """What experiments publish."""

    __event_type__: ClassVar[str] = "experiment.event"

    number: int


class HandlerError(Exception):
    """Raised by the handler on purpose."""


_to_parent = -1  # the socket of this consumer


def send(**line: Any) -> None:
    """Send the parent a line, which arrives even when this process is killed right after."""
    os.write(_to_parent, json.dumps(line).encode() + b"\n")


def report_fault(text: str) -> None:
    """Report what was done to this process."""
    nothing = dict.fromkeys(("event_id", "event_type", "seq"))
    send(time=time.time(), kind="fault", delivery=0, error=text, **nothing)


def report(
    kind: str, delivery: MessageDelivery, event: Event, error: BaseException | None = None
) -> None:
    """Report what happened in the handler."""
    send(
        time=time.time(),
        kind=kind,
        event_id=str(event.event_id),
        event_type=event.event_type_name(),
        seq=delivery.seq,
        delivery=delivery.num_delivered,
        error=None if error is None else f"{type(error).__name__}: {error}",
    )


def forward(event: DeliveryEvent) -> None:
    """Report what the bus has observed, except how a handler ended: the handler reports that."""
    if event.kind not in (DeliveryKind.HANDLED, DeliveryKind.FAILED):
        error = event.error
        send(
            time=event.time,
            kind=event.kind.value,
            event_id=event.event_id,
            event_type=event.event_type,
            seq=event.seq,
            delivery=event.delivery_count,
            error=f"{type(error).__name__}: {error}" if isinstance(error, BaseException) else error,
        )


class Script(EventMiddleware):
    """The handler of the events, and the faults that the experiment wants to happen to it.

    Args:
        faults: what is to happen, by the number of the event: `kill` with a point (`before`,
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
            report("deduplicated", delivery, event)
        self._die(event, delivery, "after")

    async def handle(self, event: ExperimentEvent) -> None:
        """The handler."""
        delivery = current_delivery.get()
        assert delivery is not None
        self._called = True
        self._calls[event.number] += 1
        orders = self._faults.get(event.number, {})
        self._die(event, delivery, "during")
        if delivery.num_delivered == 1:
            await self._linger(orders, event)
        times = orders.get("fail")
        if times is not None and (not times or self._calls[event.number] <= times):
            error = HandlerError(f"the handler of event {event.number} fails on purpose")
            report("failed", delivery, event, error)
            raise error
        report("handled", delivery, event)

    async def _linger(self, orders: dict[str, Any], event: ExperimentEvent) -> None:
        await asyncio.sleep(orders.get("sleep", 0))
        if "block" in orders:
            report_fault("blocked")
            time.sleep(orders["block"])  # noqa: ASYNC251 - this is the mistake that is shown
            report_fault("goes on")
        if "pause" in orders:
            self.go.clear()
            send(reached=event.number)
            await self.go.wait()

    def _die(self, event: ExperimentEvent, delivery: MessageDelivery, point: str) -> None:
        kill_at = self._faults.get(event.number, {}).get("kill")
        if kill_at == point and delivery.num_delivered == 1:
            report_fault("killed (SIGKILL)")
            send(killed=True)
            os.kill(os.getpid(), signal.SIGKILL)


def consumer_of(
    script: Script, retry: int, deduplicator: bool, dlq: NatsDLQ | None
) -> EventConsumer:
    """A consumer such as a user would write, with the retries and the like that were asked for."""
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
    """The lines that the parent sends."""
    received = b""
    while data := os.read(_to_parent, 65536):
        *lines, received = (received + data).split(b"\n")
        yield from lines


def listen_to_parent(lines: Iterator[bytes], script: Script, stopping: asyncio.Event) -> None:
    """Read the parent's lines on a thread, which ends this process when the parent is gone."""
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
        send(ready=True)
        await stopping.wait()
    send(stopped=True)


def serve(to_parent: int) -> None:
    """Be a consumer until told to stop; does not return."""
    global _to_parent
    _to_parent = to_parent
    send(pid=os.getpid())
    try:
        asyncio.run(main(parent_lines()))
    except BaseException as error:  # the parent shows it; nobody else reads what is raised here
        with suppress(OSError):
            send(error=f"{type(error).__name__}: {error}")
    finally:
        os._exit(0)


def wait_for_sockets(control: socket.socket) -> None:
    """Fork a consumer for each socket that arrives, until the parent closes `control`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # when a cell is interrupted, the parent cancels
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
