"""What is in the fields of the form that publishes, and what it becomes. Pure."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from varco_core.event.base import Event

from varco_nats._masks._unmask import hidden
from varco_nats._nats.direct import StoredMessage
from varco_nats._nats.provenance import own_headers
from varco_nats.errors import VarcoNatsError
from varco_nats.replay._edit import json_object, written
from varco_nats_widgets.decoders._values import plain
from varco_nats_widgets.frames._decoding import WITHHELD, Decoding
from varco_nats_widgets.frames._message import is_text
from varco_nats_widgets.frames._payload import TYPE_KEY
from varco_nats_widgets.publish._draft import EVENT_ID, TIMESTAMP
from varco_nats_widgets.publish._pretty import pretty

JSON, TEXT, BASE64 = "JSON", "text", "base64"
KINDS = (JSON, TEXT, BASE64)
"""How the payload is written in the form."""

_SAMPLES: dict[Any, Any] = {str: "", int: 0, float: 0.0, bool: False, list: [], dict: {}}


class FormError(VarcoNatsError, ValueError):
    """What is in the form cannot be published; says which field and why."""


@dataclass(frozen=True)
class Origin:
    """The message that is edited: what is masked in it keeps its value where it is left."""

    message: StoredMessage
    decoding: Decoding

    @property
    def shown(self) -> Any:
        """What the form shows of the payload."""
        return self.decoding.decode(self.message).value

    @property
    def true(self) -> Any:
        return self.decoding.true(self.message).value


def fields_of_message(origin: Origin) -> tuple[str, str, str]:
    """Kind, payload and headers of a message as the form begins with them.

    An event of varco's gets an id and a time of its own, as it is another one.
    """
    stored, decoding = origin.message, origin.decoding
    headers = header_lines(own_headers(decoding.headers(stored.headers)))
    raw = decoding.raw(stored)
    if raw == WITHHELD:
        raise FormError("a mask is set, and this payload cannot be read: it cannot be edited")
    decoded = decoding.decode(stored)
    if decoded.problem is None and not (isinstance(decoded.value, str) and is_text(stored.data)):
        value = decoded.value
        # with the digits of its numbers as they were written
        exact = json_object(raw) if isinstance(value, dict) else None
        value = value if exact is None else exact
        if isinstance(value, dict) and isinstance(value.get(TYPE_KEY), str):
            anew = {EVENT_ID: "{uuid}", TIMESTAMP: "{now}"}
            value = {name: anew.get(name, inner) for name, inner in value.items()}
        return JSON, pretty_json(value), headers
    if is_text(raw):
        return TEXT, raw.decode(), headers
    return BASE64, base64.encodebytes(raw).decode(), headers


def content_of(kind: str, text: str, origin: Origin | None) -> Any:
    """What is published of a payload that was typed.

    Raises:
        FormError: it is not what `kind` says.
        MaskedValueError: a mask of which it is not known what it stands for.
    """
    if kind == TEXT:
        return text
    if kind == BASE64:
        try:
            return base64.b64decode("".join(text.split()), validate=True)
        except binascii.Error as error:
            raise FormError(f"payload: not base64: {error}") from None
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise FormError(f"payload: not JSON: {error.msg} at {where}") from None
    except RecursionError:
        raise FormError("payload: nested too deep") from None
    if origin is None or origin.decoding.mask is None:
        return value
    shown, true = origin.shown, origin.true
    return origin.decoding.mask.restore(value, shown, true, known=hidden(shown, true))


def headers_of(text: str, origin: Origin | None) -> dict[str, str]:
    """The headers that were typed, a line for each: `name: value`.

    Raises:
        FormError: a line is no header.
        MaskedValueError: as in `content_of`.
    """
    headers: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise FormError(f"headers, line {number}: write it as name: value")
        headers[name.strip()] = value.strip()
    if origin is None or origin.decoding.mask is None:
        return headers
    true = own_headers(origin.message.headers)
    shown = own_headers(origin.decoding.headers(origin.message.headers))
    restored: dict[str, str] = origin.decoding.mask.restore(headers, shown, true)
    return restored


def header_lines(headers: Mapping[str, str]) -> str:
    """Headers as the form shows them."""
    return "\n".join(f"{name}: {value}" for name, value in headers.items())


def pretty_json(value: Any) -> str:
    """A value as JSON with a line for each field, and its numbers as they were written."""
    return pretty(written(value).encode(errors="backslashreplace"))


def rate_of(text: str) -> float | None:
    """Messages a second, None where nothing was typed.

    Raises:
        FormError: it is no number above 0.
    """
    if not text.strip():
        return None
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate < float("inf"):
        raise FormError(f"rate: {text.strip()!r} is no number of messages a second")
    return rate


def sample_of(kind: type[Event]) -> dict[str, Any]:
    """A payload for an event of this class, with values to be changed."""
    sample: dict[str, Any] = {TYPE_KEY: kind.event_type_name()}
    for name, field in kind.model_fields.items():
        if name in (EVENT_ID, TIMESTAMP):
            continue
        if field.is_required():
            sample[name] = _sample(field.annotation)
        elif field.default_factory is None:
            sample[name] = field.default
    return {name: plain(value) for name, value in sample.items()}


def _sample(kind: Any) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return None if type(None) in arguments else _sample(arguments[0])
    if origin is Literal:
        return arguments[0]
    base = origin or kind
    if not isinstance(base, type):
        return None
    if issubclass(base, Enum):
        return next(iter(base)).value
    for known, value in _SAMPLES.items():
        if issubclass(base, known):
            return value
    fields = getattr(base, "model_fields", None)
    if isinstance(fields, dict):
        return {name: _sample(field.annotation) for name, field in fields.items()}
    return {"UUID": "{uuid}", "datetime": "{now}", "tuple": []}.get(base.__name__, "")
