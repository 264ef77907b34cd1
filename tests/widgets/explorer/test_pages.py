"""Pages of one channel or several, and seeking."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from nats.aio.client import Client
from varco_nats_widgets import Lab
from varco_nats_widgets.explorer import Explorer, MessageNotFoundError

from tests.waiting import until
from tests.widgets.explorer.helpers import (
    assert_code_loads_the_page,
    evaluate,
    explore,
    numbers,
    publish,
)
from varco_nats.errors import (
    InvalidChannelError,
    StreamNotFoundError,
    UnknownChannelError,
)


async def test_pages_from_the_newest_to_the_oldest_and_back(lab: Lab) -> None:
    await publish(lab, *range(1, 26))
    explorer = await explore(lab, page_size=10)
    assert repr(explorer) == "Explorer()"
    assert explorer.channels.index.tolist() == ["orders"]
    assert explorer.df.index.tolist() == list(range(16, 26))  # everything, as nothing is chosen
    await assert_code_loads_the_page(explorer, lab)
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
    assert plain - twins == {"stop", "watch", "close"}
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


async def test_what_is_no_channel_to_varco_is_shown_with_everything(lab: Lab, nc: Client) -> None:
    await publish(lab, 1, 2)
    await nc.jetstream().publish(f"{lab.settings.subject_prefix}.a>b", b'{"number": 3}')
    explorer = await explore(lab)
    assert explorer.df["channel"].tolist() == ["orders", "orders", "a>b"]
    loaded = await asyncio.to_thread(evaluate, explorer.code, lab)
    assert loaded.index.tolist() == [1, 2, 3]
    with pytest.raises(InvalidChannelError, match="'a>b'"):
        await explorer.aio.select("a>b")
    assert explorer.chosen == ()
    assert len(explorer.df) == 3


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
        await aio.seek(seq="7")


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
    with pytest.raises(ValueError, match="is not a time"):
        await aio.seek(time="noon-ish")
    assert "is not a time" in explorer.error
    await aio.newest()
    assert not explorer.error
