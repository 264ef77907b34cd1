"""A run that puts dead letters back into the queue as they were stored, from an export."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from itertools import islice
from uuid import UUID

from nats.errors import Error as NatsError
from nats.errors import MaxPayloadError
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.errors import APIError

from varco_nats._nats.direct import StoredMessage
from varco_nats.dlq._codec import DlqNames, decode
from varco_nats.errors import (
    Advice,
    AdviceKind,
    LimitReachedError,
    ReplayRefusedError,
    VarcoNatsError,
)
from varco_nats.replay._plan import PlannedReplay
from varco_nats.replay._report import ReplayOutcome, ReplayState
from varco_nats.replay._run.base import RETRY_SECONDS, BaseRun
from varco_nats.replay._run.publish import MAX_REFUSALS

THERE = "in the queue already"
_AGAIN = Advice(AdviceKind.RESTORE_AGAIN, "again=True puts it back all the same")
_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class ExportedEntry:
    """A dead letter as it was stored, which `Replayer.restore` puts back."""

    entry_id: UUID
    subject: str
    """The one under which it was stored."""
    data: bytes = field(repr=False)
    """The stored bytes."""


def restored_rows(
    entries: Iterable[ExportedEntry], names: DlqNames, legacy: Collection[str]
) -> list[PlannedReplay]:
    """A row for each different entry.

    One that the released package stored, whose subject does not name it, gets a subject that does.

    Args:
        legacy: subjects of this queue under which the released package stores entries.

    Raises:
        ReplayRefusedError: an entry is of another queue, or is there twice with other bytes.
    """
    rows: dict[UUID, PlannedReplay] = {}
    for entry in entries:
        if not entry.subject.startswith(f"{names.root}.") and entry.subject not in legacy:
            raise ReplayRefusedError(
                f"dead letter {entry.entry_id} is of another queue: it was stored under "
                f"{entry.subject!r}, and entries of this one are under {names.root!r}"
            )
        stored = decode(StoredMessage(0, entry.subject, 0, entry.data, None), names).entry
        subject, named = entry.subject, names.parse(entry.subject)
        if named is None:
            subject = names.subject(entry.entry_id, stored.channel)
        elif named[0] != entry.entry_id:
            raise ReplayRefusedError(
                f"dead letter {entry.entry_id} was not stored under {entry.subject!r}, which is "
                "the subject of another one"
            )
        row = PlannedReplay(
            key=str(entry.entry_id),
            entry_id=entry.entry_id,
            seq=None,
            channel=stored.channel if named is None else named[1],
            to="",
            subject=subject,
            event_id=None,
            event_type=None,
            payload=entry.data,
            headers={},
        )
        if rows.setdefault(entry.entry_id, row) != row:
            raise ReplayRefusedError(
                f"dead letter {entry.entry_id} is there twice, with different bytes"
            )
    return list(rows.values())


class RestoreRun(BaseRun):
    """Stores the plan's entries, except those that are in the queue or were replayed since.

    Nothing is stored twice: the server takes an entry only while the queue has none of its id, and
    of two restores the later one leaves the entries to the earlier one (see `claims.py`). What was
    replayed is looked up after the plan is written: from then on no replay takes these entries.
    """

    _refusals = 0

    async def _work(self) -> None:
        self._ledger.report("restoring")
        await self._patiently(self._settle_present)
        if self._state is ReplayState.RUNNING and not self._plan.again:
            await self._settle_replayed()
        control, ledger, answered_at = self._control, self._ledger, time.monotonic()
        while self._pending and self._state is ReplayState.RUNNING:
            if control.cancelled:
                self._end(ReplayState.CANCELLED, "cancelled")
            elif control.paused:
                ledger.report("paused")
                await asyncio.sleep(RETRY_SECONDS)
                answered_at = time.monotonic()
            else:
                ledger.report("restoring")
                batch = list(islice(self._pending, _AT_ONCE))
                await asyncio.gather(*map(self._store, batch))
                if any(index in self._sent for index in batch):
                    await self._patiently(self._settle_present)
                if not all(ledger.is_open(index) for index in batch):
                    answered_at = time.monotonic()
                elif time.monotonic() - answered_at > self._options.patience_seconds:
                    self._end(
                        ReplayState.STOPPED, "the server stores nothing, and does not say why"
                    )
                self._drop_settled()

    def _drop_settled(self) -> None:
        self._pending = deque(filter(self._ledger.is_open, self._pending))

    async def _settle_present(self) -> None:
        """Settle what is in the queue: by us, where it was sent."""
        open_rows = [index for index in self._pending if self._ledger.is_open(index)]
        ids = {index: self._plan.rows[index].entry_id for index in open_rows}
        timeout = self._context.settings.publish_timeout_seconds
        if not await self._context.source.wait_connected(timeout):
            raise NatsTimeoutError
        there = await self._context.store.existing([i for i in ids.values() if i is not None])
        for index, entry_id in ids.items():
            if entry_id not in there:
                continue
            if self._sent.pop(index, None) is None:
                self._ledger.settle(index, ReplayOutcome.SKIPPED, why=THERE)
            else:
                self._ledger.settle(index, ReplayOutcome.RESTORED)
        self._drop_settled()

    async def _settle_replayed(self) -> None:
        rows = self._plan.rows
        keys = {rows[index].key for index in self._pending}
        replayed, perhaps = await self._context.log.replayed_by(keys)
        for index in list(self._pending):
            key, why = rows[index].key, ""
            if run := replayed.get(key):
                why = f"replayed by run {run}"
            elif run := perhaps.get(key):
                why = f"perhaps replayed by run {run}, whose rows in the log cannot be read"
            if why:
                why = f"{why}; {_AGAIN.text}"
                self._ledger.settle(index, ReplayOutcome.SKIPPED, why=why, advice=_AGAIN)
        self._drop_settled()

    async def _store(self, index: int) -> None:
        """Store one entry; it stays in `_sent` where no answer came."""
        row = self._plan.rows[index]
        if row.entry_id is None or self._state is not ReplayState.RUNNING:
            return
        self._sent[index] = 0
        try:
            seq = await self._context.store.put(
                row.entry_id, row.channel, row.payload, subject=row.subject
            )
        except (LimitReachedError, APIError, MaxPayloadError) as error:
            del self._sent[index]
            self._ledger.settle(index, ReplayOutcome.FAILED, why=str(error))
            self._refusals += 1
            if self._refusals >= MAX_REFUSALS:
                why = f"the server refused {self._refusals} entries in a row: {error}"
                self._end(ReplayState.STOPPED, why)
        except (VarcoNatsError, NatsError, OSError):
            return  # it may be stored
        else:
            del self._sent[index]
            self._refusals = 0
            self._ledger.settle(index, ReplayOutcome.RESTORED, seq)
            self._ledger.report(self._ledger.phase)

    async def _drain(self) -> None:
        """Look what became of entries whose answer did not come before the run ended."""
        if self._sent:
            self._pending.extend(index for index in self._sent if index not in self._pending)
            try:
                await self._settle_present()
            except (VarcoNatsError, NatsError, OSError):
                return
