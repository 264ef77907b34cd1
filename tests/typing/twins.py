"""What a type checker knows of a plain method and of its awaitable twin: the same.

Each `type: ignore` below is an error that has to be found: one that is not needed is an error too.
"""

from typing import assert_type

import pandas as pd
from varco_nats_widgets import DeadLetters, Explorer, Lab
from varco_nats_widgets.delivery import Delivery
from varco_nats_widgets.experiment import Experiment
from varco_nats_widgets.explorer import Message
from varco_nats_widgets.live import LiveFrame
from varco_nats_widgets.publish import Publication, PublishReport

from varco_nats.replay import ReplayPlan, ReplayReport


def plain(
    lab: Lab, letters: DeadLetters, explorer: Explorer, live: LiveFrame, delivery: Delivery
) -> None:
    assert_type(lab.frame("orders", last="10m", limit=3), pd.DataFrame)
    assert_type(lab.live(["orders"], max_rows=5), LiveFrame)
    assert_type(lab.plan_replay("orders", to="again"), ReplayPlan)
    assert_type(lab.publish("orders", {"a": 1}), Publication)
    assert_type(lab.publish("orders", b"a").run(), PublishReport)
    assert_type(lab.experiment("exactly_once", events=3), Experiment)
    assert_type(lab.dead_letter([1], channel="orders"), list[str])
    assert_type(letters.count(), int)
    assert_type(letters.run(confirm=3), ReplayReport)
    assert_type(letters.frame(limit=3, channel="orders"), pd.DataFrame)
    assert_type(explorer.open(3), Message)
    assert_type(delivery.run(events=3), Experiment)
    explorer.select("orders", ["payments"])
    live.wait(3, timeout=1.0)
    lab.frame("orders", limit="3")  # type: ignore[arg-type]
    lab.frame("orders", lmit=3)  # type: ignore[call-arg]
    lab.frame(7)  # type: ignore[arg-type]
    lab.frame("orders", "payments")  # type: ignore[call-arg]
    lab.experiment("exactly_once", event=3)  # type: ignore[call-arg]
    letters.frame(chanel="orders")  # type: ignore[call-arg]
    letters.open()  # type: ignore[call-arg]
    explorer.open("3")  # type: ignore[arg-type]
    live.wait("3")  # type: ignore[arg-type]
    delivery.run(event=3)  # type: ignore[call-arg]


async def awaited(
    lab: Lab, letters: DeadLetters, explorer: Explorer, live: LiveFrame, delivery: Delivery
) -> None:
    assert_type(await lab.aio.frame("orders", last="10m", limit=3), pd.DataFrame)
    assert_type(await lab.aio.live(["orders"], max_rows=5), LiveFrame)
    assert_type(await lab.aio.plan_replay("orders", to="again"), ReplayPlan)
    assert_type(await lab.aio.experiment("exactly_once", events=3), Experiment)
    assert_type(await lab.aio.dead_letter([1], channel="orders"), list[str])
    assert_type(await lab.aio.dead_letters(channel="orders"), DeadLetters)
    assert_type(await letters.aio.count(), int)
    assert_type(await letters.aio.run(confirm=3), ReplayReport)
    assert_type(await letters.aio.frame(limit=3, channel="orders"), pd.DataFrame)
    assert_type(await explorer.aio.open(3), Message)
    assert_type(await delivery.aio.run(events=3), Experiment)
    await explorer.aio.select("orders", ["payments"])
    await live.aio.wait(3, timeout=1.0)
    await lab.aio.frame("orders", limit="3")  # type: ignore[arg-type]
    await lab.aio.frame("orders", lmit=3)  # type: ignore[call-arg]
    await lab.aio.frame(7)  # type: ignore[arg-type]
    await lab.aio.frame("orders", "payments")  # type: ignore[call-arg]
    await lab.aio.experiment("exactly_once", event=3)  # type: ignore[call-arg]
    await letters.aio.frame(chanel="orders")  # type: ignore[call-arg]
    await letters.aio.open()  # type: ignore[call-arg]
    await explorer.aio.open("3")  # type: ignore[arg-type]
    await live.aio.wait("3")  # type: ignore[arg-type]
    await delivery.aio.run(event=3)  # type: ignore[call-arg]
