"""The messages that a consumer of one channel holds, and whether they are still its own."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from varco_nats._nats.delivery import MessageDelivery, clock
from varco_nats.bus._acks import OpenAck


@dataclass(slots=True)
class HeldMessages:
    """The messages that wait, are acknowledged ahead, or are being handled."""

    ours_for: float
    """Seconds after its delivery in which the server cannot have given a message to another
    process."""
    acks_first: bool
    """Whether messages are acknowledged before their handlers run."""
    waiting: deque[MessageDelivery] = field(default_factory=deque)
    acked: deque[OpenAck] = field(default_factory=deque)
    """For messages whose handlers have not begun yet."""
    active: set[MessageDelivery] = field(default_factory=set)
    stale: int = 0
    """How many messages were left to be redelivered."""
    lost_at: float = 0.0
    """The time, by `clock()`: what was delivered before it may be redelivered at any time."""
    _last_seq: int | None = None

    def __len__(self) -> int:
        return len(self.waiting) + len(self.acked) + len(self.active)

    def add(self, delivery: MessageDelivery) -> None:
        """Let a message wait that has arrived."""
        self._last_seq = max(self._last_seq or 0, delivery.seq)
        self.waiting.append(delivery)

    def take(self) -> MessageDelivery | None:
        """The oldest waiting message that is still this process's; those before it are stale."""
        while self.waiting:
            delivery = self.waiting.popleft()
            if self.is_ours(delivery):
                return delivery
            self.stale += 1
        return None

    def is_ours(self, delivery: MessageDelivery) -> bool:
        """Whether the server cannot have given it to another process."""
        if self.acks_first and delivery.since < self.lost_at:
            return False
        return clock() - delivery.since < self.ours_for

    def unfinished(self) -> list[MessageDelivery]:
        """The messages that are being handled or wait, without those that have become stale."""
        fresh = [delivery for delivery in self.waiting if self.is_ours(delivery)]
        self.stale += len(self.waiting) - len(fresh)
        self.waiting = deque(fresh)
        return [*self.active, *fresh]

    def resume_after(self) -> int | None:
        """The sequence after which a new consumer must start; None before the first message."""
        if self._last_seq is None:
            return None
        held = [delivery.seq for delivery in self.waiting]
        if not self.acks_first:
            held += [delivery.seq for delivery in self.active]
        return min([self._last_seq, *(seq - 1 for seq in held)])
