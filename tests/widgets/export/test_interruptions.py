"""Exports that are interrupted, killed or run out of space, and those that go on."""

from __future__ import annotations

import asyncio
import errno
import random
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from nats.aio.client import Client
from varco_nats_widgets.export import _job, load
from varco_nats_widgets.export._export import _in_thread

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
from varco_nats.history import History
from varco_nats.server import LocalNats


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


CHILD = """
import asyncio, json, sys
from varco_nats.config import NatsEventBusSettings
from varco_nats.history import History
from varco_nats_widgets.export import _job
from varco_nats_widgets.export._partial import Partial
from varco_nats_widgets.frames._query import FrameQuery
from varco_nats_widgets.export import export_channels
{setup}
_job.BLOCK_ROWS = 1000
settings = NatsEventBusSettings(**json.loads(sys.argv[1]))
query = FrameQuery(("orders",), None, None, None, None, None, False, None)
async def main():
    async with History(settings) as history:
        await export_channels(
            history, settings.channel_from_subject, query, sys.argv[2],
            progress=lambda done, total: print(done, flush=True),
        )
asyncio.run(main())
"""


def child(shop: Shop, path: Path, setup: str = "") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            sys.executable,
            "-c",
            CHILD.format(setup=setup),
            shop.settings.model_dump_json(),
            str(path),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("part", [0.3, 0.8])
async def test_killed_and_resumed(shop: Shop, tmp_path: Path, name: str, part: float) -> None:
    await shop.fill(*orders(12_000))
    path = tmp_path / name
    with child(shop, path) as process:
        assert process.stdout is not None
        done = 0
        while done < part * 12_000 * (1 if "ndjson" in name else 2):
            line = await asyncio.to_thread(process.stdout.readline)
            assert line, process.stderr and process.stderr.read()
            done = int(line)
        process.kill()
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not path.exists()
    assert (tmp_path / f"{name}.partial" / "state.json").exists()
    with pytest.raises(ValueError, match="not finished"):
        load(tmp_path / f"{name}.partial")
    result = await shop.export(path)
    assert result.rows == 12_000
    assert result.resumed_from is not None
    assert result.resumed_from >= (3000 if part < 0.5 else 8000)
    pd.testing.assert_frame_equal(load(path), await shop.frame())
    assert not (tmp_path / f"{name}.partial").exists()


@pytest.mark.parametrize("name", ["out.parquet", "out.ndjson", "out.csv"])
async def test_memory_is_bounded_by_bytes_too(shop: Shop, tmp_path: Path, name: str) -> None:
    """150 MB in large events, which are fewer than the rows of one block."""
    note = "".join(random.Random(7).choices("abcdefghij", k=30_000))
    for first in range(0, 5000, 1000):
        await shop.fill(*(event(n, note=note, n=n) for n in range(first, first + 1000)))
    measure = (
        "import atexit, pathlib, pyarrow.parquet, re\n"
        "def peak(): return int(re.search(r'VmHWM:\\s+(\\d+)',"
        " pathlib.Path('/proc/self/status').read_text())[1]) // 1024\n"
        "before = peak()\n"
        "atexit.register(lambda: print('MB', peak() - before))"
    )
    with child(shop, tmp_path / name, measure) as process:
        output, errors = process.communicate()
    assert process.returncode == 0, errors
    assert len(load(tmp_path / name)) == 5000
    megabytes = int(output.split()[-1])
    assert 0 < megabytes < 200


async def test_a_full_disk_is_said_and_survived(shop: Shop, tmp_path: Path) -> None:
    await shop.fill(*orders(20_000))
    path = tmp_path / "out.ndjson"
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000,) * 2)"
    with child(shop, path, limited) as process:
        _, errors = process.communicate()
    assert process.returncode == 1
    last = errors.strip().splitlines()[-1]
    assert f"OSError: [Errno {errno.EFBIG}] File too large; " in last
    assert "rows are kept in" in last
    assert "repeat the export to continue it" in last
    result = await shop.export(path)
    assert result.resumed_from
    pd.testing.assert_frame_equal(load(path), await shop.frame())


async def test_cancelled_and_resumed(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_job, "BLOCK_ROWS", 500)
    await shop.fill(*orders(12_000))
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
        pd.testing.assert_frame_equal(load(path), await shop.frame())


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
    shop: Shop, server: LocalNats, tmp_path: Path
) -> None:
    await shop.fill(*orders(12_000))
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
    pd.testing.assert_frame_equal(load(tmp_path / "out.parquet"), await shop.frame())


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
