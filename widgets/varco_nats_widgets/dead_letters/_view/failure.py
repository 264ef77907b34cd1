"""What an error says in one line, also where its text is a whole traceback. Pure."""

from __future__ import annotations

from itertools import takewhile

from varco_nats_widgets.dead_letters._index.trace import last_cause, raised_in

NO_ERROR = "no error was kept"
"""What is said where neither the type nor the text of an error is known."""

_MAX_TEXT = 20_000  # characters that are looked at
_MAX_LINES = 6
_MAX_LINE = 400  # characters, of what can be read whole below it


def failure_line(text: str) -> str:
    """The line of an error's text that says what failed.

    Of a traceback of Python that is the first line of the exception that was raised last, of one of
    another language what comes before its frames, and of Java the last cause, too. The lines of any
    other text follow each other.
    """
    raised, caused_by = raised_in(text), last_cause(text)
    lines = [line.strip() for line in raised.said[:_MAX_TEXT].splitlines() if line.strip()]
    if raised.is_python:
        lines = lines[:1]
    elif caused_by:  # of which some come before the first frame, where the others have none
        lines = [*takewhile(lambda line: not line.startswith("Caused by: "), lines)]
    line = " · ".join(lines[:_MAX_LINES])
    if len(line) > _MAX_LINE:
        line = f"{line[:_MAX_LINE]} …"
    elif len(lines) > _MAX_LINES:
        line += " …"
    return f"{line}; caused by {caused_by}" if caused_by else line


def failure_words(error_type: str, text: str) -> str:
    """What failed, in one line: the line of the error, with its type where it does not say it."""
    line = failure_line(text)
    is_said = error_type.rpartition(".")[2] in line
    said = line if is_said else ": ".join(filter(None, (error_type, line)))
    return said or NO_ERROR
