"""Which sequences a stream has, as its leader knows them at one moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from varco_nats._nats.client import Connection
from varco_nats._nats.stream import led_info


@dataclass(frozen=True, slots=True)
class Sequences:
    """The sequences from `first` to `last`, without the `deleted` ones."""

    first: int
    last: int
    deleted: Sequence[int]

    @classmethod
    async def of(cls, connection: Connection, stream: str, wait: float | None = None) -> Self:
        """Those of `stream`; see `led_info` for `wait`, and for the errors."""
        state = (await led_info(connection, stream, deleted=True, wait=wait)).state
        return cls(state.first_seq, state.last_seq, state.deleted or [])

    def missing(self, wanted: set[int]) -> set[int]:
        """Those of the wanted sequences that the stream does not have."""
        outside = {seq for seq in wanted if not self.first <= seq <= self.last}
        return outside.union(wanted.intersection(self.deleted))

    def first_beside(self, known: set[int]) -> int:
        """The first sequence that the stream has and that is none of `known`, which is not empty.

        Or the one after the last of `known`, if the stream has no such sequence before.
        """
        end = max(known) + 1
        passed = known.union(self.deleted)
        others = (seq for seq in range(self.first, min(end, self.last + 1)) if seq not in passed)
        return next(others, end)
