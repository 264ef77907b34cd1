"""One ephemeral pull consumer that delivers for as long as nothing is lost.

It lives in the server's memory, acknowledges nothing, and expires when this process is killed.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import suppress
from typing import Any

from nats.errors import Error as NatsError
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from varco_nats._client import Connection
from varco_nats._direct import StoredMessage

PAGE = 2000
"""Messages asked for at once; two such requests are open."""

_MAX_BYTES = 4 * 1024 * 1024  # of one pull request
_INACTIVE_SECONDS = 30.0  # how long the consumer of a killed process stays on the server
_EXPIRES_SECONDS = 20
_HEARTBEAT_SECONDS = 2
_SILENCE_SECONDS = 5.0  # without message or heartbeat
_GATHER_SECONDS = 0.01  # between two batches, so that they are not of one message each
_TICK_SECONDS = 0.2
_REQUEST_OVER = ("408", "404")
_COMPLETED = "Batch Completed"
_TOO_LARGE = "Message Size Exceeds MaxBytes"

_Headers = Mapping[str, str] | None


class TailConsumer:
    """One ephemeral pull consumer, until it is lost; use it once."""

    def __init__(self, connection: Connection, stream: str, subjects: list[str] | None) -> None:
        self._connection = connection
        self._stream = stream
        self._subjects = subjects
        self.name = f"tail-{uuid.uuid4().hex}"
        self._inbox = ""
        self._subscription: Any = None  # nats-py's Subscription, which is untyped
        self._forget_reconnect: Callable[[], None] | None = None
        self._arrived: list[tuple[str, str, bytes, _Headers]] = []
        self._wake = asyncio.Event()
        self._heard_at = 0.0
        self._asked = 0
        self._received = 0
        self._max_bytes = max(_MAX_BYTES, 2 * connection.max_payload)
        self._broken = False
        self.behind = 0
        """Messages that waited when the last one of the batch was sent."""

    async def create(self, start_seq: int) -> int:
        """Create it; the number of messages that wait for it."""
        only = self._subjects[0] if self._subjects and len(self._subjects) == 1 else None
        config = ConsumerConfig(
            name=self.name,
            description="follows without acknowledging",
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=start_seq,
            ack_policy=AckPolicy.NONE,
            mem_storage=True,
            num_replicas=1,
            inactive_threshold=_INACTIVE_SECONDS,
            filter_subject=only,
            filter_subjects=self._subjects if only is None else None,
        )
        self._forget_reconnect = self._connection.on_reconnect(self._break)
        info = await self._connection.js.add_consumer(self._stream, config)
        return int(info.num_pending or 0)

    async def batches(self) -> AsyncGenerator[list[StoredMessage]]:
        """What it delivers, until it or a message of it is lost."""
        self._inbox = self._connection.nc.new_inbox()
        self._subscription = await self._connection.nc.subscribe_direct(
            self._inbox, self._on_message
        )
        self._heard_at = time.monotonic()
        yielded_at = 0.0
        while not self._broken:
            await self._ask()
            if not await self._woken():
                silence = time.monotonic() - self._heard_at
                if silence > _SILENCE_SECONDS or not self._connection.is_connected:
                    return
                continue
            early = yielded_at + _GATHER_SECONDS - time.monotonic()
            if early > 0 and len(self._arrived) < PAGE:
                await asyncio.sleep(early)
            if batch := self._take():
                yielded_at = time.monotonic()
                yield batch

    async def close(self) -> None:
        """Listen to it no longer; it is still on the server."""
        if self._forget_reconnect is not None:
            self._forget_reconnect()
        with suppress(NatsError):
            if self._subscription is not None:
                await self._subscription.unsubscribe()

    def _break(self) -> None:
        self._broken = True
        self._wake.set()

    async def _woken(self) -> bool:
        try:
            async with asyncio.timeout(_TICK_SECONDS):
                await self._wake.wait()
        except TimeoutError:
            return False
        self._wake.clear()
        return True

    async def _ask(self) -> None:
        """Keep two requests open, so that the server never waits for us."""
        while self._asked - self._received <= PAGE:
            self._asked += PAGE
            request = {
                "batch": PAGE,
                "expires": _EXPIRES_SECONDS * 1_000_000_000,
                "idle_heartbeat": _HEARTBEAT_SECONDS * 1_000_000_000,
                "max_bytes": self._max_bytes,
            }
            await self._connection.nc.publish(
                f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self.name}",
                json.dumps(request).encode(),
                reply=self._inbox,
            )

    def _on_message(self, subject: str, reply: str, data: bytes, headers: _Headers) -> None:
        """Only collect: the parsing is done for many at once."""
        self._arrived.append((subject, reply, data, headers))
        self._wake.set()

    def _take(self) -> list[StoredMessage]:
        """The messages among those that arrived, up to the first that shows a loss."""
        arrived, self._arrived = self._arrived, []
        self._heard_at = time.monotonic()
        batch: list[StoredMessage] = []
        for subject, reply, data, headers in arrived:
            if not reply:
                self._on_status(headers or {}, empty=not batch)
                continue
            # $JS.ACK.stream.consumer.delivered.seq.consumer_seq.time.pending; or with domain and
            # account before the stream and a random token at the end (ADR-15)
            tokens = reply.split(".")
            at = 5 if len(tokens) == 9 else 7
            seq, consumer_seq, stored, pending = tokens[at : at + 4]
            self._received += 1
            if int(consumer_seq) != self._received:
                self._broken = True
            if self._broken:
                break
            self.behind = int(pending)
            batch.append(StoredMessage(int(seq), subject, int(stored), data, headers))
        return batch

    def _on_status(self, headers: Mapping[str, str], *, empty: bool) -> None:
        status, description = headers.get("Status", ""), headers.get("Description", "")
        if status == "100":  # a heartbeat, which says how much was sent before it
            sent = int(headers.get("Nats-Last-Consumer", self._received))
            self._broken = self._broken or sent > self._received
            return
        if status not in _REQUEST_OVER and not description.startswith((_COMPLETED, _TOO_LARGE)):
            self._broken = True
            return
        due = int(headers.get("Nats-Pending-Messages", 0))  # it will not be delivered
        self._asked = max(self._asked - due, self._received)
        if description.startswith(_TOO_LARGE) and empty:
            self._max_bytes *= 2  # for one message that is larger
