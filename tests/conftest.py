"""Fixtures for every test: one real nats-server, a stream of its own for each test."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import nats
import psutil
import pytest
from nats.aio.client import Client
from xdist.remote import Producer
from xdist.scheduler.loadscope import LoadScopeScheduling

from tests.memory import files_in_memory
from tests.processes import end_fork_server
from varco_nats.config import NatsEventBusSettings
from varco_nats.server import LocalCluster, LocalNats

MakeSettings = Callable[..., NatsEventBusSettings]
"""The fixture `make_settings`: takes what differs from the defaults."""

COUNTED = "counted"
"""Property of a test's report: what was counted at one moment, for the summary."""

SESSION = "VARCO_TEST_SESSION"  # in the environment of all that a session starts
ENDING = 15  # seconds that a process may take to end, once the session has


# where a shell runs the tests in the background, they and all that they start would ignore Ctrl-C
signal.signal(signal.SIGINT, signal.default_int_handler)

# which a busy machine does not keep
hypothesis.settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any machine")


@pytest.fixture(scope="session", autouse=True)
def no_process_is_left() -> Iterator[None]:
    """Fails a session that leaves a server, a consumer, a proxy or a browser running.

    What was started is known by its environment, so that it is found when its parent is gone too;
    each worker of pytest-xdist is a session of its own.
    """
    session = os.environ[SESSION] = uuid.uuid4().hex
    yield
    end_fork_server()
    deadline = time.monotonic() + ENDING
    while (left := _processes_of(session)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left == [], "the tests left these processes running"


def _processes_of(session: str) -> list[str]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(SESSION) == session:
                found.append(f"{process.pid}: {' '.join(process.cmdline())}")
        except (psutil.Error, OSError):  # it has ended, or is somebody else's
            continue
    return found


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree; nothing is downloaded for it."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        check=True,
        timeout=90,
    )
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def server() -> Iterator[LocalNats]:
    with files_in_memory():
        local = LocalNats().start()
    with local:
        # With its last stream a server removes the folder of all streams, in the background, and
        # the next test may want to create a stream there at that moment. This file keeps it.
        folder = local.store_dir / "jetstream" / "$G" / "streams"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "kept").touch()
        yield local


@pytest.fixture(scope="session")
def shared_cluster() -> Iterator[LocalCluster]:
    """A start of three servers takes 2 to 9 s, so that the tests share one."""
    with files_in_memory():
        started = LocalCluster(3).start()
    with started:
        yield started


@pytest.fixture
async def cluster(shared_cluster: LocalCluster) -> LocalCluster:
    """Three servers without streams, of which the test may pause and kill any."""
    for node in shared_cluster.nodes:
        if node.running:
            node.resume()
    await asyncio.to_thread(shared_cluster.start)
    client = await nats.connect(shared_cluster.servers.split(","))
    names = json.loads((await client.request("$JS.API.STREAM.NAMES", timeout=5)).data)
    for name in names["streams"] or []:
        await client.jetstream().delete_stream(name)
    await client.close()
    return shared_cluster


@pytest.fixture
async def nc(server: LocalNats) -> AsyncIterator[Client]:
    """A plain nats-py connection, to look at the server independently of our code."""
    client = await nats.connect(server.url)
    yield client
    await client.close()


@pytest.fixture
async def make_settings(server: LocalNats, nc: Client) -> AsyncIterator[MakeSettings]:
    """Settings on streams that no other test uses; all made here for one `case` share them."""
    unique = f"t-{uuid.uuid4().hex[:10]}"

    def make(case: str = "", **changes: object) -> NatsEventBusSettings:
        name = f"{unique}{case}"
        values: dict[str, Any] = {
            "servers": server.url,
            "stream_name": name,
            "subject_prefix": name,
            "durable_name": "svc",
            "nak_delay_seconds": 0.05,
        }
        return NatsEventBusSettings(**(values | changes))

    yield make
    js = nc.jetstream()
    for info in await js.streams_info():
        if str(info.config.name).startswith(unique):
            await js.delete_stream(str(info.config.name))


@pytest.fixture
def settings(make_settings: MakeSettings) -> NatsEventBusSettings:
    return make_settings()


class _Scheduling(LoadScopeScheduling):
    """What needs a browser or a notebook's kernel runs on one worker, in its order.

    It needs the processor, while most other tests wait for something: side by side they fill both
    cores.
    """

    def _split_scope(self, nodeid: str) -> str:
        return "browser" if nodeid.startswith(("tests/browser/", "notebooks/")) else nodeid


def pytest_xdist_make_scheduler(
    config: pytest.Config, log: Producer | None
) -> LoadScopeScheduling | None:
    # the marks that pytest-xdist 3.8 goes by for this have no effect with pytest 9.2
    return _Scheduling(config, log) if config.getoption("dist") == "loadgroup" else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what the fault tests counted first and last, also where workers ran them."""
    lines = []
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            counted = [value for name, value in report.user_properties if name == COUNTED]
            if report.when == "call" and counted:
                test = report.nodeid.rpartition("::")[2]
                lines.append(f"{test}: {counted[0]}; {counted[-1]}")
    if lines:
        terminalreporter.section("counted before and after faults")
        for line in lines:
            terminalreporter.write_line(line)
