"""What the log of replays says about each run."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

import pytest
from msgspec import structs
from nats.aio.client import Client
from varco_core.event.dlq import DeadLetterSource

from tests.conftest import MakeSettings
from tests.core.helpers import entry, push
from tests.core.replay.helpers import stored
from varco_nats import NatsDLQ, NatsEventBusSettings
from varco_nats.errors import NotStartedError, ReplayLogError
from varco_nats.history import StoredMessage
from varco_nats.replay import Replayer, ReplayKind, ReplayOutcome, ReplayResult, ReplayState
from varco_nats.replay._log import ReplayLog
from varco_nats.replay._records import PlanHead, decode_rows, encode_rows
from varco_nats.server import LocalNats


async def test_log(dlq: NatsDLQ, replayer: Replayer) -> None:
    assert await replayer.log() == []
    entries = await push(dlq, *map(entry, range(4)))
    await replayer.run(await replayer.plan(limit=3, note="first"), confirm="nobody")
    await replayer.discard([entries[3].entry_id], confirm="discard", note="of no use")
    second, first = await replayer.log()
    assert (second.kind, second.note, second.outcome) == (
        ReplayKind.DISCARD,
        "of no use",
        {"discarded": 1},
    )
    assert (first.kind, first.note, first.outcome) == (
        ReplayKind.REPLAY,
        "first",
        {"replayed": 3},
    )
    assert first.who.startswith("ada@")
    assert first.state is ReplayState.DONE
    assert first.plan["to"] == {"orders": 3}
    assert first.ended_at is not None
    assert first.ended_at > first.started_at
    assert len(await replayer.log(limit=1)) == 1


async def test_log_has_what_became_of_each_row(dlq: NatsDLQ, replayer: Replayer) -> None:
    entries = await push(dlq, *map(entry, range(3)), entry(source=DeadLetterSource.JOB))
    plan = await replayer.plan(
        edits={entries[1].entry_id: b'{"order_id": "fixed"}'},
        transform=lambda payload: None if payload["order_id"] == "2" else payload,
    )
    plan = replace(plan, rows=tuple(row for row in plan.rows if row.entry_id is not None))
    report = await replayer.run(plan, rate=500, confirm="nobody")
    [record] = await replayer.log()
    assert (record.rate, record.again, record.came_back) == (500, False, ())
    rows = await replayer.log_rows(report.replay_id)
    assert [(row.entry_id, row.outcome, row.seq, row.removed, row.why) for row in rows] == [
        (row.entry_id, row.outcome, row.seq, row.removed, row.why) for row in report.rows
    ]
    assert {row.entry_id for row in rows} == {entry.entry_id for entry in entries}
    assert [row.edited for row in rows] == [row.edited for row in plan.rows]
    with pytest.raises(LookupError, match="has no run 'nonsense'"):
        await replayer.log_rows("nonsense")


def test_rows_of_the_log_fit_into_its_messages() -> None:
    rows = [
        ReplayResult(str(uuid4()), None, "orders", "orders", ReplayOutcome.FAILED, why="x" * 3000)
        for _ in range(500)
    ]
    chunks = encode_rows(rows, set(), 2000)
    assert max(map(len, chunks)) <= 2000
    stored_chunks = [StoredMessage(0, "", 0, chunk, None) for chunk in chunks]
    found = [row for chunk in stored_chunks for row in decode_rows(chunk)]
    assert [row.key for row in found] == [row.key for row in rows]
    assert {row.outcome for row in found} == {ReplayOutcome.FAILED}


async def test_a_log_that_loses_a_plan_at_once_ends_the_run(
    make_settings: MakeSettings, nc: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings(publish_timeout_seconds=0.5)
    write = ReplayLog.write_head

    async def write_and_lose(log: ReplayLog, head: PlanHead) -> int:
        seq = await write(log, head)
        await nc.jetstream().purge_stream(log.stream)
        return seq

    monkeypatch.setattr(ReplayLog, "write_head", write_and_lose)
    async with NatsDLQ(settings) as dlq, Replayer(dlq) as replayer:
        await push(dlq, entry())
        with pytest.raises(ReplayLogError, match="is not in it"):
            await replayer.run(await replayer.plan(), confirm="nobody")
        assert await dlq.count() == 1


async def test_runs_leave_no_subscription_behind(dlq: NatsDLQ, replayer: Replayer) -> None:
    assert replayer._context is not None
    subscriptions = replayer._context.source.nc._subs
    counts = []
    for number in range(2):
        await push(dlq, *map(entry, range(3)))
        await replayer.run(await replayer.plan(limit=2), confirm="nobody")
        await replayer.discard(await replayer.plan(), confirm="discard", note=str(number))
        counts.append(len(subscriptions))
    assert counts[0] == counts[1]


async def test_a_log_that_cannot_be_written_sends_nothing(
    settings: NatsEventBusSettings, dlq: NatsDLQ, replayer: Replayer, nc: Client
) -> None:
    await push(dlq, entry())
    await replayer.run(await replayer.plan(), confirm="nobody")
    js = nc.jetstream()
    config = (await js.stream_info(f"{settings.stream_name}-replays")).config
    await js.update_stream(config, max_msgs=1, discard="new")
    await push(dlq, entry())
    with pytest.raises(ReplayLogError, match="check the connection and that the stream has room"):
        await replayer.run(await replayer.plan(), confirm="nobody")
    assert await dlq.count() == 1
    assert len(await stored(settings)) == 1


async def test_more_entries_than_one_message_names(make_settings: MakeSettings) -> None:
    """Their ids take 160 kB, and the rows of the log are written a part at a time."""
    async with LocalNats(config="max_payload: 65536") as small:
        settings = make_settings(servers=small.url)
        async with NatsDLQ(settings) as dlq, Replayer(dlq) as replayer:
            await push(dlq, entry())
            plan = await replayer.plan()
            [row] = plan.rows
            ids = [uuid4() for _ in range(10_000)]
            rows = tuple(
                structs.replace(row, key=str(entry_id), entry_id=entry_id) for entry_id in ids
            )
            report = await replayer.run(replace(plan, rows=(*rows, row)), confirm="nobody")
            assert report.counts == {ReplayOutcome.SKIPPED: 10_000, ReplayOutcome.REPLAYED: 1}
            [record] = await replayer.log()
            assert record.plan["replay"] == 10_001


async def test_not_started_says_so(settings: NatsEventBusSettings) -> None:
    with pytest.raises(NotStartedError):
        await Replayer(settings).plan()
