"""What a table shows of bytes that are no JSON."""

from __future__ import annotations

import struct
import zlib

import pandas as pd
import pytest
from varco_nats_widgets._ui.previews import preview, size_in_words, thumbnail
from varco_nats_widgets._ui.rows import formatted

from tests.foreign import picture

JPEG = (
    b"\xff\xd8\xff\xe0\x00\x10JFIF\0\1\1\0\0\1\0\1\0\0"
    b"\xff\xc0\x00\x11\x08\x00\x02\x00\x03\x03\x01\x22\x00\x02\x11\x01\x03\x11\x01"
)
GIF = b"GIF89a\x05\x00\x07\x00\x80\x00\x00"
WEBP_LOSSY = b"RIFF\x1a\0\0\0WEBPVP8 \x0e\0\0\0\x30\1\0\x9d\1\x2a\x08\0\x09\0"
WEBP_LOSSLESS = b"RIFF\x1a\0\0\0WEBPVP8L\x0e\0\0\0\x2f" + struct.pack("<I", 3 | 4 << 14) + b"\0" * 9
WEBP_EXTENDED = b"RIFF\x1a\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\x09\0\0\x0a\0\0"
BOMB = (
    b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 50_000, 50_000) + zlib.compress(b"")
)
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>'


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "empty"),
        (b"text number 7", "text number 7"),
        (b"  one line\n", "one line"),
        ("größer".encode() * 300, "größer" * 128 + "…"),
        (b"line one\nline two: gr\xc3\xb6\xc3\x9fer\n" * 40, "text, 80 lines: line one"),
        (b" \n\t ", "white space, 4 bytes"),
        (b"\x7f\x45\x4c", "binary, 3 bytes  7f 45 4c"),
        (bytes(range(256)) * 4000, "binary, 1.0 MB  00 01 02 03 04 05 06 07 …"),
        (b"\xff", "binary, 1 byte  ff"),
        (b"gr\xc3", "binary, 3 bytes  67 72 c3"),
        (picture(), f"PNG image 16x16, {len(picture())} bytes"),
        (JPEG, f"JPEG image 3x2, {len(JPEG)} bytes"),
        (GIF, f"GIF image 5x7, {len(GIF)} bytes"),
        (WEBP_LOSSY, "WebP image 8x9, 30 bytes"),
        (WEBP_LOSSLESS, f"WebP image 4x5, {len(WEBP_LOSSLESS)} bytes"),
        (WEBP_EXTENDED, "WebP image 10x11, 30 bytes"),
        (b"\xff\xd8\xff\xe0", "binary, 4 bytes  ff d8 ff e0"),
        (b"%PDF-1.7\n" + b"x" * 2000, "PDF document, 2.0 kB"),
        (b"PK\x03\x04", "ZIP archive, 4 bytes"),
        (SVG, SVG.decode()),
    ],
)
def test_bytes_are_one_line(data: bytes, text: str) -> None:
    assert preview(data) == text


def test_sizes() -> None:
    sizes = [0, 1, 999, 1000, 2_149, 999_949, 999_950, 1_000_000, 5 * 10**9]
    words = ["0 bytes", "1 byte", "999 bytes", "1.0 kB", "2.1 kB", "999.9 kB", "1.0 MB", "1.0 MB"]
    assert [size_in_words(size) for size in sizes] == [*words, "5.0 GB"]


def test_only_small_images_of_pixels_are_shown() -> None:
    assert thumbnail(picture()).startswith("data:image/png;base64,iVBOR")
    assert thumbnail(JPEG).startswith("data:image/jpeg;base64,")
    assert thumbnail(WEBP_LOSSY).startswith("data:image/webp;base64,")
    for data in (b"", b"text", SVG, BOMB, picture() + bytes(20_000), b"\xff\xd8\xff" + SVG):
        assert thumbnail(data) == ""


def test_images_in_a_window_are_bounded() -> None:
    image = picture() + bytes(10_000)
    frame = pd.DataFrame({"raw": [image] * 100 + [b"\0" * 10**6]})
    _, rows = formatted([frame], ["raw"], images=True)
    assert sum(isinstance(cell, list) for _, cell in rows) == 19
    assert sum(len(cell[1]) for _, cell in rows if isinstance(cell, list)) <= 256 * 1024
    assert all(len(cell) < 100 for _, cell in rows if isinstance(cell, str))
    _, plain = formatted([frame], ["raw"])
    assert {type(cell) for _, cell in plain} == {str}
    _, whole = formatted([frame], ["raw"], None)  # as it is copied
    assert whole[100][1] == "\0" * 10**6 or len(whole[100][1]) == 2 * 10**6
