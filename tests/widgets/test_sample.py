from __future__ import annotations

import gc
import hashlib
import json
import threading
import weakref
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any
from uuid import UUID

import pandas as pd
import pytest
from nats.aio.client import Client
from varco_core.event.serializer import JsonEventSerializer
from varco_nats_widgets import Lab
from varco_nats_widgets.frames import decode
from varco_nats_widgets.publish._event_class import class_problems
from varco_nats_widgets.sample import (
    BROKEN_KINDS,
    NotLocalServerError,
    OrderPlaced,
    PaymentCaptured,
    SampleMessage,
    ShipmentSent,
    Shop,
    Traffic,
    _sample,
    failures,
    fill,
    fill_dead_letters,
    traffic,
)
from varco_nats_widgets.sample._shop import shop_messages

from tests.waiting import until
from varco_nats.config import NatsEventBusSettings
from varco_nats.errors import StreamMismatchError, StreamNotFoundError
from varco_nats.replay._edit import json_object
from varco_nats.server import LocalNats

FAILURES_1000 = "a0329ddd8d76440916f6b114c7753818802e81fc8a8b3f327bfe8901d79dd9da"
FIRST_1000 = "611470f526692e2fd0150ef5a1bfd72e51d1849520ce37e136cb7f41eb31f62b"


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """A lab with a server of its own."""
    monkeypatch.delenv("VARCO_NATS_SERVERS", raising=False)
    with Lab() as opened:
        yield opened


def event(message: SampleMessage) -> dict[str, Any]:
    fields, problem = decode(message.payload)
    assert problem is None
    return fields


def by_type(messages: list[SampleMessage]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for message in messages:
        if message.broken is None:
            fields = event(message)
            found.setdefault(fields["__event_type__"], []).append(fields)
    return found


# The shop


def test_the_same_bytes_on_every_machine() -> None:
    payloads = [message.payload for message in Shop(seed=7).messages(1000)]
    assert hashlib.sha256(b"\n".join(payloads)).hexdigest() == FIRST_1000
    assert payloads != [message.payload for message in Shop(seed=8).messages(1000)]
    assert repr(Shop()) == "Shop(seed=7)"


def test_a_smaller_shop_is_the_start_of_a_larger_one() -> None:
    large = list(Shop().messages(5000))
    assert list(Shop().messages(700)) == large[:700]
    whole = list(Shop().orders(200))
    shared = next(n for n, (a, b) in enumerate(zip(whole, large, strict=False)) if a != b)
    placed = [
        m for m in large[:shared] if m.payload.startswith(b'{"__event_type__": "shop.order.p')
    ]
    assert len(placed) == 200
    assert event(large[shared])["order_id"].endswith("-000201")


@pytest.mark.parametrize("count", [0, 1, 2])
def test_small_shops(count: int) -> None:
    assert len(list(Shop().messages(count))) == count


def test_sizes_that_are_none() -> None:
    with pytest.raises(ValueError, match="-1"):
        Shop().messages(-1)
    with pytest.raises(ValueError, match="1 order or more"):
        Shop().orders(0)


def test_memory_does_not_grow_with_the_count() -> None:
    stream: Any = shop_messages(7, broken=True)

    def most_pending(count: int) -> int:
        """The most messages that were planned and not yet taken, over the next `count`."""
        return max(len(stream.gi_frame.f_locals["script"].pending) for _ in islice(stream, count))

    assert most_pending(20_000) < 5000
    assert most_pending(40_000) < 5000


def test_time_goes_on_by_day_and_night() -> None:
    events = [event(m) for m in Shop(broken=False).orders(4000)]
    times = [datetime.fromisoformat(event["timestamp"]) for event in events]
    assert times == sorted(times)
    start = datetime(2026, 5, 4, 8, tzinfo=UTC)
    assert start < times[0] < start + timedelta(minutes=10)
    ids = [UUID(event["event_id"]) for event in events]
    assert len(set(ids)) == len(ids)
    assert {entry_id.version for entry_id in ids} == {4}
    hours = Counter(
        time.hour
        for time, event in zip(times, events, strict=True)
        if event["__event_type__"] == "shop.order.placed"
    )
    assert hours[18] > 5 * hours[3] > 0


def test_payloads_are_what_the_serializer_writes() -> None:
    serializer = JsonEventSerializer()
    types = set()
    for message in Shop().orders(400):
        if message.channel != "audit":
            decoded = serializer.deserialize(message.payload)
            types.add(type(decoded).__name__)
            assert serializer.serialize(decoded) == message.payload
    assert types == {
        "OrderCancelled",
        "OrderPlaced",
        "PaymentCaptured",
        "PaymentFailed",
        "PaymentRefunded",
        "ShipmentDelivered",
        "ShipmentSent",
    }
    first = serializer.deserialize(next(Shop().messages(1)).payload)
    assert isinstance(first, OrderPlaced)
    assert first.total == pytest.approx(sum(item.qty * item.price for item in first.items))


def test_every_event_follows_from_one_before_it() -> None:
    state: dict[str, str] = {}
    paid: dict[str, float] = {}
    after = {
        "shop.payment.failed": {"shop.order.placed"},
        "shop.payment.captured": {"shop.order.placed", "shop.payment.failed"},
        "shop.order.cancelled": {"shop.payment.failed", "shop.payment.captured"},
        "shop.shipment.sent": {"shop.payment.captured"},
        "shop.shipment.delivered": {"shop.shipment.sent"},
        "shop.payment.refunded": {
            "shop.order.cancelled",
            "shop.shipment.sent",
            "shop.shipment.delivered",
        },
    }
    for message in Shop().orders(2000):
        if message.channel == "audit":
            continue
        fields = event(message)
        kind, order = fields["__event_type__"], fields["order_id"]
        assert kind.split(".")[1] + "s" == message.channel
        if kind == "shop.order.placed":
            assert order not in state
            paid[order] = fields["total"]
        else:
            assert state[order] in after[kind], (state[order], kind)
        if message.channel == "payments":
            assert fields["amount"] == paid[order]
        state[order] = kind
    assert len(state) == 2000
    ends = {"shop.order.cancelled", "shop.shipment.delivered", "shop.payment.refunded"}
    assert set(state.values()) == ends


def test_shares_are_as_documented() -> None:
    orders = 10_000
    counts = {kind: len(events) for kind, events in by_type(list(Shop().orders(orders))).items()}
    assert counts["shop.order.placed"] == orders
    shares = {kind: count / orders for kind, count in counts.items()}
    sent = 0.97 * 0.97
    assert shares["shop.payment.failed"] == pytest.approx(0.08, abs=0.01)
    assert shares["shop.payment.captured"] == pytest.approx(0.97, abs=0.01)
    assert shares["shop.order.cancelled"] == pytest.approx(0.03 + 0.97 * 0.03, abs=0.01)
    assert shares["shop.shipment.sent"] == pytest.approx(sent, abs=0.01)
    assert shares["shop.shipment.delivered"] == pytest.approx(sent * 0.98, abs=0.01)
    refunds = 0.97 * 0.03 + sent * (0.02 + 0.98 * 0.04)
    assert shares["shop.payment.refunded"] == pytest.approx(refunds, abs=0.01)
    audit = sum(share for kind, share in shares.items() if kind.startswith("audit."))
    assert audit == pytest.approx(0.35, abs=0.02)


def test_broken_messages_are_broken_as_their_kind_says() -> None:
    problems = {
        "not JSON": "not JSON",
        "not UTF-8": "not UTF-8: byte 0x",
        "empty": "empty payload",
    }
    broken = [message for message in Shop().orders(400) if message.broken is not None]
    assert [m.broken for m in broken] == [*BROKEN_KINDS, *BROKEN_KINDS]
    for message in broken:
        assert message.channel == "audit"
        fields, problem = decode(message.payload)
        if message.broken == "array":
            assert type(fields) is list
        elif message.broken == "huge integer":
            assert fields["count"] >= 2**64
        else:
            assert problem is not None
            assert problem.startswith(problems[str(message.broken)])


def test_without_broken_messages_the_others_are_the_same() -> None:
    whole = [message for message in Shop().orders(300) if message.broken is None]
    assert list(Shop(broken=False).orders(300)) == whole


def test_audit_has_mixed_types_and_fields() -> None:
    found = {k: v for k, v in by_type(list(Shop().orders(2000))).items() if k.startswith("audit.")}
    assert len(found) == 5
    kinds = {type(fields["value"]) for fields in found["audit.setting_changed"]}
    assert kinds == {bool, int, str, list, dict, type(None)}
    assert {"shelf" in fields for fields in found["audit.stock_counted"]} == {True, False}
    assert any("<b>" in fields["text"] for fields in found["audit.note"])


def test_an_order_s_messages_share_their_headers() -> None:
    headers: dict[str, set[str]] = {}
    for message in Shop(broken=False).orders(400):
        if message.channel == "audit":
            assert message.headers is None
        else:
            order = event(message)["order_id"]
            headers.setdefault(order, set()).add(json.dumps(message.headers))
    assert {len(different) for different in headers.values()} == {1}
    with_headers = [each for (each,) in headers.values() if each != "null"]
    assert 60 < len(with_headers) < 140
    assert set(json.loads(with_headers[0])) == {"Source", "Trace-Id"}
    assert len(set(with_headers)) == len(with_headers)


# Filling a server


def test_fill_stores_exactly_what_it_says(lab: Lab) -> None:
    progress: list[tuple[int, int]] = []
    summary = fill(lab, 1500, progress=lambda *done: progress.append(done))
    expected = list(Shop().orders(1500))
    counts = Counter(message.channel for message in expected)
    assert summary.index.name == "channel"
    assert summary["messages"].to_dict() == counts
    assert summary["bytes"].sum() == sum(len(message.payload) for message in expected)
    assert summary["broken"].to_dict() == {"audit": 37, "orders": 0, "payments": 0, "shipments": 0}
    assert progress[-1] == (1500, 1500)
    assert len(progress) == 2
    frame = lab.frame(list(summary.index))
    assert frame.groupby("channel").size().to_dict() == counts
    assert list(frame.index) == list(range(1, len(expected) + 1))
    assert frame["decode_error"].notna().sum() == sum(
        message.broken not in (None, "huge integer", "array") for message in expected
    )
    payments, orders = lab.frame("payments"), lab.frame("orders", event_type=OrderPlaced)
    assert set(payments["order_id"]) == set(orders["order_id"])
    captured = payments[payments["event_type"] == PaymentCaptured.event_type_name()]
    assert len(captured) == len(by_type(expected)["shop.payment.captured"])
    assert "address.city" in lab.frame("shipments", event_type=ShipmentSent)


async def test_fill_awaited_stores_payloads_and_headers_as_they_are(
    settings: NatsEventBusSettings, nc: Client
) -> None:
    with Lab(settings) as lab:
        for _ in range(2):
            summary = await fill(lab.aio, 200, seed=3, broken=True, force=True)
        subscriptions = lab._session.call(_subscriptions(lab)).wait()
        fill(lab, 1, force=True)
        assert lab._session.call(_subscriptions(lab)).wait() == subscriptions
    expected = [*Shop(3).orders(200), *Shop(3).orders(200), *Shop(7).orders(1)]
    assert summary["messages"].sum() == len(list(Shop(3).orders(200)))
    js = nc.jetstream()
    info = await js.stream_info(settings.stream_name)
    assert info.state.messages == len(expected)
    for seq, message in enumerate(islice(expected, 400), start=1):
        stored = await js.get_msg(settings.stream_name, seq, direct=True)
        assert (stored.data or b"") == message.payload
        assert stored.subject == settings.subject_name(message.channel)
        if message.headers is not None:
            assert message.headers.items() <= (stored.headers or {}).items()


async def _subscriptions(lab: Lab) -> int:
    assert lab._session._connection is not None
    return len(lab._session._connection.nc._subs)


@pytest.mark.parametrize("publish", [fill, traffic])
async def test_a_server_that_is_not_the_lab_s_own_is_left_alone(
    settings: NatsEventBusSettings, nc: Client, publish: Any
) -> None:
    with Lab(settings) as lab:
        with pytest.raises(NotLocalServerError, match="force=True") as refused:
            publish(lab)
        with pytest.raises(NotLocalServerError):
            await fill(lab.aio)
    assert refused.value.stream == settings.stream_name
    assert "@" not in str(refused.value)
    assert str(refused.value).count("nats://127.0.0.1:") == 1
    assert settings.stream_name not in {s.config.name for s in await nc.jetstream().streams_info()}


def test_streams_that_cannot_be_filled(settings: NatsEventBusSettings) -> None:
    with (
        Lab(settings.model_copy(update={"auto_create_stream": False})) as lab,
        pytest.raises(StreamNotFoundError),
    ):
        fill(lab, 1, force=True)
    with Lab(settings) as lab:
        fill(lab, 1, force=True)
    other = settings.model_copy(update={"subject_prefix": "elsewhere"})
    with Lab(other) as lab, pytest.raises(StreamMismatchError):
        traffic(lab, force=True)


def test_arguments_and_labs_that_are_none(lab: Lab) -> None:
    with pytest.raises(ValueError, match="1 order or more"):
        fill(lab, 0)
    for rate, seconds in ((0, None), (-1, None), (float("nan"), None), (1, 0)):
        with pytest.raises(ValueError, match="above 0"):
            traffic(lab, rate, seconds)
    lab.close()
    with pytest.raises(RuntimeError, match="closed"):
        fill(lab)
    with pytest.raises(RuntimeError, match="closed"):
        traffic(lab)


# Traffic


def stored(lab: Lab) -> int:
    return int(lab.channels()["messages"].sum())


def test_a_night_of_failures_is_the_same_on_every_machine() -> None:
    entries = [*failures(1000)]
    text = "".join(map(repr, entries))
    assert hashlib.sha256(text.encode()).hexdigest() == FAILURES_1000
    assert [*failures(10, seed=8)] != [*failures(10)]
    assert [*failures(0)] == []
    with pytest.raises(ValueError, match="count=-1: must be 0 or more"):
        next(failures(-1))
    causes = Counter(entry.error_type for entry in entries)
    assert len(causes) == 6
    assert causes.most_common(1)[0][0] == "ReadTimeout"
    assert {entry.tenant_id for entry in entries} == {"north", "south", "wholesale"}
    assert len({entry.channel for entry in entries}) == 4
    for entry in entries:  # what failed was an event that its class accepts
        if (event := json_object(entry.payload or b"")) is not None:
            assert class_problems(event, entry.payload or b"") == []
    assert 700 < sum(len(entry.error_message) for entry in entries) / 1000 < 1000


def test_dead_letters_are_filled_in_once(lab: Lab) -> None:
    for _ in range(2):
        found = fill_dead_letters(lab, 300)
        assert found["entries"].sum() == lab.dead_letters.count() == 300
    wanted = {entry.entry_id: entry for entry in failures(300)}
    for entry_id in [*wanted][::60]:
        letter = lab.dead_letters.entry(entry_id)
        assert letter.data == wanted[entry_id].payload
        assert letter.error_message == wanted[entry_id].error_message


async def test_traffic_until_it_is_stopped(lab: Lab) -> None:
    before = pd.Timestamp.now(UTC)
    with traffic(lab, rate=400, seed=3) as busy:
        assert repr(busy) == "Traffic(400/s)"
        assert busy.running
        await until(lambda: busy.published >= 100)
    assert not busy.running
    assert repr(busy) == "Traffic(400/s, stopped)"
    assert stored(lab) == busy.published
    assert (busy.seed, busy.failed) == (3, 0)
    busy.stop()
    orders = lab.frame("orders")
    assert orders["timestamp"].between(before, pd.Timestamp.now(UTC)).all()
    same = [event(m)["event_id"] for m in Shop(3).messages(busy.published) if m.channel == "orders"]
    assert list(orders["event_id"]) == same


async def test_traffic_for_some_seconds_at_its_rate(lab: Lab) -> None:
    busy, other = traffic(lab, rate=200, seconds=0.5), traffic(lab, rate=7, seconds=1.01)
    await until(lambda: not busy.running and not other.running)
    assert (busy.published, other.published) == (100, 7)
    assert stored(lab) == 107
    assert busy.seed != other.seed


async def test_traffic_makes_up_for_a_second_at_most(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_sample, "_TICK_SECONDS", 1.6)
    busy = traffic(lab, rate=100, seconds=1.6)
    await until(lambda: not busy.running)
    assert busy.published == 100


async def test_closing_the_lab_ends_traffic(lab: Lab) -> None:
    busy = traffic(lab, rate=1000)
    await until(lambda: busy.published > 10)
    lab.close()
    assert not busy.running
    busy.stop()


async def test_traffic_keeps_its_lab_and_nothing_else_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("VARCO_NATS_SERVERS", raising=False)
    lab = Lab()
    running = [traffic(lab, rate=500)]
    gone = weakref.ref(lab)
    thread = next(t for t in threading.enumerate() if t.name.startswith("Lab("))
    del lab
    gc.collect()
    await until(lambda: running[0].published > 10)
    running.clear()
    gc.collect()
    assert gone() is None
    await until(lambda: not thread.is_alive())


async def test_traffic_goes_on_after_the_server_was_away() -> None:
    with LocalNats() as server:
        settings = NatsEventBusSettings(servers=server.url, publish_timeout_seconds=0.3)
        with Lab(settings) as lab:
            busy = traffic(lab, rate=200, force=True)
            await until(lambda: busy.published > 10)
            server.kill()
            await until(lambda: busy.failed > 0)
            server.restart()
            before = busy.published
            await until(lambda: busy.published > before + 50)
            busy.stop()
            assert stored(lab) >= busy.published


async def test_stopping_while_the_server_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_sample, "_STOP_SECONDS", 0.3)
    with LocalNats() as server, Lab(NatsEventBusSettings(servers=server.url)) as lab:
        busy = traffic(lab, rate=200, force=True)
        await until(lambda: busy.published > 10)
        server.pause()
        published = busy.published
        await until(lambda: busy._work.publisher._calls > 0)
        busy.stop()
        assert not busy.running
        server.resume()
        assert busy.published <= published + 200


async def test_a_handler_stops_traffic(lab: Lab) -> None:
    running: list[Traffic] = []

    def on_order(_: Any) -> None:
        running[0].stop()

    lab.bus.subscribe(OrderPlaced, on_order, channel="orders")
    running.append(traffic(lab, rate=200))
    await until(lambda: not running[0].running)
    assert stored(lab) == running[0].published


async def test_an_error_in_traffic_is_not_lost(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first = next(Shop().messages(1))

    def broken(seed: int, **_: object) -> Iterator[SampleMessage]:
        yield first
        raise ZeroDivisionError

    monkeypatch.setattr(_sample, "shop_messages", broken)
    busy = traffic(lab, rate=100)
    await until(lambda: not busy.running)
    assert "sample traffic" in caplog.text
    with pytest.raises(ZeroDivisionError):
        busy.stop()
