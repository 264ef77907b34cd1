"""The end of a lab: closed, forgotten, interrupted, or its process ended."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import threading
import weakref
from collections.abc import Coroutine
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from typing import Any

import nats
import pytest
from nats.aio.client import Client
from nats.errors import Error as NatsError
from varco_nats_widgets import Lab, LabBus
from varco_nats_widgets._session import loop as loop_module
from varco_nats_widgets._session.loop import LoopThread
from varco_nats_widgets._session.session import Members

from tests.conftest import MakeSettings
from tests.processes import run_python
from tests.waiting import until
from tests.widgets.lab.helpers import LabOrder, Warehouse, orders, server_pid
from varco_nats.bus import NatsEventBus
from varco_nats.config import NatsEventBusSettings
from varco_nats.errors import (
    StreamUnavailableError,
)
from varco_nats.server import LocalCluster


async def test_garbage_leaves_nothing(settings: NatsEventBusSettings, nc: Client) -> None:
    lab = Lab(settings)
    warehouse = Warehouse()
    warehouse.register_to(lab.bus)
    await lab.bus.publish_many(orders(1))
    await lab.bus.drain()
    gone = weakref.ref(lab)
    await asyncio.to_thread(lambda: None)
    del lab
    gc.collect()
    assert gone() is None

    async def is_clean() -> bool:
        return await nc.jetstream().consumers_info(settings.stream_name) == []

    await until(is_clean)


async def test_garbage_ends_the_local_server() -> None:
    lab = Lab()
    pid = server_pid(lab)
    del lab
    gc.collect()
    await until(lambda: not os.path.exists(f"/proc/{pid}"))  # noqa: PTH110


def test_garbage_holds_up_no_thread_that_its_end_waits_for(
    lab: Lab, make_settings: MakeSettings
) -> None:
    """It is collected at any moment, on any thread."""
    ended = threading.Event()
    thread = lab._session.loop

    class Reader:
        async def shut(self) -> None:
            await asyncio.wrap_future(thread.submit(asyncio.sleep(0)))
            ended.set()

    garbage, reader = [Lab(make_settings("garbage"))], Reader()
    garbage[0]._session.readers.add(reader)

    async def collect() -> None:
        garbage.clear()
        gc.collect()

    thread.run(collect())
    assert ended.wait(20)


def test_a_decoder_that_does_not_end_keeps_no_lab_from_its_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(loop_module, "_END_SECONDS", 0.2)
    decoding, end = threading.Event(), threading.Event()

    def decode(payload: bytes, headers: object) -> dict[str, object]:
        decoding.set()
        end.wait()
        return {}

    lab = Lab(decoders=decode)
    pid = server_pid(lab)
    asyncio.run(lab.bus.publish(LabOrder(number=1), channel="orders"))

    def load() -> None:
        with suppress(CancelledError):
            lab.frame("orders")

    loading = threading.Thread(target=load)
    loading.start()
    assert decoding.wait(20)
    [thread] = [t for t in threading.enumerate() if t.name.startswith("Lab(")]
    lab.close()
    assert not os.path.exists(f"/proc/{pid}")  # noqa: PTH110
    assert "was closed, but still runs: something does not end, such as a decoder" in caplog.text
    end.set()
    for left in (loading, thread):
        left.join(20)
        assert not left.is_alive()


def test_an_observer_keeps_no_lab_from_its_end(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VARCO_NATS_SERVERS", raising=False)

    def fail(change: Any) -> None:
        raise ValueError(f"an observer of {change['name']}")

    lab = Lab()
    pid = server_pid(lab)
    explorer = lab.explore()
    explorer.observe(fail, ["server", "closed"])
    with Lab():
        assert explorer.server == "local server"
    lab.close()
    assert not os.path.exists(f"/proc/{pid}")  # noqa: PTH110
    assert caplog.text.count("ValueError: an observer of server") == 2
    assert caplog.text.count("ValueError: an observer of closed") == 1


def test_an_observer_may_wait_for_a_lab_that_another_thread_opens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("VARCO_NATS_SERVERS", raising=False)
    opened: list[Lab] = []

    def open_in_a_thread(_: object) -> None:
        thread = threading.Thread(target=lambda: opened.append(Lab()))
        thread.start()
        thread.join()

    with Lab() as first:
        explorer = first.explore()
        explorer.observe(open_in_a_thread, "server")
        with Lab():
            assert explorer.server == "local server"
            assert len(opened) == 1
            explorer.unobserve_all()
            opened[0].close()


def test_what_a_session_ends_is_added_on_any_thread() -> None:
    members = Members[Warehouse]()
    there, later = [[Warehouse() for _ in range(20_000)] for _ in range(2)]

    def add(some: list[Warehouse]) -> None:
        for member in some:
            members.add(member)

    add(there)
    thread = threading.Thread(target=add, args=(later,))
    thread.start()
    for _ in range(20):
        members.all()
    thread.join()
    assert set(members.all()) == {*there, *later}


def test_a_kept_bus_keeps_its_lab() -> None:
    bus = Lab().bus
    gc.collect()
    asyncio.run(bus.publish(LabOrder(number=1), channel="orders"))
    del bus
    gc.collect()


def test_closing_after_the_server_died(caplog: pytest.LogCaptureFixture) -> None:
    lab = Lab()
    Warehouse().register_to(lab.bus)
    local = lab._session._local
    assert local is not None
    local.kill()
    lab.close()
    assert not [r for r in caplog.records if r.levelno >= logging.ERROR]


def test_process_that_forgets_to_close_ends_cleanly() -> None:
    code = (
        "import logging; logging.getLogger('asyncio').setLevel(logging.ERROR)\n"  # not what is slow
        "from varco_nats_widgets import Lab\nlab = Lab(); lab.bus\nprint(lab._session._local.pid)\n"
    )
    done = run_python(code, "-X", "dev")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert not os.path.exists(f"/proc/{done.stdout.strip()}")  # noqa: PTH110


def test_interrupt_cancels_the_work() -> None:
    code = (
        "import asyncio, os, signal, threading, time\n"
        "from varco_nats_widgets._session.loop import LoopThread\n"
        "started, cancelled = threading.Event(), threading.Event()\n"
        "async def work():\n"
        "    started.set()\n"
        "    try: await asyncio.sleep(60)\n"
        "    except asyncio.CancelledError: cancelled.set(); raise\n"
        "loop = LoopThread('t')\n"
        "def interrupt():\n"
        "    started.wait(); os.kill(os.getpid(), signal.SIGINT)\n"
        "threading.Thread(target=interrupt).start()\n"
        "try: loop.run(work())\n"
        "except KeyboardInterrupt: print('interrupted', cancelled.wait(60))\n"
        "loop.close()\n"
    )
    done = run_python(code)
    assert done.stdout == "interrupted True\n", done.stderr


def test_interrupt_that_comes_while_the_work_is_handed_over_cancels_it_too() -> None:
    started, cancelled = threading.Event(), threading.Event()

    class Interrupted(LoopThread):
        def submit[T](self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
            super().submit(coroutine)
            assert started.wait(60)
            raise KeyboardInterrupt

    async def work() -> None:
        started.set()
        try:
            await asyncio.sleep(60)
        finally:
            cancelled.set()

    loop = Interrupted("Lab test")
    with pytest.raises(KeyboardInterrupt):
        loop.run(work())
    assert cancelled.wait(60)
    loop.close()


def test_loop_thread_ends_as_garbage_and_refuses_when_closed() -> None:
    loop = LoopThread("Lab test")

    async def answer() -> int:
        return 42

    assert loop.run(answer()) == 42
    loop.close()
    with pytest.raises(RuntimeError, match="Lab test is closed"):
        loop.run(answer())
    loop = LoopThread("Lab test")
    thread = loop._thread
    del loop
    gc.collect()
    thread.join(20)  # nobody who collects garbage waits for it
    assert not thread.is_alive()


@pytest.mark.parametrize("package", ["pandas", "pyarrow", "ipywidgets", "anywidget", "matplotlib"])
def test_import_without_the_extra_names_it(package: str) -> None:
    code = (
        "import sys\n"
        "class Block:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] == {package!r}: raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Block())\n"
        "import varco_nats\n"
        "try: import varco_nats_widgets\n"
        "except ImportError as error: print(error)\n"
    )
    done = run_python(code)
    assert package in done.stdout, done.stderr
    assert "varco-nats-kit[widgets]" in done.stdout


def test_bus_is_varcos(lab: Lab) -> None:
    assert isinstance(lab.bus, LabBus)
    assert len(lab.bus.register_consumer(Warehouse())) == 1


async def test_a_stream_without_a_leader_is_named(cluster: LocalCluster) -> None:
    """The server that is connected answers; it is not that no server does."""
    settings = NatsEventBusSettings(servers=cluster.servers, stream_replicas=3)
    async with NatsEventBus(settings) as bus:
        await bus.publish(LabOrder(number=1), channel="orders")
        info = await bus._connection.js.stream_info(settings.stream_name)  # type: ignore[union-attr]
    assert info.cluster is not None
    leader = next(node for node in cluster.nodes if node._name == info.cluster.leader)
    alone = next(node for node in cluster.nodes if node is not leader)
    settings = settings.model_copy(update={"servers": alone.url})
    with Lab(settings) as lab:
        assert len(await lab.aio.frame("orders")) == 1
        for node in cluster.nodes:
            if node is not alone:
                node.pause()
        nc = await nats.connect(alone.url)

        async def leaderless() -> bool:
            """It may have begun to lead the stream meanwhile."""
            with suppress(NatsError):
                await nc.jetstream(timeout=0.3).stream_info(settings.stream_name)
                return False
            return True

        await until(leaderless)
        await nc.close()
        lab._session.connection.leader_timeout = 2.0
        with pytest.raises(StreamUnavailableError, match="has no leader") as caught:
            async with asyncio.timeout(20):
                await lab.aio.frame("orders")
        assert caught.value.stream == settings.stream_name
        for node in cluster.nodes:
            if node is not alone:
                node.resume()
