"""The streams that this package uses, and their consumers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from datetime import datetime
from functools import partial

from nats.errors import Error as NatsError
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.api import (
    ClusterInfo,
    ConsumerInfo,
    RetentionPolicy,
    StorageType,
    StreamConfig,
    StreamInfo,
)
from nats.js.errors import APIError, NoStreamResponseError, NotFoundError

from varco_nats._log import logger as _logger
from varco_nats._nats.client import Connection, Newest
from varco_nats._nats.error_codes import ErrorCode
from varco_nats._nats.leader import with_leader
from varco_nats._nats.puback import PubAck
from varco_nats.config import StreamSettings
from varco_nats.errors import (
    ChannelNotCapturedError,
    StreamMismatchError,
    StreamNotFoundError,
    VarcoNatsError,
)
from varco_nats.subjects import LEGACY_DEAD_LETTERS, dead_letter_name

_ELECTION_NS = 4_000_000_000
_DEPOSED_SECONDS = 30.0
_INFO_SECONDS = 5.0
_PROMPT_SECONDS = 0.1
_HEARTBEAT_SECONDS = 1.2  # `hbInterval` in nats-server is 1 s
_FOLDER_SECONDS, _FOLDER_PAUSE = 0.5, 0.05
_UNHEARD_SECONDS, _UNHEARD_PAUSE = 5.0, 0.05


def covers(pattern: str, subject: str) -> bool:
    """Whether `pattern` matches all that `subject` matches; both may have `*` and `>`."""
    pattern_tokens, tokens = pattern.split("."), subject.split(".")
    for position, part in enumerate(pattern_tokens):
        if part == ">":
            return len(tokens) > position
        if position >= len(tokens) or tokens[position] == ">":
            return False
        if part not in ("*", tokens[position]):
            return False
    return len(pattern_tokens) == len(tokens)


def overlap(first: str, second: str) -> bool:
    """Whether some subject is matched by both patterns."""
    for pair in zip(first.split("."), second.split("."), strict=False):
        if ">" in pair:
            return True
        if pair[0] != pair[1] and "*" not in pair:
            return False
    return first.count(".") == second.count(".")


def largest_message(connection: Connection, config: StreamConfig) -> int:
    """Bytes of headers and payload that the server and a stream with this configuration take."""
    of_stream = config.max_msg_size or -1
    return min(connection.max_payload, of_stream) if of_stream > 0 else connection.max_payload


def event_stream_config(settings: StreamSettings) -> StreamConfig:
    """The configuration of the stream that holds the channels."""
    return StreamConfig(
        name=settings.stream_name,
        subjects=[settings.wildcard_subject()],
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        num_replicas=settings.stream_replicas,
        duplicate_window=settings.duplicate_window_seconds,
        allow_direct=True,
    )


async def led_info(
    connection: Connection, stream: str, *, deleted: bool = False, wait: float | None = None
) -> StreamInfo:
    """The info of `stream`, asked for once, from a leader that a majority of its replicas follows.

    A leader that stood still goes on answering until it hears that the others have elected another
    one, and does not know what that one has stored. They cannot have elected one while a majority
    has heard from it within 4 s (`minElectionTimeout` in nats-server's `raft.go`). A leader that
    lacks a message which this connection has met is not believed either, until it has lacked it for
    30 s: a partitioned leader gives up after 10 to 20 s, so that one that stays has lost it. An
    answer that took long is asked for again, after the time in which a leader tells its replicas of
    itself, as one that stood still may take what the others sent it before that for news.

    Args:
        deleted: whether to list the sequences that are missing in its middle.
        wait: for each answer with that list, in seconds; None is 5.

    Raises:
        nats.js.errors.NotFoundError: it does not exist.
        nats.errors.TimeoutError: there was no answer, or not from such a leader.
    """
    ask = partial(_info_with_deleted, wait=wait or _INFO_SECONDS) if deleted else _info
    asked = time.monotonic()
    info = await ask(connection, stream)
    if info.cluster is not None and time.monotonic() - asked > _PROMPT_SECONDS:
        await asyncio.sleep(_HEARTBEAT_SECONDS)
        info = await ask(connection, stream)
    if info.cluster is not None and lost_replicas(info.cluster) is not None:
        raise NatsTimeoutError
    if (info.config.num_replicas or 1) > 1 and _lacks_messages(connection, stream, info):
        raise NatsTimeoutError
    return info


async def _info(connection: Connection, stream: str) -> StreamInfo:
    info: StreamInfo = await connection.js.stream_info(stream)
    return info


async def _info_with_deleted(connection: Connection, stream: str, wait: float) -> StreamInfo:
    request = {"deleted_details": True}
    answer = await connection.ask_jetstream(f"STREAM.INFO.{stream}", request, wait)
    info: StreamInfo = StreamInfo.from_response(answer)
    return info


def met(connection: Connection, stream: str, created: datetime | None, seq: int) -> None:
    """Note that this connection has met the message at `seq` of the replicated `stream`."""
    newest = connection.newest.get(stream)
    if newest is not None and newest.created == created:
        newest.seq = max(newest.seq, seq)


def _lacks_messages(connection: Connection, stream: str, info: StreamInfo) -> bool:
    newest, last = connection.newest.get(stream), int(info.state.last_seq)
    if newest is not None and newest.created == info.created and last < newest.seq:
        now = time.monotonic()
        newest.missing_since = newest.missing_since or now
        if now - newest.missing_since < _DEPOSED_SECONDS:
            return True
    connection.newest[stream] = Newest(info.created, last)
    return False


def lost_replicas(cluster: ClusterInfo) -> int | None:
    """How many replicas the leader has not heard from for 4 s, if that costs it the majority."""
    replicas = cluster.replicas or []
    heard = sum(
        not replica.offline and (replica.active or 0) < _ELECTION_NS for replica in replicas
    )
    return len(replicas) - heard if heard + 1 <= (len(replicas) + 1) // 2 else None


async def stream_info(
    connection: Connection, stream: str, *, state: bool = False, wait: float | None = None
) -> StreamInfo:
    """The info of `stream`; a missing leader is waited for, see `with_leader`.

    Args:
        state: whether what the stream holds must be up to date, see `led_info`.

    Raises:
        StreamNotFoundError: it does not exist.
    """
    try:
        return await with_leader(
            connection,
            stream,
            lambda: led_info(connection, stream) if state else connection.js.stream_info(stream),
            wait=wait,
        )
    except NotFoundError:
        raise StreamNotFoundError(stream) from None


async def ensure_stream(
    connection: Connection, config: StreamConfig, *, create: bool, wait: float | None = None
) -> StreamInfo:
    """The stream named in `config`; it is created if it does not exist and `create` is True.

    An existing stream is left as it is, and must capture the subjects of `config`.

    Args:
        wait: how long to wait for a missing leader, in seconds; see `with_leader`.

    Raises:
        StreamNotFoundError: it does not exist and `create` is False.
        StreamMismatchError: it captures other subjects, or another stream captures these.
        StreamUnavailableError: it or its cluster has no leader.
        JetStreamUnavailableError: the server has no JetStream.
        LimitReachedError: a limit does not allow it.
    """
    wanted = list(config.subjects or [])
    info = await _find_or_create(connection, config, create=create, wait=wait)
    found = list(info.config.subjects or [])
    if not all(any(covers(have, want) for have in found) for want in wanted):
        raise _mismatch(config, found)
    return info


async def ensure_event_stream(
    connection: Connection, settings: StreamSettings, *, create: bool, wait: float | None = None
) -> StreamInfo:
    """The same for the stream of the channels, which may capture only some of them.

    Whether it captures a channel is checked when the channel is used, by `check_captured`.

    Raises:
        StreamMismatchError: it can capture no channel, or another stream captures the channels.
        StreamNotFoundError, StreamUnavailableError, JetStreamUnavailableError,
            LimitReachedError: as `ensure_stream`.
    """
    config = event_stream_config(settings)
    info = await _find_or_create(connection, config, create=create, wait=wait)
    found = connection.captured[settings.stream_name] = list(info.config.subjects or [])
    if not any(overlap(have, settings.wildcard_subject()) for have in found):
        raise _mismatch(config, found)
    return info


async def check_captured(
    connection: Connection,
    settings: StreamSettings,
    channel: str,
    *,
    again: bool = False,
    wait: float | None = None,
) -> None:
    """Check that the stream captures the subject of `channel`.

    Costs nothing where that is known. Otherwise the stream is asked, so that a subject that an
    administrator has added meanwhile counts.

    Args:
        again: whether the stream is asked in any case.

    Raises:
        ChannelNotCapturedError: it does not.
        StreamNotFoundError, StreamUnavailableError, ServerUnreachableError: that is not known.
    """
    stream, subject = settings.stream_name, settings.subject_name(channel)
    if not again and _captures(connection, stream, subject):
        return
    info = await stream_info(connection, stream, wait=wait)
    connection.captured[stream] = list(info.config.subjects or [])
    if not _captures(connection, stream, subject):
        raise ChannelNotCapturedError(channel, subject, stream, connection.captured[stream])


def _captures(connection: Connection, stream: str, subject: str) -> bool:
    return any(covers(pattern, subject) for pattern in connection.captured.get(stream, ()))


def _mismatch(config: StreamConfig, found: list[str]) -> StreamMismatchError:
    return StreamMismatchError(
        str(config.name),
        "subjects",
        list(config.subjects or []),
        found,
        "choose another 'stream_name' or 'subject_prefix', or change the stream's subjects",
    )


async def _find_or_create(
    connection: Connection, config: StreamConfig, *, create: bool, wait: float | None
) -> StreamInfo:
    name = str(config.name)
    try:
        return await stream_info(connection, name, wait=wait)
    except StreamNotFoundError:
        if not create:
            raise
    return await with_leader(connection, name, lambda: _create(connection, config), wait=wait)


async def _create(connection: Connection, config: StreamConfig) -> StreamInfo:
    try:
        info = await _add(connection, config)
    except APIError as error:
        if error.err_code == ErrorCode.STREAM_NAME_EXIST:  # another process created it meanwhile
            return await connection.js.stream_info(str(config.name))
        if error.err_code == ErrorCode.STREAM_SUBJECT_OVERLAP:
            raise await _overlapping(connection, config) from None
        raise
    _logger.info("created stream %s for %s", config.name, ", ".join(config.subjects or []))
    return info


async def update_stream(connection: Connection, config: StreamConfig) -> StreamInfo:
    """Give an existing stream the configuration `config`.

    Raises:
        StreamMismatchError: another stream captures its subjects.
    """
    try:
        info: StreamInfo = await connection.js.update_stream(config)
    except APIError as error:
        if error.err_code == ErrorCode.STREAM_SUBJECT_OVERLAP:
            raise await _overlapping(connection, config) from None
        raise
    return info


async def _overlapping(connection: Connection, config: StreamConfig) -> StreamMismatchError:
    """The error for a stream whose subjects are another one's, as the server says (10065)."""
    name, wanted = str(config.name), list(config.subjects or [])
    others: list[str] = []
    for subject in wanted:
        request = {"subject": subject}
        names = (await connection.ask_jetstream("STREAM.NAMES", request, 5)).get("streams") or []
        others += [other for other in names if other not in (name, *others)]
    hint = (
        "choose another 'subject_prefix', or another 'dlq_subject' where one of the streams holds "
        "dead letters, or change the subjects of the other stream"
    )
    if others == [dead_letter_name(name)]:
        subjects = (await connection.js.stream_info(others[0])).config.subjects or []
        if any(subject.endswith(LEGACY_DEAD_LETTERS) for subject in subjects):
            hint = "it is an older dead letter queue: start a NatsDLQ once, which moves it"
    found = f"those of stream {', '.join(others)}, which overlap"
    return StreamMismatchError(name, "subjects", wanted, found, hint)


async def _add(connection: Connection, config: StreamConfig) -> StreamInfo:
    """Create the stream, also where the only stream of the account was deleted just before.

    The server then removes the folder of all streams in the background (`stop` in its `stream.go`),
    and refuses a stream whose own folder it wants to make there at that moment.
    """
    give_up_at = time.monotonic() + _FOLDER_SECONDS
    while True:
        try:
            info: StreamInfo = await connection.js.add_stream(config)
            return info
        except APIError as error:
            if error.err_code != ErrorCode.STREAM_CREATE or time.monotonic() > give_up_at:
                raise
        await asyncio.sleep(_FOLDER_PAUSE)


async def store_in(
    connection: Connection,
    stream: str,
    subject: str,
    payload: bytes,
    headers: Mapping[str, str],
    timeout: float,
) -> PubAck:
    """Store a message as `Connection.store` does, also where `stream` was made just before.

    A cluster's servers hear of a new stream one after the other; until then nobody answers there.

    Raises:
        nats.js.errors.NoStreamResponseError: there is no such stream, or nobody answered for 5 s.
        nats.errors.Error: as `Connection.store`.
    """
    give_up_at = time.monotonic() + _UNHEARD_SECONDS
    while True:
        try:
            return await connection.store(subject, payload, headers, timeout)
        except NoStreamResponseError:
            if time.monotonic() > give_up_at or not await _exists(connection, stream):
                raise
        await asyncio.sleep(_UNHEARD_PAUSE)


async def _exists(connection: Connection, stream: str) -> bool:
    """Whether there is such a stream, as far as this connection can find out."""
    try:
        await stream_info(connection, stream)
    except (VarcoNatsError, NatsError):
        return False
    return True


async def all_consumers(connection: Connection, stream: str) -> list[ConsumerInfo]:
    """Every consumer of `stream`; the server lists a limited number at a time.

    Raises:
        nats.js.errors.NotFoundError: the stream does not exist.
        StreamUnavailableError, ServerUnreachableError: no answer; see `with_leader`.
    """
    found: list[ConsumerInfo] = []

    async def page() -> list[ConsumerInfo]:
        return await connection.js.consumers_info(stream, offset=len(found))

    while more := await with_leader(connection, stream, page):
        found += more
    return found


def receives(info: ConsumerInfo, subject: str) -> bool:
    """Whether messages on `subject` are delivered by the consumer."""
    filters = info.config.filter_subjects or [info.config.filter_subject or ">"]
    return any(covers(pattern, subject) for pattern in filters)
