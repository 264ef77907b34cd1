"""How long a notebook keeps what it shows, in a real kernel."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.widgets.kernel import Kernel, kernel

SETUP = """
import asyncio, gc, threading, weakref
from ipywidgets.widgets.widget import _instances
from varco_nats_widgets import Lab
from varco_nats_widgets.sample import fill

lab = Lab()
fill(lab, 20)
made, kept = [], []

def note(one):
    made.append(weakref.ref(one))
    return one

def alive():
    gc.collect()
    return [one() is not None for one in made]

def readers():
    asking = lab._session.connection.js.consumers_info(lab.settings.stream_name)
    infos = lab._session.call(asking).wait()
    return sum(info.name.startswith("tail-") for info in infos)
"""
LIVE = "live = note(lab.live('orders')); live"
EXPLORER = "explorer = note(lab.explore('orders')); explorer.tail(); explorer"
DELIVERY = "delivery = note(lab.delivery('orders')); delivery"


@pytest.fixture(scope="module")
def opened() -> Iterator[Kernel]:
    with kernel() as one:
        assert one.run(SETUP).error == ""
        yield one
        assert one.run("lab.close()").error == ""


@pytest.fixture
def notebook(opened: Kernel) -> Kernel:
    """The kernel with nothing shown."""
    opened.run("live = explorer = delivery = None; kept.clear()", deletedCells=["a", "b"])
    wait(opened, "(any(alive()), readers(), len(_instances))", "(False, 0, 0)")
    opened.run("made.clear()")
    return opened


def wait(notebook: Kernel, expression: str, wanted: str) -> None:
    deadline = time.monotonic() + 60
    while (found := notebook.run(expression)).text != wanted:
        assert time.monotonic() < deadline, f"{expression} is {found}, not {wanted}"
        time.sleep(0.05)


@pytest.mark.parametrize("code", [LIVE, EXPLORER, DELIVERY], ids=["live", "explorer", "delivery"])
def test_a_cell_that_runs_again_ends_what_it_showed(notebook: Kernel, code: str) -> None:
    assert notebook.run(code, cellId="a").error == ""
    wait(notebook, "readers()", "1")
    widgets = notebook.run("len(_instances)").text
    for _ in range(2):
        assert notebook.run(code, cellId="a").error == ""
    wait(notebook, "(alive(), readers())", "([False, False, True], 1)")
    wait(notebook, "len(_instances)", widgets)


def test_what_another_variable_has_goes_on(notebook: Kernel) -> None:
    notebook.run(f"{LIVE}; kept.append(live); live", cellId="a")
    notebook.run(LIVE, cellId="a")
    assert notebook.run("kept[0].pause(); kept[0].resume(); alive()").text == "[True, True]"
    wait(notebook, "(kept[0].state, readers())", "('live', 2)")


def test_what_another_cell_shows_goes_on(notebook: Kernel) -> None:
    notebook.run(f"{LIVE.removesuffix('live')}", cellId="a")
    notebook.run("live", cellId="b")
    notebook.run("live = None", cellId="a")
    wait(notebook, "(alive(), readers())", "([True], 1)")
    notebook.run("'something else'", cellId="b")
    wait(notebook, "(alive(), readers())", "([False], 0)")


def test_a_deleted_cell_shows_nothing(notebook: Kernel) -> None:
    notebook.run("display(note(lab.live('orders')))", cellId="a")
    assert notebook.run("alive()").text == "[True]"
    notebook.run("1", cellId="b", deletedCells=["a"])
    wait(notebook, "(alive(), readers())", "([False], 0)")


def test_other_results_stay_in_the_history(notebook: Kernel) -> None:
    notebook.run("mine = 'result'; mine", cellId="a")
    notebook.run(LIVE, cellId="b")
    notebook.run("live", cellId="a")
    notebook.run("live = None", cellId="b")
    assert notebook.run("'result' in Out.values(), live in Out.values()", cellId="a").error == ""
    assert notebook.run("[one for one in Out.values() if one == 'result']").text == "['result']"
