"""A real JupyterLab in a real Chromium for the tests in this folder.

A test takes the fixture `notebook` and is `async`:

    async def test_table(notebook: Notebook) -> None:
        await notebook.new("from varco_nats_widgets import Lab", "lab = Lab(); lab.channels()")
        await notebook.run_all()
        assert await notebook.errors() == []
        assert "orders" in await notebook.text(1)
        await notebook.cell(1).locator(".varco-grid").click()

One server and one browser serve the whole session; each test has its own page (`notebook.page`,
an async Playwright page), workspace and kernels, which end with it. All tests here share one event
loop, as Playwright is bound to it; fixtures on another loop (`settings`) work, but an async object
that one of them made (`nc`) cannot be used in the test. Nothing but loopback can be reached.
When a test is over, nothing may have been written to the browser's console as an error, except
what `NOISE` in `jupyter.py` names; `notebook.console` has what was written so far.

Without Chromium (`CHROMIUM`, or chromium, chromium-browser, google-chrome on PATH) the tests are
skipped; where `CI` is set, they fail.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, async_playwright

from tests.browser.jupyter import ARGUMENTS, JupyterServer, Notebook, find_chromium

_HERE = Path(__file__).parent
_NOTEBOOKS = _HERE.parents[1] / "notebooks"
_TIMEOUT = 180  # seconds for one test, its share of starting the server included


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(_TIMEOUT))


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium."""
    if found := find_chromium():
        return found
    reason = "no Chromium found: install the package chromium, or set CHROMIUM to its path"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser(chromium: str) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(
            executable_path=chromium, headless=True, args=ARGUMENTS
        )
        yield launched
        await launched.close()


@pytest.fixture(scope="session")
def jupyter(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JupyterServer]:
    """JupyterLab on a copy of `notebooks/`, with a home of its own."""
    root = tmp_path_factory.mktemp("jupyter")
    shutil.copytree(
        _NOTEBOOKS, root / "notebooks", ignore=shutil.ignore_patterns(".ipynb_checkpoints")
    )
    with JupyterServer(root) as server:
        yield server


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    """Shared, so that JupyterLab's scripts are fetched and compiled once."""
    made = await browser.new_context(
        viewport={"width": 1280, "height": 900},
        permissions=["clipboard-read", "clipboard-write"],
    )
    yield made
    await made.close()


@pytest_asyncio.fixture(loop_scope="session")
async def notebook(context: BrowserContext, jupyter: JupyterServer) -> AsyncIterator[Notebook]:
    """A page of JupyterLab with no notebook open yet."""
    opened = Notebook(await context.new_page(), jupyter)
    try:
        await opened.start()
        yield opened
    finally:
        await opened.close()
    assert opened.console == []
