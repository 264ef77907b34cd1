"""A shorter way through nats-py's parser for the messages of direct subscriptions.

nats-py matches each message against several patterns and copies it three times; a read of many
messages spends most of its time there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from nats.protocol.parser import AWAITING_CONTROL_LINE, Parser

_logger = logging.getLogger("varco_nats")

DirectCallback = Callable[[str, str, bytes, Mapping[str, str] | None], None]
"""Takes the subject, reply subject, payload and headers of one message."""


class DirectParser(Parser):
    """nats-py's parser, except for plain messages (`MSG`) of subscriptions in `direct`.

    All else is left to nats-py: other subscriptions, messages with headers, the protocol.

    Args:
        nc: the client.
        direct: callbacks by subscription id.
    """

    def __init__(self, nc: Any, direct: Mapping[int, DirectCallback]) -> None:
        super().__init__(nc)
        self._direct = direct

    def reset(self) -> None:
        super().reset()
        self._needed = 0  # bytes in the buffer before it is worth looking again

    async def parse(self, data: bytes = b"") -> None:
        if self.state != AWAITING_CONTROL_LINE:  # nats-py has begun a message: it must end it
            missing = max(self.needed + 2 - len(self.buf), 0)
            await super().parse(data[:missing])
            data = data[missing:]
            if not data:
                return
        self.buf.extend(data)
        if len(self.buf) >= self._needed and not self._take():
            await super().parse()

    def _take(self) -> bool:
        """Hand over the direct messages at the beginning; whether only a part of one is left."""
        self._needed = 0
        if not self._direct:
            return False
        data = bytes(self.buf)
        start = 0
        try:
            while (end := data.find(b"\r\n", start)) >= 0:
                words = data[start:end].split(b" ")
                if len(words) != 5 or words[0] != b"MSG":
                    break
                _, subject, sid, reply, length = words
                callback = self._direct.get(int(sid))
                if callback is None:
                    break
                begin = end + 2
                stop = begin + int(length)
                if stop + 2 > len(data):
                    self._needed = stop + 2 - start
                    return True
                start = stop + 2
                try:
                    callback(subject.decode(), reply.decode(), data[begin:stop], None)
                except Exception:  # it would end nats-py's read loop
                    _logger.exception("receiving from %s failed", subject.decode())
            return start == len(data)
        finally:
            del self.buf[:start]
