"""Which streams are key-value buckets or object stores, by ADR-8 and ADR-20 of NATS. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from varco_nats._nats.stream import covers

KEY_VALUES = "key-value bucket"
OBJECTS = "object store"
STREAM = "stream"

_STREAMS = {KEY_VALUES: "KV_", OBJECTS: "OBJ_"}
_SUBJECTS = {KEY_VALUES: "$KV.", OBJECTS: "$O."}
_NAME = re.compile(r"[A-Za-z0-9_-]+")


class Bucket(NamedTuple):
    """A stream that is a key-value bucket or an object store."""

    kind: str
    """`KEY_VALUES` or `OBJECTS`."""
    name: str
    stream: str
    prefix: str
    """What its subjects begin with: `$KV.config.` or `$O.reports.`."""

    def key_of(self, subject: str) -> str:
        """The key that a subject of a key-value bucket stands for."""
        return subject.removeprefix(self.prefix)


def stream_name(kind: str, name: str) -> str | None:
    """The stream of the bucket of that name; None where none can have it."""
    return f"{_STREAMS[kind]}{name}" if _NAME.fullmatch(name) else None


def bucket_of(config: Mapping[str, Any]) -> Bucket | None:
    """The bucket that a stream of this configuration is; None if it is a stream like any other.

    The copy of a bucket, whose stream is a mirror, has the subjects of the bucket it is a copy of.
    """
    stream = str(config["name"])
    for kind, begins in _STREAMS.items():
        name = stream.removeprefix(begins)
        if name == stream or not _NAME.fullmatch(name):
            continue
        mirror = config.get("mirror")
        if mirror is not None:
            origin = str(mirror["name"]).removeprefix(begins)
            return Bucket(kind, name, stream, _prefix(kind, mirror, origin))
        prefix = f"{_SUBJECTS[kind]}{name}."
        captures = any(
            pattern.startswith(prefix) or covers(pattern, f"{prefix}>")
            for pattern in config.get("subjects") or ()
        )
        if captures or config.get("sources"):
            return Bucket(kind, name, stream, prefix)
    return None


def kind_of(config: Mapping[str, Any]) -> str:
    """`stream`, `key-value bucket` or `object store`."""
    bucket = bucket_of(config)
    return STREAM if bucket is None else bucket.kind


def reading_call(stream: str) -> str | None:
    """What reads a stream with the name of a bucket's, such as `lab.kv('config')`."""
    for kind, begins in _STREAMS.items():
        name = stream.removeprefix(begins)
        if name != stream and _NAME.fullmatch(name):
            return f"lab.{'kv' if kind == KEY_VALUES else 'objects'}({name!r})"
    return None


def _prefix(kind: str, mirror: Mapping[str, Any], origin: str) -> str:
    """What the subjects of a mirror begin with; it may give those of its origin other names."""
    for transform in mirror.get("subject_transforms") or ():
        tokens = str(transform.get("dest") or "").split(".")
        if len(tokens) > 2 and f"{tokens[0]}." == _SUBJECTS[kind]:
            return f"{tokens[0]}.{tokens[1]}."
    return f"{_SUBJECTS[kind]}{origin}."
