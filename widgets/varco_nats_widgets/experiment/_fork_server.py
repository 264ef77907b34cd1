"""The fork server of experiments: a process that forks a consumer whenever it is asked to."""

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
_FAIL_SECONDS = 2.0  # a process closes its sockets a moment before it is gone
_MAX_OUTPUT = 1000  # characters of its output that an error message quotes


class ForkServer:
    """Starts the consumers of experiments, each as a process of its own. Thread-safe.

    The server's own process begins with the first consumer and ends with `close()`. When the
    process that made this object is gone, however it ended, the server and all consumers end too.

    Args:
        python: the interpreter.
    """

    def __init__(self, python: str = sys.executable) -> None:
        self._python = python
        self._lock = threading.RLock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._output = ""  # what it wrote to stderr, as far as it has been read

    def __repr__(self) -> str:
        return f"ForkServer({'running' if self._process is not None else 'idle'})"

    def fork(self) -> socket.socket:
        """Start a consumer; returns the parent's end of its socket.

        Raises:
            OSError: no process could be started.
        """
        with self._lock:
            self.start()
            assert self._control is not None
            ours, theirs = socket.socketpair()
            try:
                with theirs:
                    socket.send_fds(self._control, [b"+"], [theirs.fileno()])
            except OSError as error:
                ours.close()
                raise ChildProcessError(self.problem() or str(error)) from None
            return ours

    def problem(self) -> str | None:
        """Why the server's process ended; None while it runs. Waits up to 2 s for its end."""
        with self._lock:
            process = self._process
            if process is None:
                return None
            try:
                process.wait(_FAIL_SECONDS)
            except subprocess.TimeoutExpired:
                return None
            assert process.stderr is not None
            self._output += process.stderr.read().decode(errors="replace")
            output = self._output.strip()[-_MAX_OUTPUT:] or "it wrote nothing"
            return f"{self._python} ended with exit code {process.returncode}: {output}"

    def close(self) -> None:
        """End the process; the next `fork()` starts another. A second call does nothing."""
        with self._lock:
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

    def start(self) -> None:
        """Start the process ahead of time, so that the first consumer starts sooner.

        Raises:
            OSError: no process could be started.
        """
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                return
            self.close()
            self._output = ""
            control, theirs = socket.socketpair()
            try:
                with theirs:
                    self._process = subprocess.Popen(  # noqa: S603 - our own script
                        # -P: files beside the script must not be imported as top-level modules
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
