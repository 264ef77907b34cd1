"""From message to message: the next, the previous, and what differs between two."""

from __future__ import annotations

import json
from typing import Any

import pytest
from nats.aio.client import Client
from varco_nats_widgets import Lab
from varco_nats_widgets.explorer import Difference, Explorer
from varco_nats_widgets.explorer._comparing import (
    compared_of,
    comparisons,
    described_difference,
    name_of_comparison,
)
from varco_nats_widgets.explorer._difference import difference
from varco_nats_widgets.frames._decoding import Decoding
from varco_nats_widgets.frames._message import Message, message_of

from tests.foreign import SITES, fill
from tests.waiting import until
from tests.widgets.explorer.helpers import explore, publish
from varco_nats._masks._mask import Mask
from varco_nats.history import StoredMessage


def made(value: Any, seq: int = 1, headers: dict[str, str] | None = None) -> Message:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return message_of(StoredMessage(seq, "a", 0, data, headers), Decoding(str))


def rows(before: Any, after: Any) -> list[list[str]]:
    return difference(made(before), made(after, 2)).texts()


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"a": 1, "b": 2}, {"a": 1, "b": 2}, []),
        ({"a": 1}, {"a": 3}, [["a", "1", "3", "+2"]]),
        ({"a": 20.1}, {"a": 20.3}, [["a", "20.1", "20.3", "+0.2"]]),
        ({"a": 5000}, {"a": 1}, [["a", "5000", "1", "-4,999"]]),
        ({"a": 1}, {"a": True}, [["a", "1", "True", ""]]),
        ({"a": 1}, {"a": "1"}, [["a", "1", "1", ""]]),
        ({"a": None}, {}, [["a", "null", "", ""]]),
        ({}, {"a": {"b": 1}}, [["a", "", '{"b":1}', ""]]),
        ({"a": {"b": [1, 2]}}, {"a": {"b": [1, 3, 4]}}, [
            ["a.b[1]", "2", "3", "+1"], ["a.b[2]", "", "4", ""]
        ]),
        ([1], [2], [["[0]", "1", "2", "+1"]]),
        (b"text", b"other", [["payload", "text", "other", ""]]),
        (b"\x00\xff", {"a": 1}, [["payload", "00ff", '{"a":1}', ""]]),
    ],
)  # fmt: skip
def test_what_differs(before: Any, after: Any, expected: list[list[str]]) -> None:
    assert rows(before, after) == expected


def test_headers_differ_too_and_there_are_not_too_many_rows() -> None:
    before, after = {str(n): n for n in range(2_000)}, {str(n): n + 1 for n in range(2_000)}
    found = difference(made(before | {"same": 1}, 1, {"a": "b"}), made(after | {"same": 1}, 2))
    assert (len(found.changed), found.left_out, found.same) == (500, 1_501, 1)
    assert "2,001 changed, 1 the same" in repr(found)
    small = difference(made({}, 1, {"a": "b"}), made({}, 2, {"a": "c"}))
    assert small.frame.loc["headers.a", "after"] == "c"
    assert described_difference(small)["title"] == "Difference from #1 to #2"
    assert described_difference(None) == {}


def test_comparisons_have_names() -> None:
    for to, by in ((7, ""), ("previous", ""), ("previous", "a:b.c")):
        assert compared_of(name_of_comparison(to, by)) == (to, by)
    assert compared_of("") == (None, "")
    message = made({"id": "x", "n": {"deep": 1, "list": [1]}, "hidden": "***", "none": None})
    names = [name for name, _ in comparisons(message, 5, "#9")]
    assert names == ["previous", "#5", "previous:id", "previous:n.deep", "#9"]


def place(explorer: Explorer) -> tuple[int | None, list[int]]:
    message = explorer.message
    return (None if message is None else message.seq), list(explorer.selected_seqs)


async def test_next_and_previous_go_over_the_ends_of_a_page(lab: Lab) -> None:
    await publish(lab, *range(1, 8))
    explorer = await explore(lab, "orders", page_size=3)
    await explorer.aio.previous()  # to the page before, as none is open
    assert place(explorer) == (4, [4])
    await explorer.aio.newest()
    await explorer.aio.open(6)
    await explorer.aio.next()
    assert place(explorer) == (7, [7])
    assert await explorer.aio.next() is None
    assert place(explorer) == (7, [7])
    for wanted in (6, 5, 4, 3, 2, 1):
        await explorer.aio.previous()
        assert place(explorer) == (wanted, [wanted])
    assert await explorer.aio.previous() is None
    for wanted in range(2, 8):
        await explorer.aio.next()
        assert place(explorer) == (wanted, [wanted])
    explorer.close()


async def test_only_what_the_filters_show_is_stepped_to(lab: Lab) -> None:
    await publish(lab, *range(1, 30))
    explorer = await explore(lab, "orders", page_size=2)
    await explorer.aio.filter(condition="number > 20 and total < 36")
    await explorer.aio.open(21)
    seen = [21]
    while (message := await explorer.aio.next()) is not None:
        seen.append(message.seq)
    assert seen == [21, 22, 23]
    explorer.close()


async def test_a_message_is_compared_with_the_one_before_of_the_same_kind(
    lab: Lab, nc: Client
) -> None:
    suffix = lab.settings.stream_name
    await fill(nc, devices=6, readings=3, topics=1, suffix=suffix)
    subject = f"dev{suffix}.{SITES[0]}.003.temp"
    others = f"dev{suffix}.{SITES[1]}.004.temp"
    explorer = await explore(lab, subject, others, stream=f"TELEMETRY{suffix}")
    newest = [m.seq for m in [await explorer.aio.open(int(s)) for s in explorer.page.index]]
    await explorer.aio.open(newest[-2])
    found = await explorer.aio.compare()
    assert isinstance(found, Difference)
    assert found.before.subject == found.after.subject
    assert found.after.seq == newest[-2]
    assert {row.path for row in found.changed} >= {"value", "ts"}
    assert all(row.path != "device" for row in found.changed)

    by_unit = await explorer.aio.compare(by="unit")
    assert by_unit is not None
    assert by_unit.before.seq == newest[-3]  # of any device
    marked = await explorer.aio.compare(newest[0])
    assert marked is not None
    assert (marked.before.seq, explorer.compared) == (newest[0], newest[0])
    await explorer.aio.open(newest[1])
    assert explorer.difference is not None
    assert explorer.difference.after.seq == newest[1]
    await explorer.aio.open(newest[0])
    assert explorer.difference is None
    assert await explorer.aio.compare("previous") is None
    assert "none before it" in explorer.notice
    assert await explorer.aio.compare(None) is None
    with pytest.raises(ValueError, match="by= says which previous"):
        await explorer.aio.compare(3, by="unit")
    explorer.close()
    for name in ("TELEMETRY", "TOPICS", "FILES"):
        await nc.jetstream().delete_stream(f"{name}{suffix}")


async def test_the_view_steps_marks_and_compares(lab: Lab) -> None:
    await publish(lab, *range(1, 6))
    explorer = await explore(lab, "orders")
    view = explorer.view()
    assert view.message.can == ["step", "compare", "send"]
    explorer.selected_seqs = [2]
    await explorer.aio.open(2)
    view.message._on_message({"type": "compare", "value": "mark"})
    await until(lambda: view.message.compared == "#2")
    view.message._on_message({"type": "step", "value": 1})
    await until(lambda: view.message.message.get("facts", [[0, ""]])[0][1] == "3")
    await until(lambda: view.message.difference.get("title") == "Difference from #2 to #3")
    assert ["number", "2", "3", "+1"] in view.message.difference["rows"]
    await until(lambda: view.table.selected == [3])
    view.message._on_message({"type": "compare", "value": ""})
    await until(lambda: view.message.difference == {})
    explorer.close()


def test_values_that_are_masked_are_in_no_difference() -> None:
    masked = Decoding(str, mask=Mask.parse("email"))
    one, two = (
        message_of(
            StoredMessage(n, "a", 0, json.dumps({"email": f"{n}@plant"}).encode(), None), masked
        )
        for n in (1, 2)
    )
    assert "plant" not in repr(difference(one, two).texts())
