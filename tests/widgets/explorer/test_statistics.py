from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from varco_nats_widgets.explorer._numbers import Numbers
from varco_nats_widgets.explorer._statistics import BUCKETS, Statistics, StatisticsBuilder
from varco_nats_widgets.explorer._view import _in_words
from varco_nats_widgets.frames._decoding import Decoding

from varco_nats.history import StoredMessage

SECOND = 1_000_000_000


def message(seq: int, payload: object, second: float = 0, subject: str = "orders") -> StoredMessage:
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return StoredMessage(seq, subject, int(second * SECOND), data, None)


def test_types_sizes_fields_and_values() -> None:
    builder = StatisticsBuilder(Decoding(str.upper))
    for number in range(8):
        payload: dict[str, object] = {
            "__event_type__": "order.placed",
            "event_id": f"id-{number}",
            "customer": {"name": "ada" if number % 4 else "bob"},
            "total": number if number % 2 else number + 0.5,
        }
        if number < 2:
            payload["note"] = None if number else "x" * 500
        builder.add([message(number, payload, number)])
    builder.add(
        [
            message(8, {"a": []}, 8),
            message(9, b"\xff\xfe", 9),
            message(10, {"specversion": "1.0", "id": "1", "type": "ce.type", "data": {"k": 1}}, 9),
        ]
    )
    found = builder.build(["orders"], 1000)

    assert repr(found) == "Statistics(orders)"
    assert (found.messages, found.total, found.broken) == (11, 1000, 1)
    assert found.event_types["messages"].to_dict() == {
        "order.placed": 8,
        "(no type)": 1,
        "(not readable)": 1,
        "ce.type": 1,
    }
    assert found.event_types["share"].iloc[0] == round(8 / 11, 4)
    assert found.event_types["bytes"].loc["(not readable)"] == 2
    assert found.sizes["min"] == 2
    assert found.sizes["max"] > 500
    fields = found.fields
    assert fields.loc["customer.name", "present"] == 0.8
    assert fields.loc["customer.name", "most_frequent"] == "ada"
    assert fields.loc["total", "kinds"] == "number 50%, integer 50%"
    assert fields.loc["note", "kinds"] == "text 50%, null 50%"
    assert fields.loc["event_id", "different"] == 9
    assert fields.loc["event_id", "most_frequent"] == ""
    assert fields.loc["k", "kinds"] == "integer"
    values = found.values.set_index(["field", "value"])["messages"].to_dict()
    assert values == {("customer.name", "ada"): 6, ("customer.name", "bob"): 2}
    assert "the newest 11 of 1,000 messages" in found.summary()
    assert found.first_time is not None
    assert found.first_time.second == 0


def test_rates_over_time_count_every_message_once() -> None:
    builder = StatisticsBuilder(Decoding(str.upper))
    builder.add(message(n, {}, n / 10, "a" if n % 2 else "b") for n in range(1000))
    rates = builder.build(["A", "B"], 1000).rates
    assert sorted(rates) == ["A", "B"]
    for times, values in rates.values():
        width = times[1] - times[0]
        assert len(times) <= BUCKETS
        assert np.isclose(values.sum() * width, 500, rtol=1e-6)
        assert (times[0] > 0, times[-1] < 101) == (True, True)


def test_messages_of_one_moment_have_a_rate() -> None:
    builder = StatisticsBuilder(Decoding(str))
    builder.add(message(n, {}, 5) for n in range(3))
    ((times, values),) = builder.build(["a"], 3).rates.values()
    assert len(times) == len(values) == 1


def test_nothing_to_count() -> None:
    found = StatisticsBuilder(Decoding(str)).build([], 0)
    assert found.summary() == "no messages"
    assert len(found.fields) == len(found.values) == len(found.event_types) == 0
    assert found.rates == {}


def test_memory_is_bounded_by_fields_and_values() -> None:
    builder = StatisticsBuilder(Decoding(str))
    builder.add(message(n, {f"f{n}": n, "id": n, "__event_type__": f"t{n}"}) for n in range(3000))
    found = builder.build(["a"], 3000)
    assert len(found.fields) == 500
    assert pd.isna(found.fields.loc["id", "different"])  # type: ignore[arg-type]
    assert len(found.event_types) == 201
    assert found.event_types["messages"].sum() == 3000


def test_only_broken_messages() -> None:
    builder = StatisticsBuilder(Decoding(str))
    builder.add([message(1, b"\xff"), message(2, b"")])
    found = builder.build(["a"], 2)
    assert found.broken == 2
    assert found.summary().startswith("all 2 messages · 2 not readable")


def test_messages_without_a_type_are_no_event_type() -> None:
    builder = StatisticsBuilder(Decoding(str))
    builder.add([message(1, {"a": 1}), message(2, b"\xff"), message(3, {"__event_type__": "a"})])
    found = builder.build(["a"], 3)
    assert len(found.event_types) == 3
    assert "all 3 messages · 1 event type · 1 not readable" in found.summary()


NOW = 1_777_890_030
"""When the messages of the tests below are stored, in seconds since 1970."""


def counted(*payloads: object, headers: dict[str, str] | None = None) -> Statistics:
    builder = StatisticsBuilder(Decoding(str))
    builder.add(
        StoredMessage(n, "orders", (NOW + n) * SECOND, json.dumps(payload).encode(), headers)
        for n, payload in enumerate(payloads)
    )
    return builder.build(["orders"], len(payloads))


def row_of(table: pd.DataFrame, name: str, columns: list[str]) -> list[Any]:
    row: list[Any] = table.loc[[name], columns].to_numpy(dtype=object)[0].tolist()
    return row


def test_numbers_have_their_extremes_and_a_histogram() -> None:
    huge = 2**70 + 1
    fields = [*range(1, 100), 10_000]
    found = counted(
        *({"n": n, "mixed": n / 4 if n % 2 else n, "huge": huge + n, "same": 7} for n in fields),
        {"n": None, "mixed": float("nan"), "huge": 10**400, "same": float("inf"), "text": "5"},
    )
    table = found.fields
    assert row_of(table, "n", ["min", "median", "max"]) == [1, 50.5, 10_000]
    assert row_of(table, "mixed", ["min", "max"]) == [0.25, 10_000]
    assert row_of(table, "huge", ["min", "max"]) == [huge + 1, huge + 10_000]
    assert row_of(table, "same", ["min", "median", "max"]) == [7, 7, 7]
    assert row_of(table, "text", ["min", "max", "histogram"]) == [None, None, ""]
    edges, counts = found.histograms["n"]
    assert [edges[0], edges[-1], counts.sum()] == [1, 10_000, 100]
    assert (counts[0], counts[-1]) == (99, 1)
    assert table.loc["n", "histogram"] == "█" + "▁" * 14 + "▂"
    assert table.loc["same", "histogram"] == "█"
    assert set(found.histograms) == {"n", "mixed", "huge", "same"}
    assert found.sampled == ()
    assert "chosen at random" not in found.summary()


def test_more_numbers_than_there_is_room_for_are_sampled() -> None:
    numbers, rng = Numbers(), np.random.default_rng(5)
    every = rng.permutation(np.arange(100_000, dtype=np.float64))
    for part, room in zip(np.array_split(every, 20), [50_000] * 10 + [20_000] * 10, strict=True):
        numbers.add(part.tolist(), part, room)
    spread = numbers.spread()
    assert spread is not None
    assert spread.sampled
    assert (spread.lowest, spread.highest) == (0, 99_999)
    counts = spread.histogram[1]
    assert counts.sum() == 20_000
    assert abs(spread.median - 50_000) < 1_500  # four standard deviations
    assert (abs(counts - 1_250) < 5 * 35).all()
    whole = Numbers()
    whole.add(every.tolist(), every, 100_000)
    exact = whole.spread()
    assert exact is not None
    assert (exact.median, exact.sampled) == (49_999.5, False)


def test_extreme_numbers_have_a_histogram() -> None:
    found = counted({"f": 1.7e308}, {"f": -1.7e308}, {"f": 5e-324}, {"f": 0})
    assert row_of(found.fields, "f", ["min", "max"]) == [-1.7e308, 1.7e308]
    assert found.histograms["f"][1].sum() == 4
    assert np.isfinite(found.histograms["f"][0]).all()


def test_times_are_recognised_with_their_unit() -> None:
    later = "2026-05-04T10:20:39+00:00"
    found = counted(
        *(
            {
                "a": NOW + n,
                "b": (NOW + n) * 1000,
                "c": (NOW + n) * 10**6,
                "d": (NOW + n) * 10**9,
                "e": NOW + n + 0.5,
                "iso": f"2026-05-04T12:20:3{n}+02:00",
                "born": f"19{50 + n}-01-31",
                "shop.createdAt": 1_000_000_000 + n,
                "start_time_ms": (1_000_000_000 + n) * 1000,
                "rarely_unset": n and NOW + n,
                "timestamp": f"2026-05-04T10:20:3{n}Z",
            }
            for n in range(10)
        )
    ).fields
    units = {name: unit for name, unit in found["unit"].items() if unit}
    assert units == {
        **{"a": "s", "b": "ms", "c": "us", "d": "ns", "e": "s", "iso": "ISO 8601"},
        **{"born": "ISO 8601", "shop.createdAt": "s", "start_time_ms": "ms", "rarely_unset": "s"},
        "timestamp": "ISO 8601",
    }
    for name in ("a", "b", "c", "d", "iso", "timestamp", "rarely_unset"):
        assert found.loc[name, "latest"] == pd.Timestamp(later), name
    assert found.loc["a", "earliest"] == pd.Timestamp("2026-05-04T10:20:30Z")
    assert found.loc["rarely_unset", "earliest"] == pd.Timestamp("2026-05-04T10:20:31Z")
    assert found.loc["born", "earliest"] == pd.Timestamp("1950-01-31", tz="UTC")
    assert row_of(found, "a", ["min", "max"]) == [NOW, NOW + 9]


def test_times_have_a_histogram() -> None:
    found = counted(
        *({"day": f"2026-05-{day:02}", "at": f"2026-05-{day:02}T10:00Z"} for day in [1] * 9 + [17]),
        {"day": None, "at": "later", "note": "2026-05-04", "n": 3},
        {"note": "soon", "n": "2026-05-04", "timestamp": "2026-05-04T10:20:30Z"},
        headers={"sent": "2026-05-04T10:20:30Z"},
    )
    edges, counts = found.histograms["day"]
    assert edges.dtype == np.dtype("datetime64[us]")
    assert edges.tolist() == pd.date_range("2026-05-01", "2026-05-17").to_pydatetime().tolist()
    assert counts.tolist() == [9] + [0] * 14 + [1]
    shown = {name: text for name, text in found.fields["histogram"].items() if text}
    assert shown == {
        **dict.fromkeys(("day", "at"), "█" + "▁" * 14 + "▂"),
        **dict.fromkeys(("n", "timestamp"), "█"),
    }
    assert row_of(found.fields, "day", ["min", "max"]) == [None, None]
    assert found.histograms["n"][0].tolist() == [3, 3]
    assert found.headers.loc["sent", "histogram"] == "█"
    assert found.histograms["headers.sent"][1].tolist() == [12]
    assert found.sampled == ()


def test_numbers_that_are_ids_or_prices_are_no_times() -> None:
    rng = random.Random(3)
    makers: dict[str, Callable[[int], object]] = {
        "counter": lambda n: n,
        "order_id": lambda n: 1_000_000_001 + n,
        "customerNumber": lambda n: 1_500_000_000 + rng.randrange(10**8),
        "snowflake": lambda n: ((NOW * 1000 + n - 1_288_834_974_657) << 22) + n,
        "discord": lambda n: ((NOW * 1000 + n - 1_420_070_400_000) << 22) + n,
        "hash32": lambda n: rng.getrandbits(32),
        "hash64": lambda n: rng.getrandbits(63),
        "ip": lambda n: 3_232_235_520 + rng.randrange(65_536),
        "ean": lambda n: 4_006_381_333_931 + rng.randrange(10**9),
        "phone": lambda n: 2_125_551_234 + rng.randrange(10**6),
        "price": lambda n: round(rng.uniform(0, 2000), 2),
        "cents": lambda n: rng.randrange(10**6),
        "price_micros": lambda n: rng.randrange(1000, 2000) * 10**6,
        "created_by": lambda n: 1_000_000_001 + n,
        "year": lambda n: 2000 + n % 30,
        "created": lambda n: n % 7,
        "seldom": lambda n: n if n % 5 else NOW,
        "version": lambda n: "2026.05.04",
        "code": lambda n: f"2026-{n}",
        "texts": lambda n: "2026-05-04" if n % 2 else "later",
        "paid_at": lambda n: bool(n % 2),
    }
    found = counted(*({name: make(n) for name, make in makers.items()} for n in range(200))).fields
    assert [name for name in makers if found.loc[name, "unit"] != ""] == []
    assert found["earliest"].isna().all()


def test_headers_are_counted_like_fields() -> None:
    builder = StatisticsBuilder(Decoding(str))
    for number in range(10):
        headers = {"tenant": "acme" if number % 4 else "<b>"}
        if number % 2:
            headers |= {"Nats-Msg-Id": f"id-{number}", "sent": f"2026-05-04T10:20:3{number}Z"}
        builder.add([StoredMessage(number, "orders", NOW, b"\xff", headers)])
    builder.add([StoredMessage(11, "orders", NOW, b"{}", None)] * 10)
    found = builder.build(["orders"], 20)
    headers_found = found.headers
    assert headers_found.index.name == "header"
    assert headers_found["present"].to_dict() == {"tenant": 0.5, "Nats-Msg-Id": 0.25, "sent": 0.25}
    assert headers_found.loc["tenant", "most_frequent"] == "acme"
    assert row_of(headers_found, "Nats-Msg-Id", ["different", "most_frequent"]) == [5, ""]
    assert headers_found.loc["sent", "latest"] == pd.Timestamp("2026-05-04T10:20:39Z")
    values = found.values.set_index(["field", "value"])["messages"].to_dict()
    assert values == {("headers.tenant", "acme"): 7, ("headers.tenant", "<b>"): 3}


def test_a_table_shows_times_and_round_numbers() -> None:
    fields = [{"n": n / 3, "k": n, "at": NOW + n, "day": f"2026-05-0{n + 1}"} for n in range(4)]
    shown = _in_words(counted(*fields).fields)
    columns = ["kinds", "min", "median", "max", "different"]
    rows = {name: row_of(shown, name, columns) for name in shown.index}
    assert rows == {
        "n": ["number", 0.0, 0.5, 1.0, 4],
        "k": ["integer", 0, 1.5, 3, 4],
        "at": ["integer, time (s)", "2026-05-04 10:20:30Z", None, "2026-05-04 10:20:33Z", 4],
        "day": ["text, time (ISO 8601)", "2026-05-01", None, "2026-05-04", 4],
    }
    assert _in_words(StatisticsBuilder(Decoding(str)).build([], 0).headers).empty


def test_blocks_and_single_messages_give_the_same() -> None:
    rng = random.Random(4)
    kinds: list[Callable[[], object]] = [
        lambda: rng.randrange(5),
        lambda: rng.random(),
        lambda: None,
        lambda: rng.choice("abc"),
        lambda: {"x": rng.randrange(9)},
        lambda: [1],
    ]
    payloads = [{name: rng.choice(kinds)() for name in "abcd"} for _ in range(300)]
    messages = [message(n, payload, NOW + n) for n, payload in enumerate(payloads)]
    together, apart = StatisticsBuilder(Decoding(str)), StatisticsBuilder(Decoding(str))
    together.add(messages)
    for each in messages:
        apart.add([each])
    first, second = together.build(["a"], 300), apart.build(["a"], 300)
    pd.testing.assert_frame_equal(first.fields.sort_index(), second.fields.sort_index())
    order = ["field", "messages", "value"]
    ranked = [each.values.sort_values(order, ignore_index=True) for each in (first, second)]
    counts = [set(zip(each["field"], each["messages"], strict=True)) for each in ranked]
    assert counts[0] == counts[1]
