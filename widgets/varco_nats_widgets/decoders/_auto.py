"""The decoder that finds out for each message what its payload is."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from email.message import Message

from varco_nats.errors import CannotDecodeError, CannotEncodeError, DecoderError, MissingExtraError
from varco_nats_widgets.decoders._cbor import Cbor
from varco_nats_widgets.decoders._cloudevents import BinaryCloudEvents, attributes_of
from varco_nats_widgets.decoders._compression import (
    GZIP,
    LIMIT,
    ZSTD,
    Compressed,
    Compression,
    TooLargeError,
)
from varco_nats_widgets.decoders._decoder import Format, Headers, header
from varco_nats_widgets.decoders._json import Json, Text
from varco_nats_widgets.decoders._msgpack import MessagePack

_COMPRESSIONS = {"gzip": GZIP, "x-gzip": GZIP, "zstd": ZSTD}
_TYPES: dict[str, Callable[[], Format]] = {
    "json": Json,
    "cloudevents+json": Json,
    "msgpack": MessagePack,
    "x-msgpack": MessagePack,
    "vnd.msgpack": MessagePack,
    "cbor": Cbor,
}
_SCHEMAS = {
    "Protobuf('path.proto', 'Message')": {"protobuf", "x-protobuf", "vnd.google.protobuf"},
    "Avro('path.avsc')": {"avro", "x-avro", "vnd.apache.avro", "avro/binary"},
}
_JSON_STARTS = frozenset(b'{["-0123456789tfn \t\r\n')
_MSGPACK_STARTS = frozenset([*range(0x80, 0xA0), *range(0xDC, 0xE0)])  # maps and arrays
_CBOR_STARTS = frozenset([*range(0x80, 0xC0)])
_CBOR_MAGIC = b"\xd9\xd9\xf7"
_AVRO_MAGIC = b"\xc3\x01"
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f]")  # not in text; escape may be
_MAX_LAYERS = 4
_MAX_KEPT = 1000


class Auto(Format):
    """Chooses a decoder for each message: by its headers, then by the first bytes.

    1. `content-encoding`, and the first bytes of gzip and zstd, say what is to be opened.
    2. `content-type` says what is inside. Where that cannot be read, the bytes decide.
    3. The bytes: JSON by its first character; MessagePack and CBOR if all of them are one map or
       array; else text if they are UTF-8 without control characters. Anything else is an error.
    4. With the headers of a CloudEvent in binary mode the value is its envelope.

    Args:
        limit: bytes that a compressed message may have once it is opened.
    """

    name = "auto"

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._json, self._text, self._msgpack = Json(), Text(), MessagePack()
        self._cbor = _or_none(Cbor)
        self._said: dict[str, Format | None] = {}

    def choose(self, data: bytes, headers: Headers) -> Format:
        """The decoder for this message.

        Raises:
            CannotDecodeError: none can decode it; the error says what was tried.
        """
        return self._found(data, headers)[1]

    def decode(self, data: bytes, headers: Headers) -> object:
        """The value in `data`, by the decoder that `choose` gives."""
        return self._found(data, headers)[0]

    def read(self, data: bytes, headers: Headers) -> tuple[object, str]:
        """The value in `data`, and the name of the decoder that `choose` gives."""
        value, decoder = self._found(data, headers)
        return value, decoder.name

    def encode(self, value: object, headers: Headers) -> bytes:
        """`value` by the decoder that `content-type` says."""
        said = self._of_type(header(headers, "content-type")) if headers else None
        if said is None:
            raise CannotEncodeError(
                self.name, "without a content-type only the bytes of a message say what it is"
            )
        return said.encode(value, headers)

    def edit(self, data: bytes, value: object, headers: Headers) -> bytes:
        """`data` with its value edited, by the decoder that `choose` gives."""
        return self.choose(data, headers).edit(data, value, headers)

    def _found(self, data: bytes, headers: Headers) -> tuple[object, Format]:
        if not headers and data[:1] == b"{":  # the usual case
            return self._json.decode(data, headers), self._json
        layers, lies = [], ""
        said = header(headers, "content-encoding").lower() if headers else ""
        for name in reversed(said.replace(" ", "").split(",") if said else ()):
            if name in _COMPRESSIONS:
                try:
                    data = _COMPRESSIONS[name].open(data, self._limit)
                except TooLargeError:
                    raise
                except CannotDecodeError as error:  # perhaps it was opened on the way
                    lies = f"content-encoding says {name}: {error}; "
                    continue
                layers.append(_COMPRESSIONS[name])
        while (compression := _compressed(data)) is not None:
            if len(layers) >= _MAX_LAYERS:
                raise CannotDecodeError(f"compressed more than {_MAX_LAYERS} times")
            data = compression.open(data, self._limit)
            layers.append(compression)
        try:
            value, decoder = self._inside(data, headers)
        except CannotDecodeError as error:
            if lies:
                raise CannotDecodeError(f"{lies}{error}") from error
            raise
        for compression in reversed(layers):
            decoder = Compressed(compression, decoder, self._limit)
        return value, decoder

    def _inside(self, data: bytes, headers: Headers) -> tuple[object, Format]:
        attributes = attributes_of(headers) if headers else None
        if attributes is None:
            return self._typed(data, headers)
        if not data:
            return attributes, BinaryCloudEvents(self)
        value, decoder = self._typed(data, headers)
        return {**attributes, "data": value}, BinaryCloudEvents(decoder)

    def _typed(self, data: bytes, headers: Headers) -> tuple[object, Format]:
        content_type = header(headers, "content-type") if headers else ""
        try:
            said = self._of_type(content_type) if content_type else None
        except DecoderError as error:  # its extra or its schema is missing
            return self._by_bytes(data, f"content-type says {content_type}: {error}", {"json"})
        if said is None:
            return self._by_bytes(data)
        try:
            return said.decode(data, headers), said
        except CannotDecodeError as error:
            return self._by_bytes(data, f"content-type says {content_type}: {error}")

    def _of_type(self, content_type: str) -> Format | None:
        if content_type not in self._said:
            if len(self._said) >= _MAX_KEPT:
                self._said.clear()
            self._said[content_type] = _decoder_for(content_type)
        return self._said[content_type]

    def _by_bytes(
        self,
        data: bytes,
        lie: str | None = None,
        among: Collection[str] = ("json", "msgpack", "cbor"),
    ) -> tuple[object, Format]:
        """The value in `data`; where the content type lies, only an object or a list."""
        try:
            value, decoder = self._recognised(data)
        except CannotDecodeError as error:
            if lie is None:
                raise
            raise CannotDecodeError(f"{lie}; by its bytes: {error}") from error
        if lie is not None and not (decoder.name in among and type(value) in (dict, list)):
            raise CannotDecodeError(f"{lie}; by its bytes it may be {decoder.name}")
        return value, decoder

    def _recognised(self, data: bytes) -> tuple[object, Format]:
        if not data:
            raise CannotDecodeError("empty payload")
        first = data[0]
        if first in _JSON_STARTS:
            try:
                return self._json.decode(data, {}), self._json
            except CannotDecodeError:
                if data.lstrip()[:1] == b"{":
                    raise
        for starts, decoder in ((_MSGPACK_STARTS, self._msgpack), (_CBOR_STARTS, self._cbor)):
            if first in starts and decoder is not None:
                try:
                    value = decoder.decode(data, {})
                except CannotDecodeError:
                    continue
                if type(value) in (dict, list):
                    return value, decoder
        if data.startswith(_CBOR_MAGIC):
            cbor = self._cbor or Cbor()  # or the error that says what to install
            return cbor.decode(data, {}), cbor
        if data.startswith(_AVRO_MAGIC) and len(data) >= 10:
            raise CannotDecodeError(
                f"Avro whose schema has the fingerprint {data[2:10][::-1].hex()}: name the schema, "
                "with decoders={channel: Avro('path.avsc')}"
            )
        control = _CONTROL.search(data)
        if control is not None:
            raise CannotDecodeError(f"binary: byte 0x{control[0].hex()} at {control.start()}")
        return self._text.decode(data, {}), self._text


def _or_none(kind: type[Format]) -> Format | None:
    try:
        return kind()
    except MissingExtraError:
        return None


def _compressed(data: bytes) -> Compression | None:
    for compression in (GZIP, ZSTD):
        if data.startswith(compression.magic):
            return compression
    return None


def _decoder_for(content_type: str) -> Format | None:
    """The decoder that a content type names; None where it names none that is known.

    Raises:
        CannotDecodeError: it needs a schema.
        MissingExtraError: it needs a package.
    """
    message = Message()
    message["content-type"] = content_type
    kind = message.get_content_type() if "/" in content_type else content_type.strip().lower()
    family, _, name = kind.rpartition("/")
    for schema, names in _SCHEMAS.items():
        if names & {kind, name, name.rpartition("+")[2]}:
            raise CannotDecodeError(f"it needs its schema, with decoders={{channel: {schema}}}")
    made = _TYPES.get(name) or _TYPES.get(name.rpartition("+")[2])
    if made is not None:
        return made()
    if family == "text" or name == "xml" or name.endswith("+xml"):
        try:
            return Text(str(message.get_param("charset") or "utf-8"))
        except DecoderError:
            return Text()
    return None
