"""Waiting for conditions instead of time, for as long as a busy machine may need."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable, Coroutine, Iterable
from typing import Any


async def until(condition: Callable[[], object], timeout: float = 60, every: float = 0.01) -> None:
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


async def side_by_side[T](
    check: Callable[[T], Coroutine[Any, Any, None]], cases: Iterable[T]
) -> None:
    """Run `check(case)` for all cases at once, as they wait for much the same.

    Raises:
        ExceptionGroup: of what failed; a note at each failure says in which case.
    """
    checks = [(case, asyncio.create_task(check(case))) for case in cases]
    try:
        await asyncio.wait([task for _, task in checks])
    finally:
        for _, task in checks:
            task.cancel()
    failures = []
    for case, task in checks:
        if error := task.exception():
            error.add_note(f"in the case {case}")
            failures.append(error)
    if failures:
        raise BaseExceptionGroup(f"{len(failures)} of {len(checks)} cases failed", failures)


def wait_until(condition: Callable[[], object], timeout: float = 60) -> None:
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
