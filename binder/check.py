"""What Binder would make of this project, checked without a container engine: `make binder-check`.

1. repo2docker prints the Dockerfile it would build; its steps are compared with what we want.
2. The user's steps of that Dockerfile run in a fresh virtual environment that has the packages of
   repo2docker's base environment, from a copy of the files that git knows or would add.
3. The server starts there, and every notebook runs, with no network where that can be cut.

Everything is made in a temporary folder. It needs git, and the Python that `runtime.txt` names.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.error import URLError

ROOT = Path(__file__).parents[1]
VERSION = (ROOT / "binder" / "runtime.txt").read_text().strip().removeprefix("python-")

USER_STEPS = [
    '${KERNEL_PYTHON_PREFIX}/bin/pip install --no-cache-dir -r "binder/requirements.txt"',
    "chmod +x binder/postBuild",
    "./binder/postBuild",
]
COPY_ALL = ("COPY", "--chown=1000:1000 src/ ${REPO_DIR}/")
AS_USER = ("USER", "${NB_USER}")

# What of repo2docker's base environment could clash with ours.
BASE = [
    "ipykernel",
    "ipython",
    "ipywidgets",
    "jupyter-offlinenotebook",
    "jupyter-resource-usage",
    "jupyter_client",
    "jupyter_core",
    "jupyter_server",
    "jupyterhub-base",
    "jupyterlab",
    "jupyterlab_widgets",
    "nbclient",
    "notebook",
    "pip",
    "tornado",
    "traitlets",
]
OTHER_NAMES = {"jupyterhub-base": "jupyterhub"}

PLANTED = "planted-secret"
SECRETS = {
    "a file that holds a secret": r"(^|/)(\.env(\..*)?|\.netrc|.*\.(creds|nk|pem|key|p12|seed))$",
    "a secret": r"\b(TOKEN|PASSWORD|PASSWD|SECRET|CREDENTIALS|API_KEY|SEED)\w*=",
    "a login in a URL": r"\w://[^/\s:@]+:[^/\s@]+@",
}

WITHOUT_NETWORK = """
import fcntl, os, socket, struct, sys
uid, gid = os.geteuid(), os.getegid()
os.unshare(os.CLONE_NEWNET | (os.CLONE_NEWUSER if uid else 0))
if uid:
    maps = {"setgroups": "deny", "uid_map": f"{uid} {uid} 1", "gid_map": f"{gid} {gid} 1"}
    for name, text in maps.items():
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
with socket.socket() as any:
    fcntl.ioctl(any, 0x8914, struct.pack("16sH22x", b"lo", 0x41))  # SIOCSIFFLAGS: up and running
os.execv(sys.argv[1], sys.argv[1:])
"""


class CheckError(Exception):
    """A step failed; the text says how."""


def main() -> int:
    step = "start"
    with tempfile.TemporaryDirectory(prefix="binder-check-", ignore_cleanup_errors=True) as name:
        work = Path(name)
        repo, env, tool = work / "home", work / "env", work / "tool"
        try:
            for step, action in [
                ("find the Python of binder/runtime.txt", check_python),
                ("copy the files that git knows", lambda: copy_files(repo)),
                ("install repo2docker", lambda: install_tool(work, tool)),
                ("check the Dockerfile", lambda: check_dockerfile(work, repo, tool)),
                ("install the base environment", lambda: install_base(work, tool, env)),
                ("run the user's steps", lambda: run_steps(work, repo, env)),
                ("start the server", lambda: start_server(work, repo, env)),
                ("run the notebooks", lambda: run_notebooks(work, repo, env)),
            ]:
                print(f"binder-check: {step}", flush=True)
                action()
        except (CheckError, OSError, subprocess.SubprocessError) as error:
            print(f"binder-check: failed to {step}: {error}", file=sys.stderr)
            return 1
    print("binder-check: all is well")
    return 0


def check_python() -> None:
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    if here != VERSION:
        raise CheckError(f"this is Python {here}, binder/runtime.txt names {VERSION}")


def copy_files(repo: Path) -> None:
    """Copy what is committed or would be, with the mode bits."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        raise CheckError("this needs git and a clone")
    command = ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-coz", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    names = [name for name in listed.stdout.decode().split("\0") if name]
    for name in names:
        if (ROOT / name).is_file():
            (repo / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, repo / name)
    kind = "a file that holds a secret"
    found = [name for name in names if re.search(SECRETS[kind], name)]
    if found:
        raise CheckError(f"{kind} would be in the image: {', '.join(found)}")


def install_tool(work: Path, tool: Path) -> None:
    make_environment(tool)
    run(work, [tool / "bin/pip", "install", "--quiet", "jupyter-repo2docker"], installing(work))


def check_dockerfile(work: Path, repo: Path, tool: Path) -> None:
    """Compare what repo2docker would do with what we want; no engine is asked."""
    planted = {"VARCO_NATS_SERVERS": f"nats://u:{PLANTED}@127.0.0.1", "NATS_TOKEN": PLANTED}
    command = [
        *(tool / "bin/jupyter-repo2docker", "--no-build", "--debug"),
        *("--user-id", "1000", "--user-name", "jovyan", "."),
    ]
    text = run(work, command, {**installing(work), **planted}, cwd=repo).stdout
    (work / "Dockerfile").write_text(text)
    steps = instructions(text)
    if COPY_ALL not in steps:
        raise CheckError("the project is not copied into the home of the user")
    if base_lock(text) != f"environment.py-{VERSION}":
        raise CheckError(f"not the build pack of Python {VERSION}, but {base_lock(text)}")
    if ("ENV", "KERNEL_PYTHON_PREFIX=${NB_PYTHON_PREFIX}") not in steps:
        raise CheckError("kernels and server would be in different environments")
    if user_steps(steps) != USER_STEPS:
        raise CheckError(f"the user's steps are {user_steps(steps)}, not {USER_STEPS}")
    if [rest for name, rest in steps if name == "USER"][-1] != AS_USER[1]:
        raise CheckError("the image would run as root")
    for kind, pattern in {**SECRETS, "what stands in the environment": PLANTED}.items():
        if any(re.search(pattern, rest) for _, rest in steps):
            raise CheckError(f"{kind} would be in the Dockerfile")


def install_base(work: Path, tool: Path, env: Path) -> None:
    """An environment with the versions that repo2docker pins for this Python."""
    [lock] = tool.glob(f"lib/*/site-packages/repo2docker/**/environment.py-{VERSION}-linux-64.lock")
    pinned = dict(
        re.findall(r"/([\w.-]+?)-(\d[^-/]*)-[^-/]+\.(?:conda|tar\.bz2)", lock.read_text())
    )
    missing = [name for name in BASE if name not in pinned]
    if missing:
        raise CheckError(f"{lock.name} of repo2docker does not name {', '.join(missing)}")
    make_environment(env)
    wanted = [f"{OTHER_NAMES.get(name, name)}=={pinned[name]}" for name in BASE]
    run(work, [env / "bin/python", "-m", "pip", "install", "--quiet", *wanted], installing(work))


def run_steps(work: Path, repo: Path, env: Path) -> None:
    """Run the user's steps of the Dockerfile as they stand there."""
    for step in user_steps(instructions((work / "Dockerfile").read_text())):
        run(work, ["/bin/sh", "-c", step], {**installing(work), **image(repo, env)}, cwd=repo)
    run(work, [env / "bin/pip", "check"], image(repo, env), cwd=repo)


def start_server(work: Path, repo: Path, env: Path) -> None:
    """Start what the image starts, and load JupyterLab's page from it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}/lab?token=check"
    log = work / "server.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [
                *(env / "bin/jupyter", "notebook", "--allow-root", "--no-browser"),
                *("--ip", "127.0.0.1", f"--port={port}", "--IdentityProvider.token=check"),
            ],
            cwd=repo,
            env=image(repo, env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        page = load(url, server, log)
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)
    if "@jupyterlab/apputils-extension:announcements" not in page:
        raise CheckError("JupyterLab would ask about news at the start")


def load(url: str, server: subprocess.Popen[bytes], log: Path) -> str:
    end = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return str(answer.read().decode())
        except (URLError, OSError) as error:
            if server.poll() is not None or time.monotonic() > end:
                raise CheckError(f"{error}\n{log.read_text()[-3000:]}") from None
            time.sleep(0.2)


def run_notebooks(work: Path, repo: Path, env: Path) -> None:
    """Run each notebook from top to bottom, with nothing but loopback."""
    cut = [sys.executable, "-c", WITHOUT_NETWORK]
    names = [
        *cut,
        sys.executable,
        "-c",
        "import socket; print(*dict(socket.if_nameindex()).values())",
    ]
    if subprocess.run(names, capture_output=True, text=True, check=False).stdout.split() != ["lo"]:
        print("binder-check: the network cannot be cut here; they run with it")
        cut = []
    notebooks = sorted(repo.glob("notebooks/**/*.ipynb"))
    if not notebooks:
        raise CheckError("there are none")
    for notebook in notebooks:
        started = time.monotonic()
        command = [env / "bin/jupyter", "execute", "--timeout=180", notebook]
        run(work, [*cut, *command], image(repo, env), cwd=repo)
        print(
            f"binder-check: {notebook.name} ran in {time.monotonic() - started:.0f} s", flush=True
        )


# --- the Dockerfile -------------------------------------------------------------------------------


def instructions(dockerfile: str) -> list[tuple[str, str]]:
    """Its instructions: the keyword, and the rest on one line."""
    text = re.sub(r"^\s*#.*\n", "", dockerfile, flags=re.MULTILINE)
    text = re.sub(r"\\\n\s*", "", text)
    return re.findall(r"^([A-Z]+) +(.*?) *$", text, re.MULTILINE)


def user_steps(steps: Sequence[tuple[str, str]]) -> list[str]:
    """The commands that run once the project is there.

    Raises:
        CheckError: one of them does not run as the user.
    """
    later = steps[steps.index(COPY_ALL) :]
    user, commands = "", []
    for name, rest in later:
        if name == "USER":
            user = rest
        elif name == "RUN":
            if user != AS_USER[1]:
                raise CheckError(f"not run as the user: {rest}")
            commands.append(rest)
    return commands


def base_lock(dockerfile: str) -> str:
    """The lock of the base environment, such as `environment.py-3.13`; names in it are escaped."""
    text = re.sub("-([0-9a-f]{2})", lambda code: chr(int(code[1], 16)), dockerfile)
    found = re.search(r"/(environment\.py-[\d.]+)-[\w-]+\.lock\S* /tmp/env/environment\.lock", text)
    return found[1] if found else "no build pack for Python"


# --- processes ------------------------------------------------------------------------------------


def installing(work: Path) -> dict[str, str]:
    """The environment of what installs: a home of its own, and this machine's way to packages."""
    allowed = re.compile(
        r"(PIP_|SSL_CERT_|REQUESTS_CA_BUNDLE|https?_proxy$|no_proxy$)", re.IGNORECASE
    )
    kept = {name: value for name, value in os.environ.items() if allowed.match(name)}
    home = work / "tool-home"
    home.mkdir(exist_ok=True)
    return {"HOME": str(home), "PATH": os.defpath, "LC_ALL": "C.UTF-8", **kept}


def image(repo: Path, env: Path) -> dict[str, str]:
    """The environment inside the image."""
    return {
        "HOME": str(repo),
        "REPO_DIR": str(repo),
        "NB_USER": "jovyan",
        "USER": "jovyan",
        "NB_PYTHON_PREFIX": str(env),
        "KERNEL_PYTHON_PREFIX": str(env),
        "PATH": f"{repo}/.local/bin:{env}/bin:{os.defpath}",
        "LC_ALL": "C.UTF-8",
        "SHELL": "/bin/bash",
        "PYTHONUNBUFFERED": "1",
    }


def make_environment(path: Path) -> None:
    run(path.parent, [sys.executable, "-m", "venv", path], {"PATH": os.defpath})


def run(
    work: Path,
    command: Sequence[Path | str],
    environment: Mapping[str, str],
    cwd: Path | None = None,
    timeout: float = 1200,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end.

    Raises:
        CheckError: it fails; has the end of what it printed.
    """
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd or work,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    if done.returncode:
        shown = " ".join(str(part) for part in command if part != WITHOUT_NETWORK)
        printed = re.sub(r"\x1b\[[\d;]*m", "", done.stdout + done.stderr)[-4000:]
        raise CheckError(f"{shown}\nended with {done.returncode}:\n{printed}")
    return done


if __name__ == "__main__":
    sys.exit(main())
