"""The index of a queue: it selects what a look at each entry would, whatever came and went."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from itertools import chain, compress
from typing import Any, cast
from uuid import UUID

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from varco_core.event.dlq import DeadLetterSource
from varco_nats_widgets.dead_letters._index.cause import cause_of
from varco_nats_widgets.dead_letters._index.columns import outer_names
from varco_nats_widgets.dead_letters._index.filter import (
    DeadLetterFilter,
    FilterOptions,
    dead_letter_filter,
    event_fields,
    event_of,
    group_id,
)
from varco_nats_widgets.dead_letters._index.frame import DeadLetterFrameBuilder
from varco_nats_widgets.dead_letters._index.index import DeadLetterIndex
from varco_nats_widgets.dead_letters._index.masked import OfShownEntries, shown_entry
from varco_nats_widgets.dead_letters._index.plain import PlainEvents, plain_event
from varco_nats_widgets.frames import FrameBuilder
from varco_nats_widgets.frames._columns import clean
from varco_nats_widgets.frames._decoding import Decoding
from varco_nats_widgets.sample._failures import failures

from tests.widgets.dead_letters.helpers import (
    EVERYTHING,
    JSON,
    NAMES,
    SERIALIZER,
    START,
    GroupedOrder,
    index_of,
    stored,
)
from varco_nats._masks._mask import Mask
from varco_nats._nats.direct import StoredMessage
from varco_nats.dlq._codec import StoredEntry, decode, encode


def seqs(index: DeadLetterIndex, wanted: DeadLetterFilter = EVERYTHING) -> list[int]:
    found: list[int] = index.select(wanted).seqs().tolist()
    return found


# What is looked for entry by entry, which takes minutes for a whole queue


def group_of(entry: StoredEntry) -> str:
    dead = entry.entry
    return group_id(dead.handler_name, dead.error_type, cause_of(dead.error_message))


def matches(entry: StoredEntry, wanted: DeadLetterFilter, decoding: Decoding = JSON) -> bool:
    dead = entry.entry
    named = (
        (dead.channel, wanted.channels),
        (dead.error_type, wanted.error_types),
        (dead.handler_name, wanted.handlers),
        (dead.tenant_id, wanted.tenants),
        (str(dead.source), wanted.sources),
        (group_of(entry), wanted.groups),
        (event_fields(entry, decoding).event_type, wanted.event_types),
    )
    event, text = event_of(entry) or b"", wanted.text.casefold()
    readable = event.decode(errors="replace")
    if "\\" in readable:
        with suppress(ValueError):
            readable = json.dumps(json.loads(readable), ensure_ascii=False)
    return (
        all(some is None or (has is not None and clean(has) in some) for has, some in named)
        and (wanted.since is None or dead.last_failed_at >= wanted.since)
        and (wanted.until is None or dead.last_failed_at < wanted.until)
        and wanted.error.casefold() in dead.error_message.casefold()
        and (text in dead.error_message.casefold() or text in readable.casefold())
        and bool(meeting([entry], wanted, decoding))
    )


def meeting(
    some: Sequence[StoredEntry], wanted: DeadLetterFilter, decoding: Decoding = JSON
) -> list[StoredEntry]:
    """Those that meet the condition."""
    condition = wanted.condition
    if condition is None:
        return [*some]
    builder = DeadLetterFrameBuilder(decoding, headers=condition.headers)
    builder.add(some)
    frame = builder.build()
    short = {str(name).removeprefix("data."): frame[name] for name in frame.columns}
    frame = frame.assign(**{name: short[name] for name in short if name not in frame})
    return [*compress(some, condition.mask(frame))]


TEXTS = st.sampled_from(
    [
        "",
        "no answer for o-17",
        "no answer for o-4711",
        "Straße \u0130 \u017f",
        "\ud800 x",
        "a\nb",
        "ab",
        "B",
    ]
) | st.text(max_size=6)
NAMES_OF = st.sampled_from(["orders", "Orders", "payments.eu", "", "\ud800"])
EVENTS = st.sampled_from(
    [
        b"",
        b"\xff\xfe no text",
        b"[1, 2]",
        b'"text"',
        b'{"__event_type__": "a.b", "event_id": "e-1", "n": 3, "s": "Stra\\u00dfe"}',
        b'{"__event_type__": "a.c", "event_id": "e-2", "n": 3.5, "in": {"s": "x", "n": [1, "B"]}}',
        b'{"__event_type__": 5, "n": "3", "channel": "own", "more": {"a": 1}, "items": [{"k": 1}]}',
        b'{"n": 123456789012345678901234567890, "timestamp": "2026-05-04T08:00:00Z", "s": null}',
        b'{"specversion": "1.0", "id": "e-1", "source": "s", "type": "a.b", "data": {"n": 4}}',
        b'{"n": true, "s": "\\ud800", "a.b": 2, "a": {"b": 3}}',
    ]
)


@st.composite
def entry_fields(draw: st.DrawFn) -> dict[str, Any]:
    failed = START + timedelta(microseconds=draw(st.integers(-5, 5)))
    return {
        "message": draw(TEXTS),
        "event": None,
        "payload": draw(st.none() | EVENTS),
        "channel": draw(NAMES_OF),
        "handler_name": draw(NAMES_OF),
        "error_type": draw(NAMES_OF),
        "tenant_id": draw(st.none() | NAMES_OF),
        "source": draw(st.sampled_from([*DeadLetterSource])),
        "attempts": draw(st.integers(0, 3)),
        "first_failed_at": failed - timedelta(days=draw(st.integers(0, 1))),
        "last_failed_at": failed,
        "headers": draw(
            st.none() | st.just({"Tenant": "B"}) | st.just({"tenant": "b", "Varco-Replay-Of": "x"})
        ),
    }


CONDITIONS = st.sampled_from(
    [
        "n > 3",
        "n == 3",
        'n == "3"',
        "data.n >= 3 and channel == 'orders'",
        's contains "SS"',
        "s is missing",
        "in.n contains 'b'",
        "in.n[0] == 1",
        "items[].k == 1",
        "headers.tenant == 'b'",
        "headers.TENANT is present",
        "headers is present",
        "channel == 'own'",
        "data.channel == 'own'",
        "more.a == 1",
        "a.b == 3 or a.b == 2",
        "value contains 'text'",
        "age > 1",
        "attempts == 2 and replay_count == 0",
        "decode_error is present",
        "raw is present",
        "first_failed_at is missing",
        "last_failed_at >= '2026-05-04 08:00:00'",
        "timestamp is present",
        "error_message contains 'ANSWER'",
        "entry_id startswith '0000'",
        "event_id == 'e-1'",
        "error_type == handler",
        "nowhere is missing",
    ]
)


@st.composite
def filters(draw: st.DrawFn) -> FilterOptions:
    names = st.lists(NAMES_OF, min_size=1, max_size=2)
    moments = st.integers(-6, 6).map(lambda n: START + timedelta(microseconds=n))
    options: dict[str, st.SearchStrategy[Any]] = {
        "channel": names,
        "error_type": names,
        "handler": names,
        "tenant_id": names,
        "error": TEXTS,
        "text": TEXTS | st.sampled_from(["strasse", "3", '"', "o-4", "\\"]),
        "event_type": st.sampled_from(["a.b", "a.c", ["a.b", "a.c"], "5"]),
        "since": moments,
        "until": moments,
        "source": st.sampled_from(["consumer", ["job", "outbox_relay"]]),
        "condition": CONDITIONS,
        "group": st.just(group_id("orders", "orders", "no answer for o-<n>")),
    }
    chosen = draw(st.lists(st.sampled_from(sorted(options)), max_size=3, unique=True))
    return cast(FilterOptions, {name: draw(options[name]) for name in chosen})


MASK = Mask.parse("s, n, headers.tenant, event_id")


@given(
    batches=st.lists(st.lists(entry_fields(), max_size=4), max_size=4),
    gone=st.lists(st.sets(st.integers(1, 16)), min_size=4, max_size=4),
    given_filters=st.lists(filters(), min_size=4, max_size=8),
    block=st.integers(1, 6),
    is_masked=st.booleans(),
)
@settings(max_examples=60)
def test_an_index_selects_what_a_look_at_each_entry_does(
    batches: list[list[dict[str, Any]]],
    gone: list[set[int]],
    given_filters: list[FilterOptions],
    block: int,
    is_masked: bool,
) -> None:
    decoding: Decoding = OfShownEntries(str) if is_masked else JSON
    there: list[StoredEntry] = []
    number = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("varco_nats_widgets.dead_letters._index.index._BLOCK", block)
        index = DeadLetterIndex(decoding)
        for fields, leaving in zip(batches, gone, strict=False):
            came = []
            for each in fields:
                number += 1
                letter = stored(number, **each)
                came.append(shown_entry(letter, Decoding(str, mask=MASK)) if is_masked else letter)
            index.add(there[-1:] + came)  # what is known is not taken in again
            there = [letter for letter in there + came if letter.message.seq not in leaving]
            index.keep(np.array([letter.message.seq for letter in there], dtype=np.int64))
            for options in given_filters:
                wanted = dead_letter_filter(**options)
                found = [
                    letter.message.seq for letter in there if matches(letter, wanted, decoding)
                ]
                assert seqs(index, wanted) == found, options
    assert len(index) == len(there)
    selection = index.select(EVERYTHING)
    assert selection.entry_ids() == [letter.entry.entry_id for letter in there]
    groups = [group_of(letter) for letter in there]
    assert selection.frame()["count"].to_dict() == {name: groups.count(name) for name in groups}
    check_counts(index, there, decoding)


def test_a_large_queue_that_is_read_by_whole_columns_gives_the_same() -> None:
    there = [
        decode(
            StoredMessage(
                number,
                NAMES.subject(letter.entry_id, letter.channel),
                0,
                encode(letter, SERIALIZER),
                None,
            ),
            NAMES,
        )
        for number, letter in enumerate(failures(2300), 1)
    ]
    index = DeadLetterIndex(JSON)
    for start in range(0, len(there), 900):
        index.add(there[start : start + 900])
    index.keep(np.array([letter.message.seq for letter in there if letter.message.seq % 3]))
    there = [letter for letter in there if letter.message.seq % 3]
    for condition in (
        "total > 100",
        'customer.name contains "a"',
        "items[].sku is present and total < 0",
        'country in ("france", "italy") or lines is present',
        "decode_error is present",
        "amount is missing",
        'error_message contains "deadlock"',
    ):
        wanted = dead_letter_filter(condition=condition)
        # so few are decoded one by one
        parts = [there[start : start + 100] for start in range(0, len(there), 100)]
        found = [letter.message.seq for part in parts for letter in meeting(part, wanted)]
        assert 0 < len(found) < len(there), condition
        assert seqs(index, wanted) == found, condition
    check_counts(index, there, JSON)


def check_counts(index: DeadLetterIndex, there: Sequence[StoredEntry], decoding: Decoding) -> None:
    values = {
        "channel": [clean(letter.entry.channel) for letter in there],
        "tenant_id": [clean(t) for letter in there if (t := letter.entry.tenant_id) is not None],
        "event_type": [t for letter in there if (t := event_fields(letter, decoding).event_type)],
    }
    selection = index.select(EVERYTHING)
    for column, each in values.items():
        assert selection.counts(column) == {value: each.count(value) for value in each}
    for letter in there:
        event_id = event_fields(letter, decoding).event_id
        assert event_id is None or letter.message.seq in index.may_have_event(event_id)


def test_groups_shrink_as_entries_leave() -> None:
    index = index_of(*(stored(n, message="a" if n % 3 else "b") for n in range(1, 301)))
    index.keep(np.arange(1, 301, 2))
    assert len(index) == 150
    assert index.select(EVERYTHING).frame()["count"].sum() == 150
    assert seqs(index) == list(range(1, 301, 2))
    assert index.select(EVERYTHING).counts("channel") == {"orders": 150}
    assert index.seqs_of([UUID(int=7), UUID(int=8)]).tolist() == [7]
    index.keep(np.array([], dtype=np.int64))
    assert len(index) == 0
    assert len(index.select(EVERYTHING).frame()) == 0
    assert index.select(EVERYTHING).counts("channel") == {}
    index.add([stored(400)])
    assert seqs(index) == [400]


def test_conditions_look_at_those_that_are_left_of_a_block() -> None:
    envelope = b'{"specversion": "1.0", "id": "e", "source": "s", "type": "t", "data": {"n": 7}}'
    payloads = [b'{"n": 1, "s": {"t": "x"}}', b"no JSON", envelope, b'{"n": 7}', b'{"a.b": 7}']
    entries = [stored(n, payload=payloads[n % 5], channel=f"c{n % 2}") for n in range(1, 1101)]
    index = index_of(*entries)
    for each in (7, 91):  # of each kind of payload some are left, a part of the block and few
        there = [letter for letter in entries if letter.message.seq % each == 0]
        before = index.nbytes
        index.keep(np.array([letter.message.seq for letter in there], dtype=np.int64))
        assert index.nbytes < before
        for condition in (
            "n == 7 and channel == 'c1'",
            "s.t is present",
            "a.b == 7",
            "decode_error is present",
            "event_id == 'e'",
            f"entry_id == '{UUID(int=91 * 5)}'",
        ):
            wanted = dead_letter_filter(condition=condition)
            found = [letter.message.seq for letter in meeting(there, wanted)]
            assert found
            assert seqs(index, wanted) == found, condition
        assert [*map(len, index._state.all_blocks)] == [len(there)]


def test_entries_of_a_group() -> None:
    index = index_of(*(stored(n, message="a" if n % 3 else "b") for n in range(1, 10)))
    selection = index.select(EVERYTHING)
    group = selection.frame().index[1]
    assert selection.group_ids() == index.group_ids() == {*selection.frame().index}
    assert index.select(dead_letter_filter(group=group)).group_ids() == {group}
    assert selection.seqs([group]).tolist() == [3, 6, 9]
    assert selection.entry_ids([group]) == [UUID(int=n) for n in (3, 6, 9)]
    assert selection.among([UUID(int=3), UUID(int=4)], [group]) == [UUID(int=3)]
    assert selection.among([UUID(int=3), UUID(int=44)], None) == [UUID(int=3)]
    assert selection.seqs(["unknown"]).tolist() == []
    assert index.select(dead_letter_filter(group="unknown")).group_ids() == set()


def test_a_selection_stays_as_it_was() -> None:
    index = index_of(*(stored(n) for n in range(1, 10)))
    before = index.select(EVERYTHING)
    index.keep(np.arange(1, 5))
    index.add([stored(20)])
    assert before.seqs().tolist() == list(range(1, 10))
    assert seqs(index) == [1, 2, 3, 4, 20]


def test_copies_of_an_event_are_found() -> None:
    event = GroupedOrder(number=1)
    index = index_of(stored(1, event=event), stored(2), stored(3, event=event))
    assert index.may_have_event(str(event.event_id)) == [1, 3]
    assert index.may_have_event("another") == []
    index.keep(np.array([3]))
    assert index.may_have_event(str(event.event_id)) == [3]


def test_a_condition_that_names_no_column_is_hinted_at() -> None:
    index = index_of(*(stored(n) for n in range(1, 4)))
    condition = dead_letter_filter(condition="nunber > 1").condition
    assert "did you mean 'number'" in index.hint(condition)
    assert index.hint(dead_letter_filter(condition="number > 1").condition) == ""
    assert DeadLetterIndex(JSON).hint(condition) == ""


def test_what_cannot_be_read_is_there_too() -> None:
    broken = decode(StoredMessage(5, "dead.x", 0, b"\xff\x00 no JSON", None), NAMES)
    index = index_of(stored(1), broken)
    assert seqs(index, dead_letter_filter(error_type="UnreadableEntry")) == [5]
    assert seqs(index, dead_letter_filter(condition="raw is present")) == [5]
    assert seqs(index, dead_letter_filter(text="no json")) == [5]


def test_memory_is_a_part_of_what_is_stored() -> None:
    texts = [f"no answer of the warehouse within {n} s, order o-{n * 7919}" for n in range(3000)]
    entries = [stored(n, message=text * 20) for n, text in enumerate(texts, 1)]
    index = index_of(*entries)
    size = sum(len(entry.message.data) for entry in entries)
    assert 80 * 3000 < index.nbytes < size / 4


# Events that are read when a condition asks, and what columns of all their fields would have

KEYS = st.sampled_from(
    [
        *("a", "b", "a.b", "b.a", "data", "data.a", "more", "", ".", 'q"', "ü", "é.a"),
        *("timestamp", "event_id", "__event_type__", "headers", "channel"),
    ]
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.sampled_from([0, 1, -5, 2**63, 10**25, 1.5, -0.0])
    | st.sampled_from(["", "x", "2026-05-04T08:00:00Z", "no time"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


@given(
    events=st.lists(st.dictionaries(KEYS, VALUES, max_size=4), min_size=1, max_size=6),
    names=st.lists(
        st.lists(KEYS, min_size=1, max_size=3).map(".".join), min_size=1, max_size=4, unique=True
    ),
    left=st.sets(st.integers(0, 5)),
)
@example(events=[{"a": {"b": 1, "é.a": False}}], names=["a.é.a"], left=set())
@example(events=[{"a": {"b": 1}}, {"a": {"b.a": 1}}], names=["a.b.a"], left=set())
@settings(max_examples=50)
def test_fields_that_are_read_from_the_json_are_those_of_a_frame(
    events: list[dict[str, Any]], names: list[str], left: set[int]
) -> None:
    payloads = [json.dumps(event, ensure_ascii=False).encode() for event in events]
    assert [plain_event(data) for data in payloads] == events
    rows = sorted(left & {*range(len(events))})
    for some, read in (
        (payloads, PlainEvents(payloads)),
        ([payloads[row] for row in rows], PlainEvents(payloads).at(np.array(rows, dtype=np.int32))),
    ):
        builder = FrameBuilder(JSON, prefix="data.")
        builder.add([StoredMessage(n, "orders", 0, data, None) for n, data in enumerate(some, 1)])
        wanted = {name.removeprefix("data."): [*each] for name, each in builder.fields().items()}
        assert read.names() == wanted.keys()
        expected = {
            name: each for name, each in wanted.items() if any(value is not None for value in each)
        }
        found = read.fields(names)
        assert repr(found) == repr({name: expected[name] for name in found})
        assert found.keys() & {*names} == expected.keys() & {*names}
        assert found.keys() <= {*chain.from_iterable(map(outer_names, names))}
        # where no name is odd, only what is asked for is read
        usual = [name for name in names if name in {"a", "b", "ü", "headers", "channel"}]
        assert read._fields_by_path(usual) is not None
        frame = builder.build()
        for column in ("event_type", "event_id", "timestamp"):
            own = pd.Series(read.own(column), index=frame.index, name=column)
            pd.testing.assert_series_equal(own, frame[column])


PATHS = st.lists(
    st.sampled_from(["a", "b", "data", "more", "event_id", "channel"]),
    min_size=1,
    max_size=3,
).map(".".join)
TESTS = st.sampled_from(
    ["{} is present", "{} is missing", "{} == 1", "{} > 0", '{} contains "X"', '{} != "x"']
)


@given(
    events=st.lists(st.dictionaries(KEYS, VALUES, max_size=4), min_size=1, max_size=6),
    tests=st.lists(st.tuples(TESTS, PATHS), min_size=1, max_size=3),
    joined=st.sampled_from([" and ", " or "]),
)
@example(events=[{"a": {"b": 1}}, {"a": {}}], tests=[("{} is present", "a")], joined=" and ")
@example(events=[{"a": {"b.a": 1}}], tests=[("{} == 1", "a.b.a")], joined=" and ")
@settings(max_examples=100)
def test_a_condition_on_nested_fields_means_the_same_in_an_index_as_in_a_frame(
    events: list[dict[str, Any]], tests: list[tuple[str, str]], joined: str
) -> None:
    payloads = [json.dumps(event, ensure_ascii=False).encode() for event in events]
    entries = [stored(n, payload=data) for n, data in enumerate(payloads, 1)]
    wanted = dead_letter_filter(condition=joined.join(test.format(path) for test, path in tests))
    found = [letter.message.seq for letter in meeting(entries, wanted)]
    assert seqs(index_of(*entries), wanted) == found


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[1]",
        b'"text"',
        b'{"a": NaN}',
        b'{"a": 1e999}',
        b'{"a": "\\ud800"}',
        b'{"a": "\\x"}',
        b'{"a": 1} {"a": 2}',
        b'{"a": 1}, {"a": 2}',
        b'{"a": "\xff"}',
        b'{"\xff": 1}',
        b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a": ' + b"[" * 500 + b"]" * 500 + b"}",
        b'{"specversion": "1.0", "id": "e-1", "source": "s", "type": "a.b"}',
    ],
)
def test_an_event_that_is_not_surely_an_object_is_read_by_the_exact_way(data: bytes) -> None:
    assert plain_event(data) is None
    other = b'{"a": 1, "event_id": "e-2"}'
    entries = [stored(1, payload=other), stored(2, payload=data), stored(3, payload=other)]
    index = index_of(*entries)
    for condition in ("a == 1", "a is missing", "decode_error is present", "event_id == 'e-2'"):
        wanted = dead_letter_filter(condition=condition)
        found = [letter.message.seq for each in entries for letter in meeting([each], wanted)]
        assert seqs(index, wanted) == found, condition
    assert seqs(index, dead_letter_filter(condition="a == 1")) == [1, 3]
