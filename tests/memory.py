"""Servers whose files are in memory, where the machine has room for them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

_MEMORY = Path("/dev/shm")
_ROOM = 4 * 1024**3


@contextmanager
def files_in_memory() -> Iterator[None]:
    """Let servers that are started here for the first time keep their temporary folders in memory.

    Each vote of an election, and each stream that is made, waits until the disk has it (`fsync`).
    Beside other tests that write much this takes seconds, and a cluster votes for a minute.
    """
    with pytest.MonkeyPatch.context() as patch:
        if _has_room():
            patch.setattr(tempfile, "tempdir", str(_MEMORY))
        yield


def _has_room() -> bool:
    if not _MEMORY.is_dir() or psutil.virtual_memory().available < _ROOM:
        return False
    return shutil.disk_usage(_MEMORY).free >= _ROOM
