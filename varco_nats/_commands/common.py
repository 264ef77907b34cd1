"""What the commands have in common: options that all take, where they connect to, how they end."""

from __future__ import annotations

import argparse
import asyncio
import io
import os
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from varco_nats._commands.printing import plain
from varco_nats._moments import time_of

if TYPE_CHECKING:
    from varco_nats.config import NatsEventBusSettings

type Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001
type Command = Callable[[argparse.Namespace, NatsEventBusSettings], Awaitable[int]]
"""What a command does; returns its exit code."""

DONE, NOT_DONE, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130
"""The exit codes."""


class UsageError(Exception):
    """Arguments that do not go together."""


_ENVIRONMENT = (
    "Streams and names come from VARCO_NATS_* variables and the login from NATS_* or a context, as "
    "for a service. Exit codes: 0 done, 1 not done, 2 wrong usage, 130 ended by Ctrl-C."
)


def add_command(
    subparsers: Subparsers, name: str, run: Command, what: str, more: str = ""
) -> argparse.ArgumentParser:
    """Add a command with the options that all have.

    Args:
        what: what it does, in a phrase.
        more: what else its help says.
    """
    parser = subparsers.add_parser(
        name, help=what, description=f"{what}.{' ' if more else ''}{more}", epilog=_ENVIRONMENT
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--servers",
        type=server_urls,
        metavar="URLS",
        help="NATS servers, like nats://localhost:4222, several joined by ',' (default: "
        "VARCO_NATS_SERVERS, else NATS_SERVERS, else nats://localhost:4222). Others on this "
        "machine can see a password in it, and not in the variables.",
    )
    where.add_argument(
        "--context",
        metavar="NAME",
        help="instead, a context of the nats command, with its login and its JetStream domain or "
        "API prefix; '' is the one that 'nats context select' chose",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, one object in each line")
    parser.set_defaults(_run=partial(_run, parser.prog, run))
    return parser


def add_mask(parser: argparse.ArgumentParser) -> None:
    """Add the option of commands that print what is in payloads."""
    parser.add_argument(
        "--mask",
        action="append",
        default=[],
        type=_mask_field,
        metavar="FIELD",
        help="show *** instead of the values of this field, like customer.email, '*.iban' or "
        "headers.authorization; can be repeated, and comes on top of VARCO_NATS_MASK",
    )


def _run(name: str, run: Command, args: argparse.Namespace) -> int:
    """Run a command in an event loop of its own; what goes wrong is a sentence on stderr."""
    try:
        return _exit_code(name, run, args)
    except KeyboardInterrupt:  # also while it still imports
        return INTERRUPTED


def _exit_code(name: str, run: Command, args: argparse.Namespace) -> int:
    from nats.errors import Error as NatsError

    from varco_nats._masks._patterns import MaskPatternError
    from varco_nats.cli import settings
    from varco_nats.connection import settings_of_context
    from varco_nats.errors import (
        InvalidChannelError,
        ReplayRefusedError,
        SettingsError,
        StreamNotFoundError,
        VarcoNatsError,
    )

    wrong = (
        *(UsageError, SettingsError, MaskPatternError),
        *(InvalidChannelError, ReplayRefusedError),
    )

    def ended(error: Exception, code: int) -> int:
        text = str(error) or type(error).__name__
        if isinstance(error, StreamNotFoundError) and not error.known:  # commands create none
            text = (
                f"stream {error.stream!r} does not exist on this server; correct the servers or "
                "VARCO_NATS_STREAM_NAME, or start a service, which creates it"
            )
        note(f"{name}: {text}")
        return code

    _print_any_text(as_data=args.json or getattr(args, "format", None) in ("json", "csv"))
    try:
        found = settings() if args.context is None else settings_of_context(args.context)
        if args.servers is not None:
            found = found.model_copy(update={"servers": args.servers})
        code = asyncio.run(_awaited(run(args, found)))
        sys.stdout.flush()
        return code
    except wrong as error:
        return ended(error, WRONG_USAGE)
    except BrokenPipeError:
        # `head` has read enough; what is left must not fail when Python flushes it at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except (VarcoNatsError, NatsError, OSError) as error:
        return ended(error, NOT_DONE)


def _print_any_text(*, as_data: bool) -> None:
    """Let stdout take every character, also where its encoding is not UTF-8.

    Args:
        as_data: what is printed is JSON or CSV, which is UTF-8 as in a file.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        if as_data:
            sys.stdout.reconfigure(encoding="utf-8")
        else:
            sys.stdout.reconfigure(errors="backslashreplace")


async def _awaited(running: Awaitable[int]) -> int:
    return await running


def note(text: str) -> None:
    """Tell the user something that is no data."""
    print(plain(text), file=sys.stderr, flush=True)


def server_urls(text: str) -> str:
    """The type of an argument that names servers."""
    from varco_nats.config import NatsEventBusSettings
    from varco_nats.errors import SettingsError

    try:
        return NatsEventBusSettings(servers=text).servers
    except SettingsError as error:
        raise argparse.ArgumentTypeError("; ".join(error.problems)) from None


def _mask_field(text: str) -> str:
    """The type of an argument that names what to mask; without a name, all would be shown."""
    if not text.strip():
        raise argparse.ArgumentTypeError("it names no field, so that nothing would be masked")
    return text


def moment(text: str) -> datetime:
    """The type of an argument that is a time."""
    found = time_of(text, datetime.now(UTC))
    if found is None:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a time; write '2026-05-01 10:00' (UTC), '13:17', 'today', or '10m' "
            "for ten minutes ago"
        )
    return found


def whole_number(text: str) -> int:
    """The type of an argument that counts something, from 1."""
    if text.isascii() and text.isdecimal() and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
