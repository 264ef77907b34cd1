"""Whatever somebody stores in a dead letter queue costs its own row, and no other."""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any
from uuid import UUID, uuid4

import pytest
from nats.aio.client import Client
from varco_core.event.dlq import DeadLetterEntry

from tests.events import OrderPlaced
from varco_nats import NatsDLQ, NatsEventBusSettings, Replayer
from varco_nats._nats.direct import StoredMessage
from varco_nats.dlq._codec import UNREADABLE, DlqNames, decode
from varco_nats.replay import ReplayOutcome

NAMES = DlqNames("queue", "dlq")
SOUND: dict[str, Any] = {
    "entry_id": "1b4e28ba-2fa1-41d2-883f-0016d3cca427",
    "channel": "orders",
    "handler_name": "Shop.on_order",
    "error_type": "ValueError",
    "error_message": "no",
    "attempts": 3,
    "first_failed_at": "2026-01-31T12:00:00+00:00",
    "last_failed_at": "2026-01-31T12:00:00+00:00",
    "event_payload": '{"__event_type__": "nobody.knows", "event_id": "1"}',
    "source": "consumer",
    "source_ref": "varco-events:7",
    "tenant_id": None,
    "payload": None,
    "headers": {"a": "b"},
    "num_delivered": 3,
}
VALUES: list[Any] = [
    None,
    True,
    -1,
    0.1,
    float("nan"),
    float("inf"),
    10**400,
    2**63,
    "",
    "\ud800",
    "\udc00 tail",
    "a\r\nb\x00",
    "x" * 2000,
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
    "2026-13-45T99:99:99",
    "2026-01-01T00:00:00",
    [],
    [None, "\ud800"],
    {},
    {"\ud800": "\ud800", "": "", "a: b": "c", "Nats-Rollup": "all", "x": "1\r\nNats-Rollup: all"},
    {"Nats-Expected-Stream": "other", "Nats-Msg-Id": "7", "Varco-Replay-Count": "9" * 5000},
]
RAW: list[bytes] = [
    b"",
    b"\x00\xff\xfe",
    b"null",
    b"[]",
    b'"text"',
    b"NaN",
    b"1" * 5000,
    b"{" * 50_000,
    b'{"entry_id":' * 50_000,
    b'{"entry_id": "no"}',
    b"x",
    b"x" * 900_000,
    b" " * 1_000_000,
    zlib.compress(b"null"),
    zlib.compress(b"\xff"),
    zlib.compress(json.dumps(SOUND).encode())[:-7],
    zlib.compress(b"[" * 1_000_000),
]
HEADERS: list[dict[str, str]] = [
    {"Nats-Sequence": "one"},
    {"Nats-Sequence": "1", "Nats-Subject": "elsewhere", "Nats-Stream": "other"},
    {"Nats-Time-Stamp": "yesterday"},
    {"Nats-Num-Pending": "none", "Nats-Last-Sequence": "x"},
    {"Nats-UpTo-Sequence": "0"},
    {"Status": "204", "Description": "EOB"},
    {"Status": "404"},
    {"Status": "408"},
    {"Status": "503"},
    {"Status": "x"},
    {"Varco-Replay-Of": "x", "Varco-Replay-Count": "-1"},
    {"X": "ä" * 1000},
]


def foreign() -> list[tuple[bytes, dict[str, str] | None]]:
    """Bodies and headers of what is no dead letter, or a strange one."""
    bodies = list(RAW)
    for name in SOUND:
        bodies += [json.dumps({**SOUND, name: value}).encode() for value in VALUES]
        bodies.append(json.dumps({k: v for k, v in SOUND.items() if k != name}).encode())
    for event in (
        b"\xff",
        b'{"__event_type__": 7}',
        b"[" * 50_000,
        b'{"a": 1e999}',
        b"\xed\xa0\x80",
    ):
        encoded = base64.b64encode(event).decode()
        bodies.append(json.dumps({**SOUND, "event_payload_base64": encoded}).encode())
    sound = json.dumps(SOUND).encode()
    return [(body, None) for body in bodies] + [(sound, headers) for headers in HEADERS]


@pytest.mark.timeout(120)
async def test_a_foreign_entry_costs_its_own_row_at_most(
    settings: NatsEventBusSettings, nc: Client
) -> None:
    js = nc.jetstream()
    root = f"{settings.subject_prefix}-dlq"
    good: set[UUID] = set()
    total = 0
    async with NatsDLQ(settings) as dlq, Replayer(dlq) as replayer:

        async def push() -> None:
            nonlocal total
            entry = DeadLetterEntry(event=OrderPlaced(order_id=str(total)), channel="orders")
            await dlq.push(entry)
            good.add(entry.entry_id)
            total += 1

        places = ["{id}.orders", "{id}.%FF%zz%D8%00", "{id}.%", "nobody.orders", "{id}", "x.y.z"]
        for number, (body, headers) in enumerate(foreign()):
            if number % 50 == 0:
                await push()
            place = "{id}.orders" if number % 3 else places[number // 3 % len(places)]
            subject = f"{root}.{place.format(id=uuid4())}"
            await js.publish(subject, body, headers=headers)
            total += 1
        await push()

        assert await dlq.count() == total
        assert sum((await dlq.count_by_channel()).values()) == total
        entries = await dlq.list_entries(limit=10_000)
        ids = {entry.entry_id for entry in entries}
        assert (len(entries), len(ids)) == (total, total)
        by_id = {entry.entry_id: entry for entry in entries}
        for entry_id in good:
            assert isinstance(by_id[entry_id].event, OrderPlaced)
        in_orders = {
            entry.entry_id for entry in await dlq.list_entries(limit=10_000, channel="orders")
        }
        assert good <= in_orders
        for entry in entries:
            found = await dlq.get(entry.entry_id)
            assert found is not None
            assert found.error_message == entry.error_message

        for options in ({}, {"channel": "orders"}, {"text": "nobody", "again": True}):
            plan = await replayer.plan(**options)
            assert good <= {row.entry_id for row in plan.rows} or options
        plan = await replayer.plan()
        assert len(plan) == total
        report = await replayer.run(plan, confirm="nobody")
        assert len(report.rows) == total
        assert good <= {row.entry_id for row in report.of(ReplayOutcome.REPLAYED)}
        left = total - sum(row.removed for row in report.rows)
        assert await dlq.count() == left > 0
        [record] = await replayer.log()
        assert len(await replayer.log_rows(record.replay_id)) == total
        popped = [entry.entry_id for entry in await dlq.pop_batch(limit=10_000)]
        assert len(set(popped)) == left
        for entry_id in popped:
            await dlq.delete(entry_id)
        assert await dlq.count() == 0


def test_what_unpacks_to_gigabytes_is_not_unpacked() -> None:
    bomb = zlib.compress(b'{"entry_id": "' + b"0" * (255 << 20), 9)
    assert len(bomb) < 270_000
    message = StoredMessage(7, f"dlq.{uuid4()}.orders", 1, bomb, None)
    entry = decode(message, NAMES).entry
    assert entry.error_type == UNREADABLE
    assert "too large to unpack" in entry.error_message
    assert entry.payload == bomb


def test_why_an_entry_cannot_be_read_is_said_in_short() -> None:
    body = json.dumps({**SOUND, "first_failed_at": "x\n" * 400_000}).encode()
    stored = decode(StoredMessage(7, f"dlq.{uuid4()}.orders", 1, body, None), NAMES)
    assert stored.entry.error_type == UNREADABLE
    assert len(stored.entry.error_message) < 500
