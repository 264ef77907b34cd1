"""Dead letters that other frameworks wrote to a plain stream."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import nats
import pandas as pd
import pytest
from nats.aio.client import Client
from nats.js.api import RetentionPolicy, StreamConfig
from varco_nats_widgets import Lab
from varco_nats_widgets._session.job import Job
from varco_nats_widgets.dead_letters import DeadLetters
from varco_nats_widgets.dead_letters._index import reader
from varco_nats_widgets.dead_letters._index.foreign import ForeignNames

from tests.waiting import until
from varco_nats._nats.direct import StoredMessage
from varco_nats.config import NatsEventBusSettings
from varco_nats.dlq._codec import UNREADABLE
from varco_nats.errors import StreamNotFoundError
from varco_nats.replay._foreign import origins_of
from varco_nats.server import LocalNats

STORED_NS = 1_780_000_000_000_000_000


async def made(nc: Client, *subjects: str, **config: Any) -> tuple[str, str]:
    """A stream as plain nats-py makes it, and what its subjects begin with."""
    name = f"FOREIGN-{uuid4().hex[:8]}"
    found = [f"{name}.{subject}" for subject in subjects]
    await nc.jetstream().add_stream(StreamConfig(name=name, subjects=found, **config))
    return name, name


async def with_headers(nc: Client, prefix: str, count: int) -> None:
    """What a handler stores that publishes the payload once more, with headers."""
    for number in range(count):
        headers = {
            "X-Original-Subject": "orders.created" if number % 2 else "payments",
            "X-Error": f"no answer for o-{number} within 1.5 s"
            if number % 2
            else "card 17 declined",
            "X-Error-Type": "TimeoutError" if number % 2 else "CardError",
            "X-Retry-Count": "5",
            "X-Tenant-Id": "acme",
        }
        payload = json.dumps({"number": number, "customer": {"name": "Ada"}}).encode()
        await nc.jetstream().publish(f"{prefix}.orders.created", payload, headers=headers)


async def as_envelope(nc: Client, prefix: str, count: int) -> None:
    """What a handler stores that puts the failure and the event into one JSON object."""
    for number in range(count):
        envelope = {
            "event": {"event_id": str(uuid4()), "number": number},
            "error": {"kind": "KeyError", "text": f"'k{number}'"},
            "meta": {"subject": "orders", "tries": [1, 4], "at": 1_779_999_000_000},
        }
        await nc.jetstream().publish(f"{prefix}.shop.failed", json.dumps(envelope).encode())


async def as_faststream(nc: Client, prefix: str, count: int) -> None:
    """What a middleware of FastStream stores: its own headers, no JSON object, next to the rest."""
    for number in range(count):
        headers = {"content-type": "application/json", "correlation_id": uuid4().hex}
        await nc.jetstream().publish(f"{prefix}.orders", b'{"number": 0}', headers=headers)
        failed = {**headers, "exception-type": "ValidationError", "error": "total: not a number"}
        data = b'{"number": %d}' % number if number else b"no JSON"
        await nc.jetstream().publish(f"{prefix}.orders.dlq", data, headers=failed)


@pytest.mark.parametrize(
    "config", [{}, {"allow_direct": True}, {"retention": RetentionPolicy.WORK_QUEUE}]
)
async def test_a_payload_with_headers_is_read_as_an_entry(
    lab: Lab, nc: Client, config: dict[str, Any]
) -> None:
    stream, prefix = await made(nc, ">", deny_delete=True, **config)
    await with_headers(nc, prefix, 6)
    before = (await nc.jetstream().stream_info(stream)).as_dict()
    letters = DeadLetters.of_stream(lab, stream)
    assert repr(letters) == f"DeadLetters({stream}: the usual headers)"
    frame = await letters.aio.frame()
    assert frame["data.number"].tolist() == [*range(6)]
    assert frame["channel"].tolist() == ["payments", "orders.created"] * 3
    assert set(frame["attempts"]) == {5}
    assert set(frame["tenant_id"]) == {"acme"}
    assert frame["first_failed_at"].isna().all()
    assert frame["last_failed_at"].notna().all()
    assert frame.attrs["completeness"]["expected"] == 6
    groups = await letters.aio.groups()
    assert set(groups["message"]) == {"no answer for o-<n> within <n> s", "card <n> declined"}
    some = await letters.aio.frame(
        error_type="TimeoutError", condition="number > 1 and customer.name == 'Ada'", limit=1
    )
    assert some["data.number"].tolist() == [3]
    newest = await letters.aio.frame(newest_first=True, limit=2)
    assert newest["data.number"].tolist() == [5, 4]
    letter = await letters.aio.entry(some.index[0])
    assert (letter.seq, letter.payload["number"]) == (4, 3)
    assert letter.headers == {"X-Tenant-Id": "acme"}  # the others are parts of the entry
    assert await letters.aio.count() == 6
    assert "channel from header:x-original-subject" in repr(letters)
    assert "attempts from header:x-retry-count" in repr(letters)
    after = (await nc.jetstream().stream_info(stream)).as_dict()
    assert (after["config"], after["state"]) == (before["config"], before["state"])
    letters.close()


async def test_an_envelope_is_taken_apart(lab: Lab, nc: Client) -> None:
    stream, prefix = await made(nc, ">")
    await as_envelope(nc, prefix, 3)
    await nc.jetstream().publish(f"{prefix}.shop.failed", b'{"note": "by hand"}')
    fields: dict[str, Any] = {
        "payload": "json:event",
        "error_type": "json:error.kind",
        "error_message": "json:error.text",
        "channel": "json:meta.subject",
        "attempts": "json:meta.tries[-1]",
        "last_failed_at": "json:meta.at",
        "handler": "subject:2",
        "tenant_id": lambda message: f"t{len(message.subject.split('.'))}",
    }
    letters = await asyncio.to_thread(
        lambda: DeadLetters.of_stream(lab, stream, subject=f"{prefix}.>", fields=fields)
    )
    frame = await letters.aio.frame()
    assert frame["data.number"].tolist()[:3] == [0, 1, 2]
    assert frame["channel"].tolist()[:3] == ["orders"] * 3
    assert frame["error_message"].tolist()[:3] == ["'k0'", "'k1'", "'k2'"]
    assert frame["attempts"].tolist()[:3] == [4, 4, 4]
    assert set(frame["handler"][:3]) == {"shop"}
    assert set(frame["tenant_id"][:3]) == {"t3"}
    assert frame["last_failed_at"].iloc[0] == pd.Timestamp(1_779_999_000, unit="s", tz="UTC")
    assert frame["event_id"].iloc[0]
    assert frame["error_type"].iloc[3] == UNREADABLE
    assert "it has no json:event, where its payload should be" in frame["error_message"].iloc[3]
    assert frame["raw"].iloc[3] == b'{"note": "by hand"}'
    letters.close()


async def test_only_a_subject_of_a_stream_that_goes_on(lab: Lab, nc: Client) -> None:
    """What comes, what leaves and what is of others in the same stream."""
    stream, prefix = await made(nc, ">", allow_direct=True)
    await as_faststream(nc, prefix, 4)
    letters = DeadLetters.of_stream(lab, stream, subject=f"{prefix}.*.dlq")
    await letters.aio.filter()
    assert (letters.entries, letters.matching) == (4, 4)
    assert letters.channels == {f"{prefix}.orders": 4}
    assert letters.choices["error_type"] == {"ValidationError": 4}
    frame = await letters.aio.frame()
    assert frame["raw"].tolist()[0] == b"no JSON"
    assert frame["data.number"].tolist()[1:] == [1, 2, 3]
    await as_faststream(nc, prefix, 2)
    await nc.jetstream().delete_msg(stream, 4)
    await nc.jetstream().publish(f"{prefix}.orders", b"{}")
    await letters.aio.refresh()
    assert (letters.entries, letters.matching) == (5, 5)
    assert len(await letters.aio.frame()) == 5
    assert len(await letters.aio.frame(text='"number"')) == 3
    with pytest.raises(LookupError):
        await letters.aio.entry(frame.index[1])  # it was removed
    other = DeadLetters.of_stream(lab, stream)
    others = await other.aio.frame(channel=f"{prefix}.orders")
    not_ours = next(each for each in others.index if each not in frame.index)
    with pytest.raises(LookupError):
        await letters.aio.entry(not_ours)
    view = letters.view()
    view.flush()
    assert view.status.place == "5 dead letters · 1 group"
    letters.watch(True)
    await as_faststream(nc, prefix, 1)
    await until(lambda: letters.matching == 6)
    letters.close()
    other.close()


async def test_reading_that_was_stopped_goes_on(
    lab: Lab, nc: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other messages of the stream do not count as entries that were left out."""
    monkeypatch.setattr(reader, "PAGE", 2)
    stream, prefix = await made(nc, ">", allow_direct=True)
    await as_faststream(nc, prefix, 5)
    letters = DeadLetters.of_stream(lab, stream, subject=f"{prefix}.*.dlq")
    queue = letters._browser.queue

    async def stop(done: int, total: int) -> bool:
        assert total == 5
        return done < 4

    def on_loop(renewing: Coroutine[Any, Any, bool]) -> Job[bool]:
        return lab.__lab_handle__.session.read(renewing)

    await on_loop(queue.renew(stop)).wait_async()
    assert (len(queue.index), queue.left_out) == (4, 1)
    await nc.jetstream().delete_msg(stream, 2)
    await on_loop(queue.renew(whole=False)).wait_async()
    assert (len(queue.index), queue.left_out) == (3, 1)
    await on_loop(queue.renew()).wait_async()
    assert (len(queue.index), queue.left_out) == (4, 0)
    letters.close()


async def test_what_is_nowhere_is_named(lab: Lab, nc: Client) -> None:
    stream, prefix = await made(nc, ">")
    fields = {"error_message": "header:x-eror", "handler": "json:where", "channel": "orders"}
    letters = DeadLetters.of_stream(lab, stream, fields=fields)
    assert len(await letters.aio.frame()) == 0  # no message, so nothing is known
    await with_headers(nc, prefix, 2)
    said = (
        f"no message of {stream} that was read has error_message (header:x-eror), handler "
        "(json:where); their headers are X-Original-Subject, X-Error"
    )
    with pytest.warns(UserWarning, match=re.escape(said)):
        await letters.aio.frame()
    await letters.aio.filter()
    assert said in letters.notice
    assert letters.channels == {"orders": 2}
    await nc.jetstream().publish(f"{prefix}.x", b'{"where": "A"}', headers={"x-eror": "found"})
    await letters.aio.refresh()
    assert letters.notice == ""
    one = {"payload": "json:event", "error_message": "header:x-error"}
    typo = DeadLetters.of_stream(lab, stream, subject=f"{prefix}.orders.created", fields=one)
    with pytest.warns(UserWarning, match=re.escape("that was read has payload (json:event); ")):
        await typo.aio.frame()  # the other one was found
    typo.close()
    missing = DeadLetters.of_stream(lab, f"{stream}-not")
    with pytest.raises(StreamNotFoundError, match=stream):
        await missing.aio.frame()


async def test_a_subject_that_the_stream_does_not_take_is_named(lab: Lab, nc: Client) -> None:
    stream, prefix = await made(nc, "orders.>")
    letters = DeadLetters.of_stream(lab, stream, subject="dlq.>")
    said = f"{stream} takes no message under 'dlq.>': its subjects are {prefix}.orders.>"
    with pytest.warns(UserWarning, match=re.escape(said)):
        assert len(await letters.aio.frame()) == 0
    letters.close()
    other = DeadLetters.of_stream(lab, stream, subject=f"{prefix}.*.dlq")
    assert len(await other.aio.frame()) == 0  # nothing yet
    other.close()


async def test_a_header_without_the_word_is_said(lab: Lab, nc: Client) -> None:
    stream, prefix = await made(nc, ">")
    await with_headers(nc, prefix, 1)
    letters = DeadLetters.of_stream(lab, stream, fields={"error_message": "X-Error"})
    said = (
        "error_message is the text 'X-Error' for all; what is in the header of that name is "
        "'header:X-Error'"
    )
    with pytest.warns(UserWarning, match=re.escape(said)):
        await letters.aio.frame()
    letters.close()


async def test_a_stream_given_as_if_it_were_a_filter_says_how_it_is_opened(lab: Lab) -> None:
    wrong: Any = "ORDERS_DLQ"
    opens = r"DeadLetters\.of_stream\(lab, 'ORDERS_DLQ'\) opens"
    with pytest.raises(TypeError, match=f"channel='orders'; {opens}"):
        lab.dead_letters(wrong)
    with pytest.raises(TypeError, match=f"is a name, no bus: {opens}"):
        DeadLetters(lab, wrong)
    options: Any = {"stream": wrong}
    with pytest.raises(TypeError, match=r"there is no filter stream; .*of_stream"):
        lab.dead_letters(**options)
    with pytest.raises(TypeError, match=r"fields=.*: a dict, such as"):
        DeadLetters.of_stream(lab, wrong, fields=wrong)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"fields": {"payload": "event"}}, "fields\\['payload'\\]='event': write 'header:"),
        ({"fields": {"payload": "base32:event"}}, "='base32:event': write 'header:x-error', 'json"),
        (
            {"fields": {"chanel": "header:x"}},
            "there is no field chanel; there are channel, handler",
        ),
        ({"fields": {"channel": "heder:x"}}, "fields\\['channel'\\]='heder:x': write 'header:"),
        ({"fields": {"channel": "json:a[["}}, "fields\\['channel'\\]"),
        ({"fields": {"channel": "json:a[]"}}, "a single element"),
        ({"fields": {"channel": "subject:0"}}, "'subject:2' for the second token"),
        ({"fields": {"channel": 3}}, "or a function"),
        ({"subject": "dlq.>.x"}, "subject='dlq.>.x' is no subject"),
        ({"stream": "a.b"}, "stream='a.b'"),
    ],
)
async def test_what_cannot_be_read_is_refused(lab: Lab, given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        DeadLetters.of_stream(lab, given.pop("stream", "DLQ"), **given)


async def test_labels_and_exports_change_nothing(lab: Lab, nc: Client, tmp_path: Path) -> None:
    stream, prefix = await made(nc, ">")
    await with_headers(nc, prefix, 3)
    letters = DeadLetters.of_stream(lab, stream)
    path = tmp_path / "dead.parquet"
    done = await letters.aio.export(path, await letters.aio.frame())
    assert done.rows == 3
    written = await asyncio.to_thread(pd.read_parquet, path)
    assert json.loads(written["entry"].iloc[0]) == {"number": 0, "customer": {"name": "Ada"}}
    assert set(written["subject"]) == {f"{prefix}.orders.created"}
    [group, *_] = (await letters.aio.groups()).index
    await letters.aio.label(group, note="the bank is down")
    assert (await letters.aio.labels())["note"].tolist() == ["the bank is down"]
    assert len(await letters.aio.replays()) == 0
    assert await letters.aio.count() == 3
    letters.close()


async def test_masked_values_are_nowhere(settings: NatsEventBusSettings, nc: Client) -> None:
    stream, prefix = await made(nc, ">")
    headers = {"x-error": "no card for ada@example.org", "x-user": "grace@example.org"}
    data = b'{"email": "ada@example.org", "number": 1}'
    await nc.jetstream().publish(f"{prefix}.dlq", data, headers=headers)
    await nc.jetstream().publish(f"{prefix}.dlq", b"ada@example.org", headers=headers)
    masks = ["email", "headers.x-user"]
    with Lab(settings, mask=masks, read_only=True) as lab:
        letters = DeadLetters.of_stream(lab, stream)
        frame = await letters.aio.frame(headers=True)
        first = await letters.aio.entry(frame.index[0])
        second = await letters.aio.entry(frame.index[1])
        shown = f"{frame.to_dict('list')} {first} {vars(first)} {vars(second)} {letters.page}"
        assert frame["data.number"].iloc[0] == 1
        assert "ada@" not in shown
        assert "grace@" not in shown
        split = DeadLetters.of_stream(lab, stream, fields={"payload": "json:event"})
        with pytest.warns(UserWarning, match=r"has payload \(json:event\)"):
            frame = await split.aio.frame(headers=True)
        assert set(frame["error_type"]) == {UNREADABLE}
        assert "ada@" not in f"{frame.to_dict('list')}"


async def test_where_a_lab_has_no_queue_those_of_others_are_named() -> None:
    with LocalNats() as server:
        client = await nats.connect(server.url)
        for name in ("SHOP", "ORDERS_DLQ", "payments-dlq"):
            await client.jetstream().add_stream(name=name, subjects=[f"{name}.>"])
        with Lab(server.url) as lab:
            await lab.dead_letters.aio.filter()
            assert lab.dead_letters.notice == (
                "there is no stream 'varco-events-dlq' yet; what others stored may be in "
                "ORDERS_DLQ: DeadLetters.of_stream(lab, 'ORDERS_DLQ') opens it"
            )
            with pytest.warns(UserWarning, match="may be in ORDERS_DLQ"):
                assert await lab.dead_letters.aio.groups() is not None
        await client.close()


def test_a_copy_of_a_stream_elsewhere_is_known_as_one() -> None:
    external = {"api": "$JS.hub.API"}
    config = {"sources": [{"name": "A", "external": external}, {"name": "B"}]}
    assert origins_of(config) == ["A", "B"]
    assert origins_of(config, elsewhere=False) == ["B"]
    assert origins_of({"mirror": {"name": "C", "external": None}}, elsewhere=False) == ["C"]
    assert origins_of({"mirror": None, "subjects": ["x"]}) == []


def entry_of(fields: dict[str, Any], subject: str = "dlq.orders", **message: Any) -> Any:
    names = ForeignNames.of_stream("DLQ", ">", fields)
    stored = StoredMessage(
        7, subject, STORED_NS, message.get("data", b"{}"), message.get("headers")
    )
    return names.decode(stored).entry


@pytest.mark.parametrize(
    ("subject", "channel"),
    [
        ("dlq.orders", "orders"),
        ("orders.eu.DLQ", "orders.eu"),
        ("dead.orders.failed", "orders"),
        ("dlq", "dlq"),
        ("orders", "orders"),
    ],
)
def test_the_channel_of_a_subject(subject: str, channel: str) -> None:
    assert entry_of({}, subject).channel == channel


@pytest.mark.parametrize(
    ("source", "channel"),
    [
        ("subject:2", "b"),
        ("subject:2-", "b.c"),
        ("subject:-1", "c"),
        ("subject:9", "a.b.c"),
        ("x", "x"),
    ],
)
def test_a_token_of_a_subject(source: str, channel: str) -> None:
    assert entry_of({"channel": source}, "a.b.c").channel == channel


@pytest.mark.parametrize(
    "written",
    ["2026-03-01T10:00:00Z", "2026-03-01T11:00:00.000000000+01:00", "2026-03-01T10:00:00",
     "1772359200", "1772359200000", "1772359200000000", "1772359200000000000"],
)  # fmt: skip
def test_a_time_as_people_write_it(written: str) -> None:
    entry = entry_of({"last_failed_at": "header:At"}, headers={"at": written})
    assert entry.last_failed_at == datetime(2026, 3, 1, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    "text", ["e337_w==", "e337/w==", "e337_w", "e337\n/w=="], ids=["url", "plain", "bare", "lines"]
)
def test_a_payload_in_base64_is_unpacked(text: str) -> None:
    data = json.dumps({"event": {"body": text}}).encode()
    assert entry_of({"payload": "base64:event.body"}, data=data).payload == b"{}\xfb\xff"


@pytest.mark.parametrize("value", ["no base64", "e", 7, None])
def test_a_payload_that_is_no_base64_is_not_replaced(value: object) -> None:
    entry = entry_of({"payload": "base64:body"}, data=json.dumps({"body": value}).encode())
    assert entry.error_type == UNREADABLE
    assert "it has no base64:body, where its payload should be" in entry.error_message


def test_what_is_no_such_value_counts_as_missing() -> None:
    headers = {"x-retry-count": "many", "x-failed-at": "yesterday"}
    entry = entry_of({}, headers=headers)
    assert entry.attempts == 0
    assert entry.last_failed_at == datetime.fromtimestamp(STORED_NS / 1e9, UTC)


def test_a_function_that_fails_gives_an_entry_that_says_so() -> None:
    entry = entry_of({"channel": lambda message: 1 / 0})
    assert entry.error_type == UNREADABLE
    assert "division by zero" in entry.error_message
    assert entry.payload == b"{}"


def test_a_traceback_in_a_header_has_lines() -> None:
    told = (
        'Traceback (most recent call last):\\n  File "shop/pay.py", line 7, in pay\\n'
        "    charge(order)\\nTimeoutError: no answer for o-17"
    )
    assert entry_of({}, headers={"x-error": told}).error_message == told.replace("\\n", "\n")
    path = r"cannot open C:\new\orders.csv"
    assert entry_of({}, headers={"x-error": path}).error_message == path


@pytest.mark.parametrize(
    "headers",
    [
        {  # Watermill
            "topic_poisoned": "orders.created",
            "handler_poisoned": "billing",
            "reason_poisoned": "no answer",
        },
        {  # nestjs-jetstream
            "x-original-subject": "orders.created",
            "x-dead-letter-reason": "no answer",
            "x-delivery-count": "5",
        },
        {  # SmallRye
            "dead-letter-topic": "orders.created",
            "dead-letter-exception-class-name": "java.util.concurrent.TimeoutException",
            "dead-letter-reason": "no answer",
        },
    ],
)
def test_what_other_frameworks_store_needs_no_fields(headers: dict[str, str]) -> None:
    entry = entry_of({}, headers=headers)
    assert (entry.channel, entry.error_message) == ("orders.created", "no answer")
    assert entry.handler_name == headers.get("handler_poisoned", "")
    assert entry.error_type == headers.get("dead-letter-exception-class-name", "")
    assert entry.attempts == int(headers.get("x-delivery-count", 0))
