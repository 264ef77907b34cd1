"""The part of the dead letters' view that replays: a plan, and its run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets
import pandas as pd

from varco_nats.replay import Canary, PlannedReplay, ReplayResult
from varco_nats_widgets._ui.controls import (
    checkbox,
    fields_are_here,
    row,
    scaled,
    text_field,
)
from varco_nats_widgets._ui.model_view import ModelView
from varco_nats_widgets._ui.views import DataTable
from varco_nats_widgets.dead_letters._dead_letters import DeadLetters
from varco_nats_widgets.dead_letters._replaying import MANY
from varco_nats_widgets.dead_letters._view.panel import (
    Panel,
    RunBar,
    WhichEntries,
)
from varco_nats_widgets.dead_letters._view.tables import (
    in_words,
    is_usual,
    named,
    short_ids,
    unusual_first,
)
from varco_nats_widgets.dead_letters._view.words import (
    AGAIN,
    NEW_IDS,
    NOBODY,
    in_widget,
    number_of,
    plan_words,
    report_words,
    word_and_count,
)
from varco_nats_widgets.dead_letters._worker import DeadLettersWorker

_PLAN_COLUMNS = ["decision", "why", "to", "edited", "replays", "event_type", "payload"]
_REPORT_COLUMNS = ["outcome", "why", "to", "seq", "removed", "channel"]


class ReplayPanel(Panel):
    """Plan, look at the plan, run.

    Args:
        open_entry: shows the entry of this id whole.
    """

    def __init__(
        self,
        view: ModelView[DeadLetters],
        worker: DeadLettersWorker,
        open_entry: Callable[[str], object],
    ) -> None:
        super().__init__(view, worker)
        self._open_entry = open_entry
        self._shows = ""  # plan, report or nothing
        self._ids: pd.Index[Any] = pd.Index([])  # of the rows of the table
        self.which = WhichEntries()
        self.to = text_field("To", "the channel each came from", "260px", "24px")
        self.note = text_field("Note", "why; kept in the log", "auto", "36px", flex="1 1 240px")
        self.rate = text_field("Rate", "messages/s, no limit", "200px", "34px")
        self.canary = ipywidgets.BoundedIntText(
            description="Canary",
            value=5,
            min=0,
            max=1_000_000,
            tooltip="Messages to replay first; 0 for no canary",
            layout={"width": scaled("170px")},
            style={"description_width": scaled("80px")},
        )
        self.wait = text_field("Wait (s)", "until services give up", "270px", "80px")
        self.again = checkbox(AGAIN)
        self.new_ids = checkbox(NEW_IDS)
        self.dry_run = checkbox("dry run", checked=True)
        self.plan = self._button(
            "Plan", "list", "Show what would be sent, without sending anything", self._plan
        )
        self.run = self._button("Run", "play", "Send what the plan says", self._run)
        self.confirm = text_field("", "", "260px", "0px")
        self.running = RunBar(view)
        canary = "Select the entries of the canary that came back"
        self.returned = self._button("Show what came back", "reply", canary, self._show_returned)
        self.table = DataTable(height=240, hide_empty=True)
        self.table.on_open(self._on_open)
        self.box = ipywidgets.VBox(
            [
                row(self.which.control, self.to, self.note),
                row(self.again, self.new_ids, self.plan),
                row(self.rate, self.canary, self.wait),
                row(self.dry_run, self.confirm, self.run),
                self.running.box,
                row(self.message, self.returned),
                self.table,
            ]
        )
        for control in (self.which.control, self.to, self.note, self.again, self.new_ids):
            control.observe(view.on_user_change(self._on_change), "value")
        self.dry_run.observe(view.on_user_change(lambda _: self._draw_buttons()), "value")

    # What the user does

    def _on_change(self, _: object) -> None:
        if self._model.planned is not None:  # which the controls no longer describe
            self._worker.start(self._model.aio.forget_plan)
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
        rate, (word, count) = number_of("rate", self.rate.value), word_and_count(self.confirm.value)
        self.confirm.value = ""
        report = await model.aio.run(
            rate=rate, canary=canary, confirm=count, word=word, progress=False
        )
        self.dry_run.value = True
        return report

    async def _show_returned(self) -> None:
        """Select the entries that came back, on the newest page, and open the first."""
        model = self._model
        came_back = [str(entry_id) for entry_id in model.report.came_back] if model.report else []
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
        typed = [NOBODY] if plan is not None and plan.unhandled else []
        typed += [f"{many:,}"] if many > MANY else []
        self.confirm.placeholder = f"type {' '.join(typed)} to confirm"
        self.confirm.layout.display = None if ready and typed else "none"
        self.canary.disabled = self.wait.disabled = model.plan_elsewhere

    def _draw_table(self) -> None:
        model = self._model
        came_back = False
        if self._shows == "plan" and model.planned is not None:
            self.say(plan_words(model.planned, elsewhere=model.plan_elsewhere))
            frame = model.plan_table
            usual = (frame["decision"] == "replay") & ~frame["edited"].astype(bool)
            self._show(_with_advice(frame, model.planned.rows), usual, _PLAN_COLUMNS)
        elif self._shows == "report" and model.report is not None:
            self.say(report_words(model.report))
            came_back = bool(model.report.came_back)
            frame = model.report_table
            self._show(_with_advice(frame, model.report.rows), is_usual(frame), _REPORT_COLUMNS)
        else:
            first = "The plan is out of date: plan again." if self._shows else "Plan first."
            self.say(f"{first} A plan shows what would be sent, and sends nothing.")
            self._show(pd.DataFrame(), pd.Series(dtype=bool), [])
        self.returned.layout.display = None if came_back else "none"

    def _show(self, frame: pd.DataFrame, usual: pd.Series[bool], columns: list[str]) -> None:
        shown = unusual_first(frame, usual)
        self._ids = shown.index
        names = pd.Index(short_ids(shown.index), name="entry")
        self.table.set_frame(in_words(shown[columns]).set_axis(names))


def _with_advice(
    frame: pd.DataFrame, rows: Sequence[PlannedReplay] | Sequence[ReplayResult]
) -> pd.DataFrame:
    """The frame of these rows, with what to do in the widget about what was left out."""
    why = [in_widget(row.why, row.advice) or None for row in rows]
    return frame.assign(why=pd.Series(why, index=frame.index, dtype=object))
