"""The log of replays: a stream that holds each run's plan before it starts, and its outcome.

The order of the plans in it decides who may send an entry that is in several: the first whose
run is alive. So every run writes its plan, then reads the plans before its own.
"""

from __future__ import annotations

import asyncio
import getpass
import json
import socket
import zlib
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from nats.errors import Error as NatsError
from nats.js.api import RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import NotFoundError

from varco_nats._client import Connection, jetstream_errors
from varco_nats._direct import StoredMessage, read_messages
from varco_nats._replay_plan import ReplayKind
from varco_nats._replay_report import ReplayState
from varco_nats._stream import ensure_stream
from varco_nats.config import NatsEventBusSettings
from varco_nats.errors import ReplayLogError

_UUID_BYTES = 16
_ROOM = 1024  # for subject and headers
_OPEN_UNKNOWN = "all"
_REPLICA_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class ReplayRecord:
    """One run, as the log has it."""

    replay_id: str
    kind: ReplayKind
    who: str
    """User and host."""
    started_at: datetime
    ended_at: datetime | None
    note: str
    source: str
    target: str
    plan: dict[str, Any]
    """The plan's summary: rows, replay, skip, edited, to, skipped."""
    state: ReplayState
    outcome: dict[str, int]
    """How many rows had each outcome; empty for a run that died or still runs."""
    why: str = ""


@dataclass(frozen=True, slots=True)
class PlanHead:
    """What the log says of one session of one run, before it sends anything."""

    replay_id: str
    kind: ReplayKind
    started_at: datetime
    user: str
    note: str
    source: str
    target: str
    servers: str
    """The target's servers without credentials, "" where they are the source's."""
    session: str
    """Subject that answers for as long as this session can publish."""
    holder: str
    """Subject that answers on the source's servers while the run's process is there."""
    subjects: tuple[str, ...]
    """What the target's messages are stored under."""
    last_seq: int
    """Last sequence of the target stream before this run sent anything."""
    chunks: int
    plan: dict[str, Any]
    history_key: str = ""
    seq: int = 0
    """Its sequence in the log."""

    def encode(self) -> bytes:
        fields = {name: getattr(self, name) for name in self.__slots__ if name != "seq"}
        fields["started_at"] = self.started_at.isoformat()
        return json.dumps(fields).encode()

    @classmethod
    def decode(cls, message: StoredMessage) -> PlanHead:
        fields = json.loads(message.data)
        known = {name: fields[name] for name in cls.__slots__ if name in fields}
        known["started_at"] = datetime.fromisoformat(fields["started_at"])
        known["subjects"] = tuple(fields["subjects"])
        known["kind"] = ReplayKind(fields["kind"])
        return cls(**{**known, "seq": message.seq})


@dataclass(frozen=True, slots=True)
class OutcomeRecord:
    """How a run ended, and which of its entries the next run has to look for."""

    state: ReplayState
    counts: dict[str, int]
    ended_at: datetime
    why: str = ""
    open: tuple[str, ...] | None = ()
    """Keys that were sent and are not settled; None for any that the plan has."""

    def encode(self, max_size: int) -> bytes:
        fields: dict[str, Any] = {
            "state": self.state,
            "counts": self.counts,
            "ended_at": self.ended_at.isoformat(),
            "why": self.why,
            "open": _OPEN_UNKNOWN if self.open is None else list(self.open),
        }
        data = zlib.compress(json.dumps(fields).encode())
        if len(data) > max_size:
            data = zlib.compress(json.dumps({**fields, "open": _OPEN_UNKNOWN}).encode())
        return data

    @classmethod
    def decode(cls, data: bytes) -> OutcomeRecord:
        fields = json.loads(zlib.decompress(data))
        return cls(
            state=ReplayState(fields["state"]),
            counts=fields["counts"],
            ended_at=datetime.fromisoformat(fields["ended_at"]),
            why=fields["why"],
            open=None if fields["open"] == _OPEN_UNKNOWN else tuple(fields["open"]),
        )


@dataclass(slots=True)
class LoggedRun:
    """All that the log has of one run."""

    heads: list[PlanHead] = field(default_factory=list)
    outcome: OutcomeRecord | None = None

    @property
    def settled(self) -> bool:
        """Whether nothing that it sent is in doubt."""
        return self.outcome is not None and self.outcome.open == ()


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

    async def write_outcome(self, replay_id: str, outcome: OutcomeRecord) -> None:
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
        """
        runs: dict[str, LoggedRun] = {}
        if not await self._exists():
            return runs
        async for message in self._read("*.plan", up_to):
            head = PlanHead.decode(message)
            runs.setdefault(head.replay_id, LoggedRun()).heads.append(head)
        async for message in self._read("*.outcome", None):
            replay_id = message.subject.split(".")[-2]
            if replay_id in runs:
                runs[replay_id].outcome = OutcomeRecord.decode(message.data)
        return runs

    async def keys(self, head: PlanHead) -> set[UUID]:
        """Which entries a plan has."""
        found: set[UUID] = set()
        async for message in self._read(f"{head.replay_id}.entries.*", None):
            data = message.data
            found.update(
                UUID(bytes=data[at : at + _UUID_BYTES]) for at in range(0, len(data), _UUID_BYTES)
            )
        return found

    async def _read(self, name: str, up_to: int | None) -> AsyncIterator[StoredMessage]:
        start = 1
        while True:
            async for message in read_messages(
                self._connection,
                self.stream,
                subject=f"{self._root}.{name}",
                start=start,
                timeout=self._settings.publish_timeout_seconds,
            ):
                start = message.seq + 1
                yield message
            if up_to is None or start > up_to:
                return
            await asyncio.sleep(_REPLICA_SECONDS)

    async def _exists(self) -> bool:
        with jetstream_errors(self._connection):
            try:
                await self._connection.js.stream_info(self.stream)
            except NotFoundError:
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
