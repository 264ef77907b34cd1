"""Dead letters that another framework or a service's own code wrote to a plain stream. Pure.

Nobody agrees on how a failed message is stored: its payload with headers about the failure, or a
JSON envelope with the payload inside. A `ForeignNames` says where each part of an entry is.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, NamedTuple, Protocol, Self

import msgspec
from msgspec import structs
from varco_core.event.dlq import DeadLetterEntry, DeadLetterSource

from varco_nats._nats.advisories import parse_advisory
from varco_nats._nats.context import TENANT_ID
from varco_nats._nats.direct import StoredMessage, moment
from varco_nats._varco_core import new_entry
from varco_nats.dlq._codec import DlqNames, StoredEntry, as_utc, made_up_id, unreadable
from varco_nats.subjects import name_problem
from varco_nats_widgets.frames._condition_fields import reached
from varco_nats_widgets.frames._condition_parser import ConditionError, Parser

type FieldSource = str | Callable[[StoredMessage], object]
"""Where a part of an entry is: `header:NAME`, `json:PATH`, `base64:PATH`, `subject:N`, a text that
is the same for all, or a function of the message."""

_USUAL_HEADERS = {
    "channel": (
        "x-original-subject", "x-original-topic", "x-original-channel", "x-source-subject",
        "x-dlq-original-subject", "x-dlq-subject", "nats-original-subject", "original-subject",
        "original_subject", "x-subject", "topic_poisoned", "dead-letter-topic",
    ),
    "handler": (
        "x-handler", "x-original-consumer", "x-consumer", "x-dlq-consumer", "handler", "consumer",
        "handler_poisoned",
    ),
    "error_type": (
        "x-error-type", "x-exception-type", "x-exception-class", "x-error-class", "error-type",
        "error_type", "exception-type", "dead-letter-exception-class-name",
    ),
    "error_message": (
        "x-error-message", "x-error", "x-exception-message", "x-exception", "x-error-reason",
        "x-dlq-error", "x-dlq-reason", "x-death-reason", "x-failure-reason", "x-reason",
        "x-dead-letter-reason", "error-message", "error_message", "error", "reason",
        "reason_poisoned", "dead-letter-reason",
    ),
    "attempts": (
        "x-retry-count", "x-attempts", "x-delivery-count", "x-num-delivered", "x-retries",
        "x-dlq-attempts", "retry-count", "retry_count", "attempts", "delivery-count",
    ),
    "first_failed_at": ("x-first-failed-at", "first-failed-at", "x-first-failure-time"),
    "last_failed_at": (
        "x-last-failed-at", "x-failed-at", "x-dlq-timestamp", "x-error-time", "x-failure-time",
        "failed-at", "failed_at",
    ),
    "tenant_id": (TENANT_ID.lower(), "tenant-id", "tenant_id", "tenant"),
    "payload": (),
}  # fmt: skip
"""The headers that are looked for where it is not said where a part is, the best first: those of
Watermill's poison queue (`topic_poisoned`), of nestjs-jetstream (`x-dead-letter-reason`), of
SmallRye (`dead-letter-topic`), and those that services usually give what they store themselves."""

FIELDS = tuple(_USUAL_HEADERS)
"""The parts of an entry that may be somewhere in a message."""

_MARKS = {"dlq", "dead", "deadletter", "deadletters", "dead-letter", "dead-letters", "dead_letter",
          "dead_letters", "failed"}  # fmt: skip
"""First or last tokens of a subject that only say that its messages are dead letters."""
_GIVEN_UP = re.compile(
    r"\$JS\.EVENT\.ADVISORY\.CONSUMER\.(?:MAX_DELIVERIES|MSG_TERMINATED)\.([^.]+)\.[^.]+"
)
_PREFIX = re.compile(r"([A-Za-z0-9_]+):(?!//)")
_WORD = re.compile("[a-z]+")
_TOKEN = re.compile(r"(-?[1-9][0-9]?)(-?)")
_NUMBER = re.compile(r"[0-9]{1,20}(\.[0-9]{1,9})?")
_SECONDS = 1e11  # below it, a number is of seconds since 1970; then ms, µs and ns
_ESCAPED_TRACEBACK = re.compile(r'\\n\s+(?:File "|at )')
_MAX_NAMED = 12
_NOTHING_YET = "the usual headers"


class _Message:
    """A message whose JSON is read once, if at all."""

    def __init__(self, stored: StoredMessage) -> None:
        self.stored = stored
        self.about_failure: set[str] = set()
        """Names of the headers that say something of the failure, in lower case."""

    @property
    def own_headers(self) -> dict[str, str] | None:
        """The headers without those about the failure, whose text may have values of the event."""
        if self.stored.headers is None:
            return None
        return {
            name: value
            for name, value in self.stored.headers.items()
            if name.casefold() not in self.about_failure
        }

    @cached_property
    def headers(self) -> dict[str, str]:
        """By their names in lower case; of names that differ in case only, the first."""
        found: dict[str, str] = {}
        for name, value in (self.stored.headers or {}).items():
            found.setdefault(name.casefold(), value)
        return found

    @cached_property
    def json(self) -> Any:
        try:
            return msgspec.json.decode(self.stored.data)
        except ValueError:  # half a surrogate pair, or no JSON
            try:
                return json.loads(self.stored.data)
            except (ValueError, RecursionError):
                return None


class _Source(Protocol):
    @property
    def label(self) -> str: ...

    def find(self, message: _Message) -> object | None:
        """What is there in a message; None if nothing is."""


class _Header(NamedTuple):
    key: str
    """Its name in lower case."""
    label: str

    @classmethod
    def named(cls, name: str) -> Self:
        return cls(name.casefold(), f"header:{name}")

    def find(self, message: _Message) -> object | None:
        return message.headers.get(self.key)


@dataclass(frozen=True, slots=True)
class _Json:
    path: str
    steps: tuple[str | int | None, ...]
    is_base64: bool
    """Whether the text there is the base64 of what is meant."""

    @property
    def label(self) -> str:
        return f"{'base64' if self.is_base64 else 'json'}:{self.path}"

    def find(self, message: _Message) -> object | None:
        found: object | None = reached(message.json, self.steps)
        return _unpacked(found) if self.is_base64 else found


@dataclass(frozen=True, slots=True)
class _Token:
    number: int
    """From 1, or from -1 at the end."""
    to_end: bool

    @property
    def label(self) -> str:
        return f"subject:{self.number}{'-' if self.to_end else ''}"

    def find(self, message: _Message) -> object | None:
        tokens = message.stored.subject.split(".")
        start = self.number - 1 if self.number > 0 else len(tokens) + self.number
        if not 0 <= start < len(tokens):
            return None
        return ".".join(tokens[start:]) if self.to_end else tokens[start]


@dataclass(frozen=True, slots=True)
class _Constant:
    value: str

    @property
    def label(self) -> str:
        return repr(self.value)

    def find(self, message: _Message) -> object | None:
        return self.value


@dataclass(frozen=True, slots=True)
class _Function:
    function: Callable[[StoredMessage], object]

    @property
    def label(self) -> str:
        return f"{getattr(self.function, '__name__', 'a function')}()"

    def find(self, message: _Message) -> object | None:
        return self.function(message.stored)


@dataclass(slots=True)
class _Seen:
    """What was found in the messages that were read."""

    messages: int = 0
    taken: dict[str, dict[str, None]] = field(default_factory=dict)
    """Labels of the sources that had something, by the name of the field."""
    headers: dict[str, None] = field(default_factory=dict)
    """Some of the names of headers."""


@dataclass(frozen=True, slots=True)
class ForeignNames(DlqNames):
    """The names of a queue that others write, and where the parts of its entries are."""

    sources: Mapping[str, _Source] = field(default_factory=dict)
    """Those that were given."""
    seen: _Seen = field(default_factory=_Seen, compare=False)

    @classmethod
    def of_stream(
        cls, stream: str, subject: str, fields: Mapping[str, FieldSource]
    ) -> ForeignNames:
        """A queue that is the messages of `subject` in `stream`.

        Raises:
            ValueError: an argument cannot be read; names it.
        """
        if not isinstance(stream, str) or (problem := name_problem(stream)):
            raise ValueError(f"stream={stream!r}: {problem if isinstance(stream, str) else 'text'}")
        tokens = subject.split(".") if isinstance(subject, str) else [""]
        if any(not token or re.search(r"\s", token) for token in tokens) or ">" in tokens[:-1]:
            raise ValueError(f"subject={subject!r} is no subject, such as 'dlq.>'")
        if not isinstance(fields, Mapping):
            raise TypeError(f"fields={fields!r}: a dict, such as {{'error_message': 'json:error'}}")
        if unknown := sorted(map(str, fields.keys() - set(FIELDS))):
            raise ValueError(f"there is no field {', '.join(unknown)}; there are {_listed(FIELDS)}")
        sources = {name: _source(name, given) for name, given in fields.items()}
        return cls(stream, subject, sources=sources)

    @property
    def is_foreign(self) -> bool:
        return True

    def all_entries(self) -> str:
        return self.root

    @property
    def taken(self) -> str:
        """Where each part was taken from, as far as messages were read."""
        found = {name: [source.label] for name, source in self.sources.items()}
        found |= {name: [*labels] for name, labels in self.seen.taken.items()}
        parts = [f"{name} from {' or '.join(found[name])}" for name in FIELDS if name in found]
        return ", ".join(parts) or _NOTHING_YET

    @property
    def notice(self) -> str:
        """Which of the given sources no message has, or may be meant otherwise; "" if none."""
        if not self.seen.messages:
            return ""
        known = {name.casefold() for name in self.seen.headers}
        for name, source in self.sources.items():
            if isinstance(source, _Constant) and source.value.casefold() in known:
                return (
                    f"{name} is the text {source.label} for all; what is in the header of that "
                    f"name is 'header:{source.value}'"
                )
        missing = [
            f"{name} ({source.label})"
            for name, source in self.sources.items()
            if source.label not in self.seen.taken.get(name, ())
        ]
        if not missing:
            return ""
        text = f"no message of {self.stream} that was read has {_listed(missing)}"
        if any(isinstance(source, _Header) for source in self.sources.values()):
            headers = [*self.seen.headers][:_MAX_NAMED]
            text += f"; their headers are {_listed(headers) or 'none'}"
        return text

    def decode(self, message: StoredMessage) -> StoredEntry:
        """The message as an entry. Never fails: what a function fails with is in the entry."""
        seen = self.seen
        seen.messages += 1
        if len(seen.headers) < _MAX_NAMED:
            seen.headers |= dict.fromkeys(message.headers or ())
        read = _Message(message)
        try:
            entry = self._entry(read)
        except Exception as error:  # a user's function may raise anything
            for name in FIELDS:  # what was not looked for, too
                read.about_failure.update(_headers_of(name, self._sources_of(name)))
            entry_id = made_up_id(message.seq, self.stream)
            stored = unreadable(message, self.stream, entry_id, "", error)
            return structs.replace(stored, headers=read.own_headers)
        return StoredEntry(entry, None, message, read.own_headers, None)

    def _entry(self, message: _Message) -> DeadLetterEntry:
        stored = message.stored
        stored_at = moment(stored.time_ns)
        last = self._find("last_failed_at", message, _time) or stored_at
        first = self._find("first_failed_at", message, _time) or last
        payload = self._find("payload", message, _bytes)
        entry = new_entry(
            entry_id=made_up_id(stored.seq, self.stream),
            event=None,
            channel=self._find("channel", message, _text) or _without_marks(stored.subject),
            handler_name=self._find("handler", message, _text) or "",
            error_type=self._find("error_type", message, _text) or "",
            error_message=self._find("error_message", message, _error_text) or "",
            attempts=self._find("attempts", message, _count) or 0,
            first_failed_at=min(first, last),
            last_failed_at=last,
            source=DeadLetterSource.CONSUMER,
            source_ref=None,
            tenant_id=self._find("tenant_id", message, _text),
            payload=stored.data if payload is None else payload,
        )
        if payload is None and (source := self.sources.get("payload")) is not None:
            # the whole message has other fields, which a mask need not know
            raise ValueError(f"it has no {source.label}, where its payload should be")
        return entry if payload is not None else _given_up(entry, stored)

    def _sources_of(self, name: str) -> Sequence[_Source]:
        given = self.sources.get(name)
        return _USUAL[name] if given is None else (given,)

    def _find[Value](
        self, name: str, message: _Message, read: Callable[[object], Value | None]
    ) -> Value | None:
        """The field in a message; None if it is not there or is no such value."""
        for source in self._sources_of(name):
            found = source.find(message)
            value = None if found is None else read(found)
            if value is not None:
                self.seen.taken.setdefault(name, {})[source.label] = None
                message.about_failure.update(_headers_of(name, [source]))
                return value
        return None


def _given_up(entry: DeadLetterEntry, message: StoredMessage) -> DeadLetterEntry:
    """The entry; of an advisory of the server, which only names the message that was given up, one
    without a payload, so that no run sends the advisory in place of the message."""
    told = _GIVEN_UP.fullmatch(message.subject)
    try:
        advisory = parse_advisory(message.data) if told else None
    except ValueError:  # anybody may publish there
        advisory = None
    if told is None or advisory is None:
        return entry
    count = advisory.deliveries
    reason = advisory.reason or f"given up in delivery {count:,} of {count:,}"
    return replace(
        entry,
        channel="" if entry.channel == message.subject else entry.channel,
        handler_name=entry.handler_name or advisory.consumer,
        error_type=entry.error_type or str(advisory.kind),
        error_message=entry.error_message or reason,
        attempts=entry.attempts or advisory.deliveries,
        source_ref=f"{told[1]}:{advisory.seq}",
        payload=None,
    )


def _headers_of(name: str, sources: Iterable[_Source]) -> Iterator[str]:
    """The headers among the sources of a field that are about the failure, in lower case."""
    if name != "tenant_id":
        yield from (each.key for each in sources if isinstance(each, _Header))


def _source(name: str, given: FieldSource) -> _Source:
    if callable(given):
        return _Function(given)
    where = f"fields[{name!r}]={given!r}"
    if not isinstance(given, str):
        raise ValueError(f"{where}: write 'header:NAME', 'json:PATH', 'subject:N' or a function")
    kind = _PREFIX.match(given)
    rest = given[kind.end() :].strip() if kind else ""
    match kind and kind[1].lower():
        case None if name != "payload":  # one for all would take the place of what failed
            return _Constant(given)
        case "header" if rest:
            return _Header.named(rest)
        case "json" | "base64" as form if rest:
            try:
                parsed = Parser(rest).parse_field()
            except ConditionError as error:
                raise ValueError(f"{where}: {error.reason}") from None
            if None in parsed.steps:
                raise ValueError(f"{where}: name a single element, such as items[0]")
            return _Json(rest, (parsed.name, *parsed.steps), form == "base64")
        case "subject" if token := _TOKEN.fullmatch(rest):
            return _Token(int(token[1]), bool(token[2]))
    raise ValueError(
        f"{where}: write 'header:x-error', 'json:error.message', 'base64:event' for a text in JSON "
        "that is base64, 'subject:2' for the second token, 'subject:2-' for all from that on; what "
        "is the same for all and has a colon, or is a payload, is given by a function"
    )


def _text(value: object) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return _json_text(value) if isinstance(value, dict | list) else str(value)


def _error_text(value: object) -> str | None:
    """The text of an error; a header can have the lines of a traceback only with escaped ends."""
    text = _text(value)
    if text is None or "\n" in text or not _ESCAPED_TRACEBACK.search(text):
        return text
    return text.replace("\\r\\n", "\n").replace("\\n", "\n").replace("\\t", "\t")


def _bytes(value: object) -> bytes | None:
    if isinstance(value, bytes):
        return value
    text = value if isinstance(value, str) else _json_text(value)
    return text.encode(errors="surrogatepass")


def _unpacked(value: object) -> bytes | None:
    """What a text is the base64 of, also with the alphabet for URLs; None if it is none."""
    if not isinstance(value, str):
        return None
    text = "".join(value.splitlines()).translate({ord("-"): "+", ord("_"): "/"}).rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        return None


def _json_text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _count(value: object) -> int | None:
    try:
        return max(int(float(value)), 0)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None


def _time(value: object) -> datetime | None:
    if isinstance(value, datetime):
        return as_utc(value)
    text = str(value).strip()
    try:
        if not _NUMBER.fullmatch(text):
            return as_utc(datetime.fromisoformat(text))
        number = float(text)
        while number >= _SECONDS:
            number /= 1000
        return datetime.fromtimestamp(number, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _without_marks(subject: str) -> str:
    """What is left of a subject such as `dlq.orders` or `orders.dlq`."""
    tokens = subject.split(".")
    if len(tokens) > 1 and tokens[0].lower() in _MARKS:
        del tokens[0]
    if len(tokens) > 1 and tokens[-1].lower() in _MARKS:
        del tokens[-1]
    return ".".join(tokens)


def is_of_dead_letters(stream: str) -> bool:
    """Whether a stream's name says so, and not that it is the queue of a bus, `{stream}-dlq`."""
    return not stream.endswith("-dlq") and not _MARKS.isdisjoint(_WORD.findall(stream.lower()))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)


_USUAL: dict[str, tuple[_Header, ...]] = {
    name: tuple(map(_Header.named, headers)) for name, headers in _USUAL_HEADERS.items()
}
