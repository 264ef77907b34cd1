"""JupyterLab as a child process, and a page of it that tests drive; see `conftest.py`."""

from __future__ import annotations

import ast
import asyncio
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import nbformat
import psutil
from playwright.async_api import (
    ConsoleMessage,
    Dialog,
    Error,
    Locator,
    Page,
    Request,
    ViewportSize,
)

from tests.waiting import until
from varco_nats.config import NatsEventBusSettings

NOISE = {
    "a kernel that is shut down closes its web socket": r"WebSocket connection to .* failed",
    "a kernel that restarts or ends drops what JupyterLab asked of it": (
        r"(Could not restore the debugger state|Per comm-target subshell creation failed): "
        r".*Canceled future for (debug|create_subshell)_request"
    ),
    "a saved widget is not in the kernel that is there now": r"widget model not found",
    "a notebook that is opened without a kernel has no session": (
        r"Cannot read properties of null \(reading 'kernel'\)"
    ),
    "JupyterLab asks for what is not there yet": (
        r"Failed to load resource: the server responded with a status of 40[04] .*"
        r"/(api/(workspaces|contents|sessions|kernels|nbconvert)|lab/api/workspaces)"
    ),
}
"""Console errors of JupyterLab itself: why, and how they read (message and address)."""

ARGUMENTS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--proxy-server=127.0.0.1:1",  # nothing listens there, and loopback needs no proxy
]
"""For a headless Chromium that reaches nothing but loopback."""

VIEWPORT: ViewportSize = {"width": 1280, "height": 900}

_NOTEBOOKS = Path(__file__).parents[2] / "notebooks"

_KERNELS = [sys.executable, "-P", str(Path(__file__).with_name("kernels.py"))]

_START = 120  # seconds JupyterLab may take to start, or a page of it to load

_SETTINGS: dict[str, dict[str, Any]] = {
    "@jupyterlab/apputils-extension/notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
        "doNotDisturbMode": True,
    },
    "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none"},  # all cells are there
    "@jupyterlab/docmanager-extension/plugin": {"autosave": False},
}

_PANEL = """
const panel = [...window.jupyterapp.shell.widgets('main')]
    .find((widget) => widget.context?.path === path);
const cells = panel?.content?.widgets;
"""


def find_chromium() -> str | None:
    """The path of a Chromium, if there is one."""
    named = os.environ.get("CHROMIUM")
    names = [named] if named else ["chromium", "chromium-browser", "google-chrome"]
    return next(filter(None, map(shutil.which, names)), None)


def lab_on(settings: NatsEventBusSettings, *, read_only: bool = False) -> str:
    """Python that makes a `Lab` on the server and streams of a test."""
    same = {
        name: getattr(settings, name)
        for name in ("servers", "stream_name", "subject_prefix", "durable_name")
    }
    return (
        "from varco_nats.config import NatsEventBusSettings\n"
        "from varco_nats_widgets import Lab, load\n"
        f"lab = Lab(NatsEventBusSettings(**{same!r}), read_only={read_only})"
    )


class JupyterServer:
    """JupyterLab on loopback, whose kernels are forked (see `kernels.py`).

    Args:
        root: a folder of its own; notebooks, home, settings and log go there.
    """

    def __init__(self, root: Path) -> None:
        self.notebooks = root / "notebooks"
        self.token = secrets.token_hex(16)
        self.log = root / "jupyter.log"
        self._home = root / "home"
        self._kernels = root / "kernels"  # the socket of the process that forks them
        self._processes: list[subprocess.Popen[bytes]] = []
        self._requests = ThreadPoolExecutor(1)
        self._ending: list[Future[Any]] = []
        self.url = ""

    def __enter__(self) -> Self:
        self._prepare()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        try:
            self._start(*_KERNELS, "serve", str(self._kernels))
            self._start(*self._command(port))
            self._wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._requests.shutdown()
        found = [psutil.Process(process.pid) for process in self._processes]
        below = [child for process in found for child in process.children(recursive=True)]
        for process in reversed(self._processes):  # JupyterLab first, which ends its kernels
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for child in psutil.wait_procs(below, timeout=5)[1]:
            child.kill()

    def request(self, method: str, path: str) -> Any:
        """A call of Jupyter's REST API."""
        request = urllib.request.Request(
            f"{self.url}/{path}", headers={"Authorization": f"token {self.token}"}, method=method
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            body = answer.read()
        return json.loads(body) if body else None

    def end_kernels(self) -> None:
        """Have every kernel shut down, without waiting for it."""
        for earlier in self._ending:
            earlier.result()
        self._ending = [
            self._requests.submit(self.request, "DELETE", f"api/sessions/{session['id']}")
            for session in self.request("GET", "api/sessions")
        ]

    def _prepare(self) -> None:
        self.notebooks.mkdir()
        settings = self._home / "lab" / "user-settings"
        for name, values in _SETTINGS.items():
            path = settings / f"{name}.jupyterlab-settings"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(values))
        config = self._home / "config" / "labconfig"
        config.mkdir(parents=True)
        page = {
            "disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True},
            "buildCheck": False,  # which runs Node.js
        }
        (config / "page_config.json").write_text(json.dumps(page))
        kernel = self._home / "data" / "kernels" / "python3"
        kernel.mkdir(parents=True)
        specification = {
            "argv": [*_KERNELS, "ask", str(self._kernels), "{connection_file}"],
            "display_name": "Python 3",
            "language": "python",
            "metadata": {"debugger": True},
        }
        (kernel / "kernel.json").write_text(json.dumps(specification))

    def _start(self, *command: str) -> None:
        with self.log.open("ab") as log:
            started = subprocess.Popen(
                command,
                cwd=self.notebooks,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._processes.append(started)

    def _command(self, port: int) -> list[str]:
        return [
            *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"),
            *("--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", "--ServerApp.port_retries=0"),
            f"--ServerApp.root_dir={self.notebooks}",
            f"--IdentityProvider.token={self.token}",
            "--LabApp.expose_app_in_browser=True",
            "--LabApp.news_url=None",
            "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
            "--LabApp.extension_manager=readonly",
        ]

    def _environment(self) -> dict[str, str]:
        ours = ("JUPYTER", "IPYTHON", "VARCO_NATS_", "NATS_", "PYTEST_", "XDG_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        folders = {
            "HOME": "",
            "JUPYTER_CONFIG_DIR": "config",
            "JUPYTER_DATA_DIR": "data",
            "JUPYTER_PATH": "data",  # where kernels are looked for first
            "JUPYTER_RUNTIME_DIR": "runtime",
            "JUPYTERLAB_SETTINGS_DIR": "lab/user-settings",
            "JUPYTERLAB_WORKSPACES_DIR": "lab/workspaces",
            "IPYTHONDIR": "ipython",
            "MPLCONFIGDIR": "matplotlib",
        }
        return {**kept, **{name: str(self._home / path) for name, path in folders.items()}}

    def _wait(self) -> None:
        end = time.monotonic() + _START
        while True:
            try:
                self.request("GET", "api/status")
            except OSError:
                ended = [process for process in self._processes if process.poll() is not None]
                if ended or time.monotonic() > end:
                    text = self.log.read_text(errors="replace")[-3000:]
                    raise AssertionError(f"JupyterLab did not start:\n{text}") from None
                time.sleep(0.1)
            else:
                return


class Notebook:
    """A page of JupyterLab and the notebook that is open in it. Cells are counted from 0.

    Attributes:
        page: Playwright's page.
        path: of the notebook, below the folder that JupyterLab serves.
        console: errors in the browser's console, and exceptions of the page, that no one expects.
        refused: addresses outside loopback that the page asked for.
        dialogs: what the page said in dialogs, which were dismissed.
        reusable: whether another test can use the page; set it to False where that is not so.
    """

    def __init__(self, page: Page, server: JupyterServer) -> None:
        self.page = page
        self.server = server
        self.path = ""
        self.console: list[str] = []
        self.refused: list[str] = []
        self.dialogs: list[str] = []
        self.reusable = True

    async def start(self) -> None:
        """Load JupyterLab."""
        self.page.on("console", self._on_console)
        self.page.on("pageerror", self._on_page_error)
        self.page.on("request", self._on_request)
        self.page.on("dialog", self._on_dialog)
        await self._load()

    async def _load(self) -> None:
        workspace = f"t-{secrets.token_hex(4)}"
        url = f"{self.server.url}/lab/workspaces/{workspace}?reset&token={self.server.token}"
        await self.page.goto(url)
        await self.page.wait_for_function(
            "() => window.jupyterapp?.restored.then(() => true)", timeout=_START * 1000
        )
        await self.page.evaluate("() => window.jupyterapp.shell.collapseLeft()")

    async def reset(self) -> None:
        """Bring the page to what a test begins with."""
        for noted in (self.console, self.refused, self.dialogs):
            noted.clear()
        await self.page.set_viewport_size(VIEWPORT)
        await self.set_theme("JupyterLab Light")

    async def close(self) -> None:
        """Close all that is open in the page, unsaved, and end its kernels."""
        # what is hidden first: a toolbar that is shown and then disposed of at once raises
        await self.page.evaluate("""
            [...window.jupyterapp.shell.widgets('main')]
                .sort((left, right) => left.isVisible - right.isVisible)
                .forEach((widget) => widget.dispose());
        """)
        await asyncio.to_thread(self.server.end_kernels)

    # --- a notebook -------------------------------------------------------------------------------

    async def new(self, *cells: str) -> None:
        """Make and open a notebook with these code cells, in a folder of its own."""
        book = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(cell) for cell in cells],
            metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
        )
        await self._open("new.ipynb", nbformat.writes(book))

    async def open(self, name: str) -> None:
        """Open a copy of a notebook of the repository, in a folder of its own."""
        await self._open(name, (_NOTEBOOKS / name).read_text())

    async def _open(self, name: str, text: str) -> None:
        """Write and open a notebook, start its kernel and wait until it is idle."""
        folder = self.server.notebooks / secrets.token_hex(4)
        folder.mkdir()
        (folder / name).write_text(text)
        self.path = f"{folder.name}/{name}"
        await self._reveal()
        await self.idle()

    async def reopen(self, path: str, *, kernel: bool = False) -> None:
        """Close all that is open, and open a saved notebook, with a new kernel or with none."""
        await self.close()
        self.path = path
        await self._reveal({} if kernel else {"kernelPreference": {"shouldStart": False}})
        if kernel:
            await self.idle()

    async def leave(self) -> None:
        """Save the notebook and leave its page, as one who closes the tab; the kernel goes on."""
        await self.save()
        await self.page.goto("about:blank")

    async def come_back(self, shown: Locator) -> None:
        """Open the notebook, after `leave`, with the kernel that it had, until `shown` is drawn.

        Before that, JupyterLab asks the kernel for all of its widgets, and the saved picture is
        what is seen: for many seconds where the kernel is slow to answer.
        """
        await self._load()
        await self._reveal()
        await self._panel("await panel.sessionContext.ready;")
        await shown.wait_for(timeout=_START * 1000)

    async def restart_kernel(self) -> None:
        await self._panel("await panel.sessionContext.restartKernel();")
        await self.idle()

    async def interrupt_kernel(self) -> None:
        await self._panel("await panel.sessionContext.session.kernel.interrupt();")
        await self.idle()

    async def save(self) -> dict[str, Any]:
        """Save the notebook and return what is in the file."""
        await self._panel("await panel.context.save();")
        saved: dict[str, Any] = json.loads((self.server.notebooks / self.path).read_text())
        return saved

    async def idle(self, timeout: float = _START) -> None:
        """Wait until the kernel is idle.

        Raises:
            AssertionError: it is not within `timeout` seconds.
        """

        async def idle() -> bool:
            status = await self._panel("return panel.sessionContext.session?.kernel?.status")
            return bool(status == "idle")

        await until(idle, timeout, every=0.05)

    async def run_all(self, timeout: float = _START) -> None:
        """Run every cell and wait until the last is done. It stops at a cell that fails."""
        async with asyncio.timeout(timeout):
            await self._panel("""
                window.jupyterapp.shell.activateById(panel.id);
                await window.jupyterapp.commands.execute('notebook:run-all-cells');
            """)
        await self.idle()

    async def run_cell(self, index: int, *, wait: bool = True, timeout: float = _START) -> None:
        """Run a cell; `wait=False` only starts it."""
        async with asyncio.timeout(timeout):
            done = await self._panel(
                """
                window.jupyterapp.shell.activateById(panel.id);
                panel.content.deselectAll();
                panel.content.activeCellIndex = index;
                const done = window.jupyterapp.commands.execute('notebook:run-cell');
                if (wait) await done;
                """,
                index=index,
                wait=wait,
            )
            assert done is None
        if wait:
            await self.idle(timeout)

    async def add_cell(self, source: str, *, run: bool = True) -> int:
        """Append a code cell, run it, and return its index."""
        index: int = await self._panel(
            """
            const {sharedModel} = panel.content.model;
            sharedModel.insertCell(cells.length, {cell_type: 'code', source});
            return cells.length - 1;
            """,
            source=source,
        )
        if run:
            await self.run_cell(index)
        return index

    async def value(self, expression: str) -> str:
        """The `repr` of a Python expression, evaluated in the kernel after what runs there now.

        Raises:
            AssertionError: it raised.
        """
        result: dict[str, Any] = await self._panel(
            """
            const future = panel.sessionContext.session.kernel.requestExecute({
                code: '', silent: false, store_history: false,
                user_expressions: {value: expression}});
            return (await future.done).content.user_expressions.value;
            """,
            expression=f"repr({expression})",
        )
        assert result["status"] == "ok", f"{result['ename']}: {result['evalue']}"
        return str(ast.literal_eval(result["data"]["text/plain"]))

    async def wait_for(self, expression: str, wanted: object, timeout: float = 60) -> None:
        """Wait until `value(expression)` is `repr(wanted)`."""
        text = ""

        async def has_value() -> bool:
            nonlocal text
            text = await self.value(expression)
            return text == repr(wanted)

        try:
            await until(has_value, timeout, every=0.03)
        except AssertionError:
            raise AssertionError(f"{expression} is {text}, not {wanted!r}") from None

    # --- what is seen -----------------------------------------------------------------------------

    def cell(self, index: int) -> Locator:
        """The outputs of a cell, as they are drawn."""
        return (
            self.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Notebook .jp-Cell")
            .nth(index)
            .locator(".jp-Cell-outputArea")
        )

    async def outputs(self, index: int) -> list[dict[str, Any]]:
        """The outputs of a cell as the notebook's file would have them."""
        found: list[dict[str, Any]] = await self._panel(
            "return cells[index].model.outputs?.toJSON() ?? [];", index=index
        )
        return found

    async def text(self, index: int) -> str:
        """The plain text of a cell's outputs, without those that are empty by now."""
        parts = []
        for output in await self.outputs(index):
            text = output.get("text") or output.get("data", {}).get("text/plain") or ""
            parts.append("".join(text))
        return "\n".join(filter(None, parts))

    async def errors(self) -> list[str]:
        """What cells raised: `cell 3: ValueError: ...`."""
        count: int = await self._panel("return cells.length;")
        return [
            f"cell {index}: {output['ename']}: {output['evalue']}"
            for index in range(count)
            for output in await self.outputs(index)
            if output["output_type"] == "error"
        ]

    @asynccontextmanager
    async def seen_shortly(self, selector: str, text: str) -> AsyncIterator[None]:
        """Wait until an element has shown a text since the block began, even for a moment."""
        watch = await self.page.evaluate_handle(
            """([selector, text]) => ({seen: new Promise((done) => {
                const look = () => {
                    const found = [...document.querySelectorAll(selector)];
                    if (!found.some((node) => node.textContent.includes(text))) return;
                    observer.disconnect();
                    done();
                };
                const observer = new MutationObserver(look);
                observer.observe(
                    document.body, {subtree: true, childList: true, characterData: true});
            })})""",
            [selector, text],
        )
        yield
        async with asyncio.timeout(_START):
            await watch.evaluate("({seen}) => seen")

    async def set_theme(self, name: str) -> None:
        """Switch JupyterLab's theme: `JupyterLab Dark`, `JupyterLab Light`."""
        # a second change under the splash of the first makes JupyterLab remove it twice
        await self.page.wait_for_function("() => !document.getElementById('jupyterlab-splash')")
        await self.page.evaluate(
            "theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})", name
        )
        await self.page.wait_for_function(
            "name => document.body.dataset.jpThemeName === name", arg=name
        )
        await self.page.wait_for_function("() => document.body.clientWidth > 0")

    async def screenshot(self, path: str | Path, index: int | None = None) -> None:
        """A PNG of the page, or of the outputs of a cell."""
        target: Page | Locator = self.page if index is None else self.cell(index)
        await target.screenshot(path=path)

    # --- within -----------------------------------------------------------------------------------

    async def _reveal(self, options: dict[str, Any] | None = None) -> None:
        """Open the notebook, and wait until it is drawn."""
        # JupyterLab may drop what it returns, and Chromium raises for a promise that nobody keeps
        await self._panel(
            "window.jupyterapp.commands.execute('docmanager:open', {path, ...options});",
            options=options or {},
        )

        async def is_drawn() -> bool:
            return bool(await self._panel("return panel?.context.isReady && panel.isRevealed"))

        await until(is_drawn, _START, every=0.05)

    async def _panel(self, body: str, **values: Any) -> Any:
        """Run JavaScript with `panel` and `cells` of this notebook, and `values`."""
        names = ", ".join(["path", *values])
        return await self.page.evaluate(
            f"async ({{{names}}}) => {{ {_PANEL} {body} }}", {"path": self.path, **values}
        )

    def _on_request(self, request: Request) -> None:
        if urlsplit(request.url).hostname not in ("127.0.0.1", None):
            self.refused.append(request.url)

    async def _on_dialog(self, dialog: Dialog) -> None:
        self.dialogs.append(dialog.message)
        await dialog.dismiss()

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self._note(f"{message.text} {message.location.get('url', '')}")

    def _on_page_error(self, error: Error) -> None:
        self._note(f"{error.name}: {error.message}")

    def _note(self, text: str) -> None:
        if not any(re.search(known, text) for known in NOISE.values()):
            self.console.append(text)
