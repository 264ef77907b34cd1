"""The table of the explorer on a server that strangers filled, as a person looks at it."""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator

import nats
import pytest_asyncio
from playwright.async_api import Locator, expect

from tests import foreign
from tests.browser.jupyter import Notebook
from varco_nats.server import LocalNats


@pytest_asyncio.fixture(scope="class", loop_scope="session")
async def suffix(server: LocalNats) -> AsyncIterator[str]:
    """What follows the names of this server's streams."""
    made = f"-{secrets.token_hex(3)}"
    nc = await nats.connect(server.url)
    await foreign.fill(nc, devices=30, topics=40, suffix=made)
    yield made
    await nc.close()


async def explore(notebook: Notebook, server: LocalNats, stream: str, *subjects: str) -> Locator:
    given = "".join(f"{subject!r}, " for subject in subjects)
    await notebook.new(
        f"from varco_nats_widgets import Lab\nlab = Lab({server.url!r})",
        f"explorer = lab.explore({given}stream={stream!r})\nexplorer",
    )
    await notebook.run_all()
    assert await notebook.errors() == []
    explorer = notebook.cell(1).locator(".varco-explorer")
    await expect(explorer.locator(".varco-grid").first).to_be_visible()
    return explorer


def grid(explorer: Locator) -> Locator:
    return explorer.locator(".varco-grid").first


def foot(explorer: Locator) -> Locator:
    return explorer.locator(".varco-foot").first


def head(explorer: Locator, name: str) -> Locator:
    return grid(explorer).get_by_role("columnheader", name=name, exact=True)


async def heads(explorer: Locator) -> list[str]:
    return await grid(explorer).get_by_role("columnheader").all_inner_texts()


def cells(explorer: Locator, column: int) -> Locator:
    shown = grid(explorer).locator(".varco-body .varco-row:visible")
    return shown.locator(f"[aria-colindex='{column}']")


@pytest_asyncio.fixture(scope="class", loop_scope="session")
async def explorer(notebook: Notebook, server: LocalNats, suffix: str) -> Locator:
    """What a person looks at the readings of one device with."""
    return await explore(notebook, server, f"TELEMETRY{suffix}", f"dev{suffix}.rome.000.temp")


class TestAPageShowsWhatPeopleCameFor:
    async def test_payload_first_and_times_short(
        self, notebook: Notebook, explorer: Locator
    ) -> None:
        await expect(foot(explorer)).to_contain_text("3 rows")
        await expect(head(explorer, "device")).to_be_visible()
        wanted = ["seq", "stored_at", "device", "value", "unit", "ts", "battery", "channel"]
        await expect(grid(explorer).get_by_role("columnheader")).to_have_count(len(wanted))
        assert await heads(explorer) == wanted
        stored = cells(explorer, 2).first
        await expect(stored).to_have_text(re.compile(r"^\d\d:\d\d:\d\d\.\d{3}$"))
        await stored.hover()
        await expect(stored).to_have_attribute("title", re.compile(r"^\d{4}-\d\d-\d\dT.*Z$"))
        await expect(foot(explorer)).to_contain_text("times of 20")

    async def test_empty_columns_are_hidden_and_said(self, explorer: Locator) -> None:
        await foot(explorer).get_by_role("button", name="3 empty columns hidden").click()
        await expect(head(explorer, "timestamp")).to_have_count(1)
        await foot(explorer).get_by_role("button", name="3 empty columns shown").click()
        await expect(head(explorer, "timestamp")).to_have_count(0)

    async def test_a_column_is_hidden_by_keys(self, notebook: Notebook, explorer: Locator) -> None:
        shown = grid(explorer)
        await shown.focus()
        await shown.press("ArrowUp")
        for _ in range(4):
            await shown.press("ArrowRight")
        await shown.press("Shift+F10")
        menu = explorer.get_by_role("menu", name="Column unit")
        await expect(menu).to_be_visible()
        await menu.get_by_role("menuitem", name="Hide", exact=True).press("Enter")
        await expect(head(explorer, "unit")).to_have_count(0)
        await expect(foot(explorer)).to_contain_text("1 column hidden by you")
        await expect(shown).to_be_focused()

    async def test_columns_are_moved_pinned_and_widened(
        self, notebook: Notebook, explorer: Locator
    ) -> None:
        await head(explorer, "ts").drag_to(
            head(explorer, "device"), target_position={"x": 9, "y": 9}
        )
        await expect(grid(explorer).get_by_role("columnheader").nth(2)).to_have_text("ts")
        await head(explorer, "battery").click(button="right")
        await explorer.get_by_role("menuitem", name="Pin to the left").click()
        await expect(grid(explorer).get_by_role("columnheader").nth(1)).to_have_text("battery")
        await grid(explorer).press("Shift+ArrowRight")
        await notebook.wait_for(
            "[explorer.columns[name] for name in ('pinned', 'hidden', 'order')]",
            [["battery"], ["unit"], ["stored_at", "ts", "device", "value", "battery", "channel"]],
        )

    async def test_the_page_is_sorted_and_says_so(
        self, notebook: Notebook, explorer: Locator
    ) -> None:
        await head(explorer, "value").click()
        await expect(foot(explorer)).to_contain_text("this page sorted by value, from the lowest")
        await expect(head(explorer, "value")).to_have_attribute("aria-sort", "ascending")
        await notebook.wait_for("explorer.columns['sort']", "value")

    async def test_the_choice_is_kept(self, notebook: Notebook, explorer: Locator) -> None:
        channel = (await notebook.value("explorer.chosen[0]")).strip("'")
        other = channel.replace("000", "003")
        await notebook.add_cell(f"explorer.select({other!r})")
        await expect(head(explorer, "unit")).to_have_count(1)
        await expect(foot(explorer)).not_to_contain_text("sorted")
        await notebook.add_cell(f"explorer.select({channel!r})")
        await expect(head(explorer, "unit")).to_have_count(0)
        await expect(foot(explorer)).to_contain_text("this page sorted by value")
        cell = await notebook.add_cell("explorer")
        again = notebook.cell(cell).locator(".varco-explorer")
        await expect(grid(again).get_by_role("columnheader").nth(1)).to_have_text("battery")

    async def test_a_value_filters(self, notebook: Notebook, explorer: Locator) -> None:
        where = explorer.get_by_label("Where", exact=True)
        cell = grid(explorer).get_by_role("gridcell", name="000").first
        await cell.hover()
        await grid(explorer).locator(".varco-more").click()
        await explorer.get_by_role("menuitem", name="Only rows with this value").click()
        await expect(where).to_have_value('device == "000"')
        column = await head(explorer, "value").get_attribute("aria-colindex")
        await cells(explorer, int(column or 0)).first.click(button="right")
        await explorer.get_by_role("menuitem", name="No rows with this value").click()
        await expect(where).to_have_value(re.compile(r'^device == "000" and not value == [\d.]+$'))
        await expect(foot(explorer)).to_contain_text("2 rows")
        await explorer.get_by_role("button", name="Clear").click()
        await expect(foot(explorer)).to_contain_text("3 rows")

    async def test_a_text_is_found(self, notebook: Notebook, explorer: Locator) -> None:
        await grid(explorer).focus()
        await grid(explorer).press("Control+f")
        field = explorer.get_by_label("Find in these rows").first
        await expect(field).to_be_focused()
        await field.fill("10:0")
        search = explorer.get_by_role("search").first
        await expect(search).to_contain_text("1 of 3")
        await expect(grid(explorer).locator(".varco-found")).to_have_count(3)
        await field.press("Shift+Enter")
        await expect(search).to_contain_text("3 of 3")
        await expect(grid(explorer).locator(".varco-active")).to_contain_text("10:0")
        await field.press("Escape")
        await expect(search).to_be_hidden()
        await expect(grid(explorer)).to_be_focused()

    async def test_shift_selects_rows_and_no_cells(
        self, notebook: Notebook, explorer: Locator
    ) -> None:
        await cells(explorer, 1).nth(0).click()
        await cells(explorer, 1).nth(2).click(modifiers=["Shift"])
        await notebook.wait_for("len(explorer.selected_seqs)", 3)
        selected = notebook.page.locator(".jp-Notebook .jp-Cell.jp-mod-selected")
        assert await selected.count() <= 1
        assert await notebook.page.evaluate("() => getSelection().toString()") == ""

    async def test_what_is_no_json(
        self, notebook: Notebook, server: LocalNats, suffix: str
    ) -> None:
        names = [f"file{suffix}.{name}" for name in ("picture", "blob", "log", "empty", "list")]
        explorer = await explore(notebook, server, f"FILES{suffix}", *names)
        shown = grid(explorer)
        await expect(shown).to_contain_text(f"PNG image 16x16, {len(foreign.picture())} bytes")
        await expect(shown).to_contain_text("binary, 1.0 MB")
        await expect(shown).to_contain_text("text, 80 lines: line one")
        await expect(shown.get_by_role("gridcell", name="empty", exact=True)).to_be_visible()
        await expect(shown).to_contain_text("[0,1,2,3,4,")
        image = shown.locator("img")
        await expect(image).to_have_count(1)
        assert await image.evaluate("image => image.decode().then(() => image.naturalWidth)") == 16
        await notebook.page.screenshot(path="/tmp/table_3.png")
