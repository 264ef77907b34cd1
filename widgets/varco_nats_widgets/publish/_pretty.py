"""JSON laid out for people to edit, with everything in it as it was written. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[][{},:]|[^][{},:"\s]+')


def pretty(data: bytes) -> str:
    """JSON with one field on a line, numbers and repeated keys as they are; other data as text."""
    try:
        text = data.decode()
        json.loads(text)
    except (ValueError, RecursionError):
        return data.decode(errors="backslashreplace")
    return "".join(_laid_out(text))


def _laid_out(text: str) -> Iterator[str]:
    """The parts of `pretty`: the tokens of the JSON in `text`, and white space between them."""
    depth, before = 0, ""
    for part in _TOKEN.findall(text):
        if part in ("}", "]"):
            depth -= 1
            if before not in ("{", "["):
                yield _line(depth)
        elif before in ("{", "[", ","):
            yield _line(depth)
        yield ": " if part == ":" else _readable(part)
        depth += part in ("{", "[")
        before = part


def _line(depth: int) -> str:
    return "\n" + "  " * depth


def _readable(token: str) -> str:
    """A string's token without the escapes that JSON does not need."""
    if "\\" not in token:
        return token
    plain = json.dumps(json.loads(token), ensure_ascii=False)
    has_half_a_pair = any("\ud800" <= character <= "\udfff" for character in plain)
    return token if has_half_a_pair else plain


def compact(text: str) -> str:
    """The JSON in `text` without the white space that it is laid out with."""
    spaced = {",": ", ", ":": ": "}
    return "".join(spaced.get(token, token) for token in _TOKEN.findall(text))
