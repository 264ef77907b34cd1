"""What an object store says of an object (ADR-20 of NATS). Pure."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd

from varco_nats.history import StoredMessage

_DIGEST = "sha-256="


class Link(NamedTuple):
    """Where an object really is."""

    store: str
    name: str
    """"" where the link is to the whole store."""

    @property
    def words(self) -> str:
        return f"{self.store}/{self.name}" if self.name else self.store


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """An object without its bytes."""

    name: str
    nuid: str
    """The token of its chunks' subject."""
    size: int
    """In bytes."""
    chunks: int
    modified: pd.Timestamp
    digest: str
    """As it is written, such as `SHA-256=…`; "" if there is none."""
    description: str
    deleted: bool
    link: Link | None

    @classmethod
    def of(cls, message: StoredMessage) -> ObjectInfo | None:
        """What the message says; None if it is none of an object store."""
        try:
            values: dict[str, Any] = json.loads(message.data)
            link = (values.get("options") or {}).get("link") or None
            return cls(
                name=str(values["name"]),
                nuid=str(values.get("nuid") or ""),
                size=int(values.get("size") or 0),
                chunks=int(values.get("chunks") or 0),
                modified=pd.Timestamp(message.time_ns, tz="UTC"),
                digest=str(values.get("digest") or ""),
                description=str(values.get("description") or ""),
                deleted=bool(values.get("deleted")),
                link=link and Link(str(link.get("bucket") or ""), str(link.get("name") or "")),
            )
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return None

    @property
    def sha256(self) -> bytes | None:
        """The digest; None if there is none that can be checked."""
        text = self.digest
        if not text.lower().startswith(_DIGEST):
            return None
        text = text[len(_DIGEST) :].rstrip("=")
        try:
            return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        except (ValueError, binascii.Error):
            return None


def name_token(name: str) -> str:
    """The token that stands for an object's name in a subject."""
    return base64.urlsafe_b64encode(name.encode()).decode()
