"""The record and its frames: plain rows in, DataFrames out."""

from __future__ import annotations

import threading
from dataclasses import asdict
from typing import Any

import pandas as pd
import pytest
from varco_nats_widgets.record import KINDS, DeliveryRecord, Row, _frames
from varco_nats_widgets.record._rows import error_text
from varco_nats_widgets.record._sources import Expiries
from varco_nats_widgets.record._table import Table

from tests.waiting import until

HOSTILE = '<img src=x onerror="alert(1)">$x$'


def row(time: float, kind: str, event: str | None = "a", **values: Any) -> Row:
    who = {"published": "producer", "stored": "stream", "deduplicated": "stream"}
    process = values.pop("process", who.get(kind, "consumer-1"))
    return Row(time, kind, process, "orders", event, "order.placed", **values)


def handled(event: str, start: float, seq: int) -> list[Row]:
    """All that happens to an event that is handled at once."""
    return [
        row(start, "published", event),
        row(start + 0.001, "stored", event, seq=seq),
        row(start + 0.002, "delivered", event, seq=seq, delivery=1),
        row(start + 0.003, "handled", event, seq=seq, delivery=1),
        row(start + 0.004, "acked", event, seq=seq, delivery=1),
    ]


def outcome(*rows: Row, done: bool = True, **options: Any) -> str:
    record = DeliveryRecord(rows, **options)
    if done:
        record.finish()
    assert_sums(record)
    return str(record.ledger["outcome"].iloc[0])


def assert_sums(record: DeliveryRecord) -> None:
    """What `Flow` says of its numbers, and that they are those of the ledger."""
    flow, ledger = record.flow, record.ledger
    assert flow.published == flow.stored + flow.deduplicated + flow.unacknowledged
    assert flow.delivered == (
        flow.handled + flow.skipped + flow.failed + flow.unseen + flow.unfinished
    )
    assert flow.events == len(ledger)
    assert flow.events == (flow.handled - flow.handled_again) + (
        flow.dead_lettered + flow.discarded + flow.lost + flow.acknowledged + flow.pending
    )
    for name in ("published", "stored", "deduplicated", "delivered", "redelivered", "handled"):
        assert getattr(flow, name) == ledger[name].sum()
    assert flow.frame["count"].to_dict() == asdict(flow)
    assert len(record.copies) == flow.published


# The outcome of an event


def test_outcomes() -> None:
    way = handled("a", 0.0, 1)
    again = [
        row(1.0, "delivered", seq=1, delivery=2),
        row(1.1, "handled", seq=1, delivery=2),
    ]
    failed = [*way[:3], row(0.5, "failed", seq=1, delivery=1, error="no")]
    assert outcome(*way) == "handled once"
    assert outcome(*way, *again) == "handled 2 times"
    assert outcome(*way[:3], done=False) == "pending"
    assert outcome(*failed, row(0.6, "terminated", seq=1, delivery=1)) == "discarded"
    dead = row(0.6, "dead_lettered", seq=1, delivery=1, process="dead letters")
    assert outcome(*failed, dead) == "dead-lettered"
    assert outcome(*failed, dead, row(2.0, "replayed", seq=2)) == "pending"
    assert outcome(*failed, row(0.7, "lost")) == "lost"


def test_acknowledged_first_and_not_handled_is_lost() -> None:
    acked = [row(0.0, "published"), row(0.1, "stored", seq=1), row(0.2, "acked", seq=1, delivery=1)]
    running = [*acked, row(0.3, "delivered", seq=1, delivery=1)]
    assert outcome(*running, done=False) == "pending"
    assert outcome(*running) == "lost"
    failed = row(0.4, "failed", seq=1, delivery=1, error="no")
    assert outcome(*running, failed, done=False) == "lost"


def test_never_stored_is_lost_when_no_more_can_come() -> None:
    rows = [row(0.0, "published"), row(0.4, "failed", process="producer", error="no PubAck")]
    assert outcome(*rows, done=False) == "pending"
    assert outcome(*rows) == "lost"
    flow = DeliveryRecord(rows).flow
    assert (flow.unacknowledged, flow.failed) == (1, 0)


def test_services_whose_handlers_cannot_be_seen() -> None:
    rows = [r for r in handled("a", 0.0, 1) if r.kind not in ("published", "handled")]
    assert outcome(*rows, sees_handlers=False) == "acknowledged"
    record = DeliveryRecord(rows, sees_handlers=False)
    assert record.flow.unseen == 1
    assert record.flow.published == 1  # a stored copy was published, though nobody saw that
    assert record.frame["since_published"].tolist() == pytest.approx([0, 0.001, 0.003])
    assert record.copies["published_at"].isna().all()
    latency = record.latency.iloc[0]  # of which nobody knows when it was published
    assert latency[2:].isna().tolist() == [True, False, False]
    assert latency[3:].tolist() == pytest.approx([0.001, 0.003])


# The frames


def test_order_of_time_and_numbers_of_events() -> None:
    late = handled("late", 5.0, 2)
    record = DeliveryRecord([*reversed(late), *handled("early", 1.0, 1)])
    frame = record.frame
    assert frame.index.name == "n"
    assert frame["time"].is_monotonic_increasing
    assert str(frame["time"].dtype) == "datetime64[us, UTC]"
    assert frame["event_id"].tolist() == ["early"] * 5 + ["late"] * 5
    assert frame["event"].tolist() == [1] * 5 + [2] * 5
    assert record.ledger.index.tolist() == ["early", "late"]
    assert frame["since_published"].tolist() == pytest.approx([0, 0.001, 0.002, 0.003, 0.004] * 2)


def test_rows_of_one_moment_stay_in_their_order() -> None:
    record = DeliveryRecord([row(1.0, kind, seq=1, delivery=1) for kind in KINDS])
    assert record.frame["kind"].tolist() == list(KINDS)


def test_a_time_that_was_rounded_is_the_same_time() -> None:
    """A row whose time was read from a frame comes after the one that it was read of."""
    for fraction in range(20):
        record = DeliveryRecord([row(1_780_000_000.123456 + fraction / 1e7, "delivered", seq=1)])
        record.add([row(record.ledger["last_seen"].iloc[0].timestamp(), "lost")])
        assert record.frame["kind"].tolist() == ["delivered", "lost"]


def test_redeliveries_and_ways_to_end() -> None:
    record = DeliveryRecord(
        [
            row(0.0, "published"),
            row(0.1, "stored", seq=1),
            row(0.2, "delivered", seq=1, delivery=1),
            row(0.3, "failed", seq=1, delivery=1, error="once"),
            row(0.35, "failed", seq=1, delivery=1, error="twice"),  # by a retry policy
            row(0.4, "delivered", seq=1, delivery=2),
            row(0.5, "delivered", seq=1, delivery=3, process="consumer-2"),
            row(0.6, "handled", seq=1, delivery=3, process="consumer-2"),
            row(0.7, "delivered", seq=1, delivery=4),
            row(0.8, "deduplicated", seq=1, delivery=4, process="consumer-1"),
        ]
    )
    entry = record.ledger.loc["a"]
    assert entry[
        ["delivered", "redelivered", "handled", "failed", "unfinished", "skipped"]
    ].to_dict() == {
        "delivered": 4,
        "redelivered": 3,
        "handled": 1,
        "failed": 1,
        "unfinished": 1,
        "skipped": 1,
    }
    assert entry["deduplicated"] == 0  # not by the stream
    assert_sums(record)


def test_an_ack_that_did_nothing_is_lost() -> None:
    again = [
        row(2.0, "expired", seq=1, delivery=1, process="stream"),
        row(2.0, "delivered", seq=1, delivery=2, process="consumer-2"),
    ]
    record = DeliveryRecord([*handled("a", 0.0, 1), *again])
    assert record.ledger.loc["a", ["acked", "ack_lost"]].tolist() == [0, 1]  # type: ignore[operator]
    assert record.latency["publish_to_acked"].isna().all()
    record.add([row(3.0, "acked", seq=1, delivery=2)])
    assert record.ledger.loc["a", ["acked", "ack_lost"]].tolist() == [1, 1]  # type: ignore[operator]
    assert record.latency["publish_to_acked"].tolist() == [3.0]
    # what was acknowledged first, or after it was delivered again, is no lost ack
    first = [row(0.1, "acked", seq=1, delivery=1), row(0.2, "delivered", seq=1, delivery=1)]
    late = [*again, row(2.1, "acked", seq=1, delivery=1)]
    for rows in (first, late):
        assert DeliveryRecord(rows).ledger["ack_lost"].tolist() == [0]
    # nor is what two services do with one message, where a server is looked at
    assert DeliveryRecord(record.rows(), sees_handlers=False).ledger["acked"].tolist() == [2]


def test_what_happens_to_a_process_is_no_event() -> None:
    fault = Row(0.5, "fault", "consumer-1", "orders", error="killed (SIGKILL)")
    record = DeliveryRecord([fault, *handled("a", 1.0, 1)], duplicate_window=1.0)
    alone = DeliveryRecord(handled("a", 1.0, 1), duplicate_window=1.0)
    assert record.frame.iloc[0][["kind", "process", "event", "error"]].tolist() == [
        "fault", "consumer-1", 0, "killed (SIGKILL)",
    ]  # fmt: skip
    assert record.frame.iloc[0][["event_id", "since_published"]].isna().all()
    for name in ("ledger", "copies", "latency"):
        pd.testing.assert_frame_equal(getattr(record, name), getattr(alone, name))
    assert record.flow == alone.flow
    only = DeliveryRecord([fault])
    assert (len(only.frame), only.flow.events, len(only.copies)) == (1, 0, 0)


def test_rows_without_an_id_belong_to_their_message() -> None:
    record = DeliveryRecord(
        [
            row(0.0, "stored", "a", seq=4),
            row(0.1, "acked", None, seq=4, delivery=1),
            row(0.2, "failed", None, seq=5, delivery=1, error="not JSON"),
            row(0.3, "terminated", None, seq=5, delivery=1),
        ]
    )
    assert record.ledger["outcome"].to_dict() == {"a": "pending", "seq 5": "discarded"}


def test_copies_and_the_window() -> None:
    """Dropped copies do not refresh the window: it ends 1 s after the last stored copy."""
    record = DeliveryRecord(
        [
            row(10.0, "published"),
            row(10.0, "stored", seq=1),
            row(10.6, "published"),
            row(10.6, "deduplicated", seq=1),
            row(11.3, "published"),
            row(11.3, "stored", seq=2),
        ],
        duplicate_window=1.0,
    )
    copies = record.copies
    assert copies["copy"].tolist() == [1, 2, 3]
    assert copies["dropped"].tolist() == [False, True, False]
    assert copies["seq"].tolist() == [1, 1, 2]
    assert copies["inside_window"].tolist() == [False, True, False]
    ends = (copies["window_ends_at"] - pd.Timestamp(0, tz="UTC")).dt.total_seconds()
    assert ends.tolist() == pytest.approx([11.0, 11.0, 12.3])
    assert_sums(record)


def test_no_window_where_no_message_id_was_sent() -> None:
    rows = [
        row(10.0, "published"),
        row(10.0, "stored", seq=1),
        row(10.6, "published"),
        row(10.6, "stored", seq=2),
    ]
    for record in (
        DeliveryRecord(rows, duplicate_window=1.0, semantics="at_least_once"),
        DeliveryRecord([row._replace(message_id="") for row in rows], duplicate_window=1.0),
    ):
        assert record.copies["window_ends_at"].isna().all()
        assert record.copies["inside_window"].tolist() == [False, False]
    # a replay has an id of its own, and does not meet the window of what it replays
    replayed = [*rows[:3], rows[3]._replace(message_id="replay.1")]
    copies = DeliveryRecord(replayed, duplicate_window=1.0, semantics="exactly_once").copies
    assert copies["window_ends_at"].notna().all()
    assert copies["inside_window"].tolist() == [False, False]


def test_a_copy_that_never_arrived_is_one() -> None:
    record = DeliveryRecord(
        [
            row(10.0, "published"),
            row(10.4, "failed", process="producer", error="no PubAck within 0.4 s"),
            row(10.5, "published"),
            row(10.6, "stored", seq=1),
        ]
    )
    assert record.copies["seq"].isna().tolist() == [True, False]
    assert record.copies["arrived_at"].isna().tolist() == [True, False]
    assert record.flow.unacknowledged == 1


def test_latency() -> None:
    record = DeliveryRecord([*handled("a", 1.0, 1), row(2.0, "published", "b")])
    assert record.latency.index.tolist() == ["a"]
    assert record.latency.iloc[0][2:].tolist() == pytest.approx([0.001, 0.002, 0.004])


def test_rows_of_one_event() -> None:
    record = DeliveryRecord([*handled("a", 1.0, 1), *handled("b", 2.0, 2)])
    assert record.rows_of("b").equals(record.rows_of(2))
    assert len(record.rows_of("b")) == 5
    with pytest.raises(LookupError, match="no event 3 in this record, which has 2 events"):
        record.rows_of(3)


def test_empty_and_one() -> None:
    empty = DeliveryRecord()
    assert (len(empty), len(empty.frame), len(empty.ledger), len(empty.copies)) == (0, 0, 0, 0)
    assert empty.latency.empty
    assert set(asdict(empty.flow).values()) == {0}
    full = DeliveryRecord(handled("a", 0.0, 1))
    for name in ("frame", "ledger", "copies", "latency"):
        assert list(getattr(empty, name)) == list(getattr(full, name))
    assert repr(empty) == "DeliveryRecord(0 events, live)"


def test_a_hundred_thousand_events() -> None:
    rows = [row for n in range(100_000) for row in handled(f"event {n}", n / 100, n + 1)]
    record = DeliveryRecord(rows)
    record.finish()
    assert len(record.frame) == 500_000
    assert record.flow.handled == 100_000
    assert set(record.ledger["outcome"]) == {"handled once"}
    assert record.frame["event"].is_monotonic_increasing
    assert_sums(record)


# Growing


def test_grows_until_it_is_done() -> None:
    record, changes = DeliveryRecord(title="t"), []
    cancel = record.on_change(lambda: changes.append(len(record)))
    record.add(handled("a", 0.0, 1))
    assert record.frame is record.frame
    assert record.rows(3) == handled("a", 0.0, 1)[3:]
    first = record.frame
    record.add([])
    assert changes == [5]
    record.add([row(1.0, "published", "b")])
    assert (len(first), len(record.frame)) == (5, 6)
    cancel()
    cancel()
    record.finish()
    record.finish()
    assert changes == [5, 6]
    assert repr(record) == "DeliveryRecord('t', 2 events)"
    with pytest.raises(RuntimeError, match="done"):
        record.add([row(2.0, "published", "c")])


def test_unknown_kind_adds_nothing() -> None:
    record = DeliveryRecord()
    with pytest.raises(ValueError, match="kind='eaten': must be one of published, stored"):
        record.add([row(0.0, "published"), row(0.1, "eaten")])
    assert len(record) == 0


def test_a_callback_that_raises_disturbs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    record, seen = DeliveryRecord(), []

    def broken() -> None:
        raise RuntimeError("a view is broken")

    record.on_change(broken)
    record.on_change(lambda: seen.append(1))
    record.add([row(0.0, "published")])
    assert (len(record), seen) == (1, [1])
    assert "a view is broken" in caplog.text


def test_many_threads() -> None:
    record = DeliveryRecord()

    def add(name: str) -> None:
        for number in range(50):
            record.add(handled(f"{name}{number}", float(number), number))
            record.frame

    threads = [threading.Thread(target=add, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(record), len(record.ledger)) == (1000, 200)


async def test_the_oldest_events_fall_out() -> None:
    record = DeliveryRecord()
    for number in range(1, 31):
        record.add_bounded(handled(f"event {number}", float(number), number), 100)
    await until(lambda: len(record) <= 100 and str(record.dropped) in "".join(record.remarks))
    gone = record.dropped.events
    assert record.dropped.rows == 5 * gone == 150 - len(record)
    assert record.remarks == [
        f"the oldest {gone} events ({5 * gone} rows) were removed, as this record keeps 100 rows "
        "(max_rows)"
    ]
    # whole events stay, and keep their numbers
    assert record.ledger["event"].tolist() == list(range(gone + 1, 31))
    assert set(record.ledger["outcome"]) == {"handled once"}
    assert record.rows_of(30)["event_id"].unique().tolist() == ["event 30"]
    assert not record.done
    # later rows of removed events are left out
    late = row(99.0, "delivered", "event 1", seq=1, delivery=2)
    record.add_bounded([late, late._replace(event_id=None)], 100)
    assert (record.dropped.events, record.dropped.rows) == (gone, 5 * gone + 2)
    assert "event 1" not in record.ledger.index
    assert_sums(record)


def test_adding_does_not_wait_for_a_frame_that_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    record = DeliveryRecord(handled("a", 0.0, 1))
    making, go_on = threading.Event(), threading.Event()

    def slowly(table: Table) -> pd.DataFrame:
        making.set()
        assert go_on.wait(10)
        return made_frame(table)

    made_frame = _frames.frame
    monkeypatch.setattr(_frames, "frame", slowly)
    found: list[int] = []
    drawing = threading.Thread(target=lambda: found.append(len(record.frame)))
    drawing.start()
    assert making.wait(10)
    record.add(handled("b", 1.0, 2))  # as a bus does on its event loop
    go_on.set()
    drawing.join()
    assert found == [5]
    assert len(record.frame) == 10


# Text


def test_no_text_is_markup() -> None:
    record = DeliveryRecord([row(0.0, "published", HOSTILE)], title=HOSTILE)
    shown = record._repr_html_()
    assert "<img" not in shown
    assert "&lt;img" in shown
    assert "$" not in shown.replace("<span>$</span>", "")


def test_error_texts_are_bounded() -> None:
    class RudeError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("not even this")

    assert error_text(None) is None
    assert error_text(ValueError("no")) == "ValueError: no"
    assert error_text(ValueError()) == "ValueError"
    assert error_text(RudeError()) == "RudeError"
    assert error_text("half \ud800") == "half \\ud800"
    assert len(str(error_text("x" * 10_000))) == 500


# Expiries


def test_expiry_is_what_no_nak_explains() -> None:
    def kinds(*rows: Row) -> list[str]:
        expiries = Expiries()
        return [row.kind for each in rows for row in expiries.before(each)]

    first = row(0.0, "delivered", seq=1, delivery=1)
    naked = row(0.1, "naked", seq=1, delivery=1)
    second = row(1.0, "delivered", seq=1, delivery=2)
    third = row(2.0, "delivered", seq=1, delivery=3)
    assert kinds(first, naked, second) == ["delivered", "naked", "delivered"]
    assert kinds(first, second) == ["delivered", "expired", "delivered"]
    assert kinds(second) == ["expired", "delivered"]  # it was in the hands of a process that died
    assert kinds(first, naked, second, third)[-2:] == ["expired", "delivered"]
