from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import re
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.aio.client import Client
from nats.errors import Error as NatsError
from varco_core.event.base import CHANNEL_ALL, Event
from varco_core.event.consumer import EventConsumer, listen
from varco_core.event.producer import BusEventProducer
from varco_nats_widgets import Channel, Lab, LabBus, load
from varco_nats_widgets._notebook import started_name
from varco_nats_widgets._session.loop import LoopThread
from varco_nats_widgets.frames._query import duration, moment

from tests.faults import Proxy
from tests.waiting import until
from varco_nats.bus import NatsEventBus
from varco_nats.config import NatsEventBusSettings
from varco_nats.errors import (
    AuthenticationError,
    InvalidChannelError,
    JetStreamUnavailableError,
    ServerUnreachableError,
    SettingsError,
    StreamNotFoundError,
    StreamUnavailableError,
    UnknownChannelError,
)
from varco_nats.server import LocalCluster, LocalNats


class LabOrder(Event):
    number: int
    total: float = 1.0


class LabPayment(Event):
    order: int


class Warehouse(EventConsumer):
    def __init__(self) -> None:
        self.packed: list[int] = []
        self.threads: set[str] = set()

    @listen(LabOrder, channel="orders")
    async def pack(self, order: LabOrder) -> None:
        self.packed.append(order.number)
        self.threads.add(threading.current_thread().name)


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """No test leaves a thread of a Lab behind."""
    yield
    assert [t.name for t in threading.enumerate() if t.name.startswith("Lab")] == []


@pytest.fixture
def lab(settings: NatsEventBusSettings) -> Iterator[Lab]:
    with Lab(settings) as opened:
        yield opened


def orders(*numbers: int, channel: str = "orders") -> list[tuple[Event, str]]:
    return [(LabOrder(number=number), channel) for number in numbers]


def server_pid(lab: Lab) -> int:
    local = lab._session._local
    assert local is not None
    return local.pid


def test_quick_start_in_plain_python() -> None:
    lab = Lab()
    pid = server_pid(lab)
    assert repr(lab) == "Lab(local server)"
    assert repr(lab.bus) == "LabBus(local server)"
    assert lab.bus is lab.bus
    assert len(lab.channels()) == 0
    warehouse = Warehouse()
    warehouse.register_to(lab.bus)

    async def publish() -> None:
        await lab.bus.publish_many(orders(*range(50)))
        await lab.bus.drain()

    asyncio.run(publish())

    assert warehouse.packed == list(range(50))
    assert warehouse.threads == {"Lab(local server)"}
    frame = lab.frame("orders")
    assert frame["number"].tolist() == list(range(50))
    assert frame.attrs["completeness"] == {
        "expected": 50,
        "loaded": 50,
        "filtered": 0,
        "gaps": 0,
        "truncated_by": None,
    }
    lab.close()
    lab.close()
    assert repr(lab) == "Lab(local server, closed)"
    assert not os.path.exists(f"/proc/{pid}")  # noqa: PTH110
    with pytest.raises(RuntimeError, match="Lab is closed"):
        lab.channels()


async def test_every_method_has_an_awaitable_twin(lab: Lab) -> None:
    await lab.bus.publish(LabOrder(number=1), channel="orders")
    assert (await lab.aio.frame("orders"))["number"].tolist() == [1]
    assert (await lab.aio.channels()).index.tolist() == ["orders"]
    plain = {n for n in dir(Lab) if not n.startswith("_")} - {"bus", "settings"}
    assert {n for n in dir(lab.aio) if not n.startswith("_")} == plain
    await lab.aio.close()
    assert "closed" in repr(lab)


async def test_varcos_own_producer_works_on_the_bus(lab: Lab) -> None:
    await BusEventProducer(lab.bus)._produce(LabOrder(number=3), channel="orders")
    (ack,) = await lab.bus.publish_many_acked(orders(4))
    assert ack.seq == 2
    assert (await lab.bus.publish_acked(LabOrder(number=5), channel="orders")).seq == 3
    assert lab.frame("orders")["number"].tolist() == [3, 4, 5]


async def test_handlers_may_use_the_bus_and_look(lab: Lab) -> None:
    seen: list[object] = []
    done = threading.Event()

    async def on_order(event: Event) -> None:
        assert isinstance(event, LabOrder)
        lab.bus.subscribe(LabPayment, lambda payment: seen.append(payment), channel=CHANNEL_ALL)
        await lab.bus.publish(LabPayment(order=event.number), channel="payments")
        seen.append(len(await lab.aio.frame("payments")))
        try:
            lab.frame("payments")
        except RuntimeError as error:
            seen.append(str(error))
        done.set()

    lab.bus.subscribe(LabOrder, on_order, channel="orders")
    await lab.bus.publish(LabOrder(number=1), channel="orders")
    assert await asyncio.to_thread(done.wait, 10)
    await lab.bus.drain()
    assert seen[0] == 1
    assert "await the twin under .aio" in str(seen[1])


async def test_cancelled_subscription_hears_no_more(lab: Lab) -> None:
    warehouse = Warehouse()
    (subscription,) = warehouse.register_to(lab.bus)
    await lab.bus.publish_many(orders(1))
    await lab.bus.drain()
    subscription.cancel()
    await lab.bus.publish_many(orders(2))
    assert warehouse.packed == [1]


async def test_drain_says_what_is_not_handled(lab: Lab) -> None:
    release = asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def slow(event: Event) -> None:
        loops.append(asyncio.get_running_loop())
        await release.wait()

    lab.bus.subscribe(LabOrder, slow, channel="orders")
    await lab.bus.publish_many(orders(1, 2))
    with pytest.raises(TimeoutError, match=r"2 messages of channel 'orders'.*0\.2 s"):
        await lab.bus.drain(0.2)
    loops[0].call_soon_threadsafe(release.set)
    await lab.bus.drain()


async def test_takes_nothing_from_a_service(settings: NatsEventBusSettings, nc: Client) -> None:
    service, explorer = Warehouse(), Warehouse()
    async with NatsEventBus(settings) as bus:
        service.register_to(bus)
        lab = await asyncio.to_thread(Lab, settings)
        explorer.register_to(lab.bus)
        assert lab.settings.durable_name.startswith("lab-")
        await bus.publish_many(orders(*range(20)))
        await lab.bus.drain()
        assert len(await lab.aio.frame("orders")) == 20
        js = nc.jetstream()
        names = {info.name for info in await js.consumers_info(settings.stream_name)}
        assert names == {"svc-orders", lab.settings.durable_for("orders")}
        own = await js.consumer_info(settings.stream_name, lab.settings.durable_for("orders"))
        assert own.config.inactive_threshold == 600
        async with asyncio.timeout(10):
            while len(service.packed) < 20:  # noqa: ASYNC110 - seen from outside
                await asyncio.sleep(0.01)
        await asyncio.to_thread(lab.close)
        names = {info.name for info in await js.consumers_info(settings.stream_name)}
        assert names == {"svc-orders"}
    assert service.packed == explorer.packed == list(range(20))


async def test_looking_creates_nothing_on_the_server(
    settings: NatsEventBusSettings, nc: Client
) -> None:
    with Lab(settings) as lab:
        assert len(lab.channels()) == 0
        with pytest.raises(UnknownChannelError, match="no channel holds any yet"):
            lab.frame("orders")
        streams = [info.config.name for info in await nc.jetstream().streams_info()]
        assert settings.stream_name not in streams


# Frames


async def test_frame_options(lab: Lab) -> None:
    await lab.bus.publish_many(orders(*range(10)))
    await lab.bus.publish_many([(LabPayment(order=1), "orders"), (LabPayment(order=2), "pay")])
    frame = lab.frame
    assert frame("orders").index.tolist() == list(range(1, 12))
    assert frame(["orders", "pay"])["channel"].unique().tolist() == ["orders", "pay"]
    assert frame("orders", limit=3).index.tolist() == [1, 2, 3]
    assert frame("orders", limit=3, newest_first=True).index.tolist() == [11, 10, 9]
    assert frame("orders", start_seq=4, end_seq=6).index.tolist() == [4, 5, 6]
    assert frame("orders", event_type=LabPayment).index.tolist() == [11]
    assert frame("orders", event_type=["LabPayment", LabOrder], limit=2).index.tolist() == [1, 2]
    assert frame("orders", event_type=LabOrder, limit=1, newest_first=True).index.tolist() == [10]
    assert len(frame("orders", last="10m")) == len(frame("orders", last=timedelta(hours=1))) == 11
    assert len(frame("orders", until="10m")) == 0
    assert len(frame("orders", since="1h", until=datetime.now(UTC) + timedelta(minutes=1))) == 11
    assert len(frame("orders", since="2000-01-01 00:00", until="2001-01-01T00:00+02:00")) == 0
    stored = frame("orders")["stored_at"]
    assert frame("orders", since=stored[5], until=stored[7]).index.tolist()[-1] == 6


async def test_the_last_event_of_a_type_is_found_in_few_reads(
    lab: Lab, nc: Client, tmp_path: Path
) -> None:
    await lab.bus.publish_many([*orders(*range(60)), (LabPayment(order=1), "orders")])
    await lab.bus.publish_many(orders(*range(60, 120)))
    stream = lab._session.settings.stream_name
    created = await nc.subscribe(f"$JS.EVENT.ADVISORY.CONSUMER.CREATED.{stream}.>")
    options = {"event_type": LabPayment, "limit": 1, "newest_first": True}
    assert (await lab.aio.frame("orders", **options)).index.tolist() == [61]
    exported = await lab.aio.export("orders", tmp_path / "last.ndjson", **options)
    assert exported.rows == 1
    await nc.flush()
    assert created.pending_msgs < 30


async def test_completeness_says_what_is_missing(lab: Lab) -> None:
    await lab.bus.publish_many(orders(*range(10)))

    def verdict(**options: object) -> dict[str, object]:
        return lab.frame("orders", **options).attrs["completeness"]  # type: ignore[arg-type]

    assert verdict(limit=10)["truncated_by"] is None
    cut = verdict(limit=4, newest_first=True)
    assert (cut["expected"], cut["loaded"], cut["truncated_by"]) == (10, 4, "limit")
    none = verdict(event_type="Other")
    assert (none["loaded"], none["filtered"], none["gaps"]) == (10, 10, 0)


async def test_unknown_channel_names_the_near_ones(lab: Lab) -> None:
    await lab.bus.publish_many([*orders(1), *orders(2, channel="payments")])
    with pytest.raises(UnknownChannelError, match=r"'ordrs' holds no messages; did you mean"):
        lab.frame("ordrs")
    with pytest.raises(UnknownChannelError, match=r"these channels do: 'orders', 'payments'"):
        lab.frame(["orders", "xyz"])


def test_bad_arguments_are_named(lab: Lab) -> None:
    for bad, message in [
        ({"lats": "10m"}, "lats"),
        ({"last": "ten"}, "last='ten' is no duration"),
        ({"last": "10m", "since": "1h"}, "last= or since="),
        ({"since": "noon-ish"}, "since='noon-ish' is no time"),
        ({"since": datetime(2026, 1, 1)}, "no time zone"),
        ({"limit": 0}, "limit=0"),
        ({"limit": -1}, "limit=-1"),
        ({"limit": True}, "limit=True: must be a whole number"),
        ({"limit": 2.5}, "limit=2.5: must be a whole number"),
        ({"limit": "10"}, "limit='10': must be a whole number"),
        ({"start_seq": "1"}, "start_seq='1': must be a whole number"),
        ({"end_seq": -1}, "end_seq=-1: must be 0 or more"),
        ({"since": 0}, "since=0 is no time"),
        ({"since": "1h", "until": "2h"}, "since='1h' begins after the end, until='2h'"),
        ({"last": "1h", "until": "2h"}, "last='1h' begins after the end, until='2h'"),
        ({"event_type": 5}, "event_type=5: must be an event class"),
        ({"event_type": []}, r"event_type=\[\]: must be an event class"),
        ({"event_type": ["LabOrder", int]}, "must be an event class"),
    ]:
        with pytest.raises((TypeError, ValueError), match=message):
            lab.frame("orders", **bad)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no channel was given"):
        lab.frame([])
    for channels in (5, ["orders", 5]):
        with pytest.raises(TypeError, match="must be a name"):
            lab.frame(channels)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="subject=5: must be a name"):
        lab.frame(subject=5)  # type: ignore[arg-type]
    for channel in ("orders.*", "", " "):
        with pytest.raises(InvalidChannelError):
            lab.frame(channel)
    with pytest.raises(InvalidChannelError):
        lab.bus.subscribe(LabOrder, lambda event: None, channel="a b")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("10m", 600),
        ("1.5h", 5400),
        ("1d 12h", 129600),
        ("250ms", 0.25),
        ("1w", 604800),
        ("3 hours", 10800),
        ("1 day", 86400),
        ("10mins", 600),
        ("2 minutes 5 seconds", 125),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert duration("last", text).total_seconds() == seconds


def test_moments() -> None:
    now = datetime(2026, 1, 1, 12, tzinfo=UTC)
    assert moment("since", None, now) is None
    assert moment("since", "10m", now) == datetime(2026, 1, 1, 11, 50, tzinfo=UTC)
    assert moment("since", "2026-01-01 10:00", now) == datetime(2026, 1, 1, 10, tzinfo=UTC)
    assert moment("since", "2026-01-01T10:00+02:00", now) == datetime(2026, 1, 1, 8, tzinfo=UTC)
    assert moment("since", now, now) is now
    assert moment("since", " 3 hours", now) == datetime(2026, 1, 1, 9, tzinfo=UTC)
    assert moment("since", "today", now) == datetime(2026, 1, 1, tzinfo=UTC)
    assert moment("since", "yesterday", now) == datetime(2025, 12, 31, tzinfo=UTC)
    assert moment("since", "now", now) == now
    assert moment("since", "2025-12", now) == datetime(2025, 12, 1, tzinfo=UTC)
    for text in ("1h30", "10M", "1.5.2026", "5 May", "12", "99999999 weeks", "10", ""):
        with pytest.raises(ValueError, match="is no time"):
            moment("since", text, now)


async def test_channels(lab: Lab) -> None:
    await lab.bus.publish_many([*orders(1, 2), *orders(3, channel="payments.eu")])
    channels = lab.channels()
    assert channels.index.name == "channel"
    assert channels.index.tolist() == ["orders", "payments.eu"]
    assert channels["messages"].tolist() == [2, 1]
    assert channels["first_seq"].tolist() == [1, 3]
    assert channels["last_seq"].tolist() == [2, 3]
    assert str(channels["last_time"].dt.tz) == "UTC"


# Other streams


@pytest.fixture
async def other(nc: Client, settings: NatsEventBusSettings) -> str:
    """A stream that varco did not make, with three messages."""
    name = f"{settings.stream_name}-other"
    js = nc.jetstream()
    await js.add_stream(name=name, subjects=[f"{name}.>"])
    for subject, payload in (("a.x", b'{"v": 1}'), ("b", b"plain"), ("a.y", b'{"v": 2}')):
        await js.publish(f"{name}.{subject}", payload, headers={"Kind": subject})
    return name


async def test_frame_of_any_stream_and_subject(lab: Lab, other: str) -> None:
    whole = await lab.aio.frame(stream=other, headers=True)
    assert whole["channel"].tolist() == [f"{other}.a.x", f"{other}.b", f"{other}.a.y"]
    assert whole["headers"].tolist()[0] == {"Kind": "a.x"}
    assert whole["raw"].tolist()[1] == b"plain"
    some = await lab.aio.frame(stream=other, subject=f"{other}.a.*", newest_first=True)
    assert some["v"].tolist() == [2, 1]
    assert len(await lab.aio.frame(subject=f"{other}.b")) == 1
    both = await lab.aio.frame(stream=other, subject=[f"{other}.b", f"{other}.a.x"], limit=1)
    assert both.index.tolist() == [1]
    assert both.attrs["completeness"]["truncated_by"] == "limit"
    assert len(await lab.aio.frame(stream=other, subject=f"{other}.none.>")) == 0


async def test_wrong_places_are_named(lab: Lab, nc: Client, other: str) -> None:
    frame = lab.aio.frame
    with pytest.raises(StreamNotFoundError, match=f"did you mean '{other}'"):
        await frame(stream=f"{other}s")
    with pytest.raises(
        UnknownChannelError, match=r"subject .*\.c' holds no messages; did you mean"
    ):
        await frame(stream=other, subject=f"{other}.c")
    with pytest.raises(ValueError, match=r"no stream has subject no\.where"):
        await frame(subject="no.where")
    await nc.jetstream().add_stream(name=f"{other}2", subjects=[f"{other}2.>"])
    with pytest.raises(ValueError, match=r"streams .*have subject >; say which with stream="):
        await frame(subject=">")
    for bad in ("a b", "a..b", ">.a", ""):
        with pytest.raises(ValueError, match="subject="):
            await frame(stream=other, subject=bad)
    for bad in ("a.b", "", "a*"):
        with pytest.raises(ValueError, match="stream="):
            await frame(stream=bad)
    with pytest.raises(ValueError, match="a channel, or stream="):
        await frame("orders", stream=other)
    with pytest.raises(ValueError, match="no channel was given"):
        await frame()


# Long loads


async def test_max_bytes_bounds_a_frame(lab: Lab) -> None:
    await lab.bus.publish_many(orders(*range(10)))
    size = len(json.dumps(json.loads((await raw(lab))[0])))
    with pytest.warns(UserWarning, match="it has 3 of 10 messages") as warned:
        first = await lab.aio.frame("orders", max_bytes=3 * size + 10)
    assert warned[0].filename == __file__
    assert first.index.tolist() == [1, 2, 3]
    verdict = first.attrs["completeness"]
    assert (verdict["expected"], verdict["loaded"], verdict["gaps"]) == (10, 3, 0)
    assert verdict["truncated_by"] == "max_bytes"
    with pytest.warns(UserWarning, match="it has 2 of 10 messages") as warned:
        newest = await asyncio.to_thread(
            lambda: lab.frame("orders", max_bytes=2 * size + 10, newest_first=True)
        )
    assert warned[0].filename == __file__
    assert newest.index.tolist() == [10, 9]
    with pytest.warns(UserWarning, match="it has 0 of 10 messages"):
        assert len(await lab.aio.frame("orders", max_bytes=1)) == 0
    whole = await lab.aio.frame("orders", max_bytes=None)
    assert whole.attrs["completeness"]["truncated_by"] is None
    with pytest.raises(ValueError, match="max_bytes=0"):
        await lab.aio.frame("orders", max_bytes=0)


async def raw(lab: Lab) -> list[bytes]:
    async def read() -> list[bytes]:
        return [message.data async for message in lab._session.history.read("orders")]

    return await lab._session.hop(read())


async def test_progress_is_told_in_the_callers_thread(lab: Lab) -> None:
    await lab.bus.publish_many(orders(*range(20)))
    steps: list[tuple[int, int]] = []
    threads: set[threading.Thread] = set()

    def told(done: int, total: int) -> None:
        steps.append((done, total))
        threads.add(threading.current_thread())

    lab.frame("orders", progress=told)
    assert steps[-1] == (20, 20)
    steps.clear()
    await lab.aio.frame("orders", progress=told)
    assert steps[-1] == (20, 20)
    assert threads == {threading.current_thread()}
    with pytest.raises(TypeError, match="progress='yes'"):
        lab.frame("orders", progress="yes")  # type: ignore[arg-type]


async def test_an_error_in_progress_ends_the_load(
    lab: Lab, nc: Client, settings: NatsEventBusSettings
) -> None:
    await lab.bus.publish_many(orders(*range(20)))

    def fail(done: int, total: int) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        lab.frame("orders", progress=fail)
    with pytest.raises(ZeroDivisionError):
        await lab.aio.frame("orders", progress=fail)
    assert len(lab.frame("orders")) == 20

    async def none_left() -> bool:
        return not await nc.jetstream().consumers_info(settings.stream_name)

    await until(none_left)


# A channel by its name


async def test_channel_by_name(lab: Lab, tmp_path: Path) -> None:
    await lab.bus.publish_many([*orders(1, 2, 3), *orders(4, channel="payments")])
    channel = lab["orders"]
    assert isinstance(channel, Channel)
    assert repr(channel) == "Channel('orders')"
    assert channel.count == 3
    assert channel.last["number"] == 3
    assert channel.last.name == 3
    assert channel.frame(limit=1)["number"].tolist() == [1]
    assert len(channel.consumers()) == 0
    assert list(lab) == lab._ipython_key_completions_() == ["orders", "payments"]
    assert "orders" in lab
    assert "nothing" not in lab
    with pytest.raises(UnknownChannelError, match="did you mean 'orders'"):
        lab["order"]
    with pytest.raises(InvalidChannelError):
        lab[0]  # type: ignore[index]
    lab.close()
    assert lab._ipython_key_completions_() == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('lab.frame("or', ("lab", "or")),
        ("x = my_lab.aio.live( '", ("my_lab", "")),
        ("lab.frame(['a', \"b\", 'c", ("lab", "c")),
        ('lab.export("orders", "or', None),
        ('lab.frame("orders")', None),
        ('print("or', None),
    ],
)
def test_where_a_channel_name_is_being_typed(text: str, expected: tuple[str, str] | None) -> None:
    assert started_name(text) == expected


# Live, explore, export


async def test_export_and_load(lab: Lab, other: str, tmp_path: Path) -> None:
    await lab.bus.publish_many(orders(*range(10)))
    result = await asyncio.to_thread(lab.export, "orders", tmp_path / "o.parquet", last="1h")
    assert result.rows == 10
    assert load(tmp_path / "o.parquet")["number"].tolist() == list(range(10))
    steps: list[tuple[int, int]] = []
    await lab.aio.export(
        None,
        tmp_path / "s.ndjson",
        stream=other,
        subject=f"{other}.a.>",
        progress=lambda done, total: steps.append((done, total)),
    )
    assert load(tmp_path / "s.ndjson")["v"].tolist() == [1, 2]
    assert steps[-1][0] == steps[-1][1] > 0
    with pytest.raises(UnknownChannelError):
        await lab.aio.export("ordrs", tmp_path / "x.csv")
    with pytest.raises(TypeError, match="lats"):
        lab.export("orders", tmp_path / "x.csv", lats="1h")  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="max_bytes= is for a frame"):
        lab.export("orders", tmp_path / "x.csv", max_bytes=9)  # type: ignore[call-arg]
    assert lab["orders"].export(tmp_path / "c.csv", limit=2).rows == 2


async def test_live(lab: Lab, nc: Client, other: str) -> None:
    await lab.bus.publish_many(orders(1))
    live = await lab.aio.live("orders", since="1h")
    await lab.bus.publish_many(orders(2))
    await until(lambda: live.received == 2)
    assert live.df["number"].tolist() == [1, 2]
    live.stop()
    recent = await asyncio.to_thread(lab.live, "orders", last="1 hour")
    await until(lambda: recent.received == 2)
    recent.stop()
    foreign = lab.live(stream=other, subject=f"{other}.a.*", start_seq=1)
    await until(lambda: foreign.received == 2)
    await nc.jetstream().publish(f"{other}.a.z", b'{"v": 3}')
    await until(lambda: foreign.received == 3)
    assert foreign.df["channel"].tolist()[-1] == f"{other}.a.z"
    foreign.stop()
    with pytest.raises(StreamNotFoundError):
        lab.live(stream="nowhere")
    with pytest.raises(InvalidChannelError):
        lab.live("a b")


async def test_live_says_when_a_channel_holds_nothing(lab: Lab, other: str) -> None:
    await lab.bus.publish_many(orders(1))
    live = await lab.aio.live(["orders", "ordesr"])
    waiting = "channel 'ordesr' holds no messages; did you mean 'orders'?"
    assert repr(live) == f"LiveFrame(orders, ordesr, waiting: {waiting})"
    assert live._repr_mimebundle_()["text/plain"] == "LiveFrame(orders, ordesr)"
    assert "channel &#x27;ordesr&#x27; holds" in live.view().counts.value
    await lab.bus.publish_many(orders(2))
    await live.aio.wait(1)
    assert live.notice == waiting  # as it is another channel
    await lab.bus.publish_many(orders(3, channel="ordesr"))
    await until(lambda: live.notice == "")
    assert repr(live) == "LiveFrame(orders, ordesr)"
    await until(lambda: "holds" not in live.view().counts.value)
    live.view().close()
    foreign = await lab.aio.live(stream=other, subject=[f"{other}.z.*", f"{other}.a.*"])
    assert foreign.notice.startswith(f"subject '{other}.z.*' holds no messages; ")
    await lab._session.hop(lab._session.connection.js.publish(f"{other}.z.1", b"{}"))
    await until(lambda: foreign.notice == "")


async def test_close_leaves_no_reader(settings: NatsEventBusSettings, nc: Client) -> None:
    lab = await asyncio.to_thread(Lab, settings)
    await lab.bus.publish_many(orders(1, 2))
    live = await lab.aio.live("orders")
    explorer = await lab.aio.explore("orders")
    await explorer.aio.tail()
    js = nc.jetstream()

    async def has_readers(count: int) -> bool:
        return len(await js.consumers_info(settings.stream_name)) == count

    await until(lambda: has_readers(2))
    await asyncio.to_thread(lab.close)
    assert await js.consumers_info(settings.stream_name) == []
    assert live.state == "stopped"


async def test_a_name_with_a_wildcard_says_how_it_is_read(lab: Lab, nc: Client) -> None:
    await lab.bus.publish_many(orders(1))
    subject = f"{lab.settings.subject_prefix}.x.*"
    for one, value in ((subject, 1), (subject.replace("*", "y"), 2)):
        await nc.jetstream().publish(one, b'{"value": %d}' % value)
    assert "x.*" in (await lab.aio.channels()).index
    place = f"stream={lab.settings.stream_name!r}, subject={subject!r}"
    for look in (lab.frame, lab.live, lab.explore, lab.__getitem__):
        with pytest.raises(InvalidChannelError, match=re.escape(place)) as raised:
            await asyncio.to_thread(look, "x.*")
        assert "without white space" not in str(raised.value)
    both = await lab.aio.frame(stream=lab.settings.stream_name, subject=subject)
    assert both.query("channel == @subject")["value"].tolist() == [1]
    with pytest.raises(InvalidChannelError, match="without white space"):
        await lab.aio.frame("orders.*")


async def test_explore(lab: Lab) -> None:
    await lab.bus.publish_many(orders(1, 2))
    explorer = lab["orders"].explore()
    assert explorer.df["number"].tolist() == [1, 2]
    explorer.close()
    explorer = await lab.aio.explore("orders")
    assert explorer.df["number"].tolist() == [1, 2]
    explorer.close()


# The server goes away


async def test_a_dead_local_server_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("varco_nats_widgets._session.session._AWAY_SECONDS", 0.5)
    lab = await asyncio.to_thread(Lab)
    await lab.bus.publish_many(orders(1))
    local = lab._session._local
    assert local is not None
    await asyncio.to_thread(local.kill)
    for call in (lab.channels, lab.streams, lambda: lab.frame("orders"), lambda: lab["orders"]):
        with pytest.raises(ServerUnreachableError, match="local server has ended"):
            await asyncio.to_thread(call)
    assert await asyncio.to_thread(lab._ipython_key_completions_) == []
    await asyncio.to_thread(local.restart)
    assert len(await lab.aio.frame("orders")) == 1
    await lab.aio.close()


async def test_a_server_that_goes_away_in_the_middle(
    settings: NatsEventBusSettings, server: LocalNats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("varco_nats_widgets._session.session._AWAY_SECONDS", 0.5)
    proxy = Proxy(server.port)
    async with proxy:
        away = settings.model_copy(update={"servers": proxy.url_for(server.url)})
        async with NatsEventBus(settings) as bus:
            await bus.publish_many(orders(*range(10)))
        lab = await asyncio.to_thread(Lab, away)
        proxy.swallow_answers = True
        loading = asyncio.create_task(lab.aio.frame("orders"))
        await asyncio.sleep(0.1)
    with pytest.raises(ServerUnreachableError, match="the connection is lost") as caught:
        await loading
    assert server.url not in str(caught.value)  # which has a token
    await lab.aio.close()


async def test_a_short_absence_is_waited_for(
    settings: NatsEventBusSettings, server: LocalNats
) -> None:
    async with Proxy(server.port) as proxy:
        away = settings.model_copy(update={"servers": proxy.url_for(server.url)})
        async with NatsEventBus(settings) as bus:
            await bus.publish_many(orders(*range(10)))
        lab = await asyncio.to_thread(Lab, away)
        proxy.cut()
        assert len(await lab.aio.frame("orders")) == 10
        await lab.aio.close()


# Connecting


def test_servers_from_the_environment(server: LocalNats, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VARCO_NATS_SERVERS", server.url)
    with Lab() as lab:
        assert repr(lab) == f"Lab(nats://127.0.0.1:{server.port})"
        assert lab._session._local is None


def test_login_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with LocalNats(token="s3cret-token") as local:
        bare = f"nats://127.0.0.1:{local.port}"
        with pytest.raises(AuthenticationError):
            Lab(bare)
        monkeypatch.setenv("NATS_TOKEN", "s3cret-token")
        with Lab(bare) as lab:
            assert "s3cret-token" not in f"{lab!r} {lab.bus!r} {lab.aio!r} {lab.settings!r}"
        with pytest.raises(AuthenticationError):  # settings are taken as they are
            Lab(NatsEventBusSettings(servers=bare))


def test_errors_leave_nothing_behind() -> None:
    with pytest.raises(ServerUnreachableError, match=r"127\.0\.0\.1:1"):
        Lab("nats://127.0.0.1:1")
    with LocalNats(jetstream=False) as local, pytest.raises(JetStreamUnavailableError):
        Lab(local.url)
    with pytest.raises(SettingsError):
        Lab("")
    with pytest.raises(TypeError, match="not int"):
        Lab(4222)  # type: ignore[arg-type]


def test_a_second_lab_beside_the_first(make_settings: Callable[..., NatsEventBusSettings]) -> None:
    with Lab(make_settings()) as one, Lab(make_settings()) as two:
        first, second = Warehouse(), Warehouse()
        first.register_to(one.bus)
        second.register_to(two.bus)
        asyncio.run(one.bus.publish_many(orders(1, 2)))
        asyncio.run(one.bus.drain())
        asyncio.run(two.bus.drain())
        assert first.packed == second.packed == [1, 2]


# The end


async def test_garbage_leaves_nothing(settings: NatsEventBusSettings, nc: Client) -> None:
    lab = Lab(settings)
    warehouse = Warehouse()
    warehouse.register_to(lab.bus)
    await lab.bus.publish_many(orders(1))
    await lab.bus.drain()
    gone = weakref.ref(lab)
    await asyncio.to_thread(lambda: None)
    del lab
    gc.collect()
    assert gone() is None
    assert await nc.jetstream().consumers_info(settings.stream_name) == []


def test_garbage_ends_the_local_server() -> None:
    lab = Lab()
    pid = server_pid(lab)
    del lab
    gc.collect()
    assert not os.path.exists(f"/proc/{pid}")  # noqa: PTH110


def test_a_kept_bus_keeps_its_lab() -> None:
    bus = Lab().bus
    gc.collect()
    asyncio.run(bus.publish(LabOrder(number=1), channel="orders"))
    del bus
    gc.collect()


def test_closing_after_the_server_died(caplog: pytest.LogCaptureFixture) -> None:
    lab = Lab()
    Warehouse().register_to(lab.bus)
    local = lab._session._local
    assert local is not None
    local.kill()
    lab.close()
    assert not [r for r in caplog.records if r.levelno >= logging.ERROR]


@pytest.mark.timeout(120)
def test_process_that_forgets_to_close_ends_cleanly() -> None:
    code = (
        "from varco_nats_widgets import Lab\nlab = Lab(); lab.bus\nprint(lab._session._local.pid)\n"
    )
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", code], capture_output=True, text=True, timeout=90
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert not os.path.exists(f"/proc/{done.stdout.strip()}")  # noqa: PTH110


@pytest.mark.timeout(120)
def test_interrupt_cancels_the_work() -> None:
    code = (
        "import asyncio, os, signal, threading, time\n"
        "from varco_nats_widgets._session.loop import LoopThread\n"
        "started, cancelled = threading.Event(), threading.Event()\n"
        "async def work():\n"
        "    started.set()\n"
        "    try: await asyncio.sleep(60)\n"
        "    except asyncio.CancelledError: cancelled.set(); raise\n"
        "loop = LoopThread('t')\n"
        "def interrupt():\n"
        "    started.wait(); os.kill(os.getpid(), signal.SIGINT)\n"
        "threading.Thread(target=interrupt).start()\n"
        "try: loop.run(work())\n"
        "except KeyboardInterrupt: print('interrupted', cancelled.wait(5))\n"
        "loop.close()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=90)
    assert done.stdout == "interrupted True\n", done.stderr


def test_interrupt_that_comes_while_the_work_is_handed_over_cancels_it_too() -> None:
    started, cancelled = threading.Event(), threading.Event()

    class Interrupted(LoopThread):
        def submit[T](self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
            super().submit(coroutine)
            assert started.wait(5)
            raise KeyboardInterrupt

    async def work() -> None:
        started.set()
        try:
            await asyncio.sleep(60)
        finally:
            cancelled.set()

    loop = Interrupted("Lab test")
    with pytest.raises(KeyboardInterrupt):
        loop.run(work())
    assert cancelled.wait(5)
    loop.close()


def test_loop_thread_ends_as_garbage_and_refuses_when_closed() -> None:
    loop = LoopThread("Lab test")

    async def answer() -> int:
        return 42

    assert loop.run(answer()) == 42
    loop.close()
    with pytest.raises(RuntimeError, match="Lab test is closed"):
        loop.run(answer())
    loop = LoopThread("Lab test")
    del loop
    gc.collect()


@pytest.mark.parametrize("package", ["pandas", "pyarrow", "ipywidgets", "anywidget", "matplotlib"])
def test_import_without_the_extra_names_it(package: str) -> None:
    code = (
        "import sys\n"
        "class Block:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] == {package!r}: raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Block())\n"
        "import varco_nats\n"
        "try: import varco_nats_widgets\n"
        "except ImportError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20)
    assert package in done.stdout, done.stderr
    assert "varco-nats-kit[widgets]" in done.stdout


def test_bus_is_varcos(lab: Lab) -> None:
    assert isinstance(lab.bus, LabBus)
    assert len(lab.bus.register_consumer(Warehouse())) == 1


@pytest.mark.timeout(60)
async def test_a_stream_without_a_leader_is_named() -> None:
    """The server that is connected answers; it is not that no server does."""
    with LocalCluster(3) as cluster:
        settings = NatsEventBusSettings(servers=cluster.servers, stream_replicas=3)
        async with NatsEventBus(settings) as bus:
            await bus.publish(LabOrder(number=1), channel="orders")
            info = await bus._connection.js.stream_info(settings.stream_name)  # type: ignore[union-attr]
        leader = next(node for node in cluster.nodes if node._name == info.cluster.leader)
        alone = next(node for node in cluster.nodes if node is not leader)
        settings = settings.model_copy(update={"servers": alone.url, "leader_timeout_seconds": 2.0})
        with Lab(settings) as lab:
            assert len(await lab.aio.frame("orders")) == 1
            for node in cluster.nodes:
                if node is not alone:
                    node.pause()
            nc = await nats.connect(alone.url)

            async def leaderless() -> bool:
                """It may have begun to lead the stream meanwhile."""
                with suppress(NatsError):
                    await nc.jetstream(timeout=0.3).stream_info(settings.stream_name)
                    return False
                return True

            await until(leaderless, timeout=40)
            await nc.close()
            with pytest.raises(StreamUnavailableError, match="has no leader") as caught:
                async with asyncio.timeout(20):
                    await lab.aio.frame("orders")
            assert caught.value.stream == settings.stream_name
            for node in cluster.nodes:
                if node is not alone:
                    node.resume()
