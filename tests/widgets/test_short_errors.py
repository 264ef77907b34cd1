"""How an error is shown in a notebook, in a terminal's IPython and in plain Python."""

from __future__ import annotations

import subprocess
import sys
import traceback
from collections.abc import Iterator

import pytest

from tests.widgets.kernel import Kernel, kernel
from varco_nats.errors import PublishError, StreamNotFoundError

WHOLE = "%tb shows the whole traceback"
SETUP = """
import asyncio
from varco_nats.errors import PermissionDeniedError, PublishError, ReplayError
from varco_nats_widgets import Lab
lab = Lab()
def helper(name):
    return lab.frame(name)
"""


@pytest.fixture(scope="module")
def notebook() -> Iterator[Kernel]:
    with kernel() as started:
        assert started.run(SETUP).error == ""
        yield started
        assert started.run("lab.close()").error == ""


NOTHING = "UnknownChannelError: channel 'nix' holds no messages; no channel holds any yet"


@pytest.mark.timeout(180)  # it starts a kernel
@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("lab['nix']", [NOTHING, "line 1: lab['nix']"]),
        ("x = 1\nawait lab.aio.frame(\n  'nix')", [NOTHING, "line 2: await lab.aio.frame("]),
        # a function of the user's between the cell and this package
        ("helper('nix')", [NOTHING, "line 1: helper('nix')", ": return lab.frame(name)"]),
        ("%%time\n\nhelper('nix')", [NOTHING, None, "<timed ", ": return lab"]),
        # errors of Python's own classes
        (
            "lab.frame('x', last='soon')",
            ["ValueError: last='soon' is not a duration; write '90s'", "line 1: lab.frame('x'"],
        ),
        ("lab.frame(7)", ["TypeError: channel=7: must be a name", "line 1: lab.frame(7)"]),
        (
            "await lab.aio.frame('x', lats='1h')",
            ["TypeError: Lab.frame() got an unexpected keyword argument 'lats'", "line 1: await"],
        ),
        ("Lab(4222)", ["TypeError: Lab takes a URL", "line 1: Lab(4222)"]),
        ("lab.explore(page_size=0)", ["ValueError: page_size=0", "line 1: lab.explore(page_si"]),
        # before there is a lab
        ("Lab('nats://127.0.0.1:1')", ["ServerUnreachableError: no NATS server", "line 1: Lab("]),
        # what caused it, where that is the user's or has something to say
        (
            "try:\n  1 / 0\nexcept Exception as error:\n  raise ReplayError('no') from error",
            [
                "ReplayError: no",
                "line 4: raise ReplayError",
                "caused by ZeroDivisionError: division by zero",
                "line 2: 1 / 0",
            ],
        ),
        (
            "raise PublishError('x', 1, 'no') from PermissionDeniedError('publish', 'a')",
            [
                "PublishError: the event for channel 'x' is not known to be stored after 1 attempt",
                "line 1: raise PublishError",
                "caused by PermissionDeniedError: the NATS server does not let this login publish",
            ],
        ),
    ],
)
def test_an_error_is_a_sentence_and_the_users_line(
    notebook: Kernel, code: str, shown: list[str | None]
) -> None:
    cell = notebook.run(code)
    lines = cell.traceback.splitlines()
    assert len(lines) == len(shown) + 1
    for line, wanted in zip(lines, shown, strict=False):
        assert wanted is None or wanted in line
    assert lines[-1] == WHOLE
    assert lines[0] == cell.error

    whole = notebook.run("%tb").traceback
    assert "Traceback (most recent call last)" in whole
    assert "---->" in whole
    assert whole.endswith(lines[0])


@pytest.mark.timeout(180)
def test_an_error_of_the_users_keeps_its_traceback(notebook: Kernel) -> None:
    assert WHOLE not in notebook.run("int('x')").traceback
    # raised by a function that this package calls
    cell = notebook.run("def names():\n  yield 'a'\n  raise ValueError('mine')\nlab.frame(names())")
    assert cell.error == "ValueError: mine"
    assert "Traceback (most recent call last)" in cell.traceback
    # which IPython shows as Python does
    group = "async with asyncio.TaskGroup() as tasks:\n  tasks.create_task(lab.aio.frame('nix'))"
    assert NOTHING in notebook.run(group).text


@pytest.mark.timeout(180)
def test_another_mode_shows_what_it_always_shows(notebook: Kernel) -> None:
    notebook.run("%xmode Minimal")
    assert notebook.run("lab['nix']").traceback.strip() == NOTHING
    notebook.run("%xmode Plain")
    assert "in __getitem__" in notebook.run("lab['nix']").traceback
    notebook.run("%xmode Context")
    assert notebook.run("lab['nix']").traceback.endswith(WHOLE)


@pytest.mark.timeout(180)
def test_what_a_message_holds_moves_no_cursor(notebook: Kernel) -> None:
    cell = notebook.run("raise ReplayError('a\\x1b[2Jb\\rc\\nd')")
    assert cell.traceback.startswith("ReplayError: a\\x1b[2Jb\\rc\nd\n")


def test_in_a_terminal_without_colours() -> None:
    code = "from varco_nats.errors import StreamNotFoundError\nraise StreamNotFoundError('nix')"
    done = subprocess.run(
        [sys.executable, "-m", "IPython", "--colors=nocolor", "--no-banner", "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    lines = done.stdout.strip().splitlines()
    assert lines[0].startswith("StreamNotFoundError: stream 'nix' does not exist; set auto_")
    assert lines[1].endswith("line 2: raise StreamNotFoundError('nix')")
    assert lines[2:] == [WHOLE]


def test_nothing_changes_outside_of_ipython() -> None:
    error = PublishError("x", 1, "no")
    error.__cause__ = StreamNotFoundError("nix")
    assert error._render_traceback_() == traceback.format_exception(error)
