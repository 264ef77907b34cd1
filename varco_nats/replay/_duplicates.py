"""What a PubAck that says "duplicate" means for a replay.

JetStream keeps message ids for each stream, not for each subject, and also of messages that are
gone, so that a duplicate is stored only where it can be seen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from enum import Enum, auto

from nats.js.api import RetentionPolicy, StreamInfo

from varco_nats._nats.client import Connection
from varco_nats._nats.provenance import REPLAY_ID
from varco_nats._nats.puback import PubAck
from varco_nats.history._lookup import Lookup
from varco_nats.replay._plan import ReplayPlan

_LOOKUPS_AT_ONCE = 64


class Verdict(Enum):
    STORED = auto()
    NOT_STORED = auto()


async def judge_duplicates(
    connection: Connection,
    info: StreamInfo,
    plan: ReplayPlan,
    duplicates: Mapping[int, PubAck],
) -> dict[int, tuple[Verdict, str]]:
    """For each row, by index, whether it is stored in its channel, and why so."""
    stream = str(info.config.name)
    lookup = Lookup(connection, stream, direct=False)  # of the leader, which has seen it
    kept = info.config.retention in (None, RetentionPolicy.LIMITS)
    window = asyncio.Semaphore(_LOOKUPS_AT_ONCE)

    async def judge(index: int, ack: PubAck) -> tuple[Verdict, str]:
        async with window:
            message = await lookup.get({"seq": ack.seq})
        if message is None and not kept:
            return Verdict.STORED, "stored and consumed already"
        if message is None:
            return Verdict.NOT_STORED, (
                f"the server takes it for a copy of sequence {ack.seq}, which is gone; try again "
                f"after the duplicate window of {info.config.duplicate_window or 120:g} s"
            )
        if message.subject != plan.rows[index].subject:
            return Verdict.NOT_STORED, (
                f"its replay is stored already as {message.subject!r}, sequence {ack.seq}"
            )
        by = (message.headers or {}).get(REPLAY_ID)
        return Verdict.STORED, f"stored already by run {by}" if by else "stored already"

    found = await asyncio.gather(*(judge(index, ack) for index, ack in duplicates.items()))
    return dict(zip(duplicates, found, strict=True))
