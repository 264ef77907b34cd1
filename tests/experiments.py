"""Carries out every experiment many times and says whether each came out as promised."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

from varco_nats_widgets.experiment import SEMANTICS, Nursery, perform
from varco_nats_widgets.experiment._faults import SPECS, Fault
from varco_nats_widgets.experiment._plan import ExperimentError, Plan, make_plan
from varco_nats_widgets.record import DeliveryRecord

_VARIANTS: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = (
    (("handler_fails_once",), {"retry": 3}),
    (("handler_fails_times",), {"retry": 3}),
    (("handler_fails_always",), {"retry": 2}),
    (("handler_fails_always",), {"dlq": False}),
    (("handler_fails_always",), {"dlq": "listen", "retry": 2}),
    (("kill_after_handler",), {"deduplicator": True}),
    (("ack_lost",), {"deduplicator": True}),
    (("puback_lost",), {"deduplicator": True}),
    (("duplicate_in_window",), {"deduplicator": True}),
    (("duplicate_after_window",), {"deduplicator": True}),
    (("server_killed_after_ack",), {"deduplicator": True}),
    (("kill_in_handler", "ack_lost", "puback_lost"), {}),
    (("server_killed", "server_killed_after_ack", "kill_in_handler"), {}),
    (
        ("kill_one_of_two", "consumer_partitioned", "ack_lost", "blocking_handler"),
        {"ack_wait": 1},
    ),
)
"""Experiments beyond each fault with the default settings; of several, each at its own event."""


def plans(faults: Sequence[str], semantics: Sequence[str], events: int) -> dict[str, Plan]:
    """Every experiment by name."""
    found = {}
    for names, options in (*(((name,), {}) for name in SPECS), *_VARIANTS):
        if faults and not set(names) <= set(faults):
            continue
        alone = len(names) == 1
        broken = [Fault(name, None if alone else at) for at, name in enumerate(names, start=1)]
        said = "".join(f" {name}={value}" for name, value in options.items())
        for semantics_name in semantics:
            plan = make_plan(semantics_name, broken, events=max(events, len(names)), **options)
            found[f"{', '.join(names)}{said} {semantics_name}"] = plan
    return found


async def outcome(plan: Plan, nursery: Nursery) -> tuple[str, bool]:
    """What one run of `plan` came to, and whether that was promised."""
    record = DeliveryRecord(title=plan.title)
    try:
        verdict = await perform(plan, record, nursery)
    except ExperimentError as error:
        return f"failed: {error.reason}", False
    happened = ", ".join(f"{count} {name}" for name, count in verdict.happened.items())
    if verdict.holds:
        return happened, True
    surprises = "; ".join(
        f"event {surprise.event} was {surprise.happened}, not {surprise.expected}"
        for surprise in verdict.surprises
    )
    return f"{happened} (not as promised: {surprises})", False


async def repeat(chosen: dict[str, Plan], times: int, jobs: int) -> bool:
    """Run each `times` times, `jobs` at once; whether all came out as promised.

    That is the same each time, where no race decides.
    """
    running = asyncio.Semaphore(jobs)
    nursery = Nursery()

    async def once(plan: Plan) -> tuple[str, bool]:
        async with running:
            return await outcome(plan, nursery)

    async def all_of(name: str, plan: Plan) -> bool:
        counts = Counter(await asyncio.gather(*(once(plan) for _ in range(times))))
        (most, _), same = counts.most_common(1)[0]
        print(f"{same} of {times} the same  {name}: {most}", flush=True)
        for (other, _), count in counts.most_common()[1:]:
            print(f"    {count} times: {other}", flush=True)
        races = any(promise.otherwise is not None for promise in plan.promises().values())
        return all(kept for _, kept in counts) and (races or len(counts) == 1)

    try:
        results = await asyncio.gather(*(all_of(name, plan) for name, plan in chosen.items()))
    finally:
        nursery.close()
    print(f"{sum(results)} of {len(results)} experiments came out as promised each time")
    return all(results)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; 0 if everything came out as promised."""
    parser = argparse.ArgumentParser(prog="make experiments", description=__doc__)
    parser.add_argument("faults", nargs="*", help="only these faults")
    parser.add_argument("--repeat", type=int, default=20, help="how often each, default 20")
    parser.add_argument("--events", type=int, default=6, help="events of each, default 6")
    parser.add_argument("--jobs", type=int, default=2, help="experiments at once, default 2")
    parser.add_argument("--semantics", choices=SEMANTICS, action="append", help="only these")
    chosen = parser.parse_args(arguments)
    if unknown := set(chosen.faults) - set(SPECS):
        parser.error(f"no such fault: {', '.join(sorted(unknown))}; there is {', '.join(SPECS)}")
    try:
        found = plans(chosen.faults, chosen.semantics or SEMANTICS, chosen.events)
    except ValueError as error:
        parser.error(str(error))
    return 0 if asyncio.run(repeat(found, max(1, chosen.repeat), max(1, chosen.jobs))) else 1


if __name__ == "__main__":
    sys.exit(main())
