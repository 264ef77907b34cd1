"""Records of a bus in this process, and of services that one can only watch."""

from __future__ import annotations

import asyncio
import gc
import json
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pytest
from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig, RetentionPolicy
from varco_core.event.base import Event
from varco_nats_widgets import Lab
from varco_nats_widgets.record import DeliveryRecord
from varco_nats_widgets.record._consumer_tracker import ConsumerTracker

from tests.conftest import MakeSettings
from tests.waiting import until
from tests.widgets.test_record import assert_sums
from varco_nats._nats.advisories import AdvisoryKind, parse_advisory
from varco_nats.bus import NatsEventBus
from varco_nats.config import NatsEventBusSettings
from varco_nats.dlq import NatsDLQ
from varco_nats.errors import InvalidChannelError, StreamNotFoundError
from varco_nats.history import StoredMessage


class WatchedOrder(Event):
    __event_type__ = "watched.order"

    number: int


def refuse_the_second(event: Event) -> None:
    assert isinstance(event, WatchedOrder)
    if event.number == 2:
        raise ValueError("no second order")


@pytest.fixture
async def lab(settings: NatsEventBusSettings, nc: Client) -> AsyncIterator[Lab]:
    """On the shared server, with a stream of its own."""
    await nc.jetstream().add_stream(
        name=settings.stream_name, subjects=[f"{settings.subject_prefix}.>"], duplicate_window=60
    )
    opened = await asyncio.to_thread(Lab, settings)
    yield opened
    await asyncio.to_thread(opened.close)


@asynccontextmanager
async def service(settings: NatsEventBusSettings, **options: Any) -> AsyncIterator[NatsEventBus]:
    """A service that consumes `orders`, as another process would."""
    bus = NatsEventBus(settings, **options)
    bus.subscribe(WatchedOrder, refuse_the_second, channel="orders")
    async with bus:
        yield bus


async def place(bus: NatsEventBus, count: int = 3, channel: str = "orders") -> None:
    for number in range(1, count + 1):
        await bus.publish(WatchedOrder(number=number), channel=channel)


def ways(record: DeliveryRecord) -> list[list[str]]:
    """The kinds of each event's rows, in order of the events."""
    frame = record.frame
    return [frame[frame["event"] == n]["kind"].tolist() for n in range(1, len(record.ledger) + 1)]


def outcomes(record: DeliveryRecord) -> list[str]:
    return record.ledger["outcome"].tolist()


def collected(gone: Callable[[], object]) -> bool:
    gc.collect()  # the lab's thread may still let go of what it gave
    return gone() is None


# A bus in this process


async def test_bus_of_this_process(lab: Lab, make_settings: MakeSettings) -> None:
    settings = make_settings(max_deliver=2, delivery_semantics="exactly_once")
    async with NatsDLQ(settings) as dlq, service(settings, dlq=dlq) as bus:
        record = await lab.aio.record(bus)
        order = WatchedOrder(number=1)
        await bus.publish(order, channel="orders")
        await bus.publish(order, channel="orders")
        await bus.publish(WatchedOrder(number=2), channel="orders")
        await until(lambda: outcomes(record) == ["handled once", "dead-lettered"])
        await until(lambda: "acked" in ways(record)[0])
    assert sorted(ways(record)[0]) == sorted(
        ["published", "stored", "published", "deduplicated", "delivered", "handled", "acked"]
    )
    assert [kind for kind in ways(record)[1] if kind not in ("published", "stored")] == [
        "delivered", "failed", "naked", "delivered", "failed", "dead_lettered",
    ]  # fmt: skip
    assert_sums(record)
    assert record.copies["dropped"].tolist() == [False, True, False]
    frame = record.frame
    assert set(frame["process"]) == {"producer", "stream", "svc", "dead letters"}
    assert "ValueError: no second order" in frame["error"].tolist()
    assert (record.duplicate_window, record.semantics) == (120, "exactly_once")


async def test_several_buses(lab: Lab, make_settings: MakeSettings) -> None:
    """What none of them published is known by its delivery."""
    settings = make_settings()
    order = WatchedOrder(number=1)
    async with NatsEventBus(settings) as producer, service(settings) as one:
        both = await lab.aio.record([producer, one])
        consumer_only = await lab.aio.record(one)
        await producer.publish(order, channel="orders")
        await until(lambda: "acked" in ways(both)[0] and "acked" in ways(consumer_only)[0])
    assert sorted(ways(both)[0]) == ["acked", "delivered", "handled", "published", "stored"]
    assert set(both.frame["process"]) == {"producer", "stream", "svc-2"}
    assert ways(consumer_only) == [["stored", "delivered", "handled", "acked"]]
    for record in (both, consumer_only):
        assert record.ledger["stored"].tolist() == [1]
        assert len(record.latency) == 1
        assert_sums(record)
    stored = consumer_only.rows_of(1).iloc[0]  # by the server's clock, which is this machine's
    assert abs(stored["time"] - both.latency.iloc[0]["stored_at"]) < pd.Timedelta("1s")


async def test_a_busy_bus_and_a_record_that_is_full(lab: Lab, make_settings: MakeSettings) -> None:
    """Nothing is counted twice or not at all while the oldest events fall out."""
    handled = 0

    def count(event: Event) -> None:
        nonlocal handled
        handled += 1

    async with NatsEventBus(make_settings()) as bus:
        record = await lab.aio.record(bus, max_rows=3000)
        bus.subscribe(WatchedOrder, count, channel="orders")
        for _ in range(4):
            await bus.publish_many([(WatchedOrder(number=1), "orders") for _ in range(500)])
        await until(lambda: handled == 2000)
        await until(lambda: record.dropped.rows + len(record) == 10_000)
        await until(lambda: len(record) <= 3000)
    assert record.dropped.rows == 5 * record.dropped.events
    assert record.ledger["event"].tolist() == list(range(record.dropped.events + 1, 2001))
    assert set(outcomes(record)) == {"handled once"}
    assert_sums(record)


@pytest.mark.parametrize(
    ("what", "problem"),
    [
        (3, "give a channel or a bus, or several of them, not int"),
        (pd.DataFrame({"a": [1]}), "not DataFrame"),
        (["orders", 3], "3 is neither a channel nor a bus"),
    ],
)
async def test_of_what_there_is_no_record(lab: Lab, what: Any, problem: str) -> None:
    for ask in (lab.aio.record, lab.aio.delivery):
        with pytest.raises(TypeError, match=problem):
            await ask(what)


async def test_buses_that_do_not_go_together(lab: Lab, make_settings: MakeSettings) -> None:
    one, other = NatsEventBus(make_settings()), NatsEventBus(make_settings(stream_name="other"))
    with pytest.raises(ValueError, match="buses on one stream, and these are on other, t-"):
        await lab.aio.record([one, other])
    with pytest.raises(TypeError, match="of channels or of buses, not of both"):
        await lab.aio.record([one, "orders"])


async def test_what_comes_out_of_the_dead_letters(lab: Lab, make_settings: MakeSettings) -> None:
    settings = make_settings(max_deliver=1)
    async with NatsDLQ(settings) as dlq:
        async with service(settings, dlq=dlq) as bus:
            await bus.publish(WatchedOrder(number=2), channel="orders")
            await until(lambda: count_of(dlq))
        [entry] = await dlq.list_entries()
        assert entry.event is not None
        async with NatsEventBus(settings) as bus:
            record = await lab.aio.record(bus)
            await bus.publish(entry.event, channel="orders")
    assert ways(record) == [["published", "stored", "replayed"]]
    assert_sums(record)


async def count_of(dlq: NatsDLQ) -> bool:
    return await dlq.count() > 0


async def test_stopping_and_garbage_end_observing(lab: Lab, make_settings: MakeSettings) -> None:
    async with NatsEventBus(make_settings()) as bus:
        record = await lab.aio.record(bus)
        await bus.publish(WatchedOrder(number=1), channel="quiet")
        record.stop()
        record.stop()
        kept = await lab.aio.record(bus)
        gone = weakref.ref(kept)
        assert len(bus._observers.all) == 1
        del kept
        await until(lambda: collected(gone))
        assert not bus._observers.all
        await bus.publish(WatchedOrder(number=1), channel="quiet")
    assert (len(record), record.done) == (2, True)


def test_own_bus(settings: NatsEventBusSettings) -> None:
    with Lab(settings) as lab:
        record = lab.record(lab.bus, max_rows=3)
        for number in range(1, 3):
            asyncio.run(lab.bus.publish(WatchedOrder(number=number), channel="orders"))
        asyncio.run(until(lambda: record.dropped == (1, 2)))
        assert record.ledger["event"].tolist() == [2]
        assert not record.done
    assert record.done
    assert repr(record).startswith("DeliveryRecord('bus lab-")


# Services elsewhere


async def test_watching_a_service(lab: Lab, make_settings: MakeSettings, nc: Client) -> None:
    """Positions tell what was acknowledged, advisories what was not."""
    settings = make_settings(max_deliver=2)
    js, durable = nc.jetstream(), settings.durable_for("orders")

    async def are_settled() -> bool:
        info = await js.consumer_info(settings.stream_name, durable)
        return info.ack_floor is not None and info.ack_floor.stream_seq == 2

    async with NatsDLQ(settings) as dlq, service(settings, dlq=dlq) as bus:
        await place(bus, 2)
        await until(lambda: count_of(dlq))
        await until(are_settled)  # or the record would see the end of these
        record = await lab.aio.record("orders")
        await place(bus)
        await place(bus, channel="others")
        await until(lambda: outcomes(record) == ["acknowledged", "dead-lettered", "acknowledged"])
    assert ways(record) == [
        ["stored", "delivered", "acked"],
        ["stored", "delivered", "naked", "delivered", "dead_lettered"],
        ["stored", "delivered", "acked"],
    ]
    assert_sums(record)
    assert record.flow.unseen == 4
    assert set(record.frame["process"]) == {"stream", "svc-orders", "dead letters"}
    assert record.frame["event_type"].unique().tolist() == ["watched.order"]
    assert (record.duplicate_window, record.sees_handlers, record.problem) == (60, False, None)


async def test_sampled_acks_tell_the_time(
    lab: Lab, make_settings: MakeSettings, nc: Client
) -> None:
    settings = make_settings()
    js = nc.jetstream()
    async with service(settings) as bus:
        name = settings.durable_for("orders")
        info = await js.consumer_info(settings.stream_name, name)
        await js.add_consumer(settings.stream_name, replace(info.config, sample_freq="100%"))
        record = await lab.aio.record(["orders"])
        await place(bus, 1)
        await until(lambda: outcomes(record) == ["acknowledged"])
    latency = record.latency.iloc[0]
    assert 0 <= latency["publish_to_delivered"] <= latency["publish_to_acked"]
    assert latency["publish_to_delivered"] < latency["publish_to_acked"]  # not one look at both


async def test_given_up_and_handed_back(lab: Lab, make_settings: MakeSettings, nc: Client) -> None:
    """What other consumers than ours do: max_deliver on the server, term, nak."""
    settings = make_settings()
    js = nc.jetstream()
    config = ConsumerConfig(durable_name="foreign", ack_policy=AckPolicy.EXPLICIT)
    subject = settings.subject_name("orders")
    subscription = await js.pull_subscribe(
        subject, "foreign", stream=settings.stream_name,
        config=replace(config, max_deliver=1, ack_wait=0.2),
    )  # fmt: skip
    record = await lab.aio.record()
    async with NatsEventBus(settings) as bus:
        await place(bus)
    messages = await subscription.fetch(3)
    await messages[0].term()
    await messages[1].ack()
    await until(lambda: outcomes(record) == ["discarded", "acknowledged", "discarded"])
    await subscription.unsubscribe()
    assert ways(record)[0] == ["stored", "delivered", "terminated"]
    assert record.rows_of(3)["error"].iloc[-1] == "no ack for delivery 1, the last (max_deliver)"


async def test_an_expired_ack_wait_is_seen(
    lab: Lab, make_settings: MakeSettings, nc: Client
) -> None:
    settings = make_settings()
    subscription = await nc.jetstream().pull_subscribe(
        settings.subject_name("orders"), "foreign", stream=settings.stream_name,
        config=ConsumerConfig(durable_name="foreign", ack_policy=AckPolicy.EXPLICIT, ack_wait=0.3),
    )  # fmt: skip
    record = await lab.aio.record("orders")
    async with NatsEventBus(settings) as bus:
        await place(bus, 1)
    await subscription.fetch(1)
    [again] = await subscription.fetch(1)
    assert again.metadata.num_delivered == 2
    await again.ack()
    await until(lambda: outcomes(record) == ["acknowledged"])
    await subscription.unsubscribe()
    assert ways(record) == [["stored", "delivered", "expired", "delivered", "acked"]]
    assert record.rows_of(1)["delivery"].tolist() == [0, 1, 1, 2, 2]
    assert (record.flow.redelivered, record.remarks) == (1, [])
    assert_sums(record)


async def test_a_replay_ends_a_dead_letter(lab: Lab, make_settings: MakeSettings) -> None:
    settings = make_settings(max_deliver=1)
    seen: list[Event] = []

    def refuse_the_first(event: Event) -> None:
        seen.append(event)
        if len(seen) == 1:
            raise ValueError("not yet")

    async with NatsDLQ(settings) as dlq, NatsEventBus(settings, dlq=dlq) as bus:
        bus.subscribe(WatchedOrder, refuse_the_first, channel="orders")
        record, inside = await lab.aio.record("orders"), await lab.aio.record(bus)
        await bus.publish(WatchedOrder(number=1), channel="orders")
        await until(lambda: outcomes(record) == ["dead-lettered"])
        letters = await asyncio.to_thread(lab.dead_letters)
        await letters.aio.run(await letters.aio.plan(channel="orders"), word="nobody")
        await until(lambda: outcomes(record) == ["acknowledged"])
        await until(lambda: outcomes(inside) == ["handled once"])
        await asyncio.to_thread(letters.close)
    for each in (record, inside):
        ledger = each.ledger.iloc[0]
        assert ledger[["stored", "dead_lettered", "replayed"]].tolist() == [2, 1, 1]
        assert_sums(each)


async def test_what_a_record_leaves_out_is_said(
    lab: Lab, make_settings: MakeSettings, nc: Client
) -> None:
    record = await lab.aio.record(["orders", "typo"])
    for channel in ("orders", "typo"):
        assert f"channel '{channel}' holds no messages" in record.remarks[0]
    async with NatsEventBus(make_settings()) as bus:
        await place(bus, 1)
        await until(lambda: "channel 'orders'" not in record.remarks[0])
    assert "channel 'typo' holds no messages" in record.remarks[0]
    settings = make_settings()
    await nc.jetstream().delete_stream(settings.stream_name)
    await nc.jetstream().add_stream(
        name=settings.stream_name,
        subjects=[f"{settings.subject_prefix}.>"],
        retention=RetentionPolicy.WORK_QUEUE,
    )
    sampled = await lab.aio.record()
    assert sampled.remarks == [
        "the stream has workqueue retention: messages that are acknowledged before this record "
        "reads them are missing here"
    ]


async def test_looking_takes_nothing(lab: Lab, make_settings: MakeSettings, nc: Client) -> None:
    settings = make_settings()
    js = nc.jetstream()
    record = await lab.aio.record()
    async with NatsEventBus(settings) as bus:
        await place(bus)
        await until(lambda: len(record) == 3)
    names = [info.name for info in await js.consumers_info(settings.stream_name)]
    assert all(name.startswith("tail-") for name in names)  # its own reader
    await asyncio.to_thread(record.stop)
    assert record.done
    assert await js.consumers_info(settings.stream_name) == []
    async with service(settings) as bus:
        name = settings.durable_for("orders")

        async def all_settled() -> bool:
            info = await js.consumer_info(settings.stream_name, name)
            return info.delivered.stream_seq >= 3

        await until(all_settled)
    assert len(record) == 3


async def test_a_record_that_is_garbage_ends(
    lab: Lab, make_settings: MakeSettings, nc: Client
) -> None:
    settings = make_settings()
    record = await lab.aio.record()
    gone = weakref.ref(record)
    del record
    await until(lambda: collected(gone))

    async def nothing() -> bool:
        return not await nc.jetstream().consumers_info(settings.stream_name)

    await until(nothing)


async def test_closing_the_lab_ends_it(lab: Lab) -> None:
    record = await lab.aio.record()
    await lab.aio.close()
    assert record.done
    record.stop()


async def test_watching_what_is_not_there(
    lab: Lab, make_settings: MakeSettings, nc: Client
) -> None:
    with pytest.raises(InvalidChannelError):
        await lab.aio.record("orders.>")
    with pytest.raises(ValueError, match="no channel was given"):
        await lab.aio.record([])
    await nc.jetstream().delete_stream(make_settings().stream_name)
    with pytest.raises(StreamNotFoundError):
        await lab.aio.record("orders")


# What the server says, taken apart

NOW = 1_700_000_000.0


TYPES = {
    AdvisoryKind.ACKED: "metric.v1.consumer_ack",
    AdvisoryKind.NAKED: "advisory.v1.nak",
    AdvisoryKind.TERMINATED: "advisory.v1.terminated",
    AdvisoryKind.MAX_DELIVERIES: "advisory.v1.max_deliver",
}


def advisory(kind: AdvisoryKind, seq: int, delivery: int = 1, **more: Any) -> bytes:
    said = {
        "type": f"io.nats.jetstream.{TYPES[kind]}",
        "timestamp": datetime.fromtimestamp(NOW, UTC).isoformat(),
        "stream": "s",
        "consumer": "svc",
        "stream_seq": seq,
        "deliveries": delivery,
    }
    return json.dumps(said | more).encode()


def consumer(delivered: int, acked: int, made: int | None = None, **config: Any) -> dict[str, Any]:
    """The state of a consumer that made `made` deliveries."""
    return {
        "name": "svc",
        "config": {"ack_policy": "explicit", "filter_subject": "p.orders"} | config,
        "delivered": {"stream_seq": delivered, "consumer_seq": made or delivered},
        "ack_floor": {"stream_seq": acked},
        "num_pending": 0,
        "num_ack_pending": delivered - acked,
    }


def stored(*seqs: int, subject: str = "p.orders") -> list[StoredMessage]:
    return [StoredMessage(seq, subject, int(NOW * 1e9), b'{"event_id": "e"}', None) for seq in seqs]


def state() -> ConsumerTracker:
    return ConsumerTracker(1, ["p.orders"], lambda subject: subject[2:])


def said(rows: list[Any]) -> list[tuple[str, int | None, int]]:
    return [(row.kind, row.seq, row.delivery) for row in rows]


def test_positions_are_told_once() -> None:
    watched = state()
    watched.on_stored(stored(1, 2, 3))
    assert said(watched.on_consumer_info([consumer(2, 1)], NOW)) == [
        ("delivered", 1, 1), ("delivered", 2, 1), ("acked", 1, 1),
    ]  # fmt: skip
    assert watched.on_consumer_info([consumer(2, 1)], NOW) == []
    assert said(watched.on_consumer_info([consumer(3, 3)], NOW)) == [
        ("delivered", 3, 1), ("acked", 2, 1), ("acked", 3, 1),
    ]  # fmt: skip


def test_a_consumer_may_tell_before_it_is_looked_at() -> None:
    watched = state()
    watched.on_stored(stored(1))
    parsed = parse_advisory(advisory(AdvisoryKind.TERMINATED, 1, reason="dead-lettered"))
    assert parsed is not None
    assert said(watched.on_advisory(parsed)) == [("delivered", 1, 1), ("dead_lettered", 1, 1)]
    assert watched.on_consumer_info([consumer(1, 1)], NOW) == []


def test_positions_ahead_of_what_was_read() -> None:
    """A consumer may have acknowledged what this has not read yet."""
    watched = state()
    watched.on_stored(stored(1))
    assert said(watched.on_consumer_info([consumer(2, 2)], NOW)) == [
        ("delivered", 1, 1),
        ("acked", 1, 1),
    ]
    watched.on_stored(stored(2))
    assert said(watched.on_consumer_info([consumer(2, 2)], NOW)) == [
        ("delivered", 2, 1),
        ("acked", 2, 1),
    ]


def test_a_nak_and_what_follows() -> None:
    watched = state()
    watched.on_stored(stored(1))
    watched.on_consumer_info([consumer(0, 0)], NOW)
    told = watched.on_advisory(parse_advisory(advisory(AdvisoryKind.NAKED, 1)))  # type: ignore[arg-type]
    assert said(told) == [("delivered", 1, 1), ("naked", 1, 1)]
    assert said(watched.on_consumer_info([consumer(1, 1)], NOW)) == [
        ("delivered", 1, 2),
        ("acked", 1, 2),
    ]


def test_a_delivery_of_which_nobody_told_is_of_the_one_in_hand() -> None:
    watched = state()
    watched.on_stored(stored(1, 2))
    watched.on_consumer_info([consumer(1, 0)], NOW)
    assert said(watched.on_consumer_info([consumer(1, 0, made=3)], NOW)) == [
        ("expired", 1, 1), ("delivered", 1, 2), ("expired", 1, 2), ("delivered", 1, 3),
    ]  # fmt: skip
    assert said(watched.on_consumer_info([consumer(1, 1, made=4)], NOW)) == [
        ("expired", 1, 3), ("delivered", 1, 4), ("acked", 1, 4),
    ]  # fmt: skip
    assert watched.on_consumer_info([consumer(1, 1, made=4)], NOW) == []
    assert watched.remark == ""


def test_deliveries_that_may_be_of_several_messages_are_a_number() -> None:
    watched = state()
    watched.on_stored(stored(1, 2))
    watched.on_consumer_info([consumer(2, 0)], NOW)
    assert watched.on_consumer_info([consumer(2, 0, made=4)], NOW) == []
    assert watched.remark == "2 messages redelivered by svc could not be identified"
    parsed = parse_advisory(advisory(AdvisoryKind.NAKED, 1, 2))
    assert parsed is not None
    watched.on_advisory(parsed)  # that was one of them
    watched.on_consumer_info([consumer(2, 0, made=4)], NOW)
    assert watched.remark == "1 message redelivered by svc could not be identified"
    watched.reads_all = False  # what was delivered may be messages that nobody read
    watched.on_consumer_info([consumer(2, 0, made=5)], NOW)
    assert watched.remark == ""


def test_deliveries_are_counted_once_nothing_old_is_left() -> None:
    """A consumer that lags behind redelivers what this record knows nothing of."""
    watched = ConsumerTracker(11, ["p.orders"], lambda subject: subject[2:])
    lagging = consumer(5, 4, made=9) | {"num_pending": 5}
    assert watched.on_consumer_info([lagging], NOW) == []
    watched.on_stored(stored(11))
    parsed = parse_advisory(advisory(AdvisoryKind.NAKED, 11))
    assert parsed is not None
    watched.on_consumer_info([consumer(11, 10, made=17)], NOW)
    watched.on_advisory(parsed)
    assert watched.remark == ""
    assert said(watched.on_consumer_info([consumer(11, 10, made=18)], NOW)) == [
        ("delivered", 11, 2)
    ]
    elsewhere = ConsumerTracker(1, ["p.orders"], lambda subject: subject[2:])
    elsewhere.on_consumer_info([consumer(0, 0, filter_subject="p.>")], NOW)
    elsewhere.on_consumer_info([consumer(3, 0, made=7, filter_subject="p.>")], NOW)
    assert elsewhere.remark == ""  # it may be given messages of other channels


def test_old_messages_are_forgotten() -> None:
    watched = ConsumerTracker(1, ["p.orders"], lambda subject: subject[2:], max_messages=10)
    for seq in range(1, 31):
        watched.on_stored(stored(seq))
        assert said(watched.on_consumer_info([consumer(seq, seq - 1)], NOW))[0] == (
            "delivered",
            seq,
            1,
        )
    assert not watched.knows(1)
    assert watched.knows(30)
    told = watched._consumers["svc"].deliveries
    assert len(told) <= 11
    assert min(told) > 15


def test_a_replay_is_known_by_its_headers() -> None:
    headers = {"Nats-Msg-Id": "replay.x", "Varco-Replay-Of": "x"}
    [message] = stored(7)
    rows = state().on_stored([message._replace(headers=headers)])
    assert [(row.kind, row.process, row.message_id) for row in rows] == [
        ("stored", "stream", "replay.x"),
        ("replayed", "dead letters", "replay.x"),
    ]
    assert [row.message_id for row in state().on_stored(stored(7))] == [""]
    own = message._replace(headers={"Nats-Msg-Id": "e"})
    assert [row.message_id for row in state().on_stored([own])] == [None]


@pytest.mark.parametrize(
    ("kind", "more", "row", "error"),
    [
        (AdvisoryKind.ACKED, {"ack_time": 250_000_000}, "acked", None),
        (AdvisoryKind.TERMINATED, {"reason": "dead-lettered"}, "dead_lettered", None),
        (AdvisoryKind.TERMINATED, {"reason": "given up"}, "terminated", "given up"),
        (AdvisoryKind.TERMINATED, {}, "terminated", None),
        (
            AdvisoryKind.MAX_DELIVERIES,
            {},
            "terminated",
            "no ack for delivery 2, the last (max_deliver)",
        ),
    ],
)
def test_advisories(kind: AdvisoryKind, more: dict[str, Any], row: str, error: str | None) -> None:
    watched = state()
    watched.on_stored(stored(1))
    watched.on_consumer_info([consumer(1, 0)], NOW)
    parsed = parse_advisory(advisory(kind, 1, 2, **more))
    assert parsed is not None
    rows = watched.on_advisory(parsed)
    assert said(rows) == [("expired", 1, 1), ("delivered", 1, 2), (row, 1, 2)]
    assert rows[-1].error == error
    assert rows[1].time == pytest.approx(NOW - more.get("ack_time", 0) / 1e9)
    assert watched.on_advisory(parsed) == []  # what is settled is settled once
    assert watched.on_consumer_info([consumer(1, 1)], NOW) == []


def test_what_is_not_watched() -> None:
    watched = state()
    watched.on_stored(stored(1))
    watched.remember(*stored(2, subject="p.others"))
    watched.on_consumer_info(
        [consumer(0, 0), consumer(9, 9, ack_policy="none") | {"name": "reader"}], NOW
    )
    parsed = parse_advisory(advisory(AdvisoryKind.NAKED, 2))
    assert parsed is not None
    assert watched.on_advisory(parsed) == []
    assert watched.on_advisory(parsed._replace(seq=77)) == []
    assert watched.on_consumer_info([consumer(1, 1, filter_subject="p.others")], NOW) == []


@pytest.mark.parametrize(
    "data",
    [
        b"not JSON",
        b"[]",
        b"{}",
        b'{"type": "io.nats.jetstream.advisory.v1.nak", "timestamp": "then"}',
    ],
)
def test_what_is_not_an_advisory(data: bytes) -> None:
    with pytest.raises(ValueError, match="not an advisory"):
        parse_advisory(data)


def test_an_advisory_about_something_else() -> None:
    created = b'{"type": "io.nats.jetstream.advisory.v1.consumer_action"}'
    assert parse_advisory(created) is None
