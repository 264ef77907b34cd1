"""The row below the groups: who works on the chosen ones, and what is known of them."""

from __future__ import annotations

from functools import partial

from varco_nats_widgets._ui.controls import button, row, text_field
from varco_nats_widgets._ui.model_view import ModelView
from varco_nats_widgets.dead_letters._dead_letters import DeadLetters
from varco_nats_widgets.dead_letters._worker import DeadLettersWorker
from varco_nats_widgets.frames._cells import clean

_HINTS = {"owner": "nobody yet", "note": "what is known, for all to see"}


class LabelRow:
    """Shows the owner and the note of the chosen groups, and changes them.

    Args:
        view: the view that it is a part of.
        worker: does the work of the dead letters.
    """

    def __init__(self, view: ModelView[DeadLetters], worker: DeadLettersWorker) -> None:
        self._view = view
        self._worker = worker
        self.fields = {
            "owner": text_field("Owner", _HINTS["owner"], "220px", "44px"),
            "note": text_field("Group note", _HINTS["note"], "auto", "74px", "1 1 180px"),
        }
        for name, field in self.fields.items():
            field.observe(view.on_user_change(partial(self._change, name)), "value")
            field.disabled = worker.read_only
        tooltip = "Become the owner of the chosen groups"
        self.take = button("Take it", "hand-paper-o", tooltip, self._change)
        self.box = row(*self.fields.values(), *((self.take,) if not worker.read_only else ()))

    def _change(self, name: str = "", text: str = "") -> None:
        model = self._view.model
        self._worker.start(model.aio.label, model.chosen_groups, **({name: text} if name else {}))

    def draw(self, changed: set[str]) -> None:
        """Show what is said of the chosen groups."""
        model = self._view.model
        if not changed & {"chosen_groups", "label_table"}:
            return
        self.box.layout.display = None if model.chosen_groups else "none"
        for name, field in self.fields.items():
            said = {""}
            if name in model.label_table:
                texts = model.label_table[name].reindex(list(model.chosen_groups)).fillna("")
                said = set(texts) or {""}
            differ = len(said) > 1
            field.placeholder = "not the same for all of them" if differ else _HINTS[name]
            field.value = "" if differ else clean(said.pop(), None)
