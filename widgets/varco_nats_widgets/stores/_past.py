"""What a key-value bucket held at a moment, as far as it still keeps what it held then. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from varco_nats.history import StoredMessage
from varco_nats_widgets.frames._cells import counted
from varco_nats_widgets.stores._entries import PURGE, PUT, operation_of

_SHOWN = 5  # keys in a sentence


@dataclass(frozen=True, slots=True)
class Limits:
    """What a bucket drops by itself."""

    history: int | None
    """Revisions that it keeps of each key; None keeps all."""
    ttl: bool
    """Whether all values expire."""

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Limits:
        """Those of a stream's configuration."""
        most = int(config.get("max_msgs_per_subject") or -1)
        return cls(most if most > 0 else None, bool(config.get("max_age")))

    @property
    def words(self) -> str:
        kept = "all" if self.history is None else f"the last {self.history}"
        noun = "revision" if self.history == 1 else "revisions"
        return f"{kept} {noun} of a key{', until they expire' if self.ttl else ''}"


class Past:
    """The values that keys had at a moment.

    Args:
        moment_ns: in nanoseconds since 1970 UTC.
    """

    def __init__(self, moment_ns: int, limits: Limits) -> None:
        self._moment = moment_ns
        self._limits = limits
        self._last: dict[str, StoredMessage] = {}
        self._next: dict[str, StoredMessage] = {}  # the first kept one after it
        self._kept: Counter[str] = Counter()

    def add(self, messages: Iterable[StoredMessage]) -> None:
        """Take what the bucket keeps, in its order, what came after the moment too."""
        for message in messages:
            subject = message.subject
            self._kept[subject] += 1
            if message.time_ns <= self._moment:
                self._last[subject] = message
            elif subject not in self._next:
                self._next[subject] = message

    @property
    def values(self) -> dict[str, StoredMessage]:
        """What the keys had then, by subject; those that were deleted are not among them."""
        return {
            subject: message
            for subject, message in self._last.items()
            if operation_of(message.headers) == PUT
        }

    @property
    def unknown(self) -> list[str]:
        """The subjects of which it is not known what they were: what they had is not kept."""
        return sorted(
            subject
            for subject, following in self._next.items()
            if subject not in self._last and self._may_have_had(subject, following)
        )

    def _may_have_had(self, subject: str, following: StoredMessage) -> bool:
        """Whether the bucket may have dropped a revision before the first that it keeps."""
        most = self._limits.history
        return (
            self._limits.ttl
            or (most is not None and self._kept[subject] >= most)
            or operation_of(following.headers) == PURGE
        )


def unknown_words(keys: list[str], when: str, limits: Limits) -> str:
    """What to say of keys of which nothing from then is kept; "" if there is nothing to say."""
    if keys:
        names = ", ".join(map(repr, keys[:_SHOWN])) + (", …" if len(keys) > _SHOWN else "")
        return (
            f"what {counted(len(keys), 'key')} held {when} is not known ({names}): the bucket "
            f"keeps {limits.words}, and nothing of before a purge"
        )
    if limits.ttl:
        return f"its values expire: a key that has expired since is missing in what it held {when}"
    return ""


def changes(
    before: Mapping[str, StoredMessage], after: Mapping[str, StoredMessage]
) -> dict[str, str]:
    """What became of each subject, `added`, `changed` or `removed`; one of equal bytes is none."""
    found: dict[str, str] = {}
    for subject in sorted({*before, *after}):
        old, new = before.get(subject), after.get(subject)
        if old is None:
            found[subject] = "added"
        elif new is None:
            found[subject] = "removed"
        elif old.data != new.data:
            found[subject] = "changed"
    return found
