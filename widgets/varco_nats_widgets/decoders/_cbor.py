"""CBOR."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC
from io import BytesIO
from typing import Any

from varco_nats.errors import CannotDecodeError, MissingExtraError
from varco_nats_widgets.decoders._decoder import Format, Headers
from varco_nats_widgets.decoders._values import KINDS, MAX_INTEGER, plain, restored

_MAX_DEPTH = 400


@dataclass(frozen=True)
class Tagged:
    """A value with a tag that has no meaning here."""

    tag: int
    value: Any


class Cbor(Format):
    """CBOR (RFC 8949).

    Times become ISO 8601 text, byte strings base64 text, decimals and UUIDs text, `undefined`
    None, and a value with a tag of no known meaning `{"tag": 4711, "value": ...}`.

    Raises:
        MissingExtraError: the extra `cbor` is not installed.
    """

    name = "cbor"

    def __init__(self) -> None:
        try:
            import cbor2
        except ImportError as error:
            raise MissingExtraError("cbor", "cbor2") from error
        self._cbor2 = cbor2

        # what refers to other parts of the payload can make a few bytes endless; a regular
        # expression and a MIME message are shown as the text that they are
        self._meanings: dict[int, Any] = {
            **dict.fromkeys((25, 28, 29, 256), _refused),
            **dict.fromkeys((35, 36), lambda value, immutable: value),
            2: lambda value, immutable: _integer(value),
            3: lambda value, immutable: -1 - _integer(value),
        }
        KINDS[type(cbor2.undefined)] = lambda value: None
        KINDS[cbor2.CBORSimpleValue] = lambda value: {"simple": value.value}

    def decode(self, data: bytes, headers: Headers) -> Any:
        """The value in `data`.

        Raises:
            CannotDecodeError: `data` is not one CBOR value and nothing else.
        """
        try:
            return plain(self._loaded(data))
        except self._cbor2.CBORDecodeError as error:
            raise CannotDecodeError(f"not CBOR: {_cause(error)}") from error

    def edit(self, data: bytes, value: object, headers: Headers) -> bytes:
        """`data` with its value edited; what was not edited keeps its kind."""
        return self._checked(
            lambda: self._dumped(restored(self._loaded(data), value)), value, headers
        )

    def _encode(self, value: object, headers: Headers) -> bytes:
        return self._dumped(value)

    def _loaded(self, data: bytes) -> Any:
        stream = BytesIO(data)
        decoder = self._cbor2.CBORDecoder(
            stream,
            tag_hook=_tagged,
            semantic_decoders=self._meanings,
            max_depth=_MAX_DEPTH,
        )
        value = decoder.decode()
        if left := len(data) - stream.tell():
            raise CannotDecodeError(f"not CBOR: {left} bytes are left over")
        return value

    def _dumped(self, value: Any) -> bytes:
        return self._cbor2.dumps(value, default=self._put, timezone=UTC)

    def _put(self, encoder: Any, value: Any) -> None:
        if not isinstance(value, Tagged):
            raise TypeError(f"a {type(value).__name__}")
        encoder.encode(self._cbor2.CBORTag(value.tag, value.value))


def _tagged(tag: Any, immutable: bool) -> Tagged:
    return Tagged(tag.tag, tag.value)


def _refused(value: Any, immutable: bool) -> Any:
    raise CannotDecodeError("it refers to other parts of itself, which is not supported")


def _integer(data: bytes) -> int:
    if len(data) > MAX_INTEGER:
        raise CannotDecodeError("an integer with thousands of digits")
    return int.from_bytes(data)


def _cause(error: Exception) -> str:
    """What `error` says, with its cause where it only says where it was."""
    cause = error.__cause__
    return f"{error}: {cause}" if cause is not None else str(error)
