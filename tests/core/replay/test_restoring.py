"""Putting exported dead letters back into the queue: as they were, and each once."""

from __future__ import annotations

import asyncio
import json
import zlib
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from nats.aio.client import Client

from tests.conftest import MakeSettings
from tests.core.helpers import entry, push
from tests.core.replay.helpers import balance, died, fill, push_orders
from tests.proxy import ANSWERS, Proxy
from tests.waiting import until
from varco_nats import NatsDLQ, NatsEventBusSettings, Replayer
from varco_nats._nats.client import connect
from varco_nats._nats.direct import read_batches
from varco_nats.errors import ReadOnlyError, ReplayRefusedError
from varco_nats.replay import (
    ExportedEntry,
    ReplayControl,
    ReplayKind,
    ReplayOutcome,
    ReplayProgress,
    ReplayState,
)
from varco_nats.server import LocalNats


async def stored_entries(settings: NatsEventBusSettings) -> dict[UUID, ExportedEntry]:
    """Every entry of the queue as it is stored."""
    connection = await connect(settings, name="exporter")
    try:
        found = {}
        async for batch in read_batches(connection, f"{settings.stream_name}-dlq"):
            for message in batch.messages:
                key = UUID(message.subject.split(".")[1])
                found[key] = ExportedEntry(key, message.subject, message.data)
        return found
    finally:
        await connection.close()


async def discarded(
    settings: NatsEventBusSettings, replayer: Replayer
) -> Mapping[UUID, ExportedEntry]:
    """All entries of the queue, which is empty then."""
    exported = await stored_entries(settings)
    await replayer.discard(exported, confirm="discard")
    return exported


async def test_what_was_discarded_comes_back_as_it_was_and_once(
    settings: NatsEventBusSettings, dlq: NatsDLQ, replayer: Replayer, nc: Client
) -> None:
    await push(dlq, *map(entry, range(3)))
    js, root = nc.jetstream(), f"{settings.subject_prefix}-dlq"
    for data in (b"no dead letter", b"\xff\x00", b""):
        await js.publish(f"{root}.{uuid4()}.orders%2Fa", data)
    exported = await discarded(settings, replayer)
    assert len(exported) == 6
    assert await dlq.count() == 0
    seen = list[ReplayProgress]()

    report = await replayer.restore(
        exported.values(), restored_from="dead.csv", note="a mistake", progress=seen.append
    )

    assert (report.state, report.counts) == (ReplayState.DONE, {ReplayOutcome.RESTORED: 6})
    assert await stored_entries(settings) == exported
    assert sorted(row.seq or 0 for row in report.rows) == [7, 8, 9, 10, 11, 12]
    assert [now.phase for now in seen][-1] == "done"
    record = (await replayer.log())[0]
    assert (record.kind, record.state) == (ReplayKind.RESTORE, ReplayState.DONE)
    assert (record.who.split("@")[0], record.note) == ("ada", "a mistake")
    assert (record.restored_from, record.outcome) == ("dead.csv", {"restored": 6})
    assert (record.plan["restore"], record.plan["skip"]) == (6, 0)
    rows = await replayer.log_rows(report.replay_id)
    assert {(row.entry_id, row.outcome, row.why) for row in rows} == {
        (key, ReplayOutcome.RESTORED, "") for key in exported
    }

    again = await replayer.restore(exported.values())

    assert (again.state, again.counts) == (ReplayState.NOTHING_DONE, {ReplayOutcome.SKIPPED: 6})
    assert {row.why for row in again.rows} == {"in the queue already"}
    assert await stored_entries(settings) == exported
    [logged, *_] = await replayer.log_rows(again.replay_id)
    assert (logged.outcome, logged.why) == (ReplayOutcome.SKIPPED, "in the queue already")


async def test_what_was_replayed_since_stays_out(
    settings: NatsEventBusSettings, dlq: NatsDLQ, replayer: Replayer
) -> None:
    await push(dlq, *map(entry, range(4)))
    exported = await stored_entries(settings)
    first, second, *others = exported
    replay = await replayer.run(await replayer.plan([first, second]), confirm="nobody")
    await replayer.discard(others[:1], confirm="discard")

    report = await replayer.restore(exported.values())

    assert report.counts == {ReplayOutcome.SKIPPED: 3, ReplayOutcome.RESTORED: 1}
    reasons = {row.entry_id: row.why for row in report.of(ReplayOutcome.SKIPPED)}
    assert reasons == {
        others[1]: "in the queue already",
        **dict.fromkeys(
            (first, second),
            f"replayed by run {replay.replay_id}; again=True puts it back all the same",
        ),
    }
    report = await replayer.restore([exported[first]], again=True)
    assert report.counts == {ReplayOutcome.RESTORED: 1}
    found = await stored_entries(settings)
    assert found == {key: exported[key] for key in (first, *others)}
    # it is known to have been replayed all the same
    assert (await replayer.plan([first])).to_replay == 0


async def test_what_is_restored_is_replayed_once(
    settings: NatsEventBusSettings, dlq: NatsDLQ, replayer: Replayer
) -> None:
    await push_orders(dlq, 20)
    exported = await discarded(settings, replayer)
    await replayer.restore(exported.values())
    report = await replayer.run(await replayer.plan(), confirm="nobody")
    assert report.counts == {ReplayOutcome.REPLAYED: 20}
    found = await balance(settings, "restored and replayed")
    assert found.entries == set()
    assert found.stored == dict.fromkeys(map(str, exported), 1)


async def test_two_at_once_store_each_entry_once(
    settings: NatsEventBusSettings, dlq: NatsDLQ, replayer: Replayer
) -> None:
    await push_orders(dlq, 60)
    exported = await discarded(settings, replayer)
    async with Replayer(settings, user="bob") as other:
        reports = await asyncio.gather(
            *(who.restore(exported.values()) for who in (replayer, other, replayer, other))
        )
    assert await stored_entries(settings) == exported
    assert await dlq.count() == 60
    restored = [row.key for report in reports for row in report.of(ReplayOutcome.RESTORED)]
    assert len(restored) == len(set(restored)) == 60
    skipped = [row for report in reports for row in report.of(ReplayOutcome.SKIPPED)]
    assert len(skipped) == 180
    # or it hangs, where it does not answer in time
    reasons = {row.why for row in skipped}
    assert all(why == "in the queue already" or "restoring" in why for why in reasons), reasons


async def test_it_is_paused_and_cancelled_and_others_leave_its_entries_alone(
    settings: NatsEventBusSettings, dlq: NatsDLQ, replayer: Replayer
) -> None:
    await push_orders(dlq, 10)
    exported = await discarded(settings, replayer)
    control, seen = ReplayControl(), list[ReplayProgress]()
    control.pause()
    run = asyncio.create_task(
        replayer.restore(exported.values(), control=control, progress=seen.append)
    )
    await until(lambda: bool(seen) and seen[-1].phase == "paused")
    held = await replayer.restore(exported.values())
    assert held.counts == {ReplayOutcome.SKIPPED: 10}
    assert "has been restoring since" in held.rows[0].why
    control.cancel()
    report = await run
    assert report.state is ReplayState.CANCELLED
    assert report.counts == {ReplayOutcome.NOT_TRIED: 10}
    assert await dlq.count() == 0
    assert (await replayer.restore(exported.values())).counts == {ReplayOutcome.RESTORED: 10}


async def test_a_killed_restore_is_continued(make_settings: MakeSettings, tmp_path: Path) -> None:
    settings = make_settings()
    await fill(settings, 300)
    async with Replayer(settings) as replayer:
        exported = await discarded(settings, replayer)
        entries = [
            (str(entry.entry_id), entry.subject, b64encode(entry.data).decode())
            for entry in exported.values()
        ]
        file = tmp_path / "entries"  # a fork server takes only little before it is ready
        await asyncio.to_thread(file.write_text, json.dumps(entries))
        await died(settings, restore=str(file), die="restored", after=7)
        there = await stored_entries(settings)
        assert there.items() <= exported.items()
        assert 7 <= len(there) < 300  # 200 are sent at a time

        report = await replayer.restore(exported.values())

        assert report.counts == {
            ReplayOutcome.SKIPPED: len(there),
            ReplayOutcome.RESTORED: 300 - len(there),
        }
        assert {row.why for row in report.of(ReplayOutcome.SKIPPED)} == {"in the queue already"}
        assert await stored_entries(settings) == exported
        states = [record.state for record in await replayer.log()]
        assert states == [ReplayState.DONE, ReplayState.DIED, ReplayState.DONE]
        # what a dead restore left undecided holds back no replay
        replay = await replayer.run(await replayer.plan(), confirm="nobody")
        assert replay.counts == {ReplayOutcome.REPLAYED: 300}


async def test_the_server_is_killed_in_the_middle(
    own_server: LocalNats, make_settings: MakeSettings
) -> None:
    settings = make_settings(servers=own_server.url, publish_timeout_seconds=1.0)
    await fill(settings, 600)
    async with Replayer(settings) as replayer:
        exported = await discarded(settings, replayer)
        seen = list[ReplayProgress]()
        run = asyncio.create_task(replayer.restore(exported.values(), progress=seen.append))
        await until(lambda: bool(seen) and seen[-1].done > 0, every=0.001)
        await asyncio.to_thread(own_server.kill)
        await asyncio.to_thread(own_server.restart)
        report = await run
        assert (report.state, report.counts) == (ReplayState.DONE, {ReplayOutcome.RESTORED: 600})
        assert await stored_entries(settings) == exported


async def test_what_was_stored_without_an_answer_is_found(
    server: LocalNats, make_settings: MakeSettings
) -> None:
    settings = make_settings(publish_attempts=1, publish_timeout_seconds=3)
    await fill(settings, 30)
    async with Proxy(server.port) as proxy:
        through = settings.model_copy(update={"servers": proxy.url_for(server.url)})
        async with Replayer(through) as replayer:
            exported = await discarded(settings, replayer)
            control, seen = ReplayControl(), list[ReplayProgress]()
            control.pause()
            run = asyncio.create_task(
                replayer.restore(exported.values(), control=control, progress=seen.append)
            )
            await until(lambda: bool(seen) and seen[-1].phase == "paused")
            proxy.drop(ANSWERS)
            control.resume()

            async def all_stored() -> bool:
                return await stored_entries(settings) == exported

            await until(all_stored)
            proxy.restore()
            proxy.disconnect()
            report = await run
            assert report.counts == {ReplayOutcome.RESTORED: 30}
            assert {row.seq for row in report.rows} == {None}
            assert await all_stored()


async def test_a_server_that_stays_away_leaves_in_doubt_what_was_sent(
    own_server: LocalNats, make_settings: MakeSettings
) -> None:
    patient = make_settings(servers=own_server.url)
    await fill(patient, 300)
    async with Replayer(patient) as replayer:
        exported = await discarded(patient, replayer)
    settings = patient.model_copy(update={"publish_attempts": 1, "publish_timeout_seconds": 1})
    async with Replayer(settings) as replayer:
        control, seen = ReplayControl(), list[ReplayProgress]()
        control.pause()
        run = asyncio.create_task(
            replayer.restore(
                exported.values(), control=control, progress=seen.append, patience_seconds=1.0
            )
        )
        await until(lambda: bool(seen) and seen[-1].phase == "paused")
        await asyncio.to_thread(own_server.kill)
        control.resume()
        report = await run
        assert (report.state, report.logged) == (ReplayState.STOPPED, False)
        assert report.counts == {ReplayOutcome.IN_DOUBT: 200, ReplayOutcome.NOT_TRIED: 100}
        await asyncio.to_thread(own_server.restart)
    async with Replayer(patient) as replayer:
        await replayer.restore(exported.values())
    assert await stored_entries(settings) == exported


async def test_what_the_server_refuses_is_said(
    settings: NatsEventBusSettings, dlq: NatsDLQ, replayer: Replayer, nc: Client
) -> None:
    await push(dlq, *map(entry, range(30)))
    exported = await discarded(settings, replayer)
    js = nc.jetstream()
    config = (await js.stream_info(f"{settings.stream_name}-dlq")).config
    config.max_msg_size = 10
    await js.update_stream(config)
    report = await replayer.restore(exported.values())
    assert report.state is ReplayState.STOPPED
    assert report.why.startswith("the server refused 20 entries in a row")
    assert "max_msg_size" in report.of(ReplayOutcome.FAILED)[0].why
    assert await dlq.count() == 0


async def test_nothing_is_stored_of_what_does_not_belong_here(
    make_settings: MakeSettings, settings: NatsEventBusSettings, dlq: NatsDLQ, replayer: Replayer
) -> None:
    await push_orders(dlq, 3)
    exported = await discarded(settings, replayer)
    first, *others = exported.values()
    elsewhere = make_settings("other")
    foreign = replace(first, subject=f"{elsewhere.subject_prefix}-dlq.{first.entry_id}.orders")
    cases = [
        (foreign, "is of another queue: it was stored under"),
        (replace(first, entry_id=uuid4()), "which is the subject of another one"),
        (replace(others[0], data=b"{}"), "is there twice, with different bytes"),
    ]
    for wrong, message in cases:
        with pytest.raises(ReplayRefusedError, match=message):
            await replayer.restore([*exported.values(), wrong])
    looking = settings.model_copy(update={"read_only": True})
    async with Replayer(looking) as looker:
        with pytest.raises(ReadOnlyError):
            await looker.restore(exported.values())
    assert await dlq.count() == 0
    assert len(await replayer.log()) == 1
    twice = await replayer.restore([*exported.values(), *exported.values()])
    assert twice.counts == {ReplayOutcome.RESTORED: 3}


async def test_entries_of_the_released_package_get_a_subject_with_their_id(
    settings: NatsEventBusSettings, dlq: NatsDLQ, replayer: Replayer
) -> None:
    await push_orders(dlq, 2)
    exported = await discarded(settings, replayer)
    root = f"{settings.subject_prefix}-dlq"
    old = [replace(entry, subject=root) for entry in exported.values()]
    for counts in ({ReplayOutcome.RESTORED: 2}, {ReplayOutcome.SKIPPED: 2}):
        assert (await replayer.restore(old)).counts == counts
    assert await stored_entries(settings) == exported


async def test_versions_that_know_no_restore_can_read_the_log(
    settings: NatsEventBusSettings, dlq: NatsDLQ, replayer: Replayer, nc: Client
) -> None:
    """They read a discard with skipped rows: nothing that a replay must look for."""
    await push_orders(dlq, 2)
    exported = await discarded(settings, replayer)
    report = await replayer.restore(exported.values())
    root, js = f"{settings.subject_prefix}-replays.{report.replay_id}", nc.jetstream()

    async def record(name: str) -> bytes:
        return (
            await js.get_last_msg(f"{settings.stream_name}-replays", f"{root}.{name}")
        ).data or b""

    assert json.loads(await record("plan"))["kind"] == "discard"
    rows = json.loads(zlib.decompress(await record("rows.0")))
    assert (rows["outcomes"], rows["removed"]) == ("ss", "nn")
    assert set(rows["why"].values()) == {"put back into the queue"}
    outcome = json.loads(zlib.decompress(await record("outcome")))
    assert (outcome["open"], outcome["counts"]) == ([], {"restored": 2})
