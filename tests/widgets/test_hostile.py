"""What a stranger stored costs its own row at most, in everything that shows or counts it."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Any
from uuid import uuid4

import pandas as pd
import pytest
from jupyter_client.session import json_packer
from nats.aio.client import Client
from varco_core.event.base import Event
from varco_nats_widgets import Lab, load
from varco_nats_widgets.dead_letters._view import view as _view
from varco_nats_widgets.explorer import Explorer

from tests.hostile import HALF, HEADERS, PAYLOADS, assert_sendable, dead_letters, send
from tests.waiting import until
from varco_nats.config import NatsEventBusSettings
from varco_nats.replay import ReplayOutcome

MESSAGES = [*((data, b"") for data in PAYLOADS.values())]
MESSAGES += [(b'{"a": 1}', head) for head in HEADERS.values()]
SEQS = list(range(1, len(MESSAGES) + 1))


class StrangerSaid(Event):
    __event_type__ = "stranger.said"


async def fill(nc: Client, settings: NatsEventBusSettings) -> None:
    js = nc.jetstream()
    await js.add_stream(name=settings.stream_name, subjects=[f"{settings.subject_prefix}.>"])
    await publish(nc, settings)
    await until(lambda: stored(nc, settings.stream_name, len(MESSAGES)))


async def publish(nc: Client, settings: NatsEventBusSettings) -> None:
    for data, head in MESSAGES:
        await send(nc, settings.subject_name("orders"), data, head)
    await nc.flush()


async def stored(nc: Client, stream: str, count: int) -> bool:
    info = await nc.jetstream().stream_info(stream)
    return bool(info.state.messages == count)


async def test_every_message_is_a_row(lab: Lab, nc: Client, settings: NatsEventBusSettings) -> None:
    await fill(nc, settings)
    frame = await lab.aio.frame("orders", headers=True)
    assert frame.index.tolist() == SEQS
    assert frame.attrs["completeness"]["gaps"] == 0
    with pd.option_context("display.max_rows", None, "display.max_columns", None):
        for text in (repr(frame), frame._repr_html_()):  # type: ignore[operator]
            assert text.encode()
    names = list(PAYLOADS)
    expected: dict[str, dict[str, object]] = {
        "half in a key": {"\\ud800": 1},
        "half in a key, and that key spelled out": {"\\ud800": 1, "data.\\ud800": 2},
        "columns of data": {"data.data.more": 1, "data.data.data.data.more": 4},
        "dates out of range": {"data.timestamp": "9999-12-31T23:59:59.999999-14:00"},
    }
    for name, value in expected.items():
        row = frame.loc[names.index(name) + 1].dropna()
        assert {column: row.get(column) for column in value} == value, name
    for event_type in (HALF, "\\ud800"):  # as it is, and as every frame shows it
        found = await lab.aio.frame("orders", event_type=event_type)
        assert [names[seq - 1] for seq in found.index] == [
            "half in the type",
            "half in an envelope",
        ]


async def test_live_has_the_same_rows(lab: Lab, nc: Client, settings: NatsEventBusSettings) -> None:
    await fill(nc, settings)
    live = await lab.aio.live("orders", start_seq=1)
    await live.aio.wait(len(MESSAGES))
    pd.testing.assert_frame_equal(live.df, await lab.aio.frame("orders"))
    view = live.view()
    view.flush()
    assert_sendable(view.box)
    assert json_packer(live._repr_mimebundle_())
    assert not live.error
    live.stop()


async def test_an_explorer_shows_and_counts_them(
    lab: Lab, nc: Client, settings: NatsEventBusSettings
) -> None:
    await fill(nc, settings)
    explorer = await asyncio.to_thread(Explorer, lab, "orders", page_size=20)
    view = explorer.view()

    def drawn() -> None:
        view.flush()
        assert_sendable(view.box)
        assert (view.status.problem, explorer.error) == ("", "")

    statistics = await explorer.aio.describe()
    assert statistics.messages == len(MESSAGES)
    assert "\\ud800" in statistics.fields.index
    drawn()
    await explorer.aio.oldest()
    seen: list[int] = []
    while not seen or seen[-1] != SEQS[-1]:
        drawn()
        seen += [seq for seq in explorer.df.index if seq not in seen]
        pd.testing.assert_index_equal(eval(explorer.code, {"lab": lab}).index, explorer.df.index)
        await explorer.aio.newer()
    assert seen == SEQS
    for seq in SEQS:
        assert (await explorer.aio.open(seq)).seq == seq
        drawn()
    filters: list[dict[str, Any]] = [
        {"text": HALF},
        {"text": "", "condition": f"note == '{HALF}'"},
        {"condition": "a > 1"},
        {"condition": "", "event_type": HALF},
    ]
    for given in filters:
        await explorer.aio.filter(**given)
        drawn()
    assert len(explorer.df) == 2
    assert json_packer(explorer._repr_mimebundle_())
    explorer.close()


@pytest.mark.parametrize("name", ["out.parquet", "out.ndjson", "out.csv", "out"])
async def test_exports_give_the_same_frame_back(
    lab: Lab, nc: Client, settings: NatsEventBusSettings, tmp_path: Path, name: str
) -> None:
    await fill(nc, settings)
    result = await lab.aio.export("orders", tmp_path / name, headers=True)
    assert (result.rows, result.completeness["gaps"]) == (len(MESSAGES), 0)
    pd.testing.assert_frame_equal(
        load(tmp_path / name), await lab.aio.frame("orders", headers=True)
    )


async def test_a_record_and_its_picture(
    lab: Lab, nc: Client, settings: NatsEventBusSettings, caplog: pytest.LogCaptureFixture
) -> None:
    def handle(event: Event) -> None:
        raise ValueError(f"{HALF} {event!r}")

    caplog.set_level(logging.CRITICAL, "varco_nats")  # 100 failures, some of a megabyte
    bus = await asyncio.to_thread(lambda: lab.bus)
    bus.subscribe(StrangerSaid, handle, channel="orders")
    record = lab.record("orders")
    await publish(nc, settings)
    await until(lambda: record.ledger["stored"].sum() == len(MESSAGES))
    delivery = lab.delivery(record)
    view = delivery.view()
    for tab in range(6):
        view.tabs.selected_index = tab
        for event in (1, 7, 9, len(PAYLOADS)):
            delivery.select(event)
            view._tab_coalescer.trigger()
            view.flush()
            assert_sendable(view.box)
            assert view.status.problem == ""
    assert json_packer(delivery._repr_mimebundle_())
    assert record.problem is None
    record.stop()
    delivery.close()


# Dead letters


async def fill_queue(nc: Client, settings: NatsEventBusSettings) -> list[str]:
    """The names of the entries, in the order of their sequences."""
    root = f"{settings.subject_prefix}-dlq"
    js = nc.jetstream()
    await js.add_stream(
        name=f"{settings.stream_name}-dlq", subjects=[f"{root}.>"], allow_direct=True
    )
    entries = [(name, data, b"") for name, data in dead_letters().items()]
    entries += [(f"header: {name}", b"{}", head) for name, head in HEADERS.items()]
    for _, data, head in entries:
        await send(nc, f"{root}.{uuid4()}.orders", data, head)
    await nc.flush()
    await until(lambda: stored(nc, f"{settings.stream_name}-dlq", len(entries)))
    return [name for name, _, _ in entries]


async def test_dead_letters_are_listed_and_grouped(
    lab: Lab, nc: Client, settings: NatsEventBusSettings
) -> None:
    names = await fill_queue(nc, settings)
    aio = lab.dead_letters.aio
    frame, groups = await aio.frame(), await aio.groups()
    for found, rows in ((frame, len(frame)), (groups, groups["count"].sum())):
        assert rows == len(names)
        assert found.attrs["completeness"]["gaps"] == 0
        assert repr(found)
        assert found._repr_html_()  # type: ignore[operator]
    for name in ("handler", "error_type", "tenant_id"):
        for wanted in (HALF, "\\ud800"):
            filters: dict[str, Any] = {name: wanted}
            assert len(await aio.frame(**filters)) == 1


async def test_dead_letters_are_drawn(lab: Lab, nc: Client, settings: NatsEventBusSettings) -> None:
    names = await fill_queue(nc, settings)
    letters = lab.dead_letters
    await letters.aio.filter()
    view = letters.view()

    def drawn() -> None:
        view.flush()
        assert_sendable(view.box)
        assert (view.status.problem, letters.error) == ("", "")

    drawn()
    assert len(letters.group_table) > 10
    ids: list[str] = []
    while len(ids) < len(names):
        drawn()
        ids += letters.page.index.tolist()
        await letters.aio.older()
    for entry_id in ids:
        await letters.aio.open(entry_id)
        view.flush()
        await letters.aio.edit(entry_id, b'{"a": 1}')
    drawn()
    assert len(letters.edits) == len(names)
    for group in letters.group_table.index:
        await letters.aio.choose(group)
        view.flush()
        assert view.status.problem == ""
    for filters in ({"text": HALF}, {"tenant_id": HALF}, {"handler": HALF}, {"channel": HALF}):
        await letters.aio.filter(**filters)
        drawn()
    assert json_packer(letters._repr_mimebundle_())
    letters.close()


async def test_dead_letters_are_exported_and_replayed(
    lab: Lab, nc: Client, settings: NatsEventBusSettings, tmp_path: Path
) -> None:
    names = await fill_queue(nc, settings)
    letters = lab.dead_letters
    await letters.aio.filter()
    for suffix in ("parquet", "ndjson", "csv"):
        done = await letters.aio.export(tmp_path / f"dead.{suffix}", "matching")
        assert done.rows == len(names)
    assert len(pd.read_parquet(tmp_path / "dead.parquet")) == len(names)
    assert len(pd.read_csv(tmp_path / "dead.csv")) == len(names)
    lines = (tmp_path / "dead.ndjson").read_bytes().splitlines()
    assert len([json.loads(line) for line in lines]) == len(names)
    plan = await letters.aio.plan("matching")
    report = await letters.aio.run(plan, confirm=plan.to_replay, word="nobody")
    assert len(plan) == len(names)
    assert report.counts[ReplayOutcome.REPLAYED] == plan.to_replay > 50
    assert await stored(nc, settings.stream_name, plan.to_replay)
    letters.close()


async def test_a_view_says_what_it_cannot_draw_until_it_can(
    lab: Lab,
    nc: Client,
    settings: NatsEventBusSettings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = await fill_queue(nc, settings)
    letters = lab.dead_letters

    def fail(groups: pd.DataFrame) -> pd.DataFrame:
        raise LookupError("nothing is known of these groups")

    with monkeypatch.context() as patch:
        patch.setattr(_view, "shown_groups", fail)
        view = letters.view()
        await letters.aio.filter()
        for _ in range(2):
            view.flush()
            assert view.status.problem == "LookupError: nothing is known of these groups"
            await letters.aio.open(letters.page.index[0])  # another part is drawn
        assert len(view.entries.frame) == len(letters.page)
        assert f"{len(names):,} dead letters" in view.status.place
    letters.selected_ids = [letters.page.index[0]]
    view.flush()
    assert view.status.problem == ""
    assert len(view.groups.frame) > 10
    letters.close()
