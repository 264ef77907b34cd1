"""The messages of a publication, made when their turn comes. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from varco_nats._nats.client import header_block
from varco_nats._nats.provenance import MESSAGE_ID
from varco_nats_widgets.decoders._decoder import Format
from varco_nats_widgets.publish._template import Filling, placeholders

EVENT_ID, TIMESTAMP = "event_id", "timestamp"


class NewMessage(NamedTuple):
    """One message that is to be sent."""

    subject: str
    data: bytes
    headers: dict[str, str]

    @property
    def size(self) -> int:
        """Bytes that count towards the server's `max_payload`."""
        return len(self.data) + (len(header_block(self.headers)) if self.headers else 0)


class Draft(Protocol):
    """The messages of a publication, by number from 1."""

    def __len__(self) -> int: ...

    def message(self, number: int) -> NewMessage:
        """One of them; what stands for the time is that of this call."""

    @property
    def placeholders(self) -> set[str]:
        """What differs from message to message."""

    @property
    def subjects(self) -> Mapping[str, int]:
        """How many go to each subject."""

    @property
    def bytes(self) -> int:
        """About how many bytes all of them have, headers included."""

    @property
    def largest(self) -> int:
        """About how many bytes the largest has."""


@dataclass(frozen=True)
class Repeated:
    """The same message `count` times, with what differs filled in.

    Args:
        value: what `format` makes the payload of, unless there is `data`.
        data: the payload as it is sent.
        text: the payload as text, in which placeholders are filled in.
        fresh: the own fields of an event that each message but the first gets anew, and those that
            the first gets too.
        deduplicate: whether the id of the event becomes the id of the message, as the bus does
            under `exactly_once`.
    """

    subject: str
    count: int
    headers: Mapping[str, str]
    format: Format
    value: Any = None
    data: bytes | None = None
    text: str | None = None
    template: bool = True
    fresh: tuple[frozenset[str], frozenset[str]] = (frozenset(), frozenset())
    deduplicate: bool = False
    first: Filling = field(default_factory=lambda: Filling(1))
    """What the placeholders stand for in the first message: it keeps the id that was shown."""

    def __len__(self) -> int:
        return self.count

    def message(self, number: int) -> NewMessage:
        """See `Draft`; raises `CannotEncodeError` where the decoder cannot write it."""
        filling = Filling(1, self.first.uuid) if number == 1 else Filling(number)
        headers, value = dict(self.headers), self.value
        if self.template:
            headers = {name: filling.text(text) for name, text in headers.items()}
            value = filling.value(value)
        if self.data is not None:
            return NewMessage(self.subject, self.data, headers)
        if self.text is not None:
            text = filling.text(self.text) if self.template else self.text
            return NewMessage(self.subject, text.encode(), headers)
        anew = self.fresh[0 if number > 1 else 1]
        if anew:
            own = {EVENT_ID: filling.uuid, TIMESTAMP: filling.now}
            value = {**value, **{name: own[name] for name in anew}}
        if self.deduplicate and isinstance(value, dict) and EVENT_ID in value:
            headers = {MESSAGE_ID: str(value[EVENT_ID]), **headers}
        return NewMessage(self.subject, self.format.encode(value, headers), headers)

    @property
    def placeholders(self) -> set[str]:
        if not self.template:
            return set()
        found = placeholders(dict(self.headers))
        return found | placeholders(self.value if self.text is None else self.text)

    @property
    def subjects(self) -> Mapping[str, int]:
        return {self.subject: self.count}

    @property
    def bytes(self) -> int:
        return self.largest * self.count

    @property
    def largest(self) -> int:
        return self.message(self.count).size


@dataclass(frozen=True)
class Listed:
    """Messages as they were read from a file."""

    messages: Sequence[NewMessage]

    def __len__(self) -> int:
        return len(self.messages)

    def message(self, number: int) -> NewMessage:
        return self.messages[number - 1]

    @property
    def placeholders(self) -> set[str]:
        return set()

    @property
    def subjects(self) -> Mapping[str, int]:
        counts: dict[str, int] = {}
        for message in self.messages:
            counts[message.subject] = counts.get(message.subject, 0) + 1
        return counts

    @property
    def bytes(self) -> int:
        return sum(message.size for message in self.messages)

    @property
    def largest(self) -> int:
        return max((message.size for message in self.messages), default=0)
