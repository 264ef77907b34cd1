"""The logger of this package, which keeps each message on one line; a traceback follows below.

Texts of servers and handlers in a message may hold line breaks, which become spaces.
"""

from __future__ import annotations

import logging
import re
from contextlib import suppress

logger = logging.getLogger("varco_nats")

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def _in_one_line(record: logging.LogRecord) -> bool:
    if isinstance(record.args, tuple):
        with suppress(Exception):  # an error whose str() raises, which logging reports itself
            record.args = tuple(
                _CONTROL.sub(" ", str(value)) if isinstance(value, str | BaseException) else value
                for value in record.args
            )
    return True


logger.addFilter(_in_one_line)
