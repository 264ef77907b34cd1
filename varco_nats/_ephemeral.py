"""One ephemeral pull consumer that acknowledges nothing, and what it delivers.

It lives in the server's memory, is deleted on close, and expires when this process is killed.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from nats.errors import Error as NatsError
from nats.js.api import AckPolicy, ConsumerConfig, ConsumerInfo
from nats.js.errors import NotFoundError

from varco_nats._client import Connection
from varco_nats._direct import StoredMessage

INACTIVE_SECONDS = 30.0
"""How long the consumer of a killed process stays on the server, in seconds."""

_MAX_BYTES = 8 * 1024 * 1024  # of one pull request
_EXPIRES_NS = 20_000_000_000
_QUIET_SECONDS = 1.0
_REQUEST_OVER = ("408", "404")
_COMPLETED = "Batch Completed"
_TOO_LARGE = "Message Size Exceeds MaxBytes"

_Headers = Mapping[str, str] | None


class EphemeralConsumer:
    """A consumer of `stream` on `subjects` (all, if None); use it once."""

    def __init__(self, connection: Connection, stream: str, subjects: Sequence[str] | None) -> None:
        self._connection = connection
        self._stream = stream
        self._subjects = list(subjects) if subjects is not None else None
        self._name = f"history-{uuid.uuid4().hex}"
        self._inbox = ""
        self._subscription: Any = None  # nats-py's Subscription, which is untyped
        self._forget_reconnect: Callable[[], None] | None = None
        self._arrived: list[tuple[str, str, bytes, _Headers]] = []
        self._last_mark = ".0"  # how the reply subject of the last message ends
        self._wake = asyncio.Event()
        self._page = 1
        self._last = 0
        self._asked = 0
        self._received = 0
        self._vain_checks = 0
        self._closed = False
        self._closing = asyncio.Lock()
        self._max_bytes = max(_MAX_BYTES, 2 * connection.max_payload)
        self.finished = False
        """Everything up to the last sequence has been delivered."""
        self.broken = False
        """A message or the consumer was lost: read on with a new one."""

    async def create(self, **start: Any) -> ConsumerInfo:
        """Create it at the given deliver policy; the info says where it begins and what waits."""
        only = self._subjects[0] if self._subjects and len(self._subjects) == 1 else None
        config = ConsumerConfig(
            name=self._name,
            description="reads without acknowledging",
            ack_policy=AckPolicy.NONE,
            mem_storage=True,
            num_replicas=1,
            inactive_threshold=INACTIVE_SECONDS,
            filter_subject=only,
            filter_subjects=self._subjects if only is None else None,
            **start,
        )
        info: ConsumerInfo = await self._connection.js.add_consumer(self._stream, config)
        self.finished = not info.num_pending
        return info

    async def batches(self, last: int, page: int) -> AsyncGenerator[list[StoredMessage]]:
        """What is stored up to sequence `last`, in batches of about `page` messages.

        Ends when that is delivered (`finished`) or a message was lost (`broken`).
        """
        self._last, self._page = last, page
        self._inbox = self._connection.nc.new_inbox()
        self._forget_reconnect = self._connection.on_reconnect(self._break)
        self._subscription = await self._connection.nc.subscribe_direct(
            self._inbox, self._on_message
        )
        while not (self.finished or self.broken):
            await self._ask()
            quiet = not await self._woken()
            if batch := self._take():
                self._vain_checks = 0
                yield batch
            elif quiet:
                await self._check()

    async def close(self) -> None:
        """Delete the consumer; where the server is away, it expires by itself."""
        async with self._closing:  # the reader and its owner may close it at the same time
            if self._closed:
                return
            self._break()
            if self._forget_reconnect is not None:
                self._forget_reconnect()
                self._forget_reconnect = None
            with suppress(NatsError):
                if self._subscription is not None:
                    await self._subscription.unsubscribe()
            if self._connection.is_connected:
                with suppress(NatsError):
                    await self._connection.js.delete_consumer(self._stream, self._name)
            self._closed = True

    def _break(self) -> None:
        self.broken = True
        self._wake.set()

    async def _woken(self) -> bool:
        try:
            async with asyncio.timeout(_QUIET_SECONDS):
                await self._wake.wait()
        except TimeoutError:
            return False
        self._wake.clear()
        return True

    async def _ask(self) -> None:
        """Ask for one page, once all that was asked for is here.

        Not earlier: what arrives while a thread is busy with the last page has to wait for the
        interpreter's lock at each read of the socket, and costs more time than it saves.
        """
        if self._asked > self._received:
            return
        self._asked = self._received + self._page
        request = {"batch": self._page, "expires": _EXPIRES_NS, "max_bytes": self._max_bytes}
        await self._connection.nc.publish(
            f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._name}",
            json.dumps(request).encode(),
            reply=self._inbox,
        )

    def _on_message(self, subject: str, reply: str, data: bytes, headers: _Headers) -> None:
        """Only collect: the parsing is done for many at once."""
        self._arrived.append((subject, reply, data, headers))
        if len(self._arrived) >= self._page or not reply or reply.endswith(self._last_mark):
            self._wake.set()

    def _take(self) -> list[StoredMessage]:
        """The messages among those that arrived; `finished` and `broken` follow from them."""
        arrived, self._arrived = self._arrived, []
        batch: list[StoredMessage] = []
        last, received = self._last, self._received
        for subject, reply, data, headers in arrived:
            if self.finished or self.broken:
                break
            if not reply:
                self._received = received
                self._on_status(headers or {}, empty=not batch)
                continue
            # $JS.ACK.stream.consumer.delivered.seq.consumer_seq.time.pending; or with domain and
            # account before the stream and a random token at the end (ADR-15)
            tokens = reply.split(".")
            if len(tokens) == 9:
                _, _, _, _, _, seq, consumer_seq, stored, pending = tokens
            else:
                self._last_mark = ""  # any reply may be the last one's
                seq, consumer_seq, stored, pending = tokens[7:11]
            received += 1
            if int(consumer_seq) != received:
                self.broken = True
                break
            sequence = int(seq)
            if sequence <= last:
                batch.append(StoredMessage(sequence, subject, int(stored), data, headers))
            if sequence >= last or pending == "0":
                self.finished = True
        self._received = received
        return batch

    def _on_status(self, headers: Mapping[str, str], *, empty: bool) -> None:
        status, description = headers.get("Status", ""), headers.get("Description", "")
        if status == "100":
            return
        if status not in _REQUEST_OVER and not description.startswith((_COMPLETED, _TOO_LARGE)):
            self.broken = True
            return
        due = int(headers.get("Nats-Pending-Messages", 0))  # it will not be delivered
        self._asked = max(self._asked - due, self._received)
        if description.startswith(_TOO_LARGE) and empty:
            self._max_bytes *= 2  # for one message that is larger

    async def _check(self) -> None:
        """Nothing came for a while: was it deleted meanwhile, or lost on the way?"""
        try:
            info = await self._connection.js.consumer_info(self._stream, self._name)
        except NotFoundError:
            self._break()
            return
        except NatsError:
            self._vain_checks += 1
        else:
            if info.delivered.consumer_seq != self._received:
                self._vain_checks += 1
            elif not info.num_pending:
                self.finished = True
        if self._vain_checks > 1:
            self._break()
