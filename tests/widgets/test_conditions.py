from __future__ import annotations

import json
import time
from collections.abc import Iterable
from itertools import combinations, product, zip_longest

import numpy as np
import pandas as pd
import pytest
from varco_nats_widgets.frames import FrameBuilder
from varco_nats_widgets.frames._conditions import Condition, ConditionError, where
from varco_nats_widgets.frames._payload import flatten

from varco_nats.history import StoredMessage

SECOND = 1_000_000_000
EVENTS: list[object] = [
    {"total": 5, "status": "paid", "customer": {"name": "Ada Lovelace"}, "big": 2**70},
    {"total": 100.5, "status": "open", "customer": {"name": "Björn"}, "tags": ["New", "b"]},
    {"total": "200", "status": None, "ok": True, "timestamp": "2026-05-04T12:00:00Z"},
    {"status": "PAID", "odd name": 1, "ok": False, "a-b": -2, "note": "straße"},
]


def frame(events: list[object] = EVENTS) -> pd.DataFrame:
    builder = FrameBuilder(lambda subject: subject)
    builder.add(
        StoredMessage(number, "orders", number * SECOND, payload(event), None)
        for number, event in enumerate(events, 1)
    )
    return builder.build()


def payload(event: object) -> bytes:
    return event if isinstance(event, bytes) else json.dumps(event).encode()


@pytest.mark.parametrize(
    ("condition", "rows"),
    [
        ("total > 100", [2]),
        ("total >= 5 and total < 100.5", [1]),
        ('total == "200"', [3]),
        ("total == 5.0", [1]),
        ("total != 5", [2]),
        ('status == "paid"', [1]),
        ("status = 'paid' or status = 'open'", [1, 2]),
        ('status in ("paid", "PAID")', [1, 4]),
        ('status not in ["paid"]', [2, 4]),
        ('status contains "AI"', [1, 4]),
        ('status not contains "ai"', [2]),
        ('customer.name contains "ada"', [1]),
        ('customer.name startswith "BJÖ"', [2]),
        ('customer.name endswith "lace"', [1]),
        ('tags contains "new"', [2]),
        ('note contains "STRASSE"', [4]),
        ("big == 1180591620717411303424", [1]),
        ("big > 1180591620717411303423", [1]),
        ("status is missing", [3]),
        ("status is not missing", [1, 2, 4]),
        ("status is present", [1, 2, 4]),
        ("status == null", [3]),
        ("status != null", [1, 2, 4]),
        ("ok == true", [3]),
        ("ok == 1", []),
        ("`odd name` == 1", [4]),
        ("a-b < -1", [4]),
        ("NOT (total > 100 OR status == 'PAID')", [1, 3]),
        ("!(total>100) && status=='paid'", [1]),
        ("total > 100 | status == 'PAID' & ok == false", [2, 4]),
        ("seq <= 2", [1, 2]),
        ('stored_at >= "1970-01-01 00:00:03"', [3, 4]),
        ('stored_at < "1970-01-01T01:00:02+01:00"', [1]),
        ('timestamp == "2026-05-04 12:00"', [3]),
        ('stored_at < "10m"', [1, 2, 3, 4]),
        ('stored_at > "3 hours" or stored_at > "yesterday"', []),
        ('status matches "^pa|EN"', [1]),
        ('status matches "(?i)^PA"', [1, 4]),
        ('status not matches "^pa"', [2, 4]),
        (r'note matches "^\w+\x{DF}e$"', [4]),
        (r'customer.name matches "\"|\s"', [1]),
        ("nothing is missing", [1, 2, 3, 4]),
        ("", [1, 2, 3, 4]),
        ("  ", [1, 2, 3, 4]),
    ],
)
def test_conditions(condition: str, rows: list[int]) -> None:
    assert where(frame(), condition).index.tolist() == rows


@pytest.mark.parametrize(
    ("condition", "position", "reason"),
    [
        ("status contains paid", 16, 'text needs quotes: "paid"'),
        ("stored_at > today", 12, 'a time needs quotes: "today"'),
        ("stored_at > 10m", 12, 'text and times need quotes: "10m"'),
        ("total => 5", 7, "write >="),
        ('"vip" in tags', 0, 'write tags contains "vip"'),
        ("100 <= total", 0, "write total >= 100"),
        ('status like "a"', 7, 'write contains "text" or matches "pattern"'),
        ('status =~ "a"', 8, 'write matches "pattern"'),
        ("total > limit + 1", 14, "there is no arithmetic"),
        ("len(tags) > 1", 3, "there are no functions"),
        ("items[0 == 1", 5, "an operator is expected"),
        ('status matches "(a"', 15, "missing )"),
        ('status matches "a(?=b)"', 15, "looking ahead or behind"),
        ("status matches 5", 15, "a text in quotes is expected after matches"),
        ("total >", 7, "the end"),
        ("total 100", 6, "an operator is expected"),
        ("total > 1 total < 2", 10, "join conditions by and, or"),
        ("(total > 1", 10, "a ) is missing"),
        ("total > 1)", 9, "')' is not expected here"),
        ('status == "paid', 10, 'that begins with " has no end'),
        ("total in 1, 2", 9, "a list such as (1, 2)"),
        ("total in (1, 2", 14, "a ) is missing"),
        ("> 1", 0, "the name of a column"),
        ("total is gone", 9, "'missing' or 'present'"),
        ("total > null", 8, "null has no order"),
        ("total ~ 1", 6, "'~' is not understood"),
        ("total > 1; import os", 9, "';' is not understood"),
        ("__import__('os')", 10, "an operator is expected"),
        ('stored_at > "tomorrow-ish"', 12, "stored_at is a time"),
        ('stored_at > "1h30"', 12, "stored_at is a time"),
        ("(" * 40 + "a == 1" + ")" * 40, 30, "nested too deep"),
        ("not " * 40 + "a == 1", 120, "nested too deep"),
        ("a == 1 or " * 300, 2000, "longer than 2,000"),
        ("a == \x00", 5, "is not understood"),
    ],
)
def test_unreadable_conditions_say_where(condition: str, position: int, reason: str) -> None:
    with pytest.raises(ConditionError) as caught:
        Condition.parse(condition)
    error = caught.value
    assert error.position == position
    assert reason in error.reason
    assert f"character {position + 1}" in str(error)
    *_, excerpt, caret = str(error).splitlines()
    if position < len(condition):
        assert excerpt[caret.index("^")] == condition[position]


NESTED: list[object] = [
    {"items": [{"sku": "a", "n": 2}, {"sku": "b"}], "tags": ["New", "x,y"], "total": 5, "limit": 4},
    {"items": [{"sku": "b", "n": 9}], "tags": [5, 50], "total": 2**60, "limit": 2**60 + 1},
    {"items": [], "tags": "new", "total": 1.5, "limit": 1.5, "sku": "b", "allowed": ["a", "b"]},
    {"items": [{"price": {"net": 3}}, "a"], "total": "9", "limit": "10", "allowed": []},
    {"total": True, "limit": 0, "sku": "x", "deep": {"list": [[1, 2], [3]]}, "matches": 3},
]


@pytest.mark.parametrize(
    ("condition", "rows"),
    [
        ('items[0].sku == "a"', [1]),
        ('items[-1].sku == "b"', [1, 2]),
        ('items[].sku == "a"', [1]),
        ('items[*].sku == "b"', [1, 2]),
        ('items[].sku != "b"', [1]),
        ('not items[].sku == "a"', [2, 3, 4, 5]),
        ('items[].sku not in ("a")', [2]),
        ('items[]["sku"] in ("a", "z")', [1]),
        ("items[].n > 5", [2]),
        ("items[].price.net == 3", [4]),
        ("items[].sku is missing", [3, 4, 5]),
        ("items[1] is present", [1, 4]),
        ('items contains "\\"sku\\": \\"b"', [1, 2]),
        ("items[7].sku is missing", [1, 2, 3, 4, 5]),
        ("deep.list[][1] == 2", [5]),
        ("deep.list[0][] >= 2", [5]),
        ('tags contains "NEW"', [1, 3]),
        ('tags contains ","', [1]),
        ('tags contains "e"', [1, 3]),
        ("tags contains 5", [2]),
        ("tags contains 0", []),
        ('tags[] == "New"', [1]),
        ('tags[0] matches "^N"', [1]),
        ('tags matches "^[nx]"', [1, 3]),
        ('tags endswith "y"', [1]),
        ("tags[] > 10", [2]),
        ("total > limit", [1, 4]),
        ("total < limit", [2]),
        ("total == limit", [3]),
        ("limit >= items[].n", [1, 2]),
        ("sku in allowed", [3]),
        ("sku not in allowed", [5]),
        ("total > items[9].n", []),
        ("stored_at == stored_at", [1, 2, 3, 4, 5]),
        ("matches == 3", [5]),
        ('matches matches "3"', [5]),
    ],
)
def test_lists_and_two_fields(condition: str, rows: list[int]) -> None:
    assert where(frame(NESTED), condition).index.tolist() == rows
    singly = [number for number, event in enumerate(NESTED, 1) if matches_as_row(event, condition)]
    if "stored_at" not in condition:
        assert singly == rows


def matches_as_row(event: object, condition: str) -> bool:
    assert isinstance(event, dict)
    return Condition.parse(condition).matches(flatten(event))


# One block for each type of column. What may be rounded, folded or out of range is among them.
COLUMNS: dict[str, list[object]] = {
    "whole": [0, -5, 5, 100, 2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63)],
    "small": [0, 1, 2, 5, -3],
    "gaps": [5, None, 100, 2**53 + 1, None, 0],
    "floats": [0.0, 5.0, 100.5, float(2**53), 1e300, -1e300, 0.1, None],
    "infinite": [float("inf"), float("-inf"), 0.5, None],
    "flags": [True, False],
    "maybe": [True, None, False],
    "plain": ["paid", "PAID", "", "5", "paid by card", None, "true", "2026-05-04", "a\nb", "\x00"],
    "texts": [
        "straße",
        "STRASSE",
        "\u017ftrasse",
        "\ufb01n",
        "\u212a",
        "k",
        "Ä",
        "ä",
        "É",
        "😀",
        "z",
        None,
    ],
    "times": ["2026-05-04T12:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", None],
    "mixed": [1, "1", True, None, 1.0, [1], {"a": 1}, 2**70],
    "lists": [["paid"], [], [5, "k"], None],
    "nothing": [None, None],
}
OPERANDS = (
    "5", "5.0", "-5", "0.1", "100.5", "9007199254740993", "9007199254740992.0", "1e300", "1e999",
    "9223372036854775808", "1180591620717411303424", "true", "false", '""', '"paid"', '"k"',
    '"ss"', '"ä"', '"5"', '"2026-05-04 12:00"', '"9999-12-31T23:59:59Z"', '"fin"',
)  # fmt: skip
SIGNS = ("==", "!=", "<", "<=", ">", ">=", "contains", "startswith", "endswith")


def assert_both_ways_agree(table: pd.DataFrame, conditions: Iterable[str]) -> None:
    exact = table.astype(object)
    assert set(exact.dtypes) == {np.dtype(object)}  # then it is tested value by value
    for condition in conditions:
        try:
            parsed = Condition.parse(condition)
        except ConditionError:
            assert condition.startswith("timestamp ")  # which is compared with times only
        else:
            assert parsed.mask(table).tolist() == parsed.mask(exact).tolist(), condition


def conditions_on(name: str) -> list[str]:
    tests = [f"{sign} {operand}" for sign, operand in product(SIGNS, OPERANDS)]
    tests += [f"{sign} {name}" for sign in SIGNS[:6]]
    tests += ['not in (5, "paid")', "is missing", "is present", 'matches "^[pk5]|ß"']
    return [f"{name} {test}" for test in tests]


def test_whole_columns_are_tested_as_their_values_are() -> None:
    for kind, values in COLUMNS.items():
        name = "timestamp" if kind == "times" else "field"
        table = frame([{name: value} for value in values])
        assert_both_ways_agree(table, conditions_on(name))


def test_columns_of_other_types_are_tested_as_their_values_are() -> None:
    columns = {
        "int8": pd.array([5, 100, -5], dtype="int8"),
        "uint64": pd.array([5, 2**64 - 1, 0], dtype="uint64"),
        "float32": pd.Series([0.1, 5, None], dtype="float32"),
        "Float64": pd.array([0.1, None, 5], dtype="Float64"),
        "category": pd.Categorical(["paid", "5", None]),
        "string": pd.array(["paid", "Straße", None], dtype="string[python]"),
        "naive": pd.to_datetime(["2026-05-04", "NaT", "1970-01-01"]),
        "second": pd.to_datetime(["2026-05-04", "NaT", "9999-01-01"], utc=True),
        "span": pd.to_timedelta([1, None, 5], unit="s"),
        "empty": [None, None, None],
    }
    for name, column in columns.items():
        table = pd.DataFrame({name: column})
        assert_both_ways_agree(table, conditions_on(name))
        assert_both_ways_agree(table[:0], conditions_on(name)[::20])


def test_two_columns_are_compared_as_their_values_are() -> None:
    for left, right in combinations(COLUMNS, 2):
        pairs = list(zip_longest(COLUMNS[left], COLUMNS[right]))
        table = frame([{"a": a, "b": b} for a, b in pairs])
        conditions = [f"a {sign} b" for sign in SIGNS[:6]]
        assert_both_ways_agree(table, [*conditions, "b < a", "b >= a"])


def test_a_hostile_pattern_takes_no_longer_than_its_text() -> None:
    texts = [
        {"note": "a" * 200_000 + "!"},
        {"note": "a" * 200_000},
        {"note": ["a" * 200_000 + "!"]},
    ]
    began = time.perf_counter()
    for pattern in ("(a+)+$", "(a*)*b", "(.*.*.*.*)x$", "(a|aa)+$"):
        found = where(frame(texts), f'note matches "{pattern}"').index.tolist()
        assert found == ([2] if pattern in ("(a+)+$", "(a|aa)+$") else [])
    assert time.perf_counter() - began < 20  # some milliseconds; a backtracking search never ends


def test_unknown_columns_are_named() -> None:
    with pytest.warns(UserWarning, match="there is no column 'paid'; text needs quotes: \"paid\""):
        assert where(frame(), "status == paid").empty
    with pytest.warns(UserWarning, match="totl > 1: there is no column 'totl'; did you mean 'tot"):
        assert where(frame(), "totl > 1").empty
    assert len(where(frame(), "totl > 1 or total > 1"))  # as events of one kind may lack a field
    assert where(frame([]), "totl > 1").empty
    parsed = Condition.parse('status == paid or item.sku == "a"')
    assert parsed.unknown({"status"}) == "there is no column 'paid'; text needs quotes: \"paid\""
    assert parsed.unknown({"status", "paid", "item"}).endswith("of a list, write item[].sku")
    assert Condition.parse("totl > 1").unknown({"total"}).endswith("did you mean 'total'?")
    assert Condition.parse("seq > 1 and headers.a is missing").unknown(set()) == ""


@pytest.mark.filterwarnings("ignore:.* there is no column")
def test_a_condition_means_the_same_on_any_part_of_a_frame() -> None:
    """A column's type depends on the rows around; what matches must not."""
    whole = frame()
    for condition in ("total >= 5", 'total contains "5"', "total == 5", "ok == true", "big > 1"):
        together = where(whole, condition).index.tolist()
        singly = [
            number
            for number, event in enumerate(EVENTS, 1)
            if len(where(frame([event]), condition))
        ]
        assert together == singly, condition


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("ada", [1]),
        ("BJÖRN", [2]),
        ('"new"', [2]),
        ("100.5", [2]),
        ("5", [1, 2, 3]),
        ("true", [3]),
        ("2026-05-04", [3]),
        ("1180591620717411303424", [1]),
        ("orders", []),
        ("broken", [5]),
        ("", [1, 2, 3, 4, 5]),
    ],
)
def test_text_is_looked_for_in_values(text: str, rows: list[int]) -> None:
    events = [*EVENTS, b"\xff broken"]
    assert where(frame(events), text=text).index.tolist() == rows


def test_condition_and_text_together() -> None:
    assert where(frame(), "total > 1", text="paid").index.tolist() == [1]
    assert where(frame([]), "total > 1", text="paid").index.tolist() == []
