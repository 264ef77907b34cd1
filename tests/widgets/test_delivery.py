from __future__ import annotations

import asyncio
import gc
import re
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import psutil
import pytest
from varco_core.event.base import Event
from varco_nats_widgets import Lab
from varco_nats_widgets._ui.controls import all_parts
from varco_nats_widgets.delivery import Delivery
from varco_nats_widgets.experiment import Experiment, ExperimentError, Fault
from varco_nats_widgets.experiment._experiment import new_experiment
from varco_nats_widgets.experiment._faults import SPECS
from varco_nats_widgets.record import DeliveryRecord, Row

from tests.waiting import until

HOSTILE = '<img src=x onerror="window.pwned=1"> $x^2$ <script>window.pwned=1</script>'
TABS = ["Flow", "Message", "Deduplication", "Latency", "Ledger", "Comparison"]


class DeliveryWidgetEvent(Event):
    __event_type__ = "delivery.widget"


def way(number: int, *, fault: str = "", text: str = "") -> list[Row]:
    """What happens to one event."""
    time = 1_780_000_000 + number * 0.010137
    what = (text or "orders", f"{text}id-{number}", text or "order.placed")
    begun = [
        Row(time, "published", "producer", *what),
        Row(time + 0.001, "stored", "stream", *what, number),
        Row(time + 0.002, "delivered", "consumer-1", *what, number, 1),
    ]
    ended = [
        Row(time + 0.003, "handled", "consumer-1", *what, number, 1),
        Row(time + 0.004, "acked", "consumer-1", *what, number, 1),
    ]
    match fault:
        case "again":
            handled = [
                row._replace(time=row.time + 0.5, process="consumer-2", delivery=2) for row in ended
            ]
            expired = Row(time + 0.5, "expired", "stream", *what, number, 1)
            again = Row(time + 0.501, "delivered", "consumer-2", *what, number, 2)
            return [*begun, ended[0], expired, again, *handled]
        case "copy":
            published = Row(time + 0.2, "published", "producer", *what)
            return [*begun, *ended, published, Row(time + 0.21, "deduplicated", "stream", *what, 4)]
        case "dead":
            error = f"ValueError: {text}"
            failed = Row(time + 0.003, "failed", "consumer-1", *what, number, 1, error)
            return [
                *begun,
                failed,
                Row(time + 0.01, "dead_lettered", "dead letters", *what, number),
            ]
        case "lost":
            return [*begun[:2], Row(time + 0.7, "lost", "stream", *what, number)]
    return [*begun, *ended]


def record_of(*faults: str, done: bool = True, window: float | None = 2.0) -> DeliveryRecord:
    rows = [row for number, fault in enumerate(faults, 1) for row in way(number, fault=fault)]
    record = DeliveryRecord(rows, title="made up", duplicate_window=window)
    if done:
        record.finish()
    return record


@pytest.fixture
def delivery() -> Iterator[Delivery]:
    made = Delivery(record_of("", "again", "copy", "", "dead", "lost", ""))
    yield made
    made.close()


def draw_all(delivery: Delivery) -> Any:
    """The view, with every tab drawn."""
    view = delivery.view()
    for tab in range(len(TABS)):
        view.tabs.selected_index = tab
        view.flush()
    for part in all_parts(view.box):
        assert getattr(part, "error", "") == ""
    assert view.status.problem == ""
    return view


def drawn(view: Any, name: str = "event", kind: Any = np.uint32) -> list[int]:
    view.flush()
    batches = (view.timeline._base, view.timeline._tail)
    return [value for batch in batches for value in np.frombuffer(batch[name], dtype=kind).tolist()]


# Looking


def test_numbers_in_the_pictures_are_those_of_the_record(delivery: Delivery) -> None:
    view = draw_all(delivery)
    frame, ledger, flow = delivery.frame, delivery.ledger, delivery.flow
    assert drawn(view) == frame["event"].tolist()
    counts = dict(map(tuple, view.timeline._counts))
    assert counts["published"] == ledger["published"].sum() == flow.published == 8
    assert counts["redelivered"] == ledger["redelivered"].sum() == flow.redelivered == 1
    assert counts["deduplicated"] == ledger["deduplicated"].sum() == flow.deduplicated == 1
    stages = {stage.title: stage for stage in view.flow.stages}
    parts = {part.words: part.count for stage in stages.values() for part in stage.parts}
    assert parts["stored"] == flow.stored
    assert (
        parts["first deliveries"] + parts["redeliveries"]
        == flow.delivered
        == ledger["delivered"].sum()
    )
    assert parts["handled"] + parts["failed"] + parts["not finished"] == flow.delivered
    assert parts["handled once"] == (ledger["outcome"] == "handled once").sum() == 4
    assert parts["handled more than once"] == (ledger["outcome"] == "handled 2 times").sum() == 1
    assert (parts["dead letters"], parts["lost"]) == (flow.dead_lettered, flow.lost) == (1, 1)
    spreads = {spread.name: spread for spread in view.durations.spreads}
    assert spreads["to the ack"].count == delivery.record.latency["publish_to_acked"].count() == 5
    assert spreads["to the stream"].median == pytest.approx(0.001, rel=0.01)
    assert view.copies._bands == [
        [0, pytest.approx(1_780_000_000 + 3 * 0.010137 + 0.001), pytest.approx(1_780_000_002.0314)]
    ]
    assert view.copies_table.frame["copy"].tolist() == delivery.record.copies["copy"].tolist()
    assert view.ledger.frame["outcome"].tolist() == ledger["outcome"].tolist()


@pytest.mark.parametrize("faults", [[], [""], ["lost"], ["", "copy"]])
def test_records_with_next_to_nothing(faults: list[str]) -> None:
    for done in (True, False):
        delivery = Delivery(record_of(*faults, done=done))
        view = draw_all(delivery)
        assert len(drawn(view)) == len(delivery.record)
        for action in (delivery.first, delivery.forward, delivery.back, delivery.last):
            action()
        delivery.play()
        delivery.close()
        delivery.close()


def test_an_empty_record_is_stepped_through() -> None:
    delivery = Delivery()
    for action in (delivery.first, delivery.back, delivery.forward, delivery.play, delivery.last):
        action()
        assert (delivery.position, delivery.step, delivery.playing) == (-1, None, False)
    assert draw_all(delivery).status.place == "Nothing has happened yet."
    delivery.close()


def test_a_long_record_is_sampled_and_says_so() -> None:
    rows = [row for number in range(1, 20_001) for row in way(number)]
    rows += way(20_001, fault="again")
    record = DeliveryRecord(rows, duplicate_window=2.0)
    record.finish()
    delivery = Delivery(record)
    view = draw_all(delivery)
    assert len(record) == len(rows)
    events = set(drawn(view))
    assert 20_001 in events
    assert 1000 < len(events) <= 2001
    assert view.timeline.note == (
        f"20,001 events, of which {len(events):,} are drawn: all 1 with faults, "
        "every 16th of the 20,000 others"
    )
    assert view.timeline.axis == "time"
    assert 10_003 not in events
    delivery.select(10_003)
    assert 10_003 in set(drawn(view))
    assert len(delivery.selected_rows) == 5
    delivery.close()


def test_stepping_shows_the_record_in_its_order(delivery: Delivery) -> None:
    count = len(delivery.record)
    delivery.first()
    seen = [str(delivery.step["kind"])]  # type: ignore[index]
    for _ in range(count - 2):
        delivery.forward()
        step = delivery.step
        assert step is not None
        seen.append(str(step["kind"]))
    assert seen == delivery.frame["kind"].tolist()[:-1]
    delivery.forward()
    assert (delivery.position, delivery.step) == (-1, None)
    delivery.forward()
    assert delivery.position == -1
    delivery.back()
    assert delivery.position == count - 1
    delivery.first()
    delivery.back()
    assert delivery.position == 1
    view = delivery.view()
    view.flush()
    assert view.timeline.position == 1
    assert f"row 1 of {count} · published · producer · event 1" in view.step.value
    view.timeline.position = 3  # as the browser does
    assert delivery.position == 3
    delivery.last()
    view.flush()
    assert f"all {count} rows" in view.step.value
    assert (view.forward.disabled, view.back.disabled) == (True, False)


async def test_playing_goes_on_to_the_end(delivery: Delivery) -> None:
    seen: list[int] = []
    delivery.observe(lambda change: seen.append(change["new"]), "position")
    delivery.play()
    assert delivery.playing
    delivery.play()  # it does already
    await until(lambda: len(seen) > 3)
    delivery.pause()
    assert not delivery.playing
    at = delivery.position
    assert seen[:4] == [0, 1, 2, 3]
    delivery.position = len(delivery.record) - 2
    delivery.play()
    await until(lambda: not delivery.playing)
    assert delivery.position == -1
    assert 0 < at < len(delivery.record)
    delivery.play()
    delivery.first()  # a step ends it
    assert (delivery.playing, delivery.position) == (False, 1)
    names = [thread.name for thread in threading.enumerate()]
    assert "Delivery playing" not in names


def test_a_message_is_followed_from_everywhere(delivery: Delivery) -> None:
    view = draw_all(delivery)
    view.timeline.selected = 3  # as the browser does
    assert delivery.selected == 3
    draw_all(delivery)
    assert view.ledger.selected == [3]
    assert view.copies.selected == 3
    assert view.message.frame["kind"].tolist() == delivery.selected_rows["kind"].tolist()
    view.ledger.selected = [2]
    assert delivery.selected == 2
    draw_all(delivery)
    assert view.timeline.selected == 2
    assert delivery.ledger.loc["id-2", "outcome"] == "handled 2 times"
    delivery.select("id-5")
    assert delivery.selected == 5
    delivery.select(0)
    assert delivery.selected_rows.empty
    with pytest.raises(LookupError, match="no event 99 in this record, which has 7 events"):
        delivery.select(99)
    n = int(delivery.record.rows_of(5).index[-1])
    view.message._handle_custom_msg({"type": "open", "id": n}, [])
    assert delivery.position == n + 1
    assert str(delivery.step["kind"]) == "dead_lettered"  # type: ignore[index]


def test_its_repr_says_what_became_of_the_events(delivery: Delivery) -> None:
    assert repr(delivery) == (
        "Delivery('made up': 1 dead-lettered, 1 handled 2 times, 4 handled once, 1 lost)"
    )
    delivery.show(record_of("", done=False))
    assert repr(delivery) == "Delivery('made up': live)"
    assert repr(Delivery()) == "Delivery()"


def test_what_a_record_leaves_out_is_said() -> None:
    record = record_of("", done=False)
    delivery = Delivery(record)
    view = draw_all(delivery)
    record.problem = "the server is away"
    record.remark("gaps", "3 are missing")
    delivery._news.flush()
    view.flush()
    assert view.status.notice == delivery.notice == "the server is away; 3 are missing"
    record.problem = None
    delivery._news.flush()
    assert delivery.notice == "3 are missing"
    delivery.close()


def test_latencies_of_a_watched_service_are_since_the_storing() -> None:
    rows = [row for row in way(1) if row.kind not in ("published", "handled")]
    early = [row._replace(time=row.time - 1) if row.delivery else row for row in way(2)]
    delivery = Delivery(DeliveryRecord(rows, sees_handlers=False))
    view = draw_all(delivery)
    assert view.durations.title == "From storing, by event"
    assert [spread.name for spread in view.durations.spreads] == ["to a consumer", "to the ack"]
    delivery.show(DeliveryRecord([*way(1), *early]))
    assert draw_all(delivery).durations.title == (
        "From publishing, by event (2 below zero: the clocks differ)"
    )
    delivery.close()


def test_a_mark_and_a_copy_are_told_about(delivery: Delivery) -> None:
    view = draw_all(delivery)
    sent: list[Any] = []
    for chart in (view.timeline, view.copies):
        chart.send = lambda content, buffers=None: sent.append(content)
    n = int(delivery.frame.index[delivery.frame["kind"] == "failed"][0])
    view.timeline._handle_custom_msg({"type": "about", "n": n}, [])
    assert sent[-1]["text"].splitlines() == [
        "id: id-5",
        "type: order.placed",
        "channel: orders",
        "sequence: 5",
        "error: ValueError: ",
        "3.0 ms after it was published",
    ]
    view.copies._handle_custom_msg({"type": "about", "n": 1}, [])
    assert sent[-1]["text"].startswith("copy 2: dropped\nid: id-3\nsequence: 4\n")


def test_it_draws_what_comes(delivery: Delivery) -> None:
    record = record_of("", "", done=False)
    delivery.show(record)
    view = draw_all(delivery)
    assert (delivery.rows, delivery.done, view.timeline.live) == (10, False, True)
    record.add(way(3, fault="again"))
    delivery._news.flush()
    view.flush()
    assert delivery.rows == 18
    assert drawn(view) == record.frame["event"].tolist()
    record.finish()
    delivery._news.flush()
    view.flush()
    assert (delivery.done, view.timeline.live) == (True, False)
    view = draw_all(delivery)
    assert [stage.total for stage in view.flow.stages] == [3, 4, 4, 3]


def test_what_can_be_shown(delivery: Delivery) -> None:
    with pytest.raises(TypeError, match=r"a record, an .* not DataFrame"):
        delivery.show(delivery.frame)  # type: ignore[arg-type]
    delivery.select(3)
    delivery.first()
    other = record_of("")
    delivery.show(other)
    assert (delivery.record, delivery.selected, delivery.position) == (other, 0, -1)


def test_without_a_kernel_the_numbers_are_a_table(delivery: Delivery) -> None:
    rows = [*way(1), *way(2, fault="dead", text=HOSTILE), *way(3, fault="again", text=HOSTILE)]
    record = DeliveryRecord(
        [row._replace(process=HOSTILE) if row.delivery else row for row in rows], title=HOSTILE
    )
    record.finish()
    delivery.show(record)
    bundle = delivery._repr_mimebundle_()
    assert bundle["text/plain"] == repr(delivery)
    html = bundle["text/html"]
    assert "dead letters" in html
    assert "handled 2 times" in html
    tags = set(re.findall(r"<([a-z]+)", html))
    assert tags <= {"p", "img", "div", "table", "thead", "tbody", "tr", "th", "td", "span"}
    assert html.count("<img") == html.count("<img alt=") == 1
    assert "$" not in re.sub(r"<span>\$</span>", "", html)
    view = draw_all(delivery)
    for shown in (view.step.value, view.verdict.value, view.about_fault.value):
        assert "<img" not in shown


async def test_a_record_does_not_keep_what_looks_at_it() -> None:
    record = record_of("", done=False)
    delivery = Delivery(record)
    gone = weakref.ref(delivery)
    delivery._news.flush()
    del delivery

    def collected() -> bool:
        gc.collect()
        return gone() is None

    await until(collected)
    record.add(way(2))


async def test_an_observer_may_pause_what_begins_to_play() -> None:
    delivery = Delivery(record_of(*[""] * 20))
    for trait in ("position", "playing"):
        delivery.last()
        delivery.observe(lambda _: delivery.pause(), trait)
        delivery.play()
        await until(lambda: not delivery.playing)
        delivery.unobserve_all()
    delivery.close()


# Experiments


def test_an_experiment_is_run_and_shown(lab: Lab) -> None:
    delivery = lab.delivery()
    view = draw_all(delivery)
    assert view.status.place == "Choose an experiment and run it."
    ran = delivery.run(faults="kill_after_handler", events=6, at=2, ack_wait=0.5)
    assert (delivery.experiment, delivery.record) == (ran, ran.record)
    assert (delivery.running, delivery.progress, delivery.error) == ("", (6, 6), "")
    assert (delivery.fault, delivery.events, delivery.at) == ("kill_after_handler", 6, 2)
    draw_all(delivery)
    assert (view.events.value, view.at.value) == (6, "2")
    assert delivery.verdict is not None
    assert delivery.verdict.holds
    assert "✓ As promised." in view.verdict.value
    assert "Event 2 was handled 2 times" in view.verdict.value
    assert "6 events · " in view.status.place
    stages = {stage.title: stage for stage in view.flow.stages}
    counts = {part.words: part.count for part in stages["What became of the events"].parts}
    assert (counts["handled once"], counts["handled more than once"]) == (5, 1)
    assert drawn(view) == delivery.frame["event"].tolist()
    assert view.timeline.axis == "order"
    delivery.close()


def test_the_controls_show_what_is_shown(lab: Lab) -> None:
    """The next run is of the same as what is shown."""
    made = new_experiment(
        lab._handle, "exactly_once", Fault("server_killed", at=2), False, events=6,
        duplicate_window=3,
    )  # fmt: skip
    delivery = lab.delivery(made)
    view = draw_all(delivery)
    shown = view.semantics.value, view.fault.value, view.events.value, view.at.value
    assert shown == ("exactly_once", "server_killed", 6, "2")
    assert view.window.value == "3"
    assert SPECS["server_killed"].description in view.about_fault.value
    delivery.fault = "handler_fails_times"
    draw_all(delivery)
    assert "the first 2 times" in view.about_fault.value
    calm = new_experiment(lab._handle, "at_most_once", (), False, events=4)
    delivery.show(calm)
    draw_all(delivery)
    shown = view.semantics.value, view.fault.value, view.events.value, view.at.value
    assert shown == ("at_most_once", "none", 4, "")
    assert view.window.value == ""
    delivery.close()


async def test_semantics_are_compared(lab: Lab) -> None:
    delivery = await asyncio.to_thread(lab.delivery)
    view = draw_all(delivery)
    comparison = await delivery.aio.compare(
        faults="duplicate_in_window", events=4, semantics="exactly_once"
    )
    assert delivery.comparison is comparison
    assert delivery.record is comparison.experiments["exactly_once"].record
    draw_all(delivery)
    assert view.tabs.selected_index == TABS.index("Comparison")
    shown = view.comparison.frame
    for name in ("stored", "deduplicated", "handled", "lost"):
        assert shown.loc[name].tolist() == comparison.frame[name].tolist()
    assert shown.loc["struck"].tolist() == ["handled 2 times", "handled 2 times", "handled once"]
    view.shown["at_most_once"].click()
    assert delivery.record is comparison.experiments["at_most_once"].record
    assert delivery.comparison is comparison
    delivery.close()


async def test_an_experiment_is_cancelled(lab: Lab) -> None:
    delivery = await asyncio.to_thread(lab.delivery)
    view = draw_all(delivery)
    await delivery.aio.run(faults="none", events=1)  # its processes are of a mother that stays
    delivery.fault = "kill_after_handler"
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    draw_all(delivery)
    view.events.value = 200
    view.run.click()
    await until(lambda: len(delivery.record) > 10)
    await until(lambda: delivery.progress[0] > 0)
    assert delivery.running == "the experiment at_least_once, kill_after_handler at 100, 200 events"
    view.flush()
    assert (view.run.disabled, view.cancel.disabled) == (True, False)
    first = delivery.experiment
    view.status._handle_custom_msg({"do": "stop"}, [])
    await until(lambda: not delivery.running)
    assert first.cancelled
    assert delivery.error.endswith("could not be carried out: it was cancelled")
    view.flush()
    assert view.status.problem == delivery.error
    assert (view.run.disabled, view.cancel.disabled) == (False, True)

    def only_those_before() -> bool:
        children = psutil.Process().children(recursive=True)
        return {child.pid for child in children} <= before

    await until(only_those_before)
    # again, and then something else takes its place
    view.status._handle_custom_msg({"do": "retry"}, [])
    second = delivery.experiment
    assert isinstance(second, Experiment)
    assert second is not first
    assert delivery.error == ""
    with pytest.raises(ExperimentError, match="it was cancelled"):
        await asyncio.gather(
            asyncio.to_thread(second.wait), delivery.aio.run(faults="none", events=1)
        )
    await until(lambda: delivery.record.done and not delivery.running)
    assert (delivery.error, delivery.flow.events) == ("", 1)
    delivery.close()
    await until(only_those_before)


def test_what_cannot_be_run_is_said(lab: Lab) -> None:
    delivery = lab.delivery()
    view = draw_all(delivery)
    with pytest.raises(ValueError, match="events=100000: give a whole number from 1 to 1000"):
        delivery.run(events=100_000)
    with pytest.raises(ValueError, match="there is no fault 'kill'"):
        delivery.start(faults="kill")
    with pytest.raises(TypeError, match="colour"):
        delivery.start_compare(colour="red")  # type: ignore[call-arg]
    assert (delivery.events, delivery.fault, delivery.running) == (20, "kill_after_handler", "")
    view.events.value = 0
    view.run.click()
    view.flush()
    assert view.status.problem == "events=0: give a whole number from 1 to 1000"
    view.window.value = "a while"
    assert delivery.error == "'a while' is not a number of seconds, such as 1.5"
    view.window.value = "1.5"
    view.at.value = "x"
    assert delivery.error == "'x' is not the number of an event, such as 10"
    view.at.value = "2"
    assert (delivery.error, delivery.duplicate_window, delivery.at) == ("", 1.5, 2)
    view.at.value = ""
    assert delivery.at is None
    view.fault.value = "slow_handler"
    view.flush()
    assert "longer than ack_wait" in view.about_fault.value
    lab.close()
    view.events.value = 5
    view.run.click()
    assert "closed" in delivery.error
    delivery.close()


async def test_a_channel_and_a_bus_are_watched(lab: Lab) -> None:
    await lab.bus.publish(DeliveryWidgetEvent(), channel="orders")
    watched = await lab.aio.delivery("orders")
    observed = await lab.aio.delivery(lab.bus)
    lab.bus.subscribe(DeliveryWidgetEvent, lambda event: None, channel="orders")
    await lab.bus.publish(DeliveryWidgetEvent(), channel="orders")
    await until(lambda: {"stored", "published"} & set(watched.frame["kind"]) != set())
    await until(lambda: (observed.frame["kind"] == "acked").sum() == 2)
    view = draw_all(observed)
    assert view.controls not in view.box.children
    assert view.timeline.live
    assert (view.timeline.axis, observed.done) == ("time", False)
    for delivery in (watched, observed):
        delivery.close()
        assert delivery.record.done


def test_a_record_needs_no_lab(lab: Lab) -> None:
    delivery = lab.delivery(record_of(""))
    assert delivery.view().controls not in delivery.view().box.children
    with pytest.raises(RuntimeError, match=r"use lab\.delivery"):
        delivery.run()
    delivery.close()


async def test_the_twin_gives_the_same(lab: Lab) -> None:
    record = record_of("")
    delivery = await lab.aio.delivery(record)
    assert delivery.record is record
    assert repr(delivery.aio) == f"{delivery!r}.aio"
    delivery.close()
