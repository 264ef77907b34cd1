"""An upgrade or a rollback that is killed before one of its requests."""

from __future__ import annotations

import os
import signal
from typing import Any

from varco_nats._nats.takeover import Consumers
from varco_nats.config import NatsEventBusSettings
from varco_nats.upgrade import rollback, upgrade


async def main(config: dict[str, Any]) -> None:
    """Run to the end, or to the request that changes something and has that number."""
    left = config["request"]

    def dying(method: Any) -> Any:
        async def call(*args: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return await method(*args)

        return call

    for name in ("put", "change", "delete"):
        setattr(Consumers, name, dying(getattr(Consumers, name)))
    settings = NatsEventBusSettings(**config["settings"])
    await (upgrade if config["way"] == "forth" else rollback)(settings, dry_run=False)
