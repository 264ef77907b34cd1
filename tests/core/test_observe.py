"""What an observer of a bus is told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from nats.aio.client import Client
from varco_core.event.base import Event
from varco_core.event.consumer import EventConsumer, listen
from varco_core.event.dlq import DeadLetterEntry

from tests.conftest import MakeSettings
from tests.events import OrderPlaced
from tests.waiting import until
from varco_nats.bus import NatsEventBus
from varco_nats.config import NatsEventBusSettings
from varco_nats.dlq import NatsDLQ
from varco_nats.errors import PublishManyError
from varco_nats.observe import DeliveryEvent


def fails(event: Event) -> None:
    raise ValueError("never works")


async def observed(
    settings: NatsEventBusSettings,
    handler: Callable[[Event], Awaitable[None] | None],
    until_kind: str,
    dlq: NatsDLQ | None = None,
) -> list[DeliveryEvent]:
    """What happened to one published order, up to `until_kind`."""
    seen: list[DeliveryEvent] = []
    bus = NatsEventBus(settings, dlq=dlq)
    bus.observe(seen.append)
    bus.subscribe(OrderPlaced, handler, channel="orders")
    async with bus:
        await bus.publish(OrderPlaced(order_id="1"), channel="orders")
        await until(lambda: any(event.kind == until_kind for event in seen))
        await until(lambda: any(event.kind == "published" for event in seen))
    return seen


def consumed(seen: list[DeliveryEvent]) -> list[tuple[str, int]]:
    """Kind and delivery count; publishing overlaps with consuming, so it is left out."""
    return [(event.kind.value, event.delivery_count) for event in seen if event.delivery_count]


@pytest.mark.parametrize(
    ("semantics", "way"),
    [
        ("at_most_once", ["acked", "delivered", "handled"]),
        ("at_least_once", ["delivered", "handled", "acked"]),
        ("exactly_once", ["delivered", "handled", "acked"]),
    ],
)
async def test_way_of_a_handled_message(
    make_settings: MakeSettings, semantics: str, way: list[str]
) -> None:
    seen = await observed(make_settings(delivery_semantics=semantics), lambda event: None, way[-1])
    assert consumed(seen) == [(kind, 1) for kind in way]
    [published] = [event for event in seen if event.kind == "published"]
    assert (published.channel, published.event_type, published.seq) == ("orders", "order.placed", 1)
    assert {event.seq for event in seen if event.kind != "sent"} == {1}
    named = {event.event_id for event in seen if event.event_id}
    assert named == {published.event_id}


async def test_way_of_a_message_that_is_given_up(make_settings: MakeSettings) -> None:
    seen = await observed(make_settings(max_deliver=2), fails, "terminated")
    assert consumed(seen) == [
        ("delivered", 1),
        ("failed", 1),
        ("naked", 1),
        ("delivered", 2),
        ("failed", 2),
        ("terminated", 2),
    ]
    assert str(seen[-1].error) == "never works"


async def test_way_of_a_dead_letter_and_its_replay(make_settings: MakeSettings) -> None:
    settings = make_settings(max_deliver=1)
    async with NatsDLQ(settings) as dlq:
        seen = await observed(settings, fails, "dead_lettered", dlq)
        assert consumed(seen) == [("delivered", 1), ("failed", 1), ("dead_lettered", 1)]
        [entry] = await dlq.list_entries()
        assert isinstance(entry, DeadLetterEntry)
        assert entry.event is not None
        replayed: list[DeliveryEvent] = []
        async with NatsEventBus(settings) as bus:
            bus.observe(replayed.append)
            await bus.publish(entry.event, channel="orders")
    assert [event.kind.value for event in replayed] == ["sent", "replayed"]


@pytest.mark.parametrize("semantics", ["at_least_once", "at_most_once"])
async def test_way_of_a_message_whose_handler_makes_the_dead_letter(
    make_settings: MakeSettings, semantics: str
) -> None:
    settings = make_settings(delivery_semantics=semantics)
    seen: list[DeliveryEvent] = []
    async with NatsDLQ(settings) as dlq:

        class Orders(EventConsumer):
            @listen(OrderPlaced, channel="orders", dlq=dlq)
            async def on_order(self, event: OrderPlaced) -> None:
                raise ValueError("never works")

        bus = NatsEventBus(settings)
        bus.observe(seen.append)
        Orders().register_to(bus)
        async with bus:
            await bus.publish(OrderPlaced(order_id="1"), channel="orders")
            await until(lambda: {"dead_lettered", "acked"} <= {event.kind.value for event in seen})
        assert await dlq.count() == 1
    way = [(kind, 1) for kind in ("delivered", "failed", "dead_lettered")]
    acked = ("acked", 1)
    assert consumed(seen) == ([acked, *way] if semantics == "at_most_once" else [*way, acked])
    errors = {event.kind.value: event.error for event in seen}
    assert errors["failed"] == errors["dead_lettered"] == "ValueError: never works"


async def test_a_dead_letter_of_another_message_is_not_this_ones(
    settings: NatsEventBusSettings,
) -> None:
    async with NatsDLQ(settings) as dlq:
        other = DeadLetterEntry.from_failure(
            event=OrderPlaced(order_id="0"),
            channel="orders",
            handler_name="other",
            last_exc=ValueError("no"),
            attempts=1,
            first_failed_at=datetime.now(UTC),
        )

        async def moves(event: Event) -> None:
            await dlq.push(replace(other, source_ref="elsewhere:1"))

        seen = await observed(settings, moves, "acked")
    assert consumed(seen) == [("delivered", 1), ("handled", 1), ("acked", 1)]


async def test_what_was_published_is_told_when_it_happens(settings: NatsEventBusSettings) -> None:
    seen: list[DeliveryEvent] = []
    async with NatsEventBus(settings) as bus:
        bus.observe(seen.append)
        await bus.publish_many([(OrderPlaced(order_id=str(n)), "orders") for n in range(4500)])
    sent = [event.time for event in seen if event.kind == "sent"]
    stored = [event.time for event in seen if event.kind == "published"]
    assert len(sent) == len(stored) == 4500
    # more than may be in flight at once, so that some are sent when others are stored
    assert stored[0] < sent[-1] < stored[-1]
    assert [event.time for event in seen] == sorted(event.time for event in seen)


async def test_each_of_many_that_are_published_together_is_told_in_order(
    settings: NatsEventBusSettings,
) -> None:
    first: list[DeliveryEvent] = []
    seen: list[DeliveryEvent] = []
    async with NatsEventBus(settings) as bus:

        def only_once(event: DeliveryEvent) -> None:
            first.append(event)
            once.cancel()
            raise RuntimeError("must not keep the others from being told")

        once = bus.observe(only_once)
        bus.observe(seen.append)
        placed = [OrderPlaced(order_id=str(number)) for number in range(450)]
        await bus.publish_many(
            [(order, f"orders-{number % 2}") for number, order in enumerate(placed)]
        )
    assert first == seen[:1]  # an observer that ends itself is not told of what came with it
    ids = [str(order.event_id) for order in placed]
    sent = [event for event in seen if event.kind == "sent"]
    stored = [event for event in seen if event.kind == "published"]
    assert len(seen) == 900
    assert [event.event_id for event in sent] == [event.event_id for event in stored] == ids
    assert [event.channel for event in stored] == [f"orders-{number % 2}" for number in range(450)]
    assert [event.seq for event in stored] == list(range(1, 451))
    assert {(event.attempt, event.delivery_count) for event in sent} == {(1, 0)}


async def test_what_is_stored_is_told_where_others_are_not(
    make_settings: MakeSettings, nc: Client
) -> None:
    settings = make_settings()
    await nc.jetstream().add_stream(
        name=settings.stream_name, subjects=[f"{settings.subject_prefix}.>"], max_msg_size=1000
    )
    seen: list[DeliveryEvent] = []
    async with NatsEventBus(settings) as bus:
        bus.observe(seen.append)
        orders = [OrderPlaced(order_id=each) for each in ("x" * 2000, "1")]
        with pytest.raises(PublishManyError):
            await bus.publish_many([(order, "orders") for order in orders])
    told = [(event.kind.value, event.event_id) for event in seen if event.kind != "sent"]
    large, small = (str(order.event_id) for order in orders)
    assert sorted(told) == sorted([("unconfirmed", large), ("published", small)])


async def test_deduplicated(make_settings: MakeSettings) -> None:
    seen: list[DeliveryEvent] = []
    placed = OrderPlaced(order_id="1")
    async with NatsEventBus(make_settings(delivery_semantics="exactly_once")) as bus:
        observation = bus.observe(seen.append)
        await bus.publish(placed, channel="orders")
        await bus.publish_many([(placed, "orders")])
        observation.cancel()
        await bus.publish(placed, channel="orders")
    assert [(event.kind.value, event.seq) for event in seen] == [
        ("sent", None),
        ("published", 1),
        ("sent", None),
        ("deduplicated", 1),
    ]
    assert [event.attempt for event in seen] == [1, 0, 1, 0]


async def test_observer_that_raises_disturbs_nothing(
    settings: NatsEventBusSettings, caplog: pytest.LogCaptureFixture
) -> None:
    handled: list[Event] = []

    def broken(event: DeliveryEvent) -> None:
        raise RuntimeError("observer is broken")

    async with NatsEventBus(settings) as bus:
        bus.observe(broken)
        bus.subscribe(OrderPlaced, handled.append, channel="orders")
        await bus.publish(OrderPlaced(order_id="1"), channel="orders")
        await until(lambda: len(handled) == 1)
    assert any(
        "observer is broken" in record.exc_text for record in caplog.records if record.exc_text
    )
