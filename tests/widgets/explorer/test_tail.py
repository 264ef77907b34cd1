"""The live tail."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from varco_nats_widgets import Lab

from tests.waiting import until
from tests.widgets.explorer.helpers import (
    assert_code_loads_the_page,
    explore,
    numbers,
    publish,
)
from varco_nats.config import NatsEventBusSettings
from varco_nats.server import LocalNats


async def test_tail_follows_what_arrives(lab: Lab) -> None:
    await publish(lab, *range(1, 11))
    explorer = await explore(lab, "orders", page_size=8)
    await explorer.aio.tail(True)
    assert explorer.follow
    await publish(lab, *range(11, 15))
    await until(lambda: explorer.received == 4)
    await until(lambda: explorer.df.index.tolist() == list(range(7, 15)))
    await assert_code_loads_the_page(explorer, lab)
    await publish(lab, *range(15, 115))
    await until(lambda: explorer.received == 104)
    await until(lambda: explorer.df.index.tolist() == list(range(107, 115)))
    await explorer.aio.tail(False)
    await publish(lab, 115)
    assert not explorer.follow
    assert explorer.df.index.tolist() == list(range(107, 115))
    await explorer.aio.newer()
    assert explorer.df.index.tolist() == [115]


async def test_tail_keeps_the_filter_and_the_selection(lab: Lab) -> None:
    await publish(lab, *range(1, 31))
    explorer = await explore(lab, "orders", page_size=4)
    await explorer.aio.filter(event_type="explored.refunded")
    await explorer.aio.tail()
    explorer.selected_seqs = [20, 30]
    await publish(lab, *range(31, 52))
    await until(lambda: explorer.received == 21)
    await until(lambda: numbers(explorer) == [20, 30, 40, 50])
    await until(lambda: explorer.selected_seqs == [20, 30])
    await assert_code_loads_the_page(explorer, lab)
    await explorer.aio.filter(event_type="", condition="number > 49")
    assert explorer.follow
    await publish(lab, 52)
    await until(lambda: numbers(explorer) == [50, 51, 52])
    assert explorer.selected_seqs == []


async def test_pausing_shows_all_that_has_arrived(lab: Lab) -> None:
    await publish(lab, 1)
    explorer = await explore(lab, "orders")
    last = 1
    for _ in range(5):
        await explorer.aio.tail(True)
        for _ in range(20):  # single ones, as the page is not made anew for each
            last += 1
            await publish(lab, last)
        await until(lambda last=last: explorer._worker.pages.page.high == last, every=0.001)  # type: ignore[misc]
        await explorer.aio.tail(False)
        assert explorer.df.index.tolist() == list(range(1, last + 1))


@pytest.mark.parametrize("leave", ["older", "oldest", "seek"])
async def test_leaving_the_newest_page_ends_the_tail(lab: Lab, leave: str) -> None:
    await publish(lab, *range(1, 31))
    explorer = await explore(lab, "orders", page_size=4)
    await explorer.aio.tail()
    await {
        "older": explorer.aio.older,
        "oldest": explorer.aio.oldest,
        "seek": lambda: explorer.aio.seek(seq=5),
    }[leave]()
    assert not explorer.follow
    shown = explorer.df.index.tolist()
    await publish(lab, 31)
    await explorer.aio.open(1)
    assert explorer.df.index.tolist() == shown


async def test_tail_starts_in_an_empty_page_and_survives_a_restart(tmp_path: Path) -> None:
    with LocalNats(store_dir=tmp_path) as local:
        settings = NatsEventBusSettings(servers=local.url)
        with await asyncio.to_thread(Lab, settings) as lab:
            await publish(lab, 1)
            explorer = await explore(lab, "orders", page_size=50)
            await explorer.aio.filter(condition="number > 1")
            await explorer.aio.tail()
            assert len(explorer.df) == 0
            await publish(lab, 2, 3)
            await until(lambda: numbers(explorer) == [2, 3])
            await asyncio.to_thread(local.kill)
            await until(lambda: bool(explorer.error))
            assert "trying again" in explorer.error
            await asyncio.to_thread(local.restart)
            await publish(lab, 4)
            await until(lambda: numbers(explorer) == [2, 3, 4])
            await until(lambda: not explorer.error)
            explorer.close()
