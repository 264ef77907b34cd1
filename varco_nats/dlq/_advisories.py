"""What the server tells once of a message that a consumer gave up, and the stream that keeps it.

Of one that reached `max_deliver` on the server, and of one that the bus terminated (docs.nats.io:
max-deliver, terminated).
"""

from __future__ import annotations

import json
from contextlib import aclosing, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import NamedTuple

from nats.js.api import StorageType, StreamConfig, StreamInfo
from nats.js.errors import NotFoundError

from varco_nats._nats.client import Connection
from varco_nats._nats.leader import with_leader
from varco_nats._nats.stream import covers, ensure_stream
from varco_nats.config import NatsEventBusSettings, StreamSettings
from varco_nats.dlq._codec import GIVEN_UP
from varco_nats.history._lookup import Lookup, read_whole
from varco_nats.history._lookup_reader import LookupReader
from varco_nats.history._unread import tell_unread

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ADVISORIES = "$JS.EVENT.ADVISORY.CONSUMER"
_KINDS = ("MAX_DELIVERIES", "MSG_TERMINATED")
_MAX_KEPT = 100_000
_KEPT_SECONDS = 30 * 86_400
_END = 1 << 63
_FIRST = {"seq": 1, "next_by_subj": ">"}


class Advisory(NamedTuple):
    """What the server said of a message that was given up."""

    consumer: str
    seq: int
    deliveries: int
    time: datetime
    reason: str | None
    """None if it reached `max_deliver` on the server."""


def parse_advisory(data: bytes) -> Advisory | None:
    """What an advisory says; None if it is of a message that was not given up.

    Raises:
        ValueError: it is no advisory; anybody may publish anything there.
    """
    try:
        said = json.loads(data)
        reason = None
        if str(said["type"]).endswith(".terminated"):
            reason = str(said.get("reason", ""))
            if not reason.startswith(GIVEN_UP):  # dead-lettered, or not meant to be handled
                return None
            reason = reason.removeprefix(GIVEN_UP).removeprefix(": ")
        consumer, seq, deliveries = str(said["consumer"]), said["stream_seq"], said["deliveries"]
        time = datetime.fromisoformat(said["timestamp"])
        f"{consumer}{reason}".encode()  # half a surrogate pair cannot go on
    except Exception as error:
        raise ValueError(f"no advisory: {type(error).__name__}") from None
    numbers = type(seq) is int and type(deliveries) is int
    if not numbers or not (0 < seq < _END and 0 <= deliveries < _END) or time.tzinfo is None:
        raise ValueError("no advisory: its numbers or its time")
    return Advisory(consumer, seq, deliveries, time, reason)


def advisory_subjects(stream: str) -> list[str]:
    """Under which the server tells of the messages that consumers of `stream` give up."""
    return [f"{_ADVISORIES}.{kind}.{stream}.*" for kind in _KINDS]


async def capture(connection: Connection, settings: NatsEventBusSettings) -> None:
    """Have a stream keep the advisories from now on; see `Replayer.capture_exhausted`."""
    keeping = await _keeping(connection, settings.stream_name)
    missing = [one for one in advisory_subjects(settings.stream_name) if one not in keeping]
    if not missing:
        return
    config = StreamConfig(
        name=_own_stream(settings),
        description="messages that consumers gave up, as the server told",
        subjects=missing,
        storage=StorageType.FILE,
        num_replicas=settings.stream_replicas,
        max_msgs=_MAX_KEPT,
        max_age=_KEPT_SECONDS,
        allow_direct=True,
    )
    await ensure_stream(connection, config, create=True)


async def stop_capture(connection: Connection, settings: NatsEventBusSettings) -> None:
    """Delete that stream, if it is there."""
    stream = _own_stream(settings)
    with suppress(NotFoundError):
        await with_leader(connection, stream, lambda: connection.js.delete_stream(stream))


async def kept_advisories(
    connection: Connection, stream: str
) -> tuple[dict[tuple[str, int], Advisory], datetime | None]:
    """The last advisory of each consumer and message, and from when on none is missing."""
    kept: dict[tuple[str, int], Advisory] = {}
    keeping = await _keeping(connection, stream)
    since: datetime | None = None
    for subject, info in keeping.items():
        name, direct = str(info.config.name), bool(info.config.allow_direct)
        complete = info.created or datetime.now(UTC)
        if info.state.first_seq > 1:  # the oldest fell out
            first = await Lookup(connection, name, direct=direct).get(_FIRST)
            complete = datetime.now(UTC) if first is None else _moment(first.time_ns)
        reader = LookupReader(connection, name, [subject], direct=direct)
        reading = read_whole(connection, name, [subject], reader.forwards)
        async with aclosing(reading) as batches:
            async for batch in batches:
                for message in batch:
                    try:
                        advisory = parse_advisory(message.data)
                    except ValueError as error:
                        tell_unread(name, message, error)
                        continue
                    if advisory is not None:
                        kept[advisory.consumer, advisory.seq] = advisory
        since = complete if since is None else max(since, complete)
    return kept, since if len(keeping) == len(_KINDS) else None


async def _keeping(connection: Connection, stream: str) -> dict[str, StreamInfo]:
    """The streams that keep the advisories about `stream`, by their subjects."""
    found = {}
    for subject in advisory_subjects(stream):
        with suppress(NotFoundError):
            info = await with_leader(connection, None, partial(_capturing, connection, subject))
            if any(covers(one, subject) for one in info.config.subjects or []):
                found[subject] = info
    return found


async def _capturing(connection: Connection, subject: str) -> StreamInfo:
    name = await connection.js.find_stream_name_by_subject(subject)
    return await connection.js.stream_info(name)


def _own_stream(settings: StreamSettings) -> str:
    return f"{settings.stream_name}-exhausted"


def _moment(time_ns: int) -> datetime:
    return _EPOCH + timedelta(microseconds=time_ns // 1000)
