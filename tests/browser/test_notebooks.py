"""The notebooks as they are shipped, from top to bottom, and that looking disturbs no service."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from nats.aio.client import Client
from playwright.async_api import Locator, expect

from tests.browser.jupyter import Notebook, lab_on
from tests.events import orders
from tests.processes import Child, consumer_process
from varco_nats.bus import NatsEventBus
from varco_nats.config import NatsEventBusSettings

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


async def restart_and_run_all(notebook: Notebook, name: str) -> list[dict[str, Any]]:
    """Run a notebook of the repository in a fresh kernel, and return its cells."""
    await notebook.open(name)
    await notebook.restart_kernel()
    await notebook.run_all()
    cells: list[dict[str, Any]] = stored_book(name)["cells"]
    return cells


def stored_book(name: str) -> dict[str, Any]:
    """A notebook as it is in the repository."""
    book: dict[str, Any] = json.loads((NOTEBOOKS / name).read_text())
    return book


async def assert_as_stored(notebook: Notebook, cells: list[dict[str, Any]]) -> None:
    """Every code cell ran and shows what is stored for it in the repository."""
    assert await notebook.errors() == []
    for index, cell in enumerate(cells):
        if cell["cell_type"] == "code":
            stored = [
                "".join(output.get("text") or output.get("data", {}).get("text/plain", ""))
                for output in cell["outputs"]
            ]
            shown = "\n".join(filter(None, stored))
            assert await notebook.text(index) == shown, "".join(cell["source"])


def cell_with(cells: list[dict[str, Any]], text: str) -> int:
    """The number of the only code cell that ends with `text`."""
    found = [
        index
        for index, cell in enumerate(cells)
        if cell["cell_type"] == "code" and "".join(cell["source"]).endswith(text)
    ]
    assert len(found) == 1
    return found[0]


def rows(widget: Locator) -> Locator:
    return widget.locator(".varco-grid").first.locator(".varco-body .varco-row:visible")


async def test_quick_start(notebook: Notebook) -> None:
    cells = await restart_and_run_all(notebook, "00_quickstart.ipynb")
    await assert_as_stored(notebook, cells)
    table = notebook.cell(cell_with(cells, ".head()")).locator("table.dataframe tbody tr")
    await expect(table).to_have_count(5)
    plot = notebook.cell(cell_with(cells, "plt.show()")).locator("img")
    await expect(plot).to_be_visible()
    assert notebook.refused == []


async def test_explore_channels(notebook: Notebook) -> None:
    cells = await restart_and_run_all(notebook, "01_explore_channels.ipynb")
    await assert_as_stored(notebook, cells)
    await expect(notebook.cell(cell_with(cells, "plt.show()")).locator("img")).to_be_visible()

    explorer = notebook.cell(cell_with(cells, 'lab.explore("orders")\nexplorer'))
    await expect(explorer.locator(".varco-explorer")).to_be_visible()
    await expect(explorer.locator(".varco-channel")).to_have_count(5)
    await expect(rows(explorer)).not_to_have_count(0)
    await expect(rows(explorer).first).to_contain_text("shop.order.placed")
    await expect(explorer.get_by_role("alert").first).to_be_hidden()

    live = notebook.cell(cell_with(cells, 'lab.live("orders")\nlive'))
    await expect(rows(live)).not_to_have_count(0)
    await expect(rows(live).first).to_contain_text(re.compile(r"[A-Z]{4}-\d{6}"))
    await expect(live).to_contain_text("stopped")
    chart = live.locator(".varco-chart").get_by_role(
        "img"
    )  # which says the newest value, if it has one
    await expect(chart).to_have_attribute("aria-label", re.compile(r"arriving: arriving \d"))
    assert notebook.refused == []


async def test_dead_letters(notebook: Notebook) -> None:
    cells = await restart_and_run_all(notebook, "04_dead_letters.ipynb")
    await assert_as_stored(notebook, cells)
    letters = notebook.cell(cell_with(cells, "lab.dead_letters()")).locator(".varco-dead-letters")
    await expect(letters.locator(".varco-status")).to_contain_text("No dead letters.")
    await letters.get_by_role("tab", name="Log", exact=True).click()
    await expect(letters.locator(".varco-grid:visible").last).to_contain_text("france is FR")
    await notebook.value("lab.close()")
    await expect(letters.locator(".varco-status")).to_contain_text("closed")
    assert notebook.refused == []


async def test_replay_history(notebook: Notebook) -> None:
    cells = await restart_and_run_all(notebook, "05_replay_history.ipynb")
    await assert_as_stored(notebook, cells)
    assert notebook.refused == []


@pytest.mark.parametrize("name", sorted(path.name for path in NOTEBOOKS.glob("*.ipynb")))
async def test_nothing_that_varies_is_stored(name: str) -> None:
    """Widget state and model ids change with every run; what is stored must not need them."""
    book = stored_book(name)
    assert set(book["metadata"]) == {"kernelspec", "language_info"}
    assert book["metadata"]["kernelspec"]["name"] == "python3"
    for cell in book["cells"]:
        assert cell["metadata"] in ({}, {"tags": ["raises-exception"]})
        if cell["cell_type"] == "code":
            assert not "".join(cell["source"]).rstrip().endswith(";")
            for output in cell["outputs"]:
                assert not [kind for kind in output.get("data", {}) if "widget" in kind]


class Shop:
    """Publishes to `orders` what a service process is to see once each."""

    def __init__(self, bus: NatsEventBus, service: Child) -> None:
        self.published = 0
        self.service = service
        self._bus = bus

    async def sell(self, count: int) -> None:
        """Publish `count` orders and wait until the service handled them."""
        self.published += count
        await self._bus.publish_many(orders(self.published)[-count:])
        await self.service.wait_for_count("after", self.published)


@pytest_asyncio.fixture(scope="class", loop_scope="session")
async def shop(settings: NatsEventBusSettings) -> AsyncIterator[Shop]:
    settings = settings.model_copy(update={"ack_wait_seconds": 5})
    async with NatsEventBus(settings) as bus, consumer_process(settings) as service:
        yield Shop(bus, service)


class TestAServiceThatConsumesTheSameChannels:
    """The whole time, a process with a durable of its own consumes what is looked at."""

    async def test_what_is_sold_is_seen_live(
        self, notebook: Notebook, shop: Shop, settings: NatsEventBusSettings
    ) -> None:
        await shop.sell(250)
        await notebook.new(
            "from varco_core.event.base import Event\n" + lab_on(settings),
            "live = lab.live('orders', since='1h')\nlive",
            "explorer = lab.explore()\nexplorer",
        )
        await notebook.run_all()
        assert await notebook.errors() == []
        live = notebook.cell(1)
        await expect(live).to_contain_text("received 250")
        await expect(rows(live).first).to_contain_text("order.placed")
        await shop.sell(50)
        await expect(live).to_contain_text("received 300")

    async def test_the_explorer_is_used_with_the_mouse(self, notebook: Notebook) -> None:
        explorer = notebook.cell(2).locator(".varco-explorer")
        status = explorer.locator(".varco-status")
        await explorer.locator(".varco-channel").filter(has_text="orders").click()
        await expect(status).to_contain_text("of 300 messages")
        await explorer.get_by_role("button", name="Oldest").click()
        await expect(status).to_contain_text("#1 to ")
        condition = explorer.get_by_label("Where", exact=True)
        await condition.fill("order_id == '7'")
        await condition.press("Enter")
        await expect(status).to_contain_text("#8 to #8")
        await rows(explorer).first.locator(".varco-first").click()
        await expect(explorer.locator(".varco-message")).to_contain_text("order.placed in orders")
        await explorer.get_by_role("button", name="Clear").click()
        await explorer.get_by_role("button", name="Live").click()
        await expect(status).to_contain_text("live, 0 arrived")

    async def test_the_live_table_is_paused(self, notebook: Notebook, shop: Shop) -> None:
        live, explorer = notebook.cell(1), notebook.cell(2).locator(".varco-explorer")
        await live.get_by_role("button", name="Pause").click()
        await expect(live).to_contain_text("paused")
        await shop.sell(25)
        await expect(explorer.locator(".varco-status")).to_contain_text("live, 25 arrived")
        await live.get_by_role("button", name="Resume").click()
        await expect(live).to_contain_text("received 325")

    async def test_the_channel_is_loaded_and_exported(
        self, notebook: Notebook, tmp_path: Path
    ) -> None:
        cell = await notebook.add_cell(
            "frame = lab.frame('orders')\n"
            f"result = lab.export('orders', {str(tmp_path / 'orders.parquet')!r})\n"
            "lab.channels(), lab.streams(), lab.consumers('orders')\n"
            "len(frame), result.rows, explorer.describe().messages"
        )
        assert await notebook.errors() == []
        assert await notebook.text(cell) == "(325, 325, 325)"

    async def test_the_notebook_handles_the_channel_too(
        self, notebook: Notebook, shop: Shop
    ) -> None:
        await notebook.add_cell(
            "class OrderPlaced(Event):\n"
            "    __event_type__ = 'order.placed'\n"
            "    order_id: str\n"
            "seen = []\n"
            "async def handle(event):\n"
            "    seen.append(event.order_id)\n"
            "lab.bus.subscribe(OrderPlaced, handle, channel='orders')"
        )
        await shop.sell(25)
        assert await notebook.errors() == []
        await notebook.wait_for("seen[-1]", "349")

    async def test_a_kernel_dies_and_another_begins_anew(
        self, notebook: Notebook, shop: Shop
    ) -> None:
        await notebook.restart_kernel()
        await shop.sell(50)
        await notebook.run_all()
        await expect(notebook.cell(1)).to_contain_text(f"received {shop.published}")

    async def test_the_service_saw_every_event_once(
        self, shop: Shop, settings: NatsEventBusSettings
    ) -> None:
        client = Client()
        await client.connect(settings.to_servers_list())
        durable = settings.durable_for("orders")
        info = await client.jetstream().consumer_info(settings.stream_name, durable)
        await client.close()
        await shop.service.terminate()

        handled = Counter(line for line in shop.service.lines if line.startswith("during"))
        assert handled == {f"during {number}": 1 for number in range(shop.published)}
        assert info.num_redelivered == 0
        assert info.num_ack_pending == 0
        assert info.delivered is not None
        assert info.delivered.consumer_seq == shop.published  # deliveries, repeated ones included
