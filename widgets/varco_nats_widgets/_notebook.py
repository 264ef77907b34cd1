"""What this package changes in IPython and in a notebook.

Tab completes channel names in `lab.frame("or` and the like, and frames show formulas as text.
"""

from __future__ import annotations

import re
import sys
from functools import cache
from typing import Any

import pandas as pd

_METHODS = ("frame", "live", "export", "consumers", "durability", "explore")
_CALL = re.compile(
    rf"""([A-Za-z_]\w*)(?:\.aio)?\.(?:{"|".join(_METHODS)})\(\s*  # lab.frame(
    (?:\[\s*(?:(?:'[^']*'|"[^"]*")\s*,\s*)*)?                    # in a list, after others
    (['"])([^'"]*)$""",
    re.VERBOSE,
)


def prepare_notebook() -> None:
    """Set up a running IPython, once; outside of IPython, do nothing."""
    if (shell := running_shell()) is not None:
        _complete_channels(shell)
        _set_as_text(shell)


def formulas_as_text() -> None:
    """Have a running IPython show formulas in frames as text; once, so that users can undo it."""
    if (shell := running_shell()) is not None:
        _set_as_text(shell)


@cache
def _set_as_text(shell: Any) -> None:
    # JupyterLab would typeset what a stranger put between dollar signs, including links
    pd.set_option("display.html.use_mathjax", False)


def running_shell() -> Any:
    """The running IPython; None outside of one."""
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython is not None else None


def started_name(text: str) -> tuple[str, str] | None:
    """The variable and the beginning of a channel's name, if `text` ends in a call with one."""
    found = _CALL.search(text)
    return (found[1], found[3]) if found else None


@cache
def _complete_channels(shell: Any) -> None:
    matchers = getattr(getattr(shell, "Completer", None), "custom_matchers", None)
    if matchers is None:
        return
    from IPython.core.completer import SimpleCompletion, context_matcher

    @context_matcher()  # type: ignore[untyped-decorator]
    def channel_name_matcher(context: Any) -> Any:
        started = started_name(context.text_until_cursor)
        lab = shell.user_ns.get(started[0]) if started else None
        session: Any = getattr(getattr(lab, "__lab_handle__", None), "session", None)
        if started is None or not hasattr(session, "names_for_completion"):
            return {"completions": []}
        names = [n for n in session.names_for_completion() if n.startswith(started[1])]
        return {
            "completions": [SimpleCompletion(text=name, type="channel") for name in names],
            "matched_fragment": started[1],
            "suppress": bool(names),
        }

    matchers.append(channel_name_matcher)
