"""Finding an object and copying its bytes, checked, in bounded memory; on the loop thread."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Coroutine, Sequence
from contextlib import aclosing
from typing import IO, Any

from varco_nats._nats.stream import stream_info
from varco_nats.errors import DamagedObjectError, UnknownEntryError
from varco_nats.history._lookup import Lookup
from varco_nats_widgets._session.buckets import OBJECTS, Bucket
from varco_nats_widgets._session.progress import Progress
from varco_nats_widgets._session.session import Session
from varco_nats_widgets._session.stream_browser import LabHistory
from varco_nats_widgets.stores._object_info import ObjectInfo, name_token
from varco_nats_widgets.stores._places import find

_AT_ONCE = 4 * 1024 * 1024  # bytes of chunks that are read together
_MAX_LINKS = 8
_ATTEMPTS = 5  # where the object is replaced while it is read

type Names = Callable[[], Coroutine[Any, Any, list[str]]]


async def copy_object(
    session: Session,
    bucket: Bucket,
    name: str,
    names: Names,
    progress: Progress,
    sink_for: Callable[[int], IO[bytes]],
) -> IO[bytes]:
    """Write an object's bytes into a file; a link is followed.

    Args:
        names: gives those of the objects there are, for the error.
        sink_for: gives the file, which is empty, for a number of bytes.

    Returns:
        The file, at its beginning.

    Raises:
        UnknownEntryError: there is no such object.
        DamagedObjectError: its bytes are not those that were put; the file is closed.
    """
    place, info = await _followed(session, bucket, name, names)
    sink = sink_for(info.size)
    try:
        for attempt in range(1, _ATTEMPTS + 1):
            progress.done, progress.total = 0, info.size
            problem = await _copy(session, place, info, sink, progress)
            sink.seek(0)
            if problem is None:
                return sink
            before = info
            place, info = await _followed(session, bucket, name, names)
            if info.nuid == before.nuid or attempt == _ATTEMPTS:
                raise DamagedObjectError(place.name, info.name, problem)
            sink.truncate()
    except BaseException:
        sink.close()
        raise
    return sink


async def find_object(session: Session, bucket: Bucket, name: str) -> ObjectInfo | None:
    """What the store says of an object, also of one that was deleted; None if there is none."""
    if not isinstance(name, str) or not name:
        return None
    connection, stream = session.connection, bucket.stream
    config = (await stream_info(connection, stream)).config
    lookup = Lookup(connection, stream, direct=bool(config.allow_direct))
    message = await lookup.get({"last_by_subj": f"{bucket.prefix}M.{name_token(name)}"})
    return None if message is None else ObjectInfo.of(message)


async def _followed(
    session: Session, bucket: Bucket, name: str, names: Names
) -> tuple[Bucket, ObjectInfo]:
    """The object, or the one that the link of that name is to, and where it is."""
    place, wanted = bucket, name
    for _ in range(_MAX_LINKS):
        info = await find_object(session, place, wanted)
        if info is None or info.deleted:
            where = "" if (place, wanted) == (bucket, name) else f"{place.name}/{wanted}"
            found = ""
            if where:
                found = f"it is a link to {where!r}, which there is not"
            elif info is not None:
                found = f"it was deleted at {info.modified:%Y-%m-%d %H:%M:%S} UTC"
            raise UnknownEntryError(bucket.name, name, await names(), "object", found)
        if info.link is None:
            return place, info
        if not info.link.name:
            found = f"it is a link to a whole store; see lab.objects({info.link.store!r})"
            raise UnknownEntryError(bucket.name, name, (), "object", found)
        place, _ = await find(session.connection, OBJECTS, info.link.store)
        wanted = info.link.name
    raise UnknownEntryError(bucket.name, name, (), "object", "its links lead nowhere")


async def _copy(
    session: Session, place: Bucket, info: ObjectInfo, sink: IO[bytes], progress: Progress
) -> str | None:
    """Write the chunks; what is wrong with them, None if they are as the store says."""
    digest, size = hashlib.sha256(), 0

    def write(payloads: Sequence[bytes]) -> None:
        for payload in payloads:
            digest.update(payload)
            sink.write(payload)

    history = LabHistory(session.settings, session.connection, place.stream)
    try:
        if info.size:
            selection = await history.select([f"{place.prefix}C.{info.nuid}"])
            page = max(_AT_ONCE * info.chunks // info.size, 1)
            async with aclosing(history.batches(selection, page=page)) as batches:
                async for batch in batches:
                    await asyncio.to_thread(write, batch.payloads)
                    size += sum(map(len, batch.payloads))
                    progress.done = size
    finally:
        await history.stop()
    if size != info.size:
        return f"it has {size:,} of {info.size:,} bytes"
    if info.sha256 is not None and info.sha256 != digest.digest():
        return "its SHA-256 digest is another"
    return None
