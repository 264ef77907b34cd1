"""Messages that this bus gave up without a dead letter; their events may be published again.

The server drops an event whose id it has stored within the duplicate window, as it should for a
producer's retry. But an inbox also publishes an event again that was received, because its handlers
failed. The two look alike, and only what became of the stored message tells them apart.
"""

from __future__ import annotations

_MAX_KNOWN = 10_000


Message = tuple[int, str | None]
"""Stream sequence and message id; a stream that is created again repeats the sequences."""


class Unhandled:
    """The newest 10,000 messages that were given up, and as many that were published again."""

    def __init__(self) -> None:
        self._given_up: dict[Message, None] = {}
        self._published_again: dict[Message, None] = {}

    def give_up(self, message: Message) -> bool:
        """Note that a message is given up; False if its event was published again meanwhile.

        That publishing stored nothing, so that the message has to be delivered again.
        """
        if message in self._published_again:
            del self._published_again[message]
            return False
        _add(self._given_up, message)
        return True

    def publish_again(self, message: Message) -> bool:
        """Note that a stored event is published again; whether its message was given up.

        If it was, the event has to be stored again. If not, the message was handled or will be, and
        should it be given up later, `give_up` returns False.
        """
        if message in self._given_up:
            return True
        _add(self._published_again, message)
        return False


def _add(known: dict[Message, None], message: Message) -> None:
    known[message] = None
    if len(known) > _MAX_KNOWN:
        del known[next(iter(known))]
