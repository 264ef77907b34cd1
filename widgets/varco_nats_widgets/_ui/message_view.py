"""The view of one message: facts, headers, the payload as a tree, as text and as bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import traitlets

from varco_nats_widgets._ui.parts import Part, static
from varco_nats_widgets.frames._cells import clean, format_cell
from varco_nats_widgets.frames._message import Message, tree

_MAX_BYTES = 64 * 1024  # of a payload shown as text or hex
_MAX_HEADERS = 200
_MAX_TEXT = 4000


class MessageView(Part):
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
            self.show_described(described(message), message.data)

    def show_described(self, described: dict[str, Any], data: bytes) -> None:
        """Show what `described` makes of a message, with its payload."""
        with self._traits_lock, self.hold_sync():
            self._whole = data
            self.data = data[:_MAX_BYTES]
            self.message = described

    def _on_message(self, message: dict[str, Any]) -> None:
        if message.get("type") == "whole":
            self.send({"request": message["request"]}, [self._whole])


def described(message: Message) -> dict[str, Any]:
    """What the view draws of a message, as text."""
    return description(
        f"{message.event_type or 'Message'} in {message.channel}",
        _facts(message),
        message,
        payload_of(message.payload, message.problem),
    )


class Described(Protocol):
    """What `description` needs of a message or a dead letter."""

    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def data(self) -> bytes: ...
    @property
    def is_text(self) -> bool: ...


def description(
    title: str, facts: Sequence[Sequence[str]], of: Described, tree: dict[str, Any] | None
) -> dict[str, Any]:
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
        "tree": tree,
        "is_text": of.is_text,
        "cut": cut,
        "size": f"the first {_MAX_BYTES:,} of {size} are shown" if cut else size,
    }


def payload_of(payload: Any, problem: str | None) -> dict[str, Any] | None:
    """The tree of a payload; None where it is not JSON."""
    return tree(payload) if problem is None or payload is not None else None


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
