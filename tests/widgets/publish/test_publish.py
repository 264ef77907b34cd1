"""`lab.publish`: first exactly what would be sent, then sending it, each message at most once."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from typing import Any
from uuid import UUID, uuid4

import pandas as pd
import pytest
from nats.aio.client import Client
from nats.js.api import ConsumerConfig, StreamConfig
from varco_nats_widgets import Lab
from varco_nats_widgets.publish import (
    EventTypeError,
    Publication,
    PublicationRefusedError,
    UnpublishedError,
)

from tests.conftest import MakeSettings
from tests.events import OrderPlaced, OrderShipped
from tests.foreign import fill
from tests.proxy import Proxy
from tests.waiting import until, wait_until
from varco_nats.bus import NatsEventBus
from varco_nats.config import NatsDeliverySemantics, NatsEventBusSettings
from varco_nats.errors import InvalidChannelError, ReadOnlyError
from varco_nats.server import LocalNats


def sent(lab: Lab, channel: str = "orders") -> pd.DataFrame:
    return lab.frame(channel)


def test_nothing_is_sent_before_run_and_then_it_is_what_was_shown(lab: Lab) -> None:
    event = OrderPlaced(order_id="7", total=2.5)
    publication = lab.publish("orders", event)

    assert list(lab) == []
    text = repr(publication)
    assert text.startswith("Publication: nothing is sent yet: .run() sends it")
    assert f"{lab.settings.subject_prefix}.orders, stored by stream" in text
    assert "does not exist yet and is made" in text
    assert str(event.event_id) in text
    assert '"order_id": "7", "total": 2.5' in text

    report = publication.run()
    assert (report.stored, report.sequences, report.is_done) == (1, (1,), True)
    assert "1 stored in" in repr(publication)
    row = sent(lab).loc[1]
    assert (row["event_id"], row["total"]) == (str(event.event_id), 2.5)
    with pytest.raises(PublicationRefusedError, match="sent already"):
        publication.run()
    assert len(sent(lab)) == 1


def test_a_service_reads_what_was_a_dict(lab: Lab) -> None:
    got: list[OrderPlaced] = []
    lab.bus.subscribe(OrderPlaced, got.append, channel="orders")  # type: ignore[arg-type]
    lab.publish("orders", {"order_id": "1"}, event_type=OrderPlaced, run=True)
    publication = lab.publish("orders", {"order_id": "{n}x", "total": "{n}"}, count=3)
    assert "as its newest message has" in repr(publication)
    assert "{n}, in each message" in repr(publication)
    publication.run()

    wait_until(lambda: len(got) == 4)
    assert [(each.order_id, each.total) for each in got[1:]] == [("1x", 1), ("2x", 2), ("3x", 3)]
    assert len({each.event_id for each in got}) == 4


def test_an_event_that_is_sent_more_than_once_is_a_new_one_unless_its_id_was_given(
    lab: Lab,
) -> None:
    event, given = OrderPlaced(order_id="1"), OrderPlaced(order_id="2", event_id=uuid4())
    lab.publish("orders", event, count=3, run=True)
    lab.publish("orders", given, count=2, run=True)
    ids = sent(lab)["event_id"].tolist()
    assert ids[0] == str(event.event_id)
    assert len(set(ids[:3])) == 3
    assert ids[3:] == [str(given.event_id)] * 2


def test_of_which_type_a_dict_is_is_taken_from_the_channel_or_asked_for(lab: Lab) -> None:
    with pytest.raises(EventTypeError, match=r"as it is empty; say it with event_type="):
        lab.publish("orders", {"order_id": "1"})
    lab.publish("orders", OrderPlaced(order_id="1"), run=True)
    lab.publish("orders", OrderShipped(order_id="1"), run=True)
    with pytest.raises(EventTypeError) as error:
        lab.publish("orders", {"order_id": "1"})
    assert error.value.found == {"order.placed": 1, "order.shipped": 1}
    lab.publish("orders", {"__event_type__": "order.shipped", "order_id": "2"}, run=True)
    assert sent(lab)["event_type"].tolist()[-1] == "order.shipped"


def test_what_the_class_of_an_event_refuses_is_not_sent_unless_told(lab: Lab) -> None:
    wrong = {"__event_type__": "order.placed", "total": "much", "ordr": 1}
    publication = lab.publish("orders", wrong)
    assert publication.problems == (
        "OrderPlaced refuses it: order_id: Field required",
        "OrderPlaced refuses it: total: Input should be a valid number, unable to parse string "
        "as a number",
    )
    assert "OrderPlaced has no field 'ordr'" in publication.notes
    with pytest.raises(PublicationRefusedError, match="order_id: Field required"):
        publication.run()
    assert list(lab) == []
    lab.publish("orders", wrong, check=False, run=True)
    assert sent(lab)["total"].tolist() == ["much"]


def test_what_the_newest_messages_have_is_said_where_the_class_is_not_known(lab: Lab) -> None:
    lab.publish("orders", {"__event_type__": "elsewhere", "a": 1, "b": 2}, run=True)
    publication = lab.publish("orders", {"a": 1, "c": 3})
    assert any("without 'b', which the newest" in note for note in publication.notes)
    assert any("with 'c', which none" in note for note in publication.notes)


@pytest.mark.parametrize(
    ("content", "data"),
    [
        ("text {n} {x}", b"text 1 {x}"),
        (b"bytes {n}\xff", b"bytes {n}\xff"),
        ({"a": "{n}", "b": ["{n}!", None]}, b'{"a": 1, "b": ["1!", null]}'),
        ([1, 2.5], b"[1, 2.5]"),
        (None, b"null"),
        ({"at": pd.Timestamp("2026-05-04", tz="UTC")}, b'{"at": "2026-05-04T00:00:00Z"}'),
    ],
)
async def test_to_a_subject_of_a_stranger_it_is_what_was_given(
    lab: Lab, nc: Client, content: Any, data: bytes
) -> None:
    name = lab.settings.stream_name + "-f"
    await nc.jetstream().add_stream(StreamConfig(name=name, subjects=[f"{name}.>"]))
    publication = await lab.aio.publish(
        None, content, subject=f"{name}.a", headers={"Site": "rome {n}", "n": 7}
    )
    assert f"stored by stream {name}; no durable consumer gets it" in repr(publication)
    await publication.aio.run()
    stored = await nc.jetstream().get_msg(name, 1)
    assert stored.data == data
    assert stored.headers == {"Site": "rome 1", "n": "7"}


async def test_a_template_may_be_the_text_itself(lab: Lab, nc: Client) -> None:
    lab_ = lab.aio
    await lab_.publish("orders", {"__event_type__": "t", "a": "{n}"}, template=False, run=True)
    assert (await lab_.frame("orders"))["a"].tolist() == ["{n}"]


async def test_values_of_a_template_differ_as_they_say(lab: Lab) -> None:
    value = {"__event_type__": "t", "a": "{uuid}", "b": "x{uuid}", "at": "{now}", "n": "#{n}"}
    await lab.aio.publish("orders", value, count=250, run=True)
    frame = await lab.aio.frame("orders", times="at")
    assert frame["n"].tolist() == [f"#{n}" for n in range(1, 251)]
    assert len({UUID(text) for text in frame["a"]}) == 250
    assert (frame["b"] == "x" + frame["a"]).all()
    assert (frame["at"] <= frame["stored_at"]).all()
    assert frame["event_id"].is_unique


async def test_who_handles_it_is_said(lab: Lab, nc: Client) -> None:
    await fill(nc, devices=3, topics=1, suffix=lab.settings.stream_name)
    stream = f"TELEMETRY{lab.settings.stream_name}"
    subject = f"dev{lab.settings.stream_name}.rome.000.temp"
    for name, pattern in (("temps", "*.*.temp"), ("gps", "*.*.gps")):
        config = ConsumerConfig(
            durable_name=name, filter_subject=f"dev{lab.settings.stream_name}.{pattern}"
        )
        await nc.jetstream().add_consumer(stream, config)
    publication = await lab.aio.publish(None, {"value": 1}, subject=subject)
    assert publication.consumers == {subject: ("temps",)}
    assert f"stored by stream {stream}; handled by temps" in repr(publication)
    assert any("without 'device', 'unit', 'ts'" in note for note in publication.notes)
    for name in ("TELEMETRY", "TOPICS", "FILES"):
        await nc.jetstream().delete_stream(f"{name}{lab.settings.stream_name}")


async def test_what_no_stream_stores_is_sent_only_where_that_is_wanted(
    lab: Lab, nc: Client
) -> None:
    subject = f"core.{lab.settings.stream_name}"
    heard: list[bytes] = []

    async def hear(message: Any) -> None:
        heard.append(message.data)

    await nc.subscribe(subject, cb=hear)
    await nc.flush()
    publication = await lab.aio.publish(None, {"a": 1}, subject=subject)
    assert "which no stream stores" in repr(publication)
    with pytest.raises(PublicationRefusedError, match="say stored=False"):
        await publication.aio.run()
    done = await lab.aio.publish(None, {"a": 1}, subject=subject, stored=False, run=True)
    await until(lambda: heard == [b'{"a": 1}'])
    assert done.report is not None
    assert (done.report.stored, done.report.unstored) == (0, 1)
    assert "kept by no stream" in repr(done)


async def test_a_subject_that_was_given_as_a_channel_makes_no_stream(lab: Lab, nc: Client) -> None:
    name = lab.settings.stream_name + "-f"
    await nc.jetstream().add_stream(StreamConfig(name=name, subjects=[f"{name}.>"]))
    publication = await lab.aio.publish(f"{name}.a", {"__event_type__": "t"})
    assert f"subject='{name}.a'" in publication.problems[0]
    with pytest.raises(PublicationRefusedError):
        await publication.aio.run()
    assert lab.settings.stream_name not in (await lab.aio.streams()).index


@pytest.mark.parametrize(
    ("arguments", "options", "error", "words"),
    [
        (("a b", {}), {}, InvalidChannelError, "white space"),
        ((None, {}), {}, ValueError, "give a channel"),
        (("a", {}), {"subject": "b"}, ValueError, "one of them"),
        (({"a": 1}, None), {}, TypeError, "must be a text"),
        ((None, 1), {"subject": "dev.*"}, ValueError, "contains"),
        ((None, 1), {"subject": "$JS.API.STREAM.DELETE.x"}, ValueError, "requests to the server"),
        (("a", {}), {"count": 0}, ValueError, "count=0"),
        (("a", {}), {"count": True}, ValueError, "count=True"),
        (("a", {}), {"rate": 0}, ValueError, "rate=0"),
        (("a", {}), {"rate": float("inf")}, ValueError, "rate=inf"),
        (("a", {}), {"headers": {"a b": 1}}, ValueError, "name of a header"),
        (("a", {}), {"headers": {"a": "b\r\nEvil: 1"}}, ValueError, "line break"),
        (("a", b""), {"event_type": "t"}, ValueError, "for a dict"),
    ],
)
def test_arguments_that_cannot_be_used(
    lab: Lab, arguments: Any, options: Any, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        lab.publish(*arguments, **options)
    assert list(lab) == []


def test_a_lab_that_only_looks_publishes_nothing(settings: NatsEventBusSettings) -> None:
    with Lab(settings, read_only=True) as lab:
        with pytest.raises(ReadOnlyError, match=r"lab\.publish\(\)"):
            lab.publish("not a channel", {})
        with pytest.raises(ReadOnlyError, match=r"lab\.publish_file\(\)"):
            lab.publish_file("there-is-none.csv")


def test_what_is_too_large_is_said_before_anything_is_sent(lab: Lab) -> None:
    publication = lab.publish("orders", b"x" * 1_048_577)
    assert "the server takes 1,048,576" in publication.problems[0]
    with pytest.raises(PublicationRefusedError):
        publication.run()
    assert list(lab) == []


async def test_answers_are_checked_refusals_and_duplicates(lab: Lab, nc: Client) -> None:
    name = lab.settings.stream_name + "-f"
    config = StreamConfig(name=name, subjects=[f"{name}.>"], max_msgs=3)
    config.discard = "new"  # type: ignore[assignment]
    await nc.jetstream().add_stream(config)
    options: Any = {"subject": f"{name}.a", "count": 5}
    publication = await lab.aio.publish(None, {"n": "{n}"}, **options)
    with pytest.raises(UnpublishedError, match=r"3 of 5 stored.*2 refused.*maximum m") as e:
        await publication.aio.run()
    report = e.value.publication.report
    assert report is not None
    assert (report.sequences, list(report.refused), report.in_doubt) == ((1, 2, 3), [4, 5], {})
    config.max_msgs = -1
    await nc.jetstream().update_stream(config)
    report = await publication.aio.run()  # what was refused, and no more
    assert report.sequences == (1, 2, 3, 4, 5)
    assert [
        json.loads((await nc.jetstream().get_msg(name, n)).data or b"")["n"] for n in range(1, 6)
    ] == [*range(1, 6)]
    twice = await lab.aio.publish(None, {}, headers={"Nats-Msg-Id": "same"}, **options)
    assert any("only the first will be stored" in note for note in twice.notes)
    report = await twice.aio.run()
    assert (report.stored, report.duplicates) == (1, {2: 6, 3: 6, 4: 6, 5: 6})
    assert "4 not stored again" in report.text


def test_under_exactly_once_the_id_of_an_event_is_that_of_its_message(
    make_settings: MakeSettings,
) -> None:
    settings = make_settings(delivery_semantics=NatsDeliverySemantics.EXACTLY_ONCE)
    event = OrderPlaced(order_id="1")
    with Lab(settings) as lab:
        lab.publish("orders", event, run=True)
        again = lab.publish("orders", event, run=True)
        assert again.report is not None
        assert again.report.duplicates == {1: 1}
        lab.publish("orders", {"order_id": "n{n}"}, count=3, run=True)
        assert len(sent(lab)) == 4


def test_a_rate_is_kept_with_progress(lab: Lab) -> None:
    seen: list[tuple[int, int]] = []
    publication = lab.publish("orders", b"x", count=11, rate=10)
    assert publication.seconds == 1
    assert "11 messages, 10 a second: it takes 1 s" in repr(publication)
    began = pd.Timestamp.now("UTC")
    publication.run(progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (11, 11)
    # from the beginning, as a busy machine stores the first late and the last in time
    assert sent(lab)["stored_at"].max() - began >= pd.Timedelta(seconds=1)


async def test_what_is_interrupted_goes_on_where_it_was(lab: Lab) -> None:
    value = {"__event_type__": "t", "n": "{n}"}
    publication = await lab.aio.publish("orders", value, count=40, rate=20)
    running = asyncio.create_task(publication.aio.run())
    await until(lambda: publication.report is not None and publication.report.stored >= 3)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    report = publication.report
    assert report is not None
    assert 3 <= report.stored < 40
    assert report.not_sent == 40 - report.stored
    assert (report.in_doubt, report.refused) == ({}, {})
    publication = _faster(publication)
    await publication.aio.run()
    frame = await lab.aio.frame("orders")
    assert frame["n"].tolist() == [*range(1, 41)]


def _faster(publication: Publication) -> Publication:
    publication._rate = None
    return publication


async def test_what_got_no_answer_is_in_doubt_and_not_sent_again(
    make_settings: MakeSettings, server: LocalNats
) -> None:
    async with Proxy(server.port) as proxy:
        settings = make_settings(
            servers=server.url.replace(str(server.port), str(proxy.port)),
            publish_timeout_seconds=0.5,
        )
        async with NatsEventBus(make_settings()):
            pass  # makes the stream
        lab = await asyncio.to_thread(Lab, settings)
        try:
            publication = await lab.aio.publish("orders", b"x", count=3)
            proxy.lose = re.compile(rb"MSG [^\r]*\r\n\{\"stream\"[^\r]*\r\n")
            with pytest.raises(UnpublishedError, match="3 in doubt"):
                await publication.aio.run()
            proxy.lose = None
            report = publication.report
            assert report is not None
            assert list(report.in_doubt) == [1, 2, 3]
            with pytest.raises(PublicationRefusedError, match="sent already"):
                await publication.aio.run()
            assert len(await lab.aio.frame("orders")) == 3
        finally:
            await lab.aio.close()


def test_what_was_published_is_logged(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "varco_nats"):
        lab.publish("orders", b"x", count=3, run=True)
    assert any("published to orders in stream" in text for text in caplog.messages)
    log = lab.published()
    names = ["where", "messages", "stored", "first_seq", "last_seq"]
    assert log[names].to_numpy().tolist() == [["orders", 3, 3, 1, 3]]
    assert str(log["started_at"].dtype) == "datetime64[ns, UTC]"


def test_what_is_masked_is_not_shown(settings: NatsEventBusSettings) -> None:
    with Lab(settings, mask=["email", "total", "headers.token"]) as lab:
        publication = lab.publish(
            "orders",
            {"__event_type__": "order.placed", "email": "ada@plant.example", "total": "plant-7"},
            headers={"token": "plant-token"},
        )
        assert "plant" not in repr(publication)
        assert "order_id: Field required" in publication.problems[0]
        lab.publish("orders", b'{"email": "ada@plant.example"}', run=True)
    with Lab(settings) as lab:
        assert sent(lab)["email"].tolist() == ["ada@plant.example"]


def test_the_decoder_of_the_channel_writes_it(settings: NatsEventBusSettings) -> None:
    with Lab(settings, decoders="msgpack") as lab:
        lab.publish("packed", {"__event_type__": "t", "n": "{n}"}, run=True)
        assert lab.frame("packed")["n"].tolist() == [1]
    with Lab(settings) as lab:
        assert "decode_error" in lab.frame("packed")
