"""One timer for the consumers of all channels, as a timer for each would keep a core busy."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from varco_nats._nats.delivery import clock

Tick = Callable[[], float]
"""Returns the time, by `clock()`, before which it need not be called again."""


class Ticker:
    """Calls functions at an interval, in seconds, for as long as there are any."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._callbacks: dict[Tick, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, callback: Tick) -> None:
        """Call `callback` at the next tick, whatever it said; it is quick and raises nothing."""
        self._callbacks[callback] = 0.0
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._interval, self._tick)

    def discard(self, callback: Tick) -> None:
        """Call `callback` no more."""
        self._callbacks.pop(callback, None)
        if not self._callbacks and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._interval, self._tick)
        now = clock()
        for callback, due in self._callbacks.items():
            if due <= now:
                self._callbacks[callback] = callback()
