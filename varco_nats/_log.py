"""The logger of this package: each record is one line, whatever a server or a handler said."""

from __future__ import annotations

import logging
import re

logger = logging.getLogger("varco_nats")

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def _in_one_line(record: logging.LogRecord) -> bool:
    if isinstance(record.args, tuple):
        record.args = tuple(
            _CONTROL.sub(" ", str(value)) if isinstance(value, str | BaseException) else value
            for value in record.args
        )
    return True


logger.addFilter(_in_one_line)
