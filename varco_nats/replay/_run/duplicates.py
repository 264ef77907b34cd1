"""What a PubAck that says "duplicate" means for a replay.

JetStream keeps message ids for a whole stream, not for each subject, and also those of messages
that are gone. So a duplicate counts as stored only if the message can be seen in its channel.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from nats.js.api import RetentionPolicy, StreamInfo

from varco_nats._nats.client import Connection
from varco_nats._nats.provenance import REPLAY_ID
from varco_nats._nats.puback import PubAck
from varco_nats.history._lookup import Lookup
from varco_nats.replay._plan import ReplayPlan

_LOOKUPS_AT_ONCE = 64


async def examine_duplicates(
    connection: Connection, info: StreamInfo, plan: ReplayPlan, duplicates: Mapping[int, PubAck]
) -> dict[int, tuple[bool, str]]:
    """By the index of its row, whether each is stored in its channel, and what one should know."""
    stream = str(info.config.name)
    lookup = Lookup(connection, stream, direct=False)  # the leader has certainly seen it
    kept = info.config.retention in (None, RetentionPolicy.LIMITS)
    window = asyncio.Semaphore(_LOOKUPS_AT_ONCE)

    async def examine(index: int, ack: PubAck) -> tuple[bool, str]:
        async with window:
            message = await lookup.get({"seq": ack.seq})
        if message is None and not kept:
            return True, "stored and consumed already"
        if message is None:
            return False, (
                f"the server takes it for a copy of sequence {ack.seq}, which is gone; try again "
                f"after the duplicate window of {info.config.duplicate_window or 120:g} s"
            )
        if message.subject != plan.rows[index].subject:
            return False, f"its replay is stored already as {message.subject!r}, sequence {ack.seq}"
        by = (message.headers or {}).get(REPLAY_ID)
        return True, f"stored already by run {by}" if by else "stored already"

    found = await asyncio.gather(*(examine(index, ack) for index, ack in duplicates.items()))
    return dict(zip(duplicates, found, strict=True))
