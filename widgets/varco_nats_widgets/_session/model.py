"""What the models of widgets share: their view, and how long both live.

A widget lives until the cell that shows it runs again. Otherwise ipywidgets and IPython's history
of results would keep it for as long as the kernel runs, even when its output is replaced and no
variable refers to it any more.
"""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from typing import Any

from varco_nats_widgets._notebook import running_shell
from varco_nats_widgets._session.loop import LoopThread
from varco_nats_widgets._session.session import Session
from varco_nats_widgets._ui.model_view import DrawnModel, ModelView, view_of

_RESULT = re.compile(r"_{1,3}|_\d+")  # IPython's names for the results of cells

_LOCAL = "Its local server has ended, and what it held with it; Lab() starts an empty one."

_kept: defaultdict[str | None, list[object]] = defaultdict(list)  # by the id of the cell


class WidgetModel(DrawnModel):
    """The state and the work behind a widget, with or without a browser."""

    def __init__(self) -> None:
        super().__init__()
        self._views: list[ModelView[Any]] = []  # one, once it is shown; it does not keep this alive

    def _ends_with(self, session: Session) -> None:
        """Look closed once `session` has ended, and name its server while there are several."""
        session.when_closed(self._on_lab_closed)
        session.say_server(self)

    def _on_lab_closed(self, lab: str) -> None:
        how = f"To open it again: lab = {lab}; {self._code()}" if lab else _LOCAL
        self.set_trait("closed", f"Closed: this is how it was. {how}")
        for view in self._views:
            view.keep_picture()

    def _code(self) -> str:
        """What makes this, given `lab`."""
        return "lab"

    def view(self) -> Any:
        """The widget that draws this; the same one each time, which may be shown in many places."""
        if not self._views:
            self._views.append(self._make_view())
        return self._views[0]

    def _make_view(self) -> ModelView[Any]:
        return view_of(self)

    def _repr_mimebundle_(self, **_: Any) -> Any:
        keep(self)
        return self.view().mimebundle()


def end_all(
    loop: LoopThread, end: Callable[[], Coroutine[Any, Any, None]], views: Iterable[ModelView[Any]]
) -> None:
    """End what a model leaves; on the loop, as garbage is collected on any thread."""

    async def end_and_close() -> None:
        await end()
        for view in views:
            await asyncio.to_thread(view.close)

    with suppress(RuntimeError):  # the lab ended first, and this with it
        loop.submit(end_and_close())


def keep(shown: object) -> None:
    """Keep what the running cell shows until that cell runs again or is deleted.

    If the notebook's application does not tell the ids of cells, it is kept as long as the kernel
    runs; outside of a notebook, it is not kept at all.
    """
    shell = running_shell()
    if getattr(shell, "kernel", None) is None:
        return
    shell.events.register("pre_run_cell", _on_run)  # once, however often it is called
    _kept[_metadata(shell).get("cellId")].append(shown)


def _on_run(info: Any) -> None:
    shell = running_shell()
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
