"""The folder of an unfinished export, beside the path of the finished one.

`orders.parquet.partial/` holds what was read so far, a lock, and `state.json`, which says how far
the export is. That file is written after the data that it describes, so that it is true whenever
the process dies.
"""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import IO, Any

from varco_nats_widgets.export import _own_files
from varco_nats_widgets.export._own_files import DATA, LOCK, STATE

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # on Windows, nothing keeps two exports from writing to the same path
    fcntl = None

_LOCK_SECONDS = 5.0  # a cancelled export holds its lock until its last write has ended
_SAME_SECONDS = 5.0


@dataclass(slots=True)
class State:
    """How far an export is, in plain values that are saved as JSON."""

    query: dict[str, Any]
    """What was asked for."""
    selection: dict[str, Any]
    """The messages that were selected when it began."""
    began: float
    position: int | None = None
    """The sequence of the last message that was read."""
    position_ns: int = 0
    read: bool = False
    """Whether all messages were read."""
    rows: int = 0
    filtered: int = 0
    first_seq: int | None = None
    last_seq: int | None = None
    spills: list[int] = field(default_factory=list)
    """How many rows each file of blocks has."""
    types: dict[str, Any] = field(default_factory=dict)
    times: dict[str, Any] = field(default_factory=dict)
    """What was found in the fields that become times."""
    written: int = 0
    """The rows in files of the finished export."""
    files: int = 0
    bytes: int = 0
    """How many bytes of a file that is appended to are valid."""
    finished: bool = False


class Partial:
    """The folder of an unfinished export.

    Args:
        target: the path of the finished export.
        is_folder: whether that will be a folder.
    """

    def __init__(self, target: Path, *, is_folder: bool) -> None:
        self.target = target
        self.is_folder = is_folder
        self.folder = target.with_name(f"{target.name}.partial")
        self.data = self.folder / (DATA if is_folder else f"rows{target.suffix}")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep every other export out of the folder.

        Raises:
            FileNotFoundError: the folder of the target does not exist.
            FileExistsError: something else has the folder's name, or is in it.
            BlockingIOError: another export is writing there.
        """
        if not self.target.parent.is_dir():
            raise FileNotFoundError(
                errno.ENOENT, "the folder to export to does not exist", str(self.target.parent)
            )
        self.folder.mkdir(exist_ok=True)
        with (self.folder / LOCK).open("a") as file:
            self._lock(file)
            try:
                self._check_contents()
                yield
            finally:
                if not (self.folder / STATE).exists():  # there is nothing to continue
                    self.clear()

    def _check_contents(self) -> None:
        if (strange := _own_files.foreign(self.folder)) is not None:
            name = str(strange.relative_to(self.folder))
            raise FileExistsError(
                errno.EEXIST,
                f"it holds {name!r}, which no export wrote; move it away",
                str(self.folder),
            )

    def _lock(self, file: IO[str]) -> None:
        until = time.monotonic() + _LOCK_SECONDS
        while fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > until:
                    raise BlockingIOError(
                        errno.EAGAIN, "another export is writing there", str(self.target)
                    ) from None
                time.sleep(0.05)

    def load(self) -> State | None:
        """The state that an earlier export left; None, and forgotten, if it cannot go on."""
        with suppress(FileNotFoundError, ValueError, TypeError):
            state = State(**json.loads((self.folder / STATE).read_bytes()))
            if not state.finished or self.data.exists():
                return state
        (self.folder / STATE).unlink(missing_ok=True)
        return None

    def begin(self, state: State) -> None:
        """Remove what an earlier export left, and save the state of this one."""
        _own_files.remove(self.folder, keep=LOCK)
        self.save(state)

    def save(self, state: State) -> None:
        """Save how far the export is; the data must be on the disk already."""
        write_whole(self.folder / STATE, json.dumps(asdict(state)).encode())

    def open_data(self, size: int) -> IO[bytes]:
        """The file of the rows, cut to its first `size` bytes, to append to."""
        file = self.data.open("ab")
        file.truncate(size)
        return file

    def spill(self, number: int) -> Path:
        return self.folder / f"spill-{number:06d}.arrow"

    def clear(self) -> None:
        """Remove what exports wrote; the folder stays if it holds files of others."""
        _own_files.remove(self.folder)


def check_same(state: State, query: dict[str, Any], now: float, folder: Path) -> None:
    """Check that the unfinished export was called with the same arguments.

    A time counts as the same if it is as long ago now as it was then, as with `last="10m"`.

    Raises:
        FileExistsError: it was not; names the arguments that differ.
    """
    different = []
    for name in sorted({*state.query, *query}):
        then, wanted = state.query.get(name), query.get(name)
        if then == wanted:
            continue
        if isinstance(then, float) and isinstance(wanted, float):
            moved = (wanted - then) - (now - state.began)
            if abs(moved) < _SAME_SECONDS:
                continue
        different.append(f"{name}={_readable(then)}, not {_readable(wanted)}")
    if different:
        raise FileExistsError(
            errno.EEXIST,
            f"it holds an unfinished export with {'; '.join(different)}. Repeat that export to "
            "continue it, or give overwrite=True to drop it",
            str(folder),
        )


def info_path(target: Path) -> Path:
    """The file that describes an export in a format which cannot hold the description itself."""
    return target.with_name(f"{target.name}.info.json")


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that it is there complete or not at all."""
    new = path.with_name(f"{path.name}.new")
    with new.open("wb") as file:
        file.write(data)
        sync(file)
    new.replace(path)


def _readable(value: object) -> str:
    if isinstance(value, float):
        return datetime.fromtimestamp(value, UTC).isoformat(timespec="seconds")
    return repr(value)


def sync(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())
