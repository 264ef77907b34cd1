"""Planning and running replays on a real server; faults are in test_replay_faults.py."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig, StreamConfig
from varco_core.event.base import Event
from varco_core.event.dlq import DeadLetterEntry, DeadLetterSource

from tests.events import OrderPlaced, OrderShipped
from tests.waiting import until
from varco_nats import NatsDLQ, NatsEventBus, NatsEventBusSettings
from varco_nats.config import NatsDeliverySemantics
from varco_nats.errors import (
    DeadLetterError,
    InvalidChannelError,
    NotStartedError,
    ReplayHeldError,
    ReplayLogError,
    ReplayRefusedError,
    StreamNotFoundError,
)
from varco_nats.history import History, StoredMessage
from varco_nats.observe import DeliveryEvent, DeliveryKind
from varco_nats.replay import (
    Canary,
    ExhaustedMessage,
    ReplayControl,
    ReplayDecision,
    Replayer,
    ReplayKind,
    ReplayOutcome,
    ReplayPlan,
    ReplayProgress,
    ReplayResult,
    ReplayState,
)
from varco_nats.replay._canary import seconds_to_wait
from varco_nats.replay._log import ReplayLog
from varco_nats.replay._pace import Pace
from varco_nats.replay._records import PlanHead, decode_rows, encode_rows
from varco_nats.server import LocalNats

MakeSettings = Callable[..., NatsEventBusSettings]
START = datetime(2026, 1, 1, tzinfo=UTC)


def entry(number: int = 0, **changes: object) -> DeadLetterEntry:
    made = DeadLetterEntry(
        event=OrderPlaced(order_id=str(number)),
        channel="orders",
        handler_name="Shop.on_order",
        error_type="ValueError",
        error_message=f"failure {number}",
        attempts=3,
        first_failed_at=START + timedelta(minutes=number),
        last_failed_at=START + timedelta(minutes=number),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


@pytest.fixture
async def dlq(settings: NatsEventBusSettings) -> AsyncIterator[NatsDLQ]:
    async with NatsDLQ(settings) as queue:
        yield queue


@pytest.fixture
async def replayer(settings: NatsEventBusSettings, dlq: NatsDLQ) -> AsyncIterator[Replayer]:
    async with Replayer(dlq, user="ada") as made:
        yield made


async def push(dlq: NatsDLQ, *entries: DeadLetterEntry) -> list[DeadLetterEntry]:
    for one in entries:
        await dlq.push(one)
    return list(entries)


async def stored(settings: NatsEventBusSettings, channel: str = "orders") -> list[StoredMessage]:
    async with History(settings) as history:
        return [message async for message in history.read(channel)]


def decisions(plan: ReplayPlan) -> list[tuple[str, str]]:
    return [(str(row.decision), row.why) for row in plan.rows]


# Planning


async def test_plan_says_exactly_what_is_sent(
    settings: NatsEventBusSettings, dlq: NatsDLQ, replayer: Replayer
) -> None:
    [one] = await push(dlq, entry())
    plan = await replayer.plan(note="after the fix")
    [row] = plan.rows
    assert await dlq.count() == 1
    assert row.event_id == str(one.event.event_id)  # type: ignore[union-attr]
    assert row.event_type == "order.placed"
    assert (row.channel, row.to, row.replays, row.edited) == ("orders", "orders", 0, False)

    report = await replayer.run(plan)

    [message] = await stored(settings)
    assert message.data == row.payload
    assert message.headers == {**row.headers, "Varco-Replay-Id": report.replay_id}
    assert row.headers == {
        "Nats-Msg-Id": f"replay.{one.entry_id}",
        "Varco-Replay-Of": str(one.entry_id),
        "Varco-Replay-Count": "1",
        "Nats-Expected-Stream": settings.stream_name,
    }
    assert [(r.outcome, r.seq, r.removed) for r in report.rows] == [
        (ReplayOutcome.REPLAYED, message.seq, True)
    ]
    assert await dlq.count() == 0


@pytest.mark.parametrize(
    ("conditions", "numbers"),
    [
        ({}, [0, 1, 2, 3]),
        ({"channel": "other"}, [3]),
        ({"handler": "Shop.on_order"}, [0, 2, 3]),
        ({"error_type": "KeyError"}, [2]),
        ({"event_type": "order.shipped"}, [3]),
        ({"tenant_id": "acme"}, [1]),
        ({"since": START + timedelta(minutes=2)}, [2, 3]),
        ({"until": datetime(2026, 1, 1, 0, 2)}, [0, 1]),
        ({"text": "FAILURE 2"}, [2]),
        ({"text": '"order_id": "1"'}, [1]),
        ({"limit": 2}, [0, 1]),
        ({"limit": 0}, []),
        ({"handler": "Shop.on_order", "limit": 2}, [0, 2]),
    ],
    ids=str,
)
async def test_plan_takes_what_meets_the_conditions(
    conditions: dict[str, Any], numbers: list[int], dlq: NatsDLQ, replayer: Replayer
) -> None:
    entries = await push(
        dlq,
        entry(0),
        entry(1, tenant_id="acme", handler_name="Other.handler"),
        entry(2, error_type="KeyError"),
        entry(3, event=OrderShipped(order_id="3"), channel="other"),
    )
    plan = await replayer.plan(**conditions)
    assert [row.entry_id for row in plan.rows] == [entries[n].entry_id for n in numbers]


async def test_plan_of_given_entries(dlq: NatsDLQ, replayer: Replayer) -> None:
    entries = await push(dlq, *map(entry, range(3)))
    missing = uuid4()
    plan = await replayer.plan([entries[2].entry_id, str(entries[0].entry_id), missing])
    assert [row.entry_id for row in plan.rows] == [
        entries[0].entry_id,
        entries[2].entry_id,
        missing,
    ]
    assert decisions(plan)[2] == ("skip", "not in the queue")
    many = [one.entry_id for one in entries] + [uuid4() for _ in range(150)]
    assert (await replayer.plan(many)).summary["replay"] == 3
    some = await replayer.plan([one.entry_id for one in entries], limit=2)
    assert [row.entry_id for row in some.rows] == [one.entry_id for one in entries[:2]]


async def test_what_cannot_be_replayed_says_why(
    make_settings: MakeSettings, dlq: NatsDLQ, replayer: Replayer, nc: Client
) -> None:
    await push(
        dlq,
        entry(source=DeadLetterSource.JOB),
        entry(channel=""),
        entry(channel="a b"),
        entry(event=None, payload=b"x" * 1_048_400),
    )
    settings = make_settings()
    await nc.jetstream().publish(f"{settings.subject_prefix}-dlq.{uuid4()}.orders", b"nonsense")
    plan = await replayer.plan()
    assert {row.decision for row in plan.rows} == {ReplayDecision.SKIP}
    whys = [row.why for row in plan.rows]
    for why, part in zip(
        whys,
        ["enqueue the job again", "to='orders'", "white space", "too large", "an edit"],
        strict=True,
    ):
        assert part in why
    report = await replayer.run(plan)
    assert report.counts == {ReplayOutcome.SKIPPED: 5}
    assert await dlq.count() == 5


async def test_planning_makes_no_stream(settings: NatsEventBusSettings, nc: Client) -> None:
    js = nc.jetstream()

    async def streams() -> set[str]:
        names = {str(info.config.name) for info in await js.streams_info()}
        return {one for one in names if one.startswith(settings.stream_name)}

    async with Replayer(settings) as replayer:
        assert len(await replayer.plan()) == 0
        assert decisions(await replayer.plan([uuid4()])) == [("skip", "not in the queue")]
        assert await replayer.log() == []
        assert await streams() == set()
        await publish(settings, 1)
        await replayer.plan_history("orders", to="copies")
        assert await streams() == {settings.stream_name}
        await replayer.run(await replayer.plan())
        assert len(await streams()) == 3


async def test_a_queue_that_may_not_be_made_is_missed_at_once(make_settings: MakeSettings) -> None:
    with pytest.raises(StreamNotFoundError):
        await Replayer(make_settings(auto_create_stream=False)).start()


async def test_a_run_that_skipped_every_row_did_nothing(dlq: NatsDLQ, replayer: Replayer) -> None:
    [one, other] = await push(dlq, entry(1), entry(2))
    plan = await replayer.plan([one.entry_id])
    await dlq.ack(one.entry_id)
    report = await replayer.run(plan)  # gone since
    empty = await replayer.run(await replayer.plan(channel="none"))
    missing = await replayer.discard([one.entry_id], confirm="discard")
    done = await replayer.run(await replayer.plan([one.entry_id, other.entry_id]))

    for nothing in (report, empty, missing):
        assert nothing.state is ReplayState.NOTHING_DONE
    assert repr(report) == "ReplayReport(nothing done: 1 skipped)"
    assert repr(empty) == "ReplayReport(nothing done: no rows)"
    assert done.state is ReplayState.DONE
    states = [record.state for record in await replayer.log()]
    assert states == [ReplayState.DONE, *[ReplayState.NOTHING_DONE] * 3]


async def test_wrong_arguments_are_refused(dlq: NatsDLQ, replayer: Replayer) -> None:
    await push(dlq, entry())
    with pytest.raises(InvalidChannelError):
        await replayer.plan(to="a.>")
    with pytest.raises(ValueError, match="limit must not be negative"):
        await replayer.plan(limit=-1)
    with pytest.raises(ValueError, match="1 of the edited entries are not in the plan"):
        await replayer.plan(edits={uuid4(): {}})
    plan = await replayer.plan()
    for ids in ("nonsense", ["nonsense"]):
        with pytest.raises(ValueError, match=r"entry ids as a list|is no entry id"):
            await replayer.plan(ids)
    for wrong in ({"rate": 0}, {"speed": -1}, {"rate": 1, "speed": 1}, {"in_flight": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            await replayer.run(plan, **wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="count must be 1 or more"):
        await replayer.run(plan, canary=0)
    assert await dlq.count() == 1


# Payloads


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

    report = await replayer.run(plan)

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
        await until(lambda: _is(dlq.count(), 1))
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


async def test_a_header_cannot_bring_others_with_it(
    settings: NatsEventBusSettings, dlq: NatsDLQ, replayer: Replayer
) -> None:
    await push(dlq, entry())
    plan = await replayer.plan()
    [row] = plan.rows
    row = replace(row, headers={**row.headers, "trace": "a\r\nNats-Rollup: all", "last": "b\n"})
    await replayer.run(replace(plan, rows=(row,)))
    [message] = await stored(settings)
    assert message.headers is not None
    assert message.headers["trace"] == "a  Nats-Rollup: all"
    assert "Nats-Rollup" not in message.headers


async def _is(answer: Any, wanted: object) -> bool:
    return bool(await answer == wanted)


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

    await replayer.run(plan)

    found = [json.loads(message.data) for message in await stored(settings)]
    assert [(one["order_id"], one["total"]) for one in found] == [("0", 2.0), ("3", 42)]
    assert found[1]["event_id"] == str(event.event_id)
    assert await dlq.count() == 3


async def test_bytes_of_an_edit_are_sent_as_they_are(
    settings: NatsEventBusSettings, dlq: NatsDLQ, replayer: Replayer
) -> None:
    [one] = await push(dlq, entry())
    plan = await replayer.plan(edits={one.entry_id: b"\x00 not json"})
    await replayer.run(plan)
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
    assert "no JSON object" in plan.rows[1].why
    own = str(UUID(int=7))
    edits = {one.entry_id: {"__event_type__": "order.placed", "event_id": own}}
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
    await js.publish(f"{settings.subject_prefix}-dlq.{one.entry_id}.other", message.data)
    plan = await replayer.plan()
    assert decisions(plan) == [
        ("replay", ""),
        ("skip", "the same entry as sequence 1 of the queue"),
    ]
    report = await replayer.run(plan)
    assert report.counts == {ReplayOutcome.REPLAYED: 1, ReplayOutcome.SKIPPED: 1}
    assert len(await stored(settings)) == 1


# Where to


async def test_to_another_channel(
    settings: NatsEventBusSettings, dlq: NatsDLQ, replayer: Replayer
) -> None:
    await push(dlq, entry(), entry(channel=""))
    report = await replayer.run(await replayer.plan(to="orders.retry"))
    assert report.counts == {ReplayOutcome.REPLAYED: 2}
    assert len(await stored(settings, "orders.retry")) == 2


async def test_to_another_server(dlq: NatsDLQ, settings: NatsEventBusSettings) -> None:
    await push(dlq, *map(entry, range(3)))
    async with LocalNats() as sandbox:
        target = NatsEventBusSettings(servers=sandbox.url, stream_name="sandbox")
        async with Replayer(settings, target=target) as replayer:
            assert sandbox.url not in repr(replayer)
            plan = await replayer.plan()
            report = await replayer.run(plan)
            assert report.counts == {ReplayOutcome.REPLAYED: 3}
            assert len(await stored(target)) == 3
            [record] = await replayer.log()
            assert record.target == f"sandbox on nats://127.0.0.1:{sandbox.port}"
            with pytest.raises(ReplayRefusedError, match="another queue"):
                await replayer.run(plan, canary=1)
    assert await dlq.count() == 0


async def test_plan_of_another_target_is_refused(
    make_settings: MakeSettings, dlq: NatsDLQ, replayer: Replayer, settings: NatsEventBusSettings
) -> None:
    await push(dlq, entry())
    plan = await replayer.plan()
    other = settings.model_copy(update={"stream_name": f"{settings.stream_name}-2"})
    async with Replayer(settings, target=other) as elsewhere:
        with pytest.raises(ReplayRefusedError, match="another target"):
            await elsewhere.run(plan)
    assert await dlq.count() == 1


async def test_replay_stored_in_another_channel_is_not_taken_for_this_one(
    settings: NatsEventBusSettings, dlq: NatsDLQ, replayer: Replayer
) -> None:
    """The server's message ids know no channels."""
    [one] = await push(dlq, entry())
    await replayer.run(await replayer.plan(to="elsewhere"))
    await push(dlq, one)  # as a service does whose ack was lost
    refused = await replayer.plan()
    assert refused.to_replay == 0
    assert "replayed before by run" in refused.rows[0].why
    report = await replayer.run(await replayer.plan(again=True))
    assert report.counts == {ReplayOutcome.FAILED: 1}
    assert "stored already as" in report.rows[0].why
    assert await dlq.count() == 1
    again = await replayer.run(await replayer.plan(to="third", again=True))
    assert again.counts == {ReplayOutcome.REPLAYED: 1}
    assert len(await stored(settings, "third")) == 1


async def test_duplicate_whose_first_copy_is_gone_stays_in_the_queue(
    settings: NatsEventBusSettings, dlq: NatsDLQ, replayer: Replayer, nc: Client
) -> None:
    [one] = await push(dlq, entry())
    await replayer.run(await replayer.plan())
    await push(dlq, one)
    await nc.jetstream().purge_stream(settings.stream_name)
    report = await replayer.run(await replayer.plan(again=True))
    assert report.counts == {ReplayOutcome.FAILED: 1}
    assert "which is gone" in report.rows[0].why
    assert await dlq.count() == 1


# Again


class Broken:
    """A service that cannot handle orders until it is repaired."""

    def __init__(self) -> None:
        self.repaired = False
        self.handled: list[str] = []

    async def on_order(self, event: Event) -> None:
        assert isinstance(event, OrderPlaced)
        if not self.repaired:
            raise RuntimeError("broken")
        self.handled.append(event.order_id)


async def test_what_came_back_is_counted_and_replayed_only_if_told_to(
    make_settings: MakeSettings,
) -> None:
    settings = make_settings(max_deliver=1, delivery_semantics="exactly_once")
    service = Broken()
    async with (
        NatsDLQ(settings) as dlq,
        NatsEventBus(settings, dlq=dlq) as bus,
        Replayer(dlq) as replayer,
    ):
        bus.subscribe(OrderPlaced, service.on_order, channel="orders")
        await bus.publish(OrderPlaced(order_id="1"), channel="orders")
        await until(lambda: _is(dlq.count(), 1))
        first = await replayer.plan()
        await replayer.run(first)
        await until(lambda: _is(dlq.count(), 1))  # it came back

        refused = await replayer.plan()
        assert "replayed once before, last by run" in refused.rows[0].why
        assert refused.rows[0].entry_id != first.rows[0].entry_id
        service.repaired = True
        plan = await replayer.plan(again=True)
        assert (plan.rows[0].replays, plan.rows[0].headers["Varco-Replay-Count"]) == (1, "2")
        await replayer.run(plan)
        await until(lambda: service.handled == ["1"])
    assert len(await stored(settings)) == 3


async def test_publishing_an_event_of_the_queue_is_a_replay_by_the_same_rule(
    make_settings: MakeSettings,
) -> None:
    settings = make_settings(max_deliver=1)
    service = Broken()
    async with (
        NatsDLQ(settings) as dlq,
        NatsEventBus(settings, dlq=dlq) as bus,
        Replayer(dlq) as replayer,
    ):
        bus.subscribe(OrderPlaced, service.on_order, channel="orders")
        await bus.publish(OrderPlaced(order_id="1"), channel="orders")
        for count in ("1", "2"):
            await until(lambda: _is(dlq.count(), 1))
            [one] = await dlq.list_entries()
            assert one.event is not None
            await dlq.ack(one.entry_id)
            await bus.publish(one.event, channel="orders")
            message = (await stored(settings))[-1]
            assert message.headers == {
                "Nats-Msg-Id": f"replay.{one.entry_id}",
                "Varco-Replay-Of": str(one.entry_id),
                "Varco-Replay-Count": count,
                "Varco-Delivery-Count": count,
            }
        await until(lambda: _is(dlq.count(), 1))
        assert (await replayer.plan()).rows[0].replays == 2


# Canary


async def test_canary_that_comes_back_stops_the_run(make_settings: MakeSettings) -> None:
    settings = make_settings(max_deliver=1)
    service = Broken()
    async with (
        NatsDLQ(settings) as dlq,
        NatsEventBus(settings, dlq=dlq) as bus,
        Replayer(dlq) as replayer,
    ):
        await push(dlq, *map(entry, range(20)))
        bus.subscribe(OrderPlaced, service.on_order, channel="orders")
        plan = await replayer.plan()
        report = await replayer.run(plan, canary=Canary(3, wait_seconds=20))
        assert report.state is ReplayState.CANARY_FAILED
        assert report.counts == {ReplayOutcome.REPLAYED: 3, ReplayOutcome.NOT_TRIED: 17}
        assert 1 <= len(report.came_back) <= 3
        assert "of the first 3 came back dead" in report.why
        await until(lambda: _is(dlq.count(), 20))
        service.repaired = True
        plan = await replayer.plan(again=True)
        report = await replayer.run(plan, canary=Canary(3, wait_seconds=0.3))
        assert report.counts == {ReplayOutcome.REPLAYED: 20}
        await until(lambda: len(service.handled) == 20)
    assert sorted(service.handled, key=int) == [str(number) for number in range(20)]


async def test_canary_as_large_as_the_plan_is_watched(make_settings: MakeSettings) -> None:
    settings = make_settings(max_deliver=1)
    service = Broken()
    async with (
        NatsDLQ(settings) as dlq,
        NatsEventBus(settings, dlq=dlq) as bus,
        Replayer(dlq, target=settings.model_copy()) as replayer,
    ):
        await push(dlq, *map(entry, range(3)))
        bus.subscribe(OrderPlaced, service.on_order, channel="orders")
        report = await replayer.run(await replayer.plan(), canary=3)
        assert report.state is ReplayState.CANARY_FAILED
        assert report.came_back
        [record] = await replayer.log()
        assert (record.canary, record.came_back) == (Canary(3), report.came_back)


async def test_canary_ends_when_all_consumers_are_done_with_it(
    make_settings: MakeSettings,
) -> None:
    settings = make_settings(max_deliver=2)
    service = Broken()
    service.repaired = True
    async with (
        NatsDLQ(settings) as dlq,
        NatsEventBus(settings, dlq=dlq) as bus,
        Replayer(dlq) as replayer,
    ):
        await push(dlq, *map(entry, range(10)))
        bus.subscribe(OrderPlaced, service.on_order, channel="orders")
        report = await replayer.run(await replayer.plan(), canary=Canary(2, wait_seconds=3600))
        assert report.counts == {ReplayOutcome.REPLAYED: 10}
        await until(lambda: len(service.handled) == 10)


def test_canary_waits_for_as_long_as_a_message_is_tried(
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = NatsEventBusSettings()  # gives a message up after 1 + 2 + 4 + 8 s
    assert 15 < seconds_to_wait(Canary(), settings) < 60
    assert seconds_to_wait(Canary(), settings.model_copy(update={"max_deliver": 10**9})) == 300
    once = settings.model_copy(update={"delivery_semantics": NatsDeliverySemantics.AT_MOST_ONCE})
    assert seconds_to_wait(Canary(), once) < 15
    caplog.clear()
    assert seconds_to_wait(Canary(wait_seconds=20), settings) == 20
    assert not caplog.messages
    assert seconds_to_wait(Canary(wait_seconds=2), settings) == 2
    assert "watched for 2 s, but the bus gives a message up only after 15 s" in caplog.text


async def test_canary_that_is_refused_stops_the_run(
    settings: NatsEventBusSettings, dlq: NatsDLQ, replayer: Replayer, nc: Client
) -> None:
    async with NatsEventBus(settings):
        pass  # makes the stream
    config = (await nc.jetstream().stream_info(settings.stream_name)).config
    await nc.jetstream().update_stream(config, max_msg_size=100)
    await push(dlq, *map(entry, range(5)))
    await nc.jetstream().update_stream(config, max_msgs=1, discard="new", max_msg_size=-1)
    await nc.jetstream().publish(settings.subject_name("full"), b"")
    report = await replayer.run(await replayer.plan(), canary=Canary(2, wait_seconds=0))
    assert report.state is ReplayState.CANARY_FAILED
    assert report.counts == {ReplayOutcome.FAILED: 2, ReplayOutcome.NOT_TRIED: 3}


# Watching and steering


async def test_progress_and_observers(dlq: NatsDLQ, replayer: Replayer) -> None:
    await push(dlq, *map(entry, range(5)))
    told: list[ReplayProgress] = []
    seen: list[DeliveryEvent] = []
    observation = replayer.observe(seen.append)
    report = await replayer.run(await replayer.plan(), progress=told.append)
    observation.cancel()
    assert told[0].phase == "preparing"
    assert (told[-1].phase, told[-1].done, told[-1].total) == ("done", 5, 5)
    assert [event.kind for event in seen] == [DeliveryKind.REPLAYED] * 5
    assert [event.seq for event in seen] == [row.seq for row in report.rows]
    assert {event.event_type for event in seen} == {"order.placed"}


async def test_pause_resume_and_cancel(
    settings: NatsEventBusSettings, dlq: NatsDLQ, replayer: Replayer
) -> None:
    await push(dlq, *map(entry, range(50)))
    control, told = ReplayControl(), []
    first = asyncio.Event()
    replayer.observe(lambda event: first.set())
    run = asyncio.create_task(
        replayer.run(await replayer.plan(), rate=100, control=control, progress=told.append)
    )
    await first.wait()
    control.pause()
    assert repr(control) == "ReplayControl(paused)"
    await until(lambda: told[-1].phase == "paused")
    await until(lambda: _is(dlq.count(), 50 - told[-1].done))
    assert (await replayer.log())[0].state is ReplayState.RUNNING
    control.resume()
    at = told[-1].done
    await until(lambda: told[-1].done > at)
    await asyncio.to_thread(control.cancel)
    report = await run
    assert report.state is ReplayState.CANCELLED
    replayed = len(report.of(ReplayOutcome.REPLAYED))
    assert replayed + len(report.of(ReplayOutcome.NOT_TRIED)) == 50
    assert await dlq.count() == 50 - replayed
    assert len(await stored(settings)) == replayed
    assert (await replayer.log())[0].state is ReplayState.CANCELLED


def test_pace() -> None:
    rate = Pace(rate=10)
    assert rate.wait(100.0, 0) == 0
    rate.sent()
    assert rate.wait(100.0, 0) == pytest.approx(0.1)
    rate.restart()
    assert rate.wait(200.0, 0) == 0
    at_once = 0
    while rate.wait(300.0, 0) <= 0:  # nothing could be sent for 100 s
        rate.sent()
        at_once += 1
    assert at_once <= 3
    speed = Pace(speed=2)
    assert speed.wait(0.0, 5_000_000_000) == 0
    speed.sent()
    assert speed.wait(0.5, 9_000_000_000) == pytest.approx(1.5)
    assert Pace().wait(1.0, 5) == 0


# The log


async def test_log(dlq: NatsDLQ, replayer: Replayer) -> None:
    assert await replayer.log() == []
    entries = await push(dlq, *map(entry, range(4)))
    await replayer.run(await replayer.plan(limit=3, note="first"))
    await replayer.discard([entries[3].entry_id], confirm="discard", note="of no use")
    second, first = await replayer.log()
    assert (second.kind, second.note, second.outcome) == (
        ReplayKind.DISCARD,
        "of no use",
        {"discarded": 1},
    )
    assert (first.kind, first.note, first.outcome) == (
        ReplayKind.REPLAY,
        "first",
        {"replayed": 3},
    )
    assert first.who.startswith("ada@")
    assert first.state is ReplayState.DONE
    assert first.plan["to"] == {"orders": 3}
    assert first.ended_at is not None
    assert first.ended_at > first.started_at
    assert len(await replayer.log(limit=1)) == 1


async def test_log_has_what_became_of_each_row(dlq: NatsDLQ, replayer: Replayer) -> None:
    entries = await push(dlq, *map(entry, range(3)), entry(source=DeadLetterSource.JOB))
    plan = await replayer.plan(
        edits={entries[1].entry_id: b'{"order_id": "fixed"}'},
        transform=lambda payload: None if payload["order_id"] == "2" else payload,
    )
    plan = replace(plan, rows=tuple(row for row in plan.rows if row.entry_id is not None))
    report = await replayer.run(plan, rate=500)
    [record] = await replayer.log()
    assert (record.rate, record.again, record.came_back) == (500, False, ())
    rows = await replayer.log_rows(report.replay_id)
    assert [(row.entry_id, row.outcome, row.seq, row.removed, row.why) for row in rows] == [
        (row.entry_id, row.outcome, row.seq, row.removed, row.why) for row in report.rows
    ]
    assert {row.entry_id for row in rows} == {one.entry_id for one in entries}
    assert [row.edited for row in rows] == [row.edited for row in plan.rows]
    with pytest.raises(LookupError, match="has no run 'nonsense'"):
        await replayer.log_rows("nonsense")


def test_rows_of_the_log_fit_into_its_messages() -> None:
    rows = [
        ReplayResult(str(uuid4()), None, "orders", "orders", ReplayOutcome.FAILED, why="x" * 3000)
        for _ in range(500)
    ]
    chunks = encode_rows(rows, set(), 2000)
    assert max(map(len, chunks)) <= 2000
    found = [row for chunk in chunks for row in decode_rows(chunk)]
    assert [row.key for row in found] == [row.key for row in rows]
    assert {row.outcome for row in found} == {ReplayOutcome.FAILED}


async def test_a_log_that_loses_a_plan_at_once_ends_the_run(
    make_settings: MakeSettings, nc: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings(publish_timeout_seconds=0.5)
    write = ReplayLog.write_head

    async def write_and_lose(log: ReplayLog, head: PlanHead) -> int:
        seq = await write(log, head)
        await nc.jetstream().purge_stream(log.stream)
        return seq

    monkeypatch.setattr(ReplayLog, "write_head", write_and_lose)
    async with NatsDLQ(settings) as dlq, Replayer(dlq) as replayer:
        await push(dlq, entry())
        with pytest.raises(ReplayLogError, match="is not in it"):
            await replayer.run(await replayer.plan())
        assert await dlq.count() == 1


async def test_runs_leave_no_subscription_behind(dlq: NatsDLQ, replayer: Replayer) -> None:
    assert replayer._store is not None
    subscriptions = replayer._store.connection.nc._subs
    counts = []
    for number in range(2):
        await push(dlq, *map(entry, range(3)))
        await replayer.run(await replayer.plan(limit=2))
        await replayer.discard(await replayer.plan(), confirm="discard", note=str(number))
        counts.append(len(subscriptions))
    assert counts[0] == counts[1]


async def test_a_log_that_cannot_be_written_sends_nothing(
    settings: NatsEventBusSettings, dlq: NatsDLQ, replayer: Replayer, nc: Client
) -> None:
    await push(dlq, entry())
    await replayer.run(await replayer.plan())
    js = nc.jetstream()
    config = (await js.stream_info(f"{settings.stream_name}-replays")).config
    await js.update_stream(config, max_msgs=1, discard="new")
    await push(dlq, entry())
    with pytest.raises(ReplayLogError, match="check the connection and that the stream has room"):
        await replayer.run(await replayer.plan())
    assert await dlq.count() == 1
    assert len(await stored(settings)) == 1


@pytest.mark.timeout(60)
async def test_forty_thousand_entries(settings: NatsEventBusSettings, dlq: NatsDLQ) -> None:
    async with Replayer(dlq) as replayer:
        await push(dlq, entry())
        plan = await replayer.plan()
        [row] = plan.rows
        ids = [uuid4() for _ in range(40_000)]
        rows = tuple(replace(row, key=str(one), entry_id=one) for one in ids)
        report = await replayer.run(replace(plan, rows=(*rows, row)))
        assert report.counts == {ReplayOutcome.SKIPPED: 40_000, ReplayOutcome.REPLAYED: 1}
        [record] = await replayer.log()
        assert record.plan["replay"] == 40_001


async def test_not_started_says_so(settings: NatsEventBusSettings) -> None:
    with pytest.raises(NotStartedError):
        await Replayer(settings).plan()


# Discarding


async def test_discard_wants_a_word_or_an_export(
    dlq: NatsDLQ, replayer: Replayer, tmp_path: Path
) -> None:
    entries = await push(dlq, *map(entry, range(4)), entry(source=DeadLetterSource.JOB))
    ids = [one.entry_id for one in entries]
    with pytest.raises(ReplayRefusedError, match="confirm='discard'"):
        await replayer.discard(ids)
    with pytest.raises(ReplayRefusedError, match="there is no"):
        await replayer.discard(ids, exported_to=tmp_path / "missing")
    assert await dlq.count() == 5
    file = tmp_path / "export.ndjson"
    for nothing in (tmp_path, file):
        file.write_text("{}")
        with pytest.raises(ReplayRefusedError, match=r"no file|no entry id"):
            await replayer.discard(ids, exported_to=nothing)
    file.write_text("".join(f'{{"entry_id":"{one}"}}\n' for one in ids[:2]))
    report = await replayer.discard(ids[:3], exported_to=file)
    assert report.counts == {ReplayOutcome.DISCARDED: 2, ReplayOutcome.SKIPPED: 1}
    assert [row.why for row in report.rows] == ["", "", "not in the export"]
    plan = await replayer.plan()
    report = await replayer.discard(plan, confirm="discard")
    assert report.counts == {ReplayOutcome.DISCARDED: 2, ReplayOutcome.SKIPPED: 1}
    report = await replayer.discard(ids, confirm="discard")
    assert report.counts == {ReplayOutcome.SKIPPED: 4, ReplayOutcome.DISCARDED: 1}
    assert await dlq.count() == 0
    assert (await replayer.log())[-1].exported_to == str(file)


async def test_discard_takes_only_a_plan_of_its_own_queue(
    settings: NatsEventBusSettings, dlq: NatsDLQ, replayer: Replayer
) -> None:
    await publish(settings, 1)
    await push(dlq, *map(entry, range(2)))
    other = settings.model_copy(
        update={"stream_name": f"{settings.stream_name}-2", "subject_prefix": uuid4().hex}
    )
    async with NatsDLQ(other) as queue, Replayer(queue) as theirs:
        await push(queue, *map(entry, range(2)))
        with pytest.raises(ReplayRefusedError, match="another queue"):
            await replayer.discard(await theirs.plan(), confirm="discard")
    history = await replayer.plan_history("orders", to="copy")
    with pytest.raises(ReplayRefusedError, match="no dead letters to discard"):
        await replayer.discard(history, confirm="discard")
    with pytest.raises(ValueError, match="entry ids as a list"):
        await replayer.discard(None, confirm="discard")  # type: ignore[arg-type]
    assert await dlq.count() == 2


async def test_what_cannot_be_removed_is_not_said_to_be(
    settings: NatsEventBusSettings, dlq: NatsDLQ, replayer: Replayer, nc: Client
) -> None:
    await push(dlq, *map(entry, range(3)))
    plan = await replayer.plan()
    js = nc.jetstream()
    config = (await js.stream_info(f"{settings.stream_name}-dlq")).config
    await js.update_stream(config, sealed=True)
    discarded = await replayer.discard(plan, confirm="discard")
    replayed = await replayer.run(plan)
    assert discarded.counts == {ReplayOutcome.FAILED: 3}
    assert replayed.counts == {ReplayOutcome.REPLAYED: 3}
    for report in (discarded, replayed):
        assert not any(row.removed for row in report.rows)
        assert "sealed" in report.rows[0].why
        assert report.why == "3 dead letters could not be removed"
    assert {record.why for record in await replayer.log()} == {replayed.why}


async def test_discard_can_be_cancelled(dlq: NatsDLQ, replayer: Replayer) -> None:
    await push(dlq, *map(entry, range(20)))
    control, told = ReplayControl(), []
    control.pause()
    run = asyncio.create_task(
        replayer.discard(
            await replayer.plan(), confirm="discard", control=control, progress=told.append
        )
    )
    await until(lambda: bool(told) and told[-1].phase == "paused")
    control.cancel()
    report = await run
    assert report.counts == {ReplayOutcome.NOT_TRIED: 20}
    [record] = await replayer.log()
    assert (record.kind, record.state) == (ReplayKind.DISCARD, ReplayState.CANCELLED)
    assert (record.plan["discard"], record.plan["from"]) == (20, {"orders": 20})
    assert await dlq.count() == 20


async def test_discard_leaves_alone_what_is_being_replayed(
    dlq: NatsDLQ, replayer: Replayer
) -> None:
    await push(dlq, *map(entry, range(10)))
    plan, control = await replayer.plan(), ReplayControl()
    control.pause()
    run = asyncio.create_task(replayer.run(plan, control=control))
    await until(lambda: _has_run(replayer))
    report = await replayer.discard(plan, confirm="discard")
    control.resume()
    assert report.counts == {ReplayOutcome.SKIPPED: 10}
    assert (await run).counts == {ReplayOutcome.REPLAYED: 10}


async def _has_run(replayer: Replayer) -> bool:
    return bool(await replayer.log())


# History


async def publish(settings: NatsEventBusSettings, count: int, channel: str = "orders") -> None:
    async with NatsEventBus(settings) as bus:
        events = [(OrderPlaced(order_id=str(number)), channel) for number in range(count)]
        await bus.publish_many(events)


def order_ids(messages: list[StoredMessage]) -> list[str]:
    return [json.loads(message.data)["order_id"] for message in messages]


async def test_history_goes_to_another_channel_in_order(
    settings: NatsEventBusSettings, replayer: Replayer
) -> None:
    await publish(settings, 30)
    plan = await replayer.plan_history("orders", to="copy", start_seq=3, end_seq=27, note="try")
    assert (plan.kind, len(plan)) == (ReplayKind.HISTORY, 25)
    report = await replayer.run(plan)
    assert report.counts == {ReplayOutcome.REPLAYED: 25}
    copied = await stored(settings, "copy")
    assert order_ids(copied) == [str(number) for number in range(2, 27)]
    assert copied[0].headers is not None
    assert copied[0].headers["Varco-Replay-Of"] == f"{settings.stream_name}:3"
    assert (await replayer.log())[0].note == "try"


async def test_history_to_the_live_channel_wants_a_word(
    settings: NatsEventBusSettings, make_settings: MakeSettings, replayer: Replayer
) -> None:
    await publish(settings, 3)
    for to in (None, "orders"):
        with pytest.raises(ReplayRefusedError, match="live=True"):
            await replayer.plan_history("orders", to=to)
    # the same server by another name
    alias = settings.model_copy(
        update={"servers": settings.servers.replace("127.0.0.1", "localhost")}
    )
    async with Replayer(settings, target=alias) as other:
        with pytest.raises(ReplayRefusedError, match="live=True"):
            await other.plan_history("orders")
    plan = await replayer.plan_history("orders", live=True)
    assert (await replayer.run(plan)).counts == {ReplayOutcome.REPLAYED: 3}
    assert len(await stored(settings)) == 6


async def test_history_to_a_sandbox_with_a_transform(settings: NatsEventBusSettings) -> None:
    await publish(settings, 10)

    def transform(payload: dict[str, Any]) -> dict[str, Any] | None:
        return None if payload["order_id"] == "4" else {**payload, "total": 2}

    async with LocalNats() as sandbox:
        target = NatsEventBusSettings(servers=sandbox.url)
        async with Replayer(settings, target=target) as replayer:
            plan = await replayer.plan_history("orders", transform=transform)
            report = await replayer.run(plan)
            assert report.counts == {ReplayOutcome.REPLAYED: 9, ReplayOutcome.SKIPPED: 1}
            copied = await stored(target)
    assert {json.loads(message.data)["total"] for message in copied} == {2}
    assert len(copied) == 9


async def test_history_repeated_stores_nothing_twice_unless_told_to(
    make_settings: MakeSettings,
) -> None:
    settings = make_settings(duplicate_window_seconds=0.2)
    await publish(settings, 20)
    async with Replayer(settings) as replayer:
        stop = ReplayControl()
        seen = 0

        def count(event: DeliveryEvent) -> None:
            nonlocal seen
            seen += 1
            if seen == 5:
                stop.cancel()

        observation = replayer.observe(count)
        plan = await replayer.plan_history("orders", to="copy")
        first = await replayer.run(plan, control=stop, in_flight=1)
        observation.cancel()
        assert first.state is ReplayState.CANCELLED
        await asyncio.sleep(0.4)  # the server forgets the message ids
        second = await replayer.run(await replayer.plan_history("orders", to="copy"))
        assert second.counts == {ReplayOutcome.DUPLICATE: seen, ReplayOutcome.REPLAYED: 20 - seen}
        assert order_ids(await stored(settings, "copy")) == [str(n) for n in range(20)]
        again = await replayer.run(await replayer.plan_history("orders", to="copy", again=True))
        assert again.counts == {ReplayOutcome.REPLAYED: 20}


async def test_history_that_differs_is_another_replay(
    make_settings: MakeSettings, nc: Client
) -> None:
    settings = make_settings(duplicate_window_seconds=0.2)
    target = make_settings(
        duplicate_window_seconds=0.2,
        stream_name=f"{settings.stream_name}-2",
        subject_prefix=f"{settings.subject_prefix}-2",
    )
    await publish(settings, 5)
    async with Replayer(settings, target=target) as replayer:
        await replayer.run(await replayer.plan_history("orders"))
        await asyncio.sleep(0.4)  # the server forgets the message ids
        doubled = await replayer.plan_history("orders", transform=lambda p: {**p, "total": 2})
        for outcome in (ReplayOutcome.REPLAYED, ReplayOutcome.DUPLICATE):
            assert (await replayer.run(doubled)).counts == {outcome: 5}
        record = (await replayer.log())[0]
        assert record.history["channel"] == "orders"
        assert (record.history["first_seq"], record.history["last_seq"]) == (1, 5)

        await nc.jetstream().purge_stream(target.stream_name)
        gone = await replayer.run(await replayer.plan_history("orders"))
        assert gone.counts == {ReplayOutcome.SKIPPED: 5}
        assert "stored it, and the messages of that time are gone" in gone.rows[0].why

        await nc.jetstream().delete_stream(settings.stream_name)
        await publish(settings, 5)  # other messages with the same sequences
        assert (await replayer.run(await replayer.plan_history("orders"))).counts == {
            ReplayOutcome.REPLAYED: 5
        }


async def test_history_replayed_by_two_at_once_is_refused(
    settings: NatsEventBusSettings, replayer: Replayer
) -> None:
    await publish(settings, 10)
    plan, control = await replayer.plan_history("orders", to="copy"), ReplayControl()
    control.pause()
    run = asyncio.create_task(replayer.run(plan, control=control))
    await until(lambda: _has_run(replayer))
    with pytest.raises(ReplayHeldError, match="ada@"):
        await replayer.run(plan)
    control.resume()
    assert (await run).counts == {ReplayOutcome.REPLAYED: 10}
    assert len(await stored(settings, "copy")) == 10
    states = [record.state for record in await replayer.log()]
    assert states == [ReplayState.STOPPED, ReplayState.DONE]


async def test_history_keeps_its_order_where_the_stream_is_away_for_a_moment(
    make_settings: MakeSettings, nc: Client
) -> None:
    settings = make_settings(publish_attempts=30)
    await publish(settings, 40)
    js = nc.jetstream()
    config = (await js.stream_info(settings.stream_name)).config
    away = [settings.subject_name("orders")]
    seen: list[DeliveryEvent] = []
    async with Replayer(settings) as replayer:
        replayer.observe(seen.append)
        plan = await replayer.plan_history("orders", to="copy")
        run = asyncio.create_task(replayer.run(plan, rate=100))
        await until(lambda: len(seen) >= 5)
        await js.update_stream(config, subjects=away)
        await asyncio.sleep(0.1)  # in which some are refused
        await js.update_stream(config)
        report = await run
    assert report.counts == {ReplayOutcome.REPLAYED: 40}
    assert order_ids(await stored(settings, "copy")) == [str(number) for number in range(40)]


async def test_history_at_its_pace(settings: NatsEventBusSettings, replayer: Replayer) -> None:
    async with NatsEventBus(settings) as bus:
        for number in range(3):
            await bus.publish(OrderPlaced(order_id=str(number)), channel="orders")
            await asyncio.sleep(0.2)
    original = await stored(settings)
    await replayer.run(await replayer.plan_history("orders", to="copy"), speed=1.0)
    copied = await stored(settings, "copy")

    def span(messages: list[StoredMessage]) -> int:
        return messages[-1].time_ns - messages[0].time_ns

    assert span(copied) >= span(original) * 0.9  # a lower bound; a busy machine is slower


# Given up by a service without a dead letter queue


async def exhaust(settings: NatsEventBusSettings, nc: Client, *, fail: set[str]) -> None:
    """A service that gives up after two deliveries; handles all but the orders in `fail`."""
    js = nc.jetstream()
    await js.add_consumer(
        settings.stream_name,
        ConsumerConfig(
            durable_name="plain",
            filter_subject=settings.subject_name("orders"),
            ack_policy=AckPolicy.EXPLICIT,
            max_deliver=2,
        ),
    )
    sub = await js.pull_subscribe_bind("plain", stream=settings.stream_name)
    while (info := await sub.consumer_info()).num_pending or info.num_ack_pending:
        with suppress(TimeoutError):  # the server gives up a message when it is asked for more
            for message in await sub.fetch(100, timeout=0.1):
                ok = json.loads(message.data)["order_id"] not in fail
                await (message.ack() if ok else message.nak())
    await sub.unsubscribe()


async def consumer_state(settings: NatsEventBusSettings, nc: Client) -> tuple[Any, ...]:
    info = await nc.jetstream().consumer_info(settings.stream_name, "plain")
    assert info.ack_floor is not None
    assert info.delivered is not None
    floor, delivered = info.ack_floor.stream_seq, info.delivered.stream_seq
    return floor, delivered, info.num_redelivered, info.num_ack_pending


async def test_exhausted_messages_are_found_after_the_service_went_on(
    settings: NatsEventBusSettings, dlq: NatsDLQ, replayer: Replayer, nc: Client
) -> None:
    await publish(settings, 300)
    heard: list[ExhaustedMessage] = []
    async with replayer.watch_exhausted(heard.append):
        await exhaust(settings, nc, fail={"7", "100"})
        await until(lambda: len(heard) == 2)
    assert [(one.seq, one.certain, one.num_delivered) for one in heard] == [
        (8, True, 2),
        (101, True, 2),
    ]
    # nothing there says which
    await until(lambda: _is(consumer_state(settings, nc), (300, 300, 2, 0)))

    found = await replayer.find_exhausted("orders")

    assert [one.seq for one in found] == list(range(1, 301))
    assert not any(one.certain for one in found)
    assert (found.captured_since, found.unidentified, found.truncated) == (
        None,
        {"plain": 2},
        False,
    )
    some = await replayer.find_exhausted("orders", limit=5)
    assert ([one.seq for one in some], some.truncated) == ([296, 297, 298, 299, 300], True)
    [one] = await replayer.find_exhausted("orders", start_seq=8, end_seq=8)
    assert (one.entry_id, one.event_type) == (heard[0].entry_id, "order.placed")

    await replayer.capture_exhausted()
    await replayer.capture_exhausted()  # it is there
    await publish(settings, 20)
    await exhaust(settings, nc, fail={"3"})
    await until(lambda: _is(_certain(replayer), [304]))
    before = await consumer_state(settings, nc)
    found = await replayer.find_exhausted("orders")
    assert [one.seq for one in found] == [*range(1, 301), 304]  # the capture knows all others
    assert (found.unidentified, found.gone) == ({"plain": 2}, 0)
    assert found.captured_since is not None
    assert await consumer_state(settings, nc) == before
    await nc.jetstream().delete_msg(settings.stream_name, 304)
    assert (await replayer.find_exhausted("orders")).gone == 1
    await replayer.stop_capturing_exhausted()
    await replayer.stop_capturing_exhausted()
    assert (await replayer.find_exhausted("orders")).captured_since is None


async def test_what_is_no_advisory_costs_nothing(
    settings: NatsEventBusSettings,
    dlq: NatsDLQ,
    replayer: Replayer,
    nc: Client,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await publish(settings, 20)
    await replayer.capture_exhausted()
    sound = {
        "type": "io.nats.jetstream.advisory.v1.max_deliver",
        "consumer": "other",
        "stream_seq": 3,
        "deliveries": 2,
        "timestamp": "2026-01-01T00:00:00Z",
    }
    odd = [None, True, -1, 0, 0.5, float("inf"), 2**64, 10**400, "", "\ud800", [], {}, "x\ny"]
    bad = [b"", b"\xff", b"null", b"[]", b"7", b'"type"', b"[" * 100_000, b'{"type": 1}']
    bad += [
        json.dumps({**sound, name: value}).encode()
        for name in sound
        if name != "type"
        for value in odd
        if not (name == "consumer" and isinstance(value, str | int | float | list | dict))
    ]
    bad += [json.dumps({**sound, "consumer": "\ud800"}).encode()]
    bad += [json.dumps({**sound, "timestamp": "2026-01-01T00:00:00"}).encode()]
    heard: list[ExhaustedMessage] = []
    subject = f"$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.{settings.stream_name}.other"
    js = nc.jetstream()
    async with replayer.watch_exhausted(heard.append):
        wrong = {(await js.publish(subject, data)).seq for data in bad}
        await exhaust(settings, nc, fail={"7"})
        await until(lambda: any(one.seq == 8 for one in heard))
    await until(lambda: _is(_certain_of(replayer, "plain"), [8]))
    found = await replayer.find_exhausted("orders")
    told = [line for line in caplog.messages if "cannot be read" in line]
    assert {int(line.split()[1]) for line in told} <= wrong
    assert len(told) == len(set(told)) > 40
    assert all(f"of stream {settings.stream_name}-exhausted cannot" in line for line in told)
    for message in found:
        assert message.seq in range(1, 21)
        await replayer.dead_letter(message)
    assert await dlq.count() == len(found)


async def _certain_of(replayer: Replayer, consumer: str) -> list[int]:
    found = await replayer.find_exhausted("orders")
    return [one.seq for one in found if one.certain and one.consumer == consumer]


async def _certain(replayer: Replayer) -> list[int]:
    return [one.seq for one in await replayer.find_exhausted("orders") if one.certain]


@pytest.mark.parametrize("audited", [False, True])
async def test_what_the_bus_gave_up_is_made_a_dead_letter_once(
    audited: bool, make_settings: MakeSettings, nc: Client
) -> None:
    settings = make_settings(max_deliver=2)
    service = Broken()
    if audited:  # a stream of somebody else keeps all advisories
        name = settings.stream_name
        subjects = [f"$JS.EVENT.ADVISORY.CONSUMER.*.{name}.>"]
        config = StreamConfig(name=f"{name}-audit", subjects=subjects, allow_direct=False)
        await nc.jetstream().add_stream(config)
    async with Replayer(settings, user="ada") as replayer, NatsEventBus(settings) as bus:
        await replayer.capture_exhausted()
        bus.subscribe(OrderPlaced, service.on_order, channel="orders")
        headers = {"Trace": "abc"}
        body = b'{"__event_type__": "order.placed", "order_id": "1", "more": 1}'
        await nc.jetstream().publish(settings.subject_name("orders"), body, headers=headers)
        await until(lambda: _is(_certain(replayer), [1]))
        names = {info.config.name for info in await nc.jetstream().streams_info()}
        assert (f"{settings.stream_name}-exhausted" in names) is not audited
        service.repaired = True
        await bus.publish(OrderPlaced(order_id="2"), channel="orders")
        await until(lambda: service.handled == ["2"])

        [one] = await replayer.find_exhausted("orders")
        assert (one.reason, one.num_delivered, one.in_queue) == ("RuntimeError", 2, False)
        for _ in range(2):  # stored once
            await replayer.dead_letter(one, note="the gateway was down")
        [again] = await replayer.find_exhausted("orders")
        assert again.in_queue
        async with NatsDLQ(settings) as dlq:
            [letter] = await dlq.list_entries()
            assert letter.error_type == "RuntimeError"
            assert "after 2 deliveries; put here by ada@" in letter.error_message
            assert letter.error_message.endswith(": the gateway was down")
            assert (letter.last_failed_at, letter.attempts) == (one.given_up_at, 2)

        await replayer.run(await replayer.plan())
        await until(lambda: service.handled == ["2", "1"])
        message = (await stored(settings))[-1]
        assert message.data == body
        assert message.headers is not None
        assert (message.headers["Trace"], message.headers["Varco-Delivery-Count"]) == ("abc", "2")
        [again] = await replayer.find_exhausted("orders")
        assert again.handled_by is not None
        assert not again.in_queue
        with pytest.raises(ReplayRefusedError, match="again=True"):
            await replayer.dead_letter(again)
        await nc.jetstream().delete_msg(settings.stream_name, 1)
        with pytest.raises(DeadLetterError, match=r"message 1 .* is no longer stored"):
            await replayer.dead_letter(one)


async def test_nothing_is_exhausted_where_the_bus_counts_deliveries(
    settings: NatsEventBusSettings, replayer: Replayer
) -> None:
    handled = asyncio.Event()

    async def handle(event: Event) -> None:
        handled.set()

    async with NatsEventBus(settings) as bus:
        bus.subscribe(OrderPlaced, handle, channel="orders")
        await bus.publish(OrderPlaced(order_id="1"), channel="orders")
        await handled.wait()
        assert not await replayer.find_exhausted("orders")


async def test_reprs_are_short(dlq: NatsDLQ, replayer: Replayer) -> None:
    await push(dlq, *map(entry, range(3)))
    plan = await replayer.plan()
    assert "replay 3 of 3" in repr(plan)
    assert repr(await replayer.run(plan)) == "ReplayReport(done: 3 replayed)"
    assert repr(replayer).startswith("Replayer(")
