"""Put messages back: dead letters to a channel, or stored history to another place.

`plan` says exactly what will be sent, `run` sends it. Nothing is lost and nothing is stored twice,
whatever dies meanwhile: each run writes its plan to the stream `{stream_name}-replays` first, and
the next run looks for what a dead one stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Self
from uuid import UUID

from msgspec import structs
from nats.errors import Error as NatsError

from varco_nats._json import FastJsonEventSerializer
from varco_nats._read_only import check_may_change
from varco_nats.config import DEFAULT_API, NatsEventBusSettings, without_credentials
from varco_nats.dlq import NatsDLQ
from varco_nats.dlq._advisories import capture, stop_capture
from varco_nats.dlq._codec import encode
from varco_nats.dlq._store import open_store
from varco_nats.dlq._stream import legacy_subjects
from varco_nats.errors import (
    Advice,
    AdviceKind,
    DeadLetterTooLargeError,
    NotStartedError,
    ReplayRefusedError,
)
from varco_nats.observe import Observation, Observer, Observers
from varco_nats.replay._context import ReplayContext, user_and_host
from varco_nats.replay._entry_filter import EntryFilter
from varco_nats.replay._exhausted import (
    LIMIT,
    Exhausted,
    ExhaustedMessage,
    find_exhausted,
    marked,
    read_original,
    watch_exhausted,
)
from varco_nats.replay._foreign import ForeignQueue
from varco_nats.replay._log import ReplayLog
from varco_nats.replay._plan import ReplayDecision, ReplayKind, ReplayPlan, Transform
from varco_nats.replay._plan_rows import PlanOptions
from varco_nats.replay._planner import entry_uuid, entry_uuids, plan_entries, plan_history
from varco_nats.replay._records import LoggedRow, LoggedRun, ReplayRecord, RunSettings
from varco_nats.replay._report import Canary, ReplayControl, ReplayProgress, ReplayReport
from varco_nats.replay._run.base import RunOptions
from varco_nats.replay._run.claims import is_running
from varco_nats.replay._run.discard import DiscardRun, exported_ids, kept_without_export
from varco_nats.replay._run.pace import Pace
from varco_nats.replay._run.publish import ReplayRun
from varco_nats.replay._run.restore import ExportedEntry, RestoreRun, restored_rows
from varco_nats.replay._target import first_few
from varco_nats.replay._target_facts import TargetFacts

_CONFIRM = "discard"
_NOBODY = "nobody"


def _advice(kind: AdviceKind, say: str = "confirm={!r}") -> Advice:
    """How to confirm something by a word, which is said like this."""
    if kind is AdviceKind.CONFIRM_NOBODY:
        return Advice(kind, f"to send them all the same, say {say.format(_NOBODY)}")
    export = "export them and name the file in exported_to"
    return Advice(kind, f"{export}, or say {say.format(_CONFIRM)}")


@contextmanager
def asking_to_say(say: str) -> Iterator[None]:
    """Have a refusal that asks for a word say how the caller gives it, such as `word={!r}`."""
    try:
        yield
    except ReplayRefusedError as error:
        if error.advice is None:
            raise
        advice = _advice(error.advice.kind, say)
        reason = str(error).removesuffix(error.advice.text)
        raise ReplayRefusedError(reason + advice.text, advice) from None


class Replayer:
    """Plans and runs replays of one dead letter queue and of the channels beside it.

    Args:
        source: the queue, or the settings of the queue and its log; `VARCO_NATS_*` by default.
        target: where messages go, if that is another server, stream or prefix than the source.
        user: who is replaying, for the log; by default the user of this process.

    Example:
        async with Replayer(settings) as replayer:
            plan = await replayer.plan(channel="orders", error_type="TimeoutError")
            report = await replayer.run(plan, rate=200, canary=Canary(5))
    """

    def __init__(
        self,
        source: NatsDLQ | NatsEventBusSettings | ForeignQueue | None = None,
        *,
        target: NatsEventBusSettings | None = None,
        user: str | None = None,
    ) -> None:
        dlq = source if isinstance(source, NatsDLQ | ForeignQueue) else NatsDLQ(source)
        self._settings = dlq.settings
        self._names = dlq.names
        self._durable = dlq.durable
        self._target = target if target is not None else self._settings
        elsewhere = _login(self._target) != _login(self._settings)
        self._servers = _servers_of(self._target) if elsewhere else ""
        self._user = user_and_host(user)
        self._observers = Observers()
        self._context: ReplayContext | None = None

    def __repr__(self) -> str:
        where = f"{self._target.stream_name}{f' on {self._servers}' if self._servers else ''}"
        return f"Replayer({self._names.stream} to {where})"

    async def start(self) -> None:
        """Connect, and find the dead letter stream; a second call does nothing.

        It creates no stream: where there is none yet, there is nothing to replay.

        Raises:
            ConnectError, JetStreamUnavailableError: there is no server.
            StreamNotFoundError, StreamMismatchError: the stream cannot be used, or does not exist
                and may not be created.
        """
        if self._context is not None:
            return
        store = await open_store(self._settings, self._names, self._durable, create=False)
        self._context = ReplayContext(
            settings=self._settings,
            store=store,
            log=ReplayLog(store.connection, self._settings),
            target=self._target,
            servers=self._servers,
            user=self._user,
            observers=self._observers,
        )

    async def stop(self) -> None:
        """Disconnect; more than one call does nothing."""
        context, self._context = self._context, None
        if context is not None:
            await context.source.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def observe(self, observer: Observer) -> Observation:
        """Call `observer` with a `DeliveryEvent` as each message is known to be stored.

        Its kind is `replayed`, or `deduplicated` where the message was stored already. The call
        comes before the dead letter is removed.
        """
        return self._observers.add(observer)

    # Planning

    async def plan(
        self,
        entry_ids: Iterable[UUID | str] | None = None,
        *,
        channel: str | None = None,
        handler: str | None = None,
        error_type: str | None = None,
        event_type: str | None = None,
        tenant_id: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        text: str | None = None,
        limit: int | None = None,
        to: str | None = None,
        edits: Mapping[UUID | str, Mapping[str, Any] | bytes] | None = None,
        transform: Transform | None = None,
        new_event_ids: bool = False,
        again: bool = False,
        note: str = "",
    ) -> ReplayPlan:
        """What a replay of these dead letters would send; sends nothing and takes nothing.

        What another run is working on is skipped, and the reason says whose run that is.

        Args:
            entry_ids: exactly these entries; None takes all that meet the conditions.
            since: last failed at this time or later; UTC without a time zone.
            until: last failed before this time.
            text: part of the error, handler, channel or payload; upper and lower case are the same.
            limit: how many to take at most, the oldest first.
            to: the channel they go to; None is the one that each came from.
            edits: payloads to send instead, by entry id: a dict, or bytes as they are.
            transform: takes a payload, a JSON object, and returns the one to send, or None to skip
                the entry.
            new_event_ids: give each event a new id, so that it counts as another event.
            again: also replay what was replayed before.
            note: the reason; kept in the log.

        Raises:
            ValueError: `limit` is negative, an edit is for an entry that is not in the plan, or an
                id is not a UUID.
            InvalidChannelError: `to` cannot be the name of a channel.
            DeadLetterError: the queue cannot be read.
        """
        edits_by_id = {entry_uuid(key): edit for key, edit in (edits or {}).items()}
        context = self._need("plan()")
        async with TargetFacts(context) as facts:
            plan = await plan_entries(
                context,
                entry_ids,
                EntryFilter(
                    channel, handler, error_type, event_type, tenant_id, since, until, text
                ),
                PlanOptions(to, edits_by_id, transform, new_event_ids, again),
                limit=limit,
                note=note,
            )
            return replace(plan, targets=await facts.targets(plan.rows))

    async def plan_history(
        self,
        channel: str,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        start_seq: int | None = None,
        end_seq: int | None = None,
        limit: int | None = None,
        to: str | None = None,
        live: bool = False,
        transform: Transform | None = None,
        new_event_ids: bool = False,
        again: bool = False,
        note: str = "",
    ) -> ReplayPlan:
        """What a replay of a channel's stored messages, in order, would send; sends nothing.

        A message that an earlier run stored there with the same payload is not stored again, unless
        `again`. So the same plan continues a run that died. For that, a `transform` must return the
        same payload each time.

        Args:
            since: stored at this time or later; with a time zone.
            until: stored before this time.
            start_seq, end_seq: stream sequences, both included.
            limit: how many to take at most, the oldest first.
            to: the channel they go to; None is the same name, on another server or stream.
            live: whether they may go to the very channel that they come from.

        Raises:
            ReplayRefusedError: they would go to the channel that they come from, without `live`.
            InvalidChannelError: `channel` or `to` cannot be the name of a channel.
            StreamNotFoundError: the stream does not exist.
            ValueError: a time without a time zone, or a negative `limit`.
        """
        context = self._need("plan_history()")
        async with TargetFacts(context) as facts:
            plan = await plan_history(
                context,
                channel,
                PlanOptions(to, {}, transform, new_event_ids, again),
                since=since,
                until=until,
                start_seq=start_seq,
                end_seq=end_seq,
                limit=limit,
                live=live,
                note=note,
            )
            return replace(plan, targets=await facts.targets(plan.rows))

    # Running

    async def run(
        self,
        plan: ReplayPlan,
        *,
        rate: float | None = None,
        speed: float | None = None,
        canary: Canary | int | None = None,
        progress: Callable[[ReplayProgress], object] | None = None,
        control: ReplayControl | None = None,
        in_flight: int = 1000,
        patience_seconds: float = 60.0,
        ended: Iterable[str] = (),
        confirm: str = "",
    ) -> ReplayReport:
        """Send what `plan` says; a dead letter is removed once the server has its replay.

        A dead letter that somebody else has removed since it was planned is not sent: each is
        looked up just before. A message that the server refuses is reported and stays; after 20
        refusals in a row the run stops, and reports what is still unanswered as the server answers
        it. After a lost connection the run continues over a new one. A cancelled task waits for the
        answers to what it has sent.

        Who consumes the channels is asked again before anything is sent. Dead letters that go to a
        channel where nobody would handle them need a word; stored history, which goes to another
        place on purpose, does not.

        Args:
            rate: messages per second at most; None is no limit.
            speed: for history, instead of `rate`: 1.0 is the pace at which it was stored, 10.0 ten
                times that.
            canary: how many to send first, or a `Canary`, which also says how long to wait; the
                rest is sent only if none of these comes back as a dead letter.
            progress: called up to ten times a second, and when a phase begins.
            control: pauses, resumes and cancels the run.
            in_flight: how many messages may be unanswered at a time.
            patience_seconds: how long to try to connect again after a connection is lost.
            ended: ids of runs of which you know that they are over, although nobody can be asked:
                this user may not publish to `_INBOX.>`, or a plan in the log cannot be read. What
                they stored is looked for. If one of them is not over after all, what it sends later
                may be stored twice.
            confirm: the word "nobody", needed where some of the rows are `ReplayPlan.unhandled`. It
                is for the channels that the plan names; it does not cover one that has lost its
                consumer since.

        Raises:
            ReplayRefusedError: the plan was made for another target or queue; or there is a canary
                and services of the target have another dead letter queue; or nobody would handle
                some of the rows, and the word is missing; nothing was sent.
            ReplayHeldError: another run is replaying the same history.
            ValueError: `rate`, `speed`, `in_flight` or the canary's number is not above 0, or both
                `rate` and `speed` are given; nothing was sent.
            ReadOnlyError: the settings of the source, which has the log, or of the target say
                `read_only`; nothing was sent.
            ReplayError, ConnectError, StreamNotFoundError, StreamMismatchError: the run did not
                begin, and nothing was sent.
        """
        context = self._need_to_change("run()")
        check_may_change(self._target, "run()")
        self._check_route(context, plan)
        if canary is not None and not await context.shares_queue():
            raise ReplayRefusedError(
                f"a canary is looked for in {self._names.stream!r}, and nothing says that services "
                "of the target put their dead letters there; replay a few first and look where "
                "they do"
            )
        if in_flight < 1:
            raise ValueError(f"in_flight must be 1 or more, not {in_flight}")
        Pace(rate, speed)  # raises for wrong values before anything is done
        if isinstance(canary, int):
            canary = Canary(canary)
        first = None if canary is None else (canary.count, canary.wait_seconds)
        if plan.kind is ReplayKind.REPLAY:
            await _check_handled(context, plan, confirm)
        await context.store.ensure()
        options = RunOptions(
            RunSettings(rate, speed, first),
            in_flight=in_flight,
            patience_seconds=patience_seconds,
            progress=progress,
            ended=frozenset(ended),
        )
        return await ReplayRun(context, plan, options, control or ReplayControl()).execute()

    async def discard(
        self,
        entries: ReplayPlan | Iterable[UUID | str],
        *,
        exported_to: str | Path | None = None,
        confirm: str = "",
        note: str = "",
        progress: Callable[[ReplayProgress], object] | None = None,
        control: ReplayControl | None = None,
        patience_seconds: float = 60.0,
    ) -> ReplayReport:
        """Remove dead letters without replaying them; logged like a replay.

        Args:
            entries: ids, or a plan whose rows that are not skipped are removed.
            exported_to: the file to which they were exported. An entry whose id is not in it stays;
                the content of a Parquet file is not checked.
            confirm: the word "discard", needed where there is no export.
            progress, control, patience_seconds: as for `run`.

        Raises:
            ReplayRefusedError: there is neither an export nor the word, or the plan is for another
                queue or for history; nothing was removed.
        """
        context = self._need_to_change("discard()")
        if exported_to is None and confirm != _CONFIRM:
            advice = _advice(AdviceKind.CONFIRM_DISCARD)
            raise ReplayRefusedError(
                f"dead letters that are discarded are gone: {advice.text}", advice
            )
        exported = None
        if exported_to is not None:
            exported = await asyncio.to_thread(exported_ids, Path(exported_to))
        if isinstance(entries, ReplayPlan):
            if entries.kind is not ReplayKind.REPLAY:
                raise ReplayRefusedError(f"{entries!r} has no dead letters to discard")
            self._check_route(context, entries)
            rows = list(entries.rows)
        else:
            found = (await self.plan(entry_uuids(entries), again=True)).rows
            rows = [  # also what could not be replayed
                row
                if row.seq is None
                else structs.replace(row, decision=ReplayDecision.REPLAY, why="")
                for row in found
            ]
        if exported is not None:
            rows = [kept_without_export(row, exported) for row in rows]
        options = RunOptions(
            RunSettings(exported_to="" if exported_to is None else str(exported_to)),
            patience_seconds=patience_seconds,
            progress=progress,
        )
        plan = context.plan(ReplayKind.DISCARD, rows, note, again=True)
        return await DiscardRun(context, plan, options, control or ReplayControl()).execute()

    async def restore(
        self,
        entries: Iterable[ExportedEntry],
        *,
        restored_from: str | Path = "",
        again: bool = False,
        note: str = "",
        progress: Callable[[ReplayProgress], object] | None = None,
        control: ReplayControl | None = None,
        patience_seconds: float = 60.0,
    ) -> ReplayReport:
        """Put dead letters that were exported back into the queue, each once; logged like a replay.

        Each is stored with its id, subject and bytes as it was. One that is in the queue already is
        skipped, and so is one that was replayed, unless `again`. A restore that was killed is
        continued by the next one.

        Args:
            entries: as they were stored.
            restored_from: the file that they come from, for the log.
            again: also put back what was replayed.
            note: the reason; kept in the log.
            progress, control, patience_seconds: as for `run`.

        Raises:
            ReplayRefusedError: an entry is of another queue, or is there twice with other bytes;
                nothing was stored.
            ReadOnlyError: the settings say `read_only`.
            ReplayError: it did not begin; nothing was stored.
        """
        context = self._need_to_change("restore()")
        legacy = legacy_subjects(self._settings, self._names)
        rows = await asyncio.to_thread(restored_rows, entries, self._names, legacy)
        await context.store.ensure()
        options = RunOptions(
            RunSettings(restored_from=str(restored_from)),
            patience_seconds=patience_seconds,
            progress=progress,
        )
        plan = context.plan(ReplayKind.RESTORE, rows, note, again)
        return await RestoreRun(context, plan, options, control or ReplayControl()).execute()

    async def log(self, *, limit: int | None = None) -> list[ReplayRecord]:
        """What was replayed, discarded and restored, newest first: by whom, with what outcome.

        A record that cannot be read is left out, and a WARNING names it.

        Args:
            limit: how many to return at most, the newest; None is all.

        Raises:
            JetStreamUnavailableError: the server has no JetStream.
        """
        context = self._need("log()")
        found = (await context.log.runs()).values()
        runs = [run for run in found if run.heads][::-1][:limit]

        async def running(run: LoggedRun) -> bool:
            return run.outcome is None and await is_running(run, context.source)

        states = await asyncio.gather(*map(running, runs))
        return [run.record(running=state) for run, state in zip(runs, states, strict=True)]

    async def log_rows(self, replay_id: str) -> list[LoggedRow]:
        """Each row of one run: its outcome, where it is stored, and why.

        Where a run died or has not ended, and where a row cannot be read, there is only the entry,
        without an outcome.

        Raises:
            LookupError: the log has no such run.
            JetStreamUnavailableError: the server has no JetStream.
        """
        return await self._need("log_rows()").log.rows(replay_id)

    # Messages that a service without a dead letter queue gave up

    async def capture_exhausted(self) -> None:
        """Have the server keep its advisories about messages that were given up.

        `find_exhausted` reads them. Unless another stream captures them, this creates the stream
        `{stream_name}-exhausted` for the newest 100,000 advisories of the last 30 days; it stays
        until `stop_capturing_exhausted`.

        Raises:
            StreamMismatchError: another stream has that name.
        """
        await capture(self._need_to_change("capture_exhausted()").source, self._settings)

    async def stop_capturing_exhausted(self) -> None:
        """Delete that stream and the advisories in it, if it exists."""
        await stop_capture(
            self._need_to_change("stop_capturing_exhausted()").source, self._settings
        )

    async def find_exhausted(
        self,
        channel: str,
        *,
        limit: int | None = LIMIT,
        start_seq: int | None = None,
        end_seq: int | None = None,
    ) -> Exhausted:
        """The messages of `channel` that services without a queue gave up; changes nothing.

        Those given up since `capture_exhausted` are `certain`. About earlier ones, a consumer with
        `max_deliver` on the server only says how many there are. So every message that it had been
        delivered by then and may have given up is returned too, not `certain`, unless as many are
        being handled at the moment. Nothing is known about what this package's bus gave up before,
        because its consumers have no `max_deliver` on the server.

        Args:
            limit: how many to return at most: certain ones first, then the newest.
            start_seq, end_seq: stream sequences, both included.

        Raises:
            InvalidChannelError: `channel` cannot be the name of a channel.
            StreamNotFoundError: the stream does not exist.
        """
        context = self._need("find_exhausted()")
        found = await find_exhausted(
            context.source,
            self._settings,
            channel,
            limit=limit,
            start_seq=start_seq,
            end_seq=end_seq,
        )
        return await marked(found, context.store, context.log)

    @asynccontextmanager
    async def watch_exhausted(
        self, on_message: Callable[[ExhaustedMessage], Awaitable[None] | None]
    ) -> AsyncIterator[None]:
        """Inside the block, call `on_message` when the server says that a message was given up."""
        connection = self._need("watch_exhausted()").source
        subscriptions = await watch_exhausted(connection, self._settings, on_message)
        try:
            with suppress(NatsError):  # a lost connection subscribes when it is back
                await connection.nc.flush()
            yield
        finally:
            for subscription in subscriptions:
                with suppress(NatsError):
                    await subscription.unsubscribe()

    async def dead_letter(
        self, message: ExhaustedMessage, *, note: str = "", again: bool = False
    ) -> UUID:
        """Put a message that was given up into the queue, with headers and delivery count.

        Returns the entry's id; an entry that is there already is not stored again.

        Args:
            note: the reason; kept in the entry's error message, with the user's name.

        Raises:
            ReplayRefusedError: a run had it in its plan before, and `again` is False.
            DeadLetterTooLargeError, DeadLetterError: it could not be stored, or it is no longer
                stored in the channel.
        """
        store = self._need_to_change("dead_letter()").store
        if message.handled_by is not None and not again:
            raise ReplayRefusedError(
                f"message {message.stream}:{message.seq} was in the plan of run "
                f"{message.handled_by}; again=True puts it into the queue again"
            )
        with store.errors("stored"):
            await store.ensure()
            original = await read_original(store.connection, message)
            done = f"put here by {self._user}{': ' if note else ''}{note}"
            entry = message.entry(original.data, done)
            delivery = message.delivery(original)
            data = encode(entry, FastJsonEventSerializer(), delivery, max_size=store.max_size)
            if len(data) <= store.max_size:
                await store.put(entry.entry_id, entry.channel, data)
                return entry.entry_id
        raise DeadLetterTooLargeError(entry.entry_id, entry.channel, len(data), store.max_size)

    def _need(self, operation: str) -> ReplayContext:
        if self._context is None:
            raise NotStartedError("Replayer", operation)
        return self._context

    def _need_to_change(self, operation: str) -> ReplayContext:
        check_may_change(self._settings, operation)
        return self._need(operation)

    def _check_route(self, context: ReplayContext, plan: ReplayPlan) -> None:
        if (plan.source, plan.target, plan.servers) != context.route(plan.kind):
            raise ReplayRefusedError(
                f"{plan!r} was made for another target or another queue than {self!r}"
            )


async def _check_handled(context: ReplayContext, plan: ReplayPlan, confirm: str) -> None:
    """Refuse to send what nobody would handle, by what the server says now.

    Raises:
        ReplayRefusedError: without the word, or if a channel has changed since it was planned.
    """
    planned = {target.channel: target for target in plan.targets}
    async with TargetFacts(context) as facts:
        # what the server does not say now is as it was when it did
        now = [
            planned.get(target.channel, target) if target.unknown else target
            for target in await facts.targets(plan.rows)
        ]
    found = [target for target in now if target.unhandled]
    changed = [target for target in found if not planned.get(target.channel, target).unhandled]
    if not found or (confirm == _NOBODY and not changed):
        return
    said = first_few([target.warning for target in changed or found])
    if changed:
        raise ReplayRefusedError(
            f"since the plan was made, this has changed: {'; '.join(said)}; plan again"
        )
    advice = _advice(AdviceKind.CONFIRM_NOBODY)
    raise ReplayRefusedError(f"{'; '.join(said)}; {advice.text}", advice)


def _login(settings: NatsEventBusSettings) -> tuple[list[str], str, dict[str, Any]]:
    """What decides which servers a connection reaches, and which account and JetStream there."""
    return settings.to_servers_list(), settings.jetstream_api(), settings.connect_kwargs


def _servers_of(settings: NatsEventBusSettings) -> str:
    urls = ",".join(without_credentials(url) for url in settings.to_servers_list())
    api = settings.jetstream_api()
    return urls if api == DEFAULT_API else f"{urls} under {api}"
