"""What an error says in one line, also where its text is a whole traceback. Pure."""

from __future__ import annotations

import re

_TRACEBACK = "Traceback (most recent call last):"
_NESTED = re.compile(r"^\s*\| ", re.MULTILINE)  # before the lines of an exception in a group
_CAUSE = re.compile(r"^\s*Caused by: (.+)$", re.MULTILINE)
_JAVA_FRAME = re.compile(r"^\s+at \S+\(.*\)", re.MULTILINE)
_MAX_TEXT = 20_000  # characters that are looked at, at the end of a traceback
_MAX_LINES = 6


def failure_line(text: str) -> str:
    """The line of an error's text that says what failed.

    Of a traceback of Python that is the exception that was raised last, of a stack trace of Java
    its first line and the last cause. The lines of any other text follow each other.
    """
    text = text[-_MAX_TEXT:] if _TRACEBACK in text else text[:_MAX_TEXT]
    if _TRACEBACK in text:
        after = _NESTED.sub("", text[text.rindex(_TRACEBACK) + len(_TRACEBACK) :])
        raised = next((line for line in after.splitlines() if line[:1].strip()), "")
        if raised:
            return raised.strip()
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    causes = _CAUSE.findall(text)
    if lines and (causes or _JAVA_FRAME.search(text)):
        return f"{lines[0]}; caused by {causes[-1].strip()}" if causes else lines[0]
    return " · ".join(lines[:_MAX_LINES]) + " …" * (len(lines) > _MAX_LINES)


def failure_words(error_type: str, text: str) -> str:
    """What failed, in one line: the line of the error, with its type where it does not say it."""
    line = failure_line(text)
    is_said = error_type.rpartition(".")[2] in line
    return line if is_said else ": ".join(filter(None, (error_type, line)))
