"""The log of replays: a stream that holds each run's plan before it starts, and its outcome.

Where several plans have the same entry, the first plan whose run is alive may send it. So every run
writes its plan and then reads the plans before its own. A record that cannot be read is left out
with a warning, and `_run/claims.py` sends nothing that it may be about.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import aclosing
from uuid import UUID

from nats.errors import Error as NatsError
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.api import RetentionPolicy, StorageType, StreamConfig

from varco_nats._nats.client import Connection
from varco_nats._nats.direct import StoredMessage
from varco_nats._nats.stream import ensure_stream, store_in, stream_info
from varco_nats.config import NatsEventBusSettings
from varco_nats.errors import ReplayLogError, StreamNotFoundError
from varco_nats.history._lookup import read_stored, warn_unread
from varco_nats.replay._records import (
    LoggedRow,
    LoggedRun,
    OutcomeRecord,
    PlanHead,
    decode_rows,
    encode_rows,
    history_key_in,
    stored_keys,
)
from varco_nats.replay._report import ReplayResult
from varco_nats.subjects import replay_log_name

_UUID_BYTES = 16
_ROOM = 1024  # bytes, for subject and headers


class ReplayLog:
    """The log stream `{stream_name}-replays`, subjects `{subject_prefix}-replays.>`."""

    def __init__(self, connection: Connection, settings: NatsEventBusSettings) -> None:
        self._connection = connection
        self._settings = settings
        self.stream = replay_log_name(settings.stream_name)
        self._root = replay_log_name(settings.subject_prefix)
        self._max_size = connection.max_payload - _ROOM

    async def ensure(self) -> None:
        """Find or create the stream.

        Raises:
            StreamNotFoundError, StreamMismatchError: it cannot be used.
            JetStreamUnavailableError: the server has no JetStream.
        """
        config = StreamConfig(
            name=self.stream,
            description="replays: plans and outcomes",
            subjects=[f"{self._root}.>"],
            retention=RetentionPolicy.LIMITS,
            storage=StorageType.FILE,
            num_replicas=self._settings.stream_replicas,
            allow_direct=True,
        )
        await ensure_stream(self._connection, config, create=self._settings.auto_create_stream)

    async def write_keys(self, replay_id: str, keys: Sequence[UUID]) -> int:
        """Store the ids of a plan's entries; returns how many messages it took."""
        step = max(self._max_size // _UUID_BYTES // 2, 1)
        chunks = [keys[start : start + step] for start in range(0, len(keys), step)]
        for number, chunk in enumerate(chunks):
            data = b"".join(key.bytes for key in chunk)
            await self._write(f"{replay_id}.entries.{number}", data)
        return len(chunks)

    async def write_head(self, head: PlanHead) -> int:
        """Store a plan, from which moment the run owns its entries; returns its sequence."""
        return await self._write(f"{head.replay_id}.plan", head.encode())

    async def write_outcome(
        self,
        replay_id: str,
        outcome: OutcomeRecord,
        rows: Sequence[ReplayResult] = (),
        edited: Iterable[str] = (),
    ) -> None:
        """Store the outcome of each row of a run, and then how the run ended.

        Args:
            edited: keys of the rows whose payload was edited.
        """
        chunks = encode_rows(rows, set(edited), self._max_size)
        for number, chunk in enumerate(chunks):
            await self._write(f"{replay_id}.rows.{number}", chunk)
        await self._write(f"{replay_id}.outcome", outcome.encode(self._max_size))

    async def _write(self, name: str, data: bytes) -> int:
        timeout, attempts = (
            self._settings.publish_timeout_seconds,
            self._settings.publish_attempts,
        )
        for attempt in range(1, attempts + 1):
            try:
                subject = f"{self._root}.{name}"
                done = await store_in(self._connection, self.stream, subject, data, {}, timeout)
                return done.seq
            except (NatsError, OSError) as error:
                if attempt == attempts:
                    raise ReplayLogError(self.stream, str(error) or type(error).__name__) from error
            await self._connection.wait_connected(timeout)
        raise AssertionError("unreachable")

    async def write_label(self, queue: str, group: str, data: bytes) -> None:
        """Store what somebody says of a group of dead letters in the stream `queue`.

        Its subject has more tokens than those of runs, whose readers pass over it.
        """
        await self._write(f"labels.group.{queue}.{group}", data)

    async def labels(self, queue: str, start: int = 1) -> AsyncIterator[StoredMessage]:
        """What was said of groups of a queue, from sequence `start` on, oldest first."""
        async for message in self._read(f"labels.group.{queue}.*", start):
            yield message

    async def runs(self, up_to: int | None = None) -> dict[str, LoggedRun]:
        """Every run by its id, in the order in which they began.

        Args:
            up_to: the sequence of a plan that must be found in the log.

        Raises:
            ReplayLogError: that plan is not found.
        """
        runs: dict[str, LoggedRun] = {}
        seen = 0
        if await self._exists():
            async for message in self._read("*.plan"):
                seen, replay_id = message.seq, message.subject.split(".")[-2]
                run = runs.setdefault(replay_id, LoggedRun(replay_id))
                head = self._readable(message, PlanHead.decode)
                if head is None:
                    run.unread[message.seq] = history_key_in(message.data)
                else:
                    run.heads.append(head)
        if up_to is not None and seen < up_to:
            raise ReplayLogError(self.stream, f"record {up_to}, which was stored, is not in it")
        if runs:
            async for message in self._read("*.outcome"):
                run_of = runs.get(message.subject.split(".")[-2])
                outcome = self._readable(message, OutcomeRecord.decode)
                if run_of is not None and outcome is not None:
                    run_of.outcome = outcome
                elif run_of is not None:
                    run_of.unread_outcome = message.seq
        return runs

    async def keys(self, replay_id: str, chunks: int = 0) -> set[UUID] | None:
        """The ids of the entries in a run's plan; None where the log has lost some of them.

        Args:
            chunks: how many messages hold them, where that is known.
        """
        found: dict[str, set[UUID]] = {}
        async for message in self._read(f"{replay_id}.entries.*"):
            keys = self._readable(message, _keys_in)
            if keys is not None:  # a message that was written again is there twice
                found.setdefault(message.subject.split(".")[-1], set()).update(keys)
        if any(str(number) not in found for number in range(chunks)):
            return None
        return set().union(*found.values())

    async def rows(self, replay_id: str) -> list[LoggedRow]:
        """The outcome of each row of a run; only the entries where it died or is still running.

        Raises:
            LookupError: the log has no such run.
        """
        run = (await self.runs()).get(replay_id)
        if run is None:
            raise LookupError(f"the log {self.stream!r} has no run {replay_id!r}")
        found: list[LoggedRow] = []
        complete = True
        if run.outcome is not None:
            async for message in self._read(f"{replay_id}.rows.*"):
                rows = self._readable(message, decode_rows)
                found += rows or ()
                complete = complete and rows is not None
        if not found or not complete:
            known = {row.key for row in found}
            keys = sorted(await self.keys(replay_id) or ())
            found += [LoggedRow(str(key), key, None) for key in keys if str(key) not in known]
        return found

    async def replayed_by(self, wanted: set[str]) -> tuple[dict[str, str], dict[str, str]]:
        """The last run that replayed each of the entries `wanted`, by key.

        Also, by key, a run that had an entry in its plan and whose rows cannot be read, so that it
        may have replayed it.
        """
        found: dict[str, str] = {}
        perhaps: dict[str, str] = {}
        if wanted and await self._exists():
            unread: set[str] = set()
            async for message in self._read("*.rows.*"):
                replay_id = message.subject.split(".")[-3]
                keys = self._readable(message, stored_keys)
                if keys is None:
                    unread.add(replay_id)
                else:
                    found |= dict.fromkeys(wanted.intersection(keys), replay_id)
            for replay_id in unread:
                planned = map(str, await self.keys(replay_id) or ())
                perhaps |= dict.fromkeys(wanted.intersection(planned), replay_id)
        return found, perhaps

    def _readable[Record](
        self, message: StoredMessage, decode: Callable[[StoredMessage], Record]
    ) -> Record | None:
        """What `decode` reads from a record; None, with one warning, where it raises."""
        try:
            return decode(message)
        except Exception as error:  # anybody may have written it
            warn_unread(self.stream, message, error)
            return None

    async def _read(self, name: str, start: int = 1) -> AsyncIterator[StoredMessage]:
        """Everything that is stored under a name, even where the replica that answers is behind."""
        subject, timeout = f"{self._root}.{name}", self._settings.publish_timeout_seconds
        try:
            reading = read_stored(
                self._connection, self.stream, subject, start=start, timeout=timeout
            )
            async with aclosing(reading):
                async for messages in reading:
                    for message in messages:
                        yield message
        except NatsTimeoutError:
            reason = "it does not answer, or one of its replicas stays behind"
            raise ReplayLogError(self.stream, reason) from None

    async def _exists(self) -> bool:
        try:
            await stream_info(self._connection, self.stream)
        except StreamNotFoundError:
            return False
        return True


def _keys_in(message: StoredMessage) -> set[UUID]:
    data = message.data
    starts = range(0, len(data), _UUID_BYTES)
    return {UUID(bytes=data[start : start + _UUID_BYTES]) for start in starts}
