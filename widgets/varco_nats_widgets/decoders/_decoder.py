"""What a decoder is, and what those that ship have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

from varco_core.serialization import Serializer

from varco_nats.errors import CannotEncodeError, MissingExtraError
from varco_nats_widgets.decoders._values import difference, same

Headers = Mapping[str, str]
"""The headers of a message by name; empty where it has none."""

TOO_DEEP = "not readable: nested too deep"


@runtime_checkable
class Decoder(Protocol):
    """Makes a value of a message's bytes, and bytes of a value.

    A value that is a dict is an event with its fields; any other becomes the column `value`.
    """

    @property
    def name(self) -> str:
        """What it is called where people see which decoder was used, for example `gzip+json`."""

    def decode(self, data: bytes, headers: Headers) -> object:
        """The value in `data`. Whatever it raises becomes the `decode_error` of the message."""

    def encode(self, value: object, headers: Headers) -> bytes:
        """`value` as the bytes of a message with these headers.

        Raises:
            CannotEncodeError: it cannot; the error says why.
        """


DecoderLike = str | Decoder | Serializer[Any] | Callable[..., object]
"""What `decoder_of` makes a decoder of: a name, a decoder, a varco serializer or a function."""


class Format:
    """A decoder whose values are made of what JSON has, and that reads again what it encodes."""

    name: str

    def decode(self, data: bytes, headers: Headers) -> object:
        """The value in `data`: of dicts with texts as keys, lists, texts, numbers, bools, None."""
        raise NotImplementedError

    def read(self, data: bytes, headers: Headers) -> tuple[object, str]:
        """The value in `data`, and the name of the decoder that was used for it in the end."""
        return self.decode(data, headers), self.name

    def encode(self, value: object, headers: Headers) -> bytes:
        """`value` as bytes which this decoder reads as the same value.

        Raises:
            CannotEncodeError: there are no such bytes.
        """
        return self._checked(lambda: self._encode(value, headers), value, headers)

    def edit(self, data: bytes, value: object, headers: Headers) -> bytes:
        """The bytes of a message whose value was edited to `value`.

        MessagePack, CBOR and others have kinds of values that JSON lacks, such as bytes and times,
        which are shown as text. What was not edited keeps its kind.

        Args:
            data: the bytes of the message as it was.
            value: the edited value.
            headers: the headers of the message.

        Raises:
            CannotEncodeError: there are no bytes that are read as this value.
        """
        return self.encode(value, headers)

    def _encode(self, value: object, headers: Headers) -> bytes:
        raise NotImplementedError

    def _checked(self, encode: Callable[[], bytes], value: object, headers: Headers) -> bytes:
        try:
            data = encode()
            found = self.decode(data, headers)
        except (CannotEncodeError, MissingExtraError):
            raise
        except Exception as error:  # each library has errors of its own
            raise CannotEncodeError(self.name, cause_of(error)) from error
        if not same(found, value):
            other = difference(found, value)
            raise CannotEncodeError(self.name, f"it would be read back as another value: {other}")
        return data

    def __repr__(self) -> str:
        return f"<decoder {self.name}>"


def cause_of(error: Exception) -> str:
    """What `error` says, or its class where it says nothing."""
    return str(error) or type(error).__name__


def header(headers: Headers, name: str) -> str:
    """The value of the header `name`, in whatever case it is written; empty where there is none."""
    found = headers.get(name)
    if found is not None:
        return found
    return next((headers[key] for key in headers if key.lower() == name), "")
