"""Messages of a run that were sent: those not answered yet, and those taken for duplicates.

JetStream keeps message ids for a whole stream, not for each subject, and also those of messages
that are gone. So a duplicate counts as stored only if the message can be seen in its channel.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import NamedTuple

from nats.js.api import RetentionPolicy, StreamInfo

from varco_nats._nats.client import Connection
from varco_nats._nats.direct import StoredMessage
from varco_nats._nats.provenance import REPLAY_ID
from varco_nats._nats.puback import PubAck, Refusal, parse_puback
from varco_nats.errors import PermissionDeniedError
from varco_nats.history._lookup import Lookup
from varco_nats.replay._plan import ReplayPlan
from varco_nats.replay._run.session import RunSession

_MAX_BYTES = 8 * 1024 * 1024
_LOOKUPS_AT_ONCE = 64
_PATIENCE_SECONDS, _BETWEEN_SECONDS = 10.0, 0.25


class OutgoingReplay(NamedTuple):
    """A message on its way to the target."""

    row: int
    """Its place in the plan."""
    subject: str
    head: bytes
    """Its header block."""
    payload: bytes


class InFlight:
    """Messages that were sent and are not answered, each identified by an index.

    Args:
        on_answer: called for each answer, with the index and the PubAck or refusal.
        on_stored: called in place of that for many messages at once, none of them a duplicate.
        limit: how many may be unanswered at a time.
    """

    def __init__(
        self,
        session: RunSession,
        on_answer: Callable[[int, PubAck | Refusal], None],
        on_stored: Callable[[Sequence[tuple[int, PubAck]]], None],
        limit: int,
    ) -> None:
        self._nc = session.connection.nc
        self._inbox = session.inbox
        self._on_answer = on_answer
        self._on_stored = on_stored
        self._limit = limit
        self._unanswered: dict[int, tuple[str, int]] = {}  # subject, size
        self._forget_refused: dict[str, Callable[[], None]] = {}
        self._starts: dict[str, bytes] = {}
        """How a message begins on the wire, up to its index, by subject."""
        self._bytes = 0
        self._answered = asyncio.Event()
        self._listening = ExitStack()
        self._reply = self._listening.enter_context(self._inbox.batch(self))
        self.last_answer = time.monotonic()

    def __len__(self) -> int:
        return len(self._unanswered)

    @property
    def room(self) -> int:
        """How many more messages may be sent now."""
        return 0 if self._bytes >= _MAX_BYTES else self._limit - len(self._unanswered)

    async def send(self, messages: Sequence[OutgoingReplay]) -> None:
        """Send messages, all in one write; none may be unanswered from an earlier call."""
        if not self._unanswered:
            self.last_answer = time.monotonic()
        commands, starts = [], self._starts
        for index, subject, head, payload in messages:
            if (start := starts.get(subject)) is None:
                self._forget_refused[subject] = self._inbox.on_refused(subject, self._refuse)
                start = starts[subject] = b"HPUB %b %b" % (subject.encode(), self._reply)
            size = len(head) + len(payload)
            self._unanswered[index] = (subject, size)
            self._bytes += size
            commands.append(
                b"%b%d %d %d\r\n%b%b\r\n" % (start, index, len(head), size, head, payload)
            )
        try:
            await self._nc.send(b"".join(commands))
        except BaseException:
            for message in messages:
                self._forget(message.row)
            raise

    def stored(self, acks: Sequence[tuple[int, PubAck]]) -> None:
        known = [ack for ack in acks if ack[0] in self._unanswered]
        for index, _ in known:
            self._bytes -= self._unanswered.pop(index)[1]
        self.last_answer = time.monotonic()
        self._on_stored(known)
        self._answered.set()

    def reply(self, index: int, data: bytes, headers: Mapping[str, str] | None) -> None:
        if index not in self._unanswered:
            return
        self._forget(index)
        self.last_answer = time.monotonic()
        self._on_answer(index, parse_puback(data, headers, self._inbox.domain))
        self._answered.set()

    def _refuse(self, error: PermissionDeniedError) -> None:
        """The login may not publish to a subject, so that nothing sent there is answered."""
        if error.operation != "publish":
            return
        refused = [
            index for index, (subject, _) in self._unanswered.items() if subject == error.subject
        ]
        for index in refused:
            self._forget(index)
            self.last_answer = time.monotonic()
            self._on_answer(index, Refusal(str(error), retry=False, cause=error))
        self._answered.set()

    def wake(self) -> None:
        self._answered.set()

    async def wait(self, timeout: float) -> None:
        """Wait until an answer comes, for `timeout` seconds at most."""
        self._answered.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._answered.wait()

    def abandon(self) -> None:
        """Wait for no more answers."""
        self._listening.close()
        for forget in self._forget_refused.values():
            forget()
        self._forget_refused.clear()
        self._starts.clear()
        self._unanswered.clear()
        self._bytes = 0

    def _forget(self, index: int) -> None:
        _, size = self._unanswered.pop(index, ("", 0))
        self._bytes -= size


async def examine_duplicates(
    connection: Connection, info: StreamInfo, plan: ReplayPlan, duplicates: Mapping[int, PubAck]
) -> dict[int, tuple[bool, str]]:
    """By the index of its row, whether each is stored in its channel, and what one should know."""
    stream = str(info.config.name)
    lookup = Lookup(connection, stream, direct=False)  # the leader has certainly seen it
    kept = info.config.retention in (None, RetentionPolicy.LIMITS)
    window = asyncio.Semaphore(_LOOKUPS_AT_ONCE)

    async def look_up(seq: int) -> StoredMessage | None:
        until, had_come = time.monotonic() + _PATIENCE_SECONDS, False
        while (message := await lookup.get({"seq": seq})) is None and kept:
            came_before = had_come
            had_come = (await connection.js.stream_info(stream)).state.last_seq >= seq
            # gone if it had come before it was looked up; a new leader may not have got so far
            if (came_before and had_come) or time.monotonic() > until:
                break
            if not had_come:
                await asyncio.sleep(_BETWEEN_SECONDS)
        return message

    async def examine(index: int, ack: PubAck) -> tuple[bool, str]:
        async with window:
            message = await look_up(ack.seq)
        if message is None and not kept:
            return True, "stored and consumed already"
        if message is None:
            return False, (
                f"the server takes it for a copy of sequence {ack.seq}, which is gone; try again "
                f"after the duplicate window of {info.config.duplicate_window or 120:g} s"
            )
        if message.subject != plan.rows[index].subject:
            return False, f"its replay is stored already as {message.subject!r}, sequence {ack.seq}"
        by = (message.headers or {}).get(REPLAY_ID)
        return True, f"stored already by run {by}" if by else "stored already"

    found = await asyncio.gather(*(examine(index, ack) for index, ack in duplicates.items()))
    return dict(zip(duplicates, found, strict=True))
