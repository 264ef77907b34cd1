"""The programs of the soak's processes: producer, consumer, replayer, watcher.

Each does one thing with the public API until SIGTERM, writes what happened to its ledger, stops
cleanly, and says what it left behind. Any error but one of this package's own tree is `raw`.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import random
import signal
import sys
import threading
import time
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import psutil
from varco_core.event.base import Event

from tests.soak.ledger import Ledger
from varco_nats import DeliveryEvent, NatsDLQ, NatsEventBus, NatsEventBusSettings
from varco_nats.errors import PublishManyError, VarcoNatsError
from varco_nats.observe import DeliveryKind
from varco_nats.replay import Replayer

AT_MOST_ONCE, AT_LEAST_ONCE, EXACTLY_ONCE = ALL = ("at_most_once", "at_least_once", "exactly_once")
CHANNELS = ("orders", "payments.eu")
ACK_WAIT = 4.0
STOP_SECONDS = 60.0
"""Longer than a clean stop takes, on a busy machine too."""
STALL_SECONDS = 1.0
"""What was to last a quarter of a second and took longer than this stood still."""

_MEMORY_EVERY = 20  # beats of the heart
_BATCH = 25


class Job(Event):
    """What is published; `fault` and `seconds` say how its handler behaves.

    `once` fails in its first delivery, `always` in each, `none` never.
    """

    __event_type__ = "soak.job"

    producer: str
    number: int
    fault: str = "none"
    seconds: float = 0.0


class DeliberateError(Exception):
    """What the handlers of failing jobs raise."""


@dataclass(frozen=True)
class Config:
    """What one process is told."""

    name: str
    program: str
    semantics: tuple[str, ...]
    proxied: bool
    servers: str
    replicas: int
    seed: int
    folder: Path

    def settings(self, semantics: str) -> NatsEventBusSettings:
        return NatsEventBusSettings(
            servers=self.servers,
            stream_name=f"soak-{semantics}",
            subject_prefix=f"soak-{semantics}",
            durable_name="soak",
            delivery_semantics=semantics,
            stream_replicas=self.replicas,
            ack_wait_seconds=ACK_WAIT,
            max_deliver=3,
            nak_delay_seconds=0.2,
            publish_timeout_seconds=2.0,
            drain_timeout_seconds=10.0,
        )


def run(config: Config) -> None:
    """Entry of a forked process, which ends with the soak, even when it stands still then."""
    # the fork server lives for as long as anybody holds this, and must end with the soak
    os.close(forkserver._forkserver._forkserver_alive_fd)  # type: ignore[attr-defined]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with (config.folder / f"{config.name}.stderr").open("ab") as stderr:
        os.dup2(stderr.fileno(), 1)
        os.dup2(stderr.fileno(), 2)
    asyncio.run(_Worker(config).run())


class _Worker:
    def __init__(self, config: Config) -> None:
        self.config = config
        self.ledger = Ledger(config.folder / f"{config.name}.ledger")
        self.rng = random.Random(f"{config.seed} {config.name}")
        self.stopping = asyncio.Event()

    async def run(self) -> None:
        told = self.config
        self.ledger.write(
            "process", program=told.program, semantics=told.semantics, proxied=told.proxied
        )
        logging.basicConfig(level=logging.WARNING, handlers=[_LedgerHandler(self.ledger)])
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.stopping.set)
        heart = asyncio.create_task(self._beat())
        try:
            await _PROGRAMS[told.program](self)
        except Exception as error:  # of this program itself
            self.ledger.write("raw", call=told.program, error=_traceback(error))
        await self._look_for_leaks(heart)
        heart.cancel()

    async def attempt(
        self, call: str, function: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any
    ) -> Any:
        """What a call of the public API came back with; None if it raised."""
        try:
            return await function(*args, **kwargs)
        except VarcoNatsError as error:
            self.ledger.write("refused", call=call, error=f"{type(error).__name__}: {error}")
        except Exception as error:
            self.ledger.write("raw", call=call, error=_traceback(error))
        return None

    async def persist(
        self, call: str, function: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any
    ) -> Any:
        """Start something as a service does that is restarted until it works."""

        async def start() -> tuple[Any]:
            return (await function(*args, **kwargs),)

        while not self.stopping.is_set():
            if started := await self.attempt(call, start):
                return started[0]
            await self.pause(0.5)
        return None

    async def pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self.stopping.wait()
        except TimeoutError:
            return

    async def _beat(self) -> None:
        """Write down when this process stood still, and its memory."""
        process, parent, beats = psutil.Process(), os.getppid(), 0
        while os.getppid() == parent:  # where the system itself does not end it
            if beats % _MEMORY_EVERY == 0:
                self.ledger.write("memory", bytes=process.memory_info().rss)
            before = time.monotonic()
            await asyncio.sleep(0.25)
            if time.monotonic() - before > STALL_SECONDS:
                self.ledger.write("stall", begin=before)
            beats += 1
        os._exit(1)

    async def _look_for_leaks(self, heart: asyncio.Task[None]) -> None:
        for patience in range(50, -1, -1):
            tasks = asyncio.all_tasks() - {heart, asyncio.current_task()}
            # asyncio's own pool ends with the loop
            threads = [t for t in threading.enumerate()[1:] if not t.name.startswith("asyncio_")]
            if patience and (tasks or threads):
                await asyncio.sleep(0.1)
        self.ledger.write("left", tasks=[*map(str, tasks)], threads=[t.name for t in threads])

    async def produce(self) -> None:
        (semantics,) = self.config.semantics
        bus = NatsEventBus(self.config.settings(semantics))
        await self.persist("bus.start", bus.start)
        number = 0
        while not self.stopping.is_set():
            events: list[tuple[Event, str]] = []
            for _ in range(_BATCH if self.rng.random() < 0.05 else 1):
                events.append((self._job(number), self.rng.choice(CHANNELS)))
                number += 1
            await self._publish(bus, events)
            await self.pause(self.rng.uniform(0, 0.1))
        await self.attempt("bus.stop", bus.stop)

    def _job(self, number: int) -> Job:
        chance, more = self.rng.random(), self.rng.random()
        fault = "always" if chance < 0.03 else "once" if chance < 0.06 else "none"
        seconds = 1.5 * ACK_WAIT if more < 0.0005 else 0.1 if more < 0.01 else 0.0
        return Job(producer=self.config.name, number=number, fault=fault, seconds=seconds)

    async def _publish(self, bus: NatsEventBus, events: list[tuple[Event, str]]) -> None:
        failed: set[int] = set()

        async def publish() -> list[int | None]:
            if len(events) == 1:
                return [(await bus.publish_acked(events[0][0], channel=events[0][1])).seq]
            try:
                return [ack.seq for ack in await bus.publish_many_acked(events)]
            except PublishManyError as error:  # the others are stored
                failed.update(failure.index for failure in error.failures)
                self.ledger.write("refused", call="bus.publish_many", error=str(error))
                return [None] * len(events)

        for index, seq in enumerate(await self.attempt("bus.publish", publish) or []):
            if index not in failed:
                job, channel = events[index]
                self.ledger.write(
                    "ack",
                    event=str(job.event_id),
                    channel=channel,
                    seq=seq,
                    alone=len(events) == 1,
                )

    async def consume(self) -> None:
        (semantics,) = self.config.semantics
        settings = self.config.settings(semantics)
        dlq = None if semantics == AT_MOST_ONCE else NatsDLQ(settings)
        bus = NatsEventBus(settings, dlq=dlq)
        delivered: dict[str, DeliveryEvent] = {}

        def observe(event: DeliveryEvent) -> None:
            if event.kind is DeliveryKind.DELIVERED:  # its handler runs next
                delivered[str(event.event_id)] = event

        async def handle(job: Job) -> None:
            event = str(job.event_id)
            delivery = delivered.pop(event)
            seq, count = delivery.seq, delivery.delivery_count
            self.ledger.write("begin", event=event, channel=delivery.channel, seq=seq, count=count)
            await asyncio.sleep(job.seconds)
            if job.fault == "always" or (job.fault == "once" and count == 1):
                raise DeliberateError(job.fault)
            self.ledger.write("end", event=event, seq=seq)

        bus.observe(observe)
        for channel in CHANNELS:
            bus.subscribe(Job, handle, channel=channel)  # type: ignore[arg-type]
        if dlq is not None:
            await self.persist("dlq.start", dlq.start)
        await self.persist("bus.start", bus.start)
        await self.stopping.wait()
        await self.attempt("bus.stop", bus.stop)
        if dlq is not None:
            await self.attempt("dlq.stop", dlq.stop)

    async def replay(self) -> None:
        """Replay what is dead, repaired, over and over."""
        replayers = [Replayer(self.config.settings(name)) for name in self.config.semantics]
        for replayer in replayers:
            await self.persist("replayer.start", replayer.start)
        while not self.stopping.is_set():
            for replayer in replayers:
                plan = await self.attempt("replayer.plan", replayer.plan, transform=_repaired)
                # slow enough to be killed at it
                if plan and await self.attempt("replayer.run", replayer.run, plan, rate=50):
                    self.ledger.write("replay")
            await self.pause(self.rng.uniform(0.2, 1.0))
        for replayer in replayers:
            await self.attempt("replayer.stop", replayer.stop)

    async def watch(self) -> None:
        views = [_View(self, semantics) for semantics in self.config.semantics]
        for view in views:
            await view.open()
        rounds = 0
        while not self.stopping.is_set():
            for view in views:
                view.look()
            rounds += 1
            if rounds % 8 == 0:
                await views[rounds // 8 % len(views)].ask()
            await self.pause(0.5)
        for view in views:
            await view.close()


class _View:
    """One `Lab` with a live frame of all channels, and now and then a frame of what that saw."""

    def __init__(self, worker: _Worker, semantics: str) -> None:
        self._worker = worker
        self._semantics = semantics
        self._lab: Any = None
        self._live: Any = None
        self._arrived = self._newest = 0

    async def open(self) -> None:
        from varco_nats_widgets import Lab  # takes seconds, and only this program needs it

        worker, settings = self._worker, self._worker.config.settings(self._semantics)
        self._lab = await worker.persist("Lab", asyncio.to_thread, Lab, settings)
        if self._lab is not None:
            live = self._lab.aio.live
            self._live = await worker.persist("lab.live", live, CHANNELS, start_seq=1)

    def look(self) -> None:
        """Write down what arrived since the last look."""
        if self._live is None:
            return
        frame, arrived = self._live.snapshot()
        new = frame.index[max(0, len(frame) - (arrived - self._arrived)) :]
        if len(new):
            self._newest = max(self._newest, int(new.max()))
            self._worker.ledger.write("live", semantics=self._semantics, seqs=[*map(int, new)])
        self._arrived = arrived

    async def ask(self) -> None:
        """A frame of sequences that are stored for sure."""
        if self._live is None:
            return
        rng, end = self._worker.rng, self._newest
        channel, start = rng.choice(CHANNELS), max(1, end - rng.randrange(1, 3000))
        frame = await self._worker.attempt(
            "lab.frame", self._lab.aio.frame, channel, start_seq=start, end_seq=end
        )
        if frame is not None:
            self._worker.ledger.write(
                "frame",
                semantics=self._semantics,
                channel=channel,
                start=start,
                end=end,
                rows=len(frame),
                told=frame.attrs["completeness"],
            )

    async def close(self) -> None:
        """Close, after some time for what is stored; nothing is published any more."""
        worker = self._worker
        if self._live is not None:
            channels = await worker.attempt("lab.channels", self._lab.aio.channels)
            last = int(channels["last_seq"].max()) if channels is not None else 0
            deadline = time.monotonic() + STOP_SECONDS / 2
            while self._newest < last and time.monotonic() < deadline:
                await asyncio.sleep(0.2)
                self.look()
            await worker.attempt("live.stop", self._live.aio.stop)
        if self._lab is not None:
            await worker.attempt("lab.close", self._lab.aio.close)


class _LedgerHandler(logging.Handler):
    """Writes what is logged to the ledger, with the traceback of what we did not raise."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()
        self._ledger = ledger

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        trace = "" if error is None or _is_deliberate(error) else _traceback(error)
        self._ledger.write("log", logger=record.name, text=record.getMessage(), error=trace)


def _is_deliberate(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return all(_is_deliberate(inner) for inner in error.exceptions)
    return isinstance(error, DeliberateError)


def _traceback(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


def _repaired(payload: dict[str, Any]) -> dict[str, Any]:
    return {**payload, "fault": "none"}


_PROGRAMS: dict[str, Callable[[_Worker], Awaitable[None]]] = {
    "producer": _Worker.produce,
    "consumer": _Worker.consume,
    "replayer": _Worker.replay,
    "watcher": _Worker.watch,
}
