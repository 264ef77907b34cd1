"""What a session does before it sends: writes the plan, and settles what is not its own to send."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from nats.js.api import StreamInfo

from varco_nats._nats.client import Connection
from varco_nats._nats.provenance import MESSAGE_ID, REPLAY_OF
from varco_nats._nats.stream import covers
from varco_nats.config import NatsEventBusSettings
from varco_nats.dlq._codec import DlqNames
from varco_nats.dlq._store import DlqStore
from varco_nats.errors import ReplayHeldError
from varco_nats.observe import Observers
from varco_nats.replay._claims import Doubt, Findings, Found, find_stored, look_around
from varco_nats.replay._ledger import Ledger
from varco_nats.replay._log import ReplayLog, distinct
from varco_nats.replay._look import QueueLook
from varco_nats.replay._plan import AGAIN, ReplayPlan, size_of
from varco_nats.replay._records import PlanHead, RunSettings
from varco_nats.replay._report import ReplayOutcome
from varco_nats.replay._session import Session, until_gone


@dataclass(frozen=True, slots=True)
class Place:
    """What a run works with."""

    settings: NatsEventBusSettings
    """Of the queue and the log."""
    source: Connection
    store: DlqStore
    names: DlqNames
    """Of the queue."""
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
        ended: runs that are over for sure, by id.
    """

    def __init__(
        self,
        place: Place,
        plan: ReplayPlan,
        ledger: Ledger,
        look: QueueLook,
        *,
        replay_id: str,
        holder: str,
        started_at: datetime,
        settings: RunSettings,
        ended: Collection[str],
    ) -> None:
        self._place = place
        self._plan = plan
        self._ledger = ledger
        self._replay_id = replay_id
        self._holder = holder
        self._started_at = started_at
        self._look = look
        self._settings = settings
        self._ended = ended
        self._by_message_id: dict[str, str] = {}
        if plan.history_key:
            self._by_message_id = {row.headers[MESSAGE_ID]: row.key for row in plan.rows}
        self._pending: list[int] = []
        self._sent: Mapping[int, int] = {}
        self._same_target = True
        """Whether this session has the same stream as the one before."""
        self.head: PlanHead | None = None
        """The plan as the log has it; None before it is written."""

    async def begin(
        self,
        session: Session | None,
        pending: Iterable[int],
        sent: Mapping[int, int] | None = None,
        lost: Session | None = None,
    ) -> list[int]:
        """The rows of `pending` that the session may work on; the others are settled.

        Args:
            session: None for a run that publishes nothing.
            sent: rows that the lost session sent and that were not answered, each with a sequence
                that it comes after, if it is stored.
            lost: the session before this one.

        Raises:
            ReplayHeldError: another run replays the same history.
            ReplayLogError: the plan could not be written.
        """
        self._pending, self._sent = list(pending), dict(sent or {})
        self._look.forget()
        place, rows = self._place, self._plan.rows
        head = await self._write_head(session)
        target = None if session is None else session.connection
        if lost is not None and target is not None:
            await until_gone(target, lost.subject)
        keys = {rows[index].key for index in self._pending}
        findings = await look_around(place.log, head, keys, place.source, target, self._ended)
        if session is not None:
            await self._settle_doubts(session, head, findings.doubts)
        self._settle_held(findings)
        if session is not None:
            self._settle_unfit(session)
        return self._pending

    async def _write_head(self, session: Session | None) -> PlanHead:
        head = self.head or await self._first_head(session)
        if session is not None:
            made = _created(session.stream)
            self._same_target = made == head.target_created
            head = replace(head, session=session.subject, target_created=made)
        self.head = replace(head, seq=await self._place.log.write_head(head))
        return self.head

    async def _first_head(self, session: Session | None) -> PlanHead:
        place, plan = self._place, self._plan
        going = [plan.rows[index] for index in self._pending]
        ids = dict.fromkeys(row.entry_id for row in going if row.entry_id is not None)
        state = None if session is None else session.stream.state
        return PlanHead(
            replay_id=self._replay_id,
            kind=plan.kind,
            started_at=self._started_at,
            user=place.user,
            note=plan.note,
            source=plan.source,
            target=plan.target if session is not None else "",
            servers=place.servers if session is not None else "",
            session=self._holder,
            holder=self._holder,
            subjects=distinct((row.subject for row in going), place.target.wildcard_subject()),
            last_seq=0 if state is None else int(state.last_seq),
            target_created="" if session is None else _created(session.stream),
            num_deleted=0 if state is None else state.num_deleted or 0,
            chunks=await place.log.write_keys(self._replay_id, list(ids)),
            plan=plan.summary,
            again=plan.again,
            settings=self._settings,
            history=dict(plan.history),
            history_key=plan.history_key,
        )

    def _settle_held(self, findings: Findings) -> None:
        """Leave what a live run has to that run."""
        if findings.held and self._plan.history_key:
            other = next(iter(findings.held.values()))
            raise ReplayHeldError(other.replay_id, other.user)
        for key, other in findings.held.items():
            index = self._ledger.index[key]
            if self._ledger.is_open(index):
                self._ledger.settle(index, ReplayOutcome.SKIPPED, why=other.why)
        self._drop_settled()

    async def _settle_doubts(self, session: Session, head: PlanHead, doubts: list[Doubt]) -> None:
        """Look for what dead runs, and this run's own lost sessions, may have stored."""
        rows, index = self._plan.rows, self._ledger.index
        if self._sent:
            mine = frozenset(rows[i].key for i in self._sent)
            begun = max(head.last_seq, min(self._sent.values()))
            doubts = [*doubts, Doubt(replace(head, last_seq=begun), mine, here=self._same_target)]
        if here := [doubt for doubt in doubts if doubt.here]:
            self._ledger.tell("looking for what was stored")
            stream = self._place.target.stream_name
            info = await session.connection.js.stream_info(stream)
            found, unsure = await find_stored(session.connection, info, here, self._key_of)
            absent = await self._look.absent([index[key] for key in found])
            for key, one in found.items():
                if self._ledger.is_open(index[key]):
                    self._settle_found(index[key], one, absent.get(index[key], ""))
            for doubt in here:
                if doubt.unread:
                    reason = f"{doubt.unread} cannot be read"
                    self._settle_unsure(doubt, doubt.keys, reason)
                else:
                    reason = "the messages of that time are gone from the stream"
                    self._settle_unsure(doubt, unsure & doubt.keys, reason)
        for doubt in doubts:
            if not doubt.here:
                there = doubt.head.servers or ",".join(self._place.source.servers)
                reason = f"it was for {doubt.head.target} on {there}"
                self._settle_unsure(doubt, doubt.keys, reason)
        self._drop_settled()

    def _key_of(self, headers: Mapping[str, str]) -> str | None:
        if not self._plan.history_key:
            return headers.get(REPLAY_OF)
        return self._by_message_id.get(headers.get(MESSAGE_ID, ""))

    def _settle_found(self, index: int, found: Found, absent: str) -> None:
        if found.replay_id == self._replay_id:
            self._ledger.stored(index, ReplayOutcome.REPLAYED, found.seq, absent=absent)
        elif self._plan.rows[index].subject == found.subject or not self._plan.again:
            run = f"run {found.replay_id}, which said no more of it"
            by = run if found.replay_id else "a publish of the event"
            why = f"stored as {found.subject!r} by {by}"
            self._ledger.stored(index, ReplayOutcome.DUPLICATE, found.seq, why, absent)

    def _settle_unsure(self, doubt: Doubt, keys: Iterable[str], reason: str) -> None:
        run = f"run {doubt.head.replay_id}"
        said = f"{run} stored it" if doubt.ended else f"{run} ended while replaying it"
        for key in keys:
            index = self._ledger.index[key]
            if not self._ledger.is_open(index):
                continue
            if index in self._sent:
                why = f"no answer came, and {reason}"
                self._ledger.settle(index, ReplayOutcome.IN_DOUBT, why=why)
            elif not self._plan.again:
                why = f"{said}, and {reason}; {AGAIN.text}"
                self._ledger.settle(index, ReplayOutcome.SKIPPED, why=why, advice=AGAIN)

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


def _created(info: StreamInfo) -> str:
    return "" if info.created is None else info.created.isoformat()
