"""What is sent for an entry: its bytes, its headers, edits and transforms."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from nats.aio.client import Client
from varco_core.event.base import Event

from tests.conftest import MakeSettings
from tests.core.helpers import entry, push
from tests.core.replay.helpers import decisions, is_, stored
from tests.events import OrderPlaced
from tests.waiting import until
from varco_nats import NatsDLQ, NatsEventBus, NatsEventBusSettings
from varco_nats.replay import ReplayDecision, Replayer, ReplayOutcome, ReplayState
from varco_nats.replay._entry_filter import event_of


async def test_raw_entries_are_replayed_byte_for_byte(
    settings: NatsEventBusSettings, dlq: NatsDLQ, replayer: Replayer
) -> None:
    class Forgotten(Event):
        __event_type__ = "test.replay.forgotten"
        order_id: str

    payloads = [b"", b"\xff\x00\r\n", bytes(range(256)), b'{"a":  1}']
    await push(dlq, *(entry(event=None, payload=payload) for payload in payloads))
    await push(dlq, entry(event=Forgotten(order_id="7")))
    del Event._registry["test.replay.forgotten"]
    plan = await replayer.plan()

    report = await replayer.run(plan, confirm="nobody")

    assert report.counts == {ReplayOutcome.REPLAYED: 5}
    found = [message.data for message in await stored(settings)]
    assert found[:4] == payloads
    assert json.loads(found[4])["order_id"] == "7"


async def test_headers_of_the_failed_message_are_restored_but_for_those_that_steer(
    make_settings: MakeSettings, nc: Client
) -> None:
    settings = make_settings(max_deliver=2)
    async with NatsDLQ(settings) as dlq, NatsEventBus(settings, dlq=dlq) as bus:

        async def fail(event: Event) -> None:
            raise RuntimeError("no")

        bus.subscribe(OrderPlaced, fail, channel="orders")
        body = b'{"__event_type__": "order.placed", "order_id": "1", "more": [1, 2]}'
        headers = {"trace": "abc", "Nats-Msg-Id": "original", "Nats-Expected-Last-Sequence": "0"}
        await nc.jetstream().publish(settings.subject_name("orders"), body, headers=headers)
        await until(lambda: is_(dlq.count(), 1))
        [failed] = await dlq.list_entries()
    assert failed.first_failed_at < failed.last_failed_at
    async with Replayer(settings) as replayer:
        await replayer.run(await replayer.plan())
    message = (await stored(settings))[-1]
    assert message.headers is not None
    assert message.data == body
    assert message.headers["trace"] == "abc"
    assert message.headers["Nats-Msg-Id"].startswith("replay.")
    assert message.headers["Varco-Delivery-Count"] == "2"
    assert "Nats-Expected-Last-Sequence" not in message.headers


async def test_only_what_the_stream_takes_is_sent(
    settings: NatsEventBusSettings, dlq: NatsDLQ, replayer: Replayer, nc: Client
) -> None:
    async with NatsEventBus(settings):
        pass  # makes the stream
    config = (await nc.jetstream().stream_info(settings.stream_name)).config
    small, large = entry(event=None, payload=b"x"), entry(event=None, payload=b"x" * 1000)
    await push(dlq, large, small)
    before = await replayer.plan()
    await nc.jetstream().update_stream(config, max_msg_size=1000)
    plan = await replayer.plan()
    assert [row.decision for row in plan.rows] == [ReplayDecision.SKIP, ReplayDecision.REPLAY]
    assert plan.rows[0].why.endswith("with its headers, and the target takes 1,000")
    # a plan that knew nothing of that; nothing is left when the last one turns out to be too large
    for rows, expected in (
        (before.rows, {ReplayOutcome.FAILED: 1, ReplayOutcome.REPLAYED: 1}),
        (before.rows[:1], {ReplayOutcome.FAILED: 1}),
    ):
        report = await replayer.run(replace(before, rows=rows), confirm="nobody")
        assert (report.state, report.counts) == (ReplayState.DONE, expected)
        [failed] = report.of(ReplayOutcome.FAILED)
        assert (failed.entry_id, failed.removed) == (large.entry_id, False)
        assert failed.why.endswith("and the stream takes 1,000")
    assert [message.data for message in await stored(settings)] == [b"x"]
    assert [left.entry_id for left in await dlq.list_entries()] == [large.entry_id]


async def test_a_header_cannot_bring_others_with_it(
    settings: NatsEventBusSettings, dlq: NatsDLQ, replayer: Replayer
) -> None:
    await push(dlq, entry())
    plan = await replayer.plan()
    [row] = plan.rows
    row = structs.replace(
        row, headers={**row.headers, "trace": "a\r\nNats-Rollup: all", "last": "b\n"}
    )
    await replayer.run(replace(plan, rows=(row,)), confirm="nobody")
    [message] = await stored(settings)
    assert message.headers is not None
    assert message.headers["trace"] == "a  Nats-Rollup: all"
    assert "Nats-Rollup" not in message.headers


async def test_edits_and_transform(
    settings: NatsEventBusSettings, dlq: NatsDLQ, replayer: Replayer
) -> None:
    entries = await push(dlq, *map(entry, range(5)))

    def transform(payload: dict[str, Any]) -> dict[str, Any] | None:
        if payload["order_id"] == "1":
            return None
        if payload["order_id"] == "2":
            raise KeyError("total")
        return {**payload, "total": payload["total"] * 2}

    event = entries[3].event
    assert event is not None
    edited = {"__event_type__": "order.placed", **event.model_dump(mode="json"), "total": 21}
    plan = await replayer.plan(
        edits={entries[3].entry_id: edited, str(entries[4].entry_id): b'{"total": 1}'},
        transform=transform,
    )
    assert [row.edited for row in plan.rows] == [True, False, False, True, False]
    assert decisions(plan)[1:3] == [
        ("skip", "transform returned None"),
        ("skip", "transform raised KeyError: 'total'"),
    ]
    assert "transform raised KeyError: 'order_id'" in plan.rows[4].why

    await replayer.run(plan, confirm="nobody")

    found = [json.loads(message.data) for message in await stored(settings)]
    assert [(payload["order_id"], payload["total"]) for payload in found] == [("0", 2.0), ("3", 42)]
    assert found[1]["event_id"] == str(event.event_id)
    assert await dlq.count() == 3


async def test_bytes_of_an_edit_are_sent_as_they_are(
    settings: NatsEventBusSettings, dlq: NatsDLQ, replayer: Replayer
) -> None:
    [one] = await push(dlq, entry())
    plan = await replayer.plan(edits={one.entry_id: b"\x00 not json"})
    await replayer.run(plan, confirm="nobody")
    assert [message.data for message in await stored(settings)] == [b"\x00 not json"]


async def test_unchanged_by_a_transform_is_sent_byte_for_byte(
    dlq: NatsDLQ, replayer: Replayer
) -> None:
    await push(dlq, entry(event=None, payload=b'{ "a":1}'))
    [row] = (await replayer.plan(transform=lambda payload: payload)).rows
    assert (row.payload, row.edited) == (b'{ "a":1}', False)


async def test_an_edit_changes_what_it_says_and_nothing_else(
    dlq: NatsDLQ, replayer: Replayer
) -> None:
    payload = b'{"flag": 1, "total": 1, "rate": 0.12345678901234567890, "e": 1E2, "n": NaN}'
    twice = b'{"a": 1, "a": 2, "b": 3}'
    one, same, _ = await push(
        dlq,
        entry(event=None, payload=payload),
        entry(event=None, payload=payload),
        entry(event=None, payload=twice),
    )
    change = {"flag": True, "total": 1.0}
    plan = await replayer.plan(
        edits={one.entry_id: {**json.loads(payload), **change}, same.entry_id: json.loads(payload)}
    )
    edited = b'{"flag": true, "total": 1.0, "rate": 0.12345678901234567890, "e": 1E2, "n": NaN}'
    assert [(row.payload, row.edited) for row in plan.rows] == [
        (edited, True),
        (payload, False),
        (twice, False),
    ]
    plan = await replayer.plan(transform=lambda payload: payload | change)
    assert [row.payload for row in plan.rows[:2]] == [edited, edited]
    assert "the key 'a' twice" in plan.rows[2].why


async def test_event_ids_stay_unless_new_ones_are_asked_for(
    dlq: NatsDLQ, replayer: Replayer
) -> None:
    [one, _] = await push(dlq, entry(), entry(event=None, payload=b"raw"))
    assert one.event is not None
    changed = await replayer.plan(
        [one.entry_id], transform=lambda payload: {**payload, "event_id": "x"}
    )
    assert "new_event_ids=True" in changed.rows[0].why
    plan = await replayer.plan(new_event_ids=True)
    assert plan.rows[0].event_id not in (None, str(one.event.event_id))
    assert UUID(json.loads(plan.rows[0].payload)["event_id"])
    assert "not a JSON object" in plan.rows[1].why
    own = str(UUID(int=7))
    edits: Any = {one.entry_id: {"__event_type__": "order.placed", "event_id": own}}
    [row] = (await replayer.plan([one.entry_id], edits=edits, new_event_ids=True)).rows
    assert row.event_id not in (None, own, str(one.event.event_id))


async def test_entries_of_the_same_event_are_pointed_out(dlq: NatsDLQ, replayer: Replayer) -> None:
    event = OrderPlaced(order_id="1")
    first, _ = await push(dlq, entry(event=event), entry(event=event, handler_name="Other"))
    plan = await replayer.plan()
    assert decisions(plan) == [
        ("replay", ""),
        ("replay", f"the same event as entry {first.entry_id}"),
    ]


async def test_second_copy_of_an_entry_is_left_out(
    settings: NatsEventBusSettings, dlq: NatsDLQ, replayer: Replayer, nc: Client
) -> None:
    """As an older release stored it, or under another channel."""
    [one] = await push(dlq, entry())
    js = nc.jetstream()
    stream = f"{settings.stream_name}-dlq"
    message = await js.get_msg(stream, 1)
    await js.publish(f"{settings.subject_prefix}-dlq.{one.entry_id}.other", message.data or b"")
    plan = await replayer.plan()
    assert decisions(plan) == [
        ("replay", ""),
        ("skip", "the same entry as sequence 1 of the queue"),
    ]
    report = await replayer.run(plan, confirm="nobody")
    assert report.counts == {ReplayOutcome.REPLAYED: 1, ReplayOutcome.SKIPPED: 1}
    assert len(await stored(settings)) == 1


ANY_CHARACTER = st.characters(exclude_categories=())  # also half a surrogate pair
VALUES = st.one_of(
    st.text(ANY_CHARACTER, max_size=5),
    st.none(),
    st.floats(),
    st.lists(st.integers(), max_size=2),
)
NAMES = ["__event_type__", "event_id", "specversion", "type", "id", "total"]


@given(
    st.dictionaries(st.sampled_from(NAMES), VALUES),
    st.sampled_from(["", "[", "}", '\n{"event_id": "2"}', "\ud800"]),
    st.booleans(),
)
def test_what_an_event_says_of_itself_is_read_as_python_reads_it(
    event: dict[str, Any], end: str, compact: bool
) -> None:
    text = json.dumps(event, separators=(",", ":") if compact else None)
    payload = (text + end).encode(errors="surrogatepass")
    try:
        read = json.loads(payload)
    except ValueError:
        read = {}
    wanted = read.get("event_id"), read.get("__event_type__")
    envelope = read.get("id"), read.get("type"), read.get("specversion")
    if "__event_type__" not in read and all(isinstance(value, str) for value in envelope):
        wanted = envelope[:2]
    assert event_of(payload) == tuple(v if isinstance(v, str) else None for v in wanted)
