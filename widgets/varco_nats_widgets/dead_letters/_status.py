"""What is under way with a queue, how far it is, and how the last run ended, in words. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from varco_nats._moments import moment_words
from varco_nats.errors import Advice
from varco_nats.replay import (
    ReplayDecision,
    ReplayKind,
    ReplayOutcome,
    ReplayPlan,
    ReplayRecord,
    ReplayReport,
    ReplayResult,
    ReplayState,
)
from varco_nats_widgets.frames._cells import clean

_WORKED = (
    ReplayOutcome.REPLAYED,
    ReplayOutcome.DISCARDED,
    ReplayOutcome.RESTORED,
    ReplayOutcome.DUPLICATE,
)
_DUPLICATE = str(ReplayOutcome.DUPLICATE)
_PHASES = {
    "": "starting",
    "publishing": "replaying",
    "waiting": "waiting, as the target takes no message for now",
    "unanswered": "waiting for an answer of the dead letter queue",
    "canary": "watching whether the canary comes back as a dead letter",
    "reconnecting": "connecting again",
}
_DOES = {
    ReplayKind.REPLAY: ("replaying", "replay"),
    ReplayKind.DISCARD: ("discarding", "discard"),
    ReplayKind.RESTORE: ("restoring", "restore"),
}
_RUN = re.compile(r" \(run [0-9a-f-]{36}\)")
_ID = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
_MAX_NAME = 80  # characters
_MAX_OTHERS = 3


class Status(Protocol):
    """What is known of the work on a queue; a `DeadLetters` has it as traits."""

    running: bool
    paused: bool
    run_progress: tuple[Any, ...]
    run_outcomes: dict[str, Any]
    seconds_left: Any  # a number or None
    busy: bool
    doing: str
    progress: tuple[Any, ...]
    outcome: str
    others: tuple[Any, ...]
    others_done: dict[str, Any]
    lost_since: datetime | None
    back_since: datetime | None


def status_words(status: Status) -> str:
    """What is under way, how the last run ended, and what is wrong; "" where nothing is."""
    doing = run_words(status)
    if status.busy and not status.running:
        done, total = status.progress
        doing = status.doing + (f": {done:,} of {total:,} entries" if total else "")
    return " · ".join(filter(None, (doing, *said_words(status))))


def said_words(status: Status) -> list[str]:
    """All of that but the progress: sentences that stay the same for a while."""
    return [
        *filter(
            None,
            (
                status.outcome,
                *others_words(status.others, status.others_done),
                server_words(status),
            ),
        )
    ]


def run_words(status: Status) -> str:
    """How far this widget's run or discard is; "" where there is none."""
    if not status.running:
        return ""
    phase, done, total = status.run_progress
    doing, is_lost = _PHASES.get(phase, phase), status.lost_since is not None
    if is_lost:
        doing = _PHASES["reconnecting"]
    if status.paused and phase in ("publishing", "discarding", "restoring"):
        doing = "paused"
    elif status.paused and phase != "paused":
        doing += ", and then pausing"
    others = {name: count for name, count in status.run_outcomes.items() if name != "replayed"}
    parts = [f"{doing}: {done:,} of {total:,}", _outcomes_words(others)]
    if status.seconds_left is not None and not status.paused and not is_lost:
        parts.append(f"about {seconds_words(status.seconds_left)} left")
    return " · ".join(filter(None, parts))


def others_words(others: Sequence[ReplayRecord], done: Mapping[str, int]) -> list[str]:
    """Who else replays or discards entries of the queue, how many, since when, and how far it is.

    Args:
        done: how many entries of a run have left the queue, by its id, where that is known.
    """
    said = []
    for run in others[:_MAX_OTHERS]:
        doing, planned = _DOES[run.kind]
        count = run.plan.get(planned)
        number = f"{count:,} of these" if type(count) is int else "some of these"
        who = clean(run.who, _MAX_NAME)
        since = moment_words(run.started_at)
        far = f", {done[run.replay_id]:,} of them are done" if done.get(run.replay_id) else ""
        said.append(f"{who} has been {doing} {number} since {since}{far}")
    if len(others) > _MAX_OTHERS:
        said.append(f"and so have {len(others) - _MAX_OTHERS} more runs")
    return said


def server_words(status: Status) -> str:
    """That the server does not answer, or that it is back; "" while all is well."""
    if status.lost_since is not None:
        since = moment_words(status.lost_since, seconds=True)
        then = "what is shown is how it was then; it goes on by itself once the server is back"
        if status.running:
            then = "what was sent is safe, and the run goes on if it is back within a minute"
        return f"the server has not answered since {since}; {then}"
    if status.back_since is not None:
        return f"the server has been back since {moment_words(status.back_since, seconds=True)}"
    return ""


def outcome_words(report: ReplayReport, plan: ReplayPlan | None = None) -> str:
    """How a run or a discard ended and why, in one sentence.

    Args:
        plan: what was run; what it leaves out is not what went wrong in the run.
    """
    left_out = {
        row.key
        for row in (() if plan is None else plan.rows)
        if row.decision is ReplayDecision.SKIP
    }
    tried = [row for row in report.rows if row.key not in left_out]
    undone = [row for row in tried if row.outcome not in _WORKED]
    state = str(report.state)
    if report.state is ReplayState.DONE and undone:
        state = "partly done"
    counts: Counter[str] = Counter(str(row.outcome) for row in tried)
    counts["left out by the plan"] += len(report.rows) - len(tried)
    parts = [f"{state}: {_outcomes_words(counts) or 'there was nothing to do'}"]
    if why := report.why if report.why != state else "":
        parts.append(why)
    elif reasons := Counter(why for row in undone if (why := _reason(row)) not in ("", state)):
        [(reason, _)] = reasons.most_common(1)
        parts.append(reason + " (and other reasons)" * (len(reasons) > 1))
    text = ": ".join(parts)
    if left := counts[ReplayOutcome.NOT_TRIED]:
        still = f"{'is' if left == 1 else 'are'} still in the queue"
        again = "" if plan is None else "plan again to go on with the "
        text += f"; {again}{left:,}{' that' if again else ''} {still}"
    return text


def refused_words(why: str, advice: Advice | None) -> str:
    """That a run did not begin and why, without the advice, which is said beside the button."""
    return f"it did not begin: {_without(why, advice)}"


def _without(why: str, advice: Advice | None) -> str:
    return why if advice is None else why.removesuffix(advice.text).rstrip(";: ")


def _reason(row: ReplayResult) -> str:
    return without_ids(_without(row.why, row.advice))


def without_ids(why: str) -> str:
    """Why something was not done to an entry, without what is different for each entry or run."""
    return _ID.sub("…", _RUN.sub("", why))


def seconds_words(seconds: float) -> str:
    whole = round(seconds)
    if whole < 100:
        return f"{whole} s"
    return f"{whole // 60} min" if whole < 7200 else f"{whole / 3600:.1f} h"


def count_words(counts: Mapping[Any, int]) -> str:
    """How many there are of each, without what there is none of."""
    return ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)


def _outcomes_words(counts: Mapping[str, int]) -> str:
    named = {"already stored" if name == _DUPLICATE else name: n for name, n in counts.items()}
    return count_words(named)
