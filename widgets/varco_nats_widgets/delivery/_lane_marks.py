"""The marks of a timeline as arrays, and which of them are drawn when there are too many. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from varco_nats_widgets.record._rows import KINDS
from varco_nats_widgets.record._table import lost_acks, order_of

LOOKS = (*KINDS, "redelivered", "skipped", "unacknowledged", "handled_again", "ack_lost")
"""What a mark can look like: the kinds of rows, and those that other columns tell apart."""

CALM = ("published", "stored", "delivered", "handled", "acked")
"""What a message goes through when nothing goes wrong."""

MAX_EVENTS = 2000
"""Events that are drawn."""

MAX_MARKS = 20_000
"""Marks that are drawn."""

_CODES = {look: code for code, look in enumerate(LOOKS)}
_IS_FAULT = np.array([look not in CALM for look in LOOKS])


class Marks(NamedTuple):
    """Marks in order of time; all arrays have one length.

    Attributes:
        time: seconds since the epoch, ascending.
        event: the number of the event, from 1; 0 for a fault, which is of none.
        look: positions in `LOOKS`.
        lane: positions in a list of lanes.
        delivery: which delivery, 0 for none.
    """

    time: npt.NDArray[np.float64]
    event: npt.NDArray[np.int64]
    look: npt.NDArray[np.int64]
    lane: npt.NDArray[np.int64]
    delivery: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.time)

    @classmethod
    def none(cls) -> Marks:
        empty = np.empty(0, dtype=np.int64)
        return cls(np.empty(0), empty, empty, empty, empty)

    @classmethod
    def of(
        cls, time: Any, event: Any, kind: Any, lane: Any, delivery: Any, seq: Any = None
    ) -> Marks:
        """The marks of rows in any order.

        Args:
            kind: positions in `KINDS`.
            seq: stream sequences, -1 for none, to tell apart acks that did nothing; None where
                every ack in the record is known to have arrived.

        Raises:
            ValueError: the arrays differ in length.
        """
        times = np.asarray(time, dtype=np.float64)
        integers = [np.asarray(part, dtype=np.int64) for part in (event, kind, lane, delivery)]
        if any(part.shape != times.shape for part in integers) or times.ndim != 1:
            sizes = ", ".join(str(np.size(part)) for part in (time, event, kind, lane, delivery))
            raise ValueError(f"marks need arrays of the same length, not of {sizes}")
        order = order_of(times)
        events, kinds, lanes, deliveries = (part[order] for part in integers)
        seqs = None if seq is None else np.asarray(seq, dtype=np.int64)[order]
        looks = looks_of(kinds, deliveries, events, seqs)
        return cls(times[order], events, looks, lanes, deliveries)

    def take(self, which: Any) -> Marks:
        """The marks at these positions."""
        return Marks(*(part[which] for part in self))

    def counts(self) -> list[tuple[str, int]]:
        """How many marks have each look, without the looks that no mark has."""
        counted = np.bincount(self.look, minlength=len(LOOKS)).tolist()
        shown = sorted(range(len(LOOKS)), key=lambda code: _order(LOOKS[code]))
        return [(LOOKS[code], counted[code]) for code in shown if counted[code]]


def looks_of(
    kinds: npt.NDArray[np.int64],
    deliveries: npt.NDArray[np.int64],
    events: npt.NDArray[np.int64],
    seqs: npt.NDArray[np.int64] | None,
) -> Any:
    """What rows in order of time look like, as positions in `LOOKS`."""
    delivered = kinds == _CODES["delivered"]
    acked = kinds == _CODES["acked"]
    handled = np.flatnonzero(kinds == _CODES["handled"])
    again = np.zeros(len(kinds), dtype=bool)
    again[handled] = True
    again[handled[np.unique(events[handled], return_index=True)[1]]] = False
    nothing = np.zeros(len(kinds), dtype=bool)
    conditions = [
        delivered & (deliveries > 1),
        (kinds == _CODES["deduplicated"]) & (deliveries > 0),
        (kinds == _CODES["failed"]) & (deliveries == 0),
        again,
        nothing if seqs is None else lost_acks(acked, delivered, seqs, deliveries),
    ]
    return np.select(conditions, [_CODES[look] for look in LOOKS[len(KINDS) :]], kinds)


class Sample(NamedTuple):
    """Which of the marks are drawn.

    Attributes:
        events: whether an event is drawn, by its number.
        places: the marks that are drawn.
        note: what is not drawn, in words; "" if everything is.
    """

    events: npt.NDArray[np.bool_]
    places: npt.NDArray[np.int64]
    note: str


def sample(
    marks: Marks,
    *,
    newest: int = 0,
    always: Iterable[int] = (),
    max_events: int = MAX_EVENTS,
    max_marks: int = MAX_MARKS,
) -> Sample:
    """Choose whole events to draw: those with faults first, and an even sample of the others.

    Args:
        newest: how many of the newest events are drawn in any case.
        always: events that are drawn in any case too.
        max_events: about how many events are drawn at most.
        max_marks: how many marks are drawn at most.
    """
    size = int(marks.event.max(initial=0)) + 1
    sizes = np.bincount(marks.event, minlength=size)
    present = sizes > 0
    faulty = np.zeros(size, dtype=bool)
    faulty[marks.event[_IS_FAULT[marks.look]]] = True
    wanted = np.zeros(size, dtype=bool)
    wanted[[event for event in always if 0 < event < size]] = True
    if newest:
        wanted[-newest:] = present[-newest:]
    limit = max_events
    while True:
        keep, words = _chosen(present, faulty, wanted, limit)
        if int(sizes[keep].sum()) <= max_marks or limit <= 1:
            break
        limit //= 2
    keep[0] = True  # faults
    places = np.flatnonzero(keep[marks.event])
    if len(places) > max_marks:
        words = f"the newest {max_marks:,} of {len(marks):,} marks are drawn"
        places = places[-max_marks:]
    return Sample(keep, places, words)


def _chosen(
    present: npt.NDArray[np.bool_],
    faulty: npt.NDArray[np.bool_],
    wanted: npt.NDArray[np.bool_],
    limit: int,
) -> tuple[npt.NDArray[np.bool_], str]:
    count = int(present[1:].sum())
    if count <= limit:
        return present.copy(), ""
    faults, others = faulty & present, present & ~faulty
    faults[0] = others[0] = False
    every_fault = _stride(int(faults.sum()), limit)
    kept_faults = _every(faults, every_fault)
    every_other = _stride(int(others.sum()), max(limit - int(kept_faults.sum()), limit // 10))
    keep = kept_faults | _every(others, every_other) | wanted
    parts = []
    if found := int(faults.sum()):
        which = "all" if every_fault == 1 else f"every {_ordinal(every_fault)} of the"
        parts.append(f"{which} {found:,} with faults")
    parts.append(f"every {_ordinal(every_other)} of the {int(others.sum()):,} others")
    if parts and not faults.any():
        parts = [f"every {_ordinal(every_other)}"]
    return keep, f"{count:,} events, of which {int(keep[1:].sum()):,} are drawn: {', '.join(parts)}"


def _stride(count: int, room: int) -> int:
    """A power of two, so that events stay drawn for as long as possible while more arrive."""
    stride = 1
    while count > stride * max(room, 1):
        stride *= 2
    return stride


def _every(which: npt.NDArray[np.bool_], stride: int) -> npt.NDArray[np.bool_]:
    """Every `stride`-th event by its number, so that the choice does not depend on the others."""
    chosen: npt.NDArray[np.bool_] = which & (np.arange(len(which)) % stride == 1 % stride)
    return chosen


def _ordinal(number: int) -> str:
    ending = (
        "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    )
    return f"{number:,}{ending}"


def _order(look: str) -> float:
    """The place of a look in the legend: beside the kind that it is a variant of."""
    beside = {
        "redelivered": "delivered",
        "skipped": "deduplicated",
        "unacknowledged": "published",
        "handled_again": "handled",
        "ack_lost": "acked",
    }
    return KINDS.index(beside[look]) + 0.5 if look in beside else KINDS.index(look)
