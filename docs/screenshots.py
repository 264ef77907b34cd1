"""Pictures for `docs/images` in the light and the dark theme of JupyterLab: `make screenshots`.

It is a pytest module that uses the JupyterLab and the Chromium of `tests/browser`; pytest does not
collect it on its own. `make screenshots ARGS="-k chart"` makes some of them.
"""

from __future__ import annotations

import io
from pathlib import Path

import nbformat
import pytest
from PIL import Image
from playwright.async_api import Locator, expect

from tests.browser.jupyter import Notebook

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

IMAGES = Path(__file__).parent / "images"
WIDTH = 1280  # pixels of the page
MAX_BYTES = 250_000
THEMES = {"dark": "JupyterLab Dark", "light": "JupyterLab Light"}  # a page begins with light

SHOP = """
import asyncio
from varco_nats_widgets import Lab
from varco_nats_widgets.sample import fill

lab = Lab()
fill(lab, 500)
"""

DURABILITY = """
import nats

client = await nats.connect(lab.settings.to_servers_list())
await client.jetstream().pull_subscribe("varco.orders", durable="warehouse")
await client.close()
lab.durability("orders")
"""

LIVE = """
from varco_nats_widgets.sample import traffic

live = lab.live(["orders", "payments", "shipments"])
busy = traffic(lab, rate=80, seed=7)
live
"""

TRAFFIC = """
import asyncio
from varco_nats_widgets import Lab
from varco_nats_widgets.sample import traffic

lab = Lab()
busy = traffic(lab, rate=150, seed=7)
while busy.published < 1500:
    await asyncio.sleep(0.1)
"""

EXPLORER = """
explorer = lab.explore("orders")
explorer
"""

DELIVERY = """
delivery = lab.delivery()
delivery
"""


LETTERS = """
letters = lab.dead_letters()
letters
"""


def code_of(name: str, count: int) -> list[str]:
    """The first code cells of a notebook of the repository."""
    book = nbformat.read(IMAGES.parents[1] / "notebooks" / name, as_version=4)
    return [cell.source for cell in book.cells if cell.cell_type == "code"][:count]


def output(notebook: Notebook, index: int) -> Locator:
    """What a cell shows, without the prompt beside it."""
    return notebook.cell(index).locator(".jp-OutputArea-output").last


async def take(notebook: Notebook, name: str, target: Locator | None = None) -> None:
    """Write `name-light.png` and `name-dark.png` of an element, or of the whole page."""
    await notebook.page.mouse.move(0, 0)
    for theme, title in THEMES.items():
        await settle(notebook)
        await notebook.set_theme(title)
        await settle(notebook)
        taken = await (target or notebook.page).screenshot(animations="disabled", caret="hide")
        path = IMAGES / f"{name}-{theme}.png"
        path.parent.mkdir(exist_ok=True)
        Image.open(io.BytesIO(taken)).convert("RGB").save(path, optimize=True)
        assert path.stat().st_size <= MAX_BYTES, f"{path.name}: {path.stat().st_size:,} bytes"


async def settle(notebook: Notebook) -> None:
    """Wait until a change of theme or size is drawn, and JupyterLab's splash over it is gone."""
    await notebook.page.evaluate("""async () => {
        await document.fonts.ready;
        const wait = (time) => new Promise((done) => setTimeout(done, time));
        await wait(300);  // styles of a theme come in a while
        while (document.getElementById('jupyterlab-splash')) await wait(20);
    }""")


async def show(notebook: Notebook, *cells: str, height: int = 1000) -> None:
    await notebook.page.set_viewport_size({"width": WIDTH, "height": height})
    await notebook.new(*cells)
    await notebook.run_all()
    assert await notebook.errors() == []


async def wait(notebook: Notebook, condition: str) -> None:
    """Wait in a cell, since many short requests to the kernel would slow down what is shown."""
    index = await notebook.add_cell(f"while not ({condition}):\n    await asyncio.sleep(0.1)")
    assert await notebook.errors() == [], index


async def test_quick_start(notebook: Notebook) -> None:
    await notebook.page.set_viewport_size({"width": WIDTH, "height": 960})
    await notebook.open("00_quickstart.ipynb")
    await notebook.run_all()
    assert await notebook.errors() == []
    first = notebook.page.get_by_role("paragraph").filter(has_text="It also has the columns")
    await first.evaluate("node => node.scrollIntoView({block: 'start'})")
    await take(notebook, "quickstart")


async def test_live(notebook: Notebook) -> None:
    await show(notebook, SHOP, LIVE)
    await wait(notebook, "live.received > 1500")
    await take(notebook, "live", output(notebook, 1))
    for ending in ("busy", "live"):
        await notebook.value(f"{ending}.stop()")


async def test_explorer(notebook: Notebook) -> None:
    await show(notebook, TRAFFIC, EXPLORER, height=1400)
    await wait(notebook, "len(explorer.rates.get('orders', [[]])[0]) > 5")
    await notebook.value("busy.stop()")
    await notebook.value("explorer.filter(condition='total > 100')")
    await notebook.value("explorer.open(int(explorer.df.index[-3]))")
    await notebook.value("setattr(explorer, 'selected_seqs', [int(explorer.df.index[-3])])")
    await expect(notebook.cell(1)).to_contain_text("order_id")
    await take(notebook, "explorer", output(notebook, 1))


async def test_statistics_and_export(notebook: Notebook) -> None:
    await show(notebook, TRAFFIC, "busy.stop()", EXPLORER, height=1400)
    tabs = notebook.cell(2).locator(".jupyter-widget-tab")
    await tabs.get_by_role("tab", name="Statistics").click()
    await wait(notebook, "explorer.statistics is not None")
    await take(notebook, "statistics", tabs)
    await notebook.value("explorer.filter(condition='total > 100')")
    await notebook.value("setattr(explorer, 'selected_seqs', explorer.df.index[-2:].tolist())")
    await tabs.get_by_role("tab", name="Code and export").click()
    await tabs.get_by_label("File", exact=True).fill("orders.parquet")
    await tabs.get_by_role("button", name="Export").click()
    await expect(tabs).to_contain_text("rows in orders.parquet")
    await take(notebook, "export", tabs)


async def test_durability(notebook: Notebook) -> None:
    await show(notebook, SHOP, DURABILITY)
    await take(notebook, "durability", output(notebook, 1))


async def test_delivery(notebook: Notebook) -> None:
    await show(notebook, "from varco_nats_widgets import Lab\nlab = Lab()", DELIVERY, height=1300)
    await notebook.value("delivery.run(semantics='at_least_once', faults='kill_after_handler')")
    await notebook.value("delivery.select(10)")
    await expect(notebook.cell(1)).to_contain_text("As promised.")
    await take(notebook, "delivery", output(notebook, 1))


async def test_dead_letters(notebook: Notebook) -> None:
    release = code_of("04_dead_letters.ipynb", 3)
    await show(notebook, *release, LETTERS, height=1400)
    await notebook.value("letters.choose(letters.group_table.index[0])")
    await notebook.value("setattr(letters, 'selected_ids', [letters.page.index[1]])")
    await notebook.value("letters.open(letters.page.index[1])")
    letters = notebook.cell(len(release))
    await expect(letters).to_contain_text("Chosen group:")
    await expect(letters.locator(".varco-message")).to_contain_text("no VAT rate for")
    await take(notebook, "dead_letters", output(notebook, len(release)))
