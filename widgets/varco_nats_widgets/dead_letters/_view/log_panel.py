"""The part of the dead letters' view that shows what was replayed and discarded before."""

from __future__ import annotations

from collections.abc import Callable

import ipywidgets
import pandas as pd

from varco_nats_widgets._ui.controls import (
    button,
    caption,
    row,
    text_html,
)
from varco_nats_widgets._ui.views import DataTable
from varco_nats_widgets.dead_letters._view.tables import is_usual, named, short_ids, unusual_first
from varco_nats_widgets.dead_letters._view.words import (
    count_words,
)

_LOG_COLUMNS = ["started_at", "state", "outcome", "note", "who", "kind", "to", "planned"]
_LOG_COLUMNS += ["ended_at", "ended_because", "rate", "canary", "came_back", "exported_to"]
_ROW_COLUMNS = ["outcome", "why", "seq", "removed", "edited"]


class LogPanel:
    """What was replayed and discarded: by whom, when, why and with what outcome.

    Args:
        read: reads the log, or with the id of a run the outcome of each of its entries.
        open_entry: shows the entry of this id whole.
    """

    def __init__(self, read: Callable[..., object], open_entry: Callable[[str], object]) -> None:
        self.refresh = button("Refresh", "refresh", "Read the log again", read)
        self.table = DataTable(height=200)
        self.table.on_open(lambda run: read(named(self._runs, run)))
        self.of_run = caption("Double-click a run, or press Enter on it, to see its entries.")
        self.rows = DataTable(_ROW_COLUMNS, height=200)
        self.rows.on_open(lambda entry: open_entry(named(self._ids, entry)))
        self.box = ipywidgets.VBox([row(self.refresh), self.table, self.of_run, self.rows])
        self._runs = self._ids = pd.Index([])

    def show_rows(self, replay_id: str, rows: pd.DataFrame) -> None:
        """Show the outcome of each entry of a run."""
        rows = unusual_first(rows, is_usual(rows)) if replay_id else rows
        self._ids = rows.index
        self.rows.layout.display = None if replay_id else "none"
        if replay_id:
            counts = rows["outcome"].fillna("without an outcome yet").value_counts()
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
