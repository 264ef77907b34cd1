"""Messages that a consumer gave up, by the server's advisories, and the stream that keeps these.

A message is given up when it reaches `max_deliver` on the server (docs.nats.io: max-deliver), or
when this package's bus terminates it because there is no dead letter queue.
"""

from __future__ import annotations

from contextlib import aclosing, suppress
from datetime import UTC, datetime
from functools import partial

from nats.js.api import StorageType, StreamConfig, StreamInfo
from nats.js.errors import NotFoundError

from varco_nats._nats.advisories import (
    GIVEN_UP,
    Advisory,
    AdvisoryKind,
    advisory_subject,
    parse_advisory,
)
from varco_nats._nats.client import Connection
from varco_nats._nats.direct import moment
from varco_nats._nats.leader import with_leader
from varco_nats._nats.stream import covers, ensure_stream
from varco_nats.config import NatsEventBusSettings
from varco_nats.history._lookup import Lookup, read_whole, warn_unread
from varco_nats.history._reader import LookupReader
from varco_nats.subjects import exhausted_name

_KINDS = (AdvisoryKind.MAX_DELIVERIES, AdvisoryKind.TERMINATED)
_MAX_KEPT = 100_000
_KEPT_SECONDS = 30 * 86_400


def parse_given_up(data: bytes) -> Advisory | None:
    """The advisory, if it says that a message was given up; None if it says something else.

    Its `reason` is None for a message that reached `max_deliver`, else the error's type.

    Raises:
        ValueError: it is not an advisory.
    """
    advisory = parse_advisory(data)
    if advisory is None or advisory.kind is AdvisoryKind.MAX_DELIVERIES:
        return advisory
    reason = advisory.reason or ""
    if advisory.kind is not AdvisoryKind.TERMINATED or not reason.startswith(GIVEN_UP):
        return None  # it is a dead letter, or was not meant to be handled
    return advisory._replace(reason=reason.removeprefix(GIVEN_UP).removeprefix(": "))


def given_up_subjects(stream: str) -> list[str]:
    """The subjects of the advisories about messages of `stream` that may have been given up."""
    return [advisory_subject(kind, stream) for kind in _KINDS]


async def capture(connection: Connection, settings: NatsEventBusSettings) -> None:
    """Create a stream that keeps the advisories from now on; see `Replayer.capture_exhausted`."""
    keeping = await _keeping(connection, settings.stream_name)
    missing = [
        subject for subject in given_up_subjects(settings.stream_name) if subject not in keeping
    ]
    if not missing:
        return
    config = StreamConfig(
        name=exhausted_name(settings.stream_name),
        description="messages that consumers gave up, by the server's advisories",
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
    stream = exhausted_name(settings.stream_name)
    with suppress(NotFoundError):
        await with_leader(connection, stream, lambda: connection.js.delete_stream(stream))


async def kept_advisories(
    connection: Connection, stream: str
) -> tuple[dict[tuple[str, int], Advisory], datetime | None]:
    """The last advisory for each consumer and sequence, and since when none is missing.

    The time is None where not every kind of advisory is kept.
    """
    kept: dict[tuple[str, int], Advisory] = {}
    keeping = await _keeping(connection, stream)
    since: datetime | None = None
    for subject, info in keeping.items():
        name, direct = str(info.config.name), bool(info.config.allow_direct)
        complete = info.created or datetime.now(UTC)
        if info.state.first_seq > 1:  # the stream dropped the oldest
            oldest = {"seq": 1, "next_by_subj": ">"}
            first = await Lookup(connection, name, direct=direct).get(oldest)
            complete = datetime.now(UTC) if first is None else moment(first.time_ns)
        reader = LookupReader(connection, name, [subject], direct=direct)
        reading = read_whole(connection, name, [subject], reader.forwards)
        async with aclosing(reading) as batches:
            async for batch in batches:
                for message in batch:
                    try:
                        advisory = parse_given_up(message.data)
                    except ValueError as error:
                        warn_unread(name, message, error)
                        continue
                    if advisory is not None:
                        kept[advisory.consumer, advisory.seq] = advisory
        since = complete if since is None else max(since, complete)
    return kept, since if len(keeping) == len(_KINDS) else None


async def _keeping(connection: Connection, stream: str) -> dict[str, StreamInfo]:
    """The streams that keep the advisories about `stream`, by the subject that they capture."""
    found = {}
    for subject in given_up_subjects(stream):
        with suppress(NotFoundError):
            info = await with_leader(connection, None, partial(_capturing, connection, subject))
            if any(covers(pattern, subject) for pattern in info.config.subjects or []):
                found[subject] = info
    return found


async def _capturing(connection: Connection, subject: str) -> StreamInfo:
    name = await connection.js.find_stream_name_by_subject(subject)
    return await connection.js.stream_info(name)
