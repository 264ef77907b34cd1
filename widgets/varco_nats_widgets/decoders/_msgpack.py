"""MessagePack."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from varco_nats.errors import CannotDecodeError
from varco_nats_widgets.decoders._decoder import TOO_DEEP, Format, Headers
from varco_nats_widgets.decoders._values import KINDS, plain, restored

_TIMES = re.compile(rb"\xd7\xff.{8}|\xc7\x0c\xff.{12}", re.DOTALL)
"""Timestamps with nanoseconds, of which Python's times keep microseconds."""


class Extension:
    """A value of an extension type. No dataclass, which msgspec would write as an object."""

    __slots__ = ("code", "data")

    def __init__(self, code: int, data: memoryview) -> None:
        self.code = code
        self.data = bytes(data)


KINDS[Extension] = lambda value: {"ext": value.code, "data": plain(value.data)}


class MessagePack(Format):
    """MessagePack.

    Its timestamps become ISO 8601 text, rounded to microseconds, bytes become base64 text, and a
    value of an extension type becomes `{"ext": 5, "data": "..."}` with base64 text.
    """

    name = "msgpack"

    def __init__(self) -> None:
        self._decoder = msgspec.msgpack.Decoder(ext_hook=Extension)
        self._encoder = msgspec.msgpack.Encoder(enc_hook=_packed)

    def decode(self, data: bytes, headers: Headers) -> Any:
        """The value in `data`.

        Raises:
            CannotDecodeError: `data` is not one MessagePack value and nothing else.
        """
        try:
            return plain(self._decoder.decode(data))
        except RecursionError as error:
            raise CannotDecodeError(TOO_DEEP) from error
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise CannotDecodeError(f"not MessagePack: {error}") from error

    def edit(self, data: bytes, value: object, headers: Headers) -> bytes:
        """`data` with its value edited; what was not edited keeps its kind."""
        return self._checked(lambda: self._edited(data, value), value, headers)

    def _edited(self, data: bytes, value: object) -> bytes:
        true = self._decoder.decode(data)
        again = self._encoder.encode(true)
        if any(moment not in again for moment in _TIMES.findall(data)):
            raise ValueError("it has a time with nanoseconds, which would be lost")
        return self._encoder.encode(restored(true, value))

    def _encode(self, value: object, headers: Headers) -> bytes:
        return self._encoder.encode(value)


def _packed(value: Any) -> Any:
    if isinstance(value, Extension):
        return msgspec.msgpack.Ext(value.code, value.data)
    raise NotImplementedError
