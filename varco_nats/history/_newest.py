"""The newest message of each subject, for streams that hold a value for each.

Open this to see how none of them is missed while others are stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial

from nats.errors import Error as NatsError
from nats.js.api import DeliverPolicy, RetentionPolicy, StreamInfo

from varco_nats._nats.client import Connection
from varco_nats._nats.direct import Batch, StoredMessage
from varco_nats._nats.ephemeral import EphemeralConsumer
from varco_nats._nats.leader import with_leader
from varco_nats._nats.stream import stream_info
from varco_nats.history._lookup import Lookup, subject_counts
from varco_nats.history._reader import PAGE, LookupReader, Patience, StreamReader, no_consumer

_LOOKUPS_AT_ONCE = 64


async def read_newest(
    connection: Connection, info: StreamInfo, subject: str, *, headers_only: bool = False
) -> AsyncGenerator[Batch]:
    """The newest message of each subject that `subject` matches, in batches.

    They are what was newest when the stream had `info`, or something newer. Of one subject there
    may be several messages, of which that with the highest sequence is the newest.

    Args:
        info: from `stream_info`, up to date.
        headers_only: leave the payloads out where that is less work.

    Raises:
        StreamNotFoundError: the stream does not exist.
        ServerUnreachableError, StreamUnavailableError: nothing came for a minute.
        PermissionDeniedError: the login may not do this.
    """
    stream = str(info.config.name)
    patience = Patience(connection, stream)
    while info.config.retention in (None, RetentionPolicy.LIMITS):
        try:
            async with aclosing(_read(connection, info, subject, headers_only)) as batches:
                async for batch in batches:
                    patience.renew()
                    yield batch
            return
        except NatsError as error:
            if no_consumer(connection, error):
                break
            await patience.wait(error)
            info = await stream_info(connection, stream, state=True)
    direct = bool(info.config.allow_direct)
    reader = LookupReader(connection, stream, [subject], direct=direct)
    async with aclosing(reader.forwards(1, int(info.state.last_seq))) as batches:
        async for batch in batches:
            yield batch


async def _read(
    connection: Connection, info: StreamInfo, subject: str, headers_only: bool
) -> AsyncGenerator[Batch]:
    stream, last = str(info.config.name), int(info.state.last_seq)
    consumer = EphemeralConsumer(connection, stream, [subject])
    found: set[str] = set()
    newest = 0
    try:
        created = await consumer.create(
            deliver_policy=DeliverPolicy.LAST_PER_SUBJECT, headers_only=headers_only or None
        )
        if created.num_pending:
            async with aclosing(consumer.batches(last, PAGE)) as batches:
                async for batch in batches:
                    found.update(batch.subjects)
                    newest = batch.seqs[-1]
                    yield batch
        if not consumer.finished:
            raise NatsError(consumer.problem)
    finally:
        await consumer.close()
    if connection.is_clustered:  # the replica with the consumer may have been behind
        reader = StreamReader(connection, stream, [subject], headers_only=headers_only)
        async with aclosing(reader.forwards(newest + 1, last)) as batches:
            async for batch in batches:
                found.update(batch.subjects)
                yield batch
    if len(found) < (created.num_pending or 0):
        # Some got a newer message before their own was delivered, which a stream that keeps few of
        # each subject has removed then.
        counts = await subject_counts(connection, stream, subject)
        lookup = Lookup(connection, stream, direct=bool(info.config.allow_direct))
        missing = [each for each in counts if each not in found]
        for start in range(0, len(missing), _LOOKUPS_AT_ONCE):
            some = missing[start : start + _LOOKUPS_AT_ONCE]
            looked_up = await asyncio.gather(
                *(_newest_of(connection, stream, lookup, each) for each in some)
            )
            if messages := sorted(filter(None, looked_up)):
                yield Batch.of(messages)


async def _newest_of(
    connection: Connection, stream: str, lookup: Lookup, subject: str
) -> StoredMessage | None:
    get = partial(lookup.get, {"last_by_subj": subject})
    return await with_leader(connection, stream, get)
