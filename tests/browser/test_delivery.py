"""The delivery widget as a teacher uses it: run, follow a message, step, compare."""

from __future__ import annotations

import ast
import re
from typing import Any

import pytest_asyncio
from playwright.async_api import Locator, expect

from tests.browser.jupyter import Notebook
from tests.waiting import until

HOSTILE = '<img src=x onerror="window.pwned = 1"> $x^2$ **b** <script>window.pwned = 2</script>'

MARKS = {  # what the legend calls them
    "published": "published",
    "stored": "stored",
    "deduplicated": "dropped as a duplicate",
    "delivered": "delivered",
    "redelivered": "delivered again",
    "expired": "ack_wait over",
    "handled": "handled",
    "handled_again": "handled again",
    "failed": "failed",
    "acked": "acknowledged",
    "ack_lost": "ack lost",
    "fault": "fault",
}

PARTS = {  # of the flow, by what the page calls them
    "stored": "stored",
    "dropped as duplicates": "deduplicated",
    "not stored": "unacknowledged",
    "first deliveries": "first",
    "redeliveries": "redelivered",
    "handled": "handled",
    "skipped by the deduplicator": "skipped",
    "failed": "failed",
    "settled, handler not seen": "unseen",
    "not finished": "unfinished",
    "handled once": "handled_once",
    "handled more than once": "handled_again",
    "dead letters": "dead_lettered",
    "given up": "discarded",
    "lost": "lost",
    "acknowledged": "acknowledged",
    "on their way": "pending",
}

RECORD = f"""
from varco_nats_widgets.delivery import Delivery
from varco_nats_widgets.record import DeliveryRecord, Row

hostile = {HOSTILE!r}
def way(number, text="orders"):
    time = 1_780_000_000 + number * 0.1
    what = (text, f"{{text}}-{{number}}", text)
    rows = [
        Row(time, "published", "producer", *what),
        Row(time + 0.01, "stored", "stream", *what, number),
        Row(time + 0.02, "delivered", "consumer-1", *what, number, 1),
    ]
    if number % 5:
        return [*rows, Row(time + 0.03, "handled", "consumer-1", *what, number, 1)]
    return [*rows, Row(time + 0.03, "failed", text, *what, number, 1, text)]

record = DeliveryRecord(
    [row for number in range(1, 21) for row in way(number)], duplicate_window=2.0
)
delivery = Delivery(record)
delivery
"""


async def show(notebook: Notebook, *cells: str) -> Locator:
    """The widget that the last of `cells` shows."""
    await notebook.new(*cells)
    await notebook.run_all()
    assert await notebook.errors() == []
    shown = notebook.cell(len(cells) - 1).locator(".varco-delivery")
    await expect(shown).to_be_visible()
    return shown


def timeline(delivery: Locator) -> Locator:
    return delivery.locator(".varco-lanes-plot").first


async def said(canvas: Locator, pattern: str) -> re.Match[str]:
    """What a picture says of itself to those who do not see it."""
    await expect(canvas).to_have_attribute("aria-label", re.compile(pattern))
    found = re.search(pattern, await canvas.get_attribute("aria-label") or "")
    assert found is not None
    return found


async def drawn_in(canvas: Locator) -> dict[str, int]:
    """How many marks of each kind are drawn, by the words of the legend."""
    counts = (await said(canvas, "marks: ([^;]*)"))[1].split(", ")
    return {words: number(count) for words, count in (text.rsplit(" ", 1) for text in counts)}


async def expect_marks(canvas: Locator, count: int) -> None:
    await expect(canvas).to_have_attribute("aria-label", re.compile(f"; {count:,} marks: "))


async def steps_in_sight(canvas: Locator) -> tuple[int, int]:
    found = await said(canvas, r"steps (\d+) to (\d+)")
    return int(found[1]), int(found[2])


def key(delivery: Locator, words: str) -> Locator:
    """How many marks there are of a kind, in the legend."""
    exactly = delivery.page.get_by_text(words, exact=True)
    return delivery.get_by_role("listitem").filter(has=exactly).first.locator("b")


def number(text: str) -> int:
    return int(text.replace(",", ""))


async def value(notebook: Notebook, expression: str) -> Any:
    return ast.literal_eval(await notebook.value(expression))


async def assert_numbers(notebook: Notebook, delivery: Locator) -> dict[str, int]:
    """That the numbers in the pictures are the record's and add up; returns the marks'."""
    kinds = await value(notebook, "delivery.frame['kind'].value_counts().to_dict()")
    flow = await value(notebook, "{n: int(c) for n, c in delivery.flow.frame['count'].items()}")
    flow["ack_lost"] = await value(notebook, "int(delivery.ledger['ack_lost'].sum())")
    apart = {"redelivered": "delivered", "handled_again": "handled", "ack_lost": "acked"}
    for look, kind in apart.items():  # what looks different, though it is of one kind
        if flow[look]:
            kinds |= {look: flow[look], kind: kinds[kind] - flow[look]}
    await expect_marks(timeline(delivery), sum(kinds.values()))
    assert await drawn_in(timeline(delivery)) == {MARKS[kind]: n for kind, n in kinds.items()}
    for kind, count in kinds.items():
        await expect(key(delivery, MARKS[kind])).to_have_text(str(count))
    flow |= {
        "first": flow["delivered"] - flow["redelivered"],
        "handled_once": await value(notebook, "(delivery.ledger['handled'] == 1).sum().item()"),
        "handled_again": await value(notebook, "(delivery.ledger['handled'] > 1).sum().item()"),
    }
    stages = delivery.get_by_role("region")
    await expect(stages).to_have_count(4)
    for stage in await stages.all():
        total = 0
        for part in await stage.locator(".varco-flow-words > span").all_inner_texts():
            _, count, words = part.split(" ", 2)
            assert number(count) == flow[PARTS[words]]
            total += number(count)
        await expect(stage.locator("b").first).to_have_text(str(total))
    return kinds


async def place(canvas: Locator, tip: Locator) -> dict[str, float]:
    """Where in the picture the mark is that the tip stands to the right of."""
    picture, beside = await canvas.bounding_box(), await tip.bounding_box()
    assert picture is not None
    assert beside is not None
    return {"x": beside["x"] - picture["x"] - 14, "y": beside["y"] - picture["y"] + 10}


@pytest_asyncio.fixture(scope="class", loop_scope="session")
async def delivery(notebook: Notebook) -> Locator:
    """What a teacher runs experiments with."""
    opening = "from varco_nats_widgets import Lab\nlab = Lab()"
    return await show(notebook, opening, "delivery = lab.delivery()\ndelivery")


class TestATeacherRunsAndComparesExperiments:
    async def test_an_experiment_is_run(self, delivery: Locator) -> None:
        status = delivery.locator(".varco-status")
        await expect(status).to_contain_text("Choose an experiment and run it.")
        await delivery.get_by_label("Fault", exact=True).select_option("kill_after_handler")
        await expect(delivery).to_contain_text("is killed after its handler is done")
        await delivery.get_by_label("Events", exact=True).fill("8")
        await delivery.get_by_label("At event", exact=True).fill("3")
        await delivery.get_by_role("button", name="Run").click()
        await expect(delivery).to_contain_text("✓ As promised.")
        await expect(delivery).to_contain_text("Event 3 was handled 2 times")
        await expect(status).to_contain_text("8 events · ")

    async def test_the_numbers_are_those_of_the_record(
        self, notebook: Notebook, delivery: Locator
    ) -> None:
        await expect_marks(timeline(delivery), await value(notebook, "len(delivery.record)"))
        drawn = await assert_numbers(notebook, delivery)
        assert (drawn["redelivered"], drawn["handled"], drawn["handled_again"]) == (1, 8, 1)

    async def test_the_message_that_was_struck_is_followed(
        self, notebook: Notebook, delivery: Locator
    ) -> None:
        await delivery.get_by_role("tab", name="Ledger").click()
        cell = delivery.locator(".varco-body .varco-row:visible").nth(2)
        await expect(cell).to_contain_text("handled 2 times")
        await cell.locator(".varco-first").click()
        await notebook.wait_for("delivery.selected", 3)
        way = delivery.locator(".varco-lanes-way").first
        await expect(way).to_contain_text("event 3: published (producer) → stored (stream +")
        await expect(way).to_contain_text("delivered again (consumer-2 +")
        await delivery.get_by_role("tab", name="Message").click()
        await expect(delivery.locator(".varco-grid:visible")).to_contain_text("expired")

    async def test_the_semantics_are_compared(self, notebook: Notebook, delivery: Locator) -> None:
        await delivery.get_by_label("Fault", exact=True).select_option("duplicate_in_window")
        await delivery.get_by_role("button", name="Compare").click()
        shown = delivery.get_by_role("button", name="exactly_once")
        compared = "delivery.comparison.frame['as_promised'].notna().all()"
        await notebook.wait_for(f"delivery.comparison is not None and bool({compared})", True, 60)
        await expect(shown).to_be_visible()
        table = delivery.locator(".varco-grid:visible")
        await expect(table).to_contain_text("as_promised")
        for name in ("struck", "stored", "deduplicated", "handled"):
            expected = await value(notebook, f"delivery.comparison.frame['{name}'].tolist()")
            first = notebook.page.get_by_role("gridcell", name=name, exact=True).first
            row = table.locator(".varco-body .varco-row").filter(has=first)
            for column, outcome in enumerate(expected, start=1):
                await expect(row.get_by_role("gridcell").nth(column)).to_have_text(str(outcome))
        await shown.click()
        await expect(key(delivery, MARKS["deduplicated"])).to_have_text("1")
        await expect(delivery).to_contain_text(
            "Event 3 was handled once, as documented for exactly_once"
        )


async def test_a_message_is_followed_and_stepped_through(notebook: Notebook) -> None:
    delivery = await show(notebook, RECORD)
    canvas = timeline(delivery)
    await expect_marks(canvas, 80)

    # by keyboard
    await canvas.focus()
    for _ in range(2):
        await canvas.press("ArrowDown")
    await notebook.wait_for("delivery.selected", 2)
    await canvas.press("ArrowUp")
    await notebook.wait_for("delivery.selected", 1)
    await canvas.press("Escape")
    await notebook.wait_for("delivery.selected", 0)
    await canvas.press("Home")
    await notebook.wait_for("delivery.position", 1)
    for _ in range(5):
        await canvas.press("ArrowRight")
    await canvas.press("ArrowLeft")
    await notebook.wait_for("delivery.position", 5)
    await expect_marks(canvas, 5)
    await expect(delivery).to_contain_text("row 5 of 80 · published · producer · event 2")
    tip = delivery.locator(".varco-tip").first
    await expect(tip).to_contain_text("published · producer\nevent 2")
    await expect(tip).to_contain_text("id: orders-2")  # that the kernel told
    await canvas.press("Enter")
    await notebook.wait_for("delivery.selected", 2)
    at = await place(canvas, tip)
    await canvas.press("End")
    await notebook.wait_for("delivery.position", -1)
    await expect_marks(canvas, 80)

    # by mouse: what is under the pointer, and a click follows it
    await canvas.press("Escape")
    await notebook.wait_for("delivery.selected", 0)
    await canvas.hover(position=at)  # type: ignore[arg-type]
    await expect(tip).to_contain_text("event 2")
    await canvas.click(position=at)  # type: ignore[arg-type]
    await notebook.wait_for("delivery.selected", 2)
    await canvas.click(position=at)  # type: ignore[arg-type]
    await notebook.wait_for("delivery.selected", 0)

    # zoom and pan
    await delivery.get_by_role("button", name="Order", exact=True).first.click()
    await until_sight(canvas, lambda first, last: (first, last) == (1, 80))
    await delivery.get_by_role("button", name="Zoom in").first.click()
    await until_sight(canvas, lambda first, last: last - first < 80 * 0.7)
    box = await canvas.bounding_box()
    assert box is not None
    mouse = notebook.page.mouse
    await mouse.move(box["x"] + 300, box["y"] + 20)
    await notebook.page.keyboard.down("Control")
    await mouse.wheel(0, -200)
    await notebook.page.keyboard.up("Control")
    await until_sight(canvas, lambda first, last: last - first < 80 * 0.4)
    zoomed, _ = await steps_in_sight(canvas)
    await canvas.press("Shift+ArrowLeft")
    await until_sight(canvas, lambda first, last: first < zoomed)
    await canvas.press("0")
    await until_sight(canvas, lambda first, last: (first, last) == (1, 80))
    await mouse.move(box["x"] + 200, box["y"] + 20)
    await mouse.down()
    await mouse.move(box["x"] + 400, box["y"] + 20, steps=4)
    await mouse.up()
    await until_sight(canvas, lambda first, last: last - first < 80 * 0.5)
    await delivery.get_by_role("button", name="Time", exact=True).first.click()
    await expect(canvas).to_have_attribute("aria-label", re.compile("; from -.* to 1"))

    # the buttons below
    await delivery.get_by_role("button", name="First").click()
    await notebook.wait_for("delivery.position", 1)
    await delivery.get_by_role("button", name="Play").click()
    await notebook.wait_for("delivery.position > 3", True)
    await delivery.get_by_role("button", name="Pause").click()
    await notebook.wait_for("delivery.playing", False)

    # while it goes on, the newest is in sight
    await notebook.value("(delivery.last(), [record.add(way(n)) for n in range(21, 41)])")
    await expect_marks(canvas, 160)
    # JupyterLab has not taken the keys for its own
    assert len(await notebook.outputs(0)) == 2  # the widget and its picture


async def until_sight(canvas: Locator, condition: Any) -> None:
    async def fits() -> bool:
        return bool(condition(*await steps_in_sight(canvas)))

    await until(fits)


async def test_what_was_broken_is_drawn(notebook: Notebook) -> None:
    broken = """
killed = Row(way(4)[0].time, "fault", "consumer-1", "orders", error="killed (SIGKILL)")
again = [row._replace(time=row.time + 1, delivery=2) for row in way(3)[2:]]
record.add([killed, *again])
delivery
"""
    delivery = await show(notebook, RECORD.removesuffix("delivery\n"), broken)
    canvas = timeline(delivery)
    await expect(canvas).to_have_attribute("aria-label", re.compile(r"; consumer-1: killed \(SIG"))
    drawn = await assert_numbers(notebook, delivery)
    assert (drawn["fault"], drawn["handled_again"]) == (1, 1)
    n = await value(notebook, "int((delivery.frame['kind'] == 'fault').argmax())")
    await notebook.value(f"setattr(delivery, 'position', {n + 1})")
    tip = delivery.locator(".varco-tip").first
    await expect(tip).to_contain_text("fault · consumer-1\nconsumer-1: killed (SIGKILL)")
    await expect(delivery).to_contain_text("fault · consumer-1 · killed (SIGKILL)")
    await delivery.get_by_role("button", name="Order", exact=True).first.click()
    await expect_marks(canvas, n + 1)


async def test_a_bus_and_a_channel_are_drawn_live(notebook: Notebook) -> None:
    opening = """
from varco_core.event.base import Event
from varco_nats_widgets import Lab

class Placed(Event):
    pass

lab = Lab()
await lab.bus.publish(Placed(), channel="orders")
lab.bus.subscribe(Placed, lambda event: None, channel="orders")
await lab.bus.drain()
"""
    watched = await show(
        notebook, opening, "delivery = lab.delivery(lab.bus)\ndelivery",
        "watched = lab.delivery('orders')\nwatched",
    )  # fmt: skip
    inside = notebook.cell(1).locator(".varco-delivery")
    for count in (4, 8):
        await notebook.add_cell(
            "for _ in range(4):\n    await lab.bus.publish(Placed(), channel='orders')"
        )
        for shown in (inside, watched):
            await expect(key(shown, MARKS["acked"])).to_have_text(str(count))
    await assert_numbers(notebook, inside)
    for words in ("8 settled, handler not seen", "8 acknowledged"):
        await expect(watched.get_by_text(words)).to_be_visible()
    assert await value(notebook, "(watched.flow.unseen, watched.flow.stored)") == (8, 8)


async def test_what_a_stranger_published_is_text(notebook: Notebook) -> None:
    delivery = await show(
        notebook,
        RECORD.replace('text="orders"', "text=hostile").replace(
            "duplicate_window=2.0", "duplicate_window=2.0, title=hostile"
        ),
    )
    canvas = timeline(delivery)
    await canvas.focus()
    await canvas.press("End")
    for _ in range(2):
        await canvas.press("ArrowLeft")
    tip = delivery.locator(".varco-tip").first
    await expect(tip).to_contain_text("id: <img src=x")
    await canvas.press("Enter")
    await canvas.press("End")
    await expect(delivery.locator(".varco-lanes-way").first).to_contain_text("<img src=x")
    for name in ("Message", "Deduplication", "Latency", "Ledger", "Flow"):
        await delivery.get_by_role("tab", name=name).click()
        await expect(delivery.get_by_role("tab", name=name)).to_have_attribute(
            "aria-selected", "true"
        )
        if name in ("Message", "Ledger"):
            await expect(delivery.locator(".varco-grid:visible")).to_contain_text("<img src=x")
    await notebook.value(f"delivery.set_trait('error', {HOSTILE!r})")
    await expect(delivery.get_by_role("alert").filter(has_text="<img src=x")).to_be_visible()
    assert await notebook.page.evaluate("window.pwned") is None
    assert await delivery.locator("img, script, mjx-container, b b").count() == 0
    assert notebook.refused == []


async def test_windows_latencies_and_a_sample_are_drawn(notebook: Notebook) -> None:
    made = """
from varco_nats_widgets.delivery import Delivery
from varco_nats_widgets.record import DeliveryRecord, Row
rows = []
for number in range(1, 11):
    what, time = ("orders", f"id-{number}", "placed"), 1_780_000_000 + number * 0.1
    rows += [Row(time, "published", "producer", *what)]
    rows += [Row(time + 0.001, "stored", "stream", *what, number)]
    rows += [Row(time + 0.002, "delivered", "consumer-1", *what, number, 1)]
    if number % 5 == 0:
        rows += [Row(time + 0.5, "published", "producer", *what)]
        rows += [Row(time + 0.501, "deduplicated", "stream", *what, number)]
        rows += [Row(time + 2.5, "published", "producer", *what)]
        rows += [Row(time + 2.501, "stored", "stream", *what, number + 100)]
record = DeliveryRecord(rows, duplicate_window=2.0)
record.finish()
delivery = Delivery(record)
delivery
"""
    delivery = await show(notebook, made)
    await delivery.get_by_role("tab", name="Deduplication").click()
    copies = delivery.locator(".varco-lanes-plot").nth(1)
    await expect_marks(copies, 6)
    dropped = await value(
        notebook, "record.copies.groupby('event').filter(lambda g: len(g) > 1)['dropped'].tolist()"
    )
    assert await drawn_in(copies) == {
        MARKS["stored"]: dropped.count(False),
        MARKS["deduplicated"]: dropped.count(True),
    }
    label = await copies.get_attribute("aria-label")
    assert label is not None
    assert "lanes event 5 · 3 copies, event 10 · 3 copies" in label
    assert "; 4 windows" in label
    await expect(delivery.locator(".varco-grid:visible")).to_contain_text("window_ends_at")
    await delivery.get_by_role("tab", name="Latency").click()
    await expect(delivery.locator(".varco-durations").get_by_role("img")).to_have_attribute(
        "aria-label",
        re.compile(
            "^to the stream: 10 events, median 1 ms, p95 1 ms.*"
            "; to a consumer: 10 events, .*; to the ack: 0 events$"
        ),
    )

    # a record of many events in the same place
    big = RECORD.replace("range(1, 21)", "range(1, 20_001)").replace("% 5", "% 400")
    await notebook.add_cell(big.replace("delivery = Delivery(record)", "delivery.show(record)"))
    assert await notebook.errors() == []
    canvas = timeline(delivery)
    note = delivery.locator(".varco-lanes-note").first
    await expect(note).to_contain_text("20,000 events, of which ")
    await expect(note).to_contain_text("all 50 with faults, every 16th of the 19,950 others")
    await expect(canvas).to_have_attribute("aria-label", re.compile("failed 50;"))
    events = (await drawn_in(canvas))["published"]
    assert f"of which {events:,} are drawn" in await note.inner_text()
    await expect(key(delivery, "published")).to_have_text("20,000")
    # one that was left out is drawn when it is followed
    await notebook.value("delivery.select(12_347)")
    await expect(canvas).to_have_attribute("aria-label", re.compile(f"published {events + 1:,},"))
    await expect(delivery.locator(".varco-lanes-way").first).to_contain_text("event 12347: ")


async def test_what_is_promised_fits_a_narrow_page(notebook: Notebook) -> None:
    await notebook.new("from varco_nats_widgets import Lab\nlab = Lab()\nlab.bus")
    await notebook.run_all()
    await notebook.add_cell("lab.durability('orders')")
    await notebook.page.set_viewport_size({"width": 700, "height": 900})
    shown = notebook.cell(1).locator(".jp-OutputArea-output")
    await expect(shown.locator("table")).to_be_visible()
    fits = "(output) => output.querySelector('table').offsetWidth <= output.clientWidth"
    assert await shown.evaluate(fits)
    await notebook.add_cell("lab.close()")
    assert await notebook.errors() == []
