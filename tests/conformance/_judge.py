"""Compares what came of the tests with `exceptions.toml`."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

EXCEPTIONS = Path(__file__).parent / "exceptions.toml"
PASSED = ""
"""What came of a test that passed; of the others it is the first line of what was wrong."""


@dataclass(frozen=True)
class Exceptions:
    """Tests that do not apply, for one reason.

    Attributes:
        reason: a sentence.
        tests: `module.test`, `module.Class.test`, or the module or class if none of its tests
            applies.
        without_testkit: they apply where there is varco's testkit.
        run: whether they are run nevertheless, to see that they do not pass.
    """

    reason: str
    tests: tuple[str, ...]
    without_testkit: bool = False
    run: bool = True

    def not_run(self) -> list[str]:
        """The node ids of those that are not run."""
        names = [] if self.run else [test.split(".") for test in self.tests]
        return ["::".join([f"tests/{module}.py", *rest]) for module, *rest in names]

    def entry_for(self, test: str) -> str | None:
        """Which of `tests` means `test`."""
        entries = (e for e in self.tests if test == e or test.startswith((f"{e}.", f"{e}[")))
        return next(entries, None)


def read_exceptions(suite: str, *, testkit: bool) -> list[Exceptions]:
    """The exceptions of `suite`."""
    tables = tomllib.loads(EXCEPTIONS.read_text())[suite]
    found = [Exceptions(**(table | {"tests": tuple(table["tests"])})) for table in tables]
    return [exceptions for exceptions in found if not (testkit and exceptions.without_testkit)]


@dataclass
class Verdict:
    """What came of one suite.

    Attributes:
        passed: tests that passed, as they should.
        not_applying: tests that did not pass, as the exceptions say, by reason.
        failed: what was wrong, by test, for tests without an exception.
        unexpected: tests that passed although an exception says that they do not apply.
        unknown: entries of the exceptions that mean no test.
    """

    passed: list[str] = field(default_factory=list)
    not_applying: dict[str, list[str]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    unexpected: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return not (self.failed or self.unexpected or self.unknown) and bool(self.passed)


def judge(outcomes: Mapping[str, str], exceptions: Iterable[Exceptions]) -> Verdict:
    """The verdict on `outcomes`: what came of each test."""
    verdict = Verdict()
    exceptions = list(exceptions)
    met: Counter[str] = Counter()
    for test, problem in outcomes.items():
        found = ((group, entry) for group in exceptions if (entry := group.entry_for(test)))
        group, entry = next(found, (None, None))
        met[entry or ""] += 1
        if group is not None and problem == PASSED:
            verdict.unexpected.append(test)
        elif group is not None:
            verdict.not_applying.setdefault(group.reason, []).append(test)
        elif problem == PASSED:
            verdict.passed.append(test)
        elif problem.startswith("skipped: "):
            reason = f"It skips itself: {problem.removeprefix('skipped: ')}"
            verdict.not_applying.setdefault(reason, []).append(test)
        else:
            verdict.failed[test] = problem
    for group in exceptions:
        if group.run:
            verdict.unknown += [entry for entry in group.tests if not met[entry]]
        else:
            verdict.not_applying[group.reason] = list(group.tests)
    return verdict


def read_outcomes(junit: Path) -> dict[str, str]:
    """What came of each test in a JUnit file; a skipped test did not pass."""
    outcomes: dict[str, str] = {}
    for case in ElementTree.parse(junit).iter("testcase"):
        module = case.get("classname", "")
        test = f"{module}.{case.get('name')}".strip(".").removeprefix("tests.")
        problems = [_problem(part) for part in case if part.tag in ("failure", "error", "skipped")]
        outcomes[test] = outcomes.get(test) or next(iter(problems), PASSED)
    return outcomes


def _problem(part: ElementTree.Element) -> str:
    message = part.get("message") or part.tag
    if message == "collection failure" and part.text:  # the message is in the last line
        message = part.text.strip().splitlines()[-1].removeprefix("E").strip()
    return f"{part.tag}: {message.splitlines()[0]}"
