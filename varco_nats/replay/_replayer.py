"""Put messages back: dead letters to a channel, or stored history to another place.

`plan` says exactly what will be sent, `run` sends it. Nothing is lost and nothing is stored twice,
whatever dies meanwhile: each run writes its plan to the stream `{stream_name}-replays` first, and
the next run looks for what a dead one stored.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Self
from uuid import UUID, uuid4

from nats.errors import Error as NatsError

from varco_nats._json import FastJsonEventSerializer
from varco_nats._nats.client import Connection, connect
from varco_nats._nats.stream import stream_info
from varco_nats.config import NatsEventBusSettings, without_credentials
from varco_nats.dlq import NatsDLQ
from varco_nats.dlq._advisories import capture, stop_capture
from varco_nats.dlq._codec import DlqNames, StoredEntry, encode
from varco_nats.dlq._store import DlqStore, open_store
from varco_nats.errors import (
    Advice,
    AdviceKind,
    DeadLetterTooLargeError,
    NotStartedError,
    ReplayRefusedError,
)
from varco_nats.history import History
from varco_nats.observe import Observation, Observer, Observers
from varco_nats.replay._base import RunOptions
from varco_nats.replay._begin import Place
from varco_nats.replay._claims import is_running
from varco_nats.replay._discard import DiscardRun, exported_ids, kept_without_export
from varco_nats.replay._exhausted import (
    LIMIT,
    Exhausted,
    ExhaustedMessage,
    find_exhausted,
    marked,
    read_original,
    watch_exhausted,
)
from varco_nats.replay._log import ReplayLog, now, who
from varco_nats.replay._pace import Pace
from varco_nats.replay._plan import (
    Destination,
    EntryFilter,
    PlannedReplay,
    PlanOptions,
    ReplayDecision,
    ReplayKind,
    ReplayPlan,
    Transform,
    checked_edits,
    missing_entry,
    note_copies,
    plan_entry,
    plan_message,
    skip_replayed,
)
from varco_nats.replay._records import LoggedRow, LoggedRun, ReplayRecord, RunSettings
from varco_nats.replay._report import (
    Canary,
    ReplayControl,
    ReplayOutcome,
    ReplayProgress,
    ReplayReport,
    ReplayResult,
    ReplayState,
)
from varco_nats.replay._run import ReplayRun
from varco_nats.subjects import validate_channel

__all__ = [
    "Canary",
    "Exhausted",
    "ExhaustedMessage",
    "LoggedRow",
    "PlannedReplay",
    "ReplayControl",
    "ReplayDecision",
    "ReplayKind",
    "ReplayOutcome",
    "ReplayPlan",
    "ReplayProgress",
    "ReplayRecord",
    "ReplayReport",
    "ReplayResult",
    "ReplayState",
    "Replayer",
]

_FOUND_SINGLY = 100  # entries asked for by id; more are found by reading the queue
_CONFIRM = "discard"
_EXPORT_OR_CONFIRM = Advice(
    AdviceKind.CONFIRM_DISCARD,
    f"export them and name the file in exported_to, or say confirm={_CONFIRM!r}",
)


class Replayer:
    """Plans and runs replays of one dead letter queue and of the channels beside it.

    Args:
        source: the queue, or the settings that it and the log have; `VARCO_NATS_*` by default.
        target: where messages go, if that is another server, stream or prefix.
        user: who replays, for the log; by default the user of this process.

    Example:
        async with Replayer(settings) as replayer:
            plan = await replayer.plan(channel="orders", error_type="TimeoutError")
            report = await replayer.run(plan, rate=200, canary=Canary(5))
    """

    def __init__(
        self,
        source: NatsDLQ | NatsEventBusSettings | None = None,
        *,
        target: NatsEventBusSettings | None = None,
        user: str | None = None,
    ) -> None:
        dlq = source if isinstance(source, NatsDLQ) else NatsDLQ(source)
        self._settings: NatsEventBusSettings = dlq.settings
        self._names: DlqNames = dlq.names
        self._durable = dlq.durable
        self._target = target if target is not None else self._settings
        urls = [without_credentials(url) for url in self._target.to_servers_list()]
        self._servers = ",".join(urls) if _way_in(self._target) != _way_in(self._settings) else ""
        self._user = who(user)
        self._observers = Observers()
        self._store: DlqStore | None = None
        self._target_limits: tuple[int, bool] | None = None

    def __repr__(self) -> str:
        where = f"{self._target.stream_name}{f' on {self._servers}' if self._servers else ''}"
        return f"Replayer({self._names.stream} to {where})"

    async def start(self) -> None:
        """Connect, and find the dead letter stream; a second call does nothing.

        It makes no stream: where there is none yet, there is nothing to replay.

        Raises:
            ConnectError, JetStreamUnavailableError: there is no server.
            StreamNotFoundError, StreamMismatchError: the stream cannot be used, or is not there and
                may not be created.
        """
        if self._store is None:
            self._store = await open_store(self._settings, self._names, self._durable, create=False)

    async def stop(self) -> None:
        """Disconnect; more than one call does nothing."""
        store, self._store = self._store, None
        if store is not None:
            await store.connection.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def observe(self, observer: Observer) -> Observation:
        """Call `observer` with a `DeliveryEvent` as each message is known to be stored.

        Its kind is `replayed`, or `deduplicated` where it was stored already. It comes before the
        dead letter is removed.
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

        Args:
            entry_ids: exactly these entries; None takes all that meet the conditions.
            since: last failed at this time or later; UTC without a time zone.
            until: last failed before this time.
            text: part of the error, handler, channel or payload, in any case.
            limit: the oldest so many.
            to: the channel they go to; None is the one that each came from.
            edits: payloads to send instead, by entry id: a dict, or bytes as they are.
            transform: from a payload to the one to send, None to leave it out; for JSON objects.
            new_event_ids: give each event a new id, so that it is another event.
            again: replay what was replayed before, too.
            note: why; kept in the log.

        Raises:
            ValueError: `limit` is negative, an edit is of no entry in the plan, or an id is none.
            InvalidChannelError: `to` is no channel.
            DeadLetterError: the queue cannot be read.
        """
        if limit is not None and limit < 0:
            raise ValueError(f"limit must not be negative, not {limit}")
        if to is not None:
            validate_channel(to)
        by_id = {_uuid(key): edit for key, edit in (edits or {}).items()}
        options = PlanOptions(to, by_id, transform, new_event_ids, again)
        conditions = EntryFilter(
            channel, handler, error_type, event_type, tenant_id, since, until, text
        )
        max_payload, _ = await self._limits()
        destination = Destination(self._target, max_payload)
        wanted = None if entry_ids is None else _uuids(entry_ids)
        rows: list[PlannedReplay] = []
        found: set[UUID] = set()
        async for stored in self._entries(wanted, channel):
            found.add(stored.entry.entry_id)
            if limit is not None and len(rows) >= limit:
                if wanted is None:
                    break
            elif conditions.matches(stored):
                rows.append(plan_entry(stored, options, destination))
        rows += [missing_entry(one) for one in wanted or () if one not in found]
        checked_edits(by_id, (row.entry_id for row in rows if row.entry_id is not None))
        if not again:
            rows = skip_replayed(rows, *await self._replayed_by(rows))
        return self._plan(ReplayKind.REPLAY, note_copies(rows), note, again)

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
        `again`: so a run that died is continued by the same plan. A `transform` has to give the
        same payload each time for that.

        Args:
            since: stored at this time or later; with a time zone.
            until: stored before this time.
            start_seq, end_seq: stream sequences, both included.
            limit: the oldest so many.
            to: the channel they go to; None is the same name, on another server or stream.
            live: whether they may go to the very channel they come from.

        Raises:
            ReplayRefusedError: they would go to the very channel, and `live` is False.
            InvalidChannelError: `channel` or `to` is no channel.
            StreamNotFoundError: the stream does not exist.
            ValueError: a time without a time zone, or a negative `limit`.
        """
        if limit is not None and limit < 0:
            raise ValueError(f"limit must not be negative, not {limit}")
        source, target = self._settings, self._target
        goes_to = validate_channel(channel if to is None else to)
        max_payload, same_server = await self._limits()
        subject = source.subject_name(channel)
        if same_server and target.subject_name(goes_to) == subject and not live:
            raise ReplayRefusedError(
                f"channel {channel!r} would be replayed to itself, where services would handle "
                "everything again; name another channel with to=, give the Replayer another "
                "target, or say live=True"
            )
        stream = source.stream_name
        connection = self._need("plan_history()").connection
        names = [
            *(stream, await _created(connection, stream), subject),
            *(self._servers, target.stream_name, target.subject_name(goes_to)),
        ]
        key = uuid4().hex if again else hashlib.sha256(json.dumps(names).encode()).hexdigest()
        options = PlanOptions(goes_to, {}, transform, new_event_ids, again)
        destination = Destination(target, max_payload)
        rows: list[PlannedReplay] = []
        async with History(source, connection=connection) as history:
            reading = history.read(
                channel,
                since=since,
                until=until,
                start_seq=start_seq,
                end_seq=end_seq,
                limit=limit,
            )
            async with aclosing(reading) as messages:
                async for message in messages:
                    rows.append(
                        plan_message(message, stream, channel, key[:32], options, destination)
                    )
        range_ = {
            "channel": channel,
            "first_seq": rows[0].seq if rows else None,
            "last_seq": rows[-1].seq if rows else None,
            "since": None if since is None else since.isoformat(),
            "until": None if until is None else until.isoformat(),
        }
        plan = self._plan(ReplayKind.HISTORY, rows, note, again)
        return replace(plan, history_key=key[:32], history=range_)

    # Doing

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
    ) -> ReplayReport:
        """Send what `plan` says; a dead letter is removed once the server has its replay.

        A dead letter that somebody else removed since it was planned is not sent: each is looked up
        just before. A message that the server refuses is reported and stays; after 20 refusals in
        a row the run stops, and what is in flight then is refused too. A lost connection is made
        good. A cancelled task settles what it has sent.

        Args:
            rate: messages per second at most.
            speed: for history, 1.0 is the pace at which it was stored, 10.0 ten times that.
            canary: so many first, and the rest only if none of them comes back dead.
            progress: called up to ten times a second, and as each phase begins.
            control: pauses, resumes and cancels the run.
            in_flight: messages that may be without an answer at once.
            patience_seconds: how long a lost connection is tried again.
            ended: ids of runs that are over for sure, although nobody can be asked, as where this
                user may not publish to `_INBOX.>`, or a plan in the log cannot be read. What they
                stored is looked for; what one of them sends later all the same may be stored twice.

        Raises:
            ReplayRefusedError: the plan is another Replayer's, with another target; or a canary
                on another target, whose dead letters are elsewhere.
            ReplayHeldError: another run is replaying the same history.
            ReplayError, ConnectError, StreamNotFoundError, StreamMismatchError: it did not begin;
                nothing was sent.
        """
        store = self._need("run()")
        self._check_route(plan)
        if canary is not None and not await self._has_own_queue():
            raise ReplayRefusedError(
                f"a canary looks into {self._names.stream!r}, but services of the target have "
                "another queue; replay a few with limit= first and look there"
            )
        if in_flight < 1:
            raise ValueError(f"in_flight must be 1 or more, not {in_flight}")
        Pace(rate, speed)  # refuses what is no pace
        await store.ensure()
        options = RunOptions(
            RunSettings(rate, speed, Canary(canary) if isinstance(canary, int) else canary),
            in_flight=in_flight,
            patience_seconds=patience_seconds,
            progress=progress,
            ended=frozenset(ended),
        )
        return await ReplayRun(
            self._place(store), plan, options, control or ReplayControl()
        ).execute()

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
            exported_to: the file that they were exported to before. An entry whose id is not in it
                stays; a Parquet file is not looked into.
            confirm: the word "discard", where there is no export.
            progress, control, patience_seconds: as of `run`.

        Raises:
            ReplayRefusedError: neither an export nor the word, or a plan of another queue or of
                history; nothing was removed.
        """
        store = self._need("discard()")
        if exported_to is None and confirm != _CONFIRM:
            raise ReplayRefusedError(
                f"dead letters that are discarded are gone: {_EXPORT_OR_CONFIRM.text}",
                _EXPORT_OR_CONFIRM,
            )
        exported = None
        if exported_to is not None:
            exported = await asyncio.to_thread(exported_ids, Path(exported_to))
        if isinstance(entries, ReplayPlan):
            if entries.kind is not ReplayKind.REPLAY:
                raise ReplayRefusedError(f"{entries!r} has no dead letters to discard")
            self._check_route(entries)
            rows = list(entries.rows)
        else:
            found = (await self.plan(_uuids(entries), again=True)).rows
            rows = [  # also what could not be replayed
                row if row.seq is None else replace(row, decision=ReplayDecision.REPLAY, why="")
                for row in found
            ]
        if exported is not None:
            rows = [kept_without_export(row, exported) for row in rows]
        options = RunOptions(
            RunSettings(exported_to="" if exported_to is None else str(exported_to)),
            patience_seconds=patience_seconds,
            progress=progress,
        )
        plan = self._plan(ReplayKind.DISCARD, rows, note, again=True)
        return await DiscardRun(
            self._place(store), plan, options, control or ReplayControl()
        ).execute()

    async def log(self, *, limit: int | None = None) -> list[ReplayRecord]:
        """What was replayed and discarded, newest first, by whom and with what outcome.

        A record that cannot be read is left out, and a WARNING names it.

        Raises:
            JetStreamUnavailableError: the server has no JetStream.
        """
        store = self._need("log()")
        found = (await self._log(store).runs()).values()
        runs = [run for run in found if run.heads][::-1][:limit]

        async def running(run: LoggedRun) -> bool:
            return run.outcome is None and await is_running(run, store.connection)

        alive = await asyncio.gather(*map(running, runs))
        return [run.record(running=there) for run, there in zip(runs, alive, strict=True)]

    async def log_rows(self, replay_id: str) -> list[LoggedRow]:
        """What became of each row of one run: outcome, where it is stored, and why.

        A run that died, or has not ended, has no outcomes yet: only the entries of its plan. So has
        an entry whose row cannot be read.

        Raises:
            LookupError: the log has no such run.
            JetStreamUnavailableError: the server has no JetStream.
        """
        return await self._log(self._need("log_rows()")).rows(replay_id)

    # Messages that a service without a dead letter queue gave up

    async def capture_exhausted(self) -> None:
        """Have the server keep what it tells of given up messages, for `find_exhausted`.

        Makes the stream `{stream_name}-exhausted`, of the newest 100,000 advisories and 30 days,
        where no other stream keeps them; it stays until `stop_capturing_exhausted`.

        Raises:
            StreamMismatchError: another stream has that name.
        """
        await capture(self._need("capture_exhausted()").connection, self._settings)

    async def stop_capturing_exhausted(self) -> None:
        """Delete that stream and what it kept, if it is there."""
        await stop_capture(self._need("stop_capturing_exhausted()").connection, self._settings)

    async def find_exhausted(
        self,
        channel: str,
        *,
        limit: int | None = LIMIT,
        start_seq: int | None = None,
        end_seq: int | None = None,
    ) -> Exhausted:
        """The messages of `channel` that services without a queue gave up; touches none.

        Those told of since `capture_exhausted` are certain. Of earlier ones a consumer with
        `max_deliver` on the server tells how many they are: what it was delivered by then and may
        have given up is there too, not `certain`, unless as many are just being handled. Of what
        this package's bus gave up before, nothing is known: its consumers have no `max_deliver`.

        Args:
            limit: the newest so many; certain ones come first.
            start_seq, end_seq: stream sequences, both included.

        Raises:
            InvalidChannelError: `channel` is no channel.
            StreamNotFoundError: the stream does not exist.
        """
        store = self._need("find_exhausted()")
        found = await find_exhausted(
            store.connection,
            self._settings,
            channel,
            limit=limit,
            start_seq=start_seq,
            end_seq=end_seq,
        )
        return await marked(found, store, self._log(store))

    @asynccontextmanager
    async def watch_exhausted(
        self, on_message: Callable[[ExhaustedMessage], Awaitable[None] | None]
    ) -> AsyncIterator[None]:
        """Inside the block, call `on_message` as the server says that a message was given up."""
        store = self._need("watch_exhausted()")
        subscriptions = await watch_exhausted(store.connection, self._settings, on_message)
        try:
            with suppress(NatsError):  # a lost connection subscribes when it is back
                await store.connection.nc.flush()
            yield
        finally:
            for subscription in subscriptions:
                with suppress(NatsError):
                    await subscription.unsubscribe()

    async def dead_letter(
        self, message: ExhaustedMessage, *, note: str = "", again: bool = False
    ) -> UUID:
        """Put a message that was given up into the queue, with headers and delivery count.

        Returns the entry's id; one that is there already is not stored again.

        Args:
            note: why; kept in the entry's error message, with who did it.

        Raises:
            ReplayRefusedError: a run had it already, and `again` is False.
            DeadLetterTooLargeError, DeadLetterError: it could not be stored, or is gone.
        """
        store = self._need("dead_letter()")
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

    # Parts

    def _need(self, operation: str) -> DlqStore:
        if self._store is None:
            raise NotStartedError("Replayer", operation)
        return self._store

    def _log(self, store: DlqStore) -> ReplayLog:
        return ReplayLog(store.connection, self._settings)

    def _place(self, store: DlqStore) -> Place:
        return Place(
            settings=self._settings,
            source=store.connection,
            store=store,
            names=self._names,
            log=self._log(store),
            target=self._target,
            servers=self._servers,
            user=self._user,
            observers=self._observers,
        )

    def _check_route(self, plan: ReplayPlan) -> None:
        if (plan.source, plan.target, plan.servers) != self._route(plan.kind):
            raise ReplayRefusedError(
                f"{plan!r} was made for another target or another queue than {self!r}"
            )

    async def _has_own_queue(self) -> bool:
        """Whether services of the target dead-letter into this very queue."""
        source, target = self._settings, self._target
        same = all(
            getattr(source, name) == getattr(target, name)
            for name in ("stream_name", "subject_prefix", "channel_prefix", "connect_kwargs")
        )
        return same and (await self._limits())[1]

    def _route(self, kind: ReplayKind) -> tuple[str, str, str]:
        history = kind is ReplayKind.HISTORY
        source = self._settings.stream_name if history else self._names.stream
        return source, self._target.stream_name, self._servers

    def _plan(
        self,
        kind: ReplayKind,
        rows: Sequence[PlannedReplay],
        note: str,
        again: bool,
    ) -> ReplayPlan:
        source, target, servers = self._route(kind)
        return ReplayPlan(
            plan_id=str(uuid4()),
            kind=kind,
            rows=tuple(rows),
            source=source,
            target=target,
            servers=servers,
            created_at=now(),
            note=note,
            again=again,
        )

    async def _replayed_by(
        self, rows: Iterable[PlannedReplay]
    ) -> tuple[dict[str, str], dict[str, str]]:
        store = self._need("plan()")
        wanted = {row.key for row in rows if row.decision is ReplayDecision.REPLAY}
        with store.errors("read"):
            return await self._log(store).replayed_by(wanted)

    async def _entries(
        self, wanted: list[UUID] | None, channel: str | None
    ) -> AsyncGenerator[StoredEntry]:
        store = self._need("plan()")
        with store.errors("read"):
            if not await store.exists():
                return
            if wanted is not None and len(wanted) <= _FOUND_SINGLY:
                found = [one for key in wanted if (one := await store.find(key)) is not None]
                for stored in sorted(found, key=_sequence):
                    yield stored
                return
            only = None if wanted is None else set(wanted)
            async with aclosing(store.scan(await store.subject_to_scan(channel))) as entries:
                async for stored in entries:
                    if only is None or stored.entry.entry_id in only:
                        yield stored

    async def _limits(self) -> tuple[int, bool]:
        """The target's largest message, and whether it is on the same servers as the source."""
        source = self._need("planning").connection
        if not self._servers:
            return source.max_payload, True
        if self._target_limits is None:
            connection = await connect(self._target, name="varco-replay plan")
            try:
                same = _server(connection) == _server(source)
                self._target_limits = (connection.max_payload, same)
            finally:
                await connection.close()
        return self._target_limits


def _uuid(value: UUID | str) -> UUID:
    try:
        return value if isinstance(value, UUID) else UUID(value)
    except (ValueError, AttributeError, TypeError):
        raise ValueError(f"{value!r} is no entry id, which is a UUID") from None


def _uuids(values: Iterable[UUID | str]) -> list[UUID]:
    """The different ids, in their order."""
    if values is None or isinstance(values, str):
        raise ValueError(f"give the entry ids as a list, not {values!r}")
    return list(dict.fromkeys(map(_uuid, values)))


def _way_in(settings: NatsEventBusSettings) -> tuple[list[str], dict[str, Any]]:
    """What says which servers a connection reaches, and which account there."""
    return settings.to_servers_list(), settings.connect_kwargs


async def _created(connection: Connection, stream: str) -> str:
    """When a stream was made."""
    return str((await stream_info(connection, stream)).created)


def _sequence(stored: StoredEntry) -> int:
    return stored.message.seq


def _server(connection: Connection) -> object:
    """What two connections to the same servers have in common, whatever the addresses."""
    info = connection.nc.server_info
    return info.get("cluster") or info.get("server_id")
