"""Functions, varco serializers and decoders of the user's own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Any

import msgpack
import pytest
from varco_core.event.base import Event
from varco_core.event.serializer import JsonEventSerializer
from varco_nats_widgets.decoders import Json, decoder_of

from tests.events import OrderPlaced
from tests.widgets.decoders.helpers import what_it_says
from varco_nats._json import FastJsonEventSerializer
from varco_nats.errors import CannotEncodeError, DecoderError


class Weighed(Event):
    __event_type__ = "decoders.weighed"

    kilos: Decimal
    seal: bytes


class Packed:
    """A serializer such as a service may have: MessagePack."""

    def serialize(self, value: Event) -> bytes:
        fields = value.model_dump()
        fields["event_id"], fields["timestamp"] = str(value.event_id), str(value.timestamp)
        fields["kilos"] = str(fields["kilos"])
        data: bytes = msgpack.packb({"type": value.event_type_name(), **fields}, default=str)
        return data

    def deserialize(self, data: bytes, type_hint: type[Event] | None = None) -> Event:
        fields = msgpack.unpackb(data)
        classes = {"decoders.weighed": Weighed}
        return classes[fields.pop("type")].model_validate(fields)


class Reversed:
    """A decoder that a user wrote."""

    name = "reversed"

    def decode(self, data: bytes, headers: Mapping[str, str]) -> object:
        return {"text": data[::-1], "at": datetime(2026, 1, 1, tzinfo=UTC)}

    def encode(self, value: object, headers: Mapping[str, str]) -> bytes:
        assert isinstance(value, dict)
        return bytes(reversed(b"abc")) if value["text"] == "YWJj" else b"?"


def with_tenant(data: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
    return {"tenant": headers["tenant"], "size": len(data), "raw": data}


def test_a_function_gets_the_bytes_and_the_headers() -> None:
    decoder = decoder_of(with_tenant)
    assert decoder.read(b"abc", {"tenant": "acme"}) == (
        {"tenant": "acme", "size": 3, "raw": "YWJj"},
        "with_tenant",
    )
    with pytest.raises(KeyError, match="tenant"):
        decoder.decode(b"", {})
    with pytest.raises(CannotEncodeError, match="with_tenant cannot encode this: it is a function"):
        decoder.encode({}, {})


@pytest.mark.parametrize(
    ("function", "value"),
    [
        (json.loads, {"a": 1}),  # takes only the bytes
        (
            partial(with_tenant, headers={"tenant": "x"}),
            {"tenant": "x", "size": 8, "raw": "eyJhIjogMX0="},
        ),
        (lambda data, headers=None: headers, {"h": "1"}),
        (lambda *given: len(given), 2),
        (len, 8),
        (lambda data, headers: "\ud800", "\\ud800"),
        (lambda data, headers: None, None),
    ],
)
def test_functions_of_many_kinds(function: Any, value: Any) -> None:
    assert decoder_of(function).decode(b'{"a": 1}', {"h": "1"}) == value


async def coroutine(data: bytes, headers: Mapping[str, str]) -> None:
    pass


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (coroutine, "coroutine is a coroutine function"),
        (lambda: 1, "() cannot be called with (bytes, headers)"),
        (lambda a, b, c: 1, "(a, b, c) cannot be called with (bytes, headers)"),
        (Packed, "Packed is a class: give an object, Packed(...)"),
        (5, "5 is no decoder: give one of the names auto, json"),
        (b"json", "b'json' is no decoder"),
        ("Json", "'Json' is no decoder: there are auto, json"),
        ("gzip+", "'' is no decoder"),
        ("json+gzip", "'json+gzip' is no decoder"),
        ("avro", "'avro' needs its schema: Avro("),
    ],
)
def test_what_is_no_decoder_is_named(given: Any, said: str) -> None:
    with pytest.raises(DecoderError) as caught:
        decoder_of(given)
    assert said in str(caught.value)


def test_a_serializer_gives_the_fields_of_its_events() -> None:
    decoder = decoder_of(Packed())
    event = Weighed(kilos=Decimal("1.50"), seal=b"\xff")
    data = Packed().serialize(event)
    value: Any = decoder.decode(data, {})
    assert decoder.name == "Packed"
    assert list(value)[:3] == ["__event_type__", "event_id", "timestamp"]
    assert value["__event_type__"] == "decoders.weighed"
    assert value["event_id"] == str(event.event_id)
    assert (value["kilos"], value["seal"]) == ("1.50", "/w==")
    assert datetime.fromisoformat(value["timestamp"]) == event.timestamp


def test_an_event_whose_class_is_not_known_says_so() -> None:
    said = what_it_says(decoder_of(Packed()), msgpack.packb({"type": "order.placed"}))
    assert said == (
        "error: order.placed. If this is about the class of the event, import the module that "
        "defines it"
    )


def test_an_event_that_its_class_refuses_says_where_but_not_what_is_in_it() -> None:
    data = msgpack.packb({"type": "decoders.weighed", "kilos": "secret", "seal": b""})
    said = what_it_says(decoder_of(Packed()), data)
    assert said.startswith("error: not a Weighed: kilos: Input should be a valid decimal")
    assert "secret" not in said


class Slower(JsonEventSerializer):
    """A service's own subclass."""


def test_the_serializers_that_write_plain_json_need_no_classes() -> None:
    for serializer in (JsonEventSerializer(), FastJsonEventSerializer()):
        assert isinstance(decoder_of(serializer), Json)
    decoder = decoder_of(Slower())
    event = OrderPlaced(order_id="7")
    data = Slower().serialize(event)
    value: Any = decoder.decode(data, {})
    assert value == json.loads(data)
    edited = decoder.encode(value | {"order_id": "8"}, {})
    assert Slower().deserialize(edited) == event.model_copy(update={"order_id": "8"})
    assert "Unknown event type 'no.such'" in what_it_says(
        decoder, data.replace(event.event_type_name().encode(), b"no.such")
    )
    for wrong, said in (
        ({"a": 1}, "no __event_type__ says which event it is"),
        (value | {"__event_type__": "no.such"}, "the class of 'no.such' is not known here"),
        (value | {"more": 1}, "it would be read back as another value"),
    ):
        with pytest.raises(CannotEncodeError, match=said):
            decoder.encode(wrong, {})


def test_a_decoder_of_the_users_own() -> None:
    decoder = decoder_of(Reversed())
    assert decoder.name == "reversed"
    assert decoder.decode(b"cba", {}) == {"text": "YWJj", "at": "2026-01-01T00:00:00Z"}
    value = {"text": "YWJj", "at": "2026-01-01T00:00:00Z"}
    assert decoder.encode(value, {}) == b"cba"
    with pytest.raises(CannotEncodeError, match="it would be read back as another value"):
        decoder.encode({"text": "x"}, {})
