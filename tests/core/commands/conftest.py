"""The commands, run in this process as `varco` runs them, and as processes of their own."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import pytest
from varco_core.cli.main import main

from varco_nats.config import NatsEventBusSettings


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def cells(self) -> list[list[str]]:
        """What stands in each line between spaces."""
        return [line.split() for line in self.out.splitlines()]


Command = Callable[..., Awaitable[Done]]


@pytest.fixture
def environment(settings: NatsEventBusSettings, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Variables that name the test's server and streams; this process has them too."""
    for name in os.environ:
        if name.startswith(("VARCO_NATS_", "NATS_")):
            monkeypatch.delenv(name)
    for field in ("servers", "stream_name", "subject_prefix", "durable_name"):
        monkeypatch.setenv(f"VARCO_NATS_{field.upper()}", getattr(settings, field))
    return dict(os.environ)


@pytest.fixture
def varco_nats(environment: dict[str, str], capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs `varco nats` with the arguments that it is called with."""

    async def run(*arguments: Any) -> Done:
        capsys.readouterr()
        code = await asyncio.to_thread(main, ["nats", *map(str, arguments)])
        return Done(code, *capsys.readouterr())

    return run
