"""Following a stream in the background, and what several views say of rates and errors."""

from __future__ import annotations

import asyncio
import time
import weakref
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import aclosing, suppress
from typing import Protocol

import pandas as pd
from nats.errors import Error as NatsError
from nats.errors import TimeoutError as NatsTimeoutError

from varco_nats._nats.client import Connection
from varco_nats.errors import Advice, VarcoNatsError
from varco_nats.history import Batch
from varco_nats.history._tail import Tail

SHOW_SECONDS = 0.1
"""A page that follows is made anew at most this often."""

_POINTS = 300  # of each rate


class Follower(Protocol):
    """What `follow` gives messages to."""

    async def on_messages(self, messages: Batch) -> None:
        """Take messages that were just stored."""

    def show_new(self) -> None:
        """Show the messages that came since the last call."""

    def on_problem(self, problem: str | None) -> None:
        """Hear why nothing can come at the moment; None when it can again."""


async def follow(
    follower_of: weakref.ref[Follower],
    connection: Connection,
    stream: str,
    subjects: list[str],
    start: int,
) -> None:
    """Give what is stored at sequence `start` and later to a follower, until it is garbage."""

    def changed() -> None:
        if (follower := follower_of()) is not None:
            follower.on_problem(tail.problem if tail.state == "reconnecting" else None)

    tail = Tail(connection, stream, subjects, on_change=changed)
    tail.next_seq = start
    news = asyncio.Event()
    showing = asyncio.create_task(_show(follower_of, news))
    try:
        async with aclosing(tail.batches()) as batches:
            async for batch in batches:
                if (follower := follower_of()) is None:
                    return
                await follower.on_messages(batch)
                del follower
                news.set()
    except Exception as error:  # nobody awaits this task
        if (follower := follower_of()) is not None:
            follower.on_problem(describe_error(error))
    finally:
        showing.cancel()
        with suppress(asyncio.CancelledError):
            await showing


async def _show(follower_of: weakref.ref[Follower], news: asyncio.Event) -> None:
    while True:
        await news.wait()
        news.clear()
        if (follower := follower_of()) is None:
            return
        follower.show_new()
        del follower
        await asyncio.sleep(SHOW_SECONDS)


class ChannelRates:
    """The rates of channels over the last minutes."""

    def __init__(self) -> None:
        self._points: dict[str, deque[tuple[float, float]]] = {}

    def add(self, rates: Mapping[str, float]) -> None:
        """Take what the rates are now; channels that are not among them are forgotten."""
        now = time.time()
        for channel, rate in rates.items():
            if not pd.isna(rate):
                points = self._points.setdefault(channel, deque(maxlen=_POINTS))
                points.append((now, float(rate)))
        for gone in self._points.keys() - set(rates):
            del self._points[gone]

    def leave_gap(self) -> None:
        """Break the lines here: nothing was polled for a while."""
        now = time.time()
        for points in self._points.values():
            points.append((now, float("nan")))

    def of(self, channels: Iterable[str]) -> dict[str, tuple[tuple[float, ...], ...]]:
        """For each channel the times, in seconds since 1970, and the rates."""
        known = [name for name in channels if name in self._points]
        return {name: tuple(zip(*self._points[name], strict=True)) for name in known}


def advice_of(error: BaseException) -> Advice | None:
    """What an error says to do, as data; None where it has none."""
    advice = getattr(error, "advice", None)
    return advice if isinstance(advice, Advice) else None


def describe_error(error: BaseException) -> str:
    """What an error says, for somebody who sees no traceback."""
    text = str(error) or type(error).__name__
    if isinstance(error, NatsTimeoutError):
        return "the server did not answer in time"
    plain = (ValueError, OSError, LookupError, RuntimeError)
    if isinstance(error, VarcoNatsError) or (
        isinstance(error, plain) and not isinstance(error, (NatsError, TimeoutError))
    ):
        return text
    return f"{type(error).__name__}: {text}"
