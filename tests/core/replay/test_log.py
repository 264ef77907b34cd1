"""The log of replays with records in it that nobody can read."""

from __future__ import annotations

import json
import logging
import random
import zlib
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from msgspec import structs
from nats.aio.client import Client

from tests.conftest import MakeSettings
from tests.core.replay.helpers import NOBODY, push_orders, replayed_ids
from varco_nats import NatsDLQ, NatsEventBusSettings, Replayer
from varco_nats.errors import ReplayHeldError
from varco_nats.replay import ReplayDecision, ReplayOutcome, ReplayState

SHORT = 0.5
"""A duplicate window, in seconds, in which nothing that a test does falls."""


class Log:
    """The log of one stream's replays, written and read with plain nats-py."""

    def __init__(self, nc: Client, settings: NatsEventBusSettings) -> None:
        self._js = nc.jetstream()
        self.stream = f"{settings.stream_name}-replays"
        self._root = f"{settings.subject_prefix}-replays"

    async def write(self, name: str, data: bytes) -> int:
        return int((await self._js.publish(f"{self._root}.{name}", data)).seq)

    async def data(self, name: str) -> bytes:
        found = await self._js.get_last_msg(self.stream, f"{self._root}.{name}")
        return bytes(found.data or b"")

    async def replace(self, name: str, data: bytes) -> int:
        """Put `data` in the place of what is stored under `name`."""
        await self._js.purge_stream(self.stream, subject=f"{self._root}.{name}")
        return await self.write(name, data)


@pytest.fixture
def log(nc: Client, settings: NatsEventBusSettings) -> Log:
    return Log(nc, settings)


def unreadable(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [m for m in caplog.messages if "cannot be read" in m]


DEEP = b"[" * 100_000 + b"]" * 100_000
GARBAGE: list[bytes] = [
    b"",
    b"\x00",
    b"\xff\xfe\xfa" * 7,
    b"null",
    b"true",
    b"NaN",
    b"1e999",
    b"[]",
    b"[1, 2]",
    b'"text"',
    b"{}",
    b'{"replay_id": "\\ud800"}',
    b"9" * 5000,
    DEEP,
    b"<html>not here</html>",
    b"x" * 1000,
    zlib.compress(b""),
    zlib.compress(b"null"),
    zlib.compress(b"\xff\xff"),
    zlib.compress(DEEP),
    zlib.compress(b"[" + b"0," * 4000 + b"0]")[:-9],
    zlib.compress(b" " * (200 << 20), 9),  # 200 KB that unpack to 200 MB
]
WRONG: list[Any] = [
    None,
    True,
    -1,
    0.5,
    1e308,
    2**70,
    "",
    "x y",
    "\ud800",
    "0001-01-01T00:00:00",
    [],
    [None],
    [[]],
    {},
    {"a": {}},
    {"a": ["\ud800"], "\udc00": 1},
]


def mutant(data: bytes, random_: random.Random) -> bytes:
    """A record like `data`: with a field of another type or without one, cut off, a bit wrong."""
    packed = data.startswith(b"x")
    values: dict[str, Any] = json.loads(zlib.decompress(data) if packed else data)
    name, kind = random_.choice(list(values)), random_.randrange(6)
    if kind == 0:
        return data[: random_.randrange(len(data))]
    if kind == 1:
        flipped = bytearray(data)
        flipped[random_.randrange(len(data))] ^= 1 << random_.randrange(8)
        return bytes(flipped)
    if kind == 2:
        del values[name]
    else:
        values[name] = random_.choice(WRONG)
    text = json.dumps(values).encode()
    return zlib.compress(text) if packed else text


async def test_unknown_fields_are_no_matter(
    dlq: NatsDLQ, replayer: Replayer, log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    await push_orders(dlq, 2)
    report = await replayer.run(await replayer.plan(), confirm="nobody")
    name = report.replay_id
    plan = json.loads(await log.data(f"{name}.plan"))
    plan["settings"]["colour"] = plan["colour"] = "blue"
    await log.replace(f"{name}.plan", json.dumps(plan).encode())
    for part in ("rows.0", "outcome"):
        values = json.loads(zlib.decompress(await log.data(f"{name}.{part}")))
        changed = zlib.compress(json.dumps({**values, "colour": "blue"}).encode())
        await log.replace(f"{name}.{part}", changed)

    [record] = await replayer.log()
    assert (record.state, record.outcome) == (ReplayState.DONE, {"replayed": 2})
    assert {row.outcome for row in await replayer.log_rows(name)} == {ReplayOutcome.REPLAYED}
    assert unreadable(caplog) == []


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_is_in_the_log_the_others_are_replayed_and_told_of(
    settings: NatsEventBusSettings,
    dlq: NatsDLQ,
    replayer: Replayer,
    log: Log,
    caplog: pytest.LogCaptureFixture,
    seed: int,
) -> None:
    random_ = random.Random(seed)
    [first] = await push_orders(dlq, 1)
    report = await replayer.run(await replayer.plan(), confirm="nobody")
    real = {
        name: await log.data(f"{report.replay_id}.{name}")
        for name in ("plan", "entries.0", "rows.0", "outcome")
    }
    written: list[int] = []
    for name, data in real.items():
        for record in GARBAGE:
            foreign = f"{random_.choice(['x', 'somebody', str(uuid4())])}{random_.randrange(9)}"
            written.append(await log.write(f"{foreign}.{name}", record))
        if name == "entries.0":
            continue
        for number in range(40):
            foreign = f"them{number}"
            like = data.replace(report.replay_id.encode(), foreign.encode())
            written.append(await log.write(f"{foreign}.{name}", mutant(like, random_)))
    others = {str(entry.entry_id) for entry in await push_orders(dlq, 5)}

    plan = await replayer.plan()
    done = await replayer.run(plan, confirm="nobody")

    assert done.counts == {ReplayOutcome.REPLAYED: 5}
    assert sorted(await replayed_ids(settings)) == sorted(others | {str(first.entry_id)})
    records = {record.replay_id: record for record in await replayer.log()}
    assert records[report.replay_id].state is records[done.replay_id].state is ReplayState.DONE
    for replay_id, read in records.items():
        json.dumps([read.plan, read.history, read.outcome], ensure_ascii=False).encode()
        await replayer.log_rows(replay_id)
    told = unreadable(caplog)
    assert len(told) == len(set(told)) > 100  # some mutants are sound, or of a run without a plan
    assert all(f"of stream {log.stream}" in line and "\n" not in line for line in told)
    assert {int(line.split()[1]) for line in told} <= set(written)


@pytest.mark.parametrize("kind", ["garbage", "newer", "null", "cut off"])
async def test_a_plan_that_cannot_be_read_holds_back_its_own_entries(
    make_settings: MakeSettings, nc: Client, kind: str
) -> None:
    settings = make_settings(duplicate_window_seconds=SHORT)
    log = Log(nc, settings)
    async with NatsDLQ(settings) as dlq, Replayer(dlq) as replayer:
        await replayer.run(await replayer.plan())  # makes the log
        entries = await push_orders(dlq, 4)
        mine, theirs = entries[:2], entries[2:]
        await log.write("them.entries.0", b"".join(entry.entry_id.bytes for entry in theirs))
        newer = {"replay_id": "them", "kind": "requeue", "version": 9, "history_key": ""}
        bad = {
            "garbage": b"\x93\x01\xff",
            "newer": json.dumps(newer).encode(),
            "null": b"null",
            "cut off": b'{"replay_id": "them", "ki',
        }
        seq = await log.write("them.plan", bad[kind])

        report = await replayer.run(await replayer.plan(), confirm="nobody")
        assert {row.entry_id for row in report.of(ReplayOutcome.REPLAYED)} == {
            entry.entry_id for entry in mine
        }
        held = report.of(ReplayOutcome.SKIPPED)
        assert {row.entry_id for row in held} == {entry.entry_id for entry in theirs}
        assert f"run them may be replaying it: its plan, record {seq} of stream" in held[0].why
        assert await dlq.count() == 2

        # one of them is in the channel: the run stored it, and died
        await nc.jetstream().publish(
            settings.subject_name("orders"),
            b"{}",
            headers={"Varco-Replay-Of": str(theirs[0].entry_id), "Varco-Replay-Id": "them"},
        )
        over = await replayer.run(await replayer.plan(), ended=["them"], confirm="nobody")
        assert over.counts == {ReplayOutcome.DUPLICATE: 1, ReplayOutcome.SKIPPED: 1}
        [left] = over.of(ReplayOutcome.SKIPPED)
        assert left.entry_id == theirs[1].entry_id
        assert "cannot be read; again=True replays it" in left.why

        last = await replayer.run(await replayer.plan(again=True), ended=["them"], confirm="nobody")
        assert last.counts == {ReplayOutcome.REPLAYED: 1}
    assert sorted(await replayed_ids(settings)) == sorted(str(entry.entry_id) for entry in entries)


async def test_history_whose_other_plan_cannot_be_read_is_held_back(
    settings: NatsEventBusSettings, dlq: NatsDLQ, replayer: Replayer, log: Log, nc: Client
) -> None:
    await push_orders(dlq, 2)
    await replayer.run(await replayer.plan(), confirm="nobody")
    plan = await replayer.plan_history("orders", to="copies")
    other = await replayer.plan_history("orders", to="others")
    record = {"kind": "rewind", "history_key": plan.history_key}
    await log.write("them.plan", json.dumps(record).encode())

    with pytest.raises(ReplayHeldError, match="them"):
        await replayer.run(plan)
    assert (await replayer.run(other)).counts == {ReplayOutcome.REPLAYED: 2}


async def test_a_run_whose_outcome_cannot_be_read_is_looked_up_like_a_dead_one(
    make_settings: MakeSettings, nc: Client
) -> None:
    settings = make_settings(duplicate_window_seconds=SHORT)
    log = Log(nc, settings)
    async with NatsDLQ(settings) as dlq:
        entries = await push_orders(dlq, 3)
        async with Replayer(dlq) as dead:
            report = await dead.run(await dead.plan(), confirm="nobody")
        for name in ("outcome", "rows.0"):
            seq = await log.replace(f"{report.replay_id}.{name}", b"x\x9c\x00garbage")
        for entry in entries[:2]:
            await dlq.push(entry)  # as if the run had died before it removed them

        async with Replayer(dlq) as replayer:
            held = await replayer.plan()
            assert held.to_replay == 0
            assert "its outcome there cannot be read" in held.rows[0].why
            [record] = await replayer.log()
            assert (record.state, record.outcome) == (ReplayState.DIED, {})
            assert "of the log, cannot be read" in record.why
            assert {row.outcome for row in await replayer.log_rows(report.replay_id)} == {None}
            # a run of a plan that was made before: what the dead one stored is found
            rows = tuple(
                structs.replace(row, decision=ReplayDecision.REPLAY, why="") for row in held.rows
            )
            done = await replayer.run(replace(held, rows=rows), confirm="nobody")
    assert seq
    assert done.counts == {ReplayOutcome.DUPLICATE: 2}
    assert sorted(await replayed_ids(settings)) == sorted(str(entry.entry_id) for entry in entries)


async def test_a_row_that_cannot_be_read_costs_the_others_nothing(
    dlq: NatsDLQ, replayer: Replayer, log: Log
) -> None:
    entries = await push_orders(dlq, 2)
    report = await replayer.run(await replayer.plan(), confirm="nobody")
    await log.write(f"{report.replay_id}.rows.1", b"null")
    rows = await replayer.log_rows(report.replay_id)
    assert {row.outcome for row in rows} == {ReplayOutcome.REPLAYED}
    assert {row.entry_id for row in rows} == {entry.entry_id for entry in entries}


async def test_entries_written_twice_stand_for_no_others(
    settings: NatsEventBusSettings, dlq: NatsDLQ, replayer: Replayer, log: Log, nc: Client
) -> None:
    """A record that was written again, as no PubAck came, is not the one after it."""
    made = await replayer.run(await replayer.plan())
    first, other = await push_orders(dlq, 2)
    for _ in range(2):
        await log.write("them.entries.0", first.entry_id.bytes)
    plan = json.loads(await log.data(f"{made.replay_id}.plan"))  # of two, the second is gone
    gone = {"chunks": 2, "holder": NOBODY, "session": NOBODY}
    await log.write("them.plan", json.dumps({**plan, "replay_id": "them", **gone}).encode())
    await nc.jetstream().publish(
        settings.subject_name("orders"), b"{}", headers={"Varco-Replay-Of": str(other.entry_id)}
    )

    report = await replayer.run(await replayer.plan(), confirm="nobody")
    assert report.counts == {ReplayOutcome.DUPLICATE: 1, ReplayOutcome.REPLAYED: 1}
    assert len(await replayed_ids(settings)) == 2


async def test_each_record_is_told_of_once(
    dlq: NatsDLQ, replayer: Replayer, log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    await replayer.run(await replayer.plan())
    seq = await log.write("them.plan", b"null")
    caplog.set_level(logging.WARNING)
    for _ in range(3):
        await replayer.log()
        async with Replayer(dlq) as another:
            await another.run(await another.plan())
    assert [line.split(" and is")[0] for line in unreadable(caplog)] == [
        f"record {seq} of stream {log.stream} cannot be read (ValidationError)"
    ]
