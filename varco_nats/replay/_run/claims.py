"""Which run may send an entry: reads the plans of other runs, and looks for what dead runs stored.

Why nothing is stored twice: a run writes its plan and then reads the plans before it in the log. An
entry in one of these is left to that run if its session still answers, or its process where the
session cannot be asked. If it does not, the server has closed its connection (see `session.py`).
Then nothing more can come of it, and what it stored is looked up in the target, from the sequence
that its plan names. The same is done for a run that ended with messages in doubt. Of two live runs,
the one with the later plan sees the plan of the other; a session that lost its connection starts
again with a new plan at the end of the log. A message that the server received over a lost
connection and stores only later is a duplicate by its message id, `replay.{entry_id}`. Why nothing
is lost: a dead letter is removed only after the PubAck of its replay, or after its replay was seen
in the target.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import datetime

from nats.js.api import RetentionPolicy, StreamInfo

from varco_nats._moments import moment_words
from varco_nats._nats.client import Connection
from varco_nats._nats.direct import StoredMessage
from varco_nats.history._lookup import read_whole
from varco_nats.history._reader import LookupReader, StreamReader
from varco_nats.replay._log import ReplayLog
from varco_nats.replay._plan import ReplayKind
from varco_nats.replay._records import LoggedRun, PlanHead
from varco_nats.replay._run.session import Presence, presence

_DOING = {ReplayKind.DISCARD: "discarding", ReplayKind.RESTORE: "restoring"}
"""What runs do that publish nothing, so that nothing of theirs is looked for."""

KeyOf = Callable[[Mapping[str, str]], str | None]
"""Takes the headers of a stored message, and returns the key of the row that it is a replay of."""


@dataclass(frozen=True, slots=True)
class UncertainRun:
    """A run that may have stored messages of which its outcome says nothing."""

    head: PlanHead
    """The plan of its first session."""
    keys: frozenset[str]
    here: bool
    """Whether its target is the target of this run, so that they can be looked for."""
    ended: bool = False
    """Whether its outcome says that nothing is in doubt."""
    unread: str = ""
    """Which of its plans cannot be read; it may have stored messages elsewhere."""


@dataclass(frozen=True, slots=True)
class Holder:
    """A run that is working on messages, or may be."""

    replay_id: str
    user: str
    certain: bool
    """False if it does not answer, and the server does not say that it is gone."""
    since: datetime | None = None
    """When it began."""
    unread: str = ""
    """Which of its plans cannot be read, so that nobody can be asked."""
    doing: str = "replaying"

    @property
    def why(self) -> str:
        """Why its messages are left to it."""
        if self.unread:
            return (
                f"run {self.replay_id} may be replaying it: {self.unread} cannot be read; "
                f"if you know that this run is over, say ended=[{self.replay_id!r}]"
            )
        since = "" if self.since is None else f" since {moment_words(self.since)}"
        if self.certain:
            who = f"{self.user}, who has been {self.doing}{since} (run {self.replay_id})"
            return f"left to {who}; plan again later"
        return (
            f"run {self.replay_id} of {self.user}, there{since}, is {self.doing} it, or hangs: it "
            "does not answer, and the server does not say that its connection is closed; if you "
            "know that it is over, name it in ended=[...]"
        )


@dataclass(slots=True)
class ClaimScan:
    """What earlier plans say about this run's messages."""

    held: dict[str, Holder] = field(default_factory=dict)
    """Other runs that are working on a message, by its key."""
    uncertain: list[UncertainRun] = field(default_factory=list)
    """Runs that are gone and may have stored some of the messages."""


async def scan_claims(
    log: ReplayLog,
    head: PlanHead,
    keys: set[str],
    source: Connection,
    target: Connection | None,
    ended: Collection[str] = (),
) -> ClaimScan:
    """What the plans before `head` say about the messages `keys`.

    Args:
        source: the connection to the servers of the log.
        target: the session's connection; None for a run that publishes nothing.
        ended: ids of runs that are known to be over; what they stored is still looked for.

    Raises:
        ReplayLogError: `head` is not in the log.
    """
    others: list[tuple[LoggedRun, list[PlanHead], list[int], set[str]]] = []
    for run in (await log.runs(up_to=head.seq)).values():
        earlier = [plan for plan in run.heads if plan.seq < head.seq]
        unread = [seq for seq in run.unread if seq < head.seq]
        if run.replay_id == head.replay_id or (run.settled and not head.history_key):
            continue
        if not earlier and not unread:
            continue
        if mine := await _in_common(log, run, earlier, head, keys):
            others.append((run, earlier, unread, mine))

    async def state_of(run: LoggedRun, plans: list[PlanHead], unread: list[int]) -> Presence:
        if run.settled or run.replay_id in ended:
            return Presence.GONE
        return Presence.UNKNOWN if unread else await _presence(plans, head, source, target)

    states = await asyncio.gather(*(state_of(*other[:3]) for other in others))
    scan = ClaimScan()
    for (run, earlier, unread, mine), state in zip(others, states, strict=True):
        unreadable = f"its plan, record {unread[0]} of stream {log.stream}," if unread else ""
        if state is not Presence.GONE:
            holder = (
                Holder(run.replay_id, "somebody unknown", False, unread=unreadable)
                if unread
                else _holder(earlier[0], certain=state is Presence.HERE)
            )
            scan.held |= dict.fromkeys(mine, holder)
        elif unread:
            anywhere = replace(
                head, replay_id=run.replay_id, last_seq=0, num_deleted=0, subjects=(">",)
            )
            scan.uncertain.append(
                UncertainRun(anywhere, frozenset(mine), True, run.settled, unread=unreadable)
            )
        elif earlier[0].kind not in _DOING:
            here = all(plan.target_created == head.target_created for plan in earlier)
            scan.uncertain.append(UncertainRun(earlier[0], frozenset(mine), here, run.settled))
    return scan


async def held_now(log: ReplayLog, keys: set[str], source: Connection) -> dict[str, Holder]:
    """The runs that are working on the entries `keys` now, by key, for a plan.

    Only those that answer: a plan is not made on a guess, and its run looks again.
    """
    shared: list[tuple[list[PlanHead], set[str]]] = []
    for run in (await log.runs()).values() if keys else ():
        if run.settled or not run.heads or run.heads[0].history_key:
            continue
        theirs = await log.keys(run.replay_id, run.heads[0].chunks) or ()
        if both := keys.intersection(map(str, theirs)):
            shared.append((run.heads, both))
    asked = (_presence(heads, heads[0], source, None) for heads, _ in shared)
    states = await asyncio.gather(*asked)
    held: dict[str, Holder] = {}
    for (heads, both), state in reversed([*zip(shared, states, strict=True)]):
        if state is Presence.HERE:  # where two have an entry, it is left to the first
            held |= dict.fromkeys(both, _holder(heads[0], certain=True))
    return held


def _holder(head: PlanHead, *, certain: bool) -> Holder:
    doing = _DOING.get(head.kind, "replaying")
    return Holder(head.replay_id, head.user, certain, head.started_at, doing=doing)


async def _in_common(
    log: ReplayLog, run: LoggedRun, theirs: list[PlanHead], mine: PlanHead, keys: set[str]
) -> set[str]:
    """Which of the messages `keys` the other run has in its plan, or may have."""
    histories = {head.history_key for head in theirs} | set(run.unread.values())
    if mine.history_key:
        return keys if mine.history_key in histories else set()
    if theirs and theirs[0].history_key:
        return set()
    if run.outcome is not None and run.outcome.open != "all":
        return keys.intersection(run.outcome.open)
    # its entries are read where the plan itself cannot be
    planned = await log.keys(run.replay_id, theirs[0].chunks if theirs else 0)
    return keys if planned is None else keys.intersection(map(str, planned))


async def _presence(
    theirs: Iterable[PlanHead], mine: PlanHead, source: Connection, target: Connection | None
) -> Presence:
    """Gone if each of its connections is that can be asked; where none can, if its process is.

    A run that lost its session writes its next plan after ours, finds ours and leaves the messages
    to us. So that its process is there says nothing: if both waited, nobody would send them.
    """
    subjects = set()
    for head in theirs:
        if target is not None and head.target_created == mine.target_created:
            subjects.add((target, head.session))
        else:
            subjects.add((source, head.holder if head.servers else head.session))
    answers = await asyncio.gather(
        *(presence(connection, subject) for connection, subject in subjects)
    )
    for answer in (Presence.HERE, Presence.UNKNOWN):
        if answer in answers:
            return answer
    return Presence.GONE


async def is_running(run: LoggedRun, source: Connection) -> bool:
    """Whether the process of a run without an outcome is still there."""
    holder = run.heads[0].holder  # the same in all of its sessions
    return await presence(source, holder) is not Presence.GONE


async def find_stored(
    connection: Connection, info: StreamInfo, uncertain: Iterable[UncertainRun], key_of: KeyOf
) -> tuple[dict[str, StoredMessage], set[str]]:
    """Which messages of these runs are stored in the target, and for which this cannot be known.

    It cannot be known where messages of that time are gone from the stream.
    """
    found: dict[str, StoredMessage] = {}
    unsure: set[str] = set()
    for run in uncertain:
        begun = run.head.last_seq
        found |= await _stored_since(connection, info, run, key_of)
        if (
            _forgets(info)
            or info.state.last_seq < begun
            or info.state.first_seq > begun + 1
            or (info.state.num_deleted or 0) > run.head.num_deleted
        ):
            unsure |= run.keys
    return found, unsure - found.keys()


async def _stored_since(
    connection: Connection, info: StreamInfo, run: UncertainRun, key_of: KeyOf
) -> dict[str, StoredMessage]:
    stream, subjects = str(info.config.name), list(run.head.subjects) or [">"]
    reader = StreamReader(connection, stream, subjects, headers_only=True)
    if info.config.retention not in (None, RetentionPolicy.LIMITS):
        reader = LookupReader(connection, stream, subjects, direct=bool(info.config.allow_direct))
    found: dict[str, StoredMessage] = {}
    begun = run.head.last_seq
    reading = read_whole(connection, stream, subjects, reader.forwards, start=begun + 1)
    async with aclosing(reading) as batches:
        async for batch in batches:
            for message in batch:
                key = key_of(message.headers or {})
                if key is not None and key in run.keys:
                    found.setdefault(key, message)
            if len(found) == len(run.keys):
                break
    return found


def _forgets(info: StreamInfo) -> bool:
    """Whether single messages can disappear from the middle of the stream."""
    config = info.config
    limits = config.retention in (None, RetentionPolicy.LIMITS)
    return not limits or (config.max_msgs_per_subject or -1) > 0
