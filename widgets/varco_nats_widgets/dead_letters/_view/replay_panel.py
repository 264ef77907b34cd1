"""The part of the dead letters' view that replays: a plan, and its run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets
import pandas as pd

from varco_nats.replay import Canary, PlannedReplay, ReplayPlan, ReplayResult
from varco_nats_widgets._ui.controls import checkbox, fields_are_here, row, scaled, text_field
from varco_nats_widgets._ui.model_view import ModelView
from varco_nats_widgets._ui.views import DataTable
from varco_nats_widgets.dead_letters._dead_letters import DeadLetters
from varco_nats_widgets.dead_letters._replaying import MANY
from varco_nats_widgets.dead_letters._view.panel import Confirmation, Panel, WhichEntries
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
)
from varco_nats_widgets.dead_letters._worker import DeadLettersWorker

_RUN = "Run"
_PLAN_COLUMNS = ["decision", "why", "to", "edited", "replays", "event_type", "payload"]
_REPORT_COLUMNS = ["outcome", "why", "to", "seq", "removed", "channel"]


class ReplayPanel(Panel):
    """Plan, which is the dry run; look at the plan; run it.

    Args:
        open_entry: shows the entry of this id whole.
    """

    confirmed_beside = "Run"
    confirm: Confirmation

    def __init__(
        self,
        view: ModelView[DeadLetters],
        worker: DeadLettersWorker,
        open_entry: Callable[[str], object],
    ) -> None:
        super().__init__(view, worker)
        self._open_entry = open_entry
        self._shows = ""  # plan, report or nothing
        self._plan_drawn: ReplayPlan | None = None  # which is what the button runs
        self._planned_anew = ""  # the id of the plan that ended as one of its options was changed
        self._ids: pd.Index[Any] = pd.Index([])  # of the rows of the table
        self.which = WhichEntries(view, lambda: self._on_change(None))
        self.to = text_field("To", "the channel each came from", "260px", "24px")
        self.note = text_field("Note", "why; kept in the log", "auto", "36px", flex="1 1 240px")
        self.rate = text_field("Rate", "messages/s, no limit", "200px", "34px")
        self.canary = ipywidgets.BoundedIntText(
            description="Canary",
            value=5,
            min=0,
            max=1_000_000,
            tooltip="Messages to replay first; 0 for no canary",
            layout={"width": scaled("108px")},
            style={"description_width": scaled("48px")},
        )
        self.wait = text_field("Wait (s)", "until services give up", "218px", "52px")
        self.again = checkbox(AGAIN)
        self.new_ids = checkbox(NEW_IDS)
        self.plan = self._button(
            "Plan", "list", "Show what would be sent, without sending anything", self._plan
        )
        self.run = self._button(_RUN, "play", "Send what the plan says", self._run)
        self.confirm = Confirmation()
        canary = "Select the entries of the canary that came back"
        self.returned = self._button("Show what came back", "reply", canary, self._show_returned)
        self.table = DataTable(height=240, hide_empty=True, label="Plan and outcome")
        self.table.on_open(self._on_open)
        self.box = ipywidgets.VBox(
            [
                row(self.which.control, self.to, self.note),
                row(self.again, self.new_ids, self.plan),
                row(self.rate, self.canary, self.wait),
                self.confirm.why,
                row(self.confirm.field, self.run),
                row(self.message, self.returned),
                self.table,
            ]
        )
        for control in (self.to, self.note, self.again, self.new_ids):
            control.observe(view.on_user_change(self._on_change), "value")

    # What the user does

    def _on_change(self, _: object) -> None:
        if (plan := self._model.planned) is not None:  # which the controls no longer describe
            self._planned_anew = plan.plan_id
            self._worker.start(self._model.aio.forget_plan)
        self.say("")

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
        await self._do("planning", planning)

    async def _run(self) -> None:
        model, plan = self._model, self._plan_drawn
        await fields_are_here()
        await self._do("replaying", self._confirmed_run(model, plan))

    async def _confirmed_run(self, model: DeadLetters, plan: ReplayPlan | None) -> Any:
        if plan is None or model.planned is not plan:
            raise ValueError("the plan has changed since; look at it first")
        canary = None
        if self.canary.value and not model.plan_elsewhere:
            canary = Canary(self.canary.value, number_of("wait", self.wait.value))
        rate, (word, count) = number_of("rate", self.rate.value), self.confirm.typed()
        self._empty(self.confirm.field)
        if plan.unhandled and plan.to_replay > MANY and (not word or count is None):
            # the model asks for the number first, and for the word only then
            facts = "; ".join(target.warning for target in plan.targets if target.unhandled)
            needed = f'to send them all the same, type "{NOBODY} {plan.to_replay:,}" beside {_RUN}'
            raise ValueError(f"{facts}; {needed}")
        return await model.aio.run(
            plan, rate=rate, canary=canary, confirm=count, word=word, progress=False
        )

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
        plan = model.planned
        self._end_options(plan)
        if "report" in changed and model.report is not None:
            self._shows = "report"
        elif "planned" in changed and (plan is not None or self._shows == "plan"):
            self._shows = "plan"
        self._draw_buttons(plan)
        if changed & {"plan_table", "report_table", "planned", "report"}:
            self._draw_table(plan)
        self._draw_message(self._words(plan))

    def _end_options(self, plan: ReplayPlan | None) -> None:
        """End with a plan what was set for it, unless it ended as the user changes just that."""
        ended, self._plan_drawn = self._plan_drawn, plan
        if plan is None and ended is not None and ended.plan_id != self._planned_anew:
            self._empty(self.again, self.new_ids, self.note, self.confirm.field)

    def _draw_buttons(self, plan: ReplayPlan | None) -> None:
        model = self._model
        many = 0 if plan is None else plan.to_replay
        ready = many > 0 and not model.running
        self.plan.disabled = model.running or model.doing == "planning" or not self.which.entries
        self.run.description = f"{_RUN}: send {many:,}" if ready else _RUN
        self.run.disabled = not ready
        unhandled = plan.unhandled if ready and plan is not None else 0
        doing = "send this message" if many == 1 else f"send these {many:,}"
        if unhandled:
            some = "" if unhandled == many else f"{unhandled:,} of "
            doing += f", {some}which nobody seems to handle"
        number = many if ready and many > MANY else 0
        self.confirm.draw(doing, NOBODY * bool(unhandled), number)
        self.canary.disabled = self.wait.disabled = model.plan_elsewhere

    def _shown_now(self) -> object:
        plan, report = self._model.planned, self._model.report
        return plan and plan.plan_id, report and report.replay_id

    def _words(self, plan: ReplayPlan | None) -> str:
        """What is to be said of what is shown."""
        model = self._model
        if model.running:
            return "The line on top says how far it is."
        if self._shows == "plan" and plan is not None:
            return plan_words(plan, elsewhere=model.plan_elsewhere)
        if self._shows == "report" and model.report is not None:
            return model.outcome
        first = "The plan is out of date: plan again." if self._shows == "plan" else "Plan first."
        if not self.which.entries:
            first = "Choose entries at the top, then plan."
        return f"{first} A plan shows what would be sent, and sends nothing."

    def _draw_table(self, plan: ReplayPlan | None) -> None:
        model, report = self._model, self._model.report
        came_back = False
        if self._shows == "plan" and plan is not None:
            frame = model.plan_table
            if len(frame) != len(plan.rows):  # it was just dropped, which is drawn next
                return
            usual = (frame["decision"] == "replay") & ~frame["edited"].astype(bool)
            self._show(_with_advice(frame, plan.rows), usual, _PLAN_COLUMNS)
        elif self._shows == "report" and report is not None:
            came_back = bool(report.came_back)
            frame = model.report_table
            if len(frame) != len(report.rows):
                return
            self._show(_with_advice(frame, report.rows), is_usual(frame), _REPORT_COLUMNS)
        else:
            self._show(pd.DataFrame(), pd.Series(dtype=bool), [])
        self.returned.layout.display = None if came_back else "none"

    def _show(self, frame: pd.DataFrame, usual: pd.Series[bool], columns: list[str]) -> None:
        self.table.layout.display = None if len(frame) else "none"
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
