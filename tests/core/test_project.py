"""The project itself: what is committed, what is pinned, what is public, what imports what."""

from __future__ import annotations

import ast
import importlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from difflib import unified_diff
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.processes import run_python
from tests.public_api import LIST, public_api

ROOT = Path(__file__).parents[2]
CORE = ROOT / "varco_nats"
WIDGETS = ROOT / "widgets" / "varco_nats_widgets"
PACKAGES = [CORE, WIDGETS]
NOT_IN_CORE = {
    "varco_nats_widgets",
    "pandas",
    "pyarrow",
    "ipywidgets",
    "anywidget",
    "matplotlib",
}

# Joined from parts, so that this file does not hold what it looks for.
REGISTRIES = [
    ".".join(parts).encode()
    for parts in [
        ("pypi", "org"),
        ("pypi", "python", "org"),
        ("pythonhosted", "org"),
        ("npmjs", "org"),
        ("npmjs", "com"),
        ("yarnpkg", "com"),
        ("anaconda", "org"),
    ]
]
MACHINE_PATH = re.compile(rb"(?<![\w.*$}>-])/(?:root|work|workspace|home/\w+|Users/\w+|opt/pypi)\b")


def by_git() -> list[Path]:
    listed = subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-coz", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    return [ROOT / name for name in listed.stdout.decode().split("\0") if name]


def by_walking() -> Iterator[Path]:
    """What git would list, for a tree without git."""
    lines = (ROOT / ".gitignore").read_text().splitlines()
    ignored = [line.strip("/") for line in lines if line]
    for folder, folders, files in ROOT.walk():
        for names in (folders, files):
            names[:] = [n for n in names if not any(fnmatch(n, pattern) for pattern in ignored)]
        yield from (folder / name for name in files)


def committed() -> list[Path]:
    paths = by_git() if (ROOT / ".git").exists() else by_walking()
    return sorted(path for path in paths if path.is_file())


def imported(path: Path) -> Iterator[str]:
    """Every module that `path` imports, also inside functions and type-checking blocks."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def test_no_committed_file_names_a_package_registry() -> None:
    found = {
        (str(path.relative_to(ROOT)), host.decode())
        for path in committed()
        for host in REGISTRIES
        if host in path.read_bytes()
    }
    assert not found


def test_no_committed_file_holds_a_path_of_a_machine() -> None:
    found = {
        (str(path.relative_to(ROOT)), match[0].decode())
        for path in committed()
        for match in MACHINE_PATH.finditer(path.read_bytes())
    }
    assert not found


def pinned(lock: str) -> dict[str, str]:
    """The whole line of each package."""
    lines = {}
    for line in (ROOT / lock).read_text().splitlines():
        if line and not line.lstrip().startswith("#"):
            pin = re.fullmatch(r"([a-z0-9][a-z0-9-]*)==[\w.!+]+( ; [\w '=!<>.()]+)?", line)
            assert pin, f"not one pinned version: {line!r}"
            lines[pin[1]] = line
    return lines


def names(requirements: Iterable[object]) -> set[str]:
    """Without what a group includes of another one."""
    lines = [line for line in requirements if isinstance(line, str)]
    return {re.match(r"[\w-]+", line)[0].lower() for line in lines}  # type: ignore[index]


def test_the_locks_pin_every_dependency_at_equal_versions() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project, groups = declared["project"], declared["dependency-groups"]
    ours = {project["name"]}
    of_lab = names(
        [
            *declared["build-system"]["requires"],
            *project["dependencies"],
            *(line for extra in project["optional-dependencies"].values() for line in extra),
            *groups["lab"],
        ]
    )
    of_tests = names(groups["dev"])
    lab, dev = pinned("requirements.lock"), pinned("requirements-dev.lock")

    assert of_lab - ours <= lab.keys()
    assert of_lab | of_tests <= dev.keys() | ours
    assert lab.items() <= dev.items()
    assert ours.isdisjoint(dev)
    # what weighs most and only tests and tools use
    assert lab.keys().isdisjoint({"duckdb", "mypy", "playwright", "polars", "pytest", "ruff"})


@pytest.fixture
def make_lab(tmp_path: Path) -> Callable[[], subprocess.CompletedProcess[str]]:
    """Runs `make lab` in a folder that has what the set-up reads, without a network."""
    for name in ("Makefile", "pyproject.toml", ".python-version"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "requirements.lock").write_text("varco-nats-kit==0.0.0\n")  # there is no such

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["make", "lab"],
            cwd=tmp_path,
            env={
                # not what this test was started with
                **{k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "ARGS"))},
                "PATH": f"{ROOT / '.tools/bin'}{os.pathsep}{os.environ['PATH']}",
                "UV_OFFLINE": "1",
                "UV_PYTHON": sys.executable,
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=80,
        )

    return run


def test_a_step_of_the_set_up_that_fails_says_which_and_what_to_do(
    make_lab: Callable[[], subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    for _ in range(2):  # what failed is not taken for done
        failed = make_lab()
        assert failed.returncode != 0
        assert re.search(r"^Python in \.venv: \d+ s$", failed.stdout, re.MULTILINE)
        assert "varco lab" not in failed.stdout
        step = "Packages that requirements.lock pins"
        assert f"The set-up failed at this step: {step}. Why stands above." in failed.stderr
        assert "varco-nats-kit==0.0.0" in failed.stderr


@pytest.mark.parametrize("done", [".ready-lab", ".ready"])
def test_a_second_start_sets_nothing_up(
    make_lab: Callable[[], subprocess.CompletedProcess[str]], tmp_path: Path, done: str
) -> None:
    """Not after `make test` either, which installed more."""
    program = tmp_path / ".venv/bin/varco"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\necho started $1\n")
    program.chmod(0o755)
    shutil.copy(ROOT / "requirements-dev.lock", tmp_path)
    (tmp_path / ".venv" / done).touch()

    started = make_lab()
    assert started.stdout.split() == [".venv/bin/varco", "lab", "started", "lab"]
    assert (started.returncode, started.stderr) == (0, "")


def sorting_key(name: str) -> tuple[int, str]:
    """Constants, then classes, then the rest: the order that ruff keeps `__all__` in."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_public_names_are_sorted_and_are_what_the_package_imports(package: Path) -> None:
    tree = ast.parse((package / "__init__.py").read_text())
    names = [
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        if node.level or (node.module or "").split(".")[0] in (CORE.name, WIDGETS.name)
        for alias in node.names
    ]
    module = importlib.import_module(package.name)

    public = module.__all__
    assert list(public) == sorted(set(public), key=sorting_key)
    assert [name for name in public if not hasattr(module, name)] == []
    assert set(public) - {"__version__"} == {name for name in names if not name.startswith("_")}


def test_the_public_names_and_parameters_are_as_listed() -> None:
    """`tests/public_api.txt` changes on purpose only; `tests/public_api.py` says how."""
    listed, found = LIST.read_text().splitlines(), public_api().splitlines()
    assert "\n".join(unified_diff(listed, found, "listed", "found", lineterm="", n=0)) == ""


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_the_list_of_a_folder_can_be_read(package: Path) -> None:
    sizes = Counter(path.parent for path in package.rglob("*.py"))
    assert [folder for folder, modules in sizes.items() if modules > 21] == []


@pytest.mark.parametrize("path", sorted(CORE.rglob("*.py")), ids=lambda path: path.name)
def test_core_never_imports_the_widgets_or_what_they_need(path: Path) -> None:
    assert {name.split(".")[0] for name in imported(path)} & NOT_IN_CORE == set()


def test_importing_all_of_the_core_loads_no_notebook_package() -> None:
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in CORE.rglob("*.py")
        if path.stem not in ("__init__", "_guard")  # a program, which imports nothing of ours
    ]
    code = f"import sys, {', '.join(modules)}; print(*sys.modules)"
    done = run_python(code, "-W", "error")
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) & (NOT_IN_CORE | {"IPython", "jupyterlab"}) == set()


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", ".ci/run"])
def test_every_make_target_that_is_named_exists(document: str) -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    text = (ROOT / document).read_text()
    if document.endswith(".md"):
        text = "\n".join(re.findall(r"^```.*?^```|`[^`\n]+`", text, re.DOTALL | re.MULTILINE))
    named = set(re.findall(r"(?:^|`|\$ |&& )make ([a-z-]+)", text, re.MULTILINE))
    assert named <= targets
    phony = re.search(r"^\.PHONY: (.*)", makefile, re.MULTILINE)
    assert phony
    assert set(phony[1].split()) == targets
