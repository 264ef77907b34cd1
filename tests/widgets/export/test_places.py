"""Files and folders where an export goes, and what of others is there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from nats.aio.client import Client
from varco_nats_widgets.export import _job, load
from varco_nats_widgets.export._partial import Partial

from tests.waiting import until
from tests.widgets.export.helpers import ORDERS, PATHS, Shop, event, interrupted, names, orders


@pytest.mark.parametrize("name", PATHS)
async def test_what_exists_is_replaced_only_when_told(
    shop: Shop, tmp_path: Path, name: str
) -> None:
    await shop.fill(event(a=1))
    path = tmp_path / name
    await shop.export(path)
    with pytest.raises(FileExistsError, match="overwrite=True"):
        await shop.export(path)
    assert not (tmp_path / f"{name}.partial").exists()
    await shop.fill(event(b=2))
    await shop.export(path, overwrite=True)
    pd.testing.assert_frame_equal(load(path), await shop.frame())


async def test_a_folder_with_other_things_is_never_replaced(shop: Shop, tmp_path: Path) -> None:
    await shop.fill(event(a=1))
    path = tmp_path / "out"
    path.mkdir()
    await shop.export(path)  # an empty folder may be there
    (path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="holds files that no export wrote"):
        await shop.export(path, overwrite=True)
    assert (path / "notes.txt").exists()
    with pytest.raises(FileExistsError, match="there is a folder of this name"):
        await shop.export(path, format="csv", overwrite=True)
    (tmp_path / "x.csv.partial").mkdir()
    (tmp_path / "x.csv.partial" / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="which no export wrote"):
        await shop.export(tmp_path / "x.csv", overwrite=True)


STRANGERS = {
    "database.sqlite": b"mine",
    "rows of mine.csv": b"mine",
    "rows.csv": b"mine",
    "lock": b"mine",
    "state.json": b'{"state": "mine"}',
    "spill-000000.arrow": b"mine",
    "spill-notes.txt": b"mine",
    "part-000000.parquet": b"PAR1",
    "data": b"mine",
    "data/notes.txt": b"mine",
    "data/part-0.parquet": b"PAR1",
    "data/part-000000.parquet": b"mine",
    "data/stored_day=2026-01-01/notes.txt": b"mine",
    "data/mine/part-000000.parquet": b"PAR1",
    "data-replaced/notes.txt": b"mine",
    "mine/notes.txt": b"mine",
}
"""What others may have in a folder that is called as that of an unfinished export."""


def everything(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if not file.is_dir()
    }


@pytest.mark.parametrize("name", STRANGERS)
async def test_what_others_have_there_is_never_removed(
    shop: Shop, tmp_path: Path, name: str
) -> None:
    await shop.fill(*orders(3))
    folder = tmp_path / "out.csv.partial"
    (folder / name).parent.mkdir(parents=True)
    (folder / name).write_bytes(STRANGERS[name])
    for path in (tmp_path / "out.csv", tmp_path / "out"):
        for overwrite in (False, True):
            with pytest.raises(FileExistsError, match="which no export wrote; move it away"):
                await shop.export(path, overwrite=overwrite)
        left = {file: data for file, data in everything(folder).items() if file != "lock" or data}
        assert left == {name: STRANGERS[name]}
        assert names(tmp_path) == [folder.name]
        folder = folder.rename(tmp_path / "out.partial")


@pytest.mark.parametrize("name", ["out.csv", "out"])
@pytest.mark.parametrize("link", ["mine", "data", "rows.csv", "state.json", "data-replaced"])
async def test_links_there_are_not_followed(
    shop: Shop, tmp_path: Path, name: str, link: str
) -> None:
    await shop.fill(*orders(3))
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "part-000000.parquet").write_bytes(b"PAR1")
    folder = tmp_path / f"{name}.partial"
    folder.mkdir()
    (folder / link).symlink_to(theirs if "." not in link else theirs / "part-000000.parquet")
    with pytest.raises(FileExistsError, match="which no export wrote"):
        await shop.export(tmp_path / name, overwrite=True)
    assert everything(theirs) == {"part-000000.parquet": b"PAR1"}
    assert (folder / link).is_symlink()


@pytest.mark.parametrize("name", PATHS)
async def test_what_others_put_there_meanwhile_stays(
    shop: Shop, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_job, "BLOCK_ROWS", 5)
    await shop.fill(*orders(20))
    path, folder = tmp_path / name, tmp_path / f"{name}.partial"
    await shop.export(path)
    theirs = {"notes.txt": b"mine", "spill-old/notes.txt": b"mine"}

    def put(done: int, total: int) -> None:
        for file, data in theirs.items():
            (folder / file).parent.mkdir(exist_ok=True)
            (folder / file).write_bytes(data)
        (folder / "data-link").unlink(missing_ok=True)
        (folder / "data-link").symlink_to(tmp_path)

    await shop.export(path, overwrite=True, progress=put)
    pd.testing.assert_frame_equal(load(path), await shop.frame())
    assert names(folder) == ["data-link", "notes.txt", "spill-old"]
    assert {file: (folder / file).read_bytes() for file in theirs} == theirs


async def test_a_data_set_of_others_is_never_replaced(shop: Shop, tmp_path: Path) -> None:
    await shop.fill(*orders(3))
    path = tmp_path / "out"
    await shop.export(path)
    ours = everything(path)
    for name, put in {
        "part-000007.parquet": lambda file: pd.DataFrame({"a": [1]}).to_parquet(file),
        "part-000008.parquet": lambda file: file.write_bytes(b"mine"),
        "mine": lambda file: file.mkdir(),
        "link": lambda file: file.symlink_to(tmp_path),
        "stored_day=mine": lambda file: file.mkdir(),
    }.items():
        put(path / name)
        with pytest.raises(FileExistsError, match="the folder holds files that no export wrote"):
            await shop.export(path, overwrite=True)
        assert names(path) == sorted([*ours, name])
        (path / name).rename(tmp_path / f"kept-{name}")
    link = tmp_path / "link"
    link.symlink_to(path)
    with pytest.raises(FileExistsError, match="it is a link; give the folder"):
        await shop.export(link, overwrite=True)
    assert everything(path) == ours
    (tmp_path / "a.csv.info.json").write_text("mine")
    with pytest.raises(FileExistsError, match=r"a file 'a.csv.info.json' that no export wrote"):
        await shop.export(tmp_path / "a.csv", overwrite=True)
    assert (tmp_path / "a.csv.info.json").read_text() == "mine"


async def test_one_export_at_a_time(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("varco_nats_widgets.export._partial._LOCK_SECONDS", 0.1)
    await shop.fill(*orders(10))
    path = tmp_path / "out.csv"
    with Partial(path, is_folder=False).locked():
        with pytest.raises(BlockingIOError, match="another export is writing there"):
            await shop.export(path)
        assert (tmp_path / "out.csv.partial").exists()
    assert (await shop.export(path)).rows == 10


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("out.xlsx", {}, ValueError, r"no format has the suffix '.xlsx'; use .parquet"),
        ("out", {"format": "xml"}, ValueError, r"format='xml': must be one of 'parquet'"),
        ("out.csv", {"partition_by": "day"}, ValueError, "for a data set"),
        ("out", {"partition_by": "week"}, ValueError, "must be 'day', 'hour' or None"),
        ("out", {"rows_per_file": 0}, ValueError, "must be 1 or more"),
        ("no/folder/out.csv", {}, FileNotFoundError, "folder to export to does not exist"),
    ],
)
async def test_what_cannot_be_exported(
    shop: Shop,
    tmp_path: Path,
    name: str,
    options: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    await shop.fill(event())
    with pytest.raises(error, match=message):
        await shop.export(tmp_path / name, **options)
    assert names(tmp_path) == []


async def test_format_where_the_suffix_does_not_say_it(shop: Shop, tmp_path: Path) -> None:
    await shop.fill(*orders(3))
    for kind in ("parquet", "csv", "ndjson", "dataset"):
        path = tmp_path / f"out.{kind}.dat"
        assert (await shop.export(path, format=kind)).format == kind
        pd.testing.assert_frame_equal(load(path), await shop.frame())


async def test_what_is_no_export_is_not_loaded(shop: Shop, tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1]})
    frame.to_parquet(tmp_path / "a.parquet")
    frame.to_csv(tmp_path / "a.csv")
    frame.to_json(tmp_path / "a.ndjson", orient="records", lines=True)
    (tmp_path / "folder").mkdir()
    for name, message in {
        "a.parquet": "read it with pandas.read_parquet",
        "a.csv": "read it with pandas.read_csv",
        "a.ndjson": "not a line of an export",
        "folder": "was not exported by this package",
    }.items():
        with pytest.raises(ValueError, match=message):
            load(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "nothing.csv")


async def test_result_and_progress(shop: Shop, tmp_path: Path) -> None:
    await shop.fill(*orders(7))
    seen: list[tuple[int, int]] = []
    result = await shop.export(tmp_path / "out.csv", progress=lambda *step: seen.append(step))
    assert seen[-1] == (14, 14)
    assert seen == sorted(seen)
    assert repr(result) == "ExportResult(out.csv: 7 rows, complete)"
    assert (result.rows, result.files, result.resumed_from, result.more) == (7, 1, None, None)
    assert (result.first_seq, result.last_seq) == (1, 7)
    assert result.bytes == (tmp_path / "out.csv").stat().st_size
    assert result.completeness == {
        "expected": 7, "loaded": 7, "filtered": 0, "gaps": 0, "truncated_by": None,
    }  # fmt: skip
    cut = await shop.export(tmp_path / "cut.csv", replace(ORDERS, limit=3))
    assert repr(cut) == "ExportResult(cut.csv: 3 rows, cut by limit)"


async def test_nothing_is_left_on_the_server(shop: Shop, nc: Client, tmp_path: Path) -> None:
    await shop.fill(*orders(50))
    await shop.export(tmp_path / "out", replace(ORDERS, limit=3))
    await interrupted(shop, tmp_path / "b")

    async def no_consumers() -> bool:
        return not await nc.jetstream().consumers_info(shop.settings.stream_name)

    await until(no_consumers)
