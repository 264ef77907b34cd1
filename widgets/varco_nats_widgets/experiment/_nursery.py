"""Where the consumers of experiments come from: a process that forks one whenever asked."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

_SCRIPT = Path(__file__).with_name("_consumer.py")
_END_SECONDS = 5.0
_FAIL_SECONDS = 2.0  # its sockets are closed a moment before it is gone
_KEPT = 1000  # characters of what it wrote when it failed


class Nursery:
    """Starts consumers. Its own process begins with the first of them and ends with `close()`.

    Thread-safe. When this process is gone, however it ended, so are that one and all consumers.

    Args:
        python: the interpreter.
    """

    def __init__(self, python: str = sys.executable) -> None:
        self._python = python
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._said = ""  # to stderr, as far as it has been read

    def __repr__(self) -> str:
        return f"Nursery({'running' if self._process is not None else 'idle'})"

    def fork(self) -> socket.socket:
        """This end of the socket of a new consumer; it is ready once it answers.

        Raises:
            OSError: no process could be started.
        """
        with self._lock:
            self._start()
            assert self._control is not None
            ours, theirs = socket.socketpair()
            try:
                with theirs:
                    socket.send_fds(self._control, [b"+"], [theirs.fileno()])
            except OSError as error:
                ours.close()
                raise ChildProcessError(self._problem() or str(error)) from None
            return ours

    def problem(self) -> str | None:
        """What it said when it failed; None if it runs. Waits a little for its end."""
        with self._lock:
            return self._problem()

    def _problem(self) -> str | None:
        process = self._process
        if process is None:
            return None
        try:
            process.wait(_FAIL_SECONDS)
        except subprocess.TimeoutExpired:
            return None
        assert process.stderr is not None
        self._said += process.stderr.read().decode(errors="replace")  # the rest of it
        last = self._said.strip()[-_KEPT:] or "it wrote nothing"
        return f"{self._python} ended with exit code {process.returncode}: {last}"

    def close(self) -> None:
        """End it; the next `fork()` starts it again. More than one call does nothing."""
        with self._lock:
            self._end()

    def start(self) -> None:
        """Begin already, so that the first consumer is there sooner.

        Raises:
            OSError: no process could be started.
        """
        with self._lock:
            self._start()

    def _start(self) -> None:
        if self._process is not None and self._process.poll() is None:
            return
        self._end()
        self._said = ""
        control, theirs = socket.socketpair()
        try:
            with theirs:
                self._process = subprocess.Popen(  # noqa: S603 - our own script
                    # -P: the other files in the script's folder are no top-level modules
                    [self._python, "-P", str(_SCRIPT), str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    pass_fds=[theirs.fileno()],
                    env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                )
        except BaseException:
            control.close()
            raise
        self._control = control

    def _end(self) -> None:
        control, self._control = self._control, None
        process, self._process = self._process, None
        if control is not None:
            control.close()
        if process is None:
            return
        with suppress(subprocess.TimeoutExpired):
            process.wait(_END_SECONDS)
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()
