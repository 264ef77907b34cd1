"""Sending many messages and removing many dead letters at once, over one inbox each."""

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
from varco_nats._nats.puback import PubAck, Refusal, parse_puback
from varco_nats.errors import PermissionDeniedError

_MAX_BYTES = 8 * 1024 * 1024
_RETRY_SECONDS = 0.25
_REMOVALS_AT_ONCE = 128  # a server drops API requests that pile up
_REMOVED = b'"success":true}'


class Flight:
    """Messages that were sent and are not answered, each known by an index.

    Args:
        on_answer: called with index and PubAck or refusal as each answer comes.
    """

    def __init__(
        self,
        inbox: ReplyInbox,
        on_answer: Callable[[int, PubAck | Refusal], None],
        most: int,
    ) -> None:
        self._inbox = inbox
        self._on_answer = on_answer
        self._most = most
        self._out: dict[int, tuple[str, str, int]] = {}  # token, subject, size
        self._forget_refused: dict[str, Callable[[], None]] = {}
        self._bytes = 0
        self._answered = asyncio.Event()
        self.last_answer = time.monotonic()

    def __len__(self) -> int:
        return len(self._out)

    @property
    def full(self) -> bool:
        return len(self._out) >= self._most or self._bytes >= _MAX_BYTES

    async def send(self, index: int, subject: str, payload: bytes, headers: dict[str, str]) -> None:
        if not self._out:
            self.last_answer = time.monotonic()
        if subject not in self._forget_refused:
            self._forget_refused[subject] = self._inbox.on_refused(subject, self._refuse)
        self._out[index] = ("", subject, len(payload))
        self._bytes += len(payload)
        try:
            token = await self._inbox.send(self, index, subject, payload, headers)
        except BaseException:
            self._land(index)
            raise
        if index in self._out:
            self._out[index] = (token, subject, len(payload))

    def reply(self, index: int, data: bytes, headers: Mapping[str, str] | None) -> None:
        self._land(index)
        self.last_answer = time.monotonic()
        self._on_answer(index, parse_puback(data, headers))
        self._answered.set()

    def _refuse(self, error: PermissionDeniedError) -> None:
        """The login may not publish to a subject: nothing of what went there is answered."""
        if error.operation != "publish":
            return
        refused = [index for index, (_, to, _) in self._out.items() if to == error.subject]
        for index in refused:
            token, _, _ = self._out[index]
            self._inbox.forget(token)
            self._land(index)
            self.last_answer = time.monotonic()
            self._on_answer(index, Refusal(str(error), retry=False, cause=error))
        self._answered.set()

    def wake(self) -> None:
        self._answered.set()

    async def wait(self, timeout: float) -> None:
        """Until something was answered, or for `timeout` seconds."""
        self._answered.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._answered.wait()

    def abandon(self) -> None:
        """Expect no more answers."""
        for token, _, _ in self._out.values():
            self._inbox.forget(token)
        for forget in self._forget_refused.values():
            forget()
        self._forget_refused.clear()
        self._out.clear()
        self._bytes = 0

    def _land(self, index: int) -> None:
        _, _, size = self._out.pop(index, ("", "", 0))
        self._bytes -= size


SOMEBODY_ELSE = "somebody else removed the dead letter meanwhile"


class Remover:
    """Removes messages of a stream, many at once; over lost connections too.

    Args:
        timeout: seconds without an answer after which a removal is sent again.
        attempts: how often it is sent.
        patience: seconds without a connection after which all are given up.
    """

    def __init__(
        self, connection: Connection, stream: str, *, timeout: float, attempts: int, patience: float
    ) -> None:
        self.on_removed: Callable[[int, bool, str], None] = lambda index, removed, why: None
        """Called with an index, whether its message is gone, and why not or how else."""
        self._connection = connection
        self._stream = stream
        self._timeout = timeout
        self._attempts = attempts
        self._patience = patience
        self._inbox = ReplyInbox(connection)
        self._waiting: deque[tuple[int, int, int]] = deque()  # index, sequence, attempt
        self._out: dict[int, tuple[str, int, int, float]] = {}  # token, sequence, attempt, sent
        self._repeated: set[int] = set()
        """Those whose first request may have been carried out."""
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
        _, seq, attempt, _ = self._out.pop(index)
        if data.endswith(_REMOVED):
            self._settle(index, True)
        elif (problem := _removal_problem(data, headers)) is None:
            self._settle(index, True, "" if index in self._repeated else SOMEBODY_ELSE)
        elif attempt >= self._attempts:
            self._settle(index, False, problem)
        else:  # after the pause of _run
            self._waiting.append((index, seq, attempt + 1))
            return
        self._wake.set()

    def _send_all_again(self) -> None:
        """After a reconnect: what the lost connection took with it."""
        for index, (token, seq, attempt, _) in list(self._out.items()):
            self._inbox.forget(token)
            self._repeated.add(index)
            self._waiting.append((index, seq, attempt))
        self._out.clear()
        self._wake.set()

    def _settle(self, index: int, removed: bool, why: str = "") -> None:
        self.on_removed(index, removed, why)
        if not self._waiting and not self._out:
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
            while self._waiting and len(self._out) < _REMOVALS_AT_ONCE:
                await self._send(*self._waiting.popleft())

    def _give_up(self) -> None:
        """Settle all as not removed: there is no connection."""
        for index, (token, seq, attempt, _) in list(self._out.items()):
            self._inbox.forget(token)
            self._waiting.append((index, seq, attempt))
        self._out.clear()
        while self._waiting:
            index, _, _ = self._waiting.popleft()
            self._settle(index, False, f"no connection for {self._patience:g} s")

    def _requeue_late(self) -> None:
        late = time.monotonic() - self._timeout
        for index, (token, seq, attempt, sent) in list(self._out.items()):
            if sent > late:
                continue
            self._inbox.forget(token)
            del self._out[index]
            if attempt < self._attempts:
                self._repeated.add(index)
                self._waiting.append((index, seq, attempt + 1))
            else:
                self._settle(index, False, f"no answer within {self._timeout:g} s")

    async def _send(self, index: int, seq: int, attempt: int) -> None:
        self._out[index] = ("", seq, attempt, time.monotonic())
        request = b'{"seq":%d,"no_erase":true}' % seq
        try:
            token = await self._inbox.send(
                self, index, f"$JS.API.STREAM.MSG.DELETE.{self._stream}", request
            )
        except NatsError as error:
            del self._out[index]
            if attempt < self._attempts:
                self._waiting.append((index, seq, attempt + 1))
                self._wake.set()
            else:
                self._settle(index, False, str(error))
            return
        if index in self._out:
            self._out[index] = (token, *self._out[index][1:])


def _removal_problem(data: bytes, headers: Mapping[str, str] | None) -> str | None:
    """Why a message was not removed, None if it was not there."""
    if headers and headers.get("Status") == Status.NO_RESPONDERS:
        return "JetStream is not available"
    error = json.loads(data).get("error")
    if error is None or no_such_message(error.get("err_code"), error.get("description")):
        return None
    return str(error.get("description"))
