"""The view of one message: facts, headers, the payload as a tree, as text and as bytes."""

from __future__ import annotations

from typing import Any

import traitlets

from varco_nats_widgets._cells import clean, format_cell
from varco_nats_widgets._explorer_parts import Part, static
from varco_nats_widgets._message import Message, tree

_MAX_BYTES = 64 * 1024  # of a payload shown as text or hex
_MAX_HEADERS = 200
_MAX_TEXT = 4000


class MessageView(Part):
    """Shows one message; nothing of it is markup."""

    _esm = static("message.js")

    message = traitlets.Dict().tag(sync=True)
    """What to show, as text; empty where no message is open."""
    data = traitlets.Bytes(b"").tag(sync=True)
    """The payload, or its beginning."""

    def show(self, message: Message | None) -> None:
        """Show `message`, or nothing; from any thread."""
        with self._traits_lock, self.hold_sync():
            self.data = message.data[:_MAX_BYTES] if message is not None else b""
            self.message = described(message) if message is not None else {}


def described(message: Message) -> dict[str, Any]:
    """What the view draws of a message, as text."""
    size = f"{len(message.data):,} bytes"
    cut = len(message.data) > _MAX_BYTES
    headers = [[_text(name), _text(value)] for name, value in message.headers.items()]
    if len(headers) > _MAX_HEADERS:
        headers = [*headers[:_MAX_HEADERS], ["…", f"{len(message.headers) - _MAX_HEADERS} more"]]
    is_json = message.problem is None or message.payload is not None
    return {
        "title": _text(f"{message.event_type or 'Message'} in {message.channel}"),
        "facts": _facts(message, size),
        "headers": headers,
        "tree": tree(message.payload) if is_json else None,
        "is_text": message.is_text,
        "size": f"the first {_MAX_BYTES:,} of {size}" if cut else size,
    }


def _facts(message: Message, size: str) -> list[list[str]]:
    facts = [
        ["sequence", str(message.seq)],
        ["stored at", format_cell(message.stored_at)],
        ["happened at", message.timestamp or ""],
        ["event type", message.event_type or ""],
        ["event id", message.event_id or ""],
        ["channel", message.channel],
        ["subject", message.subject],
        ["payload", size],
    ]
    shown = [[name, _text(value)] for name, value in facts if value]
    if message.problem is not None:
        shown.append(["not readable", _text(message.problem), "problem"])
    return shown


def _text(value: str) -> str:
    return clean(value, _MAX_TEXT)
