"""Each kind of broken promise is seen, in ledgers and streams made by hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.errors import NoStreamResponseError

from tests.soak import streams
from tests.soak.chaos import NETWORK, PROCESS, SERVER
from tests.soak.evidence import FAULT_LOG
from tests.soak.judge import Judge
from tests.soak.ledger import Ledger, Reading
from tests.soak.streams import Contents, Stored
from tests.soak.worker import ALL, AT_LEAST_ONCE, AT_MOST_ONCE, EXACTLY_ONCE
from tests.waiting import until
from varco_nats.server import LocalCluster, LocalNats

BIG = 10**9


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
        self.live(1, 2, 3, 4)
        self.live(5)
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

    def store(self, seq: int, event: str, *, live: bool = True, **fields: Any) -> None:
        self.contents.messages[seq] = Stored("orders", event, **fields)
        if live:
            self.live(seq)

    def handled(self, seq: int, event: str, **fields: Any) -> None:
        """Stored, and handled after all that was before."""
        self.store(seq, event, **fields)
        self.handle("c1", seq, event, at=107.0)

    def live(self, *seqs: int) -> None:
        self.write("w", "live", semantics=self.semantics, seqs=seqs)

    def memory(self, process: str, *sizes: int) -> None:
        for number, size in enumerate(sizes):
            self.write(process, "memory", at=100.0 + 70.0 * number, bytes=size)

    def logged(self, text: str, logger: str = "varco_nats", error: str = "") -> None:
        self.write("c1", "log", logger=logger, text=text, error=error)

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


@pytest.mark.parametrize(
    ("promise", "fail"),
    [
        ("acknowledged and lost", lambda case: case.ack("e", 6)),
        ("acknowledged and lost", lambda case: case.ack("e", None, alone=False)),
        ("acknowledged and lost", lambda case: case.ack("e", 2, alone=False)),
        ("acknowledged and lost", lambda case: case.contents.missing.update({2: "server-3"})),
        ("replicas differ", lambda case: case.contents.differences.append("2 is x on server-3")),
        ("stored out of order", lambda case: case.ack("a", 1)),
        ("never handled", lambda case: case.store(6, "e")),
        ("never handled", lambda case: (case.store(6, "e"), case.begin("c1", 6, "e", 107.0))),
        ("dead letters lost", lambda case: case.store(6, "e", fails=True)),
        ("dead letters lost", lambda case: case.store(6, "c", fails=True)),  # another copy
        ("dead letters not replayed", lambda case: case.contents.dead.update({"entry-x": "b"})),
        ("replayed twice", lambda case: case.handled(6, "c", replay_of="entry-c")),
        ("handled out of order", lambda case: (case.handled(7, "f"), case.handled(6, "e"))),
        ("live gaps", lambda case: case.handled(6, "e", live=False)),
        ("live repeats", lambda case: case.live(5)),
        ("live rows not stored", lambda case: case.live(6)),
        ("frames not whole", lambda case: case.frame(rows=4)),
        ("frames not whole", lambda case: case.frame(rows=5, expected=6)),
        ("frames not whole", lambda case: case.frame(rows=5, gaps=1)),
        ("silent", lambda case: case.memory("c1", 1, 1, 1)),
        ("memory growth", lambda case: case.memory("w", 1, 1, BIG, BIG, BIG)),
        (
            "raw errors",
            lambda case: case.write("p", "raw", call="bus.start", error="nats: timeout"),
        ),
        ("raw errors", lambda case: case.logged("failed", error="KeyError: 1")),
        ("raw errors", lambda case: case.logged("exception was never retrieved", "asyncio")),
        ("raw errors", lambda case: (case.folder / "c1.stderr").write_text("Traceback")),
        ("wrong log lines", lambda case: case.logged("nats: timeout (\nnats-subject)")),
        ("wrong log lines", lambda case: case.logged("durable soak-orders was deleted")),
        ("left behind", lambda case: case.write("c1", "left", tasks=["<flusher>"], threads=[])),
        ("left behind", lambda case: case.write("w", "left", tasks=[], threads=["varco lab"])),
    ],
)
def test_a_broken_promise_is_seen(
    case: Callable[[str], Case], promise: str, fail: Callable[[Case], object]
) -> None:
    judged = case(AT_LEAST_ONCE)
    fail(judged)
    assert judged.broken() == {promise}


@pytest.mark.parametrize("semantics", ALL)
def test_an_event_stored_twice(case: Callable[[str], Case], semantics: str) -> None:
    judged = case(semantics)
    judged.handled(6, "a")
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
    judged.store(6, "e")
    judged.begin("c1", 6, "e", at=107.0)
    judged.handle("c2", 6, "e", at=108.0, count=2)
    assert judged.broken() == set()


def test_order_after_a_fault_of_a_server(case: Callable[[str], Case]) -> None:
    judged = case(AT_LEAST_ONCE)
    judged.handled(7, "f")
    judged.handled(6, "e")
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
        await until(partial(_is_stored, js, f"{stream}.payments.eu", payload))
    replay = json.dumps({"event_id": "b", "fault": "none"}).encode()
    await js.publish(f"{stream}.orders", replay, headers={"Varco-Replay-Of": "entry-b"})


async def _is_stored(js: JetStreamContext, subject: str, payload: bytes) -> bool:
    """The servers of a cluster hear of a new stream one after the other."""
    try:
        await js.publish(subject, payload)
    except NoStreamResponseError:
        return False
    return True


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
async def test_each_replica_is_read(cluster: LocalCluster) -> None:
    client = await nats.connect(cluster.servers.split(","))
    try:
        await fill(client, "soak-three", replicas=3)
        assert await streams.read(client, "soak-three") == Contents(WANTED, replicas=3)
    finally:
        await client.close()
