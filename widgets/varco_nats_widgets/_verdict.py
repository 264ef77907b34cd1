"""What an experiment was expected to show and what it showed. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Verdict:
    """Expected outcomes against those that happened."""

    expected: Mapping[str, int]
    """Events by outcome, as the documented semantics promise."""
    happened: Mapping[str, int]
    """Events by outcome, as measured."""
    text: str
    """The same in sentences."""

    @property
    def holds(self) -> bool:
        """Whether it was as promised."""
        return dict(self.expected) == dict(self.happened)
