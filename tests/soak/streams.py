"""What the servers hold at the end, read with plain nats-py, in a cluster from each replica."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, StreamInfo
from nats.js.errors import NotFoundError

_PAGE = 500
_SYNC_SECONDS = 60
_TRIES = 200  # of a consumer on one server of three, where each try is a throw of dice


@dataclass(frozen=True, slots=True)
class Stored:
    """One message of an event stream."""

    channel: str
    event: str
    fails: bool = False
    """Whether its handlers always fail."""
    replay_of: str | None = None


@dataclass
class Contents:
    """One event stream and its dead letter queue."""

    messages: dict[int, Stored] = field(default_factory=dict)
    """By sequence, as the first replica has them."""
    differences: list[str] = field(default_factory=list)
    """What other replicas have otherwise, in words."""
    missing: dict[int, list[str]] = field(default_factory=dict)
    """Sequences that some replica does not have, and the servers that do not."""
    dead: dict[str, str] = field(default_factory=dict)
    """Of each dead letter in the queue, by its id: the event."""
    replicas: int = 0
    """How many were read."""


async def read(client: Client, stream: str) -> Contents:
    """Read `stream`, whose name its subjects begin with, and its dead letter queue.

    Raises:
        AssertionError: its replicas are not in sync, or one of them cannot be read.
    """
    js, contents = client.jetstream(), Contents()
    info = await in_sync(js, stream)
    servers: list[str | None] = [None]
    if info.cluster is not None and info.cluster.replicas:
        replicas = [str(replica.name) for replica in info.cluster.replicas]
        servers = [*sorted([str(info.cluster.leader), *replicas])]
    for server in servers:
        read = partial(_read_from, js, stream, server)
        found = await _once_settled(f"{stream} on {server}", read)
        contents.replicas += 1
        if contents.replicas == 1:
            contents.messages = found
        for seq in contents.messages.keys() | found.keys():
            here, there = contents.messages.get(seq), found.get(seq)
            if here == there:
                continue
            contents.differences.append(f"{seq} is {here} on {servers[0]}, {there} on {server}")
            if here is None or there is None:
                absent = servers[0] if here is None else server
                contents.missing.setdefault(seq, []).append(str(absent))
    queue = f"{stream}-dlq"
    contents.dead = await _once_settled(queue, partial(_dead_letters, js, queue))
    return contents


async def in_sync(js: JetStreamContext, stream: str) -> StreamInfo:
    """The stream's information, once all replicas have what the leader has."""
    deadline = time.monotonic() + _SYNC_SECONDS
    problem: object = None
    while True:
        try:
            info = await js.stream_info(stream)
            replicas = (info.cluster and info.cluster.replicas) or []
            if all(replica.current and not replica.lag for replica in replicas):
                return info
            problem = replicas
        except (NatsError, TimeoutError) as error:
            problem = error
        assert time.monotonic() < deadline, f"{stream} is not in sync: {problem!r}"
        await asyncio.sleep(0.2)


async def _once_settled[T](what: str, read: Callable[[], Awaitable[T]]) -> T:
    """What `read` gives, tried again while the servers settle down."""
    deadline = time.monotonic() + _SYNC_SECONDS
    while True:
        try:
            return await read()
        except (NatsError, TimeoutError) as error:
            problem = error
        assert time.monotonic() < deadline, f"{what} cannot be read: {problem!r}"
        await asyncio.sleep(0.5)


async def _read_from(js: JetStreamContext, stream: str, server: str | None) -> dict[int, Stored]:
    """The messages as one server has them: a consumer without replicas reads where it lives."""
    config = ConsumerConfig(
        ack_policy=AckPolicy.NONE, num_replicas=1, mem_storage=True, inactive_threshold=60
    )
    for _ in range(_TRIES):
        consumer = await js.add_consumer(stream, config)
        if server is None or (consumer.cluster and consumer.cluster.leader == server):
            break
        await js.delete_consumer(stream, consumer.name)
    else:
        raise AssertionError(f"no consumer of {stream} came to be on {server}")
    found: dict[int, Stored] = {}
    left = int(consumer.num_pending or 0)
    reading = await js.pull_subscribe_bind(consumer.name, stream)
    while left > 0:
        for message in await reading.fetch(min(left, _PAGE), timeout=30):
            found[message.metadata.sequence.stream] = _stored(
                message.subject, message.data, message.headers, stream
            )
            left -= 1
    await reading.unsubscribe()
    await js.delete_consumer(stream, consumer.name)
    return found


def _stored(subject: str, data: bytes, headers: dict[str, str] | None, stream: str) -> Stored:
    fields = json.loads(data)
    replay_of = (headers or {}).get("Varco-Replay-Of")
    channel = subject.removeprefix(f"{stream}.")
    return Stored(channel, fields["event_id"], fields["fault"] == "always", replay_of)


async def _dead_letters(js: JetStreamContext, stream: str) -> dict[str, str]:
    found: dict[str, str] = {}
    try:
        info = await js.stream_info(stream)
    except NotFoundError:
        return found
    seq = info.state.first_seq
    while info.state.messages and seq <= info.state.last_seq:
        try:
            message = await js.get_msg(stream, seq, next=True, subject=">")
        except NotFoundError:
            break
        entry_id = str(message.subject).removeprefix(f"{stream}.").partition(".")[0]
        entry = json.loads(message.data or b"")
        found[entry_id] = json.loads(entry["event_payload"] or "{}").get("event_id", "")
        seq = int(message.seq or seq) + 1
    return found
