from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from varco_nats_widgets.delivery._copies_chart import MAX_LANES, Band, copies_chart
from varco_nats_widgets.delivery._flow_bars import FlowBars, stages_of
from varco_nats_widgets.delivery._histogram import Durations, spreads_of
from varco_nats_widgets.delivery._lane_feed import LaneFeed
from varco_nats_widgets.delivery._lane_marks import LOOKS, Marks, sample
from varco_nats_widgets.delivery._lanes import LaneChart
from varco_nats_widgets.record import DeliveryRecord, Row
from varco_nats_widgets.record._rows import KINDS

HOSTILE = '<img src=x onerror="window.pwned=1"> $x^2$ <script>window.pwned=1</script>'


@pytest.fixture
def chart() -> Iterator[LaneChart]:
    made = LaneChart("way")
    yield made
    made.close()


def rows(first: int, count: int, fault_every: int = 0, start: float = 1000.0) -> list[Row]:
    """Events that are published, stored, delivered, handled and acknowledged."""
    made = []
    for number in range(first, first + count):
        time = start + number * 0.010137  # no two rows at one moment
        what = ("orders", f"id-{number}", "order.placed")
        made += [
            Row(time, "published", "producer", *what),
            Row(time + 0.001, "stored", "stream", *what, number),
            Row(time + 0.002, "delivered", "consumer-1", *what, number, 1),
        ]
        if fault_every and number % fault_every == 0:
            made += [
                Row(time + 0.0025, "failed", "consumer-1", *what, number, 1, "ValueError: no"),
                Row(time + 0.0026, "naked", "consumer-1", *what, number, 1),
                Row(time + 0.2, "delivered", "consumer-2", *what, number, 2),
            ]
        made += [
            Row(time + 0.21, "handled", "consumer-1", *what, number, 1),
            Row(time + 0.22, "acked", "consumer-1", *what, number, 1),
        ]
    return made


def marks_of(record: DeliveryRecord) -> tuple[Marks, list[tuple[int, str]]]:
    feed = LaneFeed(record)
    feed.renew()
    return feed.marks, feed.lanes


def drawn(chart: LaneChart, name: str = "event", kind: type = np.uint32) -> list[int]:
    """What the browser has of the marks."""
    chart.flush()
    found: list[int] = []
    for batch in (chart._base, chart._tail):
        found += np.frombuffer(batch[name], dtype=kind).tolist()
    return found


# The marks of a record


def test_marks_are_the_rows_of_the_record() -> None:
    record = DeliveryRecord(rows(1, 30, fault_every=7))
    marks, lanes = marks_of(record)
    frame = record.frame
    assert marks.event.tolist() == frame["event"].tolist()
    assert marks.delivery.tolist() == frame["delivery"].tolist()
    assert [name for _, name in lanes] == ["producer", "stream", "consumer-1", "consumer-2"]
    names = dict(lanes)
    assert [names[lane] for lane in marks.lane.tolist()] == frame["process"].tolist()
    counts = dict(marks.counts())
    again = (frame["kind"] == "delivered") & (frame["delivery"] > 1)
    assert counts["redelivered"] == again.sum() == 4
    kinds = frame["kind"].value_counts()
    assert counts["delivered"] == kinds["delivered"] - 4
    assert {name: counts[name] for name in ("published", "failed", "acked")} == {
        name: kinds[name] for name in ("published", "failed", "acked")
    }


@pytest.mark.parametrize("seed", range(5))
def test_growing_marks_are_those_of_the_whole_record(seed: int) -> None:
    source = random.Random(seed)
    whole = rows(1, 40, fault_every=3)
    for at in source.sample(range(len(whole)), 25):
        whole[at] = whole[at]._replace(event_id=None)  # a payload that cannot be decoded
    for at, row in enumerate(whole):
        if row.kind == "stored" and row.seq is not None and row.seq % 4 == 0:
            whole[at] = row._replace(time=row.time - 0.0333)  # by another clock, before it was sent
    source.shuffle(whole)
    record = DeliveryRecord()
    feed = LaneFeed(record)
    assert not feed.renew()
    while whole:
        size = source.randint(1, 40)
        record.add(whole[:size])
        whole = whole[size:]
        assert feed.renew()
        frame = record.frame
        assert feed.marks.event.tolist() == frame["event"].tolist()
        assert feed.marks.time == pytest.approx(frame["time"].astype("int64") / 1e6)
        names = dict(feed.lanes)
        assert [names[lane] for lane in feed.marks.lane.tolist()] == frame["process"].tolist()


def test_lanes_stand_in_the_order_of_a_messages_way() -> None:
    processes = ["dead letters", "consumer-10", "stream", "consumer-2", "producer"]
    record = DeliveryRecord(
        Row(float(at), "published", name, "c") for at, name in enumerate(processes)
    )
    assert [name for _, name in marks_of(record)[1]] == [
        "producer",
        "stream",
        "consumer-2",
        "consumer-10",
        "dead letters",
    ]


def test_very_many_processes_share_a_lane() -> None:
    record = DeliveryRecord(
        Row(float(at), "handled", f"host-{at}", "c", f"id-{at}") for at in range(100)
    )
    marks, lanes = marks_of(record)
    assert len(lanes) == 16
    assert lanes[-1][1] == "others"
    assert (marks.lane == lanes[-1][0]).sum() == 85


def test_a_row_looks_like_what_it_is() -> None:
    def look(kind: str, delivery: int) -> str:
        marks = Marks.of([0.0], [1], [KINDS.index(kind)], [0], [delivery])
        return LOOKS[marks.look[0]]

    assert look("delivered", 1) == "delivered"
    assert look("delivered", 2) == "redelivered"
    assert look("deduplicated", 0) == "deduplicated"
    assert look("deduplicated", 1) == "skipped"
    assert look("failed", 0) == "unacknowledged"
    assert look("failed", 1) == "failed"


def test_what_is_not_calm_is_told_apart() -> None:
    """Handled again, and an ack that did nothing: the message came again afterwards."""
    again = [
        Row(2000.0, "expired", "stream", "orders", "id-1", None, 1, 1),
        Row(2000.0, "delivered", "consumer-2", "orders", "id-1", None, 1, 2),
        Row(2000.1, "handled", "consumer-2", "orders", "id-1", None, 1, 2),
        Row(2000.2, "acked", "consumer-2", "orders", "id-1", None, 1, 2),
    ]
    record = DeliveryRecord([*rows(1, 2), *again])
    counts = dict(marks_of(record)[0].counts())
    assert (counts["handled"], counts["handled_again"]) == (2, 1) == (
        record.flow.handled - record.flow.handled_again, record.flow.handled_again,
    )  # fmt: skip
    assert (counts["acked"], counts["ack_lost"]) == (2, 1) == (
        record.ledger["acked"].sum(), record.ledger["ack_lost"].sum(),
    )  # fmt: skip
    watched = DeliveryRecord(record.rows(), sees_handlers=False)  # its acks have come
    assert dict(marks_of(watched)[0].counts())["acked"] == 3


def test_a_fault_is_drawn_with_its_words(chart: LaneChart) -> None:
    def fault(time: float, what: str) -> Row:
        return Row(time, "fault", "consumer-1", "orders", error=what)

    record = DeliveryRecord([*rows(1, 5000), fault(1010.0, "killed"), fault(1001.0, HOSTILE)])
    feed = LaneFeed(record)
    feed.renew()
    frame = record.frame
    assert feed.marks.event.tolist() == frame["event"].tolist()
    chart.live = True
    chart.set_marks(feed.marks, feed.lanes, faults=feed.faults)
    assert drawn(chart).count(0) == 2  # of 5,000 events a sample
    assert chart._faults == [f"consumer-1: {HOSTILE}"[:79] + "…", "consumer-1: killed"]
    assert dict(map(tuple, chart._counts))["fault"] == 2
    assert "onerror" in chart.static_html()
    assert "<img src" not in chart.static_html()
    record.add([fault(9999.0, "back")])
    feed.renew()
    chart.set_marks(feed.marks, feed.lanes, faults=feed.faults)
    assert drawn(chart).count(0) == 3
    assert chart._faults[-1] == "consumer-1: back"


def test_a_feed_of_a_record_that_dropped_its_oldest(chart: LaneChart) -> None:
    record = DeliveryRecord(rows(1, 30))
    feed = LaneFeed(record)
    feed.renew()
    record._shorten(100)
    record.add(rows(31, 2))
    assert feed.renew()
    frame = record.frame
    assert frame["event"].iloc[0] > 1
    assert feed.marks.event.tolist() == frame["event"].tolist()
    chart.set_marks(feed.marks, feed.lanes)
    assert drawn(chart) == frame["event"].tolist()


def test_marks_of_arrays_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="of the same length, not of 2, 1, 1, 1, 1"):
        Marks.of([0.0, 1.0], [1], [0], [0], [0])


# What is drawn


def test_everything_is_drawn_while_there_is_little(chart: LaneChart) -> None:
    for count in (0, 1, 2000):
        record = DeliveryRecord(rows(1, count))
        chart.set_marks(*marks_of(record))
        assert drawn(chart) == record.frame["event"].tolist()
        assert chart.note == ""
    json_safe = [chart._lanes, chart._counts, chart._bands]
    assert all(type(value) in (int, str) for part in json_safe for row in part for value in row)


def test_of_20_000_events_a_sample_is_drawn_and_said_so(chart: LaneChart) -> None:
    record = DeliveryRecord(rows(1, 20_000, fault_every=100))
    marks, lanes = marks_of(record)
    chart.set_marks(marks, lanes)
    events = set(drawn(chart))
    assert set(range(100, 20_001, 100)) <= events
    others = sorted(number for number in events if number % 100)
    assert 900 < len(others) <= 1800
    steps = {after - before for before, after in itertools.pairwise(others)}
    assert steps <= {16, 32}  # even, but for those that had faults
    assert chart.note == (
        f"20,000 events, of which {len(events):,} are drawn: all 200 with faults, "
        "every 16th of the 19,800 others"
    )
    # of an event that is drawn every mark is
    assert drawn(chart).count(others[0]) == 5
    # the counts are of all there are
    assert dict(map(tuple, chart._counts))["published"] == 20_000
    assert sum(len(value) for value in chart._base.values()) < 500_000


def test_too_many_faults_are_sampled_too() -> None:
    found = sample(marks_of(DeliveryRecord(rows(1, 6000, fault_every=1)))[0], max_events=1000)
    assert "every 8th of the 6,000 with faults" in found.note
    assert 700 < found.events.sum() <= 1000


def test_one_event_with_very_many_marks() -> None:
    record = DeliveryRecord(
        Row(float(at), "delivered", "c", "c", "id", None, 1, at + 1) for at in range(50_000)
    )
    found = sample(marks_of(record)[0], max_marks=1000)
    assert found.places.tolist() == list(range(49_000, 50_000))
    assert found.note == "the newest 1,000 of 50,000 marks are drawn"


def test_what_is_selected_or_stepped_to_is_drawn(chart: LaneChart) -> None:
    record = DeliveryRecord(rows(1, 5000))
    marks, lanes = marks_of(record)
    chart.set_marks(marks, lanes)
    assert 1235 not in drawn(chart)
    chart.selected = 1235
    assert drawn(chart).count(1235) == 5
    position = int(np.flatnonzero(marks.event == 2346)[0]) + 1
    chart.position = position
    assert position - 1 in drawn(chart, "n")


def test_only_what_is_new_is_sent(chart: LaneChart) -> None:
    record = DeliveryRecord(rows(1, 300))
    feed = LaneFeed(record)
    feed.renew()
    chart.live = True
    chart.set_marks(feed.marks, feed.lanes)
    chart.flush()
    base = chart._base
    for number in range(301, 321):
        record.add(rows(number, 1))
        feed.renew()
        chart.set_marks(feed.marks, feed.lanes)
        assert drawn(chart) == record.frame["event"].tolist()
    assert chart._base is base
    # what comes late, between the marks that were sent, is in its place
    record.add([Row(1000.5, "published", "producer", "orders", "late")])
    feed.renew()
    chart.set_marks(feed.marks, feed.lanes)
    assert drawn(chart) == record.frame["event"].tolist()
    assert chart._base is not base


def test_a_live_chart_draws_the_newest_and_what_gets_faults(chart: LaneChart) -> None:
    record = DeliveryRecord(rows(1, 5000))
    feed = LaneFeed(record)
    feed.renew()
    chart.live = True
    chart.set_marks(feed.marks, feed.lanes)
    events = set(drawn(chart))
    assert set(range(4800, 5001)) <= events
    assert 1235 not in events
    record.add([Row(2000.0, "delivered", "consumer-2", "orders", "id-1235", None, 1235, 2)])
    record.add(rows(5001, 1))
    feed.renew()
    chart.set_marks(feed.marks, feed.lanes)
    assert drawn(chart).count(1235) == 6
    assert 5001 in drawn(chart)
    # when it is over, the newest are nothing special any more
    chart.live = False
    assert len([event for event in set(drawn(chart)) if event > 4800]) < 100


def test_a_mark_is_told_about(chart: LaneChart) -> None:
    sent: list[Any] = []
    chart.send = lambda content, buffers=None: sent.append(content)
    chart._handle_custom_msg({"type": "about", "n": 3}, [])
    assert sent == []  # nobody knows
    chart._about = lambda n: f"row {n}"
    chart._handle_custom_msg({"type": "about", "n": 3}, [])
    assert sent == [{"type": "about", "n": 3, "text": "row 3"}]
    chart._handle_custom_msg({"type": "about", "n": "x"}, [])
    assert "ValueError" in chart.error


def test_without_a_kernel_the_timeline_is_a_picture(chart: LaneChart) -> None:
    hostile = [row._replace(process=HOSTILE) for row in rows(1, 3)]
    chart.set_marks(*marks_of(DeliveryRecord([*rows(4, 200, fault_every=40), *hostile])))
    chart.title = HOSTILE
    chart.flush()
    html = chart._repr_mimebundle_()[0]["text/html"]  # type: ignore[index]
    assert html.count("<img alt=") == 1
    assert "onerror" in html
    assert re.findall(r"<(?!/?(?:img alt|p|span)\b)[a-z]", html) == []
    assert "203 events, of which" in html
    assert len(html) < 60_000
    assert LaneChart().static_html() == ""


# Copies, flow and durations


def copies_frame(window: float | None, *events: tuple[int, list[tuple[float, bool]]]) -> Any:
    made = []
    for number, copies in events:
        for at, (time, dropped) in enumerate(copies):
            what = ("orders", f"id-{number}", "order.placed")
            kind = "deduplicated" if dropped else "stored"
            made.append(Row(time, "published", "producer", *what))
            made.append(Row(time + 0.1, kind, "stream", *what, number * 10 + at))
    return DeliveryRecord(made, duplicate_window=window).copies


def test_windows_stand_beside_the_copies() -> None:
    frame = copies_frame(
        2.0,
        (1, [(0.0, False)]),
        (2, [(0.2, False), (1.0, True), (2.4, False)]),
        (3, [(5.0, False)]),
    )
    shown = copies_chart(frame)
    assert shown.lanes == [(0, "event 2 · 3 copies")]
    assert shown.bands == [
        Band(0, pytest.approx(0.3), pytest.approx(2.3)),  # type: ignore[arg-type]
        Band(0, pytest.approx(2.5), pytest.approx(4.5)),  # type: ignore[arg-type]
    ]
    assert [LOOKS[look] for look in shown.marks.look] == ["stored", "deduplicated", "stored"]
    assert frame.iloc[shown.rows]["copy"].tolist() == [1, 2, 3]
    assert shown.note == ""


def test_copies_without_repeats_or_without_a_window() -> None:
    shown = copies_chart(copies_frame(None, *[(n, [(float(n), False)]) for n in range(1, 20)]))
    assert shown.note == "no event was published more than once"
    assert len(shown.lanes) == 6
    assert shown.bands == []
    nothing = copies_chart(DeliveryRecord().copies)
    assert (len(nothing.marks), nothing.lanes, nothing.note) == (0, [], "")


def test_many_repeats_are_cut_and_said_so() -> None:
    frame = copies_frame(1.0, *[(n, [(float(n), False), (n + 0.5, True)]) for n in range(1, 101)])
    shown = copies_chart(frame)
    assert len(shown.lanes) == MAX_LANES
    assert shown.note == f"{MAX_LANES} of 100 events with more than one copy"
    assert [lane for _, lane in copies_chart(frame, 77).lanes][-2:] == [
        "event 23 · 2 copies", "event 77 · 2 copies",
    ]  # fmt: skip


def test_copies_without_a_message_id_are_said_to_be() -> None:
    frame = copies_frame(None, (1, [(0.0, False), (1.0, False)]))
    note = "no message ids were sent, so that the stream could not drop duplicates"
    assert copies_chart(frame, 0, 120.0).note == note
    assert copies_chart(frame, 0, None).note == ""  # nobody knows


@pytest.mark.parametrize("sees_handlers", [True, False])
def test_the_parts_of_the_flow_add_up(sees_handlers: bool) -> None:
    made = rows(1, 50, fault_every=6)
    made += [row for row in rows(7, 1) if row.kind in ("handled",)]
    made += [Row(1000.0, "published", "producer", "orders", "id-1", "order.placed")]
    made += [Row(1000.1, "deduplicated", "stream", "orders", "id-1", "order.placed", 1)]
    made += [Row(9999.0, "lost", "stream", "orders", "gone", "order.placed")]
    if not sees_handlers:
        made = [row for row in made if row.kind not in ("handled", "failed")]
    record = DeliveryRecord(made, sees_handlers=sees_handlers)
    record.finish()
    outcomes = record.ledger["outcome"].value_counts().to_dict()
    stages = stages_of(record.flow, {str(name): count for name, count in outcomes.items()})
    for stage in stages:
        assert sum(part.count for part in stage.parts) == stage.total, stage.title
    copies, kinds, ends, events = stages
    assert copies.total == record.ledger["published"].sum()
    assert [part.count for part in kinds.parts] == [50, record.flow.redelivered]
    assert ends.total == record.ledger["delivered"].sum()
    assert {part.words: part.count for part in events.parts}["lost"] == record.flow.lost == 1
    bars = FlowBars()
    bars.set_stages(stages)
    bars.flush()
    assert bars._stages[0]["parts"][1]["count"] == 1
    assert "dropped as duplicates" in bars.static_html()
    unseen = {part.words: part.count for part in ends.parts}["settled, handler not seen"]
    assert unseen == record.flow.unseen == (0 if sees_handlers else record.ledger["acked"].sum())
    bars.close()


def test_durations_are_counted_in_equal_steps() -> None:
    source = np.random.default_rng(7)
    times = source.lognormal(-6, 1, 5000)
    edges, [one, none] = spreads_of(
        {"one": ("stored", times), "none": ("acked", np.array([np.nan]))}
    )
    assert sum(one.counts) == one.count == 5000
    assert one.median == pytest.approx(np.median(times))
    assert one.p95 == pytest.approx(np.quantile(times, 0.95))
    assert one.longest == times.max()
    ratios = np.array(edges[1:]) / np.array(edges[:-1])
    assert ratios[1:-1] == pytest.approx(10**0.1)
    assert (none.count, sum(none.counts)) == (0, 0)


@pytest.mark.parametrize("times", [[], [0.0], [-1.0, 0.5], [1e-9] * 3, [1e6]])
def test_durations_of_any_size(times: list[float]) -> None:
    shown = Durations("title")
    shown.set_values({"a": ("stored", np.array(times, dtype=float))})
    shown.flush()
    assert shown.error == ""
    assert sum(shown.spreads[0].counts) == len(times)
    assert len(shown._spreads) == 1
    assert shown.static_html().count("<tr>") == 2
    shown.close()


def test_frames_of_missing_latencies() -> None:
    latency = DeliveryRecord(rows(1, 3)).latency
    assert isinstance(latency, pd.DataFrame)
    _, [spread] = spreads_of({"ack": ("acked", latency["publish_to_acked"].to_numpy())})
    assert spread.count == 3
