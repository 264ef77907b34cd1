from __future__ import annotations

import json

import pandas as pd
import pytest
from varco_nats_widgets.frames import FrameBuilder
from varco_nats_widgets.frames._conditions import Condition, ConditionError, where

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
        ("nothing > 1", []),
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
        ("status == paid", 10, 'text needs quotes: "paid"'),
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
