"""Functions, varco serializers and decoders of the user's own."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from pydantic import ValidationError
from varco_core.event.base import Event
from varco_core.event.serializer import JsonEventSerializer
from varco_core.serialization import Serializer

from varco_nats._varco_core import EVENT_CLASSES
from varco_nats.errors import CannotDecodeError, CannotEncodeError, DecoderError
from varco_nats_widgets.decoders._decoder import Decoder, Format, Headers
from varco_nats_widgets.decoders._values import escaped, plain

TYPE_KEY = JsonEventSerializer.TYPE_KEY


class Function(Format):
    """A function that decodes; it cannot encode.

    Args:
        function: called with the bytes and the headers, or only with the bytes where it takes no
            second argument by position, as `json.loads` does.

    Raises:
        DecoderError: it takes other arguments, or is a coroutine function.
    """

    def __init__(self, function: Callable[..., object]) -> None:
        self.name = getattr(function, "__qualname__", type(function).__qualname__)
        self._decode = function
        if inspect.iscoroutinefunction(function):
            raise DecoderError(f"{self.name} is a coroutine function; a decoder is a plain one")
        try:
            signature = inspect.signature(function)
        except (ValueError, TypeError):  # some built-in functions have none
            return
        if _takes(signature, 2):
            return
        if not _takes(signature, 1):
            raise DecoderError(f"{self.name}{signature} cannot be called with (bytes, headers)")
        self._decode = lambda data, headers: function(data)

    def decode(self, data: bytes, headers: Headers) -> object:
        """What the function makes of `data`."""
        return escaped(plain(self._decode(data, headers)))

    def encode(self, value: object, headers: Headers) -> bytes:
        """Not possible."""
        raise CannotEncodeError(
            self.name,
            "it is a function, which only decodes; an object with `name`, `decode` and `encode` "
            "can do both",
        )


def _takes(signature: inspect.Signature, count: int) -> bool:
    try:
        signature.bind(*range(count))
    except TypeError:
        return False
    return True


class Events(Format):
    """The serializer that a service gave its bus: the fields of the events."""

    def __init__(self, serializer: Serializer[Any]) -> None:
        self._serializer = serializer
        self.name = type(serializer).__qualname__

    def decode(self, data: bytes, headers: Headers) -> object:
        """The fields of the event in `data`, with its type as `__event_type__`."""
        try:
            event = self._serializer.deserialize(data)
        except LookupError as error:
            raise CannotDecodeError(
                f"{error.args[0] if error.args else type(error).__name__}. If this is about the "
                "class of the event, import the module that defines it"
            ) from error
        except ValidationError as error:  # its text would show what is in the payload
            problems = error.errors(include_url=False, include_context=False, include_input=False)
            text = "; ".join(
                f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in problems
            )
            raise CannotDecodeError(f"not a {error.title}: {text}") from None
        if not isinstance(event, Event):
            return escaped(plain(event))
        try:
            fields = event.model_dump(mode="json")
        except ValueError:  # bytes that are not UTF-8
            fields = plain(event.model_dump())
        return escaped({TYPE_KEY: event.event_type_name(), **fields})

    def _encode(self, value: object, headers: Headers) -> bytes:
        if type(value) is not dict or type(value.get(TYPE_KEY)) is not str:
            raise ValueError(f"no {TYPE_KEY} says which event it is")
        if value[TYPE_KEY] not in EVENT_CLASSES:
            raise ValueError(
                f"the class of {value[TYPE_KEY]!r} is not known here; "
                "import the module that defines it"
            )
        fields = {name: inner for name, inner in value.items() if name != TYPE_KEY}
        return self._serializer.serialize(EVENT_CLASSES[value[TYPE_KEY]].model_validate(fields))


class Custom(Format):
    """A decoder that the user wrote; its values become what a column can hold."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self.name = decoder.name

    def decode(self, data: bytes, headers: Headers) -> object:
        """What the user's decoder makes of `data`."""
        return escaped(plain(self._decoder.decode(data, headers)))

    def _encode(self, value: object, headers: Headers) -> bytes:
        return self._decoder.encode(value, headers)
