"""One NATS connection as the bus, the dead letter queue and the readers use it.

Adds to nats-py: errors that say what to do, a first connect that gives up, reconnecting that
does not, and a way to wait for a reconnect or to be told of it.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from nats.aio.msg import Msg
from nats.errors import (
    ConnectionClosedError,
    MaxPayloadError,
    NoRespondersError,
    NoServersError,
)
from nats.errors import Error as NatsError
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js import JetStreamContext
from nats.js.errors import APIError, NoStreamResponseError, ServiceUnavailableError

from varco_nats._log import logger as _logger
from varco_nats._nats.error_codes import ErrorCode, Status
from varco_nats._nats.limits import limit_reached
from varco_nats._nats.nats_py import (
    RECONNECT_WAIT,
    CheckedClient,
    ReconnectingClient,
    refuses_login,
)
from varco_nats._nats.puback import PubAck, parse_puback
from varco_nats._read_only import check_only_looks
from varco_nats.config import DEFAULT_API, StreamSettings, without_credentials
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
# at a server of the domain, the usual prefix stands in its place, also in what it refuses
_IN_DOMAIN = re.compile(r"^\$JS\.[^.]+\.API(?=\.)")
_LOGIN = re.compile(r"//\S*@")  # in the URL of a web socket, which an error may hold
_WRITTEN_TOGETHER = 8 * 1024  # bytes of requests
_NO_NEWLINES = {ord("\r"): " ", ord("\n"): " "}

OnRefused = Callable[[PermissionDeniedError], None]


class NatsClient(ReconnectingClient):
    """The client of a `Connection`: a request that gets no answer ends at once where that is known.

    That is so where the login may not send it, and where the connection was lost after it was sent.
    """

    def __init__(self) -> None:
        super().__init__()
        self._on_refused: set[tuple[str, OnRefused]] = set()
        self._last_refused = ""
        self._answers = ""  # what the subjects of all answers to requests begin with
        self._asked = 0
        self._waiting: dict[str, asyncio.Future[Msg]] = {}

    async def request(
        self,
        subject: str,
        payload: bytes = b"",
        timeout: float = 0.5,
        old_style: bool = False,
        headers: dict[str, Any] | None = None,
    ) -> Msg:
        """Send a request as nats-py does, without its task and queue for the answers.

        Raises:
            PermissionDeniedError: the server refused the subject.
            nats.errors.NoRespondersError: nobody answers there.
            nats.errors.TimeoutError: no answer came in `timeout` seconds, or the connection was
                lost, so that none can come any more.
        """
        if old_style:
            return await super().request(subject, payload, timeout, old_style)
        return await self._ask(
            subject, timeout, lambda reply: self.publish(subject, payload, reply, headers)
        )

    async def ask(
        self, subject: str, payload: bytes, timeout: float, headers: Mapping[str, str] | None = None
    ) -> Msg:
        """Send a request, as `request` does, with a subject and header names that are ours.

        It is written at once if no other request waits for its answer, or several are unsent.

        Raises:
            nats.errors.MaxPayloadError: it is larger than the server takes.
        """
        if len(payload) > self.max_payload:
            raise MaxPayloadError

        def send(reply: str) -> Awaitable[None]:
            # with many, the server works on the first ones while the rest is made
            at_once = len(self._waiting) == 1 or self.unsent > _WRITTEN_TOGETHER
            if headers:
                return self.publish_with_headers(subject, reply, headers, payload, at_once=at_once)
            return self.answer(subject, payload, reply, at_once=at_once)

        return await self._ask(subject, timeout, send)

    async def _ask(
        self, subject: str, timeout: float, send: Callable[[str], Awaitable[None]]
    ) -> Msg:
        """Have `send` send a request with the reply subject that it is given; the answer to it."""
        if not self._answers:
            self._answers = f"{self.new_inbox()}."
            try:
                await self.subscribe_direct(f"{self._answers}*", self._take_answer)
            except BaseException:
                self._answers = ""
                raise
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Msg] = loop.create_future()

        def fail(error: Exception) -> None:
            if not answer.done():
                answer.set_exception(error)

        forget = self.on_refused(subject, fail)
        timer = loop.call_later(timeout, fail, NatsTimeoutError())
        self._asked += 1
        token = str(self._asked)
        self._waiting[token] = answer
        try:
            await send(self._answers + token)
            reply = await answer
        finally:
            timer.cancel()
            forget()
            del self._waiting[token]
        if reply.headers and reply.headers.get("Status") == Status.NO_RESPONDERS:
            raise NoRespondersError
        return reply

    def _take_answer(
        self, subject: str, reply: str, data: bytes, headers: Mapping[str, str] | None
    ) -> None:
        answer = self._waiting.get(subject[len(self._answers) :])
        if answer is not None and not answer.done():
            answer.set_result(Msg(self, subject, reply, data, headers))  # type: ignore[arg-type]

    def end_requests(self) -> None:
        """End the requests that are on their way, as the connection was lost."""
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(NatsTimeoutError())

    def on_refused(self, subject: str, callback: OnRefused) -> Callable[[], None]:
        """Call `callback` when the server refuses what is sent to `subject`, the answer to it, or
        a subscription to it.

        Returns:
            A function that ends this.
        """
        entry = (subject, callback)
        self._on_refused.add(entry)
        return lambda: self._on_refused.discard(entry)

    def report_refused(self, violation: str) -> bool:
        """Call those who wait for what the server refuses by the error `violation`.

        Returns:
            Whether anybody waited for it, or for the same just before: the server refuses each of
            many messages that are on their way, and the first refusal ended the waiting.
        """
        found = _VIOLATION.search(violation)
        if found is None:
            return False
        operation, refused = found[1].lower(), re.sub(r"\\(.)", r"\1", found[2])
        reported = False
        for subject, callback in list(self._on_refused):
            meant = _IN_DOMAIN.sub(DEFAULT_API, subject)
            if operation == "publish" and refused in (subject, meant):
                callback(PermissionDeniedError("publish", refused))
            elif operation == "subscription" and refused == subject:
                callback(PermissionDeniedError("subscribe", refused))
            elif operation == "subscription" and refused.startswith(self.inbox_prefix):
                callback(PermissionDeniedError("subscribe", f"{self.inbox_prefix}.>"))
            else:
                continue
            reported = True
        if reported:
            self._last_refused = refused
        return reported or refused == self._last_refused

    def answer(
        self, subject: str, payload: bytes = b"", reply: str = "", *, at_once: bool = False
    ) -> Awaitable[None]:
        """Publish, as `send` does, to a subject that needs no checks: the server or we made it."""
        to = f"{subject} {reply}" if reply else subject
        command = b"PUB %b %d\r\n%b\r\n" % (to.encode(), len(payload), payload)
        return self.send(command, at_once=at_once)

    def publish_with_headers(
        self,
        subject: str,
        reply: str,
        headers: Mapping[str, str],
        payload: bytes,
        *,
        at_once: bool = False,
    ) -> Awaitable[None]:
        """Publish as `send` does, without checks: the header names came from a server or are ours.

        This takes a third of the time of `publish`.
        """
        block = header_block(headers)
        size = len(block)
        return self.send(
            b"HPUB %b %b %d %d\r\n%b%b\r\n"
            % (subject.encode(), reply.encode(), size, size + len(payload), block, payload),
            at_once=at_once,
        )


class ReadOnlyClient(CheckedClient, NatsClient):
    """A client that can only look.

    Args:
        api: what the subjects of requests to JetStream begin with.
    """

    def __init__(self, api: str) -> None:
        super().__init__()
        self._api = api

    def check(self, commands: bytes) -> None:
        check_only_looks(commands, self._api, self.inbox_prefix)


def header_block(headers: Mapping[str, str]) -> bytes:
    """The headers as they stand before a payload, with spaces for line breaks in them."""
    text = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if text.count("\n") + text.count("\r") > 2 * len(headers):
        lines = [f"{name}: {value}".translate(_NO_NEWLINES) for name, value in headers.items()]
        text = "\r\n".join([*lines, ""])
    return f"NATS/1.0\r\n{text}\r\n".encode()


@dataclass(slots=True)
class Newest:
    """The highest sequence of a stream that a connection has met."""

    created: datetime | None
    """When the stream was created, which tells it from an earlier one of the same name."""
    seq: int
    missing_since: float | None = None
    """Since when the leader reports a lower last sequence, by `time.monotonic()`."""


class Connection:
    """An open connection: `nc` for plain NATS, `js` for the JetStream API."""

    def __init__(
        self,
        servers: list[str],
        leader_timeout: float = 0.0,
        *,
        api: str = DEFAULT_API,
        domain: str | None = None,
        read_only: bool = False,
    ) -> None:
        self.servers = [without_credentials(url) for url in servers]
        self.api = api
        """What the subjects of requests to JetStream begin with."""
        self.domain = domain
        """The JetStream domain that the settings name."""
        self.leader_timeout = leader_timeout
        """How long to wait for a missing leader, in seconds."""
        self.read_only = read_only
        """Whether it refuses to send whatever would change something."""
        self.nc = ReadOnlyClient(api) if read_only else NatsClient()
        self.js: JetStreamContext = self.nc.jetstream(prefix=api)
        self._connected = asyncio.Event()
        self._reconnect_callbacks: list[Callable[[], None]] = []
        self._disconnect_callbacks: list[Callable[[], None]] = []
        self._errors: list[BaseException] = []
        self._reported_refused = False
        self.newest: dict[str, Newest] = {}
        """The newest message of each replicated stream that this connection has met."""
        self.captured: dict[str, list[str]] = {}
        """The subjects of the streams of channels, as they were last asked for."""

    def __repr__(self) -> str:
        return f"Connection({', '.join(self.servers)})"

    @property
    def max_payload(self) -> int:
        """The largest payload that the server takes, in bytes."""
        return int(self.nc.max_payload)

    @property
    def is_connected(self) -> bool:
        return bool(self.nc.is_connected)

    @property
    def is_clustered(self) -> bool:
        """Whether JetStream may be a cluster, which may be electing a leader."""
        return self.is_elsewhere or bool(self.nc.server_info.get("cluster"))

    @property
    def is_elsewhere(self) -> bool:
        """Whether JetStream may be that of other servers than the connected one."""
        return self.api != DEFAULT_API

    def no_jetstream(self) -> JetStreamUnavailableError:
        """The error to raise when no JetStream answers."""
        prefix = self.api if self.is_elsewhere and self.domain is None else None
        return JetStreamUnavailableError(
            self.servers,
            domain=self.domain,
            api_prefix=prefix,
            own_domain=self.nc.server_info.get("domain"),
        )

    @property
    def problem(self) -> ConnectError | None:
        """Why there is no connection at the moment; None if there is one."""
        if self.is_connected:
            return None
        return self._connect_error(self._errors[-1] if self._errors else ConnectionClosedError())

    async def ask_jetstream(
        self, api: str, request: Mapping[str, Any], timeout: float
    ) -> dict[str, Any]:
        """Ask the JetStream API for what nats-py has no method for.

        Args:
            api: the subject after `$JS.API.` or its like, such as `STREAM.INFO.orders`.
            timeout: in seconds.

        Raises:
            nats.js.errors.APIError: the answer is an error.
            nats.errors.Error: there was no answer.
        """
        reply = await self.nc.ask(f"{self.api}.{api}", msgspec.json.encode(request), timeout)
        answer: dict[str, Any] = msgspec.json.decode(reply.data)
        if "error" in answer:
            raise APIError.from_error(answer["error"])
        return answer

    async def store(
        self, subject: str, payload: bytes, headers: Mapping[str, str], timeout: float
    ) -> PubAck:
        """Publish one message, once, and wait until a stream of the right domain has stored it.

        Args:
            subject: one that needs no checks, like the names of the headers.

        Raises:
            nats.js.errors.APIError: the stream refused it.
            nats.js.errors.NoStreamResponseError: no stream captures the subject.
            nats.errors.Error: there was no PubAck, or not from there, so that it may be stored or
                not.
        """
        try:
            reply = await self.nc.ask(subject, payload, timeout, headers)
        except NoRespondersError:
            raise NoStreamResponseError from None
        answer = parse_puback(reply.data, reply.headers, self.domain)
        if isinstance(answer, PubAck):
            return answer
        with suppress(ValueError, KeyError, TypeError):
            raise APIError.from_error(json.loads(reply.data)["error"])
        raise NatsError(f"nats: {answer.reason}")

    def on_reconnect(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` after each reconnect; returns a function that ends this."""
        self._reconnect_callbacks.append(callback)
        return lambda: self._reconnect_callbacks.remove(callback)

    def on_disconnect(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` each time the connection is lost, before the client connects again;
        returns a function that ends this."""
        self._disconnect_callbacks.append(callback)
        return lambda: self._disconnect_callbacks.remove(callback)

    async def wait_connected(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds for the connection; whether there is one."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._connected.wait()
        return self._connected.is_set()

    async def close(self) -> None:
        """Flush what is buffered, and close; does nothing if it is closed."""
        try:
            await self.nc.flush(timeout=_FLUSH_TIMEOUT)
        except (NatsError, OSError):
            self.nc.abandon()  # nats-py would wait until all is written
        await self.nc.close()

    async def abort(self) -> None:
        """Close at once, also when the server does not answer."""
        self.nc.abandon()
        await self.nc.close()

    async def open(self, servers: list[str], name: str, options: dict[str, Any]) -> None:
        """Connect with options of `nats.connect`.

        Raises:
            ConnectError: see `connect`.
        """
        reconnects = options.pop("max_reconnect_attempts", -1)
        try:
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
        except (NatsError, OSError, TimeoutError) as error:
            with suppress(Exception):
                await self.nc.close()
            raise self._connect_error(error) from None
        self.nc.options["max_reconnect_attempts"] = reconnects
        self._connected.set()

    async def _on_error(self, error: BaseException) -> None:
        if not self.nc.is_connected:
            self._errors = [*self._errors[-7:], error]
            if self.nc.lost_because and refuses_login(error) and not self._reported_refused:
                self._reported_refused = True  # once for each time that the connection is lost
                _logger.error("cannot connect again, still trying: %s", self.problem)
        elif isinstance(error, OSError) or self.nc.report_refused(str(error)):
            # the caller raises it
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
            self._reported_refused = False
        self._connected.clear()
        self.nc.end_requests()
        _call_all(self._disconnect_callbacks)

    async def _on_reconnected(self) -> None:
        self._connected.set()
        self._errors.clear()
        _logger.info("reconnected to %s", ", ".join(self.servers))
        _call_all(self._reconnect_callbacks)

    def _connect_error(self, error: BaseException) -> ConnectError:
        """The error to raise for `error`, with which connecting ended."""
        causes = [*self._errors, error]
        for cause in reversed(causes):
            if refuses_login(cause):
                return AuthenticationError(self.servers, str(cause).removeprefix("nats: "))
        real = [cause for cause in causes if not isinstance(cause, NoServersError)]
        reason = _reason(real[-1]) if real else "no answer"
        return ServerUnreachableError(self.servers, _LOGIN.sub("//", reason))


def _reason(error: BaseException) -> str:
    """Why there is no connection, in the words of the operating system where it is the one."""
    if isinstance(error, ConnectionError) and error.errno:
        return os.strerror(error.errno)  # asyncio says only "Connect call failed"
    if isinstance(error, socket.gaierror):
        return str(error.strerror)
    return str(error) or type(error).__name__


def _call_all(callbacks: list[Callable[[], None]]) -> None:
    for callback in list(callbacks):
        try:
            callback()
        except Exception:  # it would end the reconnecting
            _logger.exception("a callback of the NATS connection failed")


async def connect(settings: StreamSettings, *, name: str) -> Connection:
    """Connect with `settings`, or give up after each server was tried twice.

    Raises:
        ServerUnreachableError: no server answered.
        AuthenticationError: the server refused the login.
    """
    servers = settings.to_servers_list()
    connection = Connection(
        servers,
        settings.leader_timeout_seconds,
        api=settings.jetstream_api(),
        domain=settings.jetstream_domain,
        read_only=settings.read_only,
    )
    options = {"ping_interval": settings.ping_interval_seconds, **settings.connect_kwargs}
    options.pop("servers", None)  # they are in `servers`, unless the settings name others
    await connection.open(servers, name, options)
    return connection


@contextmanager
def jetstream_errors(connection: Connection) -> Iterator[None]:
    """Raise this package's errors where there is no JetStream, or where a limit is reached."""
    try:
        yield
    except NoRespondersError:
        raise connection.no_jetstream() from None
    except APIError as error:
        unserved = isinstance(error, ServiceUnavailableError) and error.err_code is None
        if unserved or error.err_code in _JETSTREAM_OFF:
            raise connection.no_jetstream() from None
        if (limit := limit_reached(error.err_code, error.description)) is not None:
            raise limit from error
        raise
