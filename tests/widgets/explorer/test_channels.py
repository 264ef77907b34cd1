from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig, RetentionPolicy, StorageType, StreamConfig
from varco_core.event.base import Event
from varco_nats_widgets import Lab
from varco_nats_widgets._session.facts import Facts

from tests.events import orders
from tests.waiting import until
from varco_nats._nats.client import connect
from varco_nats._nats.ephemeral import EphemeralConsumer
from varco_nats.bus import NatsEventBus
from varco_nats.config import NatsEventBusSettings
from varco_nats.errors import PermissionDeniedError, StreamNotFoundError
from varco_nats.server import LocalNats


async def stored(nc: Client, settings: NatsEventBusSettings, **channels: int) -> None:
    """Create the stream and store that many messages in each channel."""
    js = nc.jetstream()
    await js.add_stream(
        name=settings.stream_name, subjects=[settings.wildcard_subject()], allow_direct=True
    )
    for channel, count in channels.items():
        for number in range(count):
            await js.publish(settings.subject_name(channel), b'{"n": %d}' % number)


async def test_each_channel_has_its_place(
    lab: Lab, nc: Client, settings: NatsEventBusSettings
) -> None:
    await stored(nc, settings, orders=3, payments=1)
    await nc.jetstream().publish(settings.subject_name("orders"), b"{}")
    channels = await lab.aio.channels()
    assert channels.index.name == "channel"
    assert channels.index.tolist() == ["orders", "payments"]
    assert channels["messages"].tolist() == [4, 1]
    assert channels["first_seq"].tolist() == [1, 4]
    assert channels["last_seq"].tolist() == [5, 4]
    for name in ("first_time", "last_time"):
        assert str(channels[name].dtype) == "datetime64[ns, UTC]"
    assert channels["bytes"].isna().all()
    frame = await lab.aio.frame("orders")
    assert channels.loc["orders", "first_time"] == frame["stored_at"].iloc[0]
    assert channels.loc["orders", "last_time"] == frame["stored_at"].iloc[-1]


async def test_bytes_where_the_stream_has_one_channel(
    lab: Lab, nc: Client, settings: NatsEventBusSettings
) -> None:
    await stored(nc, settings, orders=2)
    info = await nc.jetstream().stream_info(settings.stream_name)
    assert (await lab.aio.channels()).loc["orders", "bytes"] == info.state.bytes


async def test_no_channels_have_the_same_columns(lab: Lab, nc: Client) -> None:
    none = await lab.aio.channels()
    await stored(nc, lab.settings, orders=1)
    some = await lab.aio.channels()
    assert len(none) == 0
    assert none.dtypes.to_dict() == some.dtypes.to_dict()
    await nc.jetstream().purge_stream(lab.settings.stream_name)
    emptied = await lab.aio.channels()
    assert len(emptied) == 0
    assert emptied.dtypes.to_dict() == some.dtypes.to_dict()


async def test_rates_count_the_last_seconds(
    lab: Lab, nc: Client, settings: NatsEventBusSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    recent = Facts.recent

    async def rates(now: pd.Timestamp) -> list[float]:
        """As they are when the server says that it is `now`."""

        async def recent_then(facts: Facts, info: dict[str, Any], pattern: str) -> Any:
            return await recent(facts, {**info, "ts": f"{now:%Y-%m-%dT%H:%M:%S.%fZ}"}, pattern)

        monkeypatch.setattr(Facts, "recent", recent_then)
        return (await lab.aio.channels())["per_second"].tolist()

    await stored(nc, settings, orders=20, payments=10)
    old = (await lab.aio.frame("payments"))["stored_at"].iloc[-1]
    assert await rates(old + pd.Timedelta(seconds=1)) == [2.0, 1.0]
    assert await rates(old + pd.Timedelta(seconds=11)) == [0.0, 0.0]
    await nc.jetstream().publish(settings.subject_name("payments"), b"{}")
    new = (await lab.aio.frame("payments"))["stored_at"].iloc[-1]
    assert await rates(old + (new - old) / 2 + pd.Timedelta(seconds=10)) == [0.0, 0.1]


async def test_rates_of_a_busy_stream_are_of_its_newest_messages(
    lab: Lab, nc: Client, settings: NatsEventBusSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("varco_nats_widgets._session.facts._RECENT_MESSAGES", 10)
    await stored(nc, settings, old=50, orders=5, payments=5)
    rates = (await lab.aio.channels())["per_second"]
    assert rates["old"] == 0
    assert rates["orders"] == rates["payments"] > 5 / 10  # 5 in less than ten seconds


async def test_the_newest_place_of_a_channel_that_is_written_meanwhile(
    lab: Lab, nc: Client, settings: NatsEventBusSettings
) -> None:
    """All that is known of the stream is old when its newest messages are asked for."""
    await stored(nc, settings, orders=2, payments=2, quiet=1)
    session = lab._session
    facts = Facts(session.connection)
    subjects = {name: settings.subject_name(name) for name in ("orders", "payments", "quiet")}
    info = await session.call(facts.stream(settings.stream_name))
    await stored(nc, settings, orders=1, payments=1)
    pattern = settings.wildcard_subject()
    found = await session.call(facts.newest(info, pattern, subjects.values()))
    assert {name: found[subject][0] for name, subject in subjects.items()} == {
        "orders": 6,
        "payments": 7,
        "quiet": 5,
    }


async def test_consumers_of_services_are_seen_and_not_touched(
    lab: Lab, nc: Client, settings: NatsEventBusSettings
) -> None:
    await stored(nc, settings, orders=10, payments=2)
    js, subject = nc.jetstream(), settings.subject_name("orders")
    held = await js.pull_subscribe(subject, "svc-orders")
    messages = await held.fetch(4)
    await messages[0].ack()
    await messages[1].nak()
    while (await held.fetch(1))[0].metadata.num_delivered == 1:
        pass
    every = ConsumerConfig(durable_name="audit", deliver_subject="x", ack_policy=AckPolicy.NONE)
    await js.add_consumer(settings.stream_name, every)
    before = await js.consumers_info(settings.stream_name)

    info = await js.consumer_info(settings.stream_name, "svc-orders")
    lag, pending = info.num_pending, info.num_ack_pending
    assert [lag + pending, info.num_redelivered] == [9, 1]

    channels = await lab.aio.channels()
    columns = ["consumers", "lag", "ack_pending", "redelivered"]
    assert channels.loc["orders", columns].tolist() == [2, lag, pending, 1]  # type: ignore[operator]
    assert channels.loc["payments", "consumers"] == 1
    assert channels["durables"].tolist() == ["audit, svc-orders", "audit"]
    assert channels.loc["payments", "lag"] is pd.NA

    consumers = await lab.aio.consumers()
    assert consumers.index.tolist() == ["audit", "svc-orders"]
    row = consumers.loc["svc-orders"]
    assert row["channel"] == "orders"
    assert [row["lag"], row["ack_pending"], row["redelivered"]] == [lag, pending, 1]
    assert [row["delivered_seq"], row["ack_floor_seq"]] == [info.delivered.stream_seq, 1]
    assert row["ack_wait"] == pd.Timedelta(seconds=30)
    assert row["durable"]
    assert not row["paused"]
    assert row["last_active"] > pd.Timestamp("2020", tz="UTC")
    assert consumers["type"].tolist() == ["push", "pull"]
    assert consumers["channel"].tolist() == [">", "orders"]
    assert (await lab.aio.consumers("payments")).index.tolist() == ["audit"]
    assert (await lab.aio.consumers("orders")).index.tolist() == ["audit", "svc-orders"]

    after = await js.consumers_info(settings.stream_name)
    assert [info.name for info in after] == [info.name for info in before]
    assert [info.num_ack_pending for info in after] == [info.num_ack_pending for info in before]


async def test_a_running_service_sees_every_event_once(
    lab: Lab, settings: NatsEventBusSettings
) -> None:
    seen: list[object] = []
    async with NatsEventBus(settings) as bus:
        bus.subscribe(Event, lambda event: seen.append(event), channel="orders")
        for _ in range(5):
            await bus.publish_many(orders(20))
            await lab.aio.channels()
            await lab.aio.consumers()
            await lab.aio.streams()
            await lab.aio.frame("orders", headers=True)
        await until(lambda: len(seen) >= 100)
        assert (await lab.aio.channels()).loc["orders", "redelivered"] == 0
    assert len(seen) == 100


async def test_readers_are_not_consumers(
    lab: Lab, nc: Client, settings: NatsEventBusSettings
) -> None:
    await stored(nc, settings, orders=1)
    connection = await connect(settings, name="test")
    reader = EphemeralConsumer(connection, settings.stream_name, None)
    await reader.create()
    live = await lab.aio.live("orders")

    async def both() -> bool:
        return len(await nc.jetstream().consumers_info(settings.stream_name)) == 2

    try:
        await until(both)
        assert len(await lab.aio.consumers()) == 0
        assert (await lab.aio.channels())["consumers"].tolist() == [0]
        about = await lab.aio.durability("orders")
        assert "ack_policy" not in about.frame.to_string()
    finally:
        await live.aio.stop()
        await reader.close()
        await connection.close()


async def test_a_channel_or_stream_without_consumers(lab: Lab, settings: object) -> None:
    assert len(await lab.aio.consumers("orders")) == 0
    with pytest.raises(StreamNotFoundError, match="'nowhere' does not exist"):
        await lab.aio.consumers(stream="nowhere")


async def test_streams_of_others(lab: Lab, nc: Client, settings: NatsEventBusSettings) -> None:
    other = f"{settings.stream_name}-other"
    await nc.jetstream().add_stream(
        StreamConfig(
            name=other,
            subjects=[f"{other}.a", f"{other}.b.>"],
            retention=RetentionPolicy.WORK_QUEUE,
            storage=StorageType.MEMORY,
            max_msgs=100,
            max_age=60.0,
        )
    )
    await nc.jetstream().publish(f"{other}.b.c", b"x")
    await stored(nc, settings)
    streams = await lab.aio.streams()
    assert streams.index.name == "stream"
    row = streams.loc[other]
    assert row["subjects"] == f"{other}.a, {other}.b.>"
    assert [row["messages"], row["distinct_subjects"], row["first_seq"]] == [1, 1, 1]
    assert [row["retention"], row["storage"], row["replicas"]] == ["workqueue", "memory", 1]
    assert row["max_messages"] == 100
    assert row["max_age"] == pd.Timedelta(minutes=1)
    assert row["max_bytes"] is pd.NA
    empty = streams.loc[settings.stream_name]
    assert empty["last_time"] is pd.NaT
    assert empty["max_age"] is pd.NaT


async def test_subjects_of_another_stream(
    lab: Lab, nc: Client, settings: NatsEventBusSettings
) -> None:
    other = f"{settings.stream_name}-other"
    js = nc.jetstream()
    await js.add_stream(name=other, subjects=[f"{other}.>"], retention=RetentionPolicy.WORK_QUEUE)
    for subject in ("b", "a", "b"):
        await js.publish(f"{other}.{subject}", b"x")
    subjects = await lab.aio.channels(stream=other)
    assert subjects.index.name == "subject"
    assert subjects.index.tolist() == [f"{other}.a", f"{other}.b"]
    assert subjects["messages"].tolist() == [1, 2]
    assert subjects["last_seq"].tolist() == [2, 3]
    assert subjects["per_second"].isna().all()  # nobody may read along
    live = await lab.aio.live(stream=other)
    assert live.notice.startswith("services take the messages out of this stream")
    assert repr(live) == f"LiveFrame(stream {other})"
    live.stop()
    assert await js.consumers_info(other) == []
    with pytest.raises(StreamNotFoundError, match="did you mean"):
        await lab.aio.channels(stream=f"{other}x")


async def test_a_stream_without_room_for_a_reader(
    lab: Lab, nc: Client, settings: NatsEventBusSettings, tmp_path: Path
) -> None:
    await stored(nc, settings, orders=3, payments=2)
    js = nc.jetstream()
    info = await js.stream_info(settings.stream_name)
    await js.delete_stream(settings.stream_name)
    await js.add_stream(info.config.evolve(max_consumers=1))
    await js.add_consumer(settings.stream_name, ConsumerConfig(durable_name="only"))
    for channel in ("orders", "orders", "payments"):
        await js.publish(settings.subject_name(channel), b'{"a": 1}')
    channels = await lab.aio.channels()
    assert channels["messages"].tolist() == [2, 1]
    assert channels["last_seq"].tolist() == [2, 3]
    assert channels["per_second"].isna().all()
    frame = await lab.aio.frame(["orders", "payments"], newest_first=True)
    assert frame.index.tolist() == [3, 2, 1]
    assert frame.attrs["completeness"]["gaps"] == 0
    assert (await lab.aio.export("orders", tmp_path / "orders.csv")).rows == 2
    explorer = await lab.aio.explore("orders")
    assert explorer.df.index.tolist() == [1, 2]
    explorer.close()
    live = await lab.aio.live("orders", last="1h")
    await live.aio.wait(2)
    live.stop()


def test_a_login_that_may_not_look_is_told_so(settings: NatsEventBusSettings) -> None:
    denied = {
        "all": "",
        "no_consumer": 'publish: { deny: ["$JS.API.CONSUMER.>"] }',
        "no_stream": 'publish: { deny: ["$JS.API.STREAM.>"] }',
    }
    users = [
        f"{{ user: {user}, password: x, permissions: {{ {rights} }} }}"
        for user, rights in denied.items()
    ]
    config = f"authorization {{ users: [ {', '.join(users)} ] }}"

    def login(user: str) -> NatsEventBusSettings:
        return settings.model_copy(
            update={"servers": server.url, "connect_kwargs": {"user": user, "password": "x"}}
        )

    with LocalNats(config=config, token=None) as server:
        with Lab(login("all")) as lab:
            asyncio.run(lab.bus.publish_many(orders(1)))
        with Lab(login("no_consumer")) as lab:
            channels = lab.channels()
            assert channels["messages"].tolist() == [1]
            assert channels[["consumers", "durables", "lag", "redelivered"]].isna().all(axis=None)
            assert lab.frame("orders").index.tolist() == [1]
            with pytest.raises(PermissionDeniedError, match=r"allow '\$JS.API.CONSUMER.LIST\."):
                lab.consumers()
        with Lab(login("no_stream")) as lab:
            for look in (lab.channels, lab.streams, lambda: lab.frame(stream="any")):
                with pytest.raises(PermissionDeniedError, match=r"allow '\$JS.API.STREAM"):
                    look()


async def test_hundreds_of_channels_and_consumers_take_pages(
    lab: Lab, nc: Client, settings: NatsEventBusSettings
) -> None:
    js = nc.jetstream()
    await stored(nc, settings)
    names = [f"ch{number:03}" for number in range(300)]
    for name in names:
        await nc.publish(settings.subject_name(name), b"{}")
        config = ConsumerConfig(
            durable_name=f"svc-{name}", filter_subject=settings.subject_name(name)
        )
        await js.add_consumer(settings.stream_name, config)
    channels = await lab.aio.channels()
    assert channels.index.tolist() == names
    assert channels["consumers"].tolist() == [1] * 300
    assert (await lab.aio.consumers())["channel"].tolist() == names


async def test_the_oldest_of_many_channels(
    lab: Lab, nc: Client, settings: NatsEventBusSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Most begin where the stream does and are read there; what begins later is asked for."""
    monkeypatch.setattr("varco_nats_widgets._session.facts._FIRST_PAGE", 20)
    await stored(nc, settings)
    js = nc.jetstream()
    order = [f"ch{number:02}" for number in range(60)] + ["ch00"] * 60
    order += [f"ch{number:02}" for number in range(60)] + ["late", "once", "late"]
    for name in order:
        await js.publish(settings.subject_name(name), b"{}")
    await js.delete_msg(settings.stream_name, 3)
    channels = await lab.aio.channels()
    first = {name: order.index(name) + 1 for name in channels.index} | {"ch02": 123}
    assert channels["first_seq"].to_dict() == first
    assert len(channels) == 62
    frame = await lab.aio.frame("late")
    assert channels.loc["late", "first_time"] == frame["stored_at"].iloc[0]


async def test_hostile_names_stay_text(
    lab: Lab, nc: Client, settings: NatsEventBusSettings
) -> None:
    await stored(nc, settings)
    name = "<img/src=x/onerror=alert(1)//"
    await nc.jetstream().publish(settings.subject_name(name), b"{}")
    channels = await lab.aio.channels()
    assert channels.index.tolist() == [name]
    assert "<img" not in channels.to_html()
    assert repr(lab[name]) == f"Channel({name!r})"
