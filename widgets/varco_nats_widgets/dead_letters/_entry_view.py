"""What a view draws of one dead letter, and of an edit of its payload, as text. Pure."""

from __future__ import annotations

from typing import Any

from varco_nats_widgets._ui.message_view import description
from varco_nats_widgets.dead_letters._edit import PayloadEdit
from varco_nats_widgets.dead_letters._entry import DeadLetter
from varco_nats_widgets.frames._cells import clean, escape, format_cell

_MAX_COPIES = 20
_MAX_LINES = 400
_MAX_LINE = 2000
_CLASSES = {"+": "varco-added", "-": "varco-removed"}


def described_letter(letter: DeadLetter, *, filtered: bool = False) -> dict[str, Any]:
    """What the view of a message draws of `letter`.

    Args:
        filtered: whether its copies were only looked for among the entries that match a filter.
    """
    title = f"{letter.event_type or 'Dead letter'} of {letter.channel or 'no channel'}"
    return description(title, _facts(letter, filtered), letter)


def diff_html(edit: PayloadEdit | None) -> str:
    """What an edit changes, as HTML."""
    if edit is None:
        return ""
    checked = (
        f"accepted by {edit.checked_by}"
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


def _facts(letter: DeadLetter, filtered: bool) -> list[list[str]]:
    copies = [str(copy) for copy in letter.copies[:_MAX_COPIES]]
    if len(letter.copies) > _MAX_COPIES:
        copies.append(f"and {len(letter.copies) - _MAX_COPIES} more")
    original = letter.source_ref or ""
    if letter.original:
        original += f", {letter.original}"
    facts = [
        ["error", f"{letter.error_type}: {letter.error_message}", "problem"],
        ["handler", letter.handler],
        ["attempts", str(letter.attempts)],
        ["deliveries", "" if letter.num_delivered is None else str(letter.num_delivered)],
        ["first failed", _first_failed(letter)],
        ["last failed", format_cell(letter.last_failed_at)],
        ["replayed", _times(letter.replay_count)],
        ["original", original],
        ["copies that match the filter" if filtered else "copies", ", ".join(copies)],
        ["source", letter.source],
        ["tenant", letter.tenant_id or ""],
        ["entry id", str(letter.entry_id)],
        ["event id", letter.event_id or ""],
        ["happened at", letter.timestamp or ""],
    ]
    if letter.problem is not None:
        facts.append(["not readable", letter.problem, "problem"])
    return facts


def _first_failed(letter: DeadLetter) -> str:
    known = letter.first_failed_at
    return "not known" if known is None else format_cell(known)


def _times(count: int) -> str:
    if not count:
        return ""
    return "once before, and came back" if count == 1 else f"{count} times before, and came back"
