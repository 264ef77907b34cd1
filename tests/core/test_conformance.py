"""How `make conformance` judges what came of other packages' tests."""

from __future__ import annotations

from pathlib import Path

from tests.conformance._judge import PASSED, Exceptions, judge, read_exceptions, read_outcomes

BROKER = Exceptions("Another broker's.", ("test_bus.TestKafka", "test_dlq.test_topic"))
SLOW = Exceptions("It waits for ever.", ("test_bus.TestSlow.test_wait",), run=False)


def test_what_is_expected_is_good() -> None:
    outcomes = {
        "test_bus.TestKafka.test_offsets": "failure: no offsets",
        "test_bus.TestKafkaToo.test_send": PASSED,
        "test_dlq.test_topic[a]": "error: no topics",
        "test_dlq.test_push": "skipped: no cache",
    }
    verdict = judge(outcomes, [BROKER, SLOW])
    assert verdict.good
    assert verdict.passed == ["test_bus.TestKafkaToo.test_send"]
    assert verdict.not_applying == {
        "Another broker's.": ["test_bus.TestKafka.test_offsets", "test_dlq.test_topic[a]"],
        "It skips itself: no cache": ["test_dlq.test_push"],
        "It waits for ever.": ["test_bus.TestSlow.test_wait"],
    }
    assert SLOW.not_run() == ["tests/test_bus.py::TestSlow::test_wait"]


def test_what_is_not_expected_is_not() -> None:
    outcomes = {"test_bus.TestKafka.test_offsets": PASSED, "test_bus.test_send": "failure: lost"}
    verdict = judge(outcomes, [BROKER])
    assert not verdict.good
    assert verdict.unexpected == ["test_bus.TestKafka.test_offsets"]
    assert verdict.failed == {"test_bus.test_send": "failure: lost"}
    assert verdict.unknown == ["test_dlq.test_topic"]
    assert not judge({}, []).good


def test_a_contract_applies_where_there_is_the_testkit() -> None:
    without, with_testkit = (
        read_exceptions("varco-nats", testkit=there) for there in (False, True)
    )
    assert [group for group in without if group not in with_testkit] == [
        group for group in without if group.without_testkit
    ]


def test_outcomes_are_read(tmp_path: Path) -> None:
    junit = tmp_path / "junit.xml"
    junit.write_text(
        """<testsuites><testsuite>
        <testcase classname="tests.test_bus.TestSend" name="test_one"/>
        <testcase classname="tests.test_bus" name="test_two[a]"><failure message="no"/></testcase>
        <testcase classname="" name="tests.test_gone"><error message="collection failure">at
E   ModuleNotFoundError: No module named 'redis'</error></testcase>
        </testsuite></testsuites>"""
    )
    assert read_outcomes(junit) == {
        "test_bus.TestSend.test_one": PASSED,
        "test_bus.test_two[a]": "failure: no",
        "test_gone": "error: ModuleNotFoundError: No module named 'redis'",
    }
