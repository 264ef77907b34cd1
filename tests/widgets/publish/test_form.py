"""The form that publishes: "Check" sends nothing, "Send" sends what was checked."""

from __future__ import annotations

import asyncio
import base64
import json
import random
from enum import Enum
from typing import Any, Literal

import pytest
from nats.aio.client import Client
from pydantic import BaseModel
from varco_core.event.base import Event
from varco_nats_widgets import Lab
from varco_nats_widgets._ui import controls
from varco_nats_widgets.explorer import Explorer
from varco_nats_widgets.frames._decoding import Decoding
from varco_nats_widgets.publish._form_values import (
    FormError,
    Origin,
    content_of,
    fields_of_message,
    headers_of,
    rate_of,
    sample_of,
)

from tests.events import OrderPlaced
from tests.waiting import until
from tests.widgets.drawing import drawn_elsewhere
from tests.widgets.explorer.helpers import explore
from varco_nats._masks._mask import Mask
from varco_nats._masks._unmask import MaskedValueError
from varco_nats.config import NatsEventBusSettings
from varco_nats.history import StoredMessage


class Color(Enum):
    RED = "red"


class Address(BaseModel):
    city: str
    zip: int


class FormSample(Event):
    __event_type__ = "form.sample"

    text: str
    number: int
    amount: float
    yes: bool
    perhaps: int | None
    color: Color
    word: Literal["a", "b"]
    address: Address
    tags: list[str]
    more: dict[str, int]
    preset: str = "x"


def test_a_class_gives_the_fields_to_fill_in() -> None:
    assert sample_of(FormSample) == {
        "__event_type__": "form.sample",
        "text": "",
        "number": 0,
        "amount": 0.0,
        "yes": False,
        "perhaps": None,
        "color": "red",
        "word": "a",
        "address": {"city": "", "zip": 0},
        "tags": [],
        "more": {},
        "preset": "x",
    }
    FormSample.model_validate(sample_of(FormSample))


def origin(data: bytes, mask: str = "", headers: dict[str, str] | None = None) -> Origin:
    decoding = Decoding(str, mask=Mask.parse(mask) if mask else None)
    return Origin(StoredMessage(7, "a", 0, data, headers), decoding)


def test_a_message_that_is_edited_becomes_a_new_event() -> None:
    event = (
        b'{"__event_type__": "t", "event_id": "1", "timestamp": "2", "price": 0.10, "big": 1e400}'
    )
    kind, payload, headers = fields_of_message(
        origin(event, headers={"tenant": "acme", "Nats-Msg-Id": "1", "Varco-Replay-Of": "x"})
    )
    assert (kind, headers) == ("JSON", "tenant: acme")
    assert '"event_id": "{uuid}"' in payload
    assert '"timestamp": "{now}"' in payload
    assert '"price": 0.10' in payload
    assert fields_of_message(origin(b"just text"))[:2] == ("text", "just text")
    kind, payload, _ = fields_of_message(origin(b"\x00\xff"))
    assert (kind, content_of(kind, payload, None)) == ("base64", b"\x00\xff")
    with pytest.raises(FormError, match="cannot be edited"):
        fields_of_message(origin(b"\xff plant", "email"))


def test_what_is_masked_keeps_its_value_where_it_is_left() -> None:
    data = json.dumps({"email": "ada@plant", "list": [{"email": "eva@plant"}], "n": 1}).encode()
    edited = origin(data, "*.email, headers.token", {"token": "plant", "a": "b"})
    kind, payload, headers = fields_of_message(edited)
    assert "plant" not in payload + headers
    assert content_of(kind, payload.replace('"n": 1', '"n": 2'), edited) == {
        "email": "ada@plant",
        "list": [{"email": "eva@plant"}],
        "n": 2,
    }
    assert headers_of(headers, edited) == {"token": "plant", "a": "b"}
    assert content_of(kind, payload.replace("***", "new"), edited)["email"] == "new"
    with pytest.raises(MaskedValueError, match="other"):
        content_of(kind, '{"other": "***"}', edited)


@pytest.mark.parametrize(
    ("work", "words"),
    [
        (lambda: content_of("JSON", '{"a": }', None), "line 1, column 7"),
        (lambda: content_of("base64", "?", None), "not base64"),
        (lambda: headers_of("a: b\nnothing", None), "headers, line 2"),
        (lambda: rate_of("fast"), "no number"),
        (lambda: rate_of("-1"), "no number"),
    ],
)
def test_what_cannot_be_read_is_said(work: Any, words: str) -> None:
    with pytest.raises(FormError, match=words):
        work()
    assert rate_of(" ") is None
    assert rate_of("2.5") == 2.5


async def opened(lab: Lab, *channels: str, **options: Any) -> tuple[Explorer, Any]:
    explorer = await explore(lab, *channels, **options)
    form = explorer.view().publish
    await until(lambda: form.name.value == channels[0])
    return explorer, form


async def test_check_says_it_and_send_sends_it(lab: Lab) -> None:
    await lab.aio.publish("orders", OrderPlaced(order_id="1"), run=True)
    explorer, form = await opened(lab, "orders")
    assert (form.place.value, form.send.disabled) == ("channel", True)
    assert form.event_type.options == ("order.placed",)
    form.event_type.value = "order.placed"
    await until(lambda: form.payload.value)
    assert json.loads(form.payload.value) == {
        "__event_type__": "order.placed", "order_id": "", "total": 1.0
    }  # fmt: skip
    form.payload.value = '{"order_id": "x{n}", "total": "<b>"}'
    form.headers.value = "tenant: acme"
    form.count.value = 3
    form.check.click()
    await until(lambda: "It cannot be sent" in form.said.value)
    assert "total: Input should be a valid number" in form.said.value
    assert "&lt;b&gt;" in form.said.value
    await until(lambda: form.send.disabled)
    form.payload.value = '{"order_id": "x{n}"}'
    form.check.click()
    await until(lambda: not form.send.disabled)
    assert "3 messages" in form.said.value
    assert len(await lab.aio.frame("orders")) == 1
    form.send.click()
    await until(lambda: "3 stored in" in form.said.value and "sending" not in form.said.value)
    await until(lambda: form.send.disabled and not form.check.disabled)
    frame = await lab.aio.frame("orders", headers=["tenant"])
    assert frame["order_id"].tolist() == ["1", "x1", "x2", "x3"]
    assert frame["headers.tenant"].tolist()[1:] == ["acme"] * 3
    form.payload.value = "{"
    form.check.click()
    await until(lambda: "payload: not JSON" in form.said.value)
    explorer.close()


async def test_what_changes_after_the_check_is_not_sent(lab: Lab) -> None:
    await lab.aio.publish("orders", OrderPlaced(order_id="1"), run=True)
    explorer, form = await opened(lab, "orders")
    form.payload.value = '{"order_id": "a"}'
    form.check.click()
    await until(lambda: not form.send.disabled)
    form.payload.value = '{"order_id": "b"}'
    await asyncio.to_thread(lambda: explorer.__lab_handle__.session.call(form.sent()).wait())
    assert len(await lab.aio.frame("orders")) == 1
    explorer.close()


async def test_what_changes_during_a_check_is_not_sent(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Send is offered for what the fields say only, whenever that changes."""
    monkeypatch.setattr(controls, "_FIELD_SECONDS", 0.0)
    await lab.aio.publish("orders", OrderPlaced(order_id="1"), run=True)
    explorer, form = await opened(lab, "orders")
    view, session = explorer.view(), explorer.__lab_handle__.session
    form.payload.value = '{"order_id": "a"}'
    offered = 0
    for number in range(2, 62):
        checking = asyncio.wrap_future(session.loop.submit(form.checked()))
        await asyncio.sleep(random.random() * 0.01)
        if number % 3:
            form.count.set_state({"value": number})
        await checking
        view.flush()
        assert form.send.disabled or f"{form.count.value} messages" in form.said.value
        offered += not form.send.disabled
    assert offered >= 20
    assert len(await lab.aio.frame("orders")) == 1
    explorer.close()


async def test_a_long_run_is_stopped(lab: Lab) -> None:
    await lab.aio.publish("orders", OrderPlaced(order_id="1"), run=True)
    explorer, form = await opened(lab, "orders")
    form.payload.value, form.count.value, form.rate.value = '{"order_id": "a"}', 1_000, "20"
    form.check.click()
    await until(lambda: not form.send.disabled)
    form.send.click()
    await until(lambda: "1,000 stored" in form.said.value and "sending" in form.said.value)
    status = explorer.view().status  # has screen readers say it
    await until(lambda: "1,000 stored" in status.run)
    assert status.outcome == ""
    form.stop.click()
    await until(lambda: "stopped: " in form.said.value)
    await until(lambda: not form.check.disabled)
    assert status.run == ""
    assert status.outcome.startswith("stopped: ")
    assert 1 < len(await lab.aio.frame("orders")) < 900
    explorer.close()


async def test_a_message_is_edited_and_sent_again_with_what_is_masked_in_it(
    settings: NatsEventBusSettings, nc: Client
) -> None:
    lab = await asyncio.to_thread(lambda: Lab(settings, mask=["email", "headers.token"]))
    try:
        value = {"__event_type__": "t", "email": "ada@plant.example", "n": 1}
        await lab.aio.publish("orders", value, headers={"token": "plant"}, run=True)
        explorer, form = await opened(lab, "orders")
        view = explorer.view()
        outputs = (form.check, form.send, form.stop, form.said, view.status)
        elsewhere = drawn_elsewhere(view, view.tabs, form.kind, form.headers, *outputs)
        await explorer.aio.open(1)
        view.message._on_message({"type": "send"})
        await until(lambda: '"n": 1' in form.payload.value)
        await until(lambda: view.tabs.titles[view.tabs.selected_index] == "Publish")
        assert "plant" not in form.payload.value + form.headers.value
        form.payload.value = form.payload.value.replace('"n": 1', '"n": 2')
        form.check.click()
        await until(lambda: not form.send.disabled)
        assert "plant" not in form.said.value
        form.send.click()
        await until(lambda: "1 stored in" in form.said.value)
        assert "plant" not in form.said.value
        stored = await nc.jetstream().get_msg(settings.stream_name, 2)
        first = await nc.jetstream().get_msg(settings.stream_name, 1)
        before, after = json.loads(first.data or b""), json.loads(stored.data or b"")
        assert (after["email"], after["n"]) == ("ada@plant.example", 2)
        assert after["event_id"] != before["event_id"]
        assert stored.headers == {"token": "plant"}
        assert not elsewhere
        explorer.close()
    finally:
        await lab.aio.close()


async def test_there_is_no_form_where_nothing_may_be_changed(
    settings: NatsEventBusSettings, lab: Lab
) -> None:
    await lab.aio.publish("orders", OrderPlaced(order_id="1"), run=True)
    reader = await asyncio.to_thread(lambda: Lab(settings, read_only=True))
    explorer = await explore(reader, "orders")
    view = explorer.view()
    assert "Publish" not in view.tabs.titles
    assert view.message.can == ["step", "compare"]
    explorer.close()
    await reader.aio.close()


async def test_binary_payloads_are_sent_as_they_are(lab: Lab, nc: Client) -> None:
    data = bytes(range(256))
    await lab.aio.publish("files", data, run=True)
    explorer, form = await opened(lab, "files")
    await explorer.aio.open(1)
    explorer.view().message._on_message({"type": "send"})
    await until(lambda: form.kind.value == "base64" and form.payload.value)
    assert base64.b64decode(form.payload.value) == data
    form.check.click()
    await until(lambda: not form.send.disabled)
    form.send.click()
    await until(lambda: "1 stored in" in form.said.value)
    stored = await nc.jetstream().get_msg(lab.settings.stream_name, 2)
    assert stored.data == data
    explorer.close()
