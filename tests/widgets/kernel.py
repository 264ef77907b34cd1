"""A real notebook kernel to run cells in. The failure of one that is silent says where it hangs."""

from __future__ import annotations

import os
import queue
import re
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

_SECONDS = 60
_DUMP = signal.SIGUSR1  # has the kernel write down where each of its threads is
_DUMP_SECONDS = 10


@dataclass
class Cell:
    """What a cell showed."""

    text: str = ""
    error: str = ""
    traceback: str = ""
    displayed: list[dict[str, Any]] = field(default_factory=list)
    """Contents of its display messages, updates among them, in order."""


class Kernel:
    def __init__(self, client: BlockingKernelClient, manager: KernelManager, stacks: Path) -> None:
        self._client = client
        self._manager = manager
        self._stacks = stacks
        self.buttons: list[str] = []
        """The model ids of the buttons that were made."""

    def send(self, code: str, **metadata: Any) -> str:
        """Queue a cell, with metadata as a notebook's application sends them; returns its id."""
        content = {"code": code, "silent": False, "store_history": True, "stop_on_error": True}
        message = self._client.session.msg("execute_request", content, metadata=metadata)
        self._client.shell_channel.send(message)
        return str(message["header"]["msg_id"])

    def run(self, code: str, **metadata: Any) -> Cell:
        return self.finish(self.send(code, **metadata))

    def finish(self, cell: str) -> Cell:
        """Wait until that cell has ended."""
        shown = Cell()
        while True:
            message = self._next()
            if message["parent_header"].get("msg_id") != cell:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "status" and content["execution_state"] == "idle":
                return shown
            if kind == "stream":
                shown.text += content["text"]
            elif kind == "execute_result":
                shown.text += content["data"]["text/plain"]
            elif kind == "error":
                shown.error = f"{content['ename']}: {content['evalue']}"
                shown.traceback = _plain("\n".join(content["traceback"]))
            elif kind in ("display_data", "update_display_data"):
                shown.displayed.append(content)

    def wait_for_display(self, cell: str) -> dict[str, Any]:
        """The next thing that the cell displays."""
        while True:
            message = self._next()
            if message["parent_header"].get("msg_id") == cell:
                if message["msg_type"] == "display_data":
                    return dict(message["content"])
                assert message["msg_type"] != "error", message["content"]["evalue"]

    def wait_for_update(self, text: str) -> dict[str, Any]:
        """The next update of something displayed that has this text."""
        while True:
            message = self._next()
            if message["msg_type"] == "update_display_data":
                content: dict[str, Any] = message["content"]
                if text in content["data"].get("text/html", ""):
                    return content

    def _next(self) -> dict[str, Any]:
        with self.explained():
            message: dict[str, Any] = self._client.get_iopub_msg(timeout=_SECONDS)
        state = message["content"].get("data", {}).get("state", {})
        if message["msg_type"] == "comm_open" and state.get("_model_name") == "ButtonModel":
            self.buttons.append(message["content"]["comm_id"])
        return message

    def replies(self, *cells: str) -> set[str]:
        """Which of the cells were answered, within some seconds."""
        found: set[str] = set()
        until = time.monotonic() + _SECONDS
        while not found >= set(cells) and time.monotonic() < until:
            with self.explained():
                message = self._client.get_shell_msg(timeout=_SECONDS)
            if message["msg_type"] == "execute_reply":
                found.add(message["parent_header"]["msg_id"])
        return found & set(cells)

    def complete(self, code: str) -> list[str]:
        with self.explained():
            reply = self._client.complete(code, len(code), reply=True, timeout=_SECONDS)
        return list(reply["content"]["matches"])

    def inspect(self, code: str, detail: int = 0) -> str:
        """What Shift-Tab shows."""
        with self.explained():
            reply = self._client.inspect(code, len(code), detail, reply=True, timeout=_SECONDS)
        return _plain(reply["content"]["data"]["text/plain"])

    def click(self, model_id: str) -> None:
        """What the browser sends when a button is clicked."""
        data = {"method": "custom", "content": {"event": "click"}}
        message = self._client.session.msg("comm_msg", {"comm_id": model_id, "data": data})
        self._client.shell_channel.send(message)

    def interrupt(self) -> None:
        self._manager.interrupt_kernel()

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Where the kernel is silent, fail with the place at which each of its threads is."""
        try:
            yield
        except (queue.Empty, TimeoutError, RuntimeError) as error:
            raise AssertionError(f"the kernel is silent ({error!r})\n{self._where()}") from None

    def _where(self) -> str:
        if not self._manager.is_alive():
            return "its process has ended"
        self._manager.signal_kernel(_DUMP)
        until = time.monotonic() + _DUMP_SECONDS
        seen = ""
        while (not seen or seen != self._stacks.read_text()) and time.monotonic() < until:
            seen = self._stacks.read_text()
            time.sleep(0.1)
        return seen or "and says not where: it has not begun, or stands still"


def _plain(text: str) -> str:
    """`text` without its colours."""
    return re.sub(r"\x1b\[[\d;]*m", "", text)


@contextmanager
def kernel() -> Iterator[Kernel]:
    with TemporaryDirectory() as folder:
        yield from _started(Path(folder))


def _started(folder: Path) -> Iterator[Kernel]:
    stacks = folder / "stacks"
    stacks.touch()
    register = (
        f"import faulthandler; faulthandler.register({int(_DUMP)}, open({str(stacks)!r}, 'w'))"
    )
    manager = KernelManager()
    assert manager.kernel_spec is not None
    manager.kernel_spec.argv[0] = sys.executable
    manager.start_kernel(
        extra_arguments=[f"--IPKernelApp.exec_lines={register}"],
        # jedi's cache is no place for two kernels at once: where one reads what the other is
        # writing, Tab offers nothing
        env=os.environ | {"XDG_CACHE_HOME": str(folder)},
    )
    client = manager.client()
    try:
        client.start_channels()
        started = Kernel(client, manager, stacks)
        with started.explained():
            client.wait_for_ready(timeout=_SECONDS)
        yield started
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        client.context.destroy()
