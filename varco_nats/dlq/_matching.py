"""Which entries meet the conditions of `list_entries` and `delete_where`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from datetime import datetime

from varco_core.event.dlq import DeadLetterEntry, DeadLetterSource

from varco_nats.dlq._codec import as_utc
from varco_nats.dlq._store import DlqStore

_BATCH = 256


def matcher(
    channel: str | None,
    sources: Sequence[DeadLetterSource] | None,
    tenant_id: str | None,
    older_than: datetime | None,
    newer_than: datetime | None,
) -> Callable[[DeadLetterEntry], bool]:
    """A function that says whether an entry meets all conditions that are not None."""
    before = None if older_than is None else as_utc(older_than)
    after = None if newer_than is None else as_utc(newer_than)

    def matches(entry: DeadLetterEntry) -> bool:
        return (
            (channel is None or entry.channel == channel)
            and (sources is None or entry.source in sources)
            and (tenant_id is None or entry.tenant_id == tenant_id)
            and (before is None or entry.last_failed_at < before)
            and (after is None or entry.last_failed_at > after)
        )

    return matches


async def matching_sequences(
    store: DlqStore, subject: str, matches: Callable[[DeadLetterEntry], bool], limit: int | None
) -> AsyncIterator[list[int]]:
    """The sequences of the entries that match, oldest first, in batches."""
    sequences: list[int] = []
    async with aclosing(store.scan(subject)) as stored_entries:
        async for stored in stored_entries:
            if limit == 0:
                break
            if not matches(stored.entry):
                continue
            sequences.append(stored.message.seq)
            limit = None if limit is None else limit - 1
            if len(sequences) == _BATCH:
                yield sequences
                sequences = []
    if sequences:
        yield sequences
