"""The `varco lab` command, which opens JupyterLab on the notebooks, or one of them as a page.

It is here and not with the widgets, so that without the extra `lab` `varco --help` still lists it
and `varco lab` says what is missing.
"""

from __future__ import annotations

import argparse
import filecmp
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

from varco_nats._commands.common import server_urls

_SERVERS_VARIABLE = "VARCO_NATS_SERVERS"
_QUICK_START = "00_quickstart.ipynb"
_COPIES = "varco-notebooks"
_PACKAGE = Path(__file__).parents[1]
_SHIPPED = _PACKAGE / "_notebooks"  # where the wheel has them
_JUPYTER_CONFIG = _PACKAGE / "_jupyter"  # so that it asks nothing at the start


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `lab` to a command; `varco` calls this through the entry-point group `varco.commands`."""
    parser = subparsers.add_parser(
        "lab",
        help="Open JupyterLab on the notebooks",
        description="Open JupyterLab on the notebooks, or on copies of them where this is not a "
        f"checkout of the project: those that are missing are put into '{_COPIES}', and a file "
        "that is there stays as it is. Ctrl-C stops JupyterLab and its kernels.",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--dashboard",
        type=_notebook,
        metavar="NOTEBOOK",
        help="show this notebook as a page, its outputs and widgets without its code; each visit "
        "runs it in a kernel of its own (needs the extra 'dashboard')",
    )
    what.add_argument(
        "folder",
        nargs="?",
        type=_folder,
        help="folder to open, where nothing is copied (default: 'notebooks' of a checkout of this "
        f"project, else '{_COPIES}' in this folder)",
    )
    parser.add_argument(
        "--no-browser", action="store_true", help="only print the URL, open no browser"
    )
    parser.add_argument(
        "--port",
        type=_port,
        metavar="N",
        help="port to listen on, 0 for a free one (default: the first free one from 8888)",
    )
    parser.add_argument(
        "--servers",
        type=server_urls,
        metavar="URL[,URL...]",
        help="NATS servers of the notebooks, like nats://localhost:4222 "
        f"(default: {_SERVERS_VARIABLE} if it is set, else each notebook starts a local server)",
    )
    parser.set_defaults(_run=_run)


def _port(text: str) -> int:
    try:
        port = int(text)
    except ValueError:
        port = -1
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port; use a number from 0 to 65535")
    return port


def _folder(text: str) -> Path:
    folder = Path(text).expanduser()
    if not folder.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {text!r}")
    return folder.resolve()


def _notebook(text: str) -> Path:
    notebook = Path(text).expanduser()
    if notebook.suffix != ".ipynb" or not notebook.is_file():
        raise argparse.ArgumentTypeError(f"there is no notebook {text!r} (a file NAME.ipynb)")
    return notebook.resolve()


def _default_folder(here: Path) -> Path:
    """`notebooks` of the checkout that `here` is in, or else a folder with copies of them.

    Raises:
        OSError: they cannot be copied.
    """
    for folder in (here, *here.parents):
        notebooks = folder / "notebooks"
        if notebooks.is_dir() and (folder / _PACKAGE.name / "_commands").is_dir():
            return notebooks
    copies = here if here.name == _COPIES else here / _COPIES
    of_checkout = _PACKAGE.parent / "notebooks"  # which an editable install runs in
    if kept := _copy_notebooks(_SHIPPED if _SHIPPED.is_dir() else of_checkout, copies):
        print(
            f"Kept, though they differ from the notebooks of this version: {', '.join(kept)}. "
            "Rename or delete a file to get the original with the next 'varco lab'.",
            flush=True,
        )
    return copies


def _copy_notebooks(source: Path, folder: Path) -> list[str]:
    """Copy the notebooks of `source` that `folder` does not have; it is made if it is missing.

    Returns:
        The names of those that `folder` has with another content. They are left as they are.
    """
    folder.mkdir(exist_ok=True)
    kept = []
    for notebook in sorted(source.glob("*.ipynb")):
        copy = folder / notebook.name
        if not os.path.lexists(copy):
            shutil.copyfile(notebook, copy)
        elif not (copy.is_file() and filecmp.cmp(notebook, copy, shallow=False)):
            kept.append(notebook.name)
    return kept


def _jupyter_arguments(args: argparse.Namespace, folder: Path) -> list[str]:
    """The command line of JupyterLab; it holds no credentials, since anybody can list it."""
    arguments = [
        *(sys.executable, "-P", "-m", "jupyterlab"),
        f"--ServerApp.root_dir={folder}",
        # Without it, Ctrl-C asks a question that nobody answers where there is no terminal.
        "--ServerApp.answer_yes=True",
    ]
    if (folder / _QUICK_START).is_file():
        arguments.append(f"--LabApp.default_url=/lab/tree/{_QUICK_START}")
    if args.no_browser:
        arguments.append("--no-browser")
    if args.port is not None:
        arguments += [f"--ServerApp.port={args.port}", "--ServerApp.port_retries=0"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        # Containers run as root, which Jupyter refuses unless told; it still asks for its token.
        arguments.append("--allow-root")
    return arguments


def _dashboard_arguments(args: argparse.Namespace) -> list[str]:
    """The command line of Voila."""
    arguments = [
        *(sys.executable, "-P", "-m", "voila", str(args.dashboard)),
        "--Voila.auto_token=True",  # others on this machine could run the notebook without it
    ]
    if args.no_browser:
        arguments.append("--no-browser")
    if args.port is not None:
        with socket.socket() as probe:  # Voila itself would print port 0
            probe.bind(("127.0.0.1", 0))
            port = args.port or probe.getsockname()[1]
        arguments += [f"--Voila.port={port}", "--Voila.port_retries=0"]
    return arguments


def _missing(args: argparse.Namespace) -> str:
    """What has to be installed first; "" if nothing."""
    if args.dashboard and importlib.util.find_spec("voila") is None:
        return "varco lab --dashboard needs Voila: pip install 'varco-nats-kit[dashboard]'"
    if not args.dashboard and importlib.util.find_spec("jupyterlab") is None:
        return "varco lab needs JupyterLab: pip install 'varco-nats-kit[lab]'"
    return ""


def _run(args: argparse.Namespace) -> int:
    """Run `varco lab`.

    Returns:
        1 if JupyterLab or Voila is missing or the notebooks cannot be copied, 2 for a wrong
        setting, else the exit code of what was started.
    """
    from varco_nats.config import without_credentials

    if missing := _missing(args):
        print(missing, file=sys.stderr)
        return 1
    environment = dict(os.environ)
    source = "--servers"
    servers = args.servers
    if servers is None:
        source = _SERVERS_VARIABLE
        servers = environment.pop(_SERVERS_VARIABLE, "")
        try:
            servers = servers and server_urls(servers)
        except argparse.ArgumentTypeError as error:
            print(f"varco lab: {error}", file=sys.stderr)
            return 2
    if servers:
        environment[_SERVERS_VARIABLE] = servers
        shown = ", ".join(without_credentials(url) for url in servers.split(","))
        print(f"NATS: {shown} ({source})", flush=True)
    else:
        print("NATS: each notebook starts a local server", flush=True)

    config_path = [environment.get("JUPYTER_CONFIG_PATH"), str(_JUPYTER_CONFIG)]
    environment["JUPYTER_CONFIG_PATH"] = os.pathsep.join(filter(None, config_path))
    if args.dashboard:
        print(f"Dashboard: {args.dashboard}", flush=True)
        return _become(_dashboard_arguments(args), environment)
    try:
        folder = args.folder or _default_folder(Path.cwd())
    except OSError as error:
        print(
            f"varco lab: the notebooks cannot be copied: {error}; change to a folder where you "
            "may write, or name the folder to open",
            file=sys.stderr,
        )
        return 1
    print(f"Notebooks: {folder}", flush=True)
    return _become(_jupyter_arguments(args, folder), environment)


def _become(command: list[str], environment: dict[str, str]) -> int:
    if os.name == "posix":
        # Replacing this process leaves none between Ctrl-C and Jupyter, and drops the
        # command line that `--servers` with a password is on.
        os.execve(sys.executable, command, environment)  # noqa: S606
    return subprocess.call(command, env=environment)  # noqa: S603
