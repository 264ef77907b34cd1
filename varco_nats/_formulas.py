"""Keeps texts in a CSV file from being run as formulas by a spreadsheet. Pure.

The rules are those of https://owasp.org/www-community/attacks/CSV_Injection
"""

from __future__ import annotations

import re

TRIGGER = "=+\\-@＝＋－＠"  # noqa: RUF001 - East Asian spreadsheets accept the full-width forms
"""The characters that a formula begins with, for a regular expression."""

_SKIPPED = (  # white space, invisible characters and quotes
    r"\x00-\x20\x7f-\xa0\u1680\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff\"'"
)
_STARTS = re.compile(rf"'*+(?:[\t\r\n]|[{_SKIPPED}]*+[{TRIGGER}])")
# a spreadsheet that splits cells at `;`, tabs or line ends begins a new one after each of them
_INSIDE = re.compile(rf"(?<![{_SKIPPED};])[{_SKIPPED};]++(?=[{TRIGGER}])")
_SEPARATOR = re.compile(r"[;\t\r\n]")


def neutral(text: str) -> str:
    """`text` with an apostrophe before every part that a spreadsheet would run as a formula."""
    guarded = _INSIDE.sub(_add_apostrophe, text)
    return f"'{guarded}" if _STARTS.match(text) else guarded


def original(text: str) -> str:
    """The text that `neutral` was called with."""
    if text.startswith("'") and _STARTS.match(text, 1):
        text = text[1:]
    return _INSIDE.sub(_drop_apostrophe, text)


def _add_apostrophe(match: re.Match[str]) -> str:
    return match[0] + "'" if _SEPARATOR.search(match[0]) else match[0]


def _drop_apostrophe(match: re.Match[str]) -> str:
    return match[0].removesuffix("'") if _SEPARATOR.search(match[0]) else match[0]
