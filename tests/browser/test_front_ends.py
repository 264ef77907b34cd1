"""An explorer and a live table on one page of Notebook 7 and of Voila, used by mouse."""

from __future__ import annotations

import asyncio
import re
import secrets

import nbformat
import pytest
from playwright.async_api import BrowserContext, ConsoleMessage, Locator, Page, expect

from tests.browser.jupyter import NOISE, VIEWPORT, JupyterServer
from tests.waiting import until

CELLS = (
    "from varco_nats_widgets import Lab\nfrom varco_nats_widgets.sample import fill, traffic\n"
    "lab = Lab()\nfill(lab, 300)\nmoving = traffic(lab, rate=50)",
    "explorer = lab.explore('orders')\nexplorer",
    "live = lab.live('orders', since='1h')\nlive.wait(100)\nlive",
    "len(lab.frame('orders', limit=5))",
)
NOT_OURS = (
    *NOISE.values(),
    r"net::ERR_PROXY_CONNECTION_FAILED",  # Voila asks for fonts on the Internet
    r"RUNTIME-012",  # Voila loads Notebook's own extension, which cannot run there
    r"\(Forbidden\) .*\.woff2$",  # Notebook 7 may ask for a font of its own without its login
    r"reading 'schema'",  # Notebook 7 reads a setting of its own that is not there
)


def write(jupyter: JupyterServer, **metadata: object) -> str:
    """A notebook with `CELLS` in a folder of its own."""
    book = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}, **metadata},
    )
    folder = jupyter.notebooks / secrets.token_hex(4)
    folder.mkdir()
    nbformat.write(book, folder / "page.ipynb")
    return f"{folder.name}/page.ipynb"


class FrontEnd:
    """A page of it, and what it wrote to the console that no one expects."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.console: list[str] = []
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self._note(f"{error.name}: {error.message}"))

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self._note(f"{message.text} {message.location.get('url', '')}".rstrip())

    def _note(self, text: str) -> None:
        if not any(re.search(known, text) for known in NOT_OURS):
            self.console.append(text)

    async def assert_both_work(self) -> None:
        page = self.page
        explorer = page.locator(".varco-explorer")
        await expect(explorer).to_be_visible(timeout=120_000)
        await (
            explorer.locator(".varco-body .varco-row", has_text="shop.order")
            .last.locator(".varco-first")
            .click()
        )
        await expect(explorer.locator(".varco-message")).to_contain_text(re.compile(r"-\d{6}"))

        pause = page.get_by_role("button", name="Pause")
        await expect(self.seen(re.compile(r"^live .* received \d{3}"))).to_have_count(1)
        await pause.click()
        await expect(page.get_by_role("button", name="Resume")).to_be_visible()
        await expect(self.seen(re.compile(r"^paused .* received \d{3}"))).to_have_count(1)

    def seen(self, text: re.Pattern[str]) -> Locator:
        """What has a text and is not hidden, as the picture for a saved notebook is."""
        return self.page.get_by_text(text).filter(visible=True)

    async def background(self) -> int:
        """How light the tables are, from 0 to 255."""
        color: str = await self.page.locator(".varco-grid").first.evaluate(
            "grid => getComputedStyle(grid).backgroundColor"
        )
        return int(re.findall(r"\d+", color)[0])


async def test_notebook_7(context: BrowserContext, jupyter: JupyterServer) -> None:
    page = await context.new_page()
    await page.set_viewport_size(VIEWPORT)
    front_end = FrontEnd(page)
    path = write(jupyter)
    await page.goto(f"{jupyter.url}/notebooks/{path}?token={jupyter.token}")

    async def is_ready() -> bool:
        """Before that, Notebook 7 drops what it is told to run."""
        sessions = await asyncio.to_thread(jupyter.request, "GET", "api/sessions")
        kernels = [each["kernel"] for each in sessions if each["path"] == path]
        return any(each["execution_state"] == "idle" and each["connections"] for each in kernels)

    await until(is_ready, timeout=120, every=0.2)
    await page.get_by_role("menuitem", name="Run", exact=True).click()
    await page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    await front_end.assert_both_work()
    assert await front_end.background() > 200
    await expect(page.locator(".jp-OutputArea-output").last).to_have_text("5")
    await page.close()
    await asyncio.to_thread(jupyter.end_kernels)
    assert front_end.console == []


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_voila(context: BrowserContext, jupyter: JupyterServer, theme: str) -> None:
    page = await context.new_page()
    await page.set_viewport_size(VIEWPORT)
    front_end = FrontEnd(page)
    path = write(jupyter, voila={"theme": theme})
    await page.goto(f"{jupyter.url}/voila/render/{path}?token={jupyter.token}")
    await front_end.assert_both_work()
    assert (await front_end.background() > 200) == (theme == "light")
    await expect(page.get_by_text("lab.explore")).to_have_count(0)
    await page.close()
    assert front_end.console == []
