"""What a plan knows of its target: who consumes its channels, and what needs the word "nobody"."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from nats.aio.client import Client
from nats.js.api import (
    ConsumerConfig,
    DiscardPolicy,
    RetentionPolicy,
    StreamConfig,
    StreamSource,
    SubjectTransform,
)

from tests.core.helpers import Handled, entry, push
from tests.core.replay.helpers import publish, stored
from tests.waiting import until
from varco_nats import NatsDLQ, NatsEventBus, NatsEventBusSettings
from varco_nats.errors import AdviceKind, ReplayRefusedError
from varco_nats.history import History
from varco_nats.replay import (
    Canary,
    PlannedConsumer,
    PlannedReplay,
    PlannedTarget,
    ReplayDecision,
    Replayer,
    ReplayKind,
    ReplayOutcome,
    ReplayPlan,
    ReplayState,
)
from varco_nats.replay._run.canary import first_to_send
from varco_nats.replay._target import ChannelFacts, StreamFacts, first_few, judged
from varco_nats.server import LocalNats

RETURNS = "returns.v1"


@pytest.fixture
async def returned(settings: NatsEventBusSettings, dlq: NatsDLQ) -> None:
    """Two dead letters of a channel that holds a message and that nobody consumes."""
    await publish(settings, 1, RETURNS)
    await push(dlq, *(entry(number, channel=RETURNS) for number in range(2)))


async def consumer(
    nc: Client, settings: NatsEventBusSettings, name: str, *channels: str, **config: object
) -> None:
    """A consumer of these channels, durable unless it is told otherwise."""
    subjects = [f"{settings.subject_prefix}.{channel}" for channel in channels]
    kind = {} if "inactive_threshold" in config else {"durable_name": name}
    filters: dict[str, object] = {"filter_subject": subjects[0]} if len(subjects) == 1 else {}
    if len(subjects) > 1:
        filters = {"filter_subjects": subjects}
    made = ConsumerConfig(name=name, **{**kind, **filters, **config})  # type: ignore[arg-type]
    await nc.jetstream().add_consumer(settings.stream_name, made)


async def the_target(replayer: Replayer, **options: object) -> PlannedTarget:
    [target] = (await replayer.plan(**options)).targets  # type: ignore[arg-type]
    return target


# Nobody


async def test_a_channel_that_nobody_consumes_needs_a_word(
    settings: NatsEventBusSettings, dlq: NatsDLQ, replayer: Replayer, returned: None
) -> None:
    plan = await replayer.plan()
    warning = "nobody consumes returns.v1: these 2 would be handled by no one"
    assert plan.targets == (PlannedTarget(RETURNS, 2, 1, True, (), "", True, warning),)
    assert plan.unhandled == plan.summary["unhandled"] == 2
    assert warning in repr(plan)
    with pytest.raises(ReplayRefusedError) as raised:
        await replayer.run(plan)
    advice = raised.value.advice
    assert advice is not None
    assert advice.kind is AdviceKind.CONFIRM_NOBODY
    assert str(raised.value) == f"{warning}; to send them all the same, say confirm='nobody'"
    with pytest.raises(ReplayRefusedError, match="nobody consumes"):
        await replayer.run(plan, confirm="yes")
    assert (await dlq.count(), len(await stored(settings, RETURNS))) == (2, 1)
    assert await replayer.log() == []

    report = await replayer.run(plan, confirm="nobody")
    assert report.counts == {ReplayOutcome.REPLAYED: 2}
    [record] = await replayer.log()
    assert record.plan["unhandled"] == 2


async def test_a_misspelled_channel_needs_a_word_although_somebody_consumes_everything(
    settings: NatsEventBusSettings, dlq: NatsDLQ, replayer: Replayer, nc: Client
) -> None:
    await publish(settings, 1)
    await consumer(nc, settings, "audit", ">")
    await push(dlq, entry())
    assert (await replayer.plan()).unhandled == 0
    target = await the_target(replayer, to="odrers")
    assert (target.messages, target.ever_held, target.unhandled) == (0, False, True)
    assert target.warning == (
        "odrers has never held a message: this message would go to audit, whose filter covers "
        "other channels too; did you mean orders?"
    )
    with pytest.raises(ReplayRefusedError, match="did you mean orders"):
        await replayer.run(await replayer.plan(to="odrers"))
    await nc.jetstream().purge_stream(settings.stream_name)
    target = await the_target(replayer, to="odrers")  # which may have held what was purged
    assert (target.ever_held, target.unhandled) == (None, True)
    assert "odrers holds no message, and nothing shows that it ever did" in target.warning
    # dead letters came from it, so that it is no other name
    assert (await the_target(replayer)).ever_held is True
    await consumer(nc, settings, "svc", "odrers")  # somebody means just this one
    assert not (await the_target(replayer, to="odrers")).unhandled


async def test_a_stream_that_does_not_exist_yet(dlq: NatsDLQ, replayer: Replayer) -> None:
    await push(dlq, entry())
    plan = await replayer.plan()
    assert "nobody consumes orders, as stream" in plan.targets[0].warning
    assert "does not exist yet: this message would be handled by no one" in repr(plan)
    with pytest.raises(ReplayRefusedError, match="does not exist yet"):
        await replayer.run(plan)
    assert await dlq.count() == 1


async def test_a_consumer_that_is_deleted_before_the_run(
    settings: NatsEventBusSettings, dlq: NatsDLQ, replayer: Replayer, nc: Client, returned: None
) -> None:
    await consumer(nc, settings, "svc", RETURNS)
    plan = await replayer.plan()
    assert plan.unhandled == 0
    await nc.jetstream().delete_consumer(settings.stream_name, "svc")
    for word in ("", "nobody"):  # which was not said of this
        with pytest.raises(ReplayRefusedError, match=r"has changed: nobody consumes .*plan again"):
            await replayer.run(plan, confirm=word)
    assert await dlq.count() == 2
    await consumer(nc, settings, "svc", RETURNS)
    assert (await replayer.run(plan)).counts == {ReplayOutcome.REPLAYED: 2}


async def test_history_goes_where_nobody_is_without_a_word(
    settings: NatsEventBusSettings, replayer: Replayer
) -> None:
    await publish(settings, 3)
    plan = await replayer.plan_history("orders", to="copy")
    assert (plan.unhandled, plan.targets[0].ever_held) == (3, False)
    assert "nobody" not in repr(plan)
    assert (await replayer.run(plan)).counts == {ReplayOutcome.REPLAYED: 3}


async def test_a_discard_asks_nobody(dlq: NatsDLQ, replayer: Replayer) -> None:
    [one] = await push(dlq, entry())
    report = await replayer.discard([one.entry_id], confirm="discard")
    assert report.counts == {ReplayOutcome.DISCARDED: 1}
    assert "unhandled" not in (await replayer.log())[0].plan


# Who consumes


async def test_every_kind_of_consumer_is_found(
    settings: NatsEventBusSettings, dlq: NatsDLQ, replayer: Replayer, nc: Client, returned: None
) -> None:
    await publish(settings, 3)
    await consumer(nc, settings, "a-exact", RETURNS)
    await consumer(nc, settings, "b-several", "orders", RETURNS)
    await consumer(nc, settings, "c-wild", "returns.*")
    await consumer(nc, settings, "d-all")
    await consumer(nc, settings, "e-ephemeral", RETURNS, inactive_threshold=60)
    await consumer(nc, settings, "f-another", "orders")
    await consumer(nc, settings, "g-deeper", "returns.v1.*")
    async with History(settings) as history, aclosing(history.read(RETURNS)) as reading:
        await anext(reading)  # which shows messages and handles none
        target = await the_target(replayer)
    found = {each.name: (each.durable, each.waiting) for each in target.consumers}
    assert found == {
        "a-exact": (True, 1),
        "b-several": (True, 4),
        "c-wild": (True, 1),
        "d-all": (True, 4),
        "e-ephemeral": (False, 1),
    }
    assert (target.messages, target.unhandled, target.warning) == (1, False, "")
    assert {each.last_active for each in target.consumers} == {None}
    assert str(target).startswith("returns.v1: a-exact (never sent anything, 1 waiting), ")
    assert target.note.startswith("none of the 5 consumers of returns.v1 is active: ")


async def test_a_service_is_active_while_it_waits_and_not_when_it_has_ended(
    settings: NatsEventBusSettings, dlq: NatsDLQ, replayer: Replayer
) -> None:
    await push(dlq, entry())
    before = datetime.now(UTC)
    async with NatsEventBus(settings) as bus:
        service = Handled(bus)
        await publish(settings, 1)
        await until(lambda: bool(service.orders))

        async def is_settled() -> bool:
            [one] = (await the_target(replayer)).consumers
            return one.active and not one.unacknowledged and not one.waiting

        await until(is_settled)
        target = await the_target(replayer)
        [one] = target.consumers
        assert (one.name, one.delivered, one.paused) == ("svc-orders", 1, False)
        assert (str(target), target.note) == ("orders: svc-orders (active now, 0 waiting)", "")
    [one] = (await the_target(replayer)).consumers
    assert one.last_active is not None
    assert one.asked_at is not None
    assert before - timedelta(seconds=1) < one.last_active <= one.asked_at
    assert not one.active
    later = replace(one, asked_at=one.last_active + timedelta(hours=3, minutes=10))
    assert later.activity == f"was last active 3 h ago ({one.last_active:%Y-%m-%d %H:%M} UTC)"


async def test_a_paused_consumer_is_a_note(
    settings: NatsEventBusSettings, replayer: Replayer, nc: Client, returned: None
) -> None:
    until_tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    await consumer(nc, settings, "svc", RETURNS, pause_until=until_tomorrow)
    plan = await replayer.plan()
    [target] = plan.targets
    assert (target.warning, target.unhandled) == ("", False)
    assert target.note == "the only consumer of returns.v1, svc, is paused"
    assert target.note in repr(plan)
    assert (await replayer.run(plan)).counts == {ReplayOutcome.REPLAYED: 2}


async def test_hundreds_of_consumers_take_pages(
    settings: NatsEventBusSettings, replayer: Replayer, nc: Client, returned: None
) -> None:
    names = [f"c{number:03}" for number in range(300)]
    await asyncio.gather(*(consumer(nc, settings, name, "orders") for name in names))
    await consumer(nc, settings, "z-last", RETURNS)
    assert [each.name for each in (await the_target(replayer)).consumers] == ["z-last"]


# Streams of other kinds


async def test_interest_retention(
    settings: NatsEventBusSettings, dlq: NatsDLQ, replayer: Replayer, nc: Client
) -> None:
    subjects = [settings.wildcard_subject()]
    config = StreamConfig(
        name=settings.stream_name, subjects=subjects, retention=RetentionPolicy.INTEREST
    )
    await nc.jetstream().add_stream(config)
    await push(dlq, entry())
    target = await the_target(replayer)
    assert target.warning == (
        "nobody consumes orders: this message would be handled by no one and gone at once"
    )
    async with NatsEventBus(settings) as bus:
        service = Handled(bus)
        await until(lambda: _has_consumer(nc, settings))
        await publish(settings, 1)
        await until(lambda: bool(service.orders))
        # what was handled is gone, and the consumer proves that it was there
        elsewhere = await the_target(replayer, to="orders")
        assert elsewhere.ever_held is True
        assert not elsewhere.unhandled


async def test_a_stream_that_drops_older_messages_for_new_ones(
    settings: NatsEventBusSettings, dlq: NatsDLQ, replayer: Replayer, nc: Client
) -> None:
    js = nc.jetstream()
    config = StreamConfig(
        name=settings.stream_name,
        subjects=[settings.wildcard_subject()],
        max_msgs_per_subject=2,
        max_msgs=3,
    )
    await js.add_stream(config)
    await publish(settings, 1)
    await consumer(nc, settings, "svc", "orders")
    await push(dlq, entry(0))
    assert (await the_target(replayer)).warning == ""
    await push(dlq, entry(1))
    target = await the_target(replayer)
    assert target.warning == (
        f"stream {settings.stream_name!r} keeps only the newest 2 of orders: it holds 1 and would "
        "get 2, so that 1 would be dropped, handled or not"
    )
    assert not target.unhandled
    await push(dlq, *(entry(number, channel=RETURNS) for number in range(2)))
    plan = await replayer.plan()
    [said] = [target.warning for target in plan.targets if "newest 3" in target.warning]
    assert said.endswith("newest 3 messages: of these 4, 1 would be dropped, handled or not")
    assert said in repr(plan)
    await js.update_stream(replace(config, max_bytes=100))
    warnings = [target.warning for target in (await replayer.plan()).targets]
    assert any("keeps only its newest 100 bytes: of these, whose" in said for said in warnings)
    await js.update_stream(replace(config, discard=DiscardPolicy.NEW))  # it refuses them instead
    assert not any("dropped" in target.warning for target in (await replayer.plan()).targets)


async def test_a_stream_that_stores_under_other_subjects_is_not_said_to_be_empty(
    settings: NatsEventBusSettings, dlq: NatsDLQ, replayer: Replayer, nc: Client
) -> None:
    name, prefix = settings.stream_name, settings.subject_prefix
    config = StreamConfig(
        name=name,
        subjects=[settings.wildcard_subject()],
        subject_transform=SubjectTransform(f"{prefix}.>", f"{name}-kept.>"),
    )
    await nc.jetstream().add_stream(config)
    await publish(settings, 1)
    await push(dlq, entry())
    target = await the_target(replayer)
    why = f"not known who consumes orders: stream {name!r} stores them under other subjects"
    assert (target.unhandled, target.warning, target.note) == (False, "", why)
    everything = ConsumerConfig(durable_name="svc")
    await nc.jetstream().add_consumer(name, everything)
    target = await the_target(replayer, to=RETURNS)
    assert (target.unhandled, target.warning) == (False, "")


async def _has_consumer(nc: Client, settings: NatsEventBusSettings) -> bool:
    return bool(await nc.jetstream().consumers_info(settings.stream_name))


async def test_consumers_of_a_copy(
    settings: NatsEventBusSettings, replayer: Replayer, nc: Client, returned: None
) -> None:
    js, name = nc.jetstream(), settings.stream_name
    subject = f"{settings.subject_prefix}.{RETURNS}"
    renamed = StreamSource(
        name=name, subject_transforms=[SubjectTransform(subject, f"{name}-other")]
    )
    await js.add_stream(StreamConfig(name=f"{name}-renamed", sources=[renamed]))
    target = await the_target(replayer)
    assert target.unhandled
    assert f"stream {name}-renamed copies them under other subjects" in target.warning
    await js.add_stream(StreamConfig(name=f"{name}-copy", mirror=StreamSource(name=name)))
    assert (await the_target(replayer)).unhandled
    handling = ConsumerConfig(durable_name="svc", filter_subject=subject)
    await js.add_consumer(f"{name}-copy", handling)
    target = await the_target(replayer)
    assert not target.unhandled
    assert [each.label for each in target.consumers] == [f"svc of {name}-copy"]
    for copy in ("copy", "renamed"):
        await js.delete_stream(f"{name}-{copy}")


async def test_a_stream_that_does_not_capture_the_channel(
    settings: NatsEventBusSettings, dlq: NatsDLQ, replayer: Replayer, nc: Client
) -> None:
    subject = f"{settings.subject_prefix}.orders"
    await nc.jetstream().add_stream(StreamConfig(name=settings.stream_name, subjects=[subject]))
    await push(dlq, entry())
    target = await the_target(replayer, to="bills")
    assert "does not capture bills: this message would be refused" in target.warning
    assert not target.unhandled  # it cannot be lost
    report = await replayer.run(await replayer.plan(to="bills"))
    assert report.counts == {ReplayOutcome.FAILED: 1}


async def test_a_login_that_may_not_list_consumers_is_not_refused(
    settings: NatsEventBusSettings,
) -> None:
    denied = 'permissions: { publish: { deny: ["$JS.API.CONSUMER.LIST.>"] } }'
    users = f"{{ user: all, password: x }}, {{ user: u, password: x, {denied} }}"
    with LocalNats(config=f"authorization {{ users: [ {users} ] }}", token=None) as server:

        def login(user: str) -> NatsEventBusSettings:
            kwargs = {"user": user, "password": "x"}
            return settings.model_copy(update={"servers": server.url, "connect_kwargs": kwargs})

        own = login("u")
        async with NatsDLQ(own) as dlq, Replayer(dlq) as replayer:
            await publish(own, 1)
            await push(dlq, *map(entry, range(3)))
            plan = await replayer.plan()
            [target] = plan.targets
            assert target.note == (
                "not known who consumes orders: this login may not list consumers"
            )
            assert (target.unhandled, target.ever_held) == (False, True)
            typed = await the_target(replayer, to="odrers")  # what it never held is known
            assert typed.unhandled
            async with Replayer(login("all")) as other:
                known = await other.plan()
            with pytest.raises(ReplayRefusedError, match="nobody consumes orders: these 3"):
                await replayer.run(known)  # what was known stays known
            report = await replayer.run(plan, canary=Canary(2, wait_seconds=0))
            assert report.counts == {ReplayOutcome.REPLAYED: 3}
            assert "this login may not list consumers" in report.why


# The canary


async def test_a_canary_says_where_nobody_was_there_to_fail(
    settings: NatsEventBusSettings, dlq: NatsDLQ, replayer: Replayer, nc: Client, returned: None
) -> None:
    plan = await replayer.plan()
    report = await replayer.run(plan, canary=Canary(1, wait_seconds=3600), confirm="nobody")
    assert report.state is ReplayState.DONE
    assert report.why == "the canary proves nothing for returns.v1: nobody consumed it"
    assert (await replayer.log())[0].why == report.why
    await consumer(nc, settings, "svc", "orders")  # which nobody asks for messages
    await push(dlq, *map(entry, range(3)))
    report = await replayer.run(await replayer.plan(), canary=Canary(1, wait_seconds=0))
    assert report.counts == {ReplayOutcome.REPLAYED: 3}
    assert report.why == (
        "the canary proves nothing for orders: the only consumer of orders, svc, was never sent "
        "anything"
    )


async def test_a_canary_is_sent_first_and_the_rest_in_its_order(
    settings: NatsEventBusSettings, dlq: NatsDLQ, replayer: Replayer
) -> None:
    kinds = ["Timeout", "Timeout", "Timeout", "Value", "Value", "Key"]
    await push(dlq, *(entry(number, error_type=kind) for number, kind in enumerate(kinds)))
    plan = await replayer.plan()
    await replayer.run(plan, canary=Canary(3, wait_seconds=0), confirm="nobody")
    sent = [message.headers["Varco-Replay-Of"] for message in await stored(settings)]  # type: ignore[index]
    keys = [row.key for row in plan.rows]
    assert [keys.index(key) for key in sent] == [0, 3, 5, 1, 2, 4]


def rows(*combinations: str) -> ReplayPlan:
    """A plan; each letter of a text is a channel, error, handler and tenant."""
    made = tuple(
        PlannedReplay(
            key=f"{position}",
            entry_id=uuid4(),
            seq=position,
            channel="orders",
            to=names[0],
            subject="",
            event_id=None,
            event_type=None,
            payload=b"",
            headers={},
            error_type=names[1],
            handler_name=names[2],
            tenant_id=None if names[3] == "-" else names[3],
            decision=ReplayDecision.REPLAY,
        )
        for position, names in enumerate(combinations)
    )
    return ReplayPlan("id", ReplayKind.REPLAY, made, "s", "t", datetime.now(UTC))


@pytest.mark.parametrize(
    ("combinations", "count", "first"),
    [
        (["aaaa"] * 4, 2, [0, 1]),
        (["aaaa", "aaaa", "baaa"], 2, [0, 2]),  # a channel
        (["aaaa", "aaaa", "abaa"], 2, [0, 2]),  # an error
        (["aaaa", "aaaa", "aaba"], 2, [0, 2]),  # a handler
        (["aaaa", "aaaa", "aaab"], 2, [0, 2]),  # a tenant
        (["aaaa", "baaa", "baaa"], 1, [1]),  # the most frequent first
        (["aaaa", "baaa", "baaa", "baaa"], 3, [0, 1, 2]),
        (["aaa-", "aaaa", "aaa-"], 9, [0, 1, 2]),
    ],
)
def test_what_a_canary_takes(combinations: list[str], count: int, first: list[int]) -> None:
    plan = rows(*combinations)
    assert first_to_send(plan, range(len(plan)), count) == first
    history = replace(plan, kind=ReplayKind.HISTORY)
    assert first_to_send(history, range(len(plan)), count) == list(range(len(plan)))[:count]
    left_over = range(1, len(plan))
    assert set(first_to_send(plan, left_over, count)) <= set(left_over)
    assert first_to_send(plan, left_over, 10**20) == list(left_over)


# The sentences

NOW = datetime(2026, 11, 27, 10, 2, tzinfo=UTC)


def seen(name: str = "svc", ago: timedelta | None = None, **fields: object) -> PlannedConsumer:
    last = None if ago is None else NOW - ago
    made = PlannedConsumer(name, last, 12, 0, False, asked_at=NOW)
    return replace(made, **fields)  # type: ignore[arg-type]


HOURS = timedelta(hours=3)
FULL, DROPPED = StreamFacts("s", complete=True), StreamFacts("s")


@pytest.mark.parametrize(
    ("consumers", "said", "note"),
    [
        ([seen(active=True)], "orders: svc (active now, 12 waiting)", ""),
        ([seen(ago=timedelta(minutes=4))], "orders: svc (last active 4 min ago, 12 waiting)", ""),
        (
            [seen(ago=HOURS, unacknowledged=3)],
            "orders: svc (last active 3 h ago, 12 waiting, 3 unacknowledged)",
            "the only consumer of orders, svc, was last active 3 h ago (2026-11-27 07:02 UTC)",
        ),
        (
            [seen(delivered=4)],
            "orders: svc (sent nothing since its server started, 12 waiting)",
            "the only consumer of orders, svc, was sent nothing since its server started",
        ),
        (
            [seen(active=True, durable=False)],
            "orders: svc (active now, 12 waiting)",
            "the only consumer of orders, svc, is not durable: it may only be looking",
        ),
        (
            [seen("a", ago=HOURS), seen("b", active=True)],
            "orders: b (active now, 12 waiting), a (last active 3 h ago, 12 waiting)",
            "",
        ),
        (
            [seen("a", paused=True), seen("b", ago=timedelta(days=2))],
            "orders: b (last active 2 d ago, 12 waiting), a (paused, 12 waiting)",
            "none of the 2 consumers of orders is active: "
            "b was last active 2 d ago (2026-11-25 10:02 UTC), a is paused",
        ),
        # a clock that jumped: never in the future
        ([seen(ago=-HOURS)], "orders: svc (last active 0 s ago, 12 waiting)", ""),
    ],
)
def test_who_consumes_in_words(consumers: list[PlannedConsumer], said: str, note: str) -> None:
    target = judged(ChannelFacts("orders", 20, 5, tuple(consumers)), FULL)
    ordered = str(target)
    assert (ordered, target.note, target.warning) == (said, note, "")


def channel(**fields: object) -> ChannelFacts:
    return replace(ChannelFacts("orders", 20, 0, ()), **fields)  # type: ignore[arg-type]


MAY_NOT = "this login may not list consumers"
WILD = (seen("audit", active=True),)


@pytest.mark.parametrize(
    ("facts", "stream", "unhandled", "ever", "said"),
    [
        (channel(messages=1), FULL, True, True, "nobody consumes orders: these 20 would be"),
        (channel(), FULL, True, False, "consumes orders, and it has never held a message: these"),
        (channel(), DROPPED, True, None, "and it holds no message, and nothing shows that"),
        (channel(consumers=WILD), FULL, True, False, "orders has never held a message: these 20"),
        (channel(consumers=WILD), DROPPED, True, None, "orders holds no message, and nothing"),
        (channel(consumers=WILD, named=True), FULL, False, False, "audit (active now"),
        (channel(consumers=WILD, proven=True), DROPPED, False, True, "audit (active now"),
        (channel(messages=None), DROPPED, True, None, "nobody consumes orders: these 20"),
        (channel(consumers=WILD, messages=None), DROPPED, False, None, "audit (active now"),
        (channel(), StreamFacts("s", unknown=MAY_NOT), False, None, f"orders: {MAY_NOT}"),
        (
            channel(),
            StreamFacts("s", complete=True, unknown=MAY_NOT),
            True,
            False,
            f"never held a message, and {MAY_NOT}: these 20 may be handled by no one",
        ),
        (channel(captured=False), FULL, False, False, "'s' does not capture orders: these 20"),
        (
            channel(messages=1),
            StreamFacts("s", copies_unknown=True),
            True,
            True,
            "by no one; whether another stream copies them is not known",
        ),
        (
            channel(similar="orders.v1"),
            FULL,
            True,
            False,
            "by no one; did you mean orders.v1?",
        ),
    ],
)
def test_when_a_word_is_needed(
    facts: ChannelFacts, stream: StreamFacts, unhandled: bool, ever: bool | None, said: str
) -> None:
    target = judged(facts, stream)
    assert (target.unhandled, target.ever_held) == (unhandled, ever)
    assert said in str(target)
    assert bool(target.warning) == (unhandled or not facts.captured)


def test_many_channels_are_not_all_named() -> None:
    assert first_few(["a", "b", "c"]) == ["a", "b", "c"]
    assert first_few(["a", "b", "c", "d"]) == ["a", "b", "c", "and 1 more channel"]
    assert first_few(["a"] * 1203)[3:] == ["and 1,200 more channels"]
