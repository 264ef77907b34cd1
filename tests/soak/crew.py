"""The processes of the soak: started by a fork server, ended by their ids."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from tests.soak import worker
from tests.soak.worker import AT_MOST_ONCE, STOP_SECONDS, Config


class Crew:
    """Producers, consumers, replayers and a watcher.

    Args:
        semantics: of which there are processes.
        servers: URLs of the servers, and of the proxies before them, that every second process of
            a kind goes through.
    """

    def __init__(
        self,
        folder: Path,
        seed: int,
        semantics: Sequence[str],
        servers: tuple[str, str],
        replicas: int,
    ) -> None:
        self.semantics = semantics
        self.with_dead_letters = [name for name in semantics if name != AT_MOST_ONCE]
        self.problems: list[tuple[str, str]] = []
        """What was wrong with processes: the broken promise, and details."""
        self._told = (servers, replicas, seed, folder)
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["tests.soak.worker"])  # a fork, in place of imports
        self._processes: dict[str, ForkServerProcess] = {}
        self._started: Counter[str] = Counter()
        self._ending: set[str] = set()

    def spawn(self, program: str, semantics: Sequence[str], kind: str = "") -> str:
        kind = kind or f"{program}-{semantics[0]}"
        self._started[kind] += 1
        name = f"{kind}-{self._started[kind]}"
        servers, replicas, seed, folder = self._told
        proxied = self._started[kind] % 2 == 0 or program == "watcher"
        config = Config(
            name, program, tuple(semantics), proxied, servers[proxied], replicas, seed, folder
        )
        process = self._context.Process(target=worker.run, args=(config,), name=name, daemon=True)
        process.start()
        self._processes[name] = process
        return name

    def spawn_consumer(self, semantics: str) -> str:
        return self.spawn("consumer", [semantics])

    def spawn_victim(self) -> str:
        """A replayer to be killed."""
        return self.spawn("replayer", self.with_dead_letters, "replayer-victim")

    def names(self, program: str, semantics: str = "") -> list[str]:
        """Those of a program that run and are not being ended."""
        kind = f"{program}-{semantics}"
        return [n for n in self._processes if n.startswith(kind) and n not in self._ending]

    def kill(self, name: str) -> None:
        process = self._processes.pop(name)
        process.kill()
        process.join()

    def pause(self, name: str) -> None:
        self._signal(name, signal.SIGSTOP)

    def resume(self, name: str) -> None:
        self._signal(name, signal.SIGCONT)

    def _signal(self, name: str, number: signal.Signals) -> None:
        process = self._processes.get(name)
        if process is not None and process.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(process.pid, number)

    async def end(self, *names: str) -> None:
        """SIGTERM, and wait; those that do not end are killed, and told of."""
        self._ending.update(names)
        for name in names:
            self._processes[name].terminate()
        for name in names:
            process = self._processes[name]
            await asyncio.to_thread(process.join, STOP_SECONDS)
            if process.exitcode is None:
                text = f"{name} was still there {STOP_SECONDS:g} s after SIGTERM"
                self.problems.append(("processes that do not end", text))
            self.kill(name)

    def look_after(self) -> None:
        """Notice processes that ended by themselves."""
        for name, process in list(self._processes.items()):
            if process.exitcode is not None and name not in self._ending:
                text = f"{name} ended by itself with {process.exitcode}"
                self.problems.append(("processes that end by themselves", text))
                del self._processes[name]

    def close(self) -> None:
        for name in list(self._processes):
            self.kill(name)
