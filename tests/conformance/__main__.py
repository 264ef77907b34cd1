"""The command: `python -m tests.conformance varco-nats --testkit ../varco/testkit`."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.conformance._fetch import Fetched, fetch
from tests.conformance._judge import Verdict, judge, read_exceptions, read_outcomes
from varco_nats.server import LocalNats

HERE = Path(__file__).parent
_NOT_FETCHED = 3
_AT_ONCE = 2  # suites; they wait more than they work
_INTEGRATION = ("-m", "integration", "--continue-on-collection-errors")


@dataclass(frozen=True)
class Suite:
    """Which of a package's tests are run.

    Attributes:
        about: what is run, for the title.
        files: patterns of their files' names.
        mentioned: a pattern of what the text of their files has.
        options: of pytest.
    """

    about: str
    files: tuple[str, ...] = ("test_*.py",)
    mentioned: str = ""
    options: tuple[str, ...] = ()

    def arguments(self, folder: Path) -> list[str]:
        """What pytest is told."""
        files = {file for pattern in self.files for file in (folder / "tests").glob(pattern)}
        chosen = [file for file in sorted(files) if re.search(self.mentioned, file.read_text())]
        return [*self.options, *(f"tests/{file.name}" for file in chosen)]


SUITES = {
    "varco-core": Suite(
        "the tests of dead letters, redrive, retention, tenancy, outbox and inbox with a bus or a "
        "queue, on ours instead of those in memory",
        files=("test_dlq*.py", "test_*box.py", "test_retention_targets.py", "test_tenant_*.py"),
        mentioned="InMemoryEventBus|InMemoryDeadLetterQueue",
        options=("-n", "2"),
    ),
    "varco-nats": Suite("all tests", options=("-n", "2")),
    "varco-kafka": Suite(
        "the integration tests", mentioned=r"mark\.integration", options=("-n", "2", *_INTEGRATION)
    ),
    "varco-redis": Suite(
        "the integration tests", mentioned=r"mark\.integration", options=_INTEGRATION
    ),
}


def run(name: str, fetched: Fetched, testkit: Path | None) -> Verdict:
    """Run a suite in a process of its own, on a server of its own."""
    suite = SUITES[name]
    exceptions = read_exceptions(name, testkit=testkit is not None)
    path = [str(folder) for folder in (testkit, HERE) if folder is not None]
    with tempfile.TemporaryDirectory() as folder, LocalNats() as server:
        junit = Path(folder) / "junit.xml"
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(path),
            "VARCO_RUN_INTEGRATION": "1",
            **{f"VARCO_TEST_{broker}_URL": server.url for broker in ("NATS", "KAFKA", "REDIS")},
        }
        command = [sys.executable, "-m", "pytest", "-p", "stand_ins", "-p", "no:cacheprovider"]
        command += ["-p", "no:nbval", "-c", os.devnull, "--rootdir", str(fetched.folder)]
        command += ["-o", "asyncio_mode=auto", "--timeout", "150", "--junitxml", str(junit)]
        command += suite.arguments(fetched.folder)
        command += [f"--deselect={node}" for group in exceptions for node in group.not_run()]
        done = subprocess.run(
            command,
            cwd=fetched.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if not junit.exists():
            return Verdict(failed={f"pytest ended with {done.returncode}": done.stdout})
        return judge(read_outcomes(junit), exceptions)


def report(title: str, verdict: Verdict) -> str:
    """The verdict for people."""
    applying_not = sum(map(len, verdict.not_applying.values()))
    failed = len(verdict.failed) + len(verdict.unexpected) + len(verdict.unknown)
    lines = [
        "",
        *_wrapped(title, "", "  "),
        f"  {len(verdict.passed)} passed, {applying_not} do not apply, {failed} not as expected",
    ]
    for reason, tests in sorted(verdict.not_applying.items(), key=lambda item: -len(item[1])):
        lines += _wrapped(f"{len(tests)}: {reason}", "  - ", " " * 4)
        by_class: dict[str, list[str]] = {}
        for test in sorted(tests):
            where, _, name = test.rpartition(".")
            by_class.setdefault(where, []).append(name)
        for where, names in by_class.items():
            lines += _wrapped(": ".join(filter(None, [where, ", ".join(names)])), " " * 6, " " * 8)
    for test, problem in verdict.failed.items():
        lines += [f"  FAILED {test}", textwrap.indent(problem, " " * 6)]
    lines += [f"  PASSED, although exceptions.toml has it: {test}" for test in verdict.unexpected]
    lines += [f"  NO SUCH TEST as in exceptions.toml: {entry}" for entry in verdict.unknown]
    return "\n".join(lines)


def _wrapped(text: str, first: str, others: str) -> list[str]:
    return textwrap.wrap(
        text,
        100,
        initial_indent=first,
        subsequent_indent=others,
        break_on_hyphens=False,
        break_long_words=False,
    )


def main() -> int:
    """0 if every test passed that is not among the exceptions, and none that is; else 1.

    3 if the tests could not be fetched.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("suites", nargs="*", metavar="suite", help=f"{', '.join(SUITES)}; or all")
    parser.add_argument(
        "--testkit", type=Path, help="the folder testkit of a checkout of varco's repository"
    )
    given = parser.parse_args()
    if unknown := set(given.suites) - SUITES.keys():
        parser.error(f"no such suite: {', '.join(sorted(unknown))}")
    names = given.suites or list(SUITES)
    try:
        fetched = fetch()
    except subprocess.CalledProcessError as error:
        print(f"the tests could not be fetched: pip ended with {error.returncode}")
        return _NOT_FETCHED
    started = time.monotonic()
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        verdicts = dict(
            zip(
                names,
                pool.map(lambda name: run(name, fetched[name], given.testkit), names),
                strict=True,
            )
        )
    for name, verdict in verdicts.items():
        print(report(f"{name} {fetched[name].version}: {SUITES[name].about}", verdict))
    passed = sum(len(verdict.passed) for verdict in verdicts.values())
    wrong = sum(
        len(verdict.failed) + len(verdict.unexpected) + len(verdict.unknown)
        for verdict in verdicts.values()
    )
    print(f"\nin {time.monotonic() - started:.0f} s\nconformance: {passed} passed, {wrong} failed")
    return 0 if all(verdict.good for verdict in verdicts.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
