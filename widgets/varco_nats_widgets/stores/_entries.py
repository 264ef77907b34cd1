"""The entries of a key-value bucket: what a stored message means there, and frames of many. Pure.

A value, the mark of a delete and that of a purge are messages (ADR-8 of NATS); so is what the
server leaves where a value expired (ADR-48).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from varco_nats.history import StoredMessage
from varco_nats_widgets._session.buckets import Bucket
from varco_nats_widgets.decoders import DecoderLike, DecoderTable
from varco_nats_widgets.frames import FrameBuilder
from varco_nats_widgets.frames._cells import format_cell
from varco_nats_widgets.frames._columns import strings
from varco_nats_widgets.frames._decoding import Decoded, Decoding

PUT, DELETE, PURGE = "put", "delete", "purge"

_OPERATION, _REASON = "KV-Operation", "Nats-Marker-Reason"
_OPERATIONS = {"DEL": DELETE, "PURGE": PURGE}
_NO_VALUE = "(none)"  # the decoder of what has no value
_FIELDS = "data."
_OF_EVENTS = ("event_type", "event_id", "timestamp")
_LAST = ("data.more", "decode_error", "raw")
_OWN = frozenset({"key", "revision", "operation", "marker", "changed_at", "bytes", "more"})


def operation_of(headers: Mapping[str, str] | None) -> str:
    """`put`, `delete` or `purge`: what the message with these headers did to its key."""
    if not headers:
        return PUT
    operation = _OPERATIONS.get(headers.get(_OPERATION, ""))
    if operation is not None:
        return operation
    if (reason := headers.get(_REASON)) is not None:
        return DELETE if reason == "Remove" else PURGE
    return PUT


class EntryDecoding(Decoding):
    """Reads the values of a bucket, whose keys are what channels are elsewhere.

    What has no decoder is read by its first bytes: values are often plain text.
    """

    @classmethod
    def of_bucket(
        cls, bucket: Bucket, decoding: Decoding, decoder: DecoderLike | None
    ) -> EntryDecoding:
        """As a lab reads, or with this decoder for each value."""
        table = (decoding.decoders or DecoderTable()).with_default("auto", ">")
        if decoder is not None:
            table = DecoderTable(decoder).with_default("auto", ">")
        return cls(bucket.key_of, table, decoding.mask)

    def true(self, message: StoredMessage) -> Decoded:
        if operation_of(message.headers) != PUT:
            return Decoded({}, None, _NO_VALUE)
        return super().true(message)


@dataclass(frozen=True)
class Entry:
    """What a key was set to, or that it was deleted."""

    key: str
    value: Any
    """As the decoder reads it; None where it was deleted, or where `problem` says why not."""
    revision: int
    """The sequence in the bucket's stream."""
    changed_at: pd.Timestamp
    operation: str
    """`put`, `delete` or `purge`."""
    data: bytes = field(repr=False)
    """The bytes; where values are masked, as JSON without them."""
    headers: Mapping[str, str] = field(repr=False)
    problem: str | None = field(default=None, repr=False)
    """Why the value cannot be read; None if it can."""

    def __repr__(self) -> str:
        value = self.operation if self.operation != PUT else format_cell(self.value)
        return f"Entry({self.key!r}, revision {self.revision}: {value})"


def entry_of(message: StoredMessage, decoding: EntryDecoding) -> Entry:
    """The entry that a stored message is."""
    operation = operation_of(message.headers)
    decoded = decoding.decode(message)
    is_put = operation == PUT
    return Entry(
        decoding.channel_of(message.subject),
        decoded.value if is_put and decoded.problem is None else None,
        message.seq,
        pd.Timestamp(message.time_ns, tz="UTC"),
        operation,
        decoding.raw(message) if is_put else b"",
        decoding.headers(message.headers) or {},
        decoded.problem,
    )


def values_frame(messages: Sequence[StoredMessage], decoding: EntryDecoding) -> pd.DataFrame:
    """One row for each message, index `key`, sorted; `KeyValues.frame` has the columns."""
    frame = _frame(messages, decoding)
    frame["revision"] = frame.index.to_numpy()
    frame["changed_at"] = frame.pop("stored_at")
    frame["bytes"] = pd.array([len(message.data) for message in messages], dtype="int64")
    frame.index = pd.Index(frame.pop("channel"), name="key", dtype="str")
    return frame.sort_index()


def history_frame(messages: Sequence[StoredMessage], decoding: EntryDecoding) -> pd.DataFrame:
    """One row for each message, index `revision`; `KeyValues.history` has the columns."""
    frame = _frame(messages, decoding)
    headers = [message.headers or {} for message in messages]
    frame.insert(0, "key", frame.pop("channel"))
    frame.insert(1, "operation", strings([operation_of(each) for each in headers]))
    frame.insert(2, "marker", strings([each.get(_REASON) for each in headers]))
    frame["changed_at"] = frame.pop("stored_at")
    frame["bytes"] = pd.array([len(message.data) for message in messages], dtype="int64")
    frame.index.name = "revision"
    return frame


def _frame(messages: Iterable[StoredMessage], decoding: EntryDecoding) -> pd.DataFrame:
    """As `FrameBuilder` makes it, without what only events have, the fields by their own names."""
    builder = FrameBuilder(decoding, prefix=_FIELDS)
    builder.add(messages)
    frame = builder.build()
    used = frame.attrs.pop("decoders", {})  # of each of maybe many keys
    counts = Counter(name for names in used.values() for name in names.split(", "))
    counts.pop(_NO_VALUE, None)
    frame.attrs["decoders"] = dict(counts)
    for name in _OF_EVENTS:
        if frame[name].isna().all():
            del frame[name]
    taken = {*frame.columns, *_OWN, "stored_at", "channel"}
    names = {
        name: own
        for name in frame.columns
        if name.startswith(_FIELDS)
        and (own := name.removeprefix(_FIELDS)) not in taken
        and name not in _LAST
    }
    return frame.rename(columns=names)
