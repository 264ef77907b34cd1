"""How far a consumer has come: what it delivered, and what of that is still to be acknowledged.

A durable that takes over the position of another one carries it in its metadata, since a consumer
can only be created after a sequence, not with single messages above it acknowledged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Self

from nats.js.api import ConsumerConfig, DeliverPolicy

_DELIVERED, _PENDING = "varco-delivered", "varco-pending"
_MAX_TEXT = 100_000  # the server takes 128 KiB of metadata


@dataclass(frozen=True, slots=True)
class Position:
    """The state of a consumer, in stream sequences."""

    floor: int
    """Every message up to this one is acknowledged."""
    delivered: int
    """No message above this one was delivered."""
    pending: frozenset[int] = frozenset()
    """The delivered messages above the floor that are not acknowledged."""

    def is_acknowledged(self, seq: int) -> bool:
        """Whether the message is not to be handled again."""
        return seq <= self.delivered and seq not in self.pending

    def after(self, other: Position) -> Position:
        """The position at which everything is acknowledged that is so here or at the other one."""
        left = {seq for seq in other.pending if seq > self.delivered}
        open_ = {seq for seq in self.pending if not other.is_acknowledged(seq)}
        pending = frozenset(open_ | left)
        delivered = max(self.delivered, other.delivered)
        return Position(min(pending, default=delivered + 1) - 1, delivered, pending)

    def to_metadata(self) -> dict[str, str] | None:
        """The metadata that `of` reads; None if it would be too large."""
        text = _to_ranges(self.pending)
        if len(text) > _MAX_TEXT:
            return None
        return {_DELIVERED: str(self.delivered), _PENDING: text}

    @classmethod
    def of(cls, config: ConsumerConfig) -> Self | None:
        """The position that a durable with this configuration has taken over, if it has."""
        metadata: Mapping[str, str] = config.metadata or {}
        if _DELIVERED not in metadata:
            return None
        floor = (config.opt_start_seq or 1) - 1
        pending = frozenset(_from_ranges(metadata.get(_PENDING, "")))
        return cls(floor, int(metadata[_DELIVERED]), pending)

    def start(self, config: ConsumerConfig) -> ConsumerConfig:
        """`config` for a consumer that goes on from here."""
        if not self.delivered:
            return config
        metadata = {
            name: value
            for name, value in (config.metadata or {}).items()
            if name not in (_DELIVERED, _PENDING)
        }
        if self.delivered > self.floor:
            metadata |= self.to_metadata() or {}
        return replace(starting_at(config, self.floor + 1), metadata=metadata or None)


def starting_at(config: ConsumerConfig, seq: int) -> ConsumerConfig:
    """`config` for a consumer whose first message is that at `seq`, or the next one."""
    return replace(config, deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=seq)


def _to_ranges(numbers: Iterable[int]) -> str:
    """`{4, 7, 8, 9}` as `4,7-9`."""
    ranges: list[list[int]] = []
    for number in sorted(numbers):
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in ranges)


def _from_ranges(text: str) -> Iterable[int]:
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)
