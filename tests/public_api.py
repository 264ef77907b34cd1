"""The public names of both packages and their signatures, as text: `python -m tests.public_api`."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from types import ModuleType

MODULES = [
    "varco_nats",
    "varco_nats.bus",
    "varco_nats.channel",
    "varco_nats.cli",
    "varco_nats.config",
    "varco_nats.connection",
    "varco_nats.di",
    "varco_nats.dlq",
    "varco_nats.errors",
    "varco_nats.health",
    "varco_nats.history",
    "varco_nats.observe",
    "varco_nats.replay",
    "varco_nats.server",
    "varco_nats.subjects",
    "varco_nats_widgets",
    "varco_nats_widgets.dead_letters",
    "varco_nats_widgets.delivery",
    "varco_nats_widgets.durability",
    "varco_nats_widgets.experiment",
    "varco_nats_widgets.explorer",
    "varco_nats_widgets.export",
    "varco_nats_widgets.frames",
    "varco_nats_widgets.lab",
    "varco_nats_widgets.live",
    "varco_nats_widgets.record",
    "varco_nats_widgets.replays",
    "varco_nats_widgets.sample",
]


def public_names(module: ModuleType) -> list[str]:
    listed = getattr(module, "__all__", None)
    if listed is not None:
        return sorted(listed)
    return sorted(
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and not inspect.ismodule(value)
        and getattr(value, "__module__", module.__name__) == module.__name__
    )


def described(name: str, value: object) -> Iterator[str]:
    """One line for what `name` is, and one for each public member of a class of ours."""
    if inspect.isclass(value):
        yield f"class {name}{_signature(value)}"
        for base in reversed(value.__mro__):
            if not base.__module__.startswith("varco_nats"):
                continue
            for member, found in sorted(vars(base).items()):
                if not member.startswith("_"):
                    yield f"  {name}.{member}{_member(found)}"
    elif callable(value):
        yield f"{name}{_signature(value)}"
    else:
        yield f"{name}: {type(value).__name__}"


def _member(value: object) -> str:
    if isinstance(value, property):
        return ""
    if isinstance(value, classmethod | staticmethod):
        value = value.__func__
    return _signature(value) if inspect.isroutine(value) else ""


def _signature(value: object) -> str:
    """The parameters; what is returned is for the type checker."""
    try:
        found = inspect.signature(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return ""
    plain = [each.replace(annotation=inspect.Parameter.empty) for each in found.parameters.values()]
    return str(found.replace(parameters=plain, return_annotation=inspect.Signature.empty))


def public_api() -> str:
    lines = []
    for name in MODULES:
        module = importlib.import_module(name)
        lines.append(f"# {name}")
        for public in public_names(module):
            lines.extend(sorted(set(described(public, getattr(module, public)))))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(public_api(), end="")
