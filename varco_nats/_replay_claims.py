"""Who may send an entry: reads the plans of other runs, and looks for what dead ones stored.

Why nothing is stored twice: a run writes its plan, then looks at the plans before it in the log.
An entry that one of them has is left to it if its session still answers. If none answers, its
connection is closed on the server (see `_replay_session`), so that what it stored stays as it is
and can be looked up in the target from the sequence on that its plan names. Of two live runs the
later plan sees the earlier one; a session that lost its connection begins again with a new plan
at the end of the log. What a lost connection had already handed to the server meets the message
id `replay.{entry_id}` inside the duplicate window. Why nothing is lost: a dead letter is removed
only after its own PubAck, or after its replay was seen in the target.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from uuid import UUID

from nats.js.api import RetentionPolicy, StreamInfo

from varco_nats._client import Connection
from varco_nats._lookup import LookupReader
from varco_nats._provenance import REPLAY_ID, REPLAY_OF
from varco_nats._reader import StreamReader
from varco_nats._replay_log import LoggedRun, PlanHead, ReplayLog
from varco_nats._replay_plan import ReplayKind
from varco_nats._replay_session import is_gone


@dataclass(frozen=True, slots=True)
class Doubt:
    """A run that may have stored some messages without saying so."""

    head: PlanHead
    """Of its first session."""
    keys: frozenset[str]
    here: bool
    """Whether it stored them in the target of this run, where they can be looked for."""


@dataclass(slots=True)
class Findings:
    """What the plans before one's own say about one's own messages."""

    held: dict[str, PlanHead] = field(default_factory=dict)
    """Messages that a live run will send."""
    doubts: list[Doubt] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Found:
    """A replay that is stored."""

    seq: int
    subject: str
    replay_id: str


async def look_around(
    log: ReplayLog,
    head: PlanHead,
    keys: set[str],
    source: Connection,
    target: Connection | None,
) -> Findings:
    """What the plans before `head` say about the messages `keys`.

    Args:
        source: to the servers of the log.
        target: the session's, None for a run that publishes nothing.
    """
    findings = Findings()
    wanted = {UUID(key) for key in keys} if head.kind is not ReplayKind.HISTORY else set()
    for replay_id, run in (await log.runs(up_to=head.seq)).items():
        earlier = [one for one in run.heads if one.seq < head.seq]
        if replay_id == head.replay_id or not earlier or (run.settled and not head.history_key):
            continue
        first = earlier[0]
        if head.history_key or first.history_key:
            mine = keys if first.history_key == head.history_key else set()
        else:
            mine = {str(one) for one in wanted & await log.keys(first)}
        if run.outcome is not None and run.outcome.open is not None and not head.history_key:
            mine &= set(run.outcome.open)
        if not mine:
            continue
        if run.outcome is None and not await _all_gone(earlier, head, source, target):
            findings.held |= dict.fromkeys(mine, first)
        elif first.kind is not ReplayKind.DISCARD:
            here = (first.servers, first.target) == (head.servers, head.target)
            findings.doubts.append(Doubt(first, frozenset(mine), here))
    return findings


async def _all_gone(
    theirs: Iterable[PlanHead], mine: PlanHead, source: Connection, target: Connection | None
) -> bool:
    for head in theirs:
        if not head.servers:
            gone = await is_gone(source, head.session)
        elif head.servers == mine.servers and target is not None:
            gone = await is_gone(target, head.session)
        else:  # its session is on servers that are not ours to ask
            gone = await is_gone(source, head.holder)
        if not gone:
            return False
    return True


async def is_running(run: LoggedRun, source: Connection) -> bool:
    """Whether the process of a run without an outcome is still there."""
    for head in run.heads:
        if not await is_gone(source, head.holder):
            return True
    return False


async def find_stored(
    connection: Connection,
    info: StreamInfo,
    doubts: Iterable[Doubt],
) -> tuple[dict[str, Found], set[str]]:
    """Which messages in doubt are stored in the target, and which of the others may have been.

    The second are those whose place in the stream is gone, so that nobody can tell.
    """
    found: dict[str, Found] = {}
    unsure: set[str] = set()
    for doubt in doubts:
        begun = doubt.head.last_seq
        sequences = await _stored_since(connection, info, doubt)
        found |= sequences
        if _forgets(info) or info.state.last_seq < begun or info.state.first_seq > begun + 1:
            unsure |= doubt.keys
    return found, unsure - found.keys()


async def _stored_since(
    connection: Connection, info: StreamInfo, doubt: Doubt
) -> Mapping[str, Found]:
    stream, subjects = str(info.config.name), list(doubt.head.subjects)
    reader = StreamReader(connection, stream, subjects)
    if info.config.retention not in (None, RetentionPolicy.LIMITS):
        reader = LookupReader(connection, stream, subjects, direct=bool(info.config.allow_direct))
    found: dict[str, Found] = {}
    reading = reader.forwards(doubt.head.last_seq + 1, int(info.state.last_seq))
    async with aclosing(reading) as batches:
        async for batch in batches:
            for message in batch:
                headers = message.headers or {}
                key = headers.get(REPLAY_OF, "")
                if key in doubt.keys:
                    replay_id = headers.get(REPLAY_ID, "")
                    found.setdefault(key, Found(message.seq, message.subject, replay_id))
    return found


def _forgets(info: StreamInfo) -> bool:
    """Whether a stored message can go while its neighbours stay."""
    config = info.config
    limits = config.retention in (None, RetentionPolicy.LIMITS)
    return not limits or (config.max_msgs_per_subject or -1) > 0
