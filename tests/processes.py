"""Children that run this project's code, for tests to read, stop and kill."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, Self

import psutil

from tests import consumer_process as consumer
from tests import export_process as export
from tests import replay_process as replay
from tests import upgrade_process as upgrade
from tests.waiting import until
from varco_nats.config import NatsEventBusSettings

Main = Callable[[dict[str, Any]], Coroutine[Any, Any, None]]

_context = multiprocessing.get_context("forkserver")
# a fork takes the place of a second of imports
_context.set_forkserver_preload(
    [
        consumer.__name__,
        export.__name__,
        replay.__name__,
        upgrade.__name__,
        "varco_core.cli.main",
        "varco_fastapi",  # a plugin of `varco`, which takes two seconds to import
        "varco_nats.cli",
    ]
)


def end_fork_server() -> None:
    forkserver._forkserver._stop()  # type: ignore[attr-defined]
    resource_tracker._resource_tracker._stop()  # type: ignore[attr-defined]


def run_python(code: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run `code` to its end in an interpreter of its own."""
    command = [sys.executable, *options, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, timeout=80)


def run_varco(
    arguments: list[str], environment: dict[str, str], folder: Path
) -> subprocess.CompletedProcess[str]:
    """Run `varco` with these arguments and variables to its end, in a process that is forked.

    Args:
        folder: where what it prints is kept.
    """
    files = [folder / "stdout", folder / "stderr"]
    process = _context.Process(target=_varco, args=(arguments, environment, files), daemon=True)
    process.start()
    process.join(80)
    if (code := process.exitcode) is None:
        process.kill()
        raise TimeoutError(arguments)
    return subprocess.CompletedProcess(arguments, code, *(file.read_text() for file in files))


def _varco(arguments: list[str], environment: dict[str, str], files: list[Path]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    for descriptor, file in enumerate(files, 1):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    from varco_core.cli.main import main

    sys.exit(main(arguments))


class Child:
    """A process that prints lines about what it does."""

    def __init__(self, process: ForkServerProcess, output: asyncio.StreamReader) -> None:
        self._process = process
        self._output = output
        self.lines: list[str] = []

    @classmethod
    @asynccontextmanager
    async def running(cls, main: Main, config: dict[str, Any]) -> AsyncIterator[Self]:
        """Start `main(config)`, and kill it in the end."""
        ours, theirs = _context.Pipe(duplex=False)
        process = _context.Process(target=_run, args=(main, config, theirs), daemon=True)
        with ours, theirs:
            await asyncio.to_thread(process.start)
            pipe = os.fdopen(os.dup(ours.fileno()), "rb")
        output = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(output), pipe
        )
        child = cls(process, output)
        try:
            yield child
        finally:
            await child.kill()
            transport.close()

    async def wait_for(self, line: str, timeout: float = 60) -> None:
        """Read what it prints until `line`."""
        await self.wait_for_count(line, 1, timeout)

    async def wait_for_count(self, start: str, count: int, timeout: float = 60) -> None:
        """Read until `count` lines begin with `start`."""
        async with asyncio.timeout(timeout):
            while sum(f"{line} ".startswith(f"{start} ") for line in self.lines) < count:
                await self.next_line()

    async def next_line(self) -> None:
        """Read one more line."""
        read = await self._output.readline()
        assert read, f"the child ended; it printed {self.lines}"
        self.lines.append(read.decode().strip())

    async def wait_until_stopped(self, timeout: float = 60) -> None:
        """Wait until it has stopped itself with SIGSTOP."""
        status = psutil.Process(self._process.pid).status
        await until(lambda: status() == psutil.STATUS_STOPPED, timeout)

    def pause(self) -> None:
        """SIGSTOP."""
        self._send(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self._send(signal.SIGCONT)

    def _send(self, number: signal.Signals) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    async def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
        await self.ended()

    async def terminate(self) -> None:
        """SIGTERM: a consumer stops its bus and ends."""
        self._process.terminate()
        await self.ended()

    async def ended(self, timeout: float = 60) -> int | None:
        """Its exit code, after the rest of its output."""
        async with asyncio.timeout(timeout):
            rest = await self._output.read()
        *whole, _ = rest.decode().split("\n")  # a process that was killed may leave half a line
        self.lines += whole
        await asyncio.to_thread(self._process.join, timeout)
        return self._process.exitcode

    @property
    def counts(self) -> dict[str, int]:
        """What the report of a replay says."""
        [line] = [line for line in self.lines if line.startswith("report ")]
        counts: dict[str, int] = json.loads(line.removeprefix("report "))
        return counts


def _run(main: Main, config: dict[str, Any], output: Connection) -> None:
    os.dup2(output.fileno(), sys.stdout.fileno())
    output.close()
    asyncio.run(main(config))


@asynccontextmanager
async def consumer_process(
    settings: NatsEventBusSettings, **behaviour: Any
) -> AsyncIterator[Child]:
    """One that consumes channel `orders`; see `consumer_process.py`."""
    config = {"settings": settings.model_dump(mode="json"), **behaviour}
    async with Child.running(consumer.main, config) as child:
        await child.wait_for("ready")
        yield child


@asynccontextmanager
async def replay_process(settings: NatsEventBusSettings, **config: Any) -> AsyncIterator[Child]:
    """One that replays a queue; see `replay_process.py`."""
    config = {"settings": settings.model_dump(mode="json"), **config}
    async with Child.running(replay.main, config) as child:
        yield child


@asynccontextmanager
async def export_process(
    settings: NatsEventBusSettings, path: Path, **config: Any
) -> AsyncIterator[Child]:
    """One that exports a channel to `path`; see `export_process.py`."""
    config = {"settings": settings.model_dump(mode="json"), "path": str(path), **config}
    async with Child.running(export.main, config) as child:
        yield child
