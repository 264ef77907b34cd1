"""What a stranger publishes is shown as text: nothing of it runs or becomes markup or formulas."""

from __future__ import annotations

import json

from playwright.async_api import Locator, expect

from tests.browser.jupyter import Notebook

SCRIPT = "<script>window.pwned=1</script>"
IMAGE = '<img src=x onerror="window.pwned=1">'
LINK = "javascript:window.pwned=1"
TEX = r"$\href{javascript:window.pwned=1}{x}$"
TEX_INLINE = r"\(x\)"
MARKDOWN = f"**bold** [link]({LINK}) <b>b</b>"
PLANTED = [SCRIPT, IMAGE, LINK, TEX, TEX_INLINE, MARKDOWN]

# a channel's name has no white space and no `>`; the end tag that follows may bring that
CHANNELS = ["<img/src=x/onerror=window.pwned=1//", TEX, TEX_INLINE, f"[link]({LINK})"]
REFUSED = ['<img/src=x/onerror="window.pwned=1">', SCRIPT]  # as subjects the server takes them

PLANT = f"""
import json
import nats
import pandas as pd
from IPython.display import HTML, Markdown
from varco_nats_widgets import Lab
from varco_nats_widgets._ui.views import DataTable, TimeChart

planted, channels, refused = {PLANTED!r}, {CHANNELS!r}, {REFUSED!r}
pd.set_option("display.max_columns", None, "display.max_colwidth", None)
lab = Lab()
client = await nats.connect(lab.settings.to_servers_list())
stream = client.jetstream()
await stream.add_stream(name=lab.settings.stream_name, subjects=["varco.>"])

def event(text):
    fields = {{text: text, "nested": {{text: [text, {{text: text}}]}}, "text": text}}
    names = {{"__event_type__": text, "event_id": text, "timestamp": text}}
    return json.dumps(names | fields).encode()

async def publish(channel, payload, text):
    headers = {{"**bold**": text, "X-Note": text}}
    await stream.publish("varco." + channel, payload, headers=headers)

for text in planted:
    await publish(channels[0], event(text), text)
for text in planted:
    await publish(channels[0], text.encode(), text)  # not JSON
for channel in channels[1:] + refused:
    await publish(channel, event(channel), channel)
"""

IN_OUTPUTS = """selector => [...document.querySelectorAll('.jp-OutputArea-output')]
    .flatMap((output) => [...output.querySelectorAll(selector)])
    .map((node) => node.outerHTML.slice(0, 300))"""
"""What there is of a selector in the outputs of cells."""

MARKUP = (
    "script:not([type^='application/']), img:not([src^='data:image/']), iframe, object, "
    "svg[onload], [onerror], [onload], [href^='javascript' i]"
)
FORMULA = "mjx-container, .MathJax, .MathJax_Preview"


async def plant(notebook: Notebook, *cells: str) -> None:
    """Publish all that is hostile and run `cells`."""
    await notebook.new(PLANT, *cells)
    await notebook.run_all()
    assert await notebook.errors() == []


async def assert_nothing_ran(notebook: Notebook) -> None:
    """No script ran and no element came of what was planted."""
    # MathJax works in order: when this formula is drawn, those before it would be
    last = await notebook.add_cell(r"Markdown(r'$\alpha$')")
    drawn = notebook.cell(last).locator("mjx-container")
    await expect(drawn).to_be_attached()
    await notebook.page.evaluate("() => new Promise((done) => requestIdleCallback(done))")
    page = notebook.page
    assert await page.evaluate("window.pwned") is None
    assert notebook.dialogs == []
    assert await page.evaluate(IN_OUTPUTS, MARKUP) == []
    formulas = await page.evaluate(IN_OUTPUTS, FORMULA)
    assert len(formulas) == await drawn.count(), formulas
    assert notebook.refused == []


async def open_all(explorer: Locator) -> None:
    """Open every branch of a message's tree."""
    closed = explorer.locator(".varco-tree details:not([open]) > summary:visible")
    while await closed.count():
        await closed.first.click()


async def texts_in(grid: Locator) -> str:
    """What a table shows, scrolled from its first to its last row and column."""
    found = []
    for top in (0, 1e9):
        for left in (0, 400, 800, 1200, 1600, 2000, 2400, 2800, 3200):
            await grid.evaluate("(grid, at) => grid.scrollTo(...at)", [left, top])
            await expect(grid.locator(".varco-missing")).to_have_count(0)
            found.append(await grid.inner_text())
    await grid.evaluate("grid => grid.scrollTo(0, 0)")
    return "\n".join(found)


async def assert_shows(grid: Locator, *texts: str) -> None:
    shown = await texts_in(grid)
    assert [text for text in texts if text not in shown] == []


async def click_row(grid: Locator, position: int) -> None:
    """Click a row where its sequence is, scrolling there."""
    at_top = position < 6
    await grid.evaluate("(grid, at) => grid.scrollTo(0, at)", 0 if at_top else 1e9)
    end = "2" if at_top else await grid.get_attribute("aria-rowcount")
    await expect(grid.locator(f".varco-body [aria-rowindex='{end}']")).to_be_visible()
    await expect(grid.locator(".varco-missing")).to_have_count(0)
    row = grid.locator(f".varco-body [aria-rowindex='{position + 2}']")
    await expect(row.locator(".varco-first")).to_have_text(str(position + 1))
    await row.locator(".varco-first").click()


async def enter(explorer: Locator, label: str, text: str) -> None:
    field = explorer.get_by_label(label, exact=True)
    await field.fill(text)
    await field.press("Enter")


async def test_tables_and_charts(notebook: Notebook) -> None:
    await plant(
        notebook,
        "frame = lab.frame(channels, headers=True)\n"
        "table = DataTable(height=700)\ntable.set_frame(frame)\ntable",
        "HTML(table.static_html())",
        "chart = TimeChart(planted[1], planted[3])\n"
        "chart.set_series({name: ([1.7e9, 1.7e9 + 60], [1, 2]) for name in planted})\nchart",
        "lab[channels[0]], lab[channels[0]].last",
    )
    table, static, chart = (notebook.cell(index) for index in (1, 2, 3))
    await assert_shows(table.locator(".varco-grid"), *PLANTED, *CHANNELS)
    for text in PLANTED:
        await expect(static.locator("table")).to_contain_text(text)
        await expect(chart.locator(".varco-chart")).to_contain_text(text)
    await table.get_by_role("columnheader").filter(has_text="event_type").click()
    await table.locator(".varco-body .varco-row").nth(3).locator(".varco-first").click()
    await assert_nothing_ran(notebook)


async def test_frames(notebook: Notebook) -> None:
    await plant(
        notebook,
        "lab.frame(channels, headers=True)",
        "lab.channels()",
        "pd.concat([lab.frame(channels[0]), lab.live(channels, since='1h').df])",
    )
    for text in PLANTED:
        await expect(notebook.cell(1).locator("table")).to_contain_text(text)
        await expect(notebook.cell(3).locator("table")).to_contain_text(text)
    for name in CHANNELS + REFUSED:
        await expect(notebook.cell(2).locator("table")).to_contain_text(name)
    await assert_nothing_ran(notebook)


async def test_frames_without_a_lab(notebook: Notebook) -> None:
    time, data = "2026-05-01T10:00:00Z", {"tex": TEX, "inline": TEX_INLINE}
    line = json.dumps({"seq": 1, "stored_at": time, "channel": "orders", "data": data})
    await notebook.new(
        "from pathlib import Path\nfrom IPython.display import Markdown\n"
        f"from varco_nats_widgets import load\nPath('a.ndjson').write_text({line!r})",
        "load('a.ndjson')",
    )
    await notebook.run_all()
    await expect(notebook.cell(1).locator("table")).to_contain_text(TEX_INLINE)
    await assert_nothing_ran(notebook)


async def test_live_view(notebook: Notebook) -> None:
    await plant(
        notebook,
        "def where(row):\n    raise ValueError(' '.join(planted[:2]))\n"
        "live = lab.live(channels, since='1h', where=where)\nlive.wait(rows=15)\nlive",
    )
    live = notebook.cell(1)
    await expect(live).to_contain_text("received 15")
    await assert_shows(live.locator(".varco-grid"), *PLANTED, *CHANNELS)
    await expect(live).to_contain_text(f"ValueError: {SCRIPT} {IMAGE}")
    await notebook.add_cell("await publish(channels[0], event(planted[1]), planted[1])")
    await expect(live).to_contain_text("received 16")
    await live.get_by_role("button", name="Stop").click()
    await expect(live).to_contain_text("stopped")
    await assert_nothing_ran(notebook)


async def test_explorer(notebook: Notebook) -> None:
    await plant(notebook, "explorer = lab.explore(*channels)\nexplorer")
    explorer = notebook.cell(1).locator(".varco-explorer")
    names = explorer.get_by_role("listbox", name="Channels")
    for name in CHANNELS + REFUSED:
        await expect(names).to_contain_text(name)
    grid = explorer.locator(".varco-grid").first
    await assert_shows(grid, *PLANTED)
    await expect(explorer.locator(".varco-status")).to_contain_text(CHANNELS[0])
    for name in CHANNELS:
        await expect(explorer.locator(".varco-chart").first).to_contain_text(name)

    # each message whole: its facts, headers, tree, text and bytes
    message = explorer.locator(".varco-message")
    for position, text in enumerate(PLANTED + PLANTED):
        await click_row(grid, position)
        await expect(message.locator("dd").first).to_have_text(str(position + 1))
        await expect(message.locator("dl").last).to_contain_text(text)
        if position < len(PLANTED):
            await message.get_by_role("button", name="Tree").click()
            await expect(message.locator(".varco-message-title")).to_contain_text(text)
            await open_all(explorer)
            await expect(message.locator(".varco-value").last).to_be_visible()
        await message.get_by_role("button", name="Text", exact=True).click()
        written = json.dumps(text)[1:-1] if position < len(PLANTED) else text
        await expect(message.locator("pre")).to_contain_text(written)

    await filter_by_all(explorer)
    await explorer.get_by_role("tab", name="Statistics").click()
    await expect(explorer.locator(".widget-tab .varco-grid").first).to_contain_text(IMAGE)
    await explorer.get_by_role("tab", name="Code and export").click()
    await expect(explorer.locator("code").first).to_contain_text("img/src=x")
    await explorer.get_by_label("File", exact=True).fill(f"/nowhere/{IMAGE.replace('/', '')}.xls")
    await explorer.get_by_role("button", name="Export").click()
    await expect(explorer).to_contain_text("not exported")
    # a name that is no channel's is refused, in words
    await names.get_by_role("option").filter(has_text="<script>").click()
    await expect(explorer.get_by_role("alert").first).to_contain_text(SCRIPT)
    await assert_nothing_ran(notebook)


async def filter_by_all(explorer: Locator) -> None:
    """Write what is hostile into every field, and pick it from the types offered."""
    kinds = explorer.locator("datalist option")
    offered = await kinds.evaluate_all("nodes => nodes.map((node) => node.value)")
    assert set(PLANTED) <= set(offered)
    shown = explorer.locator(".varco-grid").first
    status = explorer.locator(".varco-status")
    problem = explorer.get_by_role("alert").first
    for text in (IMAGE, TEX):
        await enter(explorer, "Type", text)
        await expect(shown.get_by_role("row")).to_have_count(2 + (text == TEX))
        await enter(explorer, "Type", "")
        await expect(status).to_contain_text("15 of 15 messages")
        await enter(explorer, "Text", text)
        await expect(status).not_to_contain_text("15 of 15 messages")
        await expect(shown).to_contain_text(text)
        await enter(explorer, "Text", "")
        await expect(status).to_contain_text("15 of 15 messages")
        await enter(explorer, "Where", text)
        await expect(problem).to_contain_text(text)
        await enter(explorer, "Where", "")
        await enter(explorer, "Go to", text)
        await expect(problem).to_contain_text(repr(text))
        await enter(explorer, "Go to", "#1")
        await expect(problem).to_be_hidden()


async def test_errors_in_cells(notebook: Notebook) -> None:
    await plant(notebook, "chart = TimeChart(planted[1], planted[3])\nchart")
    for source, text in (
        ("lab.frame(planted[0])", SCRIPT),
        ("lab.frame(channels[0] + '-')", CHANNELS[0]),  # names all the channels there are
        ("lab.frame(subject=refused[1] + '-')", SCRIPT),
        ("lab.explore(channels[0]).filter(condition=planted[1])", IMAGE),
        ("raise ValueError(planted)", IMAGE),
        ("import warnings; warnings.warn(planted[1] + planted[3])", TEX),
    ):
        index = await notebook.add_cell(source)
        await expect(notebook.cell(index)).to_contain_text(text)
    await assert_nothing_ran(notebook)


async def test_it_would_be_seen(notebook: Notebook) -> None:
    """The same data as HTML do run here: the tests above can fail."""
    notebook.reusable = False
    await plant(notebook, "HTML(planted[1] + planted[3])")
    await notebook.page.wait_for_function("window.pwned === 1")
    await expect(notebook.cell(1).locator(FORMULA).first).to_be_attached()
    assert await notebook.page.evaluate(IN_OUTPUTS, MARKUP) != []
    notebook.console.clear()  # there is no image x
