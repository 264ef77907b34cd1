"""Dead letters by what failed and why: a small index of a queue, and its groups. Pure."""

from __future__ import annotations

import re
from array import array
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import numpy as np
import numpy.typing as npt
import pandas as pd

from varco_nats._nats.provenance import replays_of
from varco_nats.dlq._codec import StoredEntry
from varco_nats_widgets.dead_letters._filter import event_of, group_id, normalised
from varco_nats_widgets.frames._columns import column_of, microseconds, strings, utc_index

_BUCKETS = 8
_BARS = "▁▂▃▄▅▆▇█"
_ID = re.compile(rb'"(?:event_)?id"\s*:\s*"([^"\\]{1,128})"')
_TYPE = re.compile(rb'"__event_type__"\s*:\s*"([^"\\]{1,200})"')
_FEW = 0.02  # of all failures are left out where the time that a trend covers begins


@dataclass(frozen=True, slots=True)
class _Group:
    """What the entries of one group have in common."""

    id: str
    handler: str
    error_type: str
    message: str
    """Without numbers, ids, times and quoted values."""


class DeadLetterIndex:
    """What is needed of each entry to group and to choose, about 90 bytes each.

    Entries are numbered by position, in the order in which they were added.
    """

    def __init__(self) -> None:
        self._groups: list[_Group] = []
        self._places: dict[tuple[str, str, str], int] = {}  # of a group, by what it has in common
        self._channels: dict[str, int] = {}
        self._types: dict[bytes, int] = {}
        self._ids = bytearray()  # 16 bytes each
        self._seqs = array("q")
        self._first = array("q")  # microseconds since 1970
        self._last = array("q")
        self._group = array("q")
        self._channel = array("q")
        self._type = array("q")
        self._replays = array("q")
        # what may be an event id in an entry, as hashes, with the entry's sequence
        self._event_hashes = array("q")
        self._event_seqs = array("q")

    def __len__(self) -> int:
        return len(self._seqs)

    def add(self, entries: Iterable[StoredEntry]) -> None:
        """Take in entries; those that follow have higher sequences."""
        for stored in entries:
            entry, seq = stored.entry, stored.message.seq
            self._ids += entry.entry_id.bytes
            self._seqs.append(seq)
            self._first.append(microseconds(entry.first_failed_at))
            self._last.append(microseconds(entry.last_failed_at))
            self._group.append(
                self._place_of(entry.handler_name, entry.error_type, entry.error_message)
            )
            self._channel.append(self._channels.setdefault(entry.channel, len(self._channels)))
            self._replays.append(replays_of(stored.headers))
            event = event_of(stored) or b""
            named = _TYPE.search(event)
            event_type = named[1] if named else b""
            self._type.append(self._types.setdefault(event_type, len(self._types)))
            for found in _ID.findall(event):
                self._event_hashes.append(hash(found))
                self._event_seqs.append(seq)

    def _place_of(self, handler: str, error_type: str, message: str) -> int:
        common = normalised(message)
        place = self._places.setdefault((handler, error_type, common), len(self._groups))
        if place == len(self._groups):
            name = group_id(handler, error_type, common)
            self._groups.append(_Group(name, handler, error_type, common))
        return place

    def keep(self, seqs: Collection[int]) -> None:
        """Forget all entries but those with these sequences."""
        kept = np.isin(np.asarray(self._seqs), _numbers(seqs))
        if kept.all():
            return
        ids = np.frombuffer(bytes(self._ids), dtype="V16")[kept]
        self._ids = bytearray(ids.tobytes())
        for name in ("_seqs", "_first", "_last", "_group", "_channel", "_type", "_replays"):
            values = np.asarray(getattr(self, name))[kept]
            setattr(self, name, array("q", values.tobytes()))
        events = np.isin(np.asarray(self._event_seqs), _numbers(seqs))
        for name in ("_event_hashes", "_event_seqs"):
            setattr(self, name, array("q", np.asarray(getattr(self, name))[events].tobytes()))

    @property
    def last_seq(self) -> int:
        """The highest sequence, 0 if there is none."""
        return self._seqs[-1] if self._seqs else 0

    @property
    def channels(self) -> dict[str, int]:
        """How many entries each channel has."""
        return _counted(self._channels, self._channel)

    @property
    def event_types(self) -> dict[str, int]:
        """How many entries each type of event has, as far as a glance at them tells."""
        found = _counted(self._types, self._type)
        return {name.decode(errors="replace"): count for name, count in found.items() if name}

    def seqs(self, groups: Collection[str] | None = None) -> list[int]:
        """The sequences of all entries, or of those in some groups, ascending."""
        found: list[int] = np.asarray(self._seqs)[self._mask(groups)].tolist()
        return found

    def entry_ids(self, groups: Collection[str] | None = None) -> list[UUID]:
        """The ids of all entries, or of those in some groups, in order of their sequences."""
        return self._ids_at(np.flatnonzero(self._mask(groups)).tolist())

    def _ids_at(self, places: Iterable[int]) -> list[UUID]:
        return [UUID(bytes=bytes(self._ids[16 * place : 16 * place + 16])) for place in places]

    def seq_of(self, entry_id: UUID) -> int | None:
        """The sequence of an entry, None if it is not here."""
        place = self._ids.find(entry_id.bytes)
        while place % 16 and place >= 0:
            place = self._ids.find(entry_id.bytes, place + 1)
        return self._seqs[place // 16] if place >= 0 else None

    def may_have_event(self, event_id: str) -> list[int]:
        """Sequences of the entries that may be about this event; no other is."""
        wanted = hash(event_id.encode(errors="surrogatepass"))
        found = np.asarray(self._event_seqs)[np.asarray(self._event_hashes) == wanted]
        return sorted(set(found.tolist()))

    def has_group(self, name: str) -> bool:
        """Whether there is a group of this id."""
        return any(group.id == name for group in self._groups)

    def _mask(self, groups: Collection[str] | None) -> npt.NDArray[np.bool_]:
        if groups is None:
            return np.ones(len(self), dtype=bool)
        places = [place for place, group in enumerate(self._groups) if group.id in groups]
        return np.isin(np.asarray(self._group), places)

    def frame(self) -> pd.DataFrame:
        """The groups, the largest first; see `DeadLetters.groups`."""
        group = np.asarray(self._group, dtype=np.int64)
        entries = pd.DataFrame(
            {
                "group": group,
                "place": np.arange(len(group)),
                "first": np.asarray(self._first),
                "last": np.asarray(self._last),
                "came_back": np.asarray(self._replays) > 0,
            }
        )
        found = entries.groupby("group").agg(
            count=("place", "size"),
            first=("first", "min"),
            last=("last", "max"),
            came_back=("came_back", "sum"),
            newest=("place", "max"),
        )
        found = found.sort_values("count", ascending=False, kind="stable")
        order = found.index.tolist()
        groups = [self._groups[place] for place in order]
        trends, span = self._trends(group)
        columns = {
            "count": found["count"].array,
            "share": found["count"].array / max(len(self), 1),
            "handler": strings([group.handler for group in groups]),
            "error_type": strings([group.error_type for group in groups]),
            "message": strings([group.message for group in groups]),
            "first_seen": utc_index(found["first"].to_numpy()),
            "last_seen": utc_index(found["last"].to_numpy()),
            "trend": column_of(trends[order].tolist()),
            "channels": column_of(self._channels_by_group(group, order)),
            "came_back": found["came_back"].array,
            "example": strings([str(entry_id) for entry_id in self._ids_at(found["newest"])]),
        }
        index = pd.Index(strings([group.id for group in groups]), name="group")
        frame = pd.DataFrame(columns, index=index, copy=False)
        frame.attrs["trend"] = span
        return frame

    def _trends(
        self, group: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], tuple[pd.Timestamp, ...]]:
        """For each group how many failed in each part of the time of nearly all, and that time."""
        times, groups = np.asarray(self._last, dtype=np.int64), len(self._groups)
        if not len(times):
            return np.zeros((groups, _BUCKETS), dtype=np.int64), ()
        low, high = int(np.quantile(times, _FEW, method="lower")), int(times.max())
        buckets = ((times - low) / (high - low + 1) * _BUCKETS).astype(np.int64)
        places = group * _BUCKETS + buckets.clip(0, _BUCKETS - 1)
        counts = np.bincount(places, minlength=groups * _BUCKETS)
        span = tuple(utc_index(np.array([low, high], dtype=np.int64)))
        return counts.reshape(groups, _BUCKETS), span

    def _channels_by_group(
        self, group: npt.NDArray[np.int64], order: Sequence[int]
    ) -> list[list[str]]:
        names = list(self._channels)
        pairs = np.unique(group * max(len(names), 1) + np.asarray(self._channel))
        found: dict[int, list[str]] = {}
        for place, channel in zip(*np.divmod(pairs, max(len(names), 1)), strict=True):
            found.setdefault(int(place), []).append(names[int(channel)])
        return [sorted(found[place]) for place in order]


def sparkline(counts: Sequence[int]) -> str:
    """`counts` as a line of bars, the highest of them full; the lowest bar is nothing."""
    top = max(counts, default=0)
    return "".join(_BARS[-(-n * (len(_BARS) - 1) // top) if n else 0] for n in counts)


def _counted[T](names: Mapping[T, int], places: array[int]) -> dict[T, int]:
    """How often each name occurs, without those that do not."""
    counts = np.bincount(np.asarray(places, dtype=np.int64), minlength=len(names))
    return {name: int(n) for name, n in zip(names, counts.tolist(), strict=True) if n}


def _numbers(seqs: Collection[int]) -> npt.NDArray[np.int64]:
    return np.fromiter(seqs, dtype=np.int64, count=len(seqs))
