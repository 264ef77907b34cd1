"""Which columns a table shows: as data says, and as a user wants it."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
import traitlets
from varco_nats_widgets._ui.arrangement import arranged, arrangement_of
from varco_nats_widgets.frames._column_order import ColumnOrder

LABELS = ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("arrangement", "empty", "shown", "pinned"),
    [
        ({}, (), "abcd", 0),
        ({"order": ["c", "gone", "a"]}, (), "cabd", 0),
        ({"order": ["d"]}, (), "dabc", 0),
        ({"hidden": ["b", "gone"]}, (), "acd", 0),
        ({"pinned": ["d", "b"]}, (), "dbac", 2),
        ({"pinned": ["d", "b"], "hidden": ["d"]}, (), "bac", 1),
        ({}, ("b", "d"), "ac", 0),
        ({"show_empty": True}, ("b", "d"), "abcd", 0),
        ({"pinned": ["b"]}, ("b",), "acd", 0),
    ],
)
def test_columns_as_a_user_wants_them(
    arrangement: dict[str, Any], empty: tuple[str, ...], shown: str, pinned: int
) -> None:
    found = arranged(LABELS, arrangement, empty)
    assert "".join(found.labels) == shown
    assert found.pinned == pinned
    assert found.empty == list(empty)
    assert found.hidden == [name for name in arrangement.get("hidden", ()) if name in LABELS]


def test_what_a_column_can_be() -> None:
    assert arrangement_of(["b", "a", "b"]) == {"order": ["b", "a"]}
    given = {"hidden": ("a",), "widths": {"b": 80.4}, "show_empty": 1, "sort": "-a", "pinned": []}
    wanted = {"hidden": ["a"], "widths": {"b": 80}, "show_empty": True, "sort": "-a"}
    assert arrangement_of(given) == wanted
    for wrong, reason in (
        ("a", "names of columns are expected"),
        ({"hide": ["a"]}, r"hide=\['a'\] is not understood; there are order, hidden, pinned"),
        ({"hidden": "a"}, "hidden='a' is not understood"),
        ({"widths": {"a": -1}}, "the width of 'a' is -1"),
        ({"widths": {"a": True}}, "the width of 'a' is True"),
    ):
        with pytest.raises(traitlets.TraitError, match=reason):
            arrangement_of(wrong)


def frame(**columns: list[Any]) -> pd.DataFrame:
    rows = len(next(iter(columns.values())))
    envelope = {
        "stored_at": pd.to_datetime(["2026-05-04"] * rows, utc=True),
        "channel": ["orders"] * rows,
        "event_type": ["placed"] * rows,
        "event_id": ["e"] * rows,
        "timestamp": pd.to_datetime(["2026-05-04"] * rows, utc=True),
    }
    return pd.DataFrame({**envelope, **columns})


def test_the_payload_comes_first() -> None:
    last = ["timestamp", "event_type", "channel", "event_id"]
    assert ColumnOrder().of(frame(total=[1, 2])) == ["stored_at", "total", *last]
    several = ColumnOrder(several=True).of(frame(total=[1, 2]))
    assert several == ["stored_at", "channel", "total", "timestamp", "event_type", "event_id"]


def test_what_differs_comes_before_it_and_stays() -> None:
    order = ColumnOrder()
    types = frame(total=[1, 2], event_type=["placed", "paid"])
    wanted = ["stored_at", "event_type", "total", "timestamp", "channel", "event_id"]
    assert order.of(types) == wanted
    assert order.of(frame(total=[1, 2])) == wanted


def test_bytes_that_cannot_be_read_are_the_payload() -> None:
    last = ["timestamp", "event_type", "channel", "event_id"]
    raw = frame(decode_error=["no JSON"] * 2, raw=[b"x", b"y"])
    assert ColumnOrder().of(raw) == ["stored_at", "raw", "decode_error", *last]
    mixed = frame(total=[1, None], decode_error=[None, "no JSON"], raw=[None, b"y"])
    assert ColumnOrder().of(mixed) == ["stored_at", "raw", "total", "decode_error", *last]
