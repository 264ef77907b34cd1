"""`varco nats replay` and `log` on a real server."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from varco_core.cli.main import main

from tests.core.commands.conftest import Command
from tests.core.replay.helpers import is_, push_orders, stored
from tests.waiting import until
from varco_nats import NatsDLQ
from varco_nats.config import NatsEventBusSettings


async def test_a_plan_sends_nothing_and_a_run_says_what_became_of_each(
    varco_nats: Command, settings: NatsEventBusSettings, dlq: NatsDLQ
) -> None:
    first, *_ = entries = await push_orders(dlq, 3, error_type="Timeout\x1b", error_message="slow")
    [other] = await push_orders(dlq, 1, error_type="ValueError")

    plan = await varco_nats("replay", "--error", "Timeout\x1b", "--to", "orders.retry")
    assert plan.code == 0
    assert [line[:4] for line in plan.cells] == [
        [str(entry.entry_id), "replay", "orders.retry", "order.placed"] for entry in entries
    ]
    assert "\x1b" not in plan.out
    assert "nothing was sent, --run does it" in plan.err
    assert await dlq.count() == 4

    run = await varco_nats(
        *(
            "replay",
            first.entry_id,
            other.entry_id,
            "--note",
            "once more",
            "--run",
            "--confirm",
            "nobody",
            "--json",
        )
    )
    assert run.code == 0
    rows = [json.loads(line) for line in run.out.splitlines()]
    assert [(row["key"], row["outcome"], row["seq"], row["removed"]) for row in rows] == [
        (str(first.entry_id), "replayed", 1, True),
        (str(other.entry_id), "replayed", 2, True),
    ]
    assert "publishing: 0 of 2\n" in run.err
    assert "done: 2 replayed" in run.err
    assert [message.seq for message in await stored(settings)] == [1, 2]
    assert await dlq.count() == 2

    log = await varco_nats("log")
    [[run_id, started, _, kind, state, count, outcome, *note]] = log.cells
    assert f"run {run_id} of the log" in run.err
    assert started.endswith("Z")
    assert [kind, state, count, outcome, *note] == [
        "replay", "done", "2", "replayed", "once", "more",
    ]  # fmt: skip
    [logged] = map(json.loads, (await varco_nats("log", "--json")).out.splitlines())
    assert (logged["replay_id"], logged["outcome"], logged["note"]) == (
        run_id, {"replayed": 2}, "once more",
    )  # fmt: skip
    assert [line[:3] for line in (await varco_nats("log", run_id)).cells] == [
        [row["key"], "replayed", str(row["seq"])] for row in rows
    ]


async def test_an_environment_that_says_read_only_plans_and_runs_nothing(
    varco_nats: Command, dlq: NatsDLQ, monkeypatch: pytest.MonkeyPatch
) -> None:
    [entry] = await push_orders(dlq, 1)
    monkeypatch.setenv("VARCO_NATS_READ_ONLY", "1")
    plan = await varco_nats("replay")
    assert (plan.code, plan.cells[0][:2]) == (0, [str(entry.entry_id), "replay"])
    run = await varco_nats("replay", "--run")
    assert run.code == 1
    assert "run(): refused, and nothing was sent" in run.err
    assert "unset VARCO_NATS_READ_ONLY" in run.err
    assert (await varco_nats("log")).code == 0
    assert await dlq.count() == 1


async def test_a_plan_of_nothing_says_whether_there_is_a_queue(
    varco_nats: Command, settings: NatsEventBusSettings
) -> None:
    queue = f"{settings.stream_name}-dlq"
    assert f"there is no stream '{queue}'" in (await varco_nats("replay")).err
    async with NatsDLQ(settings) as dlq:
        assert f"{queue} is empty\n" in (await varco_nats("replay")).err
        await push_orders(dlq, 3)
    other = await varco_nats("replay", "--channel", "ordres")
    assert (other.code, other.out) == (0, "")
    assert f"{queue} holds 3 dead letters, none of which meets the conditions\n" in other.err


async def test_exit_codes_of_a_run(varco_nats: Command, dlq: NatsDLQ) -> None:
    nothing = await varco_nats("replay", "--run")
    assert (nothing.code, nothing.out) == (0, "")
    [gone] = await push_orders(dlq, 1)
    await dlq.delete(gone.entry_id)
    missing = await varco_nats("replay", gone.entry_id, "--run")
    assert missing.code == 1
    assert missing.cells[0][:2] == [str(gone.entry_id), "skip"]
    assert (await varco_nats("replay", "--to", "no channel")).code == 2
    assert (await varco_nats("replay", "--rate", "5")).code == 2
    await push_orders(dlq, 1)
    assert (await varco_nats("replay", "--run", "--rate", "-1")).code == 2
    assert await dlq.count() == 1


def test_ctrl_c_ends_a_run_with_a_report(
    environment: dict[str, str],
    settings: NatsEventBusSettings,
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def fill() -> None:
        async with NatsDLQ(settings) as dlq:
            await push_orders(dlq, 5)

    async def interrupt() -> None:
        async with NatsDLQ(settings) as dlq:
            await until(lambda: is_(dlq.count(), 4))
        os.kill(os.getpid(), signal.SIGINT)

    asyncio.run(fill())
    with ThreadPoolExecutor(1) as thread:
        ctrl_c = thread.submit(asyncio.run, interrupt())
        code = main(["nats", "replay", "--run", "--confirm", "nobody", "--rate", "0.5", "--json"])
        ctrl_c.result()

    printed, notes = capsys.readouterr()
    outcomes = Counter(json.loads(line)["outcome"] for line in printed.splitlines())
    assert outcomes in ({"replayed": 1, "not tried": 4}, {"replayed": 2, "not tried": 3})
    assert "cancelled" in notes
    assert code == 130
