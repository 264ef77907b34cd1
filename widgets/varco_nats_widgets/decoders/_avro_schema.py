"""An Avro schema: whether data of it can be read safely, and values in its kinds. Pure."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

from varco_nats.errors import DecoderError
from varco_nats_widgets.decoders._values import MAX_INTEGER

_NAMED = ("record", "error", "enum", "fixed")
_KINDS: dict[str, tuple[type, ...]] = {
    "null": (type(None),),
    "boolean": (bool,),
    "int": (int,),
    "long": (int,),
    "float": (float, int),
    "double": (float, int),
    "string": (str,),
    "enum": (str,),
    "array": (list,),
    "map": (dict,),
    "record": (dict,),
    "error": (dict,),
}
"""The kinds of plain values that are of a type as they are."""

_DECIMAL = "varco-decimal"
"""The logical type of decimals once a schema is parsed. fastavro's own reader rounds them to their
precision, and takes hours for some that are a million bytes long."""

_PLAIN = (bool, int, float, type(None), list, dict)
_BITS = {"int": 2**31, "long": 2**63}

_TIMES: dict[str, type[date] | type[time]] = {
    "date": date,
    "time-millis": time,
    "time-micros": time,
    "timestamp-millis": datetime,
    "timestamp-micros": datetime,
    "local-timestamp-millis": datetime,
    "local-timestamp-micros": datetime,
}


class Schema:
    """A schema that fastavro has parsed.

    Raises:
        DecoderError: it has a list of what takes no bytes, so that a few bytes can be a list that
            has no end.
    """

    def __init__(self, parsed: Any) -> None:
        from fastavro.read import LOGICAL_READERS
        from fastavro.schema import fingerprint, to_parsing_canonical_form

        for name in ("bytes", "fixed"):
            LOGICAL_READERS[f"{name}-{_DECIMAL}"] = _decimal
        self.parsed = parsed
        self.is_recursive = False
        self._types: dict[str, Any] = {}
        self._collect(parsed)
        self._smallest(parsed, ())
        canonical = to_parsing_canonical_form(parsed)
        self.fingerprint = bytes.fromhex(fingerprint(canonical, "CRC-64-AVRO"))

    @property
    def name(self) -> str:
        """What to call it: the name of a record, or of another type."""
        kind = self.parsed
        if isinstance(kind, list):
            return "union"
        return str(kind if isinstance(kind, str) else kind.get("name", kind["type"]))

    def native(self, value: Any) -> Any:
        """A plain value, or parts of it in kinds of Python's own, as fastavro writes it.

        Raises:
            ValueError: it is no value of this schema.
        """
        return self._native(self.parsed, value, "")

    def _collect(self, kind: Any) -> None:
        """Note all named types, and have decimals read by our own code."""
        if isinstance(kind, list):
            for each in kind:
                self._collect(each)
        elif isinstance(kind, dict):
            if kind.get("logicalType") == "decimal":
                kind["logicalType"] = _DECIMAL
            self._collect(list(kind.get("__named_schemas", {}).values()))
            if kind["type"] in _NAMED:
                self._types[kind["name"]] = kind
            for field in kind.get("fields", ()):
                self._collect(field["type"])
            self._collect([kind[key] for key in ("items", "values") if key in kind])

    def _smallest(self, kind: Any, within: tuple[str, ...]) -> int:
        """The least number of bytes that a value of this type takes, up to 1."""
        kind = self._types.get(kind, kind) if isinstance(kind, str) else kind
        if isinstance(kind, list):
            for each in kind:
                self._smallest(each, within)
            return 1
        name = kind["type"] if isinstance(kind, dict) else kind
        if name in ("record", "error"):
            if kind["name"] in within:
                self.is_recursive = True
                return 1
            within = (*within, kind["name"])
            return max((self._smallest(each["type"], within) for each in kind["fields"]), default=0)
        if name == "map":
            self._smallest(kind["values"], within)
        if name == "array" and not self._smallest(kind["items"], within):
            raise DecoderError("a list whose items take no bytes can have no end")
        return min(kind["size"], 1) if name == "fixed" else int(name != "null")

    def _native(self, kind: Any, value: Any, where: str) -> Any:
        kind = self._types.get(kind, kind) if isinstance(kind, str) else kind
        if isinstance(kind, list):
            return self._of_union(kind, value, where)
        name = kind["type"] if isinstance(kind, dict) else kind
        logical = kind.get("logicalType") if isinstance(kind, dict) else None
        if name in ("record", "error") and type(value) is dict:
            return self._of_record(kind, value, where)
        if name == "array" and type(value) is list:
            return [
                self._native(kind["items"], each, f"{where}[{index}]")
                for index, each in enumerate(value)
            ]
        if name == "map" and type(value) is dict:
            return {
                key: self._native(kind["values"], each, f"{where}.{key}".lstrip("."))
                for key, each in value.items()
            }
        if type(value) is str and logical == _DECIMAL:
            value = _of_text(kind, name, logical, value, where)
        if type(value) is str:
            return _of_text(kind, name, logical, value, where)
        if type(value) is Decimal and logical == _DECIMAL:
            return _bytes_of(value, kind, where)
        if type(value) in _PLAIN and type(value) not in _KINDS.get(name, ()):
            raise ValueError(f"{where or 'it'} is a {type(value).__name__}, not {name}")
        if name in _BITS and type(value) is int and not -_BITS[name] <= value < _BITS[name]:
            raise ValueError(f"{where or 'it'} is larger than {name} can be")
        return value

    def _of_union(self, kinds: list[Any], value: Any, where: str) -> Any:
        from fastavro.validation import validate

        for kind in sorted(kinds, key=lambda kind: type(value) not in self._plain_kinds(kind)):
            try:
                native = self._native(kind, value, where)
            except ValueError:
                continue
            found = self._types.get(kind, kind) if isinstance(kind, str) else kind
            if validate(native, found, raise_errors=False, strict=True):
                name = found.get("name") if isinstance(found, dict) else None
                return (name, native) if name and type(native) is dict else native
        raise ValueError(f"{where or 'it'} is nothing that the schema allows")

    def _plain_kinds(self, kind: Any) -> tuple[type, ...]:
        kind = self._types.get(kind, kind) if isinstance(kind, str) else kind
        if isinstance(kind, dict) and "logicalType" in kind:
            return ()
        return _KINDS.get(kind["type"] if isinstance(kind, dict) else kind, ())

    def _of_record(self, kind: Mapping[str, Any], value: dict[str, Any], where: str) -> Any:
        names = [field["name"] for field in kind["fields"]]
        for name in [*names, *value]:
            if name not in value:
                raise ValueError(f"the field {name!r} is missing{_in(where)}")
            if name not in names:
                raise ValueError(f"the schema has no field {name!r}{_in(where)}")
        return {
            field["name"]: self._native(
                field["type"], value[field["name"]], f"{where}.{field['name']}".lstrip(".")
            )
            for field in kind["fields"]
        }


def _decimal(data: bytes, schema: Any = None, _: Any = None) -> Decimal:
    if len(data) > MAX_INTEGER:
        raise ValueError("a decimal with thousands of digits")
    return Decimal(f"{int.from_bytes(data, signed=True)}e-{schema.get('scale', 0)}")


def _bytes_of(value: Decimal, kind: dict[str, Any], where: str) -> bytes:
    scale = kind.get("scale", 0)
    sign, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int) or not -MAX_INTEGER < exponent + scale < MAX_INTEGER:
        raise ValueError(f"{where or 'it'} is no decimal that can be written")
    if exponent + scale < 0:
        raise ValueError(f"{where or 'it'} has more than the {scale} decimals of the schema")
    number: int = int("".join(map(str, digits))) * 10 ** (exponent + scale) * (-1 if sign else 1)
    size: int = kind["size"] if kind["type"] == "fixed" else number.bit_length() // 8 + 1
    try:
        return number.to_bytes(size, signed=True)
    except OverflowError as error:
        raise ValueError(f"{where or 'it'} is larger than {size} bytes can be") from error


def _in(where: str) -> str:
    return f" in {where}" if where else ""


def _of_text(kind: Any, name: str, logical: str | None, text: str, where: str) -> Any:
    """The value that a text stands for in this type."""
    try:
        if logical == _DECIMAL:
            return Decimal(text)
        if logical in _TIMES:
            return _TIMES[logical].fromisoformat(text)
        if name in ("bytes", "fixed"):
            return base64.b64decode(text, validate=True)
    except (ValueError, ArithmeticError) as error:
        raise ValueError(f"{where or 'it'} is no {name}: {error}") from error
    if name == "enum" and text not in kind["symbols"]:
        raise ValueError(f"{where or 'it'} is none of {', '.join(kind['symbols'])}")
    if str not in _KINDS.get(name, ()):
        raise ValueError(f"{where or 'it'} is text, not {name}")
    return text
