"""A service of the made-up shop whose new release is broken, until it is repaired."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from concurrent.futures import CancelledError
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Self

from nats.js.errors import NotFoundError
from varco_core.event.base import Event

from varco_nats.bus import NatsEventBus
from varco_nats.config import NatsEventBusSettings
from varco_nats.dlq import NatsDLQ
from varco_nats_widgets._session import Session
from varco_nats_widgets._shop_events import OrderPlaced

if TYPE_CHECKING:
    from varco_nats_widgets.lab import Lab

__all__ = ["BrokenRelease"]

_DURABLE = "shop-billing"
_POLL_SECONDS = 0.02
_STOP_SECONDS = 10.0
_VAT = {"AT": 0.20, "FR": 0.20, "IT": 0.22, "PL": 0.23}  # the line of Denmark was lost
_DENMARK = 0.25

_logger = logging.getLogger("varco_nats")


class BrokenRelease:
    """A billing service for the orders of the sample shop; its failures become dead letters.

    It handles the events `OrderPlaced` of channel `orders`. The release knows no VAT rate for
    Denmark, which `repair()` mends, and cannot store a customer's name with an apostrophe, which
    it does not mend: that payload must be changed. Which orders fail follows from the orders.

    It runs on the lab's thread until `stop()`, the end of a `with` block or of the lab.

    Args:
        lab: whose channel `orders` it handles, from the first message on.

    Example:
        fill(lab, 1000)
        with BrokenRelease(lab) as release:
            release.wait()
            lab.dead_letters.groups()
    """

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._work = _Billing(lab._session)
        self._future = lab._session.loop.submit(self._work.serve())

    def __repr__(self) -> str:
        return f"BrokenRelease({'repaired' if self._work.repaired else 'broken'})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def billed(self) -> dict[str, int]:
        """How often each order was billed, by its id."""
        return dict(self._work.billed)

    def repair(self) -> None:
        """Deploy the next release, which knows Denmark."""
        self._work.repaired = True

    def wait(self, timeout: float = 30.0) -> None:
        """Wait until every order in the channel is billed or a dead letter.

        Raises:
            TimeoutError: they are not, after `timeout` seconds.
        """
        self._lab._session.run(self._work.settled(timeout))

    def stop(self) -> None:
        """End the service. More than one call does nothing."""
        if not self._future.done():
            self._lab._session.loop.submit(self._work.end())
        with suppress(CancelledError):  # by lab.close()
            self._future.result(_STOP_SECONDS)


class _Billing:
    """What the service does, on the lab's loop. It must not hold the lab, or that never closes."""

    def __init__(self, session: Session) -> None:
        self.billed: Counter[str] = Counter()
        self.repaired = False
        self._session = session
        self._ended = asyncio.Event()
        self._settings: NatsEventBusSettings = session.settings.model_copy(
            update={"durable_name": _DURABLE, "max_deliver": 1}
        )

    async def serve(self) -> None:
        _logger.addFilter(_is_not_expected)
        try:
            async with (
                NatsDLQ(self._settings) as dlq,
                NatsEventBus(self._settings, dlq=dlq) as bus,
            ):
                bus.subscribe(OrderPlaced, self.bill, channel="orders")
                await self._ended.wait()
        finally:
            _logger.removeFilter(_is_not_expected)

    async def end(self) -> None:
        self._ended.set()

    async def bill(self, order: Event) -> None:
        assert isinstance(order, OrderPlaced)
        if "'" in order.customer.name:
            raise _expected(
                ValueError(f'unterminated quoted string near "{order.customer.name}\'"')
            )
        country = order.customer.country
        rates = _VAT | ({"DK": _DENMARK} if self.repaired else {})
        if country not in rates:
            raise _expected(
                LookupError(f"no VAT rate for country '{country}' of order {order.order_id}")
            )
        self.billed[order.order_id] += 1

    async def settled(self, timeout: float) -> None:
        until = time.monotonic() + timeout
        stream, durable = self._settings.stream_name, self._settings.durable_for("orders")
        while True:
            with suppress(NotFoundError):
                info = await self._session.connection.js.consumer_info(stream, durable)
                waiting = (info.num_pending or 0) + (info.num_ack_pending or 0)
                if not waiting:
                    return
            if time.monotonic() > until:
                raise TimeoutError(f"the orders were not handled within {timeout:g} s")
            await asyncio.sleep(_POLL_SECONDS)


def _expected[E: Exception](error: E) -> E:
    error.add_note(_DURABLE)
    return error


def _is_not_expected(record: logging.LogRecord) -> bool:
    """Leaves out the log of the failures that are wanted here, several hundred of them."""
    error = record.exc_info[1] if record.exc_info else None
    return _DURABLE not in getattr(error, "__notes__", ())
