"""Reading stored messages by direct get, without a consumer: nothing is taken or leased.

The stream needs `allow_direct`. A nats-server from 2.11 on answers in batches (ADR-31); an older
one is sent a request for each message.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import AsyncGenerator, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from itertools import repeat
from typing import Any, NamedTuple, overload

from nats.errors import Error as NatsError
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.errors import APIError

from varco_nats._nats.client import Connection
from varco_nats._nats.error_codes import ErrorCode, Status
from varco_nats._nats.inbox import until_quiet
from varco_nats._nats.nats_py import subscription_id
from varco_nats._nats.parser import NO_STATUS, HeaderFields, header_fields
from varco_nats._nats.stream import covers
from varco_nats.errors import PermissionDeniedError

_MAX_BYTES = 16 * 1024 * 1024  # of one batch; more comes with the next one
_MAX_WINDOW = 128  # single requests in flight
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NO_SUCH_MESSAGE = (ErrorCode.NO_MESSAGE_FOUND, ErrorCode.SEQUENCE_NOT_FOUND)
_NOT_THERE = ("no message found", "deleted message", "stream store EOF")
_ADDED_HEADERS = frozenset(
    {
        "Nats-Stream",
        "Nats-Subject",
        "Nats-Sequence",
        "Nats-Time-Stamp",
        "Nats-Num-Pending",
        "Nats-Last-Sequence",
        "Nats-UpTo-Sequence",
    }
)
_ADDED_NAME = re.compile(b"|".join(name.encode() for name in sorted(_ADDED_HEADERS)))
# sizes, the message's own headers, and those that a server which answers in batches adds to them
_SIZES_AND_HEADERS = re.compile(
    rb"([0-9]+) ([0-9]+)\r\nNATS/1\.0\r\n((?:[^\r\n]+\r\n)*?)"
    rb"Nats-Stream: [^\r\n]*\r\nNats-Subject: ([!-~]+)\r\nNats-Sequence: ([0-9]+)\r\n"
    rb"Nats-Time-Stamp: ([0-9T:-]{19})(?:\.([0-9]{1,9}))?Z\r\n"
    rb"Nats-Num-Pending: ([0-9]+)\r\nNats-Last-Sequence: [0-9]+\r\n\r\n"
)


class StoredMessage(NamedTuple):
    """One message of a stream, as it is stored."""

    seq: int
    subject: str
    time_ns: int
    """When it was stored, in nanoseconds since 1970-01-01 UTC."""
    data: bytes
    headers: Mapping[str, str] | None
    """Its own headers; None if it has none."""


_new_message = partial(tuple.__new__, StoredMessage)  # takes half of the time of its own


class Batch(Sequence[StoredMessage]):
    """Messages in columns, which are to be read only.

    A `StoredMessage` is made of a row when it is asked for, so that nothing is made for each
    message where the columns are enough.

    Example:
        async for batch in history.batches(selection):
            size += sum(map(len, batch.payloads))

    Args:
        headers: None if no message has any. Header fields may be given as bytes, which are parsed
            when somebody asks for them, as that takes longer than all the rest.
    """

    __slots__ = ("_headers", "_parsed", "payloads", "seqs", "subjects", "times_ns")

    def __init__(
        self,
        seqs: list[int],
        subjects: list[str],
        times_ns: list[int],
        payloads: list[bytes],
        headers: Sequence[Mapping[str, str] | bytes | None] | None = None,
    ) -> None:
        self.seqs = seqs
        self.subjects = subjects
        self.times_ns = times_ns
        """When each was stored, in nanoseconds since 1970-01-01 UTC."""
        self.payloads = payloads
        self._headers = headers
        self._parsed: list[Mapping[str, str] | None] | None = None

    @classmethod
    def of(cls, messages: Iterable[StoredMessage]) -> Batch:
        """The same messages in columns."""
        columns = [list(column) for column in zip(*messages, strict=True)]
        return cls(*columns) if columns else cls([], [], [], [])

    @classmethod
    def joined(cls, parts: Sequence[Batch]) -> Batch:
        """The messages of several batches, one after another."""
        if len(parts) == 1:
            return parts[0]
        batch = cls([], [], [], [])
        for part in parts:
            batch._append(part)
        return batch

    @property
    def headers(self) -> list[Mapping[str, str] | None] | None:
        """The headers of each message, None for one without; None if no message has any."""
        if self._headers is not None:
            given, self._headers = self._headers, None
            found = [header_fields(each) if isinstance(each, bytes) else each for each in given]
            self._parsed = found if any(found) else None
        return self._parsed

    @property
    def subject(self) -> str | None:
        """The subject that all messages have; None where they differ, or there are none."""
        subjects = self.subjects
        same = subjects and subjects.count(subjects[0]) == len(subjects)
        return subjects[0] if same else None

    def _append(self, other: Batch) -> None:
        mine, theirs = self._given, other._given
        if mine is not None or theirs is not None:
            self._headers = [*(mine or [None] * len(self)), *(theirs or [None] * len(other))]
        self.seqs += other.seqs
        self.subjects += other.subjects
        self.times_ns += other.times_ns
        self.payloads += other.payloads

    @property
    def _given(self) -> Sequence[Mapping[str, str] | bytes | None] | None:
        return self._headers if self._headers is not None else self._parsed

    def __len__(self) -> int:
        return len(self.seqs)

    @overload
    def __getitem__(self, index: int) -> StoredMessage: ...
    @overload
    def __getitem__(self, index: slice) -> Batch: ...
    def __getitem__(self, index: int | slice) -> StoredMessage | Batch:
        if isinstance(index, slice):
            return Batch(
                self.seqs[index],
                self.subjects[index],
                self.times_ns[index],
                self.payloads[index],
                None if self._given is None else self._given[index],
            )
        row = self.seqs[index], self.subjects[index], self.times_ns[index], self.payloads[index]
        return StoredMessage(*row, None if self.headers is None else self.headers[index])

    def __iter__(self) -> Iterator[StoredMessage]:
        headers = self.headers or repeat(None, len(self))
        rows = zip(self.seqs, self.subjects, self.times_ns, self.payloads, headers, strict=True)
        return map(_new_message, rows)

    def __eq__(self, other: object) -> bool:
        return list(self) == list(other) if isinstance(other, Batch | list) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __add__(self, other: Iterable[StoredMessage]) -> list[StoredMessage]:
        return [*self, *other]

    def __radd__(self, other: Iterable[StoredMessage]) -> list[StoredMessage]:
        return [*other, *self]

    def __repr__(self) -> str:
        return f"Batch({len(self)} messages)"


class DirectBatch(NamedTuple):
    """Messages in order of their sequences."""

    messages: list[StoredMessage]
    pending: int | None
    """How many more messages match after the last one; None where the server does not say."""


async def read_batches(
    connection: Connection,
    stream: str,
    *,
    subject: str = ">",
    start: int = 1,
    batch: int = 1000,
    timeout: float = 5.0,
    attempts: int = 3,
    ahead: bool = False,
    late_headers: bool = False,
) -> AsyncGenerator[DirectBatch, None]:
    """Every stored message that matches `subject` from sequence `start` on, oldest first.

    Ends at what is then the last message. Between batches it holds nothing on the server, so that
    it can be left at any point.

    Args:
        batch: messages asked for at once, from 1.
        timeout: seconds without a message after which a request counts as lost.
        attempts: requests in a row that may be lost.
        ahead: whether the next batch is asked for before one is given, for who reads to the end.
        late_headers: whether a message's headers are parsed only when somebody asks for them.

    Raises:
        nats.errors.Error: no answer, or the stream is missing or has no direct get.
    """
    failures = 0
    following: int | None = start
    coming: asyncio.Task[_Answer] | None = None

    def ask(first: int) -> Coroutine[Any, Any, _Answer]:
        request = {"seq": first, "batch": batch, "next_by_subj": subject}
        answer = _Answer(late_headers=late_headers)
        return _ask(connection, stream, {**request, "max_bytes": _MAX_BYTES}, timeout, answer)

    try:
        while following is not None:
            answer = await (coming or ask(following))
            coming = None
            if answer.messages:
                failures, following = 0, answer.messages[-1].seq + 1
                if ahead and answer.following is not None:
                    name = f"read {stream} from {answer.following}"
                    coming = asyncio.create_task(ask(answer.following), name=name)
                    await asyncio.sleep(0)  # so that it is sent before the messages are used
                yield DirectBatch(answer.messages, None if answer.single else answer.pending)
            if answer.single:
                following = answer.messages[-1].seq + 1
                async for message in _read_singly(
                    connection, stream, subject, following, timeout, attempts
                ):
                    yield DirectBatch([message], None)
                return
            if answer.error is None:
                following = answer.following
                continue
            failures += 1
            if failures >= attempts or not _is_passing(answer.error):
                raise answer.error
            await _pause(connection, failures, timeout)
    finally:
        if coming is not None:
            coming.cancel()
            await asyncio.wait({coming})
            if not coming.cancelled():
                coming.exception()  # nobody needs the answer any more


async def get_message(
    connection: Connection,
    stream: str,
    request: Mapping[str, Any],
    *,
    timeout: float = 5.0,
    attempts: int = 3,
) -> StoredMessage | None:
    """Get one message by direct get, None if there is none.

    Args:
        request: `{"seq": 7}`, `{"seq": 1, "next_by_subj": "orders.>"}` or
            `{"last_by_subj": "orders.eu"}`.

    Raises:
        nats.errors.Error: no answer, or the stream is missing or has no direct get.
    """
    for attempt in range(1, attempts + 1):
        try:
            reply = await connection.nc.request(
                _api(connection, stream), json.dumps(request).encode(), timeout=timeout
            )
            break
        except NatsError as error:
            if isinstance(error, NoRespondersError):
                # nats-py raises this for a stored message with a header "Status: 503" too
                answer = await _ask(connection, stream, request, timeout)
                if answer.messages:
                    return answer.messages[0]
            if attempt == attempts or not _is_passing(error):
                raise
            await _pause(connection, attempt, timeout)
    headers: dict[str, str] = reply.headers or {}
    if (message := stored_message(reply.data, headers)) is not None:
        return message
    if (problem := status_error(headers)) is not None:
        raise problem
    return None


@dataclass(slots=True)
class _Answer:
    """What came back for one batch request."""

    messages: list[StoredMessage] = field(default_factory=list)
    following: int | None = None
    pending: int = 0
    error: NatsError | None = None
    single: bool = False
    line: bytes = b""
    """How the messages begin on the wire, up to the sizes."""
    done: asyncio.Event = field(default_factory=asyncio.Event)
    late_headers: bool = False

    def take_run(self, data: bytes, start: int) -> tuple[int, int, int]:
        """Take the messages that stand one after another from `start` on; see `TakeRun`."""
        line, messages, starts = self.line, self.messages, data.startswith
        late, match, pending = self.late_headers, _SIZES_AND_HEADERS.match, b""
        position, before, size = start, len(messages), 0
        while starts(line, position) and (found := match(data, position + len(line))) is not None:
            head, length, block, subject, seq, second, fraction, left = found.groups()
            first, body = found.end(2) + 2, found.end()
            stop = first + int(length)
            if stop + 2 > len(data) or body - first != int(head):
                break
            own: Mapping[str, str] | None = None
            if block:
                if _ADDED_NAME.search(block) is not None:
                    break
                own = HeaderFields(block) if late else header_fields(block)
            time = _second_ns(second) + (int(fraction.ljust(9, b"0")) if fraction else 0)
            row = int(seq), subject.decode(), time, data[body:stop], own
            messages.append(_new_message(row))
            size += stop - body
            position, pending = stop + 2, left
        if pending:
            self.pending = int(pending)
        return position, len(messages) - before, size

    def take(
        self, _subject: str, _reply: str, data: bytes, fields: Mapping[str, str] | None
    ) -> None:
        headers = fields or {}
        message = stored_message(data, headers)
        if message is not None:
            self.messages.append(message)
            if "Nats-Num-Pending" in headers:
                self.pending = int(added(headers, "Nats-Num-Pending"))
                return
            self.single = True  # the server is older than 2.11 and ignores "batch"
        elif headers.get("Status") == Status.END_OF_BATCH:
            # before 2.12 a message counts itself as pending, and the end of a batch does not
            self.pending = int(headers.get("Nats-Num-Pending", 0))
            if self.pending:
                self.following = int(headers["Nats-Last-Sequence"]) + 1
        else:
            self.error = status_error(headers)
        self.done.set()

    def refuse(self, error: PermissionDeniedError) -> None:
        self.error = error
        self.done.set()

    async def wait(self, timeout: float) -> None:
        await until_quiet(self.done, lambda: len(self.messages), timeout)
        if not self.done.is_set():
            self.error = NatsTimeoutError()


def _api(connection: Connection, stream: str) -> str:
    return f"{connection.api}.DIRECT.GET.{stream}"


async def _ask(
    connection: Connection,
    stream: str,
    request: Mapping[str, Any],
    timeout: float,
    answer: _Answer | None = None,
) -> _Answer:
    answer = answer or _Answer()
    api, inbox = _api(connection, stream), connection.nc.new_inbox()
    forget = connection.nc.on_refused(api, answer.refuse)
    subscription = await connection.nc.subscribe_direct(inbox, answer.take, answer.take_run)
    answer.line = b"HMSG %b %d " % (inbox.encode(), subscription_id(subscription))
    try:
        await connection.nc.answer(api, json.dumps(request).encode(), inbox, at_once=True)
        await answer.wait(timeout)
    finally:
        forget()
        with suppress(NatsError):
            await subscription.unsubscribe()
    return answer


async def _read_singly(
    connection: Connection, stream: str, subject: str, start: int, timeout: float, attempts: int
) -> AsyncGenerator[StoredMessage, None]:
    """Do the same as `read_batches` with one request for each message.

    Looks for the next match, then asks for the sequences after it all at once, and for more of them
    the more of them match.
    """
    get = partial(get_message, connection, stream, timeout=timeout, attempts=attempts)
    window = 1
    while (message := await get({"seq": start, "next_by_subj": subject})) is not None:
        yield message
        start = message.seq + 1
        ahead = await asyncio.gather(*(get({"seq": start + i}) for i in range(window)))
        matching = [found for found in ahead if found and covers(subject, found.subject)]
        for message in matching:
            yield message
        start += window
        window = min(window * 2, _MAX_WINDOW) if len(matching) == window else max(window // 2, 1)


def _is_passing(error: NatsError) -> bool:
    """Whether it can help to ask again."""
    return not isinstance(error, APIError | PermissionDeniedError)


async def _pause(connection: Connection, failures: int, timeout: float) -> None:
    await asyncio.sleep(min(0.05 * 2**failures, 1.0))
    await connection.wait_connected(timeout)


def stored_message(data: bytes, headers: Mapping[str, str]) -> StoredMessage | None:
    """The message in the reply to a direct get, None if that is a status."""
    if "Nats-Sequence" not in headers:
        return None
    own = {name: value for name, value in headers.items() if name not in _ADDED_HEADERS}
    return StoredMessage(
        seq=int(added(headers, "Nats-Sequence")),
        subject=added(headers, "Nats-Subject"),
        time_ns=time_ns(added(headers, "Nats-Time-Stamp")),
        data=data,
        headers=own or None,
    )


def leader_message(values: Mapping[str, Any]) -> StoredMessage:
    """The message in an answer to the API's `STREAM.MSG.GET`, which the stream's leader gives."""
    return StoredMessage(
        seq=values["seq"],
        subject=values["subject"],
        time_ns=time_ns(values["time"]),
        data=base64.b64decode(values.get("data") or ""),
        headers=header_fields(base64.b64decode(values.get("hdrs") or "")[len(NO_STATUS) :]),
    )


def added(headers: Mapping[str, str], name: str) -> str:
    """The server's value of a header in the reply to a direct get.

    It stands after the values that the message itself has under that name.
    """
    return headers[name].rpartition(", ")[2]


def no_such_message(code: object, description: object) -> bool:
    """Whether an error of the JetStream API says that a sequence has no message."""
    return code in _NO_SUCH_MESSAGE or (
        code == ErrorCode.STREAM_MSG_DELETE_FAILED and description in _NOT_THERE
    )


def status_error(headers: Mapping[str, str]) -> NatsError | None:
    status = headers.get("Status", "")
    if status == Status.NOT_FOUND:
        return None
    if status == Status.NO_RESPONDERS:
        return NoRespondersError()
    code = int(status) if status.isdigit() else 0
    return APIError(code=code, description=headers.get("Description", "unexpected reply"))


def moment(time_ns: int) -> datetime:
    """A time in nanoseconds since 1970 UTC, to the microsecond."""
    return _EPOCH + timedelta(microseconds=time_ns // 1000)


def time_ns(timestamp: str) -> int:
    """The nanoseconds since 1970 of a server's time, like `2026-01-31T12:00:00.123456789Z`."""
    whole, _, fraction = timestamp.removesuffix("Z").partition(".")
    return _second_ns(whole.encode()) + int(fraction[:9].ljust(9, "0") or 0)


@lru_cache(maxsize=64)  # many messages are stored within a second
def _second_ns(text: bytes) -> int:
    elapsed = datetime.fromisoformat(f"{text.decode()}+00:00") - _EPOCH
    return elapsed // timedelta(seconds=1) * 1_000_000_000
