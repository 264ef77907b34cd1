"""`varco nats upgrade` and `rollback`: from the released package's consumers to ours, and back."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from varco_nats._commands.common import DONE, NOT_DONE, Subparsers, add_command, note
from varco_nats._commands.printing import print_rows

if TYPE_CHECKING:
    from varco_nats.config import NatsEventBusSettings
    from varco_nats.upgrade import MigrationReport

_COLUMNS = ["channel", "durable", "may_repeat", "found", "action", "blocked"]


def add_to(subparsers: Subparsers) -> None:
    """Add the commands that hand consumers from one package to the other."""
    for name, run, what in (
        ("upgrade", _upgrade, "Take over the consumers of the released varco-nats, with --run"),
        (
            "rollback",
            _rollback,
            "Give the released varco-nats its consumers back, with --run",
        ),
    ):
        parser = add_command(
            subparsers,
            name,
            run,
            what,
            "Without --run it only says for each channel what is there, what will be done, and how "
            "many events may be handled a second time. While a step is blocked, nothing is changed "
            "and the exit code is 1.",
        )
        parser.add_argument("--run", action="store_true", help="do it (default: only say what)")


async def _upgrade(args: argparse.Namespace, settings: NatsEventBusSettings) -> int:
    from varco_nats.upgrade import upgrade

    return _ended(args, await upgrade(settings, dry_run=not args.run))


async def _rollback(args: argparse.Namespace, settings: NatsEventBusSettings) -> int:
    from varco_nats.upgrade import rollback

    return _ended(args, await rollback(settings, dry_run=not args.run))


def _ended(args: argparse.Namespace, report: MigrationReport) -> int:
    print_rows(report.to_rows(), _COLUMNS, as_json=args.json)
    if report.blocked:
        note("nothing was changed, as a step is blocked")
        return NOT_DONE
    if not any(step.action for step in report.steps):
        note("there is nothing to do")
    else:
        note("done" if args.run else "nothing was changed, --run does it")
    return DONE
