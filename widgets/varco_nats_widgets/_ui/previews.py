"""What a payload that is no JSON looks like in a table: its kind, its size, its beginning. Pure."""

from __future__ import annotations

import re
from base64 import b64encode
from typing import NamedTuple

_SHOWN = 8  # bytes of what is not readable
_HEAD = 1024  # bytes that are looked at to say whether it is text
_MAX_IMAGE = 16 * 1024  # bytes of an image that a cell shows
_MAX_SIDE = 2048  # pixels: a few bytes can be an image that fills the memory of a browser
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_KINDS = (
    (b"%PDF-", "PDF document"),
    (b"PK\x03\x04", "ZIP archive"),
    (b"\x1f\x8b", "gzip data"),
    (b"\x28\xb5\x2f\xfd", "Zstandard data"),
    (b"PAR1", "Parquet file"),
    (b"SQLite format 3\0", "SQLite database"),
    (b"\x7fELF", "ELF program"),
    (b"Obj\x01", "Avro file"),
)


class Image(NamedTuple):
    """What the first bytes of an image say."""

    kind: str
    width: int
    height: int


def size_in_words(size: int) -> str:
    """`812 bytes`, `2.1 kB`, `1.0 MB`."""
    if size < 1000:
        return f"{size} byte{'' if size == 1 else 's'}"
    amount, unit = size / 1000, "kB"
    for larger in ("MB", "GB"):
        if amount < 999.95:
            break
        amount, unit = amount / 1000, larger
    return f"{amount:.1f} {unit}"


def preview(data: bytes) -> str:
    """One line that says what `data` is; the text itself where it is one line of text."""
    size = size_in_words(len(data))
    if not data:
        return "empty"
    if (image := image_of(data)) is not None:
        return f"{image.kind} image {image.width}x{image.height}, {size}"
    for magic, kind in _KINDS:
        if data.startswith(magic):
            return f"{kind}, {size}"
    text = _beginning(data)
    if text is None:
        more = " …" if len(data) > _SHOWN else ""
        return f"binary, {size}  {data[:_SHOWN].hex(' ')}{more}"
    lines = text.strip().splitlines()
    if not lines:
        return f"white space, {size}"
    count = data.strip().count(b"\n") + 1
    cut = "…" if len(data) > _HEAD and count == 1 else ""
    return f"text, {count:,} lines: {lines[0]}" if count > 1 else f"{lines[0]}{cut}"


def thumbnail(data: bytes) -> str:
    """A small image as an address that has it in itself; "" for everything else.

    Only of kinds that hold nothing but pixels, which their first bytes say: nothing in them is run.
    """
    image = image_of(data) if len(data) <= _MAX_IMAGE else None
    if image is None or not 0 < max(image.width, image.height) <= _MAX_SIDE:
        return ""
    return f"data:image/{image.kind.lower()};base64,{b64encode(data).decode()}"


def image_of(data: bytes) -> Image | None:
    """What kind of image it is, and its size in pixels; None where it is none that can be shown."""
    if data.startswith(b"\x89PNG\r\n\x1a\n") and len(data) >= 24:
        return Image("PNG", _big(data[16:20]), _big(data[20:24]))
    if data[:6] in (b"GIF87a", b"GIF89a") and len(data) >= 10:
        return Image("GIF", _little(data[6:8]), _little(data[8:10]))
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP" and len(data) >= 30:
        return Image("WebP", *_webp(data))
    if data.startswith(b"\xff\xd8\xff"):
        return _jpeg(data)
    return None


def _webp(data: bytes) -> tuple[int, int]:
    match data[12:16]:
        case b"VP8X":
            return _little(data[24:27]) + 1, _little(data[27:30]) + 1
        case b"VP8L":
            bits = _little(data[21:25])
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case _:
            return _little(data[26:28]) & 0x3FFF, _little(data[28:30]) & 0x3FFF


def _jpeg(data: bytes) -> Image | None:
    place = 2
    while place + 9 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # where a frame begins
            sides = data[place + 5 : place + 9]
            return Image("JPEG", _big(sides[2:]), _big(sides[:2]))
        place += 2 + _big(data[place + 2 : place + 4])
    return None


def _big(data: bytes) -> int:
    return int.from_bytes(data, "big")


def _little(data: bytes) -> int:
    return int.from_bytes(data, "little")


def _beginning(data: bytes) -> str | None:
    """The beginning of a text; None where it is none."""
    head = data[:_HEAD]
    for cut in range(1 if len(head) == len(data) else 4):  # a character may be cut in two
        try:
            text = head[: len(head) - cut].decode()
        except UnicodeDecodeError:
            continue
        return None if _CONTROL.search(text) else text
    return None
