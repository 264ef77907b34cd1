"""`run`: waiting in plain code for what runs on the event loop of the same thread.

Only this module uses nest-asyncio. It changes asyncio for the whole process, so it is applied only
if a loop runs in the calling thread, as it does under every cell of a notebook.
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

    It is for objects that belong to the notebook's own loop, in places where `await` is not
    allowed, such as a plain function or a button's callback. In a cell, `await` is better. The
    methods of `Lab` do not need it.

    If a loop runs in this thread, as in a notebook, nest-asyncio makes it re-entrant for the rest
    of the process, which slows its tasks down. If none runs, as in a script, one loop is used for
    all calls of a thread. An interrupt cancels the work and is raised.

    Raises:
        RuntimeError: the loop cannot be nested (uvloop), or belongs to a `Lab`'s own thread, as in
            an event handler.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return _own_runner().run(_wait(awaitable))
    problem = None
    if is_loop_of_a_thread(loop):
        problem = "this is a Lab's own thread, as in an event handler: use await instead of run()"
    elif not isinstance(loop, asyncio.BaseEventLoop):
        problem = f"{type(loop).__module__} cannot be nested: use await instead of run()"
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
    """nest_asyncio2 if it is installed, as with ipykernel 7, where nest_asyncio loses cells."""
    patched_by_first = hasattr(asyncio, "_nest_patched") and not hasattr(asyncio, "_nest_asyncio2")
    second = not patched_by_first and find_spec("nest_asyncio2") is not None
    return import_module("nest_asyncio2" if second else "nest_asyncio")


class _KeptRunner:
    """A loop for the calls in one thread, closed at the end of the thread or the process."""

    def __init__(self) -> None:
        # without a factory it would reset asyncio's loop of a thread that is gone already
        self.runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        weakref.finalize(self, _close, self.runner)


_of_thread = threading.local()


def _own_runner() -> asyncio.Runner:
    if not hasattr(_of_thread, "kept"):
        _of_thread.kept = _KeptRunner()
    runner: asyncio.Runner = _of_thread.kept.runner
    return runner


def _close(runner: asyncio.Runner) -> None:
    if not sys.is_finalizing():
        runner.close()
