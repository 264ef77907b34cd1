"""What the views of all models share; each view registers for the type of its model."""

from __future__ import annotations

import logging
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from functools import partial, singledispatch
from typing import Any, ClassVar

import ipywidgets
import traitlets

from varco_nats_widgets._ui.coalesce import Coalescer
from varco_nats_widgets._ui.controls import MAX_TEXT, all_parts, caption, close_all, text_html
from varco_nats_widgets._ui.parts import StatusBar
from varco_nats_widgets._ui.picture import Picture
from varco_nats_widgets._ui.views import BrowserWidget
from varco_nats_widgets.frames._cells import clean, escape

type DrawPart = Callable[[set[str]], object]
"""Draws a part of a view; is given the names of the traits that changed."""

CHOICE = "(the user's choice)"
"""What has changed, beside traits, when the model has taken what the user chose."""

_TURN_SECONDS = 0.1

_logger = logging.getLogger("varco_nats")


@singledispatch
def view_of(model: object, *_: Any) -> ModelView[Any]:
    """A new view of `model`, of the class that is registered for its type.

    Args:
        _: what else the model gives its view; the view's class says what.
    """
    raise TypeError(f"no view draws a {type(model).__name__}")


class DrawnModel(traitlets.HasTraits):
    """What every view needs of its model."""

    closed = traitlets.Unicode("", read_only=True)
    """That its lab is closed, and how to open this again; "" while it is open."""

    server = traitlets.Unicode("", read_only=True)
    """Which server this is of, while labs on several are open; "" otherwise."""

    def _text(self) -> str:
        """What a notebook without widgets shows."""
        return repr(self)


class ModelView[M: DrawnModel](ABC):
    """Draws a model, at most ten times a second and only what changed; does not keep it alive.

    A subclass makes its widgets and calls `_begin` at the end of its `__init__`. Its parts are
    drawn from its drawing thread only. What the user does comes on the kernel's main thread, and
    the results of work on the loop thread: there a view keeps what it has to show and calls
    `redraw`. Of two threads that drew at once, the one with the older state could come last.

    Attributes:
        box: the widget that holds all the others.
    """

    gone: ClassVar[str]
    """The message of the error where the model is no longer there."""
    box: Any

    def __init__(self, model: M) -> None:
        self._model_of = weakref.ref(model)
        self._lock = threading.Lock()  # guards `_changed`
        self._ends = threading.RLock()  # held at the end of a drawing; a view may have two at once
        self._turn = threading.RLock()  # held while controls are drawn, or take what a user did
        self._changed = set(model.trait_names())
        self._drawing: set[int] = set()  # the threads that draw just now
        self._problems: dict[str, str] = {}  # what went wrong, by where, until it goes well
        self._choosing: Future[Any] | None = None  # by the model, what the user chose last
        self._server = caption("")
        self._server.layout.display = "none"
        self._picture = Picture(self._drawn_picture, self._is_settled_or_gone)
        self._coalescer = Coalescer(self._draw)
        self._coalescers = [self._coalescer]

    def _begin(self, box: Any) -> None:
        """Show `box` and follow the model."""
        self._ending = ipywidgets.HTML(layout={"display": "none"})
        box.children = (self._server, self._ending, *box.children, self._picture.hider)
        self.box = box
        for part in all_parts(box):
            _take_turns(part, self._turn)
        self.model.observe(self._on_change)
        self.redraw()

    @property
    def model(self) -> M:
        """What is drawn.

        Raises:
            ReferenceError: it is no longer there.
        """
        if (model := self._model_of()) is None:
            raise ReferenceError(self.gone)
        return model

    @property
    def problem(self) -> str:
        """What could not be drawn, in words; "" if everything could."""
        return "; ".join(self._problems.values())

    def flush(self) -> None:
        """Draw now what changed."""
        for coalescer in self._coalescers:
            coalescer.flush()
        for part in all_parts(self.box):
            if isinstance(part, BrowserWidget):
                part.flush()

    def keep_picture(self) -> None:
        """Draw what changed, and renew the picture in the notebook now."""
        self.flush()
        self._picture.flush()

    def close(self) -> None:
        """End the view; it disappears from the page."""
        if (model := self._model_of()) is not None:
            model.unobserve(self._on_change)
        for coalescer in self._coalescers:
            coalescer.close()
        self._picture.close()
        close_all(self.box)

    def mimebundle(self) -> dict[str, Any]:
        """What a cell shows: the widget. Its picture is in an output of its own in a notebook."""
        self.flush()
        bundle: dict[str, Any] = self.box._repr_mimebundle_() or {}
        bundle["text/plain"] = self._text(self.model)
        if not self._picture.show():
            bundle["text/html"] = self._drawn_picture()
        return bundle

    @abstractmethod
    def static_html(self, text: str) -> str:
        """What a notebook without a kernel shows; `text` is what the model says of itself.

        It says of what is only a part that it is one.
        """

    def _drawn_picture(self) -> str:
        """`static_html` and, where its lab is closed, how to open it again."""
        if (model := self._model_of()) is None:
            return ""
        server = f"<p>On {escape(model.server)}</p>" if model.server else ""
        closed = f"<p>{escape(model.closed)}</p>" if model.closed else ""
        return server + closed + self.static_html(self._text(model))

    @staticmethod
    def _text(model: DrawnModel) -> str:
        return model._text()  # noqa: SLF001 - not for users, as `_repr_mimebundle_` is not

    def _show_closed(self) -> None:
        """Where the lab is closed: look so, and offer nothing that needs it."""
        if not (closed := self.model.closed):
            return
        self._ending.value = f'<p role="status">{escape(closed)}</p>'
        self._ending.layout.display = ""
        self.box.add_class("varco-closed")
        usable = set(self._usable_when_closed())
        for part in all_parts(self.box):
            if part.has_trait("disabled") and part not in usable:
                part.disabled = True
            if isinstance(part, StatusBar):
                part.retry = False

    def _usable_when_closed(self) -> Iterable[Any]:
        """The controls that need no lab."""
        return ()

    def _is_settled(self) -> bool:
        """Whether what is shown stays as it is until the user does something."""
        return True

    def _is_settled_or_gone(self) -> bool:
        model = self._model_of()  # held meanwhile
        return model is None or self._is_settled()

    def on_user_change(self, react: Callable[[Any], object]) -> Callable[[Any], None]:
        """An observer that calls `react` with what the user set, not with what this view set.

        `react` draws nothing: it has the model do something, or keeps what it was given and calls
        `redraw`.
        """

        def on_change(change: Any) -> None:
            if threading.get_ident() not in self._drawing:
                react(change["new"])

        return on_change

    def _choose(self, choosing: Future[Any] | None) -> None:
        """Keep what the user chose in the page while the model takes it: it may still have, and
        have drawn, what was chosen before. `CHOICE` is drawn when it has ended."""
        self._choosing = choosing
        if choosing is not None:
            choosing.add_done_callback(lambda _: self.redraw(CHOICE))

    @property
    def _has_chosen(self) -> bool:
        """Whether the model has taken, or refused, what the user chose last."""
        return self._choosing is None or self._choosing.done()

    @abstractmethod
    def _parts(self) -> Iterable[DrawPart]:
        """The parts that are drawn one after the other, whatever becomes of the others."""

    @abstractmethod
    def _show_problem(self) -> None:
        """Show what went wrong with the model, or else `problem`."""

    def _on_change(self, change: Any) -> None:
        self.redraw(change["name"])

    def redraw(self, *traits: str) -> None:
        """Draw soon, as after a change of these traits; from any thread, returns at once."""
        with self._lock:
            self._changed.update(traits)
        for coalescer in self._coalescers:
            coalescer.trigger()

    def _draw(self) -> None:
        model = self._model_of()  # held while it is drawn
        if model is None:
            return
        self._picture.renew()
        with self._lock:
            changed, self._changed = self._changed, set()
        self._server.value = text_html(f"On {model.server}")
        self._server.layout.display = "" if model.server else "none"
        if not self._draw_parts("view", *(partial(part, changed) for part in self._parts())):
            with self._lock:  # to be drawn again with what changes next
                self._changed |= changed

    def _draw_parts(self, where: str, *parts: Callable[[], object]) -> bool:
        """Draw the parts, and show what went wrong; whether nothing did."""
        failed: Exception | None = None
        self._drawing.add(threading.get_ident())
        try:
            for part in parts:
                # an observer of a control may be waiting for what this thread must not hold up
                is_mine = self._turn.acquire(timeout=_TURN_SECONDS)
                try:
                    part()
                except Exception as error:
                    failed = failed or error
                finally:
                    if is_mine:
                        self._turn.release()
            with self._ends:
                self._note(where, failed)
                self._show_problem()
                self._show_closed()
        finally:
            self._drawing.discard(threading.get_ident())
        return failed is None

    def _note(self, where: str, error: Exception | None) -> None:
        """Remember what went wrong there, or that nothing did; log it once. From any thread."""
        with self._ends:
            before = self._problems.pop(where, "")
            if error is None:
                return
            problem = self._problems[where] = clean(f"{type(error).__name__}: {error}", MAX_TEXT)
        if problem != before:
            _logger.warning("the view of %r failed", self._model_of(), exc_info=error)


def _take_turns(part: Any, turn: Any) -> None:
    """Have a control take what the browser sends while nothing is drawn.

    Otherwise a change that is drawn meanwhile could be lost, or the user's, as neither traitlets
    nor ipywidgets has a lock.
    """
    take = part.set_state

    def set_state(sync_data: dict[str, Any]) -> None:
        with turn:
            take(sync_data)

    part.set_state = set_state
