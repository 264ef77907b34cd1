"""A timeline on a canvas: a lane for each process, and a mark for each thing that happened."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import numpy as np
import traitlets

from varco_nats_widgets._ui.views import BrowserWidget, static
from varco_nats_widgets.delivery._copies_chart import Band
from varco_nats_widgets.delivery._lane_marks import LOOKS, MAX_EVENTS, Marks, sample
from varco_nats_widgets.delivery._lane_svg import lanes_svg
from varco_nats_widgets.frames._cells import clean

Axis = Literal["time", "order", "time only"]

_TAIL = 256  # the newest marks stay apart from the others: those that come late go between them
_MAX_TAIL = 2048
_NEWEST = 250  # events that are drawn in any case, while more arrive
_MAX_ABOUT = 2000
_MAX_FAULTS = 100  # the newest, which are shown in words


class LaneChart(BrowserWidget):
    """What happened to messages: marks on lanes over time, and a line through those of a message.

    Args:
        title: shown above it.
        axis: marks are placed by `"time"`, or by `"order"`, one step after another; with
            `"time only"` the user cannot change that.
        lane_height: in pixels.
        max_events: about how many events are drawn at most: those with faults first, and an even
            sample of the others.
        about: gives the text of a row's tooltip, by its position in the order of time.
    """

    _esm = static("lanes.js")
    _css = static("lanes.css")

    title = traitlets.Unicode("").tag(sync=True)
    """Shown above the lanes."""
    note = traitlets.Unicode("").tag(sync=True)
    """What is not drawn, in words; "" if everything is."""
    axis = traitlets.Enum(["time", "order", "time only"], "time").tag(sync=True)
    """What the marks are placed by."""
    lane_height = traitlets.Int(46).tag(sync=True)
    """Of each lane, in pixels."""
    selected = traitlets.Int(0).tag(sync=True)
    """The number of the event that is followed, the others being dimmed; 0 for none."""
    position = traitlets.Int(-1).tag(sync=True)
    """How many rows are shown, in order of time; -1 for all."""
    live = traitlets.Bool(False).tag(sync=True)
    """Whether more arrives: the newest is kept in sight until the user scrolls away."""

    _kinds = traitlets.List(traitlets.Unicode()).tag(sync=True)
    _lanes = traitlets.List[Any]().tag(sync=True)  # [number, name] in the order shown
    _counts = traitlets.List[Any]().tag(sync=True)  # [look, count]
    _bands = traitlets.List[Any]().tag(sync=True)
    _faults = traitlets.List(traitlets.Unicode()).tag(sync=True)  # the newest in words
    _base = traitlets.Dict().tag(sync=True)  # marks that stay as they are for a while
    _tail = traitlets.Dict().tag(sync=True)  # those after them

    def __init__(
        self,
        title: str = "",
        *,
        axis: Axis = "time",
        lane_height: int = 46,
        max_events: int = MAX_EVENTS,
        about: Callable[[int], str] | None = None,
    ) -> None:
        self.max_events = max_events
        self._about = about
        self._lock = threading.Lock()  # guards the next five
        self._marks = Marks.none()
        self._names: list[tuple[int, str]] = []
        self._shaded: list[Band] = []
        self._remark = ""
        self._fault_texts: list[str] = []
        self._sent: Marks | None = None  # the first of these are in `_base`
        self._sent_end = 0
        self._drawn = sample(Marks.none())
        self._sent_live = False
        super().__init__(title=clean(title), axis=axis, lane_height=lane_height, _kinds=list(LOOKS))
        self.observe(lambda _: self._coalescer.trigger(), ["selected", "position", "live"])

    def __repr__(self) -> str:
        return f"LaneChart({self.title!r})"

    @property
    def marks(self) -> Marks:
        """All of them, also those that are not drawn."""
        with self._lock:
            return self._marks

    def set_marks(
        self,
        marks: Marks,
        lanes: Sequence[tuple[int, str]],
        bands: Iterable[Band] = (),
        note: str = "",
        faults: Sequence[str] = (),
    ) -> None:
        """Show these; from any thread. Only new marks at the end are sent to the browser.

        Args:
            lanes: for each lane its number in `marks` and its name, in the order shown.
            bands: stretches of time to shade.
            note: what is missing from them, in words.
            faults: the faults among the marks in words, in order of time.
        """
        with self._lock:
            self._marks = marks
            self._names = [(number, clean(name)) for number, name in lanes]
            self._shaded, self._remark = list(bands), clean(note)
            self._fault_texts = list(faults)
        self._coalescer.trigger()

    def _push(self) -> None:
        with self._lock:
            marks, names, bands, remark = self._marks, self._names, self._shaded, self._remark
            faults = self._fault_texts[-_MAX_FAULTS:]
        with self.hold_sync():
            self._lanes = [list(lane) for lane in names]
            self._counts = [list(count) for count in marks.counts()]
            self._faults = faults
            self._bands = [[int(band.lane), band.start, band.end] for band in bands]
            if not self._goes_on(marks):
                self._send_base(marks)
            fresh = np.arange(self._sent_end, len(marks))
            self._tail = _batch(marks, fresh[self._is_drawn(marks.event[fresh])])
            self.note = "; ".join(note for note in (remark, self._drawn.note) if note)

    def _goes_on(self, marks: Marks) -> bool:
        """Whether the marks sent before still hold, so that the new ones are enough."""
        sent, end, drawn = self._sent, self._sent_end, self._drawn.events
        if sent is None or len(marks) - end > _MAX_TAIL or self.live != self._sent_live:
            return False
        if len(marks) < end or any(
            not np.array_equal(new[:end], old[:end]) for new, old in zip(marks, sent, strict=True)
        ):
            return False
        wanted = sample(marks, always=self._always(marks), max_events=self.max_events).events
        known = wanted[: len(drawn)]
        return not self._drawn.note or not (known & ~drawn[: len(known)]).any()

    def _send_base(self, marks: Marks) -> None:
        self._drawn = sample(
            marks,
            newest=_NEWEST if self.live else 0,
            always=self._always(marks),
            max_events=self.max_events,
        )
        places = self._drawn.places
        self._sent, self._sent_live = marks, self.live
        self._sent_end = max(0, len(marks) - _TAIL) if self.live else len(marks)
        self._base = _batch(marks, places[places < self._sent_end])

    def _always(self, marks: Marks) -> list[int]:
        """The events that the user follows or has stepped to."""
        wanted = [self.selected]
        if 0 < self.position <= len(marks):
            wanted.append(int(marks.event[self.position - 1]))
        return wanted

    def _is_drawn(self, events: Any) -> Any:
        """Which of these events are drawn; those that came after the choice was made are."""
        drawn = self._drawn.events
        known = events < len(drawn)
        return ~known | drawn[np.where(known, events, 0)]

    def _on_message(self, message: dict[str, Any]) -> None:
        if message.get("type") == "about" and self._about is not None:
            text = clean(self._about(int(message["n"])), _MAX_ABOUT)
            self.send({"type": "about", "n": message["n"], "text": text})

    def static_html(self) -> str:
        """The timeline as a picture without scripts."""
        with self._lock:
            return lanes_svg(self._marks, self._names, self.title, self._fault_texts)


def _batch(marks: Marks, places: Any) -> dict[str, Any]:
    """Marks as bytes, array by array."""
    return {
        "time": marks.time[places].tobytes(),
        "n": places.astype(np.uint32).tobytes(),
        "event": marks.event[places].astype(np.uint32).tobytes(),
        "kind": marks.look[places].astype(np.uint8).tobytes(),
        "lane": marks.lane[places].astype(np.uint8).tobytes(),
        "delivery": np.minimum(marks.delivery[places], 65_535).astype(np.uint16).tobytes(),
    }
