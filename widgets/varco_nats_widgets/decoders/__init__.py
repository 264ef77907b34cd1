"""Decoders: what makes values of the bytes of messages. Pure: no server, no pandas."""

from varco_nats.errors import (
    CannotDecodeError,
    CannotEncodeError,
    DecoderError,
    MissingExtraError,
)
from varco_nats_widgets.decoders._auto import Auto
from varco_nats_widgets.decoders._avro import Avro
from varco_nats_widgets.decoders._cbor import Cbor
from varco_nats_widgets.decoders._decoder import Decoder, DecoderLike, Headers
from varco_nats_widgets.decoders._json import Json, Text
from varco_nats_widgets.decoders._msgpack import MessagePack
from varco_nats_widgets.decoders._of import NAMES, CloudEvents, Gzip, Zstd, decoder_of
from varco_nats_widgets.decoders._protobuf import Protobuf
from varco_nats_widgets.decoders._table import DecoderTable

__all__ = [
    "NAMES",
    "Auto",
    "Avro",
    "CannotDecodeError",
    "CannotEncodeError",
    "Cbor",
    "CloudEvents",
    "Decoder",
    "DecoderError",
    "DecoderLike",
    "DecoderTable",
    "Gzip",
    "Headers",
    "Json",
    "MessagePack",
    "MissingExtraError",
    "Protobuf",
    "Text",
    "Zstd",
    "decoder_of",
]
