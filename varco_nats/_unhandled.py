"""Events that this bus gave up and nobody kept: published again, they are stored again.

The server drops an event whose id it has stored within the duplicate window, as it should for a
producer's retry. An inbox, too, publishes what was received, because its handlers failed. The two
look alike; what became of the stored one tells them apart, where this bus was given it.
"""

from __future__ import annotations

_MOST = 10_000


class Unhandled:
    """Messages by their stream sequence; the newest 10,000 of each kind."""

    def __init__(self) -> None:
        self._given_up: dict[int, None] = {}
        self._asked_for: dict[int, None] = {}

    def give_up(self, seq: int) -> bool:
        """Note that a message is given up; False if its event was published again meanwhile.

        The event was not stored again then, so that the message has to come again.
        """
        if seq in self._asked_for:
            del self._asked_for[seq]
            return False
        _add(self._given_up, seq)
        return True

    def publish_again(self, seq: int) -> bool:
        """Note that the event stored as `seq` is published again; whether it was given up.

        If so, it has to be stored again. If not, it was handled or will be; should the message be
        given up yet, `give_up` knows.
        """
        if seq in self._given_up:
            return True
        _add(self._asked_for, seq)
        return False


def _add(known: dict[int, None], seq: int) -> None:
    known[seq] = None
    if len(known) > _MOST:
        del known[next(iter(known))]
