"""What is masked is nowhere: not in a frame, a widget, a file, a log or an error."""

from __future__ import annotations

import asyncio
import base64
import errno
import json
import logging
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import comm
import msgspec
import pandas as pd
import pytest
from comm.base_comm import BaseComm
from ipywidgets.widgets.widget import _instances
from nats.aio.client import Client
from pydantic import field_validator
from varco_core.event.base import Event
from varco_core.event.dlq import DeadLetterEntry
from varco_nats_widgets import Lab, load, where
from varco_nats_widgets._ui.message_view import MessageView
from varco_nats_widgets._ui.views import DataTable
from varco_nats_widgets.dead_letters import DeadLetters, InvalidPayloadError
from varco_nats_widgets.decoders import DecoderLike
from varco_nats_widgets.explorer import Explorer
from varco_nats_widgets.export._job import ExportJob
from varco_nats_widgets.lab._exhausted import _frame as exhausted_frame
from varco_nats_widgets.publish._pretty import pretty
from varco_nats_widgets.replays import plan_frame

from tests.waiting import until
from tests.widgets.dead_letters.helpers import payloads, push
from varco_nats._masks._mask import Mask
from varco_nats._masks._patterns import MaskPatternError
from varco_nats.config import NatsEventBusSettings
from varco_nats.errors import ReplayRefusedError
from varco_nats.replay import Exhausted, ExhaustedMessage

MASK = ["customer.email", "*.iban", "items.card", "pin", "headers.authorization", "event_id"]

EMAIL, IBAN, CARD, PIN = "ada@plant-email.example", "DE89PLANTIBAN3704", "4111PLANTCARD", 7700770077
NESTED, TOKEN, EVENT_ID = "GB12PLANTNESTED", "Bearer plant-token-77", str(uuid4())
RAW, TEXT, CLOUD = "RU77PLANTUNREADABLE", "plant-free-text-iban", "FR99PLANTCLOUD"
BASE64, TWICE, LISTED = "PLANTINBASE64", "plant-twice@mail.example", "AT55PLANTLISTED"
PLANTED = [EMAIL, IBAN, CARD, str(PIN), NESTED, TOKEN, EVENT_ID, RAW, TEXT, CLOUD, TWICE, LISTED]
PACKED, ODD, CE = "GR44PLANTPACKED", "plant-odd-payload", "plant-ce-header"
PLANTED += [PACKED, ODD, CE]
PLANTED += [BASE64, base64.b64encode(BASE64.encode()).decode()]

ORDER = {
    "__event_type__": "masked.planted",
    "event_id": EVENT_ID,
    "customer": {"name": "Ada", "email": EMAIL},
    "iban": IBAN,
    "items": [{"sku": "A", "card": CARD, "by": {"iban": NESTED}}, {"sku": "B"}],
    "pin": PIN,
    "total": 12.5,
}
HEADERS = {"Authorization": TOKEN, "tenant": "acme"}
MESSAGES: list[tuple[bytes, dict[str, str] | None]] = [
    (json.dumps(ORDER).encode(), HEADERS),
    (json.dumps(ORDER | {"total": 13, "customer": {"email": EMAIL}}).encode(), None),
    (f'{{"iban": "{RAW}", "cut'.encode(), HEADERS),
    (b"\xff\x00" + RAW.encode(), None),
    (json.dumps(f"his IBAN is {TEXT}").encode(), None),
    (json.dumps([{"iban": LISTED, "sku": "C"}]).encode(), None),
    (f'{{"customer": {{"email": "{TWICE}"}}, "customer": 1, "sku": "D"}}'.encode(), None),
    (
        json.dumps(
            {"specversion": "1.0", "type": "paid", "id": "1", "data": {"iban": CLOUD, "sku": "E"}}
        ).encode(),
        None,
    ),
    (
        json.dumps(
            {
                "specversion": "1.0",
                "type": "paid",
                "id": "2",
                "data_base64": base64.b64encode(BASE64.encode()).decode(),
            }
        ).encode(),
        None,
    ),
]


def odd(data: bytes) -> object:
    raise ValueError(f"cannot read {data!r}")


DECODERS: dict[str, DecoderLike] = {"packed": "msgpack", "odd": odd, "cloud": "auto"}
OTHERS: list[tuple[str, bytes, dict[str, str] | None]] = [
    ("packed", msgspec.msgpack.encode({"iban": PACKED, "sku": "F", "total": 3}), None),
    ("packed", b"\xc1" + PACKED.encode(), None),
    ("odd", ODD.encode(), None),
    (
        "cloud",
        b'{"sku": "G"}',
        {"ce-specversion": "1.0", "ce-id": "3", "ce-type": "paid", "ce-source": "/", "ce-iban": CE},
    ),
]


class MaskedOrder(Event):
    __event_type__ = "masked.order"

    number: int


class Surfaces:
    """Everything that was shown, as text, by where it was."""

    def __init__(self) -> None:
        self._found: dict[str, list[str]] = {}
        self._lock = threading.Lock()
        self.others: frozenset[str] = frozenset()
        """The widgets that other tests have left."""

    def add(self, where: str, *shown: object) -> None:
        with self._lock:
            self._found.setdefault(where, []).extend(_text(value) for value in shown)

    def planted(self) -> dict[str, list[str]]:
        """By place, the planted values that are there."""
        return {
            where: [value for value in PLANTED if any(f in t for t in texts for f in _forms(value))]
            for where, texts in self._found.items()
        }


def _text(shown: object) -> str:
    if isinstance(shown, pd.DataFrame):
        cells = shown.reset_index().map(_text) if len(shown) else shown
        return f"{cells.to_csv()} {shown!r} {shown._repr_html_()} {shown.attrs}"  # type: ignore[operator]
    if isinstance(shown, bytes):
        return shown.decode("latin-1")
    return shown if isinstance(shown, str) else repr(shown)


def _forms(value: str) -> Iterator[str]:
    """How a value may stand in a text: as it is, as hex, and within base64."""
    data = value.encode()
    yield value
    yield data.hex()
    for before in range(3):
        whole = base64.b64encode(b"x" * before + data).decode()
        yield whole[4 if before else 0 : len(whole) - 4]


@pytest.fixture
def surfaces() -> Surfaces:
    return Surfaces()


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch, surfaces: Surfaces) -> None:
    """What widgets send to the browser is a surface."""

    class Recorded(BaseComm):
        def publish_msg(
            self,
            msg_type: str,
            data: dict[str, Any] | None = None,
            metadata: dict[str, Any] | None = None,
            buffers: list[bytes] | None = None,
            **_: Any,
        ) -> None:
            surfaces.add("sent to the browser", data, *map(bytes, buffers or []))

    def create(*args: Any, **kwargs: Any) -> BaseComm:
        return Recorded(*args, **kwargs)

    monkeypatch.setattr(comm, "create_comm", create)
    surfaces.others = frozenset(_instances)


async def publish(nc: Client, settings: NatsEventBusSettings) -> None:
    js = nc.jetstream()
    await js.add_stream(name=settings.stream_name, subjects=[f"{settings.subject_prefix}.>"])
    for data, headers in MESSAGES:
        await js.publish(settings.subject_name("orders"), data, headers=headers)
    for channel, data, headers in OTHERS:
        await js.publish(settings.subject_name(channel), data, headers=headers)


def letter(payload: bytes, error: str, **fields: Any) -> DeadLetterEntry:
    values: dict[str, Any] = {
        "event": None,
        "payload": payload,
        "channel": "orders",
        "handler_name": "Shop.on_order",
        "error_type": "ValueError",
        "error_message": error,
        "attempts": 3,
    }
    return DeadLetterEntry(**(values | fields))


LETTERS = [
    letter(MESSAGES[0][0], f"no account {EMAIL} with {IBAN!r}: {ORDER['items']} pin={PIN}"),
    letter(MESSAGES[0][0], f"input_value={EMAIL[:-9]!r}...", tenant_id=IBAN),
    letter(MESSAGES[2][0], f'Invalid JSON [input_value=\'{{"iban": "{RAW}\']'),
    letter(MESSAGES[4][0], f"not an event: {TEXT}"),
    letter(MESSAGES[6][0], "customer is 1"),
    letter(MESSAGES[7][0], f"no such account: {CLOUD}"),
]


async def push_letters(nc: Client, settings: NatsEventBusSettings) -> None:
    await push(settings, *LETTERS)
    root = f"{settings.subject_prefix}-dlq"
    stored = json.dumps({"payload": base64.b64encode(MESSAGES[0][0]).decode()})
    for data in (f"no entry: {RAW}".encode(), stored.encode()):
        await nc.jetstream().publish(f"{root}.{uuid4()}.orders", data)


def look_at_widgets(surfaces: Surfaces) -> None:
    for name, widget in list(_instances.items()):
        if name in surfaces.others:
            continue
        surfaces.add("state of widgets", widget.get_state())
        if isinstance(widget, DataTable):
            widget.selected = [*widget.frame.index]
            widget._on_message({"type": "copy", "request": 1})
            window = {"start": 0, "count": 100, "span": [0, 100], "page": 100, "generation": 1}
            widget._on_message({"type": "window", "request": 1, **window})
        if isinstance(widget, MessageView):
            widget._on_message({"type": "whole", "request": 1})


async def look_at_channels(lab: Lab, surfaces: Surfaces, folder: Path) -> None:
    aio = lab.aio
    surfaces.add("frame", await aio.frame("orders", headers=True))
    surfaces.add("headers", await aio.frame("orders", headers=["authorization", "tenant"]))
    await look_at_decoded(lab, surfaces, folder)
    surfaces.add("frame", await asyncio.to_thread(lambda: repr(lab["orders"].last)))
    rows: list[Any] = []

    def where(row: dict[str, Any]) -> bool:
        rows.append(row)
        raise ValueError(f"cannot decide on {row}")

    live = await aio.live("orders", start_seq=1, where=where)
    await live.aio.wait(len(MESSAGES))
    live.view().flush()
    surfaces.add("live", live.df, rows, str(live.error), live._repr_mimebundle_())
    look_at_widgets(surfaces)
    live.stop()
    for name in ("a.parquet", "a.ndjson", "a.csv", "a"):
        await aio.export("orders", folder / name, headers=True)
    explorer = await asyncio.to_thread(Explorer, lab, "orders")
    view = explorer.view()
    await explorer.aio.newest()
    statistics = await explorer.aio.describe()
    for part in (statistics.fields, statistics.values, statistics.event_types):
        surfaces.add("statistics", part, statistics.summary())
    for seq in explorer.df.index:
        message = await explorer.aio.open(seq)
        view.flush()
        look_at_widgets(surfaces)
        surfaces.add("message", vars(message), message, message.data)
    await explorer.aio.filter(text="plant")
    surfaces.add("explorer", explorer.df, explorer.code, explorer._repr_mimebundle_())
    await explorer.aio.filter(text="plant", in_headers=True)
    surfaces.add("explorer", explorer.df, explorer.code)
    await explorer.aio.filter(text="", in_headers=False)
    surfaces.add("explorer", explorer.df)
    await explorer.aio.export(folder / "explorer.ndjson")
    look_at_widgets(surfaces)
    explorer.close()
    plan = await aio.plan_replay("orders", to="elsewhere")
    surfaces.add("plan of history", plan, plan.rows, plan_frame(plan))


async def look_at_decoded(lab: Lab, surfaces: Surfaces, folder: Path) -> None:
    """What is no JSON, and a plot."""
    aio, channels = lab.aio, [*DECODERS]
    surfaces.add("decoded", await aio.frame(channels, headers=True))
    live = await aio.live(channels, start_seq=1)
    await live.aio.wait(len(OTHERS))
    plot = live.plot("total", by="iban")
    surfaces.add("decoded", live.df, live._repr_mimebundle_(), plot._repr_mimebundle_())
    look_at_widgets(surfaces)
    live.stop()
    for name in ("decoded.ndjson", "decoded.parquet"):
        await aio.export(channels, folder / name, headers=True)
    explorer = await asyncio.to_thread(Explorer, lab, *channels)
    view = explorer.view()
    for decoder in (None, "text", "auto"):
        await explorer.aio.read_as(decoder)
        for seq in explorer.df.index:
            message = await explorer.aio.open(seq)
            surfaces.add("decoded message", vars(message), message, message.data)
            view.flush()
        surfaces.add("decoded", explorer.df, await explorer.aio.describe())
        look_at_widgets(surfaces)
    explorer.close()


async def look_at_letters(lab: Lab, surfaces: Surfaces, folder: Path) -> None:
    letters = lab.dead_letters
    aio = letters.aio
    await aio.filter()
    view = letters.view()
    view.flush()
    surfaces.add("dead letters", await aio.frame(), await aio.groups(), letters.group_table)
    surfaces.add("dead letters", letters.page, letters.choices, letters._repr_mimebundle_())
    for entry_id in letters.page.index:
        opened = await aio.open(entry_id)
        view.flush()
        look_at_widgets(surfaces)
        surfaces.add("dead letter", vars(opened), opened, opened.data)
        if isinstance(opened.payload, dict):
            try:
                edit = await aio.edit(entry_id, {**opened.payload, "total": 99})
                surfaces.add("edit", edit.diff, edit.shown)
            except InvalidPayloadError as error:  # a key is there twice
                surfaces.add("report", str(error))
    view.flush()
    for suffix in ("parquet", "ndjson", "csv"):
        await aio.export(folder / f"dead.{suffix}", "matching")
    plan = await aio.plan("matching")
    view.flush()
    surfaces.add("plan", letters.plan_table, plan, plan.rows)
    await aio.run(confirm=plan.to_replay, word="nobody")
    view.flush()
    look_at_widgets(surfaces)
    surfaces.add("report", letters.report_table, letters.report, await lab.aio.replays())
    letters.close()


async def look_at_a_bus(lab: Lab, surfaces: Surfaces) -> None:
    def fail(event: Event) -> None:
        raise ValueError(f"cannot handle {EMAIL}")

    bus = await asyncio.to_thread(lambda: lab.bus)
    bus.subscribe(MaskedOrder, fail, channel="masked")
    record = await lab.aio.record(bus)
    event = MaskedOrder(number=1, event_id=EVENT_ID)
    await bus.publish(event, channel="masked")
    await until(lambda: "terminated" in set(record.frame["kind"]))
    delivery = await lab.aio.delivery(record)
    view = delivery.view()
    view.flush()
    look_at_widgets(surfaces)
    surfaces.add("record", record.frame, record.ledger, delivery._repr_mimebundle_())
    record.stop()
    delivery.close()


def look_at_files(folder: Path, surfaces: Surfaces) -> None:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            surfaces.add(f"file {path.suffix}", path.read_bytes())
            if path.name.startswith("a.") and "info" not in path.name:
                surfaces.add(f"file {path.suffix}", load(path))
            if path.name == "dead.parquet":
                surfaces.add("file .parquet", pd.read_parquet(path))
    surfaces.add("data set", load(folder / "a"))


@pytest.mark.usefixtures("sent")
@pytest.mark.parametrize("mask", [None, MASK])
@pytest.mark.filterwarnings("ignore:mask. no message")
async def test_planted_values_are_nowhere(
    settings: NatsEventBusSettings,
    nc: Client,
    surfaces: Surfaces,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    mask: list[str] | None,
) -> None:
    caplog.set_level(logging.DEBUG)
    await publish(nc, settings)
    await push_letters(nc, settings)
    with Lab(settings, mask=mask, decoders=DECODERS) as lab:
        await look_at_channels(lab, surfaces, tmp_path)
        with caplog.at_level(logging.CRITICAL, "varco_nats"):
            await look_at_a_bus(lab, surfaces)  # what a handler raises is logged by its service
        await look_at_letters(lab, surfaces, tmp_path)
    look_at_files(tmp_path, surfaces)
    surfaces.add("logs", caplog.text)
    found = surfaces.planted()
    if mask:
        assert {where: values for where, values in found.items() if values} == {}
    else:  # every place would show them
        clean = {where for where, values in found.items() if not values}
        assert clean <= {"logs", "report", "file .json"}
        assert sorted({value for values in found.values() for value in values}) == sorted(PLANTED)


@pytest.mark.parametrize(
    ("where", "rows"),
    [
        (f'customer.email == "{EMAIL}"', 0),
        (f'customer.email contains "{EMAIL[:5]}"', 0),
        (f'headers.authorization == "{TOKEN}"', 0),
        ('customer.email == "***" and headers.authorization == "***"', 1),
        (lambda row: EMAIL in repr(row), 0),
        (lambda row: row.get("customer.email") == "***", 2),
    ],
)
async def test_a_condition_of_a_live_frame_finds_no_masked_value(
    settings: NatsEventBusSettings, nc: Client, where: Any, rows: int
) -> None:
    await publish(nc, settings)
    with Lab(settings, mask=MASK) as lab:
        live = await lab.aio.live("orders", start_seq=1, where=where)
        await until(lambda: live.received + live.filtered == len(MESSAGES))
        assert live.received == rows
        assert EMAIL not in f"{live.df.to_csv()}{live.error}{live.notice}"


async def test_labs_with_other_masks_do_not_mix(
    settings: NatsEventBusSettings, nc: Client, tmp_path: Path
) -> None:
    """Two in one kernel, at work on the same channel and queue at the same time."""
    await publish(nc, settings)
    await push_letters(nc, settings)
    masks = (["customer.email"], None), (["*.iban", "pin"], "a key")
    shown: list[dict[str, str]] = []

    async def look(lab: Lab, name: str) -> None:
        live = await lab.aio.live("orders", start_seq=1)
        frames = [await lab.aio.frame("orders") for _ in range(3)]
        await lab.aio.export("orders", tmp_path / name)
        await live.aio.wait(len(MESSAGES))
        explorer = await asyncio.to_thread(Explorer, lab, "orders")
        await explorer.aio.newest()
        letters = await lab.dead_letters.aio.frame()
        shown.append(
            {
                "frames": "".join(map(_text, frames)),
                "live": _text(live.df),
                "export": _text(load(tmp_path / name)),
                "explorer": _text(explorer.df),
                "dead letters": _text(letters),
            }
        )
        live.stop()
        explorer.close()

    labs = [Lab(settings, mask=mask, mask_key=key) for mask, key in masks]
    await asyncio.gather(*(look(lab, f"{n}.parquet") for n, lab in enumerate(labs)))
    for lab in labs:
        lab.close()
    for mine, theirs in ((EMAIL, IBAN), (IBAN, EMAIL)):
        for found in shown:
            hides = {place for place, text in found.items() if mine not in text}
            assert hides in (set(), set(found)), (mine, hides)
            assert (theirs not in found["frames"]) != (mine not in found["frames"])


# Dead letters and replays work on the true bytes


async def only_letter(lab: Lab, settings: NatsEventBusSettings) -> DeadLetters:
    await push(settings, LETTERS[0])
    letters = lab.dead_letters
    await letters.aio.filter()
    return letters


@pytest.mark.parametrize("key", [None, "a key"])
async def test_an_edited_payload_keeps_what_was_masked(
    settings: NatsEventBusSettings, nc: Client, key: str | None
) -> None:
    with Lab(settings, mask=MASK, mask_key=key) as lab:
        letters = await only_letter(lab, settings)
        [entry_id] = letters.page.index
        opened = await letters.aio.open(entry_id)
        text = pretty(opened.data)
        assert EMAIL not in text
        edited = text.replace("12.5", "13.50").replace('"Ada"', '"Eva"')
        edit = await letters.aio.edit(entry_id, edited)
        assert "Eva" in edit.diff
        payload = json.loads(edit.shown)
        typed = {**payload, "iban": "NEW", "items": payload["items"][::-1]}
        edit = await letters.aio.edit(entry_id, typed)
        assert b"NEW" not in edit.shown
        # what was typed over a mask is masked in turn, and kept by the next edit
        await letters.aio.edit(entry_id, {**json.loads(edit.shown), "total": 14})
        await letters.aio.plan([entry_id])
        await letters.aio.run(word="nobody")
    expected = {
        **ORDER,
        "customer": {"name": "Eva", "email": EMAIL},
        "iban": "NEW",
        "items": ORDER["items"][::-1],  # type: ignore[index]
        "total": 14,
    }
    assert await payloads(nc, settings) == [expected]


async def test_what_is_not_edited_is_replayed_byte_for_byte(
    settings: NatsEventBusSettings, nc: Client
) -> None:
    data = b'{ "iban":"DE1", "total":1.10,"a":"\\ud800" }'
    await push(settings, letter(data, "failed"))
    with Lab(settings, mask="*.iban") as lab:
        letters = lab.dead_letters
        await letters.aio.filter()
        [entry_id] = letters.page.index
        opened = await letters.aio.open(entry_id)
        assert opened.data == b'{"iban": "***", "total": 1.10, "a": "\\ud800"}'
        edit = await letters.aio.edit(entry_id, pretty(opened.data))
        assert (edit.data, edit.diff) == (data, "")
        await letters.aio.plan([entry_id])
        await letters.aio.run(word="nobody")
    stored = await nc.jetstream().get_msg(settings.stream_name, 1)
    assert stored.data == data


async def test_a_mask_in_another_place_is_refused(settings: NatsEventBusSettings) -> None:
    with Lab(settings, mask=MASK) as lab:
        letters = await only_letter(lab, settings)
        [entry_id] = letters.page.index
        for typed in ({"mail": "***"}, '{"mail": "***"}'):
            with pytest.raises(InvalidPayloadError, match=r"mail: '\*\*\*' stands for a masked"):
                await letters.aio.edit(entry_id, typed)
        assert letters.edits == {}


class MaskedPayment(Event):
    __event_type__ = "masked.payment"

    iban: str

    @field_validator("iban")
    @classmethod
    def check(cls, value: str) -> str:
        raise ValueError(f"{value!r} is no IBAN")


async def test_a_refusal_of_an_edit_does_not_quote_a_masked_value(
    settings: NatsEventBusSettings,
) -> None:
    data = json.dumps({"__event_type__": "masked.payment", "iban": IBAN}).encode()
    await push(settings, letter(data, "failed"))
    with Lab(settings, mask="*.iban") as lab:
        await lab.dead_letters.aio.filter()
        [entry_id] = lab.dead_letters.page.index
        with pytest.raises(InvalidPayloadError, match=r"'\*\*\*' is no IBAN"):
            await lab.dead_letters.aio.edit(entry_id, {"__event_type__": "masked.payment",
                                                       "iban": "***", "note": 1})  # fmt: skip
        assert IBAN not in lab.dead_letters.error


async def test_copies_and_originals_are_found_by_their_true_ids(
    settings: NatsEventBusSettings, nc: Client
) -> None:
    await publish(nc, settings)
    source = {"source_ref": f"{settings.stream_name}:1"}
    other = json.dumps(ORDER | {"event_id": str(uuid4())}).encode()
    await push(
        settings,
        *(letter(MESSAGES[0][0], "failed", **source) for _ in range(2)),
        letter(other, "failed", **source),
    )
    with Lab(settings, mask="event_id") as lab:
        letters = lab.dead_letters
        await letters.aio.filter()
        first, second, third = letters.page.index[::-1]
        for look in (letters.aio.open, letters.aio.entry):
            opened = await look(first)
            assert opened.event_id == "***"
            assert opened.copies == (UUID(second),)
            assert opened.original == "stored"
            assert (await look(third)).original == "another event is stored there now: ***"


async def test_an_export_with_a_mask_is_no_reason_to_discard(
    settings: NatsEventBusSettings, tmp_path: Path
) -> None:
    with Lab(settings, mask=MASK) as lab:
        letters = await only_letter(lab, settings)
        path = tmp_path / "dead.ndjson"
        await letters.aio.export(path, "matching")
        with pytest.raises(ReplayRefusedError, match="was written with a mask"):
            await letters.aio.discard("matching", exported_to=path)
        with pytest.raises(ReplayRefusedError):
            await letters.aio.discard("matching")
        assert len(await letters.aio.frame()) == 1
        report = await letters.aio.discard("matching", word="discard")
        assert report.rows[0].removed


# What is masked, and how


async def test_pseudonyms_join_frames_and_sessions(
    settings: NatsEventBusSettings, nc: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    js = nc.jetstream()
    await js.add_stream(name=settings.stream_name, subjects=[f"{settings.subject_prefix}.>"])
    for channel, field in (("orders", "buyer"), ("payments", "payer")):
        for name in ("ada", "bob", "ada"):
            data = json.dumps({field: {"email": name}, "n": 1}).encode()
            await js.publish(settings.subject_name(channel), data)
    monkeypatch.setenv("VARCO_NATS_MASK_KEY", "the same")
    monkeypatch.setenv("VARCO_NATS_MASK", "*.email")
    with Lab(settings) as lab, Lab(settings, mask="n", mask_key="the same") as other:
        orders, payments = await lab.aio.frame("orders"), await other.aio.frame("payments")
        assert payments["n"].str.startswith("masked-").all()  # both masks
        assert orders["n"].tolist() == [1, 1, 1]
        joined = orders.merge(payments, left_on="buyer.email", right_on="payer.email")
        assert sorted(joined.groupby("buyer.email").size()) == [1, 4]
        kept = await lab.aio.frame("orders")
        assert where(kept, 'buyer.email == "ada"').empty
        assert where(kept, text="ada").empty
        assert len(where(kept, f'buyer.email == "{orders["buyer.email"].iloc[0]}"')) == 2
        live = await lab.aio.live("orders", start_seq=1)
        await live.aio.wait(3)
        pd.testing.assert_frame_equal(live.df, orders)
        live.stop()


async def test_a_mask_that_matches_nothing_is_said_by_name(
    settings: NatsEventBusSettings, nc: Client, tmp_path: Path
) -> None:
    with Lab(settings, mask=["custmer.email", "*.iban", "headers.x-none"]) as lab:
        await publish(nc, settings)
        subject = settings.subject_name("payments")  # which has no email at all
        await nc.jetstream().publish(subject, b'{"total": 1}')
        message = "mask: no message of payments that was read has 'custmer.email' or '*.iban'; the"
        with pytest.warns(UserWarning, match=re.escape(message)):
            await lab.aio.frame("payments")
        message = "no message of orders that was read has 'custmer.email' (did you mean 'customer."
        with pytest.warns(UserWarning, match=re.escape(message)):
            await lab.aio.frame("orders")
        message = "mask: no message that was read with its headers has 'headers.x-none'"
        with pytest.warns(UserWarning, match=message):
            await lab.aio.export("orders", tmp_path / "a.csv", headers=True)
        await lab.aio.frame(["orders", "payments"], headers=True)  # said once
        live = await lab.aio.live("orders", start_seq=1)
        await live.aio.wait(3)
        assert live.notice == (
            "mask: no message of orders, payments that was read has 'custmer.email'; "
            "mask: no message that was read with its headers has 'headers.x-none'"
        )
        live.stop()
        explorer = await asyncio.to_thread(Explorer, lab, "orders")
        await explorer.aio.newest()
        assert "'custmer.email'" in explorer.notice
        explorer.close()
        await push(settings, LETTERS[0])
        await lab.dead_letters.aio.filter()
        assert "'custmer.email'" in lab.dead_letters.notice


def test_messages_that_were_given_up_have_masked_ids() -> None:
    found = ExhaustedMessage(
        uuid4(), "orders", "s", 1, "svc", 0, EVENT_ID, "order", 2, certain=True, reason="ValueError"
    )
    exhausted = Exhausted((found,), None, {}, 0, False)
    row = exhausted_frame(exhausted, Mask.parse("*.id,event_id")).iloc[0]
    assert row[["event_id", "event_type", "reason"]].tolist() == ["***", "order", "ValueError"]


def test_a_bad_pattern_is_refused_before_anything_is_opened(
    settings: NatsEventBusSettings,
) -> None:
    with pytest.raises(MaskPatternError, match=r"mask 'items\[0\].iban': a mask has no place"):
        Lab(settings, mask=["fine", "items[0].iban"])
    with pytest.raises(ValueError, match="mask_key is empty"):
        Lab(settings, mask="a", mask_key="")


async def test_an_export_goes_on_with_the_same_mask_only(
    settings: NatsEventBusSettings,
    nc: Client,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await publish(nc, settings)
    path = tmp_path / "b.csv"

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with Lab(settings, mask="*.iban") as lab, Lab(settings) as clear:
        with monkeypatch.context() as patch:
            patch.setattr(ExportJob, "finish", fail)
            with pytest.raises(OSError, match="No space left"):
                await lab.aio.export("orders", path)
        with pytest.raises(FileExistsError, match="an unfinished export with mask="):
            await clear.aio.export("orders", path)
        result = await lab.aio.export("orders", path)
        assert result.resumed_from == len(MESSAGES)
