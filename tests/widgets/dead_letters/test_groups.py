"""The pure parts of dead letters: what makes a group, filters, frames."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import pytest
from varco_core.event.dlq import DeadLetterEntry, DeadLetterSource
from varco_nats_widgets.dead_letters._edit import InvalidPayloadError, edited
from varco_nats_widgets.dead_letters._index.filter import dead_letter_filter, group_id
from varco_nats_widgets.dead_letters._index.frame import DeadLetterFrameBuilder
from varco_nats_widgets.dead_letters._index.groups import sparkline
from varco_nats_widgets.dead_letters._view.tables import put_together, short_names, shown_groups
from varco_nats_widgets.dead_letters._view.words import plan_words
from varco_nats_widgets.publish._pretty import pretty
from varco_nats_widgets.replays import plan_frame

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
from varco_nats._nats.direct import StoredMessage
from varco_nats._nats.provenance import replays_of
from varco_nats.dlq._codec import StoredEntry, decode, encode
from varco_nats.replay import (
    PlannedConsumer,
    PlannedReplay,
    PlannedTarget,
    ReplayDecision,
    ReplayKind,
    ReplayPlan,
)
from varco_nats.replay._plan_rows import skip_replayed

CAME_BACK = {"Varco-Replay-Of": "x", "Varco-Replay-Count": "2"}


def groups_of(*entries: StoredEntry) -> pd.DataFrame:
    return index_of(*entries).select(EVERYTHING).frame()


# Groups


def test_a_group_is_handler_type_and_message() -> None:
    one = group_id("a", "E", "m")
    assert one == group_id("a", "E", "m")
    assert (
        len({one, group_id("b", "E", "m"), group_id("a", "F", "m"), group_id("a", "E", "n")}) == 4
    )
    assert group_id("a", "bE", "m") != group_id("ab", "E", "m")
    assert len(groups_of(stored(message="o-1 failed"), stored(2, message="o-22 failed"))) == 1


def test_sparkline() -> None:
    assert sparkline([0, 1, 4, 8]) == "▁▂▅█"
    assert sparkline([0, 0]) == "▁▁"
    assert sparkline([]) == ""
    assert sparkline([5, 5]) == "██"
    assert sparkline([1, 10**9]) == "▂█"


def test_groups_have_counts_times_trend_and_an_example() -> None:
    entries = [stored(n, message=f"no answer for o-{n}") for n in range(1, 8)]
    entries.append(stored(8, message="no answer for o-8", channel="orders.eu"))
    entries.append(stored(9, message="gone", error_type="KeyError", headers=CAME_BACK))
    frame = groups_of(*entries)
    assert frame["count"].tolist() == [8, 1]
    assert frame["share"].tolist() == [8 / 9, 1 / 9]
    first, second = frame.iloc[0], frame.iloc[1]
    assert first["message"] == "no answer for o-<n>"
    assert (first["handler"], first["error_type"]) == ("Shop.on_order", "TimeoutError")
    assert first["first_seen"] == START + timedelta(seconds=1)
    assert first["last_seen"] == START + timedelta(seconds=9)
    assert first["channels"] == ["orders", "orders.eu"]
    assert (first["came_back"], second["came_back"]) == (0, 1)
    assert first["example"] == str(UUID(int=8))
    assert first["trend"] == [2, 1, 1, 1, 1, 1, 1, 0]
    assert second["trend"] == [0] * 7 + [1]
    assert frame.index[0] == group_id("Shop.on_order", "TimeoutError", "no answer for o-<n>")


def test_a_few_old_entries_do_not_flatten_the_trend() -> None:
    old = START - timedelta(days=45)
    entries = [stored(n, last_failed_at=old) for n in range(1, 4)]
    entries += [stored(n) for n in range(10, 330)]
    frame = groups_of(*entries)
    trend = frame["trend"].iloc[0]
    assert sum(trend) == 323
    assert min(trend) >= 39
    since, until = frame.attrs["trend"]
    assert since > START
    assert until == START + timedelta(seconds=330)


def test_many_small_groups_of_one_cause_are_shown_as_one() -> None:
    names = [f"{first} {last}" for first in ("Ada", "Bo", "Cleo") for last in ("Li", "Om", "Pi")]
    entries = [stored(n, message=f"{name} has no wallet") for n, name in enumerate(names, 1)]
    entries += [stored(n, error_type="a.b.KeyError") for n in range(10, 2000)]
    groups = groups_of(*entries)
    assert len(groups) == 10
    together, rows = put_together(groups)
    assert together["count"].tolist() == [1990, 9]
    assert rows[together.index[1]] == tuple(groups.index[1:])
    assert together["message"].iloc[1] == "9 messages such as: Ada Li has no wallet"
    assert [sum(counts) for counts in together["trend"]] == [1990, 9]
    shown = shown_groups(together)
    assert shown["error"].tolist() == ["KeyError", "TimeoutError"]
    labelled = shown_groups(together.assign(owner="ada", note="known"))
    first = ["count", "trend", "error", "owner", "note", "message"]  # what tells them apart first
    assert [*labelled.columns][:6] == first
    nameless = shown_groups(together.assign(error_type="", owner=None, note="known"))
    assert [*nameless.columns][:4] == ["count", "trend", "note", "message"]  # no empty column
    assert short_names(pd.Series(["a.E", "b.E", "c.F"]), 1) == ["a.E", "b.E", "F"]
    assert put_together(groups.iloc[:4])[1] == {}


def test_an_empty_queue_has_no_groups() -> None:
    frame = groups_of()
    assert len(frame) == 0
    assert {"count", "share", "message", "trend", "example"} <= set(frame.columns)


@pytest.mark.parametrize(
    ("headers", "count"),
    [
        ({"Varco-Replay-Of": "x", "Varco-Replay-Count": "3"}, 3),
        ({"Varco-Replay-Of": "x", "Varco-Replay-Count": "many"}, 1),
        ({"Varco-Replay-Of": "x", "Varco-Replay-Count": "9" * 5000}, 1),
        ({"Varco-Replay-Of": "x"}, 1),
        ({"Trace": "7"}, 0),
        (None, 0),
    ],
)
def test_how_often_an_event_was_replayed(headers: dict[str, str] | None, count: int) -> None:
    assert replays_of(stored(headers=headers).headers) == count


def test_what_a_plan_says_in_the_widget() -> None:
    def row(number: int, why: str = "") -> PlannedReplay:
        decision = ReplayDecision.SKIP if why else ReplayDecision.REPLAY
        channel = f"c{number % 7}"
        return PlannedReplay(
            str(number), None, 1, channel, channel, "", None, None, b"", {}, 0, False, decision, why
        )

    planned = [row(number) for number in range(200)]
    rows = skip_replayed(planned, {str(number): str(UUID(int=number)) for number in range(200)}, {})
    rows += [row(number) for number in range(7)]
    rows += [row(1, "not there"), row(2, "too large"), row(3, "too large"), row(4, "no channel")]
    plan = ReplayPlan("id", ReplayKind.REPLAY, tuple(rows), "dead", "events", START)
    assert plan_words(plan) == (
        "7 of 211 would be sent: 1 to c0, 1 to c1, 1 to c2, 1 to c3, 1 to c4, the rest to 2 more "
        "channels; 204 skipped: replayed before by run … and pushed again since; tick 'include "
        "what was replayed before' to replay it again (200), too large (2), not there (1), and "
        "other reasons"
    )
    held = f"ada@host has been replaying it since 09:12 UTC (run {UUID(int=1)}); plan again later"
    assert plan_words(replace(plan, rows=(row(1, held),))) == (
        "nothing would be sent; 1 skipped: ada@host has been replaying it since 09:12 UTC; plan "
        "again later"
    )
    idle = PlannedConsumer("svc-orders", START, 12, 3, False, asked_at=START + timedelta(hours=3))
    targets = (
        PlannedTarget("orders", 5, 9, True, (idle,), note="the only consumer of orders is idle"),
        PlannedTarget("bills", 5, 9, True, (), "no right", note="not known who consumes bills"),
        PlannedTarget("returns", 2, 0, True, (), "", True, "nobody consumes returns"),
    )
    assert plan_words(replace(plan, rows=(), targets=targets)) == (
        "nothing would be sent; nobody consumes returns; "
        "orders: svc-orders (last active 3 h ago, 12 waiting, 3 unacknowledged); "
        "the only consumer of orders is idle; not known who consumes bills"
    )
    many = tuple(replace(targets[0], channel=f"c{number}", note="") for number in range(9))
    assert plan_words(replace(plan, rows=(), targets=many)).endswith("; 4 more channels")
    assert plan_frame(replace(plan, targets=targets)).attrs["targets"][2] == {
        "channel": "returns",
        "count": 2,
        "messages": 0,
        "consumers": [],
        "unhandled": True,
        "warning": "nobody consumes returns",
    }


# Filters


@pytest.mark.parametrize(
    ("given", "matches"),
    [
        ({}, True),
        ({"channel": "orders"}, True),
        ({"channel": ["x", "orders"]}, True),
        ({"channel": "order"}, False),
        ({"error_type": "TimeoutError"}, True),
        ({"error_type": "KeyError"}, False),
        ({"error": "NO ANSWER"}, True),
        ({"error": "payload"}, False),
        ({"handler": "Shop.on_order"}, True),
        ({"handler": ("Shop.on_pay",)}, False),
        ({"event_type": GroupedOrder}, True),
        ({"event_type": ["other", "grouped.order"]}, True),
        ({"event_type": "other"}, False),
        ({"tenant_id": "t1"}, True),
        ({"tenant_id": "t2"}, False),
        ({"text": "Größe"}, True),
        ({"text": "INNER"}, True),
        ({"text": "nowhere"}, False),
        ({"source": "consumer"}, True),
        ({"source": DeadLetterSource.JOB}, False),
        ({"since": START}, True),
        ({"since": START + timedelta(seconds=3)}, False),
        ({"until": START + timedelta(seconds=2)}, False),
        ({"until": "2026-05-04 08:00:03"}, True),
        ({"last": "1m"}, False),
        ({"channel": "", "text": "", "event_type": None}, True),
        ({"group": group_id("Shop.on_order", "TimeoutError", "no answer")}, True),
        ({"group": "0000000000"}, False),
        ({"channel": "orders", "handler": "other"}, False),
    ],
)
def test_filters(given: dict[str, Any], matches: bool) -> None:
    one = stored(1, tenant_id="t1", event=GroupedOrder(number=1, channel='"Gr\u00f6\u00dfe" inner'))
    assert len(index_of(one).select(dead_letter_filter(**given))) == matches


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"chanel": "x"}, TypeError, "no filter chanel; there are channel, condition, error"),
        ({"last": "1h", "since": "2h"}, ValueError, "not both"),
        ({"source": "nobody"}, ValueError, "consumer, job, outbox_relay"),
        ({"since": "noon-ish"}, ValueError, "since='noon-ish' is not a time"),
    ],
)
def test_wrong_filters_are_refused(
    given: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        dead_letter_filter(**given)


# Frames

COLUMNS = (
    "channel",
    "event_type",
    "event_id",
    "handler",
    "error_type",
    "error_message",
    "attempts",
    "first_failed_at",
    "last_failed_at",
    "age",
    "source",
    "source_ref",
    "tenant_id",
    "replay_count",
    "timestamp",
)


def frame_of(*entries: StoredEntry) -> pd.DataFrame:
    builder = DeadLetterFrameBuilder(JSON, START + timedelta(minutes=1))
    builder.add(entries)
    return builder.build()


def raw(data: bytes, subject: str = "dead.x") -> StoredEntry:
    return decode(StoredMessage(5, subject, 0, data, None), NAMES)


def test_a_row_for_each_entry() -> None:
    event = GroupedOrder(number=7)
    one = stored(7, event=event, source_ref="events:12", tenant_id="t", headers={"Trace": "x"})
    frame = frame_of(one, stored(8))
    assert tuple(frame.columns) == (*COLUMNS, "data.number", "data.channel")
    assert frame.index.tolist() == [str(UUID(int=7)), str(UUID(int=8))]
    assert frame.index.name == "entry_id"
    row = frame.iloc[0]
    assert row["channel"] == "orders"
    assert row["data.channel"] == "inner"
    assert (row["event_type"], row["event_id"]) == ("grouped.order", str(event.event_id))
    assert row["timestamp"] == event.timestamp
    assert (row["handler"], row["attempts"]) == ("Shop.on_order", 3)
    assert (row["source"], row["source_ref"], row["tenant_id"]) == ("consumer", "events:12", "t")
    assert row["first_failed_at"] == START + timedelta(seconds=7)
    assert row["last_failed_at"] == START + timedelta(seconds=8)
    assert row["age"] == timedelta(seconds=52)
    assert frame["data.number"].dtype == np.int64
    assert pd.isna(frame["tenant_id"].iloc[1])


def test_an_empty_frame_has_the_columns() -> None:
    frame = frame_of()
    assert tuple(frame.columns) == COLUMNS
    assert frame.index.name == "entry_id"
    assert str(frame["last_failed_at"].dtype) == "datetime64[us, UTC]"


def test_rows_that_cannot_be_read_stay() -> None:
    entries = [
        stored(1),
        raw(b"\xff\x00 no JSON"),
        raw(b'{"foo": [1, 2]}'),
        raw(b""),
        stored(2, event=None, payload=b"\xff\xfe", source=DeadLetterSource.OUTBOX_RELAY),
    ]
    entries[-1] = decode(
        StoredMessage(
            6,
            NAMES.subject(UUID(int=6), "x"),
            0,
            encode(DeadLetterEntry(entry_id=UUID(int=6), payload=b"\xff\xfe"), SERIALIZER),
            None,
        ),
        NAMES,
    )
    frame = frame_of(*entries)
    assert len(frame) == 5
    assert frame["error_type"].tolist()[1:4] == ["UnreadableEntry"] * 3
    assert frame["raw"].tolist()[1:] == [
        b"\xff\x00 no JSON",
        b'{"foo": [1, 2]}',
        b"",
        b"\xff\xfe",
    ]
    assert pd.isna(frame["decode_error"].iloc[0])
    assert "is not a dead letter" in frame["decode_error"].iloc[1]
    assert frame["decode_error"].iloc[4].startswith("not UTF-8")


def test_an_edit_changes_what_it_says_and_the_difference_shows_all_of_it() -> None:
    before = (
        b'{"rate": 0.12345678901234567890, "a": 1, "a": 2, "who": "\\u00e9", "e": {}, "l": [1]}'
    )
    shown = pretty(before)
    assert shown.splitlines()[1:5] == [
        '  "rate": 0.12345678901234567890,',
        '  "a": 1,',
        '  "a": 2,',
        '  "who": "é",',
    ]
    assert edited(UUID(int=6), before, shown).data == before
    edit = edited(UUID(int=6), before, shown.replace("[\n    1", "[\n    1.0"))
    assert edit.data == (
        '{"rate": 0.12345678901234567890, "a": 1, "a": 2, "who": "é", "e": {}, "l": [1.0]}'.encode()
    )
    assert [line for line in edit.diff.splitlines()[2:] if line[0] in "+-"] == [
        "-    1",
        "+    1.0",
    ]
    one = edited(UUID(int=6), b'{"rate": 1.50, "flag": 1}', {"rate": 1.5, "flag": True})
    assert one.data == b'{"rate": 1.50, "flag": true}'
    with pytest.raises(InvalidPayloadError, match="the key 'a' twice"):
        edited(UUID(int=6), before, {"a": 3})
    with pytest.raises(InvalidPayloadError, match="NaN is no JSON number"):
        edited(UUID(int=6), before, '{"a": NaN}')


def test_an_entry_without_any_event_is_no_error() -> None:
    data = encode(DeadLetterEntry(entry_id=UUID(int=6)), SERIALIZER)
    entry = decode(StoredMessage(6, NAMES.subject(UUID(int=6), "x"), 0, data, None), NAMES)
    frame = frame_of(entry)
    assert "decode_error" not in frame
    assert pd.isna(frame["event_type"].iloc[0])


def test_odd_json_of_other_writers() -> None:
    fields = {
        "entry_id": str(UUID(int=6)),
        "channel": "x",
        "attempts": 10**30,
        "first_failed_at": "0001-01-01T00:00:00+00:00",
        "last_failed_at": "9999-12-31T23:59:59+00:00",
        "source_ref": 17,
        "tenant_id": ["a"],
        "headers": "none",
        "event_payload": json.dumps({"a": {"b": 1}, "entry_id": 5, "decode_error": "mine"}),
    }
    entry = raw(json.dumps(fields).encode(), NAMES.subject(UUID(int=6), "x"))
    row = frame_of(entry).iloc[0]
    assert (row["source_ref"], row["tenant_id"]) == ("17", "['a']")
    assert (row["data.a.b"], row["data.entry_id"], row["data.decode_error"]) == (1, 5, "mine")
    assert row["attempts"] == 2**62
    assert groups_of(entry)["count"].tolist() == [1]
    assert not len(index_of(entry).select(dead_letter_filter(tenant_id="b")))
