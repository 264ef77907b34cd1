"""The lifetime of a cell's output: a widget lives until the cell that shows it runs again.

Otherwise ipywidgets and IPython's history of results would keep it for as long as the kernel runs,
even when its output is replaced and no variable refers to it any more.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from typing import Any

_RESULT = re.compile(r"_{1,3}|_\d+")  # IPython's names for the results of cells

_kept: defaultdict[str | None, list[object]] = defaultdict(list)  # by the id of the cell


def keep(shown: object) -> None:
    """Keep what the running cell shows until that cell runs again or is deleted.

    If the notebook's application does not tell the ids of cells, it is kept as long as the kernel
    runs; outside of a notebook, it is not kept at all.
    """
    ipython = sys.modules.get("IPython")
    shell: Any = ipython.get_ipython() if ipython is not None else None
    if getattr(shell, "kernel", None) is None:
        return
    shell.events.register("pre_run_cell", _on_run)  # once, however often it is called
    _kept[_metadata(shell).get("cellId")].append(shown)


def _on_run(info: Any) -> None:
    from IPython import get_ipython

    shell: Any = get_ipython()
    replaced = (info.cell_id, *_metadata(shell).get("deletedCells", ()))
    for cell in replaced:
        for shown in _kept.pop(cell, ()) if cell is not None else ():
            _forget_result(shell, shown)


def _metadata(shell: Any) -> dict[str, Any]:
    """What the notebook's application tells about the cell that runs."""
    parent: dict[str, Any] = shell.get_parent() or {}
    return parent.get("metadata") or {}


def _forget_result(shell: Any, shown: object) -> None:
    """Remove it from `Out`, `_`, `_12` and the like; unlike `%xdel`, not from other variables."""
    for names in (shell.user_ns, shell.user_ns_hidden):
        for name in [n for n, value in names.items() if value is shown and _RESULT.fullmatch(n)]:
            del names[name]
    results = shell.user_ns.get("_oh", {})
    for number in [n for n, value in results.items() if value is shown]:
        del results[number]
    for name in ("_", "__", "___"):
        if getattr(shell.displayhook, name, None) is shown:
            setattr(shell.displayhook, name, None)
    if getattr(shell.last_execution_result, "result", None) is shown:
        shell.last_execution_result = None
