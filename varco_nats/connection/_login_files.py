"""Files that hold the keys of a login, checked before they are used."""

from __future__ import annotations

import re
from pathlib import Path

import nkeys  # type: ignore[import-untyped]

_KEY = re.compile(r"\bS[A-Z][A-Z2-7]{40,}|-----BEGIN")
_CREDS_MARKS = (b"BEGIN NATS USER JWT", b"BEGIN USER NKEY SEED")


def are_credentials(content: bytes) -> bool:
    """Whether `content` is that of a `.creds` file."""
    return all(mark in content for mark in _CREDS_MARKS)


def check_name(path: Path) -> Path:
    """`path`, if it is none of the keys themselves; else ValueError, which does not show it."""
    if _KEY.search(str(path)):
        raise ValueError("must be the name of a file, not the key itself; put that into a file")
    return path


def _read(path: Path) -> bytes:
    check_name(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None


def check_seed_file(path: Path) -> Path:
    """`path`, if it holds a user's nkey seed; else ValueError."""
    try:
        prefix, _ = nkeys.decode_seed(bytearray(_read(path).strip()))
    except (nkeys.NkeysError, IndexError):
        prefix = None
    if prefix != nkeys.PREFIX_BYTE_USER:
        raise ValueError(f"{path} does not hold a user's nkey seed, one line that starts with SU")
    return path


def check_credentials_file(path: Path) -> Path:
    """`path`, if it is a `.creds` file; else ValueError."""
    if not are_credentials(_read(path)):
        raise ValueError(f"{path} is not a .creds file, which holds a user JWT and an nkey seed")
    return path
