"""What an explorer does by itself: the live tail and the rates of the channels.

These tasks do not keep their explorer alive: it is garbage when nobody uses it, and they end.
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
from varco_nats.errors import VarcoNatsError
from varco_nats.history import StoredMessage
from varco_nats.history._tail import Tail

__all__ = ["Rates", "describe_error", "follow", "watch"]

SHOW_SECONDS = 0.1
"""A page that follows is made anew at most this often."""

_WATCH_SECONDS = 2.0
_PAUSES = 10  # times as long as the look before
_UNSEEN_SECONDS = 1.0
_POINTS = 300  # of each rate


class Follower(Protocol):
    """What `follow` gives messages to."""

    async def arrived(self, messages: list[StoredMessage]) -> None:
        """These were stored."""

    def show_arrived(self) -> None:
        """Show those that arrived since the last call."""

    def trouble(self, problem: str | None) -> None:
        """Why nothing can come at the moment; None if it can."""


class Watcher(Protocol):
    """What `watch` calls."""

    async def look(self) -> None:
        """Renew what is shown of the channels."""

    def trouble(self, problem: str | None) -> None:
        """What keeps it from looking; None if nothing does."""


async def follow(
    to: weakref.ref[Follower], connection: Connection, stream: str, subjects: list[str], start: int
) -> None:
    """Give what is stored at sequence `start` and later to a follower, until it is garbage."""

    def changed() -> None:
        if (follower := to()) is not None:
            follower.trouble(tail.problem if tail.state == "reconnecting" else None)

    tail = Tail(connection, stream, subjects, on_change=changed)
    tail.next_seq = start
    news = asyncio.Event()
    showing = asyncio.create_task(_show(to, news))
    try:
        async with aclosing(tail.batches()) as batches:
            async for batch in batches:
                if (follower := to()) is None:
                    return
                await follower.arrived(batch)
                del follower
                news.set()
    except Exception as error:  # nobody awaits this task
        if (follower := to()) is not None:
            follower.trouble(describe_error(error))
    finally:
        showing.cancel()
        with suppress(asyncio.CancelledError):
            await showing


async def _show(to: weakref.ref[Follower], news: asyncio.Event) -> None:
    while True:
        await news.wait()
        news.clear()
        if (follower := to()) is None:
            return
        follower.show_arrived()
        del follower
        await asyncio.sleep(SHOW_SECONDS)


async def watch(watcher_of: weakref.ref[Watcher], seen: asyncio.Event) -> None:
    """Have a watcher look every few seconds, until it is garbage; a lost server is waited for.

    Args:
        seen: is set while somebody sees what is shown; otherwise there is no look.
    """
    while (watcher := watcher_of()) is not None:
        if not seen.is_set():
            del watcher
            with suppress(TimeoutError):
                async with asyncio.timeout(_UNSEEN_SECONDS):
                    await seen.wait()
            continue
        begin = time.monotonic()
        try:
            await watcher.look()
            watcher.trouble(None)
        except Exception as error:  # shown, and tried again
            watcher.trouble(describe_error(error))
        del watcher
        await asyncio.sleep(pause_after(time.monotonic() - begin))


def pause_after(took: float) -> float:
    """Seconds until the next look; a server with very many channels is not asked all the time."""
    return max(_WATCH_SECONDS, _PAUSES * took)


class Rates:
    """The rates of channels over the last minutes."""

    def __init__(self) -> None:
        self._points: dict[str, deque[tuple[float, float]]] = {}

    def add(self, rates: Mapping[str, float]) -> None:
        """What they are now; channels that are not among them are forgotten."""
        now = time.time()
        for channel, rate in rates.items():
            if not pd.isna(rate):
                points = self._points.setdefault(channel, deque(maxlen=_POINTS))
                points.append((now, float(rate)))
        for gone in self._points.keys() - set(rates):
            del self._points[gone]

    def leave_gap(self) -> None:
        """Nobody looked for a while, so that the lines break here."""
        now = time.time()
        for points in self._points.values():
            points.append((now, float("nan")))

    def of(self, channels: tuple[str, ...]) -> dict[str, tuple[tuple[float, ...], ...]]:
        """For each channel the times, in seconds since 1970, and the rates."""
        known = [name for name in channels if name in self._points]
        return {name: tuple(zip(*self._points[name], strict=True)) for name in known}


def describe_error(error: BaseException) -> str:
    """What an error says, for somebody who sees no traceback."""
    text = str(error) or type(error).__name__
    plain = (VarcoNatsError, ValueError, OSError, LookupError, RuntimeError)
    if isinstance(error, plain) and not isinstance(error, (NatsError, TimeoutError)):
        return text
    return f"{type(error).__name__}: {text}"
