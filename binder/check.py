"""What Binder would make of this project, checked without a container engine: `make binder-check`.

repo2docker prints the Dockerfile that it would build. Its steps for this project run here, from a
copy of the files that git knows, in a fresh virtual environment with the packages of repo2docker's
base environment; then every notebook runs there. It needs git, the network, and the Python that
`runtime.txt` names.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
VERSION = (ROOT / "binder/runtime.txt").read_text().strip().removeprefix("python-")
COPY_ALL = "COPY --chown=1000:1000 src/ ${REPO_DIR}/"
# What of the base environment could clash with ours, by its names on conda-forge.
BASE = [
    *("ipykernel", "ipython", "ipywidgets", "jupyter-offlinenotebook", "jupyter-resource-usage"),
    *("jupyter_client", "jupyter_core", "jupyter_server", "jupyterhub-base", "jupyterlab"),
    *("jupyterlab_widgets", "nbclient", "notebook", "pip", "tornado", "traitlets"),
]
PAGE_CONFIG = """
from jupyter_core.paths import jupyter_config_path
from jupyterlab_server.config import get_page_config
folders = [f"{path}/labconfig" for path in jupyter_config_path()]
disabled = get_page_config(folders)["disabledExtensions"]
assert "@jupyterlab/apputils-extension:announcements" in disabled
"""


def main() -> None:
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    if here != VERSION:
        sys.exit(f"this is Python {here}, and binder/runtime.txt names {VERSION}")
    with tempfile.TemporaryDirectory(prefix="binder-check-", ignore_cleanup_errors=True) as name:
        home, env, tool = (Path(name) / part for part in ("home", "env", "tool"))
        copy_files(home)
        make_environment(tool, ["jupyter-repo2docker"])
        steps = user_steps(home, tool)
        make_environment(env, base_packages(tool))
        image = {
            "HOME": str(home),
            "NB_USER": "jovyan",
            "NB_PYTHON_PREFIX": str(env),
            "KERNEL_PYTHON_PREFIX": str(env),
            "PATH": f"{home}/.local/bin:{env}/bin:{os.defpath}",
        }
        for step in steps:
            run(["/bin/sh", "-c", step], home, image)
        run([env / "bin/pip", "check"], home, image)
        run([env / "bin/python", "-c", PAGE_CONFIG], home, image)  # no question about news
        for notebook in sorted(home.glob("notebooks/*.ipynb")):
            run([env / "bin/jupyter", "execute", "--timeout=180", notebook], home, image)
    print("binder-check: all is well")


def copy_files(home: Path) -> None:
    """Copy what is committed or would be, with the mode bits."""
    command = ["git", "ls-files", "-coz", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode()
    for name in filter(None, listed.split("\0")):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, home / name)


def user_steps(home: Path, tool: Path) -> list[str]:
    """The commands of repo2docker's Dockerfile that run as the user once the project is there."""
    user = ("--user-id=1000", "--user-name=jovyan")
    text = run([tool / "bin/jupyter-repo2docker", "--no-build", "--debug", *user, "."], home)
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", "")
    steps = [" ".join(line.split()) for line in text.splitlines()]
    later = steps[steps.index(COPY_ALL) :]
    if [line for line in later if line.startswith("USER ")][-1] != "USER ${NB_USER}":
        sys.exit("the image would run as root")
    return [line.removeprefix("RUN ") for line in later if line.startswith("RUN ")]


def base_packages(tool: Path) -> list[str]:
    """What repo2docker's base environment pins for this Python."""
    [lock] = tool.glob(f"lib/*/site-packages/repo2docker/**/environment.py-{VERSION}-linux-64.lock")
    pinned = dict(
        re.findall(r"/([\w.-]+?)-(\d[^-/]*)-[^-/]+\.(?:conda|tar\.bz2)", lock.read_text())
    )
    return [f"{name.removesuffix('-base')}=={pinned[name]}" for name in BASE]


def make_environment(path: Path, packages: Sequence[str]) -> None:
    run([sys.executable, "-m", "venv", path], path.parent)
    run([path / "bin/python", "-m", "pip", "install", "--quiet", *packages], path.parent)


def run(command: Sequence[Path | str], cwd: Path, image: Mapping[str, str] | None = None) -> str:
    """What a command prints; its failure ends the check."""
    print("binder-check:", *command[:1], *command[-1:], flush=True)
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, **(image or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=1200,
    )
    if done.returncode:
        sys.exit(f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}\nended with {done.returncode}")
    return done.stdout


if __name__ == "__main__":
    main()
