"""Frames, groups and single entries of a queue."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pandas as pd
import pytest
from nats.aio.client import Client
from varco_core.event.base import Event
from varco_core.event.dlq import DeadLetterSource
from varco_core.event.serializer import JsonEventSerializer
from varco_nats_widgets import Lab
from varco_nats_widgets.dead_letters import DeadLetterNotFoundError, DeadLetters

from tests.widgets.dead_letters.helpers import (
    START,
    LetterOrder,
    entries,
    entry,
    numbers,
    push,
    shown,
)
from varco_nats._nats.delivery import MessageDelivery
from varco_nats.config import NatsEventBusSettings
from varco_nats.dlq import NatsDLQ
from varco_nats.dlq._codec import encode


class LetterRefund(Event):
    __event_type__ = "letter.refund"

    number: int


async def test_a_frame_of_what_failed(lab: Lab, settings: NatsEventBusSettings) -> None:
    pushed = entries(7)
    await push(settings, *pushed)
    frame = await lab.dead_letters.aio.frame()
    assert frame.index.tolist() == [str(entry.entry_id) for entry in pushed]
    assert numbers(frame) == list(range(1, 8))
    assert frame["data.customer.name"].tolist() == ["Ada"] * 7
    assert frame["error_message"].tolist()[1:3] == ["no answer for o-2", "'k3'"]
    assert frame["last_failed_at"].tolist()[0] == START + timedelta(minutes=1, seconds=5)
    assert frame.attrs["completeness"] == {
        "expected": 7,
        "loaded": 7,
        "filtered": 0,
        "gaps": 0,
        "truncated_by": None,
    }
    plain = await asyncio.to_thread(lab.dead_letters.frame)
    pd.testing.assert_frame_equal(plain.drop(columns="age"), frame.drop(columns="age"))
    assert await lab.dead_letters.aio.count() == 7
    assert repr(lab.dead_letters) == f"DeadLetters({settings.stream_name}-dlq)"


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"channel": "payments"}, [3, 6, 9]),
        ({"channel": ["payments", "orders"], "error_type": "KeyError"}, [3, 6, 9, 12]),
        ({"channel": "nowhere"}, []),
        ({"handler": "Shop.on_order", "limit": 2}, [1, 2]),
        ({"error": "O-1"}, [1, 10, 11]),
        ({"event_type": LetterRefund}, [11]),
        ({"tenant_id": "t"}, [12]),
        ({"text": "ada", "until": START + timedelta(minutes=3)}, [1, 2]),
        ({"since": START + timedelta(minutes=9)}, [9, 10, 11, 12]),
        ({"source": "outbox_relay"}, [11]),
        ({"limit": 3, "newest_first": True}, [12, 11, 10]),
        ({"channel": "payments", "limit": 2, "newest_first": True}, [9, 6]),
        ({"newest_first": True}, list(range(12, 0, -1))),
        ({"condition": "total > 10.5 and error_type == 'TimeoutError'"}, [8, 10]),
        ({"condition": "data.total > 10.5", "channel": "payments"}, [9]),
        ({"condition": 'customer.name is missing or headers.tenant == "acme"'}, [11, 12]),
        ({"condition": 'headers.Tenant == "acme"'}, [12]),
        ({"condition": 'last_failed_at > "2026-05-04 08:10" and attempts == 3'}, [10, 11, 12]),
        ({"condition": " ", "limit": 1}, [1]),
    ],
)
async def test_filters(
    lab: Lab, nc: Client, settings: NatsEventBusSettings, given: dict[str, Any], found: list[int]
) -> None:
    await push(
        settings,
        *entries(10),
        entry(11, event=LetterRefund(number=11), source=DeadLetterSource.OUTBOX_RELAY),
    )
    delivery = MessageDelivery("orders", "events", 1, 3, {"tenant": "acme"}, "svc")
    last = entry(12, tenant_id="t", channel="orders")
    await nc.jetstream().publish(
        f"{settings.subject_prefix}-dlq.{last.entry_id}.orders",
        encode(last, JsonEventSerializer(), delivery),
    )
    frame = await lab.dead_letters.aio.frame(**given)
    assert numbers(frame) == found if found else frame.empty
    completeness = frame.attrs["completeness"]
    assert completeness["gaps"] == 0
    assert completeness["truncated_by"] == ("limit" if "limit" in given else None)


async def test_reading_backwards_over_many_windows(
    lab: Lab, settings: NatsEventBusSettings, nc: Client
) -> None:
    await push(settings, entry(0))
    stream = f"{settings.stream_name}-dlq"
    js = nc.jetstream()
    acks = [
        await js.publish_async(f"{settings.subject_prefix}-dlq.{uuid4()}.orders", b'{"n": %d}' % n)
        for n in range(2500)
    ]
    await asyncio.gather(*acks)
    removals = (
        nc.request(
            f"$JS.API.STREAM.MSG.DELETE.{stream}",
            b'{"seq": %d, "no_erase": true}' % seq,
            timeout=30,
        )
        for seq in range(600, 2300)
        if seq % 500
    )
    await asyncio.gather(*removals)
    letters = lab.dead_letters.aio
    forwards = await letters.frame()
    backwards = await letters.frame(newest_first=True)
    assert backwards.index.tolist() == forwards.index.tolist()[::-1]
    assert len(forwards) == (await js.stream_info(stream)).state.messages
    assert (await letters.groups())["count"].sum() == len(forwards)


async def test_looking_takes_nothing_and_sees_what_is_leased(
    lab: Lab, settings: NatsEventBusSettings, nc: Client
) -> None:
    pushed = entries(6)
    async with NatsDLQ(settings) as dlq:
        for entry in pushed:
            await dlq.push(entry)
        leased = await dlq.pop_batch(limit=2)
        letters = await shown(lab)
        letters.watch()
        frame = await letters.aio.frame()
        await letters.aio.groups()
        await letters.aio.entry(frame.index[0])
        await letters.aio.open(frame.index[5])
        assert len(frame) == 6
        rest = await dlq.pop_batch(limit=10)
        assert {entry.entry_id for entry in leased + rest} == {entry.entry_id for entry in pushed}
        for consumer in await nc.jetstream().consumers_info(f"{settings.stream_name}-dlq"):
            assert consumer.name == "__varco_dlq_relay__"
            assert consumer.num_redelivered == 0
        assert await dlq.count() == 6


async def test_a_queue_that_does_not_exist_is_empty_and_stays_so(
    lab: Lab, settings: NatsEventBusSettings, nc: Client
) -> None:
    letters = await shown(lab)
    frame = await letters.aio.frame()
    assert frame.empty
    assert {"channel", "handler", "error_message"} <= set(frame.columns)
    assert (await letters.aio.groups()).empty
    assert (await letters.aio.replays()).empty
    assert (await lab.aio.replays()).empty
    with pytest.raises(LookupError, match="nothing was replayed yet"):
        await lab.aio.replays("x")
    with pytest.raises(DeadLetterNotFoundError):
        await letters.aio.entry(uuid4())
    assert letters.entries == 0
    names = [info.config.name for info in await nc.jetstream().streams_info()]
    assert f"{settings.stream_name}-dlq" not in names
    assert f"{settings.stream_name}-replays" not in names


async def test_groups(lab: Lab, settings: NatsEventBusSettings) -> None:
    await push(settings, *entries(9))
    groups = await lab.dead_letters.aio.groups()
    assert groups["count"].tolist() == [6, 3]
    assert groups["message"].tolist() == ["no answer for o-<n>", "<value>"]
    assert groups["channels"].tolist() == [["orders"], ["payments"]]
    frame = await lab.dead_letters.aio.frame(group=groups.index[1])
    assert numbers(frame) == [3, 6, 9]
    assert (await lab.dead_letters.aio.groups(channel="payments"))["share"].tolist() == [1.0]


async def test_an_entry_whole(lab: Lab, settings: NatsEventBusSettings, nc: Client) -> None:
    bus = lab.bus
    event = LetterOrder(number=1)
    ack = await bus.publish_acked(event, channel="orders")
    gone = await bus.publish_acked(LetterOrder(number=2), channel="orders")
    await nc.jetstream().delete_msg(settings.stream_name, gone.seq)
    reference = f"{settings.stream_name}:{ack.seq}"
    pushed = [
        entry(1, event=event, source_ref=reference, tenant_id="t"),
        entry(2, event=event, source_ref=reference, handler_name="other"),
        entry(4, source_ref=reference),
        entry(5, source_ref=f"{settings.stream_name}:{gone.seq}"),
        entry(6, source_ref="job-17"),
        entry(7),
    ]
    await push(settings, *pushed)
    letters = lab.dead_letters.aio
    ids = [entry.entry_id for entry in pushed]
    first = await letters.entry(ids[0])
    assert first.original == "stored"
    assert first.copies == (ids[1],)
    assert first.payload["number"] == 1
    assert json.loads(first.data) == first.payload
    assert (first.event_type, first.event_id) == ("letter.order", str(event.event_id))
    assert (first.channel, first.handler, first.attempts) == ("orders", "Shop.on_order", 3)
    assert (first.tenant_id, first.replay_count, first.problem) == ("t", 0, None)
    assert repr(first) == f"DeadLetter({ids[0]})"
    originals = [(await letters.entry(str(entry_id))).original for entry_id in ids[2:]]
    assert originals == [
        f"another event is stored there now: {event.event_id}",
        "no longer stored",
        "no longer stored",
        "",
    ]
    with pytest.raises(DeadLetterNotFoundError, match="no dead letter 0000"):
        await letters.entry(UUID(int=1))
    with pytest.raises(ValueError, match="'x' is no entry's id"):
        await letters.entry("x")


async def test_wrong_arguments_are_refused(lab: Lab) -> None:
    letters = lab.dead_letters
    with pytest.raises(TypeError, match="there is no filter chanel"):
        await letters.aio.frame(chanel="x")  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="limit=0"):
        await letters.aio.frame(limit=0)
    with pytest.raises(ValueError, match="say which entries"):
        await letters.aio.plan()
    with pytest.raises(ValueError, match="not both"):
        await letters.aio.plan("matching", channel="x")
    with pytest.raises(ValueError, match="no row is chosen"):
        await letters.aio.plan("selected")
    with pytest.raises(ValueError, match="'everything': write 'selected'"):
        await letters.aio.plan("everything")
    with pytest.raises(TypeError, match="there is no filter rat"):
        await letters.aio.plan([uuid4()], rat=5)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="there is no plan yet"):
        await letters.aio.run(word="nobody")
    with pytest.raises(TypeError, match="takes a NatsDLQ or a Lab, not str"):
        DeadLetters("orders")  # type: ignore[arg-type]
