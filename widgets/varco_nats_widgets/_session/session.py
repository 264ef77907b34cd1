"""What a `Lab` does, as coroutines that run on its loop thread."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, ExitStack, suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, cast

import pandas as pd
from nats.errors import Error as NatsError
from nats.js.errors import APIError, NotFoundError
from varco_core.event.base import CHANNEL_ALL

from varco_nats._masks._mask import Mask
from varco_nats._nats.client import Connection, connect
from varco_nats._nats.durable import ensure_durable
from varco_nats._nats.leader import passes, unavailable, with_leader
from varco_nats._read_only import check_may_change
from varco_nats.config import NatsEventBusSettings, without_credentials
from varco_nats.errors import (
    InvalidChannelError,
    PermissionDeniedError,
    ServerUnreachableError,
    VarcoNatsError,
)
from varco_nats.server import LocalNats
from varco_nats_widgets._session.job import Call
from varco_nats_widgets._session.loop import LoopThread
from varco_nats_widgets._session.progress import Progress
from varco_nats_widgets._session.stream_browser import LabHistory, StreamBrowser
from varco_nats_widgets.decoders import DecoderTable
from varco_nats_widgets.durability import SYNC_DEFAULT, Durability
from varco_nats_widgets.frames._decoding import Decoding
from varco_nats_widgets.frames._query import warn_caller

if TYPE_CHECKING:
    from varco_nats.bus import NatsEventBus
    from varco_nats_widgets.export import ExportResult

_logger = logging.getLogger("varco_nats")

_DURABLE_SECONDS = 600.0  # how long the durable of a killed kernel stays on the server
_CLOSE_SECONDS = 5.0
_POLL_SECONDS = 0.01
_COMPLETION_SECONDS = 1.0
_CHECK_SECONDS = 0.5  # between two looks at whether the server is there
# how long a lost server is waited for: by what begins, where a user waits for an answer to a click,
# and by what is under way and would have to begin again; a restart of the server takes less
_BEGIN_SECONDS = 2.0
_AWAY_SECONDS = 10.0


class Reader(Protocol):
    """What runs in the background until it is shut."""

    async def shut(self) -> None:
        """Leave nothing on the server; called on the loop thread."""


class Stoppable(Protocol):
    """What ends with the session, without work on the server."""

    def stop(self) -> None: ...


class Closable(Protocol):
    """What all who use a session share; closed when it has ended."""

    def close(self) -> None: ...


class OfServer(Protocol):
    """What is shown and can say which server it is of."""

    def set_trait(self, name: str, value: str) -> None: ...


class Members[T]:
    """Objects that are not kept alive, added and listed on any thread."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a set that grows cannot be iterated
        self._members: weakref.WeakSet[T] = weakref.WeakSet()

    def add(self, member: T) -> None:
        with self._lock:
            self._members.add(member)

    def all(self) -> list[T]:
        """Those that are there now."""
        with self._lock:
            return list(self._members)


class _Naming:
    """Tells each view its server while there are sessions with several, else ""."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # not held while traits are set: observers do anything
        self._wanted = 0
        self._busy = False

    def renew(self) -> None:
        """Tell it to all; where another thread is at it, that thread does it once more."""
        with self._lock:
            self._wanted += 1
            if self._busy:
                return
            self._busy = True
        done = 0
        try:
            while not self._is_done(done):
                done = self._wanted
                self._tell_all()
        except BaseException:  # an interrupt
            self._busy = False
            raise

    def _is_done(self, done: int) -> bool:
        with self._lock:
            self._busy = done != self._wanted
            return not self._busy

    def _tell_all(self) -> None:
        sessions = open_sessions()
        several = len({session.server for session in sessions}) > 1
        for session in sessions:
            for shown in session.shown.all():
                try:
                    shown.set_trait("server", session.label if several else "")
                except Exception:  # of an observer, which keeps no session from its end
                    _logger.warning("an observer of %r failed", shown, exc_info=True)


_sessions = Members["Session"]()
_naming = _Naming()


def open_sessions() -> list[Session]:
    """The sessions of this process that are not closed."""
    return [session for session in _sessions.all() if not session.closed]


class Session:
    """The connections and the loop thread of one `Lab`."""

    def __init__(
        self,
        settings: NatsEventBusSettings,
        label: str,
        local: LocalNats | None = None,
        decoders: DecoderTable | None = None,
        mask: Mask | None = None,
    ) -> None:
        drain = min(settings.drain_timeout_seconds, _CLOSE_SECONDS)
        self.settings = settings.model_copy(
            # a durable of its own: with a service's name it would take that service's messages
            update={"durable_name": f"lab-{uuid.uuid4().hex[:8]}", "drain_timeout_seconds": drain}
        )
        self.decoding = Decoding(settings.channel_from_subject, decoders, mask)
        self.label = label
        self.code = ""
        """What opens a lab like this one."""
        self.server = frozenset(map(without_credentials, settings.to_servers_list()))
        """What tells servers apart."""
        self.shown = Members[OfServer]()
        self.closed = False
        self.loop = LoopThread(f"Lab({label})")
        self.consumed: set[str] = set()
        self.readers = Members[Reader]()  # that end with it
        self.stoppables = Members[Stoppable]()  # likewise
        self._on_closed: list[weakref.WeakMethod[Callable[[str], object]]] = []
        self._shared: dict[Callable[[], Closable], Closable] = {}
        self._local = local
        self._connection: Connection | None = None
        self._history: LabHistory | None = None
        self._bus: NatsEventBus | None = None
        self._bus_lock = threading.Lock()
        self._opened = AsyncExitStack()
        _sessions.add(self)

    def call[T](
        self,
        coroutine: Coroutine[Any, Any, T],
        progress: Progress | None = None,
        *,
        finish: Callable[[T], T] | None = None,
        settle: Callable[[], Coroutine[Any, Any, None]] | None = None,
    ) -> Call[T]:
        """A coroutine on the loop thread, for what copes with a lost server by itself."""
        self.check_open(coroutine)
        return Call(self.loop, coroutine, progress, finish=finish, settle=settle)

    def read[T](
        self,
        coroutine: Coroutine[Any, Any, T],
        progress: Progress | None = None,
        *,
        finish: Callable[[T], T] | None = None,
        call: str = "frame",
    ) -> Call[T]:
        """The same, for what raises `ServerUnreachableError` when the server stays away.

        Args:
            call: the method of `Lab` that reads subjects which were given as a channel.
        """
        self.check_open(coroutine)
        guard = partial(self.while_reachable, call=call)
        return Call(self.loop, coroutine, progress, guard=guard, finish=finish)

    def shared[T: Closable](self, kind: Callable[[], T]) -> T:
        """The one that this session has of a kind, made when first asked for."""
        if kind not in self._shared:
            self._shared[kind] = kind()
        return cast(T, self._shared[kind])

    def when_closed(self, call: Callable[[str], object]) -> None:
        """Have a method called when this has ended, with the code that opens such a lab again; ""
        if that cannot be."""
        known = [method for method in self._on_closed if method() is not None]
        self._on_closed = [*known, weakref.WeakMethod(call)]

    def say_server(self, shown: OfServer) -> None:
        """Have `shown` say which server it is of, for as long as sessions with several are open."""
        self.shown.add(shown)
        _naming.renew()

    def check_open(self, coroutine: Coroutine[Any, Any, Any] | None = None) -> None:
        if self.closed:
            if coroutine is not None:
                coroutine.close()
            raise RuntimeError("this Lab is closed; make a new one with Lab()")

    @property
    def read_only(self) -> bool:
        """Whether the connection refuses whatever would change something."""
        return self.settings.read_only

    def check_may_change(self, operation: str) -> None:
        """Raise `ReadOnlyError` for `operation` where this session only looks."""
        check_may_change(self.settings, operation)

    async def open(self) -> None:
        self._connection = await connect(self.settings, name="varco-lab")
        self._opened.push_async_callback(self._connection.close)
        self._opened.push_async_callback(self._delete_durables)
        with suppress(PermissionDeniedError):  # a login for a stream or two, which is enough here
            await with_leader(self._connection, None, self._connection.js.account_info)
        self._history = LabHistory(self.settings, self._connection)
        _naming.renew()
        self._opened.push_async_callback(self._history.stop)

    def shut(self) -> None:
        """Release everything; more than one call does nothing."""
        if self.closed:
            return
        if self.loop.is_current:  # a handler cannot wait for the end of its own thread
            threading.Thread(target=self.shut, name="Lab closing").start()
            return
        self.closed = True
        with ExitStack() as ending:  # from the last to the first, whatever fails or is interrupted
            if self._local is not None:
                ending.callback(self._local.close)
            ending.callback(self._tell_closed)
            for shared in self._shared.values():
                ending.callback(shared.close)
            ending.callback(self.loop.close)
            _naming.renew()
            self.loop.run(self._close())

    def _tell_closed(self) -> None:
        for method in self._on_closed:
            if (call := method()) is not None:
                try:
                    call("" if self.is_local else self.code)
                except Exception:  # of an observer
                    _logger.warning("an observer of Lab(%s) failed", self.label, exc_info=True)

    async def _close(self) -> None:
        try:
            async with self._opened:  # what fails does not keep the rest from being released
                await asyncio.gather(*(reader.shut() for reader in self.readers.all()))
                for stoppable in self.stoppables.all():
                    stoppable.stop()
        except Exception:
            _logger.warning("Lab(%s) did not close cleanly", self.label, exc_info=True)

    async def _delete_durables(self) -> None:
        if not self.connection.is_connected:
            return
        with suppress(NatsError, TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                for channel in self.consumed:
                    await self.connection.js.delete_consumer(
                        self.settings.stream_name, self.settings.durable_for(channel)
                    )

    # The bus

    def bus(self) -> NatsEventBus:
        """The bus, started when it is first asked for."""
        from varco_nats.bus import NatsEventBus  # many a notebook only looks

        with self._bus_lock:
            if self._bus is None:
                bus = NatsEventBus(self.settings)
                self._bus = self.call(self._opened.enter_async_context(bus)).wait()
            return self._bus

    async def expire_durable(self, channel: str) -> None:
        """Create the channel's durable so that it goes away when this process is killed."""
        if channel == CHANNEL_ALL or channel in self.consumed:
            return
        connection, stream = self.connection, self.settings.stream_name
        info, _ = await ensure_durable(connection, self.settings, channel)
        config = replace(info.config, inactive_threshold=_DURABLE_SECONDS)
        await with_leader(connection, stream, lambda: connection.js.add_consumer(stream, config))
        self.consumed.add(channel)

    async def warn_of_decoders(self) -> str:
        """What to say of decoders that are for no message which there is now; "" if nothing."""
        if self.is_local:  # which begins empty
            return ""
        try:
            idle = await self.view.idle_decoders()
        except (VarcoNatsError, NatsError):  # reading says what is wrong
            return ""
        if not idle:
            return ""
        keys = ", ".join(f"decoders[{key!r}]" for key in idle)
        return f"{keys}: no channel or subject of this name has a message yet; is it the right one?"

    def check_mask[T: pd.DataFrame | ExportResult](self, done: T) -> T:
        """What was read, after a warning to the caller if a pattern of the mask matched nothing."""
        mask = self.decoding.mask
        if mask is not None:
            columns = done.columns if isinstance(done, pd.DataFrame) else ()
            if complaint := mask.complaint(columns, once=True):
                warn_caller(f"{complaint}; the pattern of a mask is the name of a column")
        return done

    async def drain(self, timeout: float) -> None:
        until = time.monotonic() + timeout
        for channel in sorted(self.consumed):
            durable = self.settings.durable_for(channel)
            last = await self._last_seq(channel)
            while True:
                info = await self.connection.js.consumer_info(self.settings.stream_name, durable)
                waiting = (info.num_pending or 0) + (info.num_ack_pending or 0)
                # a busy server counts what is pending some time after it was stored
                seen = info.delivered.stream_seq if info.delivered else 0
                if not waiting and seen >= last:
                    break
                if time.monotonic() > until:
                    waiting = waiting or "some"
                    raise TimeoutError(
                        f"{waiting} messages of channel {channel!r} were not handled "
                        f"within {timeout:g} s"
                    )
                await asyncio.sleep(_POLL_SECONDS)

    async def _last_seq(self, channel: str) -> int:
        """Of the channel's newest message; 0 if there is none."""
        subject = self.settings.subject_name(channel)
        with suppress(NotFoundError):
            message = await self.connection.js.get_last_msg(self.settings.stream_name, subject)
            return message.seq or 0
        return 0

    # Reading

    async def durability(self, channel: str | None, stream: str | None) -> Durability:
        # the default: this package's own server is not told another
        known = SYNC_DEFAULT if self.is_local else None
        return await self.view.durability(channel, stream, known)

    def names_for_completion(self) -> list[str]:
        """The channels' names, soon: none where the server does not answer at once."""
        return [] if self.closed else self.soon(self.view.names())

    def soon(self, names: Coroutine[Any, Any, list[str]]) -> list[str]:
        """Names for a Tab key; none where the server does not answer at once."""
        if self.closed or self.loop.is_current:
            names.close()
            return []
        future = self.loop.submit(names)
        try:
            return future.result(_COMPLETION_SECONDS)
        except Exception:  # a Tab key shows no traceback
            future.cancel()
            return []

    @property
    def is_local(self) -> bool:
        """Whether the server is one that this session started, which ends with it."""
        return self._local is not None

    @property
    def connection(self) -> Connection:
        assert self._connection is not None
        return self._connection

    @property
    def history(self) -> LabHistory:
        """For reading on the loop thread."""
        assert self._history is not None
        return self._history

    @property
    def view(self) -> StreamBrowser:
        return StreamBrowser(self.settings, self.connection, self.decoding)

    async def wait_connected(self) -> None:
        """Wait a moment for a lost connection, before something new begins.

        Raises:
            ServerUnreachableError: it did not come back.
        """
        connection = self.connection
        if not connection.is_connected and not await connection.wait_connected(_BEGIN_SECONDS):
            raise self._unreachable(f"it did not come back within {_BEGIN_SECONDS:g} s")

    async def while_reachable[T](
        self, coroutine: Coroutine[Any, Any, T], *, call: str = "frame"
    ) -> T:
        """Its result, or `ServerUnreachableError` when the server stays away meanwhile."""
        task = asyncio.create_task(coroutine, name="reading")
        lost: float | None = None
        try:
            while not task.done():
                await asyncio.wait([task], timeout=_CHECK_SECONDS)
                if self.connection.is_connected:
                    lost = None
                elif lost is None:
                    lost = time.monotonic()
                elif time.monotonic() - lost > _AWAY_SECONDS:
                    raise self._unreachable(f"it did not come back within {_AWAY_SECONDS:g} s")
            return task.result()
        except InvalidChannelError as error:
            raise await self.view.explained(error, call) from None
        except PermissionDeniedError as error:
            raise self.view.allowed(error) from error
        except VarcoNatsError:
            raise
        except NatsError as error:
            if self.connection.is_connected and passes(self.connection, error):
                raise await unavailable(self.connection, None, error) from error
            if isinstance(error, APIError):
                raise
            raise self._unreachable(str(error).removeprefix("nats: ")) from error
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait([task])

    def _unreachable(self, reason: str) -> ServerUnreachableError:
        if self._local is not None and not self._local.running:
            reason = "this lab's local server has ended: close this Lab and make a new one"
        elif not self.connection.is_connected:
            reason = f"the connection is lost: {reason}"
        return ServerUnreachableError(self.connection.servers, reason)
