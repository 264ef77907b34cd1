"""Events as JSON: faster than varco-core's serializer, and never another result."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from varco_core.event.base import Event
from varco_core.event.serializer import JsonEventSerializer

from varco_nats._json import FastJsonEventSerializer

EXACT, FAST = JsonEventSerializer(), FastJsonEventSerializer()


class Anything(Event):
    __event_type__ = "test_json.anything"

    value: Any = None


def outcome(call: Any, *arguments: Any) -> Any:
    try:
        return repr(call(*arguments))
    except Exception as error:
        return type(error), str(error)


AWKWARD = [
    *(0, -1, 2**53 + 1, 2**64, 10**30, True, None),
    *(-0.0, 0.1 + 0.2, 1e16, 5e-324, 1.7976931348623157e308),
    *(float("nan"), float("inf"), -float("inf")),
    *("", 'é\u2028\x00"\\', "\ud800", "😀", b"bytes", b"\xff"),
    *([], (1, 2), {3}, {}, {1: 2, None: 4, 1.5: 6}, {"__event_type__": "other"}),
    object(),
]


@pytest.mark.parametrize("value", AWKWARD)
def test_writes_the_text_that_varco_core_writes(value: object) -> None:
    event = Anything(value=value)
    assert outcome(FAST.serialize, event) == outcome(EXACT.serialize, event)


def test_writes_no_zero_in_an_exponent() -> None:
    assert b"1e-7" in FAST.serialize(Anything(value=1e-7))
    assert b"1e-07" in EXACT.serialize(Anything(value=1e-7))


@pytest.mark.parametrize(
    "text",
    [
        *(b"", b"null", b"[]", b"{}", b"\xff", b"\xef\xbb\xbf{}", b"{}x", b'{"__event_type__":3}'),
        *(b'{"__event_type__":[]}', b'{"__event_type__":"nobody\'s"}'),
    ],
    ids=repr,
)
def test_refuses_what_varco_core_refuses_in_its_words(text: bytes) -> None:
    assert outcome(FAST.deserialize, text) == outcome(EXACT.deserialize, text)


@pytest.mark.parametrize(
    "value",
    [
        *("NaN", "-Infinity", "nan", "1e999", "-0", "01", "0.1e1", "1.", "1,", '1, "value": 2'),
        *("123456789012345678901234567890", "9" * 5000, "123456789012345678901234567890.5"),
        *('"\\ud800"', '"\\udc00\\ud800"', '"\\ud83d\\ude00"', '"a\tb"', '"\\q"', "[" * 500),
        "[" * 500 + "]" * 500,
        '1, "event_id": 5',
    ],
    ids=lambda value: value[:20],
)
def test_reads_what_varco_core_reads(value: str) -> None:
    text = b'{"__event_type__": "test_json.anything", "value": %b}' % value.encode()

    def read(serializer: JsonEventSerializer) -> object:
        return serializer.deserialize(text).value  # type: ignore[attr-defined]

    assert outcome(read, FAST) == outcome(read, EXACT)


def test_random_events_are_the_same_both_ways() -> None:
    r = Random(7)

    def anything(depth: int = 0) -> object:
        kind = r.randrange(4 if depth > 4 else 6)
        if kind == 4:
            return [anything(depth + 1) for _ in range(r.randrange(4))]
        if kind == 5:
            return {
                "".join(r.choices("aé\x00\u2028", k=3)): anything(depth + 1)
                for _ in range(r.randrange(4))
            }
        text = "".join(map(chr, r.choices(range(0xD800), k=r.randrange(9))))
        number = r.uniform(-1, 1) * 10 ** r.randrange(300)
        return (r.randrange(-(2**70), 2**70), number, text, None)[kind]

    for _ in range(2000):
        event = Anything(value=anything())
        assert EXACT.deserialize(FAST.serialize(event)) == event
        assert FAST.deserialize(EXACT.serialize(event)) == event
