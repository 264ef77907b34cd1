"""An outbox for tests."""

from __future__ import annotations

from uuid import UUID

from varco_core.service.outbox import OutboxEntry, OutboxRepository


class Rows(OutboxRepository):
    """An outbox in memory."""

    def __init__(self) -> None:
        self.rows: dict[UUID, OutboxEntry] = {}

    async def save(self, entry: OutboxEntry) -> None:
        self.rows[entry.entry_id] = entry

    async def save_many(self, entries: list[OutboxEntry]) -> None:  # type: ignore[override]
        self.rows |= {entry.entry_id: entry for entry in entries}

    async def get_pending(self, *, limit: int = 100) -> list[OutboxEntry]:
        return list(self.rows.values())[:limit]

    async def delete(self, entry_id: UUID) -> None:
        self.rows.pop(entry_id, None)
