"""What an experiment was expected to show and what it showed. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple


class Surprise(NamedTuple):
    """An event that did not become what was promised."""

    event: int
    """Its number."""
    expected: str
    happened: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """Expected outcomes against those that happened."""

    expected: Mapping[str, int]
    """Events by outcome, as the documented semantics promise."""
    happened: Mapping[str, int]
    """Events by outcome, as measured."""
    text: str
    """The same in sentences."""
    surprises: tuple[Surprise, ...] = ()
    """The events for which the two differ."""

    @property
    def holds(self) -> bool:
        """Whether every event became what was promised."""
        return not self.surprises
