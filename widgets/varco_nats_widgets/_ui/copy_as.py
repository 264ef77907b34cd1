"""A message as what publishes it again: Python, a `nats` command, or JSON. Pure.

All is made of what is shown, so that what is masked there is masked here.
"""

from __future__ import annotations

import base64
import json
import shlex
from typing import Any

from varco_nats._nats.provenance import own_headers
from varco_nats_widgets.frames._decoding import JSON, WITHHELD
from varco_nats_widgets.frames._message import Message

_MAX_BYTES = 1024**2  # of a payload that is copied; more is for a file
_MAX_ARGUMENT = 100_000  # bytes of one argument of a command; Linux takes 128 KiB
_MASKED = "values are masked here: this is not what is stored"
FORMS = ("Python", "nats", "JSON")
"""What a message can be copied as."""


def copy_of(message: Message, form: str) -> str:
    """The message in one of `FORMS`; a comment where that cannot be."""
    if message.data == WITHHELD:
        return "# a mask is set, and this payload cannot be read: nothing of it is shown"
    if len(message.data) > _MAX_BYTES:
        return f"# {len(message.data):,} bytes are too many to copy: save them as a file"
    made = {"Python": _python, "nats": _command, "JSON": _json}[form](message)
    return f"# {_MASKED}\n{made}" if message.masked and form != "JSON" else made


def _python(message: Message) -> str:
    channel = message.channel if message.channel != message.subject else None
    arguments = [repr(channel), _literal(message)]
    if channel is None:
        arguments.append(f"subject={message.subject!r}")
    if headers := own_headers(message.headers):
        arguments.append(f"headers={headers!r}")
    if any(name in arguments[1] + repr(headers) for name in ("{n}", "{uuid}", "{now}")):
        arguments.append("template=False")
    return f"lab.publish({', '.join(arguments)})"


def _literal(message: Message) -> str:
    """The payload as Python writes it, with every digit; its bytes where it is no JSON."""
    if message.problem is None and message.decoder == JSON:
        made = repr(message.payload)
        if _is_same(message):
            return made
    return repr(message.data.decode()) if message.is_text else repr(message.data)


def _is_same(message: Message) -> bool:
    """Whether the value says all that the JSON does: numbers with all digits, each key once."""
    if type(message.payload) not in (dict, list):
        return False
    try:
        return bool(
            json.loads(message.data, parse_float=str, object_pairs_hook=list)
            == json.loads(
                json.dumps(message.payload, allow_nan=False),
                parse_float=str,
                object_pairs_hook=list,
            )
        )
    except (ValueError, RecursionError):
        return False


def _command(message: Message) -> str:
    data, headers = message.data, own_headers(message.headers)
    parts = ["nats", "pub"]
    for name, value in headers.items():
        parts += ["--header", f"{name}:{value}"]
    if b"{{" in data or "{{" in message.subject:
        parts.append("--no-templates")
    remark = ""
    if any("{{" in value for value in headers.values()):
        remark = "# nats fills in {{…}} in headers, whatever it is told\n"
    is_argument = message.is_text and b"\0" not in data and len(data) <= _MAX_ARGUMENT
    if is_argument:
        # what begins with a dash would be taken for an option
        return remark + shlex.join([*parts, "--", message.subject, data.decode()])
    command = shlex.join([*parts, "--force-stdin", "--", message.subject])
    return f"{remark}base64 -d <<'END' | {command}\n{base64.encodebytes(data).decode()}END"


def _json(message: Message) -> str:
    """All of the message as JSON, its payload as the value that it is."""
    whole: dict[str, Any] = {
        "subject": message.subject,
        "seq": message.seq,
        "stored_at": message.stored_at.isoformat(),
        "headers": dict(message.headers),
    }
    if message.masked:
        whole["remark"] = _MASKED
    head = json.dumps(whole, ensure_ascii=False, indent=2)[:-2]
    if message.problem is None and message.decoder == JSON and message.is_text:
        text = message.data.decode().strip()
        return f'{head},\n  "payload": {text}\n}}'
    if message.problem is None:
        return f'{head},\n  "payload": {json.dumps(message.payload, ensure_ascii=False)}\n}}'
    if message.is_text:
        return f'{head},\n  "text": {json.dumps(message.data.decode(), ensure_ascii=False)}\n}}'
    return f'{head},\n  "base64": "{base64.b64encode(message.data).decode()}"\n}}'
