"""The parts of the dead letters' view that decide: replay, export and discard, and the log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any

import ipywidgets
import pandas as pd

from varco_nats.replay import Canary
from varco_nats_widgets._controls import button, caption, row, text_field, text_html
from varco_nats_widgets._dlq_replaying import MANY, Which
from varco_nats_widgets._views import DataTable

if TYPE_CHECKING:
    from varco_nats.replay import ReplayPlan, ReplayReport
    from varco_nats_widgets.dead_letters import DeadLetters

type Asked = Callable[[Callable[[Any], object]], Callable[[Any], None]]
type Start = Callable[..., Any]

_WORD = "discard"
_FIELD_SECONDS = 0.2
_PLAN_COLUMNS = ["decision", "why", "to", "edited", "replays", "event_type", "payload"]
_LOG_COLUMNS = ["started_at", "state", "note", "outcome", "who", "kind", "to", "planned", "why"]
_REPORT_COLUMNS = ["outcome", "why", "to", "seq", "removed", "channel"]


async def fields_are_here() -> None:
    """Wait for what was typed before a click, which may come after it.

    JupyterLab sends each widget's messages over a subshell of its own, where the kernel has them.
    """
    await asyncio.sleep(_FIELD_SECONDS)


class WhichEntries:
    """Asks for the entries that are meant."""

    def __init__(self) -> None:
        self.control = ipywidgets.Dropdown(
            description="Entries",
            options=[("all that match", "matching")],
            layout=ipywidgets.Layout(width="330px"),
            style={"description_width": "52px"},
        )
        self._chosen = "matching"

    @property
    def entries(self) -> Which:
        value: Which = self.control.value
        return value

    def draw(self, model: DeadLetters) -> None:
        """Offer what there is; the narrowest choice that is new becomes the chosen one."""
        rows, groups = len(model.selected_ids), len(model.chosen_groups)
        options = []
        if rows:
            options.append((f"{rows:,} selected row{'s' if rows != 1 else ''}", "selected"))
        if groups:
            of = f"the {groups} chosen groups" if groups > 1 else "the chosen group"
            options.append((f"{model.page_total:,} of {of}", "groups"))
        options.append((f"all {model.matching:,} that match the filter", "matching"))
        if tuple(options) == tuple(self.control.options):
            return
        before, known = self.entries, [value for _, value in self.control.options]
        values = [value for _, value in options]
        self.control.options = options
        fresh = values[0] not in known
        self.control.value = before if before in values and not fresh else values[0]


class ReplayPanel:
    """Plan, look at the plan, run."""

    def __init__(self, model_of: Callable[[], DeadLetters], asked: Asked, start: Start) -> None:
        self._model_of = model_of
        self._start = start
        self.which = WhichEntries()
        self.to = text_field("To", "the channel each came from", "260px", "24px")
        self.note = text_field("Note", "why; kept in the log", "auto", "36px", flex="1 1 240px")
        self.rate = text_field("Rate", "messages/s, no limit", "200px", "34px")
        self.canary = _count_field("Canary", "Replay so many first; 0 for none", 5)
        self.wait = _count_field("then wait, s", "How long to look for them coming back", 10)
        self.again = _checkbox("also what was replayed before")
        self.new_ids = _checkbox("new event ids")
        self.dry_run = _checkbox("dry run", on=True)
        self.plan = button("Plan", "list", "Show what would be sent; sends nothing")
        self.run = button("Run", "play", "Send what the plan says")
        self.confirm = text_field("", "", "260px", "0px")
        self.bar = ipywidgets.IntProgress(layout={"width": "160px"})
        self.bar.tooltip = "Messages of the run"
        self.phase = caption("")
        self.pause = ipywidgets.ToggleButton(
            description="Pause", icon="pause", tooltip="Send nothing more for now"
        )
        self.cancel = button("Cancel", "stop", "End the run; what was not sent stays")
        self.running = row(self.bar, self.phase, self.pause, self.cancel)
        self.said = caption("")
        self.table = DataTable(height=240)
        self.box = ipywidgets.VBox(
            [
                row(self.which.control, self.to, self.note),
                row(self.again, self.new_ids, self.plan),
                row(self.rate, self.canary, self.wait),
                row(self.dry_run, self.confirm, self.run),
                self.running,
                self.said,
                self.table,
            ]
        )
        self._observe(asked)

    @property
    def _model(self) -> DeadLetters:
        return self._model_of()

    def _observe(self, asked: Asked) -> None:
        for control in (self.which.control, self.to, self.note, self.again, self.new_ids):
            control.observe(asked(self._on_change), "value")
        self.dry_run.observe(asked(lambda _: self._draw_buttons()), "value")
        self.pause.observe(asked(self._on_pause), "value")
        self.plan.on_click(lambda _: self._start(self._plan))
        self.run.on_click(lambda _: self._start(self._run))
        self.cancel.on_click(lambda _: self._model.cancel())

    # What the user does

    def _on_change(self, _: object) -> None:
        if self._model.planned is not None:  # it is not what the controls say any more
            self._start(self._model.aio.forget_plan)

    def _on_pause(self, on: bool) -> None:
        (self._model.pause if on else self._model.resume)()

    async def _plan(self) -> None:
        await fields_are_here()
        await self._model.aio.plan(
            self.which.entries,
            to=self.to.value.strip() or None,
            new_event_ids=self.new_ids.value,
            again=self.again.value,
            note=self.note.value,
        )

    async def _run(self) -> None:
        model = self._model
        await fields_are_here()
        try:
            canary = None
            if self.canary.value:
                canary = Canary(self.canary.value, self.wait.value)
            rate, confirm = number_of("rate", self.rate.value), count_of(self.confirm.value)
        except ValueError as error:
            model.set_trait("error", str(error))
            return
        self.confirm.value = ""
        await model.aio.run(rate=rate, canary=canary, confirm=confirm)

    # Drawing

    def draw(self, changed: set[str]) -> None:
        model = self._model
        self.which.draw(model)
        if changed & {"plan_table", "report_table", "planned", "report"}:
            self._draw_table()
        phase, done, total = model.run_progress
        self.bar.max, self.bar.value = max(total, 1), done
        self.phase.value = text_html(f"{phase}: {done:,} of {total:,}")
        self.pause.value = model.paused
        self.running.layout.display = None if model.running else "none"
        self._draw_buttons()

    def _draw_buttons(self) -> None:
        model = self._model
        plan = model.planned
        many = 0 if plan is None else plan.to_replay
        ready = plan is not None and not self.dry_run.value and not model.running
        self.plan.disabled = model.running
        self.run.disabled = not ready or not many
        self.confirm.placeholder = f"type {many:,} to confirm"
        self.confirm.layout.display = None if ready and many > MANY else "none"

    def _draw_table(self) -> None:
        model = self._model
        if model.planned is not None:
            self.said.value = text_html(plan_words(model.planned))
            self._show(model.plan_table, _PLAN_COLUMNS)
        elif model.report is not None:
            self.said.value = text_html(report_words(model.report))
            self._show(model.report_table, _REPORT_COLUMNS)
        else:
            self.said.value = text_html("Plan first: it shows what would be sent.")
            self._show(pd.DataFrame(), [])

    def _show(self, frame: pd.DataFrame, columns: list[str]) -> None:
        if self.table.columns != columns:
            self.table.columns = columns
        self.table.set_frame(frame.set_axis(pd.Index(short_ids(frame.index), name="entry")))


class KeepPanel:
    """Write entries to a file; remove them."""

    def __init__(self, model_of: Callable[[], DeadLetters], start: Start) -> None:
        self._model_of = model_of
        self._start = start
        self.which = WhichEntries()
        self.path = text_field("File", "dead.parquet, .ndjson, .csv", "auto", "34px", "1 1 220px")
        self.overwrite = _checkbox("replace what is there")
        self.export = button("Export", "download", "Write the entries to this file")
        self.export.on_click(lambda _: self._start(self._export))
        self.note = text_field("Note", "why; kept in the log", "auto", "36px", flex="1 1 220px")
        self.confirm = text_field("Confirm", "", "300px", "56px")
        self.discard = button("Discard", "trash", "Remove the entries for good")
        self.discard.on_click(lambda _: self._start(self._discard))
        self.said = caption("")
        self.box = ipywidgets.VBox(
            [
                self.which.control,
                caption("Into a file beside this notebook, each entry as it is stored"),
                row(self.path, self.overwrite, self.export),
                caption("Remove without replaying; what was exported here needs no word"),
                row(self.note, self.confirm, self.discard),
                self.said,
            ]
        )

    @property
    def _model(self) -> DeadLetters:
        return self._model_of()

    async def _export(self) -> None:
        await fields_are_here()
        path = self.path.value.strip()
        if not path:
            self.said.value = text_html("name a file, such as dead.parquet or dead.csv")
            return
        await self._do(
            "exporting",
            lambda done: f"{done.rows:,} entries in {done.path.name}, {done.bytes:,} bytes",
            self._model.aio.export(path, self.which.entries, overwrite=self.overwrite.value),
        )

    async def _discard(self) -> None:
        await fields_are_here()
        try:
            word, confirm = word_and_count(self.confirm.value)
        except ValueError as error:
            self.said.value = text_html(str(error))
            return
        self.confirm.value = ""
        await self._do(
            "discarding",
            report_words,
            self._model.aio.discard(
                self.which.entries, word=word, confirm=confirm, note=self.note.value
            ),
        )

    async def _do(
        self, doing: str, words: Callable[[Any], str], action: Coroutine[Any, Any, Any]
    ) -> None:
        self.said.value = text_html(f"{doing} …")
        try:
            self.said.value = text_html(words(await action))
        except asyncio.CancelledError:
            self.said.value = text_html(f"{doing} was stopped")
            raise
        except Exception as error:
            self.said.value = text_html(str(error))
            raise

    def draw(self, changed: set[str]) -> None:
        model = self._model
        self.which.draw(model)
        meant = {"selected": len(model.selected_ids), "groups": model.page_total}
        count = meant.get(self.which.entries, model.matching)
        number = f" {count}" if count > MANY else ""
        self.confirm.placeholder = f"type: {_WORD}{number}"
        self.discard.disabled = model.running


class LogPanel:
    """What was replayed and discarded, by whom, when, why and with what outcome."""

    def __init__(self, renew: Callable[[], object]) -> None:
        self.refresh = button("Refresh", "refresh", "Read the log again")
        self.refresh.on_click(lambda _: renew())
        self.table = DataTable(height=260)
        self.box = ipywidgets.VBox([self.refresh, self.table])

    def show(self, log: pd.DataFrame) -> None:
        shown = log.set_axis(pd.Index(short_ids(log.index), name="run"))
        if len(log.columns):
            outcome = [count_words(counts) for counts in log["outcome"]]
            shown = shown.assign(started_at=log["started_at"].dt.floor("s").array, outcome=outcome)
        columns = _LOG_COLUMNS if len(log.columns) else []
        if self.table.columns != columns:
            self.table.columns = columns
        self.table.set_frame(shown)


def short_ids(entry_ids: pd.Index[Any]) -> list[str]:
    """The beginnings of ids, as long as it takes to tell them apart."""
    length = 8
    while length < 36 and len({one[:length] for one in entry_ids}) < len(entry_ids):
        length += 4
    return [one[:length] for one in entry_ids]


def plan_words(plan: ReplayPlan) -> str:
    """What a plan would do, in a sentence."""
    summary = plan.summary
    to = ", ".join(f"{count:,} to {channel}" for channel, count in list(summary["to"].items())[:5])
    sent = f"{summary['replay']:,} of {summary['rows']:,} would be sent: {to}"
    parts = [sent if to else "nothing would be sent"]
    if summary["edited"]:
        parts.append(f"{summary['edited']:,} with another payload")
    for why, count in list(summary["skipped"].items())[:3]:
        parts.append(f"{count:,} skipped: {why}")
    return "; ".join(parts)


def report_words(report: ReplayReport) -> str:
    """What a run did, in a sentence."""
    why = f"; {report.why}" if report.why else ""
    return f"{report.state}: {count_words(report.counts) or 'nothing'}{why}"


def count_words(counts: Mapping[Any, int]) -> str:
    return ", ".join(f"{count:,} {outcome}" for outcome, count in counts.items())


def number_of(name: str, text: str) -> float | None:
    """A number that was typed, None if nothing was.

    Raises:
        ValueError: it is none.
    """
    if not text.strip():
        return None
    try:
        return float(text.replace(",", ""))
    except ValueError:
        raise ValueError(f"{name}: {text.strip()!r} is no number") from None


def count_of(text: str) -> int | None:
    """A whole number that was typed, also as 40,000; None if nothing was.

    Raises:
        ValueError: it is none.
    """
    plain = "".join(char for char in text if char not in ",._' ")
    if plain and not (plain.isascii() and plain.isdigit()):
        raise ValueError(f"{text.strip()!r} is no number of entries")
    return int(plain) if plain else None


def word_and_count(text: str) -> tuple[str, int | None]:
    """What was typed to confirm: the word, the number, or both."""
    word = _WORD if text.strip().lower().startswith(_WORD) else ""
    return word, count_of(text.strip()[len(word) :])


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
