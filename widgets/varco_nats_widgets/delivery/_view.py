"""What a delivery record looks like in a notebook: draws the model, whose methods its controls
call."""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable
from functools import partial
from operator import methodcaller
from typing import Any

import ipywidgets
import pandas as pd

from varco_nats_widgets._session.background import describe_error
from varco_nats_widgets._session.shown import close_all
from varco_nats_widgets._ui.coalesce import Coalescer, draw_each
from varco_nats_widgets._ui.controls import button, row, text_html
from varco_nats_widgets._ui.parts import StatusBar
from varco_nats_widgets._ui.registry import view_of
from varco_nats_widgets._ui.views import DataTable, TimeChart
from varco_nats_widgets.delivery._copies_chart import Copies, copies_chart
from varco_nats_widgets.delivery._delivery import Delivery
from varco_nats_widgets.delivery._flow_bars import FlowBars, stages_of
from varco_nats_widgets.delivery._histogram import Durations
from varco_nats_widgets.delivery._lane_feed import LaneFeed
from varco_nats_widgets.delivery._lanes import LaneChart
from varco_nats_widgets.experiment import SEMANTICS
from varco_nats_widgets.experiment._faults import SPECS
from varco_nats_widgets.frames._cells import clean, escape
from varco_nats_widgets.record import Verdict
from varco_nats_widgets.record._frames import flow as flow_of

_MAX_TEXT = 2000
_SHARE = 0.25  # of the time at most, for drawing what is slow to make
_ORDER_ROWS = 1000  # a record of more rows is drawn over time at first
_TABS = ("Flow", "Message", "Deduplication", "Latency", "Ledger", "Comparison")
_LEDGER_ROWS = 12  # in the HTML for a notebook without a kernel
_ALWAYS_COMPARED = ("stored", "deduplicated", "redelivered", "handled", "dead_lettered", "lost")
_LATENCIES = {
    "to the stream": ("publish_to_stored", "stored"),
    "to a consumer": ("publish_to_delivered", "delivered"),
    "to the ack": ("publish_to_acked", "acked"),
}

_logger = logging.getLogger("varco_nats")


@view_of.register(Delivery)
class DeliveryView:
    """Draws `delivery`, at most ten times a second and only what changed; does not keep it alive.

    Its parts are there for what builds on it: `timeline`, `flow`, `copies`, `durations`,
    `latency`, `ledger`, `message`, `comparison`, `tabs` and so on, and `box` with all of them.
    """

    def __init__(self, delivery: Delivery, can_run: bool) -> None:
        self._model_of = weakref.ref(delivery)
        self._can_run = can_run
        self._changed: set[str] = set()
        self._lock = threading.Lock()  # guards `_changed`
        self._problems: dict[str, str] = {}  # what could not be drawn, until it can be
        self._drawers: set[int] = set()  # threads that draw; what they set asks for nothing
        self._feed = LaneFeed(delivery.record)
        self._copies: Copies | None = None
        self._drawn: dict[str, tuple[Any, ...]] = {}  # by tab, what it shows
        self._make_pictures()
        self._make_controls()
        self.box = self._layout()
        self._coalescer = Coalescer(self._draw, on_error=self._failed)
        self._tab_coalescer = Coalescer(self._draw_tab, on_error=self._failed)
        delivery.observe(self._on_change)
        self._changed |= set(delivery.trait_names())
        self._coalescer.trigger()
        self._tab_coalescer.trigger()

    @property
    def _model(self) -> Delivery:
        """What is drawn."""
        if (model := self._model_of()) is None:
            raise ReferenceError("this delivery is gone; make a new one: lab.delivery()")
        return model

    def flush(self) -> None:
        """Draw now what changed."""
        self._coalescer.flush()
        self._tab_coalescer.flush()
        for part in self._pictures:
            part.flush()

    def close(self) -> None:
        """End the view; it disappears from the page."""
        if (model := self._model_of()) is not None:
            model.unobserve(self._on_change)
        self._coalescer.close()
        self._tab_coalescer.close()
        for part in (self.box, self.controls):  # the controls may not be in the box
            close_all(part)

    def mimebundle(self, text: str) -> dict[str, Any]:
        """What the notebook shows: the widget; without a kernel, the numbers as HTML."""
        self.flush()
        bundle: dict[str, Any] = self.box._repr_mimebundle_() or {}
        bundle["text/plain"] = text
        bundle["text/html"] = self.static_html()
        return bundle

    def static_html(self) -> str:
        """The timeline as a picture, the flow and the first events as tables; no scripts."""
        record = self._model.record
        words = [record.title, record.verdict.text if record.verdict else ""]
        said = "".join(f"<p>{escape(clean(line, _MAX_TEXT))}</p>" for line in words if line)
        self.flow.set_stages(self._stages())
        table = DataTable(static_rows=0)
        table.set_frame(_ledger_shown(record.ledger))
        shown = table.static_html(_LEDGER_ROWS)
        close_all(table)
        return f"{said}{self.timeline.static_html()}{self.flow.static_html()}{shown}"

    # Parts

    def _make_pictures(self) -> None:
        self.timeline = LaneChart(about=self._about)
        self.timeline.observe(self._asked("selected"), "selected")
        self.timeline.observe(self._asked("position"), "position")
        self.flow = FlowBars()
        self.message = DataTable(height=240, static_rows=0)
        self.message.on_open(self._on_row)
        self.copies = LaneChart(
            "Copies and their duplicate windows",
            axis="time only",
            lane_height=32,
            about=self._about_copy,
        )
        self.copies.observe(self._asked("selected"), "selected")
        self.copies_table = DataTable(height=200, static_rows=0)
        self.durations = Durations()
        self.latency = TimeChart("Over time", "ms", height=140)
        self.ledger = DataTable(height=300, static_rows=0)
        self.ledger.observe(self._on_ledger, "selected")
        self.comparison = DataTable(height=320, static_rows=0)
        self._pictures = (
            self.timeline,
            self.flow,
            self.message,
            self.copies,
            self.copies_table,
            self.durations,
            self.latency,
            self.ledger,
            self.comparison,
        )

    def _make_controls(self) -> None:
        self.first = button("First", "fast-backward", "Show the first row only")
        self.back = button("Back", "step-backward", "Show one row less")
        self.forward = button("Forward", "step-forward", "Show one row more")
        self.last = button("Last", "fast-forward", "Show all rows")
        self.play = button("Play", "play", "Step through the record by itself")
        for name in ("first", "back", "forward", "last"):
            getattr(self, name).on_click(self._calling(methodcaller(name)))
        self.play.on_click(
            self._calling(lambda model: (model.pause if model.playing else model.play)())
        )
        self.step = ipywidgets.HTML()
        self.verdict = ipywidgets.HTML()
        self.status = StatusBar(self._on_status)
        self.semantics = _choice("Semantics", list(SEMANTICS), "230px")
        self.fault = _choice("Fault", list(SPECS), "250px")
        self.about_fault = ipywidgets.HTML()
        self.events = ipywidgets.IntText(
            description="Events", layout={"width": "130px"}, style={"description_width": "48px"}
        )
        self.at = _optional("At event", "middle", "140px", "58px")
        self.window = _optional("Window", "seconds", "150px", "54px")
        self.run = button("Run", "play", "Run the experiment")
        self.compare = button("Compare", "columns", "Run it under all three semantics")
        self.cancel = button("Cancel", "stop", "End what is being run")
        self.run.on_click(self._calling(Delivery.start))
        self.compare.on_click(self._calling(Delivery.start_compare))
        self.cancel.on_click(self._calling(methodcaller("cancel")))
        self.shown = {
            name: button(name, "eye", f"Show the experiment under {name}") for name in SEMANTICS
        }
        for name, shown in self.shown.items():
            shown.on_click(partial(self._on_shown, name))
        for name in ("semantics", "fault", "events"):
            getattr(self, name).observe(self._asked(name), "value")
        self.at.observe(self._asked("at", _integer), "value")
        self.window.observe(self._asked("duplicate_window", _number), "value")

    def _layout(self) -> Any:
        what = row(self.semantics, self.fault)
        how = row(self.events, self.at, self.window, self.run, self.compare, self.cancel)
        self.controls = ipywidgets.VBox([what, self.about_fault, how])
        steps = row(self.first, self.back, self.play, self.forward, self.last, self.step)
        pages = [
            ipywidgets.VBox([self.flow]),
            ipywidgets.VBox([self.message]),
            ipywidgets.VBox([self.copies, self.copies_table]),
            ipywidgets.VBox([self.durations, self.latency], layout={"grid_gap": "8px"}),
            ipywidgets.VBox([self.ledger]),
            ipywidgets.VBox([row(*self.shown.values()), self.comparison]),
        ]
        self.tabs = ipywidgets.Tab(pages, titles=list(_TABS), selected_index=0)
        self.tabs.observe(lambda _: self._tab_coalescer.trigger(), "selected_index")
        parts = [self.status, self.verdict, self.timeline, steps, self.tabs]
        if self._can_run:
            parts.insert(0, self.controls)
        box = ipywidgets.VBox(parts)
        box.add_class("varco-delivery")
        return box

    # What the user does

    @property
    def _draws(self) -> bool:
        return threading.get_ident() in self._drawers

    def _asked(
        self, name: str, read: Callable[[Any], Any] = lambda value: value
    ) -> Callable[[Any], None]:
        """Sets a trait of the model to what a control has, unless this view itself set that."""

        def on_change(change: Any) -> None:
            if not self._draws:
                self._set(name, read, change["new"])

        return on_change

    def _set(self, name: str, read: Callable[[Any], Any], value: Any) -> None:
        try:
            setattr(self._model, name, read(value))
        except ValueError as error:
            self._model.set_trait("error", str(error))
        else:
            self._model.set_trait("error", "")

    def _calling(self, action: Callable[[Delivery], object]) -> Callable[[object], None]:
        """Does it to the model, unless that is gone; what it raises is shown."""

        def on_click(_: object) -> None:
            if (model := self._model_of()) is None:
                return
            try:
                action(model)
            except Exception as error:
                model.set_trait("error", describe_error(error))

        return on_click

    def _on_status(self, wanted: str) -> None:
        if wanted == "stop":
            self._model.cancel()
        else:
            self._model.retry()

    def _on_ledger(self, change: Any) -> None:
        if self._draws:
            return
        events = [event for event in change["new"] if isinstance(event, int)]
        self._model.selected = events[0] if len(events) == 1 else 0

    def _on_row(self, n: Any) -> None:
        if isinstance(n, int):
            self._model.pause()
            self._model.position = n + 1 if n + 1 < len(self._model.record) else -1

    def _on_shown(self, semantics: str, _: object) -> None:
        model = self._model_of()
        if model is not None and model.comparison is not None:
            model.show(model.comparison.experiments[semantics])

    def _on_change(self, change: Any) -> None:
        with self._lock:
            self._changed.add(change["name"])
        self._coalescer.trigger()
        self._tab_coalescer.trigger()

    def _about(self, n: int) -> str:
        """What is known of a row besides what its mark shows."""
        return about_row(self._model.record.frame.iloc[n])

    def _about_copy(self, n: int) -> str:
        shown = self._copies
        if shown is None or n >= len(shown.rows):
            return ""
        return about_copy(self._model.record.copies.iloc[shown.rows[n]])

    # Drawing

    def _draw(self) -> None:
        if self._model_of() is None:
            return
        with self._lock:
            changed, self._changed = self._changed, set()
        self._drawers.add(threading.get_ident())
        try:
            error = draw_each(
                lambda: self._draw_timeline(changed),
                lambda: self._draw_controls(changed),
                lambda: self._draw_step(changed),
            )
            if error is not None:
                with self._lock:  # to be drawn again with what changes next
                    self._changed |= changed
            self._note("view", error)
            self._draw_status()
        finally:
            self._drawers.discard(threading.get_ident())

    def _draw_timeline(self, changed: set[str]) -> None:
        model, timeline = self._model, self.timeline
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
        for name in changed & {"selected", "position"}:
            setattr(timeline, name, getattr(model, name))

    def _in_order(self) -> bool:
        """Whether places show one step after the other: an experiment mostly waits."""
        return self._model.experiment is not None or (
            self._model.record.done and len(self._model.record) <= _ORDER_ROWS
        )

    def _draw_controls(self, changed: set[str]) -> None:
        model = self._model
        for name in changed & {"semantics", "fault", "events"}:
            getattr(self, name).value = getattr(model, name)
        if "at" in changed:
            self.at.value = "" if model.at is None else str(model.at)
        if "duplicate_window" in changed:
            window = model.duplicate_window
            self.window.value = "" if window is None else f"{window:g}"
        if "fault" in changed:
            self.about_fault.value = text_html(SPECS[model.fault].description)
        self.run.disabled = self.compare.disabled = bool(model.running)
        self.cancel.disabled = not model.running
        if "comparison" in changed and model.comparison is not None:
            self.tabs.selected_index = _TABS.index("Comparison")
        self.play.description = "Pause" if model.playing else "Play"
        self.play.icon = "pause" if model.playing else "play"

    def _draw_status(self) -> None:
        model, status = self._model, self.status
        done, total = model.progress
        with status.hold_sync():
            status.place = place_of(model, can_run=self._can_run)
            status.progress = {"busy": bool(model.running), "done": done, "total": total}
            status.reading = f"{done:,} of {total:,} events published"
            status.notice = clean(model.notice, _MAX_TEXT)
            status.problem = clean(model.error, _MAX_TEXT) or "; ".join(self._problems.values())
        self.verdict.value = verdict_html(model.record.verdict)

    def _draw_step(self, changed: set[str]) -> None:
        model = self._model
        rows = model.rows
        if changed & {"position", "rows", "record"}:
            self.step.value = text_html(step_in_words(model.step, model.position, rows))
        at_end = model.position < 0
        self.first.disabled = self.back.disabled = self.play.disabled = not rows
        self.forward.disabled = self.last.disabled = at_end

    def _draw_tab(self) -> None:
        """What the open tab shows; slow for a long record, and drawn the less often."""
        if (model := self._model_of()) is None:
            return
        name = _TABS[self.tabs.selected_index or 0]
        record = model.record
        seen: tuple[Any, ...] = (id(record), len(record), record.done, record.dropped)
        if name in ("Message", "Ledger", "Deduplication"):
            seen = (*seen, model.selected)
        if name == "Comparison":
            seen = (*seen, id(model.comparison), model.progress, model.running)
        if self._drawn.get(name) == seen:
            return
        started = time.perf_counter()
        self._drawers.add(threading.get_ident())
        try:
            error = draw_each(getattr(self, f"_draw_{name.lower()}"))
            self._note("tab", error)
            self._draw_status()
        finally:
            self._drawers.discard(threading.get_ident())
        if error is not None:
            return
        self._drawn[name] = seen
        cost = time.perf_counter() - started
        self._tab_coalescer.hz = min(10.0, _SHARE / max(cost, 1e-6))

    def _draw_flow(self) -> None:
        self.flow.set_stages(self._stages())

    def _stages(self) -> Any:
        ledger = self._model.record.ledger
        outcomes = ledger["outcome"].value_counts()
        return stages_of(flow_of(ledger), dict(zip(outcomes.index, outcomes, strict=True)))

    def _draw_message(self) -> None:
        self.message.set_frame(_rows_shown(self._model.selected_rows))

    def _draw_deduplication(self) -> None:
        model = self._model
        frame = model.record.copies
        shown = copies_chart(frame, model.selected, model.record.duplicate_window)
        self._copies = shown
        self.copies.set_marks(shown.marks, shown.lanes, shown.bands, shown.note)
        self.copies.selected = model.selected
        self.copies_table.set_frame(_copies_shown(frame))

    def _draw_latency(self) -> None:
        frame = self._model.record.latency
        values = {
            name: (look, frame[column].to_numpy(dtype="float64"))
            for name, (column, look) in _LATENCIES.items()
        }
        unseen = len(frame) and frame["publish_to_stored"].isna().all()
        if unseen:  # nobody saw when it was published
            del values["to the stream"]
        self.durations.title = f"From {'storing' if unseen else 'publishing'}, by event"
        if negative := sum(int((times < 0).sum()) for _, times in values.values()):
            self.durations.title += f" ({negative:,} below 0: clocks differ)"
        self.durations.set_values(values)
        at = frame["stored_at"].astype("int64").to_numpy(dtype="float64") / 1e6
        self.latency.set_series(
            {
                name: (at[known].tolist(), (frame[column][known] * 1000).tolist())
                for name, (column, _) in _LATENCIES.items()
                if (known := frame[column].notna().to_numpy()).any()
            }
        )

    def _draw_ledger(self) -> None:
        self.ledger.set_frame(_ledger_shown(self._model.record.ledger))
        selected = [self._model.selected] if self._model.selected else []
        if self.ledger.selected != selected:
            self.ledger.selected = selected

    def _draw_comparison(self) -> None:
        comparison = self._model.comparison
        for button_of in self.shown.values():
            button_of.disabled = comparison is None
        if comparison is not None:
            self.comparison.set_frame(_comparison_shown(comparison.frame))

    def _note(self, part: str, error: Exception | None) -> None:
        """Remember whether a part could be drawn."""
        before = self._problems.pop(part, "")
        if error is not None:
            problem = self._problems[part] = clean(f"{type(error).__name__}: {error}", _MAX_TEXT)
            if problem != before:
                _logger.warning("the view of a delivery failed", exc_info=error)

    def _failed(self, error: Exception) -> None:
        self._note("status", error)
        self.status.problem = self._problems["status"]


def place_of(model: Delivery, *, can_run: bool) -> str:
    """What is shown, in words."""
    if model.running:
        return clean(f"Running {model.running}")
    if not len(model.record):
        return "Choose and run." if can_run else "Nothing has happened yet."
    events = model.record.ledger.shape[0] if model.record.done else None
    said = [] if events is None else [f"{events:,} events"]
    return " · ".join([*said, f"{model.rows:,} rows", "done" if model.record.done else "live"])


def step_in_words(step: pd.Series[Any] | None, position: int, rows: int) -> str:
    """Where the steps are."""
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
    """Whether it came as promised, with a mark besides the colour."""
    if verdict is None:
        return ""
    sign, color = ("✓", "success") if verdict.holds else ("✗", "error")
    said = "As promised." if verdict.holds else "Not as promised."
    border = f"border-left: 3px solid var(--jp-{color}-color1, currentColor)"
    return (
        f'<div style="{border}; padding-left: 8px; line-height: 1.5"><b>{sign} {said}</b> '
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
        lines.append(f"{row['since_published'] * 1000:,.1f} ms after its publishing")
    return "\n".join(lines)


def about_copy(copy: pd.Series[Any]) -> str:
    """What is known of a copy."""
    became = "dropped" if copy["dropped"] else "stored"
    lines = [f"copy {copy['copy']}: {'not stored' if pd.isna(copy['arrived_at']) else became}"]
    lines.append(f"id: {copy['event_id']}")
    if not pd.isna(copy["seq"]):
        lines.append(f"sequence: {copy['seq']}")
    if not pd.isna(copy["window_ends_at"]):
        lines.append(f"the window ends at {copy['window_ends_at']:%H:%M:%S.%f} UTC")
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
    """A column for each semantics; parts of the way that none of them went are left out."""
    first = ["struck", "as_promised"]
    counts = [name for name in frame.columns if name not in first]
    kept = [name for name in counts if name in _ALWAYS_COMPARED or frame[name].any()]
    return frame[[*first, *kept]].T.rename_axis("measured")


def _choice(label: str, options: list[str], width: str) -> Any:
    return ipywidgets.Dropdown(
        description=label,
        options=options,
        layout={"width": width},
        style={"description_width": f"{7 * len(label) + 8}px"},
    )


def _optional(label: str, hint: str, width: str, label_width: str) -> Any:
    return ipywidgets.Text(
        description=label,
        placeholder=hint,
        continuous_update=False,
        layout={"width": width},
        style={"description_width": label_width},
    )


def _integer(text: str) -> int | None:
    try:
        return int(text) if text.strip() else None
    except ValueError:
        raise ValueError(f"{text!r} is no number of an event, such as 10") from None


def _number(text: str) -> float | None:
    try:
        return float(text.removesuffix("s")) if text.strip() else None
    except ValueError:
        raise ValueError(f"{text!r} is no number of seconds, such as 1.5") from None
