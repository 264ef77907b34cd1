"""The part of the dead letters' view that shows what was replayed and discarded before."""

from __future__ import annotations

from collections.abc import Callable

import ipywidgets
import pandas as pd

from varco_nats_widgets._ui.controls import button, caption, row, text_html
from varco_nats_widgets._ui.model_view import ModelView
from varco_nats_widgets._ui.views import DataTable
from varco_nats_widgets.dead_letters._dead_letters import DeadLetters
from varco_nats_widgets.dead_letters._status import count_words
from varco_nats_widgets.dead_letters._view.tables import (
    in_words,
    is_usual,
    named,
    short_ids,
    shown_log,
    unusual_first,
)

_ROW_COLUMNS = ["outcome", "why", "seq", "removed", "edited"]


class LogPanel:
    """What was replayed and discarded: by whom, when, why and with what outcome.

    Args:
        view: the view that it is a part of.
        read: reads the log, or with the id of a run the outcome of each of its entries.
        open_entry: shows the entry of this id whole.
    """

    def __init__(
        self,
        view: ModelView[DeadLetters],
        read: Callable[..., object],
        open_entry: Callable[[str], object],
    ) -> None:
        self._read = read
        self.refresh = button("Refresh", "refresh", "Read the log again", read)
        self.table = DataTable(height=200, figures=("planned",), hide_empty=True, label="Runs")
        self.table.observe(view.on_user_change(self._on_run), "selected")
        self.of_run = caption("")
        self.rows = DataTable(height=200, hide_empty=True, label="Entries of the run")
        self.rows.on_open(lambda entry: open_entry(named(self._ids, entry)))
        self.box = ipywidgets.VBox([row(self.refresh), self.table, self.of_run, self.rows])
        self._runs = self._ids = pd.Index([])
        self._opened = ""

    def _on_run(self, runs: list[object]) -> None:
        if len(runs) == 1:
            self._read(named(self._runs, runs[0]))

    def show_rows(self, replay_id: str, rows: pd.DataFrame) -> None:
        """Show the outcome of each entry of a run."""
        rows = unusual_first(rows, is_usual(rows)) if replay_id else rows
        self._ids = rows.index
        self._opened = replay_id
        self.rows.layout.display = None if replay_id else "none"
        if replay_id:
            counts = rows["outcome"].fillna("without an outcome yet").value_counts()
            self.of_run.value = text_html(f"Run {replay_id}: {count_words(counts.to_dict())}")
            rows = in_words(rows[_ROW_COLUMNS])
            self.rows.set_frame(rows.set_axis(pd.Index(short_ids(rows.index), name="entry")))

    def show(self, log: pd.DataFrame) -> None:
        self._runs = log.index
        self.table.layout.display = None if len(log) else "none"
        if not self._opened and len(log.columns):  # it has none before it was read
            click = "Click a run to see what became of each of its entries."
            none = "Nothing was replayed, discarded or put back yet."
            self.of_run.value = text_html(click if len(log) else none)
        self.table.set_frame(shown_log(log).set_axis(pd.Index(short_ids(log.index), name="run")))
