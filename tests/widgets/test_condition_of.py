"""A value of a page as a condition."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from varco_nats_widgets.explorer._condition_of import NoConditionError, condition_of, joined_to
from varco_nats_widgets.frames._columns import column_of
from varco_nats_widgets.frames._condition_parser import KEYWORDS
from varco_nats_widgets.frames._conditions import Condition

TIME = pd.Timestamp("2026-05-04 10:00:00.000123", tz=UTC)


@pytest.mark.parametrize(
    ("column", "value", "condition"),
    [
        ("status", "paid", 'status == "paid"'),
        ("status", 'a "b" \\ c', 'status == "a \\"b\\" \\\\ c"'),
        ("status", "", 'status == ""'),
        ("customer.name", "Ada", 'customer.name == "Ada"'),
        ("unit price", 5, "`unit price` == 5"),
        ("in", True, "`in` == true"),
        ("items[0]", 1, "`items[0]` == 1"),
        ("n", np.int64(7), "n == 7"),
        ("n", -1.5e-9, "n == -1.5e-09"),
        ("n", 10**30, f"n == {10**30}"),
        ("n", None, "n is missing"),
        ("n", float("nan"), "n is missing"),
        ("n", pd.NaT, "n is missing"),
        ("n", pd.NA, "n is missing"),
        ("flag", np.False_, "flag == false"),
        ("stored_at", TIME, 'stored_at == "2026-05-04T10:00:00.000123+00:00"'),
        ("text", "line one\nline two", 'text startswith "line one"'),
        ("text", "x" * 500, f'text startswith "{"x" * 200}"'),
    ],
)
def test_every_kind_of_value(column: str, value: Any, condition: str) -> None:
    assert condition_of(column, value) == condition
    excluded = condition_of(column, value, exclude=True)
    wanted = f"not {condition}" if " is " not in condition else f"{condition[:-7]}present"
    assert excluded == wanted
    row = {column: value.item() if isinstance(value, np.generic) else value}
    assert Condition.parse(condition).matches(row)
    assert not Condition.parse(excluded).matches(row)


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("items", [1, 2], "a list or an object"),
        ("items", {"a": 1}, "a list or an object"),
        ("items", np.array([1]), "a list or an object"),
        ("raw", b"\0", "no bytes"),
        ("n", float("inf"), "no float"),
        ("a`b", 1, "cannot name this column"),
        ("text", "\nsecond", "line break"),
    ],
)
def test_what_no_condition_says(column: str, value: Any, reason: str) -> None:
    with pytest.raises(NoConditionError, match=reason) as caught:
        condition_of(column, value)
    assert caught.value.column == column


def test_a_masked_value_is_no_condition() -> None:
    for value in ("***", "masked-0123456789abcdef"):
        with pytest.raises(NoConditionError, match="it is masked"):
            condition_of("card", value, masked=True)
        assert condition_of("card", value) == f'card == "{value}"'


@pytest.mark.parametrize(
    ("before", "other", "both"),
    [
        ("", "a == 1", "a == 1"),
        ("  ", "a == 1", "a == 1"),
        ("b > 2", "a == 1", "b > 2 and a == 1"),
        ("b > 2 or c", "a == 1", None),
        ("b > 2 or c < 1", "a == 1", "(b > 2 or c < 1) and a == 1"),
        ("b > 2 || c < 1", "a == 1", "(b > 2 || c < 1) and a == 1"),
        ("(b > 2 or c < 1)", "a == 1", "((b > 2 or c < 1)) and a == 1"),
        ('b == "x or y"', "a == 1", 'b == "x or y" and a == 1'),
        ("b > 2 and a == 1", "a == 1", "b > 2 and a == 1"),
        ("a == 1", "a == 1", "a == 1"),
    ],
)
def test_it_joins_the_condition_there_is(before: str, other: str, both: str | None) -> None:
    if both is None:
        with pytest.raises(ValueError, match="not understood"):
            joined_to(before, other)
        return
    assert joined_to(before, other) == both
    Condition.parse(both)


names = st.one_of(st.text(min_size=1), st.sampled_from(sorted(KEYWORDS)))
values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_infinity=False),
    st.text(),
    st.datetimes(min_value=datetime(1700, 1, 1), timezones=st.just(UTC)).map(
        lambda at: pd.Timestamp(at)
    ),
)


@given(names, st.lists(values, min_size=1, max_size=5))
def test_it_matches_the_row_it_is_of(name: str, column: list[Any]) -> None:
    frame = pd.DataFrame({name: column_of(column)})
    for row, value in enumerate(frame[name].tolist()):
        try:
            found, others = (
                condition_of(name, value),
                condition_of(name, value, exclude=True),
            )
        except NoConditionError:
            continue
        assert Condition.parse(found).mask(frame)[row]
        assert not Condition.parse(others).mask(frame)[row]
