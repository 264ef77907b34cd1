"""What each session of a run does first: writes its plan, and settles rows that it may not send."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from nats.js.api import StreamInfo

from varco_nats._nats.direct import StoredMessage
from varco_nats._nats.provenance import MESSAGE_ID, REPLAY_ID, REPLAY_OF
from varco_nats._nats.stream import covers
from varco_nats.errors import ReplayHeldError
from varco_nats.replay._context import ReplayContext
from varco_nats.replay._plan import PlannedReplay, ReplayPlan
from varco_nats.replay._plan_rows import AGAIN
from varco_nats.replay._records import PlanHead, RunSettings
from varco_nats.replay._report import ReplayOutcome
from varco_nats.replay._run.claims import ClaimScan, UncertainRun, find_stored, scan_claims
from varco_nats.replay._run.entry_check import EntryCheck
from varco_nats.replay._run.ledger import Ledger
from varco_nats.replay._run.session import RunSession, until_gone

_MAX_SUBJECTS = 100  # in a plan; a run looks for replays on these


class ClaimPhase:
    """The first phase of each session of one run.

    Args:
        holder: the subject that is answered while the run's process is there.
        ended: ids of runs that are known to be over.
    """

    def __init__(
        self,
        context: ReplayContext,
        plan: ReplayPlan,
        ledger: Ledger,
        entry_check: EntryCheck,
        *,
        replay_id: str,
        holder: str,
        started_at: datetime,
        settings: RunSettings,
        ended: Collection[str],
    ) -> None:
        self._context = context
        self._plan = plan
        self._ledger = ledger
        self._replay_id = replay_id
        self._holder = holder
        self._started_at = started_at
        self._entry_check = entry_check
        self._settings = settings
        self._ended = ended
        self._by_message_id: dict[str, str] = {}
        if plan.history_key:
            self._by_message_id = {row.headers[MESSAGE_ID]: row.key for row in plan.rows}
        self._pending: list[int] = []
        self._sent: Mapping[int, int] = {}
        self._same_target = True
        """Whether the target stream is the one that the session before had."""
        self.head: PlanHead | None = None
        """The plan as it is in the log; None before it is written."""

    async def begin(
        self,
        session: RunSession | None,
        pending: Iterable[int],
        sent: Mapping[int, int] | None = None,
        lost: RunSession | None = None,
    ) -> list[int]:
        """Settle the rows that the session may not send, and return the others.

        Args:
            session: None for a run that publishes nothing.
            sent: rows that the lost session sent and that were not answered, each with a sequence
                after which it is stored, if it is.
            lost: the session before this one.

        Raises:
            ReplayHeldError: another run replays the same history.
            ReplayLogError: the plan could not be written.
        """
        self._pending, self._sent = list(pending), dict(sent or {})
        self._entry_check.forget()
        context, rows = self._context, self._plan.rows
        head = await self._write_head(session)
        target = None if session is None else session.connection
        if lost is not None and target is not None:
            await until_gone(target, lost.subject)
        keys = {rows[index].key for index in self._pending}
        scan = await scan_claims(context.log, head, keys, context.source, target, self._ended)
        if session is not None:
            await self._settle_uncertain(session, head, scan.uncertain)
        self._settle_held(scan)
        if session is not None:
            self._settle_uncaptured(session)
        return self._pending

    async def _write_head(self, session: RunSession | None) -> PlanHead:
        head = self.head or await self._first_head(session)
        if session is not None:
            created = _created(session.stream)
            self._same_target = created == head.target_created
            head = replace(head, session=session.subject, target_created=created)
        self.head = replace(head, seq=await self._context.log.write_head(head))
        return self.head

    async def _first_head(self, session: RunSession | None) -> PlanHead:
        context, plan = self._context, self._plan
        going = [plan.rows[index] for index in self._pending]
        ids = dict.fromkeys(row.entry_id for row in going if row.entry_id is not None)
        state = None if session is None else session.stream.state
        return PlanHead(
            replay_id=self._replay_id,
            kind=plan.kind,
            started_at=self._started_at,
            user=context.user,
            note=plan.note,
            source=plan.source,
            target=plan.target if session is not None else "",
            servers=context.servers if session is not None else "",
            session=self._holder,
            holder=self._holder,
            subjects=self._subjects(going),
            last_seq=0 if state is None else int(state.last_seq),
            target_created="" if session is None else _created(session.stream),
            num_deleted=0 if state is None else state.num_deleted or 0,
            chunks=await context.log.write_keys(self._replay_id, list(ids)),
            plan=plan.summary,
            again=plan.again,
            settings=self._settings,
            history=dict(plan.history),
            history_key=plan.history_key,
        )

    def _subjects(self, rows: Sequence[PlannedReplay]) -> tuple[str, ...]:
        """The subjects of the rows, or one that covers them where they are many."""
        found = tuple(dict.fromkeys(row.subject for row in rows))
        return found if len(found) <= _MAX_SUBJECTS else (self._context.target.wildcard_subject(),)

    def _settle_held(self, scan: ClaimScan) -> None:
        """Skip the rows that another live run is working on."""
        if scan.held and self._plan.history_key:
            other = next(iter(scan.held.values()))
            raise ReplayHeldError(other.replay_id, other.user)
        for key, other in scan.held.items():
            index = self._ledger.index[key]
            if self._ledger.is_open(index):
                self._ledger.settle(index, ReplayOutcome.SKIPPED, why=other.why)
        self._drop_settled()

    async def _settle_uncertain(
        self, session: RunSession, head: PlanHead, uncertain: list[UncertainRun]
    ) -> None:
        """Look for what dead runs, and lost sessions of this run, may have stored."""
        rows, index = self._plan.rows, self._ledger.index
        if self._sent:
            mine = frozenset(rows[row].key for row in self._sent)
            begun = max(head.last_seq, min(self._sent.values()))
            uncertain = [
                *uncertain,
                UncertainRun(replace(head, last_seq=begun), mine, here=self._same_target),
            ]
        if here := [run for run in uncertain if run.here]:
            self._ledger.report("looking for what was stored")
            stream = self._context.target.stream_name
            info = await session.connection.js.stream_info(stream)
            found, unsure = await find_stored(session.connection, info, here, self._key_of)
            absent = await self._entry_check.absent([index[key] for key in found])
            for key, replay in found.items():
                if self._ledger.is_open(index[key]):
                    self._settle_found(index[key], replay, absent.get(index[key], ""))
            for run in here:
                if run.unread:
                    reason = f"{run.unread} cannot be read"
                    self._settle_unsure(run, run.keys, reason)
                else:
                    reason = "the messages of that time are gone from the stream"
                    self._settle_unsure(run, unsure & run.keys, reason)
        for run in uncertain:
            if not run.here:
                there = run.head.servers or ",".join(self._context.source.servers)
                reason = f"its target was {run.head.target} on {there}"
                self._settle_unsure(run, run.keys, reason)
        self._drop_settled()

    def _key_of(self, headers: Mapping[str, str]) -> str | None:
        if not self._plan.history_key:
            return headers.get(REPLAY_OF)
        return self._by_message_id.get(headers.get(MESSAGE_ID, ""))

    def _settle_found(self, index: int, found: StoredMessage, absent: str) -> None:
        replay_id = (found.headers or {}).get(REPLAY_ID, "")
        if replay_id == self._replay_id:
            self._ledger.stored(index, ReplayOutcome.REPLAYED, found.seq, absent=absent)
        elif self._plan.rows[index].subject == found.subject or not self._plan.again:
            run = f"run {replay_id}, whose outcome does not say so"
            by = run if replay_id else "somebody who published the event"
            why = f"stored as {found.subject!r} by {by}"
            self._ledger.stored(index, ReplayOutcome.DUPLICATE, found.seq, why, absent)

    def _settle_unsure(self, run: UncertainRun, keys: Iterable[str], reason: str) -> None:
        ended = "stored it" if run.ended else "ended while replaying it"
        for key in keys:
            index = self._ledger.index[key]
            if not self._ledger.is_open(index):
                continue
            if index in self._sent:
                why = f"no answer came, and {reason}"
                self._ledger.settle(index, ReplayOutcome.IN_DOUBT, why=why)
            elif not self._plan.again:
                why = f"run {run.head.replay_id} {ended}, and {reason}; {AGAIN.text}"
                self._ledger.settle(index, ReplayOutcome.SKIPPED, why=why, advice=AGAIN)

    def _settle_uncaptured(self, session: RunSession) -> None:
        """Settle the rows whose subjects the target stream does not capture."""
        config = session.stream.config
        subjects = list(config.subjects or [])
        fits: dict[str, bool] = {}
        for index in self._pending:
            row = self._plan.rows[index]
            if row.subject not in fits:
                fits[row.subject] = any(covers(pattern, row.subject) for pattern in subjects)
            if not fits[row.subject]:
                why = f"stream {config.name!r} captures {subjects}, not {row.subject!r}"
                self._ledger.settle(index, ReplayOutcome.FAILED, why=why)
        self._drop_settled()

    def _drop_settled(self) -> None:
        is_open = self._ledger.is_open
        self._pending = [index for index in self._pending if is_open(index)]


def _created(info: StreamInfo) -> str:
    return "" if info.created is None else info.created.isoformat()
