"""Messages of a run that were sent: those not answered yet, and those taken for duplicates.

JetStream keeps message ids for a whole stream, not for each subject, and also those of messages
that are gone. So a duplicate counts as stored only if the message can be seen in its channel.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from nats.js.api import RetentionPolicy, StreamInfo

from varco_nats._nats.client import Connection
from varco_nats._nats.inbox import ReplyInbox
from varco_nats._nats.provenance import REPLAY_ID
from varco_nats._nats.puback import PubAck, Refusal, parse_puback
from varco_nats.errors import PermissionDeniedError
from varco_nats.history._lookup import Lookup
from varco_nats.replay._plan import ReplayPlan

_MAX_BYTES = 8 * 1024 * 1024
_LOOKUPS_AT_ONCE = 64


class InFlight:
    """Messages that were sent and are not answered, each identified by an index.

    Args:
        on_answer: called for each answer, with the index and the PubAck or refusal.
        limit: how many may be unanswered at a time.
    """

    def __init__(
        self,
        inbox: ReplyInbox,
        on_answer: Callable[[int, PubAck | Refusal], None],
        limit: int,
    ) -> None:
        self._inbox = inbox
        self._on_answer = on_answer
        self._limit = limit
        self._unanswered: dict[int, tuple[str, str, int]] = {}  # token, subject, size
        self._forget_refused: dict[str, Callable[[], None]] = {}
        self._bytes = 0
        self._answered = asyncio.Event()
        self.last_answer = time.monotonic()

    def __len__(self) -> int:
        return len(self._unanswered)

    @property
    def full(self) -> bool:
        return len(self._unanswered) >= self._limit or self._bytes >= _MAX_BYTES

    async def send(self, index: int, subject: str, payload: bytes, headers: dict[str, str]) -> None:
        if not self._unanswered:
            self.last_answer = time.monotonic()
        if subject not in self._forget_refused:
            self._forget_refused[subject] = self._inbox.on_refused(subject, self._refuse)
        self._unanswered[index] = ("", subject, len(payload))
        self._bytes += len(payload)
        try:
            token = await self._inbox.send(self, index, subject, payload, headers)
        except BaseException:
            self._forget(index)
            raise
        if index in self._unanswered:
            self._unanswered[index] = (token, subject, len(payload))

    def reply(self, index: int, data: bytes, headers: Mapping[str, str] | None) -> None:
        self._forget(index)
        self.last_answer = time.monotonic()
        self._on_answer(index, parse_puback(data, headers, self._inbox.domain))
        self._answered.set()

    def _refuse(self, error: PermissionDeniedError) -> None:
        """The login may not publish to a subject, so that nothing sent there is answered."""
        if error.operation != "publish":
            return
        refused = [
            index for index, (_, subject, _) in self._unanswered.items() if subject == error.subject
        ]
        for index in refused:
            token, _, _ = self._unanswered[index]
            self._inbox.forget(token)
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
        for token, _, _ in self._unanswered.values():
            self._inbox.forget(token)
        for forget in self._forget_refused.values():
            forget()
        self._forget_refused.clear()
        self._unanswered.clear()
        self._bytes = 0

    def _forget(self, index: int) -> None:
        _, _, size = self._unanswered.pop(index, ("", "", 0))
        self._bytes -= size


async def examine_duplicates(
    connection: Connection, info: StreamInfo, plan: ReplayPlan, duplicates: Mapping[int, PubAck]
) -> dict[int, tuple[bool, str]]:
    """By the index of its row, whether each is stored in its channel, and what one should know."""
    stream = str(info.config.name)
    lookup = Lookup(connection, stream, direct=False)  # the leader has certainly seen it
    kept = info.config.retention in (None, RetentionPolicy.LIMITS)
    window = asyncio.Semaphore(_LOOKUPS_AT_ONCE)

    async def examine(index: int, ack: PubAck) -> tuple[bool, str]:
        async with window:
            message = await lookup.get({"seq": ack.seq})
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
