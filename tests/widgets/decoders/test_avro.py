"""Avro: schemas, framings, logical types, and what stops hostile bytes."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st
from varco_nats_widgets.decoders import Avro, Gzip

from tests.processes import run_python
from tests.widgets.decoders.helpers import TEXT, decodes_or_says_why, equal, quick, what_it_says
from varco_nats.errors import CannotEncodeError, DecoderError


def of(kind: str, logical: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "logicalType": logical, **more}


ORDER: dict[str, Any] = {
    "type": "record",
    "name": "Order",
    "namespace": "shop",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "quantity", "type": "int", "default": 1},
        {"name": "price", "type": of("bytes", "decimal", precision=10, scale=2)},
        {"name": "fee", "type": of("fixed", "decimal", precision=9, scale=3, size=4, name="Fee")},
        {"name": "at", "type": of("long", "timestamp-micros")},
        {"name": "local", "type": of("long", "local-timestamp-millis")},
        {"name": "day", "type": of("int", "date")},
        {"name": "hour", "type": of("long", "time-micros")},
        {"name": "trace", "type": of("string", "uuid")},
        {"name": "note", "type": ["null", "string"], "default": None},
        {"name": "raw", "type": "bytes"},
        {"name": "state", "type": {"type": "enum", "name": "State", "symbols": ["OPEN", "DONE"]}},
        {"name": "tags", "type": {"type": "array", "items": "string"}},
        {"name": "counts", "type": {"type": "map", "values": "long"}},
        {"name": "was", "type": ["null", "State"]},
        {"name": "weight", "type": "double"},
        {"name": "paid", "type": "boolean"},
    ],
}
NATIVE: dict[str, Any] = {
    "id": "o-1",
    "quantity": 2,
    "price": Decimal("12.50"),
    "fee": Decimal("-0.125"),
    "at": dt.datetime(2026, 1, 1, 12, 0, 0, 5, tzinfo=dt.UTC),
    "local": dt.datetime(2026, 1, 1, 12),
    "day": dt.date(2026, 1, 2),
    "hour": dt.time(1, 2, 3),
    "trace": uuid.UUID(int=1),
    "note": None,
    "raw": b"\xff",
    "state": "OPEN",
    "tags": ["a", "b"],
    "counts": {"x": 2**60},
    "was": "DONE",
    "weight": 1.5,
    "paid": True,
}
SHOWN = {
    **NATIVE,
    "price": "12.50",
    "fee": "-0.125",
    "at": "2026-01-01T12:00:00.000005Z",
    "local": "2026-01-01T12:00:00",
    "day": "2026-01-02",
    "hour": "01:02:03",
    "trace": "00000000-0000-0000-0000-000000000001",
    "raw": "/w==",
}


def written(schema: Any, value: Any) -> bytes:
    """What fastavro writes."""
    stream = BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(schema), value)
    return stream.getvalue()


def number(value: int) -> bytes:
    """A number as Avro has it, of any size."""
    value = value << 1 if value >= 0 else (-value << 1) - 1
    data = b""
    while value > 0x7F:
        data += bytes([value & 0x7F | 0x80])
        value >>= 7
    return data + bytes([value])


DATA = written(ORDER, NATIVE)
AVRO = Avro(ORDER)


# the examples of Avro's specification
@pytest.mark.parametrize(
    ("schema", "data", "value"),
    [
        ({"type": "long"}, "00", 0),
        ({"type": "long"}, "01", -1),
        ({"type": "long"}, "8001", 64),
        ({"type": "string"}, "06666f6f", "foo"),
        (
            {
                "type": "record",
                "name": "test",
                "fields": [{"name": "a", "type": "long"}, {"name": "b", "type": "string"}],
            },
            "3606666f6f",
            {"a": 27, "b": "foo"},
        ),
        ({"type": "array", "items": "long"}, "04063600", [3, 27]),
        (["null", "string"], "00", None),
        (["null", "string"], "020261", "a"),
    ],
)
def test_the_published_examples(schema: Any, data: str, value: Any) -> None:
    avro = Avro(schema)
    assert avro.decode(bytes.fromhex(data), {}) == value
    assert avro.encode(value, {}) == bytes.fromhex(data)


def test_each_kind_becomes_what_is_documented() -> None:
    assert AVRO.name == "avro(shop.Order)"
    assert AVRO.decode(DATA, {}) == SHOWN
    assert AVRO.encode(SHOWN, {}) == DATA
    assert AVRO.edit(DATA, SHOWN, {}) == DATA


@pytest.mark.parametrize(
    ("edits", "native"),
    [
        ({"quantity": -5, "note": "new"}, {"quantity": -5, "note": "new"}),
        ({"price": "7.00"}, {"price": Decimal("7.00")}),
        ({"price": "-70000000000.25"}, {"price": Decimal("-70000000000.25")}),
        ({"at": "2026-01-02T00:00:00Z"}, {"at": dt.datetime(2026, 1, 2, tzinfo=dt.UTC)}),
        ({"raw": "AQI="}, {"raw": b"\x01\x02"}),
        ({"was": None, "state": "DONE", "tags": []}, {"was": None, "state": "DONE", "tags": []}),
        ({"counts": {"x": 1, "y": 2}}, {"counts": {"x": 1, "y": 2}}),
    ],
    ids=str,
)
def test_an_edited_value_is_encoded(edits: dict[str, Any], native: dict[str, Any]) -> None:
    assert AVRO.edit(DATA, SHOWN | edits, {}) == written(exact(ORDER), NATIVE | native)


def exact(schema: dict[str, Any]) -> dict[str, Any]:
    """`schema` with room for the digits that are tested; what is written is the same."""
    fields = [dict(field) for field in schema["fields"]]
    fields[2]["type"] = of("bytes", "decimal", precision=30, scale=2)
    return {**schema, "fields": fields}


@pytest.mark.parametrize(
    ("edits", "said"),
    [
        ({"quantity": "2"}, "quantity is text, not int"),
        ({"quantity": 2**31}, "quantity is larger than int can be"),
        ({"quantity": True}, "quantity is a bool, not int"),
        ({"quantity": 1.5}, "quantity is a float, not int"),
        ({"counts": {"x": None}}, "counts.x is a NoneType, not long"),
        ({"tags": ["a", 5]}, "tags[1] is a int, not string"),
        ({"tags": "a"}, "tags is text, not array"),
        ({"price": "1.234"}, "price has more than the 2 decimals of the schema"),
        ({"price": "cheap"}, "what it was edited to is no Decimal"),
        ({"fee": "9999999.000"}, "fee is larger than 4 bytes can be"),
        ({"price": "1e999999"}, "price is no decimal that can be written"),
        ({"day": "tomorrow"}, "what it was edited to is no date"),
        ({"state": "LOST"}, "state is none of OPEN, DONE"),
        ({"was": "LOST"}, "was is nothing that the schema allows"),
        ({"note": 5}, "note is nothing that the schema allows"),
        ({"no_such": 1}, "the schema has no field 'no_such'"),
        ({"price": "7"}, 'it would be read back as another value: price as "7.00"'),
        ({"at": "2026-01-02T01:00:00+01:00"}, 'another value: at as "2026-01-02T00:00:00Z"'),
    ],
    ids=str,
)
def test_what_the_schema_does_not_allow_is_refused(edits: dict[str, Any], said: str) -> None:
    with pytest.raises(CannotEncodeError) as caught:
        AVRO.edit(DATA, SHOWN | edits, {})
    assert str(caught.value).startswith("avro(shop.Order) cannot encode this: ")
    assert said in str(caught.value)


def test_a_record_must_have_all_its_fields() -> None:
    with pytest.raises(CannotEncodeError, match="the field 'id' is missing"):
        AVRO.encode({name: value for name, value in SHOWN.items() if name != "id"}, {})
    with pytest.raises(CannotEncodeError, match="it is a list, not record"):
        AVRO.encode([], {})


FINGERPRINT = fastavro.schema.fingerprint(
    fastavro.schema.to_parsing_canonical_form(ORDER), "CRC-64-AVRO"
)


def test_a_fingerprint_is_that_of_the_specification() -> None:
    # of the schema "int", as the tests of Avro's implementations have it
    assert Avro({"type": "int"})._schema.fingerprint[::-1].hex() == "7275d51a3f395c8f"
    assert AVRO._schema.fingerprint.hex() == FINGERPRINT


def test_the_framing_is_found_or_given() -> None:
    single = b"\xc3\x01" + bytes.fromhex(FINGERPRINT) + DATA
    registry = b"\x00" + (7).to_bytes(4) + DATA
    for data in (DATA, single, registry):
        assert AVRO.decode(data, {}) == SHOWN
        assert AVRO.edit(data, SHOWN | {"quantity": 3}, {}) == data[: -len(DATA)] + written(
            ORDER, NATIVE | {"quantity": 3}
        )
    assert Avro(ORDER, framing="single-object").encode(SHOWN, {}) == single
    assert Avro(ORDER, framing="registry", schema_id=7).encode(SHOWN, {}) == registry
    assert Avro(ORDER, framing="none").decode(DATA, {}) == SHOWN
    with pytest.raises(CannotEncodeError, match="the id of its schema is not known"):
        Avro(ORDER, framing="registry").encode(SHOWN, {})


@pytest.mark.parametrize(
    ("framing", "schema_id", "data", "said"),
    [
        ("auto", None, b"\xc3\x01" + bytes(8) + DATA, "the fingerprint of its schema is 000000000"),
        ("single-object", None, DATA, "it does not begin as the framing single-object"),
        ("single-object", None, b"\xc3\x01ab", "the fingerprint of its schema is 6261, not"),
        ("registry", None, DATA, "it does not begin as the framing registry"),
        ("registry", 8, b"\0\0\0\0\7" + DATA, "its schema has the id 7, not 8"),
        ("auto", 8, b"\0\0\0\0\7" + DATA, "'utf-8' codec can't decode byte 0xe2"),
        ("none", None, b"\0\0\0\0\7" + DATA, "'utf-8' codec can't decode byte 0xe2"),
        ("auto", None, DATA[:-1], "the end is missing"),
        ("auto", None, DATA + b"12", "2 bytes are left over"),
        ("auto", None, b"", "the end is missing"),
    ],
)
def test_what_is_wrong_with_a_message_is_said(
    framing: Any, schema_id: int | None, data: bytes, said: str
) -> None:
    avro = Avro(ORDER, framing=framing, schema_id=schema_id)
    assert what_it_says(avro, data).startswith(f"error: not avro(shop.Order): {said}")


def test_a_schema_may_be_a_file_with_others_beside_it(tmp_path: Path) -> None:
    outer = {
        "type": "record",
        "name": "shop.Cart",
        "fields": [{"name": "order", "type": "shop.Order"}],
    }
    (tmp_path / "shop.Order.avsc").write_text(json.dumps(ORDER))
    (tmp_path / "shop.Cart.avsc").write_text(json.dumps(outer))
    cart = Avro(tmp_path / "shop.Cart.avsc")
    assert cart.decode(DATA, {}) == {"order": SHOWN}
    assert cart.encode({"order": SHOWN}, {}) == DATA
    assert Avro(str(tmp_path / "shop.Order.avsc")).decode(DATA, {}) == SHOWN
    assert Avro(json.dumps(ORDER)).decode(DATA, {}) == SHOWN


EMPTY = {"type": "fixed", "name": "Empty", "size": 0}


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ("no-such.avsc", "Avro('no-such.avsc'): No such file or directory"),
        ('{"type": }', "Avro(schema): not JSON: Expecting value in line 1, column 10"),
        ({"type": "recrd"}, "not an Avro schema: no type of this name: {'type': 'recrd'}"),
        (
            {"type": "record", "name": "R", "fields": [{"name": "a", "type": "No"}]},
            "not an Avro schema: no type of this name: No",
        ),
        (5, "int is neither a file nor a schema"),
        ({}, "not an Avro schema"),
        ({"type": "array", "items": "null"}, "a list whose items take no bytes can have no end"),
        (
            {"type": "array", "items": {"type": "record", "name": "E", "fields": []}},
            "a list whose items take no bytes can have no end",
        ),
        (
            {
                "type": "map",
                "values": {"type": "array", "items": of("fixed", "x", size=0, name="F")},
            },
            "a list whose items take no bytes can have no end",
        ),
    ],
)
def test_what_is_no_schema_says_why_at_once(schema: Any, said: str) -> None:
    with pytest.raises(DecoderError) as caught:
        Avro(schema)
    assert said in str(caught.value)
    with pytest.raises(DecoderError, match="framing='kafka': there are 'auto', 'none'"):
        Avro(ORDER, framing="kafka")  # type: ignore[arg-type]


def test_a_file_that_is_no_json_says_where(tmp_path: Path) -> None:
    path = tmp_path / "bad.avsc"
    path.write_text('{\n  "type": "record"\n  "name": "R"}')
    with pytest.raises(DecoderError, match="Expecting ',' delimiter in line 3, column 3"):
        Avro(path)


POINT = {"type": "record", "name": "Point", "fields": [{"name": "x", "type": "int"}]}
PIXEL = {
    "type": "record",
    "name": "Pixel",
    "fields": [{"name": "x", "type": "int"}, {"name": "y", "type": ["null", "int", "Point"]}],
}


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (["null", POINT, PIXEL], {"x": 1, "y": None}),
        (["null", POINT, PIXEL], {"x": 1, "y": {"x": 2}}),
        (["null", POINT, PIXEL], {"x": 1}),
        (["string", "bytes"], "abcd"),
        (["bytes", "string"], "not base64!"),
        (["int", "double", "long"], 2.0),
        (["int", "long"], 2**40),
        (["boolean", "int"], 1),
        (["boolean", "int"], True),
        ([of("long", "timestamp-millis"), "string"], "2026-01-01T00:00:00Z"),
        ({"type": "float"}, 0.5),
        ({"type": "double"}, float("inf")),
    ],
    ids=str,
)
def test_unions_are_written_as_what_the_value_is(schema: Any, value: Any) -> None:
    avro = Avro(schema)
    assert equal(avro.decode(avro.encode(value, {}), {}), value)


LIST: dict[str, Any] = {
    "type": "record",
    "name": "List",
    "fields": [{"name": "value", "type": "long"}, {"name": "next", "type": ["null", "List"]}],
}


def test_what_holds_its_own_type_may_be_nested_but_not_endlessly() -> None:
    avro = Avro(LIST)
    value: Any = None
    for index in range(50):
        value = {"value": index, "next": value}
    assert avro.decode(avro.encode(value, {}), {}) == value
    assert (
        what_it_says(avro, number(5) + b"\x02" * 400_000) == "error: not readable: nested too deep"
    )
    assert "more than 10 bytes" in what_it_says(avro, b"\xff" * 2_000_000 + b"\0")


def test_the_reader_that_is_not_used_for_nested_types_would_end_the_process() -> None:
    # the day this fails, the slower reader is not needed any more
    code = (
        "import io, fastavro; schema = fastavro.parse_schema("
        f"{LIST!r}); fastavro.schemaless_reader(io.BytesIO(b'\\x02' * 400_000), schema, None)"
    )
    assert run_python(code).returncode < 0


@pytest.mark.parametrize(
    ("schema", "data", "said"),
    [
        ({"type": "array", "items": "long"}, number(2**62), "the end is missing"),
        ({"type": "array", "items": "long"}, number(-(2**62)) + number(1), "the end is missing"),
        ({"type": "map", "values": "null"}, number(2**60) + b"\0" * 9999, "the end is missing"),
        ({"type": "bytes"}, number(2**40), "the end is missing"),
        ({"type": "fixed", "name": "F", "size": 2**40}, b"abc", "the end is missing"),
        (
            of("bytes", "decimal", precision=9),
            number(10**6) + b"\x7f" * 10**6,
            "a decimal with thousands of digits",
        ),
        (of("long", "timestamp-micros"), number(2**62), "date value out of range"),
        (of("string", "uuid"), number(3) + b"abc", "badly formed hexadecimal UUID string"),
        ({"type": "enum", "name": "E", "symbols": ["A"]}, number(5), "list index out of range"),
        ({"type": "string"}, number(1) + b"\xff", "'utf-8' codec can't decode"),
    ],
    ids=str,
)
def test_hostile_bytes_are_an_error(schema: Any, data: bytes, said: str) -> None:
    assert said in what_it_says(Avro(schema), data)


def test_decimals_are_exact_beyond_their_precision() -> None:
    schema = of("bytes", "decimal", precision=4, scale=2)
    unscaled = 12345678901234567890123456789012345
    data = number(15) + unscaled.to_bytes(15, signed=True)
    assert Avro(schema).decode(data, {}) == "123456789012345678901234567890123.45"
    assert Avro(schema).encode("123456789012345678901234567890123.45", {}) == data


@quick
@given(
    st.fixed_dictionaries(
        {
            "id": TEXT,
            "quantity": st.integers(-(2**31), 2**31 - 1),
            "price": st.decimals(-(10**7), 10**7, places=2),
            "raw": st.binary(),
            "tags": st.lists(TEXT),
            "counts": st.dictionaries(TEXT, st.integers(-(2**63), 2**63 - 1)),
            "note": st.none() | TEXT,
            "weight": st.floats(),
            "at": st.datetimes(timezones=st.just(dt.UTC)),
        }
    )
)
def test_what_fastavro_writes_is_read_and_written_again(fields: dict[str, Any]) -> None:
    data = written(ORDER, NATIVE | fields)
    value: Any = AVRO.decode(data, {})
    assert (value["id"], value["tags"], value["counts"]) == (
        fields["id"],
        fields["tags"],
        fields["counts"],
    )
    assert Decimal(value["price"]) == fields["price"]
    assert dt.datetime.fromisoformat(value["at"]) == fields["at"]
    assert AVRO.encode(value, {}) == data
    assert AVRO.edit(data, value | {"paid": False}, {})[:-1] == data[:-1]


@quick
@given(st.binary(max_size=60), st.integers(0, 120), st.binary(max_size=3))
def test_any_bytes_are_a_value_or_a_reason(data: bytes, at: int, put: bytes) -> None:
    nested = Avro(LIST)
    for broken in (data, b"\0\0\0\0\1" + data, DATA[:at], DATA[:at] + put + DATA[at + 1 :]):
        decodes_or_says_why(AVRO, broken)
        decodes_or_says_why(nested, broken)


def test_it_can_be_inside_of_gzip() -> None:
    assert Gzip(AVRO).read(Gzip(AVRO).encode(SHOWN, {}), {}) == (SHOWN, "gzip+avro(shop.Order)")
