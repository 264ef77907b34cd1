"""Records of a stream that cannot be read: they are left out, and told of once."""

from __future__ import annotations

import logging

from varco_nats._nats.direct import StoredMessage

_logger = logging.getLogger("varco_nats")

_told: set[tuple[str, int, int]] = set()
"""Stream, sequence and time of those that were told of."""


def tell_unread(stream: str, message: StoredMessage, error: Exception) -> None:
    """Log a WARNING of a record, the first time that it is met in this process."""
    record = (stream, message.seq, message.time_ns)
    if record in _told:
        return
    _told.add(record)
    _logger.warning(
        "record %d of stream %s cannot be read (%s) and is left out; it is damaged, somebody "
        "else's, or of a newer version of this package",
        message.seq,
        stream,
        type(error).__name__,  # its text may have all of the record in it
    )
