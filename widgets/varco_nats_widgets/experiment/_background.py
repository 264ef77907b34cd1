"""What an experiment and a comparison share: they run on a lab's thread until they are over."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from contextlib import suppress
from typing import Self

from varco_nats_widgets._session.loop import LoopThread
from varco_nats_widgets._session.progress import Progress, ProgressCallback
from varco_nats_widgets._session.worker import take_error
from varco_nats_widgets.experiment._plan import ExperimentError

_CLEAN_UP_SECONDS = 15.0


class BackgroundRun:
    """Something that runs on a loop thread, in the background or while the caller waits.

    Args:
        loop: the thread to run on.
        name: what runs, in words, for error messages.
        owner: is kept alive as long as this.
        progress: as in `Lab.frame`.
    """

    def __init__(
        self, loop: LoopThread, name: str, owner: object, progress: ProgressCallback | bool | None
    ) -> None:
        self.progress = Progress(f"the experiment {name}", progress)
        """`progress.done` of `progress.total` events are published."""
        self._name = name
        self._loop = loop
        self._owner = owner  # a lab that is garbage closes
        self._lock = threading.Lock()
        self._future: Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._cancelled = False

    async def _work(self) -> None:
        """What runs."""
        raise NotImplementedError

    @property
    def running(self) -> bool:
        """Whether it has been started and is not over."""
        return self._future is not None and not self._future.done()

    @property
    def cancelled(self) -> bool:
        """Whether it was ended by `cancel()`, an interrupt, or the end of its lab."""
        return self._cancelled and not self.running

    @property
    def error(self) -> BaseException | None:
        """Why it did not get to its end; None if it did, or still runs."""
        future = self._future
        return future.exception() if future is not None and future.done() else None

    def start(self) -> Self:
        """Begin in the background; starting twice does nothing.

        Raises:
            RuntimeError: its lab is closed.
        """
        self._started()
        return self

    def _started(self) -> Future[None]:
        with self._lock:
            if self._future is None:
                self._future = self._loop.submit(self._run())
            return self._future

    def wait(self, timeout: float | None = None) -> Self:
        """Start it if need be and wait until it is over; an interrupt cancels it.

        Raises:
            ExperimentError: it could not be carried out, or was cancelled.
            TimeoutError: it is not over after `timeout` seconds; it goes on.
            RuntimeError: its lab is closed, or this is the lab's own thread.
        """
        if self._loop.is_current:
            raise RuntimeError("this is the lab's own thread; await lab.aio.experiment() instead")
        future = self._started()
        try:
            if timeout is None:
                self.progress.wait(future)
            future.result(timeout)
        except KeyboardInterrupt:
            self.cancel()
            with suppress(Exception):
                future.result(_CLEAN_UP_SECONDS)
            raise KeyboardInterrupt(str(self.progress.stop_error())) from None
        return self

    async def wait_async(self) -> Self:
        """Await its end on any event loop, as `wait` does; cancelling this cancels it too."""
        future = asyncio.wrap_future(self._started())
        future.add_done_callback(take_error)  # as after a cancelled wait
        waiting = asyncio.shield(future)
        try:
            await self.progress.wait_async(waiting)
            await waiting
        except asyncio.CancelledError:
            self.cancel()
            raise
        finally:
            if self.progress.stopped:
                self.cancel()
        return self

    def cancel(self) -> None:
        """End it. Returns at once; `running` is false when all its processes are gone."""
        if self.running:
            self._cancelled = True
            with suppress(RuntimeError):  # its lab is closed, and it has ended
                self._loop.submit(self._cancel())

    async def shut(self) -> None:
        """`cancel()`, and wait until everything is gone; called on the loop's thread."""
        self._cancelled = self._cancelled or self.running
        if self._task is not None and self.running:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        self._task = asyncio.current_task()
        try:
            if self._cancelled:
                raise asyncio.CancelledError
            await self._work()
        except asyncio.CancelledError:
            self._cancelled = True
            raise ExperimentError(self._name, "it was cancelled") from None
