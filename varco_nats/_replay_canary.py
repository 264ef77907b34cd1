"""Whether replayed messages came back as dead letters."""

from __future__ import annotations

import time
from collections.abc import Collection
from uuid import UUID

from varco_nats._dlq_codec import StoredEntry
from varco_nats._dlq_store import DlqStore
from varco_nats._provenance import REPLAY_ID, REPLAY_OF
from varco_nats._replay_report import Canary, ReplayControl

_LOOK_SECONDS = 0.25


async def watch(
    store: DlqStore,
    canary: Canary,
    after: int,
    replay_id: str,
    sent: Collection[str],
    source_refs: Collection[str],
    control: ReplayControl,
) -> list[UUID]:
    """The entries that messages of the canary came back as, [] if none did in its time.

    Args:
        after: sequence of the queue before the canary was sent.
        sent: the keys of its messages.
        source_refs: `stream:sequence` of where they are stored.
    """
    until = time.monotonic() + canary.wait_seconds
    while True:
        back: list[UUID] = []
        async for stored in store.scan(start=after + 1):
            if came_back(stored, replay_id, sent, source_refs):
                back.append(stored.entry.entry_id)
        left = until - time.monotonic()
        if back or left <= 0 or control.cancelled:
            return back
        await control._wait(min(left, _LOOK_SECONDS))


def came_back(
    stored: StoredEntry, replay_id: str, sent: Collection[str], source_refs: Collection[str]
) -> bool:
    """Whether a dead letter is one of the messages that a run replayed."""
    headers = stored.headers or {}
    if headers.get(REPLAY_ID) == replay_id and headers.get(REPLAY_OF) in sent:
        return True
    return stored.entry.source_ref in source_refs
