"""A message in the explorer of a stranger's stream: beside the table, compared, sent again."""

from __future__ import annotations

import re
import secrets

import nats
import pytest
import pytest_asyncio
from playwright.async_api import Locator, ViewportSize, expect

from tests.browser.jupyter import Notebook
from tests.foreign import BLOB_BYTES, fill
from varco_nats.server import LocalNats

NARROW, WIDE = ViewportSize(width=800, height=900), ViewportSize(width=1600, height=900)


@pytest.fixture(scope="class")
def suffix() -> str:
    return secrets.token_hex(3)


@pytest_asyncio.fixture(scope="class", loop_scope="session")
async def explorer(notebook: Notebook, server: LocalNats, suffix: str) -> Locator:
    client = await nats.connect(server.url)
    await fill(client, devices=6, readings=3, topics=1, suffix=suffix)
    await client.close()
    await notebook.page.set_viewport_size(WIDE)
    await notebook.new(
        "from varco_nats_widgets import Lab",
        f"lab = Lab({server.url!r})",
        f"lab.explore('dev{suffix}.rome.000.temp', stream='TELEMETRY{suffix}')",
        f"lab.explore('file{suffix}.picture', 'file{suffix}.blob', stream='FILES{suffix}')",
    )
    await notebook.run_all()
    assert await notebook.errors() == []
    return notebook.cell(2)


class TestMessage:
    async def test_it_is_beside_the_table_where_there_is_room(
        self, notebook: Notebook, explorer: Locator
    ) -> None:
        await explorer.locator("[role=row]").nth(1).locator(".varco-first").click()
        message = explorer.locator(".varco-message")
        await expect(message.get_by_text("Message in dev")).to_be_visible()
        table = await explorer.locator(".varco-grid").first.bounding_box()
        beside = await message.bounding_box()
        assert table is not None
        assert beside is not None
        assert beside["x"] > table["x"] + table["width"]
        await notebook.page.set_viewport_size(NARROW)
        await expect(message).to_be_visible()
        await notebook.page.wait_for_function(
            "([table, message]) => message.getBoundingClientRect().top"
            " > table.getBoundingClientRect().bottom",
            arg=[
                await explorer.locator(".varco-grid").first.element_handle(),
                await message.element_handle(),
            ],
        )
        await notebook.page.set_viewport_size(WIDE)

    async def test_keys_go_to_the_next_and_say_what_differs(
        self, notebook: Notebook, explorer: Locator
    ) -> None:
        message = explorer.locator(".varco-message")
        await explorer.get_by_label("Compare with").select_option("previous")
        await message.get_by_role("button", name="Next").click()
        difference = explorer.get_by_role("region", name="Difference")
        await expect(difference.get_by_role("rowheader", name="value")).to_be_visible()
        title = await difference.locator("h4").text_content()
        cells = await notebook.page.locator(".jp-Cell").count()
        await notebook.page.keyboard.press("j")
        await expect(difference.locator("h4")).not_to_have_text(title or "")
        await notebook.page.keyboard.press("k")
        await expect(difference.locator("h4")).to_have_text(title or "")
        assert await notebook.page.locator(".jp-Cell").count() == cells

    async def test_it_is_copied(self, notebook: Notebook, explorer: Locator, suffix: str) -> None:
        message = explorer.locator(".varco-message")
        await message.get_by_role("button", name="Copy nats").click()
        await expect(message.get_by_role("button", name="Copied")).to_be_visible()
        text = await notebook.page.evaluate("navigator.clipboard.readText()")
        assert text.startswith("nats pub --header Content-Type:application/json")
        assert f"-- dev{suffix}.rome.000.temp '{{" in text

    async def test_it_is_edited_and_sent_again(self, explorer: Locator, suffix: str) -> None:
        await explorer.get_by_role("button", name="Edit and send again").click()
        payload = explorer.locator("textarea").first
        await expect(payload).to_have_value(re.compile(r'"device": "000"'))
        await payload.fill('{"device": "000", "value": 99.5}')
        await explorer.get_by_title("Say what would be sent").click()
        await expect(explorer.get_by_text("Nothing is sent yet").last).to_be_visible()
        await expect(explorer.get_by_text("without 'unit'").last).to_be_visible()
        await explorer.get_by_title("Send what was checked").click()
        await expect(explorer.get_by_text(f"1 stored in TELEMETRY{suffix}").last).to_be_visible()
        await explorer.get_by_title("Go to the last page").click()
        await expect(explorer.get_by_role("gridcell", name="99.5").first).to_be_attached()

    async def test_a_picture_is_shown_and_a_megabyte_freezes_nothing(
        self, notebook: Notebook, explorer: Locator
    ) -> None:
        files = notebook.cell(3)
        await files.scroll_into_view_if_needed()
        await files.locator("[role=row]").nth(1).locator(".varco-first").click()
        await expect(files.get_by_text(re.compile("16 . 16 pixels"))).to_be_visible()
        longest = """() => new Promise(resolve => {
            let longest = 0;
            new PerformanceObserver(list => {
                for (const task of list.getEntries()) longest = Math.max(longest, task.duration);
            }).observe({type: "longtask"});
            window.longestTask = () => longest;
            resolve();
        })"""
        await notebook.page.evaluate(longest)
        await files.locator("[role=row]").nth(2).locator(".varco-first").click()
        await expect(files.get_by_text(f"of {BLOB_BYTES:,} bytes are shown")).to_be_visible()
        # two seconds are no freeze on a machine that does other work as well
        assert await notebook.page.evaluate("longestTask()") < 2_000
