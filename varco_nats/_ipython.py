"""How IPython and Jupyter show the errors of this package: what is wrong, and from which line.

IPython asks an exception for `_render_traceback_`. While an error is handled the answer is short;
`%tb` asks once more, later, and gets the whole traceback, as does every mode but the usual one
(`%xmode`). Nothing here imports IPython, and nothing is changed where it does not run.
"""

from __future__ import annotations

import dis
import linecache
import re
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator
from functools import wraps
from types import TracebackType
from typing import Any

_OURS = frozenset({"varco_nats", "varco_nats_widgets"})
_RAISE = dis.opmap["RAISE_VARARGS"]
_USUAL_MODE = "Context"
_PLACES = 4  # lines of the user's that are shown at most
_LONGEST_LINE = 100
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
_INSTALLED = tuple(
    {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
)


def render(error: BaseException) -> list[str]:
    """The lines that IPython shows for `error`; the protocol of `_render_traceback_`."""
    shell = _shell()
    if shell is None:
        return traceback.format_exception(error)
    shown = shell.InteractiveTB
    if sys.exception() is not error or shown.mode != _USUAL_MODE:
        lines: list[str] = shown.structured_traceback(type(error), error, error.__traceback__)
        return lines
    return _short(error, shell)


def shorten(error: BaseException) -> None:
    """Have an error of Python's own classes shown in short too, if this package raised it.

    One that comes out of a user's function, or of another package, stays as it is: what it means
    is seen from its traceback.
    """
    if _shell() is not None and _is_ours(error.__traceback__):
        # not a method: with a reference to itself, an error would keep what its frames hold
        error.__dict__.setdefault("_render_traceback_", _render_last)


def shortened[**P, T](function: Callable[P, T]) -> Callable[P, T]:
    """`function`, whose errors are shown as `shorten` says."""

    @wraps(function)
    def call(*args: P.args, **options: P.kwargs) -> T:
        __tracebackhide__ = True
        try:
            return function(*args, **options)
        except BaseException as error:
            shorten(error)
            raise

    return call


def _render_last() -> list[str]:
    error = sys.exception() or sys.last_value
    return render(error) if error is not None else []


def _shell() -> Any:
    """The running IPython; None outside of one."""
    ipython = sys.modules.get("IPython")
    return None if ipython is None else ipython.get_ipython()


def _is_ours(trace: TracebackType | None) -> bool:
    """Whether a `raise` of this package ends the trace, or a call of it with wrong arguments."""
    ends = [*_frames(trace)]
    if not ends:
        return False
    last = ends[-1]
    code = last.tb_frame.f_code.co_code
    raised = last.tb_lasti < len(code) and code[last.tb_lasti] == _RAISE
    return _module(last) in _OURS and (raised or len(ends) == 1)


def _frames(trace: TracebackType | None) -> Iterator[TracebackType]:
    while trace is not None:
        yield trace
        trace = trace.tb_next


def _module(trace: TracebackType) -> str:
    """The name of the package that the frame's code is in."""
    return str(trace.tb_frame.f_globals.get("__name__", "")).partition(".")[0]


def _short(error: BaseException, shell: Any) -> list[str]:
    seen: list[str] = []
    lines: list[str] = []
    cause: BaseException | None = error
    known: set[int] = set()
    while cause is not None and id(cause) not in known:
        known.add(id(cause))
        places = [place for place in _places(cause, shell) if place not in seen]
        seen += places
        if cause is error or places or _module_of(cause) in _OURS:
            lines += [_headline(cause, shell, "" if cause is error else "caused by "), *places]
        cause = cause.__cause__
    return [*lines, "%tb shows the whole traceback"]


def _module_of(error: BaseException) -> str:
    return type(error).__module__.partition(".")[0]


def _headline(error: BaseException, shell: Any, before: str) -> str:
    text = "\n".join([str(error), *getattr(error, "__notes__", ())])
    text = _CONTROL.sub(lambda found: repr(found[0])[1:-1], text)
    name = type(error).__name__
    if str(shell.colors).lower() != "nocolor":
        name = f"\x1b[31m{name}\x1b[39m"
    return f"{before}{name}: {text}" if text else f"{before}{name}"


def _places(error: BaseException, shell: Any) -> list[str]:
    """The lines of the user's that led to `error`: the first one, and the last ones."""
    users = [
        trace
        for trace in _frames(error.__traceback__)
        if _module(trace) not in _OURS
        and not trace.tb_frame.f_code.co_filename.startswith((*_INSTALLED, "<frozen "))
    ]
    if len(users) > _PLACES:
        users = [users[0], *users[1 - _PLACES :]]
    return [_place(trace, shell) for trace in users]


def _place(trace: TracebackType, shell: Any) -> str:
    file, number = trace.tb_frame.f_code.co_filename, trace.tb_lineno
    name = shell.compile.format_code_name(file)
    line = linecache.getline(file, number).strip()
    line = line if len(line) <= _LONGEST_LINE else line[: _LONGEST_LINE - 1] + "…"
    where = f"  {' '.join(name) if name else file}, line {number}"
    return f"{where}: {line}" if line else where
