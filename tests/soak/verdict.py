"""The table of what was counted, and what was broken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import NamedTuple

_SHOWN = 5  # violations of one kind that are shown

_ROWS = (
    *("acknowledged", "acknowledged and lost", "longest silence in s"),
    *("stored twice", "stored out of order", "replicas differ"),
    *("never handled", "handled twice, server fault nearby"),
    *("handled twice, other fault nearby", "handled twice, no fault nearby"),
    *("handled out of order", "handled out of order, server fault"),
    *("dead letters replayed", "replayed twice", "dead letters lost"),
    *("dead letters left", "dead letters not replayed"),
    *("seen live", "live gaps", "live repeats", "live rows not stored"),
    *("frames asked for", "frames not whole"),
)
_ROWS_OF_ALL = ("refused with an error of ours", "raw errors", "wrong log lines", "left behind")


class Violation(NamedTuple):
    promise: str
    semantics: str
    text: str
    where: str


class Verdict:
    """A table of counts, and what was broken."""

    def __init__(self, semantics: Collection[str]) -> None:
        self.semantics = tuple(semantics)
        self.counts: dict[str, Counter[str]] = {
            row: Counter(dict.fromkeys(self.semantics, 0)) for row in _ROWS
        } | {row: Counter({"": 0}) for row in _ROWS_OF_ALL}
        self.violations: list[Violation] = []

    def count(self, row: str, semantics: str = "", number: int = 1) -> None:
        self.counts.setdefault(row, Counter())[semantics] += number

    def broken(self, promise: str, semantics: str, text: str, where: str = "") -> None:
        """Those with the same text are shown once; `where` is that of the first."""
        self.count(promise, semantics)
        self.violations.append(Violation(promise, semantics, text, where))

    def __str__(self) -> str:
        kinds = Counter((v.promise, v.semantics) for v in self.violations)
        lines = [" " * 36 + "".join(f"{name:>16}" for name in self.semantics)]
        for row, counts in self.counts.items():
            cells = [
                f"{n:,}{' !!' if (row, name) in kinds else '   '}" for name, n in counts.items()
            ]
            lines.append(f"{row:36}" + "".join(f"{cell:>16}" for cell in cells))
        for (promise, semantics), times in kinds.items():
            lines.append(f"\nbroken {times} times: {promise} {semantics}")
            found = [v for v in self.violations if v[:2] == (promise, semantics)]
            wheres = {v.text: v.where for v in reversed(found)}
            for text, each in Counter(v.text for v in found).most_common(_SHOWN):
                often = f"{each} times: " if each > 1 else ""
                lines.append(f"  {often}{text}{wheres[text] and f'; {wheres[text]}'}")
        return "\n".join([*lines, "", "broken promises: see above" if kinds else "all kept"])
