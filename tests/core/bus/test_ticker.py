"""The timer of all channels, which leaves alone those that have nothing to do."""

from __future__ import annotations

from tests.waiting import until
from varco_nats._nats.delivery import clock
from varco_nats.bus._ticker import Ticker


async def test_what_is_not_due_is_not_called_until_it_is_added_again() -> None:
    ticker = Ticker(0.01)
    calls = {"quiet": 0, "busy": 0}

    def quiet() -> float:
        calls["quiet"] += 1
        return clock() + 1000

    def busy() -> float:
        calls["busy"] += 1
        return 0.0

    async def after_two_more_ticks() -> int:
        before = calls["busy"]
        await until(lambda: calls["busy"] >= before + 2)
        return calls["quiet"]

    ticker.add(quiet)
    ticker.add(busy)
    assert await after_two_more_ticks() == 1
    assert await after_two_more_ticks() == 1
    ticker.add(quiet)
    assert await after_two_more_ticks() == 2
    ticker.discard(quiet)
    ticker.discard(busy)
    assert ticker._timer is None
