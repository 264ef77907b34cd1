"""The base of the consumers that only read a stream.

They are kept in the server's memory, acknowledge nothing, and expire when this process is killed.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, NamedTuple

from nats.errors import Error as NatsError
from nats.js.api import AckPolicy, ConsumerConfig, ConsumerInfo
from nats.js.errors import APIError

from varco_nats._nats.client import Connection
from varco_nats._nats.delivery import ack_fields, ack_numbers, ack_pattern
from varco_nats._nats.direct import Batch
from varco_nats._nats.error_codes import ErrorCode, Status
from varco_nats._nats.leader import limit_of
from varco_nats._nats.nats_py import subscription_id
from varco_nats._nats.parser import NO_STATUS
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


class Single(NamedTuple):
    """A message, or a status, which has no reply subject."""

    subject: str
    reply: str
    data: bytes
    headers: Headers


class Run(NamedTuple):
    """Messages that were delivered one after another."""

    messages: Batch
    consumer_seqs: list[int]
    """How many messages the consumer had delivered by each."""
    pending: list[int]
    """How many messages waited behind each."""

    @classmethod
    def of(cls, messages: Sequence[Single]) -> Run:
        fields = [ack_fields(message.reply) for message in messages]
        seqs, consumer_seqs, times, pending = (
            [int(each[column]) for each in fields] for column in range(3, 7)
        )
        subjects, _, payloads, headers = (list(column) for column in zip(*messages, strict=True))
        return cls(Batch(seqs, subjects, times, payloads, headers), consumer_seqs, pending)


class RunParser:
    """Takes the messages of one consumer out of what was read, as many as there are.

    It leaves to others what has a status, another kind of reply subject or none.
    """

    def __init__(self, sid: int, stream: str, consumer: str) -> None:
        reply = ack_pattern(stream, consumer)
        self._line = re.compile(rb"(H?)MSG ([^ \r\n]+) %d %b" % (sid, reply)).match
        self._is_plain = True

    def take(self, data: bytes, start: int) -> tuple[Run | None, int, int]:
        """The messages from `start` on, None without any; where they end, and their payloads' size.

        See `TakeRun`.
        """
        find, starts, end = data.find, data.startswith, len(data)
        subjects, rests, payloads = list[str](), list[bytes](), list[bytes]()
        headers: dict[int, bytes] = {}
        position, taken = start, -1
        while self._is_plain and len(payloads) > taken:
            taken = len(payloads)
            line = self._line(data, position)
            if line is None:
                break
            shared, has_headers = line.group(0, 1)
            try:
                subject = line[2].decode()
            except UnicodeDecodeError:
                break
            while starts(shared, position):
                gap = find(b" ", position + len(shared))
                first = find(b"\n", gap) + 1
                if gap < 0 or not first:
                    break
                if has_headers:
                    head, size = map(int, data[gap:first].split())
                else:
                    head, size = 0, int(data[gap:first])
                stop = first + size
                if stop + 2 > end or (head and not starts(NO_STATUS, first)):
                    break
                if head:
                    headers[len(payloads)] = data[first + len(NO_STATUS) : first + head]
                rests.append(data[position + len(shared) : gap])
                payloads.append(data[first + head : stop])
                position = stop + 2
            subjects += [subject] * (len(payloads) - taken)
        numbers = ack_numbers(rests)
        if numbers is None:
            self._is_plain = False  # this server's reply subjects are to be parsed one by one
        if numbers is None or not payloads:
            return None, start, 0
        seqs, consumer_seqs, times, pending = numbers
        fields = [headers.get(row) for row in range(len(payloads))] if headers else None
        messages = Batch(seqs, subjects, times, payloads, fields)
        return Run(messages, consumer_seqs, pending), position, sum(map(len, payloads))


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
        self._runs: RunParser | None = None
        self._arrived: list[Run | Single] = []
        self._waiting = 0
        """How many messages and statuses arrived."""
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
            self._inbox, self._on_message, self._take_run
        )
        self._runs = RunParser(subscription_id(self._subscription), self._stream, self.name)

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
        self._collect(Single(subject, reply, data, headers), 1)

    def _take_run(self, data: bytes, start: int) -> tuple[int, int, int]:
        """Collect the messages that stand one after another from `start` on; see `TakeRun`."""
        assert self._runs is not None  # nothing is delivered before the first request
        run, end, size = self._runs.take(data, start)
        if run is None:
            return start, 0, 0
        self._collect(run, len(run.messages))
        return end, len(run.messages), size

    def _collect(self, arrived: Run | Single, count: int) -> None:
        self._arrived.append(arrived)
        self._waiting += count
        if self._is_enough(arrived):
            self._wake.set()

    def _is_enough(self, newest: Run | Single) -> bool:
        """Whether what arrived is to be handled now."""
        return True

    def _collected(self) -> Iterator[Run | Mapping[str, str]]:
        """What arrived since the last call; of a status the headers."""
        arrived, self._arrived, self._waiting = self._arrived, [], 0
        singles: list[Single] = []
        for item in arrived:
            if isinstance(item, Single) and item.reply:
                singles.append(item)
                continue
            if singles:
                yield Run.of(singles)
                singles = []
            yield item if isinstance(item, Run) else item.headers or {}
        if singles:
            yield Run.of(singles)

    def _in_order(self, run: Run) -> int:
        """How many of its messages follow what was received, up to the first that shows a loss."""
        first, count = self._received + 1, len(run.messages)
        if run.consumer_seqs == list(range(first, first + count)):
            return count
        return next(i for i, seq in enumerate(run.consumer_seqs) if seq != first + i)

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
