"""A shorter way through nats-py's parser for the messages of direct subscriptions.

nats-py matches each message against several patterns and copies it three times; a read of many
messages spends most of its time there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from nats.protocol.parser import AWAITING_CONTROL_LINE, Parser

_logger = logging.getLogger("varco_nats")

DirectCallback = Callable[[str, str, bytes, Mapping[str, str] | None], None]
"""Takes the subject, reply subject, payload and headers of one message."""

TakeRun = Callable[[bytes, int], tuple[int, int, int]]
"""Takes messages without reply and headers that stand one after another in what was read.

It is given the bytes and where the first begins, and returns where what it took ends, how many
messages that is and how many bytes they have.
"""

NO_STATUS = b"NATS/1.0\r\n"
"""How a header block without a status begins."""

_SPACE = " \t\n\r\x0b\x0c"


class DirectParser(Parser):
    """nats-py's parser, except for the messages of subscriptions in `direct`.

    All else is left to nats-py: other subscriptions, messages with a status, the protocol.

    Args:
        nc: the client.
        direct: callbacks by subscription id.
        runs: for subscriptions in `direct` whose messages are often taken many at once.
    """

    def __init__(
        self, nc: Any, direct: Mapping[int, DirectCallback], runs: Mapping[int, TakeRun]
    ) -> None:
        super().__init__(nc)
        self._direct = direct
        self._runs = runs

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
        start = messages = size = 0
        try:
            while (end := data.find(b"\r\n", start)) >= 0:
                words = data[start:end].split(b" ")
                kind, count = words[0], len(words)
                if kind == b"HMSG" and count in (5, 6):
                    head, length = int(words[-2]), int(words[-1])
                    reply = words[3] if count == 6 else b""
                elif kind == b"MSG" and count == 5:
                    head, length, reply = 0, int(words[4]), words[3]
                elif kind == b"MSG" and count == 4:
                    head, length, reply = 0, int(words[3]), b""
                    if (take_run := self._runs.get(int(words[2]))) is not None:
                        start, taken, taken_size = take_run(data, start)
                        messages += taken
                        size += taken_size
                        if taken:
                            continue
                else:
                    break
                subject = words[1]
                callback = self._direct.get(int(words[2]))
                if callback is None:
                    break
                begin = end + 2
                stop = begin + length
                if stop + 2 > len(data):
                    self._needed = stop + 2 - start
                    return True
                headers = None
                if head:
                    if not data.startswith(NO_STATUS, begin):
                        break
                    headers = header_fields(data[begin + len(NO_STATUS) : begin + head])
                start = stop + 2
                messages += 1
                size += length - head
                try:
                    callback(subject.decode(), reply.decode(), data[begin + head : stop], headers)
                except Exception:  # it would end nats-py's read loop
                    _logger.exception("receiving from %s failed", subject.decode())
            return start == len(data)
        finally:
            del self.buf[:start]
            self.nc.stats["in_msgs"] += messages
            self.nc.stats["in_bytes"] += size


def header_fields(block: bytes) -> dict[str, str] | None:
    """The fields in the lines of a header block, without its first line; None if there are none.

    As nats-py reads them, but the values of a repeated name are all kept, joined by `, `.
    """
    found: dict[str, str] = {}
    for line in block.decode(errors="replace").split("\r\n"):
        name, colon, value = line.partition(":")
        if colon and (known := _name(name)) is not None:
            value = value.strip(_SPACE)
            found[known] = f"{found[known]}, {value}" if known in found else value
    return found or None


@lru_cache(maxsize=1024)
def _name(text: str) -> str | None:
    name = text.strip(_SPACE)
    return None if not name.isascii() or any(char.isspace() for char in name) else name
