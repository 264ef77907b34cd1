"""Events that this bus gave up and nobody kept: published again, they are stored again.

The server drops an event whose id it has stored within the duplicate window, as it should for a
producer's retry. An inbox, too, publishes what was received, because its handlers failed. The two
look alike; what became of the stored one tells them apart, where this bus was given it.
"""

from __future__ import annotations

_MOST = 10_000


Message = tuple[int, str | None]
"""Stream sequence and message id; a stream that is made anew gives the same sequences again."""


class Unhandled:
    """Messages by sequence and id; the newest 10,000 of each kind."""

    def __init__(self) -> None:
        self._given_up: dict[Message, None] = {}
        self._asked_for: dict[Message, None] = {}

    def give_up(self, message: Message) -> bool:
        """Note that a message is given up; False if its event was published again meanwhile.

        The event was not stored again then, so that the message has to come again.
        """
        if message in self._asked_for:
            del self._asked_for[message]
            return False
        _add(self._given_up, message)
        return True

    def publish_again(self, message: Message) -> bool:
        """Note that a stored event is published again; whether it was given up.

        If so, it has to be stored again. If not, it was handled or will be; should the message be
        given up yet, `give_up` knows.
        """
        if message in self._given_up:
            return True
        _add(self._asked_for, message)
        return False


def _add(known: dict[Message, None], message: Message) -> None:
    known[message] = None
    if len(known) > _MOST:
        del known[next(iter(known))]
