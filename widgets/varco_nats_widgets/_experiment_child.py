"""The consumer of an experiment, seen from the process that started it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

_SCRIPT = Path(__file__).with_name("_experiment_consumer.py")
_STOP_SECONDS = 15.0
_KEPT_LINES = 12  # of what it wrote to stderr

type Line = dict[str, Any]


class ConsumerProcess:
    """One consumer in a process of its own; `_experiment_consumer` is what runs in it.

    Args:
        name: what the record calls it.
        on_row: called with each line that says what happened to a message.
    """

    def __init__(self, name: str, on_row: Callable[[str, Line], object]) -> None:
        self.name = name
        self.reached = asyncio.Event()
        """Set when it waits in its handler for `go()`."""
        self._on_row = on_row
        self._process: asyncio.subprocess.Process | None = None
        self._ready = asyncio.Event()
        self._stopping = False
        self._errors: deque[str] = deque(maxlen=_KEPT_LINES)
        self._reading: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"ConsumerProcess({self.name}, {'alive' if self.alive else 'ended'})"

    @property
    def alive(self) -> bool:
        """Whether it runs, and all that it said has not been read yet."""
        return self._reading is not None and not self._reading.done()

    @property
    def problem(self) -> str | None:
        """Why it ended, where nobody wanted that."""
        if self._reading is None or self.alive or self._stopping:
            return None
        assert self._process is not None
        if self._process.returncode == -signal.SIGKILL:
            return None
        said = " | ".join(self._errors) or "it wrote nothing"
        return f"{self.name} ended with exit code {self._process.returncode}: {said}"

    async def start(self, config: dict[str, Any]) -> None:
        """Start it; returns at once, `ready()` waits until it consumes.

        Raises:
            OSError: no process could be started.
        """
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # the other files in the script's folder are no top-level modules
            str(_SCRIPT),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        self._reading = asyncio.create_task(self._read(), name=f"experiment {self.name}")
        self._say(json.dumps(config))

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
        self._say("go")

    async def stop(self) -> None:
        """Have it finish and end, as an orchestrator would."""
        self._stopping = True
        if not self.alive:
            return
        self._say("stop")
        with suppress(TimeoutError):
            async with asyncio.timeout(_STOP_SECONDS):
                await asyncio.shield(self._reading)  # type: ignore[arg-type]  # it is alive
        await self.kill()

    async def kill(self) -> None:
        """End it with SIGKILL; returns when it is gone and all that it said has been read."""
        self._stopping = True
        if self._process is None or self._reading is None:
            return
        with suppress(ProcessLookupError):
            self._process.kill()
        await asyncio.wait([self._reading])

    def _say(self, line: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        with suppress(ConnectionError):
            self._process.stdin.write(line.encode() + b"\n")

    async def _read(self) -> None:
        process = self._process
        assert process is not None
        assert process.stdout is not None
        assert process.stdin is not None
        errors = asyncio.create_task(self._read_errors())
        try:
            async for data in process.stdout:
                self._take(json.loads(data))
            await process.wait()
        finally:
            await errors
            process.stdin.close()
            with suppress(ConnectionError):
                await process.stdin.wait_closed()

    async def _read_errors(self) -> None:
        assert self._process is not None
        assert self._process.stderr is not None
        async for data in self._process.stderr:
            if text := data.decode(errors="replace").strip():
                self._errors.append(text)

    def _take(self, line: Line) -> None:
        if "kind" in line:
            self._on_row(self.name, line)
        elif "reached" in line:
            self.reached.set()
        elif "ready" in line:
            self._ready.set()
