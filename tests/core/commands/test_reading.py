"""`varco nats channels`, `frame` and `tail` on a real server."""

from __future__ import annotations

import asyncio
import csv
import fcntl
import io
import json
import os
import re
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from nats.aio.client import Client
from nats.js import JetStreamContext

from tests.core.commands.conftest import Command
from tests.events import OrderPlaced, OrderShipped, orders
from varco_nats import NatsEventBus
from varco_nats._commands.printing import Table
from varco_nats.config import NatsEventBusSettings
from varco_nats.server import LocalNats

ROOT = Path(__file__).parents[3]
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d"
AWKWARD = {
    "plain": b'{"__event_type__": "order.placed", "order_id": "1", "total": 0.10}',
    "formula": b'{"__event_type__": "order.placed", "order_id": "=cmd()", "seq": {"a": [1, null]}}',
    "list": b"[1]",
    "text": "für \x1b[31m".encode(),
    "bytes": b"\xff\x00",
    "half": b'{"order_id": "\\ud800"}',
    "nan": b'{"total": NaN}',
    "lines": b'{\n "order_id":\r\n "2"\n}',
}


async def publish_orders(settings: NatsEventBusSettings) -> None:
    """Ten orders, of which each third is a shipment, and one in another channel."""
    async with NatsEventBus(settings) as bus:
        for number in range(10):
            kind = OrderShipped if number % 3 == 2 else OrderPlaced
            await bus.publish(kind(order_id=str(number)), channel="orders")
        await bus.publish(OrderPlaced(order_id="x"), channel="orders.eu")


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def test_channels(varco_nats: Command, settings: NatsEventBusSettings, nc: Client) -> None:
    await publish_orders(settings)

    done = await varco_nats("channels")

    assert (done.code, done.err) == (0, "")
    line = rf"orders     10  -  {TIME}Z  {TIME}Z\norders\.eu   1  -  {TIME}Z  {TIME}Z\n"
    assert re.fullmatch(line, done.out), done.out

    await nc.jetstream().purge_stream(
        settings.stream_name, subject=settings.subject_name("orders.eu")
    )
    [alone] = map(json.loads, (await varco_nats("channels", "--json")).out.splitlines())
    state = (await nc.jetstream().stream_info(settings.stream_name)).state
    assert alone.pop("first_time") < alone.pop("last_time")
    assert alone == {
        "channel": "orders", "messages": 10, "bytes": state.bytes, "first_seq": 1, "last_seq": 10,
    }  # fmt: skip


async def test_frame_prints_what_was_asked_for(
    varco_nats: Command, settings: NatsEventBusSettings, nc: Client
) -> None:
    await publish_orders(settings)

    async def seqs(*arguments: str) -> list[int]:
        done = await varco_nats("frame", *arguments, "--json")
        assert (done.code, done.err) == (0, "")
        return [json.loads(line)["seq"] for line in done.out.splitlines()]

    assert await seqs() == list(range(1, 12))
    assert await seqs("orders") == list(range(1, 11))
    assert await seqs("orders", "--last", "3") == [8, 9, 10]
    assert await seqs("orders", "--last", "2", "--event-type", "order.shipped") == [6, 9]
    assert await seqs("orders.eu", "--last", "1h") == [11]
    assert await seqs("orders", "--since", "now") == []
    middle = json.loads((await varco_nats("frame", "orders", "--json")).out.splitlines()[4])
    assert await seqs("orders", "--until", middle["stored_at"][:26]) == [1, 2, 3, 4]
    assert await seqs("orders", "--since", middle["stored_at"][:26]) == [5, 6, 7, 8, 9, 10]
    envelope = b'{"specversion": "1.0", "type": "shop.paid", "id": "1", "source": "/", "data": {}}'
    await nc.jetstream().publish(settings.subject_name("paid"), envelope)
    assert await seqs("--event-type", "shop.paid") == [12]
    none = await varco_nats("frame", "--event-type", "shop.lost")
    assert none == (0, "", "no event there is of the type shop.lost\n")
    assert (await nc.jetstream().stream_info(settings.stream_name)).state.consumer_count == 0


async def test_awkward_payloads_in_every_format(
    varco_nats: Command, settings: NatsEventBusSettings, js: JetStreamContext, tmp_path: Path
) -> None:
    for payload in AWKWARD.values():
        await js.publish(settings.subject_name("orders"), payload, headers={"Trace": "1"})

    table = await varco_nats("frame")
    assert [line[0] for line in table.cells] == list("12345678")
    assert {line.index("orders") for line in table.out.splitlines()} == {29}
    assert table.out.isprintable() or table.out.replace("\n", "").isprintable()
    assert table.out.splitlines()[3].endswith("  -             für \\x1b[31m")

    rows = [json.loads(line) for line in (await varco_nats("frame", "--json")).out.splitlines()]
    assert all(row["headers"] == {"Trace": "1"} for row in rows)
    assert [set(row) & {"data", "text", "base64"} for row in rows] == [
        {"data"}, {"data"}, {"text"}, {"text"}, {"base64"}, {"text"}, {"text"}, {"data"},
    ]  # fmt: skip
    assert rows[3]["text"].encode() == AWKWARD["text"]
    assert rows[7]["data"] == {"order_id": "2"}

    file = tmp_path / "orders.csv"
    done = await varco_nats("frame", "--output", file)
    assert (done, names(tmp_path)) == ((0, "", ""), ["orders.csv"])
    cells = list(csv.DictReader(io.StringIO(file.read_text())))
    assert list(cells[0]) == [
        "seq", "stored_at", "channel", "event_type", "order_id", "total", "data.seq", "payload",
    ]  # fmt: skip
    assert (cells[0]["order_id"], cells[0]["total"]) == ("1", "0.10")
    assert (cells[1]["order_id"], cells[1]["data.seq"]) == ("'=cmd()", '{"a": [1, null]}')
    assert [row["payload"] for row in cells[2:5]] == ["[1]", "für \x1b[31m", "\\xff\0"]
    assert [row["order_id"] for row in cells[5:]] == ["\\ud800", "", "2"]
    assert [row["seq"] for row in cells] == list("12345678")


def test_headings_and_the_right_edge_are_for_a_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    reader, writer = os.openpty()
    rows = [["orders", 10, "x" * 100], ["p", 1_000_000, None]]
    with os.fdopen(writer, "w") as terminal, os.fdopen(reader, "rb") as seen:
        fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 40, 0, 0))
        Table(terminal, ["channel", "messages", "last_error"]).write(rows)
        terminal.flush()
        lines = [seen.readline().decode().rstrip() for _ in range(3)]

    assert lines == [
        "CHANNEL  MESSAGES  LAST ERROR",
        "orders         10  " + "x" * 21,
        "p         1000000  -",
    ]


async def test_a_reader_that_has_enough_ends_the_command(
    varco_nats: Command, settings: NatsEventBusSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with NatsEventBus(settings) as bus:
        await bus.publish_many(orders(1000))
    reader, writer = os.pipe()
    os.close(reader)

    with os.fdopen(writer, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        done = await varco_nats("frame", "orders")

    assert (done.code, done.err) == (0, "")


@pytest.mark.parametrize("kind", ["table", "json", "csv"])
async def test_a_stdout_that_is_not_utf_8_takes_every_character(
    environment: dict[str, str], settings: NatsEventBusSettings, kind: str
) -> None:
    async with NatsEventBus(settings) as bus:
        await bus.publish(OrderPlaced(order_id="Zoë ☃"), channel="orders")
    command = [sys.executable, "-m", "varco_nats", "frame", "--format", kind]

    printed = await asyncio.to_thread(
        subprocess.run,
        command,
        env={**environment, "PYTHONIOENCODING": "ascii"},
        check=True,
        capture_output=True,
    )

    wanted = r"Zo\xeb \u2603" if kind == "table" else "Zoë ☃"
    assert wanted in printed.stdout.decode()
    assert printed.stderr == b""


async def test_an_output_that_is_no_plain_file_is_written_to_and_not_replaced(
    varco_nats: Command, settings: NatsEventBusSettings, tmp_path: Path
) -> None:
    await publish_orders(settings)
    pipe, link, file = tmp_path / "pipe", tmp_path / "link.json", tmp_path / "file"
    os.mkfifo(pipe)
    file.write_text("before")
    link.symlink_to(file)

    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert (await varco_nats("frame", "--json", "--output", pipe)).code == 0
        assert os.read(reader, 1 << 16).count(b"\n") == 11
    finally:
        os.close(reader)
    assert pipe.is_fifo()
    assert (await varco_nats("frame", "--output", link)).code == 0
    assert link.is_symlink()
    assert len(file.read_text().splitlines()) == 11
    folder = await varco_nats("frame", "--output", tmp_path)
    assert (folder.code, "is a folder; name a file in it" in folder.err) == (2, True)
    assert sorted(names(tmp_path)) == ["file", "link.json", "pipe"]


async def test_a_misspelled_channel_beside_others_is_named(
    varco_nats: Command, settings: NatsEventBusSettings
) -> None:
    await publish_orders(settings)

    done = await varco_nats("frame", "orders.eu", "order", "--last", "1")

    assert (done.code, len(done.cells)) == (0, 1)
    assert "channel 'order' holds no messages; did you mean 'orders'" in done.err


def test_ctrl_c_before_a_command_is_ready_is_no_traceback(environment: dict[str, str]) -> None:
    ask = (
        "import signal, sys\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name == 'varco_nats.cli':\n"
        "            signal.raise_signal(signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupt())\n"
        "sys.argv[1:] = ['channels']\n"
        "from varco_nats.__main__ import main\n"
        "sys.exit(main())\n"
    )

    ended = subprocess.run(
        [sys.executable, "-c", ask], env=environment, capture_output=True, check=False
    )

    assert (ended.returncode, ended.stderr) == (130, b"")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["frame", "order"], 1, "did you mean 'orders'?"),
        (["frame", "or ders"], 2, "white space"),
        (["frame", "--since", "soon"], 2, "'soon' is not a time; write"),
        (["frame", "--last", "few"], 2, "'few' is neither a number of events nor a time"),
        (["frame", "--last", "0"], 2, "'0' is not a whole number from 1"),
        (["frame", "--since", "1h", "--until", "2h"], 2, "begins after --until"),
        (["frame", "--last", "1", "--since", "1h"], 2, "not allowed with"),
        (["frame", "orders", "--output", "no/such/file"], 1, "no/such/file"),
        (["channels", "--servers", "nats://user:s3cret@127.0.0.1:1"], 1, "no NATS server answered"),
        (["tail", "--servers", "nats://[s3cret"], 2, "is not a server URL"),
        (["frame", "--mask", ""], 2, "names no field, so that nothing would be masked"),
        (["log", "nothing"], 1, "has no run 'nothing'"),
        (["log", "nothing", "--limit", "1"], 2, "--limit is for the list of runs"),
        (["replay", "x"], 2, "'x' is not an entry id"),
        ([], 2, "COMMAND"),
    ],
)
async def test_what_goes_wrong_is_a_sentence(
    varco_nats: Command,
    settings: NatsEventBusSettings,
    arguments: list[str],
    code: int,
    words: str,
) -> None:
    async with NatsEventBus(settings) as bus:
        await bus.publish(OrderPlaced(order_id="1"), channel="orders")

    done = await varco_nats(*arguments)

    assert (done.code, done.out) == (code, "")
    assert words in done.err
    assert "Traceback" not in done.err
    assert "s3cret" not in done.err


async def test_without_the_stream_jetstream_or_the_login(
    varco_nats: Command, settings: NatsEventBusSettings
) -> None:
    done = await varco_nats("channels")
    assert (done.code, done.out) == (1, "")
    assert f"stream '{settings.stream_name}' does not exist on this server; correct" in done.err
    assert "auto_create_stream" not in done.err
    bare = settings.servers.rpartition("@")[2]
    assert "refused the login" in (await varco_nats("channels", "--servers", bare)).err
    with LocalNats(jetstream=False) as server:
        done = await varco_nats("tail", "--servers", server.url)
    assert done.code == 1
    assert "has no JetStream" in done.err


async def test_a_context_of_the_nats_command(
    varco_nats: Command,
    settings: NatsEventBusSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with NatsEventBus(settings) as bus:
        await bus.publish(orders(1)[0][0], channel="orders")
    folder = tmp_path / "nats" / "context"
    folder.mkdir(parents=True)
    (folder / "prod.json").write_text(json.dumps({"url": settings.servers}))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("VARCO_NATS_SERVERS", "nats://127.0.0.1:1")
    assert (await varco_nats("channels", "--context", "prod")).cells[0][0] == "orders"
    (tmp_path / "nats" / "context.txt").write_text("prod")
    assert (await varco_nats("channels", "--context", "")).cells[0][0] == "orders"
    done = await varco_nats("channels", "--context", "pord")
    assert (done.code, "there is none; did you mean 'prod'?" in done.err) == (2, True)


async def test_tail_follows_a_channel_until_ctrl_c_beside_a_broken_plugin(
    environment: dict[str, str], settings: NatsEventBusSettings, nc: Client, tmp_path: Path
) -> None:
    """With such a plugin `varco` ends with its error; `python -m varco_nats` looks at none."""
    (tmp_path / "broken.py").write_text("raise RuntimeError('broken')")
    (tmp_path / "broken-1.dist-info").mkdir()
    (tmp_path / "broken-1.dist-info" / "METADATA").write_text("Name: broken\nVersion: 1\n")
    (tmp_path / "broken-1.dist-info" / "entry_points.txt").write_text(
        "[varco.commands]\nbroken = broken:register\n"
    )
    environment["PYTHONPATH"] = f"{tmp_path}{os.pathsep}{ROOT}"
    await publish_orders(settings)

    tail = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "varco_nats", "tail", "orders", "refunds", "--last", "2", "--json"),
        *("--mask", "event_id"),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert tail.stdout
    assert tail.stderr
    async with asyncio.timeout(60):
        seen = [json.loads(await tail.stdout.readline())["seq"] for _ in range(2)]
        async with NatsEventBus(settings) as bus:
            await bus.publish(OrderPlaced(order_id="of another channel"), channel="orders.eu")
            await bus.publish(OrderPlaced(order_id="new"), channel="orders")
        new = json.loads(await tail.stdout.readline())
        tail.send_signal(signal.SIGINT)
        rest, notes = await tail.communicate()

    assert (seen, new["seq"], new["data"]["order_id"]) == ([9, 10], 13, "new")
    assert new["data"]["event_id"] == "***"
    assert (tail.returncode, rest) == (130, b"")
    assert notes.decode() == (
        "waiting for its first event: channel 'refunds' holds no messages; these channels do: "
        "'orders', 'orders.eu'\n"
    )
    assert (await nc.jetstream().stream_info(settings.stream_name)).state.consumer_count == 0
