"""The part of the dead letters' view that exports entries, removes them, and puts them back."""

from __future__ import annotations

from typing import Any

import ipywidgets

from varco_nats.replay import ReplayOutcome
from varco_nats_widgets._ui.controls import caption, checkbox, fields_are_here, row, text_field
from varco_nats_widgets._ui.model_view import ModelView
from varco_nats_widgets.dead_letters._dead_letters import DeadLetters
from varco_nats_widgets.dead_letters._replaying import MANY
from varco_nats_widgets.dead_letters._status import outcome_words
from varco_nats_widgets.dead_letters._view.panel import SAID, Confirmation, Panel, WhichEntries
from varco_nats_widgets.dead_letters._view.words import (
    OVERWRITE,
    RESTORE_AGAIN,
    WORD,
    count_of,
    entries_words,
    path_words,
    restored_words,
)
from varco_nats_widgets.dead_letters._worker import DeadLettersWorker


class KeepPanel(Panel):
    """Export entries to a file; remove them; put back what was exported."""

    confirmed_beside = "Discard"
    confirm: Confirmation

    def __init__(self, view: ModelView[DeadLetters], worker: DeadLettersWorker) -> None:
        super().__init__(view, worker)
        self._exported: object = None  # what was chosen when an export was made
        self._shown = 0  # how many entries the discard is said to remove
        self.which = WhichEntries(view, lambda: view.redraw(SAID))
        # files have a line of their own, as their names may be long
        self.path = text_field("File", "dead.parquet, .ndjson, .csv", "auto", "34px", "1 1 100%")
        self.overwrite = checkbox(OVERWRITE)
        to_file = "Write the entries to this file"
        self.export = self._button("Export", "download", to_file, self._export)
        self.note = text_field("Note", "why; kept in the log", "auto", "36px", flex="1 1 180px")
        self.confirm = Confirmation()
        self.discard = self._button(
            "Discard", "trash", "Remove the entries for good", self._discard
        )
        self.undo = self._button("Undo", "undo", "", self._undo)
        self._offered = ""  # the file that was last offered for a restore
        self.source = text_field(
            "Export file", "dead.parquet, .ndjson, .csv", "auto", "74px", "1 1 100%"
        )
        self.again = checkbox(RESTORE_AGAIN)
        self.number = text_field("Number", f"of entries, if over {MANY}", "225px", "56px")
        back = "Put the entries of this file back into the queue, each once"
        self.restore = self._button("Restore", "reply", back, self._restore)
        export = [
            self.which.control,
            caption("Export the entries to a file beside this notebook"),
            row(self.path, self.overwrite, self.export),
        ]
        discard = [
            caption("Or remove them without replaying them"),
            self.confirm.why,
            row(self.note, self.confirm.field, self.discard),
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
        shown = self._shown  # what comes meanwhile is not discarded unseen
        await fields_are_here()
        await self._do("discarding", self._confirmed_discard(shown), outcome_words)
        self._empty(self.note)  # it was that of this discard

    async def _confirmed_discard(self, shown: int) -> Any:
        word, confirm = self.confirm.typed()
        if confirm is None and shown <= MANY:
            confirm = shown
        self._empty(self.confirm.field)
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

    def _count(self) -> int:
        return self.which.count(self._model)

    def _meant(self) -> object:
        return self.which.entries, self._worker.basis_of(self.which.entries)

    def draw(self, _: object = None) -> None:
        model = self._model
        self.which.draw(model)
        self._draw_message()
        unready = model.running or not self.which.entries
        self._draw_confirmation(self._count() if self.which.entries else 0)
        self.discard.disabled = unready
        self.restore.disabled = self.undo.disabled = model.running
        if model.undo_file not in ("", self._offered):
            self._offered = self.source.tooltip = model.undo_file
            self.source.value = path_words(model.undo_file)
            gone = len(model.report.of(ReplayOutcome.DISCARDED)) if model.report else 0
            self.undo.tooltip = f"Put the {entries_words(gone)} back that were discarded"
        self.undo.layout.display = None if model.undo_file else "none"
        self.export.disabled = unready or model.doing == "exporting"

    def _draw_confirmation(self, count: int) -> None:
        self._shown = count
        number = count if count > MANY else 0
        these = f"{'this' if count == 1 else 'these'} {entries_words(count)}"
        if not count:
            self.confirm.draw("", otherwise="Choose entries first, at the top.")
        elif self._exported == self._meant():
            done = f"Nothing is to be typed, as {these} {'is' if count == 1 else 'are'} exported."
            self.confirm.draw(f"remove {these}, which are exported", "", number, otherwise=done)
        else:
            self.confirm.draw(f"remove {these} for good, without an export", WORD, number)
