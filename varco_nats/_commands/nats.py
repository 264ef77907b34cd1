"""The commands on a NATS server: `varco nats ...`, and the same for `python -m varco_nats`."""

from __future__ import annotations

import argparse

from varco_nats._commands import migrating, reading, replaying


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `nats` to `varco`, which calls this through the entry-point group `varco.commands`."""
    parser = subparsers.add_parser(
        "nats",
        help="Look at channels on a NATS server, replay dead letters, upgrade consumers",
        description="Look at channels on a NATS server, replay dead letters, upgrade consumers.",
    )
    add_to(parser.add_subparsers(dest="nats_command", metavar="COMMAND", required=True))


def add_to(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add all commands."""
    reading.add_to(subparsers)
    replaying.add_to(subparsers)
    migrating.add_to(subparsers)
