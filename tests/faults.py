"""A consumer process to stop and kill."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import psutil

from tests.waiting import until
from varco_nats.config import NatsEventBusSettings

_ROOT = Path(__file__).parents[1]


class ConsumerProcess:
    """`consumer_process.py` as a child: consumes channel `orders` and says what it does."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.lines: list[str] = []

    @classmethod
    async def start(cls, settings: NatsEventBusSettings, **behaviour: Any) -> Self:
        config = {"settings": settings.model_dump(mode="json"), **behaviour}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.consumer_process",
            json.dumps(config),
            cwd=_ROOT,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        child = cls(process)
        await child.wait_for("ready")
        return child

    async def wait_for(self, line: str, timeout: float = 15) -> None:
        """Read what the child prints until `line`."""
        async with asyncio.timeout(timeout):
            while line not in self.lines:
                await self._read_line()

    async def wait_for_count(self, stage: str, count: int, timeout: float = 15) -> None:
        """Read until `count` lines begin with `stage`."""
        async with asyncio.timeout(timeout):
            while sum(line.startswith(stage) for line in self.lines) < count:
                await self._read_line()

    async def _read_line(self) -> None:
        assert self._process.stdout is not None
        read = await self._process.stdout.readline()
        assert read, f"the child ended; it printed {self.lines}"
        self.lines.append(read.decode().strip())

    async def wait_until_stopped(self, timeout: float = 15) -> None:
        """Wait until it has stopped itself with SIGSTOP."""
        status = psutil.Process(self._process.pid).status
        await until(lambda: status() == psutil.STATUS_STOPPED, timeout)

    def pause(self) -> None:
        """SIGSTOP."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self._process.send_signal(signal.SIGCONT)

    async def kill(self) -> None:
        """SIGKILL."""
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        assert self._process.stdout is not None
        rest = await self._process.stdout.read()
        self.lines += rest.decode().split("\n")
        self._process._transport.close()  # type: ignore[attr-defined]

    async def terminate(self) -> None:
        """SIGTERM: the child stops its bus and ends."""
        self._process.terminate()
        async with asyncio.timeout(15):
            await self._process.wait()
        await self.kill()


@asynccontextmanager
async def consumer_process(
    settings: NatsEventBusSettings, **behaviour: Any
) -> AsyncIterator[ConsumerProcess]:
    child = await ConsumerProcess.start(settings, **behaviour)
    try:
        yield child
    finally:
        await child.kill()
