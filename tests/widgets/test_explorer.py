from __future__ import annotations

import ast
import asyncio
import contextlib
import gc
import json
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import nats
import numpy as np
import pandas as pd
import pytest
from nats.aio.client import Client
from varco_core.event.base import Event
from varco_nats_widgets import Lab, load
from varco_nats_widgets._session import background
from varco_nats_widgets._session.background import pause_after
from varco_nats_widgets.explorer import ConditionError, Explorer, MessageNotFoundError, where

from tests.faults import Proxy
from tests.waiting import until
from varco_nats.bus import NatsEventBus
from varco_nats.config import NatsEventBusSettings
from varco_nats.errors import (
    ServerUnreachableError,
    StreamNotFoundError,
    UnknownChannelError,
)
from varco_nats.server import LocalNats


class ExplorerOrder(Event):
    __event_type__ = "explored.placed"

    number: int
    total: float = 1.0
    customer: dict[str, str]


class ExplorerRefund(Event):
    __event_type__ = "explored.refunded"

    number: int


@pytest.fixture
def lab(settings: NatsEventBusSettings) -> Iterator[Lab]:
    with Lab(settings) as opened:
        yield opened


def orders(*numbers: int, channel: str = "orders") -> list[tuple[Event, str]]:
    names = ("Ada", "Björn", "$x^2$ <b>Bob</b>")
    return [
        (
            ExplorerOrder(number=n, total=n * 1.5, customer={"name": names[n % 3]})
            if n % 10
            else ExplorerRefund(number=n),
            channel,
        )
        for n in numbers
    ]


async def publish(lab: Lab, *numbers: int, channel: str = "orders") -> None:
    await lab.bus.publish_many(orders(*numbers, channel=channel))


async def explore(lab: Lab, *channels: str, **options: Any) -> Explorer:
    return await asyncio.to_thread(lambda: Explorer(lab, *channels, **options))


def numbers(explorer: Explorer) -> list[int]:
    return [int(n) for n in explorer.df.get("number", ())]


def evaluate(code: str, lab: Lab) -> pd.DataFrame:
    """What a cell with this line shows."""
    *before, last = ast.parse(code).body
    names: dict[str, Any] = {"lab": lab}
    exec(compile(ast.Module(before, []), "code", "exec"), names)
    assert isinstance(last, ast.Expr)
    return eval(compile(ast.Expression(last.value), "code", "eval"), names)


async def assert_code_loads_the_page(explorer: Explorer, lab: Lab) -> None:
    loaded = await asyncio.to_thread(evaluate, explorer.code, lab)
    assert loaded.equals(explorer.df), explorer.code


# Pages


async def test_pages_from_the_newest_to_the_oldest_and_back(lab: Lab) -> None:
    await publish(lab, *range(1, 26))
    explorer = await explore(lab, page_size=10)
    assert repr(explorer) == "Explorer()"
    assert explorer.channels.index.tolist() == ["orders"]
    assert len(explorer.df) == 0
    assert explorer.code == ""
    aio = explorer.aio
    await aio.select("orders")
    assert repr(explorer) == "Explorer(orders)"

    seen = []
    while True:
        seen.append(explorer.df.index.tolist())
        await assert_code_loads_the_page(explorer, lab)
        if explorer.at_oldest:
            break
        await aio.older()
    assert seen == [list(range(16, 26)), list(range(6, 16)), list(range(1, 6))]
    await aio.older()
    assert explorer.df.index.tolist() == list(range(1, 6))
    assert explorer.notice == "there is nothing older"
    assert not explorer.error

    seen = []
    await aio.oldest()
    while True:
        seen.append(explorer.df.index.tolist())
        if explorer.at_newest:
            break
        await aio.newer()
    assert seen == [list(range(1, 11)), list(range(11, 21)), list(range(21, 26))]
    await aio.newer()
    assert explorer.df.index.tolist() == list(range(21, 26))
    assert explorer.notice == "there is nothing newer yet"
    await publish(lab, 26)
    await aio.newer()
    assert explorer.df.index.tolist() == [26]
    await aio.newest()
    assert explorer.df.index.tolist() == list(range(17, 27))


async def test_plain_methods_do_the_same(lab: Lab) -> None:
    await publish(lab, *range(1, 26))

    def use() -> list[int]:
        explorer = Explorer(lab, "orders", page_size=5)
        explorer.older()
        explorer.filter(condition="number <= 4")
        explorer.refresh()
        assert explorer.open(2).payload["number"] == 2
        explorer.close()
        explorer.close()
        return explorer.df.index.tolist()

    assert await asyncio.to_thread(use) == [1, 2, 3, 4]
    plain = {n for n in vars(Explorer) if not n.startswith("_") and callable(vars(Explorer)[n])}
    twins = {n for n in vars(type((await explore(lab)).aio)) if not n.startswith("_")}
    assert plain - twins == {"view", "stop", "watch", "close"}
    assert twins <= plain


async def test_what_is_given_may_be_changed(lab: Lab) -> None:
    await publish(lab, 1)
    explorer = await explore(lab, "orders")
    df = explorer.df
    df["mine"] = 1
    assert "mine" not in explorer.df


async def test_another_stream_by_its_subjects(lab: Lab, nc: Client, tmp_path: Path) -> None:
    name = f"{lab.settings.stream_name}-other"
    js = nc.jetstream()
    await js.add_stream(name=name, subjects=[f"{name}.>"])
    first, second = f"{name}.a", f"{name}.b"
    try:
        for number in range(5):
            await js.publish(first, json.dumps({"number": number}).encode())
            await js.publish(second, b"{}")
        explorer = await lab.aio.explore([first], stream=name, page_size=3)
        assert repr(explorer) == f"Explorer(stream {name}: {first})"
        assert explorer.channels.index.tolist() == [first, second]
        assert numbers(explorer) == [2, 3, 4]
        await assert_code_loads_the_page(explorer, lab)
        explorer.selected_seqs = [5, 9]
        loaded = await asyncio.to_thread(evaluate, explorer.selected_code, lab)
        assert loaded.index.tolist() == [5, 9]
        assert (await explorer.aio.open(1)).subject == first
        await explorer.aio.tail()
        await js.publish(first, b'{"number": 5}')
        await until(lambda: numbers(explorer) == [3, 4, 5])
        await explorer.aio.filter(condition="number > 1")
        result = await explorer.aio.export(tmp_path / "a.ndjson")
        assert result.rows == 4
        with pytest.raises(UnknownChannelError, match="subject 'orders' holds no messages"):
            await explorer.aio.select("orders")
        explorer.close()
        with pytest.raises(StreamNotFoundError):
            await lab.aio.explore(stream=f"{name}-none")
    finally:
        await js.delete_stream(name)


async def test_several_channels_together(lab: Lab) -> None:
    await publish(lab, 1, 2)
    await publish(lab, 3, channel="payments")
    await publish(lab, 4, channel="other")
    await publish(lab, 5)
    explorer = await explore(lab, "orders", "payments", "orders")
    assert repr(explorer) == "Explorer(orders, payments)"
    assert explorer.df["channel"].tolist() == ["orders", "orders", "payments", "orders"]
    await assert_code_loads_the_page(explorer, lab)
    with pytest.raises(MessageNotFoundError):
        await explorer.aio.open(4)


async def test_seek_by_sequence(lab: Lab) -> None:
    await publish(lab, 0, channel="other")
    await publish(lab, *range(2, 31))
    explorer = await explore(lab, "orders", page_size=5)
    aio = explorer.aio
    await aio.seek(seq=10)
    assert explorer.df.index.tolist() == [10, 11, 12, 13, 14]
    assert not explorer.notice
    assert not explorer.at_oldest
    await aio.older()
    assert explorer.df.index.tolist() == [5, 6, 7, 8, 9]
    await aio.seek(seq=2)
    assert explorer.at_oldest
    assert not explorer.notice
    for low in (1, 0, -7):
        await aio.seek(seq=low)
        assert explorer.df.index.tolist() == [2, 3, 4, 5, 6]
        assert explorer.at_oldest
        assert explorer.notice.startswith(f"nothing is stored at sequence {low} or before")
    await aio.seek(seq=999)
    assert explorer.df.index.tolist() == [26, 27, 28, 29, 30]
    assert explorer.notice == "nothing at sequence 999 or later; this is the newest page"
    with pytest.raises(ValueError, match=r"give time= or seq=, one of them"):
        await aio.seek()
    with pytest.raises(ValueError, match="one of them"):
        await aio.seek(seq=1, time="10m")
    with pytest.raises(ValueError, match="whole number"):
        await aio.seek(seq="7")  # type: ignore[arg-type]


async def test_seek_by_time(lab: Lab) -> None:
    await publish(lab, *range(1, 11))
    await asyncio.sleep(0.01)
    await publish(lab, *range(11, 21))
    explorer = await explore(lab, "orders", page_size=5)
    aio = explorer.aio
    moment = (await lab.aio.frame("orders"))["stored_at"][11].floor("us")
    await aio.seek(time=moment)
    assert explorer.df.index.tolist() == [11, 12, 13, 14, 15]
    assert "since=" in explorer.code
    await assert_code_loads_the_page(explorer, lab)
    await aio.seek(time=str(moment))
    assert explorer.df.index.tolist() == [11, 12, 13, 14, 15]
    await aio.newer()
    await assert_code_loads_the_page(explorer, lab)
    await aio.seek(time="10m")
    assert explorer.df.index.tolist() == [1, 2, 3, 4, 5]
    assert "this is the first page" in explorer.notice
    await aio.seek(time=datetime.now(UTC) + timedelta(days=1))
    assert explorer.df.index.tolist() == [16, 17, 18, 19, 20]
    assert "or later; this is the newest page" in explorer.notice
    with pytest.raises(ValueError, match="is no time"):
        await aio.seek(time="noon-ish")
    assert "is no time" in explorer.error
    await aio.newest()
    assert not explorer.error


# Filters


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
    assert explorer.event_types == ()
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
        await explorer.aio.filter(text="x", condition="number > oops")
    assert "needs quotes" in explorer.error
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
    explorer.observe(lambda change: change["new"][0] and started.set(), "progress")
    search = explorer._start(explorer.aio.filter, condition="number == 3")
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
        ("decode_error is present", [2, 3, 4, 5]),
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
    assert (statistics.messages, statistics.broken) == (11, 4)


# The live tail


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
        await until(lambda last=last: explorer._work._page.high == last, every=0.001)
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
            await until(lambda: bool(explorer.error), timeout=20)
            assert "trying again" in explorer.error
            await asyncio.to_thread(local.restart)
            await publish(lab, 4)
            await until(lambda: numbers(explorer) == [2, 3, 4], timeout=20)
            await until(lambda: not explorer.error)
            explorer.close()


# One message, statistics


async def test_one_message_whole(lab: Lab, nc: Client) -> None:
    await publish(lab, 1)
    await nc.jetstream().publish(
        lab.settings.subject_name("orders"), b"\x00\x01", headers={"Trace": "<b>x</b>"}
    )
    explorer = await explore(lab, "orders", page_size=1)
    message = await explorer.aio.open(2)
    assert explorer.message is message
    assert repr(message) == "Message(2)"
    assert message.headers == {"Trace": "<b>x</b>"}
    assert (message.data, message.payload, message.is_text) == (b"\x00\x01", None, False)
    assert message.problem is not None
    outside_the_page = await explorer.aio.open(1)
    assert outside_the_page.event_type == "explored.placed"
    assert outside_the_page.payload["customer"] == {"name": "Björn"}
    assert outside_the_page.is_text
    assert outside_the_page.subject == lab.settings.subject_name("orders")
    assert str(outside_the_page.stored_at.tz) == "UTC"
    with pytest.raises(MessageNotFoundError, match="no message with sequence 99"):
        await explorer.aio.open(99)
    assert "no message with sequence 99" in explorer.error
    assert explorer.message is outside_the_page
    with pytest.raises(ValueError, match="seq='5': a sequence is a whole number"):
        await explorer.aio.open("5")  # type: ignore[arg-type]
    await explorer.aio.seek(seq=explorer.df.index[0])


async def test_statistics_of_the_channel(lab: Lab) -> None:
    await publish(lab, *range(1, 101))
    await publish(lab, *range(1, 11), channel="other")
    explorer = await explore(lab, "orders", "other")
    await explorer.aio.filter(condition="number == 1")
    statistics = await explorer.aio.describe()
    assert explorer.statistics is statistics
    assert (statistics.messages, statistics.total) == (110, 110)
    assert statistics.event_types["messages"].to_dict() == {
        "explored.placed": 99,
        "explored.refunded": 11,
    }
    assert sorted(statistics.rates) == ["orders", "other"]
    newest = await explorer.aio.describe(limit=10)
    assert (newest.messages, newest.total) == (10, 110)
    assert newest.channels == ("orders", "other")
    await explorer.aio.select("other")
    assert explorer.statistics is None
    with pytest.raises(ValueError, match="limit=0"):
        await explorer.aio.describe(limit=0)


# Selection, export


async def test_selected_rows_and_the_code_that_loads_them(lab: Lab) -> None:
    await publish(lab, *range(1, 11))
    explorer = await explore(lab, "orders")
    assert explorer.selected_code == ""
    for seqs in ([3, 7], [5, 6, 4], [9]):
        explorer.selected_seqs = seqs
        assert explorer.selected.index.tolist() == sorted(seqs)
        loaded = await asyncio.to_thread(evaluate, explorer.selected_code, lab)
        assert loaded.index.tolist() == sorted(seqs)


@pytest.mark.parametrize("suffix", [".parquet", ".ndjson", ".csv", ""])
async def test_export_of_what_matches(lab: Lab, tmp_path: Path, suffix: str) -> None:
    await publish(lab, *range(1, 101))
    explorer = await explore(lab, "orders", page_size=5)
    path = tmp_path / f"orders{suffix}"
    result = await explorer.aio.export(path)
    assert result.rows == 100
    await explorer.aio.filter(event_type="explored.placed", condition="number > 80", text="ada")
    with pytest.raises(FileExistsError):
        await explorer.aio.export(path)
    assert explorer.error
    result = await explorer.aio.export(path, overwrite=True)
    wanted = where(await lab.aio.frame("orders", event_type="explored.placed"), "number > 80")
    wanted = where(wanted, text="ada")
    assert result.rows == len(wanted) > 5
    loaded = load(path)
    assert loaded.index.tolist() == wanted.index.tolist()
    completeness = loaded.attrs["completeness"]
    assert (completeness["gaps"], completeness["truncated_by"]) == (0, None)
    assert not explorer.error


async def test_export_needs_a_channel_and_a_known_suffix(lab: Lab, tmp_path: Path) -> None:
    await publish(lab, 1)
    explorer = await explore(lab)
    with pytest.raises(ValueError, match="no channel is chosen"):
        await explorer.aio.export(tmp_path / "x.csv")
    await explorer.aio.select("orders")
    with pytest.raises(ValueError, match=r"\.xls"):
        await explorer.aio.export(tmp_path / "x.xls")


# What goes wrong


async def test_unknown_channel(lab: Lab) -> None:
    await publish(lab, 1)
    with pytest.raises(UnknownChannelError, match=r"'ordrs' holds no messages; did you mean"):
        await explore(lab, "ordrs")
    explorer = await explore(lab, "orders")
    with pytest.raises(UnknownChannelError):
        await explorer.aio.select("orders", "other")
    assert "'other' holds no messages" in explorer.error
    assert explorer.chosen == ("orders",)
    with pytest.raises(ValueError, match="page_size=0"):
        await explore(lab, page_size=0)


async def test_no_stream_yet(lab: Lab) -> None:
    explorer = await explore(lab)
    assert len(explorer.channels) == 0
    await explorer.aio.tail()
    await publish(lab, 1)
    await explorer.aio.refresh()
    assert explorer.channels.index.tolist() == ["orders"]


async def test_lost_server_is_an_error_that_retry_mends(
    settings: NatsEventBusSettings, server: LocalNats, make_settings: Callable[..., Any]
) -> None:
    async with Proxy(server.port) as proxy:
        through = make_settings(servers=proxy.url_for(server.url))
        with await asyncio.to_thread(Lab, through) as lab:
            await asyncio.to_thread(lambda: lab.bus)  # the proxy runs on this loop
            await publish(lab, *range(1, 11))
            explorer = await explore(lab, "orders", page_size=3)
            proxy.swallow_answers = True
            proxy.cut()
            await until(lambda: not lab._session.connection.is_connected)
            with pytest.raises(ServerUnreachableError):
                await explorer.aio.older()
            assert "connection is lost" in explorer.error
            assert explorer.df.index.tolist() == [8, 9, 10]
            assert not explorer.busy
            proxy.swallow_answers = False
            proxy.cut()
            await until(lambda: lab._session.connection.is_connected)
            await until(lambda: not explorer.error)
            await explorer.aio.retry()
            assert explorer.df.index.tolist() == [5, 6, 7]
            assert not explorer.error


async def test_closed_lab_is_an_error(lab: Lab) -> None:
    await publish(lab, 1)
    explorer = await explore(lab, "orders")
    explorer.watch()
    await explorer.aio.tail()
    await asyncio.to_thread(lab.close)
    with pytest.raises(RuntimeError, match="this Lab is closed"):
        await explorer.aio.older()
    explorer.stop()
    explorer.close()


async def test_messages_that_go_while_one_looks(lab: Lab, nc: Client) -> None:
    await publish(lab, *range(1, 31))
    explorer = await explore(lab, "orders", page_size=10)
    await nc.jetstream().purge_stream(lab.settings.stream_name)
    await explorer.aio.older()
    assert explorer.notice == "there is nothing older"
    await explorer.aio.refresh()
    assert len(explorer.df) == 0
    await explorer.aio.newer()
    await publish(lab, 31)
    await explorer.aio.newer()
    assert explorer.df.index.tolist() == [31]


# Live rates, looking disturbs nobody


async def test_watching_renews_channels_and_rates(lab: Lab) -> None:
    await publish(lab, *range(1, 31))
    explorer = await explore(lab, "orders")
    explorer.watch()
    await publish(lab, 1, channel="payments")
    await until(lambda: explorer.channels.index.tolist() == ["orders", "payments"])
    await until(lambda: "orders" in explorer.rates)
    times, values = explorer.rates["orders"]
    assert len(times) == len(values) >= 1
    assert values[0] > 0
    explorer.watch(False)


async def test_what_nobody_sees_is_not_renewed(
    lab: Lab, nc: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "_WATCH_SECONDS", 0.05)
    monkeypatch.setattr(background, "_UNSEEN_SECONDS", 0.05)
    await publish(lab, 1)
    explorer = await explore(lab, "orders")
    asked = await nc.subscribe(f"$JS.API.STREAM.INFO.{lab.settings.stream_name}")
    channels = explorer.view().channels
    await asked.next_msg(5)
    await asked.next_msg(5)
    for view, seen in (("one", True), ("two", True), ("one", False)):
        channels._on_message({"type": "sight", "view": view, "seen": seen})
    while asked.pending_msgs:
        await asked.next_msg()
    await asked.next_msg(5)  # one of two still sees it
    channels._on_message({"type": "sight", "view": "two", "seen": False})
    await until(lambda: not explorer._work._seen.is_set())
    with contextlib.suppress(nats.errors.TimeoutError):  # what was under way ends
        while True:
            await asked.next_msg(0.5)
    await publish(lab, 1, channel="payments")
    assert explorer.channels.index.tolist() == ["orders"]
    channels._on_message({"type": "sight", "view": "three", "seen": True})
    await until(lambda: explorer.channels.index.tolist() == ["orders", "payments"])
    # the rates follow the channels
    await until(lambda: any(np.isnan(rate) for rate in explorer.rates["orders"][1]))
    explorer.close()


def test_a_costly_look_is_rare() -> None:
    assert pause_after(0.01) == 2
    assert pause_after(3) == 30


@pytest.fixture
async def service(settings: NatsEventBusSettings) -> AsyncIterator[list[Event]]:
    handled: list[Event] = []
    async with NatsEventBus(settings) as bus:
        bus.subscribe(Event, lambda event: handled.append(event), channel="orders")
        yield handled


async def test_looking_disturbs_no_service_and_leaves_nothing(
    settings: NatsEventBusSettings, service: list[Event], nc: Client
) -> None:
    js = nc.jetstream()
    with await asyncio.to_thread(Lab, settings) as lab:
        async with NatsEventBus(settings.model_copy(update={"durable_name": "other"})) as bus:
            await bus.publish_many(orders(*range(1, 101)))
        explorer = await explore(lab, "orders", page_size=5)
        explorer.watch()
        await explorer.aio.tail()
        await explorer.aio.filter(condition="number == 3")
        await explorer.aio.describe()
        await explorer.aio.open(3)
        await explorer.aio.older()
        await until(lambda: len(service) == 100)
        info = await js.consumer_info(settings.stream_name, settings.durable_for("orders"))
        assert info.num_redelivered == 0
        explorer.close()
    names = {info.name for info in await js.consumers_info(settings.stream_name)}
    assert names == {settings.durable_for("orders")}


# The view, without a browser


async def test_view_draws_the_model_and_its_controls_call_it(lab: Lab) -> None:
    await publish(lab, *range(1, 101))
    explorer = await explore(lab, page_size=10)
    view = explorer.view()
    assert explorer.view() is view
    await until(lambda: [row[:2] for row in view.channels.channels] == [["orders", "100 messages"]])
    await until(lambda: view.older.disabled)
    view.channels.chosen = ["orders"]
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
    view.clear.click()
    await until(lambda: (view.text.value, view.condition.value) == ("", ""))

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
    first, last = ["stored_at", "event_type"], ["timestamp", "event_id"]
    wanted = [*first, "decode_error", "sku", "old", *last, "raw"]
    await until(lambda: table.columns == wanted)
    await explorer.aio.tail()
    await store(b'{"user": 1}', b'{"text": 2, "sku": 1}')
    wanted = [*first, "decode_error", "sku", "old", "user", "text", *last, "raw"]
    await until(lambda: table.columns == wanted and table.frame.index.tolist() == [4, 5])
    await explorer.aio.older()
    await until(lambda: table.columns == [*first, "decode_error", "sku", "old", *last, "raw"])
    explorer.close()


async def test_view_exports_and_says_what_it_did(lab: Lab, tmp_path: Path) -> None:
    await publish(lab, *range(1, 11))
    explorer = await explore(lab, "orders")
    view = explorer.view()
    view.export.click()
    assert "name a file" in view.exported.value
    view.path.value = str(tmp_path / "<b>$x$.csv")
    view.export.click()
    await until(lambda: "10 rows in" in view.exported.value)
    assert "&lt;b&gt;<span>$</span>x" in view.exported.value
    view.export.click()
    await until(lambda: "not exported" in view.exported.value)
    assert len(load(tmp_path / "<b>$x$.csv")) == 10
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
