"""What a plan takes, what it leaves out and why, and which arguments are refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from nats.aio.client import Client
from varco_core.event.dlq import DeadLetterSource
from varco_core.event.serializer import JsonEventSerializer

from tests.conftest import MakeSettings
from tests.core.helpers import START, entry, push
from tests.core.replay.helpers import decisions, publish, stored
from tests.events import OrderShipped
from varco_nats import NatsDLQ, NatsEventBusSettings
from varco_nats._nats.delivery import MessageDelivery
from varco_nats._nats.direct import StoredMessage
from varco_nats.dlq._codec import DlqNames, decode, encode
from varco_nats.errors import InvalidChannelError, StreamNotFoundError
from varco_nats.replay import ReplayDecision, Replayer, ReplayOutcome, ReplayState
from varco_nats.replay._plan import PlannedReplay, is_larger, size_of
from varco_nats.replay._plan_rows import _ROOM, Destination, PlanOptions, plan_entry


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

    report = await replayer.run(plan, confirm="nobody")

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
    many = [entry.entry_id for entry in entries] + [uuid4() for _ in range(150)]
    assert (await replayer.plan(many)).summary["replay"] == 3
    some = await replayer.plan([entry.entry_id for entry in entries], limit=2)
    assert [row.entry_id for row in some.rows] == [entry.entry_id for entry in entries[:2]]


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
        return {name for name in names if name.startswith(settings.stream_name)}

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
    report = await replayer.run(plan, confirm="nobody")  # gone since
    empty = await replayer.run(await replayer.plan(channel="none"))
    missing = await replayer.discard([one.entry_id], confirm="discard")
    done = await replayer.run(await replayer.plan([one.entry_id, other.entry_id]), confirm="nobody")

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
        with pytest.raises(ValueError, match=r"entry ids as a list|is not an entry id"):
            await replayer.plan(ids)
    for wrong in ({"rate": 0}, {"speed": -1}, {"rate": 1, "speed": 1}, {"in_flight": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            await replayer.run(plan, **wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="count must be 1 or more"):
        await replayer.run(plan, canary=0)
    assert await dlq.count() == 1


ROW = PlannedReplay(
    key="k",
    entry_id=None,
    seq=1,
    channel="a",
    to="b",
    subject="b",
    event_id="secret",
    event_type=None,
    payload=b"secret",
    headers={"authorization": "secret"},
)


@given(
    st.dictionaries(st.text("aé-", min_size=1, max_size=9), st.text('x€"\\', max_size=30)),
    st.sampled_from([0, 1, 300, 20_000]),
    st.sampled_from(['{"a": "€"}', "\\", "\x01", "€", "\udc80"]),
    st.sampled_from([None, 1000]),
)
def test_a_row_that_is_not_measured_is_not_too_large(
    headers: dict[str, str], times: int, text: str, max_size: int | None
) -> None:
    payload = (text * times).encode(errors="surrogateescape")
    letter = replace(entry(), event=None, payload=payload)
    delivery = MessageDelivery("orders", "events", 1, 3, headers, "svc", payload=payload)
    data = encode(letter, JsonEventSerializer(), delivery, max_size=max_size)
    names = DlqNames("dead", "dead")
    subject = names.subject(letter.entry_id, letter.channel)
    dead = decode(StoredMessage(1, subject, 0, data, None), names)
    target = Destination(NatsEventBusSettings(_env_file=None), 1 << 20)
    row = plan_entry(dead, PlanOptions(), target)
    assert row.payload == payload
    assert dead.at_most is None or size_of(row) <= dead.at_most + _ROOM
    limited = plan_entry(dead, PlanOptions(), replace(target, max_payload=size_of(row) - 1))
    assert limited.why.startswith("too large")


@given(
    st.dictionaries(st.text("aé-", max_size=9), st.text("x€\n", max_size=30), max_size=4),
    st.integers(0, 400),
)
def test_what_is_too_large_is_known_to_the_byte(headers: dict[str, str], length: int) -> None:
    row = structs.replace(ROW, payload=b"x" * length, headers=headers)
    size = size_of(row)
    assert [is_larger(row, limit) for limit in (size - 1, size, size + 1)] == [True, False, False]


def test_a_row_says_what_it_is_and_nothing_of_its_payload() -> None:
    row = structs.replace(ROW, error_message="secret", why="it is late")
    assert repr(row) == "PlannedReplay(replay k of a to b: it is late)"
    with pytest.raises(AttributeError):
        row.why = "x"  # type: ignore[misc]
