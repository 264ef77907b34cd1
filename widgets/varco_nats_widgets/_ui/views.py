"""A table of any length and a time chart, both with code of our own in the browser.

Both may be fed from any thread; the browser is updated at most ten times a second. Data reaches it
as text only.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import anywidget
import numpy as np
import numpy.typing as npt
import pandas as pd
import traitlets

from varco_nats.errors import VarcoNatsError
from varco_nats_widgets._ui.arrangement import Arranged, arranged, arrangement_of
from varco_nats_widgets._ui.chart_svg import Points, chart_svg, thinned
from varco_nats_widgets._ui.coalesce import Coalescer
from varco_nats_widgets._ui.rows import Rows, formatted, labels_of, sorted_positions
from varco_nats_widgets._ui.searching import find
from varco_nats_widgets._ui.static_table import STATIC_CELL, table_html
from varco_nats_widgets.frames._cells import clean, escape, format_cell, row_id

_STATIC = Path(__file__).parent / "static"
_HZ = 10.0
_SORTED_HZ = 1.0  # a sorted table is sorted anew for each update
_PAGE = 40  # rows sent unasked, enough for the first paint
_MAX_WINDOW = 1000  # rows in one answer
_SPAN = 60  # columns sent unasked
_MAX_POINTS = 2000
_MAX_CELL = 2000  # characters of one cell that is looked at by itself
_LINES = ("blue", "red", "green", "purple", "orange", "sky")  # as on a light page

_log = logging.getLogger(__name__)


def static(name: str) -> str:
    """What is in a file for the browser, which `widgets/js` is bundled to."""
    return (_STATIC / name).read_text(encoding="utf-8")


class BrowserWidget(anywidget.AnyWidget):
    """A widget with code of our own in the browser: updates at a bounded rate, errors shown."""

    error = traitlets.Unicode("").tag(sync=True)
    """What went wrong last in a callback or an update, shown in the widget; "" if nothing did."""

    def __init__(self, **traits: Any) -> None:
        # held while traits are set, as traitlets has no lock of its own; never while waiting for
        # another thread, except in a user's observer
        self._traits_lock = threading.RLock()
        self._coalescer = Coalescer(self._renew, _HZ, self._show_error)
        super().__init__(**traits)

    def flush(self) -> None:
        """Send the browser now what changed, instead of within a tenth of a second."""
        self._coalescer.flush()

    def close(self) -> None:
        """End the view; it disappears from the page."""
        if hasattr(self, "_coalescer"):
            self._coalescer.close()
        super().close()

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Take what the browser changed; what an observer raises is shown in `error`."""
        with self._traits_lock:
            self._guarded(super().set_state, sync_data)

    def _handle_custom_msg(self, content: Any, buffers: Any) -> None:
        self._guarded(self._on_message, content)

    def _on_message(self, message: dict[str, Any]) -> None:
        """Take a message of the browser."""

    def _renew(self) -> None:
        # an observer that runs now may be waiting for the thread that this one must not hold up
        if not self._traits_lock.acquire(timeout=0.1):
            self._coalescer.trigger()
            return
        try:
            self._push()
        finally:
            self._traits_lock.release()

    def _push(self) -> None:
        """Set the traits that the browser draws."""

    def _guarded(self, call: Callable[..., object], *args: Any) -> None:
        try:
            call(*args)
        except Exception as error:
            self._show_error(error)

    def _show_error(self, error: Exception) -> None:
        _log.warning("an update or a callback of %r failed", self, exc_info=error)
        # without the lock, where an observer that runs now waits for this thread
        is_locked = self._traits_lock.acquire(timeout=0.1)
        try:
            kind = "" if isinstance(error, VarcoNatsError) else f"{type(error).__name__}: "
            self.error = clean(f"{kind}{error}", 500)
        finally:
            if is_locked:
                self._traits_lock.release()

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def static_html(self) -> str:
        """What a notebook without a kernel shows; "" for nothing but the widget's name."""
        return ""

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]] | None:
        bundle = super()._repr_mimebundle_(**kwargs)
        if bundle is not None and (markup := self.static_html()):
            bundle[0]["text/html"] = markup
        return bundle


class DataTable(BrowserWidget):
    """A table of any number of rows, of which the browser gets only those in sight.

    Args:
        columns: the columns to show, in this order; empty shows all, in order of appearance.
        height: in pixels at most.
        follow: stay at the newest row as rows are added, until the user scrolls away.
        newest_first: show the last row at the top.
        figures: columns of counts, whatever their type: to the right, thousands grouped.
        hide_empty: leave out columns without any value, and say how many they are.
        is_page: there are more rows than these elsewhere; what is sorted or found says so.
        label: what a screen reader calls the table, where there are several.
    """

    _esm = static("table.js")
    _css = static("table.css")

    height = traitlets.Int(320).tag(sync=True)
    """Of the whole table at most, in pixels."""
    selected = traitlets.List[Any]().tag(sync=True)
    """Index values of the selected rows; those that are not integers, as text."""
    follow = traitlets.Bool(False).tag(sync=True)
    """Whether the newest row is kept in sight; scrolling away ends it, scrolling back resumes."""
    newest_first = traitlets.Bool(False).tag(sync=True)
    """Whether the last row is shown at the top."""
    sort_by = traitlets.Unicode("").tag(sync=True)
    """The column to sort by, or the index's name; "" for the order of arrival."""
    sort_descending = traitlets.Bool(False).tag(sync=True)
    """From the highest to the lowest."""
    columns = traitlets.List(traitlets.Unicode())
    """The columns to show, in this order; empty shows all."""
    arrangement = traitlets.Dict().tag(sync=True)
    """How the user has arranged the columns; see `arrangement_of`."""
    loading = traitlets.Bool(False).tag(sync=True)
    """Whether other rows are about to come: these are dimmed, and cannot be clicked."""
    is_page = traitlets.Bool(False).tag(sync=True)
    """Whether there are more rows elsewhere."""
    label = traitlets.Unicode("Rows").tag(sync=True)
    """What a screen reader calls the table."""
    can_filter = traitlets.Bool(False).tag(sync=True)
    """Whether somebody filters by a value that is chosen."""

    _columns = traitlets.List[Any]().tag(sync=True)  # [name, is numeric], the index first
    _window = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        columns: Sequence[str] = (),
        height: int = 320,
        *,
        follow: bool = False,
        newest_first: bool = False,
        figures: Collection[str] = (),
        hide_empty: bool = False,
        is_page: bool = False,
        label: str = "Rows",
    ) -> None:
        self._figures = frozenset(figures)
        self._hide_empty = hide_empty
        self._shown = Arranged([], 0, [], [])  # what the browser has
        self._is_loading = False
        self._keys = 0  # grows when keys begin to mean other rows
        self._lock = threading.Lock()  # guards what follows; nothing is awaited or sent under it
        self._rows = Rows()
        self._generation = 0
        self._sorted: tuple[pd.DataFrame, npt.NDArray[np.intp]] | None = None
        self._page = _PAGE
        self._span = (0, _SPAN)
        self._open_callbacks: list[Callable[[Any], object]] = []
        self._pick_callbacks: list[Callable[[str, Any, bool], object]] = []
        super().__init__(
            columns=[str(name) for name in columns],
            height=height,
            follow=follow,
            newest_first=newest_first,
            is_page=is_page,
            label=label,
        )
        self._coalescer.trigger()
        self.observe(self._reorder, ["sort_by", "sort_descending", "newest_first", "columns"])
        self.observe(self._rearrange, "arrangement")

    def __repr__(self) -> str:
        if not hasattr(self, "_lock"):
            return "DataTable()"
        return f"DataTable({len(self._labels())} columns)"

    @property
    def frame(self) -> pd.DataFrame:
        """The rows there are now, in order of arrival. Not to be changed in place."""
        with self._lock:
            return self._rows.frame()

    def set_frame(self, frame: pd.DataFrame) -> None:
        """Show these rows instead; from any thread. They are kept, not copied."""
        with self._lock:
            self._rows.replace(frame)
            self._generation += 1
            self._keys += 1
        self._coalescer.trigger()

    def in_order(self) -> list[Any]:
        """The index values of all rows, from the first that is shown to the last."""
        with self._lock:
            if self._sorted is not None:
                frame, order = self._sorted
                return frame.index.take(order).tolist()
            values: list[Any] = self._rows.frame().index.tolist()
        return values[::-1] if self.newest_first else values

    def load(self, on: bool) -> None:
        """Say that other rows are about to come, or that they are there; from any thread."""
        self._is_loading = on
        if on:
            self.loading = True
        else:  # with the rows, so that the ones before cannot be clicked until then
            self._coalescer.trigger()

    def append(self, frame: pd.DataFrame, keep: int) -> None:
        """Add rows at the end and drop the first ones beyond `keep`; from any thread.

        Raises:
            ValueError: `keep` is below 1.
        """
        if keep < 1:
            raise ValueError(f"keep must be at least 1 row, not {keep}")
        with self._lock:
            self._rows.append(frame, keep)
        self._coalescer.trigger()

    def on_open(self, callback: Callable[[Any], object]) -> None:
        """Have `callback` called with a row's index value on Enter or a double click.

        A value that is not an integer comes as text. What `callback` raises is shown in the widget.
        """
        self._open_callbacks.append(callback)

    def on_pick(self, callback: Callable[[str, Any, bool], object]) -> None:
        """Have `callback` called with a column, a value in it, and whether it is to be left out.

        What `callback` raises is shown in the widget.
        """
        self._pick_callbacks.append(callback)
        self.can_filter = True

    def static_html(self, rows: int = 50, noun: str = "row") -> str:
        """The first rows, or the newest while it follows, as an HTML table without scripts.

        It says how many of all rows these are.

        Args:
            rows: at most this many; fewer where their text is long.
            noun: what a row is.
        """
        with self._lock:
            base, total = self._rows.base, self._rows.total
            shown, index_label = self._arranged(), self._rows.index_label
            is_sorted = self._sorted is not None
        newest = not is_sorted and (self.newest_first or self.follow)
        first = 0 if is_sorted else base
        start = max(first, first + total - rows) if newest else first
        pieces = self._pieces(start, start + rows)
        _, cells = formatted(pieces, shown.labels[:_SPAN], STATIC_CELL, self._figures)
        if self.newest_first and not is_sorted:
            cells.reverse()
        which = f"sorted by {self.sort_by}" if is_sorted else "newest" if newest else "first"
        return table_html(
            [index_label, *shown.labels[:_SPAN]],
            cells,
            len(shown.labels) + len(shown.hidden),
            total,
            which,
            noun,
            from_end=newest and not self.newest_first,
        )

    def _labels(self) -> list[str]:
        return list(self.columns) or self._rows.labels

    def _arranged(self) -> Arranged:
        empty = self._rows.empty() if self._hide_empty else []
        return arranged(self._labels(), self.arrangement, empty)

    def _reorder(self, _: object) -> None:
        self._coalescer.hz = _SORTED_HZ if self.sort_by else _HZ
        with self._lock:
            self._generation += 1
            self._keys += 1
        self._coalescer.trigger()

    @traitlets.validate("arrangement")
    def _check_arrangement(self, proposal: Any) -> dict[str, Any]:
        return arrangement_of(proposal["value"])

    def _rearrange(self, _: object) -> None:
        self._coalescer.trigger()

    def _push(self) -> None:
        with self._lock:
            rows, shown = self._rows, self._arranged()
            if shown != self._shown:
                self._shown = shown
                self._generation += 1
            generation, keys, labels, days = self._generation, self._keys, shown.labels, rows.days()
            columns = [[rows.index_label, True]]
            right = {label for label in labels if rows.is_numeric(label)} | self._figures
            columns += [[label, label in right] for label in labels]
            base, total, page = rows.base, rows.total, self._page
            source = rows.frame() if self.sort_by else None
        order = None if source is None else self._order(source)
        with self._lock:
            self._sorted = None if source is None or order is None else (source, order)
        if self._sorted is not None:
            base = 0
        newest = self._sorted is None and (self.newest_first or self.follow)
        start = max(base, base + total - page) if newest else base
        window = self._read(start, page, *self._span)
        if generation != self._generation:  # of other columns than these; its turn comes
            return
        with self.hold_sync():
            self.loading = self._is_loading
            self._columns = columns
            self._window = {
                **window,
                "generation": generation,
                "keys": keys,
                "pinned": shown.pinned,
                "hidden": shown.hidden,
                "empty": shown.empty,
                "days": {label: day for label, day in days.items() if label in labels},
                "base": base,
                "total": total,
                "sorted": self._sorted is not None,
            }

    def _order(self, frame: pd.DataFrame) -> npt.NDArray[np.intp] | None:
        labels = self._rows.labels
        if self.sort_by in labels:
            values = frame.iloc[:, labels.index(self.sort_by)]
        elif self.sort_by == self._rows.index_label:
            values = frame.index.to_series()
        else:
            return None
        return sorted_positions(values, self.sort_descending)

    def _pieces(self, start: int, stop: int) -> list[pd.DataFrame]:
        """Rows by key: the number of arrival, or the position in a sorted table."""
        with self._lock:
            if self._sorted is None:
                return self._rows.slice(start, stop)
            frame, order = self._sorted
        return [frame.iloc[order[max(0, start) : max(0, stop)]]]

    def _read(self, start: int, count: int, first: int, last: int) -> dict[str, Any]:
        """A window of rows and columns: the pinned ones, and of the rest those from `first` on."""
        with self._lock:
            start = max(start, 0 if self._sorted else self._rows.base)
            all_labels, pinned = self._shown.labels, self._shown.pinned
        pieces = self._pieces(start, start + count)
        labels = [*all_labels[:pinned], *all_labels[pinned:][first:last]]
        ids, rows = formatted(pieces, labels, figures=self._figures, images=True)
        return {"start": start, "ids": ids, "rows": rows, "span": [first, last]}

    def _on_message(self, message: dict[str, Any]) -> None:
        match message.get("type"):
            case "window":
                self._answer(message)
            case "select":
                start, stop = int(message["start"]), int(message["stop"])
                ids = [row_id(v) for piece in self._pieces(start, stop) for v in piece.index]
                newest_first = self.newest_first and self._sorted is None
                with self._traits_lock:
                    self.selected = ids[::-1] if newest_first else ids
            case "copy":
                self.send(
                    {"type": "copied", "request": message["request"], "text": self._selected_tsv()}
                )
            case "cell":
                text = format_cell(self._value(message["id"], message["column"]), _MAX_CELL)
                self.send({"type": "cell", "request": message["request"], "text": text})
            case "find":
                self._find(message)
            case "open":
                for callback in list(self._open_callbacks):
                    self._guarded(callback, message["id"])
            case "pick":
                self.error = ""
                column = message["column"]
                value = self._value(message["id"], column)
                for pick in list(self._pick_callbacks):
                    self._guarded(pick, column, value, message["exclude"])

    def _answer(self, message: dict[str, Any]) -> None:
        count = min(int(message["count"]), _MAX_WINDOW)
        first, last = (int(place) for place in message["span"])
        self._span = (first, last)
        self._page = max(_PAGE, min(int(message["page"]), _MAX_WINDOW))
        window = self._read(int(message["start"]), count, first, last)
        self.send(
            {
                "type": "rows",
                "request": message["request"],
                "generation": message["generation"],
                **window,
            }
        )

    def _value(self, row: int | str, label: str) -> Any:
        """What is in a cell."""
        with self._lock:
            frame = self._rows.frame()
        place = next((n for n, value in enumerate(frame.index) if row_id(value) == row), None)
        if place is None:
            raise LookupError("this row is no longer here")
        labels = labels_of(frame)
        return frame.iat[place, labels.index(label)] if label in labels else frame.index[place]

    def _find(self, message: dict[str, Any]) -> None:
        with self._lock:
            frame, order = self._sorted or (self._rows.frame(), None)
            shown, generation = self._shown, self._generation
            first, days = (0 if order is not None else self._rows.base), self._rows.days()
        frame = frame if order is None else frame.iloc[order]
        found = find(frame, shown.labels, message["text"], days, self._figures)
        self.send(
            {
                "type": "found",
                "request": message["request"],
                "generation": generation,
                "places": [[first + row, column] for row, column in found.places],
                "total": found.total,
            }
        )

    def _selected_tsv(self) -> str:
        """The selected rows whole, with a header; tabs and line breaks as spaces."""
        wanted = set(self.selected)
        with self._lock:
            frame, order = self._sorted or (self._rows.frame(), None)
            labels, index_label = self._arranged().labels, self._rows.index_label
        if order is not None:
            frame = frame.iloc[order]
        elif self.newest_first:
            frame = frame.iloc[::-1]
        chosen = frame[[row_id(value) in wanted for value in frame.index]]
        _, rows = formatted([chosen], labels, None)
        lines = [[index_label, *labels], *rows]
        return "\n".join("\t".join(" ".join(c.split()) for c in line) for line in lines) + "\n"


class TimeChart(BrowserWidget):
    """Lines over time, drawn on a canvas.

    Args:
        title: shown above it.
        unit: of the values, such as `events/s`.
        height: in pixels; more where JupyterLab's font is larger than usual.
        from_zero: show 0 whatever the values are.
    """

    _esm = static("chart.js")
    _css = static("chart.css")
    _palette: ClassVar[dict[str, str]] = json.loads(static("palette.json"))

    title = traitlets.Unicode("").tag(sync=True)
    """Shown above the chart."""
    unit = traitlets.Unicode("").tag(sync=True)
    """Of the values."""
    height = traitlets.Int(120).tag(sync=True)
    """Of the drawing, in pixels."""
    from_zero = traitlets.Bool(True).tag(sync=True)
    """Whether 0 is shown whatever the values are; otherwise the values fill the height."""

    _series = traitlets.List[Any]().tag(sync=True)

    def __init__(
        self, title: str = "", unit: str = "", height: int = 120, *, from_zero: bool = True
    ) -> None:
        self._lock = threading.Lock()
        self._data: dict[str, Points] = {}
        super().__init__(title=clean(title), unit=clean(unit), height=height, from_zero=from_zero)

    def __repr__(self) -> str:
        return f"TimeChart({self.title!r})"

    def set_series(self, series: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> None:
        """Draw these series instead; from any thread.

        Args:
            series: by name, the times (seconds since 1970, ascending) and the values; NaN leaves
                a gap. Of more than 2,000 points, the lowest and highest of each part are drawn.

        Raises:
            ValueError: a series has not as many values as times.
        """
        data = {}
        for name, (times, values) in series.items():
            x, y = np.asarray(times, dtype=np.float64), np.asarray(values, dtype=np.float64)
            if x.shape != y.shape or x.ndim != 1:
                raise ValueError(f"series {name!r} has {x.size} times and {y.size} values")
            data[clean(str(name))] = thinned(x, y, _MAX_POINTS)
        with self._lock:
            self._data = data
        self._coalescer.trigger()

    def _push(self) -> None:
        with self._lock:
            data = self._data
        self._series = [
            {"name": name, "times": times.tobytes(), "values": values.tobytes()}
            for name, (times, values) in data.items()
        ]

    def static_html(self) -> str:
        """Its title, and a picture of its lines."""
        unit = f" ({self.unit})" if self.unit else ""
        title = f"<p>{escape(self.title + unit)}</p>" if self.title else ""
        with self._lock:
            data = self._data
        colors = [self._palette[name] for name in _LINES]
        return title + chart_svg(data, self.title, self.height, colors, from_zero=self.from_zero)
