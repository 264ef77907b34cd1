"""A thread with its own event loop, so that a busy notebook cell never stalls a connection."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any

_logger = logging.getLogger("varco_nats")

_END_SECONDS = 5.0  # how long `close` waits for what cannot be cancelled

_loops: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()


def is_loop_of_a_thread(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether `loop` belongs to a `LoopThread`."""
    return loop in _loops


class LoopThread:
    """Runs coroutines for any thread. It ends with `close()`, or when it is garbage."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        _loops.add(self._loop)
        # the thread must not refer to self, or self would never be garbage
        self._thread = threading.Thread(target=_serve, args=(self._loop,), name=name, daemon=True)
        self._thread.start()
        self._finalizer = weakref.finalize(self, _stop, self._loop)

    @property
    def is_current(self) -> bool:
        """Whether the caller runs on this thread."""
        return threading.current_thread() is self._thread

    @property
    def is_closed(self) -> bool:
        return not self._finalizer.alive

    def submit[T](self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Start `coroutine` on the thread; cancelling the future cancels it.

        Raises:
            RuntimeError: it is closed.
        """
        if self.is_closed:
            coroutine.close()
            raise RuntimeError(f"{self._thread.name} is closed")
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def run[T](
        self,
        coroutine: Coroutine[Any, Any, T],
        watch: Callable[[Future[T]], object] | None = None,
    ) -> T:
        """Run `coroutine` on the thread and wait for it.

        An interrupt (Ctrl-C, or the kernel's stop button) cancels it and is raised.

        Args:
            watch: called with the future at once; an exception from it cancels the coroutine too.

        Raises:
            RuntimeError: the thread is closed, or calls this itself and would wait for itself.
        """
        if self.is_current:
            coroutine.close()
            raise RuntimeError(
                f"this runs on the thread {self._thread.name}, which cannot wait for itself; "
                "in an event handler await the twin under .aio instead"
            )
        try:
            future = self.submit(coroutine)
            if watch is not None:
                watch(future)
            return future.result()
        except BaseException:
            # not by its future: an interrupt may come before submit() has returned that
            with contextlib.suppress(RuntimeError):  # it is closed, and everything is cancelled
                self._loop.call_soon_threadsafe(_cancel, coroutine)
            raise

    def close(self) -> None:
        """Cancel what runs and end the thread; a second call does nothing.

        What runs in another thread for it, such as a decoder, cannot be cancelled. After some
        seconds it is left to itself, with a warning, and the thread ends when it has ended.
        """
        if self._finalizer.detach() is None:
            return
        _stop(self._loop)
        if self.is_current:
            return
        self._thread.join(_END_SECONDS)
        if self._thread.is_alive():
            _logger.warning(
                "%s was closed, but still runs: something does not end, such as a decoder",
                self._thread.name,
            )


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        try:
            loop.run_until_complete(_cancel_all())
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            asyncio.set_event_loop(None)
            loop.close()


def _cancel(coroutine: Coroutine[Any, Any, object]) -> None:
    for task in asyncio.all_tasks():
        if task.get_coro() is coroutine:
            # after it has begun, as otherwise the coroutines inside it would never be awaited
            task.get_loop().call_soon(task.cancel)
            return
    coroutine.close()  # it has ended, or never began


async def _cancel_all() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _stop(loop: asyncio.AbstractEventLoop) -> None:
    """Have the thread of `loop` end, without waiting: garbage is collected at any moment on any
    thread, perhaps on one that this thread waits for."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(loop.stop)
