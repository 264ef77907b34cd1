"""Experiments: each fault under each semantics, for real; and that nothing is left behind."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import CodeType
from typing import Any

import psutil
import pytest
from varco_nats_widgets import Lab
from varco_nats_widgets._session.progress import Progress
from varco_nats_widgets.experiment import (
    FAULTS,
    SEMANTICS,
    Experiment,
    ExperimentError,
    Fault,
    Nursery,
    Plan,
    make_plan,
    perform,
)
from varco_nats_widgets.experiment._comparison import new_comparison
from varco_nats_widgets.experiment._consumer import ExperimentEvent
from varco_nats_widgets.experiment._experiment import new_experiment
from varco_nats_widgets.experiment._setup import ExperimentSetup
from varco_nats_widgets.record import DeliveryRecord

from tests.experiments import main
from tests.waiting import side_by_side, until, wait_until
from tests.widgets.test_record import assert_sums
from varco_nats.errors import ServerBinaryNotFoundError

AT_MOST, AT_LEAST, EXACTLY = SEMANTICS
EVENTS = 5
STRUCK = 3

ONCE, TWICE, THRICE = "handled once", "handled 2 times", "handled 3 times"
EITHER = f"{ONCE} or {TWICE}"  # it is a race

OUTCOMES: dict[str, tuple[str, str, str]] = {
    # what becomes of the struck event, in the order of SEMANTICS
    "none": (ONCE, ONCE, ONCE),
    "kill_before_handler": ("lost", ONCE, ONCE),
    "kill_in_handler": ("lost", ONCE, ONCE),
    "kill_after_handler": (ONCE, TWICE, TWICE),
    "kill_one_of_two": ("lost", ONCE, ONCE),
    "ack_lost": (ONCE, TWICE, ONCE),
    "handler_fails_once": ("lost", ONCE, ONCE),
    "handler_fails_times": ("lost", ONCE, ONCE),
    "handler_fails_always": ("lost", "dead-lettered", "dead-lettered"),
    "slow_handler": (ONCE, ONCE, ONCE),
    "blocking_handler": (ONCE, TWICE, TWICE),
    "puback_lost": (ONCE, TWICE, ONCE),
    "duplicate_in_window": (TWICE, TWICE, ONCE),
    "duplicate_after_window": (TWICE, TWICE, TWICE),
    "duplicate_after_ack": (TWICE, TWICE, ONCE),
    "duplicate_not_refreshed": (THRICE, THRICE, TWICE),
    "server_killed": (ONCE, ONCE, ONCE),
    "server_killed_after_ack": (EITHER, EITHER, EITHER),
    "consumer_partitioned": (ONCE, TWICE, TWICE),
}
"""Written out, so that a wrong promise is seen as well as a wrong measurement."""


def processes() -> dict[int, tuple[int, str]]:
    """The parent and command line of each process of this machine that has not ended."""
    found = {}
    for process in psutil.process_iter(["ppid", "status", "cmdline"]):
        known = process.info
        if known["status"] != psutil.STATUS_ZOMBIE:
            found[process.pid] = (known["ppid"], " ".join(known["cmdline"] or []))
    return found


def descendants(of: int) -> set[int]:
    """The processes below `of`; one that has just begun has no command line for a moment."""
    all_of, found, looked = processes(), set(), {of}
    while looked:
        looked = {pid for pid, (parent, _) in all_of.items() if parent in looked}
        found |= looked
    return found


def consumers_of(pids: set[int]) -> set[int]:
    known = processes()
    return {pid for pid in pids if pid in known and "experiment/_consumer" in known[pid][1]}


@pytest.fixture(autouse=True)
def nothing_left(shared_lab: Lab) -> Iterator[None]:
    """No test leaves a process behind."""
    before = descendants(os.getpid())
    yield
    deadline = time.monotonic() + 60
    while (left := descendants(os.getpid()) - before) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert {pid: processes().get(pid) for pid in left} == {}


@pytest.fixture(scope="module")
def shared_lab() -> Iterator[Lab]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("VARCO_NATS_SERVERS", raising=False)
        opened = Lab()
    opened._session.shared(Nursery).start()
    with opened:
        yield opened
    assert [t.name for t in threading.enumerate() if t.name.startswith("Lab")] == []


@pytest.fixture
def lab(shared_lab: Lab, nothing_left: None) -> Lab:
    """For tests that do not close it."""
    return shared_lab


@pytest.fixture
def nursery(lab: Lab) -> Nursery:
    return lab._session.shared(Nursery)


async def carried_out(plan: Plan, nursery: Nursery) -> DeliveryRecord:
    record = DeliveryRecord(duplicate_window=plan.duplicate_window)
    await perform(plan, record, nursery)
    assert record.done
    assert_sums(record)
    return record


def became(record: DeliveryRecord) -> dict[int, str]:
    return dict(zip(record.ledger["event"], record.ledger["outcome"], strict=True))


def kinds(record: DeliveryRecord, event: int = STRUCK) -> list[str]:
    return record.rows_of(event)["kind"].tolist()


# Every fault under every semantics


@pytest.mark.parametrize("fault", OUTCOMES)
async def test_fault(fault: str, nursery: Nursery) -> None:
    plans = [make_plan(semantics, fault, events=EVENTS) for semantics in SEMANTICS]
    records = await asyncio.gather(*(carried_out(plan, nursery) for plan in plans))
    for record, outcome in zip(records, OUTCOMES[fault], strict=True):
        happened = became(record)
        if outcome == EITHER and happened[STRUCK] in (ONCE, TWICE):
            outcome = happened[STRUCK]
        expected = dict.fromkeys(range(1, EVENTS + 1), ONCE) | {STRUCK: outcome}
        assert happened == expected, record.frame.to_string()
        assert record.verdict is not None
        assert record.verdict.holds, record.verdict.text
        assert sum(record.verdict.happened.values()) == EVENTS


@pytest.mark.parametrize(
    ("faults", "options", "title"),
    [
        ((), {}, "nothing broken, 20 events"),
        ("slow_handler", {"ack_wait": 2, "dlq": True}, "slow_handler at 10, 20 events"),
        (
            "handler_fails_always",
            {"dlq": False, "max_deliver": 1},
            "handler_fails_always at 10, 20 events, max_deliver=1, dlq=False",
        ),
        (
            Fault("handler_fails_times", times=4),
            {"dlq": "listen", "retry": 2, "ack_wait": 0.5},
            "handler_fails_times at 10, 20 events, times=4, ack_wait=0.5, retry=2, dlq='listen'",
        ),
        (
            ["duplicate_after_window", Fault("kill_in_handler", at=3)],
            {"deduplicator": True, "duplicate_window": 2, "seed": 3},
            "duplicate_after_window at 10, kill_in_handler at 3, 20 events, duplicate_window=2, "
            "deduplicator=True",
        ),
    ],
)
def test_a_title_tells_experiments_apart(faults: Any, options: dict[str, Any], title: str) -> None:
    assert make_plan(AT_LEAST, faults, **options).title == f"at_least_once, {title}"


@pytest.mark.parametrize("fault", ["handler_fails_once", "handler_fails_times"])
def test_what_is_said_of_a_fault_holds_under_each_semantics(fault: str) -> None:
    """A handler that is not called again does not succeed."""
    plan = make_plan(AT_MOST, fault, events=1)
    assert "lost" in plan.judge({1: "lost"}).text
    assert "succeeds" not in plan.judge({1: "lost"}).text


def test_how_often_a_handler_fails_is_said() -> None:
    said = "The handler raises the first {} that it is called with the event."
    described = {n: Fault("handler_fails_times", times=n).description for n in (1, 2, 20)}
    assert described == {
        n: said.format(t) for n, t in ((1, "time"), (2, "2 times"), (20, "20 times"))
    }
    once = make_plan(AT_LEAST, "handler_fails_once", events=1, max_deliver=1)
    assert "it failed in its only delivery." in once.judge({1: "dead-lettered"}).text


def test_every_fault_is_tried() -> None:
    assert set(OUTCOMES) == {fault.name for fault in FAULTS}


SETTINGS: list[tuple[str, str | Fault, dict[str, Any], str]] = [
    (AT_MOST, "handler_fails_times", {"retry": 3}, ONCE),
    (AT_MOST, "handler_fails_times", {"retry": 2}, "lost"),
    (AT_LEAST, "handler_fails_always", {"retry": 2}, "dead-lettered"),
    (AT_LEAST, "handler_fails_always", {"dlq": False}, "discarded"),
    (AT_MOST, "handler_fails_always", {"dlq": "listen"}, "dead-lettered"),
    (EXACTLY, "handler_fails_times", {"dlq": "listen", "retry": 2}, "dead-lettered"),
    (AT_LEAST, "handler_fails_times", {"dlq": "listen", "retry": 3}, ONCE),
    (AT_LEAST, Fault("handler_fails_times", times=19), {"retry": 20}, ONCE),
    (AT_MOST, "server_killed_after_ack", {"deduplicator": True}, ONCE),
    (EXACTLY, "handler_fails_times", {"max_deliver": 2}, "dead-lettered"),
    (AT_LEAST, "duplicate_in_window", {"deduplicator": True}, ONCE),
    (EXACTLY, "duplicate_after_window", {"deduplicator": True}, ONCE),
    (AT_LEAST, "puback_lost", {"deduplicator": True}, ONCE),
    (AT_LEAST, "ack_lost", {"deduplicator": True}, ONCE),
    (AT_LEAST, "kill_after_handler", {"deduplicator": True}, TWICE),  # its memory died too
]


@pytest.mark.parametrize("part", range(5))
async def test_settings(part: int, nursery: Nursery) -> None:
    async def check(case: tuple[str, str | Fault, dict[str, Any], str]) -> None:
        semantics, fault, options, outcome = case
        record = await carried_out(make_plan(semantics, fault, events=EVENTS, **options), nursery)
        assert became(record)[STRUCK] == outcome
        assert record.verdict is not None
        assert record.verdict.holds, record.verdict.text

    await side_by_side(check, SETTINGS[part::5])


async def test_several_faults_each_at_its_event(nursery: Nursery) -> None:
    faults: list[str | Fault] = [
        Fault("kill_in_handler", at=2),
        "handler_fails_always",
        Fault("puback_lost", at=6),
    ]
    record = await carried_out(make_plan(AT_LEAST, faults, events=7), nursery)
    assert became(record) == {
        1: ONCE, 2: ONCE, 3: ONCE, 4: "dead-lettered", 5: ONCE, 6: TWICE, 7: ONCE,
    }  # fmt: skip
    assert record.verdict is not None
    assert record.verdict.holds


async def test_faults_that_need_two_consumers_one_after_the_other(nursery: Nursery) -> None:
    """Each has two that live, also where the one before has killed one."""
    names = ["kill_one_of_two", "consumer_partitioned", "ack_lost", "kill_one_of_two"]
    names += ["blocking_handler", "server_killed_after_ack", "consumer_partitioned"]
    faults = [Fault(name, at=at) for at, name in enumerate(names, start=1)]
    record = await carried_out(make_plan(AT_LEAST, faults, events=8, ack_wait=1), nursery)
    assert record.verdict is not None
    assert record.verdict.holds, record.verdict.text
    assert [line.partition(": ")[2] for line in faults_of(record)] == [
        "killed (SIGKILL)", "started again", "network cut", "network restored",
        "ack lost, connection cut", "killed (SIGKILL)", "started again", "blocked", "goes on",
        "server killed", "server back", "network cut", "network restored",
    ]  # fmt: skip


async def test_a_consumer_waits_in_its_handler_each_time(nursery: Nursery) -> None:
    faults = [Fault("server_killed", at=1), Fault("server_killed", at=2)]
    record = await carried_out(make_plan(AT_LEAST, faults, events=2), nursery)
    back = [row.time for row in record.rows() if row.error == "server back"]
    for at, event in zip(back, (1, 2), strict=True):
        [handled] = record.rows_of(event).query("kind == 'handled'")["time"]
        assert handled.timestamp() > at - 1e-6


# On a machine that is busy with a whole class


def publish_late(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Have the producer wait before it sends an event."""
    publish = ExperimentSetup.publish

    async def late(self: ExperimentSetup, event: ExperimentEvent) -> None:
        await asyncio.sleep(seconds)
        await publish(self, event)

    monkeypatch.setattr(ExperimentSetup, "publish", late)


@pytest.mark.parametrize("semantics", SEMANTICS)
async def test_an_ack_is_lost_after_a_quiet_time(
    semantics: str, nursery: Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The consumer's request for messages has ended meanwhile, and it has to send the next."""
    publish_late(monkeypatch, 0.5)
    record = await carried_out(make_plan(semantics, "ack_lost", events=2, ack_wait=0.5), nursery)
    assert record.verdict is not None
    assert record.verdict.holds, record.verdict.text
    assert "consumer-1: ack lost, connection cut" in faults_of(record)


@pytest.mark.parametrize(
    "fault", ["duplicate_in_window", "duplicate_after_ack", "duplicate_not_refreshed"]
)
async def test_a_copy_that_misses_its_window_is_not_judged(
    fault: str, nursery: Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_late(monkeypatch, 0.7)
    plan = make_plan(EXACTLY, fault, events=1, duplicate_window=0.5)
    with pytest.raises(ExperimentError, match="give a longer duplicate_window"):
        await carried_out(plan, nursery)
    record = await carried_out(make_plan(AT_LEAST, "duplicate_in_window", events=1), nursery)
    assert record.verdict is not None
    assert record.verdict.holds


# What the record says of it


def faults_of(record: DeliveryRecord) -> list[str]:
    """What was done to processes and to the network, in order of time."""
    rows = [row for row in record.rows() if row.kind == "fault"]
    assert all((row.event_id, row.seq, row.delivery) == (None, None, 0) for row in rows)
    return [f"{row.process}: {row.error}" for row in sorted(rows, key=lambda row: row.time)]


async def test_way_of_a_killed_delivery(nursery: Nursery) -> None:
    record = await carried_out(make_plan(AT_LEAST, "kill_after_handler", events=5), nursery)
    assert kinds(record) == [
        "published", "stored", "delivered", "handled", "expired", "delivered", "handled", "acked",
    ]  # fmt: skip
    rows = record.rows_of(STRUCK)
    assert rows["process"].tolist() == [
        "producer", "stream", "consumer-1", "consumer-1", "stream", *["consumer-2"] * 3,
    ]  # fmt: skip
    assert rows["delivery"].tolist() == [0, 0, 1, 1, 1, 2, 2, 2]
    assert faults_of(record) == ["consumer-1: killed (SIGKILL)", "consumer-2: started again"]
    assert rows["seq"].dropna().unique().tolist() == [3]


@pytest.mark.parametrize("fault", ["kill_before_handler", "kill_in_handler", "kill_one_of_two"])
async def test_an_event_is_lost_when_its_process_is_killed(fault: str, nursery: Nursery) -> None:
    """Not before: the picture shows the cause first."""
    faults = [Fault("handler_fails_always", at=1), Fault(fault, at=3)]
    record = await carried_out(make_plan(AT_MOST, faults, events=4), nursery)
    frame = record.frame
    [killed] = frame.index[frame["error"] == "killed (SIGKILL)"]
    failed, lost = frame.index[frame["kind"] == "lost"]
    assert frame.loc[[failed, lost], "event"].tolist() == [1, 3]
    assert lost == killed + 1
    assert frame.loc[lost, "time"] == frame.loc[killed, "time"]
    assert failed < killed


async def test_way_of_a_lost_puback(nursery: Nursery) -> None:
    record = await carried_out(make_plan(EXACTLY, "puback_lost", events=5), nursery)
    told = [kind for kind in kinds(record) if kind in ("published", "stored", "deduplicated")]
    assert told == ["published", "stored", "published", "deduplicated"]
    failed = record.rows_of(STRUCK).query("kind == 'failed'").iloc[0]
    assert (failed["process"], failed["delivery"]) == ("producer", 0)
    assert "no PubAck" in failed["error"]
    assert faults_of(record) == ["producer: PubAck lost, connection cut"]
    copies = record.copies.query("event == @STRUCK")
    assert copies["dropped"].tolist() == [False, True]
    assert copies["inside_window"].tolist() == [False, True]


async def test_way_of_a_dead_letter(nursery: Nursery) -> None:
    plan = make_plan(AT_LEAST, "handler_fails_always", events=5, retry=2, max_deliver=2)
    record = await carried_out(plan, nursery)
    again = ["delivered", "failed", "failed"]
    assert kinds(record)[2:] == [*again, "naked", *again, "dead_lettered"]
    entry = record.ledger.iloc[STRUCK - 1]
    assert (entry["failed"], entry["naked"], entry["dead_lettered"]) == (2, 1, 1)


async def test_way_of_a_skipped_copy(nursery: Nursery) -> None:
    plan = make_plan(AT_LEAST, "duplicate_in_window", events=5, deduplicator=True)
    record = await carried_out(plan, nursery)
    entry = record.ledger.iloc[STRUCK - 1]
    assert (entry["stored"], entry["delivered"], entry["skipped"]) == (2, 2, 1)
    assert entry["deduplicated"] == 0


async def test_a_lost_event_says_so_where_it_was_lost(nursery: Nursery) -> None:
    record = await carried_out(make_plan(AT_MOST, "kill_in_handler", events=5), nursery)
    assert kinds(record) == ["published", "stored", "acked", "delivered", "lost"]
    assert record.rows_of(4)["process"].iloc[-1] == "consumer-2"


async def test_the_stream_tells_what_is_stored(nursery: Nursery) -> None:
    """Also a copy whose PubAck never came, which the producer was not told of."""
    record = await carried_out(make_plan(AT_MOST, "puback_lost", events=5), nursery)
    assert kinds(record)[:2] == ["published", "stored"]
    assert record.flow.unacknowledged == 0


# Deciding


def test_same_seed_same_ids() -> None:
    one, same, other = (make_plan(AT_MOST, seed=seed) for seed in (7, 7, 8))
    assert one.event_ids() == same.event_ids()
    assert not set(one.event_ids()) & set(other.event_ids())
    assert make_plan(AT_MOST, events=3).event_ids() == one.event_ids()[:3]


def test_verdict_of_surprises() -> None:
    plan = make_plan(AT_LEAST, "kill_after_handler", events=3, at=2)
    good = plan.judge({1: ONCE, 2: TWICE, 3: ONCE})
    assert (good.holds, good.expected) == (True, {TWICE: 1, ONCE: 2})
    assert "Event 2 was handled 2 times, as documented for at_least_once" in good.text
    assert "All 2 other events were handled once." in good.text
    bad = plan.judge({1: "lost", 2: ONCE, 3: ONCE})
    assert not bad.holds
    assert [tuple(surprise) for surprise in bad.surprises] == [(1, ONCE, "lost"), (2, TWICE, ONCE)]
    assert "for at_least_once it should have been handled 2 times" in bad.text
    assert "event 1 was lost" in bad.text
    assert not plan.judge({1: ONCE, 2: TWICE}).holds


def test_verdict_where_it_is_a_matter_of_time() -> None:
    plan = make_plan(AT_MOST, "server_killed_after_ack", events=1)
    forgot, late = plan.judge({1: TWICE}), plan.judge({1: ONCE})
    assert (forgot.holds, forgot.expected) == (True, {TWICE: 1})
    assert "one that it forgot is as good as not sent" in forgot.text
    assert (late.holds, late.expected) == (True, {ONCE: 1})
    assert "this time the server had written its ack" in late.text
    assert not plan.judge({1: "lost"}).holds
    assert plan.judge({}).expected == {TWICE: 1}


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"events": 0}, "events=0: give a whole number from 1 to 1000"),
        ({"events": 100_000}, "events=100000: give a whole number from 1 to 1000"),
        ({"events": 2.5}, "events=2.5"),
        ({"semantics": "at_times"}, "give one of 'at_most_once', 'at_least_once', 'exactly_once'"),
        ({"faults": "kill_in_handlr"}, "no fault 'kill_in_handlr'; try kill_in_handler"),
        (
            {"faults": "ack_lost", "at": 21},
            "ack_lost at event 21: give the number of an event, 1 to 20",
        ),
        ({"faults": "ack_lost", "at": True}, "at=True: give the number of an event, from 1"),
        ({"faults": "ack_lost", "at": 0}, "at=0: give the number of an event, from 1"),
        ({"faults": ["ack_lost", "puback_lost"]}, "two faults at event 10: give each its own"),
        ({"ack_wait": 0.1}, "ack_wait=0.1: give a number from 0.5 to 30"),
        ({"duplicate_window": "2 s"}, "duplicate_window='2 s'"),
        ({"max_deliver": True}, "max_deliver=True"),
        ({"faults": "blocking_handler", "deduplicator": True}, "needs two consumers"),
        ({"faults": None}, "faults=None: give one or several of lab.faults()"),
        ({"faults": [None]}, "there is no fault None"),
        ({"semantics": "ack_lost"}, "'ack_lost' is a fault, give it as faults="),
        ({"dlq": "no"}, "dlq='no': give True or False, or 'listen' for the handler's own"),
        ({"seed": "x"}, "seed='x': give a whole number"),
        ({"deduplicator": 1}, "deduplicator=1: give True or False"),
        ({"faults": "server_killed", "ack_wait": 0.5}, "'server_killed' needs longer; give 5"),
        (
            {"faults": "duplicate_after_window", "duplicate_window": 60},
            "duplicate_window=60: 'duplicate_after_window' waits for its end; give 30 or less",
        ),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - its message is compared
        make_plan(**({"semantics": AT_LEAST} | arguments))
    assert problem in str(refused.value)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"name": "ack_lost", "at": 0}, "at=0: give the number of an event, from 1"),
        ({"name": "ack_lost", "times": 2}, "times= is for 'handler_fails_times'"),
        ({"name": "handler_fails_times", "times": 0}, "times=0: give a number from 1 to 20"),
    ],
)
def test_wrong_fault(arguments: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - its message is compared
        Fault(**arguments)
    assert problem in str(refused.value)


# From a lab


def test_experiment(lab: Lab) -> None:
    positions: list[tuple[int, int]] = []
    experiment = lab.experiment(
        AT_LEAST, "handler_fails_once", events=4, progress=lambda *now: positions.append(now)
    )
    assert experiment.verdict is not None
    assert (experiment.semantics, experiment.fault, experiment.events) == (
        AT_LEAST, "handler_fails_once", 4,
    )  # fmt: skip
    assert repr(experiment) == (
        "Experiment(at_least_once, handler_fails_once at 2, 4 events: as promised)"
    )
    assert "as documented for at_least_once" in experiment._repr_html_()
    assert positions[-1] == (4, 4)
    assert list(lab.faults().index) == [fault.name for fault in FAULTS]
    assert lab.channels().empty  # it was not on this lab's server


def test_options_that_there_are_not(lab: Lab) -> None:
    with pytest.raises(TypeError, match=r"experiment\(\) has no option 'window'; it has events"):
        lab.experiment(window=3)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"compare\(\) has no option 'semantics'; it has events"):
        lab.compare(semantics=AT_LEAST)  # type: ignore[call-arg]


def test_compare(lab: Lab) -> None:
    comparison = lab.compare("handler_fails_always", events=3, max_deliver=2)
    frame = comparison.frame
    assert frame.index.tolist() == list(SEMANTICS)
    assert frame["struck"].tolist() == ["lost", "dead-lettered", "dead-lettered"]
    assert frame["delivered"].tolist() == [3, 4, 4]
    assert frame["as_promised"].tolist() == [True] * 3
    assert comparison.experiments[EXACTLY].record.flow.dead_lettered == 1
    assert repr(comparison).startswith("Comparison(handler_fails_always: at_most_once: as promised")
    shown = comparison._repr_html_()
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in shown.split("<tr>")[1:]]
    table = {name: values for name, *values in cells}
    assert table[""] == list(SEMANTICS)
    assert table["struck"] == ["lost", "dead-lettered", "dead-lettered"]
    assert table["delivered"] == ["3", "4", "4"]
    assert "deduplicated" not in table  # nothing was
    assert "Event 2 was lost, as documented for at_most_once" in table["verdict"][0]


async def test_awaited(lab: Lab) -> None:
    experiment = await lab.aio.experiment(EXACTLY, "duplicate_in_window", events=3)
    assert experiment.record.flow.deduplicated == 1
    comparison = await lab.aio.compare("none", events=2)
    assert comparison.frame["handled"].tolist() == [2, 2, 2]


def slow(lab: Lab) -> Experiment:
    """One that takes long, running, its consumer in its handler."""
    experiment = new_experiment(
        lab._handle, AT_LEAST, "slow_handler", False, events=1, ack_wait=30
    ).start()
    wait_until(lambda: "delivered" in experiment.record.frame["kind"].tolist(), timeout=40)
    return experiment


def test_cancel(lab: Lab) -> None:
    experiment = slow(lab)
    assert (experiment.running, experiment.state) == (True, "running")
    servers = descendants(os.getpid())
    experiment.cancel()
    with pytest.raises(ExperimentError, match="it was cancelled"):
        experiment.wait(40)
    assert (experiment.running, experiment.state) == (False, "cancelled")
    assert experiment.record.done
    assert experiment.verdict is None
    assert len(descendants(os.getpid())) < len(servers)
    experiment.cancel()
    assert lab.experiment(AT_LEAST, events=1).state == "as promised"


def test_shut(lab: Lab) -> None:
    """What a lab that closes does, before it takes the loop away."""
    experiment = slow(lab)
    lab._session.call(experiment.shut()).wait()
    assert (experiment.running, experiment.state) == (False, "cancelled")
    lab._session.call(experiment.shut()).wait()
    assert experiment.state == "cancelled"


def test_interrupt(lab: Lab) -> None:
    experiment = slow(lab)
    main_thread = threading.get_ident()

    def interrupt() -> None:
        """Once the main thread waits; sooner, the interrupt would hit this test."""
        while Progress.wait.__code__ not in running(main_thread):
            time.sleep(0.01)
        signal.pthread_kill(main_thread, signal.SIGINT)

    interrupting = threading.Thread(target=interrupt)
    interrupting.start()
    with pytest.raises(KeyboardInterrupt, match="stopped after 1 of 1"):
        experiment.wait()
    interrupting.join()
    wait_until(lambda: not experiment.running)  # a busy machine takes long to end its processes
    assert experiment.state == "cancelled"


def running(thread: int) -> set[CodeType]:
    """The functions that a thread is in."""
    found, frame = set(), sys._current_frames().get(thread)
    while frame is not None:
        found.add(frame.f_code)
        frame = frame.f_back
    return found


def test_cancel_a_comparison(lab: Lab) -> None:
    comparison = new_comparison(lab._handle, "slow_handler", False, events=1, ack_wait=30).start()
    comparison.cancel()
    with pytest.raises(ExperimentError, match="it was cancelled"):
        comparison.wait(40)
    assert not any(experiment.running for experiment in comparison.experiments.values())


async def test_cancel_what_is_awaited(lab: Lab) -> None:
    running = asyncio.create_task(
        lab.aio.experiment(AT_LEAST, "slow_handler", events=1, ack_wait=30)
    )
    await until(lambda: len(consumers_of(descendants(os.getpid()))) > 1)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await until(lambda: len(consumers_of(descendants(os.getpid()))) == 1)  # the fork server


def test_close_the_lab_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VARCO_NATS_SERVERS", raising=False)
    lab = Lab()
    experiment = slow(lab)
    lab.close()
    assert experiment.state == "cancelled"
    assert experiment.record.done
    with pytest.raises(RuntimeError, match="this Lab is closed"):
        lab.experiment(AT_LEAST)
    with pytest.raises(RuntimeError, match="this Lab is closed"):
        lab.compare()


def test_waiting_for_too_short(lab: Lab) -> None:
    experiment = slow(lab)
    with pytest.raises(TimeoutError):
        experiment.wait(0.01)
    assert experiment.running
    experiment.cancel()


# What cannot be carried out


async def failure(plan: Plan, nursery: Nursery) -> ExperimentError:
    record = DeliveryRecord()
    with pytest.raises(ExperimentError) as failed:
        await perform(plan, record, nursery)
    assert record.done
    assert record.verdict is None
    return failed.value


async def test_consumer_that_cannot_start(tmp_path: Path) -> None:
    plan = make_plan(AT_LEAST, events=1)
    error = await failure(plan, Nursery(str(tmp_path / "none")))
    assert "FileNotFoundError while starting the consumers" in error.reason
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho no module named varco_nats >&2\nexit 3\n")
    broken.chmod(0o755)
    nursery = Nursery(str(broken))
    error = await failure(plan, nursery)
    nursery.close()
    assert "ended with exit code 3: no module named varco_nats" in error.reason
    assert error.experiment == "at_least_once, nothing broken, 1 events"


async def test_consumer_that_somebody_kills(nursery: Nursery) -> None:
    record = DeliveryRecord()
    plan = make_plan(AT_LEAST, "slow_handler", events=1, ack_wait=10)
    running = asyncio.create_task(perform(plan, record, nursery))
    await until(lambda: "delivered" in record.frame["kind"].tolist())
    ours = consumers_of(descendants(os.getpid()))
    [child] = [pid for pid in ours if processes()[pid][0] in ours]  # the other one forked it
    os.kill(child, signal.SIGKILL)
    with pytest.raises(ExperimentError, match="consumer-1 did not work: its process is gone"):
        await running


async def test_no_server(nursery: Nursery, monkeypatch: pytest.MonkeyPatch) -> None:
    def not_found() -> Path:
        raise ServerBinaryNotFoundError

    monkeypatch.setattr("varco_nats.server._server.find_binary", not_found)
    with pytest.raises(ServerBinaryNotFoundError):
        await perform(make_plan(AT_LEAST, events=1), DeliveryRecord(), nursery)


async def test_the_stream_cannot_be_read(nursery: Nursery, monkeypatch: pytest.MonkeyPatch) -> None:
    def undecodable(data: bytes) -> None:
        raise LookupError("this stream cannot be read")

    monkeypatch.setattr("varco_nats_widgets.experiment._setup.fields_in", undecodable)
    with pytest.raises(LookupError, match="this stream cannot be read"):
        await perform(make_plan(AT_LEAST, "slow_handler", events=2), DeliveryRecord(), nursery)


def test_all_ends_with_a_killed_kernel() -> None:
    """Its server, the process that forks, and the consumer in its handler."""
    code = (
        "from varco_nats_widgets import Lab\n"
        "lab = Lab()\n"
        "lab.experiment('at_least_once', 'slow_handler', events=1, ack_wait=30)\n"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("VARCO_NATS_")}
    kernel = subprocess.Popen([sys.executable, "-c", code], env=environment)
    try:
        deadline = time.monotonic() + 60  # a busy machine imports slowly
        while len(consumers_of(below := descendants(kernel.pid))) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        kernel.kill()
        kernel.wait()
    deadline = time.monotonic() + 20  # the handler would take 45 s
    while left := below & processes().keys():
        assert time.monotonic() < deadline, {pid: processes().get(pid) for pid in left}
        time.sleep(0.05)


# The command


def test_repeat(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["handler_fails_once", "--repeat", "2", "--events", "2", "--jobs", "4"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert "2 of 2 the same  handler_fails_once at_most_once: 1 handled once, 1 lost" in said
    assert said[-1] == "6 of 6 experiments came out as promised each time"


def test_repeat_refuses(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["no_such_fault"])
    assert "no such fault: no_such_fault; there is none, kill_before" in capsys.readouterr().err
