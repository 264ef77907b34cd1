"""Declare, list and delete channels, in set-up scripts and for administration.

Each declaration is a message in the stream `{stream_name}-channels`, so that every process sees it
and it outlasts a restart of the server.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Self

from nats.errors import Error as NatsError
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.api import Header, StreamConfig
from nats.js.errors import APIError, NoStreamResponseError, NotFoundError
from providify import Inject, PostConstruct, PreDestroy, Singleton
from pydantic import TypeAdapter
from pydantic_settings import SettingsConfigDict
from varco_core.event.base import ChannelConfig
from varco_core.event.channel import ChannelManager

from varco_nats import subjects
from varco_nats._log import logger as _logger
from varco_nats._nats.client import Connection, connect, jetstream_errors
from varco_nats._nats.error_codes import ErrorCode
from varco_nats._nats.leader import with_leader
from varco_nats._nats.stream import (
    check_captured,
    ensure_event_stream,
    ensure_stream,
    store_in,
    stream_info,
)
from varco_nats._read_only import check_may_change
from varco_nats._varco_core import PRIORITY, QUALIFIER
from varco_nats.config import StreamSettings
from varco_nats.errors import (
    AlreadyStartedError,
    NotStartedError,
    ServerUnreachableError,
    SettingsError,
    StreamNotFoundError,
    StreamUnavailableError,
)

_CONFIG = TypeAdapter(ChannelConfig)
_DECLARED_ALREADY = ErrorCode.STREAM_WRONG_LAST_SEQUENCE
_BEING_DECLARED = ErrorCode.STREAM_WRONG_LAST_SEQUENCE_CONSTANT
_BUSY_WAIT = 0.05
_STORE_TIMEOUT = 5.0  # seconds
_BUSY_ATTEMPTS = 100
_LIST_ATTEMPTS = 5
_PAGE_TIMEOUT = 10  # a page may have several megabytes


class NatsChannelManagerSettings(StreamSettings):
    """Settings of `NatsStreamManager`, read from `VARCO_NATS_ADMIN_*`.

    They are separate from the bus's because administration may need another login. `stream_name`,
    `subject_prefix` and `channel_prefix` must be those of the bus.

    Raises:
        SettingsError: a value has the wrong type or is out of range, or there is no such setting.

    Example:
        NatsChannelManagerSettings(servers="nats://localhost:4222")
    """

    model_config = SettingsConfigDict(env_prefix="VARCO_NATS_ADMIN_")

    def declarations_stream(self) -> str:
        """The stream that holds the declarations: `{stream_name}-channels`."""
        return f"{self.stream_name}-channels"

    def declarations_prefix(self) -> str:
        """How their subjects begin: `{subject_prefix}-channels`, outside the bus's subjects."""
        return f"{self.subject_prefix}-channels"


@Singleton(priority=PRIORITY, qualifier=QUALIFIER)
class NatsStreamManager(ChannelManager):
    """Channels of one stream: those declared, and those that carry messages.

    Any number of managers may work at the same time, in any number of processes.

    Args:
        settings: which server, stream and prefixes.

    Example:
        async with NatsStreamManager(NatsChannelManagerSettings()) as manager:
            await manager.declare_channel("orders")
            await manager.list_channels()
    """

    def __init__(self, settings: Inject[NatsChannelManagerSettings]) -> None:
        self._settings: NatsChannelManagerSettings = settings
        self._connection: Connection | None = None
        self._lifecycle = asyncio.Lock()
        self._running = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def __repr__(self) -> str:
        state = "started" if self._connection else "not started"
        return f"NatsStreamManager({self._settings!r}, {state})"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    @PostConstruct
    async def start(self) -> None:
        """Connect, and create the streams that do not exist.

        Raises:
            AlreadyStartedError: it is started; a RuntimeError.
            ConnectError: no server answered or the login was refused.
            JetStreamUnavailableError: the server has no JetStream.
            StreamMismatchError: a stream of that name has other subjects.
            LimitReachedError: a limit allows no more streams.
        """
        async with self._lifecycle:
            if self._connection is not None:
                raise AlreadyStartedError("NatsStreamManager")
            connection = await connect(self._settings, name="varco channel manager")
            try:
                await ensure_event_stream(connection, self._settings, create=True)
                await ensure_stream(connection, self._declarations(), create=True)
            except BaseException:
                await connection.close()
                raise
            self._connection = connection

    @PreDestroy
    async def stop(self) -> None:
        """Wait for calls that run, and disconnect; does nothing if it is not started."""
        async with self._lifecycle:
            connection, self._connection = self._connection, None
            if connection is not None:
                await self._idle.wait()
                await connection.close()

    async def declare_channel(self, channel: str, config: ChannelConfig | None = None) -> None:
        """Make `channel` exist; the first declaration counts, and a later one does nothing.

        A stream that captures only some channels is left as it is: it has to capture this one.

        Args:
            channel: its name.
            config: kept with the declaration; NATS itself has no use for it.

        Raises:
            InvalidChannelError: no subject can be made of the name.
            ChannelNotCapturedError: the stream does not capture its subject; it is not declared.
            SettingsError: `config.extra` holds a value that JSON cannot hold.
            StreamUnavailableError: the servers did not decide on another declaration of it, or do
                not know yet where declarations are stored.
            NotStartedError: `start()` was not awaited.
        """
        subject = self._declaration_subject(channel)
        payload = _encode(config or ChannelConfig())
        headers = {str(Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value): "0"}
        check_may_change(self._settings, "declare_channel()")
        async with self._connected("declare_channel") as connection:
            with _errors(connection, self._settings.stream_name):
                await check_captured(connection, self._settings, channel)
            stream = self._settings.declarations_stream()
            with _errors(connection, stream):
                reason = "its servers do not agree on another declaration"
                for _ in range(_BUSY_ATTEMPTS):
                    try:
                        await store_in(
                            connection, stream, subject, payload, headers, _STORE_TIMEOUT
                        )
                        return
                    except NoStreamResponseError:
                        await stream_info(connection, stream)
                        reason = "its servers do not know of it yet"
                        break
                    except APIError as error:
                        if error.err_code == _DECLARED_ALREADY:
                            return
                        if error.err_code != _BEING_DECLARED:
                            raise
                    await asyncio.sleep(_BUSY_WAIT)
                raise StreamUnavailableError(stream, reason, connection.servers)

    async def declared_config(self, channel: str) -> ChannelConfig | None:
        """The configuration that `channel` was declared with, or None if it was not.

        For a declaration that cannot be read, as another program wrote it, this is
        `ChannelConfig()`, and a WARNING names it.

        Raises:
            InvalidChannelError: no subject can be made of the name.
            NotStartedError: `start()` was not awaited.
        """
        subject = self._declaration_subject(channel)
        stream = self._settings.declarations_stream()
        async with self._connected("declared_config") as connection:
            with _errors(connection, stream):
                try:
                    # not a direct get: a replica that lags behind may not have it yet
                    found = await with_leader(
                        connection, stream, lambda: connection.js.get_last_msg(stream, subject)
                    )
                except NotFoundError as error:
                    if error.err_code == ErrorCode.STREAM_NOT_FOUND:
                        raise
                    return None
        try:
            return _CONFIG.validate_json(found.data or b"", strict=True)
        except Exception as error:  # any program may publish anything there
            _logger.warning(
                "the declaration of channel %r, message %s of stream %s, cannot be read (%s); the "
                "default configuration is used",
                channel,
                found.seq,
                stream,
                type(error).__name__,
            )
            return ChannelConfig()

    async def channel_exists(self, channel: str) -> bool:
        """Whether `channel` is declared or carries messages.

        Raises:
            InvalidChannelError: no subject can be made of the name.
            NotStartedError: `start()` was not awaited.
        """
        places = self._places(channel)
        async with self._connected("channel_exists") as connection:
            for stream, subject in places.items():
                if await _subjects(connection, stream, subject):
                    return True
        return False

    async def channel_has_messages(self, channel: str) -> bool:
        """Whether the stream holds messages of `channel`, handled or not.

        Raises:
            InvalidChannelError: no subject can be made of the name.
            NotStartedError: `start()` was not awaited.
        """
        subject = self._settings.subject_name(channel)
        async with self._connected("channel_has_messages") as connection:
            return bool(await _subjects(connection, self._settings.stream_name, subject))

    async def list_channels(self) -> list[str]:
        """The channels with this `channel_prefix` that are declared or carry messages, sorted.

        Raises:
            NotStartedError: `start()` was not awaited.
        """
        prefix = self._settings.channel_prefix
        places = {
            self._settings.declarations_stream(): self._settings.declarations_prefix(),
            self._settings.stream_name: self._settings.subject_prefix,
        }
        # the server filters by whole tokens: `dev.` can be filtered by, and `dev-` cannot
        tokens = prefix[: prefix.rfind(".") + 1]
        async with self._connected("list_channels") as connection:
            channels = {
                subjects.channel_from(root, prefix, subject)
                for stream, root in places.items()
                for subject in await _subjects(connection, stream, f"{root}.{tokens}>")
            }
        return sorted(channel for channel in channels if channel is not None)

    async def delete_channel(self, channel: str) -> None:
        """Delete all messages of `channel` and its declaration; they cannot be restored.

        No other channel and no consumer is touched. A channel that does not exist is ignored.

        Raises:
            InvalidChannelError: no subject can be made of the name.
            NotStartedError: `start()` was not awaited.
        """
        places = self._places(channel)
        check_may_change(self._settings, "delete_channel()")
        async with self._connected("delete_channel") as connection:
            for stream, subject in places.items():
                with _errors(connection, stream):
                    purge = partial(connection.js.purge_stream, stream, subject=subject)
                    await with_leader(connection, stream, purge)

    @asynccontextmanager
    async def _connected(self, operation: str) -> AsyncIterator[Connection]:
        """The connection, which `stop()` keeps open until the block ends."""
        if self._connection is None:
            raise NotStartedError("NatsStreamManager", operation)
        self._running += 1
        self._idle.clear()
        try:
            yield self._connection
        finally:
            self._running -= 1
            if not self._running:
                self._idle.set()

    def _places(self, channel: str) -> dict[str, str]:
        """The subjects of its messages and of its declaration, by their streams."""
        return {
            self._settings.stream_name: self._settings.subject_name(channel),
            self._settings.declarations_stream(): self._declaration_subject(channel),
        }

    def _declaration_subject(self, channel: str) -> str:
        root, prefix = self._settings.declarations_prefix(), self._settings.channel_prefix
        return subjects.subject_for(root, prefix, channel)

    def _declarations(self) -> StreamConfig:
        return StreamConfig(
            name=self._settings.declarations_stream(),
            subjects=[f"{self._settings.declarations_prefix()}.>"],
            num_replicas=self._settings.stream_replicas,
            max_msgs_per_subject=1,
            allow_direct=True,
        )


@contextmanager
def _errors(connection: Connection, stream: str) -> Iterator[None]:
    """Raise this package's errors for those that nats-py raises about `stream`."""
    try:
        with jetstream_errors(connection):
            yield
    except NoStreamResponseError:
        raise StreamNotFoundError(stream) from None
    except NotFoundError as error:
        if error.err_code == ErrorCode.STREAM_NOT_FOUND:
            raise StreamNotFoundError(stream) from None
        raise
    except NatsTimeoutError:
        raise ServerUnreachableError(connection.servers, "no answer in time") from None
    except NatsError as error:
        if type(error) is not NatsError:
            raise
        # the answer was not that of the stream
        reason = str(error).removeprefix("nats: ")
        raise StreamUnavailableError(stream, reason, connection.servers) from None


async def _subjects(connection: Connection, stream: str, pattern: str) -> set[str]:
    """All subjects of `stream` that match `pattern` and hold messages, however many."""
    found: set[str] = set()
    with _errors(connection, stream):
        for _ in range(_LIST_ATTEMPTS):
            found, steady = await _subject_pages(connection, stream, pattern)
            if steady:
                break
    return found


async def _subject_pages(
    connection: Connection, stream: str, pattern: str
) -> tuple[set[str], bool]:
    """The subjects, and whether their total was the same on each page.

    The server sends 100,000 at a time, by their position in a list: a subject that is added or
    removed meanwhile moves others from one page to the next.
    """
    found: set[str] = set()
    totals: set[int] = set()
    offset = 0
    while True:
        # nats-py's stream_info cannot ask for a later page
        request = {"subjects_filter": pattern, "offset": offset}
        ask = partial(connection.ask_jetstream, f"STREAM.INFO.{stream}", request, _PAGE_TIMEOUT)
        page = await with_leader(connection, stream, ask, attempt=_PAGE_TIMEOUT)
        subjects_here = page["state"].get("subjects") or {}
        found.update(subjects_here)
        offset += len(subjects_here)
        total = int(page.get("total", offset))
        totals.add(total)
        if not subjects_here or offset >= total:
            return found, len(totals) == 1


def _encode(config: ChannelConfig) -> bytes:
    try:
        return json.dumps(dataclasses.asdict(config), ensure_ascii=False).encode()
    except (TypeError, ValueError) as error:
        raise SettingsError(
            "ChannelConfig", [f"extra: it cannot be kept as JSON: {error}"]
        ) from None
