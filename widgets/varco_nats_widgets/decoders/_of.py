"""What users name or give, as decoders."""

from __future__ import annotations

from collections.abc import Callable

from varco_core.event.serializer import JsonEventSerializer
from varco_core.serialization import Serializer

from varco_nats._json import FastJsonEventSerializer
from varco_nats.errors import DecoderError
from varco_nats_widgets.decoders._auto import Auto
from varco_nats_widgets.decoders._cbor import Cbor
from varco_nats_widgets.decoders._cloudevents import BinaryCloudEvents
from varco_nats_widgets.decoders._compression import GZIP, LIMIT, ZSTD, Compressed
from varco_nats_widgets.decoders._decoder import Decoder, DecoderLike, Format
from varco_nats_widgets.decoders._events import Custom, Events, Function
from varco_nats_widgets.decoders._json import Json, Text
from varco_nats_widgets.decoders._msgpack import MessagePack
from varco_nats_widgets.decoders._values import clean


class Gzip(Compressed):
    """gzip around what another decoder reads.

    Args:
        inner: what is inside: whatever `decoder_of` takes.
        limit: bytes that a message may have once it is opened; larger ones are an error.
    """

    def __init__(self, inner: DecoderLike = "auto", *, limit: int = LIMIT) -> None:
        super().__init__(GZIP, decoder_of(inner), limit)


class Zstd(Compressed):
    """Zstandard around what another decoder reads.

    Args:
        inner: what is inside: whatever `decoder_of` takes.
        limit: bytes that a message may have once it is opened; larger ones are an error.

    Raises:
        MissingExtraError: the extra `zstd` is not installed.
    """

    def __init__(self, inner: DecoderLike = "auto", *, limit: int = LIMIT) -> None:
        super().__init__(ZSTD, decoder_of(inner), limit)
        ZSTD.opener()  # or the error that says what to install


class CloudEvents(BinaryCloudEvents):
    """CloudEvents, in binary mode (attributes in `ce-*` headers) or as JSON.

    Args:
        data: what the data of an event in binary mode is: whatever `decoder_of` takes.
    """

    def __init__(self, data: DecoderLike = "auto") -> None:
        super().__init__(decoder_of(data))


_NAMED: dict[str, Callable[[], Format]] = {
    "auto": Auto,
    "json": Json,
    "cloudevents": CloudEvents,
    "msgpack": MessagePack,
    "cbor": Cbor,
    "text": Text,
    "gzip": Gzip,
    "zstd": Zstd,
}
_AROUND: dict[str, Callable[[DecoderLike], Format]] = {
    "gzip": Gzip,
    "zstd": Zstd,
    "cloudevents": CloudEvents,
}
_WITH_SCHEMA = {"protobuf": 'Protobuf("gps.proto", "Fix")', "avro": 'Avro("order.avsc")'}

NAMES = tuple(_NAMED)
"""The names that `decoder_of` knows. `gzip`, `zstd` and `cloudevents` can stand before another, as
in `gzip+json`."""


def decoder_of(spec: DecoderLike) -> Format:
    """The decoder that `spec` means.

    Args:
        spec: a name of `NAMES`, or one such as `gzip+json`; a decoder; a varco serializer; or a
            function of the bytes and the headers of a message, which returns a dict or another
            value.

    Raises:
        DecoderError: it is none of these; the error says what it is.
        MissingExtraError: it needs a package that is not installed; the error says which.
    """
    if isinstance(spec, Format):
        return spec
    if isinstance(spec, str):
        return _named(spec)
    if isinstance(spec, type):
        raise DecoderError(f"{spec.__name__} is a class: give an object, {spec.__name__}(...)")
    if isinstance(spec, Decoder):
        return Custom(spec)
    if type(spec) in (JsonEventSerializer, FastJsonEventSerializer):
        return Json()  # the same fields, also of events whose class is not known here
    if isinstance(spec, Serializer):
        return Events(spec)
    if callable(spec):
        return Function(spec)
    raise DecoderError(
        f"{clean(repr(spec))[:60]} is no decoder: give one of the names {', '.join(NAMES)}, "
        "a decoder such as MessagePack(), a varco serializer, or a function (bytes, headers)"
    )


def _named(name: str) -> Format:
    outer, plus, inner = name.partition("+")
    if plus and outer in _AROUND:
        return _AROUND[outer](inner)
    if name in _NAMED:
        return _NAMED[name]()
    if name in _WITH_SCHEMA:
        raise DecoderError(f"{name!r} needs its schema: {_WITH_SCHEMA[name]}")
    raise DecoderError(
        f"{name!r} is no decoder: there are {', '.join(NAMES)}, and gzip+json and the like"
    )
