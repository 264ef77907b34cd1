"""A plugin for pytest: what other packages' tests import is ours, on a real nats-server.

Their own packages are not installed. `varco_kafka` and `varco_redis` are thin covers of ours,
varco-core's bus and queue in memory are ours, and the containers that tests start and break are
`LocalNats`.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import AsyncIterator, Mapping
from types import ModuleType

import pytest

import varco_nats.bus
from varco_nats.config import NatsEventBusSettings

from . import brokers, containers, in_memory, testkit


def pytest_configure(config: pytest.Config) -> None:
    for marker in ("integration", "chaos"):
        config.addinivalue_line("markers", f"{marker}: of the packages whose tests these are")


def _install(modules: Mapping[str, Mapping[str, object]]) -> None:
    for name, members in modules.items():
        module = sys.modules[name] = ModuleType(name)
        vars(module).update(members)


_install(brokers.MODULES)
_install(containers.MODULES)
if importlib.util.find_spec("varco_conformance") is None:
    _install(testkit.MODULES)
in_memory.replace()
# their tests import it from there, where the released module has it for itself
vars(varco_nats.bus)["NatsEventBusSettings"] = NatsEventBusSettings


@pytest.fixture(autouse=True)
async def opened_is_closed() -> AsyncIterator[None]:
    yield
    await in_memory.close_all()
