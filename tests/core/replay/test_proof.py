"""What a replay takes for a proof: the answers of a server that knows, and no others."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any
from uuid import uuid4

import nats
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import ConnectionReconnectingError, NoRespondersError
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.api import StreamInfo

from tests.conftest import MakeSettings
from tests.core.replay.helpers import NOBODY, push_orders, replayed_ids, stored
from tests.events import OrderPlaced
from tests.waiting import until
from varco_nats import NatsDLQ, NatsEventBusSettings, Replayer
from varco_nats._nats.direct import Batch
from varco_nats._nats.inbox import ReplyInbox
from varco_nats._nats.puback import PubAck, Refusal, parse_puback
from varco_nats._nats.stream import stream_info
from varco_nats.bus import NatsEventBus
from varco_nats.dlq._store import DlqStore
from varco_nats.errors import DeadLetterError, ReplayError, ReplayLogError
from varco_nats.history import History
from varco_nats.history._lookup import read_whole
from varco_nats.history._reader import PAGE, LookupReader, StreamReader
from varco_nats.history._tail import Tail
from varco_nats.replay import ReplayControl, ReplayOutcome
from varco_nats.replay._log import ReplayLog
from varco_nats.replay._run import claims, in_flight
from varco_nats.replay._run.canary import CanaryWatch
from varco_nats.replay._run.entry_check import GONE
from varco_nats.replay._run.publish import ReplayRun
from varco_nats.server import LocalCluster, LocalNats

SHORT = 0.5
"""A duplicate window, in seconds, in which nothing that a test does falls."""


class Replica:
    """Answers direct gets of a stream as a replica does that is behind.

    The stream allows none, so that nobody else answers; the protocol is that of ADR-31.
    """

    def __init__(self, nc: Client, stream: str, last: int | None = None) -> None:
        self._nc = nc
        self._stream = stream
        self._last = last
        self._messages: list[Any] = []
        self.late = 3
        """Requests until it has caught up."""
        self.asked = 0

    @asynccontextmanager
    async def answering(self) -> AsyncIterator[Replica]:
        await self._copy()
        js = self._nc.jetstream()
        config = (await js.stream_info(self._stream)).config
        await js.update_stream(config, allow_direct=False)
        subject = f"$JS.API.DIRECT.GET.{self._stream}"
        subscription = await self._nc.subscribe(subject, cb=self._answer)
        await self._nc.flush()
        try:
            yield self
        finally:
            await subscription.unsubscribe()

    async def _copy(self) -> None:
        js, self._messages = self._nc.jetstream(), []
        state = (await js.stream_info(self._stream)).state
        last = state.last_seq if self._last is None else self._last
        for seq in range(max(state.first_seq, 1), last + 1):
            reply = await self._nc.request(
                f"$JS.API.STREAM.MSG.GET.{self._stream}", json.dumps({"seq": seq}).encode()
            )
            if "message" in (answer := json.loads(reply.data)):
                self._messages.append((await js.get_msg(self._stream, seq), answer["message"]))

    async def _answer(self, msg: Msg) -> None:
        self.asked += 1
        if self.asked == self.late + 1:
            self._last = None
            await self._copy()
        request = json.loads(msg.data)
        pattern, seq = request.get("next_by_subj", ">"), request["seq"]
        batch = request.get("batch", 1)
        found = [
            (message, raw)
            for message, raw in self._messages
            if (message.seq >= seq if "next_by_subj" in request else message.seq == seq)
            and _covers(pattern, message.subject)
        ]
        for message, raw in found[:batch]:
            added = {
                "Nats-Stream": self._stream,
                "Nats-Subject": message.subject,
                "Nats-Sequence": str(message.seq),
                "Nats-Time-Stamp": raw["time"],
            }
            if "batch" in request:
                added["Nats-Num-Pending"] = "0"
            headers = {**(message.headers or {}), **added}
            await self._nc.publish(msg.reply, message.data or b"", headers=headers)
        if "batch" in request and found:
            end = {"Status": "204", "Nats-Num-Pending": "0"}
            await self._nc.publish(msg.reply, b"", headers=end)
        elif not found:
            await self._nc.publish(msg.reply, b"", headers={"Status": "404"})


def _covers(pattern: str, subject: str) -> bool:
    for want, token in zip(pattern.split("."), subject.split("."), strict=False):
        if want == ">":
            return True
        if want not in ("*", token):
            return False
    return pattern.count(".") == subject.count(".")


# Absence in a replica that is behind


async def test_a_plan_knows_what_was_replayed_though_a_replica_of_the_log_is_behind(
    settings: NatsEventBusSettings, nc: Client
) -> None:
    async with NatsDLQ(settings) as dlq, Replayer(dlq) as replayer:
        [entry] = await push_orders(dlq, 1)
        done = await replayer.run(await replayer.plan(), confirm="nobody")
        await dlq.push(entry)
        async with Replica(nc, f"{settings.stream_name}-replays", last=0).answering():
            plan = await replayer.plan()
            [record] = await replayer.log()
    assert plan.to_replay == 0
    assert f"replayed before by run {done.replay_id}" in plan.rows[0].why
    assert record.replay_id == done.replay_id


async def test_a_replica_of_the_log_that_stays_behind_ends_the_plan(
    make_settings: MakeSettings, nc: Client
) -> None:
    settings = make_settings(publish_timeout_seconds=0.5)
    async with NatsDLQ(settings) as dlq, Replayer(dlq) as replayer:
        [entry] = await push_orders(dlq, 1)
        await replayer.run(await replayer.plan(), confirm="nobody")
        await dlq.push(entry)
        replica = Replica(nc, f"{settings.stream_name}-replays", last=0)
        replica.late = 1000
        async with replica.answering():
            with pytest.raises(ReplayLogError, match="stays behind"):
                await replayer.plan()


async def test_a_plan_has_the_whole_queue_though_a_replica_is_behind(
    settings: NatsEventBusSettings, nc: Client
) -> None:
    async with NatsDLQ(settings) as dlq, Replayer(dlq) as replayer:
        entries = await push_orders(dlq, 3)
        async with Replica(nc, f"{settings.stream_name}-dlq", last=1).answering():
            plan = await replayer.plan()
        async with Replica(nc, f"{settings.stream_name}-dlq", last=1).answering():
            listed = await dlq.list_entries()
    assert [row.entry_id for row in plan.rows] == [entry.entry_id for entry in entries]
    assert [entry.entry_id for entry in listed] == [entry.entry_id for entry in entries]


async def test_a_queue_whose_replica_stays_behind_is_not_planned_in_part(
    make_settings: MakeSettings, nc: Client
) -> None:
    settings = make_settings(publish_timeout_seconds=0.5)
    async with NatsDLQ(settings) as dlq, Replayer(dlq) as replayer:
        await push_orders(dlq, 3)
        replica = Replica(nc, f"{settings.stream_name}-dlq", last=1)
        replica.late = 1000
        async with replica.answering():
            with pytest.raises(DeadLetterError, match="could not be read"):
                await replayer.plan()


async def test_a_canary_is_seen_to_come_back_though_a_replica_is_behind(
    settings: NatsEventBusSettings, nc: Client
) -> None:
    async with NatsDLQ(settings) as dlq:
        [entry] = await push_orders(dlq, 1, source_ref=f"{settings.stream_name}:7")
        store: DlqStore = dlq._store  # type: ignore[assignment]
        await nc.jetstream().add_stream(name=settings.stream_name)
        watch = CanaryWatch(store, settings.stream_name, "run", 0)
        watch.add("key", settings.subject_name("orders"), 7)
        async with Replica(nc, f"{settings.stream_name}-dlq", last=0).answering():
            assert await watch.check()
    assert watch.came_back == [entry.entry_id]


async def test_a_read_ends_while_others_go_on_writing(
    settings: NatsEventBusSettings, nc: Client
) -> None:
    js = nc.jetstream()
    await js.add_stream(name=settings.stream_name, allow_direct=True)
    await js.publish(settings.stream_name, b"1")
    async with NatsDLQ(settings) as dlq:
        connection = dlq._store.connection  # type: ignore[union-attr]
        reader = LookupReader(connection, settings.stream_name, None, direct=True)

        async def read(first: int, last: int) -> AsyncGenerator[Batch]:
            await js.publish(settings.stream_name, b"more")
            async for batch in reader.forwards(first, last):
                yield batch

        reading = read_whole(connection, settings.stream_name, [">"], read, timeout=0.1)
        found = [message.seq async for batch in reading for message in batch]
    assert found == [1]


async def test_what_a_dead_run_stored_is_found_though_the_replica_that_is_read_is_behind(
    make_settings: MakeSettings, nc: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Behind(StreamReader):
        """Its first consumer is on a replica that has nothing of what it is to read."""

        reads = 0

        async def forwards(self, first: int, last: int, **options: Any) -> AsyncGenerator[Batch]:
            Behind.reads += 1
            if Behind.reads > 1:
                async for batch in super().forwards(first, last, **options):
                    yield batch

    monkeypatch.setattr(claims, "StreamReader", Behind)
    settings = make_settings(duplicate_window_seconds=SHORT)
    root = f"{settings.subject_prefix}-replays"
    js = nc.jetstream()
    async with NatsDLQ(settings) as dlq, Replayer(dlq) as replayer:
        made = await replayer.run(await replayer.plan())
        [entry] = await push_orders(dlq, 1)
        head = await js.get_last_msg(
            f"{settings.stream_name}-replays", f"{root}.{made.replay_id}.plan"
        )
        plan = json.loads(head.data or b"")
        plan |= {"replay_id": "dead", "chunks": 1, "holder": NOBODY, "session": NOBODY}
        await js.publish(f"{root}.dead.entries.0", entry.entry_id.bytes)
        await js.publish(f"{root}.dead.plan", json.dumps(plan).encode())
        replay = {"Varco-Replay-Of": str(entry.entry_id), "Varco-Replay-Id": "dead"}
        await js.publish(settings.subject_name("orders"), b"{}", headers=replay)

        report = await replayer.run(await replayer.plan(), confirm="nobody")
    assert report.counts == {ReplayOutcome.DUPLICATE: 1}
    assert await replayed_ids(settings) == [str(entry.entry_id)]
    assert Behind.reads == 2


async def test_history_is_read_whole_though_the_replica_with_the_consumer_is_behind(
    make_settings: MakeSettings, cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, pages = StreamReader._read, list[int]()

    async def behind(
        self: StreamReader, first: int, last: int, *, page: int
    ) -> AsyncGenerator[Batch]:
        pages.append(page)
        end = 2 if len(pages) == 1 else last
        async with aclosing(read(self, first, end, page=page)) as batches:
            async for batch in batches:
                yield batch

    async def counted(self: StreamReader, first: int) -> int:
        return 0

    settings = make_settings(servers=cluster.servers, stream_replicas=3)
    monkeypatch.setattr(StreamReader, "_read", behind)
    async with NatsEventBus(settings) as bus, History(settings) as history:
        await bus.publish_many([(OrderPlaced(order_id=str(n)), "orders") for n in range(5)])
        await bus.publish(OrderPlaced(order_id="5"), channel="other")
        found = [message.seq async for message in history.read("orders")]
        assert (found, len(pages)) == ([1, 2, 3, 4, 5], 2)

        monkeypatch.setattr(StreamReader, "count", counted)
        found = [message.seq async for message in history.read("orders")]
        newest = [message.seq async for message in history.read("orders", newest_first=True)]
    assert found == [1, 2, 3, 4, 5]
    assert newest == [5, 4, 3, 2, 1]
    assert set(pages) == {PAGE}  # also where nothing was counted


async def test_a_tail_does_not_go_back_for_a_leader_that_is_none_any_more(
    make_settings: MakeSettings, cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A leader that stood still answers before it knows that the others went on without it."""
    settings = make_settings(servers=cluster.servers, stream_replicas=3)
    answers = 0

    async def deposed(stream: str) -> StreamInfo:
        nonlocal answers
        answers += 1
        info = await asked(stream)
        if answers <= 3:
            info.state.last_seq = 2
        return info

    async with NatsEventBus(settings) as bus:
        for number in range(5):
            await bus.publish(OrderPlaced(order_id=str(number)), channel="orders")
        connection = bus._connection
        assert connection is not None
        asked = connection.js.stream_info
        tail = Tail(connection, settings.stream_name)
        await tail.seek(start_seq=1)
        seen: list[int] = []
        async with aclosing(tail.batches()) as batches:
            async for batch in batches:
                seen += [message.seq for message in batch]
                if len(seen) == 5:
                    monkeypatch.setattr(connection.js, "stream_info", deposed)
                    for consumer in await connection.js.consumers_info(settings.stream_name):
                        await connection.js.delete_consumer(settings.stream_name, consumer.name)
                    await bus.publish(OrderPlaced(order_id="5"), channel="orders")
                if len(seen) >= 6:
                    break
        assert seen == [1, 2, 3, 4, 5, 6]
        assert answers > 3

        answers = 0  # what a frame on the same connection reads
        info = await stream_info(connection, settings.stream_name, state=True)
        assert (int(info.state.last_seq), answers) == (6, 4)

        monkeypatch.setattr("varco_nats._nats.stream._DEPOSED_SECONDS", 0.3)
        answers = -10  # a leader that goes on lacking them has lost them
        info = await stream_info(connection, settings.stream_name, state=True)
        assert int(info.state.last_seq) == 2


async def test_a_run_that_loses_its_connection_before_it_begins_says_so(
    settings: NatsEventBusSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with NatsDLQ(settings) as dlq, Replayer(dlq) as replayer:
        [entry] = await push_orders(dlq, 1)
        plan = await replayer.plan()
        nc = replayer._need("run()").source.nc
        subscriptions = len(nc._subs)

        async def lost(timeout: float = 10) -> None:
            raise ConnectionReconnectingError

        with monkeypatch.context() as patch:
            patch.setattr(nc, "flush", lost)
            with pytest.raises(ReplayError, match="did not begin: nats: connection reconnecting"):
                await replayer.run(plan, confirm="nobody")
        assert len(nc._subs) == subscriptions
        report = await replayer.run(plan, confirm="nobody")
    assert report.counts == {ReplayOutcome.REPLAYED: 1}
    assert await replayed_ids(settings) == [str(entry.entry_id)]


async def test_what_is_gone_is_not_sent_though_a_replica_still_has_it(
    make_settings: MakeSettings, cluster: LocalCluster
) -> None:
    settings = make_settings(servers=cluster.servers, stream_replicas=3)
    plain = await nats.connect(cluster.nodes[0].url)
    control = ReplayControl()
    control.pause()
    phases: list[str] = []
    try:
        async with NatsDLQ(settings) as dlq, Replayer(dlq) as replayer:
            gone, left = await push_orders(dlq, 2)
            plan = await replayer.plan()
            run = asyncio.create_task(
                replayer.run(
                    plan,
                    control=control,
                    progress=lambda now: phases.append(now.phase),
                    confirm="nobody",
                )
            )
            await until(lambda: "paused" in phases)
            replica = Replica(plain, f"{settings.stream_name}-dlq")
            replica.late = 1000
            async with replica.answering():
                await dlq.ack(gone.entry_id)
                control.resume()
                report = await run
    finally:
        await plain.close()
    rows = {row.entry_id: row for row in report.rows}
    assert (rows[gone.entry_id].outcome, rows[gone.entry_id].why) == (ReplayOutcome.SKIPPED, GONE)
    assert rows[left.entry_id].outcome is ReplayOutcome.REPLAYED
    assert await replayed_ids(settings) == [str(left.entry_id)]


# Answers that decide nothing


class ReplicatedTarget:
    """A target stream of three replicas, used over its leader."""

    def __init__(self, name: str, cluster: LocalCluster, leader: LocalNats, nc: Client) -> None:
        self.settings = NatsEventBusSettings(
            servers=leader.url, stream_name=name, subject_prefix=name
        )
        self.nc = nc
        self._others = [node for node in cluster.nodes if node is not leader]
        self._paused: list[LocalNats] = []

    async def pause_the_others(self) -> None:
        for node in self._others:
            await asyncio.to_thread(node.pause)
            self._paused.append(node)

    async def resume_them(self) -> None:
        while self._paused:
            await asyncio.to_thread(self._paused.pop().resume)


@asynccontextmanager
async def replicated_target(cluster: LocalCluster) -> AsyncIterator[ReplicatedTarget]:
    name = f"t-{uuid4().hex[:10]}"
    plain = await nats.connect(cluster.servers.split(","))
    try:
        js = plain.jetstream()
        await js.add_stream(name=name, subjects=[f"{name}.>"], num_replicas=3, allow_direct=True)
        info = await js.stream_info(name)
    finally:
        await plain.close()
    assert info.cluster is not None
    leader = next(node for node in cluster.nodes if node._name == info.cluster.leader)
    nc = await nats.connect(leader.url)
    target = ReplicatedTarget(name, cluster, leader, nc)
    try:
        yield target
    finally:
        await target.resume_them()
        await asyncio.to_thread(cluster.wait_ready)
        await nc.close()


async def test_a_message_whose_id_is_on_its_way_is_not_said_to_have_failed(
    settings: NatsEventBusSettings, cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """10158: a message with this id was proposed, and the replicas have not decided."""
    refused = asyncio.Event()
    take = ReplayRun._on_answer

    def on_answer(run: ReplayRun, index: int, answer: Any) -> None:
        take(run, index, answer)
        if isinstance(answer, Refusal):
            refused.set()

    monkeypatch.setattr(ReplayRun, "_on_answer", on_answer)
    async with (
        replicated_target(cluster) as target,
        NatsDLQ(settings) as dlq,
        Replayer(dlq, target=target.settings) as replayer,
    ):
        [entry] = await push_orders(dlq, 1)
        plan = await replayer.plan()
        await target.pause_the_others()
        # somebody publishes the event of the queue by hand; nothing is decided
        await target.nc.publish(
            plan.rows[0].subject,
            b"{}",
            reply=target.nc.new_inbox(),
            headers=dict(plan.rows[0].headers),
        )
        await target.nc.flush()
        run = asyncio.create_task(replayer.run(plan, confirm="nobody"))
        async with asyncio.timeout(15):
            await refused.wait()
        await target.resume_them()
        report = await run
        [message] = await stored(target.settings)
        assert message.headers is not None
        assert message.headers["Varco-Replay-Of"] == str(entry.entry_id)
        # the first is gone where the cluster has another leader since
        is_first = message.data == b"{}"
        outcome = ReplayOutcome.DUPLICATE if is_first else ReplayOutcome.REPLAYED
        assert report.counts == {outcome: 1}, report.rows
        by = None if is_first else report.replay_id
        assert message.headers.get("Varco-Replay-Id") == by
        assert await dlq.count() == 0


async def test_a_copy_that_a_new_leader_has_not_got_yet_is_waited_for(
    settings: NatsEventBusSettings, nc: Client
) -> None:
    async with NatsEventBus(settings), NatsDLQ(settings) as dlq, Replayer(dlq) as replayer:
        await push_orders(dlq, 1)
        plan, connection = await replayer.plan(), replayer._need("plan()").source
        info = await stream_info(connection, settings.stream_name)
        duplicate = {0: PubAck(settings.stream_name, 2, True)}
        examining = asyncio.create_task(
            in_flight.examine_duplicates(connection, info, plan, duplicate)
        )
        await asyncio.sleep(0.3)  # the stream has no sequence 2 so far
        for _ in range(2):
            await nc.jetstream().publish(settings.subject_name("orders"), b"{}")
        assert await examining == {0: (True, "stored already")}
        await nc.jetstream().delete_msg(settings.stream_name, 2)
        found = await in_flight.examine_duplicates(connection, info, plan, duplicate)
        assert not found[0][0]
        assert "copy of sequence 2, which is gone" in found[0][1]


async def test_a_copy_that_comes_between_two_questions_is_seen(
    settings: NatsEventBusSettings, nc: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with NatsEventBus(settings), NatsDLQ(settings) as dlq, Replayer(dlq) as replayer:
        await push_orders(dlq, 1)
        plan, connection = await replayer.plan(), replayer._need("plan()").source
        info = await stream_info(connection, settings.stream_name)
        asked = connection.js.stream_info

        async def comes_first(stream: str) -> StreamInfo:
            monkeypatch.undo()
            await nc.jetstream().publish(settings.subject_name("orders"), b"{}")
            return await asked(stream)

        monkeypatch.setattr(connection.js, "stream_info", comes_first)
        duplicate = {0: PubAck(settings.stream_name, 1, True)}
        found = await in_flight.examine_duplicates(connection, info, plan, duplicate)
        assert found == {0: (True, "stored already")}


async def test_a_run_waits_while_the_target_has_no_leader(
    settings: NatsEventBusSettings, cluster: LocalCluster
) -> None:
    """A cluster refuses at once for as long as it elects a leader."""
    control, phases = ReplayControl(), list[str]()
    async with (
        replicated_target(cluster) as target,
        NatsDLQ(settings) as dlq,
        Replayer(dlq, target=target.settings) as replayer,
    ):
        await push_orders(dlq, 150)
        plan = await replayer.plan()
        control.pause()
        run = asyncio.create_task(
            replayer.run(
                plan,
                confirm="nobody",
                control=control,
                progress=lambda now: phases.append(now.phase),
            )
        )
        await until(lambda: "paused" in phases)
        await target.pause_the_others()
        subject = target.settings.subject_name("orders")
        await until(lambda: _is_leaderless(target.nc, subject))
        control.resume()
        await until(lambda: "waiting" in phases)
        await asyncio.sleep(2)  # longer than three attempts take
        await target.resume_them()
        report = await run
        assert report.counts == {ReplayOutcome.REPLAYED: 150}, report.why
        replayed = await replayed_ids(target.settings)
        assert (len(replayed), len(set(replayed))) == (150, 150)


async def _is_leaderless(nc: Client, subject: str) -> bool:
    """Whether nobody stores what is sent to it; nothing is stored by asking, as no stream is meant
    by the expected name."""
    try:
        await nc.request(subject, b"", headers={"Nats-Expected-Stream": "none"}, timeout=1)
    except NoRespondersError:
        return True
    except NatsTimeoutError:
        pass
    return False


async def test_a_refusal_does_not_undo_that_an_attempt_before_it_may_be_stored(
    settings: NatsEventBusSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """10158 for one attempt, then 10008 for each: the cluster lost its leader in between."""
    answers = iter([(409, 10158), *[(503, 10008)] * 1000])

    def answered(data: bytes, headers: Any, domain: None) -> PubAck | Refusal:
        code, err_code = next(answers)
        error = {"code": code, "err_code": err_code, "description": "no leader"}
        return parse_puback(json.dumps({"error": error}).encode(), headers)

    monkeypatch.setattr(in_flight, "parse_puback", answered)
    monkeypatch.setattr(ReplyInbox, "_take_run", lambda inbox, data, start: (start, 0, 0))
    quick = settings.model_copy(update={"publish_timeout_seconds": 0.5})
    async with NatsDLQ(settings) as dlq, Replayer(dlq, target=quick) as replayer:
        [entry] = await push_orders(dlq, 1)
        report = await replayer.run(await replayer.plan(), confirm="nobody")
        assert report.counts == {ReplayOutcome.IN_DOUBT: 1}
        assert await replayed_ids(settings) == [str(entry.entry_id)]
        monkeypatch.undo()
        report = await replayer.run(await replayer.plan(), confirm="nobody")
        assert report.counts == {ReplayOutcome.DUPLICATE: 1}
        assert (await dlq.count(), len(await replayed_ids(settings))) == (0, 1)


async def test_a_removal_that_is_not_permitted_is_not_taken_for_one_that_somebody_else_did(
    settings: NatsEventBusSettings, nc: Client
) -> None:
    """10057 is any failure of a removal, and only in its text says which."""
    async with NatsDLQ(settings) as dlq, Replayer(dlq) as replayer:
        entries = await push_orders(dlq, 2)
        plan = await replayer.plan()
        js = nc.jetstream()
        config = (await js.stream_info(f"{settings.stream_name}-dlq")).config
        await js.update_stream(config, deny_delete=True)
        discarded = await replayer.discard(plan, confirm="discard")
        assert discarded.counts == {ReplayOutcome.FAILED: 2}
        report = await replayer.run(plan, confirm="nobody")
        assert not any(row.removed for row in report.rows)
        assert "message delete not permitted" in report.rows[0].why
        with pytest.raises(DeadLetterError, match="not permitted"):
            await dlq.ack(entries[0].entry_id)
        assert await dlq.count() == 2


async def test_what_is_not_there_is_removed_already(settings: NatsEventBusSettings) -> None:
    async with NatsDLQ(settings) as dlq:
        await push_orders(dlq, 2)
        store: DlqStore = dlq._store  # type: ignore[assignment]
        assert await store.remove_sequence(1)
        assert [await store.remove_sequence(seq) for seq in (1, 2, 2, 3, 1000)] == [
            False,
            True,
            False,
            False,
            False,
        ]


async def test_a_log_that_is_deleted_at_once_ends_the_run(
    settings: NatsEventBusSettings, nc: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = ReplayLog.write_head

    async def write_and_lose(log: ReplayLog, head: Any) -> int:
        seq = await write(log, head)
        await nc.jetstream().delete_stream(log.stream)
        return seq

    monkeypatch.setattr(ReplayLog, "write_head", write_and_lose)
    async with NatsDLQ(settings) as dlq, Replayer(dlq) as replayer:
        await push_orders(dlq, 1)
        with pytest.raises(ReplayLogError, match="is not in it"):
            await replayer.run(await replayer.plan(), confirm="nobody")
        assert await dlq.count() == 1
