"""The view of one message: facts, headers, the payload as a tree, as text and as bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import traitlets

from varco_nats_widgets._ui.views import BrowserWidget, static
from varco_nats_widgets.frames._cells import clean, format_cell
from varco_nats_widgets.frames._message import Message, tree

_MAX_BYTES = 64 * 1024  # of a payload shown as text or hex
_MAX_HEADERS = 200
_MAX_TEXT = 4000


class MessageView(BrowserWidget):
    """Shows one message; nothing of it is markup.

    Args:
        hint: shown where no message is open.
    """

    _esm = static("message.js")
    _css = static("message.css")

    message = traitlets.Dict().tag(sync=True)
    """What to show, as text; empty where no message is open."""
    data = traitlets.Bytes(b"").tag(sync=True)
    """The payload, or its beginning; the page asks for the rest to copy or save it."""
    hint = traitlets.Unicode("").tag(sync=True)

    def __init__(self, hint: str = "Click a row of the table to see its message.") -> None:
        self._whole = b""
        super().__init__(hint=hint)

    def show(self, message: Message | None) -> None:
        """Show `message`, or nothing; from any thread."""
        if message is None:
            self.show_described({}, b"")
        else:
            title = f"{message.event_type or 'Message'} in {message.channel}"
            described = description(title, _facts(message), message)
            self.show_described(described, message.data)

    def show_described(self, described: dict[str, Any], data: bytes) -> None:
        """Show what `description` makes of a message, with its payload; from any thread."""
        with self._traits_lock, self.hold_sync():
            self._whole = data
            self.data = data[:_MAX_BYTES]
            self.message = described

    def _on_message(self, message: dict[str, Any]) -> None:
        if message.get("type") == "whole":
            self.send({"request": message["request"]}, [self._whole])


class Described(Protocol):
    """What `description` needs of a message or a dead letter."""

    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def data(self) -> bytes: ...
    @property
    def is_text(self) -> bool: ...
    @property
    def payload(self) -> Any: ...
    @property
    def problem(self) -> str | None: ...


def description(title: str, facts: Sequence[Sequence[str]], of: Described) -> dict[str, Any]:
    """What the view draws, as text. Each fact is a name, a value and perhaps a CSS class."""
    size = f"{len(of.data):,} bytes"
    cut = len(of.data) > _MAX_BYTES
    headers = [[_text(name), _text(value)] for name, value in of.headers.items()]
    if len(headers) > _MAX_HEADERS:
        headers = [*headers[:_MAX_HEADERS], ["…", f"{len(of.headers) - _MAX_HEADERS} more"]]
    return {
        "title": _text(title),
        "facts": [[_text(part) for part in fact] for fact in facts if fact[1]],
        "headers": headers,
        "tree": tree(of.payload) if of.problem is None or of.payload is not None else None,
        "is_text": of.is_text,
        "cut": cut,
        "size": f"the first {_MAX_BYTES:,} of {size} are shown" if cut else size,
    }


def _facts(message: Message) -> list[list[str]]:
    facts = [
        ["sequence", str(message.seq)],
        ["stored at", format_cell(message.stored_at)],
        ["happened at", message.timestamp or ""],
        ["event type", message.event_type or ""],
        ["event id", message.event_id or ""],
        ["channel", message.channel],
        ["subject", message.subject],
        ["payload", f"{len(message.data):,} bytes"],
    ]
    if message.problem is not None:
        facts.append(["not readable", message.problem, "problem"])
    return facts


def _text(value: str) -> str:
    return clean(value, _MAX_TEXT)
