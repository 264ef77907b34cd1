"""Discarding entries instead of replaying them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from nats.aio.client import Client
from varco_core.event.dlq import DeadLetterSource

from tests.core.helpers import entry, push
from tests.core.replay.helpers import has_run, publish
from tests.waiting import until
from varco_nats import NatsDLQ, NatsEventBusSettings
from varco_nats.errors import ReplayRefusedError
from varco_nats.replay import ReplayControl, Replayer, ReplayKind, ReplayOutcome, ReplayState


async def test_discard_wants_a_word_or_an_export(
    dlq: NatsDLQ, replayer: Replayer, tmp_path: Path
) -> None:
    entries = await push(dlq, *map(entry, range(4)), entry(source=DeadLetterSource.JOB))
    ids = [entry.entry_id for entry in entries]
    with pytest.raises(ReplayRefusedError, match="confirm='discard'"):
        await replayer.discard(ids)
    with pytest.raises(ReplayRefusedError, match="there is no"):
        await replayer.discard(ids, exported_to=tmp_path / "missing")
    assert await dlq.count() == 5
    file = tmp_path / "export.ndjson"
    for nothing in (tmp_path, file):
        file.write_text("{}")
        with pytest.raises(ReplayRefusedError, match=r"no file|no entry id"):
            await replayer.discard(ids, exported_to=nothing)
    file.write_text("".join(f'{{"entry_id":"{entry_id}"}}\n' for entry_id in ids[:2]))
    report = await replayer.discard(ids[:3], exported_to=file)
    assert report.counts == {ReplayOutcome.DISCARDED: 2, ReplayOutcome.SKIPPED: 1}
    assert [row.why for row in report.rows] == ["", "", "not in the export"]
    plan = await replayer.plan()
    report = await replayer.discard(plan, confirm="discard")
    assert report.counts == {ReplayOutcome.DISCARDED: 2, ReplayOutcome.SKIPPED: 1}
    report = await replayer.discard(ids, confirm="discard")
    assert report.counts == {ReplayOutcome.SKIPPED: 4, ReplayOutcome.DISCARDED: 1}
    assert await dlq.count() == 0
    assert (await replayer.log())[-1].exported_to == str(file)


async def test_discard_takes_only_a_plan_of_its_own_queue(
    settings: NatsEventBusSettings, dlq: NatsDLQ, replayer: Replayer
) -> None:
    await publish(settings, 1)
    await push(dlq, *map(entry, range(2)))
    other = settings.model_copy(
        update={"stream_name": f"{settings.stream_name}-2", "subject_prefix": uuid4().hex}
    )
    async with NatsDLQ(other) as queue, Replayer(queue) as theirs:
        await push(queue, *map(entry, range(2)))
        with pytest.raises(ReplayRefusedError, match="another queue"):
            await replayer.discard(await theirs.plan(), confirm="discard")
    history = await replayer.plan_history("orders", to="copy")
    with pytest.raises(ReplayRefusedError, match="no dead letters to discard"):
        await replayer.discard(history, confirm="discard")
    with pytest.raises(ValueError, match="entry ids as a list"):
        await replayer.discard(None, confirm="discard")  # type: ignore[arg-type]
    assert await dlq.count() == 2


async def test_what_cannot_be_removed_is_not_said_to_be(
    settings: NatsEventBusSettings, dlq: NatsDLQ, replayer: Replayer, nc: Client
) -> None:
    await push(dlq, *map(entry, range(3)))
    plan = await replayer.plan()
    js = nc.jetstream()
    config = (await js.stream_info(f"{settings.stream_name}-dlq")).config
    await js.update_stream(config, sealed=True)
    discarded = await replayer.discard(plan, confirm="discard")
    replayed = await replayer.run(plan, confirm="nobody")
    assert discarded.counts == {ReplayOutcome.FAILED: 3}
    assert replayed.counts == {ReplayOutcome.REPLAYED: 3}
    for report in (discarded, replayed):
        assert not any(row.removed for row in report.rows)
        assert "sealed" in report.rows[0].why
        assert report.why == "3 dead letters could not be removed"
    assert {record.why for record in await replayer.log()} == {replayed.why}


async def test_discard_can_be_cancelled(dlq: NatsDLQ, replayer: Replayer) -> None:
    await push(dlq, *map(entry, range(20)))
    control, told = ReplayControl(), list[Any]()
    control.pause()
    run = asyncio.create_task(
        replayer.discard(
            await replayer.plan(), confirm="discard", control=control, progress=told.append
        )
    )
    await until(lambda: bool(told) and told[-1].phase == "paused")
    control.cancel()
    report = await run
    assert report.counts == {ReplayOutcome.NOT_TRIED: 20}
    [record] = await replayer.log()
    assert (record.kind, record.state) == (ReplayKind.DISCARD, ReplayState.CANCELLED)
    assert (record.plan["discard"], record.plan["from"]) == (20, {"orders": 20})
    assert await dlq.count() == 20


async def test_discard_leaves_alone_what_is_being_replayed(
    dlq: NatsDLQ, replayer: Replayer
) -> None:
    await push(dlq, *map(entry, range(10)))
    plan, control = await replayer.plan(), ReplayControl()
    control.pause()
    run = asyncio.create_task(replayer.run(plan, control=control, confirm="nobody"))
    await until(lambda: has_run(replayer))
    report = await replayer.discard(plan, confirm="discard")
    control.resume()
    assert report.counts == {ReplayOutcome.SKIPPED: 10}
    assert (await run).counts == {ReplayOutcome.REPLAYED: 10}
