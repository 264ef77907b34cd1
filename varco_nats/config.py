"""Settings of the event bus, and the names that it makes of them.

Each field can be set by an environment variable, `VARCO_NATS_` and the field in capitals:
`VARCO_NATS_SERVERS`, `VARCO_NATS_ACK_WAIT_SECONDS`.
"""

from __future__ import annotations

import importlib
import re
from abc import abstractmethod
from enum import StrEnum
from functools import partial
from typing import Annotated, Any, ClassVar, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, PlainValidator, ValidationError, model_validator
from pydantic_settings import SettingsConfigDict
from pydantic_settings import SettingsError as EnvironmentValueError
from varco_core.config import VarcoSettings
from varco_core.event.base import Event
from varco_core.event.config import EventBusSettings
from varco_core.serialization import Serializer

from varco_nats import subjects
from varco_nats._environment import warn_of_typos
from varco_nats.errors import SettingsError


class NatsDeliverySemantics(StrEnum):
    """When a message counts as delivered; the README has the table of outcomes."""

    AT_MOST_ONCE = "at_most_once"
    """Acknowledged before its handlers run, about one round trip ahead.

    A message that is acknowledged and not handled when its process dies is gone. It is handled only
    if the server confirmed the ack while no other process could have the message.
    """
    AT_LEAST_ONCE = "at_least_once"
    EXACTLY_ONCE = "exactly_once"


_URL = re.compile(
    r"(?:(?P<scheme>nats|tls|wss?)://)?"
    r"(?:(?P<login>[^/?#\[\]\s]*)@)?"
    r"(?P<host>[\w.-]+|\[[0-9a-f:.]+(?:%\w+)?\])(?P<port>:\d*)?"
    r"(?P<path>[/?][^@\s]*)?",
    re.IGNORECASE,
)
DEFAULT_API = "$JS.API"
"""What the subjects of requests to the JetStream of the connected server begin with."""

_MAX_PREFIX = 1000  # bytes, of the 3,000 that a subject may have
_HIDDEN_URL = "(a URL that cannot be read and is not shown)"
_BAD_URL = (
    "is not a server URL; it is not shown, as it may hold a password. Write it like "
    "nats://host:4222, or nats://user:password@host:4222 with '/', '?', '#', '[', ']', ',', '%' "
    "and white space of user and password percent-encoded ('/' is %2F); tls://, ws:// and wss:// "
    "are also possible, and several URLs are joined by ','"
)


def _parts(url: str) -> re.Match[str] | None:
    """The parts of a server's URL; None if any of it is not understood."""
    parts = _URL.fullmatch(url)
    if parts is None or (parts["path"] not in (None, "/") and _scheme(parts) not in ("ws", "wss")):
        return None
    try:  # as nats-py reads it
        read = urlsplit(url if parts["scheme"] else f"nats://{url}")
        usable = bool(read.hostname) and read.port != 0
    except ValueError:
        return None
    return parts if usable else None


def _scheme(parts: re.Match[str]) -> str:
    return (parts["scheme"] or "nats").lower()


def without_credentials(url: str) -> str:
    """`url` without user, password and token: `nats://u:p@host:1` is `nats://host:1`.

    A URL that cannot be read is not shown at all.
    """
    parts = _parts(url)
    if parts is None:
        return _HIDDEN_URL
    return f"{_scheme(parts)}://{parts['host']}{parts['port'] or ''}"


def has_login(url: str) -> bool:
    """Whether `url` holds a user, a password or a token."""
    parts = _parts(url)
    return parts is not None and parts["login"] is not None


def _servers(value: str) -> str:
    urls = [url.strip() for url in value.split(",")]
    if not all(urls):
        raise ValueError("must be one or more server URLs joined by ',', like nats://host:4222")
    before = None
    for index, url in enumerate(urls):
        parts = _parts(url)
        # a login with ',' in it looks like a server without a login and one without a scheme
        torn = parts and parts["login"] and not parts["scheme"] and before and not before["login"]
        before = parts
        if parts is None or torn:
            which = "it" if len(urls) == 1 else f"number {index + 1}"
            raise ValueError(f"{which} {_BAD_URL}")
        if parts["scheme"]:  # nats-py takes "TLS://" for a host name
            urls[index] = parts["scheme"].lower() + url[parts.end("scheme") :]
    return ",".join(urls)


def _name(value: str, *, longest: int) -> str:
    if problem := subjects.name_problem(value, longest):
        raise ValueError(problem)
    return value


def _prefix(value: str, *, followed_by: str = "", longest: int) -> str:
    problem = subjects.subject_problem(value + followed_by, longest)
    if problem is None and (size := len(value.encode())) > _MAX_PREFIX:
        problem = f"has {size:,} bytes, more than {_MAX_PREFIX:,}"
    if problem:
        raise ValueError(problem)
    return value


def _domain(value: str | None) -> str | None:
    return _name(value, longest=255) if value else None


def _api_prefix(value: str | None) -> str | None:
    return _prefix(value.removesuffix("."), longest=_MAX_PREFIX) if value else None


def _connect_kwargs(value: dict[str, Any]) -> dict[str, Any]:
    servers = value.get("servers")
    if servers is None:
        return value
    urls = [servers] if isinstance(servers, str) else servers
    if not isinstance(urls, list | tuple) or not all(isinstance(url, str) for url in urls):
        raise ValueError("'servers' in it must be a server URL or a list of them")
    return {**value, "servers": _servers(",".join(urls)).split(",")}


def _serializer(value: Any) -> Any:
    if value is None or value == "":
        return None
    if isinstance(value, str):
        module, colon, name = value.partition(":")
        if not (module and colon and name):
            raise ValueError("must be written as MODULE:NAME, like myapp.wire:serializer")
        try:
            value = getattr(importlib.import_module(module), name)
        except Exception as error:  # whatever the module raises is the reason
            raise ValueError(
                f"cannot be imported ({type(error).__name__}: {error}); check its name and "
                "PYTHONPATH"
            ) from error
    if isinstance(value, type):
        value = value()
    if not isinstance(value, Serializer):
        raise ValueError(f"{type(value).__name__} is no serializer of varco")
    return value


Servers = Annotated[str, AfterValidator(_servers)]
# of the 255 bytes of a name, suffixes need up to 10, as in `{stream_name}-exhausted`
StreamName = Annotated[str, AfterValidator(partial(_name, longest=245))]
# the channel's name follows
DurableName = Annotated[str, AfterValidator(partial(_name, longest=200))]
# `{subject_prefix}-channels` must fit too
SubjectPrefix = Annotated[str, AfterValidator(partial(_prefix, longest=490))]
ChannelPrefix = Annotated[str, AfterValidator(partial(_prefix, followed_by="x", longest=500))]
Domain = Annotated[str | None, AfterValidator(_domain)]
ApiPrefix = Annotated[str | None, AfterValidator(_api_prefix)]
Seconds = Annotated[float, Field(le=9e9, allow_inf_nan=False)]
"""The server counts nanoseconds in 64 bits, which is 292 years."""


class CheckedSettings(VarcoSettings):
    """Base of this package's settings: frozen, and wrong values raise `SettingsError`.

    A variable of the environment whose name is almost that of a setting is logged once.
    """

    model_config = SettingsConfigDict(frozen=True, hide_input_in_errors=True)

    _other_variables: ClassVar[re.Pattern[str]] = re.compile("$^")
    """Variables with the same prefix that belong to others, without that prefix."""

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise SettingsError(type(self).__name__, self._problems(error)) from None
        except EnvironmentValueError as error:
            raise SettingsError(type(self).__name__, [str(error)]) from None
        warn_of_typos(type(self), self.env_prefix(), self._other_variables)

    @classmethod
    def _problems(cls, error: ValidationError) -> list[str]:
        problems = []
        for detail in error.errors(include_input=False, include_url=False):
            field = ".".join(str(part) for part in detail["loc"]) or "settings"
            variable = cls.env_prefix() + field.upper().replace(".", "__")
            message = detail["msg"].removeprefix("Value error, ")
            if detail["type"] == "default_factory_not_called":
                continue  # another problem in the list causes it
            if not detail["loc"]:
                problems.append(message)
            elif detail["type"] == "extra_forbidden":
                message = f"there is no such setting; there are {', '.join(cls.model_fields)}"
                problems.append(f"{field}: {message}")
            else:
                problems.append(f"{field} ({variable}): {message}")
        return problems

    def __repr_args__(self) -> Any:
        for name, value in super().__repr_args__():
            if name == "servers":
                value = ",".join(map(without_credentials, self.to_servers_list()))
            yield name, value

    @abstractmethod
    def to_servers_list(self) -> list[str]:
        """The URLs of the servers to connect to, credentials included."""

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """The settings in `data`; what it leaves out comes from the environment."""
        return cls(**data)


class StreamSettings(CheckedSettings):
    """Where a stream is and what its channels are called."""

    servers: Servers = "nats://localhost:4222"
    """Server URLs, several joined by `,`. Credentials in them are never shown in a repr or log."""

    stream_name: StreamName = "varco-events"
    """The JetStream stream that holds all channels."""

    subject_prefix: SubjectPrefix = "varco"
    """The stream captures `{subject_prefix}.>`."""

    channel_prefix: ChannelPrefix = ""
    """Stands before each channel's name in its subject, to keep environments apart."""

    stream_replicas: int = Field(default=1, ge=1, le=5)
    """Replicas of a stream that is created here; 3 survive the loss of one server."""

    duplicate_window_seconds: Seconds = Field(default=120.0, gt=0)
    """How long a created stream remembers message ids, in seconds."""

    ping_interval_seconds: float = Field(default=5.0, ge=0.1, le=3600, allow_inf_nan=False)
    """A server that was silent for this long is asked for a sign of life, in seconds; after twice
    this time the client connects again."""

    leader_timeout_seconds: Seconds = Field(default=15.0, ge=0)
    """How long `start()` waits for a stream or cluster to have a leader, in seconds; an election
    after the loss of a server takes 4 to 9 s."""

    jetstream_domain: Domain = None
    """The JetStream domain that the streams are in, as seen from a leaf node; None is the domain of
    the server that is connected to."""

    jetstream_api_prefix: ApiPrefix = None
    """What requests to JetStream begin with in place of `$JS.API`, where an account imports the API
    of another one under a prefix; not together with `jetstream_domain`."""

    read_only: bool = False
    """Only look: whatever would publish, acknowledge, or create, change or delete something on the
    server raises `ReadOnlyError` before anything is sent. Reading works, through consumers that
    acknowledge nothing and expire."""

    connect_kwargs: Annotated[dict[str, Any], AfterValidator(_connect_kwargs)] = Field(
        default_factory=dict, repr=False
    )
    """More keyword arguments of `nats.connect`, such as those of `NatsConnectionSettings`; its
    `servers` count unless the setting `servers` is given."""

    @model_validator(mode="after")
    def _one_jetstream(self) -> Self:
        if self.jetstream_domain is not None and self.jetstream_api_prefix is not None:
            prefix = self.env_prefix()
            raise ValueError(
                f"both jetstream_domain ({prefix}JETSTREAM_DOMAIN) and jetstream_api_prefix "
                f"({prefix}JETSTREAM_API_PREFIX) say where JetStream is; set only one"
            )
        return self

    def to_servers_list(self) -> list[str]:
        """The URLs of the servers to connect to, credentials included."""
        if "servers" not in self.model_fields_set and (urls := self.connect_kwargs.get("servers")):
            return [urls] if isinstance(urls, str) else list(urls)
        return self.servers.split(",")

    def jetstream_api(self) -> str:
        """What the subjects of requests to JetStream begin with."""
        if self.jetstream_domain is not None:
            return f"$JS.{self.jetstream_domain}.API"
        return self.jetstream_api_prefix or DEFAULT_API

    def subject_name(self, channel: str) -> str:
        """The subject of `channel`.

        Raises:
            InvalidChannelError: the name is empty, blank, or has a wildcard or white space.
        """
        return subjects.subject_for(self.subject_prefix, self.channel_prefix, channel)

    def wildcard_subject(self) -> str:
        """The subject the stream captures: `{subject_prefix}.>`."""
        return f"{self.subject_prefix}.>"

    def channel_from_subject(self, subject: str) -> str:
        """The channel of `subject`; `subject` itself if it belongs to no channel."""
        channel = subjects.channel_from(self.subject_prefix, self.channel_prefix, subject)
        return subject if channel is None else channel


class NatsEventBusSettings(StreamSettings, EventBusSettings):
    """Settings of `NatsEventBus` and `NatsDLQ`, read from `VARCO_NATS_*`.

    Raises:
        SettingsError: a value has the wrong type or is out of range, or there is no such setting.

    Example:
        NatsEventBusSettings(servers="nats://localhost:4222", durable_name="order-service")
    """

    model_config = SettingsConfigDict(env_prefix="VARCO_NATS_")

    _other_variables = re.compile("ADMIN_|IMPORTS$")  # of NatsChannelManagerSettings, of varco-nats

    durable_name: DurableName = "varco-default"
    """Names the consumer group: processes with the same name share each channel's messages."""

    delivery_semantics: NatsDeliverySemantics = NatsDeliverySemantics.AT_LEAST_ONCE
    """`at_most_once`, `at_least_once` or `exactly_once`."""

    auto_create_stream: bool = True
    """Create the stream at `start()` if it does not exist."""

    ack_wait_seconds: Seconds = Field(default=30.0, ge=0.1)
    """A message is redelivered when its process was silent for this long, in seconds."""

    max_deliver: int = Field(default=5, ge=1)
    """Deliveries after which a message whose handler raised is dead-lettered."""

    nak_delay_seconds: Seconds = Field(default=1.0, ge=0)
    """Pause before a failed message comes again, doubled each time, at most `ack_wait_seconds`."""

    concurrency: int = Field(default=1, ge=1, le=1000)
    """Messages handled at once in each channel; with more than 1 they may finish out of order."""

    prefetch: int = Field(default=1000, ge=1, le=10_000)
    """Messages that a channel holds ready at most; slow handlers make it hold fewer."""

    drain_timeout_seconds: Seconds = Field(default=30.0, ge=0)
    """How long `stop()` waits for running handlers, in seconds."""

    publish_timeout_seconds: Seconds = Field(default=5.0, gt=0)
    """How long one attempt to publish waits for its PubAck, in seconds."""

    publish_attempts: int = Field(default=3, ge=1)
    """How often an event is sent before `PublishError`. A cluster without a leader refuses at once,
    so that an event is then sent again for as long as these attempts may take."""

    serializer: Annotated[Serializer[Event] | None, PlainValidator(_serializer)] = Field(
        default=None, exclude=True, repr=False
    )
    """How events become bytes where the bus or the queue is given none; default JSON. In the
    environment `MODULE:NAME`, of an object or a class. Whoever has these settings reads with it."""

    def durable_for(self, channel: str) -> str:
        """The durable consumer of `channel`: `{durable_name}-{channel}`, `.` as `_`."""
        return subjects.durable_for(self.durable_name, channel)
