"""The project itself: what is committed, what is pinned, what is public, what imports what."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import tomllib
from collections import Counter
from collections.abc import Iterator
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


def pinned() -> set[str]:
    names = set()
    for line in (ROOT / "requirements.lock").read_text().splitlines():
        if line and not line.lstrip().startswith("#"):
            pin = re.fullmatch(r"([a-z0-9][a-z0-9-]*)==[\w.!+]+( ; [\w '=!<>.()]+)?", line)
            assert pin, f"not one pinned version: {line!r}"
            names.add(pin[1])
    return names


def test_the_lock_pins_every_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    declared = [
        *project["build-system"]["requires"],
        *project["project"]["dependencies"],
        *(line for extra in project["project"]["optional-dependencies"].values() for line in extra),
        *(line for group in project["dependency-groups"].values() for line in group),
    ]
    names = {re.match(r"[\w-]+", line)[0].lower() for line in declared}  # type: ignore[index]
    ours = project["project"]["name"]
    assert names - {ours} <= pinned()
    assert ours not in pinned()


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
