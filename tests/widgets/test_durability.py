"""What a channel's configuration promises: the real server's answers, and the rules."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from nats.aio.client import Client
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DeliverPolicy,
    DiscardPolicy,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)
from varco_nats_widgets import Lab
from varco_nats_widgets.durability import Durability, Finding, Place, Rating

from tests.waiting import until
from varco_nats.bus import NatsEventBus
from varco_nats.config import NatsEventBusSettings
from varco_nats.dlq import NatsDLQ
from varco_nats.errors import InvalidChannelError, StreamNotFoundError


async def make_stream(nc: Client, settings: NatsEventBusSettings, **config: Any) -> None:
    await nc.jetstream().add_stream(
        StreamConfig(name=settings.stream_name, subjects=[settings.wildcard_subject()], **config)
    )


def about(found: Durability) -> dict[str, Finding]:
    return {finding.about: finding for finding in found}


async def test_what_the_bus_makes(lab: Lab, settings: NatsEventBusSettings) -> None:
    async with NatsEventBus(settings):
        pass  # it has made the stream
    found = await lab.aio.durability("orders")
    by_name = about(found)
    assert by_name["storage"].rating is Rating.PROMISE
    assert by_name["num_replicas"].rating is Rating.RISK
    assert by_name["retention"].value == "limits"
    assert by_name["limits"].value == "none"
    assert by_name["duplicate_window"].value == "0:02:00"
    assert [finding.rating for finding in found] == sorted(
        (finding.rating for finding in found), key=list(Rating).index
    )


async def test_limits_say_what_goes_and_when(
    lab: Lab, nc: Client, settings: NatsEventBusSettings
) -> None:
    await make_stream(
        nc, settings, max_msgs=10, max_bytes=1_000_000, max_age=3600.0, max_msgs_per_subject=5
    )
    for _ in range(4):
        await nc.jetstream().publish(settings.subject_name("orders"), b"{}")
    by_name = about(await lab.aio.durability("orders"))
    assert by_name["max_msgs"].value == "10 messages"
    assert by_name["max_msgs"].means.startswith("40% full, and full in 0:00:0")
    assert "the oldest messages are removed, whether" in by_name["max_bytes"].means
    assert by_name["max_age"].value == "1:00:00"
    assert "keeps this many of its newest messages" in by_name["max_msgs_per_subject"].means
    assert "limits" not in by_name


async def test_a_full_stream_that_refuses_loses_nothing(
    lab: Lab, nc: Client, settings: NatsEventBusSettings
) -> None:
    await make_stream(nc, settings, max_msgs=2, discard=DiscardPolicy.NEW)
    finding = about(await lab.aio.durability("orders"))["max_msgs"]
    assert finding.means.startswith("0% full; when it is full, a publish is refused with an error")


async def test_risky_streams(lab: Lab, nc: Client, settings: NatsEventBusSettings) -> None:
    await make_stream(
        nc, settings, storage=StorageType.MEMORY, retention=RetentionPolicy.INTEREST, no_ack=True
    )
    found = await lab.aio.durability("orders")
    assert {"storage", "retention", "no_ack", "num_replicas"} <= {
        finding.about for finding in found.risks
    }
    assert "sync_interval" not in about(found)  # nothing is on a disk


async def test_consumers_of_services(lab: Lab, nc: Client, settings: NatsEventBusSettings) -> None:
    await make_stream(nc, settings)
    subject = settings.subject_name("orders")
    add = nc.jetstream().add_consumer
    for config in (
        ConsumerConfig(durable_name="careful", ack_policy=AckPolicy.EXPLICIT, ack_wait=2.0),
        ConsumerConfig(durable_name="three", ack_policy=AckPolicy.EXPLICIT, max_deliver=3),
        ConsumerConfig(
            durable_name="steps", ack_policy=AckPolicy.EXPLICIT, max_deliver=3, backoff=[1.0, 5.0]
        ),
        ConsumerConfig(
            durable_name="late",
            ack_policy=AckPolicy.NONE,
            deliver_policy=DeliverPolicy.NEW,
        ),
        ConsumerConfig(
            durable_name="brief", ack_policy=AckPolicy.ALL, mem_storage=True, inactive_threshold=60
        ),
    ):
        await add(settings.stream_name, replace(config, filter_subject=subject))
    other = settings.subject_name("payments")
    await add(settings.stream_name, ConsumerConfig(durable_name="other", filter_subject=other))
    by_name = about(await lab.aio.durability("orders"))
    assert by_name["careful: ack_wait"].value == "0:00:02"
    assert by_name["careful: ack_wait"].rating is Rating.LIMIT
    assert by_name["careful: max_deliver"].rating is Rating.PROMISE
    assert by_name["three: max_deliver"].rating is Rating.RISK
    assert by_name["late: ack_policy"].rating is Rating.RISK
    assert by_name["brief: ack_wait"].rating is Rating.RISK
    assert by_name["brief: inactive_threshold"].value == "0:01:00"
    assert "brief: mem_storage" in by_name
    assert by_name["steps: backoff"].value == "0:00:01, 0:00:05"
    assert "steps: ack_wait" not in by_name  # it is not in force
    assert "under at_most_once too" in by_name["positions"].means
    assert not [name for name in by_name if name.startswith("other")]


async def test_what_becomes_of_messages_that_fail(lab: Lab, settings: NatsEventBusSettings) -> None:
    async def is_consumed() -> bool:
        return "dead letters" in about(await lab.aio.durability("orders"))

    async with NatsEventBus(settings) as bus:
        bus.subscribe("x", lambda event: None, channel="orders")
        await until(is_consumed)
    finding = about(await lab.aio.durability("orders"))["dead letters"]
    assert (finding.rating, finding.value) == (Rating.RISK, "none")
    assert f"a message that fails {settings.max_deliver} times" in finding.means
    async with NatsDLQ(settings):
        pass  # it has made its stream
    finding = about(await lab.aio.durability("orders"))["dead letters"]
    assert (finding.rating, finding.value) == (Rating.LIMIT, f"{settings.stream_name}-dlq")


async def test_the_labs_own_durable_is_no_service(
    lab: Lab, nc: Client, settings: NatsEventBusSettings
) -> None:
    await make_stream(nc, settings)
    await asyncio.to_thread(lab.bus.subscribe, "x", lambda event: None, channel="orders")
    assert about(await lab.aio.durability("orders"))["consumers"].value == "none"


async def test_another_stream_and_one_that_is_not_there(
    lab: Lab, nc: Client, settings: NatsEventBusSettings
) -> None:
    with pytest.raises(StreamNotFoundError):
        await lab.aio.durability("orders")
    with pytest.raises(InvalidChannelError):
        await lab.aio.durability("or ders")
    await make_stream(nc, settings)
    name = settings.subject_name("orders")
    assert (await lab.aio.durability(name, stream=settings.stream_name)).name == name


async def test_a_stream_that_does_not_take_the_messages(
    lab: Lab, nc: Client, settings: NatsEventBusSettings
) -> None:
    taken = settings.subject_name("orders")
    await nc.jetstream().add_stream(StreamConfig(name=settings.stream_name, subjects=[taken]))
    assert "subjects" not in about(await lab.aio.durability("orders"))
    found = await lab.aio.durability("payments")
    assert found.risks[0].about == "subjects"
    assert found.risks[0].value == taken
    not_taken = settings.subject_name("payments")
    assert found.risks[0].means.startswith(f"the stream does not take {not_taken}: no message")
    of_stream = {"stream": settings.stream_name}
    assert "subjects" not in about(await lab.aio.durability(taken, **of_stream))
    assert "subjects" in about(await lab.aio.durability("orders", **of_stream))


@pytest.mark.parametrize("name", ["mirror", "sources", "subject_transform"])
def test_a_stream_that_gets_its_messages_otherwise(name: str) -> None:
    others: dict[str, Any] = {"subjects": None, name: {"name": "other"}}
    assert "subjects" not in about(Durability(place(**others)))
    assert "subjects" in about(Durability(place(subjects=None)))


def test_a_local_server_has_a_known_interval() -> None:
    with Lab() as lab:
        lab.bus  # makes the stream
        assert about(lab.durability("orders"))["sync_interval"].value == "2 minutes"


def place(version: str = "2.12.5", sync: str | None = None, **config: Any) -> Place:
    now = datetime.now(UTC).isoformat()
    state = {"messages": 0, "bytes": 0, "first_ts": now, "last_ts": now}
    config = {"subjects": ["orders"], **config}
    return Place("orders", {"config": config, "state": state}, [], version, sync)


@pytest.mark.parametrize(
    ("version", "replicas", "rating"),
    [
        ("2.10.22", 1, Rating.RISK),
        ("2.10.23", 1, Rating.PROMISE),
        ("2.12.1", 3, Rating.RISK),
        ("2.12.2", 3, Rating.PROMISE),
        ("2.12.0-RC.1", 3, Rating.RISK),
    ],
)
def test_versions_that_lose_data(version: str, replicas: int, rating: Rating) -> None:
    found = about(Durability(place(version, num_replicas=replicas)))
    assert found["server"].rating is rating


@pytest.mark.parametrize(
    ("offline", "rating", "means"),
    [
        (0, Rating.PROMISE, "while no more than 1 of the 3 servers are gone"),
        (1, Rating.RISK, "can still be published, and 0 more servers may fail"),
        (2, Rating.RISK, "nothing can be published or acknowledged until one of them is back"),
    ],
)
def test_replicas_that_are_gone(offline: int, rating: Rating, means: str) -> None:
    """As the server tells of them, see `PeerInfo` of its API."""
    peers = [{"name": f"n{n}", "current": True, "offline": n <= offline} for n in (1, 2)]
    three = place(num_replicas=3)
    found = Durability(replace(three, stream={**three.stream, "cluster": {"replicas": peers}}))
    finding = about(found)["num_replicas"]
    assert finding.rating is rating
    assert means in finding.means
    assert ("n1" in finding.change) == (offline > 0)


@pytest.mark.parametrize(
    ("replicas", "name", "means"),
    [
        (1, "positions", "delivered or acknowledged just before, under at_most_once too"),
        (3, "elections", "at_most_once varco's bus leaves to the new leader"),
    ],
)
def test_what_comes_again_after_a_fault_of_the_server(replicas: int, name: str, means: str) -> None:
    consumer = {"name": "svc-orders", "config": {"ack_policy": "explicit"}}
    found = about(Durability(replace(place(num_replicas=replicas), consumers=[consumer])))
    assert means in found[name].means
    assert len({"positions", "elections"} & found.keys()) == 1


def test_writing_to_the_disk() -> None:
    always = about(Durability(place(sync="always")))["sync_interval"]
    assert always.rating is Rating.PROMISE
    unknown = about(Durability(place(num_replicas=3)))["sync_interval"]
    assert unknown.value == "not known"
    assert "several servers fail at once" in unknown.means
    assert "the server does not tell clients its own" in unknown.means


def test_what_it_shows_is_what_it_found() -> None:
    found = Durability(replace(place(), name="<b>$x$", subject="orders"))
    assert repr(found).startswith("Durability(<b>$x$: 2 risks, 2 limits, 4 promises)\n  risk    ")
    assert "<b>" not in found._repr_html_()
    frame = found.frame
    assert frame["about"].tolist() == [finding.about for finding in found]
    assert frame["rating"].tolist() == [finding.rating.value for finding in found]
    assert (frame["change"] == "").sum() == sum(
        finding.rating is Rating.PROMISE for finding in found
    )
