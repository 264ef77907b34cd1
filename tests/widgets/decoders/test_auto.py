"""What `auto` takes a message for."""

from __future__ import annotations

import gzip
import itertools
from typing import Any

import cbor2
import msgpack
import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st
from varco_nats_widgets.decoders import Auto, CloudEvents, Text, decoder_of

from tests.widgets.decoders.helpers import (
    TEXT,
    decodes_or_says_why,
    equal,
    plain_values,
    quick,
    what_it_says,
)
from varco_nats.errors import CannotEncodeError

AUTO = Auto()
EVENT = {"a": 1, "b": ["x", None]}
PACKED = msgpack.packb(EVENT)
CE = {
    "ce-specversion": "1.0",
    "ce-type": "com.example.someevent",
    "ce-id": "1234-1234-1234",
    "ce-source": "/mycontext/subcontext",
}


@pytest.mark.parametrize(
    ("data", "headers", "value", "name"),
    [
        # nothing but bytes
        (b'{"a": 1}', {}, {"a": 1}, "json"),
        (b' \n{"a": 1}', {}, {"a": 1}, "json"),
        (b"[1, 2]", {}, [1, 2], "json"),
        (b'"text"', {}, "text", "json"),
        (b"-12.5", {}, -12.5, "json"),
        (b"true", {}, True, "json"),
        (b"null", {}, None, "json"),
        (b"hello", {}, "hello", "text"),
        (b"true story", {}, "true story", "text"),
        (b"[INFO] started", {}, "[INFO] started", "text"),
        (b"2026-01-01 12:00", {}, "2026-01-01 12:00", "text"),
        ("日本語\r\n\t".encode(), {}, "日本語\r\n\t", "text"),
        (b"\x1b[1mbold\x1b[0m", {}, "\x1b[1mbold\x1b[0m", "text"),
        (PACKED, {}, EVENT, "msgpack"),
        (msgpack.packb([1, b"a"]), {}, [1, "YQ=="], "msgpack"),
        (msgpack.packb(list(range(100))), {}, list(range(100)), "msgpack"),
        (cbor2.dumps(EVENT), {}, EVENT, "cbor"),
        (cbor2.dumps([1, 2, "abc", 600]), {}, [1, 2, "abc", 600], "cbor"),
        (b"\xd9\xd9\xf7\x01", {}, 1, "cbor"),  # it says that it is CBOR
        (gzip.compress(b'{"a": 1}'), {}, {"a": 1}, "gzip+json"),
        (zstd.compress(b"hello"), {}, "hello", "zstd+text"),
        (gzip.compress(PACKED), {}, EVENT, "gzip+msgpack"),
        (b"", {}, "error: empty payload", None),
        (b'{"a": ', {}, "error: not JSON: Expecting value at 6", None),
        (b"abc\x00def", {}, "error: binary: byte 0x00 at 3", None),
        (b"\xff\xfe", {}, "error: not UTF-8: byte 0xff at 0", None),
        (
            b"\xc3\x01" + bytes(range(8)) + b"abc",
            {},
            "error: Avro whose schema has the fingerprint 0706050403020100: name the schema, "
            "with decoders={channel: Avro('path.avsc')}",
            None,
        ),
        # headers
        (b"12", {"content-type": "text/plain"}, "12", "text"),
        (b"n\xe9", {"Content-Type": "text/plain; charset=latin-1"}, "né", "text(latin-1)"),
        (b"ab", {"Content-Type": "text/plain; charset=nonsense"}, "ab", "text"),
        (b"<a/>", {"content-type": "application/xml"}, "<a/>", "text"),
        (b"7", {"content-type": "application/json; charset=utf-8"}, 7, "json"),
        (b"7", {"content-type": "application/problem+json"}, 7, "json"),
        (b"\x07", {"content-type": "application/msgpack"}, 7, "msgpack"),
        (b"\x07", {"CONTENT-TYPE": "application/vnd.msgpack"}, 7, "msgpack"),
        (b"\x07", {"content-type": "application/cbor"}, 7, "cbor"),
        (b"\x07", {"content-type": "application/senml+cbor"}, 7, "cbor"),
        (b"12", {"content-type": "application/octet-stream"}, 12, "json"),
        (b"12", {"content-type": "nonsense"}, 12, "json"),
        (gzip.compress(b"\x07"), {"content-type": "application/msgpack"}, 7, "gzip+msgpack"),
        (gzip.compress(b"12"), {"content-encoding": "gzip"}, 12, "gzip+json"),
        (gzip.compress(b"12"), {"Content-Encoding": "X-GZIP"}, 12, "gzip+json"),
        (
            zstd.compress(gzip.compress(b"12")),
            {"content-encoding": "gzip, zstd"},
            12,
            "zstd+gzip+json",
        ),
        (b"12", {"content-encoding": "identity"}, 12, "json"),
        # headers that lie
        (b'{"a": 1}', {"content-encoding": "gzip"}, {"a": 1}, "json"),
        (b'{"a": 1}', {"content-type": "application/msgpack"}, {"a": 1}, "json"),
        (PACKED, {"content-type": "application/json"}, EVENT, "msgpack"),
        (b'{"a": 1}', {"content-type": "application/x-protobuf"}, {"a": 1}, "json"),
        (
            b'{"a": ',
            {"content-type": "application/json"},
            "error: content-type says application/json: not JSON: Expecting value at 6; by its "
            "bytes: not JSON: Expecting value at 6",
            None,
        ),
        (
            b"hello",
            {"content-type": "application/json"},
            "error: content-type says application/json: not JSON: Expecting value at 0; by its "
            "bytes it may be text",
            None,
        ),
        (
            b"\xff",
            {"content-encoding": "zstd"},
            "error: content-encoding says zstd: not zstd: Unable to decompress Zstandard data: "
            "Unknown frame descriptor; not UTF-8: byte 0xff at 0",
            None,
        ),
        (
            b"\x08\x96\x01",
            {"content-type": "application/protobuf"},
            "error: content-type says application/protobuf: it needs its schema, with "
            "decoders={channel: Protobuf('path.proto', 'Message')}; by its bytes: binary: byte "
            "0x08 at 0",
            None,
        ),
        (
            b"\x08",
            {"content-type": "avro/binary"},
            "error: content-type says avro/binary: it needs its schema, with decoders={channel: "
            "Avro('path.avsc')}; by its bytes: binary: byte 0x08 at 0",
            None,
        ),
        # CloudEvents in binary mode
        (
            b'{"appinfoA": "abc"}',
            {**CE, "content-type": "application/json"},
            {
                "specversion": "1.0",
                "type": "com.example.someevent",
                "id": "1234-1234-1234",
                "source": "/mycontext/subcontext",
                "datacontenttype": "application/json",
                "data": {"appinfoA": "abc"},
            },
            "cloudevents+json",
        ),
        (
            gzip.compress(PACKED),
            {"CE-SpecVersion": "1.0", "Ce-Type": "t", "Ce-Id": "Euro%20%E2%82%AC"},
            {"specversion": "1.0", "type": "t", "id": "Euro €", "data": EVENT},
            "gzip+cloudevents+msgpack",
        ),
        (
            b"",
            {"ce-specversion": "1.0", "ce-type": "t", "ce-id": "1"},
            {"specversion": "1.0", "type": "t", "id": "1"},
            "cloudevents+auto",
        ),
        (b'{"a": 1}', {"ce-id": "1", "ce-type": "t"}, {"a": 1}, "json"),  # not all of them
        (
            b'{"specversion": "1.0", "type": "t", "id": "2", "data": {}}',
            {**CE, "content-type": "application/cloudevents+json; charset=UTF-8"},
            {"specversion": "1.0", "type": "t", "id": "2", "data": {}},
            "json",
        ),
    ],
    ids=itertools.count(),
)
def test_a_message_is_taken_for_what_it_is(
    data: bytes, headers: dict[str, str], value: Any, name: str | None
) -> None:
    assert equal(what_it_says(AUTO, data, headers), value)
    if name is not None:
        assert AUTO.read(data, headers)[1] == name
        assert equal(AUTO.choose(data, headers).decode(data, headers), value)
        assert AUTO.choose(data, headers).name == name


@quick
@given(st.dictionaries(TEXT, plain_values(), max_size=3) | st.lists(plain_values(), max_size=3))
def test_objects_and_lists_are_read_as_they_were_written(value: Any) -> None:
    for name in ("json", "msgpack", "gzip+json", "zstd+cbor", "gzip+msgpack"):
        data = decoder_of(name).encode(value, {})
        found, used = AUTO.read(data, {})
        if used == name:
            assert equal(found, value)
        else:  # a few short lists are the same in MessagePack and CBOR
            assert name == "zstd+cbor"
            assert type(value) is list or not value


@quick
@given(
    st.binary(max_size=40),
    st.dictionaries(
        st.sampled_from(["content-type", "content-encoding", "ce-id", "ce-type", "Ce-Specversion"]),
        st.sampled_from(["application/json", "text/plain; charset=utf-16", "a/b", "gzip", "zstd"])
        | TEXT,
    ),
)
def test_any_bytes_and_headers_have_a_result(data: bytes, headers: dict[str, str]) -> None:
    what_it_says(AUTO, data, headers)
    decodes_or_says_why(AUTO, data)


def test_many_content_types_are_kept_in_bounded_memory() -> None:
    auto = Auto()
    for number in range(2500):
        assert auto.decode(b"{}", {"content-type": f"application/x{number}"}) == {}
    assert len(auto._said) <= 1000


def test_an_edited_value_is_encoded_as_the_message_was() -> None:
    data = gzip.compress(msgpack.packb({"id": b"\x01", "n": 1}))
    edited = AUTO.edit(data, {"id": "AQ==", "n": 2}, {})
    assert gzip.decompress(edited) == msgpack.packb({"id": b"\x01", "n": 2})
    assert AUTO.edit(b"text", "other", {}) == b"other"
    assert AUTO.encode(7, {"content-type": "application/msgpack"}) == b"\x07"
    with pytest.raises(CannotEncodeError, match="without a content-type only the bytes"):
        AUTO.encode({}, {})


def test_cloudevents_have_data_of_any_kind_and_attributes_that_are_headers() -> None:
    decoder = CloudEvents("msgpack")
    data = msgpack.packb({"id": b"\x01", "n": 1})
    value: Any = decoder.decode(data, CE)
    assert value["data"] == {"id": "AQ==", "n": 1}
    assert value["source"] == "/mycontext/subcontext"
    edited = decoder.edit(data, value | {"data": {"id": "AQ==", "n": 2}}, CE)
    assert edited == msgpack.packb({"id": b"\x01", "n": 2})
    assert decoder.encode(value | {"data": 5}, CE) == b"\x05"
    assert decoder.encode({name: value[name] for name in value if name != "data"}, CE) == b""
    with pytest.raises(CannotEncodeError, match=r"its attributes are headers, .*: edit ce-type$"):
        decoder.edit(data, value | {"type": "other"}, CE)
    with pytest.raises(CannotEncodeError, match="no object with the attributes"):
        decoder.encode([], CE)

    # what is in no binary mode
    structured = {"content-type": "application/cloudevents+json"}
    assert decoder.decode(b'{"a": 1}', structured) == {"a": 1}
    assert decoder.edit(b'{"a": 1}', {"a": 2}, structured) == b'{"a": 2}'
    assert decoder.encode({"a": 2}, structured) == b'{"a": 2}'
    assert decoder.read(b"\x07", {}) == (7, "msgpack")
    assert CloudEvents(Text()).read(b"hello", CE)[1] == "cloudevents+text"
