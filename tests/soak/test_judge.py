"""Each kind of broken promise is seen, in ledgers and streams made by hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import nats
import pytest
from nats.aio.client import Client

from tests.soak import streams
from tests.soak.chaos import NETWORK, PROCESS, SERVER
from tests.soak.judge import FAULT_LOG, Judge
from tests.soak.ledger import Ledger, Reading
from tests.soak.streams import Contents, Stored
from tests.soak.worker import ALL, AT_LEAST_ONCE, AT_MOST_ONCE, EXACTLY_ONCE
from varco_nats.server import LocalCluster, LocalNats


class Case:
    """A soak in which all went well: events `a` to `d`, of which `c` always fails."""

    def __init__(self, folder: Path, semantics: str) -> None:
        self.folder = folder
        self.semantics = semantics
        self.ledgers: dict[str, Ledger] = {}
        self.log = Ledger(folder / FAULT_LOG)
        self.log.write("soak", at=0.0)
        self.log.write("healed", at=1000.0)
        self.contents = Contents(
            {
                1: Stored("orders", "a"),
                2: Stored("orders", "b"),
                3: Stored("orders", "c", fails=True),
                4: Stored("orders", "d"),
                5: Stored("orders", "c", replay_of="entry-c"),
            }
        )
        for name, program in (("p", "producer"), ("c1", "consumer"), ("c2", "consumer")):
            self.process(name, program)
        for seq, event in enumerate("abcd", start=1):
            self.ack(event, seq)
            self.begin("c1", seq, event, at=100.0 + seq)
            if event != "c":
                self.write("c1", "end", seq=seq, event=event)
        self.handle("c2", 5, "c", at=106.0)
        self.process("w", "watcher")
        self.write("w", "live", semantics=semantics, seqs=[1, 2, 3, 4])
        self.live([5])
        self.frame(rows=5)

    def process(self, name: str, program: str) -> None:
        self.ledgers[name] = Ledger(self.folder / f"{name}.ledger")
        proxied = name == "c2"
        self.write(name, "process", program=program, semantics=[self.semantics], proxied=proxied)

    def write(self, process: str, what: str, **fields: object) -> None:
        self.ledgers[process].write(what, **{"at": 100.0, **fields})

    def ack(self, event: str, seq: int | None, *, alone: bool = True) -> None:
        self.write("p", "ack", event=event, channel="orders", seq=seq, alone=alone)

    def begin(self, process: str, seq: int, event: str, at: float, count: int = 1) -> None:
        fields = {"seq": seq, "event": event, "at": at, "count": count, "channel": "orders"}
        self.write(process, "begin", **fields)

    def handle(self, process: str, seq: int, event: str, at: float, count: int = 1) -> None:
        self.begin(process, seq, event, at, count)
        self.write(process, "end", seq=seq, event=event)

    def live(self, seqs: list[int]) -> None:
        self.write("w", "live", semantics=self.semantics, seqs=seqs)

    def frame(self, rows: int, **told: int) -> None:
        told = {"expected": rows, "loaded": rows, "gaps": 0, **told}
        fields = {"channel": "orders", "start": 1, "end": 5, "rows": rows, "told": told}
        self.write("w", "frame", semantics=self.semantics, **fields)

    def fault(self, family: str, target: str, begin: float, end: float) -> None:
        fields = {"number": begin, "family": family, "kind": "broken", "target": target}
        self.log.write("begin", at=begin, **fields)
        self.log.write("end", at=end, number=begin)

    def broken(self, *problems: tuple[str, str]) -> set[str]:
        verdict = Judge(self.folder, {self.semantics: self.contents}, problems).verdict()
        assert ("broken" in str(verdict)) == bool(verdict.violations)
        return {violation.promise for violation in verdict.violations}


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Callable[[str], Case]]:
    cases = []

    def make(semantics: str) -> Case:
        (folder := tmp_path / semantics).mkdir()
        cases.append(Case(folder, semantics))
        return cases[-1]

    yield make
    for made in cases:
        for ledger in (made.log, *made.ledgers.values()):
            ledger.close()


@pytest.mark.parametrize("semantics", ALL)
def test_what_went_well_is_not_blamed(case: Callable[[str], Case], semantics: str) -> None:
    assert case(semantics).broken() == set()


def lost(case: Case) -> None:
    case.ack("e", 6)


def lost_without_a_sequence(case: Case) -> None:
    case.ack("e", None, alone=False)


def another_event_in_its_place(case: Case) -> None:
    case.contents.messages[2] = Stored("orders", "x")
    case.handle("c1", 2, "x", at=107.0, count=2)


def lost_on_one_replica(case: Case) -> None:
    case.contents.missing[2] = ["server-3"]


def replicas_differ(case: Case) -> None:
    case.contents.differences.append("2 is b here and x there")


def stored_out_of_order(case: Case) -> None:
    case.ack("a", 1)


def never_handled(case: Case) -> None:
    case.contents.messages[6] = Stored("orders", "e")
    case.live([6])
    case.begin("c1", 6, "e", at=107.0)  # and no end


def dead_letter_lost(case: Case) -> None:
    case.contents.messages[6] = Stored("orders", "e", fails=True)
    case.live([6])


def dead_letter_of_one_copy_lost(case: Case) -> None:
    case.contents.messages[6] = Stored("orders", "c", fails=True)
    case.live([6])


def dead_letter_not_replayed(case: Case) -> None:
    case.contents.dead["entry-x"] = "b"


def replayed_twice(case: Case) -> None:
    case.contents.messages[6] = Stored("orders", "c", replay_of="entry-c")
    case.live([6])
    case.handle("c2", 6, "c", at=107.0)


def handled_out_of_order(case: Case) -> None:
    case.contents.messages |= {6: Stored("orders", "e"), 7: Stored("orders", "f")}
    case.live([6, 7])
    case.handle("c1", 7, "f", at=107.0)
    case.handle("c1", 6, "e", at=108.0)


def live_gap(case: Case) -> None:
    case.contents.messages[6] = Stored("orders", "e")
    case.handle("c1", 6, "e", at=107.0)


def live_repeat(case: Case) -> None:
    case.live([5])


def live_row_not_stored(case: Case) -> None:
    case.live([6])


def frame_with_too_few_rows(case: Case) -> None:
    case.frame(rows=4)


def frame_that_says_less_than_it_has(case: Case) -> None:
    case.frame(rows=5, expected=6)


def silent(case: Case) -> None:
    case.write("c1", "memory", at=100.0, bytes=1)
    case.write("c1", "memory", at=200.0, bytes=1)


def raw_error(case: Case) -> None:
    case.write("p", "raw", call="bus.start", error="nats.errors.TimeoutError: nats: timeout")


def logged_traceback(case: Case) -> None:
    case.write("c1", "log", logger="varco_nats", text="failed", error="KeyError: 1")


def never_retrieved(case: Case) -> None:
    case.write("c1", "log", logger="asyncio", text="Task exception was never retrieved", error="")


def stderr(case: Case) -> None:
    (case.folder / "c1.stderr").write_text("Traceback (most recent call last):\n")


def line_break_in_the_log(case: Case) -> None:
    case.write("c1", "log", logger="varco_nats", text="cannot consume: nats (\nsubject)", error="")


def task_left(case: Case) -> None:
    case.write("c1", "left", tasks=["<Task flusher>"], threads=[])


def thread_left(case: Case) -> None:
    case.write("w", "left", tasks=[], threads=["varco lab"])


def memory_growth(case: Case) -> None:
    for at, size in ((0.0, 10), (70.0, 20), (80.0, 200), (81.0, 200), (82.0, 200)):
        case.write("w", "memory", at=at, bytes=size * 5_000_000)


@pytest.mark.parametrize(
    ("fail", "promise"),
    [
        (lost, "acknowledged and lost"),
        (lost_without_a_sequence, "acknowledged and lost"),
        (another_event_in_its_place, "acknowledged and lost"),
        (lost_on_one_replica, "acknowledged and lost"),
        (replicas_differ, "replicas differ"),
        (stored_out_of_order, "stored out of order"),
        (never_handled, "never handled"),
        (dead_letter_lost, "dead letters lost"),
        (dead_letter_of_one_copy_lost, "dead letters lost"),
        (dead_letter_not_replayed, "dead letters not replayed"),
        (replayed_twice, "replayed twice"),
        (handled_out_of_order, "handled out of order"),
        (live_gap, "live gaps"),
        (live_repeat, "live repeats"),
        (live_row_not_stored, "live rows not stored"),
        (frame_with_too_few_rows, "frames not whole"),
        (frame_that_says_less_than_it_has, "frames not whole"),
        (silent, "silent"),
        (raw_error, "raw errors"),
        (logged_traceback, "raw errors"),
        (never_retrieved, "raw errors"),
        (stderr, "raw errors"),
        (line_break_in_the_log, "wrong log lines"),
        (task_left, "left behind"),
        (thread_left, "left behind"),
        (memory_growth, "memory growth"),
    ],
)
def test_a_broken_promise_is_seen(
    case: Callable[[str], Case], fail: Callable[[Case], None], promise: str
) -> None:
    judged = case(AT_LEAST_ONCE)
    fail(judged)
    assert judged.broken() == {promise}


@pytest.mark.parametrize("semantics", ALL)
def test_an_event_stored_twice(case: Callable[[str], Case], semantics: str) -> None:
    judged = case(semantics)
    judged.contents.messages[6] = Stored("orders", "a")
    judged.live([6])
    judged.handle("c1", 6, "a", at=107.0)
    assert judged.broken() == (set() if semantics == AT_LEAST_ONCE else {"stored twice"})


@pytest.mark.parametrize(
    ("semantics", "family", "promise"),
    [
        (AT_MOST_ONCE, None, "handled twice, no fault nearby"),
        (AT_MOST_ONCE, PROCESS, "handled twice, other fault nearby"),
        (AT_MOST_ONCE, NETWORK, "handled twice, other fault nearby"),
        (AT_MOST_ONCE, SERVER, None),
        (AT_LEAST_ONCE, None, None),
        (EXACTLY_ONCE, None, "handled twice, no fault nearby"),
        (EXACTLY_ONCE, PROCESS, None),
        (EXACTLY_ONCE, NETWORK, None),
        (EXACTLY_ONCE, SERVER, None),
    ],
)
def test_an_event_handled_twice(
    case: Callable[[str], Case], semantics: str, family: str | None, promise: str | None
) -> None:
    judged = case(semantics)
    judged.handle("c2", 1, "a", at=120.0, count=2)
    judged.fault(SERVER, "server-1", 10.0, 20.0)  # long over
    judged.fault(PROCESS, "c3", 110.0, 112.0)  # of another process
    if family is not None:
        judged.fault(family, "c1", 110.0, 112.0)
    assert judged.broken() == ({promise} if promise else set())


def test_a_handler_that_failed_before_is_not_handled_twice(case: Callable[[str], Case]) -> None:
    judged = case(EXACTLY_ONCE)
    judged.contents.messages[6] = Stored("orders", "e")
    judged.live([6])
    judged.begin("c1", 6, "e", at=107.0)
    judged.handle("c2", 6, "e", at=108.0, count=2)
    assert judged.broken() == set()


def test_order_after_a_fault_of_a_server(case: Callable[[str], Case]) -> None:
    judged = case(AT_LEAST_ONCE)
    handled_out_of_order(judged)
    judged.fault(SERVER, "server-1", 105.0, 106.0)
    assert judged.broken() == set()


def test_what_the_scenario_saw(case: Callable[[str], Case]) -> None:
    assert case(EXACTLY_ONCE).broken(("stuck", "soak-orders: 3 pending")) == {"stuck"}


def test_a_ledger_of_a_killed_process(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "p.ledger")
    ledger.write("ack", event="a")
    reading = Reading(tmp_path / "p.ledger")
    with (tmp_path / "p.ledger").open("a") as file:
        file.write('{"what": "ack", "ev')
    assert [line["event"] for line in reading.new()] == ["a"]
    assert list(reading.new()) == []
    ledger.close()


async def fill(client: Client, stream: str, replicas: int) -> None:
    js = client.jetstream()
    await js.add_stream(name=stream, subjects=[f"{stream}.>"], num_replicas=replicas)
    for event, fault in (("a", "none"), ("b", "always")):
        payload = json.dumps({"event_id": event, "fault": fault}).encode()
        await js.publish(f"{stream}.payments.eu", payload)
    replay = json.dumps({"event_id": "b", "fault": "none"}).encode()
    await js.publish(f"{stream}.orders", replay, headers={"Varco-Replay-Of": "entry-b"})


WANTED = {
    1: Stored("payments.eu", "a"),
    2: Stored("payments.eu", "b", fails=True),
    3: Stored("orders", "b", replay_of="entry-b"),
}


async def test_what_a_server_holds(server: LocalNats) -> None:
    client = await nats.connect(server.url)
    js = client.jetstream()
    await fill(client, "soak-one", replicas=1)
    await js.add_stream(name="soak-one-dlq", subjects=["soak-one-dlq.>"], retention="workqueue")
    for entry in ("entry-x", "entry-y"):
        dead = {"event_payload": json.dumps({"event_id": f"of {entry}"})}
        await js.publish(f"soak-one-dlq.{entry}.orders", json.dumps(dead).encode())
    await js.delete_msg("soak-one-dlq", 1)
    contents = await streams.read(client, "soak-one")
    assert contents == Contents(WANTED, dead={"entry-y": "of entry-y"}, replicas=1)
    for stream in ("soak-one", "soak-one-dlq"):
        await js.delete_stream(stream)
    await client.close()


@pytest.mark.timeout(120)  # three servers start
async def test_each_replica_is_read() -> None:
    async with LocalCluster(3) as cluster:
        client = await nats.connect(cluster.servers.split(","))
        await fill(client, "soak-three", replicas=3)
        assert await streams.read(client, "soak-three") == Contents(WANTED, replicas=3)
        await client.close()
