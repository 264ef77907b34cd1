"""What a saved notebook shows where its kernel is gone: JupyterLab, Notebook and nbconvert."""

from __future__ import annotations

import json
import re
from pathlib import Path

import nbformat
from nbconvert import HTMLExporter
from playwright.async_api import Page, expect

from tests.browser.jupyter import Notebook

CELLS = (
    "from varco_nats_widgets import Lab\nfrom varco_nats_widgets.sample import fill\n"
    "lab = Lab()\nfill(lab, 300)\nNone",
    "explorer = lab.explore('orders')\nexplorer",
    "live = lab.live('orders', since='1h')\nlive.wait(100)\nlive",
    "lab.dead_letters()",
    "explorer",
    "explorer.filter(condition='total > 200')\nlen(explorer.df)",
)
WIDGETS = (1, 2, 3, 4)
FAILURES = re.compile("Loading widget|Error displaying|model not found")
SAVED = "saved.ipynb"


async def assert_shows_pictures(page: Page, *, charts: int = 1) -> None:
    """Each widget is there as a picture that is seen whole, and nothing that failed is seen."""
    pictures = page.locator("div:not(.jp-Cell) > p", has_text="As it was at")
    await expect(pictures).to_have_count(len(WIDGETS))
    for number in range(len(WIDGETS)):
        await expect(pictures.nth(number)).to_be_visible()
    tables = page.locator("th", has_text="order_id")
    await expect(tables).to_have_count(3)
    await expect(page.get_by_text("where: total > 200")).to_have_count(2)
    await expect(page.get_by_text("No groups.")).to_be_visible()
    for failure in await page.get_by_text(FAILURES).all():
        await expect(failure).to_be_hidden()
    drawn = page.locator("img[src^='data:image/svg+xml']")
    await expect(drawn).to_have_count(charts)
    assert await drawn.first.evaluate("image => image.complete && image.naturalWidth") == 800


class TestANotebookThatWasSaved:
    """Opened again in all ways that there are."""

    async def test_the_pictures_follow_the_widgets_unseen(self, notebook: Notebook) -> None:
        await notebook.new(*CELLS)
        await notebook.run_all()
        assert await notebook.errors() == []
        count = (await notebook.text(5)).strip()
        for cell in WIDGETS:
            outputs = await notebook.outputs(cell)
            kinds = [output["output_type"] for output in outputs]
            assert kinds == ["display_data", "execute_result"]
        # a live frame is pictured every ten seconds, and has a rate after its first one
        await expect(notebook.cell(2).locator(".varco-picture img")).to_have_count(1)
        for cell in (1, 4):
            await expect(notebook.cell(cell).locator(".varco-explorer")).to_be_visible()
            picture = notebook.cell(cell).locator(".varco-picture")
            await expect(picture).to_contain_text(f"orders · {count} of ")
            await expect(picture).to_be_hidden()

    async def test_without_a_kernel_it_shows_the_last_state(self, notebook: Notebook) -> None:
        await notebook.save()
        await notebook.reopen(notebook.path)
        await assert_shows_pictures(notebook.page)

    async def test_with_a_new_kernel_it_does_too(self, notebook: Notebook) -> None:
        await notebook.reopen(notebook.path, kernel=True)
        await expect(notebook.page.get_by_text("model not found")).to_have_count(len(WIDGETS))
        await assert_shows_pictures(notebook.page)

    async def test_a_stranger_who_does_not_trust_it_sees_it_too(self, notebook: Notebook) -> None:
        book = json.loads((notebook.server.notebooks / notebook.path).read_text())
        for cell in book["cells"]:
            cell["metadata"].pop("trusted", None)
        book["cells"][0]["source"] = "# as somebody else has it"
        folder = notebook.server.notebooks / f"copy-of-{Path(notebook.path).parent.name}"
        folder.mkdir()
        (folder / SAVED).write_text(json.dumps(book))
        await notebook.reopen(f"{folder.name}/{SAVED}")
        await assert_shows_pictures(notebook.page)

    async def test_notebook_7_shows_it_as_well(self, notebook: Notebook) -> None:
        page = await notebook.page.context.new_page()
        server = notebook.server
        await page.goto(f"{server.url}/notebooks/{notebook.path}?token={server.token}")
        await assert_shows_pictures(page)
        await page.close()

    async def test_nbconvert_writes_it(self, notebook: Notebook, tmp_path: Path) -> None:
        saved = nbformat.read(notebook.server.notebooks / notebook.path, as_version=4)
        html, _ = HTMLExporter(embed_images=True).from_notebook_node(saved)
        (tmp_path / "saved.html").write_text(html)
        page = await notebook.page.context.new_page()
        await page.goto((tmp_path / "saved.html").as_uri(), wait_until="domcontentloaded")
        await assert_shows_pictures(page)
        await page.close()


async def test_a_widget_whose_lab_is_closed_looks_closed(notebook: Notebook) -> None:
    await notebook.new(*CELLS[:2], "live = lab.live('orders', since='1h')\nlive.wait(100)\nlive")
    await notebook.run_all()
    explorer, live = notebook.cell(1), notebook.cell(2)
    await expect(explorer.locator(".varco-row:visible").first).to_be_visible()
    await notebook.add_cell("lab.close()")
    assert await notebook.errors() == []
    for cell in (explorer, live):
        closed = cell.locator(".varco-closed")
        await expect(closed.get_by_role("status").first).to_contain_text(
            "Closed: this is how it was. Its local server has ended"
        )
        for button in await closed.locator("button.jupyter-button").all():
            await expect(button).to_be_disabled()
    table = explorer.locator(".varco-grid").first
    await table.focus()
    seen = await table.locator(".varco-body .varco-row:visible").first.text_content()
    await table.press("Home")  # what was loaded can still be scrolled through
    await expect(table.locator(".varco-body .varco-row:visible").first).not_to_have_text(seen or "")
    saved = await notebook.save()
    for cell in saved["cells"][1:3]:
        assert "Closed: this is how it was." in "".join(cell["outputs"][0]["data"]["text/html"])
