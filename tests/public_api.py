"""The public names of both packages with their parameters, as text: what users rely on.

`python -m tests.public_api > tests/public_api.txt` renews the list after a change on purpose.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

LIST = Path(__file__).with_suffix(".txt")
CORE = """
    bus channel cli config connection di dlq errors health history observe replay server subjects
    upgrade
"""
WIDGETS = """
    dead_letters decoders delivery durability experiment explorer export frames lab live publish
    record replays sample stores
"""
MODULES = [
    "varco_nats",
    *(f"varco_nats.{name}" for name in CORE.split()),
    "varco_nats_widgets",
    *(f"varco_nats_widgets.{name}" for name in WIDGETS.split()),
]


def public_names(module: ModuleType) -> list[str]:
    listed = getattr(module, "__all__", None)
    if listed is not None:
        return sorted(listed)
    return sorted(
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    )


def described(name: str, value: object) -> Iterator[str]:
    """One line for what `name` is, and one for each public member of a class of ours."""
    if inspect.isclass(value):
        yield f"{name}{_parameters(value)}"
        for base in value.__mro__:
            if base.__module__.startswith("varco_nats"):
                for member, found in vars(base).items():
                    if not member.startswith("_"):
                        yield f"{name}.{member}{_parameters(found)}"
    elif inspect.isroutine(value):
        yield f"{name}{_parameters(value)}"
    else:
        yield name


def _parameters(value: object) -> str:
    """Names, kinds and defaults; types are for the type checker."""
    if isinstance(value, classmethod | staticmethod):
        value = value.__func__
    if not (inspect.isclass(value) or inspect.isroutine(value)):
        return ""
    try:
        found = inspect.signature(value)
    except (TypeError, ValueError):
        return ""
    plain = [each.replace(annotation=inspect.Parameter.empty) for each in found.parameters.values()]
    text = str(found.replace(parameters=plain, return_annotation=inspect.Signature.empty))
    # what differs from run to run and from machine to machine
    text = re.sub(r"<function (\S+)[^>]*>+", r"\1", text)
    text = re.sub(r"(frozenset)\(\{[^}]*\}\)", r"\1(...)", text)
    return re.sub(r"'/[^']*'", "...", text)


def public_api() -> str:
    lines = []
    for name in MODULES:
        module = importlib.import_module(name)
        lines.append(f"# {name}")
        for public in public_names(module):
            lines += sorted(set(described(public, getattr(module, public))))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(public_api(), end="")
