"""What an explorer looks like in a notebook: draws the model, whose methods its controls call."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from functools import partial
from typing import Any, Concatenate

import ipywidgets
import pandas as pd

from varco_nats_widgets._session.shown import close_all
from varco_nats_widgets._ui.coalesce import Coalescer, draw_each
from varco_nats_widgets._ui.controls import button, caption, row, text_field, text_html
from varco_nats_widgets._ui.message_view import MessageView
from varco_nats_widgets._ui.parts import ChannelList, CodeLine, StatusBar
from varco_nats_widgets._ui.registry import view_of
from varco_nats_widgets._ui.views import DataTable, TimeChart
from varco_nats_widgets.explorer._explorer import Explorer, ExplorerAio
from varco_nats_widgets.explorer._statistics import MAX_VALUES
from varco_nats_widgets.explorer._worker import ExplorerWorker
from varco_nats_widgets.frames._cells import clean, counted, escape
from varco_nats_widgets.frames._column_order import ColumnOrder

_CONTROLS = ("seek", "event_type", "text", "condition")
_MAX_TEXT = 2000
_FORMATS = (
    ("as the suffix says", None),
    ("Parquet", "parquet"),
    ("Parquet data set (folder)", "dataset"),
    ("NDJSON", "ndjson"),
    ("CSV", "csv"),
)
_LIMITS = (1_000, 10_000, 100_000, 1_000_000)
_STATISTICS_TAB = 1

_logger = logging.getLogger("varco_nats")


@view_of.register(Explorer)
class ExplorerView:
    """Draws `explorer`, at most ten times a second and only what changed; does not keep it alive.

    Its parts are there for what builds on it: `channels`, `table`, `status`, `message`, `chart`,
    `tabs` and so on, and `box` with all of them.
    """

    def __init__(self, explorer: Explorer, worker: ExplorerWorker) -> None:
        self._model_of = weakref.ref(explorer)
        self._worker = worker
        self._changed: set[str] = set()
        self._lock = threading.Lock()  # guards `_changed`
        self._problem = ""  # what could not be drawn, until it can be
        self._order = ColumnOrder()
        self._drawer = 0  # the thread that draws; what it sets in a control asks for nothing
        self._make_parts()
        self._make_controls()
        self.box = self._layout()
        self._coalescer = Coalescer(self._draw, on_error=self._failed)
        explorer.observe(self._on_change)
        self._changed |= set(explorer.trait_names())
        self._coalescer.trigger()

    @property
    def _model(self) -> Explorer:
        model = self._model_of()
        if model is None:
            raise ReferenceError("this explorer is gone; make a new one with lab.explore()")
        return model

    def flush(self) -> None:
        """Draw now what changed."""
        self._coalescer.flush()
        for part in (self.table, self.chart, *self._statistics_parts):
            part.flush()

    def close(self) -> None:
        """End the view; it disappears from the page."""
        if (model := self._model_of()) is not None:
            model.unobserve(self._on_change)
        self._coalescer.close()
        close_all(self.box)

    def mimebundle(self, text: str) -> dict[str, Any]:
        """What the notebook shows: the widget; without a kernel, the first rows as HTML."""
        self.flush()
        bundle: dict[str, Any] = self.box._repr_mimebundle_() or {}
        bundle["text/plain"] = text
        bundle["text/html"] = f"<p>{escape(text)}</p>{self.table.static_html()}"
        return bundle

    # Parts

    def _make_parts(self) -> None:
        self.channels = ChannelList(self._on_sight)
        self.channels.observe(self._on_chosen, "chosen")
        self.status = StatusBar(self._on_status)
        self.table = DataTable(height=300)
        self.table.observe(self._on_selected, "selected")
        self.table.on_open(self._on_open)
        self.message = MessageView()
        self.chart = TimeChart("messages/s", height=110)
        self.code = CodeLine("code that loads the page", "# no channel is chosen")
        self.selected_code = CodeLine("code that loads the selected rows", "# no row is selected")
        self.summary = ipywidgets.HTML()
        self.event_types = DataTable(height=180, figures=("messages", "bytes"))
        self.fields = DataTable(height=220, figures=("different",))
        self.values = DataTable(height=220, figures=("messages",))
        self.rates = TimeChart("messages stored over time", "messages/s", height=110)
        self._statistics_parts = (self.event_types, self.fields, self.values, self.rates)
        self.exported = ipywidgets.HTML()

    def _make_controls(self) -> None:
        self.oldest = button("Oldest", "fast-backward", "Go to the first page")
        self.older = button("Older", "chevron-left", "Go to the page before this one")
        self.newer = button("Newer", "chevron-right", "Go to the page after this one")
        self.newest = button("Newest", "fast-forward", "Go to the last page")
        self.refresh = button("Refresh", "refresh", "Read channels and page again")
        self.oldest.on_click(self._starting(ExplorerAio.oldest))
        self.older.on_click(self._starting(ExplorerAio.older))
        self.newer.on_click(self._starting(ExplorerAio.newer))
        self.newest.on_click(self._starting(ExplorerAio.newest))
        self.refresh.on_click(self._starting(ExplorerAio.refresh))
        self.tail = ipywidgets.ToggleButton(
            description="Live", icon="play", tooltip="Follow what arrives"
        )
        self.tail.observe(self._asked(lambda on: self._start(ExplorerAio.tail, on)), "value")
        self.seek = text_field("Go to", "#1234, 10m, 2026-05-04 10:00", "300px", "50px")
        self.seek.tooltip = "A sequence, how long ago, or a time (UTC)"
        self.seek.observe(self._asked(self._on_seek), "value")
        self.event_type = ipywidgets.Combobox(
            description="Type",
            placeholder="all event types",
            ensure_option=False,
            continuous_update=False,
            layout=ipywidgets.Layout(width="240px"),
            style={"description_width": "36px"},
        )
        self.text = text_field("Text", "in the payload", "190px", "34px")
        self.condition = text_field(
            "Where", 'total > 100 and status == "paid"', "auto", "46px", flex="1 1 260px"
        )
        for name in ("event_type", "text", "condition"):
            control = getattr(self, name)
            control.observe(self._asked(partial(self._on_filter, name)), "value")
        self.clear = button("Clear", "times", "Show all messages")
        self.clear.on_click(self._starting(ExplorerAio.clear_filter))
        self.limit = ipywidgets.Dropdown(
            description="Newest",
            options=[(f"{limit:,} messages", limit) for limit in _LIMITS],
            value=10_000,
            layout=ipywidgets.Layout(width="220px"),
            style={"description_width": "54px"},
        )
        self.describe = button("Count", "bar-chart", "Count what is in the chosen channels")
        self.describe.on_click(lambda _: self._start(ExplorerAio.describe, self.limit.value))
        self.path = text_field("File", "orders.parquet", "auto", "34px", flex="1 1 240px")
        self.format = ipywidgets.Dropdown(
            description="Format",
            options=_FORMATS,
            layout=ipywidgets.Layout(width="250px"),
            style={"description_width": "52px"},
        )
        self.overwrite = ipywidgets.Checkbox(
            description="replace what is there", indent=False, layout={"width": "auto"}
        )
        self.export = button("Export", "download", "Write all messages that match to this file")
        self.export.on_click(lambda _: self._on_export())

    def _layout(self) -> Any:
        left = ipywidgets.VBox([self.channels, self.chart], layout={"width": "230px"})
        left.layout.flex = "0 0 230px"
        pages = row(self.oldest, self.older, self.newer, self.newest, self.tail, self.seek)
        pages.children = (*pages.children, self.refresh)
        filters = row(self.event_type, self.text, self.condition, self.clear)
        right = ipywidgets.VBox(
            [pages, filters, self.status, self.table],
            layout={"flex": "1 1 0", "min_width": "0", "padding": "0 0 0 10px"},
        )
        statistics = ipywidgets.VBox(
            [row(self.limit, self.describe), self.summary, *self._statistics_parts]
        )
        saving = ipywidgets.VBox(
            [
                caption("This page, as Python"),
                self.code,
                caption("The selected rows, as Python"),
                self.selected_code,
                caption("All messages that match the filters, into a file beside this notebook"),
                row(self.path, self.format, self.overwrite, self.export),
                self.exported,
            ]
        )
        self.tabs = ipywidgets.Tab(
            [self.message, statistics, saving],
            titles=["Message", "Statistics", "Code and export"],
        )
        self.tabs.observe(self._on_tab, "selected_index")
        box = ipywidgets.VBox([ipywidgets.HBox([left, right]), self.tabs])
        box.add_class("varco-explorer")
        return box

    # What the user does

    def _start[**P](
        self,
        action: Callable[Concatenate[ExplorerAio, P], Coroutine[Any, Any, Any]],
        *args: P.args,
        **options: P.kwargs,
    ) -> Future[Any] | None:
        return self._worker.start(action, self._model.aio, *args, **options)

    def _starting(
        self, action: Callable[[ExplorerAio], Coroutine[Any, Any, Any]]
    ) -> Callable[[object], object]:
        return lambda _: self._start(action)

    def _asked(self, react: Callable[[Any], object]) -> Callable[[Any], None]:
        """An observer that is deaf to what this view itself sets."""

        def on_change(change: Any) -> None:
            if not self._draws:
                react(change["new"])

        return on_change

    def _on_sight(self, seen: bool) -> None:
        self._worker.set_visible(seen)

    def _on_chosen(self, change: Any) -> None:
        if not self._draws and tuple(change["new"]) != self._model.chosen:
            self._start(ExplorerAio.select, *change["new"])

    def _on_selected(self, change: Any) -> None:
        if self._draws:
            return
        seqs = [seq for seq in change["new"] if isinstance(seq, int)]
        self._model.selected_seqs = seqs
        if len(seqs) == 1:
            self._start(ExplorerAio.open, seqs[0])

    def _on_open(self, seq: Any) -> None:
        self.tabs.selected_index = 0
        if isinstance(seq, int):
            self._start(ExplorerAio.open, seq)

    def _on_seek(self, text: str) -> None:
        wanted = text.strip()
        number = wanted.removeprefix("#").replace(",", "").strip()
        if number.removeprefix("-").isdecimal():
            self._start(ExplorerAio.seek, seq=int(number))
        elif wanted:
            self._start(ExplorerAio.seek, time=wanted)

    def _on_filter(self, name: str, value: str) -> None:
        given: Any = value
        if name == "event_type":
            known = value in self._model.known_types  # which may have a comma in its name
            given = [value] if known else [n for part in value.split(",") if (n := part.strip())]
        self._start(ExplorerAio.filter, **{name: given})

    def _on_status(self, wanted: str) -> None:
        if wanted == "stop":
            self._model.stop()
        else:
            self._start(ExplorerAio.retry)

    def _on_tab(self, _: object) -> None:
        self._count_if_seen()

    def _count_if_seen(self) -> None:
        model = self._model
        seen = self.tabs.selected_index == _STATISTICS_TAB
        if seen and model.statistics is None and model.chosen:
            self._start(ExplorerAio.describe, self.limit.value)

    def _on_export(self) -> None:
        if not self.path.value.strip():
            self.exported.value = text_html("name a file, such as orders.parquet or orders.csv")
            return
        self.exported.value = text_html("exporting …")
        done = self._start(
            ExplorerAio.export,
            self.path.value.strip(),
            format=self.format.value,
            overwrite=self.overwrite.value,
        )
        if done is not None:
            done.add_done_callback(self._on_exported)

    def _on_exported(self, done: Any) -> None:
        if done.cancelled():
            text = "stopped; the same export goes on where it was"
        elif (error := done.exception()) is not None:
            text = f"not exported: {error}"
        else:
            result = done.result()
            text = (
                f"{counted(result.rows, 'row')} in {result.path.name}, {result.bytes:,} bytes; "
                f"load it with varco_nats_widgets.load({str(result.path)!r})"
            )
        self.exported.value = text_html(text)

    # Drawing

    @property
    def _draws(self) -> bool:
        return self._drawer == threading.get_ident()

    def _on_change(self, change: Any) -> None:
        with self._lock:
            self._changed.add(change["name"])
        self._coalescer.trigger()

    def _draw(self) -> None:
        model = self._model_of()  # held while it is drawn
        if model is None:
            return
        with self._lock:
            changed, self._changed = self._changed, set()
        self._drawer = threading.get_ident()
        try:
            error = draw_each(
                lambda: self._draw_channels(changed),
                lambda: self._draw_controls(changed),
                lambda: self._draw_page(changed),
                lambda: self._draw_message(changed),
                lambda: self._draw_statistics(changed),
            )
            if error is None:
                self._problem = ""
            else:
                with self._lock:  # to be drawn again with what changes next
                    self._changed |= changed
                self._failed(error)
            self._draw_status()
            if "chosen" in changed:
                self._count_if_seen()
        finally:
            self._drawer = 0

    def _draw_channels(self, changed: set[str]) -> None:
        model = self._model
        if "channels" in changed:
            self.channels.channels = channel_rows(model.channels)
        if "chosen" in changed:
            self.channels.chosen = list(model.chosen)
            self._order = ColumnOrder(several=len(model.chosen) > 1)
        if "rates" in changed:
            self.chart.set_series(model.rates)

    def _draw_controls(self, changed: set[str]) -> None:
        model = self._model
        if "known_types" in changed:
            self.event_type.options = model.known_types
        if "event_types" in changed:
            self.event_type.value = clean(", ".join(model.event_types), None)
        if "text" in changed:
            self.text.value = clean(model.text, None)
        if "condition" in changed:
            self.condition.value = clean(model.condition, None)
        if "follow" in changed:
            self.tail.value = model.follow
            self.tail.icon = "pause" if model.follow else "play"
            self.table.follow = model.follow or model.from_newer
            (self.box.add_class if model.follow else self.box.remove_class)("varco-live")
        self.oldest.disabled = self.older.disabled = not model.chosen or model.at_oldest
        self.newer.disabled = self.newest.disabled = not model.chosen

    def _draw_page(self, changed: set[str]) -> None:
        model = self._model
        if "page" in changed:
            self._draw_rows(model.page)
        if "selected_seqs" in changed and self.table.selected != model.selected_seqs:
            self.table.selected = model.selected_seqs
        if changed & {"code", "page", "selected_seqs"}:
            self.code.code = model.code
            self.selected_code.code = model.selected_code

    def _draw_rows(self, page: pd.DataFrame) -> None:
        columns = self._order.of(page, keep=self._model.follow)
        if columns != self.table.columns:
            self.table.columns = columns
        shown = self.table.frame.index
        fresh = page[page.index > shown[-1]] if self._model.follow and len(shown) else page
        kept = len(page) - len(fresh)
        if kept and shown[-kept:].equals(page.index[:kept]):
            self.table.append(fresh, keep=len(page))
            return
        # a page that was reached from its newer end is read upwards
        self.table.follow = self._model.follow or self._model.from_newer
        self.table.set_frame(page)

    def _draw_status(self) -> None:
        model, status = self._model, self.status
        done, total = model.progress
        with status.hold_sync():
            status.place = place_of(model)
            status.progress = {"busy": model.busy, "done": done, "total": total}
            status.reading = f"{done:,} of {total:,} looked at" if total else "reading …"
            status.notice = clean(model.notice, _MAX_TEXT)
            status.problem = clean(model.error, _MAX_TEXT) or self._problem

    def _draw_message(self, changed: set[str]) -> None:
        if "message" in changed:
            self.message.show(self._model.message)

    def _draw_statistics(self, changed: set[str]) -> None:
        if "statistics" not in changed:
            return
        statistics = self._model.statistics
        for part in self._statistics_parts:
            part.layout.display = "none" if statistics is None else ""
        if statistics is None:
            self.summary.value = text_html("nothing is counted yet")
            return
        self.event_types.set_frame(_percent(statistics.event_types, "share"))
        self.fields.set_frame(_percent(_with_bounds(statistics.fields), "present"))
        self.values.set_frame(_percent(statistics.values.set_index("field"), "share"))
        self.rates.set_series(
            {name: (t.tolist(), v.tolist()) for name, (t, v) in statistics.rates.items()}
        )
        self.summary.value = text_html(statistics.summary())

    def _failed(self, error: Exception) -> None:
        problem = clean(f"{type(error).__name__}: {error}", _MAX_TEXT)
        if problem != self._problem:
            _logger.warning("the view of %r failed", self._model_of(), exc_info=error)
        self._problem = self.status.problem = problem


def channel_rows(channels: pd.DataFrame) -> list[list[Any]]:
    """For each channel its name, its count and its rate as text, and whether something arrives."""
    rows = []
    for name, messages, rate in zip(
        channels.index,
        channels.get("messages", ()),
        channels.get("per_second", ()),
        strict=False,
    ):
        known = not pd.isna(rate)
        shown = f"{rate:,.1f}/s" if known else ""
        count = counted(messages, "message")
        rows.append([clean(str(name)), count, shown, bool(known and rate > 0)])
    return rows


def place_of(model: Explorer) -> str:
    """Where in the channels the page is, in words."""
    if not model.chosen:
        return "Pick a channel."
    page, held = model.page, 0
    if "messages" in model.channels:
        held = int(model.channels["messages"].reindex(model.chosen).fillna(0).sum())
    names = clean(", ".join(model.chosen))
    parts = [names, f"{len(page):,} of {counted(held, 'message')}"]
    if len(page):
        parts.append(f"#{page.index[0]:,} to #{page.index[-1]:,}")
    if model.follow:
        parts.append(f"live, {model.received:,} arrived")
    return " · ".join(parts)


def _percent(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    """`frame` with a share as per cent, which is how people read it."""
    shares = (frame[column] * 100).round(1)
    return frame.assign(**{column: shares}).rename(columns={column: f"{column} %"})


def _with_bounds(fields: pd.DataFrame) -> pd.DataFrame:
    """`fields` with words where there are too many different values to count."""
    counted = [f"over {MAX_VALUES:,}" if pd.isna(n) else int(n) for n in fields["different"]]
    return fields.assign(different=pd.Series(counted, index=fields.index, dtype=object))
