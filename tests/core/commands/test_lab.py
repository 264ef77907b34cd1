"""`varco lab`: what it refuses, and a real JupyterLab that it starts, uses and stops."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import nbformat
import psutil
import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from varco_core.cli.main import main as varco

from varco_nats._commands import lab as lab_command

ROOT = Path(__file__).parents[3]
NOTEBOOKS = sorted(path.name for path in (ROOT / "notebooks").glob("*.ipynb"))
VARCO = Path(sys.executable).with_name("varco")
SECRET = "s3cret-pw"
NO_WIDGETS = """
import sys
for name in ("pandas", "ipywidgets", "anywidget", "jupyterlab", "voila", "varco_nats_widgets"):
    sys.modules[name] = None
from varco_core.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def until[T](condition: Callable[[], T], what: str, seconds: float = 80) -> T:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.05)
    pytest.fail(f"no {what} within {seconds} s")


@dataclass
class RunningLab:
    """`varco lab` as a child process, and what a browser would ask it."""

    process: subprocess.Popen[str]
    home: Path
    lines: list[str] = field(default_factory=list)

    @property
    def output(self) -> str:
        return "".join(self.lines)

    @property
    def link(self) -> re.Match[str] | None:
        return re.search(r"(http://localhost:\d+)(/\S*)\?token=(\w+)", self.output)

    def api(self, path: str, method: str = "GET") -> Any:
        link = self.link
        assert link
        request = urllib.request.Request(
            f"{link[1]}/api/{path}",
            method=method,
            headers={"Authorization": f"token {link[3]}"},
            data=b"{}" if method == "POST" else None,
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)

    def answers(self) -> bool:
        assert self.process.poll() is None, self.output
        try:
            return bool(self.link and self.api("status"))
        except OSError:
            return False

    def names(self) -> list[str]:
        return [entry["name"] for entry in self.api("contents")["content"]]

    def run_in_kernel(self, code: str) -> str:
        kernel = self.api("kernels", "POST")["id"]
        [connection] = self.home.rglob(f"kernel-{kernel}.json")
        client = BlockingKernelClient(connection_file=str(connection))
        client.load_connection_file()
        client.start_channels(hb=False)  # a kernel that still starts has no heartbeat yet
        printed: list[str] = []

        def hook(message: dict[str, Any]) -> None:
            printed.append(message["content"].get("text", ""))

        try:
            client.wait_for_ready(timeout=30)
            client.execute_interactive(code, output_hook=hook, timeout=30)
        finally:
            client.stop_channels()
        return "".join(printed)


@pytest.fixture
def clean_environment(tmp_path: Path) -> dict[str, str]:
    """This environment with an empty home, and without settings of Jupyter or the bus."""
    home = tmp_path / "home"
    home.mkdir()
    ours = ("JUPYTER", "IPYTHON", "VARCO_", "NATS_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return kept | {"HOME": str(home)}


@pytest.fixture
def start_lab(clean_environment: dict[str, str]) -> Iterator[Callable[..., RunningLab]]:
    started: list[tuple[RunningLab, threading.Thread]] = []

    def start(*arguments: str, cwd: Path, **environment: str) -> RunningLab:
        process = subprocess.Popen(
            [VARCO, "lab", "--no-browser", *arguments],
            cwd=cwd,
            env=clean_environment | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        lab = RunningLab(process, Path(clean_environment["HOME"]))
        assert process.stdout
        reader = threading.Thread(target=lab.lines.extend, args=(process.stdout,))
        reader.start()
        started.append((lab, reader))
        dashboard = "--dashboard" in arguments
        until(lambda: lab.link if dashboard else lab.answers(), "answer of Jupyter")
        return lab

    yield start
    for lab, reader in started:
        lab.process.terminate()
        lab.process.wait(20)
        reader.join(20)
        assert lab.process.stdout
        lab.process.stdout.close()


@pytest.fixture
def lab_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Runs `varco lab`, which must not come to start JupyterLab; returns exit code and messages."""

    def started(*arguments: object) -> None:
        pytest.fail(f"JupyterLab would have been started: {arguments}")

    def run(*arguments: str, **environment: str) -> tuple[int, str]:
        monkeypatch.setattr(os, "execve", started)
        monkeypatch.chdir(tmp_path)
        monkeypatch.delenv("VARCO_NATS_SERVERS", raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        try:
            code = varco(["lab", "--no-browser", *arguments])
        except SystemExit as ended:
            code = int(ended.code or 0)
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return run


def ended(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.timeout(120)
def test_lab_opens_the_folder_and_ctrl_c_ends_it_with_its_kernels(
    start_lab: Callable[..., RunningLab], tmp_path: Path
) -> None:
    folder = tmp_path / "my notebooks"
    folder.mkdir()
    nbformat.write(nbformat.v4.new_notebook(), folder / "00_quickstart.ipynb")
    servers = f"nats://someone:{SECRET}@localhost:4333,nats://localhost:4334"

    lab = start_lab("--port", "0", "--servers", servers, str(folder), cwd=tmp_path)

    assert lab.names() == ["00_quickstart.ipynb"]
    assert lab.link
    assert lab.link[2] == "/lab/tree/00_quickstart.ipynb"
    assert "NATS: nats://localhost:4333, nats://localhost:4334 (--servers)" in lab.output
    printed = lab.run_in_kernel("import os; print(os.getpid(), os.environ['VARCO_NATS_SERVERS'])")
    kernel, received = printed.split()
    assert received == servers
    command_lines = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
    assert any("jupyterlab" in command_line for command_line in command_lines)
    assert SECRET not in str(command_lines)

    lab.process.send_signal(signal.SIGINT)

    assert lab.process.wait(20) == 0
    until(lambda: ended(int(kernel)), "end of the kernel", 10)
    assert SECRET not in lab.output


@pytest.mark.timeout(120)
def test_a_dashboard_shows_what_a_notebook_prints_and_ctrl_c_ends_it_with_its_kernels(
    start_lab: Callable[..., RunningLab], tmp_path: Path
) -> None:
    code = "import os; print('here', os.getpid(), os.environ['VARCO_NATS_SERVERS'])"
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    nbformat.write(book, tmp_path / "page.ipynb")
    servers = ("--servers", "nats://localhost:4333")

    lab = start_lab("--port", "0", *servers, "--dashboard", "page.ipynb", cwd=tmp_path)

    assert f"Dashboard: {tmp_path / 'page.ipynb'}" in lab.output
    assert lab.link
    with urllib.request.urlopen(lab.link[1], timeout=20) as stranger:
        assert "here" not in stranger.read().decode()  # who has no token is asked for it
    with urllib.request.urlopen(lab.link[0], timeout=80) as visit:
        page = visit.read().decode()
    printed = re.search(r"here (\d+) nats://localhost:4333", page)
    assert printed
    assert "getpid" not in page

    lab.process.send_signal(signal.SIGINT)

    assert lab.process.wait(20) == 0
    until(lambda: ended(int(printed[1])), "end of the kernel", 10)


@pytest.mark.parametrize("notebook", ["nowhere.ipynb", "page.txt"])
def test_a_dashboard_of_no_notebook_is_a_usage_error(
    lab_fails: Callable[..., tuple[int, str]], tmp_path: Path, notebook: str
) -> None:
    (tmp_path / "page.txt").touch()
    code, message = lab_fails("--dashboard", notebook)
    assert code == 2
    assert f"there is no notebook {notebook!r}" in message


@pytest.mark.timeout(120)
def test_lab_in_a_checkout_opens_its_notebooks(start_lab: Callable[..., RunningLab]) -> None:
    lab = start_lab("--port", "0", cwd=ROOT / "tests", VARCO_NATS_SERVERS="localhost:4333")

    expected = {path.name for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert expected <= set(lab.names())
    assert f"Notebooks: {ROOT / 'notebooks'}" in lab.output
    assert "NATS: nats://localhost:4333 (VARCO_NATS_SERVERS)" in lab.output
    port = lab.link and lab.link[1].rpartition(":")[2]
    taken = subprocess.run(
        [VARCO, "lab", "--no-browser", "--port", str(port)],
        env=os.environ | {"HOME": str(lab.home)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert taken.returncode == 1
    assert f"port {port} is not available" in taken.stderr
    assert "NATS: each notebook starts a local server" in taken.stdout


@pytest.mark.timeout(120)
def test_lab_of_an_installed_wheel_opens_copies_of_the_notebooks(
    start_lab: Callable[..., RunningLab], wheel: Path, tmp_path: Path
) -> None:
    installed = tmp_path / "installed"
    with ZipFile(wheel) as archive:
        archive.extractall(installed)
    copies = tmp_path / "varco-notebooks"

    lab = start_lab("--port", "0", cwd=tmp_path, PYTHONPATH=str(installed))

    assert f"Notebooks: {copies}" in lab.output
    assert sorted(lab.names()) == NOTEBOOKS
    assert lab.link
    assert lab.link[2] == "/lab/tree/00_quickstart.ipynb"
    used = psutil.Process(lab.process.pid).environ()["JUPYTER_CONFIG_PATH"]
    assert used == str(installed / "varco_nats" / "_jupyter")  # the wheel ran, not this tree


def test_outside_a_checkout_copies_are_opened(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notebooks").mkdir()
    copies = tmp_path / "varco-notebooks"

    assert lab_command._default_folder(tmp_path) == copies
    assert sorted(path.name for path in copies.iterdir()) == NOTEBOOKS
    assert lab_command._default_folder(copies) == copies
    assert capsys.readouterr().out == ""

    (copies / NOTEBOOKS[1]).write_text("mine")
    assert lab_command._default_folder(tmp_path) == copies
    assert f"differ from the notebooks of this version: {NOTEBOOKS[1]}." in capsys.readouterr().out


def test_only_missing_notebooks_are_copied(tmp_path: Path) -> None:
    source, folder = tmp_path / "source", tmp_path / "folder"
    for each in (source, folder):
        each.mkdir()
    for name in ("changed", "link", "missing", "same"):
        (source / f"{name}.ipynb").write_text(name)
    (source / "notes.txt").write_text("no notebook")
    (folder / "changed.ipynb").write_text("mine")
    (folder / "link.ipynb").symlink_to(tmp_path / "nothing")
    (folder / "own.ipynb").write_text("mine")
    (folder / "same.ipynb").write_text("same")

    assert lab_command._copy_notebooks(source, folder) == ["changed.ipynb", "link.ipynb"]

    texts = {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}
    assert texts == {
        "changed.ipynb": "mine",
        "missing.ipynb": "missing",
        "own.ipynb": "mine",
        "same.ipynb": "same",
    }
    assert not (tmp_path / "nothing").exists()


def test_notebooks_that_cannot_be_copied_are_told(
    lab_fails: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    (tmp_path / "varco-notebooks").write_text("a file, no folder")
    code, message = lab_fails()
    assert code == 1
    assert "the notebooks cannot be copied" in message
    assert str(tmp_path / "varco-notebooks") in message


@pytest.mark.parametrize("port", ["-1", "65536", "eight", "8.5", ""])
def test_port_out_of_range_is_a_usage_error(
    lab_fails: Callable[..., tuple[int, str]], port: str
) -> None:
    code, message = lab_fails(f"--port={port}")
    assert code == 2
    assert f"--port: {port!r} is not a port; use a number from 0 to 65535" in message


@pytest.mark.parametrize("servers", ["http://someone:s3cret-pw@host", "nats://a:b:c", "", "a,,b"])
def test_wrong_servers_are_a_usage_error(
    lab_fails: Callable[..., tuple[int, str]], servers: str
) -> None:
    code, message = lab_fails("--servers", servers)
    assert code == 2
    assert "argument --servers" in message
    assert "like nats://host:4222" in message
    assert SECRET not in message


def test_wrong_servers_in_the_environment_are_refused(
    lab_fails: Callable[..., tuple[int, str]],
) -> None:
    code, message = lab_fails(VARCO_NATS_SERVERS=f"http://someone:{SECRET}@host")
    assert code == 2
    assert "VARCO_NATS_SERVERS" in message
    assert "like nats://host:4222" in message
    assert SECRET not in message


def test_missing_folder_is_a_usage_error(lab_fails: Callable[..., tuple[int, str]]) -> None:
    code, message = lab_fails("nowhere")
    assert code == 2
    assert "there is no folder 'nowhere'" in message


def test_without_the_extras_help_lists_lab_and_lab_says_what_to_install(tmp_path: Path) -> None:
    def varco(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", NO_WIDGETS, *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=80,
        )

    assert "Open JupyterLab on the notebooks" in varco("--help").stdout
    done = varco("lab", "--no-browser")
    assert done.returncode == 1
    assert "pip install 'varco-nats-kit[lab]'" in done.stderr
    (tmp_path / "page.ipynb").touch()
    done = varco("lab", "--no-browser", "--dashboard", "page.ipynb")
    assert done.returncode == 1
    assert "pip install 'varco-nats-kit[dashboard]'" in done.stderr
