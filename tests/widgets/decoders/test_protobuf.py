"""Protobuf: from `.proto` files and descriptor sets, with the compiler's own words for mistakes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from hypothesis import given
from hypothesis import strategies as st
from varco_nats_widgets.decoders import Auto, CloudEvents, Gzip, Protobuf

from tests.widgets.decoders.helpers import (
    TEXT,
    decodes_or_says_why,
    equal,
    is_plain,
    quick,
    what_it_says,
)
from varco_nats.errors import CannotDecodeError, CannotEncodeError, DecoderError

PROTOS = Path(__file__).parent / "protos"
GPS = PROTOS / "gps.proto"


def descriptors(folder: Path, *options: str) -> Path:
    """A descriptor set that protoc has written."""
    written = folder / "gps.desc"
    subprocess.run(
        [
            *(sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={PROTOS}"),
            *(*options, f"--descriptor_set_out={written}", str(GPS)),
        ],
        check=True,
        timeout=80,
    )
    return written


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return descriptors(tmp_path_factory.mktemp("gps"), "--include_imports")


@pytest.fixture(scope="module")
def fix(described: Path) -> Protobuf:
    return Protobuf(described, "Fix")


def full(fix: Protobuf) -> Any:
    """A message with each kind of field, made by the library itself."""
    message: Any = fix._message(
        device="d-1",
        lat=51.5,
        seq=2**60 + 1,
        raw=b"\xff",
        source=1,
        tags=[1, -2],
        counts={"b": 2, "a": 1},
        text="t",
        accuracy=0.1,
        big=2**64 - 1,
        sources=[1, 77],
        flags={True: b"x"},
    )
    setattr(message, "from", "here")
    message.at.FromJsonString("2026-01-01T00:00:00.123456789Z")
    message.extra.update({"k": [1, {"z": None}], "ok": True})
    message.wrapped.value = 5
    message.took.FromJsonString("3.5s")
    message.position.x = 1.5
    message.path.add(y=2)
    message.places[3].x = 2
    message.mask.paths.append("a_b")
    message.sealed.value = b"\x01"
    message.any_value.string_value = "v"
    message.list.extend([1, "a"])
    message.nothing.SetInParent()
    message.any.Pack(
        fix._message.DESCRIPTOR.fields_by_name["position"].message_type._concrete_class(x=9)
    )
    return message


SHOWN: dict[str, Any] = {
    "device": "d-1",
    "lat": 51.5,
    "seq": 2**60 + 1,
    "raw": "/w==",
    "source": "GPS",
    "tags": [1, -2],
    "counts": {"a": 1, "b": 2},
    "at": "2026-01-01T00:00:00.123456789Z",
    "extra": {"k": [1.0, {"z": None}], "ok": True},
    "wrapped": 5,
    "took": "3.500s",
    "position": {"x": 1.5, "y": 0.0},
    "path": [{"x": 0.0, "y": 2.0}],
    "text": "t",
    "any": {"@type": "type.googleapis.com/dev.v1.Fix.Position", "x": 9.0, "y": 0.0},
    "mask": "aB",
    "accuracy": 0.10000000149011612,
    "big": 2**64 - 1,
    "from": "here",
    "sources": ["GPS", 77],
    "places": {"3": {"x": 2.0, "y": 0.0}},
    "flags": {"true": "eA=="},
    "sealed": "AQ==",
    "any_value": "v",
    "list": [1.0, "a"],
    "nothing": {},
}
EMPTY = {
    **dict.fromkeys(("device", "raw", "from"), ""),
    **dict.fromkeys(("lat", "accuracy"), 0.0),
    **dict.fromkeys(("seq", "big"), 0),
    "source": "UNKNOWN",
    **{name: [] for name in ("tags", "path", "sources")},
    **{name: {} for name in ("counts", "places", "flags")},
}


def test_each_kind_of_field_is_as_the_json_mapping_has_it(fix: Protobuf) -> None:
    data = full(fix).SerializeToString()
    value: Any = fix.decode(data, {})
    assert fix.name == "protobuf(Fix)"
    assert is_plain(value)
    assert equal(value, SHOWN)
    assert list(value) == list(SHOWN)  # in the order of the file
    assert fix._message.FromString(fix.encode(value, {})) == full(fix)


def test_fields_without_presence_have_their_default_and_others_are_missing(fix: Protobuf) -> None:
    assert equal(fix.decode(b"", {}), EMPTY)
    message: Any = fix._message(altitude=0, number=0)
    assert equal(fix.decode(message.SerializeToString(), {}), EMPTY | {"altitude": 0, "number": 0})


@pytest.mark.parametrize("data", [b"", b"\xff"])
def test_the_file_may_be_a_proto_file(fix: Protobuf, data: bytes) -> None:
    compiled = Protobuf(GPS, "dev.v1.Fix")
    assert what_it_says(compiled, data) == what_it_says(fix, data)
    assert Protobuf(str(GPS), "Position").name == "protobuf(Position)"


# the examples of the document that describes the encoding
@pytest.mark.parametrize(
    ("message", "data", "value"),
    [
        ("Test1", "089601", {"a": 150}),
        ("Test3", "1a03089601", {"c": {"a": 150}}),
        ("Test4", "220568656c6c6f280128022803", {"d": "hello", "e": [1, 2, 3], "f": []}),
        ("Test4", "3206038e029ea705", {"d": "", "e": [], "f": [3, 270, 86942]}),
    ],
)
def test_the_published_examples(described: Path, message: str, data: str, value: Any) -> None:
    decoder = Protobuf(described, message)
    assert decoder.decode(bytes.fromhex(data), {}) == value
    assert decoder.decode(decoder.encode(value, {}), {}) == value


def test_fields_may_be_called_as_methods(described: Path) -> None:
    decoder = Protobuf(described, "Methods")
    value = {"HasField": "a", "ListFields": "b", "SerializeToString": "c"}
    data = b"\x0a\x01a\x12\x01b\x1a\x01c"
    assert decoder.decode(data, {}) == value
    assert decoder.decode(b"\x0a\x01a", {}) == {"HasField": "a", "SerializeToString": ""}


def test_an_edited_message_is_encoded(fix: Protobuf) -> None:
    data = full(fix).SerializeToString()
    edits = {"lat": float("inf"), "seq": 7, "raw": "AQ==", "source": "UNKNOWN", "took": "1s"}
    edited = fix._message.FromString(fix.edit(data, SHOWN | edits, {}))
    assert (edited.lat, edited.seq, edited.raw, edited.source) == (float("inf"), 7, b"\x01", 0)
    assert edited.at == full(fix).at
    nan = fix.encode({**EMPTY, "lat": float("nan")}, {})
    assert equal(fix.decode(nan, {}), {**EMPTY, "lat": float("nan")})


@pytest.mark.parametrize(
    ("edits", "said"),
    [
        ({"no_such": 1}, 'has no field named "no_such"'),
        ({"lat": "north"}, "Failed to parse lat field"),
        ({"tags": [2**40]}, "Failed to parse tags field: Value out of range"),
        ({"source": "NO_SUCH"}, "Failed to parse source field: Invalid enum value NO_SUCH"),
        ({"at": "noon"}, "Failed to parse at field"),
        ({"text": None}, "it would be read back as another value"),
        ({"counts": {"a": "1"}}, "it would be read back as another value"),
    ],
)
def test_what_the_message_cannot_hold_is_refused(
    fix: Protobuf, edits: dict[str, Any], said: str
) -> None:
    with pytest.raises(CannotEncodeError) as caught:
        fix.edit(full(fix).SerializeToString(), SHOWN | edits, {})
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_fields_that_the_schema_lacks_are_not_lost_by_an_edit(fix: Protobuf) -> None:
    newer = full(fix).SerializeToString() + b"\xf8\x07\x05"  # a field 127
    assert equal(fix.decode(newer, {}), SHOWN)
    with pytest.raises(CannotEncodeError, match="it has fields that the schema does not have"):
        fix.edit(newer, SHOWN, {})
    with pytest.raises(CannotEncodeError, match="it is no object with fields"):
        fix.encode([1], {})


def test_a_message_of_another_type_says_so(fix: Protobuf) -> None:
    assert what_it_says(fix, b"\xf8\x07\x05\xf0\x07\x05") == (
        "error: not protobuf(Fix): it has none of its fields, only fields with the numbers 126, 127"
    )
    # in the words of protobuf, of which version 6.31 gives no reason
    for payload, reason in (
        (b'{"device": "json"}', "Wire format was corrupt"),
        (b"\x0a\x01\xff", "bad UTF-8"),
    ):
        said = what_it_says(fix, payload)
        assert said.startswith("error: not protobuf(Fix): Error parsing message")
        assert reason in said or said.endswith("with type 'dev.v1.Fix'")


def test_times_that_are_none_are_numbers(fix: Protobuf) -> None:
    message: Any = fix._message()
    message.at.seconds = 2**60
    message.took.seconds = 2**60
    value: Any = fix.decode(message.SerializeToString(), {})
    assert (value["at"], value["took"]) == ({"seconds": 2**60, "nanos": 0},) * 2
    message = fix._message()
    message.at.nanos = -5
    value = fix.decode(message.SerializeToString(), {})
    assert value["at"] == {"seconds": 0, "nanos": -5}


def test_any_of_a_type_that_is_not_known_is_bytes(fix: Protobuf) -> None:
    packed = AnyMessage()
    packed.Pack(full(fix).at)
    for url, data, value in (
        ("x/no.Such", b"\x01", "AQ=="),
        ("x/dev.v1.Fix", b"\xff", "/w=="),  # of a known type, but broken
        (packed.type_url, packed.value, "2026-01-01T00:00:00.123456789Z"),
    ):
        message: Any = fix._message(any={"type_url": url, "value": data})
        found: Any = fix.decode(message.SerializeToString(), {})
        assert found["any"] == {"@type": url, "value": value}


def test_imports_extensions_and_names_that_are_ambiguous() -> None:
    path = PROTOS / "shop" / "order.proto"
    order = Protobuf(path, "Order", include=[PROTOS])
    data = b"\x0a\x01a\x1a\x02\x08\x05\xa2\x06\x02hi"
    value = {"id": "a", "price": {"cents": 5}, "[shop.note]": "hi"}
    assert order.decode(data, {}) == value
    assert order.decode(order.encode(value, {}), {}) == value
    with pytest.raises(CannotEncodeError, match="missing required fields: id"):
        order.encode({"price": {}}, {})
    assert Protobuf(path, "shop.Fix", include=[PROTOS]).name == "protobuf(Fix)"
    with pytest.raises(DecoderError, match=r"'Fix' can be shop\.Fix or shop\.Item\.Fix$"):
        Protobuf(path, "Fix", include=[PROTOS])
    with pytest.raises(DecoderError) as caught:
        Protobuf(path, "Order")  # its import is not in the file's own folder
    assert "does not compile:\nshop/common.proto: File not found." in str(caught.value)
    assert "order.proto:5:1: Import" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('syntax = "proto3";\nmessage A { int32 x = 1 }', 'bad.proto:2:25: Expected ";".'),
        ('syntax = "proto3";\nmessage A {\n strin x = 1; }', '3:2: "strin" is not defined.'),
        ('syntax = "proto3";\nmessage A { int32 x = 1; int32 y = 1; }', "bad.proto:2:"),
    ],
)
def test_what_does_not_compile_says_where_at_once(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "bad.proto"
    path.write_text(text)
    with pytest.raises(DecoderError) as caught:
        Protobuf(path, "A")
    assert str(caught.value).startswith(f"Protobuf({str(path)!r}) does not compile:\n")
    assert said in str(caught.value)


def test_a_file_that_is_none_says_what_to_do(tmp_path: Path, described: Path) -> None:
    with pytest.raises(DecoderError, match="No such file or directory"):
        Protobuf(tmp_path / "none.proto", "A")
    for content in (b"", b"\xff", b'{"type": "record"}', b"\x12\x00"):
        path = tmp_path / "other.bin"
        path.write_bytes(content)
        with pytest.raises(DecoderError, match=r"it is no descriptor set, and no \.proto file"):
            Protobuf(path, "A")
    with pytest.raises(DecoderError) as caught:
        Protobuf(described, "Fixx")
    assert str(caught.value).endswith(
        "it has no message 'Fixx'; there are: dev.v1.Fix, dev.v1.Fix.Position, dev.v1.Methods, "
        "dev.v1.Test1, dev.v1.Test3, dev.v1.Test4"
    )


def test_a_set_needs_only_what_protobuf_itself_lacks(tmp_path: Path) -> None:
    written = descriptors(tmp_path)  # without the imports, all of which are Protobuf's own
    assert equal(Protobuf(written, "Fix").decode(b"", {}), EMPTY)
    found = FileDescriptorSet.FromString(written.read_bytes())
    found.file[0].dependency.append("other/missing.proto")
    written.write_bytes(found.SerializeToString())
    with pytest.raises(DecoderError, match=r"it lacks other/missing\.proto, which gps\.proto"):
        Protobuf(written, "Fix")


@quick
@given(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.floats(),
    st.integers(-(2**63), 2**63 - 1),
    st.binary(),
    st.lists(st.integers(-(2**31), 2**31 - 1)),
    st.dictionaries(TEXT, st.integers(-(2**63), 2**63 - 1)),
)
def test_a_message_is_read_as_it_was_written(
    fix: Protobuf,
    device: str,
    lat: float,
    seq: int,
    raw: bytes,
    tags: list[int],
    counts: dict[str, int],
) -> None:
    message: Any = fix._message(
        device=device, lat=lat, seq=seq, raw=raw, tags=tags, counts=counts, number=1
    )
    value: Any = fix.decode(message.SerializeToString(), {})
    assert value["device"] == device
    assert equal(value["lat"], lat)
    assert (value["seq"], value["tags"], value["counts"]) == (seq, tags, counts)
    assert equal(fix.decode(fix.encode(value, {}), {}), value)


@quick
@given(st.binary(max_size=60), st.integers(0, 400), st.binary(max_size=3))
def test_any_bytes_are_a_value_or_a_reason(fix: Protobuf, data: bytes, at: int, put: bytes) -> None:
    packed = full(fix).SerializeToString()
    for broken in (data, packed[:at], packed[:at] + put + packed[at + 1 :]):
        decodes_or_says_why(fix, broken)


def test_deep_nesting_is_an_error(fix: Protobuf) -> None:
    deep: Any = fix._message()
    for _ in range(2000):  # each in bytes of its own, which no limit of the parser sees
        outer: Any = fix._message()
        outer.any.Pack(deep)
        deep = outer
    with pytest.raises(CannotDecodeError, match="nested too deep"):
        fix.decode(deep.SerializeToString(), {})
    nested = b""
    for _ in range(200):
        size = len(nested)
        nested = b"\xea\x01" + bytes([size & 0x7F | 0x80, size >> 7]) + nested
    assert "not protobuf(Fix): " in what_it_says(fix, nested)


def test_it_can_be_inside_of_others(fix: Protobuf) -> None:
    data = full(fix).SerializeToString()
    packed = Gzip(fix).encode(SHOWN, {})
    assert equal(Gzip(fix).read(packed, {}), (SHOWN, "gzip+protobuf(Fix)"))
    headers = {"ce-specversion": "1.0", "ce-type": "t", "ce-id": "1"}
    value: Any = CloudEvents(fix).decode(data, headers)
    assert equal(value["data"], SHOWN)
    assert "it needs its schema" in what_it_says(
        Auto(), data, {"content-type": "application/x-protobuf"}
    )
