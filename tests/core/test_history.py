from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import nats
import pytest
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, RetentionPolicy, StreamConfig

from tests.conftest import MakeSettings
from tests.waiting import until
from varco_nats._nats import ephemeral
from varco_nats.config import NatsEventBusSettings
from varco_nats.errors import InvalidChannelError, NotStartedError, StreamNotFoundError
from varco_nats.history import History
from varco_nats.history._lookup import Lookup
from varco_nats.server import LocalNats


@pytest.fixture
async def history(js: JetStreamContext, settings: NatsEventBusSettings) -> AsyncIterator[History]:
    async with History(settings) as opened:
        yield opened
    assert await js.consumers_info(settings.stream_name) == []


async def store(
    nc: Client, settings: NatsEventBusSettings, channels: list[str], data: str = "{}"
) -> None:
    """One message for each name in `channels`, in that order."""
    js = nc.jetstream()
    await asyncio.gather(
        *[await js.publish_async(settings.subject_name(name), data.encode()) for name in channels]
    )


async def seqs(history: History, *args: object, **options: object) -> list[int]:
    return [message.seq async for message in history.read(*args, **options)]  # type: ignore[arg-type]


async def test_reads_what_is_stored_in_order(
    history: History, nc: Client, settings: NatsEventBusSettings
) -> None:
    await nc.jetstream().publish(
        settings.subject_name("orders"), b"\xff\x00", headers={"Trace": "7"}
    )
    await store(nc, settings, ["payments", "orders", "orders.eu"])

    found = [message async for message in history.read("orders")]

    assert [message.seq for message in found] == [1, 3]
    assert found[0].data == b"\xff\x00"
    assert found[0].headers == {"Trace": "7"}
    assert found[1].headers is None
    assert found[0].subject == settings.subject_name("orders")
    assert abs(found[0].time_ns / 1e9 - time.time()) < 60
    assert await seqs(history, ["orders", "payments", "orders"]) == [1, 2, 3]
    assert await seqs(history) == [1, 2, 3, 4]
    assert await seqs(history, "nothing") == []


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"start_seq": 3}, [3, 5]),
        ({"end_seq": 3}, [1, 3]),
        ({"start_seq": 2, "end_seq": 4}, [3]),
        ({"start_seq": 6}, []),
        ({"start_seq": 99}, []),
        ({"end_seq": 99}, [1, 3, 5]),
        ({"start_seq": 5, "end_seq": 2}, []),
        ({"limit": 2}, [1, 3]),
        ({"limit": 0}, []),
        ({"limit": 2, "newest_first": True}, [5, 3]),
        ({"newest_first": True}, [5, 3, 1]),
        ({"newest_first": True, "end_seq": 4}, [3, 1]),
    ],
)
async def test_ranges_of_sequences(
    history: History,
    nc: Client,
    settings: NatsEventBusSettings,
    options: dict[str, int],
    wanted: list[int],
) -> None:
    await store(nc, settings, ["orders", "other", "orders", "other", "orders", "other"])
    assert await seqs(history, "orders", **options) == wanted


@pytest.mark.parametrize("retention", [RetentionPolicy.LIMITS, RetentionPolicy.WORK_QUEUE])
async def test_ranges_of_time(
    nc: Client, settings: NatsEventBusSettings, retention: RetentionPolicy
) -> None:
    await nc.jetstream().add_stream(
        StreamConfig(
            name=settings.stream_name,
            subjects=[settings.wildcard_subject()],
            retention=retention,
            allow_direct=True,
        )
    )
    await store(nc, settings, ["orders"] * 3)
    middle = datetime.now(UTC)
    await asyncio.sleep(0.01)
    await store(nc, settings, ["orders"] * 2)
    hour = timedelta(hours=1)
    async with History(settings) as history:
        assert await seqs(history, "orders", since=middle) == [4, 5]
        assert await seqs(history, "orders", until=middle) == [1, 2, 3]
        assert await seqs(history, "orders", since=middle - hour, until=middle + hour) == [
            1, 2, 3, 4, 5,
        ]  # fmt: skip
        assert await seqs(history, "orders", since=middle + hour) == []
        assert await seqs(history, "orders", until=middle - hour) == []
        first, last = (each.replace(tzinfo=UTC) for each in (datetime.min, datetime.max))
        assert await seqs(history, "orders", since=first, until=last) == [1, 2, 3, 4, 5]
        assert await seqs(history, "orders", since=last) == []
        assert await seqs(history, "orders", until=first) == []
        with pytest.raises(ValueError, match=r"since=.* has no time zone"):
            await seqs(history, "orders", since=datetime.now())


async def test_selection_is_fixed_while_a_channel_grows(
    history: History, nc: Client, settings: NatsEventBusSettings
) -> None:
    await store(nc, settings, ["orders"] * 100)
    selection = await history.select("orders")
    assert selection.count == 100
    await store(nc, settings, ["orders"] * 50)

    forwards = [m.seq async for batch in history.batches(selection, page=7) for m in batch]
    backwards = [
        m.seq
        async for batch in history.batches(selection, newest_first=True, page=7)
        for m in batch
    ]

    assert forwards == list(range(1, 101))
    assert backwards == list(range(100, 0, -1))


async def test_selection_counts_exactly_while_messages_arrive(
    history: History, nc: Client, settings: NatsEventBusSettings
) -> None:
    await store(nc, settings, ["orders"] * 100)

    async def arrive() -> None:
        while True:
            await store(nc, settings, ["orders", "other"])
            await asyncio.sleep(0.05)

    arriving = asyncio.create_task(arrive())
    try:
        for _ in range(30):
            selection = await history.select(["orders", "other"])
            assert selection.count == selection.last_seq
            assert (await history.select("orders", end_seq=100)).count == 100
    finally:
        arriving.cancel()


async def test_newest_first_while_messages_come_and_go(
    history: History, js: JetStreamContext, nc: Client, settings: NatsEventBusSettings
) -> None:
    """What is deleted behind a backwards read hides nothing of what is before it."""
    await store(nc, settings, ["orders"] * 60)
    selection = await history.select("orders")
    found: list[int] = []
    async for batch in history.batches(selection, newest_first=True, page=10):
        found += [message.seq for message in batch]
        if len(found) == 20:
            for seq in range(41, 61):
                await js.delete_msg(settings.stream_name, seq)
        await store(nc, settings, ["orders"] * 3)
    assert found == list(range(60, 0, -1))


async def test_newest_of_a_rare_channel(
    history: History, nc: Client, settings: NatsEventBusSettings
) -> None:
    layout = ["rare"] * 20 + ["orders"] * 3000 + ["rare"] * 2 + ["orders"] * 50
    await store(nc, settings, layout)
    wanted = [3022, 3021, *range(20, 0, -1)]
    assert await seqs(history, "rare", limit=3, newest_first=True) == wanted[:3]
    assert await seqs(history, "rare", newest_first=True) == wanted


async def test_reads_past_deleted_messages(
    history: History, js: JetStreamContext, nc: Client, settings: NatsEventBusSettings
) -> None:
    await store(nc, settings, ["orders"] * 10)
    for seq in (1, 5, 10):
        await js.delete_msg(settings.stream_name, seq)
    assert await seqs(history, "orders") == [2, 3, 4, 6, 7, 8, 9]
    assert await seqs(history, "orders", newest_first=True, limit=3) == [9, 8, 7]


async def test_payloads_larger_than_a_request(
    history: History, nc: Client, settings: NatsEventBusSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ephemeral, "_MAX_BYTES", 1)  # then twice max_payload is the bound
    await store(nc, settings, ["orders"] * 12, data="x" * 900_000)
    assert await seqs(history, "orders") == list(range(1, 13))


async def test_purge_during_a_read_ends_it(
    history: History, js: JetStreamContext, nc: Client, settings: NatsEventBusSettings
) -> None:
    await store(nc, settings, ["orders"] * 5000)
    found = 0
    async for batch in history.batches(await history.select("orders"), page=100):
        if not found:
            await js.purge_stream(settings.stream_name)
        found += len(batch)
    assert 100 <= found < 5000


async def test_goes_on_when_its_consumer_is_deleted(
    history: History, js: JetStreamContext, nc: Client, settings: NatsEventBusSettings
) -> None:
    await store(nc, settings, ["orders"] * 5000)
    found: list[int] = []
    removed = 0
    async for batch in history.batches(await history.select("orders"), page=100):
        found += [message.seq for message in batch]
        if removed < 3:
            for info in await js.consumers_info(settings.stream_name):
                removed += await js.delete_consumer(settings.stream_name, info.name)
    assert removed == 3
    assert found == list(range(1, 5001))


async def test_messages_lost_on_the_way_are_read_again(
    history: History, js: JetStreamContext, nc: Client, settings: NatsEventBusSettings
) -> None:
    await store(nc, settings, ["orders"] * 3000)
    found: list[int] = []
    lost = 0
    elsewhere = await nc.subscribe(nc.new_inbox())
    async for batch in history.batches(await history.select("orders"), page=100):
        found += [message.seq for message in batch]
        for info in await js.consumers_info(settings.stream_name) if lost < 3 else []:
            # what another client takes from the consumer never comes here
            subject = f"$JS.API.CONSUMER.MSG.NEXT.{settings.stream_name}.{info.name}"
            await nc.publish(subject, b"1", reply=elsewhere.subject)
            await elsewhere.next_msg(timeout=20)
            lost += 1
    assert lost == 3
    assert found == list(range(1, 3001))


async def test_goes_on_after_the_server_was_killed_and_restarted() -> None:
    with LocalNats() as local:
        settings = NatsEventBusSettings(servers=local.url)
        nc = await nats.connect(local.url)
        await nc.jetstream().add_stream(
            StreamConfig(name=settings.stream_name, subjects=["varco.>"], allow_direct=True)
        )
        await store(nc, settings, ["orders"] * 5000)
        await nc.close()
        found: list[int] = []
        killed = False
        async with History(settings) as history:
            async for batch in history.batches(await history.select("orders"), page=100):
                found += [message.seq for message in batch]
                if not killed:
                    await asyncio.to_thread(local.kill)
                    await asyncio.to_thread(local.restart)
                    killed = True
    assert killed
    assert found == list(range(1, 5001))


async def test_leaves_no_consumer_behind_when_a_read_is_abandoned(
    js: JetStreamContext, nc: Client, settings: NatsEventBusSettings
) -> None:
    await store(nc, settings, ["orders"] * 100)
    async with History(settings) as history:
        reading = history.read("orders")
        await anext(reading)
        assert len(await js.consumers_info(settings.stream_name)) == 1
    assert await js.consumers_info(settings.stream_name) == []
    await reading.aclose()


async def test_consumers_of_a_killed_process_expire(
    history: History, js: JetStreamContext, nc: Client, settings: NatsEventBusSettings
) -> None:
    await store(nc, settings, ["orders"] * 10)
    async for _ in history.read("orders"):
        (info,) = await js.consumers_info(settings.stream_name)
        assert info.config.durable_name is None
        assert info.config.mem_storage
        assert info.config.inactive_threshold is not None
        assert 0 < info.config.inactive_threshold <= 60
        assert info.config.ack_policy == AckPolicy.NONE
        break


async def test_does_not_disturb_a_durable(
    history: History, js: JetStreamContext, nc: Client, settings: NatsEventBusSettings
) -> None:
    await js.add_consumer(
        settings.stream_name, ConsumerConfig(durable_name="svc-orders", ack_wait=30)
    )
    await store(nc, settings, ["orders"] * 20)
    before = await js.consumer_info(settings.stream_name, "svc-orders")
    assert len(await seqs(history, "orders")) == 20
    await history.channels()
    after = await js.consumer_info(settings.stream_name, "svc-orders")
    assert after.num_pending == before.num_pending == 20
    assert after.delivered.consumer_seq == 0
    await js.delete_consumer(settings.stream_name, "svc-orders")


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize("retention", [RetentionPolicy.WORK_QUEUE, RetentionPolicy.INTEREST])
async def test_reads_a_queue_without_a_consumer(
    nc: Client, settings: NatsEventBusSettings, retention: RetentionPolicy, direct: bool
) -> None:
    js = nc.jetstream()
    await js.add_stream(
        StreamConfig(
            name=settings.stream_name,
            subjects=[settings.wildcard_subject()],
            retention=retention,
            allow_direct=direct,
        )
    )
    await js.add_consumer(settings.stream_name, ConsumerConfig(durable_name="worker"))
    subject = settings.subject_name("orders")
    for number in range(25):
        await js.publish(subject, str(number).encode(), headers={"N": str(number)})
    await js.publish(settings.subject_name("other"), b"{}")
    async with History(settings) as history:
        found = [message async for message in history.read("orders")]
        assert [m.data for m in found] == [str(number).encode() for number in range(25)]
        assert found[3].headers == {"N": "3"}
        assert found[3].time_ns > 10**18
        assert await seqs(history, "orders", limit=2, newest_first=True) == [25, 24]
        assert await seqs(history, ["orders", "other"], start_seq=25) == [25, 26]
        assert [c.messages for c in await history.channels()] == [25, 1]
    (info,) = await js.consumers_info(settings.stream_name)
    assert info.name == "worker"
    assert info.num_pending == 26


async def test_the_newest_of_a_queue_cost_few_requests(
    nc: Client, settings: NatsEventBusSettings
) -> None:
    await nc.jetstream().add_stream(
        StreamConfig(
            name=settings.stream_name,
            subjects=[settings.wildcard_subject()],
            retention=RetentionPolicy.WORK_QUEUE,
        )
    )
    await store(nc, settings, ["rare"] * 3 + ["orders"] * 500 + ["rare"])
    gets = await nc.subscribe(f"$JS.API.STREAM.MSG.GET.{settings.stream_name}")
    async with History(settings) as history:
        assert (await history.select("orders")).count == 500
        assert await seqs(history, "orders", limit=5, newest_first=True) == [
            503,
            502,
            501,
            500,
            499,
        ]
        await nc.flush()
        assert gets.pending_msgs < 50
        assert await seqs(history, "rare", limit=9, newest_first=True) == [504, 3, 2, 1]
        assert await seqs(history, newest_first=True) == list(range(504, 0, -1))
        assert (await history.select(["orders", "rare"], start_seq=3, end_seq=5)).count == 3


async def test_repeated_headers_are_all_kept(
    history: History, js: JetStreamContext, nc: Client, settings: NatsEventBusSettings
) -> None:
    subject = settings.subject_name("orders")
    block = b"NATS/1.0\r\nX-A: one\r\nX-B: b\r\nX-A: two\r\n\r\n"
    put = b"HPUB %b %d %d\r\n%b{}\r\n" % (subject.encode(), len(block), len(block) + 2, block)
    await nc._send_command(put)
    await nc.flush()
    await until(lambda: _stored(js, settings, 1))
    wanted = {"X-A": "one, two", "X-B": "b"}
    assert [message.headers async for message in history.read("orders")] == [wanted]
    for direct in (True, False):
        lookup = Lookup(history._need(), settings.stream_name, direct=direct)
        message = await lookup.get({"seq": 1})
        assert message is not None
        assert message.headers == wanted


async def _stored(js: JetStreamContext, settings: NatsEventBusSettings, count: int) -> bool:
    return (await js.stream_info(settings.stream_name)).state.messages == count


async def test_channels(history: History, nc: Client, settings: NatsEventBusSettings) -> None:
    assert await history.channels() == []
    await store(nc, settings, ["b", "a.x", "b", "a.x", "a.x", "c"])
    found = await history.channels()
    assert [(c.channel, c.messages, c.first_seq, c.last_seq) for c in found] == [
        ("a.x", 3, 2, 5),
        ("b", 2, 1, 3),
        ("c", 1, 6, 6),
    ]
    assert all(c.first_time_ns <= c.last_time_ns for c in found)
    assert await history.names() == ["a.x", "b", "c"]
    assert await history.count("a.x") == 3
    assert await history.count("a") == 0


async def test_channel_prefix_keeps_environments_apart(
    js: JetStreamContext, nc: Client, make_settings: MakeSettings
) -> None:
    test, prod = make_settings(channel_prefix="test-"), make_settings(channel_prefix="prod-")
    await store(nc, test, ["orders", "orders"])
    await store(nc, prod, ["orders"])
    async with History(test) as history:
        assert await history.names() == ["orders"]
        assert await seqs(history, "orders") == await seqs(history) == [1, 2]


async def test_more_subjects_than_one_page(
    history: History, nc: Client, settings: NatsEventBusSettings
) -> None:
    channels = [f"c.{number}" for number in range(3000)]
    await store(nc, settings, channels)
    assert await history.names() == sorted(channels)


async def test_errors_say_what_is_wrong(nc: Client, settings: NatsEventBusSettings) -> None:
    with pytest.raises(NotStartedError, match="History"):
        await seqs(History(settings), "orders")
    async with History(settings) as history:
        with pytest.raises(StreamNotFoundError, match=settings.stream_name):
            await seqs(history, "orders")
        with pytest.raises(StreamNotFoundError):
            await history.channels()
        with pytest.raises(InvalidChannelError):
            await seqs(history, "orders.>")


async def test_values_survive(history: History, nc: Client, settings: NatsEventBusSettings) -> None:
    data = json.dumps({"text": "Grüße 🚲", "n": 2**70}, ensure_ascii=False)
    await store(nc, settings, ["orders"], data=data)
    (message,) = [message async for message in history.read("orders")]
    assert json.loads(message.data) == {"text": "Grüße 🚲", "n": 2**70}
