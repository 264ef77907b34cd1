"""Errors are also those that nats-py would have raised, so that they can be caught as these."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Awaitable, Callable
from uuid import UUID

import pytest
from nats import errors as nats_errors
from nats.aio.client import Client
from nats.js import errors as js_errors
from nats.js.api import DiscardPolicy, StreamConfig

from tests.conftest import MakeSettings
from tests.events import OrderPlaced, orders
from tests.proxy import ANSWERS, Proxy
from varco_nats import errors
from varco_nats.bus import NatsEventBus
from varco_nats.config import NatsEventBusSettings
from varco_nats.dlq import NatsDLQ
from varco_nats.server import LocalNats


async def start(settings: NatsEventBusSettings) -> None:
    async with NatsEventBus(settings):
        pass


async def start_without_a_server(make: MakeSettings, nc: Client) -> None:
    await start(make(servers="nats://127.0.0.1:1"))


async def start_with_a_wrong_login(make: MakeSettings, nc: Client) -> None:
    address = make().servers.rpartition("@")[2]
    await start(make(servers=f"nats://wrong@{address}"))


async def start_where_the_subjects_are_another_streams(make: MakeSettings, nc: Client) -> None:
    settings = make()
    await nc.jetstream().add_stream(
        StreamConfig(name=f"{settings.stream_name}-2", subjects=[settings.wildcard_subject()])
    )
    await start(settings)


async def publish_to_no_stream(make: MakeSettings, nc: Client) -> None:
    settings = make(publish_attempts=1)
    async with NatsEventBus(settings) as bus:
        await nc.jetstream().delete_stream(settings.stream_name)
        await bus.publish(OrderPlaced(order_id="1"), channel="orders")


async def publish_to_a_full_stream(make: MakeSettings, nc: Client) -> None:
    settings = make()
    await nc.jetstream().add_stream(
        StreamConfig(
            name=settings.stream_name,
            subjects=[settings.wildcard_subject()],
            max_msgs=1,
            discard=DiscardPolicy.NEW,
        )
    )
    async with NatsEventBus(settings) as bus:
        await bus.publish(OrderPlaced(order_id="1"), channel="orders")
        await bus.publish(OrderPlaced(order_id="2"), channel="orders")


async def publish_too_much(make: MakeSettings, nc: Client) -> None:
    async with NatsEventBus(make()) as bus:
        await bus.publish(OrderPlaced(order_id="1" * nc.max_payload), channel="orders")


async def publish_to_no_channel(make: MakeSettings, nc: Client) -> None:
    async with NatsEventBus(make()) as bus:
        await bus.publish(OrderPlaced(order_id="1"), channel="no channel")


async def publish_many_to_no_stream(make: MakeSettings, nc: Client) -> None:
    settings = make(publish_attempts=1)
    async with NatsEventBus(settings) as bus:
        await nc.jetstream().delete_stream(settings.stream_name)
        await bus.publish_many(orders(2))


@pytest.mark.parametrize(
    ("fails", "ours", "theirs"),
    [
        (start_without_a_server, errors.ServerUnreachableError, nats_errors.NoServersError),
        (start_with_a_wrong_login, errors.AuthenticationError, nats_errors.NoServersError),
        (
            start_where_the_subjects_are_another_streams,
            errors.StreamMismatchError,
            js_errors.BadRequestError,
        ),
        (publish_to_no_stream, errors.NoStreamForChannelError, js_errors.NoStreamResponseError),
        (publish_to_a_full_stream, errors.PublishRefusedError, js_errors.APIError),
        (publish_too_much, errors.PayloadTooLargeError, nats_errors.MaxPayloadError),
        (publish_to_no_channel, errors.InvalidChannelError, nats_errors.BadSubjectError),
        (publish_many_to_no_stream, errors.PublishManyError, js_errors.NoStreamResponseError),
    ],
)
async def test_each_failure_is_caught_by_our_class_and_by_that_of_nats_py(
    make_settings: MakeSettings,
    nc: Client,
    fails: Callable[[MakeSettings, Client], Awaitable[None]],
    ours: type[errors.VarcoNatsError],
    theirs: type[Exception],
) -> None:
    with pytest.raises(ours) as caught:
        await fails(make_settings, nc)
    assert isinstance(caught.value, theirs)
    assert not str(caught.value).startswith("nats:")


async def test_a_server_without_jetstream_is_a_service_that_is_unavailable() -> None:
    with (
        LocalNats(jetstream=False) as server,
        pytest.raises(errors.JetStreamUnavailableError) as caught,
    ):
        await start(NatsEventBusSettings(servers=server.url))
    assert isinstance(caught.value, js_errors.ServiceUnavailableError)
    assert caught.value.code == 503


async def test_a_server_that_goes_away_is_a_timeout(
    make_settings: MakeSettings, server: LocalNats, proxy: Proxy
) -> None:
    settings = make_settings(
        servers=proxy.url_for(server.url), publish_attempts=1, publish_timeout_seconds=0.3
    )
    async with NatsEventBus(settings) as bus, NatsDLQ(settings) as dlq:
        proxy.stall(ANSWERS)
        with pytest.raises(errors.PublishTimeoutError) as caught:
            await bus.publish(OrderPlaced(order_id="1"), channel="orders")
        assert isinstance(caught.value, nats_errors.TimeoutError)
        with pytest.raises(errors.PublishManyError) as many:
            await bus.publish_many(orders(2))
        assert isinstance(many.value, nats_errors.TimeoutError)
        with pytest.raises(errors.DeadLetterError) as unread:
            await dlq.get(UUID(int=1))
        assert isinstance(unread.value, nats_errors.Error)
        proxy.flow()


async def test_a_refused_publish_says_which_error_it_was(
    make_settings: MakeSettings, nc: Client
) -> None:
    with pytest.raises(errors.PublishRefusedError) as caught:
        await publish_to_a_full_stream(make_settings, nc)
    refused = caught.value
    assert (refused.code, refused.err_code, refused.channel) == (503, 10077, "orders")
    assert refused.description == "maximum messages exceeded"


async def test_a_channel_that_cannot_be_looked_up_while_the_server_is_away_is_a_timeout(
    make_settings: MakeSettings, server: LocalNats, proxy: Proxy, nc: Client
) -> None:
    settings = make_settings(
        servers=proxy.url_for(server.url), publish_attempts=1, publish_timeout_seconds=0.3
    )
    subjects = [settings.subject_name("orders")]
    await nc.jetstream().add_stream(name=settings.stream_name, subjects=subjects)
    async with NatsEventBus(settings) as bus:
        proxy.stall(ANSWERS)
        with pytest.raises(errors.PublishTimeoutError) as caught:
            await bus.publish(OrderPlaced(order_id="1"), channel="payments")
        assert isinstance(caught.value, nats_errors.TimeoutError)
        proxy.flow()


async def test_many_refused_events_are_caught_as_one_is(
    make_settings: MakeSettings, nc: Client
) -> None:
    settings = make_settings()
    await nc.jetstream().add_stream(
        name=settings.stream_name, subjects=[settings.wildcard_subject()], max_msg_size=1
    )
    async with NatsEventBus(settings) as bus:
        with pytest.raises(errors.PublishManyError) as caught:
            await bus.publish_many(orders(2))
    refused = caught.value
    assert isinstance(refused, errors.PublishRefusedError)
    assert (refused.code, len(refused.failures)) == (refused.failures[0].error.code, 2)  # type: ignore[attr-defined]


def every_error() -> list[errors.VarcoNatsError]:
    """One of each class, with a text for each parameter that is not data of another kind."""
    refused = errors.PublishRefusedError("orders", 1, "full", code=503, err_code=10077)
    other = {
        "servers": ["nats://localhost"],
        "problems": ["one"],
        "known": ["orders"],
        "failures": [errors.PublishFailure(0, refused)],
        "entry_id": UUID(int=1),
        **dict.fromkeys(("size", "limit", "attempts", "stored", "done", "total"), 3),
    }
    made = []
    kinds: list[type[errors.VarcoNatsError]] = [errors.VarcoNatsError]
    for kind in kinds:
        kinds += [each for each in kind.__subclasses__() if each.__module__ == errors.__name__]
        parameters = inspect.signature(kind).parameters.values()
        needed = [p.name for p in parameters if p.default is p.empty and p.name != "args"]
        made.append(kind(*(other.get(name, name) for name in needed)))
    return made


@pytest.mark.parametrize("error", every_error(), ids=lambda error: type(error).__name__)
def test_an_error_is_the_same_after_it_was_pickled_or_copied(error: errors.VarcoNatsError) -> None:
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(again) is type(error)
        assert (str(again), again.args) == (str(error), error.args)
        assert repr(vars(again)) == repr(vars(error))
    assert not str(error).startswith("nats:")
