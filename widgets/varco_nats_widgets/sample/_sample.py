"""A made-up shop that fills channels with realistic events: for notebooks, tests and benchmarks.

lab = Lab()
fill(lab, 1000)             # a thousand orders with their payments and shipments
lab.frame("orders")
with traffic(lab, rate=50):  # and fifty events a second while you watch
    ...
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial
from itertools import batched, islice
from math import inf
from typing import Any, Self, TypedDict, Unpack, overload
from weakref import WeakKeyDictionary

import pandas as pd
from varco_core.event.dlq import DeadLetterEntry

from varco_nats._json import FastJsonEventSerializer
from varco_nats._nats.provenance import MESSAGE_ID
from varco_nats._nats.stream import check_captured, ensure_event_stream
from varco_nats.bus._batch import OutgoingMessage
from varco_nats.bus._publisher import Publisher
from varco_nats.dlq._codec import DlqNames, encode
from varco_nats.dlq._stream import ensure_dlq_stream
from varco_nats.errors import PublishManyError, VarcoNatsError
from varco_nats_widgets._session.session import Session
from varco_nats_widgets.lab import Lab, LabAio
from varco_nats_widgets.sample._failures import failures
from varco_nats_widgets.sample._shop import SampleMessage, Shop, shop_messages

_logger = logging.getLogger("varco_nats")

_BATCH = 5000
_TICK_SECONDS = 0.02
_STOP_SECONDS = 2.0
_ORDER_PLACED = b'{"__event_type__": "shop.order.placed"'

type Progress = Callable[[int, int], None]


class NotLocalServerError(VarcoNatsError, RuntimeError):
    """Sample events are not published to a server that the lab did not start itself.

    Attributes:
        server: the server that the lab is connected to, without credentials.
        stream: the stream that the events would have gone to.
    """

    def __init__(self, server: str, stream: str) -> None:
        self.server = server
        self.stream = stream
        super().__init__(
            f"this lab is connected to {server}, which it did not start: sample events would stay "
            f"in its stream {stream!r}, and services there would handle them. Use Lab() without "
            "VARCO_NATS_SERVERS for a server of its own, or pass force=True to publish them there"
        )


class _FillOptions(TypedDict, total=False):
    seed: int
    broken: bool
    force: bool
    progress: Progress | None


@overload
def fill(lab: Lab, orders: int = 1000, **options: Unpack[_FillOptions]) -> pd.DataFrame: ...


@overload
def fill(
    lab: LabAio, orders: int = 1000, **options: Unpack[_FillOptions]
) -> Coroutine[Any, Any, pd.DataFrame]: ...


def fill(
    lab: Lab | LabAio,
    orders: int = 1000,
    *,
    seed: int = 7,
    broken: bool = True,
    force: bool = False,
    progress: Progress | None = None,
) -> pd.DataFrame | Coroutine[Any, Any, pd.DataFrame]:
    """Publish the events of a `Shop` into the lab's stream, which is created if it is missing.

    Another call publishes the same events again, with the same `event_id` and `timestamp`.

    Args:
        lab: a `Lab`, or its `aio` to await: `await fill(lab.aio)`.
        orders: how many orders, from 1; each leads to about 4.3 messages.
        seed: the seed of the shop.
        broken: whether the channel `audit` gets broken messages.
        force: publish even to a server that the lab did not start itself.
        progress: called with (orders placed, orders) every 5,000 messages and at the end, on the
            lab's thread.

    Returns:
        What was published: index `channel`; columns `messages`, `bytes` (of payload), `broken`.

    Raises:
        ReadOnlyError: the lab only looks.
        NotLocalServerError: the lab did not start its server, and `force` is not set.
        StreamMismatchError, StreamNotFoundError: the stream cannot be used.
        PublishManyError: of some messages it is not known whether they are stored; all those
            before them are.
        ValueError: `orders` is below 1.

    Example:
        fill(lab, 100_000, progress=lambda done, orders: print(f"{done / orders:.0%}", end="\\r"))
    """
    session = lab.__lab_handle__.session
    messages = Shop(seed, broken=broken).orders(orders)
    _check_local(session, force)
    filling = session.call(_fill(session, messages, orders, progress))
    return filling.wait_async() if isinstance(lab, LabAio) else filling.wait()


async def _fill(
    session: Session, messages: Iterable[SampleMessage], orders: int, progress: Progress | None
) -> pd.DataFrame:
    publisher = await _publisher(session)
    counts: dict[str, list[int]] = {}
    placed = 0
    batches = batched(messages, _BATCH)
    while batch := await asyncio.to_thread(next, batches, ()):  # making them would block the loop
        await publisher.publish_many(_outgoing(session, batch))
        for message in batch:
            count = counts.setdefault(message.channel, [0, 0, 0])
            count[0] += 1
            count[1] += len(message.payload)
            count[2] += message.broken is not None
            placed += message.payload.startswith(_ORDER_PLACED)
        if progress is not None:
            progress(placed, orders)
    names = sorted(counts)
    index = pd.Index(names, name="channel", dtype="str")
    columns = ["messages", "bytes", "broken"]
    return pd.DataFrame([counts[name] for name in names], index=index, columns=columns)


@overload
def fill_dead_letters(
    lab: Lab, count: int = 1000, *, seed: int = 7, force: bool = False
) -> pd.DataFrame: ...


@overload
def fill_dead_letters(
    lab: LabAio, count: int = 1000, *, seed: int = 7, force: bool = False
) -> Coroutine[Any, Any, pd.DataFrame]: ...


def fill_dead_letters(
    lab: Lab | LabAio, count: int = 1000, *, seed: int = 7, force: bool = False
) -> pd.DataFrame | Coroutine[Any, Any, pd.DataFrame]:
    """Put the dead letters of a bad night into the lab's queue, see `failures`.

    Args:
        lab: a `Lab`, or its `aio` to await.
        count: how many, from 0.
        seed: of the night.
        force: also into a queue on a server that the lab did not start itself.

    Returns:
        What was put there: index `error_type`; columns `entries`, `channel`.

    Raises:
        ReadOnlyError, NotLocalServerError, StreamMismatchError, PublishManyError: as in `fill`.
        ValueError: `count` is negative.
    """
    session = lab.__lab_handle__.session
    entries = failures(count, seed)
    _check_local(session, force)
    filling = session.call(_fill_dead_letters(session, entries))
    return filling.wait_async() if isinstance(lab, LabAio) else filling.wait()


async def _fill_dead_letters(session: Session, entries: Iterable[DeadLetterEntry]) -> pd.DataFrame:
    publisher, names = await _publisher(session), DlqNames.of(session.settings)
    await ensure_dlq_stream(session.connection, session.settings, names)
    counts: Counter[tuple[str, str]] = Counter()
    batches = batched(entries, _BATCH)
    while batch := await asyncio.to_thread(next, batches, ()):
        await publisher.publish_many(
            [
                OutgoingMessage(
                    entry.channel,
                    names.subject(entry.entry_id, entry.channel),
                    encode(entry, FastJsonEventSerializer()),
                    {MESSAGE_ID: str(entry.entry_id)},
                )
                for entry in batch
            ]
        )
        counts.update((entry.error_type, entry.channel) for entry in batch)
    rows = [(channel, number) for (_, channel), number in counts.most_common()]
    index = pd.Index([kind for (kind, _), _ in counts.most_common()], name="error_type")
    return pd.DataFrame(rows, index=index, columns=["channel", "entries"])


def traffic(
    lab: Lab,
    rate: float = 50,
    seconds: float | None = None,
    *,
    seed: int | None = None,
    broken: bool = True,
    force: bool = False,
) -> Traffic:
    """Publish the events of a `Shop` in the background, with the current time as `timestamp`.

    It goes on until `stop()`, the end of a `with` block, or `lab.close()`, and survives a restart
    of the server.

    Args:
        lab: the lab to publish with.
        rate: messages a second. After a pause it catches up by at most one second of them.
        seconds: for how long; None means until it is stopped.
        seed: the seed of the shop; None means a different one each time, so that no id repeats.
        broken: whether the channel `audit` gets broken messages.
        force: publish even to a server that the lab did not start itself.

    Raises:
        ReadOnlyError: the lab only looks.
        NotLocalServerError: the lab did not start its server, and `force` is not set.
        StreamMismatchError, StreamNotFoundError: the stream cannot be used.
        ValueError: `rate` or `seconds` is not above 0.

    Example:
        with traffic(lab, rate=100) as busy:
            time.sleep(10)
        busy.published
    """
    if not rate > 0 or not (seconds is None or seconds > 0):
        raise ValueError(f"rate and seconds must be above 0, not {rate!r} and {seconds!r}")
    session = lab.__lab_handle__.session
    _check_local(session, force)
    publisher = session.call(_publisher(session)).wait()
    seed = random.SystemRandom().getrandbits(32) if seed is None else seed
    messages = shop_messages(seed, broken=broken, clock=lambda _: datetime.now(UTC))
    work = _Traffic(session, publisher, messages, rate, inf if seconds is None else seconds)
    return Traffic(lab, work, seed)


class Traffic:
    """Events that are published in the background; made by `traffic`."""

    def __init__(self, lab: Lab, work: _Traffic, seed: int) -> None:
        self.seed = seed
        """The seed of the shop that the events come from."""
        self._lab = lab  # a lab that is garbage closes
        self._work = work
        self._loop = lab.__lab_handle__.session.loop
        self._future = self._loop.submit(work.run())

    def __repr__(self) -> str:
        return f"Traffic({self._work.rate:g}/s{'' if self.running else ', stopped'})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def published(self) -> int:
        """Messages stored so far."""
        return self._work.published

    @property
    def failed(self) -> int:
        """Messages that may not be stored, because the server was away."""
        return self._work.failed

    @property
    def running(self) -> bool:
        """Whether it still publishes."""
        return not self._future.done()

    def stop(self) -> None:
        """End it and wait until it has ended; in a handler of the lab, do not wait.

        A second call does nothing. If an error ended it before, that error is raised.
        """
        self._work.stopping = True
        if self._loop.is_current:
            return
        try:
            with suppress(CancelledError):  # by lab.close()
                self._future.result(_STOP_SECONDS)
        except TimeoutError:
            if self._future.done():  # the error is what ended it
                raise
            self._future.cancel()  # the server does not answer


@dataclass
class _Traffic:
    """The work of `Traffic`, on the lab's loop; it holds no reference that keeps the lab open."""

    session: Session
    publisher: Publisher
    messages: Iterator[SampleMessage]
    rate: float
    seconds: float
    published: int = 0
    failed: int = 0
    stopping: bool = False

    async def run(self) -> None:
        try:
            await self._run()
        except Exception:
            _logger.exception("sample traffic of Lab(%s) ended", self.session.label)
            raise

    async def _run(self) -> None:
        clock = asyncio.get_running_loop().time
        start = clock()
        elapsed, due = 0.0, 0
        while elapsed < self.seconds and not self.stopping and not self.session.closed:
            await asyncio.sleep(_TICK_SECONDS)
            elapsed = min(clock() - start, self.seconds)
            before, due = due, int(elapsed * self.rate)
            count = min(due - before, max(1, int(self.rate)))
            if count:
                await self._publish(list(islice(self.messages, count)))

    async def _publish(self, messages: list[SampleMessage]) -> None:
        try:
            await self.publisher.publish_many(_outgoing(self.session, messages))
            self.published += len(messages)
        except PublishManyError as error:
            self.published += error.stored
            self.failed += len(error.failures)
            _logger.debug("sample traffic: %s", error)


def _check_local(session: Session, force: bool) -> None:
    session.check_may_change("publish sample events")
    if not session.is_local and not force:
        raise NotLocalServerError(session.label, session.settings.stream_name)


_publishers: WeakKeyDictionary[Session, Publisher] = WeakKeyDictionary()


async def _publisher(session: Session) -> Publisher:
    """The publisher on the session's connection, made once; its stream exists."""
    connection, settings = session.connection, session.settings
    await ensure_event_stream(connection, settings, create=settings.auto_create_stream)
    publisher = _publishers.get(session)
    if publisher is None:
        # without message ids, a second attempt after a timeout could store a second copy
        publisher = _publishers[session] = Publisher(
            connection,
            timeout=settings.publish_timeout_seconds,
            attempts=settings.publish_attempts,
            retry_timeouts=False,
            check=partial(check_captured, connection, settings, again=True, wait=0),
        )
        await publisher.start()
    return publisher


def _outgoing(session: Session, messages: Iterable[SampleMessage]) -> list[OutgoingMessage]:
    subject_of = cache(session.settings.subject_name)
    return [
        OutgoingMessage(
            message.channel, subject_of(message.channel), message.payload, message.headers
        )
        for message in messages
    ]
