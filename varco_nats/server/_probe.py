"""A small blocking NATS client, which finds out whether a server that was started is ready."""

from __future__ import annotations

import json
import socket
import uuid
from contextlib import closing
from typing import Any

_INBOX = "_INBOX.probe"


class ProbeError(Exception):
    """The server refused something; `str()` is what it said."""


def server_answers(port: int, token: str | None, *, has_jetstream: bool, ask_it: bool) -> bool:
    """Whether the server on `port` takes connections and its JetStream, if it has one, works.

    Args:
        port: a port on loopback.
        token: the token to log in with; None if it is not known how to log in.
        has_jetstream: whether the server must say that it has JetStream.
        ask_it: whether JetStream must also answer a request.

    Raises:
        TimeoutError: the server accepts the connection but sends nothing, as with TLS from the
            first byte.
        ProbeError: the server refuses the token.
    """
    try:
        with closing(Probe(port, timeout=1.0)) as probe:
            if has_jetstream and not probe.info.get("jetstream"):
                return False
            if token is None or probe.info.get("tls_required"):
                return True
            probe.login(token)
            return not ask_it or bool(probe.request("$JS.API.INFO"))
    except TimeoutError:
        raise
    except OSError:
        return False


def make_stream(port: int, token: str | None, replicas: int) -> str | None:
    """Create and delete a stream with `replicas`; None if that worked, otherwise why not."""
    name = f"varco-ready-{uuid.uuid4().hex[:8]}"
    stream = {"name": name, "subjects": [name], "storage": "memory", "num_replicas": replicas}
    try:
        with closing(Probe(port, timeout=2.0)) as probe:
            probe.login(token)
            answer = probe.request(f"$JS.API.STREAM.CREATE.{name}", stream)
            if "error" in answer:
                return str(answer["error"].get("description"))
            probe.request(f"$JS.API.STREAM.DELETE.{name}")
            return None if answer else "JetStream does not answer"
    except (OSError, ProbeError) as error:
        return str(error)


class Probe:
    """One TCP connection to a server on loopback; `info` is the server's first message.

    Raises:
        OSError: nothing listens there, there was no answer in time, or it is not NATS.
    """

    def __init__(self, port: int, *, timeout: float) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout)
        self._file = self._socket.makefile("rb")
        try:
            line = self._line()
            if not line.startswith("INFO "):
                raise ConnectionError(f"not a NATS server: {line[:80]!r}")
            self.info: dict[str, Any] = json.loads(line[5:])
        except BaseException:
            self.close()
            raise

    def login(self, token: str | None) -> None:
        """Log in; raises `ProbeError` if the server refuses."""
        options: dict[str, Any] = {
            "verbose": False,
            "pedantic": False,
            "headers": True,
            "no_responders": True,
            "lang": "varco-nats",
            "version": "0",
            "name": "varco-nats readiness",
        }
        if token is not None:
            options["auth_token"] = token
        self._send(f"CONNECT {json.dumps(options)}\r\nPING\r\n")
        while (line := self._line()) != "PONG":
            if line.startswith("-ERR"):
                raise ProbeError(line[5:].strip("'"))
        self._send(f"SUB {_INBOX} 1\r\n")

    def request(self, subject: str, payload: object = None) -> dict[str, Any]:
        """Send JSON to `subject` and return the answer, which is empty if nobody is there."""
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

    def _line(self) -> str:
        line = self._file.readline()
        if not line.endswith(b"\n"):
            raise ConnectionResetError("the server closed the connection")
        return line.decode().rstrip()

    def _send(self, text: str) -> None:
        self._socket.sendall(text.encode())
