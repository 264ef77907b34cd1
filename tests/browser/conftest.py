"""A real JupyterLab in a real Chromium for the tests in this folder.

A test takes the fixture `notebook` and is `async`:

    async def test_table(notebook: Notebook) -> None:
        await notebook.new("from varco_nats_widgets import Lab", "lab = Lab(); lab.channels()")
        await notebook.run_all()
        assert await notebook.errors() == []
        assert "orders" in await notebook.text(1)
        await notebook.cell(1).locator(".varco-grid").click()

One server, one browser and one page (`notebook.page`, an async Playwright page) serve the whole
session. A test has its own notebooks, in folders of their own, and kernels, which end with it. It
gets a new page after a test that failed or that set `notebook.reusable` to False. All tests here
share one event loop, as Playwright is bound to it; an async object that a fixture on another loop
made (`nc`) cannot be used in the test. Nothing but loopback can be reached.
When a test is over, nothing may have been written to the browser's console as an error, except
what `NOISE` in `jupyter.py` names; `notebook.console` has what was written so far.

The tests of a class are the steps of a story. They run in their order, on the same notebook and
settings, and those after a step that failed are skipped. Where pytest-xdist runs tests side by
side, `--dist loadscope` and `--dist loadgroup` keep them on one worker.

Without Chromium (`CHROMIUM`, or chromium, chromium-browser, google-chrome on PATH) the tests are
skipped; where `CI` is set, they fail.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, async_playwright, expect

from tests.browser.jupyter import ARGUMENTS, VIEWPORT, JupyterServer, Notebook, find_chromium
from varco_nats.config import NatsEventBusSettings
from varco_nats.server import LocalNats

_HERE = Path(__file__).parent
_TIMEOUT = 300  # seconds for one test, its share of starting the server included
PASSED = pytest.StashKey[list[str]]()  # the steps of a class that passed

_SLOW = 60_000  # milliseconds that a busy machine may take to show something, or to take a click
expect.set_options(timeout=_SLOW)


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
    """JupyterLab with a home of its own."""
    with JupyterServer(tmp_path_factory.mktemp("jupyter")) as server:
        yield server


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    """Shared, so that JupyterLab's scripts are fetched and compiled once."""
    made = await browser.new_context(
        viewport=VIEWPORT, permissions=["clipboard-read", "clipboard-write"]
    )
    made.set_default_timeout(_SLOW)
    yield made
    await made.close()


@pytest.fixture(scope="session")
def pages() -> list[Notebook]:
    """The page that the next test can use, if there is one."""
    return []


@pytest_asyncio.fixture(scope="class", loop_scope="session")
async def notebook(
    request: pytest.FixtureRequest,
    context: BrowserContext,
    jupyter: JupyterServer,
    pages: list[Notebook],
) -> AsyncIterator[Notebook]:
    """A page of JupyterLab with no notebook open yet."""
    if pages:
        opened = pages.pop()
    else:
        opened = Notebook(await context.new_page(), jupyter)
        await opened.start()
    failed = request.session.testsfailed
    await opened.reset()
    yield opened
    console = opened.console.copy()
    await opened.close()
    if opened.reusable and not console and request.session.testsfailed == failed:
        pages.append(opened)
    else:
        await opened.page.close()
    assert console == []


@pytest.fixture(scope="class")
def settings(server: LocalNats) -> NatsEventBusSettings:
    """Settings on streams that no other test uses."""
    unique = f"t-{secrets.token_hex(5)}"
    return NatsEventBusSettings(
        servers=server.url,
        stream_name=unique,
        subject_prefix=unique,
        durable_name="svc",
        nak_delay_seconds=0.05,
    )


@pytest.fixture(autouse=True)
def step(request: pytest.FixtureRequest) -> Iterator[None]:
    """Skip a step of a story, unless those before it have passed."""
    if request.cls is None:
        yield
        return
    steps = [name for name in vars(request.cls) if name.startswith("test_")]
    passed = request.node.parent.stash.setdefault(PASSED, [])
    if request.node.originalname != (awaited := steps[len(passed)]):
        pytest.skip(f"a step of a story: {awaited} has to pass before it")
    failed = request.session.testsfailed
    yield
    if request.session.testsfailed == failed:
        passed.append(request.node.originalname)
