"""A tiny blocking NATS client: is a server that was just started ready?"""

from __future__ import annotations

import json
import socket
from types import TracebackType
from typing import Any, Self

_INBOX = "_INBOX.probe"


class ProbeError(Exception):
    """The server refused something; `str()` is what it said."""


class Probe:
    """One TCP connection to a server on loopback; `info` is what the server says first.

    Raises:
        OSError: nobody listens, or no answer in time.
        ProbeError: the answer is not NATS.
    """

    def __init__(self, port: int, *, timeout: float) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout)
        self._file = self._socket.makefile("rb")
        try:
            line = self._line()
            if not line.startswith("INFO "):
                raise ProbeError(f"not a NATS server: {line[:80]!r}")
            self.info: dict[str, Any] = json.loads(line[5:])
        except BaseException:
            self.close()
            raise

    def login(self, token: str | None) -> None:
        """Log in; raises `ProbeError` when the server refuses."""
        options = {"verbose": False, "pedantic": False, "headers": True, "no_responders": True}
        options |= {"lang": "varco-nats", "version": "0", "name": "varco-nats readiness"}
        if token is not None:
            options["auth_token"] = token
        self._send(f"CONNECT {json.dumps(options)}\r\nPING\r\n")
        while (line := self._line()) != "PONG":
            if line.startswith("-ERR"):
                raise ProbeError(line[5:].strip("'"))
        self._send(f"SUB {_INBOX} 1\r\n")

    def request(self, subject: str, payload: object = None) -> dict[str, Any]:
        """Send JSON to `subject` and return the answer; an empty one means "no responders"."""
        body = "" if payload is None else json.dumps(payload)
        self._send(f"PUB {subject} {_INBOX} {len(body)}\r\n{body}\r\n")
        while True:
            line = self._line()
            if line == "PING":
                self._send("PONG\r\n")
            elif line.startswith("-ERR"):
                raise ProbeError(line[5:].strip("'"))
            elif line.startswith(("MSG ", "HMSG ")):
                size = int(line.split()[-1])
                data = self._file.read(size + 2)[:size]
                if line.startswith("HMSG "):
                    return {}
                answer: dict[str, Any] = json.loads(data)
                return answer

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _line(self) -> str:
        line = self._file.readline()
        if not line.endswith(b"\n"):
            raise ConnectionResetError("the server closed the connection")
        return line.decode().rstrip()

    def _send(self, text: str) -> None:
        self._socket.sendall(text.encode())
