"""One message in full: its event, its headers and its bytes. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from varco_nats.history import StoredMessage
from varco_nats_widgets.frames._cells import clean
from varco_nats_widgets.frames._decoding import Decoding
from varco_nats_widgets.frames._payload import take_apart

_MAX_NODES = 5000
_MAX_TEXT = 10_000  # characters of one value in a tree
_MAX_DEPTH = 60
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]")  # control characters that no text has
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
    """When the event happened, in the event's own words."""
    headers: Mapping[str, str]
    data: bytes = field(repr=False)
    """The payload as it is stored; where values are masked, as JSON without them."""
    problem: str | None
    """Why the payload cannot be read; None if it can."""
    payload: Any = field(repr=False)
    """What the payload says, of whatever kind; None where there is a problem."""
    decoder: str = "json"
    """The name of the decoder that read it."""
    masked: bool = False
    """Whether the lab has a mask, so that `data` need not be as it is stored."""

    def __repr__(self) -> str:
        return f"Message({self.seq})"

    @property
    def is_text(self) -> bool:
        """Whether the payload can be shown as text: UTF-8 without control characters."""
        return is_text(self.data)


def is_text(data: bytes) -> bool:
    """Whether `data` is UTF-8 without control characters."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return _CONTROL.search(data) is None


def json_of(data: bytes) -> Any:
    """`data` as JSON, of whatever kind; None if it is not JSON."""
    try:
        return json.loads(data.decode())
    except (ValueError, RecursionError):
        return None


def message_of(stored: StoredMessage, decoding: Decoding) -> Message:
    """The message with its payload decoded."""
    decoded = decoding.decode(stored)
    fields = take_apart(decoded.event)
    return Message(
        seq=stored.seq,
        channel=decoding.channel_of(stored.subject),
        subject=stored.subject,
        stored_at=pd.Timestamp(stored.time_ns, tz="UTC"),
        event_type=fields.event_type,
        event_id=fields.event_id,
        timestamp=fields.timestamp,
        headers=decoding.headers(stored.headers) or {},
        data=decoding.raw(stored),
        problem=decoded.problem,
        payload=decoded.value,
        decoder=decoded.decoder,
        masked=decoding.mask is not None,
    )


def tree(value: Any, name: str = "") -> dict[str, Any]:
    """A JSON value as nodes to draw: `name`, `kind`, and either `text` or `size` and `children`.

    Numbers are text, because a number in the browser would lose digits. There are at most 5,000
    nodes and 60 levels; `left_out` counts the children that a node lacks.
    """
    nodes_left = _MAX_NODES

    def node_of(name: str, value: Any, depth: int) -> dict[str, Any]:
        nonlocal nodes_left
        nodes_left -= 1
        kind = _KINDS.get(type(value), "number")
        node: dict[str, Any] = {"name": clean(name, _MAX_TEXT), "kind": kind}
        if type(value) not in (dict, list):
            node["text"] = clean(value if kind == "text" else json.dumps(value), _MAX_TEXT)
            return node
        pairs = value.items() if type(value) is dict else enumerate(value)
        node["size"] = len(value)
        node["children"] = children = []
        if depth < _MAX_DEPTH:
            for key, inner in pairs:
                if nodes_left <= 0:
                    break
                children.append(node_of(str(key), inner, depth + 1))
        node["left_out"] = len(value) - len(children)
        return node

    return node_of(name, value, 0)
