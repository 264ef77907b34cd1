"""`varco nats upgrade` and `rollback` on a real server."""

from __future__ import annotations

import json

from nats.aio.client import Client

from tests.core.commands.conftest import Command
from tests.core.test_upgrade import COUNT, Released, fill
from tests.waiting import until
from varco_nats.config import NatsEventBusSettings


async def stopped(nc: Client, settings: NatsEventBusSettings) -> bool:
    """Whether the server knows that nobody listens to the durable any more."""
    info = await nc.jetstream().consumer_info(settings.stream_name, "svc-orders")
    return not info.push_bound


async def test_upgrade_and_rollback(
    varco_nats: Command, settings: NatsEventBusSettings, nc: Client
) -> None:
    async def consumers() -> list[bool]:
        """Of each consumer, whether it is a push consumer."""
        found = await nc.jetstream().consumers_info(settings.stream_name)
        return [info.config.deliver_subject is not None for info in found]

    missing = await varco_nats("upgrade")
    assert (missing.code, missing.out) == (1, "")
    assert f"stream '{settings.stream_name}' does not exist" in missing.err

    await fill(settings)
    async with Released(nc, settings) as released:
        await until(lambda: len(released.handled) == COUNT)
        blocked = await varco_nats("upgrade", "--run", "--json")
    [step] = map(json.loads, blocked.out.splitlines())
    assert (blocked.code, step["channel"], step["may_repeat"]) == (1, "orders", 1)
    assert step["blocked"]
    assert blocked.err == "nothing was changed, as a step is blocked\n"

    await until(lambda: stopped(nc, settings))
    planned = await varco_nats("upgrade")
    assert planned.code == 0
    assert [line[:3] for line in planned.cells] == [["orders", "svc-orders", "1"]]
    assert planned.err == "nothing was changed, --run does it\n"
    assert await consumers() == [True]

    done = await varco_nats("upgrade", "--run")
    assert (done, await consumers()) == ((0, planned.out, "done\n"), [False])
    again = await varco_nats("upgrade", "--run")
    assert (again.code, again.err) == (0, "there is nothing to do\n")

    assert (await varco_nats("rollback")).code == 0
    assert await consumers() == [False]
    assert (await varco_nats("rollback", "--run")).code == 0
    assert await consumers() == [True]
