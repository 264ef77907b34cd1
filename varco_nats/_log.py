"""The logger of this package: each message is one line, whatever a server or a handler said.

A traceback below it has lines of its own.
"""

from __future__ import annotations

import logging
import re
from contextlib import suppress

logger = logging.getLogger("varco_nats")

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def _in_one_line(record: logging.LogRecord) -> bool:
    if isinstance(record.args, tuple):
        with suppress(Exception):  # of an error that has no text: logging tells of it itself
            record.args = tuple(
                _CONTROL.sub(" ", str(value)) if isinstance(value, str | BaseException) else value
                for value in record.args
            )
    return True


logger.addFilter(_in_one_line)
