"""JSON and text."""

from __future__ import annotations

import json
from typing import Any

from varco_nats.errors import CannotDecodeError, DecoderError
from varco_nats_widgets.decoders._decoder import TOO_DEEP, Format, Headers
from varco_nats_widgets.decoders._values import clean

MAX_DEPTH = 16
"""Objects that are nested deeper stay one value; their names become no columns."""


class Json(Format):
    """JSON in UTF-8, with NaN and the infinities, as Python's `json` reads and writes it.

    Structured CloudEvents are JSON too: a frame takes their envelope apart.
    """

    name = "json"

    def decode(self, data: bytes, headers: Headers) -> Any:
        """The JSON value in `data`.

        What UTF-8 cannot hold is escaped in texts, and in the names of fields that do not become
        columns; `flatten` escapes the others.

        Raises:
            CannotDecodeError: it is no JSON; the error says where.
        """
        try:
            value = json.loads(data.decode())
            if b"\\ud" in data or b"\\uD" in data:  # this may be half a surrogate pair
                value = _escaped(value, 1)
        except UnicodeDecodeError as error:
            raise _not_utf8(data, error) from error
        except json.JSONDecodeError as error:
            raise CannotDecodeError(
                f"not JSON: {error.msg.removesuffix(' at')} at {error.pos}"
                if data
                else "empty payload"
            ) from error
        except RecursionError as error:
            raise CannotDecodeError(TOO_DEEP) from error
        except ValueError as error:  # an integer with thousands of digits
            raise CannotDecodeError(f"not readable: {error}") from error
        return value

    def _encode(self, value: object, headers: Headers) -> bytes:
        return json.dumps(value, ensure_ascii=False).encode()


def _escaped(value: Any, depth: int) -> Any:
    if type(value) is str:
        return clean(value)
    if type(value) is list:
        return [_escaped(inner, MAX_DEPTH + 1) for inner in value]
    if type(value) is dict:
        is_column = depth <= MAX_DEPTH  # then `flatten` escapes the name and keeps it unique
        return {
            name if is_column else clean(name): _escaped(inner, depth + 1)
            for name, inner in value.items()
        }
    return value


class Text(Format):
    """Text, which becomes the column `value`.

    Args:
        encoding: how its characters are bytes, by a name that Python knows, for example
            `latin-1`.

    Raises:
        DecoderError: there is no such encoding.
    """

    def __init__(self, encoding: str = "utf-8") -> None:
        try:
            "".encode(encoding)
        except LookupError as error:
            raise DecoderError(
                f"Text({encoding!r}): Python has no encoding of this name; "
                "docs.python.org/3/library/codecs.html#standard-encodings lists them"
            ) from error
        self._encoding = encoding
        self.name = "text" if encoding.lower() in ("utf-8", "utf8") else f"text({encoding})"

    def decode(self, data: bytes, headers: Headers) -> str:
        """The text in `data`."""
        try:
            return clean(data.decode(self._encoding))
        except UnicodeDecodeError as error:
            raise _not_utf8(data, error, self._encoding) from error

    def _encode(self, value: object, headers: Headers) -> bytes:
        if type(value) is not str:
            raise TypeError(f"it is a {type(value).__name__}, not text")
        return value.encode(self._encoding)


def _not_utf8(data: bytes, error: UnicodeDecodeError, encoding: str = "UTF-8") -> CannotDecodeError:
    encoding = "UTF-8" if encoding == "utf-8" else encoding
    return CannotDecodeError(f"not {encoding}: byte 0x{data[error.start]:02x} at {error.start}")
