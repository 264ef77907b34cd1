"""The progress of a long operation, shown to whoever waits for it.

The operation sets the numbers on the lab's thread. Whoever waits reads them ten times a second, in
the thread or loop that waits, so that a callback prints into the right cell.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any

from varco_nats.errors import StoppedError
from varco_nats_widgets._notebook import running_shell
from varco_nats_widgets._ui.controls import close_all

ProgressCallback = Callable[[int, int], object]
"""Called with the number of messages read so far and the number of all."""

DELAY_SECONDS = 1.0
"""An operation that ends sooner shows no bar."""

_TICK_SECONDS = 0.1
_WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


class Progress:
    """The progress of one operation.

    Args:
        what: the operation in words, for the message when it is stopped.
        show: a callback; None or True for a bar in a notebook; False for nothing.

    Raises:
        TypeError: `show` is something else.
    """

    def __init__(self, what: str, show: ProgressCallback | bool | None = None) -> None:
        if show is not None and not callable(show) and not isinstance(show, bool):
            raise TypeError(
                f"progress={show!r}: give a function of (done, total), or False for no bar"
            )
        self.what = what
        self.done = 0
        self.total = 0
        self.stopped = False
        self._callback = show if callable(show) else None
        self._bar_wanted = show is None or show is True

    def stop_error(self) -> StoppedError:
        return StoppedError(self.what, self.done, self.total)

    def wait(self, future: Future[Any]) -> None:
        """Block until `future` is done, and show the progress meanwhile."""
        view = self._view()
        if view is None:
            # in short waits: an interrupt that comes just before one would not end a longer one
            while not future.done():
                wait([future], timeout=_TICK_SECONDS)
            return
        try:
            wait([future], timeout=view.delay)
            while not future.done():
                view.show(self.done, self.total)
                wait([future], timeout=_TICK_SECONDS)
        finally:
            view.end(self.done, self.total, failed=not _succeeded(future))

    async def wait_async(self, future: asyncio.Future[Any]) -> None:
        """Wait until `future` is done, and show the progress meanwhile, with a button to cancel.

        Raises:
            StoppedError: the button was clicked.
        """
        view = self._view(cancel=lambda: self._stop(future))
        if view is None:
            return
        try:
            await asyncio.wait([future], timeout=view.delay)
            while not future.done():
                view.show(self.done, self.total)
                await asyncio.wait([future], timeout=_TICK_SECONDS)
        finally:
            view.end(self.done, self.total, failed=not _succeeded(future))
        if self.stopped:
            raise self.stop_error()

    def _stop(self, future: asyncio.Future[Any]) -> None:
        self.stopped = future.cancel()

    def _view(self, cancel: Callable[[], object] | None = None) -> _CallbackView | _BarView | None:
        if self._callback is not None:
            return _CallbackView(self._callback)
        if self._bar_wanted and in_notebook():
            return _BarView(cancel)
        return None


def in_notebook() -> bool:
    """Whether this is the main thread of a kernel, whose output appears under a cell."""
    on_main_thread = threading.current_thread() is threading.main_thread()
    return on_main_thread and getattr(running_shell(), "kernel", None) is not None


def _hears_clicks() -> bool:
    """Whether the kernel handles a click while a cell awaits; ipykernel 6 does so afterwards."""
    ipykernel = sys.modules.get("ipykernel")
    return ipykernel is not None and int(ipykernel.version_info[0]) >= 7


def _succeeded(future: Future[Any] | asyncio.Future[Any]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None


class _CallbackView:
    delay = 0.0

    def __init__(self, callback: ProgressCallback) -> None:
        self.show = callback

    def end(self, done: int, total: int, *, failed: bool) -> None:
        if not failed:
            self.show(done, total)


class _BarView:
    """A bar that is displayed when first shown and leaves nothing in the notebook at its end.

    Args:
        cancel: called by a button, if the kernel handles clicks meanwhile; None for a plain call,
            during which it does not.
    """

    delay = DELAY_SECONDS

    def __init__(self, cancel: Callable[[], object] | None) -> None:
        self._cancel = cancel
        self._display_id = uuid.uuid4().hex
        self._box: Any = None  # ipywidgets is untyped

    def show(self, done: int, total: int) -> None:
        if self._box is None:
            self._open()
        bar, text, *_ = self._box.children
        bar.max, bar.value = max(total, 1), min(done, total)
        text.value = f"{done:,} of {total:,} messages" if total else "looking"

    def end(self, done: int, total: int, *, failed: bool) -> None:
        if self._box is not None:
            self._publish({}, update=True)
            close_all(self._box)

    def _open(self) -> None:
        from ipywidgets import HTML, Button, HBox, IntProgress

        children: list[Any] = [IntProgress(), HTML()]
        if self._cancel is not None and _hears_clicks():
            cancel = self._cancel
            button = Button(description="Cancel")
            button.on_click(lambda _: cancel())
            children.append(button)
        else:
            children.append(HTML("(interrupt the kernel to stop)"))
        self._box = HBox(children)
        view = {"version_major": 2, "version_minor": 0, "model_id": self._box.model_id}
        # without a text version, nbval does not compare this output
        self._publish({_WIDGET_VIEW: view}, update=False)

    def _publish(self, data: dict[str, Any], *, update: bool) -> None:
        from IPython import display

        publish: Any = display.publish_display_data  # IPython is not typed throughout
        publish(data, transient={"display_id": self._display_id}, update=update)
