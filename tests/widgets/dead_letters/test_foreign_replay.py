"""Replaying what other frameworks stored: streams, subjects and consumers of plain nats-py."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import pandas as pd
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import ConsumerConfig, RetentionPolicy, StreamConfig, StreamSource
from varco_nats_widgets import Lab
from varco_nats_widgets.dead_letters import DeadLetters, _replaying
from varco_nats_widgets.dead_letters._view.words import described_letter

from tests.processes import replay_process
from tests.waiting import until
from varco_nats._nats.provenance import REPLAY_COUNT, REPLAY_OF
from varco_nats.config import NatsEventBusSettings
from varco_nats.errors import InvalidChannelError, ReplayRefusedError
from varco_nats.replay import ReplayOutcome, ReplayState
from varco_nats.replay._foreign import SubjectTarget, subject_target


class System(NamedTuple):
    """Somebody's streams, made by plain nats-py; `name` begins all their names and subjects."""

    name: str
    nc: Client

    @property
    def orders(self) -> str:
        return f"{self.name}-ORDERS"

    @property
    def bills(self) -> str:
        return f"{self.name}-BILLS"

    @property
    def dead(self) -> str:
        return f"{self.name}-PARKED"

    def subject(self, name: str) -> str:
        return f"{self.name}.{name}"

    async def fail(self, number: int, to: str = "orders.created", **headers: str) -> None:
        """Store one dead letter, as a handler does that publishes the payload once more."""
        about = {"X-Subject": self.subject(to), "X-Error": f"no answer for o-{number}"}
        await self.nc.jetstream().publish(
            self.subject("dead.orders"),
            json.dumps({"number": number}).encode(),
            headers={**about, "X-Trace": f"t-{number}", **headers},
        )

    async def stored(self, stream: str) -> list[Any]:
        """The messages of a stream, oldest first."""
        js = self.nc.jetstream()
        state = (await js.stream_info(stream)).state
        seqs = range(state.first_seq, state.last_seq + 1)
        found = await asyncio.gather(
            *(js.get_msg(stream, seq) for seq in seqs), return_exceptions=True
        )
        return [message for message in found if not isinstance(message, BaseException)]

    async def numbers(self, stream: str) -> list[int]:
        return [json.loads(message.data)["number"] for message in await self.stored(stream)]


@pytest.fixture
async def system(nc: Client) -> System:
    """Two streams with a consumer each, and one for what failed."""
    made, js = System(f"sys{uuid4().hex[:8]}", nc), nc.jetstream()
    for stream, subject in (
        (made.orders, "orders.>"),
        (made.bills, "bills.>"),
        (made.dead, "dead.>"),
    ):
        await js.add_stream(StreamConfig(name=stream, subjects=[made.subject(subject)]))
    await js.pull_subscribe(made.subject("orders.>"), durable="orders", stream=made.orders)
    await js.pull_subscribe(made.subject("bills.>"), durable="bills", stream=made.bills)
    return made


@pytest.fixture
def letters(lab: Lab, system: System) -> Iterator[DeadLetters]:
    opened = DeadLetters.of_stream(lab, system.dead, fields={"channel": "header:x-subject"})
    yield opened
    opened.close()


async def test_entries_go_back_to_the_subjects_that_they_came_from(
    letters: DeadLetters, system: System, lab: Lab
) -> None:
    for number in range(8):
        await system.fail(number, "orders.paid" if number % 2 else "orders.created")
    plan = await letters.aio.plan(error="no answer", note="the bank is back")
    assert plan.source == system.dead
    assert plan.target == system.orders
    assert {row.subject for row in plan.rows} == {
        system.subject("orders.created"),
        system.subject("orders.paid"),
    }
    assert [target.warning for target in plan.targets if target.messages] == []
    assert {each.name for target in plan.targets for each in target.consumers} == {"orders"}
    report = await letters.aio.run(word="nobody")
    assert report.counts == {ReplayOutcome.REPLAYED: 8}
    found = await system.stored(system.orders)
    assert sorted(json.loads(message.data)["number"] for message in found) == [*range(8)]
    assert {message.headers["X-Trace"] for message in found} == {f"t-{n}" for n in range(8)}
    assert not any("X-Error" in message.headers for message in found)
    assert await system.stored(system.dead) == []
    assert letters.outcome.startswith("done: 8 replayed")
    assert (await letters.aio.count(), letters.entries) == (0, 0)
    assert (
        repr(await letters.aio.plan("matching")) == f"ReplayPlan(replay 0 of 0 from {system.dead})"
    )
    [run] = (await lab.aio.replays()).to_dict("records")
    assert (run["source"], run["target"], run["note"]) == (
        system.dead,
        system.orders,
        "the bank is back",
    )
    rows = await letters.aio.replays(report.replay_id)
    assert set(rows["outcome"]) == {"replayed"}


async def test_a_plan_is_dropped_whose_entries_were_deselected_while_it_was_made(
    letters: DeadLetters, system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    await system.fail(0)
    await system.fail(1)
    await letters.aio.filter()
    first, second = letters.page.index
    letters.selected_ids = [first]

    async def meanwhile(*args: Any) -> SubjectTarget:
        letters.selected_ids = [second]
        return await subject_target(*args)

    monkeypatch.setattr(_replaying, "subject_target", meanwhile)
    plan = await letters.aio.plan("selected")
    assert [str(row.entry_id) for row in plan.rows] == [first]
    assert letters.planned is None


async def test_a_run_sends_to_one_stream_and_the_next_plan_to_the_other(
    letters: DeadLetters, system: System
) -> None:
    for number in range(5):
        await system.fail(number, "orders.created" if number < 3 else "bills.sent")
    await system.fail(5, "nowhere.at.all")
    plan = await letters.aio.plan(error="no answer")
    assert (plan.target, plan.to_replay, len(plan)) == (system.orders, 3, 6)
    said = Counter(row.why for row in plan.rows if row.why)
    [other] = [why for why in said if "bills" in why]
    assert said[other] == 2
    assert re.search(
        f"is in stream '{system.bills}', and a run sends to one stream, here '{system.orders}'; "
        "plan them again after it",
        other,
    )
    assert any("is captured by no stream" in why for why in said)
    await letters.aio.run(word="nobody")
    plan = await letters.aio.plan(error="no answer")
    assert (plan.target, plan.to_replay, len(plan)) == (system.bills, 2, 3)
    await letters.aio.run(word="nobody")
    assert await system.numbers(system.orders) == [0, 1, 2]
    assert await system.numbers(system.bills) == [3, 4]
    assert await system.numbers(system.dead) == [5]
    with pytest.raises(ReplayRefusedError, match="is captured by no stream; name a subject"):
        await letters.aio.plan(error="no answer")
    plan = await letters.aio.plan(error="no answer", to=system.subject("orders.found"))
    assert (plan.target, plan.to_replay) == (system.orders, 1)


async def test_what_names_no_other_subject_does_not_go_round_in_the_queue(
    lab: Lab, system: System
) -> None:
    await system.nc.jetstream().publish(system.subject("dead.x"), b'{"number": 1}')
    letters = DeadLetters.of_stream(lab, system.dead)
    with pytest.raises(ReplayRefusedError, match=r"'.*dead\.x' is the queue itself; name"):
        await letters.aio.plan(error="")
    assert len(await system.stored(system.dead)) == 1
    letters.close()


@pytest.mark.parametrize("how", ["mirror", "sources"])
async def test_a_copy_of_the_queue_says_so_and_sends_nothing_into_the_original(
    how: str, lab: Lab, system: System
) -> None:
    js, name = system.nc.jetstream(), f"{system.name}-COPY"
    await js.publish(system.subject("dead.x"), b'{"number": 1}')
    source = StreamSource(name=system.dead)
    copies: dict[str, Any] = {how: source if how == "mirror" else [source]}
    await js.add_stream(StreamConfig(name=name, **copies))
    await until(lambda: system.numbers(name))
    letters = DeadLetters.of_stream(lab, name)
    said = (
        f"{name} copies {system.dead}, where what is replayed or discarded here may stay, so that "
        "it can be sent again from there; "
        f"DeadLetters.of_stream(lab, {system.dead!r}) opens the original"
    )
    with pytest.warns(UserWarning, match=re.escape(said)):
        assert len(await letters.aio.frame()) == 1
    await letters.aio.filter()
    assert letters.notice == said
    with pytest.raises(ReplayRefusedError, match="which the queue copies; name a subject with"):
        await letters.aio.plan("matching")
    letters.close()


async def test_an_advisory_is_not_sent_in_place_of_its_message(lab: Lab, system: System) -> None:
    js, name, durable = system.nc.jetstream(), f"{system.name}-ADV", "gives-up"
    advisories = f"$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.{system.orders}.*"
    await js.add_stream(StreamConfig(name=name, subjects=[advisories]))
    await js.publish(system.subject("orders.created"), b'{"number": 7}')
    config = ConsumerConfig(durable_name=durable, max_deliver=1, ack_wait=0.2)
    pulling = await js.pull_subscribe(
        system.subject("orders.>"), durable, stream=system.orders, config=config
    )
    await pulling.fetch(1)

    async def told() -> bool:
        with suppress(TimeoutError):
            await pulling.fetch(1, timeout=0.5)
        return bool((await js.stream_info(name)).state.messages)

    await until(told)
    letters = DeadLetters.of_stream(lab, name)
    [row] = (await letters.aio.frame()).to_dict("records")
    assert (row["handler"], row["error_type"]) == (durable, "MAX_DELIVERIES")
    assert (row["attempts"], row["source_ref"]) == (1, f"{system.orders}:1")
    assert row["error_message"] == "given up in delivery 1 of 1"
    assert (await letters.aio.groups())["count"].tolist() == [1]
    letter = await letters.aio.entry((await letters.aio.frame()).index[0])
    assert letter.original == f"a message of {system.subject('orders.created')} is stored there"
    plan = await letters.aio.plan("matching", to=system.subject("orders.created"))
    [why] = [row.why for row in plan.rows]
    assert why == (
        f"stored without its payload; give it by an edit; its source_ref is {system.orders}:1"
    )
    assert plan.to_replay == 0
    letters.close()


async def test_another_message_of_the_stream_is_never_removed(lab: Lab, system: System) -> None:
    """The dead letters are between what is handled, in one stream, more than are purged at once."""
    js = system.nc.jetstream()
    for number in range(600):
        await system.fail(number)
        if number % 100 == 50:
            await js.publish(system.subject("dead.audit"), b'{"number": -1}')
    letters = DeadLetters.of_stream(
        lab,
        system.dead,
        subject=system.subject("dead.orders"),
        fields={"channel": "header:x-subject"},
    )
    await letters.aio.plan(error="no answer")
    report = await letters.aio.run(confirm=600, word="nobody")
    assert report.counts == {ReplayOutcome.REPLAYED: 600}
    assert await system.numbers(system.dead) == [-1] * 6
    assert sorted(await system.numbers(system.orders)) == [*range(600)]
    letters.close()


async def test_a_stream_that_was_made_anew_keeps_what_it_has(
    letters: DeadLetters, system: System
) -> None:
    """Its sequences, and so the ids of its entries, are those of the plan; the messages are not."""
    for number in range(5):
        await system.fail(number)
    await letters.aio.plan(error="no answer")
    js = system.nc.jetstream()
    config = (await js.stream_info(system.dead)).config
    await js.delete_stream(system.dead)
    await js.add_stream(config)
    for number in range(100, 105):
        await system.fail(number)
    report = await letters.aio.run(word="nobody")
    assert report.counts == {ReplayOutcome.SKIPPED: 5}
    assert await system.stored(system.orders) == []
    assert await system.numbers(system.dead) == [*range(100, 105)]


async def test_where_nothing_may_be_deleted_the_log_keeps_it_from_going_twice(
    lab: Lab, system: System
) -> None:
    name = f"{system.name}-KEPT"
    subject = system.subject("kept.orders")
    js = system.nc.jetstream()
    await js.add_stream(StreamConfig(name=name, subjects=[subject], deny_delete=True))
    for number in range(3):
        headers = {"X-Subject": system.subject("orders.created")}
        await js.publish(subject, json.dumps({"number": number}).encode(), headers=headers)
    letters = DeadLetters.of_stream(lab, name, fields={"channel": "header:x-subject"})
    await letters.aio.plan(error="")
    report = await letters.aio.run(word="nobody")
    assert report.counts == {ReplayOutcome.REPLAYED: 3}
    assert "3 dead letters could not be removed" in report.why
    assert "could not be removed" in letters.outcome
    await letters.aio.plan(error="")
    again = await letters.aio.run(word="nobody")
    assert again.counts == {ReplayOutcome.DUPLICATE: 3}
    assert await system.numbers(system.orders) == [0, 1, 2]
    letters.close()


async def test_what_failed_once_more_says_that_it_was_replayed(
    letters: DeadLetters, system: System
) -> None:
    await system.fail(1)
    await letters.aio.plan(error="no answer")
    await letters.aio.run(word="nobody")
    [message] = await system.stored(system.orders)
    kept = {name: message.headers[name] for name in (REPLAY_OF, REPLAY_COUNT)}
    await system.fail(1, **kept)  # a handler that keeps the headers
    plan = await letters.aio.plan(error="no answer")
    assert [row.why for row in plan.rows] == ["replayed once before; again=True replays it again"]
    plan = await letters.aio.plan(error="no answer", again=True)
    report = await letters.aio.run(word="nobody")
    assert report.counts == {ReplayOutcome.REPLAYED: 1}
    assert await system.numbers(system.orders) == [1, 1]


async def test_entries_are_edited_fixed_and_discarded(
    letters: DeadLetters, system: System, tmp_path: Path
) -> None:
    for number in range(4):
        await system.fail(number)
    frame = await letters.aio.frame()
    await letters.aio.edit(frame.index[0], {"number": 100})
    await letters.aio.fix([frame.index[1]], keep=True, set={"number": 101})
    await letters.aio.plan(frame.index[:2])
    report = await letters.aio.run(word="nobody")
    assert report.counts == {ReplayOutcome.REPLAYED: 2}
    assert await system.numbers(system.orders) == [100, 101]

    path = tmp_path / "dead.parquet"
    await letters.aio.export(path, frame.index[2:])
    written = await asyncio.to_thread(pd.read_parquet, path)
    assert [json.loads(each)["number"] for each in written["entry"]] == [2, 3]
    headers = [json.loads(each) if isinstance(each, str) else each for each in written["headers"]]
    assert [(each["X-Trace"], each["X-Error"]) for each in headers] == [
        ("t-2", "no answer for o-2"),
        ("t-3", "no answer for o-3"),
    ]
    report = await letters.aio.discard(frame.index[2:], exported_to=path)
    assert report.counts == {ReplayOutcome.DISCARDED: 2}
    assert await system.stored(system.dead) == []
    assert letters.undo_file == ""
    with pytest.raises(ReplayRefusedError, match="others write, and nothing is put there"):
        await letters.aio.restore(path)


async def test_the_widget_offers_what_can_be_done(letters: DeadLetters, system: System) -> None:
    await system.fail(1)
    await letters.aio.filter()
    view = letters.view()
    view.flush()
    assert [*view.tabs.titles] == [
        "Entry",
        "Edit",
        "Fix many",
        "Replay",
        "Export and discard",
        "Log",
    ]
    assert "read-only" not in view.status.place
    shown = [each for box in view.keep.box.children for each in getattr(box, "children", ())]
    assert view.entries.in_order() == ["#1"]
    letter = await letters.aio.open(letters.page.index[0])
    assert described_letter(letter)["summary"].startswith("failed 20")  # how often is not known
    assert view.keep.discard in shown
    assert view.keep.restore not in shown


@pytest.mark.parametrize(
    "config",
    [
        {"die": "claimed"},
        {"die": "planned"},
        {"die": "stored", "after": 7, "run": {"in_flight": 4}},
        {"die": "stored", "after": 30},
        {"die": "removed", "after": 3},
    ],
    ids=["plan written", "before publish", "mid batch", "all sent", "after a removal"],
)
async def test_a_run_that_is_killed_is_completed_once(
    config: dict[str, Any], settings: NatsEventBusSettings, letters: DeadLetters, system: System
) -> None:
    for number in range(30):
        await system.fail(number)
    async with replay_process(settings, foreign=system.dead, into=system.orders, **config) as child:
        assert await child.ended() == -9
    left = await system.numbers(system.dead)
    stored = await system.numbers(system.orders)
    assert {*left, *stored} == {*range(30)}
    plan = await letters.aio.plan(error="no answer")
    assert len(plan) == len(left)
    report = await letters.aio.run(word="nobody")
    assert report.state in (ReplayState.DONE, ReplayState.NOTHING_DONE)
    assert await system.stored(system.dead) == []
    assert sorted(await system.numbers(system.orders)) == [*range(30)]


async def test_two_at_once_send_each_entry_once(
    lab: Lab, letters: DeadLetters, system: System
) -> None:
    for number in range(200):
        await system.fail(number)
    other = DeadLetters.of_stream(lab, system.dead, fields={"channel": "header:x-subject"})
    await letters.aio.plan(error="no answer")
    await other.aio.plan(error="no answer")
    reports = await asyncio.gather(
        letters.aio.run(confirm=200, word="nobody"), other.aio.run(confirm=200, word="nobody")
    )
    replayed = sum(len(report.of(ReplayOutcome.REPLAYED)) for report in reports)
    assert replayed == 200
    assert sorted(await system.numbers(system.orders)) == [*range(200)]
    assert await system.stored(system.dead) == []
    other.close()


async def test_a_service_at_work_handles_what_comes_back(
    letters: DeadLetters, system: System
) -> None:
    """No word is needed where somebody consumes the subject."""
    handled: list[int] = []

    async def handle(message: Msg) -> None:
        handled.append(json.loads(message.data)["number"])
        await message.ack()

    js = system.nc.jetstream()
    await js.publish(system.subject("orders.created"), b'{"number": -1}')
    subscription = await js.subscribe(
        system.subject("orders.>"), durable="service", stream=system.orders, cb=handle
    )
    for number in range(3):
        await system.fail(number)
    plan = await letters.aio.plan(error="no answer")
    assert plan.unhandled == 0
    await letters.aio.run()
    await until(lambda: sorted(handled) == [-1, 0, 1, 2])
    await subscription.unsubscribe()


async def test_a_target_that_is_named_is_meant(
    lab: Lab, letters: DeadLetters, system: System
) -> None:
    await system.fail(1)
    plan = await letters.aio.plan(error="no answer", target=lab)
    settings = lab.__lab_handle__.session.settings
    assert plan.target == settings.stream_name
    [row] = plan.rows
    assert row.subject == settings.subject_name(system.subject("orders.created"))
    assert len(await letters.aio.plan([row.key], channel=None)) == 1  # None is not given
    with pytest.raises(InvalidChannelError, match="contains the wildcard"):
        await letters.aio.plan(error="no answer", to="orders.*")
    await letters.aio.plan(error="no answer")
    with pytest.raises(ReplayRefusedError, match="replay a few first and look where they do"):
        await letters.aio.run(canary=1)
    assert len(await system.stored(system.dead)) == 1


async def test_what_is_masked_is_sent_as_it_is_and_shown_nowhere(
    settings: NatsEventBusSettings, system: System, tmp_path: Path
) -> None:
    await system.fail(1, authorization="secret-token")
    with Lab(settings, mask=["number", "headers.authorization"]) as lab:
        letters = DeadLetters.of_stream(lab, system.dead, fields={"channel": "header:x-subject"})
        frame = await letters.aio.frame(headers=True)
        await letters.aio.export(tmp_path / "dead.ndjson", frame.index)
        await letters.aio.plan(frame.index)
        shown = f"{frame.to_dict('list')} {letters.plan_table.to_dict('list')}"
        shown += (tmp_path / "dead.ndjson").read_text()
        assert "secret-token" not in shown
        assert "o-1" not in shown
        with pytest.raises(ReplayRefusedError, match="was written with a mask"):
            await letters.aio.discard(frame.index, exported_to=tmp_path / "dead.ndjson")
        await letters.aio.run(word="nobody")
    [message] = await system.stored(system.orders)
    assert message.data == b'{"number": 1}'
    assert message.headers["authorization"] == "secret-token"


async def test_a_work_queue_is_replayed_without_a_consumer(lab: Lab, system: System) -> None:
    """Of such a stream a reader with a consumer would take messages from the service's own."""
    js, name = system.nc.jetstream(), f"{system.name}-JOBS"
    subject = system.subject("jobs")
    await js.add_stream(
        StreamConfig(name=name, subjects=[subject], retention=RetentionPolicy.WORK_QUEUE)
    )
    for number in range(150):  # more than are looked up one by one
        headers = {"X-Subject": system.subject("orders.created")}
        await js.publish(subject, json.dumps({"number": number}).encode(), headers=headers)
    letters = DeadLetters.of_stream(lab, name, fields={"channel": "header:x-subject"})
    await letters.aio.plan(error="")
    assert (await js.stream_info(name)).state.messages == 150
    report = await letters.aio.run(confirm=150, word="nobody")
    assert report.counts == {ReplayOutcome.REPLAYED: 150}
    assert await system.numbers(system.orders) == [*range(150)]
    assert (await js.stream_info(name)).state.messages == 0
    letters.close()
