"""Which view draws a model: each view registers for its model's type, and a model knows none."""

from __future__ import annotations

from functools import singledispatch
from typing import Any, Protocol


class View(Protocol):
    """What draws a model in a notebook."""

    def mimebundle(self, text: str) -> dict[str, Any]:
        """What a cell shows of it; `text` where there are no widgets."""

    def close(self) -> None:
        """End it in every browser."""


@singledispatch
def view_of(model: object, *parts: Any) -> Any:
    """A new view of `model`, which also gets what else it needs of it."""
    raise TypeError(f"no view draws a {type(model).__name__}")
