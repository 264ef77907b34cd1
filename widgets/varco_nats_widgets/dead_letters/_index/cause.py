"""What tells the cause of a failure by its error message: one text for all failures of it. Pure.

Of a message with a traceback that is the exception that was raised last, with the innermost frame
of the service's own code; of any other the message itself; in both without what differs.
"""

from __future__ import annotations

import re
from functools import lru_cache

from varco_nats_widgets.dead_letters._index.trace import raised_in

_MAX_MESSAGE = 1000  # characters that are looked at
_MAX_TEXT = 300
_MAX_RAISED = 160  # of a message with a traceback, which has its frame as well
_CUT = "…"

# `plain` is all up to where one of the others may begin, as trying them at each character takes
# twenty times as long
_TOKEN = re.compile(
    r"""
    (?P<plain> (?: [^\W\d]++ (?! \d | (?<= \b[a-fA-F]{8} ) -[0-9a-fA-F]{4}- )
                 | [^\w\s'"`\u2018\u201c+-]++
                 | [ ](?!\s)
                 | (?<=\w)['"`\u2018\u201c]
                 | [+-](?!\d) )*+ )
  (?: (?P<value> (?<!\w) (?: '(?:[^'\\\n]|\\.)*' | "(?:[^"\\\n]|\\.)*" | `[^`\n]*`
                           | \u2018[^\u2019\n]*\u2019 | \u201c[^\u201d\n]*\u201d ) (?!\w) )
    | (?P<id> \b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b
            | \b(?=\d*[a-fA-F])(?=[a-fA-F]*\d)[0-9a-fA-F]{8,}\b
            | \b(?=\d*[A-Za-z])(?=[A-Za-z]*\d)[A-Za-z0-9]{16,}\b )
    | (?P<time> \b\d{4}-\d\d-\d\d (?:[T\ ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?)?
                (?:\ ?Z\b|\ ?[+-]\d\d:?\d\d\b)?
              | \b\d\d:\d\d:\d\d(?:[.,]\d+)? )
    | (?P<hex> \b0[xX][0-9a-fA-F]+\b )
    | (?P<n> (?:(?<![\w)\]])[-+])? \d+(?:[.,_]\d+)*(?:[eE][-+]?\d+\b)? )
    | (?P<space> \s+ )
    | (?P<other> [^\W\d]++ | [^\n] )
    | \Z )
    """,
    re.VERBOSE,
)

# Quoted names of the program's own, which tell one cause from another, where other quoted text is
# what it was given. What has a digit is data more often than not.
_NAME = re.compile(r"""['"`\u2018\u201c](?:[^\W\d]|[.$-]){1,60}['"`\u2019\u201d]""")
_BEFORE_NAME = re.compile(
    r"""\b(?: KeyError: | (?: argument | attribute | column | constraint | field | function | header
                            | key | method | module\ named | parameter | property | reading
                            | relation | table | variable )s?:? )\ $""",
    re.VERBOSE | re.IGNORECASE,
)
_AFTER_NAME = re.compile(r" object (?:has|is|does)\b| is not defined\b")


def cause_of(message: str) -> str:
    """What failures of one cause have in common, on one line; `…` at its end where it was cut."""
    raised = raised_in(message)
    said = raised.said[: _MAX_MESSAGE + 1]  # one more, so that it is known to be cut
    return _cause(said, raised.frame, _MAX_RAISED if raised.is_trace else _MAX_TEXT)


@lru_cache(maxsize=20_000)
def _cause(said: str, frame: str, limit: int) -> str:
    text = normalised(said, limit)
    return f"{text} — {frame}" if frame else text


def normalised(message: str, limit: int = _MAX_TEXT) -> str:
    """`message` with `<value>`, `<id>`, `<time>`, `<hex>` and `<n>` for what differs, on one line.

    Two messages of one cause become equal: `order o-17: "Ada" is 3 years` and
    `order o-4711: "Bob" is 40 years` are both `order o-<n>: <value> is <n> years`. What names a
    part of the program stays, as the key of a KeyError and an attribute do.

    Args:
        limit: characters of the result, after which `…` stands for the rest.
    """
    parts: list[str] = []
    length = 0
    is_cut = len(message) > _MAX_MESSAGE
    for found in _TOKEN.finditer(message[:_MAX_MESSAGE].lstrip()):
        kind = found.lastgroup
        if kind in ("plain", "other") or (kind == "value" and _is_name(found)):
            part = found[0]
        else:
            part = f"{found['plain']} " if kind == "space" else f"{found['plain']}<{kind}>"
        parts.append(part)
        length += len(part)
        if length > limit + 1:
            is_cut = True
            break
    text = "".join(parts).strip()
    if len(text) > limit or is_cut:
        return text[:limit].rstrip() + _CUT
    return text


def _is_name(found: re.Match[str]) -> bool:
    """Whether a quoted value is the name of a part of the program."""
    if _NAME.fullmatch(found["value"]) is None:
        return False
    said, (start, end) = found.string, found.span("value")
    is_all = start == 0 and end == len(said)  # of a KeyError whose type is kept beside it
    before = said[max(start - 30, 0) : start]
    return is_all or bool(_BEFORE_NAME.search(before) or _AFTER_NAME.match(said, end))
