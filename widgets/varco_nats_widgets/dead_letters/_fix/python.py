"""Lines of Python that change an event, run with the user's own rights; there is no sandbox."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from textwrap import dedent

from varco_nats_widgets.dead_letters._fix.path import Event
from varco_nats_widgets.dead_letters._fix.values import SHORT, as_json
from varco_nats_widgets.frames._cells import clean

type Headers = Mapping[str, str]

_FILE = "<fix>"  # what tracebacks call the lines


def python_lines(source: object) -> tuple[str, Callable[[Event, Headers], None]]:
    """What is said of these lines, and what runs them: it changes an event in place.

    Raises:
        ValueError: they are no Python; says which line. What runs them raises it, too: for an
            error in a line, and where the event is no longer an object of JSON.
    """
    if not isinstance(source, str) or not source.strip():
        raise ValueError("write one or more lines, such as event['total'] = 0")
    lines = dedent(source)
    try:
        code = compile(lines, _FILE, "exec")
    except SyntaxError as error:
        if error.lineno is None:
            raise ValueError(str(error)) from None
        raise ValueError(_line_words(lines, error.lineno, error.msg)) from None

    def run(event: Event, headers: Headers) -> None:
        names = {
            "event": event,
            "headers": headers,
            "datetime": datetime,
            "Decimal": Decimal,
            "re": re,
        }
        try:
            exec(code, names)  # noqa: S102 - what the user wrote, as in a cell
        except (Exception, SystemExit) as error:
            raise ValueError(_raised_words(lines, error)) from None
        result = names["event"]
        if not isinstance(result, dict):
            kind = type(result).__name__
            raise ValueError(f"event is of type {kind} after the lines of Python, not a dict")
        plain = as_json(result)
        event.clear()
        event.update(plain)

    first, *more = lines.strip().splitlines()
    goes_on = " …" if more and len(first) <= SHORT else ""  # a long line ends so already
    return f"Python: {clean(first, SHORT)}{goes_on}", run


def _raised_words(source: str, error: BaseException) -> str:
    """What was raised, and in which of the lines."""
    line = 0
    for frame, number in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_filename == _FILE:
            line = number
    kind, said = type(error).__name__, str(error)
    return _line_words(source, line, f"{kind}: {said}" if said else kind)


def _line_words(source: str, number: int, problem: str) -> str:
    """What went wrong in a line, and the line itself."""
    lines = source.splitlines()
    text = lines[number - 1].strip() if 0 < number <= len(lines) else ""
    return clean(f"line {number}: {problem}", 300) + (f"  ({clean(text, SHORT)})" if text else "")
