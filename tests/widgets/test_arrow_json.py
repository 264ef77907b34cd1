"""Frames made by Arrow are those of the events decoded one by one."""

from __future__ import annotations

import json
import threading
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from varco_nats_widgets.frames import FrameBuilder, _arrow_json, _frames
from varco_nats_widgets.frames._arrow_json import PlainReader
from varco_nats_widgets.frames._decoding import Decoding

from tests.hostile import PAYLOADS
from varco_nats.history import StoredMessage


class Exactly(Decoding):
    """Has every event decoded by itself."""

    is_plain = False


@pytest.fixture(autouse=True)
def taken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows of the blocks that Arrow has read; blocks of a few rows are enough for it."""
    rows: list[int] = []
    block = PlainReader.block

    def counted(*arguments: Any) -> Any:
        columns = block(*arguments)
        if columns is not None:
            rows.append(len(columns.times))
        return columns

    monkeypatch.setattr(PlainReader, "block", counted)
    monkeypatch.setattr(_frames, "_FEW", 1)
    monkeypatch.setattr(_arrow_json, "LEAST", 3)
    monkeypatch.setattr(_arrow_json, "_ROWS_OF_TYPE", 1)
    monkeypatch.setattr(_arrow_json, "_PATIENCE", 10**6)
    return rows


def made(payloads: list[bytes], decoding: Decoding, limit: int | None, **options: Any) -> Any:
    """The frame, how many messages were left out, and the fields as they came."""
    builder = FrameBuilder(decoding, **options)
    builder.add(
        [
            StoredMessage(subject="x", data=data, headers=None, seq=seq, time_ns=seq)
            for seq, data in enumerate(payloads, 1)
        ],
        limit,
    )
    frame = builder.build()
    return frame, builder.filtered, {name: list(v) for name, v in builder.fields().items()}


def assert_same(payloads: list[bytes], limit: int | None = None, **options: Any) -> None:
    fast, *facts = made(payloads, Decoding(str), limit, **options)
    exact, *wanted = made(payloads, Exactly(str), limit, **options)
    pd.testing.assert_frame_equal(fast, exact, check_exact=True)
    for name in fast.columns:  # 1 and 1.0 and True are equal, but not the same
        if fast[name].dtype == object:
            assert list(map(spelled, fast[name])) == list(map(spelled, exact[name])), name
    assert spelled(facts) == spelled(wanted)


def spelled(value: object) -> str:
    return repr(value)


# What a program of somebody else writes, as JSON text


OWN = ["event_id", "timestamp", "__event_type__", "specversion", "type", "id", "data", "more"]
ODD = ["a.b", "seq", "data.seq", "", "\x00", "\ud800"]
NAMES = st.sampled_from([*"abcdefgh", "total", "é", "null", "x" * 40]) | st.sampled_from(OWN + ODD)
INTEGERS = st.one_of(
    st.integers(-9, 9),
    st.integers(),
    st.sampled_from([2**53, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 10**25]),
).map(str) | st.just("-0")
FLOATS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.floats(-1e6, 1e6).map(lambda value: f"{value:.2f}"),
    st.decimals(allow_nan=False, allow_infinity=False)
    .map(lambda v: f"{v:e}")
    .filter(lambda text: abs(int(text.split("e")[1])) < 300),
    st.sampled_from(["0.0", "-0.0", "1.0", "1e5", "1E+2", "5e-324", "1e-400", "0.1", "1e22"]),
)
ODD_NUMBERS = st.sampled_from(["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1.", "01", "+1"])
ODD_TIMES = [
    *("", "2026", "0000", "nan", "NaT", "2026-01-01T10", "2026-01-01T10Z", "20260101T10Z"),
    *("2026-01-01T10:00:00.1234567Z", "2026-01-01T10:00:00.1Z", "2026-01-01T10:00:00,5Z"),
    *("2026-01-01T24:00:00Z", "2026-01-01T10:00:60Z", "2026-01-01t10:00:00z", "2026-01-01T10:00Z"),
    *("2026-01-01T10:00:00+0200", "2026-01-01T10:00:00+02", "2026-01-01T00:00:00+99:99"),
    *("2026-02-30T00:00:00Z", "-2026-01-01T00:00:00Z", " 2026-01-01T10:00:00Z"),
    *("0000-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-01:00"),
]
TIMES = st.one_of(
    st.datetimes().map(lambda t: f"{t.isoformat()}Z"),
    st.datetimes().map(lambda t: f"{t.isoformat(sep=' ')}+02:00"),
    st.datetimes().map(lambda t: f"{t.isoformat()}-11:30"),
    st.dates().map(str),
    st.sampled_from(ODD_TIMES),
)
TEXTS = st.one_of(
    st.text(max_size=8).map(json.dumps),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8).map(
        lambda text: json.dumps(text, ensure_ascii=False)
    ),
    TIMES.map(json.dumps),
    st.sampled_from(['"\\ud83d\\ude00"', '"\\ud83d"', '"}\\n{"', '"\\/"', '"null"', '"\\u0000"']),
)
PLAIN_TIMES = st.datetimes().map(lambda t: json.dumps(f"{t.isoformat()}Z"))
BOOLEANS = st.sampled_from(["true", "false"])
SCALARS = st.sampled_from([INTEGERS, FLOATS, TEXTS, TEXTS, BOOLEANS, INTEGERS | FLOATS])


def listed(items: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(items, max_size=3).map(lambda texts: f"[{', '.join(texts)}]")


def kinds(depth: int) -> st.SearchStrategy[Any]:
    """Strategies of values that belong into one column: of one kind, most of the time."""
    if depth == 0:
        return SCALARS
    inner = kinds(depth - 1)
    return st.one_of(
        SCALARS,
        SCALARS,
        SCALARS.map(listed),
        layouts(inner).map(objects),
        layouts(inner).map(objects).map(listed),
    )


ODD_VALUES = st.one_of(ODD_NUMBERS, TEXTS, INTEGERS, BOOLEANS, st.sampled_from(["{}", "[]"]))


def layouts(kind: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(NAMES, kind, min_size=1, max_size=4)


@st.composite
def objects_of(draw: st.DrawFn, layout: dict[str, Any]) -> str:
    """An object of this layout; now and then a field is missing, null, elsewhere or twice."""
    fields = []
    for name, values in layout.items():
        chance = draw(st.integers(0, 15))
        if chance == 1:
            continue
        odd = chance == 5 and draw(st.integers(0, 9)) == 0
        value = "null" if chance == 2 else draw(ODD_VALUES if odd else values)
        key = json.dumps(name, ensure_ascii="\ud800" in name or chance == 3)
        fields.append(f"{key}:{' ' if chance > 9 else ''}{value}")
        if chance == 4 and draw(st.integers(0, 29)) == 0:
            fields.append(f"{key}: null")
    if len(fields) > 1 and draw(st.integers(0, 9)) == 0:
        fields.reverse()
    return f"{{{', '.join(fields)}}}"


def objects(layout: dict[str, Any]) -> st.SearchStrategy[str]:
    return objects_of(layout)


ODD_PAYLOADS = st.sampled_from(
    [
        *(b"", b"{", b"}", b"[1]", b'"x"', b"null", b'{"a":{}', b',"b":{}}', b'{"a":[{}', b"{}]}"),
        *(b'{"a":1}{"a":2}', b'{"a":1}\n{"a":2}', b"{}\n", b' {"a": 1}', b'{"a":\n1}', b'{"a":1}}'),
        *(b'{"a":1}\x00}', b'\xef\xbb\xbf{"a":1}', b'{"a":"\xff"}', b'{"a":1,}', b"{1:2}"),
    ]
)


@st.composite
def channels(draw: st.DrawFn) -> list[bytes]:
    """What a channel holds: events of a few types, of one layout for each, and a few odd ones."""
    types = draw(st.lists(layouts(kinds(2)), min_size=1, max_size=3))
    own = draw(st.booleans())
    shapes = []
    for number, layout in enumerate(types):
        head = {
            "__event_type__": st.just(f'"type{number}"'),
            "event_id": TEXTS,
            "timestamp": PLAIN_TIMES if draw(st.integers(0, 3)) else TIMES.map(json.dumps),
        }
        shapes.append(objects(head | layout if own else layout))
    payloads: list[bytes] = []
    for _ in range(draw(st.integers(1, 40))):
        if draw(st.integers(0, 99)) == 0:
            payloads.append(draw(ODD_PAYLOADS))
        else:
            text = draw(draw(st.sampled_from(shapes)))
            payloads.append(text.encode(errors="surrogatepass"))
    return payloads


LENIENT = settings(
    max_examples=25,
    database=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],  # to make a failure smaller takes minutes
    suppress_health_check=[*HealthCheck],
)


@LENIENT
@given(channels(), st.sampled_from([{}, {}, {"prefix": "data."}, {"headers": True}]))
def test_any_channel_is_the_same_frame_both_ways(
    payloads: list[bytes], options: dict[str, Any]
) -> None:
    assert_same(payloads, **options)


@LENIENT
@given(
    channels(),
    st.integers(1, 9),
    st.sets(st.sampled_from(["type0", "type1", "no"]), min_size=1),
)
def test_any_channel_is_the_same_with_types_and_a_limit(
    payloads: list[bytes], limit: int, event_types: set[str]
) -> None:
    assert_same(payloads, limit, event_types=event_types)


def test_any_payload_among_others(taken: list[int]) -> None:
    plain = [json.dumps({"a": number, "b": {"c": str(number)}}).encode() for number in range(9)]
    for data in PAYLOADS.values():
        assert_same([*plain, data, *plain])
    assert sum(taken) > 5 * len(PAYLOADS)


EVENT = {"__event_type__": "t", "event_id": "1", "timestamp": "2026-01-01T10:00:00Z"}
PLAIN: dict[str, list[dict[str, Any]]] = {
    "flat": [EVENT | {"n": n, "x": n + 0.5, "ok": n > 3, "text": f"é{n}"} for n in range(20)],
    "nested": [{"a": {"b": {"c": n, "d": None}, "e": "x"}, "f": n} for n in range(20)],
    "null and missing": [({"a": None} if n % 2 else {}) | {"b": n} for n in range(20)],
    "an object or null": [{"a": {"b": n} if n % 2 else None} for n in range(20)],
    "an object or none": [EVENT | ({"a": {"b": n}} if n % 2 else {}) for n in range(20)],
    "whole floats": [{"x": float(n)} for n in range(20)],
    "numbers as JavaScript writes them": [{"x": n if n % 3 else n + 0.5} for n in range(20)],
    "numbers in objects": [
        {"a": {"x": n / 2 if n % 2 else n, "b": {"y": float(n)}} if n % 4 < 3 else None, "z": n / 4}
        for n in range(40)
    ],
    "integers beyond 64 bits": [{"x": 2**63 + n} for n in range(20)],
    "lists": [{"x": [n, 0.5], "lines": [{"sku": "a", "n": n}, {"sku": "b"}]} for n in range(20)],
    "times as numbers": [{"timestamp": 1_767_225_600 + n} for n in range(20)],
    "our columns": [{"seq": n, "channel": "x", "raw": None} for n in range(20)],
    "many types": [
        EVENT | {"__event_type__": f"t{n % 3}", f"f{n % 3}": n, "x": n if n % 3 else str(n)}
        for n in range(30)
    ],
}


@pytest.mark.parametrize("name", PLAIN)
def test_plain_events_are_read_by_arrow(name: str, taken: list[int]) -> None:
    events = PLAIN[name]
    assert_same([json.dumps(event).encode() for event in events])
    assert sum(taken) >= len(events) - 9, "the rest had to be learned from"


def test_a_frame_that_is_made_leaves_no_thread(taken: list[int]) -> None:
    builder = FrameBuilder(str)
    messages = [StoredMessage(n, "orders", n, b'{"a": %d}' % n, None) for n in range(1, 5001)]
    for start in range(0, len(messages), 1000):
        builder.add(messages[start : start + 1000])
    own = {thread.name for thread in threading.enumerate() if "varco-nats-columns" in thread.name}
    assert builder.build()["a"].tolist() == [*range(1, 5001)]
    assert taken
    assert own
    assert not [t for t in threading.enumerate() if t.name in own]


@pytest.mark.parametrize("late", [{"a": None}, {"a": {}}, {"a": {"b": {}}}, {"c": None}])
def test_what_needs_a_column_of_its_own_gets_it(late: dict[str, Any]) -> None:
    plain = [json.dumps({"a": {"b": {"c": number}}, "d": 1}).encode() for number in range(9)]
    assert_same([*plain, json.dumps(late | {"d": None}).encode(), *plain])


@pytest.mark.parametrize("name", ['"', "\\", "\n", "a.b", ""])
def test_numbers_may_have_any_name(name: str) -> None:
    events = [{"a": {name: n if n % 3 else n / 2}, name: float(n)} for n in range(20)]
    assert_same([json.dumps(event).encode() for event in events])


def test_an_odd_event_costs_only_the_rows_around_it(taken: list[int]) -> None:
    payloads = [b'{"a": %d}' % number for number in range(200)]
    payloads[40] = b'{"a": "text"}'
    assert_same(payloads)
    assert sum(taken) > 150


def test_no_more_attempts_for_a_while_where_none_succeeds(
    monkeypatch: pytest.MonkeyPatch, taken: list[int]
) -> None:
    monkeypatch.setattr(_arrow_json, "_PATIENCE", 3)
    attempts: list[int] = []
    start = PlainReader.start

    def counted(reader: PlainReader, payloads: list[bytes]) -> Any:
        attempts.append(len(payloads))
        return start(reader, payloads)

    monkeypatch.setattr(PlainReader, "start", counted)
    odd = [b'{"a": %d}' % n if n % 3 else b'{"a": %d, "b%d": 1}' % (n, n) for n in range(120)]
    assert_same(odd)
    assert sum(attempts) < 30
    assert not taken
