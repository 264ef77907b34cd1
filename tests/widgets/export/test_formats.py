"""An export is loaded as the frame that it was made of, in each format."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from varco_nats_widgets.export import _job, load
from varco_nats_widgets.export._partial import info_path
from varco_nats_widgets.frames import MAX_FIELDS

from tests.widgets.export.helpers import (
    AWKWARD,
    ORDERS,
    PATHS,
    Shop,
    event,
    interrupted,
    orders,
    same,
)


@pytest.fixture(params=[1, 3, 20_000])
def block_rows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Blocks of few rows, so that each has other types than the whole."""
    rows = int(request.param)
    monkeypatch.setattr(_job, "BLOCK_ROWS", rows)
    return rows


@pytest.mark.parametrize("name", PATHS)
async def test_the_same_frame_comes_back(
    shop: Shop, tmp_path: Path, name: str, block_rows: int
) -> None:
    await shop.fill(*AWKWARD)
    frame = await same(shop, tmp_path / name)
    assert len(frame) == len(AWKWARD)
    assert frame["mixed"].dtype == object


@pytest.mark.parametrize("name", PATHS)
async def test_each_awkward_payload_alone(shop: Shop, tmp_path: Path, name: str) -> None:
    await shop.fill(*AWKWARD)
    for seq in range(1, len(AWKWARD) + 1):
        folder = tmp_path / str(seq)
        folder.mkdir()
        await same(shop, folder / name, replace(ORDERS, start_seq=seq, end_seq=seq))


@pytest.mark.parametrize("name", PATHS)
async def test_nothing_selected(shop: Shop, tmp_path: Path, name: str) -> None:
    await shop.fill(event())
    frame = await same(shop, tmp_path / name, replace(ORDERS, channels=("nobody",)))
    assert len(frame) == 0


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize(
    "changes",
    [
        {"limit": 7},
        {"newest_first": True},
        {"newest_first": True, "limit": 7},
        {"start_seq": 3, "end_seq": 11},
        {"event_types": frozenset({"Other"})},
        {"event_types": frozenset({"Other"}), "limit": 3, "newest_first": True},
        {"channels": ("orders", "payments.eu")},
    ],
)
async def test_every_query(
    shop: Shop,
    tmp_path: Path,
    name: str,
    changes: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_job, "BLOCK_ROWS", 5)
    await shop.fill(*orders(10))
    await shop.fill({"a": 1, "__event_type__": "Other"}, b"x", channel="payments.eu")
    await shop.fill(*({"b": n, "__event_type__": "Other"} for n in range(12)))
    frame = await same(shop, tmp_path / name, replace(ORDERS, **changes))
    assert len(frame) > 0


@pytest.mark.parametrize("name", PATHS)
async def test_fields_without_end(
    shop: Shop, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_job, "BLOCK_ROWS", 2)
    payloads = [event(n, **{f"f{n * 300 + m}": m for m in range(300)}) for n in range(5)]
    await shop.fill(*payloads, event(a=1))
    frame = await same(shop, tmp_path / name)
    assert len(frame.columns) == 5 + MAX_FIELDS + 1


@pytest.mark.parametrize("name", PATHS)
async def test_no_field_is_called_as_the_column_of_what_has_no_room(
    shop: Shop, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_job, "BLOCK_ROWS", 2)
    wide = {f"f{m}": m for m in range(MAX_FIELDS + 500)}
    twins = {"data.data.more": 3, "\ud800": 1, "\\ud800": 2}
    await shop.fill(event(a=1), event(**{"data.more": "own"}), event(**wide, data={"more": "late"}))
    await shop.fill(event(**wide, **twins), event(**{"data.more": 1}, **twins))
    result = await shop.export(tmp_path / name)
    said = "complete" if "ndjson" in name else "complete, fields beyond 1,000 in 'data.more'"
    assert repr(result) == f"ExportResult({name}: 5 rows, {said})"
    frame = await same(shop, tmp_path / name, overwrite=True)
    assert frame["data.data.more"].tolist() == [None, "own", "late", 3, 1]
    more = frame["data.more"].tolist()
    assert more[:2] == [None, None]
    for row in (2, 3):
        own = {column: frame[column].iloc[row] for column in wide if column in frame}
        assert own | {c: n for c, n in more[row].items() if c in wide} == wide
    assert more[3]["\\ud800"], more[3]["data.\\ud800"] == (1, 2)


@pytest.mark.parametrize("name", PATHS)
async def test_headers(shop: Shop, tmp_path: Path, name: str, block_rows: int) -> None:
    await shop.fill(event(a=1), **{"Trace": "x", "data": "{}"})
    await shop.fill(event(a=2, headers="own"), b"\xff")
    frame = await same(shop, tmp_path / name, replace(ORDERS, headers=True))
    assert frame["headers"].tolist() == [{"Trace": "x", "data": "{}"}, None, None]
    assert frame["data.headers"].dropna().tolist() == ["own"]


@pytest.mark.parametrize("name", PATHS)
async def test_some_headers(shop: Shop, tmp_path: Path, name: str, block_rows: int) -> None:
    await shop.fill(event(a=1), **{"Trace": "x", "Kind": "1"})
    await shop.fill(event(a=2, headers={"trace": "own"}), b"\xff")
    query = replace(ORDERS, headers=("trace", "none"))
    await interrupted(shop, tmp_path / name, query)
    frame = await same(shop, tmp_path / name, query)
    assert frame["headers.trace"].dropna().tolist() == ["x"]
    assert frame["headers.none"].isna().all()
    assert frame["data.headers.trace"].dropna().tolist() == ["own"]


@pytest.mark.parametrize("name", PATHS)
async def test_cloud_events(shop: Shop, tmp_path: Path, name: str, block_rows: int) -> None:
    envelope = {"specversion": "1.0", "type": "Placed", "id": "7", "source": "shop"}
    await shop.fill(
        {**envelope, "time": "2026-01-01T00:00:00Z", "data": {"total": 2.5}},
        {**envelope, "type": "Other"},
        event(total=1),
    )
    frame = await same(shop, tmp_path / name)
    assert frame["event_type"].tolist() == ["Placed", "Other", "OrderPlaced"]


@pytest.mark.parametrize("name", PATHS)
async def test_fields_become_times(shop: Shop, tmp_path: Path, name: str, block_rows: int) -> None:
    moments = [1_777_890_030, None, "2026-05-04T10:20:30.123456789Z", 1_777_890_030_500, "soon"]
    await shop.fill(*({"ts": ts, "user": {"born": "1066-10-14"}} for ts in moments))
    await shop.fill(event(ts=[1], user={"born": 0.5}), event(stays=1), b"no JSON")
    times = ("ts", "user.born", "stays", "absent", "timestamp", "stored_at")
    query = replace(ORDERS, times=times)
    await interrupted(shop, tmp_path / name, query)
    frame = await same(shop, tmp_path / name, query)
    types = frame[["ts", "user.born", "stays", "stored_at"]].dtypes.astype(str).tolist()
    assert types == [*["datetime64[us, UTC]"] * 3, "datetime64[ns, UTC]"]
    found = frame.attrs["times"]
    assert (found["ts"]["wrong"], found["ts"]["example"]) == (2, "'soon'")
    assert found["absent"] is None


async def test_other_programs_find_the_times(shop: Shop, tmp_path: Path) -> None:
    await shop.fill(*({"ts": 1_777_890_030 if n < 3 else "soon"} for n in range(5)))
    query = replace(ORDERS, times=("ts",))
    await shop.export(tmp_path / "set", query, rows_per_file=2)  # the last part has no time
    schemas = [pq.read_schema(part) for part in sorted((tmp_path / "set").iterdir())]
    assert [str(schema.field("ts").type) for schema in schemas] == ["timestamp[us, tz=UTC]"] * 3
    await shop.export(tmp_path / "o.csv", query)
    cells = pd.read_csv(tmp_path / "o.csv", parse_dates=["ts"])["ts"]
    assert cells.tolist() == [pd.Timestamp("2026-05-04T10:20:30Z")] * 3 + [pd.NaT] * 2
    await shop.export(tmp_path / "o.ndjson", query)
    lines = [json.loads(line) for line in (tmp_path / "o.ndjson").read_text().splitlines()]
    assert [line.get("times") for line in lines[1:4]] == [
        *[{"ts": "2026-05-04T10:20:30.000000Z"}] * 2,
        None,
    ]
    assert [line["data"]["ts"] for line in lines[2:4]] == [1_777_890_030, "soon"]
    info_path(tmp_path / "o.ndjson").unlink()
    assert load(tmp_path / "o.ndjson")["ts"].tolist() == cells.tolist()
