"""One index for all that looks at a queue, while entries come and go, and where reading ends."""

from __future__ import annotations

import asyncio

import numpy as np
import pandas as pd
import pytest
from nats.aio.client import Client
from varco_nats_widgets import Lab
from varco_nats_widgets._session import worker
from varco_nats_widgets.dead_letters import DeadLetters
from varco_nats_widgets.dead_letters._index import reader
from varco_nats_widgets.dead_letters._index.filter import DeadLetterFilter
from varco_nats_widgets.dead_letters._index.index import DeadLetterIndex
from varco_nats_widgets.dead_letters._index.reader import DlqReader

from tests.conftest import MakeSettings
from tests.processes import replay_process
from tests.proxy import Proxy
from tests.waiting import until
from tests.widgets.dead_letters.helpers import EVERYTHING, SERIALIZER, entries, entry, numbers, push
from varco_nats.config import NatsEventBusSettings
from varco_nats.dlq._codec import DlqNames, encode
from varco_nats.server import LocalNats

AT_ONCE = 500


async def store(nc: Client, settings: NatsEventBusSettings, first: int, last: int) -> None:
    """Put the entries of these numbers into a queue that there is, as many services would."""
    js, names = nc.jetstream(), DlqNames.of(settings)
    for start in range(first, last + 1, AT_ONCE):
        some = [entry(number) for number in range(start, min(start + AT_ONCE, last + 1))]
        acks = [
            await js.publish_async(
                names.subject(each.entry_id, each.channel), encode(each, SERIALIZER)
            )
            for each in some
        ]
        await asyncio.gather(*acks)


def index_of(letters: DeadLetters) -> DeadLetterIndex:
    return letters._browser.queue.index


async def check_like_a_fresh_one(letters: DeadLetters, lab: Lab) -> None:
    """What the followed index has is what one has that begins now."""
    fresh = DeadLetters(lab)
    groups = await fresh.aio.groups()
    pd.testing.assert_frame_equal(await letters.aio.groups(), groups)
    ours, theirs = index_of(letters), index_of(fresh)
    assert ours is not theirs
    for wanted in (EVERYTHING, DeadLetterFilter(text="o-1"), DeadLetterFilter(error="K")):
        expected = theirs.select(wanted)
        assert ours.select(wanted).entry_ids() == expected.entry_ids()
        np.testing.assert_array_equal(ours.select(wanted).seqs(), expected.seqs())
    assert len(ours) == await letters.aio.count()


async def test_thousands_come_and_go_while_the_index_follows(
    lab: Lab, settings: NatsEventBusSettings, nc: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_POLL_SECONDS", 0.02)
    monkeypatch.setattr(worker, "_PAUSES", 0)
    await push(settings, entry(0))
    await store(nc, settings, 1, 2500)
    letters = lab.dead_letters
    await letters.aio.filter()
    assert letters.matching == 2501
    letters.watch()
    async with replay_process(settings, discard=True) as other:
        await other.wait_for("planned")
        await store(nc, settings, 2501, 4000)
        assert await other.ended(60) == 0
    assert other.counts == {"discarded": int(other.lines[0].split()[1])}
    left = await letters.aio.count()
    assert 1500 <= left < 2501
    await until(lambda: letters.matching == left == letters.group_table["count"].sum())
    await until(lambda: len(letters.page) and numbers(letters.page)[:1] == [4000])
    letters.watch(False)
    await check_like_a_fresh_one(letters, lab)


async def test_one_index_serves_the_widget_and_the_values(
    lab: Lab, settings: NatsEventBusSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed = entries(30)
    await push(settings, *pushed[:20])
    letters = lab.dead_letters
    await letters.aio.groups()
    read: list[int] = []
    messages = DlqReader.messages

    def counted(
        reader: DlqReader, state: object, first: int, *args: object, **how: object
    ) -> object:
        read.append(first)
        return messages(reader, state, first, *args, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(DlqReader, "messages", counted)
    await letters.aio.filter()
    await letters.aio.filter(text="o-1")
    assert letters.matching == 8
    await letters.aio.choose(letters.group_table.index[0])
    await letters.aio.filter()
    await letters.aio.filter(condition="number > 12")
    assert numbers(letters.page) == list(range(20, 12, -1))
    assert (await letters.aio.entry(pushed[3].entry_id)).payload["number"] == 4
    assert (await letters.aio.groups(channel="payments"))["count"].tolist() == [6]
    assert read == []
    await push(settings, *pushed[20:])
    await letters.aio.refresh()
    assert letters.matching == 18
    assert read == [21]
    assert numbers(await letters.aio.frame(condition="number == 2 or number == 29")) == [2, 29]
    assert read == [21]


async def test_a_stream_that_was_made_again_is_another_queue(
    lab: Lab, settings: NatsEventBusSettings, nc: Client
) -> None:
    await push(settings, *entries(5))
    letters = lab.dead_letters
    await letters.aio.filter()
    await nc.jetstream().delete_stream(f"{settings.stream_name}-dlq")
    await push(settings, *(entry(number) for number in range(100, 109)))
    assert (await letters.aio.groups())["count"].sum() == 9
    await letters.aio.filter()
    assert numbers(letters.page) == list(range(108, 99, -1))
    await check_like_a_fresh_one(letters, lab)


async def test_a_reading_that_ends_midway_goes_on_where_it_was(
    lab: Lab, settings: NatsEventBusSettings, nc: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "PAGE", 20)
    await push(settings, entry(0))
    await store(nc, settings, 1, 1500)
    letters = lab.dead_letters
    reading = asyncio.create_task(letters.aio.filter())
    await until(lambda: len(index_of(letters)), every=0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    began = index_of(letters)
    await letters.aio.filter(channel="orders")
    assert index_of(letters) is began
    assert letters.matching == 1000
    await check_like_a_fresh_one(letters, lab)


async def test_a_reading_that_is_stopped_keeps_what_it_has_and_says_so(
    lab: Lab, settings: NatsEventBusSettings, nc: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "PAGE", 20)
    await push(settings, entry(0))
    await store(nc, settings, 1, 1500)
    letters = lab.dead_letters
    reading = asyncio.create_task(letters.aio.filter())
    await until(lambda: len(index_of(letters)), every=0)
    letters.stop()
    await reading
    found = letters.matching
    assert 0 < found < 1501
    assert letters.notice == f"stopped after {found:,} of 1,501 entries"
    await push(settings, entry(2000))
    await letters.aio.filter(channel="payments")  # what came since belongs to it, the rest does not
    assert letters.matching < found
    assert letters.notice == f"stopped after {found + 1:,} of 1,502 entries"
    await letters.aio.filter()
    assert letters.matching == found + 1
    await letters.aio.refresh()
    assert (letters.matching, letters.notice) == (1502, "")
    await check_like_a_fresh_one(letters, lab)


async def test_a_lost_connection_leaves_the_index_whole(
    server: LocalNats, make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch, nc: Client
) -> None:
    monkeypatch.setattr(reader, "PAGE", 20)
    settings = make_settings()
    await push(settings, entry(0))
    await store(nc, settings, 1, 1500)
    async with Proxy(server.port) as proxy:
        away = settings.model_copy(update={"servers": proxy.url_for(server.url)})
        with await asyncio.to_thread(Lab, away) as lab:
            letters = lab.dead_letters
            reading = asyncio.create_task(letters.aio.filter())
            await until(lambda: len(index_of(letters)), every=0)
            proxy.disconnect()
            await reading
            assert letters.matching == 1501
            await check_like_a_fresh_one(letters, lab)
            await lab.aio.close()
