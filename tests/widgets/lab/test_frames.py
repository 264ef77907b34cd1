"""Frames of channels and of other streams."""

from __future__ import annotations

import asyncio
import json
import threading
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from nats.aio.client import Client
from varco_nats_widgets import Lab
from varco_nats_widgets.frames._query import moment

from tests.waiting import until
from tests.widgets.lab.helpers import LabOrder, LabPayment, orders
from varco_nats._moments import duration
from varco_nats.config import NatsEventBusSettings
from varco_nats.errors import (
    InvalidChannelError,
    StreamNotFoundError,
    UnknownChannelError,
)

# Frames


async def test_frame_options(lab: Lab) -> None:
    await lab.bus.publish_many(orders(*range(10)))
    await lab.bus.publish_many([(LabPayment(order=1), "orders"), (LabPayment(order=2), "pay")])
    frame = lab.frame
    assert frame("orders").index.tolist() == list(range(1, 12))
    assert frame(["orders", "pay"])["channel"].unique().tolist() == ["orders", "pay"]
    assert frame("orders", limit=3).index.tolist() == [1, 2, 3]
    assert frame("orders", limit=3, newest_first=True).index.tolist() == [11, 10, 9]
    assert frame("orders", start_seq=4, end_seq=6).index.tolist() == [4, 5, 6]
    assert frame("orders", event_type=LabPayment).index.tolist() == [11]
    assert frame("orders", event_type=["LabPayment", LabOrder], limit=2).index.tolist() == [1, 2]
    assert frame("orders", event_type=LabOrder, limit=1, newest_first=True).index.tolist() == [10]
    assert len(frame("orders", last="10m")) == len(frame("orders", last=timedelta(hours=1))) == 11
    assert len(frame("orders", until="10m")) == 0
    assert len(frame("orders", since="1h", until=datetime.now(UTC) + timedelta(minutes=1))) == 11
    assert len(frame("orders", since="2000-01-01 00:00", until="2001-01-01T00:00+02:00")) == 0
    stored = frame("orders")["stored_at"]
    assert frame("orders", since=stored[5], until=stored[7]).index.tolist()[-1] == 6


async def test_fields_become_times(lab: Lab, nc: Client) -> None:
    subject = lab.settings.subject_name("measured")
    await lab.bus.publish_many(orders(1))  # makes the stream
    second = 1_777_890_030
    for ts in (second, second * 1000, second * 10**6, second * 10**9, "2026-05-04T10:20:30Z"):
        await nc.jetstream().publish(subject, json.dumps({"ts": ts, "at": second}).encode())
    whole = await lab.aio.frame("measured", times="at")
    assert whole["at"].tolist() == [pd.Timestamp("2026-05-04T10:20:30Z")] * 5
    assert whole["ts"].dtype == object
    await nc.jetstream().publish(subject, b'{"ts": "soon"}')
    with pytest.warns(UserWarning, match="times=") as caught:
        frame = await lab.aio.frame("measured", times=["ts", "customer.born", "timestamp"])
    assert [str(warning.message) for warning in caught] == [
        "times='ts': 1 of 6 values are not times, such as 'soon'",
        "times='customer.born': no message has a field of this name",
    ]
    assert frame["ts"].dtype == "datetime64[us, UTC]"
    assert frame["ts"].tolist() == [pd.Timestamp("2026-05-04T10:20:30Z")] * 5 + [pd.NaT]
    assert frame.attrs["times"]["ts"] == {
        "units": {"s": 1, "ms": 1, "us": 1, "ns": 1, "ISO 8601": 1},
        "wrong": 1,
        "example": "'soon'",
    }
    assert json.loads(json.dumps(frame.attrs))["times"]["customer.born"] is None
    with pytest.raises(ValueError, match="times='channel': name fields of the payload"):
        lab.frame("measured", times=["channel"])
    with pytest.raises(TypeError, match="times=7: must be a name, or several in a list"):
        lab.live("measured", times=7)  # type: ignore[arg-type]


async def test_the_last_event_of_a_type_is_found_in_few_reads(
    lab: Lab, nc: Client, tmp_path: Path
) -> None:
    await lab.bus.publish_many([*orders(*range(60)), (LabPayment(order=1), "orders")])
    await lab.bus.publish_many(orders(*range(60, 120)))
    stream = lab._session.settings.stream_name
    created = await nc.subscribe(f"$JS.EVENT.ADVISORY.CONSUMER.CREATED.{stream}.>")
    options: dict[str, Any] = {"event_type": LabPayment, "limit": 1, "newest_first": True}
    assert (await lab.aio.frame("orders", **options)).index.tolist() == [61]
    exported = await lab.aio.export("orders", tmp_path / "last.ndjson", **options)
    assert exported.rows == 1
    await nc.flush()
    assert created.pending_msgs < 30


async def test_completeness_says_what_is_missing(lab: Lab) -> None:
    await lab.bus.publish_many(orders(*range(10)))

    def verdict(**options: Any) -> dict[str, object]:
        return lab.frame("orders", **options).attrs["completeness"]

    assert verdict(limit=10)["truncated_by"] is None
    cut = verdict(limit=4, newest_first=True)
    assert (cut["expected"], cut["loaded"], cut["truncated_by"]) == (10, 4, "limit")
    none = verdict(event_type="Other")
    assert (none["loaded"], none["filtered"], none["gaps"]) == (10, 10, 0)


async def test_unknown_channel_names_the_near_ones(lab: Lab) -> None:
    await lab.bus.publish_many([*orders(1), *orders(2, channel="payments")])
    with pytest.raises(UnknownChannelError, match=r"'ordrs' holds no messages; did you mean"):
        lab.frame("ordrs")
    with pytest.raises(UnknownChannelError, match=r"these channels do: 'orders', 'payments'"):
        lab.frame(["orders", "xyz"])


def test_bad_arguments_are_named(lab: Lab) -> None:
    for bad, message in [
        ({"lats": "10m"}, "lats"),
        ({"last": "ten"}, "last='ten' is not a duration"),
        ({"last": "10m", "since": "1h"}, "last= or since="),
        ({"since": "noon-ish"}, "since='noon-ish' is not a time"),
        ({"since": datetime(2026, 1, 1)}, "no time zone"),
        ({"limit": 0}, "limit=0"),
        ({"limit": -1}, "limit=-1"),
        ({"limit": True}, "limit=True: must be a whole number"),
        ({"limit": 2.5}, "limit=2.5: must be a whole number"),
        ({"limit": "10"}, "limit='10': must be a whole number"),
        ({"start_seq": "1"}, "start_seq='1': must be a whole number"),
        ({"end_seq": -1}, "end_seq=-1: must be 0 or more"),
        ({"since": 0}, "since=0 is not a time"),
        ({"since": "1h", "until": "2h"}, "since='1h' is later than the end, until='2h'"),
        ({"last": "1h", "until": "2h"}, "last='1h' is later than the end, until='2h'"),
        ({"event_type": 5}, "event_type=5: must be an event class"),
        ({"event_type": []}, r"event_type=\[\]: must be an event class"),
        ({"event_type": ["LabOrder", int]}, "must be an event class"),
    ]:
        with pytest.raises((TypeError, ValueError), match=message):
            lab.frame("orders", **bad)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no channel was given"):
        lab.frame([])
    for channels in (5, ["orders", 5]):
        with pytest.raises(TypeError, match="must be a name"):
            lab.frame(channels)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="subject=5: must be a name"):
        lab.frame(subject=5)  # type: ignore[arg-type]
    for channel in ("orders.*", "", " "):
        with pytest.raises(InvalidChannelError):
            lab.frame(channel)
    with pytest.raises(InvalidChannelError):
        lab.bus.subscribe(LabOrder, lambda event: None, channel="a b")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("10m", 600),
        ("1.5h", 5400),
        ("1d 12h", 129600),
        ("250ms", 0.25),
        ("1w", 604800),
        ("3 hours", 10800),
        ("1 day", 86400),
        ("10mins", 600),
        ("2 minutes 5 seconds", 125),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert duration("last", text).total_seconds() == seconds


CLOCKLESS = ("25:00", "13:60", "13:7", "1:2:3", "13.17", "tomorrow 13:17", "-1:00", "१३:१७")


def test_moments() -> None:
    now = datetime(2026, 1, 1, 12, tzinfo=UTC)
    assert moment("since", None, now) is None
    assert moment("since", "10m", now) == datetime(2026, 1, 1, 11, 50, tzinfo=UTC)
    assert moment("since", "2026-01-01 10:00", now) == datetime(2026, 1, 1, 10, tzinfo=UTC)
    assert moment("since", "2026-01-01T10:00+02:00", now) == datetime(2026, 1, 1, 8, tzinfo=UTC)
    assert moment("since", now, now) is now
    assert moment("since", " 3 hours", now) == datetime(2026, 1, 1, 9, tzinfo=UTC)
    assert moment("since", "today", now) == datetime(2026, 1, 1, tzinfo=UTC)
    assert moment("since", "yesterday", now) == datetime(2025, 12, 31, tzinfo=UTC)
    assert moment("since", "now", now) == now
    assert moment("since", "09:05", now) == datetime(2026, 1, 1, 9, 5, tzinfo=UTC)
    assert moment("since", "9:05:30.5 UTC", now) == datetime(2026, 1, 1, 9, 5, 30, 500_000, UTC)
    assert moment("until", "13:17", now) == datetime(2026, 1, 1, 13, 17, tzinfo=UTC)  # later today
    assert moment("since", "yesterday 13:17", now) == datetime(2025, 12, 31, 13, 17, tzinfo=UTC)
    assert moment("since", "today at 13:17Z", now) == datetime(2026, 1, 1, 13, 17, tzinfo=UTC)
    east = now.astimezone(timezone(timedelta(hours=13)))  # where it is the next day
    assert moment("since", "13:17", east) == datetime(2026, 1, 1, 13, 17, tzinfo=UTC)
    assert moment("since", "2025-12", now) == datetime(2025, 12, 1, tzinfo=UTC)
    for text in ("1h30", "10M", "1.5.2026", "5 May", "12", "99999999 weeks", "10", "", *CLOCKLESS):
        with pytest.raises(ValueError, match="is not a time"):
            moment("since", text, now)


async def test_channels(lab: Lab) -> None:
    await lab.bus.publish_many([*orders(1, 2), *orders(3, channel="payments.eu")])
    channels = lab.channels()
    assert channels.index.name == "channel"
    assert channels.index.tolist() == ["orders", "payments.eu"]
    assert channels["messages"].tolist() == [2, 1]
    assert channels["first_seq"].tolist() == [1, 3]
    assert channels["last_seq"].tolist() == [2, 3]
    assert str(channels["last_time"].dt.tz) == "UTC"


# Other streams


async def test_frame_of_any_stream_and_subject(lab: Lab, other: str) -> None:
    whole = await lab.aio.frame(stream=other, headers=True)
    assert whole["channel"].tolist() == [f"{other}.a.x", f"{other}.b", f"{other}.a.y"]
    assert whole["headers"].tolist()[0] == {"Kind": "a.x"}
    assert whole["raw"].tolist()[1] == b"plain"
    some = await lab.aio.frame(stream=other, subject=f"{other}.a.*", newest_first=True)
    assert some["v"].tolist() == [2, 1]
    assert len(await lab.aio.frame(subject=f"{other}.b")) == 1
    both = await lab.aio.frame(stream=other, subject=[f"{other}.b", f"{other}.a.x"], limit=1)
    assert both.index.tolist() == [1]
    assert both.attrs["completeness"]["truncated_by"] == "limit"
    assert len(await lab.aio.frame(stream=other, subject=f"{other}.none.>")) == 0


async def test_wrong_places_are_named(lab: Lab, nc: Client, other: str) -> None:
    frame = lab.aio.frame
    with pytest.raises(StreamNotFoundError, match=f"did you mean '{other}'"):
        await frame(stream=f"{other}s")
    with pytest.raises(
        UnknownChannelError, match=r"subject .*\.c' holds no messages; did you mean"
    ):
        await frame(stream=other, subject=f"{other}.c")
    with pytest.raises(ValueError, match=r"no stream keeps the subject 'no\.where'"):
        await frame(subject="no.where")
    await nc.jetstream().add_stream(name=f"{other}2", subjects=[f"{other}2.>"])
    with pytest.raises(ValueError, match=r"streams .*keep the subject '>'; say which with stream="):
        await frame(subject=">")
    for bad in ("a b", "a..b", ">.a", ""):
        with pytest.raises(ValueError, match="subject="):
            await frame(stream=other, subject=bad)
    for bad in ("a.b", "", "a*"):
        with pytest.raises(ValueError, match="stream="):
            await frame(stream=bad)
    with pytest.raises(ValueError, match="a channel, or stream="):
        await frame("orders", stream=other)
    with pytest.raises(ValueError, match="no channel was given"):
        await frame()


# Long loads


async def test_max_bytes_bounds_a_frame(lab: Lab) -> None:
    await lab.bus.publish_many(orders(*range(10)))
    size = len(json.dumps(json.loads((await raw(lab))[0])))
    with pytest.warns(UserWarning, match="it has 3 of 10 messages") as warned:
        first = await lab.aio.frame("orders", max_bytes=3 * size + 10)
    assert warned[0].filename == __file__
    assert first.index.tolist() == [1, 2, 3]
    verdict = first.attrs["completeness"]
    assert (verdict["expected"], verdict["loaded"], verdict["gaps"]) == (10, 3, 0)
    assert verdict["truncated_by"] == "max_bytes"
    with pytest.warns(UserWarning, match="it has 2 of 10 messages") as warned:
        newest = await asyncio.to_thread(
            lambda: lab.frame("orders", max_bytes=2 * size + 10, newest_first=True)
        )
    assert warned[0].filename == __file__
    assert newest.index.tolist() == [10, 9]
    with pytest.warns(UserWarning, match="it has 0 of 10 messages"):
        assert len(await lab.aio.frame("orders", max_bytes=1)) == 0
    whole = await lab.aio.frame("orders", max_bytes=None)
    assert whole.attrs["completeness"]["truncated_by"] is None
    with pytest.raises(ValueError, match="max_bytes=0"):
        await lab.aio.frame("orders", max_bytes=0)


async def raw(lab: Lab) -> list[bytes]:
    async def read() -> list[bytes]:
        return [message.data async for message in lab._session.history.read("orders")]

    return await lab._session.call(read())


async def test_progress_is_told_in_the_callers_thread(lab: Lab) -> None:
    await lab.bus.publish_many(orders(*range(20)))
    steps: list[tuple[int, int]] = []
    threads: set[threading.Thread] = set()

    def told(done: int, total: int) -> None:
        steps.append((done, total))
        threads.add(threading.current_thread())

    lab.frame("orders", progress=told)
    assert steps[-1] == (20, 20)
    steps.clear()
    await lab.aio.frame("orders", progress=told)
    assert steps[-1] == (20, 20)
    assert threads == {threading.current_thread()}
    with pytest.raises(TypeError, match="progress='yes'"):
        lab.frame("orders", progress="yes")  # type: ignore[arg-type]


async def test_an_error_in_progress_ends_the_load(
    lab: Lab, nc: Client, settings: NatsEventBusSettings
) -> None:
    await lab.bus.publish_many(orders(*range(20)))

    def fail(done: int, total: int) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        lab.frame("orders", progress=fail)
    with pytest.raises(ZeroDivisionError):
        await lab.aio.frame("orders", progress=fail)
    assert len(lab.frame("orders")) == 20

    async def none_left() -> bool:
        return not await nc.jetstream().consumers_info(settings.stream_name)

    await until(none_left)
