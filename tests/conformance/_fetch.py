"""Fetches the pinned source distributions and unpacks their tests outside the repository."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import NamedTuple

REQUIREMENTS = Path(__file__).parent / "requirements.txt"
_PINNED = re.compile(r"^(?P<package>[\w-]+)==(?P<version>\S+) --hash=sha256:(?P<hash>\w+)$", re.M)


class Fetched(NamedTuple):
    """A package's tests.

    Attributes:
        version: of the package.
        folder: has the package's `tests` folder in it, and nothing else of the package, so that
            nothing but ours can be imported.
    """

    version: str
    folder: Path


def fetch() -> dict[str, Fetched]:
    """The tests of each package in `requirements.txt`, downloaded unless the cache has them.

    Raises:
        subprocess.CalledProcessError: pip could not download them; it has said why.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    cache = cache / "varco-nats-kit" / "conformance"
    pinned = list(_PINNED.finditer(REQUIREMENTS.read_text()))
    found = {
        pin["package"]: Fetched(
            pin["version"], cache / f"{pin['package']}-{pin['version']}-{pin['hash'][:12]}"
        )
        for pin in pinned
    }
    if not all(fetched.folder.exists() for fetched in found.values()):
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            _download(Path(folder))
            for package, fetched in found.items():
                _unpack(package, fetched, Path(folder))
    return found


def _download(folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    # wheels have no tests; no isolation, as what builds them is installed here
    command += ["--no-deps", "--no-binary=:all:", "--no-build-isolation", "--require-hashes"]
    subprocess.run([*command, "--dest", folder, "--requirement", REQUIREMENTS], check=True)


def _unpack(package: str, fetched: Fetched, downloaded: Path) -> None:
    name = f"{package.replace('-', '_')}-{fetched.version}"
    with tarfile.open(downloaded / f"{name}.tar.gz") as archive:
        members = [member for member in archive if member.name.startswith(f"{name}/tests/")]
        archive.extractall(downloaded, members, filter="data")
    shutil.rmtree(fetched.folder, ignore_errors=True)
    (downloaded / name).rename(fetched.folder)
