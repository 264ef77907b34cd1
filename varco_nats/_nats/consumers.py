"""The consumers of a stream, whoever created them."""

from __future__ import annotations

from nats.js.api import ConsumerInfo

from varco_nats._nats.client import Connection
from varco_nats._nats.leader import with_leader
from varco_nats._nats.stream import covers


async def all_consumers(connection: Connection, stream: str) -> list[ConsumerInfo]:
    """Every consumer of `stream`; the server lists a limited number at a time.

    Raises:
        nats.js.errors.NotFoundError: the stream does not exist.
        StreamUnavailableError, ServerUnreachableError: no answer; see `with_leader`.
    """
    found: list[ConsumerInfo] = []

    async def page() -> list[ConsumerInfo]:
        return await connection.js.consumers_info(stream, offset=len(found))

    while more := await with_leader(connection, stream, page):
        found += more
    return found


def receives(info: ConsumerInfo, subject: str) -> bool:
    """Whether messages on `subject` are delivered by the consumer."""
    filters = info.config.filter_subjects or [info.config.filter_subject or ">"]
    return any(covers(pattern, subject) for pattern in filters)
