"""Cells that run while others do, or again, in JupyterLab."""

from __future__ import annotations

from pathlib import Path

from playwright.async_api import expect

from tests.browser.jupyter import Notebook
from tests.waiting import until

NESTED = """
import asyncio
from pathlib import Path
import ipywidgets
from varco_nats_widgets import run

clicked = []
button = ipywidgets.Button(description="Add")
button.on_click(lambda _: clicked.append(len(clicked)))

async def wait(leave):
    print("inside")
    while not Path(leave).exists():
        await asyncio.sleep(0.02)
    return "left"

button
"""


SHOP = """
import weakref
from varco_nats_widgets import Lab
from varco_nats_widgets.sample import fill

lab = Lab()
fill(lab, 20)
made = []
"""


async def test_nothing_is_lost_during_a_nested_run(notebook: Notebook, tmp_path: Path) -> None:
    leave = tmp_path / "leave"
    await notebook.new(NESTED, f"run(wait({str(leave)!r}))", "print('queued')", "print('last')")
    await notebook.run_cell(0)
    await notebook.run_cell(1, wait=False)

    async def is_inside() -> bool:
        return "inside" in await notebook.text(1)

    await until(is_inside)
    await notebook.cell(0).get_by_role("button", name="Add").click()
    for cell in (2, 3):
        await notebook.run_cell(cell, wait=False)
    await notebook.cell(0).get_by_role("button", name="Add").click()
    assert await notebook.outputs(2) == []  # they came while the run was nested
    leave.touch()
    for cell, text in ((1, "left"), (2, "queued"), (3, "last")):
        await expect(notebook.cell(cell)).to_contain_text(text)
    await notebook.wait_for("clicked", [0, 1])
    prompts = notebook.page.locator(".jp-Cell .jp-InputPrompt")
    assert await prompts.all_inner_texts() == ["[1]:", "[2]:", "[3]:", "[4]:"]


async def test_a_cell_run_again_ends_what_it_showed(notebook: Notebook) -> None:
    await notebook.new(
        SHOP,
        "live = lab.live('ordesr')\nmade.append(weakref.ref(live))\nlive",
        "explorer = lab.explore()\nmade.append(weakref.ref(explorer))\nexplorer",
    )
    await notebook.run_all()
    for cell in (1, 2):
        await notebook.run_cell(cell)
    assert await notebook.errors() == []
    await notebook.wait_for("[one() is not None for one in made]", [False, False, True, True])
    await expect(notebook.cell(1)).to_contain_text("did you mean 'orders'?")
    await notebook.value("lab.close()")


async def test_an_explorer_knows_whether_it_is_seen(notebook: Notebook) -> None:
    await notebook.new(
        "from varco_nats_widgets import Lab\nlab = Lab()",
        "explorer = lab.explore()\nexplorer",
        "1",
    )
    seen = "explorer._worker._visible.is_set()"
    await notebook.run_all()
    await expect(notebook.cell(1).locator(".varco-explorer")).to_be_visible()
    execute = "async command => { await window.jupyterapp.commands.execute(command); }"
    await notebook.page.evaluate(execute, "launcher:create")
    await notebook.wait_for(seen, False)
    await notebook.run_cell(2)  # which brings the notebook back
    await notebook.wait_for(seen, True)
    await notebook.page.evaluate(execute, "notebook:clear-all-cell-outputs")
    await notebook.wait_for(seen, False)
    await notebook.value("lab.close()")
