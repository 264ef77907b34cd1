"""Making a publication: where its messages go, what they are, and what is wrong with them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

from nats.errors import Error as NatsError
from varco_core.event.base import Event

from varco_nats._masks._unmask import hidden, without
from varco_nats._nats.direct import StoredMessage
from varco_nats._nats.provenance import MESSAGE_ID
from varco_nats.config import NatsDeliverySemantics
from varco_nats.errors import (
    PayloadTooLargeError,
    PermissionDeniedError,
    StreamNotFoundError,
)
from varco_nats.subjects import subject_problem
from varco_nats_widgets._session.channels import consumers_of
from varco_nats_widgets._session.facts import Facts
from varco_nats_widgets._session.handle import Handle
from varco_nats_widgets._session.session import Session
from varco_nats_widgets._session.stream_browser import LabHistory
from varco_nats_widgets.decoders import DecoderLike
from varco_nats_widgets.decoders._decoder import Format
from varco_nats_widgets.decoders._values import plain
from varco_nats_widgets.frames._decoding import Decoded, Decoding, as_json
from varco_nats_widgets.frames._payload import TYPE_KEY
from varco_nats_widgets.frames._query import EventType
from varco_nats_widgets.publish._draft import Draft, NewMessage, Repeated
from varco_nats_widgets.publish._event import Payload, of_dict, of_event, remarks
from varco_nats_widgets.publish._event_class import class_of, class_problems
from varco_nats_widgets.publish._publication import Publication
from varco_nats_widgets.publish._sending import Route

_NAMED = 5  # subjects of a stream that a sentence names
_NEWEST = 20  # messages of a channel that are looked at
_MANY = 1_000_000
_HEADER = re.compile(r"[!-9;-~]+")  # printable, without a colon or a space
_ROLLUP = "nats-rollup"
_ORDERS = ("$JS.", "$SYS.", "_INBOX.")  # such as to delete a stream

_BYTES = (bytes, bytearray, memoryview)

type Content = Event | Mapping[str, Any] | list[Any] | str | bytes | float | bool | None
"""What can be published."""


@dataclass(frozen=True)
class Request:
    """The arguments of `Lab.publish`, checked."""

    channel: str | None
    subject: str | None
    content: Content
    event_type: str | None
    headers: dict[str, str]
    count: int
    rate: float | None
    template: bool
    check: bool
    stored: bool
    decoder: DecoderLike | None


def request_of(
    channel: str | None,
    event: Content,
    *,
    subject: str | None,
    event_type: EventType | None,
    headers: Mapping[str, object] | None,
    count: int,
    rate: float | None,
    template: bool,
    check: bool,
    stored: bool,
    decoder: DecoderLike | None,
) -> Request:
    """The request that the arguments of `Lab.publish` are.

    Raises:
        ValueError, TypeError: one of them cannot be used; says which.
    """
    if (channel is None) == (subject is None):
        raise ValueError(
            "give a channel, as in lab.publish('orders', {...}), or a subject, as in "
            "lab.publish(None, {...}, subject='dev.7.temp'): one of them"
        )
    for name, value in (("channel", channel), ("subject", subject)):
        if value is not None and not isinstance(value, str):
            raise TypeError(f"{name}={value!r}: must be a text; what is published comes after it")
    if subject is not None and (problem := _subject_problem(subject)):
        raise ValueError(f"subject={subject!r} {problem}")
    if isinstance(event_type, type):
        event_type = event_type.event_type_name()
    if event_type is not None and not isinstance(event, Mapping):
        raise ValueError("event_type= is for a dict; an event has its type, and bytes say it")
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= _MANY:
        raise ValueError(f"count={count!r}: must be a whole number from 1 to {_MANY:,}")
    if rate is not None and not (
        isinstance(rate, (int, float)) and math.isfinite(rate) and rate > 0
    ):
        raise ValueError(f"rate={rate!r}: must be messages per second, above 0")
    return Request(
        channel,
        subject,
        event,
        event_type,
        checked_headers(headers),
        count,
        rate,
        template,
        check,
        stored,
        decoder,
    )


def _subject_problem(subject: str) -> str | None:
    """Why no message can be published on this subject; None if one can."""
    if subject.startswith(_ORDERS):
        return "is for requests to the server, and not for messages"
    return subject_problem(subject)


def checked_headers(headers: Mapping[str, object] | None) -> dict[str, str]:
    """Headers as they are sent.

    Raises:
        ValueError: a name or a value that no header can have.
    """
    checked: dict[str, str] = {}
    for name, value in (headers or {}).items():
        if not isinstance(name, str) or not _HEADER.fullmatch(name):
            raise ValueError(
                f"headers: {name!r} cannot be the name of a header; it has printable ASCII "
                "characters, without spaces and colons"
            )
        text = str(value)
        if "\r" in text or "\n" in text:
            raise ValueError(f"headers: the value of {name!r} has a line break")
        checked[name] = text
    return checked


class Target(NamedTuple):
    """Where messages go, and how their payloads are written and read."""

    channel: str | None
    """None for a subject that is no channel's."""
    subject: str
    route: Route
    decoding: Decoding
    format: Format


class Planner:
    """Makes publications of one session, and sends nothing."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._session: Session = handle.session
        self._facts = Facts(self._session.connection)

    async def plan(self, request: Request) -> Publication:
        """See `Lab.publish`."""
        content, payload = request.content, Payload(None)
        name, is_subject = request.channel or str(request.subject), request.channel is None
        target = await self.target(name, is_subject=is_subject, decoder=request.decoder)
        problems = self.lost(target, stored=request.stored)
        notes: list[str] = []
        newest: list[dict[str, Any]] = []
        if isinstance(content, Event):
            payload = of_event(content)
        elif not isinstance(content, (str, *_BYTES)):
            value = plain(content)
            newest = await self.newest(target)
            payload = Payload(value)
            if target.channel is not None:
                misread = None if newest else await self._misread(target.channel)
                notes += [misread] if misread and not problems else []
                if isinstance(value, dict):
                    payload = of_dict(target.channel, value, request.event_type, newest, misread)
            notes += payload.notes
        draft = Repeated(
            target.subject,
            request.count,
            request.headers,
            target.format,
            value=payload.value,
            data=bytes(content) if isinstance(content, _BYTES) else None,
            text=content if isinstance(content, str) else None,
            template=request.template,
            fresh=payload.fresh,
            deduplicate=self.deduplicates(target),
        )
        first = draft.message(1)
        (problems if request.check else notes).extend(self.against(first, target.decoding))
        true = target.decoding.true(_stored(first))
        is_raw = isinstance(content, (str, *_BYTES))
        if target.channel is not None and is_raw and not _is_event(true):
            notes.append("it is no event of varco's, and a service of varco's cannot read it")
        notes += remarks(true.value, newest)
        notes += _on_headers(request)
        return self.publication(
            draft, first, [target], rate=request.rate, problems=problems, notes=notes
        )

    def deduplicates(self, target: Target) -> bool:
        """Whether the id of an event becomes the id of its message, as the bus has it."""
        semantics = self._session.settings.delivery_semantics
        return target.channel is not None and semantics is NatsDeliverySemantics.EXACTLY_ONCE

    def against(self, message: NewMessage, decoding: Decoding) -> list[str]:
        """What the class of an event has against it, without masked values."""
        true = decoding.true(_stored(message))
        known = class_of(true.value) if isinstance(true.value, dict) else None
        if known is None:
            return []
        masks = [*hidden(decoding.decode(_stored(message)).value, true.value)]
        found = class_problems(true.value, as_json(true.value))
        return [f"{known.__name__} refuses it: {without(text, masks)}" for text in found]

    def publication(
        self,
        draft: Draft,
        first: NewMessage,
        targets: Sequence[Target],
        *,
        rate: float | None,
        problems: Iterable[str],
        notes: Iterable[str],
    ) -> Publication:
        """The publication, with what is wrong with its size.

        Args:
            first: the first message, which is shown; it goes to the first target.
        """
        limit = self._session.connection.max_payload
        found = list(problems)
        if (size := draft.largest) > limit:
            found.append(PayloadTooLargeError("", size, limit).reason)
        decoding = targets[0].decoding
        return Publication(
            self._handle,
            draft,
            {target.subject: target.route for target in targets},
            shown=_text(decoding.raw(_stored(first))),
            headers=decoding.headers(first.headers) or {},
            rate=rate,
            limit=limit,
            problems=tuple(found),
            notes=tuple(dict.fromkeys(notes)),
        )

    async def target(
        self, name: str, *, is_subject: bool | None, decoder: DecoderLike | None = None
    ) -> Target:
        """Where the messages of a channel or a subject go.

        Args:
            is_subject: None for the channel of this name, or the subject if no stream stores that.
        """
        if is_subject is None:
            subject = self._session.settings.subject_name(name)
            is_subject = not await self._captured(subject) and bool(await self._captured(name))
        decoding = self._session.decoding
        subject = name if is_subject else self._session.settings.subject_name(name)
        decoding = (decoding.named(str) if is_subject else decoding).read_as(decoder)
        route = await self._route(subject, name, is_channel=not is_subject)
        format_ = decoding.decoder_of(StoredMessage(0, subject, 0, b"", None))
        return Target(None if is_subject else name, subject, route, decoding, format_)

    async def _route(self, subject: str, name: str, *, is_channel: bool) -> Route:
        """Where a message on this subject goes."""
        streams = await self._facts.stream_names(subject)
        settings = self._session.settings
        if not streams:
            if is_channel and settings.auto_create_stream:
                try:
                    await self._facts.stream(settings.stream_name)
                except StreamNotFoundError:
                    elsewhere = await self._captured(name)
                    if not elsewhere:
                        return Route(name, settings.stream_name, is_new=True)
            return Route(name, None)
        stream = streams[0]
        durables: tuple[str, ...] | None
        try:
            infos = consumers_of(await self._facts.consumers(stream), subject)
            durables = tuple(i["name"] for i in infos if i["config"].get("durable_name"))
        except PermissionDeniedError:
            durables = None
        return Route(name, stream, durables)

    async def _captured(self, name: str) -> list[str]:
        """The streams that store what has this name as its subject."""
        with suppress(NatsError):
            return await self._facts.stream_names(name)
        return []

    async def _misread(self, channel: str) -> str | None:
        """What the name of a channel without messages is instead, and how to publish there."""
        call = f"lab.publish(None, {{...}}, subject={channel!r})"
        try:
            if streams := await self._captured(channel):
                return f"{channel!r} is a subject of the stream {streams[0]!r}: {call}"
            if channel not in await self._facts.stream_names():
                return None
            subjects = (await self._facts.stream(channel))["config"].get("subjects") or []
        except NatsError:  # this login may not ask
            return None
        if not subjects:  # a mirror, to which nothing is published
            return None
        kept = ", ".join(map(repr, subjects[:_NAMED])) + ", ..." * (len(subjects) > _NAMED)
        return (
            f"{channel!r} is a stream; to publish to it, give a subject that it keeps ({kept}): "
            "lab.publish(None, {...}, subject=...)"
        )

    def lost(self, target: Target, *, stored: bool) -> list[str]:
        """That no stream stores the messages, where one has to."""
        if target.route.stream is not None or not stored:
            return []
        if target.channel is None:
            return [
                f"no stream stores subject {target.subject!r}, so that nothing would keep the "
                "message; to send it to whoever listens now, say stored=False"
            ]
        return [
            f"no stream stores channel {target.channel!r}; is it a subject? Then say "
            f"subject={target.channel!r} and channel None"
        ]

    async def newest(self, target: Target) -> list[dict[str, Any]]:
        """What the newest messages of a subject say, as far as they can be read."""
        route, session = target.route, self._session
        if route.stream is None or route.is_new:
            return []
        history = LabHistory(session.settings, session.connection, route.stream)
        await history.start()
        try:
            selection = await history.select([target.subject])
            read = history.batches(selection, newest_first=True, page=_NEWEST)
            async with aclosing(read) as batches:
                async for batch in batches:
                    true = [target.decoding.true(message) for message in batch[:_NEWEST]]
                    return [each.event for each in true if each.problem is None]
        finally:
            await history.stop()
        return []


def _stored(message: NewMessage) -> StoredMessage:
    return StoredMessage(0, message.subject, 0, message.data, message.headers)


def _is_event(decoded: Decoded) -> bool:
    """Whether it says which event of varco's it is."""
    return isinstance(decoded.value, dict) and isinstance(decoded.value.get(TYPE_KEY), str)


def _on_headers(request: Request) -> list[str]:
    """What one should know of the headers."""
    notes = []
    names = {name.lower(): value for name, value in request.headers.items()}
    fixed = names.get(MESSAGE_ID.lower())
    if fixed is not None and request.count > 1 and "{" not in fixed:
        notes.append(f"all messages have the same {MESSAGE_ID}: only the first will be stored")
    if _ROLLUP in names:
        notes.append("the header Nats-Rollup has the server delete messages that are stored before")
    return notes


def _text(data: bytes) -> str:
    """A payload as it is shown."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return f"{len(data):,} bytes that are no text, beginning with {data[:32].hex(' ')}"
