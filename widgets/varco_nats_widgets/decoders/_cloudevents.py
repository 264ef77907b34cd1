"""CloudEvents in binary mode: the attributes in headers, the data in the payload."""

from __future__ import annotations

from urllib.parse import unquote

from varco_nats.errors import CannotEncodeError
from varco_nats_widgets.decoders._decoder import Format, Headers, header
from varco_nats_widgets.decoders._json import Json
from varco_nats_widgets.decoders._values import clean, same

PREFIX = "ce-"
NEEDED = ("specversion", "type", "id")


def attributes_of(headers: Headers) -> dict[str, str] | None:
    """The attributes in `headers`; None if this is no CloudEvent in binary mode."""
    found = {
        name[len(PREFIX) :].lower(): clean(unquote(value))
        for name, value in headers.items()
        if name[: len(PREFIX)].lower() == PREFIX
    }
    if not all(name in found for name in NEEDED) or is_structured(headers):
        return None
    found.pop("data", None)  # no attribute may be called so
    kind = header(headers, "content-type")
    return {**found, "datacontenttype": kind} if kind else found


def is_structured(headers: Headers) -> bool:
    """Whether the content type says that the payload is a whole CloudEvent as JSON."""
    return header(headers, "content-type").lower().startswith("application/cloudevents")


class BinaryCloudEvents(Format):
    """CloudEvents in binary mode, whose data another decoder reads.

    Their value is the envelope that the same event has in structured mode. Messages without the
    headers of a CloudEvent are left to the other decoder.
    """

    def __init__(self, data: Format) -> None:
        self._data = data
        self.name = f"cloudevents+{data.name}"

    def decode(self, data: bytes, headers: Headers) -> object:
        """The envelope of the event."""
        return self.read(data, headers)[0]

    def read(self, data: bytes, headers: Headers) -> tuple[object, str]:
        """The envelope of the event, and the name of what decoded it."""
        attributes = attributes_of(headers)
        if attributes is None:
            return self._otherwise(headers).read(data, headers)
        if not data:
            return attributes, self.name
        value, name = self._data.read(data, headers)
        return {**attributes, "data": value}, f"cloudevents+{name}"

    def encode(self, value: object, headers: Headers) -> bytes:
        """The data of the envelope `value`; its attributes must be those of `headers`."""
        if attributes_of(headers) is None:
            return self._otherwise(headers).encode(value, headers)
        data = self._data_of(value, headers)
        return b"" if data is None else self._data.encode(data[0], headers)

    def edit(self, data: bytes, value: object, headers: Headers) -> bytes:
        """The data of an edited envelope."""
        if attributes_of(headers) is None:
            return self._otherwise(headers).edit(data, value, headers)
        inner = self._data_of(value, headers)
        if inner is None or not data:
            return self.encode(value, headers)
        return self._data.edit(data, inner[0], headers)

    def _otherwise(self, headers: Headers) -> Format:
        return Json() if is_structured(headers) else self._data

    def _data_of(self, value: object, headers: Headers) -> tuple[object] | None:
        """What is in the field `data`, if it is there."""
        if type(value) is not dict:
            raise CannotEncodeError(self.name, "it is no object with the attributes of an event")
        attributes = {name: inner for name, inner in value.items() if name != "data"}
        wanted = attributes_of(headers) or {}
        if not same(attributes, wanted):
            names = {
                name for name in attributes | wanted if attributes.get(name) != wanted.get(name)
            }
            raise CannotEncodeError(
                self.name,
                "its attributes are headers, not part of the payload: edit "
                + ", ".join(f"ce-{name}" for name in sorted(names)),
            )
        return (value["data"],) if "data" in value else None
