"""The distribution: its version, what its wheel holds, and the other one it cannot be beside."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import pytest
import varco_nats_widgets

import varco_nats
from varco_nats import _distribution

ROOT = Path(__file__).parents[2]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


@pytest.fixture
def import_beside(tmp_path: Path) -> Callable[[str], str]:
    """Imports varco_nats twice beside an installed distribution; returns what was printed."""

    def run(name: str) -> str:
        installed = tmp_path / f"{name.replace('-', '_')}-3.2.0.dist-info"
        installed.mkdir()
        installed.joinpath("METADATA").write_text(
            f"Metadata-Version: 2.4\nName: {name}\nVersion: 3.2.0\n"
        )
        code = f"import sys; sys.path.append({str(tmp_path)!r})\n" + "import varco_nats\n" * 2
        done = subprocess.run(
            [sys.executable, "-W", "always", "-c", code],
            stderr=subprocess.STDOUT,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=80,
        )
        return done.stdout

    return run


def test_importing_beside_the_other_distribution_warns_once(
    import_beside: Callable[[str], str],
) -> None:
    printed = import_beside("varco-nats")
    assert printed.startswith("<string>:2: UserWarning: varco-nats is installed beside")
    assert printed.count("Warning") == 1
    assert "'pip uninstall varco-nats varco-nats-kit'" in printed


def test_importing_beside_any_other_distribution_is_silent(
    import_beside: Callable[[str], str],
) -> None:
    assert import_beside("varco-nats-tools") == ""


def test_both_packages_have_the_version_of_the_distribution() -> None:
    assert varco_nats.__version__ == varco_nats_widgets.__version__ == VERSION


def test_a_tree_that_is_not_installed_has_a_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_distribution, "_NAME", "nobody-has-installed-this")
    assert varco_nats.__version__ == "0+unknown"


def test_other_names_are_not_there() -> None:
    with pytest.raises(AttributeError, match="module 'varco_nats' has no attribute 'nothing'"):
        varco_nats.nothing  # type: ignore[attr-defined]


@pytest.mark.timeout(120)
def test_the_wheel_holds_both_packages_and_the_notebooks(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        held = set(archive.namelist())
        information = f"varco_nats_kit-{VERSION}.dist-info"
        metadata = archive.read(f"{information}/METADATA").decode()

    assert {name.partition("/")[0] for name in held} == {
        "varco_nats",
        "varco_nats_widgets",
        information,
    }
    assert metadata.splitlines()[1] == "Name: varco-nats-kit"
    sources = [("varco_nats", ROOT), ("varco_nats_widgets", ROOT / "widgets")]
    for package, folder in sources:
        modules = {str(path.relative_to(folder)) for path in (folder / package).rglob("*.py")}
        assert modules == {name for name in held if name.endswith(".py") and package + "/" in name}
    bundles = {name for name in held if name.startswith("varco_nats_widgets/_ui/static/")}
    assert {f"widgets/{name}" for name in bundles} == {
        str(path.relative_to(ROOT)) for path in ROOT.glob("widgets/*/_ui/static/*")
    }
    notebooks = {f"varco_nats/_notebooks/{path.name}" for path in ROOT.glob("notebooks/*.ipynb")}
    assert notebooks
    assert notebooks == {name for name in held if "_notebooks/" in name}
    assert "varco_nats/_jupyter/labconfig/page_config.json" in held
