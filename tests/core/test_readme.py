"""What the README shows works: its Python blocks run, its commands exist.

Each block runs once. Those that use the server at `nats://localhost:4222`, or `await` at the top
level, run from the top of the page to its end on one server: what awaits as the next cell of a
notebook, with the names of its `##` section, the rest as scripts. Any other is a script that needs
no server, or starts its own. `<!-- not run: reason -->` before a block leaves it out.
"""

from __future__ import annotations

import ast
import inspect
import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from varco_core.cli.main import main as varco

from varco_nats.server import LocalNats

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(
    r"(?:^<!--(?P<mark>(?:(?!-->).)*)-->\s*)?^```(?P<language>\w+)[^\n]*\n(?P<code>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
SERVER = "nats://localhost:4222"
SHELLS = {"bash", "sh", "shell", "console"}

PYTHON = [sys.executable, "-W", "error"]
RUNNER = """
import ast, asyncio, json, pathlib, subprocess, sys, types
here = None
with asyncio.Runner() as runner:
    for section, awaits, path in json.load(sys.stdin):
        if not awaits:
            subprocess.run([sys.executable, "-W", "error", path], check=True)
            continue
        if here != section:  # a block uses nothing that another section imported or made
            here, sys.modules["__main__"] = section, types.ModuleType("__main__")
        source = pathlib.Path(path).read_text()
        code = compile(source, path, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        runner.run(eval(code, vars(sys.modules["__main__"])))
"""


@dataclass(frozen=True)
class Block:
    section: str
    line: int
    """Line of its first line of code, from 1."""
    language: str
    code: str
    not_run: str | None
    """Why it is not run, "" if the mark gives no reason."""

    def __str__(self) -> str:
        return f"{self.section}, line {self.line}"

    @property
    def awaits(self) -> bool:
        """Whether it awaits at the top level."""
        code = compile(self.code, "README.md", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        return bool(code.co_flags & inspect.CO_COROUTINE)

    def written(self, folder: Path, server: LocalNats | None = None) -> str:
        """The name of a file in `folder` that holds it, at its lines of the README."""
        code = self.code if server is None else self.code.replace(SERVER, server.url)
        path = folder / f"README_{self.line}.py"
        path.write_text("\n" * (self.line - 1) + code)
        return path.name


def blocks(document: str) -> list[Block]:
    text = (ROOT / document).read_text()
    found = []
    for match in BLOCK.finditer(text):
        titles = re.findall(r"^## +(.*)", text[: match.start()], re.MULTILINE)
        reason = re.fullmatch(r"\s*not run:?(.*)", match["mark"] or "", re.DOTALL)
        found.append(
            Block(
                section=titles[-1] if titles else "",
                line=text.count("\n", 0, match.start("code")) + 1,
                language=match["language"],
                code=match["code"],
                not_run=reason and reason[1].strip(),
            )
        )
    return found


BLOCKS = [block for block in blocks("README.md") if block.language == "python"]
NOT_RUN = [block for block in BLOCKS if block.not_run is not None]
RUN = [block for block in BLOCKS if block.not_run is None]
IN_ORDER = [block for block in RUN if block.awaits or SERVER in block.code]


def commands(document: str) -> list[str]:
    """The `varco` commands in the shell blocks of `document`, options and all."""
    found = []
    for block in blocks(document):
        if block.language in SHELLS:
            for line in block.code.replace("\\\n", " ").splitlines():
                words = line.strip().removeprefix("$ ")
                if match := re.match(r"(?:\w+=\S+ +)*(?:uv run +)?varco +(.*)", words):
                    found.append(match[1])
    return found


def runs(folder: Path, *command: str, stdin: str = "", timeout: float = 80) -> None:
    done = subprocess.run(
        [*PYTHON, *command],
        input=stdin,
        cwd=folder,
        env={name: os.environ[name] for name in os.environ if "NATS_" not in name},
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stderr
    assert "was never" not in done.stderr


@pytest.mark.timeout(300)  # many blocks, each of which may take as long as a test
def test_blocks_run_in_order_on_one_server(tmp_path: Path) -> None:
    assert IN_ORDER
    with LocalNats() as server:
        order = [
            (block.section, block.awaits, block.written(tmp_path, server)) for block in IN_ORDER
        ]
        runs(tmp_path, "-c", RUNNER, stdin=json.dumps(order), timeout=280)


@pytest.mark.parametrize("block", [block for block in RUN if block not in IN_ORDER], ids=str)
def test_blocks_without_a_server_run_as_scripts(block: Block, tmp_path: Path) -> None:
    runs(tmp_path, block.written(tmp_path))


def test_blocks_that_are_not_run_say_why() -> None:
    for block in NOT_RUN:
        assert block.not_run, f"README.md:{block.line}: write <!-- not run: reason -->"
        compile(block.code, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.mark.parametrize("command", [*commands("README.md"), *commands("CONTRIBUTING.md")])
def test_varco_command_exists_with_its_options(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = shlex.split(command, comments=True)
    options = [word.partition("=")[0] for word in words if word.startswith("-")]
    names = words[: words.index(options[0]) if options else len(words)]
    assert varco([*names, "--help"]) == 0
    described = capsys.readouterr().out
    for option in options:
        assert re.search(rf"(?<![\w-]){option}(?![\w-])", described), f"no {option}: {command}"
