"""What a plan knows of each channel that it sends to: what it holds, who would handle it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

LONG_AGO = timedelta(minutes=5)
"""A consumer that nobody asks for messages is named if it was last active longer ago than this."""
_MAX_NAMED = 3


@dataclass(frozen=True, slots=True)
class PlannedConsumer:
    """A consumer, durable or ephemeral, that gets the messages of a channel."""

    name: str
    last_active: datetime | None
    """When it last sent a message to a client, or one was acknowledged, in UTC.

    None where the server does not know: it counts anew when it starts, or when another server of
    the cluster becomes the leader of the consumer. A service that asks and gets nothing, because
    there is nothing, does not count: `active` says that it is there.
    """
    waiting: int
    """Messages that it was not sent yet (`num_pending`), of all channels that it consumes."""
    unacknowledged: int
    """Messages that were sent and not acknowledged yet (`num_ack_pending`)."""
    paused: bool
    active: bool = False
    """Whether a client waits for its messages now: one that pulls, or one that it pushes to."""
    delivered: int = 0
    """How many messages it has sent, each delivery counted."""
    durable: bool = True
    stream: str = ""
    """The stream that it is on, if that copies the target; "" for the target itself."""
    asked_at: datetime | None = field(default=None, repr=False)
    """When the server said so, by its own clock."""

    @property
    def label(self) -> str:
        """Its name, and its stream if that is another one."""
        return f"{self.name} of {self.stream}" if self.stream else self.name

    @property
    def is_idle(self) -> bool:
        """Whether it is paused, or nobody asks it for messages and it was active long ago."""
        if self.paused:
            return True
        if self.active:
            return False
        if self.last_active is None or self.asked_at is None:
            return True
        return self.asked_at - self.last_active > LONG_AGO

    @property
    def activity(self) -> str:
        """When it was active, as the end of a sentence about it."""
        if self.paused:
            return "is paused"
        if self.active:
            return "is active now"
        if self.last_active is not None:
            return f"was {self._last()} ({self.last_active:%Y-%m-%d %H:%M} UTC)"
        if self.delivered:
            return "was sent nothing since its server started"
        return "was never sent anything"

    def __str__(self) -> str:
        """All that is known of it, in words."""
        if self.last_active is not None and not self.active and not self.paused:
            state = self._last()
        else:
            state = self.activity.removeprefix("is ").removeprefix("was ")
        facts = [state, f"{self.waiting:,} waiting"]
        if self.unacknowledged:
            facts.append(f"{self.unacknowledged:,} unacknowledged")
        return f"{self.label} ({', '.join(facts)})"

    def _last(self) -> str:
        if self.last_active is None or self.asked_at is None:
            return "last active at a time that is not known"
        return f"last active {_span(self.asked_at - self.last_active)} ago"


@dataclass(frozen=True, slots=True)
class PlannedTarget:
    """A channel that a plan sends to. Of subscribers of core NATS the server says nothing."""

    channel: str
    count: int
    """How many messages of the plan go there."""
    messages: int | None
    """How many it holds now; None if that is not known."""
    ever_held: bool | None
    """Whether it ever held a message: True if it holds one, if a consumer of just this channel was
    sent one, or if dead letters of the plan came from it; False if the stream never dropped any
    message; None if it may have been dropped."""
    consumers: tuple[PlannedConsumer, ...]
    unknown: str = ""
    """Why it is not known who consumes it; "" if that is known."""
    unhandled: bool = False
    """Whether nobody consumes it, or whether it may have never held a message and no consumer names
    it, so that its name may be wrong. A run needs a word for it."""
    warning: str = ""
    """What is wrong with it, in a sentence; "" if nothing is."""
    note: str = ""
    """What else one should know before a run, in a sentence: that its consumers are idle."""

    @property
    def is_unconsumed(self) -> bool:
        """Whether it is known that nobody consumes it."""
        return not self.consumers and not self.unknown

    def __str__(self) -> str:
        """What is wrong with it, or who consumes it."""
        if self.warning:
            return self.warning
        if not self.consumers:
            return self.note
        named = [str(consumer) for consumer in by_activity(self.consumers)[:_MAX_NAMED]]
        if len(self.consumers) > _MAX_NAMED:
            named.append(f"{len(self.consumers) - _MAX_NAMED:,} more")
        return f"{self.channel}: {', '.join(named)}"


@dataclass(frozen=True, slots=True)
class StreamFacts:
    """What is known of the target stream when its channels are judged."""

    name: str
    exists: bool = True
    subjects: tuple[str, ...] | None = None
    """What it captures; None if that is not known."""
    only_with_interest: bool = False
    """Whether it keeps only what somebody consumes (Interest retention)."""
    complete: bool = False
    """Whether it never dropped a message."""
    unknown: str = ""
    """Why it is not known which consumers it has; "" if that is known."""
    copies_unknown: bool = False
    """Whether it is not known which streams copy it."""
    newest_of_subject: int = 0
    """How many messages of a subject it keeps, dropping older ones for new ones; 0 for all."""


@dataclass(frozen=True, slots=True)
class ChannelFacts:
    """What is known of a channel when it is judged."""

    channel: str
    count: int
    messages: int | None
    consumers: tuple[PlannedConsumer, ...]
    captured: bool = True
    """Whether the stream captures it."""
    named: bool = False
    """Whether a consumer has just this channel as its filter."""
    proven: bool = False
    """Whether something proves that it once held a message."""
    renamed_by: tuple[str, ...] = ()
    """Streams that copy it under other subjects."""
    similar: str = ""
    """A channel with messages whose name is like its name."""


def judged(channel: ChannelFacts, stream: StreamFacts) -> PlannedTarget:
    """What to say of a channel."""
    ever: bool | None = None
    if channel.messages or channel.proven:
        ever = True
    elif not stream.exists or (channel.messages == 0 and stream.complete):
        ever = False
    handled = channel.consumers or stream.unknown
    misnamed = ever is False or (ever is None and channel.messages == 0 and not stream.unknown)
    unhandled = channel.captured and (not handled or (misnamed and not channel.named))
    warning = note = ""
    if not channel.captured:
        warning = (
            f"stream {stream.name!r} does not capture {channel.channel}: "
            f"{_these(channel.count)} would be refused"
        )
    elif unhandled:
        warning = _warning(channel, stream, ever, misnamed=misnamed)
    elif not channel.consumers:
        note = f"not known who consumes {channel.channel}: {stream.unknown}"
    else:
        note = _note(channel)
    if channel.captured:
        warning = "; ".join(filter(None, (warning, _dropped(channel, stream))))
    return PlannedTarget(
        channel=channel.channel,
        count=channel.count,
        messages=channel.messages,
        ever_held=ever,
        consumers=channel.consumers,
        unknown=stream.unknown,
        unhandled=unhandled,
        warning=warning,
        note=note,
    )


def _dropped(channel: ChannelFacts, stream: StreamFacts) -> str:
    """That messages of the plan would displace others or one another; "" if they would not."""
    held, keeps = channel.messages or 0, stream.newest_of_subject
    if not 0 < keeps < held + channel.count:
        return ""
    return (
        f"stream {stream.name!r} keeps only the newest {keeps:,} of {channel.channel}: it holds "
        f"{held:,} and would get {channel.count:,}, so that {held + channel.count - keeps:,} "
        "would be dropped, handled or not"
    )


def too_many(stream: str, keeps: int, count: int) -> str:
    """That a stream would drop messages of a plan for others of it; "" if it would not."""
    if not 0 < keeps < count:
        return ""
    return (
        f"stream {stream!r} keeps only its newest {keeps:,} messages: of these {count:,}, "
        f"{count - keeps:,} would be dropped, handled or not"
    )


def too_much(stream: str, keeps: int, size: int) -> str:
    """The same for a stream that keeps so many bytes, and the payloads of a plan."""
    if not 0 < keeps < size:
        return ""
    return (
        f"stream {stream!r} keeps only its newest {keeps:,} bytes: of these, whose payloads have "
        f"{size:,}, some would be dropped, handled or not"
    )


def first_few(said: Sequence[str]) -> list[str]:
    """What is said of the first channels, and how many more there are."""
    more = len(said) - _MAX_NAMED
    rest = [f"and {more:,} more channel{'s' if more != 1 else ''}"] if more > 0 else []
    return [*said[:_MAX_NAMED], *rest]


def by_activity(consumers: Sequence[PlannedConsumer]) -> list[PlannedConsumer]:
    """The consumers, with those first that are most likely to handle something."""

    def rank(consumer: PlannedConsumer) -> tuple[bool, bool, float]:
        last = consumer.last_active
        return consumer.is_idle, not consumer.active, -(last.timestamp() if last else 0.0)

    return sorted(consumers, key=rank)


def _warning(
    channel: ChannelFacts, stream: StreamFacts, ever: bool | None, *, misnamed: bool
) -> str:
    name, these = channel.channel, _these(channel.count)
    held = f"{name} has never held a message"
    if ever is None:
        held = f"{name} holds no message, and nothing shows that it ever did"
    similar = f"; did you mean {channel.similar}?" if misnamed and channel.similar else ""
    if channel.consumers:
        who = ", ".join(consumer.label for consumer in channel.consumers[:_MAX_NAMED])
        if len(channel.consumers) > _MAX_NAMED:
            who += ", …"
        return f"{held}: {these} would go to {who}, whose filter covers other channels too{similar}"
    if stream.unknown:
        return f"{held}, and {stream.unknown}: {these} may be handled by no one{similar}"
    why = ""
    if not stream.exists:
        why = f", as stream {stream.name!r} does not exist yet"
    elif misnamed:
        why = ", and it" + held.removeprefix(name)
    copied = [f"stream {copy} copies them under other subjects" for copy in channel.renamed_by]
    if stream.copies_unknown:
        copied.append("whether another stream copies them is not known")
    end = "; ".join(["", *copied])
    gone = " and gone at once" if stream.only_with_interest else ""
    return f"nobody consumes {name}{why}: {these} would be handled by no one{gone}{end}{similar}"


def _note(channel: ChannelFacts) -> str:
    consumers = by_activity(channel.consumers)
    [first, *others] = consumers
    if not first.is_idle:
        if not first.durable and not others:
            return (
                f"the only consumer of {channel.channel}, {first.label}, is not durable: "
                "it may only be looking"
            )
        return ""
    if not others:
        return f"the only consumer of {channel.channel}, {first.label}, {first.activity}"
    named = [f"{consumer.label} {consumer.activity}" for consumer in consumers[:_MAX_NAMED]]
    more = f", and {len(consumers) - _MAX_NAMED:,} more" if len(consumers) > _MAX_NAMED else ""
    return (
        f"none of the {len(consumers):,} consumers of {channel.channel} is active: "
        f"{', '.join(named)}{more}"
    )


def _these(count: int) -> str:
    return "this message" if count == 1 else f"these {count:,}"


def _span(span: timedelta) -> str:
    seconds = max(span.total_seconds(), 0)
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size or (size == 60 and seconds >= size):
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"
