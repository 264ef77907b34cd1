"""Carrying out one experiment: its events are published one by one, some with a fault."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack

from nats.errors import Error as NatsError

from varco_nats.errors import VarcoNatsError
from varco_nats_widgets.experiment._consumer import ExperimentEvent
from varco_nats_widgets.experiment._fork_server import ForkServer
from varco_nats_widgets.experiment._plan import ExperimentError, Plan
from varco_nats_widgets.experiment._setup import ExperimentSetup
from varco_nats_widgets.experiment._strikes import strike
from varco_nats_widgets.record import DeliveryRecord, Verdict

_PACE_SECONDS = 0.01
_PATIENCE_SECONDS = 60.0


async def perform(
    plan: Plan,
    record: DeliveryRecord,
    nursery: ForkServer,
    on_progress: Callable[[int], object] = lambda done: None,
) -> Verdict:
    """Carry out `plan` on this event loop; `record` is filled meanwhile, and done at the end.

    Args:
        nursery: the fork server that starts the consumers; experiments can share it.
        on_progress: called with the number of events published so far.

    Raises:
        ExperimentError: it could not be carried out; nothing is left behind.
    """
    patience = _PATIENCE_SECONDS + plan.events * 0.05 + (10 + plan.max_deliver) * plan.ack_wait
    if any(fault.spec.duplicate_window < 100 for fault in plan.faults):
        patience += 2 * plan.duplicate_window
    stack = AsyncExitStack()
    setup = ExperimentSetup(plan, record, nursery, stack)
    try:
        async with asyncio.timeout(patience), stack:
            await setup.open()
            await _publish_all(setup, on_progress)
            await setup.close()
        entries = record.ledger
        record.verdict = plan.judge(dict(zip(entries["event"], entries["outcome"], strict=True)))
        return record.verdict
    except VarcoNatsError:
        raise
    except TimeoutError:
        reason = f"{patience:.0f} s were not enough; it was {setup.doing}"
        raise ExperimentError(plan.title, reason) from None
    except (OSError, NatsError) as error:
        reason = f"{type(error).__name__} while {setup.doing}: {error}"
        raise ExperimentError(plan.title, reason) from error
    finally:
        record.finish()


async def _publish_all(setup: ExperimentSetup, on_progress: Callable[[int], object]) -> None:
    plan = setup.plan
    for number, event_id in enumerate(plan.event_ids(), start=1):
        setup.doing = f"publishing event {number}"
        event = ExperimentEvent(event_id=event_id, number=number)
        fault = plan.fault_at(number)
        if fault is None:
            await setup.publish(event)
        else:
            await setup.settled()  # so that the fault strikes this event only
            await setup.have_consumers(fault.spec.consumers)
            setup.doing = f"at {fault.name}, event {number}"
            await strike(setup, fault.name, event)
        on_progress(number)
        setup.replace_killed()
        await asyncio.sleep(_PACE_SECONDS)
    setup.doing = "waiting for the consumers"
    await setup.settled()
