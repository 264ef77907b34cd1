"""What fixes of many entries make of events, without a server."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from varco_core.event.dlq import DeadLetterEntry
from varco_nats_widgets.dead_letters._fix.entry import MISSING, NOT_DONE, differences, fixed
from varco_nats_widgets.dead_letters._fix.fields import FieldCounts
from varco_nats_widgets.dead_letters._fix.steps import CannotFixError, steps_of
from varco_nats_widgets.dead_letters._fix.table import FixTable
from varco_nats_widgets.dead_letters._view.fix_panel import (
    difference_words,
    kept_words,
    shown_difference,
)
from varco_nats_widgets.dead_letters._view.step_editor import typed_pairs, typed_value
from varco_nats_widgets.decoders import DecoderTable
from varco_nats_widgets.frames._decoding import Decoding

from tests.widgets.dead_letters.helpers import LetterOrder
from varco_nats._masks._mask import Mask
from varco_nats._nats.direct import StoredMessage
from varco_nats.dlq._codec import StoredEntry
from varco_nats.replay._edit import json_object, written

EVENT = b"""{"order": "o-1", "country": "france", "total": -12.50, "count": "7", "paid": "yes",
"at": "2026-05-04 10:00", "since": 1777888800, "tags": "a, b,,c", "none": null, "a.b": 1,
"huge": 1%s, "unit price": 5, "address": {"zip": "10121", "city": "Torino"},
"items": [{"sku": "s-1", "price": "1.10"}, {"sku": "s-2", "price": "2"}]}""" % (b"0" * 400)


def done(event: bytes = EVENT, **steps: Any) -> dict[str, Any]:
    """The event after the steps, as JSON reads it."""
    fields = json_object(event)
    assert fields is not None
    for step in steps_of(steps):
        assert step.words
        step.apply(fields, {})
    result: dict[str, Any] = json.loads(written(fields))
    return result


@pytest.mark.parametrize(
    ("steps", "field", "value"),
    [
        ({"set": {"country": "FR"}}, "country", "FR"),
        ({"set": {"data.country": "FR"}}, "country", "FR"),  # as a frame calls it
        ({"set": {"address.country": "IT"}}, "address.country", "IT"),
        ({"set": {"a.b": 2}}, "a.b", 2),
        ({"set": {"a.c": 2}}, "a.c", 2),
        ({"set": {"new.deep.field": [1]}}, "new.deep.field", [1]),
        ({"set": {"unit price": 6}}, "unit price", 6),
        ({"set": {"`unit price`": 6}}, "unit price", 6),
        ({"set": {"items[].vat": 1}}, "items", [{"sku": "s-1", "price": "1.10", "vat": 1},
                                                {"sku": "s-2", "price": "2", "vat": 1}]),
        ({"set": {"items[-1]": None}}, "items", [{"sku": "s-1", "price": "1.10"}, None]),
        ({"set": {"at": datetime(2026, 5, 4, tzinfo=UTC)}}, "at", "2026-05-04T00:00:00+00:00"),
        ({"set": {"total": Decimal("1.10")}}, "total", 1.1),
        ({"set": {"total": np.int64(3)}}, "total", 3),
        ({"map": {"country": {"france": "FR", "italy": "IT"}}}, "country", "FR"),
        ({"map": {"country": {"italy": "IT"}}}, "country", "france"),
        ({"map": {"total": {-12.5: 0}}}, "total", 0),
        ({"map": {"none": {None: "set"}}}, "none", "set"),
        ({"map": {"a.b": {"1": "wrong", 1.0: "right"}}}, "a.b", "right"),
        ({"map": {"items[].sku": {"s-1": "S1"}}}, "items", [{"sku": "S1", "price": "1.10"},
                                                            {"sku": "s-2", "price": "2"}]),
        ({"absolute": "total"}, "total", 12.5),
        ({"convert": {"count": "int"}}, "count", 7),
        ({"convert": {"count": int}}, "count", 7),
        ({"convert": {"items[].price": float}}, "items", [{"sku": "s-1", "price": 1.1},
                                                          {"sku": "s-2", "price": 2.0}]),
        ({"convert": {"total": str}}, "total", "-12.50"),
        ({"convert": {"paid": bool}}, "paid", True),
        ({"convert": {"at": datetime}}, "at", "2026-05-04T10:00:00Z"),
        ({"convert": {"since": "datetime"}}, "since", "2026-05-04T10:00:00Z"),
        ({"convert": {"tags": list}}, "tags", ["a", "b", "c"]),
        ({"convert": {"total": list}}, "total", [-12.5]),
        ({"convert": {"none": int}}, "none", None),
        ({"rename": {"country": "code"}}, "code", "france"),
        ({"rename": {"address.zip": "address.postcode"}}, "address",
         {"postcode": "10121", "city": "Torino"}),
        ({"rename": {"order": "address.order"}}, "address.order", "o-1"),
        ({"rename": {"address.zip": "zip"}}, "zip", "10121"),
        ({"rename": {"items[].sku": "items[].code"}}, "items", [{"code": "s-1", "price": "1.10"},
                                                                {"code": "s-2", "price": "2"}]),
        ({"remove": "items[0]"}, "items", [{"sku": "s-2", "price": "2"}]),
        ({"remove": ["items[].sku", "items[].price"]}, "items", [{}, {}]),
        ({"remove": "items[]"}, "items", []),
        ({"python": "event['total'] = abs(event['total'])"}, "total", 12.5),
        ({"python": "  x = Decimal('1.10')\n  event = {'n': [x, re.sub('a', 'b', 'aa')]}"},
         "n", [1.1, "bb"]),
    ],
)  # fmt: skip
def test_each_step(steps: dict[str, Any], field: str, value: Any) -> None:
    result: Any = done(**steps)
    for name in [field] if field in result else field.split("."):
        result = result[name]
    assert result == value
    assert type(result) is type(value)


def test_digits_stay_as_they_were_written() -> None:
    event = json_object(b'{"a": -1234567890123456789.10, "b": "0.10", "c": 1.50}') or {}
    for step in steps_of({"absolute": "a", "convert": {"b": "float"}, "python": "event['d'] = 1"}):
        step.apply(event, {})
    assert written(event) == '{"a": 1234567890123456789.10, "b": 0.10, "c": 1.50, "d": 1}'


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("a = 1", "Python: a = 1"),
        ("a = 1\nb = 2", "Python: a = 1 …"),
        ("a" * 80 + " = 1\nb = 2", f"Python: {'a' * 59}…"),
    ],
)
def test_lines_of_python_are_named_by_the_first(lines: str, words: str) -> None:
    [step] = steps_of({"python": lines})
    assert step.words == words


def test_steps_are_done_in_the_order_in_which_they_are_written() -> None:
    codes = {"france": "FR"}
    one = done(map={"country": codes}, rename={"country": "code"})
    other = done(rename={"country": "code"}, map={"country": codes})
    assert (one["code"], other["code"]) == ("FR", "france")
    twice = done(steps=[{"set": {"n": 1}}, {"rename": {"n": "m"}}, {"set": {"n": 2}}])
    assert (twice["m"], twice["n"]) == (1, 2)
    assert done(set=None, steps=None, python=None) == done()  # as the signature says
    moved = done(rename={"country": "code"})
    assert list(moved)[1] == "code"  # where it was


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        ({"convert": {"country": int}}, '"france" is no number'),
        ({"convert": {"total": int}}, "-12.50 is no whole number"),
        ({"convert": {"country": bool}}, '"france" is neither true nor false'),
        ({"convert": {"country": datetime}}, '"france" is no time: neither ISO 8601'),
        ({"convert": {"count": datetime}}, '"7" is no time'),
        ({"convert": {"address": str}}, "an object does not become a text"),
        ({"convert": {"huge": bool}}, "too large"),
        ({"absolute": "country"}, '"france" is no number'),
        ({"rename": {"country": "order"}}, "there is a field order already"),
        ({"rename": {"address.zip": "order"}}, "there is a field order already"),
        ({"rename": {"order": "country.code"}}, "there is no object for country.code"),
        ({"rename": {"items[].sku": "sku"}}, "elements of lists are renamed only where"),
        ({"rename": {"data.address": "address.zone"}}, "address.zone would be inside it"),
        ({"python": "x = 1\nevent['x'] += x"}, r"line 2: KeyError: 'x'  \(event\['x'\] \+= x\)"),
        ({"python": "def f():\n    return 1 / 0\nf()"}, r"line 2: ZeroDivisionError: .*return 1"),
        ({"python": "raise SystemExit"}, "line 1: SystemExit"),
        ({"python": "event = 7"}, "event is of type int after"),
        ({"python": "event['x'] = {1, 2}"}, "JSON has nothing for a value of type set"),
        ({"python": "event['x'] = float('nan')"}, "JSON has no number nan"),
        ({"python": "event[1] = 2"}, "names of fields are texts, and 1 is none"),
        ({"python": "headers['x'] = 'y'"}, "'mappingproxy' object does not support"),
    ],
)
def test_what_cannot_be_done_says_why(steps: dict[str, Any], reason: str) -> None:
    [step] = steps_of(steps)
    with pytest.raises(CannotFixError, match=reason):
        step.apply(json_object(EVENT) or {}, MappingProxyType({}))


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        ({"set": ["country"]}, "set: give a dict such as"),
        ({"set": {"": 1}}, "'' names no field"),
        ({"set": {"items[": 1}}, "items"),
        ({"set": {"x": {1, 2}}}, "set x: JSON has nothing for a value of type set"),
        ({"convert": {"x": "flot"}}, "convert x: 'flot' is none of int, float, str"),
        ({"map": {"x": "FR"}}, "map x: give a dict such as"),
        ({"rename": {"a": "a.b"}}, "rename a: a.b would be inside it"),
        ({"rename": {"a": ""}}, "rename a: '' names no field"),
        ({"rename": {"items[0]": "b"}}, "an element of a list has no name"),
        ({"remove": 7}, "remove: give the name of a field"),
        ({"python": ""}, "python: write one or more lines"),
        ({"python": "x = 1\nevent[ = 2"}, r"python: line 2: invalid syntax  \(event\[ = 2\)"),
        ({"steps": ["x"]}, "steps: 'x' is no dict"),
        ({"steps": [{"sett": {}}]}, "there is no 'sett'; there are set, rename"),
    ],
)
def test_what_cannot_be_read_says_what_to_write(steps: dict[str, Any], reason: str) -> None:
    with pytest.raises((TypeError, ValueError), match=reason):
        steps_of(steps)


def test_a_field_that_is_not_there_leaves_the_event_as_it_is() -> None:
    before = json_object(EVENT)
    steps = steps_of(
        {
            "map": {"nowhere": {"a": "b"}},
            "absolute": "items[7].price",
            "remove": "order.inner",
            "rename": {"nowhere": "x"},
            "convert": {"address[].zip": int},
            "set": {"order.inner": 1, "items[7]": 1},
        }
    )
    event = json_object(EVENT) or {}
    assert [step.apply(event, {}) for step in steps] == [False] * 7
    assert event == before


# Entries


def stored(
    event: bytes, headers: dict[str, str] | None = None, entry_id: UUID | None = None
) -> StoredEntry:
    entry = DeadLetterEntry(entry_id=entry_id or uuid4(), payload=event, channel="orders")
    message = StoredMessage(1, "dlq", 0, b"{}", headers)
    return StoredEntry(entry, event, message, headers, None)


def decoding(*mask: str, key: str | None = None, decoders: Any = None) -> Decoding:
    table = None if decoders is None else DecoderTable(decoders)
    return Decoding(str, table, Mask(mask, key=key) if mask else None)


def fix_all(events: list[bytes], **steps: Any) -> FixTable:
    table = FixTable()
    for event in events:
        table.add(fixed(stored(event), decoding(), None, steps_of(steps)))
    return table


def test_the_difference_over_many_entries() -> None:
    order = LetterOrder(number=1).model_dump(mode="json") | {"__event_type__": "letter.order"}
    events = [
        *(b'{"country": "france", "n": %d}' % number for number in range(5)),
        *[b'{"country": "italy"}'] * 3,
        b'{"country": "IT"}',
        b'{"n": 1}',
        b"\xff\xfe",
        b"[1]",
        json.dumps(order | {"country": "france"}).encode(),
        json.dumps(order | {"country": "italy", "number": "x"}).encode(),
    ]
    table = fix_all(events, map={"country": {"france": "FR", "italy": "IT"}})
    frame: Any = table.frame(15)
    assert list(frame.index.names) == ["field", "before", "after"]
    assert frame["entries"].to_dict() == {
        ("country", '"france"', '"FR"'): 6,
        ("country", '"italy"', '"IT"'): 4,
    }
    row = frame.loc[("country", '"italy"', '"IT"')]
    assert row["refused"] == 1
    assert row["why"].startswith("number: ")
    assert UUID(row["example"]) not in table.edits
    assert frame.attrs == {
        "entries": 15,
        "changed": 9,
        "unchanged": 2,
        "refused": 1,
        "unreadable": 2,
        "unchecked": 8,
        "gone": 1,
        "no_such_field": {"country": 1},
    }
    assert difference_words(frame) == (
        "9 of 15 entries would change; 1 cannot be fixed so, see why in the table; 2 have no "
        "readable event; 1 are no longer in the queue; 1 have no field country; 8 are not "
        "checked: this kernel has no class of theirs"
    )
    assert kept_words(frame).startswith("9 entries changed; plan a replay to send them; 1 cannot")
    assert shown_difference(frame).columns.tolist()[-2:] == ["refused", "why"]
    for edit in table.edits.values():
        assert b"FR" in edit.data or b"IT" in edit.data
        assert edit.diff.count("\n") > 2


def test_reasons_of_one_row_are_counted_and_a_failed_step_changes_nothing() -> None:
    events = [b'{"total": "a"}', b'{"total": "a"}', b'{"n": 1}', b'{"total": 1}']
    table = fix_all(events, python="event['n'] = 2\nif event['total'] == 'a': raise ValueError(1)")
    frame: Any = table.frame(4)
    row = frame.loc[("(Python)", "", NOT_DONE)]
    assert (row["entries"], row["refused"]) == (3, 3)
    assert row["why"].startswith("line 2: ValueError: 1")
    assert row["why"].endswith("; and 1 other reason")
    assert frame.loc[("n", MISSING, "2"), "entries"] == 1
    assert frame.attrs["changed"] == 1
    empty = fix_all([], remove="x").frame(0)
    assert empty.empty
    assert list(empty.index.names) == ["field", "before", "after"]


@pytest.mark.parametrize(
    ("event", "kind", "after"),
    [
        (b'{"n": 1}', "float", "1.0"),
        (b'{"n": 1}', "bool", "true"),
        (b'{"n": 1.0}', "int", "1"),
        (b'{"n": true}', "int", "1"),
        (b'{"n": [1]}', "list", None),
    ],
)
def test_values_of_other_kinds_differ_though_python_calls_them_equal(
    event: bytes, kind: str, after: str | None
) -> None:
    table = fix_all([event], convert={"n": kind})
    assert [change[2] for change in table.frame(1).index] == ([] if after is None else [after])
    assert [edit.data for edit in table.edits.values()] == (
        [] if after is None else [f'{{"n": {after}}}'.encode()]
    )


def test_a_fix_is_on_top_of_the_edit_before() -> None:
    entry = stored(b'{"a": 1, "b": 1.50}')
    first = fixed(entry, decoding(), None, steps_of({"set": {"a": 2}})).edit
    second = fixed(entry, decoding(), first, steps_of({"rename": {"a": "c"}}))
    assert second.edit is not None
    assert second.edit.data == b'{"c": 2, "b": 1.50}'
    assert second.changes == (("a", "2", MISSING), ("c", MISSING, "2"))
    assert second.edit.diff.splitlines()[2:] == [
        "@@ -1,4 +1,4 @@", " {", '-  "a": 1,', '+  "c": 2,', '   "b": 1.50', " }",
    ]  # fmt: skip


def test_an_event_is_written_by_the_decoder_that_reads_it() -> None:
    import msgpack

    when = msgpack.Timestamp(1, 0)
    data = msgpack.packb({"country": "france", "raw": b"\x00\xff", "at": when})
    entry = stored(data)
    read = decoding(decoders="msgpack")
    first = fixed(entry, read, None, steps_of({"map": {"country": {"france": "FR"}}}))
    assert first.edit is not None
    second = fixed(entry, read, first.edit, steps_of({"set": {"n": 1}}))
    assert second.edit is not None
    expected = {"country": "FR", "raw": b"\x00\xff", "at": when, "n": 1}
    assert msgpack.unpackb(second.edit.data) == expected


MASKED = json.dumps(
    {
        "email": "ada@example.org",
        "total": -1.5,
        "items": [{"iban": "DE1234567", "n": 1}, {"iban": "DE7654321", "n": 1}],
        "note": "*** urgent",
    }
).encode()


@pytest.mark.parametrize("key", [None, "a key"])
@pytest.mark.parametrize(
    ("steps", "field"),
    [
        ({"set": {"email": "x"}}, "email"),
        ({"remove": "email"}, "email"),
        ({"rename": {"email": "mail"}}, "email"),
        (
            {"map": {"items[].iban": {"***": "x"}}, "set": {"items[0].iban": "x"}},
            r"items\[0\].iban",
        ),
        ({"remove": "items[0]"}, r"items\[0\].iban"),
        ({"set": {"items": None}}, r"items\[0\].iban"),
        ({"python": "event['items'] = event['items'][::-1]"}, r"items\[0\].iban"),
        ({"python": "event['copy'] = event['email']"}, "copy"),
        ({"python": "event['copy'] = [{'x': 'to ' + event['email']}]"}, r"copy\[0\].x"),
        ({"python": "event = {**event, 'email': event['items'][0]['iban']}"}, "email"),
    ],
)
def test_masked_values_are_neither_read_nor_changed(
    key: str | None, steps: Mapping[str, Any], field: str
) -> None:
    read = decoding("email", "*.iban", key=key)
    found = fixed(stored(MASKED), read, None, steps_of(steps))
    assert found.edit is None
    assert re.match(f"{field} has a value that is masked here", found.why)
    assert "ada@" not in repr(found)
    assert "DE1" not in repr(found)


@pytest.mark.parametrize("key", [None, "a key"])
def test_what_is_not_masked_is_fixed_around_the_masks(key: str | None) -> None:
    read = decoding("email", "*.iban", "headers.secret", key=key)
    entry = stored(MASKED, {"secret": "s3cr3t!", "plain": "p"})
    seen = "event['seen'] = [headers['plain'], 's3cr' in str(dict(headers)), 'ada' in str(event)]"
    steps = steps_of({"absolute": "total", "set": {"items[].n": 2}, "python": seen})
    found = fixed(entry, read, None, steps)
    assert (found.why, found.edit is not None) == ("", True)
    assert found.edit is not None
    assert json.loads(found.edit.data) == {
        "email": "ada@example.org",
        "total": 1.5,
        "items": [{"iban": "DE1234567", "n": 2}, {"iban": "DE7654321", "n": 2}],
        "note": "*** urgent",
        "seen": ["p", False, False],
    }
    for text in (repr(found.changes), found.edit.diff, found.edit.shown.decode()):
        assert "ada@" not in text
        assert "DE1" not in text
    again = fixed(entry, read, found.edit, steps_of({"set": {"total": 7}}))
    assert again.edit is not None
    assert json.loads(again.edit.data)["email"] == "ada@example.org"


# The fields of many


def test_the_fields_and_their_values_are_counted() -> None:
    counts = FieldCounts()
    for number in range(3):
        counts.add(
            {
                "country": "france" if number else "italy",
                "n": number if number else None,
                "odd name": True,
                "items": [{"sku": "a"}, {"sku": "b"}],
                "long": "x" * 500,
                "`": 1,
            }
        )
    counts.add({"n": 1.5})
    frame: Any = counts.frame()
    assert frame["entries"].to_dict() == {
        "n": 4, "country": 3, "`odd name`": 3, "items": 3, "items[]": 3, "items[].sku": 3,
        "long": 3,
    }  # fmt: skip
    assert frame.at["country", "values"] == {'"france"': 2, '"italy"': 1}
    assert list(frame.at["country", "values"]) == ['"france"', '"italy"']
    assert frame.at["n", "kinds"] == "integer, null, number"
    assert frame.at["items[].sku", "values"] == {'"a"': 3, '"b"': 3}
    assert frame.at["long", "values"] == {}
    assert FieldCounts().frame().empty


# Whatever the events are

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-5, 5) | st.sampled_from("abc"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner),
    max_leaves=6,
)
EVENTS = st.dictionaries(st.sampled_from("abcd"), VALUES, max_size=4)
STEPS = st.sampled_from(
    [
        {"set": {"a": 1}},
        {"set": {"a.b": None}},
        {"remove": "b"},
        {"absolute": "c"},
        {"convert": {"d": "str"}},
        {"convert": {"a[]": "int"}},
        {"map": {"c": {"a": "b", 1: 2, None: 0}}},
        {"rename": {"a": "d"}},
        {"python": "event['b'] = event['c']"},
    ]
)


@given(st.lists(EVENTS, max_size=8), st.lists(STEPS, max_size=4))
def test_the_counts_add_up_and_what_is_kept_is_what_is_shown(
    events: list[dict[str, Any]], steps: list[dict[str, Any]]
) -> None:
    read, parsed, table = decoding(), steps_of({"steps": steps}), FixTable()
    entries = [stored(written(event).encode()) for event in events]
    for entry in entries:
        table.add(fixed(entry, read, None, parsed))
    frame: Any = table.frame(len(events))
    counts = frame.attrs
    assert counts["gone"] == counts["unreadable"] == 0
    assert counts["changed"] + counts["unchanged"] + counts["refused"] == len(events)
    assert len(table.edits) == counts["changed"]
    assert (frame["refused"] <= frame["entries"]).all()
    assert ((frame["refused"] > 0) == (frame["why"] != "")).all()
    seen = FixTable()
    for entry in entries:
        if (edit := table.edits.get(entry.entry.entry_id)) is None:
            continue
        before, after = json_object(entry.event_bytes or b""), json_object(edit.data)
        shown = [*differences(before, after)]
        assert shown  # nothing is kept that changes nothing
        assert set(shown) <= set(frame.index)
        # doing it again on top of that differs from the fixed event only by what is not idempotent
        seen.add(fixed(entry, read, edit, []))
    assert seen.frame(len(table.edits)).attrs["unchanged"] == len(table.edits)


# What is typed


def test_what_is_typed_in_the_panel() -> None:
    typed = [typed_value(text, is_text=False) for text in (" FR ", "12", "1.5", "true", "null")]
    assert typed == ["FR", 12, 1.5, True, None]
    of_texts = [typed_value(text, is_text=True) for text in ("12", "true", '"x"', "null", "NaN")]
    assert of_texts == ["12", "true", "x", None, "NaN"]
    assert typed_value("[1, {}]", is_text=True) == [1, {}]
    pairs = typed_pairs("france=FR, italy = IT,", is_text=True)
    assert pairs == {"france": "FR", "italy": "IT"}
    assert typed_pairs("1=2", is_text=False) == {1: 2}
    with pytest.raises(ValueError, match="'spain' says no new value; write spain=…"):
        typed_pairs("france=FR, spain", is_text=True)
