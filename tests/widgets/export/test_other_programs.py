"""What other programs, among them spreadsheets, see in an export."""

from __future__ import annotations

import csv
import io
import json
import random
import time
from pathlib import Path

import duckdb
import pandas as pd
import polars
import pyarrow.parquet as pq
import pytest
from varco_nats_widgets.export import _job, _parquet, _schema, load
from varco_nats_widgets.frames import FrameBuilder

from tests.widgets.export.helpers import AWKWARD, Shop, event, orders, same
from varco_nats._commands.rows import CsvRows, JsonRows, fields_of
from varco_nats._formulas import neutral, original
from varco_nats.history import Batch, StoredMessage

# What other programs see


async def test_parquet_types(shop: Shop, tmp_path: Path) -> None:
    await shop.fill(
        event(number=1, half=0.5, yes=True, tags=["a"], mixed=1, items=[{"sku": "a"}]),
        event(half=1, mixed="b", big=2**64),
        b"\xff",
    )
    await shop.export(tmp_path / "out.parquet")
    with pq.ParquetFile(tmp_path / "out.parquet") as file:
        schema = {field.name: str(field.type) for field in file.schema_arrow}
        table = file.read()
        compression = file.metadata.row_group(0).column(0).compression
    assert compression == "ZSTD"
    assert schema == {
        "seq": "int64",
        "stored_at": "timestamp[us, tz=UTC]",
        "channel": "string",
        "event_type": "string",
        "event_id": "string",
        "timestamp": "timestamp[us, tz=UTC]",
        "number": "int64",
        "half": "double",
        "yes": "bool",
        "tags": "list<element: string>",
        "mixed": "string",
        "items": "string",
        "big": "string",
        "decode_error": "string",
        "raw": "binary",
        "stored_at_ns": "int32",
    }
    assert table["mixed"].to_pylist() == ["1", '"b"', None]
    assert table["items"].to_pylist() == ['[{"sku":"a"}]', None, None]
    assert table["big"].to_pylist() == [None, str(2**64), None]
    assert table["half"].to_pylist() == [0.5, 1.0, None]


async def test_a_data_set_has_one_schema(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_job, "BLOCK_ROWS", 4)
    await shop.fill(*orders(10), *({"order_id": f"x{n}", "late": [n]} for n in range(9)))
    result = await shop.export(tmp_path / "out", rows_per_file=7)
    files = sorted((tmp_path / "out").iterdir())
    assert [file.name for file in files] == [f"part-{n:06d}.parquet" for n in range(3)]
    assert result.files == 3
    assert result.bytes == sum(file.stat().st_size for file in files)
    assert [pq.read_metadata(file).num_rows for file in files] == [7, 7, 5]
    assert len({str(pq.read_schema(file)) for file in files}) == 1
    table = pq.read_table(tmp_path / "out")
    assert table["order_id"].to_pylist()[-1] == '"x8"'
    pd.testing.assert_frame_equal(load(tmp_path / "out"), await shop.frame())


@pytest.mark.parametrize("program", ["duckdb", "polars"])
async def test_a_data_set_is_read_by(shop: Shop, tmp_path: Path, program: str) -> None:
    awkward = event(8, order_id=8, orderId=1, OrderId=2, Seq=3, Timestamp=4, Stored_Day=5)
    await shop.fill(*orders(8), awkward, b"\xff")
    await shop.export(tmp_path / "out", partition_by="day", rows_per_file=3)
    files = f"{tmp_path}/out/**/*.parquet"
    if program == "duckdb":
        with duckdb.connect() as connection:
            found = connection.sql(f"SELECT * FROM '{files}'").to_arrow_table()
    else:
        found = polars.scan_parquet(files, hive_partitioning=True).collect().to_arrow()
    assert len({name.casefold() for name in found.column_names}) == len(found.column_names)
    rows = sorted(found.to_pylist(), key=lambda row: row["seq"])
    frame = await shop.frame()
    assert [row["seq"] for row in rows] == frame.index.tolist()
    assert [row["customer"] for row in rows[:8]] == frame["customer"].tolist()[:8]
    assert [row["stored_at"] for row in rows] == [
        time.floor("us").to_pydatetime() for time in frame["stored_at"]
    ]
    assert [rows[8][name] for name in ("orderId", "OrderId_", "Seq_", "Stored_Day")] == [1, 2, 3, 5]
    days = {str(row["stored_day_"]) for row in rows}
    assert days == {f"{time:%Y-%m-%d}" for time in frame["stored_at"]}


def test_partitions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the time stored, also where that goes back, and with few files open at once."""
    monkeypatch.setattr(_parquet, "_OPEN_FILES", 2)
    hour = 3600 * 10**9
    start = pd.Timestamp("2026-01-01T22:30Z").value
    times = [start + 7, start + hour, start + 2 * hour, start + hour, start + 30 * hour]
    messages = [
        StoredMessage(n, "orders", when, json.dumps({"n": n}).encode(), None)
        for n, when in enumerate(times, 1)
    ]
    wanted = FrameBuilder(str)
    wanted.add(messages)
    for by, folders in {
        "day": ["2026-01-01", "2026-01-02", "2026-01-03"],
        "hour": ["2026-01-01T22", "2026-01-01T23", "2026-01-02T00", "2026-01-03T04"],
    }.items():
        types = _schema.Types()
        tables = []
        for message in messages:
            block = _schema.Block(str)
            block.take(Batch.of([message]))
            tables.append(types.add(block))
        columns = types.columns(len(messages))
        path = tmp_path / by
        facts = {"newest_first": False}
        sink = _parquet.ParquetSink(path, columns, facts, rows_per_file=100, partition_by=by)
        for table in tables:
            sink.write(_schema.fit(table, columns))
        sink.finish()
        assert sorted(file.name for file in path.iterdir()) == [f"stored_{by}={d}" for d in folders]
        pd.testing.assert_frame_equal(load(path), wanted.build())
        assert pq.read_table(path)[f"stored_{by}"].to_pylist()[0] == folders[0]


async def test_ndjson_lines(shop: Shop, tmp_path: Path) -> None:
    await shop.fill(*AWKWARD)
    await shop.export(tmp_path / "out.ndjson")

    def strict(constant: str) -> None:
        raise AssertionError(constant)

    lines = (tmp_path / "out.ndjson").read_bytes().split(b"\n")[:-1]
    parsed = [json.loads(line, parse_constant=strict) for line in lines]
    assert len(parsed) == len(AWKWARD)
    assert list(parsed[0]) == ["seq", "stored_at", "channel", "event_type", "data"]
    assert parsed[0]["data"] == AWKWARD[0]
    assert parsed[0]["event_type"] == "OrderPlaced"
    assert parsed[0]["stored_at"].endswith("Z")
    texts = [payload["text"] for payload in parsed if "text" in payload]
    assert {"", "hello", "NaN"} < set(texts)
    values = [line["data"] for line in parsed if "data" in line]
    assert [value for value in ([1, 2], 7, "text") if value not in values] == []
    assert [payload["base64"] for payload in parsed if "base64" in payload][:2] == ["//4A", "+A=="]


async def test_ndjson_that_was_written_anew_is_read(shop: Shop, tmp_path: Path) -> None:
    await shop.fill(*orders(3), b"\xff", b"text")
    path = tmp_path / "out.ndjson"
    await shop.export(path)
    lines = path.read_text().splitlines()
    path.write_text("".join(json.dumps(json.loads(line)) + "\n\n" for line in lines))
    frame = load(path)
    pd.testing.assert_frame_equal(frame, await shop.frame())
    assert frame.attrs == {}


# Spreadsheets

DANGEROUS = [
    "=cmd()", "+1", "-1", "@SUM(1)", "\t=1", "\r=1", "\n=1", "\tx", "\rx", " =1", '"=1', "'=1",
    "  \"' -1", "\u00a0=1", "\ufeff=1", "\uff1d1", "'\t", "''=", "\x00=1",
]  # fmt: skip

INNER = ["a;=1", "a\n- b", "a\t@x", "a;'=1", 'a;"=1', "a\n\n\n+1", ";=1", "x;\n;=1;=2"]

HARMLESS = ["", "a", "1", "a=b", "a-b", "'", "'a", "it's", "a;b", "a\nb", "a, =b", "a;x=1", "''a"]


@pytest.mark.parametrize("text", [*DANGEROUS, *INNER, *HARMLESS])
def test_formulas_are_neutralised(text: str) -> None:
    guarded = neutral(text)
    assert original(guarded) == text
    if text in DANGEROUS:
        assert guarded.startswith("'")
    elif text in INNER:
        assert guarded != text
        assert all(each not in guarded for each in (";=", "\n-", "\n+", "\t@", ';"='))
    else:
        assert guarded == text


def test_neutralising_can_be_undone_whatever_the_text() -> None:
    chance = random.Random(7)
    letters = list("'\"=+- \t\r\n;,a1@\u00a0\uff1d")
    for _ in range(20_000):
        text = "".join(chance.choices(letters, k=chance.randrange(9)))
        guarded = neutral(text)
        assert original(guarded) == text
        assert not guarded.startswith(("\t", "\r", "\n"))
        assert not guarded.lstrip().startswith(("=", "+", "-", "@"))


def test_neutralising_takes_time_by_length_only() -> None:
    began = time.process_time()
    for text in ("\n" * 200_000, "'" * 200_000, ";" * 200_000, " ;\n'" * 50_000 + "x"):
        assert original(neutral(text)) == text
    assert time.process_time() - began < 2


async def test_csv_cells(shop: Shop, tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    await shop.fill(
        event(text="=cmd()", number=-5, half=-0.5, mixed=-1, **{"@key": "a"}),
        event(text='a,b\n"ü"', number=None, half=1, mixed="-1", items=["=1"]),
        event(text=""),
        b"\xf8",
    )
    await shop.export(path)
    assert path.read_bytes().startswith(b'\xef\xbb\xbf"seq"')
    cells = pd.read_csv(path, dtype=str, keep_default_na=False)
    assert "'@key" in cells
    assert cells["text"].tolist() == ["'=cmd()", 'a,b\n"ü"', "", ""]
    assert cells["number"].tolist() == ["-5", "", "", ""]
    assert cells["half"].tolist() == ["-0.5", "1", "", ""]
    assert cells["mixed"].tolist() == ["-1", '\'"-1"', "", ""]
    assert cells["items"].tolist() == ["", '["=1"]', "", ""]
    assert cells["raw"].tolist() == ["", "", "", "'+A=="]
    frame = load(path)
    pd.testing.assert_frame_equal(frame, await shop.frame())


async def test_a_csv_row_larger_than_a_block(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("varco_nats_widgets.export._csv._BLOCK_BYTES", 1000)
    await shop.fill(event(a="x" * 50_000), event(a="y"))
    await same(shop, tmp_path / "out.csv")


async def test_a_csv_that_was_changed_is_refused(shop: Shop, tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    await shop.fill(event(a=1))
    await shop.export(path)
    path.write_text(path.read_text() + "more\n")
    with pytest.raises(ValueError, match=r"there is no out.csv.info.json that describes it"):
        load(path)


async def test_varco_nats_frame_prints_the_lines_of_an_export(shop: Shop, tmp_path: Path) -> None:
    await shop.fill(*AWKWARD)
    path, channel_of = tmp_path / "printed.ndjson", shop.settings.channel_from_subject
    messages = [message async for message in shop.history.read("orders")]
    with path.open("w", encoding="utf-8", newline="") as file:
        JsonRows(file, channel_of).write(messages)

    pd.testing.assert_frame_equal(load(path), await shop.frame())

    cells = io.StringIO()
    CsvRows(cells, channel_of, fields_of(messages)).write(messages)
    rows = list(csv.reader(io.StringIO(cells.getvalue(), newline="")))
    assert {len(row) for row in rows} == {len(rows[0])}
    assert [row[0] for row in rows[1:]] == [str(message.seq) for message in messages]
    assert not any(cell.startswith(("=", "@")) for row in rows for cell in row)
