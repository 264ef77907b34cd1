"""Values of all kinds as JSON has them, and back where they were not edited."""

from __future__ import annotations

import uuid
from collections import OrderedDict, deque
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from fractions import Fraction
from ipaddress import ip_address
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from pydantic import BaseModel
from varco_nats_widgets.decoders._values import escaped, plain, restored, same

from tests.widgets.decoders.helpers import equal, is_plain, plain_values, quick
from varco_nats.errors import CannotDecodeError


class Colour(Enum):
    RED = "r"


class Level(IntEnum):
    HIGH = 3


class State(StrEnum):
    OPEN = "open"


class Size(str, Enum):  # noqa: UP042 - the older way, which has another `str`
    LARGE = "l"


@dataclass
class Point:
    x: int
    at: datetime


class Model(BaseModel):
    price: Decimal


NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "becomes"),
    [
        (b"\xff\x00", "/wA="),
        (bytearray(b"a"), "YQ=="),
        (memoryview(b"a"), "YQ=="),
        (NOON, "2026-01-01T12:00:00Z"),
        (NOON.replace(microsecond=5), "2026-01-01T12:00:00.000005Z"),
        (NOON.astimezone(timezone(timedelta(hours=2))), "2026-01-01T14:00:00+02:00"),
        (NOON.replace(tzinfo=None), "2026-01-01T12:00:00"),
        (pd.Timestamp(NOON), "2026-01-01T12:00:00Z"),
        (date(2026, 1, 2), "2026-01-02"),
        (time(1, 2, 3), "01:02:03"),
        (timedelta(seconds=1.5), 1.5),
        (Decimal("1.20"), "1.20"),
        (Fraction(1, 3), "1/3"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (ip_address("::1"), "::1"),
        (Colour.RED, "r"),
        (Level.HIGH, 3),
        (State.OPEN, "open"),
        (Size.LARGE, "l"),
        ({3, 1, 2}, [1, 2, 3]),
        (frozenset({"b", "a"}), ["a", "b"]),
        ((1, (2, b"")), [1, [2, ""]]),
        (deque([1]), [1]),
        (range(3), [0, 1, 2]),
        (OrderedDict(a=1), {"a": 1}),
        (Point(1, NOON), {"x": 1, "at": "2026-01-01T12:00:00Z"}),
        (Model(price=Decimal("2.50")), {"price": "2.50"}),
        (np.int64(7), 7),
        (np.float64(1.5), 1.5),
        (np.array([1, 2]), [1, 2]),
        (np.datetime64("2026-01-01"), "2026-01-01"),
        ({1: "a", None: "b"}, {"1": "a", "null": "b"}),
        ({False: 0, 2.5: 1, b"k": 2, (1, 2): 3}, {"false": 0, "2.5": 1, "aw==": 2, "[1, 2]": 3}),
        (2**200, 2**200),
        (float("nan"), float("nan")),
        (float("-inf"), float("-inf")),
        ({"a": [{"b": b"x"}]}, {"a": [{"b": "eA=="}]}),
    ],
    ids=lambda part: type(part).__name__,
)
def test_each_kind_becomes_what_is_documented(value: Any, becomes: Any) -> None:
    found = plain(value)
    assert is_plain(found)
    assert equal(found, becomes)


def test_what_is_plain_stays_the_same_object() -> None:
    for value in ({"a": 1, "b": "x"}, [1, "a", None], "text", 5):
        assert plain(value) is value


def test_keys_that_become_the_same_text_are_an_error() -> None:
    with pytest.raises(CannotDecodeError, match="two keys of an object are the same as text"):
        plain({1: "a", "1": "b"})


def test_what_no_column_can_hold_is_an_error() -> None:
    with pytest.raises(CannotDecodeError, match="a object is no value that a column can hold"):
        plain({"a": object()})


def test_half_a_surrogate_pair_is_escaped() -> None:
    assert escaped({"\ud800": ["\udfff", {"é": "é"}], "a": 1}) == {
        "\\ud800": ["\\udfff", {"é": "é"}],
        "a": 1,
    }


TRUE = {"id": b"\x01", "at": NOON, "price": Decimal("1.2"), "tags": [b"a", b"b"], 7: {"n": None}}
SHOWN = {
    "id": "AQ==",
    "at": "2026-01-01T12:00:00Z",
    "price": "1.2",
    "tags": ["YQ==", "Yg=="],
    "7": {"n": None},
}


@pytest.mark.parametrize(
    ("edits", "becomes"),
    [
        ({}, {}),
        ({"note": "new"}, {"note": "new"}),
        ({"id": "Ag=="}, {"id": b"\x02"}),
        ({"at": "2026-01-02T12:00:00Z"}, {"at": NOON + timedelta(days=1)}),
        ({"price": "7.00"}, {"price": Decimal("7.00")}),
        ({"tags": ["YQ==", "x", "Yg=="]}, None),  # "x" is no base64
        ({"tags": ["Yg=="]}, {"tags": [b"b"]}),
        ({"tags": ["Yw==", "YQ==", "Yg=="]}, {"tags": [b"c", b"a", b"b"]}),
        ({"tags": "none"}, {"tags": "none"}),
        ({"7": {"n": 5}}, {7: {"n": 5}}),
        ({"id": 5}, None),
        ({"at": "noon"}, None),
        ({"price": "cheap"}, None),
    ],
    ids=str,
)
def test_what_was_not_edited_keeps_its_kind(
    edits: dict[str, Any], becomes: dict[Any, Any] | None
) -> None:
    if becomes is None:
        with pytest.raises(ValueError, match="what it was edited to is no"):
            restored(TRUE, SHOWN | edits)
    else:
        found = restored(TRUE, SHOWN | edits)
        assert found == TRUE | becomes
        assert list(map(type, found.values())) == list(map(type, (TRUE | becomes).values()))


def test_a_field_that_was_removed_is_gone() -> None:
    edited = {name: value for name, value in SHOWN.items() if name != "at"}
    assert restored(TRUE, edited) == {name: value for name, value in TRUE.items() if name != "at"}


@quick
@given(plain_values())
def test_a_plain_value_is_its_own_plain_value(value: Any) -> None:
    assert equal(plain(value), value)
    assert same(value, plain(value))
    assert equal(restored(value, value), value)


@quick
@given(plain_values(), plain_values())
def test_same_is_equal_with_kinds(one: Any, other: Any) -> None:
    assert same(one, other) == equal(one, other)
