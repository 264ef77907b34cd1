"""A process that replays a dead letter queue, for tests to kill.

    python -m tests.replay_process '{"settings": {...}, "die": "stored", "after": 3}'

Prints `publishing` when the plan is written, `stored N` for each PubAck, and the report's counts.
`die` is where it ends itself by SIGKILL: `planned`, before anything is sent, or `stored`, when
`after` PubAcks have come and the last one's dead letter is still in the queue.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from typing import Any

from varco_nats.config import NatsEventBusSettings
from varco_nats.observe import DeliveryEvent
from varco_nats.replay import Replayer, ReplayProgress


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def main(config: dict[str, Any]) -> None:
    stored = 0
    where, after = config.get("die", ""), config.get("after", 1)

    def progress(now: ReplayProgress) -> None:
        if now.phase == "publishing" and not now.done and not stored:
            print("publishing", flush=True)
            if where == "planned":
                die()

    def observe(event: DeliveryEvent) -> None:
        nonlocal stored
        stored += 1
        print("stored", stored, flush=True)
        if where == "stored" and stored >= after:
            die()

    target = NatsEventBusSettings(**config["target"]) if "target" in config else None
    source = NatsEventBusSettings(**config["settings"])
    async with Replayer(source, target=target) as replayer:
        replayer.observe(observe)
        plan = await replayer.plan()
        print("planned", plan.to_replay, flush=True)
        report = await replayer.run(plan, progress=progress, **config.get("run", {}))
        counts = {str(outcome): count for outcome, count in report.counts.items()}
        print("report", json.dumps(counts), flush=True)


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
