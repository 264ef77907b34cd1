"""The `varco lab` command: JupyterLab on the notebooks.

It is here and not with the widgets so that `varco --help` lists it, and `varco lab` says what is
missing, when the `lab` extra is not installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from varco_nats.config import NatsEventBusSettings, without_credentials
from varco_nats.errors import SettingsError

_SERVERS_VARIABLE = "VARCO_NATS_SERVERS"
_QUICK_START = "00_quickstart.ipynb"
_JUPYTER_CONFIG = Path(__file__).with_name("_jupyter")  # no question about news at the start


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `lab` to the `varco` command; called through the entry-point group `varco.commands`."""
    parser = subparsers.add_parser(
        "lab",
        help="Open JupyterLab on the notebooks",
        description="Open JupyterLab on the notebooks. Ctrl-C stops it and its kernels.",
    )
    parser.add_argument(
        "folder",
        nargs="?",
        type=_folder,
        help="folder to open (default: 'notebooks' of a checkout of this project, else this one)",
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
        type=_servers,
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
        raise argparse.ArgumentTypeError(f"{text!r} is no port; use a number from 0 to 65535")
    return port


def _folder(text: str) -> Path:
    folder = Path(text).expanduser()
    if not folder.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {text!r}")
    return folder.resolve()


def _servers(text: str) -> str:
    try:
        return NatsEventBusSettings(servers=text).servers
    except SettingsError as error:
        raise argparse.ArgumentTypeError("; ".join(error.problems)) from None


def _default_folder(here: Path) -> Path:
    """`notebooks` of the checkout that `here` is in, or else `here`."""
    for folder in (here, *here.parents):
        notebooks = folder / "notebooks"
        if notebooks.is_dir() and (folder / "varco_nats" / Path(__file__).name).is_file():
            return notebooks
    return here


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


def _run(args: argparse.Namespace) -> int:
    """Run `varco lab`: 1 if JupyterLab is missing, 2 for a wrong setting, else JupyterLab's."""
    if importlib.util.find_spec("jupyterlab") is None:
        print("varco lab needs JupyterLab: pip install 'varco-nats[lab]'", file=sys.stderr)
        return 1
    environment = dict(os.environ)
    source = "--servers"
    servers = args.servers
    if servers is None:
        source = _SERVERS_VARIABLE
        servers = environment.pop(_SERVERS_VARIABLE, "")
        try:
            servers = servers and _servers(servers)
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
    folder = args.folder or _default_folder(Path.cwd())
    print(f"Notebooks: {folder}", flush=True)
    command = _jupyter_arguments(args, folder)
    if os.name == "posix":
        # Replacing this process leaves none between Ctrl-C and JupyterLab, and drops the
        # command line that `--servers` with a password is on.
        os.execve(sys.executable, command, environment)  # noqa: S606
    return subprocess.call(command, env=environment)  # noqa: S603
