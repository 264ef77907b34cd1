"""Avro: bare, in the single-object encoding, and in the framing of schema registries."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from io import BytesIO
from os import PathLike
from pathlib import Path
from typing import Any, Literal

from varco_nats.errors import CannotDecodeError, DecoderError, MissingExtraError
from varco_nats_widgets.decoders._avro_schema import Schema
from varco_nats_widgets.decoders._decoder import TOO_DEEP, Format, Headers, cause_of
from varco_nats_widgets.decoders._values import plain, restored

Framing = Literal["auto", "none", "single-object", "registry"]

_SINGLE_OBJECT = b"\xc3\x01"
_SINGLE_OBJECT_SIZE = 10
_REGISTRY = b"\x00"
_REGISTRY_SIZE = 5
_MAX_NUMBER = 10  # what 64 bits take, 7 in each byte


class Avro(Format):
    """Avro with a schema that is given.

    Times become ISO 8601 text, decimals and UUIDs text, bytes and fixed base64 text.

    Args:
        schema: a schema file (`.avsc`, with the schemas that it names beside it), or a schema as
            JSON text, dict or list.
        framing: what stands before the data: `none`; `single-object`, two bytes and the
            fingerprint of the schema, which is compared; `registry`, a zero byte and four bytes
            with the schema's id in a registry; or `auto`, whichever of these a message can be
            read with.
        schema_id: the id of the schema in the registry. Where it is given, messages with another
            one are errors; without it nothing can be encoded with that framing.

    Raises:
        DecoderError: the schema cannot be read or is none; the error says why.
        MissingExtraError: the extra `avro` is not installed.
    """

    def __init__(
        self,
        schema: str | PathLike[str] | Mapping[str, Any] | Sequence[Any],
        *,
        framing: Framing = "auto",
        schema_id: int | None = None,
    ) -> None:
        try:
            import fastavro
        except ImportError as error:
            raise MissingExtraError("avro", "fastavro") from error
        if framing not in ("auto", "none", "single-object", "registry"):
            raise DecoderError(
                f"framing={framing!r}: there are 'auto', 'none', 'single-object' and 'registry'"
            )
        self._fastavro = fastavro
        self._schema = _schema_of(schema)
        self._framing = framing
        self._schema_id = schema_id
        self.name = f"avro({self._schema.name})"
        self._head = _SINGLE_OBJECT + self._schema.fingerprint
        self._read, self._stream = fastavro.schemaless_reader, BytesIO
        if self._schema.is_recursive:
            # the compiled reader ends the process where a few kB are nested thousands deep
            from fastavro._read_py import schemaless_reader

            self._read, self._stream = schemaless_reader, _NoEndlessNumbers

    def decode(self, data: bytes, headers: Headers) -> Any:
        """The value in `data`.

        Raises:
            CannotDecodeError: `data` is not one value of this schema and nothing else.
        """
        try:
            return plain(self._opened(data)[0])
        except RecursionError as error:
            raise CannotDecodeError(TOO_DEEP) from error

    def edit(self, data: bytes, value: object, headers: Headers) -> bytes:
        """`data` with its value edited, in the same framing."""

        def encode() -> bytes:
            true, head = self._opened(data)
            if head + self._written(true) != data:
                raise ValueError("even unedited it would be written in another way than it was")
            return head + self._written(restored(true, value))

        return self._checked(encode, value, headers)

    def _encode(self, value: object, headers: Headers) -> bytes:
        if self._framing == "single-object":
            return self._head + self._written(value)
        if self._framing == "registry":
            if self._schema_id is None:
                raise ValueError("the id of its schema is not known: give Avro(schema_id=...)")
            return _REGISTRY + self._schema_id.to_bytes(4) + self._written(value)
        return self._written(value)

    def _written(self, value: object) -> bytes:
        stream = BytesIO()
        native = self._schema.native(value)
        self._fastavro.schemaless_writer(stream, self._schema.parsed, native, strict=True)
        return stream.getvalue()

    def _opened(self, data: bytes) -> tuple[Any, bytes]:
        """The value in `data` in Avro's kinds, and what stands before it."""
        problem = ""
        for size in self._sizes(data):
            stream = self._stream(data)
            stream.seek(size)
            try:
                value = self._read(stream, self._schema.parsed, None)
            except RecursionError:
                raise
            except EOFError:
                problem = problem or "the end is missing"
            except Exception as error:  # it raises whatever Python does with wrong values
                problem = problem or cause_of(error)
            else:
                left = len(data) - stream.tell()
                if not left:
                    return value, data[:size]
                problem = problem or f"{left} bytes are left over"
        raise CannotDecodeError(f"not {self.name}: {problem}")

    def _sizes(self, data: bytes) -> tuple[int, ...]:
        """The sizes that what stands before the data may have."""
        framing = self._framing
        if data.startswith(_SINGLE_OBJECT) and framing in ("auto", "single-object"):
            if data.startswith(self._head):
                return (_SINGLE_OBJECT_SIZE,)
            if framing == "single-object" or len(data) > _SINGLE_OBJECT_SIZE:
                raise CannotDecodeError(
                    f"not {self.name}: the fingerprint of its schema is "
                    f"{_hex(data[2:_SINGLE_OBJECT_SIZE])}, not {_hex(self._schema.fingerprint)}"
                )
        if data.startswith(_REGISTRY) and framing in ("auto", "registry"):
            found = int.from_bytes(data[1:_REGISTRY_SIZE])
            if self._schema_id is None or found == self._schema_id:
                return (_REGISTRY_SIZE, 0) if framing == "auto" else (_REGISTRY_SIZE,)
            if framing == "registry":
                raise CannotDecodeError(
                    f"not {self.name}: its schema has the id {found}, not {self._schema_id}"
                )
        if framing in ("single-object", "registry"):
            raise CannotDecodeError(f"not {self.name}: it does not begin as the framing {framing}")
        return (0,)


class _NoEndlessNumbers(BytesIO):
    """Ends reading a number of more bytes than any has: those of a megabyte take minutes."""

    _continued = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self._continued = self._continued + 1 if size == 1 and data >= b"\x80" else 0
        if self._continued > _MAX_NUMBER:
            raise ValueError(f"a number of more than {_MAX_NUMBER} bytes")
        return data


def _hex(fingerprint: bytes) -> str:
    return fingerprint[::-1].hex()  # as a number; on the wire it is little-endian


def _schema_of(given: Any) -> Schema:
    from fastavro.schema import load_schema, parse_schema

    where = "Avro(schema)"
    try:
        if isinstance(given, str | PathLike) and not str(given).lstrip().startswith(("{", "[")):
            where = f"Avro({str(given)!r})"
            json.loads(Path(given).read_text())  # which says where a mistake is
            return Schema(load_schema(str(given)))
        if isinstance(given, str):
            given = json.loads(given)
        if not isinstance(given, Mapping | Sequence):
            raise TypeError(f"{type(given).__name__} is neither a file nor a schema")
        return Schema(parse_schema(dict(given) if isinstance(given, Mapping) else list(given)))
    except OSError as error:
        raise DecoderError(f"{where}: {error.strerror or error}") from error
    except json.JSONDecodeError as error:
        raise DecoderError(
            f"{where}: not JSON: {error.msg} in line {error.lineno}, column {error.colno}"
        ) from error
    except DecoderError as error:
        raise DecoderError(f"{where}: {error}") from error
    except Exception as error:  # fastavro's, and what it raises for schemas that are none
        kind = type(error).__name__
        unknown = "no type of this name: " if kind == "UnknownType" else ""
        raise DecoderError(f"{where}: not an Avro schema: {unknown}{cause_of(error)}") from error
