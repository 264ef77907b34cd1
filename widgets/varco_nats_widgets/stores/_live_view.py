"""What the live values of a bucket look like in a notebook."""

from __future__ import annotations

import threading
from collections.abc import Iterable

import ipywidgets

from varco_nats_widgets._ui.controls import button, text_html
from varco_nats_widgets._ui.model_view import DrawPart, ModelView, view_of
from varco_nats_widgets._ui.views import DataTable
from varco_nats_widgets.frames._cells import counted, escape
from varco_nats_widgets.stores._live import LiveKeyValues

_MANY = 5_000  # rows from which on the table is renewed less often
_MANY_HZ = 1.0


@view_of.register(LiveKeyValues)
class LiveKeyValuesView(ModelView[LiveKeyValues]):
    """Draws the values of a bucket, which go on when their view is closed.

    Its parts are there for what builds on it: `table`, `status`, `stop`, and `box` with all.
    """

    gone = "these live values are gone; make new ones with lab.kv(bucket).live()"

    def __init__(self, live: LiveKeyValues) -> None:
        super().__init__(live)
        self.table = DataTable(height=320)
        self.status = ipywidgets.HTML()
        self.stop = button("Stop", "stop", "End it; the table stays", self._stop)
        top = ipywidgets.HBox([self.stop, self.status], layout={"align_items": "center"})
        self._begin(ipywidgets.VBox([top, self.table]))

    def static_html(self, text: str) -> str:
        """The first keys."""
        return f"<p>{escape(text)}</p><p>{self.status.value}</p>{self.table.static_html()}"

    def _is_settled(self) -> bool:
        return self.model.state == "stopped"

    def _parts(self) -> Iterable[DrawPart]:
        return (self._draw_values,)

    def _draw_values(self, changed: set[str]) -> None:
        live = self.model
        if "_version" in changed or not self.table.columns:
            frame = live.df
            columns = [str(name) for name in frame.columns]
            if columns != self.table.columns:
                self.table.columns = columns
            self.table.set_frame(frame)
            if len(frame) > _MANY:
                self._coalescer.hz = _MANY_HZ
        self.stop.disabled = live.state == "stopped"

    def _show_problem(self) -> None:
        live = self.model
        said = (live.notice, self.problem or live.error)
        pieces = [
            f"bucket {live.name}",
            live.state,
            counted(live.keys, "key"),
            counted(live.changes, "change"),
            *filter(None, said),
        ]
        self.status.value = text_html(" · ".join(pieces))

    def _stop(self) -> None:
        live = self.model
        threading.Thread(target=live.stop, name="live bucket's button", daemon=True).start()
