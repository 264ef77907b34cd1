"""What differs from message to message: `{n}`, `{uuid}` and `{now}` in texts. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

_PLACEHOLDER = re.compile(r"\{(n|uuid|now)\}")
_NUMBER = "{n}"


def now_text() -> str:
    """This moment as varco's events have it: ISO 8601, UTC as `Z`."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Filling:
    """What the placeholders stand for in one message."""

    number: int
    """From 1."""
    uuid: str = field(default_factory=lambda: str(uuid4()))
    now: str = field(default_factory=now_text)

    def text(self, text: str) -> str:
        """`text` with everything that it stands for."""
        if "{" not in text:
            return text
        values = {"n": str(self.number), "uuid": self.uuid, "now": self.now}
        return _PLACEHOLDER.sub(lambda found: values[found[1]], text)

    def value(self, value: Any) -> Any:
        """The same in each text of a JSON value; a text that is only `{n}` becomes the number."""
        if isinstance(value, str):
            return self.number if value == _NUMBER else self.text(value)
        if isinstance(value, Mapping):
            return {name: self.value(inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [self.value(inner) for inner in value]
        return value


def placeholders(value: Any) -> set[str]:
    """The placeholders in the texts of a value."""
    if isinstance(value, str):
        return {f"{{{name}}}" for name in _PLACEHOLDER.findall(value)} if "{" in value else set()
    if isinstance(value, Mapping):
        return set().union(*map(placeholders, value.values()))
    if isinstance(value, list):
        return set().union(*map(placeholders, value))
    return set()
