"""The explorer as a person uses it, while a service handles the same channel."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import nats
import pytest
import pytest_asyncio
from playwright.async_api import Locator, expect
from varco_core.event.base import Event
from varco_core.event.serializer import JsonEventSerializer

from tests import foreign
from tests.browser.jupyter import Notebook, lab_on
from tests.waiting import until
from varco_nats.bus import NatsEventBus
from varco_nats.config import NatsEventBusSettings
from varco_nats.server import LocalNats

HOSTILE = '<img src=x onerror="window.pwned = 1"> $x^2$ **b** <script>window.pwned = 2</script>'

CHANNEL = "$x^2$<svg/onload=pwned=3//&lt;b&gt;"


class BrowserOrder(Event):
    __event_type__ = "explored.placed"

    number: int
    total: float
    customer: dict[str, str]


class BrowserRefund(Event):
    __event_type__ = "explored.refunded"

    number: int


class BrowserHostile(Event):
    __event_type__ = HOSTILE

    note: str


class Service:
    """Handles what comes in the channel `orders`, as a service in production does."""

    def __init__(self, bus: NatsEventBus, settings: NatsEventBusSettings) -> None:
        self.bus = bus
        self.settings = settings
        self.seen: Counter[str] = Counter()
        self.published = 0
        bus.subscribe(Event, self.handle, channel="orders")

    async def handle(self, event: Event) -> None:
        self.seen[str(event.event_id)] += 1

    async def publish(self, *numbers: int, channel: str = "orders") -> None:
        names = ("Ada", "Björn", "Chiara")
        events: list[tuple[Event, str]] = [
            (
                BrowserOrder(number=n, total=n * 1.5, customer={"name": names[n % 3]})
                if n % 10
                else BrowserRefund(number=n),
                channel,
            )
            for n in numbers
        ]
        await self.bus.publish_many(events)
        self.published += len(events) if channel == "orders" else 0

    async def publish_hostile(self) -> None:
        await self.bus.publish(BrowserHostile(note=HOSTILE), channel="orders")
        self.published += 1

    async def assert_undisturbed(self) -> None:
        await until(lambda: len(self.seen) == self.published)
        assert set(self.seen.values()) == {1}
        connection = self.bus._connection
        assert connection is not None
        durable = self.settings.durable_for("orders")
        info = await connection.js.consumer_info(self.settings.stream_name, durable)
        assert info.num_redelivered == 0


@pytest_asyncio.fixture(scope="class", loop_scope="session")
async def service(settings: NatsEventBusSettings) -> AsyncIterator[Service]:
    async with NatsEventBus(settings) as bus:
        yield Service(bus, settings)


async def explore(notebook: Notebook, service: Service, *channels: str) -> Locator:
    """The explorer that a notebook shows."""
    shown = "".join(f"{channel!r}, " for channel in channels)
    await notebook.new(
        lab_on(service.settings), f"explorer = lab.explore({shown}page_size=50)\nexplorer"
    )
    await notebook.run_all()
    assert await notebook.errors() == []
    shown_in = notebook.cell(1).locator(".varco-explorer")
    await expect(shown_in).to_be_visible()
    return shown_in


def rows(explorer: Locator) -> Locator:
    return explorer.locator(".varco-grid").first.locator(".varco-body .varco-row:visible")


def seqs(explorer: Locator) -> Locator:
    return rows(explorer).locator(".varco-first")


async def enter(explorer: Locator, label: str, text: str) -> None:
    field = explorer.get_by_label(label, exact=True).first  # a form has such labels, too
    await field.fill(text)
    await field.press("Enter")


@pytest_asyncio.fixture(scope="class", loop_scope="session")
async def explorer(notebook: Notebook, service: Service) -> Locator:
    """What a person explores 300 orders and 2 payments with."""
    await service.publish(*range(1, 301))
    await service.publish(1, 2, channel="payments")
    return await explore(notebook, service)


class TestAPersonExploresAChannel:
    async def test_channels_are_picked(self, explorer: Locator) -> None:
        await expect(status(explorer)).to_contain_text("all channels · 50 of 302 messages")
        channels = explorer.get_by_role("listbox", name="Channels")
        await expect(channels.get_by_role("option")).to_have_count(2)
        await expect(channels).to_contain_text("300 messages")
        await channels.get_by_role("option").filter(has_text="orders").click()
        await expect(status(explorer)).to_contain_text("orders · 50 of 300 messages · #251 to #300")
        await expect(seqs(explorer).last).to_have_text("300")
        await channels.locator(".varco-channel-box").nth(1).click()
        await expect(status(explorer)).to_contain_text("orders, payments · 50 of 302 messages")
        await expect(seqs(explorer).last).to_have_text("302")
        await channels.get_by_role("option").filter(has_text="orders").click()
        await expect(seqs(explorer).last).to_have_text("300")

    async def test_it_is_paged_through(self, explorer: Locator) -> None:
        await explorer.get_by_role("button", name="Older").click()
        await expect(status(explorer)).to_contain_text("#201 to #250")
        await enter(explorer, "Go to", "#100")
        await expect(status(explorer)).to_contain_text("#100 to #149")
        await expect(seqs(explorer).first).to_have_text("100")
        await explorer.get_by_role("button", name="Newer").click()
        await expect(status(explorer)).to_contain_text("#150 to #199")
        await enter(explorer, "Go to", "9999")
        await expect(status(explorer)).to_contain_text("nothing at sequence 9999 or later")
        await enter(explorer, "Go to", "1h")
        await expect(status(explorer)).to_contain_text("#1 to #50")
        await enter(explorer, "Go to", "noon-ish")
        await expect(explorer.get_by_role("alert").first).to_contain_text(
            "'noon-ish' is not a time"
        )

    async def test_it_is_filtered(self, explorer: Locator) -> None:
        await enter(explorer, "Type", "explored.refunded")
        await expect(seqs(explorer).first).to_have_text("10")
        await expect(status(explorer)).to_contain_text("30 of 300 messages")
        await expect(explorer.get_by_role("alert").first).to_be_hidden()
        await enter(explorer, "Type", "")
        await enter(explorer, "Where", "total > 5m")
        await expect(explorer.get_by_role("alert").first).to_contain_text("at character 9")
        await enter(explorer, "Where", "total > 300 and total < 390")
        await enter(explorer, "Text", "björn")
        await expect(status(explorer)).to_contain_text("18 of 300 messages · #202 to #259")
        await expect(seqs(explorer).first).to_have_text("202")

    async def test_a_message_is_looked_at(self, explorer: Locator) -> None:
        await rows(explorer).nth(1).locator(".varco-first").click()
        message = explorer.locator(".varco-message")
        await expect(message).to_contain_text("explored.placed in orders")
        await expect(message).to_contain_text("205")
        await expect(message.locator(".varco-tree")).to_contain_text('name: "Björn"')
        await message.get_by_role("button", name="Hex").click()
        await expect(message.locator("pre")).to_contain_text("00000000  7b 22")
        await message.get_by_role("button", name="Text", exact=True).click()
        await expect(message.locator("pre")).to_contain_text('"customer": {"name": "Björn"}')

    async def test_the_next_message_is_opened_from_the_statistics(self, explorer: Locator) -> None:
        grid = explorer.locator(".varco-grid").first
        await grid.press("ArrowDown")
        await explorer.get_by_role("tab", name="Statistics").click()
        await expect(explorer).to_contain_text("all 300 messages · 2 event types")
        await grid.press("Enter")
        message = explorer.locator(".varco-message")
        await expect(message).to_be_visible()
        await expect(message).to_contain_text("208")

    async def test_it_is_taken_along_as_python(self, notebook: Notebook, explorer: Locator) -> None:
        await explorer.get_by_role("tab", name="Code and export").click()
        await explorer.get_by_role("button", name="Copy: code that loads the page").click()
        code = await notebook.page.evaluate("navigator.clipboard.readText()")
        cell = await notebook.add_cell(f"{code}.index.equals(explorer.df.index)")
        assert await notebook.text(cell) == "True"

    async def test_it_is_taken_along_as_a_file(
        self, notebook: Notebook, explorer: Locator, tmp_path: Path
    ) -> None:
        path = tmp_path / "orders.parquet"
        await explorer.get_by_label("File", exact=True).fill(str(path))
        await explorer.get_by_role("button", name="Export").click()
        await expect(explorer).to_contain_text("18 rows in orders.parquet")
        same = f"load({str(path)!r}).index.equals(explorer.df.index)"
        assert await notebook.value(same) == "True"

    async def test_the_service_was_not_disturbed(
        self, notebook: Notebook, explorer: Locator, service: Service
    ) -> None:
        await explorer.get_by_role("button", name="Clear").click()
        await expect(status(explorer)).to_contain_text("50 of 300 messages")
        await service.assert_undisturbed()
        assert await notebook.errors() == []


def status(explorer: Locator) -> Locator:
    return explorer.locator(".varco-status")


async def test_the_tail_is_watched_and_paused(
    notebook: Notebook, service: Service, tmp_path: Path
) -> None:
    await service.publish(*range(1, 101))
    explorer = await explore(notebook, service, "orders")
    live = explorer.get_by_role("button", name="Live")
    await live.click()
    await expect(status(explorer)).to_contain_text("live, 0 arrived")
    await service.publish(*range(101, 111))
    await expect(status(explorer)).to_contain_text("live, 10 arrived")
    await expect(seqs(explorer).last).to_have_text("110")
    await expect(status(explorer)).to_contain_text("#61 to #110")

    # a busy kernel does not hold it up
    leave = tmp_path / "leave"
    busy = await notebook.add_cell(
        f"import time, pathlib\nwhile not pathlib.Path({str(leave)!r}).exists(): time.sleep(0.02)",
        run=False,
    )
    await notebook.run_cell(busy, wait=False)
    await service.publish(*range(111, 131))
    await expect(seqs(explorer).last).to_have_text("130")
    leave.touch()
    await notebook.idle()

    # a rate is shown beside the channel
    await expect(explorer.locator(".varco-channel-rate")).not_to_have_text("0.0/s")

    await live.click()
    await notebook.wait_for("explorer.follow", False)
    await service.publish(*range(131, 141))
    await expect(explorer.locator(".varco-channel")).to_contain_text("140 messages")
    await expect(seqs(explorer).last).to_have_text("130")
    await explorer.get_by_role("button", name="Newest").click()
    await expect(seqs(explorer).last).to_have_text("140")
    await service.assert_undisturbed()


async def test_everything_can_be_done_with_the_keyboard(
    notebook: Notebook, service: Service
) -> None:
    await service.publish(*range(1, 201))
    await service.publish(1, channel="payments")
    explorer = await explore(notebook, service)
    page = notebook.page
    await explorer.get_by_role("listbox", name="Channels").focus()
    await page.keyboard.press("Home")
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("Enter")
    await notebook.wait_for("explorer.chosen", ("payments",))
    await page.keyboard.press("ArrowUp")
    await page.keyboard.press("Space")
    await notebook.wait_for("explorer.chosen", ("payments", "orders"))
    await page.keyboard.press("Enter")
    await notebook.wait_for("explorer.chosen", ("orders",))

    reached: list[str] = []
    for _ in range(30):
        await page.keyboard.press("Tab")
        name = await page.evaluate(
            "() => { const e = document.activeElement; return e.textContent.trim().slice(0, 9) "
            "|| e.labels?.[0]?.textContent || e.placeholder || e.getAttribute('aria-label'); }"
        )
        reached.append(name or "")
        if name == "Older":
            await page.keyboard.press("Enter")
            await notebook.wait_for("int(explorer.df.index[0])", 101)
        if any(name and name.startswith(wanted) for wanted in ("Message",)):
            break
    wanted = ["Oldest", "Older", "Newer", "Newest", "Live", "Go to", "Type", "Text", "Where"]
    assert [name for name in reached if name in wanted] == wanted

    grid = explorer.locator(".varco-grid").first
    await grid.focus()
    await page.keyboard.press("Home")
    await page.keyboard.press("Enter")
    await notebook.wait_for("getattr(explorer.message, 'seq', None)", 101)


async def test_headers_are_found_and_explained(notebook: Notebook, service: Service) -> None:
    await service.publish(*range(1, 4))
    connection = service.bus._connection
    assert connection is not None
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    headers = {"Nats-Msg-Id": "order-4", "traceparent": trace, "Tenant": f"acme {HOSTILE}"}
    subject = service.settings.subject_name("orders")
    event = BrowserOrder(number=4, total=6, customer={"name": "Ada"})
    data = JsonEventSerializer().serialize(event)
    await connection.nc.jetstream().publish(subject, data, headers=headers)
    service.published += 1
    explorer = await explore(notebook, service)
    await explorer.get_by_role("listbox", name="Channels").get_by_role("option").click()
    await expect(status(explorer)).to_contain_text("4 of 4 messages")
    await enter(explorer, "Where", 'headers.tenant contains "ACME"')
    await expect(status(explorer)).to_contain_text("1 of 4 messages")
    await expect(explorer.locator(".varco-grid").first).to_contain_text("headers.tenant")
    await rows(explorer).first.locator(".varco-first").click()
    message = explorer.locator(".varco-message")
    await expect(message).to_contain_text("Headers (3)")
    await expect(message).to_contain_text("stores a message with this id once")
    await expect(message.get_by_text("traceparent", exact=True)).to_have_attribute(
        "title", re.compile("The trace that it belongs to")
    )
    await expect(message).to_contain_text(f"acme {HOSTILE}")
    await enter(explorer, "Where", "")
    await enter(explorer, "Text", "acme <img")
    await expect(explorer).to_contain_text("none of 4 messages matches the filters")
    await explorer.get_by_label("headers too").check()
    await expect(status(explorer)).to_contain_text("1 of 4 messages")
    assert await notebook.page.evaluate("() => window.pwned") is None


async def test_hostile_data_is_only_text(notebook: Notebook, service: Service) -> None:
    await service.publish(*range(1, 4))
    await service.publish_hostile()
    await service.publish(1, channel=CHANNEL)
    explorer = await explore(notebook, service)
    await expect(explorer.get_by_role("listbox", name="Channels")).to_contain_text(CHANNEL)
    for option in await explorer.locator(".varco-channel").all():
        await option.locator(".varco-channel-box").click()
    await expect(status(explorer)).to_contain_text(", orders · 5 of 5 messages")
    await rows(explorer).nth(3).locator(".varco-first").click()
    message = explorer.locator(".varco-message")
    await expect(message.locator(".varco-message-title")).to_contain_text(f"{HOSTILE} in orders")
    await expect(message.locator(".varco-tree")).to_contain_text("$x^2$ **b**")
    await message.get_by_role("button", name="Text", exact=True).click()
    await enter(explorer, "Where", f"note == {HOSTILE}")
    # the part of the condition before the place that cannot be read, and after it
    alert = explorer.get_by_role("alert").first
    await expect(alert).to_contain_text('x onerror="window.pwned = 1">')
    await expect(alert).to_contain_text("<script>")
    await enter(explorer, "Where", "")
    await enter(explorer, "Text", HOSTILE)
    await expect(status(explorer)).to_contain_text("1 of 5 messages")
    await enter(explorer, "Type", HOSTILE)
    await explorer.get_by_role("tab", name="Statistics").click()
    await expect(explorer.locator(".widget-tab")).to_contain_text("onerror")
    await explorer.get_by_role("tab", name="Code and export").click()
    await expect(explorer.locator("code").first).to_contain_text("<script>")
    await explorer.get_by_label("File", exact=True).fill(f"/{HOSTILE.replace('/', '')}.xls")
    await explorer.get_by_role("button", name="Export").click()
    await expect(explorer).to_contain_text("not exported")
    await asyncio.sleep(0.3)  # an image's error comes later
    assert await notebook.page.evaluate("() => window.pwned") is None
    assert await explorer.locator("img, script, mjx-container, .MathJax").count() == 0


async def test_two_views_of_one_explorer(notebook: Notebook, service: Service) -> None:
    await service.publish(*range(1, 101))
    explorer = await explore(notebook, service, "orders")
    cell = await notebook.add_cell("explorer")
    second = notebook.cell(cell).locator(".varco-explorer")
    await second.get_by_role("button", name="Oldest").click()
    for view in (explorer, second):
        await expect(status(view)).to_contain_text("#1 to #50")
        await expect(seqs(view).first).to_have_text("1")
    assert await notebook.text(cell) == "Explorer(orders)"
    saved = (await notebook.outputs(cell))[0]["data"]
    assert "<table" in "".join(saved["text/html"])


async def test_a_big_message_is_copied_and_saved_whole(
    notebook: Notebook, service: Service, tmp_path: Path
) -> None:
    await service.bus.publish(BrowserHostile(note="x" * 100_000 + "end"), channel="orders")
    explorer = await explore(notebook, service, "orders")
    await rows(explorer).first.locator(".varco-first").click()
    message = explorer.locator(".varco-message")
    await expect(message).to_contain_text("the first 65,536 of 100,")
    async with notebook.seen_shortly(".varco-message button", "Copied"):
        await message.get_by_role("button", name="Copy text").click()
    page = notebook.page
    assert (await page.evaluate("navigator.clipboard.readText()")).endswith('xend"}')
    async with page.expect_download() as saving:
        await message.get_by_role("button", name="Save").click()
    saved = await saving.value
    assert saved.suggested_filename == "payload.json"
    await saved.save_as(tmp_path / "saved.json")
    assert len(json.loads((tmp_path / "saved.json").read_bytes())["note"]) == 100_003

    # a page without a secure address has no clipboard of its own
    notebook.reusable = False
    await page.evaluate(
        "window.own = navigator.clipboard;"
        "Object.defineProperty(navigator, 'clipboard', {value: undefined})"
    )
    async with notebook.seen_shortly(".varco-count", "copied"):
        await explorer.locator(".varco-grid").first.press("Control+c")
    assert (await page.evaluate("own.readText()")).startswith("seq\tstored_at")


async def test_stop_and_go_on(notebook: Notebook, service: Service, tmp_path: Path) -> None:
    await service.publish(*range(1, 1001))
    explorer = await explore(notebook, service, "orders")
    await notebook.add_cell(
        "import time\n"
        "from varco_nats_widgets.explorer import _paging\n"
        "_paging._SCAN, delay, matching = 20, 0.01, _paging.Filters.matching\n"
        "def slow(self, messages, decoding):\n"
        "    time.sleep(delay * len(messages))\n"
        "    return matching(self, messages, decoding)\n"
        "_paging.Filters.matching = slow"
    )

    # a search ends with what it found
    await enter(explorer, "Where", "number in (990, 980, 1)")
    await expect(status(explorer)).to_contain_text("of 1,000 messages read")
    await status(explorer).get_by_role("button", name="Stop").click()
    await expect(status(explorer)).to_contain_text("messages looked at")
    await expect(status(explorer)).to_contain_text("'older' goes on")

    # an export is stopped, repeated, refused and told to replace
    await explorer.get_by_role("tab", name="Code and export").click()
    path = tmp_path / "found.csv"
    await explorer.get_by_label("File", exact=True).fill(str(path))
    export = explorer.get_by_role("button", name="Export")
    await export.click()
    await expect(explorer).to_contain_text("exporting …")
    await status(explorer).get_by_role("button", name="Stop").click()
    await expect(explorer).to_contain_text("stopped; export to the same file again to continue")
    await notebook.add_cell("delay = 0")
    await export.click()
    await expect(explorer).to_contain_text("3 rows in found.csv")
    await export.click()
    await expect(explorer).to_contain_text("not exported")
    await explorer.get_by_label("replace an existing file").check()
    await export.click()
    await expect(explorer).to_contain_text("3 rows in found.csv")
    assert await notebook.errors() == []


async def test_the_server_goes_away_and_comes_back(notebook: Notebook) -> None:
    await notebook.new(
        "from varco_nats_widgets import Lab\n"
        "from varco_nats_widgets.sample import fill\n"
        "lab = Lab()\n"
        "server = lab._session._local\n"
        "sold = fill(lab, orders=30)",
        "explorer = lab.explore('orders', page_size=10)\nexplorer",
    )
    await notebook.run_all()
    assert await notebook.errors() == []
    explorer = notebook.cell(1).locator(".varco-explorer")
    alert, again = (
        status(explorer).get_by_role("alert"),
        status(explorer).get_by_role("button", name="Try again"),
    )
    await explorer.get_by_role("button", name="Live").click()
    await expect(status(explorer)).to_contain_text("live, 0 arrived")
    await notebook.add_cell("server.kill()")
    await expect(alert).to_contain_text("trying again")
    await explorer.get_by_role("button", name="Older").click()
    await expect(alert).to_contain_text("local server has ended")
    await notebook.add_cell("server.restart()")
    await expect(alert).to_be_hidden()

    # what went wrong otherwise is tried again by hand
    await notebook.add_cell(
        "pager = explorer._worker.pages.pager\n"
        "def fail(*_):\n    del pager.backwards\n    raise OSError('not now')\n"
        "pager.backwards = fail"
    )
    await explorer.get_by_role("button", name="Newest").click()
    await expect(alert).to_contain_text("not now")
    await again.click()
    await expect(alert).to_be_hidden()
    await notebook.add_cell("sold = fill(lab, orders=1, seed=2)")
    held = await notebook.value("len(lab.frame('orders'))")
    await explorer.get_by_role("button", name="Refresh").click()
    await expect(status(explorer)).to_contain_text(f"of {held} messages")
    assert await notebook.errors() == []


@pytest.fixture(scope="class")
def strangers() -> Iterator[LocalNats]:
    """A server that varco has never seen."""

    async def fill() -> None:
        nc = await nats.connect(server.url)
        await foreign.fill(nc)
        await foreign.publish(nc, [("dev.rome.000.temp", b"{}", None)])  # the newest of all
        await nc.close()

    with LocalNats() as server:
        asyncio.run(fill())
        yield server


def tree(explorer: Locator) -> Locator:
    return explorer.get_by_role("tree", name="Subjects")


class TestAPersonLooksAtAStrangersServer:
    async def test_it_opens_on_what_is_there(
        self, notebook: Notebook, strangers: LocalNats
    ) -> None:
        await notebook.new(
            f"from varco_nats_widgets import Lab\nlab = Lab({strangers.url!r})",
            "explorer = lab.explore(page_size=50)\nexplorer",
        )
        await notebook.run_all()
        assert await notebook.errors() == []
        explorer = shown(notebook)
        await expect(status(explorer)).to_contain_text(
            "TELEMETRY · all subjects · 50 of 901 messages · #852 to #901"
        )
        await expect(seqs(explorer).last).to_have_text("901")
        streams = explorer.get_by_role("listbox", name="Streams").get_by_role("option")
        await expect(streams).to_contain_text(
            ["FILES", "TELEMETRY", "TOPICS", "KV_configkey-value", "OBJ_reportsobject store"]
        )
        await expect(streams.nth(1)).to_have_attribute("aria-selected", "true")
        await expect(tree(explorer).get_by_role("treeitem")).to_contain_text(
            ["dev901", "lima300", "oslo300", "rome301"]
        )

    async def test_subjects_are_unfolded_and_a_range_is_chosen(self, notebook: Notebook) -> None:
        explorer = shown(notebook)
        rome = tree(explorer).get_by_role("treeitem").filter(has_text="rome")
        await rome.locator(".varco-channel-twist").click()
        await expect(rome).to_have_attribute("aria-expanded", "true")
        items = tree(explorer).get_by_role("treeitem")
        await items.filter(has_text="000").click()
        await expect(status(explorer)).to_contain_text("dev.rome.000.> · 7 of 7 messages")
        await items.filter(has_text="006").click(modifiers=["Shift"])
        await expect(status(explorer)).to_contain_text("19 of 19 messages")
        await notebook.wait_for(
            "explorer.chosen", ("dev.rome.000.>", "dev.rome.003.>", "dev.rome.006.>")
        )
        await rome.click()
        await notebook.wait_for("explorer.chosen", ("dev.rome.>",))
        await items.filter(has_text="003").locator(".varco-channel-box").click()
        await expect(status(explorer)).to_contain_text("50 of 295 messages")

    async def test_a_search_with_wildcards_is_chosen_by_keys(self, notebook: Notebook) -> None:
        explorer = shown(notebook)
        search = explorer.get_by_role("searchbox", name="Find a subject")
        await search.fill("dev.*")
        await expect(explorer).to_contain_text("No subject is found; dev.*.> finds 300")
        await search.fill("dev.*.*.temp")
        await expect(explorer).to_contain_text("150 of 300 subjects found")
        await search.press("ArrowDown")
        await notebook.page.keyboard.press("Control+a")
        await notebook.wait_for("explorer.chosen", ("dev.*.*.temp",))
        await expect(status(explorer)).to_contain_text("50 of 451 messages")
        await explorer.get_by_role("button", name="Older").click()
        await expect(status(explorer)).to_contain_text("#703 to #801")
        await search.press("Escape")
        await expect(search).to_have_value("")
        await explorer.get_by_role("button", name="Show everything").click()
        await notebook.wait_for("explorer.chosen", ())

    async def test_the_tree_is_walked_through_with_keys(self, notebook: Notebook) -> None:
        explorer, keyboard = shown(notebook), notebook.page.keyboard
        subjects = tree(explorer)

        async def is_at(text: str, **attributes: str) -> None:
            active = explorer.locator(".varco-channels .varco-active").last
            await expect(active.locator(".varco-channel-name")).to_have_text(text)
            for name, value in attributes.items():
                await expect(active).to_have_attribute(f"aria-{name}", value)
            assert await subjects.get_attribute("aria-activedescendant") == (
                await active.get_attribute("id")
            )

        await subjects.focus()
        await keyboard.press("Home")
        await is_at("dev", level="1", expanded="true")
        await keyboard.press("ArrowRight")
        await is_at("lima", level="2", expanded="false")
        await keyboard.press("ArrowRight")
        await keyboard.press("ArrowRight")
        await is_at("002", level="3")
        await keyboard.press("ArrowLeft")
        await is_at("lima", expanded="true")
        await keyboard.press("End")
        await is_at("147", level="3")
        await keyboard.press("Enter")
        await notebook.wait_for("explorer.chosen", ("dev.rome.147.>",))
        await keyboard.press("Shift+ArrowUp")
        await notebook.wait_for("explorer.chosen", ("dev.rome.144.>", "dev.rome.147.>"))
        await keyboard.press("Space")
        await notebook.wait_for("explorer.chosen", ("dev.rome.147.>",))
        # counts are renewed meanwhile, which takes no focus
        await notebook.run_cell(await notebook.add_cell("explorer.refresh()", run=False))
        await subjects.focus()
        await is_at("144")
        await keyboard.press("Escape")
        await notebook.wait_for("explorer.chosen", ())

    async def test_thousands_of_subjects_scroll(self, notebook: Notebook) -> None:
        explorer, page = shown(notebook), notebook.page
        streams = explorer.get_by_role("listbox", name="Streams").get_by_role("option")
        await streams.filter(has_text="TOPICS").click()
        await expect(status(explorer)).to_contain_text("TOPICS · all subjects · 50 of 2,000")
        await explorer.get_by_role("searchbox").fill("topic")
        await expect(explorer).to_contain_text("2,000 of 2,000 subjects found")
        await page.evaluate(LONG_TASKS)
        subjects = tree(explorer)
        for place in range(0, 49_000, 700):
            await subjects.evaluate("(node, top) => { node.scrollTop = top; }", place)
        await subjects.press("End")
        await expect(subjects.locator(".varco-active .varco-channel-name")).to_have_text("49")
        assert await subjects.get_by_role("treeitem").count() < 60
        print("longest task of the page, ms:", await page.evaluate("window.longest"))
        await subjects.press("Control+a")
        await notebook.wait_for("explorer.chosen", ())
        await streams.filter(has_text="KV_config").click()
        await expect(status(explorer)).to_contain_text("KV_config · all subjects")
        assert await notebook.errors() == []


LONG_TASKS = """() => {
    window.longest = 0;
    new PerformanceObserver((list) => {
        for (const {duration} of list.getEntries()) {
            window.longest = Math.max(window.longest, duration);
        }
    }).observe({entryTypes: ["longtask"]});
}"""


def shown(notebook: Notebook) -> Locator:
    return notebook.cell(1).locator(".varco-explorer")
