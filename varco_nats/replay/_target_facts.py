"""Asks the target of a plan what its channels hold and who consumes them; changes nothing."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from difflib import get_close_matches
from functools import partial
from typing import Any, Self

from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError

from varco_nats._nats.client import Connection
from varco_nats._nats.direct import moment, time_ns
from varco_nats._nats.leader import with_leader
from varco_nats._nats.reading_consumer import READER
from varco_nats._nats.stream import covers
from varco_nats._nats.takeover import MOVED_TO
from varco_nats.errors import PermissionDeniedError, VarcoNatsError
from varco_nats.history._lookup import subject_counts
from varco_nats.replay._context import ReplayContext
from varco_nats.replay._plan import PlannedReplay, ReplayDecision
from varco_nats.replay._target import (
    ChannelFacts,
    PlannedConsumer,
    PlannedTarget,
    StreamFacts,
    judged,
    too_many,
    too_much,
)

_WAIT_SECONDS = 5.0  # a cluster answers after 4 s where a server of it does not
_FEW_SUBJECTS = 1000  # of a stream, which are listed with one request
_ASKED_SINGLY = 100  # channels
_AT_ONCE = 20

type Info = dict[str, Any]
"""What the server says of a consumer or a stream."""


class TargetFacts:
    """Asks in the background from the moment it is entered; `targets` waits for the answers.

    No failure of it is raised: what could not be asked is said to be unknown.
    """

    def __init__(self, context: ReplayContext) -> None:
        self._context = context
        self._stream = context.target.stream_name
        self._stack = AsyncExitStack()
        self._connection: Connection | None = None
        self._info: Info | None = None
        self._exists = True
        self._consumers = _Consumers([])
        self._unknown = ""

    async def __aenter__(self) -> Self:
        self._asked = asyncio.create_task(self._ask())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._asked.cancel()
        with suppress(asyncio.CancelledError):
            await self._asked
        await self._stack.aclose()

    async def targets(self, rows: Iterable[PlannedReplay]) -> tuple[PlannedTarget, ...]:
        """One for each channel that the rows go to, the most messages first."""
        going = [row for row in rows if row.decision is ReplayDecision.REPLAY]
        counts = Counter(row.to for row in going).most_common()
        if not counts:
            return ()
        own = {row.to for row in going if row.entry_id is not None and row.to == row.channel}
        await self._asked
        subjects = {channel: self._context.target.subject_name(channel) for channel, _ in counts}
        held, consumers = await self._held(subjects.values()), self._consumers
        found = {subject: consumers.of(subject) for subject in subjects.values()}
        lonely = [subject for subject, infos in found.items() if not infos]
        renamed: dict[str, list[str]] = {}
        copies_unknown = False
        if lonely and self._exists and not self._unknown:
            copies_unknown = not await self._add_copies(lonely, found, renamed)
        came_from = own if own and await self._context.shares_queue() else set()
        stream = self._stream_facts(copies_unknown)
        known = [*map(self._context.target.channel_from_subject, held or {})]

        def target(channel: str, count: int) -> PlannedTarget:
            subject = subjects[channel]
            messages = None if held is None else held.get(subject, 0)
            patterns = (subject,) if stream.subjects is None else stream.subjects
            proven = channel in came_from or consumers.has_delivered(subject)
            facts = ChannelFacts(
                channel=channel,
                count=count,
                messages=messages,
                consumers=tuple(_planned(info, self._stream) for info in found[subject]),
                captured=any(covers(pattern, subject) for pattern in patterns),
                named=consumers.is_named(subject),
                proven=proven,
                renamed_by=tuple(renamed.get(subject, ())),
                similar="" if messages or proven else _most_like(channel, known),
            )
            return judged(facts, stream)

        first, *others = (target(channel, count) for channel, count in counts)
        size = sum(len(row.payload) for row in going)
        dropped = (
            too_many(self._stream, self._newest("max_msgs"), len(going)),
            too_much(self._stream, self._newest("max_bytes"), size),
        )
        if any(dropped):
            said = "; ".join(filter(None, (first.warning, *dropped)))
            first = replace(first, warning=said)
        return (first, *others)

    def _newest(self, limit: str) -> int:
        """To how many messages or bytes it drops older ones for new ones; 0 if it drops none."""
        config = self._info["config"] if self._info else {}
        drops = config.get("discard") != "new"
        return max(int(config.get(limit) or 0), 0) if drops else 0

    async def _ask(self) -> None:
        try:
            target = self._context.target_connection()
            self._connection = await self._stack.enter_async_context(target)
            await asyncio.gather(self._ask_stream(), self._ask_consumers())
        except (VarcoNatsError, NatsError, OSError) as error:
            self._unknown = _reason(error)

    async def _ask_stream(self) -> None:
        try:
            self._info = await self._api(f"STREAM.INFO.{self._stream}", {})
        except NotFoundError:
            self._exists = False
        except (VarcoNatsError, NatsError, OSError):
            return  # what it holds stays unknown
        if self._info is not None and self._info["config"].get("subject_transform"):
            self._unknown = f"stream {self._stream!r} stores them under other subjects"

    async def _ask_consumers(self) -> None:
        try:
            found, silent = await self._list(f"CONSUMER.LIST.{self._stream}", "consumers")
        except NotFoundError:
            return
        except (VarcoNatsError, NatsError, OSError) as error:
            self._unknown = _reason(error)
            return
        self._consumers = _Consumers(found)
        if silent:
            self._unknown = f"the server did not say what {', '.join(silent[:5])} consumes"

    async def _held(self, subjects: Collection[str]) -> dict[str, int] | None:
        """How many messages each subject has; None if that is not known."""
        if not self._exists:
            return {}
        if self._info is None or self._connection is None:
            return None
        if self._info["config"].get("subject_transform"):  # they are under other subjects
            return None
        state = self._info["state"]
        if not state.get("messages"):
            return {}
        few = int(state.get("num_subjects") or 0) <= _FEW_SUBJECTS
        try:
            if few or len(subjects) > _ASKED_SINGLY:
                every = self._context.target.wildcard_subject()
                return await subject_counts(self._connection, self._stream, every)
            limit = asyncio.Semaphore(_AT_ONCE)
            return dict(await asyncio.gather(*(self._count(each, limit) for each in subjects)))
        except (VarcoNatsError, NatsError, OSError):
            return None

    async def _count(self, subject: str, limit: asyncio.Semaphore) -> tuple[str, int]:
        async with limit:
            request = {"subjects_filter": subject}
            info = await self._api(f"STREAM.INFO.{self._stream}", request)
        return subject, int((info["state"].get("subjects") or {}).get(subject, 0))

    async def _add_copies(
        self, subjects: Sequence[str], found: dict[str, list[Info]], renamed: dict[str, list[str]]
    ) -> bool:
        """Add the consumers of streams that copy these subjects; False if that is not known."""
        try:
            for info in (await self._list("STREAM.LIST", "streams"))[0]:
                copied = {subject: _copied(info, self._stream, subject) for subject in subjects}
                if not any(copied.values()):
                    continue
                name = str(info["config"]["name"])
                consumers = _Consumers((await self._list(f"CONSUMER.LIST.{name}", "consumers"))[0])
                for subject, how in copied.items():
                    if how == "same":
                        found[subject] += consumers.of(subject)
                    elif how:
                        renamed.setdefault(subject, []).append(name)
        except (VarcoNatsError, NatsError, OSError):
            return False
        return True

    def _stream_facts(self, copies_unknown: bool) -> StreamFacts:
        if self._info is None:
            return StreamFacts(self._stream, exists=self._exists, unknown=self._unknown)
        config, state = self._info["config"], self._info["state"]
        return StreamFacts(
            self._stream,
            subjects=tuple(config.get("subjects") or ()),
            only_with_interest=config.get("retention") == "interest",
            complete=int(state["first_seq"]) <= 1 and not state.get("num_deleted"),
            unknown=self._unknown,
            copies_unknown=copies_unknown,
            newest_of_subject=self._newest("max_msgs_per_subject"),
        )

    async def _list(self, api: str, key: str) -> tuple[list[Info], list[str]]:
        """All pages of a list, and the names of those that did not answer in the cluster."""
        found: list[Info] = []
        silent: list[str] = []
        while True:
            answer = await self._api(api, {"offset": len(found) + len(silent)})
            page = answer.get(key) or []
            missing = answer.get("missing") or []
            found += page
            silent += missing
            if not (page or missing) or len(found) + len(silent) >= int(answer.get("total") or 0):
                return found, silent

    async def _api(self, api: str, request: Info) -> Info:
        connection = self._connection
        assert connection is not None
        ask = partial(connection.ask_jetstream, api, request, _WAIT_SECONDS)
        return await with_leader(
            connection, self._stream, ask, wait=2 * _WAIT_SECONDS, attempt=_WAIT_SECONDS
        )


class _Consumers:
    """The consumers of a stream, found by the subjects that they get."""

    def __init__(self, infos: Iterable[Info]) -> None:
        self._by_subject: defaultdict[str, list[Info]] = defaultdict(list)
        self._by_pattern: defaultdict[str, list[Info]] = defaultdict(list)
        for info in infos:
            config = info["config"]
            if config.get("description") == READER or MOVED_TO in (config.get("metadata") or {}):
                continue  # shows messages, or only says where a durable went
            for pattern in _filters(info):
                wild = "*" in pattern or ">" in pattern
                (self._by_pattern if wild else self._by_subject)[pattern].append(info)

    def of(self, subject: str) -> list[Info]:
        """Those that get its messages, once each, by name."""
        found = list(self._by_subject.get(subject, ()))
        for pattern, infos in self._by_pattern.items():
            if covers(pattern, subject):
                found += infos
        return sorted({info["name"]: info for info in found}.values(), key=lambda i: str(i["name"]))

    def is_named(self, subject: str) -> bool:
        """Whether a consumer asks for just this subject."""
        return subject in self._by_subject

    def has_delivered(self, subject: str) -> bool:
        """Whether a consumer of nothing but this subject was sent a message."""
        return any(
            _filters(info) == [subject] and int(info["delivered"]["consumer_seq"]) > 0
            for info in self._by_subject.get(subject, ())
        )


def _filters(info: Info) -> list[str]:
    config = info["config"]
    single = config.get("filter_subject")
    return [single] if single else list(config.get("filter_subjects") or [">"])


def _planned(info: Info, stream: str) -> PlannedConsumer:
    delivered, floor = info["delivered"], info["ack_floor"]
    times = [time_ns(part["last_active"]) for part in (delivered, floor) if part.get("last_active")]
    on = str(info.get("stream_name") or "")
    return PlannedConsumer(
        name=str(info["name"]),
        last_active=moment(max(times)) if times else None,
        waiting=int(info.get("num_pending") or 0),
        unacknowledged=int(info.get("num_ack_pending") or 0),
        paused=bool(info.get("paused")),
        active=bool(info.get("num_waiting") or info.get("push_bound")),
        delivered=int(delivered.get("consumer_seq") or 0),
        durable=bool(info["config"].get("durable_name")),
        stream="" if on == stream else on,
        asked_at=moment(time_ns(info["ts"])) if info.get("ts") else None,
    )


def _copied(info: Info, stream: str, subject: str) -> str:
    """Whether a stream copies the subject from `stream`: "same", "renamed", or "" for no."""
    config = info["config"]
    for source in [config.get("mirror") or {}, *(config.get("sources") or [])]:
        if source.get("name") != stream or source.get("external"):
            continue  # `external` is a stream of that name in another domain or account
        transforms = source.get("subject_transforms") or []
        for each in transforms:
            if covers(each.get("src") or ">", subject):
                return "same" if each.get("dest") in (None, "", each.get("src")) else "renamed"
        if not transforms and covers(source.get("filter_subject") or ">", subject):
            return "same"
    return ""


def _most_like(channel: str, known: Sequence[str]) -> str:
    """The channel whose name is most like this one, "" if none is."""
    return next(iter(get_close_matches(channel, known, n=1)), "")


def _reason(error: Exception) -> str:
    if isinstance(error, PermissionDeniedError):
        return "this login may not list consumers"
    return str(error) or type(error).__name__
