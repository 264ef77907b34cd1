"""The pictures of widgets that a notebook keeps, in a real kernel and without one."""

from __future__ import annotations

import ast
import asyncio
import re
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import ipywidgets
import numpy as np
import pandas as pd
import pytest
from varco_nats_widgets import Lab
from varco_nats_widgets._session.reopening import lab_code
from varco_nats_widgets._ui.model_view import DrawnModel, DrawPart, ModelView
from varco_nats_widgets._ui.parts import StatusBar
from varco_nats_widgets._ui.picture import MAX_BYTES
from varco_nats_widgets._ui.views import DataTable, TimeChart
from varco_nats_widgets.decoders import DecoderTable

from tests.waiting import until
from tests.widgets.explorer.helpers import explore, publish
from tests.widgets.kernel import Cell, Kernel, kernel
from varco_nats._masks._mask import Mask
from varco_nats.config import NatsEventBusSettings

WIDGET = "application/vnd.jupyter.widget-view+json"
SETUP = """
from varco_nats_widgets import Lab
from varco_nats_widgets.sample import fill, traffic
lab = Lab()
fill(lab, 100)
explorer = lab.explore("orders")
"""


@pytest.fixture(scope="module")
def running() -> Iterator[Kernel]:
    with kernel() as started:
        assert not started.run(SETUP).error
        yield started


def picture_of(cell: Cell) -> dict[str, Any]:
    """The only thing besides its result that a cell shows."""
    assert cell.error == ""
    (shown,) = [each for each in cell.displayed if each["data"].keys() == {"text/html"}]
    return shown


def test_a_picture_is_renewed_wherever_it_is_shown(running: Kernel) -> None:
    first, second = running.run("explorer"), running.run("explorer")
    shown = picture_of(first)
    assert first.text == second.text == "Explorer(orders)"
    assert shown["transient"] == picture_of(second)["transient"]  # one update is for both
    running.run("explorer.filter(condition='total > 200')")
    update = running.wait_for_update("where: total &gt; 200")
    assert update["transient"] == shown["transient"]
    assert "Shown here" not in update["data"]["text/html"]  # the page is whole
    counted = running.run("len(explorer.df)").text
    assert f"orders · {counted} of " in update["data"]["text/html"]
    running.run("explorer.clear_filter()")
    running.wait_for_update("Shown here: 50 of 1")


def test_what_goes_on_changing_is_not_renewed_all_the_time(running: Kernel) -> None:
    running.run("live = lab.live('orders')")
    picture_of(running.run("live"))
    cell = running.run(
        "with traffic(lab, rate=50, seed=8):\n    live.wait(rows=50)\nlive.stop()\nlive.received"
    )
    updates = [each for each in cell.displayed if "LiveFrame" in each["data"].get("text/html", "")]
    assert len(updates) <= 1
    update = running.wait_for_update("<b>stopped</b>")
    assert f"received {int(cell.text):,}" in update["data"]["text/html"]


def test_a_lab_that_closes_leaves_its_last_pictures(running: Kernel) -> None:
    cell = running.run(
        """
lab2 = Lab(lab.settings, mask=["customer.name"], mask_key="never-shown")
seen = lab2.explore("orders")
display(seen)
lab2.close()
"""
    )
    assert cell.error == ""
    last = cell.displayed[-1]["data"]["text/html"]
    assert "Closed: this is how it was. To open it again: lab = Lab(" in last
    assert "never-shown" not in last


async def test_what_is_not_read_to_its_end_says_so(lab: Lab) -> None:
    await publish(lab, *range(1, 4))
    explorer = await explore(lab, "orders")
    view = explorer.view()
    view.flush()
    assert view.status.static_html() == f"<p>{view.status.place}</p>"
    assert view.status.static_html() in view.mimebundle()["text/html"]
    explorer.close()
    bar = StatusBar(lambda: None, lambda: None)
    read = "12,000 of 40,000 messages read"
    bar.show("orders", read, "<b>", busy=True, progress=(12_000, 40_000))
    assert bar.static_html() == f"<p>orders</p><p>{read} so far</p><p>&lt;b&gt;</p>"
    bar.show("orders", "reading …", "", busy=True, progress=(0, 0))
    assert bar.static_html() == "<p>orders</p><p>Reading had not ended.</p>"
    bar.close()


async def test_a_closed_widget_offers_nothing_that_needs_its_lab(
    settings: NatsEventBusSettings,
) -> None:
    lab = await asyncio.to_thread(Lab, settings)
    await publish(lab, *range(1, 4))
    explorer, live = await explore(lab, "orders"), await asyncio.to_thread(lab.live, "orders")
    delivery = await asyncio.to_thread(lab.delivery)
    views = [widget.view() for widget in (explorer, live, delivery)]
    await asyncio.to_thread(lab.close)
    for view, call in zip(
        views, ("lab.explore('orders')", "lab.live('orders')", "lab.delivery()"), strict=True
    ):
        html = view.mimebundle()["text/html"]
        assert "Closed: this is how it was." in html
        names: dict[str, Any] = {"Lab": Lab, "NatsEventBusSettings": NatsEventBusSettings}
        code = view.model.closed.partition("To open it again: ")[2]
        login = {"servers": settings.servers}  # which is no longer in the code
        given = re.sub(r"servers='.*?'", "**login", code).replace(", connect_kwargs=...", "")
        names["login"] = login
        await asyncio.to_thread(exec, given, names)
        await asyncio.to_thread(names["lab"].close)
        assert code.endswith(f"; {call}")
        assert "varco-closed" in view.box._dom_classes
    assert all(control.disabled for control in (views[0].older, views[0].text, views[1].toggle))
    assert views[2].run.disabled
    assert not views[2].first.disabled or not delivery.rows
    assert len(views[0].table.frame) == 3
    for widget in (explorer, delivery):
        widget.close()
    await until(lambda: not [t for t in threading.enumerate() if t.name == "Picture"])


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"server": "nats://h:4222"}, "Lab('nats://h:4222')"),
        ({"server": None, "context": "prod"}, "Lab(context='prod')"),
        (
            {"server": "nats://me:secret@h:1", "decoders": DecoderTable("msgpack")},
            "Lab(NatsEventBusSettings(servers='nats://h:1', connect_kwargs=...), decoders=...)",
        ),
        (
            {"server": None, "mask": Mask.parse("a.b,*.c", "secret"), "read_only": True},
            "Lab('nats://localhost:4222', mask=['a.b', '*.c'], mask_key=..., read_only=True)",
        ),
        (
            {"server": None, "stream_name": "S", "subject_prefix": "it's"},
            "Lab(NatsEventBusSettings(servers='nats://localhost:4222', stream_name='S', "
            'subject_prefix="it\'s"))',
        ),
    ],
)
def test_the_code_of_a_lab_has_no_secret(options: dict[str, Any], code: str) -> None:
    server = options.pop("server")
    names = ("read_only", "stream_name", "subject_prefix")
    fields = {name: options.pop(name) for name in names if name in options}
    settings = NatsEventBusSettings(servers=server or "nats://localhost:4222", **fields)
    assert lab_code(server, settings, **options) == code
    ast.parse(code)


def test_pictures_are_bounded_whatever_the_data_is() -> None:
    table = DataTable()
    wide = pd.DataFrame({f"field{n}<&": ["<&'" * 100] * 500 for n in range(300)})
    table.set_frame(wide)
    html = table.static_html()
    assert len(html) < MAX_BYTES / 3
    assert "60 of 300 columns" in html
    assert "of 500 rows (first)" in html
    table.arrangement = {"hidden": ["field2<&"]}
    table.set_frame(wide[["field1<&", "field2<&"]].iloc[:2])
    assert "Shown here: 1 of 2 columns." in table.static_html()
    table.set_frame(wide.iloc[:0])
    assert table.static_html() == "<p>No rows.</p>"
    table.close()
    chart = TimeChart("<&'$" * 100)
    times = np.arange(5000.0).tolist()
    values = np.random.default_rng(1).normal(size=5000).tolist()
    chart.set_series({f"{n}<&'{'é' * 50}": (times, values) for n in range(30)})
    assert len(chart.static_html().encode()) < MAX_BYTES
    chart.close()


class Plain(ModelView[DrawnModel]):
    gone = "the model is gone"

    def __init__(self, model: DrawnModel) -> None:
        super().__init__(model)
        self._begin(ipywidgets.VBox())

    def static_html(self, text: str) -> str:
        return ""

    def _is_settled(self) -> bool:
        return not self.model.closed

    def _parts(self) -> Iterable[DrawPart]:
        return ()

    def _show_problem(self) -> None:
        pass


async def test_a_picture_of_what_is_gone_is_not_renewed() -> None:
    model = DrawnModel()
    view = Plain(model)
    view._picture._shell = object()  # it is shown
    del model
    view._picture.renew()  # what its thread raises fails the test
    await until(lambda: view._picture._thread is None)
    view.close()
