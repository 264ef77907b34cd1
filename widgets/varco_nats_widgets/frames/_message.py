"""One message whole: what it says, its headers and its bytes. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from varco_nats.history import StoredMessage
from varco_nats_widgets.frames._cells import clean
from varco_nats_widgets.frames._payload import decode, take_apart

__all__ = ["Message", "is_text", "tree"]

_MAX_NODES = 5000
_MAX_TEXT = 10_000  # characters of one value in a tree
_MAX_DEPTH = 60
_KINDS = {dict: "object", list: "list", str: "text", bool: "boolean", type(None): "null"}


@dataclass(frozen=True)
class Message:
    """One stored message."""

    seq: int
    """Its stream sequence."""
    channel: str
    subject: str
    stored_at: pd.Timestamp
    event_type: str | None
    event_id: str | None
    timestamp: str | None
    """When the event says that it happened, as it is written there."""
    headers: Mapping[str, str]
    data: bytes = field(repr=False)
    """The payload as it is stored."""
    problem: str | None
    """Why the payload is no event, in words; None if it is one."""
    payload: Any = field(repr=False)
    """The payload's JSON, whatever it is; None if it is none."""

    def __repr__(self) -> str:
        return f"Message({self.seq})"

    @property
    def is_text(self) -> bool:
        """Whether the payload can be shown as text: UTF-8 without control characters."""
        return is_text(self.data)


def is_text(data: bytes) -> bool:
    """Whether `data` is UTF-8 without control characters."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return False
    return not any(ord(char) < 32 and char not in "\t\n\r" for char in text)


def message_of(stored: StoredMessage, channel_of: Callable[[str], str]) -> Message:
    """What a stored message is to somebody who looks at it."""
    event, problem = decode(stored.data)
    fields = take_apart(event)
    try:
        payload = json.loads(stored.data.decode())
    except (ValueError, RecursionError):
        payload = None
    return Message(
        seq=stored.seq,
        channel=channel_of(stored.subject),
        subject=stored.subject,
        stored_at=pd.Timestamp(stored.time_ns, tz="UTC"),
        event_type=fields.event_type,
        event_id=fields.event_id,
        timestamp=fields.timestamp,
        headers=dict(stored.headers or {}),
        data=stored.data,
        problem=problem,
        payload=payload,
    )


def tree(value: Any, name: str = "") -> dict[str, Any]:
    """A JSON value as nodes to draw: `name`, `kind`, and `text` or `children`, all text.

    Numbers are text, as a browser's would lose digits. At most 5,000 nodes and 60 levels; what
    is left out is counted in `left_out`.
    """
    left = [_MAX_NODES]

    def node(name: str, value: Any, depth: int) -> dict[str, Any]:
        left[0] -= 1
        kind = _KINDS.get(type(value), "number")
        made: dict[str, Any] = {"name": clean(name, _MAX_TEXT), "kind": kind}
        if type(value) not in (dict, list):
            made["text"] = clean(value if kind == "text" else json.dumps(value), _MAX_TEXT)
            return made
        pairs = value.items() if type(value) is dict else enumerate(value)
        made["size"] = len(value)
        made["children"] = children = []
        if depth < _MAX_DEPTH:
            for key, inner in pairs:
                if left[0] <= 0:
                    break
                children.append(node(str(key), inner, depth + 1))
        made["left_out"] = len(value) - len(children)
        return made

    return node(name, value, 0)
