"""Kernels that are forked, since most of a kernel's start is importing what every test uses.

What Jupyter starts as a kernel is `ask`. It has `serve`, which has imported everything, fork the
kernel; it passes signals on to the kernel and lives as long as the kernel does.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Thread

_PRELOADED = [
    "ipykernel.kernelapp",
    "varco_nats_widgets.delivery",
    "varco_nats_widgets.lab",
    "varco_nats_widgets.sample",
]


def serve(address: str) -> None:
    """Fork a kernel for each connection to `address`, until a signal ends it."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the kernels
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen()
        for name in _PRELOADED:
            importlib.import_module(name)
        while True:
            asking, _ = listening.accept()
            if not os.fork():
                listening.close()
                _become_kernel(asking)
            asking.close()


def _become_kernel(asking: socket.socket) -> None:
    import ipywidgets
    import pandas
    from ipykernel.kernelapp import IPKernelApp

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    _, outputs, _, _ = socket.recv_fds(asking, 1, 3)
    for number, output in enumerate(outputs):
        os.dup2(output, number)
        os.close(output)
    with asking.makefile("rb") as file:
        request = json.loads(file.readline())
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])

    def obey() -> None:
        while signals := asking.recv(1):
            os.kill(os.getpid(), signals[0])
        os.kill(os.getpid(), signal.SIGKILL)  # whom Jupyter knows as this kernel was killed

    Thread(target=obey, daemon=True).start()
    # the kernel must not end because its parent is not the process that Jupyter says it is
    options = ["-f", request["connection_file"], "--IPKernelApp.parent_handle=0"]
    application = IPKernelApp.instance()
    application.initialize(options)
    # at their import these look whether they are in a kernel
    ipywidgets.load_ipython_extension(application.shell)
    pandas.options.display.max_columns = 20
    application.start()
    sys.exit()


def ask(address: str, connection_file: str) -> None:
    """Have a kernel forked and wait for its end."""
    with socket.socket(socket.AF_UNIX) as kernel:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda number, _: kernel.sendall(bytes([number])))
        kernel.connect(address)
        socket.send_fds(kernel, [b"."], [0, 1, 2])
        request = {
            "connection_file": connection_file,
            "environment": dict(os.environ),
            "folder": str(Path.cwd()),
        }
        kernel.sendall(json.dumps(request).encode() + b"\n")
        kernel.recv(1)


if __name__ == "__main__":
    programs: dict[str, Callable[..., None]] = {"serve": serve, "ask": ask}
    programs[sys.argv[1]](*sys.argv[2:])
