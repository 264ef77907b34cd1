"""Filters, and the search that they start."""

from __future__ import annotations

import asyncio
import json
import threading

import pytest
from nats.aio.client import Client
from varco_nats_widgets import Lab
from varco_nats_widgets.explorer import ConditionError

from tests.waiting import until
from tests.widgets.explorer.helpers import (
    ExplorerRefund,
    assert_code_loads_the_page,
    explore,
    numbers,
    publish,
)


async def test_filters_look_through_the_whole_channel(lab: Lab) -> None:
    await publish(lab, *range(1, 201))
    explorer = await explore(lab, "orders", page_size=5)
    aio = explorer.aio
    assert explorer.known_types == ("explored.placed", "explored.refunded")

    await aio.filter(event_type=ExplorerRefund)
    assert explorer.event_types == ("explored.refunded",)
    assert numbers(explorer) == [160, 170, 180, 190, 200]
    await assert_code_loads_the_page(explorer, lab)
    await aio.older()
    assert numbers(explorer) == [110, 120, 130, 140, 150]

    await aio.filter(event_type="", condition="total > 295", text="björn")
    assert explorer.event_types == ()  # type: ignore[comparison-overlap]
    assert (explorer.text, explorer.condition) == ("björn", "total > 295")
    assert numbers(explorer) == [199]
    await assert_code_loads_the_page(explorer, lab)

    await aio.newest()
    await aio.filter(condition='number <= 20 and customer.name contains "$x^2$"')
    assert numbers(explorer) == []
    await aio.filter(text="")
    assert numbers(explorer) == [5, 8, 11, 14, 17]
    assert not explorer.at_oldest
    await assert_code_loads_the_page(explorer, lab)
    await aio.older()
    assert numbers(explorer) == [2]
    assert explorer.at_oldest
    await aio.newer()
    assert numbers(explorer) == [5, 8, 11, 14, 17]

    await aio.clear_filter()
    assert (explorer.event_types, explorer.text, explorer.condition) == ((), "", "")
    assert len(explorer.df) == 5


async def test_a_filter_stays_where_one_is(lab: Lab) -> None:
    await publish(lab, *range(1, 101))
    explorer = await explore(lab, "orders", page_size=3)
    await explorer.aio.seek(seq=41)
    await explorer.aio.filter(event_type="explored.refunded")
    assert numbers(explorer) == [50, 60, 70]
    await explorer.aio.clear_filter()
    assert explorer.df.index.tolist() == [41, 42, 43]


async def test_codes_quote_what_is_in_them(lab: Lab) -> None:
    await publish(lab, *range(1, 10))
    explorer = await explore(lab, "orders")
    await explorer.aio.filter(
        event_type=["explored.placed", "o'\"\\\n"],
        text="<b>Bob</b>",
        condition="customer.name contains '$x^2$ <b>' and not note == \"it's\\\"; \"",
    )
    assert numbers(explorer) == [2, 5, 8]
    await assert_code_loads_the_page(explorer, lab)


async def test_unreadable_condition_says_where_and_changes_nothing(lab: Lab) -> None:
    await publish(lab, *range(1, 10))
    explorer = await explore(lab, "orders")
    await explorer.aio.filter(condition="number > 5")
    with pytest.raises(ConditionError, match="character 10"):
        await explorer.aio.filter(text="x", condition="number > 5m")
    assert "need quotes" in explorer.error
    assert (explorer.condition, explorer.text) == ("number > 5", "")
    assert numbers(explorer) == [6, 7, 8, 9]
    assert not explorer.busy


async def test_a_column_that_no_message_has_is_named(lab: Lab) -> None:
    await publish(lab, *range(1, 10))
    explorer = await explore(lab, "orders")
    await explorer.aio.filter(condition="totl > 5")
    assert explorer.notice == (
        "none of 9 messages matches the filters; there is no column 'totl'; did you mean 'total'?"
    )
    await explorer.aio.filter(condition="seq > 90")
    assert explorer.notice == "none of 9 messages matches the filters"


async def test_long_search_stops_at_its_limit_and_goes_on(lab: Lab) -> None:
    await publish(lab, *range(1, 6001))
    explorer = await explore(lab, "orders", scan_limit=2500)
    progress: list[tuple[int, int]] = []
    explorer.observe(lambda change: progress.append(change["new"]), "progress")
    await explorer.aio.filter(condition="number == 3")
    assert len(explorer.df) == 0
    assert "of 6,000 messages looked at, 0 found; 'older' goes on" in explorer.notice
    assert (0, 0) in progress
    assert max(read for read, _ in progress) >= 2000
    for _ in range(5):
        if len(explorer.df):
            break
        await explorer.aio.older()
    assert numbers(explorer) == [3]
    await assert_code_loads_the_page(explorer, lab)


async def test_search_can_be_stopped(lab: Lab) -> None:
    await publish(lab, *range(1, 20_001))
    explorer = await explore(lab, "orders")
    explorer.observe(lambda change: explorer.stop(), "progress")
    await explorer.aio.filter(condition="number == 3")
    assert "looked at, 0 found; 'older' goes on" in explorer.notice
    assert not explorer.busy


async def test_new_action_takes_the_place_of_the_one_at_work(lab: Lab) -> None:
    await publish(lab, *range(1, 20_001))
    explorer = await explore(lab, "orders", page_size=5)
    started = threading.Event()
    explorer.observe(lambda change: change["new"][0] and started.set(), "progress")  # type: ignore[func-returns-value]
    search = explorer._worker.start(explorer.aio.filter, condition="number == 3")
    assert search is not None
    await asyncio.to_thread(started.wait, 10)
    await explorer.aio.clear_filter()
    await until(search.done)
    assert search.cancelled()
    assert explorer.df.index.tolist() == list(range(19_996, 20_001))
    assert not explorer.busy
    assert not explorer.error


async def test_filters_that_come_together_are_all_set(lab: Lab) -> None:
    await publish(lab, *range(1, 31))
    explorer = await explore(lab, "orders")
    aio = explorer.aio
    await asyncio.gather(
        aio.filter(text="björn"), aio.filter(condition="total > 30"), return_exceptions=True
    )
    assert (explorer.text, explorer.condition) == ("björn", "total > 30")
    assert numbers(explorer) == [22, 25, 28]


async def test_filters_on_awkward_payloads(lab: Lab, nc: Client) -> None:
    js = nc.jetstream()
    await publish(lab, 1)
    payloads = [
        b"",
        b"\xff\xfe\x00",
        b"not json",
        b"[1, 2]",
        b'{"total": "12"}',
        b'{"total": 12}',
        b'{"total": null}',
        b'{"total": 1e400, "nan": NaN}',
        b'{"total": {"x": 1}}',
        json.dumps({"total": 2**80, "n": "\ud800"}).encode(),
    ]
    for payload in payloads:
        await js.publish(lab.settings.subject_name("orders"), payload)
    explorer = await explore(lab, "orders")
    assert explorer.df.index.tolist() == list(range(1, 12))
    await assert_code_loads_the_page(explorer, lab)
    for condition, seqs in [
        ("total > 11", [7, 9, 11]),
        ("total == '12'", [6]),
        ("total.x == 1", [10]),
        ("decode_error is present", [2, 3, 4]),
        ("value is present", [5]),
        ("event_type is missing", list(range(2, 12))),
    ]:
        await explorer.aio.filter(condition=condition)
        assert explorer.df.index.tolist() == seqs, condition
        await assert_code_loads_the_page(explorer, lab)
    await explorer.aio.filter(condition="", text="not json")
    assert explorer.df.index.tolist() == [4]
    for seq in range(1, 12):
        message = await explorer.aio.open(seq)
        assert message.seq == seq
    statistics = await explorer.aio.describe()
    assert (statistics.messages, statistics.broken) == (11, 3)
