"""Whatever dies during a replay: nothing is lost, nothing is stored twice."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID

import pytest
from jupyter_client.manager import AsyncKernelManager
from nats.aio.client import Client
from nats.js.errors import NotFoundError
from varco_core.event.dlq import DeadLetterEntry

from tests.events import OrderPlaced
from tests.faults import COUNTED, Proxy
from tests.waiting import until
from varco_nats import NatsDLQ, NatsEventBus, NatsEventBusSettings, Replayer
from varco_nats._nats.client import connect
from varco_nats._nats.direct import read_messages
from varco_nats.errors import ReplayRefusedError
from varco_nats.history import History
from varco_nats.history._lookup import Lookup
from varco_nats.replay import Canary, ReplayControl, ReplayOutcome, ReplayReport, ReplayState
from varco_nats.replay._send import SOMEBODY_ELSE, Remover
from varco_nats.replay._session import Session
from varco_nats.server import LocalCluster, LocalNats

MakeSettings = Callable[..., NatsEventBusSettings]
ROOT = Path(__file__).parents[2]
SHORT = 0.5
"""A duplicate window, in seconds, that tests can outwait."""


@dataclass
class Balance:
    """What is in the queue and in the channel."""

    properties: ClassVar[list[tuple[str, object]]] = []
    """Of the running test."""

    entries: set[str]
    stored: Counter[str]
    """How often each entry's replay is stored."""

    def __str__(self) -> str:
        twice = sum(count > 1 for key, count in self.stored.items() if key)
        return f"{len(self.entries)} entries, {self.stored.total()} stored, {twice} more than once"


@pytest.fixture(autouse=True)
def counts_for_summary(request: pytest.FixtureRequest) -> None:
    """Let `balance` report to `pytest_terminal_summary`."""
    Balance.properties = request.node.user_properties


async def balance(settings: NatsEventBusSettings, when: str) -> Balance:
    """Read both streams message by message, and print the counts."""
    connection = await connect(settings, name="balance")
    entries: set[str] = set()
    stored: Counter[str] = Counter()
    try:
        async for message in read_messages(connection, f"{settings.stream_name}-dlq"):
            entries.add(message.subject.split(".")[1])
        try:
            await connection.js.stream_info(settings.stream_name)
        except NotFoundError:
            pass
        else:
            async for message in read_messages(connection, settings.stream_name):
                stored[(message.headers or {}).get("Varco-Replay-Of", "")] += 1
    finally:
        await connection.close()
    found = Balance(entries, stored)
    print(f"{when}: {found}")
    Balance.properties.append((COUNTED, f"{when}: {found}"))
    return found


async def fill(settings: NatsEventBusSettings, count: int) -> set[str]:
    """Dead letters in the queue, and the event stream made; their ids."""
    async with NatsDLQ(settings) as dlq, NatsEventBus(settings):
        entries = [
            DeadLetterEntry(event=OrderPlaced(order_id=str(number)), channel="orders")
            for number in range(count)
        ]
        await asyncio.gather(*(dlq.push(entry) for entry in entries))
    await balance(settings, "before")
    return {str(entry.entry_id) for entry in entries}


def nothing_lost(ids: set[str], found: Balance) -> None:
    """Each entry is in the queue or in the channel, and there at most once."""
    assert found.entries | set(found.stored) == ids
    assert set(found.stored.values()) <= {1}


def all_stored_once(ids: set[str], found: Balance) -> None:
    assert found.entries == set()
    assert found.stored == Counter(dict.fromkeys(ids, 1))


async def check_stored_once(ids: set[str], target: NatsEventBusSettings) -> None:
    """The same for a target that has no queue."""
    async with History(target) as history:
        there = [message async for message in history.read("orders")]
    keys = Counter((message.headers or {})["Varco-Replay-Of"] for message in there)
    print(f"target: {keys.total()} stored")
    assert keys == Counter(dict.fromkeys(ids, 1))


async def replay_rest(settings: NatsEventBusSettings, **options: Any) -> ReplayReport:
    async with Replayer(settings) as replayer:
        return await replayer.run(await replayer.plan(), **options)


class ReplayProcess:
    """`tests/replay_process.py` as a child."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []

    async def read_until(self, line: str) -> None:
        assert self.process.stdout is not None
        async with asyncio.timeout(20):
            while line not in self.lines:
                read = await self.process.stdout.readline()
                assert read, f"the child ended; it printed {self.lines}"
                self.lines.append(read.decode().strip())

    async def ended(self) -> int:
        """Its exit code, after the rest of its output."""
        assert self.process.stdout is not None
        async with asyncio.timeout(20):
            rest = await self.process.stdout.read()
            self.lines += rest.decode().splitlines()
            return await self.process.wait()

    @property
    def counts(self) -> dict[str, int]:
        [line] = [line for line in self.lines if line.startswith("report ")]
        counts: dict[str, int] = json.loads(line.removeprefix("report "))
        return counts


@asynccontextmanager
async def replay_process(
    settings: NatsEventBusSettings, **config: Any
) -> AsyncIterator[ReplayProcess]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.replay_process",
        json.dumps({"settings": settings.model_dump(mode="json"), **config}),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    child = ReplayProcess(process)
    try:
        yield child
    finally:
        if process.returncode is None:
            process.kill()
        assert process.stdout is not None
        await process.stdout.read()
        await process.wait()
        process._transport.close()  # type: ignore[attr-defined]


async def died(settings: NatsEventBusSettings, **config: Any) -> None:
    """Run a child until it has killed itself."""
    async with replay_process(settings, **config) as child:
        assert await child.ended() == -signal.SIGKILL


@pytest.fixture
async def own_server(make_settings: MakeSettings) -> AsyncIterator[LocalNats]:
    async with LocalNats() as local:
        yield local


# Killed at every step


@pytest.mark.parametrize(
    ("config", "stored_then", "window"),
    [
        pytest.param(config, stored_then, window, id=f"{step}, {'after' if window < 1 else 'in'}")
        for step, config, stored_then, windows in (
            ("before publish", {"die": "planned"}, 0, (120, SHORT)),
            ("before removal", {"die": "stored", "run": {"in_flight": 1}}, 1, (120, SHORT)),
            ("mid batch", {"die": "stored", "after": 7, "run": {"in_flight": 4}}, 7, (120, SHORT)),
            ("all sent", {"die": "stored", "after": 30}, 30, (120, SHORT)),
            ("plan just written", {"die": "claimed"}, 0, (120,)),
            ("after a removal", {"die": "removed", "after": 3}, 3, (SHORT,)),
            ("in the canary", {"die": "canary", "run": {"canary": 4}}, 4, (SHORT,)),
        )
        for window in windows
    ],
)
async def test_killed(
    config: dict[str, Any], stored_then: int, window: float, make_settings: MakeSettings
) -> None:
    settings = make_settings(duplicate_window_seconds=window)
    ids = await fill(settings, 30)
    await died(settings, **config)
    then = await balance(settings, "killed")
    nothing_lost(ids, then)
    assert then.stored.total() >= stored_then
    if window == SHORT:
        await asyncio.sleep(window * 2)  # the server forgets the message ids

    report = await replay_rest(settings)

    all_stored_once(ids, await balance(settings, "repeated"))
    still_there = len(then.entries & set(then.stored))
    assert report.counts.get(ReplayOutcome.DUPLICATE, 0) == still_there
    assert all(row.removed and row.seq for row in report.rows)


@pytest.mark.parametrize("window", [120, SHORT], ids=["inside the window", "after the window"])
async def test_killed_after_publish_and_before_the_pubacks(
    window: float, make_settings: MakeSettings, server: LocalNats
) -> None:
    settings = make_settings(duplicate_window_seconds=window)
    ids = await fill(settings, 30)
    async with Proxy(server.port) as proxy:
        through = settings.model_copy(update={"servers": proxy.url_for(server.url)})
        target = through.model_dump(mode="json")
        async with replay_process(settings, target=target, run={"rate": 20.0}) as child:
            await child.read_until("stored 2")
            proxy.swallow_answers = True
            before = (await balance(settings, "answers cut")).stored.total()

            async def went_on() -> bool:
                return (await balance(settings, "on")).stored.total() > before + 2

            await until(went_on, every=0.05)
            child.process.kill()
            await child.ended()
    then = await balance(settings, "killed")
    nothing_lost(ids, then)
    assert then.entries & set(then.stored)  # stored, but nobody knows
    if window == SHORT:
        await asyncio.sleep(window * 2)

    await replay_rest(settings)

    all_stored_once(ids, await balance(settings, "repeated"))


async def test_kernel_killed(make_settings: MakeSettings) -> None:
    settings = make_settings(duplicate_window_seconds=SHORT)
    ids = await fill(settings, 60)
    config = {"settings": settings.model_dump(mode="json"), "run": {"rate": 40.0}}
    kernel = AsyncKernelManager(kernel_name="python3")
    await kernel.start_kernel(cwd=str(ROOT))
    client = kernel.client()
    client.start_channels()
    try:
        await client.wait_for_ready(timeout=20)
        client.execute(f"from tests.replay_process import main; await main({config!r})")

        async def some_stored() -> bool:
            return (await balance(settings, "replaying")).stored.total() >= 5

        await until(some_stored, timeout=20)
    finally:
        client.stop_channels()
        await kernel.shutdown_kernel(now=True)  # SIGKILL
    nothing_lost(ids, await balance(settings, "killed"))
    await asyncio.sleep(SHORT * 2)

    await replay_rest(settings)

    all_stored_once(ids, await balance(settings, "repeated"))


async def test_killed_while_it_discarded(make_settings: MakeSettings) -> None:
    settings = make_settings()
    ids = await fill(settings, 300)
    await died(settings, discard=True, die="removed", after=7)
    left = (await balance(settings, "killed")).entries
    assert 0 < len(left) <= 293

    async with Replayer(settings) as replayer:
        report = await replayer.discard(ids, confirm="discard")
        states = [record.state for record in await replayer.log()]

    assert report.counts == {
        ReplayOutcome.DISCARDED: len(left),
        ReplayOutcome.SKIPPED: 300 - len(left),
    }
    assert states == [ReplayState.DONE, ReplayState.DIED]
    after = await balance(settings, "repeated")
    assert (after.entries, after.stored) == (set(), Counter())


async def test_killed_while_it_replayed_history(make_settings: MakeSettings) -> None:
    settings = make_settings(duplicate_window_seconds=SHORT)
    async with NatsEventBus(settings) as bus:
        events = [OrderPlaced(order_id=str(number)) for number in range(30)]
        await bus.publish_many([(event, "orders") for event in events])
    await died(settings, history=True, die="stored", after=7)
    await balance(settings, "killed")
    await asyncio.sleep(SHORT * 2)

    async with Replayer(settings) as replayer:
        await replayer.run(await replayer.plan_history("orders", to="copy"))

    stored = (await balance(settings, "repeated")).stored
    del stored[""]  # the originals
    keys = [f"{settings.stream_name}:{seq}" for seq in range(1, 31)]
    assert stored == Counter(dict.fromkeys(keys, 1))


async def test_runs_that_die_one_after_the_other(make_settings: MakeSettings) -> None:
    settings = make_settings(duplicate_window_seconds=SHORT)
    ids = await fill(settings, 30)
    for _ in range(2):
        await died(settings, die="stored", after=5, run={"in_flight": 2})
        nothing_lost(ids, await balance(settings, "killed"))
        await asyncio.sleep(SHORT * 2)

    await replay_rest(settings)

    all_stored_once(ids, await balance(settings, "repeated"))
    async with Replayer(settings) as replayer:
        states = [record.state for record in await replayer.log()]
    assert states == [ReplayState.DONE, *[ReplayState.DIED] * 2]


async def test_killed_while_it_replayed_to_another_server(
    make_settings: MakeSettings, own_server: LocalNats
) -> None:
    settings = make_settings()
    target = make_settings(servers=own_server.url, duplicate_window_seconds=SHORT)
    ids = await fill(settings, 20)
    await died(settings, target=target.model_dump(mode="json"), die="stored", after=5)
    await asyncio.sleep(SHORT * 2)

    here = await replay_rest(settings)

    assert here.counts.keys() == {ReplayOutcome.SKIPPED}
    assert all("it was for" in row.why for row in here.rows)
    async with Replayer(settings, target=target) as replayer:
        report = await replayer.run(await replayer.plan())
    assert report.counts.keys() <= {ReplayOutcome.REPLAYED, ReplayOutcome.DUPLICATE}
    left = await balance(settings, "source")
    assert left.entries == set()
    await check_stored_once(ids, target)


async def test_what_nobody_can_look_up_any_more_is_not_replayed_unless_told_to(
    make_settings: MakeSettings, nc: Client
) -> None:
    settings = make_settings(duplicate_window_seconds=SHORT)
    ids = await fill(settings, 20)
    await died(settings, die="stored", after=5, run={"in_flight": 2})
    left = len((await balance(settings, "killed")).entries)
    await nc.jetstream().purge_stream(settings.stream_name)
    await asyncio.sleep(SHORT * 2)

    report = await replay_rest(settings)

    assert report.counts == {ReplayOutcome.SKIPPED: left}
    assert "gone from the stream" in report.rows[0].why
    async with Replayer(settings) as replayer:
        report = await replayer.run(await replayer.plan(again=True))
    assert report.counts == {ReplayOutcome.REPLAYED: left}
    found = await balance(settings, "again")
    assert set(found.stored) <= ids
    nothing_lost(set(found.stored), found)


async def test_a_message_deleted_since_a_run_died_may_have_been_its_own(
    make_settings: MakeSettings, nc: Client
) -> None:
    settings = make_settings(duplicate_window_seconds=SHORT)
    ids = await fill(settings, 20)
    await died(settings, die="stored", after=5, run={"in_flight": 2})
    await nc.jetstream().delete_msg(settings.stream_name, 2)
    then = await balance(settings, "killed, and one deleted")
    await asyncio.sleep(SHORT * 2)

    report = await replay_rest(settings)

    found = len(then.entries & set(then.stored))
    assert report.counts.get(ReplayOutcome.DUPLICATE, 0) == found
    assert report.counts[ReplayOutcome.SKIPPED] == len(then.entries) - found
    assert "gone from the stream" in report.of(ReplayOutcome.SKIPPED)[0].why
    after = await balance(settings, "repeated")
    assert after.stored == then.stored
    assert len(after.entries | set(after.stored)) == len(ids) - 1


# The server and the connection


async def test_server_killed_and_restarted_in_the_middle(
    own_server: LocalNats, make_settings: MakeSettings
) -> None:
    settings = make_settings(servers=own_server.url, duplicate_window_seconds=SHORT)
    ids = await fill(settings, 200)
    stored = 0

    def count(event: object) -> None:
        nonlocal stored
        stored += 1

    async with Replayer(settings) as replayer:
        replayer.observe(count)
        run = asyncio.create_task(replayer.run(await replayer.plan(), rate=400))
        await until(lambda: stored >= 20)
        await asyncio.to_thread(own_server.kill)
        await asyncio.sleep(SHORT * 2)
        await asyncio.to_thread(own_server.restart)
        report = await run

    all_stored_once(ids, await balance(settings, "after the restart"))
    assert report.state is ReplayState.DONE
    assert report.counts == {ReplayOutcome.REPLAYED: 200}


async def test_connection_cut_again_and_again(
    server: LocalNats, make_settings: MakeSettings
) -> None:
    settings = make_settings(duplicate_window_seconds=SHORT)
    ids = await fill(settings, 200)
    stored = 0

    def count(event: object) -> None:
        nonlocal stored
        stored += 1

    async with Proxy(server.port) as proxy:
        through = settings.model_copy(update={"servers": proxy.url_for(server.url)})
        async with Replayer(through) as replayer:
            replayer.observe(count)
            run = asyncio.create_task(replayer.run(await replayer.plan(), rate=300))
            for after in (20, 70, 120):
                await until(lambda after=after: stored >= after)  # type: ignore[misc]
                proxy.cut()
            report = await run

    all_stored_once(ids, await balance(settings, "after the cuts"))
    assert report.counts == {ReplayOutcome.REPLAYED: 200}


async def test_connection_cut_after_publish_and_before_the_pubacks(
    server: LocalNats, make_settings: MakeSettings
) -> None:
    settings = make_settings(duplicate_window_seconds=SHORT)
    ids = await fill(settings, 60)
    stored = 0

    def count(event: object) -> None:
        nonlocal stored
        stored += 1

    async with Proxy(server.port) as proxy:
        through = settings.model_copy(update={"servers": proxy.url_for(server.url)})
        async with Replayer(settings, target=through) as replayer:
            replayer.observe(count)
            run = asyncio.create_task(replayer.run(await replayer.plan(), rate=50))
            await until(lambda: stored >= 5)
            proxy.swallow_answers = True
            before = (await balance(settings, "answers cut")).stored.total()

            async def went_on() -> bool:
                return (await balance(settings, "on")).stored.total() > before + 2

            await until(went_on, every=0.05)
            await asyncio.sleep(SHORT * 2)  # the server forgets the message ids
            proxy.swallow_answers = False
            proxy.cut()
            report = await run

    all_stored_once(ids, await balance(settings, "after the cut"))
    assert report.counts == {ReplayOutcome.REPLAYED: 60}


async def test_target_that_stays_away_leaves_in_doubt_what_nobody_heard_of(
    server: LocalNats, make_settings: MakeSettings
) -> None:
    settings = make_settings(duplicate_window_seconds=SHORT)
    ids = await fill(settings, 60)
    stored = 0

    def count(event: object) -> None:
        nonlocal stored
        stored += 1

    async with Proxy(server.port) as proxy:
        target = make_settings(
            servers=proxy.url_for(server.url),
            duplicate_window_seconds=SHORT,
            publish_timeout_seconds=0.5,
        )
        async with Replayer(settings, target=target) as replayer:
            replayer.observe(count)
            run = asyncio.create_task(
                replayer.run(await replayer.plan(), rate=50, patience_seconds=0.5)
            )
            await until(lambda: stored >= 5)
            proxy.swallow_answers = True
            report = await run
            assert (report.state, report.logged) == (ReplayState.STOPPED, True)
            in_doubt = {str(row.entry_id) for row in report.of(ReplayOutcome.IN_DOUBT)}
            then = await balance(settings, "stopped")
            nothing_lost(ids, then)
            assert in_doubt >= then.entries & set(then.stored)
            assert in_doubt & set(then.stored)
            await asyncio.sleep(SHORT * 2)
            proxy.swallow_answers = False
            await replayer.run(await replayer.plan())

    all_stored_once(ids, await balance(settings, "repeated"))


async def test_what_a_lost_connection_had_not_written_is_never_sent(
    own_server: LocalNats, make_settings: MakeSettings
) -> None:
    settings = make_settings(servers=own_server.url)
    async with NatsEventBus(settings):
        pass  # makes the stream
    session = await Session.open(settings, "test")
    subject = settings.subject_name("orders")
    try:
        await asyncio.to_thread(own_server.kill)
        await until(lambda: session.lost)
        await session.connection.nc.publish(subject, b"late")
        session.give_up()
        await asyncio.to_thread(own_server.restart)
        assert await session.connection.wait_connected(10)
        await session.connection.nc.publish(subject, b"marker")
        await session.connection.nc.flush()
    finally:
        await session.close()
    async with History(settings) as history:
        assert [message.data async for message in history.read("orders")] == [b"marker"]


async def test_server_that_stays_away_ends_the_run_and_loses_nothing(
    own_server: LocalNats, make_settings: MakeSettings
) -> None:
    settings = make_settings(
        servers=own_server.url, publish_timeout_seconds=0.5, publish_attempts=2
    )
    ids = await fill(settings, 100)
    stored = 0

    def count(event: object) -> None:
        nonlocal stored
        stored += 1

    async with Replayer(settings) as replayer:
        replayer.observe(count)
        run = asyncio.create_task(
            replayer.run(await replayer.plan(), rate=200, patience_seconds=0.5)
        )
        await until(lambda: stored >= 10)
        await asyncio.to_thread(own_server.kill)
        report = await run
    assert report.state is ReplayState.STOPPED
    assert not report.logged
    assert report.of(ReplayOutcome.NOT_TRIED)
    await asyncio.to_thread(own_server.restart)
    nothing_lost(ids, await balance(settings, "restarted"))

    await replay_rest(settings)

    all_stored_once(ids, await balance(settings, "repeated"))


async def test_what_an_ended_run_left_on_its_way_is_not_sent_again(
    server: LocalNats, make_settings: MakeSettings
) -> None:
    """The network holds what it sent until long after it gave up."""
    settings = make_settings(duplicate_window_seconds=SHORT)
    ids = await fill(settings, 20)
    stored = 0

    def count(event: object) -> None:
        nonlocal stored
        stored += 1

    async with Proxy(server.port) as proxy:
        target = make_settings(
            servers=proxy.url_for(server.url),
            duplicate_window_seconds=SHORT,
            publish_timeout_seconds=0.5,
        )
        async with Replayer(settings, target=target) as replayer:
            replayer.observe(count)
            run = asyncio.create_task(
                replayer.run(await replayer.plan(), rate=20, patience_seconds=1)
            )
            await until(lambda: stored >= 3)
            proxy.hold()
            stopped = await run
            assert stopped.of(ReplayOutcome.IN_DOUBT)
            report = await replayer.run(await replayer.plan())
            assert len(report.of(ReplayOutcome.SKIPPED)) == len(stopped.of(ReplayOutcome.IN_DOUBT))
            proxy.release()

            async def rest_replayed() -> bool:
                await replayer.run(await replayer.plan())
                return not (await balance(settings, "later")).entries

            await until(rest_replayed, every=0.1)

    all_stored_once(ids, await balance(settings, "what was held has arrived"))


async def test_server_that_goes_away_with_many_removals_left(
    own_server: LocalNats, make_settings: MakeSettings
) -> None:
    settings = make_settings(servers=own_server.url)
    ids = await fill(settings, 2000)
    stored = 0

    def kill(event: object) -> None:
        nonlocal stored
        stored += 1
        if stored == 1000:
            own_server.kill()

    impatient = settings.model_copy(update={"publish_timeout_seconds": 0.5})
    async with Replayer(impatient) as replayer:
        replayer.observe(kill)
        report = await replayer.run(await replayer.plan(), in_flight=2000, patience_seconds=0.5)
    assert report.state is ReplayState.STOPPED
    assert "could not be removed" in report.why
    await asyncio.to_thread(own_server.restart)
    nothing_lost(ids, await balance(settings, "restarted"))

    await replay_rest(settings)

    all_stored_once(ids, await balance(settings, "repeated"))


async def test_server_away_while_the_canary_is_watched(
    own_server: LocalNats, make_settings: MakeSettings
) -> None:
    settings = make_settings(servers=own_server.url, publish_timeout_seconds=0.5)
    ids = await fill(settings, 20)
    phases: list[str] = []
    async with Replayer(settings) as replayer:
        run = asyncio.create_task(
            replayer.run(
                await replayer.plan(),
                canary=Canary(3, wait_seconds=2),
                progress=lambda now: phases.append(now.phase),
            )
        )
        await until(lambda: "canary" in phases)
        await asyncio.to_thread(own_server.kill)
        await asyncio.sleep(6)  # longer than a request waits
        await asyncio.to_thread(own_server.restart)
        report = await run

    assert report.counts == {ReplayOutcome.REPLAYED: 20}
    all_stored_once(ids, await balance(settings, "after the restart"))


async def test_connection_cut_while_duplicates_are_looked_up(
    server: LocalNats, make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings()
    ids = await fill(settings, 30)
    async with (
        NatsDLQ(settings) as dlq,
        Replayer(settings) as replayer,
        Proxy(server.port) as proxy,
    ):
        entries = await dlq.list_entries()
        await replayer.run(await replayer.plan())
        for entry in entries:
            await dlq.push(entry)
        look, cuts = Lookup.get, 0

        async def get(lookup: Lookup, request: Any) -> Any:
            nonlocal cuts
            cuts += 1
            if cuts == 1:
                proxy.cut()
            return await look(lookup, request)

        monkeypatch.setattr(Lookup, "get", get)
        target = settings.model_copy(update={"servers": proxy.url_for(server.url)})
        async with Replayer(settings, target=target) as through:
            report = await through.run(await through.plan(again=True))

    assert report.counts == {ReplayOutcome.DUPLICATE: 30}
    all_stored_once(ids, await balance(settings, "looked up again"))


async def test_leader_killed_in_a_cluster(make_settings: MakeSettings) -> None:
    with LocalCluster(3) as cluster:
        settings = make_settings(
            servers=cluster.servers,
            stream_replicas=3,
            duplicate_window_seconds=SHORT,
            publish_timeout_seconds=2,
            publish_attempts=60,  # until there is another leader
        )
        ids = await fill(settings, 100)
        stored = 0

        def count(event: object) -> None:
            nonlocal stored
            stored += 1

        connection = await connect(settings, name="test")
        info = await connection.js.stream_info(settings.stream_name)
        await connection.close()
        leader = int(info.cluster.leader.rpartition("-")[2]) - 1  # type: ignore[union-attr]
        async with Replayer(settings) as replayer:
            replayer.observe(count)
            run = asyncio.create_task(replayer.run(await replayer.plan(), rate=100))
            await until(lambda: stored >= 20)
            await asyncio.to_thread(cluster.nodes[leader].kill)
            report = await run
        assert report.counts == {ReplayOutcome.REPLAYED: 100}
        all_stored_once(ids, await balance(settings, "without the leader"))


# Two at once


async def test_two_runs_at_once_store_each_entry_once(make_settings: MakeSettings) -> None:
    settings = make_settings(duplicate_window_seconds=SHORT)
    ids = await fill(settings, 100)
    async with Replayer(settings) as mine, Replayer(settings, user="colleague") as theirs:
        plans = await mine.plan(), await theirs.plan()
        reports = await asyncio.gather(mine.run(plans[0], rate=150), theirs.run(plans[1], rate=150))

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
    async with replay_process(settings, run={"rate": 40.0}) as child:
        await child.read_until("stored 5")
        os.kill(child.process.pid, signal.SIGSTOP)
        try:
            report = await replay_rest(settings)
            nothing_lost(ids, await balance(settings, "while it hangs"))
            await asyncio.sleep(SHORT * 2)
        finally:
            os.kill(child.process.pid, signal.SIGCONT)
        assert await child.ended() == 0

    assert set(report.counts) == {ReplayOutcome.SKIPPED}
    assert all("is replaying it" in row.why for row in report.rows)
    all_stored_once(ids, await balance(settings, "it went on"))


async def test_a_run_that_lost_its_connection_leaves_its_entries_to_who_took_them_over(
    server: LocalNats, make_settings: MakeSettings
) -> None:
    settings = make_settings(duplicate_window_seconds=SHORT)
    ids = await fill(settings, 40)
    async with Proxy(server.port) as proxy:
        through = settings.model_copy(update={"servers": proxy.url_for(server.url)})
        stored = 0

        def count(event: object) -> None:
            nonlocal stored
            stored += 1

        async with Replayer(through) as lost:
            lost.observe(count)
            control = ReplayControl()
            run = asyncio.create_task(lost.run(await lost.plan(), rate=100, control=control))
            await until(lambda: stored >= 5)
            control.pause()
            async with Replayer(settings) as taking_over:
                plan = await taking_over.plan()
                proxy.cut()
                other = await taking_over.run(plan)
            control.resume()
            report = await run

    all_stored_once(ids, await balance(settings, "both done"))
    outcomes = {*other.counts, *report.counts}
    assert outcomes <= {
        ReplayOutcome.REPLAYED,
        ReplayOutcome.DUPLICATE,
        ReplayOutcome.SKIPPED,
    }


async def test_a_canary_that_lost_its_connection_leaves_the_rest_to_who_took_it_over(
    server: LocalNats, make_settings: MakeSettings
) -> None:
    settings = make_settings(duplicate_window_seconds=SHORT)
    ids = await fill(settings, 20)
    stored = 0

    def count(event: object) -> None:
        nonlocal stored
        stored += 1

    async with Proxy(server.port) as proxy, Replayer(settings) as taking_over:
        through = settings.model_copy(update={"servers": proxy.url_for(server.url)})
        async with Replayer(through) as lost:
            lost.observe(count)
            canary = Canary(5, wait_seconds=0)
            run = asyncio.create_task(lost.run(await lost.plan(), rate=20, canary=canary))
            await until(lambda: stored >= 2)
            proxy.refuse = True
            proxy.cut()
            phases, control = list[str](), ReplayControl()
            control.pause()
            other = asyncio.create_task(
                taking_over.run(
                    await taking_over.plan(),
                    control=control,
                    progress=lambda now: phases.append(now.phase),
                )
            )
            await until(lambda: "paused" in phases)
            proxy.refuse = False
            report = await run
            await asyncio.sleep(SHORT * 2)  # the server forgets the message ids
            control.resume()
            await other

    all_stored_once(ids, await balance(settings, "both done"))
    assert len(report.of(ReplayOutcome.SKIPPED)) >= 15


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
        stored = 0

        def count(event: object) -> None:
            nonlocal stored
            stored += 1

        async with (
            Replayer(settings, target=target) as mine,
            Replayer(settings, target=target) as theirs,
        ):
            mine.observe(count)
            run = asyncio.create_task(mine.run(await mine.plan(), rate=20))
            await until(lambda: stored >= 3)
            await theirs.run(await theirs.plan())
            await run
            with pytest.raises(ReplayRefusedError, match="another queue"):
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
        run = asyncio.create_task(mine.run(await mine.plan(), control=control))

        async def begun() -> bool:
            return bool(await theirs.log())

        await until(begun)
        await nc.jetstream().purge_stream(
            f"{settings.stream_name}-replays",
            subject=f"{settings.subject_prefix}-replays.*.entries.*",
        )
        report = await theirs.run(await theirs.plan())
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
            held = await replayer.run(plan)
            [*_, record] = await replayer.log()
            assert "ended=[...]" in held.rows[0].why
            await replayer.run(plan, ended=[record.replay_id])
        all_stored_once(ids, await balance(settings, "told that it ended"))


# Again, and inside windows


async def test_the_same_plan_run_twice(make_settings: MakeSettings) -> None:
    settings = make_settings(duplicate_window_seconds=SHORT)
    ids = await fill(settings, 20)
    async with Replayer(settings) as replayer:
        plan = await replayer.plan()
        first = await replayer.run(plan)
        await asyncio.sleep(SHORT * 2)
        second = await replayer.run(plan)

    all_stored_once(ids, await balance(settings, "twice"))
    assert first.counts == {ReplayOutcome.REPLAYED: 20}
    assert second.counts == {ReplayOutcome.SKIPPED: 20}


async def test_replay_inside_the_duplicate_window_of_the_original(
    make_settings: MakeSettings, nc: Client
) -> None:
    settings = make_settings(delivery_semantics="exactly_once")
    async with NatsDLQ(settings) as dlq, NatsEventBus(settings) as bus:
        events = [OrderPlaced(order_id=str(number)) for number in range(10)]
        await bus.publish_many([(event, "orders") for event in events])
        for event in events:
            await dlq.push(DeadLetterEntry(event=event, channel="orders"))
    before = await balance(settings, "before")

    report = await replay_rest(settings)

    after = await balance(settings, "after")
    assert report.counts == {ReplayOutcome.REPLAYED: 10}
    assert after.entries == set()
    assert after.stored == before.stored + Counter(dict.fromkeys(before.entries, 1))


# A stream that does not take it


@pytest.mark.parametrize(
    ("full", "why"),
    [
        ({"max_msgs": 10}, "maximum messages exceeded"),
        ({"max_bytes": 5000}, "maximum bytes exceeded"),
    ],
    ids=["max_msgs", "max_bytes"],
)
async def test_full_stream(
    full: dict[str, int], why: str, make_settings: MakeSettings, nc: Client
) -> None:
    settings = make_settings()
    ids = await fill(settings, 60)
    js = nc.jetstream()
    config = (await js.stream_info(settings.stream_name)).config
    await js.update_stream(config, discard="new", **full)

    report = await replay_rest(settings, in_flight=1)

    then = await balance(settings, "full")
    nothing_lost(ids, then)
    assert len(then.entries) == 60 - then.stored.total() >= 20
    assert report.state is ReplayState.STOPPED
    assert report.counts == {
        ReplayOutcome.REPLAYED: then.stored.total(),
        ReplayOutcome.FAILED: 20,
        ReplayOutcome.NOT_TRIED: 40 - then.stored.total(),
    }
    assert why in report.of(ReplayOutcome.FAILED)[0].why
    await js.update_stream(config, **dict.fromkeys(full, -1))
    await replay_rest(settings)
    all_stored_once(ids, await balance(settings, "with room again"))


@pytest.mark.parametrize(
    ("elsewhere", "why"),
    [(False, "no stream captures"), (True, "expected stream does not match")],
    ids=["to no stream", "to another stream"],
)
async def test_channel_that_no_longer_fits_the_stream(
    elsewhere: bool, why: str, make_settings: MakeSettings, nc: Client
) -> None:
    settings = make_settings()
    ids = await fill(settings, 10)
    js = nc.jetstream()
    config = (await js.stream_info(settings.stream_name)).config
    async with Replayer(settings) as replayer:
        plan = await replayer.plan()
        control = ReplayControl()
        control.pause()
        run = asyncio.create_task(replayer.run(plan, control=control))

        async def begun() -> bool:
            return bool(await replayer.log())

        await until(begun)
        await js.update_stream(config, subjects=[f"{settings.subject_prefix}.other.>"])
        other = f"{settings.stream_name}-other"
        if elsewhere:
            await js.add_stream(name=other, subjects=[settings.subject_name("orders")])
        control.resume()
        report = await run

    nothing_lost(ids, await balance(settings, "moved away"))
    assert report.counts == {ReplayOutcome.FAILED: 10}
    assert why in report.rows[0].why
    if elsewhere:
        assert (await js.stream_info(other)).state.messages == 0
        await js.delete_stream(other)
    await js.update_stream(config)
    await replay_rest(settings)
    all_stored_once(ids, await balance(settings, "moved back"))


async def test_entry_removed_between_plan_and_run(make_settings: MakeSettings) -> None:
    settings = make_settings()
    ids = await fill(settings, 10)
    async with Replayer(settings) as replayer, NatsDLQ(settings) as dlq:
        plan = await replayer.plan()
        gone = sorted(ids)[:3]
        for entry_id in gone:
            await dlq.ack(UUID(entry_id))
        report = await replayer.run(plan)

    all_stored_once(ids - set(gone), await balance(settings, "after"))
    skipped = report.of(ReplayOutcome.SKIPPED)
    assert {str(row.entry_id) for row in skipped} == set(gone)
    assert {row.why for row in skipped} == {"no longer in the queue"}


async def test_entries_removed_while_a_run_is_on_its_way(make_settings: MakeSettings) -> None:
    """As another tool does that works on the same queue."""
    settings = make_settings(duplicate_window_seconds=SHORT)
    ids = await fill(settings, 40)
    stored = 0

    def count(event: object) -> None:
        nonlocal stored
        stored += 1

    async with NatsDLQ(settings) as dlq, Replayer(settings) as replayer:
        replayer.observe(count)
        run = asyncio.create_task(replayer.run(await replayer.plan(), rate=20))
        await until(lambda: stored >= 3)
        await asyncio.gather(*(dlq.ack(UUID(one)) for one in ids))
        report = await run

    after = await balance(settings, "after")
    assert set(report.counts) == {ReplayOutcome.REPLAYED, ReplayOutcome.SKIPPED}
    assert len(report.of(ReplayOutcome.SKIPPED)) >= 30  # one or two were looked up just before
    assert {row.why for row in report.of(ReplayOutcome.SKIPPED)} == {"no longer in the queue"}
    assert set(after.stored) == {row.key for row in report.of(ReplayOutcome.REPLAYED)}


async def test_entry_removed_and_pushed_again_between_plan_and_run(
    make_settings: MakeSettings,
) -> None:
    settings = make_settings(duplicate_window_seconds=SHORT)
    ids = await fill(settings, 2)
    async with Replayer(settings) as replayer, NatsDLQ(settings) as dlq:
        plan = await replayer.plan()
        entries = await dlq.list_entries()
        for entry in entries:
            await dlq.ack(entry.entry_id)
            await dlq.push(entry)
        for report in (
            await replayer.run(plan),
            await replayer.discard(plan, confirm="discard"),
        ):
            assert report.counts == {ReplayOutcome.SKIPPED: 2}
            assert "pushed again since it was planned" in report.rows[0].why
            assert not report.rows[0].removed
        assert (await balance(settings, "nothing done")).entries == ids
        await replayer.run(await replayer.plan())

    all_stored_once(ids, await balance(settings, "planned again"))


async def test_entry_that_somebody_else_removes_first(make_settings: MakeSettings) -> None:
    settings = make_settings()
    await fill(settings, 1)
    removed: list[tuple[int, bool, str]] = []
    connection = await connect(settings, name="test")
    remover = Remover(connection, f"{settings.stream_name}-dlq", timeout=5, attempts=2, patience=5)
    remover.on_removed = lambda *args: removed.append(args)
    try:
        await remover.start()
        for index in (0, 1):
            remover.remove(index, 1)
            await remover.finish()
    finally:
        await remover.stop()
        await connection.close()
    assert removed == [(0, True, ""), (1, True, SOMEBODY_ELSE)]


async def test_task_cancelled_in_the_middle(make_settings: MakeSettings) -> None:
    settings = make_settings(duplicate_window_seconds=SHORT)
    ids = await fill(settings, 100)
    stored = asyncio.Event()
    async with Replayer(settings) as replayer:
        replayer.observe(lambda event: stored.set())
        run = asyncio.create_task(replayer.run(await replayer.plan(), rate=200))
        await stored.wait()
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        [record] = await replayer.log()
        assert record.state is ReplayState.CANCELLED
        then = await balance(settings, "cancelled")
        nothing_lost(ids, then)
        assert not then.entries & set(then.stored)  # what was stored is removed

    await replay_rest(settings)

    all_stored_once(ids, await balance(settings, "repeated"))
