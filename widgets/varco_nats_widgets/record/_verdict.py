"""What an experiment was expected to show and what it showed. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple


class Surprise(NamedTuple):
    """An event whose outcome is not the one that was promised."""

    event: int
    """Its number, from 1."""
    expected: str
    happened: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcomes that were expected, and those that happened."""

    expected: Mapping[str, int]
    """Events by outcome, as the documented semantics promise."""
    happened: Mapping[str, int]
    """Events by outcome, as measured."""
    text: str
    """The same in sentences."""
    surprises: tuple[Surprise, ...] = ()
    """The events whose outcome is not the expected one."""

    @property
    def holds(self) -> bool:
        """Whether every event had the outcome that was promised."""
        return not self.surprises
