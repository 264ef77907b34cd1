"""Work that a widget's model has done on its lab's loop thread: one action of a kind at a time."""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Protocol

from varco_nats_widgets._session.background import describe_error
from varco_nats_widgets._session.job import Call
from varco_nats_widgets._session.model import end_all
from varco_nats_widgets._session.session import Session

_POLL_SECONDS = 2.0
_PAUSES = 10  # times as long as the poll before
_LONGEST_PAUSE = 30.0  # also after a poll that waited for a leader
_HIDDEN_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Action:
    """What is known of some work before it begins."""

    kind: str
    """New work ends what is under way of the same kind."""
    label: str = "reading"
    """What it does, in a word."""
    stop_cancels: bool = False
    """Whether `stop` cancels it; the rest ends by itself, with what it has."""
    is_run: bool = False
    """Whether it has connections and patience of its own; it is neither replaced nor retried."""


@dataclass(slots=True)
class Running:
    """An action that is under way."""

    action: Action
    task: asyncio.Task[Any] | None = None
    """None until it has come to its first wait."""


class TraitsModel(Protocol):
    """What a worker needs of its model: it sets traits of it."""

    error: str

    def set_trait(self, name: str, value: Any) -> None: ...


class ModelReference[M: TraitsModel]:
    """A model that is not kept alive by those who set its traits."""

    def __init__(self, model: M) -> None:
        self._reference = weakref.ref(model)

    def __call__(self) -> M | None:
        return self._reference()

    def set(self, **values: Any) -> None:
        """Set traits of the model, if there still is one."""
        if (model := self()) is not None:
            for name, value in values.items():
                model.set_trait(name, value)


class Worker[M: TraitsModel]:
    """The work behind one model."""

    retried: ClassVar[tuple[type[Exception], ...]] = (Exception,)
    """After these errors `retry` does the same again; after others it reads again."""
    refreshing = Action("read")
    """What `refresh` is."""

    def __init__(self, model: M, session: Session) -> None:
        self.model = ModelReference(model)
        self._session = session
        self._running: dict[str, Running] = {}
        self._failed: tuple[Action, Callable[[], Coroutine[Any, Any, Any]]] | None = None
        self._polling: asyncio.Task[None] | None = None
        self.patience: asyncio.Timeout | None = None
        """Ends the poll that is under way, and the pause after it, once it is set to a time."""
        self._problem = ""  # what keeps a background task from its work
        self._visible = asyncio.Event()
        self._visible.set()  # until a browser says otherwise
        session.readers.add(self)

    @property
    def read_only(self) -> bool:
        """Whether its session only looks."""
        return self._session.read_only

    @property
    def mark(self) -> str:
        """What follows where the user is: that nothing can be changed there."""
        return " · read-only" if self.read_only else ""

    # Actions

    def call[**P, T](
        self,
        action: Action,
        work: Callable[P, Coroutine[Any, Any, T]],
        *args: P.args,
        **options: P.kwargs,
    ) -> Call[T]:
        """The job that does `work` as an action."""
        return self._session.call(self.perform(action, work, *args, **options))

    async def perform[**P, T](
        self,
        action: Action,
        work: Callable[P, Coroutine[Any, Any, T]],
        *args: P.args,
        **options: P.kwargs,
    ) -> T:
        """Do `work` instead of what is done of its kind; an error is shown and raised."""
        if action.is_run and action.kind in self._running:
            raise RuntimeError("a run is under way; wait for its end, or cancel() it")
        previous = self._running.pop(action.kind, None)
        if previous is not None and previous.task is not None:
            previous.task.cancel()
        running = self._running[action.kind] = Running(action)
        try:
            self._show_running()
            # a task of its own, as the next action must not cancel the caller's; it begins at once,
            # so that a filter is set even if another action comes before anything is read by it
            working = self._perform(action, partial(work, *args, **options))
            loop = asyncio.get_running_loop()
            task: asyncio.Task[T] = asyncio.Task(working, loop=loop, eager_start=True)
            running.task = task
            task.add_done_callback(lambda _: self._on_end(running))
            return await task
        finally:
            if running.task is None:  # an observer of a trait failed
                self._on_end(running)
            else:
                running.task.cancel()

    async def _perform[T](self, action: Action, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        try:
            await self._prepare(action)
            await self._session.wait_connected()
            # a run waits for a lost server by itself
            result = await (work() if action.is_run else self._session.while_reachable(work()))
        except Exception as error:
            can_retry = not action.is_run and isinstance(error, self.retried)
            self._failed = (action, work) if can_retry else None
            self._show_failure(error)
            raise
        self._failed = None
        return result

    async def _prepare(self, action: Action) -> None:
        """Clear what the action before it left."""

    def _show_failure(self, error: Exception) -> None:
        self._show_error(describe_error(error), can_retry=self._failed is not None)

    def _show_error(self, error: str, *, can_retry: bool) -> None:
        self.model.set(error=error)

    def _on_end(self, ended: Running) -> None:
        if self._running.get(ended.action.kind) is ended:
            del self._running[ended.action.kind]
            self._show_running()

    def _show_running(self) -> None:
        self.model.set(busy=bool(self._running))

    async def refresh(self) -> None:
        """Read everything again."""
        raise NotImplementedError

    async def retry(self) -> None:
        """Do again what failed last, or read everything again."""
        await self.perform(*(self._failed or (self.refreshing, self.refresh)))

    def start[**P](
        self, work: Callable[P, Coroutine[Any, Any, Any]], *args: P.args, **options: P.kwargs
    ) -> Future[Any] | None:
        """Have `work` done in the background; what an action raises is in `error`."""
        if self._session.closed:
            self.model.set(error="this Lab is closed; make a new one with Lab()")
            return None
        future = self._session.loop.submit(work(*args, **options))
        future.add_done_callback(take_error)
        return future

    # The end

    def stop(self) -> None:
        """End what is under way, except for a run; from any thread."""
        self._submit(self._stop)

    async def _stop(self) -> None:
        for running in self._running.values():
            if running.action.stop_cancels and running.task is not None:
                running.task.cancel()

    def close(self) -> None:
        """End everything; from any thread."""
        self._submit(self.shut)

    async def shut(self) -> None:
        """End everything; on the loop thread."""
        for running in list(self._running.values()):
            await end_task(running.task)
        await end_task(self._polling)

    def release(self, views: Iterable[Any]) -> None:
        """End what a model leaves; from any thread, as garbage is collected on any."""
        end_all(self._session.loop, self.shut, views)

    def _submit(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        if not self._session.closed:
            self._session.loop.submit(work())

    # What goes on in the background

    def watch(self, on: bool) -> None:
        """Call `poll` every few seconds while a view is visible, or no longer; from any thread."""
        self._submit(partial(self._watch, on))

    async def _watch(self, on: bool) -> None:
        await end_task(self._polling)
        if on:
            self._polling = asyncio.create_task(
                _poll_for_ever(weakref.ref(self), self._visible),
                name=f"polling for {type(self).__name__}",
            )

    async def poll(self) -> None:
        """Renew what a view shows of the server."""
        raise NotImplementedError

    def poll_now(self) -> None:
        """Give up the poll that is under way, or the pause after it, and poll; on the loop thread.

        What a poll has asked a server that went away is answered by nobody.
        """
        if self.patience is not None:
            with suppress(RuntimeError):  # nothing is polled any more
                self.patience.reschedule(0)

    def on_problem(self, problem: str | None) -> None:
        """Show what keeps a background task from its work, and clear it when it is over."""
        model = self.model()
        shown, self._problem = self._problem, f"{problem}; trying again" if problem else ""
        if model is None or self._session.closed or shown == self._problem:
            return
        if self._problem or model.error == shown:
            self._show_error(self._problem, can_retry=bool(self._problem))


async def _poll_for_ever(worker_of: weakref.ref[Worker[Any]], visible: asyncio.Event) -> None:
    """Have a worker poll every few seconds while it is visible, until it is garbage."""
    while (worker := worker_of()) is not None:
        if not visible.is_set():
            del worker
            with suppress(TimeoutError):
                async with asyncio.timeout(_HIDDEN_SECONDS):
                    await visible.wait()
            continue
        begin = time.monotonic()
        with suppress(TimeoutError):  # by `poll_now`
            async with asyncio.timeout(None) as worker.patience:
                pause = _POLL_SECONDS
                try:
                    await worker.poll()
                    worker.on_problem(None)
                    pause = pause_after(time.monotonic() - begin)
                except Exception as error:  # shown, and tried again
                    worker.on_problem(describe_error(error))
                del worker
                await asyncio.sleep(pause)


def pause_after(took: float) -> float:
    """Seconds until the next poll; a server with very many channels is not asked all the time."""
    return max(_POLL_SECONDS, min(_PAUSES * took, _LONGEST_PAUSE))


async def end_task(task: asyncio.Task[Any] | None) -> None:
    """Cancel `task` and wait for its end."""
    if task is not None and not task.done():
        task.cancel()
        await asyncio.wait([task])


def take_error(future: Future[Any] | asyncio.Future[Any]) -> None:
    """Take the error off a future; asyncio would log one that nobody awaits."""
    if not future.cancelled():
        future.exception()
