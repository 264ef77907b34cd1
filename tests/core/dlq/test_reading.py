"""Reading stored messages by direct get."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client

from tests.conftest import MakeSettings
from tests.proxy import Proxy
from tests.waiting import until
from varco_nats._nats.client import Connection, connect
from varco_nats._nats.direct import StoredMessage, _Answer, read_batches
from varco_nats._nats.parser import take_direct
from varco_nats.config import NatsEventBusSettings
from varco_nats.server import LocalNats


async def fill(nc: Client, stream: str, gaps: bool) -> list[StoredMessage]:
    js = nc.jetstream()
    await js.add_stream(name=stream, subjects=[f"{stream}.>"], allow_direct=True)
    for number in range(300):
        headers = {"Number": str(number), "Status": "404"} if number % 2 else None
        await js.publish(f"{stream}.{number % 3}", b"%d" % number, headers=headers)
    if gaps:
        for seq in range(50, 200):
            if seq % 7:
                await js.delete_msg(stream, seq)
    return [
        StoredMessage(
            seq,
            f"{stream}.{(seq - 1) % 3}",
            0,
            b"%d" % (seq - 1),
            {"Number": str(seq - 1), "Status": "404"} if seq % 2 == 0 else None,
        )
        for seq in range(1, 301)
        if not (gaps and 50 <= seq < 200 and seq % 7)
    ]


@pytest.mark.parametrize("server_batches", [True, False])
@pytest.mark.parametrize(("gaps", "late_headers"), [(True, False), (False, True)])
async def test_stored_messages_are_read_whole_and_in_order(
    server_batches: bool,
    gaps: bool,
    late_headers: bool,
    settings: NatsEventBusSettings,
    connection: Connection,
    nc: Client,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream = settings.stream_name
    if not server_batches:  # ask as a server before 2.11 understands it
        dumps = json.dumps
        monkeypatch.setattr(
            "json.dumps",
            lambda body: dumps({k: v for k, v in body.items() if k not in ("batch", "max_bytes")}),
        )
    stored = await fill(nc, stream, gaps)

    for subject, start in [(">", 1), (f"{stream}.1", 1), (">", 120), (">", 301), ("none.>", 1)]:
        expected = [
            message
            for message in stored
            if message.seq >= start and subject in (">", message.subject)
        ]
        read = [
            message
            async for batch in read_batches(
                connection,
                stream,
                subject=subject,
                start=start,
                batch=37,
                late_headers=late_headers,
            )
            for message in batch.messages
        ]
        assert [message._replace(time_ns=0) for message in read] == expected
        assert all(message.time_ns > 1_700_000_000_000_000_000 for message in read)


@pytest.mark.parametrize("late_headers", [True, False])
async def test_headers_like_those_that_the_server_adds(
    late_headers: bool, settings: NatsEventBusSettings, connection: Connection, nc: Client
) -> None:
    js, stream = nc.jetstream(), settings.stream_name
    await js.add_stream(name=stream, subjects=[f"{stream}.>"], allow_direct=True)
    copied = {"Nats-Sequence": "70", "Nats-Subject": "elsewhere", "Number": "1"}
    for headers in (copied, {"Number": "2", "Says": "Nats-Stream: x"}, None):
        await js.publish(f"{stream}.a", b"x", headers=headers)
    reading = read_batches(connection, stream, late_headers=late_headers)
    read = [message async for batch in reading for message in batch.messages]
    assert [(message.seq, message.subject) for message in read] == [
        (seq, f"{stream}.a") for seq in (1, 2, 3)
    ]
    assert [message.headers for message in read] == [
        {"Number": "1"},
        {"Number": "2", "Says": "Nats-Stream: x"},
        None,
    ]


async def test_reading_goes_on_after_a_server_restart(make_settings: MakeSettings) -> None:
    with LocalNats() as server:
        settings = make_settings(servers=server.url)
        reader = await connect(settings, name="reader")
        stored = await fill(reader.nc, settings.stream_name, gaps=False)
        read: list[int] = []
        async for batch in read_batches(
            reader, settings.stream_name, batch=10, timeout=1, attempts=20
        ):
            read += [message.seq for message in batch.messages]
            if len(read) == 100:
                server.kill()
                await asyncio.to_thread(server.restart)
        await reader.close()
    assert read == [message.seq for message in stored]


async def test_reading_goes_on_when_the_connection_is_cut_in_the_middle_of_a_batch(
    server: LocalNats, settings: NatsEventBusSettings, nc: Client
) -> None:
    js, stream = nc.jetstream(), settings.stream_name
    await js.add_stream(name=stream, subjects=[f"{stream}.>"], allow_direct=True)
    await asyncio.gather(*(js.publish(f"{stream}.x", b"." * 8000) for _ in range(1000)))
    async with Proxy(server.port) as proxy:
        through = settings.model_copy(update={"servers": proxy.url_for(server.url)})
        reader = await connect(through, name="reader")

        async def cut() -> None:
            await until(lambda: reader.nc.stats["in_bytes"] > 1_000_000, every=0)
            proxy.disconnect()

        cutting = asyncio.create_task(cut())
        reading = read_batches(reader, stream, timeout=1, attempts=20)
        read = [message.seq async for batch in reading for message in batch.messages]
        await cutting
        await reader.close()
        assert proxy.connections > 1
    assert read == list(range(1, 1001))


OWN = st.sampled_from(
    ["A", "Nats-Msg-Id", "Nats-Subject", "Nats-Sequence", "Nats-Stream", "Nats-Num-Pending", "b ad"]
)
HEADERS = st.dictionaries(OWN, st.sampled_from(["", "1", "x: y", "Nats-Stream: a", "é"]))
PAYLOADS = st.sampled_from([b"", b"{}", b"\r\n", b"HMSG inbox 1 10 10\r\n", b"x" * 300])


@given(
    st.lists(st.tuples(HEADERS, PAYLOADS, st.sampled_from(["", ".5", ".123456789"])), max_size=20),
    st.lists(st.integers(1, 500), max_size=20),
)
def test_messages_taken_many_at_once_are_those_that_are_taken_one_by_one(
    messages: list[tuple[dict[str, str], bytes, str]], cuts: list[int]
) -> None:
    wire = b""
    for seq, (own, payload, fraction) in enumerate(messages, 1):
        added = {
            "Nats-Stream": "s",
            "Nats-Subject": f"s.{seq % 3}",
            "Nats-Sequence": str(seq),
            "Nats-Time-Stamp": f"2026-11-27T10:00:{seq:02}{fraction}Z",
            "Nats-Num-Pending": str(len(messages) - seq),
            "Nats-Last-Sequence": str(seq - 1),
        }
        lines = [f"{name}: {value}\r\n" for name, value in [*own.items(), *added.items()]]
        head = f"NATS/1.0\r\n{''.join(lines)}\r\n".encode()
        size = len(head) + len(payload)
        wire += b"HMSG inbox 1 %d %d\r\n%b%b\r\n" % (len(head), size, head, payload)
    end = b"NATS/1.0 204 EOB\r\nNats-Num-Pending: 0\r\n\r\n"
    wire += b"HMSG inbox 1 %d %d\r\n%b\r\n" % (len(end), len(end), end)
    one_by_one, together = _Answer(), _Answer(line=b"HMSG inbox 1 ")
    assert take_direct(wire, {1: one_by_one.take}, {}).end == len(wire)
    rest = b""
    for size in [*cuts, len(wire)]:
        rest, wire = rest + wire[:size], wire[size:]
        taken = take_direct(rest, {1: together.take}, {1: together.take_run})
        rest = rest[taken.end :]
    assert not rest
    assert together.messages == one_by_one.messages
    assert (together.pending, together.done.is_set()) == (one_by_one.pending, True)


async def test_reading_that_is_left_early_leaves_nothing_behind(
    settings: NatsEventBusSettings, nc: Client, connection: Connection
) -> None:
    js, stream = nc.jetstream(), settings.stream_name
    await js.add_stream(name=stream, subjects=[f"{stream}.>"], allow_direct=True)
    await asyncio.gather(*(js.publish(f"{stream}.x", b".") for _ in range(1200)))
    subscriptions, tasks = len(connection.nc._subs), asyncio.all_tasks()
    async with aclosing(read_batches(connection, stream, batch=500, ahead=True)) as reading:
        async for batch in reading:
            assert len(batch.messages) == 500
            break
    assert len(connection.nc._subs) == subscriptions
    assert asyncio.all_tasks() == tasks
    reading = read_batches(connection, stream, batch=500, ahead=True)
    assert [len(batch.messages) async for batch in reading] == [500, 500, 200]
