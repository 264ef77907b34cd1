"""Putting back what was discarded, from its export."""

from __future__ import annotations

import asyncio
import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from nats.aio.client import Client
from varco_nats_widgets import Lab
from varco_nats_widgets.dead_letters import ConfirmationError
from varco_nats_widgets.dead_letters._view.words import restored_words

from tests.conftest import MakeSettings
from tests.core.replay.test_restoring import stored_entries
from tests.waiting import until
from tests.widgets.dead_letters.helpers import HOSTILE, entries, entry, push, shown
from varco_nats.config import NatsEventBusSettings
from varco_nats.errors import ReadOnlyError, ReplayRefusedError

SUFFIXES = ("parquet", "ndjson", "csv")


@pytest.mark.parametrize("suffix", SUFFIXES)
async def test_every_format_brings_back_every_byte(
    lab: Lab, settings: NatsEventBusSettings, nc: Client, tmp_path: Path, suffix: str
) -> None:
    await push(
        settings,
        entry(1, error_message=HOSTILE, handler_name="=1+1", channel="=cmd()"),
        entry(2, event=None, payload=b"\xff\x00" * 200_000),  # longer than a cell of csv may be
        entry(4, tenant_id="\ud800", error_message="line\nbreak,\r\n;\t"),
    )
    js, root = nc.jetstream(), f"{settings.subject_prefix}-dlq"
    await js.publish(f"{root}.{uuid4()}.orders", b"no dead letter")
    before = await stored_entries(settings)
    letters = await shown(lab)
    path = tmp_path / f"dead.{suffix}"
    await letters.aio.export(path, "matching")
    assert letters.undo_file == ""
    await letters.aio.discard("matching")
    assert (letters.undo_file, letters.entries) == (str(path), 0)

    report = await letters.aio.restore(path, note="a mistake")

    assert await stored_entries(settings) == before
    assert letters.report is report
    assert letters.report_table["outcome"].tolist() == ["restored"] * 4
    assert (letters.undo_file, letters.entries) == ("", 4)
    assert letters.page["handler"].tolist()[-1] == "=1+1"
    again = await letters.aio.restore(path)
    assert restored_words(again) == (
        "nothing put back into the queue; 4 skipped: in the queue already"
    )
    log = await letters.aio.replays()
    assert log["kind"].tolist() == ["restore", "restore", "discard"]
    assert log["state"].tolist() == ["nothing done", "done", "done"]
    assert log["outcome"].tolist() == [{"skipped": 4}, {"restored": 4}, {"discarded": 4}]
    assert log["restored_from"].tolist()[:2] == [str(path)] * 2
    assert log["note"].tolist()[1] == "a mistake"
    assert (await asyncio.to_thread(lab.replays)).equals(log)


async def test_some_of_a_file_come_back(
    lab: Lab, settings: NatsEventBusSettings, tmp_path: Path
) -> None:
    await push(settings, *entries(6))
    aio = (await shown(lab)).aio
    ids, path = (await aio.frame()).index.tolist(), tmp_path / "dead.csv"
    await aio.export(path, ids[:4])
    await aio.discard(ids[:4])
    assert (await aio.restore(path, ids[1:3])).counts == {"restored": 2}
    assert sorted((await aio.frame()).index) == sorted(ids[1:3] + ids[4:])
    with pytest.raises(ReplayRefusedError, match=r"1 of 2 dead letters are not in .*dead\.csv"):
        await aio.restore(path, [ids[0], ids[5]])
    assert (await aio.restore(path)).counts == {"restored": 2, "skipped": 2}


async def test_many_are_put_back_only_with_their_number(
    lab: Lab, settings: NatsEventBusSettings, tmp_path: Path
) -> None:
    await push(settings, *entries(101))
    aio, path = (await shown(lab)).aio, tmp_path / "dead.parquet"
    await aio.export(path, "matching")
    await aio.discard("matching", confirm=101)
    for given in (None, 100):
        with pytest.raises(ConfirmationError, match="this would restore 101 dead letters"):
            await aio.restore(path, confirm=given)
    assert await aio.count() == 0
    assert (await aio.restore(path, confirm=101)).counts == {"restored": 101}


def rewritten(path: Path, change: Callable[[list[dict[str, Any]]], object]) -> None:
    """Change the rows of an export, as another program would write them."""
    if path.suffix == ".parquet":
        rows = pq.read_table(path).to_pylist()
        change(rows)
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".ndjson":
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        change(rows)
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    else:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
        change(rows)
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)


def spoiled(path: Path, name: str, value: str) -> None:
    """Change one value of the second row."""

    def change(rows: list[dict[str, Any]]) -> None:
        rows[1][name] = value.encode() if isinstance(rows[1][name], bytes) else value

    rewritten(path, change)


@pytest.mark.parametrize("suffix", SUFFIXES)
async def test_a_file_that_is_not_as_it_was_is_refused_whole(
    lab: Lab, settings: NatsEventBusSettings, tmp_path: Path, suffix: str
) -> None:
    await push(settings, *entries(3))
    aio, path = (await shown(lab)).aio, tmp_path / f"dead.{suffix}"
    await aio.export(path, "matching")
    whole = await asyncio.to_thread(path.read_bytes)
    await aio.discard("matching")
    second = 3 if suffix == "csv" else 2  # as a spreadsheet counts
    foreign = f"{settings.subject_prefix}-dlq.{uuid4()}.orders"
    cases: list[tuple[Callable[[], object], str]] = [
        (lambda: spoiled(path, "entry", "e30="), f"row {second}: its entry was changed since"),
        (lambda: spoiled(path, "entry_id", "7"), f"row {second}: its entry_id is '7', which is"),
        (lambda: spoiled(path, "subject", ""), f"row {second}: it has no subject"),
        (lambda: spoiled(path, "subject", foreign), "which is the subject of another one"),
        (lambda: spoiled(path, "subject", "varco.orders"), "is of another queue"),
        (lambda: rewritten(path, lambda rows: rows.pop()), "1 of the 3 dead letters that were exp"),
        (lambda: path.write_bytes(b""), "cannot be read|has no column|not in it any more"),
        (lambda: path.write_bytes(whole[:-20]), "cannot be read|cut off|changed|not in it any"),
        (path.unlink, "there is no file"),
    ]
    if suffix != "parquet":
        cases.append((lambda: spoiled(path, "entry", "e3"), f"row {second}: its entry is not base"))
    for spoil, message in cases:
        await asyncio.to_thread(path.write_bytes, whole)
        await asyncio.to_thread(spoil)
        with pytest.raises(ReplayRefusedError, match=message):
            await aio.restore(path)
    assert await aio.count() == 0
    assert len(await aio.replays()) == 1
    await asyncio.to_thread(path.write_bytes, whole)
    assert (await aio.restore(path)).counts == {"restored": 3}
    with pytest.raises(ValueError, match=r"no export has the suffix '\.xlsx'"):
        await aio.restore(tmp_path / "dead.xlsx")


async def test_a_file_of_other_columns_or_another_queue_or_with_a_mask_is_refused(
    lab: Lab, settings: NatsEventBusSettings, make_settings: MakeSettings, tmp_path: Path
) -> None:
    await push(settings, *entries(2))
    aio = (await shown(lab)).aio
    for suffix in SUFFIXES:
        message = "its entry_id is None" if suffix == "ndjson" else "has no column 'entry_id'"
        path = tmp_path / f"other.{suffix}"
        frame = pd.DataFrame({"subject": ["a"]})
        if suffix == "parquet":
            frame.to_parquet(path)
        elif suffix == "csv":
            frame.to_csv(path)
        else:
            frame.to_json(path, orient="records", lines=True)
        with pytest.raises(ReplayRefusedError, match=message):
            await aio.restore(path)
    with Lab(make_settings("other")) as elsewhere:
        await aio.export(tmp_path / "dead.csv", "matching")
        with pytest.raises(ReplayRefusedError, match="is of another queue"):
            await elsewhere.dead_letters.aio.restore(tmp_path / "dead.csv")
    with Lab(settings, mask="customer") as masked:
        for suffix in SUFFIXES:
            path = tmp_path / f"masked.{suffix}"
            await masked.dead_letters.aio.export(path, channel="orders")
            with pytest.raises(ReplayRefusedError, match="it was exported with a mask"):
                await aio.restore(path)
    read_only = settings.model_copy(update={"read_only": True})
    with Lab(read_only) as looking, pytest.raises(ReadOnlyError):
        looking.dead_letters.restore(tmp_path / "dead.csv")


async def test_a_discard_is_undone_by_hand(
    lab: Lab, settings: NatsEventBusSettings, tmp_path: Path
) -> None:
    await push(settings, *entries(9))
    before = await stored_entries(settings)
    letters = await shown(lab)
    view = letters.view()
    view.flush()
    keep = view.keep
    assert keep.undo.layout.display == "none"
    keep.restore.click()
    await until(lambda: "name the file of an export" in keep.message.value)
    path = tmp_path / "dead.csv"
    await letters.aio.export(path, "matching")  # more than what is discarded
    letters.selected_ids = letters.page.index.tolist()[:2]
    view.flush()
    assert keep.which.entries == "selected"
    keep.discard.click()
    await until(lambda: "2 discarded" in keep.message.value)
    await until(lambda: keep.undo.layout.display is None)
    assert keep.source.value == str(path)
    assert keep.undo.tooltip == "Put the 2 entries back that were discarded"
    await letters.aio.discard(letters.page.index.tolist()[:1], word="discard")
    await until(lambda: keep.undo.layout.display == "none")  # there is no export of these

    keep.restore.click()
    await until(lambda: "3 entries put back" in keep.message.value)
    assert "6 skipped: in the queue already" in keep.message.value
    assert await stored_entries(settings) == before

    letters.selected_ids = letters.page.index.tolist()[:2]
    view.flush()
    keep.discard.click()
    await until(lambda: letters.undo_file and not letters.running)
    view.flush()
    keep.undo.click()
    await until(lambda: "2 entries put back into the queue" in keep.message.value)
    assert await stored_entries(settings) == before
    view.flush()
    assert keep.undo.layout.display == "none"
    assert (await letters.aio.replays())["note"].tolist()[0] == "undoes a discard"
