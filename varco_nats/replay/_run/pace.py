"""When the next message may be sent: by a rate, or by the times at which messages were stored."""

from __future__ import annotations

_CATCH_UP_SECONDS = 0.2


class Pace:
    """Says how long to wait before each message. Pure; the caller passes the time.

    After a time in which nothing could be sent, a rate catches up on 0.2 s at most.

    Args:
        rate: messages per second at most; None is as fast as possible.
        speed: 1.0 is the pace at which the messages were stored; None is as fast as possible.

    Raises:
        ValueError: one of them is not above 0, or both are given.
    """

    def __init__(self, rate: float | None = None, speed: float | None = None) -> None:
        for name, value in (("rate", rate), ("speed", speed)):
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be above 0, or None for no limit, not {value!r}")
        if rate is not None and speed is not None:
            raise ValueError("give rate or speed, not both")
        self.rate = rate
        self.speed = speed
        self.is_limited = rate is not None or speed is not None
        self._next: float | None = None
        self._begun = 0.0
        self._first_ns = 0

    def wait(self, clock: float, time_ns: int) -> float:
        """Seconds until a message stored at `time_ns` may be sent; 0 or less if it may be now."""
        if not self.is_limited:
            return 0.0
        if self._next is None:
            self._next, self._begun, self._first_ns = clock, clock, time_ns
        if self.speed is not None:
            return self._begun + (time_ns - self._first_ns) / 1e9 / self.speed - clock
        self._next = max(self._next, clock - _CATCH_UP_SECONDS)
        return self._next - clock

    def sent(self) -> None:
        if self.rate is not None and self._next is not None:
            self._next += 1 / self.rate

    def restart(self) -> None:
        """After a pause, start again at the next message."""
        self._next = None
