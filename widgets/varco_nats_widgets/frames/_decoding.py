"""How the messages of a lab are read: which channel a subject is, and what its bytes say. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from varco_nats._masks._mask import Mask
from varco_nats._masks._shown import WITHHELD as WITHHELD
from varco_nats.errors import DecoderError
from varco_nats.history import StoredMessage
from varco_nats_widgets.decoders import Auto, DecoderLike, DecoderTable, Json
from varco_nats_widgets.decoders._decoder import Format
from varco_nats_widgets.frames._payload import (
    VALUE,
    Fields,
    decode,
    decode_all,
    fields_of,
    take_apart,
)

_PLAIN = Json()
JSON = _PLAIN.name

type ChannelOf = Callable[[str], str]
"""The channel of a subject."""


class Decoded(NamedTuple):
    """What the bytes of a message say."""

    value: Any
    """Of any kind; None where there is a problem."""
    problem: str | None
    """Why the bytes could not be read; None if they could."""
    decoder: str
    """The name of the decoder that was used."""

    @property
    def event(self) -> dict[str, Any]:
        """The value as the fields of an event: a value that is no object is the field `value`."""
        return {} if self.problem is not None else fields_of(self.value)


class Decoding:
    """Turns messages into events, for frames, live frames, views, exports and dead letters alike.

    Whatever it gives is masked, but for what `true` reads.

    Args:
        channel_of: the channel of a subject.
        decoders: of channels whose payloads are not JSON; None has none.
        mask: hides values; None hides none.
    """

    def __init__(
        self,
        channel_of: ChannelOf,
        decoders: DecoderTable | None = None,
        mask: Mask | None = None,
    ) -> None:
        self.channel_of: ChannelOf = cache(channel_of)
        self.decoders = decoders or None
        self.mask = mask or None

    @classmethod
    def of(cls, given: ChannelOf | Decoding) -> Decoding:
        """What is `given`, or plain JSON for channels that it names."""
        return given if isinstance(given, Decoding) else cls(given)

    def named(self, channel_of: ChannelOf) -> Decoding:
        """The same for subjects that are called something else."""
        return Decoding(channel_of, self.decoders, self.mask)

    def of_channels(self) -> Decoding:
        """The same for messages whose subject is the name of their channel."""
        decoders = None if self.decoders is None else self.decoders.default_for(">")
        return Decoding(str, decoders, self.mask)

    def read_as(self, decoder: DecoderLike | None) -> Decoding:
        """The same with this decoder for every message; None changes nothing.

        Raises:
            DecoderError: it is none; says what it is.
        """
        if decoder is None:
            return self
        return Decoding(self.channel_of, DecoderTable(decoder), self.mask)

    @property
    def is_plain(self) -> bool:
        """Whether every payload is JSON that is shown as it is."""
        return self.mask is None and self.decoders is None

    @property
    def notice(self) -> str:
        """What to say of the mask where messages are shown; "" if nothing."""
        return "" if self.mask is None else self.mask.complaint()

    def decode(self, message: StoredMessage) -> Decoded:
        """What one message says."""
        decoded = self.true(message)
        if self.mask is None:
            return decoded
        self.mask.note_read(self.channel_of(message.subject))
        if decoded.problem is None:
            return decoded._replace(value=self.mask.payload(decoded.value))
        if decoded.decoder == JSON or not self.mask.hides_payloads:
            return decoded
        # only what JSON's decoder says is known to quote nothing
        why = "(why is withheld: a mask is set)"
        return decoded._replace(problem=f"{_cannot(decoded.decoder)} {why}")

    def true(self, message: StoredMessage) -> Decoded:
        """What one message says, without a mask: to compare and to replay, not to be shown."""
        decoder = self.decoder_of(message)
        if decoder.name == JSON:
            return Decoded(*decode(message.data), JSON)
        try:
            value, name = decoder.read(message.data, message.headers or {})
        except DecoderError as error:
            return Decoded(None, f"{_cannot(decoder.name)}: {error}", decoder.name)
        except Exception as error:  # a decoder of the user may raise anything
            problem = f"decoder {decoder.name} failed: {type(error).__name__}: {error}"
            return Decoded(None, problem, decoder.name)
        return Decoded(value, None, name)

    def decoder_of(self, message: StoredMessage) -> Format:
        """The decoder for a message."""
        if self.decoders is None:
            return _PLAIN
        return self.decoders.of(self.channel_of(message.subject), message.subject)

    def fields(self, message: StoredMessage) -> Fields:
        """The type, id and time of the event in a message, and its payload."""
        return take_apart(self.decode(message).event)

    def decode_all(
        self, messages: Sequence[StoredMessage], used: dict[str, set[str]] | None = None
    ) -> tuple[list[dict[str, Any]], dict[int, str]]:
        """The events of many messages, {} for those that cannot be read; the problems by index.

        Args:
            used: gets the names of the decoders by channel, where the lab was given any.
        """
        if self.decoders is not None:
            return self._decode_each(messages, {} if used is None else used)
        events, problems = decode_all([message.data for message in messages])
        if self.mask is None:
            return events, problems
        for channel in {self.channel_of(message.subject) for message in messages}:
            self.mask.note_read(channel)
        for row, event in enumerate(events):
            if event.keys() == {VALUE}:  # which may be the payload itself, or a field of it
                events[row] = self.decode(messages[row]).event
            elif row not in problems:
                events[row] = self.mask.fields(event)
        return events, problems

    def _decode_each(
        self, messages: Sequence[StoredMessage], used: dict[str, set[str]]
    ) -> tuple[list[dict[str, Any]], dict[int, str]]:
        found = [self.decode(message) for message in messages]
        for message, decoded in zip(messages, found, strict=True):
            used.setdefault(self.channel_of(message.subject), set()).add(decoded.decoder)
        problems = {row: decoded.problem for row, decoded in enumerate(found) if decoded.problem}
        return [decoded.event for decoded in found], problems

    def headers(self, headers: Mapping[str, str] | None) -> dict[str, str] | None:
        """The headers of a message as they are shown; None if it has none."""
        if not headers or self.mask is None:
            return dict(headers) if headers else None
        return self.mask.headers(headers)

    def json(self, message: StoredMessage) -> bytes:
        """The payload of a message as JSON; its bytes where that is what they are, or none can."""
        if self.decoder_of(message).name != JSON:
            decoded = self.decode(message)
            if decoded.problem is None:
                return as_json(decoded.value)
        return self.raw(message)

    def raw(self, message: StoredMessage) -> bytes:
        """The bytes of a message as they are shown: with a mask, what it says as JSON."""
        if self.mask is None:
            return message.data
        true = self.true(message)
        shown = None if true.problem is not None else self.mask.payload(true.value)
        if shown is true.value and not self.mask.hides_payloads:
            return message.data
        return WITHHELD if true.problem is not None else as_json(shown)


def as_json(value: Any) -> bytes:
    """A decoded value as JSON; what JSON does not have is text."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except (TypeError, RecursionError):  # a field whose name is no text, or nested too deep
        return WITHHELD
    return text.encode(errors="backslashreplace")


def _cannot(decoder: str) -> str:
    """The beginning of a problem: what a message is not, or that no way was found to read it."""
    return "cannot be decoded" if decoder == Auto.name else f"not {decoder}"
