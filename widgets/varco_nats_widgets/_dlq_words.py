"""What the dead letters' view says, in words: plans, reports, errors. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from varco_nats.replay import ReplayDecision

if TYPE_CHECKING:
    from varco_nats.replay import ReplayPlan, ReplayReport

_ID = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
_BY_HAND: dict[str, str | Callable[[re.Match[str]], str]] = {
    r"to confirm, give their number: confirm=(\d+)": lambda found: (
        f"to confirm, type {int(found[1]):,} beside the button"
    ),
    r"export them and name the file in exported_to, or say confirm=\S+": (
        "export them first, or type discard beside the button"
    ),
    r"overwrite=True replaces it": "tick 'replace what is there' to replace it",
    r"again=True (?:\w+ ?)+": "tick 'also what was replayed before' to replay it",
}
_MAX_REASONS = 3
_MAX_CHANNELS = 5


def by_hand(text: str) -> str:
    """What a method's message tells to do, as it is done in the widget."""
    for said, instead in _BY_HAND.items():
        text = re.sub(said, instead, text)
    return text


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
        parts.append(f"{edited:,} with another payload")
    return "; ".join(parts + skipped_words(plan))


def skipped_words(plan: ReplayPlan) -> list[str]:
    """How many rows of a plan are skipped, and the reasons."""
    reasons = Counter(
        _ID.sub("…", by_hand(row.why)) for row in plan.rows if row.decision is ReplayDecision.SKIP
    )
    if not reasons:
        return []
    said = [f"{count:,} {why}" for why, count in reasons.most_common(_MAX_REASONS)]
    if len(reasons) > _MAX_REASONS:
        said.append("and other reasons")
    return [f"{reasons.total():,} skipped: {', '.join(said)}"]


def report_words(report: ReplayReport) -> str:
    """What a run did, in a sentence."""
    state = str(report.state)
    why = f"; {report.why}" if report.why and report.why != state else ""
    left = sum(count for outcome, count in report.counts.items() if outcome == "not tried")
    rest = f". Plan again to go on with the other {left:,}" if left else ""
    return f"{state}: {count_words(report.counts) or 'nothing'}{why}{rest}"


def run_words(
    progress: tuple[str, int, int], outcomes: Mapping[str, int], left: float | None
) -> str:
    """How far a run is, in a sentence."""
    phase, done, total = progress
    others = {name: count for name, count in outcomes.items() if name != "replayed"}
    parts = [f"{phase or 'beginning'}: {done:,} of {total:,}"]
    parts += [count_words(others)] if others else []
    parts += [f"about {seconds_words(left)} left"] if left is not None else []
    return " · ".join(parts)


def seconds_words(seconds: float) -> str:
    whole = round(seconds)
    if whole < 100:
        return f"{whole} s"
    return f"{whole // 60} min" if whole < 7200 else f"{whole / 3600:.1f} h"


def count_words(counts: Mapping[Any, int]) -> str:
    return ", ".join(f"{count:,} {outcome}" for outcome, count in counts.items())


def entries_words(count: int) -> str:
    return f"{count:,} {'entry' if count == 1 else 'entries'}"


def span_words(span: tuple[pd.Timestamp, ...]) -> str:
    """From when to when, in UTC, the date once where it is the same."""
    if not span:
        return ""
    since, until = span
    clock = "%H:%M:%S" if until - since < pd.Timedelta("10m") else "%H:%M"
    end = clock if since.date() == until.date() else f"%Y-%m-%d {clock}"
    return f"{since:%Y-%m-%d} {since:{clock}} to {until:{end}} UTC"
