"""`run`: the bridge from plain code to objects on this thread's own event loop.

The one place where nest-asyncio is used: it changes asyncio for the whole process, so it is
applied only when a loop runs in the calling thread, which plain code in a cell cannot avoid.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import weakref
from collections.abc import Awaitable
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from varco_nats_widgets._session.loop import is_loop_of_a_thread


def run[T](awaitable: Awaitable[T]) -> T:
    """Wait for `awaitable` from plain code, on the event loop of this thread.

    For objects that belong to the notebook's own loop, in places where `await` cannot stand, such
    as a plain function or a button's callback; in a cell `await` is better. `Lab` needs none of it.

    Where a loop runs in this thread, as in a notebook, it is made re-entrant by nest-asyncio for
    the rest of the process, which makes tasks slower, as they are then Python's and not C's. Where
    none runs, as in a script, one loop is kept for all calls of a thread. An interrupt cancels
    the work and is raised.

    Raises:
        RuntimeError: the loop cannot be nested (uvloop), or is the one of a `Lab`'s own thread,
            as in an event handler.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return _own_runner().runner.run(_wait(awaitable))
    problem = None
    if is_loop_of_a_thread(loop):
        problem = "this is a Lab's own thread, as in an event handler: write await instead"
    elif not isinstance(loop, asyncio.BaseEventLoop):
        problem = f"{type(loop).__module__} cannot be nested: write await instead of run()"
    if problem is not None:
        if asyncio.iscoroutine(awaitable):
            awaitable.close()
        raise RuntimeError(problem)
    return _run_nested(loop, awaitable)


def _run_nested[T](loop: asyncio.AbstractEventLoop, awaitable: Awaitable[T]) -> T:
    if not hasattr(loop, "_nest_patched"):
        _nest_module().apply(loop)
    task = asyncio.ensure_future(_wait(awaitable), loop=loop)
    try:
        return loop.run_until_complete(task)
    except BaseException:
        if not task.done():  # an interrupt ends the nested run, not the task
            task.cancel()
            loop.run_until_complete(asyncio.wait([task]))
        raise


async def _wait[T](awaitable: Awaitable[T]) -> T:
    return await awaitable


def _nest_module() -> ModuleType:
    """nest_asyncio2 where it is there, as ipykernel 7 brings it: nest_asyncio loses cells there."""
    patched_by_first = hasattr(asyncio, "_nest_patched") and not hasattr(asyncio, "_nest_asyncio2")
    second = not patched_by_first and find_spec("nest_asyncio2") is not None
    return import_module("nest_asyncio2" if second else "nest_asyncio")


class _KeptRunner:
    """A loop for the calls in one thread; closed with the thread or the process."""

    def __init__(self) -> None:
        self.runner = asyncio.Runner()
        weakref.finalize(self, _close, self.runner)


class _Runners(threading.local):
    kept: _KeptRunner | None = None


_runners = _Runners()


def _own_runner() -> _KeptRunner:
    if _runners.kept is None:
        _runners.kept = _KeptRunner()
    return _runners.kept


def _close(runner: asyncio.Runner) -> None:
    if not sys.is_finalizing():
        runner.close()
