"""One soak: starts the servers and the processes, breaks and heals them, and has it judged."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import nats
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError

from tests.proxy import Proxy
from tests.soak import streams
from tests.soak.chaos import Chaos
from tests.soak.crew import Crew
from tests.soak.evidence import FAULT_LOG
from tests.soak.judge import Judge
from tests.soak.ledger import Ledger, Reading
from tests.soak.verdict import Verdict
from tests.soak.worker import CHANNELS, STALL_SECONDS
from varco_nats.server import LocalCluster, LocalNats

HEALED_SECONDS = 60.0
"""How long after healing each process may take to go on, and what is stored to be handled."""

_PRODUCERS, _CONSUMERS = 2, 3  # of each semantics
_WORK = {"producer": "ack", "consumer": "begin", "replayer": "replay", "watcher": "live"}
_START_SECONDS = 180.0
_MOVING_SECONDS = 15.0  # what still moved so shortly ago is slow, not stuck
_LONGEST_SECONDS = 180.0
_SAY_EVERY = 10.0
_DEAD = "dead letters"


@dataclass(frozen=True)
class Options:
    seconds: float
    seed: int
    semantics: tuple[str, ...]
    single: bool
    folder: Path


class Soak:
    """See the package; `run` is all of it."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._log = Ledger(options.folder / FAULT_LOG)
        self._readings: dict[Path, Reading] = {}
        self._counts: Counter[str] = Counter()
        self._last: dict[tuple[str, str], float] = {}  # of each process and what it writes, when
        self._began = time.monotonic()
        self._chaos: Chaos | None = None

    async def run(self) -> Verdict:
        options = self._options
        self._log.write("soak")
        async with AsyncExitStack() as stack:
            server = LocalNats() if options.single else LocalCluster(3)
            await stack.enter_async_context(server)
            nodes = [server] if isinstance(server, LocalNats) else server.nodes
            proxies = [await stack.enter_async_context(Proxy(node.port)) for node in nodes]
            direct = [node.url for node in nodes]
            through = [proxy.url_for(url) for proxy, url in zip(proxies, direct, strict=True)]
            urls = ",".join(direct), ",".join(through)
            crew = Crew(options.folder, options.seed, options.semantics, urls, len(nodes))
            stack.callback(crew.close)
            admin = await nats.connect(direct, max_reconnect_attempts=-1, error_cb=_ignored)
            stack.push_async_callback(admin.close)
            await stack.enter_async_context(self._watched(crew))
            await self._start(crew)
            ends_at = time.monotonic() + options.seconds
            self._chaos = Chaos(
                options.seed, self._log, nodes, proxies, crew, self._leaders(), admin, ends_at
            )
            await self._chaos.run()
            self._say("healing")
            await self._chaos.heal()
            self._log.write("healed")
            await self._end(crew, admin)
            self._say("reading the streams")
            contents = {
                name: await streams.read(admin, f"soak-{name}") for name in options.semantics
            }
        self._say("judging")
        return Judge(options.folder, contents, crew.problems).verdict()

    async def _start(self, crew: Crew) -> None:
        for semantics in self._options.semantics:
            for _ in range(_PRODUCERS):
                crew.spawn("producer", [semantics])
            for _ in range(_CONSUMERS):
                crew.spawn_consumer(semantics)
        if crew.with_dead_letters:
            crew.spawn("replayer", crew.with_dead_letters, "replayer")
        crew.spawn("watcher", self._options.semantics, "watcher")
        idle = await self._idle_since(crew, self._began, _START_SECONDS)
        assert not idle, f"not started after {_START_SECONDS:g} s: {idle}"
        self._say("all processes work")

    def _leaders(self) -> list[str]:
        names = [f"soak-{name}" for name in self._options.semantics]
        dead = [f"{name}-dlq" for name in names]
        return [*names, *dead, *(f"{name}.{durable}" for name in names for durable in _durables())]

    async def _end(self, crew: Crew, admin: Client) -> None:
        """Everything is healed: all goes on, is drained, and ends."""
        for name in await self._idle_since(crew, time.monotonic(), HEALED_SECONDS):
            text = f"{name} did nothing within {HEALED_SECONDS:g} s after healing"
            crew.problems.append(("processes that do not go on", text))
        await crew.end(*crew.names("producer"))
        crew.problems += await self._stuck(admin)
        await crew.end(*crew.names("replayer"))
        # what the replayers stored last; dead letters that are left stay
        crew.problems += await self._stuck(admin, patience=1.0)
        await crew.end(*crew.names("watcher"))
        await crew.end(*crew.names("consumer"))

    async def _idle_since(self, crew: Crew, since: float, seconds: float) -> list[str]:
        """The processes that did no work between `since` and `seconds` from now."""
        deadline = time.monotonic() + seconds
        while True:
            await asyncio.sleep(0.5)
            self._read_ledgers()
            idle = [
                name
                for program, work in _WORK.items()
                for name in crew.names(program)
                if self._last.get((name, work), 0.0) <= since
            ]
            if not idle or time.monotonic() > deadline:
                return idle

    async def _stuck(
        self, admin: Client, patience: float = _MOVING_SECONDS
    ) -> list[tuple[str, str]]:
        """Wait until everything is handled and replayed; what is stuck, as problems.

        Args:
            patience: how long to look whether the number of dead letters changes, in seconds.
        """
        began = moved = time.monotonic()
        before: dict[str, str] | None = None
        while (left := await self._left(admin)) != {}:
            now = time.monotonic()
            if left != before:
                moved, before = now, left
            if left and now - moved > patience and all(_DEAD in what for what in left):
                return []  # the judge knows which of them should have been replayed
            moving = now - moved < _MOVING_SECONDS and now - began < _LONGEST_SECONDS
            if now - began > HEALED_SECONDS and not moving:
                told = left or {"the servers": "do not answer"}
                text = f"{now - began:.0f} s after healing"
                return [("stuck", f"{what}: {much}, {text}") for what, much in told.items()]
            await asyncio.sleep(0.5)
        return []

    async def _left(self, admin: Client) -> dict[str, str] | None:
        """What is not handled and not replayed yet; None where the servers do not say."""
        js, left = admin.jetstream(), {}
        try:
            for name in self._options.semantics:
                for durable in _durables():
                    info = await js.consumer_info(f"soak-{name}", durable)
                    if info.num_pending or info.num_ack_pending:
                        much = f"{info.num_pending} pending, {info.num_ack_pending} acks pending"
                        left[f"{name} {durable}"] = much
                with suppress(NotFoundError):
                    state = (await js.stream_info(f"soak-{name}-dlq")).state
                    if state.messages:
                        left[f"{name} {_DEAD}"] = f"{state.messages}, first {state.first_seq}"
        except (NatsError, TimeoutError):
            return None
        return left

    @asynccontextmanager
    async def _watched(self, crew: Crew) -> AsyncIterator[None]:
        task = asyncio.create_task(self._watch(crew))
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _watch(self, crew: Crew) -> None:
        """Say how far it is, look after the processes, and notice a machine that stands still."""
        said = 0.0
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.25)
            now = time.monotonic()
            if now - before > STALL_SECONDS:
                self._log.write("stall", begin=before)
            crew.look_after()
            if now - said >= _SAY_EVERY:
                said = now
                self._read_ledgers()
                self._say(", ".join(self._chaos.now.values()) if self._chaos else "starting")

    def _read_ledgers(self) -> None:
        for path in self._options.folder.glob("*.ledger"):
            reading = self._readings.setdefault(path, Reading(path))
            for line in reading.new():
                self._counts[line["what"]] += 1
                self._last[path.stem, line["what"]] = line["at"]

    def _say(self, text: str) -> None:
        seconds, counts = time.monotonic() - self._began, self._counts
        print(
            f"{seconds:5.0f} s  acknowledged {counts['ack']:,}, begun {counts['begin']:,}, "
            f"handled {counts['end']:,}, refused {counts['refused']}, raw {counts['raw']}  {text}",
            flush=True,
        )


def _durables() -> list[str]:
    return [f"soak-{channel.replace('.', '_')}" for channel in CHANNELS]


async def _ignored(error: Exception) -> None:
    """The soak's own connection meets all faults too."""
