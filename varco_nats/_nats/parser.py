"""Taking the messages of direct subscriptions out of what was read, without nats-py's parser.

nats-py matches each message against several patterns and copies it three times; a read of many
messages spends most of its time there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple

from varco_nats._log import logger as _logger

DirectCallback = Callable[[str, str, bytes, Mapping[str, str] | None], None]
"""Takes the subject, reply subject, payload and headers of one message."""

TakeRun = Callable[[bytes, int], tuple[int, int, int]]
"""Takes messages of one subscription that stand one after another in what was read.

It is given the bytes and where the first message begins, and returns where the last message that
it took ends, how many it took and how many bytes their payloads have. It takes only whole messages,
and may leave any of them to the `DirectCallback`.
"""

NO_STATUS = b"NATS/1.0\r\n"
"""How a header block without a status begins."""

_STATUS = re.compile(rb"NATS/1\.0 ([0-9]{3}) ([!-~]+(?: [!-~]+)*)\r\n")
_SPACE = " \t\n\r\x0b\x0c"


class Taken(NamedTuple):
    """What was taken from the beginning of what was read."""

    end: int
    """Where the rest begins."""
    messages: int
    size: int
    """Bytes of the payloads."""
    needed: int
    """Bytes that the rest must have before its first message is whole; 0 if nats-py is to parse
    the rest."""


def take_direct(
    data: bytes, direct: Mapping[int, DirectCallback], runs: Mapping[int, TakeRun]
) -> Taken:
    """Call the callbacks of the messages of direct subscriptions with which `data` begins.

    Args:
        direct: callbacks by subscription id.
        runs: what takes many messages at once, for some of the same subscriptions.
    """
    start = messages = size = 0
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
        else:
            break
        subject, sid = words[1], int(words[2])
        if sid in runs:
            start, taken, taken_size = runs[sid](data, start)
            if taken:
                messages += taken
                size += taken_size
                continue
        callback = direct.get(sid)
        if callback is None:
            break
        begin = end + 2
        stop = begin + length
        if stop + 2 > len(data):
            return Taken(start, messages, size, stop + 2 - start)
        headers: dict[str, str] | None = None
        if head:
            if data.startswith(NO_STATUS, begin):
                headers = header_fields(data[begin + len(NO_STATUS) : begin + head])
            elif (status := _STATUS.match(data, begin, begin + head)) is not None:
                headers = {"Status": status[1].decode(), "Description": status[2].decode()}
                headers |= header_fields(data[status.end() : begin + head]) or {}
            else:
                break
        start = stop + 2
        messages += 1
        size += length - head
        try:
            callback(subject.decode(), reply.decode(), data[begin + head : stop], headers)
        except Exception:  # it would end the read loop
            _logger.exception("receiving from %s failed", subject.decode())
    else:  # nats-py can do nothing with a part of a line either
        rest = len(data) - start
        return Taken(start, messages, size, rest + 1 if rest else 0)
    return Taken(start, messages, size, 0)


def header_fields(block: bytes) -> dict[str, str] | None:
    """The fields of a header block without its first line; None if there are none.

    They are read as nats-py reads them, except that a repeated name keeps all its values, joined
    by `, `.
    """
    found: dict[str, str] = {}
    for line in block.decode(errors="replace").split("\r\n"):
        name, colon, value = line.partition(":")
        if colon and (known := _name(name)) is not None:
            value = value.strip(_SPACE)
            found[known] = f"{found[known]}, {value}" if known in found else value
    return found or None


class HeaderFields(Mapping[str, str]):
    """What `header_fields` gives, parsed when somebody asks for it, as most never do."""

    __slots__ = ("_block", "_found")

    def __init__(self, block: bytes) -> None:
        self._block = block
        self._found: dict[str, str] | None = None

    @property
    def _fields(self) -> dict[str, str]:
        if self._found is None:
            self._found = header_fields(self._block) or {}
        return self._found

    def __getitem__(self, name: str) -> str:
        return self._fields[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __repr__(self) -> str:
        return repr(self._fields)


@lru_cache(maxsize=1024)
def _name(text: str) -> str | None:
    name = text.strip(_SPACE)
    return None if not name.isascii() or any(char.isspace() for char in name) else name
