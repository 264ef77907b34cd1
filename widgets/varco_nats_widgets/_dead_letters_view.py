"""What dead letters look like in a notebook: draws the model, whose methods its controls call."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any

import ipywidgets
import pandas as pd

from varco_nats_widgets._cells import clean, escape
from varco_nats_widgets._coalesce import Coalescer
from varco_nats_widgets._controls import MAX_TEXT, button, caption, row, text_field, text_html
from varco_nats_widgets._dlq_edit import pretty
from varco_nats_widgets._dlq_entry_view import described_letter, diff_html
from varco_nats_widgets._dlq_groups import sparkline
from varco_nats_widgets._explorer_parts import StatusBar
from varco_nats_widgets._message_view import MessageView
from varco_nats_widgets._replay_panel import (
    KeepPanel,
    LogPanel,
    ReplayPanel,
    fields_are_here,
    short_ids,
)
from varco_nats_widgets._shown import close_all
from varco_nats_widgets._views import DataTable

if TYPE_CHECKING:
    from varco_nats_widgets.dead_letters import DeadLetters

_FILTERS = (
    ("handler", "Handler", "all handlers", "172px", "52px"),
    ("error_type", "Error", "all error types", "160px", "38px"),
    ("event_type", "Type", "all event types", "160px", "36px"),
    ("since", "Since", "12h, 2026-05-04 10:00", "170px", "40px"),
    ("tenant_id", "Tenant", "all tenants", "140px", "48px"),
    ("text", "Text", "in message or payload", "190px", "34px"),
)
_EDIT_TAB, _REPLAY_TAB, _LOG_TAB = 1, 2, 4
_ALL = "all channels"

_logger = logging.getLogger("varco_nats")


class DeadLettersView:
    """Draws `letters`, at most ten times a second and only what changed; does not keep it alive.

    Its parts are there for what builds on it: `groups`, `entries`, `status`, `letter`, `replay`
    and so on, and `box` with all of them.
    """

    def __init__(self, letters: DeadLetters) -> None:
        self._model_of = weakref.ref(letters)
        self._changed: set[str] = set()
        self._lock = threading.Lock()  # guards `_changed`
        self._drawer = 0  # the thread that draws; what it sets in a control asks for nothing
        self._edited = ""  # the entry whose payload is in the editor
        self._short: dict[str, str] = {}  # ids on the page by what the table calls them
        self._make_tables()
        self._make_filters()
        self._make_editor()
        self.replay = ReplayPanel(self.model, self.asked, self.start)
        self.keep = KeepPanel(self.model, self.start)
        self.log = LogPanel(lambda: self.start(self._model.aio.replays))
        self.box = self._layout()
        self._coalescer = Coalescer(self._draw, on_error=self._failed)
        letters.observe(self._on_change)
        self._changed |= set(letters.trait_names())
        self._coalescer.trigger()

    def model(self) -> DeadLetters:
        """What is drawn."""
        model = self._model_of()
        if model is None:
            raise ReferenceError("these dead letters are gone; make new ones: lab.dead_letters()")
        return model

    @property
    def _model(self) -> DeadLetters:
        return self.model()

    def flush(self) -> None:
        """Draw now what changed."""
        self._coalescer.flush()
        for table in (self.groups, self.entries, self.replay.table, self.log.table):
            table.flush()

    def close(self) -> None:
        """End the view; it disappears from the page."""
        if (model := self._model_of()) is not None:
            model.unobserve(self._on_change)
        self._coalescer.close()
        close_all(self.box)

    def mimebundle(self, text: str) -> dict[str, Any]:
        """What the notebook shows: the widget; without a kernel, the groups as HTML."""
        self.flush()
        bundle: dict[str, Any] = self.box._repr_mimebundle_() or {}
        bundle["text/plain"] = text
        bundle["text/html"] = f"<p>{escape(text)}</p>{self.groups.static_html(rows=20)}"
        return bundle

    # Parts

    def _make_tables(self) -> None:
        self.status = StatusBar(self._on_status)
        self.groups = DataTable(height=200)
        self.groups.observe(self._on_groups, "selected")
        self.groups.on_open(lambda group: self.start(self._model.aio.choose, str(group)))
        self.entries = DataTable(height=240)
        self.entries.observe(self._on_entries, "selected")
        self.entries.on_open(self._on_open)
        self.place = caption("")
        self.newer = button("Newer", "chevron-left", "Go to the page of newer entries")
        self.older = button("Older", "chevron-right", "Go to the page of older entries")
        for name in ("newer", "older"):
            getattr(self, name).on_click(self._starting(name))
        self.letter = MessageView(hint="Click a row of the table to look at its entry.")

    def _make_filters(self) -> None:
        self.channel = ipywidgets.Dropdown(
            description="Channel",
            options=[(_ALL, "")],
            layout=ipywidgets.Layout(width="200px"),
            style={"description_width": "54px"},
        )
        self.channel.observe(self.asked(partial(self._on_filter, "channel")), "value")
        self.filters = {name: text_field(*rest) for name, *rest in _FILTERS}
        for name, control in self.filters.items():
            control.observe(self.asked(partial(self._on_filter, name)), "value")
        self.clear = button("Clear", "times", "Show all entries")
        self.clear.on_click(lambda _: self.start(self._model.aio.filter))
        self.refresh = button("Refresh", "refresh", "Read the queue again")
        self.refresh.on_click(self._starting("refresh"))

    def _make_editor(self) -> None:
        self.editor = ipywidgets.Textarea(
            placeholder="Open an entry to edit its payload.",
            continuous_update=False,
            layout=ipywidgets.Layout(width="calc(100% - 4px)", height="240px"),
        )
        self.editor.add_class("varco-editor")
        self.check = button("Keep edit", "check", "Have a replay send this payload instead")
        self.check.on_click(lambda _: self.start(self._edit))
        self.revert = button("Revert", "undo", "Have a replay send the payload as it came")
        self.revert.on_click(self._on_revert)
        self.edited = caption("")
        self.diff = ipywidgets.HTML()

    def _layout(self) -> Any:
        filters = row(self.channel, *self.filters.values(), self.clear, self.refresh)
        pages = row(self.place, self.newer, self.older)
        editing = ipywidgets.VBox(
            [self.edited, self.editor, row(self.check, self.revert), self.diff]
        )
        self.tabs = ipywidgets.Tab(
            [self.letter, editing, self.replay.box, self.keep.box, self.log.box],
            titles=["Entry", "Edit", "Replay", "Export and discard", "Log"],
        )
        self.tabs.observe(self._on_tab, "selected_index")
        box = ipywidgets.VBox([filters, self.status, self.groups, pages, self.entries, self.tabs])
        box.add_class("varco-explorer")
        box.add_class("varco-dead-letters")
        return box

    # What the user does

    def start[**P](
        self, action: Callable[P, Coroutine[Any, Any, Any]], *args: P.args, **options: P.kwargs
    ) -> Any:
        """Have a method of the model's `aio` done in the background; its future, or None."""
        return self._model._start(action, *args, **options)

    def _starting(self, name: str) -> Callable[[object], object]:
        """A callback that starts a method of the model's `aio`."""
        return lambda _: self.start(getattr(self._model.aio, name))

    def asked(self, react: Callable[[Any], object]) -> Callable[[Any], None]:
        """An observer that is deaf to what this view itself sets."""

        def on_change(change: Any) -> None:
            if not self._draws:
                react(change["new"])

        return on_change

    def _on_groups(self, change: Any) -> None:
        if not self._draws:
            self.start(self._model.aio.choose, *map(str, change["new"]))

    def _on_entries(self, change: Any) -> None:
        if self._draws:
            return
        chosen = [self._short[name] for one in change["new"] if (name := str(one)) in self._short]
        self._model.selected_ids = chosen
        if len(chosen) == 1:
            self.start(self._model.aio.open, chosen[0])

    def _on_open(self, name: Any) -> None:
        self.tabs.selected_index = 0
        if str(name) in self._short:
            self.start(self._model.aio.open, self._short[str(name)])

    def _on_filter(self, name: str, value: str) -> None:
        given = dict(self._model.filters)
        given[name] = value.strip()
        self.start(self._model.aio.filter, **given)

    def _on_status(self, wanted: str) -> None:
        if wanted == "stop":
            self._model.stop()
        else:
            self.start(self._model.aio.retry)

    async def _edit(self) -> None:
        await fields_are_here()
        if self._model.letter is not None:
            await self._model.aio.edit(self._model.letter.entry_id, self.editor.value)

    def _on_revert(self, _: object) -> None:
        if self._model.letter is not None:
            self._edited = ""
            self.start(self._model.aio.revert, self._model.letter.entry_id)

    def _on_tab(self, change: Any) -> None:
        if change["new"] == _LOG_TAB:
            self.start(self._model.aio.replays)

    # Drawing

    @property
    def _draws(self) -> bool:
        return self._drawer == threading.get_ident()

    def _on_change(self, change: Any) -> None:
        with self._lock:
            self._changed.add(change["name"])
        self._coalescer.trigger()

    def _draw(self) -> None:
        with self._lock:
            changed, self._changed = self._changed, set()
        self._drawer = threading.get_ident()
        try:
            self._draw_groups(changed)
            self._draw_filters(changed)
            self._draw_entries(changed)
            self._draw_status()
            if changed & {"letter", "edits"}:
                self._draw_letter(changed)
            self.replay.draw(changed)
            self.keep.draw(changed)
            if "log_table" in changed:
                self.log.show(self._model.log_table)
        finally:
            self._drawer = 0

    def _draw_groups(self, changed: set[str]) -> None:
        if "group_table" in changed:
            self.groups.set_frame(shown_groups(self._model.group_table))
        if "chosen_groups" in changed:
            chosen = list(self._model.chosen_groups)
            if self.groups.selected != chosen:
                self.groups.selected = chosen

    def _draw_filters(self, changed: set[str]) -> None:
        model = self._model
        if changed & {"channels", "filters"}:
            chosen = str(model.filters.get("channel", ""))
            names = dict.fromkeys(sorted(model.channels)) | ({chosen: None} if chosen else {})
            options = [(_ALL, "")]
            for name in names:
                known = model.channels.get(name)
                count = "" if known is None else f" ({known:,})"
                options.append((f"{clean(name)}{count}", name))
            if tuple(options) != tuple(self.channel.options):
                self.channel.options = options
            self.channel.value = chosen
        if "filters" in changed:
            for name, control in self.filters.items():
                control.value = str(model.filters.get(name, ""))

    def _draw_entries(self, changed: set[str]) -> None:
        model = self._model
        if "page" in changed:
            columns = entry_columns(model.page)
            if columns != self.entries.columns:
                self.entries.columns = columns
            names = short_ids(model.page.index)
            self._short = dict(zip(names, model.page.index, strict=True))
            self.entries.set_frame(model.page.set_axis(pd.Index(names, name="entry")))
        if changed & {"page", "selected_ids"}:
            chosen = set(model.selected_ids)
            rows = [name for name, entry_id in self._short.items() if entry_id in chosen]
            if set(rows) != set(self.entries.selected):
                self.entries.selected = rows
        self.place.value = place_html(model)
        self.newer.disabled = model.page_start == 0
        self.older.disabled = model.page_start + len(model.page) >= model.page_total

    def _draw_status(self) -> None:
        model, status = self._model, self.status
        done, total = model.progress
        reading = model.busy and not model.running
        with status.hold_sync():
            status.place = queue_words(model)
            status.progress = {"busy": reading, "done": done, "total": total}
            status.reading = f"{done:,} of {total:,} looked at" if total else "reading …"
            status.notice = clean(model.notice, MAX_TEXT)
            status.problem = clean(model.error, MAX_TEXT)

    def _draw_letter(self, changed: set[str]) -> None:
        letter = self._model.letter
        if letter is None:
            self.letter.show(None)
            self.editor.value, self.diff.value = "", ""
            return
        if "letter" in changed:
            self.letter.show_described(described_letter(letter), letter.data)
        name = str(letter.entry_id)
        edit = self._model.edits.get(name)
        if self._edited != name or edit is not None:
            self.editor.value = pretty(letter.data if edit is None else edit.data)
            self._edited = name
        kept = "edited: a replay sends this payload" if edit is not None else "as it came"
        self.edited.value = text_html(f"Payload of {name}, {kept}")
        self.revert.disabled = edit is None
        self.diff.value = diff_html(edit)

    def _failed(self, error: Exception) -> None:
        _logger.warning("the view of %r failed", self._model_of(), exc_info=error)
        self.status.problem = clean(f"{type(error).__name__}: {error}", MAX_TEXT)


def shown_groups(groups: pd.DataFrame) -> pd.DataFrame:
    """The columns of a frame of groups as people read them, what matters most first."""
    if not len(groups.columns):
        return groups
    return pd.DataFrame(
        {
            "count": groups["count"],
            "%": (groups["share"] * 100).round(1),
            "trend": [sparkline(counts) for counts in groups["trend"]],
            "error_type": groups["error_type"],
            "message": groups["message"],
            "last_seen": groups["last_seen"].dt.floor("s"),
            "handler": groups["handler"],
            "came_back": groups["came_back"],
            "channels": [", ".join(names) for names in groups["channels"]],
            "first_seen": groups["first_seen"].dt.floor("s"),
        },
        index=groups.index,
    )


def entry_columns(page: pd.DataFrame) -> list[str]:
    """The columns of a page in the order in which they are shown: what differs comes first."""
    if not len(page.columns):
        return []
    differing = [name for name in ("channel", "error_type") if page[name].nunique() > 1]
    back = ["replay_count"] if (page["replay_count"] > 0).any() else []
    problems = [name for name in ("decode_error", "raw") if name in page.columns]
    payload = [str(name) for name in page.columns if str(name).startswith("data.")]
    first = ["last_failed_at", *back, *differing, "error_message", *problems, *payload]
    last = ("event_type", "channel", "error_type", "handler", "attempts", "tenant_id", "event_id")
    return [*first, *(name for name in last if name not in first)]


def queue_words(model: DeadLetters) -> str:
    """What is in the queue, in words."""
    if not model.entries and not model.matching:
        return "No dead letters." if not model.busy else ""
    groups = len(model.group_table)
    parts = [
        f"{model.entries:,} dead letter{'s' if model.entries != 1 else ''}",
        f"{groups:,} group{'s' if groups != 1 else ''}",
    ]
    if model.filters:
        parts.insert(1, f"{model.matching:,} match the filter")
    if model.edits:
        parts.append(f"{len(model.edits):,} edited")
    return " · ".join(parts)


def place_html(model: DeadLetters) -> str:
    """Which entries the table has, in words, as HTML."""
    if not model.page_total:
        return text_html("No entries.")
    first, last = model.page_start + 1, model.page_start + len(model.page)
    chosen = len(model.chosen_groups)
    of = f"of the {chosen} chosen groups" if chosen > 1 else "of the chosen group"
    where = of if chosen else "of all groups"
    rows = f"{first:,} to {last:,} of {model.page_total:,}"
    return text_html(f"Entries {where}: {rows}, newest first")
