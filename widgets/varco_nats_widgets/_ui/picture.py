"""The picture of a widget: what a saved notebook shows where there is no kernel.

A cell that shows a widget gets two outputs: the widget, and before it the picture, which is hidden
for as long as the widget is drawn. Only the picture is renewed: to update the widget's own output
would draw the widget anew. JupyterLab reports a widget that it does not find; beside a picture that
report is hidden. Why a save renews none is in docs/decisions/0010.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import ipywidgets

from varco_nats_widgets._notebook import running_shell

_logger = logging.getLogger("varco_nats")

MAX_BYTES = 200_000
"""Of a picture at most; one that would be larger is not shown."""

_QUIET = 0.4  # seconds without a change after which a widget that has settled is pictured
_LIVE_SECONDS = 10.0  # between two pictures of one that goes on changing
_SHARE = 0.05  # of the time at most, for making pictures
_LINGER = 1.0  # seconds without a change after which the thread ends
_FAILED = "<p>This view could not be drawn.</p>"
_TOO_LARGE = "<p>This view is too large to be kept in a notebook; run the cell to see it.</p>"

# The report and the widget are found by what JupyterLab, Notebook and Voila call their parts.
_PICTURE_STYLE = """
.jp-OutputArea-child:has(.{picture}) + .jp-OutputArea-child
  > .jp-OutputArea-output:not([data-mime-type], :has(*)) {{display: none}}
.varco-picture.{picture} :is(td, th) {{text-align: left; white-space: nowrap}}
"""
_FIRST_STYLE = """
@keyframes varco-wait {{from, to {{max-height: 0; overflow: hidden; visibility: hidden}}}}
.{picture} {{animation: varco-wait 1.5s}}
"""  # time for the widget to be drawn, so that nothing is seen to be replaced
_LIVE_STYLE = """
.varco-closed {{background: color-mix(in srgb, currentColor 7%, transparent)}}
.varco-closed .varco-channel {{pointer-events: none}}
.jp-OutputArea:has(.{live}) > .jp-OutputArea-child:has(.{picture}) {{display: none}}
.{picture}:not(.jp-OutputArea *) {{display: none}}
"""


class Picture:
    """The picture of one widget, in all outputs that show it; renewed soon after a change.

    Args:
        make: gives it as HTML without scripts; "" where there is nothing any more to make it of.
        is_settled: whether the widget is as it will stay. One that goes on changing is pictured
            every ten seconds.
    """

    def __init__(self, make: Callable[[], str], is_settled: Callable[[], bool]) -> None:
        self._make = make
        self._is_settled = is_settled
        self._id = uuid.uuid4().hex[:12]
        self._shell: Any = None  # of the notebook, once the widget is shown in one
        self._published = ""  # by the last renewal
        self._cost = 0.0  # of making the last one, in seconds
        self._made = float("-inf")
        self._changed = float("-inf")
        self._pending = self._closed = False
        self._condition = threading.Condition()
        self._publishing = threading.RLock()
        self._thread: threading.Thread | None = None
        names = {"picture": f"varco-picture-{self._id}", "live": f"varco-live-{self._id}"}
        self._names = names
        self.hider: Any = ipywidgets.HTML(
            f"<style>{_LIVE_STYLE.format(**names)}</style>", layout={"display": "none"}
        )
        """A part of the widget: where it is drawn, the picture is not."""
        self.hider.add_class(names["live"])

    def show(self) -> bool:
        """Show it in the cell that runs; whether there is one."""
        shell = running_shell()
        if getattr(shell, "kernel", None) is None:
            return False
        self._shell = shell
        with self._publishing:
            self._published = ""
            self._publish(self._drawn(), update=False)
        self.renew()  # without what is only for the first moments
        return True

    def renew(self) -> None:
        """Renew it soon, if it is shown anywhere; from any thread, returns at once."""
        with self._condition:
            if self._closed or self._shell is None:
                return
            self._changed = time.monotonic()
            self._pending = True
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="Picture", daemon=True)
                self._thread.start()

    def flush(self) -> None:
        """Renew it now if something has changed."""
        with self._publishing:
            if self._take():
                drawn = self._drawn()
                if drawn and drawn != self._published:
                    self._publish(drawn, update=True)
                    self._published = drawn

    def close(self) -> None:
        """Renew it for the last time."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()
            thread = self._thread
        self.flush()
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _work(self) -> None:
        while self._wait():
            self.flush()

    def _wait(self) -> bool:
        """Until a picture is due; False ends the thread."""
        with self._condition:
            self._condition.wait_for(lambda: self._pending or self._closed, _LINGER)
            while self._pending and not self._closed:
                now = time.monotonic()
                due = self._changed + _QUIET if self._is_settled() else self._made + _LIVE_SECONDS
                due = max(due, self._made + self._cost / _SHARE)
                if now >= due:
                    return True
                self._condition.wait(min(due - now, _QUIET))
            if self._pending and not self._closed:
                return True
            self._thread = None
            return False

    def _take(self) -> bool:
        with self._condition:
            pending, self._pending = self._pending, False
            return pending

    def _drawn(self) -> str:
        started = time.monotonic()
        try:
            drawn = self._make()
        except Exception:
            _logger.warning("the picture of a widget failed", exc_info=True)
            drawn = _FAILED
        self._made = time.monotonic()
        self._cost = self._made - started
        return drawn if len(drawn.encode()) <= MAX_BYTES else _TOO_LARGE

    def _publish(self, drawn: str, *, update: bool) -> None:
        style = _PICTURE_STYLE if update else _PICTURE_STYLE + _FIRST_STYLE
        name = self._names["picture"]
        markup = (
            f'<div class="varco-picture {name}"><style>{style.format(picture=name)}</style>{drawn}'
            f"<p><small>As it was at {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC. "
            "Run the cell for the widget itself.</small></p></div>"
        )
        self._shell.display_pub.publish(
            {"text/html": markup}, {}, transient={"display_id": name}, update=update
        )
