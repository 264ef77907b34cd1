"""One NATS connection as the bus, the dead letter queue and the readers use it.

Adds to nats-py: errors that say what to do, a first connect that gives up, reconnecting that
does not, and a way to wait for or be told of a reconnect.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import (
    ConnectionClosedError,
    NoRespondersError,
    NoServersError,
    OutboundBufferLimitError,
)
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.errors import APIError, ServiceUnavailableError
from nats.protocol.parser import ERR_RE

from varco_nats._log import logger as _logger
from varco_nats._nats.error_codes import ErrorCode
from varco_nats._nats.parser import NO_STATUS, DirectCallback, DirectParser, TakeRun, header_fields
from varco_nats._nats.reconnect import RECONNECT_WAIT, ReconnectingClient, refuses_login
from varco_nats._nats.schemes import SchemeClient
from varco_nats.config import StreamSettings, without_credentials
from varco_nats.errors import (
    AuthenticationError,
    ConnectError,
    JetStreamUnavailableError,
    PermissionDeniedError,
    ServerUnreachableError,
)

_JETSTREAM_OFF = (ErrorCode.NOT_ENABLED_FOR_ACCOUNT, ErrorCode.NOT_ENABLED)
_FLUSH_TIMEOUT = 2
_VIOLATION = re.compile(
    r'permissions violation for (publish|subscription) to "((?:[^"\\]|\\.)*)"', re.IGNORECASE
)
_LOGIN = re.compile(r"//\S*@")  # in a URL of a web socket that an error tells
_NO_NEWLINES = {ord("\r"): " ", ord("\n"): " "}

OnRefused = Callable[[PermissionDeniedError], None]


class _Client(SchemeClient, ReconnectingClient):
    """nats-py's client, with connects and requests that fail soundly, and a short way for busy
    subjects."""

    def __init__(self) -> None:
        super().__init__()
        self._direct: dict[int, DirectCallback] = {}
        self._runs: dict[int, TakeRun] = {}
        self._on_refused: set[tuple[str, OnRefused]] = set()
        self._last_refused = ""
        self._ps = DirectParser(self, self._direct, self._runs)

    async def request(
        self,
        subject: str,
        payload: bytes = b"",
        timeout: float = 0.5,
        old_style: bool = False,
        headers: dict[str, Any] | None = None,
    ) -> Msg:
        """As nats-py's, but it fails at once where the login may not send it.

        Raises:
            PermissionDeniedError: the server refused the subject.
        """
        refusal: PermissionDeniedError | None = None
        waiting = asyncio.timeout(None)

        def refuse(error: PermissionDeniedError) -> None:
            nonlocal refusal
            if refusal is None:
                refusal = error
                waiting.reschedule(asyncio.get_running_loop().time())

        forget = self.on_refused(subject, refuse)
        try:
            async with waiting:
                return await super().request(subject, payload, timeout, old_style, headers)
        except TimeoutError:
            if refusal is not None:
                raise refusal from None
            raise
        finally:
            forget()

    def on_refused(self, subject: str, callback: OnRefused) -> Callable[[], None]:
        """Call `callback` when the server refuses what is sent to `subject`, or the answer to it.

        Returns:
            A function that ends this.
        """
        entry = (subject, callback)
        self._on_refused.add(entry)
        return lambda: self._on_refused.discard(entry)

    def tell_refused(self, violation: str) -> bool:
        """Tell those who wait for what the server refuses, as its text says.

        Returns:
            Whether anybody was told, of this or just before of the same: the server answers each
            message of many that are on their way, the first of which was answer enough.
        """
        if line := ERR_RE.match(self._ps.buf):  # nats-py makes it lower case
            violation = line[1].decode(errors="replace")
        found = _VIOLATION.search(violation)
        if found is None:
            return False
        operation, refused = found[1].lower(), re.sub(r"\\(.)", r"\1", found[2])
        inbox = self._inbox_prefix.decode()
        told = False
        for subject, callback in list(self._on_refused):
            if operation == "publish" and subject == refused:
                callback(PermissionDeniedError("publish", subject))
            elif operation == "subscription" and refused.startswith(inbox):
                callback(PermissionDeniedError("subscribe", f"{inbox}.>"))
            else:
                continue
            told = True
        if told:
            self._last_refused = refused
        return told or refused == self._last_refused

    async def subscribe_direct(
        self, subject: str, callback: DirectCallback, take_run: TakeRun | None = None
    ) -> Subscription:
        """Subscribe with a plain function, which is called as each message is read.

        It leaves out nats-py's message object, queue and task, half of the cost of a message. The
        function must be quick, and its subject must bring no more than was asked for.

        Args:
            take_run: takes what it can of messages that come many at once; `callback` the rest.
        """
        subscription = await self.subscribe(subject, cb=_unused)
        self._direct[subscription._id] = callback
        if take_run is not None:
            self._runs[subscription._id] = take_run
        return subscription

    def answer(self, subject: str, payload: bytes = b"", reply: str = "") -> Awaitable[None]:
        """Publish to a subject that needs no checks: the server made it, or we did.

        Raises:
            ConnectionClosedError, OutboundBufferLimitError: see `send`.
        """
        to = f"{subject} {reply}" if reply else subject
        return self.send(b"PUB %b %d\r\n%b\r\n" % (to.encode(), len(payload), payload))

    async def send(self, commands: bytes) -> None:
        """Send commands of the protocol, which need no checks.

        Raises:
            ConnectionClosedError: the connection is closed.
            OutboundBufferLimitError: it is lost and the buffer is full.
        """
        if self.is_closed:
            raise ConnectionClosedError
        if not self.is_connected and self._pending_data_size > self._max_pending_size:
            raise OutboundBufferLimitError
        await self._send_command(commands)
        if self._flush_queue is not None and self._flush_queue.empty():
            await self._flush_pending()

    async def _process_msg(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes
    ) -> None:
        callback = self._direct.get(sid)
        if callback is None:
            await super()._process_msg(sid, subject, reply, data, headers)
            return
        parsed = await self._process_headers(headers) if headers else None
        try:
            callback(subject.decode(), reply.decode(), data, parsed)
        except Exception:  # it would end nats-py's read loop
            _logger.exception("receiving from %s failed", subject.decode())

    async def _process_headers(self, headers: bytes | None) -> dict[str, str] | None:
        if headers and headers.startswith(NO_STATUS):
            return header_fields(headers[len(NO_STATUS) :])
        parsed: dict[str, str] | None = await super()._process_headers(headers)
        return parsed

    def publish_with_headers(
        self, subject: str, reply: str, headers: Mapping[str, str], payload: bytes
    ) -> Awaitable[None]:
        """Publish with header names that came from a server or are ours, which need no checks.

        Takes a third of the time of `publish`.

        Raises:
            ConnectionClosedError, OutboundBufferLimitError: see `send`.
        """
        block = header_block(headers)
        size = len(block)
        return self.send(
            b"HPUB %b %b %d %d\r\n%b%b\r\n"
            % (subject.encode(), reply.encode(), size, size + len(payload), block, payload)
        )

    def _remove_sub(self, sid: int, max_msgs: int = 0) -> None:
        self._direct.pop(sid, None)
        self._runs.pop(sid, None)
        super()._remove_sub(sid, max_msgs)

    async def _process_connect_init(self) -> None:
        try:
            await super()._process_connect_init()
        except (NatsError, OSError) as error:
            ended = isinstance(error, ConnectionError | ssl.SSLError)
            refused_here = isinstance(error, ssl.SSLCertVerificationError)
            if ended and not refused_here and self._server_info.get("tls_verify"):
                reason = "it asks for a client certificate and ended the connection"
                raise NatsError(f"nats: {reason}: {error}") from None
            raise


def header_block(headers: Mapping[str, str]) -> bytes:
    """Headers as they stand before a payload; line breaks in them become spaces."""
    text = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if text.count("\n") + text.count("\r") > 2 * len(headers):
        lines = [f"{name}: {value}".translate(_NO_NEWLINES) for name, value in headers.items()]
        text = "\r\n".join([*lines, ""])
    return f"NATS/1.0\r\n{text}\r\n".encode()


async def _unused(msg: Msg) -> None:
    """nats-py wants a callback; the direct one is called instead."""


@dataclass(slots=True)
class Newest:
    """The highest sequence of a stream that a connection has met."""

    created: datetime | None
    """When the stream was; another time is another stream of that name."""
    seq: int
    missing_since: float | None = None
    """Since when a leader says that there is none as high, by `time.monotonic()`."""


class Connection:
    """An open connection: `nc` for plain NATS, `js` for the JetStream API."""

    def __init__(self, servers: list[str], leader_timeout: float = 0.0) -> None:
        self.servers = [without_credentials(url) for url in servers]
        self.leader_timeout = leader_timeout
        """How long a missing leader is waited for, in seconds."""
        self.nc: _Client = _Client()
        self.js: JetStreamContext = self.nc.jetstream()
        self._connected = asyncio.Event()
        self._reconnect_callbacks: list[Callable[[], None]] = []
        self._disconnect_callbacks: list[Callable[[], None]] = []
        self._errors: list[BaseException] = []
        self._told_refused = False
        self.newest: dict[str, Newest] = {}
        """The newest message of each replicated stream that this connection has met."""

    def __repr__(self) -> str:
        return f"Connection({', '.join(self.servers)})"

    @property
    def max_payload(self) -> int:
        """The largest payload the server takes, in bytes."""
        return int(self.nc.max_payload)

    @property
    def is_connected(self) -> bool:
        return bool(self.nc.is_connected)

    @property
    def is_clustered(self) -> bool:
        """Whether the server is one of a cluster, which may be electing a leader just now."""
        return bool(self.nc._server_info.get("cluster"))

    @property
    def problem(self) -> ConnectError | None:
        """Why there is no connection just now; None if there is one."""
        if self.is_connected:
            return None
        return self._connect_error(self._errors[-1] if self._errors else ConnectionClosedError())

    async def suspect(self) -> None:
        """An answer is missing: connect again unless the server says anything within 2 s."""
        await self.nc.suspect()

    def on_reconnect(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` after each reconnect; returns a function that ends this."""
        self._reconnect_callbacks.append(callback)
        return lambda: self._reconnect_callbacks.remove(callback)

    def on_disconnect(self, callback: Callable[[], None]) -> None:
        """Call `callback` each time the connection is lost, before it is tried again."""
        self._disconnect_callbacks.append(callback)

    def discard_unsent(self) -> None:
        """Forget what is not written yet, which nats-py would send after a reconnect."""
        self.nc._pending.clear()
        self.nc._pending_data_size = 0

    async def wait_connected(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds for the connection to be up; whether it is."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._connected.wait()
        return self._connected.is_set()

    async def close(self) -> None:
        """Flush what is buffered and close; more than one call does nothing."""
        try:
            await self.nc.flush(timeout=_FLUSH_TIMEOUT)
        except (NatsError, OSError):
            self.nc.abandon()  # nats-py would wait until all is written
        await self.nc.close()

    async def abort(self) -> None:
        """Close at once, also when the server does not answer."""
        self.nc.abandon()
        await self.nc.close()

    async def _open(self, servers: list[str], name: str, options: dict[str, Any]) -> None:
        reconnects = options.pop("max_reconnect_attempts", -1)
        await self.nc.connect(
            servers,
            **{
                "name": name,
                "reconnect_time_wait": RECONNECT_WAIT,
                "error_cb": self._on_error,
                "disconnected_cb": self._on_disconnected,
                "reconnected_cb": self._on_reconnected,
                **options,
                "max_reconnect_attempts": 1,
            },
        )
        self.nc.options["max_reconnect_attempts"] = reconnects
        self._connected.set()

    async def _on_error(self, error: BaseException) -> None:
        if not self.nc.is_connected:
            self._errors = [*self._errors[-7:], error]
            if self.nc.lost_because and refuses_login(error) and not self._told_refused:
                self._told_refused = True  # once for each time that the connection is lost
                _logger.error("cannot connect again, trying further: %s", self.problem)
        elif isinstance(error, OSError) or self.nc.tell_refused(str(error)):  # who asked raises it
            _logger.debug("NATS connection: %s", error)
        else:
            _logger.warning("NATS connection: %s: %s", type(error).__name__, error)

    async def _on_disconnected(self) -> None:
        reason = self.nc.lost_because
        if self._connected.is_set() and reason is not None and not self.nc.is_closed:
            known = isinstance(reason, NatsError | OSError)
            _logger.warning(
                "lost the connection to %s, reconnecting: %s",
                ", ".join(self.servers),
                str(reason).removeprefix("nats: ") or type(reason).__name__,
                exc_info=None if known else reason,
            )
            self._errors = [reason]
            self._told_refused = False
        self._connected.clear()
        _call_all(self._disconnect_callbacks)

    async def _on_reconnected(self) -> None:
        self._connected.set()
        self._errors.clear()
        _logger.info("reconnected to %s", ", ".join(self.servers))
        _call_all(self._reconnect_callbacks)

    def _connect_error(self, error: BaseException) -> ConnectError:
        causes = [*self._errors, error]
        for cause in reversed(causes):
            if refuses_login(cause):
                return AuthenticationError(self.servers, str(cause).removeprefix("nats: "))
        real = [cause for cause in causes if not isinstance(cause, NoServersError)]
        reason = str(real[-1] or type(real[-1]).__name__) if real else "no answer"
        return ServerUnreachableError(self.servers, _LOGIN.sub("//", reason))


def _call_all(callbacks: list[Callable[[], None]]) -> None:
    for callback in list(callbacks):
        try:
            callback()
        except Exception:  # it would end the reconnecting
            _logger.exception("a callback of the NATS connection failed")


async def connect(settings: StreamSettings, *, name: str) -> Connection:
    """Connect with `settings`; each server is tried twice, then it gives up.

    Raises:
        ServerUnreachableError: no server answered.
        AuthenticationError: the server refused the login.
    """
    servers = settings.to_servers_list()
    connection = Connection(servers, settings.leader_timeout_seconds)
    try:
        options = {"ping_interval": settings.ping_interval_seconds, **settings.connect_kwargs}
        await connection._open(servers, name, options)
    except (NatsError, OSError, TimeoutError) as error:
        with suppress(Exception):
            await connection.nc.close()
        raise connection._connect_error(error) from None
    return connection


@contextmanager
def jetstream_errors(connection: Connection) -> Iterator[None]:
    """Turn "there is no JetStream here" into `JetStreamUnavailableError`."""
    try:
        yield
    except NoRespondersError:
        raise JetStreamUnavailableError(connection.servers) from None
    except ServiceUnavailableError as error:
        if getattr(error, "err_code", None) in (None, *_JETSTREAM_OFF):
            raise JetStreamUnavailableError(connection.servers) from None
        raise
    except APIError as error:
        if error.err_code in _JETSTREAM_OFF:
            raise JetStreamUnavailableError(connection.servers) from None
        raise
