"""Which runs of others are under way on a queue, as the log of replays and their processes say."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from uuid import UUID

from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError

from varco_nats._nats.client import Connection
from varco_nats.config import NatsEventBusSettings
from varco_nats.errors import VarcoNatsError
from varco_nats.replay import ReplayKind, ReplayRecord
from varco_nats.replay._log import ReplayLog
from varco_nats.replay._records import LoggedRun
from varco_nats.replay._run.session import Presence, presence


class OtherRuns:
    """Follows the log of replays. It is read again only when something was added to it.

    Args:
        queue: the stream of the dead letters.
    """

    def __init__(self, settings: NatsEventBusSettings, queue: str) -> None:
        self._settings = settings
        self._queue = queue
        self._read_to: tuple[str, int] = ("", 0)
        """When the log was created, and its last sequence when it was read."""
        self._open: list[LoggedRun] = []
        """The runs on this queue whose outcome is not in the log."""
        self._dead: set[str] = set()
        """Those of them that nobody answers for; one that goes on writes its plan again."""
        self._entries: dict[str, set[UUID]] = {}
        """The ids of the entries that runs remove, where the log has them all."""

    async def now(self, connection: Connection, own: Collection[str]) -> tuple[ReplayRecord, ...]:
        """The runs that are under way; none where that cannot be known.

        Args:
            own: ids of the runs that are not of others.
        """
        try:
            await self._read(connection)
            left_out = {*own, *self._dead}
            runs = [run for run in self._open if run.replay_id not in left_out]
            answers = [presence(connection, run.heads[0].holder) for run in runs]
            states = await asyncio.gather(*answers)
        except (VarcoNatsError, NatsError, OSError):  # also a login that may not read the log
            return ()
        found = list(zip(runs, states, strict=True))
        self._dead.update(run.replay_id for run, state in found if state is Presence.GONE)
        # one that does not answer may have died long ago: nobody is said to be at work on a guess
        return tuple(run.record(running=True) for run, state in found if state is Presence.HERE)

    async def entries_of(
        self, connection: Connection, runs: Iterable[ReplayRecord]
    ) -> dict[str, set[UUID]]:
        """The ids of the entries that each of these runs removes; not of one that restores some.

        What the log no longer has whole, or cannot be asked for, is left out.
        """
        log = ReplayLog(connection, self._settings)
        chunks = {run.replay_id: run.heads[0].chunks for run in self._open}
        removing = {run.replay_id for run in runs if run.kind is not ReplayKind.RESTORE}
        self._entries = {name: ids for name, ids in self._entries.items() if name in removing}
        for name in (removing & chunks.keys()) - self._entries.keys():
            try:
                ids = await log.keys(name, chunks[name])
            except (VarcoNatsError, NatsError, OSError):
                continue
            if ids is not None:
                self._entries[name] = ids
        return self._entries

    async def _read(self, connection: Connection) -> None:
        log = ReplayLog(connection, self._settings)
        try:
            info = await connection.js.stream_info(log.stream)
        except NotFoundError:
            self._open, self._read_to = [], ("", 0)
            return
        read_to = str(info.created), int(info.state.last_seq)
        if read_to == self._read_to:
            return
        self._open = [
            run
            for run in (await log.runs()).values()
            if run.outcome is None and run.unread_outcome is None and self._is_of_queue(run)
        ]
        self._read_to, self._dead = read_to, set()

    def _is_of_queue(self, run: LoggedRun) -> bool:
        head = run.heads[0] if run.heads else None
        return (
            head is not None and head.source == self._queue and head.kind is not ReplayKind.HISTORY
        )
