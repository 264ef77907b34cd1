"""A field of a live frame as lines over time."""

from __future__ import annotations

import asyncio
import gc
import json
import weakref
from typing import Any

import numpy as np
import pandas as pd
import pytest
from nats.aio.client import Client
from varco_nats_widgets.frames import FrameBuilder
from varco_nats_widgets.live import LiveFrame, LivePlot
from varco_nats_widgets.live._lines import MAX_LINES, OTHERS, lines_of

from tests.waiting import until
from tests.widgets.live.helpers import Make, order, store
from varco_nats.config import NatsEventBusSettings
from varco_nats.history import StoredMessage

SECOND = 1_777_890_030


def frame(*payloads: dict[str, Any]) -> pd.DataFrame:
    builder = FrameBuilder(str)
    builder.add(
        StoredMessage(n + 1, "telemetry", (SECOND + n) * 10**9, json.dumps(payload).encode(), None)
        for n, payload in enumerate(payloads)
    )
    return builder.build()


def seconds(line: pd.Series[float]) -> list[float]:
    return [moment.timestamp() - SECOND for moment in line.index]


def test_a_line_for_each_value_of_a_field() -> None:
    rows = frame(
        {"value": 1, "device": "a"},
        {"value": 2.5, "device": "b"},
        {"other": 1},
        {"value": 3, "device": None},
        {"value": 4, "device": ["x"]},
        {"value": 5, "device": "a"},
    )
    lines = lines_of(rows, "value", "device", "stored_at")
    drawn = {name: (seconds(line), line.tolist()) for name, line in lines.series.items()}
    assert drawn == {
        "a": ([0, 5], [1, 5]),
        "b": ([1], [2.5]),
        "(none)": ([3], [3]),
        '["x"]': ([4], [4]),
    }
    assert lines.notice == ""
    (name, line), *others = lines_of(rows, "value", None, "stored_at").series.items()
    assert (name, line.tolist(), others) == ("value", [1, 2.5, 3, 4, 5], [])


def test_the_time_may_be_a_field_in_any_order() -> None:
    rows = frame(
        {"value": 1, "ts": (SECOND + 9) * 1000},
        {"value": 2, "ts": SECOND + 1},
        {"value": 3, "ts": "soon"},
        {"value": 4, "ts": "2026-05-04T10:20:33Z"},
    )
    lines = lines_of(rows, "value", None, "ts")
    assert seconds(lines.series["value"]) == [1, 3, 9]
    assert lines.series["value"].tolist() == [2, 4, 1]
    assert lines.notice == "1 of 4 values of 'ts' are no times, such as 'soon'"


@pytest.mark.parametrize(
    ("values", "drawn", "notice"),
    [
        ([1, "n/a", 3], [1, 3], "1 of 3 values of 'value' are no numbers, such as 'n/a'"),
        (["<b>", "x", None], [], "'value' is not a number, but such as '<b>'"),
        ([True, False], [], "'value' is not a number, but such as True"),
        ([1, None, 2**70], [1, 2**70], ""),
        ([1, 10**400], [1], "1 of 2 values of 'value' are no numbers, such as 1000000000"),
        ([1.5, float("nan"), 3], [1.5, 3], ""),
    ],
)
def test_values_that_are_no_numbers(values: list[Any], drawn: list[float], notice: str) -> None:
    lines = lines_of(frame(*({"value": value} for value in values)), "value", None, "stored_at")
    assert [number for line in lines.series.values() for number in line] == drawn
    assert lines.notice.startswith(notice) if notice else lines.notice == ""


def test_what_is_not_there_yet_is_said() -> None:
    assert lines_of(frame(), "value", None, "stored_at").notice == "no events yet"
    rows = frame({"vlaue": 1})
    missing = lines_of(rows, "value", "device", "stored_at")
    assert missing.notice == "no event has a field 'value' yet; did you mean 'vlaue'?"
    assert missing.series == {}
    assert lines_of(rows, "vlaue", "k", "stored_at").notice == "no event has a field 'k' yet"
    assert lines_of(rows, "vlaue", None, "ts").notice == "no event has a field 'ts' yet"


def test_many_lines_are_drawn_together_and_keep_their_places() -> None:
    rows = frame(*({"value": n, "device": f"d{n % 31}"} for n in range(310)))
    lines = lines_of(rows, "value", "device", "stored_at")
    assert list(lines.series) == [*(f"d{n}" for n in range(MAX_LINES)), OTHERS]
    assert len(lines.series[OTHERS]) == 190
    assert lines.notice == (
        "12 of 31 values of 'device' have lines of their own; the others are drawn as (others)"
    )
    # the first ones fell out, and what was drawn before stays where it was
    later = lines_of(rows.iloc[-29:], "value", "device", "stored_at", list(lines.series))
    assert list(later.series) == [*(f"d{n}" for n in range(2, 14)), OTHERS]


async def test_a_plot_follows_its_live_frame(
    make: Make, nc: Client, settings: NatsEventBusSettings
) -> None:
    live = make()
    plot = live.plot("value", by="device")
    assert repr(plot) == "LivePlot(orders: value)"
    view = plot.view()
    await until(lambda: "no events yet" in view.status.value)
    await store(nc, settings, [order(0)])
    await until(lambda: "no event has a field &#x27;value&#x27; yet" in view.status.value)
    for number in range(1, 4):
        device = "<b>ab"[number:]
        await store(nc, settings, [order(number, value=number / 4, device=device)])
        await live.aio.wait(number + 1)
    await until(lambda: [each["name"] for each in view.chart._series] == ["b>ab", ">ab", "ab"])
    assert np.frombuffer(view.chart._series[1]["values"]).tolist() == [0.5]
    await until(lambda: "live · 4 events received" in view.status.value)
    assert {name: line.tolist() for name, line in plot.lines.items()} == {
        "b>ab": [0.25],
        ">ab": [0.5],
        "ab": [0.75],
    }
    assert plot.notice == ""
    shown = plot._repr_mimebundle_()
    assert shown["text/plain"] == "LivePlot(orders: value)"
    assert "data:image/svg+xml" in shown["text/html"]
    assert "b%26gt;ab" in shown["text/html"]
    assert "<b>" not in shown["text/html"]
    assert "value by device" in shown["text/html"]
    await live.aio.stop()
    await until(lambda: "stopped · 4 events received" in view.status.value)


async def test_a_plot_that_is_garbage_is_closed_and_frees_its_frame(
    make: Make, nc: Client, settings: NatsEventBusSettings
) -> None:
    live = make()
    plot: LivePlot | None = live.plot("value")
    assert plot is not None
    gone, chart = weakref.ref(plot), plot.view().chart
    observers = sum(map(len, live._trait_notifiers["received"].values()))
    plot = None

    async def is_gone() -> bool:
        await asyncio.to_thread(gc.collect)
        return gone() is None and chart.comm is None

    await until(is_gone)
    await until(lambda: sum(map(len, live._trait_notifiers["received"].values())) < observers)


def test_a_field_has_a_name() -> None:
    for arguments in ({"field": 7}, {"field": "a", "by": ["b"]}, {"field": "a", "x": None}):
        with pytest.raises(TypeError, match="must be the name of a field"):
            LiveFrame.plot(None, **arguments)  # type: ignore[arg-type]
