"""Removing dead letters that are not to be replayed, with the same care and the same log."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from uuid import UUID, uuid4

from nats.errors import Error as NatsError

from varco_nats._replay_begin import Place
from varco_nats._replay_claims import look_around
from varco_nats._replay_ledger import Ledger
from varco_nats._replay_log import OutcomeRecord, PlanHead, now
from varco_nats._replay_plan import ReplayDecision, ReplayPlan
from varco_nats._replay_report import ReplayOutcome, ReplayReport, ReplayState
from varco_nats._replay_send import Remover
from varco_nats._replay_session import answer_on
from varco_nats.errors import VarcoNatsError


async def discard_entries(place: Place, plan: ReplayPlan) -> ReplayReport:
    """Remove the plan's entries but those that a live run is replaying."""
    settings = place.settings
    remover = Remover(
        place.source,
        place.store.stream,
        timeout=settings.publish_timeout_seconds,
        attempts=settings.publish_attempts,
    )
    ledger = Ledger(plan, remover, place.observers, None)
    going = []
    for index, row in enumerate(plan.rows):
        if row.decision is ReplayDecision.REPLAY and row.seq is not None:
            going.append(index)
        else:
            ledger.settle(index, ReplayOutcome.SKIPPED, why=row.why)
    holder = place.source.nc.new_inbox()
    started_at = now()
    await place.log.ensure()
    subscription = await answer_on(place.source, holder)
    try:
        await remover.start()
        keys = {plan.rows[index].key for index in going}
        head = await _write_head(place, plan, keys, holder, started_at)
        findings = await look_around(place.log, head, keys, place.source, None)
        for index in going:
            if other := findings.held.get(plan.rows[index].key):
                why = f"run {other.replay_id} of {other.user} is replaying it"
                ledger.settle(index, ReplayOutcome.SKIPPED, why=why)
            else:
                ledger.remove(index, ReplayOutcome.DISCARDED, None)
        await remover.finish()
    finally:
        await remover.stop()
        with suppress(NatsError, OSError):
            await subscription.unsubscribe()
    report = ReplayReport(
        replay_id=head.replay_id,
        state=ReplayState.DONE,
        rows=tuple(result for result in ledger.results if result is not None),
        started_at=started_at,
        ended_at=now(),
    )
    counts = {str(name): count for name, count in report.counts.items()}
    try:
        await place.log.write_outcome(
            head.replay_id, OutcomeRecord(ReplayState.DONE, counts, report.ended_at)
        )
    except VarcoNatsError:
        report = replace(report, logged=False)
    return report


async def _write_head(
    place: Place, plan: ReplayPlan, keys: set[str], holder: str, started_at: datetime
) -> PlanHead:
    replay_id = str(uuid4())
    head = PlanHead(
        replay_id=replay_id,
        kind=plan.kind,
        started_at=started_at,
        user=place.user,
        note=plan.note,
        source=plan.source,
        target="",
        servers="",
        session=holder,
        holder=holder,
        subjects=(),
        last_seq=0,
        chunks=await place.log.write_keys(replay_id, [UUID(key) for key in keys]),
        plan=plan.summary,
    )
    return replace(head, seq=await place.log.write_head(head))
