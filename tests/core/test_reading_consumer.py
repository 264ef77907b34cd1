"""Reading consumers take many messages at once, and give what they give message by message."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from itertools import cycle
from typing import Any

import pytest

from tests.conftest import MakeSettings
from tests.events import OrderPlaced
from varco_nats._nats.client import Connection, NatsClient
from varco_nats._nats.delivery import ack_fields
from varco_nats._nats.ephemeral import EphemeralConsumer
from varco_nats._nats.reading_consumer import Run, RunParser
from varco_nats._nats.tail_consumer import TailConsumer
from varco_nats.bus import NatsEventBus
from varco_nats.history import Batch, History, StoredMessage
from varco_nats.history._reader import StreamReader

SID = 7
SUBJECTS = ["varco.orders", "varco.größe", "varco." + "x" * 300]
PAYLOADS = [
    b"",
    b"{}",
    b'{"id": 7}',
    b"\r\n",
    b"a\r\nMSG varco.orders 7 $JS.ACK.s.c.1.1.1.1.0 2\r\nno\r\n",
    b"\r",
    b" \x00\xff",
    b"x" * 3000,
]
HEADERS = [
    b"NATS/1.0\r\nTrace: 7\r\n\r\n",
    b"NATS/1.0\r\nA: 1\r\nA: 2\r\nB: \xff\r\n\r\n",
    b"NATS/1.0\r\n\r\n",
    b"NATS/1.0 404 No Messages\r\n\r\n",  # a message may say that too
]
STATUSES = [
    b"NATS/1.0 408 Request Timeout\r\nNats-Pending-Messages: 3\r\nNats-Pending-Bytes: 0\r\n\r\n",
    b"NATS/1.0 409 Batch Completed\r\n\r\n",
    b"NATS/1.0 409 Message Size Exceeds MaxBytes\r\n\r\n",
    b"NATS/1.0 409 Consumer Deleted\r\n\r\n",
    b"NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 2\r\n\r\n",
]
OTHERS = [
    b"MSG elsewhere 1 r 3\r\nabc\r\n",
    b"MSG nobody 2 r 3\r\nabc\r\n",
    b"+OK\r\n",
    b"MSG varco.orders 7 2\r\nno\r\n",  # without a reply subject, as a status
]
Item = tuple[Any, ...] | dict[str, str]


def message(subject: str, reply: str, data: bytes, headers: bytes = b"") -> bytes:
    head = f"{subject} {SID} {reply} ".replace("  ", " ").encode()
    if not headers:
        return b"MSG %b%d\r\n%b\r\n" % (head, len(data), data)
    size = len(headers)
    return b"HMSG %b%d %d\r\n%b%b\r\n" % (head, size, size + len(data), headers, data)


def wire_of(r: random.Random) -> bytes:
    """What a server may send: mostly runs of plain messages, and everything else among them."""
    prefix = r.choice(["$JS.ACK", "$JS.ACK.hub.ACCOUNT"])
    tokens = [""] if prefix == "$JS.ACK" else ["", "", "", ".7Qa", ".77"]  # as in ADR-15
    token = r.choice(tokens)
    oddities = r.choice([0, 0.02, 0.3])
    subjects = r.sample(SUBJECTS, r.randrange(1, len(SUBJECTS) + 1))
    headers = r.sample(HEADERS, r.randrange(1, len(HEADERS) + 1))
    payloads = r.sample(PAYLOADS, r.randrange(1, len(PAYLOADS) + 1))
    with_headers = r.choice([0, 0.5, 1])
    parts, seq, consumer_seq, left = list[bytes](), r.randrange(1, 10**6), 0, r.randrange(200)
    for _ in range(r.randrange(1, 150)):
        if r.random() < oddities:
            kind = r.randrange(5)
            if kind == 0:
                parts.append(message("_INBOX.a", "", b"", r.choice(STATUSES)))
            elif kind == 1:
                parts.append(r.choice(OTHERS))
            elif kind == 2:
                consumer_seq += r.choice([0, 0, 1])  # a message was lost
            elif kind == 3:
                left = 1
            else:
                token = r.choice(tokens)
        seq += r.choice([1, 1, 1, 5])
        consumer_seq += 1
        left = max(left - 1, 0)
        delivered = 1 if r.random() > oddities / 10 else 2
        numbers = f"{delivered}.{seq}.{consumer_seq}.{seq * 10**9}.{left}"
        reply = f"{prefix}.s.c.{numbers}{token}"
        data = r.choice(payloads) if r.random() > oddities / 20 else b"z" * 200_000
        fields = r.choice(headers) if r.random() < with_headers else b""
        parts.append(message(r.choice(subjects), reply, data, fields))
    return b"".join(parts)


def pieces(r: random.Random, wire: bytes) -> Iterator[bytes]:
    sizes = r.choice([[1, 3, 40], [40, 500, 5000], [5000, 70_000, 1_000_000]])
    left = wire[: sizes[-1] * 500]
    while left:
        size = r.choice(sizes)
        yield left[:size]
        left = left[size:]


class Receiver:
    """A connection that was never made, with a consumer as subscription 7.

    Args:
        at_once: whether it takes many messages at once.
    """

    def __init__(self, kind: type[EphemeralConsumer | TailConsumer], *, at_once: bool) -> None:
        self.nc: Any = NatsClient()
        self.consumer: Any = kind(Connection(["nats://nowhere"]), "s", None)
        self.consumer.name = "c"
        self.consumer._runs = RunParser(SID, "s", "c")
        self.others: list[Item] = []
        self.runs = 0
        self.nc._direct[1] = lambda *each: self.others.append(each)
        self.nc._direct[SID] = self.consumer._on_message
        if at_once:
            self.nc._runs[SID] = self.consumer._take_run

    async def receive(self, data: bytes) -> None:
        await self.nc._ps.parse(data)

    def collected(self) -> list[Item]:
        found: list[Item] = []
        for item in self.consumer._collected():
            if isinstance(item, Run):
                found += zip(item.messages, item.consumer_seqs, item.pending, strict=True)
            else:
                found.append(dict(item))
        return found


@pytest.mark.parametrize("seed", range(150))
async def test_many_at_once_are_those_that_come_one_by_one(seed: int) -> None:
    r = random.Random(seed)
    many, single = (Receiver(EphemeralConsumer, at_once=at_once) for at_once in (True, False))
    found: list[Item] = []
    wanted: list[Item] = []
    for piece in pieces(r, wire_of(r)):
        await many.receive(piece)
        await single.receive(piece)
        if r.random() < 0.3:
            found += many.collected()
            wanted += single.collected()
            assert found == wanted
    assert found + many.collected() == wanted + single.collected()
    assert many.others == single.others
    assert many.nc.stats == single.nc.stats


def taken_one_by_one(consumer: Any, last: int | None) -> list[StoredMessage]:
    """What a consumer takes of what arrived, up to sequence `last`, message by message."""
    batch: list[StoredMessage] = []
    arrived, consumer._arrived, consumer._waiting = consumer._arrived, [], 0
    for subject, reply, data, headers in arrived:
        if not reply:
            if last is not None and (consumer.finished or consumer.broken):
                break
            consumer._on_status(headers or {}, empty=not batch)
            continue
        if consumer.broken or (last is not None and consumer.finished):
            break
        *_, seq, consumer_seq, stored, pending = ack_fields(reply)
        if int(consumer_seq) != consumer._received + 1:
            consumer.broken = True
            break
        consumer._received += 1
        if last is None or int(seq) <= last:
            batch.append(StoredMessage(int(seq), subject, int(stored), data, headers))
        if last is None:
            consumer.behind = int(pending)
        elif int(seq) >= last or pending == "0":
            consumer.finished = True
    return batch


@pytest.mark.parametrize("kind", [EphemeralConsumer, TailConsumer])
@pytest.mark.parametrize("seed", range(100))
async def test_losses_and_the_end_are_seen_where_they_are(
    seed: int, kind: type[EphemeralConsumer | TailConsumer]
) -> None:
    r = random.Random(seed)
    many, single = (Receiver(kind, at_once=at_once) for at_once in (True, False))
    wire = wire_of(r)
    last = r.choice([10**9, r.randrange(1, 10**6)]) if kind is EphemeralConsumer else None
    if last is not None:
        many.consumer._last = single.consumer._last = last
    states = ["broken", "problem", "_asked", "_received", "_max_bytes", "finished", "behind"]
    for piece in pieces(r, wire):
        await many.receive(piece)
        await single.receive(piece)
        assert many.consumer._waiting == single.consumer._waiting
        assert many.consumer._take() == taken_one_by_one(single.consumer, last)
        for name in states:
            assert getattr(many.consumer, name, 0) == getattr(single.consumer, name, 0), name


async def test_a_plain_run_is_one_piece() -> None:
    receiver = Receiver(EphemeralConsumer, at_once=True)
    reply = "$JS.ACK.s.c.1.{0}.{0}.5.0"
    sent = [message("varco.orders", reply.format(n), b"%d" % n) for n in range(1, 1001)]
    await receiver.receive(b"".join(sent)[:-1])
    [run] = receiver.consumer._collected()
    assert run.messages == [
        StoredMessage(n, "varco.orders", 5, b"%d" % n, None) for n in range(1, 1000)
    ]
    assert run.messages.subject == "varco.orders"
    assert run.messages.headers is None


async def test_a_server_is_read_without_parsing_single_messages(
    make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings()
    async with NatsEventBus(settings) as bus, History(settings) as history:
        for channel in ("orders", "sent"):
            await bus.publish_many([(OrderPlaced(order_id=str(n)), channel) for n in range(500)])
        await bus._connection.nc.publish_with_headers(  # type: ignore[union-attr]
            settings.subject_name("sent"), "", {"Trace": "7"}, b"{}"
        )
        await bus._connection.nc.flush()  # type: ignore[union-attr]
        monkeypatch.setattr(Run, "of", None)
        found = Batch.of([message async for message in history.read()])
    assert found.seqs == list(range(1, 1002))
    assert found.headers == [None] * 1000 + [{"Trace": "7"}]


ROWS = [
    StoredMessage(1, "a", 10, b"x", None),
    StoredMessage(2, "a", 20, b"y", {"Trace": "7"}),
    StoredMessage(4, "b", 40, b"z", None),
]


def in_bytes(messages: list[StoredMessage]) -> Batch:
    """As a server's messages come, with headers that nobody has parsed."""
    batch = Batch.of(messages)
    headers: list[Mapping[str, str] | bytes | None] = [
        each.headers and b"Trace: 7\r\n\r\n" for each in messages
    ]
    return Batch(batch.seqs, batch.subjects, batch.times_ns, batch.payloads, headers)


@pytest.mark.parametrize("make", [Batch.of, in_bytes])
def test_a_batch_is_a_sequence_of_messages(make: Any) -> None:
    batch: Batch = make(ROWS)
    assert len(batch) == 3
    assert list(batch) == ROWS == batch
    assert [batch[0], batch[-2]] == [ROWS[0], ROWS[1]]
    with pytest.raises(IndexError):
        batch[3]
    for part in (slice(0, 1), slice(None, None, -1), slice(1, None), slice(5, 9)):
        assert make(ROWS)[part] == batch[part] == ROWS[part]
    assert batch + ROWS == ROWS + batch == ROWS + ROWS
    assert [*reversed(batch)] == ROWS[::-1]
    assert ROWS[1] in batch
    assert batch != ROWS[:2]
    assert batch != 3
    assert repr(batch) == "Batch(3 messages)"


def test_columns_of_a_batch() -> None:
    batch = in_bytes(ROWS)
    assert batch.subject is None
    assert batch[:2].subject == "a"
    assert batch[:1].headers is None
    assert batch.headers == [None, {"Trace": "7"}, None]
    assert batch[2:].headers is None
    empty = Batch.of([])
    assert (list(empty), empty.subject, empty.headers) == ([], None, None)
    assert not empty


@pytest.mark.parametrize("seed", range(20))
def test_batches_joined(seed: int) -> None:
    r = random.Random(seed)
    parts, wanted = list[Batch](), list[StoredMessage]()
    for _ in range(r.randrange(6)):
        rows = r.choices(ROWS, k=r.randrange(3))
        part = r.choice([Batch.of, in_bytes])(rows)
        if r.random() < 0.5:
            assert part == rows
        parts.append(part)
        wanted += rows
    joined = Batch.joined(parts)
    assert joined == wanted
    assert (joined.headers is None) == (not any(row.headers for row in wanted))


async def test_messages_are_never_counted_too_many_where_a_replica_is_behind() -> None:
    """As measured in a cluster with a server that stood still: it has nothing after 1,173 yet."""
    here, behind = {1: 1399, 1174: 226}, {1: 1173, 1174: 0}
    replicas = {"here": here, "behind": behind}
    counting = cycle(["behind", "here"])

    class Counted(StreamReader):
        async def _counted(self, first: int) -> tuple[int, str]:
            server = next(counting)
            return replicas[server][first], server

    reader = Counted.__new__(Counted)
    assert await reader.count_between(1, 1173) == 1173
