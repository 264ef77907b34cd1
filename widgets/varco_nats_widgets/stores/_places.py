"""The key-value buckets and the object stores of a server: finding one, and what each holds."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from typing import Any

import pandas as pd

from varco_nats._nats.client import Connection
from varco_nats._nats.direct import StoredMessage, time_ns
from varco_nats._nats.stream import stream_info
from varco_nats.errors import StreamNotFoundError, UnknownBucketError
from varco_nats.history._newest import read_newest
from varco_nats_widgets._session.buckets import KEY_VALUES, Bucket, bucket_of, stream_name
from varco_nats_widgets._session.facts import Facts
from varco_nats_widgets.stores._entries import PUT, operation_of
from varco_nats_widgets.stores._object_info import ObjectInfo

_AT_ONCE = 4
_MAX_COUNTED = 100_000  # keys or objects of one bucket

_LIMITED: dict[str, Any] = {
    "values": "int64",
    "bytes": "int64",
    "history": "Int64",
    "ttl": "timedelta64[ns]",
    "replicas": "int64",
    "storage": "str",
    "description": "str",
    "copy_of": "str",
    "last_change": "datetime64[ns, UTC]",
}


async def find(connection: Connection, kind: str, name: str) -> tuple[Bucket, dict[str, Any]]:
    """The bucket of that name, and the info of its stream.

    Raises:
        UnknownBucketError: there is none; names those there are.
    """
    facts, found = Facts(connection), ""
    stream = stream_name(kind, name)
    if stream is not None:
        try:
            info = await facts.stream(stream)
        except StreamNotFoundError:
            pass
        else:
            if (bucket := bucket_of(info["config"])) is not None:
                return bucket, info
            found = f"stream {stream!r} has other subjects; lab.frame(stream={stream!r}) reads it"
    infos = await facts.streams()
    known = [bucket.name for bucket, _ in _buckets(infos, kind)]
    raise UnknownBucketError(kind, name, known, found)


async def newest_by_subject(
    connection: Connection, bucket: Bucket, pattern: str, *, headers_only: bool = False
) -> tuple[dict[str, StoredMessage], int]:
    """The newest message of each subject, and the sequence up to which that is so at least.

    Args:
        pattern: of subjects.
    """
    info = await stream_info(connection, bucket.stream, state=True)
    found: dict[str, StoredMessage] = {}
    reading = read_newest(connection, info, pattern, headers_only=headers_only)
    async with aclosing(reading) as batches:
        async for batch in batches:
            for message in batch:
                before = found.get(message.subject)
                if before is None or before.seq < message.seq:
                    found[message.subject] = message
    return found, int(info.state.last_seq)


async def buckets_frame(connection: Connection, kind: str) -> pd.DataFrame:
    """One row for each bucket of a kind; `Lab.buckets` and `Lab.object_stores` have the columns."""
    found = _buckets(await Facts(connection).streams(), kind)
    window = asyncio.Semaphore(_AT_ONCE)

    async def count(bucket: Bucket, info: Mapping[str, Any]) -> int | None:
        async with window:
            return await _counted(connection, bucket, info)

    counts = await asyncio.gather(*(count(bucket, info) for bucket, info in found))
    if kind == KEY_VALUES:
        columns, index = {"keys": "Int64", **_LIMITED}, "bucket"
    else:
        columns, index = {"objects": "Int64", **_LIMITED}, "store"
        del columns["values"], columns["history"]
    rows = [
        {next(iter(columns)): counted, **_facts_of(info)}
        for counted, (_, info) in zip(counts, found, strict=True)
    ]
    names = pd.Index([bucket.name for bucket, _ in found], name=index, dtype="str")
    made = {
        name: pd.Series([row[name] for row in rows], names, dtype)
        for name, dtype in columns.items()
    }
    return pd.DataFrame(made, index=names)


def _buckets(infos: list[dict[str, Any]], kind: str) -> list[tuple[Bucket, dict[str, Any]]]:
    pairs = [(bucket_of(info["config"]), info) for info in infos]
    return [(bucket, info) for bucket, info in pairs if bucket is not None and bucket.kind == kind]


async def _counted(connection: Connection, bucket: Bucket, info: Mapping[str, Any]) -> int | None:
    """How many keys or objects there are, without deleted ones; None where there are too many."""
    is_kv = bucket.kind == KEY_VALUES
    if is_kv and int(info["state"].get("num_subjects", 0)) > _MAX_COUNTED:
        return None
    pattern = f"{bucket.prefix}{'>' if is_kv else 'M.>'}"
    try:
        found, _ = await newest_by_subject(connection, bucket, pattern, headers_only=is_kv)
    except StreamNotFoundError:  # deleted meanwhile
        return 0
    if is_kv:
        return sum(operation_of(message.headers) == PUT for message in found.values())
    objects = map(ObjectInfo.of, found.values())
    return sum(each is not None and not each.deleted for each in objects)


def _facts_of(info: Mapping[str, Any]) -> dict[str, Any]:
    config, state = info["config"], info["state"]
    sources = [config["mirror"]] if config.get("mirror") else config.get("sources") or []
    history = int(config.get("max_msgs_per_subject") or -1)
    return {
        "values": int(state["messages"]),
        "bytes": int(state["bytes"]),
        "history": history if history > 0 else None,
        "ttl": pd.Timedelta(age, "ns") if (age := config.get("max_age")) else None,
        "replicas": int(config.get("num_replicas", 1)),
        "storage": config.get("storage", "file"),
        "description": config.get("description") or None,
        "copy_of": ", ".join(str(source["name"]) for source in sources) or None,
        "last_change": (
            pd.Timestamp(time_ns(state["last_ts"]), tz="UTC") if state["messages"] else None
        ),
    }
