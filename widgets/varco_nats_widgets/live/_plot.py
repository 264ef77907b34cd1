"""`LivePlot`: a field of a live frame, drawn as it comes."""

from __future__ import annotations

import weakref
from typing import Any, Protocol

import pandas as pd
import traitlets

from varco_nats_widgets._session.loop import LoopThread
from varco_nats_widgets._session.model import WidgetModel, end_all
from varco_nats_widgets.live._lines import Lines, lines_of

_FOLLOWED = ("received", "state", "error", "notice", "closed")


class Followed(Protocol):
    """What a plot needs of a live frame."""

    received: int
    state: str
    error: str | None
    notice: str
    closed: str

    @property
    def df(self) -> pd.DataFrame: ...

    def observe(self, handler: Any, names: Any) -> None: ...

    def unobserve(self, handler: Any, names: Any) -> None: ...


class LivePlot(WidgetModel):
    """A field of numbers over time, as it arrives; made by `LiveFrame.plot`.

    Shown in a notebook it is a chart of the rows that the live frame has. It keeps that going for
    as long as a variable or an output has the plot.
    """

    received = traitlets.Int(0, read_only=True)
    """As the live frame has it."""
    state = traitlets.Unicode("", read_only=True)
    """Likewise."""
    error = traitlets.Unicode(None, allow_none=True, read_only=True)
    """Likewise."""
    frame_notice = traitlets.Unicode("", read_only=True)
    """The `notice` of the live frame."""

    def __init__(
        self, live: Followed, loop: LoopThread, field: str, by: str | None, x: str, title: str
    ) -> None:
        """Follow `live`, whose work is done on `loop`.

        Args:
            title: what a notebook without widgets shows.
        """
        super().__init__()
        self.field, self.by, self.x = field, by, x
        self._live = live
        self._title = title
        self._known: list[str] = []  # the lines that were drawn last
        renew_of = weakref.WeakMethod(self._renew)  # the frame does not keep alive what shows it

        def changed(_: object) -> None:
            if (renew := renew_of()) is not None:
                renew()

        async def end() -> None:
            live.unobserve(changed, _FOLLOWED)

        live.observe(changed, _FOLLOWED)
        self._renew()
        self._finalizer = weakref.finalize(self, end_all, loop, end, self._views)
        self._finalizer.atexit = False

    def __repr__(self) -> str:
        return self._title

    def read(self) -> Lines:
        """The lines that there are now, and what cannot be drawn."""
        frame = self._live.df
        lines = lines_of(frame, self.field, self.by, self.x, self._known)
        self._known = list(lines.series)
        blind = frame.attrs.get("completeness", {}).get("interruptions")
        if blind and self.x == "received_at":
            lines = lines.broken(each["from"] for each in blind)
        return lines

    @property
    def lines(self) -> dict[str, pd.Series[float]]:
        """The values by time, for each value of `by`; the others together as `(others)`."""
        return self.read().series

    @property
    def notice(self) -> str:
        """What is not drawn, and why; "" if everything is."""
        return self.read().notice

    def _renew(self) -> None:
        live = self._live
        self.set_trait("state", live.state)
        self.set_trait("error", live.error)
        self.set_trait("frame_notice", live.notice)
        self.set_trait("received", live.received)
        self.set_trait("closed", live.closed)
