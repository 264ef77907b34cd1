"""The rows of a run in the log of replays, and their bytes: columns of JSON, compressed."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from varco_nats.dlq._codec import inflated
from varco_nats.replay import _checked as checked
from varco_nats.replay._report import ReplayOutcome, ReplayResult

_ROWS_AT_ONCE = 5000
_MAX_WHY = 1000
_LETTERS = {
    ReplayOutcome.REPLAYED: "r",
    ReplayOutcome.DUPLICATE: "d",
    ReplayOutcome.DISCARDED: "x",
    ReplayOutcome.FAILED: "f",
    ReplayOutcome.SKIPPED: "s",
    ReplayOutcome.IN_DOUBT: "?",
    ReplayOutcome.NOT_TRIED: "-",
}
_STORED = "rd"


@dataclass(frozen=True, slots=True)
class LoggedRow:
    """The outcome of one message of a run, as the log shows it."""

    key: str
    """The entry's id, or `stream:sequence` of a stored message."""
    entry_id: UUID | None
    outcome: ReplayOutcome | None
    """None where the run died or is still running."""
    seq: int | None = None
    """Where it is stored in the target stream."""
    removed: bool = False
    """Whether the dead letter is gone from the queue."""
    edited: bool = False
    """Whether it was sent with a payload other than the one that failed."""
    why: str = ""


def encode_rows(
    rows: Sequence[ReplayResult], edited: set[str], max_size: int, step: int = _ROWS_AT_ONCE
) -> list[bytes]:
    """The rows of a report, in messages of at most `max_size` bytes."""
    chunks = []
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        columns = {
            "keys": [row.key for row in part],
            "outcomes": "".join(_LETTERS[row.outcome] for row in part),
            "seqs": [row.seq for row in part],
            "removed": "".join("y" if row.removed else "n" for row in part),
            "edited": [row.key for row in part if row.key in edited],
            "why": {index: row.why[:_MAX_WHY] for index, row in enumerate(part) if row.why},
        }
        data = zlib.compress(json.dumps(columns).encode(), 1)
        if len(data) > max_size and len(part) > 1:
            chunks += encode_rows(part, edited, max_size, len(part) // 2)
        else:
            chunks.append(data)
    return chunks


def decode_rows(data: bytes) -> list[LoggedRow]:
    """The rows in a message; raises an exception of any class where they cannot be read."""
    columns = json.loads(inflated(data))
    edited, why = set(checked.array(columns["edited"])), checked.mapping(columns["why"])
    outcome_of = {letter: outcome for outcome, letter in _LETTERS.items()}
    return [
        LoggedRow(
            key=checked.text(key),
            entry_id=None if ":" in key else UUID(key),
            outcome=outcome_of[letter],
            seq=None if seq is None else checked.whole(seq),
            removed=removed == "y",
            edited=key in edited,
            why=checked.text(why.get(str(index), "")),
        )
        for index, (key, letter, seq, removed) in enumerate(
            zip(
                checked.array(columns["keys"]),
                checked.text(columns["outcomes"]),
                checked.array(columns["seqs"]),
                checked.text(columns["removed"]),
                strict=True,
            )
        )
    ]


def stored_keys(data: bytes) -> list[str]:
    """The keys in a message whose replay is stored and whose dead letter is removed.

    Raises an exception of any class where they cannot be read.
    """
    columns = json.loads(inflated(data))
    letters, removals = checked.text(columns["outcomes"]), checked.text(columns["removed"])
    if set(letters) - set(_LETTERS.values()):
        raise ValueError("an unknown outcome")
    rows = zip(checked.array(columns["keys"]), letters, removals, strict=True)
    return [
        checked.text(key) for key, letter, removed in rows if removed == "y" and letter in _STORED
    ]
