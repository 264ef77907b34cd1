"""`varco nats` and `varco dlq` print nothing of what `VARCO_NATS_MASK` or `--mask` names."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest
from nats.js import JetStreamContext
from varco_core.event.dlq import DeadLetterEntry

from tests.core.commands.conftest import Command
from tests.events import OrderPlaced
from tests.processes import run_varco
from varco_nats import NatsDLQ
from varco_nats._masks._mask import Mask
from varco_nats.config import NatsEventBusSettings

EMAIL, IBAN, PIN, TOKEN = "ada@plant.example", "DE89PLANT3704", 770077.5, "Bearer plant-77"
PLANTED = (EMAIL, IBAN, str(PIN), TOKEN)
MASK = ["--mask", "customer.email", "--mask", "*.iban,pin", "--mask", "headers.authorization"]
PAYLOADS = [
    b'{"__event_type__": "order.placed", "customer": {"name": "Ada", "email": "%b"}, "n": 1.10}'
    % EMAIL.encode(),
    b'{"big": 12345678901234567890123, "items": [{"iban": "%b"}], "pin": %b}'
    % (IBAN.encode(), str(PIN).encode()),
    b'{"iban": "%b", "odd": NaN, "half": "\\ud800"}' % IBAN.encode(),
    b'{"iban": "%b", "cut' % IBAN.encode(),
    b"\xff" + IBAN.encode(),
    b'"his IBAN is %b"' % IBAN.encode(),
]


@pytest.fixture
async def planted(settings: NatsEventBusSettings, js: JetStreamContext) -> None:
    subject = settings.subject_name("orders")
    for data in PAYLOADS:
        await js.publish(subject, data, headers={"Authorization": TOKEN, "tenant": "acme"})


@pytest.mark.usefixtures("planted")
async def test_events_are_printed_without_what_is_masked(
    varco_nats: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    for form in ("table", "json", "csv"):
        plain = await varco_nats("frame", "--format", form)
        assert EMAIL in plain.out
        done = await varco_nats("frame", "--format", form, *MASK)
        assert (done.code, done.err) == (0, "")
        assert [value for value in PLANTED if value in done.out] == []
        # what is not masked is printed as it is stored
        assert [text for text in ("1.10", "12345678901234567890123", "Ada") if text in done.out]
    rows = (await varco_nats("frame", "--json", *MASK)).out.splitlines()
    first, second, odd, cut, binary, text = map(json.loads, rows)
    assert first["headers"] == {"Authorization": "***", "tenant": "acme"}
    assert first["data"]["customer"] == {"name": "Ada", "email": "***"}
    assert second["data"]["items"] == [{"iban": "***"}]
    assert json.loads(odd["text"])["iban"] == "***"
    assert cut["text"].startswith("(withheld: ")
    assert binary["text"] == cut["text"]
    assert text["text"] == '"***"'
    assert rows[1].count("12345678901234567890123") == rows[0].count("1.10") == 1

    monkeypatch.setenv("VARCO_NATS_MASK", "customer.email,*.iban,event_type")
    monkeypatch.setenv("VARCO_NATS_MASK_KEY", "a key")
    done = await varco_nats("frame", "--json", "--mask", "pin", "--mask", "no.such")
    first, second, *_ = map(json.loads, done.out.splitlines())
    mask = Mask.parse(["x"], "a key")  # a notebook with this key has the same pseudonyms
    assert first["data"]["customer"]["email"] == mask.of(EMAIL)
    assert second["data"]["pin"] == mask.of(PIN)
    assert first["event_type"] == mask.of("order.placed")
    assert "no.such" in done.err
    assert "customer.email" not in done.err
    done = await varco_nats("frame", "--event-type", "order.placed")
    assert done.out == ""  # or it would tell which events have it
    bad = await varco_nats("frame", "--mask", "a..b")
    assert (bad.code, bad.out) == (2, "")
    assert "mask 'a..b'" in bad.err


async def test_dead_letters_are_printed_without_what_is_masked(
    varco_nats: Command, dlq: NatsDLQ, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def entry(payload: bytes, error: str) -> DeadLetterEntry:
        fields = {"channel": "orders", "error_type": "ValueError", "error_message": error}
        return DeadLetterEntry(event=None, payload=payload, **fields)  # type: ignore[arg-type]

    await dlq.push(entry(PAYLOADS[0], f"no account {EMAIL!r}"))
    await dlq.push(entry(PAYLOADS[4], f"not JSON: {IBAN}"))
    event = OrderPlaced(order_id=EMAIL)
    await dlq.push(DeadLetterEntry(event=event, channel="orders", error_message=f"not {EMAIL}"))

    async def listed() -> str:
        arguments = ["dlq", "list", "-t", "varco_nats.cli:dlq"]
        done = await asyncio.to_thread(run_varco, arguments, dict(os.environ), tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert EMAIL in await listed()
    monkeypatch.setenv("VARCO_NATS_MASK", "customer.email,order_id,*.iban")
    for shown in (await listed(), (await varco_nats("replay")).out):
        assert [value for value in PLANTED if value in shown] == []
        assert "no account '***'" in shown
        assert "not ***" in shown
        assert "(withheld: " in shown
    shown = (await varco_nats("replay", "--json")).out
    assert [value for value in PLANTED if value in shown] == []
    refused = await varco_nats("replay", "--text", EMAIL)
    assert (refused.code, refused.out) == (2, "")
    run = await varco_nats("replay", "--run", "--confirm", "nobody", "--json")  # the true bytes
    assert [json.loads(line)["outcome"] for line in run.out.splitlines()] == ["replayed"] * 3
    assert [value for value in PLANTED if value in run.out + run.err] == []
    monkeypatch.delenv("VARCO_NATS_MASK")
    assert EMAIL in (await varco_nats("frame", "--last", "3")).out
