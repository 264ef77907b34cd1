"""What the line on top says: what is under way, whose, how far, and how it ended."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from nats.errors import TimeoutError as NatsTimeoutError
from varco_nats_widgets import Lab
from varco_nats_widgets._session import worker
from varco_nats_widgets.dead_letters import DeadLetters
from varco_nats_widgets.dead_letters._status import outcome_words, status_words

from tests.conftest import MakeSettings
from tests.processes import replay_process
from tests.waiting import until
from tests.widgets.dead_letters.helpers import entries, push, shown
from varco_nats.config import NatsEventBusSettings
from varco_nats.errors import Advice, AdviceKind, ConnectError
from varco_nats.replay import (
    PlannedReplay,
    ReplayControl,
    Replayer,
    ReplayKind,
    ReplayOutcome,
    ReplayPlan,
    ReplayRecord,
    ReplayReport,
    ReplayResult,
    ReplayState,
)
from varco_nats.server import LocalNats

NOW = datetime.now(UTC)
TODAY = NOW.replace(hour=9, minute=12, second=7)
"""Today, at 09:12:07 UTC."""


async def test_a_colleagues_run_is_shown_and_leaves_nothing_to_ours(
    lab: Lab, settings: NatsEventBusSettings
) -> None:
    await push(settings, *entries(60))
    letters = await shown(lab)
    letters.watch()
    before = await letters.aio.plan("matching")
    control = ReplayControl()
    async with Replayer(settings, user="ada") as ada:
        running = ada.run(await ada.plan(), rate=4, control=control, confirm="nobody")
        theirs = asyncio.create_task(running)
        await until(lambda: letters.others)
        [run] = letters.others
        assert (run.replay_id, run.state) == (control.replay_id, ReplayState.RUNNING)
        assert "has been replaying 60 of these since" in letters.status
        assert f"{run.who} has been" in letters.status
        await until(lambda: 3 < letters.others_done.get(run.replay_id, 0) < 60)
        assert re.search(r" since .* UTC, \d+ of them are done", letters.status)
        report = await letters.aio.run(before, word="nobody")
        assert report.counts.get(ReplayOutcome.SKIPPED, 0) > 1
        assert re.match(r"(nothing|partly) done: .*\d+ skipped.*: left to ada@", letters.outcome)
        assert ", who has been replaying since " in letters.outcome
        assert letters.outcome.endswith(" UTC; plan again later")
        assert letters.outcome in letters.status
        assert len(letters.others) == 1  # not what was begun here
        plan = await letters.aio.plan("matching", again=True)
        whys = {row.why for row in plan.rows}  # some may leave the queue just then
        held = f"left to ada@.*, who has been replaying since .* \\(run {run.replay_id}\\); .*later"
        assert any(re.fullmatch(held, why) for why in whys)
        assert (plan.to_replay, len(plan) > 20) == (0, True)
        control.cancel()
        await theirs
    await until(lambda: not letters.others)
    await letters.aio.plan("matching")
    mine = asyncio.create_task(letters.aio.run(rate=2, word="nobody"))
    other = DeadLetters(lab)
    other.watch()
    await until(lambda: other.others and letters.run_progress[1] > 2)
    assert not letters.others
    letters.cancel()
    await mine
    other.close()


async def others(letters: DeadLetters) -> tuple[ReplayRecord, ...]:
    """What the next poll shows, without waiting for its time."""
    await asyncio.wrap_future(letters._session.loop.submit(letters._worker.poll()))
    return letters.others


async def test_a_run_that_was_killed_is_not_under_way(
    lab: Lab, settings: NatsEventBusSettings
) -> None:
    await push(settings, *entries(20))
    letters = await shown(lab)
    async with replay_process(settings, run={"rate": 1.0}) as child:
        await child.wait_for("stored 1")
        assert await others(letters)
        await child.kill()

        async def is_gone() -> bool:
            return not await others(letters)

        await until(is_gone)
    log = await letters.aio.replays()
    assert log["state"].tolist() == ["died"]


@pytest.fixture
async def away(make_settings: MakeSettings) -> AsyncIterator[tuple[LocalNats, DeadLetters]]:
    """A server that goes away, and 30 dead letters there."""
    with LocalNats() as server:
        settings = make_settings(servers=server.url)
        with Lab(settings) as lab:
            await push(settings, *entries(30))
            yield server, await shown(lab)


async def test_a_dead_server_is_said_at_once_and_what_was_done_stays(
    away: tuple[LocalNats, DeadLetters],
) -> None:
    server, letters = away
    view = letters.view()
    letters.watch(False)  # nothing is asked of the server
    await letters.aio.plan("matching")
    await letters.aio.run(word="nobody")
    done = letters.outcome
    assert done == "done: 30 replayed"
    server.kill()
    await until(lambda: letters.lost_since is not None)
    assert letters.status.startswith(f"{done} · the server has not answered since ")
    view.flush()
    assert view.status.news == letters.status
    server.start()
    await until(lambda: letters.back_since is not None)
    assert letters.lost_since is None
    assert letters.status.startswith(f"{done} · the server has been back since ")
    await letters.aio.refresh()  # whoever goes on has read it
    assert letters.status == letters.outcome == done


async def test_a_filter_that_was_set_while_the_server_was_away_is_shown_once_it_is_back(
    away: tuple[LocalNats, DeadLetters],
) -> None:
    server, letters = away
    server.kill()
    await until(lambda: letters.lost_since is not None)
    with pytest.raises(ConnectError):
        await letters.aio.filter(channel="payments")
    assert letters.can_retry
    server.start()
    await until(lambda: letters.matching == 10 and letters.back_since is not None)
    assert (letters.error, letters.filters) == ("", {"channel": "payments"})


async def test_what_is_shown_goes_on_as_soon_as_the_server_is_back(
    make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    long_pause = 3600.0  # as after a poll that waited for a server that was away
    monkeypatch.setattr(worker, "pause_after", lambda _: long_pause)
    with LocalNats() as server:
        settings = make_settings(servers=server.url)
        with Lab(settings) as lab:
            letters = await shown(lab)
            await push(settings, *entries(12))
            letters.watch()
            await until(lambda: letters.entries == 12)
            await push(settings, *entries(3))
            server.kill()
            await until(lambda: letters.lost_since is not None)
            assert letters.entries == 12
            server.start()
            await until(lambda: letters.entries == 15)


async def test_what_could_not_be_asked_is_soon_asked_again(
    lab: Lab, settings: NatsEventBusSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A poll that failed has often waited long, and no server was busy with it."""
    monkeypatch.setattr(worker, "_POLL_SECONDS", 0.02)
    monkeypatch.setattr(worker, "pause_after", lambda _: 3600.0)
    await push(settings, *entries(3))
    letters = await shown(lab)
    with monkeypatch.context() as electing:

        async def fail() -> None:
            raise NatsTimeoutError

        electing.setattr(letters._worker, "poll", fail)
        letters.watch()
        await until(lambda: letters.error == "the server did not answer in time; trying again")
    await until(lambda: not letters.error)
    await until(lambda: letters.entries == 3)


async def test_a_run_says_that_it_goes_on_once_the_server_is_back(
    away: tuple[LocalNats, DeadLetters],
) -> None:
    server, letters = away
    await letters.aio.plan("matching")
    running = asyncio.create_task(letters.aio.run(rate=20, word="nobody"))
    await until(lambda: letters.run_progress[1] >= 3)
    server.kill()
    await until(lambda: letters.lost_since is not None)
    assert "what was sent is safe, and the run goes on if it is back" in letters.status
    server.start()
    await running
    assert letters.outcome == "done: 30 replayed"
    assert await letters.aio.count() == 0


def report(*rows: ReplayResult, state: str = "done", why: str = "") -> ReplayReport:
    return ReplayReport("run", ReplayState(state), rows, NOW, NOW, why)


def result(outcome: str, why: str = "", advice: Advice | None = None) -> ReplayResult:
    entry_id = uuid4()
    key, found = str(entry_id), ReplayOutcome(outcome)
    return ReplayResult(key, entry_id, "a", "a", found, why=why, advice=advice)


HELD = "left to ada@host, who has been replaying since 09:12 UTC (run {}); plan again later"
SENT = [result("replayed")] * 2


@pytest.mark.parametrize(
    ("ended", "words"),
    [
        (report(), "done: there was nothing to do"),
        (report(*SENT), "done: 2 replayed"),
        (report(*SENT, result("duplicate", "it is there")), "done: 2 replayed, 1 already stored"),
        (
            report(*SENT, *(result("skipped", HELD.format(uuid4())) for _ in range(3))),
            "partly done: 2 replayed, 3 skipped: left to ada@host, who has been replaying since "
            "09:12 UTC; plan again later",
        ),
        (
            report(result("skipped", HELD.format(uuid4())), state="nothing done"),
            "nothing done: 1 skipped: left to ada@host, who has been replaying since 09:12 UTC; "
            "plan again later",
        ),
        (
            report(*SENT, result("failed", "too large"), result("skipped", "gone"), SENT[0]),
            "partly done: 3 replayed, 1 failed, 1 skipped: too large (and other reasons)",
        ),
        (
            report(*SENT, *[result("not tried", "cancelled")] * 3, state="cancelled"),
            "cancelled: 2 replayed, 3 not tried; 3 are still in the queue",
        ),
        (
            report(*SENT, result("not tried", "x"), state="stopped", why="no connection"),
            "stopped: 2 replayed, 1 not tried: no connection; 1 is still in the queue",
        ),
        (
            report(
                result(
                    "skipped",
                    "it is unsure; again=True replays it again",
                    Advice(AdviceKind.REPLAY_AGAIN, "again=True replays it again"),
                ),
                state="nothing done",
            ),
            "nothing done: 1 skipped: it is unsure",
        ),
    ],
)
def test_how_a_run_ended(ended: ReplayReport, words: str) -> None:
    assert outcome_words(ended) == words


def test_what_the_plan_left_out_is_not_what_went_wrong() -> None:
    from varco_nats.replay import ReplayDecision

    rows = [
        PlannedReplay(
            key=str(UUID(int=number)),
            entry_id=UUID(int=number),
            seq=number,
            channel="a",
            to="a",
            subject="a",
            event_id=None,
            event_type=None,
            payload=b"",
            headers={},
            decision=ReplayDecision.SKIP if number == 2 else ReplayDecision.REPLAY,
        )
        for number in range(3)
    ]
    plan = ReplayPlan("plan", ReplayKind.REPLAY, tuple(rows), "q", "s", NOW)
    ended = [
        ReplayResult(row.key, row.entry_id, "a", "a", outcome, why="replayed before")
        for row, outcome in zip(
            rows, map(ReplayOutcome, ("replayed", "not tried", "skipped")), strict=True
        )
    ]
    assert outcome_words(report(*ended, state="stopped", why="no connection"), plan) == (
        "stopped: 1 replayed, 1 not tried, 1 left out by the plan: no connection; plan again to go "
        "on with the 1 that is still in the queue"
    )
    assert outcome_words(report(ended[0], ended[2]), plan) == (
        "done: 1 replayed, 1 left out by the plan"
    )


class Known:
    """The traits of a `DeadLetters`, set as a test needs them."""

    def __init__(self, **traits: Any) -> None:
        nothing: dict[str, Any] = {
            "running": False,
            "paused": False,
            "run_progress": ("", 0, 0),
            "run_outcomes": {},
            "seconds_left": None,
            "busy": False,
            "doing": "",
            "progress": (0, 0),
            "outcome": "",
            "others": (),
            "others_done": {},
            "lost_since": None,
            "back_since": None,
        }
        self.__dict__ = nothing | traits


def other(who: str, kind: str = "replay", count: object = 12389, days: int = 0) -> ReplayRecord:
    return ReplayRecord(
        replay_id=who,
        kind=ReplayKind(kind),
        who=who,
        started_at=TODAY - timedelta(days=days),
        ended_at=None,
        note="",
        source="q",
        target="s",
        plan={kind: count},
        state=ReplayState.RUNNING,
        outcome={},
    )


YESTERDAY = f"{TODAY - timedelta(days=1):%Y-%m-%d}"


@pytest.mark.parametrize(
    ("known", "words"),
    [
        ({}, ""),
        ({"busy": True, "doing": "reading", "progress": (2000, 40000)},
         "reading: 2,000 of 40,000 entries"),
        ({"busy": True, "doing": "planning"}, "planning"),
        ({"running": True}, "starting: 0 of 0"),
        ({"running": True, "busy": True, "doing": "replaying", "seconds_left": 61.4,
          "run_progress": ("publishing", 4000, 12389),
          "run_outcomes": {"replayed": 3990, "skipped": 10}},
         "replaying: 4,000 of 12,389 · 10 skipped · about 61 s left"),
        ({"running": True, "paused": True, "seconds_left": 61.4,
          "run_progress": ("publishing", 4000, 12389)}, "paused: 4,000 of 12,389"),
        ({"running": True, "paused": True, "run_progress": ("paused", 4000, 12389)},
         "paused: 4,000 of 12,389"),
        ({"running": True, "paused": True, "run_progress": ("canary", 5, 60)},
         "watching whether the canary comes back as a dead letter, and then pausing: 5 of 60"),
        ({"running": True, "run_progress": ("waiting", 5, 60)},
         "waiting, as the target takes no message for now: 5 of 60"),
        ({"running": True, "run_progress": ("unanswered", 5, 60)},
         "waiting for an answer of the dead letter queue: 5 of 60"),
        ({"outcome": "done: 20 replayed", "others": (other("ada@host"),)},
         "done: 20 replayed · ada@host has been replaying 12,389 of these since 09:12 UTC"),
        ({"others": (other("ada@host"), other("bob@host")),
          "others_done": {"ada@host": 4000, "bob@host": 0}},
         "ada@host has been replaying 12,389 of these since 09:12 UTC, 4,000 of them are done · "
         "bob@host has been replaying 12,389 of these since 09:12 UTC"),
        ({"others": (other("<b>$x$", "discard", "many", 1),)},
         f"<b>$x$ has been discarding some of these since {YESTERDAY} 09:12 UTC"),
        ({"others": tuple(other(f"u{n}@h") for n in range(5))},
         " · ".join(
             [f"u{n}@h has been replaying 12,389 of these since 09:12 UTC" for n in range(3)]
             + ["and so have 2 more runs"])),
        ({"lost_since": TODAY},
         "the server has not answered since 09:12:07 UTC; what is shown is how it was then; it "
         "goes on by itself once the server is back"),
        ({"lost_since": TODAY, "running": True, "run_progress": ("publishing", 3, 30),
          "seconds_left": 61.4},
         "connecting again: 3 of 30 · the server has not answered since 09:12:07 UTC; what was "
         "sent is safe, and the run goes on if it is back within a minute"),
        ({"outcome": "done: 20 replayed", "back_since": TODAY},
         "done: 20 replayed · the server has been back since 09:12:07 UTC"),
    ],
)  # fmt: skip
def test_the_line_in_words(known: dict[str, Any], words: str) -> None:
    status: Any = Known(**known)
    assert status_words(status) == words
