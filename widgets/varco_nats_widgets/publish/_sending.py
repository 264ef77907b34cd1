"""Sending a publication: block by block, at its rate, with the answer to each message."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from varco_nats._nats.puback import PubAck
from varco_nats._nats.stream import ensure_event_stream
from varco_nats.bus._batch import OutgoingMessage
from varco_nats.bus._publisher import Publisher
from varco_nats.errors import ChannelNotCapturedError, PayloadTooLargeError, PublishError
from varco_nats_widgets._session.facts import Facts
from varco_nats_widgets._session.progress import Progress
from varco_nats_widgets._session.session import Session
from varco_nats_widgets.publish._draft import Draft, NewMessage

_BLOCK = 200  # messages that are sent before their answers are waited for
_BLOCK_BYTES = 4 * 1024**2
_IN_A_ROW = 20  # messages that were refused, or got no answer, after which a run ends
_TIME = "datetime64[ns, UTC]"
_COLUMNS = {
    "started_at": _TIME,
    "ended_at": _TIME,
    "where": "str",
    "stream": "str",
    **dict.fromkeys(
        ("messages", "stored", "duplicates", "refused", "in_doubt", "unstored", "not_sent"),
        "int64",
    ),
    **dict.fromkeys(("first_seq", "last_seq"), "Int64"),
}

_logger = logging.getLogger("varco_nats")


@dataclass(frozen=True, slots=True)
class Route:
    """Where the messages of a subject go."""

    name: str
    """The channel or the subject, as it is called."""
    stream: str | None
    """The stream that stores them; None if none does."""
    durables: tuple[str, ...] | None = ()
    """The durables that get them; None where that is not known."""
    is_new: bool = False
    """Whether the stream does not exist yet, and is made by the run."""

    @property
    def text(self) -> str:
        """The same in words."""
        if self.stream is None:
            return "which no stream stores"
        stored = f"stored by stream {self.stream}"
        if self.is_new:
            return f"{stored}, which does not exist yet and is made"
        if self.durables is None:
            return f"{stored}; who handles it is not known: this login may not list consumers"
        if not self.durables:
            return f"{stored}; no durable consumer gets it"
        return f"{stored}; handled by {', '.join(self.durables)}"


@dataclass
class Outcomes:
    """What became of each message so far, by its number from 1."""

    count: int
    begun: bool = False
    next: int = 1
    """The first that was not sent."""
    stored: dict[int, int] = field(default_factory=dict)
    """The sequences of those that are stored."""
    streams: set[str] = field(default_factory=set)
    duplicates: dict[int, int] = field(default_factory=dict)
    refused: dict[int, str] = field(default_factory=dict)
    in_doubt: dict[int, str] = field(default_factory=dict)
    unstored: int = 0

    @property
    def left(self) -> int:
        """How many were not sent."""
        return self.count - self.next + 1

    @property
    def done(self) -> int:
        """How many have an answer that counts, or will get none."""
        return self.count - self.left - len(self.refused)

    def todo(self) -> list[int]:
        """Those to send: what was refused before, then the rest."""
        return [*sorted(self.refused), *range(self.next, self.count + 1)]

    def take(self, number: int) -> None:
        """Note that a message is sent now."""
        self.begun = True
        self.refused.pop(number, None)
        self.next = max(self.next, number + 1)

    def note(self, number: int, result: PubAck | PublishError, *, unclear: bool) -> None:
        """Note the answer."""
        if isinstance(result, PubAck):
            self.streams.add(result.stream)
            (self.duplicates if result.duplicate else self.stored)[number] = result.seq
        else:
            (self.in_doubt if unclear else self.refused)[number] = result.reason

    def figures(self) -> dict[str, int]:
        """How many messages have which outcome."""
        return {
            "stored": len(self.stored),
            "duplicates": len(self.duplicates),
            "refused": len(self.refused),
            "in_doubt": len(self.in_doubt),
            "unstored": self.unstored,
        }


class Publishing:
    """What the publications of one session share: a publisher, and the log of what was sent."""

    def __init__(self) -> None:
        self._log: list[dict[str, Any]] = []
        self._publisher: Publisher | None = None
        self._sending: set[asyncio.Task[Any]] = set()

    def close(self) -> None:
        """Nothing: its inbox ends with the connection."""

    async def settle(self) -> None:
        """Wait until all runs have noted what became of what they sent."""
        while self._sending:
            await asyncio.wait(self._sending)

    async def send(
        self,
        session: Session,
        draft: Draft,
        routes: Mapping[str, Route],
        outcomes: Outcomes,
        rate: float | None,
        progress: Progress,
        where: str,
    ) -> None:
        """Send what is left of a publication, and note in `outcomes` what becomes of it."""
        task = asyncio.current_task()
        assert task is not None
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)
        started, before, known = datetime.now(UTC), outcomes.figures(), set(outcomes.stored)
        progress.total, progress.done = outcomes.count, outcomes.done
        try:
            await session.wait_connected()
            if any(route.is_new for route in routes.values()):
                await ensure_event_stream(session.connection, session.settings, create=True)
            await self._send(session, draft, routes, outcomes, rate, progress)
        finally:
            now = outcomes.figures()
            new = [seq for number, seq in outcomes.stored.items() if number not in known]
            run = {name: now[name] - before[name] for name in now}
            run |= {"refused": now["refused"], "not_sent": outcomes.left}
            streams = ", ".join(sorted(outcomes.streams))
            self._log.append(
                {
                    "started_at": started,
                    "ended_at": datetime.now(UTC),
                    "where": where,
                    "stream": streams or None,
                    "messages": outcomes.count,
                    **run,
                    "first_seq": min(new, default=None),
                    "last_seq": max(new, default=None),
                }
            )
            figures = ", ".join(f"{value:,} {name}" for name, value in run.items() if value)
            place = f" in stream {streams}" if streams else ""
            _logger.info("published to %s%s: %s", where, place, figures or "nothing")

    async def _send(
        self,
        session: Session,
        draft: Draft,
        routes: Mapping[str, Route],
        outcomes: Outcomes,
        rate: float | None,
        progress: Progress,
    ) -> None:
        todo, position, in_a_row = outcomes.todo(), 0, 0
        begin = time.monotonic()
        while position < len(todo) and in_a_row < _IN_A_ROW:
            due = _BLOCK
            if rate is not None:
                await asyncio.sleep(begin + position / rate - time.monotonic())
                due = min(due, max(1, int((time.monotonic() - begin) * rate) + 1 - position))
            block: dict[int, NewMessage] = {}
            size = 0
            for number in todo[position : position + due]:
                message = block[number] = draft.message(number)
                size += message.size
                if size > _BLOCK_BYTES:
                    break
            position += len(block)
            went_well = await self._settle_block(session, block, routes, outcomes)
            in_a_row = 0 if went_well else in_a_row + len(block)
            progress.done = outcomes.done

    async def _settle_block(
        self,
        session: Session,
        block: Mapping[int, NewMessage],
        routes: Mapping[str, Route],
        outcomes: Outcomes,
    ) -> bool:
        """Send a block and note each answer; whether any message of it is stored, or was sent."""
        working = asyncio.create_task(self._send_block(session, block, routes, outcomes))
        try:
            return await asyncio.shield(working)
        except asyncio.CancelledError:  # what is on its way is settled first
            await asyncio.wait([working])
            raise

    async def _send_block(
        self,
        session: Session,
        block: Mapping[int, NewMessage],
        routes: Mapping[str, Route],
        outcomes: Outcomes,
    ) -> bool:
        kept = {n: each for n, each in block.items() if routes[each.subject].stream is not None}
        outgoing = [
            OutgoingMessage(each.subject, each.subject, each.data, each.headers or None)
            for each in kept.values()
        ]
        open_ = set(block)
        for number in block:
            outcomes.take(number)
        try:
            connection = session.connection
            for number, each in block.items():
                if number not in kept:
                    await connection.nc.publish(each.subject, each.data, headers=each.headers)
                    outcomes.unstored += 1
                    open_.discard(number)
            if len(kept) < len(block):
                await connection.nc.flush()
            publisher = await self._started(session)
            results = await publisher.publish_each(outgoing) if outgoing else []
            for number, message, result in zip(kept, outgoing, results, strict=True):
                outcomes.note(number, result, unclear=message.unclear)
                open_.discard(number)
            return len(kept) < len(block) or any(isinstance(each, PubAck) for each in results)
        except PayloadTooLargeError as error:  # nothing of the block was sent
            outcomes.refused |= dict.fromkeys(open_, error.reason)
            open_.clear()
            return False
        finally:
            for number in open_:
                outcomes.in_doubt[number] = "the run ended before an answer came"

    async def _started(self, session: Session) -> Publisher:
        if self._publisher is None:
            facts, settings = Facts(session.connection), session.settings

            async def check(subject: str) -> None:
                if not await facts.stream_names(subject):
                    raise ChannelNotCapturedError(subject, subject, settings.stream_name, ())

            publisher = Publisher(
                session.connection,
                timeout=settings.publish_timeout_seconds,
                attempts=settings.publish_attempts,
                # a message without an answer may be stored, and would be there twice
                retry_timeouts=False,
                check=check,
            )
            await publisher.start()
            self._publisher = publisher
        return self._publisher

    def frame(self) -> pd.DataFrame:
        """See `Lab.published`."""
        frame = pd.DataFrame(self._log, columns=list(_COLUMNS)).astype(_COLUMNS)
        frame.index = pd.RangeIndex(1, len(frame) + 1, name="run")
        return frame


def publishing_of(session: Session) -> Publishing:
    """The one of a session."""
    return session.shared(Publishing)
