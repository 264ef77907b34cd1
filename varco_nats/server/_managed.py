"""What a local server and a cluster have in common: they are started and closed by `with`."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import Self


class Managed(ABC):
    """`with` and `async with` over `start()` and `close()`."""

    @abstractmethod
    def start(self) -> Self: ...

    @abstractmethod
    def close(self) -> None: ...

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        try:
            return await asyncio.to_thread(self.start)
        except asyncio.CancelledError:
            await asyncio.to_thread(self.close)  # waits for the start that still runs
            raise

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.close)
