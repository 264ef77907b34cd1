"""What each fault does when its event is published: kill, cut the network, publish again."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from contextlib import suppress

from varco_nats.config import NatsDeliverySemantics
from varco_nats.errors import PublishError
from varco_nats_widgets.experiment._consumer import ExperimentEvent
from varco_nats_widgets.experiment._plan import ExperimentError
from varco_nats_widgets.experiment._proxy import Direction
from varco_nats_widgets.experiment._setup import ExperimentSetup
from varco_nats_widgets.record._rows import PRODUCER, STREAM

_MARGIN = 0.3  # after the duplicate window; the server's clean-up may be 50 ms late
_FLUSH_SECONDS = 0.5  # the server writes a consumer's position some 100 ms after it changed
_ACK_SECONDS = 0.005  # the time that an ack takes to reach the server
_PUBACK = re.compile(rb'\{"stream":"')
_ACK = re.compile(rb"PUB \$JS\.ACK\.[^\r\n]* 0\r\n")


async def strike(setup: ExperimentSetup, name: str, event: ExperimentEvent) -> None:
    """Publish `event` and have the fault of this name happen to it."""
    match name:
        case "puback_lost":
            await _lose_puback(setup, event)
        case "ack_lost":
            await _lose_ack(setup, event)
        case "server_killed":
            await _kill_server(setup, event)
        case "server_killed_after_ack":
            await _kill_server_after_ack(setup, event)
        case "consumer_partitioned":
            await _partition(setup, event)
        case "blocking_handler":
            await setup.publish(event)
            await setup.unblocked(event)
        case _ if name.startswith("kill_"):
            await _kill_consumer(setup, event)
        case _ if name.startswith("duplicate_"):
            await _publish_again(setup, name, event)
        case _:
            await setup.publish(event)


async def _kill_consumer(setup: ExperimentSetup, event: ExperimentEvent) -> None:
    before = len(setup.working())
    await setup.publish(event)
    while len(setup.working()) == before:
        await setup.next_poll()


async def _lose_puback(setup: ExperimentSetup, event: ExperimentEvent) -> None:
    proxy = setup.producer_proxy
    began = time.monotonic()
    proxy.drop(Direction.TO_CLIENT)
    publishing = asyncio.create_task(setup.publish(event))
    try:
        await proxy.dropped(_PUBACK)
        proxy.restore()
        setup.record_fault(PRODUCER, "PubAck lost, connection cut")
        if setup.plan.semantics is NatsDeliverySemantics.AT_MOST_ONCE:
            with suppress(PublishError):  # the producer reports that it does not know
                await publishing
            await setup.clients_reconnected()
        else:
            await publishing
            _check_in_window(setup, event, began)
    finally:
        publishing.cancel()


async def _lose_ack(setup: ExperimentSetup, event: ExperimentEvent) -> None:
    proxies = {consumer.name: setup.proxies[consumer.name] for consumer in setup.working()}
    for proxy in proxies.values():
        proxy.drop_from(_ACK)  # not before: the consumer may have to ask for the message again
    await setup.publish(event)
    losing = {asyncio.create_task(proxy.dropped(_ACK)): name for name, proxy in proxies.items()}
    try:
        lost, _ = await asyncio.wait(losing, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in losing:
            task.cancel()
    for proxy in proxies.values():
        proxy.restore()
    setup.record_fault(losing[lost.pop()], "ack lost, connection cut")
    await setup.settled()


async def _kill_server(setup: ExperimentSetup, event: ExperimentEvent) -> None:
    await setup.publish(event)
    consumer = await setup.waiting_in_handler(event.number)
    await asyncio.sleep(_FLUSH_SECONDS)
    await _restart_server(setup)
    consumer.go()


async def _kill_server_after_ack(setup: ExperimentSetup, event: ExperimentEvent) -> None:
    await asyncio.sleep(_FLUSH_SECONDS)  # so that only this event's ack can be forgotten
    handled, acked = setup.counts["handled"], setup.counts["acked"]
    await setup.publish(event)
    while setup.counts["handled"] == handled or setup.counts["acked"] == acked:
        await setup.next_change()
    await asyncio.sleep(_ACK_SECONDS)
    await _restart_server(setup)


async def _restart_server(setup: ExperimentSetup) -> None:
    os.kill(setup.server.pid, signal.SIGKILL)  # at once: the server's guard would take its time
    setup.record_fault(STREAM, "server killed")
    await asyncio.to_thread(setup.server.kill)
    await asyncio.to_thread(setup.server.restart)
    await setup.clients_reconnected()
    setup.record_fault(STREAM, "server back")


async def _partition(setup: ExperimentSetup, event: ExperimentEvent) -> None:
    await setup.publish(event)
    consumer = await setup.waiting_in_handler(event.number)
    proxy = setup.proxies[consumer.name]
    proxy.drop(Direction.TO_SERVER, Direction.TO_CLIENT)
    setup.record_fault(consumer.name, "network cut")
    consumer.go()
    await setup.settled()
    proxy.restore()
    setup.record_fault(consumer.name, "network restored")


async def _publish_again(setup: ExperimentSetup, name: str, event: ExperimentEvent) -> None:
    window = setup.plan.duplicate_window
    began = time.monotonic()
    await setup.publish(event)
    stored = time.monotonic()
    if name == "duplicate_after_ack":
        await setup.settled()
    if name == "duplicate_not_refreshed":
        await asyncio.sleep(window / 2)
        await setup.publish(event)
        _check_in_window(setup, event, began)
    if name in ("duplicate_after_window", "duplicate_not_refreshed"):
        await asyncio.sleep(stored + window + _MARGIN - time.monotonic())
    await setup.publish(event)
    if name in ("duplicate_in_window", "duplicate_after_ack"):
        _check_in_window(setup, event, began)


def _check_in_window(setup: ExperimentSetup, event: ExperimentEvent, began: float) -> None:
    """Raise if the second copy may have missed the duplicate window, as on a busy machine.

    Raises:
        ExperimentError: it came too late for what the fault is to show.
    """
    plan, took = setup.plan, time.monotonic() - began
    if plan.semantics is not NatsDeliverySemantics.EXACTLY_ONCE or setup.was_dropped(event):
        return
    if took > plan.duplicate_window:
        raise ExperimentError(
            plan.title,
            f"event {event.number} was to be sent again inside the duplicate window of "
            f"{plan.duplicate_window:g} s, but that took {took:.1f} s on this busy machine; give a "
            "longer duplicate_window",
        )
