"""gzip and zstd, opened up to a limit of bytes."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from varco_nats.errors import CannotDecodeError, MissingExtraError
from varco_nats_widgets.decoders._decoder import Format, Headers

LIMIT = 64 * 2**20
"""The bytes that a compressed message may have once it is opened, unless another limit is given."""

_MAX_MEMBERS = 100
_MAX_WINDOW = 27  # 128 MiB, what zstd itself allows unless asked for more


class TooLargeError(CannotDecodeError):
    """What is compressed is larger than the limit. Not tried in any other way."""


class _Opener(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class Compression(NamedTuple):
    """How a compression is named, recognised, opened and made."""

    name: str
    magic: bytes
    opener: Callable[[], _Opener]
    compress: Callable[[bytes], bytes]

    def open(self, data: bytes, limit: int) -> bytes:
        """What `data` holds, of at most `limit` bytes.

        Raises:
            CannotDecodeError: it is not of this compression, broken, cut off or too large.
        """
        opened = b""
        for _ in range(_MAX_MEMBERS):
            try:
                opener = self.opener()
                opened += opener.decompress(data, limit - len(opened) + 1)
            except (zlib.error, self.error) as error:
                raise CannotDecodeError(f"not {self.name}: {error}") from error
            if len(opened) > limit:
                raise TooLargeError(
                    f"{self.name}: opens to more than the limit of {limit:,} bytes; "
                    f"{self.name.capitalize()}(limit=...) sets another"
                )
            if not opener.eof:
                raise CannotDecodeError(f"{self.name}: the end is missing")
            data = opener.unused_data
            if not data.strip(b"\0"):  # gzip may be padded
                return opened
        raise CannotDecodeError(f"{self.name}: more than {_MAX_MEMBERS} parts")

    @property
    def error(self) -> type[Exception]:
        """What its library raises for what it cannot open."""
        error: type[Exception] = zlib.error if self.name == "gzip" else _zstd().ZstdError
        return error


def _zstd() -> Any:
    try:
        from compression import zstd  # Python 3.14
    except ImportError:
        try:
            from backports import zstd
        except ImportError as error:
            raise MissingExtraError("zstd", "backports.zstd") from error
    return zstd


def _zstd_opener() -> _Opener:
    zstd = _zstd()
    limits = {zstd.DecompressionParameter.window_log_max: _MAX_WINDOW}
    opener: _Opener = zstd.ZstdDecompressor(options=limits)
    return opener


def _zstd_compress(data: bytes) -> bytes:
    compressed: bytes = _zstd().compress(data)
    return compressed


GZIP = Compression(
    "gzip",
    b"\x1f\x8b",
    lambda: zlib.decompressobj(wbits=31),
    lambda data: gzip.compress(data, mtime=0),
)
ZSTD = Compression("zstd", b"\x28\xb5\x2f\xfd", _zstd_opener, _zstd_compress)


class Compressed(Format):
    """A compression around what another decoder reads."""

    def __init__(self, compression: Compression, inner: Format, limit: int) -> None:
        self._compression = compression
        self._inner = inner
        self._limit = limit
        self.name = f"{compression.name}+{inner.name}"

    def decode(self, data: bytes, headers: Headers) -> object:
        """What the inner decoder makes of the opened bytes."""
        return self.read(data, headers)[0]

    def read(self, data: bytes, headers: Headers) -> tuple[object, str]:
        """What the inner decoder makes of the opened bytes, and the name of both."""
        value, name = self._inner.read(self._compression.open(data, self._limit), headers)
        return value, f"{self._compression.name}+{name}"

    def edit(self, data: bytes, value: object, headers: Headers) -> bytes:
        """`data` with its value edited, by the inner decoder."""
        opened = self._compression.open(data, self._limit)
        return self._compression.compress(self._inner.edit(opened, value, headers))

    def encode(self, value: object, headers: Headers) -> bytes:
        """`value` encoded by the inner decoder and compressed."""
        return self._compression.compress(self._inner.encode(value, headers))
