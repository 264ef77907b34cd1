"""Exports, and the frames that they are compared with."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from nats.aio.client import Client
from varco_nats_widgets.export import ExportResult, export_channels, load
from varco_nats_widgets.frames import FrameBuilder
from varco_nats_widgets.frames._decoding import Decoding
from varco_nats_widgets.frames._query import FrameQuery
from varco_nats_widgets.frames._times import with_times

from tests.waiting import until
from varco_nats.config import NatsEventBusSettings
from varco_nats.history import History

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
            self.history, Decoding(self.settings.channel_from_subject), query, path, **options
        )

    async def frame(self, query: FrameQuery = ORDERS) -> pd.DataFrame:
        """What `Lab.frame` gives, but for most of its attrs."""
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
        frame, times = with_times(builder.build(), query.times)
        frame.attrs["times"] = {name: found and asdict(found) for name, found in times.items()}
        return frame


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
    b'[{"x":1,"data":{"y":[2]}}]',
    b'"text"',
    b"7",
    b"null",
    b"NaN",
    b'{"n": ' + b"1" * 5000 + b"}",
    b"[" * 100_000,
    event(a=3),
]


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


async def same(shop: Shop, path: Path, query: FrameQuery = ORDERS, **options: Any) -> pd.DataFrame:
    """Export, load, and compare with the frame of the same messages."""
    result = await shop.export(path, query, **options)
    found = load(path)
    wanted = await shop.frame(query)
    assert found.attrs.pop("completeness") == result.completeness
    assert wanted.attrs["times"] == found.attrs.pop("times", {}) == result.times
    pd.testing.assert_frame_equal(found, wanted)
    for name in wanted.columns[wanted.dtypes == "object"]:
        for got, want in zip(found[name], wanted[name], strict=True):
            assert type(got) is type(want), name
            assert repr(got) == repr(want)
    assert result.rows == len(wanted)
    assert result.path == path
    assert [name for name in names(path.parent) if ".info." not in name] == [path.name]
    return wanted


class StopError(Exception):
    pass


async def interrupted(shop: Shop, path: Path, query: FrameQuery = ORDERS, **options: Any) -> None:
    def stop(done: int, total: int) -> None:
        raise StopError

    with pytest.raises(StopError) as raised:
        await shop.export(path, query, progress=stop, **options)
    assert "rows are kept in" in raised.value.__notes__[0]
