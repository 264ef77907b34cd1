"""What dead letters look like in a notebook: draws the model, whose methods its controls call."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import ipywidgets
import pandas as pd

from varco_nats_widgets._session.shown import close_all
from varco_nats_widgets._ui.coalesce import Coalescer, draw_each
from varco_nats_widgets._ui.controls import MAX_TEXT, button, caption, row, text_field, text_html
from varco_nats_widgets._ui.message_view import MessageView
from varco_nats_widgets._ui.parts import StatusBar
from varco_nats_widgets._ui.registry import view_of
from varco_nats_widgets._ui.views import DataTable
from varco_nats_widgets.dead_letters._dead_letters import DeadLetters, DeadLettersAio
from varco_nats_widgets.dead_letters._edit_panel import EditPanel
from varco_nats_widgets.dead_letters._entry_view import described_letter
from varco_nats_widgets.dead_letters._panel import fields_are_here
from varco_nats_widgets.dead_letters._replay_panel import KeepPanel, LogPanel, ReplayPanel
from varco_nats_widgets.dead_letters._tables import (
    put_together,
    short_ids,
    shown_entries,
    shown_groups,
)
from varco_nats_widgets.dead_letters._words import (
    by_hand,
    cause_words,
    filter_words,
    place_html,
    queue_words,
    span_words,
)
from varco_nats_widgets.dead_letters._worker import DeadLettersWorker
from varco_nats_widgets.frames._cells import clean, escape

_CHOICES = (
    ("channel", "Channel", "all channels", "210px", "54px"),
    ("handler", "Handler", "all handlers", "220px", "52px"),
    ("error_type", "Error", "all error types", "220px", "38px"),
    ("event_type", "Type", "all event types", "220px", "36px"),
)
_FILTERS = (
    ("since", "Since", "12h or 2026-05-04 10:00", "240px", "40px"),
    ("until", "Until", "1h or 2026-05-04 16:00", "240px", "36px"),
    ("tenant_id", "Tenant", "all tenants", "160px", "48px"),
    ("text", "Text", "in message or payload", "210px", "34px"),
)
_ENTRY_TAB, _EDIT_TAB, _LOG_TAB = 0, 1, 4
_COPIES = 8  # buttons

_logger = logging.getLogger("varco_nats")


@view_of.register(DeadLetters)
class DeadLettersView:
    """Draws `letters`, at most ten times a second and only what changed; does not keep it alive.

    Its parts are there for what builds on it: `groups`, `entries`, `status`, `letter`, `replay`
    and so on, and `box` with all of them.
    """

    def __init__(self, letters: DeadLetters, worker: DeadLettersWorker) -> None:
        self._model_of = weakref.ref(letters)
        self._worker = worker
        self._changed: set[str] = set()
        self._lock = threading.Lock()  # guards `_changed`
        self._problem = ""  # what could not be drawn, until it can be
        self._drawer = 0  # the thread that draws; what it sets in a control asks for nothing
        self._short: dict[str, str] = {}  # ids of entries by what the table calls them
        self._short_before: dict[str, str] = {}  # those of the page before
        self._numbers: dict[str, int] = {}  # of rows of groups, which keep them
        self._groups: dict[int, tuple[str, ...]] = {}  # the groups in each of these rows
        self._names: dict[str, set[str]] = {name: set() for name, *_ in _CHOICES}
        self._make_tables()
        self._make_filters()
        self.edit = EditPanel(self.model, self.asked, self.start, self._draw_status)
        self.replay = ReplayPanel(self.model, self.asked, self.start, self._on_open_id)
        self.keep = KeepPanel(self.model, self.asked, self.start, self._worker.basis_of)
        self.log = LogPanel(
            lambda *run: self.start(self._model.aio.replays, *run), self._on_open_id
        )
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
        tables = (self.groups, self.entries, self.replay.table, self.log.table, self.log.rows)
        for table in tables:
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
        self.trend = caption("")
        self.small = ipywidgets.ToggleButton(
            tooltip="Each by itself, not one row for those of a handler and error type"
        )
        self.small.observe(self.asked(lambda _: self._on_small()), "value")
        self.groups = DataTable(height=200, figures=("count",))
        self.groups.observe(self._on_groups, "selected")
        self.cause = caption("")
        self.entries = DataTable(height=240)
        self.entries.observe(self._on_entries, "selected")
        self.entries.observe(lambda _: self._draw_place(), "sort_by")
        self.entries.on_open(self._on_open)
        self.place = caption("")
        self.newest = button("Newest", "step-backward", "Go to the page of the newest entries")
        self.newer = button("Newer", "chevron-left", "Go to the page of newer entries")
        self.older = button("Older", "chevron-right", "Go to the page of older entries")
        self.oldest = button("Oldest", "step-forward", "Go to the page of the oldest entries")
        self.newest.on_click(self._starting(DeadLettersAio.newest))
        self.newer.on_click(self._starting(DeadLettersAio.newer))
        self.older.on_click(self._starting(DeadLettersAio.older))
        self.oldest.on_click(self._starting(DeadLettersAio.oldest))
        self.letter = MessageView(hint="Click a row of the table to look at its entry.")
        self.copies = row()

    def _make_filters(self) -> None:
        self.filters = {name: _choice(*rest) for name, *rest in _CHOICES}
        self.filters |= {name: text_field(*rest) for name, *rest in _FILTERS}
        for name, control in self.filters.items():
            control.observe(self.asked(partial(self._on_filter, name)), "value")
        self.others = row()  # filters that no control can show
        self.clear = button("Clear", "times", "Show all entries")
        self.clear.on_click(lambda _: self.start(self._model.aio.filter))
        self.refresh = button("Refresh", "refresh", "Read the queue again")
        self.refresh.on_click(self._starting(DeadLettersAio.refresh))

    def _layout(self) -> Any:
        filters = row(*self.filters.values(), self.clear, self.refresh)
        groups = row(self.trend, self.small)
        pages = row(self.place, self.newest, self.newer, self.older, self.oldest)
        self.tabs = ipywidgets.Tab(
            [
                ipywidgets.VBox([self.letter, self.copies]),
                self.edit.box,
                self.replay.box,
                self.keep.box,
                self.log.box,
            ],
            titles=["Entry", "Edit", "Replay", "Export and discard", "Log"],
        )
        self.tabs.observe(self._on_tab, "selected_index")
        parts = [filters, self.others, self.status, groups, self.groups]
        parts += [self.cause, pages, self.entries, self.tabs]
        box = ipywidgets.VBox(parts)
        box.add_class("varco-explorer")
        box.add_class("varco-dead-letters")
        return box

    # What the user does

    def start[**P](
        self, action: Callable[P, Coroutine[Any, Any, Any]], *args: P.args, **options: P.kwargs
    ) -> Any:
        """Have a method of the model's `aio` done in the background; its future, or None."""
        return self._worker.start(action, *args, **options)

    def _starting(
        self, action: Callable[[DeadLettersAio], Coroutine[Any, Any, Any]]
    ) -> Callable[[object], object]:
        """A callback that starts a method of the model's `aio`."""
        return lambda _: self.start(action, self._model.aio)

    def asked(self, react: Callable[[Any], object]) -> Callable[[Any], None]:
        """An observer that is deaf to what this view itself sets."""

        def on_change(change: Any) -> None:
            if not self._draws:
                react(change["new"])

        return on_change

    def _on_groups(self, change: Any) -> None:
        if not self._draws:
            chosen = [name for number in change["new"] for name in self._groups.get(number, ())]
            self.start(self._model.aio.choose, *chosen)

    def _on_small(self) -> None:
        with self._lock:
            self._changed.add("group_table")
        self._coalescer.trigger()

    def _on_entries(self, change: Any) -> None:
        if self._draws:
            return
        names = [str(one) for one in change["new"]]
        here = [name for name in names if name in self._short]
        self._model.selected_ids = [self._short[name] for name in here]
        if here != names:
            self.entries.selected = here
        if len(names) == 1 and (entry_id := self._id_of(names[0])):
            self.start(self._open, entry_id)

    def _on_open(self, name: Any) -> None:
        if entry_id := self._id_of(str(name)):
            self._on_open_id(entry_id)

    def _id_of(self, name: str) -> str | None:
        """The entry of a row; also of one that was clicked just before the page changed."""
        return self._short.get(name) or self._short_before.get(name)

    def _on_open_id(self, entry_id: str) -> None:
        self.start(self._open, entry_id)
        self.tabs.selected_index = _ENTRY_TAB

    async def _open(self, entry_id: str) -> None:
        if self.tabs.selected_index == _EDIT_TAB:  # what was typed belongs to the entry before
            await fields_are_here()
        await self._model.aio.open(entry_id)

    def _on_filter(self, name: str, value: str) -> None:
        given = {one: set_to for one, set_to in self._model.filters.items() if one != name}
        if name == "since":
            given.pop("last", None)
        if value.strip():
            given[name] = value.strip()
        self.start(self._model.aio.filter, **given)

    def _on_status(self, wanted: str) -> None:
        if wanted == "stop":
            self._model.stop()
        else:
            self.start(self._model.aio.retry)

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
        model = self._model_of()  # held while it is drawn
        if model is None:
            return
        self._drawer = threading.get_ident()
        try:
            error = draw_each(
                lambda: self._draw_groups(changed),
                lambda: self._draw_filters(changed),
                lambda: self._draw_entries(changed),
                lambda: self._draw_letter(changed),
                lambda: self.edit.draw(changed),
                lambda: self.replay.draw(changed),
                self.keep.draw,
                lambda: self._draw_log(changed),
            )
            if error is None:
                self._problem = ""
            else:
                with self._lock:  # to be drawn again with what changes next
                    self._changed |= changed
                self._failed(error)
            self._draw_status()
        finally:
            self._drawer = 0

    def _draw_groups(self, changed: set[str]) -> None:
        if not changed & {"group_table", "chosen_groups"}:
            return
        model = self._model
        together, rows = put_together(model.group_table)
        if "group_table" in changed:
            shown = model.group_table if self.small.value else together
            for name in shown.index:
                self._numbers.setdefault(name, len(self._numbers) + 1)
            numbers = [self._numbers[name] for name in shown.index]
            parts = [rows.get(name, (name,)) for name in shown.index]
            self._groups = dict(zip(numbers, parts, strict=True))
            self.groups.set_frame(shown_groups(shown).set_axis(pd.Index(numbers, name="#")))
            self.small.description = f"Show {sum(map(len, rows.values())):,} small groups"
            self.small.layout.display = None if rows else "none"
            span = span_words(model.group_table.attrs.get("trend", ()))
            self.trend.value = text_html(f"Groups; trend from {span}" if span else "")
        chosen = set(model.chosen_groups)
        numbers = [number for number, names in self._groups.items() if chosen.issuperset(names)]
        if self.groups.selected != numbers:
            self.groups.selected = numbers
        self.cause.value = text_html(cause_words(model.group_table, model.chosen_groups))
        self.cause.layout.display = None if chosen else "none"

    def _draw_filters(self, changed: set[str]) -> None:
        model = self._model
        if not changed & {"choices", "filters"}:
            return
        for name, _, all_of_them, *_ in _CHOICES:
            control, counts = self.filters[name], model.choices.get(name, {})
            value = self._shown_filter(name)
            self._names[name] |= counts.keys() | ({value} if value else set())
            options = [(all_of_them, "")]
            for one in sorted(self._names[name]):
                count = f" ({counts[one]:,})" if one in counts else ""
                options.append((f"{clean(one)}{count}", one))
            if tuple(options) != tuple(control.options):
                control.options = options
            if control.value != value:
                control.value = value
        if "filters" in changed:
            for name, *_ in _FILTERS:
                self.filters[name].value = clean(self._shown_filter(name), None)
            self._draw_others()

    def _shown_filter(self, name: str) -> str:
        """What the control of a filter shows; "" where it is set to what no control can show."""
        value = self._model.filters.get(name, "")
        return value if isinstance(value, str) else ""

    def _draw_others(self) -> None:
        made = []
        for name, value in self._model.filters.items():
            if name not in self.filters or not isinstance(value, str):
                words = clean(f"{name}: {filter_words(value)}")
                made.append(button(words, "times", "Remove this filter"))
                made[-1].on_click(lambda _, name=name: self._on_filter(name, ""))
        self._replace(self.others, made)

    def _replace(self, where: Any, children: list[Any]) -> None:
        before, where.children = where.children, tuple(children)
        where.layout.display = None if children else "none"
        for one in before:
            close_all(one)

    def _draw_entries(self, changed: set[str]) -> None:
        model = self._model
        if changed & {"page", "selected_ids"}:
            ids = [*model.page.index, *(set(model.selected_ids) - set(model.page.index))]
            names = short_ids(pd.Index(ids, dtype=object))
            short = dict(zip(names, ids, strict=True))
            if "page" in changed or short.keys() != self._short.keys():
                self._show_page(names[: len(model.page)])
            if "page" in changed:
                self._short_before = self._short
            self._short = short
            chosen = set(model.selected_ids)
            rows = [name for name, entry_id in short.items() if entry_id in chosen]
            if set(rows) != set(self.entries.selected):
                self.entries.selected = rows
        self._draw_place()
        self.newest.disabled = self.newer.disabled = model.page_start == 0
        last = model.page_start + len(model.page) >= model.page_total
        self.older.disabled = self.oldest.disabled = last

    def _show_page(self, names: list[str]) -> None:
        shown = shown_entries(self._model.page)
        self.entries.set_frame(shown.set_axis(pd.Index(names, name="entry")))

    def _draw_place(self) -> None:
        self.place.value = place_html(self._model, self.entries.sort_by)

    def _draw_status(self) -> None:
        model, status = self._model, self.status
        done, total = model.progress
        reading = model.busy and not model.running
        how_far = f": {done:,} of {total:,}" if total else " …"
        drafts = f" · {self.edit.drafts:,} changed and not kept" if self.edit.drafts else ""
        with status.hold_sync():
            status.place = queue_words(model) + drafts
            status.progress = {"busy": reading, "done": done, "total": total}
            status.reading = f"{model.doing}{how_far}"
            status.notice = clean(model.notice, MAX_TEXT)
            status.problem = clean(by_hand(model.error), MAX_TEXT) or self._problem
            status.retry = model.can_retry

    def _draw_letter(self, changed: set[str]) -> None:
        if "letter" not in changed:
            return
        letter = self._model.letter
        if letter is None:
            self.letter.show(None)
        else:
            filtered = bool(self._model.filters)
            self.letter.show_described(described_letter(letter, filtered=filtered), letter.data)
        copies = () if letter is None else letter.copies[:_COPIES]
        made = [button(f"Open {copy!s:.8}", "clone", f"A copy: {copy}") for copy in copies]
        for control, copy in zip(made, copies, strict=True):
            control.on_click(lambda _, copy=copy: self._on_open_id(str(copy)))
        self._replace(self.copies, made)

    def _draw_log(self, changed: set[str]) -> None:
        model = self._model
        if "log_table" in changed:
            self.log.show(model.log_table)
        if "logged_rows" in changed:
            self.log.show_rows(model.logged_run, model.logged_rows)

    def _failed(self, error: Exception) -> None:
        problem = clean(f"{type(error).__name__}: {error}", MAX_TEXT)
        if problem != self._problem:
            _logger.warning("the view of %r failed", self._model_of(), exc_info=error)
        self._problem = self.status.problem = problem


def _choice(label: str, all_of_them: str, width: str, label_width: str) -> Any:
    return ipywidgets.Dropdown(
        description=label,
        options=[(all_of_them, "")],
        layout=ipywidgets.Layout(width=width),
        style={"description_width": label_width},
    )
