"""The consumer of an experiment, seen from the process that started it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from varco_nats_widgets.experiment._nursery import Nursery

_STOP_SECONDS = 15.0
_END_SECONDS = 2.0

type Line = dict[str, Any]


class ConsumerProcess:
    """One consumer in a process of its own; `_consumer` is what runs in it.

    Args:
        name: what the record calls it.
        on_row: called with each line that says what happened to a message.
    """

    def __init__(self, name: str, on_row: Callable[[str, Line], object]) -> None:
        self.name = name
        self.reached = 0
        """The number of the event in whose handler it waits for `go()`; 0 for none."""
        self._on_row = on_row
        self._nursery: Nursery | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._pid: int | None = None
        self.ending = False
        """Whether its end is wanted, or it was about to be killed."""
        self._error: str | None = None

    def __repr__(self) -> str:
        return f"ConsumerProcess({self.name}, {'alive' if self.alive else 'ended'})"

    @property
    def alive(self) -> bool:
        """Whether it runs, or what it said has not been read to the end."""
        return self._reading is not None and not self._reading.done()

    @property
    def problem(self) -> str | None:
        """Why it ended, where nobody wanted that."""
        if self._reading is None or self.alive or self.ending:
            return None
        return f"{self.name} did not work: {self._error or 'its process is gone'}"

    async def start(self, nursery: Nursery, config: Line) -> None:
        """Start it; returns at once, `ready()` waits until it consumes.

        Raises:
            OSError: no process could be started.
        """
        self._nursery = nursery
        sock = nursery.fork()
        try:
            sock.setblocking(False)
            reader, self._writer = await asyncio.open_connection(sock=sock)
        except BaseException:
            sock.close()
            raise
        self._say(json.dumps(config))
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
        """Let it go on, where it waits in its handler."""
        self.reached = 0
        self._say("go")

    async def stop(self) -> None:
        """Have it finish and end, as an orchestrator would."""
        self.ending = True
        if self._reading is not None:
            self._say("stop")
            await asyncio.wait([self._reading], timeout=_STOP_SECONDS)
        await self.kill()

    async def kill(self) -> None:
        """End it; returns when it is gone and all that it said has been read."""
        self.ending = True
        if self._writer is None or self._reading is None:
            return
        if self.alive and self._pid is not None:  # so that the process id is still its own
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            await asyncio.wait([self._reading], timeout=_END_SECONDS)
        self._writer.close()  # one that has not said its process id yet ends with its socket
        self._reading.cancel()
        await asyncio.wait([self._reading])

    def _say(self, line: str) -> None:
        assert self._writer is not None
        with suppress(ConnectionError):
            self._writer.write(line.encode() + b"\n")

    async def _read(self, reader: asyncio.StreamReader) -> None:
        with suppress(ConnectionError):
            async for data in reader:
                if data.endswith(b"\n"):
                    self._take(json.loads(data))
        assert self._writer is not None
        assert self._nursery is not None
        self._writer.close()
        if self._pid is None and not self.ending:  # it never was there
            self._error = await asyncio.to_thread(self._nursery.problem)

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
