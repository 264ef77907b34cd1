"""When the next message may go: by a rate, or by the times at which messages were stored once."""

from __future__ import annotations


class Pace:
    """Tells how long to wait before each message. Pure; the caller has the clock.

    Args:
        rate: messages per second at most; None is as fast as possible.
        speed: times the pace of the messages' own times; None is as fast as possible.

    Raises:
        ValueError: one is not above 0, or both are given.
    """

    def __init__(self, rate: float | None = None, speed: float | None = None) -> None:
        for name, value in (("rate", rate), ("speed", speed)):
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be above 0, or None for no limit, not {value!r}")
        if rate is not None and speed is not None:
            raise ValueError("give rate or speed, not both")
        self._rate = rate
        self._speed = speed
        self._begun: float | None = None
        self._first_ns = 0
        self._sent = 0

    def wait(self, clock: float, time_ns: int) -> float:
        """Seconds until a message stored at `time_ns` may go, 0 or less if it may now."""
        if self._rate is None and self._speed is None:
            return 0.0
        if self._begun is None:
            self._begun, self._first_ns, self._sent = clock, time_ns, 0
        if self._rate is not None:
            return self._begun + self._sent / self._rate - clock
        assert self._speed is not None
        return self._begun + (time_ns - self._first_ns) / 1e9 / self._speed - clock

    def sent(self) -> None:
        self._sent += 1

    def restart(self) -> None:
        """Begin anew with the next message, after a pause."""
        self._begun = None
