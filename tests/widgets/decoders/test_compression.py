"""gzip and zstd: what is inside, and what is larger than it may be."""

from __future__ import annotations

import gzip
import os
import tracemalloc
import zlib
from collections.abc import Callable

import msgpack
import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st
from varco_nats_widgets.decoders import Auto, Gzip, Json, Text, Zstd
from varco_nats_widgets.decoders._decoder import Format

from tests.widgets.decoders.helpers import (
    decodes_or_says_why,
    equal,
    plain_values,
    quick,
    what_it_says,
)
from varco_nats.errors import CannotDecodeError, CannotEncodeError

COMPRESS: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "zstd": zstd.compress}
KINDS: dict[str, type[Gzip | Zstd]] = {"gzip": Gzip, "zstd": Zstd}
JSON = b'{"a": [1, 2, 3]}'


def gzip_bomb(size: int) -> bytes:
    """`size` zero bytes, made in little memory."""
    compressor = zlib.compressobj(1, wbits=31)
    block = bytes(2**20)
    return b"".join(
        [*(compressor.compress(block) for _ in range(size // 2**20)), compressor.flush()]
    )


def zstd_bomb(size: int) -> bytes:
    """`size` zero bytes: each block of three bytes says that a byte comes 128 kB times."""
    block = 2**17
    head = b"\x28\xb5\x2f\xfd" + b"\xc0\x38" + size.to_bytes(8, "little")
    blocks = size // block
    repeated = (block << 3 | 1 << 1).to_bytes(3, "little") + b"\0"
    last = (block << 3 | 1 << 1 | 1).to_bytes(3, "little") + b"\0"
    return head + repeated * (blocks - 1) + last


@pytest.mark.parametrize("name", COMPRESS)
def test_what_is_inside_is_decoded_by_another(name: str) -> None:
    data = COMPRESS[name](JSON)
    assert KINDS[name]().read(data, {}) == ({"a": [1, 2, 3]}, f"{name}+json")
    assert KINDS[name]("text").read(data, {}) == (JSON.decode(), f"{name}+text")
    assert KINDS[name](Json()).name == f"{name}+json"
    twice = KINDS[name](Gzip("msgpack"))
    data = COMPRESS[name](gzip.compress(msgpack.packb({"a": 1})))
    assert twice.read(data, {}) == ({"a": 1}, f"{name}+gzip+msgpack")


@pytest.mark.parametrize("name", COMPRESS)
@quick
@given(value=plain_values())
def test_a_value_is_read_as_it_was_written(name: str, value: object) -> None:
    decoder = KINDS[name]("msgpack")
    assert equal(decoder.decode(decoder.encode(value, {}), {}), value)


@pytest.mark.parametrize("name", COMPRESS)
def test_an_edited_value_keeps_the_kinds_inside(name: str) -> None:
    data = COMPRESS[name](msgpack.packb({"id": b"\x01", "n": 1}))
    edited = KINDS[name]("msgpack").edit(data, {"id": "AQ==", "n": 2}, {})
    opened = gzip.decompress(edited) if name == "gzip" else zstd.decompress(edited)
    assert opened == msgpack.packb({"id": b"\x01", "n": 2})
    with pytest.raises(CannotEncodeError, match="it is a function, which only decodes"):
        KINDS[name](lambda data, headers: 1).edit(data, 2, {})


@pytest.mark.parametrize(
    ("decoder", "name", "data"),
    [
        (Gzip("text"), "gzip", gzip_bomb(2**28)),
        (Auto(), "gzip", gzip_bomb(2**28)),
        (Zstd("text"), "zstd", zstd_bomb(10 * 2**30)),
        (Auto(), "zstd", zstd_bomb(10 * 2**30)),
    ],
    ids=["gzip", "auto-gzip", "zstd", "auto-zstd"],
)
def test_a_bomb_is_opened_to_the_limit_at_most(decoder: Format, name: str, data: bytes) -> None:
    assert len(data) < 2**21
    tracemalloc.start()
    try:
        problem = what_it_says(decoder, data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert problem == (
        f"error: {name}: opens to more than the limit of 67,108,864 bytes; "
        f"{name.capitalize()}(limit=...) sets another"
    )
    assert peak < 200 * 2**20


@pytest.mark.parametrize("name", COMPRESS)
def test_the_limit_is_exact(name: str) -> None:
    decoder = KINDS[name]("text", limit=1000)
    assert decoder.decode(COMPRESS[name](b"a" * 1000), {}) == "a" * 1000
    assert "more than the limit of 1,000 bytes" in what_it_says(
        decoder, COMPRESS[name](b"a" * 1001)
    )
    halves = COMPRESS[name](b"a" * 500) * 2
    assert decoder.decode(halves, {}) == "a" * 1000
    assert "more than the limit" in what_it_says(decoder, COMPRESS[name](b"a" * 500) * 3)


@pytest.mark.parametrize("name", COMPRESS)
def test_what_is_broken_says_how(name: str) -> None:
    data = COMPRESS[name](os.urandom(1000))
    text = KINDS[name](Text("latin-1"))
    assert what_it_says(text, data[:-9]) == f"error: {name}: the end is missing"
    assert what_it_says(text, b"") == f"error: {name}: the end is missing"
    assert what_it_says(text, b"{}").startswith(f"error: not {name}: ")
    assert what_it_says(text, data + b"more").startswith(f"error: not {name}: ")
    assert len(text.decode(data + b"\0\0\0", {})) == 1000  # type: ignore[arg-type]
    many = COMPRESS[name](b"") * 10_000
    assert what_it_says(text, many) == f"error: {name}: more than 100 parts"


@quick
@given(data=st.binary(max_size=60), at=st.integers(0, 60), name=st.sampled_from([*COMPRESS]))
def test_any_bytes_are_a_value_or_a_reason(data: bytes, at: int, name: str) -> None:
    packed = COMPRESS[name](b"some text, some text, some text" + data)
    for broken in (data, packed[:at], packed[:at] + data[:2] + packed[at + 1 :]):
        decodes_or_says_why(KINDS[name]("text"), broken)


def test_a_gzip_that_opens_to_itself_has_an_end() -> None:
    data = gzip.compress(gzip.compress(gzip.compress(gzip.compress(gzip.compress(b"{}")))))
    with pytest.raises(CannotDecodeError, match="compressed more than 4 times"):
        Auto().decode(data, {})
    assert Auto().read(gzip.decompress(data), {}) == ({}, "gzip+gzip+gzip+gzip+json")
