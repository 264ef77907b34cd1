from __future__ import annotations

import asyncio
import errno
import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars
import pyarrow.parquet as pq
import pytest
from nats.aio.client import Client
from varco_nats_widgets.export import ExportResult, _job, _parquet, _schema, export_channels, load
from varco_nats_widgets.export._csv import neutral, original
from varco_nats_widgets.export._export import _in_thread
from varco_nats_widgets.export._partial import Partial
from varco_nats_widgets.frames import MAX_FIELDS, FrameBuilder
from varco_nats_widgets.frames._query import FrameQuery

from tests.faults import Proxy
from tests.waiting import until
from varco_nats.config import NatsEventBusSettings
from varco_nats.history import History
from varco_nats.server import LocalNats

PATHS = ["out.parquet", "out.ndjson", "out.csv", "out"]

ORDERS = FrameQuery(
    channels=("orders",),
    since=None,
    until=None,
    start_seq=None,
    end_seq=None,
    limit=None,
    newest_first=False,
    event_types=None,
)


class Shop:
    """A stream with a channel `orders`, and a reader of it."""

    def __init__(self, settings: NatsEventBusSettings, nc: Client, history: History) -> None:
        self.settings = settings
        self.history = history
        self._nc = nc

    async def fill(self, *payloads: object, channel: str = "orders", **headers: str) -> None:
        stream = self._nc.jetstream()
        before = (await stream.stream_info(self.settings.stream_name)).state.messages
        for payload in payloads:
            data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
            subject = self.settings.subject_name(channel)
            await self._nc.publish(subject, data, headers=headers or None)
        await self._nc.flush()

        async def stored() -> bool:
            info = await stream.stream_info(self.settings.stream_name)
            return bool(info.state.messages == before + len(payloads))

        await until(stored)

    async def export(self, path: Path, query: FrameQuery = ORDERS, **options: Any) -> ExportResult:
        return await export_channels(
            self.history, self.settings.channel_from_subject, query, path, **options
        )

    async def frame(self, query: FrameQuery = ORDERS) -> pd.DataFrame:
        """What `Lab.frame` gives, but for its attrs."""
        builder = FrameBuilder(
            self.settings.channel_from_subject, query.event_types, headers=query.headers
        )
        messages = self.history.read(
            query.channels,
            since=query.since,
            until=query.until,
            start_seq=query.start_seq,
            end_seq=query.end_seq,
            newest_first=query.newest_first,
        )
        builder.add([message async for message in messages], query.limit)
        return builder.build()


@pytest.fixture
async def shop(settings: NatsEventBusSettings, nc: Client) -> AsyncIterator[Shop]:
    await nc.jetstream().add_stream(
        name=settings.stream_name, subjects=[f"{settings.subject_prefix}.>"]
    )
    async with History(settings) as history:
        yield Shop(settings, nc, history)


@pytest.fixture(params=[1, 3, 20_000])
def block_rows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Blocks of few rows, so that each has other types than the whole."""
    rows = int(request.param)
    monkeypatch.setattr(_job, "BLOCK_ROWS", rows)
    return rows


def event(order: int = 0, /, **fields: object) -> dict[str, object]:
    return {
        "__event_type__": "OrderPlaced",
        "event_id": f"3fa85f64-5717-4562-b3fc-{order:012d}",
        "timestamp": "2026-01-01T10:00:00.5+02:00",
        **fields,
    }


def orders(count: int) -> list[dict[str, object]]:
    return [
        event(n, order_id=n, total=n * 1.25, customer=f"customer {n % 7}", tags=["a", "b"][: n % 3])
        for n in range(count)
    ]


AWKWARD: list[object] = [
    event(a=1, b="x", c=2.5, d=True, text_later=1),
    event(text_later=0.5, a=None, b=None, c=None, d=None),
    event(a=2**63 - 1, b="", c=3, d=False, nested={"deep": {"er": [1]}, "empty": {}}),
    event(a=2, mixed=1, list=["a", None], numbers=[1, 2], halves=[1, 0.5]),
    event(mixed="text", list=[], numbers=[], halves=[0.25], big=10**40),
    event(mixed=1.0, list=["Grüße 🚲", "é"], big=1, objects=[{"a": 1}, {"b": None}]),
    event(mixed=-5, half="\ud800", nothing=None, texts_or_null=None),
    event(text_later="x", mixed={"z": 1}, texts_or_null='a,"b"\r\nc\n;d\t\x00', flags=[True]),
    event(mixed=[1], floats=[1.5, float("nan")], no_number=float("nan"), endless=float("inf")),
    event(**{"=cmd()": "=cmd()", "ключ": "+1", "seq": 7, "channel": "c", "headers": "h"}),
    event(text_or_nan=float("nan")),
    event(text_or_nan="x"),
    event(orderId=1, OrderId="1", orderid_=2, Seq=1, Timestamp="x", Stored_At_Ns=3, Stored_Day=4),
    {"plain": 1, "ints": 2**53 + 1},
    {"ints": None, "lossy": 2**53 + 1},
    {"ints": 3, "lossy": 0.5},
    {"timestamp": "yesterday", "event_id": 7},
    {"timestamp": 1_767_225_600, "event_id": {"a": 1}, "__event_type__": 7},
    {"timestamp": "0001-01-01T00:00:00Z", "late": "'=x", "text": ";=y", "data": {"data": {}}},
    {"timestamp": "9999-12-31T23:59:59.999999Z", "late": "-5", "text": "\ufeff"},
    {},
    b'  {"spaced" :\r\n 1, "a":\n2}\n',
    b'{"twice": 1, "twice": 2}',
    b"",
    b"hello",
    b"=cmd()",
    b"\xff\xfe\x00",
    b"\xf8",
    '{"a": "é"}'.encode("latin-1"),
    b"[1, 2]",
    b'"text"',
    b"7",
    b"null",
    b"NaN",
    b'{"n": ' + b"1" * 5000 + b"}",
    b"[" * 100_000,
    event(a=3),
]


def names(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir())


async def same(shop: Shop, path: Path, query: FrameQuery = ORDERS, **options: Any) -> pd.DataFrame:
    """Export, load, and compare with the frame of the same messages."""
    result = await shop.export(path, query, **options)
    found = load(path)
    wanted = await shop.frame(query)
    assert found.attrs.pop("completeness") == result.completeness
    pd.testing.assert_frame_equal(found, wanted)
    for name in wanted.columns[wanted.dtypes == "object"]:
        for got, want in zip(found[name], wanted[name], strict=True):
            assert type(got) is type(want), name
            assert repr(got) == repr(want)
    assert result.rows == len(wanted)
    assert result.path == path
    assert [one for one in names(path.parent) if ".info." not in one] == [path.name]
    return wanted


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
async def test_cloud_events(shop: Shop, tmp_path: Path, name: str, block_rows: int) -> None:
    envelope = {"specversion": "1.0", "type": "Placed", "id": "7", "source": "shop"}
    await shop.fill(
        {**envelope, "time": "2026-01-01T00:00:00Z", "data": {"total": 2.5}},
        {**envelope, "type": "Other"},
        event(total=1),
    )
    frame = await same(shop, tmp_path / name)
    assert frame["event_type"].tolist() == ["Placed", "Other", "OrderPlaced"]


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


def parts(path: Path) -> list[str]:
    return sorted(str(one.relative_to(path)) for one in path.rglob("*.parquet"))


def test_partitions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the time stored, also where that goes back, and with few files open at once."""
    monkeypatch.setattr(_parquet, "_OPEN_FILES", 2)
    hour = 3600 * 10**9
    start = pd.Timestamp("2026-01-01T22:30Z").value
    times = [start + 7, start + hour, start + 2 * hour, start + hour, start + 30 * hour]
    messages = [
        _schema.StoredMessage(n, "orders", when, json.dumps({"n": n}).encode(), None)
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
            block.take([message])
            tables.append(types.add(block))
        columns = types.columns(len(messages))
        path = tmp_path / by
        facts = {"newest_first": False}
        sink = _parquet.ParquetSink(path, columns, facts, rows_per_file=100, partition_by=by)
        for table in tables:
            sink.write(_schema.fit(table, columns))
        sink.finish()
        assert sorted(one.name for one in path.iterdir()) == [f"stored_{by}={d}" for d in folders]
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
    texts = [one["text"] for one in parsed if "text" in one]
    assert {"", "hello", "[1, 2]", "7", "null", "NaN", '"text"'} < set(texts)
    assert [one["base64"] for one in parsed if "base64" in one][:2] == ["//4A", "+A=="]


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
        assert all(one not in guarded for one in (";=", "\n-", "\n+", "\t@", ';"='))
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
    with pytest.raises(ValueError, match=r"no out.csv.info.json beside it that is about it"):
        load(path)


# Interruptions


class StopError(Exception):
    pass


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("newest_first", [False, True])
async def test_interrupted_anywhere(
    shop: Shop,
    tmp_path: Path,
    name: str,
    newest_first: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """StopErrorped after each step, again and again, it still ends with the same."""
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
        "Job._keep_block",
        "Job.write_some",
        "Job._complete",
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
@pytest.mark.timeout(60)
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
@pytest.mark.timeout(60)
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


@pytest.mark.timeout(60)
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
    assert "export there again to go on" in last
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
                proxy.cut()

        async with History(settings) as history:
            cutting = Shop(settings, shop._nc, history)
            result = await cutting.export(tmp_path / "out.parquet", progress=cut)
    assert cuts == 2
    assert result.completeness["gaps"] == 0
    pd.testing.assert_frame_equal(load(tmp_path / "out.parquet"), await shop.frame())


async def interrupted(shop: Shop, path: Path, query: FrameQuery = ORDERS, **options: Any) -> None:
    def stop(done: int, total: int) -> None:
        raise StopError

    with pytest.raises(StopError) as raised:
        await shop.export(path, query, progress=stop, **options)
    assert "rows are kept in" in raised.value.__notes__[0]


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
    with pytest.raises(FileExistsError, match="gone or was made anew"):
        await shop.export(path)
    await shop.fill(*orders(40))
    with pytest.raises(FileExistsError, match="gone or was made anew"):
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


# The place


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
    with pytest.raises(FileExistsError, match="holds something else"):
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
        str(one.relative_to(folder)): one.read_bytes()
        for one in folder.rglob("*")
        if not one.is_dir()
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
        left = {one: data for one, data in everything(folder).items() if one != "lock" or data}
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
        for one, data in theirs.items():
            (folder / one).parent.mkdir(exist_ok=True)
            (folder / one).write_bytes(data)
        (folder / "data-link").unlink(missing_ok=True)
        (folder / "data-link").symlink_to(tmp_path)

    await shop.export(path, overwrite=True, progress=put)
    pd.testing.assert_frame_equal(load(path), await shop.frame())
    assert names(folder) == ["data-link", "notes.txt", "spill-old"]
    assert {one: (folder / one).read_bytes() for one in theirs} == theirs


async def test_a_data_set_of_others_is_never_replaced(shop: Shop, tmp_path: Path) -> None:
    await shop.fill(*orders(3))
    path = tmp_path / "out"
    await shop.export(path)
    ours = everything(path)
    for name, put in {
        "part-000007.parquet": lambda one: pd.DataFrame({"a": [1]}).to_parquet(one),
        "part-000008.parquet": lambda one: one.write_bytes(b"mine"),
        "mine": lambda one: one.mkdir(),
        "link": lambda one: one.symlink_to(tmp_path),
        "stored_day=mine": lambda one: one.mkdir(),
    }.items():
        put(path / name)
        with pytest.raises(FileExistsError, match="the folder holds something else"):
            await shop.export(path, overwrite=True)
        assert names(path) == sorted([*ours, name])
        (path / name).rename(tmp_path / f"kept-{name}")
    link = tmp_path / "link"
    link.symlink_to(path)
    with pytest.raises(FileExistsError, match="it is a link; give the folder"):
        await shop.export(link, overwrite=True)
    assert everything(path) == ours
    (tmp_path / "a.csv.info.json").write_text("mine")
    with pytest.raises(FileExistsError, match=r"'a.csv.info.json', which no export wrote"):
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
        "folder": "no export of this package",
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
