"""The parts of the dead letters' view that decide: replay, export and discard, and the log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ipywidgets
import pandas as pd

from varco_nats.replay import Canary
from varco_nats_widgets._ui.controls import button, caption, row, text_field, text_html
from varco_nats_widgets._ui.views import DataTable
from varco_nats_widgets.dead_letters._dead_letters import DeadLetters
from varco_nats_widgets.dead_letters._panel import (
    Asked,
    Panel,
    RunBar,
    Start,
    WhichEntries,
    fields_are_here,
)
from varco_nats_widgets.dead_letters._replaying import MANY
from varco_nats_widgets.dead_letters._tables import is_usual, named, short_ids, unusual_first
from varco_nats_widgets.dead_letters._words import (
    WORD,
    by_hand,
    count_of,
    count_words,
    entries_words,
    number_of,
    plan_words,
    report_words,
    word_and_count,
)

_PLAN_COLUMNS = ["decision", "why", "to", "edited", "replays", "event_type", "payload"]
_LOG_COLUMNS = ["started_at", "state", "outcome", "note", "who", "kind", "to", "planned"]
_LOG_COLUMNS += ["ended_at", "ended_because", "rate", "canary", "came_back", "exported_to"]
_ROW_COLUMNS = ["outcome", "why", "seq", "removed", "edited"]
_REPORT_COLUMNS = ["outcome", "why", "to", "seq", "removed", "channel"]


class ReplayPanel(Panel):
    """Plan, look at the plan, run.

    Args:
        open_entry: shows the entry of this id whole.
    """

    def __init__(
        self,
        model_of: Callable[[], DeadLetters],
        asked: Asked,
        start: Start,
        open_entry: Callable[[str], object],
    ) -> None:
        super().__init__(model_of, start)
        self._open_entry = open_entry
        self._shows = ""  # plan, report or nothing
        self._ids: pd.Index[Any] = pd.Index([])  # of the rows of the table
        self.which = WhichEntries()
        self.to = text_field("To", "the channel each came from", "260px", "24px")
        self.note = text_field("Note", "why; kept in the log", "auto", "36px", flex="1 1 240px")
        self.rate = text_field("Rate", "messages/s, no limit", "200px", "34px")
        self.canary = _count_field("Canary", "Replay so many first; 0 for none", 5)
        self.wait = text_field("then wait, s", "as long as services try", "270px", "80px")
        self.again = _checkbox("also what was replayed before")
        self.new_ids = _checkbox("new event ids")
        self.dry_run = _checkbox("dry run", on=True)
        self.plan = button("Plan", "list", "Show what would be sent; sends nothing")
        self.run = button("Run", "play", "Send what the plan says")
        self.confirm = text_field("", "", "260px", "0px")
        self.running = RunBar(model_of, asked)
        self.returned = button("Show what came back", "reply", "Select those of the canary")
        self.table = DataTable(height=240)
        self.table.on_open(self._on_open)
        self.box = ipywidgets.VBox(
            [
                row(self.which.control, self.to, self.note),
                row(self.again, self.new_ids, self.plan),
                row(self.rate, self.canary, self.wait),
                row(self.dry_run, self.confirm, self.run),
                self.running.box,
                row(self.said, self.returned),
                self.table,
            ]
        )
        self._observe(asked)

    def _observe(self, asked: Asked) -> None:
        for control in (self.which.control, self.to, self.note, self.again, self.new_ids):
            control.observe(asked(self._on_change), "value")
        self.dry_run.observe(asked(lambda _: self._draw_buttons()), "value")
        self.plan.on_click(lambda _: self._start(self._plan))
        self.run.on_click(lambda _: self._start(self._run))
        self.returned.on_click(lambda _: self._start(self._show_returned))

    # What the user does

    def _on_change(self, _: object) -> None:
        if self._model.planned is not None:  # it is not what the controls say any more
            self._start(self._model.aio.forget_plan)
        self._draw_buttons()

    def _on_open(self, name: Any) -> None:
        self._open_entry(named(self._ids, name))

    async def _plan(self) -> None:
        await fields_are_here()
        planning = self._model.aio.plan(
            self.which.entries,
            to=self.to.value.strip() or None,
            new_event_ids=self.new_ids.value,
            again=self.again.value,
            note=self.note.value,
        )
        words = lambda plan: plan_words(plan, elsewhere=self._model.plan_elsewhere)  # noqa: E731
        await self._do("planning", planning, words)

    async def _run(self) -> None:
        model = self._model
        await fields_are_here()
        await self._do("replaying", self._confirmed_run(model), report_words)

    async def _confirmed_run(self, model: DeadLetters) -> Any:
        canary = None
        if self.canary.value and not model.plan_elsewhere:
            canary = Canary(self.canary.value, number_of("wait", self.wait.value))
        rate, confirm = number_of("rate", self.rate.value), count_of(self.confirm.value)
        self.confirm.value = ""
        report = await model.aio.run(rate=rate, canary=canary, confirm=confirm, progress=False)
        self.dry_run.value = True
        return report

    async def _show_returned(self) -> None:
        """Select what came back dead, on the newest page, and open the first of it."""
        model = self._model
        came_back = [str(one) for one in model.report.came_back] if model.report else []
        await model.aio.choose()
        model.selected_ids = came_back
        if came_back:
            self._open_entry(came_back[0])

    # Drawing

    def draw(self, changed: set[str]) -> None:
        model = self._model
        self.which.draw(model)
        if "report" in changed and model.report is not None:
            self._shows = "report"
        elif "planned" in changed and (model.planned is not None or self._shows == "plan"):
            self._shows = "plan"
        if changed & {"plan_table", "report_table", "planned", "report"}:
            self._draw_table()
        self.running.draw(model)
        self._draw_buttons()

    def _draw_buttons(self) -> None:
        model = self._model
        plan = model.planned
        many = 0 if plan is None else plan.to_replay
        ready = plan is not None and not self.dry_run.value and not model.running
        self.plan.disabled = model.running or model.doing == "planning" or not self.which.entries
        self.run.disabled = not ready or not many
        self.confirm.placeholder = f"type {many:,} to confirm"
        self.confirm.layout.display = None if ready and many > MANY else "none"
        self.canary.disabled = self.wait.disabled = model.plan_elsewhere

    def _draw_table(self) -> None:
        model = self._model
        came_back = False
        if self._shows == "plan" and model.planned is not None:
            self.say(plan_words(model.planned, elsewhere=model.plan_elsewhere))
            frame = model.plan_table
            usual = (frame["decision"] == "replay") & ~frame["edited"].astype(bool)
            why = frame["why"].map(by_hand, na_action="ignore")
            self._show(frame.assign(why=why), usual, _PLAN_COLUMNS)
        elif self._shows == "report" and model.report is not None:
            self.say(report_words(model.report))
            came_back = bool(model.report.came_back)
            frame = model.report_table
            self._show(frame, is_usual(frame), _REPORT_COLUMNS)
        else:
            again = "Plan again, as what is meant has changed." if self._shows else "Plan first."
            self.say(f"{again} A plan shows what would be sent, and sends nothing.")
            self._show(pd.DataFrame(), pd.Series(dtype=bool), [])
        self.returned.layout.display = None if came_back else "none"

    def _show(self, frame: pd.DataFrame, usual: pd.Series[bool], columns: list[str]) -> None:
        shown = unusual_first(frame, usual)
        self._ids = shown.index
        names = pd.Index(short_ids(shown.index), name="entry")
        self.table.set_frame(shown[columns].set_axis(names))


class KeepPanel(Panel):
    """Write entries to a file; remove them."""

    def __init__(
        self,
        model_of: Callable[[], DeadLetters],
        asked: Asked,
        start: Start,
        basis_of: Callable[[object], object],
    ) -> None:
        super().__init__(model_of, start)
        self._basis_of = basis_of
        self._exported: object = None  # what was chosen when an export was made
        self.running = RunBar(model_of, asked)
        self.which = WhichEntries()
        self.which.control.observe(asked(lambda _: self.draw()), "value")
        self.path = text_field("File", "dead.parquet, .ndjson, .csv", "auto", "34px", "1 1 220px")
        self.overwrite = _checkbox("replace what is there")
        self.export = button("Export", "download", "Write the entries to this file")
        self.export.on_click(lambda _: self._start(self._export))
        self.note = text_field("Note", "why; kept in the log", "auto", "36px", flex="1 1 220px")
        self.confirm = text_field("Confirm", "", "300px", "56px")
        self.discard = button("Discard", "trash", "Remove the entries for good")
        self.discard.on_click(lambda _: self._start(self._discard))
        self.box = ipywidgets.VBox(
            [
                self.which.control,
                caption("Into a file beside this notebook, each entry as it is stored"),
                row(self.path, self.overwrite, self.export),
                caption("Remove without replaying; what was exported here needs no word"),
                row(self.note, self.confirm, self.discard),
                self.running.box,
                self.said,
            ]
        )

    async def _export(self) -> None:
        await fields_are_here()
        path, which = self.path.value.strip(), self.which.entries
        if not path:
            self.say("name a file, such as dead.parquet or dead.csv", wrong=True)
            return
        meant = self._meant()
        await self._do(
            "exporting",
            self._model.aio.export(path, which, overwrite=self.overwrite.value, progress=False),
            lambda done: f"{entries_words(done.rows)} in {done.path.name}, {done.bytes:,} bytes",
        )
        self._exported = meant
        self.draw()

    async def _discard(self) -> None:
        await fields_are_here()
        await self._do("discarding", self._confirmed_discard(), report_words)

    async def _confirmed_discard(self) -> Any:
        word, confirm = word_and_count(self.confirm.value)
        self.confirm.value = ""
        return await self._model.aio.discard(
            self.which.entries, word=word, confirm=confirm, note=self.note.value, progress=False
        )

    def _meant(self) -> object:
        return self.which.entries, self._basis_of(self.which.entries)

    def draw(self) -> None:
        model = self._model
        self.which.draw(model)
        self.running.draw(model)
        count = self.which.count(model)
        exported = self.which.entries and self._exported == self._meant()
        number = f"{count:,}" if count > MANY else ""
        self.confirm.placeholder = (
            f"exported; type {number}" if exported and number
            else "exported; nothing to type" if exported
            else f"type: {WORD} {number}".rstrip()
        )  # fmt: skip
        unready = model.running or not self.which.entries
        self.discard.disabled = unready
        self.export.disabled = unready or model.doing == "exporting"


class LogPanel:
    """What was replayed and discarded, by whom, when, why and with what outcome.

    Args:
        renew: reads the log; with the id of a run, what became of its entries.
        open_entry: shows the entry of this id whole.
    """

    def __init__(self, renew: Callable[..., object], open_entry: Callable[[str], object]) -> None:
        self.refresh = button("Refresh", "refresh", "Read the log again")
        self.refresh.on_click(lambda _: renew())
        self.table = DataTable(height=200)
        self.table.on_open(lambda run: renew(named(self._runs, run)))
        self.of_run = caption("Double click a run, or press Enter, to see what it did with each.")
        self.rows = DataTable(_ROW_COLUMNS, height=200)
        self.rows.on_open(lambda entry: open_entry(named(self._ids, entry)))
        self.box = ipywidgets.VBox([row(self.refresh), self.table, self.of_run, self.rows])
        self._runs = self._ids = pd.Index([])

    def show_rows(self, replay_id: str, rows: pd.DataFrame) -> None:
        """What became of each entry of a run."""
        rows = unusual_first(rows, is_usual(rows)) if replay_id else rows
        self._ids = rows.index
        self.rows.layout.display = None if replay_id else "none"
        if replay_id:
            counts = rows["outcome"].fillna("no outcome: it died or runs").value_counts()
            self.of_run.value = text_html(f"Run {replay_id}: {count_words(counts.to_dict())}")
            self.rows.set_frame(rows.set_axis(pd.Index(short_ids(rows.index), name="entry")))

    def show(self, log: pd.DataFrame) -> None:
        self._runs = log.index
        shown = log.set_axis(pd.Index(short_ids(log.index), name="run"))
        if len(log.columns):
            ends = ("started_at", "ended_at")
            times = {name: log[name].dt.strftime("%Y-%m-%d %H:%M:%S").array for name in ends}
            outcome = [count_words(counts) for counts in log["outcome"]]
            to = [count_words(to) if isinstance(to, dict) else "" for to in log["to"]]
            shown = shown.assign(**times, outcome=outcome, to=to)
            shown = shown[_LOG_COLUMNS]
        self.table.set_frame(shown)


def _checkbox(label: str, *, on: bool = False) -> Any:
    return ipywidgets.Checkbox(description=label, value=on, indent=False, layout={"width": "auto"})


def _count_field(label: str, tooltip: str, value: int) -> Any:
    return ipywidgets.BoundedIntText(
        description=label,
        value=value,
        min=0,
        max=1_000_000,
        tooltip=tooltip,
        layout=ipywidgets.Layout(width="170px"),
        style={"description_width": "80px"},
    )
