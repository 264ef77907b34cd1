"""Error messages without their numbers, ids, times and quoted values, to group by. Pure."""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import blake2b

_MAX_MESSAGE = 1000  # characters that are looked at
_MAX_TEXT = 300

_TOKEN = re.compile(
    r"""
    (?P<value> (?<!\w) (?: '(?:[^'\\\n]|\\.)*' | "(?:[^"\\\n]|\\.)*" | `[^`\n]*`
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
    """,
    re.VERBOSE,
)


@lru_cache(maxsize=50_000)
def normalised(message: str) -> str:
    """`message` with `<value>`, `<id>`, `<time>`, `<hex>` and `<n>` for what differs, on one line.

    Two messages of one cause become equal: `order o-17: "Ada" is 3 years` and
    `order o-4711: "Bob" is 40 years` are both `order o-<n>: <value> is <n> years`.
    """
    return _TOKEN.sub(_placeholder, message[:_MAX_MESSAGE]).strip()[:_MAX_TEXT]


def _placeholder(found: re.Match[str]) -> str:
    kind = found.lastgroup
    return " " if kind == "space" else f"<{kind}>"


def group_id(handler: str, error_type: str, message: str) -> str:
    """A short name of the group of these failures; `message` is normalised."""
    text = "\0".join((handler, error_type, message))
    return blake2b(text.encode(errors="surrogatepass"), digest_size=5).hexdigest()
