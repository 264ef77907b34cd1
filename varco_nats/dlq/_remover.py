"""Removes messages of the dead letter stream by their sequences, many at once."""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress

from nats.errors import Error as NatsError

from varco_nats._nats.client import Connection
from varco_nats._nats.direct import no_such_message
from varco_nats._nats.error_codes import Status
from varco_nats._nats.inbox import ReplyInbox

SOMEBODY_ELSE = "somebody else removed the dead letter meanwhile"

_RETRY_SECONDS = 0.25
_REQUESTS_AT_ONCE = 128  # a server drops API requests that pile up
_REMOVED = b'"success":true}'


class Remover:
    """Removes messages of a stream, many at once; goes on after a lost connection.

    Args:
        timeout: seconds without an answer after which a removal is sent again.
        attempts: how often it is sent.
        patience: seconds without a connection after which all removals are given up.
    """

    def __init__(
        self, connection: Connection, stream: str, *, timeout: float, attempts: int, patience: float
    ) -> None:
        self.on_removed: Callable[[int, bool, str], None] = lambda index, removed, why: None
        """Called with an index, whether its message is gone, and a note: why not, or who did it."""
        self._connection = connection
        self._stream = stream
        self._timeout = timeout
        self._attempts = attempts
        self._patience = patience
        self._inbox = ReplyInbox(connection)
        self._waiting: deque[tuple[int, int, int]] = deque()  # index, sequence, attempt
        self._unanswered: dict[
            int, tuple[str, int, int, float]
        ] = {}  # token, sequence, attempt, sent
        self._repeated: set[int] = set()
        """Indices of which an earlier request may have been carried out."""
        self._connected_at = time.monotonic()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._task: asyncio.Task[None] | None = None
        self._forget_reconnect: Callable[[], None] | None = None

    async def start(self) -> None:
        await self._inbox.start()
        self._forget_reconnect = self._connection.on_reconnect(self._send_all_again)
        self._task = asyncio.create_task(self._run(), name=f"remove from {self._stream}")

    def remove(self, index: int, seq: int) -> None:
        self._waiting.append((index, seq, 1))
        self._idle.clear()
        self._wake.set()

    async def finish(self) -> None:
        """Wait until all are removed or given up."""
        assert self._task is not None
        idle = asyncio.ensure_future(self._idle.wait())
        try:
            await asyncio.wait({idle, self._task}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            idle.cancel()
        if self._task.done():
            self._task.result()

    async def stop(self) -> None:
        if self._forget_reconnect is not None:
            self._forget_reconnect()
            self._forget_reconnect = None
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        await self._inbox.stop()

    def reply(self, index: int, data: bytes, headers: Mapping[str, str] | None) -> None:
        _, seq, attempt, _ = self._unanswered.pop(index)
        if data.endswith(_REMOVED):
            self._settle(index, True)
        elif (problem := _problem(data, headers)) is None:
            self._settle(index, True, "" if index in self._repeated else SOMEBODY_ELSE)
        elif attempt >= self._attempts:
            self._settle(index, False, problem)
        else:  # sent again when `_run` has paused
            self._waiting.append((index, seq, attempt + 1))
            return
        self._wake.set()

    def _send_all_again(self) -> None:
        """After a reconnect, send again what was not answered over the lost connection."""
        for index, (token, seq, attempt, _) in list(self._unanswered.items()):
            self._inbox.forget(token)
            self._repeated.add(index)
            self._waiting.append((index, seq, attempt))
        self._unanswered.clear()
        self._wake.set()

    def _settle(self, index: int, removed: bool, why: str = "") -> None:
        self.on_removed(index, removed, why)
        if not self._waiting and not self._unanswered:
            self._idle.set()

    async def _run(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_RETRY_SECONDS):
                    await self._wake.wait()
            self._wake.clear()
            self._requeue_late()
            if self._connection.is_connected:
                self._connected_at = time.monotonic()
            elif time.monotonic() - self._connected_at > self._patience:
                self._give_up()
            else:
                continue
            while self._waiting and len(self._unanswered) < _REQUESTS_AT_ONCE:
                await self._send(*self._waiting.popleft())

    def _give_up(self) -> None:
        """Settle all as not removed, because there is no connection."""
        for index, (token, seq, attempt, _) in list(self._unanswered.items()):
            self._inbox.forget(token)
            self._waiting.append((index, seq, attempt))
        self._unanswered.clear()
        while self._waiting:
            index, _, _ = self._waiting.popleft()
            self._settle(index, False, f"no connection for {self._patience:g} s")

    def _requeue_late(self) -> None:
        late = time.monotonic() - self._timeout
        for index, (token, seq, attempt, sent) in list(self._unanswered.items()):
            if sent > late:
                continue
            self._inbox.forget(token)
            del self._unanswered[index]
            if attempt < self._attempts:
                self._repeated.add(index)
                self._waiting.append((index, seq, attempt + 1))
            else:
                self._settle(index, False, f"no answer within {self._timeout:g} s")

    async def _send(self, index: int, seq: int, attempt: int) -> None:
        self._unanswered[index] = ("", seq, attempt, time.monotonic())
        try:
            # by sequence: a purge by subject takes the server 25 ms when 20,000 entries are leased
            subject = f"{self._connection.api}.STREAM.MSG.DELETE.{self._stream}"
            request = b'{"seq":%d,"no_erase":true}' % seq
            token = await self._inbox.send(self, index, subject, request)
        except NatsError as error:
            del self._unanswered[index]
            if attempt < self._attempts:
                self._waiting.append((index, seq, attempt + 1))
                self._wake.set()
            else:
                self._settle(index, False, str(error))
            return
        if index in self._unanswered:
            self._unanswered[index] = (token, *self._unanswered[index][1:])


def _problem(data: bytes, headers: Mapping[str, str] | None) -> str | None:
    """Why a message was not removed; None if it was not there."""
    if headers and headers.get("Status") == Status.NO_RESPONDERS:
        return "JetStream is not available"
    error = json.loads(data).get("error")
    if error is None or no_such_message(error.get("err_code"), error.get("description")):
        return None
    return str(error.get("description"))
