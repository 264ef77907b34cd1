"""Checks, just before a row is used, that its dead letter is still where the plan saw it.

Services, other tools and other people work on the same queue during a run. Many rows are checked by
two requests to the stream's leader. The first is which sequences it has, all as of one moment. The
second is the last of the rows that it has: if that is the very message of the plan, stored at the
same nanosecond, then the stream has the history that the plan was read from, and each sequence
before it names what it named then. Otherwise the stream was made anew or lost its end, and each
row is looked up.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

from nats.errors import Error as NatsError
from nats.errors import TimeoutError as NatsTimeoutError

from varco_nats._nats.direct import StoredMessage, added, status_error, stored_message
from varco_nats._nats.inbox import ReplyInbox, until_quiet
from varco_nats.dlq._codec import DlqNames
from varco_nats.dlq._store import DlqStore
from varco_nats.errors import PermissionDeniedError
from varco_nats.replay._plan import PlannedReplay

GONE = "no longer in the queue"
MOVED = "removed and pushed again since it was planned; plan it again"

_FRESH_SECONDS = 0.1
_MIN_BATCH = 2
_MAX_BATCH = 1000
_HOLES_PER_ROW = 50  # so many are listed in the time in which one row is looked up


class EntryCheck:
    """Looks up the rows of a plan in the queue, many at once; a result is good for 0.1 s.

    Args:
        timeout: seconds without an answer after which a check fails.
    """

    def __init__(self, store: DlqStore, rows: Sequence[PlannedReplay], timeout: float) -> None:
        self._store = store
        self._connection = store.connection
        self._names = store.names
        self._rows = rows
        self._timeout = timeout
        self.inbox = ReplyInbox(self._connection)
        self._replicated: bool | None = None
        self._holes = 0
        """How many messages were missing in the middle of the stream when it was last asked."""
        self._fresh: dict[int, float] = {}
        """Rows that were seen in their place, each with the time until which that counts."""
        self._checked = 0
        """How many were checked last."""
        self._used = _MAX_BATCH // 2

    @property
    def is_low(self) -> bool:
        """Whether half of the rows that were checked last are used, so that it is time for more."""
        return 0 < len(self._fresh) <= self._checked // 2

    def to_check(self, rows: Iterable[int]) -> list[int]:
        """The first of `rows` to check: twice as many as were used since the last check."""
        limit, clock = min(max(2 * self._used, _MIN_BATCH), _MAX_BATCH), time.monotonic()
        unchecked = (index for index in rows if self._fresh.get(index, 0.0) < clock)
        return list(islice(unchecked, limit))

    def take(self, index: int) -> bool:
        """Whether a row was just seen in its place, so that it may be used; true only once."""
        if self._rows[index].entry_id is None:  # history
            return True
        if time.monotonic() > self._fresh.pop(index, 0.0):
            return False
        self._used += 1
        return True

    def forget(self) -> None:
        """Check every row again: another run may have used it since."""
        self._fresh.clear()

    async def check(self, indices: Sequence[int]) -> dict[int, str]:
        """The reasons why rows must not be used, by index; rows that are in their place have none.

        Raises:
            nats.errors.Error: the queue's server did not answer.
        """
        absent = await self.absent(indices)
        clock = time.monotonic()
        self._fresh = {index: until for index, until in self._fresh.items() if until >= clock}
        self._fresh |= dict.fromkeys(set(indices).difference(absent), clock + _FRESH_SECONDS)
        self._checked, self._used = len(indices), len(absent)
        return absent

    async def absent(self, indices: Sequence[int]) -> dict[int, str]:
        """The same, without keeping the result for `take`."""
        looked_up = [index for index in indices if self._rows[index].entry_id is not None]
        if not looked_up:
            return {}
        if not await self._connection.wait_connected(self._timeout):
            raise NatsTimeoutError
        gone = await self._gone(looked_up)
        if gone is None or not await self._is_same_history(looked_up, gone):
            missing = {*await self._looked_up(looked_up), *(gone or ())}
        else:
            missing = gone
        if not missing:
            return {}
        absent = {}
        ids = {index: entry_id for index in missing if (entry_id := self._rows[index].entry_id)}
        there = await self._store.existing(list(ids.values()))
        for index, entry_id in ids.items():
            if entry_id not in there:
                absent[index] = GONE
                continue
            if gone is not None and index in gone:
                absent[index] = MOVED
                continue
            stored = await self._store.find(entry_id)
            if stored is None or not _is_of(self._rows[index], stored.message):
                absent[index] = MOVED  # otherwise only a replica was behind
        return absent

    async def _looked_up(self, indices: Sequence[int]) -> list[int]:
        """Those of these rows whose message is not where the plan saw it."""
        if self._names.is_foreign:  # their stream may allow no direct get
            there = await asyncio.gather(*map(self.is_in_place, indices))
            return [index for index, is_there in zip(indices, there, strict=True) if not is_there]
        answers = _Answers(self._names, self._rows, indices)
        await answers.ask(self.inbox, self._connection.api, self._timeout)
        return answers.missing

    async def _gone(self, looked_up: Sequence[int]) -> set[int] | None:
        """Rows whose sequences the leader does not have.

        None where it would have to list too many sequences for so few rows, and no replica can
        differ from it.
        """
        if self._replicated is None:
            info = await self._connection.js.stream_info(self._names.stream)
            self._replicated = (info.config.num_replicas or 1) > 1
            self._holes = info.state.num_deleted or 0
        if not self._replicated and self._holes > _HOLES_PER_ROW * len(looked_up):
            return None
        sequences = await self._store.sequences()
        self._holes = len(sequences.deleted)
        seqs = {index: self._rows[index].seq or 0 for index in looked_up}
        missing = sequences.missing(set(seqs.values()))
        return {index for index, seq in seqs.items() if seq in missing}

    async def _is_same_history(self, looked_up: Sequence[int], gone: set[int]) -> bool:
        """Whether the sequences up to that of the last row still name what the plan saw there."""
        there = [index for index in looked_up if index not in gone]
        return not there or await self.is_in_place(max(there, key=lambda i: self._rows[i].seq or 0))

    async def is_in_place(self, index: int) -> bool:
        """Whether the leader has the message of a row where the plan saw it, and may say so.

        Then each sequence before it, too, names what it named then, or nothing.
        """
        last = self._rows[index]
        try:
            found = await self._store.at_sequence(last.seq or 0)
        except PermissionDeniedError:
            return False
        return (
            found is not None
            and _is_of(last, found.message)
            and found.entry.entry_id == last.entry_id
        )


class _Answers:
    """The answers to one check."""

    def __init__(
        self, names: DlqNames, rows: Sequence[PlannedReplay], indices: Sequence[int]
    ) -> None:
        self._names = names
        self._rows = rows
        self._indices = indices
        self._open = len(indices)
        self._done = asyncio.Event()
        self._error: NatsError | None = None
        self.missing: list[int] = []
        """Rows whose dead letter is not at its sequence."""

    async def ask(self, inbox: ReplyInbox, api: str, timeout: float) -> None:
        """Ask for all, and wait until all are answered."""
        subject = f"{api}.DIRECT.GET.{self._names.stream}"
        tokens = []
        try:
            for index in self._indices:
                request = b'{"seq":%d}' % (self._rows[index].seq or 0)
                tokens.append(await inbox.send(self, index, subject, request))
            if self._open:
                await until_quiet(self._done, lambda: self._open, timeout)
        finally:
            if self._open:
                for token in tokens:
                    inbox.forget(token)
        if self._error is not None:
            raise self._error
        if self._open:
            raise NatsTimeoutError

    def reply(self, index: int, data: bytes, headers: Mapping[str, str] | None) -> None:
        self._open -= 1
        if not self._open:
            self._done.set()
        message = None
        if headers and "Nats-Sequence" in headers:
            row = self._rows[index]
            if added(headers, "Nats-Subject").startswith(f"{self._names.root}.{row.key}."):
                return
            message = stored_message(data, headers)
        elif (error := status_error(headers or {})) is not None:
            self._error = error
            return
        row = self._rows[index]
        if (
            message is None
            or not _is_of(row, message)
            or self._names.decode(message).entry.entry_id != row.entry_id
        ):
            self.missing.append(index)


def _is_of(row: PlannedReplay, message: StoredMessage) -> bool:
    """Whether it is the message that the plan saw, and not one of a stream that was made anew."""
    return message.seq == row.seq and message.time_ns == row.time_ns
