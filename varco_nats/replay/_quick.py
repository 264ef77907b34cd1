"""Frozen dataclasses that are made by the ten thousand."""

from __future__ import annotations

from dataclasses import field, fields, make_dataclass
from typing import Any, cast


def quickly_made[T](frozen: type[T]) -> type[T]:
    """A class whose call makes what `frozen(...)` makes, in a third of the time.

    The constructor of a frozen dataclass sets each value by a call.

    Args:
        frozen: with slots, and without a `__post_init__`.
    """

    def become_frozen(self: Any) -> None:
        self.__class__ = frozen  # both have the same slots

    thawed = make_dataclass(
        frozen.__name__,
        [
            (
                each.name,
                each.type,
                field(default=each.default, default_factory=each.default_factory),
            )
            for each in fields(cast(Any, frozen))
        ],
        namespace={"__post_init__": become_frozen},
        slots=True,
    )
    return cast(type[T], thawed)
