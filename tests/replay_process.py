"""A process that replays a dead letter queue, for tests to kill.

Prints `publishing` when the plan is written, `stored N` for each PubAck, and the report's counts.
`die` is where it ends itself by SIGKILL: `claimed`, when the plan is in the log; `planned`, before
anything is sent; `stored`, when `after` PubAcks have come and the last one's dead letter is still
in the queue; `removed`, when `after` dead letters are removed; `restored`, when `after` are put
back; `canary`, while it is watched. After `stop_after` PubAcks it stops itself by SIGSTOP.
`discard` discards instead, `restore` puts back the entries of a file, `history` replays channel
`orders` to `copy`. `foreign` names a stream that others write, whose entries go to the subject in
the header `x-subject`, in the stream `into`.
"""

from __future__ import annotations

import json
import os
import signal
from base64 import b64decode
from pathlib import Path
from typing import Any
from uuid import UUID

from varco_nats_widgets.dead_letters._index.foreign import ForeignNames

from varco_nats.config import NatsEventBusSettings
from varco_nats.observe import DeliveryEvent
from varco_nats.replay import ExportedEntry, Replayer, ReplayOutcome, ReplayProgress
from varco_nats.replay._foreign import ForeignQueue, SubjectTarget
from varco_nats.replay._log import ReplayLog
from varco_nats.replay._records import PlanHead
from varco_nats.replay._run.ledger import Ledger


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_when_claimed() -> None:
    write = ReplayLog.write_head

    async def write_head(log: ReplayLog, head: PlanHead) -> int:
        await write(log, head)
        die()
        raise AssertionError("dead")

    ReplayLog.write_head = write_head  # type: ignore[assignment, method-assign]


def die_when_removed(after: int) -> None:
    settle, removed = Ledger._on_removed, 0

    def on_removed(ledger: Ledger, index: int, gone: bool, note: str) -> None:
        nonlocal removed
        settle(ledger, index, gone, note)
        removed += 1
        if removed >= after:
            die()

    Ledger._on_removed = on_removed  # type: ignore[assignment, method-assign]


def die_when_restored(after: int) -> None:
    settle, restored = Ledger.settle, 0

    def on_settled(
        ledger: Ledger, index: int, outcome: ReplayOutcome, *args: Any, **more: Any
    ) -> None:
        nonlocal restored
        settle(ledger, index, outcome, *args, **more)
        restored += outcome is ReplayOutcome.RESTORED
        if restored >= after:
            die()

    Ledger.settle = on_settled  # type: ignore[assignment, method-assign]


def exported(path: Path) -> list[ExportedEntry]:
    rows = json.loads(path.read_text())
    return [ExportedEntry(UUID(key), subject, b64decode(data)) for key, subject, data in rows]


async def main(config: dict[str, Any]) -> None:
    stored = 0
    where, after = config.get("die", ""), config.get("after", 1)
    if where == "claimed":
        die_when_claimed()
    if where == "removed":
        die_when_removed(after)
    if where == "restored":
        die_when_restored(after)

    def progress(now: ReplayProgress) -> None:
        if now.phase == where == "canary":
            die()
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
        if stored == config.get("stop_after"):
            os.kill(os.getpid(), signal.SIGSTOP)

    target = NatsEventBusSettings(**config["target"]) if "target" in config else None
    settings = NatsEventBusSettings(**config["settings"])
    source: NatsEventBusSettings | ForeignQueue = settings
    if "foreign" in config:
        names = ForeignNames.of_stream(config["foreign"], ">", {"channel": "header:x-subject"})
        target = SubjectTarget.of(settings, config["into"], {})
        source = ForeignQueue(settings, names)
    async with Replayer(source, target=target) as replayer:
        replayer.observe(observe)
        if "restore" in config:
            await replayer.restore(exported(Path(config["restore"])))
            return
        if config.get("history"):
            plan = await replayer.plan_history("orders", to="copy")
        else:
            plan = await replayer.plan()
        print("planned", plan.to_replay, flush=True)
        if config.get("discard"):
            report = await replayer.discard(plan, confirm="discard")
        else:
            report = await replayer.run(
                plan, progress=progress, confirm="nobody", **config.get("run", {})
            )
        counts = {str(outcome): count for outcome, count in report.counts.items()}
        print("report", json.dumps(counts), flush=True)
