"""nats-py's client as this package needs it; no other module uses nats-py's private names.

By itself nats-py closes for good at an error of the server, goes deaf while it says that it is
connected when its read loop meets an exception, waits six minutes for a silent server, and sends
the login in the clear when a server does not ask for TLS. Here each of the first three is a
reconnect of the same client, which keeps its subscriptions, and the last is an error.

Private names may change with any release of nats-py. `PRIVATE_NAMES` lists them with the reason for
each, a test checks that the installed version has them, and `pyproject.toml` bounds the version.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import ParseResult, unquote

from nats.aio.client import DEFAULT_BUFFER_SIZE, PING_PROTO, Client, Srv
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.aio.transport import TcpTransport, WebSocketTransport
from nats.errors import (
    ConnectionClosedError,
    ConnectionReconnectingError,
    OutboundBufferLimitError,
    UnexpectedEOF,
)
from nats.errors import Error as NatsError
from nats.protocol.parser import AWAITING_CONTROL_LINE, ERR_RE, PERMISSIONS_ERR, Parser

from varco_nats._log import logger as _logger
from varco_nats._nats.parser import (
    NO_STATUS,
    DirectCallback,
    TakeRun,
    header_fields,
    take_direct,
)

RECONNECT_WAIT = 0.25
"""Pause between two attempts to connect to the same server, in seconds."""

PRIVATE_NAMES: Mapping[type, Mapping[str, str]] = {
    Client: {
        "_attempt_reconnect": "overridden: it ends at an exception that it does not expect",
        "_close _process_err": "overridden: they end the client at most errors of the server",
        "_connect_command": "overridden: it gives the login, which must not be sent in the clear",
        "_connect_to_server": "overridden: it reuses a transport that may be broken",
        "_flusher _read_loop": "overridden: they end without a word at an exception",
        "_ping_interval": "overridden: it notices a silent server only after minutes",
        "_process_connect_init": "overridden: it takes the end of the connection for a success",
        "_process_headers": "overridden: it keeps one value of a header that is repeated",
        "_process_info": "overridden: it adds servers to the pool without login and scheme",
        "_process_msg": "overridden: it knows nothing of direct subscriptions",
        "_process_op_err": "overridden: it gets the reason for which a connection was lost",
        "_process_pong": "overridden: it raises when the one who waited has given up",
        "_remove_sub": "overridden: a direct subscription has its callback removed too",
        "_select_next_server": "overridden: it tries the server that was just lost first",
        "_send_ping": "overridden: it sends a ping before what was published earlier",
        "_setup_server_pool": "overridden: it leaves percent-encoded logins as they are",
        "_current_server": "the server whose login and scheme the others of its cluster get",
        "_error_cb": "the callback for errors, which a reconnecting client must tell",
        "_flush_pending _flush_queue": "have what was sent written, and say who waits for that",
        "_flusher_task _ping_interval_task _reading_task": "to be ended with the connection",
        "_inbox_prefix": "tells a refused answer from other refused subscriptions",
        "_max_pending_size _pending _pending_data_size": "what is unsent, and how much may be",
        "_pongs": "who waits for the answer to a ping",
        "_ps": "the parser, which is replaced by `DirectParser`",
        "_send_command": "sends without the checks of `publish`; overridden: what may not be sent",
        "_server_info": "what the server said of itself",
        "_server_pool": "the servers to connect to, in order",
        "_transport": "the connection itself, to end it and to write a ping",
    },
    Parser: {
        "buf needed state": "what was read and not yet parsed, and how much of a payload that is",
        "parse": "overridden: it copies each message three times",
        "reset": "overridden: it forgets what a lost connection left in the buffer",
    },
    Subscription: {"_id": "its number, by which the server's messages name it"},
    TcpTransport: {
        "_io_reader": "asyncio's reader, to take what arrives before a task is woken to read it",
        "_io_writer": "asyncio's writer, to end a connection at once",
    },
    WebSocketTransport: {"_using_tls": "whether a web socket is encrypted"},
}
"""What nats-py does not promise to keep, by class, and what each, or each group, is used for."""

_LONGEST_WAIT = 5.0  # between logins that are refused
_LONGEST_TICK = 0.5
_SUSPECT_SECONDS = 2.0
_AUTH_WORDS = ("authorization", "authentication", "user jwt", "nonce")


def refuses_login(error: BaseException) -> bool:
    """Whether the server says by this error that the login is wrong."""
    text = str(error).lower()
    return any(word in text for word in _AUTH_WORDS)


def subscription_id(subscription: Subscription) -> int:
    """The number that stands in the server's messages to `subscription`."""
    return int(subscription._id)


class _ServerUri(ParseResult):
    """A URL whose user and password may be percent-encoded, as in NATS's other clients."""

    @property
    def username(self) -> str | None:
        return _decoded(super().username)

    @property
    def password(self) -> str | None:
        return _decoded(super().password)


def _decoded(text: str | None) -> str | None:
    return None if text is None else unquote(text)


class _Transport(TcpTransport):
    """nats-py's transport, except that writing to a lost connection raises an error.

    asyncio only logs such a write, and nats-py writes its subscriptions one after the other.
    """

    def write(self, payload: bytes) -> None:
        writer = self._io_writer
        if writer is not None and writer.transport.is_closing():
            raise ConnectionResetError("the connection was lost")
        super().write(payload)  # type: ignore[no-untyped-call]

    def take_first(self, take: Callable[[bytes], bytes]) -> None:
        """Give what arrives to `take`, as soon as it does; what this returns is left to `read`.

        An answer costs a fifth less so, as no task has to be woken to read it.
        """
        reader = self._io_reader
        assert reader is not None
        feed = reader.feed_data

        def feed_rest(data: bytes) -> None:
            try:
                data = take(data)
            except Exception as error:
                reader.set_exception(error)
                return
            if data:
                feed(data)

        reader.feed_data = feed_rest  # type: ignore[assignment, method-assign]


class DirectParser(Parser):
    """nats-py's parser, with a shorter way for the messages of direct subscriptions.

    Everything else is left to nats-py: other subscriptions, messages with a status, the protocol.
    `direct` and `runs` are those that `take_direct` takes.
    """

    def __init__(
        self, nc: Client, direct: Mapping[int, DirectCallback], runs: Mapping[int, TakeRun]
    ) -> None:
        super().__init__(nc)
        self._direct = direct
        self._runs = runs

    def reset(self) -> None:
        super().reset()
        self._worth_parsing = 0  # bytes in the buffer from which on another look can help

    def take(self, data: bytes) -> bytes:
        """Take the messages of direct subscriptions from what was read; what is left for nats-py.

        A part of a message waits for the rest, which is taken with what is read next.
        """
        if self.state != AWAITING_CONTROL_LINE or not self._direct:
            return data
        if len(self.buf) + len(data) < self._worth_parsing:
            self.buf.extend(data)
            return b""
        if self.buf:
            data = bytes(self.buf) + data
            self.buf.clear()
        taken = take_direct(data, self._direct, self._runs)
        self.nc.stats["in_msgs"] += taken.messages
        self.nc.stats["in_bytes"] += taken.size
        self._worth_parsing = taken.needed
        rest = data[taken.end :]
        if not taken.needed:
            return rest
        self.buf.extend(rest)
        return b""

    async def parse(self, data: bytes = b"") -> None:
        if self.state != AWAITING_CONTROL_LINE:  # nats-py has begun a message and must end it
            missing = max(self.needed + 2 - len(self.buf), 0)
            await super().parse(data[:missing])
            data = data[missing:]
        if data := self.take(data):
            self._worth_parsing = 0
            await super().parse(data)


class ReconnectingClient(Client):
    """A client that only `close()` closes, and that sends nothing in the clear where TLS is asked.

    nats-py's options `allow_reconnect` and `max_reconnect_attempts` end it too.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lost_because: Exception | None = None
        """Why the connection was lost last."""
        self._server_error: NatsError | None = None
        self._silence = 0.0
        self._refused = 0
        self._may_close = False
        self._direct: dict[int, DirectCallback] = {}
        self._runs: dict[int, TakeRun] = {}
        self._ps: DirectParser = DirectParser(self, self._direct, self._runs)

    @property
    def server_info(self) -> dict[str, Any]:
        """What the server said of itself when it was connected to."""
        return self._server_info

    @property
    def inbox_prefix(self) -> str:
        """What the subjects of all inboxes begin with."""
        return self._inbox_prefix.decode()

    @property
    def unsent(self) -> int:
        """Bytes that are not written yet."""
        return int(self._pending_data_size)

    # Losing the connection

    async def close(self) -> None:
        self._may_close = True
        await super().close()

    async def _close(self, status: int, do_cbs: bool = True) -> None:
        if status != Client.CLOSED or self._may_close or not self.options["allow_reconnect"]:
            await super()._close(status, do_cbs)
        else:
            await self._process_op_err(ConnectionClosedError())

    async def _process_err(self, err_msg: str) -> None:
        if PERMISSIONS_ERR in err_msg:
            line = ERR_RE.match(self._ps.buf)  # nats-py makes it lower case, subjects included
            text = err_msg if line is None else line[1].decode(errors="replace")
            await self._error_cb(NatsError(f"nats: {text.strip(chr(39))}"))
        else:  # where the error ends the connection, the server closes it (ADR-42)
            self._server_error = NatsError(f"nats: {err_msg.strip(chr(39))}")

    async def _process_op_err(self, e: Exception) -> None:
        if self.is_connected:  # otherwise the loss is known already
            self.lost_because, self._server_error = self._server_error or e, None
            await super()._process_op_err(e)

    async def _read_loop(self) -> None:
        assert self._transport is not None
        transport = self._transport
        reason: Exception = UnexpectedEOF()
        idle = False  # whether all that arrived is parsed

        def take(data: bytes) -> bytes:
            nonlocal idle
            if idle and self._server_error is None:
                self._silence = 0.0
                data = self._ps.take(data)
                idle = not data
            return data

        if isinstance(transport, _Transport):
            transport.take_first(take)
        try:
            while not transport.at_eof():
                idle = True
                data = await transport.read(DEFAULT_BUFFER_SIZE)
                idle = False
                self._silence = 0.0
                if data and self._server_error is not None:  # it did not end the connection
                    error, self._server_error = self._server_error, None
                    await self._error_cb(error)
                await self._ps.parse(data)
        except Exception as error:
            reason = error
        await self._process_op_err(reason)

    async def _flusher(self) -> None:
        await super()._flusher()
        task = asyncio.current_task()
        # Until the read loop notices the loss, asyncio answers a write with an AttributeError,
        # which would end the task that writes.
        if task is not None and not task.cancelling():
            await self._process_op_err(ConnectionResetError("the connection was lost"))

    def abandon(self) -> None:
        """End the TCP connection and its tasks at once, without telling the server."""
        for task in (self._reading_task, self._ping_interval_task, self._flusher_task):
            if task is not None and task is not asyncio.current_task():
                task.cancel()
        if isinstance(self._transport, TcpTransport) and self._transport._io_writer is not None:
            self._transport._io_writer.transport.abort()
            self._transport = None
        while self._flush_queue is not None and not self._flush_queue.empty():
            waiting = self._flush_queue.get_nowait()
            if not waiting.done():
                waiting.set_result(None)

    def discard_unsent(self) -> None:
        """Forget what is not written yet, which nats-py would send after a reconnect."""
        self._pending.clear()
        self._pending_data_size = 0

    # Silence

    async def _ping_interval(self) -> None:
        """Leave a server that was silent for two intervals.

        Silence is counted in ticks, so that it counts only while this process runs: what arrived
        while the process stood still is read before the next tick.
        """
        interval = self.options["ping_interval"]
        tick = min(interval / 5, _LONGEST_TICK)
        self._silence = 0.0
        while self._silence < self._longest_silence:
            await asyncio.sleep(tick)
            if not self.is_connected:
                return
            before = self._silence
            self._silence = before + tick
            if before // interval != self._silence // interval:
                with suppress(NatsError):  # the connection is lost already
                    await self._send_ping()
        await self._process_op_err(NatsError("nats: the server gave no sign of life"))

    @property
    def _longest_silence(self) -> float:
        return float(self.options["ping_interval"] * self.options["max_outstanding_pings"])

    async def suspect(self) -> None:
        """Connect again unless the server says anything within 2 s, as an answer is missing."""
        suspected = self._longest_silence - _SUSPECT_SECONDS
        if self.is_connected and self._silence < suspected:
            self._silence = suspected
            with suppress(NatsError):  # the connection is lost already
                await self._send_ping()

    async def _send_ping(self, future: asyncio.Future[Any] | None = None) -> None:
        """Send a ping behind all that was sent before, so that its answer proves that too."""
        transport = self._transport
        writer = transport._io_writer if isinstance(transport, TcpTransport) else None
        # asyncio raises an AttributeError for a connection that was just lost
        if not self.is_connected or not transport or (writer and writer.is_closing()):
            raise ConnectionClosedError if self.is_closed else ConnectionReconnectingError
        transport.writelines([*self._pending, PING_PROTO])
        self._pending.clear()
        self._pongs.append(future or asyncio.get_running_loop().create_future())
        self._pending_data_size = len(PING_PROTO)  # the flusher waits until it is written
        assert self._flush_queue is not None
        if self._flush_queue.empty():
            await self._flush_pending()

    async def _process_pong(self) -> None:
        # each PONG belongs to the oldest PING, also when nobody waits for it any more
        if self._pongs:
            waiting = self._pongs.pop(0)
            if not waiting.done():
                waiting.set_result(True)

    async def flush(self, timeout: float = 10) -> None:
        """Wait until the server has everything; unlike nats-py's, never return without an answer.

        Raises:
            ConnectionReconnectingError, ConnectionClosedError: the connection is lost or closed.
            FlushTimeoutError: there was no answer in time.
        """
        if not self.is_connected:
            raise ConnectionClosedError if self.is_closed else ConnectionReconnectingError
        await super().flush(timeout)  # type: ignore[arg-type]

    # Connecting

    def _setup_server_pool(self, connect_url: list[str]) -> None:
        super()._setup_server_pool(connect_url)
        for server in self._server_pool:
            server.uri = _ServerUri(*server.uri)

    async def _attempt_reconnect(self) -> None:
        self.abandon()  # nats-py waits until all is written, which a silent server never reads
        while True:
            try:
                await super()._attempt_reconnect()
                return
            except Exception as error:  # nats-py would not try again
                await self._error_cb(error)
                await asyncio.sleep(RECONNECT_WAIT)

    async def _select_next_server(self) -> None:
        if self.is_reconnecting:
            # the server that was lost is tried last
            self._server_pool.sort(key=lambda server: server is self._current_server)
            if self._refused:
                await asyncio.sleep(min(RECONNECT_WAIT * 2**self._refused, _LONGEST_WAIT))
        await super()._select_next_server()

    async def _connect_to_server(self, s: Srv) -> None:
        self.abandon()
        self._ps.reset()  # a part of a message may have been read since the connection was lost
        if s.uri.scheme in ("ws", "wss"):
            await super()._connect_to_server(s)
            return
        s.last_attempt = time.monotonic()
        self._transport = _Transport()  # type: ignore[no-untyped-call]
        await self._transport.connect(
            s.uri, buffer_size=DEFAULT_BUFFER_SIZE, connect_timeout=self.options["connect_timeout"]
        )

    async def _process_connect_init(self) -> None:
        try:
            await super()._process_connect_init()
            if not self.is_connected:  # nats-py takes the end of the stream for a connection
                raise ConnectionResetError("the server closed the connection at the login")
            self._refused = 0
        except BaseException as error:
            # nats-py would wait for ever for the end of this transport, and leave its tasks behind
            self.abandon()
            if refuses_login(error):
                self._refused += 1
            if self._server_info.get("tls_verify") and _is_lost(error):
                reason = "it asks for a client certificate and ended the connection"
                raise NatsError(f"nats: {reason}: {error}") from None
            raise

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        """Take in what the server says of itself and of the other servers of its cluster.

        The others are reached with the login and the scheme of the URL of this one.
        """
        if initial_connection and self._demands_tls() and info.get("tls_available"):
            info["tls_required"] = True  # nats-py takes TLS up only where it is required
        await super()._process_info(info, initial_connection)
        assert self._current_server is not None
        scheme = self._current_server.uri.scheme
        login, separator, _ = self._current_server.uri.netloc.rpartition("@")
        addresses = set()
        pool = []
        for server in self._server_pool:
            address = server.uri.netloc.rpartition("@")[2]
            if server.discovered and address in addresses:
                continue
            if server.discovered and server.uri.username is None:
                server.uri = server.uri._replace(netloc=f"{login}{separator}{address}")
            if scheme in ("ws", "wss") and server.uri.scheme == "nats":
                server.uri = server.uri._replace(scheme=scheme)
            server.uri = _ServerUri(*server.uri)
            addresses.add(address)
            pool.append(server)
        self._server_pool = pool

    def _demands_tls(self) -> bool:
        assert self._current_server is not None
        return "tls" in self.options or self._current_server.uri.scheme in ("tls", "wss")

    @property
    def is_encrypted(self) -> bool:
        """Whether what is sent now goes through TLS."""
        transport = self._transport
        if isinstance(transport, TcpTransport):
            writer = transport._io_writer
            return writer is not None and writer.get_extra_info("ssl_object") is not None
        return isinstance(transport, WebSocketTransport) and bool(transport._using_tls)

    def _connect_command(self) -> bytes:
        if self._demands_tls() and not self.is_encrypted:
            demand = "is set up here" if "tls" in self.options else "is demanded by the URL"
            raise NatsError(
                f"nats: TLS {demand}, but the server does not offer it; nothing was sent"
            )
        command: bytes = super()._connect_command()
        return command

    # The short way in and out

    async def subscribe_direct(
        self,
        subject: str,
        callback: DirectCallback,
        take_run: TakeRun | None = None,
        *,
        queue: str = "",
    ) -> Subscription:
        """Subscribe with a plain function, which is called as each message is read.

        This leaves out nats-py's message object, queue and task, which are half of the cost of a
        message. The function must be quick, and no more messages may come than were asked for.

        Args:
            take_run: takes what it can of many messages that arrive at once; `callback` the rest.
            queue: the queue group to be in.
        """
        subscription = await self.subscribe(subject, queue=queue, cb=_unused)
        self._direct[subscription._id] = callback
        if take_run is not None:
            self._runs[subscription._id] = take_run
        return subscription

    def _remove_sub(self, sid: int, max_msgs: int = 0) -> None:
        self._direct.pop(sid, None)
        self._runs.pop(sid, None)
        super()._remove_sub(sid, max_msgs)

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
        except Exception:  # it would end the read loop
            _logger.exception("receiving from %s failed", subject.decode())

    async def _process_headers(self, headers: bytes | None) -> dict[str, str] | None:
        if headers and headers.startswith(NO_STATUS):
            return header_fields(headers[len(NO_STATUS) :])
        parsed: dict[str, str] | None = await super()._process_headers(headers)
        return parsed

    async def send(self, commands: bytes, *, at_once: bool = False) -> None:
        """Send commands of the protocol that need no checks.

        Args:
            at_once: write them now, not with what others send a moment later: what is waited for
                alone takes a quarter less time so, and what many wait for takes longer.

        Raises:
            ConnectionClosedError: the connection is closed.
            OutboundBufferLimitError: it is lost and the buffer is full.
        """
        if self.is_closed:
            raise ConnectionClosedError
        if not self.is_connected and self._pending_data_size > self._max_pending_size:
            raise OutboundBufferLimitError
        await self._send_command(commands)
        if at_once and self._write_pending():
            return
        if self._flush_queue is not None and self._flush_queue.empty():
            await self._flush_pending()

    def send_soon(self, commands: bytes) -> None:
        """Do the same without waiting, over a connection that is there."""
        self._pending.append(commands)
        self._pending_data_size += len(commands)
        if self._flush_queue is not None and self._flush_queue.empty():
            self._flush_queue.put_nowait(asyncio.get_running_loop().create_future())

    def _write_pending(self) -> bool:
        """Write all that was sent; False if the flusher has to, or a reconnect."""
        transport = self._transport
        writer = transport._io_writer if isinstance(transport, TcpTransport) else None
        # asyncio raises an AttributeError for a connection that was just lost
        if not self.is_connected or transport is None or writer is None or writer.is_closing():
            return False
        transport.write(b"".join(self._pending))  # asyncio's writelines takes several steps more
        self._pending.clear()
        self._pending_data_size = 0
        return True


class CheckedClient(ReconnectingClient):
    """A client that asks `check` about all that it is told to send.

    There is no other way to the server: all of nats-py, too, sends through these two methods. Only
    the login, and the subscriptions that are repeated after a reconnect, are written directly.
    """

    def check(self, commands: bytes) -> None:
        """Raise an error if these commands of the protocol must not be sent."""
        raise NotImplementedError

    async def _send_command(self, cmd: bytes, priority: bool = False) -> None:
        self.check(cmd)
        await super()._send_command(cmd, priority)

    def send_soon(self, commands: bytes) -> None:
        self.check(commands)
        super().send_soon(commands)


async def _unused(msg: Msg) -> None:
    """nats-py asks for a callback, and the direct one is called in its place."""


def _is_lost(error: BaseException) -> bool:
    """Whether the other side ended the connection; a certificate refused here is no such end."""
    ended = isinstance(error, ConnectionError | ssl.SSLError)
    return ended and not isinstance(error, ssl.SSLCertVerificationError)
