"""Who may send an entry: reads the plans of other runs, and looks for what dead ones stored.

Why nothing is stored twice: a run writes its plan, then looks at the plans before it in the log.
An entry that one of them has is left to it if its process or its session still answers. If none
does, its connection is closed on the server (see `_session`), so that what it stored stays
as it is and can be looked up in the target from the sequence on that its plan names. That holds
for a run that ended with messages in doubt, too. Of two live runs the
later plan sees the earlier one; a session that lost its connection begins again with a new plan
at the end of the log. What a lost connection had already handed to the server meets the message
id `replay.{entry_id}` inside the duplicate window. Why nothing is lost: a dead letter is removed
only after its own PubAck, or after its replay was seen in the target.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from nats.js.api import RetentionPolicy, StreamInfo

from varco_nats._nats.client import Connection
from varco_nats._nats.provenance import REPLAY_ID
from varco_nats.history._lookup import read_whole
from varco_nats.history._lookup_reader import LookupReader
from varco_nats.history._reader import StreamReader
from varco_nats.replay._log import ReplayLog
from varco_nats.replay._plan import ReplayKind
from varco_nats.replay._records import LoggedRun, PlanHead
from varco_nats.replay._session import Presence, presence

KeyOf = Callable[[Mapping[str, str]], str | None]
"""From a stored message's headers to the key of the row that it is the replay of."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """A run that may have stored some messages without saying so."""

    head: PlanHead
    """Of its first session."""
    keys: frozenset[str]
    here: bool
    """Whether it stored them in the target of this run, where they can be looked for."""
    ended: bool = False
    """Whether it said that it stored all of its own."""
    unread: str = ""
    """Which of its plans cannot be read, so that it may have stored them elsewhere, too."""


@dataclass(frozen=True, slots=True)
class Holder:
    """A run that has messages, or may have."""

    replay_id: str
    user: str
    certain: bool
    """False where it does not answer, while the server does not say that it is gone."""
    unread: str = ""
    """Which of its plans cannot be read, so that nobody can be asked."""

    @property
    def why(self) -> str:
        """Why its messages are left to it."""
        if self.unread:
            return (
                f"run {self.replay_id} may be replaying it: {self.unread} cannot be read here; "
                f"where you know that it is over, ended=[{self.replay_id!r}] says so"
            )
        run = f"run {self.replay_id} of {self.user}"
        if self.certain:
            return f"{run} is replaying it"
        return (
            f"{run} is replaying it, or hangs: it does not answer and the server does not say that "
            "its connection is closed; where you know that it is, ended=[...] names it"
        )


@dataclass(slots=True)
class Findings:
    """What the plans before one's own say about one's own messages."""

    held: dict[str, Holder] = field(default_factory=dict)
    """Messages that another run has."""
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
    ended: Collection[str] = (),
) -> Findings:
    """What the plans before `head` say about the messages `keys`.

    Args:
        source: to the servers of the log.
        target: the session's, None for a run that publishes nothing.
        ended: runs that are over for sure; what they stored is looked for all the same.

    Raises:
        ReplayLogError: `head` is not in the log.
    """
    findings = Findings()
    for replay_id, run in (await log.runs(up_to=head.seq)).items():
        earlier = [one for one in run.heads if one.seq < head.seq]
        unread = [seq for seq in run.unread if seq < head.seq]
        if replay_id == head.replay_id or (run.settled and not head.history_key):
            continue
        if not earlier and not unread:
            continue
        mine = await _in_common(log, run, earlier, head, keys)
        if not mine:
            continue
        known = run.settled or replay_id in ended
        if unread:
            which = f"its plan, record {unread[0]} of stream {log.stream},"
            if known:
                anywhere = replace(
                    head, replay_id=replay_id, last_seq=0, num_deleted=0, subjects=(">",)
                )
                findings.doubts.append(
                    Doubt(anywhere, frozenset(mine), True, run.settled, unread=which)
                )
            else:
                holder = Holder(replay_id, "somebody unknown", False, unread=which)
                findings.held |= dict.fromkeys(mine, holder)
            continue
        first = earlier[0]
        gone = Presence.GONE if known else await _presence(earlier, head, source, target)
        if gone is not Presence.GONE:
            holder = Holder(replay_id, first.user, gone is Presence.HERE)
            findings.held |= dict.fromkeys(mine, holder)
        elif first.kind is not ReplayKind.DISCARD:
            here = all(one.target_created == head.target_created for one in earlier)
            findings.doubts.append(Doubt(first, frozenset(mine), here, run.settled))
    return findings


async def _in_common(
    log: ReplayLog, run: LoggedRun, theirs: list[PlanHead], mine: PlanHead, keys: set[str]
) -> set[str]:
    """Which of the messages `keys` the other run has, or may have."""
    histories = {head.history_key for head in theirs} | set(run.unread.values())
    if mine.history_key:
        return keys if mine.history_key in histories else set()
    if theirs and theirs[0].history_key:
        return set()
    if run.outcome is not None and run.outcome.open is not None:
        return keys.intersection(run.outcome.open)
    # of a plan that cannot be read: what the log has of its entries
    planned = await log.keys(run.replay_id, theirs[0].chunks if theirs else 0)
    return keys if planned is None else keys.intersection(map(str, planned))


async def _presence(
    theirs: Iterable[PlanHead], mine: PlanHead, source: Connection, target: Connection | None
) -> Presence:
    """Gone only if the process is, and so are all connections of it that can be asked for."""
    asked = {(source, head.holder) for head in theirs}
    for head in theirs:
        if target is not None and head.target_created == mine.target_created:
            asked.add((target, head.session))
        elif not head.servers:
            asked.add((source, head.session))
    answers = await asyncio.gather(*(presence(*one) for one in asked))
    for answer in (Presence.HERE, Presence.UNKNOWN):
        if answer in answers:
            return answer
    return Presence.GONE


async def is_running(run: LoggedRun, source: Connection) -> bool:
    """Whether the process of a run without an outcome is still there."""
    holder = run.heads[0].holder  # the same in all of its sessions
    return await presence(source, holder) is not Presence.GONE


async def find_stored(
    connection: Connection, info: StreamInfo, doubts: Iterable[Doubt], key_of: KeyOf
) -> tuple[dict[str, Found], set[str]]:
    """Which messages in doubt are stored in the target, and which of the others may have been.

    The second are those whose place in the stream is gone, so that nobody can tell.
    """
    found: dict[str, Found] = {}
    unsure: set[str] = set()
    for doubt in doubts:
        begun = doubt.head.last_seq
        found |= await _stored_since(connection, info, doubt, key_of)
        if (
            _forgets(info)
            or info.state.last_seq < begun
            or info.state.first_seq > begun + 1
            or (info.state.num_deleted or 0) > doubt.head.num_deleted
        ):
            unsure |= doubt.keys
    return found, unsure - found.keys()


async def _stored_since(
    connection: Connection, info: StreamInfo, doubt: Doubt, key_of: KeyOf
) -> dict[str, Found]:
    stream, subjects = str(info.config.name), list(doubt.head.subjects) or [">"]
    reader = StreamReader(connection, stream, subjects, headers_only=True)
    if info.config.retention not in (None, RetentionPolicy.LIMITS):
        reader = LookupReader(connection, stream, subjects, direct=bool(info.config.allow_direct))
    found: dict[str, Found] = {}
    begun = doubt.head.last_seq
    reading = read_whole(connection, stream, subjects, reader.forwards, start=begun + 1)
    async with aclosing(reading) as batches:
        async for batch in batches:
            for message in batch:
                headers = message.headers or {}
                key = key_of(headers)
                if key is not None and key in doubt.keys:
                    replay_id = headers.get(REPLAY_ID, "")
                    found.setdefault(key, Found(message.seq, message.subject, replay_id))
            if len(found) == len(doubt.keys):
                break
    return found


def _forgets(info: StreamInfo) -> bool:
    """Whether a stored message can go while its neighbours stay."""
    config = info.config
    limits = config.retention in (None, RetentionPolicy.LIMITS)
    return not limits or (config.max_msgs_per_subject or -1) > 0
