"""The private names of nats-py and varco-core: those that are used exist and are listed."""

from __future__ import annotations

import ast
import inspect
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from varco_core.event.base import CHANNEL_ALL, Event, Subscription
from varco_core.event.middleware import CorrelationMiddleware
from varco_core.tracing import current_correlation_id

from tests.events import OrderPlaced
from varco_nats._nats import client, nats_py
from varco_nats._nats.nats_py import PRIVATE_NAMES
from varco_nats._varco_core import CORRELATION_IDS, EVENT_CLASSES, SubscriptionEntry

NAMES = {
    (of, name): reason
    for of, groups in PRIVATE_NAMES.items()
    for group, reason in groups.items()
    for name in group.split()
}


def private_names_in(module: Path) -> set[str]:
    """The attributes that a module uses and the methods that it defines, where they are private."""
    nodes = list(ast.walk(ast.parse(module.read_text())))
    used = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    defined = {
        node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    return {name for name in used | defined if name.startswith("_") and not name.startswith("__")}


def has(of: Any, name: str) -> bool:
    """Whether a class has an attribute, or its objects have one."""
    set_in_objects = rf"self\.{name}\b[^=\n]*="
    return hasattr(of, name) or re.search(set_in_objects, inspect.getsource(of)) is not None


@pytest.mark.parametrize(("of", "name"), NAMES, ids=lambda part: getattr(part, "__name__", part))
def test_nats_py_has_each_private_name_that_is_used(of: type, name: str) -> None:
    assert has(of, name), (
        f"nats-py {version('nats-py')} has no {of.__name__}.{name}, which "
        f"varco_nats/_nats/nats_py.py relies on ({NAMES[of, name]}); adapt that module to "
        "this version, or lower the bound of nats-py in pyproject.toml"
    )


def test_each_private_name_is_listed_and_each_listed_one_is_used() -> None:
    used = private_names_in(Path(nats_py.__file__))
    theirs = {name for name in used if any(has(of, name) for of in PRIVATE_NAMES)}
    assert theirs == {name for _, name in NAMES if name.startswith("_")}


def test_no_other_module_of_the_client_uses_one() -> None:
    listed = {name for _, name in NAMES}
    assert not private_names_in(Path(client.__file__)) & listed


def test_varco_core_has_the_private_names_that_are_used() -> None:
    assert EVENT_CLASSES[OrderPlaced.event_type_name()] is OrderPlaced
    entry = SubscriptionEntry(Event, CHANNEL_ALL, lambda event: None, None, 0)
    Subscription(entry).cancel()
    assert entry.cancelled
    for variable, current in zip(
        CORRELATION_IDS, (current_correlation_id, CorrelationMiddleware.current_id), strict=True
    ):
        token = variable.set("request 1")
        assert current() == "request 1"
        variable.reset(token)
