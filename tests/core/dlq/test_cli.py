"""varco's own command line on our dead letter queue, in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

import pytest
from nats.aio.client import Client
from varco_core.event.dlq import DeadLetterEntry, DeadLetterSource

from tests.events import OrderPlaced
from tests.processes import run_varco
from varco_nats._varco_core import EVENT_CLASSES
from varco_nats.cli import PublishingBus, _CommandQueue
from varco_nats.config import NatsEventBusSettings
from varco_nats.dlq import NatsDLQ
from varco_nats.server import LocalNats

VARCO = Path(sys.executable).with_name("varco")
PROJECT = Path(__file__).parents[3]
DLQ, BUS = ["-t", "varco_nats.cli:dlq"], ["-b", "varco_nats.cli:bus"]

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(settings: NatsEventBusSettings, tmp_path: Path) -> Run:
    """Runs `varco dlq ...` for the test's streams, with more environment variables as keywords.

    It is forked from a process that knows the events already, or, `afresh`, begins with nothing.
    """
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("VARCO_", "NATS_"))}

    def varco(
        *arguments: str, afresh: bool = False, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        environment = {
            **plain,
            "PYTHONPATH": str(PROJECT),
            "VARCO_NATS_SERVERS": settings.servers,
            "VARCO_NATS_STREAM_NAME": settings.stream_name,
            "VARCO_NATS_SUBJECT_PREFIX": settings.subject_prefix,
            "VARCO_NATS_DELIVERY_SEMANTICS": "exactly_once",
            "VARCO_NATS_IMPORTS": "tests.events",
            **variables,
        }
        environment = {name: value for name, value in environment.items() if value}
        if not afresh:
            return run_varco(["dlq", *arguments], environment, tmp_path)
        command = [str(VARCO), "dlq", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=80)

    return varco


@pytest.fixture
async def entries(settings: NatsEventBusSettings) -> list[DeadLetterEntry]:
    now = datetime.now(UTC)
    made = [
        DeadLetterEntry(
            event=OrderPlaced(order_id=str(number)),
            channel=f"orders.{number}",
            error_type="ValueError",
            error_message="boom",
            last_failed_at=now - timedelta(days=2 - number),
        )
        for number in range(3)
    ]
    async with NatsDLQ(settings) as dlq:
        for entry in made:
            await dlq.push(entry)
    return made


async def remaining(settings: NatsEventBusSettings) -> int:
    async with NatsDLQ(settings) as dlq:
        return await dlq.count()


async def test_list_shows_the_entries_and_takes_none(
    run: Run, entries: list[DeadLetterEntry], settings: NatsEventBusSettings
) -> None:
    done = run("list", *DLQ, "--channel", "orders.1", afresh=True)

    assert done.returncode == 0, done.stderr
    assert str(entries[1].entry_id) in done.stdout
    assert "ValueError: boom" in done.stdout
    assert done.stdout.endswith("1 entry.\n")
    assert done.stderr == ""
    assert run("list", *DLQ).stdout.endswith("3 entries.\n")
    assert await remaining(settings) == 3


async def test_redrive_one_entry(
    run: Run, entries: list[DeadLetterEntry], settings: NatsEventBusSettings, nc: Client
) -> None:
    done = run("redrive", *DLQ, *BUS, "--entry-id", str(entries[1].entry_id))

    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{entries[1].entry_id}: published=True error=None\n"
    assert done.stderr == ""
    message = await nc.jetstream().get_msg(settings.stream_name, 1)
    assert message.subject == f"{settings.subject_prefix}.orders.1"
    assert await remaining(settings) == 2


async def test_redrive_batch_publishes_all_and_removes_all(
    run: Run, entries: list[DeadLetterEntry], settings: NatsEventBusSettings, nc: Client
) -> None:
    dry = run("redrive", *DLQ, *BUS, "--batch", "--dry-run")
    assert dry.stdout == "attempted=3 succeeded=3 failed=0\n"
    assert await remaining(settings) == 3

    done = run("redrive", *DLQ, *BUS, "--batch")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "attempted=3 succeeded=3 failed=0\n"
    assert (await nc.jetstream().stream_info(settings.stream_name)).state.messages == 3
    assert await remaining(settings) == 0


async def test_redrive_without_the_event_class_keeps_the_entries(
    run: Run, entries: list[DeadLetterEntry], settings: NatsEventBusSettings
) -> None:
    done = run("redrive", *DLQ, *BUS, "--batch", afresh=True, VARCO_NATS_IMPORTS="")

    assert done.returncode == 1
    assert done.stdout == "attempted=3 succeeded=0 failed=3\n"
    assert done.stderr == "".join(
        f"{entry.entry_id}: stays in the queue: the class of event 'order.placed' is not known; "
        "name its module in VARCO_NATS_IMPORTS, or use 'varco nats replay', which needs no class\n"
        for entry in entries
    )
    assert await remaining(settings) == 3


async def test_redrive_of_one_entry_says_why_it_stays(
    settings: NatsEventBusSettings,
    entries: list[DeadLetterEntry],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    payloads = [b"{}", b'{"__event_type__": "order.placed"}']
    others = [DeadLetterEntry(channel="orders", payload=payload) for payload in payloads]
    job = DeadLetterEntry(channel="orders", source=DeadLetterSource.JOB)
    async with _CommandQueue(settings) as dlq:
        for entry in (*others, job):
            await dlq.push(entry)
        await dlq.list_entries()
        assert capsys.readouterr().err == ""  # not for `varco dlq list`

        monkeypatch.setattr(_CommandQueue, "redrives", True)
        await dlq.list_entries()
        ends = "'varco nats replay', which needs no class"
        assert capsys.readouterr().err.splitlines() == [
            f"{others[0].entry_id}: stays in the queue: it holds no event of varco; use {ends}",
            f"{others[1].entry_id}: stays in the queue: it does not fit the class of event "
            f"'order.placed'; use {ends}",
            f"{job.entry_id}: stays in the queue: it is a job's; enqueue the job again in its job "
            "store",
        ]

        monkeypatch.delitem(EVENT_CLASSES, "order.placed")
        await dlq.get(entries[1].entry_id)
        assert "the class of event 'order.placed' is not known" in capsys.readouterr().err


def test_without_a_server_a_sentence_says_so(run: Run) -> None:
    away = run("redrive", *DLQ, *BUS, "--batch", VARCO_NATS_SERVERS="nats://u:s3cret@127.0.0.1:1")

    assert (away.returncode, away.stdout) == (1, "")
    assert re.fullmatch(r"no NATS server answered at nats://127\.0\.0\.1:1 .*\n", away.stderr)


async def test_each_error_ends_the_command_with_a_sentence(settings: NatsEventBusSettings) -> None:
    with LocalNats(jetstream=False) as server:
        bare = _CommandQueue(settings.model_copy(update={"servers": server.url}))
        for used in (bare.get(UUID(int=1)), bare.ack(UUID(int=1)), bare.delete_where(channel="x")):
            with pytest.raises(SystemExit, match="has no JetStream"):
                await used
    async with _CommandQueue(settings) as dlq:
        with pytest.raises(SystemExit, match="must not be negative"):
            await dlq.list_entries(limit=-1)


async def test_purge_removes_what_is_older(
    run: Run, entries: list[DeadLetterEntry], settings: NatsEventBusSettings
) -> None:
    cutoff = datetime.now(UTC) - timedelta(hours=12)
    done = run("purge", *DLQ, "--before", cutoff.replace(tzinfo=None).isoformat())

    assert (done.returncode, done.stdout, done.stderr) == (0, "Purged 2 entries.\n", "")
    assert await remaining(settings) == 1


def test_module_that_cannot_be_imported_is_named(run: Run) -> None:
    done = run("list", *DLQ, VARCO_NATS_IMPORTS="tests.events, no.such.module")

    assert done.returncode == 1
    assert "VARCO_NATS_IMPORTS: module 'no.such.module' cannot be imported" in done.stderr
    assert "PYTHONPATH" in done.stderr
    assert "Traceback" not in done.stderr


def test_wrong_setting_is_named(run: Run) -> None:
    done = run("list", *DLQ, VARCO_NATS_ACK_WAIT_SECONDS="soon")

    assert done.returncode == 1
    assert "VARCO_NATS_ACK_WAIT_SECONDS" in done.stderr
    assert "Traceback" not in done.stderr


async def test_servers_and_login_come_from_nats_variables(
    run: Run, entries: list[DeadLetterEntry], settings: NatsEventBusSettings
) -> None:
    parts = urlsplit(settings.servers)
    assert parts.username is not None  # the token of the local server
    bare = f"nats://{parts.hostname}:{parts.port}"
    given = {"VARCO_NATS_SERVERS": "", "NATS_SERVERS": bare}

    assert run("list", *DLQ, **given, NATS_TOKEN=parts.username).stdout.endswith("3 entries.\n")
    refused = run("list", *DLQ, **given)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "refused the login" in refused.stderr
    assert "Traceback" not in refused.stderr


async def test_targets_of_a_users_own_module(
    run: Run, entries: list[DeadLetterEntry], settings: NatsEventBusSettings, tmp_path: Path
) -> None:
    (tmp_path / "shop_events.py").write_text("from tests.events import OrderPlaced\n")
    (tmp_path / "shop.py").write_text(
        "import shop_events\n"
        "from varco_nats.cli import bus\n"
        "from varco_nats.dlq import NatsDLQ\n"
        "letters = NatsDLQ()\n"
    )
    path = f"{tmp_path}{os.pathsep}{PROJECT}"
    done = run(
        *("redrive", "-t", "shop:letters", "-b", "shop:bus", "--batch"),
        afresh=True,
        PYTHONPATH=path,
        VARCO_NATS_IMPORTS="",
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "attempted=3 succeeded=3 failed=0\n"
    assert await remaining(settings) == 0


async def test_publishing_bus_takes_no_subscriptions(settings: NatsEventBusSettings) -> None:
    bus = PublishingBus(settings)
    with pytest.raises(NotImplementedError, match="only publishes"):
        bus.subscribe(OrderPlaced, lambda _: None)
    await bus.publish(OrderPlaced(order_id="1"), channel="orders")
    await bus.stop()
