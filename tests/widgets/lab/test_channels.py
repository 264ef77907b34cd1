"""A channel by its name, and what a lab makes of it: live frames, explorers, exports."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest
from nats.aio.client import Client
from varco_nats_widgets import Channel, Lab, load
from varco_nats_widgets._notebook import started_name

from tests.waiting import until
from tests.widgets.lab.helpers import orders
from varco_nats.config import NatsEventBusSettings
from varco_nats.errors import (
    InvalidChannelError,
    StreamNotFoundError,
    UnknownChannelError,
)

# A channel by its name


async def test_channel_by_name(lab: Lab, tmp_path: Path) -> None:
    await lab.bus.publish_many([*orders(1, 2, 3), *orders(4, channel="payments")])
    channel = lab["orders"]
    assert isinstance(channel, Channel)
    assert repr(channel) == "Channel('orders')"
    assert channel.count == 3
    assert channel.last["number"] == 3
    assert channel.last.name == 3
    assert channel.frame(limit=1)["number"].tolist() == [1]
    assert len(channel.consumers()) == 0
    assert list(lab) == lab._ipython_key_completions_() == ["orders", "payments"]
    assert "orders" in lab
    assert "nothing" not in lab
    with pytest.raises(UnknownChannelError, match="did you mean 'orders'"):
        lab["order"]
    with pytest.raises(InvalidChannelError):
        lab[0]  # type: ignore[index]
    lab.close()
    assert lab._ipython_key_completions_() == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('lab.frame("or', ("lab", "or")),
        ("x = my_lab.aio.live( '", ("my_lab", "")),
        ("lab.frame(['a', \"b\", 'c", ("lab", "c")),
        ('lab.export("orders", "or', None),
        ('lab.frame("orders")', None),
        ('print("or', None),
    ],
)
def test_where_a_channel_name_is_being_typed(text: str, expected: tuple[str, str] | None) -> None:
    assert started_name(text) == expected


# Live, explore, export


async def test_export_and_load(lab: Lab, other: str, tmp_path: Path) -> None:
    await lab.bus.publish_many(orders(*range(10)))
    result = await asyncio.to_thread(lab.export, "orders", tmp_path / "o.parquet", last="1h")
    assert result.rows == 10
    assert load(tmp_path / "o.parquet")["number"].tolist() == list(range(10))
    steps: list[tuple[int, int]] = []
    await lab.aio.export(
        None,
        tmp_path / "s.ndjson",
        stream=other,
        subject=f"{other}.a.>",
        progress=lambda done, total: steps.append((done, total)),
    )
    assert load(tmp_path / "s.ndjson")["v"].tolist() == [1, 2]
    assert steps[-1][0] == steps[-1][1] > 0
    with pytest.raises(UnknownChannelError):
        await lab.aio.export("ordrs", tmp_path / "x.csv")
    with pytest.raises(TypeError, match="lats"):
        lab.export("orders", tmp_path / "x.csv", lats="1h")  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="max_bytes= is for a frame"):
        lab.export("orders", tmp_path / "x.csv", max_bytes=9)  # type: ignore[call-arg]
    assert lab["orders"].export(tmp_path / "c.csv", limit=2).rows == 2


async def test_live(lab: Lab, nc: Client, other: str) -> None:
    await lab.bus.publish_many(orders(1))
    live = await lab.aio.live("orders", since="1h")
    await lab.bus.publish_many(orders(2))
    await until(lambda: live.received == 2)
    assert live.df["number"].tolist() == [1, 2]
    live.stop()
    recent = await asyncio.to_thread(lab.live, "orders", last="1 hour")
    await until(lambda: recent.received == 2)
    recent.stop()
    foreign = lab.live(stream=other, subject=f"{other}.a.*", start_seq=1)
    await until(lambda: foreign.received == 2)
    await nc.jetstream().publish(f"{other}.a.z", b'{"v": 3}')
    await until(lambda: foreign.received == 3)
    assert foreign.df["channel"].tolist()[-1] == f"{other}.a.z"
    foreign.stop()
    with pytest.raises(StreamNotFoundError):
        lab.live(stream="nowhere")
    with pytest.raises(InvalidChannelError):
        lab.live("a b")


async def test_live_says_when_a_channel_holds_nothing(lab: Lab, other: str) -> None:
    await lab.bus.publish_many(orders(1))
    live = await lab.aio.live(["orders", "ordesr"])
    waiting = "channel 'ordesr' holds no messages; did you mean 'orders'?"
    assert repr(live) == f"LiveFrame(orders, ordesr, waiting: {waiting})"
    assert live._repr_mimebundle_()["text/plain"] == "LiveFrame(orders, ordesr)"
    assert "channel &#x27;ordesr&#x27; holds" in live.view().counts.value
    await lab.bus.publish_many(orders(2))
    await live.aio.wait(1)
    assert live.notice == waiting  # as it is another channel
    await lab.bus.publish_many(orders(3, channel="ordesr"))
    await until(lambda: live.notice == "")
    assert repr(live) == "LiveFrame(orders, ordesr)"
    await until(lambda: "holds" not in live.view().counts.value)
    live.view().close()
    foreign = await lab.aio.live(stream=other, subject=[f"{other}.z.*", f"{other}.a.*"])
    assert foreign.notice.startswith(f"subject '{other}.z.*' holds no messages; ")
    await lab._session.call(lab._session.connection.js.publish(f"{other}.z.1", b"{}"))
    await until(lambda: foreign.notice == "")


async def test_close_leaves_no_reader(settings: NatsEventBusSettings, nc: Client) -> None:
    lab = await asyncio.to_thread(Lab, settings)
    await lab.bus.publish_many(orders(1, 2))
    live = await lab.aio.live("orders")
    explorer = await lab.aio.explore("orders")
    await explorer.aio.tail()
    js = nc.jetstream()

    async def has_readers(count: int) -> bool:
        return len(await js.consumers_info(settings.stream_name)) == count

    await until(lambda: has_readers(2))
    await asyncio.to_thread(lab.close)
    assert await js.consumers_info(settings.stream_name) == []
    assert live.state == "stopped"


async def test_a_name_with_a_wildcard_says_how_it_is_read(lab: Lab, nc: Client) -> None:
    await lab.bus.publish_many(orders(1))
    subject = f"{lab.settings.subject_prefix}.x.*"
    for each, value in ((subject, 1), (subject.replace("*", "y"), 2)):
        await nc.jetstream().publish(each, b'{"value": %d}' % value)
    assert "x.*" in (await lab.aio.channels()).index
    place = f"stream={lab.settings.stream_name!r}, subject={subject!r}"
    for look in (lab.frame, lab.live, lab.__getitem__):
        with pytest.raises(InvalidChannelError, match=re.escape(place)) as raised:
            await asyncio.to_thread(look, "x.*")
        assert "without white space" not in str(raised.value)
    both = await lab.aio.frame(stream=lab.settings.stream_name, subject=subject)
    assert both.query("channel == @subject")["value"].tolist() == [1]
    with pytest.raises(InvalidChannelError, match="without white space"):
        await lab.aio.frame("orders.*")


async def test_explore(lab: Lab) -> None:
    await lab.bus.publish_many(orders(1, 2))
    explorer = lab["orders"].explore()
    assert explorer.df["number"].tolist() == [1, 2]
    explorer.close()
    explorer = await lab.aio.explore("orders")
    assert explorer.df["number"].tolist() == [1, 2]
    explorer.close()
