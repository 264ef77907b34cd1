"""`KeyValues`: a key-value bucket as DataFrames."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn

import pandas as pd

from varco_nats._nats.direct import StoredMessage
from varco_nats._nats.stream import stream_info
from varco_nats.errors import UnknownEntryError
from varco_nats.history._lookup import Lookup
from varco_nats.subjects import subject_problem
from varco_nats_widgets._session.buckets import KEY_VALUES, Bucket
from varco_nats_widgets._session.handle import Handle
from varco_nats_widgets._session.job import Job, Twin, awaiting, blocking
from varco_nats_widgets._session.progress import Progress, ProgressCallback
from varco_nats_widgets._session.stream_browser import LabHistory
from varco_nats_widgets.decoders import DecoderLike
from varco_nats_widgets.frames._columns import objects
from varco_nats_widgets.frames._query import Moment, is_pattern, moment, warn_caller
from varco_nats_widgets.stores._entries import (
    PUT,
    Entry,
    EntryDecoding,
    entry_of,
    history_frame,
    operation_of,
    values_frame,
)
from varco_nats_widgets.stores._past import Limits, Past, changes, unknown_words
from varco_nats_widgets.stores._places import find, newest_by_subject
from varco_nats_widgets.stores._shown import shown

if TYPE_CHECKING:
    from varco_nats_widgets.stores._live import LiveKeyValues

_PLAIN = {ord("*"): "x", ord(">"): "x"}
_UNKNOWN = "unknown"  # of `attrs`, until the caller is told


class KeyValues:
    """A key-value bucket, looked at only; made by `Lab.kv`. Each method asks the server anew.

    As the last expression of a cell it shows its values. It is a mapping to look up and to walk
    through: `kv["limits.orders"]`, which Tab completes, `"motto" in kv`, `for key in kv`,
    `len(kv)`. `kv.aio` has the awaitable twins of its methods.

    Values are read with the lab's decoders and masks; what has no decoder, by its first bytes: JSON
    and other formats that say what they are, and text.

    Example:
        kv = lab.kv("config")
        kv.df
        kv.history("limits.orders")
        kv.diff("1h")
    """

    def __init__(self, handle: Handle, bucket: Bucket, decoder: DecoderLike | None = None) -> None:
        self._handle = handle
        self._session = handle.session
        self._bucket = bucket
        self._decoding = EntryDecoding.of_bucket(bucket, handle.session.decoding, decoder)

    def __repr__(self) -> str:
        return f"KeyValues({self.name!r})"

    @property
    def name(self) -> str:
        """The bucket's name."""
        return self._bucket.name

    @property
    def aio(self) -> KeyValuesAio:
        """The awaitable twins of this object's methods."""
        return KeyValuesAio(self)

    @property
    def df(self) -> pd.DataFrame:
        """The current values: `frame()`."""
        return self.frame()

    def __getitem__(self, key: str) -> Any:
        """The value of a key; Tab completes it.

        Raises:
            UnknownEntryError: there is no such key, or it was deleted.
        """
        return self.get(key).value

    def __iter__(self) -> Iterator[str]:
        """The keys that have a value, sorted."""
        return iter(self._session.read(self._keys()).wait())

    def __len__(self) -> int:
        return len(self._session.read(self._keys()).wait())

    def __contains__(self, key: object) -> bool:
        try:
            self._check(key)  # type: ignore[arg-type]
        except ValueError:
            return False
        assert isinstance(key, str)
        found = self._session.read(self._newest_of(key)).wait()
        return found is not None and operation_of(found.headers) == PUT

    def _ipython_key_completions_(self) -> list[str]:
        return self._session.soon(self._keys())

    def _repr_html_(self) -> str:
        what = f"{KEY_VALUES} {self.name}"
        return shown(what, "key", lambda: self.frame(progress=False))

    @blocking
    def frame(
        self, keys: str | None = None, *, progress: ProgressCallback | bool | None = None
    ) -> Job[pd.DataFrame]:
        """The current values, one row for each key; a key that was deleted has none.

        Args:
            keys: only keys that begin with this text, such as `"limits."`; or a pattern with NATS's
                wildcards, such as `"limits.*"` or `"*.orders"`.
            progress: as in `Lab.frame`.

        Returns:
            Index `key`, sorted; columns of the fields of values that are objects, or `value` of
            those that are none; `decode_error` and `raw` where some cannot be read; `revision`, the
            sequence in the bucket's stream; `changed_at` (UTC); `bytes`. A field whose name is
            taken is `data.<name>`. `attrs["decoders"]` says how many are no JSON, by what they are.

        Raises:
            StreamNotFoundError: the bucket is gone.
            ServerUnreachableError: the server went away and stayed away.
            PermissionDeniedError: this login may not read there; says what to allow.
            ValueError: `keys` can be no part of a key.
        """
        pattern, begins = self._pattern(keys)
        bar = Progress(f"reading bucket {self.name!r}", progress)
        reading = self._frame(pattern, begins)
        return self._session.read(reading, bar, finish=self._session.check_mask)

    @blocking
    def get(self, key: str) -> Job[Entry]:
        """What a key is set to: `value`, `revision`, `changed_at`, `headers`, `data`.

        Raises:
            UnknownEntryError: there is no such key, or it was deleted; says when.
            ValueError: no key can have that name.
        """
        self._check(key)
        return self._session.read(self._get(key))

    @blocking
    def history(self, key: str | None = None) -> Job[pd.DataFrame]:
        """Every revision that the bucket keeps of a key, the oldest first.

        Args:
            key: a key, or a pattern as in `frame`; None is all of them.

        Returns:
            Index `revision`; columns `key`; `operation` (`put`, `delete` or `purge`, which has
            removed all revisions before it); `marker`, the server's reason where it wrote that
            itself, such as `MaxAge` of a value that expired; then as in `frame`.

        Raises:
            UnknownEntryError: the bucket keeps nothing of this key.
            ValueError: no key can have that name.
        """
        if key is not None:
            self._check(key, pattern=True)
        reading = self._history(key)
        return self._session.read(reading, finish=self._session.check_mask)

    @blocking
    def at(self, when: Moment) -> Job[pd.DataFrame]:
        """The values as they were at a time, as far as the bucket still keeps them.

        A bucket keeps the last revisions of a key only, as its `history` says. Where that does not
        reach back to `when`, it is not known what the key held: then it is no row, but among
        `attrs["completeness"]["unknown"]`, with a warning. A key of which nothing is kept at all,
        as it was purged with its marks, or expired by a time of its own, leaves no trace.

        Args:
            when: a datetime with its zone, text (`"2026-05-01 10:00"`, UTC unless it says
                otherwise), or how long ago (`"10m"`, a timedelta).

        Returns:
            As `frame`. `attrs["completeness"]` has `at`; `loaded`, the rows; `unknown`, the keys;
            `reaches_back`, whether there is none of them, and values do not expire either.

        Warns:
            UserWarning: of some keys it is not known what they held, or values expire.

        Raises:
            ValueError: `when` is no time, or one to come.
        """
        moment_ns = _past_ns("when", when)
        return self._session.read(self._at(moment_ns), finish=self._told)

    @blocking
    def diff(self, since: Moment, until: Moment | None = None) -> Job[pd.DataFrame]:
        """What changed between two times: keys added, changed and removed.

        Args:
            since, until: as `when` of `at`; until now by default.

        Returns:
            Index `key`, sorted; columns `change` (`added`, `changed` or `removed`), `before` and
            `after` (the values), `before_revision`, `after_revision`, `before_at`, `after_at`
            (UTC). A key that was set to the same bytes again is none of them.
            `attrs["completeness"]` has `since`, `until`, and `unknown`, the keys of which it is not
            known what they held at one of the two, as in `at`.

        Warns:
            UserWarning: as of `at`.

        Raises:
            ValueError: one is no time, or one to come, or they are in the wrong order.
        """
        first = _past_ns("since", since)
        second = time.time_ns() if until is None else _past_ns("until", until)
        if first > second:
            raise ValueError(f"since={since!r} is later than until={until!r}")
        return self._session.read(self._diff(first, second), finish=self._told)

    @blocking
    def live(self) -> Job[LiveKeyValues]:
        """The current values as a table that renews as they change: `live.df`.

        It ends with `stop()`, with the lab, or when no variable and no output has it any more.
        """
        from varco_nats_widgets.stores._live import open_live

        return self._session.read(open_live(self._handle, self._bucket, self._decoding))

    def _told(self, frame: pd.DataFrame) -> pd.DataFrame:
        if words := frame.attrs.pop(_UNKNOWN):
            warn_caller(f"bucket {self.name!r}: {words}")
        return self._session.check_mask(frame)

    def _check(self, key: str, *, pattern: bool = False) -> None:
        """Refuse what no subject can be made of."""
        if not isinstance(key, str) or not key:
            raise ValueError(f"key={key!r}: must be the name of a key")
        tokens = key.split(".")
        problem = "has a '>' that is not at its end" if ">" in tokens[:-1] else None
        if not pattern and is_pattern(key):
            problem = "is a pattern; .frame() and .history() take one"
        # inside a token, the wildcards are characters like others
        plain = self._bucket.prefix + key.translate(_PLAIN)
        if problem := problem or subject_problem(plain):
            raise ValueError(f"key={key!r} {problem}")

    def _pattern(self, keys: str | None) -> tuple[str, str]:
        """The pattern of subjects to read, and what those that are meant begin with."""
        prefix = self._bucket.prefix
        if not keys:
            return f"{prefix}>", prefix
        if is_pattern(keys):
            self._check(keys, pattern=True)
            return prefix + keys, prefix
        whole, dot, _ = keys.rpartition(".")
        if whole:
            self._check(whole)
        return f"{prefix}{whole}{dot}>", prefix + keys

    async def _newest(self, pattern: str, begins: str) -> list[StoredMessage]:
        found, _ = await newest_by_subject(self._session.connection, self._bucket, pattern)
        return [
            message
            for subject, message in found.items()
            if subject.startswith(begins) and operation_of(message.headers) == PUT
        ]

    async def _frame(self, pattern: str, begins: str) -> pd.DataFrame:
        messages = await self._newest(pattern, begins)
        return await asyncio.to_thread(values_frame, messages, self._decoding)

    async def _keys(self) -> list[str]:
        connection, prefix = self._session.connection, self._bucket.prefix
        found, _ = await newest_by_subject(
            connection, self._bucket, f"{prefix}>", headers_only=True
        )
        return sorted(
            self._bucket.key_of(subject)
            for subject, message in found.items()
            if operation_of(message.headers) == PUT
        )

    async def _newest_of(self, key: str) -> StoredMessage | None:
        connection, stream = self._session.connection, self._bucket.stream
        info = await stream_info(connection, stream)
        lookup = Lookup(connection, stream, direct=bool(info.config.allow_direct))
        return await lookup.get({"last_by_subj": self._bucket.prefix + key})

    async def _get(self, key: str) -> Entry:
        message = await self._newest_of(key)
        if message is None:
            await self._raise_unknown(key)
        entry = await asyncio.to_thread(entry_of, message, self._decoding)
        if entry.operation != PUT:
            word = "deleted" if entry.operation == "delete" else "purged"
            found = (
                f"it was {word} at {entry.changed_at:%Y-%m-%d %H:%M:%S} UTC, which is its revision "
                f"{entry.revision}; .history({key!r}) has what is kept of it"
            )
            raise UnknownEntryError(self.name, key, (), "key", found)
        return entry

    async def _raise_unknown(self, key: str) -> NoReturn:
        raise UnknownEntryError(self.name, key, await self._keys())

    async def _history(self, key: str | None) -> pd.DataFrame:
        subject = self._bucket.prefix + (key or ">")
        kept: list[StoredMessage] = []
        await self._read(subject, kept.extend)
        if not kept and key is not None and not is_pattern(key):
            await self._raise_unknown(key)
        return await asyncio.to_thread(history_frame, kept, self._decoding)

    async def _read(self, subject: str, take: Callable[[Sequence[StoredMessage]], object]) -> None:
        """Give all that is kept under a subject to `take`."""
        session = self._session
        history = LabHistory(session.settings, session.connection, self._bucket.stream)
        try:
            selection = await history.select([subject])
            async with aclosing(history.batches(selection)) as batches:
                async for batch in batches:
                    take(batch)
        finally:
            await history.stop()

    async def _pasts(self, *moments: int) -> tuple[Limits, list[Past]]:
        info = await stream_info(self._session.connection, self._bucket.stream)
        limits = Limits.of(info.config.as_dict())
        pasts = [Past(each, limits) for each in moments]

        def take(batch: Sequence[StoredMessage]) -> None:
            for past in pasts:
                past.add(batch)

        await self._read(f"{self._bucket.prefix}>", take)
        return limits, pasts

    async def _at(self, moment_ns: int) -> pd.DataFrame:
        limits, (past,) = await self._pasts(moment_ns)
        frame = await asyncio.to_thread(values_frame, [*past.values.values()], self._decoding)
        unknown = [*map(self._bucket.key_of, past.unknown)]
        when = _when(moment_ns)
        frame.attrs["completeness"] = {
            "at": when,
            "loaded": len(frame),
            "unknown": unknown,
            "reaches_back": not (unknown or limits.ttl),
        }
        frame.attrs[_UNKNOWN] = unknown_words(unknown, f"at {when}", limits)
        return frame

    async def _diff(self, first: int, second: int) -> pd.DataFrame:
        limits, (before, after) = await self._pasts(first, second)
        unknown = sorted({*before.unknown, *after.unknown})
        old, new = (
            {subject: message for subject, message in past.values.items() if subject not in unknown}
            for past in (before, after)
        )
        frame = await asyncio.to_thread(self._changes, old, new)
        keys = [*map(self._bucket.key_of, unknown)]
        since, until = _when(first), _when(second)
        frame.attrs["completeness"] = {"since": since, "until": until, "unknown": keys}
        frame.attrs[_UNKNOWN] = unknown_words(keys, f"at {since} or at {until}", limits)
        return frame

    def _changes(
        self, old: dict[str, StoredMessage], new: dict[str, StoredMessage]
    ) -> pd.DataFrame:
        found = changes(old, new)
        entries = [
            [entry_of(m, self._decoding) if (m := side.get(s)) else None for s in found]
            for side in (old, new)
        ]
        columns: dict[str, Any] = {"change": pd.array([*found.values()], dtype="str")}
        for name, side in zip(("before", "after"), entries, strict=True):
            columns[name] = objects([entry and _shown(entry) for entry in side])
        for name, side in zip(("before", "after"), entries, strict=True):
            revisions = [None if entry is None else entry.revision for entry in side]
            columns[f"{name}_revision"] = pd.array(revisions, dtype="Int64")
        for name, side in zip(("before", "after"), entries, strict=True):
            moments = [None if entry is None else entry.changed_at for entry in side]
            columns[f"{name}_at"] = pd.to_datetime(pd.Series(moments, dtype=object), utc=True).array
        keys = pd.Index([*map(self._bucket.key_of, found)], name="key", dtype="str")
        return pd.DataFrame(columns, index=keys)


class KeyValuesAio(Twin[KeyValues]):
    """The methods of `KeyValues`, to be awaited on any event loop."""

    frame = awaiting(KeyValues.frame)
    get = awaiting(KeyValues.get)
    history = awaiting(KeyValues.history)
    at = awaiting(KeyValues.at)
    diff = awaiting(KeyValues.diff)
    live = awaiting(KeyValues.live)


async def open_key_values(handle: Handle, name: str, decoder: DecoderLike | None) -> KeyValues:
    """The bucket of that name."""
    bucket, _ = await find(handle.session.connection, KEY_VALUES, name)
    return KeyValues(handle, bucket, decoder)


def _shown(entry: Entry) -> Any:
    """The value, or the bytes where it cannot be read."""
    return entry.value if entry.problem is None else entry.data


def _past_ns(name: str, value: Moment) -> int:
    now = datetime.now(UTC)
    found = moment(name, value, now)
    if found is None:
        raise ValueError(f"{name}=None: give a time, such as '10m' for ten minutes ago")
    if found > now:
        raise ValueError(f"{name}={value!r} is a time to come")
    return pd.Timestamp(found).value


def _when(moment_ns: int) -> str:
    return f"{pd.Timestamp(moment_ns, tz='UTC'):%Y-%m-%d %H:%M:%S} UTC"
