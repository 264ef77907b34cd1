from __future__ import annotations

import json
import threading
import time
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest
from varco_nats_widgets._ui.coalesce import Coalescer
from varco_nats_widgets._ui.rows import Rows
from varco_nats_widgets._ui.views import DataTable, TimeChart
from varco_nats_widgets.frames._cells import format_cell

from tests.waiting import wait_until


class Page:
    """What a browser would do with a table: send messages, hear answers."""

    def __init__(self, table: DataTable) -> None:
        self.table = table
        self.heard: list[dict[str, Any]] = []
        table.send = lambda content, buffers=None: self.heard.append(content)

    def ask(self, start: int, count: int, span: tuple[int, int] = (0, 60)) -> dict[str, Any]:
        message = {"type": "window", "request": "r", "generation": 0, "page": 10}
        self.say({**message, "start": start, "count": count, "span": list(span)})
        answer = self.heard.pop()
        assert answer["request"] == "r"
        json.dumps(answer, allow_nan=False).encode()
        return answer

    def say(self, message: dict[str, Any]) -> None:
        self.table._handle_custom_msg(message, [])

    def window(self) -> dict[str, Any]:
        self.table.flush()
        return dict(self.table._window)


@pytest.fixture
def table() -> Iterator[DataTable]:
    made = DataTable()
    yield made
    made.close()


def test_an_observer_may_close_a_table_that_fails() -> None:
    drawing = threading.Event()

    class Broken(DataTable):
        def _renew(self) -> None:
            drawing.set()
            raise ValueError("broken")

    def close(_: object) -> None:
        drawing.wait(20)
        broken.close()

    broken = Broken()
    broken.observe(close, "selected")
    broken.set_state({"selected": [1]})  # as the browser does
    assert broken.error == "ValueError: broken"


def test_figures_have_grouped_thousands() -> None:
    counts: list[object] = [1234567, "over 2,000", None]
    frame = pd.DataFrame({"count": counts, "seq": [1234567, 2, 3]}, index=[1000, 2, 3])
    table = DataTable(figures=("count", "gone"))
    table.set_frame(frame)
    page = Page(table)
    assert page.window()["rows"][0] == ["1000", "1,234,567", "1234567"]
    assert [row[1] for row in page.ask(1, 2)["rows"]] == ["over 2,000", ""]
    assert dict(table._columns) == {"index": True, "count": True, "seq": True}
    assert "<td>1,234,567</td>" in table.static_html()
    table.close()


@pytest.fixture
def page(table: DataTable) -> Page:
    return Page(table)


def events(first: int, count: int, **columns: Any) -> pd.DataFrame:
    seq = pd.Index(range(first, first + count), name="seq")
    return pd.DataFrame({"number": np.arange(first, first + count) * 10, **columns}, index=seq)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (float("nan"), ""),
        (np.float64("nan"), ""),
        (pd.NaT, ""),
        (pd.NA, ""),
        (True, "True"),
        (np.int64(7), "7"),
        (2**70, str(2**70)),
        (0.1, "0.1"),
        (1e300, "1e+300"),
        ("<script>alert(1)</script>", "<script>alert(1)</script>"),
        ("=cmd()", "=cmd()"),
        (pd.Timestamp("2026-05-01 10:00:00.123456", tz="UTC"), "2026-05-01T10:00:00.123Z"),
        (datetime(2026, 5, 1, tzinfo=UTC), "2026-05-01T00:00:00.000Z"),
        (pd.Timestamp("2026-05-01 10:00"), "2026-05-01T10:00:00.000"),
        (b"caf\xc3\xa9", "café"),
        (b"\xff\xfe\x00", "fffe00"),
        (b"a\x00b", "610062"),
        ("é".encode() * 300, "é" * 199 + "…"),
        (b"\xff" * 1000, "ff" * 99 + "f…"),
        ({"a": [1, None, "é"]}, '{"a":[1,null,"é"]}'),
        (["x"] * 10**6, '["x"' + ',"x"' * 48 + ',"x…'),
        ({"t": datetime(2026, 5, 1)}, '{"t":"2026-05-01 00:00:00"}'),
        ("x" * 200, "x" * 200),
        ("x" * 201, "x" * 199 + "…"),
        ("\ud800", "\\ud800"),
    ],
)
def test_every_value_is_one_short_text(value: object, text: str) -> None:
    assert format_cell(value) == text


def test_cell_survives_what_cannot_be_text() -> None:
    class Rude:
        def __str__(self) -> str:
            raise ValueError("no")

    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert format_cell(Rude()) == "<Rude>"
    assert format_cell(10**5000) == "<int>"
    assert len(format_cell(deep)) <= 200
    while deep:  # a list this deep cannot be freed at once by older Pythons
        deep = deep[0]


def test_only_a_window_goes_to_the_browser(table: DataTable, page: Page) -> None:
    frame = events(1, 100_000, text="x" * 50)
    table.set_frame(frame)
    window = page.window()
    assert (window["base"], window["total"], window["start"]) == (0, 100_000, 0)
    assert len(window["rows"]) <= 50
    assert window["rows"][0] == ["1", "10", "x" * 50]
    assert table._columns == [["seq", True], ["number", True], ["text", False]]
    answer = page.ask(49_999, 3)
    assert answer["ids"] == [50_000, 50_001, 50_002]
    assert answer["rows"][0][:2] == ["50000", "500000"]
    assert page.ask(99_999, 50)["ids"] == [100_000]
    assert page.ask(0, 10**9)["ids"][-1] <= 1000
    assert table.frame is frame


def test_frame_is_kept_and_not_copied(table: DataTable) -> None:
    frame = events(1, 1_000_000)
    tracemalloc.start()
    try:
        table.set_frame(frame)
        table.flush()
        table.append(events(1_000_001, 10), keep=1_000_000)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_append_keeps_the_newest(table: DataTable, page: Page) -> None:
    table.follow = True
    for start in range(1, 1001, 7):
        table.append(events(start, 7), keep=100)
    window = page.window()
    assert (window["base"], window["total"]) == (1001 - 100, 100)
    assert window["ids"][-1] == 1001
    assert page.ask(901, 2)["ids"] == [902, 903]
    assert page.ask(0, 5)["ids"] == [902, 903, 904, 905, 906]
    assert table.frame.index.tolist() == list(range(902, 1002))
    table.append(events(2000, 500), keep=100)
    assert table.frame.index.tolist() == list(range(2400, 2500))
    assert page.window()["base"] == 1001 + 400
    assert page.ask(1401, 1)["ids"] == [2400]
    with pytest.raises(ValueError, match="at least 1"):
        table.append(events(1, 1), keep=0)


def test_append_of_single_rows_stays_cheap() -> None:
    rows = Rows()
    for start in range(3000):
        rows.append(events(start, 1), keep=2000)
    assert len(rows._chunks) < 20
    assert rows.frame().index.tolist() == list(range(1000, 3000))


def test_chunks_that_differ_keep_their_values() -> None:
    rows = Rows()
    big = 2**63 - 1
    rows.append(pd.DataFrame({"a": [big], "t": pd.to_datetime(["2026-05-01"], utc=True)}), 9)
    rows.append(pd.DataFrame({"b": ["x"], "flag": [True]}), 9)
    rows.append(pd.DataFrame({"a": [0.5], "b": [3]}), 9)
    rows.append(pd.DataFrame({"a": [[1]]}), 9)
    frame = rows.frame()
    assert frame.columns.tolist() == ["a", "t", "b", "flag"]
    assert frame["a"].tolist()[::2] == [big, 0.5]
    assert frame["a"].tolist()[3] == [1]
    assert [format_cell(v) for v in frame["flag"]] == ["", "True", "", ""]
    assert [format_cell(v) for v in frame["b"]] == ["", "x", "3", ""]
    assert str(frame["t"].dtype).startswith("datetime64")


def test_frames_that_are_odd(table: DataTable, page: Page) -> None:
    for frame in (
        pd.DataFrame(),
        pd.DataFrame({"a": []}),
        pd.DataFrame([[1, 2]], columns=["a", "a"]),
        pd.DataFrame({("x", 1): [1]}),
        pd.DataFrame({"a": [1]}, index=pd.MultiIndex.from_tuples([("p", 2)])),
        pd.DataFrame([["\udfff"]], columns=pd.Index(["\ud800"], dtype=object), dtype=object),
        pd.DataFrame({"a": [1]}, index=[2**60]),
    ):
        table.set_frame(frame)
        window = page.window()
        json.dumps(window, ensure_ascii=False).encode()
        assert len(window["rows"]) == len(frame)
        assert len(table._columns) == 1 + len(frame.columns)
        assert table.error == ""
    assert page.window()["ids"] == [str(2**60)]
    table.set_frame(pd.DataFrame([[1, 2]], columns=["a", "a"]))
    assert page.window()["rows"] == [["0", "1", "2"]]
    assert [name for name, _ in table._columns] == ["index", "a", "a.1"]


@pytest.mark.parametrize("descending", [False, True])
def test_sorts_the_whole_frame(table: DataTable, page: Page, descending: bool) -> None:
    values = np.random.default_rng(7).permutation(5000)
    table.set_frame(events(1, 5000, value=values))
    table.sort_by, table.sort_descending = "value", descending
    window = page.window()
    assert window["sorted"]
    expected = sorted(values.tolist(), reverse=descending)
    assert [int(row[2]) for row in window["rows"]] == expected[: len(window["rows"])]
    assert [int(row[2]) for row in page.ask(4990, 100)["rows"]] == expected[4990:]
    table.append(events(5001, 1, value=[-1 if not descending else 9999]), keep=6000)
    assert page.window()["ids"][0] == 5001
    table.sort_by = ""
    assert page.window()["ids"][0] == 1


def test_sorts_mixed_values_and_the_index(table: DataTable, page: Page) -> None:
    table.set_frame(events(1, 7, mixed=["b", 3, None, {"a": 1}, 1.5, "a", float("nan")]))
    table.sort_by = "mixed"
    assert page.window()["ids"] == [5, 2, 6, 1, 4, 3, 7]
    table.sort_descending = True
    assert page.window()["ids"] == [4, 1, 6, 2, 5, 3, 7]
    table.sort_by = "seq"
    assert page.window()["ids"] == [7, 6, 5, 4, 3, 2, 1]


def test_newest_first_sends_the_end(table: DataTable, page: Page) -> None:
    table.newest_first = True
    table.set_frame(events(1, 1000))
    assert page.window()["ids"][-1] == 1000
    page.say({"type": "select", "start": 10, "stop": 13})
    assert table.selected == [13, 12, 11]


def test_columns_and_rows_are_of_one_frame(
    table: DataTable, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    page.window()
    read = table._read

    def changed_meanwhile(*args: int) -> dict[str, Any]:
        monkeypatch.undo()
        table.set_frame(pd.DataFrame({"c": [3]}))
        return read(*args)

    monkeypatch.setattr(table, "_read", changed_meanwhile)
    table.set_frame(pd.DataFrame({"a": [4], "b": [5]}))
    table.flush()
    assert {len(row) for row in table._window.get("rows", ())} <= {len(table._columns)}
    assert page.window()["rows"] == [["0", "3"]]


def test_the_types_of_no_rows_are_not_kept(table: DataTable, page: Page) -> None:
    table.set_frame(pd.DataFrame({"text": pd.array([], "float64"), "n": pd.array([], "int64")}))
    page.window()
    assert [numeric for _, numeric in table._columns[1:]] == [False, False]
    table.append(pd.DataFrame({"text": ["a"], "n": [1]}), keep=10)
    page.window()
    assert [numeric for _, numeric in table._columns[1:]] == [False, True]


def test_columns_can_be_chosen(table: DataTable, page: Page) -> None:
    table.set_frame(events(1, 2, text="x", other="y"))
    table.columns = ["other", "absent", "number"]
    assert page.window()["rows"][0] == ["1", "y", "", "10"]
    assert repr(table) == "DataTable(3 columns)"


def test_wide_frames_are_sent_in_parts(table: DataTable, page: Page) -> None:
    table.set_frame(pd.DataFrame([range(500)]))
    assert len(page.window()["rows"][0]) == 61
    assert page.ask(0, 1, (300, 303))["rows"] == [["0", "300", "301", "302"]]


def test_selects_what_the_browser_has_not_loaded(table: DataTable, page: Page) -> None:
    table.set_frame(events(1, 50_000))
    table.flush()
    page.say({"type": "select", "start": 9, "stop": 30_000})
    assert table.selected == list(range(10, 30_001))
    page.say({"type": "copy", "request": "c"})
    lines = page.heard.pop()["text"].splitlines()
    assert len(lines) == 1 + 29_991
    assert lines[:2] == ["seq\tnumber", "10\t100"]


def test_copies_whole_values_on_one_line_each(table: DataTable, page: Page) -> None:
    table.set_frame(events(1, 2, text=["a\tb\nc", "x" * 500]))
    table.selected = [1, 2]
    page.say({"type": "copy", "request": "c"})
    assert page.heard[0]["text"].splitlines() == [
        "seq\tnumber\ttext",
        "1\t10\ta b c",
        "2\t20\t" + "x" * 500,
    ]


def test_open_calls_back_and_shows_what_is_raised(table: DataTable, page: Page) -> None:
    opened: list[int] = []

    def fail(_: int) -> None:
        raise KeyError("<b>gone</b>")

    table.on_open(fail)
    table.on_open(opened.append)
    page.say({"type": "open", "id": 3})
    assert opened == [3]
    assert table.error == "KeyError: '<b>gone</b>'"


def test_an_observer_that_raises_is_shown(table: DataTable) -> None:
    def fail(change: object) -> None:
        raise RuntimeError("observer failed")

    table.observe(fail, "selected")
    table.set_state({"selected": [1]})
    assert table.error == "RuntimeError: observer failed"
    with pytest.raises(RuntimeError):
        table.selected = [2]


def test_update_that_fails_is_shown(table: DataTable) -> None:
    class Rude(str):
        __slots__ = ()

        def encode(self, *args: Any, **kwargs: Any) -> bytes:
            raise RuntimeError("no")

    table.set_frame(pd.DataFrame({"a": [1]}, index=pd.Index([Rude("x")], dtype=object)))
    table.flush()
    assert table.error == "RuntimeError: no"


def test_fed_from_threads_while_the_browser_asks(table: DataTable, page: Page) -> None:
    def feed(first: int) -> None:
        for start in range(first, first + 10_000, 50):
            table.append(events(start, 50), keep=3000)

    threads = [threading.Thread(target=feed, args=(n * 100_000,)) for n in range(3)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        answer = page.ask(page.window()["base"], 100)
        assert len(answer["ids"]) <= 100
        table.set_state({"sort_by": "number" if not table.sort_by else ""})
    for thread in threads:
        thread.join()
    table.sort_by = ""
    assert page.window()["total"] == len(table.frame) == 3000
    assert page.window()["base"] == 27_000
    assert table.error == ""


def test_observer_may_wait_for_the_thread_that_feeds(table: DataTable) -> None:
    """As a `selected` observer does that calls `lab.frame(...)`."""

    def observer(_: object) -> None:
        thread = threading.Thread(target=lambda: table.append(events(1, 10), keep=100))
        thread.start()
        thread.join(5)
        assert not thread.is_alive()
        table.close()

    table.observe(observer, "selected")
    table.set_state({"selected": [1]})
    assert table.error == ""


def test_static_html_is_text_only() -> None:
    table = DataTable()
    hostile = "<img src=x onerror=alert(1)>$\\alpha$"
    table.set_frame(pd.DataFrame({hostile: [hostile] * 20}))
    bundle = table._repr_mimebundle_()
    assert bundle is not None
    assert bundle[0]["text/plain"] == repr(table) == "DataTable(1 columns)"
    markup = bundle[0]["text/html"]
    assert markup.count("<tr>") == 21
    assert "<img" not in markup
    assert "$\\" not in markup
    assert "&lt;img src=x onerror=alert(1)&gt;<span>$</span><span>\\</span>alpha" in markup
    table.close()
    chart = TimeChart()
    assert "text/html" not in (chart._repr_mimebundle_() or ({}, {}))[0]
    chart.close()


def test_chart_sends_what_it_is_given() -> None:
    chart = TimeChart("<b>rate</b>", "events/s")
    chart.set_series({"orders": ([1, 2, 3], [0.5, float("nan"), 2])})
    chart.flush()
    (series,) = chart._series
    assert series["name"] == "orders"
    assert np.frombuffer(series["times"]).tolist() == [1, 2, 3]
    assert np.frombuffer(series["values"])[2] == 2
    assert repr(chart) == "TimeChart('<b>rate</b>')"
    assert "<b>" not in (chart._repr_mimebundle_() or ({}, {}))[0]["text/html"]
    with pytest.raises(ValueError, match="'orders' has 1 times and 2 values"):
        chart.set_series({"orders": ([1], [1, 2])})
    chart.close()


def test_chart_keeps_the_peaks_of_long_series() -> None:
    values = np.zeros(100_000)
    values[54_321], values[70_000] = 99, -99
    values[10_000:20_000] = np.nan
    chart = TimeChart()
    chart.set_series({"x": (np.arange(100_000), values)})  # type: ignore[dict-item]
    chart.flush()
    drawn = np.frombuffer(chart._series[0]["values"])
    assert len(drawn) <= 2000
    assert (np.nanmax(drawn), np.nanmin(drawn)) == (99, -99)  # type: ignore[comparison-overlap]
    assert np.isnan(drawn).any()
    chart.close()


def test_coalescer_bounds_the_rate_and_flushes_the_last() -> None:
    seen: list[int] = []
    value = 0
    coalescer = Coalescer(lambda: seen.append(value), hz=20)
    begin = time.monotonic()
    while len(seen) < 8:
        value += 1
        coalescer.trigger()
    last = value
    wait_until(lambda: seen[-1] == last)
    assert len(seen) <= 20 * (time.monotonic() - begin) + 2
    assert last > 100
    value += 1
    coalescer.trigger()
    coalescer.close()
    assert seen[-1] == value
    assert not [t for t in threading.enumerate() if t.name == "View"]
    coalescer.trigger()
    coalescer.close()
    assert not [t for t in threading.enumerate() if t.name == "View"]


def test_coalescer_flush_and_errors() -> None:
    calls: list[str] = []
    errors: list[Exception] = []

    def work() -> None:
        calls.append(threading.current_thread().name)
        if len(calls) == 1:
            raise ValueError("first")
        coalescer.flush()  # from within does nothing

    coalescer = Coalescer(work, hz=0.01, on_error=errors.append)
    coalescer.flush()
    assert calls == []
    coalescer.trigger()
    wait_until(lambda: len(errors) == 1)
    coalescer.trigger()
    coalescer.flush()
    assert calls == ["View", "MainThread"]
    coalescer.close()
    assert len(calls) == 2


def test_coalescer_thread_ends_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("varco_nats_widgets._ui.coalesce._LINGER", 0.05)
    calls: list[int] = []
    coalescer = Coalescer(lambda: calls.append(1), hz=100)
    for count in (1, 2):
        coalescer.trigger()
        wait_until(lambda: len(calls) == count)  # noqa: B023
        wait_until(lambda: coalescer._thread is None)
    coalescer.close()


def test_empty_columns_are_left_out_and_told() -> None:
    table = DataTable(hide_empty=True)
    page = Page(table)
    table.set_frame(events(1, 3, none=[None] * 3, text=["a", None, "b"], nan=[float("nan")] * 3))
    window = page.window()
    assert [name for name, _ in table._columns] == ["seq", "number", "text"]
    assert window["empty"] == ["none", "nan"]
    assert window["rows"][1] == ["2", "20", ""]
    table.append(events(4, 1, none=["x"], text=["c"], nan=[float("nan")]), keep=10)
    last = page.window()
    assert [name for name, _ in table._columns] == ["seq", "number", "none", "text"]
    assert last["generation"] > window["generation"]  # cells are of other columns
    assert last["keys"] == window["keys"]  # but of the same rows
    table.arrangement = {"show_empty": True}
    assert len(page.window()["rows"][0]) == 5
    table.set_frame(events(1, 0, none=[]))
    assert page.window()["empty"] == []
    table.close()


def test_columns_are_arranged(table: DataTable, page: Page) -> None:
    table.set_frame(pd.DataFrame([range(100)], columns=[f"c{n}" for n in range(100)]))
    keys = page.window()["keys"]
    table.arrangement = {"pinned": ["c70", "c3"], "hidden": ["c0"], "order": ["c9"]}
    window = page.window()
    assert window["rows"][0][:5] == ["0", "70", "3", "9", "1"]
    assert (window["pinned"], window["hidden"], window["keys"]) == (2, ["c0"], keys)
    assert page.ask(0, 1, (60, 62))["rows"] == [["0", "70", "3", "62", "63"]]
    table.selected = [0]
    page.say({"type": "copy", "request": "c"})
    assert page.heard.pop()["text"].startswith("index\tc70\tc3\tc9\tc1")
    table.set_state({"arrangement": {"hide": 1}})
    assert "hide=1 is not understood" in table.error
    generation = page.window()["generation"]
    table.arrangement = {**table.arrangement, "widths": {"c9": 70}}
    assert page.window()["generation"] == generation  # the rows that are known stay so


def test_a_day_that_all_times_are_of_is_told(table: DataTable, page: Page) -> None:
    def at(*times: str | None, **columns: Any) -> pd.DataFrame:
        return pd.DataFrame({"at": pd.DatetimeIndex([*times], tz="UTC"), **columns})

    table.set_frame(at("2026-05-04 10:00", None, "2026-05-04 23:59"))
    assert page.window()["days"] == {"at": "2026-05-04"}
    table.append(at("2026-05-05 00:00"), keep=10)
    assert page.window()["days"] == {"at": ""}
    local = pd.to_datetime(["2026-05-04 10:00"], utc=True).tz_convert("Asia/Kolkata")
    table.set_frame(at(None, local=local))
    assert page.window()["days"] == {"at": ""}


def test_a_value_is_picked_and_looked_at(table: DataTable, page: Page) -> None:
    picked: list[Any] = []
    assert not table.can_filter
    table.on_pick(lambda *given: picked.append(given))
    assert table.can_filter
    table.set_frame(events(1, 3, text=["a", None, "x" * 5000]))
    table.flush()
    for row, column in ((1, "text"), (2, "text"), (3, "number"), (3, "seq")):
        page.say({"type": "pick", "id": row, "column": column, "exclude": row > 1})
    missing = picked.pop(1)
    assert pd.isna(missing[1])
    assert picked == [("text", "a", False), ("number", 30, True), ("seq", 3, True)]
    page.say({"type": "pick", "id": 9, "column": "text", "exclude": False})
    assert "no longer here" in table.error
    page.say({"type": "cell", "request": "c", "id": 3, "column": "text"})
    assert page.heard.pop() == {"type": "cell", "request": "c", "text": "x" * 1999 + "…"}


def test_a_text_is_found_where_it_is_shown(table: DataTable, page: Page) -> None:
    def found(text: str) -> tuple[list[list[int]], int]:
        page.window()
        page.say({"type": "find", "request": "f", "text": text})
        answer = page.heard.pop()
        assert answer["generation"] == table._generation
        return answer["places"], answer["total"]

    times = pd.to_datetime(["2026-05-04 10:00"] * 1500, utc=True)
    table.append(events(1, 1500, text=["Größe"] * 1500, at=times), keep=1400)
    assert found("GRÖSSE") == found("größe")
    places, total = found("größe")
    assert (places[0], len(places), total) == ([100, 2], 1000, 1400)
    assert found("")[1] == found("nowhere")[1] == 0
    assert found("2026-05-04 10")[1] == 1400
    table.arrangement = {"hidden": ["text"]}
    assert found("größe")[1] == 0
    table.sort_by, table.sort_descending = "number", True
    assert found("14990") == ([[1, 1]], 1)


def test_rows_are_there_again_when_loading_ends(table: DataTable) -> None:
    table.load(True)
    assert table.loading
    table.set_frame(events(1, 3))
    table.load(False)
    table.flush()
    assert not table.loading
    assert table._window["total"] == 3
