"""Finds variables of the environment whose names look like misspelled settings."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from functools import cache
from typing import get_args

from pydantic import BaseModel

from varco_nats._log import logger as _logger

_CLOSE = 0.8
_SHORTEST = 3  # letters of a word that stands for a longer one


def warn_of_typos(model: type[BaseModel], prefix: str, others: re.Pattern[str]) -> None:
    """Log once each variable that begins with `prefix` and almost names a field of `model`.

    Args:
        others: matches what follows the prefix in variables that belong to others.
    """
    known = [name.upper() for name in _fields(model)]
    for variable, value in os.environ.items():
        name = variable.upper().removeprefix(prefix)
        if not value or name == variable.upper() or name in known or others.match(name):
            continue
        if near := similar(name, known):
            _warn(variable, model.__name__, " or ".join(prefix + field for field in near))


def similar(name: str, known: Sequence[str]) -> list[str]:
    """Those of `known` that `name` may stand for: spelled almost alike, or with the same words."""
    if close := get_close_matches(name, known, n=1, cutoff=_CLOSE):
        return close
    words = name.split("_")

    def has_all(field: str) -> bool:
        return all(any(_stands_for(word, part) for part in field.split("_")) for word in words)

    return sorted(filter(has_all, known), key=len)[:2]


def _stands_for(word: str, part: str) -> bool:
    return word == part or (len(word) >= _SHORTEST and part.startswith(word))


def _fields(model: type[BaseModel]) -> Iterator[str]:
    """The fields of `model`, those of nested models as `outer__inner`."""
    for field, info in model.model_fields.items():
        yield field
        for nested in _models(info.annotation):
            yield from (f"{field}__{name}" for name in _fields(nested))


def _models(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


@cache
def _warn(variable: str, settings: str, near: str) -> None:
    _logger.warning(
        "%s is set, but %s has no such setting; did you mean %s?", variable, settings, near
    )
