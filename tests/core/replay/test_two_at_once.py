"""Two replays of one queue at once: each entry is stored once."""

from __future__ import annotations

import asyncio
from collections import Counter
from uuid import UUID

import pytest
from nats.aio.client import Client

from tests.conftest import MakeSettings
from tests.core.replay.helpers import (
    SHORT,
    all_stored_once,
    balance,
    check_stored_once,
    died,
    fill,
    nothing_lost,
    replay_rest,
    under_way,
)
from tests.processes import replay_process
from tests.proxy import Proxy
from tests.waiting import side_by_side, until
from varco_nats import Replayer
from varco_nats.errors import ReplayRefusedError
from varco_nats.replay import Canary, ReplayControl, ReplayOutcome
from varco_nats.replay._run.session import until_gone
from varco_nats.server import LocalNats


async def test_two_runs_at_once_store_each_entry_once(make_settings: MakeSettings) -> None:
    settings = make_settings(duplicate_window_seconds=SHORT)
    ids = await fill(settings, 100)
    async with Replayer(settings) as mine, Replayer(settings, user="colleague") as theirs:
        plans = await mine.plan(), await theirs.plan()
        reports = await asyncio.gather(
            mine.run(plans[0], rate=150, confirm="nobody"),
            theirs.run(plans[1], rate=150, confirm="nobody"),
        )

    all_stored_once(ids, await balance(settings, "both done"))
    replayed = Counter(
        row.entry_id for report in reports for row in report.of(ReplayOutcome.REPLAYED)
    )
    assert replayed == Counter(dict.fromkeys(map(UUID, ids), 1))


async def test_two_processes_at_once_store_each_entry_once(make_settings: MakeSettings) -> None:
    settings = make_settings(duplicate_window_seconds=SHORT)
    ids = await fill(settings, 60)
    run = {"rate": 60.0}
    async with (
        replay_process(settings, run=run) as one,
        replay_process(settings, run=run) as other,
    ):
        assert [await one.ended(), await other.ended()] == [0, 0]

    all_stored_once(ids, await balance(settings, "both done"))
    assert one.counts.get("replayed", 0) + other.counts.get("replayed", 0) == 60


async def test_entries_of_a_process_that_hangs_are_left_to_it(
    make_settings: MakeSettings,
) -> None:
    """Stopped like a laptop that sleeps: what it goes on to send later is stored once."""
    settings = make_settings(duplicate_window_seconds=SHORT)
    ids = await fill(settings, 40)
    async with replay_process(settings, run={"rate": 40.0}, stop_after=5) as child:
        await child.wait_until_stopped()
        try:
            report = await replay_rest(settings)
            nothing_lost(ids, await balance(settings, "while it hangs"))
            await asyncio.sleep(SHORT * 2)
        finally:
            child.resume()
        assert await child.ended() == 0

    assert set(report.counts) == {ReplayOutcome.SKIPPED}
    assert all("is replaying it" in row.why for row in report.rows)
    all_stored_once(ids, await balance(settings, "it went on"))


async def test_a_run_that_lost_its_connection_leaves_its_entries_to_who_took_them_over(
    server: LocalNats, make_settings: MakeSettings
) -> None:
    """Also where its process still answers, over the connection to the queue and the log."""
    canary = Canary(5, wait_seconds=0)
    cases = {
        "-without-its-log": (False, None),
        "-without-its-log-with-a-canary": (False, canary),
        "-with-its-log": (True, None),
        "-with-its-log-and-a-canary": (True, canary),
    }

    async def check(case: str) -> None:
        reachable, canary = cases[case]
        settings = make_settings(case, duplicate_window_seconds=SHORT)
        ids = await fill(settings, 40)
        async with Proxy(server.port) as proxy, Replayer(settings) as taking_over:
            through = settings.model_copy(update={"servers": proxy.url_for(server.url)})
            async with Replayer(settings if reachable else through, target=through) as lost:
                plan = await taking_over.plan()
                run = await under_way(lost, 2, rate=40, canary=canary)
                proxy.refuse = True
                proxy.disconnect()
                assert taking_over._context is not None
                context = taking_over._context
                [logged] = (await context.log.runs()).values()
                await until_gone(context.source, logged.heads[0].session)  # the server has noticed
                phases, control = list[str](), ReplayControl()
                control.pause()
                other = asyncio.create_task(
                    taking_over.run(
                        plan,
                        control=control,
                        progress=lambda now: phases.append(now.phase),
                        confirm="nobody",
                    )
                )
                await until(lambda: "paused" in phases)
                proxy.refuse = False
                report = await run
                await asyncio.sleep(SHORT * 2)  # the server forgets the message ids
                control.resume()
                await other

        all_stored_once(ids, await balance(settings, "both done"))
        assert report.of(ReplayOutcome.SKIPPED)

    await side_by_side(check, cases)


ACCOUNTS = """accounts {
  A: { jetstream: enabled, users: [{ user: a, password: a }] }
  B: { jetstream: enabled, users: [{ user: b, password: b }] }
}
no_auth_user: a
"""


async def test_two_runs_at_once_to_another_account_of_the_same_server(
    make_settings: MakeSettings,
) -> None:
    async with LocalNats(token=None, config=ACCOUNTS) as local:
        settings = make_settings(servers=local.url)
        target = make_settings(
            servers=local.url,
            duplicate_window_seconds=SHORT,
            connect_kwargs={"user": "b", "password": "b"},
        )
        ids = await fill(settings, 20)
        async with (
            Replayer(settings, target=target) as mine,
            Replayer(settings, target=target) as theirs,
        ):
            run = await under_way(mine, 3, rate=20)
            await theirs.run(await theirs.plan(), confirm="nobody")
            await run
            with pytest.raises(ReplayRefusedError, match="nothing says that services"):
                await mine.run(await mine.plan(), canary=1)
        assert (await balance(settings, "source")).entries == set()
        await check_stored_once(ids, target)


async def test_log_that_lost_the_keys_of_a_live_run(
    make_settings: MakeSettings, nc: Client
) -> None:
    settings = make_settings(duplicate_window_seconds=SHORT)
    ids = await fill(settings, 20)
    async with Replayer(settings) as mine, Replayer(settings) as theirs:
        control = ReplayControl()
        control.pause()
        run = asyncio.create_task(mine.run(await mine.plan(), control=control, confirm="nobody"))

        async def begun() -> bool:
            return bool(await theirs.log())

        await until(begun)
        await nc.jetstream().purge_stream(
            f"{settings.stream_name}-replays",
            subject=f"{settings.subject_prefix}-replays.*.entries.*",
        )
        report = await theirs.run(await theirs.plan(), confirm="nobody")
        control.resume()
        await run

    assert report.counts == {ReplayOutcome.SKIPPED: 20}
    all_stored_once(ids, await balance(settings, "both done"))


async def test_a_run_that_died_at_another_address_of_the_same_server(
    make_settings: MakeSettings, server: LocalNats
) -> None:
    settings = make_settings(duplicate_window_seconds=SHORT)
    ids = await fill(settings, 10)
    alias = make_settings(
        servers=server.url.replace("127.0.0.1", "localhost"), duplicate_window_seconds=SHORT
    )
    run = {"in_flight": 1}
    await died(settings, target=alias.model_dump(mode="json"), die="stored", after=3, run=run)
    await asyncio.sleep(SHORT * 2)

    await replay_rest(settings)

    all_stored_once(ids, await balance(settings, "repeated"))


NO_ANSWERS = """authorization { users: [{
  user: u, password: u, permissions: { publish: { deny: ["_INBOX.>"] } }
}] }
"""


async def test_entries_of_a_dead_run_that_may_not_be_asked_for(make_settings: MakeSettings) -> None:
    async with LocalNats(token=None, config=NO_ANSWERS) as local:
        settings = make_settings(servers=local.url.replace("//", "//u:u@"))
        ids = await fill(settings, 10)
        await died(settings, die="stored", after=3, run={"in_flight": 1})

        async with Replayer(settings) as replayer:
            plan = await replayer.plan()
            held = await replayer.run(plan, confirm="nobody")
            [*_, record] = await replayer.log()
            assert "ended=[...]" in held.rows[0].why
            await replayer.run(plan, confirm="nobody", ended=[record.replay_id])
        all_stored_once(ids, await balance(settings, "told that it ended"))
