"""A process that exports channel `orders`, for tests to kill and to limit.

Prints how many messages are done, again and again. `limit` is how large its files may become, in
bytes; with `measure` it prints `MB` and by how much its memory grew at most.
"""

from __future__ import annotations

import re
import resource
import sys
from pathlib import Path
from typing import Any

from varco_nats_widgets.export import _job, export_channels
from varco_nats_widgets.frames._decoding import Decoding
from varco_nats_widgets.frames._query import FrameQuery

from varco_nats.config import NatsEventBusSettings
from varco_nats.history import History


def peak() -> int:
    """The most memory that this process had, in megabytes."""
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) // 1024


async def main(config: dict[str, Any]) -> None:
    before = peak()
    if limit := config.get("limit"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    if not config.get("measure"):
        _job.BLOCK_ROWS = 1000  # type: ignore[attr-defined]
    settings = NatsEventBusSettings(**config["settings"])
    query = FrameQuery(("orders",), None, None, None, None, None, False, None)
    async with History(settings) as history:
        try:
            await export_channels(
                history,
                Decoding(settings.channel_from_subject),
                query,
                config["path"],
                progress=lambda done, total: print(done, flush=True),
            )
        except OSError as error:
            print(f"{type(error).__name__}: {error}", flush=True)
            sys.exit(1)
    if config.get("measure"):
        print("MB", peak() - before, flush=True)
