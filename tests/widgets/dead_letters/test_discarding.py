"""Discarding and exporting entries."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from uuid import UUID, uuid4

import pandas as pd
import pytest
from nats.aio.client import Client
from varco_nats_widgets import Lab
from varco_nats_widgets.dead_letters._export import Exports

from tests.widgets.dead_letters.helpers import HOSTILE, entries, entry, push, shown
from varco_nats.config import NatsEventBusSettings
from varco_nats.errors import ReplayRefusedError


async def test_nothing_is_discarded_without_a_word_or_an_export(
    lab: Lab, settings: NatsEventBusSettings, tmp_path: Path
) -> None:
    await push(settings, *entries(6))
    letters = await shown(lab)
    aio = letters.aio
    with pytest.raises(ReplayRefusedError):
        await aio.discard(channel="payments")
    with pytest.raises(ReplayRefusedError):
        await aio.discard(channel="payments", word="yes")
    with pytest.raises(ReplayRefusedError, match="there is no"):
        await aio.discard(channel="payments", exported_to=tmp_path / "missing.csv")
    assert await aio.count() == 6
    exported = await aio.export(tmp_path / "dead.parquet", channel="payments")
    with pytest.raises(ReplayRefusedError):  # others were not exported
        await aio.discard("matching")
    await aio.export(tmp_path / "others.csv", channel="orders")
    with pytest.raises(ReplayRefusedError):  # no file has all of them
        await aio.discard("matching")
    report = await aio.discard(channel="payments", note="known")
    assert letters.report_table["outcome"].tolist() == ["discarded"] * 2
    assert report.state == "done"
    await aio.discard("matching", word="discard", confirm=4)
    assert await aio.count() == 0
    log = await aio.replays()
    assert log["kind"].tolist() == ["discard", "discard"]
    assert log["note"].tolist()[1] == "known"
    assert exported.rows == 2


def test_a_file_is_found_while_another_export_ends(tmp_path: Path) -> None:
    exports = Exports()
    for name in "ab":
        (tmp_path / name).touch()
    exports.add(tmp_path / "a", [UUID(int=1)])

    class Slow(UUID):
        """It takes so long to compare it that an export on another thread ends meanwhile."""

        __hash__ = UUID.__hash__

        def __eq__(self, other: object) -> bool:
            exports.add(tmp_path / "b", [UUID(int=2)])
            return super().__eq__(other)

    assert exports.file_of([Slow(int=1)]) == tmp_path / "a"


async def test_only_what_is_in_the_file_is_discarded_without_a_word(
    lab: Lab, settings: NatsEventBusSettings, tmp_path: Path
) -> None:
    await push(settings, *entries(9))
    aio = (await shown(lab)).aio
    ids = (await aio.frame()).index.tolist()
    path = tmp_path / "dead.csv"
    await aio.export(path, ids[:3])
    await aio.export(path, ids[3:6], overwrite=True)
    with pytest.raises(ReplayRefusedError):
        await aio.discard(ids[:3])
    with pytest.raises(ReplayRefusedError, match=r"3 of 3 dead letters are not in 'dead\.csv'"):
        await aio.discard(ids[:3], exported_to=path)
    whole = await asyncio.to_thread(path.read_bytes)
    for spoil in (lambda: path.write_bytes(whole[:-10]), path.unlink):
        await aio.export(path, ids[3:6], overwrite=True)
        await asyncio.to_thread(spoil)
        with pytest.raises(ReplayRefusedError, match="not as it was exported"):
            await aio.discard(ids[3:6])
        with pytest.raises(ReplayRefusedError):
            await aio.discard(ids[3:6], exported_to=path)
    assert await aio.count() == 9
    await aio.export(path, ids[3:6], overwrite=True)
    await aio.discard(ids[3:5])
    assert (await aio.frame()).index.tolist() == ids[:3] + ids[5:]


async def test_an_export_has_every_byte(
    lab: Lab, settings: NatsEventBusSettings, nc: Client, tmp_path: Path
) -> None:
    pushed = [
        entry(1, error_message=HOSTILE, handler_name="=1+1"),
        entry(2, event=None, payload=b"\xff\x00"),
        entry(4, event=None, payload=b'{"total": "text", "number": [1, {"a": 2}]}'),
    ]
    await push(settings, *pushed)
    js, stream = nc.jetstream(), f"{settings.stream_name}-dlq"
    await js.publish(f"{settings.subject_prefix}-dlq.{uuid4()}.orders", b"no dead letter")
    stored = [(await js.get_msg(stream, seq)).data for seq in range(1, 5)]
    aio = lab.dead_letters.aio
    for suffix in ("parquet", "ndjson", "csv"):
        done = await aio.export(tmp_path / f"dead.{suffix}", channel=["orders"])
        assert repr(done) == f"DeadLetterExport(dead.{suffix}: 4 entries)"
        assert done.bytes == done.path.stat().st_size
    frame = pd.read_parquet(tmp_path / "dead.parquet")
    assert frame["entry"].tolist() == stored
    assert frame["error_message"].tolist()[0] == HOSTILE
    assert frame["data.total"].tolist()[2] == '"text"'
    lines = (tmp_path / "dead.ndjson").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [decoded(row["entry"]) for row in rows] == stored
    assert rows[2]["data.number"] == [1, {"a": 2}]
    cells = pd.read_csv(tmp_path / "dead.csv", encoding="utf-8-sig")
    assert [decoded(cell) for cell in cells["entry"]] == stored
    assert cells["handler"].tolist()[0] == "'=1+1"

    with pytest.raises(FileExistsError, match="overwrite=True replaces it"):
        await aio.export(tmp_path / "dead.csv", channel="orders")
    with pytest.raises(ValueError, match=r"use \.parquet, \.ndjson, \.csv"):
        await aio.export(tmp_path / "dead.xlsx", channel="orders")
    with pytest.raises(FileNotFoundError, match="is no folder"):
        await aio.export(tmp_path / "no" / "dead.csv", channel="orders")
    assert (await aio.export(tmp_path / "dead.csv", channel="none", overwrite=True)).rows == 0
    await asyncio.to_thread((tmp_path / "folder.csv").mkdir)
    with pytest.raises(OSError, match="folder"):
        await aio.export(tmp_path / "folder.csv", channel="orders", overwrite=True)
    names = await asyncio.to_thread(os.listdir, tmp_path)
    assert sorted(names) == ["dead.csv", "dead.ndjson", "dead.parquet", "folder.csv"]


def decoded(text: str) -> bytes:
    import base64

    return base64.b64decode(text)
