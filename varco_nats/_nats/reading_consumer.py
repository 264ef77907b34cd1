"""The base of the consumers that only read a stream.

They are kept in the server's memory, acknowledge nothing, and expire when this process is killed.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from nats.errors import Error as NatsError
from nats.js.api import AckPolicy, ConsumerConfig, ConsumerInfo
from nats.js.errors import APIError

from varco_nats._nats.client import Connection
from varco_nats._nats.error_codes import ErrorCode, Status
from varco_nats._nats.leader import limit_of
from varco_nats.errors import PermissionDeniedError

INACTIVE_SECONDS = 30.0
"""How long the consumer of a killed process stays on the server, in seconds."""

READER = "reads without acknowledging"
"""The description of such a consumer, by which it is known in a list of consumers."""

Headers = Mapping[str, str] | None

_CREATE_SECONDS = 5.0
_REQUEST_OVER = (Status.REQUEST_EXPIRED, Status.NOT_FOUND)
_COMPLETED = "Batch Completed"
_TOO_LARGE = "Message Size Exceeds MaxBytes"
_TOO_MANY = re.compile(r"Exceeded MaxRequestBatch of (\d+)")


class ReadingConsumer:
    """An ephemeral pull consumer of `stream` on `subjects` (all, if None), which can be used once.

    Args:
        kind: how its name begins.
        max_bytes: of one pull request; it is more where the server takes larger messages.
    """

    def __init__(
        self,
        connection: Connection,
        stream: str,
        subjects: Sequence[str] | None,
        *,
        kind: str,
        max_bytes: int,
    ) -> None:
        self._connection = connection
        self._stream = stream
        self._subjects = list(subjects) if subjects is not None else None
        self.name = f"{kind}-{uuid.uuid4().hex}"
        self.broken = False
        """Whether a message or the consumer was lost, so that a new one has to read on."""
        self.problem = "its consumer was lost"
        """Why it broke."""
        self.max_batch = sys.maxsize
        """How many messages the server lets it ask for at once."""
        self._refusal: PermissionDeniedError | None = None
        self._inbox = ""
        self._subscription: Any = None  # nats-py's Subscription, which is untyped
        self._forget: list[Callable[[], None]] = []
        self._arrived: list[tuple[str, str, bytes, Headers]] = []
        self._wake = asyncio.Event()
        self._asked = 0
        self._received = 0
        self._max_bytes = max(max_bytes, 2 * connection.max_payload)

    async def _add(self, **start: Any) -> ConsumerInfo:
        """Create it on the server with the given deliver policy.

        Raises:
            LimitReachedError: a limit does not allow it.
            nats.errors.Error: it cannot be created.
        """
        only = self._subjects[0] if self._subjects and len(self._subjects) == 1 else None
        config = ConsumerConfig(
            name=self.name,
            description=READER,
            ack_policy=AckPolicy.NONE,
            mem_storage=True,
            num_replicas=1,
            inactive_threshold=INACTIVE_SECONDS,
            filter_subject=only,
            filter_subjects=self._subjects if only is None else None,
            **start,
        )
        self._forget.append(self._connection.on_reconnect(self._break))
        try:
            return await self._create(config)
        except APIError as error:
            if error.err_code != ErrorCode.CONSUMER_INACTIVE_THRESHOLD_EXCESS:
                raise (await limit_of(self._connection, self._stream, error)) or error from error
        config = replace(config, inactive_threshold=None)  # the limit of the stream
        return await self._create(config)

    async def _create(self, config: ConsumerConfig) -> ConsumerInfo:
        if not self._connection.read_only:
            return await self._connection.js.add_consumer(self._stream, config)
        # Without the name in the subject the server creates no durable, so that a login that may
        # use only this subject cannot either (`jsConsumerCreateRequest` in its `jetstream_api.go`).
        request = {"stream_name": self._stream, "config": config.as_dict()}
        api = f"CONSUMER.CREATE.{self._stream}"
        answer = await self._connection.ask_jetstream(api, request, _CREATE_SECONDS)
        info: ConsumerInfo = ConsumerInfo.from_response(answer)
        return info

    async def _listen(self) -> None:
        self._inbox = self._connection.nc.new_inbox()
        self._forget.append(self._connection.nc.on_refused(self._next, self._refuse))
        self._subscription = await self._connection.nc.subscribe_direct(
            self._inbox, self._on_message
        )

    async def close(self) -> None:
        """Stop listening; the consumer itself expires on the server."""
        while self._forget:
            self._forget.pop()()
        with suppress(NatsError):
            if self._subscription is not None:
                await self._subscription.unsubscribe()

    @property
    def _next(self) -> str:
        """The subject of its pull requests."""
        return f"{self._connection.api}.CONSUMER.MSG.NEXT.{self._stream}.{self.name}"

    async def _request(self, batch: int, seconds: int, **options: Any) -> None:
        """Ask for `batch` messages, or as many as are allowed, within `seconds`."""
        batch = min(batch, self.max_batch)
        self._asked += batch
        expires = seconds * 1_000_000_000
        request = {"batch": batch, "expires": expires, "max_bytes": self._max_bytes, **options}
        await self._connection.nc.publish(
            self._next, json.dumps(request).encode(), reply=self._inbox
        )

    def _on_message(self, subject: str, reply: str, data: bytes, headers: Headers) -> None:
        """Only collect the message; many are parsed together later."""
        self._arrived.append((subject, reply, data, headers))
        self._wake.set()

    def _break(self) -> None:
        self.broken = True
        self._wake.set()

    def _refuse(self, error: PermissionDeniedError) -> None:
        self._refusal = error
        self._break()

    async def _woken(self, seconds: float) -> bool:
        """Wait up to `seconds` until something arrives; whether it did."""
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return False
        self._wake.clear()
        return True

    def _on_status(self, headers: Mapping[str, str], *, empty: bool) -> None:
        """Handle a heartbeat or the end of a request; `empty` if no message of it came before."""
        status, description = headers.get("Status", ""), headers.get("Description", "")
        if status == Status.HEARTBEAT:  # a heartbeat, which may say how much was sent before it
            sent = int(headers.get("Nats-Last-Consumer", self._received))
            self.broken = self.broken or sent > self._received
            return
        if too_many := _TOO_MANY.match(description):
            self.max_batch = int(too_many[1])
            self._asked = self._received  # the other open requests are too large as well
            return
        if status not in _REQUEST_OVER and not description.startswith((_COMPLETED, _TOO_LARGE)):
            self.broken, self.problem = True, description or f"status {status}"
            return
        due = int(headers.get("Nats-Pending-Messages", 0))  # it will not be delivered
        self._asked = max(self._asked - due, self._received)
        if description.startswith(_TOO_LARGE) and empty:
            self._max_bytes *= 2  # so that a larger message can come
