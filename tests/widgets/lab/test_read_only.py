"""A lab that only looks, and the permissions with which the server refuses all else, too."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ipywidgets
import nats
import pytest
from nats.aio.client import Client
from nats.js.api import ConsumerConfig
from varco_core.event.base import Event
from varco_core.event.dlq import DeadLetterEntry
from varco_nats_widgets import Lab
from varco_nats_widgets.lab import Permissions
from varco_nats_widgets.sample import fill, traffic

from tests.waiting import until
from varco_nats import NatsDLQ, NatsEventBus, Replayer
from varco_nats.config import NatsEventBusSettings
from varco_nats.errors import ReadOnlyError, VarcoNatsError
from varco_nats.server import LocalNats

COUNT = 6


class ReadOnlyOrder(Event):
    number: int


async def use(settings: NatsEventBusSettings, other: str) -> None:
    """What a service leaves: events, a durable, dead letters, a log, and another stream."""
    handled: list[int] = []

    async def on_order(order: ReadOnlyOrder) -> None:
        handled.append(order.number)

    async with NatsDLQ(settings) as dlq, NatsEventBus(settings, dlq=dlq) as bus:
        bus.subscribe(ReadOnlyOrder, on_order, channel="orders")  # type: ignore[arg-type]
        await bus.publish_many([(ReadOnlyOrder(number=n), "orders") for n in range(COUNT)])
        await until(lambda: len(handled) == COUNT)
        for number in range(3):
            event = ReadOnlyOrder(number=number)
            await dlq.push(DeadLetterEntry(event=event, channel="late", error_type="TimeoutError"))
        async with Replayer(dlq) as replayer:
            await replayer.capture_exhausted()
            await replayer.run(await replayer.plan(limit=1), confirm="nobody")
    client = await nats.connect(settings.servers, **settings.connect_kwargs)
    js = client.jetstream(prefix=settings.jetstream_api())
    await js.add_stream(name=other, subjects=[f"{other}.>"])
    await js.publish(f"{other}.a", b'{"v": 1}')
    await client.close()


def look(lab: Lab, other: str, folder: Path, service: NatsEventBusSettings) -> None:
    """Everything that looks, at what `use` made, and then at what the service publishes."""

    async def publish() -> None:
        async with NatsEventBus(service) as bus:
            await bus.publish(ReadOnlyOrder(number=COUNT), channel="orders")

    assert list(lab) == ["late", "orders"]
    assert lab.channels()["messages"].to_dict() == {"late": 1, "orders": COUNT}
    assert lab["orders"].count == COUNT
    assert len(lab.streams()) >= 5
    assert len(lab.consumers()) == 1
    lab.durability("orders")
    assert lab.frame("orders")["number"].tolist() == list(range(COUNT))
    assert lab.frame("orders", limit=2, newest_first=True)["number"].tolist() == [5, 4]
    assert len(lab.frame("orders", last="1h")) == COUNT
    assert len(lab.frame(stream=other)) == 1
    live = lab.live("orders", last="1h")
    live.wait(COUNT, timeout=20)
    live.stop()
    explorer = lab.explore("orders")
    explorer.newest()
    explorer.tail()
    explorer.tail(False)
    explorer.open(1)
    assert explorer.describe().messages == COUNT
    assert len(explorer.page) == COUNT
    assert lab.export("orders", folder / "orders.parquet").rows == COUNT
    letters = lab.dead_letters
    letters()
    assert letters.error == ""
    assert len(letters.frame()) == len(letters.page) == 2
    assert len(letters.groups()) == 1
    letters.open(letters.page.index[0])
    assert letters.plan("matching").to_replay == 2
    assert letters.export(folder / "dead.ndjson", "matching").rows == 2
    assert letters.replays()["state"].tolist() == lab.replays()["state"].tolist() == ["done"]
    assert len(lab.replays(lab.replays().index[0])) == 1
    assert len(lab.exhausted("orders")) == 0
    assert len(lab.plan_replay("orders", to="copies").rows) == COUNT
    record, arriving = lab.record("orders"), lab.live("orders")
    asyncio.run(publish())
    arriving.wait(timeout=20)
    arriving.stop()
    asyncio.run(until(lambda: "stored" in set(record.frame["kind"])))
    record.stop()
    lab.delivery("orders").record.stop()


@pytest.fixture
def other(settings: NatsEventBusSettings) -> str:
    return f"{settings.stream_name}-other"


# ---- the lab itself ---------------------------------------------------------------------------


async def test_a_lab_that_only_looks_shows_everything(
    settings: NatsEventBusSettings, other: str, tmp_path: Path, nc: Client
) -> None:
    await use(settings, other)
    with Lab(settings, read_only=True) as lab:
        assert repr(lab).endswith(", read-only)")
        assert repr(lab.dead_letters).endswith(", read-only)")
        assert repr(lab.bus).endswith(", read-only)")
        await asyncio.to_thread(look, lab, other, tmp_path, settings)
    consumers = await nc.jetstream().consumers_info(settings.stream_name)
    assert [each.config.durable_name for each in consumers] == [settings.durable_for("orders")]


def test_what_would_change_something_is_refused_by_the_name_that_it_was_called_by(
    settings: NatsEventBusSettings, lab: Lab
) -> None:
    fill(lab, 2, force=True)
    looking = Lab(settings, read_only=True)
    order, letters = ReadOnlyOrder(number=1), looking.dead_letters
    bus = looking.bus
    tried: dict[str, Callable[[], Any]] = {
        "lab.replay()": lambda: looking.replay("orders", to="copies"),
        "lab.capture_exhausted()": looking.capture_exhausted,
        "lab.stop_capturing_exhausted()": looking.stop_capturing_exhausted,
        "lab.dead_letter()": lambda: looking.dead_letter([1], channel="orders"),
        "dead_letters.run()": letters.run,
        "dead_letters.discard()": lambda: letters.discard([], word="discard"),
        "lab.bus.publish()": lambda: asyncio.run(bus.publish(order, channel="orders")),
        "lab.bus.publish_many()": lambda: asyncio.run(bus.publish_many([(order, "orders")])),
        "lab.bus.subscribe()": lambda: bus.subscribe(ReadOnlyOrder, print, channel="orders"),
        "publish sample events": lambda: fill(looking, 1, force=True),
    }
    before = lab.streams().drop(columns="last_time")
    for operation, attempt in tried.items():
        with pytest.raises(ReadOnlyError) as caught:
            attempt()
        assert caught.value.operation == operation
    with pytest.raises(ReadOnlyError):
        traffic(looking, force=True)
    with pytest.raises(ReadOnlyError):  # the target counts, too
        lab.replay("orders", to="copies", target=looking)
    looking.close()
    after = lab.streams().drop(columns="last_time")
    name = settings.stream_name
    assert after.filter(like=name, axis="index").equals(before.filter(like=name, axis="index"))


def test_views_say_so_and_have_no_buttons_for_it(settings: NatsEventBusSettings, lab: Lab) -> None:
    fill(lab, 2, force=True)

    def buttons(widget: Any) -> Iterator[str]:
        if isinstance(widget, ipywidgets.Button):
            yield widget.description
        for child in getattr(widget, "children", ()):
            yield from buttons(child)

    shown = set(buttons(lab.dead_letters.view().box))
    with Lab(settings, read_only=True) as looking:
        less = set(buttons(looking.dead_letters.view().box))
        assert shown - less == {
            *("Plan", "Run", "Discard", "Restore", "Keep edit", "Revert", "Show what came back"),
            *("Add step", "Show the difference", "Keep these changes", "Take it"),
        }
        explorer, live = looking.explore("orders"), looking.live("orders")
        place, counts = explorer.view().status, live.view().counts
        asyncio.run(until(lambda: "read-only" in place.place and "read-only" in counts.value))
        live.stop()
        following, running = looking.delivery("orders"), looking.delivery()
        here, there = following.view(), running.view()
        asyncio.run(until(lambda: here.status.place.endswith(" · read-only")))
        asyncio.run(until(lambda: "experiments have servers of their own" in there.status.place))
        # nothing but steps, and what acts on those servers
        steps = {"First", "Back", "Play", "Forward", "Last", "Stop", "Retry"}
        steps |= {"at_most_once", "at_least_once", "exactly_once"}
        assert set(buttons(here.box)) <= steps
        assert set(buttons(there.box)) - steps == {"Run", "Compare", "Cancel"}
        following.close()
        running.close()
    assert "read-only" not in lab.explore("orders").view().status.place


def test_the_environment_decides_unless_the_lab_is_told(
    settings: NatsEventBusSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VARCO_NATS_READ_ONLY", "1")
    with Lab(settings.servers) as lab, Lab(settings.servers, read_only=False) as told:
        assert lab.settings.read_only
        assert not told.settings.read_only
        # an experiment has a server of its own
        verdict = lab.experiment("at_least_once", events=3, progress=False).verdict
        assert verdict is not None
        assert verdict.holds
    monkeypatch.setenv("VARCO_NATS_READ_ONLY", "")


# ---- permissions ------------------------------------------------------------------------------


def config_of(folder: Path, users: str, domain: str = "") -> str:
    jetstream = f'store_dir: "{folder}"' + (f", domain: {domain}" if domain else "")
    return f"jetstream {{ {jetstream} }}\nauthorization {{ users: [ {users} ] }}"


class Guarded:
    """A server with a login that may do everything, and one that has exactly `permissions`."""

    def __init__(
        self,
        server: LocalNats,
        settings: NatsEventBusSettings,
        permissions: Permissions | None = None,
    ) -> None:
        self.server = server
        self._settings = settings
        self.permissions = permissions
        self.violations: list[str] = []

    def settings(self, user: str, **changes: Any) -> NatsEventBusSettings:
        login = {**self._settings.connect_kwargs, "user": user, "password": "x"}
        place = {"servers": self.server.url, "connect_kwargs": login}
        return self._settings.model_copy(update={**place, **changes})

    async def client(self, user: str) -> Client:
        """A plain nats-py client."""

        async def on_error(error: Exception) -> None:
            self.violations.append(str(error))

        settings = self.settings(user)
        return await nats.connect(settings.servers, error_cb=on_error, **settings.connect_kwargs)

    async def state(self) -> object:
        """All streams, and all consumers that stay."""
        client = await self.client("all")
        js = client.jetstream(prefix=self._settings.jetstream_api())
        found = []
        for info in await js.streams_info():
            consumers = [
                (each.name, each.config, each.num_ack_pending)
                for each in await js.consumers_info(str(info.config.name))
                if each.config.durable_name
            ]
            found.append((info.config, info.state.messages, info.state.last_seq, consumers))
        await client.close()
        return sorted(found, key=lambda each: str(each[0].name))


OTHER = "not-varco"
HUB: dict[str, Any] = {
    "jetstream_domain": "hub",
    "connect_kwargs": {"inbox_prefix": "_INBOX_reader"},
}


@pytest.fixture(params=["usual", "in a domain, without consumers"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Guarded]:
    usual = request.param == "usual"
    settings = NatsEventBusSettings(
        stream_name="shop", subject_prefix="shop", durable_name="svc", **({} if usual else HUB)
    )
    domain = settings.jetstream_domain or ""
    all_rights = "{ user: all, password: x }"
    config = config_of(tmp_path, all_rights, domain)
    with LocalNats(config=config, token=None, jetstream=False) as server:
        first = Guarded(server, settings)
        asyncio.run(use(first.settings("all"), OTHER))
        with Lab(first.settings("all")) as lab:
            permissions = lab.permissions(OTHER, consumers=usual)
    users = f"{all_rights}, {{ user: looker, password: x, {permissions} }}"
    config = config_of(tmp_path, users, domain)
    with LocalNats(config=config, token=None, jetstream=False) as server:
        yield Guarded(server, settings, permissions)


def outcome(attempt: Callable[[], Any]) -> object:
    """What an attempt returns or raises."""
    try:
        return attempt()
    except Exception as error:
        return error


async def test_with_these_permissions_all_that_looks_works_and_nothing_else(
    place: Guarded, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    usual = place.settings("all").jetstream_domain is None
    with Lab(place.settings("looker", read_only=True)) as lab:
        await asyncio.to_thread(look, lab, OTHER, tmp_path, place.settings("all"))
        assert lab.permissions(OTHER, consumers=usual) == place.permissions
    if usual:  # else, consumers are tried and refused before it goes on without
        assert [each for each in caplog.records if each.levelno >= logging.WARNING] == []
    before = await place.state()

    # a lab that does not know that it may only look
    with Lab(place.settings("looker", publish_attempts=1)) as lab:
        letters = lab.dead_letters
        plan = letters.plan(letters.frame().index)
        order = ReadOnlyOrder(number=1)
        attempts: list[Callable[[], Any]] = [
            lambda: asyncio.run(lab.bus.publish(order, channel="orders")),
            lambda: lab.bus.subscribe(ReadOnlyOrder, print, channel="orders"),
            lab.stop_capturing_exhausted,
            lambda: lab.replay("orders", to="copies"),
            lambda: letters.run(plan),
            lambda: letters.discard(letters.frame().index, word="discard"),
            lambda: fill(lab, 1, force=True),
        ]
        outcomes = [await asyncio.to_thread(outcome, attempt) for attempt in attempts]
        assert [isinstance(each, VarcoNatsError) for each in outcomes] == [True] * len(attempts)
    assert await place.state() == before

    # plain nats-py
    client = await place.client("looker")
    denied = [
        *("shop.orders", "shop-dlq.x.orders", f"{OTHER}.a", "_INBOX.x", "$JS.ACK.shop.x.1.1.1.1.0"),
        *(f"$JS.API.STREAM.{verb}.shop" for verb in ("CREATE", "UPDATE", "DELETE", "PURGE")),
        "$JS.API.STREAM.MSG.DELETE.shop",
        "$JS.API.CONSUMER.CREATE.shop.svc-orders",
        "$JS.API.CONSUMER.CREATE.shop.new.shop.orders",
        "$JS.API.CONSUMER.DURABLE.CREATE.shop.new",
        "$JS.API.CONSUMER.DELETE.shop.svc-orders",
        "$JS.API.CONSUMER.PAUSE.shop.svc-orders",
        "$JS.API.CONSUMER.CREATE.shop-dlq",
        "$JS.API.CONSUMER.MSG.NEXT.shop-dlq.svc",
        "$JS.API.STREAM.MSG.GET.somebody-elses",
    ]
    if not usual:
        denied += ["$JS.API.CONSUMER.CREATE.shop", "$JS.API.CONSUMER.MSG.NEXT.shop.svc-orders"]
    place.violations.clear()
    for subject in denied:
        await client.publish(subject, b"{}")
    for subject in ("shop.orders", "$JS.API.>", "_R_.>"):
        await client.subscribe(subject)
        denied.append(subject)
    await until(lambda: len(place.violations) >= len(denied))
    found = [re.findall(r'"(.*)"', text)[0] for text in place.violations]
    assert sorted(found) == sorted(subject.lower() for subject in denied)  # as nats-py has them
    if usual:
        config = {"durable_name": "new", "name": "new", "ack_policy": "none"}
        asked = json.dumps({"stream_name": "shop", "config": config}).encode()
        answer = await client.request("$JS.API.CONSUMER.CREATE.shop", asked, timeout=20)
        assert "ephemeral" in json.loads(answer.data)["error"]["description"]
    await client.close()
    assert await place.state() == before


async def test_what_such_a_login_can_still_do_is_what_is_documented(
    place: Guarded,
) -> None:
    """If this fails, the server refuses more than `Lab.permissions` says: tell it there."""
    looker, admin = await place.client("looker"), await place.client("all")
    js = admin.jetstream(prefix=place.settings("all").jetstream_api())

    async def stored(subject: str) -> bool:
        return bool(
            (await js.stream_info(OTHER, subjects_filter=f"{OTHER}.{subject}")).state.subjects
        )

    for subject in ("$JS.API.STREAM.INFO.shop", "$JS.API.DIRECT.GET.shop"):
        await looker.publish(subject, b'{"seq": 1}', reply=f"{OTHER}.answer")
        await until(lambda: stored("answer"))
        await js.purge_stream(OTHER)
    if place.settings("all").jetstream_domain is None:  # and through consumers
        policies: dict[str, Any] = {
            "ack_policy": "explicit",
            "deliver_policy": "all",
            "replay_policy": "instant",
        }
        await js.add_consumer("shop", ConsumerConfig(durable_name="mail", **policies))
        config = {"name": "mail", **policies, "max_deliver": 1}
        request = json.dumps({"stream_name": "shop", "config": config}).encode()
        await looker.request("$JS.API.CONSUMER.CREATE.shop", request, timeout=20)
        assert (await js.consumer_info("shop", "mail")).config.max_deliver == 1
        subscription = await looker.subscribe(inbox := looker.new_inbox())
        await looker.publish("$JS.API.CONSUMER.MSG.NEXT.shop.mail", b"1", reply=inbox)
        assert (await subscription.next_msg(timeout=20)).reply.startswith("$JS.ACK.")
    await looker.close()
    await admin.close()


def accounts(folder: Path, permissions: object = "") -> str:
    """A configuration in which the account of the looker imports the requests of that of the data.

    Args:
        permissions: of the looker.
    """
    return f"""
    jetstream {{ store_dir: "{folder}" }}
    accounts {{
        DATA: {{
            jetstream: enabled
            users: [ {{ user: all, password: x }} ]
            exports: [
                {{ service: "$JS.API.>", response_type: stream }}
                {{ stream: "$JS.EVENT.>" }}
            ]
        }}
        LOOK: {{
            users: [ {{ user: looker, password: x, {permissions} }} ]
            imports: [
                {{ service: {{ account: DATA, subject: "$JS.API.>" }}, to: "DATA.API.>" }}
                {{ stream: {{ account: DATA, subject: "$JS.EVENT.>" }} }}
            ]
        }}
    }}
    """


async def test_in_an_account_of_its_own_a_login_has_nothing_stored_by_an_answer(
    tmp_path: Path,
) -> None:
    settings = NatsEventBusSettings(stream_name="shop", subject_prefix="shop", durable_name="svc")
    there = {"jetstream_api_prefix": "DATA.API", "read_only": True}
    config = accounts(tmp_path)
    with LocalNats(config=config, token=None, jetstream=False) as server:
        first = Guarded(server, settings)
        await use(first.settings("all"), OTHER)
        with Lab(first.settings("looker", **there)) as lab:
            permissions = lab.permissions(OTHER)
    config = accounts(tmp_path, permissions)
    with LocalNats(config=config, token=None, jetstream=False) as server:
        place = Guarded(server, settings)
        with Lab(place.settings("looker", **there)) as lab:
            await asyncio.to_thread(look, lab, OTHER, tmp_path, place.settings("all"))
        looker = await place.client("looker")
        before = await place.state()
        await looker.publish("DATA.API.STREAM.INFO.shop", reply=f"{OTHER}.answer")
        for _ in range(2):  # the server has answered the first request before the second
            await looker.request("DATA.API.STREAM.INFO.shop", timeout=20)
        assert await place.state() == before
        await looker.close()
