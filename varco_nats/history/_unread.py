"""Records of a stream that cannot be read: they are left out, with one warning for each."""

from __future__ import annotations

import logging

from varco_nats._nats.direct import StoredMessage

_logger = logging.getLogger("varco_nats")

_warned: set[tuple[str, int, int]] = set()
"""Stream, sequence and time of the records that were logged."""


def warn_unread(stream: str, message: StoredMessage, error: Exception) -> None:
    """Log a WARNING about a record, the first time that this process finds it."""
    record = (stream, message.seq, message.time_ns)
    if record in _warned:
        return
    _warned.add(record)
    _logger.warning(
        "record %d of stream %s cannot be read (%s) and is left out; it is damaged, or somebody "
        "else or a newer version of this package wrote it",
        message.seq,
        stream,
        type(error).__name__,  # the error's text may contain the whole record
    )
