"""The part of the dead letters' view that exports entries, removes them, and puts them back."""

from __future__ import annotations

from typing import Any

import ipywidgets

from varco_nats.replay import ReplayOutcome
from varco_nats_widgets._ui.controls import (
    caption,
    checkbox,
    fields_are_here,
    row,
    text_field,
)
from varco_nats_widgets._ui.model_view import ModelView
from varco_nats_widgets.dead_letters._dead_letters import DeadLetters
from varco_nats_widgets.dead_letters._replaying import MANY
from varco_nats_widgets.dead_letters._status import outcome_words
from varco_nats_widgets.dead_letters._view.panel import (
    SAID,
    Panel,
    WhichEntries,
)
from varco_nats_widgets.dead_letters._view.words import (
    OVERWRITE,
    RESTORE_AGAIN,
    WORD,
    count_of,
    entries_words,
    restored_words,
    word_and_count,
)
from varco_nats_widgets.dead_letters._worker import DeadLettersWorker


class KeepPanel(Panel):
    """Export entries to a file; remove them; put back what was exported."""

    confirmed_beside = "Discard"

    def __init__(self, view: ModelView[DeadLetters], worker: DeadLettersWorker) -> None:
        super().__init__(view, worker)
        self._exported: object = None  # what was chosen when an export was made
        self.which = WhichEntries(view, lambda: view.redraw(SAID))
        self.path = text_field("File", "dead.parquet, .ndjson, .csv", "auto", "34px", "1 1 220px")
        self.overwrite = checkbox(OVERWRITE)
        to_file = "Write the entries to this file"
        self.export = self._button("Export", "download", to_file, self._export)
        self.note = text_field("Note", "why; kept in the log", "auto", "36px", flex="1 1 220px")
        self.confirm = text_field("Confirm", "", "300px", "56px")
        self.discard = self._button(
            "Discard", "trash", "Remove the entries for good", self._discard
        )
        self.undo = self._button("Undo", "undo", "", self._undo)
        self._offered = ""  # the file that was last offered for a restore
        self.source = text_field(
            "Export file", "dead.parquet, .ndjson, .csv", "auto", "74px", "1 1 220px"
        )
        self.again = checkbox(RESTORE_AGAIN)
        self.number = text_field("Number", f"for more than {MANY} entries", "260px", "56px")
        back = "Put the entries of this file back into the queue, each once"
        self.restore = self._button("Restore", "reply", back, self._restore)
        export = [
            self.which.control,
            caption("Export the entries to a file beside this notebook"),
            row(self.path, self.overwrite, self.export),
        ]
        discard = [
            caption("Or remove them without replaying them"),
            row(self.note, self.confirm, self.discard),
        ]
        restore = [
            caption("Or put back what was discarded, from the file to which it was exported"),
            row(self.source, self.again, self.number, self.restore),
        ]
        parts = export if worker.read_only else export + discard
        if not worker.read_only and not worker.is_foreign:
            parts += restore
        self.box = ipywidgets.VBox([*parts, row(self.message, self.undo)])

    async def _export(self) -> None:
        await fields_are_here()
        path, which = self.path.value.strip(), self.which.entries
        if not path:
            self.say("name a file, such as dead.parquet or dead.csv", is_problem=True)
            return
        meant = self._meant()
        await self._do(
            "exporting",
            self._model.aio.export(path, which, overwrite=self.overwrite.value, progress=False),
            lambda done: f"{entries_words(done.rows)} in {done.path.name}, {done.bytes:,} bytes",
        )
        self._exported = meant
        self._view.redraw(SAID)

    async def _discard(self) -> None:
        await fields_are_here()
        await self._do("discarding", self._confirmed_discard(), outcome_words)
        self._empty(self.note)  # it was that of this discard

    async def _confirmed_discard(self) -> Any:
        word, confirm = word_and_count(self.confirm.value)
        self._empty(self.confirm)
        return await self._model.aio.discard(
            self.which.entries, word=word, confirm=confirm, note=self.note.value, progress=False
        )

    async def _undo(self) -> None:
        model = self._model
        report, path = model.report, model.undo_file
        if report is None or not path:  # a run has begun meanwhile
            return
        gone = [row.key for row in report.of(ReplayOutcome.DISCARDED)]
        restoring = model.aio.restore(
            path, gone, confirm=len(gone), note="undoes a discard", progress=False
        )
        await self._do("restoring", restoring, restored_words)

    async def _restore(self) -> None:
        await fields_are_here()
        path = self.source.value.strip()
        if not path:
            self.say("name the file of an export, such as dead.parquet", is_problem=True)
            return
        restoring = self._confirmed_restore(path)
        await self._do("restoring", restoring, restored_words, beside="Restore")

    async def _confirmed_restore(self, path: str) -> Any:
        confirm = count_of(self.number.value)
        self._empty(self.number)
        return await self._model.aio.restore(
            path, again=self.again.value, confirm=confirm, note=self.note.value, progress=False
        )

    def _meant(self) -> object:
        return self.which.entries, self._worker.basis_of(self.which.entries)

    def draw(self, _: object = None) -> None:
        model = self._model
        self.which.draw(model)
        self._draw_message()
        count = self.which.count(model)
        exported = self.which.entries and self._exported == self._meant()
        number = f"{count:,}" if count > MANY else ""
        self.confirm.placeholder = (
            f"exported; type {number} to confirm" if exported and number
            else "exported; no need to confirm" if exported
            else f"type {' '.join(filter(None, (WORD, number)))} to confirm"
        )  # fmt: skip
        unready = model.running or not self.which.entries
        self.discard.disabled = unready
        self.restore.disabled = self.undo.disabled = model.running
        if model.undo_file not in ("", self._offered):
            self.source.value = self._offered = model.undo_file
            gone = len(model.report.of(ReplayOutcome.DISCARDED)) if model.report else 0
            self.undo.tooltip = f"Put the {entries_words(gone)} back that were discarded"
        self.undo.layout.display = None if model.undo_file else "none"
        self.export.disabled = unready or model.doing == "exporting"
