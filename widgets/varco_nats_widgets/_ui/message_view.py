"""The view of one message: facts, headers, the payload as a tree, as text and as bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import traitlets

from varco_nats_widgets._ui.copy_as import FORMS, copy_of
from varco_nats_widgets._ui.views import BrowserWidget, static
from varco_nats_widgets.frames._cells import clean, format_cell
from varco_nats_widgets.frames._known_headers import header_meaning
from varco_nats_widgets.frames._message import Message, is_text, tree

_MAX_BYTES = 64 * 1024  # of a payload shown as text or hex
_MAX_HEADERS = 200
_MAX_TEXT = 4000
_IMAGES = (
    ("image/png", b"\x89PNG\r\n\x1a\n"),
    ("image/jpeg", b"\xff\xd8\xff"),
    ("image/gif", b"GIF87a"),
    ("image/gif", b"GIF89a"),
)
MASKED = ["mask", "values are masked here, and the bytes are not those that are stored"]
"""The fact that is shown of messages of a lab with a mask."""


class MessageView(BrowserWidget):
    """Shows one message; nothing of it is markup.

    Args:
        hint: shown where no message is open.
        on_step: called with 1 or -1 to open the message after or before; None has no way to.
        on_compare: called with what to compare with, one of `comparisons`; None compares nothing.
        on_send: called when the user wants to edit the message and send it again; None has no way
            to.
    """

    _esm = static("message.js")
    _css = static("message.css")

    message = traitlets.Dict().tag(sync=True)
    """What to show, as text; empty where no message is open."""
    data = traitlets.Bytes(b"").tag(sync=True)
    """The payload, or its beginning; the page asks for the rest to copy or save it."""
    hint = traitlets.Unicode("").tag(sync=True)
    can = traitlets.List(traitlets.Unicode()).tag(sync=True)
    """What can be done with a message, beside looking: `step`, `compare`, `send`."""
    comparisons: Any = traitlets.List().tag(sync=True)
    """What it can be compared with: a name and what is shown for it."""
    compared = traitlets.Unicode("").tag(sync=True)
    """Which of them it is compared with; "" is none."""
    difference: Any = traitlets.Dict().tag(sync=True)
    """What differs: a title, rows of path, before, after and growth; empty compares nothing."""

    def __init__(
        self,
        hint: str = "Click a row of the table to see its message.",
        *,
        on_step: Callable[[int], object] | None = None,
        on_compare: Callable[[str], object] | None = None,
        on_send: Callable[[], object] | None = None,
    ) -> None:
        self._whole = b""
        self._shown: Message | None = None
        self._do: dict[str, Callable[..., object] | None] = {
            "step": on_step,
            "compare": on_compare,
            "send": on_send,
        }
        super().__init__(hint=hint, can=[name for name, do in self._do.items() if do is not None])

    def show(self, message: Message | None) -> None:
        """Show `message`, or nothing; from any thread."""
        if message is None:
            self.show_described({}, b"")
            return
        title = f"{message.event_type or 'Message'} in {message.channel}"
        body = message.headers, message.data, message.payload, message.problem
        described = description(title, _facts(message), *body)
        self.show_described({**described, "forms": list(FORMS)}, message.data, message)

    def show_described(
        self, described: dict[str, Any], data: bytes, message: Message | None = None
    ) -> None:
        """Show what `description` makes of a message, with its payload; from any thread."""
        with self._traits_lock, self.hold_sync():
            self._whole, self._shown = data, message
            self.data = data[:_MAX_BYTES]
            self.message = described

    def reveal(self) -> None:
        """Have the page scroll so far that the message that is shown is in sight."""
        self.send({"type": "reveal"})

    def _on_message(self, message: dict[str, Any]) -> None:
        kind = message.get("type")
        if kind == "whole":
            self.send({"request": message["request"]}, [self._whole])
        elif kind == "copy" and self._shown is not None and message["form"] in FORMS:
            text = copy_of(self._shown, message["form"])
            self.send({"request": message["request"]}, [text.encode(errors="backslashreplace")])
        elif (do := self._do.get(str(kind))) is not None:
            do(*([message["value"]] if "value" in message else []))


def description(
    title: str,
    facts: Sequence[Sequence[str]],
    headers: Mapping[str, str],
    data: bytes,
    payload: Any,
    problem: str | None,
) -> dict[str, Any]:
    """What the view draws, as text.

    Each fact and each header is a name, a value, and perhaps a CSS class and what the name means.
    """
    size = f"{len(data):,} bytes"
    cut = len(data) > _MAX_BYTES
    named = [
        [_text(name), _text(value), "", header_meaning(name)] for name, value in headers.items()
    ]
    if len(named) > _MAX_HEADERS:
        named = [*named[:_MAX_HEADERS], ["…", f"{len(named) - _MAX_HEADERS} more"]]
    return {
        "title": _text(title),
        "facts": [[_text(part) for part in fact] for fact in facts if fact[1]],
        "headers": named,
        "tree": tree(payload) if problem is None or payload is not None else None,
        "is_text": is_text(data),
        "image": image_kind(data),
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
        ["payload", f"{len(message.data):,} bytes, read as {message.decoder}"],
    ]
    if message.masked:
        facts.append(MASKED)
    if message.problem is not None:
        facts.append(["not readable", message.problem, "problem"])
    return facts


def image_kind(data: bytes) -> str:
    """The media type of an image that browsers show, by its first bytes; "" if it is none."""
    for kind, beginning in _IMAGES:
        if data.startswith(beginning):
            return kind
    return "image/webp" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else ""


def _text(value: str) -> str:
    return clean(value, _MAX_TEXT)
