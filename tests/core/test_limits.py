"""Limits of streams, accounts and servers: what each error says, on a real server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.aio.client import Client
from nats.js.api import ConsumerConfig, StreamConfig

from tests.conftest import MakeSettings
from tests.core.helpers import Handled, entry, inside_a_delivery
from tests.events import OrderPlaced
from tests.waiting import until
from varco_nats import NatsDLQ, NatsEventBus, NatsStreamManager
from varco_nats._nats.limits import limit_reached
from varco_nats.channel import NatsChannelManagerSettings
from varco_nats.config import NatsEventBusSettings
from varco_nats.errors import (
    DeadLetterError,
    LimitReachedError,
    PayloadTooLargeError,
    PublishError,
)
from varco_nats.history import History
from varco_nats.server import LocalNats

MEGABYTE = 1024 * 1024
ACCOUNTS = {
    "consumers": "max_consumers: 2",
    "streams": "max_streams: 1",
    "file": f"max_file: {MEGABYTE}",
    "no_memory": "max_mem: 0",
    "pending": "max_ack_pending: 1500",
    "bytes": "max_bytes_required: true",
    "plain": "",
}


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalNats]:
    """A server with an account for each limit; the name of an account is its only user."""
    folder: Path = tmp_path_factory.mktemp("jetstream")
    accounts = "\n".join(
        f"{name}: {{ jetstream: {{ {limits} }}, users: [ {{ user: {name}, password: x }} ] }}"
        for name, limits in ACCOUNTS.items()
    )
    config = f'jetstream {{ store_dir: "{folder}" }}\naccounts {{ {accounts} }}'
    with LocalNats(config=config, token=None, jetstream=False) as server:
        yield server


class Account:
    """The settings and a plain client of an account."""

    def __init__(self, server: LocalNats, make: MakeSettings, name: str) -> None:
        self._login = {"user": name, "password": "x"}
        self.settings: NatsEventBusSettings = make(servers=server.url, connect_kwargs=self._login)
        self.client: Client

    async def __aenter__(self) -> Account:
        self.client = await nats.connect(self.settings.servers, **self._login)
        return self

    async def __aexit__(self, *_: object) -> None:
        js = self.client.jetstream()
        for info in await js.streams_info():
            await js.delete_stream(str(info.config.name))
        await self.client.close()

    async def make_stream(self, **config: Any) -> None:
        subjects = [self.settings.wildcard_subject()]
        values: dict[str, Any] = {
            "name": self.settings.stream_name,
            "subjects": subjects,
            "allow_direct": True,
        }
        await self.client.jetstream().add_stream(StreamConfig(**(values | config)))

    async def add_consumers(self, count: int) -> None:
        for number in range(count):
            config = ConsumerConfig(durable_name=f"other-{number}")
            await self.client.jetstream().add_consumer(self.settings.stream_name, config)


# ---- consumers and streams ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("account", "config", "of"),
    [
        ("plain", {"max_consumers": 2}, "stream '{stream}' (2)"),
        ("consumers", {}, "the account (2 for each stream)"),
        ("consumers", {"max_consumers": 1}, "stream '{stream}' (1)"),
    ],
)
async def test_no_more_consumers(
    limited: LocalNats, make_settings: MakeSettings, account: str, config: dict[str, int], of: str
) -> None:
    async with Account(limited, make_settings, account) as place:
        await place.make_stream(**config)
        await place.add_consumers(config.get("max_consumers", 2))
        settings = place.settings
        bus = NatsEventBus(settings)
        Handled(bus)
        with pytest.raises(LimitReachedError, match="maximum consumers limit reached") as caught:
            await bus.start()
        assert caught.value.limit == "max_consumers"
        assert caught.value.of == of.format(stream=settings.stream_name)
        assert "delete consumers" in str(caught.value)


async def test_a_late_subscription_says_which_limit(
    limited: LocalNats, make_settings: MakeSettings
) -> None:
    async with Account(limited, make_settings, "consumers") as place:
        await place.make_stream()
        await place.add_consumers(2)

        async with NatsEventBus(place.settings) as bus:
            Handled(bus)
            await until(lambda: "orders" in bus.consumer_errors)
            assert isinstance(bus.consumer_errors["orders"], LimitReachedError)


async def test_a_reader_says_at_once_that_there_is_no_room_for_its_consumer(
    limited: LocalNats, make_settings: MakeSettings
) -> None:
    async with Account(limited, make_settings, "plain") as place:
        await place.make_stream(max_consumers=1)
        await place.client.jetstream().publish(place.settings.subject_name("orders"), b"{}")
        patient = place.settings.model_copy(update={"leader_timeout_seconds": 60})
        async with History(patient) as history:
            selection = await history.select("orders")
            assert (selection.readable, selection.count) == (True, 1)
            await place.add_consumers(1)
            async with asyncio.timeout(30):
                with pytest.raises(LimitReachedError, match="max_consumers"):
                    _ = [batch async for batch in history.batches(selection)]
            # what is selected now is read without a consumer
            assert [message.seq async for message in history.read("orders")] == [1]


async def test_no_more_streams(limited: LocalNats, make_settings: MakeSettings) -> None:
    async with Account(limited, make_settings, "streams") as place, NatsEventBus(place.settings):
        with pytest.raises(LimitReachedError, match="max_streams of the account") as caught:
            await NatsDLQ(place.settings).start()
        assert caught.value.limit == "max_streams"
        admin = NatsChannelManagerSettings(
            servers=place.settings.servers,
            stream_name=place.settings.stream_name,
            subject_prefix=place.settings.subject_prefix,
            connect_kwargs=place.settings.connect_kwargs,
        )
        with pytest.raises(LimitReachedError, match="max_streams"):
            await NatsStreamManager(admin).start()


async def test_an_account_whose_storage_is_reserved(
    limited: LocalNats, make_settings: MakeSettings
) -> None:
    async with Account(limited, make_settings, "file") as place:
        await place.make_stream(max_bytes=MEGABYTE)
        with pytest.raises(LimitReachedError, match="insufficient storage resources") as caught:
            await NatsDLQ(place.settings).start()
        assert caught.value.limit == "max_file"


async def test_an_account_that_wants_bounded_streams(
    limited: LocalNats, make_settings: MakeSettings
) -> None:
    async with Account(limited, make_settings, "bytes") as place:
        with pytest.raises(LimitReachedError, match="administrator") as caught:
            await NatsEventBus(place.settings).start()
        assert caught.value.limit == "max_bytes_required"
        await place.make_stream(max_bytes=MEGABYTE)
        async with NatsEventBus(place.settings) as bus:
            await bus.publish(OrderPlaced(order_id="1"), channel="orders")


async def test_more_unacknowledged_messages_than_the_account_allows(
    limited: LocalNats, make_settings: MakeSettings
) -> None:
    async with Account(limited, make_settings, "pending") as place:
        bus = NatsEventBus(place.settings)
        Handled(bus)
        with pytest.raises(LimitReachedError, match="lower 'prefetch'") as caught:
            await bus.start()
        assert caught.value.limit == "max_ack_pending"
        smaller = NatsEventBus(place.settings.model_copy(update={"prefetch": 100}))
        handled = Handled(smaller)
        async with smaller:
            await smaller.publish(OrderPlaced(order_id="1"), channel="orders")

            await until(lambda: handled.orders == ["1"])


async def test_an_account_without_memory_is_read_all_the_same(
    limited: LocalNats, make_settings: MakeSettings
) -> None:
    async with Account(limited, make_settings, "no_memory") as place:
        await place.make_stream()
        await place.client.jetstream().publish(place.settings.subject_name("orders"), b"{}")
        async with History(place.settings) as history:
            assert [message.seq async for message in history.read("orders")] == [1]


# ---- publishing --------------------------------------------------------------------------


async def first_failure(bus: NatsEventBus, order_id: str) -> PublishError:
    """The error with which one of ten events is refused."""
    try:
        for _ in range(10):
            await bus.publish(OrderPlaced(order_id=order_id), channel="orders")
    except PublishError as error:
        return error
    raise AssertionError("all ten were stored")


@pytest.mark.parametrize(
    ("config", "limit", "words"),
    [
        ({"max_msgs": 3, "discard": "new"}, "max_msgs", "maximum messages exceeded"),
        ({"max_bytes": 2000, "discard": "new"}, "max_bytes", "maximum bytes exceeded"),
        (
            {"max_msgs_per_subject": 2, "discard": "new", "discard_new_per_subject": True},
            "max_msgs_per_subject",
            "maximum messages per subject exceeded",
        ),
        ({"max_msg_size": 300}, "max_msg_size", "message size exceeds maximum allowed"),
    ],
)
async def test_a_stream_that_takes_no_more(
    limited: LocalNats,
    make_settings: MakeSettings,
    config: dict[str, Any],
    limit: str,
    words: str,
) -> None:
    async with Account(limited, make_settings, "plain") as place:
        await place.make_stream(**config)
        async with NatsEventBus(place.settings) as bus:
            caught = await first_failure(bus, "x" * 500)
    assert words in str(caught)
    reached = caught.__cause__
    assert isinstance(reached, LimitReachedError)
    assert (reached.limit, reached.of) == (limit, "the stream")
    assert caught.attempts == 1


async def test_an_account_without_room(limited: LocalNats, make_settings: MakeSettings) -> None:
    async with (
        Account(limited, make_settings, "file") as place,
        NatsEventBus(place.settings) as bus,
        NatsDLQ(place.settings) as dlq,
    ):
        caught = await first_failure(bus, "x" * 200_000)
        assert "max_file or max_mem of the account" in str(caught)
        assert isinstance(caught.__cause__, LimitReachedError)

        with inside_a_delivery(), pytest.raises(DeadLetterError, match="max_file"):
            await dlq.push(entry(1, event=OrderPlaced(order_id=str(list(range(200_000))))))


async def test_a_payload_that_the_server_does_not_take(
    limited: LocalNats, make_settings: MakeSettings
) -> None:
    async with (
        Account(limited, make_settings, "plain") as place,
        NatsEventBus(place.settings) as bus,
    ):
        with pytest.raises(PayloadTooLargeError, match="max_payload"):
            await bus.publish(OrderPlaced(order_id="x" * 2 * MEGABYTE), channel="orders")


# ---- what is no limit --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "words"), [(10059, "stream not found"), (10077, "disk error"), (None, None)]
)
def test_other_answers_are_no_limits(code: int | None, words: str | None) -> None:
    assert limit_reached(code, words) is None
