"""Sides of a comparison: processes in environments of their own, which work as they are told.

A benchmark is also the script of its sides: `python bench/bus.py --side NAME URL`. The released
package lives in an environment of its own, which is made when it is not there.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

OURS, RELEASED, OTHER = "ours", "released", "against"
RELEASE = "3.2.0"


class Took(NamedTuple):
    """What a piece of work took of a side."""

    seconds: float
    cpu: float
    """Seconds of a core that its process used, which other work on the machine disturbs less."""


class Watch:
    """Measures a piece of work from when it is made."""

    def __init__(self) -> None:
        self._started, self._cpu = time.perf_counter(), time.process_time()

    def took(self) -> Took:
        return Took(time.perf_counter() - self._started, time.process_time() - self._cpu)


class Side:
    """A process that works as it is told.

    Args:
        script: the benchmark, which calls `work_as_told` when it is given `--side`.
    """

    def __init__(self, name: str, python: Path, script: str, url: str) -> None:
        self.name = name
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        self._process = subprocess.Popen(
            [python, script, "--side", name, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def do(self, work: str, *arguments: Any) -> Took:
        """Have it do `work`, a method's name, and wait for that."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([work, *arguments]) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            sys.exit(f"{self.name} failed at {work!r} {arguments}")
        return Took(*json.loads(answer))

    def close(self) -> None:
        self._process.communicate()  # the end of its input is its end


def work_as_told(worker: object) -> None:
    """Call the methods of `worker` that the standard input names, and answer what each took."""
    for line in sys.stdin:
        work, *arguments = json.loads(line)
        job: Callable[..., Any] = getattr(worker, work)
        print(json.dumps(asyncio.run(job(*arguments))), flush=True)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--against", type=Path, help="a checkout with a .venv, or an interpreter")
    parser.add_argument("--side", nargs=2, help=argparse.SUPPRESS)


def interpreters(against: Path | None) -> dict[str, Path]:
    """The interpreters of our side, the released package's, and that of `--against`."""
    pythons = {OURS: Path(sys.executable)}
    if released := _released_python():
        pythons[RELEASED] = released
    if against:
        pythons[OTHER] = against / ".venv" / "bin" / "python" if against.is_dir() else against
    return pythons


def _released_python() -> Path | None:
    wanted = [f"varco-nats=={RELEASE}", *(f"{name}=={version(name)}" for name in _SAME)]
    return python_with(f"varco-nats-{RELEASE}", wanted)


def python_with(name: str, wanted: list[str]) -> Path | None:
    """The interpreter of an environment with what is wanted; None if none can be made.

    Args:
        name: of its folder, within our own environment.
    """
    folder = Path(sys.prefix) / name
    python = folder / "bin" / "python"
    uv = shutil.which("uv")
    make = (
        [uv, "venv", "-q", "--clear", "-p", sys.executable]
        if uv
        else [sys.executable, "-m", "venv"]
    )
    install = (
        [uv, "pip", "install", "-q", "-p", python] if uv else [python, "-m", "pip", "install", "-q"]
    )
    ready = folder / "ready"
    if ready.exists() and ready.read_text() == " ".join(wanted):
        return python
    try:
        subprocess.run([*make, folder], check=True)
        subprocess.run([*install, *wanted], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"measuring without {wanted[0]}, which cannot be installed: {error}")
        return None
    ready.write_text(" ".join(wanted))
    return python


_SAME = ("nats-py", "pydantic", "pydantic-settings", "varco-core")
"""What both sides have in the same version."""
