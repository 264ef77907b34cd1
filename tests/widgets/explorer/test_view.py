"""The view, without a browser."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
import weakref
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client
from traitlets import TraitError
from varco_nats_widgets import Lab, load

from tests.waiting import until
from tests.widgets.drawing import drawn_elsewhere
from tests.widgets.explorer.helpers import explore, publish
from varco_nats.config import NatsEventBusSettings


async def test_view_draws_the_model_and_its_controls_call_it(lab: Lab) -> None:
    await publish(lab, *range(1, 101))
    explorer = await explore(lab, page_size=10)
    view = explorer.view()
    assert explorer.view() is view
    await until(lambda: (view.channels.names, view.channels.counts) == (["orders"], [100]))
    await until(lambda: view.status.place == "all channels · 10 of 100 messages · #91 to #100")
    view.channels.chosen = ["orders"]
    await until(lambda: explorer.chosen == ("orders",) and not explorer.busy)
    await until(lambda: view.table.frame.index.tolist() == list(range(91, 101)))
    await until(lambda: view.status.place == "orders · 10 of 100 messages · #91 to #100")
    assert view.table.columns[:3] == ["stored_at", "event_type", "number"]
    assert view.table.columns[-1] == "event_id"
    await until(lambda: not view.older.disabled)
    view.older.click()
    await until(lambda: view.table.frame.index.tolist() == list(range(81, 91)))
    view.seek.value = "#40"
    await until(lambda: view.table.frame.index.tolist() == list(range(40, 50)))
    assert not view.table.follow
    view.condition.value = "number > 'x"
    await until(lambda: "no end" in view.status.problem)
    view.condition.value = "total > 90"
    await until(lambda: view.table.frame.index.tolist() == [*range(61, 70), 71])
    await until(lambda: not view.status.problem)
    view.event_type.value = "explored.refunded, explored.placed"
    await until(lambda: explorer.event_types == ("explored.refunded", "explored.placed"))
    view.text.value = "björn"
    await until(lambda: view.table.frame["number"].tolist()[:2] == [61, 64])
    view.in_headers.value = True
    await until(lambda: explorer.in_headers)
    view.clear.click()
    await until(lambda: (view.text.value, view.condition.value) == ("", ""))
    await until(lambda: not view.in_headers.value)
    await until(lambda: not explorer.busy)  # the page that is read takes the selection away

    view.table.selected = [42]
    await until(lambda: explorer.message is not None and explorer.message.seq == 42)
    await until(lambda: "start_seq=42, end_seq=42" in view.selected_code.code)
    await until(lambda: view.message.message.get("facts", [[]])[0] == ["sequence", "42"])
    assert bytes(view.message.data).startswith(b'{"__event_type__"')
    view.tabs.selected_index = 1
    await until(lambda: "all 100 messages" in view.summary.value)
    await until(lambda: view.event_types.frame["share %"].tolist() == [90.0, 10.0])
    await publish(lab, 1, channel="refunds")
    await explorer.aio.select("refunds")
    await until(lambda: "all 1 message ·" in view.summary.value)
    assert view.event_types.frame.index.tolist() == ["explored.placed"]
    await explorer.aio.select("orders")
    view.tail.value = True
    await until(lambda: explorer.follow and not explorer.busy)
    await publish(lab, 101)
    await until(lambda: view.table.frame.index[-1] == 102)
    await until(lambda: "live, 1 arrived" in view.status.place)
    view.tail.value = False
    await until(lambda: not explorer.follow)
    await until(lambda: not explorer.busy)
    explorer.close()


async def test_columns_keep_their_places_while_live(lab: Lab, nc: Client) -> None:
    async def store(*payloads: bytes) -> None:
        for payload in payloads:
            await nc.jetstream().publish(lab.settings.subject_name("orders"), payload)

    await publish(lab, 1, channel="other")  # which makes the stream
    await store(b'{"sku": 1, "old": 2}', b"not JSON")
    explorer = await explore(lab, "orders", page_size=2)
    table = explorer.view().table
    first = ["stored_at", "raw"]
    last = ["decode_error", "timestamp", "event_type", "channel", "event_id"]
    wanted = [*first, "sku", "old", *last]
    await until(lambda: table.columns == wanted)
    await explorer.aio.tail()
    await store(b'{"user": 1}', b'{"text": 2, "sku": 1}')
    wanted = [*first, "sku", "old", "user", "text", *last]
    await until(lambda: table.columns == wanted and table.frame.index.tolist() == [4, 5])
    await explorer.aio.older()
    await until(lambda: table.columns == [*first, "sku", "old", *last])
    explorer.close()


async def test_view_exports_and_says_what_it_did(lab: Lab, tmp_path: Path) -> None:
    await publish(lab, *range(1, 11))
    explorer = await explore(lab, "orders")
    view = explorer.view()
    assert (view.format.label, view.format.index) == ("from the file name", 0)
    assert None not in dict(view.format.options).values()  # ipywidgets may then choose none
    elsewhere = drawn_elsewhere(view, view.exported)
    view.export.click()
    await until(lambda: "name a file" in view.exported.value)
    view.path.value = str(tmp_path / "<b>$x$.csv")
    view.export.click()
    await until(lambda: "10 rows in" in view.exported.value)
    assert "&lt;b&gt;<span>$</span>x" in view.exported.value
    view.export.click()
    await until(lambda: "not exported" in view.exported.value)
    assert len(load(tmp_path / "<b>$x$.csv")) == 10
    assert not elsewhere
    explorer.close()


async def test_what_a_notebook_without_a_kernel_shows(lab: Lab, nc: Client) -> None:
    payload = json.dumps({"note": "<script>x</script> $x^2$"}).encode()
    await publish(lab, 1)
    await nc.jetstream().publish(lab.settings.subject_name("orders"), payload)
    explorer = await explore(lab, "orders")
    bundle = explorer._repr_mimebundle_()
    assert bundle["text/plain"] == "Explorer(orders)"
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert "<script>" not in bundle["text/html"]
    assert "&lt;script&gt;" in bundle["text/html"]
    explorer.close()


async def test_close_leaves_no_thread_and_forgotten_explorers_are_garbage(
    settings: NatsEventBusSettings,
) -> None:
    lab = await asyncio.to_thread(Lab, settings)
    await publish(lab, *range(1, 11))
    explorer = await explore(lab, "orders")
    await explorer.aio.tail()
    explorer.watch()
    await publish(lab, 11)
    await until(lambda: explorer.received == 1)
    gone = weakref.ref(explorer)
    del explorer
    await until(lambda: gc.collect() >= 0 and gone() is None)

    explorer = await explore(lab, "orders")
    explorer.view()
    await explorer.aio.tail()
    await asyncio.to_thread(lab.close)
    assert "closed" in repr(lab)
    explorer.view().older.click()
    assert "this Lab is closed" in explorer.error
    explorer.close()
    await until(lambda: not [t for t in threading.enumerate() if t.name in ("View", "Lab")])


async def test_what_the_user_chose_meanwhile_stays_chosen(lab: Lab) -> None:
    for channel in ("orders", "refunds"):
        await publish(lab, 1, channel=channel)
    explorer = await explore(lab)
    view = explorer.view()
    view.flush()
    seen: list[list[str]] = []
    view.channels.observe(lambda change: seen.append(change["new"]), "chosen")

    def choose_another(change: Any) -> None:
        # the model has the first, and the view knows
        if change["name"] == "chosen" and explorer.chosen == ("orders",):
            view.channels.chosen = ["orders", "refunds"]
            view.flush()

    explorer.observe(choose_another)  # is told after the view, which observes all traits as well
    view.channels.chosen = ["orders"]
    await until(lambda: explorer.chosen == ("orders", "refunds"))
    await until(lambda: len(view.table.frame) == 2)
    assert sorted(seen) == [["orders"], ["orders", "refunds"]]  # of two threads
    view.channels.chosen = ["orders", "none"]
    await until(lambda: "none" in explorer.error)
    await until(lambda: view.channels.chosen == ["orders", "refunds"])  # refused: as it was


async def test_charts_of_many_subjects_draw_the_busiest_and_the_others_together(
    lab: Lab, nc: Client, settings: NatsEventBusSettings
) -> None:
    stream = f"{settings.stream_name}-many"
    await nc.jetstream().add_stream(name=stream, subjects=[f"{stream}.>"])
    for number in range(20):
        for _ in range(2 if number == 7 else 1):
            await nc.jetstream().publish(f"{stream}.{number}", b"1")
    explorer = await lab.aio.explore(stream=stream)
    view = explorer.view()
    await explorer.aio.describe()

    def names() -> list[str]:
        return [each["name"] for each in view.rates.get_state("_series")["_series"]]

    await until(lambda: names()[:1] == [f"{stream}.7"])
    assert names()[-1] == "13 others"
    assert len(names()) == 8
    explorer.close()


async def test_columns_are_kept_for_each_choice(lab: Lab) -> None:
    await publish(lab, 1, 2)
    await publish(lab, 1, channel="other")
    explorer = await explore(lab, "orders")
    table = explorer.view().table
    table.set_state({"arrangement": {"hidden": ["number"]}})
    table.set_state({"sort_by": "total", "sort_descending": True})
    await until(lambda: explorer.columns == {"hidden": ["number"], "sort": "-total"})
    await explorer.aio.select("other")
    await until(lambda: (table.arrangement, table.sort_by) == ({}, ""))
    explorer.columns = ["total"]
    await until(lambda: table.arrangement == {"order": ["total"]})
    await explorer.aio.select("orders")
    await until(lambda: (table.sort_by, table.sort_descending) == ("total", True))
    assert table.arrangement == {"hidden": ["number"]}
    with pytest.raises(TraitError, match="hide='number' is not understood"):
        explorer.columns = {"hide": "number"}
    assert explorer.columns == {"hidden": ["number"], "sort": "-total"}
    explorer.close()


async def test_a_value_that_is_picked_filters(lab: Lab) -> None:
    await publish(lab, 1, 2, 3)
    explorer = await explore(lab, "orders")
    table = explorer.view().table
    await until(lambda: len(table.frame) == 3)
    pick = {"type": "pick", "id": int(table.frame.index[1]), "column": "number"}
    table._handle_custom_msg({**pick, "exclude": True}, [])
    await until(lambda: explorer.condition == "not number == 2" and len(explorer.page) == 2)
    await explorer.aio.filter_by("number", 3)
    assert explorer.condition == "not number == 2 and number == 3"
    assert explorer.page["number"].tolist() == [3]
    await until(lambda: not table.loading and len(table.frame) == 1)
    explorer.close()
