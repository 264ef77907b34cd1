"""`ConsumerProcess`: a consumer of an experiment, as the experiment sees and steers it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from varco_nats_widgets.experiment._fork_server import ForkServer

_STOP_SECONDS = 15.0
_END_SECONDS = 2.0

type Line = dict[str, Any]


class ConsumerProcess:
    """One consumer in a process of its own, which runs `_consumer.py`.

    Args:
        name: its name in the record.
        on_row: called with the name and each line that reports what happened to a message.
    """

    def __init__(self, name: str, on_row: Callable[[str, Line], object]) -> None:
        self.name = name
        self.reached = 0
        """The number of the event whose handler waits for `go()`; 0 if none does."""
        self._on_row = on_row
        self._fork_server: ForkServer | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._pid: int | None = None
        self.ending = False
        """Whether it is meant to end, or has announced that it kills itself."""
        self._error: str | None = None

    def __repr__(self) -> str:
        return f"ConsumerProcess({self.name}, {'alive' if self.alive else 'ended'})"

    @property
    def alive(self) -> bool:
        """Whether it runs, or has sent lines that are not read yet."""
        return self._reading is not None and not self._reading.done()

    @property
    def problem(self) -> str | None:
        """Why it ended, if it was not meant to."""
        if self._reading is None or self.alive or self.ending:
            return None
        return f"{self.name} did not work: {self._error or 'its process is gone'}"

    async def start(self, fork_server: ForkServer, config: Line) -> None:
        """Start it. This returns at once; `ready()` waits until it consumes.

        Raises:
            OSError: no process could be started.
        """
        self._fork_server = fork_server
        sock = fork_server.fork()
        try:
            sock.setblocking(False)
            reader, self._writer = await asyncio.open_connection(sock=sock)
        except BaseException:
            sock.close()
            raise
        self._send(json.dumps(config))
        self._reading = asyncio.create_task(self._read(reader), name=f"experiment {self.name}")

    async def ready(self) -> None:
        """Wait until it consumes, or has ended."""
        assert self._reading is not None
        ready = asyncio.create_task(self._ready.wait())
        try:
            await asyncio.wait([ready, self._reading], return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()

    def go(self) -> None:
        """Let the handler that waits go on."""
        self.reached = 0
        self._send("go")

    async def stop(self) -> None:
        """Have it finish its work and end, as an orchestrator would."""
        self.ending = True
        if self._reading is not None:
            self._send("stop")
            await asyncio.wait([self._reading], timeout=_STOP_SECONDS)
        await self.kill()

    async def kill(self) -> None:
        """Kill it; returns when it is gone and every line that it sent has been read."""
        self.ending = True
        if self._writer is None or self._reading is None:
            return
        if self.alive and self._pid is not None:  # once it is gone, another may have its id
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            await asyncio.wait([self._reading], timeout=_END_SECONDS)
        self._writer.close()  # without a process id yet, it ends when its socket does
        self._reading.cancel()
        await asyncio.wait([self._reading])

    def _send(self, line: str) -> None:
        assert self._writer is not None
        with suppress(ConnectionError):
            self._writer.write(line.encode() + b"\n")

    async def _read(self, reader: asyncio.StreamReader) -> None:
        with suppress(ConnectionError):
            async for data in reader:
                if data.endswith(b"\n"):
                    self._take(json.loads(data))
        assert self._writer is not None
        assert self._fork_server is not None
        self._writer.close()
        if self._pid is None and not self.ending:  # it has never run
            self._error = await asyncio.to_thread(self._fork_server.problem)

    def _take(self, line: Line) -> None:
        if "kind" in line:
            self._on_row(self.name, line)
        elif "pid" in line:
            self._pid = line["pid"]
        elif "reached" in line:
            self.reached = line["reached"]
        elif "ready" in line:
            self._ready.set()
        elif "error" in line:
            self._error = line["error"]
        elif "killed" in line:
            self.ending = True
