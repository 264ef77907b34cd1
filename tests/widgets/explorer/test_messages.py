"""One message, statistics, selections and exports."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from nats.aio.client import Client
from varco_nats_widgets import Lab, load
from varco_nats_widgets.explorer import MessageNotFoundError, where

from tests.widgets.explorer.helpers import evaluate, explore, publish

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


async def test_export_of_everything_and_needs_a_known_suffix(lab: Lab, tmp_path: Path) -> None:
    await publish(lab, 1)
    await publish(lab, 2, channel="refunds")
    explorer = await explore(lab)
    assert (await explorer.aio.export(tmp_path / "x.csv")).rows == 2
    await explorer.aio.select("orders")
    with pytest.raises(ValueError, match=r"\.xls"):
        await explorer.aio.export(tmp_path / "x.xls")
