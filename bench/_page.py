"""JupyterLab in a headless Chromium, as benchmarks open it and ask it."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.browser.jupyter import Notebook

LONG_TASKS = """() => {
    window.longTasks = [];
    new PerformanceObserver(list => {
        for (const task of list.getEntries()) window.longTasks.push(task.duration);
    }).observe({entryTypes: ['longtask']});
}"""
"""Has the page note each task of its main thread that is longer than 50 ms, in milliseconds."""


@asynccontextmanager
async def opened(*cells: str) -> AsyncIterator[Notebook]:
    """A notebook of a JupyterLab of its own with these cells, none of which has run.

    Raises:
        AssertionError: the page or JupyterLab had errors by the end.
    """
    from playwright.async_api import async_playwright

    from tests.browser.jupyter import ARGUMENTS, JupyterServer, Notebook, find_chromium

    with tempfile.TemporaryDirectory() as folder, JupyterServer(Path(folder)) as server:
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(
                executable_path=find_chromium(), headless=True, args=ARGUMENTS
            )
            notebook = Notebook(await browser.new_page(), server)
            await notebook.start()
            await notebook.new(*cells)
            yield notebook
            assert await notebook.errors() == []
            await notebook.close()
            await browser.close()
