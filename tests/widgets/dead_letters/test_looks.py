"""What people read in the dead letters' view, without a browser."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import uuid4

import pandas as pd
import pytest
from varco_nats_widgets import Lab
from varco_nats_widgets.dead_letters import DeadLetter
from varco_nats_widgets.dead_letters._view.edit_panel import not_editable
from varco_nats_widgets.dead_letters._view.failure import failure_line
from varco_nats_widgets.dead_letters._view.tables import (
    in_words,
    shown_entries,
    shown_groups,
    shown_log,
)
from varco_nats_widgets.dead_letters._view.words import cause_words, described_letter, path_words
from varco_nats_widgets.sample._failures import failures

from tests.waiting import until
from tests.widgets.dead_letters.helpers import entries, entry, push, shown
from varco_nats.config import NatsEventBusSettings

PYTHON = """Traceback (most recent call last):
  File "/srv/shop/a.py", line 1, in reserve
    await post()
          ^^^^^^
httpcore.ReadTimeout

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/srv/shop/b.py", line 41, in on_order
    raise OrderError(order) from error
shop.OrderError: order o-1 could not be reserved
DETAIL: the warehouse did not answer"""
GROUP = """  + Exception Group Traceback (most recent call last):
  |   File "/srv/a.py", line 3, in main
  | ExceptionGroup: unhandled errors in a TaskGroup (1 sub-exception)
  +-+---------------- 1 ----------------
    | Traceback (most recent call last):
    |   File "/srv/a.py", line 9, in book
    |     raise ValueError("total below 0")
    | ValueError: total below 0
    +------------------------------------"""
JAVA = """com.shop.RefundRejected: refund r-1 was rejected
\tat com.shop.RefundService.refund(RefundService.java:214)
Caused by: java.lang.IllegalStateException: closed
\tat com.shop.Acquirer.post(Acquirer.java:9)
Caused by: java.net.SocketException: Connection reset
\t... 14 more"""


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", ""),
        ("total is below 0", "total is below 0"),
        (PYTHON, "shop.OrderError: order o-1 could not be reserved"),
        (GROUP, "ValueError: total below 0"),
        (
            JAVA,
            "com.shop.RefundRejected: refund r-1 was rejected; caused by "
            "java.net.SocketException: Connection reset",
        ),
        (
            JAVA.replace("\tat com.shop.RefundService.refund(RefundService.java:214)\n", ""),
            "com.shop.RefundRejected: refund r-1 was rejected; caused by "
            "java.net.SocketException: Connection reset",
        ),
        ("Error: no stock\n    at reserve (/srv/stock.js:4:9)", "Error: no stock"),
        ("failed:\nError: no\n    at new Cart (/srv/cart.js:4:9)", "failed: · Error: no"),
        ("1 error for Label\ncountry\n  is no code", "1 error for Label · country · is no code"),
        ("\n".join("abcdefgh"), "a · b · c · d · e · f …"),
        # cut before its exception: at least what was raised before, or where it was
        (PYTHON.partition("\nshop.")[0], "httpcore.ReadTimeout"),
        (PYTHON[:80], 'Traceback (most recent call last): · File "/srv/shop/a.py", line 1'),
        ("Traceback (most recent call last):", "Traceback (most recent call last):"),
        ("very long " * 4000, "very long " * 40 + " …"),
    ],
)
def test_the_line_of_an_error_that_says_what_failed(text: str, line: str) -> None:
    assert failure_line(text).startswith(line)
    assert "\n" not in failure_line(text)


def test_no_error_of_a_bad_night_is_shown_by_its_first_line_only() -> None:
    lines = {failure_line(made.error_message) for made in islice(failures(400), 400)}
    assert not [line for line in lines if line.startswith("Traceback")]
    assert any(line.startswith("httpx.ReadTimeout: POST https://wms-") for line in lines)
    assert any("; caused by java.net.SocketException: Connection reset" in line for line in lines)


async def test_what_most_entries_lack_does_not_come_first(
    lab: Lab, settings: NatsEventBusSettings
) -> None:
    await push(settings, *islice(failures(120), 120))
    page = shown_entries((await shown(lab)).page)
    columns = [str(name) for name in page.columns]
    first = columns[: columns.index("event type")]
    assert first[:3] == ["failed (UTC)", "channel", "error"]
    assert page[first].notna().mean().min() >= 0.5
    assert {"payload", "not readable", "country", "address.city"} <= set(columns) - set(first)
    assert "timestamp" not in columns
    assert not page["error"].str.startswith("Traceback").any()


async def test_a_field_of_a_payload_never_takes_the_name_of_another_column(
    lab: Lab, settings: NatsEventBusSettings
) -> None:
    await push(settings, entry(1, event=None, payload=b'{"error": 1, "channel": 2, "x": 3}'))
    page = shown_entries((await shown(lab)).page)
    assert page.columns.is_unique
    assert {"error", "data.error", "channel", "data.channel", "x"} <= set(page.columns)


def letter(**values: Any) -> DeadLetter:
    made: dict[str, Any] = {
        "entry_id": uuid4(),
        "seq": 4,
        "channel": "orders",
        "handler": "Shop.on_order",
        "error_type": "OrderError",
        "error_message": PYTHON,
        "attempts": 5,
        "first_failed_at": None,
        "last_failed_at": datetime(2026, 5, 4, 10, 3, 12, tzinfo=UTC),
        "source": "consumer",
        "source_ref": "shop:7",
        "original": "stored",
        "tenant_id": "north",
        "replay_count": 0,
        "num_delivered": None,
        "event_type": "shop.order",
        "event_id": "e-1",
        "timestamp": "2026-05-04T10:03:00Z",
        "headers": {},
        "data": b'{"number": 1}',
        "problem": None,
        "payload": {"number": 1},
        "copies": (),
    }
    return DeadLetter(**(made | values))


def test_an_entry_says_what_failed_then_where_when_and_how_often_and_its_ids_last() -> None:
    shown = described_letter(letter())
    assert shown["title"] == "shop.order in orders"
    assert shown["summary"] == (
        "5 attempts, the last 2026-05-04 10:03:12 UTC · handler Shop.on_order · tenant north"
    )
    assert shown["failure"] == "shop.OrderError: order o-1 could not be reserved"
    assert shown["error"] == PYTHON
    facts = {name: value for name, value, *_ in shown["facts"]}
    assert [*facts][:5] == ["error type", "channel", "handler", "failed last", "failed first"]
    assert [*facts][-5:] == ["event type", "event id", "entry id", "original", "source"]
    assert facts["failed last"] == "2026-05-04 10:03:12 UTC"
    assert facts["failed first"] == "not known"
    bare = described_letter(letter(error_message="", error_type="Timeout"))
    assert (bare["failure"], bare["error"]) == ("Timeout", "Timeout")
    other = described_letter(letter(error_message="below 0", error_type="shop.ValueError"))
    assert other["failure"] == "shop.ValueError: below 0"


def test_what_is_not_text_is_not_edited_as_text() -> None:
    assert not_editable(letter()) == ""
    broken = {"problem": "not JSON", "payload": None}
    assert not_editable(letter(data=b"{number: 1}", **broken)) == ""  # somebody may repair it
    reason = not_editable(letter(data=b"\x89LBL\r\n\xc3" + bytes(200), **broken))
    assert "It is binary, 207 bytes" in reason
    assert "A replay sends it as it is" in reason
    assert "nothing to edit" in not_editable(letter(data=b"", **broken))


def test_a_report_and_a_log_speak_in_words() -> None:
    rows = pd.DataFrame({"outcome": ["replayed", "skipped"], "removed": [True, False]})
    assert in_words(rows)["dead letter"].fillna("").tolist() == ["removed", ""]
    assert rows["removed"].tolist() == [True, False]
    assert shown_log(pd.DataFrame()).empty


def test_what_a_group_has_in_common_is_said_without_what_is_not_known() -> None:
    groups = pd.DataFrame(
        {
            "handler": ["Shop.on_order", "", ""],
            "error_type": ["KeyError", "KeyError", ""],
            "message": ["'a'", "'a'", "KeyError: 'a'"],
        },
        index=["full", "no handler", "neither"],
    )
    said = {name: cause_words(groups, [name]) for name in groups.index}
    assert said == {
        "full": "KeyError in Shop.on_order: 'a'",
        "no handler": "KeyError: 'a'",
        "neither": "KeyError: 'a'",
    }


async def test_values_are_chosen_from_lists_with_counts(
    lab: Lab, settings: NatsEventBusSettings
) -> None:
    await push(settings, *entries(9), entry(10, handler_name="\ud800", error_type="Odd"))
    letters = await shown(lab)
    view = letters.view()
    view.flush()
    handlers = view.choices["handler"]
    assert handlers.choices[:2] == [["Shop.on_order", 6], ["Shop.on_payment", 3]]
    handlers.chosen = ["Shop.on_payment"]
    await until(lambda: letters.filters == {"handler": "Shop.on_payment"} and not letters.busy)
    view.flush()
    assert ["Shop.on_order", None] in handlers.choices  # it can still be chosen
    handlers.chosen = ["Shop.on_payment", "Shop.on_order"]
    await until(lambda: letters.matching == 9)
    assert letters.filters == {"handler": ["Shop.on_payment", "Shop.on_order"]}
    view.flush()
    assert not view.others.children
    handlers.chosen = []
    await until(lambda: letters.matching == 10)
    assert not letters.filters
    await letters.aio.filter(channel={"orders"})  # which only Python can say
    view.flush()
    assert len(view.others.children) == 1


async def test_what_has_no_error_and_no_handler_is_named_and_can_be_chosen(
    lab: Lab, settings: NatsEventBusSettings
) -> None:
    bare = [entry(n, handler_name="", error_type="", error_message="") for n in (1, 2)]
    await push(settings, *bare, entry(3))
    letters = await shown(lab)
    view = letters.view()
    view.flush()
    nothing = letters.group_table.index[letters.group_table["error_type"] == ""][0]
    assert shown_groups(letters.group_table)["message"][nothing] == "no error was kept"
    assert cause_words(letters.group_table, [nothing]) == "no error was kept"
    assert shown_entries(letters.page)["error"].tolist()[1:] == ["no error was kept"] * 2
    kinds = view.choices["error_type"]
    assert kinds.choices[0] == ["(empty)", 2]
    kinds.chosen = ["(empty)"]
    await until(lambda: letters.matching == 2)
    view.flush()
    assert (kinds.chosen, kinds.values) == (["(empty)"], [""])


async def test_where_there_is_nothing_it_is_said_what_to_do(
    lab: Lab, settings: NatsEventBusSettings
) -> None:
    letters = await shown(lab)
    view = letters.view()
    view.flush()
    parts = view.groups, view.entries, view.older, view.replay.table
    assert view.status.place == "No dead letters. What fails for good appears here by itself."
    assert letters.notice.startswith(f"there is no stream {letters._browser.names.stream} yet: a")
    assert {part.layout.display for part in parts} == {"none"}
    assert "Choose entries at the top, then plan." in view.replay.message.value
    assert "Choose entries first, at the top." in view.keep.confirm.why.value
    assert "Nothing" not in view.log.of_run.value  # before the log was read
    await letters.aio.replays()
    view.flush()
    assert "Nothing was replayed, discarded or put back yet." in view.log.of_run.value
    await push(settings, *entries(3))
    await letters.aio.refresh()
    view.flush()
    assert (letters.notice, view.status.place) == ("", "3 dead letters · 2 groups")
    assert {part.layout.display for part in parts[:3]} == {None}
    await letters.aio.filter(channel="orders", condition="total > 100")
    view.flush()
    assert "No entry matches the filter: change it, or press Clear." in view.place.value
    assert view.static_html("").endswith("<p>No rows.</p>")
    assert {part.layout.display for part in parts} == {"none"}
    with Lab(settings, read_only=True) as looking:
        view = (await shown(looking)).view()
        view.flush()
        to_do = "read-only: to replay or discard, make a Lab that is not read_only"
        assert view.status.place == f"3 dead letters · 2 groups · {to_do}"


def test_a_file_beside_the_notebook_is_named_without_its_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert path_words(str(tmp_path / "night" / "dead.csv")) == str(Path("night", "dead.csv"))
    assert path_words("dead.csv") == "dead.csv"
    elsewhere = str(tmp_path.parent / "dead.csv")
    assert path_words(elsewhere) == elsewhere
