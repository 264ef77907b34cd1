"""A server as strangers fill it, by plain nats-py: nothing in it was made by varco."""

from __future__ import annotations

import asyncio
import json
import random
import struct
import zlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

from nats.aio.client import Client
from nats.js.api import KeyValueConfig, ObjectMeta, ObjectStoreConfig, StreamConfig
from nats.js.errors import KeyNotFoundError

SITES = ("rome", "oslo", "lima")
BLOB_BYTES = 1_000_000
DELETED_KEY, PURGED_KEY = "flags.old", "flags.tmp"
type Message = tuple[str, bytes, Mapping[str, str] | None]


async def fill(
    nc: Client, *, devices: int = 150, readings: int = 3, topics: int = 2_000, suffix: str = ""
) -> None:
    """Make the streams TELEMETRY, TOPICS and FILES, the bucket `config` and the store `reports`.

    Args:
        devices: each has two subjects, `dev.SITE.NUMBER.temp` (JSON) and `….gps` (JSON, nested).
        readings: messages on each of them.
        topics: subjects `topic.A.B` of the stream TOPICS, with one message each, as text.
        suffix: follows each of these names and first subject tokens, as many share a server.
    """
    js = nc.jetstream()
    for name, subject in (("TELEMETRY", "dev"), ("TOPICS", "topic"), ("FILES", "file")):
        config = StreamConfig(name=f"{name}{suffix}", subjects=[f"{subject}{suffix}.>"])
        await js.add_stream(config)
    await publish(nc, _telemetry(devices, readings, suffix))
    await publish(nc, _topics(topics, suffix))
    await publish(nc, _files(suffix))
    await _fill_bucket(nc, f"config{suffix}")
    store = await js.create_object_store(
        f"reports{suffix}", ObjectStoreConfig(description="monthly")
    )
    await store.put("2026-01.csv", b"site,total\nrome,12\n", ObjectMeta(description="January"))
    await store.put("logo.png", picture())
    await store.put("dump.bin", bytes(range(256)) * 2_000)
    await store.put("gone.txt", b"gone")
    await store.delete("gone.txt")


async def publish(nc: Client, messages: Iterable[Message]) -> None:
    """Store these, with at most 500 answers outstanding."""
    js = nc.jetstream(publish_async_max_pending=500)
    acks = [
        await js.publish_async(subject, data, headers=dict(headers) if headers else None)
        for subject, data, headers in messages
    ]
    await asyncio.gather(*acks)


async def chatter(nc: Client, count: int = 10, *, subject: str = "core.status") -> None:
    """Traffic that no stream keeps."""
    for number in range(count):
        await nc.publish(f"{subject}.{number % 2}", json.dumps({"n": number}).encode())
    await nc.flush()


def _telemetry(devices: int, readings: int, suffix: str) -> Iterable[Message]:
    rng = random.Random(7)
    start = datetime(2026, 5, 4, 10, tzinfo=UTC)
    for round_ in range(readings):
        for device in range(devices):
            place = f"dev{suffix}.{SITES[device % 3]}.{device:03}"
            ts = start + timedelta(seconds=round_ * 60 + device / 10)
            reading = {
                "device": f"{device:03}",
                "value": round(rng.gauss(20, 4), 2),
                "unit": "C",
                "ts": ts.isoformat(),
                "battery": None if device % 7 else rng.randint(1, 100),
            }
            headers = {"Content-Type": "application/json", "Site": SITES[device % 3]}
            yield f"{place}.temp", json.dumps(reading).encode(), headers
            fix = {
                "device": f"{device:03}",
                "position": {"lat": rng.uniform(-90, 90), "lon": rng.uniform(-180, 180)},
                "satellites": [rng.randint(1, 32) for _ in range(6)],
                "ts": int(ts.timestamp() * 1000),
            }
            yield f"{place}.gps", json.dumps(fix).encode(), None


def _topics(topics: int, suffix: str) -> Iterable[Message]:
    for number in range(topics):
        yield f"topic{suffix}.{number % 40}.{number // 40}", f"text number {number}".encode(), None


def _files(suffix: str) -> Iterable[Message]:
    """What is not JSON: a picture, a megabyte of nothing readable, text, nothing at all."""
    yield f"file{suffix}.picture", picture(), {"Content-Type": "image/png"}
    yield f"file{suffix}.blob", random.Random(7).randbytes(BLOB_BYTES), None
    yield f"file{suffix}.log", "line one\nline two: größer\n".encode() * 40, None
    yield f"file{suffix}.empty", b"", {"Note": "no payload"}
    yield f"file{suffix}.list", json.dumps(list(range(500))).encode(), None


async def _fill_bucket(nc: Client, bucket: str) -> None:
    kv = await nc.jetstream().create_key_value(KeyValueConfig(bucket=bucket, history=5))
    for version in range(3):
        await kv.put("limits.orders", json.dumps({"max": 100 + version}).encode())
    await kv.put("limits.refunds", b'{"max": 5}')
    await kv.put("motto", "größer is better".encode())
    await kv.put("key", bytes(range(32)))
    await kv.put(DELETED_KEY, b"true")
    await kv.delete(DELETED_KEY)
    await kv.put(PURGED_KEY, b"true")
    await kv.purge(PURGED_KEY)
    for gone in (DELETED_KEY, PURGED_KEY):
        try:
            await kv.get(gone)
        except KeyNotFoundError:
            continue
        raise AssertionError(f"{gone} is still there")


def picture(size: int = 16) -> bytes:
    """A PNG image, half red and half blue."""
    line = b"\0" + b"\xff\0\0" * (size // 2) + b"\0\0\xff" * (size - size // 2)
    header = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(line * size)), (b"IEND", b""))
    )
