"""What a delivery record looks like in a notebook: draws the model, whose methods its controls
call."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import ipywidgets
import pandas as pd

from varco_nats_widgets._session.background import describe_error
from varco_nats_widgets._ui.coalesce import Coalescer
from varco_nats_widgets._ui.controls import (
    MAX_TEXT,
    button,
    close_all,
    dropdown,
    open_page,
    row,
    scaled,
    tab_pages,
    text_field,
    text_html,
    turn_to,
)
from varco_nats_widgets._ui.model_view import DrawPart, ModelView, view_of
from varco_nats_widgets._ui.parts import StatusBar
from varco_nats_widgets._ui.views import DataTable, TimeChart
from varco_nats_widgets.delivery._copies_chart import Copies, copies_chart
from varco_nats_widgets.delivery._delivery import Delivery
from varco_nats_widgets.delivery._flow_bars import FlowBars, Stage, stages_of
from varco_nats_widgets.delivery._histogram import Durations
from varco_nats_widgets.delivery._lane_feed import LaneFeed
from varco_nats_widgets.delivery._lanes import LaneChart
from varco_nats_widgets.experiment import SEMANTICS
from varco_nats_widgets.experiment._faults import SPECS, Fault
from varco_nats_widgets.frames._cells import clean, escape
from varco_nats_widgets.record import Verdict
from varco_nats_widgets.record._frames import flow as flow_of

_SHARE = 0.25  # of the time at most, for drawing what is slow to make
_ORDER_ROWS = 1000  # a record of more rows is drawn over time at first
_LEDGER_ROWS = 12  # in the HTML for a notebook without a kernel
_ALWAYS_COMPARED = ("stored", "deduplicated", "redelivered", "handled", "dead_lettered", "lost")
_LATENCIES = {
    "to the stream": ("publish_to_stored", "stored"),
    "to a consumer": ("publish_to_delivered", "delivered"),
    "to the ack": ("publish_to_acked", "acked"),
}


@dataclass(frozen=True, eq=False)
class _TabPage:
    """A page under the timeline, which is drawn while it is open."""

    box: Any
    draw: Callable[[], None]
    depends_on: tuple[str, ...] = ()
    """Traits that its drawing depends on besides the record."""


@view_of.register(Delivery)
class DeliveryView(ModelView[Delivery]):
    """Draws a delivery record and its experiments.

    Its parts are there for what builds on it: `timeline`, `flow`, `copies`, `durations`,
    `latency`, `ledger`, `message`, `comparison`, `tabs` and so on, and `box` with all of them.

    Args:
        can_run: whether experiments can be run, so that there are controls for them.
    """

    gone = "this delivery is gone; make a new one: lab.delivery()"

    def __init__(self, delivery: Delivery, can_run: bool) -> None:
        super().__init__(delivery)
        self._can_run = can_run
        self._feed = LaneFeed(delivery.record)
        self._copies: Copies | None = None
        self._drawn: dict[_TabPage, tuple[Any, ...]] = {}  # what each page shows
        self._tab_coalescer = Coalescer(self._draw_page)
        self._coalescers.append(self._tab_coalescer)
        self._make_pictures()
        self._make_controls()
        self._begin(self._layout())

    def close(self) -> None:
        """End the view; it disappears from the page."""
        super().close()
        close_all(self.controls)  # they may not be in the box

    def static_html(self, _: str) -> str:
        """The timeline as a picture, the flow and the first events as tables."""
        record = self.model.record
        lines = [record.title, record.verdict.text if record.verdict else ""]
        head = "".join(f"<p>{escape(clean(line, MAX_TEXT))}</p>" for line in lines if line)
        head += self.status.static_html()
        if not len(record):
            return head
        flow, table = FlowBars(), DataTable()
        flow.set_stages(_stages(record.ledger))
        table.set_frame(_ledger_shown(record.ledger))
        shown = flow.static_html() + table.static_html(_LEDGER_ROWS, "event")
        close_all(flow)
        close_all(table)
        return f"{head}{self.timeline.static_html()}{shown}"

    def _usable_when_closed(self) -> Iterable[Any]:
        steps = (self.first, self.back, self.play, self.forward, self.last)
        return (*steps, *(self.shown.values() if self.model.comparison else ()))

    def _is_settled(self) -> bool:
        return self.model.record.done and not self.model.running

    # Parts

    def _make_pictures(self) -> None:
        self.timeline = LaneChart(about=self._about)
        self.timeline.observe(self._sets("selected"), "selected")
        self.timeline.observe(self._sets("position"), "position")
        self.flow = FlowBars()
        self.message = DataTable(height=240)
        self.message.on_open(self._on_row)
        self.copies = LaneChart(
            "Copies and their duplicate windows",
            axis="time only",
            lane_height=32,
            about=self._about_copy,
        )
        self.copies.observe(self._sets("selected"), "selected")
        self.copies_table = DataTable(height=200)
        self.durations = Durations()
        self.latency = TimeChart("Over time", "ms", height=140)
        self.ledger = DataTable(height=300)
        self.ledger.observe(self.on_user_change(self._on_ledger), "selected")
        self.comparison = DataTable(height=320)

    def _make_controls(self) -> None:
        made = self._button
        self.first = made("First", "fast-backward", "Show the first row only", Delivery.first)
        self.back = made("Back", "step-backward", "Show one row fewer", Delivery.back)
        self.forward = made("Forward", "step-forward", "Show one row more", Delivery.forward)
        self.last = made("Last", "fast-forward", "Show all rows", Delivery.last)
        self.play = button("Play", "play", "Show row after row", self._on_play)
        self.step = ipywidgets.HTML()
        self.verdict = ipywidgets.HTML()
        self.status = StatusBar(
            on_stop=lambda: self.model.cancel(), on_retry=lambda: self.model.retry()
        )
        self.semantics = dropdown("Semantics", SEMANTICS, "230px", "71px")
        self.fault = dropdown("Fault", list(SPECS), "250px", "43px")
        self.about_fault = ipywidgets.HTML()
        self.events = ipywidgets.IntText(
            description="Events",
            layout={"width": scaled("130px")},
            style={"description_width": scaled("48px")},
        )
        self.at = text_field("At event", "middle", "140px", "58px")
        self.window = text_field("Window", "seconds", "150px", "54px")
        self.run = made("Run", "play", "Run the experiment", Delivery.start)
        all_three = "Run the experiment under all three semantics"
        self.compare = made("Compare", "columns", all_three, Delivery.start_compare)
        self.cancel = made("Cancel", "stop", "Cancel the experiment that runs", Delivery.cancel)
        self.shown = {
            name: button(
                name, "eye", f"Show the experiment under {name}", partial(self._on_shown, name)
            )
            for name in SEMANTICS
        }
        self._settings = {"semantics": self.semantics, "fault": self.fault, "events": self.events}
        for name, control in self._settings.items():
            control.observe(self._sets(name), "value")
        self.at.observe(self._sets("at", _integer), "value")
        self.window.observe(self._sets("duplicate_window", _number), "value")

    def _button(
        self, label: str, icon: str, tooltip: str, action: Callable[[Delivery], object]
    ) -> Any:
        """A button that has the model do something."""
        return button(label, icon, tooltip, lambda: self._attempt(partial(action, self.model)))

    def _layout(self) -> Any:
        options = row(self.events, self.at, self.window, self.run, self.compare, self.cancel)
        self.controls = ipywidgets.VBox(
            [row(self.semantics, self.fault), self.about_fault, options]
        )
        steps = row(self.first, self.back, self.play, self.forward, self.last, self.step)
        pages = self._pages()
        self.tabs = tab_pages({title: page.box for title, page in pages.items()})
        self._page_of = {page.box: page for page in pages.values()}
        self._comparison_page = pages["Comparison"]
        self.tabs.observe(lambda _: self._tab_coalescer.trigger(), "selected_index")
        parts = [self.status, self.verdict, self.timeline, steps, self.tabs]
        box = ipywidgets.VBox([self.controls, *parts] if self._can_run else parts)
        box.add_class("varco-delivery")
        return box

    def _pages(self) -> dict[str, _TabPage]:
        """The pages by their titles."""
        selected, compared = ("selected",), ("comparison", "progress", "running")
        times = ipywidgets.VBox([self.durations, self.latency], layout={"grid_gap": "8px"})
        copies = ipywidgets.VBox([self.copies, self.copies_table])
        comparison = ipywidgets.VBox([row(*self.shown.values()), self.comparison])
        return {
            "Flow": _TabPage(ipywidgets.VBox([self.flow]), self._draw_flow),
            "Message": _TabPage(ipywidgets.VBox([self.message]), self._draw_message, selected),
            "Deduplication": _TabPage(copies, self._draw_deduplication, selected),
            "Latency": _TabPage(times, self._draw_latency),
            "Ledger": _TabPage(ipywidgets.VBox([self.ledger]), self._draw_ledger, selected),
            "Comparison": _TabPage(comparison, self._draw_comparison, compared),
        }

    # What the user does

    def _sets(
        self, name: str, read: Callable[[Any], Any] = lambda value: value
    ) -> Callable[[Any], None]:
        """An observer that sets a trait of the model to what the user set a control to."""

        def change(value: Any) -> None:
            self.model.set_trait("error", "")
            self._attempt(lambda: setattr(self.model, name, read(value)))

        return self.on_user_change(change)

    def _attempt(self, action: Callable[[], object]) -> None:
        """Do it; what it raises is shown."""
        try:
            action()
        except Exception as error:
            self.model.set_trait("error", describe_error(error))

    def _on_play(self) -> None:
        (self.model.pause if self.model.playing else self.model.play)()

    def _on_ledger(self, rows: list[object]) -> None:
        events = [event for event in rows if isinstance(event, int)]
        self.model.selected = events[0] if len(events) == 1 else 0

    def _on_row(self, n: object) -> None:
        if isinstance(n, int):
            self.model.pause()
            self.model.position = n + 1 if n + 1 < len(self.model.record) else -1

    def _on_shown(self, semantics: str) -> None:
        if (comparison := self.model.comparison) is not None:
            self.model.show(comparison.experiments[semantics])

    def _about(self, n: int) -> str:
        """What is known of a row besides what its mark shows."""
        return about_row(self.model.record.frame.iloc[n])

    def _about_copy(self, n: int) -> str:
        shown = self._copies
        if shown is None or n >= len(shown.rows):
            return ""
        return about_copy(self.model.record.copies.iloc[shown.rows[n]])

    # Drawing

    def _parts(self) -> Iterable[DrawPart]:
        return (self._draw_timeline, self._draw_controls, self._draw_step, self._draw_status)

    def _draw_timeline(self, changed: set[str]) -> None:
        model, timeline = self.model, self.timeline
        record = model.record
        if "record" in changed:
            self._feed = LaneFeed(record)
            timeline.title = clean(record.title)
            timeline.axis = "order" if self._in_order() else "time"
        if changed & {"record", "rows", "done"}:
            started = time.perf_counter()
            self._feed.renew()
            timeline.set_marks(self._feed.marks, self._feed.lanes, faults=self._feed.faults)
            timeline.live = not record.done and model.experiment is None and len(record) > 0
            cost = time.perf_counter() - started
            self._coalescer.hz = min(10.0, _SHARE / max(cost, 1e-6))
        if "selected" in changed:
            timeline.selected = model.selected
        if "position" in changed:
            timeline.position = model.position

    def _in_order(self) -> bool:
        """Whether marks stand one step after another: most of an experiment is waiting."""
        return self.model.experiment is not None or (
            self.model.record.done and len(self.model.record) <= _ORDER_ROWS
        )

    def _draw_controls(self, changed: set[str]) -> None:
        model = self.model
        for name in changed & self._settings.keys():
            self._settings[name].value = getattr(model, name)
        if "at" in changed:
            self.at.value = "" if model.at is None else str(model.at)
        if "duplicate_window" in changed:
            window = model.duplicate_window
            self.window.value = "" if window is None else f"{window:g}"
        if "fault" in changed:
            self.about_fault.value = text_html(Fault(model.fault).description)
        self.run.disabled = self.compare.disabled = bool(model.running)
        self.cancel.disabled = not model.running
        if "comparison" in changed and model.comparison is not None:
            turn_to(self.tabs, self._comparison_page.box)
        self.play.description = "Pause" if model.playing else "Play"
        self.play.icon = "pause" if model.playing else "play"

    def _draw_status(self, _: object) -> None:
        model = self.model
        done, total = model.progress
        self.status.show(
            place_of(model, self._can_run) + self._mark,
            f"{done:,} of {total:,} events published",
            model.notice,
            busy=bool(model.running),
            progress=model.progress,
        )
        self.verdict.value = verdict_html(model.record.verdict)

    @property
    def _mark(self) -> str:
        """What follows where the user is, in a lab that only looks."""
        if not self.model.read_only:
            return ""
        return " · read-only" + (", experiments have servers of their own" * self._can_run)

    def _show_problem(self) -> None:
        self.status.show_problem(self.model.error, self.problem)

    def _draw_step(self, changed: set[str]) -> None:
        model = self.model
        rows = model.rows
        if changed & {"position", "rows", "record"}:
            self.step.value = text_html(step_in_words(model.step, model.position, rows))
        at_end = model.position < 0
        self.first.disabled = self.back.disabled = self.play.disabled = not rows
        self.forward.disabled = self.last.disabled = at_end

    def _draw_page(self) -> None:
        """What the open page shows; slow for a long record, and drawn less often then."""
        if (model := self._model_of()) is None:
            return
        page, record = self._page_of[open_page(self.tabs)], model.record
        others = [getattr(model, name) for name in page.depends_on]
        shown = (id(record), len(record), record.done, record.dropped, *others)
        if self._drawn.get(page) == shown:
            return
        started = time.perf_counter()
        if self._draw_parts("tab", page.draw):
            self._drawn[page] = shown
            cost = time.perf_counter() - started
            self._tab_coalescer.hz = min(10.0, _SHARE / max(cost, 1e-6))

    def _draw_flow(self) -> None:
        self.flow.set_stages(_stages(self.model.record.ledger))

    def _draw_message(self) -> None:
        self.message.set_frame(_rows_shown(self.model.selected_rows))

    def _draw_deduplication(self) -> None:
        model = self.model
        frame = model.record.copies
        shown = copies_chart(frame, model.selected, model.record.duplicate_window)
        self._copies = shown
        self.copies.set_marks(shown.marks, shown.lanes, shown.bands, shown.note)
        self.copies.selected = model.selected
        self.copies_table.set_frame(_copies_shown(frame))

    def _draw_latency(self) -> None:
        frame = self.model.record.latency
        values = {
            name: (look, frame[column].to_numpy(dtype="float64"))
            for name, (column, look) in _LATENCIES.items()
        }
        unseen = len(frame) and frame["publish_to_stored"].isna().all()
        if unseen:  # nobody saw when it was published
            del values["to the stream"]
        self.durations.title = f"From {'storing' if unseen else 'publishing'}, by event"
        if negative := sum(int((times < 0).sum()) for _, times in values.values()):
            self.durations.title += f" ({negative:,} below zero: the clocks differ)"
        self.durations.set_values(values)
        stored_at = frame["stored_at"].astype("int64").to_numpy(dtype="float64") / 1e6
        self.latency.set_series(
            {
                name: (stored_at[known].tolist(), (frame[column][known] * 1000).tolist())
                for name, (column, _) in _LATENCIES.items()
                if (known := frame[column].notna().to_numpy()).any()
            }
        )

    def _draw_ledger(self) -> None:
        self.ledger.set_frame(_ledger_shown(self.model.record.ledger))
        selected = [self.model.selected] if self.model.selected else []
        if self.ledger.selected != selected:
            self.ledger.selected = selected

    def _draw_comparison(self) -> None:
        comparison = self.model.comparison
        for control in self.shown.values():
            control.disabled = comparison is None
        if comparison is not None:
            self.comparison.set_frame(_comparison_shown(comparison.frame))


def _stages(ledger: pd.DataFrame) -> list[Stage]:
    """The bars of the flow."""
    outcomes = ledger["outcome"].value_counts()
    return stages_of(flow_of(ledger), dict(zip(outcomes.index, outcomes, strict=True)))


def place_of(model: Delivery, can_run: bool) -> str:
    """What is shown, in words."""
    if model.running:
        return clean(f"Running {model.running}")
    if not len(model.record):
        return "Choose an experiment and run it." if can_run else "Nothing has happened yet."
    parts = [f"{len(model.record.ledger):,} events"] if model.record.done else []
    return " · ".join([*parts, f"{model.rows:,} rows", "done" if model.record.done else "live"])


def step_in_words(step: pd.Series[Any] | None, position: int, rows: int) -> str:
    """The row that the steps have come to."""
    if not rows:
        return "no rows yet"
    if step is None:
        return f"all {rows:,} rows" if position else f"before the first of {rows:,} rows"
    parts = [
        f"row {position:,} of {rows:,}",
        str(step["kind"]).replace("_", " "),
        str(step["process"]),
        f"event {step['event']}" if step["event"] else str(step["error"]),
    ]
    if step["delivery"] > 0:
        parts.append(f"delivery {step['delivery']}")
    return " · ".join(parts)


def verdict_html(verdict: Verdict | None) -> str:
    """Whether what happened was promised, with a mark besides the colour."""
    if verdict is None:
        return ""
    sign, color = ("✓", "success") if verdict.holds else ("✗", "error")
    outcome = "As promised." if verdict.holds else "Not as promised."
    border = f"border-left: 3px solid var(--jp-{color}-color1, currentColor)"
    return (
        f'<div style="{border}; padding-left: 8px; line-height: 1.5"><b>{sign} {outcome}</b> '
        f"{text_html(verdict.text)}</div>"
    )


def about_row(row: pd.Series[Any]) -> str:
    """What is known of a row besides what its mark shows."""
    known = {
        "id": row["event_id"],
        "type": row["event_type"],
        "channel": row["channel"],
        "sequence": row["seq"],
        "error": row["error"],
    }
    lines = [f"{name}: {value}" for name, value in known.items() if not pd.isna(value)]
    if not pd.isna(row["since_published"]):
        lines.append(f"{row['since_published'] * 1000:,.1f} ms after it was published")
    return "\n".join(lines)


def about_copy(copy: pd.Series[Any]) -> str:
    """What is known of a copy."""
    outcome = "dropped" if copy["dropped"] else "stored"
    lines = [f"copy {copy['copy']}: {'not stored' if pd.isna(copy['arrived_at']) else outcome}"]
    lines.append(f"id: {copy['event_id']}")
    if not pd.isna(copy["seq"]):
        lines.append(f"sequence: {copy['seq']}")
    if not pd.isna(copy["window_ends_at"]):
        lines.append(f"its duplicate window ends at {copy['window_ends_at']:%H:%M:%S.%f} UTC")
    return "\n".join(lines)


def _rows_shown(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of one event for people: times since its publishing in ms."""
    shown = pd.DataFrame(index=frame.index)
    shown["after (ms)"] = (frame["since_published"] * 1000).round(3)
    for name in ("kind", "process", "delivery", "seq", "channel", "error", "time", "event_id"):
        shown[name] = frame[name]
    return shown


def _ledger_shown(ledger: pd.DataFrame) -> pd.DataFrame:
    """The ledger by the events' numbers, with what became of them first."""
    shown = ledger.reset_index().set_index("event")
    first = ["outcome", "published", "stored", "deduplicated", "delivered", "redelivered"]
    names = [*first, *(name for name in shown.columns if name not in (*first, "event_id"))]
    return shown[[*names, "event_id"]]


def _copies_shown(copies: pd.DataFrame) -> pd.DataFrame:
    """The copies by event, with what became of them first."""
    shown = copies.set_index("event")
    first = ["copy", "dropped", "inside_window", "seq", "window_ends_at"]
    return shown[[*first, *(name for name in shown.columns if name not in first)]]


def _comparison_shown(frame: pd.DataFrame) -> pd.DataFrame:
    """A column for each semantics; counts that are 0 for all of them are left out."""
    first = ["struck", "as_promised"]
    counts = [name for name in frame.columns if name not in first]
    kept = [name for name in counts if name in _ALWAYS_COMPARED or frame[name].any()]
    return frame[[*first, *kept]].T.rename_axis("measured")


def _integer(text: str) -> int | None:
    try:
        return int(text) if text.strip() else None
    except ValueError:
        raise ValueError(f"{text!r} is not the number of an event, such as 10") from None


def _number(text: str) -> float | None:
    try:
        return float(text.removesuffix("s")) if text.strip() else None
    except ValueError:
        raise ValueError(f"{text!r} is not a number of seconds, such as 1.5") from None
