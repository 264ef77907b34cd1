"""The log of replays: a stream that holds each run's plan before it starts, and its outcome.

The order of the plans in it decides who may send an entry that is in several: the first whose
run is alive. So every run writes its plan, then reads the plans before its own.
"""

from __future__ import annotations

import asyncio
import getpass
import socket
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, datetime
from uuid import UUID

from nats.errors import Error as NatsError
from nats.js.api import RetentionPolicy, StorageType, StreamConfig

from varco_nats._client import Connection
from varco_nats._direct import StoredMessage, read_messages
from varco_nats._replay_records import (
    LoggedRow,
    LoggedRun,
    OutcomeRecord,
    PlanHead,
    decode_rows,
    encode_rows,
    stored_keys,
)
from varco_nats._replay_report import ReplayResult
from varco_nats._stream import ensure_stream, stream_info
from varco_nats.config import NatsEventBusSettings
from varco_nats.errors import ReplayLogError, StreamNotFoundError

_UUID_BYTES = 16
_ROOM = 1024  # for subject and headers
_REPLICA_SECONDS = 0.05
_LOOKS_FOR_KEYS = 10


class ReplayLog:
    """The log stream `{stream_name}-replays`, subjects `{subject_prefix}-replays.>`."""

    def __init__(self, connection: Connection, settings: NatsEventBusSettings) -> None:
        self._connection = connection
        self._settings = settings
        self.stream = f"{settings.stream_name}-replays"
        self._root = f"{settings.subject_prefix}-replays"
        self._max_size = connection.max_payload - _ROOM

    async def ensure(self) -> None:
        """Find or create the stream.

        Raises:
            StreamNotFoundError, StreamMismatchError: it cannot be used.
            JetStreamUnavailableError: the server has no JetStream.
        """
        config = StreamConfig(
            name=self.stream,
            description="what was replayed: plans and outcomes",
            subjects=[f"{self._root}.>"],
            retention=RetentionPolicy.LIMITS,
            storage=StorageType.FILE,
            num_replicas=self._settings.stream_replicas,
            allow_direct=True,
        )
        await ensure_stream(self._connection, config, create=self._settings.auto_create_stream)

    async def write_keys(self, replay_id: str, keys: Sequence[UUID]) -> int:
        """Store which entries a plan has; returns in how many messages."""
        step = max(self._max_size // _UUID_BYTES // 2, 1)
        chunks = [keys[start : start + step] for start in range(0, len(keys), step)]
        for number, chunk in enumerate(chunks):
            data = b"".join(key.bytes for key in chunk)
            await self._write(f"{replay_id}.entries.{number}", data)
        return len(chunks)

    async def write_head(self, head: PlanHead) -> int:
        """Store it; from here on the run owns its entries. Returns its sequence."""
        return await self._write(f"{head.replay_id}.plan", head.encode())

    async def write_outcome(
        self,
        replay_id: str,
        outcome: OutcomeRecord,
        rows: Sequence[ReplayResult] = (),
        edited: Iterable[str] = (),
    ) -> None:
        """Store how a run ended; what became of its rows first.

        Args:
            edited: keys of the rows that were sent with another payload.
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
                ack = await self._connection.js.publish(f"{self._root}.{name}", data, timeout)
                return int(ack.seq)
            except (NatsError, OSError) as error:
                if attempt == attempts:
                    raise ReplayLogError(
                        self.stream, f"{str(error) or type(error).__name__}"
                    ) from error
            await self._connection.wait_connected(timeout)
        raise AssertionError("unreachable")

    async def runs(self, up_to: int | None = None) -> dict[str, LoggedRun]:
        """Every run, in the order in which they began; empty if nothing was ever replayed.

        Args:
            up_to: a sequence of the log that must be seen, which a replica that is behind has not.

        Raises:
            ReplayLogError: it is not there.
        """
        runs: dict[str, LoggedRun] = {}
        if not await self._exists():
            return runs
        async for message in self._read("*.plan", up_to):
            head = PlanHead.decode(message)
            runs.setdefault(head.replay_id, LoggedRun()).heads.append(head)
        async for message in self._read("*.outcome"):
            replay_id = message.subject.split(".")[-2]
            if replay_id in runs:
                runs[replay_id].outcome = OutcomeRecord.decode(message.data)
        return runs

    async def keys(self, head: PlanHead) -> set[UUID] | None:
        """Which entries a plan has; None where the log has lost some of them."""
        for _ in range(_LOOKS_FOR_KEYS):
            found: set[UUID] = set()
            chunks = 0
            async for message in self._read(f"{head.replay_id}.entries.*"):
                data, chunks = message.data, chunks + 1
                found.update(
                    UUID(bytes=data[at : at + _UUID_BYTES])
                    for at in range(0, len(data), _UUID_BYTES)
                )
            if chunks >= head.chunks:
                return found
            await asyncio.sleep(_REPLICA_SECONDS)  # a replica may be behind
        return None

    async def rows(self, replay_id: str) -> list[LoggedRow]:
        """What became of each row of a run; without outcomes where it died or still runs.

        Raises:
            LookupError: the log has no such run.
        """
        run = (await self.runs()).get(replay_id)
        if run is None:
            raise LookupError(f"the log {self.stream!r} has no run {replay_id!r}")
        found: list[LoggedRow] = []
        if run.outcome is not None:
            async for message in self._read(f"{replay_id}.rows.*"):
                found += decode_rows(message.data)
        if not found:
            keys = sorted(await self.keys(run.heads[0]) or ())
            found = [LoggedRow(str(key), key, None) for key in keys]
        return found

    async def replayed_by(self, wanted: set[str]) -> dict[str, str]:
        """The last run that stored and removed an entry, by its key, of those in `wanted`."""
        found: dict[str, str] = {}
        if wanted and await self._exists():
            async for message in self._read("*.rows.*"):
                replay_id = message.subject.split(".")[-3]
                found |= dict.fromkeys(wanted.intersection(stored_keys(message.data)), replay_id)
        return found

    async def _read(self, name: str, up_to: int | None = None) -> AsyncIterator[StoredMessage]:
        timeout = self._settings.publish_timeout_seconds
        start, until = 1, time.monotonic() + timeout
        while True:
            async for message in read_messages(
                self._connection,
                self.stream,
                subject=f"{self._root}.{name}",
                start=start,
                timeout=timeout,
            ):
                start = message.seq + 1
                yield message
            if up_to is None or start > up_to:
                return
            if time.monotonic() > until:
                raise ReplayLogError(self.stream, f"what was stored as {up_to} is not in it")
            await asyncio.sleep(_REPLICA_SECONDS)

    async def _exists(self) -> bool:
        try:
            await stream_info(self._connection, self.stream)
        except StreamNotFoundError:
            return False
        return True


def who(user: str | None) -> str:
    """User and host of this process."""
    if user is None:
        try:
            user = getpass.getuser()
        except (OSError, KeyError, ImportError):  # a container without a user database
            user = "unknown"
    return f"{user}@{socket.gethostname()}"


def now() -> datetime:
    return datetime.now(UTC)


def distinct(subjects: Iterable[str], wildcard: str, most: int = 100) -> tuple[str, ...]:
    """The different subjects, or one that covers them where they are many."""
    found = tuple(dict.fromkeys(subjects))
    return found if len(found) <= most else (wildcard,)
