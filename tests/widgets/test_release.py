"""The story of the notebook on dead letters: a broken release of the sample shop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

import pytest
from varco_nats_widgets import Lab
from varco_nats_widgets.dead_letters import Canary
from varco_nats_widgets.sample import BrokenRelease, fill

from varco_nats.config import NatsEventBusSettings


@pytest.fixture
def lab(settings: NatsEventBusSettings) -> Iterator[Lab]:
    with Lab(settings) as opened:
        yield opened


def test_a_broken_release_is_worked_through(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    fill(lab, 300, broken=False, force=True)
    orders = lab.frame("orders", event_type="shop.order.placed")
    with BrokenRelease(lab) as release:
        release.wait()
        assert repr(release) == "BrokenRelease(broken)"
        letters = lab.dead_letters()
        danes = orders["customer.country"] == "DK"
        quoted = orders["customer.name"].str.contains("'")
        assert letters.group_table["count"].tolist() == [(danes & ~quoted).sum(), quoted.sum()]
        assert letters.group_table["message"].tolist() == [
            "no VAT rate for country <value> of order BMRF-<n>",
            "unterminated quoted string near <value>",
        ]
        assert len(release.billed) == len(orders) - letters.matching

        release.repair()
        letters.choose(letters.group_table.index[0])
        letters.plan("groups", note="2.4.1 knows Denmark")
        assert letters.planned is not None
        report = letters.run(canary=Canary(5, 0.2), confirm=letters.planned.to_replay)
        assert report.state == "done"
        letters.plan("matching", transform=without_apostrophe)
        letters.run()
        release.wait()
        assert letters.count() == 0
        assert release.billed == dict.fromkeys(orders["order_id"], 1)
    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []
    release.stop()


def without_apostrophe(payload: dict) -> dict:  # type: ignore[type-arg]
    customer = payload["customer"]
    return {**payload, "customer": {**customer, "name": customer["name"].replace("'", "")}}


async def test_it_ends_with_its_lab(settings: NatsEventBusSettings) -> None:
    lab = await asyncio.to_thread(Lab, settings)
    release = await asyncio.to_thread(BrokenRelease, lab)
    await lab.aio.close()
    await asyncio.to_thread(release.stop)
