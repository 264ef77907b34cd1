"""Acknowledging entries that were just read: without another look, and never on another message."""

from __future__ import annotations

import asyncio
import re
from uuid import UUID

import pytest
from nats.aio.client import Client
from varco_core.event.redrive import DlqRedriver

from tests.conftest import MakeSettings
from tests.core.helpers import Handled, dlq_stream, entry, push
from tests.proxy import ANSWERS, Proxy, Sent
from tests.waiting import until
from varco_nats.bus import NatsEventBus
from varco_nats.config import NatsEventBusSettings
from varco_nats.dlq import NatsDLQ, _known
from varco_nats.server import LocalNats

LOOK = re.compile(rb"PUB \$JS\.API\.(?:DIRECT\.GET|STREAM\.MSG\.GET)\.")
REMOVAL = re.compile(rb"PUB \$JS\.API\.STREAM\.MSG\.DELETE\.")
REMOVED = re.compile(rb"stream_msg_delete_response")


@pytest.fixture
def proxied(server: LocalNats, proxy: Proxy, make_settings: MakeSettings) -> NatsEventBusSettings:
    return make_settings(servers=proxy.url_for(server.url))


@pytest.mark.parametrize("how", ["listed", "popped", "got"])
async def test_an_entry_that_was_just_given_is_not_looked_up_again(
    how: str, proxied: NatsEventBusSettings, proxy: Proxy
) -> None:
    sent = Sent(proxy)
    async with NatsDLQ(proxied) as dlq:
        pushed = await push(dlq, *(entry(number) for number in range(5)))
        match how:
            case "listed":
                given = await dlq.list_entries()
            case "popped":
                given = await dlq.pop_batch()
            case _:
                given = [got for each in pushed if (got := await dlq.get(each.entry_id))]
        assert given == pushed
        sent.forget()
        for each in given:
            await dlq.ack(each.entry_id)
        assert (sent.count(REMOVAL), sent.count(LOOK)) == (5, 0)
        assert await dlq.count() == 0
        await dlq.ack(given[0].entry_id)  # of which nothing is known any more
        assert sent.count(LOOK) > 0


async def test_no_message_of_a_new_stream_is_removed(
    settings: NatsEventBusSettings, nc: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_known, "_CHECK_SECONDS", 0.0)
    async with NatsDLQ(settings) as dlq:
        pushed = await push(dlq, *(entry(number) for number in range(3)))
        assert await dlq.list_entries() == pushed
        await nc.jetstream().delete_stream(dlq_stream(settings))
        async with NatsDLQ(settings) as other:
            theirs = await push(other, *(entry(number) for number in range(3)))
            for each in pushed:  # with the sequences that theirs have now
                await dlq.ack(each.entry_id)
            assert await other.list_entries() == theirs
        assert await dlq.list_entries() == theirs
        await dlq.ack(theirs[0].entry_id)
        assert await dlq.list_entries() == theirs[1:]


async def test_after_a_reconnect_an_entry_is_looked_up(
    proxied: NatsEventBusSettings, proxy: Proxy
) -> None:
    sent = Sent(proxy)
    async with NatsDLQ(proxied) as dlq:
        pushed = await push(dlq, entry(0), entry(1))
        await dlq.list_entries()
        connections = proxy.connections
        proxy.disconnect()
        await until(lambda: proxy.connections > connections)
        sent.forget()
        await dlq.ack(pushed[0].entry_id)
        assert sent.count(LOOK) > 0
        assert await dlq.list_entries() == [pushed[1]]


async def test_an_entry_that_was_stored_again_meanwhile_is_removed(
    settings: NatsEventBusSettings, dlq: NatsDLQ
) -> None:
    pushed = entry()
    await dlq.push(pushed)
    await dlq.list_entries()
    async with NatsDLQ(settings) as other:
        await other.ack(pushed.entry_id)
        await other.push(pushed)
    await dlq.ack(pushed.entry_id)
    assert await dlq.count() == 0


async def test_ack_whose_answer_is_lost_with_the_connection_removes_nothing_else(
    proxied: NatsEventBusSettings, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_known, "_CHECK_SECONDS", 60.0)
    async with NatsDLQ(proxied) as dlq:
        pushed = await push(dlq, *(entry(number) for number in range(3)))
        await dlq.list_entries()
        await dlq.ack(pushed[0].entry_id)
        proxy.drop(ANSWERS)
        acking = asyncio.create_task(dlq.ack(pushed[1].entry_id))
        await proxy.dropped(REMOVED)
        proxy.restore()
        async with asyncio.timeout(20):
            await acking
        assert await dlq.list_entries() == [pushed[2]]


async def test_redriving_while_the_server_is_killed_loses_nothing(
    make_settings: MakeSettings, own_server: LocalNats
) -> None:
    settings = make_settings(
        servers=own_server.url, publish_timeout_seconds=0.5, publish_attempts=20
    )
    async with NatsDLQ(settings) as dlq, NatsEventBus(settings) as bus:
        handled = Handled(bus)
        pushed = [entry(number) for number in range(300)]
        await asyncio.gather(*map(dlq.push, pushed))
        redriving = asyncio.create_task(DlqRedriver(dlq, bus).redrive_batch(limit=300))
        await until(lambda: len(handled.orders) > 20, every=0)
        assert not redriving.done()
        await asyncio.to_thread(own_server.kill)
        await asyncio.to_thread(own_server.restart)
        report = await redriving
        gone: set[UUID] = {outcome.entry_id for outcome in report.outcomes if outcome.acked}
        left = {each.entry_id for each in await dlq.list_entries(limit=300)}
        assert left == {each.entry_id for each in pushed} - gone
        await until(lambda: len(set(handled.orders)) >= len(gone))
        await DlqRedriver(dlq, bus).redrive_batch(limit=300)
        await until(lambda: len(set(handled.orders)) == 300)
        assert await dlq.count() == 0
