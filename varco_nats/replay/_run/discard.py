"""A run that publishes nothing: it removes dead letters that are not to be replayed."""

from __future__ import annotations

import asyncio
import re
from itertools import islice
from pathlib import Path

from msgspec.structs import replace

from varco_nats.errors import ReplayRefusedError
from varco_nats.replay._plan import PlannedReplay, ReplayDecision
from varco_nats.replay._report import ReplayOutcome, ReplayState
from varco_nats.replay._run.base import RETRY_SECONDS, BaseRun

_AT_ONCE = 1000
_PARQUET = b"PAR1"
_ID = re.compile(rb"\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b")


class DiscardRun(BaseRun):
    """Removes the plan's entries, except those that a live run is replaying."""

    async def _work(self) -> None:
        control, ledger = self._control, self._ledger
        while self._pending and self._state is ReplayState.RUNNING:
            if control.cancelled:
                self._end(ReplayState.CANCELLED, "cancelled")
            elif control.paused:
                ledger.report("paused")
                await asyncio.sleep(RETRY_SECONDS)
            else:
                ledger.report("discarding")
                for index in await self._check(list(islice(self._pending, _AT_ONCE))):
                    self._pending.popleft()
                    ledger.remove(index, ReplayOutcome.DISCARDED, None)
                await self._remover.finish()


def exported_ids(path: Path) -> set[str] | None:
    """The ids in an export; None for a Parquet file, whose content is not checked.

    Raises:
        ReplayRefusedError: there is no such file, or no id in it.
    """
    if not path.is_file():
        raise ReplayRefusedError(f"exported_to: there is no file {str(path)!r}")
    found: set[str] = set()
    with path.open("rb") as file:
        for number, line in enumerate(file):
            if not number and line.startswith(_PARQUET):
                return None
            found.update(match.decode() for match in _ID.findall(line))
    if not found:
        raise ReplayRefusedError(f"exported_to: no entry id is in {str(path)!r}")
    return found


def kept_without_export(row: PlannedReplay, exported: set[str]) -> PlannedReplay:
    """The row, skipped if its entry is not in the export."""
    if row.decision is ReplayDecision.SKIP or row.key in exported:
        return row
    return replace(row, decision=ReplayDecision.SKIP, why="not in the export")
