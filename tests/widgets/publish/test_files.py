"""`lab.publish_file`: what an export wrote, and what others did."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from nats.aio.client import Client
from varco_nats_widgets import Lab
from varco_nats_widgets.publish import PublicationRefusedError
from varco_nats_widgets.publish._file import rows_of

from tests.events import OrderPlaced
from tests.foreign import fill
from varco_nats.config import NatsEventBusSettings

OWN = ["event_type", "event_id", "timestamp"]
VALUE = {
    "__event_type__": "shop.sold",
    "event_id": "11111111-1111-1111-1111-111111111111",
    "timestamp": "2026-05-04T10:00:00Z",
    "customer": {"name": "Ada", "address": {"city": "Rome"}},
    "items": [{"sku": "A"}, {"sku": "B"}],
    "total": 0.1,
    "note": None,
    "tags": [],
}


@pytest.mark.parametrize("suffix", ["ndjson", "parquet", "csv", ""])
def test_what_was_exported_comes_back(lab: Lab, tmp_path: Path, suffix: str) -> None:
    lab.publish("sales", VALUE, headers={"tenant": "acme", "Nats-Msg-Id": "1"}, run=True)
    lab.publish("sales", VALUE | {"total": 2, "more": True}, run=True)
    lab.publish("orders", OrderPlaced(order_id="1"), run=True)
    path = tmp_path / ("sales" + (f".{suffix}" if suffix else ""))
    lab.export(["sales", "orders"], path, headers=True)
    publication = lab.publish_file(path)
    assert f"from {path.name}" in publication.notes
    assert publication.subjects == {
        lab.settings.subject_name("sales"): 2,
        lab.settings.subject_name("orders"): 1,
    }
    assert publication.run().sequences == (4, 5, 6)

    frame = lab.frame(["sales", "orders"], headers=True)
    before, after = frame.loc[:3], frame.loc[4:]
    for name in [*OWN, "channel", "customer.address.city", "items", "tags", "total", "more"]:
        then, now = before[name].astype(object), after[name].astype(object)
        assert then.where(then.notna(), None).tolist() == now.where(now.notna(), None).tolist()
    assert after["headers"].iloc[0] == {"tenant": "acme"}
    assert after["headers"].iloc[1:].isna().all()


def test_lines_of_an_export_keep_their_bytes(lab: Lab, tmp_path: Path) -> None:
    payloads = [b'{"a":0.10,  "a": 2}', b"\xff\x00", b"no json", b"[1, 2]"]
    for payload in payloads:
        lab.publish("odd", payload, run=True)
    lab.export("odd", tmp_path / "odd.ndjson")
    lab.publish_file(tmp_path / "odd.ndjson", "copy", run=True)
    assert lab.frame("copy", decoder=lambda data: data.hex())["value"].tolist() == [
        *map(bytes.hex, payloads)
    ]


async def test_files_of_a_strangers_stream_go_back_to_their_subjects(
    lab: Lab, nc: Client, tmp_path: Path
) -> None:
    suffix = lab.settings.stream_name
    await fill(nc, devices=6, readings=2, topics=1, suffix=suffix)
    stream, path = f"TELEMETRY{suffix}", tmp_path / "t.ndjson"
    await lab.aio.export(None, path, stream=stream)
    publication = await lab.aio.publish_file(path)
    assert len(publication.subjects) == 12
    assert "and 7 other subjects" in repr(publication)
    report = await publication.aio.run()
    assert (report.stored, report.streams) == (24, (stream,))
    frame = await lab.aio.frame(stream=stream)
    same = ["channel", "device", "value", "position.lat", "satellites"]
    before, after = frame[same].iloc[:24], frame[same].iloc[24:]
    assert before.reset_index(drop=True).equals(after.reset_index(drop=True))
    for name in ("TELEMETRY", "TOPICS", "FILES"):
        await nc.jetstream().delete_stream(f"{name}{suffix}")


@pytest.mark.parametrize("suffix", ["ndjson", "parquet", "csv"])
def test_files_of_others_are_events_of_the_channels_type(
    lab: Lab, tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"plain.{suffix}"
    rows = pd.DataFrame({"order_id": ["a", "b"], "total": [1.5, 2.5]})
    if suffix == "ndjson":
        rows.to_json(path, orient="records", lines=True)
    else:
        (rows.to_csv if suffix == "csv" else rows.to_parquet)(path, index=False)
    with pytest.raises(ValueError, match="does not say where"):
        lab.publish_file(path)
    lab.publish("orders", OrderPlaced(order_id="1"), run=True)
    lab.publish_file(path, "orders", run=True)
    frame = lab.frame("orders")
    assert frame["order_id"].tolist() == ["1", "a", "b"]
    assert set(frame["event_type"]) == {"order.placed"}
    assert frame["event_id"].is_unique


def test_what_is_wrong_with_a_file_is_said_before_anything_is_sent(
    lab: Lab, tmp_path: Path, settings: NatsEventBusSettings
) -> None:
    path = tmp_path / "a.ndjson"
    with pytest.raises(FileNotFoundError):
        lab.publish_file(path)
    path.write_text('{"a": 1}\n{"a": \n')
    with pytest.raises(ValueError, match=r"a\.ndjson, line 2: not JSON"):
        lab.publish_file(path, "orders")
    path.write_text("")
    with pytest.raises(ValueError, match="has no messages"):
        lab.publish_file(path, "orders")
    lines = [{"__event_type__": "order.placed", "total": n} for n in range(9)]
    path.write_text("\n".join(map(json.dumps, lines)))
    publication = lab.publish_file(path, "orders")
    assert len(publication.problems) == 5
    assert publication.problems[0] == "message 1: OrderPlaced refuses it: order_id: Field required"
    with pytest.raises(PublicationRefusedError):
        publication.run()
    assert list(lab) == []


def test_masked_values_are_not_published_as_if_they_were_some(
    settings: NatsEventBusSettings, tmp_path: Path
) -> None:
    with Lab(settings, mask="customer.name") as lab:
        lab.publish("sales", VALUE, run=True)
        lab.export("sales", tmp_path / "sales.ndjson")
        publication = lab.publish_file(tmp_path / "sales.ndjson", "copy")
        assert publication.problems == ("1 message with masked values, which are no values",)


def test_rows_become_the_events_that_they_were_made_of() -> None:
    frame = pd.DataFrame(
        {
            "channel": ["a", "a", "a"],
            "event_type": ["t", None, None],
            "timestamp": [pd.Timestamp("2026-05-04", tz="UTC"), pd.NaT, pd.NaT],
            "x.y": [1.5, None, None],
            "data.seq": [7, 8, None],
            "value": [None, None, "text"],
            "raw": [None, None, None],
        }
    )
    rows = [row.value for row in rows_of(frame, ours=True)]
    assert rows == [
        {"__event_type__": "t", "timestamp": "2026-05-04T00:00:00Z", "x": {"y": 1.5}, "seq": 7},
        {"seq": 8},
        "text",
    ]
