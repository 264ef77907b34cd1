"""For tests of where a view is drawn."""

from __future__ import annotations

import threading
from typing import Any

from varco_nats_widgets._ui.model_view import ModelView


def drawn_elsewhere(view: ModelView[Any], *parts: Any) -> list[str]:
    """What is set in these parts of `view` from now on by a thread that does not draw then."""
    found: list[str] = []

    def on_change(change: Any) -> None:
        if threading.get_ident() not in view._drawing:
            found.append(f"{change['name']} of {change['owner']!r}")

    for part in parts:
        part.observe(on_change)
        part.layout.observe(on_change)
    return found
