"""Which stream is opened, and what a choice of subjects stands for."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from varco_nats_widgets.explorer._choice import apart, first_look, held_by, lines, with_kinds

from varco_nats._nats.stream import covers, overlap


def streams(**held: int) -> pd.DataFrame:
    """Streams with that many messages; later ones have newer messages."""
    times = pd.date_range("2026-05-01", periods=len(held), tz="UTC")
    kinds = ["key-value bucket" if "_" in name else "stream" for name in held]
    frame = pd.DataFrame(
        {"kind": kinds, "messages": [*held.values()], "last_time": times}, index=[*held]
    )
    frame.loc[frame["messages"] == 0, "last_time"] = pd.NaT
    return with_kinds(frame, "varco")


def test_each_stream_is_what_it_is() -> None:
    kinds = {"varco": "stream", "varco-dlq": "stream", "varco-replays": "stream"}
    kinds |= {"KV_config": "key-value bucket", "OBJ_reports": "object store", "OTHER": "stream"}
    frame = pd.DataFrame({"kind": [*kinds.values()], "messages": 1}, index=[*kinds])
    frame = with_kinds(frame, "varco")
    assert frame["kind"].tolist() == [
        "varco",
        "dead letters",
        "log of replays",
        "key-value bucket",
        "object store",
        "stream",
    ]
    assert frame.columns.tolist() == ["kind", "messages"]


@pytest.mark.parametrize(
    ("held", "wanted"),
    [
        ({}, "varco"),
        ({"OTHER": 0}, "varco"),
        ({"varco": 1, "OTHER": 5}, "varco"),
        ({"varco": 0, "A": 5, "B": 5}, "B"),
        ({"B": 5, "A": 0}, "B"),
        ({"A": 5, "KV_config": 9}, "A"),
        ({"A": 0, "KV_config": 9, "OBJ_files": 2}, "OBJ_files"),
    ],
)
def test_where_it_opens(held: dict[str, int], wanted: str) -> None:
    assert first_look(streams(**held), "varco") == wanted


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        ([], ()),
        (["a.b", "a.b"], ("a.b",)),
        (["a.>", "a.b", "b"], ("a.>", "b")),
        (["a.*", "a.>"], ("a.>",)),
        (["*.b", "a.*"], ("a.b", "a.c", "d.b")),
        (["*.b", "a.*", "a.c", "x"], ("x", "a.b", "a.c", "d.b")),
        (["a.*", "b.*"], ("a.*", "b.*")),
    ],
)
def test_patterns_that_overlap_are_told_apart(names: list[str], wanted: tuple[str, ...]) -> None:
    assert apart(names, ["a", "a.b", "a.c", "d.b", "d.c"]) == wanted


TOKEN = st.sampled_from(["a", "b", "*"])
PATTERN = st.tuples(st.lists(TOKEN, min_size=1, max_size=3), st.sampled_from([[], [">"]])).map(
    lambda parts: ".".join(parts[0] + parts[1])
)
SUBJECT = st.lists(st.sampled_from("ab"), min_size=1, max_size=4).map(".".join)


@given(st.lists(PATTERN, max_size=5), st.lists(SUBJECT, unique=True, max_size=20))
def test_told_apart_they_choose_the_same(names: list[str], known: list[str]) -> None:
    found = apart(names, known)
    assert not any(overlap(a, b) for i, a in enumerate(found) for b in found[:i])
    for subject in known:
        assert any(covers(name, subject) for name in names) == any(
            covers(name, subject) for name in found
        )


def test_rates_have_a_line_each_or_one_for_all() -> None:
    rates = pd.Series([1.0, 2.0, None, 4.0], ["a", "b.x", "b.y", "c"], dtype="Float64")
    assert held_by(rates, ()).index.tolist() == ["a", "b.x", "b.y", "c"]
    assert held_by(rates, ("b.*", "c")).index.tolist() == ["b.x", "b.y", "c"]
    assert lines(rates, ("b.>", "a")) == {"b.>": 2.0, "a": 1.0}
    assert [*lines(rates, ())] == ["a", "b.x", "b.y", "c"]
    assert pd.isna(lines(rates, ())["b.y"])
    many = pd.Series(1.0, [f"s{number}" for number in range(20)])
    assert lines(many, ()) == {"all": 20.0}
    assert lines(many, tuple(many.index[:8])) == {"8 chosen": 8.0}
