from __future__ import annotations

import re

from playwright.async_api import BrowserContext, Locator, expect
from varco_nats_widgets._ui.views import static

from tests.browser.jupyter import Notebook
from tests.waiting import until

FRAME = """
import numpy as np
import pandas as pd
from varco_nats_widgets._ui.views import DataTable, TimeChart

count = 100_000
rng = np.random.default_rng(7)
def events(first, count):
    seq = pd.Index(range(first, first + count), name="seq")
    stored = pd.to_datetime(1_777_000_000_000 + seq.to_numpy(), unit="ms", utc=True)
    return pd.DataFrame({
        "stored_at": stored,
        "channel": "orders",
        "event_type": rng.choice(["OrderPlaced", "OrderPaid"], count),
        "number": np.arange(first, first + count) * 10,
        "total": rng.uniform(1, 999, count).round(2),
        "customer": rng.choice(["Ada", "Grace", "Linus"], count),
        "items": [["pen", "ink"]] * count,
        "paid": rng.random(count) < 0.5,
    }, index=seq)
"""
TABLE = "table = DataTable(); table.set_frame(events(1, count)); table"

TELEMETRY = """
import math
from varco_core.event import Event
from varco_nats_widgets import Lab

class Measured(Event):
    device: str
    value: float
    ts: int

def measured(count, first=1_777_890_000):
    for n in range(count):
        pump = Measured(device="pump", value=20 + math.sin(n / 9) / 3, ts=(first + n) * 1000)
        fan = Measured(device="fan", value=1000 + n % 30, ts=(first + n) * 1000)
        yield (fan if n % 2 else pump), "telemetry"

lab = Lab()
"""

LONG_TASKS = """() => {
    window.longTasks = [];
    new PerformanceObserver((list) => {
        for (const entry of list.getEntries()) window.longTasks.push(Math.round(entry.duration));
    }).observe({entryTypes: ['longtask']});
}"""


async def show(notebook: Notebook, *cells: str) -> Locator:
    """The grid that the first of `cells` shows."""
    await notebook.new(FRAME, *cells)
    await notebook.run_all()
    assert await notebook.errors() == []
    grid = notebook.cell(1).locator(".varco-grid")
    await expect(grid).to_be_visible()
    return grid


def row(grid: Locator, position: int) -> Locator:
    return grid.locator(f".varco-body [aria-rowindex='{position + 2}']")


async def test_scrolls_through_a_long_frame(notebook: Notebook) -> None:
    grid = await show(notebook, TABLE)
    await expect(row(grid, 0)).to_contain_text("03:06:40.001")
    assert await grid.get_attribute("aria-rowcount") == "100001"
    assert await grid.locator(".varco-body .varco-row").count() < 40
    heads = grid.get_by_role("columnheader")
    assert (await heads.all_inner_texts())[:3] == ["seq", "stored_at", "channel"]

    await grid.evaluate("grid => { grid.scrollTop = 24 * 49_999; }")
    await expect(row(grid, 49_999).get_by_role("gridcell").first).to_have_text("50000")
    await expect(grid.locator(".varco-missing")).to_have_count(0)
    await grid.evaluate("grid => { grid.scrollTop = 1e9; }")
    await expect(row(grid, 99_999).get_by_role("gridcell").first).to_have_text("100000")
    box, last = await grid.bounding_box(), await row(grid, 99_999).bounding_box()
    assert box is not None
    assert last is not None
    assert last["y"] + last["height"] <= box["y"] + box["height"]

    # header and index stay where they are
    await grid.evaluate("grid => { grid.scrollLeft = 300; }")
    await expect(heads.first).to_have_text("seq")
    first = await row(grid, 99_999).get_by_role("gridcell").first.bounding_box()
    assert first is not None
    assert abs(first["x"] - box["x"]) < 3
    head = await heads.first.bounding_box()
    assert head is not None
    assert abs(head["y"] - box["y"]) < 3


async def test_a_frame_longer_than_a_page_can_be(notebook: Notebook) -> None:
    grid = await show(
        notebook,
        "table = DataTable(); table.set_frame(pd.DataFrame({'n': range(3_000_000)})); table",
    )
    await grid.focus()
    await grid.press("End")
    await expect(row(grid, 2_999_999)).to_contain_text("2999999")
    await grid.press("ArrowUp")
    await expect(row(grid, 2_999_998)).to_have_attribute("aria-selected", "true")
    await grid.evaluate("grid => { grid.scrollTop = grid.scrollHeight / 2; }")
    await expect(grid.locator(".varco-missing")).to_have_count(0)
    await expect(grid.locator(".varco-body")).to_contain_text("150")


async def test_sorts_by_a_click_on_a_header(notebook: Notebook) -> None:
    grid = await show(notebook, TABLE)
    head = grid.get_by_role("columnheader", name="total")
    expected = await notebook.value("sorted(table.frame['total'])[::len(table.frame) - 1]")
    low, high = expected.strip("[]").split(", ")
    await head.click()
    await expect(head).to_have_attribute("aria-sort", "ascending")
    await expect(row(grid, 0)).to_contain_text(low)
    await head.click()
    await expect(head).to_have_attribute("aria-sort", "descending")
    await expect(row(grid, 0)).to_contain_text(high)
    await head.click()
    await expect(head).to_have_attribute("aria-sort", "none")
    await expect(row(grid, 0).get_by_role("gridcell").first).to_have_text("1")
    # by keyboard
    await grid.press("ArrowUp")
    for _ in range(9):
        await grid.press("ArrowLeft")
    await grid.press("Enter")
    await grid.press("Enter")
    await expect(row(grid, 0).get_by_role("gridcell").first).to_have_text("100000")
    assert await notebook.value("(table.sort_by, table.sort_descending)") == "('seq', True)"


async def test_selects_by_mouse(notebook: Notebook) -> None:
    grid = await show(notebook, TABLE, "opened = []; table.on_open(opened.append)")
    await row(grid, 2).click()
    await notebook.wait_for("table.selected", [3])
    await row(grid, 5).click(modifiers=["Control"])
    await notebook.wait_for("table.selected", [3, 6])
    await row(grid, 3).click()
    await row(grid, 6).click(modifiers=["Shift"])
    await notebook.wait_for("table.selected", [4, 5, 6, 7])
    await expect(row(grid, 4)).to_have_attribute("aria-selected", "true")
    await row(grid, 1).dblclick()
    await notebook.wait_for("(opened, table.selected)", ([2], [2]))
    # the other way round
    await notebook.value("setattr(table, 'selected', [1])")
    await expect(row(grid, 0)).to_have_attribute("aria-selected", "true")
    await expect(row(grid, 1)).to_have_attribute("aria-selected", "false")


async def test_a_click_is_about_what_is_seen_where_newer_rows_are_not_drawn_yet(
    notebook: Notebook,
) -> None:
    grid = await show(notebook, TABLE)
    await expect(row(grid, 5)).to_contain_text("6")
    await notebook.page.evaluate("""() => {
        const later = window.requestAnimationFrame;
        window.held = [];
        window.requestAnimationFrame = (draw) => window.held.push(draw);
        window.release = () => {
            window.requestAnimationFrame = later;
            window.held.forEach(later);
        };
    }""")
    await notebook.value("table.set_frame(events(1, count).drop(2))")
    await notebook.page.wait_for_function(
        "() => window.held.some((draw) => String(draw).includes('clientWidth'))", polling=50
    )
    for position in (5, 1):  # there still, and gone
        cell = row(grid, position).locator(".varco-first")
        press = "cell => cell.dispatchEvent(new MouseEvent('mousedown', {bubbles: true}))"
        await expect(cell).to_have_text(str(position + 1))
        await cell.evaluate(press)
        await notebook.wait_for("table.selected", [position + 1])
    await notebook.page.evaluate("window.release()")
    await expect(row(grid, 1).locator(".varco-first")).to_have_text("3")
    await row(grid, 1).click()
    await notebook.wait_for("table.selected", [3])


async def test_selects_by_keyboard(notebook: Notebook) -> None:
    grid = await show(notebook, TABLE, "opened = []; table.on_open(opened.append)")
    await grid.focus()
    for key in ("ArrowDown", "ArrowDown"):
        await grid.press(key)
    await notebook.wait_for("table.selected", [2])
    await grid.press("Shift+ArrowDown")
    await grid.press("Shift+ArrowDown")
    await notebook.wait_for("table.selected", [2, 3, 4])
    await grid.press("Control+ArrowDown")
    await grid.press("Control+ArrowDown")
    await grid.press(" ")
    await notebook.wait_for("table.selected", [2, 3, 4, 6])
    active = await grid.get_attribute("aria-activedescendant")
    parent = notebook.page.locator(f"#{active}").locator("xpath=..")
    assert await parent.get_attribute("aria-rowindex") == "7"
    await grid.press("Enter")
    await notebook.wait_for("opened", [6])
    await grid.press("End")
    await notebook.wait_for("table.selected", [100_000])
    await expect(row(grid, 99_999)).to_have_attribute("aria-selected", "true")
    await grid.press("PageUp")
    await expect(row(grid, 99_999)).to_have_attribute("aria-selected", "false")
    await grid.press("Shift+Home")
    await notebook.wait_for("table.selected[0] == 1 and len(table.selected) > 99_950", True)
    await grid.press("Escape")
    await notebook.wait_for("table.selected", [])
    # JupyterLab has not taken the keys for its own: the cell is still there, still the active one
    assert len(await notebook.outputs(1)) == 1


async def test_copies_the_selected_rows(notebook: Notebook) -> None:
    grid = await show(notebook, TABLE)
    await row(grid, 1).click()
    await grid.press("Shift+ArrowDown")
    async with notebook.seen_shortly(".varco-count", "copied"):
        await grid.press("Control+c")
    lines = (await notebook.page.evaluate("navigator.clipboard.readText()")).splitlines()
    assert [line.split("\t")[0] for line in lines] == ["seq", "2", "3"]
    assert lines[1].split("\t")[4] == "20"


async def test_columns_can_be_resized(notebook: Notebook) -> None:
    grid = await show(notebook, TABLE)
    head = grid.get_by_role("columnheader", name="channel")
    before = await head.bounding_box()
    grip = await head.locator(".varco-grip").bounding_box()
    assert before is not None
    assert grip is not None
    x, y = grip["x"] + grip["width"] / 2, grip["y"] + 5
    await notebook.page.mouse.move(x, y)
    await notebook.page.mouse.down()
    await notebook.page.mouse.move(x + 60, y, steps=4)
    await notebook.page.mouse.up()
    await expect(head).to_have_css("width", f"{before['width'] + 60:g}px")
    cell = await row(grid, 0).get_by_role("gridcell").nth(2).bounding_box()
    assert cell is not None
    assert cell["width"] == before["width"] + 60
    assert await notebook.value("table.sort_by") == "''"


async def test_follows_until_scrolled_away(notebook: Notebook) -> None:
    grid = await show(
        notebook,
        "table = DataTable(follow=True); table.append(events(1, 500), keep=1000); table",
        "table.append(events(501, 400), keep=1000)",
        "table.append(events(901, 600), keep=1000)",
    )
    await expect(grid).to_have_attribute("aria-rowcount", "1001")
    await expect(row(grid, 999).get_by_role("gridcell").first).to_have_text("1500")
    assert await notebook.page.locator(".varco-newest").is_hidden()

    await grid.hover()
    await notebook.page.mouse.wheel(0, -2400)
    await notebook.wait_for("table.follow", False)
    await expect(grid.locator(".varco-missing")).to_have_count(0)
    middle = grid.locator(".varco-body .varco-row").nth(3).get_by_role("gridcell").first
    await expect(middle).to_have_text(re.compile("^13|^14"))
    seen = await middle.inner_text()
    await notebook.add_cell("table.append(events(1501, 100), keep=1000)")
    await expect(row(grid, 999)).to_have_count(0)
    await expect(middle).to_have_text(seen)  # the rows in sight stay, though others fell out

    await grid.evaluate("grid => { grid.scrollTop = 1e9; }")
    await notebook.wait_for("table.follow", True)
    await notebook.add_cell("table.append(events(1601, 100), keep=1000)")
    await expect(row(grid, 999).get_by_role("gridcell").first).to_have_text("1700")

    await notebook.add_cell("table.newest_first = True")
    await expect(row(grid, 0).get_by_role("gridcell").first).to_have_text("1700")
    await notebook.add_cell("table.append(events(1701, 100), keep=1000)")
    await expect(row(grid, 0).get_by_role("gridcell").first).to_have_text("1800")
    await grid.hover()
    await notebook.page.mouse.wheel(0, 480)
    await notebook.wait_for("table.follow", False)
    await notebook.page.get_by_role("button", name="Follow newest").click()
    await notebook.wait_for("table.follow", True)


async def test_follows_though_it_is_taken_out_of_the_page(notebook: Notebook) -> None:
    """As JupyterLab does with an output that is out of sight, and with one that is disposed of."""
    grid = await show(
        notebook, "table = DataTable(follow=True); table.append(events(1, 1000), keep=1000); table"
    )
    await expect(row(grid, 999).get_by_role("gridcell").first).to_have_text("1000")
    await grid.evaluate("""async (grid) => {
        const place = grid.nextSibling, parent = grid.parentNode;
        grid.scrollTop -= 100;
        grid.remove();
        for (let frame = 0; frame < 3; frame++) await new Promise(requestAnimationFrame);
        parent.insertBefore(grid, place);
    }""")
    assert await notebook.value("table.follow") == "True"


async def test_is_updated_while_a_cell_is_busy(notebook: Notebook) -> None:
    """What a thread appends is drawn, though the kernel answers no request meanwhile."""
    await notebook.new(
        FRAME,
        "table = DataTable(follow=True); table",
        """
import threading, time
stop = threading.Event()
def feed():
    for first in range(1, 10**9, 100):
        if stop.wait(0.05):
            return
        table.append(events(first, 100), keep=5000)
threading.Thread(target=feed).start()
end = time.monotonic() + 60
while not stop.is_set() and time.monotonic() < end:
    pass
""",
    )
    await notebook.run_cell(0)
    await notebook.run_cell(1)
    await notebook.run_cell(2, wait=False)
    grid = notebook.cell(1).locator(".varco-grid")
    seen: set[str] = set()
    for _ in range(5):
        newest = await grid.get_attribute("aria-rowcount")
        assert newest is not None
        await expect(grid).not_to_have_attribute("aria-rowcount", newest)
        await expect(grid.locator(".varco-missing")).to_have_count(0)
        seen.add(newest)
    assert len(seen) == 5
    await notebook.interrupt_kernel()
    await notebook.value("stop.set()")


async def test_stays_quick(notebook: Notebook) -> None:
    grid = await show(notebook, TABLE)
    await expect(row(grid, 0)).to_be_visible()
    notebook.reusable = False  # it goes on observing
    await notebook.page.evaluate(LONG_TASKS)
    await notebook.add_cell(
        """
import asyncio
table.follow = True
for step in range(30):
    table.append(events(count + 1 + step * 1000, 1000), keep=50_000)
    await asyncio.sleep(0.1)
"""
    )
    await expect(grid).to_have_attribute("aria-rowcount", "50001")
    await expect(grid.locator(".varco-body")).to_contain_text("130000")
    # a busy machine stretches one task or another; a table that draws too much, each of the 30
    tasks = await notebook.page.evaluate("longTasks")
    assert len([task for task in tasks if task > 200]) < 15, tasks


async def test_nothing_from_data_is_markup(notebook: Notebook) -> None:
    await notebook.new(
        FRAME,
        """
hostile = [
    "<script>window.pwned = 1</script>",
    "<img src=x onerror='window.pwned = 1'>",
    "<svg onload='window.pwned = 1'>",
    "[link](javascript:window.pwned=1)",
    "javascript:window.pwned=1",
    r"$\\\\alpha^2$ \\\\(x\\\\) \\\\begin{equation}y\\\\end{equation}",
    "**bold** `code`",
    "\\u202eevil",
]
frame = pd.DataFrame({name: hostile for name in hostile}, index=pd.Index(hostile, name=hostile[1]))
table = DataTable(); table.set_frame(frame); table
""",
        """
chart = TimeChart(hostile[1], hostile[0])
chart.set_series({name: ([1.7e9, 1.7e9 + 60], [1, n]) for n, name in enumerate(hostile)})
chart
""",
        "from IPython.display import HTML; HTML(table.static_html())",
        "table.error = hostile[1]; chart.error = hostile[0]",
        """
table.on_open(lambda value: 1 / 0)
def fail(change):
    raise RuntimeError(hostile[1])
table.observe(fail, 'selected')
""",
    )
    await notebook.run_all()
    assert await notebook.errors() == []
    page = notebook.page
    grid = notebook.cell(1).locator(".varco-grid")
    hostile = "<img src=x onerror='window.pwned = 1'>"
    await expect(row(grid, 1).get_by_role("gridcell").first).to_have_text(hostile)
    await expect(grid.get_by_role("columnheader").first).to_have_text(hostile)
    error = notebook.cell(1).locator(".varco-error span")
    await expect(error).to_have_text(hostile)
    chart = notebook.cell(2).locator(".varco-chart")
    await expect(chart.locator(".varco-title")).to_have_text(hostile)
    await chart.get_by_role("img").hover()
    await expect(chart.locator(".varco-tip")).to_contain_text(hostile)
    static = notebook.cell(3)
    await expect(static.locator("td").nth(9)).to_have_text(hostile)
    await expect(static.locator("td").nth(45)).to_contain_text("$")
    for cell in (1, 2, 3):
        inside = notebook.cell(cell).locator(
            "script, img, svg:not([data-icon]), a, strong, mjx-container"
        )
        assert await inside.evaluate_all("nodes => nodes.map((node) => node.outerHTML)") == []
    # what a callback raises is seen, as text, and can be dismissed
    await row(grid, 0).dblclick()
    await expect(error).to_have_text(re.compile("ZeroDivisionError|RuntimeError: <img"))
    await notebook.cell(1).get_by_role("button", name="Dismiss").click()
    await expect(error).to_be_hidden()
    assert await page.evaluate("window.pwned") is None
    assert notebook.refused == []


async def test_chart_draws_and_tells_values(notebook: Notebook) -> None:
    await notebook.new(
        FRAME,
        """
times = 1_777_000_000 + np.arange(600)
wave = 50 + 40 * np.sin(times / 40)
wave[300:350] = np.nan
chart = TimeChart("Rate", "events/s", height=160)
chart.set_series({"orders": (times, wave), "payments": (times, wave / 2)})
chart
""",
    )
    await notebook.run_all()
    assert await notebook.errors() == []
    chart = notebook.cell(1).locator(".varco-chart")
    plot = chart.get_by_role("img")
    await expect(plot).to_have_attribute("aria-label", re.compile("Rate: orders .*, payments"))
    colors = """canvas => {
        if (canvas.width === 0) return [];  // not laid out just now
        const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
        const seen = new Set();
        for (let at = 0; at < data.length; at += 4) {
            if (data[at + 3] === 255) seen.add(data.slice(at, at + 3).join());
        }
        return [...seen];
    }"""
    assert "0,114,178" in await plot.evaluate(colors)  # blue on light
    await plot.hover(position={"x": 300, "y": 60})
    tip = chart.locator(".varco-tip")
    await expect(tip).to_contain_text(re.compile(r"2026-04-24 03:\d\d:\d\d UTC"))
    await expect(tip).to_contain_text(re.compile(r"orders: \d+\.?\d* events/s"))
    await plot.focus()
    await plot.press("ArrowRight")
    await plot.press("Escape")
    await expect(tip).to_be_hidden()
    await notebook.set_theme("JupyterLab Dark")

    async def is_dark() -> bool:
        drawn = await plot.evaluate(colors)
        return "86,180,233" in drawn and "0,114,178" not in drawn

    await until(is_dark)


async def test_a_field_is_plotted_as_it_comes(notebook: Notebook) -> None:
    await notebook.new(
        TELEMETRY,
        "live = lab.live('telemetry')\nplot = live.plot('value', by='device', x='ts')\nplot",
        "await lab.bus.publish_many(measured(40))",
    )
    for cell in (0, 1):
        await notebook.run_cell(cell)
    chart, output = notebook.cell(1).locator(".varco-chart"), notebook.cell(1)
    await expect(output).to_contain_text("no events yet")
    await notebook.run_cell(2)
    assert await notebook.errors() == []
    plot = chart.get_by_role("img")
    label = re.compile(r"value by device: pump \d\d\.\d+, fan 1,0\d\d")
    await expect(plot).to_have_attribute("aria-label", label)
    await expect(chart.locator(".varco-chart-key")).to_have_text(["pump", "fan"])
    await expect(output).to_contain_text("live · 40 events received")
    await plot.focus()
    await plot.press("ArrowLeft")
    await expect(chart.locator(".varco-tip")).to_contain_text(
        re.compile(r"2026-05-04 10:20:\d\d UTC\s*pump: \d\d\.\d+\s*fan: 1,0\d\d")
    )
    await plot.press("Escape")
    await notebook.value("lab.close()")

    async def is_pictured() -> bool:
        picture = "".join((await notebook.outputs(1))[0]["data"]["text/html"])
        return picture.count("%3Cpath") >= 4  # two lines and their keys

    await until(is_pictured)


async def test_enter_opens_a_row_that_is_still_on_its_way(notebook: Notebook) -> None:
    grid = await show(notebook, TABLE)
    await notebook.add_cell("opened = []; table.on_open(opened.append)")
    await grid.focus()
    await notebook.page.keyboard.press("End")  # far below what the browser has
    await notebook.page.keyboard.press("Enter")
    await notebook.wait_for("opened", [100_000])


async def test_follows_the_theme(notebook: Notebook) -> None:
    grid = await show(notebook, TABLE)
    light = await grid.evaluate("grid => getComputedStyle(grid).backgroundColor")
    await notebook.set_theme("JupyterLab Dark")
    dark = await grid.evaluate("grid => getComputedStyle(grid).backgroundColor")
    assert (light, dark) == ("rgb(255, 255, 255)", "rgb(33, 33, 33)")
    text = await row(grid, 0).evaluate("row => getComputedStyle(row).color")
    assert text != "rgb(0, 0, 0)"


async def test_leaves_html_in_a_saved_notebook(notebook: Notebook) -> None:
    await show(notebook, TABLE)
    saved = await notebook.save()
    (output,) = saved["cells"][1]["outputs"]
    assert output["data"]["text/plain"] == ["DataTable(8 columns)"]
    assert "".join(output["data"]["text/html"]).count("<tr>") == 51  # 50 rows and the head


async def test_works_in_a_plain_page(context: BrowserContext) -> None:
    """Without JupyterLab's style, and with a model that answers nothing; it cleans up after."""
    page = await context.new_page()
    await page.set_content(
        "<meta name=color-scheme content='light dark'><div id=table></div><div id=chart></div>"
    )
    await page.add_style_tag(content=static("table.css"))
    await page.add_style_tag(content=static("chart.css"))
    await page.evaluate(
        """async ([table, chart]) => {
            const view = async (source, el, state) => {
                const url = URL.createObjectURL(new Blob([source], {type: 'text/javascript'}));
                const handlers = new Map();
                const model = {
                    get: (name) => state[name], set() {}, save_changes() {}, send() {},
                    on: (name, handler) => handlers.set(name, handler),
                    off: (name, handler) => handlers.get(name) === handler && handlers.delete(name),
                };
                const end = (await import(url)).default.render({model, el});
                return () => { end(); return handlers.size; };
            };
            const rows = [['1', 'one'], ['2', 'two']];
            window.ends = [
                await view(table, document.getElementById('table'), {
                    height: 200, selected: [2], follow: false, error: '', sort_by: '',
                    arrangement: {},
                    _columns: [['n', true], ['name', false]],
                    _window: {generation: 1, base: 0, total: 2, start: 0, ids: [1, 2], rows,
                              span: [0, 60], sorted: false, keys: 1, pinned: 0,
                              empty: [], hidden: [], days: {}},
                }),
                await view(chart, document.getElementById('chart'), {
                    height: 100, title: 'Rate', unit: '', error: '',
                    _series: [{name: 'a', times: new Float64Array([1, 2]).buffer,
                               values: new Float64Array([1, 2]).buffer}],
                }),
            ];
        }""",
        [static("table.js"), static("chart.js")],
    )
    grid = page.locator(".varco-grid")
    await expect(row(grid, 1)).to_have_text("2two")
    await expect(row(grid, 1)).to_have_attribute("aria-selected", "true")
    await expect(page.locator(".varco-title")).to_have_text("Rate")
    for scheme, back in (("light", "rgb(255, 255, 255)"), ("dark", "rgb(18, 18, 18)")):
        await page.emulate_media(color_scheme="light" if scheme == "light" else "dark")
        await expect(grid).to_have_css("background-color", back)
    assert await page.evaluate("window.ends.map((end) => end())") == [0, 0]
    await page.close()
