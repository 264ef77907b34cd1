"""The rows of a live frame, without a server."""

from __future__ import annotations

import json
import random
import threading

import pandas as pd
import pytest
from varco_nats_widgets.frames import MAX_FIELDS, FrameBuilder
from varco_nats_widgets.live._rows import BoundedRows

from tests.widgets.live.helpers import order
from varco_nats.history import StoredMessage


def stored(seq: int, data: bytes) -> StoredMessage:
    return StoredMessage(seq, "v.orders", 10**18 + seq, data, None)


def new_builder() -> FrameBuilder:
    return FrameBuilder(lambda subject: subject.removeprefix("v."))


@pytest.mark.parametrize("seed", range(5))
def test_rows_are_the_newest_however_they_are_looked_at(seed: int) -> None:
    choice = random.Random(seed)
    rows = BoundedRows(new_builder, max_rows=choice.choice([1, 70, 300]), max_bytes=10**6)
    sent: list[StoredMessage] = []
    for _ in range(150):
        batch = [
            stored(len(sent) + n + 1, order(n, **{choice.choice("abc"): n}))  # type: ignore[arg-type]
            for n in range(choice.choice([0, 1, 5, 40]))
        ]
        rows.add(batch)
        sent += batch
        if choice.random() < 0.5:
            frame, added = rows.snapshot()
            kept = sent[-rows._max_rows :]
            assert added == len(sent)
            assert frame.index.tolist() == [message.seq for message in kept]
            numbers = frame["number"].tolist() if sent else []
            assert numbers == [json.loads(m.data)["number"] for m in kept]
            assert rows.dropped == len(sent) - len(kept)
            assert not rows._chunks


def test_rows_may_be_added_while_others_look() -> None:
    rows = BoundedRows(new_builder, max_rows=500, max_bytes=10**7)
    done = threading.Event()
    problems: list[object] = []

    def look() -> None:
        while not done.is_set():
            frame, added = rows.snapshot()
            wanted = list(range(max(added - 500, 0) + 1, added + 1))
            if frame.index.tolist() != wanted:
                problems.append((frame.index.tolist(), wanted))

    threads = [threading.Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()
    for start in range(1, 20_000, 7):
        rows.add([stored(seq, order(seq)) for seq in range(start, start + 7)])
    done.set()
    for thread in threads:
        thread.join()
    assert problems == []


def test_columns_are_bounded_too() -> None:
    rows = BoundedRows(new_builder, max_rows=1000, max_bytes=10**8)
    for seq in range(1, 14):
        data = {f"f{seq}-{n}": n for n in range(90)}
        rows.add([stored(seq, json.dumps(data).encode())])
        frame, _ = rows.snapshot()
    assert len(frame.columns) <= MAX_FIELDS + 9
    more = frame["data.more"].tolist()
    assert more[0] is None
    assert more[-1] == {f"f13-{n}": n for n in range(90)}
    assert frame["f1-5"].tolist()[0] == 5


def test_no_field_is_called_as_the_column_of_what_has_no_room() -> None:
    rows = BoundedRows(new_builder, max_rows=1000, max_bytes=10**8)
    rows.add([stored(1, b'{"data.more": "own"}')])
    rows.snapshot()
    for seq in range(2, 15):
        data: dict[str, object] = {f"f{seq}-{n}": n for n in range(90)}
        rows.add([stored(seq, json.dumps(data | {"data": {"more": seq}}).encode())])
        rows.snapshot()
    frame, _ = rows.snapshot()
    assert frame["data.data.more"].tolist() == ["own", *range(2, 15)]
    assert frame["data.more"].tolist()[-1] == {f"f14-{n}": n for n in range(90)}


def test_fields_become_times_however_often_they_are_looked_at() -> None:
    rows = BoundedRows(new_builder, max_rows=300, max_bytes=10**7, times=["ts", "born"])
    assert rows.snapshot()[0].empty
    assert rows.problem == ""
    second = 1_777_890_030
    batches: list[dict[str, object]] = [
        {"n": 1},
        {"ts": second * 1000},
        {"ts": "2026-05-04T10:20:30Z", "born": None},
        {"ts": second},
    ]
    for seq, fields in enumerate(batches, 1):
        rows.add([stored(seq, order(seq, **fields))])  # type: ignore[arg-type]
        frame, _ = rows.snapshot()
    moment = pd.Timestamp("2026-05-04T10:20:30Z")
    assert frame["ts"].dtype == frame["born"].dtype == "datetime64[us, UTC]"
    assert frame["ts"].tolist() == [pd.NaT, moment, moment, moment]
    assert rows.problem == ""
    rows.add([stored(5, order(5, ts="soon")), stored(6, order(6, ts=0, born=second))])
    rows.add([stored(7, order(7, ts=second))])
    assert rows.snapshot()[0]["ts"].isna().tolist() == [
        True,
        False,
        False,
        False,
        True,
        True,
        False,
    ]
    assert rows.problem == "times='ts': 2 of 6 values are not times, such as 'soon'"
