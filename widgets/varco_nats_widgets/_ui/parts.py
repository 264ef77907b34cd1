"""The small views that an explorer is made of, besides table, chart and message."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import traitlets

from varco_nats_widgets._ui.views import View, static

__all__ = ["ChannelList", "CodeLine", "Part", "StatusBar", "static"]


class Part(View):
    """A view that is nothing by itself: no HTML for a notebook without a kernel."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def _static_html(self) -> str:
        return ""


class ChannelList(Part):
    """Channels to pick from, with how many messages they hold and get.

    Args:
        on_sight: called with whether it is in sight in any browser, when that changes.
    """

    _esm = static("channels.js")
    _css = static("channels.css")

    channels: Any = traitlets.List().tag(sync=True)
    """For each its name, its count and its rate as text, and whether something arrives."""
    chosen = traitlets.List(traitlets.Unicode()).tag(sync=True)
    """The names of those that are picked."""

    def __init__(self, on_sight: Callable[[bool], object]) -> None:
        self._on_sight = on_sight
        self._in_sight: set[str] = set()  # its views that are
        super().__init__()

    def _on_message(self, message: dict[str, Any]) -> None:
        if message.get("type") == "sight":
            change = self._in_sight.add if message["seen"] else self._in_sight.discard
            change(str(message["view"]))
            self._on_sight(bool(self._in_sight))


class StatusBar(Part):
    """Where one is, how far the reading is, and what went wrong.

    Args:
        on_click: called with `stop` or `retry` when that button is clicked.
    """

    _esm = static("status.js")
    _css = static("status.css")

    place = traitlets.Unicode("").tag(sync=True)
    progress = traitlets.Dict().tag(sync=True)
    reading = traitlets.Unicode("").tag(sync=True)
    notice = traitlets.Unicode("").tag(sync=True)
    problem = traitlets.Unicode("").tag(sync=True)
    retry = traitlets.Bool(True).tag(sync=True)
    """Whether what went wrong can be tried again."""

    def __init__(self, on_click: Callable[[str], object]) -> None:
        self._on_click = on_click
        super().__init__(progress={"busy": False, "done": 0, "total": 0})

    def _on_message(self, message: dict[str, Any]) -> None:
        if message.get("do") in ("stop", "retry"):
            self._on_click(message["do"])


class CodeLine(Part):
    """A line of Python with a button that copies it.

    Args:
        label: what it is, for screen readers.
        empty: shown where there is none.
    """

    _esm = static("code.js")
    _css = static("code.css")

    code = traitlets.Unicode("").tag(sync=True)
    label = traitlets.Unicode("").tag(sync=True)
    empty = traitlets.Unicode("").tag(sync=True)

    def __init__(self, label: str, empty: str) -> None:
        super().__init__(label=label, empty=empty)
