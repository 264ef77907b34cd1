"""What a notebook shows of a live frame."""

from __future__ import annotations

from typing import Any

from nats.aio.client import Client
from varco_nats_widgets.live import LiveFrame

from tests.waiting import until
from tests.widgets.live.helpers import Make, assert_whole, numbered, order, store
from varco_nats.config import NatsEventBusSettings


async def test_shown_it_follows(make: Make, nc: Client, settings: NatsEventBusSettings) -> None:
    live = make(max_rows=100)
    bundle = live._repr_mimebundle_()
    assert bundle["text/plain"] == "LiveFrame(orders)"
    assert "application/vnd.jupyter.widget-view+json" in bundle
    view = live.view()
    assert live._repr_mimebundle_()["text/plain"] == bundle["text/plain"]
    assert live.view() is view
    for start in range(0, 500, 50):
        await store(nc, settings, numbered(start, start + 50))
        await live.aio.wait(start + 50)
        view.flush()
    await until(lambda: view.table.frame.index.tolist() == list(range(401, 501)))
    await until(lambda: "received 500" in view.counts.value)
    assert "<b>dropped 400</b>" in view.counts.value
    assert "<b>live</b>" in view.counts.value
    assert "gaps 0" in view.counts.value


async def test_what_differs_comes_first_and_keeps_its_place(
    make: Make, nc: Client, settings: NatsEventBusSettings
) -> None:
    live = make(max_rows=2)
    table = live.view().table
    await store(nc, settings, [order(1), order(2)])
    await until(lambda: table.columns[:2] == ["stored_at", "number"])
    assert table.columns[-4:] == ["timestamp", "event_type", "channel", "event_id"]
    before = table.columns
    await store(nc, settings, [b'{"sku": "a"}', b"not JSON"])
    await until(lambda: table.frame.index.tolist() == [3, 4])
    await until(lambda: "sku" in table.columns)
    payload = before[1:-4]
    assert table.columns == ["stored_at", "raw", *payload, "sku", "decode_error", *before[-4:]]


async def test_its_buttons(make: Make, nc: Client, settings: NatsEventBusSettings) -> None:
    live = make()
    view = live.view()
    assert view.toggle.description == "Pause"
    view.toggle.click()
    await until(lambda: live.paused)
    await until(lambda: view.toggle.description == "Resume")
    await store(nc, settings, numbered(0, 3))
    view.toggle.click()
    await until(lambda: view.toggle.description == "Pause")
    await live.aio.wait(3)
    assert_whole(live, 3)
    view.stop.click()
    await until(lambda: live.state == "stopped")
    await until(lambda: view.toggle.disabled and view.stop.disabled)
    view._start(LiveFrame.resume)  # as if it was clicked a moment before
    await until(lambda: "RuntimeError: this live frame is stopped" in view.counts.value)


async def test_nothing_from_an_event_is_markup(
    make: Make, nc: Client, settings: NatsEventBusSettings
) -> None:
    evil = "<img src=x onerror=alert(1)>"

    def where(row: dict[str, Any]) -> bool:
        raise ValueError(row["text"])

    live = make(where=where)
    await store(nc, settings, [order(0, kind=evil, text=evil, **{evil: 1})], channel="orders")
    await live.aio.wait(1)
    await until(lambda: live.error is not None)
    html = live._repr_mimebundle_()["text/html"]
    assert "<img" not in html
    assert "&lt;img" in html
    view = live.view()
    view.flush()
    assert "<img" not in view.counts.value
    assert "&lt;img" in view.counts.value
