"""Waiting for conditions instead of time."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable


async def until(condition: Callable[[], object], timeout: float = 20, every: float = 0.01) -> None:
    """Wait until `condition()`, which may be a coroutine, gives what counts as true.

    Raises:
        AssertionError: it was not within `timeout` seconds.
    """
    try:
        async with asyncio.timeout(timeout):
            while True:
                result = condition()
                if await result if inspect.isawaitable(result) else result:
                    return
                await asyncio.sleep(every)
    except TimeoutError:
        raise AssertionError(
            f"not true within {timeout} s: {inspect.getsource(condition)}"
        ) from None


def wait_until(condition: Callable[[], object], timeout: float = 20) -> None:
    """Wait, where no event loop runs, until `condition()` gives what counts as true.

    Raises:
        AssertionError: it was not within `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, (
            f"not true within {timeout} s: {inspect.getsource(condition)}"
        )
        time.sleep(0.01)
