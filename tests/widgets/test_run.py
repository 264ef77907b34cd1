"""`run`, and a `Lab` in a real kernel."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import ipykernel
import pytest
from varco_nats_widgets import run
from varco_nats_widgets._session.loop import LoopThread

from tests.processes import run_python
from tests.widgets.kernel import Kernel, kernel


async def answer() -> int:
    await asyncio.sleep(0)
    return 42


async def running() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


async def fail() -> None:
    raise ValueError("no")


# Where no loop runs


def test_one_loop_serves_all_calls_of_a_thread() -> None:
    assert run(answer()) == 42
    assert run(running()) is run(running())
    assert asyncio.Task.__module__ == "_asyncio"  # nothing was patched
    with pytest.raises(ValueError, match="no"):
        run(fail())


def test_takes_any_awaitable() -> None:
    class Later:
        def __await__(self):  # type: ignore[no-untyped-def]
            return (yield from answer().__await__())

    assert run(Later()) == 42


def test_other_threads_have_a_loop_of_their_own_which_ends_with_them() -> None:
    loops: list[asyncio.AbstractEventLoop] = []
    thread = threading.Thread(target=lambda: loops.append(run(running())))
    thread.start()
    thread.join()
    assert loops[0] is not run(running())
    assert loops[0].is_closed()


def test_a_script_ends_without_a_word() -> None:
    code = (
        "import logging; logging.getLogger('asyncio').setLevel(logging.ERROR)\n"  # not what is slow
        "import asyncio, threading\nfrom varco_nats_widgets import run\n"
        "async def main():\n"
        "    await (await asyncio.create_subprocess_exec('true')).wait()\n"
        "    asyncio.create_task(asyncio.sleep(60))\n"
        "run(main())\n"
        "thread = threading.Thread(target=lambda: run(asyncio.sleep(0)))\n"
        "thread.start()\nthread.join()\n"
    )
    done = run_python(code, "-X", "dev")
    assert (done.returncode, done.stderr) == (0, "")


def test_refuses_a_labs_own_thread() -> None:
    loop = LoopThread("Lab test")

    async def nested() -> None:
        run(answer())

    with pytest.raises(RuntimeError, match="use await instead"):
        loop.run(nested())
    loop.close()


# In a kernel


@pytest.fixture(scope="module")
def notebook() -> Iterator[Kernel]:
    with kernel() as opened:
        imported = opened.run("import asyncio, time; from varco_nats_widgets import Lab, run")
        assert imported.error == ""
        yield opened


def test_nested_run_in_a_cell(notebook: Kernel) -> None:
    cell = notebook.run(
        "async def answer():\n    await asyncio.sleep(0.05); return 42\n"
        "def plain(): return run(answer())\nplain()"
    )
    assert (cell.text, cell.error) == ("42", "")
    patched = notebook.run("print(hasattr(asyncio, '_nest_patched'), run(answer()))")
    assert patched.text == "True 42\n"


def test_a_cell_queued_during_a_nested_run_is_not_lost(notebook: Kernel) -> None:
    first = notebook.send("print('in'); run(asyncio.sleep(0.5)); print('out')")
    second = notebook.send("print('next')")
    assert notebook.finish(first).text == "in\nout\n"
    assert notebook.finish(second).text == "next\n"
    assert notebook.replies(first, second) == {first, second}


def test_an_error_or_an_interrupt_ends_a_nested_run(notebook: Kernel) -> None:
    notebook.run("async def fail(): raise ValueError('no')")
    assert notebook.run("run(fail())").error == "ValueError: no"
    notebook.run(
        "ended = []\nasync def wait():\n"
        "    from IPython.display import display\n"
        "    try:\n"
        "        display('waiting')\n"
        "        await asyncio.sleep(60)\n"
        "    finally: ended.append(1)\n"
    )
    cell = notebook.send("run(wait())")
    notebook.wait_for_display(cell)
    notebook.interrupt()
    assert notebook.finish(cell).error.startswith("KeyboardInterrupt")
    assert notebook.run("ended").text == "[1]"
    assert notebook.run("run(asyncio.sleep(0, 7))").text == "7"


SLOW = """
from nats.js.api import StreamConfig
import varco_nats_widgets._session.stream_browser as look
import varco_nats_widgets._session.progress as progress
from varco_nats_widgets.sample import fill
lab = Lab()
fill(lab, 20)
class Slow(look.FrameBuilder):
    def add(self, *a):
        while slow: time.sleep(0.01)
        super().add(*a)
look.FrameBuilder, slow = Slow, True
progress.DELAY_SECONDS = progress._BarView.delay = 0.05
show_bar = progress._BarView._open
def show_and_go_on(bar):
    global slow
    show_bar(bar)
    slow = slow and not until_shown
progress._BarView._open, until_shown = show_and_go_on, False
"""
VIEW = "application/vnd.jupyter.widget-view+json"


@pytest.fixture(scope="module")
def opened_lab(notebook: Kernel) -> Kernel:
    assert notebook.run(SLOW).error == ""
    return notebook


@pytest.fixture
def slow_lab(opened_lab: Kernel) -> Iterator[Kernel]:
    """The kernel with a lab that takes its time to load, until the test ends."""
    yield opened_lab
    opened_lab.run("slow = False")


def test_a_bar_is_there_for_a_while_and_leaves_nothing(slow_lab: Kernel) -> None:
    cell = slow_lab.run(
        "slow = until_shown = True; frame = lab.frame('orders'); until_shown = False\n"
        "print(len(frame) > 10)"
    )
    assert (cell.text, cell.error) == ("True\n", "")
    shown, removed = cell.displayed
    assert list(shown["data"]) == [VIEW]  # no text, which a validated notebook would compare
    assert removed["data"] == {}
    assert removed["transient"] == shown["transient"]
    left = "from ipywidgets.widgets.widget import _instances; len(_instances)"
    assert slow_lab.run(left).text == "0"


def test_a_quick_load_shows_no_bar(slow_lab: Kernel) -> None:
    cell = slow_lab.run("slow = False; len(lab.frame('orders', progress=False)) > 10")
    assert (cell.text, cell.displayed) == ("True", [])
    slow_lab.run("progress._BarView.delay = 5")
    assert slow_lab.run("len(lab.frame('orders')) > 10").displayed == []
    slow_lab.run("progress._BarView.delay = 0.05")


def test_interrupt_stops_a_load_and_says_how_far_it_was(slow_lab: Kernel) -> None:
    cell = slow_lab.send("slow = True; lab.frame('orders')")
    slow_lab.wait_for_display(cell)
    slow_lab.interrupt()
    ended = slow_lab.finish(cell)
    assert "KeyboardInterrupt: loading 'orders' was stopped after 0 of" in ended.error
    assert ended.displayed[-1]["data"] == {}
    rest = slow_lab.run(
        "slow = False\n"
        "print(len(lab.frame('orders')) > 10)\n"
        "js = lab._session.connection.js\n"
        "print(lab._session.call(js.consumers_info(lab.settings.stream_name)).wait())"
    )
    assert rest.text == "True\n[]\n"


def test_cancel_button_of_the_awaitable_twin(slow_lab: Kernel) -> None:
    before = len(slow_lab.buttons)
    cell = slow_lab.send("slow = True; await lab.aio.frame('orders')")
    slow_lab.wait_for_display(cell)
    # an older one would have a click wait for the cell: no button
    if ipykernel.version_info[0] < 7:  # type: ignore[attr-defined, operator]
        assert len(slow_lab.buttons) == before
        slow_lab.interrupt()
        assert slow_lab.finish(cell).error
        return
    slow_lab.click(slow_lab.buttons[-1])
    ended = slow_lab.finish(cell)
    assert ended.error.startswith("StoppedError: loading 'orders' was stopped after 0 of")
    assert ended.displayed[-1]["data"] == {}


def test_tab_completes_channel_names(slow_lab: Kernel) -> None:
    slow_lab.run("slow = False")
    assert slow_lab.complete('lab["ord') == ["orders"]
    assert slow_lab.complete('lab.frame("ord') == ["orders"]
    assert slow_lab.complete("lab.aio.frame(['orders', 'pay") == ["payments"]
    assert slow_lab.complete("lab.live('ship") == ["shipments"]
    assert "orders" not in slow_lab.complete('print("ord')
    assert slow_lab.run("lab['orders']").text == "Channel('orders')"


def test_close_in_a_kernel_leaves_no_thread(slow_lab: Kernel) -> None:
    closed = slow_lab.run(
        "import threading\nlab.close()\n"
        "print([t.name for t in threading.enumerate() if t.name.startswith('Lab')], lab)"
    )
    assert closed.text == "[] Lab(local server, closed)\n"
