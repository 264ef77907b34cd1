"""nats-py's client, but it ends only when it is told to, and it leaves a server that is silent.

By itself nats-py closes for good at an error of the server, goes deaf while it says that it is
connected when its read loop meets an exception, and waits six minutes for a server that is silent.
Here each of these is a reconnect of the same client, which takes its subscriptions along.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Any

from nats.aio.client import DEFAULT_BUFFER_SIZE, PING_PROTO, Client, Srv
from nats.aio.transport import TcpTransport
from nats.errors import ConnectionClosedError, ConnectionReconnectingError, UnexpectedEOF
from nats.errors import Error as NatsError
from nats.protocol.parser import PERMISSIONS_ERR

RECONNECT_WAIT = 0.25
"""Pause between two attempts to connect to the same server, in seconds."""

_LONGEST_WAIT = 5.0  # between logins that are refused
_LONGEST_TICK = 0.5
_SUSPECT_SECONDS = 2.0
_AUTH_WORDS = ("authorization", "authentication", "user jwt", "nonce")


def refuses_login(error: BaseException) -> bool:
    """Whether it is the server's word that the login is wrong."""
    text = str(error).lower()
    return any(word in text for word in _AUTH_WORDS)


class _Transport(TcpTransport):
    """nats-py's, but what is written after the connection was lost says so.

    asyncio only logs that, and nats-py writes its subscriptions one after the other.
    """

    def write(self, payload: bytes) -> None:
        writer = self._io_writer
        if writer is not None and writer.transport.is_closing():
            raise ConnectionResetError("the connection was lost")
        super().write(payload)  # type: ignore[no-untyped-call]


class ReconnectingClient(Client):
    """A client that is closed by `close()` and by nothing else.

    Except where nats-py's own options `allow_reconnect` and `max_reconnect_attempts` end it.

    Attributes:
        lost_because: why the connection was lost last.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lost_because: Exception | None = None
        self._error_said: NatsError | None = None
        self._silence = 0.0
        self._refused = 0
        self._may_close = False

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
        error = NatsError(f"nats: {err_msg.strip(chr(39))}")
        if PERMISSIONS_ERR in err_msg:
            await self._error_cb(error)
        else:  # ADR-42: where it ends the connection, the server closes it
            self._error_said = error

    async def _process_op_err(self, e: Exception) -> None:
        if self.is_connected:  # else it is lost already
            self.lost_because, self._error_said = self._error_said or e, None
            await super()._process_op_err(e)

    async def _read_loop(self) -> None:
        assert self._transport is not None
        transport = self._transport
        reason: Exception = UnexpectedEOF()
        try:
            while not transport.at_eof():
                data = await transport.read(DEFAULT_BUFFER_SIZE)
                self._silence = 0.0
                if data and self._error_said is not None:  # it did not end the connection
                    error, self._error_said = self._error_said, None
                    await self._error_cb(error)
                await self._ps.parse(data)
        except Exception as error:
            reason = error
        await self._process_op_err(reason)

    async def _flusher(self) -> None:
        await super()._flusher()
        task = asyncio.current_task()
        # nothing may be written any more, before the read loop notices that: asyncio says it by
        # an AttributeError, which would end whoever writes next
        if task is not None and not task.cancelling():
            await self._process_op_err(ConnectionResetError("the connection was lost"))

    def abandon(self) -> None:
        """End the TCP connection at once, without a word to the server, and what works on it."""
        for task in (self._reading_task, self._ping_interval_task, self._flusher_task):
            if task is not None and task is not asyncio.current_task():
                task.cancel()
        writer = getattr(self._transport, "_io_writer", None)
        if writer is not None:
            writer.transport.abort()
            self._transport = None
        while self._flush_queue is not None and not self._flush_queue.empty():
            waiting = self._flush_queue.get_nowait()
            if not waiting.done():
                waiting.set_result(None)

    # Silence

    async def _ping_interval(self) -> None:
        """Leave a server of which nothing was heard for two intervals.

        Silence is counted in ticks, so that it counts only while this process ran: what came
        while it stood still is read before the next tick.
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
                with suppress(NatsError):  # it is lost already
                    await self._send_ping()
        await self._process_op_err(NatsError("nats: the server gave no sign of life"))

    @property
    def _longest_silence(self) -> float:
        return float(self.options["ping_interval"] * self.options["max_outstanding_pings"])

    async def suspect(self) -> None:
        """An answer is missing: give the server 2 s for any sign of life."""
        suspected = self._longest_silence - _SUSPECT_SECONDS
        if self.is_connected and self._silence < suspected:
            self._silence = suspected
            with suppress(NatsError):  # it is lost already
                await self._send_ping()

    async def _send_ping(self, future: asyncio.Future[Any] | None = None) -> None:
        """As nats-py's, but behind all that was sent before: its answer proves that too."""
        writer = getattr(self._transport, "_io_writer", None)
        # asyncio raises an AttributeError for a connection that was just lost
        if not self.is_connected or not self._transport or (writer and writer.is_closing()):
            raise ConnectionClosedError if self.is_closed else ConnectionReconnectingError
        self._transport.writelines([*self._pending, PING_PROTO])
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
        """As nats-py's, but it never returns without an answer.

        Raises:
            ConnectionReconnectingError, ConnectionClosedError: the connection is lost or closed.
            FlushTimeoutError: there was no answer in time.
        """
        if not self.is_connected:
            raise ConnectionClosedError if self.is_closed else ConnectionReconnectingError
        await super().flush(timeout)  # type: ignore[arg-type]

    # Connecting again

    async def _attempt_reconnect(self) -> None:
        self.abandon()  # nats-py waits until all is written, which a silent server never reads
        while True:
            try:
                await super()._attempt_reconnect()
                return
            except Exception as error:  # nats-py would try no more
                await self._error_cb(error)
                await asyncio.sleep(RECONNECT_WAIT)

    async def _select_next_server(self) -> None:
        if self.is_reconnecting:
            # the one that was lost is asked last
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
            s.uri,
            buffer_size=DEFAULT_BUFFER_SIZE,
            connect_timeout=self.options["connect_timeout"],
        )

    async def _process_connect_init(self) -> None:
        try:
            await super()._process_connect_init()
            if not self.is_connected:  # nats-py takes the end of the stream for a connection
                raise ConnectionResetError("the server closed the connection at the login")
            self._refused = 0
        except BaseException as error:
            # nats-py would wait for ever for this transport's end, and leave its tasks behind
            self.abandon()
            if refuses_login(error):
                self._refused += 1
            raise

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        """As nats-py's; servers that the cluster names take the login that is in our URLs."""
        await super()._process_info(info, initial_connection)
        assert self._current_server is not None
        login, at, _ = self._current_server.uri.netloc.rpartition("@")
        addresses = set()
        pool = []
        for server in self._server_pool:
            address = server.uri.netloc.rpartition("@")[2]
            if server.discovered and address in addresses:
                continue
            if server.discovered and server.uri.username is None:
                server.uri = server.uri._replace(netloc=f"{login}{at}{address}")
            addresses.add(address)
            pool.append(server)
        self._server_pool = pool
