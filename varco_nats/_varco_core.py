"""varco-core's private names that this package uses; no other module uses any.

Private names may change with any release of varco-core; a test checks that the installed version
has these.
"""

from __future__ import annotations

from collections.abc import Mapping

from varco_core.event.base import Event

# varco-core's `Subscription`, which `subscribe` has to return, is made of one of these.
from varco_core.event.base import _SubscriptionEntry as SubscriptionEntry

__all__ = ["EVENT_CLASSES", "SubscriptionEntry"]

EVENT_CLASSES: Mapping[str, type[Event]] = Event._registry
"""The event classes of this process by type name, which varco-core uses but does not give."""
