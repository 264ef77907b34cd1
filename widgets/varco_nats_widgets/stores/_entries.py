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
from varco_nats_widgets.frames._decoding import JSON, Decoded, Decoding
from varco_nats_widgets.frames._payload import decode_all

PUT, DELETE, PURGE = "put", "delete", "purge"

_OPERATION, _REASON = "KV-Operation", "Nats-Marker-Reason"
_OPERATIONS = {"DEL": DELETE, "PURGE": PURGE}
_NO_VALUE = "(none)"  # the decoder of what has no value
_FIELDS = "data."
_OF_EVENTS = ("event_type", "event_id", "timestamp")
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


def _tells(headers: Mapping[str, str] | None) -> bool:
    """Whether headers may say what a value is, or that it is none."""
    return headers is not None and (
        operation_of(headers) != PUT or not all(name.startswith("Nats-") for name in headers)
    )


class EntryDecoding(Decoding):
    """Reads the values of a bucket, whose keys are what channels are elsewhere.

    What has no decoder is read by its first bytes: values are often plain text.
    """

    guesses = False
    """Whether no decoder was given for any value."""
    bare = False
    """Whether no headers of what is read could say that it is something else than its bytes do."""

    @classmethod
    def of_bucket(
        cls, bucket: Bucket, decoding: Decoding, decoder: DecoderLike | None
    ) -> EntryDecoding:
        """As a lab reads, or with this decoder for each value."""
        given = decoding.decoders if decoder is None else DecoderTable(decoder)
        table = given or DecoderTable()
        made = cls(bucket.key_of, table.with_default("auto", ">"), decoding.mask)
        made.guesses = not table.names
        return made

    def of_messages(self, messages: Iterable[StoredMessage]) -> EntryDecoding:
        """The same for these messages only."""
        made = EntryDecoding(self.channel_of, self.decoders, self.mask)
        made.guesses = self.guesses
        made.bare = not any(_tells(message.headers) for message in messages)
        return made

    @property
    def is_plain(self) -> bool:
        return self.guesses and self.bare and self.mask is None

    def true(self, message: StoredMessage) -> Decoded:
        if operation_of(message.headers) != PUT:
            return Decoded({}, None, _NO_VALUE)
        return super().true(message)

    def decode_all(
        self, messages: Sequence[StoredMessage], used: dict[str, set[str]] | None = None
    ) -> tuple[list[dict[str, Any]], dict[int, str]]:
        if not self.guesses or self.mask is not None:
            return super().decode_all(messages, used)
        events, problems = decode_all([message.data for message in messages])
        others = [
            row for row, each in enumerate(messages) if row in problems or _tells(each.headers)
        ]
        found, problems = super().decode_all([messages[row] for row in others], used)
        for row, event in zip(others, found, strict=True):
            events[row] = event
        return events, {others[row]: problem for row, problem in problems.items()}


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
    frame, keys, changed_at = _fields(messages, decoding)
    frame["revision"] = frame.index.to_numpy()
    frame["changed_at"] = changed_at
    frame["bytes"] = pd.array([len(message.data) for message in messages], dtype="int64")
    frame.index = pd.Index(keys, name="key", dtype="str")
    return frame.sort_index()


def history_frame(messages: Sequence[StoredMessage], decoding: EntryDecoding) -> pd.DataFrame:
    """One row for each message, index `revision`; `KeyValues.history` has the columns."""
    frame, keys, changed_at = _fields(messages, decoding)
    headers = [message.headers or {} for message in messages]
    frame.insert(0, "key", keys)
    frame.insert(1, "operation", strings([operation_of(each) for each in headers]))
    frame.insert(2, "marker", strings([each.get(_REASON) for each in headers]))
    frame["changed_at"] = changed_at
    frame["bytes"] = pd.array([len(message.data) for message in messages], dtype="int64")
    frame.index.name = "revision"
    return frame


def _fields(
    messages: Sequence[StoredMessage], decoding: EntryDecoding
) -> tuple[pd.DataFrame, Any, Any]:
    """The fields by their own names, index `seq`; the keys, and when they were set."""
    builder = FrameBuilder(decoding.of_messages(messages), prefix=_FIELDS)
    builder.add(messages)
    frame = builder.build()
    used = frame.attrs.pop("decoders", {})  # of each of maybe many keys
    counts = Counter(name for names in used.values() for name in names.split(", "))
    for name in (_NO_VALUE, JSON):
        counts.pop(name, None)
    frame.attrs["decoders"] = dict(counts)
    changed_at, keys = frame.pop("stored_at").array, frame.pop("channel").array
    for name in _OF_EVENTS:
        if frame[name].isna().all():
            del frame[name]
    taken = {*frame.columns, *_OWN}
    names = {
        name: own
        for name in frame.columns
        if name.startswith(_FIELDS) and (own := name.removeprefix(_FIELDS)) not in taken
    }
    return frame.rename(columns=names), keys, changed_at
