"""Every widget for everyone: what axe-core finds, a large font, and a narrow page."""

from __future__ import annotations

import os
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path

import nats
import pytest
import pytest_asyncio
from playwright.async_api import Locator, ViewportSize, expect

from tests.browser.jupyter import Notebook, lab_on
from tests.browser.test_dead_letters import BrokenRelease
from tests.browser.test_delivery import RECORD
from tests.foreign import fill
from tests.waiting import until
from varco_nats.bus import NatsEventBus
from varco_nats.config import NatsEventBusSettings
from varco_nats.dlq import NatsDLQ
from varco_nats.server import LocalNats

AXE = Path(__file__).parents[2] / "widgets/js/node_modules/axe-core/axe.min.js"

WIDE, NARROW = ViewportSize(width=1400, height=900), ViewportSize(width=700, height=900)

# Whether colours have contrast is undecided where axe-core cannot tell what is behind a text.
VIOLATIONS = """async (root) => {
    const values = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa'];
    const found = await axe.run(root, {runOnly: {type: 'tag', values}});
    const undecided = found.incomplete.filter(({id}) => id !== 'color-contrast');
    if (!found.passes.length) return ['nothing was looked at'];
    return [...found.violations, ...undecided].flatMap(({id, nodes}) =>
        nodes.map(({html, failureSummary}) => `${id}: ${html} ${failureSummary}`));
}"""

# What a tip says in full may be cut, and the cells of tables, which open in full.
CUT = """(root) => [...root.querySelectorAll('*')]
    .filter((node) => node.checkVisibility() && node.clientWidth)
    .filter((node) => !node.closest('[role=gridcell], [role=columnheader]'))
    .filter((node) => [...node.childNodes].some((child) => child.nodeType === Node.TEXT_NODE))
    .filter((node) => ['hidden', 'clip'].includes(getComputedStyle(node).overflowX))
    .filter((node) => node.scrollWidth > node.clientWidth + 1)
    .filter((node) => !node.closest('[title]')?.title.includes(node.textContent))
    .map((node) => `${node.className} "${node.textContent}" ${node.scrollWidth}`)"""

FONT = """(size) => ['ui-font-size1', 'content-font-size1', 'code-font-size'].forEach((name) =>
    document.documentElement.style.setProperty(`--jp-${name}`, size))"""

# Whether the focus can be seen where it is, and is further on in the page than before.
FOCUS = """() => {
    const node = document.activeElement;
    const look = () => ['outlineStyle', 'outlineWidth', 'outlineColor', 'boxShadow', 'borderColor']
        .map((name) => getComputedStyle(node)[name]).join();
    const focused = look();
    node.blur();
    const isSeen = focused !== look();
    node.focus();
    const isAfter = !window.focusedBefore
        || Boolean(window.focusedBefore.compareDocumentPosition(node) & 4);  // it follows
    window.focusedBefore = node;
    return {
        isInside: Boolean(node.closest('.jp-OutputArea-output')),
        isSeen,
        isAfter,
        html: node.outerHTML.slice(0, 200),
    };
}"""

SCALE = "(canvas) => canvas.getContext('2d').getTransform().a"


@pytest.fixture(scope="module")
def axe() -> str:
    if AXE.exists():
        return AXE.read_text()
    reason = "axe-core is not installed: make lint-js installs it"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest_asyncio.fixture(scope="class", loop_scope="session")
async def book(
    notebook: Notebook, server: LocalNats, settings: NatsEventBusSettings, axe: str
) -> Notebook:
    """A page with every widget, each in a cell but the first."""
    suffix = f"-{secrets.token_hex(3)}"
    client = await nats.connect(server.url)
    await fill(client, topics=1, suffix=suffix)
    await client.close()
    once = settings.model_copy(update={"max_deliver": 1})
    async with NatsDLQ(once) as dlq, NatsEventBus(once, dlq=dlq) as bus:
        release = BrokenRelease(bus, dlq)
        await release.publish(20)
        await release.dead(10)
    await notebook.page.set_viewport_size(WIDE)
    await notebook.new(
        f"{lab_on(settings)}\nforeign = Lab({server.url!r})",
        f"foreign.explore(stream='TELEMETRY{suffix}')",
        "live = lab.live('orders', last='1h')\nlive",
        "live.plot('total')",
        "letters = lab.dead_letters()\nletters.plan(channel='orders')\nletters",
        RECORD,
        f"foreign.kv('config{suffix}').live()",
        "lab.delivery()",
    )
    await notebook.run_all()
    assert await notebook.errors() == []
    explorer = notebook.cell(1)
    site = explorer.get_by_role("treeitem", name="rome")
    await site.locator(".varco-channel-twist").click()
    await explorer.locator(".varco-body [role=row]").first.locator(".varco-first").click()
    await expect(explorer.locator(".varco-message").get_by_text("Message in dev")).to_be_visible()
    await notebook.page.evaluate(axe)
    return notebook


async def everywhere(book: Notebook, look: Callable[[Locator], Awaitable[list[str]]]) -> list[str]:
    """What `look` finds in the widgets, with each page of their tabs open in turn."""
    found = []
    for cell in range(1, 8):
        root = book.cell(cell)
        tabs = root.get_by_role("tab")
        for number in range(max(1, await tabs.count())):
            name = ""
            if await tabs.count():
                await tabs.nth(number).click()
                await expect(tabs.nth(number)).to_have_attribute("aria-selected", "true")
                name = await tabs.nth(number).inner_text()
            # a table is drawn a moment after it is seen
            await expect(root.locator(".varco-grid:visible:not([aria-colcount])")).to_have_count(0)
            found += [f"cell {cell} {name}: {text}" for text in await look(root)]
    return found


async def violations(root: Locator) -> list[str]:
    found: list[str] = await root.evaluate(VIOLATIONS)
    return found


async def cut(root: Locator) -> list[str]:
    found: list[str] = await root.evaluate(CUT)
    return found


class TestForEveryone:
    async def test_axe_finds_nothing_on_a_light_page(self, book: Notebook) -> None:
        assert await everywhere(book, violations) == []

    async def test_axe_finds_nothing_on_a_dark_page(self, book: Notebook) -> None:
        await book.set_theme("JupyterLab Dark")
        assert await everywhere(book, violations) == []
        await book.set_theme("JupyterLab Light")

    async def test_the_focus_is_seen_wherever_it_goes(self, book: Notebook) -> None:
        await book.cell(1).get_by_role("searchbox").focus()
        seen = []
        while (at := await book.page.evaluate(FOCUS))["isInside"]:
            seen.append(at)
            await book.page.keyboard.press("Tab")
        assert [at["html"] for at in seen if not at["isSeen"]] == []
        assert [at["html"] for at in seen if not at["isAfter"]] == []
        assert len(seen) > 60

    async def test_all_grows_with_the_font(self, book: Notebook) -> None:
        plots = book.page.locator("canvas.varco-plot:visible")
        before = [await plot.evaluate(SCALE) for plot in await plots.all()]
        await book.page.evaluate(FONT, "20px")

        async def are_redrawn() -> bool:
            now = [await plot.evaluate(SCALE) for plot in await plots.all()]
            return now == pytest.approx([scale * 20 / 13 for scale in before])

        assert len(before) >= 4
        await until(are_redrawn)
        assert await everywhere(book, cut) == []

    async def test_an_explorer_has_its_subjects_on_top_where_there_is_no_room(
        self, book: Notebook
    ) -> None:
        await book.page.evaluate(FONT, "13px")
        await book.page.set_viewport_size(NARROW)
        explorer = book.cell(1)
        await book.page.wait_for_function(
            """([subjects, table]) => subjects.getBoundingClientRect().bottom
                <= table.getBoundingClientRect().top && table.clientWidth > 500""",
            arg=[
                await explorer.get_by_role("tree").element_handle(),
                await explorer.get_by_role("grid").first.element_handle(),
            ],
        )
        assert await everywhere(book, cut) == []
        await book.page.evaluate(FONT, "")

    async def test_how_far_it_is_is_said_now_and_then(self, book: Notebook) -> None:
        index = await book.add_cell(
            "from varco_nats_widgets._ui.parts import StatusBar\nbar = StatusBar(print, print)\nbar"
        )
        said = book.cell(index).locator(".varco-status-said")
        await expect(said).to_have_role("status")
        done = 0

        async def is_said() -> bool:
            nonlocal done
            done += 1
            words = f"'', '{done} of 900 read', '', busy=True, progress=({done}, 900)"
            await book.value(f"bar.show({words})")
            return bool(await said.text_content())

        await until(is_said, every=0.2)
        assert done > 1  # not at once, as most ends soon
        await book.value("bar.show('All of it', '', '', busy=False, progress=(0, 0))")
        await expect(said).to_have_text("")
        outcome = book.cell(index).locator(".varco-status-outcome")
        await book.value("bar.announce('3 stored', is_end=True)")
        await expect(outcome).to_have_role("status")
        await expect(outcome).to_have_text("3 stored")
