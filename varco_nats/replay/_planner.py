"""Reads the messages that a plan is about, and makes its rows; sends nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime
from uuid import UUID, uuid4

from varco_nats._nats.stream import stream_info
from varco_nats.dlq._codec import StoredEntry
from varco_nats.errors import ReplayRefusedError
from varco_nats.history import History
from varco_nats.replay._context import ReplayContext
from varco_nats.replay._entry_filter import EntryFilter
from varco_nats.replay._plan import PlannedReplay, ReplayDecision, ReplayKind, ReplayPlan
from varco_nats.replay._plan_rows import (
    Destination,
    PlanOptions,
    checked_edits,
    missing_entry,
    note_copies,
    plan_entry,
    plan_message,
    skip_for,
    skip_replayed,
)
from varco_nats.replay._run.claims import held_now
from varco_nats.subjects import validate_channel

_FOUND_SINGLY = 100  # entries asked for by id; more are found by reading the queue


async def plan_entries(
    context: ReplayContext,
    entry_ids: Iterable[UUID | str] | None,
    conditions: EntryFilter,
    options: PlanOptions,
    *,
    limit: int | None = None,
    note: str = "",
) -> ReplayPlan:
    """A plan of dead letters; see `Replayer.plan`."""
    _check_limit(limit)
    if options.to is not None:
        validate_channel(options.to)
    max_payload, _ = await context.limits()
    destination = Destination(context.target, max_payload)
    wanted = None if entry_ids is None else entry_uuids(entry_ids)
    rows: list[PlannedReplay] = []
    found: set[UUID] = set()
    matches = None if conditions.takes_all else conditions.matches
    async with aclosing(_pages(context, wanted, conditions.channel)) as pages:
        async for page in pages:
            for stored in page:
                if wanted is not None:
                    found.add(stored.entry_id)
                room = limit is None or len(rows) < limit
                if room and (matches is None or matches(stored)):
                    rows.append(plan_entry(stored, options, destination))
            if wanted is None and len(rows) == limit:
                break
    rows += [missing_entry(entry_id) for entry_id in wanted or () if entry_id not in found]
    checked_edits(options.edits, (row.entry_id for row in rows if row.entry_id is not None))
    going = {row.key for row in rows if row.decision is ReplayDecision.REPLAY}
    with context.store.errors("read"):
        if not options.again:
            rows = skip_replayed(rows, *await context.log.replayed_by(going))
        held = await held_now(context.log, going, context.source)
    rows = skip_for(rows, {key: holder.why for key, holder in held.items()})
    return context.plan(ReplayKind.REPLAY, note_copies(rows), note, options.again)


async def plan_history(
    context: ReplayContext,
    channel: str,
    options: PlanOptions,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    start_seq: int | None = None,
    end_seq: int | None = None,
    limit: int | None = None,
    live: bool = False,
    note: str = "",
) -> ReplayPlan:
    """A plan of a channel's stored messages; see `Replayer.plan_history`."""
    _check_limit(limit)
    source, target, stream = context.settings, context.target, context.settings.stream_name
    to = validate_channel(channel if options.to is None else options.to)
    max_payload, same_server = await context.limits()
    subject, target_subject = source.subject_name(channel), target.subject_name(to)
    if same_server and target_subject == subject and not live:
        raise ReplayRefusedError(
            f"channel {channel!r} would be replayed to itself, where services would handle "
            "everything again; name another channel with to=, give the Replayer another "
            "target, or say live=True"
        )
    created = str((await stream_info(context.source, stream)).created)
    names = [stream, created, subject, context.servers, target.stream_name, target_subject]
    key = hashlib.sha256(json.dumps(names).encode()).hexdigest()[:32]
    if options.again:
        key = uuid4().hex
    options = replace(options, to=to)
    destination = Destination(target, max_payload)
    rows: list[PlannedReplay] = []
    async with History(source, connection=context.source) as history:
        reading = history.read(
            channel, since=since, until=until, start_seq=start_seq, end_seq=end_seq, limit=limit
        )
        async with aclosing(reading) as messages:
            async for message in messages:
                rows.append(plan_message(message, stream, channel, key, options, destination))
    covered = {
        "channel": channel,
        "first_seq": rows[0].seq if rows else None,
        "last_seq": rows[-1].seq if rows else None,
        "since": None if since is None else since.isoformat(),
        "until": None if until is None else until.isoformat(),
    }
    plan = context.plan(ReplayKind.HISTORY, rows, note, options.again)
    return replace(plan, history_key=key, history=covered)


def entry_uuid(value: UUID | str) -> UUID:
    """An entry's id.

    Raises:
        ValueError: it is not a UUID.
    """
    try:
        return value if isinstance(value, UUID) else UUID(value)
    except (ValueError, AttributeError, TypeError):
        raise ValueError(f"{value!r} is not an entry id, which is a UUID") from None


def entry_uuids(values: Iterable[UUID | str]) -> list[UUID]:
    """The different ids, in their order."""
    if values is None or isinstance(values, str):
        raise ValueError(f"give the entry ids as a list, not {values!r}")
    return list(dict.fromkeys(map(entry_uuid, values)))


async def _pages(
    context: ReplayContext, wanted: list[UUID] | None, channel: str | None
) -> AsyncGenerator[Iterable[StoredEntry]]:
    """The entries with these ids, or all that may be in `channel`, oldest first."""
    store = context.store
    with store.errors("read"):
        if not await store.exists():
            return
        if wanted is not None and len(wanted) <= _FOUND_SINGLY:
            found = [entry for key in wanted if (entry := await store.find(key)) is not None]
            yield sorted(found, key=lambda stored: stored.message.seq)
            return
        only = None if wanted is None else set(wanted)
        async with aclosing(store.pages(await store.subject_to_scan(channel))) as pages:
            async for page in pages:
                yield page if only is None else (each for each in page if each.entry_id in only)


def _check_limit(limit: int | None) -> None:
    if limit is not None and limit < 0:
        raise ValueError(f"limit must not be negative, not {limit}")
