"""Protobuf messages as plain values. Pure."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, FieldDescriptor
    from google.protobuf.descriptor_pool import DescriptorPool

type Read = Callable[[Any], Any]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NANOSECONDS = 10**9
_WRAPPERS = ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes")


def reader_of(pool: DescriptorPool, descriptor: Descriptor) -> Read:
    """What makes a plain value of a message of this type."""
    return _Readers(pool).of(descriptor)


class _Readers:
    """The readers of the types of messages in a pool, each made when it is needed first."""

    def __init__(self, pool: DescriptorPool) -> None:
        from google.protobuf.message import DecodeError
        from google.protobuf.message_factory import GetMessageClass

        self._pool = pool
        self._class_of: Any = GetMessageClass
        self._error = DecodeError
        self._made: dict[str, Read] = {
            "google.protobuf.Timestamp": _timestamp,
            "google.protobuf.Duration": _duration,
            "google.protobuf.FieldMask": lambda mask: mask.ToJsonString(),
            "google.protobuf.Struct": _struct,
            "google.protobuf.Value": _value,
            "google.protobuf.ListValue": _list_value,
            "google.protobuf.Any": self._any,
        }
        for kind in _WRAPPERS:
            self._made[f"google.protobuf.{kind}Value"] = (
                (lambda wrapped: _base64(wrapped.value)) if kind == "Bytes" else attrgetter("value")
            )

    def of(self, descriptor: Descriptor) -> Read:
        name = descriptor.full_name
        if name not in self._made:
            # a type may have fields of its own type
            self._made[name] = lambda message: self._made[name](message)
            self._made[name] = self._fields_of(descriptor)
        return self._made[name]

    def _fields_of(self, descriptor: Descriptor) -> Read:
        kind = self._class_of(descriptor)
        # a field may be called as a method of messages, so methods are taken from the class
        has_field, list_fields = kind.HasField, kind.ListFields
        names = tuple(field.name for field in descriptor.fields)
        special = tuple(
            (field.name, field.has_presence, read)
            for field in descriptor.fields
            if (read := self._read_of(field)) is not None or field.has_presence
        )
        if len(names) == 1:
            only = attrgetter(*names)
            values: Read = lambda message: (only(message),)  # noqa: E731
        else:
            values = attrgetter(*names) if names else lambda message: ()
        may_be_extended = descriptor.is_extendable

        def read_message(message: Any) -> dict[str, Any]:
            found = dict(zip(names, values(message), strict=True))
            for name, has_presence, read in special:
                if has_presence and not has_field(message, name):
                    del found[name]
                elif read is not None:
                    found[name] = read(found[name])
            if may_be_extended:
                for field, value in list_fields(message):
                    if field.is_extension:
                        read = self._read_of(field)
                        found[f"[{field.full_name}]"] = value if read is None else read(value)
            return found

        return read_message

    def _read_of(self, field: FieldDescriptor) -> Read | None:
        """What makes a plain value of a field's; None if it is one already."""
        entry = field.message_type
        if entry is not None and entry.GetOptions().map_entry:
            return self._map(entry.fields_by_name["value"])
        read = self._read_one(field)
        if not field.is_repeated:
            return read
        return list if read is None else lambda values: [read(value) for value in values]

    def _map(self, field: FieldDescriptor) -> Read:
        read = self._read_one(field)

        def read_map(entries: Any) -> dict[str, Any]:
            return {
                _key(key): entries[key] if read is None else read(entries[key])
                for key in sorted(entries)  # on the wire they have no order
            }

        return read_map

    def _read_one(self, field: FieldDescriptor) -> Read | None:
        if field.message_type is not None:
            return self.of(field.message_type)
        if field.enum_type is not None:
            names = {value.number: value.name for value in reversed(field.enum_type.values)}
            return lambda number: names.get(number, number)
        return _base64 if field.type == field.TYPE_BYTES else None

    def _any(self, message: Any) -> dict[str, Any]:
        url, data = message.type_url, message.value
        try:
            descriptor = self._pool.FindMessageTypeByName(url.rpartition("/")[2])
            value = self.of(descriptor)(self._class_of(descriptor).FromString(data))
        except (KeyError, self._error):
            return {"@type": url, "value": _base64(data)}
        is_plain = type(value) is dict and descriptor.file.package != "google.protobuf"
        return {"@type": url, **value} if is_plain else {"@type": url, "value": value}


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _key(key: Any) -> str:
    return str(key).lower() if isinstance(key, bool) else str(key)


def _timestamp(message: Any) -> Any:
    """The time as ISO 8601 text with up to nanoseconds, as the JSON mapping has it."""
    seconds, nanos = message.seconds, message.nanos
    try:
        text = (_EPOCH + timedelta(seconds=seconds)).isoformat().removesuffix("+00:00")
    except OverflowError:
        return {"seconds": seconds, "nanos": nanos}
    if not 0 <= nanos < _NANOSECONDS:
        return {"seconds": seconds, "nanos": nanos}
    fraction = f".{nanos:09d}" if nanos else ""
    while fraction.endswith("000"):
        fraction = fraction[:-3]
    return f"{text}{fraction}Z"


def _duration(message: Any) -> Any:
    try:
        return message.ToJsonString()
    except ValueError:  # beyond what a duration may be
        return {"seconds": message.seconds, "nanos": message.nanos}


def _struct(message: Any) -> dict[str, Any]:
    return {name: _value(message.fields[name]) for name in sorted(message.fields)}


def _list_value(message: Any) -> list[Any]:
    return [_value(each) for each in message.values]


def _value(message: Any) -> Any:
    kind = message.WhichOneof("kind")
    if kind == "struct_value":
        return _struct(message.struct_value)
    if kind == "list_value":
        return _list_value(message.list_value)
    return None if kind in (None, "null_value") else getattr(message, kind)


def with_named_floats(value: Any) -> Any:
    """A plain value with NaN and the infinities as the JSON mapping has them: as text."""
    if type(value) is dict:
        return {name: with_named_floats(each) for name, each in value.items()}
    if type(value) is list:
        return [with_named_floats(each) for each in value]
    if type(value) is float and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
