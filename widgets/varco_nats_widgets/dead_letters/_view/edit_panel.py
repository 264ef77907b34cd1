"""The part of the dead letters' view where a payload is edited."""

from __future__ import annotations

import ipywidgets

from varco_nats_widgets._ui.controls import caption, fields_are_here, row, scaled, text_html
from varco_nats_widgets._ui.model_view import ModelView
from varco_nats_widgets._ui.previews import preview
from varco_nats_widgets.dead_letters._dead_letters import DeadLetters
from varco_nats_widgets.dead_letters._edit import PayloadEdit
from varco_nats_widgets.dead_letters._entry import DeadLetter
from varco_nats_widgets.dead_letters._view.panel import SAID, Panel
from varco_nats_widgets.dead_letters._worker import DeadLettersWorker
from varco_nats_widgets.frames._cells import clean, escape
from varco_nats_widgets.frames._decoding import JSON, as_json
from varco_nats_widgets.publish._pretty import pretty

_MAX_LINES = 400
_MAX_LINE = 2000
_CLASSES = {"+": "varco-added", "-": "varco-removed"}


class EditPanel(Panel):
    """Edit the payload of the open entry; what is typed is remembered for each entry."""

    def __init__(self, view: ModelView[DeadLetters], worker: DeadLettersWorker) -> None:
        super().__init__(view, worker)
        self._entry = ""  # whose payload is in the editor
        self._drafts: dict[str, str] = {}  # what was typed and not kept, by entry
        self.editor = ipywidgets.Textarea(
            placeholder="Open an entry to edit its payload.",
            continuous_update=False,
            layout=ipywidgets.Layout(width="calc(100% - 4px)", height=scaled("240px")),
        )
        self.editor.add_class("varco-editor")
        self.editor.observe(view.on_user_change(self._on_text), "value")
        send = "Have a replay send"
        self.check = self._button("Keep edit", "check", f"{send} this payload instead", self._keep)
        self.revert = self._button("Revert", "undo", f"{send} the original payload", self._revert)
        self.state = caption("")
        self.state.add_class("varco-sentences")
        self.diff = ipywidgets.HTML()
        # what goes wrong is said above the buttons, as below them it could be out of sight
        self._editing = ipywidgets.VBox(
            [self.editor, self.message, row(self.check, self.revert), self.diff]
        )
        self.box = ipywidgets.VBox([self.state, self._editing])

    @property
    def drafts(self) -> int:
        """How many entries have a payload that was typed and not kept."""
        return len(self._drafts)

    def _on_text(self, text: str) -> None:
        if text == self._kept():
            self._drafts.pop(self._entry, None)
        elif self._entry:
            self._drafts[self._entry] = text
        self._view.redraw(SAID)

    def _kept(self) -> str:
        """The payload that a replay would send, as it is shown."""
        letter = self._model.letter
        if letter is None:
            return ""
        edit = self._model.edits.get(self._entry)
        if edit is not None:
            return pretty(edit.shown)
        is_json = letter.decoder == JSON or letter.problem is not None
        return pretty(letter.data if is_json else as_json(letter.payload))

    async def _keep(self) -> None:
        await fields_are_here()
        entry, text = self._entry, self.editor.value
        if not entry:
            return
        await self._do("checking", self._model.aio.edit(entry, text), lambda _: "kept")
        if self._drafts.get(entry) == text:
            del self._drafts[entry]
        self._view.redraw(SAID)

    async def _revert(self) -> None:
        await fields_are_here()
        if self._entry:
            self._drafts.pop(self._entry, None)
            await self._model.aio.revert(self._entry)
            self._view.redraw(SAID)

    def draw(self, changed: set[str]) -> None:
        if not changed & {"letter", "edits", SAID}:
            return
        self._entry = name = self._shown_now()
        text = self._drafts.get(name, self._kept())
        if self.editor.value != text:
            self.editor.value = text
        self._draw_message()
        self._draw_state()

    def _shown_now(self) -> str:
        letter = self._model.letter
        return "" if letter is None else str(letter.entry_id)

    def _draw_state(self) -> None:
        name, edit, letter = self._entry, self._model.edits.get(self._entry), self._model.letter
        reason = "" if letter is None or edit is not None else not_editable(letter)
        self._editing.layout.display = "none" if reason else None
        state = "not edited" if edit is None else "edited: a replay sends this payload"
        if name in self._drafts:
            sent = "original payload" if edit is None else "payload of the edit before"
            state = f"changed but not kept: a replay sends the {sent}"
        shown = reason or f"Payload of {name}, {state}"
        self.state.value = text_html(shown) if name else ""
        self.check.disabled = not name
        self.revert.disabled = edit is None and name not in self._drafts
        self.diff.value = _diff_html(edit)


def not_editable(letter: DeadLetter) -> str:
    """Why the payload of an entry cannot be edited as text, and what to do; "" where it can."""
    if not letter.data:
        return "No payload was kept with this entry, so there is nothing to edit."
    if letter.problem is None or letter.is_text:
        return ""
    return (
        "This payload is not text, so it cannot be edited here. A replay sends it as it is; Save "
        f"in the tab Entry downloads it; Export keeps it in a file. It is {preview(letter.data)}"
    )


def _diff_html(edit: PayloadEdit | None) -> str:
    """What an edit changes, as HTML."""
    if edit is None:
        return ""
    checked = (
        f"accepted by the event class {edit.checked_by}"
        if edit.checked_by is not None
        else "not checked: its event class is not known in this kernel"
    )
    lines = edit.diff.splitlines() or ["no changes"]
    shown = "".join(map(_line_html, lines[:_MAX_LINES]))
    more = f"<span>… {len(lines) - _MAX_LINES} more lines</span>" * (len(lines) > _MAX_LINES)
    return (
        f'<div class="varco-diff tex2jax_ignore mathjax_ignore"><div>{escape(checked)}</div>'
        f"<pre>{shown}{more}</pre></div>"
    )


def _line_html(line: str) -> str:
    head = line.startswith(("---", "+++"))
    kind = "varco-same" if head else _CLASSES.get(line[:1], "varco-same")
    return f'<span class="{kind}">{escape(clean(line, _MAX_LINE))}</span>'
