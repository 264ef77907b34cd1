"""One timer for the consumers of all channels, as a timer for each would keep a core busy."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Ticker:
    """Calls functions at an interval, in seconds, for as long as there are any."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._callbacks: set[Callable[[], None]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, callback: Callable[[], None]) -> None:
        """Call `callback` at each tick; it must be quick and raise nothing."""
        self._callbacks.add(callback)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._interval, self._tick)

    def discard(self, callback: Callable[[], None]) -> None:
        """Call `callback` no more."""
        self._callbacks.discard(callback)
        if not self._callbacks and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._interval, self._tick)
        for callback in self._callbacks:
            callback()
