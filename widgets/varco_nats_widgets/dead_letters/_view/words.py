"""The sentences of the dead letters' view, and how what is typed there is read. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from varco_nats.errors import Advice, AdviceKind
from varco_nats.replay import ReplayDecision, ReplayOutcome, ReplayState
from varco_nats_widgets._ui.controls import MAX_TEXT, text_html
from varco_nats_widgets._ui.message_view import MASKED, description
from varco_nats_widgets.dead_letters._dead_letters import DeadLetters
from varco_nats_widgets.dead_letters._entry import DeadLetter
from varco_nats_widgets.dead_letters._status import count_words, without_ids
from varco_nats_widgets.dead_letters._view.failure import NO_ERROR, failure_words
from varco_nats_widgets.frames._cells import clean

if TYPE_CHECKING:
    from varco_nats.replay import PlannedReplay, ReplayPlan, ReplayReport, ReplayResult

WORD = "discard"
NOBODY = "nobody"
AGAIN = "include what was replayed before"
NEW_IDS = "new event ids"
OVERWRITE = "replace an existing file"
RESTORE_AGAIN = "also what was replayed since"
"""These are labels of check boxes that the following texts name."""
_IN_WIDGET = {
    AdviceKind.CONFIRM_COUNT: "to confirm, type {typed} beside {button}",
    AdviceKind.CONFIRM_DISCARD: "export them first, or type {typed} beside {button}",
    AdviceKind.CONFIRM_NOBODY: "to send them all the same, type {typed} beside {button}",
    AdviceKind.OVERWRITE: f"tick '{OVERWRITE}' to replace it",
    AdviceKind.REPLAY_AGAIN: f"tick '{AGAIN}' to replay it again",
    AdviceKind.RESTORE_AGAIN: f"tick '{RESTORE_AGAIN}' to put it back all the same",
    AdviceKind.NEW_EVENT_IDS: f"tick '{NEW_IDS}' to give it a new one",
    AdviceKind.NAME_CHANNEL: "name the channel in 'To'",
}
_TYPED = {
    AdviceKind.CONFIRM_COUNT: "{count:,}",
    AdviceKind.CONFIRM_DISCARD: f'"{WORD}"',
    AdviceKind.CONFIRM_NOBODY: f'"{NOBODY}"',
}
_MAX_REASONS = 3
_MAX_CHANNELS = 5
_MAX_COPIES = 20
_MAX_ERROR = 50_000  # characters


def in_widget(text: str, advice: Advice | None, button: str = "the button", typed: str = "") -> str:
    """A text that ends with `advice`, with what to do in the widget instead of in Python.

    Args:
        button: the one that does it.
        typed: what is asked for beside it, where that is more than this advice says.
    """
    if advice is None or not text.endswith(advice.text):
        return text
    typed = typed or _TYPED.get(advice.kind, "").format(count=advice.count)
    how = _IN_WIDGET[advice.kind].format(button=button, typed=typed)
    return text.removesuffix(advice.text) + how


def plan_words(plan: ReplayPlan, *, elsewhere: bool = False) -> str:
    """What a plan would do, in a sentence."""
    sent = Counter(row.to for row in plan.rows if row.decision is ReplayDecision.REPLAY)
    channels = [f"{count:,} to {channel}" for channel, count in sent.most_common(_MAX_CHANNELS)]
    if len(sent) > _MAX_CHANNELS:
        channels.append(f"the rest to {len(sent) - _MAX_CHANNELS} more channels")
    going = f"{plan.to_replay:,} of {len(plan):,} would be sent: {', '.join(channels)}"
    parts = [going if channels else "nothing would be sent"]
    if channels and elsewhere:
        parts[0] += f" of {plan.target}" + f" on {plan.servers}" * bool(plan.servers)
    edited = sum(row.edited for row in plan.rows if row.decision is ReplayDecision.REPLAY)
    if edited:
        parts.append(f"{edited:,} with a changed payload")
    return "; ".join(parts + skipped_words(plan) + target_words(plan))


def target_words(plan: ReplayPlan) -> list[str]:
    """Who consumes each channel that a plan sends to, or what is wrong with it, problems first."""
    said = sorted(plan.targets, key=lambda target: (not target.unhandled, not target.warning))
    parts = []
    for target in said[:_MAX_CHANNELS]:
        parts.append(str(target))
        if target.note and target.consumers:
            parts.append(target.note)
    if len(said) > _MAX_CHANNELS:
        parts.append(f"{len(said) - _MAX_CHANNELS} more channels")
    return parts


def skipped_words(plan: ReplayPlan) -> list[str]:
    """How many rows of a plan are skipped, and the reasons."""
    return _reasons(row for row in plan.rows if row.decision is ReplayDecision.SKIP)


def _reasons(skipped: Iterable[PlannedReplay | ReplayResult]) -> list[str]:
    reasons = Counter(without_ids(in_widget(row.why, row.advice)) for row in skipped)
    if not reasons:
        return []
    parts = [f"{why} ({count:,})" for why, count in reasons.most_common(_MAX_REASONS)]
    if len(reasons) > _MAX_REASONS:
        parts.append("and other reasons")
    if len(reasons) == 1:
        parts = [*reasons]
    return [f"{reasons.total():,} skipped: {', '.join(parts)}"]


def restored_words(report: ReplayReport) -> str:
    """What a restore did, in a sentence."""
    counts = dict(report.counts)
    back, skipped = counts.pop(ReplayOutcome.RESTORED, 0), report.of(ReplayOutcome.SKIPPED)
    counts.pop(ReplayOutcome.SKIPPED, None)
    parts = [f"{entries_words(back) if back else 'nothing'} put back into the queue"]
    parts += [*_reasons(skipped), *([count_words(counts)] if counts else ())]
    if report.state not in (ReplayState.DONE, ReplayState.NOTHING_DONE):
        parts.insert(0, f"{report.state}: {report.why}")
    return "; ".join(parts)


def entries_words(count: int) -> str:
    return f"{count:,} {'entry' if count == 1 else 'entries'}"


def path_words(path: str) -> str:
    """The path of a file, from the notebook's folder on where it is in there."""
    whole, folder = Path(path), Path.cwd()
    return str(whole.relative_to(folder) if whole.is_relative_to(folder) else whole)


def span_words(span: tuple[pd.Timestamp, ...]) -> str:
    """From when to when, in UTC, the date once where it is the same."""
    if not span:
        return ""
    since, until = span
    clock = "%H:%M:%S" if until - since < pd.Timedelta("10m") else "%H:%M"
    end = clock if since.date() == until.date() else f"%Y-%m-%d {clock}"
    return f"{since:%Y-%m-%d} {since:{clock}} to {until:{end}} UTC"


def cause_words(groups: pd.DataFrame, chosen: Sequence[str]) -> str:
    """What the chosen group has in common, in full, which a cell of the table may cut."""
    if len(chosen) != 1 or chosen[0] not in groups.index:
        return f"{len(chosen):,} groups are chosen" if chosen else ""
    group = groups.loc[chosen[0]]
    kind, handler, message = (str(group[name]) for name in ("error_type", "handler", "message"))
    where = f"{kind} in {handler}" if kind and handler else kind or handler
    return ": ".join(filter(None, (where, message))) or NO_ERROR


def filter_words(value: object) -> str:
    """What a filter is set to, as text."""
    if isinstance(value, type):
        return str(getattr(value, "__event_type__", None) or value.__name__)
    if isinstance(value, str) or not isinstance(value, Iterable):
        return str(value)
    return ", ".join(map(filter_words, value))


def queue_words(model: DeadLetters) -> str:
    """What is in the queue, in words."""
    if not model.entries and not model.matching:
        return "" if model.busy else "No dead letters. What fails for good appears here by itself."
    groups = len(model.group_table)
    parts = [
        f"{model.entries:,} dead letter{'s' if model.entries != 1 else ''}",
        f"{groups:,} group{'s' if groups != 1 else ''}",
    ]
    if model.filters:
        parts.insert(1, f"{model.matching:,} match the filter")
    if model.edits:
        parts.append(f"{len(model.edits):,} edited")
    return " · ".join(parts)


def place_html(model: DeadLetters, sort_by: str = "") -> str:
    """Which entries the table has, in words, as HTML."""
    if not model.page_total:
        none = "No entry matches the filter: change it, or press Clear."
        return text_html("" if model.busy or not model.filters else none)
    first, last = model.page_start + 1, model.page_start + len(model.page)
    chosen = len(model.chosen_groups)
    where = (
        "Entries" if not chosen else "Chosen group:" if chosen == 1 else f"{chosen} chosen groups:"
    )
    order = f"this page sorted by {sort_by}" if sort_by else "newest first"
    return text_html(f"{where} {first:,} to {last:,} of {model.page_total:,}, {order}")


def described_letter(letter: DeadLetter, *, filtered: bool = False) -> dict[str, Any]:
    """What the view of a message draws of `letter`.

    Args:
        filtered: whether its copies were only looked for among the entries that match a filter.
    """
    title = f"{letter.event_type or 'Dead letter'} in {letter.channel or 'no channel'}"
    body = letter.headers, letter.data, letter.payload, letter.problem
    return description(title, _facts(letter, filtered), *body) | {
        "summary": clean(_summary(letter), MAX_TEXT),
        "failure": clean(failure_words(letter.error_type, letter.error_message), MAX_TEXT),
        "error": clean(letter.error_message or letter.error_type, _MAX_ERROR),
    }


def _summary(letter: DeadLetter) -> str:
    """When it failed, how often, and who handles it."""
    last, times = _moment_words(letter.last_failed_at), letter.attempts
    parts = [
        f"{times:,} {'attempt' if times == 1 else 'attempts'}, the last {last}" * bool(times)
        or f"failed {last}",
        f"handler {letter.handler}" * bool(letter.handler),
        f"tenant {letter.tenant_id}" * bool(letter.tenant_id),
        f"replayed {_times(letter.replay_count)}" * bool(letter.replay_count),
    ]
    return " · ".join(filter(None, parts))


def _facts(letter: DeadLetter, filtered: bool) -> list[list[str]]:
    copies = [str(copy) for copy in letter.copies[:_MAX_COPIES]]
    if len(letter.copies) > _MAX_COPIES:
        copies.append(f"and {len(letter.copies) - _MAX_COPIES} more")
    original = letter.source_ref or ""
    if letter.original:
        original += f", {letter.original}"
    facts = [
        ["error type", letter.error_type],
        ["channel", letter.channel],
        ["handler", letter.handler],
        ["failed last", _moment_words(letter.last_failed_at)],
        ["failed first", _moment_words(letter.first_failed_at)],
        ["attempts", str(letter.attempts or "")],
        ["deliveries", "" if letter.num_delivered is None else str(letter.num_delivered)],
        ["replayed", _times(letter.replay_count)],
        ["tenant", letter.tenant_id or ""],
        ["event happened", letter.timestamp or ""],
        ["event type", letter.event_type or ""],
        ["event id", letter.event_id or ""],
        ["entry id", str(letter.entry_id)],
        ["original", original],
        ["copies that match the filter" if filtered else "copies", ", ".join(copies)],
        ["source", letter.source],
    ]
    if letter.masked:
        facts.append(MASKED)
    if letter.problem is not None:
        facts.insert(0, ["not readable", letter.problem, "problem"])
    return facts


def _moment_words(moment: datetime | None) -> str:
    return "not known" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _times(count: int) -> str:
    if not count:
        return ""
    return "once before, and came back" if count == 1 else f"{count} times before, and came back"


def number_of(name: str, text: str) -> float | None:
    """A number that was typed, None if nothing was.

    Raises:
        ValueError: it is not a number.
    """
    if not text.strip():
        return None
    try:
        return float(text.replace(",", ""))
    except ValueError:
        raise ValueError(f"{name}: {text.strip()!r} is not a number") from None


def count_of(text: str) -> int | None:
    """A whole number that was typed, also as 40,000; None if nothing was.

    Raises:
        ValueError: it is not a number.
    """
    plain = "".join(char for char in text if char not in ",._' ")
    if plain and not (plain.isascii() and plain.isdigit()):
        raise ValueError(f"{text.strip()!r} is not a number of entries")
    return int(plain) if plain else None


def confirm_words(doing: str, word: str, count: int) -> tuple[str, str]:
    """What to type to confirm something, and a sentence that says so and why.

    Args:
        doing: what is to be confirmed, after "To".
        word: `discard` or `nobody`, "" where none is needed.
        count: the number that is needed, 0 where none is.
    """
    typed = " ".join(filter(None, (word, f"{count:,}" if count else "")))
    return typed, f'To {doing}, type "{typed}"' if typed else ""


def word_and_count(text: str) -> tuple[str, int | None]:
    """What was typed to confirm: a word (`discard` or `nobody`), the number, or both.

    It may be in quotation marks, as the sentence has it that asks for it.
    """
    typed = text.strip(" \"'“”").lower()
    word = next((word for word in (WORD, NOBODY) if typed.startswith(word)), "")
    return word, count_of(typed[len(word) :])
