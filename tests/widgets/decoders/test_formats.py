"""JSON, text, MessagePack and CBOR: examples from their documents, round trips, hostile bytes."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import cbor2
import msgpack
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from varco_nats_widgets.decoders import Cbor, Json, MessagePack, Text
from varco_nats_widgets.decoders._decoder import Format

from tests.widgets.decoders.helpers import (
    decodes_or_says_why,
    equal,
    plain_values,
    quick,
    what_it_says,
)
from varco_nats.errors import CannotDecodeError, CannotEncodeError, DecoderError

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
FORMATS = [Json(), MessagePack(), Cbor()]


@pytest.mark.parametrize("decoder", FORMATS, ids=lambda decoder: decoder.name)
@quick
@given(value=plain_values())
def test_a_value_is_read_as_it_was_written(decoder: Format, value: Any) -> None:
    assert equal(decoder.decode(decoder.encode(value, {}), {}), value)


@pytest.mark.parametrize("decoder", [*FORMATS, Text()], ids=lambda decoder: decoder.name)
@quick
@given(data=st.binary(max_size=40))
def test_any_bytes_are_a_value_or_a_reason(decoder: Format, data: bytes) -> None:
    decodes_or_says_why(decoder, data)


@pytest.mark.parametrize("decoder", FORMATS, ids=lambda decoder: decoder.name)
@quick
@given(value=plain_values(), at=st.integers(0, 200), put=st.binary(max_size=3))
def test_broken_bytes_are_a_value_or_a_reason(
    decoder: Format, value: Any, at: int, put: bytes
) -> None:
    data = decoder.encode(value, {})
    decodes_or_says_why(decoder, data[:at])
    decodes_or_says_why(decoder, data[:at] + put + data[at + 1 :])


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "empty payload"),
        (b'{"a":', "not JSON: Expecting value at 5"),
        (b'{"a": "\xff"}', "not UTF-8: byte 0xff at 7"),
        (b"[" * 200_000, "not readable: nested too deep"),
        (b"1" * 5000, "not readable: Exceeds the limit"),
    ],
    ids=lambda part: str(part)[:20],
)
def test_json_says_what_is_wrong(data: bytes, problem: str) -> None:
    with pytest.raises(CannotDecodeError) as caught:
        Json().decode(data, {})
    assert str(caught.value).startswith(problem)


def test_json_keeps_what_python_keeps() -> None:
    assert Json().decode(b"123456789012345678901234567890", {}) == 123456789012345678901234567890
    assert equal(Json().decode(b"[NaN, -Infinity]", {}), [float("nan"), float("-inf")])
    assert Json().decode(b'{"a": "\\ud800"}', {}) == {"a": "\\ud800"}
    assert Json().encode({"é": [float("inf")]}, {}) == '{"é": [Infinity]}'.encode()


def test_text_has_an_encoding() -> None:
    assert Text().decode("né".encode(), {}) == "né"
    latin = Text("latin-1")
    assert (latin.name, latin.decode(b"n\xe9", {}), latin.encode("né", {})) == (
        "text(latin-1)",
        "né",
        b"n\xe9",
    )
    with pytest.raises(CannotDecodeError, match="not UTF-8: byte 0xe9 at 1"):
        Text().decode(b"n\xe9", {})
    with pytest.raises(CannotEncodeError, match=r"text\(latin-1\) cannot encode this: .*can't"):
        latin.encode("→", {})
    with pytest.raises(CannotEncodeError, match="it is a dict, not text"):
        latin.encode({}, {})
    with pytest.raises(DecoderError, match="Python has no encoding of this name"):
        Text("latin-99")
    with pytest.raises(DecoderError, match="Python has no encoding of this name"):
        Text("base64")  # a codec of bytes


@pytest.mark.parametrize(
    ("data", "value"),
    [
        # the example of msgpack.org
        (bytes.fromhex("82a7636f6d70616374c3a6736368656d6100"), {"compact": True, "schema": 0}),
        (bytes.fromhex("d6ff00000001"), "1970-01-01T00:00:01Z"),  # timestamp 32
        (msgpack.packb(msgpack.Timestamp(1, 500_000_000)), "1970-01-01T00:00:01.500000Z"),
        (msgpack.packb(b"\xff"), "/w=="),
        (msgpack.packb(msgpack.ExtType(5, b"a")), {"ext": 5, "data": "YQ=="}),
        (msgpack.packb({1: {b"k": 2}}), {"1": {"aw==": 2}}),
        (msgpack.packb(2**64 - 1), 2**64 - 1),
        (msgpack.packb(-(2**63)), -(2**63)),
        (msgpack.packb(1.5, use_single_float=True), 1.5),
        (b"\xc1", None),
        (b"\x01\x02", None),
        (b"\xa1\xff", None),
        (b"\xdd\xff\xff\xff\xff", None),
        (b"\xc7\x0c\xff" + bytes([0, 0, 0, 1]) + (2**60).to_bytes(8), None),  # not a year
        (b"\x91" * 200_000 + b"\xc0", None),
        (b"\x81\xa1a" * 100_000 + b"\xc0", None),
    ],
    ids=lambda part: str(part)[:30],
)
def test_messagepack(data: bytes, value: Any) -> None:
    if value is None:
        with pytest.raises(CannotDecodeError, match=r"not MessagePack: |nested too deep"):
            MessagePack().decode(data, {})
    else:
        assert equal(MessagePack().decode(data, {}), value)


URI = "http://www.example.com"


# RFC 8949, appendix A, and the documents of the registered tags
@pytest.mark.parametrize(
    ("data", "value"),
    [
        ("1bffffffffffffffff", 2**64 - 1),
        ("c249010000000000000000", 2**64),
        ("3bffffffffffffffff", -(2**64)),
        ("c349010000000000000000", -(2**64) - 1),
        ("f97bff", 65504.0),
        ("f97c00", float("inf")),
        ("f97e00", float("nan")),
        ("f4", False),
        ("f6", None),
        ("f7", None),
        ("f0", {"simple": 16}),
        ("c074323031332d30332d32315432303a30343a30305a", "2013-03-21T20:04:00Z"),
        ("c11a514b67b0", "2013-03-21T20:04:00Z"),
        ("c1fb41d452d9ec200000", "2013-03-21T20:04:00.500000Z"),
        ("d74401020304", {"tag": 23, "value": "AQIDBA=="}),
        ("d82076687474703a2f2f7777772e6578616d706c652e636f6d", {"tag": 32, "value": URI}),
        ("4401020304", "AQIDBA=="),
        ("62c3bc", "ü"),
        ("83018202039f0405ff", [1, [2, 3], [4, 5]]),
        ("bf61610161629f0203ffff", {"a": 1, "b": [2, 3]}),
        ("a201020304", {"1": 2, "3": 4}),
        ("c48221196ab3", "273.15"),  # a decimal
        ("c5822003", "1.5"),  # a bigfloat
        ("d81e820103", "1/3"),
        ("d82550" + "00" * 15 + "01", "00000000-0000-0000-0000-000000000001"),
        ("d9010283010203", [1, 2, 3]),
        ("d823635b612b", "[a+"),  # what is no regular expression
        ("d9d9f7a1616101", {"a": 1}),  # it says that it is CBOR
        ("0102", "1 bytes are left over"),
        ("9b0fffffffffffffff", "premature end"),
        ("5b0fffffffffffffff", "premature end"),
        ("61ff", "error decoding text"),
        ("d81c81d81d00", "refers to other parts of itself"),  # a list that holds itself
        ("d9010082636161" + "61d81900", "not CBOR"),
        ("c1fb7e37e43c8800759c", "timestamp out of range"),
        ("d81e820100", "error decoding rational"),
        ("c25a000f4240" + "ff" * 1_000_000, "an integer with thousands of digits"),
        ("c48201c25a000f4240" + "ff" * 1_000_000, "an integer with thousands of digits"),
        ("c5821a3fffffff01", "error decoding bigfloat"),
        ("81" * 100_000 + "00", "nesting depth"),
        ("c6" * 100_000 + "00", "nesting depth"),
        ("", "premature end"),
    ],
    ids=lambda part: str(part)[:30],
)
def test_cbor(data: str, value: Any) -> None:
    found = what_it_says(Cbor(), bytes.fromhex(data))
    if str(found).startswith("error: "):
        assert found.startswith("error: not CBOR: ")
        assert value in found
    else:
        assert equal(found, value)


TRUE = {"id": b"\x01", "at": NOON, "n": 3, "tags": ["a"], 7: None}


@pytest.mark.parametrize("decoder", [MessagePack(), Cbor()], ids=lambda decoder: decoder.name)
def test_what_is_not_edited_stays_of_its_kind(decoder: Format) -> None:
    dumps, loads = (
        (cbor2.dumps, cbor2.loads)
        if decoder.name == "cbor"
        else (msgspec.msgpack.encode, msgspec.msgpack.decode)
    )
    data = dumps(TRUE)
    shown: Any = decoder.decode(data, {})
    assert shown == {
        "id": "AQ==",
        "at": "2026-01-01T12:00:00Z",
        "n": 3,
        "tags": ["a"],
        "7": None,
    }
    assert loads(decoder.edit(data, shown | {"n": 4}, {})) == TRUE | {"n": 4}
    assert loads(decoder.edit(data, shown | {"id": "Ag=="}, {})) == TRUE | {"id": b"\x02"}
    with pytest.raises(CannotEncodeError, match="what it was edited to is no bytes"):
        decoder.edit(data, shown | {"id": "not base64!"}, {})


def test_what_messagepack_and_cbor_add_stays_when_other_fields_are_edited() -> None:
    data = msgpack.packb({"e": msgpack.ExtType(5, b"a"), "n": 1})
    edited = MessagePack().edit(data, {"e": {"ext": 5, "data": "YQ=="}, "n": 2}, {})
    assert edited == msgpack.packb({"e": msgpack.ExtType(5, b"a"), "n": 2})
    with pytest.raises(CannotEncodeError, match="a Extension can only be left as it is"):
        MessagePack().edit(data, {"e": {"ext": 6, "data": "YQ=="}, "n": 2}, {})

    true = {"t": cbor2.CBORTag(4711, [b"a"]), "u": uuid.UUID(int=1), "d": Decimal("1.10"), "n": 1}
    data = cbor2.dumps(true)
    shown: Any = Cbor().decode(data, {})
    assert shown["t"] == {"tag": 4711, "value": ["YQ=="]}
    assert Cbor().edit(data, shown | {"n": 2}, {}) == cbor2.dumps(true | {"n": 2})


def test_nanoseconds_are_not_lost_silently() -> None:
    data = msgpack.packb({"at": msgpack.Timestamp(1, 123_456_789), "n": 1})
    shown: Any = MessagePack().decode(data, {})
    assert shown == {"at": "1970-01-01T00:00:01.123457Z", "n": 1}
    with pytest.raises(CannotEncodeError, match="a time with nanoseconds, which would be lost"):
        MessagePack().edit(data, shown | {"n": 2}, {})
    exact = msgpack.packb({"at": msgpack.Timestamp(1, 123_457_000), "n": 1})
    assert MessagePack().edit(exact, shown, {}) == exact


def test_what_cannot_be_written_is_refused_with_the_reason() -> None:
    with pytest.raises(CannotEncodeError, match="msgpack cannot encode this: can't serialize ints"):
        MessagePack().encode(2**64, {})
    with pytest.raises(CannotEncodeError, match="it would be read back as another value"):
        Json().encode({1: "a"}, {})
    with pytest.raises(CannotEncodeError, match=r"json cannot encode .*not JSON serializable"):
        Json().encode({"a": b""}, {})
    assert Cbor().decode(Cbor().encode(2**100, {}), {}) == 2**100
