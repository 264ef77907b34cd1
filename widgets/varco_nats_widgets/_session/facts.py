"""What the server says about streams, subjects and consumers, requested page by page.

Nothing here changes anything for others. There is one short-lived reader at a time, and no request
for each channel if the server can answer for many at once.
"""

from __future__ import annotations

import time
from asyncio import Semaphore, gather
from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from nats.errors import Error as NatsError
from nats.js.api import DeliverPolicy
from nats.js.errors import NotFoundError

from varco_nats._nats.client import Connection
from varco_nats._nats.direct import Batch, time_ns
from varco_nats._nats.ephemeral import EphemeralConsumer
from varco_nats._nats.leader import with_leader
from varco_nats._nats.reading_consumer import READER
from varco_nats.errors import StreamNotFoundError
from varco_nats.history._lookup import Lookup
from varco_nats.history._reader import PAGE, no_consumer
from varco_nats_widgets._session.buckets import reading_call

RECENT_SECONDS = 10
"""The time over which rates are counted, in seconds."""

_RECENT_MESSAGES = 20_000  # the most that are read for them
_TIMEOUT = 10  # an answer may have several megabytes
_PAGES_AT_ONCE = 4
_GETS_AT_ONCE = 64
_FEW = 50  # subjects for which no reader is opened
_FIRST_PAGE = 1_000  # messages from the first on that are read at once
_WORTH_READING = 0.2  # of them must be what is looked for, as a request takes the time of five
_FROM_SEQ = DeliverPolicy.BY_START_SEQUENCE

Position = tuple[int, int]
"""A message's sequence, and when it was stored, in nanoseconds since 1970 UTC."""


@dataclass(frozen=True, slots=True)
class Recent:
    """The messages that were stored lately, counted by subject."""

    counts: Mapping[str, int]
    seconds: float
    """The period in which they were stored."""


class Facts:
    """Asks the server over `connection`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def streams(self) -> list[dict[str, Any]]:
        """The infos of all streams of the account, by name."""
        found = await self._list("STREAM.LIST", "streams", {})
        return sorted(found, key=lambda info: str(info["config"]["name"]))

    async def stream_names(self, subject: str | None = None) -> list[str]:
        """The names of the streams, or of those that capture `subject`."""
        return sorted(
            await self._list("STREAM.NAMES", "streams", {"subject": subject} if subject else {})
        )

    async def stream(self, name: str) -> dict[str, Any]:
        """The info of one stream.

        Raises:
            StreamNotFoundError: it does not exist; names those that do.
        """
        try:
            return await self._ask(f"STREAM.INFO.{name}", {})
        except NotFoundError:
            names = await self.stream_names()
            calls = [reading_call(each) for each in names if each.partition("_")[2] == name]
            raise StreamNotFoundError(name, names, next(filter(None, calls), "")) from None

    async def subjects(self, stream: str, pattern: str = ">") -> dict[str, int]:
        """The subjects of `stream` that hold messages, and how many each."""
        found: dict[str, int] = {}
        offset, total = 0, 1
        while offset < total:
            answer = await self._ask(
                f"STREAM.INFO.{stream}", {"subjects_filter": pattern, "offset": offset}
            )
            page = answer["state"].get("subjects") or {}
            found |= page
            offset, total = offset + len(page), int(answer.get("total", 0)) if page else 0
        return found

    async def consumers(self, stream: str) -> list[dict[str, Any]]:
        """The infos of the consumers of `stream` by name, without this package's readers."""
        found = await self._list(f"CONSUMER.LIST.{stream}", "consumers", {})
        by_name = {
            str(info["name"]): info for info in found if info["config"].get("description") != READER
        }
        return [by_name[name] for name in sorted(by_name)]

    async def newest(
        self, info: dict[str, Any], pattern: str, subjects: Iterable[str]
    ) -> dict[str, Position]:
        """The position of each subject's newest message, with one reader if possible."""
        positions: dict[str, Position] = {}
        if is_readable(info):
            start = {"deliver_policy": DeliverPolicy.LAST_PER_SUBJECT}
            found = await self._headers(info, pattern, **start)
            if found is not None:
                positions = dict(_positions(found))
        # a subject whose newest message came after `info` is not found
        missing = [subject for subject in subjects if subject not in positions]
        return positions | await self._get(
            info, {subject: {"last_by_subj": subject} for subject in missing}
        )

    async def oldest(
        self, info: dict[str, Any], pattern: str, subjects: Iterable[str]
    ) -> dict[str, Position]:
        """The position of each subject's oldest message: with one reader for as long as what it
        reads from the beginning has many of them, then with a request for each that is left."""
        left = dict.fromkeys(subjects)
        found: dict[str, Position] = {}
        if len(left) >= _FEW and is_readable(info):
            async with aclosing(self._first_headers(info, pattern)) as batches:
                async for batch in batches:
                    before = len(found)
                    for subject, position in _positions(batch):
                        if subject in left:
                            del left[subject]
                            found[subject] = position
                    if not left or len(found) - before < len(batch) * _WORTH_READING:
                        break
        requests = {subject: {"seq": 1, "next_by_subj": subject} for subject in left}
        return found | await self._get(info, requests)

    async def recent(self, info: dict[str, Any], pattern: str) -> Recent | None:
        """What was stored in the last ten seconds, or the last 20,000 messages if they are fewer.

        None for streams that cannot be read without taking messages (WorkQueue and Interest).
        """
        state = info["state"]
        now = time_ns(info["ts"]) if "ts" in info else time.time_ns()
        seconds = float(RECENT_SECONDS)
        begin = now - int(seconds * 1e9)
        if not state["last_seq"] or time_ns(state["last_ts"]) < begin:
            return Recent({}, seconds)
        if not is_readable(info):
            return None
        start: dict[str, Any] = {
            "deliver_policy": DeliverPolicy.BY_START_TIME,
            "opt_start_time": datetime.fromtimestamp(begin / 1e9, UTC),
        }
        start_seq = int(state["last_seq"]) - _RECENT_MESSAGES + 1
        if start_seq > int(state["first_seq"]):
            first = await self.lookup(info).get({"seq": start_seq, "next_by_subj": ">"})
            if first is not None and first.time_ns > begin:
                seconds = (now - first.time_ns) / 1e9
                start = {"deliver_policy": _FROM_SEQ, "opt_start_seq": start_seq}
        found = await self._headers(info, pattern, **start)
        if found is None:
            return None
        return Recent(Counter(found.subjects), seconds)

    async def _first_headers(self, info: dict[str, Any], pattern: str) -> AsyncGenerator[Batch]:
        """The messages from the first on, without payloads; none if no reader can be opened."""
        reader = EphemeralConsumer(self._connection, str(info["config"]["name"]), [pattern])
        last = int(info["state"]["last_seq"])
        try:
            await reader.create(headers_only=True, deliver_policy=DeliverPolicy.ALL)
            async with aclosing(reader.batches(last, _FIRST_PAGE)) as batches:
                async for batch in batches:
                    yield batch
        except NatsError as error:
            if not no_consumer(self._connection, error):
                raise
        finally:
            await reader.close()

    async def _headers(self, info: dict[str, Any], pattern: str, **start: Any) -> Batch | None:
        """The messages without their payloads; None if no reader can be opened."""
        reader = EphemeralConsumer(self._connection, str(info["config"]["name"]), [pattern])
        found: list[Batch] = []
        try:
            await reader.create(headers_only=True, **start)
            async with aclosing(reader.batches(int(info["state"]["last_seq"]), PAGE)) as batches:
                found = [batch async for batch in batches]
        except NatsError as error:
            if no_consumer(self._connection, error):
                return None
            raise
        finally:
            await reader.close()
        return Batch.joined(found)

    def lookup(self, info: dict[str, Any]) -> Lookup:
        """For single messages of the stream with this info."""
        direct = bool(info["config"].get("allow_direct"))
        return Lookup(self._connection, str(info["config"]["name"]), direct=direct)

    async def _get(
        self, info: dict[str, Any], requests: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, Position]:
        lookup = self.lookup(info)
        window = Semaphore(_GETS_AT_ONCE)
        found: dict[str, Position] = {}

        async def get(subject: str, request: Mapping[str, Any]) -> None:
            async with window:
                message = await lookup.get(request)
            if message is not None:
                found[subject] = (message.seq, message.time_ns)

        await gather(*(get(subject, request) for subject, request in requests.items()))
        return found

    async def _list(self, api: str, key: str, request: dict[str, Any]) -> list[Any]:
        """All pages of a list; the first says how many there are."""
        first = await self._ask(api, {**request, "offset": 0})
        found: list[Any] = first.get(key) or []
        size, total = len(found), int(first.get("total", 0))
        window = Semaphore(_PAGES_AT_ONCE)

        async def page(offset: int) -> list[Any]:
            async with window:
                return (await self._ask(api, {**request, "offset": offset})).get(key) or []

        if size:
            for items in await gather(*map(page, range(size, total, size))):
                found += items
        return found

    async def _ask(self, api: str, request: dict[str, Any]) -> dict[str, Any]:
        ask = partial(self._connection.ask_jetstream, api, request, _TIMEOUT)
        stream = api.split(".")[2] if api.count(".") > 1 else None
        return await with_leader(self._connection, stream, ask, attempt=_TIMEOUT)


def _positions(batch: Batch) -> Iterable[tuple[str, Position]]:
    places = zip(batch.seqs, batch.times_ns, strict=True)
    return zip(batch.subjects, places, strict=True)


def is_readable(info: dict[str, Any]) -> bool:
    """Whether a reader may be opened on the stream without taking messages from others."""
    return str(info["config"].get("retention", "limits")) == "limits"
