"""What depends on the inside of varco-core: its private names, and the rank of its defaults.

No other module uses any. Private names may change with any release of varco-core; a test checks
that the installed version has these.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

from varco_core.event.base import Event

# varco-core's `Subscription`, which `subscribe` has to return, is made of one of these.
from varco_core.event.base import _SubscriptionEntry as SubscriptionEntry
from varco_core.event.dlq import DeadLetterEntry
from varco_core.event.middleware import _CORRELATION_ID
from varco_core.tracing import _correlation_id

__all__ = [
    "CORRELATION_IDS",
    "EVENT_CLASSES",
    "PRIORITY",
    "QUALIFIER",
    "SubscriptionEntry",
    "new_entry",
]

CORRELATION_IDS: tuple[ContextVar[str | None], ...] = (_correlation_id, _CORRELATION_ID)
"""Where varco-core keeps the correlation id: for `correlation_context` and its log filter, and for
`CorrelationMiddleware`. That of a message has to be set from outside of both."""

EVENT_CLASSES: Mapping[str, type[Event]] = Event._registry
"""The event classes of this process by type name, which varco-core uses but does not give."""

PRIORITY = -sys.maxsize
"""Of what this package binds in a container, as in varco's other backends: it takes the place of
varco-core's in-memory defaults, which are at `-sys.maxsize - 1`, and whatever an application binds
takes its place."""

QUALIFIER = "nats"
"""Tells it from what another backend binds in the same container."""

_ENTRY_FIELDS = DeadLetterEntry.__dataclass_fields__.keys()
_IS_PLAIN = not hasattr(DeadLetterEntry, "__post_init__") and "__dict__" in dir(DeadLetterEntry)


def new_entry(**fields: Any) -> DeadLetterEntry:
    """What `DeadLetterEntry(**fields)` makes, in a third of the time if all fields are given."""
    if not _IS_PLAIN or fields.keys() != _ENTRY_FIELDS:
        return DeadLetterEntry(**fields)
    entry = object.__new__(DeadLetterEntry)
    entry.__dict__.update(fields)  # as it is frozen, its constructor sets each field by a call
    return entry
