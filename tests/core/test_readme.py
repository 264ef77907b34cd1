"""What the README shows works: its Python blocks run, its commands exist.

The blocks of one `##` section run in order as one script, at their own line numbers, and may use
`await` at the top level. Each section has a server of its own, in place of
`nats://localhost:4222`. `<!-- not run: reason -->` before a block leaves it out.
"""

from __future__ import annotations

import ast
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
SHELLS = {"bash", "sh", "shell", "console"}

RUNNER = """
def run():
    # Imported here, so that a block cannot use what it forgot to import.
    import ast, asyncio, inspect, sys
    code = compile(sys.stdin.read(), "README.md", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    async def awaited():
        await eval(code, globals())
    if code.co_flags & inspect.CO_COROUTINE:
        asyncio.run(awaited())
    else:
        exec(code, globals())
run()
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


PYTHON = [block for block in blocks("README.md") if block.language == "python"]
NOT_RUN = [block for block in PYTHON if block.not_run is not None]
SECTIONS = list(dict.fromkeys(block.section for block in PYTHON if block not in NOT_RUN))
CASES = [pytest.param(section, id=section) for section in SECTIONS] + [
    pytest.param("", id=f"line {block.line}", marks=pytest.mark.skip(reason=block.not_run or ""))
    for block in NOT_RUN
]


def script(section: str) -> str:
    """The blocks of `section` as one source, each at its line of the README."""
    lines: list[str] = []
    for block in PYTHON:
        if block.section == section and block not in NOT_RUN:
            lines += [""] * (block.line - 1 - len(lines))
            lines += block.code.splitlines()
    return "\n".join(lines) + "\n"


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


def test_the_readme_has_python_blocks() -> None:
    assert SECTIONS


@pytest.mark.parametrize("section", CASES)
def test_python_blocks_run(section: str, tmp_path: Path) -> None:
    with LocalNats() as server:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", RUNNER],
            input=script(section).replace("nats://localhost:4222", server.url),
            cwd=tmp_path,
            env={name: os.environ[name] for name in os.environ if "NATS_" not in name},
            capture_output=True,
            text=True,
            timeout=80,
        )
    assert done.returncode == 0, done.stderr
    assert "was never" not in done.stderr


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
