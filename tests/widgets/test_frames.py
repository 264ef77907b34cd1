from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from nats.aio.client import Client
from nats.js.api import StreamConfig
from varco_core.event.cloudevents import CloudEventsJsonSerializer, CloudEventsSettings
from varco_nats_widgets import Lab
from varco_nats_widgets.frames import (
    COLUMNS,
    MAX_FIELDS,
    FrameBuilder,
    _frames,
    column_of,
    decode,
    flatten,
)
from varco_nats_widgets.frames._columns import ColumnBuilder, clean
from varco_nats_widgets.frames._known_headers import header_meaning

from tests.events import OrderPlaced
from varco_nats.config import NatsEventBusSettings
from varco_nats.history import StoredMessage

T0 = 1_767_225_600_123_456_789  # 2026-01-01 00:00:00.123456789 UTC


def build(*payloads: object, **options: Any) -> pd.DataFrame:
    """A frame of these payloads, bytes as they are and all else as JSON."""
    builder = FrameBuilder(lambda subject: subject.removeprefix("varco."), **options)
    builder.add(
        StoredMessage(
            seq=number,
            subject="varco.orders",
            time_ns=T0 + number,
            data=payload if isinstance(payload, bytes) else json.dumps(payload).encode(),
            headers=None,
        )
        for number, payload in enumerate(payloads, start=1)
    )
    return builder.build()


def event(**fields: object) -> dict[str, object]:
    return {
        "__event_type__": "OrderPlaced",
        "event_id": "3fa85f64-5717-4562-b3fc-2c963f66afa6",
        "timestamp": "2026-01-01T10:00:00.5+02:00",
        **fields,
    }


def test_columns_of_an_event() -> None:
    frame = build(event(b=1, a={"y": "x", "z": {"q": True}}), event(c=2.5))
    assert list(frame.columns) == [*COLUMNS, "b", "a.y", "a.z.q", "c"]
    assert frame.index.name == "seq"
    assert frame.index.tolist() == [1, 2]
    row = frame.loc[1]
    assert row["stored_at"] == pd.Timestamp(T0 + 1, tz="UTC")
    assert row["timestamp"] == pd.Timestamp("2026-01-01 08:00:00.5", tz="UTC")
    assert row["channel"] == "orders"
    assert row["event_type"] == "OrderPlaced"
    assert row["event_id"] == "3fa85f64-5717-4562-b3fc-2c963f66afa6"
    assert (row["b"], row["a.y"], row["a.z.q"]) == (1, "x", True)
    assert str(frame["stored_at"].dt.tz) == str(frame["timestamp"].dt.tz) == "UTC"


def test_no_events() -> None:
    frame = build()
    assert list(frame.columns) == list(COLUMNS)
    assert len(frame) == 0
    assert frame.index.name == "seq"
    assert str(frame["stored_at"].dtype) == "datetime64[ns, UTC]"
    assert str(frame["timestamp"].dtype) == "datetime64[us, UTC]"
    assert frame.index.dtype == np.int64


@pytest.mark.parametrize(
    ("values", "dtype", "wanted"),
    [
        ([1, 2], "int64", [1, 2]),
        ([1, None], "Int64", [1, pd.NA]),
        ([2**53 + 1, None], "Int64", [2**53 + 1, pd.NA]),
        ([2**63 - 1, -(2**63)], "int64", [2**63 - 1, -(2**63)]),
        ([2**63, 1], "object", [2**63, 1]),
        ([10**40, None], "object", [10**40, None]),
        ([1.5, 2], "float64", [1.5, 2.0]),
        ([1.5, None], "float64", [1.5, np.nan]),
        ([1.5, 2**53 + 1], "object", [1.5, 2**53 + 1]),
        ([float("nan"), float("inf")], "float64", [np.nan, np.inf]),
        ([True, False], "bool", [True, False]),
        ([True, None], "boolean", [True, pd.NA]),
        ([True, 1], "object", [True, 1]),
        (["a", "b"], "str", ["a", "b"]),
        (["a", None], "str", ["a", np.nan]),
        (["", "Grüße 🚲\x00"], "str", ["", "Grüße 🚲\x00"]),
        (["a", 1], "object", ["a", 1]),
        ([[1, 2], [3, 4]], "object", [[1, 2], [3, 4]]),
        ([[1], "a"], "object", [[1], "a"]),
        ([[{"a": 1}], None], "object", [[{"a": 1}], None]),
        ([{}, None], "object", [{}, None]),
        ([None, None], "object", [None, None]),
        (["\ud800", "a"], "str", ["\\ud800", "a"]),
        (["<script>alert(1)</script>", "=cmd()"], "str", ["<script>alert(1)</script>", "=cmd()"]),
    ],
)
def test_awkward_values_are_kept_exactly(
    values: list[object], dtype: str, wanted: list[object]
) -> None:
    frame = build(*(event(value=value) for value in values))
    column = frame["value"]
    assert str(column.dtype) == dtype
    for found, want in zip(column.tolist(), wanted, strict=True):
        if isinstance(want, list | dict) or want is None:
            assert found == want
        elif pd.isna(want):  # type: ignore[call-overload]
            assert pd.isna(found)
        else:
            assert found == want
            assert type(found) is type(want)


@pytest.mark.parametrize(
    ("payload", "problem"),
    [
        (b"", "empty payload"),
        (b"hello", "not JSON: Expecting value at 0"),
        (b'{"a": 1', "not JSON: Expecting ',' delimiter at 7"),
        (b"\xff\xfe\x00", "not UTF-8: byte 0xff at 0"),
        ('{"a": "é"}'.encode("latin-1"), "not UTF-8: byte 0xe9 at 7"),
        ('{"a": 1}'.encode("utf-16"), "not UTF-8: byte 0xff at 0"),
        (b"[" * 100_000, "not readable: nested too deep"),
        (b'{"n": ' + b"1" * 5000 + b"}", "not readable: Exceeds the limit"),
    ],
)
def test_a_row_that_cannot_be_decoded_stays(payload: bytes, problem: str) -> None:
    frame = build(event(a=1), payload, event(a=3))
    assert list(frame.columns) == [*COLUMNS, "a", "decode_error", "raw"]
    assert frame["decode_error"][2].startswith(problem)
    assert frame["raw"].tolist() == [None, payload, None]
    assert frame["a"].tolist() == [1, pd.NA, 3]
    assert frame["decode_error"].isna().tolist() == [True, False, True]
    assert frame["channel"][2] == "orders"
    assert build(payload)["raw"].tolist() == [payload]


@pytest.mark.parametrize("value", [[1, {"a": 2}], "text", "", 7, 7.5, True])
@pytest.mark.parametrize("beside", [b'{"a": 1}', b"not JSON", b"2"])
def test_json_that_is_no_object_is_a_value(value: object, beside: bytes) -> None:
    payload = json.dumps(value).encode()
    frame = build(beside, payload)
    assert frame["value"].tolist()[1] == value
    assert "decode_error" not in frame or pd.isna(frame["decode_error"][2])
    assert build(payload)["value"].tolist() == [value]
    assert list(build(b"null").columns) == [*COLUMNS, "value"]


def test_names_that_are_taken() -> None:
    taken = {"seq": 1, "channel": "c", "event_type": "t", "stored_at": 2, "raw": 3, "data.raw": 4}
    frame = build(event(**taken, decode_error=5))
    row = frame.loc[1]
    assert row["channel"] == "orders"
    assert row["event_type"] == "OrderPlaced"
    assert [row[f"data.{name}"] for name in ("seq", "channel", "event_type", "stored_at")] == [
        1, "c", "t", 2,
    ]  # fmt: skip
    assert (row["data.raw"], row["data.data.raw"], row["data.decode_error"]) == (3, 4, 5)
    assert frame.reset_index().columns.is_unique


def test_a_flattened_name_meets_a_literal_one() -> None:
    frame = build(event(**{"a": {"b": 1}, "a.b": 2}))
    assert (frame["a.b"][1], frame["data.a.b"][1]) == (1, 2)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("event_id", 7),
        ("event_id", {"a": 1}),
        ("timestamp", 1_767_225_600),
        ("timestamp", "yesterday"),
        ("timestamp", "now"),
        ("timestamp", None),
        ("__event_type__", 7),
    ],
)
def test_event_fields_of_another_kind_are_payload(name: str, value: object) -> None:
    frame = build(event(), event(**{name: value}))
    column = {"__event_type__": "event_type"}.get(name, name)
    assert pd.isna(frame[column][2])
    assert not pd.isna(frame[column][1])
    if name == "__event_type__":
        assert frame[name][2] == 7
    elif value == {"a": 1}:
        assert frame["event_id.a"][2] == 1
    elif value is not None:
        assert frame[f"data.{name}"][2] == value


def test_times_of_all_kinds() -> None:
    times = ["2026-01-01T00:00:00Z", "2026-01-01", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"]
    frame = build(*({"timestamp": text} for text in times))
    assert frame["timestamp"].notna().all()
    assert frame["timestamp"][4].year == 9999
    assert "data.timestamp" not in frame


def test_missing_fields_and_mixed_event_types() -> None:
    frame = build(event(a=1), {"b": "x"}, event(), {"a": 4, "c": [1]})
    assert frame["a"].tolist() == [1, pd.NA, pd.NA, 4]
    assert frame["b"].isna().tolist() == [True, False, True, True]
    assert frame["c"].tolist() == [None, None, None, [1]]
    assert frame["event_type"].isna().tolist() == [False, True, False, True]
    assert list(frame.columns) == [*COLUMNS, "a", "b", "c"]


def test_event_types_are_filtered() -> None:
    builder = FrameBuilder(str, {"OrderPlaced"})
    payloads = [event(a=1), {"__event_type__": "Other"}, b"broken", {"a": 2}]
    builder.add(
        StoredMessage(n, "s", T0, p if isinstance(p, bytes) else json.dumps(p).encode(), None)
        for n, p in enumerate(payloads, 1)
    )
    assert builder.build().index.tolist() == [1]
    assert builder.filtered == 3


def test_fields_without_end_do_not_make_columns_without_end() -> None:
    frame = build(*(event(**{f"f{number}": number}) for number in range(MAX_FIELDS + 5)))
    assert len(frame.columns) == len(COLUMNS) + MAX_FIELDS + 1
    assert frame["data.more"].tolist()[-1] == {f"f{MAX_FIELDS + 4}": MAX_FIELDS + 4}
    assert frame["f3"].notna().sum() == 1


def test_no_field_is_called_as_the_column_of_what_has_no_room() -> None:
    wide = {f"f{n}": n for n in range(MAX_FIELDS + 1)}
    frame = build({"data.more": 1, "more": 2}, wide, {"data": {"more": 3}})
    assert frame["data.data.more"].tolist() == [1, pd.NA, 3]
    assert frame["more"].tolist() == [2, pd.NA, pd.NA]
    last = {f"f{n}": n for n in (MAX_FIELDS - 2, MAX_FIELDS - 1, MAX_FIELDS)}
    assert frame["data.more"].tolist() == [None, last, None]
    prefixed = FrameBuilder(str, prefix="data.")
    messages = [json.dumps(each).encode() for each in ({"more": "own"}, wide)]
    prefixed.add(StoredMessage(n, "s", T0, data, None) for n, data in enumerate(messages, 1))
    frame = prefixed.build()
    assert frame["data.data.more"].dropna().tolist() == ["own"]
    last = {f"data.f{n}": n for n in (MAX_FIELDS - 1, MAX_FIELDS)}
    assert frame["data.more"].tolist() == [None, last]


def test_names_that_are_written_out_are_told_from_those_written_so() -> None:
    frame = build({"\ud800": 1, "\\ud800": 2}, {"a": {"\ud800": 3}})
    assert frame["\\ud800"].tolist() == [1, pd.NA]
    assert frame["data.\\ud800"].tolist() == [2, pd.NA]
    assert frame["a.\\ud800"].tolist() == [pd.NA, 3]


def test_nested_without_end() -> None:
    nested: dict[str, object] = {"end": 1}
    for _ in range(200):
        nested = {"n": nested}
    frame = build(event(**nested))
    (column,) = [name for name in frame.columns if name.startswith("n")]
    assert isinstance(frame[column][1], dict)


@pytest.mark.parametrize(
    "broken",
    [
        [b'{"a": 1},{"a": 2}', b""],
        [b'{"a": 1},{"b": 2}', b'{"x": [1', b"2]}"],
        [b'{"a": 1},7,{"a": 2}', b'{"x": [1', b"2]}"],
        [b'{"a": 1}],[{"a": 2}'],
        [b'{"a": "', b'"}'],
        [b"{}", b",", b"{}"],
        [b'{"a": "\xc3', b'\xa9"}'],
        [b"1", b'{"a": 7}'],
    ],
)
def test_payloads_that_would_fit_together_are_taken_apart(broken: list[bytes]) -> None:
    """However many are decoded at once, each row is what its own payload says."""
    payloads = [b'{"a": 0}', *broken, b'{"a": 9}'] * 5
    frame = build(*payloads)
    for seq, payload in enumerate(payloads, start=1):
        value, problem = decode(payload)
        event = value if isinstance(value, dict) else {}
        assert frame["a"][seq] is pd.NA or frame["a"][seq] == event["a"]
        assert ("a" in event) == (frame["a"][seq] is not pd.NA)
        if "decode_error" in frame:
            assert pd.isna(frame["decode_error"][seq]) == (problem is None)
    assert sum(decode(payload)[1] is not None for payload in payloads) == (
        frame["decode_error"].notna().sum() if "decode_error" in frame else 0
    )


_KINDS: list[Callable[[random.Random], object]] = [
    lambda r: r.randint(-5, 5),
    lambda r: r.choice([0.5, float("nan"), 2.0]),
    lambda r: None,
    lambda r: r.choice(["s", "\ud800", "é", "2026-01-01"]),
    lambda r: True,
    lambda r: r.choice([2**53 + 1, 2**63, 2**70]),
    lambda r: [1, {"q": 2}],
    lambda r: {},
    lambda r: {r.choice(["y", "z", "raw"]): r.choice([1, "t", {"w": None}])},
]


def _any_event(r: random.Random) -> dict[str, object]:
    made: dict[str, object] = {}
    if r.random() < 0.9:
        made["__event_type__"] = r.choice(["A", "A", "A", "B", 3, None])
    for name, odd in (("event_id", 7), ("timestamp", "yesterday")):
        if r.random() < 0.8:
            made[name] = r.choice(["2026-01-01T00:00:00Z"] * 9 + [odd, None])
    if r.random() < 0.6:  # most events of a channel look alike
        return {**made, "p": r.randint(0, 9), "q": {"u": "k", "v": r.choice([1, None])}, "r": 0.5}
    for name in r.choices(["x", "x.y", "raw", "channel", "data.raw", "q", "q.u"], k=4):
        made[name] = r.choice(_KINDS)(r)
    return made


@pytest.mark.parametrize("block", [7, 4096])
def test_rows_are_the_same_however_they_are_put_together(
    monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    """Against a plain reading, event by event, of channels of all kinds."""
    monkeypatch.setattr(_frames, "_BLOCK", block)
    for seed in range(150):
        r = random.Random(seed)
        events = [_any_event(r) for _ in range(r.randint(1, 40))]
        fields: dict[str, list[object]] = {}
        for row, made in enumerate(events):
            own = {
                name: value
                for name, value in made.items()
                if not (name == "__event_type__" and isinstance(value, str | None))
                and not (name == "event_id" and isinstance(value, str))
                and not (name == "timestamp" and value == "2026-01-01T00:00:00Z")
            }
            if "__event_type__" in own:  # what is of another kind comes last
                own["__event_type__"] = own.pop("__event_type__")
            if own.get("timestamp") == "yesterday":
                own["timestamp"] = own.pop("timestamp")
            for name, value in flatten(own).items():
                shown = clean(value) if isinstance(value, str) else value
                fields.setdefault(name, [None] * len(events))[row] = shown
        frame = build(*events)
        assert list(frame.columns) == [*COLUMNS, *fields], seed
        wanted = pd.DataFrame({n: column_of(v) for n, v in fields.items()}, index=frame.index)
        for name in fields:
            assert frame[name].dtype == wanted[name].dtype, (seed, name)
            assert list(map(repr, frame[name])) == list(map(repr, wanted[name])), (seed, name)


def test_can_be_built_before_it_is_complete() -> None:
    builder = FrameBuilder(str)
    one = StoredMessage(1, "s", T0, b'{"a": 1, "b": "x"}', None)
    builder.add([one])
    assert builder.build()["a"].tolist() == [1]
    builder.add([one._replace(seq=2, data=b'{"b": "y", "c": 1}')])
    frame = builder.build()
    assert len(builder) == 2
    assert frame.index.tolist() == [1, 2]
    assert frame["a"].tolist() == [1, pd.NA]
    assert frame["b"].tolist() == ["x", "y"]
    frame.loc[1, "b"] = "changed"
    frame.loc[1, ["a", "stored_at"]] = [7, frame["stored_at"].iloc[1]]
    again = builder.build()
    assert again["b"].tolist() == ["x", "y"]
    assert again["a"].tolist() == [1, pd.NA]
    assert again["stored_at"].iloc[0].value == T0


@pytest.mark.parametrize("value", [7, 0.5, True])
def test_numbers_with_gaps_and_others_among_them(value: object) -> None:
    blocks: list[list[object]] = [[value] * 3, [None, value], [], [value] * 9, [None]]
    for odd in ([], [2**70], ["text"], [[1]], [1.5, 1]):
        builder = ColumnBuilder()
        given: list[object] = []
        for block in [*blocks, odd, *blocks]:
            given += [None]  # a row that gets no value
            builder.add(len(given), block)
            given += block
        wanted = column_of(given)
        for copy in (True, False):
            assert list(builder) == given
            found = builder.finish(len(given), copy=copy)
            assert found.dtype == wanted.dtype
            assert list(map(repr, found)) == list(map(repr, wanted))


def test_a_last_frame_takes_no_memory_for_copies() -> None:
    # of Arrow's default pool each thread keeps some megabytes
    before = pa.default_memory_pool().bytes_allocated()
    builder = FrameBuilder(str)
    events = [
        json.dumps(event(number=n, half=n + 0.5, even=n % 2 == 0, text=f"text {n}")).encode()
        for n in range(20_000)
    ]
    builder.add(StoredMessage(n, "s", T0, data, None) for n, data in enumerate(events))
    frame, again = builder.build(last=True), builder.build(last=True)
    assert pa.default_memory_pool().bytes_allocated() < before + 10_000
    for name in ("stored_at", "timestamp", "number", "half", "even"):
        ours, theirs = (np.asarray(each[name].to_numpy(copy=False)) for each in (frame, again))
        assert len(ours) == 20_000
        if name in ("number", "half", "even"):
            assert np.shares_memory(ours, theirs)
    copied = builder.build()
    assert not np.shares_memory(copied["number"].to_numpy(), frame["number"].to_numpy())
    pd.testing.assert_frame_equal(copied, frame)


def test_headers() -> None:
    builder = FrameBuilder(str, headers=True)
    builder.add(
        [
            StoredMessage(1, "s", T0, b'{"headers": 1, "a": 2}', {"Trace": "<b>"}),
            StoredMessage(2, "s", T0, b"broken", None),
        ]
    )
    frame = builder.build()
    assert list(frame.columns) == [
        *COLUMNS, "headers", "data.headers", "a", "decode_error", "raw",
    ]  # fmt: skip
    assert frame["headers"].tolist() == [{"Trace": "<b>"}, None]
    assert frame["data.headers"].tolist() == [1, pd.NA]
    empty = FrameBuilder(str, headers=True).build()
    assert list(empty.columns) == [*COLUMNS, "headers"]


def test_some_headers_are_columns() -> None:
    builder = FrameBuilder(str, headers=("tenant", "Trace-Id", "none"))
    builder.add(
        [
            StoredMessage(1, "s", T0, b'{"headers": {"tenant": 1}}', {"Tenant": "a", "x": "y"}),
            StoredMessage(2, "s", T0, b'{"headers": 5}', {"tenant": "b", "TENANT": "c"}),
            StoredMessage(3, "s", T0, b"broken", None),
        ]
    )
    frame = builder.build()
    names = ["headers.tenant", "headers.Trace-Id", "headers.none"]
    assert list(frame.columns) == [
        *COLUMNS, *names, "data.headers.tenant", "data.headers", "decode_error", "raw",
    ]  # fmt: skip
    assert frame["headers.tenant"].tolist()[:2] == ["a", "b"]
    assert frame[names].isna().sum().tolist() == [1, 3, 3]
    assert {str(frame[name].dtype) for name in names} == {"str"}
    assert frame.attrs["headers"] == names
    assert list(FrameBuilder(str, headers=("a",)).build().columns) == [*COLUMNS, "headers.a"]


def test_known_headers_have_a_meaning() -> None:
    assert "duplicate" in header_meaning("nats-msg-id")
    assert "trace" in header_meaning("traceparent")
    assert header_meaning("Varco-Replay-Of").startswith("It is a replay")
    assert header_meaning("Nats-Expected-Something-New")
    assert header_meaning("ce-myextension")
    assert header_meaning("tenant") == header_meaning("") == ""


def test_cloudevents() -> None:
    serializer = CloudEventsJsonSerializer(CloudEventsSettings(source="/svc/orders"))
    placed = OrderPlaced(order_id="o-1", total=9.5)
    frame = build(serializer.serialize(placed), event(order_id="o-2"))
    row = frame.loc[1]
    assert row["event_type"] == "order.placed"
    assert row["event_id"] == str(placed.event_id)
    assert row["timestamp"] == pd.Timestamp(placed.timestamp)
    assert (row["order_id"], row["total"], row["ce.source"]) == ("o-1", 9.5, "/svc/orders")
    assert row["ce.specversion"] == "1.0"
    assert frame["order_id"][2] == "o-2"
    assert frame["event_type"][2] == "OrderPlaced"
    assert "data" not in frame
    assert "type" not in frame

    builder = FrameBuilder(str, {"order.placed"})
    builder.add([StoredMessage(1, "s", T0, serializer.serialize(placed), None)])
    assert len(builder) == 1


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"data": {"a": {"b": 1}, "raw": 2}}, {"a.b": 1, "data.raw": 2}),
        ({"data": {"event_id": "x", "time": 3}}, {"data.event_id": "x", "time": 3}),
        ({"data": {"ce.source": 1, "ce": {"tenantid": 2}}, "tenantid": "t"},
         {"ce.source": "/s", "data.ce.source": 1, "ce.tenantid": "t", "data.ce.tenantid": 2}),
        ({"data": [1, 2]}, {"data": [1, 2]}),
        ({"data_base64": "aGk="}, {"data_base64": "aGk="}),
        ({"time": "yesterday"}, {"ce.time": "yesterday"}),
        ({"time": 7, "data": {}}, {"ce.time": 7}),
    ],
)  # fmt: skip
def test_cloudevents_of_all_kinds(changes: dict[str, object], wanted: dict[str, object]) -> None:
    envelope = {"specversion": "1.0", "id": "i", "source": "/s", "type": "t", **changes}
    frame = build(envelope)
    assert (frame["event_type"][1], frame["event_id"][1]) == ("t", "i")
    assert pd.isna(frame["timestamp"][1])
    for name, value in wanted.items():
        assert frame[name][1] == value
    assert set(frame.columns) == {*COLUMNS, "ce.specversion", "ce.source", *wanted}


@pytest.mark.parametrize("changes", [{"__event_type__": "A"}, {"id": 7}, {"type": None}])
def test_what_is_no_envelope_is_payload(changes: dict[str, object]) -> None:
    frame = build({"specversion": "1.0", "id": "i", "type": "t", "data": {"a": 1}, **changes})
    assert frame["specversion"][1] == "1.0"
    assert frame["data.a"][1] == 1


def test_decode() -> None:
    assert decode(b'{"a": {"b": [1]}}') == ({"a": {"b": [1]}}, None)
    assert decode(b"{}") == ({}, None)


async def test_gaps_count_what_goes_while_it_is_read(
    nc: Client, settings: NatsEventBusSettings
) -> None:
    js = nc.jetstream()
    stream, count = settings.stream_name, 30_000
    await js.add_stream(StreamConfig(name=stream, subjects=[settings.wildcard_subject()]))
    for _ in range(0, count, 2000):
        subject = settings.subject_name("orders")
        await asyncio.gather(*[await js.publish_async(subject, b'{"a": 1}') for _ in range(2000)])

    async def being_read() -> bool:
        found = await js.consumers_info(stream)
        return any(info.delivered and info.delivered.consumer_seq for info in found)

    lab = await asyncio.to_thread(Lab, settings)
    try:
        loading = asyncio.create_task(lab.aio.frame("orders"))
        while not loading.done() and not await being_read():
            pass
        await js.purge_stream(stream)
        frame = await loading
    finally:
        await asyncio.to_thread(lab.close)
    assert 0 < len(frame) < count
    assert frame.index.tolist() == list(range(1, len(frame) + 1))
    verdict = frame.attrs["completeness"]
    assert (verdict["expected"], verdict["loaded"]) == (count, len(frame))
    assert verdict["gaps"] == count - len(frame)


def test_frames_can_be_saved_and_shown(tmp_path: Any) -> None:
    frame = build(event(a=1, b="\ud83d", c=[1]), b"\xff", event(a=None))
    frame.to_parquet(tmp_path / "frame.parquet")
    assert "<script>" not in build(event(a="<script>")).to_html()
    frame.to_html()


def test_cost_per_row_is_flat() -> None:
    """Ten times the rows take about ten times the time, never a hundred."""

    def seconds(rows: int) -> float:
        payloads = [
            json.dumps(event(number=n, total=n * 1.5, customer="c", ok=True)).encode()
            for n in range(rows)
        ]
        began = time.process_time()
        assert len(build(*payloads)) == rows
        return time.process_time() - began

    seconds(2_000)
    assert seconds(40_000) < 40 * seconds(4_000)
