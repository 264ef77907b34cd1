"""Reading where the server allows less: logins with few rights, streams and servers with limits."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.errors import Error as NatsError
from nats.js.api import ConsumerConfig
from varco_core.event.dlq import DeadLetterEntry

from tests.conftest import MakeSettings
from tests.events import OrderPlaced
from varco_nats import NatsDLQ, NatsEventBus, Replayer
from varco_nats._nats import reading_consumer
from varco_nats._nats.client import Connection, connect
from varco_nats.config import NatsEventBusSettings
from varco_nats.errors import DeadLetterError, PermissionDeniedError, ServerUnreachableError
from varco_nats.history import History, _reader
from varco_nats.history._tail import Tail
from varco_nats.server import LocalNats

BATCH = 7  # messages that the server gives for one request
COUNT = 30
DENIED = {
    "all": "",
    "no_info": 'publish: { deny: ["$JS.API.STREAM.INFO.>"] }',
    "no_consumer": 'publish: { deny: ["$JS.API.CONSUMER.>"] }',
    "no_next": 'publish: { deny: ["$JS.API.CONSUMER.MSG.NEXT.>"] }',
    "no_get": 'publish: { deny: ["$JS.API.CONSUMER.>", "$JS.API.DIRECT.>"] }',
    "no_message_get": 'publish: { deny: ["$JS.API.STREAM.MSG.GET.>"] }',
    "no_inbox": 'subscribe: { deny: ["_INBOX.>"] }',
}


@pytest.fixture(scope="module")
def small_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalNats]:
    folder: Path = tmp_path_factory.mktemp("jetstream")
    users = ", ".join(
        f"{{ user: {name}, password: x, permissions: {{ {denied} }} }}"
        for name, denied in DENIED.items()
    )
    config = (
        f'jetstream {{ store_dir: "{folder}", limits {{ max_request_batch: {BATCH} }} }}\n'
        f"authorization {{ users: [ {users} ] }}"
    )
    with LocalNats(config=config, token=None, jetstream=False) as server:
        yield server


class Place:
    """A stream with `COUNT` messages in channel `orders`, and logins to read it with."""

    def __init__(self, server: LocalNats, settings: NatsEventBusSettings) -> None:
        self._server = server
        self._settings = settings
        self.stream = settings.stream_name
        self.subject = settings.subject_name("orders")

    def settings(self, user: str = "all") -> NatsEventBusSettings:
        login = {"user": user, "password": "x"}
        return self._settings.model_copy(
            update={"servers": self._server.url, "connect_kwargs": login}
        )

    @asynccontextmanager
    async def connection(self, user: str = "all") -> AsyncIterator[Connection]:
        opened = await connect(self.settings(user), name="test")
        yield opened
        await opened.close()

    async def make(self, **changes: Any) -> None:
        async with self.connection() as connection:
            config = {"name": self.stream, "subjects": [self.subject], "allow_direct": True}
            reply = await connection.nc.request(
                f"$JS.API.STREAM.CREATE.{self.stream}", json.dumps(config | changes).encode()
            )
            assert "error" not in json.loads(reply.data)
            for _ in range(COUNT):
                await connection.js.publish(self.subject, b"{}")

    async def read(self, user: str = "all", **options: Any) -> list[int]:
        async with History(self.settings(user)) as history:
            return [message.seq async for message in history.read("orders", **options)]

    async def follow(self, user: str = "all") -> list[int]:
        """What a tail gives that begins an hour ago."""
        async with self.connection(user) as connection, asyncio.timeout(60):
            tail = Tail(connection, self.stream, [self.subject])
            await tail.seek(since=datetime.now(UTC) - timedelta(hours=1))
            found: list[int] = []
            async with aclosing(tail.batches()) as batches:
                async for batch in batches:
                    found += [message.seq for message in batch]
                    if len(found) >= COUNT:
                        break
            return found


@pytest.fixture
def place(small_server: LocalNats, settings: NatsEventBusSettings) -> Place:
    return Place(small_server, settings)


ALL = list(range(1, COUNT + 1))


async def test_a_server_that_gives_few_messages_at_once(place: Place) -> None:
    await place.make()
    assert await place.read() == ALL
    assert await place.read(newest_first=True) == ALL[::-1]
    assert await place.follow() == ALL


async def test_a_read_that_the_server_keeps_refusing_ends(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    await place.make()
    monkeypatch.setattr(_reader, "_PATIENCE_SECONDS", 1.0)
    monkeypatch.setattr(reading_consumer, "_TOO_MANY", re.compile("nothing"))
    created: list[str] = []
    client = await nats.connect(place.settings().servers, user="all", password="x")

    async def count(message: Any) -> None:
        created.append(message.subject)

    advisories = f"$JS.EVENT.ADVISORY.CONSUMER.CREATED.{place.stream}.>"
    await client.subscribe(advisories, cb=count)
    with pytest.raises(ServerUnreachableError, match=f"Exceeded MaxRequestBatch of {BATCH}"):
        await place.read()
    await client.flush()
    assert len(created) < 20
    await client.close()


@pytest.mark.parametrize("direct", [True, False])
async def test_a_stream_without_room_for_a_consumer(place: Place, direct: bool) -> None:
    await place.make(max_consumers=1, allow_direct=direct)
    async with place.connection() as connection:
        await connection.js.add_consumer(place.stream, ConsumerConfig(durable_name="service"))
    assert await place.read() == ALL
    assert await place.read(newest_first=True, limit=3) == ALL[:-4:-1]
    assert await place.follow() == ALL


async def test_a_stream_that_forgets_idle_consumers_early(place: Place) -> None:
    await place.make(consumer_limits={"inactive_threshold": 2_000_000_000})
    assert await place.read() == ALL
    assert await place.follow() == ALL


@pytest.mark.parametrize("user", ["no_consumer", "no_next"])
async def test_a_login_without_consumers_follows_by_direct_get(place: Place, user: str) -> None:
    await place.make()
    assert await place.follow(user) == ALL


async def test_a_login_without_consumers_reads_by_direct_get(place: Place) -> None:
    await place.make()
    since = datetime.now(UTC) - timedelta(hours=1)
    assert await place.read("no_consumer", since=since) == ALL
    assert await place.read("no_consumer", newest_first=True, limit=3) == ALL[:-4:-1]


async def test_a_login_without_single_messages_sees_the_dead_letters_of_one_server(
    place: Place,
) -> None:
    letters = [DeadLetterEntry(channel=name, payload=b"{}") for name in ("orders", "mail")]
    async with NatsDLQ(place.settings()) as dlq, NatsDLQ(place.settings("no_message_get")) as seen:
        for letter in letters:
            await dlq.push(letter)
        assert [entry.channel for entry in await seen.list_entries(channel="orders")] == ["orders"]
        async with Replayer(seen) as replayer:
            assert len(await replayer.plan(channel="orders")) == 1
        await dlq.delete(letters[1].entry_id)
        assert len(await seen.list_entries()) == 1


@pytest.mark.parametrize(
    ("user", "operation", "allow"),
    [
        ("no_info", "publish", "$JS.API.STREAM.INFO.{stream}"),
        ("no_next", "publish", "$JS.API.CONSUMER.MSG.NEXT.{stream}.*"),
        ("no_get", "publish", "$JS.API.DIRECT.GET.{stream}"),
        ("no_inbox", "subscribe", "_INBOX.>"),
    ],
)
async def test_a_login_without_rights_is_told_which(
    place: Place, user: str, operation: str, allow: str
) -> None:
    await place.make()
    with pytest.raises(PermissionDeniedError) as caught:
        await place.read(user)
    error = caught.value
    allow = allow.format(stream=place.stream)
    assert isinstance(error, NatsError)
    assert (error.operation, error.allow) == (operation, allow)
    assert f"allow {allow!r}" in str(error)
    if operation == "publish":
        assert error.subject.startswith(allow.removesuffix("*"))


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("what", "allowed"),
    [
        ("read", ["nothing"]),  # an empty list allows all
        ("read", ["$JS.API.CONSUMER.CREATE.>"]),
        ("newest", ["nothing"]),
        ("dead letters", ["nothing"]),
    ],
)
async def test_what_is_advised_is_enough_and_no_more(
    tmp_path: Path,
    make_settings: MakeSettings,
    what: str,
    allowed: list[str],
) -> None:
    """A login that may do little is given what each error advises, until all is done."""
    plain = make_settings()

    async def do(settings: NatsEventBusSettings) -> int:
        if what == "dead letters":
            async with NatsDLQ(settings) as dlq, Replayer(dlq) as replayer:
                return len(await dlq.list_entries()) + len(await replayer.plan())
        newest = what == "newest"
        async with History(settings) as history:
            return len([m async for m in history.read("orders", newest_first=newest, limit=9)])

    advised: list[str] = []
    for _ in range(15):
        text = json.dumps([*allowed, *advised])
        config = (
            f'jetstream {{ store_dir: "{tmp_path}" }}\n'
            "authorization { users: [ { user: all, password: x }, { user: few, password: x, "
            f'permissions: {{ publish: {{ allow: {text} }}, subscribe: {{ allow: ["_INBOX.>"] }} '
            "} } ] }"
        )
        with LocalNats(config=config, token=None, jetstream=False) as server:

            def login(user: str, url: str = server.url) -> NatsEventBusSettings:
                login = {"user": user, "password": "x"}
                return plain.model_copy(update={"servers": url, "connect_kwargs": login})

            if not advised:
                await _fill(login("all"))
            try:
                assert await do(login("few")) == (2 if what == "dead letters" else 1)
            except (DeadLetterError, PermissionDeniedError) as error:
                refused = error if isinstance(error, PermissionDeniedError) else error.__cause__
                advised.append(getattr(refused, "allow", f"{refused!r} advises nothing"))
            else:
                break
    else:
        pytest.fail(f"not enough: {advised}")
    assert len(advised) == len(set(advised)) > 0
    names = (plain.stream_name, f"{plain.stream_name}-dlq", f"{plain.stream_name}-replays")
    for subject in advised:
        assert ">" not in subject
        assert subject == "$JS.API.INFO" or any(name in subject.split(".") for name in names)


async def _fill(settings: NatsEventBusSettings) -> None:
    async with NatsEventBus(settings) as bus, NatsDLQ(settings) as dlq:
        await bus.publish(OrderPlaced(order_id="1"), channel="orders")
        await dlq.push(DeadLetterEntry(event=OrderPlaced(order_id="1"), channel="orders"))
