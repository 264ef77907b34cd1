"""Two labs that see the same dead letters differently replay them at once."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Coroutine
from typing import Any
from uuid import UUID

import msgpack
import pytest
from nats.aio.client import Client
from varco_core.event.dlq import DeadLetterEntry
from varco_nats_widgets import Lab
from varco_nats_widgets.dead_letters import DeadLetters
from varco_nats_widgets.decoders import Cbor, MessagePack

from tests.widgets.dead_letters.helpers import push, shown
from varco_nats.config import NatsEventBusSettings
from varco_nats.replay import ReplayOutcome, ReplayReport

_CODES = {"country": {"france": "FR"}}
_BOTH = range(20, 40)  # of 60 entries, those that both labs plan


def _event(number: int) -> dict[str, Any]:
    country = "france" if number % 2 else "PL"
    return {"number": number, "country": country, "email": f"ada{number}@example.org"}


def _entry(number: int) -> DeadLetterEntry:
    """Every fourth is binary, and one lab has a decoder for it."""
    binary = number % 4 == 0
    data = msgpack.packb(_event(number)) if binary else json.dumps(_event(number)).encode()
    return DeadLetterEntry(
        entry_id=UUID(int=number + 1), payload=data, channel="scans" if binary else "parcels"
    )


async def _run(letters: DeadLetters, begun: asyncio.Event) -> ReplayReport:
    """Run its plan, and stand still in its middle, so that another run comes then."""
    loop, to_do = asyncio.get_running_loop(), [letters.pause]

    def progress(done: int, _: int) -> None:
        while done and to_do:
            to_do.pop()()
            loop.call_soon_threadsafe(begun.set)

    return await letters.aio.run(rate=100, progress=progress, word="nobody")


async def _at_once(one: DeadLetters, other: DeadLetters) -> list[ReplayReport]:
    begun = [asyncio.Event(), asyncio.Event()]
    running = [asyncio.create_task(_run(*both)) for both in zip((one, other), begun, strict=True)]
    await asyncio.gather(*(each.wait() for each in begun))
    one.resume()
    other.resume()
    return [*await asyncio.gather(*running)]


async def _one_first(one: DeadLetters, other: DeadLetters) -> list[ReplayReport]:
    begun = asyncio.Event()
    first = asyncio.create_task(_run(one, begun))
    await begun.wait()
    second = await other.aio.run(word="nobody")
    one.resume()
    return [await first, second]


async def _other_first(one: DeadLetters, other: DeadLetters) -> list[ReplayReport]:
    return (await _one_first(other, one))[::-1]


@pytest.mark.parametrize("both", [_at_once, _one_first, _other_first])
async def test_each_entry_is_stored_once_with_the_bytes_of_the_plan_that_sent_it(
    settings: NatsEventBusSettings,
    nc: Client,
    both: Callable[[DeadLetters, DeadLetters], Coroutine[Any, Any, list[ReplayReport]]],
) -> None:
    """Masks and decoders are for looking; a fix of one lab is only in what that lab sends."""
    entries = [_entry(number) for number in range(60)]
    await push(settings, *entries)
    channels = {entry.entry_id: entry.channel for entry in entries}
    ids = [*channels]
    decoders = {"scans": MessagePack(), "parcels": Cbor()}
    with pytest.warns(UserWarning, match="has a message yet"):
        theirs = Lab(settings, mask="country", decoders=decoders)
    with theirs, Lab(settings, mask="email") as mine:
        fixing, other = await shown(mine), await shown(theirs)
        fix: Any = await fixing.aio.fix(ids[: _BOTH.stop], keep=True, map=_CODES)
        assert fix.attrs["changed"] == 20
        plans = [
            await fixing.aio.plan(ids[: _BOTH.stop]),
            await other.aio.plan(ids[_BOTH.start :]),
        ]
        reports = await both(fixing, other)
        words = [letters.outcome for letters in (fixing, other)]
        assert await fixing.aio.count() == 0

    by = {
        row.entry_id: report.replay_id
        for report in reports
        for row in report.of(ReplayOutcome.REPLAYED)
    }
    assert sum(len(report.of(ReplayOutcome.REPLAYED)) for report in reports) == len(by) == 60
    js, stored = nc.jetstream(), dict[UUID, bytes]()
    state = (await js.stream_info(settings.stream_name)).state
    for seq in range(1, state.last_seq + 1):
        message = await js.get_msg(settings.stream_name, seq)
        headers = message.headers or {}
        entry_id = UUID(headers["Varco-Replay-Of"])
        assert entry_id not in stored
        assert headers["Varco-Replay-Id"] == by[entry_id]
        assert message.subject == f"{settings.subject_prefix}.{channels[entry_id]}"
        stored[entry_id] = message.data or b""
    assert stored.keys() == by.keys() == set(ids)
    for number, entry in enumerate(entries):
        data = stored[entry.entry_id]
        if by[entry.entry_id] == reports[0].replay_id and "france" in str(entry.payload):
            assert json.loads(data) == _event(number) | {"country": "FR"}
        else:
            assert data == entry.payload

    # what each says of the entries of the other: one of them had those that both planned
    for plan, report, theirs_is, said in zip(plans, reports, reports[::-1], words, strict=True):
        skipped = report.of(ReplayOutcome.SKIPPED)
        assert len(report.rows) == len(plan.rows) == 40
        assert len(skipped) in (0, len(_BOTH))
        assert all(by[row.entry_id] == theirs_is.replay_id for row in skipped if row.entry_id)
        held = f"has been replaying since .* UTC \\(run {theirs_is.replay_id}\\); plan again"
        assert all(re.search(held, row.why) for row in skipped)
        assert f"{40 - len(skipped)} replayed" in said
        assert (f"{len(_BOTH)} skipped" in said) == bool(skipped)
    mine_went, theirs_went = (len(report.of(ReplayOutcome.REPLAYED)) for report in reports)
    if both is _one_first:
        assert (mine_went, theirs_went) == (40, 20)
    elif both is _other_first:
        assert (mine_went, theirs_went) == (20, 40)
