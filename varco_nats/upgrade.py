"""Moves a service's consumers from the released varco-nats to this package, and back.

A bus takes over by itself what it finds when it starts. Open this to see beforehand what it will
do, to do it for all channels at once, and to go back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Literal

from nats.js.api import AckPolicy, ConsumerConfig, ConsumerInfo
from nats.js.errors import NotFoundError

from varco_nats import subjects
from varco_nats._nats.client import Connection, connect
from varco_nats._nats.durable import channel_of, ensure_durable
from varco_nats._nats.leader import with_leader
from varco_nats._nats.position import Position
from varco_nats._nats.stream import all_consumers, stream_info
from varco_nats._nats.takeover import Consumers, give_back, is_note, is_push, unclaimed
from varco_nats._read_only import check_may_change
from varco_nats.config import NatsEventBusSettings
from varco_nats.dlq import NatsDLQ
from varco_nats.dlq._codec import released_can_read
from varco_nats.dlq._store import DlqStore
from varco_nats.dlq._stream import ensure_dlq_stream
from varco_nats.errors import ConsumerInUseError, StreamNotFoundError

__all__ = ["DEAD_LETTERS", "MigrationReport", "MigrationStep", "rollback", "upgrade"]


DEAD_LETTERS = "dead letters"
"""What a step has as its channel that is about the dead letter queue."""


@dataclass(frozen=True, slots=True)
class MigrationStep:
    """What is done, or would be done, for one channel."""

    channel: str
    """The channel; `dead letters` for the dead letter queue."""
    durable: str
    """The durable that the channel is consumed through afterwards."""
    found: str
    action: str
    """What is done about it; "" if there is nothing to do."""
    may_repeat: int | None
    """How many messages may be handled a second time at most: those that were delivered and not
    acknowledged. None if that is not known."""
    blocked: str | None = None
    """Why it cannot be done now, and what to do; None if it can."""


@dataclass(frozen=True, slots=True)
class MigrationReport:
    """What an upgrade or a rollback found and did, channel by channel."""

    kind: Literal["upgrade", "rollback"]
    stream: str
    dry_run: bool
    """Whether nothing was changed because only the plan was asked for."""
    steps: tuple[MigrationStep, ...]

    @property
    def blocked(self) -> bool:
        """Whether a step cannot be done now; then nothing was changed."""
        return any(step.blocked for step in self.steps)

    def to_rows(self) -> list[dict[str, object]]:
        """One dictionary for each step, for a table."""
        return [asdict(step) for step in self.steps]

    def __repr__(self) -> str:
        state = "blocked" if self.blocked else "planned" if self.dry_run else "done"
        lines = [f"{self.kind} of stream {self.stream}: {state}, {len(self.steps)} steps"]
        for step in self.steps:
            lines.append(f"  {step.channel} ({step.durable}): {step.found}")
            lines.append(f"    {step.blocked or step.action or 'nothing to do'}")
            if step.may_repeat:
                lines.append(f"    up to {step.may_repeat:,} messages may be handled again")
        return "\n".join(lines)


async def upgrade(
    settings: NatsEventBusSettings, *, dry_run: bool, dlq: NatsDLQ | None = None
) -> MigrationReport:
    """Take over every durable of the released package, as a bus does for its own channels.

    Nothing is changed while a step is blocked.

    Args:
        settings: those of the service; its durables are known by their `durable_name`.
        dry_run: only say what would be done.
        dlq: the dead letter queue, where it does not have the names of `settings`; it need not be
            started.

    Raises:
        StreamNotFoundError: there is no such stream.
        ConsumerInUseError: somebody began to listen to a durable meanwhile.
    """
    return await _migrate("upgrade", settings, dry_run, dlq)


async def rollback(
    settings: NatsEventBusSettings, *, dry_run: bool, dlq: NatsDLQ | None = None
) -> MigrationReport:
    """Give the released package push durables of its names, at the positions of ours.

    Stop all processes of the service first; one that starts again takes them over again. Nothing
    is changed while a step is blocked. Arguments and errors are those of `upgrade`.
    """
    return await _migrate("rollback", settings, dry_run, dlq)


_Plan = list[tuple[MigrationStep, Callable[[], Awaitable[object]] | None]]


async def _migrate(
    kind: Literal["upgrade", "rollback"],
    settings: NatsEventBusSettings,
    dry_run: bool,
    dlq: NatsDLQ | None,
) -> MigrationReport:
    if not dry_run:
        check_may_change(settings, f"{kind}()")
    dlq = NatsDLQ(settings) if dlq is None else dlq
    connection = await connect(settings, name=f"varco nats {kind}")
    try:
        try:
            found = await all_consumers(connection, settings.stream_name)
        except NotFoundError:
            raise StreamNotFoundError(settings.stream_name) from None
        plan_of = _upgrade_plan if kind == "upgrade" else _rollback_plan
        plan = plan_of(connection, settings, {str(info.name): info for info in found})
        plan += await _dead_letter_plan(kind, connection, settings, dlq)
        report = MigrationReport(
            kind, settings.stream_name, dry_run, tuple(step for step, _ in plan)
        )
        if not dry_run and not report.blocked:
            for _, do in plan:
                if do is not None:
                    await do()
        return report
    finally:
        await connection.close()


def _upgrade_plan(
    connection: Connection, settings: NatsEventBusSettings, found: Mapping[str, ConsumerInfo]
) -> _Plan:
    plan: _Plan = []
    for channel, durables in _by_channel(settings, found).items():
        durable = settings.durable_for(channel)
        do = partial(ensure_durable, connection, settings, channel)
        ours = durables.pull
        if ours is not None and ours.name == durable and durables.push is None:
            plan.append((MigrationStep(channel, durable, _described(ours), "", 0), None))
        elif (push := durables.push) is not None:
            step = MigrationStep(
                channel,
                durable,
                _described(push),
                "replace it by a pull consumer that goes on at its position",
                _pending(push, ours),
                str(ConsumerInUseError(str(push.name), channel)) if push.push_bound else None,
            )
            plan.append((step, do))
        elif ours is not None:
            found_text = f"temporary {_described(ours)}"
            step = MigrationStep(channel, durable, found_text, "give it its name", _pending(ours))
            plan.append((step, do))
    return plan


def _rollback_plan(
    connection: Connection, settings: NatsEventBusSettings, found: Mapping[str, ConsumerInfo]
) -> _Plan:
    plan: _Plan = []
    consumers = Consumers(connection, settings.stream_name)
    by_channel = _by_channel(settings, found)
    names = Counter(_released(settings, channel) for channel in by_channel)
    for channel, durables in by_channel.items():
        pull, push, name = durables.pull, durables.push, _released(settings, channel)
        if pull is None:
            assert push is not None
            config = unclaimed(push.config)
            action = "" if config == push.config else "undo what an interrupted upgrade changed"
            step = MigrationStep(channel, str(push.name), _described(push), action, 0)
            plan.append((step, partial(consumers.put, config) if action else None))
            continue
        wanted = ConsumerConfig(
            durable_name=name,
            filter_subject=settings.subject_name(channel),
            deliver_subject=connection.nc.new_inbox(),
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=settings.ack_wait_seconds,
            max_deliver=settings.max_deliver,
        )
        step = MigrationStep(
            channel,
            str(name),
            _described(pull),
            "replace it by a push consumer that goes on at its position",
            _pending(pull, push),
            _rollback_problem(pull, push, name, names[name]),
        )
        plan.append((step, partial(give_back, consumers, pull, wanted, channel)))
    return plan


async def _dead_letter_plan(
    kind: Literal["upgrade", "rollback"],
    connection: Connection,
    settings: NatsEventBusSettings,
    dlq: NatsDLQ,
) -> _Plan:
    names, consumers = dlq.names, Consumers(connection, dlq.names.stream)
    try:
        stream = await stream_info(connection, names.stream)
    except StreamNotFoundError:
        return []
    relay = await consumers.find(dlq.durable)
    leased = 0 if relay is None else relay.num_ack_pending
    subjects_found = list(stream.config.subjects or [])
    found = f"{stream.state.messages:,} dead letters under {', '.join(subjects_found)}"
    if kind == "upgrade":
        action, do = "", None
        if names.all_entries() not in subjects_found:
            action = f"have the stream capture {names.all_entries()} too"
            do = partial(ensure_dlq_stream, connection, settings, names)
        return [(MigrationStep(DEAD_LETTERS, dlq.durable, found, action, leased), do)]
    unreadable = 0
    store = DlqStore(connection, settings, names, dlq.durable)
    async with aclosing(store.scan()) as entries:
        async for entry in entries:
            unreadable += not released_can_read(entry.message)
    action = "let the released package's relay take all"
    if unreadable:
        # a relay that is given them removes what it cannot read
        action = (
            "keep those of this package from the released package's relay, as it cannot read "
            f"{unreadable:,} of them and would remove them; they are there after the next upgrade"
        )
    if names.root not in subjects_found:
        action = f"have the stream capture {names.root}, and {action}"
    wanted = ConsumerConfig(
        durable_name=dlq.durable,
        filter_subject=names.root if unreadable else None,
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=settings.ack_wait_seconds,
        max_deliver=-1,
    )

    if relay is not None and names.root in subjects_found and _is_as(relay.config, wanted):
        return [(MigrationStep(DEAD_LETTERS, dlq.durable, found, "", leased), None)]

    async def give_back_queue() -> None:
        if names.root not in subjects_found:
            config = replace(stream.config, subjects=[*subjects_found, names.root])
            await with_leader(connection, names.stream, lambda: connection.js.update_stream(config))
        await consumers.put(wanted)

    return [(MigrationStep(DEAD_LETTERS, dlq.durable, found, action, leased), give_back_queue)]


def _is_as(config: ConsumerConfig, wanted: ConsumerConfig) -> bool:
    """Whether a relay is already as the released package needs it."""
    names = ("filter_subject", "ack_wait", "max_deliver")
    return all((getattr(config, name) or None) == getattr(wanted, name) for name in names)


def _rollback_problem(
    pull: ConsumerInfo, push: ConsumerInfo | None, name: str | None, channels: int
) -> str | None:
    """Why a push consumer cannot take the place of `pull`, or None."""
    if name is None:
        return "the released package cannot consume this channel: no consumer can have its name"
    if channels > 1:
        return (
            f"the released package calls the durable of {channels} channels {name!r} and can "
            "consume only one of them; delete the durables of the others"
        )
    if pull.num_waiting:
        return (
            f"somebody still waits for messages of {pull.name!r}; stop all processes of the service"
        )
    if push is not None and push.push_bound:
        return f"a process of the released package listens to {push.name!r} already; stop it"
    return None


@dataclass(slots=True)
class _Durables:
    """What there is for one channel."""

    pull: ConsumerInfo | None = None
    push: ConsumerInfo | None = None


def _by_channel(
    settings: NatsEventBusSettings, found: Mapping[str, ConsumerInfo]
) -> dict[str, _Durables]:
    """The durables of the service, by channel."""
    channels: dict[str, _Durables] = {}
    for info in found.values():
        if (channel := channel_of(settings, info)) is None or is_note(info):
            continue
        durables = channels.setdefault(channel, _Durables())
        if is_push(info):
            durables.push = info
        elif durables.pull is None or info.name == settings.durable_for(channel):
            durables.pull = info
    return dict(sorted(channels.items()))


def _released(settings: NatsEventBusSettings, channel: str) -> str | None:
    return subjects.released_durable(settings.durable_name, channel)


def _pending(*found: ConsumerInfo | None) -> int:
    """How many messages are delivered there and not acknowledged, at most."""
    count = 0
    for info in filter(None, found):
        taken_over, delivered = Position.of(info.config), info.delivered
        left = taken_over.pending if taken_over else ()
        count += info.num_ack_pending or 0
        count += sum(delivered is None or seq > delivered.stream_seq for seq in left)
    return count


def _described(info: ConsumerInfo) -> str:
    kind = "push" if is_push(info) else "pull"
    return (
        f"{kind} consumer {info.name}, {info.num_ack_pending or 0:,} messages pending and "
        f"{info.num_pending or 0:,} not delivered"
    )
