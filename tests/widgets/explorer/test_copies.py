"""A message copied as Python, as a `nats` command and as JSON: what it says is what is stored."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from typing import Any

import pandas as pd
import pytest
from varco_nats_widgets import Lab
from varco_nats_widgets._ui.copy_as import copy_of
from varco_nats_widgets._ui.message_view import image_kind
from varco_nats_widgets.frames._decoding import Decoding
from varco_nats_widgets.frames._message import Message, message_of

from tests.foreign import picture
from varco_nats._masks._mask import Mask
from varco_nats.history import StoredMessage

SUBJECT = "dev.rome.$HOME.'x'"
PAYLOADS = [
    b'{"a": 1, "b": "\'quoted\' \\"twice\\" $HOME `id` \\\\ !x"}',
    b'{"price": 0.10, "big": 123456789012345678901234567890}',
    b'{"twice": 1, "twice": 2}',
    b'{"at": "{now}", "n": "{n}"}',
    b'{"template": "{{ID}}"}',
    "größer ✓\nzweite Zeile\ttab".encode(),
    b"-rf --help",
    b"",
    b"\x00\xff\xfe binary",
    b"[1, 2.5, null]",
    b'"text"',
    b"x" * 200_000,
]
HEADERS = {"Site": "rome's $HOME", "Nats-Msg-Id": "not to be copied", "A": "b:c"}


def message(
    data: bytes, headers: Mapping[str, str] | None = None, decoding: Decoding | None = None
) -> Message:
    stored = StoredMessage(7, SUBJECT, 0, data, headers)
    return message_of(stored, decoding or Decoding(str))


@pytest.mark.parametrize("data", PAYLOADS)
def test_the_command_gives_the_shell_exactly_these_words(data: bytes) -> None:
    """A function takes the place of `nats`, which is not there: it writes what it was given."""
    command = copy_of(message(data, HEADERS), "nats")
    nats = "nats() { printf '%d\\0' $#; printf '%s\\0' \"$@\"; cat; }"
    shell = shutil.which("bash") or "sh"
    done = subprocess.run(
        [shell], input=f"{nats}\n{command}\n".encode(), capture_output=True, check=True, timeout=30
    )
    assert done.stderr == b""
    count, _, rest = done.stdout.partition(b"\0")
    *words, piped = rest.split(b"\0", int(count))
    assert words[:5] == [b"pub", b"--header", b"Site:rome's $HOME", b"--header", b"A:b:c"]
    assert (b"--no-templates" in words) == (b"{{" in data)
    place = words.index(b"--")
    assert words[place + 1] == SUBJECT.encode()
    if b"--force-stdin" in words:
        assert piped == data
        assert len(data) > 100_000 or not message(data).is_text
    else:
        assert words[place + 2 :] == [data]


@pytest.mark.parametrize("data", PAYLOADS)
def test_the_line_of_python_publishes_the_same_again(data: bytes) -> None:
    code = copy_of(message(data, {"Site": "rome", "Nats-Msg-Id": "1"}), "Python")
    calls: list[tuple[Any, dict[str, Any]]] = []

    class Recorder:
        def publish(self, channel: str | None, content: Any, **options: Any) -> None:
            calls.append((content, options))

    eval(code, {"lab": Recorder()})
    [(content, options)] = calls
    assert options["subject"] == SUBJECT
    assert options["headers"] == {"Site": "rome"}
    assert ("template" in options) == (b"{n}" in data)
    if isinstance(content, (dict, list)):
        assert content == json.loads(data)
        assert b"0.10" not in data
        assert data.count(b"twice") != 2 or b"quoted" in data
    else:
        assert (content.encode() if isinstance(content, str) else content) == data


@pytest.mark.parametrize("data", PAYLOADS)
def test_json_has_all_of_the_message(data: bytes) -> None:
    whole = json.loads(copy_of(message(data, HEADERS), "JSON"))
    assert whole["subject"] == SUBJECT
    assert whole["headers"] == HEADERS
    assert whole["stored_at"] == pd.Timestamp(0, tz="UTC").isoformat()
    assert ("payload" in whole) == (message(data).problem is None)
    if "text" in whole:
        assert whole["text"].encode() == data


def test_what_is_masked_is_masked_in_every_copy() -> None:
    decoding = Decoding(str, mask=Mask.parse("email, headers.token"))
    plain = b'{"email": "ada@plant.example", "n": 1}'
    for data in (plain, plain[:-3], b"\xff plant"):
        masked = message(data, {"token": "plant-token", "a": "b"}, decoding)
        for form in ("Python", "nats", "JSON"):
            text = copy_of(masked, form)
            assert "plant" not in text
            assert "mask" in text


def test_too_much_is_not_copied() -> None:
    assert "save them as a file" in copy_of(message(b"x" * 1_048_577), "Python")


async def test_a_copied_line_does_it_on_a_real_server(lab: Lab) -> None:
    value = {"__event_type__": "t", "a": [1, {"b": None}], "text": "{n} 'x'"}
    await lab.aio.publish("orders", value, template=False, headers={"tenant": "acme"}, run=True)
    explorer = await lab.aio.explore("orders")
    opened = await explorer.aio.open(1)
    code = copy_of(opened, "Python")
    assert code.startswith("lab.publish('orders', {'__event_type__': 't'")
    publication = await eval(code.replace("lab.publish", "lab.aio.publish"), {"lab": lab})
    await publication.aio.run()
    frame = await lab.aio.frame("orders", headers=True)
    assert frame["text"].tolist() == ["{n} 'x'"] * 2
    assert frame["headers"].tolist() == [{"tenant": "acme"}] * 2
    assert frame["event_id"].nunique() == 1
    explorer.close()


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (picture(), "image/png"),
        (b"\xff\xd8\xff\xe0rest", "image/jpeg"),
        (b"GIF89a rest", "image/gif"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp"),
        (b"RIFF\x00\x00\x00\x00WAVE", ""),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", ""),
        (b"", ""),
    ],
)
def test_images_are_known_by_their_first_bytes(data: bytes, kind: str) -> None:
    assert image_kind(data) == kind
