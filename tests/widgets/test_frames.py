from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
import pandas as pd
import pytest
from varco_nats_widgets.frames import COLUMNS, MAX_FIELDS, FrameBuilder, decode

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
        elif pd.isna(want):
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
        (b"[1, 2]", "a JSON array, not an object"),
        (b'"text"', "a JSON string, not an object"),
        (b"7", "a JSON number, not an object"),
        (b"7.5", "a JSON number, not an object"),
        (b"null", "a JSON null, not an object"),
        (b"true", "a JSON boolean, not an object"),
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


def test_nested_without_end() -> None:
    nested: dict[str, object] = {"end": 1}
    for _ in range(200):
        nested = {"n": nested}
    frame = build(event(**nested))
    (column,) = [name for name in frame.columns if name.startswith("n")]
    assert isinstance(frame[column][1], dict)


def test_decode() -> None:
    assert decode(b'{"a": {"b": [1]}}') == ({"a": {"b": [1]}}, None)
    assert decode(b"{}") == ({}, None)


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
