"""What commands show of stored bytes and error texts where values are masked. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import msgspec

from varco_nats._masks._mask import Mask
from varco_nats._masks._unmask import hidden, without

WITHHELD = b"(withheld: a mask is set, and what is where in these bytes is not known)"
"""What is shown of the bytes of a message that cannot be decoded, where values are masked."""

WITHHELD_TEXT = "(withheld: a mask is set, and the event that it may quote cannot be read)"
"""What is shown of an error in such a case."""

# numbers keep their digits
_decoder = msgspec.json.Decoder(float_hook=Decimal)
_encoder = msgspec.json.Encoder(decimal_format="number")


def shown_payload(data: bytes, mask: Mask) -> bytes:
    """A payload as JSON without its masked values; `WITHHELD` where it is no JSON.

    It is JSON written anew even if nothing in it is masked, as JSON can have a key twice.
    """
    if not mask.hides_payloads:
        return data
    try:
        value, write = _read(data)
        return write(mask.payload(value))
    except (ValueError, RecursionError):
        return WITHHELD


def shown_error(
    text: str, event: bytes | None, headers: Mapping[str, str] | None, mask: Mask
) -> str:
    """An error text without the masked values of the event and the headers that it may quote.

    Args:
        event: None if it is not known.
    """
    try:
        value, _ = _read(b"" if event is None else event)
    except (ValueError, RecursionError):
        return WITHHELD_TEXT
    own = dict(headers or {})
    return without(text, [*hidden(mask.headers(own), own), *hidden(mask.payload(value), value)])


def _read(data: bytes) -> tuple[Any, Callable[[Any], bytes]]:
    """The value in JSON bytes, and what writes such a value."""
    try:
        return _decoder.decode(data), _encoder.encode
    except (ValueError, RecursionError):  # NaN, or half a surrogate pair
        return json.loads(data.decode()), _write


def _write(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode(errors="backslashreplace")
