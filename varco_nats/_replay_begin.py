"""What a session does before it sends: writes the plan, and settles what is not its own to send."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from varco_nats._client import Connection
from varco_nats._dlq_store import DlqStore
from varco_nats._replay_claims import Doubt, Findings, Found, find_stored, look_around
from varco_nats._replay_ledger import Ledger
from varco_nats._replay_log import PlanHead, ReplayLog, distinct
from varco_nats._replay_plan import ReplayPlan, size_of
from varco_nats._replay_report import ReplayOutcome
from varco_nats._replay_session import Session, until_gone
from varco_nats._stream import covers
from varco_nats.config import NatsEventBusSettings
from varco_nats.errors import ReplayHeldError
from varco_nats.observe import Observers


@dataclass(frozen=True, slots=True)
class Place:
    """What a run works with."""

    settings: NatsEventBusSettings
    """Of the queue and the log."""
    source: Connection
    store: DlqStore
    log: ReplayLog
    target: NatsEventBusSettings
    servers: str
    """The target's servers without credentials, "" where they are the source's."""
    user: str
    observers: Observers


class Beginning:
    """Begins each session of one run.

    Args:
        holder: the subject that answers while the run's process is there.
    """

    def __init__(
        self,
        place: Place,
        plan: ReplayPlan,
        ledger: Ledger,
        *,
        replay_id: str,
        holder: str,
        started_at: datetime,
    ) -> None:
        self._place = place
        self._plan = plan
        self._ledger = ledger
        self._replay_id = replay_id
        self._holder = holder
        self._started_at = started_at
        self._pending: list[int] = []
        self._sent: set[int] = set()
        self.head: PlanHead | None = None
        """The plan as the log has it; None before it is written."""

    async def begin(
        self, session: Session, pending: Iterable[int], sent: set[int], lost: Session | None
    ) -> list[int]:
        """The rows of `pending` that the session may send; the others are settled.

        Args:
            sent: rows that the lost session sent and that were not answered.
            lost: the session before this one.

        Raises:
            ReplayHeldError: another run replays the same history.
            ReplayLogError: the plan could not be written.
        """
        self._pending, self._sent = list(pending), sent
        place, rows = self._place, self._plan.rows
        head = await self._write_head(session)
        if lost is not None:
            await until_gone(session.connection, lost.subject)
        keys = {rows[index].key for index in self._pending}
        findings = await look_around(place.log, head, keys, place.source, session.connection)
        await self._settle_doubts(session, findings.doubts)
        self._settle_held(findings)
        await self._settle_removed()
        self._settle_unfit(session)
        return self._pending

    async def _write_head(self, session: Session) -> PlanHead:
        place, plan, head = self._place, self._plan, self.head
        if head is None:
            going = [plan.rows[index] for index in self._pending]
            ids = [row.entry_id for row in going if row.entry_id is not None]
            head = PlanHead(
                replay_id=self._replay_id,
                kind=plan.kind,
                started_at=self._started_at,
                user=place.user,
                note=plan.note,
                source=plan.source,
                target=plan.target,
                servers=place.servers,
                session=session.subject,
                holder=self._holder,
                subjects=distinct((row.subject for row in going), place.target.wildcard_subject()),
                last_seq=int(session.stream.state.last_seq),
                chunks=await place.log.write_keys(self._replay_id, ids),
                plan=plan.summary,
                history_key=plan.history_key,
            )
        head = replace(head, session=session.subject)
        self.head = replace(head, seq=await place.log.write_head(head))
        return self.head

    def _settle_held(self, findings: Findings) -> None:
        """Leave what a live run has to that run."""
        if findings.held and self._plan.history_key:
            other = next(iter(findings.held.values()))
            raise ReplayHeldError(other.replay_id, other.user)
        for key, other in findings.held.items():
            index = self._ledger.index[key]
            if self._ledger.is_open(index):
                why = f"run {other.replay_id} of {other.user} is replaying it"
                self._ledger.settle(index, ReplayOutcome.SKIPPED, why=why)
        self._drop_settled()

    async def _settle_doubts(self, session: Session, doubts: list[Doubt]) -> None:
        """Look for what dead runs, and this run's own lost sessions, may have stored."""
        rows, index = self._plan.rows, self._ledger.index
        mine = frozenset(rows[i].key for i in self._sent)
        if mine:
            assert self.head is not None
            doubts = [*doubts, Doubt(self.head, mine, here=True)]
        if here := [doubt for doubt in doubts if doubt.here]:
            self._ledger.tell("looking for what was stored")
            info = await session.connection.js.stream_info(self._place.target.stream_name)
            found, unsure = await find_stored(session.connection, info, here)
            for key, one in found.items():
                if self._ledger.is_open(index[key]):
                    self._settle_found(index[key], one)
            self._settle_unsure(unsure, "the messages of that time are gone from the stream")
        for doubt in doubts:
            if not doubt.here:
                self._settle_unsure(doubt.keys, f"it was for {doubt.head.target}")
        self._drop_settled()

    def _settle_found(self, index: int, found: Found) -> None:
        if found.replay_id == self._replay_id:
            self._ledger.stored(index, ReplayOutcome.REPLAYED, found.seq)
        elif self._plan.rows[index].subject == found.subject or not self._plan.again:
            run = f"run {found.replay_id}, which said no more of it"
            by = run if found.replay_id else "a publish of the event"
            why = f"stored as {found.subject!r} by {by}"
            self._ledger.stored(index, ReplayOutcome.DUPLICATE, found.seq, why)

    def _settle_unsure(self, keys: Iterable[str], reason: str) -> None:
        for key in keys:
            index = self._ledger.index[key]
            if not self._ledger.is_open(index):
                continue
            if index in self._sent:
                why = f"no answer came, and {reason}"
                self._ledger.settle(index, ReplayOutcome.IN_DOUBT, why=why)
            elif not self._plan.again:
                why = f"a run died while replaying it, and {reason}; again=True replays it"
                self._ledger.settle(index, ReplayOutcome.SKIPPED, why=why)

    async def _settle_removed(self) -> None:
        """Leave out what is no longer in the queue."""
        if self._plan.history_key:
            return
        rows = self._plan.rows
        wanted = {one for index in self._pending if (one := rows[index].entry_id) is not None}
        there = await self._place.store.existing(wanted) if wanted else set()
        for index in self._pending:
            if rows[index].entry_id not in there:
                why = "no longer in the queue"
                self._ledger.settle(index, ReplayOutcome.SKIPPED, why=why)
        self._drop_settled()

    def _settle_unfit(self, session: Session) -> None:
        """Leave out what the stream would not take."""
        config = session.stream.config
        subjects = list(config.subjects or [])
        most = config.max_msg_size or -1
        limit = min(session.connection.max_payload, most if most > 0 else 1 << 62)
        fits: dict[str, bool] = {}
        for index in self._pending:
            row = self._plan.rows[index]
            if row.subject not in fits:
                fits[row.subject] = any(covers(one, row.subject) for one in subjects)
            why = ""
            if not fits[row.subject]:
                why = f"stream {config.name!r} captures {subjects}, not {row.subject!r}"
            elif size_of(row) > limit:
                why = f"too large: {size_of(row):,} bytes, and the stream takes {limit:,}"
            if why:
                self._ledger.settle(index, ReplayOutcome.FAILED, why=why)
        self._drop_settled()

    def _drop_settled(self) -> None:
        self._pending = [i for i in self._pending if self._ledger.is_open(i)]
