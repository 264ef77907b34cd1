"""Records of a bus in this process, and of services that one can only watch."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig
from varco_core.event.base import Event
from varco_nats_widgets import Lab
from varco_nats_widgets._watch_state import WatchState, parse_advisory
from varco_nats_widgets.record import DeliveryRecord

from tests.waiting import until
from tests.widgets.test_record import assert_sums
from varco_nats.bus import NatsEventBus
from varco_nats.config import NatsEventBusSettings
from varco_nats.dlq import NatsDLQ
from varco_nats.errors import InvalidChannelError, StreamNotFoundError
from varco_nats.history import StoredMessage

Make = Callable[..., NatsEventBusSettings]


class WatchedOrder(Event):
    __event_type__ = "watched.order"

    number: int


def refuse_the_second(event: Event) -> None:
    assert isinstance(event, WatchedOrder)
    if event.number == 2:
        raise ValueError("no second order")


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    yield
    assert [t.name for t in threading.enumerate() if t.name.startswith("Lab")] == []


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


async def test_bus_of_this_process(lab: Lab, make_settings: Make) -> None:
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


async def test_what_comes_out_of_the_dead_letters(lab: Lab, make_settings: Make) -> None:
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


async def test_stopping_and_garbage_end_observing(lab: Lab, make_settings: Make) -> None:
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
        asyncio.run(lab.bus.publish(WatchedOrder(number=1), channel="orders"))
        other = lab.record(lab.bus)
        asyncio.run(lab.bus.publish(WatchedOrder(number=1), channel="orders"))
        assert (len(record), record.done) == (3, True)
        assert record.problem is not None
        assert not other.done
    assert other.done
    assert repr(other).startswith("DeliveryRecord('bus lab-")


# Services elsewhere


async def test_watching_a_service(lab: Lab, make_settings: Make) -> None:
    """Positions tell what was acknowledged, advisories what was not."""
    settings = make_settings(max_deliver=2)
    async with NatsDLQ(settings) as dlq, service(settings, dlq=dlq) as bus:
        await place(bus, 2)
        await until(lambda: count_of(dlq))
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


async def test_sampled_acks_tell_the_time(lab: Lab, make_settings: Make, nc: Client) -> None:
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


async def test_given_up_and_handed_back(lab: Lab, make_settings: Make, nc: Client) -> None:
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


async def test_looking_takes_nothing(lab: Lab, make_settings: Make, nc: Client) -> None:
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


async def test_a_record_that_is_garbage_ends(lab: Lab, make_settings: Make, nc: Client) -> None:
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


async def test_watching_what_is_not_there(lab: Lab, make_settings: Make, nc: Client) -> None:
    with pytest.raises(InvalidChannelError):
        await lab.aio.record("orders.>")
    with pytest.raises(ValueError, match="no channel was given"):
        await lab.aio.record([])
    await nc.jetstream().delete_stream(make_settings().stream_name)
    with pytest.raises(StreamNotFoundError):
        await lab.aio.record("orders")


# What the server says, taken apart

NOW = 1_700_000_000.0


def advisory(kind: str, seq: int, delivery: int = 1, **more: Any) -> tuple[str, bytes]:
    said = {
        "timestamp": datetime.fromtimestamp(NOW, UTC).isoformat(),
        "stream": "s",
        "consumer": "svc",
        "stream_seq": seq,
        "deliveries": delivery,
    }
    group = "METRIC" if kind == "ACK" else "ADVISORY"
    return f"$JS.EVENT.{group}.CONSUMER.{kind}.s.svc", json.dumps(said | more).encode()


def consumer(delivered: int, acked: int, **config: Any) -> dict[str, Any]:
    return {
        "name": "svc",
        "config": {"ack_policy": "explicit", "filter_subject": "p.orders"} | config,
        "delivered": {"stream_seq": delivered},
        "ack_floor": {"stream_seq": acked},
    }


def stored(*seqs: int, subject: str = "p.orders") -> list[StoredMessage]:
    return [StoredMessage(seq, subject, int(NOW * 1e9), b'{"event_id": "e"}', None) for seq in seqs]


def state() -> WatchState:
    return WatchState(1, ["p.orders"], lambda subject: subject[2:])


def said(rows: list[Any]) -> list[tuple[str, int | None, int]]:
    return [(row.kind, row.seq, row.delivery) for row in rows]


def test_positions_are_told_once() -> None:
    watched = state()
    watched.stored(stored(1, 2, 3))
    assert said(watched.polled([consumer(2, 1)], NOW)) == [
        ("delivered", 1, 1), ("delivered", 2, 1), ("acked", 1, 1),
    ]  # fmt: skip
    assert watched.polled([consumer(2, 1)], NOW) == []
    assert said(watched.polled([consumer(3, 3)], NOW)) == [
        ("delivered", 3, 1), ("acked", 2, 1), ("acked", 3, 1),
    ]  # fmt: skip


def test_positions_ahead_of_what_was_read() -> None:
    """A consumer may have acknowledged what this has not read yet."""
    watched = state()
    watched.stored(stored(1))
    assert said(watched.polled([consumer(2, 2)], NOW)) == [("delivered", 1, 1), ("acked", 1, 1)]
    watched.stored(stored(2))
    assert said(watched.polled([consumer(2, 2)], NOW)) == [("delivered", 2, 1), ("acked", 2, 1)]


def test_a_nak_and_what_follows() -> None:
    watched = state()
    watched.stored(stored(1))
    watched.polled([consumer(0, 0)], NOW)
    told = watched.told(parse_advisory(*advisory("MSG_NAKED", 1)))  # type: ignore[arg-type]
    assert said(told) == [("delivered", 1, 1), ("naked", 1, 1)]
    assert said(watched.polled([consumer(1, 1)], NOW)) == [("delivered", 1, 2), ("acked", 1, 2)]


@pytest.mark.parametrize(
    ("kind", "more", "row", "error"),
    [
        ("ACK", {"ack_time": 250_000_000}, "acked", None),
        ("MSG_TERMINATED", {"reason": "dead-lettered"}, "dead_lettered", None),
        ("MSG_TERMINATED", {"reason": "given up"}, "terminated", "given up"),
        ("MSG_TERMINATED", {}, "terminated", None),
        ("MAX_DELIVERIES", {}, "terminated", "no ack for delivery 2, the last (max_deliver)"),
    ],
)
def test_advisories(kind: str, more: dict[str, Any], row: str, error: str | None) -> None:
    watched = state()
    watched.stored(stored(1))
    watched.polled([consumer(1, 0)], NOW)
    parsed = parse_advisory(*advisory(kind, 1, 2, **more))
    assert parsed is not None
    rows = watched.told(parsed)
    assert said(rows) == [("expired", 1, 1), ("delivered", 1, 2), (row, 1, 2)]
    assert rows[-1].error == error
    assert rows[1].time == pytest.approx(NOW - more.get("ack_time", 0) / 1e9)
    assert watched.told(parsed) == []  # what is settled is settled once
    assert watched.polled([consumer(1, 1)], NOW) == []


def test_what_is_not_watched() -> None:
    watched = state()
    watched.stored(stored(1))
    watched.learn(*stored(2, subject="p.others"))
    watched.polled([consumer(0, 0), consumer(9, 9, ack_policy="none") | {"name": "reader"}], NOW)
    parsed = parse_advisory(*advisory("MSG_NAKED", 2))
    assert parsed is not None
    assert watched.told(parsed) == []
    assert watched.told(parsed._replace(seq=77)) == []
    assert watched.told(parsed._replace(consumer="unknown", seq=1)) == []
    assert watched.polled([consumer(1, 1, filter_subject="p.others")], NOW)  # as first seen


@pytest.mark.parametrize(
    ("subject", "data"),
    [
        ("$JS.EVENT.ADVISORY.CONSUMER.CREATED.s.svc", b"{}"),
        ("$JS.EVENT.ADVISORY.CONSUMER.MSG_NAKED.s.svc", b"not JSON"),
        ("$JS.EVENT.ADVISORY.CONSUMER.MSG_NAKED.s.svc", b"[]"),
        ("$JS.EVENT.ADVISORY.CONSUMER.MSG_NAKED.s.svc", b'{"timestamp": "then"}'),
        ("short", b"{}"),
    ],
)
def test_what_is_no_advisory(subject: str, data: bytes) -> None:
    assert parse_advisory(subject, data) is None
