"""One method, two ways to call it: `lab.frame(…)` waits, `await lab.aio.frame(…)` lets others run.

The method is written once and returns a `Job`: `blocking` makes the plain method of it, and
`awaiting`, in a class that is a `Twin`, its awaitable twin with the same parameters and docstring.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass
from functools import wraps
from typing import Any, Concatenate, Protocol

from varco_nats._ipython import shorten
from varco_nats_widgets._session.loop import LoopThread
from varco_nats_widgets._session.progress import Progress


class Job[T](Protocol):
    """Work that has a result, for a caller who waits or one who awaits; an experiment is one."""

    def wait(self) -> T:
        """Do it while this thread waits."""

    async def wait_async(self) -> T:
        """Do it while the event loop of the caller goes on."""


@dataclass(frozen=True, slots=True)
class Call[T]:
    """A coroutine to run on a loop thread, once.

    Args:
        loop: the thread.
        coroutine: what runs there.
        progress: shown to the caller meanwhile; an interrupt then says how far it was.
        guard: runs the coroutine, and turns a lost server into an error.
        finish: gets the result in the caller's thread, and gives what the caller gets.
        settle: runs on the thread after an interrupt, before the caller gets it.
    """

    loop: LoopThread
    coroutine: Coroutine[Any, Any, T]
    progress: Progress | None = None
    guard: Callable[[Coroutine[Any, Any, T]], Coroutine[Any, Any, T]] | None = None
    finish: Callable[[T], T] | None = None
    settle: Callable[[], Coroutine[Any, Any, None]] | None = None

    def wait(self) -> T:
        """Wait for the result, on any other thread.

        Raises:
            KeyboardInterrupt: it was interrupted, and has been cancelled.
            RuntimeError: the thread has ended, or this is the thread itself.
        """
        if self.loop.is_current:
            self.coroutine.close()  # the loop refuses it, and closes only the guard around it
        watch = None if self.progress is None else self.progress.wait
        try:
            return self._finished(self.loop.run(self._guarded(), watch))
        except KeyboardInterrupt:
            if self.settle is not None:
                self.loop.run(self.settle())
            if self.progress is None:
                raise
            raise KeyboardInterrupt(str(self.progress.stop_error())) from None

    async def wait_async(self) -> T:
        """Await the result on any event loop; cancelling this cancels the coroutine."""
        if self.loop.is_current:
            return self._finished(await self._guarded())
        future = asyncio.wrap_future(self.loop.submit(self._guarded()))
        try:
            if self.progress is not None:
                await self.progress.wait_async(future)
            return self._finished(await future)
        except BaseException:
            future.cancel()
            raise

    def __await__(self) -> Generator[Any, Any, T]:
        return self.wait_async().__await__()

    def _guarded(self) -> Coroutine[Any, Any, T]:
        return self.coroutine if self.guard is None else self.guard(self.coroutine)

    def _finished(self, result: T) -> T:
        return result if self.finish is None else self.finish(result)


@dataclass(frozen=True, slots=True)
class InThread[T]:
    """A plain function that may block; awaited, it runs in a thread."""

    function: Callable[[], T]

    def wait(self) -> T:
        return self.function()

    async def wait_async(self) -> T:
        return await asyncio.to_thread(self.function)


class Twin[S]:
    """The methods of an object, to be awaited on any event loop. It keeps the object alive."""

    def __init__(self, of: S) -> None:
        self._of = of

    def __init_subclass__(cls) -> None:
        for name, member in vars(cls).items():
            if inspect.iscoroutinefunction(member):
                member.__module__ = cls.__module__
                member.__qualname__ = f"{cls.__qualname__}.{name}"

    def __repr__(self) -> str:
        return f"{self._of!r}.aio"


def blocking[S, **P, T](
    method: Callable[Concatenate[S, P], Job[T]],
) -> Callable[Concatenate[S, P], T]:
    """The plain method of one that returns a job: it waits, and returns the result."""

    @wraps(method)
    def call(self: S, /, *args: P.args, **options: P.kwargs) -> T:
        __tracebackhide__ = True  # IPython shows the frames that mean something to a user
        try:
            return method(self, *args, **options).wait()
        except BaseException as error:
            shorten(error)
            raise

    _describe(call, method)
    return call


def spelled_out[**P, T](options: type) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Have the signature name the options that a function takes as `**options`, so that Tab does.

    It takes them that way where the order counts in which they are written, or where they are
    those of many functions. None stands for what is not given.

    Args:
        options: the `TypedDict` of them.
    """

    def describe(function: Callable[P, T]) -> Callable[P, T]:
        signature = inspect.signature(function)
        *others, _ = signature.parameters.values()
        named = [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=None,
                annotation=getattr(kind, "__forward_arg__", kind),
            )
            for name, kind in options.__annotations__.items()
        ]
        function.__dict__["__signature__"] = signature.replace(parameters=[*others, *named])
        return function

    return describe


def awaiting[S, **P, T](
    plain: Callable[Concatenate[S, P], T],
) -> Callable[Concatenate[Twin[S], P], Coroutine[Any, Any, T]]:
    """The awaitable twin of a plain method that `blocking` made."""
    method: Callable[Concatenate[S, P], Job[T]] = inspect.unwrap(plain)

    @wraps(method)
    async def call(self: Twin[S], /, *args: P.args, **options: P.kwargs) -> T:
        __tracebackhide__ = True
        try:
            return await method(self._of, *args, **options).wait_async()
        except BaseException as error:
            shorten(error)
            raise

    _describe(call, method)
    return call


def _describe(call: Callable[..., object], method: Callable[..., object]) -> None:
    """Have `call` show the parameters of `method`, and the result in place of the job."""
    signature = inspect.signature(method)
    result = str(signature.return_annotation).removeprefix("Job[").removesuffix("]")
    call.__annotations__ = {**method.__annotations__, "return": result}
    call.__dict__["__signature__"] = signature.replace(return_annotation=result)
