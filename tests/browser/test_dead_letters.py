"""An analyst works through a queue of dead letters by hand."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import nats
import pytest_asyncio
from nats.js.api import RawStreamMsg
from playwright.async_api import Locator, expect
from varco_core.event.base import Event
from varco_core.event.dlq import DeadLetterEntry
from varco_nats_widgets import Lab
from varco_nats_widgets.sample import failures, fill_dead_letters
from varco_nats_widgets.sample._shop_events import OrderPlaced, PaymentCaptured

from tests.browser.jupyter import Notebook, lab_on
from tests.waiting import until
from varco_nats.bus import NatsEventBus
from varco_nats.config import NatsEventBusSettings
from varco_nats.dlq import NatsDLQ
from varco_nats.replay._context import user_and_host

HOSTILE = '<img src=x onerror="window.pwned = 1"> $x^2$ **b** <script>window.pwned = 2</script>'
CODES = {"austria": "AT", "denmark": "DK", "france": "FR", "italy": "IT", "poland": "PL"}


class DeadBrowserOrder(Event):
    __event_type__ = "dead.browser.order"

    number: int
    total: float
    country: str


class BrokenRelease:
    """A service whose handler fails for some orders, until it is repaired."""

    def __init__(self, bus: NatsEventBus, dlq: NatsDLQ) -> None:
        self.bus = bus
        self.dlq = dlq
        self.repaired = False
        self.handled: Counter[int] = Counter()
        bus.subscribe(DeadBrowserOrder, self.on_order, channel="orders")  # type: ignore[arg-type]

    async def on_order(self, event: DeadBrowserOrder) -> None:
        if event.total < 0:
            raise ValueError(f"order {event.number} has total {event.total} below 0")
        if event.country == "AT" and not self.repaired:
            raise TimeoutError(f"no answer for order o-{event.number:05} within 1.5 s")
        self.handled[event.number] += 1

    async def publish(self, count: int) -> None:
        orders: list[tuple[Event, str]] = [
            (
                DeadBrowserOrder(
                    number=number,
                    total=-1.0 if number == 3 else number * 1.5,
                    country="AT" if number % 2 and number != 3 else "FR",
                ),
                "orders",
            )
            for number in range(count)
        ]
        await self.bus.publish_many(orders)

    async def dead(self, count: int) -> None:
        """Wait until the queue has so many entries."""

        async def reached() -> bool:
            return await self.dlq.count() == count

        await until(reached)


@pytest_asyncio.fixture(scope="class", loop_scope="session")
async def release(settings: NatsEventBusSettings) -> AsyncIterator[BrokenRelease]:
    once = settings.model_copy(update={"max_deliver": 1})
    async with NatsDLQ(once) as dlq, NatsEventBus(once, dlq=dlq) as bus:
        yield BrokenRelease(bus, dlq)


async def show(
    notebook: Notebook, settings: NatsEventBusSettings, *, read_only: bool = False
) -> Locator:
    """The widget that a notebook shows."""
    lab = lab_on(settings, read_only=read_only)
    await notebook.new(lab, "letters = lab.dead_letters()\nletters")
    await notebook.run_all()
    assert await notebook.errors() == []
    widget = notebook.cell(1).locator(".varco-dead-letters")
    await expect(widget).to_be_visible()
    return widget


def table(widget: Locator, number: int) -> Locator:
    """Groups are the first, entries the second."""
    return widget.locator(".varco-grid").nth(number)


def rows(of: Locator) -> Locator:
    return of.locator(".varco-body .varco-row:visible")


async def open_tab(widget: Locator, name: str) -> Locator:
    """The panel of a tab."""
    await widget.get_by_role("tab", name=name, exact=True).click()
    return widget.get_by_role("tabpanel").locator("visible=true").last


async def enter(widget: Locator, label: str, text: str) -> None:
    field = widget.get_by_label(label, exact=True).locator("visible=true")
    await field.fill(text)
    await field.press("Tab")


async def picture(notebook: Notebook, name: str) -> None:
    """For looking at while developing; nothing is kept otherwise."""
    if folder := os.environ.get("VARCO_PICTURES"):
        await notebook.screenshot(Path(folder) / f"{name}.png", 1)


@pytest_asyncio.fixture(scope="class", loop_scope="session")
async def widget(
    notebook: Notebook, settings: NatsEventBusSettings, release: BrokenRelease
) -> Locator:
    """What shows the 150 dead letters of 300 orders."""
    await notebook.page.set_viewport_size({"width": 1280, "height": 700})
    await release.publish(300)
    await release.dead(150)
    return await show(notebook, settings)


class TestAnAnalystFindsFixesAndReplays:
    async def test_what_failed_is_grouped(self, widget: Locator) -> None:
        await expect(status(widget)).to_contain_text("150 dead letters · 2 groups")
        groups = rows(table(widget, 0))
        await expect(groups).to_have_count(2)
        await expect(groups.first).to_contain_text("no answer for order o-<n> within <n> s")
        await expect(groups.last).to_contain_text("order <n> has total <n> below <n>")
        for name in ("Groups", "Dead letters"):  # as a screen reader tells them apart
            await expect(widget.get_by_role("grid", name=name, exact=True)).to_be_visible()

    async def test_the_rare_letter_is_opened_with_the_keyboard(
        self, notebook: Notebook, widget: Locator, settings: NatsEventBusSettings
    ) -> None:
        await rows(table(widget, 0)).last.locator(".varco-first").click()
        await expect(widget).to_contain_text("Chosen group: 1 to 1 of 1")
        entries = table(widget, 1)
        await rows(entries).first.locator(".varco-first").click()
        await entries.press("Enter")
        letter = widget.locator(".varco-message")
        await expect(letter).to_contain_text("ValueError: order 3 has total -1.0 below 0")
        await expect(letter).to_contain_text(f"{settings.stream_name}:4, stored")
        await expect(letter.locator(".varco-tree")).to_contain_text("number: 3")
        await picture(notebook, "dl-entry")

    async def test_its_payload_is_corrected(self, notebook: Notebook, widget: Locator) -> None:
        await open_tab(widget, "Edit")
        keep = button(widget, "Keep edit")
        editor = widget.get_by_placeholder("Open an entry to edit its payload.")
        await expect(editor).to_have_value(re.compile('"total": -1.0'))
        text = await editor.input_value()
        await editor.fill(text.replace("-1.0", "oops"))
        await keep.click()
        said = widget.get_by_role("alert").first
        await expect(said).to_contain_text("not JSON")
        await expect(said).to_be_in_viewport()  # the line on top stays where one looks
        await expect(problem(widget)).to_contain_text("not JSON")
        await editor.fill(text.replace("-1.0", "4.5"))
        await editor.press("Tab")
        await expect(widget).to_contain_text("changed but not kept")
        await keep.click()
        await expect(widget.get_by_role("alert").first).to_be_hidden()
        await expect(problem(widget)).to_have_count(0)
        await expect(widget.locator(".varco-added")).to_have_text('+  "total": 4.5,')
        await expect(widget.locator(".varco-removed")).to_have_text('-  "total": -1.0,')
        await picture(notebook, "dl-edit")

    async def test_a_plan_of_everything_sends_nothing(
        self, widget: Locator, release: BrokenRelease
    ) -> None:
        await open_tab(widget, "Replay")
        await expect(button(widget, "Run")).to_be_disabled()
        await choose_all(widget, 150)
        await enter(widget, "Note", "release 2.4 is repaired")
        await button(widget, "Plan").click()
        await expect(widget).to_contain_text(
            "150 of 150 would be sent: 150 to orders; 1 with a changed"
        )
        assert await release.dlq.count() == 150

    async def test_a_large_run_is_confirmed_with_its_number(
        self, widget: Locator, release: BrokenRelease
    ) -> None:
        await button(widget, "Run: send 150").click()
        await expect(problem(widget)).to_contain_text('to confirm, type "150" beside Run')
        await expect(problem(widget)).to_be_in_viewport()
        assert await release.dlq.count() == 150

    async def test_the_canary_comes_back(
        self, notebook: Notebook, widget: Locator, release: BrokenRelease
    ) -> None:
        confirm = widget.get_by_placeholder("type 150")
        await confirm.fill("150")
        await confirm.press("Tab")
        await picture(notebook, "dl-plan")
        await button(widget, "Run").click()
        await expect(widget).to_contain_text("canary failed")
        await expect(status(widget)).to_contain_text("149 dead letters")  # order 3 was handled
        assert release.handled[3] == 1
        await button(widget, "Show what came back").click()
        letter = widget.locator(".varco-message")
        await expect(letter).to_contain_text("once before, and came back")
        await expect(rows(table(widget, 1)).first).to_contain_text("↩ 1")
        await expect(rows(table(widget, 0)).first).to_contain_text("↩ ")

    async def test_a_run_is_paused_and_cancelled_halfway(
        self, notebook: Notebook, widget: Locator, release: BrokenRelease
    ) -> None:
        release.repaired = True
        await open_tab(widget, "Replay")
        await choose_all(widget, 149)
        await widget.get_by_label("include what was replayed before").check()
        await enter(widget, "Rate", "10")
        await enter(widget, "Wait (s)", "1")
        await button(widget, "Plan").click()
        await expect(widget).to_contain_text("149 of 149 would be sent")
        await confirm_and_run(notebook, widget)
        await expect(top(widget)).to_contain_text("replaying: ")
        await button(widget, "Pause").focus()
        await notebook.page.keyboard.press("Enter")
        await expect(top(widget)).to_contain_text("paused: ")
        await picture(notebook, "dl-paused")
        await open_tab(widget, "Entry")
        await widget.evaluate("node => node.scrollIntoView({block: 'end'})")
        await expect(button(widget, "Resume")).to_be_in_viewport(ratio=1)
        await button(widget, "Resume").click()
        await expect(top(widget)).to_contain_text("replaying: ")
        await button(widget, "Cancel").click()
        await expect(top(widget)).to_contain_text("cancelled: ")
        left = await release.dlq.count()
        assert 0 < left < 149
        await expect(status(widget)).to_contain_text(f"{left} dead letter")

    async def test_the_rest_is_replayed_without_a_limit(
        self, notebook: Notebook, widget: Locator, release: BrokenRelease
    ) -> None:
        left = await release.dlq.count()
        await open_tab(widget, "Replay")
        await enter(widget, "Rate", "")
        await enter(widget, "Canary", "0")
        await expect(top(widget)).to_contain_text(f"plan again to go on with the {left} that")
        await choose_all(widget, left)
        await widget.get_by_label("include what was replayed before").check()
        await button(widget, "Plan").click()
        await expect(widget).to_contain_text(f"{left} of {left} would be sent")
        await confirm_and_run(notebook, widget)
        await expect(top(widget)).to_contain_text(f"done: {left} replayed")
        await expect(status(widget)).to_contain_text("No dead letters.")
        await until(lambda: len(release.handled) == 300)
        assert set(release.handled.values()) == {1}  # each order arrived once

    async def test_what_comes_meanwhile_is_exported_and_discarded(
        self, notebook: Notebook, widget: Locator, release: BrokenRelease
    ) -> None:
        release.repaired = False
        await release.publish(8)
        await expect(status(widget)).to_contain_text("4 dead letters")
        await open_tab(widget, "Export and discard")
        discard = button(widget, "Discard")
        await expect(discard).to_be_disabled()
        await choose_all(widget, 4)
        await discard.click()
        await expect(problem(widget)).to_contain_text('export them first, or type "discard')
        await enter(widget, "File", "dead.csv")
        await button(widget, "Export").click()
        await expect(widget).to_contain_text("4 entries in dead.csv")
        await expect(
            widget.get_by_text("Nothing is to be typed, as these 4 entries are exported.")
        ).to_be_visible()
        await discard.click()
        await expect(top(widget)).to_contain_text("done: 4 discarded")
        await expect(status(widget)).to_contain_text("No dead letters.")
        assert await notebook.value("len(__import__('pandas').read_csv('dead.csv'))") == "4"

    async def test_the_log_shows_what_was_done(self, notebook: Notebook, widget: Locator) -> None:
        await open_tab(widget, "Log")
        grids = widget.locator(".widget-tab-contents .varco-grid:visible")
        log = rows(grids.first)
        await expect(log).to_have_count(4)
        await expect(log.nth(0)).to_contain_text("4 discarded")
        await expect(log.nth(1)).to_contain_text(re.compile(r"\d+ replayed"))
        await expect(log.nth(2)).to_contain_text("cancelled")
        await expect(log.nth(3)).to_contain_text("release 2.4 is repaired")
        found = re.search(r"(\d+) replayed", await log.nth(1).inner_text())
        assert found
        await log.nth(2).dblclick()
        not_tried = re.compile(rf"Run [\da-f-]{{36}}: .*\b{found[1]} not tried")
        await expect(widget).to_contain_text(not_tried)
        await expect(grids.last.locator(".varco-body")).to_contain_text("not tried")
        await picture(notebook, "dl-log")
        assert await notebook.errors() == []


def status(widget: Locator) -> Locator:
    return widget.locator(".varco-status")


def top(widget: Locator) -> Locator:
    """What says what is under way, and how the last run ended."""
    return widget.locator(".varco-top")


def button(widget: Locator, text: str) -> Locator:
    return widget.get_by_role("button").filter(has_text=text)


def problem(widget: Locator) -> Locator:
    """What a panel says went wrong, beside its buttons."""
    return widget.locator(".widget-tab-contents .varco-problem:visible")


async def choose_all(widget: Locator, count: int) -> None:
    which = widget.get_by_label("Entries", exact=True).locator("visible=true")
    option = which.locator(f'option[value="all {count}"], option[value^="all {count} that match"]')
    await which.select_option(await option.get_attribute("value"))


async def confirm_and_run(notebook: Notebook, widget: Locator) -> None:
    """Type the number of the plan where it is asked for, and run it."""
    count = await notebook.value("letters.planned.to_replay")
    field = widget.get_by_placeholder(f"type {count}")
    if int(count) > 100:
        await field.fill(count)
        await field.press("Tab")
    await button(widget, "Run").click()


async def test_who_only_looks_has_no_button_that_changes_anything(
    notebook: Notebook, settings: NatsEventBusSettings, release: BrokenRelease
) -> None:
    await notebook.page.set_viewport_size({"width": 1280, "height": 700})
    await release.publish(8)
    await release.dead(4)
    widget = await show(notebook, settings, read_only=True)
    await expect(status(widget)).to_contain_text("4 dead letters · 2 groups · read-only")
    await expect(widget.get_by_role("tab")).to_have_text(["Entry", "Export", "Log"])
    await rows(table(widget, 1)).first.locator(".varco-first").click()
    await expect(widget.locator(".varco-message")).to_contain_text("number: ")
    await picture(notebook, "dl-read-only")
    await open_tab(widget, "Export")
    await choose_all(widget, 4)
    await enter(widget, "File", "looked.csv")
    await button(widget, "Export").click()
    await expect(widget).to_contain_text("4 entries in looked.csv")
    await picture(notebook, "dl-read-only-export")
    for name in ("Plan", "Run", "Discard", "Keep edit", "Revert", "Show what came back"):
        await expect(widget.get_by_role("button", name=name)).to_have_count(0)
    assert await release.dlq.count() == 4
    assert await notebook.errors() == []


async def test_an_entry_is_in_view_beside_the_table_or_below_it(
    notebook: Notebook, settings: NatsEventBusSettings
) -> None:
    with Lab(settings) as lab:
        await fill_dead_letters(lab.aio, 2000, force=True)
    await notebook.page.set_viewport_size({"width": 1440, "height": 813})
    widget = await show(notebook, settings)
    entries, letter = table(widget, 1), widget.locator(".varco-message")
    newest_first = [*failures(2000)][::-1]

    async def shows(wanted: list[DeadLetterEntry]) -> bool:
        names = await rows(entries).locator(".varco-first").all_inner_texts()
        return len(names) > 8 and names[:8] == [str(each.entry_id)[:8] for each in wanted[:8]]

    await until(lambda: shows(newest_first))
    what_failed = letter.locator(".varco-message-failure")
    copy = letter.get_by_role("button", name="Copy error")
    parts = (letter.locator(".varco-message-title"), what_failed, copy)

    async def check(where: str, width: int) -> None:
        for part in parts:
            await expect(part).to_be_in_viewport(ratio=1)
        await until(lambda: is_laid_out(where, width))

    async def is_laid_out(where: str, width: int) -> bool:
        grid = await entries.bounding_box()
        boxes = [await part.bounding_box() for part in parts]
        return grid is not None and all(
            box is not None
            and box["x"] >= 0
            and box["x"] + box["width"] <= width
            and box["y"] + box["height"] <= 813
            and (box["x"] >= grid["x"] + grid["width"]) == (where == "beside")
            for box in boxes
        )

    row = rows(entries).nth(1)
    await row.locator(".varco-first").click()
    await expect(letter).to_contain_text(await row.locator(".varco-first").inner_text())
    await check("beside", 1440)
    await expect(widget.get_by_role("tab", name="Replay")).to_be_in_viewport(ratio=1)
    await expect(widget.get_by_role("tab", name="Log")).to_be_in_viewport(ratio=1)
    await picture(notebook, "dl-beside")

    # the keys go on to the next entry, in the table and in the message
    await entries.press("ArrowDown")
    below = rows(entries).nth(2).locator(".varco-first")
    await expect(letter).to_contain_text(await below.inner_text())
    await letter.get_by_role("button", name="Next").press("j")
    below = rows(entries).nth(3).locator(".varco-first")
    await expect(letter).to_contain_text(await below.inner_text())
    await check("beside", 1440)

    # a click while another panel is open
    await open_tab(widget, "Replay")
    await expect(what_failed).to_be_hidden()
    await row.locator(".varco-first").click()
    await expect(letter).to_contain_text(await row.locator(".varco-first").inner_text())
    await check("beside", 1440)

    # several values of a list with counts, by the keyboard
    handlers = widget.get_by_role("button", name="Handler")
    await handlers.focus()
    await handlers.press("Enter")
    options = widget.get_by_role("dialog", name="Handler").get_by_role("option")
    await expect(options).to_have_count(5)
    await notebook.page.keyboard.press("Space")
    await notebook.page.keyboard.press("ArrowDown")
    await notebook.page.keyboard.press("Space")
    await expect(handlers).to_have_text("Handler2 of 5")
    await notebook.page.keyboard.press("Escape")
    await expect(options.first).to_be_hidden()
    most = dict(Counter(each.handler_name for each in newest_first).most_common(2))
    await expect(status(widget)).to_contain_text(f"{sum(most.values()):,} match the filter")
    await until(lambda: shows([each for each in newest_first if each.handler_name in most]))

    await notebook.page.set_viewport_size({"width": 700, "height": 813})
    await rows(entries).nth(4).locator(".varco-first").click()
    below = rows(entries).nth(4).locator(".varco-first")
    await expect(letter).to_contain_text(await below.inner_text())
    await check("below", 700)
    await picture(notebook, "dl-below")
    assert await notebook.errors() == []


class LabelRequested(Event):
    __event_type__ = "shop.label.requested"

    order_id: str
    country: str


async def test_the_morning_after_a_bad_night(
    notebook: Notebook, settings: NatsEventBusSettings
) -> None:
    """From the first look to the log, over a realistic queue; services are at work meanwhile."""
    await notebook.page.set_viewport_size({"width": 1440, "height": 813})
    night = [*failures(2000)]
    wrong = {e.entry_id: e for e in night if e.error_type == "ValidationError"}
    returned = sum(entry.channel == "returns.v1" for entry in night)
    southern = sum(entry.tenant_id == "south" for entry in night)
    sent = {key: json.loads(entry.payload or b"") for key, entry in wrong.items()}
    countries = Counter(event["country"] for event in sent.values())
    labelled: list[str] = []
    async with NatsDLQ(settings) as dlq, NatsEventBus(settings, dlq=dlq) as bus:
        bus.subscribe(
            LabelRequested,
            lambda event: labelled.append(event.country),  # type: ignore[attr-defined]
            channel="shipments",
        )
        bus.subscribe(OrderPlaced, lambda _: None, channel="orders")
        bus.subscribe(PaymentCaptured, lambda _: None, channel="payments")
        with Lab(settings) as lab:
            await fill_dead_letters(lab.aio, 2000, force=True)
        widget = await show(notebook, settings)

        # what there is, of whom, and whose work it is
        await expect(status(widget)).to_contain_text("2,000 dead letters · 6 groups")
        await widget.get_by_role("button", name="Tenant").click()
        await widget.get_by_role("option", name="south").click()
        await expect(status(widget)).to_contain_text(f"{southern} match the filter")
        await notebook.page.keyboard.press("Escape")
        await button(widget, "Clear").click()
        await expect(status(widget)).not_to_contain_text("match the filter")
        group = rows(table(widget, 0)).filter(has_text="ValidationError")
        await expect(group.first).to_contain_text(str(len(wrong)))  # of all tenants
        await group.first.locator(".varco-first").click()
        await expect(widget).to_contain_text(f"of {len(wrong)}")
        await button(widget, "Take it").click()
        await expect(group.first).to_contain_text(user_and_host())

        # the countries are fixed
        await open_tab(widget, "Fix many")
        field = widget.get_by_label("Field", exact=True)
        await expect(field.locator("option").filter(has_text="country (")).to_have_count(1)
        await field.select_option(f"country ({len(wrong)})")
        for name, code in CODES.items():
            await enter(widget, f'"{name}" ({countries[name]})', code)
        await picture(notebook, "dl-fix-values")
        await button(widget, "Show the difference").click()
        total = f"{len(wrong)} of {len(wrong)} entries would change"
        await expect(widget).to_contain_text(total)
        difference = rows(widget.locator(".widget-tab-contents .varco-grid:visible"))
        await expect(difference).to_have_count(len(CODES))
        most, count = countries.most_common(1)[0]
        await expect(difference.first).to_contain_text(f'"{most}"')
        await expect(difference.first).to_contain_text(str(count))
        await picture(notebook, "dl-fix-difference")
        assert await notebook.value("len(letters.edits)") == "0"
        await button(widget, "Keep these changes").click()
        kept = f"{len(wrong)} entries changed; plan a replay to send them"
        await expect(widget).to_contain_text(kept)

        # and sent to the service that is there, a canary first
        await open_tab(widget, "Replay")
        await button(widget, "Plan").click()
        await expect(widget).to_contain_text(f"{len(wrong)} with a changed payload")
        await expect(widget).to_contain_text("shipments: svc-shipments")
        await button(widget, f"Run: send {len(wrong)}").click()
        await expect(problem(widget)).to_contain_text(
            f'to confirm, type "{len(wrong):,}" beside Run'
        )
        await confirm_and_run(notebook, widget)
        await expect(top(widget)).to_contain_text(f"done: {len(wrong)} replayed")
        await expect(status(widget)).to_contain_text(f"{2000 - len(wrong):,} dead letters")
        await until(lambda: len(labelled) == len(wrong))

        # what nobody consumes is not sent without a word
        await expect(rows(table(widget, 0))).to_have_count(5)  # they have moved up
        group = rows(table(widget, 0)).filter(has_text="RefundRejected")
        await group.first.locator(".varco-first").click()
        await expect(widget).to_contain_text(f"of {returned}")
        await button(widget, "Plan").click()
        await expect(widget).to_contain_text("nobody consumes returns.v1")
        await button(widget, f"Run: send {returned}").click()
        await expect(problem(widget)).to_contain_text('type "nobody" beside')
        on_top = top(widget).get_by_text("nobody consumes returns.v1")
        await expect(on_top).to_have_text(re.compile("^it did not begin"))  # said once
        await picture(notebook, "dl-nobody")

        # five are discarded, which was a mistake
        entries = table(widget, 1)
        await rows(entries).first.locator(".varco-first").click()
        await rows(entries).nth(4).locator(".varco-first").click(modifiers=["Shift"])
        await open_tab(widget, "Export and discard")
        which = widget.get_by_label("Entries", exact=True).locator("visible=true")
        await expect(which.locator("option:checked")).to_have_text("5 selected rows")
        await enter(widget, "File", "mistake.parquet")
        await button(widget, "Export").click()
        await expect(widget).to_contain_text("5 entries in mistake.parquet")
        await button(widget, "Discard").click()
        await expect(top(widget)).to_contain_text("done: 5 discarded")
        await expect(status(widget)).to_contain_text(f"{2000 - len(wrong) - 5:,} dead letters")
        await button(widget, "Undo").click()
        await expect(widget).to_contain_text("5 entries put back into the queue")
        await expect(status(widget)).to_contain_text(f"{2000 - len(wrong):,} dead letters")

        await open_tab(widget, "Log")
        log = rows(widget.locator(".widget-tab-contents .varco-grid:visible").first)
        await expect(log).to_have_count(3)
        for row, said in enumerate(("5 restored", "5 discarded", f"{len(wrong)} replayed")):
            await expect(log.nth(row)).to_contain_text(said)
        await picture(notebook, "dl-morning")
        assert await notebook.value("lab.replays()['canary'].tolist()[-1]") == "5"
        assert await notebook.errors() == []
        left = {entry.entry_id for entry in await dlq.list_entries(limit=3000)}

    assert left == {entry.entry_id for entry in night} - wrong.keys()
    assert Counter(labelled) == {CODES[name]: count for name, count in countries.items()}
    stored = [*await stored_messages(settings)]
    keys = [UUID((message.headers or {})["Varco-Replay-Of"]) for message in stored]
    assert Counter(keys) == dict.fromkeys(wrong, 1)
    for key, message in zip(keys, stored, strict=True):
        assert message.subject == f"{settings.subject_prefix}.shipments"
        assert json.loads(message.data or b"") == sent[key] | {
            "country": CODES[sent[key]["country"]]
        }


async def stored_messages(settings: NatsEventBusSettings) -> list[RawStreamMsg]:
    """All that is in the channels, as plain nats-py reads it."""
    nc = await nats.connect(settings.servers)
    try:
        js, name = nc.jetstream(), settings.stream_name
        last = (await js.stream_info(name)).state.last_seq
        return [await js.get_msg(name, seq) for seq in range(1, last + 1)]
    finally:
        await nc.close()


async def test_by_keyboard_alone(
    notebook: Notebook, settings: NatsEventBusSettings, release: BrokenRelease
) -> None:
    await notebook.page.set_viewport_size({"width": 1280, "height": 700})
    await release.publish(12)
    await release.dead(6)
    release.repaired = True
    widget = await show(notebook, settings)
    await expect(rows(table(widget, 0))).to_have_count(2)
    press = notebook.page.keyboard.press

    async def to(wanted: Locator) -> None:
        """Press Tab until this has the focus."""
        for _ in range(40):
            if await wanted.evaluate("node => node === document.activeElement"):
                return
            await press("Tab")
        raise AssertionError(f"Tab does not come to {wanted}")

    # the larger group, its second entry whole
    await widget.get_by_role("button", name="Channel").focus()
    await to(table(widget, 0))
    await press("Home")
    await expect(widget).to_contain_text("Chosen group: 1 to 5 of 5")
    await to(table(widget, 1))
    await press("ArrowDown")
    await press("ArrowDown")
    await press("Enter")
    letter = widget.locator(".varco-message")
    await expect(letter).to_contain_text("no answer for order o-00009")

    # all of that group, planned and then for real
    await to(widget.get_by_role("tab", name="Entry", exact=True))
    for _ in range(3):
        await press("ArrowRight")
    await press("Enter")
    which = widget.get_by_label("Entries", exact=True).locator("visible=true")
    await expect(which).to_be_visible()
    await to(which)
    await expect(which.locator("option:checked")).to_have_text("5 of the chosen group")
    await to(button(widget, "Plan"))
    await press("Enter")
    await expect(widget).to_contain_text("5 of 5 would be sent")
    await to(widget.get_by_label("Canary", exact=True))
    await press("0")
    await expect(button(widget, "Run")).to_be_enabled()
    await to(button(widget, "Run"))
    await press("Enter")
    await expect(widget).to_contain_text("done: 5 replayed")
    await until(lambda: len(release.handled) == 11)
    assert await notebook.errors() == []


async def test_pages_filters_and_a_selection_over_pages_in_the_dark(
    notebook: Notebook, settings: NatsEventBusSettings, release: BrokenRelease
) -> None:
    await notebook.page.set_viewport_size({"width": 1000, "height": 700})
    for number in range(250):
        event = DeadBrowserOrder(number=number, total=1.0, country="AT")
        handler = "Shop.on_refund" if number % 5 == 0 else "Shop.on_order"
        entry = DeadLetterEntry(event=event, channel="orders", handler_name=handler)
        await release.dlq.push(entry)
    widget = await show(notebook, settings)
    await notebook.set_theme("JupyterLab Dark")
    entries = table(widget, 1)
    await expect(widget).to_contain_text("Entries 1 to 200 of 250, newest first")
    await expect(button(widget, "Newer")).to_be_disabled()
    await rows(entries).nth(1).locator(".varco-first").click()
    await expect(widget.locator(".varco-message")).to_contain_text("number: 248")
    await button(widget, "Oldest").click()
    await expect(rows(entries).first).to_contain_text("49")
    await expect(widget).to_contain_text("201 to 250 of 250")
    await rows(entries).nth(2).locator(".varco-first").click(modifiers=["Control"])
    await open_tab(widget, "Replay")
    which = widget.get_by_label("Entries", exact=True).locator("visible=true")
    await expect(which.locator("option:checked")).to_have_text("2 selected rows")
    await entries.get_by_role("columnheader", name="number").click()
    await expect(widget).to_contain_text("this page sorted by number")
    await expect(rows(entries).first).to_contain_text("AT")

    await widget.get_by_role("button", name="Handler").click()
    await widget.get_by_role("option", name="Shop.on_refund").click()
    await expect(status(widget)).to_contain_text("50 match the filter")
    await expect(which.locator("option:checked")).to_have_text("choose …")
    await enter(widget, "Until (UTC)", "1h")
    await expect(status(widget)).to_contain_text("0 match the filter")
    await picture(notebook, "dl-nothing")
    await button(widget, "Clear").click()
    await expect(widget).to_contain_text("1 to 200 of 250")
    await enter(widget, "Where", "number >= 240 and country == 'AT'")
    await expect(status(widget)).to_contain_text("10 match the filter")
    await enter(widget, "Where", "numbr > 1")
    await expect(widget).to_contain_text("there is no column 'numbr'; did you mean 'number'?")
    await picture(notebook, "dl-dark")


async def test_a_kernel_that_is_restarted_in_the_middle_of_a_run(
    notebook: Notebook, settings: NatsEventBusSettings, release: BrokenRelease
) -> None:
    await release.publish(80)
    await release.dead(40)
    release.repaired = True
    widget = await show(notebook, settings)
    await open_tab(widget, "Replay")
    await choose_all(widget, 40)
    await enter(widget, "Rate", "4")
    await enter(widget, "Canary", "0")
    await button(widget, "Plan").click()
    await expect(widget).to_contain_text("40 of 40 would be sent")
    await confirm_and_run(notebook, widget)
    await until(lambda: len(release.handled) > 42)
    await notebook.restart_kernel()
    await notebook.run_all()
    left = await release.dlq.count()
    assert 0 < left < 40
    await expect(status(widget)).to_contain_text(f"{left} dead letters")
    await open_tab(widget, "Log")
    log = widget.locator(".widget-tab-contents .varco-grid:visible").first
    await expect(rows(log)).to_contain_text(re.compile("died|cancelled"))
    await open_tab(widget, "Replay")
    await choose_all(widget, left)
    await enter(widget, "Canary", "0")
    await button(widget, "Plan").click()
    await expect(widget).to_contain_text(f"{left - 1} of {left} would be sent")
    await expect(widget).to_contain_text("tick 'include what was replayed before'")  # order 3
    await confirm_and_run(notebook, widget)
    await expect(widget).to_contain_text("done: ")
    await until(lambda: len(release.handled) == 79)
    assert set(release.handled.values()) == {1}


async def test_a_discard_is_undone_and_two_analysts_see_who_works_on_what(
    notebook: Notebook, settings: NatsEventBusSettings, release: BrokenRelease
) -> None:
    await notebook.page.set_viewport_size({"width": 1440, "height": 813})
    colleague = lab_on(settings).replace("lab = Lab", "other = Lab")
    await notebook.new(
        f"{lab_on(settings)}\n"
        "from varco_nats_widgets.sample import fill_dead_letters\n"
        "fill_dead_letters(lab, 300, force=True)\n"
        "letters = lab.dead_letters()",
        "letters",
        f"{colleague}\nother.dead_letters()",
    )
    await notebook.run_all()
    assert await notebook.errors() == []
    widget, theirs = (notebook.cell(n).locator(".varco-dead-letters") for n in (1, 2))
    await expect(status(widget)).to_contain_text("300 dead letters")
    groups, entries = table(widget, 0), table(widget, 1)
    await rows(groups).first.locator(".varco-first").click()
    await expect(widget.get_by_label("Owner", exact=True)).to_be_visible()
    await enter(widget, "Group note", "waiting for the gateway")
    await button(widget, "Take it").click()
    await expect(widget.get_by_label("Owner", exact=True)).to_have_value(user_and_host())
    for shown in (widget, theirs):
        row = rows(table(shown, 0)).filter(has_text="waiting for the gateway")
        await expect(row).to_contain_text(user_and_host())
    await picture(notebook, "dl-labels")

    await rows(entries).first.locator(".varco-first").click()
    await rows(entries).nth(4).locator(".varco-first").click(modifiers=["Shift"])
    await open_tab(widget, "Export and discard")
    which = widget.get_by_label("Entries", exact=True).locator("visible=true")
    await expect(which.locator("option:checked")).to_have_text("5 selected rows")
    await enter(widget, "File", "mistake.parquet")
    await button(widget, "Export").click()
    await expect(widget).to_contain_text("5 entries in mistake.parquet")
    await expect(button(widget, "Undo")).to_be_hidden()
    await button(widget, "Discard").click()
    await expect(widget).to_contain_text("done: 5 discarded")
    await expect(status(widget)).to_contain_text("295 dead letters")
    await picture(notebook, "dl-undo")
    await button(widget, "Undo").click()
    await expect(widget).to_contain_text("5 entries put back into the queue")
    await expect(status(widget)).to_contain_text("300 dead letters")
    await expect(button(widget, "Undo")).to_be_hidden()
    await expect(status(theirs)).to_contain_text("300 dead letters")
    await button(widget, "Restore").click()
    await expect(widget).to_contain_text("nothing put back into the queue; 5 skipped: in the")
    await notebook.set_theme("JupyterLab Dark")
    await picture(notebook, "dl-restored-dark")
    await open_tab(widget, "Log")
    log = rows(widget.locator(".widget-tab-contents .varco-grid:visible").first)
    await expect(log.nth(1)).to_contain_text("5 restored")
    await expect(log.nth(1)).to_contain_text("undoes a discard")
    assert await notebook.errors() == []


async def test_a_run_goes_on_while_its_page_is_gone(
    notebook: Notebook, settings: NatsEventBusSettings, release: BrokenRelease
) -> None:
    """The tab is closed in a run, twice; it is found again, and its outcome once it has ended."""
    await release.publish(80)
    await release.dead(40)
    release.repaired = True
    widget = await show(notebook, settings)
    await open_tab(widget, "Replay")
    await choose_all(widget, 40)
    await enter(widget, "Rate", "10")
    await enter(widget, "Canary", "0")
    await button(widget, "Plan").click()
    await button(widget, "Run: send 40").click()
    await until(lambda: len(release.handled) > 42)
    await button(widget, "Pause").click()
    await expect(top(widget)).to_contain_text("paused: ")
    await notebook.leave()
    await notebook.come_back(widget)
    await expect(top(widget)).to_contain_text("paused: ")
    await button(widget, "Resume").click()
    await expect(top(widget)).to_contain_text("replaying: ")
    await notebook.leave()
    await release.dead(1)  # order 3, whose handler refuses it again
    await notebook.come_back(widget)
    await expect(top(widget)).to_contain_text("done: 40 replayed")
    await picture(notebook, "dl-outcome")
    await notebook.add_cell("lab.dead_letters()")
    another = notebook.cell(2).locator(".varco-dead-letters")
    await expect(top(another)).to_contain_text("done: 40 replayed")
    assert sorted(release.handled) == [number for number in range(80) if number != 3]
    assert set(release.handled.values()) == {1}
    assert await release.dlq.count() == 1
    assert await notebook.errors() == []


async def test_hostile_dead_letters_stay_text(
    notebook: Notebook, settings: NatsEventBusSettings, release: BrokenRelease
) -> None:
    event = DeadBrowserOrder(number=1, total=1.0, country=HOSTILE)
    hostile: dict[str, Any] = {
        "handler_name": HOSTILE,
        "error_type": HOSTILE,
        "error_message": HOSTILE,
    }
    pushed = DeadLetterEntry(event=event, channel=HOSTILE, tenant_id=HOSTILE, **hostile)
    await release.dlq.push(pushed)
    raw = DeadLetterEntry(payload=HOSTILE.encode(), channel="orders", **hostile)
    await release.dlq.push(raw)
    widget = await show(notebook, settings)
    await expect(status(widget)).to_contain_text("2 dead letters")
    for _ in range(2):
        await rows(table(widget, 1)).nth(_).locator(".varco-first").click()
        await expect(widget.locator(".varco-message")).to_contain_text(HOSTILE)
        await open_tab(widget, "Edit")
        await open_tab(widget, "Entry")
    await notebook.add_cell(
        f"letters.edit({str(pushed.entry_id)!r}, {{'a': {HOSTILE!r}}});"
        "letters.plan('matching', note='x')"
    )
    await (
        rows(table(widget, 1))
        .filter(has_text=str(pushed.entry_id)[:8])
        .locator(".varco-first")
        .click()
    )
    await open_tab(widget, "Edit")
    await expect(widget.locator(".varco-added").last).to_contain_text("onerror")
    await open_tab(widget, "Replay")
    await expect(widget).to_contain_text("of 2 would be sent")
    await choose_all(widget, 2)
    await enter(widget, "To", HOSTILE)
    await button(widget, "Plan").click()
    await expect(widget.get_by_role("alert").first).to_contain_text("<img src=x")
    await expect(problem(widget)).to_contain_text("<img src=x")
    await enter(widget, "To", "")
    await enter(widget, "Note", HOSTILE)
    await enter(widget, "Canary", "0")
    await button(widget, "Plan").click()
    await expect(widget).to_contain_text("1 of 2 would be sent")
    await confirm_and_run(notebook, widget)
    await expect(widget).to_contain_text("done: ")
    await open_tab(widget, "Log")
    log = rows(widget.locator(".widget-tab-contents .varco-grid:visible").first)
    await expect(log).to_contain_text(HOSTILE)
    await notebook.add_cell(f"letters.filter(error={HOSTILE!r})")
    await expect(button(widget, "error: <img src=x")).to_be_visible()
    assert await notebook.page.evaluate("window.pwned === undefined")
    assert await widget.locator("img, script").count() == 0
    assert await widget.locator("mjx-container, .MathJax").count() == 0


async def test_a_saved_notebook_shows_the_groups(
    notebook: Notebook, settings: NatsEventBusSettings, release: BrokenRelease
) -> None:
    await release.publish(20)
    await release.dead(10)
    await show(notebook, settings)
    saved = await notebook.save()
    picture, widget = (output["data"] for output in saved["cells"][1]["outputs"])
    assert "no answer for order o-&lt;n&gt; within &lt;n&gt; s" in "".join(picture["text/html"])
    assert "".join(widget["text/plain"]) == f"DeadLetters({settings.stream_name}-dlq)"


async def test_what_another_framework_stored_goes_back_by_hand(
    notebook: Notebook, settings: NatsEventBusSettings
) -> None:
    name = settings.stream_name
    client = await nats.connect(settings.to_servers_list())
    js = client.jetstream()
    await js.add_stream(name=f"{name}-SHOP", subjects=[f"{name}.shop.>"])
    await js.add_stream(name=f"{name}-PARKED", subjects=[f"{name}.failed.>"])
    await js.publish(f"{name}.shop.orders", b'{"order": -1}')
    service = await js.pull_subscribe(f"{name}.shop.>", durable="billing", stream=f"{name}-SHOP")
    for number in range(6):
        headers = {"x-original-subject": f"{name}.shop.orders", "x-error": f"no answer {number}"}
        data = json.dumps({"order": number}).encode()
        await js.publish(f"{name}.failed.orders", data, headers=headers)
    opened = f"letters = DeadLetters.of_stream(lab, '{name}-PARKED')\nletters()"
    imported = "from varco_nats_widgets import DeadLetters"
    await notebook.new(lab_on(settings), f"{imported}\n{opened}")
    await notebook.run_all()
    widget = notebook.cell(1).locator(".varco-dead-letters")
    await expect(status(widget)).to_contain_text("6 dead letters · 1 group")
    await expect(rows(table(widget, 1)).first.locator(".varco-first")).to_have_text("#6")
    await rows(table(widget, 1)).first.locator(".varco-first").click()
    await expect(widget.locator(".varco-message-failure")).to_contain_text("no answer 5")
    await picture(notebook, "dl-foreign-entry")
    await open_tab(widget, "Replay")
    await choose_all(widget, 6)
    await button(widget, "Plan").click()
    await expect(widget).to_contain_text(f"6 would be sent: 6 to {name}.shop.orders")
    await picture(notebook, "dl-foreign")
    await button(widget, "Run").click()
    await expect(top(widget)).to_contain_text("done: 6 replayed")
    messages = await service.fetch(7, timeout=30)
    assert [json.loads(message.data)["order"] for message in messages] == [*range(-1, 6)]
    assert (await js.stream_info(f"{name}-PARKED")).state.messages == 0
    await client.close()
    assert await notebook.errors() == []
