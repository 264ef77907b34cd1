"""What one process did, in a file that survives its SIGKILL."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class Ledger:
    """Appends one JSON object per line, each by one write: what is written outlives the process.

    Times are `time.monotonic()`, one clock for all processes of a machine.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(self, what: str, **fields: object) -> None:
        line = json.dumps({"what": what, "at": time.monotonic(), **fields}) + "\n"
        os.write(self._file, line.encode())

    def close(self) -> None:
        os.close(self._file)


class Reading:
    """Reads a ledger that may still grow; each call of `new()` goes on where the last one ended."""

    def __init__(self, path: Path) -> None:
        self.name = path.stem
        self._path = path
        self._at = 0

    def new(self) -> Iterator[dict[str, Any]]:
        """The lines that are complete and were not read yet."""
        with self._path.open("rb") as file:
            file.seek(self._at)
            for line in file:
                if not line.endswith(b"\n"):  # killed while it wrote, or writing
                    return
                self._at += len(line)
                yield json.loads(line)
