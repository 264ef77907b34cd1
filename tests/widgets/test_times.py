"""Times in payloads: what is recognised, and what is not."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pandas as pd
import pytest
from varco_nats_widgets.frames._columns import column_of
from varco_nats_widgets.frames._times import (
    UNITS,
    YEAR_2000,
    YEAR_2100,
    TimesFound,
    explained,
    in_unit,
    times_of,
    with_times,
)

MOMENT = pd.Timestamp("2026-05-04T10:20:30.123456Z")
SECONDS = 1_777_890_030


def only(value: object) -> Any:
    times, _ = times_of(column_of([value]))
    return times[0]


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (SECONDS, "2026-05-04T10:20:30Z"),
        (SECONDS + 0.123456, MOMENT),
        (SECONDS * 10**3 + 123, "2026-05-04T10:20:30.123Z"),
        (SECONDS * 10**3 + 123.456, MOMENT),
        (SECONDS * 10**6 + 123456, MOMENT),
        (SECONDS * 10**9 + 123456789, MOMENT),
        (str(SECONDS * 10**9 + 123456789), MOMENT),
        (100_000_000, "1973-03-03T09:46:40Z"),
        (-500_000_000, "1954-02-26T23:06:40Z"),
        (-500_000_000_000, "1954-02-26T23:06:40Z"),
        ("2026-05-04T10:20:30.123456Z", MOMENT),
        ("2026-05-04T10:20:30.123456999Z", MOMENT),
        ("2026-05-04 12:20:30.123456+02:00", MOMENT),
        ("2026-05-04T122030,123456+0200", MOMENT),
        ("2026-05-04T10:20", "2026-05-04T10:20Z"),
        ("1066-10-14", "1066-10-14T00:00Z"),
        ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
        (datetime(2026, 5, 4, 10, 20, 30, 123456, UTC), MOMENT),
        (datetime(2026, 5, 4, 10, 20, 30, 123456), MOMENT),
        (datetime(2026, 5, 4, 12, 20, 30, 123456, timezone(timedelta(hours=2))), MOMENT),
        (date(2026, 5, 4), "2026-05-04T00:00Z"),
    ],
)
def test_a_time(value: object, wanted: str | pd.Timestamp) -> None:
    assert only(value) == pd.Timestamp(wanted)


@pytest.mark.parametrize(
    "value",
    [
        *(0, 1, -7, 1999, 9_999_999, 5 * 10**9, 2**63 - 1, -(2**63), 2**64, 10**400),
        *(0.0, 19.99, float("inf"), 1e300, True, False),
        *("", "soon", "2026", "202605", "20260504", "20260504102030", "2026-05", "2026-13-01"),
        *("10:20:30", "2026-05-04T25:00", "2026-05-04 about noon", "\uff11" * 10, "9" * 30),
        *("1-2026-05-04", "2026-W18-1", "\ud800", [1], {"a": 1}, b"2026-05-04"),
    ],
)
def test_no_time(value: object) -> None:
    times, found = times_of(column_of([value, None]))
    assert times.isna().all()
    assert (found.wrong, found.units) == (1, {})


@pytest.mark.parametrize(
    "column",
    [
        [1, None, SECONDS],
        ["x", None, "2026-05-04"],
        [1.5, None, float(SECONDS)],
        ["x", None, SECONDS * 1000],
        [{"a": 1}, None, datetime(2026, 5, 4, tzinfo=UTC)],
    ],
)
def test_what_is_none_is_counted_and_what_is_missing_is_not(column: list[object]) -> None:
    times, found = times_of(column_of(column))
    assert times.isna().tolist() == [True, True, False]
    assert times.dtype == "datetime64[us, UTC]"
    assert (found.wrong, sum(found.units.values())) == (1, 1)
    assert explained("ts", found).startswith("times='ts': 1 of 2 values are not times, such as ")
    assert found.example in explained("ts", found)


def test_units_may_be_mixed() -> None:
    times, found = times_of(
        column_of([SECONDS, SECONDS * 10**9, "2026-05-04T10:20:30Z", float(SECONDS * 1000), "no"])
    )
    assert set(times.dropna()) == {pd.Timestamp("2026-05-04T10:20:30Z")}
    assert found.units == {"s": 1, "ns": 1, "ISO 8601": 1, "ms": 1}
    together = TimesFound()
    together.add(found)
    together.add(times_of(column_of(["never"]))[1])
    assert explained("ts", together) == ("times='ts': 2 of 6 values are not times, such as 'no'")
    assert explained("ts", None) == "times='ts': no message has a field of this name"
    assert explained("ts", times_of(column_of([SECONDS]))[1]) == ""


def test_times_stay_times_and_nothing_stays_nothing() -> None:
    stored = pd.Series([pd.Timestamp("2026-05-04T10:20:30.123456789Z"), pd.NaT])
    times, found = times_of(stored)
    assert times[0] == MOMENT
    assert (found.units, found.wrong) == ({"time": 1}, 0)
    assert len(times_of(column_of([]))[0]) == 0
    assert times_of(column_of([None]))[0].isna().all()


def test_a_moment_in_any_unit() -> None:
    rng = random.Random(1)
    for seconds in (YEAR_2000, YEAR_2100 - 1, *rng.choices(range(YEAR_2000, YEAR_2100), k=20)):
        moment = pd.Timestamp(seconds, unit="s", tz="UTC")
        for unit, size in UNITS.items():
            number = seconds * size
            assert only(number) == only(float(number)) == moment
            assert [other for other in UNITS if in_unit(np.array([number]), other)[0]] == [unit]


def test_whatever_comes_each_value_is_a_time_or_counted() -> None:
    rng = random.Random(2)
    makers: list[Callable[[], object]] = [
        lambda: None,
        lambda: rng.randrange(-(2**70), 2**70) >> rng.randrange(70),
        lambda: rng.uniform(-1, 1) * 10 ** rng.randrange(25),
        lambda: rng.choice([True, float("nan"), float("-inf"), [], {}]),
        lambda: "".join(rng.choices("0123456789-T:Z. ", k=rng.randrange(22))),
        lambda: (MOMENT + timedelta(seconds=rng.randrange(10**8))).isoformat(),
    ]
    for _ in range(100):
        some = rng.sample(makers, rng.randrange(1, 4))
        array = column_of([rng.choice(some)() for _ in range(rng.randrange(8))])
        times, found = times_of(array)
        assert len(times) == len(array)
        assert sum(found.units.values()) + found.wrong == int(pd.Series(array).notna().sum())
        assert np.count_nonzero(times.notna()) == sum(found.units.values())


def test_columns_of_a_frame() -> None:
    frame = pd.DataFrame({"ts": [SECONDS, 7], "customer.born": ["1987-03-02", None], "n": [1, 2]})
    made, found = with_times(frame, ["ts", "customer.born", "absent"])
    assert made["ts"].tolist() == [pd.Timestamp("2026-05-04T10:20:30Z"), pd.NaT]
    assert made["customer.born"].tolist() == [pd.Timestamp("1987-03-02", tz="UTC"), pd.NaT]
    assert made.columns.tolist() == frame.columns.tolist()
    assert found == {
        "ts": TimesFound({"s": 1}, 1, "7"),
        "customer.born": TimesFound({"ISO 8601": 1}),
        "absent": None,
    }
    assert with_times(frame, [])[0] is frame
