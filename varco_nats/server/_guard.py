"""Runs a nats-server for `varco_nats.server` and ends it when the parent process is gone.

This is a script, not to be imported: `python _guard.py BINARY CONFIG FOLDER STORE`.

It takes commands on stdin, one per line, `ID COMMAND [ARGUMENT]`, and answers `ID RESULT` on
stdout. Only the parent holds the other end of stdin: when that closes, or when this process gets
another parent, the server is killed and FOLDER is removed. STORE is locked while the server runs.

Being the server's parent it can signal the server safely: a process id cannot be reused before
it is waited for.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import sys
import time

_STDIN, _STDOUT, _STDERR = 0, 1, 2
_CHECK_PARENT_SECONDS = 1.0
_LOCK_SECONDS = 2.0  # a server whose parent has just died may still hold it


class Guard:
    """One nats-server that can be started again and again."""

    def __init__(self, binary: str, config: str, store: str) -> None:
        self.binary = binary
        self.config = config
        self.store = store
        self.pid = 0
        self.alive = -1  # readable as soon as the server is dead: it holds the only write end

    def start(self) -> str:
        if self.pid and select.select([self.alive], [], [], 0)[0]:
            self.reap()
        if self.pid:
            return str(self.pid)
        lock = self._lock_store()
        if lock is None:
            return "busy"
        self.alive, server_end = os.pipe()
        guard = os.getpid()
        self.pid = os.fork()  # safe: this process has one thread
        if not self.pid:
            try:
                self._become_server(guard, server_end, lock)
            finally:
                os._exit(127)
        os.close(server_end)
        os.close(lock)
        return str(self.pid)

    def _lock_store(self) -> int | None:
        lock = os.open(f"{self.store}/.lock", os.O_RDWR | os.O_CREAT, 0o600)
        deadline = time.monotonic() + _LOCK_SECONDS
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return lock
            except BlockingIOError:
                if time.monotonic() > deadline:
                    os.close(lock)
                    return None
                time.sleep(0.02)

    def _become_server(self, guard: int, server_end: int, lock: int) -> None:
        _die_with_this_thread()
        if os.getppid() != guard:
            return
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_RDONLY), _STDIN)
        os.dup2(_STDERR, _STDOUT)
        os.set_inheritable(server_end, True)
        os.set_inheritable(lock, True)
        try:
            os.execv(self.binary, [self.binary, "-c", self.config])  # noqa: S606
        except OSError as error:
            os.write(_STDERR, f"cannot run {self.binary}: {error.strerror}\n".encode())

    def stop(self, grace_seconds: float) -> None:
        """Ask the server to end, and kill it if it has not ended within the grace time."""
        os.kill(self.pid, signal.SIGTERM)
        os.kill(self.pid, signal.SIGCONT)  # a paused server would not see the SIGTERM
        if select.select([self.alive], [], [], grace_seconds)[0]:
            self.reap()
        else:
            self.kill()

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        self.reap()

    def pause(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)
        _, status = os.waitpid(self.pid, os.WUNTRACED)  # returns when all its threads are stopped
        if not os.WIFSTOPPED(status):
            self._forget()

    def reap(self) -> None:
        os.waitpid(self.pid, 0)
        self._forget()

    def _forget(self) -> None:
        os.close(self.alive)
        self.pid, self.alive = 0, -1

    def serve(self) -> None:
        """Carry out the parent's commands until the parent is gone."""
        parent = os.getppid()
        received = b""
        while os.getppid() == parent:
            watched = [_STDIN, self.alive] if self.pid else [_STDIN]
            readable = select.select(watched, [], [], _CHECK_PARENT_SECONDS)[0]
            if self.pid and self.alive in readable:
                self.reap()
            if _STDIN not in readable:
                continue
            data = os.read(_STDIN, 4096)
            if not data:
                return
            *lines, received = (received + data).split(b"\n")
            for line in lines:
                number, command, *arguments = line.decode().split()
                result = self._do(command, arguments)
                os.write(_STDOUT, f"{number} {result}\n".encode())

    def _do(self, command: str, arguments: list[str]) -> str:
        if command == "start":
            return self.start()
        if not self.pid:
            return "gone"
        if command == "stop":
            self.stop(float(arguments[0]))
        elif command == "kill":
            self.kill()
        elif command == "pause":
            self.pause()
            return "ok" if self.pid else "gone"
        elif command == "resume":
            os.kill(self.pid, signal.SIGCONT)
        return "ok"


def _die_with_this_thread() -> None:
    """On Linux, have this process killed when the guard's only thread ends."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def main(binary: str, config: str, folder: str, store: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    guard = Guard(binary, config, store)
    try:
        guard.serve()
    except ConnectionError:
        pass  # the parent died before it read an answer
    finally:
        if guard.pid:
            guard.kill()
        import shutil  # here, so that the guard starts quickly

        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
