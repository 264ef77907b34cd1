"""Payloads that are not JSON, from the `Lab` to each place that shows or writes them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pandas as pd
import pytest
from nats.aio.client import Client
from varco_core.event.dlq import DeadLetterEntry
from varco_nats_widgets import Lab, load
from varco_nats_widgets.dead_letters import InvalidPayloadError
from varco_nats_widgets.decoders import DecoderLike, Gzip

from tests.waiting import until
from tests.widgets.explorer.helpers import evaluate
from varco_nats.config import NatsEventBusSettings
from varco_nats.dlq import NatsDLQ
from varco_nats.errors import DecoderError

MSGPACK = [
    {
        "event_id": f"e-{number}",
        "__event_type__": "reading",
        "device": f"d{number % 3}",
        "at": number,
    }
    for number in range(1, 6)
]


def kelvin(data: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
    if not data.isdigit():
        raise ValueError("no number")
    return {"kelvin": int(data) + 273, "unit": headers.get("unit")}


async def fill(nc: Client, settings: NatsEventBusSettings) -> None:
    """Readings in MessagePack, temperatures as text, of which one is broken, and an array."""
    js = nc.jetstream()
    for reading in MSGPACK:
        await js.publish(settings.subject_name("readings"), msgspec.msgpack.encode(reading))
    for text, headers in ((b"20", {"unit": "C"}), (b"warm", None), (b"-", None), (b"21", None)):
        await js.publish(settings.subject_name("eu.temperatures"), text, headers=headers)
    compressed = Gzip("json").encode([1, 2], {})
    headers = {"content-encoding": "gzip"}
    await js.publish(settings.subject_name("others"), compressed, headers=headers)
    await js.publish(settings.subject_name("others"), b"plain words")


@pytest.fixture
async def decoding_lab(lab: Lab, nc: Client) -> Any:
    """A lab with decoders for what `fill` stores."""
    await asyncio.to_thread(lambda: lab.bus)  # makes the stream
    settings = lab.settings
    await fill(nc, settings)
    decoders: dict[str, DecoderLike] = {"readings": "msgpack", "eu.*": kelvin, "*": "auto"}
    made = await asyncio.to_thread(lambda: Lab(settings, decoders=decoders))
    yield made
    await asyncio.to_thread(made.close)


async def test_frames_say_how_they_were_read(decoding_lab: Lab, lab: Lab) -> None:
    frame = await decoding_lab.aio.frame("readings")
    assert frame["at"].tolist() == [1, 2, 3, 4, 5]
    assert frame["at"].dtype == "int64"
    assert frame["event_id"].tolist()[0] == "e-1"
    assert set(frame["event_type"]) == {"reading"}
    assert frame.attrs["decoders"] == {"readings": "msgpack"}
    only = await decoding_lab.aio.frame("readings", event_type="other")
    assert (len(only), only.attrs["completeness"]["filtered"]) == (0, 5)

    frame = await decoding_lab.aio.frame("eu.temperatures")
    assert frame["kelvin"].tolist() == [293, pd.NA, pd.NA, 294]
    assert frame["unit"].tolist()[0] == "C"
    failed = frame["decode_error"].dropna()
    assert set(failed) == {"decoder kelvin failed: ValueError: no number"}
    assert frame["raw"].tolist()[1] == b"warm"

    frame = await decoding_lab.aio.frame("others")
    assert frame["value"].tolist() == [[1, 2], "plain words"]
    assert frame.attrs["decoders"] == {"others": "gzip+json, text"}

    # the plain lab: rows that say why, and another decoder for a call
    plain = await lab.aio.frame("readings")
    assert plain["decode_error"].notna().all()
    assert "decoders" not in plain.attrs
    read = await lab.aio.frame("readings", decoder="auto")
    assert read["at"].tolist() == [1, 2, 3, 4, 5]
    assert read.attrs["decoders"] == {"readings": "msgpack"}
    with pytest.raises(DecoderError, match="'masgpack' is no decoder: there are auto, json"):
        await lab.aio.frame("readings", decoder="masgpack")


async def test_a_decoder_for_a_channel_that_there_is_not_is_named(lab: Lab, nc: Client) -> None:
    await asyncio.to_thread(lambda: lab.bus)
    await fill(nc, lab.settings)
    keys = ("readings", "eu.*", "eu.>", "*", lab.settings.subject_name("others"), "readins", "us.*")
    decoders: dict[str, DecoderLike] = dict.fromkeys(keys, "auto")
    with pytest.warns(UserWarning, match="is it the right one") as warned:
        made = await asyncio.to_thread(lambda: Lab(lab.settings, decoders=decoders))
    await asyncio.to_thread(made.close)
    (said,) = [str(each.message) for each in warned]
    assert said.startswith("decoders['readins'], decoders['us.*']: no channel or subject of this")
    assert warned[0].filename == __file__


async def test_live_frames_and_statistics_are_decoded(decoding_lab: Lab, nc: Client) -> None:
    live = await decoding_lab.aio.live(["readings", "eu.temperatures"], last="1h")
    await until(lambda: len(live.df) == 9)
    assert live.df["at"].dropna().tolist() == [1, 2, 3, 4, 5]
    assert live.df["kelvin"].dropna().tolist() == [293, 294]
    kept = await decoding_lab.aio.live("readings", last="1h", where=lambda row: row["at"] > 3)
    await until(lambda: len(kept.df) == 2)
    explorer = await decoding_lab.aio.explore("readings", "eu.temperatures")
    statistics = await explorer.aio.describe()
    assert statistics.broken == 2
    assert {"at", "kelvin", "device"} <= set(statistics.fields.index)


async def test_the_explorer_reads_as_told(lab: Lab, decoding_lab: Lab) -> None:
    explorer = await lab.aio.explore("readings")
    view = explorer.view()
    assert "decode_error" in explorer.df
    await explorer.aio.read_as("msgpack")
    assert explorer.decoder == "msgpack"
    assert explorer.df["at"].tolist() == [1, 2, 3, 4, 5]
    assert "decoder='msgpack'" in explorer.code
    again = await asyncio.to_thread(evaluate, explorer.code, lab)
    pd.testing.assert_frame_equal(again, explorer.df)
    message = await explorer.aio.open(int(explorer.df.index[0]))
    assert (message.decoder, message.payload, message.problem) == ("msgpack", MSGPACK[0], None)
    assert message.data == msgspec.msgpack.encode(MSGPACK[0])
    await until(lambda: "read as msgpack" in str(view.message.message))
    await explorer.aio.filter(condition="at > 3")
    assert explorer.df["at"].tolist() == [4, 5]
    with pytest.raises(DecoderError):
        await explorer.aio.read_as("nothing")
    assert explorer.decoder == "msgpack"
    view.decoder.value = ""
    await until(lambda: explorer.decoder == "")
    await until(lambda: "there is no column" in explorer.notice)
    await explorer.aio.read_as(kelvin)
    await until(lambda: view.decoder.value == "kelvin")
    assert "decoder=decoder" in explorer.code


@pytest.mark.parametrize("suffix", [".parquet", ".ndjson", ".csv"])
async def test_exports_hold_what_frames_do(decoding_lab: Lab, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"readings{suffix}"
    await decoding_lab.aio.export("readings", path)
    frame = await decoding_lab.aio.frame("readings")
    read = load(path)
    assert read["at"].tolist() == frame["at"].tolist()
    assert read["event_id"].tolist() == frame["event_id"].tolist()
    if suffix == ".ndjson":
        lines = [json.loads(line)["data"] for line in path.read_text().splitlines()]
        assert lines == MSGPACK


async def test_dead_letters_are_decoded_edited_and_encoded(
    decoding_lab: Lab, lab: Lab, nc: Client
) -> None:
    entries = [
        DeadLetterEntry(
            event=None, channel=channel, handler_name="h", error_type="E", error_message="m",
            attempts=1, payload=payload, entry_id=uuid4(),
        )
        for channel, payload in (
            ("readings", msgspec.msgpack.encode(MSGPACK[0])),
            ("eu.temperatures", b"20"),
        )
    ]  # fmt: skip
    async with NatsDLQ(lab.settings) as queue:
        for entry in entries:
            await queue.push(entry)
    letters = decoding_lab.dead_letters
    frame = await letters.aio.frame()
    assert frame["event_id"].fillna("").tolist() == ["e-1", ""]
    assert frame["data.at"].tolist()[0] == 1
    assert frame["data.kelvin"].tolist()[1] == 293
    assert (await letters.aio.frame(event_type="reading")).index.tolist() == [frame.index[0]]
    await letters.aio.refresh()
    reading, temperature = entries
    letter = await letters.aio.open(reading.entry_id)
    assert (letter.decoder, letter.payload) == ("msgpack", MSGPACK[0])
    edit = await letters.aio.edit(reading.entry_id, {**letter.payload, "at": 77})
    assert msgspec.msgpack.decode(edit.data) == {**MSGPACK[0], "at": 77}
    assert '+  "at": 77' in edit.diff
    with pytest.raises(InvalidPayloadError, match="it is a function, which only decodes"):
        await letters.aio.edit(temperature.entry_id, {"kelvin": 1})
    same = await letters.aio.edit(temperature.entry_id, {"kelvin": 293, "unit": None})
    assert (same.data, same.diff) == (b"20", "")

    plan = await letters.aio.plan([reading.entry_id])
    report = await letters.aio.run(word="nobody")
    assert (len(plan), len(report.rows)) == (1, 1)
    frame = await decoding_lab.aio.frame("readings")
    assert frame["at"].tolist() == [1, 2, 3, 4, 5, 77]
