"""What a lab says on a server that strangers filled, where there is nothing of varco's."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import nats
import pandas as pd
import pytest
from nats.js.api import ConsumerConfig
from varco_nats_widgets import Lab
from varco_nats_widgets._session.elsewhere import EmptyFrame
from varco_nats_widgets.publish import EventTypeError

from tests import foreign
from tests.widgets.lab.helpers import orders
from varco_nats.errors import (
    InvalidChannelError,
    NotAnEventError,
    StreamNotFoundError,
    UnknownChannelError,
)
from varco_nats.server import LocalNats

DEVICE = "dev.rome.000.temp"


@pytest.fixture(scope="module")
def strange() -> Iterator[LocalNats]:
    with LocalNats() as server:

        async def fill() -> None:
            nc = await nats.connect(server.url)
            await foreign.fill(nc, devices=6, readings=1, topics=20)
            await nc.close()

        asyncio.run(fill())
        yield server


@pytest.fixture
def visitor(strange: LocalNats) -> Iterator[Lab]:
    with Lab(strange.url) as lab:
        yield lab


def test_what_is_empty_says_where_something_is(visitor: Lab) -> None:
    shown = visitor.channels()
    assert repr(shown) == (
        "No channel holds a message, in the stream 'varco-events'. The server has the streams "
        "'FILES', 'TELEMETRY', 'TOPICS', 'KV_config', 'OBJ_reports': lab.streams() shows them, and "
        "lab.explore(stream='FILES') looks into one."
    )
    assert isinstance(shown, EmptyFrame)
    assert "&#x27;TELEMETRY&#x27;" in shown._repr_html_()
    assert (len(shown), shown.index.name) == (0, "channel")
    # what is made of it is as ever
    assert type(shown[["messages"]]) is pd.DataFrame
    assert shown.sort_values("messages").empty
    assert repr(visitor.channels(stream="TELEMETRY")).startswith("  ")


def test_an_empty_server_says_that_it_is_empty() -> None:
    with Lab() as lab:
        assert repr(lab.channels()) == "No channel holds a message yet."
        assert repr(lab.streams()) == "The server has no stream yet."
        asyncio.run(lab.bus.publish_many(orders(1)))
        assert lab.channels().index.tolist() == ["orders"]
        assert lab.streams().index.tolist() == ["varco-events"]


@pytest.mark.parametrize(
    ("name", "call", "sentence"),
    [
        ("TELEMETRY", "frame", "'TELEMETRY' is a stream and no channel: {}(stream='TELEMETRY')"),
        ("telemetry", "live", "did you mean the stream 'TELEMETRY'? {}(stream='TELEMETRY')"),
        ("TELEMETRI", "frame", "did you mean the stream 'TELEMETRY'? {}(stream='TELEMETRY')"),
        (DEVICE, "live", "{0!r} is a subject of the stream 'TELEMETRY': {1}(subject={0!r})"),
        (
            DEVICE,
            "explore",
            "{0!r} is a subject of the stream 'TELEMETRY': {1}({0!r}, stream='TELEMETRY')",
        ),
        (
            "dev.rome.000.tmp",
            "frame",
            "'dev.rome.000.tmp' would be a subject of the stream 'TELEMETRY', which holds none of "
            "that name; did you mean {0!r}? {1}(subject={0!r})",
        ),
        (
            "xyzzy",
            "frame",
            "channel 'xyzzy' holds no messages, nor does any other; the server has the streams "
            "'FILES', 'TELEMETRY', 'TOPICS', 'KV_config', 'OBJ_reports': {}(stream='FILES')",
        ),
    ],
)
def test_a_name_that_is_no_channel(visitor: Lab, name: str, call: str, sentence: str) -> None:
    expected = sentence.format(*([DEVICE] * ("{0" in sentence)), f"lab.{call}")
    if call == "live":
        assert visitor.live(name).notice.endswith(expected)
        return
    with pytest.raises(UnknownChannelError) as raised:
        getattr(visitor, call)(name)
    assert str(raised.value).endswith(expected)


def test_every_way_to_a_channel_says_it(visitor: Lab, tmp_path: Path) -> None:
    calls: dict[str, Callable[[], object]] = {
        "lab.frame(": lambda: visitor["TELEMETRY"],
        "lab.explore(": lambda: visitor.explore("TELEMETRY"),
        "lab.export(None, path, ": lambda: visitor.export("TELEMETRY", tmp_path / "x.csv"),
    }
    for code, call in calls.items():
        with pytest.raises(UnknownChannelError) as raised:
            call()
        assert str(raised.value).endswith(f"no channel: {code}stream='TELEMETRY')")


def test_a_pattern_is_no_channel(visitor: Lab) -> None:
    with pytest.raises(InvalidChannelError) as raised:
        visitor.frame("dev.*.000.temp")
    assert str(raised.value).endswith(
        "contains the wildcard '*'; for the subjects of the stream 'TELEMETRY' that it matches: "
        "lab.frame(subject='dev.*.000.temp')"
    )
    assert len(visitor.frame(subject="dev.*.000.temp")) == 1


def test_a_pattern_is_advised_for_the_call_that_was_made(visitor: Lab) -> None:
    calls: dict[str, Callable[[], object]] = {
        "lab.live(subject='dev.>')": lambda: visitor.live("dev.>"),
        "lab.consumers('dev.>', stream='TELEMETRY')": lambda: visitor.consumers("dev.>"),
        "lab.durability('dev.>', stream='TELEMETRY')": lambda: visitor.durability("dev.>"),
    }
    for code, call in calls.items():
        with pytest.raises(InvalidChannelError) as raised:
            call()
        assert str(raised.value).endswith(f"that it matches: {code}")
    assert repr(visitor.durability("dev.>", stream="TELEMETRY")).startswith("Durability(subject ")


def test_the_durability_of_a_stream_of_others(visitor: Lab) -> None:
    for name, sentence in {
        "TELEMETRY": "'TELEMETRY' is a stream and no channel: lab.durability(stream='TELEMETRY')",
        DEVICE: f"{DEVICE!r} is a subject of the stream 'TELEMETRY': "
        f"lab.durability({DEVICE!r}, stream='TELEMETRY')",
    }.items():
        with pytest.raises(UnknownChannelError) as raised:
            visitor.durability(name)
        assert str(raised.value) == sentence
    of_all = visitor.durability(stream="TELEMETRY")
    assert repr(of_all).startswith("Durability(stream TELEMETRY: ")
    assert "subjects" not in {finding.about for finding in of_all}
    with pytest.raises(TypeError, match="needs a channel, or stream= for all of a stream"):
        visitor.durability()
    with Lab() as own:  # a channel may be asked about before it is used
        asyncio.run(own.bus.publish_many(orders(1)))
        assert repr(own.durability("payments")).startswith("Durability(payments: ")


def test_a_replay_of_a_stream_of_others_says_that_it_is_no_channel() -> None:
    async def add(url: str) -> None:
        nc = await nats.connect(url)
        await nc.jetstream().add_stream(name="SHOP", subjects=["shop.>"])
        await nc.jetstream().publish("shop.orders", b"{}")
        await nc.close()

    with LocalNats() as server, Lab(server.url) as lab:
        asyncio.run(lab.bus.publish_many(orders(1)))
        asyncio.run(add(server.url))
        for name, sentence in {
            "SHOP": "'SHOP' is a stream and no channel: lab.frame(stream='SHOP')",
            "shop.orders": "'shop.orders' is a subject of the stream 'SHOP': "
            "lab.frame(subject='shop.orders')",
        }.items():
            with pytest.raises(UnknownChannelError) as raised:
                lab.replay(name, to="orders.test")
            assert str(raised.value) == sentence
        assert repr(lab.replay("payments", to="x")) == "ReplayReport(nothing done: no rows)"
        asyncio.run(lab.bus.publish_many(orders(1)))
        assert lab.plan_replay("orders", to="orders.test").to_replay == 2


def test_an_empty_stream_is_waited_for_by_its_name() -> None:
    async def add(url: str) -> None:
        nc = await nats.connect(url)
        await nc.jetstream().add_stream(name="SHOP", subjects=["shop.>"])
        await nc.close()

    with LocalNats() as server, Lab(server.url) as lab:
        asyncio.run(add(server.url))
        live = lab.live(stream="SHOP")
        assert live.notice == "the stream 'SHOP' holds no messages yet"
        live.stop()


def test_consumers_are_looked_for_where_they_are(visitor: Lab) -> None:
    assert repr(visitor.consumers()) == (
        "No consumers: there is no stream 'varco-events'. The server has the streams 'FILES', "
        "'TELEMETRY', 'TOPICS': lab.consumers(stream='FILES') shows those of one."
    )
    for name, sentence in {
        "TELEMETRY": "'TELEMETRY' is a stream and no channel: lab.consumers(stream='TELEMETRY')",
        DEVICE: f"{DEVICE!r} is a subject of the stream 'TELEMETRY': "
        f"lab.consumers({DEVICE!r}, stream='TELEMETRY')",
    }.items():
        assert repr(visitor.consumers(name)) == sentence
    shown = visitor.consumers(stream="TELEMETRY")
    assert (len(shown), type(shown)) == (0, pd.DataFrame)


def test_a_pattern_that_matches_nothing_is_said(visitor: Lab) -> None:
    frame = visitor.frame(subject="dev.*.temp")  # one token too few
    assert repr(frame).startswith("subject 'dev.*.temp' holds no messages; did you mean 'dev.")
    assert (len(frame), frame.attrs["completeness"]["expected"]) == (0, 0)
    assert type(visitor.frame(subject="dev.>", until="2020-01-01")) is pd.DataFrame
    with pytest.raises(UnknownChannelError) as raised:
        visitor.explore("dev.>")
    assert str(raised.value) == (
        "no channel matches 'dev.>'; for the subjects of the stream 'TELEMETRY' that it matches: "
        "lab.explore('dev.>', stream='TELEMETRY')"
    )
    explorer = visitor.explore("dev.>", stream="TELEMETRY")
    assert explorer.stream == "TELEMETRY"
    explorer.close()


def test_what_is_for_a_strangers_stream_is_not_taken_for_a_channel(visitor: Lab) -> None:
    with pytest.raises(EventTypeError) as raised:
        visitor.publish(DEVICE, {"value": 1})
    assert str(raised.value) == (
        f"{DEVICE!r} is a subject of the stream 'TELEMETRY': lab.publish(None, {{...}}, "
        f"subject={DEVICE!r}); for a channel of that name, say event_type= as well"
    )
    with pytest.raises(
        EventTypeError, match=r"a stream; to publish .* keeps \('dev\.>'\): lab\.pub"
    ):
        visitor.publish("TELEMETRY", {"value": 1})
    # a new stream would be made for it
    publication = visitor.publish("TELEMETRY", {"value": 1}, event_type="reading")
    assert "which does not exist yet and is made" in repr(publication)
    assert any(note.startswith("'TELEMETRY' is a stream; ") for note in publication.notes)


def test_a_stream_or_subject_that_is_misspelled(visitor: Lab) -> None:
    with pytest.raises(StreamNotFoundError, match=r"'telemetry' does not exist; did you mean 'TE"):
        visitor.frame(stream="telemetry")
    with pytest.raises(UnknownChannelError, match=r"subject .* did you mean 'dev\.rome\.000\.temp"):
        visitor.frame(subject="dev.rome.000.tmp")
    with pytest.raises(ValueError, match=r"no stream keeps the subject 'no\.where'; lab\.streams"):
        visitor.frame(subject="no.where")


async def test_what_a_strangers_stream_promises_says_nothing_of_varco(
    visitor: Lab, strange: LocalNats
) -> None:
    nc = await nats.connect(strange.url)
    js = nc.jetstream()
    try:
        config = ConsumerConfig(durable_name="svc", filter_subject=DEVICE)
        await js.add_consumer("TELEMETRY", config)
        await js.add_consumer("TELEMETRY", ConsumerConfig(durable_name="gives-up", max_deliver=3))
        found = await visitor.aio.durability(DEVICE, stream="TELEMETRY")
        assert repr(found).startswith(f"Durability(subject {DEVICE}: ")
        kept = await visitor.aio.durability("$KV.config.motto", stream="KV_config")
        for finding in (*found, *kept):
            text = f"{finding.about} {finding.means} {finding.change} {finding.source}"
            assert "varco" not in text.lower()
            assert "channel" not in text
        assert "a subject keeps this many" in repr(kept)
    finally:
        for name in ("svc", "gives-up"):
            await js.delete_consumer("TELEMETRY", name)
        await nc.close()


async def test_a_dict_on_the_bus_says_what_to_call(lab: Lab) -> None:
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: lab.bus.publish({"a": 1}, channel="orders"),  # type: ignore[arg-type]
        lambda: lab.bus.publish_acked({"a": 1}, channel="orders"),  # type: ignore[arg-type]
        lambda: lab.bus.publish_many([*orders(1), ({"a": 1}, "orders")]),  # type: ignore[list-item]
        lambda: lab.bus.publish_many_acked([({"a": 1}, "orders")]),  # type: ignore[list-item]
    ]
    for call in calls:
        with pytest.raises(NotAnEventError) as raised:
            await call()
        assert isinstance(raised.value, TypeError)
        assert "this is of the type dict; lab.publish('orders', …)" in str(raised.value)
    assert lab.channels().empty


async def test_events_of_a_generator_are_all_published(lab: Lab) -> None:
    await lab.bus.publish_many(each for each in orders(1, 2, 3))  # type: ignore[arg-type]
    await lab.bus.publish_many_acked(each for each in orders(1, 2, 3))  # type: ignore[arg-type]
    assert lab.channels().loc["orders", "messages"] == 6


def test_the_subject_of_a_channel(lab: Lab) -> None:
    asyncio.run(lab.bus.publish_many(orders(1)))
    subject = lab.settings.subject_name("orders")
    with pytest.raises(UnknownChannelError) as raised:
        lab.frame(subject)
    expected = f"{subject!r} is the subject of the channel 'orders': lab.frame('orders')"
    assert str(raised.value) == expected
