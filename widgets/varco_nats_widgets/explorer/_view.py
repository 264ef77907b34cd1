"""What an explorer looks like in a notebook: draws the model, whose methods its controls call."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from functools import partial
from typing import Any

import ipywidgets
import numpy as np
import pandas as pd

from varco_nats_widgets._session.buckets import STREAM
from varco_nats_widgets._ui.controls import (
    button,
    caption,
    checkbox,
    dropdown,
    open_page,
    row,
    scaled,
    tab_pages,
    text_field,
    text_html,
    turn_to,
)
from varco_nats_widgets._ui.message_view import MessageView
from varco_nats_widgets._ui.model_view import CHOICE, DrawPart, ModelView, view_of
from varco_nats_widgets._ui.parts import ChannelList, CodeLine, StatusBar
from varco_nats_widgets._ui.views import DataTable, TimeChart
from varco_nats_widgets.decoders import NAMES
from varco_nats_widgets.explorer._choice import OWN, held_by
from varco_nats_widgets.explorer._comparing import (
    compared_of,
    comparisons,
    described_difference,
    name_of_comparison,
)
from varco_nats_widgets.explorer._explorer import Explorer, ExplorerAio
from varco_nats_widgets.explorer._field_counts import MAX_VALUES
from varco_nats_widgets.explorer._statistics import Rates
from varco_nats_widgets.explorer._worker import ExplorerWorker
from varco_nats_widgets.export import ExportResult
from varco_nats_widgets.frames._cells import clean, counted, escape
from varco_nats_widgets.frames._column_order import ColumnOrder
from varco_nats_widgets.publish._form import PublishForm

_FORMATS = (
    ("from the file name", ""),  # with None, ipywidgets now and then chooses no option at all
    ("Parquet", "parquet"),
    ("Parquet data set (folder)", "dataset"),
    ("NDJSON", "ndjson"),
    ("CSV", "csv"),
)
_NAMED = 3  # channels in the words that say where one is
_LIMITS = (1_000, 10_000, 100_000, 1_000_000)
_DRAWN = 8  # series of a chart, as many as can be told apart


@view_of.register(Explorer)
class ExplorerView(ModelView[Explorer]):
    """Draws an explorer.

    Its parts are there for what builds on it: `channels`, `table`, `status`, `message`, `chart`,
    `tabs` and so on, and `box` with all of them.

    Args:
        worker: does the work of `explorer`.
    """

    gone = "this explorer is gone; make a new one with lab.explore()"

    def __init__(self, explorer: Explorer, worker: ExplorerWorker) -> None:
        super().__init__(explorer)
        self._worker = worker
        self._order = ColumnOrder()
        self._held = pd.Series(dtype="int64")  # messages of each channel that is looked at
        self._marked: int | None = None  # the message that others are compared with
        self._export_text = ""  # what became of the last export
        self._edited: object = None  # another each time a message was given to the form
        self._drawn_edited: object = None
        self._make_parts()
        self._make_controls()
        self._begin(self._layout())

    def static_html(self, text: str) -> str:
        """The page, and what it is a page of."""
        model = self.model
        filters = {
            "type": ", ".join(model.event_types),
            "text": model.text,
            "where": model.condition,
        }
        said = [f"{name}: {clean(value)}" for name, value in filters.items() if value]
        shown = f"<p>{escape(' · '.join(said))}</p>" if said else ""
        return f"<p>{escape(text)}</p>{self.status.static_html()}{shown}{self.table.static_html()}"

    def _is_settled(self) -> bool:
        model = self.model
        return not (model.busy or model.follow)

    # Parts

    def _make_parts(self) -> None:
        self.channels = ChannelList(self._worker.set_visible, self._on_stream)
        self.channels.observe(self.on_user_change(self._on_chosen), "chosen")
        self.status = StatusBar(
            on_stop=lambda: self.model.stop(),
            on_retry=lambda: self._worker.start(self.model.aio.retry),
        )
        self.table = DataTable(height=300, hide_empty=True, is_page=True)
        self.table.observe(self.on_user_change(self._on_selected), "selected")
        arranging = ["arrangement", "sort_by", "sort_descending"]
        self.table.observe(self.on_user_change(self._on_arranged), arranging)
        self.table.on_open(self._on_open)
        self.table.on_pick(self._on_pick)
        self.message = MessageView(
            on_step=self._on_step,
            on_compare=self._on_compare,
            on_send=None if self._worker.read_only else self._on_send,
        )
        self.publish = PublishForm(
            self, lambda: self.model.__lab_handle__, self._worker.start, self.status.announce
        )
        self.chart = TimeChart("messages/s", height=110)
        self.code = CodeLine("code that loads the page", "# nothing is shown")
        self.selected_code = CodeLine("code that loads the selected rows", "# no row is selected")
        self.summary = ipywidgets.HTML()
        self.event_types = DataTable(height=180, figures=("messages", "bytes"))
        numbers = ("min", "median", "max", "different")
        self.fields = DataTable(height=220, figures=numbers)
        self.headers = DataTable(height=140, figures=numbers)
        self.values = DataTable(height=220, figures=("messages",))
        self.rates = TimeChart("messages stored over time", "messages/s", height=110)
        self._counts = (self.event_types, self.fields, self.headers, self.values, self.rates)
        self.exported = ipywidgets.HTML()

    def _make_controls(self) -> None:
        made, aio = self._button, ExplorerAio
        self.oldest = made("Oldest", "fast-backward", "Go to the first page", aio.oldest)
        self.older = made("Older", "chevron-left", "Go to the page before this one", aio.older)
        self.newer = made("Newer", "chevron-right", "Go to the page after this one", aio.newer)
        self.newest = made("Newest", "fast-forward", "Go to the last page", aio.newest)
        self.refresh = made(
            "Refresh", "refresh", "Read the channels and the page again", aio.refresh
        )
        self.clear = made("Clear", "times", "Show all messages", aio.clear_filter)
        self.tail = ipywidgets.ToggleButton(
            description="Live", icon="play", tooltip="Follow what arrives"
        )
        self.tail.observe(self.on_user_change(self._on_tail), "value")
        self.seek = text_field("Go to", "#1234, 10m, 13:17, 2026-05-04 10:00", "300px", "50px")
        self.seek.tooltip = "A sequence, how long ago, a time today or of a day (UTC)"
        self.seek.observe(self.on_user_change(self._on_seek), "value")
        self.event_type = ipywidgets.Combobox(
            description="Type",
            placeholder="all event types",
            ensure_option=False,
            continuous_update=False,
            layout=ipywidgets.Layout(width=scaled("200px")),
            style={"description_width": scaled("36px")},
        )
        self.text = text_field("Text", "in the payload", "190px", "34px")
        self.condition = text_field(
            "Where", 'total > 100 and status == "paid"', "auto", "46px", flex="1 1 180px"
        )
        self.in_headers = checkbox("headers too")
        self.in_headers.tooltip = "Look for the text in the headers of messages as well"
        filters = (("event_type", self.event_type), ("text", self.text))
        others = (("in_headers", self.in_headers), ("condition", self.condition))
        for name, control in (*filters, *others):
            control.observe(self.on_user_change(partial(self._on_filter, name)), "value")
        limits = [(f"{limit:,} messages", limit) for limit in _LIMITS]
        formats = [("as the lab says", ""), *((name, name) for name in NAMES)]
        self.decoder = dropdown("Read as", formats, "auto", "max-content")
        self.decoder.tooltip = "How the bytes of the payloads are read"
        self.decoder.observe(self.on_user_change(self._on_decoder), "value")
        self.limit = dropdown("Newest", limits, "220px", "54px")
        self.limit.value = 10_000
        self.describe = button(
            "Count", "bar-chart", "Count what is in the chosen channels", self._count
        )
        self.path = text_field("File", "orders.parquet", "auto", "34px", flex="1 1 240px")
        self.format = dropdown("Format", _FORMATS, "250px", "52px")
        self.overwrite = checkbox("replace an existing file")
        self.export = button(
            "Export", "download", "Write all messages that match to this file", self._on_export
        )

    def _button(
        self, label: str, icon: str, tooltip: str, action: Callable[[ExplorerAio], Any]
    ) -> Any:
        """A button that has the model do something."""
        return button(label, icon, tooltip, lambda: self._worker.start(action, self.model.aio))

    def _layout(self) -> Any:
        left = ipywidgets.VBox([self.channels, self.decoder, self.chart])
        left.add_class("varco-explorer-left")
        pages = row(self.oldest, self.older, self.newer, self.newest, self.tail, self.seek)
        pages.children = (*pages.children, self.refresh)
        filters = row(self.event_type, self.text, self.in_headers, self.condition, self.clear)
        right = ipywidgets.VBox(
            [pages, filters, self.status, self.table],
            layout={"flex": "1 1 0", "min_width": "0", "padding": "0 0 0 10px"},
        )
        self._statistics_page = ipywidgets.VBox(
            [row(self.limit, self.describe), self.summary, *self._counts]
        )
        saving = ipywidgets.VBox(
            [
                caption("Python code for this page"),
                self.code,
                caption("Python code for the selected rows"),
                self.selected_code,
                caption(
                    "Export all messages that match the filters to a file beside this notebook"
                ),
                row(self.path, self.format, self.overwrite, self.export),
                self.exported,
            ]
        )
        # the first page is open, and statistics are counted once theirs is
        pages_below = {"Code and export": saving, "Statistics": self._statistics_page}
        if not self._worker.read_only:
            pages_below["Publish"] = self.publish.box
        self.tabs = tab_pages(pages_below)
        self.tabs.observe(lambda _: self._count_if_seen(), "selected_index")
        beside = ipywidgets.VBox([self.message])
        beside.add_class("varco-explorer-beside")
        main = ipywidgets.VBox([ipywidgets.HBox([left, right]), beside])  # see message.css
        main.add_class("varco-explorer-main")
        box = ipywidgets.VBox([main, self.tabs])
        box.add_class("varco-explorer")
        return box

    # What the user does

    def _on_chosen(self, channels: list[str]) -> None:
        self._choose(self._worker.start(self.model.aio.select, *channels))

    def _on_stream(self, name: str) -> None:
        self._choose(self._worker.start(self.model.aio.select, stream=name))

    def _on_selected(self, rows: list[object]) -> None:
        seqs = [seq for seq in rows if isinstance(seq, int)]
        self.model.selected_seqs = seqs
        if len(seqs) == 1:
            self._worker.start(self.model.aio.open, seqs[0])

    def _on_open(self, seq: object) -> None:
        if isinstance(seq, int):
            self._worker.start(self.model.aio.open, seq)

    def _on_arranged(self, _: object) -> None:
        sort = f"{'-' * self.table.sort_descending}{self.table.sort_by}"
        self.model.columns = {**self.table.arrangement, "sort": sort}

    def _on_pick(self, column: str, value: Any, exclude: bool) -> None:
        found = self._worker.condition(column, value, exclude=exclude)
        self._worker.start(self.model.aio.filter, condition=found)

    def _on_step(self, by: int) -> None:
        self._worker.start(self.model.aio.next if by > 0 else self.model.aio.previous)

    def _on_compare(self, what: str) -> None:
        message = self.model.message
        if what == "mark" and message is not None:
            self._marked = message.seq
            what = f"#{message.seq}"
        to, by = compared_of(what)
        self._worker.start(self.model.aio.compare, to, by=by)

    def _on_send(self) -> None:
        self._worker.start(self._edit)

    async def _edit(self) -> None:
        """Begin the form with the message that is open."""
        try:
            opened = self._worker.opened
            origin, name = await opened.origin()
            self.publish.edit(name, origin, is_subject=opened.by_subject)
        except Exception as error:
            self.publish.fail(error)
        self._edited = object()
        self.redraw()

    def _on_tail(self, on: bool) -> None:
        self._worker.start(self.model.aio.tail, on)

    def _on_seek(self, text: str) -> None:
        wanted = text.strip()
        number = wanted.removeprefix("#").replace(",", "").strip()
        if number.removeprefix("-").isdecimal():
            self._worker.start(self.model.aio.seek, seq=int(number))
        elif wanted:
            self._worker.start(self.model.aio.seek, time=wanted)

    def _on_filter(self, name: str, value: Any) -> None:
        given: Any = value
        if name == "event_type":
            known = value in self.model.known_types  # which may have a comma in its name
            given = [value] if known else [n for part in value.split(",") if (n := part.strip())]
        self._worker.start(self.model.aio.filter, **{name: given})

    def _on_decoder(self, name: str) -> None:
        self._worker.start(self.model.aio.read_as, name or None)

    def _count(self) -> None:
        self._worker.start(self.model.aio.describe, self.limit.value)

    def _count_if_seen(self) -> None:
        seen = open_page(self.tabs) is self._statistics_page
        if seen and self.model.statistics is None and not self.model.channels.empty:
            self._count()

    def _on_export(self) -> None:
        path = self.path.value.strip()
        if not path:
            self._say_of_export("name a file, such as orders.parquet or orders.csv")
            return
        self._say_of_export("exporting …")
        exporting = self._worker.start(
            self.model.aio.export,
            path,
            format=self.format.value or None,
            overwrite=self.overwrite.value,
        )
        if exporting is not None:
            exporting.add_done_callback(self._on_exported)

    def _on_exported(self, exporting: Future[ExportResult]) -> None:
        if exporting.cancelled():
            text = "stopped; export to the same file again to continue"
        elif (error := exporting.exception()) is not None:
            text = f"not exported: {error}"
        else:
            result = exporting.result()
            text = (
                f"{counted(result.rows, 'row')} in {result.path.name}, {result.bytes:,} bytes; "
                f"load it with varco_nats_widgets.load({str(result.path)!r})"
            )
        self._say_of_export(text)

    def _say_of_export(self, text: str) -> None:
        """Show what becomes of an export; from any thread."""
        self._export_text = text
        self.redraw()

    # Drawing

    def _parts(self) -> Iterable[DrawPart]:
        return (
            self._draw_channels,
            self._draw_controls,
            self._draw_page,
            self._draw_message,
            self._draw_publishing,
            self._draw_statistics,
            self._draw_status,
        )

    def _draw_channels(self, changed: set[str]) -> None:
        model = self.model
        if "streams" in changed:
            self.channels.streams = stream_rows(model.streams)
        if changed & {"channels", "stream"}:
            self.channels.stream = model.stream
            self.channels.show(self._worker.noun, model.channels)
        if changed & {"chosen", CHOICE} and self._has_chosen:
            self.channels.chosen = list(model.chosen)
        if changed & {"chosen", "stream", "channels"} and "messages" in model.channels:
            self._held = held_by(model.channels["messages"], model.chosen)
        if changed & {"chosen", "stream"}:
            self._order = ColumnOrder(several=len(model.chosen) > 1)
        if "rates" in changed:
            busiest = sorted(model.rates, key=lambda name: -np.nansum(model.rates[name][1]))
            self.chart.set_series({name: model.rates[name] for name in busiest[:_DRAWN]})

    def _draw_controls(self, changed: set[str]) -> None:
        model = self.model
        if "known_types" in changed:
            self.event_type.options = model.known_types
        if "event_types" in changed:
            self.event_type.value = clean(", ".join(model.event_types), None)
        if "text" in changed:
            self.text.value = clean(model.text, None)
        if "decoder" in changed:
            if model.decoder not in dict(self.decoder.options).values():  # set from Python
                self.decoder.options = [*self.decoder.options, (model.decoder, model.decoder)]
            self.decoder.value = model.decoder
        if "in_headers" in changed:
            self.in_headers.value = model.in_headers
        if "condition" in changed:
            self.condition.value = clean(model.condition, None)
        if "follow" in changed:
            self.tail.value = model.follow
            self.tail.icon = "pause" if model.follow else "play"
            self.table.follow = model.follow or model.from_newer
            (self.box.add_class if model.follow else self.box.remove_class)("varco-live")
        self.oldest.disabled = self.older.disabled = model.at_oldest
        self.exported.value = text_html(self._export_text)

    def _draw_page(self, changed: set[str]) -> None:
        model = self.model
        if "columns" in changed:
            self._draw_arrangement(model.columns)
        if "page" in changed:
            self._draw_rows(model.page)
            name, samples = self._worker.opened.suggestion()
            by_subject = self._worker.opened.by_subject
            self.publish.suggest(name, is_subject=by_subject, samples=samples)
        if changed & {"page", "loading"}:
            self.table.load(model.loading)
        if "selected_seqs" in changed and self.table.selected != model.selected_seqs:
            self.table.selected = model.selected_seqs
        if changed & {"code", "page", "selected_seqs"}:
            self.code.code = model.code
            self.selected_code.code = model.selected_code

    def _draw_arrangement(self, columns: dict[str, Any]) -> None:
        sort = columns.get("sort", "")
        with self.table.hold_sync():
            self.table.arrangement = {n: v for n, v in columns.items() if n != "sort"}
            self.table.sort_by = sort.removeprefix("-")
            self.table.sort_descending = sort.startswith("-")

    def _draw_rows(self, page: pd.DataFrame) -> None:
        columns = self._order.of(page, keep=self.model.follow)
        if columns != self.table.columns:
            self.table.columns = columns
        shown = self.table.frame.index
        fresh = page[page.index > shown[-1]] if self.model.follow and len(shown) else page
        kept = len(page) - len(fresh)
        if kept and shown[-kept:].equals(page.index[:kept]):
            self.table.append(fresh, keep=len(page))
            return
        # a page that was reached from its newer end is read upwards
        self.table.follow = self.model.follow or self.model.from_newer
        self.table.set_frame(page)

    def _draw_status(self, _: object) -> None:
        model = self.model
        done, total = model.progress
        self.status.show(
            place_of(model, self._worker.noun, int(self._held.sum())) + self._worker.mark,
            f"{done:,} of {total:,} messages read" if total else "reading …",
            model.notice,
            busy=model.busy,
            progress=model.progress,
        )

    def _show_problem(self) -> None:
        self.status.show_problem(self.model.error, self.problem)

    def _draw_message(self, changed: set[str]) -> None:
        model, view = self.model, self.message
        if "message" in changed:
            view.show(model.message)
        if changed & {"message", "compared", "compared_by"}:
            chosen = name_of_comparison(model.compared, model.compared_by)
            view.comparisons = comparisons(model.message, self._marked, chosen)
            view.compared = chosen
        if "difference" in changed:
            view.difference = described_difference(model.difference)

    def _draw_publishing(self, changed: set[str]) -> None:
        self.publish.draw(changed)
        if (edited := self._edited) is not self._drawn_edited:
            self._drawn_edited = edited
            turn_to(self.tabs, self.publish.box)

    def _draw_statistics(self, changed: set[str]) -> None:
        if "chosen" in changed:
            self._count_if_seen()
        if "statistics" not in changed:
            return
        statistics = self.model.statistics
        for part in self._counts:
            part.layout.display = "none" if statistics is None else ""
        if statistics is None:
            self.summary.value = text_html("Nothing has been counted yet.")
            return
        self.event_types.set_frame(_percent(statistics.event_types, "share"))
        self.fields.set_frame(_percent(_in_words(statistics.fields), "present"))
        self.headers.set_frame(_percent(_in_words(statistics.headers), "present"))
        if statistics.headers.empty:
            self.headers.layout.display = "none"
        self.values.set_frame(_percent(statistics.values.set_index("field"), "share"))
        drawn = _busiest(statistics.rates)
        self.rates.set_series({name: (t.tolist(), v.tolist()) for name, (t, v) in drawn.items()})
        self.summary.value = text_html(statistics.summary())


def stream_rows(streams: pd.DataFrame) -> list[list[Any]]:
    """For each stream its name, what it is, and how many messages it holds; buckets come last."""
    kinds, counts = streams.get("kind", ()), streams.get("messages", ())
    rows = [
        [clean(str(name), None), str(kind), int(count)]
        for name, kind, count in zip(streams.index, kinds, counts, strict=True)
    ]
    return sorted(rows, key=lambda row: (row[1] != OWN, row[1] != STREAM))


def place_of(model: Explorer, noun: str, held: int) -> str:
    """Where in the stream the page is, in words.

    Args:
        held: how many messages there are where it is.
    """
    page = model.page
    names = ", ".join(model.chosen[:_NAMED]) or f"all {noun}s"
    left = len(model.chosen) - _NAMED
    parts = [clean(f"{names} and {left:,} more" if left > 0 else names)]
    if noun != "channel":
        parts.insert(0, clean(model.stream))
    parts.append(f"{len(page):,} of {counted(held, 'message')}")
    if len(page):
        parts.append(f"#{page.index[0]:,} to #{page.index[-1]:,}")
    if model.follow:
        parts.append(f"live, {model.received:,} arrived")
    return " · ".join(parts)


def _busiest(rates: Rates) -> Rates:
    """The rates of the busiest channels, and those of all others together."""
    if len(rates) <= _DRAWN:
        return rates
    names = sorted(rates, key=lambda name: -rates[name][1].sum())
    others = [rates[name] for name in names[_DRAWN - 1 :]]
    total = np.sum([values for _, values in others], axis=0)
    drawn = {name: rates[name] for name in names[: _DRAWN - 1]}
    return drawn | {f"{len(others):,} others": (others[0][0], total)}


def _percent(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    """`frame` with a share as per cent, which is how people read it."""
    shares = (frame[column] * 100).round(1)
    return frame.assign(**{column: shares}).rename(columns={column: f"{column} %"})


def _in_words(fields: pd.DataFrame) -> pd.DataFrame:
    """`fields` in the columns that there is room for, with words where no figure says it.

    The minimum and maximum of times are times, and their kind says the unit.
    """
    different = [f"over {MAX_VALUES:,}" if pd.isna(n) else int(n) for n in fields["different"]]
    frame = fields[["present", "kinds", "histogram", "min", "median", "max"]].assign(
        median=pd.Series(map(_rounded, fields["median"]), index=fields.index, dtype=object),
        different=pd.Series(different, index=fields.index, dtype=object),
        most_frequent=fields["most_frequent"],
    )
    times = fields[fields["unit"] != ""]
    frame.loc[times.index, "kinds"] = times["kinds"] + ", time (" + times["unit"] + ")"
    frame.loc[times.index, "min"] = [*map(_to_the_second, times["earliest"])]
    frame.loc[times.index, "max"] = [*map(_to_the_second, times["latest"])]
    frame.loc[times.index, "median"] = None
    return frame


def _to_the_second(time: pd.Timestamp) -> str:
    """A time as a table shows it; without its hours where it is a day."""
    text = time.isoformat(sep=" ", timespec="seconds")
    return text[:10] if time == time.normalize() else f"{text[:19]}Z"


def _rounded(median: float) -> float | None:
    """A median as a table shows it, to six digits or as an integer."""
    if pd.isna(median):
        return None
    return int(median) if median.is_integer() else float(f"{median:.6g}")
