"""Filling the queue, running replays, and counting what is stored."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

from nats.js.errors import NotFoundError
from varco_core.event.base import Event
from varco_core.event.dlq import DeadLetterEntry

from tests.conftest import COUNTED
from tests.core.helpers import push
from tests.events import OrderPlaced, orders
from tests.processes import replay_process
from tests.waiting import until
from varco_nats import NatsDLQ, NatsEventBus, NatsEventBusSettings, Replayer
from varco_nats._nats.client import connect
from varco_nats._nats.direct import read_batches
from varco_nats.history import History, StoredMessage
from varco_nats.replay import ReplayPlan, ReplayReport


async def stored(settings: NatsEventBusSettings, channel: str = "orders") -> list[StoredMessage]:
    async with History(settings) as history:
        return [message async for message in history.read(channel)]


async def push_orders(dlq: NatsDLQ, count: int, **fields: Any) -> list[DeadLetterEntry]:
    """Entries that say no more than the order and the channel."""
    events = [OrderPlaced(order_id=str(number)) for number in range(count)]
    return await push(
        dlq, *(DeadLetterEntry(event=event, channel="orders", **fields) for event in events)
    )


async def replayed_ids(settings: NatsEventBusSettings) -> list[str]:
    """What the messages in the channel are the replays of."""
    return [
        message.headers["Varco-Replay-Of"] for message in await stored(settings) if message.headers
    ]


def decisions(plan: ReplayPlan) -> list[tuple[str, str]]:
    return [(str(row.decision), row.why) for row in plan.rows]


async def is_(answer: Any, wanted: object) -> bool:
    return bool(await answer == wanted)


class Broken:
    """A service that cannot handle orders until it is repaired."""

    def __init__(self) -> None:
        self.repaired = False
        self.handled: list[str] = []

    async def on_order(self, event: Event) -> None:
        assert isinstance(event, OrderPlaced)
        if not self.repaired:
            raise RuntimeError("broken")
        self.handled.append(event.order_id)


@asynccontextmanager
async def service_with(
    settings: NatsEventBusSettings, **options: Any
) -> AsyncIterator[tuple[NatsDLQ, NatsEventBus, Replayer]]:
    """A service's queue and bus, and a replayer with these options."""
    async with (
        NatsDLQ(settings) as dlq,
        NatsEventBus(settings, dlq=dlq) as bus,
        Replayer(dlq, **options) as replayer,
    ):
        yield dlq, bus, replayer


async def has_run(replayer: Replayer) -> bool:
    return bool(await replayer.log())


async def publish(settings: NatsEventBusSettings, count: int, channel: str = "orders") -> None:
    async with NatsEventBus(settings) as bus:
        await bus.publish_many(orders(count, channel))


NOBODY = "_INBOX.0123456789abcdefghijAB"

SHORT = 0.25
"""A duplicate window, in seconds, that tests can outwait."""


@dataclass
class Balance:
    """What is in the queue and in the channel."""

    properties: ClassVar[list[tuple[str, object]]] = []
    """Of the running test."""

    entries: set[str]
    stored: Counter[str]
    """How often each entry's replay is stored."""

    def __str__(self) -> str:
        twice = sum(count > 1 for key, count in self.stored.items() if key)
        return f"{len(self.entries)} entries, {self.stored.total()} stored, {twice} more than once"


async def balance(settings: NatsEventBusSettings, when: str) -> Balance:
    """Read both streams message by message, and print the counts."""
    connection = await connect(settings, name="balance")
    entries: set[str] = set()
    stored: Counter[str] = Counter()
    try:
        async for batch in read_batches(connection, f"{settings.stream_name}-dlq"):
            entries |= {message.subject.split(".")[1] for message in batch.messages}
        try:
            await connection.js.stream_info(settings.stream_name)
        except NotFoundError:
            pass
        else:
            async for batch in read_batches(connection, settings.stream_name):
                stored.update(
                    (message.headers or {}).get("Varco-Replay-Of", "") for message in batch.messages
                )
    finally:
        await connection.close()
    found = Balance(entries, stored)
    print(f"{when}: {found}")
    Balance.properties.append((COUNTED, f"{when}: {found}"))
    return found


async def fill(settings: NatsEventBusSettings, count: int) -> set[str]:
    """Dead letters in the queue, and the event stream made; their ids."""
    async with NatsDLQ(settings) as dlq, NatsEventBus(settings):
        entries = [
            DeadLetterEntry(event=OrderPlaced(order_id=str(number)), channel="orders")
            for number in range(count)
        ]
        await asyncio.gather(*(dlq.push(entry) for entry in entries))
    await balance(settings, "before")
    return {str(entry.entry_id) for entry in entries}


def nothing_lost(ids: set[str], found: Balance) -> None:
    """Each entry is in the queue or in the channel, and there at most once."""
    assert found.entries | set(found.stored) == ids
    assert set(found.stored.values()) <= {1}


def all_stored_once(ids: set[str], found: Balance) -> None:
    assert found.entries == set()
    assert found.stored == Counter(dict.fromkeys(ids, 1))


async def check_stored_once(ids: set[str], target: NatsEventBusSettings) -> None:
    """The same for a target that has no queue."""
    async with History(target) as history:
        there = [message async for message in history.read("orders")]
    keys = Counter((message.headers or {})["Varco-Replay-Of"] for message in there)
    print(f"target: {keys.total()} stored")
    assert keys == Counter(dict.fromkeys(ids, 1))


async def replay_rest(settings: NatsEventBusSettings, **options: Any) -> ReplayReport:
    async with Replayer(settings) as replayer:
        return await replayer.run(await replayer.plan(), **options, confirm="nobody")


async def under_way(replayer: Replayer, count: int, **options: Any) -> asyncio.Task[ReplayReport]:
    """A run of all entries that has stored `count` of them."""
    stored = list[object]()
    replayer.observe(stored.append)
    run = asyncio.create_task(replayer.run(await replayer.plan(), **options, confirm="nobody"))
    await until(lambda: len(stored) >= count)
    return run


async def died(settings: NatsEventBusSettings, **config: Any) -> None:
    """Run a child until it has killed itself."""
    async with replay_process(settings, **config) as child:
        assert await child.ended() == -signal.SIGKILL
