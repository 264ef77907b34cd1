"""How views follow fast data: a limited number of calls a second, and always one at the end."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

_LINGER = 1.0  # seconds without a trigger after which the thread ends

_log = logging.getLogger(__name__)


class Coalescer:
    """Calls `callback` soon after `trigger()`, at most `hz` times a second.

    Triggers in between are one call, and after the last trigger there is always a call. The
    callback runs on a thread of its own, never twice at a time. The thread exists while there
    is something to do and for a second after.

    Args:
        callback: what to call.
        hz: calls a second at most; may be changed at any time.
        on_error: is given what the callback raises; by default it is logged.
    """

    def __init__(
        self,
        callback: Callable[[], object],
        hz: float = 10.0,
        on_error: Callable[[Exception], object] | None = None,
    ) -> None:
        self.hz = hz
        self._callback = callback
        self._on_error = on_error
        self._changed = threading.Condition()
        self._running = threading.RLock()  # held during a call; a callback may flush
        self._pending = False
        self._closed = False
        self._last = float("-inf")
        self._thread: threading.Thread | None = None

    def trigger(self) -> None:
        """Have the callback called; from any thread, returns at once. Nothing after `close()`."""
        with self._changed:
            if self._closed or self._pending:
                return
            self._pending = True
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="View", daemon=True)
                self._thread.start()
            else:
                self._changed.notify_all()

    def flush(self) -> None:
        """If a call is due, make it now, on this thread; wait for one that is under way."""
        with self._running:
            if self._take():
                self._call()

    def close(self) -> None:
        """Make the call that is due, then end the thread. Closing twice does nothing."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            thread = self._thread
        self.flush()
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _work(self) -> None:
        while self._wait():
            with self._running:
                if self._take():
                    self._call()

    def _wait(self) -> bool:
        """Until a call is due and its time has come; False ends the thread."""
        with self._changed:
            self._changed.wait_for(lambda: self._pending or self._closed, _LINGER)
            if self._pending and not self._closed:
                delay = self._last + 1 / self.hz - time.monotonic()
                self._changed.wait_for(lambda: self._closed, max(0.0, delay))
            if self._closed or not self._pending:
                # a flush may have made the call meanwhile; the next trigger starts a new thread
                self._thread = None
                return False
            return True

    def _take(self) -> bool:
        with self._changed:
            pending, self._pending = self._pending, False
            return pending

    def _call(self) -> None:
        self._last = time.monotonic()
        try:
            self._callback()
        except Exception as error:
            if self._on_error is None:
                _log.exception("the update of a view failed")
            else:
                self._on_error(error)
