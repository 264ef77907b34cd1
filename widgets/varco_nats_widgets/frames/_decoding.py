"""How the messages of a lab are read: which channel a subject is, and what its bytes say. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from varco_nats.history import StoredMessage
from varco_nats_widgets.frames._payload import (
    Fields,
    decode,
    decode_all,
    fields_of,
    take_apart,
)

type ChannelOf = Callable[[str], str]
"""The channel of a subject."""


class Decoded(NamedTuple):
    """What the bytes of a message say."""

    value: Any
    """Of any kind; None where there is a problem."""
    problem: str | None
    """Why the bytes could not be read; None if they could."""

    @property
    def event(self) -> dict[str, Any]:
        """The value as the fields of an event: a value that is no object is the field `value`."""
        return {} if self.problem is not None else fields_of(self.value)


class Decoding:
    """Turns messages into events, for frames, live frames, views, exports and dead letters alike.

    Args:
        channel_of: the channel of a subject.
    """

    def __init__(self, channel_of: ChannelOf) -> None:
        self.channel_of: ChannelOf = cache(channel_of)

    @classmethod
    def of(cls, given: ChannelOf | Decoding) -> Decoding:
        """What is `given`, or plain JSON for channels that it names."""
        return given if isinstance(given, Decoding) else cls(given)

    def named(self, channel_of: ChannelOf) -> Decoding:
        """The same for subjects that are called something else."""
        return Decoding(channel_of)

    @property
    def is_plain(self) -> bool:
        """Whether every payload is JSON that is shown as it is."""
        return True

    def decode(self, message: StoredMessage) -> Decoded:
        """What one message says."""
        return Decoded(*decode(message.data))

    def fields(self, message: StoredMessage) -> Fields:
        """The type, id and time of the event in a message, and its payload."""
        return take_apart(self.decode(message).event)

    def decode_all(
        self, messages: Sequence[StoredMessage]
    ) -> tuple[list[dict[str, Any]], dict[int, str]]:
        """The events of many messages, {} for those that cannot be read; the problems by index."""
        return decode_all([message.data for message in messages])

    def headers(self, headers: Mapping[str, str] | None) -> dict[str, str] | None:
        """The headers of a message as they are shown; None if it has none."""
        return dict(headers) if headers else None

    def raw(self, data: bytes) -> bytes:
        """The bytes of a message as they are shown."""
        return data
