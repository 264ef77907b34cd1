"""Tasks that go on by themselves: following a stream, and polling what a view shows.

They do not keep alive what they work for: when that is garbage, they end.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from collections import deque
from collections.abc import Mapping
from contextlib import aclosing, suppress
from typing import Protocol

import pandas as pd
from nats.errors import Error as NatsError

from varco_nats._nats.client import Connection
from varco_nats.errors import Advice, VarcoNatsError
from varco_nats.history import StoredMessage
from varco_nats.history._tail import Tail

__all__ = ["ChannelRates", "advice_of", "describe_error", "follow", "poll"]

SHOW_SECONDS = 0.1
"""A page that follows is made anew at most this often."""

_POLL_SECONDS = 2.0
_PAUSES = 10  # times as long as the poll before
_HIDDEN_SECONDS = 1.0
_POINTS = 300  # of each rate


class Follower(Protocol):
    """What `follow` gives messages to."""

    async def on_messages(self, messages: list[StoredMessage]) -> None:
        """Take messages that were just stored."""

    def show_new(self) -> None:
        """Show the messages that came since the last call."""

    def on_problem(self, problem: str | None) -> None:
        """Hear why nothing can come at the moment; None when it can again."""


class Poller(Protocol):
    """What `poll` calls."""

    async def poll(self) -> None:
        """Ask the server again, and show what it says."""

    def on_problem(self, problem: str | None) -> None:
        """Hear why that failed; None when it did not."""


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


async def poll(poller_of: weakref.ref[Poller], visible: asyncio.Event) -> None:
    """Have a poller poll every few seconds, until it is garbage; an error is shown to it.

    Args:
        visible: is set while a view is in sight; otherwise nothing is asked.
    """
    while (poller := poller_of()) is not None:
        if not visible.is_set():
            del poller
            with suppress(TimeoutError):
                async with asyncio.timeout(_HIDDEN_SECONDS):
                    await visible.wait()
            continue
        begin = time.monotonic()
        try:
            await poller.poll()
            poller.on_problem(None)
        except Exception as error:  # shown, and tried again
            poller.on_problem(describe_error(error))
        del poller
        await asyncio.sleep(pause_after(time.monotonic() - begin))


def pause_after(took: float) -> float:
    """Seconds until the next poll; a server with very many channels is not asked all the time."""
    return max(_POLL_SECONDS, _PAUSES * took)


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

    def of(self, channels: tuple[str, ...]) -> dict[str, tuple[tuple[float, ...], ...]]:
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
    plain = (VarcoNatsError, ValueError, OSError, LookupError, RuntimeError)
    if isinstance(error, plain) and not isinstance(error, (NatsError, TimeoutError)):
        return text
    return f"{type(error).__name__}: {text}"
