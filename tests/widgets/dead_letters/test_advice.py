"""What an error says to do in Python, a widget says as it is done there."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest
import varco_nats_widgets
from varco_core.event.serializer import JsonEventSerializer
from varco_nats_widgets.dead_letters._export import TargetExistsError, target_of
from varco_nats_widgets.dead_letters._replaying import ConfirmationError
from varco_nats_widgets.dead_letters._view.words import in_widget

import varco_nats
from tests.widgets.dead_letters.helpers import entry
from varco_nats._nats.delivery import MessageDelivery
from varco_nats._nats.direct import StoredMessage
from varco_nats.config import NatsEventBusSettings
from varco_nats.dlq import NatsDLQ
from varco_nats.dlq._codec import DlqNames, StoredEntry, decode, encode
from varco_nats.errors import Advice, AdviceKind, ReplayRefusedError
from varco_nats.replay import PlannedReplay, Replayer
from varco_nats.replay._plan_rows import Destination, PlanOptions, plan_entry, skip_replayed

RUN = "5d1f1f64-0000-4000-8000-000000000000"
NAMES = DlqNames("dead", "dead")


def stored(headers: dict[str, str] | None = None) -> StoredEntry:
    letter = entry(1)
    delivery = MessageDelivery("orders", "events", 1, 3, headers, "svc")
    data = encode(letter, JsonEventSerializer(), delivery)
    subject = NAMES.subject(letter.entry_id, letter.channel)
    return decode(StoredMessage(1, subject, 0, data, None), NAMES)


def planned(dead: StoredEntry, options: PlanOptions | None = None) -> PlannedReplay:
    target = Destination(NatsEventBusSettings(_env_file=None), 1 << 20)
    return plan_entry(dead, options or PlanOptions(), target)


def replayed() -> PlannedReplay:
    return planned(stored({"Varco-Replay-Of": "x", "Varco-Replay-Id": RUN}))


def pushed_again() -> PlannedReplay:
    row = planned(stored())
    return skip_replayed([row], {row.key: RUN}, {})[0]


def another_id() -> PlannedReplay:
    options = PlanOptions(transform=lambda event: {**event, "event_id": str(UUID(int=7))})
    return planned(stored(), options)


def without_channel() -> PlannedReplay:
    return planned(stored(), PlanOptions(to=""))


@pytest.mark.parametrize(
    ("row_of", "why", "shown"),
    [
        (
            replayed,
            f"replayed once before, last by run {RUN}; again=True replays it again",
            f"replayed once before, last by run {RUN}; "
            "tick 'include what was replayed before' to replay it again",
        ),
        (
            pushed_again,
            f"replayed before by run {RUN} and pushed again since; again=True replays it again",
            f"replayed before by run {RUN} and pushed again since; "
            "tick 'include what was replayed before' to replay it again",
        ),
        (
            another_id,
            "the edit changes its event_id; new_event_ids=True gives it a new one",
            "the edit changes its event_id; tick 'new event ids' to give it a new one",
        ),
        (
            without_channel,
            "it has no channel; to='orders' names one",
            "it has no channel; name the channel in 'To'",
        ),
    ],
)
def test_why_a_row_is_left_out(row_of: Callable[[], PlannedReplay], why: str, shown: str) -> None:
    row = row_of()
    assert row.why == why
    assert in_widget(row.why, row.advice) == shown


def test_a_number_to_confirm() -> None:
    error = ConfirmationError("replay", 21996, None)
    assert str(error) == (
        "this would replay 21,996 dead letters; to confirm, give their number: confirm=21996"
    )
    assert in_widget(str(error), error.advice, "Run") == (
        "this would replay 21,996 dead letters; to confirm, type 21,996 beside Run"
    )
    assert "21,996 dead letters, not 40; " in str(ConfirmationError("replay", 21996, 40))


def test_a_file_that_exists(tmp_path: Path) -> None:
    target = tmp_path / "dead.csv"
    target.touch()
    with pytest.raises(TargetExistsError) as raised:
        target_of(target, overwrite=False)
    error = raised.value
    assert str(error) == f"{str(target)!r} exists; overwrite=True replaces it"
    assert in_widget(str(error), error.advice) == (
        f"{str(target)!r} exists; tick 'replace an existing file' to replace it"
    )


async def test_a_discard_without_the_word(settings: NatsEventBusSettings) -> None:
    async with Replayer(NatsDLQ(settings)) as replayer:
        with pytest.raises(ReplayRefusedError) as raised:
            await replayer.discard([])
    error = raised.value
    assert str(error) == (
        "dead letters that are discarded are gone: export them and name the file in exported_to, "
        "or say confirm='discard'"
    )
    assert in_widget(str(error), error.advice) == (
        'dead letters that are discarded are gone: export them first, or type "discard" beside the '
        "button"
    )


async def test_a_run_without_the_word(settings: NatsEventBusSettings) -> None:
    async with NatsDLQ(settings) as dlq, Replayer(dlq) as replayer:
        await dlq.push(entry(1))
        with pytest.raises(ReplayRefusedError) as raised:
            await replayer.run(await replayer.plan())
    error = raised.value
    assert str(error).endswith("; to send them all the same, say confirm='nobody'")
    assert in_widget(str(error), error.advice).endswith(
        '; to send them all the same, type "nobody" beside the button'
    )


def test_every_kind_has_its_words() -> None:
    for kind in AdviceKind:
        assert in_widget("gone; x=1", Advice(kind, "x=1", 3)) != "gone; x=1"
    assert in_widget("gone; x=1", None) == "gone; x=1"
    assert in_widget("something else", Advice(AdviceKind.OVERWRITE, "x=1")) == "something else"


def test_no_text_names_an_argument_without_being_an_advice() -> None:
    """The widget would show a text with `again=True` in it as it is."""
    plan = Path(varco_nats.__file__).parent / "replay" / "_plan_rows.py"
    letters = Path(varco_nats_widgets.__file__).parent / "dead_letters"
    wild = []
    for path in (plan, *letters.glob("*.py")):
        tree = ast.parse(path.read_text())
        advice = {
            part
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Advice"
            for part in ast.walk(node)
        }
        texts = {node for node in ast.walk(tree) if isinstance(node, ast.Constant)} - advice
        wild += [
            f"{path.name}:{node.lineno}: {node.value}"
            for node in texts
            if isinstance(node.value, str)
            and "\n" not in node.value  # a docstring
            and re.search(r"\b(again|confirm|overwrite|new_event_ids|to)=", node.value)
        ]
    assert wild == []
