"""What dead letters look like in a notebook: draws the model, whose methods its controls call."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from functools import partial
from typing import Any

import ipywidgets
import pandas as pd

from varco_nats_widgets._ui.controls import (
    MAX_TEXT,
    button,
    caption,
    close_all,
    fields_are_here,
    open_page,
    row,
    tab_pages,
    text_field,
    text_html,
    turn_to,
)
from varco_nats_widgets._ui.message_view import MessageView
from varco_nats_widgets._ui.model_view import CHOICE, DrawPart, ModelView, view_of
from varco_nats_widgets._ui.parts import ChoiceList, StatusBar
from varco_nats_widgets._ui.views import DataTable
from varco_nats_widgets.dead_letters._dead_letters import DeadLetters, DeadLettersAio
from varco_nats_widgets.dead_letters._labels import with_labels
from varco_nats_widgets.dead_letters._status import refused_words, run_words, said_words
from varco_nats_widgets.dead_letters._view.edit_panel import EditPanel
from varco_nats_widgets.dead_letters._view.fix_panel import FixPanel
from varco_nats_widgets.dead_letters._view.keep_panel import KeepPanel
from varco_nats_widgets.dead_letters._view.label_row import LabelRow
from varco_nats_widgets.dead_letters._view.log_panel import LogPanel
from varco_nats_widgets.dead_letters._view.replay_panel import ReplayPanel
from varco_nats_widgets.dead_letters._view.run_bar import RunBar
from varco_nats_widgets.dead_letters._view.tables import (
    put_together,
    short_ids,
    shown_entries,
    shown_groups,
)
from varco_nats_widgets.dead_letters._view.words import (
    cause_words,
    described_letter,
    filter_words,
    in_widget,
    place_html,
    queue_words,
    span_words,
)
from varco_nats_widgets.dead_letters._worker import DeadLettersWorker
from varco_nats_widgets.frames._cells import clean, escape

_CHOICES = {
    "tenant_id": "Tenant",
    "channel": "Channel",
    "event_type": "Event type",
    "handler": "Handler",
    "error_type": "Error type",
}
_FILTERS = (
    ("since", "Since (UTC)", "12h or 2026-05-04 10:00", "280px", "82px"),
    ("until", "Until (UTC)", "1h or 2026-05-04 16:00", "268px", "78px"),
    ("text", "Text", "in the error or the payload", "240px", "34px"),
    ("condition", "Where", 'total > 100 and headers.tenant == "acme"', "362px", "46px"),
)
_COPIES = 8  # buttons


@view_of.register(DeadLetters)
class DeadLettersView(ModelView[DeadLetters]):
    """Draws dead letters.

    Its parts are there for what builds on it: `groups`, `entries`, `status`, `letter`, `replay`
    and so on, and `box` with all of them.

    Args:
        worker: does the work of `letters`.
    """

    gone = "these dead letters are gone; make new ones: lab.dead_letters()"

    def __init__(self, letters: DeadLetters, worker: DeadLettersWorker) -> None:
        super().__init__(letters)
        self._worker = worker
        self._short: dict[str, str] = {}  # ids of entries by what the table calls them
        self._short_before: dict[str, str] = {}  # those of the page before
        self._numbers: dict[str, int] = {}  # of rows of groups, which keep them
        self._groups: dict[int, tuple[str, ...]] = {}  # the groups in each of these rows
        self._is_sought = False  # whether the user wants to see the entry that is open
        self._make_tables()
        self._make_filters()
        self.run = RunBar(self)
        self.edit = EditPanel(self, worker)
        self.fix = FixPanel(
            self,
            worker,
            lambda: open_page(self.tabs) is self.fix.box,
            lambda: self.redraw("fix_table"),
            self._on_open_id,
        )
        self.replay = ReplayPanel(self, worker, self._on_open_id)
        self.keep = KeepPanel(self, worker)
        self.labels = LabelRow(self, worker)
        self.log = LogPanel(
            self, lambda *run: worker.start(self.model.aio.replays, *run), self._on_open_id
        )
        self._begin(self._layout())

    def static_html(self, text: str) -> str:
        """The groups, and the page of entries."""
        head = f"<p>{escape(text)}</p>{self.status.static_html()}"
        return (
            f"{head}{self.groups.static_html(noun='group')}<p>{self.place.value}</p>"
            f"{self.entries.static_html()}"
        )

    def _is_settled(self) -> bool:
        return not self.model.busy

    # Parts

    def _make_tables(self) -> None:
        self.status = StatusBar(
            on_stop=lambda: self.model.stop(),
            on_retry=lambda: self._worker.start(self.model.aio.retry),
        )
        self.trend = caption("")
        self.small = ipywidgets.ToggleButton(
            tooltip="Show each small group by itself, not together with others like it"
        )
        self.small.observe(self.on_user_change(lambda _: self.redraw("group_table")), "value")
        self.groups = DataTable(height=180, figures=("count",), label="Groups")
        self.groups.observe(self.on_user_change(self._on_groups), "selected")
        self.cause = caption("")
        self.cause.add_class("varco-sentences")
        self.entries = DataTable(height=270, hide_empty=True, is_page=True, label="Dead letters")
        self.entries.observe(self.on_user_change(self._on_entries), "selected")
        self.entries.observe(lambda _: self.redraw("sort_by"), "sort_by")
        self.entries.on_open(self._on_open)
        self.place = caption("")
        made, aio = self._button, DeadLettersAio
        to = "Go to the page of"
        self.newest = made("Newest", "step-backward", f"{to} the newest entries", aio.newest)
        self.newer = made("Newer", "chevron-left", f"{to} newer entries", aio.newer)
        self.older = made("Older", "chevron-right", f"{to} older entries", aio.older)
        self.oldest = made("Oldest", "step-forward", f"{to} the oldest entries", aio.oldest)
        hint = "Click an entry in the table to see all of it here."
        self.letter = MessageView(hint, on_step=lambda by: self._worker.start(self._step, by))
        self.copies = row()

    def _make_filters(self) -> None:
        self.choices = {name: ChoiceList(label) for name, label in _CHOICES.items()}
        self._filtering: Future[Any] | None = None
        self._wanted: dict[str, Any] = {}  # the filter that this sets
        for name, choice in self.choices.items():
            choice.observe(self.on_user_change(partial(self._on_choice, name)), "chosen")
        self.filters = {name: text_field(*rest) for name, *rest in _FILTERS}
        for name, control in self.filters.items():
            control.observe(self.on_user_change(partial(self._on_filter, name)), "value")
        self.others = row()  # filters that no control can show
        made, aio = self._button, DeadLettersAio
        self.clear = made("Clear", "times", "Show all entries", aio.filter)
        self.refresh = made("Refresh", "refresh", "Read the queue again", aio.refresh)

    def _button(
        self, label: str, icon: str, tooltip: str, action: Callable[[DeadLettersAio], Any]
    ) -> Any:
        """A button that has the model do something."""
        return button(label, icon, tooltip, lambda: self._worker.start(action, self.model.aio))

    def _layout(self) -> Any:
        filters = row(*self.choices.values(), *self.filters.values(), self.clear, self.refresh)
        groups = row(self.trend, self.small)
        pages = row(self.place, self.newest, self.newer, self.older, self.oldest)
        self._entry_page = ipywidgets.VBox([self.letter, self.copies])
        tabs = {
            "Entry": self._entry_page,
            "Edit": self.edit.box,
            "Fix many": self.fix.box,
            "Replay": self.replay.box,
            "Export and discard": self.keep.box,
            "Log": self.log.box,
        }
        if self._worker.read_only:
            tabs = {"Entry": self._entry_page, "Export": self.keep.box, "Log": self.log.box}
        self.tabs = tab_pages(tabs)
        self.tabs.observe(lambda _: self._on_tab(), "selected_index")
        tables = ipywidgets.VBox(
            [groups, self.groups, self.cause, self.labels.box, pages, self.entries]
        )
        beside = ipywidgets.VBox([self.tabs])
        beside.add_class("varco-explorer-beside")
        main = ipywidgets.VBox([tables, beside])  # see message.css
        main.add_class("varco-explorer-main")
        top = ipywidgets.VBox([self.status, self.run.box])
        top.add_class("varco-top")
        box = ipywidgets.VBox([top, filters, self.others, main])
        box.add_class("varco-explorer")
        box.add_class("varco-dead-letters")
        return box

    # What the user does

    def _on_groups(self, rows: list[int]) -> None:
        chosen = [name for number in rows for name in self._groups.get(number, ())]
        self._choose(self._worker.start(self.model.aio.choose, *chosen))

    def _on_entries(self, rows: list[object]) -> None:
        names = [str(name) for name in rows]
        here = [name for name in names if name in self._short]
        self.model.selected_ids = [self._short[name] for name in here]
        if here != names:
            self.redraw("selected_ids")
        if len(names) == 1 and (entry_id := self._id_of(names[0])):
            if open_page(self.tabs) is self.edit.box:  # which is about the entry that is open
                self._worker.start(self._open, entry_id)
            else:
                self._on_open_id(entry_id)

    def _on_open(self, name: Any) -> None:
        if entry_id := self._id_of(str(name)):
            self._on_open_id(entry_id)

    def _id_of(self, name: str) -> str | None:
        """The entry of a row; also of one that was clicked just before the page changed."""
        return self._short.get(name) or self._short_before.get(name)

    def _on_open_id(self, entry_id: str) -> None:
        self._worker.start(self._open, entry_id)
        turn_to(self.tabs, self._entry_page)

    async def _open(self, entry_id: str) -> None:
        if open_page(self.tabs) is self.edit.box:  # what was typed belongs to the entry before
            await fields_are_here()
        self._is_sought = True
        await self.model.aio.open(entry_id)
        if self._is_sought:  # it was open before, so that nothing has drawn it
            self.redraw("letter")

    async def _step(self, by: int) -> None:
        """Open the entry above or below the one that is open, also where another page has it."""
        model = self.model
        opened = "" if model.letter is None else str(model.letter.entry_id)
        ids = [self._short.get(str(name), "") for name in self.entries.in_order()]
        place = ids.index(opened) + by if opened in ids else 0
        if not 0 <= place < len(ids):
            start = model.page_start
            await (model.aio.older if by > 0 else model.aio.newer)()
            if model.page_start == start:
                return
            ids, place = [*model.page.index], 0 if by > 0 else -1
        model.selected_ids = [ids[place]]
        await self._open(ids[place])

    def _on_choice(self, name: str, _: object) -> None:
        values = self.choices[name].values
        is_one = len(values) == 1 and values[0]  # "" alone would be no filter
        self._filter(name, values[0] if is_one else values)

    def _on_filter(self, name: str, text: str) -> None:
        self._filter(name, text.strip())

    def _filter(self, name: str, value: str | list[str]) -> None:
        before = self._wanted if self._is_filtering else self.model.filters
        given = {other: kept for other, kept in before.items() if other != name}
        if name == "since":
            given.pop("last", None)
        if value:
            given[name] = value
        self._wanted, self._filtering = given, self._worker.start(self.model.aio.filter, **given)
        if self._filtering is not None:
            self._filtering.add_done_callback(lambda _: self.redraw("choices"))

    @property
    def _is_filtering(self) -> bool:
        """Whether the model has yet to take the filter that the user chose last."""
        return self._filtering is not None and not self._filtering.done()

    def _on_tab(self) -> None:
        if open_page(self.tabs) is self.log.box:
            self._worker.start(self.model.aio.replays)
        self.redraw("fix_table")

    # Drawing

    def _parts(self) -> Iterable[DrawPart]:
        return (
            self._draw_groups,
            self.labels.draw,
            self._draw_filters,
            self._draw_entries,
            self._draw_letter,
            self.edit.draw,
            self.fix.draw,
            self.replay.draw,
            self.keep.draw,
            self._draw_log,
            self.run.draw,
            self._draw_status,
        )

    def _draw_groups(self, changed: set[str]) -> None:
        if not changed & {"group_table", "label_table", "chosen_groups", CHOICE}:
            return
        model = self.model
        together, rows = put_together(model.group_table)
        if changed & {"group_table", "label_table"}:
            shown = model.group_table if self.small.value else together
            for name in shown.index:
                self._numbers.setdefault(name, len(self._numbers) + 1)
            numbers = [self._numbers[name] for name in shown.index]
            parts = [rows.get(name, (name,)) for name in shown.index]
            self._groups = dict(zip(numbers, parts, strict=True))
            shown = shown_groups(with_labels(shown, model.label_table, rows))
            self.groups.set_frame(shown.set_axis(pd.Index(numbers, name="#")))
            self.small.description = f"Show {sum(map(len, rows.values())):,} small groups"
            self.small.layout.display = None if rows else "none"
            self.groups.layout.display = None if len(shown) else "none"
            span = span_words(model.group_table.attrs.get("trend", ()))
            self.trend.value = text_html(f"Groups, with their trend from {span}" if span else "")
        chosen = set(model.chosen_groups)
        numbers = [number for number, names in self._groups.items() if chosen.issuperset(names)]
        if self.groups.selected != numbers and self._has_chosen:
            self.groups.selected = numbers
        self.cause.value = text_html(cause_words(model.group_table, model.chosen_groups))
        self.cause.layout.display = None if chosen else "none"

    def _draw_filters(self, changed: set[str]) -> None:
        model = self.model
        if not changed & {"choices", "filters"}:
            return
        for name, choice in self.choices.items():
            chosen = None if self._is_filtering else self._shown_choice(name)
            choice.show(model.choices.get(name, {}), chosen)
        if "filters" in changed:
            for name, field in self.filters.items():
                value = model.filters.get(name, "")
                field.value = clean(value, None) if isinstance(value, str) else ""
            self._draw_others()

    def _shown_choice(self, name: str) -> list[str]:
        """What the list of a filter shows as chosen; nothing where it cannot show it."""
        value = self.model.filters.get(name, ())
        values = [value] if isinstance(value, str) else value
        if isinstance(values, list | tuple) and all(isinstance(each, str) for each in values):
            return list(values)
        return []

    def _draw_others(self) -> None:
        made = []
        for name, value in self.model.filters.items():
            is_field = name in self.filters and isinstance(value, str)
            if not is_field and not (name in self.choices and self._shown_choice(name)):
                words = clean(f"{name}: {filter_words(value)}")
                remove = partial(self._on_filter, name, "")
                made.append(button(words, "times", "Remove this filter", remove))
        self._replace(self.others, made)

    def _replace(self, where: Any, children: list[Any]) -> None:
        before, where.children = where.children, tuple(children)
        where.layout.display = None if children else "none"
        for child in before:
            close_all(child)

    def _draw_entries(self, changed: set[str]) -> None:
        model = self.model
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
        there = None if model.page_total else "none"
        for part in (self.entries, self.newest, self.newer, self.older, self.oldest):
            part.layout.display = there
        self.newest.disabled = self.newer.disabled = model.page_start == 0
        last = model.page_start + len(model.page) >= model.page_total
        self.older.disabled = self.oldest.disabled = last

    def _show_page(self, names: list[str]) -> None:
        shown = shown_entries(self.model.page)
        self.entries.set_frame(shown.set_axis(pd.Index(names, name="entry")))

    def _draw_place(self) -> None:
        self.place.value = place_html(self.model, self.entries.sort_by)

    def _draw_status(self, _: object) -> None:
        model = self.model
        done, total = model.progress
        drafts = f" · {self.edit.drafts:,} changed but not kept" if self.edit.drafts else ""
        self.status.show(
            queue_words(model) + drafts + self._worker.mark,
            model.doing + (f": {done:,} of {total:,}" if total else " …"),
            model.notice,
            busy=model.busy and not model.running,
            progress=model.progress,
        )
        self.status.retry = model.can_retry
        self.status.run = run_words(model)
        self.status.news = clean(" · ".join(said_words(model)), MAX_TEXT)

    def _show_problem(self) -> None:
        error = self.model.error
        is_said = self.model.outcome == refused_words(error, self._worker.advice)
        self.status.show_problem("" if is_said else self._advised(error), self.problem)

    def _advised(self, error: str) -> str:
        """An error that names no button, as it is shown whichever tab is open."""
        return in_widget(error, self._worker.advice, typed="what is asked for")

    def _draw_letter(self, changed: set[str]) -> None:
        if "letter" not in changed:
            return
        letter = self.model.letter
        if letter is None:
            self.letter.show(None)
        else:
            filtered = bool(self.model.filters)
            self.letter.show_described(described_letter(letter, filtered=filtered), letter.data)
            if self._is_sought:
                self.letter.reveal()
        self._is_sought = False
        copies = () if letter is None else letter.copies[:_COPIES]
        made = []
        for copy in map(str, copies):
            show = partial(self._on_open_id, copy)
            made.append(button(f"Open {copy:.8}", "clone", f"Open the copy {copy}", show))
        self._replace(self.copies, made)

    def _draw_log(self, changed: set[str]) -> None:
        model = self.model
        if "log_table" in changed:
            self.log.show(model.log_table)
        if "logged_rows" in changed:
            self.log.show_rows(model.logged_run, model.logged_rows)
