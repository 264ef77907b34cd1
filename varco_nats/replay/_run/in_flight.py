"""Messages of a run that were sent and are not answered yet."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from varco_nats._nats.inbox import ReplyInbox
from varco_nats._nats.puback import PubAck, Refusal, parse_puback
from varco_nats.errors import PermissionDeniedError

_MAX_BYTES = 8 * 1024 * 1024


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
        self._on_answer(index, parse_puback(data, headers))
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
