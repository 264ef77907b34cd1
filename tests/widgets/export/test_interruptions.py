"""Exports that are interrupted, killed or run out of space, and those that go on."""

from __future__ import annotations

import asyncio
import errno
import random
import signal
import threading
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import nats
import pandas as pd
import pytest
from nats.aio.client import Client
from varco_nats_widgets import Lab
from varco_nats_widgets.export import _job, load
from varco_nats_widgets.export._export import _in_thread

from tests.processes import export_process
from tests.proxy import Proxy
from tests.widgets.export.helpers import (
    AWKWARD,
    ORDERS,
    PATHS,
    Shop,
    StopError,
    event,
    interrupted,
    orders,
)
from varco_nats.config import NatsEventBusSettings
from varco_nats.history import History
from varco_nats.server import LocalNats

MANY, LARGE = 12_000, 5000


@contextmanager
def stream_of(
    server: LocalNats, name: str, *parts: Iterable[object]
) -> Iterator[NatsEventBusSettings]:
    """A stream that several tests read, with messages that are stored a part at a time."""
    settings = NatsEventBusSettings(servers=server.url, stream_name=name, subject_prefix=name)

    async def fill() -> None:
        nc = await nats.connect(server.url)
        await nc.jetstream().add_stream(name=name, subjects=[f"{name}.>"])
        async with History(settings) as history:
            for part in parts:
                await Shop(settings, nc, history).fill(*part)
        await nc.close()

    async def remove() -> None:
        nc = await nats.connect(server.url)
        await nc.jetstream().delete_stream(name)
        await nc.close()

    asyncio.run(fill())
    yield settings
    asyncio.run(remove())


@pytest.fixture(scope="module")
def many(server: LocalNats) -> Iterator[NatsEventBusSettings]:
    with stream_of(server, "export-many", orders(MANY)) as settings:
        yield settings


@pytest.fixture
async def shop_of_many(many: NatsEventBusSettings, nc: Client) -> AsyncIterator[Shop]:
    async with History(many) as history:
        yield Shop(many, nc, history)


@pytest.fixture(scope="module")
def frame_of_many(many: NatsEventBusSettings) -> pd.DataFrame:
    with Lab(many) as lab:
        return lab.frame("orders")


@pytest.fixture(scope="module")
def large(server: LocalNats) -> Iterator[NatsEventBusSettings]:
    note = "".join(random.Random(7).choices("abcdefghij", k=30_000))
    parts = (
        (event(n, note=note, n=n) for n in range(first, first + 1000))
        for first in range(0, LARGE, 1000)
    )
    with stream_of(server, "export-large", *parts) as settings:
        yield settings


def parts(path: Path) -> list[str]:
    return sorted(str(file.relative_to(path)) for file in path.rglob("*.parquet"))


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("newest_first", [False, True])
async def test_interrupted_anywhere(
    shop: Shop,
    tmp_path: Path,
    name: str,
    newest_first: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Stopped after each step, again and again, it still ends with the same."""
    monkeypatch.setattr(_job, "BLOCK_ROWS", 10)
    query = replace(ORDERS, newest_first=newest_first, limit=93)
    options: dict[str, Any] = {} if "." in name else {"rows_per_file": 17}
    await shop.fill(*orders(40), *AWKWARD, *orders(30))
    whole = tmp_path / f"whole-{name}"
    await shop.export(whole, query, **options)
    path = tmp_path / name
    stops = 0
    chance = random.Random(7)

    def step() -> None:
        if chance.random() < 0.2:
            raise StopError

    for where in (
        "ExportJob._keep_block",
        "ExportJob.write_some",
        "ExportJob._complete",
        "Partial.save",
        "Partial.clear",
    ):
        owner, method = where.split(".")
        before = getattr(getattr(_job, owner), method)

        def stopping(self: Any, *args: Any, before: Any = before) -> Any:
            if before.__name__ == "save":  # the data is written, and not said to be
                step()
            result = before(self, *args)
            step()
            return result

        monkeypatch.setattr(getattr(_job, owner), method, stopping)
    while True:
        try:
            await shop.export(path, query, **options)
            break
        except StopError:
            stops += 1
            if path.exists():  # in its place, only the rest was not cleared away
                break
            assert (tmp_path / f"{name}.partial").is_dir()
    assert stops > 3
    pd.testing.assert_frame_equal(load(path), load(whole))
    assert load(path).attrs == load(whole).attrs
    if path.is_file():
        assert path.read_bytes() == whole.read_bytes()
    else:
        assert parts(path) == parts(whole)
        assert all((path / p).read_bytes() == (whole / p).read_bytes() for p in parts(path))


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("part", [0.3, 0.8])
async def test_killed_and_resumed(
    shop_of_many: Shop, frame_of_many: pd.DataFrame, tmp_path: Path, name: str, part: float
) -> None:
    shop, path = shop_of_many, tmp_path / name
    async with export_process(shop.settings, path) as child:
        wanted = part * MANY * (1 if "ndjson" in name else 2)
        while not child.lines or int(child.lines[-1]) < wanted:
            await child.next_line()
        await child.kill()
        assert await child.ended() == -signal.SIGKILL
    assert not path.exists()
    assert (tmp_path / f"{name}.partial" / "state.json").exists()
    with pytest.raises(ValueError, match="not finished"):
        load(tmp_path / f"{name}.partial")
    result = await shop.export(path)
    assert result.rows == MANY
    assert result.resumed_from is not None
    assert result.resumed_from >= (3000 if part < 0.5 else 8000)
    pd.testing.assert_frame_equal(load(path), frame_of_many)
    assert not (tmp_path / f"{name}.partial").exists()


@pytest.mark.parametrize("name", ["out.parquet", "out.ndjson", "out.csv"])
async def test_memory_is_bounded_by_bytes_too(
    large: NatsEventBusSettings, tmp_path: Path, name: str
) -> None:
    """150 MB in large events, which are fewer than the rows of one block."""
    async with export_process(large, tmp_path / name, measure=True) as child:
        assert await child.ended(60) == 0
    assert len(load(tmp_path / name)) == LARGE
    assert 0 < int(child.lines[-1].removeprefix("MB ")) < 300  # it is 80 to 210


async def test_a_full_disk_is_said_and_survived(
    shop_of_many: Shop, frame_of_many: pd.DataFrame, tmp_path: Path
) -> None:
    shop, path = shop_of_many, tmp_path / "out.ndjson"
    async with export_process(shop.settings, path, limit=1_000_000) as child:
        assert await child.ended() == 1
    last = child.lines[-1]
    assert f"OSError: [Errno {errno.EFBIG}] File too large; " in last
    assert "rows are kept in" in last
    assert "repeat the export to continue it" in last
    result = await shop.export(path)
    assert result.resumed_from
    pd.testing.assert_frame_equal(load(path), frame_of_many)


async def test_cancelled_and_resumed(
    shop_of_many: Shop, frame_of_many: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_job, "BLOCK_ROWS", 500)
    shop = shop_of_many
    for name in PATHS:
        path = tmp_path / name
        started = asyncio.Event()
        task = asyncio.create_task(
            shop.export(path, progress=lambda done, total, seen=started: seen.set())
        )
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not path.exists()
        result = await shop.export(path)
        assert result.resumed_from
        pd.testing.assert_frame_equal(load(path), frame_of_many)


async def test_when_it_is_cancelled_its_files_are_at_rest() -> None:
    started, done = threading.Event(), []

    def work() -> None:
        started.set()
        time.sleep(0.1)
        done.append(True)

    task = asyncio.create_task(_in_thread(work))
    await asyncio.to_thread(started.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done


async def test_a_cut_connection_changes_nothing(
    shop_of_many: Shop, frame_of_many: pd.DataFrame, server: LocalNats, tmp_path: Path
) -> None:
    shop = shop_of_many
    async with Proxy(int(server.url.rpartition(":")[2])) as proxy:
        settings = shop.settings.model_copy(update={"servers": proxy.url_for(server.url)})
        cuts = 0

        def cut(done: int, total: int) -> None:
            nonlocal cuts
            if cuts < 2 and done > cuts * 8_000:
                cuts += 1
                proxy.disconnect()

        async with History(settings) as history:
            cutting = Shop(settings, shop._nc, history)
            result = await cutting.export(tmp_path / "out.parquet", progress=cut)
    assert cuts == 2
    assert result.completeness["gaps"] == 0
    pd.testing.assert_frame_equal(load(tmp_path / "out.parquet"), frame_of_many)


async def test_another_export_does_not_continue_it(shop: Shop, tmp_path: Path) -> None:
    await shop.fill(*orders(50))
    await shop.fill(*orders(5), channel="payments")
    path = tmp_path / "out.parquet"
    since = pd.Timestamp.now("UTC").to_pydatetime() - pd.Timedelta("1h")
    await interrupted(shop, path, replace(ORDERS, since=since))
    for other in (
        replace(ORDERS, since=since, channels=("payments",)),
        replace(ORDERS, since=since, limit=3),
        replace(ORDERS, since=since - pd.Timedelta("1h")),
        ORDERS,
    ):
        with pytest.raises(FileExistsError, match="holds an unfinished export with") as raised:
            await shop.export(path, other)
        assert "overwrite=True" in str(raised.value)
    with pytest.raises(FileExistsError, match=r"headers=False, not True"):
        await shop.export(path, replace(ORDERS, since=since), headers=True)
    later = since + pd.Timedelta("10ms")  # last="1h", asked again a moment later
    assert (await shop.export(path, replace(ORDERS, since=later))).resumed_from == 0
    await interrupted(shop, tmp_path / "b.csv")
    query = replace(ORDERS, channels=("payments",))
    result = await shop.export(tmp_path / "b.csv", query, overwrite=True)
    assert (result.rows, result.resumed_from) == (5, None)


async def test_a_stream_made_anew_does_not_continue_it(
    shop: Shop, nc: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_job, "BLOCK_ROWS", 10)
    await shop.fill(*orders(30))
    path = tmp_path / "out.ndjson"
    await interrupted(shop, path)
    await nc.jetstream().delete_stream(shop.settings.stream_name)
    await nc.jetstream().add_stream(
        name=shop.settings.stream_name, subjects=[f"{shop.settings.subject_prefix}.>"]
    )
    await shop.fill(*orders(5))
    with pytest.raises(FileExistsError, match="deleted or created again"):
        await shop.export(path)
    await shop.fill(*orders(40))
    with pytest.raises(FileExistsError, match="deleted or created again"):
        await shop.export(path)


async def test_what_is_stored_later_is_not_exported(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_job, "BLOCK_ROWS", 10)
    await shop.fill(*orders(30))
    wanted = await shop.frame()
    await interrupted(shop, tmp_path / "out.csv")
    await shop.fill(*orders(30))
    await shop.export(tmp_path / "out.csv")
    pd.testing.assert_frame_equal(load(tmp_path / "out.csv"), wanted)


async def test_what_was_deleted_meanwhile_is_a_gap(
    shop: Shop, nc: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_job, "BLOCK_ROWS", 10)
    await shop.fill(*orders(30))
    query = replace(ORDERS, newest_first=True)
    await interrupted(shop, tmp_path / "out", query)
    for seq in (1, 2, 3):
        await nc.jetstream().delete_msg(shop.settings.stream_name, seq)
    done = await shop.export(tmp_path / "out", query)
    assert done.resumed_from == 30
    result = await shop.export(tmp_path / "out.csv")
    assert result.completeness["gaps"] == 0
    assert result.rows == 27
