"""The delivery widget as a teacher uses it: run, follow a message, step, compare."""

from __future__ import annotations

import ast
import json
import re
from typing import Any

from playwright.async_api import Locator, expect

from tests.browser.jupyter import Notebook
from tests.waiting import until

HOSTILE = '<img src=x onerror="window.pwned = 1"> $x^2$ **b** <script>window.pwned = 2</script>'

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


async def data(canvas: Locator, name: str) -> Any:
    """What a picture says of itself."""
    text = await canvas.get_attribute(f"data-{name}")
    assert text is not None
    return json.loads(text) if text else None


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
    await expect(timeline(delivery)).to_have_attribute("data-marks", str(sum(kinds.values())))
    assert await data(timeline(delivery), "drawn") == kinds
    for kind, count in kinds.items():
        key = delivery.locator(f".varco-lanes-key[data-kind={kind}]").first
        await expect(key.locator("b")).to_have_text(str(count))
    flow |= {
        "first": flow["delivered"] - flow["redelivered"],
        "handled_once": await value(notebook, "(delivery.ledger['handled'] == 1).sum().item()"),
        "handled_again": await value(notebook, "(delivery.ledger['handled'] > 1).sum().item()"),
    }
    for stage in await delivery.locator(".varco-flow-stage").all():
        total = 0
        for part in await stage.locator("[data-part]").all():
            count = flow[await part.get_attribute("data-part") or ""]
            await expect(part).to_have_attribute("data-count", str(count))
            await expect(part.locator("b")).to_have_text(str(count))
            total += count
        await expect(stage.locator(".varco-flow-total")).to_have_attribute("data-total", str(total))
    return kinds


async def place(canvas: Locator) -> dict[str, float]:
    """Where in the picture the mark is that the steps have come to."""
    x, y = (float(part) for part in (await canvas.get_attribute("data-cursor") or "").split(","))
    return {"x": x, "y": y}


async def test_a_teacher_runs_and_compares_experiments(notebook: Notebook) -> None:
    opening = "from varco_nats_widgets import Lab\nlab = Lab()"
    delivery = await show(notebook, opening, "delivery = lab.delivery()\ndelivery")
    status = delivery.locator(".varco-status")
    await expect(status).to_contain_text("Choose and run.")

    # run
    await delivery.get_by_label("Fault", exact=True).select_option("kill_after_handler")
    await expect(delivery).to_contain_text("killed when its handler is done")
    await delivery.get_by_label("Events", exact=True).fill("8")
    await delivery.get_by_label("At event", exact=True).fill("3")
    await delivery.get_by_role("button", name="Run").click()
    await expect(delivery).to_contain_text("✓ As promised.", timeout=30_000)
    await expect(delivery).to_contain_text("Event 3 was handled 2 times")
    await expect(status).to_contain_text("8 events · ")

    # the picture's numbers are the record's
    canvas = timeline(delivery)
    rows = await value(notebook, "len(delivery.record)")
    await expect(canvas).to_have_attribute("data-marks", str(rows))
    drawn = await assert_numbers(notebook, delivery)
    assert (drawn["redelivered"], drawn["handled"], drawn["handled_again"]) == (1, 8, 1)

    # follow the message that was struck
    await delivery.get_by_role("tab", name="Ledger").click()
    cell = delivery.locator(".varco-body .varco-row:visible").nth(2)
    await expect(cell).to_contain_text("handled 2 times")
    await cell.click()
    await notebook.wait_for("delivery.selected", 3)
    await expect(canvas).to_have_attribute("data-selected", "3")
    way = delivery.locator(".varco-lanes-way").first
    await expect(way).to_contain_text("event 3: published (producer) → stored (stream +")
    await expect(way).to_contain_text("delivered again (consumer-2 +")
    await delivery.get_by_role("tab", name="Message").click()
    await expect(delivery.locator(".varco-grid:visible")).to_contain_text("expired")

    # compare
    await delivery.get_by_label("Fault", exact=True).select_option("duplicate_in_window")
    await delivery.get_by_role("button", name="Compare").click()
    shown = delivery.get_by_role("button", name="exactly_once")
    await notebook.wait_for("delivery.running", "", timeout=40)
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
    await expect(delivery.locator("[data-kind=deduplicated] b").first).to_have_text("1")
    await expect(delivery).to_contain_text(
        "Event 3 was handled once, as documented for exactly_once"
    )


async def test_a_message_is_followed_and_stepped_through(notebook: Notebook) -> None:
    delivery = await show(notebook, RECORD)
    canvas = timeline(delivery)
    await expect(canvas).to_have_attribute("data-marks", "80")

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
    await expect(canvas).to_have_attribute("data-shown", "5")
    await expect(delivery).to_contain_text("row 5 of 80 · published · producer · event 2")
    tip = delivery.locator(".varco-drawing-tip").first
    await expect(tip).to_contain_text("published · producer\nevent 2")
    await expect(tip).to_contain_text("id: orders-2")  # that the kernel told
    await canvas.press("Enter")
    await notebook.wait_for("delivery.selected", 2)
    at = await place(canvas)
    await canvas.press("End")
    await notebook.wait_for("delivery.position", -1)
    await expect(canvas).to_have_attribute("data-shown", "80")

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
    low, high = await data(canvas, "sight")
    await delivery.get_by_role("button", name="Zoom in").first.click()
    await until_sight(canvas, lambda sight: sight[1] - sight[0] < (high - low) * 0.7)
    box = await canvas.bounding_box()
    assert box is not None
    mouse = notebook.page.mouse
    await mouse.move(box["x"] + 300, box["y"] + 20)
    await notebook.page.keyboard.down("Control")
    await mouse.wheel(0, -200)
    await notebook.page.keyboard.up("Control")
    await until_sight(canvas, lambda sight: sight[1] - sight[0] < (high - low) * 0.4)
    zoomed = await data(canvas, "sight")
    await canvas.press("Shift+ArrowLeft")
    await until_sight(canvas, lambda sight: sight[0] < zoomed[0])
    await canvas.press("0")
    await until_sight(canvas, lambda sight: sight == [low, high])
    await mouse.move(box["x"] + 200, box["y"] + 20)
    await mouse.down()
    await mouse.move(box["x"] + 400, box["y"] + 20, steps=4)
    await mouse.up()
    await until_sight(canvas, lambda sight: sight[1] - sight[0] < (high - low) * 0.5)
    await delivery.get_by_role("button", name="Time", exact=True).first.click()
    await until_sight(canvas, lambda sight: sight[0] > 1_700_000_000)

    # the buttons below
    await delivery.get_by_role("button", name="First").click()
    await notebook.wait_for("delivery.position", 1)
    await delivery.get_by_role("button", name="Play").click()
    await notebook.wait_for("delivery.position > 3", True)
    await delivery.get_by_role("button", name="Pause").click()
    await notebook.wait_for("delivery.playing", False)

    # while it goes on, the newest is in sight
    await notebook.value("(delivery.last(), [record.add(way(n)) for n in range(21, 41)])")
    await expect(canvas).to_have_attribute("data-marks", "160")
    await expect(canvas).to_have_attribute("data-shown", "160")
    # JupyterLab has not taken the keys for its own
    assert len(await notebook.outputs(0)) == 1


async def until_sight(canvas: Locator, condition: Any) -> None:
    async def fits() -> bool:
        return bool(condition(await data(canvas, "sight")))

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
    await expect(canvas).to_have_attribute("data-faults", '["consumer-1: killed (SIGKILL)"]')
    drawn = await assert_numbers(notebook, delivery)
    assert (drawn["fault"], drawn["handled_again"]) == (1, 1)
    n = await value(notebook, "int((delivery.frame['kind'] == 'fault').argmax())")
    await notebook.value(f"setattr(delivery, 'position', {n + 1})")
    tip = delivery.locator(".varco-drawing-tip").first
    await expect(tip).to_contain_text("fault · consumer-1\nconsumer-1: killed (SIGKILL)")
    await expect(delivery).to_contain_text("fault · consumer-1 · killed (SIGKILL)")
    await delivery.get_by_role("button", name="Order", exact=True).first.click()
    await expect(canvas).to_have_attribute("data-shown", str(n + 1))


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
            acked = shown.locator(".varco-lanes-key[data-kind=acked] b")
            await expect(acked).to_have_text(str(count))
    await assert_numbers(notebook, inside)
    unseen = watched.locator("[data-part=unseen]")
    await expect(unseen).to_have_attribute("data-count", "8")
    await expect(watched.locator("[data-part=acknowledged]")).to_have_attribute("data-count", "8")
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
    tip = delivery.locator(".varco-drawing-tip").first
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
    await expect(copies).to_have_attribute("data-marks", "6")
    dropped = await value(
        notebook, "record.copies.groupby('event').filter(lambda g: len(g) > 1)['dropped'].tolist()"
    )
    assert await data(copies, "drawn") == {
        "stored": dropped.count(False),
        "deduplicated": dropped.count(True),
    }
    await expect(copies).to_have_attribute("data-bands", "4")
    label = await copies.get_attribute("aria-label")
    assert label is not None
    assert "lanes event 5 · 3 copies, event 10 · 3 copies" in label
    await expect(delivery.locator(".varco-grid:visible")).to_contain_text("window_ends_at")
    await delivery.get_by_role("tab", name="Latency").click()
    spread = delivery.locator(".varco-durations-plot")
    await expect(spread).to_have_attribute(
        "data-counts", '[["to the stream",10],["to a consumer",10],["to the ack",0]]'
    )
    label = await spread.get_attribute("aria-label")
    assert label is not None
    assert label.startswith("to the stream: 10 events, median 1 ms, p95 1 ms")

    # a record of many events in the same place
    big = RECORD.replace("range(1, 21)", "range(1, 20_001)").replace("% 5", "% 400")
    await notebook.add_cell(big.replace("delivery = Delivery(record)", "delivery.show(record)"))
    assert await notebook.errors() == []
    canvas = timeline(delivery)
    note = delivery.locator(".varco-lanes-note").first
    await expect(note).to_contain_text("20,000 events, of which ")
    await expect(note).to_contain_text("all 50 with faults, every 16th of the 19,950 others")
    await expect(canvas).to_have_attribute("data-drawn", re.compile('"failed":50'))
    events = int(await canvas.get_attribute("data-events") or 0)
    assert f"of which {events:,} are drawn" in await note.inner_text()
    key = delivery.locator(".varco-lanes-key[data-kind=published] b").first
    await expect(key).to_have_text("20,000")
    # one that was left out is drawn when it is followed
    await notebook.value("delivery.select(12_347)")
    await expect(canvas).to_have_attribute("data-events", str(events + 1))
    await expect(delivery.locator(".varco-lanes-way").first).to_contain_text("event 12347: ")
