"""The faults: at random from a seed, each written to the fault log with its begin and its end.

Four loops, of servers, network, consumers and one replayer, each choosing from a random generator
of its own: the same seed makes the same choices, whatever the timing. Servers are left alone in
every second `PHASE`, so that what a fault of consumers or network alone can do is seen as well.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from nats.aio.client import Client
from nats.errors import Error as NatsError

from tests.proxy import ANSWERS, REQUESTS, Proxy
from tests.soak.crew import Crew
from tests.soak.ledger import Ledger
from varco_nats.errors import LocalServerError
from varco_nats.server import LocalNats

PHASE = 30.0
"""Seconds with faults of servers, then as many without."""

SERVER, NETWORK, PROCESS, CHANGE = "server", "network", "process", "change"
"""Families of faults. A change (a consumer added or stopped cleanly) excuses nothing."""

_LONGEST = 20.0
_ENDS = {"killed": LocalNats.kill, "stopped": LocalNats.stop, "paused": LocalNats.pause}


class Chaos:
    """Breaks things until `ends_at`; each fault is healed by then, and `heal` makes sure.

    Args:
        log: the fault log.
        leaders: the leaders that can be stepped down: stream, or stream and consumer.
    """

    def __init__(
        self,
        seed: int,
        log: Ledger,
        nodes: Sequence[LocalNats],
        proxies: Sequence[Proxy],
        crew: Crew,
        leaders: Sequence[str],
        admin: Client,
        ends_at: float,
    ) -> None:
        self._seed = seed
        self._log = log
        self._nodes = nodes
        self._proxies = proxies
        self._crew = crew
        self._leaders = leaders
        self._admin = admin
        self._ends_at = ends_at
        self._began = time.monotonic()
        self._numbers = itertools.count(1)
        self.now: dict[int, str] = {}
        """The faults of this moment, in words."""

    async def run(self) -> None:
        loops = [self._break_servers, self._break_network, self._break_consumers]
        if self._crew.with_dead_letters:
            loops.append(self._kill_replayer)
        async with asyncio.TaskGroup() as group:
            for loop in loops:
                group.create_task(loop(random.Random(f"{self._seed} {loop.__name__}")))

    async def heal(self) -> None:
        """Everything runs and flows, whatever state it was in."""
        for proxy in self._proxies:
            _let_flow(proxy)
        await self._bring_back(self._nodes)
        for name in self._crew.names("consumer"):
            self._crew.resume(name)

    @contextmanager
    def _fault(self, family: str, kind: str, target: str) -> Iterator[None]:
        number = next(self._numbers)
        self.now[number] = f"{kind} {target}"
        self._log.write("begin", number=number, family=family, kind=kind, target=target)
        try:
            yield
        finally:
            del self.now[number]
            self._log.write("end", number=number)

    async def _wait(self, seconds: float) -> bool:
        """Wait, no longer than there is time; whether there is some left."""
        await asyncio.sleep(max(0.0, min(seconds, self._ends_at - time.monotonic())))
        return time.monotonic() < self._ends_at

    async def _break_servers(self, rng: random.Random) -> None:
        kinds = {"killed": 3, "stopped": 2, "paused": 4}
        if len(self._nodes) > 1:
            kinds |= {"stepped down": 5, "quorum lost by": 2}
        while await self._wait(rng.uniform(1, 4)):
            passed = time.monotonic() - self._began
            if passed % (2 * PHASE) >= PHASE and not await self._wait(PHASE - passed % PHASE):
                return
            (kind,) = rng.choices(list(kinds), list(kinds.values()))
            if kind == "stepped down":
                await self._step_down(rng.choice(self._leaders))
                continue
            both = kind == "quorum lost by"
            nodes = rng.sample(self._nodes, 2 if both else 1)
            end = rng.choice([LocalNats.kill, LocalNats.pause]) if both else _ENDS[kind]
            longest = {"paused": _LONGEST, "quorum lost by": 10.0}.get(kind, 8.0)
            seconds = rng.uniform(0.5, longest)
            names = [f"server-{self._nodes.index(node) + 1}" for node in nodes]
            with self._fault(SERVER, kind, " and ".join(names)):
                for node in nodes:
                    await asyncio.to_thread(end, node)
                await self._wait(seconds)
                await self._bring_back(nodes)

    async def _bring_back(self, nodes: Sequence[LocalNats]) -> None:
        for node in nodes:
            if not node.running:
                with suppress(LocalServerError):  # a machine too busy; the end tries once more
                    await asyncio.to_thread(node.start)
            else:
                await asyncio.to_thread(node.resume)

    async def _step_down(self, leader: str) -> None:
        kind = "CONSUMER" if "." in leader else "STREAM"
        words = "stepped down leader of"
        with self._fault(SERVER, words, leader), suppress(NatsError, TimeoutError):
            await self._admin.request(f"$JS.API.{kind}.LEADER.STEPDOWN.{leader}", timeout=2)

    async def _break_network(self, rng: random.Random) -> None:
        while await self._wait(rng.uniform(2, 8)):
            proxies = [rng.choice(self._proxies)] if rng.random() < 0.7 else list(self._proxies)
            names = [f"proxy-{self._proxies.index(proxy) + 1}" for proxy in proxies]
            kind = rng.choice(["cut", "stalled", "black hole"])
            seconds = rng.uniform(1, _LONGEST if rng.random() < 0.5 else 4)
            with self._fault(NETWORK, kind, " and ".join(names)):
                for proxy in proxies:
                    if kind == "stalled":
                        proxy.stall(ANSWERS, REQUESTS)
                    elif kind == "black hole":
                        proxy.drop(ANSWERS, REQUESTS)
                if kind != "cut":
                    await self._wait(seconds)
                for proxy in proxies:
                    _let_flow(proxy)
                    if kind != "stalled":  # what was dropped is missing, as TCP never lets it
                        proxy.disconnect()

    async def _break_consumers(self, rng: random.Random) -> None:
        crew = self._crew
        while await self._wait(rng.uniform(1, 5)):
            semantics, number = rng.choice(crew.semantics), rng.randrange(60)
            seconds = rng.uniform(0.5, 3 if rng.random() < 0.5 else 12)
            (kind,) = rng.choices(["killed", "paused", "stopped cleanly", "added"], [4, 4, 2, 1])
            if kind == "added":
                name = crew.spawn_consumer(semantics)
            else:
                names = crew.names("consumer", semantics)
                name = names[number % len(names)]
            with self._fault(PROCESS if kind in ("killed", "paused") else CHANGE, kind, name):
                if kind == "killed":
                    crew.kill(name)
                elif kind == "paused":
                    crew.pause(name)
                    await self._wait(seconds)
                    crew.resume(name)
                else:
                    await self._wait(seconds if kind == "added" else 0)
                    await crew.end(name)
            if kind in ("killed", "stopped cleanly"):
                crew.spawn_consumer(semantics)

    async def _kill_replayer(self, rng: random.Random) -> None:
        name = self._crew.spawn_victim()
        while await self._wait(rng.uniform(2, 8)):
            with self._fault(PROCESS, "killed", name):
                self._crew.kill(name)
            name = self._crew.spawn_victim()


def _let_flow(proxy: Proxy) -> None:
    proxy.drop()
    proxy.flow()
