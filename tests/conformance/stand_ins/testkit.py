"""varco's testkit, which no package index has: its classes without their tests.

With `--testkit` the real one is used.
"""

from __future__ import annotations

from typing import Any

from providify import DIContainer


def no_structural_issues(container: DIContainer) -> None:
    """Every binding of `container` can be resolved."""
    errors = container.validate(raise_on_error=False).errors
    assert not errors, errors


class WithoutTests:
    """In the place of a class of tests."""


MODULES: dict[str, dict[str, Any]] = {
    "varco_conformance": {},
    "varco_conformance.channel_manager": {"ChannelManagerConformance": WithoutTests},
    "varco_conformance.dlq": {"DeadLetterQueueConformance": WithoutTests},
    "varco_conformance.event_bus": {"EventBusConformance": WithoutTests},
    "varco_conformance.providify_health": {"assert_no_structural_di_issues": no_structural_issues},
    "tls_fixtures": {},
}
