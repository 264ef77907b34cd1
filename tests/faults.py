"""Real faults for tests: a consumer process to kill, a proxy that cuts connections."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Self

import psutil

from tests.waiting import until
from varco_nats.config import NatsEventBusSettings

COUNTED = "counted"
"""Property of a test's report: what was counted at one moment, for the summary."""

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


class Proxy:
    """A TCP proxy in front of the server.

    It can swallow what either side sends, stall, let the server's answers come late and slowly,
    hold what clients send, cut connections, and end them while clients log in.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._gates: list[asyncio.Event] = []
        self.swallow_answers = False
        self.swallow_requests = False
        self.flowing = asyncio.Event()
        """Cleared, it stalls all connections, also new ones; what they send comes later."""
        self.flowing.set()
        self.lose: re.Pattern[bytes] | None = None
        """What is lost of the server's answers."""
        self.refuse = False
        """Whether new connections are closed at once."""
        self.end_logins = False
        """Whether a client gets the server's greeting and then the end of the connection."""
        self.answer_bytes = 65536
        """How many bytes of the server's answers come through at a time, 50 per second."""
        self.on_sent: Callable[[bytes], object] = lambda data: None
        """Called with what clients send."""
        self._answers = asyncio.Event()
        self._answers.set()
        self._requests = asyncio.Event()
        self._requests.set()
        self.connections = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        for task in list(self._tasks):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    def url_for(self, url: str) -> str:
        """`url` with this proxy's port."""
        return f"{url.rpartition(':')[0]}:{self.port}"

    def cut(self) -> None:
        """Close every connection; new ones are accepted."""
        for writer in list(self._writers):
            writer.transport.abort()
        self._writers.clear()

    def hold(self) -> None:
        """Keep what the connections of now send, also when their clients leave."""
        for gate in self._gates:
            gate.clear()

    def release(self) -> None:
        """Send what was kept."""
        for gate in self._gates:
            gate.set()

    def hold_answers(self) -> None:
        """Keep what the server says."""
        self._answers.clear()

    def release_answers(self) -> None:
        """Hand over what the server said meanwhile."""
        self._answers.set()

    def hold_requests(self) -> None:
        """Keep what clients send, and only that, until `release_requests`."""
        self._requests.clear()

    def release_requests(self) -> None:
        self._requests.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refuse:
            writer.transport.abort()
            return
        self.connections += 1
        gate = asyncio.Event()
        gate.set()
        self._gates.append(gate)
        try:
            upstream_reader, upstream = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:  # the server is down
            writer.transport.abort()
            return
        self._writers |= {writer, upstream}
        for task in (
            asyncio.create_task(self._pump(reader, upstream, gate, answers=False)),
            asyncio.create_task(self._pump(upstream_reader, writer, gate, answers=True)),
        ):
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        gate: asyncio.Event,
        *,
        answers: bool,
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(self.answer_bytes if answers else 65536):
                if answers:
                    if self.swallow_answers or not gate.is_set():
                        continue
                    await self._answers.wait()
                    if self.answer_bytes < 65536:
                        await asyncio.sleep(0.02)
                else:
                    self.on_sent(data)
                    if self.end_logins:
                        writer.close()
                        continue
                    if self.swallow_requests:
                        continue
                await gate.wait()
                await self.flowing.wait()
                if not answers:
                    await self._requests.wait()
                elif self.lose is not None:
                    data = self.lose.sub(b"", data)
                writer.write(data)
                await writer.drain()
        if not answers:
            await gate.wait()
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
