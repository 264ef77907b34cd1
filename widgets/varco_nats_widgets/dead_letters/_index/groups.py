"""Dead letters by what failed and why: the rows of an index, selections of them, groups. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from uuid import UUID

import numpy as np
import numpy.typing as npt
import pandas as pd

from varco_nats_widgets.dead_letters._index.cause import cause_of
from varco_nats_widgets.dead_letters._index.filter import group_id
from varco_nats_widgets.frames._columns import clean, column_of, strings, utc_index

_BUCKETS = 8
_BARS = "▁▂▃▄▅▆▇█"
_KNOWN = 50_000  # messages whose group is remembered; services say the same again and again
_FEW = 0.02  # of all failures are left out where the time that a trend covers begins

CODED = ("channel", "handler", "error_type", "event_type", "tenant_id", "source")
"""The columns that have few different texts, of which a row has the code; -1 is none."""

ROW = np.dtype(
    [
        ("seq", np.int64),
        ("id", "V16"),
        ("first", np.int64),  # microseconds since 1970
        ("last", np.int64),
        ("event", np.int64),  # a hash of the event's id
        ("group", np.int32),
        *((name, np.int32) for name in CODED),
        ("came_back", np.bool_),
    ]
)
"""What is known of an entry without looking at its texts."""

type Rows = npt.NDArray[np.void]


@dataclass(frozen=True, slots=True)
class Group:
    """What the entries of one group have in common."""

    id: str
    handler: str
    error_type: str
    message: str
    """What `cause_of` gives."""


class Names:
    """What the codes in the rows of an index stand for. It only grows, so that codes stay."""

    def __init__(self) -> None:
        self.groups: list[Group] = []
        self._places: dict[tuple[str, str, str], int] = {}  # of a group, by what it has in common
        self._known: dict[tuple[str, str, int, int], int] = {}  # the same, by the message
        self._codes: dict[str, dict[str | None, int]] = {name: {} for name in CODED}
        self._texts: dict[str, list[str]] = {name: [] for name in CODED}

    def codes_of(self, column: str, texts: Sequence[str | None]) -> list[int]:
        """The codes of texts, as a frame shows them; -1 for None."""
        known = self._codes[column]
        return [known[text] if text in known else self._code(column, text) for text in texts]

    def _code(self, column: str, text: str | None) -> int:
        if text is None:
            return -1
        codes, texts, shown = self._codes[column], self._texts[column], clean(text)
        if shown not in codes:
            codes[shown] = len(texts)
            texts.append(shown)
        codes[text] = codes[shown]
        return codes[shown]

    def codes(self, column: str, texts: Collection[str]) -> list[int]:
        """The codes of those of these texts that occur."""
        known = self._codes[column]
        return [known[text] for text in texts if text in known]

    def group(self, handler: str, error_type: str, message: str) -> int:
        """The place in `groups` of the group of these failures."""
        said = (handler, error_type, len(message), hash(message))  # the text would take a kilobyte
        known = self._known.get(said)
        if known is not None:
            return known
        cause = cause_of(message)
        place = self._places.setdefault((handler, error_type, cause), len(self.groups))
        if place == len(self.groups):
            name = group_id(handler, error_type, cause)
            self.groups.append(Group(name, handler, error_type, cause))
        if len(self._known) < _KNOWN:
            self._known[said] = place
        return place

    def places(self, groups: Collection[str]) -> list[int]:
        """The places in `groups` of those with these ids."""
        wanted = frozenset(groups)
        return [place for place, group in enumerate(self.groups) if group.id in wanted]

    def counts(self, column: str, codes: npt.NDArray[np.int32]) -> dict[str, int]:
        """How often each text occurs in a column, without those that do not."""
        texts = self._texts[column]
        counts = np.bincount(codes[codes >= 0], minlength=len(texts)).tolist()
        return {text: count for text, count in zip(texts, counts, strict=False) if count}

    def text(self, column: str, code: int) -> str:
        return self._texts[column][code]


class Selection:
    """Entries of an index, as they were when they were selected, in order of their sequences.

    Args:
        rows: of type `ROW`.
    """

    def __init__(self, rows: Rows, names: Names) -> None:
        self._rows = rows
        self._names = names

    def __len__(self) -> int:
        return len(self._rows)

    def counts(self, column: str) -> dict[str, int]:
        """How many entries have each value of one of the columns `CODED`."""
        return self._names.counts(column, self._rows[column])

    def group_ids(self) -> set[str]:
        """The ids of the groups that the entries are in."""
        places = np.flatnonzero(np.bincount(self._rows["group"]))
        return {self._names.groups[place].id for place in places.tolist()}

    def seqs(self, groups: Collection[str] | None = None) -> npt.NDArray[np.int64]:
        """The sequences of all entries, or of those in some groups, ascending."""
        return np.ascontiguousarray(self._of(groups)["seq"])

    def entry_ids(self, groups: Collection[str] | None = None) -> list[UUID]:
        """The ids of all entries, or of those in some groups, in order of their sequences."""
        return _ids(self._of(groups))

    def _of(self, groups: Collection[str] | None) -> Rows:
        if groups is None:
            return self._rows
        return self._rows[np.isin(self._rows["group"], self._names.places(groups))]

    def among(self, entry_ids: Collection[UUID], groups: Collection[str] | None) -> list[UUID]:
        """Those of these ids that entries of some groups have, or any, if None."""
        present = {*id_bytes(self._of(groups))} if entry_ids else set()
        return [entry_id for entry_id in entry_ids if entry_id.bytes in present]

    def frame(self) -> pd.DataFrame:
        """The groups, the largest first; see `DeadLetters.groups`."""
        rows, group = self._rows, self._rows["group"].astype(np.int64)
        entries = pd.DataFrame(
            {
                "group": group,
                "place": np.arange(len(group)),
                "first": rows["first"],
                "last": rows["last"],
                "came_back": rows["came_back"],
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
        groups = [self._names.groups[place] for place in order]
        trends, span = self._trends(group)
        examples = _ids(rows[found["newest"].to_numpy()])
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
            "example": strings([str(entry_id) for entry_id in examples]),
        }
        index = pd.Index(strings([group.id for group in groups]), name="group")
        frame = pd.DataFrame(columns, index=index, copy=False)
        frame.attrs["trend"] = span
        return frame

    def _trends(
        self, group: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], tuple[pd.Timestamp, ...]]:
        """For each group how many failed in each part of the time of nearly all, and that time."""
        times, groups = self._rows["last"], len(self._names.groups)
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
        codes = self._rows["channel"].astype(np.int64)
        several = int(codes.max(initial=0)) + 1
        found: dict[int, list[str]] = {}
        for pair in np.unique(group * several + codes).tolist():
            place, code = divmod(pair, several)
            found.setdefault(place, []).append(self._names.text("channel", code))
        return [sorted(found[place]) for place in order]


def id_bytes(rows: Rows) -> list[bytes]:
    """The ids of rows, 16 bytes each."""
    ids = np.ascontiguousarray(rows["id"]).tobytes()
    return [ids[start : start + 16] for start in range(0, len(ids), 16)]


def _ids(rows: Rows) -> list[UUID]:
    return [UUID(bytes=each) for each in id_bytes(rows)]


def sparkline(counts: Sequence[int]) -> str:
    """`counts` as a line of bars, the highest of them full; the lowest bar is nothing."""
    top = max(counts, default=0)
    return "".join(_BARS[-(-n * (len(_BARS) - 1) // top) if n else 0] for n in counts)
