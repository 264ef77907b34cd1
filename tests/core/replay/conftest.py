"""A queue, and a replayer on it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.core.replay.helpers import Balance
from varco_nats import NatsDLQ, NatsEventBusSettings, Replayer


@pytest.fixture
async def replayer(settings: NatsEventBusSettings, dlq: NatsDLQ) -> AsyncIterator[Replayer]:
    async with Replayer(dlq, user="ada") as made:
        yield made


@pytest.fixture(autouse=True)
def counts_for_summary(request: pytest.FixtureRequest) -> None:
    """Let `balance` report to `pytest_terminal_summary`."""
    Balance.properties = request.node.user_properties
