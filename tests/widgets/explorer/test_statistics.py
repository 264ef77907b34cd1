from __future__ import annotations

import json

import numpy as np
import pandas as pd
from varco_nats_widgets.explorer._statistics import BUCKETS, StatisticsBuilder
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
    assert "2 not readable" in found.summary()
